/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that only some kinds of device know: network, crypto, display. Must not call a function
 * that the class does not have; the session asks before it offers. What there is says the device
 * behind all filters, the call goes through them. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

/* VIRTIO 1.3, section 5.1.4.1 */
#define MTU_MIN 68
#define MTU_MAX 65535

static VhostBackendClass *
get_device_class (VhostBackend *self)
{
  return VHOST_BACKEND_GET_CLASS (vhost_backend_get_device (self));
}

static gboolean
refuse_missing (VhostBackend *self, const char *what, GError **error)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "the %s device does not know %s",
               vhost_backend_get_device_name (self), what);
  return FALSE;
}

gboolean
vhost_backend_has_announce (VhostBackend *self)
{
  return get_device_class (self)->announce != NULL;
}

gboolean
vhost_backend_announce (VhostBackend *self, const guint8 mac[6], GError **error)
{
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (self);
  g_autoptr (GBytes) bytes = NULL;
  GError *local_error = NULL;

  if (!vhost_backend_has_announce (self))
    return refuse_missing (self, "SEND_RARP", error);
  bytes = g_bytes_new (mac, 6);
  if (klass->announce (self, bytes, &local_error) && local_error == NULL)
    return TRUE;
  vhost_backend_propagate_failure (self, "announce", local_error, error);
  return FALSE;
}

gboolean
vhost_backend_has_mtu (VhostBackend *self)
{
  return get_device_class (self)->set_mtu != NULL;
}

gboolean
vhost_backend_set_mtu (VhostBackend *self, guint64 mtu, GError **error)
{
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (self);
  GError *local_error = NULL;

  if (!vhost_backend_has_mtu (self))
    return refuse_missing (self, "NET_SET_MTU", error);
  if (mtu < MTU_MIN || mtu > MTU_MAX)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "an MTU of %" G_GUINT64_FORMAT " bytes cannot be: it is %d to %d", mtu, MTU_MIN,
                   MTU_MAX);
      return FALSE;
    }
  if (klass->set_mtu (self, (guint) mtu, &local_error) && local_error == NULL)
    return TRUE;
  vhost_backend_propagate_failure (self, "set_mtu", local_error, error);
  return FALSE;
}

gboolean
vhost_backend_has_crypto (VhostBackend *self)
{
  VhostBackendClass *klass = get_device_class (self);

  return klass->create_crypto_session != NULL && klass->close_crypto_session != NULL;
}

gboolean
vhost_backend_create_crypto_session (VhostBackend *self, GBytes *description, gint64 *id,
                                     GError **error)
{
  GError *local_error = NULL;

  if (!vhost_backend_has_crypto (self))
    return refuse_missing (self, "CREATE_CRYPTO_SESSION", error);
  *id = VHOST_BACKEND_GET_CLASS (self)->create_crypto_session (self, description, &local_error);
  if (local_error == NULL && *id >= 0)
    return TRUE;
  vhost_backend_propagate_failure (self, "create_crypto_session", local_error, error);
  return FALSE;
}

gboolean
vhost_backend_close_crypto_session (VhostBackend *self, guint64 id, GError **error)
{
  GError *local_error = NULL;

  if (!vhost_backend_has_crypto (self))
    return refuse_missing (self, "CLOSE_CRYPTO_SESSION", error);
  if (id > G_MAXINT64)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no crypto session %" G_GINT64_FORMAT, (gint64) id);
      return FALSE;
    }
  if (VHOST_BACKEND_GET_CLASS (self)->close_crypto_session (self, (gint64) id, &local_error)
      && local_error == NULL)
    return TRUE;
  vhost_backend_propagate_failure (self, "close_crypto_session", local_error, error);
  return FALSE;
}

gboolean
vhost_backend_set_gpu_socket_take_fd (VhostBackend *self, int fd, GError **error)
{
  if (get_device_class (self)->set_gpu_socket == NULL)
    {
      vhost_fd_discard (&fd);
      return refuse_missing (self, "GPU_SET_SOCKET", error);
    }
  VHOST_BACKEND_GET_CLASS (self)->set_gpu_socket (self, fd);
  return TRUE;
}
