/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side against a scripted back-end: what both sides agree on. */
#include "scripted-back-end.h"

static void
test_negotiate (void)
{
  Peer peer = { .features = F30 | BIT (32) | BIT (29) | BIT (3),
                .protocol_features = BIT (0) | BIT (3) | BIT (5) | BIT (9) | BIT (15) | BIT (1),
                .max_slots = 77 };

  peer_start (&peer);
  NEGOTIATE (&peer, BIT (32) | BIT (3) | BIT (1), ~BIT (1));
  g_assert_cmphex (vhost_frontend_get_offered_features (peer.frontend), ==, peer.features);
  g_assert_cmphex (vhost_frontend_get_features (peer.frontend), ==, F30 | BIT (32) | BIT (3));
  g_assert_cmphex (vhost_frontend_get_offered_protocol_features (peer.frontend), ==,
                   peer.protocol_features);
  g_assert_cmphex (vhost_frontend_get_protocol_features (peer.frontend), ==,
                   peer.protocol_features & ~BIT (1));
  g_assert_cmpuint (vhost_frontend_get_max_queues (peer.frontend), ==, 5);
  g_assert_cmpuint (vhost_frontend_get_max_memory_slots (peer.frontend), ==, 77);
  g_assert_cmpint (vhost_frontend_get_backend_channel_fd (peer.frontend), >=, 0);
  g_assert_true (vhost_frontend_is_connected (peer.frontend));
  g_assert_cmpint (vhost_frontend_get_peer_pid (peer.frontend), ==, getpid ());
  peer_stop (&peer);

  g_assert_false (vhost_frontend_is_connected (peer.frontend));
  g_assert_cmphex (vhost_frontend_get_features (peer.frontend), ==, 0);
  assert_requests (&peer, "1 15 16 17 36 21 3 2");
  /* Before the bit is agreed nothing may ask for an acknowledgement; afterwards each setting does,
   * no question. */
  g_assert_cmphex (peer_seen (&peer, 2)->flags, ==, 1);
  g_assert_cmphex (peer_seen (&peer, 3)->flags, ==, 1);
  g_assert_cmphex (peer_seen (&peer, 5)->flags, ==, 9);
  g_assert_cmpuint (peer_seen (&peer, 5)->n_fds, ==, 1);
  g_assert_cmphex (peer_seen (&peer, 7)->flags, ==, 9);
  peer_clear (&peer);
}

static void
test_negotiate_plain (void)
{
  Peer peer = { .features = BIT (32) };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  NEGOTIATE (&peer, G_MAXUINT64, G_MAXUINT64);
  g_assert_cmpuint (vhost_frontend_get_max_queues (peer.frontend), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_max_memory_slots (peer.frontend), ==, 8);
  g_assert_cmpint (vhost_frontend_get_backend_channel_fd (peer.frontend), ==, -1);
  vhost_frontend_add_memory (peer.frontend, 0, MIB, &error);
  g_assert_no_error (error);
  g_assert_nonnull (vhost_frontend_add_queue (peer.frontend, 0, 64, &error));
  g_assert_no_error (error);
  peer_stop (&peer);
  assert_requests (&peer, "1 3 2 5 8 10 9 14 13 12");
  for (guint i = 0; i < peer.seen->len; i++)
    g_assert_cmphex (peer_seen (&peer, i)->flags, ==, 1);
  peer_clear (&peer);
}

static void
test_negotiate_unable (void)
{
  Peer peer = { .features = G_MAXUINT64, .protocol_features = G_MAXUINT64, .max_slots = 8 };

  peer_start (&peer);
  NEGOTIATE (&peer, G_MAXUINT64, G_MAXUINT64);
  g_assert_cmphex (vhost_frontend_get_features (peer.frontend), ==,
                   ~(BIT (26) | BIT (33) | BIT (34) | BIT (35)));
  g_assert_cmphex (vhost_frontend_get_protocol_features (peer.frontend), ==,
                   (BIT (23) - 1) & ~BIT (17));
  /* Bit 20 without 12. */
  NEGOTIATE (&peer, G_MAXUINT64, BIT (20) | BIT (3));
  g_assert_cmphex (vhost_frontend_get_protocol_features (peer.frontend), ==, BIT (3));
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_names (void)
{
  g_assert_cmpstr (vhost_frontend_protocol_feature_name (3), ==, vhost_wire_protocol_bit_name (3));
  g_assert_null (vhost_frontend_protocol_feature_name (63));
  g_assert_nonnull (vhost_frontend_feature_name (NULL, 32));
  g_assert_nonnull (vhost_frontend_feature_name ("block", 9));
  g_assert_null (vhost_frontend_feature_name ("no such device", 9));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend/takes-what-both-sides-know", test_negotiate);
  g_test_add_func ("/frontend/speaks-to-a-backend-without-protocol-features", test_negotiate_plain);
  g_test_add_func ("/frontend/takes-no-bit-that-it-cannot-drive", test_negotiate_unable);
  g_test_add_func ("/frontend/knows-names-of-feature-bits", test_names);
  return g_test_run ();
}
