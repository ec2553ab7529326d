/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. How it works: below 16 ns a bucket is a nanosecond; above, the four bits behind
 * the leading one choose among the 16 buckets of that power of two. */
#include "latency-histogram.h"

#include <string.h>

static guint
bucket_of (guint64 ns)
{
  guint log2;

  if (ns < LATENCY_STEPS)
    return ns;
  log2 = 63 - __builtin_clzll (ns);
  return (log2 - 3) * LATENCY_STEPS + (ns >> (log2 - 4)) % LATENCY_STEPS;
}

guint64
latency_histogram_bucket_start (guint i)
{
  guint log2 = i / LATENCY_STEPS + 3;

  if (i < LATENCY_STEPS)
    return i;
  return (guint64) (LATENCY_STEPS + i % LATENCY_STEPS) << (log2 - 4);
}

void
latency_histogram_init (LatencyHistogram *self)
{
  memset (self, 0, sizeof *self);
  self->min_ns = G_MAXUINT64;
}

void
latency_histogram_add (LatencyHistogram *self, guint64 ns)
{
  self->counts[bucket_of (ns)]++;
  self->n++;
  self->sum_ns += ns;
  self->max_ns = MAX (self->max_ns, ns);
  self->min_ns = MIN (self->min_ns, ns);
}

void
latency_histogram_merge (LatencyHistogram *self, const LatencyHistogram *other)
{
  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    self->counts[i] += other->counts[i];
  self->n += other->n;
  self->sum_ns += other->sum_ns;
  self->max_ns = MAX (self->max_ns, other->max_ns);
  self->min_ns = MIN (self->min_ns, other->min_ns);
}

guint64
latency_histogram_percentile (const LatencyHistogram *self, double percent)
{
  double wanted = self->n * percent / 100;
  guint64 seen = 0;

  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    {
      seen += self->counts[i];
      if (self->counts[i] > 0 && seen >= wanted)
        return MIN (latency_histogram_bucket_start (i + 1) - 1, self->max_ns);
    }
  return 0;
}

double
latency_histogram_mean (const LatencyHistogram *self)
{
  return self->n > 0 ? (double) self->sum_ns / self->n : 0;
}
