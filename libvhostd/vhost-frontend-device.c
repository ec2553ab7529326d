/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's words with the device: configuration space, status, reset, limits and names of
 * features. Must not know the socket. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"

#include <string.h>

/**
 * vhost_frontend_get_max_queues:
 * @self: a front-end
 *
 * How many queues the back-end has, by GET_QUEUE_NUM; a network device counts pairs.
 *
 * Thread: control. Specification: "Multiple queue support".
 *
 * Returns: the answer, as it came; 1 without MQ
 *
 * Since: 0.1
 */
guint
vhost_frontend_get_max_queues (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->max_queues;
}

/**
 * vhost_frontend_get_max_memory_slots:
 * @self: a front-end
 *
 * How many memory regions the back-end takes, by GET_MAX_MEM_SLOTS.
 *
 * Thread: control.
 *
 * Returns: the answer, as it came; 8, SET_MEM_TABLE's limit, without CONFIGURE_MEM_SLOTS
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_max_memory_slots (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->max_memory_slots;
}

/**
 * vhost_frontend_protocol_feature_name:
 * @bit: a number from 0 to 63
 *
 * What people call a vhost-user protocol feature bit.
 *
 * Thread: any.
 *
 * Returns: (nullable): the specification's name, %NULL when it has none
 *
 * Since: 0.1
 */
const char *
vhost_frontend_protocol_feature_name (guint bit)
{
  return vhost_wire_protocol_bit_name (bit);
}

/**
 * vhost_frontend_feature_name:
 * @device: (nullable): a device type ("block", "net" ...), for the meaning of the bits that differ
 * @bit: a number from 0 to 63
 *
 * What people call a VIRTIO feature bit.
 *
 * Thread: any.
 *
 * Returns: (nullable): the specification's name, %NULL when it is unknown
 *
 * Since: 0.1
 */
const char *
vhost_frontend_feature_name (const char *device, guint bit)
{
  return vhost_wire_feature_bit_name (device, bit);
}

gboolean
vhost_frontend_check_protocol_bit (VhostFrontend *self, guint bit, guint32 request, GError **error)
{
  if (vhost_frontend_has_protocol_bit (self, bit))
    return TRUE;

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
               "%s needs protocol feature %u (%s), which was not negotiated",
               vhost_wire_name (request), bit, vhost_wire_protocol_bit_name (bit));
  return FALSE;
}

static gboolean
check_config_size (gsize size, GError **error)
{
  if (size >= 1 && size <= VHOST_WIRE_MAX_CONFIG)
    return TRUE;

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "%" G_GSIZE_FORMAT " bytes of configuration space: a message carries 1 to %u", size,
               VHOST_WIRE_MAX_CONFIG);
  return FALSE;
}

/**
 * vhost_frontend_get_config:
 * @self: a negotiated front-end
 * @offset: first byte
 * @size: bytes, 1 to 256
 * @error: return location for an error
 *
 * Reads the device's configuration space.
 *
 * Thread: control. Specification: GET_CONFIG.
 *
 * Returns: (transfer full): @size bytes, or %NULL with #VHOST_ERROR_REFUSED,
 * #VHOST_ERROR_NOT_NEGOTIATED (CONFIG) ...
 *
 * Since: 0.1
 */
GBytes *
vhost_frontend_get_config (VhostFrontend *self, guint offset, guint size, GError **error)
{
  VhostWireConfig message = { .offset = offset, .size = size };
  VhostMessage *answer;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIG, VHOST_WIRE_GET_CONFIG,
                                          error)
      || !check_config_size (size, error)
      || !vhost_frontend_get (self, VHOST_WIRE_GET_CONFIG, &message,
                              VHOST_WIRE_CONFIG_HEADER + size, &answer, error))
    return NULL;

  /* An error is a payload of size 0 in the header, or, with some back-ends, in the payload's own
   * size field. */
  if (answer->header.size == 0
      || (answer->header.size == VHOST_WIRE_CONFIG_HEADER && answer->payload.config.size == 0))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "the back-end refused GET_CONFIG (%u bytes at %u)", size, offset);
      return NULL;
    }
  if (answer->header.size != VHOST_WIRE_CONFIG_HEADER + size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_CONFIG has %u bytes; it must have %u", answer->header.size,
                   VHOST_WIRE_CONFIG_HEADER + size);
      return NULL;
    }
  return g_bytes_new (answer->payload.config.data, size);
}

/**
 * vhost_frontend_set_config:
 * @self: a negotiated front-end
 * @offset: first byte
 * @data: 1 to 256 bytes
 * @flags: 0 for the driver's write, 1 for one of a live migration
 * @error: return location for an error
 *
 * Writes the device's configuration space.
 *
 * Thread: control. Specification: SET_CONFIG.
 *
 * Returns: %TRUE on success, as far as REPLY_ACK tells, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_set_config (VhostFrontend *self, guint offset, GBytes *data, guint flags,
                           GError **error)
{
  VhostWireConfig message = { .offset = offset, .flags = flags };
  gsize size;
  gconstpointer bytes;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (data != NULL, FALSE);

  bytes = g_bytes_get_data (data, &size);
  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIG, VHOST_WIRE_SET_CONFIG,
                                          error)
      || !check_config_size (size, error))
    return FALSE;
  message.size = (guint32) size;
  memcpy (message.data, bytes, size);
  return vhost_frontend_set (self, VHOST_WIRE_SET_CONFIG, &message, VHOST_WIRE_CONFIG_HEADER + size,
                             NULL, 0, error, "%u bytes at %u, flags 0x%x", message.size, offset,
                             flags);
}

/**
 * vhost_frontend_set_status:
 * @self: a negotiated front-end
 * @status: VIRTIO device status; a byte, but larger numbers go out as they are
 * @error: return location for an error
 *
 * Tells the back-end the device status.
 *
 * Thread: control. Specification: SET_STATUS.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED (STATUS) or another error
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_set_status (VhostFrontend *self, guint status, GError **error)
{
  const guint64 value = status;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_STATUS, VHOST_WIRE_SET_STATUS,
                                          error)
      || !vhost_frontend_set (self, VHOST_WIRE_SET_STATUS, &value, sizeof value, NULL, 0, error,
                              "0x%x", status))
    return FALSE;
  /* For a back-end that takes over. */
  self->session_status = (int) MIN (status, G_MAXINT);
  return TRUE;
}

/**
 * vhost_frontend_get_status:
 * @self: a negotiated front-end
 * @status: (out): VIRTIO device status
 * @error: return location for an error
 *
 * Asks the back-end for the device status.
 *
 * Thread: control. Specification: GET_STATUS.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED (STATUS) or another error
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_get_status (VhostFrontend *self, guint *status, GError **error)
{
  guint64 value;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (status != NULL, FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_STATUS, VHOST_WIRE_GET_STATUS,
                                          error)
      || !vhost_frontend_get_u64 (self, VHOST_WIRE_GET_STATUS, &value, error))
    return FALSE;
  if (value > 0xff)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the back-end answered GET_STATUS with 0x%" G_GINT64_MODIFIER
                   "x; a status has 8 bits",
                   value);
      return FALSE;
    }
  *status = (guint) value;
  return TRUE;
}

/**
 * vhost_frontend_reset_device:
 * @self: a negotiated front-end
 * @error: return location for an error
 *
 * Resets the device: its rings are stopped and disabled, its internal state is the initial one.
 *
 * A queue goes on by vhost_frontend_stop_queue () and vhost_frontend_restart_queue ().
 *
 * Thread: control. Specification: RESET_DEVICE.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED (RESET_DEVICE) or another
 * error
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_reset_device (VhostFrontend *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  return vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_RESET_DEVICE,
                                            VHOST_WIRE_RESET_DEVICE, error)
         && vhost_frontend_set (self, VHOST_WIRE_RESET_DEVICE, NULL, 0, NULL, 0, error,
                                "no arguments");
}
