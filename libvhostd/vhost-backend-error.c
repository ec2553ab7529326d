/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A failure of the device's own code: a request it could not serve, an exception in a script. Must
 * not end anything: what follows from it is for those who listen. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include "vhost-trace-private.h"

/* Called: control. */
static gboolean
on_report_error (gpointer user_data)
{
  VhostBackend *self = user_data;
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  g_autoptr (GError) error = NULL;

  pthread_mutex_lock (&priv->peer_lock);
  error = g_steal_pointer (&priv->reported);
  pthread_mutex_unlock (&priv->peer_lock);

  if (error != NULL)
    vhost_backend_emit_error (self, error);
  return G_SOURCE_REMOVE;
}

/**
 * vhost_backend_report_error:
 * @self: a back-end
 * @error: what went wrong
 *
 * Says that the device's own code has failed at something, for example at one request. It is
 * logged, seldom enough, and [signal@Backend::error] is emitted; the device goes on, and what it
 * had in hand is still for the caller to complete. A program of vhost_backend_main() ends when it
 * was started with `--strict`.
 *
 * Called on another thread than the session's, it is handed over to that one; of several that were
 * not handed over yet the first one counts. Without a session it is emitted where it is called.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_backend_report_error (VhostBackend *self, const GError *error)
{
  VhostBackendPrivate *priv;
  g_autoptr (GMainContext) context = NULL;
  g_autoptr (GSource) source = NULL;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (error != NULL);

  priv = vhost_backend_get_private (self);
  vhost_warn_limited ("%s: %s", vhost_backend_get_device_name (self), error->message);

  pthread_mutex_lock (&priv->peer_lock);
  if (priv->context == NULL || priv->control == g_thread_self ())
    {
      pthread_mutex_unlock (&priv->peer_lock);
      vhost_backend_emit_error (self, error);
      return;
    }
  if (priv->reported == NULL)
    {
      priv->reported = g_error_copy (error);
      context = g_main_context_ref (priv->context);
    }
  pthread_mutex_unlock (&priv->peer_lock);
  if (context == NULL)
    return;
  source = g_idle_source_new ();
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_static_name (source, "vhost-backend-report-error");
  g_source_set_callback (source, on_report_error, g_object_ref (self), g_object_unref);
  g_source_attach (source, context);
}
