/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "error": which requests fail, and how the driver sees it. */
#include "vhost-error.h"

#include "filter-scene.h"

static void
fail_all (void)
{
  Scene s;
  guint32 length;
  guint8 *bytes;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  bytes = hand_at (&s.hand, HAND_DATA);
  memset (bytes, 0xee, 32);
  scene_start (&s);
  scene_offer (&s, 2);
  g_assert_cmpuint (s.device->n_seen, ==, 0);
  g_assert_true (scene_check_answers (&s, 0, 0, 2));
  /* Two writable bytes: the second one is the status, and the first was not written. */
  scene_get_answer (&s, 0, &length);
  g_assert_cmpuint (length, ==, 0);
  g_assert_cmpuint (bytes[0], ==, 0xee);
  g_assert_cmpuint (bytes[1], ==, 1);
  g_assert_cmpuint (bytes[2], ==, 0xee);
  /* One. */
  scene_get_answer (&s, 1, &length);
  g_assert_cmpuint (length, ==, 1);
  g_assert_cmpuint (bytes[16], ==, 1);
  scene_clear (&s);
}

static void
status_is_chosen (void)
{
  Scene s;
  GObject *filter;
  guint8 *bytes;
  guint32 length;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  bytes = hand_at (&s.hand, HAND_DATA);
  memset (bytes, 0xee, 48);
  g_object_set (filter, "error-status", 200, NULL);
  scene_start (&s);
  scene_offer (&s, 1);
  g_assert_cmpuint (bytes[1], ==, 200);
  g_object_set (filter, "error-status", -1, NULL);
  scene_offer (&s, 1);
  g_assert_cmpuint (bytes[16], ==, 0xee);
  scene_get_answer (&s, 1, &length);
  g_assert_cmpuint (length, ==, 0);
  scene_clear (&s);
}

/* A request that the device can only read. */
static void
nothing_writable (void)
{
  Scene s;
  guint32 length;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  hand_desc (&s.hand, 0, HAND_DATA, 4, 0, 0);
  scene_start (&s);
  scene_offer (&s, 1);
  g_assert_cmpuint (scene_get_answer (&s, 0, &length), ==, 0);
  g_assert_cmpuint (length, ==, 0);
  scene_clear (&s);
}

static void
counts (void)
{
  Scene s;
  GObject *filter;
  guint after;
  int count;

  scene_init (&s);
  filter = scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  g_object_set (filter, "error-after", 10, "error-count", 5, NULL);
  scene_start (&s);
  scene_offer (&s, 12);
  g_assert_cmpuint (s.device->n_seen, ==, 10);
  g_object_get (filter, "error-after", &after, "error-count", &count, NULL);
  g_assert_cmpuint (after, ==, 0);
  g_assert_cmpint (count, ==, 3);
  scene_offer (&s, 12);
  g_assert_cmpuint (s.device->n_seen, ==, 10 + 12 - 3);
  g_object_set (filter, "error-count", 1, NULL);
  scene_offer (&s, 5);
  g_assert_cmpuint (s.device->n_seen, ==, 10 + 12 - 3 + 4);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 29);
  scene_clear (&s);
}

static guint
count_passed (double rate, guint64 seed)
{
  Scene s;
  guint passed;

  scene_init (&s);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_ERROR), "error-rate", rate, "error-seed", seed,
                NULL);
  scene_start (&s);
  for (guint i = 0; i < 100; i++)
    scene_offer (&s, 50);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5000);
  passed = s.device->n_seen;
  scene_clear (&s);
  return passed;
}

static void
rate_is_a_part (void)
{
  guint passed = count_passed (0.25, 5);

  g_assert_cmpuint (passed, >, 3600);
  g_assert_cmpuint (passed, <, 3900);
  /* The seed repeats it. */
  g_assert_cmpuint (count_passed (0.25, 5), ==, passed);
  g_assert_cmpuint (count_passed (0, 5), ==, 5000);
  g_assert_cmpuint (count_passed (1, 5), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-error/all-requests-fail-if-nothing-else-is-said", fail_all);
  g_test_add_func ("/filter-error/the-status-is-chosen", status_is_chosen);
  g_test_add_func ("/filter-error/a-request-without-writable-bytes-fails-too", nothing_writable);
  g_test_add_func ("/filter-error/passes-so-many-and-fails-so-many", counts);
  g_test_add_func ("/filter-error/the-rate-is-a-part-of-the-requests", rate_is_a_part);
  return g_test_run ();
}
