/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-flight tracking of a packed ring. Looks at one slot's flags when it recovers; must not touch
 * the ring otherwise.
 *
 * How it works: the entries of the area form a free list and one list per request in flight. A
 * request is taken by filling entries from the free list; old_free_head, moved last, is the store
 * that makes it count. What is given back goes to the front of the free list (free_head), the used
 * position moves, the ring stores the used descriptor's flags, which is what counts here, and then
 * the flags in the area, old_free_head and the old position follow.
 *
 * So the old values are always a consistent state, and the new ones are either the next one or half
 * done. Where the positions differ, a used descriptor was being written: it was published if the
 * driver's slot is no longer "available", and then the new values are the state; or else the old
 * ones are. Each of these corrections may be cut short and done again: that fixes their order. */
#include "config.h"

#include "vhost-inflight-layout-private.h"

#include <string.h>

#define RING_SLOT 16u
#define RING_FLAGS_AT 14u
#define RING_AVAIL (1u << 7)
#define RING_USED (1u << 15)

static VhostInflightPackedPositions
load_positions (VhostInflightRegion *self)
{
  VhostInflightPackedPositions positions
      = { .word = vhost_inflight_load64 (&self->packed->positions.word) };

  positions.used_wrap = positions.used_wrap != 0;
  positions.old_used_wrap = positions.old_used_wrap != 0;
  return positions;
}

static void
store_positions (VhostInflightRegion *self, VhostInflightPackedPositions positions)
{
  self->positions = positions;
  vhost_inflight_store64 (&self->packed->positions.word, positions.word);
}

static gboolean
initialize (VhostInflightRegion *self, guint32 base, GError **error)
{
  VhostInflightPackedArea *area = self->packed;
  VhostInflightPackedPositions positions = { .word = 0 };

  positions.used_idx = positions.old_used_idx = (base >> 16) & 0x7fff;
  positions.used_wrap = positions.old_used_wrap = base >> 31;
  if (positions.used_idx >= self->size)
    return vhost_inflight_region_refuse (
        self, error, "ring base 0x%x begins outside of the ring of %u", base, self->size);

  /* Version 0: whatever is there means nothing (IF2). */
  memset (area, 0, sizeof *area + self->desc_num * sizeof area->desc[0]);
  vhost_inflight_store16 (&area->desc_num, (guint16) self->desc_num);
  for (guint i = 0; i < self->desc_num; i++)
    vhost_inflight_store16 (&area->desc[i].next, (guint16) (i + 1));
  store_positions (self, positions);
  vhost_inflight_store16 (&area->version, VHOST_INFLIGHT_VERSION);
  return TRUE;
}

/* IF9's question: the driver's descriptor there, or ours? While this process was away the driver
 * may have used the slot again, for the next lap: then it is not available under the old wrap
 * counter either. */
static gboolean
is_still_available (const void *ring, guint slot, gboolean wrap)
{
  const guint8 *at = (const guint8 *) ring + slot * RING_SLOT + RING_FLAGS_AT;
  guint16 flags
      = GUINT16_FROM_LE (__atomic_load_n ((const guint16 *) (gconstpointer) at, __ATOMIC_ACQUIRE));

  return ((flags & RING_AVAIL) != 0) == wrap && ((flags & RING_USED) != 0) != wrap;
}

/* IF9: from whatever the last process left to a state in which old and new are one. */
static gboolean
settle (VhostInflightRegion *self, const void *ring, GError **error)
{
  VhostInflightPackedArea *area = self->packed;
  VhostInflightPackedPositions positions = load_positions (self);
  guint16 free_head = vhost_inflight_load16 (&area->free_head);
  guint16 old_free_head = vhost_inflight_load16 (&area->old_free_head);

  if (positions.used_idx >= self->size || positions.old_used_idx >= self->size)
    return vhost_inflight_region_refuse (self, error,
                                         "its used positions are %u and %u, in a ring of %u",
                                         positions.used_idx, positions.old_used_idx, self->size);
  if (free_head > self->desc_num || old_free_head > self->desc_num)
    return vhost_inflight_region_refuse (self, error,
                                         "its free entries begin at %u and %u, and there are %u",
                                         free_head, old_free_head, self->desc_num);

  if (positions.used_idx != positions.old_used_idx
      || positions.used_wrap != positions.old_used_wrap)
    {
      if (free_head == old_free_head
          || !is_still_available (ring, positions.old_used_idx, positions.old_used_wrap))
        {
          /* Published. The head before the position: the other way round, a process stopped in
           * between would find equal positions and roll the head back. */
          if (free_head != old_free_head)
            vhost_inflight_store16 (&area->old_free_head, free_head);
          old_free_head = free_head;
          positions.old_used_idx = positions.used_idx;
          positions.old_used_wrap = positions.used_wrap;
        }
      else
        {
          /* Not published. The position before the head: the other way round, a process stopped in
           * between would find equal heads and take the position for published. */
          positions.used_idx = positions.old_used_idx;
          positions.used_wrap = positions.old_used_wrap;
        }
      store_positions (self, positions);
    }
  self->positions = positions;
  /* An unpublished descriptor and a list that was not taken to its end. */
  if (free_head != old_free_head)
    vhost_inflight_store16 (&area->free_head, old_free_head);
  self->free_head = old_free_head;
  return TRUE;
}

/* The free list, into private memory; nothing in it is in flight. @seen: what belongs somewhere. */
static gboolean
read_free (VhostInflightRegion *self, guint8 *seen, GError **error)
{
  VhostInflightPackedArea *area = self->packed;
  guint at = self->free_head;

  for (self->n_free = 0; at != self->desc_num; self->n_free++)
    {
      if (at > self->desc_num)
        return vhost_inflight_region_refuse (
            self, error, "its free list leads to entry %u, and there are %u", at, self->desc_num);
      if (seen[at])
        return vhost_inflight_region_refuse (self, error, "its free list is a loop at entry %u",
                                             at);
      seen[at] = TRUE;
      if (vhost_inflight_load8 (&area->desc[at].inflight) != 0)
        vhost_inflight_store8 (&area->desc[at].inflight, 0);
      self->next[at] = vhost_inflight_load16 (&area->desc[at].next);
      at = self->next[at];
    }
  return TRUE;
}

/* The list of the request that begins at @head. */
static gboolean
read_request (VhostInflightRegion *self, guint8 *seen, guint16 head, VhostInflightFound *found,
              GError **error)
{
  VhostInflightPackedArea *area = self->packed;
  guint16 last = vhost_inflight_load16 (&area->desc[head].last);
  guint16 num = vhost_inflight_load16 (&area->desc[head].num);
  guint at = head;

  if (num == 0 || num > self->size - self->slots)
    return vhost_inflight_region_refuse (
        self, error, "the request at entry %u has %u descriptors, and %u slots of %u are in use",
        head, num, self->slots, self->size);
  for (guint i = 0; i < num; i++)
    {
      if (i > 0)
        {
          guint16 next = vhost_inflight_load16 (&area->desc[at].next);

          self->next[at] = next;
          at = next;
        }
      if (at >= self->desc_num)
        return vhost_inflight_region_refuse (
            self, error, "the request at entry %u leads to entry %u, and there are %u", head, at,
            self->desc_num);
      if (seen[at])
        return vhost_inflight_region_refuse (
            self, error, "entry %u is in the request at entry %u and elsewhere", at, head);
      seen[at] = TRUE;
    }
  if (at != last)
    return vhost_inflight_region_refuse (
        self, error, "the request at entry %u ends at entry %u, not at %u", head, at, last);

  self->last[head] = last;
  self->num[head] = num;
  self->slots += num;
  found->counter = vhost_inflight_load64 (&area->desc[head].counter);
  /* V20: a list's ID is its last descriptor's. */
  found->request = (VhostInflightRequest){ .head = head,
                                           .slots = num,
                                           .id = vhost_inflight_load16 (&area->desc[last].id) };
  return TRUE;
}

gboolean
vhost_inflight_packed_recover (VhostInflightRegion *self, const void *ring, guint32 base,
                               GError **error)
{
  VhostInflightPackedArea *area = self->packed;
  g_autofree VhostInflightFound *found = NULL;
  g_autofree guint8 *seen = NULL;
  gboolean fresh;
  guint n = 0;

  if (!vhost_inflight_region_check (self, &fresh, error)
      || (fresh && !initialize (self, base, error)) || !settle (self, ring, error))
    return FALSE;

  seen = g_malloc0 (self->desc_num);
  if (!read_free (self, seen, error))
    return FALSE;
  found = g_new (VhostInflightFound, self->desc_num);
  self->slots = 0;
  for (guint i = 0; i < self->desc_num; i++)
    {
      /* A flag inside of another request's list means nothing, or a list that overlaps: which of
       * both, the other's walk tells. */
      if (vhost_inflight_load8 (&area->desc[i].inflight) == 0)
        continue;
      if (!read_request (self, seen, (guint16) i, &found[n], error))
        return FALSE;
      n++;
    }
  /* What is in no list would be missing from the free ones for ever. */
  for (guint i = 0; i < self->desc_num; i++)
    if (!seen[i])
      return vhost_inflight_region_refuse (self, error,
                                           "entry %u is neither free nor part of a request", i);
  /* A file that lost its pages meanwhile reads as zeros. */
  if (vhost_inflight_is_poisoned (self->area))
    return vhost_inflight_region_refuse (self, error, "its file was made shorter");

  vhost_inflight_region_set_found (self, found, n);
  self->cursor_entry = self->desc_num;
  return TRUE;
}

void
vhost_inflight_packed_get_positions (VhostInflightRegion *self, guint16 *available,
                                     gboolean *available_wrap, guint16 *used, gboolean *used_wrap)
{
  guint position = self->positions.used_idx + self->slots;

  *used = self->positions.used_idx;
  *used_wrap = self->positions.used_wrap;
  /* IF10. Never more than once around: the slots are not more than the ring has. */
  *available = (guint16) (position % self->size);
  *available_wrap = position >= self->size ? !*used_wrap : *used_wrap;
}

guint16
vhost_inflight_packed_take (VhostInflightRegion *self, const VhostInflightDescriptor *descriptors,
                            guint n)
{
  VhostInflightPackedArea *area = self->packed;
  guint16 head = self->free_head;
  guint16 at = head;

  /* Not for a ring that keeps to V19: entries are not fewer than slots. */
  if (G_UNLIKELY (n == 0 || n > self->n_free))
    return G_MAXUINT16;

  vhost_inflight_store16 (&area->desc[head].num, 0);
  vhost_inflight_store64 (&area->desc[head].counter, self->counter++);
  vhost_inflight_store8 (&area->desc[head].inflight, 1);
  for (guint i = 0; i < n; i++)
    {
      VhostInflightPackedEntry *entry = &area->desc[at];

      vhost_inflight_store16 (&area->desc[head].num, (guint16) (i + 1));
      vhost_inflight_store64 (&entry->addr, descriptors[i].address);
      vhost_inflight_store32 (&entry->len, descriptors[i].length);
      vhost_inflight_store16 (&entry->flags, descriptors[i].flags);
      vhost_inflight_store16 (&entry->id, descriptors[i].id);
      if (i == n - 1)
        {
          vhost_inflight_store16 (&area->desc[head].last, at);
          self->last[head] = at;
        }
      at = self->next[at];
      vhost_inflight_store16 (&area->free_head, at);
    }
  /* From this store on it is taken. */
  vhost_inflight_store16 (&area->old_free_head, at);

  self->free_head = at;
  self->num[head] = (guint16) n;
  self->n_free -= n;
  return head;
}

gboolean
vhost_inflight_packed_get (VhostInflightRegion *self, guint16 entry, guint step,
                           VhostInflightDescriptor *descriptor)
{
  const VhostInflightPackedEntry *at;

  if (entry >= self->desc_num || step >= self->num[entry])
    return FALSE;
  if (self->cursor_entry != entry || self->cursor_step > step)
    {
      self->cursor_entry = entry;
      self->cursor_step = 0;
      self->cursor_at = entry;
    }
  for (; self->cursor_step < step; self->cursor_step++)
    self->cursor_at = self->next[self->cursor_at];

  at = &self->packed->desc[self->cursor_at];
  descriptor->address = vhost_inflight_load64 (&at->addr);
  descriptor->length = vhost_inflight_load32 (&at->len);
  descriptor->id = vhost_inflight_load16 (&at->id);
  descriptor->flags = vhost_inflight_load16 (&at->flags);
  return TRUE;
}

void
vhost_inflight_packed_push (VhostInflightRegion *self, const guint16 *entries, guint n,
                            guint16 used, gboolean used_wrap)
{
  VhostInflightPackedArea *area = self->packed;
  VhostInflightPackedPositions positions = self->positions;

  for (guint i = 0; i < n; i++)
    {
      guint16 head = entries[i];

      if (G_UNLIKELY (head >= self->desc_num))
        continue; /* one that take () could not enter */
      vhost_inflight_store16 (&area->desc[self->last[head]].next, self->free_head);
      vhost_inflight_store16 (&area->free_head, head);
      self->next[self->last[head]] = self->free_head;
      self->free_head = head;
      self->n_free += self->num[head];
      self->num[head] = 0;
    }
  positions.used_idx = used;
  positions.used_wrap = used_wrap != FALSE;
  store_positions (self, positions);
}

void
vhost_inflight_packed_published (VhostInflightRegion *self, const guint16 *entries, guint n)
{
  VhostInflightPackedArea *area = self->packed;
  VhostInflightPackedPositions positions = self->positions;

  for (guint i = 0; i < n; i++)
    if (G_LIKELY (entries[i] < self->desc_num))
      vhost_inflight_store8 (&area->desc[entries[i]].inflight, 0);
  /* The head before the position, as in settle (). */
  vhost_inflight_store16 (&area->old_free_head, self->free_head);
  positions.old_used_idx = positions.used_idx;
  positions.old_used_wrap = positions.used_wrap;
  store_positions (self, positions);
}
