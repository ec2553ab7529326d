/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One split virtqueue of the driver side as an object: its memory, its descriptors, its numbers,
 * and the messages that start and stop it. Must not touch the rings' contents, but for the used
 * index. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#define MAX_QUEUE_SIZE 32768

G_DEFINE_BOXED_TYPE (VhostFrontendQueue, vhost_frontend_queue, vhost_frontend_queue_ref,
                     vhost_frontend_queue_unref)

VhostFrontendQueue *
vhost_frontend_queue_new (VhostFrontend *frontend, guint index, guint size, GError **error)
{
  g_autoptr (VhostFrontendQueue) self = NULL;
  gpointer memory;

  if (index >= VHOST_WIRE_MAX_QUEUES)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no queue %u: messages name queues 0 to %u", index,
                   VHOST_WIRE_MAX_QUEUES - 1);
      return NULL;
    }
  if (size == 0 || size > MAX_QUEUE_SIZE || (size & (size - 1)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u cannot have %u entries: a split ring has a power of 2, at most %u",
                   index, size, MAX_QUEUE_SIZE);
      return NULL;
    }

  self = g_new0 (VhostFrontendQueue, 1);
  vhost_reference_init (&self->ref_count);
  self->kick_fd = self->call_fd = self->err_fd = -1;
  self->frontend = frontend;
  self->index = index;
  self->size = size;
  self->mask = (guint16) (size - 1);
  self->n_free = size;
  self->calls_enabled = TRUE;
  self->heads = g_new0 (VhostFrontendHead, size);
  self->tables = g_new0 (VhostFrontendTable, size);
  self->next = g_new0 (guint16, size);
  for (guint i = 0; i + 1 < size; i++)
    self->next[i] = (guint16) (i + 1);

  if ((self->kick_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->call_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->err_fd = vhost_fd_new_eventfd (error)) < 0)
    return NULL;

  self->descriptors_address = vhost_frontend_memory_allocate_pinned (
      frontend, size * sizeof (VhostFrontendDescriptor), 16, &memory, &self->user_descriptors);
  if (self->descriptors_address != 0)
    {
      self->descriptors = memory;
      self->available_address = vhost_frontend_memory_allocate_pinned (
          frontend, sizeof (VhostFrontendAvailable) + (size + 1) * sizeof (guint16), 2, &memory,
          &self->user_available);
    }
  if (self->available_address != 0)
    {
      self->available = memory;
      self->used_event = (_Atomic guint16 *) &self->available->ring[size];
      self->used_address = vhost_frontend_memory_allocate_pinned (
          frontend,
          sizeof (VhostFrontendUsed) + size * sizeof (VhostFrontendUsedElement) + sizeof (guint16),
          4, &memory, &self->user_used);
    }
  if (self->used_address == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "no guest memory is left for queue %u with %u entries: add memory first", index,
                   size);
      return NULL;
    }
  self->used = memory;
  self->avail_event = (_Atomic guint16 *) (gpointer) &self->used->ring[size];
  return g_steal_pointer (&self);
}

void
vhost_frontend_queue_disconnected (VhostFrontendQueue *self)
{
  if (!self->running)
    return;
  /* Nobody can be asked any more: what was not marked used is to be done again. */
  self->running = FALSE;
  self->base = GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
}

/**
 * vhost_frontend_queue_ref:
 * @self: a queue
 *
 * Takes a reference. A queue whose #VhostFrontend is gone can still be asked for its numbers; it
 * adds and polls nothing.
 *
 * Thread: any.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_queue_ref (VhostFrontendQueue *self)
{
  vhost_reference_take (&self->ref_count);
  return self;
}

/**
 * vhost_frontend_queue_unref:
 * @self: (transfer full): a queue
 *
 * Drops a reference.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_unref (VhostFrontendQueue *self)
{
  if (!vhost_reference_drop (&self->ref_count))
    return;
  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  g_free (self->heads);
  g_free (self->tables);
  g_free (self->next);
  g_free (self);
}

/**
 * vhost_frontend_queue_get_index:
 * @self: a queue
 *
 * The queue's number.
 *
 * Thread: any.
 *
 * Returns: 0 to 255
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_index (VhostFrontendQueue *self)
{
  return self->index;
}

/**
 * vhost_frontend_queue_get_size:
 * @self: a queue
 *
 * The number of the ring's descriptors.
 *
 * Thread: any.
 *
 * Returns: a power of 2
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_size (VhostFrontendQueue *self)
{
  return self->size;
}

/**
 * vhost_frontend_queue_get_free:
 * @self: a queue
 *
 * The number of descriptors that no chain in flight uses.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: 0 to vhost_frontend_queue_get_size ()
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_free (VhostFrontendQueue *self)
{
  return self->n_free;
}

/**
 * vhost_frontend_queue_get_bad_used:
 * @self: a queue
 *
 * How many used entries named no chain in flight: the device broke the ring's rules.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_bad_used (VhostFrontendQueue *self)
{
  return self->bad_used;
}

/**
 * vhost_frontend_queue_get_n_kicks:
 * @self: a queue
 *
 * How many times the device was notified.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_n_kicks (VhostFrontendQueue *self)
{
  return self->n_kicks;
}

/**
 * vhost_frontend_queue_get_addresses:
 * @self: a queue
 * @descriptors: (out) (optional): guest address of the descriptor table
 * @available: (out) (optional): guest address of the available ring
 * @used: (out) (optional): guest address of the used ring
 *
 * Where the ring lies, for those who want to write something wrong there.
 *
 * Thread: any. Specification: VIRTIO 2.7.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_get_addresses (VhostFrontendQueue *self, guint64 *descriptors,
                                    guint64 *available, guint64 *used)
{
  if (descriptors != NULL)
    *descriptors = self->descriptors_address;
  if (available != NULL)
    *available = self->available_address;
  if (used != NULL)
    *used = self->used_address;
}

/**
 * vhost_frontend_queue_get_kick_fd:
 * @self: a queue
 *
 * The eventfd that notifies the device.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_kick_fd (VhostFrontendQueue *self)
{
  return self->kick_fd;
}

/**
 * vhost_frontend_queue_get_call_fd:
 * @self: a queue
 *
 * The eventfd by which the device calls. Its flags are the back-end's as well: poll before reading.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_call_fd (VhostFrontendQueue *self)
{
  return self->call_fd;
}

/**
 * vhost_frontend_queue_get_err_fd:
 * @self: a queue
 *
 * The eventfd by which the device says that the ring is broken.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_err_fd (VhostFrontendQueue *self)
{
  return self->err_fd;
}

static gboolean
send_ring_fd (VhostFrontend *self, guint32 request, guint index, int fd, GError **error)
{
  const guint64 payload = index;

  return vhost_frontend_set (self, request, &payload, sizeof payload, &fd, 1, error,
                             "queue %u, an eventfd", index);
}

static gboolean
send_ring_state (VhostFrontend *self, guint32 request, guint index, guint32 number, GError **error)
{
  const VhostWireVringState payload = { index, number };

  return vhost_frontend_set (self, request, &payload, sizeof payload, NULL, 0, error,
                             "queue %u, number %u", index, number);
}

/* All that a back-end without any memory of the ring has to know. KICK is last: it starts the ring.
 */
static gboolean
start_queue (VhostFrontend *self, VhostFrontendQueue *queue, GError **error)
{
  const guint index = queue->index;
  const VhostWireVringAddr address = {
    .index = index,
    .descriptor = queue->user_descriptors,
    .used = queue->user_used,
    .available = queue->user_available,
  };

  vhost_frontend_queue_set_features (
      queue, vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_EVENT_IDX),
      vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_INDIRECT_DESC));
  vhost_frontend_queue_set_calls_enabled (queue, queue->calls_enabled);

  if (!send_ring_state (self, VHOST_WIRE_SET_VRING_NUM, index, queue->size, error)
      || !send_ring_state (self, VHOST_WIRE_SET_VRING_BASE, index, queue->base, error)
      || !vhost_frontend_set (
          self, VHOST_WIRE_SET_VRING_ADDR, &address, sizeof address, NULL, 0, error,
          "queue %u, descriptors 0x%" G_GINT64_MODIFIER "x, available 0x%" G_GINT64_MODIFIER
          "x, used 0x%" G_GINT64_MODIFIER "x",
          index, address.descriptor, address.available, address.used)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_ERR, index, queue->err_fd, error)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_CALL, index, queue->call_fd, error)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_KICK, index, queue->kick_fd, error))
    return FALSE;
  queue->running = TRUE;
  return !vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_PROTOCOL_FEATURES)
         || send_ring_state (self, VHOST_WIRE_SET_VRING_ENABLE, index, 1, error);
}

static VhostFrontendQueue *
require_queue (VhostFrontend *self, guint index, GError **error)
{
  if (index < VHOST_WIRE_MAX_QUEUES && self->queues[index] != NULL)
    return self->queues[index];

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "there is no queue %u: add it first",
               index);
  return NULL;
}

/**
 * vhost_frontend_add_queue:
 * @self: a negotiated front-end with memory
 * @index: the queue's number, 0 to 255; not checked against the back-end's
 * @size: entries, a power of 2 up to 32768
 * @error: return location for an error
 *
 * Makes a split virtqueue in guest memory and starts it: SET_VRING_NUM, BASE (0), ADDR, ERR, CALL,
 * KICK and, with PROTOCOL_FEATURES, ENABLE.
 *
 * Thread: control. Specification: "Ring states".
 *
 * Returns: (transfer none): the queue, which is @self's, or %NULL with an error
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_add_queue (VhostFrontend *self, guint index, guint size, GError **error)
{
  g_autoptr (VhostFrontendQueue) queue = NULL;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  if (index < VHOST_WIRE_MAX_QUEUES && self->queues[index] != NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u exists: stop it and start it again instead", index);
      return NULL;
    }
  queue = vhost_frontend_queue_new (self, index, size, error);
  if (queue == NULL || !start_queue (self, queue, error))
    return NULL;

  self->queues[index] = g_steal_pointer (&queue);
  return self->queues[index];
}

/**
 * vhost_frontend_stop_queue:
 * @self: a front-end
 * @index: a queue that was added
 * @base: (out) (optional): the available index at which the device stopped
 * @error: return location for an error
 *
 * Stops a queue by GET_VRING_BASE. When this returns the device has finished what it took, or keeps
 * a record of it.
 *
 * Thread: control. Specification: GET_VRING_BASE.
 *
 * Returns: %TRUE on success
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_stop_queue (VhostFrontend *self, guint index, guint *base, GError **error)
{
  const VhostWireVringState payload = { index, 0 };
  VhostFrontendQueue *queue;
  VhostMessage *answer;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  queue = require_queue (self, index, error);
  if (queue == NULL
      || !vhost_frontend_get (self, VHOST_WIRE_GET_VRING_BASE, &payload, sizeof payload, &answer,
                              error))
    return FALSE;
  if (answer->header.size != sizeof payload || answer->payload.state.index != index
      || answer->payload.state.num > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_VRING_BASE of queue %u has %u bytes, queue %u, index %u; it "
                   "must have %zu bytes, the same queue and an index of 16 bits",
                   index, answer->header.size, answer->payload.state.index,
                   answer->payload.state.num, sizeof payload);
      return FALSE;
    }

  queue->running = FALSE;
  queue->base = answer->payload.state.num;
  if (base != NULL)
    *base = queue->base;
  return TRUE;
}

/**
 * vhost_frontend_restart_queue:
 * @self: a front-end
 * @index: a queue that was added
 * @error: return location for an error
 *
 * Starts a stopped queue again, where the device stopped. All messages of vhost_frontend_add_queue
 * () are sent, so the back-end may be another process.
 *
 * When the connection was lost while the queue ran, it goes on behind the last used buffer; chains
 * in flight are done (again) by the new back-end, in the order they were made available.
 *
 * Thread: control. Specification: "Ring states".
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_BUSY when the queue was not stopped
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_restart_queue (VhostFrontend *self, guint index, GError **error)
{
  VhostFrontendQueue *queue;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  queue = require_queue (self, index, error);
  if (queue == NULL)
    return FALSE;
  if (queue->running)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "queue %u runs: stop it first", index);
      return FALSE;
    }
  return start_queue (self, queue, error);
}

/**
 * vhost_frontend_get_queue:
 * @self: a front-end
 * @index: a number
 *
 * A queue that was added.
 *
 * Thread: control.
 *
 * Returns: (transfer none) (nullable): the queue, which is @self's
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_get_queue (VhostFrontend *self, guint index)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  return index < VHOST_WIRE_MAX_QUEUES ? self->queues[index] : NULL;
}

/**
 * VhostFrontendBuffer:
 * @address: guest physical address
 * @length: bytes
 * @writable: whether the device writes it, else it reads it
 *
 * A piece of a chain.
 *
 * Since: 0.1
 */

/**
 * VhostFrontendQueue:
 *
 * The driver's side of one virtqueue, made by vhost_frontend_add_queue ().
 *
 * Not thread safe; different queues may be driven by different threads.
 *
 * Since: 0.1
 */
