/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon that takes no requests for a while, with its front-ends connected. They see a slow
 * device. Must not know how a ring waits. */
#include "config.h"

#include "vhost-daemon.h"

#include "vhost-daemon-private.h"

#include "vhost-error.h"

static guint
count_pausing (VhostDaemonPrivate *priv)
{
  guint n = 0;
  for (guint i = 0; priv->slots != NULL && i < priv->slots->len; i++)
    {
      VhostDaemonSlot *slot = g_ptr_array_index (priv->slots, i);
      n += slot->session != NULL ? slot->session->n_pausing : 0;
    }
  return n;
}

/* Ends all that wait for the pause; with @error (nullable), which it takes. */
static void
finish (VhostDaemonPrivate *priv, GError *error)
{
  GList *tasks = g_steal_pointer (&priv->pause_tasks);
  vhost_daemon_clear_source (&priv->pause_timer);
  for (GList *l = tasks; l != NULL; l = l->next)
    if (error != NULL)
      g_task_return_error (l->data, g_error_copy (error));
    else
      g_task_return_boolean (l->data, TRUE);
  g_list_free_full (tasks, g_object_unref);
  g_clear_error (&error);
}

static gboolean
on_timeout (gpointer data)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (data);
  finish (priv,
          g_error_new (VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                       "%s: %u rings still have requests in flight after %u ms; the device is "
                       "paused all the same and takes no more",
                       vhost_daemon_get_label (priv), count_pausing (priv), priv->drain_timeout));
  return G_SOURCE_REMOVE;
}

void
vhost_daemon_check_paused (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (priv->pause_tasks != NULL && count_pausing (priv) == 0)
    finish (priv, NULL);
}

void
vhost_daemon_end_pause (VhostDaemon *self, GError *error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  finish (priv, error);
}

/* With every session that is open. */
static void
set_paused (VhostDaemon *self, gboolean paused)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  priv->paused = paused;
  for (guint i = 0; priv->slots != NULL && i < priv->slots->len; i++)
    {
      VhostDaemonSlot *slot = g_ptr_array_index (priv->slots, i);
      if (slot->session != NULL)
        vhost_session_set_paused (slot->session, paused);
    }
  g_object_notify (G_OBJECT (self), "paused");
}

/**
 * vhost_daemon_pause_async:
 * @self: a daemon
 * @cancellable: (nullable): ends the wait, not the pause
 * @callback: (scope async) (nullable): called when nothing is in flight any more
 * @user_data: for @callback
 *
 * Takes no more requests, from any ring of any session, those that open later included.
 *
 * Front-ends stay connected and see nothing but a slow device: requests wait in the rings until
 * vhost_daemon_resume (). Those in flight go on; the wait for them ends after
 * #VhostDaemon:drain-timeout with %VHOST_ERROR_TIMED_OUT, with the daemon paused all the same. A
 * device that parks requests until it has something to say (input, console) always has some.
 *
 * Thread: control. To be called in the context of vhost_daemon_start ().
 * Since: 0.1
 */
void
vhost_daemon_pause_async (VhostDaemon *self, GCancellable *cancellable,
                          GAsyncReadyCallback callback, gpointer user_data)
{
  g_return_if_fail (VHOST_IS_DAEMON (self));
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  GTask *task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, vhost_daemon_pause_async);
  if (!priv->paused)
    set_paused (self, TRUE);
  priv->pause_tasks = g_list_append (priv->pause_tasks, task);
  if (count_pausing (priv) == 0)
    finish (priv, NULL);
  else if (priv->pause_timer == NULL)
    priv->pause_timer
        = vhost_daemon_attach (self, g_timeout_source_new (priv->drain_timeout), on_timeout);
}

/**
 * vhost_daemon_pause_finish:
 * @self: a daemon
 * @result: what the callback was given
 * @error: where to put an error
 *
 * Ends vhost_daemon_pause_async ().
 *
 * Thread: control
 * Returns: %TRUE when nothing is in flight; %FALSE with %VHOST_ERROR_TIMED_OUT, or
 * %VHOST_ERROR_BUSY when it was resumed meanwhile
 * Since: 0.1
 */
gboolean
vhost_daemon_pause_finish (VhostDaemon *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  return g_task_propagate_boolean (G_TASK (result), error);
}

/**
 * vhost_daemon_resume:
 * @self: a daemon
 *
 * Goes on after vhost_daemon_pause_async (), beginning with what waits in the rings. Does nothing
 * to a daemon that is not paused.
 *
 * Thread: control
 * Since: 0.1
 */
void
vhost_daemon_resume (VhostDaemon *self)
{
  g_return_if_fail (VHOST_IS_DAEMON (self));
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (!priv->paused)
    return;
  set_paused (self, FALSE);
  finish (priv, g_error_new (VHOST_ERROR, VHOST_ERROR_BUSY,
                             "%s: resumed before all requests in flight had ended",
                             vhost_daemon_get_label (priv)));
}

/**
 * vhost_daemon_is_paused:
 * @self: a daemon
 *
 * Thread: control
 * Returns: whether requests are left in the rings
 * Since: 0.1
 */
gboolean
vhost_daemon_is_paused (VhostDaemon *self)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), FALSE);
  return vhost_daemon_get_private (self)->paused;
}
