/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's own state on its way to or from another host. Must not look into it: the back-end
 * writes and reads, this file gives it a stream and answers for it.
 *
 * How it works: SET_DEVICE_STATE_FD is answered at once, because the front-end moves the bytes only
 * after that (D5); then the back-end begins. CHECK_DEVICE_STATE is answered when it has ended. A
 * transfer outlives the session when the device is slow to end it: it is counted apart and knows
 * that nobody asks any more. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"
#include "vhost-state-stream-private.h"

struct _VhostSessionTransfer
{
  VhostSession *session; /* (unowned) (nullable): NULL, it has gone on without us */
  VhostBackend *backend; /* (owned) */
  GObject *stream;       /* (owned): GOutputStream or GInputStream */
  gboolean running;
  GError *error; /* (owned) (nullable): how it ended */
};

static void
transfer_free (VhostSessionTransfer *transfer)
{
  g_clear_object (&transfer->stream);
  g_clear_object (&transfer->backend);
  g_clear_error (&transfer->error);
  g_free (transfer);
}

/* Whoever calls last frees: the session when it is done with it, or the back-end. */
void
vhost_session_clear_transfer (VhostSession *self)
{
  VhostSessionTransfer *transfer = g_steal_pointer (&self->transfer);

  self->check_waits = FALSE;
  if (transfer == NULL)
    return;
  transfer->session = NULL;
  if (transfer->running)
    vhost_backend_cancel_transfer (transfer->backend);
  else
    transfer_free (transfer);
}

/* The current message is CHECK_DEVICE_STATE, and the transfer has ended. Takes the transfer. */
static GError *
take_result (VhostSession *self)
{
  VhostSessionTransfer *transfer = g_steal_pointer (&self->transfer);
  GError *error = g_steal_pointer (&transfer->error);

  transfer_free (transfer);
  return error;
}

/* Thread: control. */
static void
transfer_ended (const GError *error, gpointer data)
{
  VhostSessionTransfer *transfer = data;
  VhostSession *self = transfer->session;
  GError *failure = error != NULL ? g_error_copy (error) : NULL;

  transfer->running = FALSE;
  /* D3: the other end sees the end of the stream. */
  if (G_IS_OUTPUT_STREAM (transfer->stream))
    g_output_stream_close (G_OUTPUT_STREAM (transfer->stream), NULL,
                           failure == NULL ? &failure : NULL);
  else
    g_input_stream_close (G_INPUT_STREAM (transfer->stream), NULL, NULL);
  g_clear_object (&transfer->stream);
  transfer->error = failure;
  if (self == NULL)
    {
      transfer_free (transfer);
      return;
    }
  if (failure != NULL)
    vhost_debug (CONTROL, "%s: the device's state was not transferred: %s", self->peer_label,
                 failure->message);
  if (!self->check_waits)
    return;
  self->check_waits = FALSE;
  failure = take_result (self);
  if (failure == NULL)
    vhost_session_reply_u64 (self, 0);
  vhost_session_finish_message (self, failure);
}

static gboolean
check_transfer (VhostSession *self, const VhostWireDeviceState *parameters, GError **error)
{
  if (parameters->direction > VHOST_WIRE_LOAD
      || parameters->phase != VHOST_WIRE_PHASE_STOPPED) /* D8 */
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "direction %u in phase %u is unknown: it is 0 (save) or 1 (load) in phase 0",
                   parameters->direction, parameters->phase);
      return FALSE;
    }
  if (self->n_started > 0) /* D1 */
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "the device's state can be transferred only while all rings are stopped, and %u "
                   "run (GET_VRING_BASE stops one)",
                   self->n_started);
      return FALSE;
    }
  if (self->transfer != NULL && self->transfer->running)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "the device's state is being transferred already");
      return FALSE;
    }
  return TRUE;
}

VHOST_SESSION_HANDLER (set_device_state_fd)
{
  VhostWireDeviceState parameters = message->payload.device_state;
  gboolean save = parameters.direction == VHOST_WIRE_SAVE;
  VhostSessionTransfer *transfer;
  gpointer stream;

  if (!check_transfer (self, &parameters, error)
      || !vhost_session_check_socket (self, message->fds[0], error))
    return VHOST_SESSION_REFUSED;
  stream
      = save
            ? (gpointer) vhost_state_output_new_take_fd (vhost_message_steal_fd (message, 0), error)
            : (gpointer) vhost_state_input_new_take_fd (vhost_message_steal_fd (message, 0), error);
  if (stream == NULL)
    return VHOST_SESSION_REFUSED;
  vhost_session_clear_transfer (self); /* one that nobody asked after */
  transfer = g_new0 (VhostSessionTransfer, 1);
  transfer->session = self;
  transfer->backend = g_object_ref (self->backend);
  transfer->stream = stream;
  transfer->running = TRUE;
  self->transfer = transfer;
  vhost_session_reply_u64 (self, VHOST_WIRE_VRING_NO_FD);
  if (save)
    vhost_backend_save_state (self->backend, stream, transfer_ended, transfer);
  else
    vhost_backend_load_state (self->backend, stream, transfer_ended, transfer);
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (check_device_state)
{
  GError *failure;

  if (self->transfer == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "no state was transferred since the last check");
      return VHOST_SESSION_REFUSED;
    }
  if (self->transfer->running)
    {
      self->check_waits = TRUE; /* D6 */
      return VHOST_SESSION_LATER;
    }
  failure = take_result (self);
  if (failure != NULL)
    {
      g_propagate_error (error, failure);
      return VHOST_SESSION_REFUSED;
    }
  vhost_session_reply_u64 (self, 0);
  return VHOST_SESSION_REPLIED;
}
