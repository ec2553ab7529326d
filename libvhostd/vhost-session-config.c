/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What front-end and device agree on: features, configuration space, status, reset, and the way
 * back to the front-end. Must not send anything unasked while all rings are stopped (S3). */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- Negotiation ---- */

gboolean
vhost_session_check_gates (VhostSession *self, const VhostWireMessage *row, guint32 request,
                           GError **error)
{
  if (row->unsupported)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "%s belongs to a feature that is not offered here", row->name);
      return FALSE;
    }
  if (row->protocol_bit != VHOST_WIRE_NO_GATE
      && !vhost_session_has_protocol (self, row->protocol_bit))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "%s needs protocol feature %u (%s), which the front-end has not accepted",
                   row->name, row->protocol_bit, vhost_wire_protocol_bit_name (row->protocol_bit));
      return FALSE;
    }
  /* QEMU's network cards enable their rings before they set features (R17). */
  if (request == VHOST_WIRE_SET_VRING_ENABLE && !self->have_features)
    return TRUE;
  /* N1: an offered bit 30 is enough for 15 and 16; every session offers it. */
  if (row->feature_bit != VHOST_WIRE_NO_GATE && request != VHOST_WIRE_GET_PROTOCOL_FEATURES
      && request != VHOST_WIRE_SET_PROTOCOL_FEATURES
      && (self->features & VHOST_WIRE_BIT (row->feature_bit)) == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "%s needs feature bit %u, which the front-end has not accepted", row->name,
                   row->feature_bit);
      return FALSE;
    }
  return TRUE;
}

/* What the library does for every device. ACCESS_PLATFORM needs the protocol bits BACKEND_REQ and
 * REPLY_ACK beside it (I7), which every session offers. */
#define TRANSPORT_FEATURES                                                                         \
  (VHOST_WIRE_BIT (VHOST_WIRE_F_NOTIFY_ON_EMPTY) | VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL)           \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_INDIRECT_DESC)                                              \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_EVENT_IDX) | VHOST_WIRE_BIT (VHOST_WIRE_F_ACCESS_PLATFORM)  \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED) | VHOST_WIRE_BIT (VHOST_WIRE_F_IN_ORDER)            \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_RESET))

/* V46: VERSION_1 must be offered, and bit 30 is how the rest is found; neither can be masked. */
guint64
vhost_session_get_offered_features (VhostSession *self)
{
  return vhost_backend_get_features (self->backend)
         | (TRANSPORT_FEATURES & ~vhost_backend_get_masked_features (self->backend))
         | VHOST_WIRE_BIT (VHOST_WIRE_F_VERSION_1)
         | VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES);
}

/* A front-end may accept whatever is offered, also what it never uses: only what works is in here.
 */
static guint64
get_offered_protocol_features (VhostSession *self)
{
  guint64 bits = VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_MQ)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_LOG_SHMFD)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_REPLY_ACK)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_BACKEND_REQ)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CROSS_ENDIAN)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_BACKEND_SEND_FD)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_GET_VRING_BASE_INFLIGHT)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_RESET_DEVICE)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_STATUS)
                 | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_GPA_ADDRESSES);

  if (vhost_backend_has_config (self->backend))
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CONFIG);
  if (self->in_band)
    bits |= VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS);
  return bits | vhost_session_get_device_protocol_bits (self);
}

VHOST_SESSION_HANDLER (get_features)
{
  vhost_session_reply_u64 (self, vhost_session_get_offered_features (self));
  return VHOST_SESSION_REPLIED;
}

#define CHANGEABLE_FEATURES                                                                        \
  (VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES) | VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL))

static VhostSessionResult
refuse_features (VhostSession *self)
{
  /* T1: the driver sees by the status that its choice was not taken. */
  self->features_refused = TRUE;
  self->status &= ~VHOST_SESSION_STATUS_FEATURES_OK;
  vhost_session_notify (self, VHOST_SESSION_PROP_STATUS);
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (set_features)
{
  guint64 offered = vhost_session_get_offered_features (self);
  guint64 features = message->payload.u64 & (offered | ~vhost_session_get_ignored_features (self));
  guint64 strange = features & ~offered;
  guint64 old = self->features;
  gboolean waits;

  if (strange != 0) /* N3 */
    {
      guint bit = (guint) __builtin_ctzll (strange);
      const char *name
          = vhost_wire_feature_bit_name (vhost_backend_get_device_name (self->backend), bit);

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "features 0x%" G_GINT64_MODIFIER "x contain bit %u (%s), which was not offered",
                   features, bit, name != NULL ? name : "unknown");
      return refuse_features (self);
    }
  /* The rings were laid out by the old ones. Bit 30 is not about that: R8 speaks of running rings;
   * neither is the log, which is switched on and off while they run (R9). */
  if (self->n_started > 0 && ((features ^ self->features) & ~CHANGEABLE_FEATURES) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "features cannot change from 0x%" G_GINT64_MODIFIER "x to 0x%" G_GINT64_MODIFIER
                   "x while %u rings run; stop them first (GET_VRING_BASE)",
                   self->features, features, self->n_started);
      return refuse_features (self);
    }
  self->features_refused = FALSE;
  if (!self->have_features || features != self->features)
    {
      self->features = features;
      self->have_features = TRUE;
      vhost_backend_features_acked (self->backend, features);
      vhost_session_notify (self, VHOST_SESSION_PROP_FEATURES);
    }
  /* A front-end that sets its features begins anew: what it has translated for an earlier run may
   * have changed meanwhile without a word. */
  if (self->n_started == 0)
    vhost_session_update_view (self, TRUE);
  waits = vhost_session_update_log (self, old);

  /* R8: this front-end knows no SET_VRING_ENABLE. */
  for (guint i = 0; i < self->n_vrings && !vhost_session_has_enable (self); i++)
    {
      VhostSessionVring *vring = &self->vrings[i];

      if (vring->started && !vring->enabled)
        {
          vring->enabled = TRUE;
          vhost_session_post_enabled (self, vring, TRUE);
          waits = TRUE;
        }
      vring->enabled = TRUE;
    }
  return waits ? vhost_session_wait (self, vhost_session_continue_ack) : VHOST_SESSION_DONE;
}

VHOST_SESSION_HANDLER (get_protocol_features)
{
  vhost_session_reply_u64 (self, get_offered_protocol_features (self));
  return VHOST_SESSION_REPLIED;
}

#define IN_BAND_NEEDS                                                                              \
  (VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_BACKEND_REQ)                                                \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_REPLY_ACK))

VHOST_SESSION_HANDLER (set_protocol_features)
{
  guint64 features = message->payload.u64;
  guint64 strange = features & ~get_offered_protocol_features (self);

  if (strange != 0) /* N3 */
    {
      guint bit = (guint) __builtin_ctzll (strange);
      const char *name = vhost_wire_protocol_bit_name (bit);

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "protocol features 0x%" G_GINT64_MODIFIER
                   "x contain bit %u (%s), which was not offered",
                   features, bit, name != NULL ? name : "unknown");
      return VHOST_SESSION_REFUSED;
    }
  if ((features & VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS)) != 0
      && (~features & IN_BAND_NEEDS) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "protocol features 0x%" G_GINT64_MODIFIER
                   "x contain INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK, so calls "
                   "could never be sent",
                   features);
      return VHOST_SESSION_CLOSE; /* E1 */
    }
  self->protocol_features = features;
  vhost_session_notify (self, VHOST_SESSION_PROP_PROTOCOL_FEATURES);
  return VHOST_SESSION_DONE;
}

/* The unit is queues, but front-ends for network devices count pairs. */
VHOST_SESSION_HANDLER (get_queue_num)
{
  guint n = self->n_vrings;

  if (vhost_backend_get_virtio_id (self->backend) == VIRTIO_ID_NET)
    n /= 2;
  vhost_session_reply_u64 (self, n);
  return VHOST_SESSION_REPLIED;
}

/* SET_OWNER: a session begins by connecting, and this need not come first (N2). RESET_OWNER:
 * deprecated, and must not drop anything (N4). */
VHOST_SESSION_HANDLER (owner) { return VHOST_SESSION_DONE; }

/* ---- Configuration space ---- */

VHOST_SESSION_HANDLER (get_config)
{
  VhostWireConfig reply = message->payload.config;

  if (reply.size > VHOST_WIRE_MAX_CONFIG || reply.offset > G_MAXUINT32 - reply.size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u bytes of the configuration space from offset %u on cannot be read",
                   reply.size, reply.offset);
      return VHOST_SESSION_REFUSED;
    }
  memset (reply.data, 0, sizeof reply.data);
  if (!vhost_backend_read_config (self->backend, reply.offset, reply.size, reply.data, error))
    return VHOST_SESSION_REFUSED;
  vhost_session_reply (self, &reply, VHOST_WIRE_CONFIG_HEADER + reply.size); /* C1 */
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (set_config)
{
  const VhostWireConfig *config = &message->payload.config;
  guint32 flags = VHOST_CONFIG_WRITABLE;

  if (config->size > VHOST_WIRE_MAX_CONFIG || config->offset > G_MAXUINT32 - config->size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u bytes of the configuration space from offset %u on cannot be written",
                   config->size, config->offset);
      return VHOST_SESSION_REFUSED;
    }
  if (config->flags > VHOST_CONFIG_MIGRATION)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "a write to the configuration space has flags 0x%x, only 0 and 1 are known",
                   config->flags);
      return VHOST_SESSION_REFUSED;
    }
  /* C4: some front-ends set the flag on every write, so it opens nothing while the driver is at
   * work. */
  if (config->flags == VHOST_CONFIG_MIGRATION && self->n_started == 0)
    flags = VHOST_CONFIG_MIGRATION;
  if (!vhost_backend_write_config (self->backend, config->offset, config->size, config->data, flags,
                                   error))
    return VHOST_SESSION_REFUSED;
  if (self->owner->config_changed != NULL)
    self->owner->config_changed (self, config->offset, config->size, TRUE, self->owner_data);
  return VHOST_SESSION_DONE;
}

/* ---- Status and reset ---- */

VHOST_SESSION_HANDLER (set_status)
{
  guint64 status = message->payload.u64;

  if (status > 255) /* T4 */
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "status 0x%" G_GINT64_MODIFIER "x does not fit into 8 bits", status);
      return VHOST_SESSION_REFUSED;
    }
  if (self->features_refused)
    status &= ~(guint64) VHOST_SESSION_STATUS_FEATURES_OK; /* T1 */
  /* T2: 0 comes after every stop and pause, so it clears the byte and nothing else. */
  if (status == 0)
    self->needs_reset = FALSE;
  self->status = (guint) status;
  vhost_session_notify (self, VHOST_SESSION_PROP_STATUS);
  return VHOST_SESSION_DONE;
}

VHOST_SESSION_HANDLER (get_status)
{
  vhost_session_reply_u64 (self, vhost_session_get_status (self));
  return VHOST_SESSION_REPLIED;
}

/* R12: rings are as they were in the beginning; connection, features, memory, notification
 * descriptors and the channel back stay. */
static void
reset_now (VhostSession *self)
{
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];

      vring->size = vring->base = 0;
      vring->have_addr = vring->base_known = FALSE;
      vring->enabled = vhost_session_starts_enabled (self);
      vring->big_endian = G_BYTE_ORDER == G_BIG_ENDIAN;
      vring->broken = vring->renewed = vring->have_base = FALSE;
    }
  /* Requests from before the reset must not come back, nor addresses. */
  g_clear_pointer (&self->inflight, vhost_inflight_unref);
  vhost_session_update_view (self, TRUE);
  self->status = 0;
  self->needs_reset = FALSE;
  vhost_backend_reset (self->backend);
  vhost_session_notify (self, VHOST_SESSION_PROP_STATUS);
}

/* Thread: control. */
static void
continue_reset (VhostSession *self)
{
  vhost_session_disarm_drain (self);
  reset_now (self);
  vhost_session_continue_ack (self);
}

VHOST_SESSION_HANDLER (reset_device)
{
  if (self->n_started == 0)
    {
      reset_now (self);
      return VHOST_SESSION_DONE;
    }
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started)
      vhost_session_stop_vring (self, &self->vrings[i], TRUE);
  vhost_session_arm_drain (self);
  return vhost_session_wait (self, continue_reset);
}

/* ---- To the front-end ---- */

/* The socket's own name or its peer's; FALSE: it has none. */
static gboolean
get_socket_name (int fd, gboolean peer, struct sockaddr_un *name, socklen_t *length)
{
  struct sockaddr *address = (struct sockaddr *) name;

  *length = sizeof *name;
  return (peer ? getpeername (fd, address, length) : getsockname (fd, address, length)) == 0
         && *length > sizeof name->sun_family && *length <= sizeof *name;
}

gboolean
vhost_session_check_socket (VhostSession *self, int fd, GError **error)
{
  for (guint i = 0; i < 2; i++)
    {
      struct sockaddr_un ours, theirs;
      socklen_t our_length, their_length;

      /* Whoever listens is named, here or there. */
      if (get_socket_name (vhost_channel_get_fd (self->channel), i == 0, &ours, &our_length)
          && get_socket_name (fd, i == 1, &theirs, &their_length) && our_length == their_length
          && memcmp (&ours, &theirs, our_length) == 0)
        {
          g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                               "the socket that came with it is an end of a connection to this "
                               "program itself; a pair of sockets is needed");
          return FALSE;
        }
    }
  return TRUE;
}

VHOST_SESSION_HANDLER (set_backend_req_fd)
{
  VhostBackendChannel *channel;

  if (!vhost_session_check_socket (self, message->fds[0], error))
    return VHOST_SESSION_REFUSED;
  channel = vhost_backend_channel_new_take_fd (
      vhost_message_steal_fd (message, 0),
      vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_REPLY_ACK), self->context, error);

  if (channel == NULL)
    return VHOST_SESSION_REFUSED;
  g_clear_pointer (&self->backend_channel, vhost_backend_channel_free); /* B2 */
  self->backend_channel = channel;
  vhost_session_flush_config (self);
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started)
      vhost_session_flush_calls (self, &self->vrings[i]);
  vhost_session_ask_misses (self);
  return VHOST_SESSION_DONE;
}

void
vhost_session_flush_config (VhostSession *self)
{
  g_autoptr (GError) error = NULL;

  if (!self->config_pending || self->n_started == 0 || self->closing
      || self->backend_channel == NULL
      || !vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_CONFIG))
    return;
  if (vhost_backend_channel_config_change (self->backend_channel, &error))
    self->config_pending = FALSE;
  else
    vhost_debug (CONTROL, "%s: cannot tell of a changed configuration: %s", self->peer_label,
                 error->message);
}

void
vhost_session_announce_config (VhostSession *self)
{
  self->config_pending = TRUE;
  vhost_session_flush_config (self);
}

/* Thread: control. The device has changed its configuration. */
static void
peer_config_changed (gpointer data)
{
  VhostSession *self = data;

  vhost_session_announce_config (self);
  if (self->owner->config_changed != NULL && !self->closing)
    self->owner->config_changed (self, 0, VHOST_WIRE_MAX_CONFIG, FALSE, self->owner_data);
}

/* Thread: control. */
static gboolean
peer_is_suspended (gpointer data)
{
  VhostSession *self = data;

  return self->n_started == 0;
}

const VhostBackendPeer vhost_session_backend_peer = {
  .config_changed = peer_config_changed,
  .is_suspended = peer_is_suspended,
  .takes = vhost_session_peer_takes,
  .send = vhost_session_peer_send,
  .cancel = vhost_session_peer_cancel,
};
