/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a daemon comes by its connections: as a client, by sockets of someone else, at a place where
 * something is already; and what it says when there is no memory at the other end. Public API only.
 */
#include "raw-wire.h"

#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static VhostFrontend *
connect_only (const char *path)
{
  VhostFrontend *frontend = vhost_frontend_new ();
  GError *error = NULL;

  vhost_frontend_connect (frontend, path, &error);
  g_assert_no_error (error);
  return frontend;
}

static void
negotiate (VhostFrontend *frontend)
{
  GError *error = NULL;

  vhost_frontend_negotiate (frontend, LIVE_ALL_FEATURES, LIVE_ALL_FEATURES, &error);
  g_assert_no_error (error);
}

static void
add_ring (VhostFrontend *frontend)
{
  GError *error = NULL;

  vhost_frontend_add_memory (frontend, 0x100000, 4 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (frontend, 0, 16, &error);
  g_assert_no_error (error);
}

static VhostDaemonState
get_state (LiveDevice *device)
{
  return vhost_daemon_get_state (device->daemon);
}

typedef struct
{
  LiveDevice *device;
  gint stopped; /* atomic */
} Stop;

/* Thread: the daemon's. */
static void
on_stopped (GObject *source, GAsyncResult *result, gpointer data)
{
  Stop *stop = data;
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_daemon_stop_finish (VHOST_DAEMON (source), result, &error));
  g_assert_no_error (error);
  g_atomic_int_set (&stop->stopped, TRUE);
}

/* Thread: the daemon's. */
static void
stop (LiveDevice *device, gpointer data)
{
  vhost_daemon_stop_async (device->daemon, NULL, on_stopped, data);
}

/* Thread: the daemon's. */
static void
start (LiveDevice *device, gpointer data)
{
  GError *error = NULL;

  vhost_daemon_start (device->daemon, &error);
  g_assert_no_error (error);
}

/* ---- As a client ---- */

/* A listening socket at @path, as a front-end has it. */
static int
listen_at (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_cmpuint (g_strlcpy (address.sun_path, path, sizeof address.sun_path), <,
                    sizeof address.sun_path);
  g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  g_assert_cmpint (listen (fd, 10), ==, 0);
  return fd;
}

static VhostFrontend *
accept_daemon (int listen_fd)
{
  struct pollfd pollfd = { .fd = listen_fd, .events = POLLIN };
  VhostFrontend *frontend = vhost_frontend_new ();
  GError *error = NULL;

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  vhost_frontend_connect_take_fd (frontend, accept4 (listen_fd, NULL, NULL, SOCK_CLOEXEC), &error);
  g_assert_no_error (error);
  return frontend;
}

/* Thread: the daemon's. */
static void
be_client (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "mode", VHOST_DAEMON_MODE_CLIENT, "reconnect-interval", 10, NULL);
}

static void
test_client (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), be_client, NULL);
  int fd;

  /* Nobody listens for a while: it tries, says so once, and goes on trying. */
  LIVE_WAIT_FOR (raw_log_has ("trying again"));
  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_WAITING);
  fd = listen_at (device->socket_path);
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostFrontend) frontend = accept_daemon (fd);

      negotiate (frontend);
      add_ring (frontend);
      live_device_assert_echo (frontend, 0, "the back-end came");
    }
  close (fd);
  g_unlink (device->socket_path);
  live_device_free (device);
}

/* The socket is the front-end's: it is not removed. */
static void
test_client_leaves_socket (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), be_client, NULL);
  g_autofree char *path = g_strdup (device->socket_path);
  g_autofree char *directory = g_strdup (device->directory);
  g_autofree char *moved = g_strdup_printf ("%s-moved", directory);
  int fd = listen_at (path);
  g_autoptr (VhostFrontend) frontend = accept_daemon (fd);
  GStatBuf info;

  negotiate (frontend);
  g_clear_object (&frontend);
  /* The fixture wants an empty directory in the end. */
  g_assert_cmpint (g_stat (path, &info), ==, 0);
  g_assert_cmpint (g_rename (path, moved), ==, 0);
  live_device_free (device);
  g_assert_cmpint (g_stat (moved, &info), ==, 0);
  g_unlink (moved);
  close (fd);
}

/* Who hangs up each time is not called back in a loop. */
static void
test_client_pace (void)
{
  LiveDevice *device;
  int fd;
  guint n = 0;
  gint64 start;
  char *path = NULL;
  struct pollfd pollfd = { .events = POLLIN };

  device = live_device_new (echo_backend_new (1, 1), be_client, NULL);
  path = device->socket_path;
  raw_log_expect (TRUE);
  pollfd.fd = fd = listen_at (path);
  start = g_get_monotonic_time ();
  while (g_get_monotonic_time () - start < 100 * 1000)
    if (poll (&pollfd, 1, 10) == 1)
      {
        close (accept4 (fd, NULL, NULL, SOCK_CLOEXEC));
        n++;
      }
  g_assert_cmpuint (n, >=, 1);
  g_assert_cmpint (n, <=, (g_get_monotonic_time () - start) / (10 * 1000) + 2);
  close (fd);
  g_unlink (path);
  live_device_free (device);
  raw_log_expect (FALSE);
}

/* ---- Descriptors of someone else ---- */

typedef struct
{
  int fd;
} Adopt;

/* Thread: the daemon's. */
static void
adopt (LiveDevice *device, gpointer data)
{
  Adopt *adopted = data;
  GError *error = NULL;

  g_object_set (device->daemon, "socket-path", NULL, NULL);
  vhost_daemon_adopt_fd (device->daemon, adopted->fd, &error);
  g_assert_no_error (error);
}

static char *
temporary_path (void)
{
  g_autofree char *directory = g_dir_make_tmp ("vhost-test-XXXXXX", NULL);

  g_assert_nonnull (directory);
  return g_build_filename (directory, "other", NULL);
}

static void
remove_temporary (char *path)
{
  g_autofree char *directory = g_path_get_dirname (path);

  g_unlink (path);
  g_rmdir (directory);
  g_free (path);
}

static void
test_adopt_listening (void)
{
  char *path = temporary_path ();
  Adopt adopted = { listen_at (path) };
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), adopt, &adopted);

  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostFrontend) frontend = connect_only (path);

      negotiate (frontend);
      add_ring (frontend);
      live_device_assert_echo (frontend, 0, "on an inherited socket");
    }
  live_device_free (device);
  /* It was not the daemon that made the file. */
  g_assert_true (g_file_test (path, G_FILE_TEST_EXISTS));
  remove_temporary (path);
}

static void
test_adopt_connected (void)
{
  int fds[2];
  Adopt adopted;
  LiveDevice *device;
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  GError *error = NULL;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  adopted.fd = fds[1];
  device = live_device_new (echo_backend_new (1, 1), adopt, &adopted);
  vhost_frontend_connect_take_fd (frontend, fds[0], &error);
  g_assert_no_error (error);
  negotiate (frontend);
  add_ring (frontend);
  live_device_assert_echo (frontend, 0, "on a connection that was there");
  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_RUNNING);
  g_clear_object (&frontend);
  /* There cannot be another one. */
  LIVE_WAIT_FOR (get_state (device) == VHOST_DAEMON_STATE_STOPPED);
  live_device_free (device);
}

static void
assert_not_adopted (int fd)
{
  g_autoptr (VhostDaemon) daemon = vhost_daemon_new ("test", NULL);
  g_autoptr (GError) error = NULL;
  struct stat info;

  g_assert_false (vhost_daemon_adopt_fd (daemon, fd, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  /* It is the caller's still. */
  g_assert_cmpint (fstat (fd, &info), ==, 0);
  close (fd);
}

static void
test_adopt_wrong (void)
{
  int fds[2];

  assert_not_adopted (raw_memfd (4096, 0));
  assert_not_adopted (socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  assert_not_adopted (socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  assert_not_adopted (socket (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  g_assert_cmpint (pipe (fds), ==, 0);
  assert_not_adopted (fds[0]);
  assert_not_adopted (fds[1]);
}

/* ---- The socket's place ---- */

static void
test_stale_socket (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  Stop stopped = { device, FALSE };

  live_device_call (device, stop, &stopped);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  /* As a process leaves it that was killed. */
  close (listen_at (device->socket_path));
  g_assert_true (g_file_test (device->socket_path, G_FILE_TEST_EXISTS));
  live_device_call (device, start, NULL);
  live_device_assert_alive (device);
  live_device_free (device);
}

typedef struct
{
  const char *path;
  GError *error;
} Refused;

/* Thread: the daemon's. */
static void
start_another (LiveDevice *device, gpointer data)
{
  Refused *refused = data;
  g_autoptr (EchoBackend) backend = echo_backend_new (1, 1);
  g_autoptr (VhostDaemon) daemon = vhost_daemon_new ("another", VHOST_BACKEND (backend));

  g_object_set (daemon, "socket-path", refused->path, NULL);
  g_assert_false (vhost_daemon_start (daemon, &refused->error));
  g_assert_cmpint (vhost_daemon_get_state (daemon), ==, VHOST_DAEMON_STATE_STOPPED);
}

static void
test_live_socket (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  Refused refused = { device->socket_path, NULL };

  live_device_call (device, start_another, &refused);
  g_assert_error (refused.error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_assert_nonnull (strstr (refused.error->message, device->socket_path));
  g_assert_nonnull (strstr (refused.error->message, "another process listens"));
  g_clear_error (&refused.error);
  live_device_assert_alive (device);
  live_device_free (device);
}

static void
test_file_in_the_way (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  char *path = temporary_path ();
  Refused refused = { path, NULL };
  g_autofree char *content = NULL;

  g_assert_true (g_file_set_contents (path, "precious", -1, NULL));
  live_device_call (device, start_another, &refused);
  g_assert_error (refused.error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_clear_error (&refused.error);
  g_assert_true (g_file_get_contents (path, &content, NULL, NULL));
  g_assert_cmpstr (content, ==, "precious");
  remove_temporary (path);
  live_device_free (device);
}

static void
test_no_directory (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  Refused refused = { "/nonexistent/socket", NULL };

  live_device_call (device, start_another, &refused);
  g_assert_error (refused.error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (refused.error->message, "/nonexistent/socket"));
  g_clear_error (&refused.error);
  live_device_free (device);
}

static void
test_long_path (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autofree char *path = g_strnfill (108, 'x');
  Refused refused = { path, NULL };

  path[0] = '/';
  live_device_call (device, start_another, &refused);
  g_assert_error (refused.error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_nonnull (strstr (refused.error->message, "107"));
  g_clear_error (&refused.error);
  live_device_free (device);
}

/* Someone has put his own socket there: it stays. */
static void
test_foreign_socket_stays (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  Stop stopped = { device, FALSE };
  int fd;

  g_assert_cmpint (g_unlink (device->socket_path), ==, 0);
  fd = listen_at (device->socket_path);
  live_device_call (device, stop, &stopped);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  g_assert_true (g_file_test (device->socket_path, G_FILE_TEST_EXISTS));
  close (fd);
  g_unlink (device->socket_path);
  live_device_free (device);
}

/* ---- No shared memory ---- */

static void
test_no_memory (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) frontend = live_device_connect (device);
  const RawAddr addr = { .descriptor = 0x100000, .available = 0x101000, .used = 0x102000 };

  raw_log_expect (TRUE);
  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_NUM, 0, 16), ==, 0);
  g_assert_cmpuint (raw_request (frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_ring_fd (frontend, MSG_SET_VRING_KICK, RAW_NO_FD, -1), !=, 0);
  LIVE_WAIT_FOR (raw_log_has ("memory-backend-memfd"));
  g_assert_true (raw_log_has ("share=on"));
  g_assert_true (raw_log_has ("memoryBacking"));
  raw_assert_in_step (frontend);
  g_clear_object (&frontend);
  live_device_free (device);
  raw_log_expect (FALSE);
}

/* Regions are counted, and their files are missing: private memory. */
static void
test_private_memory (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) frontend = live_device_connect (device);
  RawTable table = { .n = 1, .regions = { { 0x100000, 4096, 0x100000, 0 } } };

  raw_log_expect (TRUE);
  g_assert_cmpuint (
      raw_request (frontend, MSG_SET_MEM_TABLE, &table, 8 + sizeof (RawRegion), NULL, 0), !=, 0);
  LIVE_WAIT_FOR (raw_log_has ("memory-backend-memfd"));
  g_clear_object (&frontend);
  live_device_free (device);
  raw_log_expect (FALSE);
}

#define TEST(name, function) g_test_add_func ("/protocol/life-" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("a-client-tries-until-somebody-listens", test_client);
  TEST ("a-client-does-not-remove-the-socket", test_client_leaves_socket);
  TEST ("a-client-paces-its-attempts", test_client_pace);
  TEST ("an-inherited-listening-socket-is-served", test_adopt_listening);
  TEST ("an-inherited-connection-is-served-once", test_adopt_connected);
  TEST ("other-descriptors-are-not-adopted", test_adopt_wrong);
  TEST ("a-stale-socket-is-replaced", test_stale_socket);
  TEST ("a-live-socket-is-refused-with-words", test_live_socket);
  TEST ("a-file-in-the-way-is-left-alone", test_file_in_the_way);
  TEST ("a-missing-directory-is-named", test_no_directory);
  TEST ("a-path-that-is-too-long-is-refused-with-words", test_long_path);
  TEST ("a-socket-of-someone-else-stays", test_foreign_socket_stays);
  TEST ("a-ring-without-memory-is-told-the-cure", test_no_memory);
  TEST ("private-memory-is-told-the-cure", test_private_memory);
  return g_test_run ();
}
