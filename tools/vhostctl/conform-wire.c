/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A case's connection: sends what it is told, right or wrong, and judges the shape of what comes
 * back. Must not know what a message means. */
#include "conform.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Bytes of a payload that a transcript shows. */
#define SHOWN_BYTES 48

typedef struct
{
  guint32 request, flags, size;
} Header;

static const char *const names[] = {
  [MSG_GET_FEATURES] = "GET_FEATURES",
  [MSG_SET_FEATURES] = "SET_FEATURES",
  [MSG_SET_OWNER] = "SET_OWNER",
  [MSG_RESET_OWNER] = "RESET_OWNER",
  [MSG_SET_MEM_TABLE] = "SET_MEM_TABLE",
  [MSG_SET_LOG_BASE] = "SET_LOG_BASE",
  [MSG_SET_LOG_FD] = "SET_LOG_FD",
  [MSG_SET_VRING_NUM] = "SET_VRING_NUM",
  [MSG_SET_VRING_ADDR] = "SET_VRING_ADDR",
  [MSG_SET_VRING_BASE] = "SET_VRING_BASE",
  [MSG_GET_VRING_BASE] = "GET_VRING_BASE",
  [MSG_SET_VRING_KICK] = "SET_VRING_KICK",
  [MSG_SET_VRING_CALL] = "SET_VRING_CALL",
  [MSG_SET_VRING_ERR] = "SET_VRING_ERR",
  [MSG_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
  [MSG_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
  [MSG_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
  [MSG_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
  [MSG_SEND_RARP] = "SEND_RARP",
  [MSG_NET_SET_MTU] = "NET_SET_MTU",
  [MSG_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
  [MSG_IOTLB_MSG] = "IOTLB_MSG",
  [MSG_SET_VRING_ENDIAN] = "SET_VRING_ENDIAN",
  [MSG_GET_CONFIG] = "GET_CONFIG",
  [MSG_SET_CONFIG] = "SET_CONFIG",
  [MSG_CREATE_CRYPTO_SESSION] = "CREATE_CRYPTO_SESSION",
  [MSG_CLOSE_CRYPTO_SESSION] = "CLOSE_CRYPTO_SESSION",
  [MSG_POSTCOPY_ADVISE] = "POSTCOPY_ADVISE",
  [MSG_POSTCOPY_LISTEN] = "POSTCOPY_LISTEN",
  [MSG_POSTCOPY_END] = "POSTCOPY_END",
  [MSG_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
  [MSG_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
  [MSG_GPU_SET_SOCKET] = "GPU_SET_SOCKET",
  [MSG_RESET_DEVICE] = "RESET_DEVICE",
  [MSG_VRING_KICK] = "VRING_KICK",
  [MSG_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
  [MSG_ADD_MEM_REG] = "ADD_MEM_REG",
  [MSG_REM_MEM_REG] = "REM_MEM_REG",
  [MSG_SET_STATUS] = "SET_STATUS",
  [MSG_GET_STATUS] = "GET_STATUS",
  [MSG_GET_SHARED_OBJECT] = "GET_SHARED_OBJECT",
  [MSG_SET_DEVICE_STATE_FD] = "SET_DEVICE_STATE_FD",
  [MSG_CHECK_DEVICE_STATE] = "CHECK_DEVICE_STATE",
  [MSG_GET_SHMEM_CONFIG] = "GET_SHMEM_CONFIG",
};

const char *
conform_message_name (guint request)
{
  static char number[32];

  if (request < G_N_ELEMENTS (names) && names[request] != NULL)
    return names[request];
  g_snprintf (number, sizeof number, "message %u", request);
  return number;
}

static void
transcribe_message (Conform *self, const char *arrow, const Header *header, const guint8 *payload,
                    gsize size, guint n_fds)
{
  GString *hex = g_string_new (NULL);

  for (gsize i = 0; i < MIN (size, SHOWN_BYTES); i++)
    g_string_append_printf (hex, "%s%02x", i % 4 == 0 ? " " : "", payload[i]);
  conform_transcribe (self, "%s %s, flags 0x%x, size %u, %u fds%s%s%s", arrow,
                      conform_message_name (header->request), header->flags, header->size, n_fds,
                      size > 0 ? ":" : "", hex->str, size > SHOWN_BYTES ? " ..." : "");
  g_string_free (hex, TRUE);
}

void
conform_open (Conform *self)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  if (conform_is_decided (self))
    return;
  /* What an earlier session left behind may still be at work in its memory. */
  if (self->fd >= 0 || self->was_opened)
    {
      conform_close (self);
      conform_rings_clear (self);
      conform_rings_init (self);
    }
  self->was_opened = TRUE;
  self->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_strlcpy (address.sun_path, self->socket_path, sizeof address.sun_path);
  while (connect (self->fd, (struct sockaddr *) &address, sizeof address) != 0)
    {
      /* Some listen again only a while after a connection has ended. */
      if (g_get_monotonic_time () > conform_get_deadline (self))
        {
          conform_inconclusive (self, "cannot connect: %s", g_strerror (errno));
          return;
        }
      g_usleep (5000);
    }
  conform_transcribe (self, "-- connected");
}

void
conform_close (Conform *self)
{
  if (self->fd >= 0)
    close (self->fd);
  self->fd = -1;
}

static void
note_end (Conform *self)
{
  self->was_closed = TRUE;
  conform_transcribe (self, "-- the back-end closed the connection");
  if (conform_is_decided (self))
    return;
  if (self->may_close)
    conform_note (self, "the back-end closed the connection");
  else
    conform_fail (self, "the back-end closed the connection");
}

void
conform_send_bytes (Conform *self, gconstpointer data, gsize size, const int *fds, guint n_fds)
{
  union
  {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (64 * sizeof (int))];
  } control;
  const guint8 *bytes = data;

  while (size > 0 && self->fd >= 0 && !conform_is_decided (self))
    {
      struct iovec iov = { (gpointer) bytes, size };
      struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
      struct pollfd pollfd = { .fd = self->fd, .events = POLLOUT };
      ssize_t sent;

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
      if (poll (&pollfd, 1, (int) self->timeout_ms) == 0)
        {
          conform_fail (self, "the back-end does not read its socket");
          return;
        }
      sent = sendmsg (self->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && (errno == EINTR || errno == EAGAIN))
        continue;
      if (sent < 0)
        {
          note_end (self);
          return;
        }
      bytes += sent;
      size -= (gsize) sent;
      n_fds = 0;
    }
}

void
conform_send (Conform *self, guint request, guint flags, gconstpointer payload, gsize size,
              const int *fds, guint n_fds)
{
  const Header header = { request, flags, (guint32) size };
  g_autoptr (GByteArray) bytes = g_byte_array_new ();

  if (conform_is_decided (self))
    return;
  transcribe_message (self, "->", &header, payload, size, n_fds);
  g_byte_array_append (bytes, (const guint8 *) &header, sizeof header);
  if (size > 0)
    g_byte_array_append (bytes, payload, (guint) size);
  conform_send_bytes (self, bytes->data, bytes->len, fds, n_fds);
}

/* Reads @size bytes. 1: done, 0: end, -1: nothing in time. */
static int
read_bytes (int fd, gpointer data, gsize size, ConformAnswer *answer, gint64 deadline)
{
  guint8 *bytes = data;

  while (size > 0)
    {
      union
      {
        struct cmsghdr align;
        char bytes[CMSG_SPACE (CONFORM_MAX_FDS * sizeof (int))];
      } control;
      struct iovec iov = { bytes, size };
      struct msghdr message = { .msg_iov = &iov,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control };
      struct pollfd pollfd = { .fd = fd, .events = POLLIN };
      const gint64 left = deadline - g_get_monotonic_time ();
      ssize_t got;
      int ready = poll (&pollfd, 1, left > 0 ? (int) (left / 1000) + 1 : 0);

      if (ready < 0 && errno == EINTR)
        continue;
      if (ready == 0)
        return -1;
      got = recvmsg (fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (got < 0 && (errno == EINTR || errno == EAGAIN))
        continue;
      if (got <= 0)
        return 0;
      for (struct cmsghdr *header = CMSG_FIRSTHDR (&message); header != NULL;
           header = CMSG_NXTHDR (&message, header))
        {
          const guint n = (guint) ((header->cmsg_len - CMSG_LEN (0)) / sizeof (int));
          int fds[CONFORM_MAX_FDS];

          if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
          memcpy (fds, CMSG_DATA (header), MIN (n, CONFORM_MAX_FDS) * sizeof (int));
          for (guint i = 0; i < MIN (n, CONFORM_MAX_FDS); i++)
            {
              if (answer->n_fds < CONFORM_MAX_FDS)
                answer->fds[answer->n_fds++] = fds[i];
              else
                close (fds[i]);
            }
        }
      bytes += got;
      size -= (gsize) got;
    }
  return 1;
}

/* As read_bytes (), a whole message; -2: too long to be one. */
static int
read_message (Conform *self, int fd, gint64 deadline, ConformAnswer *answer)
{
  Header header;
  int result;

  memset (answer, 0, sizeof *answer);
  result = read_bytes (fd, &header, sizeof header, answer, deadline);
  if (result != 1)
    return result;
  answer->request = header.request;
  answer->flags = header.flags;
  answer->size = header.size;
  if (header.size > sizeof answer->payload)
    {
      transcribe_message (self, "<-", &header, NULL, 0, answer->n_fds);
      return -2;
    }
  result = read_bytes (fd, answer->payload, header.size, answer, deadline);
  transcribe_message (self, "<-", &header, answer->payload, result == 1 ? header.size : 0,
                      answer->n_fds);
  return result;
}

void
conform_clear_answer (ConformAnswer *answer)
{
  for (guint i = 0; i < answer->n_fds; i++)
    if (answer->fds[i] >= 0)
      close (answer->fds[i]);
  answer->n_fds = 0;
}

gboolean
conform_receive (Conform *self, ConformAnswer *answer)
{
  int result;

  memset (answer, 0, sizeof *answer);
  if (conform_is_decided (self) || self->fd < 0)
    return FALSE;
  result = read_message (self, self->fd, conform_get_deadline (self), answer);
  if (result == 1)
    return TRUE;
  if (result == 0)
    note_end (self);
  else if (result == -1 && g_get_monotonic_time () >= self->deadline)
    conform_inconclusive (self, "the case's time is over: the back-end is slow");
  else if (result == -1)
    conform_fail (self, "no answer within %u ms", self->timeout_ms);
  else
    conform_fail (self, "an answer of %u bytes, which no message has", answer->size);
  conform_clear_answer (answer);
  return FALSE;
}

gboolean
conform_receive_reply (Conform *self, guint request, gssize size, ConformAnswer *answer)
{
  if (!conform_receive (self, answer))
    return FALSE;
  CONFORM_CHECK (self, answer->request == request, "%s is answered with the code of %u",
                 conform_message_name (request), answer->request);
  CONFORM_CHECK (self, (answer->flags & ~CONFORM_NEED_REPLY) == (CONFORM_VERSION | CONFORM_REPLY),
                 "the answer to %s has flags 0x%x instead of 0x5", conform_message_name (request),
                 answer->flags);
  CONFORM_CHECK (self, size < 0 || answer->size == (gsize) size,
                 "the answer to %s has %u bytes instead of %d", conform_message_name (request),
                 answer->size, (int) size);
  if (!conform_is_decided (self))
    return TRUE;
  conform_clear_answer (answer);
  return FALSE;
}

guint64
conform_get_u64 (Conform *self, guint request)
{
  ConformAnswer answer;
  guint64 value = 0;

  conform_send (self, request, CONFORM_VERSION, NULL, 0, NULL, 0);
  if (conform_receive_reply (self, request, 8, &answer))
    memcpy (&value, answer.payload, sizeof value);
  conform_clear_answer (&answer);
  return value;
}

guint64
conform_ack (Conform *self, guint request, gconstpointer payload, gsize size, const int *fds,
             guint n_fds)
{
  ConformAnswer answer;
  guint64 value = 0;

  if ((self->protocol & P_REPLY_ACK) == 0)
    {
      conform_send (self, request, CONFORM_VERSION, payload, size, fds, n_fds);
      conform_in_step (self);
      return 0;
    }
  conform_send (self, request, CONFORM_VERSION | CONFORM_NEED_REPLY, payload, size, fds, n_fds);
  if (conform_receive_reply (self, request, 8, &answer))
    memcpy (&value, answer.payload, sizeof value);
  conform_clear_answer (&answer);
  return value;
}

void
conform_do (Conform *self, guint request, gconstpointer payload, gsize size, const int *fds,
            guint n_fds)
{
  guint64 answer = conform_ack (self, request, payload, size, fds, n_fds);

  CONFORM_CHECK (self, answer == 0, "%s is refused (%" G_GUINT64_FORMAT ")",
                 conform_message_name (request), answer);
}

void
conform_do_u64 (Conform *self, guint request, guint64 value)
{
  conform_do (self, request, &value, sizeof value, NULL, 0);
}

void
conform_do_state (Conform *self, guint request, guint32 index, guint32 num)
{
  const ConformState state = { index, num };

  conform_do (self, request, &state, sizeof state, NULL, 0);
}

void
conform_refused (Conform *self, guint request, gconstpointer payload, gsize size, const int *fds,
                 guint n_fds, gboolean stays)
{
  const gboolean may_close = self->may_close;
  guint64 answer;

  if (conform_is_decided (self))
    return;
  if ((self->protocol & P_REPLY_ACK) == 0)
    {
      conform_inconclusive (self, "without REPLY_ACK a refusal cannot be seen");
      return;
    }
  if (!stays)
    self->may_close = TRUE;
  answer = conform_ack (self, request, payload, size, fds, n_fds);
  self->may_close = may_close;
  CONFORM_CHECK (self, answer != 0, "%s is accepted", conform_message_name (request));
}

void
conform_in_step (Conform *self)
{
  const guint64 features = conform_get_u64 (self, MSG_GET_FEATURES);

  CONFORM_CHECK (self, features == self->offered_features,
                 "the stream has slipped: GET_FEATURES is answered with 0x%" G_GINT64_MODIFIER
                 "x instead of 0x%" G_GINT64_MODIFIER "x",
                 features, self->offered_features);
}

void
conform_expect_silence (Conform *self)
{
  struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
  ConformAnswer answer;

  if (conform_is_decided (self) || poll (&pollfd, 1, (int) self->quiet_ms) == 0)
    return;
  if (!conform_receive (self, &answer))
    return;
  conform_fail (self, "a message comes that nobody waits for: %s, %u bytes",
                conform_message_name (answer.request), answer.size);
  conform_clear_answer (&answer);
}

gboolean
conform_is_closed (Conform *self)
{
  guint8 byte;
  const gint64 deadline = conform_get_deadline (self);

  while (!conform_is_decided (self) && g_get_monotonic_time () < deadline)
    {
      struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };

      if (poll (&pollfd, 1, 10) > 0 && recv (self->fd, &byte, 1, MSG_DONTWAIT) <= 0)
        {
          conform_transcribe (self, "-- the back-end closed the connection");
          return TRUE;
        }
    }
  return FALSE;
}

void
conform_may_close (Conform *self)
{
  self->may_close = TRUE;
}

void
conform_connect_with (Conform *self, guint64 features, guint64 protocol)
{
  /* What every case takes: little, since a bit that is taken changes what the back-end does. */
  features |= F_VERSION_1 | F_PROTOCOL;
  protocol |= P_REPLY_ACK | P_MQ;
  if (self->rule != NULL)
    {
      features |= self->rule->features;
      protocol |= self->rule->protocol;
    }
  conform_open (self);
  self->features = features & conform_get_u64 (self, MSG_GET_FEATURES);
  self->protocol = 0;
  if ((self->features & F_PROTOCOL) != 0)
    {
      const guint64 offered = conform_get_u64 (self, MSG_GET_PROTOCOL_FEATURES);

      protocol &= offered;
      conform_send (self, MSG_SET_PROTOCOL_FEATURES, CONFORM_VERSION, &protocol, sizeof protocol,
                    NULL, 0);
      self->protocol = protocol;
    }
  conform_send (self, MSG_SET_OWNER, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
}

void
conform_connect (Conform *self)
{
  conform_connect_with (self, 0, 0);
}

int
conform_open_channel (Conform *self)
{
  int pair[2] = { -1, -1 };

  if (conform_is_decided (self) || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return -1;
  conform_do (self, MSG_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
  close (pair[1]);
  return pair[0];
}

gboolean
conform_receive_on (Conform *self, int fd, guint timeout_ms, ConformAnswer *message)
{
  memset (message, 0, sizeof *message);
  if (conform_is_decided (self) || fd < 0)
    return FALSE;
  return read_message (self, fd, g_get_monotonic_time () + (gint64) timeout_ms * 1000, message)
         == 1;
}
