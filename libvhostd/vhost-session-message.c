/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's messages: reads them, checks them, has them handled, answers. Must not know what a
 * message means (the handlers in the files by subject do) and must never wait, neither for the
 * socket nor for a worker.
 *
 * How it works: a source on the socket reads at most a handful of messages per dispatch, so that a
 * talkative front-end leaves the context to others. Each message passes three gates: its row in the
 * wire table, what was negotiated, its handler. One message is handled at a time; while its
 * commands are out at the workers, the socket is not read, which keeps answers in order without a
 * queue. The stream must never slip: every message that asks for an answer gets exactly one, also
 * when it was refused. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <gio/gunixfdlist.h>

/* Messages that are read in one dispatch of the context. */
#define MESSAGES_PER_DISPATCH 16

#define ACK_OK 0
#define ACK_REFUSED 1

typedef struct
{
  GSource source;
  VhostSession *session; /* (unowned): destroys the source before it goes */
} VhostSessionSource;

static void
update_source (VhostSession *self)
{
  GIOCondition condition = 0;

  if (self->source == NULL)
    return;
  if (vhost_channel_wants_write (self->channel))
    condition = G_IO_OUT; /* who does not read its answers is not heard either */
  else if (!self->busy)
    condition = G_IO_IN;
  g_source_modify_unix_fd (self->source, self->source_tag, condition);
}

void
vhost_session_reply_fd (VhostSession *self, const void *payload, guint32 size, int fd)
{
  GError *error = NULL;

  self->replied = TRUE;
  if (self->closing)
    return;
  vhost_debug (WIRE, "%s <- %s, %u bytes", self->peer_label,
               vhost_wire_name (self->current.request), size);
  if (!vhost_channel_send (self->channel, self->current.request,
                           VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_REPLY, payload, size, &fd,
                           fd >= 0 ? 1 : 0, &error))
    vhost_session_shutdown (self, self->drain_timeout_ms, error);
}

void
vhost_session_reply (VhostSession *self, const void *payload, guint32 size)
{
  vhost_session_reply_fd (self, payload, size, -1);
}

void
vhost_session_reply_u64 (VhostSession *self, guint64 value)
{
  vhost_session_reply (self, &value, sizeof value);
}

/* A4: the flag alone asks for the answer, whether or not bit 3 was acked; QEMU waits for it in any
 * case. A2: never a second one. */
static void
acknowledge (VhostSession *self, guint64 value)
{
  if ((self->current.flags & VHOST_WIRE_FLAG_NEED_REPLY) != 0 && !self->replied)
    vhost_session_reply_u64 (self, value);
}

/* A refused message that has an answer of its own. The front-end waits for it with or without
 * NEED_REPLY, and an ack in its place would be read as the answer to something else. Where a value
 * can say "failed" or "nothing", it does; else the answer has no payload. That is the text's own
 * sign for GET_CONFIG (C2), and where it does not define one, as for GET_VRING_BASE of a ring that
 * does not exist, a size that cannot be right is the one thing that no front-end takes for an
 * index. Closing instead would punish all rings for a question about none. */
static void
reply_failure (VhostSession *self)
{
  static const guint8 zeroes[VHOST_WIRE_MAX_PAYLOAD];

  switch (self->current.request)
    {
    case VHOST_WIRE_GET_FEATURES:
    case VHOST_WIRE_GET_PROTOCOL_FEATURES:
    case VHOST_WIRE_GET_QUEUE_NUM:
    case VHOST_WIRE_GET_MAX_MEM_SLOTS:
    case VHOST_WIRE_GET_STATUS:
      vhost_session_reply_u64 (self, 0);
      break;
    case VHOST_WIRE_SET_LOG_BASE:
    case VHOST_WIRE_IOTLB_MSG:
    case VHOST_WIRE_POSTCOPY_END:
    case VHOST_WIRE_CHECK_DEVICE_STATE:
      vhost_session_reply_u64 (self, ACK_REFUSED);
      break;
    case VHOST_WIRE_SET_DEVICE_STATE_FD: /* D8 */
      vhost_session_reply_u64 (self, VHOST_WIRE_VRING_NO_FD | ACK_REFUSED);
      break;
    case VHOST_WIRE_GET_INFLIGHT_FD: /* answered in the size that came; a region of size 0 */
      vhost_session_reply (self, zeroes, self->current.size == 20 ? 20 : 24);
      break;
    case VHOST_WIRE_GET_SHMEM_CONFIG:
      vhost_session_reply (self, zeroes, sizeof zeroes);
      break;
    default:
      vhost_session_reply (self, NULL, 0);
    }
}

/* Whether the front-end waits for an answer to the current message even without NEED_REPLY. */
static gboolean
has_own_reply (VhostSession *self, const VhostWireMessage *row)
{
  if (row == NULL)
    return FALSE;
  if (self->current.request == VHOST_WIRE_SET_LOG_BASE)
    return vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_LOG_SHMFD);
  return row->reply == VHOST_WIRE_REPLY_OWN;
}

/* Takes @error. Not a warning: what a front-end can cause at will must not look like a fault of the
 * program. */
static void
refuse (VhostSession *self, const VhostWireMessage *row, GError *error)
{
  guint suppressed = 0;

  if (vhost_rate_limit_allows (&self->refusals, &suppressed))
    g_message ("%s: %s refused: %s%s", self->peer_label, vhost_wire_name (self->current.request),
               error->message, suppressed > 0 ? " (and others since the last such message)" : "");
  g_error_free (error);
  if (self->replied)
    return;
  if (has_own_reply (self, row) || vhost_session_owes_bases (self))
    reply_failure (self);
  else
    acknowledge (self, ACK_REFUSED);
}

static void
tell_owner (VhostSession *self)
{
  if (self->owner->changed != NULL && !self->closing)
    self->owner->changed (self, self->owner_data);
}

void
vhost_session_finish_message (VhostSession *self, GError *error)
{
  if (!self->busy || self->closing)
    {
      g_clear_error (&error);
      return;
    }
  self->busy = FALSE;
  self->current_vring = NULL;
  if (error != NULL)
    refuse (self, vhost_wire_lookup (self->current.request), error);
  else
    acknowledge (self, ACK_OK);
  tell_owner (self);
  vhost_session_resume_misses (self);
  update_source (self);
}

typedef VhostSessionResult (*VhostSessionHandler) (VhostSession *self, VhostMessage *message,
                                                   GError **error);

#define HANDLER(number, name) [VHOST_WIRE_##number] = vhost_session_handle_##name

/* What has no handler is refused. */
static const VhostSessionHandler handlers[VHOST_WIRE_N_REQUESTS] = {
  HANDLER (GET_FEATURES, get_features),
  HANDLER (SET_FEATURES, set_features),
  HANDLER (SET_OWNER, owner),
  HANDLER (RESET_OWNER, owner),
  HANDLER (SET_MEM_TABLE, set_mem_table),
  HANDLER (SET_VRING_NUM, set_vring_num),
  HANDLER (SET_VRING_ADDR, set_vring_addr),
  HANDLER (SET_VRING_BASE, set_vring_base),
  HANDLER (GET_VRING_BASE, get_vring_base),
  HANDLER (SET_VRING_KICK, set_vring_kick),
  HANDLER (SET_VRING_CALL, set_vring_call),
  HANDLER (SET_VRING_ERR, set_vring_err),
  HANDLER (GET_PROTOCOL_FEATURES, get_protocol_features),
  HANDLER (SET_PROTOCOL_FEATURES, set_protocol_features),
  HANDLER (GET_QUEUE_NUM, get_queue_num),
  HANDLER (SET_VRING_ENABLE, set_vring_enable),
  HANDLER (SET_BACKEND_REQ_FD, set_backend_req_fd),
  HANDLER (GET_CONFIG, get_config),
  HANDLER (SET_CONFIG, set_config),
  HANDLER (RESET_DEVICE, reset_device),
  HANDLER (GET_MAX_MEM_SLOTS, get_max_mem_slots),
  HANDLER (ADD_MEM_REG, add_mem_reg),
  HANDLER (REM_MEM_REG, rem_mem_reg),
  HANDLER (SET_STATUS, set_status),
  HANDLER (GET_STATUS, get_status),
  HANDLER (SET_LOG_BASE, set_log_base),
  HANDLER (SET_LOG_FD, set_log_fd),
  HANDLER (SEND_RARP, send_rarp),
  HANDLER (NET_SET_MTU, net_set_mtu),
  HANDLER (IOTLB_MSG, iotlb_msg),
  HANDLER (SET_VRING_ENDIAN, set_vring_endian),
  HANDLER (CREATE_CRYPTO_SESSION, create_crypto_session),
  HANDLER (CLOSE_CRYPTO_SESSION, close_crypto_session),
  HANDLER (POSTCOPY_ADVISE, postcopy_advise),
  HANDLER (POSTCOPY_LISTEN, postcopy_listen),
  HANDLER (POSTCOPY_END, postcopy_end),
  HANDLER (GET_INFLIGHT_FD, get_inflight_fd),
  HANDLER (SET_INFLIGHT_FD, set_inflight_fd),
  HANDLER (GPU_SET_SOCKET, gpu_set_socket),
  HANDLER (VRING_KICK, vring_kick),
  HANDLER (GET_SHARED_OBJECT, get_shared_object),
  HANDLER (SET_DEVICE_STATE_FD, set_device_state_fd),
  HANDLER (CHECK_DEVICE_STATE, check_device_state),
  HANDLER (GET_SHMEM_CONFIG, get_shmem_config),
};

static gboolean
check_message (VhostSession *self, const VhostWireMessage *row, VhostMessage *message,
               GError **error)
{
  if ((message->header.flags & VHOST_WIRE_FLAG_REPLY) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s is marked as a reply (flags 0x%x), but nothing was asked", row->name,
                   message->header.flags);
      return FALSE;
    }
  if (!vhost_wire_check_message (row, &message->header, message->payload.bytes, message->n_fds,
                                 error))
    {
      /* QEMU counts regions that it has no descriptor for when the VM's memory is private. */
      if (message->header.request == VHOST_WIRE_SET_MEM_TABLE && error != NULL
          && message->n_fds < MIN (message->payload.table.n_regions, VHOST_WIRE_MAX_REGIONS))
        {
          g_autofree char *text = g_strdup ((*error)->message);

          g_clear_error (error);
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                       "%s; if the VM's memory is not shared, %s", text, vhost_session_memory_cure);
        }
      return FALSE;
    }
  return vhost_session_check_gates (self, row, message->header.request, error);
}

static void
close_stray_fds (VhostMessage *message)
{
  for (guint i = 0; i < message->n_fds; i++)
    {
      int fd = vhost_message_steal_fd (message, i);

      vhost_fd_discard (&fd);
    }
}

/* A message that is not in the table may be one of the program's own. */
static gboolean
offer_message (VhostSession *self, VhostMessage *message)
{
  static guint signal_id;
  g_autoptr (GBytes) payload = NULL;
  g_autoptr (GUnixFDList) list = NULL;
  gboolean handled = FALSE;
  int fds[VHOST_WIRE_MAX_FDS];

  if (signal_id == 0)
    signal_id = g_signal_lookup ("message", VHOST_TYPE_SESSION);
  if (!g_signal_has_handler_pending (self, signal_id, 0, FALSE))
    return FALSE;
  payload = g_bytes_new (message->payload.bytes, message->header.size);
  for (guint i = 0; i < message->n_fds; i++)
    fds[i] = vhost_message_steal_fd (message, i);
  list = g_unix_fd_list_new_from_array (fds, (int) message->n_fds);
  self->offered = TRUE;
  g_signal_emit (self, signal_id, 0, message->header.request, message->header.flags, payload, list,
                 &handled);
  self->offered = FALSE;
  return handled || self->replied;
}

static void
handle_message (VhostSession *self, VhostMessage *message)
{
  const VhostWireMessage *row = vhost_wire_lookup (message->header.request);
  GError *error = NULL;
  VhostSessionResult result = VHOST_SESSION_REFUSED;

  self->current = message->header;
  self->busy = TRUE;
  self->replied = FALSE;
  self->waiting = 0;
  g_clear_error (&self->message_error);
  vhost_debug (WIRE, "%s -> %s, flags 0x%x, %u bytes, %u descriptors", self->peer_label,
               vhost_wire_name (message->header.request), message->header.flags,
               message->header.size, message->n_fds);
  if (vhost_session_is_postcopy_ack (self, message))
    {
      vhost_session_end_ack (self);
      self->busy = FALSE;
      return;
    }
  if (row == NULL)
    {
      if (offer_message (self, message))
        result = VHOST_SESSION_DONE;
      else
        g_set_error (&error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                     "it is not known; the front-end may be newer than this program");
    }
  else if (handlers[message->header.request] == NULL)
    g_set_error (&error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                 "it belongs to a feature that is not offered here");
  else if (check_message (self, row, message, &error))
    result = handlers[message->header.request](self, message, &error);
  close_stray_fds (message);

  switch (result)
    {
    case VHOST_SESSION_DONE:
      acknowledge (self, ACK_OK);
      self->busy = FALSE;
      tell_owner (self);
      break;
    case VHOST_SESSION_REPLIED:
      self->busy = FALSE;
      tell_owner (self);
      break;
    case VHOST_SESSION_LATER:
      break; /* perhaps answered already */
    case VHOST_SESSION_CLOSE:
      vhost_session_shutdown (self, self->drain_timeout_ms, error);
      break;
    case VHOST_SESSION_REFUSED:
    default:
      refuse (self, row, error);
      self->busy = FALSE;
      break;
    }
}

/* Reads one message; FALSE: there is none. */
static gboolean
read_message (VhostSession *self)
{
  VhostMessage *message = NULL;
  GError *error = NULL;

  switch (vhost_channel_receive (self->channel, &message, &error))
    {
    case VHOST_CHANNEL_MESSAGE:
      handle_message (self, message);
      if (!self->busy)
        vhost_session_resume_misses (self);
      return TRUE;
    case VHOST_CHANNEL_CLOSED:
      vhost_session_shutdown (self, self->drain_timeout_ms, NULL);
      return FALSE;
    case VHOST_CHANNEL_ERROR:
      vhost_session_shutdown (self, self->drain_timeout_ms, error);
      return FALSE;
    case VHOST_CHANNEL_AGAIN:
    default:
      return FALSE;
    }
}

/* Thread: control. */
static gboolean
session_source_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  g_autoptr (VhostSession) self = g_object_ref (((VhostSessionSource *) source)->session);
  GIOCondition ready = g_source_query_unix_fd (source, self->source_tag);
  GError *error = NULL;

  if (vhost_channel_wants_write (self->channel) && !vhost_channel_flush (self->channel, &error))
    {
      vhost_session_shutdown (self, self->drain_timeout_ms, error);
      return G_SOURCE_CONTINUE;
    }
  /* A hang-up is always reported, wanted or not: while the socket is not read it must end the
   * session, or this source would spin. Nobody is there to take the answer anyway. */
  if ((ready & (G_IO_HUP | G_IO_ERR)) != 0
      && (self->busy || vhost_channel_wants_write (self->channel)))
    {
      vhost_session_shutdown (self, self->drain_timeout_ms, NULL);
      return G_SOURCE_CONTINUE;
    }
  for (guint i = 0; i < MESSAGES_PER_DISPATCH; i++)
    if (self->busy || self->closing || vhost_channel_wants_write (self->channel)
        || !read_message (self))
      break;
  update_source (self);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs session_source_funcs = { .dispatch = session_source_dispatch };

void
vhost_session_attach (VhostSession *self)
{
  self->source = g_source_new (&session_source_funcs, sizeof (VhostSessionSource));
  ((VhostSessionSource *) self->source)->session = self;
  g_source_set_static_name (self->source, "VhostSession");
  self->source_tag
      = g_source_add_unix_fd (self->source, vhost_channel_get_fd (self->channel), G_IO_IN);
  g_source_attach (self->source, self->context);
}
