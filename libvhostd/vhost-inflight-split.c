/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-flight tracking of a split ring. Must not touch the ring: its index comes as a number.
 *
 * How it works: a head is in flight from the store of its flag on (take) until the used index
 * covers it. What is given back is first linked into a list that begins at last_batch_head; the
 * used index is then stored by the ring, the flags are cleared, and used_idx follows. A process
 * that is killed before the used index moves leaves a list that nobody looks at: the requests are
 * served again. One that is killed after it leaves used_idx behind: the distance says how many from
 * the list's head on were given back. Links behind those are of older batches and may even form a
 * loop; the distance is the bound. */
#include "config.h"

#include "vhost-inflight-layout-private.h"

#include <string.h>

static void
initialize (VhostInflightRegion *self, guint16 used_index)
{
  VhostInflightSplitArea *area = self->split;

  /* Version 0: whatever is there means nothing (IF2). */
  memset (area, 0, sizeof *area + self->desc_num * sizeof area->desc[0]);
  vhost_inflight_store16 (&area->desc_num, (guint16) self->desc_num);
  vhost_inflight_store16 (&area->used_idx, used_index);
  vhost_inflight_store16 (&area->version, VHOST_INFLIGHT_VERSION);
}

/* IF5: the flags of the last batch, all of them: the last process may have been stopped before the
 * first was cleared. May be stopped itself and done again. */
static gboolean
finish_batch (VhostInflightRegion *self, guint16 head, guint n, GError **error)
{
  VhostInflightSplitArea *area = self->split;

  if (n > self->size)
    return vhost_inflight_region_refuse (
        self, error, "its used index lies %u entries behind the ring's, which has only %u", n,
        self->size);
  for (guint i = 0; i < n; i++)
    {
      if (head >= self->desc_num)
        return vhost_inflight_region_refuse (
            self, error, "request %u of the last batch is entry %u, and there are %u", i, head,
            self->desc_num);
      vhost_inflight_store8 (&area->desc[head].inflight, 0);
      head = vhost_inflight_load16 (&area->desc[head].next);
    }
  return TRUE;
}

static gboolean
any_in_flight (VhostInflightRegion *self)
{
  for (guint i = 0; i < self->desc_num; i++)
    if (vhost_inflight_load8 (&self->split->desc[i].inflight) != 0)
      return TRUE;
  return FALSE;
}

gboolean
vhost_inflight_split_recover (VhostInflightRegion *self, guint16 used_index, GError **error)
{
  VhostInflightSplitArea *area = self->split;
  g_autofree VhostInflightFound *found = NULL;
  guint16 last_batch_head, used_idx;
  gboolean fresh;
  guint n = 0;

  if (!vhost_inflight_region_check (self, &fresh, error))
    return FALSE;
  if (fresh)
    initialize (self, used_index);

  last_batch_head = vhost_inflight_load16 (&area->last_batch_head);
  used_idx = vhost_inflight_load16 (&area->used_idx);
  if (last_batch_head >= self->desc_num)
    return vhost_inflight_region_refuse (self, error,
                                         "its last batch begins at entry %u, and there are %u",
                                         last_batch_head, self->desc_num);
  if (used_idx != used_index)
    {
      /* With nothing in flight there is nothing to finish, however far the index is (a ring that
       * was reset starts at 0 again). */
      if (any_in_flight (self)
          && !finish_batch (self, last_batch_head, (guint16) (used_index - used_idx), error))
        return FALSE;
      vhost_inflight_store16 (&area->used_idx, used_index);
    }

  found = g_new (VhostInflightFound, self->desc_num);
  for (guint i = 0; i < self->desc_num; i++)
    {
      if (vhost_inflight_load8 (&area->desc[i].inflight) == 0)
        continue;
      if (i >= self->size)
        return vhost_inflight_region_refuse (
            self, error, "head %u is in flight, outside of the ring of %u", i, self->size);
      found[n].counter = vhost_inflight_load64 (&area->desc[i].counter);
      found[n].request = (VhostInflightRequest){ .head = (guint16) i, .slots = 1 };
      n++;
    }
  /* A file that lost its pages meanwhile reads as "nothing in flight". */
  if (vhost_inflight_is_poisoned (self->area))
    return vhost_inflight_region_refuse (self, error, "its file was made shorter");

  vhost_inflight_region_set_found (self, found, n);
  self->available = (guint16) (used_index + n);
  self->last_batch_head = last_batch_head;
  self->n_batch = 0;
  return TRUE;
}

guint16
vhost_inflight_split_get_available (VhostInflightRegion *self)
{
  return self->available;
}

void
vhost_inflight_split_take (VhostInflightRegion *self, guint16 head)
{
  VhostInflightSplitEntry *entry = &self->split->desc[head];

  /* IF4: the flag last, for the counter is looked at only where it is set. */
  vhost_inflight_store64 (&entry->counter, self->counter++);
  vhost_inflight_store8 (&entry->inflight, 1);
}

void
vhost_inflight_split_push (VhostInflightRegion *self, guint16 head)
{
  VhostInflightSplitArea *area = self->split;

  /* The link before the list's head: a list without it would lose what was pushed before. */
  vhost_inflight_store16 (&area->desc[head].next, self->last_batch_head);
  vhost_inflight_store16 (&area->last_batch_head, head);
  self->next[head] = self->last_batch_head;
  self->last_batch_head = head;
  self->n_batch++;
}

void
vhost_inflight_split_published (VhostInflightRegion *self, guint16 used_index)
{
  VhostInflightSplitArea *area = self->split;
  guint16 head = self->last_batch_head;

  if (self->n_batch == 0)
    return;
  for (; self->n_batch > 0; self->n_batch--)
    {
      vhost_inflight_store8 (&area->desc[head].inflight, 0);
      head = self->next[head];
    }
  /* Last: until then the next process clears the batch once more. */
  vhost_inflight_store16 (&area->used_idx, used_index);
}
