/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vhostctl bench prints. Bars in block characters where the locale is UTF-8, colour on a
 * terminal only, and never when NO_COLOR is set. */
#include "config.h"

#include "bench.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 40

static gboolean
is_utf8 (void)
{
  return strcmp (nl_langinfo (CODESET), "UTF-8") == 0;
}

static gboolean
use_colour (void)
{
  return isatty (STDOUT_FILENO) && g_getenv ("NO_COLOR") == NULL;
}

static const char *
format_ns (double ns, char *buffer, gsize size)
{
  if (ns < 1000)
    g_snprintf (buffer, size, "%.0f ns", ns);
  else if (ns < 1e6)
    g_snprintf (buffer, size, "%.1f us", ns / 1e3);
  else if (ns < 1e9)
    g_snprintf (buffer, size, "%.1f ms", ns / 1e6);
  else
    g_snprintf (buffer, size, "%.2f s", ns / 1e9);
  return buffer;
}

static void
print_bar (double share)
{
  static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
  int units = lround (share * BAR_WIDTH * 8);
  gboolean utf8 = is_utf8 ();

  for (int i = 0; i < units / 8; i++)
    fputs (utf8 ? "█" : "#", stdout);
  if (utf8)
    fputs (eighths[units % 8], stdout);
}

/* A row for each factor of two that holds more than a thousandth of the requests. */
static void
print_histogram (const LatencyHistogram *latency)
{
  guint64 rows[LATENCY_BUCKETS / LATENCY_STEPS] = { 0 };
  guint64 highest = 0;
  guint first = G_MAXUINT, last = 0;
  gboolean colour = use_colour ();

  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    rows[i / LATENCY_STEPS] += latency->counts[i];
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if (rows[i] * 1000 >= latency->n && rows[i] > 0)
      {
        first = MIN (first, i);
        last = i;
        highest = MAX (highest, rows[i]);
      }
  for (guint i = first; i <= last && first != G_MAXUINT; i++)
    {
      char from[32];

      printf ("  from %9s  %5.1f %%  %s",
              format_ns (latency_histogram_bucket_start (i * LATENCY_STEPS), from, sizeof from),
              100.0 * rows[i] / latency->n, colour ? "\033[36m" : "");
      print_bar ((double) rows[i] / highest);
      puts (colour ? "\033[0m" : "");
    }
}

void
bench_report_progress (const BenchOptions *options, guint64 done, double elapsed)
{
  printf ("\r  %5.1f s  %11" G_GUINT64_FORMAT " IOPS  %9.1f MiB/s ", elapsed, done,
          done * (double) options->block_size / (1 << 20));
  fflush (stdout);
}

void
bench_report_progress_end (void)
{
  printf ("\r%60s\r", "");
}

static double
per_request (guint64 total, const BenchResult *r)
{
  return r->requests > 0 ? (double) total / r->requests : 0;
}

static const char *
front_end_kind (const BenchOptions *o)
{
  return o->busy ? "busy" : o->poll_us > 0 ? "polling, then sleeping" : "sleeping";
}

void
bench_report_text (const BenchResult *r)
{
  const BenchOptions *o = r->options;
  double iops = r->seconds > 0 ? r->requests / r->seconds : 0;
  g_autofree char *size = g_format_size_full (o->block_size, G_FORMAT_SIZE_IEC_UNITS);
  char a[32], b[32], c[32], d[32], e[32];

  printf ("%s, %s, depth %u, %u queue%s, %s front-end%s, %.1f s, back-end %s (pid %d)\n",
          o->pattern_name, size, o->depth, o->queues, o->queues == 1 ? "" : "s", front_end_kind (o),
          o->indirect ? ", indirect" : "", r->seconds,
          r->peer_name != NULL ? r->peer_name : "unknown", r->peer_pid);
  printf ("  requests   %" G_GUINT64_FORMAT "\n", r->requests);
  printf ("  IOPS       %.0f\n", iops);
  printf ("  MiB/s      %.1f\n", iops * o->block_size / (1 << 20));
  printf ("  latency    mean %s, p50 %s, p99 %s, p99.9 %s, max %s\n",
          format_ns (latency_histogram_mean (&r->latency), a, sizeof a),
          format_ns (latency_histogram_percentile (&r->latency, 50), b, sizeof b),
          format_ns (latency_histogram_percentile (&r->latency, 99), c, sizeof c),
          format_ns (latency_histogram_percentile (&r->latency, 99.9), d, sizeof d),
          format_ns (r->latency.max_ns, e, sizeof e));
  printf ("  CPU        front-end %.3f us, back-end ", per_request (r->front_cpu_ns, r) / 1000);
  if (r->back_cpu_ns > 0)
    printf ("%.3f us per request\n", per_request (r->back_cpu_ns, r) / 1000);
  else
    printf ("not known\n");
  printf ("  signals    %.3f kicks, %.3f calls per request\n", per_request (r->n_kicks, r),
          per_request (r->n_calls, r));
  if (o->verify)
    printf ("  verify     %" G_GUINT64_FORMAT " blocks compared, %" G_GUINT64_FORMAT " wrong\n",
            r->verified, r->mismatches);
  if (r->errors > 0)
    printf ("  errors     %" G_GUINT64_FORMAT " requests failed\n", r->errors);
  print_histogram (&r->latency);
}

static void
add_double (JsonBuilder *builder, const char *name, double value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_double_value (builder, value);
}

static void
add_int (JsonBuilder *builder, const char *name, gint64 value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_int_value (builder, value);
}

static void
add_string (JsonBuilder *builder, const char *name, const char *value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_string_value (builder, value);
}

void
bench_report_json (const BenchResult *r)
{
  const BenchOptions *o = r->options;
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_object (builder);
  add_string (builder, "socket", r->socket);
  add_string (builder, "peer-name", r->peer_name != NULL ? r->peer_name : "");
  add_int (builder, "peer-pid", r->peer_pid);
  add_string (builder, "pattern", o->pattern_name);
  add_int (builder, "block-size", o->block_size);
  add_int (builder, "depth", o->depth);
  add_int (builder, "queues", o->queues);
  add_string (builder, "front-end", front_end_kind (o));
  add_double (builder, "seconds", r->seconds);
  add_int (builder, "requests", r->requests);
  add_double (builder, "iops", r->seconds > 0 ? r->requests / r->seconds : 0);
  add_double (builder, "mib-per-second",
              r->seconds > 0 ? r->requests / r->seconds * o->block_size / (1 << 20) : 0);
  add_double (builder, "latency-mean-us", latency_histogram_mean (&r->latency) / 1000);
  add_double (builder, "latency-p50-us", latency_histogram_percentile (&r->latency, 50) / 1000.0);
  add_double (builder, "latency-p99-us", latency_histogram_percentile (&r->latency, 99) / 1000.0);
  add_double (builder, "latency-p99.9-us",
              latency_histogram_percentile (&r->latency, 99.9) / 1000.0);
  add_double (builder, "latency-max-us", r->latency.max_ns / 1000.0);
  add_double (builder, "front-end-cpu-us-per-request", per_request (r->front_cpu_ns, r) / 1000);
  add_double (builder, "back-end-cpu-us-per-request", per_request (r->back_cpu_ns, r) / 1000);
  add_double (builder, "kicks-per-request", per_request (r->n_kicks, r));
  add_double (builder, "calls-per-request", per_request (r->n_calls, r));
  add_int (builder, "errors", r->errors);
  if (o->verify)
    {
      add_int (builder, "blocks-verified", r->verified);
      add_int (builder, "blocks-wrong", r->mismatches);
    }
  json_builder_set_member_name (builder, "latency-histogram-ns");
  json_builder_begin_array (builder);
  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    if (r->latency.counts[i] > 0)
      {
        json_builder_begin_array (builder);
        json_builder_add_int_value (builder, latency_histogram_bucket_start (i));
        json_builder_add_int_value (builder, r->latency.counts[i]);
        json_builder_end_array (builder);
      }
  json_builder_end_array (builder);
  json_builder_end_object (builder);
  print_json (builder);
}
