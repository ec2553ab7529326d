/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's messages against a scripted back-end: a thread at the other end of a socket
 * pair that notes what comes and answers as it is told, rightly or wrongly. */
#include "scripted-back-end.h"

#include <sys/un.h>

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
test_refused (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3), .refuse = VHOST_WIRE_SET_VRING_NUM };
  g_autoptr (GError) error = NULL;
  guint64 value;
  const guint64 payload = 0;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, BIT (3));
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, NULL));
  g_assert_null (vhost_frontend_add_queue (peer.frontend, 2, 128, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_assert_cmpstr (error->message, ==,
                   "the back-end refused SET_VRING_NUM (queue 2, number 128): it answered 1");
  g_clear_error (&error);
  g_assert_null (vhost_frontend_get_queue (peer.frontend, 2));

  g_assert_false (vhost_frontend_request (peer.frontend, VHOST_WIRE_SET_VRING_NUM, &payload, 8,
                                          NULL, 0, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_request (peer.frontend, VHOST_WIRE_SET_VRING_NUM, &payload, 8, NULL,
                                         0, &value, &error));
  g_assert_cmpuint (value, ==, 1);
  /* The connection lives on. */
  g_assert_true (vhost_frontend_request (peer.frontend, VHOST_WIRE_GET_FEATURES, NULL, 0, NULL, 0,
                                         &value, &error));
  g_assert_cmphex (value, ==, F30);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_closed (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3), .close_at = VHOST_WIRE_SET_OWNER };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  g_assert_false (vhost_frontend_negotiate (peer.frontend, 0, BIT (3), &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_assert_nonnull (strstr (error->message, "SET_OWNER"));
  g_clear_error (&error);
  g_assert_false (vhost_frontend_is_connected (peer.frontend));
  g_assert_false (
      vhost_frontend_send (peer.frontend, VHOST_WIRE_SET_OWNER, 0, NULL, 0, NULL, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_assert_nonnull (strstr (error->message, "SET_OWNER"));
  g_clear_error (&error);
  peer_stop (&peer);
  g_assert_false (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  peer_clear (&peer);
}

static void
test_silent (void)
{
  Peer peer = { .features = F30, .silent_at = VHOST_WIRE_GET_PROTOCOL_FEATURES };
  g_autoptr (GError) error = NULL;
  guint notified = 0;
  guint8 bytes[4096] = { 0 };

  peer_start (&peer);
  g_object_set (peer.frontend, "timeout", 20, NULL);
  g_signal_connect_swapped (peer.frontend, "notify::timeout", G_CALLBACK (g_atomic_int_inc),
                            &notified);
  g_object_set (peer.frontend, "timeout", 20, NULL);
  g_assert_cmpuint (notified, ==, 0);
  g_assert_false (vhost_frontend_negotiate (peer.frontend, 0, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_cmpstr (error->message, ==,
                   "the back-end gave no answer to GET_PROTOCOL_FEATURES within 20 ms");
  g_clear_error (&error);
  g_assert_false (
      vhost_frontend_receive (peer.frontend, NULL, NULL, NULL, NULL, NULL, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_clear_error (&error);
  peer_stop (&peer);

  /* Nobody reads at all: a pair of sockets of which the test holds both. */
  int fds[2];
  gboolean sent = TRUE;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_true (vhost_frontend_connect_take_fd (peer.frontend, fds[0], NULL));
  for (guint i = 0; sent && i < 10000; i++)
    sent = vhost_frontend_send_raw (peer.frontend, bytes, sizeof bytes, NULL, 0, &error);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  vhost_fd_clear (&fds[1]);
  peer_clear (&peer);
}

static void
test_odd_answers (void)
{
  static const struct
  {
    guint32 code, flags, size;
  } cases[] = {
    { VHOST_WIRE_GET_STATUS, REPLY, 8 },
    { 0xffffffff, REPLY, 8 },
    { VHOST_WIRE_GET_FEATURES, VHOST_WIRE_VERSION, 8 },
    { VHOST_WIRE_GET_FEATURES, REPLY | VHOST_WIRE_FLAG_NEED_REPLY, 8 },
    { VHOST_WIRE_GET_FEATURES, REPLY, 4 },
    { VHOST_WIRE_GET_FEATURES, REPLY, 0 },
    { VHOST_WIRE_GET_FEATURES, REPLY | 3, 8 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      Peer peer = { .odd_at = VHOST_WIRE_GET_FEATURES,
                    .odd_code = cases[i].code,
                    .odd_flags = cases[i].flags,
                    .odd_size = cases[i].size };
      g_autoptr (GError) error = NULL;

      peer_start (&peer);
      g_assert_false (vhost_frontend_negotiate (peer.frontend, 0, 0, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
      g_assert_nonnull (strstr (error->message, "GET_FEATURES"));
      peer_stop (&peer);
      peer_clear (&peer);
    }
}

static void
test_memory_table (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3) };
  g_autoptr (GError) error = NULL;
  VhostWireMemTable table;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, BIT (3));
  for (guint i = 0; i < 8; i++)
    g_assert_true (vhost_frontend_add_memory (peer.frontend, i * MIB, MIB, &error));
  g_assert_false (vhost_frontend_add_memory (peer.frontend, 8 * MIB, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (vhost_frontend_get_memory (peer.frontend, 8 * MIB, 1));
  g_assert_true (vhost_frontend_remove_memory (peer.frontend, 3 * MIB, &error));
  g_assert_null (vhost_frontend_get_memory (peer.frontend, 3 * MIB, 1));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 3 2 5 5 5 5 5 5 5 5 5");
  g_assert_cmpuint (peer_seen (&peer, 12)->n_fds, ==, 8);
  g_assert_cmpuint (peer_seen (&peer, 12)->size, ==, 8 + 32 * 8);
  g_assert_cmpuint (peer_seen (&peer, 13)->n_fds, ==, 7);
  memcpy (&table, peer_seen (&peer, 13)->payload, sizeof table);
  g_assert_cmpuint (table.n_regions, ==, 7);
  g_assert_cmphex (table.regions[3].guest_addr, ==, 4 * MIB);
  g_assert_cmphex (table.regions[3].size, ==, MIB);
  g_assert_cmphex (table.regions[3].user_addr, ==,
                   (guintptr) vhost_frontend_get_memory (peer.frontend, 4 * MIB, MIB));
  peer_clear (&peer);
}

static void
test_memory_slots (void)
{
  Peer peer
      = { .features = F30, .protocol_features = BIT (3) | BIT (15) | BIT (21), .max_slots = 2 };
  g_autoptr (GError) error = NULL;
  VhostWireSingleRegion region;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 2 * MIB, MIB, &error));
  g_assert_false (vhost_frontend_add_memory (peer.frontend, 4 * MIB, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_remove_memory (peer.frontend, 2 * MIB, &error));
  g_assert_false (vhost_frontend_remove_memory (peer.frontend, 2 * MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  /* Not its beginning. */
  g_assert_false (vhost_frontend_remove_memory (peer.frontend, 4096, &error));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 36 3 2 37 37 38");
  g_assert_cmpuint (peer_seen (&peer, 7)->n_fds, ==, 1);
  g_assert_cmpuint (peer_seen (&peer, 7)->size, ==, 40);
  g_assert_cmpuint (peer_seen (&peer, 8)->n_fds, ==, 0);
  memcpy (&region, peer_seen (&peer, 7)->payload, sizeof region);
  g_assert_cmphex (region.region.guest_addr, ==, 2 * MIB);
  /* GPA_ADDRESSES: the guest's address takes the place of ours. */
  g_assert_cmphex (region.region.user_addr, ==, 2 * MIB);
  peer_clear (&peer);
}

static void
test_memory_arguments (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  static const struct
  {
    guint64 address;
    gsize size;
  } bad[] = { { 0, 0 },          { 1, 4096 },    { G_MAXUINT64 - 4095, 8192 },
              { 0, G_MAXSIZE },  { 4096, 4096 }, { 0, 8192 },
              { 8192, 3 * 4096 } };

  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 4096, 2 * 4096, &error));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_assert_null (
          vhost_frontend_memory_new_region (frontend, bad[i].address, bad[i].size, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_clear_error (&error);
    }
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0, 4096, NULL));
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, G_MAXUINT64 - 8191, 4096, NULL));
}

static void
test_allocate (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  guint64 address;
  guint64 end = 4096;
  struct stat st;

  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, 1), ==, 0);
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0, 4 * 4096, NULL));
  g_assert_cmphex (vhost_frontend_allocate (frontend, 0, 1), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, 3), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, G_MAXSIZE, 1), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, G_MAXSIZE / 2 + 1), ==, 0);
  for (guint i = 0; i < 7; i++)
    {
      address = vhost_frontend_allocate (frontend, 10, 64);
      g_assert_cmphex (address, >=, end);
      g_assert_cmphex (address % 64, ==, 0);
      end = address + 10;
    }
  g_assert_cmphex (vhost_frontend_allocate (frontend, 2 * 4096, 0), ==, end);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 4096, 0), ==, 0);
  /* A second region takes what the first has no room for. */
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0x100000, 4096, NULL));
  g_assert_cmphex (vhost_frontend_allocate (frontend, 4096, 0), ==, 0x100000);

  g_assert_null (vhost_frontend_get_memory (frontend, 0, 4 * 4096 + 1));
  g_assert_nonnull (vhost_frontend_get_memory (frontend, 0, 4 * 4096));
  g_assert_null (vhost_frontend_get_memory (frontend, 0x100000, G_MAXSIZE));
  g_assert_cmpint (vhost_frontend_get_memory_fd (frontend, 0x200000), ==, -1);
  g_assert_cmpint (fstat (vhost_frontend_get_memory_fd (frontend, 0x100fff), &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 4096);
  /* The back-end may seal it, nobody has. */
  g_assert_cmpint (fcntl (vhost_frontend_get_memory_fd (frontend, 0), F_GET_SEALS), ==, 0);
}

static void
test_device (void)
{
  Peer peer = { .features = F30,
                .protocol_features = BIT (3) | BIT (9) | BIT (13) | BIT (16),
                .status = 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) config = NULL;
  g_autoptr (GBytes) data = g_bytes_new_static ("\001\002\003", 3);
  g_autoptr (GBytes) large = g_bytes_new_take (g_malloc0 (257), 257);
  VhostWireConfig written;
  guint status;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  config = vhost_frontend_get_config (peer.frontend, 8, 60, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (config), ==, 60);
  g_assert_cmpuint (((const guint8 *) g_bytes_get_data (config, NULL))[59], ==, 67);
  g_assert_null (vhost_frontend_get_config (peer.frontend, 0, 257, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (vhost_frontend_get_config (peer.frontend, 0, 0, NULL));
  g_assert_true (vhost_frontend_set_config (peer.frontend, 32, data, 1, &error));
  g_assert_false (vhost_frontend_set_config (peer.frontend, 32, large, 1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_set_status (peer.frontend, 11, &error));
  g_assert_true (vhost_frontend_get_status (peer.frontend, &status, &error));
  g_assert_cmpuint (status, ==, 11);
  g_assert_true (vhost_frontend_set_status (peer.frontend, 256, &error));
  g_assert_false (vhost_frontend_get_status (peer.frontend, &status, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_reset_device (peer.frontend, &error));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 3 2 24 25 39 40 39 40 34");
  g_assert_cmpuint (peer_seen (&peer, 6)->size, ==, 15);
  memcpy (&written, peer_seen (&peer, 6)->payload, 15);
  g_assert_cmpuint (written.offset, ==, 32);
  g_assert_cmpuint (written.size, ==, 3);
  g_assert_cmpuint (written.flags, ==, 1);
  g_assert_cmpmem (written.data, 3, "\001\002\003", 3);
  peer_clear (&peer);
}

static void
test_device_unnegotiated (void)
{
  Peer peer = { .features = F30, .protocol_features = 0 };
  g_autoptr (GError) error = NULL;
  guint status;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_null (vhost_frontend_get_config (peer.frontend, 0, 1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_clear_error (&error);
  g_assert_false (vhost_frontend_get_status (peer.frontend, &status, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_clear_error (&error);
  g_assert_false (vhost_frontend_reset_device (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_assert_nonnull (strstr (error->message, "RESET_DEVICE"));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2");
  peer_clear (&peer);
}

static void
test_config_refused (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (9), .refuse = VHOST_WIRE_GET_CONFIG };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_null (vhost_frontend_get_config (peer.frontend, 3, 9, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_assert_cmpstr (error->message, ==, "the back-end refused GET_CONFIG (9 bytes at 3)");
  peer_stop (&peer);
  peer_clear (&peer);
}

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
on_message (VhostFrontend *frontend, guint request, gpointer data)
{
  g_string_append_printf (data, "%u ", request);
}

static void
on_config (VhostFrontend *frontend, gpointer data)
{
  g_string_append (data, "config ");
}

static void
test_backend_channel (void)
{
  static const struct
  {
    guint32 request, flags;
    guint64 expected;
  } cases[] = {
    { VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, 9, 0 },
    { VHOST_WIRE_BACKEND_IOTLB_MSG, 9, 1 },
    /* Without its payload. */
    { VHOST_WIRE_BACKEND_VRING_ERR, 9, 1 },
    { 99, 9, 1 },
    { VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP, 1, 1 },
  };
  Peer peer = { .features = F30, .protocol_features = BIT (3) | BIT (5) | BIT (9) };
  g_autoptr (GString) log = g_string_new (NULL);
  VhostChannel *channel;
  VhostMessage *message;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  vhost_frontend_disconnect (peer.frontend);
  g_thread_join (peer.thread);
  vhost_fd_clear (&peer.backend_fd);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, -1), ==, 0);

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  /* The thread has given its end away: negotiation was answered after that. */
  channel = vhost_channel_new_take_fd (peer.backend_fd);
  peer.backend_fd = -1;
  g_signal_connect (peer.frontend, "config-changed", G_CALLBACK (on_config), log);
  g_signal_connect (peer.frontend, "backend-message", G_CALLBACK (on_message), log);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, 0), ==, 0);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    g_assert_true (
        vhost_channel_send (channel, cases[i].request, cases[i].flags, NULL, 0, NULL, 0, NULL));
  /* No answer wanted, none given. */
  g_assert_true (vhost_channel_send (channel, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, 1, NULL, 0,
                                     NULL, 0, NULL));
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, 5000), ==,
                    G_N_ELEMENTS (cases) + 1);
  g_assert_cmpstr (log->str, ==, "config 2 1 5 99 8 config 2 ");
  g_assert_cmpuint (vhost_frontend_get_config_generation (peer.frontend), ==, 2);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_assert_cmpint (vhost_channel_receive (channel, &message, NULL), ==, VHOST_CHANNEL_MESSAGE);
      g_assert_cmpuint (message->header.request, ==, cases[i].request);
      g_assert_cmphex (message->header.flags, ==, REPLY);
      g_assert_cmpuint (message->payload.u64, ==, cases[i].expected);
    }
  g_assert_cmpint (vhost_channel_receive (channel, &message, NULL), ==, VHOST_CHANNEL_AGAIN);

  /* A handler that ends the connection. */
  g_signal_connect (peer.frontend, "config-changed", G_CALLBACK (vhost_frontend_disconnect), NULL);
  g_assert_true (vhost_channel_send (channel, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, 9, NULL, 0,
                                     NULL, 0, NULL));
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, 5000), ==, 1);
  g_assert_cmpint (vhost_frontend_get_backend_channel_fd (peer.frontend), ==, -1);
  g_thread_join (peer.thread);
  vhost_channel_free (channel);
  peer_clear (&peer);
}

static void
test_backend_channel_broken (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3) | BIT (5) };
  static const guint8 garbage[12]
      = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_cmpint (write (peer.backend_fd, garbage, 12), ==, 12);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, 5000), ==, 0);
  g_assert_cmpint (vhost_frontend_get_backend_channel_fd (peer.frontend), ==, -1);
  /* The main connection does not suffer. */
  g_assert_true (vhost_frontend_is_connected (peer.frontend));
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  vhost_fd_clear (&peer.backend_fd);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer.frontend, 5000), ==, 0);
  g_assert_cmpint (vhost_frontend_get_backend_channel_fd (peer.frontend), ==, -1);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_raw (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  int sockets[2];
  int many[254];
  int received[8];
  guint n_received = 8;
  VhostChannel *channel;
  VhostMessage *message;
  guint request, flags;
  gsize size = 2;
  guint8 payload[2] = { 0 };
  g_autofree guint8 *large = g_malloc0 (100000);

  g_object_set (frontend, "timeout", 5000, NULL);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), ==, 0);
  g_assert_true (vhost_frontend_connect_take_fd (frontend, sockets[0], NULL));
  channel = vhost_channel_new_take_fd (sockets[1]);
  for (guint i = 0; i < G_N_ELEMENTS (many); i++)
    many[i] = sockets[1];

  /* As told, though no back-end could like it; in two pieces. */
  g_assert_true (vhost_frontend_send_raw (frontend, "\115\0\0", 3, many, 8, &error));
  g_assert_true (vhost_frontend_send_raw (frontend, "\0\1\0\0\0\2\0\0\0xy", 11, NULL, 0, &error));
  g_assert_cmpint (vhost_channel_receive (channel, &message, NULL), ==, VHOST_CHANNEL_MESSAGE);
  g_assert_cmpuint (message->header.request, ==, 77);
  g_assert_cmpuint (message->n_fds, ==, 8);
  g_assert_cmpmem (message->payload.bytes, 2, "xy", 2);

  g_assert_true (vhost_frontend_send (frontend, 78, 0, "abc", 3, NULL, 0, &error));
  g_assert_cmpint (vhost_channel_receive (channel, &message, NULL), ==, VHOST_CHANNEL_MESSAGE);
  g_assert_cmphex (message->header.flags, ==, 1);
  g_assert_cmpuint (message->header.size, ==, 3);

  g_assert_false (vhost_frontend_send (frontend, 79, 0, NULL, 0, many, 254, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);

  /* The buffers are smaller than what comes: nothing overflows, nothing is lost but what has no
   * room. */
  g_assert_true (vhost_channel_send (channel, 5, REPLY, "12345", 5, many, 3, NULL));
  g_assert_true (vhost_frontend_receive (frontend, &request, &flags, payload, &size, received,
                                         &n_received, &error));
  g_assert_cmpuint (request, ==, 5);
  g_assert_cmphex (flags, ==, REPLY);
  g_assert_cmpuint (size, ==, 5);
  g_assert_cmpmem (payload, 2, "12", 2);
  g_assert_cmpuint (n_received, ==, 3);
  for (guint i = 0; i < 3; i++)
    vhost_fd_clear (&received[i]);

  /* More than a message may hold. */
  g_assert_true (vhost_frontend_send (frontend, 80, 0, large, 100000, NULL, 0, &error));
  g_assert_cmpint (vhost_channel_receive (channel, &message, &error), ==, VHOST_CHANNEL_ERROR);
  g_clear_error (&error);
  vhost_channel_free (channel);
  g_assert_false (vhost_frontend_receive (frontend, NULL, NULL, NULL, NULL, NULL, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_connect_errors (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *directory = g_dir_make_tmp ("vhost-frontend-XXXXXX", &error);
  g_autofree char *path = g_build_filename (directory, "socket", NULL);
  g_autofree char *long_path = g_strnfill (108, 'x');
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int file;
  int fds[2];

  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "is the back-end running"));
  g_clear_error (&error);

  file = open (path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "that is no socket"));
  g_clear_error (&error);
  unlink (path);

  /* Bound, and left behind by its owner. */
  strcpy (address.sun_path, path);
  fds[0] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (fds[0], (struct sockaddr *) &address, sizeof address), ==, 0);
  vhost_fd_clear (&fds[0]);
  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "nobody listens"));
  g_clear_error (&error);
  unlink (path);
  rmdir (directory);

  g_assert_false (vhost_frontend_connect (frontend, long_path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);

  /* The descriptor is taken, and closed, all the same. */
  g_assert_false (vhost_frontend_connect_take_fd (frontend, file, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_cmpint (fcntl (file, F_GETFD), ==, -1);
  g_clear_error (&error);

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_true (vhost_frontend_connect_take_fd (frontend, fds[0], &error));
  g_assert_cmpint (vhost_frontend_get_fd (frontend), ==, fds[0]);
  g_assert_false (vhost_frontend_connect_take_fd (frontend, fds[1], &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_assert_cmpint (fcntl (fds[1], F_GETFD), ==, -1);
}

static void
test_leaks (void)
{
  guint before, after;

  /* What the first round opens once for the process does not count. */
  test_reconnect ();
  before = vhost_fd_count_free ();
  for (guint i = 0; i < 3; i++)
    {
      test_backend_channel ();
      test_backend_channel_broken ();
      test_memory_table ();
      test_remove_under_ring ();
      test_reconnect ();
      test_raw ();
      test_refused ();
    }
  after = vhost_fd_count_free ();
  g_assert_cmpuint (after, ==, before);
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
  g_test_add_func ("/frontend/names-message-and-arguments-of-a-refusal", test_refused);
  g_test_add_func ("/frontend/names-the-message-at-which-the-backend-closed", test_closed);
  g_test_add_func ("/frontend/waits-no-longer-than-its-timeout", test_silent);
  g_test_add_func ("/frontend/refuses-answers-that-are-none", test_odd_answers);
  g_test_add_func ("/frontend/sends-the-whole-table-without-slots", test_memory_table);
  g_test_add_func ("/frontend/adds-and-removes-slots", test_memory_slots);
  g_test_add_func ("/frontend/refuses-regions-that-cannot-be", test_memory_arguments);
  g_test_add_func ("/frontend/allocates-disjoint-memory-but-never-address-0", test_allocate);
  g_test_add_func ("/frontend/reads-and-writes-config-and-status", test_device);
  g_test_add_func ("/frontend/asks-for-nothing-that-was-not-negotiated", test_device_unnegotiated);
  g_test_add_func ("/frontend/takes-an-empty-config-for-a-refusal", test_config_refused);
  g_test_add_func ("/frontend/starts-stops-and-restarts-a-queue", test_queue);
  g_test_add_data_func ("/frontend/refuses-the-base-of-another-queue", GINT_TO_POINTER (0),
                        test_bad_base);
  g_test_add_data_func ("/frontend/refuses-a-base-beyond-16-bits", GINT_TO_POINTER (1),
                        test_bad_base);
  g_test_add_func ("/frontend/survives-the-removal-of-a-rings-memory", test_remove_under_ring);
  g_test_add_func ("/frontend/carries-memory-and-queues-to-the-next-connection", test_reconnect);
  g_test_add_func ("/frontend/answers-the-backends-requests", test_backend_channel);
  g_test_add_func ("/frontend/drops-a-broken-backend-channel-only", test_backend_channel_broken);
  g_test_add_func ("/frontend/sends-and-receives-anything", test_raw);
  g_test_add_func ("/frontend/explains-why-it-cannot-connect", test_connect_errors);
  g_test_add_func ("/frontend/knows-names-of-feature-bits", test_names);
  g_test_add_func ("/frontend/leaks-no-descriptor", test_leaks);
  return g_test_run ();
}
