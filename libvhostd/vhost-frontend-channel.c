/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's wire: sends anything, right or wrong, waits for answers. Must not know what a
 * message does, beyond the way it is answered.
 *
 * How it works: output goes to the socket directly, because what is sent may break every rule on
 * purpose; input goes through VhostChannel, because what is received is judged by them. One request
 * is under way at a time: an answer is the next message on the socket, or the stream has slipped.
 */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* More descriptors than this the kernel does not pass at once (SCM_MAX_FD). */
#define MAX_FDS 253
#define ANSWER_FLAGS (VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_REPLY)

gint64
vhost_frontend_get_deadline (VhostFrontend *self)
{
  return g_get_monotonic_time () + (gint64) self->timeout * 1000;
}

static gboolean
check_connected (VhostFrontend *self, GError **error)
{
  if (self->awaiting)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                           "another call waits for the back-end's answer, and this one was made "
                           "meanwhile: call later, from an idle handler");
      return FALSE;
    }
  if (self->channel != NULL)
    return TRUE;

  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                       "not connected to a back-end: connect first");
  return FALSE;
}

/* What handlers send meanwhile would end up in the middle of the message. */
static int
wait_to_send (VhostFrontend *self, int fd, gint64 deadline)
{
  int result;

  self->awaiting = TRUE;
  result = vhost_frontend_wait_for (self, fd, -1, POLLOUT, deadline);
  self->awaiting = FALSE;
  return result;
}

/* @what names the message in errors. */
static gboolean
send_bytes (VhostFrontend *self, const guint8 *data, gsize size, const int *fds, guint n_fds,
            const char *what, GError **error)
{
  union
  {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (MAX_FDS * sizeof (int))];
  } control;
  const gint64 deadline = vhost_frontend_get_deadline (self);
  int fd;

  if (!check_connected (self, error))
    return FALSE;
  if (n_fds > MAX_FDS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u descriptors do not fit into one message: the kernel passes at most %d",
                   n_fds, MAX_FDS);
      return FALSE;
    }

  fd = vhost_channel_get_fd (self->channel);
  while (size > 0)
    {
      struct iovec iov = { (gpointer) data, size };
      struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
      ssize_t sent;

      /* Descriptors go with the first byte. */
      if (n_fds > 0)
        {
          struct cmsghdr *header;

          message.msg_control = control.bytes;
          message.msg_controllen = CMSG_SPACE (n_fds * sizeof (int));
          memset (control.bytes, 0, message.msg_controllen);
          header = CMSG_FIRSTHDR (&message);
          header->cmsg_level = SOL_SOCKET;
          header->cmsg_type = SCM_RIGHTS;
          header->cmsg_len = CMSG_LEN (n_fds * sizeof (int));
          memcpy (CMSG_DATA (header), fds, n_fds * sizeof (int));
        }

      sent = sendmsg (fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0)
        {
          data += sent;
          size -= sent;
          n_fds = 0;
          continue;
        }
      if (sent < 0 && errno == EINTR)
        continue;
      if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                       "cannot send %s: the back-end closed the connection", what);
          return FALSE;
        }
      if (sent == 0 || errno == EAGAIN)
        {
          int ready = wait_to_send (self, fd, deadline);

          if (ready > 0)
            continue;
          if (ready == 0)
            {
              g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                           "the back-end did not read %s within %u ms: %" G_GSIZE_FORMAT
                           " bytes are left",
                           what, self->timeout, size);
              return FALSE;
            }
        }

      int saved_errno = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot send %s: %s", what,
                   g_strerror (saved_errno));
      return FALSE;
    }

  return TRUE;
}

static gboolean
send_message (VhostFrontend *self, guint32 request, guint32 flags, gconstpointer payload,
              gsize size, const int *fds, guint n_fds, GError **error)
{
  const VhostWireHeader header = { request, flags, (guint32) size };
  guint8 small[VHOST_WIRE_HEADER_SIZE + VHOST_WIRE_MAX_PAYLOAD];
  g_autofree guint8 *large = NULL;
  guint8 *bytes = small;

  if (size > G_MAXUINT32)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "a payload of %" G_GSIZE_FORMAT " bytes does not fit a header's 32 bits", size);
      return FALSE;
    }
  if (size > VHOST_WIRE_MAX_PAYLOAD)
    bytes = large = g_malloc (VHOST_WIRE_HEADER_SIZE + size);

  memcpy (bytes, &header, VHOST_WIRE_HEADER_SIZE);
  if (size > 0)
    memcpy (bytes + VHOST_WIRE_HEADER_SIZE, payload, size);
  return send_bytes (self, bytes, VHOST_WIRE_HEADER_SIZE + size, fds, n_fds,
                     vhost_wire_name (request), error);
}

static gboolean
disconnected_meanwhile (GError **error)
{
  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                       "this side closed the connection meanwhile");
  return FALSE;
}

/* As vhost_channel_receive_wait (), with handlers that may take the channel away. */
static gboolean
receive_iterating (VhostFrontend *self, VhostMessage **message, GError **error)
{
  const gint64 deadline = vhost_frontend_get_deadline (self);
  const guint n_disconnects = self->n_disconnects;

  for (;;)
    {
      int ready;

      switch (vhost_channel_receive (self->channel, message, error))
        {
        case VHOST_CHANNEL_MESSAGE:
          return TRUE;
        case VHOST_CHANNEL_AGAIN:
          break;
        case VHOST_CHANNEL_CLOSED:
          g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                               "the other end closed the vhost-user socket");
          return FALSE;
        case VHOST_CHANNEL_ERROR:
        default:
          return FALSE;
        }

      self->awaiting = TRUE;
      ready = vhost_frontend_wait_for (self, vhost_channel_get_fd (self->channel), -1, POLLIN,
                                       deadline);
      self->awaiting = FALSE;
      if (self->n_disconnects != n_disconnects)
        return disconnected_meanwhile (error);
      if (ready > 0)
        continue;
      g_set_error (error, VHOST_ERROR, ready == 0 ? VHOST_ERROR_TIMED_OUT : VHOST_ERROR_SOCKET,
                   "cannot wait for the back-end: %s",
                   ready == 0 ? "the time is over" : g_strerror (errno));
      return FALSE;
    }
}

static gboolean
receive_message (VhostFrontend *self, VhostMessage **message, const char *what, GError **error)
{
  g_autoptr (GError) local_error = NULL;

  if (!check_connected (self, error))
    return FALSE;
  if (self->iterate_context
          ? receive_iterating (self, message, &local_error)
          : vhost_channel_receive_wait (self->channel, vhost_frontend_get_deadline (self), message,
                                        &local_error))
    return TRUE;

  if (g_error_matches (local_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT))
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                 "the back-end gave no answer to %s within %u ms", what, self->timeout);
  else
    g_propagate_prefixed_error (error, g_steal_pointer (&local_error), "no answer to %s: ", what);
  return FALSE;
}

/* The next message, which must be the answer to @request. */
static gboolean
receive_answer (VhostFrontend *self, guint32 request, VhostMessage **answer, GError **error)
{
  g_autofree char *name = g_strdup (vhost_wire_name (request));

  if (!receive_message (self, answer, name, error))
    return FALSE;

  if ((*answer)->header.request != request)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the back-end answered %s with a %s message (code %u)", name,
                   vhost_wire_name ((*answer)->header.request), (*answer)->header.request);
      return FALSE;
    }
  if ((*answer)->header.flags != ANSWER_FLAGS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to %s has flags 0x%x; they must be 0x%x", name,
                   (*answer)->header.flags, ANSWER_FLAGS);
      return FALSE;
    }
  return TRUE;
}

static gboolean
receive_u64 (VhostFrontend *self, guint32 request, guint64 *value, GError **error)
{
  VhostMessage *answer;

  if (!receive_answer (self, request, &answer, error))
    return FALSE;
  if (answer->header.size != sizeof answer->payload.u64)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to %s has %u bytes; it must have %zu", vhost_wire_name (request),
                   answer->header.size, sizeof answer->payload.u64);
      return FALSE;
    }
  *value = answer->payload.u64;
  return TRUE;
}

gboolean
vhost_frontend_set (VhostFrontend *self, guint32 request, const void *payload, gsize size,
                    const int *fds, guint n_fds, GError **error, const char *format, ...)
{
  const gboolean ack = vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_REPLY_ACK);
  const guint32 flags = VHOST_WIRE_VERSION | (ack ? VHOST_WIRE_FLAG_NEED_REPLY : 0);
  g_autofree char *arguments = NULL;
  guint64 answer = 0;
  va_list args;

  if (!send_message (self, request, flags, payload, size, fds, n_fds, error))
    return FALSE;
  if (!ack)
    return TRUE;
  if (!receive_u64 (self, request, &answer, error))
    return FALSE;
  if (answer == 0)
    return TRUE;

  va_start (args, format);
  arguments = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
               "the back-end refused %s (%s): it answered %" G_GUINT64_FORMAT,
               vhost_wire_name (request), arguments, answer);
  return FALSE;
}

gboolean
vhost_frontend_get (VhostFrontend *self, guint32 request, const void *payload, gsize size,
                    VhostMessage **answer, GError **error)
{
  return vhost_frontend_get_with_fds (self, request, payload, size, NULL, 0, answer, error);
}

gboolean
vhost_frontend_get_with_fds (VhostFrontend *self, guint32 request, const void *payload, gsize size,
                             const int *fds, guint n_fds, VhostMessage **answer, GError **error)
{
  return send_message (self, request, VHOST_WIRE_VERSION, payload, size, fds, n_fds, error)
         && receive_answer (self, request, answer, error);
}

gboolean
vhost_frontend_get_u64 (VhostFrontend *self, guint32 request, guint64 *value, GError **error)
{
  return send_message (self, request, VHOST_WIRE_VERSION, NULL, 0, NULL, 0, error)
         && receive_u64 (self, request, value, error);
}

/**
 * vhost_frontend_send:
 * @self: a front-end
 * @request: message code, known or not
 * @flags: header flags, 0 for "version 1"
 * @payload: (array length=size) (element-type guint8) (nullable): what follows the header
 * @size: bytes of @payload; the header says the same
 * @fds: (array length=n_fds) (nullable): descriptors to pass along
 * @n_fds: how many, at most 253
 * @error: return location for an error
 *
 * Sends one message as told and checks nothing, neither the message nor whether it is its time.
 * Waits for no answer: one that comes is fetched by vhost_frontend_receive (), and must be before
 * the next request of another function.
 *
 * What vhost_frontend_get_features () and others remember does not change.
 *
 * Thread: control. Specification: "Message Specification".
 *
 * Returns: %TRUE when the socket took it, or failure with a %VHOST_ERROR: of the connection, or
 * what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_send (VhostFrontend *self, guint request, guint flags, gconstpointer payload,
                     gsize size, const int *fds, guint n_fds, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (payload != NULL || size == 0, FALSE);
  g_return_val_if_fail (fds != NULL || n_fds == 0, FALSE);

  return send_message (self, request, flags != 0 ? flags : VHOST_WIRE_VERSION, payload, size, fds,
                       n_fds, error);
}

/**
 * vhost_frontend_send_raw:
 * @self: a front-end
 * @data: (array length=size) (element-type guint8): bytes for the socket
 * @size: how many, not 0
 * @fds: (array length=n_fds) (nullable): descriptors, passed with the first byte
 * @n_fds: how many, at most 253
 * @error: return location for an error
 *
 * Writes bytes that need not be messages: half a header, a wrong size, two messages at once.
 *
 * Thread: control.
 *
 * Returns: %TRUE when the socket took all of them, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_send_raw (VhostFrontend *self, gconstpointer data, gsize size, const int *fds,
                         guint n_fds, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (data != NULL && size > 0, FALSE);
  g_return_val_if_fail (fds != NULL || n_fds == 0, FALSE);

  return send_bytes (self, data, size, fds, n_fds, "raw bytes", error);
}

/**
 * vhost_frontend_receive: (skip)
 * @self: a front-end
 * @request: (out) (optional): message code
 * @flags: (out) (optional): header flags
 * @payload: (nullable): a buffer of *@size bytes
 * @size: (inout) (optional): room in @payload, then the payload's size; %NULL when it does not
 * matter
 * @fds: (nullable): a buffer for *@n_fds descriptors, which are the caller's then
 * @n_fds: (inout) (optional): room in @fds, then how many came
 * @error: return location for an error
 *
 * Waits for the next message from the back-end, at most #VhostFrontend:timeout.
 *
 * A payload or descriptors that do not fit into their buffers are dropped, so far as they do not
 * fit; *@size and
 * *@n_fds say how much there was (descriptors: how many were handed over).
 *
 * Thread: control.
 *
 * Returns: %TRUE with a message; %FALSE with #VHOST_ERROR_TIMED_OUT, #VHOST_ERROR_DISCONNECTED or
 * another error
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_receive (VhostFrontend *self, guint *request, guint *flags, gpointer payload,
                        gsize *size, int *fds, guint *n_fds, GError **error)
{
  VhostMessage *message;
  guint n = 0;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!receive_message (self, &message, "the message waited for", error))
    return FALSE;

  if (request != NULL)
    *request = message->header.request;
  if (flags != NULL)
    *flags = message->header.flags;
  if (size != NULL)
    {
      if (payload != NULL)
        memcpy (payload, message->payload.bytes, MIN (*size, message->header.size));
      *size = message->header.size;
    }
  if (n_fds != NULL)
    {
      for (; fds != NULL && n < MIN (*n_fds, message->n_fds); n++)
        fds[n] = vhost_message_steal_fd (message, n);
      *n_fds = n;
    }
  return TRUE;
}

/**
 * vhost_frontend_request:
 * @self: a front-end
 * @request: message code
 * @payload: (array length=size) (element-type guint8) (nullable): what follows the header
 * @size: bytes of @payload
 * @fds: (array length=n_fds) (nullable): descriptors to pass along
 * @n_fds: how many, at most 253
 * @answer: (out) (optional): the number that was answered
 * @error: return location for an error
 *
 * Sends a message with NEED_REPLY, whatever was negotiated, and waits for its answer, a 64-bit
 * number.
 *
 * With @answer the caller judges the number. Without it, a number other than 0 is
 * #VHOST_ERROR_REFUSED for a message that is merely acknowledged (SET_LOG_BASE with LOG_SHMFD has
 * an answer of no meaning). Messages whose answer is not a number (GET_CONFIG, GET_VRING_BASE ...)
 * give #VHOST_ERROR_PROTOCOL: use vhost_frontend_send () and vhost_frontend_receive () for these.
 *
 * After #VHOST_ERROR_TIMED_OUT the answer may still come, and would be taken for the next one's.
 *
 * Thread: control. Specification: REPLY_ACK.
 *
 * Returns: %TRUE when an answer came
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_request (VhostFrontend *self, guint request, gconstpointer payload, gsize size,
                        const int *fds, guint n_fds, guint64 *answer, GError **error)
{
  const VhostWireMessage *row = vhost_wire_lookup (request);
  guint64 value;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (payload != NULL || size == 0, FALSE);
  g_return_val_if_fail (fds != NULL || n_fds == 0, FALSE);

  if (!send_message (self, request, VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_NEED_REPLY, payload, size,
                     fds, n_fds, error)
      || !receive_u64 (self, request, &value, error))
    return FALSE;

  if (answer != NULL)
    *answer = value;
  else if (value != 0 && (row == NULL || row->reply != VHOST_WIRE_REPLY_OWN)
           && !(request == VHOST_WIRE_SET_LOG_BASE
                && vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_LOG_SHMFD)))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "the back-end refused %s (%" G_GSIZE_FORMAT " bytes, %u descriptors): it "
                   "answered %" G_GUINT64_FORMAT,
                   vhost_wire_name (request), size, n_fds, value);
      return FALSE;
    }
  return TRUE;
}
