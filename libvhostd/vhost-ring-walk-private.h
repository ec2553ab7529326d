/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ring layouts do in the same way: a descriptor chain becomes segments, writes to the
 * ring are marked, IN_ORDER keeps its row. Only the layouts include this; it must not know where a
 * layout keeps its descriptors.
 *
 * How it works: a walk counts in a structure of its own and tells the chain at its end, so that a
 * walk that stops half-way has taken nothing. A buffer that lies in one of the cache's two regions
 * is a few comparisons, inline; everything else is vhost-ring.c's. */
#pragma once

#include "vhost-ring-private.h"

#define VHOST_RING_NEXT 1u
#define VHOST_RING_WRITE 2u
#define VHOST_RING_INDIRECT 4u

/* Size of a descriptor, in both layouts. */
#define VHOST_RING_DESCRIPTOR 16u

/* Where a walk is, for the words of an error. */
typedef enum
{
  VHOST_RING_AT_ENTRY, /* of the available ring */
  VHOST_RING_AT_SLOT,  /* of the packed ring */
  VHOST_RING_AT_AGAIN, /* a request of the in-flight area */
} VhostRingAt;

/* What was found so far. A loop keeps it in a local, so that it stays in registers. The chain's
 * readable part is set when the first writable buffer ends it. */
typedef struct
{
  struct iovec *next; /* of the chain's segments */
  struct iovec *end;
  guint64 total;    /* bytes */
  gboolean writing; /* a writable buffer was seen */
} VhostRingCount;

static inline VhostRingCount
vhost_ring_count (VhostChain *chain)
{
  return (VhostRingCount){ .next = chain->segments, .end = chain->segments + chain->n_allocated };
}

typedef struct
{
  VhostRing *ring;
  VhostChain *chain;
  GError **error;
  VhostRingAt at;
  guint position;
  VhostRingResult result; /* set by a walk that ended early */
  VhostRingCount count;   /* where no loop has it */
} VhostRingWalk;

static inline void
vhost_ring_walk_init (VhostRingWalk *walk, VhostRing *ring, VhostChain *chain, GError **error,
                      VhostRingAt at, guint position)
{
  walk->ring = ring;
  walk->chain = chain;
  walk->error = error;
  walk->at = at;
  walk->position = position;
}

/* All return FALSE, with the walk's result set. */
G_GNUC_PRINTF (2, 3)
gboolean vhost_ring_walk_violation (VhostRingWalk *walk, const char *format, ...);
gboolean vhost_ring_walk_miss (VhostRingWalk *walk, guint64 address, guint access);

/* A buffer that is not simply inside a region of the cache, or for which there is no room; counts
 * in the walk's own count, where its length is added already. */
gboolean vhost_ring_walk_add_slowly (VhostRingWalk *walk, guint64 address, guint32 length,
                                     gboolean writable);
/* An indirect table that is not simply inside a region of the cache; NULL: none. */
gpointer vhost_ring_walk_table_slowly (VhostRingWalk *walk, guint64 address, guint32 length);
/* The rules for an indirect descriptor's length and feature (V12, V17, V21). */
gboolean vhost_ring_walk_check_table (VhostRingWalk *walk, guint32 length);

/* The region of the cache that holds all of it, with the right to do @access there. */
static inline const VhostMemorySlot *
vhost_ring_cached (VhostRing *ring, guint64 address, guint32 length, guint access)
{
  const VhostMemorySlot *slot = &ring->cache->slots[0];

  if (G_UNLIKELY (!vhost_memory_slot_holds (slot, address, length)))
    {
      slot++;
      if (!vhost_memory_slot_holds (slot, address, length))
        return NULL;
    }
  return G_LIKELY (slot->access & access) ? slot : NULL;
}

/* A descriptor's buffer, of at least one byte, becomes one segment, or one for each region that it
 * spans (V13, V14). */
G_GNUC_UNUSED static inline __attribute__ ((always_inline)) gboolean
vhost_ring_walk_add (VhostRingWalk *walk, VhostRingCount *count, guint64 address, guint32 length,
                     gboolean writable)
{
  const VhostMemorySlot *slot = vhost_ring_cached (
      walk->ring, address, length, writable ? VHOST_MEMORY_WRITE : VHOST_MEMORY_READ);

  if (writable && !count->writing)
    {
      count->writing = TRUE;
      walk->chain->n_readable = (guint32) (count->next - walk->chain->segments);
      walk->chain->readable_size = count->total;
    }
  count->total += length;
  if (G_UNLIKELY (slot == NULL || count->next == count->end || count->writing != writable
                  || count->total > G_GUINT64_CONSTANT (1) << 32))
    {
      gboolean added;

      walk->count = *count;
      added = vhost_ring_walk_add_slowly (walk, address, length, writable);
      *count = walk->count;
      return added;
    }
  count->next->iov_base = slot->host + (address - slot->guest_address);
  count->next->iov_len = length;
  count->next++;
  return TRUE;
}

/* The table of an indirect descriptor, whole and not only its start; NULL: the walk has ended. */
static inline gpointer
vhost_ring_walk_table (VhostRingWalk *walk, guint64 address, guint32 length)
{
  VhostRing *ring = walk->ring;
  const VhostMemorySlot *slot;

  /* length 0 wraps around in the third one */
  if (G_UNLIKELY (!ring->indirect || length % VHOST_RING_DESCRIPTOR != 0
                  || (length - 1) / VHOST_RING_DESCRIPTOR >= ring->max_chain)
      && !vhost_ring_walk_check_table (walk, length))
    return NULL;
  slot = vhost_ring_cached (ring, address, length, VHOST_MEMORY_READ);
  if (G_UNLIKELY (slot == NULL))
    return vhost_ring_walk_table_slowly (walk, address, length);
  return slot->host + (address - slot->guest_address);
}

static inline void
vhost_ring_walk_finish (VhostChain *chain, const VhostRingCount *count)
{
  guint32 n = (guint32) (count->next - chain->segments);

  if (!count->writing)
    {
      chain->n_readable = n;
      chain->readable_size = count->total;
    }
  chain->n_segments = n;
  chain->n_writable = n - chain->n_readable;
  chain->writable_size = count->total - chain->readable_size;
}

/* A part of the ring, contiguous in the guest's addresses, to be found in this process. */
typedef struct
{
  const char *what;
  guint64 address;
  guint64 length;
  guint alignment;
  guint access;
  gpointer place; /* out */
} VhostRingPart;

/* place () for the parts of a layout. FALSE: the ring is where it was. */
gboolean vhost_ring_place (VhostRing *ring, VhostRingPart parts[VHOST_RING_PARTS], GError **error);

/* What set_base () needs before the first request, as negotiated. */
void vhost_ring_prepare (VhostRing *ring, gboolean packed);

/* ---- The dirty log ---- */

/* After each store to the used ring or the device event area, @offset bytes into it (L8). */
static inline void
vhost_ring_wrote (VhostRing *ring, guint64 offset, guint64 length)
{
  if (G_UNLIKELY (ring->log != NULL) && ring->log_used)
    vhost_dirty_log_mark_address (ring->log, NULL, ring->memory, ring->log_address + offset,
                                  length);
}

/* The same of what is not visible yet: with all the rest of its group. */
static inline void
vhost_ring_wrote_entry (VhostRing *ring, guint64 offset, guint64 length)
{
  if (G_LIKELY (ring->log == NULL) || !ring->log_used)
    return;
  if (ring->log_batch != NULL && !ring->memory->is_view
      && vhost_dirty_batch_add (ring->log_batch, ring->log_address + offset, length))
    return;
  vhost_dirty_log_mark_address (ring->log, ring->log_batch, ring->memory,
                                ring->log_address + offset, length);
}

/* Before a group becomes visible (L9). */
static inline void
vhost_ring_commit_log (VhostRing *ring)
{
  if (G_UNLIKELY (ring->log != NULL) && ring->log_batch != NULL)
    vhost_dirty_log_commit (ring->log, ring->log_batch);
}

/* ---- IN_ORDER ---- */

static inline guint16
vhost_ring_row_get (VhostRing *ring, guint32 i)
{
  guint32 at = ring->row_first + i;

  return ring->row[at < ring->size ? at : at - ring->size];
}

/* A request was taken: a head is in flight once, so there is always room. */
void vhost_ring_row_add (VhostRing *ring, VhostChain *chain);
/* How many from the row's begin on can go out as one batch (V28): the length of the last one is
 * told, the others were used completely. 0: the oldest request has not ended. */
guint32 vhost_ring_row_batch (VhostRing *ring);
void vhost_ring_row_drop (VhostRing *ring, guint32 n);
