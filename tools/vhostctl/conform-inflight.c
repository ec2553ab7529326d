/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-flight tracking: the shared region, and what a back-end makes of one that another left. */
#include "conform.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct
{
  guint64 size, offset;
  guint16 queues, queue_size;
  guint32 padding;
} Description;

/* The region of a split ring: inflight u8, padding, next u16, counter u64 at HEADER + 16 * head. */
#define VERSION_AT 8
#define DESC_NUM_AT 10
#define USED_INDEX_AT 14
#define SPLIT_HEADER 16
#define SPLIT_ENTRY 16
#define PACKED_HEADER 32
#define PACKED_ENTRY 32

typedef struct
{
  Description description;
  int fd;
  guint8 *map;
} Region;

static guint16
get16 (const guint8 *bytes)
{
  guint16 value;

  memcpy (&value, bytes, sizeof value);
  return value;
}

static void
set16 (guint8 *bytes, guint16 value)
{
  memcpy (bytes, &value, sizeof value);
}

static void
clear_region (Region *region)
{
  if (region->map != NULL)
    munmap (region->map, region->description.offset + region->description.size);
  if (region->fd >= 0)
    close (region->fd);
}

/* FALSE: decided. */
static gboolean
get_region (Conform *self, Region *region)
{
  ConformAnswer answer;
  guint16 queues = g_strcmp0 (self->device, "net") == 0 ? 2 : 1;

  *region = (Region){ { 0, 0, queues, CONFORM_RING_SIZE, 0 }, -1, NULL };
  conform_send (self, MSG_GET_INFLIGHT_FD, CONFORM_VERSION, &region->description,
                sizeof region->description, NULL, 0);
  if (!conform_receive_reply (self, MSG_GET_INFLIGHT_FD, sizeof region->description, &answer))
    return FALSE;
  memcpy (&region->description, answer.payload, sizeof region->description);
  if (answer.n_fds > 0)
    {
      region->fd = answer.fds[0];
      answer.fds[0] = -1;
    }
  conform_clear_answer (&answer);
  CONFORM_CHECK (self, region->fd >= 0, "the answer has no descriptor");
  CONFORM_CHECK (self, region->description.size < (1u << 30), "a region of %" G_GUINT64_FORMAT,
                 region->description.size);
  if (conform_is_decided (self))
    return FALSE;
  region->map = mmap (NULL, region->description.offset + region->description.size,
                      PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
  if (region->map == MAP_FAILED)
    {
      region->map = NULL;
      conform_fail (self, "the region cannot be mapped");
      return FALSE;
    }
  return TRUE;
}

static guint8 *
get_area (Region *region)
{
  return region->map + region->description.offset;
}

static void
send_region (Conform *self, const Region *region)
{
  conform_do (self, MSG_SET_INFLIGHT_FD, &region->description, sizeof region->description,
              &region->fd, 1);
}

/* The area of the ring for requests, which may be the second; rounded up to 64 bytes. */
static guint8 *
get_ring_area (Conform *self, Region *region, const ConformRing *ring)
{
  const gsize header = ring->packed ? PACKED_HEADER : SPLIT_HEADER;
  const gsize entry = ring->packed ? PACKED_ENTRY : SPLIT_ENTRY;

  return get_area (region)
         + ring->index * ((header + entry * CONFORM_RING_SIZE + 63) & ~(gsize) 63);
}

static void
large_enough (Conform *self)
{
  Region region;
  gsize least;

  conform_connect (self);
  least = (self->features & F_PACKED) != 0 ? PACKED_HEADER + PACKED_ENTRY * CONFORM_RING_SIZE
                                           : SPLIT_HEADER + SPLIT_ENTRY * CONFORM_RING_SIZE;
  if (get_region (self, &region))
    CONFORM_CHECK (self, region.description.size >= least,
                   "the region has %" G_GUINT64_FORMAT
                   " bytes, a ring of %u needs %" G_GSIZE_FORMAT,
                   region.description.size, CONFORM_RING_SIZE, least);
  clear_region (&region);
}

static void
initialised_at_start (Conform *self)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      ConformRing *ring;
      const guint8 *area;

      send_region (self, &region);
      ring = conform_start_io (self);
      conform_io_run (ring);
      area = get_ring_area (self, &region, ring);
      CONFORM_CHECK (self, get16 (area + VERSION_AT) == 1, "the version is %u after the start",
                     get16 (area + VERSION_AT));
      CONFORM_CHECK (self, get16 (area + DESC_NUM_AT) == CONFORM_RING_SIZE,
                     "desc_num is %u for a ring of %u", get16 (area + DESC_NUM_AT),
                     CONFORM_RING_SIZE);
    }
  clear_region (&region);
}

static void
send_bad (Conform *self, guint16 queues, guint64 offset, guint64 size)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      region.description.queues = queues;
      region.description.offset = offset;
      region.description.size = size;
      conform_refused (self, MSG_SET_INFLIGHT_FD, &region.description, sizeof region.description,
                       &region.fd, 1, FALSE);
      region.map = NULL;
    }
  clear_region (&region);
}

static void
bad_region_refused (Conform *self)
{
  send_bad (self, 60000, 0, 4096);
  send_bad (self, 1, G_MAXUINT64 - 100, 4096);
}

static void
tracked_and_done (Conform *self)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      ConformRing *ring;
      const guint8 *area;
      guint used = 0;

      send_region (self, &region);
      ring = conform_start_io (self);
      for (guint i = 0; i < 4; i++)
        conform_io_offer (ring, i);
      conform_ring_kick (ring);
      for (guint i = 0; i < 4; i++)
        conform_io_finish (ring);
      conform_ring_stop (ring);
      area = get_ring_area (self, &region, ring);
      for (guint i = 0; i < CONFORM_RING_SIZE; i++)
        used |= area[(ring->packed ? PACKED_HEADER + PACKED_ENTRY * i
                                   : SPLIT_HEADER + SPLIT_ENTRY * i)];
      CONFORM_CHECK (self, used == 0, "entries are marked in flight after all requests ended");
      CONFORM_CHECK (self, ring->packed || get16 (area + USED_INDEX_AT) == 4,
                     "used_idx is %u after 4 requests", get16 (area + USED_INDEX_AT));
    }
  clear_region (&region);
}

/* As a back-end left it that died: requests 1 and 2 were taken and not given back, in this order by
 * their counters. */
static void
recovers (Conform *self)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      ConformRing *ring;
      guint8 *area;
      guint seen = 0;

      ring = conform_prepare_io (self);
      area = get_ring_area (self, &region, ring);
      memset (area, 0, SPLIT_HEADER + SPLIT_ENTRY * CONFORM_RING_SIZE);
      set16 (area + VERSION_AT, 1);
      set16 (area + DESC_NUM_AT, CONFORM_RING_SIZE);
      for (guint i = 1; i < 3; i++)
        {
          guint8 *entry = area + SPLIT_HEADER + SPLIT_ENTRY * i * CONFORM_PER_REQUEST;
          const guint64 counter = i;

          conform_io_offer (ring, i);
          entry[0] = 1;
          memcpy (entry + 8, &counter, sizeof counter);
        }
      send_region (self, &region);
      /* After a crash a front-end knows only what was used. */
      ring->base = 0;
      conform_ring_start (ring);
      for (guint i = 1; i < 3; i++)
        seen |= 1u << conform_io_finish (ring);
      CONFORM_CHECK (self, seen == 6, "requests 1 and 2 were in flight, the mask 0x%x comes back",
                     seen);
      /* None of them twice, and what comes next is served. */
      conform_ring_expect_nothing (ring, "a request that was in flight comes back twice");
      conform_io_run (ring);
    }
  clear_region (&region);
}

/* Died between used->idx and the clearing: requests 1 and 2 are a batch that was published. */
static void
batch_not_repeated (Conform *self)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      ConformRing *ring;
      guint8 *area;
      guint32 *elements;

      ring = conform_prepare_io (self);
      area = get_ring_area (self, &region, ring);
      memset (area, 0, SPLIT_HEADER + SPLIT_ENTRY * CONFORM_RING_SIZE);
      set16 (area + VERSION_AT, 1);
      set16 (area + DESC_NUM_AT, CONFORM_RING_SIZE);
      elements = (guint32 *) (gpointer) (ring->used + 2);
      for (guint i = 1; i < 3; i++)
        {
          guint8 *entry = area + SPLIT_HEADER + SPLIT_ENTRY * i * CONFORM_PER_REQUEST;

          conform_io_offer (ring, i);
          entry[0] = 1;
          entry[8] = (guint8) i;
          elements[2 * (i - 1)] = i * CONFORM_PER_REQUEST;
        }
      /* The second one's predecessor in the batch is the first. */
      set16 (area + SPLIT_HEADER + SPLIT_ENTRY * 2 * CONFORM_PER_REQUEST + 6, CONFORM_PER_REQUEST);
      set16 (area + 12, 2 * CONFORM_PER_REQUEST);
      ring->used[1] = ring->used_index = 2;
      ring->base = 2;
      send_region (self, &region);
      conform_ring_start (ring);
      conform_ring_expect_nothing (ring, "a request comes back twice that was used before the end");
      conform_io_run (ring);
    }
  clear_region (&region);
}

static void
hostile_area (Conform *self)
{
  Region region;

  conform_connect (self);
  if (get_region (self, &region))
    {
      ConformRing *ring = conform_prepare_io (self);
      guint8 *area = get_ring_area (self, &region, ring);
      const gsize size = ring->packed ? PACKED_HEADER + PACKED_ENTRY * CONFORM_RING_SIZE
                                      : SPLIT_HEADER + SPLIT_ENTRY * CONFORM_RING_SIZE;

      /* Every index out of bounds, everything in flight. */
      memset (area, 0xff, size);
      memset (area, 0, 8);
      set16 (area + VERSION_AT, 1);
      set16 (area + DESC_NUM_AT, CONFORM_RING_SIZE);
      send_region (self, &region);
      conform_may_close (self);
      conform_ring_set_up (ring);
      conform_ack (self, MSG_SET_VRING_KICK, &(guint64){ ring->index }, 8, &ring->kick_fd, 1);
      g_usleep ((gulong) self->quiet_ms * 1000);
      conform_in_step (self);
    }
  clear_region (&region);
}

#define SECTION "Inflight I/O tracking"
#define SPLIT(name, text, run, force)                                                              \
  {                                                                                                \
    name, SECTION, text, run, force, 0, P_INFLIGHT, TRUE, 0                                        \
  }
#define PACKED(name, text, run, force)                                                             \
  {                                                                                                \
    name, SECTION, text, run, force, F_PACKED, P_INFLIGHT, TRUE, 0                                 \
  }
#define HIDDEN(name, text, reason)                                                                 \
  {                                                                                                \
    name, SECTION, text "; not visible: " reason, NULL, CONFORM_MUST, 0, 0, FALSE, 0               \
  }

const ConformRule conform_inflight_rules[] = {
  SPLIT ("IF1", "the region holds the entries of its rings", large_enough, CONFORM_MUST),
  PACKED ("IF1-packed", "... packed", large_enough, CONFORM_MUST),
  SPLIT ("IF2", "a new region is initialised at the start", initialised_at_start, CONFORM_MUST),
  PACKED ("IF2-packed", "... packed", initialised_at_start, CONFORM_MUST),
  { "IF3", SECTION, "a region that does not fit its own numbers is refused", bad_region_refused,
    CONFORM_SILENT, 0, P_INFLIGHT | P_REPLY_ACK, FALSE, 0 },
  SPLIT ("IF3-area", "a region full of wrong indices does no harm", hostile_area, CONFORM_SILENT),
  PACKED ("IF3-packed", "... packed", hostile_area, CONFORM_SILENT),
  SPLIT ("IF4", "nothing is marked in flight after all requests ended", tracked_and_done,
         CONFORM_MUST),
  SPLIT ("IF5", "a batch that was published is not repeated", batch_not_repeated, CONFORM_MUST),
  SPLIT ("IF6", "requests in flight are resubmitted, once", recovers, CONFORM_MUST),
  PACKED ("IF7", "nothing is marked in flight after all requests ended, packed", tracked_and_done,
          CONFORM_MUST),
  HIDDEN ("IF8", "the steps of giving back, packed, have one order",
          "the order of stores cannot be seen without killing between two of them"),
  HIDDEN ("IF9", "a region torn at any store is recovered, packed",
          "it takes a region torn at every store of a packed ring"),
  HIDDEN ("IF10", "a packed ring goes on where the region says",
          "it takes a region torn at every store of a packed ring"),
  HIDDEN ("IF11", "counters go on above the highest that was found",
          "how counters go on is the back-end's own business"),
  HIDDEN ("IF12", "requests that a stop left in flight are served by the next start",
          "it takes a device that can be held in the middle of a request"),
  { 0 },
};
