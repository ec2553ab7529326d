/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "reorder": another order, and nothing lost. */
#include "vhost-error.h"

#include "filter-scene.h"

#define LONG_MS (24u * 60 * 60 * 1000)

static void
a_full_group_goes_at_once (void)
{
  Scene s;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_REORDER), "reorder-depth", 16, "reorder-ms",
                LONG_MS, "reorder-seed", G_GUINT64_CONSTANT (1), NULL);
  scene_start (&s);
  scene_offer (&s, 15);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  scene_offer (&s, 2);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 16);
  g_assert_false (scene_check_answers (&s, 0, 0, 16));
  scene_clear (&s);
}

/* A driver with one request at a time. */
static void
a_lonely_answer_goes_after_its_time (void)
{
  Scene s;
  gint64 begin;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_REORDER), "reorder-ms", 5, NULL);
  scene_start (&s);
  for (guint i = 1; i <= 3; i++)
    {
      begin = g_get_monotonic_time ();
      scene_offer (&s, 1);
      SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == i);
      g_assert_cmpint (g_get_monotonic_time () - begin, >=, 5000);
    }
  scene_clear (&s);
}

static void
a_thousand_are_all_answered (void)
{
  Scene s;
  guint unordered = 0;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_REORDER), "reorder-seed", G_GUINT64_CONSTANT (3),
                NULL);
  scene_start (&s);
  for (guint i = 0; i < 1024; i += SCENE_SIZE)
    {
      scene_offer (&s, SCENE_SIZE);
      SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == i + SCENE_SIZE);
      unordered += !scene_check_answers (&s, i, 0, SCENE_SIZE);
    }
  g_assert_cmpuint (s.device->n_seen, ==, 1024);
  g_assert_cmpuint (unordered, ==, 1024 / SCENE_SIZE);
  scene_clear (&s);
}

static void
run_with_seed (guint64 seed, guint heads[SCENE_SIZE])
{
  Scene s;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_REORDER), "reorder-seed", seed, "reorder-ms",
                LONG_MS, NULL);
  scene_start (&s);
  scene_offer (&s, SCENE_SIZE);
  for (guint i = 0; i < SCENE_SIZE; i++)
    heads[i] = scene_get_answer (&s, i, NULL);
  scene_clear (&s);
}

static void
a_seed_repeats_the_order (void)
{
  guint first[SCENE_SIZE], again[SCENE_SIZE], other[SCENE_SIZE];

  run_with_seed (42, first);
  run_with_seed (42, again);
  run_with_seed (43, other);
  g_assert_cmpmem (first, sizeof first, again, sizeof again);
  g_assert_cmpint (memcmp (first, other, sizeof first), !=, 0);
}

static void
is_off_with_a_depth_of_one_or_no_time (void)
{
  Scene s;
  GObject *filter;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_REORDER);
  g_object_set (filter, "reorder-depth", 1, NULL);
  scene_start (&s);
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  g_object_set (filter, "reorder-depth", 8, "reorder-ms", 0, NULL);
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 10);
  scene_clear (&s);
}

/* Switched off, it takes what it has along with the next answer. */
static void
can_be_switched_off_with_answers_held (void)
{
  Scene s;
  GObject *filter;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_REORDER);
  g_object_set (filter, "reorder-ms", LONG_MS, NULL);
  scene_start (&s);
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  g_object_set (filter, "reorder-depth", 1, NULL);
  scene_offer (&s, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 6);
  scene_check_answers (&s, 0, 0, 6);
  scene_clear (&s);
}

/* ---- With IN_ORDER: what ends early waits in the ring ---- */

#define IN_ORDER (G_GUINT64_CONSTANT (1) << 35)

static void
scene_init_in_order (Scene *s, guint depth, guint ms)
{
  scene_init (s);
  s->features = IN_ORDER;
  g_object_set (scene_wrap (s, VHOST_TYPE_FILTER_REORDER), "reorder-depth", depth, "reorder-ms", ms,
                "reorder-seed", G_GUINT64_CONSTANT (5), NULL);
  scene_start (s);
}

static void
groups_in_order_all_end (void)
{
  Scene s;

  scene_init_in_order (&s, 8, LONG_MS);
  for (guint n = 16; n <= 1024; n += 16)
    {
      scene_offer (&s, 16);
      g_assert_cmpuint (hand_used_index (&s.hand), ==, n);
    }
  g_assert_cmpuint (s.device->n_seen, ==, 1024);
  g_assert_cmpuint (s.hand.errors, ==, 0);
  scene_clear (&s);
}

/* The driver sees nothing before the group is full or its time is over, and then all of it. */
static void
a_driver_in_order_that_waits_is_answered (void)
{
  Scene s;

  scene_init_in_order (&s, 8, 5);
  for (guint i = 1; i <= 5; i++)
    {
      scene_offer (&s, 3);
      SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 3 * i);
    }
  scene_clear (&s);
}

/* One request is slow, and whatever overtakes it is held by the ring, not by the filter. */
static void
a_slow_one_in_order_holds_the_others (gconstpointer stops)
{
  Scene s;

  scene_init_in_order (&s, 4, LONG_MS);
  s.device->keep = TRUE;
  scene_offer (&s, 1);
  s.device->keep = FALSE;
  scene_offer (&s, 8);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (s.top), s.queue), ==, 0);
  if (stops != NULL)
    {
      s.device->gives_up = TRUE;
      scene_begin_stop (&s);
      scene_end_stop (&s);
    }
  else
    {
      scene_offer (&s, 3); /* three of a group of four */
      g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
      scene_complete_kept (&s); /* the fourth */
      g_assert_cmpuint (hand_used_index (&s.hand), ==, 12);
    }
  g_assert_cmpuint (hand_used_index (&s.hand), ==, stops != NULL ? 9 : 12);
  g_assert_cmpuint (s.hand.errors, ==, 0);
  scene_clear (&s);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-reorder/a-full-group-goes-at-once", a_full_group_goes_at_once);
  g_test_add_func ("/filter-reorder/a-lonely-answer-goes-after-its-time",
                   a_lonely_answer_goes_after_its_time);
  g_test_add_func ("/filter-reorder/a-thousand-are-all-answered", a_thousand_are_all_answered);
  g_test_add_func ("/filter-reorder/a-seed-repeats-the-order", a_seed_repeats_the_order);
  g_test_add_func ("/filter-reorder/is-off-with-a-depth-of-one-or-no-time",
                   is_off_with_a_depth_of_one_or_no_time);
  g_test_add_func ("/filter-reorder/can-be-switched-off-with-answers-held",
                   can_be_switched_off_with_answers_held);
  g_test_add_func ("/rules/V27-groups-in-order-all-end", groups_in_order_all_end);
  g_test_add_func ("/rules/V27-a-driver-in-order-that-waits-is-answered",
                   a_driver_in_order_that_waits_is_answered);
  g_test_add_data_func ("/rules/V27-a-slow-one-in-order-holds-the-others", NULL,
                        a_slow_one_in_order_holds_the_others);
  g_test_add_data_func ("/rules/V27-a-stop-ends-what-is-held-in-order", "stops",
                        a_slow_one_in_order_holds_the_others);
  return g_test_run ();
}
