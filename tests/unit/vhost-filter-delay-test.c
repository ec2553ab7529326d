/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "delay": when requests start and end. */
#include "vhost-error.h"

#include "filter-scene.h"

static void
delays_answers (void)
{
  Scene s;
  gint64 begin;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_DELAY), "delay-ms", 20, "delay-us", 500, NULL);
  scene_start (&s);
  begin = g_get_monotonic_time ();
  scene_offer (&s, 3);
  /* The device has done its work, the driver does not know. */
  g_assert_cmpuint (s.device->n_seen, ==, 3);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 3);
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, 20500);
  g_assert_true (scene_check_answers (&s, 0, 0, 3));
  scene_clear (&s);
}

static void
delays_starts (void)
{
  Scene s;
  gint64 begin;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_DELAY), "delay-ms", 20, "delay-at",
                VHOST_FILTER_DELAY_AT_START, NULL);
  scene_start (&s);
  begin = g_get_monotonic_time ();
  scene_offer (&s, 3);
  SCENE_ITERATE_UNTIL (s.device->n_seen > 0);
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, 20000);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 3);
  g_assert_true (scene_check_answers (&s, 0, 0, 3));
  scene_clear (&s);
}

static void
passes_without_a_delay (void)
{
  Scene s;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  scene_start (&s);
  scene_offer (&s, SCENE_SIZE);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, SCENE_SIZE);
  scene_clear (&s);
}

/* Answers with different delays overtake each other; the same seed does it the same way. */
static void
jitter_reorders (void)
{
  Scene s;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_DELAY), "delay-jitter-ms", 20, "delay-seed",
                G_GUINT64_CONSTANT (7), NULL);
  scene_start (&s);
  scene_offer (&s, SCENE_SIZE);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == SCENE_SIZE);
  g_assert_false (scene_check_answers (&s, 0, 0, SCENE_SIZE));
  scene_clear (&s);
}

static void
changes_while_running (void)
{
  Scene s;
  GObject *filter;
  gint64 begin;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  g_object_set (filter, "delay-ms", 24 * 60 * 60 * 1000, NULL);
  scene_start (&s);
  scene_offer (&s, 1);
  g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (filter), s.queue), ==, 1);
  begin = g_get_monotonic_time ();
  g_object_set (filter, "delay-ms", 5, NULL);
  scene_offer (&s, 1);
  /* What waits keeps its time, what comes has the new one. */
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 1);
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, 5000);
  g_assert_cmpuint (scene_get_answer (&s, 0, NULL), ==, 1);
  g_object_set (filter, "delay-ms", 0, NULL);
  scene_offer (&s, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 2);
  scene_clear (&s);
}

static void
keeps_its_properties (void)
{
  Scene s;
  GObject *filter;
  guint ms, us, jitter;
  int at;
  guint64 seed;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  g_object_get (filter, "delay-ms", &ms, "delay-us", &us, "delay-jitter-ms", &jitter, "delay-at",
                &at, "delay-seed", &seed, NULL);
  g_assert_cmpuint (ms + us + jitter, ==, 0);
  g_assert_cmpint (at, ==, VHOST_FILTER_DELAY_AT_END);
  g_assert_cmpuint (seed, ==, 0);
  g_object_set (filter, "delay-ms", 1, "delay-us", 2, "delay-jitter-ms", 3, "delay-at",
                VHOST_FILTER_DELAY_AT_START, "delay-seed", G_GUINT64_CONSTANT (4), NULL);
  g_object_get (filter, "delay-ms", &ms, "delay-us", &us, "delay-jitter-ms", &jitter, "delay-at",
                &at, "delay-seed", &seed, NULL);
  g_assert_cmpuint (ms, ==, 1);
  g_assert_cmpuint (us, ==, 2);
  g_assert_cmpuint (jitter, ==, 3);
  g_assert_cmpint (at, ==, VHOST_FILTER_DELAY_AT_START);
  g_assert_cmpuint (seed, ==, 4);
  scene_clear (&s);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-delay/answers-wait-at-the-end", delays_answers);
  g_test_add_func ("/filter-delay/requests-wait-at-the-start", delays_starts);
  g_test_add_func ("/filter-delay/nothing-waits-without-a-delay", passes_without_a_delay);
  g_test_add_func ("/filter-delay/jitter-lets-answers-overtake", jitter_reorders);
  g_test_add_func ("/filter-delay/can-be-changed-while-it-runs", changes_while_running);
  g_test_add_func ("/filter-delay/keeps-its-properties", keeps_its_properties);
  return g_test_run ();
}
