/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's words with particular devices: network, graphics, crypto, and those with shared
 * objects or shared memory. Must not know what they are for. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <string.h>

#define UUID_SIZE 16
#define SHMEM_HEADER 8

/**
 * vhost_frontend_send_rarp:
 * @self: a negotiated front-end
 * @mac: (array fixed-size=6): a MAC address
 * @error: return location for an error
 *
 * Makes a network back-end announce an address, as after a migration.
 *
 * Thread: control. Specification: SEND_RARP.
 *
 * Returns: %TRUE on success, as far as REPLY_ACK tells, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_send_rarp (VhostFrontend *self, const guint8 mac[6], GError **error)
{
  guint8 payload[8] = { 0 };

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (mac != NULL, FALSE);

  memcpy (payload, mac, 6);
  return vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_RARP, VHOST_WIRE_SEND_RARP,
                                            error)
         && vhost_frontend_set (self, VHOST_WIRE_SEND_RARP, payload, sizeof payload, NULL, 0, error,
                                "a MAC address");
}

/**
 * vhost_frontend_set_mtu:
 * @self: a negotiated front-end
 * @mtu: bytes
 * @error: return location for an error
 *
 * Tells a network back-end the largest packet.
 *
 * Thread: control. Specification: NET_SET_MTU.
 *
 * Returns: %TRUE on success, as far as REPLY_ACK tells, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_set_mtu (VhostFrontend *self, guint mtu, GError **error)
{
  const guint64 payload = mtu;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  return vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_NET_MTU,
                                            VHOST_WIRE_NET_SET_MTU, error)
         && vhost_frontend_set (self, VHOST_WIRE_NET_SET_MTU, &payload, sizeof payload, NULL, 0,
                                error, "%u bytes", mtu);
}

/**
 * vhost_frontend_get_shared_object:
 * @self: a negotiated front-end
 * @uuid: (array fixed-size=16): the object's name
 * @error: return location for an error
 *
 * Asks the back-end for the dma-buf of an object that it shares.
 *
 * Thread: control. Specification: GET_SHARED_OBJECT.
 *
 * Returns: the descriptor, which is the caller's; -1 with #VHOST_ERROR_REFUSED when there is no
 * such object, or another error
 *
 * Since: 0.1
 */
int
vhost_frontend_get_shared_object (VhostFrontend *self, const guint8 uuid[16], GError **error)
{
  VhostMessage *answer;
  int fd;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);
  g_return_val_if_fail (uuid != NULL, -1);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_SHARED_OBJECT,
                                          VHOST_WIRE_GET_SHARED_OBJECT, error)
      || !vhost_frontend_get (self, VHOST_WIRE_GET_SHARED_OBJECT, uuid, UUID_SIZE, &answer, error))
    return -1;
  fd = vhost_message_steal_fd (answer, 0);
  if (fd < 0)
    g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                         "the back-end answered GET_SHARED_OBJECT without a descriptor: it has no "
                         "such object");
  return fd;
}

/**
 * vhost_frontend_get_shmem_config: (skip)
 * @self: a negotiated front-end
 * @sizes: (out caller-allocates) (array fixed-size=256): bytes of each shared memory region; 0:
 * there is none
 * @n_regions: (out) (optional): how many there are, by the back-end's own count
 * @error: return location for an error
 *
 * Asks for the device's shared memory regions.
 *
 * Thread: control. Specification: GET_SHMEM_CONFIG.
 *
 * Returns: %TRUE on success, or failure with a %VHOST_ERROR: of the connection, or what the other
 * end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_get_shmem_config (VhostFrontend *self, guint64 sizes[256], guint *n_regions,
                                 GError **error)
{
  const gsize size = SHMEM_HEADER + 256 * sizeof (guint64);
  VhostMessage *answer;
  guint32 n;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (sizes != NULL, FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_SHMEM_MAP,
                                          VHOST_WIRE_GET_SHMEM_CONFIG, error)
      || !vhost_frontend_get (self, VHOST_WIRE_GET_SHMEM_CONFIG, NULL, 0, &answer, error))
    return FALSE;
  if (answer->header.size != size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_SHMEM_CONFIG has %u bytes; it must have %" G_GSIZE_FORMAT,
                   answer->header.size, size);
      return FALSE;
    }
  memcpy (&n, answer->payload.bytes, sizeof n);
  memcpy (sizes, answer->payload.bytes + SHMEM_HEADER, 256 * sizeof (guint64));
  if (n_regions != NULL)
    *n_regions = n;
  return TRUE;
}

/**
 * vhost_frontend_set_gpu_socket:
 * @self: a negotiated front-end
 * @fd: a socket; the back-end gets a copy
 * @error: return location for an error
 *
 * Gives a graphics back-end the socket for its display.
 *
 * Thread: control. Specification: GPU_SET_SOCKET.
 *
 * Returns: %TRUE on success, as far as REPLY_ACK tells, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_set_gpu_socket (VhostFrontend *self, int fd, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  return vhost_frontend_set (self, VHOST_WIRE_GPU_SET_SOCKET, NULL, 0, &fd, 1, error, "one socket");
}

/**
 * vhost_frontend_create_crypto_session:
 * @self: a negotiated front-end
 * @session: the description; the specification does not say how it looks
 * @error: return location for an error
 *
 * Opens a session of a crypto device.
 *
 * Thread: control. Specification: CREATE_CRYPTO_SESSION.
 *
 * Returns: (transfer full): the answer as it came, with the session's number in it, or %NULL, or
 * failure with a %VHOST_ERROR: of the connection, or what the other end refused
 *
 * Since: 0.1
 */
GBytes *
vhost_frontend_create_crypto_session (VhostFrontend *self, GBytes *session, GError **error)
{
  VhostMessage *answer;
  gconstpointer data;
  gsize size;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);
  g_return_val_if_fail (session != NULL, NULL);

  data = g_bytes_get_data (session, &size);
  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_CRYPTO_SESSION,
                                          VHOST_WIRE_CREATE_CRYPTO_SESSION, error)
      || !vhost_frontend_get (self, VHOST_WIRE_CREATE_CRYPTO_SESSION, data, size, &answer, error))
    return NULL;
  return g_bytes_new (answer->payload.bytes, answer->header.size);
}

/**
 * vhost_frontend_close_crypto_session:
 * @self: a negotiated front-end
 * @id: the session's number
 * @error: return location for an error
 *
 * Closes a session of a crypto device.
 *
 * Thread: control. Specification: CLOSE_CRYPTO_SESSION.
 *
 * Returns: %TRUE on success, as far as REPLY_ACK tells, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_close_crypto_session (VhostFrontend *self, guint64 id, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  return vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_CRYPTO_SESSION,
                                            VHOST_WIRE_CLOSE_CRYPTO_SESSION, error)
         && vhost_frontend_set (self, VHOST_WIRE_CLOSE_CRYPTO_SESSION, &id, sizeof id, NULL, 0,
                                error, "session %" G_GUINT64_FORMAT, id);
}
