/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latencies in log-linear buckets: the slow half. See the header. */
#include "latency-histogram.h"

#include <string.h>

void
latency_histogram_init (LatencyHistogram *self)
{
  memset (self, 0, sizeof *self);
  self->min_ns = G_MAXUINT64;
}

void
latency_histogram_merge (LatencyHistogram *self, const LatencyHistogram *other)
{
  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    self->counts[i] += other->counts[i];
  self->n += other->n;
  self->sum_ns += other->sum_ns;
  self->min_ns = MIN (self->min_ns, other->min_ns);
  self->max_ns = MAX (self->max_ns, other->max_ns);
}

guint64
latency_histogram_percentile (const LatencyHistogram *self, double percent)
{
  const double wanted = (double) self->n * percent / 100;
  guint64 seen = 0;

  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    {
      seen += self->counts[i];
      if (self->counts[i] > 0 && (double) seen >= wanted)
        return MIN (latency_histogram_bucket_last (i), self->max_ns);
    }
  return self->max_ns;
}

double
latency_histogram_mean (const LatencyHistogram *self)
{
  return self->n > 0 ? (double) self->sum_ns / (double) self->n : 0;
}

guint64
latency_histogram_bucket_first (guint i)
{
  if (i < LATENCY_STEPS)
    return i;
  return (guint64) (LATENCY_STEPS + i % LATENCY_STEPS) << (i / LATENCY_STEPS - 1);
}

guint64
latency_histogram_bucket_last (guint i)
{
  return i + 1 < LATENCY_BUCKETS ? latency_histogram_bucket_first (i + 1) - 1 : G_MAXUINT64;
}
