/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared objects and shared memory regions as the front-end asks for them, and the way of the
 * device's own requests to the channel. Must not keep anything: the back-end does. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

VHOST_SESSION_HANDLER (get_shared_object)
{
  int fd;

  /* Some front-ends announce no payload, and the UUID stays behind. */
  if (self->current.size != sizeof message->payload.object)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "it came without the UUID of the object");
      return VHOST_SESSION_REFUSED;
    }
  fd = vhost_backend_get_shared_object (self->backend, message->payload.object.uuid, error);
  if (fd < 0)
    return VHOST_SESSION_REFUSED;
  vhost_session_reply_fd (self, NULL, 0, fd);
  vhost_fd_discard (&fd);
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (get_shmem_config)
{
  const guint64 *sizes = vhost_backend_get_shmem_sizes (self->backend);
  VhostWireShmemConfig config = { 0 };

  for (guint i = 0; sizes != NULL && i < VHOST_WIRE_SHMEM_REGIONS; i++)
    {
      config.sizes[i] = sizes[i];
      config.n_regions += sizes[i] > 0 ? 1 : 0; /* SH1 */
    }
  vhost_session_reply (self, &config, sizeof config);
  return VHOST_SESSION_REPLIED;
}

/* ---- VhostBackendPeer ---- */

/* Thread: control. */
gboolean
vhost_session_peer_takes (gpointer session, VhostWireBackendRequest request, gboolean with_fd,
                          GError **error)
{
  VhostSession *self = session;
  const VhostWireMessage *row = vhost_wire_lookup_backend (request);

  if (self->closing)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "%s cannot be sent: the session ends", row->name);
      return FALSE;
    }
  if (!vhost_session_has_protocol (self, row->protocol_bit))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "%s needs protocol feature %u (%s), which the front-end has not accepted",
                   row->name, row->protocol_bit, vhost_wire_protocol_bit_name (row->protocol_bit));
      return FALSE;
    }
  if (with_fd && !vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_BACKEND_SEND_FD))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "%s has a descriptor and needs protocol feature 10 (BACKEND_SEND_FD), which the "
                   "front-end has not accepted",
                   row->name);
      return FALSE;
    }
  if (self->backend_channel == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "%s cannot be sent: the front-end has given no channel for such requests",
                   row->name);
      return FALSE;
    }
  return TRUE;
}

/* Thread: control. */
guint
vhost_session_peer_send (gpointer session, VhostWireBackendRequest request, const void *payload,
                         guint32 size, int fd, VhostBackendAnswered done, gpointer data)
{
  VhostSession *self = session;

  return vhost_backend_channel_send (self->backend_channel, request, payload, size, &fd,
                                     fd >= 0 ? 1 : 0, done, data);
}

/* Thread: control. */
void
vhost_session_peer_cancel (gpointer session, guint id)
{
  VhostSession *self = session;

  if (self->backend_channel != NULL)
    vhost_backend_channel_cancel (self->backend_channel, id);
}
