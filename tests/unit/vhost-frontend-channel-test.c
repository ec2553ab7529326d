/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of the driver side and their answers, right, wrong, late or none. */
#include "scripted-back-end.h"

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
test_leaks (void)
{
  guint before, after;

  /* What the first round opens once for the process does not count. */
  test_raw ();
  vhost_fd_settle ();
  before = vhost_fd_count_free ();
  for (guint i = 0; i < 3; i++)
    {
      test_raw ();
      test_refused ();
      test_closed ();
    }
  vhost_fd_settle ();
  after = vhost_fd_count_free ();
  g_assert_cmpuint (after, ==, before);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-channel/names-message-and-arguments-of-a-refusal", test_refused);
  g_test_add_func ("/frontend-channel/names-the-message-at-which-the-backend-closed", test_closed);
  g_test_add_func ("/frontend-channel/waits-no-longer-than-its-timeout", test_silent);
  g_test_add_func ("/frontend-channel/refuses-answers-that-are-none", test_odd_answers);
  g_test_add_func ("/frontend-channel/sends-and-receives-anything", test_raw);
  g_test_add_func ("/frontend-channel/leaks-no-descriptor", test_leaks);
  return g_test_run ();
}
