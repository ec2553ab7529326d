/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the driver side comes to a connection. Must not send a message. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static gboolean
check_unconnected (VhostFrontend *self, GError **error)
{
  if (self->channel == NULL)
    return TRUE;

  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                       "already connected to a back-end: disconnect first");
  return FALSE;
}

/* connect () says the same of a file as of a socket that nobody listens on. */
static gboolean
is_socket (const char *path)
{
  struct stat st;

  return stat (path, &st) != 0 || S_ISSOCK (st.st_mode);
}

static void
set_connect_error (GError **error, const char *socket_path, int code, guint timeout)
{
  switch (code)
    {
    case ENOENT:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "cannot connect to '%s': there is no such socket; is the back-end running?",
                   socket_path);
      break;
    case ECONNREFUSED:
      if (!is_socket (socket_path))
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                       "cannot connect to '%s': that is no socket; give the path of the one on "
                       "which the back-end listens",
                       socket_path);
          break;
        }
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_SOCKET,
          "cannot connect to '%s': nobody listens there; a back-end that has ended left it "
          "behind, so start it again",
          socket_path);
      break;
    case EACCES:
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_SOCKET,
          "cannot connect to '%s': permission denied; write access to the socket is needed",
          socket_path);
      break;
    case EAGAIN:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                   "cannot connect to '%s': the back-end took no connection for %u ms; is it busy "
                   "with another front-end?",
                   socket_path, timeout);
      break;
    default:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot connect to '%s': %s",
                   socket_path, g_strerror (code));
    }
}

/**
 * vhost_frontend_connect: (skip)
 * @self: a front-end
 * @socket_path: (type filename): path of the back-end's Unix socket
 * @error: return location for an error
 *
 * Connects to a back-end that listens. No message is sent yet.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_SOCKET, #VHOST_ERROR_TIMED_OUT (the back-end
 * does not accept), or #VHOST_ERROR_BUSY (connected already)
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_connect (VhostFrontend *self, const char *socket_path, GError **error)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct timeval timeout;
  int fd;
  int result;
  int saved_errno;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (socket_path != NULL, FALSE);

  if (!check_unconnected (self, error))
    return FALSE;
  if (strlen (socket_path) >= sizeof address.sun_path)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the socket path '%s' has %zu bytes; a Unix socket's has at most %zu",
                   socket_path, strlen (socket_path), sizeof address.sun_path - 1);
      return FALSE;
    }
  strcpy (address.sun_path, socket_path);

  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    {
      saved_errno = errno;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot make a socket: %s",
                   g_strerror (saved_errno));
      return FALSE;
    }

  /* connect () waits while the listener's backlog is full; the send timeout bounds that. */
  timeout.tv_sec = self->timeout / 1000;
  timeout.tv_usec = self->timeout % 1000 * 1000;
  setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  do
    result = connect (fd, (struct sockaddr *) &address, sizeof address);
  while (result != 0 && errno == EINTR);
  if (result != 0)
    {
      saved_errno = errno;
      close (fd);
      set_connect_error (error, socket_path, saved_errno, self->timeout);
      return FALSE;
    }

  self->channel = vhost_channel_new_take_fd (fd);
  return TRUE;
}

/**
 * vhost_frontend_connect_take_fd:
 * @self: a front-end
 * @fd: a connected stream socket; it is taken over, and closed when this fails
 * @error: return location for an error
 *
 * Uses a connection that exists: one end of a pair of sockets, or one that was accepted from a
 * back-end that connects.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_SOCKET (no stream socket) or
 * #VHOST_ERROR_BUSY (connected already)
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_connect_take_fd (VhostFrontend *self, int fd, GError **error)
{
  int type = 0;
  socklen_t length = sizeof type;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!check_unconnected (self, error))
    {
      vhost_fd_clear (&fd);
      return FALSE;
    }
  if (getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "descriptor %d is no stream socket: vhost-user needs a connected one", fd);
      vhost_fd_clear (&fd);
      return FALSE;
    }

  self->channel = vhost_channel_new_take_fd (fd);
  return TRUE;
}
