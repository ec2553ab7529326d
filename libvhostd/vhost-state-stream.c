/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The channel for a device's state as GIO streams. Must never block: it runs on the control thread,
 * and at the other end is a front-end that may do anything with the channel at any time.
 *
 * How it works: the streams are pollable, so GIO's asynchronous functions wait in the main context.
 * GIO's own streams over descriptors believe a poll () that says "ready", and block when another
 * holder of the same pipe was faster or has made it blocking again. Here sockets are used with
 * MSG_DONTWAIT, and pipes by an open file description of our own, which no other process can switch
 * to blocking. A pipe that another user has made cannot be opened: there the bytes go through a
 * pipe of our own, from one to the other by splice (), which can be told not to wait. Synchronous
 * calls fail with G_IO_ERROR_WOULD_BLOCK instead of waiting. */
#include "config.h"

#include "vhost-state-stream-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

typedef struct
{
  int fd; /* (owned): -1 once closed */
  gboolean is_socket;
  int through[2]; /* (owned): a pipe of our own, always empty between two calls; -1: not needed */
} Channel;

/* ---- The descriptor ---- */

/* Takes @fd. */
static gboolean
channel_open (Channel *self, int fd, int access, GError **error)
{
  VhostFdKind kind = vhost_fd_get_kind (fd);
  g_autofree char *path = NULL;
  int type = 0;
  socklen_t length = sizeof type;
  int flags = fcntl (fd, F_GETFL);
  int own;

  self->fd = fd;
  self->is_socket = kind == VHOST_FD_SOCKET
                    && getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0
                    && type == SOCK_STREAM;
  if ((kind != VHOST_FD_PIPE && !self->is_socket) || flags < 0
      || ((flags & O_ACCMODE) != access && (flags & O_ACCMODE) != O_RDWR))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the channel for the device's state must be a pipe or a stream socket that can "
                   "be %s; its kind is: %s",
                   access == O_WRONLY ? "written to" : "read from", vhost_fd_kind_to_string (kind));
      return FALSE;
    }
  if (self->is_socket)
    return TRUE;
  path = g_strdup_printf ("/proc/self/fd/%d", fd);
  own = open (path, access | O_NONBLOCK | O_CLOEXEC);
  if (own < 0)
    {
      /* Not ours to open (another user's), or no /proc. */
      if (pipe2 (self->through, O_CLOEXEC | O_NONBLOCK) == 0)
        return TRUE;
      self->through[0] = self->through[1] = -1;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot make a pipe for the device's state: %s", g_strerror (errno));
      return FALSE;
    }
  vhost_fd_discard (&self->fd);
  self->fd = own;
  return TRUE;
}

static void
channel_clear (Channel *self)
{
  vhost_fd_discard (&self->fd);
  vhost_fd_clear (&self->through[0]);
  vhost_fd_clear (&self->through[1]);
}

static gboolean
channel_is_ready (Channel *self, short events)
{
  struct pollfd pollfd = { .fd = self->fd, .events = events };

  return poll (&pollfd, 1, 0) != 0;
}

static gssize
channel_result (gssize n, const char *action, GError **error)
{
  int errsv = errno;

  if (n >= 0)
    return n;
  if (errsv == EAGAIN || errsv == EWOULDBLOCK || errsv == EINTR)
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK,
                         "the channel for the device's state is not ready");
  else
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errsv),
                 "cannot %s the channel for the device's state: %s", action, g_strerror (errsv));
  return -1;
}

/* Into our own pipe, and on as far as the other one has room. The rest is taken back. */
static gssize
write_through (Channel *self, const void *buffer, gsize count)
{
  gssize n = write (self->through[1], buffer, count);
  gssize moved;
  int errsv;

  if (n <= 0)
    return n;
  moved = splice (self->through[0], NULL, self->fd, NULL, (gsize) n, SPLICE_F_NONBLOCK);
  errsv = errno;
  for (gssize left = n - MAX (moved, 0); left > 0;)
    {
      guint8 sink[4096];
      gssize got = read (self->through[0], sink, MIN ((gsize) left, sizeof sink));

      if (got <= 0)
        break;
      left -= got;
    }
  errno = errsv;
  return moved;
}

static gssize
read_through (Channel *self, void *buffer, gsize count)
{
  gssize n = splice (self->fd, NULL, self->through[1], NULL, count, SPLICE_F_NONBLOCK);

  return n > 0 ? read (self->through[0], buffer, (gsize) n) : n;
}

/* A pipe whose other end is closed raises a signal that would end the program. */
static gssize
write_quietly (Channel *self, const void *buffer, gsize count)
{
  const struct timespec at_once = { 0 };
  sigset_t pipe_only, before, pending;
  gboolean was_pending;
  gssize n;
  int errsv;

  sigemptyset (&pipe_only);
  sigaddset (&pipe_only, SIGPIPE);
  was_pending = sigpending (&pending) == 0 && sigismember (&pending, SIGPIPE) == 1;
  pthread_sigmask (SIG_BLOCK, &pipe_only, &before);
  n = self->through[1] >= 0 ? write_through (self, buffer, count) : write (self->fd, buffer, count);
  errsv = errno;
  if (n < 0 && errsv == EPIPE && !was_pending)
    while (sigtimedwait (&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
      ;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  errno = errsv;
  return n;
}

static gssize
channel_write (Channel *self, const void *buffer, gsize count, GError **error)
{
  gssize n = self->is_socket ? send (self->fd, buffer, count, MSG_DONTWAIT | MSG_NOSIGNAL)
                             : write_quietly (self, buffer, count);

  return channel_result (n, "write to", error);
}

static gssize
channel_read (Channel *self, void *buffer, gsize count, GError **error)
{
  gssize n = self->is_socket         ? recv (self->fd, buffer, count, MSG_DONTWAIT)
             : self->through[1] >= 0 ? read_through (self, buffer, count)
                                     : read (self->fd, buffer, count);

  return channel_result (n, "read from", error);
}

static GSource *
channel_create_source (Channel *self, gpointer stream, GIOCondition condition,
                       GCancellable *cancellable)
{
  g_autoptr (GSource) child = g_unix_fd_source_new (self->fd, condition);

  return g_pollable_source_new_full (stream, child, cancellable);
}

/* ---- Output ---- */

#define VHOST_TYPE_STATE_OUTPUT (vhost_state_output_get_type ())
G_DECLARE_FINAL_TYPE (VhostStateOutput, vhost_state_output, VHOST, STATE_OUTPUT, GOutputStream)

struct _VhostStateOutput
{
  GOutputStream parent_instance;
  Channel channel;
};

static gssize
vhost_state_output_write_nonblocking (GPollableOutputStream *stream, const void *buffer,
                                      gsize count, GError **error)
{
  return channel_write (&VHOST_STATE_OUTPUT (stream)->channel, buffer, count, error);
}

static gboolean
vhost_state_output_is_writable (GPollableOutputStream *stream)
{
  return channel_is_ready (&VHOST_STATE_OUTPUT (stream)->channel, POLLOUT);
}

static GSource *
vhost_state_output_create_source (GPollableOutputStream *stream, GCancellable *cancellable)
{
  return channel_create_source (&VHOST_STATE_OUTPUT (stream)->channel, stream, G_IO_OUT,
                                cancellable);
}

static void
vhost_state_output_pollable_init (GPollableOutputStreamInterface *iface)
{
  iface->is_writable = vhost_state_output_is_writable;
  iface->create_source = vhost_state_output_create_source;
  iface->write_nonblocking = vhost_state_output_write_nonblocking;
}

G_DEFINE_FINAL_TYPE_WITH_CODE (VhostStateOutput, vhost_state_output, G_TYPE_OUTPUT_STREAM,
                               G_IMPLEMENT_INTERFACE (G_TYPE_POLLABLE_OUTPUT_STREAM,
                                                      vhost_state_output_pollable_init))

static gssize
vhost_state_output_write (GOutputStream *stream, const void *buffer, gsize count,
                          GCancellable *cancellable, GError **error)
{
  return channel_write (&VHOST_STATE_OUTPUT (stream)->channel, buffer, count, error);
}

static gboolean
vhost_state_output_close (GOutputStream *stream, GCancellable *cancellable, GError **error)
{
  channel_clear (&VHOST_STATE_OUTPUT (stream)->channel);
  return TRUE;
}

static void
vhost_state_output_finalize (GObject *object)
{
  channel_clear (&VHOST_STATE_OUTPUT (object)->channel);
  G_OBJECT_CLASS (vhost_state_output_parent_class)->finalize (object);
}

static void
vhost_state_output_class_init (VhostStateOutputClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = vhost_state_output_finalize;
  G_OUTPUT_STREAM_CLASS (klass)->write_fn = vhost_state_output_write;
  G_OUTPUT_STREAM_CLASS (klass)->close_fn = vhost_state_output_close;
}

static void
vhost_state_output_init (VhostStateOutput *self)
{
  self->channel = (Channel){ .fd = -1, .through = { -1, -1 } };
}

GOutputStream *
vhost_state_output_new_take_fd (int fd, GError **error)
{
  g_autoptr (VhostStateOutput) self = g_object_new (VHOST_TYPE_STATE_OUTPUT, NULL);

  if (!channel_open (&self->channel, fd, O_WRONLY, error))
    return NULL;
  return G_OUTPUT_STREAM (g_steal_pointer (&self));
}

/* ---- Input ---- */

#define VHOST_TYPE_STATE_INPUT (vhost_state_input_get_type ())
G_DECLARE_FINAL_TYPE (VhostStateInput, vhost_state_input, VHOST, STATE_INPUT, GInputStream)

struct _VhostStateInput
{
  GInputStream parent_instance;
  Channel channel;
};

static gssize
vhost_state_input_read_nonblocking (GPollableInputStream *stream, void *buffer, gsize count,
                                    GError **error)
{
  return channel_read (&VHOST_STATE_INPUT (stream)->channel, buffer, count, error);
}

static gboolean
vhost_state_input_is_readable (GPollableInputStream *stream)
{
  return channel_is_ready (&VHOST_STATE_INPUT (stream)->channel, POLLIN);
}

static GSource *
vhost_state_input_create_source (GPollableInputStream *stream, GCancellable *cancellable)
{
  return channel_create_source (&VHOST_STATE_INPUT (stream)->channel, stream, G_IO_IN, cancellable);
}

static void
vhost_state_input_pollable_init (GPollableInputStreamInterface *iface)
{
  iface->is_readable = vhost_state_input_is_readable;
  iface->create_source = vhost_state_input_create_source;
  iface->read_nonblocking = vhost_state_input_read_nonblocking;
}

G_DEFINE_FINAL_TYPE_WITH_CODE (VhostStateInput, vhost_state_input, G_TYPE_INPUT_STREAM,
                               G_IMPLEMENT_INTERFACE (G_TYPE_POLLABLE_INPUT_STREAM,
                                                      vhost_state_input_pollable_init))

static gssize
vhost_state_input_read (GInputStream *stream, void *buffer, gsize count, GCancellable *cancellable,
                        GError **error)
{
  return channel_read (&VHOST_STATE_INPUT (stream)->channel, buffer, count, error);
}

static gboolean
vhost_state_input_close (GInputStream *stream, GCancellable *cancellable, GError **error)
{
  channel_clear (&VHOST_STATE_INPUT (stream)->channel);
  return TRUE;
}

static void
vhost_state_input_finalize (GObject *object)
{
  channel_clear (&VHOST_STATE_INPUT (object)->channel);
  G_OBJECT_CLASS (vhost_state_input_parent_class)->finalize (object);
}

static void
vhost_state_input_class_init (VhostStateInputClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = vhost_state_input_finalize;
  G_INPUT_STREAM_CLASS (klass)->read_fn = vhost_state_input_read;
  G_INPUT_STREAM_CLASS (klass)->close_fn = vhost_state_input_close;
}

static void
vhost_state_input_init (VhostStateInput *self)
{
  self->channel = (Channel){ .fd = -1, .through = { -1, -1 } };
}

GInputStream *
vhost_state_input_new_take_fd (int fd, GError **error)
{
  g_autoptr (VhostStateInput) self = g_object_new (VHOST_TYPE_STATE_INPUT, NULL);

  if (!channel_open (&self->channel, fd, O_RDONLY, error))
    return NULL;
  return G_INPUT_STREAM (g_steal_pointer (&self));
}
