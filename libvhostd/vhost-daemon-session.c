/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions of a daemon: a front-end borrows a slot, that is, a back-end object with its workers.
 * Must not know where connections come from.
 *
 * How it works. Slots are made when they are needed, at most max-sessions, and kept until the
 * daemon stops. A slot is free again once its session has been closed, that is, drained, so a
 * back-end object never serves two sessions. */
#include "config.h"

#include "vhost-daemon.h"

#include "vhost-daemon-private.h"

#include "vhost-backend-private.h"
#include "vhost-error.h"
#include "vhost-queue.h"
#include "vhost-trace-private.h"
#include "vhost-worker-private.h"

/* Slots */

/* Thread: control, from the mailbox. */
static void
vhost_daemon_on_kick (VhostTask *task)
{
  VhostDaemonKick *kick = (VhostDaemonKick *) task;
  /* Partner: the exchange in vhost_daemon_kicked (). Acquire: the queue is there. Release: from
   * here on a kick may post the task anew, which writes to it; the mailbox's own writes come before
   * that. */
  g_autoptr (VhostQueue) queue
      = atomic_exchange_explicit (&kick->queue, NULL, memory_order_acq_rel);
  if (queue != NULL && kick->slot->session != NULL)
    g_signal_emit (kick->slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_KICK], 0, queue);
}

/* Thread: any. */
static gboolean
vhost_daemon_wants_kicks (gpointer data)
{
  VhostDaemonSlot *slot = data;
  return g_signal_has_handler_pending (slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_KICK],
                                       0, TRUE);
}

/* Thread: worker. */
static void
vhost_daemon_kicked (VhostQueue *queue, gpointer data)
{
  VhostDaemonSlot *slot = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_private (slot->daemon);
  if (slot->is_inline)
    {
      /* The worker is the daemon's context, and inside a pass: the handler may pop. */
      g_signal_emit (slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_KICK], 0, queue);
      return;
    }
  guint index = vhost_queue_get_index (queue);
  if (index >= slot->n_kicks)
    return;
  VhostDaemonKick *kick = &slot->kicks[index];
  /* Partner: the exchange in vhost_daemon_on_kick (), both ways. What stood there is pending
   * already; the newer queue takes its place, since the older one may belong to a session that is
   * over. */
  VhostQueue *pending
      = atomic_exchange_explicit (&kick->queue, g_object_ref (queue), memory_order_acq_rel);
  if (pending == NULL)
    vhost_mailbox_post (&priv->mailbox, &kick->task);
  else
    g_object_unref (pending);
}

/* Thread: worker. */
static void
vhost_daemon_worker_started (VhostWorker *worker, gpointer data)
{
  vhost_backend_worker_started (data, worker);
}

/* Thread: worker. */
static void
vhost_daemon_worker_stopped (VhostWorker *worker, gpointer data)
{
  vhost_backend_worker_stopped (data, worker);
}

void
vhost_daemon_free_slot (gpointer data)
{
  VhostDaemonSlot *slot = data;
  vhost_daemon_clear_source (&slot->change);
  for (guint i = 0; i < slot->workers->len; i++)
    {
      VhostWorker *worker = g_ptr_array_index (slot->workers, i);
      if (slot->is_inline)
        vhost_backend_worker_stopped (slot->backend, worker);
      vhost_worker_stop (worker);
    }
  g_ptr_array_unref (slot->workers);
  vhost_backend_stop (slot->backend);
  for (guint i = 0; i < slot->n_kicks; i++)
    {
      VhostQueue *queue
          = atomic_exchange_explicit (&slot->kicks[i].queue, NULL, memory_order_acquire);
      g_clear_object (&queue);
    }
  g_free (slot->kicks);
  g_object_unref (slot->backend);
  g_free (slot);
}

static VhostDaemonSlot *
vhost_daemon_new_slot (VhostDaemon *self, VhostBackend *backend, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (!vhost_backend_start (backend, error))
    return NULL;

  VhostDaemonSlot *slot = g_new0 (VhostDaemonSlot, 1);
  slot->daemon = self;
  slot->backend = g_object_ref (backend);
  slot->workers = g_ptr_array_new_with_free_func (g_object_unref);
  slot->n_kicks = vhost_backend_get_num_queues (backend);
  slot->kicks = g_new0 (VhostDaemonKick, slot->n_kicks);
  for (guint i = 0; i < slot->n_kicks; i++)
    {
      slot->kicks[i].task.run = vhost_daemon_on_kick;
      slot->kicks[i].slot = slot;
    }

  guint n_workers = vhost_backend_get_workers (backend);
  slot->is_inline = n_workers == 0;
  for (guint i = 0; i < MAX (n_workers, 1); i++)
    {
      g_autofree char *name = g_strdup_printf ("%s/%u", vhost_daemon_get_label (priv), i);
      VhostWorker *worker
          = slot->is_inline
                ? vhost_worker_new_inline (priv->context, error)
                : vhost_worker_new_thread (name, priv->waiter, vhost_backend_get_poll_max (backend),
                                           vhost_daemon_worker_started, vhost_daemon_worker_stopped,
                                           backend, error);
      if (worker == NULL)
        {
          vhost_daemon_free_slot (slot);
          return NULL;
        }
      g_ptr_array_add (slot->workers, worker);
      if (slot->is_inline)
        vhost_backend_worker_started (backend, worker);
    }
  return slot;
}

/* The slot for the next session; NULL when it has to wait, or with @error when there can be none.
 */
VhostDaemonSlot *
vhost_daemon_get_free_slot (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (vhost_daemon_count_sessions (priv) >= priv->max_sessions)
    return NULL;
  for (guint i = 0; i < priv->slots->len; i++)
    {
      VhostDaemonSlot *slot = g_ptr_array_index (priv->slots, i);
      if (slot->session == NULL)
        return slot;
    }
  if (priv->no_more_backends)
    return NULL;

  g_autoptr (VhostBackend) backend = NULL;
  if (priv->slots->len == 0 && priv->backend != NULL)
    backend = g_object_ref (priv->backend);
  else
    g_signal_emit (self, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_CREATE_BACKEND], 0, &backend);
  if (backend == NULL)
    {
      priv->no_more_backends = TRUE;
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%s: no back-end for session %u of max-sessions %u: a back-end object serves one "
          "front-end at a time; return one more from the create-backend signal",
          vhost_daemon_get_label (priv), priv->slots->len + 1, priv->max_sessions);
      return NULL;
    }
  VhostDaemonSlot *slot = vhost_daemon_new_slot (self, backend, error);
  if (slot == NULL)
    {
      priv->no_more_backends = TRUE;
      return NULL;
    }
  g_ptr_array_add (priv->slots, slot);
  return slot;
}

/* Sessions */

/* Thread: control. The session has drained; @error is why it ended, NULL when the front-end went.
 */
static void
vhost_daemon_on_session_closed (VhostSession *session, const GError *error, gpointer data)
{
  VhostDaemonSlot *slot = data;
  g_autoptr (VhostDaemon) self = g_object_ref (slot->daemon);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (slot->session != session)
    return;

  g_autoptr (VhostSession) closed = g_steal_pointer (&slot->session);
  guint position;
  if (g_list_store_find (priv->sessions, closed, &position))
    g_list_store_remove (priv->sessions, position);
  priv->no_more_backends = FALSE;
  if (error != NULL)
    vhost_warn_limited ("%s: session ended: %s", vhost_daemon_get_label (priv), error->message);
  else
    vhost_debug (CONTROL, "%s: the front-end has gone", vhost_daemon_get_label (priv));
  guint n_left = vhost_daemon_count_sessions (priv);
  if (n_left == 0 && vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_RUNNING)
    vhost_daemon_set_state (self, VHOST_DAEMON_STATE_WAITING);
  g_signal_emit (self, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_CLOSED], 0, closed, error);

  if (vhost_daemon_is_open (self) && n_left == 0 && (priv->exit_on_disconnect || priv->one_shot))
    vhost_daemon_stop_async (self, NULL, NULL, NULL);
  else if (vhost_daemon_is_open (self) && priv->mode == VHOST_DAEMON_MODE_CLIENT
           && priv->listen_fd == -1)
    {
      /* A front-end that hangs up on us each time must not make us connect in a loop. */
      gint64 lived = (g_get_monotonic_time () - slot->opened) / 1000;
      if (lived < priv->reconnect_interval)
        vhost_daemon_hold_off (self, priv->reconnect_interval - (guint) lived);
    }
  vhost_daemon_check_paused (self);
  vhost_daemon_advance (self);
  vhost_daemon_finish_when_empty (self);
}

/* Thread: control. */
static void
vhost_daemon_on_config_changed (VhostSession *session, guint offset, guint length,
                                gboolean by_driver, gpointer data)
{
  VhostDaemonSlot *slot = data;
  g_signal_emit (slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_CONFIG_CHANGED], 0, session,
                 offset, length,
                 by_driver ? VHOST_CONFIG_ORIGIN_DRIVER : VHOST_CONFIG_ORIGIN_DEVICE);
}

/* Thread: control. Several messages at once are one change. */
static gboolean
vhost_daemon_tell_changed (gpointer data)
{
  VhostDaemonSlot *slot = data;
  vhost_daemon_clear_source (&slot->change);
  if (slot->session != NULL)
    g_signal_emit (slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_CHANGED], 0,
                   slot->session);
  return G_SOURCE_REMOVE;
}

/* Thread: control. */
static void
vhost_daemon_on_session_changed (VhostSession *session, gpointer data)
{
  VhostDaemonSlot *slot = data;
  if (slot->change != NULL
      || !g_signal_has_handler_pending (
          slot->daemon, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_CHANGED], 0, TRUE))
    return;
  slot->change = g_idle_source_new ();
  g_source_set_priority (slot->change, G_PRIORITY_DEFAULT); /* in a busy main context, too */
  g_source_set_callback (slot->change, vhost_daemon_tell_changed, slot, NULL);
  g_source_attach (slot->change, vhost_daemon_get_private (slot->daemon)->context);
}

/* Thread: control. */
static void
vhost_daemon_on_session_paused (VhostSession *session, gpointer data)
{
  VhostDaemonSlot *slot = data;
  vhost_daemon_check_paused (slot->daemon);
}

gboolean
vhost_daemon_open_session (VhostDaemon *self, VhostDaemonSlot *slot, int fd, GError **error)
{
  static const VhostSessionOwner owner = {
    .closed = vhost_daemon_on_session_closed,
    .config_changed = vhost_daemon_on_config_changed,
    .wants_kicks = vhost_daemon_wants_kicks,
    .kicked = vhost_daemon_kicked,
    .changed = vhost_daemon_on_session_changed,
    .paused = vhost_daemon_on_session_paused,
  };
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  /* The descriptor is the session's from here on, also when this fails. */
  /* A session attaches to the thread's default, which need not be what this callback runs in. */
  g_main_context_push_thread_default (priv->context);
  VhostSession *session = vhost_session_new_take_fd (
      fd, slot->backend, (VhostWorker **) slot->workers->pdata, slot->workers->len,
      priv->drain_timeout, priv->seal_memory, &owner, slot, error);
  g_main_context_pop_thread_default (priv->context);
  if (session == NULL)
    return FALSE;
  session->in_band = priv->in_band;
  if (priv->paused)
    vhost_session_set_paused (session, TRUE);
  slot->session = session;
  slot->opened = g_get_monotonic_time ();
  g_list_store_append (priv->sessions, session);
  vhost_daemon_set_state (self, VHOST_DAEMON_STATE_RUNNING);
  g_signal_emit (self, vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_OPENED], 0, session);
  return TRUE;
}
