/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of a packed ring. Must not believe the device: of what it writes only the used
 * descriptor's id, length and flags are read, each once, and checked against private memory.
 *
 * How it works: a list takes the next slots of the ring and one buffer ID from a free list; what
 * the driver has to know of it is kept by that ID. The flags of the first list that was added since
 * the last publish () are held back: the device looks at one slot only, so that single store shows
 * it all of them. Used descriptors are taken where they are expected, at the next used slot, and
 * stand for as many slots as their list had. One with an ID that is not in flight is passed over as
 * one slot; n_busy, the slots between the two positions, keeps that from ever going past the
 * driver's own. */
#include "config.h"

#include "vhost-frontend-private.h"

#include <stdatomic.h>

#define DESCRIPTOR_F_NEXT 1u
#define DESCRIPTOR_F_WRITE 2u
#define DESCRIPTOR_F_INDIRECT 4u
#define DESCRIPTOR_F_AVAILABLE (1u << 7)
#define DESCRIPTOR_F_USED (1u << 15)

#define EVENT_ENABLE 0u
#define EVENT_DISABLE 1u
#define EVENT_DESCRIPTOR 2u
#define EVENT_WRAP 0x8000u

/* An event that has been met is met again two laps later. */
#define ARMED_LAPS 2

G_STATIC_ASSERT (sizeof (VhostFrontendSlot) == 16);
G_STATIC_ASSERT (sizeof (_Atomic guint32) == 4);

/* AVAIL is the wrap counter, USED its inverse (V18). */
static inline guint16
available_flags (gboolean wrap)
{
  return wrap ? DESCRIPTOR_F_AVAILABLE : DESCRIPTOR_F_USED;
}

static void
fill_slot (VhostFrontendSlot *slot, guint64 address, guint32 length, guint16 id)
{
  slot->address = GUINT64_TO_LE (address);
  atomic_store_explicit (&slot->length, GUINT32_TO_LE (length), memory_order_relaxed);
  atomic_store_explicit (&slot->id, GUINT16_TO_LE (id), memory_order_relaxed);
}

/* Partner: the device's acquire load of a head's flags, before it reads the list. */
static void
store_flags (VhostFrontendSlot *slot, guint16 flags)
{
  atomic_store_explicit (&slot->flags, GUINT16_TO_LE (flags), memory_order_release);
}

/* Puts @n slots behind the position; the head is what the device waits for, so it comes last. */
static void
make_available (VhostFrontendQueue *self, guint head_slot, guint16 head_flags, guint n)
{
  self->avail_slot += n;
  if (self->avail_slot >= self->size)
    {
      self->avail_slot -= self->size;
      self->avail_wrap = !self->avail_wrap;
    }
  self->n_free -= n;
  self->n_busy += n;
  self->n_unkicked += n;
  if (self->first_flags != 0)
    store_flags (&self->slots[head_slot], head_flags);
  else
    {
      self->first_unpublished = head_slot;
      self->first_flags = head_flags;
    }
}

static gboolean
add_indirect (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
              guint16 id)
{
  VhostFrontendTable *table = &self->tables[id];

  if (!vhost_frontend_queue_reserve_table (self, table, n_buffers))
    return FALSE;
  /* One after the other: of the flags only WRITE counts, the id has no meaning (V21). */
  for (guint i = 0; i < n_buffers; i++)
    table->descriptors[i] = (VhostFrontendDescriptor){
      .address = GUINT64_TO_LE (buffers[i].address),
      .length = GUINT32_TO_LE (buffers[i].length),
      /* A packed table's entry has id and flags where a split one has flags and next. */
      .next = GUINT16_TO_LE (buffers[i].writable ? DESCRIPTOR_F_WRITE : 0),
    };
  fill_slot (&self->slots[self->avail_slot], table->address + self->iova_offset,
             (guint32) (n_buffers * sizeof (VhostFrontendDescriptor)), id);
  make_available (self, self->avail_slot,
                  DESCRIPTOR_F_INDIRECT | available_flags (self->avail_wrap), 1);
  return TRUE;
}

static void
add_direct (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
            guint16 id)
{
  const guint head_slot = self->avail_slot;
  guint16 head_flags = 0;
  guint slot = head_slot;
  gboolean wrap = self->avail_wrap;

  for (guint i = 0; i < n_buffers; i++)
    {
      const guint16 flags
          = (guint16) (available_flags (wrap) | (buffers[i].writable ? DESCRIPTOR_F_WRITE : 0)
                       | (i + 1 < n_buffers ? DESCRIPTOR_F_NEXT : 0));

      fill_slot (&self->slots[slot], buffers[i].address, buffers[i].length, id);
      if (i == 0)
        head_flags = flags;
      else
        store_flags (&self->slots[slot], flags);
      if (++slot == self->size)
        {
          slot = 0;
          wrap = !wrap;
        }
    }
  make_available (self, head_slot, head_flags, n_buffers);
}

static gboolean
packed_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
            gboolean indirect, gpointer token)
{
  /* Each list in flight has a slot at least, so with a free slot there is a free ID. */
  const guint16 id = self->free_head;
  guint16 n = 1;

  if (n_buffers == 0 || self->n_free == 0)
    return FALSE;
  if (indirect && self->indirect)
    {
      if (!add_indirect (self, buffers, n_buffers, id))
        return FALSE;
    }
  else
    {
      if (n_buffers > self->n_free)
        return FALSE;
      add_direct (self, buffers, n_buffers, id);
      n = (guint16) n_buffers;
    }
  self->free_head = self->next[id];
  self->heads[id] = (VhostFrontendHead){ token, id, n };
  return TRUE;
}

static void
packed_publish (VhostFrontendQueue *self)
{
  if (self->first_flags == 0)
    return;
  store_flags (&self->slots[self->first_unpublished], self->first_flags);
  self->first_flags = 0;
}

static gboolean
packed_wants_kick (VhostFrontendQueue *self)
{
  const guint n = self->n_unkicked;
  const guint old = self->kicked_slot;
  const guint new = self->avail_slot;
  guint32 event;
  guint offset, e, o;

  if (n == 0)
    return FALSE;

  packed_publish (self);
  self->kicked_slot = new;
  self->n_unkicked = 0;
  /* Partner: the device's full fence between switching kicks on and its last look at the ring. */
  atomic_thread_fence (memory_order_seq_cst);
  event = GUINT32_FROM_LE (atomic_load_explicit (self->device_event, memory_order_relaxed));
  if (((event >> 16) & 3) == EVENT_DISABLE)
    return FALSE;
  offset = event & (EVENT_WRAP - 1);
  if (((event >> 16) & 3) != EVENT_DESCRIPTOR || !self->event_idx || n > self->size
      || offset >= self->size)
    return TRUE;

  /* Both numbered as if the ring went on below 0. */
  e = offset - (((event & EVENT_WRAP) != 0) == (self->avail_wrap != 0) ? 0 : self->size);
  o = old < new ? old : old - self->size;
  return (guint16) (new - e - 1) < (guint16) (new - o);
}

/* Partner: the device's release store of the flags, after it wrote buffers, id and length. */
static inline guint16
load_flags (VhostFrontendQueue *self, guint slot)
{
  return GUINT16_FROM_LE (atomic_load_explicit (&self->slots[slot].flags, memory_order_acquire));
}

static inline gboolean
is_used (guint16 flags, gboolean wrap)
{
  const guint16 both = DESCRIPTOR_F_AVAILABLE | DESCRIPTOR_F_USED;

  return (flags & both) == (wrap ? both : 0);
}

static gboolean
packed_has_used (VhostFrontendQueue *self)
{
  return self->in_batch
         || (self->n_busy > 0 && is_used (load_flags (self, self->used_slot), self->used_wrap));
}

static void
store_event (VhostFrontendQueue *self, guint16 position, guint16 flags)
{
  /* One store: the device never sees half of it (V35). */
  atomic_store_explicit (self->driver_event, GUINT32_TO_LE (position | (guint32) flags << 16),
                         memory_order_relaxed);
}

static void
packed_arm (VhostFrontendQueue *self, gboolean wanted)
{
  self->armed_laps = wanted && self->event_idx ? ARMED_LAPS : 0;
  if (!wanted)
    store_event (self, 0, EVENT_DISABLE);
  else if (self->event_idx)
    store_event (self, (guint16) (self->used_slot | (self->used_wrap ? EVENT_WRAP : 0)),
                 EVENT_DESCRIPTOR);
  else
    store_event (self, 0, EVENT_ENABLE);
}

static void
advance (VhostFrontendQueue *self, guint n)
{
  self->n_busy -= n;
  self->used_slot += n;
  if (self->used_slot < self->size)
    return;
  self->used_slot -= self->size;
  self->used_wrap = !self->used_wrap;
  if (self->armed_laps > 0 && --self->armed_laps == 0)
    store_event (self, 0, EVENT_DISABLE);
}

static guint16
load_id (VhostFrontendQueue *self, guint slot)
{
  return GUINT16_FROM_LE (atomic_load_explicit (&self->slots[slot].id, memory_order_relaxed));
}

/* Without WRITE the length is reserved (V24). */
static guint32
load_length (VhostFrontendQueue *self, guint16 flags)
{
  if ((flags & DESCRIPTOR_F_WRITE) == 0)
    return 0;
  return GUINT32_FROM_LE (
      atomic_load_explicit (&self->slots[self->used_slot].length, memory_order_relaxed));
}

static gboolean
packed_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  /* Each step lowers n_busy. */
  while (self->n_busy > 0)
    {
      const guint16 flags = load_flags (self, self->used_slot);
      VhostFrontendHead *head;
      guint16 id;

      if (!is_used (flags, self->used_wrap))
        return FALSE;
      id = load_id (self, self->used_slot);
      head = &self->heads[MIN (id, self->size - 1)];
      if (G_UNLIKELY (id >= self->size || head->n == 0 || head->n > self->n_busy))
        {
          self->bad_used++;
          advance (self, 1);
          continue;
        }
      if (token != NULL)
        *token = head->token;
      if (length != NULL)
        *length = load_length (self, flags);
      advance (self, head->n);
      self->n_free += head->n;
      self->next[id] = self->free_head;
      self->free_head = id;
      head->n = 0;
      return TRUE;
    }

  return FALSE;
}

/* An area of in-flight requests knows better, so then the number is an old one, as with a front-end
 * that has no memory of a packed ring's positions (IF10). Without it, a device that served in order
 * goes on behind what it marked used. */
static guint32
packed_lost_base (VhostFrontendQueue *self)
{
  guint slot = self->used_slot;
  gboolean wrap = self->used_wrap;
  guint busy = self->n_busy;
  guint32 position;

  if (self->frontend->inflight.fd >= 0)
    return self->base;
  while (busy > 0 && is_used (load_flags (self, slot), wrap))
    {
      const guint16 id = load_id (self, slot);
      guint n = id < self->size ? self->heads[id].n : 1;

      n = CLAMP (n, 1, busy);
      busy -= n;
      slot += n;
      if (slot >= self->size)
        {
          slot -= self->size;
          wrap = !wrap;
        }
    }
  position = slot | (wrap ? EVENT_WRAP : 0);
  return position | position << 16;
}

const VhostFrontendRing vhost_frontend_ring_packed
    = { packed_add,      packed_publish, packed_wants_kick, packed_poll,
        packed_has_used, packed_arm,     packed_lost_base };

/* ---- IN_ORDER ---- */

static gboolean
in_order_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
              gboolean indirect, gpointer token)
{
  VhostFrontendOrder *order = &self->order[self->free_head];
  guint32 writable = 0;

  if (!packed_add (self, buffers, n_buffers, indirect, token))
    return FALSE;
  for (guint i = 0; i < n_buffers; i++)
    writable += buffers[i].writable ? buffers[i].length : 0;
  *order = (VhostFrontendOrder){ writable, self->n_added++ };
  return TRUE;
}

/* Begins a batch: one used descriptor, for all lists up to the one it names (V28). FALSE: there is
 * none. */
static gboolean
begin_batch (VhostFrontendQueue *self)
{
  while (self->n_busy > 0)
    {
      const guint16 flags = load_flags (self, self->used_slot);
      guint16 id;

      if (!is_used (flags, self->used_wrap))
        return FALSE;
      id = load_id (self, self->used_slot);
      if (G_LIKELY (id < self->size && self->heads[id].n > 0))
        {
          self->in_batch = TRUE;
          self->batch_last = id;
          self->batch_length = load_length (self, flags);
          return TRUE;
        }
      self->bad_used++;
      advance (self, 1);
    }

  return FALSE;
}

static gboolean
in_order_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  VhostFrontendHead *head;
  gboolean last;

  if (!self->in_batch && !begin_batch (self))
    return FALSE;

  head = &self->heads[self->oldest];
  last = self->oldest == self->batch_last;
  if (token != NULL)
    *token = head->token;
  /* Those that were skipped were used completely. */
  if (length != NULL)
    *length = last ? self->batch_length : self->order[self->oldest].writable;
  self->in_batch = !last;
  self->n_done++;
  /* Fewer are left where a bad descriptor was passed over. */
  advance (self, MIN (head->n, self->n_busy));
  self->n_free += head->n;
  head->n = 0;
  self->oldest = self->next[self->oldest];
  return TRUE;
}

const VhostFrontendRing vhost_frontend_ring_packed_in_order
    = { in_order_add,    packed_publish, packed_wants_kick, in_order_poll,
        packed_has_used, packed_arm,     packed_lost_base };
