/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sums of the latency histogram: buckets without gaps, percentiles within their promise. */
#include "latency-histogram.h"

static void
test_buckets_follow_one_another (void)
{
  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    {
      const guint64 first = latency_histogram_bucket_first (i);
      const guint64 last = latency_histogram_bucket_last (i);

      g_assert_cmpuint (first, <=, last);
      g_assert_cmpuint (latency_histogram_bucket (first), ==, i);
      g_assert_cmpuint (latency_histogram_bucket (last), ==, i);
      /* A sixteenth is the promise. */
      g_assert_cmpuint (last - first, <=, first / LATENCY_STEPS);
      if (i > 0)
        g_assert_cmpuint (first, ==, latency_histogram_bucket_last (i - 1) + 1);
    }
  g_assert_cmpuint (latency_histogram_bucket_first (0), ==, 0);
  g_assert_cmpuint (latency_histogram_bucket_last (LATENCY_BUCKETS - 1), ==, G_MAXUINT64);
}

static void
test_percentiles_are_a_sixteenth_too_high_at_most (void)
{
  g_autofree LatencyHistogram *histogram = g_new (LatencyHistogram, 1);

  latency_histogram_init (histogram);
  for (guint64 ns = 1; ns <= 100000; ns++)
    latency_histogram_add (histogram, ns);
  for (guint percent = 1; percent <= 100; percent++)
    {
      const guint64 exact = percent * 1000;
      const guint64 found = latency_histogram_percentile (histogram, percent);

      g_assert_cmpuint (found, >=, exact);
      g_assert_cmpuint (found, <=, exact + exact / LATENCY_STEPS);
    }
  g_assert_cmpuint (latency_histogram_percentile (histogram, 100), ==, 100000);
  g_assert_cmpfloat (latency_histogram_mean (histogram), ==, 50000.5);
  g_assert_cmpuint (histogram->min_ns, ==, 1);
  g_assert_cmpuint (histogram->max_ns, ==, 100000);
}

static void
test_rare_latency_shows_behind_its_share_only (void)
{
  g_autofree LatencyHistogram *histogram = g_new (LatencyHistogram, 1);

  latency_histogram_init (histogram);
  for (guint i = 0; i < 999; i++)
    latency_histogram_add (histogram, 10);
  latency_histogram_add (histogram, 5000000);
  g_assert_cmpuint (latency_histogram_percentile (histogram, 50), ==, 10);
  g_assert_cmpuint (latency_histogram_percentile (histogram, 99.9), ==, 10);
  g_assert_cmpuint (latency_histogram_percentile (histogram, 99.99), ==, 5000000);
}

static void
test_empty_histogram_has_zeros (void)
{
  g_autofree LatencyHistogram *histogram = g_new (LatencyHistogram, 1);

  latency_histogram_init (histogram);
  g_assert_cmpuint (latency_histogram_percentile (histogram, 50), ==, 0);
  g_assert_cmpuint (latency_histogram_percentile (histogram, 100), ==, 0);
  g_assert_cmpfloat (latency_histogram_mean (histogram), ==, 0);
}

static void
test_merged_ones_are_like_one_that_saw_all (void)
{
  g_autofree LatencyHistogram *all = g_new (LatencyHistogram, 1);
  g_autofree LatencyHistogram *odd = g_new (LatencyHistogram, 1);
  g_autofree LatencyHistogram *even = g_new (LatencyHistogram, 1);

  latency_histogram_init (all);
  latency_histogram_init (odd);
  latency_histogram_init (even);
  for (guint64 i = 0; i < 5000; i++)
    {
      latency_histogram_add (all, i * i);
      latency_histogram_add (i % 2 != 0 ? odd : even, i * i);
    }
  latency_histogram_merge (odd, even);
  g_assert_cmpmem (odd, sizeof *odd, all, sizeof *all);
}

static void
test_merging_an_empty_one_changes_nothing (void)
{
  g_autofree LatencyHistogram *one = g_new (LatencyHistogram, 1);
  g_autofree LatencyHistogram *empty = g_new (LatencyHistogram, 1);

  latency_histogram_init (one);
  latency_histogram_init (empty);
  latency_histogram_add (one, 700);
  latency_histogram_merge (one, empty);
  g_assert_cmpuint (one->n, ==, 1);
  g_assert_cmpuint (one->min_ns, ==, 700);
  g_assert_cmpuint (one->max_ns, ==, 700);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/latency-histogram/buckets-follow-one-another",
                   test_buckets_follow_one_another);
  g_test_add_func ("/latency-histogram/percentiles-are-a-sixteenth-too-high-at-most",
                   test_percentiles_are_a_sixteenth_too_high_at_most);
  g_test_add_func ("/latency-histogram/rare-latency-shows-behind-its-share-only",
                   test_rare_latency_shows_behind_its_share_only);
  g_test_add_func ("/latency-histogram/empty-histogram-has-zeros", test_empty_histogram_has_zeros);
  g_test_add_func ("/latency-histogram/merged-ones-are-like-one-that-saw-all",
                   test_merged_ones_are_like_one_that_saw_all);
  g_test_add_func ("/latency-histogram/merging-an-empty-one-changes-nothing",
                   test_merging_an_empty_one_changes_nothing);
  return g_test_run ();
}
