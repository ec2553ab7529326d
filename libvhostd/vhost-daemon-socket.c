/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How front-ends get to a daemon: a socket that listens, or a connection that is tried again. Must
 * not know what is served.
 *
 * How it works. Everything that may change whether a front-end can be let in ends in
 * vhost_daemon_advance (), which alone decides to watch the listening socket, to connect, or to
 * leave both alone. While no slot is free the socket is not watched: further front-ends wait in the
 * kernel's queue. The same happens when descriptors run out, with a timer to look again.
 *
 * A GSocketService holds the listening socket, but it is never let loose: running, it tries again
 * at once and for ever when accepting fails for want of descriptors. So a source of ours watches
 * the socket, looks whether there is room, and has the service accept one connection. */
#include "config.h"

#include "vhost-daemon.h"

#include "vhost-daemon-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-trace-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_FD_MS 100 /* between two looks whether descriptors are free again */
#define MIN_FREE_FDS 4  /* an accepted connection takes two for a moment */

/* Thread: control. */
static gboolean
vhost_daemon_on_timer (gpointer data)
{
  VhostDaemon *self = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  vhost_daemon_clear_source (&priv->timer);
  vhost_daemon_advance (self);
  return G_SOURCE_REMOVE;
}

void
vhost_daemon_unwatch (VhostDaemonPrivate *priv)
{
  vhost_daemon_clear_source (&priv->watch);
}

/* Nobody is let in and nothing is tried for @ms. */
void
vhost_daemon_hold_off (VhostDaemon *self, guint ms)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  vhost_daemon_unwatch (priv);
  vhost_daemon_clear_source (&priv->timer);
  priv->timer = vhost_daemon_attach (self, g_timeout_source_new (ms), vhost_daemon_on_timer);
}

static gboolean
vhost_daemon_set_errno (GError **error, int code, const char *what, const char *path, int number)
{
  g_set_error (error, VHOST_ERROR, code, "%s %s: %s", what, path, g_strerror (number));
  return FALSE;
}

gboolean
vhost_daemon_make_address (const char *path, struct sockaddr_un *address, GError **error)
{
  memset (address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen (path) >= sizeof address->sun_path)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "socket path %s has %zu bytes, at most %zu are possible: use a shorter one",
                   path, strlen (path), sizeof address->sun_path - 1);
      return FALSE;
    }
  strcpy (address->sun_path, path);
  return TRUE;
}

static int
vhost_daemon_new_socket (GError **error)
{
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot make", "a Unix socket", errno);
  return fd;
}

/* Removes a socket file that nobody listens on; refuses everything else that is in the way. */
static gboolean
vhost_daemon_remove_stale (const struct sockaddr_un *address, GError **error)
{
  const char *path = address->sun_path;
  struct stat info;
  if (lstat (path, &info) == -1)
    return errno == ENOENT
           || vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot look at", path, errno);
  if (!S_ISSOCK (info.st_mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "%s exists and is not a socket: remove it or choose another socket path", path);
      return FALSE;
    }
  int fd = vhost_daemon_new_socket (error);
  if (fd == -1)
    return FALSE;
  int result = connect (fd, (const struct sockaddr *) address, sizeof *address);
  int reason = result == -1 ? errno : 0;
  vhost_fd_clear (&fd);
  /* EAGAIN: it listens and its queue is full. EPROTOTYPE: a live socket of another kind. */
  if (reason == 0 || reason == EAGAIN || reason == EPROTOTYPE)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "another process listens on %s: stop it or choose another socket path", path);
      return FALSE;
    }
  if (reason != ECONNREFUSED && reason != ENOENT)
    return vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot tell who listens on", path,
                                   reason);
  if (unlink (path) == -1 && errno != ENOENT)
    return vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot remove the stale socket",
                                   path, errno);
  return TRUE;
}

gboolean
vhost_daemon_listen (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  const char *path = priv->socket_path;
  struct sockaddr_un address;
  if (!vhost_daemon_make_address (path, &address, error)
      || !vhost_daemon_remove_stale (&address, error))
    return FALSE;
  int fd = vhost_daemon_new_socket (error);
  if (fd == -1)
    return FALSE;
  /* The descriptor's mode limits the file's from the start, chmod then adds what the umask took;
   * nobody can connect before listen (). The umask itself is the whole process's and is left alone.
   */
  struct stat info;
  const char *failed = NULL;
  if (fchmod (fd, priv->socket_mode) == -1
      || bind (fd, (const struct sockaddr *) &address, sizeof address) == -1)
    failed = "cannot make the socket";
  else
    {
      if (chmod (path, priv->socket_mode) == -1)
        failed = "cannot set the mode of";
      else if (listen (fd, SOMAXCONN) == -1)
        failed = "cannot listen on";
      else if (lstat (path, &info) == -1)
        failed = "cannot look at";
      if (failed != NULL)
        {
          int reason = errno;
          unlink (path);
          errno = reason;
        }
    }
  if (failed != NULL)
    {
      vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, failed, path, errno);
      vhost_fd_clear (&fd);
      return FALSE;
    }
  priv->listen_fd = fd;
  priv->bound_path = g_strdup (path);
  priv->bound_dev = info.st_dev;
  priv->bound_ino = info.st_ino;
  return TRUE;
}

void
vhost_daemon_close_socket (VhostDaemonPrivate *priv)
{
  struct stat info;
  /* Someone may have put his own socket there; that one stays. */
  if (priv->bound_path != NULL && lstat (priv->bound_path, &info) == 0
      && info.st_dev == priv->bound_dev && info.st_ino == priv->bound_ino)
    unlink (priv->bound_path);
  g_clear_pointer (&priv->bound_path, g_free);
  if (priv->service != NULL)
    g_socket_listener_close (G_SOCKET_LISTENER (priv->service));
  g_clear_object (&priv->service);
  if (priv->listen_fd == priv->adopted_fd)
    priv->listen_fd = -1;
  vhost_fd_clear (&priv->listen_fd);
}

/* TRUE when there are too few descriptors for one more session; then the daemon looks again later.
 */
static gboolean
vhost_daemon_short_of_fds (VhostDaemon *self, gboolean refused)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  guint n_free = vhost_fd_count_free ();
  if (!refused && n_free >= MAX (priv->fd_reserve, MIN_FREE_FDS))
    return FALSE;
  if (!priv->short_of_fds)
    g_warning (
        "%s: only %u file descriptors are left: new front-ends wait until there are %u; raise "
        "the limit (ulimit -n, LimitNOFILE=)",
        vhost_daemon_get_label (priv), n_free, priv->fd_reserve);
  priv->short_of_fds = TRUE;
  vhost_daemon_hold_off (self, RETRY_FD_MS);
  return TRUE;
}

/* What the service accepted. Thread: control. */
static void
vhost_daemon_on_accepted (GObject *listener, GAsyncResult *result, gpointer data)
{
  g_autoptr (VhostDaemon) self = data; /* of vhost_daemon_on_knock () */
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GError) error = NULL;
  g_autoptr (GSocket) socket
      = g_socket_listener_accept_socket_finish (G_SOCKET_LISTENER (listener), result, NULL, &error);
  VhostDaemonSlot *slot;
  int fd;

  priv->accepting = FALSE;
  if (!vhost_daemon_is_open (self))
    return;
  if (socket == NULL)
    {
      if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_TOO_MANY_OPEN_FILES))
        vhost_daemon_short_of_fds (self, TRUE);
      else
        {
          vhost_warn_limited ("%s: cannot accept a connection: %s", vhost_daemon_get_label (priv),
                              error->message);
          vhost_daemon_hold_off (self, RETRY_FD_MS);
        }
      return;
    }
  /* The session wants the descriptor alone, without GSocket's buffers and rules. */
  fd = fcntl (g_socket_get_fd (socket), F_DUPFD_CLOEXEC, 3);
  g_socket_close (socket, NULL);
  if (fd == -1)
    {
      vhost_daemon_short_of_fds (self, TRUE);
      return;
    }
  priv->short_of_fds = FALSE;
  slot = vhost_daemon_get_free_slot (self, &error);
  if (slot == NULL)
    vhost_fd_close_connection (&fd);
  else
    vhost_daemon_open_session (self, slot, fd, &error);
  if (error != NULL)
    vhost_warn_limited ("%s: cannot serve a front-end: %s", vhost_daemon_get_label (priv),
                        error->message);
  vhost_daemon_advance (self);
}

static gboolean
vhost_daemon_make_service (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GSocketService) service = NULL;
  g_autoptr (GSocket) socket = NULL;
  int fd = fcntl (priv->listen_fd, F_DUPFD_CLOEXEC, 3);

  if (fd == -1)
    return vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot duplicate", "the socket",
                                   errno);
  socket = g_socket_new_from_fd (fd, error);
  if (socket == NULL)
    {
      vhost_fd_clear (&fd);
      return FALSE;
    }
  service = g_socket_service_new ();
  g_socket_service_stop (service);
  if (!g_socket_listener_add_socket (G_SOCKET_LISTENER (service), socket, NULL, error))
    return FALSE;
  priv->service = g_steal_pointer (&service);
  return TRUE;
}

/* Thread: control. Somebody wants in: is there room? */
static gboolean
vhost_daemon_on_knock (int listen_fd, GIOCondition condition, gpointer data)
{
  g_autoptr (VhostDaemon) self = g_object_ref (data);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GError) error = NULL;

  /* What this changes about the watch happens to priv->watch, so the answer to GLib is always the
   * same. */
  if (vhost_daemon_short_of_fds (self, FALSE))
    return G_SOURCE_CONTINUE;
  if (vhost_daemon_get_free_slot (self, &error) == NULL || !vhost_daemon_is_open (self))
    {
      if (error != NULL)
        g_warning ("%s", error->message);
      vhost_daemon_advance (self);
      return G_SOURCE_CONTINUE;
    }
  if (priv->service == NULL && !vhost_daemon_make_service (self, &error))
    {
      vhost_warn_limited ("%s: cannot accept connections: %s", vhost_daemon_get_label (priv),
                          error->message);
      vhost_daemon_hold_off (self, RETRY_FD_MS);
      return G_SOURCE_CONTINUE;
    }
  vhost_daemon_clear_source (&priv->watch);
  priv->accept_attempts++;
  priv->accepting = TRUE;
  /* The service attaches itself to the thread's default context. */
  g_main_context_push_thread_default (priv->context);
  g_socket_listener_accept_socket_async (G_SOCKET_LISTENER (priv->service), NULL,
                                         vhost_daemon_on_accepted, g_object_ref (self));
  g_main_context_pop_thread_default (priv->context);
  return G_SOURCE_CONTINUE;
}

/* Tries to connect; a Unix socket does so at once or not at all. */
static void
vhost_daemon_connect (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GError) error = NULL;
  struct sockaddr_un address;
  if (vhost_daemon_short_of_fds (self, FALSE))
    return;
  VhostDaemonSlot *slot = vhost_daemon_get_free_slot (self, &error);
  if (slot == NULL)
    return;
  int fd = -1;
  if (!vhost_daemon_make_address (priv->socket_path, &address, &error)
      || (fd = vhost_daemon_new_socket (&error)) == -1)
    vhost_warn_limited ("%s: %s", vhost_daemon_get_label (priv), error->message);
  else if (connect (fd, (const struct sockaddr *) &address, sizeof address) == -1)
    {
      /* Said once for each reason, not each time. */
      int reason = errno;
      if (reason != priv->connect_errno)
        g_message ("%s: cannot connect to %s: %s; trying again every %u ms",
                   vhost_daemon_get_label (priv), priv->socket_path, g_strerror (reason),
                   priv->reconnect_interval);
      priv->connect_errno = reason;
      vhost_fd_clear (&fd);
    }
  else
    {
      priv->connect_errno = 0;
      priv->short_of_fds = FALSE;
      if (vhost_daemon_open_session (self, slot, fd, &error))
        return;
      vhost_warn_limited ("%s: cannot serve a front-end: %s", vhost_daemon_get_label (priv),
                          error->message);
    }
  vhost_daemon_hold_off (self, priv->reconnect_interval);
}

/* Lets front-ends in, or not, as things are now. */
void
vhost_daemon_advance (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (!vhost_daemon_is_open (self))
    {
      vhost_daemon_unwatch (priv);
      return;
    }
  if (priv->timer != NULL)
    return;
  guint n_sessions = vhost_daemon_count_sessions (priv);
  gboolean listens = priv->listen_fd != -1;
  gboolean room = n_sessions < priv->max_sessions
                  && (n_sessions < priv->slots->len || !priv->no_more_backends);
  if (!room)
    vhost_daemon_unwatch (priv);
  if (listens && room && priv->watch == NULL && !priv->accepting)
    {
      priv->watch = g_unix_fd_source_new (priv->listen_fd, G_IO_IN);
      vhost_daemon_attach (self, priv->watch, G_SOURCE_FUNC (vhost_daemon_on_knock));
    }
  else if (!listens && !priv->one_shot && n_sessions == 0)
    vhost_daemon_connect (self);
}
