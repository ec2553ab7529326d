/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting by iterating the main context: answers, deadlines, and what handlers may do meanwhile. */
#include "scripted-back-end.h"

static gboolean
count (gpointer data)
{
  ++*(guint *) data;
  return G_SOURCE_CONTINUE;
}

static void
test_iterates (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3), .silent_at = VHOST_WIRE_GET_STATUS };
  g_autoptr (GError) error = NULL;
  gboolean iterate = FALSE;
  guint n = 0;
  guint id;

  peer_start (&peer);
  g_object_set (peer.frontend, "iterate-context", TRUE, "timeout", 50, NULL);
  g_object_get (peer.frontend, "iterate-context", &iterate, NULL);
  g_assert_true (iterate);
  id = g_timeout_add (1, count, &n);
  NEGOTIATE (&peer, 0, BIT (3));
  g_assert_false (vhost_frontend_request (peer.frontend, VHOST_WIRE_GET_STATUS, NULL, 0, NULL, 0,
                                          NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_cmpuint (n, >, 0);
  g_source_remove (id);
  peer_stop (&peer);
  peer_clear (&peer);
}

static gboolean
call_inside (gpointer data)
{
  Peer *peer = data;
  g_autoptr (GError) error = NULL;

  g_assert_false (vhost_frontend_set_status (peer->frontend, 0, NULL));
  g_assert_false (vhost_frontend_negotiate (peer->frontend, 0, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  peer->data = NULL;
  return G_SOURCE_REMOVE;
}

static gboolean
disconnect_inside (gpointer data)
{
  vhost_frontend_close (data);
  return G_SOURCE_REMOVE;
}

static void
test_handlers (void)
{
  Peer peer = { .features = F30, .silent_at = VHOST_WIRE_GET_PROTOCOL_FEATURES };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  peer.data = &peer;
  g_object_set (peer.frontend, "iterate-context", TRUE, "timeout", 20000, NULL);
  g_timeout_add (1, call_inside, &peer);
  g_timeout_add (5, disconnect_inside, peer.frontend);
  g_assert_false (vhost_frontend_negotiate (peer.frontend, 0, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_assert_null (peer.data);
  peer_stop (&peer);

  /* The next connection is not busy. */
  peer.silent_at = 0;
  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_closed (void)
{
  Peer peer = { .features = F30, .close_at = VHOST_WIRE_GET_PROTOCOL_FEATURES };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  g_object_set (peer.frontend, "iterate-context", TRUE, NULL);
  g_assert_false (vhost_frontend_negotiate (peer.frontend, 0, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  peer_stop (&peer);
  peer_clear (&peer);
}

/* A back-end that reads nothing: the socket fills up. */
static void
test_nobody_reads (void)
{
  g_autoptr (VhostFrontend) frontend
      = g_object_new (VHOST_TYPE_FRONTEND, "iterate-context", TRUE, "timeout", 30, NULL);
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *bytes = g_malloc0 (MIB);
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_true (vhost_frontend_connect_take_fd (frontend, fds[0], NULL));
  g_assert_false (vhost_frontend_send_raw (frontend, bytes, MIB, NULL, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_clear_error (&error);
  g_timeout_add (1, disconnect_inside, frontend);
  g_object_set (frontend, "timeout", 20000, NULL);
  g_assert_false (vhost_frontend_send_raw (frontend, bytes, MIB, NULL, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  close (fds[1]);
}

static gboolean
call_queue (gpointer data)
{
  const guint64 one = 1;

  g_assert_cmpint (write (vhost_frontend_queue_get_call_fd (data), &one, sizeof one), ==,
                   sizeof one);
  return G_SOURCE_REMOVE;
}

static gboolean
dispose_inside (gpointer data)
{
  g_object_run_dispose (data);
  return G_SOURCE_REMOVE;
}

static void
test_queue (void)
{
  Peer peer = { .features = F30 };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_object_set (peer.frontend, "iterate-context", TRUE, NULL);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0x100000, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 16, &error);
  g_assert_no_error (error);

  g_assert_false (vhost_frontend_queue_wait (queue, 0));
  g_assert_false (vhost_frontend_queue_wait (queue, 5));
  g_timeout_add (1, call_queue, queue);
  g_assert_true (vhost_frontend_queue_wait (queue, 20000));
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (queue), ==, 1);

  /* The ring and its memory go away while someone waits. */
  g_timeout_add (1, dispose_inside, peer.frontend);
  g_assert_false (vhost_frontend_queue_wait (queue, 20));
  peer_stop (&peer);
  peer_clear (&peer);
}

/* Another thread's context is left alone. */
static gpointer
own_context (gpointer data)
{
  GMainLoop *loop = data;

  g_main_loop_run (loop);
  return NULL;
}

static gboolean
is_running (gpointer data)
{
  g_atomic_int_set ((gint *) data, 1);
  return G_SOURCE_REMOVE;
}

static void
test_context_of_another_thread (void)
{
  Peer peer = { .features = F30 };
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  gint running = 0;
  GThread *thread;

  g_idle_add (is_running, &running);
  thread = g_thread_new ("owner", own_context, loop);
  while (!g_atomic_int_get (&running))
    g_thread_yield ();
  peer_start (&peer);
  g_object_set (peer.frontend, "iterate-context", TRUE, NULL);
  NEGOTIATE (&peer, 0, 0);
  peer_stop (&peer);
  g_main_loop_quit (loop);
  g_thread_join (thread);
  peer_clear (&peer);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-wait/runs-the-main-context-until-the-answer-or-the-deadline",
                   test_iterates);
  g_test_add_func ("/frontend-wait/lets-handlers-disconnect-but-not-ask", test_handlers);
  g_test_add_func ("/frontend-wait/ends-when-the-backend-closes", test_closed);
  g_test_add_func ("/frontend-wait/sends-no-longer-than-its-timeout", test_nobody_reads);
  g_test_add_func ("/frontend-wait/waits-for-a-queues-calls", test_queue);
  g_test_add_func ("/frontend-wait/polls-when-another-thread-owns-the-context",
                   test_context_of_another_thread);
  return g_test_run ();
}
