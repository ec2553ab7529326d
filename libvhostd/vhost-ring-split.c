/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split virtqueue (VIRTIO 1.3, 2.7), device side. Reads and writes the ring's memory; knows no
 * file descriptors, no threads, no back-end.
 *
 * How it works: every field that the driver can write is read once, by a single load, into a local
 * that is checked and used from there. available->idx is loaded with acquire before anything that
 * it covers; used->idx is stored with release after what it covers. Between publishing and reading
 * what the driver wants (a call or not), and between asking for kicks and the second look at the
 * ring, stands a full fence: without either one a wake-up can be lost. Positions are free-running
 * 16-bit numbers; differences are taken in guint16. vhost-ring-split-swapped.c compiles this file
 * once more for big-endian rings, so that the byte order costs nothing at run time. */
#include "config.h"

#include "vhost-ring-private.h"

#include "vhost-error.h"
#include "vhost-ring-walk-private.h"

/* The ring's byte order: little-endian as VERSION_1 says, or big-endian (V5). */
#ifdef VHOST_RING_SWAPPED
#define RING16(value) GUINT16_FROM_BE (value)
#define RING32(value) GUINT32_FROM_BE (value)
#define RING64(value) GUINT64_FROM_BE (value)
#define RING_OPS vhost_ring_split_swapped_ops
#else
#define RING16(value) GUINT16_FROM_LE (value)
#define RING32(value) GUINT32_FROM_LE (value)
#define RING64(value) GUINT64_FROM_LE (value)
#define RING_OPS vhost_ring_split_ops
#endif

/* Requests ahead of the one that is taken. */
#ifndef DESCRIPTORS_AHEAD
#define DESCRIPTORS_AHEAD 3
#endif
#ifndef BUFFER_AHEAD
#define BUFFER_AHEAD 2
#endif

#define AVAILABLE_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

/* packed: an indirect table may lie at any address (2.7.5.3). */
struct _VhostSplitDescriptor
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} __attribute__ ((packed, aligned (1)));

struct _VhostSplitAvailable
{
  guint16 flags;
  guint16 index;
  guint16 ring[]; /* and used_event behind it */
};

struct _VhostSplitUsedElement
{
  guint32 id;
  guint32 length;
};

struct _VhostSplitUsed
{
  guint16 flags;
  guint16 index;
  struct _VhostSplitUsedElement ring[]; /* and avail_event behind it */
};

G_STATIC_ASSERT (sizeof (struct _VhostSplitDescriptor) == 16);
G_STATIC_ASSERT (sizeof (struct _VhostSplitUsedElement) == 8);

/* One access each (V10). */
static inline guint16
load16 (const guint16 *field, int order)
{
  guint16 value = order == __ATOMIC_ACQUIRE ? __atomic_load_n (field, __ATOMIC_ACQUIRE)
                                            : __atomic_load_n (field, __ATOMIC_RELAXED);
  return RING16 (value);
}

/* A field of the used ring. */
static inline void
store16 (VhostRing *ring, guint16 *field, guint16 value)
{
  __atomic_store_n (field, RING16 (value), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  vhost_ring_wrote (ring, (guint64) ((guint8 *) field - (guint8 *) ring->used), 2);
}

static inline guint16 *
used_event (VhostRing *ring)
{
  return &ring->available->ring[ring->size];
}

static inline guint16 *
avail_event (VhostRing *ring)
{
  return (guint16 *) (gpointer) &ring->used->ring[ring->size];
}

static gboolean
split_place (VhostRing *ring, GError **error)
{
  guint64 event = ring->event_idx ? 2 : 0;
  VhostRingPart parts[VHOST_RING_PARTS] = {
    { "descriptor table", ring->descriptor_address, 16 * (guint64) ring->size, 16,
      VHOST_MEMORY_READ, NULL },
    { "available ring", ring->available_address, 4 + 2 * (guint64) ring->size + event, 2,
      VHOST_MEMORY_READ, NULL },
    { "used ring", ring->used_address, 4 + 8 * (guint64) ring->size + event, 4, VHOST_MEMORY_WRITE,
      NULL },
  };

  if (!vhost_ring_place (ring, parts, error))
    return FALSE;
  ring->descriptors = parts[0].place;
  ring->available = parts[1].place;
  ring->used = parts[2].place;
  return TRUE;
}

/* Where the in-flight area says that the ring goes on, and what is to be served again (IF5, IF6).
 */
static gboolean
recover (VhostRing *ring, guint16 used_index, guint16 *available, GError **error)
{
  if (!vhost_inflight_split_recover (ring->inflight, used_index, error))
    return FALSE;
  *available = vhost_inflight_split_get_available (ring->inflight);
  vhost_inflight_region_get_requests (ring->inflight, &ring->n_requests);
  if (ring->n_requests > ring->size || (guint16) (*available - used_index) != ring->n_requests)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the in-flight area names %u requests between used index %u and next entry %u, "
                   "in a ring of %u",
                   ring->n_requests, used_index, *available, ring->size);
      ring->n_requests = 0;
      return FALSE;
    }
  ring->n_resubmit = ring->n_requests;
  ring->resubmit_news = ring->n_resubmit > 0;
  return TRUE;
}

static gboolean
split_set_base (VhostRing *ring, guint32 base, GError **error)
{
  guint16 used_index, available;

  if (base > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "ring base 0x%x has bits above 15, which a split ring does not know", base);
      return FALSE;
    }
  vhost_ring_prepare (ring, FALSE);
  /* R11: the used position is not in the message, it is in the ring. */
  used_index = load16 (&ring->used->index, __ATOMIC_ACQUIRE);
  available = (guint16) base;
  if (ring->inflight != NULL)
    {
      if (!recover (ring, used_index, &available, error))
        return FALSE;
    }
  else if ((guint16) (base - used_index) > ring->size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "ring base %u lies more than the ring's %u entries ahead of its used index %u",
                   base, ring->size, used_index);
      return FALSE;
    }
  ring->next_available = ring->seen_available = ring->looked_at = available;
  ring->next_used = ring->called_used = ring->exposed_used = used_index;
  if (ring->event_idx)
    store16 (ring, &ring->used->flags, 0);
  return TRUE;
}

static guint32
split_get_base (VhostRing *ring)
{
  return ring->next_available;
}

static gboolean
split_has_available (VhostRing *ring)
{
  return load16 (&ring->available->index, __ATOMIC_RELAXED) != ring->looked_at
         || ring->resubmit_news;
}

static guint32
split_look (VhostRing *ring)
{
  ring->looked_from = ring->next_available;
  return load16 (&ring->available->index, __ATOMIC_RELAXED);
}

static void
split_leave (VhostRing *ring, guint32 looked)
{
  guint16 taken = (guint16) (ring->next_available - ring->looked_from);

  /* It may have taken more than was there at the look. Otherwise the index is no news, even one
   * that is not possible: whoever takes a request will see that. */
  if (taken <= (guint16) (looked - ring->looked_from))
    ring->looked_at = (guint16) looked;
  ring->resubmit_news = FALSE;
}

/* Follows a chain through the table from @at on (V11 to V17). */
static inline gboolean
walk_chain (VhostRingWalk *walk, guint32 at)
{
  const struct _VhostSplitDescriptor *table = walk->ring->descriptors;
  guint32 limit = walk->ring->size;
  gboolean indirect = FALSE;
  VhostRingCount count = vhost_ring_count (walk->chain);

  for (guint32 steps = 0;;)
    {
      /* volatile: each field is read once, into a local. It is used nowhere else, so it may be read
       * in pieces. */
      const volatile struct _VhostSplitDescriptor *entry = &table[at];
      guint64 address;
      guint32 length;
      guint16 flags;

      if (G_UNLIKELY (++steps > limit))
        return vhost_ring_walk_violation (walk, "the descriptor chain is a loop");

      address = RING64 (entry->address);
      length = RING32 (entry->length);
      flags = RING16 (entry->flags);

      if (flags & VHOST_RING_INDIRECT)
        {
          if (G_UNLIKELY (indirect))
            return vhost_ring_walk_violation (walk,
                                              "an indirect descriptor inside an indirect table");
          if (G_UNLIKELY (flags & VHOST_RING_NEXT))
            return vhost_ring_walk_violation (walk, "an indirect descriptor that has a next one");
          table = vhost_ring_walk_table (walk, address, length);
          if (G_UNLIKELY (table == NULL))
            return FALSE;
          /* The rest of the chain is there, from its first entry on. */
          indirect = TRUE;
          limit = length / VHOST_RING_DESCRIPTOR;
          at = steps = 0;
          continue;
        }

      if (G_LIKELY (length > 0)
          && G_UNLIKELY (!vhost_ring_walk_add (walk, &count, address, length,
                                               (flags & VHOST_RING_WRITE) != 0)))
        return FALSE;
      if (!(flags & VHOST_RING_NEXT))
        break;
      at = RING16 (entry->next);
      if (G_UNLIKELY (at >= limit))
        return vhost_ring_walk_violation (walk, "next descriptor %u is outside the table of %u", at,
                                          limit);
    }
  vhost_ring_walk_finish (walk->chain, &count);
  return TRUE;
}

/* A head's chain becomes the chain's segments; the head is in flight then. */
static inline VhostRingResult
take_head (VhostRing *ring, VhostChain *chain, VhostRingWalk *walk, guint16 head)
{
  if (G_UNLIKELY (head >= ring->size))
    {
      vhost_ring_walk_violation (walk, "head %u is outside the ring of %u", head, ring->size);
      return walk->result;
    }
  if (G_UNLIKELY (ring->in_flight[head]))
    {
      vhost_ring_walk_violation (walk, "head %u is still in flight", head);
      return walk->result;
    }
  if (G_UNLIKELY (!walk_chain (walk, head)))
    return walk->result;
  ring->in_flight[head] = 1;
  chain->head = head;
  chain->n_slots = 1;
  return VHOST_RING_TAKEN;
}

/* What an earlier process took and did not give back: the ring's positions are past it already. */
G_GNUC_NO_INLINE static VhostRingResult
pop_again (VhostRing *ring, VhostChain *chain, GError **error)
{
  guint n;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (ring->inflight, &n);
  guint16 head = requests[ring->n_requests - ring->n_resubmit].head;
  VhostRingWalk walk;
  VhostRingResult result;

  vhost_ring_walk_init (&walk, ring, chain, error, VHOST_RING_AT_AGAIN, head);
  result = take_head (ring, chain, &walk, head);
  if (result == VHOST_RING_TAKEN)
    {
      ring->n_resubmit--;
      ring->resubmit_news = ring->n_resubmit > 0;
      if (ring->in_order)
        vhost_ring_row_add (ring, chain);
    }
  return result;
}

/* What the driver wrote last lies in its CPU's cache, and a pass would wait for each line in turn:
 * two thirds of the time of a request that does nothing. So the lines of later requests are asked
 * for while earlier ones are served: first a descriptor, then what it points to and the next one.
 * Not far ahead, or the driver is still writing to them.
 * Hints only: what is read for them is used for nothing else, and read again by who takes it. */
static inline void
fetch_descriptors (VhostRing *ring, guint16 position)
{
  guint16 head = load16 (&ring->available->ring[position & ring->mask], __ATOMIC_RELAXED);

  if (G_LIKELY (head < ring->size))
    __builtin_prefetch (&ring->descriptors[head]);
}

static inline void
fetch_first_buffer (VhostRing *ring, guint16 position)
{
  guint16 head = load16 (&ring->available->ring[position & ring->mask], __ATOMIC_RELAXED);
  const VhostMemorySlot *slot = &ring->cache->slots[0];

  if (G_LIKELY (head < ring->size))
    {
      const volatile struct _VhostSplitDescriptor *entry = &ring->descriptors[head];
      guint64 address = RING64 (entry->address);
      guint16 next = RING16 (entry->next);

      if (G_LIKELY (vhost_memory_slot_holds (slot, address, 1)))
        __builtin_prefetch (slot->host + (address - slot->guest_address));
      if (G_LIKELY (next < ring->size))
        __builtin_prefetch (&ring->descriptors[next]);
    }
}

static inline void
fetch_ahead (VhostRing *ring)
{
  guint16 n = (guint16) (ring->seen_available - ring->next_available);

  if (n > DESCRIPTORS_AHEAD)
    fetch_descriptors (ring, ring->next_available + DESCRIPTORS_AHEAD);
  if (n > BUFFER_AHEAD)
    fetch_first_buffer (ring, ring->next_available + BUFFER_AHEAD);
}

static VhostRingResult
split_pop (VhostRing *ring, VhostChain *chain, GError **error)
{
  VhostRingWalk walk;
  VhostRingResult result;
  guint16 head;

  if (G_UNLIKELY (ring->n_resubmit > 0))
    return pop_again (ring, chain, error);
  if (ring->seen_available == ring->next_available)
    {
      /* acquire: the driver's release store of idx comes after the entries (V41) */
      guint16 index = load16 (&ring->available->index, __ATOMIC_ACQUIRE);

      if (index == ring->next_available)
        return VHOST_RING_EMPTY;
      if (G_UNLIKELY ((guint16) (index - ring->next_available) > ring->size
                      || (guint16) (index - ring->next_used) > ring->size))
        {
          g_set_error (
              error, VHOST_ERROR, VHOST_ERROR_RING,
              "available index %u is too far ahead: next entry %u, used index %u, ring of %u",
              index, ring->next_available, ring->next_used, ring->size);
          return VHOST_RING_VIOLATION;
        }
      ring->seen_available = index;
      for (guint16 i = 0; i < DESCRIPTORS_AHEAD && i < (guint16) (index - ring->next_available);
           i++)
        fetch_descriptors (ring, ring->next_available + i);
    }

  fetch_ahead (ring);
  head = load16 (&ring->available->ring[ring->next_available & ring->mask], __ATOMIC_RELAXED);
  vhost_ring_walk_init (&walk, ring, chain, error, VHOST_RING_AT_ENTRY, ring->next_available);
  result = take_head (ring, chain, &walk, head);
  if (G_UNLIKELY (result != VHOST_RING_TAKEN))
    return result;
  ring->looked_at = ++ring->next_available;
  if (G_UNLIKELY (ring->remembers))
    {
      if (ring->inflight != NULL)
        vhost_inflight_split_take (ring->inflight, head);
      if (ring->in_order)
        vhost_ring_row_add (ring, chain);
    }
  return VHOST_RING_TAKEN;
}

/* One branch for all that is not the common case: in-flight tracking, a dirty log, IN_ORDER. */
static inline gboolean
is_watched (VhostRing *ring)
{
  return ((guintptr) ring->inflight | (guintptr) ring->log | (guintptr) ring->row) != 0;
}

static inline struct _VhostSplitUsedElement *
write_element (VhostRing *ring, guint16 head, guint32 length)
{
  struct _VhostSplitUsedElement *element = &ring->used->ring[ring->next_used & ring->mask];

  __atomic_store_n (&element->id, RING32 ((guint32) head), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  __atomic_store_n (&element->length, RING32 (length), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  return element;
}

static inline void
give_back (VhostRing *ring, guint16 head)
{
  ring->next_used++;
  ring->n_uncalled++;
  ring->in_flight[head] = 0;
}

/* The element of @n heads at the begin of the row, or of @head, where the row is not kept. */
G_GNUC_NO_INLINE static void
push_watched (VhostRing *ring, guint16 head, guint32 length, guint32 n)
{
  struct _VhostSplitUsedElement *element = write_element (ring, head, length);

  vhost_ring_wrote_entry (ring, (guint64) ((guint8 *) element - (guint8 *) ring->used),
                          sizeof *element);
  for (guint32 i = 0; i < n; i++)
    {
      guint16 done = ring->in_order ? vhost_ring_row_get (ring, i) : head;

      give_back (ring, done);
      if (ring->inflight != NULL)
        vhost_inflight_split_push (ring->inflight, done);
    }
}

/* What of the row has ended goes out, one element for each batch, in the slot of its first (V28).
 */
static void
push_row (VhostRing *ring)
{
  guint32 n;

  while ((n = vhost_ring_row_batch (ring)) > 0)
    {
      guint16 last = vhost_ring_row_get (ring, n - 1);

      push_watched (ring, last, ring->requests[last].length, n);
      vhost_ring_row_drop (ring, n);
    }
}

static void
split_push (VhostRing *ring, VhostChain *chain, guint32 length)
{
  if (G_LIKELY (!is_watched (ring)))
    {
      write_element (ring, chain->head, length);
      give_back (ring, chain->head);
    }
  else if (ring->in_order)
    {
      ring->requests[chain->head].length = length;
      ring->requests[chain->head].done = TRUE;
    }
  else
    push_watched (ring, chain->head, length, 1);
}

static inline void
store_index (VhostRing *ring)
{
  /* release: elements and buffers come before the index (V42) */
  __atomic_store_n (&ring->used->index, RING16 (ring->next_used), __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
}

/* The same where somebody watches. */
G_GNUC_NO_INLINE static void
expose_watched (VhostRing *ring)
{
  if (ring->in_order)
    push_row (ring);
  vhost_ring_commit_log (ring);
  store_index (ring);
  /* Before the store, a page could be copied without it and be found clean after it. */
  vhost_ring_wrote_entry (ring, G_STRUCT_OFFSET (struct _VhostSplitUsed, index), 2);
  if (ring->inflight != NULL && ring->exposed_used != ring->next_used)
    vhost_inflight_split_published (ring->inflight, ring->next_used);
  ring->exposed_used = ring->next_used;
}

static void
split_expose (VhostRing *ring)
{
  if (G_LIKELY (!is_watched (ring)))
    store_index (ring);
  else
    expose_watched (ring);
}

static gboolean
split_publish (VhostRing *ring)
{
  guint16 now, old;
  gboolean old_valid;

  if (G_UNLIKELY (is_watched (ring)))
    expose_watched (ring);
  if (ring->n_uncalled == 0)
    return FALSE;
  store_index (ring);
  now = ring->next_used;
  old = ring->called_used;
  /* No old index to compare with: the first time, and when the indices have gone round (V31). */
  old_valid = ring->called_valid && ring->n_uncalled <= G_MAXUINT16;
  ring->called_used = now;
  ring->called_valid = TRUE;
  ring->n_uncalled = 0;
  /* Full: the index must be out before we read what the driver wants. Partner: the driver's fence
   * between writing used_event (or flags) and its last look at used->idx (V43). */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  if (G_UNLIKELY (ring->notify_on_empty)
      && load16 (&ring->available->index, __ATOMIC_RELAXED) == ring->next_available)
    return TRUE; /* V39 */
  if (!ring->event_idx)
    return (load16 (&ring->available->flags, __ATOMIC_RELAXED) & AVAILABLE_NO_INTERRUPT) == 0;
  if (G_UNLIKELY (!old_valid))
    return TRUE;
  /* V31: was the entry that used_event names among those that came since the last decision? */
  return (guint16) (now - load16 (used_event (ring), __ATOMIC_RELAXED) - 1) < (guint16) (now - old);
}

static void
split_kicks_off (VhostRing *ring)
{
  /* With EVENT_IDX, avail_event is simply left behind (V33). */
  if (!ring->event_idx)
    store16 (ring, &ring->used->flags, USED_NO_NOTIFY);
}

static gboolean
split_kicks_on (VhostRing *ring)
{
  if (ring->event_idx)
    store16 (ring, avail_event (ring), ring->looked_at);
  else
    store16 (ring, &ring->used->flags, 0);
  /* Full: what we want must be out before the last look (V37). Partner: the driver's fence between
   * publishing available->idx and reading avail_event (or flags). */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  return split_has_available (ring);
}

const VhostRingOps RING_OPS = {
  .place = split_place,
  .set_base = split_set_base,
  .get_base = split_get_base,
  .has_available = split_has_available,
  .look = split_look,
  .leave = split_leave,
  .pop = split_pop,
  .push = split_push,
  .expose = split_expose,
  .publish = split_publish,
  .kicks_off = split_kicks_off,
  .kicks_on = split_kicks_on,
};
