/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a session has its workers do, there and back. Must not know what a command does.
 *
 * How it works: a command is posted to its queue's worker, runs there, and comes back through the
 * session's inbox, where the control thread ends it. It holds the session all the way. When the
 * last command that the current message waits for is back, the message's continuation answers it.
 */
#include "config.h"

#include "vhost-fd-private.h"
#include "vhost-session-private.h"

VhostSessionInbox *
vhost_session_inbox_ref (VhostSessionInbox *inbox)
{
  /* relaxed: who takes a reference has one already */
  atomic_fetch_add_explicit (&inbox->ref_count, 1, memory_order_relaxed);
  return inbox;
}

void
vhost_session_inbox_unref (VhostSessionInbox *inbox)
{
  /* release: our use of the mailbox is over; acquire: so is everybody's, before it goes. Partner:
   * this same line on the other thread. */
  if (atomic_fetch_sub_explicit (&inbox->ref_count, 1, memory_order_acq_rel) > 1)
    return;
  vhost_mailbox_clear (&inbox->mailbox);
  g_free (inbox);
}

void
vhost_session_command_free (VhostSessionCommand *command)
{
  vhost_fd_discard (&command->setup.kick_fd);
  vhost_fd_discard (&command->setup.call_fd);
  vhost_fd_discard (&command->setup.err_fd);
  vhost_fd_discard (&command->setup.log_fd);
  vhost_fd_discard (&command->fd);
  g_clear_pointer (&command->memory, vhost_memory_unref);
  g_clear_pointer (&command->inflight, vhost_inflight_unref);
  g_clear_pointer (&command->log, vhost_dirty_log_unref);
  g_clear_object (&command->queue);
  g_clear_error (&command->error);
  vhost_session_inbox_unref (command->inbox);
  g_object_unref (command->session);
  g_free (command);
}

/* Thread: worker. */
static void
command_run (VhostTask *task)
{
  VhostSessionCommand *command = (VhostSessionCommand *) task;

  command->run (command);
}

/* Thread: control. */
static void
command_done (VhostTask *task)
{
  VhostSessionCommand *command = (VhostSessionCommand *) task;
  g_autoptr (VhostSession) self = g_object_ref (command->session);
  gboolean waited = command->waited;

  if (command->vring != NULL)
    self->n_commands--;
  command->done (command);
  if (waited)
    {
      self->waiting--;
      if (command->error != NULL && self->message_error == NULL)
        self->message_error = g_steal_pointer (&command->error);
    }
  vhost_session_command_free (command);
  if (waited && self->waiting == 0 && !self->closing && self->continuation != NULL)
    {
      void (*continuation) (VhostSession *) = self->continuation;

      self->continuation = NULL;
      continuation (self);
    }
  if (self->closing && self->n_commands == 0)
    vhost_session_close_now (self);
}

VhostSessionCommand *
vhost_session_command_new (VhostSession *self, VhostSessionVring *vring,
                           void (*run) (VhostSessionCommand *command),
                           void (*done) (VhostSessionCommand *command))
{
  VhostSessionCommand *command = g_new0 (VhostSessionCommand, 1);

  command->session = g_object_ref (self);
  command->inbox = vhost_session_inbox_ref (self->inbox);
  command->vring = vring;
  if (vring != NULL)
    {
      command->worker = vring->worker;
      command->queue = g_object_ref (vring->queue);
    }
  command->run = run;
  command->done = done;
  command->fd = command->setup.kick_fd = command->setup.call_fd = command->setup.err_fd
      = command->setup.log_fd = -1;
  return command;
}

void
vhost_session_command_post (VhostSessionCommand *command, gboolean waited)
{
  command->session->n_commands++;
  if (waited)
    command->session->waiting++;
  command->waited = waited;
  command->task.run = command_run;
  vhost_worker_post (command->worker, &command->task);
}

void
vhost_session_command_answer (VhostSessionCommand *command)
{
  /* The control thread may have freed command and session before the post has returned: hold the
   * inbox. */
  VhostSessionInbox *inbox = vhost_session_inbox_ref (command->inbox);

  command->task.run = command_done;
  vhost_mailbox_post (&inbox->mailbox, &command->task);
  vhost_session_inbox_unref (inbox);
}

VhostSessionResult
vhost_session_wait (VhostSession *self, void (*continuation) (VhostSession *self))
{
  self->continuation = continuation;
  return VHOST_SESSION_LATER;
}

void
vhost_session_continue_ack (VhostSession *self)
{
  vhost_session_finish_message (self, g_steal_pointer (&self->message_error));
}
