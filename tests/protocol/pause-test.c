/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon that is paused and resumed under its front-ends: requests wait in the rings, none is
 * lost, and messages are answered as ever. Public API only. */
#include "raw-wire.h"

#include <string.h>

typedef struct
{
  LiveDevice *device;
  EchoBackend *echo;
  VhostFrontend *frontend;
  guint64 at;
} Scene;

typedef struct
{
  gboolean done;
  GError *error;
} Outcome;

static void
set_drain_timeout (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "drain-timeout", GPOINTER_TO_UINT (data), NULL);
}

static void
begin (Scene *self, guint workers, guint drain_timeout)
{
  memset (self, 0, sizeof *self);
  self->echo = echo_backend_new (2, workers);
  self->device = live_device_new (self->echo, set_drain_timeout, GUINT_TO_POINTER (drain_timeout));
}

static void
connect_queues (Scene *self)
{
  self->frontend = live_device_connect_queues (self->device, 2, 64);
  self->at = vhost_frontend_allocate (self->frontend, 128, 64);
}

static void
end (Scene *self)
{
  g_clear_object (&self->frontend);
  live_device_free (self->device);
}

static void
on_paused (GObject *object, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  vhost_daemon_pause_finish (VHOST_DAEMON (object), result, &outcome->error);
  __atomic_store_n (&outcome->done, TRUE, __ATOMIC_RELEASE);
}

static void
start_pause (LiveDevice *device, gpointer data)
{
  vhost_daemon_pause_async (device->daemon, NULL, on_paused, data);
  g_assert_true (vhost_daemon_is_paused (device->daemon));
}

static void
resume (LiveDevice *device, gpointer data)
{
  vhost_daemon_resume (device->daemon);
  g_assert_false (vhost_daemon_is_paused (device->daemon));
}

static void
wait_paused (Outcome *outcome)
{
  LIVE_WAIT_FOR (__atomic_load_n (&outcome->done, __ATOMIC_ACQUIRE));
}

static void
pause_now (Scene *self)
{
  Outcome outcome = { 0 };

  live_device_call (self->device, start_pause, &outcome);
  wait_paused (&outcome);
  g_assert_no_error (outcome.error);
}

static void
submit (Scene *self, guint queue, guint n)
{
  const VhostFrontendBuffer buffers[] = { { self->at, 64, FALSE }, { self->at + 64, 64, TRUE } };
  VhostFrontendQueue *ring = vhost_frontend_get_queue (self->frontend, queue);

  for (guint i = 0; i < n; i++)
    g_assert_true (vhost_frontend_queue_add (ring, buffers, 2, FALSE, GUINT_TO_POINTER (i + 1)));
  vhost_frontend_queue_kick (ring);
}

static void
reap (Scene *self, guint queue, guint n)
{
  VhostFrontendQueue *ring = vhost_frontend_get_queue (self->frontend, queue);
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  while (n > 0)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      if (vhost_frontend_queue_poll (ring, NULL, NULL))
        n--;
      else
        vhost_frontend_queue_wait (ring, 20);
    }
  g_assert_false (vhost_frontend_queue_poll (ring, NULL, NULL));
}

static void
test_requests_wait (gconstpointer data)
{
  Scene f;
  guint before;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  connect_queues (&f);
  live_device_assert_echo (f.frontend, 0, "before");
  for (guint round = 0; round < 20; round++)
    {
      pause_now (&f);
      before = echo_backend_get_calls (f.echo).requests;
      submit (&f, 0, 5);
      submit (&f, 1, 7);
      /* Two messages that the workers answer come behind both kicks. */
      g_assert_cmpuint (raw_count_sessions (f.device), ==, 1);
      g_usleep (2000);
      g_assert_cmpuint (echo_backend_get_calls (f.echo).requests, ==, before);
      live_device_call (f.device, resume, NULL);
      reap (&f, 0, 5);
      reap (&f, 1, 7);
      g_assert_cmpuint (echo_backend_get_calls (f.echo).requests, ==, before + 12);
    }
  end (&f);
}

static void
test_waits_for_requests (gconstpointer data)
{
  Outcome outcome = { 0 }, second = { 0 };
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  connect_queues (&f);
  echo_backend_hold (f.echo, TRUE);
  submit (&f, 0, 3);
  LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == 3);
  live_device_call (f.device, start_pause, &outcome);
  live_device_call (f.device, start_pause, &second);
  raw_count_sessions (f.device);
  g_assert_false (outcome.done);
  submit (&f, 0, 2);
  echo_backend_hold (f.echo, FALSE);
  echo_backend_release (f.echo, FALSE);
  wait_paused (&outcome);
  wait_paused (&second);
  g_assert_no_error (outcome.error);
  g_assert_no_error (second.error);
  reap (&f, 0, 3);
  live_device_call (f.device, resume, NULL);
  reap (&f, 0, 2);
  end (&f);
}

static void
test_says_what_stays (gconstpointer data)
{
  Outcome outcome = { 0 }, overtaken = { 0 };
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 30);
  connect_queues (&f);
  echo_backend_hold (f.echo, TRUE);
  submit (&f, 1, 3);
  LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == 3);
  live_device_call (f.device, start_pause, &outcome);
  wait_paused (&outcome);
  g_assert_error (outcome.error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_clear_error (&outcome.error);
  live_device_call (f.device, resume, NULL);

  outcome.done = FALSE;
  live_device_call (f.device, start_pause, &overtaken);
  live_device_call (f.device, resume, NULL);
  wait_paused (&overtaken);
  if (overtaken.error != NULL) /* else the time was over first */
    g_assert_true (g_error_matches (overtaken.error, VHOST_ERROR, VHOST_ERROR_BUSY)
                   || g_error_matches (overtaken.error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT));
  g_clear_error (&overtaken.error);
  echo_backend_hold (f.echo, FALSE);
  echo_backend_release (f.echo, FALSE);
  reap (&f, 1, 3);
  live_device_assert_echo (f.frontend, 0, "as ever");
  end (&f);
}

/* Rings that stop and start, sessions that come and go, while nothing is taken. */
static void
test_the_protocol_goes_on (gconstpointer data)
{
  GError *error = NULL;
  guint base;
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  pause_now (&f);
  connect_queues (&f);
  submit (&f, 0, 4);
  g_assert_true (vhost_frontend_stop_queue (f.frontend, 0, &base, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (base, ==, 0);
  g_assert_true (vhost_frontend_restart_queue (f.frontend, 0, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (echo_backend_get_calls (f.echo).requests, ==, 0);
  live_device_call (f.device, resume, NULL);
  reap (&f, 0, 4);
  pause_now (&f);
  submit (&f, 1, 4);
  g_clear_object (&f.frontend); /* with what waits */
  LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  connect_queues (&f);
  submit (&f, 1, 2);
  live_device_call (f.device, resume, NULL);
  reap (&f, 1, 2);
  g_assert_cmpuint (echo_backend_get_calls (f.echo).requests, ==, 6);
  end (&f);
}

static void
test_a_session_that_ends_ends_the_wait (gconstpointer data)
{
  Outcome outcome = { 0 };
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  connect_queues (&f);
  echo_backend_hold (f.echo, TRUE);
  submit (&f, 0, 3);
  LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == 3);
  live_device_call (f.device, start_pause, &outcome);
  g_clear_object (&f.frontend);
  echo_backend_hold (f.echo, FALSE);
  echo_backend_release (f.echo, FALSE);
  wait_paused (&outcome);
  g_assert_no_error (outcome.error);
  live_device_call (f.device, resume, NULL);
  live_device_assert_alive (f.device);
  end (&f);
}

static void
test_stops_while_paused (gconstpointer data)
{
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  connect_queues (&f);
  pause_now (&f);
  submit (&f, 0, 3);
  end (&f);
}

/* ---- A front-end without a path ---- */

static void
open_frontend (LiveDevice *device, gpointer data)
{
  GError *error = NULL;
  int *fds = data;

  fds[0] = vhost_daemon_open_frontend (device->daemon, &error);
  g_assert_no_error (error);
  fds[1] = vhost_daemon_open_frontend (device->daemon, &error);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
}

static void
disconnect (LiveDevice *device, gpointer data)
{
  vhost_daemon_close_sessions (device->daemon);
}

static void
test_opens_a_front_end (gconstpointer data)
{
  GError *error = NULL;
  int fds[2];
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  for (guint i = 0; i < 3; i++)
    {
      live_device_call (f.device, open_frontend, fds);
      g_assert_cmpint (fds[1], ==, -1);
      f.frontend = vhost_frontend_new ();
      g_assert_true (vhost_frontend_connect_take_fd (f.frontend, fds[0], &error));
      g_assert_no_error (error);
      vhost_frontend_negotiate (f.frontend, LIVE_ALL_FEATURES, G_MAXUINT64, &error);
      g_assert_no_error (error);
      live_device_call (f.device, disconnect, NULL);
      LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
      g_clear_object (&f.frontend);
    }
  live_device_assert_alive (f.device);
  end (&f);
}

static const struct
{
  const char *name;
  GTestDataFunc func;
} tests[] = {
  { "requests-wait-in-the-ring", test_requests_wait },
  { "waits-for-requests-in-flight", test_waits_for_requests },
  { "says-what-is-still-in-flight", test_says_what_stays },
  { "the-protocol-goes-on", test_the_protocol_goes_on },
  { "a-session-that-ends-ends-the-wait", test_a_session_that_ends_ends_the_wait },
  { "stops-while-paused", test_stops_while_paused },
  { "opens-a-front-end-and-hangs-up", test_opens_a_front_end },
};

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
    for (guint workers = 0; workers < 2; workers++)
      {
        g_autofree char *path = g_strdup_printf ("/protocol/pause/%s%s", tests[i].name,
                                                 workers == 0 ? "-in-the-main-loop" : "");

        g_test_add_data_func (path, GUINT_TO_POINTER (workers), tests[i].func);
      }
  return g_test_run ();
}
