/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions that end by a closed socket while requests are in flight and no ring was stopped:
 * nothing of them is left behind, and the next one with the same in-flight area gets what was not
 * answered, once. Public API only. */
#include "raw-wire.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_AT 0x100000
#define MEMORY_SIZE (2 << 20)
#define RING 64
#define N_REQUESTS 12
#define PACKED RAW_BIT (34)
#define IN_ORDER RAW_BIT (35)
#define P_INFLIGHT RAW_BIT (12)

typedef struct
{
  LiveDevice *device;
  EchoBackend *echo;
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  guint64 at[N_REQUESTS]; /* guest addresses: 64 bytes in, 64 bytes out */
  guint n_answered[N_REQUESTS];
  guint n_fds;
  guint n_maps;
} Scene;

/* Maps of shared memory files in this process, which both ends share. */
static guint
count_maps (void)
{
  g_autofree char *text = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents ("/proc/self/maps", &text, NULL, NULL));
  for (const char *at = text; (at = strstr (at, "/memfd:")) != NULL; at++)
    n++;
  return n;
}

static void
set_drain_timeout (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "drain-timeout", GPOINTER_TO_UINT (data), NULL);
}

static void
begin (Scene *self, guint workers, guint drain_timeout)
{
  memset (self, 0, sizeof *self);
  self->echo = echo_backend_new (1, workers);
  self->device = live_device_new (self->echo, set_drain_timeout, GUINT_TO_POINTER (drain_timeout));
  live_device_assert_alive (self->device); /* whatever is made once, is made */
  self->n_fds = raw_count_idle_fds (self->device);
  self->n_maps = count_maps ();
}

static void
end (Scene *self)
{
  g_clear_object (&self->frontend);
  LIVE_WAIT_FOR (raw_count_sessions (self->device) == 0);
  LIVE_WAIT_FOR (live_count_fds () <= self->n_fds);
  LIVE_WAIT_FOR (count_maps () <= self->n_maps);
  live_device_assert_alive (self->device);
  live_device_free (self->device);
}

static void
open_session (Scene *self, guint64 features, guint64 protocol)
{
  GError *error = NULL;

  self->frontend = vhost_frontend_new ();
  vhost_frontend_connect (self->frontend, self->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (self->frontend, LIVE_ALL_FEATURES | features, protocol, &error);
  g_assert_no_error (error);
  g_assert_cmphex (vhost_frontend_get_features (self->frontend) & (PACKED | IN_ORDER), ==,
                   features);
  vhost_frontend_add_memory (self->frontend, MEMORY_AT, MEMORY_SIZE, &error);
  g_assert_no_error (error);
  self->queue = vhost_frontend_add_queue (self->frontend, 0, RING, &error);
  g_assert_no_error (error);
}

static guint8 *
bytes_of (Scene *self, guint i)
{
  guint8 *bytes = vhost_frontend_get_memory (self->frontend, self->at[i], 128);

  g_assert_nonnull (bytes);
  return bytes;
}

static void
send (Scene *self, guint from, guint to)
{
  for (guint i = from; i < to; i++)
    {
      VhostFrontendBuffer buffers[2];

      self->at[i] = vhost_frontend_allocate (self->frontend, 128, 64);
      memset (bytes_of (self, i), 'a' + (int) i, 64);
      buffers[0] = (VhostFrontendBuffer){ self->at[i], 64, FALSE };
      buffers[1] = (VhostFrontendBuffer){ self->at[i] + 64, 64, TRUE };
      g_assert_true (
          vhost_frontend_queue_add (self->queue, buffers, 2, FALSE, GUINT_TO_POINTER (i + 1)));
    }
  vhost_frontend_queue_kick (self->queue);
}

static guint
reap (Scene *self)
{
  gpointer token;
  guint n = 0;

  for (; vhost_frontend_queue_poll (self->queue, &token, NULL); n++)
    {
      guint i = GPOINTER_TO_UINT (token) - 1;

      g_assert_cmpuint (i, <, N_REQUESTS);
      self->n_answered[i]++;
      g_assert_cmpmem (bytes_of (self, i), 64, bytes_of (self, i) + 64, 64);
    }
  return n;
}

static void
reap_all (Scene *self, guint n)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  while (n > 0)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      n -= reap (self);
      if (n > 0)
        vhost_frontend_queue_wait (self->queue, 20);
    }
}

/* Without an area what is in flight ends with the session, and takes all it held along. */
static void
test_leaves_nothing (gconstpointer data)
{
  Scene f;

  begin (&f, GPOINTER_TO_UINT (data), 10000);
  for (guint round = 0; round < 20; round++)
    {
      echo_backend_hold (f.echo, TRUE);
      open_session (&f, round % 2 == 0 ? 0 : PACKED, ~P_INFLIGHT);
      send (&f, 0, N_REQUESTS);
      LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == N_REQUESTS);
      g_clear_object (&f.frontend);
      /* The back-end is slow: its requests outlive the session, and their memory with them. */
      g_assert_cmpuint (echo_backend_get_n_held (f.echo), ==, N_REQUESTS);
      echo_backend_hold (f.echo, FALSE);
      echo_backend_release (f.echo, round % 3 == 0);
      LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
    }
  end (&f);
}

/* With one, the next session gets what was not answered, and nothing else. A session that has lost
 * its front-end still waits for its requests, and those that end in time are answered: the driver
 * finds them in the ring. */
static void
serve_again (guint workers, guint64 features, gboolean in_time)
{
  guint answered = N_REQUESTS / 3, before;
  GError *error = NULL;
  Scene f;

  begin (&f, workers, in_time ? 10000 : 20);
  open_session (&f, features, G_MAXUINT64);
  if ((features & IN_ORDER) != 0)
    {
      send (&f, 0, answered);
      reap_all (&f, answered);
      echo_backend_hold (f.echo, TRUE);
      send (&f, answered, N_REQUESTS);
    }
  else
    {
      /* The newest are answered: only the area knows which are not, the ring's index does not. */
      echo_backend_hold (f.echo, TRUE);
      send (&f, 0, N_REQUESTS - answered);
      LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == N_REQUESTS - answered);
      echo_backend_hold (f.echo, FALSE);
      send (&f, N_REQUESTS - answered, N_REQUESTS);
      reap_all (&f, answered);
    }
  LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == N_REQUESTS - answered);
  vhost_frontend_close (f.frontend);
  if (!in_time)
    LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  echo_backend_hold (f.echo, FALSE);
  echo_backend_release (f.echo, TRUE);
  LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (f.echo) == 0);
  before = reap (&f);
  if (!in_time)
    g_assert_cmpuint (before, ==, 0); /* nobody hears of what ended after the session */
  answered += before;

  before = echo_backend_get_calls (f.echo).requests;
  vhost_frontend_connect (f.frontend, f.device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_resume (f.frontend, &error);
  g_assert_no_error (error);
  reap_all (&f, N_REQUESTS - answered);
  g_assert_cmpuint (echo_backend_get_calls (f.echo).requests, ==, before + N_REQUESTS - answered);
  for (guint i = 0; i < N_REQUESTS; i++)
    g_assert_cmpuint (f.n_answered[i], ==, 1);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);
  end (&f);
}

static const guint64 layouts[] = { 0, PACKED, IN_ORDER, PACKED | IN_ORDER };

static void
test_serves_again (gconstpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      serve_again (GPOINTER_TO_UINT (data), layouts[i], TRUE);
      serve_again (GPOINTER_TO_UINT (data), layouts[i], FALSE);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  /* That a drain took too long is said with a warning, and meant here. */
  g_log_set_always_fatal (G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
  g_test_add_data_func ("/protocol/session-endings/leave-nothing-behind", GUINT_TO_POINTER (1),
                        test_leaves_nothing);
  g_test_add_data_func ("/protocol/session-endings/leave-nothing-behind-in-the-main-loop",
                        GUINT_TO_POINTER (0), test_leaves_nothing);
  g_test_add_data_func ("/protocol/session-endings/the-next-one-gets-what-was-not-answered",
                        GUINT_TO_POINTER (1), test_serves_again);
  g_test_add_data_func (
      "/protocol/session-endings/the-next-one-gets-what-was-not-answered-in-the-main-loop",
      GUINT_TO_POINTER (0), test_serves_again);
  return g_test_run ();
}
