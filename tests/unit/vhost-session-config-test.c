/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's configuration space, status and reset, and its word to the front-end. */
#include "session-peer.h"

#define TEST_AREA "session-config"

static guint32
get_config (Fixture *f, guint32 offset, guint32 size, VhostWireConfig *config)
{
  *config = (VhostWireConfig){ .offset = offset, .size = size };
  send_message (f, VHOST_WIRE_GET_CONFIG, 0, config, VHOST_WIRE_CONFIG_HEADER + size, NULL, 0);
  return receive_reply (f, VHOST_WIRE_GET_CONFIG, config, sizeof *config);
}

static void
test_config (Fixture *f, gconstpointer data)
{
  VhostWireConfig config = { 0, 1, 0, { 9 } };

  negotiate (f);
  g_assert_cmpuint (get_config (f, 4, 60, &config), ==, 72);
  g_assert_cmpuint (config.size, ==, 60);
  g_assert_cmpuint (config.data[0], ==, 5);
  g_assert_cmpuint (config.data[59], ==, 0);
  g_assert_cmpuint (get_config (f, G_MAXUINT32, 60, &config), ==, 0); /* C2, C3 */

  config = (VhostWireConfig){ 0, 1, 0, { 9 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), ==, 0);
  g_assert_cmpuint (f->driver_changes, ==, 1);
  config.flags = 2;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0);
  config = (VhostWireConfig){ 1, 1, 0, { 9 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0); /* read-only */
  config.flags = 1;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), ==, 0); /* suspended: C4 */
  g_assert_cmpuint (get_config (f, 0, 2, &config), ==, 14);
  g_assert_cmpuint (config.data[0], ==, 9);
  g_assert_cmpuint (config.data[1], ==, 9);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  config = (VhostWireConfig){ 1, 1, 1, { 7 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0); /* running */
}

static void
test_config_change_waits (Fixture *f, gconstpointer data)
{
  int channel, other;

  negotiate (f);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_BACKEND_REQ_FD, NULL, 0, &f->kick_fd, 1), !=, 0);
  channel = give_channel (f);
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  ITERATE_UNTIL (f->device_changes == 1);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (is_readable (channel)); /* S3 */
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  expect_config_change (channel);
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  expect_config_change (channel);
  other = give_channel (f); /* B2 */
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  expect_config_change (other);
  close (channel);
  close (other);
  g_assert_cmpuint (get_base (f, 0), ==, 0); /* the session goes on */
}

static void
test_reset (Fixture *f, gconstpointer data)
{
  start_device (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 15), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  g_assert_cmpuint (f->device->n_resets, ==, 1);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 0);
  g_assert_cmpint (vhost_queue_get_state (vhost_session_get_queue (f->session, 0)), ==,
                   VHOST_QUEUE_STATE_STOPPED);
  g_assert_nonnull (vhost_session_get_memory (f->session)); /* R12: it stays */
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  hand_set_avail_index (&f->hand, 0);
  memset (hand_at (&f->hand, HAND_USED), 0, 128);
  start_ring (f, 0);
  offer (f);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0); /* disabled */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("reads-and-writes-the-configuration", set_up, test_config);
  ADD ("tells-of-a-changed-configuration-once-a-ring-runs", set_up, test_config_change_waits);
  ADD ("resets-the-device-and-keeps-the-connection", set_up, test_reset);
  return g_test_run ();
}
