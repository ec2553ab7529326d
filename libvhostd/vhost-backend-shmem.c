/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of the device's own the guest can map: VIRTIO shared memory regions, and host notifiers.
 * Must not know how a request travels.
 *
 * How it works: the front-end has the regions' place and does the mapping. The back-end remembers
 * what it has asked for, so that a mistake is refused here, with a word on what it was, and so that
 * nothing is unmapped that a reset has dropped (SH3). A range is taken as soon as its request is
 * made. One that was cancelled on its way may or may not be mapped: it stays taken. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include <unistd.h>

#include "vhost-error.h"

typedef struct
{
  guint8 shmid;
  guint64 offset;
  guint64 length;
} Mapping;

/* Of a filter: that of the device behind it. */
static VhostBackendPrivate *
get_device_private (VhostBackend *self)
{
  return vhost_backend_get_private (vhost_backend_get_device (self));
}

static guint64
page_size (void)
{
  return (guint64) sysconf (_SC_PAGESIZE);
}

const guint64 *
vhost_backend_get_shmem_sizes (VhostBackend *self)
{
  return get_device_private (self)->shmem_sizes;
}

void
vhost_backend_forget_mappings (VhostBackend *self)
{
  VhostBackendPrivate *priv = get_device_private (self);

  priv->n_resets++;
  g_clear_pointer (&priv->mappings, g_array_unref);
}

gboolean
vhost_backend_has_host_notifiers (VhostBackend *self)
{
  return get_device_private (self)->host_notifiers;
}

/**
 * vhost_backend_set_shmem_region:
 * @self: a back-end
 * @id: number of the region, 0 to 255, as the device's specification has it
 * @size: in bytes, a multiple of the page size; 0: there is no such region
 * @error: return location for an error, or %NULL
 *
 * Declares a VIRTIO shared memory region (vhost-user specification, VHOST_USER_GET_SHMEM_CONFIG).
 * A front-end may rely on them while it is connected, so they cannot change then.
 *
 * Thread: control.
 *
 * Returns: %TRUE when it is declared; %FALSE with %VHOST_ERROR_INVALID, or %VHOST_ERROR_BUSY while
 * a front-end is connected
 *
 * Since: 0.1
 */
gboolean
vhost_backend_set_shmem_region (VhostBackend *self, guint id, guint64 size, GError **error)
{
  VhostBackendPrivate *priv;
  gboolean any = FALSE;

  g_return_val_if_fail (VHOST_IS_BACKEND (self), FALSE);

  priv = get_device_private (self);
  if (id >= VHOST_WIRE_SHMEM_REGIONS || size % page_size () != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "shared memory region %u cannot have %" G_GUINT64_FORMAT
                   " bytes: the number is 0 to %d, the size a multiple of %" G_GUINT64_FORMAT,
                   id, size, VHOST_WIRE_SHMEM_REGIONS - 1, page_size ());
      return FALSE;
    }
  if (priv->peer != NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "shared memory region %u cannot change while a front-end is connected", id);
      return FALSE;
    }
  if (priv->shmem_sizes == NULL)
    priv->shmem_sizes = g_new0 (guint64, VHOST_WIRE_SHMEM_REGIONS);
  priv->shmem_sizes[id] = size;
  for (guint i = 0; i < VHOST_WIRE_SHMEM_REGIONS; i++)
    any |= priv->shmem_sizes[i] > 0;
  if (!any)
    g_clear_pointer (&priv->shmem_sizes, g_free);
  return TRUE;
}

/* ---- Mappings ---- */

/* The mapping that overlaps, or, when @exact, is this range; -1: none. */
static int
find_mapping (VhostBackendPrivate *priv, const VhostWireMmap *range, gboolean exact)
{
  for (guint i = 0; priv->mappings != NULL && i < priv->mappings->len; i++)
    {
      const Mapping *mapping = &g_array_index (priv->mappings, Mapping, i);

      if (mapping->shmid != range->shmid)
        continue;
      if (exact ? mapping->offset == range->shm_offset && mapping->length == range->length
                : mapping->offset < range->shm_offset + range->length
                      && range->shm_offset < mapping->offset + mapping->length)
        return (int) i;
    }
  return -1;
}

static void
remove_mapping (VhostBackendPrivate *priv, const VhostWireMmap *range)
{
  int index = find_mapping (priv, range, TRUE);

  if (index >= 0)
    g_array_remove_index_fast (priv->mappings, (guint) index);
}

/* Whether the range can be mapped at all: nothing of it wraps around then. */
static gboolean
check_range (VhostBackendPrivate *priv, guint id, guint64 offset, guint64 fd_offset, guint64 length)
{
  guint64 size
      = priv->shmem_sizes != NULL && id < VHOST_WIRE_SHMEM_REGIONS ? priv->shmem_sizes[id] : 0;

  return length > 0 && offset <= size && length <= size - offset && offset % page_size () == 0
         && length % page_size () == 0 && fd_offset % page_size () == 0
         && fd_offset <= G_MAXINT64 - length;
}

/* NULL: the task has ended. */
static VhostBackendRequest *
new_request (VhostBackend *self, const char *name, VhostWireBackendRequest request, guint id,
             const VhostWireMmap *range, int fd, gpointer tag, GCancellable *cancellable,
             GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task = g_task_new (self, cancellable, callback, user_data);

  g_task_set_source_tag (task, tag);
  if (!check_range (get_device_private (self), id, range->shm_offset, range->fd_offset,
                    range->length))
    {
      g_task_return_new_error (task, VHOST_ERROR, VHOST_ERROR_INVALID,
                               "%s: %" G_GUINT64_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                               "x of shared memory region %u (file offset 0x%" G_GINT64_MODIFIER
                               "x) are not whole pages within the region",
                               name, range->length, range->shm_offset, id, range->fd_offset);
      g_object_unref (task);
      return NULL;
    }
  return vhost_backend_request_new (task, name, request, range, sizeof *range, fd);
}

static gboolean
map_ended (VhostBackend *self, VhostBackendRequest *request, const GError *error)
{
  VhostBackendPrivate *priv = get_device_private (self);

  if (request->n_resets != priv->n_resets)
    {
      if (error != NULL)
        return FALSE;
      g_task_return_new_error (request->task, VHOST_ERROR, VHOST_ERROR_FAILED,
                               "the device was reset, which has dropped the mapping");
      return TRUE;
    }
  if (error != NULL
      && !(request->is_out && g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)))
    remove_mapping (priv, &request->payload.mmap);
  return FALSE;
}

/**
 * vhost_backend_map_shmem_async:
 * @self: a back-end
 * @id: number of the shared memory region
 * @offset: where in the region, in bytes
 * @fd: the file; the back-end needs it no longer than this call
 * @fd_offset: where in the file
 * @length: how many bytes
 * @writable: whether the guest may write there
 * @cancellable: (nullable): a way to give up; a mapping whose request has gone out may exist then,
 *   and can be unmapped
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Maps a part of a file into the guest (vhost-user specification, VHOST_USER_BACKEND_SHMEM_MAP).
 * Offsets and length are multiples of the page size; the range must be free. A reset of the device
 * drops all mappings.
 *
 * While all rings are stopped, nothing may be sent: the call waits for the first one to start.
 *
 * It fails with %VHOST_ERROR_DISCONNECTED without a front-end, %VHOST_ERROR_NOT_NEGOTIATED when the
 * front-end does not know such mappings, %VHOST_ERROR_INVALID when the range is wrong,
 * %VHOST_ERROR_BUSY when it is taken or too many requests wait, and %VHOST_ERROR_REFUSED when the
 * front-end refuses.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_map_shmem_async (VhostBackend *self, guint id, guint64 offset, int fd,
                               guint64 fd_offset, guint64 length, gboolean writable,
                               GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data)
{
  VhostWireMmap range = {
    .shmid = (guint8) id,
    .fd_offset = fd_offset,
    .shm_offset = offset,
    .length = length,
    .flags = writable ? VHOST_WIRE_MMAP_WRITABLE : 0,
  };
  Mapping mapping = { (guint8) id, offset, length };
  VhostBackendRequest *request;
  VhostBackendPrivate *priv;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (fd >= 0);

  request = new_request (self, "SHMEM_MAP", VHOST_WIRE_BACKEND_SHMEM_MAP, id, &range, fd,
                         vhost_backend_map_shmem_async, cancellable, callback, user_data);
  if (request == NULL)
    return;
  priv = get_device_private (self);
  if (find_mapping (priv, &range, FALSE) >= 0) /* SH2 */
    {
      vhost_backend_request_refuse (
          request, VHOST_ERROR_BUSY,
          "a part of the %" G_GUINT64_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
          "x of shared memory region %u is mapped already; unmap it first",
          length, offset, id);
      return;
    }
  if (priv->mappings == NULL)
    priv->mappings = g_array_new (FALSE, FALSE, sizeof (Mapping));
  g_array_append_val (priv->mappings, mapping);
  request->ended = map_ended;
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
 * vhost_backend_map_shmem_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_map_shmem_async().
 *
 * Thread: control.
 *
 * Returns: whether the guest has the mapping, or failure with a %VHOST_ERROR: of the connection,
 * or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_backend_map_shmem_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return finish (self, result, error);
}

static gboolean
unmap_ended (VhostBackend *self, VhostBackendRequest *request, const GError *error)
{
  VhostBackendPrivate *priv = get_device_private (self);

  if (error == NULL && request->n_resets == priv->n_resets)
    remove_mapping (priv, &request->payload.mmap);
  return FALSE;
}

/**
 * vhost_backend_unmap_shmem_async:
 * @self: a back-end
 * @id: number of the shared memory region
 * @offset: where in the region, in bytes
 * @length: how many bytes
 * @cancellable: (nullable): a way to give up
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Takes a mapping away from the guest, a whole one (vhost-user specification,
 * VHOST_USER_BACKEND_SHMEM_UNMAP). Errors are those of mapping; a range that is no mapping, for
 * example because the device was reset, is %VHOST_ERROR_INVALID.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_unmap_shmem_async (VhostBackend *self, guint id, guint64 offset, guint64 length,
                                 GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data)
{
  VhostWireMmap range = { .shmid = (guint8) id, .shm_offset = offset, .length = length };
  VhostBackendRequest *request;

  g_return_if_fail (VHOST_IS_BACKEND (self));

  request = new_request (self, "SHMEM_UNMAP", VHOST_WIRE_BACKEND_SHMEM_UNMAP, id, &range, -1,
                         vhost_backend_unmap_shmem_async, cancellable, callback, user_data);
  if (request == NULL)
    return;
  if (find_mapping (get_device_private (self), &range, TRUE) < 0) /* SH2 */
    {
      vhost_backend_request_refuse (request, VHOST_ERROR_INVALID,
                                    "the %" G_GUINT64_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                                    "x of shared memory region %u are no mapping",
                                    length, offset, id);
      return;
    }
  request->ended = unmap_ended;
  vhost_backend_request_submit (request);
}

/**
 * vhost_backend_unmap_shmem_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_unmap_shmem_async().
 *
 * Thread: control.
 *
 * Returns: whether the mapping is gone, or failure with a %VHOST_ERROR: of the connection, or what
 * the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_backend_unmap_shmem_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return finish (self, result, error);
}

/* ---- Host notifiers ---- */

/**
 * vhost_backend_set_host_notifiers:
 * @self: a back-end
 * @host_notifiers: whether the device has host notifiers
 *
 * Has the feature offered to front-ends (vhost-user specification,
 * VHOST_USER_PROTOCOL_F_HOST_NOTIFIER). To be called before the daemon starts.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_set_host_notifiers (VhostBackend *self, gboolean host_notifiers)
{
  g_return_if_fail (VHOST_IS_BACKEND (self));

  get_device_private (self)->host_notifiers = host_notifiers;
}

/**
 * vhost_backend_set_host_notifier_async:
 * @self: a back-end
 * @queue: number of the queue
 * @fd: a descriptor that can be mapped, or -1 to take the notifier away; the back-end needs it no
 *   longer than this call
 * @offset: where in @fd the notifier's page is
 * @cancellable: (nullable): a way to give up
 * @callback: called when the front-end has answered
 * @user_data: for @callback
 *
 * Gives the guest a page of the device's own hardware to notify a queue with, which then costs no
 * exit to the host's software (vhost-user specification,
 * VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG). Errors are those of vhost_backend_map_shmem_async().
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_set_host_notifier_async (VhostBackend *self, guint queue, int fd, guint64 offset,
                                       GCancellable *cancellable, GAsyncReadyCallback callback,
                                       gpointer user_data)
{
  VhostWireVringArea area = {
    .index = queue | (fd < 0 ? VHOST_WIRE_VRING_NO_FD : 0),
    .size = page_size (),
    .offset = offset,
  };
  VhostBackendRequest *request;
  GTask *task;

  g_return_if_fail (VHOST_IS_BACKEND (self));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, vhost_backend_set_host_notifier_async);
  if (queue >= vhost_backend_get_num_queues (self) || offset % page_size () != 0)
    {
      g_task_return_new_error (task, VHOST_ERROR, VHOST_ERROR_INVALID,
                               "queue %u cannot have a notifier at offset 0x%" G_GINT64_MODIFIER
                               "x: the device has %u queues, and a notifier is a whole page",
                               queue, offset, vhost_backend_get_num_queues (self));
      g_object_unref (task);
      return;
    }
  request = vhost_backend_request_new (task, "VRING_HOST_NOTIFIER_MSG",
                                       VHOST_WIRE_BACKEND_VRING_HOST_NOTIFIER_MSG, &area,
                                       sizeof area, fd);
  if (request != NULL)
    vhost_backend_request_submit (request);
}

/**
 * vhost_backend_set_host_notifier_finish:
 * @self: a back-end
 * @result: what the callback was given
 * @error: return location for an error, or %NULL
 *
 * Ends vhost_backend_set_host_notifier_async().
 *
 * Thread: control.
 *
 * Returns: whether the front-end has set or removed the notifier, or failure with a %VHOST_ERROR:
 * of the connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_backend_set_host_notifier_finish (VhostBackend *self, GAsyncResult *result, GError **error)
{
  return finish (self, result, error);
}
