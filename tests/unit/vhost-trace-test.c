/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Debug switches and the limit on warnings. */
#include "vhost-trace-private.h"

static void
test_flags_come_from_the_environment (void)
{
  g_assert_cmpuint (vhost_debug_flags (), ==, VHOST_DEBUG_DATA | VHOST_DEBUG_WIRE);
  /* Read once: a later change has no effect. */
  g_setenv ("VHOST_DEBUG", "control", TRUE);
  g_assert_cmpuint (vhost_debug_flags (), ==, VHOST_DEBUG_DATA | VHOST_DEBUG_WIRE);
}

static void
test_message_only_when_its_area_is_on (void)
{
  g_test_expect_message ("Vhost", G_LOG_LEVEL_MESSAGE, "size 7");
  vhost_debug (WIRE, "size %d", 7);
  vhost_debug (CONTROL, "size %d", 8);
  g_test_assert_expected_messages ();
}

static void
test_first_passes_and_others_are_counted (void)
{
  VhostRateLimit limit = { 0 };
  guint suppressed = 99;
  g_assert_true (vhost_rate_limit_allows (&limit, &suppressed));
  g_assert_cmpuint (suppressed, ==, 0);
  /* Not to depend on the speed of the machine, the last message lies in the future. */
  limit.last += 60 * G_USEC_PER_SEC;
  for (guint i = 0; i < 5; i++)
    g_assert_false (vhost_rate_limit_allows (&limit, &suppressed));
  limit.last = g_get_monotonic_time () - 2 * G_USEC_PER_SEC;
  g_assert_true (vhost_rate_limit_allows (&limit, &suppressed));
  g_assert_cmpuint (suppressed, ==, 5);
}

static void
test_warning_repeats_once (void)
{
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "ring 3 is broken");
  for (guint i = 0; i < 1000; i++)
    vhost_warn_limited ("ring %d is broken", 3);
  g_test_assert_expected_messages ();
}

int
main (int argc, char **argv)
{
  g_setenv ("VHOST_DEBUG", "wire,data", TRUE);
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/trace/flags-come-from-the-environment", test_flags_come_from_the_environment);
  g_test_add_func ("/trace/message-only-when-its-area-is-on",
                   test_message_only_when_its_area_is_on);
  g_test_add_func ("/trace/first-passes-and-others-are-counted",
                   test_first_passes_and_others_are_counted);
  g_test_add_func ("/trace/warning-repeats-once", test_warning_repeats_once);
  return g_test_run ();
}
