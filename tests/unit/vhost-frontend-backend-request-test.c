/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end's requests on their channel, as the driver side handles them. */
#include "scripted-back-end.h"

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
  vhost_frontend_close (peer.frontend);
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
  g_signal_connect (peer.frontend, "config-changed", G_CALLBACK (vhost_frontend_close), NULL);
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
test_leaks (void)
{
  guint before, after;

  /* What the first round opens once for the process does not count. */
  test_backend_channel ();
  vhost_fd_settle ();
  before = vhost_fd_count_free ();
  for (guint i = 0; i < 3; i++)
    {
      test_backend_channel ();
      test_backend_channel_broken ();
    }
  vhost_fd_settle ();
  after = vhost_fd_count_free ();
  g_assert_cmpuint (after, ==, before);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-backend-request/answers-the-backends-requests", test_backend_channel);
  g_test_add_func ("/frontend-backend-request/drops-a-broken-backend-channel-only",
                   test_backend_channel_broken);
  g_test_add_func ("/frontend-backend-request/leaks-no-descriptor", test_leaks);
  return g_test_run ();
}
