/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two regions of guest memory, a chain, and what must hold of a chain that was taken, for the
 * harnesses of both ring layouts. Must not know a layout.
 *
 * How it works: everything that a driver can write has any value, and it may change between any two
 * reads. Whatever comes out, every segment lies in one of the regions, with the right to use it so,
 * and nothing was counted that is not there. */
#pragma once

#include "harness.h"

#include "vhost-memory.c"
#include "vhost-ring.c"

#define RING_SIZE 4u
#define MOST_SEGMENTS 32u
#define REGION_0 96u
#define REGION_1 32u

static guint8 *region[2];
static VhostMemorySlot slots[2];
static guint64 keys[2];
static VhostMemory memory;
static VhostMemoryCache cache;
static VhostRing ring;
static VhostChain chain;
static guint64 segments_left, segments_before;
static guint8 *in_flight;
static guint64 base_address;

/* More than there is room for is never asked for. */
void
vhost_chain_reserve (VhostChain *self, guint n)
{
  PROVE (n <= MOST_SEGMENTS);
  PROVE (n >= self->n_allocated);
  self->n_allocated = n;
}

void
vhost_dirty_log_mark (VhostDirtyLog *self, guint64 guest_address, guint64 length)
{
  (void) self, (void) guest_address, (void) length;
}

void
vhost_dirty_log_mark_host (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *map,
                           const void *host, guint64 length)
{
  (void) self, (void) batch, (void) map, (void) host, (void) length;
}

void
vhost_dirty_log_mark_address (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *map,
                              guint64 address, guint64 length)
{
  (void) self, (void) batch, (void) map, (void) address, (void) length;
}

void
vhost_dirty_log_commit_batch (VhostDirtyLog *self, VhostDirtyBatch *batch)
{
  (void) self, (void) batch;
}

/* The ring has no in-flight area here; that has harnesses of its own. */
const VhostInflightRequest *
vhost_inflight_region_get_requests (VhostInflightRegion *self, guint *n)
{
  (void) self, (void) n;
  PROVE (FALSE);
  return NULL;
}

gboolean
vhost_inflight_packed_get (VhostInflightRegion *self, guint16 entry, guint step,
                           VhostInflightDescriptor *descriptor)
{
  (void) self, (void) entry, (void) step, (void) descriptor;
  PROVE (FALSE);
  return FALSE;
}

void
vhost_inflight_split_take (VhostInflightRegion *self, guint16 head)
{
  (void) self, (void) head;
  PROVE (FALSE);
}

guint16
vhost_inflight_packed_take (VhostInflightRegion *self, const VhostInflightDescriptor *list, guint n)
{
  (void) self, (void) list, (void) n;
  PROVE (FALSE);
  return 0;
}

void
vhost_inflight_split_push (VhostInflightRegion *self, guint16 head)
{
  (void) self, (void) head;
  PROVE (FALSE);
}

void
vhost_inflight_split_published (VhostInflightRegion *self, guint16 used_index)
{
  (void) self, (void) used_index;
  PROVE (FALSE);
}

void
vhost_inflight_packed_push (VhostInflightRegion *self, const guint16 *entries, guint n,
                            guint16 used, gboolean used_wrap)
{
  (void) self, (void) entries, (void) n, (void) used, (void) used_wrap;
  PROVE (FALSE);
}

void
vhost_inflight_packed_published (VhostInflightRegion *self, const guint16 *entries, guint n)
{
  (void) self, (void) entries, (void) n;
  PROVE (FALSE);
}

static void
walk_memory (void)
{
  static const guint64 sizes[2] = { REGION_0, REGION_1 };

  if (region[0] == NULL)
    {
      region[0] = harness_guarded (REGION_0);
      region[1] = harness_guarded (REGION_1);
      in_flight = harness_guarded (RING_SIZE);
    }
  memset (&memory, 0, sizeof memory);
  memset (&cache, 0, sizeof cache);
  memory.is_view = nondet_uint8 () & 1;
  memory.n_slots = 2;
  memory.keys = keys;
  memory.slots = slots;
#ifdef __CPROVER__
  keys[0] = nondet_uint64 ();
  keys[1] = nondet_uint64 ();
#else
  /* Side by side, or not; at the end of all addresses, or not. */
  keys[0] = nondet_uint8 () & 1 ? 0x1000 : (guint64) 0 - REGION_0 - REGION_1 - 1;
  keys[1] = keys[0] + REGION_0 + nondet_uint8 () % 2;
#endif
  ASSUME (keys[0] <= G_MAXUINT64 - REGION_0 && keys[1] <= G_MAXUINT64 - REGION_1);
  ASSUME (keys[0] + REGION_0 <= keys[1]);
  base_address = keys[0];
  for (guint i = 0; i < 2; i++)
    {
      slots[i].guest_address = keys[i];
      slots[i].size = sizes[i];
      slots[i].host = region[i];
      slots[i].access = memory.is_view ? nondet_uint8 () & 3u : 3u;
    }
  /* What earlier chains have left there: nothing, or regions of this map. */
  for (guint i = 0; i < 2; i++)
    if (nondet_uint8 () & 1)
      cache.slots[i] = slots[nondet_uint8 () & 1];
}

static void
walk_ring (void)
{
  memset (&ring, 0, sizeof ring);
  memset (&chain, 0, sizeof chain);
  ring.memory = &memory;
  ring.cache = &cache;
  ring.size = RING_SIZE;
  ring.mask = RING_SIZE - 1;
  ring.max_chain = 2 * RING_SIZE;
  ring.indirect = nondet_uint8 () & 1;
  ring.event_idx = nondet_uint8 () & 1;
  ring.in_flight = in_flight;
  ring.segments_left = &segments_left;
  for (guint i = 0; i < RING_SIZE; i++)
    in_flight[i] = nondet_uint8 () % 4 == 0;
  segments_left = segments_before = nondet_uint8 () % 64;
  chain.segments = chain.inline_segments;
  /* Less than there really is, so that room runs out. */
  chain.n_allocated = 2;
}

/* A descriptor's buffer. Half of the random ones are cut to the regions: mistakes at a region's end
 * would be rare otherwise. */
static void
any_buffer (guint64 *address, guint32 *length)
{
  *address = any_address (base_address);
  *length = (guint32) any_length ();
#ifndef __CPROVER__
  if (nondet_uint8 () & 1)
    {
      guint i = nondet_uint8 () & 1;
      guint n = nondet_uint8 () % (slots[i].size / 16 + 1);

      *address = slots[i].guest_address + slots[i].size - 16 * n;
      *length = 16 * n;
    }
#endif
}

/* Indirect ones now and then only: half of them would leave no long chains. */
static guint16
any_flags (void)
{
#ifdef __CPROVER__
  return nondet_uint16 ();
#else
  return nondet_uint8 () % 8 == 0 ? 4u | any_number (3) : any_number (3);
#endif
}

static gboolean
lies_in (const struct iovec *segment, guint i)
{
  guintptr offset = (guintptr) segment->iov_base - (guintptr) region[i];
  gsize size = i == 0 ? REGION_0 : REGION_1;

  return offset < size && segment->iov_len <= size - offset;
}

/* After pop (); @taken: the state of in_flight before. */
static void
walk_check (VhostRingResult result, const GError *error, const guint8 *before)
{
  guint64 readable = 0, writable = 0;
  guint changed = 0;

  PROVE (segments_left <= segments_before);
  PROVE ((error != NULL) == (result == VHOST_RING_VIOLATION));
  for (guint i = 0; i < RING_SIZE; i++)
    changed += before[i] != in_flight[i];
  if (result != VHOST_RING_TAKEN)
    {
      PROVE (changed == 0);
      PROVE (result != VHOST_RING_MISS || (memory.is_view && ring.missed));
      return;
    }

  REACHED (0);
  PROVE (changed == 1 && chain.head < RING_SIZE && in_flight[chain.head]);
  PROVE (chain.n_allocated <= MOST_SEGMENTS);
  PROVE (chain.n_readable <= chain.n_allocated);
  PROVE (chain.n_writable <= chain.n_allocated - chain.n_readable);
  for (guint i = 0; i < chain.n_readable + chain.n_writable; i++)
    {
      const struct iovec *segment = &chain.segments[i];
      guint access = i < chain.n_readable ? VHOST_MEMORY_READ : VHOST_MEMORY_WRITE;

      PROVE (segment->iov_len > 0);
      PROVE ((lies_in (segment, 0) && (slots[0].access & access))
             || (lies_in (segment, 1) && (slots[1].access & access)));
      if (i < chain.n_readable)
        readable += segment->iov_len;
      else
        writable += segment->iov_len;
    }
  PROVE (readable == chain.readable_size && writable == chain.writable_size);
  PROVE (readable + writable <= (guint64) 1 << 32);
}
