/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packed virtqueue (VIRTIO 1.3, 2.8), device side. Reads and writes the ring's memory; knows no
 * file descriptors, no threads, no back-end.
 *
 * How it works: one ring of descriptors goes both ways, and two wrap counters, which change with
 * each round, say whose a slot is. The driver's flags are loaded with acquire before anything that
 * they cover, ours are stored with release after what they cover; every other field is read once,
 * into a local. A used descriptor stands at the next used position, wherever its list stood, and
 * the position goes on by the slots of the list. The driver looks at one slot only, so a group of
 * used descriptors appears with the flags of its first one, which are stored last; with in-flight
 * tracking each one appears by itself, since a crash must find it either done or not (IF8). Full
 * fences stand where they stand in the split layout, for the same reason. */
#include "config.h"

#include "vhost-ring-private.h"

#include "vhost-error.h"
#include "vhost-ring-walk-private.h"

#include <string.h>

#define FLAG_AVAILABLE (1u << 7)
#define FLAG_USED (1u << 15)

/* Both event areas: le16 offset and wrap, le16 flags; here as one le32 (V34). */
#define EVENT_WRAP (1u << 15)
#define EVENT_FLAGS 3u
#define EVENT_ENABLE 0u
#define EVENT_DISABLE 1u
#define EVENT_ONE 2u

struct _VhostPackedDescriptor
{
  guint64 address;
  guint32 length;
  guint16 id;
  guint16 flags;
};

G_STATIC_ASSERT (sizeof (struct _VhostPackedDescriptor) == VHOST_RING_DESCRIPTOR);

/* In an indirect table, which may lie at any address. */
struct unaligned_descriptor
{
  guint64 address;
  guint32 length;
  guint16 id;
  guint16 flags;
} __attribute__ ((packed, aligned (1)));

static gboolean
packed_place (VhostRing *ring, GError **error)
{
  VhostRingPart parts[VHOST_RING_PARTS] = {
    { "descriptor ring", ring->descriptor_address, VHOST_RING_DESCRIPTOR * (guint64) ring->size, 16,
      VHOST_MEMORY_READ | VHOST_MEMORY_WRITE, NULL },
    { "driver event area", ring->available_address, 4, 4, VHOST_MEMORY_READ, NULL },
    { "device event area", ring->used_address, 4, 4, VHOST_MEMORY_WRITE, NULL },
  };

  if (!vhost_ring_place (ring, parts, error))
    return FALSE;
  ring->slots = parts[0].place;
  ring->driver_event = parts[1].place;
  ring->device_event = parts[2].place;
  return TRUE;
}

/* Slots from the used position to the available one; more than the ring's size: they do not fit. */
static guint32
distance (VhostRing *ring)
{
  gint32 slots = (gint32) ring->next_available - ring->next_used;

  if (ring->available_wrap != ring->used_wrap)
    slots += (gint32) ring->size;
  return slots < 0 ? G_MAXUINT32 : (guint32) slots;
}

/* Where the in-flight area says that the ring goes on, and what is to be served again (IF9, IF10).
 */
static gboolean
recover (VhostRing *ring, guint32 base, GError **error)
{
  const VhostInflightRequest *requests;
  guint32 slots = 0;

  if (!vhost_inflight_packed_recover (ring->inflight, ring->slots, base, error))
    return FALSE;
  vhost_inflight_packed_get_positions (ring->inflight, &ring->next_available, &ring->available_wrap,
                                       &ring->next_used, &ring->used_wrap);
  ring->available_wrap = !!ring->available_wrap;
  ring->used_wrap = !!ring->used_wrap;
  requests = vhost_inflight_region_get_requests (ring->inflight, &ring->n_requests);
  for (guint i = 0; i < ring->n_requests && slots <= ring->size; i++)
    slots += requests[i].slots;
  if (ring->next_available >= ring->size || ring->next_used >= ring->size
      || slots != distance (ring))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the in-flight area names %u requests with %u slots between used slot %u and "
                   "next slot %u, in a ring of %u",
                   ring->n_requests, slots, ring->next_used, ring->next_available, ring->size);
      return FALSE;
    }
  ring->n_resubmit = ring->n_requests;
  ring->resubmit_news = ring->n_resubmit > 0;
  return TRUE;
}

static gboolean
packed_set_base (VhostRing *ring, guint32 base, GError **error)
{
  /* A ring that was stopped has nothing in flight, so both halves are alike; DPDK's driver fills in
   * the available one alone. What is in flight after a crash the area knows, not the message. */
  if (base >> 16 == 0)
    base |= base << 16;
  vhost_ring_prepare (ring, TRUE);
  ring->slots_left = ring->slots_scanned = ring->slots_taken = 0;
  ring->leaves = ring->group_open = FALSE;
  ring->next_available = base & 0x7fff;
  ring->available_wrap = (base >> 15) & 1;
  ring->next_used = (base >> 16) & 0x7fff;
  ring->used_wrap = base >> 31;
  if (ring->inflight != NULL)
    {
      if (!recover (ring, base, error))
        return FALSE;
    }
  else if (ring->next_available >= ring->size || ring->next_used >= ring->size
           || distance (ring) > ring->size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "ring base 0x%x is not possible: slot %u under wrap counter %d is available "
                   "next, slot %u under %d used next, in a ring of %u",
                   base, ring->next_available, ring->available_wrap, ring->next_used,
                   ring->used_wrap, ring->size);
      return FALSE;
    }
  ring->slots_in_flight = distance (ring);
  ring->called_used = ring->next_used;
  return TRUE;
}

static guint32
packed_get_base (VhostRing *ring)
{
  return ring->next_available | (guint32) ring->available_wrap << 15
         | (guint32) ring->next_used << 16 | (guint32) ring->used_wrap << 31;
}

/* Whether these flags say "available" in the round of @wrap (V18). */
static inline gboolean
is_available (guint16 flags, gboolean wrap)
{
  return ((flags & FLAG_AVAILABLE) != 0) == wrap && ((flags & FLAG_USED) != 0) != wrap;
}

static inline guint16
load_flags (VhostRing *ring, guint16 slot)
{
  return GUINT16_FROM_LE (__atomic_load_n (&ring->slots[slot].flags, __ATOMIC_RELAXED));
}

/* The position @n slots, at most the ring's size, behind the next available one. */
static inline guint16
ahead (VhostRing *ring, guint32 n, gboolean *wrap)
{
  guint32 slot = ring->next_available + n;

  *wrap = ring->available_wrap;
  if (slot >= ring->size)
    {
      slot -= ring->size;
      *wrap = !*wrap;
    }
  return (guint16) slot;
}

static gboolean
is_available_ahead (VhostRing *ring, guint32 n)
{
  gboolean wrap;
  guint16 slot = ahead (ring, n, &wrap);

  /* Behind a whole round of slots there can be no news. */
  return n + ring->slots_in_flight < ring->size && is_available (load_flags (ring, slot), wrap);
}

static gboolean
packed_has_available (VhostRing *ring)
{
  gboolean wrap;
  guint16 slot;

  if (ring->resubmit_news)
    return TRUE;
  /* As far as look () goes: what no look sees is no news. */
  if (G_UNLIKELY (ring->leaves))
    return is_available_ahead (ring, ring->slots_left);
  slot = ahead (ring, 0, &wrap);
  return is_available (load_flags (ring, slot), wrap);
}

/* The driver tells no index: how much there is can only be counted. That is done for a back-end
 * that was seen to leave things, from where the last look ended. */
static guint32
packed_look (VhostRing *ring)
{
  ring->slots_taken = 0;
  if (G_LIKELY (!ring->leaves))
    return 0;
  while (is_available_ahead (ring, ring->slots_scanned))
    ring->slots_scanned++;
  return ring->slots_scanned;
}

static void
packed_leave (VhostRing *ring, guint32 looked)
{
  ring->resubmit_news = FALSE;
  /* The first time nothing was counted: it costs one pass that finds nothing new. */
  if (ring->leaves)
    ring->slots_left = looked > ring->slots_taken ? looked - ring->slots_taken : 0;
  ring->leaves = TRUE;
}

/* An indirect list: entry after entry, of which only WRITE counts (V21). */
static gboolean
walk_table (VhostRingWalk *walk, VhostRingCount *count, guint64 address, guint32 length)
{
  VhostRingCount found = *count;
  const volatile struct unaligned_descriptor *table = vhost_ring_walk_table (walk, address, length);

  if (G_UNLIKELY (table == NULL))
    return FALSE;
  for (guint32 i = 0; i < length / VHOST_RING_DESCRIPTOR; i++)
    {
      guint64 at = GUINT64_FROM_LE (table[i].address);
      guint32 n = GUINT32_FROM_LE (table[i].length);
      guint16 flags = GUINT16_FROM_LE (table[i].flags);

      if (G_LIKELY (n > 0)
          && G_UNLIKELY (
              !vhost_ring_walk_add (walk, &found, at, n, (flags & VHOST_RING_WRITE) != 0)))
        return FALSE;
    }
  *count = found;
  return TRUE;
}

/* Descriptor @step of a list. */
static inline __attribute__ ((always_inline)) gboolean
take_descriptor (VhostRingWalk *walk, VhostRingCount *count, guint64 address, guint32 length,
                 guint16 flags, guint32 step)
{
  if (flags & VHOST_RING_INDIRECT)
    {
      if (G_UNLIKELY (step > 0))
        return vhost_ring_walk_violation (walk, "an indirect descriptor in a list of several");
      if (G_UNLIKELY (flags & VHOST_RING_NEXT))
        return vhost_ring_walk_violation (walk, "an indirect descriptor that has a next one");
      return walk_table (walk, count, address, length);
    }
  return length == 0
         || vhost_ring_walk_add (walk, count, address, length, (flags & VHOST_RING_WRITE) != 0);
}

static inline VhostRingResult
take_id (VhostRing *ring, VhostChain *chain, VhostRingWalk *walk, const VhostRingCount *count,
         guint16 id, guint32 slots)
{
  /* It is the driver's own number, but it is an index here (V20). */
  if (G_UNLIKELY (id >= ring->size))
    {
      vhost_ring_walk_violation (walk, "buffer ID %u is outside the ring of %u", id, ring->size);
      return walk->result;
    }
  if (G_UNLIKELY (ring->in_flight[id]))
    {
      vhost_ring_walk_violation (walk, "buffer ID %u is still in flight", id);
      return walk->result;
    }
  vhost_ring_walk_finish (chain, count);
  ring->in_flight[id] = 1;
  chain->head = id;
  chain->n_slots = (guint16) slots;
  if (G_UNLIKELY (ring->remembers))
    {
      ring->requests[id].slots = (guint16) slots;
      if (ring->in_order)
        vhost_ring_row_add (ring, chain);
    }
  return VHOST_RING_TAKEN;
}

/* What an earlier process took and did not give back. The driver's descriptors may be overwritten
 * by used ones: the list is read from the area's copy. */
G_GNUC_NO_INLINE static VhostRingResult
pop_again (VhostRing *ring, VhostChain *chain, GError **error)
{
  guint n;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (ring->inflight, &n);
  VhostInflightRequest request = requests[ring->n_requests - ring->n_resubmit];
  VhostRingWalk walk;
  VhostRingCount count = vhost_ring_count (chain);
  VhostRingResult result;

  vhost_ring_walk_init (&walk, ring, chain, error, VHOST_RING_AT_AGAIN, request.head);
  for (guint step = 0; step < request.slots; step++)
    {
      VhostInflightDescriptor descriptor;

      if (!vhost_inflight_packed_get (ring->inflight, request.head, step, &descriptor))
        {
          vhost_ring_walk_violation (&walk, "its list of %u descriptors ends after %u",
                                     request.slots, step);
          return walk.result;
        }
      if (!take_descriptor (&walk, &count, descriptor.address, descriptor.length, descriptor.flags,
                            step))
        return walk.result;
    }
  result = take_id (ring, chain, &walk, &count, request.id, request.slots);
  if (result == VHOST_RING_TAKEN)
    {
      ring->requests[request.id].entry = request.head;
      ring->n_resubmit--;
      ring->resubmit_news = ring->n_resubmit > 0;
    }
  return result;
}

/* What the next request's first descriptor points to was written by the driver's CPU: it is asked
 * for while this one is served. A hint only: what is read here is used for nothing else. */
static inline void
fetch_ahead (VhostRing *ring)
{
  const volatile struct _VhostPackedDescriptor *slot = &ring->slots[ring->next_available];
  const VhostMemorySlot *in = &ring->cache->slots[0];
  guint64 address;

  /* acquire: as in packed_pop () */
  if (!is_available (GUINT16_FROM_LE (__atomic_load_n (&slot->flags, __ATOMIC_ACQUIRE)),
                     ring->available_wrap))
    return;
  address = GUINT64_FROM_LE (slot->address);
  if (G_LIKELY (vhost_memory_slot_holds (in, address, 1)))
    __builtin_prefetch (in->host + (address - in->guest_address));
}

static VhostRingResult
packed_pop (VhostRing *ring, VhostChain *chain, GError **error)
{
  VhostRingWalk walk;
  VhostRingCount count = vhost_ring_count (chain);
  VhostRingResult result;
  guint32 at = ring->next_available;
  gboolean wrap = ring->available_wrap;
  guint32 slots = 0;
  guint16 flags, id;

  if (G_UNLIKELY (ring->n_resubmit > 0))
    return pop_again (ring, chain, error);
  /* acquire: the driver stores the head's flags last, with release (V41) */
  flags = GUINT16_FROM_LE (__atomic_load_n (&ring->slots[at].flags, __ATOMIC_ACQUIRE));
  if (!is_available (flags, wrap))
    return VHOST_RING_EMPTY;

  vhost_ring_walk_init (&walk, ring, chain, error, VHOST_RING_AT_SLOT, at);
  for (;;)
    {
      const volatile struct _VhostPackedDescriptor *slot = &ring->slots[at];
      guint64 address = GUINT64_FROM_LE (slot->address);
      guint32 length = GUINT32_FROM_LE (slot->length);

      id = GUINT16_FROM_LE (slot->id);
      if (G_UNLIKELY (slots + ring->slots_in_flight >= ring->size))
        {
          vhost_ring_walk_violation (
              &walk, "more than the ring's %u slots in one list or in flight", ring->size);
          return walk.result;
        }
      if (G_UNLIKELY (ring->list != NULL))
        ring->list[slots] = (VhostInflightDescriptor){ address, length, id, flags };
      if (G_UNLIKELY (!take_descriptor (&walk, &count, address, length, flags, slots)))
        return walk.result;
      slots++;
      if (++at == ring->size)
        {
          at = 0;
          wrap = !wrap;
        }
      if (!(flags & VHOST_RING_NEXT))
        break;
      flags = load_flags (ring, (guint16) at);
    }
  result = take_id (ring, chain, &walk, &count, id, slots);
  if (G_UNLIKELY (result != VHOST_RING_TAKEN))
    return result;
  ring->next_available = (guint16) at;
  ring->available_wrap = wrap;
  fetch_ahead (ring);
  ring->slots_in_flight += slots;
  ring->slots_left = 0;
  ring->slots_taken += slots;
  ring->slots_scanned -= MIN (slots, ring->slots_scanned);
  if (G_UNLIKELY (ring->inflight != NULL))
    ring->requests[id].entry = vhost_inflight_packed_take (ring->inflight, ring->list, slots);
  return VHOST_RING_TAKEN;
}

/* The used descriptors are in the descriptor ring, of which the log address does not speak: they
 * are marked where they are (L13). */
static inline void
wrote_slot (VhostRing *ring, guint16 slot)
{
  if (G_UNLIKELY (ring->log != NULL) && ring->log_used)
    vhost_dirty_log_mark_address (ring->log, NULL, ring->memory,
                                  ring->descriptor_address + VHOST_RING_DESCRIPTOR * (guint64) slot,
                                  VHOST_RING_DESCRIPTOR);
}

static inline void
store_flags (VhostRing *ring, guint16 slot, guint16 flags)
{
  /* release: buffers, id and length come before the flags (V42) */
  __atomic_store_n (&ring->slots[slot].flags, GUINT16_TO_LE (flags), __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
  /* Before the store, a page could be copied without it and be found clean after it. */
  wrote_slot (ring, slot);
}

/* Whether the device wrote to any part of the buffers. The length alone does not say: it ends at
 * the first gap (V23), and a status byte may lie behind one. */
static inline gboolean
has_written (const VhostChain *chain, guint32 length)
{
  return length > 0 || chain->n_status + chain->status_length > 0 || chain->write_offset > 0;
}

/* One used descriptor, for one list of @slots slots, or for a batch whose last one is @id and whose
 * @n requests have these @entries in the in-flight area (V24, V28). */
static inline void
write_used (VhostRing *ring, guint16 id, guint32 length, gboolean written, guint32 slots,
            const guint16 *entries, guint n)
{
  guint16 at = ring->next_used;
  struct _VhostPackedDescriptor *slot = &ring->slots[at];
  guint16 flags = ring->used_wrap ? FLAG_AVAILABLE | FLAG_USED : 0;
  guint32 behind = at + slots;

  if (written)
    flags |= VHOST_RING_WRITE;
  __atomic_store_n (&slot->id, GUINT16_TO_LE (id), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  __atomic_store_n (&slot->length, GUINT32_TO_LE (length), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  if (behind >= ring->size)
    {
      behind -= ring->size;
      ring->used_wrap = !ring->used_wrap;
    }
  ring->next_used = (guint16) behind;
  ring->slots_in_flight -= slots;
  ring->n_uncalled += slots;
  if (G_UNLIKELY (ring->inflight != NULL))
    {
      vhost_inflight_packed_push (ring->inflight, entries, n, ring->next_used, ring->used_wrap);
      store_flags (ring, at, flags);
      vhost_inflight_packed_published (ring->inflight, entries, n);
    }
  else if (ring->group_open)
    store_flags (ring, at, flags);
  else
    {
      ring->group_open = TRUE;
      ring->group_slot = at;
      ring->group_flags = flags;
      wrote_slot (ring, at);
    }
}

static void
packed_push (VhostRing *ring, VhostChain *chain, guint32 length)
{
  const guint16 *entry = NULL;

  if (G_UNLIKELY (ring->in_order))
    {
      ring->requests[chain->head].length = length;
      ring->requests[chain->head].written = has_written (chain, length);
      ring->requests[chain->head].done = TRUE;
      return;
    }
  if (G_UNLIKELY (ring->inflight != NULL))
    entry = &ring->requests[chain->head].entry;
  write_used (ring, chain->head, length, has_written (chain, length), chain->n_slots, entry, 1);
  ring->in_flight[chain->head] = 0;
}

/* What of the row has ended goes out, one used descriptor for each batch, in the slot of its first
 * (V28). */
static void
push_row (VhostRing *ring)
{
  guint32 n;

  while ((n = vhost_ring_row_batch (ring)) > 0)
    {
      guint16 last = vhost_ring_row_get (ring, n - 1);
      guint32 slots = 0;

      for (guint32 i = 0; i < n; i++)
        {
          guint16 id = vhost_ring_row_get (ring, i);

          slots += ring->requests[id].slots;
          ring->in_flight[id] = 0;
          if (ring->entries != NULL)
            ring->entries[i] = ring->requests[id].entry;
        }
      write_used (ring, last, ring->requests[last].length, ring->requests[last].written, slots,
                  ring->entries, n);
      vhost_ring_row_drop (ring, n);
    }
}

static void
packed_expose (VhostRing *ring)
{
  if (G_UNLIKELY (ring->in_order))
    push_row (ring);
  if (ring->group_open)
    {
      ring->group_open = FALSE;
      store_flags (ring, ring->group_slot, ring->group_flags);
    }
}

/* V35: was the slot that the driver names among those that were passed since the last decision, of
 * which there is at least one? Slots of the round before count below 0. */
static gboolean
passed (VhostRing *ring, guint16 offset, gboolean wrap, guint16 called)
{
  gint32 now = ring->next_used;
  gint32 old = called < now ? called : called - (gint32) ring->size;
  gint32 event = offset - (wrap == ring->used_wrap ? 0 : (gint32) ring->size);

  return (guint16) (now - event - 1) < (guint16) (now - old);
}

static gboolean
packed_publish (VhostRing *ring)
{
  guint16 called = ring->called_used;
  gboolean called_valid;
  guint32 event;
  guint16 offset;

  packed_expose (ring);
  if (ring->n_uncalled == 0)
    return FALSE;
  called_valid = ring->called_valid && ring->n_uncalled <= ring->size;
  ring->called_used = ring->next_used;
  ring->called_valid = TRUE;
  ring->n_uncalled = 0;
  /* Full: the flags must be out before we read what the driver wants. Partner: the driver's fence
   * between writing its event area and its last look at the ring (V43). */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  if (G_UNLIKELY (ring->notify_on_empty) && !is_available_ahead (ring, 0))
    return TRUE; /* V39 */
  /* In one load: flags and offset belong together. */
  event = GUINT32_FROM_LE (__atomic_load_n (ring->driver_event, __ATOMIC_RELAXED));
  switch ((event >> 16) & EVENT_FLAGS)
    {
    case EVENT_DISABLE:
      return FALSE;
    case EVENT_ONE:
      offset = event & (EVENT_WRAP - 1);
      if (!ring->event_idx || !called_valid || offset >= ring->size)
        return TRUE;
      return passed (ring, offset, (event & EVENT_WRAP) != 0, called);
    case EVENT_ENABLE:
    default: /* 3 is reserved: rather one call too many */
      return TRUE;
    }
}

static void
store_event (VhostRing *ring, guint32 event)
{
  /* In one store: the driver reads all 32 bits at once (V36). */
  __atomic_store_n (ring->device_event, GUINT32_TO_LE (event), __ATOMIC_RELAXED);
  VHOST_INFLIGHT_STEP ();
  vhost_ring_wrote (ring, 0, sizeof *ring->device_event);
}

static void
packed_kicks_off (VhostRing *ring)
{
  store_event (ring, EVENT_DISABLE << 16);
}

static gboolean
packed_kicks_on (VhostRing *ring)
{
  if (ring->event_idx)
    {
      gboolean wrap;
      guint16 slot = ahead (ring, ring->slots_left, &wrap);

      store_event (ring, EVENT_ONE << 16 | (wrap ? EVENT_WRAP : 0) | slot);
    }
  else
    store_event (ring, EVENT_ENABLE << 16);
  /* Full: what we want must be out before the last look (V37). Partner: the driver's fence between
   * making a list available and reading the device event area. */
  __atomic_thread_fence (__ATOMIC_SEQ_CST);
  return packed_has_available (ring);
}

const VhostRingOps vhost_ring_packed_ops = {
  .place = packed_place,
  .set_base = packed_set_base,
  .get_base = packed_get_base,
  .has_available = packed_has_available,
  .look = packed_look,
  .leave = packed_leave,
  .pop = packed_pop,
  .push = packed_push,
  .expose = packed_expose,
  .publish = packed_publish,
  .kicks_off = packed_kicks_off,
  .kicks_on = packed_kicks_on,
};
