/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who wakes whom in a split ring, rules V30 to V33, V37, V38, V40 and V43, through a live device:
 * calls by the device, kicks by the driver, and neither where it is not wanted. Public API only. */
#include "hand-driver.h"

#include <poll.h>

#define AVAILABLE_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

static HandWorld *
world_without (gconstpointer data, guint64 features)
{
  HandOptions options = hand_options (data);

  options.features &= ~features;
  return hand_world_new_full (&options);
}

/* ---- V30 and V31: calls ---- */

static void
test_call_flag (gconstpointer data)
{
  g_autoptr (HandWorld) world = world_without (data, F_EVENT_IDX);
  HandRing *ring = world->rings[0];
  guint64 calls;

  hand_ring_start (ring);
  ring->available[0] = AVAILABLE_NO_INTERRUPT;
  for (guint i = 0; i < 5; i++)
    hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 0);

  ring->available[0] = 0;
  for (guint i = 0; i < 5; i++)
    {
      calls = hand_ring_get_calls (ring);
      hand_ring_echo (ring);
      LIVE_WAIT_FOR (hand_ring_get_calls (ring) > calls);
    }
}

static void
test_used_event_ignored (gconstpointer data)
{
  g_autoptr (HandWorld) world = world_without (data, F_EVENT_IDX);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  for (guint i = 1; i < 10; i++)
    {
      /* With EVENT_IDX this would be "not now". */
      *hand_ring_used_event (ring) = 0x7fff;
      hand_ring_echo (ring);
      LIVE_WAIT_FOR (hand_ring_get_calls (ring) == i);
    }
}

static void
test_call_event (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring); /* the first after a start always calls */
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  *hand_ring_used_event (ring) = 5;
  for (guint i = 1; i < 5; i++)
    hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 1);
  hand_ring_echo (ring); /* entry 5 */
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 2);
  hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 2);
}

/* The entry asked for is one of several that come back together. */
static void
test_call_event_in_a_batch (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  *hand_ring_used_event (ring) = 4;
  for (guint head = 0; head < 16; head += 2)
    {
      hand_ring_put_echo (ring, head);
      hand_ring_offer (ring, head);
    }
  hand_ring_kick (ring);
  hand_ring_wait_used (ring, 9);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 2);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 2);
}

static void
test_call_event_wraps (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ring->base = ring->available_index = ring->available[1] = ring->used[1] = 65533;
  hand_ring_start (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  *hand_ring_used_event (ring) = 1;
  for (guint i = 0; i < 3; i++) /* 65534, 65535, 0 */
    hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 1);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 2);
}

static void
test_call_after_restart (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  hand_ring_get_base (ring);
  *hand_ring_used_event (ring) = 100;
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 2);
}

static void
test_interrupt_flag_ignored (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  ring->available[0] = AVAILABLE_NO_INTERRUPT;
  for (guint i = 0; i < 5; i++)
    {
      *hand_ring_used_event (ring) = i;
      hand_ring_echo (ring);
      LIVE_WAIT_FOR (hand_ring_get_calls (ring) == i + 1);
    }
}

/* A driver that sleeps until it is called. The device polls, so its answers come after about as
 * long as the driver needs to say that it wants a call. */
static void
wait_for_calls (gconstpointer data, guint64 without)
{
  HandOptions options = hand_options (data);
  g_autoptr (HandWorld) world = NULL;
  HandRing *ring;

  options.features &= ~without;
  options.poll_max = 1000;
  world = hand_world_new_full (&options);
  ring = world->rings[0];
  hand_ring_start (ring);
  for (guint i = 0; i < 3000; i++)
    {
      struct pollfd pollfd = { .fd = ring->call_fd, .events = POLLIN };

      hand_ring_put_echo (ring, 0);
      hand_ring_submit (ring, 0);
      for (guint delay = (i * 13) % 3001; delay > 0; delay--)
        __asm__ volatile("");
      *hand_ring_used_event (ring) = i;
      ring->available[0] = 0;
      /* Partner: the device's full fence between publishing an entry and its look at these. */
      __atomic_thread_fence (__ATOMIC_SEQ_CST);
      while (hand_ring_get_used (ring) == (guint16) i)
        {
          g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
          hand_ring_get_calls (ring);
        }
      ring->available[0] = AVAILABLE_NO_INTERRUPT; /* until it is wanted again */
    }
}

static void
test_no_call_lost_event (gconstpointer data)
{
  wait_for_calls (data, 0);
}

static void
test_no_call_lost_flag (gconstpointer data)
{
  wait_for_calls (data, F_EVENT_IDX);
}

/* ---- V32, V33, V37, V38: kicks ---- */

static guint16
get_used_flags (HandRing *ring)
{
  return __atomic_load_n (&ring->used[0], __ATOMIC_RELAXED);
}

static guint16
get_avail_event (HandRing *ring)
{
  return __atomic_load_n (hand_ring_avail_event (ring), __ATOMIC_RELAXED);
}

static void
test_kick_flag (gconstpointer data)
{
  g_autoptr (HandWorld) world = world_without (data, F_EVENT_IDX);
  HandRing *ring = world->rings[0];

  ring->used[0] = USED_NO_NOTIFY; /* of whoever had the ring before */
  *hand_ring_avail_event (ring) = 0x5a5a;
  hand_ring_start (ring);
  for (guint i = 0; i < 50; i++)
    {
      hand_ring_echo (ring);
      g_assert_cmpuint (get_used_flags (ring), <=, 1);
      if (i % 10 == 0)
        LIVE_WAIT_FOR (get_used_flags (ring) == 0); /* it is about to sleep */
    }
  g_assert_cmpuint (get_avail_event (ring), ==, 0x5a5a); /* V6 */
}

static void
test_kick_event (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ring->used[0] = USED_NO_NOTIFY;
  hand_ring_start (ring);
  for (guint i = 0; i < 50; i++)
    {
      hand_ring_echo (ring);
      g_assert_cmpuint (get_used_flags (ring), ==, 0);
      if (i % 10 == 0)
        LIVE_WAIT_FOR (get_avail_event (ring) == ring->available_index);
    }
}

/* One request after the other, each a little later after the last answer than the one before, until
 * that begins anew: so some come just when the device goes to sleep. Kicks only where the device
 * has asked for them. A lost wake-up runs into the deadline. */
static void
ping_pong (gconstpointer data, guint64 without, guint poll_max)
{
  HandOptions options = hand_options (data);
  g_autoptr (HandWorld) world = NULL;
  HandRing *ring;
  guint kicks = 0;

  options.features &= ~without;
  options.poll_max = poll_max;
  world = hand_world_new_full (&options);
  ring = world->rings[0];
  hand_ring_start (ring);
  for (guint i = 0; i < 3000; i++)
    {
      guint16 index = i + 1;
      gint64 patience;
      gboolean wanted;

      hand_ring_put_echo (ring, 0);
      for (guint delay = (i * 13) % 3001; delay > 0; delay--)
        __asm__ volatile("");
      hand_ring_offer (ring, 0);
      /* Partner: the device's full fence between asking for kicks and its last look. */
      __atomic_thread_fence (__ATOMIC_SEQ_CST);
      wanted = (without & F_EVENT_IDX) != 0 ? get_used_flags (ring) == 0
                                            : get_avail_event (ring) == (guint16) i;
      if (wanted)
        {
          hand_ring_kick (ring);
          kicks++;
        }
      /* Asleep, this thread would see the answer too late to be so close behind it. */
      patience = g_get_monotonic_time () + 1000;
      while (hand_ring_get_used (ring) != index && g_get_monotonic_time () < patience)
        ;
      hand_ring_wait_used (ring, index);
    }
  g_assert_cmpuint (kicks, >, 0);
}

static void
test_recheck_event (gconstpointer data)
{
  ping_pong (data, 0, 0);
}

static void
test_recheck_flag (gconstpointer data)
{
  ping_pong (data, F_EVENT_IDX, 0);
}

static void
test_recheck_event_polling (gconstpointer data)
{
  ping_pong (data, 0, 50);
}

static void
test_recheck_flag_polling (gconstpointer data)
{
  ping_pong (data, F_EVENT_IDX, 50);
}

static void
test_spurious_kicks (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  for (guint i = 0; i < 100; i++)
    {
      hand_ring_kick (ring);
      if (i % 10 == 0)
        hand_ring_sync (ring);
    }
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 0);
  g_assert_cmpuint (hand_ring_get_errors (ring), ==, 0);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 0);
  hand_ring_echo (ring);
}

/* ---- V40: without descriptors ---- */

static void
test_no_call_fd (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (hand_ring_send_num (ring, ring->size));
  ASSERT_TAKEN (hand_ring_send_base (ring, 0));
  ASSERT_TAKEN (hand_ring_send_addr (ring));
  ASSERT_TAKEN (hand_ring_send_call (ring, ring->call_fd));
  ASSERT_TAKEN (hand_ring_send_call (ring, -1)); /* this one counts */
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  for (guint i = 0; i < 10; i++)
    {
      *hand_ring_used_event (ring) = i;
      hand_ring_echo (ring);
    }
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, 0);
}

static void
test_no_kick_fd (gconstpointer data)
{
  g_autoptr (HandWorld) world = world_without (data, F_EVENT_IDX);
  HandRing *ring = world->rings[0];

  hand_ring_set_up (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (hand_ring_send_kick (ring, -1));
  LIVE_WAIT_FOR (get_used_flags (ring) == USED_NO_NOTIFY);
  for (guint i = 0; i < 10; i++)
    {
      hand_ring_put_echo (ring, 0);
      hand_ring_offer (ring, 0);
      hand_ring_wait_used (ring, i + 1);
    }
  hand_ring_sync (ring);
  g_assert_cmpuint (get_used_flags (ring), ==, USED_NO_NOTIFY);

  /* With a descriptor again it is asked for. */
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  LIVE_WAIT_FOR (get_used_flags (ring) == 0);
  hand_ring_echo (ring);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V30-call-follows-the-flag-without-event-idx", test_call_flag);
  RULE ("V30-used-event-is-ignored-without-event-idx", test_used_event_ignored);
  RULE ("V31-call-follows-used-event", test_call_event);
  RULE ("V31-used-event-within-a-batch-is-called", test_call_event_in_a_batch);
  RULE ("V31-used-event-is-found-across-the-wrap", test_call_event_wraps);
  RULE ("V31-first-entry-after-a-start-is-called", test_call_after_restart);
  RULE ("V31-flag-is-ignored-with-event-idx", test_interrupt_flag_ignored);
  RULE ("V32-kick-flag-is-0-when-idle-and-nothing-but-0-or-1", test_kick_flag);
  RULE ("V33-avail-event-is-the-next-index-when-idle-and-the-flag-0", test_kick_event);
  RULE ("V37-no-kick-is-lost-with-event-idx", test_recheck_event);
  RULE ("V37-no-kick-is-lost-without-event-idx", test_recheck_flag);
  RULE ("V37-no-kick-is-lost-while-polling-with-event-idx", test_recheck_event_polling);
  RULE ("V37-no-kick-is-lost-while-polling-without-event-idx", test_recheck_flag_polling);
  RULE ("V38-kicks-without-requests-are-harmless", test_spurious_kicks);
  RULE ("V40-without-call-descriptor-nobody-is-called", test_no_call_fd);
  RULE ("V40-without-kick-descriptor-kicks-are-not-wanted", test_no_kick_fd);
  RULE ("V43-no-call-is-lost-with-event-idx", test_no_call_lost_event);
  RULE ("V43-no-call-is-lost-without-event-idx", test_no_call_lost_flag);
  return g_test_run ();
}
