/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's own state as it goes from one host to another. Must not know where the bytes come
 * from or go to: a stream is all it sees.
 *
 * How it works: a device with much state has the asynchronous functions of its own; one with little
 * gives and takes bytes, and the defaults here do the rest. One transfer at a time; whoever starts
 * the device or resets it cancels one that is under way. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include "vhost-error.h"

/* Of the default functions: a device with more reads it piece by piece. */
#define STATE_MAX (64u * 1024 * 1024)
#define PIECE (64u * 1024)

gboolean
vhost_backend_has_state (VhostBackend *self)
{
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (vhost_backend_get_device (self));

  return (klass->save_state_async != vhost_backend_real_save_state_async
          || klass->get_state != NULL)
         && (klass->load_state_async != vhost_backend_real_load_state_async
             || klass->set_state != NULL);
}

/* ---- Defaults ---- */

/* Thread: control. */
static void
on_saved (GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr (GTask) task = data;
  GError *error = NULL;

  if (g_output_stream_write_all_finish (G_OUTPUT_STREAM (source), result, NULL, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
return_failure (GTask *task, const char *what, GError *local_error)
{
  GError *error = NULL;

  vhost_backend_propagate_failure (g_task_get_source_object (task), what, local_error, &error);
  g_task_return_error (task, error);
}

/* Called: control. */
void
vhost_backend_real_save_state_async (VhostBackend *self, GOutputStream *stream,
                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                     gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (self, cancellable, callback, user_data);
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (self);
  GError *error = NULL;
  GBytes *state;
  gsize size;
  gconstpointer bytes;

  g_task_set_source_tag (task, vhost_backend_real_save_state_async);
  state = klass->get_state != NULL ? klass->get_state (self, &error) : NULL;
  if (state == NULL || error != NULL)
    {
      g_clear_pointer (&state, g_bytes_unref);
      return_failure (task, "get_state", error);
      return;
    }
  g_task_set_task_data (task, state, (GDestroyNotify) g_bytes_unref);
  bytes = g_bytes_get_data (state, &size);
  g_output_stream_write_all_async (stream, bytes, size, G_PRIORITY_DEFAULT, cancellable, on_saved,
                                   g_steal_pointer (&task));
}

/* Called: control. */
gboolean
vhost_backend_real_save_state_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

/* Takes @task. */
static void
take_state (GTask *task)
{
  g_autoptr (GTask) own = task;
  VhostBackend *self = g_task_get_source_object (task);
  GByteArray *array = g_task_get_task_data (task);
  g_autoptr (GBytes) state = g_bytes_new (array->data, array->len);
  GError *error = NULL;

  if (VHOST_BACKEND_GET_CLASS (self)->set_state (self, state, &error) && error == NULL)
    g_task_return_boolean (task, TRUE);
  else
    return_failure (task, "set_state", error);
}

/* Thread: control. */
static void
on_read (GObject *source, GAsyncResult *result, gpointer data)
{
  GTask *task = data;
  GByteArray *array = g_task_get_task_data (task);
  GError *error = NULL;
  g_autoptr (GBytes) piece
      = g_input_stream_read_bytes_finish (G_INPUT_STREAM (source), result, &error);
  gsize size;
  gconstpointer bytes;

  if (piece == NULL)
    {
      g_task_return_error (task, error);
      g_object_unref (task);
      return;
    }
  bytes = g_bytes_get_data (piece, &size);
  if (size == 0)
    {
      take_state (task);
      return;
    }
  if (size > STATE_MAX - array->len)
    {
      g_task_return_new_error (task, VHOST_ERROR, VHOST_ERROR_INVALID,
                               "the device's state has more than %u bytes, more than such a device "
                               "can have",
                               STATE_MAX);
      g_object_unref (task);
      return;
    }
  g_byte_array_append (array, bytes, (guint) size);
  g_input_stream_read_bytes_async (G_INPUT_STREAM (source), PIECE, G_PRIORITY_DEFAULT,
                                   g_task_get_cancellable (task), on_read, task);
}

/* Called: control. */
void
vhost_backend_real_load_state_async (VhostBackend *self, GInputStream *stream,
                                     GCancellable *cancellable, GAsyncReadyCallback callback,
                                     gpointer user_data)
{
  GTask *task = g_task_new (self, cancellable, callback, user_data);

  g_task_set_source_tag (task, vhost_backend_real_load_state_async);
  if (VHOST_BACKEND_GET_CLASS (self)->set_state == NULL)
    {
      return_failure (task, "set_state", NULL);
      g_object_unref (task);
      return;
    }
  g_task_set_task_data (task, g_byte_array_new (), (GDestroyNotify) g_byte_array_unref);
  g_input_stream_read_bytes_async (stream, PIECE, G_PRIORITY_DEFAULT, cancellable, on_read, task);
}

/* Called: control. */
gboolean
vhost_backend_real_load_state_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

/* ---- For the session ---- */

typedef struct
{
  gboolean save;
  VhostBackendTransferred done;
  gpointer data;
} Transfer;

/* Thread: control. */
static void
on_transferred (GObject *source, GAsyncResult *result, gpointer data)
{
  VhostBackend *self = VHOST_BACKEND (source);
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (self);
  g_autofree Transfer *transfer = data;
  g_autoptr (GError) local_error = NULL;
  g_autoptr (GError) error = NULL;
  gboolean good = transfer->save ? klass->save_state_finish (self, result, &local_error)
                                 : klass->load_state_finish (self, result, &local_error);

  priv->transferring = FALSE;
  g_clear_object (&priv->transfer_cancellable);
  if (!good || local_error != NULL)
    vhost_backend_propagate_failure (self, transfer->save ? "save_state" : "load_state",
                                     g_steal_pointer (&local_error), &error);
  transfer->done (error, transfer->data);
}

/* NULL: not now, and @done has heard of it. */
static Transfer *
begin_transfer (VhostBackend *self, gboolean save, VhostBackendTransferred done, gpointer data)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  Transfer *transfer;

  if (priv->transferring)
    {
      g_autoptr (GError) error
          = g_error_new (VHOST_ERROR, VHOST_ERROR_BUSY,
                         "the device still saves or loads its state, which was cancelled");

      done (error, data);
      return NULL;
    }
  priv->transferring = TRUE;
  priv->transfer_cancellable = g_cancellable_new ();
  transfer = g_new0 (Transfer, 1);
  *transfer = (Transfer){ save, done, data };
  return transfer;
}

void
vhost_backend_save_state (VhostBackend *self, GOutputStream *stream, VhostBackendTransferred done,
                          gpointer data)
{
  Transfer *transfer = begin_transfer (self, TRUE, done, data);
  g_autoptr (GCancellable) cancellable = NULL;

  if (transfer == NULL)
    return;
  cancellable = g_object_ref (vhost_backend_get_private (self)->transfer_cancellable);
  VHOST_BACKEND_GET_CLASS (self)->save_state_async (self, stream, cancellable, on_transferred,
                                                    transfer);
}

void
vhost_backend_load_state (VhostBackend *self, GInputStream *stream, VhostBackendTransferred done,
                          gpointer data)
{
  Transfer *transfer = begin_transfer (self, FALSE, done, data);
  g_autoptr (GCancellable) cancellable = NULL;

  if (transfer == NULL)
    return;
  cancellable = g_object_ref (vhost_backend_get_private (self)->transfer_cancellable);
  VHOST_BACKEND_GET_CLASS (self)->load_state_async (self, stream, cancellable, on_transferred,
                                                    transfer);
}

void
vhost_backend_cancel_transfer (VhostBackend *self)
{
  GCancellable *cancellable = vhost_backend_get_private (self)->transfer_cancellable;

  if (cancellable != NULL)
    g_cancellable_cancel (cancellable);
}
