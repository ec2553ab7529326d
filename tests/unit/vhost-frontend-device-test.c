/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Configuration and status as the driver side asks for them. */
#include "scripted-back-end.h"

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

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-device/reads-and-writes-config-and-status", test_device);
  g_test_add_func ("/frontend-device/asks-for-nothing-that-was-not-negotiated",
                   test_device_unnegotiated);
  g_test_add_func ("/frontend-device/takes-an-empty-config-for-a-refusal", test_config_refused);
  return g_test_run ();
}
