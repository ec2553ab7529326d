/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end's own requests, on the channel that the driver side gives it. Must not believe them:
 * what is malformed is counted and refused. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Of one call, so that a back-end that talks without end cannot hold the caller. */
#define MAX_BACKEND_MESSAGES 1024
#define ANSWER_FLAGS (VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_REPLY)

gboolean
vhost_frontend_open_backend_channel (VhostFrontend *self, GError **error)
{
  int fds[2];
  gboolean sent;

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    {
      int saved_errno = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "cannot make the sockets of the back-end channel: %s", g_strerror (saved_errno));
      return FALSE;
    }

  g_clear_pointer (&self->backend_channel, vhost_channel_free);
  self->backend_channel = vhost_channel_new_take_fd (fds[0]);
  sent = vhost_frontend_set (self, VHOST_WIRE_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1, error,
                             "one socket");
  /* With our copy open we would not see the back-end close its own. */
  vhost_fd_clear (&fds[1]);
  return sent;
}

/* A call or an error that came as a message ends where the eventfd's would. */
static guint64
forward_to_queue (VhostFrontend *self, const VhostWireVringState *state, gboolean is_call)
{
  const guint32 index = state->index;

  if (index >= VHOST_WIRE_MAX_QUEUES || self->queues[index] == NULL)
    return 1;
  vhost_fd_notify (is_call ? self->queues[index]->call_fd : self->queues[index]->err_fd);
  return 0;
}

/* What this side does about a back-end's request by itself: 0 done. Nothing is claimed that was not
 * done. */
static guint64
serve_request (VhostFrontend *self, guint32 request, const guint8 *payload)
{
  VhostWireVringState state;
  VhostFrontendIotlbMessage iotlb;

  switch (request)
    {
    case VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG:
    case VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD:
    case VHOST_WIRE_BACKEND_SHARED_OBJECT_REMOVE:
      return 0;
    case VHOST_WIRE_BACKEND_VRING_CALL:
    case VHOST_WIRE_BACKEND_VRING_ERR:
      memcpy (&state, payload, sizeof state);
      return forward_to_queue (self, &state, request == VHOST_WIRE_BACKEND_VRING_CALL);
    case VHOST_WIRE_BACKEND_IOTLB_MSG:
      memcpy (&iotlb, payload, sizeof iotlb);
      return vhost_frontend_iotlb_miss (self, &iotlb) ? 0 : 1;
    default:
      return 1;
    }
}

/* FALSE: no message was there, or the channel is gone. */
static gboolean
process_one_backend_message (VhostFrontend *self)
{
  VhostChannel *channel = self->backend_channel;
  VhostMessage *message;
  const VhostWireMessage *row;
  g_autoptr (GError) error = NULL;
  guint32 request;
  gboolean well_formed;
  gboolean answer;
  guint64 result;
  int handled;

  if (channel == NULL)
    return FALSE;
  switch (vhost_channel_receive (channel, &message, &error))
    {
    case VHOST_CHANNEL_MESSAGE:
      break;
    case VHOST_CHANNEL_AGAIN:
      return FALSE;
    case VHOST_CHANNEL_CLOSED:
    case VHOST_CHANNEL_ERROR:
    default:
      g_clear_pointer (&self->backend_channel, vhost_channel_free);
      return FALSE;
    }

  request = message->header.request;
  answer = (message->header.flags & VHOST_WIRE_FLAG_NEED_REPLY) != 0
           || request == VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP;
  row = vhost_wire_lookup_backend (request);
  well_formed = row != NULL && message->header.size >= row->min_size
                && message->header.size <= row->max_size && message->n_fds <= row->max_fds;
  if (request < G_N_ELEMENTS (self->n_backend_requests))
    self->n_backend_requests[request]++;
  if (request == VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG)
    self->config_generation++;
  handled = vhost_frontend_emit_backend_request (
      self, request, message->payload.bytes, message->header.size,
      message->n_fds > 0 ? message->fds[0] : -1, well_formed);

  /* A handler may have ended the connection. */
  if (self->backend_channel != channel)
    {
      vhost_fd_clear (&self->answer_fd);
      return TRUE;
    }
  if (handled >= 0)
    result = (guint64) handled;
  else
    result = well_formed ? serve_request (self, request, message->payload.bytes) : 1;
  if (answer
      && !vhost_channel_send (channel, request, ANSWER_FLAGS, &result, sizeof result,
                              &self->answer_fd, result == 0 && self->answer_fd >= 0 ? 1 : 0, &error)
      && self->backend_channel == channel)
    g_clear_pointer (&self->backend_channel, vhost_channel_free);
  vhost_fd_clear (&self->answer_fd);
  return TRUE;
}

/**
 * vhost_frontend_process_backend_messages:
 * @self: a front-end
 * @timeout_ms: how long to wait for a first message; 0 does not wait, -1 waits for ever
 *
 * Handles the back-end's own requests that have arrived: emits #VhostFrontend::backend-message for
 * each, #VhostFrontend::config-changed for CONFIG_CHANGE_MSG, and #VhostFrontend::backend-request,
 * whose handlers may answer, then answers those that want it.
 *
 * What no handler answers is answered so: 0 for what asks nothing of a front-end but to know
 * (configuration changes, shared objects); calls and errors are passed on to the queue's
 * descriptors; IOTLB misses are sent an UPDATE where vhost_frontend_iotlb_map () has an entry; the
 * rest, unknown and malformed requests, gets 1.
 *
 * Thread: control. Specification: "Back-end message types".
 *
 * Returns: how many messages were handled; 0 also when there is no channel or the back-end closed
 * it
 *
 * Since: 0.1
 */
guint
vhost_frontend_process_backend_messages (VhostFrontend *self, int timeout_ms)
{
  g_autoptr (VhostFrontend) guard = NULL;
  gint64 deadline;
  guint n = 0;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  guard = g_object_ref (self);
  deadline = timeout_ms < 0 ? -1 : g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  for (;;)
    {
      while (n < MAX_BACKEND_MESSAGES && process_one_backend_message (self))
        n++;
      if (n > 0 || timeout_ms == 0 || self->backend_channel == NULL)
        return n;
      /* A part of a message may be there already: the wait is for the rest. */
      if (vhost_frontend_wait_for (self, vhost_channel_get_fd (self->backend_channel), -1, POLLIN,
                                   deadline)
          <= 0)
        return 0;
    }
}

/**
 * vhost_frontend_get_backend_channel_fd:
 * @self: a front-end
 *
 * The socket to watch for vhost_frontend_process_backend_messages ().
 *
 * Thread: control.
 *
 * Returns: a descriptor that belongs to @self, -1 when BACKEND_REQ was not negotiated or the
 * channel is closed
 *
 * Since: 0.1
 */
int
vhost_frontend_get_backend_channel_fd (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  return self->backend_channel != NULL ? vhost_channel_get_fd (self->backend_channel) : -1;
}

/**
 * vhost_frontend_get_config_generation:
 * @self: a front-end
 *
 * How many CONFIG_CHANGE_MSG vhost_frontend_process_backend_messages () has seen.
 *
 * Thread: control.
 *
 * Returns: the count, which is not reset by a new connection
 *
 * Since: 0.1
 */
guint
vhost_frontend_get_config_generation (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->config_generation;
}

/**
 * vhost_frontend_take_answer_fd:
 * @self: a front-end
 * @fd: a descriptor, taken over
 *
 * From a handler of #VhostFrontend::backend-request that answers 0: passes a descriptor along with
 * the answer, as SHARED_OBJECT_LOOKUP wants it. Without an answer it is closed.
 *
 * Thread: control. Specification: BACKEND_SHARED_OBJECT_LOOKUP.
 *
 * Since: 0.1
 */
void
vhost_frontend_take_answer_fd (VhostFrontend *self, int fd)
{
  g_return_if_fail (VHOST_IS_FRONTEND (self));

  vhost_fd_clear (&self->answer_fd);
  self->answer_fd = fd;
}

/**
 * vhost_frontend_get_n_backend_requests:
 * @self: a front-end
 * @request: a code of the back-end's requests
 *
 * How many requests of one kind vhost_frontend_process_backend_messages () has seen, malformed ones
 * included.
 *
 * Thread: control.
 *
 * Returns: the count, which is not reset by a new connection; 0 for an unknown code
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_n_backend_requests (VhostFrontend *self, guint request)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return request < G_N_ELEMENTS (self->n_backend_requests) ? self->n_backend_requests[request] : 0;
}
