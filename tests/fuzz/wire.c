/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes of a hostile peer against the wire layer: the checks of the table, then a channel over a
 * socket pair. Must not depend on anything above the wire layer.
 *
 * How it works: the input is read twice. As one message, its payload lies in a block of exactly its
 * size, so that the address sanitizer sees a check that reads too far. As a script, each byte says
 * how many of the following bytes to write at once and with how many descriptors, so that messages
 * come in all kinds of pieces. After each input the process has as many descriptors as before. */
#include "vhost-channel-private.h"

#include "vhost-fd-private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than the protocol allows, so that the limit is met. */
#define MAX_FDS 10

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static void
require (gboolean condition)
{
  if (!condition)
    abort ();
}

/* A result and its error always agree. The error comes by its address: the compiler may read it
 * before the call that sets it, which is another argument. */
static gboolean
agreed (gboolean valid, GError **error)
{
  require (valid == (*error == NULL));
  require (*error == NULL || g_utf8_validate ((*error)->message, -1, NULL));
  g_clear_error (error);
  return valid;
}

static void
check_row (const VhostWireMessage *row, const VhostWireHeader *header, const void *payload,
           guint n_fds)
{
  GError *error = NULL;
  if (row == NULL)
    return;
  if (!agreed (vhost_wire_check_message (row, header, payload, n_fds, &error), &error))
    return;
  require (header->size >= row->min_size && header->size <= row->max_size);
  require (n_fds >= row->min_fds && n_fds <= row->max_fds);
}

static void
fuzz_message (const guint8 *data, size_t size)
{
  VhostWireHeader header;
  GError *error = NULL;
  if (size < 1 + sizeof header)
    return;
  guint n_fds = data[0];
  memcpy (&header, data + 1, sizeof header);
  data += 1 + sizeof header;
  size -= 1 + sizeof header;
  require (vhost_wire_name (header.request) != NULL);
  vhost_wire_protocol_bit_name (header.flags);
  vhost_wire_feature_bit_name ("net", header.flags);
  if (!agreed (vhost_wire_check_header (&header, &error), &error))
    return;
  require (header.size <= VHOST_WIRE_MAX_PAYLOAD);
  g_autofree guint8 *payload = g_malloc0 (MAX (header.size, 1));
  memcpy (payload, data, MIN (size, header.size));
  check_row (vhost_wire_lookup (header.request), &header, payload, n_fds);
  check_row (vhost_wire_lookup_backend (header.request), &header, payload, n_fds);
}

/* Receives until nothing more comes; FALSE: the channel has ended. */
static gboolean
receive_all (VhostChannel *channel)
{
  for (;;)
    {
      VhostMessage *message;
      GError *error = NULL;
      VhostChannelResult result = vhost_channel_receive (channel, &message, &error);
      agreed (result != VHOST_CHANNEL_ERROR, &error);
      require ((message != NULL) == (result == VHOST_CHANNEL_MESSAGE));
      if (result == VHOST_CHANNEL_AGAIN)
        return TRUE;
      if (message == NULL)
        return FALSE;
      require (message->header.size <= VHOST_WIRE_MAX_PAYLOAD);
      require (message->n_fds <= VHOST_WIRE_MAX_FDS);
      for (guint i = 0; i < message->n_fds; i++)
        require (fcntl (message->fds[i], F_GETFD) == FD_CLOEXEC);
      if (message->n_fds > 1)
        {
          int fd = vhost_message_steal_fd (message, 1);
          vhost_fd_clear (&fd);
        }
      GError *send_error = NULL;
      agreed (vhost_channel_send (channel, message->header.request, VHOST_WIRE_FLAG_REPLY,
                                  message->payload.bytes, message->header.size, message->fds,
                                  MIN (message->n_fds, 1), &send_error),
              &send_error);
    }
}

static gboolean
peer_send (int peer, const guint8 *data, gsize size, guint n_fds)
{
  union
  {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int) * MAX_FDS)];
  } control;
  struct iovec iov = { (void *) data, size };
  struct msghdr msghdr = { .msg_iov = &iov, .msg_iovlen = 1 };
  if (n_fds > 0)
    {
      memset (&control, 0, sizeof control);
      msghdr.msg_control = &control;
      msghdr.msg_controllen = CMSG_SPACE (sizeof (int) * n_fds);
      struct cmsghdr *cmsg = CMSG_FIRSTHDR (&msghdr);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN (sizeof (int) * n_fds);
      for (guint i = 0; i < n_fds; i++)
        memcpy (CMSG_DATA (cmsg) + i * sizeof (int), &peer, sizeof peer);
    }
  return sendmsg (peer, &msghdr, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) size;
}

static void
fuzz_channel (const guint8 *data, size_t size)
{
  int pair[2];
  require (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  g_autoptr (VhostChannel) channel = vhost_channel_new_take_fd (pair[0]);
  gboolean alive = TRUE;
  while (alive && size > 1)
    {
      guint8 control = *data++;
      size--;
      /* Small pieces, so that all borders are hit; a quarter of them bring descriptors. */
      gsize length = MIN ((gsize) (control & 31) + 1, size);
      guint n_fds = (control >> 5) == 7 ? (guint) control % (MAX_FDS + 1) : (control >> 5) == 6;
      if (!peer_send (pair[1], data, length, n_fds))
        break;
      data += length;
      size -= length;
      alive = receive_all (channel);
    }
  close (pair[1]);
  if (alive)
    receive_all (channel);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  vhost_fd_settle ();
  guint free_before = vhost_fd_count_free ();
  fuzz_message (data, size);
  fuzz_channel (data, size);
  vhost_fd_settle ();
  require (vhost_fd_count_free () == free_before);
  return 0;
}
