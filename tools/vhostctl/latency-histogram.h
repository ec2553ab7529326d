/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latencies in log-linear buckets. Must neither allocate nor lock: it counts within what it
 * measures.
 *
 * How it works: below 16 ns a bucket is a nanosecond; above, each power of two has 16 buckets,
 * which the four bits behind the leading one choose. So a percentile is never more than 6.25 % too
 * high, and counting costs a shift and an addition. */
#pragma once

#include <glib.h>

#define LATENCY_STEPS 16u
#define LATENCY_BUCKETS (LATENCY_STEPS * 61u)

typedef struct
{
  guint64 counts[LATENCY_BUCKETS];
  guint64 n;
  guint64 sum_ns;
  guint64 min_ns; /* G_MAXUINT64 when empty */
  guint64 max_ns;
} LatencyHistogram;

static inline guint
latency_histogram_bucket (guint64 ns)
{
  guint log2;

  if (ns < LATENCY_STEPS)
    return (guint) ns;
  log2 = 63 - (guint) __builtin_clzll (ns);
  return (log2 - 3) * LATENCY_STEPS + (guint) (ns >> (log2 - 4)) % LATENCY_STEPS;
}

static inline void
latency_histogram_add (LatencyHistogram *self, guint64 ns)
{
  self->counts[latency_histogram_bucket (ns)]++;
  self->n++;
  self->sum_ns += ns;
  self->min_ns = MIN (self->min_ns, ns);
  self->max_ns = MAX (self->max_ns, ns);
}

void latency_histogram_init (LatencyHistogram *self);
void latency_histogram_merge (LatencyHistogram *self, const LatencyHistogram *other);
/* What @percent of all latencies did not exceed; 0 when empty. */
guint64 latency_histogram_percentile (const LatencyHistogram *self, double percent);
double latency_histogram_mean (const LatencyHistogram *self);
/* First nanosecond of bucket @i, and last one. */
guint64 latency_histogram_bucket_first (guint i);
guint64 latency_histogram_bucket_last (guint i);
