/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of one split virtqueue. Must not believe the device: the
 * used ring is checked against what this side remembers in memory of its own, and nothing else is
 * read back from the ring.
 *
 * How it works: free descriptors form a list in `next`, private memory; a chain is taken from its
 * front and put back there as a whole, since its descriptors stay linked, so both cost the same for
 * any length. add () fills descriptors and available entries, kick () publishes the index once for
 * all of them, full fence, then reads whether the device wants to be told. poll () loads the used
 * index (acquire) once per batch. No call allocates, locks or enters the kernel, but for the
 * eventfds and for an indirect table that has to grow.
 *
 * Calls under EVENT_IDX are armed lazily: used_event stays where the last wait () put it, so a busy
 * queue is never called; wait () moves it up to the next used entry, full fence, looks again, and
 * only then sleeps. The fences are the other halves of the device's: publish used index, full
 * fence, read used_event; and arm avail_event, full fence, read the available index
 * (VIRTIO 2.7.7, 2.7.10). */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-fd-private.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* An indirect table's `next` has 16 bits. */
#define MAX_TABLE_SIZE 65536
#define MIN_TABLE_SIZE 8

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

/* What a detached queue's indices read. */
static VhostFrontendUsed nothing_used;

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

void
vhost_frontend_queue_set_features (VhostFrontendQueue *self, gboolean event_idx, gboolean indirect)
{
  self->event_idx = event_idx;
  self->indirect = indirect;
  /* One of the two ways stays unused, at "call" and 0. */
  if (!self->detached)
    store_event (&self->available->flags, 0);
}

void
vhost_frontend_queue_detach (VhostFrontendQueue *self)
{
  /* With nothing free and nothing used, neither add () nor poll () comes near the ring. */
  self->frontend = NULL;
  self->detached = TRUE;
  self->n_free = 0;
  self->avail_idx = self->kicked_idx = self->published_idx;
  self->used = &nothing_used;
  self->used_idx = self->seen_used_idx = 0;
}

/* Room for @n entries in the table of @head; the smaller table before it is given up. */
static gboolean
reserve_table (VhostFrontendQueue *self, VhostFrontendTable *table, guint n)
{
  guint32 size = MAX (n, MIN_TABLE_SIZE);
  gpointer memory;
  guint64 address;

  if (G_LIKELY (n <= table->size))
    return TRUE;
  if (n > MAX_TABLE_SIZE)
    return FALSE;
  address = vhost_frontend_memory_allocate_pinned (
      self->frontend, size * sizeof (VhostFrontendDescriptor), 16, &memory, NULL);
  if (address == 0)
    return FALSE;
  *table = (VhostFrontendTable){ memory, address, size };
  return TRUE;
}

static inline guint16
buffer_flags (const VhostFrontendBuffer *buffer, gboolean last)
{
  return GUINT16_TO_LE (
      (guint16) ((buffer->writable ? DESCRIPTOR_F_WRITE : 0) | (last ? 0 : DESCRIPTOR_F_NEXT)));
}

/**
 * vhost_frontend_queue_add:
 * @self: a queue
 * @buffers: (array length=n_buffers): the chain, those that the device reads first
 * @n_buffers: how many, not 0
 * @indirect: whether to use an indirect table, where INDIRECT_DESC was negotiated
 * @token: what vhost_frontend_queue_poll () gives back for this chain
 *
 * Makes a chain available; the device sees it after vhost_frontend_queue_kick ().
 *
 * Addresses, lengths and order are not checked: a driver may be wrong. An indirect table takes one
 * descriptor and, for its first use, guest memory; it is used again by later chains.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.
 *
 * Returns: %FALSE when there is no room: fewer free descriptors than buffers, or no memory for a
 * table
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers,
                          guint n_buffers, gboolean indirect, gpointer token)
{
  const guint16 first = self->free_head;
  guint16 last = first;
  guint16 n;

  if (n_buffers == 0 || self->n_free == 0)
    return FALSE;

  if (indirect && self->indirect)
    {
      VhostFrontendTable *table = &self->tables[first];

      if (!reserve_table (self, table, n_buffers))
        return FALSE;
      for (guint i = 0; i < n_buffers; i++)
        table->descriptors[i] = (VhostFrontendDescriptor){
          .address = GUINT64_TO_LE (buffers[i].address),
          .length = GUINT32_TO_LE (buffers[i].length),
          .flags = buffer_flags (&buffers[i], i + 1 == n_buffers),
          .next = i + 1 == n_buffers ? 0 : GUINT16_TO_LE ((guint16) (i + 1)),
        };
      self->descriptors[first] = (VhostFrontendDescriptor){
        .address = GUINT64_TO_LE (table->address),
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

/**
 * vhost_frontend_queue_publish:
 * @self: a queue
 *
 * Publishes the chains that were added, without a thought of notifying the device: one that polls
 * begins at once, while more are added. Linux' driver publishes each buffer like that. A
 * vhost_frontend_queue_kick() must follow before the driver waits.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_publish (VhostFrontendQueue *self)
{
  if (self->published_idx == self->avail_idx)
    return;
  /* Partner: the device's acquire load of the index, before it reads entries and descriptors. */
  atomic_store_explicit (&self->available->idx, GUINT16_TO_LE (self->avail_idx),
                         memory_order_release);
  self->published_idx = self->avail_idx;
}

/**
 * vhost_frontend_queue_kick:
 * @self: a queue
 *
 * Publishes the chains that were added, and notifies the device unless it asked not to be.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.4, 2.7.10.
 *
 * Returns: %TRUE when the device was notified; %FALSE also when nothing was added
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_kick (VhostFrontendQueue *self)
{
  const guint16 old = self->kicked_idx;
  const guint16 new = self->avail_idx;
  gboolean wanted;

  if (old == new)
    return FALSE;

  vhost_frontend_queue_publish (self);
  self->kicked_idx = new;
  /* Partner: the device's full fence between switching kicks on and its last look at the index. */
  atomic_thread_fence (memory_order_seq_cst);
  if (self->event_idx)
    wanted = (guint16) (new - load_event (self->avail_event) - 1) < (guint16) (new - old);
  else
    wanted = (load_event (&self->used->flags) & USED_F_NO_NOTIFY) == 0;
  if (!wanted)
    return FALSE;

  self->n_kicks++;
  vhost_fd_notify (self->kick_fd);
  return TRUE;
}

/**
 * vhost_frontend_queue_force_kick:
 * @self: a queue
 *
 * Publishes the chains that were added, and notifies the device in any case.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_force_kick (VhostFrontendQueue *self)
{
  vhost_frontend_queue_publish (self);
  self->kicked_idx = self->avail_idx;
  self->n_kicks++;
  vhost_fd_notify (self->kick_fd);
}

/* Partner: the device's release store, after it wrote buffers and entries. */
static inline gboolean
look_for_used (VhostFrontendQueue *self)
{
  self->seen_used_idx
      = GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
  return self->seen_used_idx != self->used_idx;
}

/**
 * vhost_frontend_queue_poll:
 * @self: a queue
 * @token: (out) (optional) (transfer none): the chain's token
 * @length: (out) (optional): bytes that the device says it wrote
 *
 * Takes the next chain that the device has used; never waits.
 *
 * Entries whose id is not that of a chain in flight are skipped and counted, see
 * vhost_frontend_queue_get_bad_used (). @length is the device's word.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.14.
 *
 * Returns: %FALSE when there is none
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
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
      /* A spent used_event must not be met again by an index that has gone round. */
      if (G_UNLIKELY ((self->used_idx & EVENT_REFRESH_MASK) == 0) && self->event_idx)
        store_event (self->used_event, (guint16) (self->used_idx - EVENT_DISTANCE));

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

/**
 * vhost_frontend_queue_set_calls_enabled:
 * @self: a queue
 * @enabled: whether the device shall call
 *
 * Says whether the device is to notify of used buffers; at first it is. Without, look with
 * vhost_frontend_queue_poll ().
 *
 * With EVENT_IDX, enabling asks for one call, at the next used buffer; vhost_frontend_queue_wait ()
 * asks for the next one by itself, and who watches vhost_frontend_queue_get_call_fd () instead
 * enables again after each call, and polls once more then.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.7.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_set_calls_enabled (VhostFrontendQueue *self, gboolean enabled)
{
  self->calls_enabled = enabled;
  if (self->detached)
    return;
  if (self->event_idx)
    store_event (self->used_event,
                 enabled ? self->used_idx : (guint16) (self->used_idx - EVENT_DISTANCE));
  else
    store_event (&self->available->flags, enabled ? 0 : AVAILABLE_F_NO_INTERRUPT);
  /* Partner: the device's full fence between publishing a used entry and reading this. */
  atomic_thread_fence (memory_order_seq_cst);
}

/* Counts the calls that have come. The descriptor's flags are the back-end's too, so a read might
 * block. */
static gboolean
take_calls (VhostFrontendQueue *self, int timeout_ms)
{
  struct pollfd pollfd = { .fd = self->call_fd, .events = POLLIN };
  guint64 n;

  if (poll (&pollfd, 1, timeout_ms) <= 0 || (pollfd.revents & POLLIN) == 0)
    return FALSE;
  if (read (self->call_fd, &n, sizeof n) != sizeof n)
    return FALSE;
  self->n_calls += n;
  return TRUE;
}

/**
 * vhost_frontend_queue_wait:
 * @self: a queue
 * @timeout_ms: how long; 0 does not wait, -1 waits for ever
 *
 * Waits until vhost_frontend_queue_poll () has something to find, or the device calls. A call that
 * came for buffers taken already counts too, so poll and wait again.
 *
 * While calls are disabled nothing but an unasked call ends the wait.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: %FALSE when the time is over
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_wait (VhostFrontendQueue *self, int timeout_ms)
{
  gint64 deadline;

  if (self->used_idx != self->seen_used_idx || look_for_used (self))
    return TRUE;

  if (self->calls_enabled && self->event_idx && !self->detached)
    {
      store_event (self->used_event, self->used_idx);
      /* Partner: the device's full fence between publishing a used entry and reading used_event. */
      atomic_thread_fence (memory_order_seq_cst);
      if (look_for_used (self))
        return TRUE;
    }

  deadline = g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  for (;;)
    {
      if (take_calls (self, timeout_ms) || look_for_used (self))
        return TRUE;
      /* A signal ends the sleep early. */
      if (timeout_ms >= 0)
        {
          gint64 left = deadline - g_get_monotonic_time ();

          if (left <= 0)
            return FALSE;
          timeout_ms = (int) ((left + 999) / 1000);
        }
    }
}

/**
 * vhost_frontend_queue_get_n_calls:
 * @self: a queue
 *
 * How many times the device has called. Takes the calls that are pending off the call descriptor;
 * the buffers they stand for are found by vhost_frontend_queue_poll () and
 * vhost_frontend_queue_wait () nevertheless.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_n_calls (VhostFrontendQueue *self)
{
  take_calls (self, 0);
  return self->n_calls;
}
