/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ring layouts share, away from the hot path: places in guest memory, the seldom halves
 * of a walk, marks in the dirty log, the row of IN_ORDER. Must not know where a layout keeps its
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
  ring->n_resubmit = ring->resubmit_left = ring->n_requests = 0;
  ring->row_first = ring->row_length = 0;
  ring->called_valid = FALSE;
  ring->n_uncalled = ring->inflight != NULL ? 1 : 0;
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

/* In a view, pages that follow each other there may lie apart here; a ring's part must not. */
static gboolean
place_in_view (VhostRing *ring, const char *what, guint64 address, guint64 length, guint access,
               gpointer *where, GError **error)
{
  guint8 *expected = NULL;

  if (address + length < address)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at 0x%" G_GINT64_MODIFIER "x wraps around", what, address);
      return FALSE;
    }
  for (guint64 done = 0; done < length;)
    {
      const VhostMemorySlot *slot = vhost_memory_lookup (ring->memory, address + done);
      guint64 offset;
      guint8 *host;

      if (slot == NULL || (slot->access & access) != access)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                       "the %s has no translation at 0x%" G_GINT64_MODIFIER "x yet", what,
                       address + done);
          return note_miss (ring, address + done, access);
        }
      offset = address + done - slot->guest_address;
      host = slot->host + offset;
      if (done == 0)
        *where = host;
      else if (host != expected)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                       "the %s at 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                       " bytes, lies in pages that are apart in the guest's memory: use a smaller "
                       "ring",
                       what, address, length);
          return FALSE;
        }
      done += slot->size - offset;
      expected = host + (slot->size - offset);
    }
  return TRUE;
}

gboolean
vhost_ring_place_part (VhostRing *ring, const char *what, guint64 address, guint64 length,
                       guint alignment, guint access, gpointer *where, GError **error)
{
  if (address % alignment != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER
                   "x is not aligned to %u bytes (VIRTIO 1.3, 2.7 and 2.8)",
                   what, address, alignment);
      return FALSE;
    }
  if (ring->memory->is_view)
    {
      if (!place_in_view (ring, what, address, length, access, where, error))
        return FALSE;
    }
  else
    {
      *where = vhost_memory_translate (ring->memory, ring->cache, address, length);
      if (*where == NULL)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                       "the %s at guest address 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                       " bytes, is not wholly inside a shared memory region",
                       what, address, length);
          return FALSE;
        }
    }
  /* A region may begin at any byte of its file, so guest and host addresses need not be alike. */
  if ((guintptr) *where % alignment != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER
                   "x is not aligned to %u bytes in this process: its memory region's offset in "
                   "its file must be",
                   what, address, alignment);
      return FALSE;
    }
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

/* ---- The dirty log ---- */

void
vhost_ring_mark (VhostRing *ring, guint64 address, const void *host, guint32 length)
{
  const VhostMemorySlot *slot;

  if (!ring->memory->is_view)
    {
      vhost_dirty_log_mark (ring->log, address, length);
      return;
    }
  /* L12: the log's address is an IOVA; where it leads nowhere, what counts is what was written. */
  slot = vhost_memory_lookup (ring->memory, address);
  if (slot != NULL && vhost_memory_slot_holds (slot, address, length))
    host = slot->host + (address - slot->guest_address);
  vhost_dirty_log_mark_host (ring->log, ring->memory, host, length);
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
