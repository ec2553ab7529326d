/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared objects: buffers that one device exports and another imports, by UUID (virtio-dmabuf).
 * Must not know how a request travels.
 *
 * How it works: the front-end only knows which device has an object; the descriptors stand in a
 * table here (B3), and the front-end asks for one when another device looks it up. The table is
 * the device's: its filters have none of their own. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

/* The text form, as the wire has it. */
static gboolean
parse_uuid (const char *text, VhostWireSharedObject *object)
{
  guint n = 0;

  if (!g_uuid_string_is_valid (text))
    return FALSE;
  for (; n < sizeof object->uuid; text++)
    {
      if (*text == '-')
        continue;
      object->uuid[n++]
          = (guint8) (g_ascii_xdigit_value (text[0]) * 16 + g_ascii_xdigit_value (text[1]));
      text++;
    }
  return TRUE;
}

static char *
format_uuid (const guint8 uuid[16])
{
  GString *text = g_string_sized_new (37);

  for (guint i = 0; i < 16; i++)
    g_string_append_printf (text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                            uuid[i]);
  return g_string_free (text, FALSE);
}

static void
close_value (gpointer value)
{
  int fd = GPOINTER_TO_INT (value);

  vhost_fd_clear (&fd);
}

static VhostBackendPrivate *
get_device_private (VhostBackend *self)
{
  return vhost_backend_get_private (vhost_backend_get_device (self));
}

static GHashTable *
get_table (VhostBackend *self)
{
  VhostBackendPrivate *priv = get_device_private (self);

  if (priv->objects == NULL)
    priv->objects = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, close_value);
  return priv->objects;
}

void
vhost_backend_forget_objects (VhostBackend *self)
{
  g_clear_pointer (&get_device_private (self)->objects, g_hash_table_unref);
}

gboolean
vhost_backend_has_shared_objects (VhostBackend *self)
{
  return get_device_private (self)->shared_objects;
}

/* Called: control. */
int
vhost_backend_real_get_shared_object (VhostBackend *self, const char *uuid, GError **error)
{
  gpointer value;
  int copy;

  if (!g_hash_table_lookup_extended (get_table (self), uuid, NULL, &value))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "there is no shared object %s", uuid);
      return -1;
    }
  copy = fcntl (GPOINTER_TO_INT (value), F_DUPFD_CLOEXEC, 3);
  if (copy < 0)
    {
      int errsv = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot duplicate the descriptor of shared object %s: %s", uuid,
                   g_strerror (errsv));
    }
  return copy;
}

int
vhost_backend_get_shared_object (VhostBackend *self, const guint8 uuid[16], GError **error)
{
  g_autofree char *text = format_uuid (uuid);
  GError *local_error = NULL;
  int fd = VHOST_BACKEND_GET_CLASS (self)->get_shared_object (self, text, &local_error);

  if (fd >= 0 && local_error == NULL)
    return fd;
  vhost_fd_clear (&fd);
  vhost_backend_propagate_failure (self, "get_shared_object", local_error, error);
  return -1;
}

/**
 * vhost_backend_set_shared_objects:
 * @self: a back-end
 * @shared_objects: whether the device exports or imports shared objects
 *
 * Has the feature offered to front-ends (vhost-user specification,
 * VHOST_USER_PROTOCOL_F_SHARED_OBJECT). To be called before the daemon starts.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_set_shared_objects (VhostBackend *self, gboolean shared_objects)
{
  g_return_if_fail (VHOST_IS_BACKEND (self));

  get_device_private (self)->shared_objects = shared_objects;
}

/* NULL: the task has ended. */
static VhostBackendRequest *
new_request (VhostBackend *self, const char *uuid, const char *name,
             VhostWireBackendRequest request, gpointer tag, GCancellable *cancellable,
             GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new (self, cancellable, callback, user_data);
  VhostWireSharedObject object;
  VhostBackendRequest *made;

  g_task_set_source_tag (task, tag);
  if (!parse_uuid (uuid, &object))
    {
      g_task_return_new_error (task, VHOST_ERROR, VHOST_ERROR_INVALID,
                               "\"%.64s\" is no UUID; it looks like "
                               "01234567-89ab-cdef-0123-456789abcdef",
                               uuid);
      g_object_unref (task);
      return NULL;
    }
  made = vhost_backend_request_new (task, name, request, &object, sizeof object, -1);
  if (made != NULL)
    g_task_set_task_data (task, format_uuid (object.uuid), g_free);
  return made;
}

static gboolean
add_ended (VhostBackend *self, VhostBackendRequest *request, const GError *error)
{
  if (error != NULL)
    g_hash_table_remove (get_table (self), g_task_get_task_data (request->task));
  return FALSE;
}

/**
 * vhost_backend_shared_object_add_async:
 * @self: a back-end
 * @uuid: the object's UUID in its text form
 * @fd: the object, a dma-buf as a rule; the back-end keeps a duplicate
 * @cancellable: (nullable): a way to give up
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Exports an object: other devices of the same guest can find it from now on (vhost-user
 * specification, VHOST_USER_BACKEND_SHARED_OBJECT_ADD). The front-end fetches the descriptor when
 * one of them asks. What was added is forgotten when the front-end disconnects.
 *
 * While all rings are stopped, nothing may be sent: the call waits for the first one to start.
 *
 * It fails with %VHOST_ERROR_DISCONNECTED without a front-end, %VHOST_ERROR_NOT_NEGOTIATED when the
 * front-end does not know shared objects, %VHOST_ERROR_BUSY when it has such an object from us
 * already or too many requests wait, and %VHOST_ERROR_REFUSED when it refuses.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_shared_object_add_async (VhostBackend *self, const char *uuid, int fd,
                                       GCancellable *cancellable, GAsyncReadyCallback callback,
                                       gpointer user_data)
{
  VhostBackendRequest *request;
  char *key;
  int copy;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (uuid != NULL);
  g_return_if_fail (fd >= 0);

  request = new_request (self, uuid, "SHARED_OBJECT_ADD", VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD,
                         vhost_backend_shared_object_add_async, cancellable, callback, user_data);
  if (request == NULL)
    return;
  key = g_task_get_task_data (request->task);
  if (g_hash_table_contains (get_table (self), key))
    {
      vhost_backend_request_refuse (request, VHOST_ERROR_BUSY,
                                    "shared object %s was added before; remove it first", key);
      return;
    }
  copy = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0)
    {
      vhost_backend_request_refuse (request, VHOST_ERROR_FAILED,
                                    "cannot duplicate the descriptor of shared object %s: %s", key,
                                    g_strerror (errno));
      return;
    }
  /* Before it goes out: another device may ask for it at once. */
  g_hash_table_insert (get_table (self), g_strdup (key), GINT_TO_POINTER (copy));
  request->ended = add_ended;
  vhost_backend_request_submit (request);
}

/* What all of these come to. */
static gboolean
finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}

/**
 * vhost_backend_shared_object_add_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_shared_object_add_async().
 *
 * Thread: control.
 *
 * Returns: whether the object can be found now, or failure with a %VHOST_ERROR: of the connection,
 * or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_backend_shared_object_add_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return finish (self, result, error);
}

/**
 * vhost_backend_shared_object_remove_async:
 * @self: a back-end
 * @uuid: the object's UUID
 * @cancellable: (nullable): a way to give up
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Takes back what vhost_backend_shared_object_add_async() has exported (vhost-user specification,
 * VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE). The descriptor is closed at once, whatever the
 * front-end says; devices that have imported the object keep theirs. Errors are those of adding.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_shared_object_remove_async (VhostBackend *self, const char *uuid,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data)
{
  VhostBackendRequest *request;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (uuid != NULL);

  request
      = new_request (self, uuid, "SHARED_OBJECT_REMOVE", VHOST_WIRE_BACKEND_SHARED_OBJECT_REMOVE,
                     vhost_backend_shared_object_remove_async, cancellable, callback, user_data);
  if (request == NULL)
    return;
  g_hash_table_remove (get_table (self), g_task_get_task_data (request->task));
  vhost_backend_request_submit (request);
}

/**
 * vhost_backend_shared_object_remove_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_shared_object_remove_async().
 *
 * Thread: control.
 *
 * Returns: whether the front-end has removed the object, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_backend_shared_object_remove_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return finish (self, result, error);
}

static gboolean
lookup_ended (VhostBackend *self, VhostBackendRequest *request, const GError *error)
{
  if (error != NULL)
    return FALSE;
  if (request->answer_fd < 0)
    g_task_return_new_error (request->task, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                             "the front-end found shared object %s, but sent no descriptor",
                             (const char *) g_task_get_task_data (request->task));
  else
    /* A descriptor that nobody fetches is closed. */
    g_task_return_pointer (request->task, GINT_TO_POINTER (g_steal_fd (&request->answer_fd)),
                           close_value);
  return TRUE;
}

/**
 * vhost_backend_shared_object_lookup_async:
 * @self: a back-end
 * @uuid: the object's UUID
 * @cancellable: (nullable): a way to give up
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Looks for an object that another device of the same guest exports (vhost-user specification,
 * VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP). Errors are those of adding; %VHOST_ERROR_REFUSED means
 * that there is no such object.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_shared_object_lookup_async (VhostBackend *self, const char *uuid,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data)
{
  VhostBackendRequest *request;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (uuid != NULL);

  request
      = new_request (self, uuid, "SHARED_OBJECT_LOOKUP", VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP,
                     vhost_backend_shared_object_lookup_async, cancellable, callback, user_data);
  if (request == NULL)
    return;
  request->ended = lookup_ended;
  vhost_backend_request_submit (request);
}

/**
 * vhost_backend_shared_object_lookup_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_shared_object_lookup_async().
 *
 * Thread: control.
 *
 * Returns: the object's descriptor, which is the caller's to close; -1 with an error
 *
 * Since: 0.1
 */
int
vhost_backend_shared_object_lookup_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  GError *local_error = NULL;
  gpointer value;

  g_return_val_if_fail (g_task_is_valid (result, self), -1);

  value = g_task_propagate_pointer (G_TASK (result), &local_error);
  if (local_error == NULL)
    return GPOINTER_TO_INT (value);
  g_propagate_error (error, local_error);
  return -1;
}
