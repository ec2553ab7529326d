/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log of dirty pages as the driver side keeps it. */
#include "scripted-back-end.h"

#include <sys/mman.h>

/* The back-end: marks page 5 in each log that it is given. */
static gboolean
serve_log (Peer *peer, VhostMessage *message)
{
  guint8 bits = 1u << 5;
  guint8 old;

  if (message->header.request != VHOST_WIRE_SET_LOG_BASE)
    return FALSE;
  g_assert_cmpuint (message->n_fds, ==, 1);
  g_assert_cmpint (pread (message->fds[0], &old, 1, 0), ==, 1);
  bits |= old;
  g_assert_cmpint (pwrite (message->fds[0], &bits, 1, 0), ==, 1);
  vhost_channel_send (peer->channel, message->header.request, REPLY, &message->payload.log, 8, NULL,
                      0, NULL);
  return TRUE;
}

static void
test_log (void)
{
  Peer peer = { .features = F30 | BIT (VHOST_WIRE_F_LOG_ALL),
                .protocol_features = BIT (1) | BIT (3),
                .script = serve_log };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  VhostWireVringAddr address;
  guint64 used, features;

  peer_start (&peer);
  NEGOTIATE (&peer, G_MAXUINT64, G_MAXUINT64);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_no_error (error);
  vhost_frontend_queue_get_addresses (queue, NULL, NULL, &used);
  g_assert_false (vhost_frontend_log_take (peer.frontend, 0, G_MAXUINT64));
  g_assert_true (vhost_frontend_start_log (peer.frontend, &error));
  g_assert_false (vhost_frontend_start_log (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_cmpuint (vhost_frontend_log_count (peer.frontend), ==, 1);
  g_assert_false (vhost_frontend_log_take (peer.frontend, 0, 5 * 4096));
  g_assert_false (vhost_frontend_log_take (peer.frontend, 6 * 4096, G_MAXUINT64));
  g_assert_true (vhost_frontend_log_take (peer.frontend, 5 * 4096 + 4095, 1));
  g_assert_false (vhost_frontend_log_take (peer.frontend, 5 * 4096, 4096));
  g_assert_cmpuint (vhost_frontend_log_count (peer.frontend), ==, 0);
  g_assert_cmpint (vhost_frontend_set_log_event (peer.frontend, &error), >=, 0);

  /* More memory than the log reaches: a longer one. */
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 1024 * (guint64) MIB, MIB, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_frontend_log_count (peer.frontend), ==, 1);
  /* Memory that no log reaches is not added. */
  g_assert_false (
      vhost_frontend_add_memory (peer.frontend, G_GUINT64_CONSTANT (1) << 60, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 8 10 9 14 13 12 18 6 2 9 7 6 5");
  memcpy (&features, peer_seen (&peer, 14)->payload, sizeof features);
  g_assert_cmphex (features, ==, F30 | BIT (VHOST_WIRE_F_LOG_ALL));
  memcpy (&address, peer_seen (&peer, 15)->payload, sizeof address);
  g_assert_cmpuint (address.flags, ==, 1);
  g_assert_cmphex (address.log, ==, used);
  g_array_set_size (peer.seen, 0);

  /* A new back-end logs on. */
  peer_start (&peer);
  g_assert_true (vhost_frontend_resume (peer.frontend, &error));
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_stop_log (peer.frontend, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 6 2 8 10 9 14 13 12 18 2 9");
  memcpy (&address, peer_seen (&peer, 10)->payload, sizeof address);
  g_assert_cmpuint (address.flags, ==, 1);
  memcpy (&address, peer_seen (&peer, 16)->payload, sizeof address);
  g_assert_cmpuint (address.flags, ==, 0);
  peer_clear (&peer);
}

static void
test_unable (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (1) };
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_assert_false (vhost_frontend_start_log (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_clear_error (&error);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_false (vhost_frontend_start_log (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  peer_stop (&peer);
  peer_clear (&peer);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/rules/L3-starts-takes-grows-and-stops-the-log", test_log);
  g_test_add_func ("/frontend-log/needs-a-backend-that-can-log", test_unable);
  return g_test_run ();
}
