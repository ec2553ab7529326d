/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the front-end says of its rings. Must not touch a queue itself once its ring has started:
 * commands do.
 *
 * How it works: NUM, ADDR, BASE, CALL and ERR before the start are only stored, in any order (R17).
 * KICK starts the ring (vhost-session-ring.c). GET_VRING_BASE sends a stop and is answered when the
 * requests in flight have ended. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

/* @index as it came, not cut to fewer bits. */
VhostSessionVring *
vhost_session_find_vring (VhostSession *self, guint32 index, GError **error)
{
  if (index < self->n_vrings)
    return &self->vrings[index];
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "ring %u does not exist, the device has %u",
               index, self->n_vrings);
  return NULL;
}

/* For what must not change under a running ring. A broken one does not run: setting it up again
 * mends it (V48). */
static VhostSessionVring *
find_idle_vring (VhostSession *self, guint32 index, GError **error)
{
  VhostSessionVring *vring = vhost_session_find_vring (self, index, error);

  if (vring != NULL && vring->started && !vring->broken)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "ring %u runs; stop it first (GET_VRING_BASE)", index);
      return NULL;
    }
  return vring;
}

VHOST_SESSION_HANDLER (set_vring_num)
{
  VhostWireVringState state = message->payload.state;
  VhostSessionVring *vring = find_idle_vring (self, state.index, error);
  guint max_size = vhost_backend_get_queue_size (self->backend);
  gboolean power_of_2;

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  /* V1. The queue looks again at its start: features may come later (R17). */
  power_of_2 = self->have_features && !vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED);
  if (state.num == 0 || state.num > max_size || (power_of_2 && (state.num & (state.num - 1)) != 0))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "ring %u cannot have %u entries: %s is needed, and at most %u (the device's "
                   "queue-size)",
                   state.index, state.num, power_of_2 ? "a power of 2" : "at least 1", max_size);
      return VHOST_SESSION_REFUSED;
    }
  vring->size = state.num;
  vring->renewed = vring->broken;
  return VHOST_SESSION_DONE;
}

VHOST_SESSION_HANDLER (set_vring_addr)
{
  VhostWireVringAddr addr = message->payload.addr;
  VhostSessionVring *vring = vhost_session_find_vring (self, addr.index, error);
  gboolean running;

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  running = vring->started && !vring->broken;
  /* R9: flags and log may change while the ring runs, its place may not. */
  if (running
      && (addr.descriptor != vring->addr.descriptor || addr.available != vring->addr.available
          || addr.used != vring->addr.used))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "ring %u runs and cannot be moved; stop it first (GET_VRING_BASE)", addr.index);
      return VHOST_SESSION_REFUSED;
    }
  if (running && !vhost_session_check_log (self, vring, &addr, error))
    return VHOST_SESSION_REFUSED;
  vring->addr = addr; /* R17: the memory that holds it may come later */
  vring->have_addr = TRUE;
  vring->renewed = vring->broken;
  if (!running || vhost_session_get_log (self) == NULL)
    return VHOST_SESSION_DONE;
  vhost_session_post_log (self, vring);
  return vhost_session_wait (self, vhost_session_continue_ack);
}

VHOST_SESSION_HANDLER (set_vring_base)
{
  VhostWireVringState state = message->payload.state;
  VhostSessionVring *vring = find_idle_vring (self, state.index, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  /* Of a packed ring it is two positions, which mean nothing before its size is known. */
  if (self->have_features && !vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED)
      && state.num > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "ring %u cannot begin at index %u: a split ring's index has 16 bits",
                   state.index, state.num);
      return VHOST_SESSION_REFUSED;
    }
  vring->base = state.num;
  vring->base_known = TRUE;
  vring->have_base = vring->renewed = vring->broken;
  return VHOST_SESSION_DONE;
}

/* V7: both positions 0, both wrap counters 1. */
#define PACKED_BASE 0x80008000u

guint32
vhost_session_get_vring_base (VhostSession *self, VhostSessionVring *vring)
{
  if (!vring->base_known && vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED))
    return PACKED_BASE;
  return vring->base;
}

/* Thread: control. */
static void
continue_get_base (VhostSession *self)
{
  VhostSessionVring *vring = self->current_vring;
  VhostWireVringState state
      = { .index = vring->queue->index, .num = vhost_session_get_vring_base (self, vring) };

  vhost_session_disarm_drain (self);
  vhost_session_reply (self, &state, sizeof state);
  vhost_session_finish_message (self, NULL);
}

VHOST_SESSION_HANDLER (get_vring_base)
{
  VhostSessionVring *vring = vhost_session_find_vring (self, message->payload.state.index, error);
  VhostWireVringState state;

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  if (vring->started)
    {
      self->current_vring = vring;
      vring->have_base = FALSE;
      vhost_session_stop_vring (self, vring, TRUE);
      vhost_session_arm_drain (self);
      return vhost_session_wait (self, continue_get_base);
    }
  state = (VhostWireVringState){ .index = vring->queue->index,
                                 .num = vhost_session_get_vring_base (self, vring) };
  vhost_session_reply (self, &state, sizeof state);
  return VHOST_SESSION_REPLIED;
}

/* KICK, CALL and ERR: the ring, and the descriptor or -1. Bits above 8 mean nothing. */
static VhostSessionVring *
take_notifier (VhostSession *self, VhostMessage *message, int *fd, GError **error)
{
  guint64 value = message->payload.u64;
  guint index = value & VHOST_WIRE_VRING_INDEX_MASK;
  VhostSessionVring *vring = vhost_session_find_vring (self, index, error);
  VhostFdKind kind;

  *fd = -1;
  if (vring == NULL || (value & VHOST_WIRE_VRING_NO_FD) != 0)
    return vring;
  kind = vhost_fd_get_kind (message->fds[0]);
  if (kind != VHOST_FD_EVENTFD && kind != VHOST_FD_PIPE)
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "the notification descriptor for ring %u must be an eventfd or a pipe; its kind is: %s",
          index, vhost_fd_kind_to_string (kind));
      return NULL;
    }
  /* A full counter or pipe, or a peer that reads it first, must not stop a worker. */
  if (!vhost_fd_set_nonblocking (message->fds[0], error))
    return NULL;
  *fd = vhost_message_steal_fd (message, 0);
  return vring;
}

/* Thread: worker. */
static void
kick_fd_run (VhostSessionCommand *command)
{
  if (vhost_worker_take_kick_fd (command->worker, command->queue, command->fd, &command->error))
    command->fd = -1;
  vhost_session_command_answer (command);
}

VHOST_SESSION_HANDLER (set_vring_kick)
{
  int fd;
  VhostSessionVring *vring = take_notifier (self, message, &fd, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  if (vring->started && !vring->renewed)
    {
      VhostSessionCommand *command
          = vhost_session_command_new (self, vring, kick_fd_run, vhost_session_command_ended);

      command->fd = fd; /* R16 */
      vhost_session_command_post (command, TRUE);
      return vhost_session_wait (self, vhost_session_continue_ack);
    }
  return vhost_session_start_vring (self, vring, fd, error);
}

/* Thread: worker. */
static void
call_fd_run (VhostSessionCommand *command)
{
  command->queue->hooks.call = NULL; /* R15: what SET_VRING_CALL says counts */
  vhost_queue_take_call_fd (command->queue, g_steal_fd (&command->fd));
  vhost_session_command_answer (command);
}

/* Thread: worker. */
static void
err_fd_run (VhostSessionCommand *command)
{
  vhost_queue_take_err_fd (command->queue, g_steal_fd (&command->fd));
  vhost_session_command_answer (command);
}

/* Takes @fd. Kept for the next start; a running ring gets it at once. */
static VhostSessionResult
set_notifier (VhostSession *self, VhostSessionVring *vring, int *slot, int fd,
              void (*run) (VhostSessionCommand *command), GError **error)
{
  VhostSessionCommand *command;
  int copy = -1;

  if (vring->started && fd >= 0)
    {
      copy = vhost_session_duplicate_fd (fd, error);
      if (copy < 0)
        {
          vhost_fd_discard (&fd);
          return VHOST_SESSION_REFUSED;
        }
    }
  vhost_fd_discard (slot);
  *slot = fd;
  if (!vring->started)
    return VHOST_SESSION_DONE;
  command = vhost_session_command_new (self, vring, run, vhost_session_command_ended);
  command->fd = copy;
  vhost_session_command_post (command, TRUE);
  return vhost_session_wait (self, vhost_session_continue_ack);
}

VHOST_SESSION_HANDLER (set_vring_call)
{
  int fd;
  VhostSessionVring *vring = take_notifier (self, message, &fd, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  vring->call_polled = fd < 0;
  return set_notifier (self, vring, &vring->call_fd, fd, call_fd_run, error);
}

VHOST_SESSION_HANDLER (set_vring_err)
{
  int fd;
  VhostSessionVring *vring = take_notifier (self, message, &fd, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  vring->err_polled = fd < 0;
  return set_notifier (self, vring, &vring->err_fd, fd, err_fd_run, error);
}

/* Thread: worker. */
static void
enabled_run (VhostSessionCommand *command)
{
  vhost_queue_set_enabled (command->queue, command->enabled);
  if (command->enabled)
    vhost_worker_kick_queue (command->worker, command->queue); /* R4: requests may wait already */
  vhost_session_command_answer (command);
}

void
vhost_session_post_enabled (VhostSession *self, VhostSessionVring *vring, gboolean waited)
{
  VhostSessionCommand *command
      = vhost_session_command_new (self, vring, enabled_run, vhost_session_command_ended);

  command->enabled = vring->enabled;
  vhost_session_command_post (command, waited);
}

VHOST_SESSION_HANDLER (set_vring_enable)
{
  VhostWireVringState state = message->payload.state;
  VhostSessionVring *vring = vhost_session_find_vring (self, state.index, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  if (state.num > 1)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "ring %u can be enabled (1) or disabled (0), not %u", state.index, state.num);
      return VHOST_SESSION_REFUSED;
    }
  vring->enabled = state.num == 1;
  if (!vring->started)
    return VHOST_SESSION_DONE; /* R2: remembered */
  vhost_session_post_enabled (self, vring, TRUE);
  return vhost_session_wait (self, vhost_session_continue_ack);
}

/* Once for each ring before it starts; VERSION_1 makes it meaningless (V5). */
VHOST_SESSION_HANDLER (set_vring_endian)
{
  VhostWireVringState state = message->payload.state;
  VhostSessionVring *vring = find_idle_vring (self, state.index, error);

  if (vring == NULL)
    return VHOST_SESSION_REFUSED;
  if (state.num > 1)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "ring %u can be little-endian (0) or big-endian (1), not %u", state.index,
                   state.num);
      return VHOST_SESSION_REFUSED;
    }
  vring->big_endian = state.num == 1;
  vring->renewed = vring->broken;
  return VHOST_SESSION_DONE;
}
