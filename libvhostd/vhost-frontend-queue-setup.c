/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One virtqueue of the driver side as an object: its memory, its descriptors, its numbers. Must not
 * touch the ring's contents. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#define MAX_QUEUE_SIZE 32768
/* Both positions 0, both wrap counters 1 (V7). */
#define PACKED_START 0x80008000u

G_DEFINE_BOXED_TYPE (VhostFrontendQueue, vhost_frontend_queue, vhost_frontend_queue_ref,
                     vhost_frontend_queue_unref)

/* The list in the order of the ring, begun anew. */
static void
reset_free_list (VhostFrontendQueue *self)
{
  for (guint i = 0; i < self->size; i++)
    self->next[i] = (guint16) (i + 1 < self->size ? i + 1 : 0);
  self->free_head = self->oldest = 0;
  self->n_added = self->n_done = 0;
  self->in_batch = FALSE;
}

gboolean
vhost_frontend_queue_set_in_order (VhostFrontendQueue *self, gboolean in_order)
{
  if (self->in_order != in_order)
    {
      if (self->n_free < self->size)
        return FALSE;
      if (self->order == NULL)
        self->order = g_new0 (VhostFrontendOrder, self->size);
      reset_free_list (self);
      self->in_order = in_order;
    }
  if (self->packed)
    self->ring = in_order ? &vhost_frontend_ring_packed_in_order : &vhost_frontend_ring_packed;
  else
    self->ring = in_order ? &vhost_frontend_ring_split_in_order : &vhost_frontend_ring_split;
  return TRUE;
}

/* Three parts: the available ring and the used ring are a packed ring's event areas (V4). */
static gboolean
allocate_ring (VhostFrontendQueue *self)
{
  const gsize available = sizeof (VhostFrontendAvailable) + (self->size + 1) * sizeof (guint16);
  const gsize used = sizeof (VhostFrontendUsed) + self->size * sizeof (VhostFrontendUsedElement)
                     + sizeof (guint16);
  const gsize event = sizeof (guint32);
  gpointer parts[3];

  G_STATIC_ASSERT (sizeof (VhostFrontendSlot) == sizeof (VhostFrontendDescriptor));
  self->descriptors_address = vhost_frontend_memory_allocate_pinned (
      self->frontend, self->size * sizeof (VhostFrontendDescriptor), 16, &parts[0]);
  if (self->descriptors_address == 0)
    return FALSE;
  self->available_address = vhost_frontend_memory_allocate_pinned (
      self->frontend, self->packed ? event : available, self->packed ? 4 : 2, &parts[1]);
  if (self->available_address == 0)
    return FALSE;
  self->used_address = vhost_frontend_memory_allocate_pinned (
      self->frontend, self->packed ? event : used, 4, &parts[2]);
  if (self->used_address == 0)
    return FALSE;

  if (self->packed)
    {
      self->slots = parts[0];
      self->driver_event = parts[1];
      self->device_event = parts[2];
      self->avail_wrap = self->used_wrap = TRUE;
      self->base = PACKED_START;
      return TRUE;
    }
  self->descriptors = parts[0];
  self->available = parts[1];
  self->used = parts[2];
  self->used_event = (_Atomic guint16 *) &self->available->ring[self->size];
  self->avail_event = (_Atomic guint16 *) (gpointer) &self->used->ring[self->size];
  return TRUE;
}

VhostFrontendQueue *
vhost_frontend_queue_new (VhostFrontend *frontend, guint index, guint size, gboolean packed,
                          GError **error)
{
  g_autoptr (VhostFrontendQueue) self = NULL;

  if (index >= VHOST_WIRE_MAX_QUEUES)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no queue %u: messages name queues 0 to %u", index,
                   VHOST_WIRE_MAX_QUEUES - 1);
      return NULL;
    }
  if (size == 0 || size > MAX_QUEUE_SIZE || (!packed && (size & (size - 1)) != 0))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u cannot have %u entries: a %s, at most %u", index, size,
                   packed ? "packed ring has one at least" : "split ring has a power of 2",
                   MAX_QUEUE_SIZE);
      return NULL;
    }

  self = g_new0 (VhostFrontendQueue, 1);
  vhost_reference_init (&self->ref_count);
  self->kick_fd = self->call_fd = self->err_fd = -1;
  self->frontend = frontend;
  self->index = index;
  self->size = size;
  self->packed = packed;
  self->mask = (guint16) (size - 1);
  self->n_free = size;
  self->calls_enabled = TRUE;
  self->heads = g_new0 (VhostFrontendHead, size);
  self->tables = g_new0 (VhostFrontendTable, size);
  self->next = g_new0 (guint16, size);
  reset_free_list (self);
  vhost_frontend_queue_set_in_order (self, FALSE);

  if ((self->kick_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->call_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->err_fd = vhost_fd_new_eventfd (error)) < 0)
    return NULL;
  if (!allocate_ring (self))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "no guest memory is left for queue %u with %u entries: add memory first", index,
                   size);
      return NULL;
    }
  return g_steal_pointer (&self);
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
  g_free (self->order);
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
 * Returns: 1 to 32768, a power of 2 with a split ring
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
 * How many used entries named no chain in flight, or with IN_ORDER more chains than were used: the
 * device broke the ring's rules.
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
 * Where the ring lies, for those who want to write something wrong there. A packed ring's
 * @available is the driver's event area, its @used the device's.
 *
 * Thread: any. Specification: VIRTIO 2.7, 2.8.
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
