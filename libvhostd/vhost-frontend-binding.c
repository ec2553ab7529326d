/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The front-end's functions with pointers once more, in forms that language bindings can use. Must
 * not do anything that the other files cannot. */
#include "config.h"

#include "vhost-frontend-private.h"

#define MAX_SHMEM_REGIONS 256

/**
 * vhost_frontend_connect_path:
 * @self: a front-end
 * @socket_path: (type filename): path of the back-end's Unix socket
 * @error: return location for an error
 *
 * Connects to a back-end that listens: vhost_frontend_connect () under a name that does not hide
 * the method for signals that objects of many languages have.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with the errors of vhost_frontend_connect ()
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_connect_path (VhostFrontend *self, const char *socket_path, GError **error)
{
  return vhost_frontend_connect (self, socket_path, error);
}

/**
 * vhost_frontend_receive_bytes:
 * @self: a front-end
 * @request: (out): message code
 * @flags: (out): header flags
 * @fds: (out) (array length=n_fds) (transfer full) (nullable): descriptors that came along, which
 * are the caller's
 * @n_fds: (out): how many
 * @error: return location for an error
 *
 * Waits for the next message from the back-end, at most #VhostFrontend:timeout.
 *
 * Thread: control.
 *
 * Returns: (transfer full): the payload; %NULL with #VHOST_ERROR_TIMED_OUT,
 * #VHOST_ERROR_DISCONNECTED or another error
 *
 * Since: 0.1
 */
GBytes *
vhost_frontend_receive_bytes (VhostFrontend *self, guint *request, guint *flags, int **fds,
                              guint *n_fds, GError **error)
{
  guint8 payload[VHOST_WIRE_MAX_PAYLOAD];
  gsize size = sizeof payload;
  int received[VHOST_WIRE_MAX_FDS];
  guint n = G_N_ELEMENTS (received);

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  *request = *flags = *n_fds = 0;
  *fds = NULL;
  if (!vhost_frontend_receive (self, request, flags, payload, &size, received, &n, error))
    return NULL;
  if (n > 0)
    *fds = g_memdup2 (received, n * sizeof *received);
  *n_fds = n;
  return g_bytes_new (payload, MIN (size, sizeof payload));
}

/**
 * vhost_frontend_find_memory:
 * @self: a front-end
 * @guest_address: a guest address
 * @start: (out): the guest address where its region begins
 * @size: (out): bytes of the region
 *
 * Finds the region of guest memory that an address lies in. The region is the whole of a file, see
 * vhost_frontend_get_memory_fd (); who maps it can keep it longer than the front-end does.
 *
 * Thread: any.
 *
 * Returns: %FALSE when there is none
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_find_memory (VhostFrontend *self, guint64 guest_address, guint64 *start,
                            guint64 *size)
{
  gboolean found = FALSE;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  *start = *size = 0;
  g_mutex_lock (&self->memory_lock);
  for (guint i = 0; i < self->regions->len && !found; i++)
    {
      const VhostFrontendRegion *region = g_ptr_array_index (self->regions, i);

      if (guest_address < region->guest_addr || guest_address - region->guest_addr >= region->size)
        continue;
      *start = region->guest_addr;
      *size = region->size;
      found = TRUE;
    }
  g_mutex_unlock (&self->memory_lock);
  return found;
}

/**
 * vhost_frontend_get_shmem_sizes:
 * @self: a negotiated front-end
 * @n_sizes: (out): how many sizes are returned, always 256
 * @error: return location for an error
 *
 * The sizes of the device's shared memory regions by their identifiers, as
 * vhost_frontend_get_shmem_config () has them; 0: there is none.
 *
 * Thread: control.
 *
 * Returns: (array length=n_sizes) (transfer full): the sizes; %NULL with
 * #VHOST_ERROR_NOT_NEGOTIATED (SHMEM) or another error
 *
 * Since: 0.1
 */
guint64 *
vhost_frontend_get_shmem_sizes (VhostFrontend *self, guint *n_sizes, GError **error)
{
  g_autofree guint64 *sizes = g_new0 (guint64, MAX_SHMEM_REGIONS);

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  *n_sizes = 0;
  if (!vhost_frontend_get_shmem_config (self, sizes, NULL, error))
    return NULL;
  *n_sizes = MAX_SHMEM_REGIONS;
  return g_steal_pointer (&sizes);
}
