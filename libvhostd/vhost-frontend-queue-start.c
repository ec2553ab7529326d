/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The messages that start and stop the driver side's queues, on a first connection and on those
 * after it. Must not touch the rings' contents: where a ring goes on its layout says. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#define PACKED_POSITION_MASK 0x7fffu
#define VRING_F_LOG 1u

void
vhost_frontend_queue_disconnected (VhostFrontendQueue *self)
{
  if (!self->running)
    return;
  /* Nobody can be asked any more. */
  self->running = FALSE;
  self->lost = TRUE;
  self->base = self->ring->lost_base (self);
}

/* @fd -1: none, the message says so. */
static gboolean
send_ring_fd (VhostFrontend *self, guint32 request, guint index, int fd, GError **error)
{
  const guint64 payload = index | (fd < 0 ? VHOST_WIRE_VRING_NO_FD : 0);

  return vhost_frontend_set (self, request, &payload, sizeof payload, &fd, fd < 0 ? 0 : 1, error,
                             "queue %u, %s", index, fd < 0 ? "no descriptor" : "an eventfd");
}

static gboolean
send_ring_state (VhostFrontend *self, guint32 request, guint index, guint32 number, GError **error)
{
  const VhostWireVringState payload = { index, number };

  return vhost_frontend_set (self, request, &payload, sizeof payload, NULL, 0, error,
                             "queue %u, number %u", index, number);
}

gboolean
vhost_frontend_queue_send_address (VhostFrontendQueue *self, GError **error)
{
  VhostFrontend *frontend = self->frontend;
  VhostWireVringAddr address = {
    .index = self->index,
    .flags = frontend->logging ? VRING_F_LOG : 0,
    .log = frontend->logging ? self->used_address + self->iova_offset : 0,
  };

  if (vhost_frontend_has_feature_bit (frontend, VHOST_WIRE_F_ACCESS_PLATFORM))
    {
      address.descriptor = self->descriptors_address + self->iova_offset;
      address.available = self->available_address + self->iova_offset;
      address.used = self->used_address + self->iova_offset;
    }
  else
    {
      /* Of memory that was removed too, by the last name it had. */
      vhost_frontend_memory_to_user (frontend, self->descriptors_address, 1, &address.descriptor);
      vhost_frontend_memory_to_user (frontend, self->available_address, 1, &address.available);
      vhost_frontend_memory_to_user (frontend, self->used_address, 1, &address.used);
    }
  return vhost_frontend_set (
      frontend, VHOST_WIRE_SET_VRING_ADDR, &address, sizeof address, NULL, 0, error,
      "queue %u, descriptors 0x%" G_GINT64_MODIFIER "x, available 0x%" G_GINT64_MODIFIER
      "x, used 0x%" G_GINT64_MODIFIER "x",
      self->index, address.descriptor, address.available, address.used);
}

gboolean
vhost_frontend_queue_notify (VhostFrontendQueue *self)
{
  const VhostWireVringState payload = { self->index, 0 };

  switch (self->kick_mode)
    {
    case VHOST_FRONTEND_NOTIFY_NONE:
      return FALSE;
    case VHOST_FRONTEND_NOTIFY_INBAND:
      if (self->frontend == NULL
          || !vhost_frontend_set (self->frontend, VHOST_WIRE_VRING_KICK, &payload, sizeof payload,
                                  NULL, 0, NULL, "queue %u", self->index))
        return FALSE;
      break;
    case VHOST_FRONTEND_NOTIFY_EVENTFD:
    default:
      vhost_fd_notify (self->kick_fd);
      break;
    }
  self->n_kicks++;
  return TRUE;
}

/* What the ring is driven by, from what was negotiated. */
static gboolean
configure_queue (VhostFrontend *self, VhostFrontendQueue *queue, GError **error)
{
  const gboolean packed = vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_PACKED);

  if (packed != queue->packed)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u has a %s ring, but RING_PACKED was %s: negotiate as before",
                   queue->index, queue->packed ? "packed" : "split",
                   packed ? "negotiated" : "not negotiated");
      return FALSE;
    }
  if ((self->kick_mode == VHOST_FRONTEND_NOTIFY_INBAND
       || self->call_mode == VHOST_FRONTEND_NOTIFY_INBAND)
      && !vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS,
                                             VHOST_WIRE_VRING_KICK, error))
    return FALSE;
  if (!vhost_frontend_queue_set_in_order (
          queue, vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_IN_ORDER)))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "queue %u has chains in flight, so IN_ORDER cannot change: negotiate as before",
                   queue->index);
      return FALSE;
    }

  queue->kick_mode = self->kick_mode;
  queue->call_mode = self->call_mode;
  queue->iova_offset
      = vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_ACCESS_PLATFORM) ? self->iova_offset : 0;
  vhost_frontend_queue_set_features (
      queue, vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_EVENT_IDX),
      vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_INDIRECT_DESC));
  return TRUE;
}

/* ERR, CALL and KICK. In-band, no message means that messages are to come. */
static gboolean
send_ring_fds (VhostFrontend *self, VhostFrontendQueue *queue, GError **error)
{
  const int call = queue->call_mode == VHOST_FRONTEND_NOTIFY_NONE ? -1 : queue->call_fd;
  const int kick = queue->kick_mode == VHOST_FRONTEND_NOTIFY_NONE ? -1 : queue->kick_fd;

  if (queue->call_mode != VHOST_FRONTEND_NOTIFY_INBAND
      && (!send_ring_fd (self, VHOST_WIRE_SET_VRING_ERR, queue->index, queue->err_fd, error)
          || !send_ring_fd (self, VHOST_WIRE_SET_VRING_CALL, queue->index, call, error)))
    return FALSE;
  return queue->kick_mode == VHOST_FRONTEND_NOTIFY_INBAND
         || send_ring_fd (self, VHOST_WIRE_SET_VRING_KICK, queue->index, kick, error);
}

/* All that a back-end without any memory of the ring has to know. KICK is last: it starts the ring.
 */
static gboolean
start_queue (VhostFrontend *self, VhostFrontendQueue *queue, GError **error)
{
  const VhostWireVringState kick = { queue->index, 0 };
  const guint index = queue->index;

  if (!configure_queue (self, queue, error)
      || !vhost_frontend_inflight_start (self, index, queue->size, error)
      || !send_ring_state (self, VHOST_WIRE_SET_VRING_NUM, index, queue->size, error)
      || !send_ring_state (self, VHOST_WIRE_SET_VRING_BASE, index, queue->base, error)
      || !vhost_frontend_queue_send_address (queue, error) || !send_ring_fds (self, queue, error))
    return FALSE;
  queue->running = TRUE;
  queue->lost = FALSE;
  if (vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_PROTOCOL_FEATURES)
      && !send_ring_state (self, VHOST_WIRE_SET_VRING_ENABLE, index, 1, error))
    return FALSE;
  return queue->kick_mode != VHOST_FRONTEND_NOTIFY_INBAND
         || vhost_frontend_set (self, VHOST_WIRE_VRING_KICK, &kick, sizeof kick, NULL, 0, error,
                                "queue %u", index);
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
 * @size: entries, up to 32768; with a split ring a power of 2
 * @error: return location for an error
 *
 * Makes a virtqueue in guest memory, packed where RING_PACKED was negotiated, else split, and
 * starts it: SET_VRING_NUM, BASE (0), ADDR, ERR, CALL, KICK and, with PROTOCOL_FEATURES, ENABLE.
 * How it is kicked and called say #VhostFrontend:kick-mode and #VhostFrontend:call-mode. With
 * INFLIGHT_SHMFD the first queue fetches the area, see vhost_frontend_prepare_inflight ().
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
  queue = vhost_frontend_queue_new (
      self, index, size, vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_PACKED), error);
  if (queue == NULL || !start_queue (self, queue, error))
    return NULL;

  self->queues[index] = g_steal_pointer (&queue);
  return self->queues[index];
}

static gboolean
is_base (VhostFrontendQueue *queue, guint32 base)
{
  if (!queue->packed)
    return base <= G_MAXUINT16;
  return (base & PACKED_POSITION_MASK) < queue->size
         && (base >> 16 & PACKED_POSITION_MASK) < queue->size;
}

/**
 * vhost_frontend_stop_queue:
 * @self: a front-end
 * @index: a queue that was added
 * @base: (out) (optional): where the device stopped: the available index, or a packed ring's two
 * positions with their wrap counters, the available one in the lower half
 * @error: return location for an error
 *
 * Stops a queue by GET_VRING_BASE. When this returns the device has finished what it took, or, with
 * GET_VRING_BASE_INFLIGHT, keeps a record of it in the area of in-flight requests.
 *
 * Thread: control. Specification: GET_VRING_BASE.
 *
 * Returns: %TRUE on success, or failure with a %VHOST_ERROR: of the connection, or what the other
 * end refused
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
      || !is_base (queue, answer->payload.state.num))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_VRING_BASE of queue %u has %u bytes, queue %u, base 0x%x; it "
                   "must have %zu bytes, the same queue and %s",
                   index, answer->header.size, answer->payload.state.index,
                   answer->payload.state.num, sizeof payload,
                   queue->packed ? "positions within the ring" : "an index of 16 bits");
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
 * When the connection was lost while the queue ran, it goes on behind the last used buffer. With
 * an area of in-flight requests the new back-end does again what is marked there; without it,
 * whatever was made available after the last used buffer, which is right only for a device that
 * serves in order.
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
 * vhost_frontend_resume:
 * @self: a connected front-end that negotiated on an earlier connection
 * @error: return location for an error
 *
 * Tells a new back-end everything that the one before was told: owner, the same features, memory,
 * log, IOTLB entries, the area of in-flight requests, the rings that ran when the connection was
 * lost, with the descriptors they had, and the status. Chains in flight stay in flight, as with
 * vhost_frontend_restart_queue (). Queues that had been stopped stay so.
 *
 * To be called after vhost_frontend_close () and vhost_frontend_connect (). After an error it
 * can be tried again in the same way.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED when there was no connection
 * before, #VHOST_ERROR_REFUSED when the back-end does not offer a feature any more ...
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_resume (VhostFrontend *self, GError **error)
{
  guint64 features, protocol_features, missing;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!self->negotiated)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                           "there is nothing to resume: negotiate, this is the first connection");
      return FALSE;
    }
  features = self->session_features;
  protocol_features = self->session_protocol_features;
  if (!vhost_frontend_negotiate (self, features, protocol_features, error))
    return FALSE;
  missing = features & ~self->features;
  if (missing == 0)
    missing = protocol_features & ~self->protocol_features;
  self->session_features = features;
  self->session_protocol_features = protocol_features;
  if (missing != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "the back-end does not offer features 0x%" G_GINT64_MODIFIER
                   "x, which the one before had: start one of the same kind",
                   missing);
      return FALSE;
    }

  if (!vhost_frontend_log_replay (self, error) || !vhost_frontend_iotlb_replay (self, error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      VhostFrontendQueue *queue = self->queues[i];

      if (queue == NULL || !queue->lost)
        continue;
      if (!start_queue (self, queue, error))
        return FALSE;
      /* A back-end may wait for a kick before it looks. */
      if (queue->kick_mode == VHOST_FRONTEND_NOTIFY_EVENTFD)
        vhost_fd_notify (queue->kick_fd);
    }
  return self->session_status <= 0
         || vhost_frontend_set_status (self, (guint) self->session_status, error);
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
