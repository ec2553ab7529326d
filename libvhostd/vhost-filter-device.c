/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a filter hands on to the next back-end of what only some devices know: state, shared
 * objects, network, crypto, display. Must not decide what is offered: the device does.
 *
 * How it works: every filter has all of these functions, whatever the device behind it has. Whoever
 * wants to know what there is asks the device itself (vhost_backend_get_device ()), so that a call
 * of these comes only where there is an answer; a program that calls one anyway gets an error. */
#include "config.h"

#include "vhost-filter-private.h"

#include "vhost-backend-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"

static VhostBackend *
get_next (VhostBackend *self)
{
  return vhost_backend_get_private (self)->next;
}

static void
set_missing (VhostBackend *self, const char *what, GError **error)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "the %s device behind the filter has no %s",
               vhost_backend_get_device_name (self), what);
}

/* ---- State. Called: control. ---- */

static GBytes *
vhost_filter_get_state (VhostBackend *backend, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->get_state != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->get_state (next, error);
  set_missing (backend, "get_state", error);
  return NULL;
}

static gboolean
vhost_filter_set_state (VhostBackend *backend, GBytes *state, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->set_state != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->set_state (next, state, error);
  set_missing (backend, "set_state", error);
  return FALSE;
}

/* The next back-end's result becomes the filter's, which has another source object. Takes @task. */
static void
end_transfer (GTask *task, gboolean good, GError *local_error, const char *what)
{
  GError *error = NULL;

  if (good && local_error == NULL)
    g_task_return_boolean (task, TRUE);
  else
    {
      vhost_backend_propagate_failure (g_task_get_source_object (task), what, local_error, &error);
      g_task_return_error (task, error);
    }
  g_object_unref (task);
}

/* Thread: control. */
static void
on_saved (GObject *source, GAsyncResult *result, gpointer data)
{
  VhostBackend *next = VHOST_BACKEND (source);
  GError *error = NULL;
  gboolean good = VHOST_BACKEND_GET_CLASS (next)->save_state_finish (next, result, &error);

  end_transfer (data, good, error, "save_state");
}

/* Thread: control. */
static void
on_loaded (GObject *source, GAsyncResult *result, gpointer data)
{
  VhostBackend *next = VHOST_BACKEND (source);
  GError *error = NULL;
  gboolean good = VHOST_BACKEND_GET_CLASS (next)->load_state_finish (next, result, &error);

  end_transfer (data, good, error, "load_state");
}

static GTask *
new_transfer (VhostBackend *backend, gpointer tag, GCancellable *cancellable,
              GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new (backend, cancellable, callback, user_data);

  g_task_set_source_tag (task, tag);
  /* How it ended is for the device to say: a cancellation may come when all is done. */
  g_task_set_check_cancellable (task, FALSE);
  return task;
}

static void
vhost_filter_save_state_async (VhostBackend *backend, GOutputStream *stream,
                               GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data)
{
  VhostBackend *next = get_next (backend);

  VHOST_BACKEND_GET_CLASS (next)->save_state_async (
      next, stream, cancellable, on_saved,
      new_transfer (backend, vhost_filter_save_state_async, cancellable, callback, user_data));
}

static void
vhost_filter_load_state_async (VhostBackend *backend, GInputStream *stream,
                               GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data)
{
  VhostBackend *next = get_next (backend);

  VHOST_BACKEND_GET_CLASS (next)->load_state_async (
      next, stream, cancellable, on_loaded,
      new_transfer (backend, vhost_filter_load_state_async, cancellable, callback, user_data));
}

static gboolean
vhost_filter_transfer_finish (VhostBackend *backend, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

/* ---- The rest. Called: control. ---- */

static int
vhost_filter_get_shared_object (VhostBackend *backend, const char *uuid, GError **error)
{
  VhostBackend *next = get_next (backend);

  return VHOST_BACKEND_GET_CLASS (next)->get_shared_object (next, uuid, error);
}

static gboolean
vhost_filter_announce (VhostBackend *backend, GBytes *mac, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->announce != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->announce (next, mac, error);
  set_missing (backend, "announce", error);
  return FALSE;
}

static gboolean
vhost_filter_set_mtu (VhostBackend *backend, guint mtu, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->set_mtu != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->set_mtu (next, mtu, error);
  set_missing (backend, "set_mtu", error);
  return FALSE;
}

static gint64
vhost_filter_create_crypto_session (VhostBackend *backend, GBytes *description, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->create_crypto_session != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->create_crypto_session (next, description, error);
  set_missing (backend, "create_crypto_session", error);
  return -1;
}

static gboolean
vhost_filter_close_crypto_session (VhostBackend *backend, gint64 id, GError **error)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->close_crypto_session != NULL)
    return VHOST_BACKEND_GET_CLASS (next)->close_crypto_session (next, id, error);
  set_missing (backend, "close_crypto_session", error);
  return FALSE;
}

static void
vhost_filter_set_gpu_socket (VhostBackend *backend, int fd)
{
  VhostBackend *next = get_next (backend);

  if (VHOST_BACKEND_GET_CLASS (next)->set_gpu_socket != NULL)
    VHOST_BACKEND_GET_CLASS (next)->set_gpu_socket (next, fd);
  else
    vhost_fd_clear (&fd);
}

void
vhost_filter_class_init_device (VhostBackendClass *klass)
{
  klass->get_state = vhost_filter_get_state;
  klass->set_state = vhost_filter_set_state;
  klass->save_state_async = vhost_filter_save_state_async;
  klass->save_state_finish = vhost_filter_transfer_finish;
  klass->load_state_async = vhost_filter_load_state_async;
  klass->load_state_finish = vhost_filter_transfer_finish;
  klass->get_shared_object = vhost_filter_get_shared_object;
  klass->announce = vhost_filter_announce;
  klass->set_mtu = vhost_filter_set_mtu;
  klass->create_crypto_session = vhost_filter_create_crypto_session;
  klass->close_crypto_session = vhost_filter_close_crypto_session;
  klass->set_gpu_socket = vhost_filter_set_gpu_socket;
}
