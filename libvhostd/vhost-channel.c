/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One vhost-user socket: framing of messages and their descriptors, both directions. Must never
 * block, never read past the message at hand, never leak a descriptor, and must not know what a
 * message means.
 *
 * How it works: receiving is a state machine over the number of bytes that have come. First exactly
 * the 12 bytes of the header, then exactly the payload that it announces: the kernel joins a
 * message without descriptors to the next one that has some if more is asked for, and then nobody
 * knows whose they are. Each step asks only for what is missing and stops at EAGAIN, so a peer that
 * sends half a message delays nobody. Descriptors may come with the first byte of the header only.
 * After an error the place in the stream is lost and nothing more is read. Sending writes at once;
 * what the socket does not take waits in a bounded queue with duplicates of the descriptors. */
#include "config.h"

#include "vhost-channel-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-trace-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define MAX_PENDING_OUTPUT (64 * 1024)

/* Room for all that a message can have, also what is too much: the kernel would close it itself,
 * and our thread would wait for that. */
#define CONTROL_SIZE CMSG_SPACE (VHOST_FD_MOST_IN_MESSAGE * sizeof (int))

typedef union
{
  struct cmsghdr align;
  char bytes[CONTROL_SIZE];
} VhostControl;

typedef struct
{
  guint8 *data; /* (owned) */
  gsize size;
  gsize sent;
  int fds[VHOST_WIRE_MAX_FDS]; /* (owned): duplicates; gone with the first byte */
  guint n_fds;
} VhostOutput;

struct _VhostChannel
{
  int fd;               /* (owned) */
  VhostMessage message; /* the one that is being read, or that the caller has */
  gsize received;       /* bytes of it, header included */
  gboolean delivered;
  gboolean input_broken;
  gboolean output_broken;
  GQueue output; /* VhostOutput (owned) */
  gsize pending; /* unsent bytes in it */
};

static void
vhost_message_reset (VhostMessage *message)
{
  for (guint i = 0; i < message->n_fds; i++)
    vhost_fd_discard (&message->fds[i]);
  memset (message, 0, sizeof *message);
  for (guint i = 0; i < VHOST_WIRE_MAX_FDS; i++)
    message->fds[i] = -1;
}

static void
vhost_output_free (gpointer data)
{
  VhostOutput *output = data;
  for (guint i = 0; i < output->n_fds; i++)
    vhost_fd_clear (&output->fds[i]);
  g_free (output->data);
  g_free (output);
}

VhostChannel *
vhost_channel_new_take_fd (int fd)
{
  VhostChannel *self = g_new0 (VhostChannel, 1);
  self->fd = fd;
  vhost_message_reset (&self->message);
  g_queue_init (&self->output);
  /* Every call here says MSG_DONTWAIT; the flag is for others who hold the descriptor. A failure
   * shows at the first receive. */
  vhost_fd_set_nonblocking (fd, NULL);
  return self;
}

void
vhost_channel_free (VhostChannel *self)
{
  if (self == NULL)
    return;
  vhost_message_reset (&self->message);
  g_queue_clear_full (&self->output, vhost_output_free);
  vhost_fd_close_connection (&self->fd);
  g_free (self);
}

int
vhost_channel_get_fd (VhostChannel *self)
{
  return self->fd;
}

gboolean
vhost_channel_has_input (VhostChannel *self)
{
  struct pollfd poll_fd = { .fd = self->fd, .events = POLLIN };

  return (self->received > 0 && !self->delivered) || poll (&poll_fd, 1, 0) > 0;
}

int
vhost_message_steal_fd (VhostMessage *message, guint index)
{
  if (index >= message->n_fds)
    return -1;
  int fd = message->fds[index];
  message->fds[index] = -1;
  return fd;
}

/* How many descriptors came with @msghdr; the first of them move to @fds, which has room for
 * VHOST_WIRE_MAX_FDS. */
static guint
take_fds (struct msghdr *msghdr, int *fds)
{
  guint n = 0;
  for (struct cmsghdr *cmsg = CMSG_FIRSTHDR (msghdr); cmsg != NULL;
       cmsg = CMSG_NXTHDR (msghdr, cmsg))
    {
      if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
        continue;
      guint in_this = (cmsg->cmsg_len - CMSG_LEN (0)) / sizeof (int);
      for (guint i = 0; i < in_this; i++)
        {
          int fd;
          memcpy (&fd, CMSG_DATA (cmsg) + i * sizeof fd, sizeof fd);
          if (n < VHOST_WIRE_MAX_FDS)
            fds[n] = fd;
          else
            vhost_fd_discard (&fd);
          n++;
        }
    }
  return n;
}

static VhostChannelResult
input_error (VhostChannel *self)
{
  self->input_broken = TRUE;
  vhost_message_reset (&self->message);
  self->received = 0;
  return VHOST_CHANNEL_ERROR;
}

/* Sets @error for the errno of a socket call. */
static void
set_socket_error (GError **error, const char *action, int saved_errno)
{
  gboolean gone = saved_errno == EPIPE || saved_errno == ECONNRESET;
  g_set_error (error, VHOST_ERROR, gone ? VHOST_ERROR_DISCONNECTED : VHOST_ERROR_SOCKET,
               "cannot %s the vhost-user socket: %s", action, g_strerror (saved_errno));
}

/* The end of the stream, or a reset: peers that go with unread replies cause the latter. */
static VhostChannelResult
end_of_stream (VhostChannel *self, GError **error)
{
  if (self->received == 0)
    {
      self->input_broken = TRUE;
      return VHOST_CHANNEL_CLOSED;
    }
  g_set_error (
      error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
      "the other end closed the connection in the middle of a message, after %" G_GSIZE_FORMAT
      " bytes of %u",
      self->received,
      self->received < VHOST_WIRE_HEADER_SIZE ? VHOST_WIRE_HEADER_SIZE
                                              : VHOST_WIRE_HEADER_SIZE + self->message.header.size);
  return input_error (self);
}

/* One recvmsg () of at most @size bytes to @data. MESSAGE stands for "some came". */
static VhostChannelResult
receive_some (VhostChannel *self, void *data, gsize size, GError **error)
{
  VhostControl control;
  struct iovec iov = { .iov_base = data, .iov_len = size };
  struct msghdr msghdr = {
    .msg_iov = &iov,
    .msg_iovlen = 1,
    .msg_control = control.bytes,
    .msg_controllen = sizeof control.bytes,
  };
  ssize_t n;
  do
    n = recvmsg (self->fd, &msghdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    {
      int saved_errno = errno;
      if (saved_errno == EAGAIN || saved_errno == EWOULDBLOCK)
        return VHOST_CHANNEL_AGAIN;
      if (saved_errno == ECONNRESET)
        return end_of_stream (self, error);
      set_socket_error (error, "read from", saved_errno);
      return input_error (self);
    }

  int fds[VHOST_WIRE_MAX_FDS];
  guint n_came = take_fds (&msghdr, fds);
  guint n_fds = MIN (n_came, VHOST_WIRE_MAX_FDS);
  gboolean truncated = (msghdr.msg_flags & MSG_CTRUNC) != 0;
  gboolean misplaced = n_fds > 0 && self->received > 0;
  if (misplaced || truncated || n_came > n_fds)
    {
      for (guint i = 0; i < n_fds; i++)
        vhost_fd_discard (&fds[i]);
      if (truncated)
        g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                     "the file descriptors of a message were truncated to %u: this process has "
                     "reached its limit of open files (RLIMIT_NOFILE)",
                     n_came);
      else if (n_came > n_fds)
        g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                     "%u file descriptors came with one message, which can have %u", n_came,
                     VHOST_WIRE_MAX_FDS);
      else
        g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                     "%u file descriptors came at byte %" G_GSIZE_FORMAT
                     " of a message, they belong to its first byte",
                     n_fds, self->received);
      return input_error (self);
    }
  if (n_fds > 0)
    {
      memcpy (self->message.fds, fds, n_fds * sizeof fds[0]);
      self->message.n_fds = n_fds;
    }
  if (n == 0)
    return end_of_stream (self, error);
  self->received += (gsize) n;
  return VHOST_CHANNEL_MESSAGE;
}

VhostChannelResult
vhost_channel_receive (VhostChannel *self, VhostMessage **message, GError **error)
{
  VhostMessage *m = &self->message;

  *message = NULL;
  if (self->input_broken)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "the connection has ended, nothing more can be read from it");
      return VHOST_CHANNEL_ERROR;
    }
  if (self->delivered)
    {
      vhost_message_reset (m);
      self->received = 0;
      self->delivered = FALSE;
    }

  while (self->received < VHOST_WIRE_HEADER_SIZE)
    {
      VhostChannelResult result = receive_some (self, (guint8 *) &m->header + self->received,
                                                VHOST_WIRE_HEADER_SIZE - self->received, error);
      if (result != VHOST_CHANNEL_MESSAGE)
        return result;
      /* Before the size is used. */
      if (self->received == VHOST_WIRE_HEADER_SIZE && !vhost_wire_check_header (&m->header, error))
        return input_error (self);
    }
  while (self->received < VHOST_WIRE_HEADER_SIZE + m->header.size)
    {
      gsize offset = self->received - VHOST_WIRE_HEADER_SIZE;
      VhostChannelResult result
          = receive_some (self, m->payload.bytes + offset, m->header.size - offset, error);
      if (result != VHOST_CHANNEL_MESSAGE)
        return result;
    }

  vhost_debug (WIRE, "socket %d: received request %u, flags 0x%x, %u bytes, %u descriptors",
               self->fd, m->header.request, m->header.flags, m->header.size, m->n_fds);
  self->delivered = TRUE;
  *message = m;
  return VHOST_CHANNEL_MESSAGE;
}

/* Sends what it can of @iov. -1: error set; 0: the socket is full. */
static gssize
send_some (VhostChannel *self, struct iovec *iov, guint n_iov, const int *fds, guint n_fds,
           GError **error)
{
  VhostControl control;
  struct msghdr msghdr = { .msg_iov = iov, .msg_iovlen = n_iov };
  if (n_fds > 0)
    {
      memset (&control, 0, sizeof control);
      msghdr.msg_control = control.bytes;
      msghdr.msg_controllen = CMSG_SPACE (n_fds * sizeof (int));
      struct cmsghdr *cmsg = CMSG_FIRSTHDR (&msghdr);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN (n_fds * sizeof (int));
      memcpy (CMSG_DATA (cmsg), fds, n_fds * sizeof (int));
    }
  ssize_t n;
  do
    n = sendmsg (self->fd, &msghdr, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n >= 0)
    return n;
  int saved_errno = errno;
  if (saved_errno == EAGAIN || saved_errno == EWOULDBLOCK)
    return 0;
  self->output_broken = TRUE;
  set_socket_error (error, "write to", saved_errno);
  return -1;
}

static gboolean
check_output (VhostChannel *self, GError **error)
{
  if (!self->output_broken)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
               "the connection is broken, nothing more can be written to it");
  return FALSE;
}

/* Queues the rest of a message, @sent bytes of which have gone. */
static gboolean
queue_output (VhostChannel *self, const VhostWireHeader *header, const void *payload, gsize sent,
              const int *fds, guint n_fds, GError **error)
{
  gsize size = VHOST_WIRE_HEADER_SIZE + (gsize) header->size;
  if (self->pending + size - sent > MAX_PENDING_OUTPUT)
    {
      /* Half a message may have gone: the stream cannot be used any more. */
      self->output_broken = TRUE;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "the other end does not read: %" G_GSIZE_FORMAT
                   " bytes wait to be sent, at most %u may",
                   self->pending + size - sent, MAX_PENDING_OUTPUT);
      return FALSE;
    }

  VhostOutput *output = g_new0 (VhostOutput, 1);
  output->data = g_malloc (size);
  output->size = size;
  output->sent = sent;
  memcpy (output->data, header, VHOST_WIRE_HEADER_SIZE);
  if (header->size > 0)
    memcpy (output->data + VHOST_WIRE_HEADER_SIZE, payload, header->size);
  for (guint i = 0; sent == 0 && i < n_fds; i++)
    {
      output->fds[i] = fcntl (fds[i], F_DUPFD_CLOEXEC, 3);
      if (output->fds[i] < 0)
        {
          int saved_errno = errno;
          vhost_output_free (output);
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                       "cannot keep file descriptor %d until the socket takes it: %s", fds[i],
                       g_strerror (saved_errno));
          return FALSE;
        }
      output->n_fds = i + 1;
    }
  g_queue_push_tail (&self->output, output);
  self->pending += size - sent;
  return TRUE;
}

gboolean
vhost_channel_send (VhostChannel *self, guint32 request, guint32 flags, const void *payload,
                    guint32 size, const int *fds, guint n_fds, GError **error)
{
  VhostWireHeader header = { .request = request, .flags = flags, .size = size };
  /* A caller that names no version means the only one; one that names another means that. */
  if ((flags & VHOST_WIRE_FLAG_VERSION_MASK) == 0)
    header.flags |= VHOST_WIRE_VERSION;
  if (n_fds > VHOST_WIRE_MAX_FDS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "cannot send %u file descriptors with one message, at most %u are allowed",
                   n_fds, VHOST_WIRE_MAX_FDS);
      return FALSE;
    }
  /* What waits goes first. */
  if (!check_output (self, error) || !vhost_channel_flush (self, error))
    return FALSE;

  gsize sent = 0;
  if (self->pending == 0)
    {
      struct iovec iov[2] = {
        { .iov_base = &header, .iov_len = sizeof header },
        { .iov_base = (void *) payload, .iov_len = size },
      };
      gssize n = send_some (self, iov, size > 0 ? 2 : 1, fds, n_fds, error);
      if (n < 0)
        return FALSE;
      sent = (gsize) n;
    }
  vhost_debug (WIRE, "socket %d: sent request %u, flags 0x%x, %u bytes, %u descriptors%s", self->fd,
               request, header.flags, size, n_fds,
               sent < sizeof header + size ? ", must wait" : "");
  if (sent == sizeof header + (gsize) size)
    return TRUE;
  return queue_output (self, &header, payload, sent, fds, n_fds, error);
}

gboolean
vhost_channel_flush (VhostChannel *self, GError **error)
{
  if (!check_output (self, error))
    return FALSE;
  VhostOutput *output;
  while ((output = g_queue_peek_head (&self->output)) != NULL)
    {
      struct iovec iov
          = { .iov_base = output->data + output->sent, .iov_len = output->size - output->sent };
      gssize n = send_some (self, &iov, 1, output->fds, output->n_fds, error);
      if (n < 0)
        return FALSE;
      if (n == 0)
        return TRUE;
      for (guint i = 0; i < output->n_fds; i++)
        vhost_fd_clear (&output->fds[i]);
      output->n_fds = 0;
      output->sent += (gsize) n;
      self->pending -= (gsize) n;
      if (output->sent == output->size)
        vhost_output_free (g_queue_pop_head (&self->output));
    }
  return TRUE;
}

gboolean
vhost_channel_wants_write (VhostChannel *self)
{
  return self->pending > 0 && !self->output_broken;
}

gboolean
vhost_channel_wait (VhostChannel *self, gint64 deadline, GError **error)
{
  for (;;)
    {
      struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
      if (vhost_channel_wants_write (self))
        pollfd.events |= POLLOUT;
      gint64 left = MAX (deadline - g_get_monotonic_time (), 0);
      struct timespec timeout
          = { .tv_sec = left / G_USEC_PER_SEC, .tv_nsec = left % G_USEC_PER_SEC * 1000 };
      int n = ppoll (&pollfd, 1, &timeout, NULL);
      if (n < 0 && errno != EINTR)
        {
          set_socket_error (error, "wait for", errno);
          return FALSE;
        }
      if (n > 0 && (pollfd.revents & POLLOUT) != 0 && !vhost_channel_flush (self, error))
        return FALSE;
      /* An error or hang-up counts as readable: the next receive tells which it is. */
      if (n > 0 && (pollfd.revents & ~POLLOUT) != 0)
        return TRUE;
      if (n <= 0 && left == 0)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                       "the other end of the vhost-user socket did not answer in time");
          return FALSE;
        }
    }
}

gboolean
vhost_channel_receive_wait (VhostChannel *self, gint64 deadline, VhostMessage **message,
                            GError **error)
{
  for (;;)
    {
      switch (vhost_channel_receive (self, message, error))
        {
        case VHOST_CHANNEL_MESSAGE:
          return TRUE;
        case VHOST_CHANNEL_AGAIN:
          if (!vhost_channel_wait (self, deadline, error))
            return FALSE;
          break;
        case VHOST_CHANNEL_CLOSED:
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                       "the other end closed the vhost-user socket");
          return FALSE;
        case VHOST_CHANNEL_ERROR:
        default:
          return FALSE;
        }
    }
}
