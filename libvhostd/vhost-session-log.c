/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's dirty log: which one there is, when rings mark in it, and how one takes the place
 * of another. Must not set a bit itself, the rings' workers do.
 *
 * How it works: LOG_ALL switches marking on, SET_LOG_BASE brings the log, in either order. Between
 * the two there is a pending log, which only remembers; what it holds goes into the real one before
 * SET_LOG_BASE is answered. A front-end reads its old log for the last time after our answer, so
 * all workers have let go of it by then. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

/* Whether a log is there that the front-end reads. */
static gboolean
has_real_log (VhostSession *self)
{
  return self->log != NULL && !self->log_pending;
}

VhostDirtyLog *
vhost_session_get_log (VhostSession *self)
{
  if (!vhost_session_has_feature (self, VHOST_WIRE_F_LOG_ALL))
    return NULL;
  if (self->log == NULL)
    {
      self->log = vhost_dirty_log_new_pending (NULL); /* L11 */
      self->log_pending = TRUE;
    }
  return self->log;
}

void
vhost_session_clear_log (VhostSession *self)
{
  g_clear_pointer (&self->log, vhost_dirty_log_unref);
  g_clear_pointer (&self->former_log, vhost_dirty_log_unref);
  self->log_pending = self->log_stale = FALSE;
  vhost_fd_discard (&self->log_fd);
}

/* The guest address of the log_guest_addr @address, which is an I/O address behind a vIOMMU (L12).
 * FALSE: it has no translation yet. */
static gboolean
translate_log (VhostSession *self, guint64 address, guint64 length, guint64 *guest_address)
{
  VhostMemoryCache cache = { 0 };
  gpointer host;

  *guest_address = address;
  if (!vhost_session_has_feature (self, VHOST_WIRE_F_ACCESS_PLATFORM))
    return TRUE;
  if (self->view == NULL || self->memory == NULL)
    return FALSE;
  host = vhost_memory_translate (self->view, &cache, address, length);
  return host != NULL && vhost_memory_host_to_guest (self->memory, host, length, guest_address);
}

static gboolean
check_in_log (VhostSession *self, VhostSessionVring *vring, const VhostWireVringAddr *addr,
              VhostDirtyLog *log, GError **error)
{
  gboolean packed = vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED);
  guint event = vhost_session_has_feature (self, VHOST_WIRE_F_RING_EVENT_IDX) ? 2 : 0;
  guint64 length = packed ? 4 : 4 + 8 * (guint64) vring->size + event;
  guint64 guest_address;

  if ((addr->flags & VHOST_WIRE_VRING_F_LOG) == 0
      || !translate_log (self, addr->log, length, &guest_address)
      || vhost_dirty_log_covers (log, guest_address, length))
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "the used ring of ring %u is to be logged at 0x%" G_GINT64_MODIFIER
               "x, %" G_GUINT64_FORMAT
               " bytes, which the log does not reach; send a larger one (SET_LOG_BASE)",
               vring->queue->index, addr->log, length);
  return FALSE;
}

gboolean
vhost_session_check_log (VhostSession *self, VhostSessionVring *vring,
                         const VhostWireVringAddr *addr, GError **error)
{
  /* Without LOG_ALL nothing is marked; the log may be one of an earlier migration. */
  if (!has_real_log (self) || !vhost_session_has_feature (self, VHOST_WIRE_F_LOG_ALL))
    return TRUE;
  return check_in_log (self, vring, addr, self->log, error);
}

/* Thread: worker. */
static void
log_run (VhostSessionCommand *command)
{
  vhost_queue_set_log (command->queue, command->log, command->log_used, command->address);
  vhost_session_command_answer (command);
}

void
vhost_session_post_log (VhostSession *self, VhostSessionVring *vring)
{
  VhostSessionCommand *command
      = vhost_session_command_new (self, vring, log_run, vhost_session_command_ended);
  VhostDirtyLog *log = vhost_session_get_log (self);

  command->log = log != NULL ? vhost_dirty_log_ref (log) : NULL;
  command->log_used = (vring->addr.flags & VHOST_WIRE_VRING_F_LOG) != 0;
  command->address = vring->addr.log;
  vhost_session_command_post (command, TRUE);
}

static gboolean
post_to_all (VhostSession *self)
{
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started)
      vhost_session_post_log (self, &self->vrings[i]);
  return self->n_started > 0;
}

gboolean
vhost_session_update_log (VhostSession *self, guint64 old_features)
{
  gboolean on = vhost_session_has_feature (self, VHOST_WIRE_F_LOG_ALL);
  gboolean was_on = (old_features & VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL)) != 0;

  gboolean remember = on && has_real_log (self) && self->log_stale;

  /* A log of an earlier migration, or of before all rings stopped: a new one may come, but perhaps
   * only when rings run (L11), or the front-end goes on with the one that is there. So what is
   * written until then is remembered, and marked there, too. */
  if (remember)
    {
      VhostDirtyLog *stale = g_steal_pointer (&self->log);

      self->log = vhost_dirty_log_new_pending (stale);
      self->log_pending = TRUE;
      self->log_stale = FALSE;
      vhost_dirty_log_unref (stale);
    }
  if (!on && was_on)
    {
      self->log_stale = TRUE;
      if (self->log_pending)
        g_clear_pointer (&self->log, vhost_dirty_log_unref);
    }
  if (self->log == NULL)
    self->log_pending = FALSE;
  return (on != was_on || remember) && post_to_all (self);
}

/* What an old log remembered goes into the new one, and then the front-end may have its answer. */
static void
finish_log_base (VhostSession *self)
{
  if (self->former_log != NULL)
    vhost_dirty_log_merge (self->log, self->former_log);
  g_clear_pointer (&self->former_log, vhost_dirty_log_unref);
  /* A log that was cut short has lost pages: the migration must not rely on it. */
  if (vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_LOG_SHMFD))
    vhost_session_reply_u64 (self, vhost_dirty_log_is_poisoned (self->log) ? 1 : 0);
}

/* Thread: control. */
static void
continue_log_base (VhostSession *self)
{
  finish_log_base (self);
  vhost_session_continue_ack (self);
}

/* The log's entry in the text is a u64, its prose has size and offset: with the shorter payload the
 * log begins where its file does. */
VHOST_SESSION_HANDLER (set_log_base)
{
  VhostWireLog place = message->payload.log;
  g_autoptr (VhostDirtyLog) log = NULL;

  if (message->n_fds == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the log at 0x%" G_GINT64_MODIFIER
                   "x is in the front-end's own memory; only one that comes as a file descriptor "
                   "(protocol feature LOG_SHMFD) can be written",
                   place.size);
      return VHOST_SESSION_REFUSED;
    }
  log = vhost_dirty_log_new_take_fd (vhost_message_steal_fd (message, 0), place.size, place.offset,
                                     error);
  if (log == NULL)
    return VHOST_SESSION_REFUSED;
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started
        && !check_in_log (self, &self->vrings[i], &self->vrings[i].addr, log, error))
      return VHOST_SESSION_REFUSED;

  if (self->log_pending)
    self->former_log = g_steal_pointer (&self->log);
  g_clear_pointer (&self->log, vhost_dirty_log_unref);
  self->log = g_steal_pointer (&log);
  self->log_pending = self->log_stale = FALSE;
  if (vhost_session_has_feature (self, VHOST_WIRE_F_LOG_ALL) && post_to_all (self))
    return vhost_session_wait (self, continue_log_base); /* L10 */
  finish_log_base (self);
  return VHOST_SESSION_DONE;
}

/* Thread: worker. */
static void
log_fd_run (VhostSessionCommand *command)
{
  vhost_queue_take_log_fd (command->queue, g_steal_fd (&command->fd));
  vhost_session_command_answer (command);
}

/* L5. One descriptor for all rings: each has a duplicate. */
VHOST_SESSION_HANDLER (set_log_fd)
{
  VhostFdKind kind = vhost_fd_get_kind (message->fds[0]);

  if (kind != VHOST_FD_EVENTFD && kind != VHOST_FD_PIPE)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the notification descriptor of the log must be an eventfd or a pipe; its kind "
                   "is: %s",
                   vhost_fd_kind_to_string (kind));
      return VHOST_SESSION_REFUSED;
    }
  if (!vhost_fd_set_nonblocking (message->fds[0], error))
    return VHOST_SESSION_REFUSED;
  vhost_fd_discard (&self->log_fd);
  self->log_fd = vhost_message_steal_fd (message, 0);
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionCommand *command;
      int copy;

      if (!self->vrings[i].started)
        continue;
      copy = vhost_session_duplicate_fd (self->log_fd, error);
      if (copy < 0)
        {
          /* Rings that have it already keep it; the commands are on their way. */
          if (self->waiting == 0)
            return VHOST_SESSION_REFUSED;
          self->message_error = error != NULL ? g_steal_pointer (error) : NULL;
          break;
        }
      command = vhost_session_command_new (self, &self->vrings[i], log_fd_run,
                                           vhost_session_command_ended);
      command->fd = copy;
      vhost_session_command_post (command, TRUE);
    }
  return self->waiting > 0 ? vhost_session_wait (self, vhost_session_continue_ack)
                           : VHOST_SESSION_DONE;
}
