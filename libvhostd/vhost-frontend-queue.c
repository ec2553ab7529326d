/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of one virtqueue, as far as it is the same for all ring layouts: notifications in both
 * directions, the wait. Must not know how a ring looks.
 *
 * How it works: the layout is a table of functions that the queue holds; the calls go there
 * directly. No call allocates, locks or enters the kernel, but for the eventfds and for an indirect
 * table that has to grow.
 *
 * Calls under EVENT_IDX are armed lazily: the event stays where the last wait () put it, so a busy
 * queue is never called; wait () moves it up to the next used entry, full fence, looks again, and
 * only then sleeps. The fences are the other halves of the device's: publish, full fence, read the
 * driver's event; and arm its own event, full fence, look for available buffers
 * (VIRTIO 2.7.7, 2.7.10, 2.8.10). */
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

/* ---- A ring that is no more ---- */

static gboolean
nothing_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
             gboolean indirect, gpointer token)
{
  return FALSE;
}

static void
nothing_publish (VhostFrontendQueue *self)
{
}

static gboolean
nothing_is_there (VhostFrontendQueue *self)
{
  return FALSE;
}

static gboolean
nothing_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  return FALSE;
}

static void
nothing_arm (VhostFrontendQueue *self, gboolean wanted)
{
}

static guint32
nothing_lost_base (VhostFrontendQueue *self)
{
  return 0;
}

static const VhostFrontendRing nothing
    = { nothing_add,      nothing_publish, nothing_is_there, nothing_poll,
        nothing_is_there, nothing_arm,     nothing_lost_base };

void
vhost_frontend_queue_set_features (VhostFrontendQueue *self, gboolean event_idx, gboolean indirect)
{
  self->event_idx = event_idx;
  self->indirect = indirect;
  self->ring->arm (self, self->calls_enabled);
}

void
vhost_frontend_queue_detach (VhostFrontendQueue *self)
{
  self->ring = &nothing;
  self->frontend = NULL;
  self->detached = TRUE;
  self->n_free = 0;
}

gboolean
vhost_frontend_queue_reserve_table (VhostFrontendQueue *self, VhostFrontendTable *table, guint n)
{
  guint32 size = MAX (n, MIN_TABLE_SIZE);
  gpointer memory;
  guint64 address;

  if (G_LIKELY (n <= table->size))
    return TRUE;
  if (n > MAX_TABLE_SIZE)
    return FALSE;
  address = vhost_frontend_memory_allocate_pinned (
      self->frontend, size * sizeof (VhostFrontendDescriptor), 16, &memory);
  if (address == 0)
    return FALSE;
  *table = (VhostFrontendTable){ memory, address, size };
  return TRUE;
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
  return self->ring->add (self, buffers, n_buffers, indirect, token);
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
  self->ring->publish (self);
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
  return self->ring->wants_kick (self) && vhost_frontend_queue_notify (self);
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
  self->ring->wants_kick (self);
  vhost_frontend_queue_notify (self);
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
  return self->ring->poll (self, token, length);
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
  self->ring->arm (self, enabled);
  /* Partner: the device's full fence between publishing a used entry and reading this. */
  atomic_thread_fence (memory_order_seq_cst);
}

static gint64
deadline_after (int timeout_ms)
{
  return timeout_ms < 0 ? -1 : g_get_monotonic_time () + (gint64) timeout_ms * 1000;
}

/* Counts the calls that have come. The descriptor's flags are the back-end's too, so a read might
 * block. */
static gboolean
take_calls (VhostFrontendQueue *self, int timeout_ms)
{
  struct pollfd pollfd = { .fd = self->call_fd, .events = POLLIN };
  guint64 n;

  if (timeout_ms != 0 && self->frontend != NULL && self->frontend->iterate_context)
    {
      if (vhost_frontend_wait_for (self->frontend, self->call_fd, -1, POLLIN,
                                   deadline_after (timeout_ms))
          <= 0)
        return FALSE;
      timeout_ms = 0;
    }

  if (poll (&pollfd, 1, timeout_ms) <= 0 || (pollfd.revents & POLLIN) == 0)
    return FALSE;
  if (read (self->call_fd, &n, sizeof n) != sizeof n)
    return FALSE;
  self->n_calls += n;
  return TRUE;
}

/* In-band calls come by the back-end channel, whose messages put them on the call descriptor. */
static void
wait_for_messages (VhostFrontendQueue *self, int timeout_ms)
{
  VhostFrontend *frontend = self->frontend;

  if (vhost_frontend_wait_for (frontend, self->call_fd,
                               vhost_frontend_get_backend_channel_fd (frontend), POLLIN,
                               deadline_after (timeout_ms))
          > 0
      && self->frontend != NULL)
    vhost_frontend_process_backend_messages (frontend, 0);
}

/**
 * vhost_frontend_queue_wait:
 * @self: a queue
 * @timeout_ms: how long; 0 does not wait, -1 waits for ever
 *
 * Waits until vhost_frontend_queue_poll () has something to find, or the device calls. A call that
 * came for buffers taken already counts too, so poll and wait again.
 *
 * With in-band calls it handles the back-end's messages meanwhile, see
 * vhost_frontend_process_backend_messages (): the queue then belongs to the control thread.
 *
 * While calls are disabled nothing but an unasked call ends the wait. With
 * #VhostFrontend:iterate-context the main context runs meanwhile.
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
  g_autoptr (VhostFrontendQueue) guard = NULL;
  gint64 deadline;

  if (self->ring->has_used (self))
    return TRUE;

  if (self->calls_enabled && self->event_idx)
    {
      self->ring->arm (self, TRUE);
      /* Partner: the device's full fence between publishing a used entry and reading the event. */
      atomic_thread_fence (memory_order_seq_cst);
      if (self->ring->has_used (self))
        return TRUE;
    }

  /* Handlers that run meanwhile may give the queue up. */
  guard = vhost_frontend_queue_ref (self);
  deadline = g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  for (;;)
    {
      const gboolean inband
          = self->call_mode == VHOST_FRONTEND_NOTIFY_INBAND && self->frontend != NULL;

      if (inband)
        wait_for_messages (self, timeout_ms);
      if (take_calls (self, inband ? 0 : timeout_ms) || self->ring->has_used (self))
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
