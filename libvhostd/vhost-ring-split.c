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
 * 16-bit numbers; differences are taken in guint16. */
#include "config.h"

#include "vhost-ring-private.h"

#include "vhost-error.h"

#include <string.h>

#define DESCRIPTOR_NEXT 1u
#define DESCRIPTOR_WRITE 2u
#define DESCRIPTOR_INDIRECT 4u

#define AVAILABLE_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

/* An indirect table may be longer than the ring where seg_max lets a driver do that (Linux does).
 */
#define INDIRECT_FLOOR 1024u

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

/* One access each, little-endian as VERSION_1 says (V5, V10). */
static inline guint16
load16 (const guint16 *field, int order)
{
  guint16 value = order == __ATOMIC_ACQUIRE ? __atomic_load_n (field, __ATOMIC_ACQUIRE)
                                            : __atomic_load_n (field, __ATOMIC_RELAXED);
  return GUINT16_FROM_LE (value);
}

static inline void
store16 (guint16 *field, guint16 value)
{
  __atomic_store_n (field, GUINT16_TO_LE (value), __ATOMIC_RELAXED);
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
place_part (VhostRing *ring, const char *what, guint64 address, guint64 length, guint alignment,
            gpointer *where, GError **error)
{
  if (address % alignment != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER
                   "x is not aligned to %u bytes (VIRTIO 1.3, 2.7)",
                   what, address, alignment);
      return FALSE;
    }
  *where = vhost_memory_translate (ring->memory, ring->cache, address, length);
  if (*where == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the %s at guest address 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                   " bytes, is not wholly inside a shared memory region",
                   what, address, length);
      return FALSE;
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

static gboolean
split_place (VhostRing *ring, GError **error)
{
  guint64 event = ring->event_idx ? 2 : 0;
  gpointer descriptors, available, used;

  if (!place_part (ring, "descriptor table", ring->descriptor_address, 16 * (guint64) ring->size,
                   16, &descriptors, error)
      || !place_part (ring, "available ring", ring->available_address,
                      4 + 2 * (guint64) ring->size + event, 2, &available, error)
      || !place_part (ring, "used ring", ring->used_address, 4 + 8 * (guint64) ring->size + event,
                      4, &used, error))
    return FALSE;
  ring->descriptors = descriptors;
  ring->available = available;
  ring->used = used;
  return TRUE;
}

static gboolean
split_set_base (VhostRing *ring, guint32 base, GError **error)
{
  guint16 used_index;

  if (base > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "ring base 0x%x has bits above 15, which a split ring does not know", base);
      return FALSE;
    }
  /* R11: the used position is not in the message, it is in the ring. */
  used_index = load16 (&ring->used->index, __ATOMIC_ACQUIRE);
  if ((guint16) (base - used_index) > ring->size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "ring base %u lies more than the ring's %u entries ahead of its used index %u",
                   base, ring->size, used_index);
      return FALSE;
    }
  ring->next_available = ring->seen_available = ring->looked_at = base;
  ring->next_used = ring->called_used = used_index;
  ring->called_valid = FALSE;
  ring->n_uncalled = 0;
  if (ring->event_idx)
    store16 (&ring->used->flags, 0);
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
  return load16 (&ring->available->index, __ATOMIC_RELAXED) != ring->looked_at;
}

static guint32
split_look (VhostRing *ring)
{
  return load16 (&ring->available->index, __ATOMIC_RELAXED);
}

static void
split_leave (VhostRing *ring, guint32 looked)
{
  /* It may have taken more than was there at the look. */
  if ((guint16) (looked - ring->next_available) <= ring->size)
    ring->looked_at = looked;
}

/* The walk's state, so that its steps are small. */
typedef struct
{
  VhostRing *ring;
  VhostChain *chain;
  GError **error;
  guint64 total;
  gboolean budget_hit;
} Walk;

static gboolean G_GNUC_PRINTF (2, 3) violation (Walk *walk, const char *format, ...)
{
  va_list args;
  g_autofree char *what = NULL;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (walk->error, VHOST_ERROR, VHOST_ERROR_RING, "entry %u of the available ring: %s",
               walk->ring->next_available, what);
  return FALSE;
}

/* Room for one more segment. Large blocks are counted against the queue's budget, so that 32768
 * heads of 32768 segments are not 16 GiB. A chain alone always fits. */
static gboolean
grow (Walk *walk)
{
  VhostChain *chain = walk->chain;
  guint limit = 2 * walk->ring->max_chain + VHOST_MEMORY_MAX_REGIONS;
  guint old = chain->n_allocated;
  guint more;

  if (old >= limit)
    return violation (walk, "more than %u pieces of memory in one descriptor chain", limit);
  more = MIN (old * 4, limit);
  old = old == VHOST_CHAIN_INLINE_SEGMENTS ? 0 : old;
  if (more - old > *walk->ring->segments_left)
    {
      walk->budget_hit = TRUE;
      return FALSE;
    }
  *walk->ring->segments_left -= more - old;
  vhost_chain_reserve (chain, more);
  return TRUE;
}

/* A descriptor's buffer becomes one segment, or one for each region that it spans. */
static gboolean
add_buffer (Walk *walk, guint64 address, guint32 length, gboolean writable)
{
  VhostRing *ring = walk->ring;
  VhostChain *chain = walk->chain;
  guint64 left = length;

  if (G_UNLIKELY (!writable && chain->n_writable > 0))
    return violation (walk, "a readable descriptor follows a writable one");
  walk->total += length;
  if (G_UNLIKELY (walk->total > G_GUINT64_CONSTANT (1) << 32))
    return violation (walk, "the chain's buffers are longer than 4 GiB together");
  if (G_UNLIKELY (address + left < address))
    return violation (walk, "a buffer of %u bytes at 0x%" G_GINT64_MODIFIER "x wraps around",
                      length, address);

  if (writable)
    chain->writable_size += length;
  else
    chain->readable_size += length;
  while (left > 0)
    {
      const VhostMemorySlot *slot = vhost_memory_find (ring->memory, ring->cache, address);
      guint64 offset, n;
      guint used = chain->n_readable + chain->n_writable;

      if (G_UNLIKELY (slot == NULL))
        return violation (walk,
                          "a buffer of %u bytes reaches guest address 0x%" G_GINT64_MODIFIER
                          "x, which is not in a shared memory region",
                          length, address);
      offset = address - slot->guest_address;
      n = MIN (left, slot->size - offset);
      if (G_UNLIKELY (used == chain->n_allocated) && !grow (walk))
        return FALSE;
      chain->segments[used].iov_base = slot->host + offset;
      chain->segments[used].iov_len = n;
      if (writable)
        chain->n_writable++;
      else
        chain->n_readable++;
      address += n;
      left -= n;
    }
  return TRUE;
}

/* Follows a chain through @table of @limit entries from @at on (V11 to V17). */
static gboolean
walk_table (Walk *walk, const struct _VhostSplitDescriptor *table, guint32 limit, guint32 at,
            gboolean indirect)
{
  VhostRing *ring = walk->ring;

  for (guint32 steps = 0;;)
    {
      /* volatile: each field is read once, into a local. It is used nowhere else, so it may be read
       * in pieces. */
      const volatile struct _VhostSplitDescriptor *entry = &table[at];
      guint64 address;
      guint32 length;
      guint16 flags;

      if (G_UNLIKELY (++steps > limit))
        return violation (walk, "the descriptor chain is a loop");

      address = GUINT64_FROM_LE (entry->address);
      length = GUINT32_FROM_LE (entry->length);
      flags = GUINT16_FROM_LE (entry->flags);

      if (flags & DESCRIPTOR_INDIRECT)
        {
          gpointer inner;

          if (indirect)
            return violation (walk, "an indirect descriptor inside an indirect table");
          if (!ring->indirect)
            return violation (walk, "an indirect descriptor, but the feature was not negotiated");
          if (flags & DESCRIPTOR_NEXT)
            return violation (walk, "an indirect descriptor that has a next one");
          if (length == 0 || length % sizeof *entry != 0)
            return violation (walk, "an indirect table of %u bytes, not a multiple of 16", length);
          if (length / sizeof *entry > ring->max_chain)
            return violation (walk, "an indirect table of %u descriptors; at most %u are allowed",
                              (guint) (length / sizeof *entry), ring->max_chain);
          /* Whole, not only its start (the table may end outside a region). */
          inner = vhost_memory_translate (ring->memory, ring->cache, address, length);
          if (inner == NULL)
            return violation (walk,
                              "an indirect table of %u bytes at 0x%" G_GINT64_MODIFIER
                              "x is not wholly inside a shared memory region",
                              length, address);
          return walk_table (walk, inner, length / sizeof *entry, 0, TRUE);
        }

      if (G_LIKELY (length > 0)
          && G_UNLIKELY (!add_buffer (walk, address, length, (flags & DESCRIPTOR_WRITE) != 0)))
        return FALSE;
      if (!(flags & DESCRIPTOR_NEXT))
        return TRUE;
      at = GUINT16_FROM_LE (entry->next);
      if (G_UNLIKELY (at >= limit))
        return violation (walk, "next descriptor %u is outside the table of %u", at, limit);
    }
}

static VhostRingResult
split_pop (VhostRing *ring, VhostChain *chain, GError **error)
{
  Walk walk = { .ring = ring, .chain = chain, .error = error };
  guint16 head;

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
    }

  head = load16 (&ring->available->ring[ring->next_available & ring->mask], __ATOMIC_RELAXED);
  if (G_UNLIKELY (head >= ring->size))
    {
      violation (&walk, "head %u is outside the ring of %u", head, ring->size);
      return VHOST_RING_VIOLATION;
    }
  if (G_UNLIKELY (ring->in_flight[head]))
    {
      violation (&walk, "head %u is still in flight", head);
      return VHOST_RING_VIOLATION;
    }
  if (G_UNLIKELY (!walk_table (&walk, ring->descriptors, ring->size, head, FALSE)))
    return walk.budget_hit ? VHOST_RING_AGAIN : VHOST_RING_VIOLATION;

  ring->in_flight[head] = 1;
  ring->looked_at = ++ring->next_available;
  chain->head = head;
  chain->n_slots = 1;
  return VHOST_RING_TAKEN;
}

static void
split_push (VhostRing *ring, VhostChain *chain, guint32 length)
{
  struct _VhostSplitUsedElement *element = &ring->used->ring[ring->next_used & ring->mask];

  __atomic_store_n (&element->id, GUINT32_TO_LE ((guint32) chain->head), __ATOMIC_RELAXED);
  __atomic_store_n (&element->length, GUINT32_TO_LE (length), __ATOMIC_RELAXED);
  ring->next_used++;
  ring->n_uncalled++;
  ring->in_flight[chain->head] = 0;
}

static void
split_expose (VhostRing *ring)
{
  /* release: elements and buffers come before the index (V42) */
  __atomic_store_n (&ring->used->index, GUINT16_TO_LE (ring->next_used), __ATOMIC_RELEASE);
}

static gboolean
split_publish (VhostRing *ring)
{
  guint16 now = ring->next_used;
  guint16 old = ring->called_used;
  /* No old index to compare with: the first time, and when the indices have gone round (V31). */
  gboolean old_valid = ring->called_valid && ring->n_uncalled <= G_MAXUINT16;

  if (ring->n_uncalled == 0)
    return FALSE;
  split_expose (ring);
  ring->called_used = now;
  ring->called_valid = TRUE;
  ring->n_uncalled = 0;
  /* Full: the index must be out before we read what the driver wants. Partner: the driver's fence
   * between writing used_event (or flags) and its last look at used->idx (V43). */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
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
    store16 (&ring->used->flags, USED_NO_NOTIFY);
}

static gboolean
split_kicks_on (VhostRing *ring)
{
  if (ring->event_idx)
    store16 (avail_event (ring), ring->looked_at);
  else
    store16 (&ring->used->flags, 0);
  /* Full: what we want must be out before the last look (V37). Partner: the driver's fence between
   * publishing available->idx and reading avail_event (or flags). */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  return split_has_available (ring);
}

const VhostRingOps vhost_ring_split_ops = {
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

void
vhost_ring_init (VhostRing *ring, const VhostRingOps *ops, guint32 size)
{
  vhost_ring_clear (ring);
  ring->ops = ops;
  ring->size = size;
  ring->mask = size - 1;
  ring->max_chain = MAX (size, INDIRECT_FLOOR);
  ring->in_flight = g_malloc0 (size);
}

void
vhost_ring_clear (VhostRing *ring)
{
  g_free (ring->in_flight);
  memset (ring, 0, sizeof *ring);
}
