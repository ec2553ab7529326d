/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that only some kinds of device know, and which features a device has offered for it.
 * Must not offer what the back-end cannot do. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <string.h>

#define MOST_CRYPTO_SESSIONS 65536

guint64
vhost_session_get_device_protocol_bits (VhostSession *self)
{
  VhostBackend *backend = self->backend;
  guint64 bits = 0;
  gboolean sends_fds = FALSE;

  if (vhost_backend_has_announce (backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_RARP);
  if (vhost_backend_has_mtu (backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_NET_MTU);
  if (vhost_backend_has_crypto (backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CRYPTO_SESSION);
  if (vhost_backend_has_state (backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_DEVICE_STATE);
  if (vhost_session_can_postcopy (self))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_PAGEFAULT);
  if (vhost_backend_has_shared_objects (backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_SHARED_OBJECT);
  if (vhost_backend_has_host_notifiers (backend))
    {
      bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_HOST_NOTIFIER);
      sends_fds = TRUE;
    }
  if (vhost_backend_get_shmem_sizes (backend) != NULL)
    {
      bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_SHMEM_MAP);
      sends_fds = TRUE;
    }
  if (sends_fds)
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_BACKEND_SEND_FD);
  return bits;
}

/* The address is the first 6 bytes of the number, as it lies in memory. */
VHOST_SESSION_HANDLER (send_rarp)
{
  return vhost_backend_announce (self->backend, message->payload.bytes, error)
             ? VHOST_SESSION_DONE
             : VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (net_set_mtu)
{
  return vhost_backend_set_mtu (self->backend, message->payload.u64, error) ? VHOST_SESSION_DONE
                                                                            : VHOST_SESSION_REFUSED;
}

/* A front-end that goes does not close its crypto sessions: we do. */
static void
remember_crypto_session (VhostSession *self, gint64 id)
{
  if (self->crypto_sessions == NULL)
    self->crypto_sessions = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  g_hash_table_add (self->crypto_sessions, g_memdup2 (&id, sizeof id));
}

void
vhost_session_clear_crypto (VhostSession *self)
{
  g_autoptr (GHashTable) table = g_steal_pointer (&self->crypto_sessions);
  GHashTableIter iter;
  gpointer id;

  if (table == NULL)
    return;
  g_hash_table_iter_init (&iter, table);
  while (g_hash_table_iter_next (&iter, &id, NULL))
    {
      g_autoptr (GError) error = NULL;

      if (!vhost_backend_close_crypto_session (self->backend, (guint64) * (gint64 *) id, &error))
        vhost_debug (CONTROL, "%s: a crypto session that was left: %s", self->peer_label,
                     error->message);
    }
}

static gboolean
open_crypto_session (VhostSession *self, GBytes *description, gint64 *id, GError **error)
{
  if (self->crypto_sessions != NULL
      && g_hash_table_size (self->crypto_sessions) >= MOST_CRYPTO_SESSIONS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "%u are open, which is the most for one front-end: close some",
                   MOST_CRYPTO_SESSIONS);
      return FALSE;
    }
  if (!vhost_backend_create_crypto_session (self->backend, description, id, error))
    return FALSE;
  remember_crypto_session (self, *id);
  return TRUE;
}

/* The layout is between front-end and device, but for its first 8 bytes, where the answer has the
 * number of the session. A device that refuses says so there. */
VHOST_SESSION_HANDLER (create_crypto_session)
{
  g_autoptr (GBytes) description = g_bytes_new (message->payload.bytes, self->current.size);
  g_autoptr (GError) failure = NULL;
  gint64 id = -1;

  if (!open_crypto_session (self, description, &id, &failure))
    {
      vhost_debug (CONTROL, "%s: no crypto session: %s", self->peer_label, failure->message);
      id = -1;
    }
  memcpy (message->payload.bytes, &id, sizeof id);
  vhost_session_reply (self, message->payload.bytes, self->current.size);
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (close_crypto_session)
{
  gint64 id = (gint64) message->payload.u64;

  if (!vhost_backend_close_crypto_session (self->backend, message->payload.u64, error))
    return VHOST_SESSION_REFUSED;
  if (self->crypto_sessions != NULL)
    g_hash_table_remove (self->crypto_sessions, &id);
  return VHOST_SESSION_DONE;
}

VHOST_SESSION_HANDLER (gpu_set_socket)
{
  VhostFdKind kind = vhost_fd_get_kind (message->fds[0]);

  if (kind != VHOST_FD_SOCKET)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the descriptor for the display must be a socket; its kind is: %s",
                   vhost_fd_kind_to_string (kind));
      return VHOST_SESSION_REFUSED;
    }
  if (!vhost_session_check_socket (self, message->fds[0], error))
    return VHOST_SESSION_REFUSED;
  return vhost_backend_set_gpu_socket_take_fd (self->backend, vhost_message_steal_fd (message, 0),
                                               error)
             ? VHOST_SESSION_DONE
             : VHOST_SESSION_REFUSED;
}
