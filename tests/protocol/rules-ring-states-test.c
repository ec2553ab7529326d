/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a ring, rules R1 to R8, R12 and R14, as a front-end sees them: stopped or started,
 * disabled or enabled. Public API only; the other rules of rings are in rules-ring-messages-test.c.
 *
 * That nothing happens is shown by something else on the same worker that must come after it. */
#include "hand-driver.h"

/* Requests that have reached the device. */
static guint
get_requests (HandWorld *world)
{
  return echo_backend_get_calls (world->echo).requests;
}

/* The ring at @ring has one request waiting that was not taken, though it was kicked for; @other is
 * served by the same worker. */
static void
assert_untouched (HandRing *ring, HandRing *other)
{
  guint before;

  hand_ring_kick (ring);
  hand_ring_echo (other);
  hand_ring_sync (other);
  before = get_requests (ring->world);
  hand_ring_kick (ring);
  hand_ring_sync (other);
  g_assert_cmpuint (get_requests (ring->world), ==, before);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 0);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 0);
}

/* The waiting request of assert_untouched () is served now, without another kick. */
static void
assert_served (HandRing *ring)
{
  hand_ring_wait_used (ring, 1);
  hand_ring_assert_echo (ring, 0, 0);
}

static void
offer_one (HandRing *ring)
{
  hand_ring_put_echo (ring, 0);
  hand_ring_offer (ring, 0);
}

/* ---- R1 to R5: start ---- */

static void
test_starts_stopped (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  hand_ring_start (world->rings[1]);
  hand_ring_set_up (ring);
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  assert_untouched (ring, world->rings[1]);
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
}

static void
test_starts_disabled (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (world->rings[1]);
  hand_ring_set_up (ring);
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STARTED);
  assert_untouched (ring, world->rings[1]);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  assert_served (ring);
}

static void
test_stopped_not_processed (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (world->rings[1]);
  hand_ring_start (ring);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 0);
  offer_one (ring);
  assert_untouched (ring, world->rings[1]);
}

static void
test_enable_remembered (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_set_up (ring);
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  assert_served (ring);
}

static void
test_disable_remembered (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (world->rings[1]);
  hand_ring_start (ring);
  hand_ring_get_base (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 0));
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  assert_untouched (ring, world->rings[1]);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  assert_served (ring);
}

/* What another device than a network card can do without side effects is nothing; the requests must
 * all be there later. */
static void
test_disabled_no_side_effects (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (world->rings[1]);
  hand_ring_start (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 0));
  for (guint head = 0; head < 16; head += 2)
    {
      hand_ring_put_echo (ring, head);
      hand_ring_offer (ring, head);
    }
  assert_untouched (ring, world->rings[1]);
  for (guint head = 0; head < 16; head += 2)
    g_assert_cmpuint (hand_ring_bytes (ring, head + 1)[0], ==, 0);

  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  hand_ring_wait_used (ring, 8);
  for (guint i = 0; i < 8; i++)
    hand_ring_assert_echo (ring, 2 * i, i);
}

static void
test_kick_message_starts (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_set_up (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  /* Nobody has written to the descriptor. */
  assert_served (ring);
}

static void
test_descriptor_does_not_start (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (world->rings[1]);
  hand_ring_start (ring);
  hand_ring_get_base (ring); /* the device may still know the descriptor */
  offer_one (ring);
  assert_untouched (ring, world->rings[1]);
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
}

static void
test_kick_without_fd_polls (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_set_up (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (hand_ring_send_kick (ring, -1));
  for (guint i = 0; i < 20; i++)
    {
      hand_ring_put_echo (ring, 0);
      hand_ring_offer (ring, 0);
      hand_ring_wait_used (ring, i + 1);
      hand_ring_assert_echo (ring, 0, i);
    }
}

static void
test_call_without_fd (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  ASSERT_TAKEN (hand_ring_send_call (ring, -1));
  hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 0);

  ASSERT_TAKEN (hand_ring_send_call (ring, ring->call_fd));
  *hand_ring_used_event (ring) = hand_ring_get_used (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) > 0);
}

/* ---- R6 to R8: stop, restart, enable by features ---- */

static void
send_get_base (HandRing *ring)
{
  const guint32 state[2] = { ring->index, 0 };
  GError *error = NULL;

  vhost_frontend_send (ring->world->frontend, MSG_GET_VRING_BASE, 0, state, sizeof state, NULL, 0,
                       &error);
  g_assert_no_error (error);
}

static guint32
receive_base (HandRing *ring)
{
  guint32 state[2] = { 0 };
  gsize size = sizeof state;
  guint request = 0;
  GError *error = NULL;

  vhost_frontend_receive (ring->world->frontend, &request, NULL, state, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_VRING_BASE);
  g_assert_cmpuint (size, ==, sizeof state);
  g_assert_cmpuint (state[0], ==, ring->index);
  return state[1];
}

static void
test_stop_waits (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_start (world->rings[1]);
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  hand_ring_put_echo (ring, 2);
  hand_ring_submit (ring, 2);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 2);
  echo_backend_hold (world->echo, FALSE);

  send_get_base (ring);
  LIVE_WAIT_FOR (hand_world_get_state (world, 0) == VHOST_QUEUE_STATE_DRAINING);
  hand_ring_echo (world->rings[1]);
  g_assert_true (hand_is_silent (world->frontend));
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 0);

  echo_backend_release (world->echo, FALSE);
  g_assert_cmpuint (receive_base (ring), ==, 2);
  /* No wait: they were all given back before the answer. */
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 2);
  hand_ring_assert_echo (ring, 0, 0);
  hand_ring_assert_echo (ring, 2, 1);
}

static void
test_stop_takes_nothing_more (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_start (world->rings[1]);
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 1);
  echo_backend_hold (world->echo, FALSE);
  send_get_base (ring);
  LIVE_WAIT_FOR (hand_world_get_state (world, 0) == VHOST_QUEUE_STATE_DRAINING);
  hand_ring_put_echo (ring, 2);
  hand_ring_submit (ring, 2);
  hand_ring_echo (world->rings[1]);
  echo_backend_release (world->echo, FALSE);
  g_assert_cmpuint (receive_base (ring), ==, 1);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 1);
  g_assert_cmpuint (get_requests (world), ==, 2);
}

static void
test_restart (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  for (guint i = 0; i < 3; i++)
    hand_ring_echo (ring);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 3);
  hand_ring_put_echo (ring, 0);
  hand_ring_offer (ring, 0);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  hand_ring_wait_used (ring, 4);
  hand_ring_assert_echo (ring, 0, 3);
  hand_ring_echo (ring);
}

static void
test_without_bit_30 (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  guint64 features = vhost_frontend_get_features (world->frontend) & ~F_PROTOCOL;

  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, features));
  hand_ring_set_up (ring);
  offer_one (ring);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  assert_served (ring);
}

/* Such a front-end knows no SET_VRING_ENABLE. */
static void
test_enable_without_bit_30 (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, F_VERSION_1));
  hand_ring_set_up (ring);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  ASSERT_REFUSED (hand_ring_send_enable (ring, 0));
  hand_ring_echo (ring);
}

/* A front-end that acks bit 30 first and takes it back when its rings run already, disabled. */
static void
test_without_bit_30_later (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0], *other = world->rings[1];

  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, F_PROTOCOL | F_VERSION_1));
  hand_ring_set_up (ring);
  hand_ring_set_up (other);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  ASSERT_TAKEN (hand_ring_send_kick (other, other->kick_fd));
  offer_one (ring);
  offer_one (other);
  hand_ring_kick (ring);
  hand_ring_kick (other);
  hand_ring_sync (ring);
  g_assert_cmpuint (get_requests (world), ==, 0);
  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, F_VERSION_1));
  assert_served (ring);
  assert_served (other);
}

static void
test_with_bit_30 (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *disabled = world->rings[0], *enabled = world->rings[1];
  guint64 features = vhost_frontend_get_features (world->frontend);

  g_assert_cmpuint (features & F_PROTOCOL, !=, 0);
  hand_ring_start (enabled);
  hand_ring_set_up (disabled);
  offer_one (disabled);
  ASSERT_TAKEN (hand_ring_send_kick (disabled, disabled->kick_fd));
  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES, features));
  assert_untouched (disabled, enabled);
}

/* ---- R12 and R14 ---- */

static void
test_reset_device (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  VhostFrontend *frontend = world->frontend;
  HandRing *ring = world->rings[0], *other = world->rings[1];
  EchoCalls calls;

  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_STATUS, STATUS_DRIVER_OK));
  hand_ring_start (ring);
  hand_ring_start (other);
  hand_ring_echo (ring);
  ASSERT_TAKEN (raw_request (frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0));

  calls = echo_backend_get_calls (world->echo);
  g_assert_cmpuint (calls.resets, ==, 1);
  g_assert_cmpuint (calls.stops, ==, 0);
  g_assert_cmpuint (calls.queue_stops, ==, 2);
  g_assert_cmpuint (hand_world_get_status (world), ==, 0);
  for (guint i = 0; i < 2; i++)
    g_assert_cmpint (hand_world_get_state (world, i), ==, VHOST_QUEUE_STATE_STOPPED);

  /* Disabled too: KICK alone does not make it serve. Features and memory are there still. */
  hand_ring_clear (ring);
  hand_ring_clear (other);
  hand_ring_start (other);
  hand_ring_set_up (ring);
  offer_one (ring);
  hand_ring_get_calls (ring);
  ring->calls = 0;
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  assert_untouched (ring, other);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  assert_served (ring);

  /* The way back to the front-end also. */
  g_assert_cmpuint (vhost_frontend_get_config_generation (frontend), ==, 0);
  hand_world_notify_config (world);
  LIVE_WAIT_FOR (vhost_frontend_process_backend_messages (frontend, 0) > 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (frontend), ==, 1);
}

static void
test_reset_waits (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  guint64 answer = 1;
  gsize size = sizeof answer;
  GError *error = NULL;

  hand_ring_start (ring);
  hand_ring_start (world->rings[1]);
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 1);
  vhost_frontend_send (world->frontend, MSG_RESET_DEVICE, RAW_VERSION | RAW_NEED_REPLY, NULL, 0,
                       NULL, 0, &error);
  g_assert_no_error (error);
  LIVE_WAIT_FOR (hand_world_get_state (world, 0) == VHOST_QUEUE_STATE_DRAINING
                 && hand_world_get_state (world, 1) == VHOST_QUEUE_STATE_STOPPED);
  g_assert_cmpuint (echo_backend_get_calls (world->echo).resets, ==, 0);
  g_assert_true (hand_is_silent (world->frontend));
  echo_backend_release (world->echo, FALSE);
  vhost_frontend_receive (world->frontend, NULL, NULL, &answer, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  ASSERT_TAKEN (answer);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 1);
}

static void
test_disabled_finishes_taken (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_start (world->rings[1]);
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 1);
  echo_backend_hold (world->echo, FALSE);

  ASSERT_TAKEN (hand_ring_send_enable (ring, 0));
  hand_ring_put_echo (ring, 2);
  hand_ring_submit (ring, 2);
  hand_ring_sync (ring);
  g_assert_cmpuint (get_requests (world), ==, 1);
  echo_backend_release (world->echo, FALSE);
  hand_ring_wait_used (ring, 1);
  hand_ring_assert_echo (ring, 0, 0);
  hand_ring_echo (world->rings[1]);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 1);

  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  hand_ring_wait_used (ring, 2);
  hand_ring_assert_echo (ring, 2, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("R1-each-ring-starts-stopped", test_starts_stopped);
  RULE ("R1-each-ring-starts-disabled", test_starts_disabled);
  RULE ("R2-stopped-ring-is-not-processed", test_stopped_not_processed);
  RULE ("R2-enabling-a-stopped-ring-is-remembered", test_enable_remembered);
  RULE ("R2-disabling-a-stopped-ring-is-remembered", test_disable_remembered);
  RULE ("R3-disabled-ring-has-no-side-effects", test_disabled_no_side_effects);
  RULE ("R4-kick-message-starts-the-ring", test_kick_message_starts);
  RULE ("R4-kick-on-the-descriptor-does-not-start-the-ring", test_descriptor_does_not_start);
  RULE ("R5-kick-without-descriptor-is-polling-mode", test_kick_without_fd_polls);
  RULE ("R5-call-without-descriptor-calls-nobody", test_call_without_fd);
  RULE ("R6-get-vring-base-waits-for-requests-in-flight", test_stop_waits);
  RULE ("R6-stopping-ring-takes-no-new-request", test_stop_takes_nothing_more);
  RULE ("R7-stopped-ring-goes-on-with-kick-alone", test_restart);
  RULE ("R8-features-without-bit-30-enable-rings-to-come", test_without_bit_30);
  RULE ("R8-features-without-bit-30-enable-running-rings", test_without_bit_30_later);
  RULE ("R8-enable-without-bit-30-is-refused", test_enable_without_bit_30);
  RULE ("R8-features-with-bit-30-leave-rings-alone", test_with_bit_30);
  RULE ("R12-reset-device-stops-and-disables-and-keeps-the-session", test_reset_device);
  RULE ("R12-reset-device-waits-for-requests-in-flight", test_reset_waits);
  RULE ("R14-disabled-ring-finishes-what-was-taken", test_disabled_finishes_taken);
  return g_test_run ();
}
