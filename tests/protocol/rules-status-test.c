/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device status and the suspended state (all rings stopped), rules T1 to T4 and S1 to S4. Public
 * API only. */
#include "hand-driver.h"

#include <poll.h>
#include <string.h>

static guint64
send_status (HandWorld *world, guint64 status)
{
  return raw_u64 (world->frontend, MSG_SET_STATUS, status);
}

/* ---- T: status ---- */

static void
test_stored (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const guint statuses[] = { 1, 3, 11, 15, 128, 255 & ~STATUS_NEEDS_RESET };

  g_assert_cmpuint (hand_world_get_status (world), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (statuses); i++)
    {
      ASSERT_TAKEN (send_status (world, statuses[i]));
      g_assert_cmpuint (hand_world_get_status (world), ==, statuses[i]);
    }
}

static void
test_refused_features (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  guint64 features = vhost_frontend_get_features (world->frontend);

  ASSERT_REFUSED (raw_u64 (world->frontend, MSG_SET_FEATURES, features | RAW_BIT (63)));
  send_status (world, 3 | STATUS_FEATURES_OK);
  g_assert_cmpuint (hand_world_get_status (world) & STATUS_FEATURES_OK, ==, 0);

  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, features));
  ASSERT_TAKEN (send_status (world, 3 | STATUS_FEATURES_OK));
  g_assert_cmpuint (hand_world_get_status (world), ==, 3 | STATUS_FEATURES_OK);
}

static void
test_zero_clears_the_byte (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  g_autoptr (GBytes) config = g_bytes_new_static ("\x42", 1);
  g_autoptr (GBytes) after = NULL;
  GError *error = NULL;

  vhost_frontend_set_config (world->frontend, 0, config, 0, &error);
  g_assert_no_error (error);
  ASSERT_TAKEN (send_status (world, 15));
  hand_ring_start (ring);
  hand_ring_echo (ring);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 1);
  ASSERT_TAKEN (send_status (world, 0));
  g_assert_cmpuint (hand_world_get_status (world), ==, 0);

  /* The device's state, and the index that was answered. */
  g_assert_cmpuint (echo_backend_get_calls (world->echo).resets, ==, 0);
  after = vhost_frontend_get_config (world->frontend, 0, 1, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (g_bytes_get_data (after, NULL), 1, "\x42", 1);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 1);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  hand_ring_echo (ring);
}

static void
test_start_is_the_gate (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  g_assert_cmpuint (vhost_frontend_get_protocol_features (world->frontend) & P_STATUS, !=, 0);
  hand_ring_start (world->rings[0]);
  hand_ring_echo (world->rings[0]);
  g_assert_cmpuint (hand_world_get_status (world), ==, 0);
}

static void
test_above_255 (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  ASSERT_TAKEN (send_status (world, 7));
  ASSERT_REFUSED (send_status (world, 256));
  ASSERT_REFUSED (send_status (world, RAW_BIT (32) | 1));
  ASSERT_REFUSED (send_status (world, G_MAXUINT64));
  g_assert_cmpuint (hand_world_get_status (world), ==, 7);
}

/* ---- S: suspended ---- */

/* Everything that might make a device restless while its rings are stopped. */
static void
disturb (HandWorld *world)
{
  for (guint i = 0; i < 2; i++)
    hand_ring_kick (world->rings[i]);
  hand_world_notify_config (world);
  ASSERT_TAKEN (send_status (world, 15));
  for (guint i = 0; i < 2; i++)
    {
      ASSERT_TAKEN (hand_ring_send_enable (world->rings[i], 0));
      ASSERT_TAKEN (hand_ring_send_enable (world->rings[i], 1));
      hand_ring_kick (world->rings[i]);
    }
  ASSERT_TAKEN (
      raw_u64 (world->frontend, MSG_SET_FEATURES, vhost_frontend_get_features (world->frontend)));
  hand_world_get_status (world);
}

/* Started, used and stopped again, with one more request in each ring. */
static void
suspend (HandWorld *world)
{
  for (guint i = 0; i < 2; i++)
    {
      hand_ring_start (world->rings[i]);
      hand_ring_echo (world->rings[i]);
    }
  for (guint i = 0; i < 2; i++)
    g_assert_cmpuint (hand_ring_get_base (world->rings[i]), ==, 1);
  for (guint i = 0; i < 2; i++)
    {
      hand_ring_put_echo (world->rings[i], 0);
      hand_ring_offer (world->rings[i], 0);
    }
}

static void
test_no_writes (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  g_autofree guint8 *before = NULL;

  suspend (world);
  before = g_memdup2 (world->memory, HAND_MEMORY_SIZE);
  disturb (world);
  g_assert_cmpint (memcmp (before, world->memory, HAND_MEMORY_SIZE), ==, 0);
  /* It was not for want of requests. */
  ASSERT_TAKEN (hand_ring_send_kick (world->rings[0], world->rings[0]->kick_fd));
  hand_ring_wait_used (world->rings[0], 2);
}

static void
test_no_writes_before_start (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  g_autofree guint8 *before = NULL;

  /* Whatever is there already, used->flags and avail_event too, is the driver's. */
  memset (world->memory, 0x5a, HAND_MEMORY_SIZE);
  before = g_memdup2 (world->memory, HAND_MEMORY_SIZE);
  for (guint i = 0; i < 2; i++)
    hand_ring_set_up (world->rings[i]);
  disturb (world);
  g_assert_cmpint (memcmp (before, world->memory, HAND_MEMORY_SIZE), ==, 0);
}

static void
test_no_notifications (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  guint64 calls[2], errors[2];

  suspend (world);
  for (guint i = 0; i < 2; i++)
    {
      calls[i] = hand_ring_get_calls (world->rings[i]);
      errors[i] = hand_ring_get_errors (world->rings[i]);
    }
  disturb (world);
  for (guint i = 0; i < 2; i++)
    {
      g_assert_cmpuint (hand_ring_get_calls (world->rings[i]), ==, calls[i]);
      g_assert_cmpuint (hand_ring_get_errors (world->rings[i]), ==, errors[i]);
    }
}

static gboolean
channel_is_silent (HandWorld *world)
{
  struct pollfd pollfd
      = { .fd = vhost_frontend_get_backend_channel_fd (world->frontend), .events = POLLIN };

  g_assert_cmpint (pollfd.fd, >=, 0);
  return poll (&pollfd, 1, 0) == 0;
}

static void
test_config_change_waits (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  disturb (world);
  g_assert_true (channel_is_silent (world));
  hand_ring_start (world->rings[0]);
  LIVE_WAIT_FOR (vhost_frontend_process_backend_messages (world->frontend, 0) > 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (world->frontend), ==, 1);
}

static void
test_config_change_waits_again (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  suspend (world);
  disturb (world);
  disturb (world);
  g_assert_true (channel_is_silent (world));
  ASSERT_TAKEN (hand_ring_send_kick (world->rings[1], world->rings[1]->kick_fd));
  LIVE_WAIT_FOR (vhost_frontend_process_backend_messages (world->frontend, 0) > 0);
  /* One, however often it has changed. */
  hand_world_get_status (world);
  vhost_frontend_process_backend_messages (world->frontend, 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (world->frontend), ==, 1);
}

static void
test_messages_answered (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  g_autoptr (GBytes) config = NULL;
  GError *error = NULL;

  suspend (world);
  g_assert_cmpuint (hand_get_u64 (world->frontend, MSG_GET_FEATURES) & F_VERSION_1, !=, 0);
  g_assert_cmpuint (hand_get_u64 (world->frontend, MSG_GET_QUEUE_NUM), ==, 2);
  config = vhost_frontend_get_config (world->frontend, 0, 32, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (config), ==, 32);
  ASSERT_TAKEN (send_status (world, 3));
  g_assert_cmpuint (hand_world_get_status (world), ==, 3);
  g_assert_cmpuint (hand_ring_get_base (world->rings[0]), ==, 1);
  vhost_frontend_add_memory (world->frontend, HAND_MEMORY + HAND_MEMORY_SIZE, 1 << 20, &error);
  g_assert_no_error (error);
  ASSERT_TAKEN (raw_request (world->frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("T1-status-is-stored-and-returned", test_stored);
  RULE ("T1-refused-features-leave-features-ok-clear", test_refused_features);
  RULE ("T2-status-0-clears-the-byte-and-nothing-else", test_zero_clears_the_byte);
  RULE ("T3-start-of-the-ring-not-driver-ok-is-the-gate", test_start_is_the_gate);
  RULE ("T4-status-above-255-is-refused", test_above_255);
  RULE ("S1-suspended-device-writes-no-guest-memory", test_no_writes);
  RULE ("S1-device-writes-no-guest-memory-before-the-first-start", test_no_writes_before_start);
  RULE ("S2-suspended-device-notifies-nobody", test_no_notifications);
  RULE ("S3-config-change-waits-for-the-first-ring", test_config_change_waits);
  RULE ("S3-config-change-waits-for-the-first-ring-after-a-stop", test_config_change_waits_again);
  RULE ("S4-suspended-device-answers-messages", test_messages_answered);
  return g_test_run ();
}
