/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latencies in log-linear buckets: 16 to each power of two, so a percentile is off by 6 % at most.
 * Fixed size, no allocation, mergeable. */
#pragma once

#include <glib.h>

#define LATENCY_STEPS 16
#define LATENCY_BUCKETS (LATENCY_STEPS * 61)

typedef struct
{
  guint64 counts[LATENCY_BUCKETS];
  guint64 n;
  guint64 sum_ns;
  guint64 max_ns;
  guint64 min_ns;
} LatencyHistogram;

void latency_histogram_init (LatencyHistogram *self);
void latency_histogram_add (LatencyHistogram *self, guint64 ns);
void latency_histogram_merge (LatencyHistogram *self, const LatencyHistogram *other);
/* Latency that a share of @percent of all requests kept; 0 without requests. */
guint64 latency_histogram_percentile (const LatencyHistogram *self, double percent);
double latency_histogram_mean (const LatencyHistogram *self);
/* First nanosecond that bucket @i holds. */
guint64 latency_histogram_bucket_start (guint i);
