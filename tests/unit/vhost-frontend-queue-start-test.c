/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the driver side starts, stops and restarts a queue, on this connection and the next. */
#include "scripted-back-end.h"

static void
test_queue (void)
{
  Peer peer = { .features = F30 | BIT (28) | BIT (29), .protocol_features = BIT (3), .base = 4711 };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  VhostWireVringAddr address;
  VhostWireVringState state;
  guint64 descriptors;
  guint base;

  peer_start (&peer);
  NEGOTIATE (&peer, G_MAXUINT64, BIT (3));
  g_assert_null (vhost_frontend_add_queue (peer.frontend, 1, 64, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_FAILED);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 1, 64, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_get_queue (peer.frontend, 1) == queue);
  g_assert_null (vhost_frontend_get_queue (peer.frontend, 4000));
  g_assert_null (vhost_frontend_add_queue (peer.frontend, 1, 64, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (vhost_frontend_restart_queue (peer.frontend, 1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_stop_queue (peer.frontend, 1, &base, &error));
  g_assert_cmpuint (base, ==, 4711);
  g_assert_true (vhost_frontend_restart_queue (peer.frontend, 1, &error));
  g_assert_false (vhost_frontend_stop_queue (peer.frontend, 2, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  vhost_frontend_queue_get_addresses (queue, &descriptors, NULL, NULL);
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 3 2 5 8 10 9 14 13 12 18 11 8 10 9 14 13 12 18");
  memcpy (&address, peer_seen (&peer, 8)->payload, sizeof address);
  g_assert_cmpuint (address.index, ==, 1);
  g_assert_cmphex (address.descriptor, ==,
                   (guintptr) vhost_frontend_get_memory (peer.frontend, descriptors, 1));
  memcpy (&state, peer_seen (&peer, 15)->payload, sizeof state);
  g_assert_cmpuint (state.num, ==, 4711);
  memcpy (&state, peer_seen (&peer, 12)->payload, sizeof state);
  g_assert_cmpuint (state.index, ==, 1);
  g_assert_cmpuint (state.num, ==, 1);
  for (guint i = 9; i <= 11; i++)
    g_assert_cmpuint (peer_seen (&peer, i)->n_fds, ==, 1);
  peer_clear (&peer);
}

static void
test_bad_base (gconstpointer data)
{
  Peer peer = { .features = F30 };
  g_autoptr (GError) error = NULL;

  if (GPOINTER_TO_INT (data) == 0)
    peer.wrong_ring = TRUE;
  else
    peer.base = 0x10000;
  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  g_assert_nonnull (vhost_frontend_add_queue (peer.frontend, 0, 64, &error));
  g_assert_false (vhost_frontend_stop_queue (peer.frontend, 0, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_remove_under_ring (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3) | BIT (15), .max_slots = 8 };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  const VhostFrontendBuffer buffer = { 0x1000, 1, TRUE };

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_true (vhost_frontend_remove_memory (peer.frontend, 0, &error));
  /* The device is without the ring now, we are not. */
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, NULL));
  g_assert_true (vhost_frontend_queue_kick (queue));
  g_assert_false (vhost_frontend_queue_poll (queue, NULL, NULL));
  peer_stop (&peer);
  peer_clear (&peer);
}

/* Memory and rings on a second connection. */
static void
test_reconnect (void)
{
  Peer peer = { .features = F30 };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  VhostWireVringState state;
  guint64 used;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_nonnull (queue);
  vhost_frontend_queue_get_addresses (queue, NULL, NULL, &used);
  ((guint16 *) vhost_frontend_get_memory (peer.frontend, used, 4))[1] = 9;
  peer_stop (&peer);
  g_array_set_size (peer.seen, 0);

  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_assert_true (vhost_frontend_restart_queue (peer.frontend, 0, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 8 10 9 14 13 12 18");
  memcpy (&state, peer_seen (&peer, 7)->payload, sizeof state);
  g_assert_cmpuint (state.num, ==, 9);
  peer_clear (&peer);
}

static void
test_leaks (void)
{
  guint before, after;

  /* What the first round opens once for the process does not count. */
  test_reconnect ();
  vhost_fd_settle ();
  before = vhost_fd_count_free ();
  for (guint i = 0; i < 3; i++)
    {
      test_reconnect ();
      test_remove_under_ring ();
    }
  vhost_fd_settle ();
  after = vhost_fd_count_free ();
  g_assert_cmpuint (after, ==, before);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-queue-start/starts-stops-and-restarts-a-queue", test_queue);
  g_test_add_data_func ("/frontend-queue-start/refuses-the-base-of-another-queue",
                        GINT_TO_POINTER (0), test_bad_base);
  g_test_add_data_func ("/frontend-queue-start/refuses-a-base-beyond-16-bits", GINT_TO_POINTER (1),
                        test_bad_base);
  g_test_add_func ("/frontend-queue-start/survives-the-removal-of-a-rings-memory",
                   test_remove_under_ring);
  g_test_add_func ("/frontend-queue-start/carries-memory-and-queues-to-the-next-connection",
                   test_reconnect);
  g_test_add_func ("/frontend-queue-start/leaks-no-descriptor", test_leaks);
  return g_test_run ();
}
