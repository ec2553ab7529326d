/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ring layouts share, away from the hot path: places in guest memory, the seldom halves
 * of a walk, the row of IN_ORDER. Must not know where a layout keeps its
 * descriptors. */
#include "config.h"

#include "vhost-ring-private.h"

#include "vhost-error.h"
#include "vhost-ring-walk-private.h"

#include <string.h>

/* An indirect table may be longer than the ring where seg_max lets a driver do that (Linux does).
 */
#define INDIRECT_FLOOR 1024u

/* In an IOVA view a buffer falls into pages. Less than the queue's segment budget: a chain alone
 * always fits. */
#define VIEW_SEGMENTS 65536u

static void
clear_windows (VhostMemoryWindow *windows[VHOST_RING_PARTS])
{
  for (guint i = 0; i < VHOST_RING_PARTS; i++)
    g_clear_pointer (&windows[i], vhost_memory_window_free);
}

void
vhost_ring_init (VhostRing *ring, const VhostRingOps *ops, guint32 size)
{
  vhost_ring_clear (ring);
  ring->ops = ops;
  ring->size = size;
  ring->mask = (guint16) (size - 1);
  ring->max_chain = MAX (size, INDIRECT_FLOOR);
  ring->in_flight = g_malloc0 (size);
}

void
vhost_ring_clear (VhostRing *ring)
{
  g_clear_pointer (&ring->inflight, vhost_inflight_region_free);
  clear_windows (ring->windows);
  g_free (ring->in_flight);
  g_free (ring->table);
  g_free (ring->list);
  g_free (ring->entries);
  g_free (ring->requests);
  g_free (ring->row);
  memset (ring, 0, sizeof *ring);
}

void
vhost_ring_prepare (VhostRing *ring, gboolean packed)
{
  gboolean tracked = packed && ring->inflight != NULL;

  memset (ring->in_flight, 0, ring->size);
  ring->n_resubmit = ring->n_requests = 0;
  ring->resubmit_news = FALSE;
  ring->remembers = ring->in_order || ring->inflight != NULL;
  ring->row_first = ring->row_length = 0;
  ring->called_valid = FALSE;
  ring->n_uncalled = 0;
  if ((ring->in_order || tracked) && ring->requests == NULL)
    ring->requests = g_new0 (VhostRingRequest, ring->size);
  if (ring->in_order && ring->row == NULL)
    ring->row = g_new (guint16, ring->size);
  if (tracked && ring->list == NULL)
    {
      ring->list = g_new (VhostInflightDescriptor, ring->size);
      ring->entries = g_new (guint16, ring->size);
    }
}

/* ---- Places ---- */

static gboolean
note_miss (VhostRing *ring, guint64 address, guint access)
{
  ring->missed = TRUE;
  ring->miss_address = address;
  ring->miss_access = access;
  return FALSE;
}

static gboolean
place_part (VhostRing *ring, VhostRingPart *part, VhostMemoryWindow **window, GError **error)
{
  VhostMemory *memory = ring->memory;
  guint64 missing;

  if (part->address % part->alignment != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER
                   "x is not aligned to %u bytes (VIRTIO 1.3, 2.7 and 2.8)",
                   part->what, part->address, part->alignment);
      return FALSE;
    }
  part->place = memory->is_view
                    ? vhost_memory_translate_window (memory, part->address, part->length,
                                                     part->access, window)
                    : vhost_memory_translate (memory, ring->cache, part->address, part->length);
  if (part->place == NULL && memory->is_view
      && !vhost_memory_holds (memory, part->address, part->length, part->access, &missing))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s has no translation at 0x%" G_GINT64_MODIFIER "x yet", part->what,
                   missing);
      return note_miss (ring, missing, part->access);
    }
  if (part->place == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                   " bytes, %s",
                   part->what, part->address, part->length,
                   memory->is_view ? "lies in pages that cannot be mapped side by side"
                                   : "is not wholly inside a shared memory region");
      return FALSE;
    }
  /* A region may begin at any byte of its file, so guest and host addresses need not be alike. */
  if ((guintptr) part->place % part->alignment != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER
                   "x is not aligned to %u bytes in this process: its memory region's offset in "
                   "its file must be",
                   part->what, part->address, part->alignment);
      return FALSE;
    }
  return TRUE;
}

gboolean
vhost_ring_place (VhostRing *ring, VhostRingPart parts[VHOST_RING_PARTS], GError **error)
{
  VhostMemoryWindow *windows[VHOST_RING_PARTS] = { NULL };

  ring->missed = FALSE;
  for (guint i = 0; i < VHOST_RING_PARTS; i++)
    if (!place_part (ring, &parts[i], &windows[i], error))
      {
        clear_windows (windows);
        return FALSE;
      }
  clear_windows (ring->windows);
  memcpy (ring->windows, windows, sizeof windows);
  return TRUE;
}

/* ---- The walk ---- */

gboolean
vhost_ring_walk_violation (VhostRingWalk *walk, const char *format, ...)
{
  va_list args;
  g_autofree char *what = NULL;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  walk->result = VHOST_RING_VIOLATION;
  switch (walk->at)
    {
    case VHOST_RING_AT_ENTRY:
      g_set_error (walk->error, VHOST_ERROR, VHOST_ERROR_RING, "entry %u of the available ring: %s",
                   walk->position, what);
      break;
    case VHOST_RING_AT_SLOT:
      g_set_error (walk->error, VHOST_ERROR, VHOST_ERROR_RING, "slot %u of the descriptor ring: %s",
                   walk->position, what);
      break;
    case VHOST_RING_AT_AGAIN:
    default:
      g_set_error (walk->error, VHOST_ERROR, VHOST_ERROR_RING,
                   "entry %u of the in-flight area, to be served again: %s", walk->position, what);
      break;
    }
  return FALSE;
}

gboolean
vhost_ring_walk_miss (VhostRingWalk *walk, guint64 address, guint access)
{
  walk->result = VHOST_RING_MISS;
  return note_miss (walk->ring, address, access);
}

/* Room for one more segment. Large blocks are counted against the queue's budget, so that 32768
 * heads of 32768 segments are not 16 GiB. A chain alone always fits. */
static gboolean
grow (VhostRingWalk *walk)
{
  VhostRing *ring = walk->ring;
  VhostChain *chain = walk->chain;
  guint limit = 2 * ring->max_chain + VHOST_MEMORY_MAX_REGIONS;
  guint old = chain->n_allocated;
  guint more;

  if (ring->memory->is_view)
    limit = MAX (limit, VIEW_SEGMENTS);
  if (old >= limit)
    return vhost_ring_walk_violation (walk, "more than %u pieces of memory in one descriptor chain",
                                      limit);
  more = MIN (old * 4, limit);
  old = old == VHOST_CHAIN_INLINE_SEGMENTS ? 0 : old;
  if (more - old > *ring->segments_left)
    {
      walk->result = VHOST_RING_AGAIN;
      return FALSE;
    }
  *ring->segments_left -= more - old;
  vhost_ring_walk_finish (chain, &walk->count); /* what is to be kept */
  vhost_chain_reserve (chain, more);
  walk->count.next = chain->segments + chain->n_readable + chain->n_writable;
  walk->count.end = chain->segments + chain->n_allocated;
  return TRUE;
}

gboolean
vhost_ring_walk_add_slowly (VhostRingWalk *walk, guint64 address, guint32 length, gboolean writable)
{
  VhostRing *ring = walk->ring;
  guint access = writable ? VHOST_MEMORY_WRITE : VHOST_MEMORY_READ;
  guint64 left = length;

  if (!writable && walk->count.writing)
    return vhost_ring_walk_violation (walk, "a readable descriptor follows a writable one");
  if (walk->count.total > G_GUINT64_CONSTANT (1) << 32)
    return vhost_ring_walk_violation (walk, "the chain's buffers are longer than 4 GiB together");
  if (address + left < address)
    return vhost_ring_walk_violation (
        walk, "a buffer of %u bytes at 0x%" G_GINT64_MODIFIER "x wraps around", length, address);

  while (left > 0)
    {
      const VhostMemorySlot *slot = vhost_memory_find (ring->memory, ring->cache, address);
      guint64 offset, n;

      if (slot == NULL || !(slot->access & access))
        {
          if (ring->memory->is_view)
            return vhost_ring_walk_miss (walk, address, access);
          return vhost_ring_walk_violation (
              walk,
              "a buffer of %u bytes reaches guest address 0x%" G_GINT64_MODIFIER
              "x, which is not in a shared memory region",
              length, address);
        }
      offset = address - slot->guest_address;
      n = MIN (left, slot->size - offset);
      if (walk->count.next == walk->count.end && !grow (walk))
        return FALSE;
      walk->count.next->iov_base = slot->host + offset;
      walk->count.next->iov_len = n;
      walk->count.next++;
      address += n;
      left -= n;
    }
  return TRUE;
}

gboolean
vhost_ring_walk_check_table (VhostRingWalk *walk, guint32 length)
{
  guint n = length / VHOST_RING_DESCRIPTOR;

  if (!walk->ring->indirect)
    return vhost_ring_walk_violation (walk,
                                      "an indirect descriptor, but the feature was not negotiated");
  if (length == 0 || length % VHOST_RING_DESCRIPTOR != 0)
    return vhost_ring_walk_violation (walk, "an indirect table of %u bytes, not a multiple of 16",
                                      length);
  if (n > walk->ring->max_chain)
    return vhost_ring_walk_violation (walk,
                                      "an indirect table of %u descriptors; at most %u are allowed",
                                      n, walk->ring->max_chain);
  return TRUE;
}

gpointer
vhost_ring_walk_table_slowly (VhostRingWalk *walk, guint64 address, guint32 length)
{
  VhostRing *ring = walk->ring;

  if (!ring->memory->is_view)
    {
      gpointer table = vhost_memory_translate (ring->memory, ring->cache, address, length);

      if (table == NULL)
        vhost_ring_walk_violation (walk,
                                   "an indirect table of %u bytes at 0x%" G_GINT64_MODIFIER
                                   "x is not wholly inside a shared memory region",
                                   length, address);
      return table;
    }

  /* Its pages may lie apart here: it is read from a copy. */
  if (address + length < address)
    {
      vhost_ring_walk_violation (
          walk, "an indirect table of %u bytes at 0x%" G_GINT64_MODIFIER "x wraps around", length,
          address);
      return NULL;
    }
  if (ring->table == NULL)
    ring->table = g_malloc ((gsize) ring->max_chain * VHOST_RING_DESCRIPTOR);
  for (guint32 done = 0; done < length;)
    {
      const VhostMemorySlot *slot = vhost_memory_find (ring->memory, ring->cache, address + done);
      guint64 offset;
      guint32 n;

      if (slot == NULL || !(slot->access & VHOST_MEMORY_READ))
        {
          vhost_ring_walk_miss (walk, address + done, VHOST_MEMORY_READ);
          return NULL;
        }
      offset = address + done - slot->guest_address;
      n = (guint32) MIN (slot->size - offset, length - done);
      memcpy ((guint8 *) ring->table + done, slot->host + offset, n);
      done += n;
    }
  return ring->table;
}

/* ---- IN_ORDER ---- */

void
vhost_ring_row_add (VhostRing *ring, VhostChain *chain)
{
  VhostRingRequest *request = &ring->requests[chain->head];
  guint32 at = ring->row_first + ring->row_length++;

  ring->row[at < ring->size ? at : at - ring->size] = chain->head;
  request->writable = chain->writable_size;
  request->slots = chain->n_slots;
  request->done = FALSE;
}

guint32
vhost_ring_row_batch (VhostRing *ring)
{
  guint32 n = 0;

  while (n < ring->row_length)
    {
      const VhostRingRequest *request = &ring->requests[vhost_ring_row_get (ring, n)];

      if (!request->done)
        break;
      n++;
      if (request->length != request->writable)
        break;
    }
  return n;
}

void
vhost_ring_row_drop (VhostRing *ring, guint32 n)
{
  ring->row_length -= n;
  ring->row_first += n;
  if (ring->row_first >= ring->size)
    ring->row_first -= ring->size;
}
