/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a daemon: who may connect and when, how it stops and starts again. Public API only.
 */
#include "raw-wire.h"

#include <poll.h>

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

/* ---- One front-end after another, and some at once ---- */

static void
test_one_after_another (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, NULL, NULL);
  guint n_fds = raw_count_idle_fds (device);
  EchoCalls before = echo_backend_get_calls (backend);
  EchoCalls after;

  for (guint i = 0; i < 20; i++)
    {
      g_autoptr (VhostFrontend) frontend = live_device_connect_queues (device, 1, 16);

      live_device_assert_echo (frontend, 0, "another one");
    }
  LIVE_WAIT_FOR (raw_count_sessions (device) == 0);
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  after = echo_backend_get_calls (backend);
  g_assert_cmpuint (after.starts, ==, 1);
  g_assert_cmpuint (after.activates - before.activates, ==, 20);
  g_assert_cmpuint (after.suspends - before.suspends, ==, 20);
  g_assert_cmpuint (after.queue_stops, ==, after.queue_starts);
  live_device_free (device);
}

/* A message was sent and no answer has come. */
static gboolean
is_waiting (VhostFrontend *frontend)
{
  struct pollfd pollfd = { .fd = vhost_frontend_get_fd (frontend), .events = POLLIN };

  return poll (&pollfd, 1, 0) == 0;
}

static void
test_second_waits (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) first = live_device_connect_queues (device, 1, 16);
  g_autoptr (VhostFrontend) second = connect_only (device->socket_path);
  GError *error = NULL;

  vhost_frontend_send (second, MSG_GET_FEATURES, 0, NULL, 0, NULL, 0, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 20; i++)
    live_device_assert_echo (first, 0, "the first is alone");
  g_assert_cmpuint (raw_count_sessions (device), ==, 1);
  g_assert_true (is_waiting (second));
  g_clear_object (&first);
  vhost_frontend_receive (second, NULL, NULL, NULL, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  negotiate (second);
  add_ring (second);
  live_device_assert_echo (second, 0, "and now the second");
  g_clear_object (&second);
  live_device_free (device);
}

/* It has given up before it was let in. */
static void
test_waiting_one_goes (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) first = live_device_connect_queues (device, 1, 16);

  for (guint i = 0; i < 10; i++)
    g_object_unref (connect_only (device->socket_path));
  live_device_assert_echo (first, 0, "the first");
  g_clear_object (&first);
  live_device_assert_alive (device);
  live_device_free (device);
}

static void
test_two_at_once (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), raw_allow_two_sessions, NULL);
  g_autoptr (VhostFrontend) first = live_device_connect_queues (device, 1, 16);
  g_autoptr (VhostFrontend) second = live_device_connect_queues (device, 1, 16);
  g_autoptr (VhostFrontend) third = connect_only (device->socket_path);
  GError *error = NULL;

  vhost_frontend_send (third, MSG_GET_FEATURES, 0, NULL, 0, NULL, 0, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 20; i++)
    {
      live_device_assert_echo (first, 0, "one");
      live_device_assert_echo (second, 0, "two");
    }
  g_assert_cmpuint (raw_count_sessions (device), ==, 2);
  g_assert_true (is_waiting (third));
  g_clear_object (&first);
  vhost_frontend_receive (third, NULL, NULL, NULL, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  negotiate (third);
  add_ring (third);
  live_device_assert_echo (third, 0, "three");
  live_device_assert_echo (second, 0, "two still");
  g_clear_object (&second);
  g_clear_object (&third);
  live_device_free (device);
}

/* max-sessions says two, and there is one object: the second waits as if it said one. */
static void
allow_two_without_backend (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "max-sessions", 2, NULL);
}

static void
test_no_second_backend (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), allow_two_without_backend, NULL);
  g_autoptr (VhostFrontend) first = live_device_connect_queues (device, 1, 16);
  g_autoptr (VhostFrontend) second = NULL;

  raw_log_expect (TRUE);
  second = connect_only (device->socket_path);
  LIVE_WAIT_FOR (raw_log_has ("create-backend"));
  live_device_assert_echo (first, 0, "one");
  g_clear_object (&first);
  negotiate (second);
  add_ring (second);
  live_device_assert_echo (second, 0, "two");
  g_clear_object (&second);
  live_device_free (device);
  raw_log_expect (FALSE);
}

static void
test_states (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) frontend = NULL;

  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_WAITING);
  frontend = live_device_connect (device);
  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_RUNNING);
  g_clear_object (&frontend);
  LIVE_WAIT_FOR (get_state (device) == VHOST_DAEMON_STATE_WAITING);
  live_device_free (device);
}

/* ---- The end ---- */

/* Requests that the device holds. */
static VhostFrontend *
hold_requests (LiveDevice *device, EchoBackend *backend, guint n)
{
  VhostFrontend *frontend = live_device_connect_queues (device, 1, 16);
  VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, 0);
  VhostFrontendBuffer buffer = { vhost_frontend_allocate (frontend, 64, 8), 64, TRUE };

  echo_backend_hold (backend, TRUE);
  for (guint i = 0; i < n; i++)
    g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, frontend));
  vhost_frontend_queue_force_kick (queue);
  LIVE_WAIT_FOR (echo_backend_get_n_held (backend) == n);
  echo_backend_hold (backend, FALSE);
  return frontend;
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

static void
test_stop_drains (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, NULL, NULL);
  g_autoptr (VhostFrontend) frontend = hold_requests (device, backend, 8);
  VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, 0);
  Stop stopped = { device, FALSE };

  live_device_call (device, stop, &stopped);
  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_STOPPING);
  g_assert_false (g_atomic_int_get (&stopped.stopped));
  echo_backend_release (backend, FALSE);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  g_assert_cmpint (get_state (device), ==, VHOST_DAEMON_STATE_STOPPED);
  for (guint i = 0; i < 8; i++)
    g_assert_true (vhost_frontend_queue_poll (queue, NULL, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (queue), ==, 0);
  g_assert_cmpuint (echo_backend_get_calls (backend).stops, ==, 1);
  live_device_free (device);
}

/* Thread: the daemon's. */
static void
be_impatient (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "drain-timeout", 50, NULL);
}

static void
test_stop_gives_up (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, be_impatient, NULL);
  g_autoptr (VhostFrontend) frontend = hold_requests (device, backend, 8);
  Stop stopped = { device, FALSE };

  raw_log_expect (TRUE);
  live_device_call (device, stop, &stopped);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  g_assert_cmpuint (echo_backend_get_n_held (backend), ==, 8);
  /* Their memory is there still, and nobody is told. */
  echo_backend_release (backend, FALSE);
  g_assert_false (vhost_frontend_queue_poll (vhost_frontend_get_queue (frontend, 0), NULL, NULL));
  live_device_free (device);
  raw_log_expect (FALSE);
}

/* Two seconds are all there is, whatever the timeout says. */
static void
test_stop_is_quick (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, NULL, NULL);
  g_autoptr (VhostFrontend) frontend = hold_requests (device, backend, 1);
  Stop stopped = { device, FALSE };
  gint64 start = g_get_monotonic_time ();

  raw_log_expect (TRUE);
  live_device_call (device, stop, &stopped);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  g_assert_cmpint (g_get_monotonic_time () - start, <, 8 * G_USEC_PER_SEC);
  echo_backend_release (backend, FALSE);
  live_device_free (device);
  raw_log_expect (FALSE);
}

/* Thread: the daemon's. */
static void
start (LiveDevice *device, gpointer data)
{
  GError *error = NULL;

  vhost_daemon_start (device->daemon, &error);
  g_assert_no_error (error);
}

static void
test_start_again (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, NULL, NULL);
  guint n_fds = raw_count_idle_fds (device);

  for (guint i = 0; i < 3; i++)
    {
      Stop stopped = { device, FALSE };

      live_device_assert_alive (device);
      live_device_call (device, stop, &stopped);
      LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
      g_assert_false (g_file_test (device->socket_path, G_FILE_TEST_EXISTS));
      live_device_call (device, start, NULL);
    }
  live_device_assert_alive (device);
  LIVE_WAIT_FOR (raw_count_sessions (device) == 0);
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  g_assert_cmpuint (echo_backend_get_calls (backend).starts, ==, 4);
  g_assert_cmpuint (echo_backend_get_calls (backend).stops, ==, 3);
  live_device_free (device);
}

/* A front-end sees the end, and can come again. */
static void
test_frontend_survives (void)
{
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device = live_device_new (backend, NULL, NULL);
  g_autoptr (VhostFrontend) frontend = live_device_connect_queues (device, 1, 16);
  Stop stopped = { device, FALSE };
  GError *error = NULL;

  live_device_assert_echo (frontend, 0, "before");
  live_device_call (device, stop, &stopped);
  raw_assert_closed (frontend);
  LIVE_WAIT_FOR (g_atomic_int_get (&stopped.stopped));
  live_device_call (device, start, NULL);
  vhost_frontend_close (frontend);
  vhost_frontend_connect (frontend, device->socket_path, &error);
  g_assert_no_error (error);
  negotiate (frontend);
  vhost_frontend_restart_queue (frontend, 0, &error);
  g_assert_no_error (error);
  live_device_assert_echo (frontend, 0, "after");
  g_clear_object (&frontend);
  live_device_free (device);
}

static void
test_quit_from_another_thread (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), NULL, NULL);
  g_autoptr (VhostFrontend) frontend = live_device_connect_queues (device, 1, 16);

  vhost_daemon_quit (device->daemon);
  raw_assert_closed (frontend);
  LIVE_WAIT_FOR (get_state (device) == VHOST_DAEMON_STATE_STOPPED);
  live_device_free (device);
}

/* Thread: the daemon's. */
static void
exit_on_disconnect (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "exit-on-disconnect", TRUE, NULL);
}

static void
test_exit_on_disconnect (void)
{
  LiveDevice *device = live_device_new (echo_backend_new (1, 1), exit_on_disconnect, NULL);
  g_autoptr (VhostFrontend) frontend = live_device_connect_queues (device, 1, 16);

  live_device_assert_echo (frontend, 0, "once");
  g_clear_object (&frontend);
  LIVE_WAIT_FOR (get_state (device) == VHOST_DAEMON_STATE_STOPPED);
  live_device_free (device);
}

#define TEST(name, function) g_test_add_func ("/protocol/life-" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("one-daemon-serves-front-end-after-front-end", test_one_after_another);
  TEST ("a-second-front-end-waits-for-the-first-to-go", test_second_waits);
  TEST ("who-gave-up-waiting-is-forgotten", test_waiting_one_goes);
  TEST ("max-sessions-are-served-at-once-and-others-wait", test_two_at_once);
  TEST ("without-a-second-back-end-the-second-waits", test_no_second_backend);
  TEST ("the-state-follows-the-sessions", test_states);
  TEST ("a-stop-drains", test_stop_drains);
  TEST ("a-stop-gives-up-at-the-drain-timeout", test_stop_gives_up);
  TEST ("a-stop-does-not-take-long", test_stop_is_quick);
  TEST ("a-stopped-daemon-starts-again", test_start_again);
  TEST ("a-front-end-goes-on-after-a-restart", test_frontend_survives);
  TEST ("quit-works-from-any-thread", test_quit_from_another_thread);
  TEST ("a-daemon-may-stop-with-its-front-end", test_exit_on_disconnect);
  return g_test_run ();
}
