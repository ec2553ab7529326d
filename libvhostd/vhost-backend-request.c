/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the device asks of its front-end, as tasks. Must not know sessions or sockets: they stand
 * behind VhostBackendPeer.
 *
 * How it works: a request is checked against what was negotiated at once, so that a device learns
 * early that its front-end does not know such things. It is held back while all rings are stopped,
 * when nothing may be sent (S3), and goes out when one has started. Answer, cancellation and the
 * end of the session all come to the same place, which ends the task. A request belongs to the
 * back-end that made it, be it a filter or the device behind one; all have the same front-end. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

/* How often the device, of a filter the one behind it, was reset. */
static guint
get_n_resets (VhostBackend *self)
{
  return vhost_backend_get_private (vhost_backend_get_device (self))->n_resets;
}

static void
request_free (VhostBackendRequest *request)
{
  if (request->cancel_source != NULL)
    {
      g_source_destroy (request->cancel_source);
      g_source_unref (request->cancel_source);
    }
  vhost_fd_clear (&request->fd);
  vhost_fd_clear (&request->answer_fd);
  g_clear_object (&request->task);
  g_free (request);
}

/* Takes @request, and @error (nullable: it succeeded). The task holds the back-end meanwhile. */
static void
end_request (VhostBackendRequest *request, GError *error)
{
  GTask *task = request->task;
  VhostBackend *self = g_task_get_source_object (task);
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  priv->requests = g_list_remove (priv->requests, request);
  if (request->ended != NULL && request->ended (self, request, error))
    g_clear_error (&error);
  else if (error != NULL)
    g_task_return_error (task, error);
  else
    g_task_return_boolean (task, TRUE);
  request_free (request);
}

/* Thread: control. */
static void
on_answer (guint64 answer, int fd, const GError *error, gpointer data)
{
  VhostBackendRequest *request = data;
  GError *failure = NULL;

  request->answer_fd = fd;
  if (error != NULL)
    failure = g_error_copy (error);
  else if (answer != 0)
    failure = g_error_new (VHOST_ERROR, VHOST_ERROR_REFUSED,
                           "the front-end refused %s (it answers 0x%" G_GINT64_MODIFIER "x)",
                           request->name, answer);
  end_request (request, failure);
}

static void
send_request (VhostBackend *self, VhostBackendRequest *request)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  request->is_out = TRUE;
  request->id = priv->peer->send (priv->session, request->request, &request->payload, request->size,
                                  request->fd, on_answer, request);
}

/* Thread: control. */
static gboolean
on_cancelled (GCancellable *cancellable, gpointer data)
{
  VhostBackendRequest *request = data;
  VhostBackend *self = g_task_get_source_object (request->task);
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  if (!request->is_out)
    end_request (request, g_error_new (G_IO_ERROR, G_IO_ERROR_CANCELLED,
                                       "%s was cancelled before it went out", request->name));
  else if (priv->peer != NULL)
    priv->peer->cancel (priv->session, request->id); /* its answer is now this */
  return G_SOURCE_REMOVE;
}

/* Why no request can be made now, or NULL. */
static GError *
check_request (VhostBackend *self, const char *name, VhostWireBackendRequest request, int fd)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  GError *error = NULL;

  if (priv->peer == NULL || priv->peer->send == NULL)
    return g_error_new (VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                        "%s needs a front-end, and none is connected", name);
  if (priv->control != g_thread_self ())
    return g_error_new (VHOST_ERROR, VHOST_ERROR_INVALID,
                        "%s was asked for on another thread than the daemon's", name);
  priv->peer->takes (priv->session, request, fd >= 0, &error);
  return error;
}

VhostBackendRequest *
vhost_backend_request_new (GTask *task, const char *name, VhostWireBackendRequest request,
                           gconstpointer payload, guint32 size, int fd)
{
  VhostBackend *self = g_task_get_source_object (task);
  VhostBackendRequest *made;
  GError *error = check_request (self, name, request, fd);
  int copy = -1;

  if (error == NULL && fd >= 0 && (copy = fcntl (fd, F_DUPFD_CLOEXEC, 3)) < 0)
    {
      int errsv = errno;

      error = g_error_new (VHOST_ERROR, VHOST_ERROR_FAILED,
                           "%s: cannot duplicate descriptor %d: %s", name, fd, g_strerror (errsv));
    }
  if (error != NULL)
    {
      g_task_return_error (task, error);
      g_object_unref (task);
      return NULL;
    }
  made = g_new0 (VhostBackendRequest, 1);
  made->task = task;
  made->request = request;
  made->name = name;
  memcpy (&made->payload, payload, MIN (size, sizeof made->payload));
  made->size = size;
  made->fd = copy;
  made->answer_fd = -1;
  made->n_resets = get_n_resets (self);
  return made;
}

void
vhost_backend_request_refuse (VhostBackendRequest *request, VhostError code, const char *format,
                              ...)
{
  va_list arguments;
  GError *error;

  va_start (arguments, format);
  error = g_error_new_valist (VHOST_ERROR, (int) code, format, arguments);
  va_end (arguments);
  g_task_return_error (request->task, error);
  request_free (request);
}

void
vhost_backend_request_submit (VhostBackendRequest *request)
{
  VhostBackend *self = g_task_get_source_object (request->task);
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  GCancellable *cancellable = g_task_get_cancellable (request->task);

  priv->requests = g_list_append (priv->requests, request);
  if (cancellable != NULL)
    {
      request->cancel_source = g_cancellable_source_new (cancellable);
      g_source_set_static_name (request->cancel_source, "VhostBackend request");
      g_source_set_callback (request->cancel_source, G_SOURCE_FUNC (on_cancelled), request, NULL);
      g_source_attach (request->cancel_source, priv->context);
    }
  if (!priv->peer->is_suspended (priv->session))
    send_request (self, request);
}

void
vhost_backend_flush_requests (VhostBackend *self)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  g_autoptr (GList) requests = g_list_copy (priv->requests);

  /* A task that ends may call the device at once. That can make requests, which are not in the
   * copy, and cannot end one: cancellations come by a source. */
  for (GList *l = requests; l != NULL; l = l->next)
    {
      VhostBackendRequest *request = l->data;
      GError *error = NULL;

      if (request->is_out)
        continue;
      if (request->n_resets != get_n_resets (self))
        error = g_error_new (VHOST_ERROR, VHOST_ERROR_FAILED,
                             "%s came too late: the device was reset before it could go out",
                             request->name);
      else
        error = check_request (self, request->name, request->request, request->fd);
      if (error != NULL)
        end_request (request, error);
      else
        send_request (self, request);
    }
  if (priv->next != NULL)
    vhost_backend_flush_requests (priv->next);
}

void
vhost_backend_drop_requests (VhostBackend *self)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  g_autoptr (GList) requests = g_list_copy (priv->requests);
  g_autoptr (VhostBackend) alive = g_object_ref (self);

  /* Those that are out end with their channel. */
  for (GList *l = requests; l != NULL; l = l->next)
    if (!((VhostBackendRequest *) l->data)->is_out)
      end_request (l->data, g_error_new (VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                                         "%s did not go out: the front-end has gone",
                                         ((VhostBackendRequest *) l->data)->name));
  /* The next front-end knows nothing of what this one was told. */
  vhost_backend_forget_mappings (alive);
  vhost_backend_forget_objects (alive);
}
