/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of a split ring whose driver has broken a rule, V47 and V48, and what breaks none,
 * V49, through a live device. Public API only. That everything else goes on is part of each test
 * with a violation: scene_assert_broken (). */
#include "hand-scene.h"

/* ---- V47 to V49: violations and their end ---- */

/* One good request, one held, the bad one, and a good one behind it, all in one batch. */
static void
test_taken_finish (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  echo_backend_hold (scene->world->echo, TRUE);
  hand_ring_put_echo (ring, 4);
  hand_ring_offer (ring, 4);
  hand_ring_put_echo (ring, 6);
  hand_ring_offer (ring, 6);
  hand_ring_offer (ring, 99);
  hand_ring_put_echo (ring, 8);
  hand_ring_offer (ring, 8);
  hand_ring_kick (ring);
  LIVE_WAIT_FOR (hand_ring_get_errors (ring) > 0);
  g_assert_cmpuint (echo_backend_get_n_held (scene->world->echo), ==, 2);
  echo_backend_hold (scene->world->echo, FALSE);
  scene_assert_others_live (scene);
  *hand_ring_used_event (ring) = 2;
  echo_backend_release (scene->world->echo, TRUE);
  hand_ring_wait_used (ring, 3);
  hand_ring_assert_echo (ring, 6, 1);
  hand_ring_assert_echo (ring, 4, 2);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) > 1); /* these are called for */
  scene_assert_broken (scene, 3);
}

static void
test_no_err_fd (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  ASSERT_TAKEN (hand_ring_send_err (ring, -1));
  hand_ring_submit (ring, 99);
  LIVE_WAIT_FOR ((hand_world_get_status (scene->world) & STATUS_NEEDS_RESET) != 0);
  scene_assert_others_live (scene);
  g_assert_cmpuint (hand_ring_get_errors (ring), ==, 0);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 1);
}

static void
break_ring (Scene *scene)
{
  hand_ring_submit (scene->ring, 99);
  LIVE_WAIT_FOR ((hand_world_get_status (scene->world) & STATUS_NEEDS_RESET) != 0);
}

static void
test_mended_by_kick (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  break_ring (scene);
  hand_ring_clear (scene->ring);
  hand_ring_start (scene->ring);
  hand_ring_echo (scene->ring);
  g_assert_cmpuint (hand_world_get_status (scene->world) & STATUS_NEEDS_RESET, ==, 0);
}

/* Two of them: the status is whole when both are. */
static void
test_two_broken (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_submit (scene->other, 99);
  break_ring (scene);
  LIVE_WAIT_FOR (hand_ring_get_errors (scene->other) == 1
                 && hand_ring_get_errors (scene->ring) == 1);
  LIVE_WAIT_FOR (hand_world_get_state (scene->world, 0) == VHOST_QUEUE_STATE_BROKEN
                 && hand_world_get_state (scene->world, 1) == VHOST_QUEUE_STATE_BROKEN);
  live_device_assert_echo (scene->second, 0, "not mine");
  hand_ring_clear (scene->ring);
  hand_ring_start (scene->ring);
  g_assert_cmpuint (hand_world_get_status (scene->world) & STATUS_NEEDS_RESET, !=, 0);
  hand_ring_clear (scene->other);
  hand_ring_start (scene->other);
  g_assert_cmpuint (hand_world_get_status (scene->world) & STATUS_NEEDS_RESET, ==, 0);
  hand_ring_echo (scene->ring);
  hand_ring_echo (scene->other);
}

static void
test_mended_by_reset (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  break_ring (scene);
  ASSERT_TAKEN (raw_request (scene->world->frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0));
  g_assert_cmpuint (hand_world_get_status (scene->world), ==, 0);
  hand_ring_clear (scene->ring);
  hand_ring_start (scene->ring);
  hand_ring_echo (scene->ring);
}

static void
test_mended_by_session (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  break_ring (scene);
  vhost_frontend_close (scene->world->frontend);
  live_device_assert_alive (scene->world->device);
  live_device_assert_echo (scene->second, 0, "still here");
}

static void
test_nothing_writable (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, hand_ring_buffer (ring, 2), 16, 0, 0);
  scene_assert_works (scene, 2, 0);
  hand_ring_echo (ring);
}

static void
test_nothing_at_all (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, 0, 0, 0, 0);
  scene_assert_works (scene, 2, 0);
  hand_ring_echo (ring);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V47-requests-that-were-taken-before-finish", test_taken_finish);
  RULE ("V47-violation-needs-no-err-descriptor", test_no_err_fd);
  RULE ("V48-new-set-up-and-kick-make-the-ring-whole", test_mended_by_kick);
  RULE ("V48-status-is-whole-when-all-rings-are", test_two_broken);
  RULE ("V48-reset-device-makes-the-ring-whole", test_mended_by_reset);
  RULE ("V48-new-session-makes-the-ring-whole", test_mended_by_session);
  RULE ("V49-request-without-room-for-an-answer-is-no-violation", test_nothing_writable);
  RULE ("V49-request-without-anything-is-no-violation", test_nothing_at_all);
  return g_test_run ();
}
