/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of a split ring. Must not believe the device: the used ring is checked against what
 * this side remembers in memory of its own, and nothing else is read back from the ring.
 *
 * How it works: free descriptors form a list in `next`, private memory; a chain is taken from its
 * front and put back there as a whole, since its descriptors stay linked, so both cost the same for
 * any length. add () fills descriptors and available entries, publish () shows the index once for
 * all of them. poll () loads the used index (acquire) once per batch.
 *
 * IN_ORDER: the list is the ring's own order, x, x + 1 ..., and chains come back from its other
 * end, so nothing is relinked. One used entry may stand for all chains up to the one it names;
 * where that one stands in the order says how many, and the used index must cover them. */
#include "config.h"

#include "vhost-frontend-private.h"

#include <stdatomic.h>

#define DESCRIPTOR_F_NEXT 1u
#define DESCRIPTOR_F_WRITE 2u
#define DESCRIPTOR_F_INDIRECT 4u
#define AVAILABLE_F_NO_INTERRUPT 1u
#define USED_F_NO_NOTIFY 1u

/* used_event this far behind asks for no call; it is moved on before the index comes round to it.
 */
#define EVENT_DISTANCE 0x8000u
#define EVENT_REFRESH_MASK 0x3fffu

G_STATIC_ASSERT (sizeof (VhostFrontendDescriptor) == 16);
G_STATIC_ASSERT (sizeof (_Atomic guint16) == 2);

static guint16
load_event (_Atomic guint16 *event)
{
  return GUINT16_FROM_LE (atomic_load_explicit (event, memory_order_relaxed));
}

static void
store_event (_Atomic guint16 *event, guint16 value)
{
  atomic_store_explicit (event, GUINT16_TO_LE (value), memory_order_relaxed);
}

static inline guint16
buffer_flags (const VhostFrontendBuffer *buffer, gboolean last)
{
  return GUINT16_TO_LE (
      (guint16) ((buffer->writable ? DESCRIPTOR_F_WRITE : 0) | (last ? 0 : DESCRIPTOR_F_NEXT)));
}

static inline gboolean
split_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
           gboolean indirect, gpointer token)
{
  const guint16 first = self->free_head;
  guint16 last = first;
  guint16 n;

  if (n_buffers == 0 || self->n_free == 0)
    return FALSE;

  if (indirect && self->indirect)
    {
      VhostFrontendTable *table = &self->tables[first];

      if (!vhost_frontend_queue_reserve_table (self, table, n_buffers))
        return FALSE;
      for (guint i = 0; i < n_buffers; i++)
        table->descriptors[i] = (VhostFrontendDescriptor){
          .address = GUINT64_TO_LE (buffers[i].address),
          .length = GUINT32_TO_LE (buffers[i].length),
          .flags = buffer_flags (&buffers[i], i + 1 == n_buffers),
          .next = i + 1 == n_buffers ? 0 : GUINT16_TO_LE ((guint16) (i + 1)),
        };
      self->descriptors[first] = (VhostFrontendDescriptor){
        .address = GUINT64_TO_LE (table->address + self->iova_offset),
        .length = GUINT32_TO_LE ((guint32) (n_buffers * sizeof (VhostFrontendDescriptor))),
        .flags = GUINT16_TO_LE (DESCRIPTOR_F_INDIRECT),
      };
      n = 1;
    }
  else
    {
      if (n_buffers > self->n_free)
        return FALSE;
      for (guint i = 0; i < n_buffers; i++)
        {
          if (i > 0)
            last = self->next[last];
          self->descriptors[last] = (VhostFrontendDescriptor){
            .address = GUINT64_TO_LE (buffers[i].address),
            .length = GUINT32_TO_LE (buffers[i].length),
            .flags = buffer_flags (&buffers[i], i + 1 == n_buffers),
            .next = i + 1 == n_buffers ? 0 : GUINT16_TO_LE (self->next[last]),
          };
        }
      n = (guint16) n_buffers;
    }

  self->free_head = self->next[last];
  self->n_free -= n;
  self->heads[first] = (VhostFrontendHead){ token, last, n };
  self->available->ring[self->avail_idx & self->mask] = GUINT16_TO_LE (first);
  self->avail_idx++;
  return TRUE;
}

static void
split_publish (VhostFrontendQueue *self)
{
  if (self->published_idx == self->avail_idx)
    return;
  /* Partner: the device's acquire load of the index, before it reads entries and descriptors. */
  atomic_store_explicit (&self->available->idx, GUINT16_TO_LE (self->avail_idx),
                         memory_order_release);
  self->published_idx = self->avail_idx;
}

static gboolean
split_wants_kick (VhostFrontendQueue *self)
{
  const guint16 old = self->kicked_idx;
  const guint16 new = self->avail_idx;

  if (old == new)
    return FALSE;

  split_publish (self);
  self->kicked_idx = new;
  /* Partner: the device's full fence between switching kicks on and its last look at the index. */
  atomic_thread_fence (memory_order_seq_cst);
  if (self->event_idx)
    return (guint16) (new - load_event (self->avail_event) - 1) < (guint16) (new - old);
  return (load_event (&self->used->flags) & USED_F_NO_NOTIFY) == 0;
}

/* Partner: the device's release store, after it wrote buffers and entries. */
static inline gboolean
look_for_used (VhostFrontendQueue *self)
{
  self->seen_used_idx
      = GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
  return self->seen_used_idx != self->used_idx;
}

/* A spent used_event must not be met again by an index that has gone round. */
static inline void
refresh_event (VhostFrontendQueue *self)
{
  if (G_UNLIKELY ((self->used_idx & EVENT_REFRESH_MASK) == 0) && self->event_idx)
    store_event (self->used_event, (guint16) (self->used_idx - EVENT_DISTANCE));
}

static gboolean
split_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  if (self->used_idx == self->seen_used_idx && !look_for_used (self))
    return FALSE;

  /* At most once round: a device that counts on and on cannot hold the caller. */
  do
    {
      VhostFrontendUsedElement *element = &self->used->ring[self->used_idx & self->mask];
      const guint32 id
          = GUINT32_FROM_LE (atomic_load_explicit (&element->id, memory_order_relaxed));
      VhostFrontendHead *head;

      self->used_idx++;
      refresh_event (self);

      if (G_UNLIKELY (id >= self->size || self->heads[id].n == 0))
        {
          self->bad_used++;
          continue;
        }
      head = &self->heads[id];
      if (token != NULL)
        *token = head->token;
      if (length != NULL)
        *length = GUINT32_FROM_LE (atomic_load_explicit (&element->length, memory_order_relaxed));
      /* The chain is linked from head to tail still. */
      self->next[head->tail] = self->free_head;
      self->free_head = (guint16) id;
      self->n_free += head->n;
      head->n = 0;
      return TRUE;
    }
  while (self->used_idx != self->seen_used_idx);

  return FALSE;
}

static gboolean
split_has_used (VhostFrontendQueue *self)
{
  return self->used_idx != self->seen_used_idx || look_for_used (self);
}

static void
split_arm (VhostFrontendQueue *self, gboolean wanted)
{
  if (self->event_idx)
    {
      /* The way that is not in use stays at "call" (V31). */
      store_event (&self->available->flags, 0);
      store_event (self->used_event,
                   wanted ? self->used_idx : (guint16) (self->used_idx - EVENT_DISTANCE));
    }
  else
    store_event (&self->available->flags, wanted ? 0 : AVAILABLE_F_NO_INTERRUPT);
}

/* What was not marked used is to be done again (R11). */
static guint32
split_lost_base (VhostFrontendQueue *self)
{
  return GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
}

const VhostFrontendRing vhost_frontend_ring_split
    = { split_add,      split_publish, split_wants_kick, split_poll,
        split_has_used, split_arm,     split_lost_base };

/* ---- IN_ORDER ---- */

static gboolean
in_order_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
              gboolean indirect, gpointer token)
{
  VhostFrontendOrder *order = &self->order[self->free_head];
  guint32 writable = 0;

  if (!split_add (self, buffers, n_buffers, indirect, token))
    return FALSE;
  for (guint i = 0; i < n_buffers; i++)
    writable += buffers[i].writable ? buffers[i].length : 0;
  *order = (VhostFrontendOrder){ writable, self->n_added++ };
  return TRUE;
}

/* Begins a batch: one used entry, for all chains up to the one it names (V28). */
static gboolean
begin_batch (VhostFrontendQueue *self)
{
  VhostFrontendUsedElement *element = &self->used->ring[self->used_idx & self->mask];
  const guint32 id = GUINT32_FROM_LE (atomic_load_explicit (&element->id, memory_order_relaxed));

  /* The index has to have moved on by as many as the entry stands for. */
  if (id >= self->size || self->heads[id].n == 0
      || (guint16) (self->order[id].count - self->n_done)
             >= (guint16) (self->seen_used_idx - self->used_idx))
    return FALSE;
  self->in_batch = TRUE;
  self->batch_last = (guint16) id;
  self->batch_length
      = GUINT32_FROM_LE (atomic_load_explicit (&element->length, memory_order_relaxed));
  return TRUE;
}

static gboolean
in_order_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  VhostFrontendHead *head;
  gboolean last;

  /* Within a batch the index was looked at already. */
  if (!self->in_batch && self->used_idx == self->seen_used_idx && !look_for_used (self))
    return FALSE;
  while (!self->in_batch && !begin_batch (self))
    {
      self->bad_used++;
      self->used_idx++;
      refresh_event (self);
      if (self->used_idx == self->seen_used_idx)
        return FALSE;
    }

  head = &self->heads[self->oldest];
  last = self->oldest == self->batch_last;
  self->used_idx++;
  refresh_event (self);
  if (token != NULL)
    *token = head->token;
  /* Those that were skipped were used completely. */
  if (length != NULL)
    *length = last ? self->batch_length : self->order[self->oldest].writable;
  self->in_batch = !last;
  self->n_done++;
  self->n_free += head->n;
  head->n = 0;
  self->oldest = self->next[head->tail];
  return TRUE;
}

const VhostFrontendRing vhost_frontend_ring_split_in_order
    = { in_order_add,   split_publish, split_wants_kick, in_order_poll,
        split_has_used, split_arm,     split_lost_base };
