/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifications as messages (INBAND_NOTIFICATIONS), in place of eventfds: kicks come on the
 * session's socket, calls and errors go out on the back-end's channel. Must not wait for the
 * front-end.
 *
 * How it works: a descriptor is preferred wherever there is one, and "no descriptor" still means
 * polling (R15); only a ring of which neither was said is called in band. Its worker posts each
 * call to the control thread. There one VRING_CALL for each ring may be unanswered; what comes
 * meanwhile is one more, after the answer. So a front-end that does not read costs one message. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

static gboolean
is_in_band (VhostSession *self)
{
  return vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS);
}

gboolean
vhost_session_calls_in_band (VhostSession *self, VhostSessionVring *vring)
{
  return is_in_band (self) && vring->call_fd < 0 && !vring->call_polled;
}

/* ---- Kicks ---- */

/* Thread: worker. */
static void
kick_run (VhostSessionCommand *command)
{
  vhost_worker_kick_queue (command->worker, command->queue);
  vhost_session_command_answer (command);
}

/* Starts the ring too, like SET_VRING_KICK (R4, R7). */
VHOST_SESSION_HANDLER (vring_kick)
{
  VhostSessionVring *vring = vhost_session_find_vring (self, message->payload.state.index, error);
  int fd;

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  if (vring->started && !vring->renewed)
    {
      vhost_session_command_post (
          vhost_session_command_new (self, vring, kick_run, vhost_session_command_ended), TRUE);
      return vhost_session_wait (self, vhost_session_continue_ack);
    }
  /* A ring without a descriptor would be polled: give it one that nobody writes to. */
  fd = vhost_fd_new_eventfd (error);
  if (fd < 0)
    return VHOST_SESSION_REFUSED;
  return vhost_session_start_vring (self, vring, fd, error);
}

/* ---- Calls ---- */

static void send_call (VhostSession *self, VhostSessionVring *vring);

/* Thread: control. */
static void
call_answered (guint64 answer, int fd, const GError *error, gpointer data)
{
  VhostSessionVring *vring = data;
  VhostSession *self = vring->queue->user_data;

  vhost_fd_discard (&fd);
  vring->call_out = FALSE;
  if (error != NULL)
    {
      vring->call_again = TRUE; /* nobody may have seen it: once more when there is a channel */
      return;
    }
  if (!vring->call_again)
    return;
  vring->call_again = FALSE;
  send_call (self, vring);
}

static void
send_call (VhostSession *self, VhostSessionVring *vring)
{
  VhostWireVringState state = { .index = vring->queue->index };

  if (self->closing)
    return;
  if (self->backend_channel == NULL)
    {
      vring->call_again = TRUE;
      return;
    }
  vring->call_out = TRUE;
  vhost_backend_channel_send (self->backend_channel, VHOST_WIRE_BACKEND_VRING_CALL, &state,
                              sizeof state, NULL, 0, call_answered, vring);
}

/* Thread: control. */
static void
queue_called (VhostSessionCommand *command)
{
  VhostSession *self = command->session;
  VhostSessionVring *vring = &self->vrings[command->queue->index];

  /* Before the call is sent: one that comes later is about entries that the front-end may not find
   * by this one. Partner: vhost_session_queue_call (). */
  atomic_store_explicit (&vring->call_posted, FALSE, memory_order_release);
  if (vring->call_out)
    vring->call_again = TRUE;
  else
    send_call (self, vring);
}

void
vhost_session_queue_call (VhostQueue *queue, gpointer owner)
{
  VhostSession *self = owner;
  VhostSessionCommand *command;

  /* Acquire: one that was not taken up yet will be after the entries that this one is about.
   * Partner: queue_called (). */
  if (atomic_exchange_explicit (&self->vrings[queue->index].call_posted, TRUE,
                                memory_order_acq_rel))
    return;
  command = vhost_session_command_new (self, NULL, NULL, queue_called);
  command->queue = g_object_ref (queue);
  vhost_session_command_answer (command);
}

/* When a ring stops, the front-end learns of the last entries before it is told so; afterwards
 * nothing may be sent for it (S2). Also when there is another channel. */
void
vhost_session_flush_calls (VhostSession *self, VhostSessionVring *vring)
{
  VhostWireVringState state = { .index = vring->queue->index };

  if (!vring->call_again)
    return;
  vring->call_again = FALSE;
  if (self->backend_channel != NULL && !self->closing)
    vhost_backend_channel_send (self->backend_channel, VHOST_WIRE_BACKEND_VRING_CALL, &state,
                                sizeof state, NULL, 0, NULL, NULL);
}

/* ---- Errors ---- */

void
vhost_session_report_break (VhostSession *self, VhostSessionVring *vring)
{
  VhostWireVringState state = { .index = vring->queue->index };

  if (is_in_band (self) && vring->err_fd < 0 && !vring->err_polled && self->backend_channel != NULL
      && !self->closing)
    vhost_backend_channel_send (self->backend_channel, VHOST_WIRE_BACKEND_VRING_ERR, &state,
                                sizeof state, NULL, 0, NULL, NULL);
}
