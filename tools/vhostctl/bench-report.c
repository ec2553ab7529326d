/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What bench has found out, for people and as JSON. Must not measure anything. */
#include "bench.h"

#include "vhostctl.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LABEL "%-17s "
#define BAR_WIDTH 40
#define MAX_FINE_ROWS 16

static const char *const error_names[BENCH_N_ERRORS] = {
  [BENCH_ERROR_IO] = "ioerr",
  [BENCH_ERROR_UNSUPPORTED] = "unsupp",
  [BENCH_ERROR_NO_STATUS] = "no-status",
  [BENCH_ERROR_OTHER] = "bad-status",
};

void
bench_result_init (BenchResult *self)
{
  memset (self, 0, sizeof *self);
  latency_histogram_init (&self->latency);
  self->mismatches = g_ptr_array_new_with_free_func (g_free);
}

void
bench_result_clear (BenchResult *self)
{
  g_clear_pointer (&self->first_error, g_free);
  g_clear_pointer (&self->mismatches, g_ptr_array_unref);
}

void
bench_result_merge (BenchResult *self, const BenchResult *other)
{
  latency_histogram_merge (&self->latency, &other->latency);
  self->n_reads += other->n_reads;
  self->n_writes += other->n_writes;
  /* They run side by side. */
  self->elapsed_ns = MAX (self->elapsed_ns, other->elapsed_ns);
  self->cpu_ns += other->cpu_ns;
  self->n_kicks += other->n_kicks;
  self->n_calls += other->n_calls;
  self->n_bad_used += other->n_bad_used;
  for (guint i = 0; i < BENCH_N_ERRORS; i++)
    self->n_errors[i] += other->n_errors[i];
  if (self->first_error == NULL)
    self->first_error = g_strdup (other->first_error);
  self->n_verified += other->n_verified;
  self->n_mismatches += other->n_mismatches;
  for (guint i = 0; i < other->mismatches->len; i++)
    {
      if (self->mismatches->len < BENCH_MAX_NAMED_MISMATCHES)
        g_ptr_array_add (self->mismatches, g_strdup (g_ptr_array_index (other->mismatches, i)));
    }
}

static guint64
get_n_errors (const BenchResult *result)
{
  guint64 n = 0;

  for (guint i = 0; i < BENCH_N_ERRORS; i++)
    n += result->n_errors[i];
  return n;
}

static double
divide (double a, double b)
{
  return b > 0 ? a / b : 0;
}

static double
get_iops (const BenchResult *result)
{
  return divide ((double) result->latency.n * 1e9, (double) result->elapsed_ns);
}

static gboolean
may_colour (int fd)
{
  const char *no_color = g_getenv ("NO_COLOR");
  const char *term = g_getenv ("TERM");

  return (no_color == NULL || *no_color == '\0') && g_strcmp0 (term, "dumb") != 0 && isatty (fd);
}

/* @code: SGR; nothing where colour is not wanted. */
static const char *
colour (const char *code)
{
  return may_colour (STDOUT_FILENO) ? code : "";
}

/* Three digits and a unit; @buffer has 32 bytes. */
static const char *
format_ns (double ns, char *buffer)
{
  static const char *const units[] = { "ns", "us", "ms", "s" };
  guint unit = 0;

  while (ns >= 999.5 && unit + 1 < G_N_ELEMENTS (units))
    {
      ns /= 1000;
      unit++;
    }
  g_snprintf (buffer, 32, "%.*f %s",
              unit == 0 || ns >= 99.95 ? 0
              : ns >= 9.995            ? 1
                                       : 2,
              ns, units[unit]);
  return buffer;
}

/* 12.3k, 1.20M. */
static const char *
format_count (double n, char *buffer)
{
  const char *unit = n >= 999500 ? "M" : n >= 9999.5 ? "k" : "";

  if (*unit != '\0')
    n /= *unit == 'M' ? 1e6 : 1e3;
  g_snprintf (buffer, 32, "%.*f%s", *unit == '\0' || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2, n, unit);
  return buffer;
}

/* A bar of @share of BAR_WIDTH; UTF-8 has eighths of a character. */
static void
print_bar (double share, gboolean utf8)
{
  static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
  guint n = (guint) (share * BAR_WIDTH * 8 + 0.5);

  /* What is there must be seen. */
  n = MAX (n, 1);
  if (!utf8)
    {
      for (guint i = 0; i < MAX ((n + 4) / 8, 1); i++)
        putchar ('#');
      return;
    }
  for (guint i = 0; i < n / 8; i++)
    fputs ("█", stdout);
  fputs (eighths[n % 8], stdout);
}

static guint64
sum_buckets (const LatencyHistogram *histogram, guint first, guint n)
{
  guint64 sum = 0;

  for (guint i = first; i < MIN (first + n, LATENCY_BUCKETS); i++)
    sum += histogram->counts[i];
  return sum;
}

/* Rows are shares of a power of two: as fine as there is room where most of the requests are, whole
 * powers on both sides, so that a few outliers do not make all else one bar. */
static void
print_histogram (const LatencyHistogram *histogram)
{
  const gboolean utf8 = g_get_charset (NULL);
  const char *on = colour ("\033[36m");
  const char *off = colour ("\033[0m");
  guint fine = 2;
  guint fine_first, fine_last, last;
  guint64 most = 0;

  if (histogram->n == 0)
    return;
  last = latency_histogram_bucket (histogram->max_ns);
  fine_first = latency_histogram_bucket (latency_histogram_percentile (histogram, 1));
  fine_last = latency_histogram_bucket (latency_histogram_percentile (histogram, 99));
  fine_first -= fine_first % LATENCY_STEPS;
  fine_last |= LATENCY_STEPS - 1;
  while (fine < LATENCY_STEPS && (fine_last - fine_first) / fine >= MAX_FINE_ROWS)
    fine *= 2;

  printf ("\n");
  /* The first time round looks for the longest bar. */
  for (guint round = 0; round < 2; round++)
    {
      guint step;

      for (guint i = 0; i <= last; i += step)
        {
          guint64 n;
          char from[32];

          step = i >= fine_first && i <= fine_last ? fine : LATENCY_STEPS;
          n = sum_buckets (histogram, i, step);
          if (round == 0)
            most = MAX (most, n);
          if (round == 0 || n == 0)
            continue;
          printf ("%10s %6.2f %% %s", format_ns ((double) latency_histogram_bucket_first (i), from),
                  100 * (double) n / (double) histogram->n, on);
          print_bar ((double) n / (double) most, utf8);
          printf ("%s\n", off);
        }
    }
}

static void
print_cpu (const BenchReport *self)
{
  const BenchResult *total = self->total;
  const double n = (double) total->latency.n;
  const double elapsed = (double) total->elapsed_ns;
  char text[32];

  printf (LABEL "front-end %s", "CPU per request",
          format_ns (divide ((double) total->cpu_ns, n), text));
  printf (" (%.0f %%)", 100 * divide ((double) total->cpu_ns, elapsed));
  if (self->peer_cpu_ns != G_MAXUINT64)
    printf (", back-end %s (%.0f %%: %s, pid %d)\n",
            format_ns (divide ((double) self->peer_cpu_ns, n), text),
            100 * divide ((double) self->peer_cpu_ns, elapsed),
            self->device->name != NULL ? self->device->name : "?", self->device->pid);
  else
    printf (", back-end not known: its process cannot be seen from here\n");
}

static void
print_problems (const BenchReport *self)
{
  const BenchResult *total = self->total;
  const char *red = colour ("\033[31m");
  const char *off = colour ("\033[0m");

  if (get_n_errors (total) > 0)
    {
      printf ("%s" LABEL, red, "errors");
      for (guint i = 0; i < BENCH_N_ERRORS; i++)
        {
          if (total->n_errors[i] > 0)
            printf ("%s %" G_GUINT64_FORMAT "  ", error_names[i], total->n_errors[i]);
        }
      printf ("%s\n" LABEL "%s\n", off, "first error", total->first_error);
    }
  if (total->n_bad_used > 0)
    printf ("%s" LABEL "%" G_GUINT64_FORMAT " that name no request in flight%s\n", red,
            "bad used entries", total->n_bad_used, off);
  if (self->options->verify)
    {
      printf ("%s" LABEL "%" G_GUINT64_FORMAT " blocks, %" G_GUINT64_FORMAT " mismatches%s%s\n",
              total->n_mismatches > 0 ? red : "", "verified", total->n_verified,
              total->n_mismatches, self->read_back ? "" : "; NOT all that was written was read",
              off);
      for (guint i = 0; i < total->mismatches->len; i++)
        printf (LABEL "%s\n", "", (const char *) g_ptr_array_index (total->mismatches, i));
      if (total->n_mismatches > total->mismatches->len)
        printf (LABEL "and %" G_GUINT64_FORMAT " more\n", "",
                total->n_mismatches - total->mismatches->len);
      if (total->n_mismatches > 0)
        printf (LABEL "--seed=%" G_GUINT64_FORMAT " repeats this run\n", "", self->options->seed);
    }
}

static void
print_words (const BenchReport *self)
{
  const BenchOptions *options = self->options;
  const BenchResult *total = self->total;
  const LatencyHistogram *latency = &total->latency;
  const double n = (double) latency->n;
  g_autofree char *block_size = vhostctl_format_size (options->block_size);
  char a[32], b[32], c[32], d[32], e[32];

  printf (LABEL "%s", "load", bench_mode_name (options->mode));
  if (options->mode == BENCH_MIXED)
    printf (" (%u %% reads)", options->read_percent);
  printf (", %s, depth %u, %u queue%s of %u, %s%s%s%s%s%s\n", block_size, options->depth,
          options->n_queues, options->n_queues == 1 ? "" : "s", options->queue_size,
          options->busy          ? "busy"
          : options->poll_ns > 0 ? "polling, then sleeping"
                                 : "sleeping",
          options->indirect ? ", indirect" : "", options->packed ? ", packed" : "",
          options->in_order ? ", in order" : "", options->tracked ? ", tracked" : "",
          options->dirty_log ? ", logged" : "");
  printf (LABEL "%" G_GUINT64_FORMAT " (%" G_GUINT64_FORMAT " reads, %" G_GUINT64_FORMAT
                " writes) in %.2f s%s\n",
          "requests", latency->n, total->n_reads, total->n_writes, (double) total->elapsed_ns / 1e9,
          self->interrupted ? ", interrupted" : "");
  if (latency->n > 0)
    {
      printf (LABEL "%s%.0f%s\n", "IOPS", colour ("\033[1m"), get_iops (total), colour ("\033[0m"));
      printf (LABEL "%.1f MiB/s\n", "throughput",
              get_iops (total) * (double) options->block_size / (1 << 20));
      printf (LABEL "mean %s, p50 %s, p99 %s, p99.9 %s, max %s\n", "latency",
              format_ns (latency_histogram_mean (latency), a),
              format_ns ((double) latency_histogram_percentile (latency, 50), b),
              format_ns ((double) latency_histogram_percentile (latency, 99), c),
              format_ns ((double) latency_histogram_percentile (latency, 99.9), d),
              format_ns ((double) latency->max_ns, e));
      print_cpu (self);
      printf (LABEL "kicks %.3f, calls %.3f\n", "per request", divide ((double) total->n_kicks, n),
              divide ((double) total->n_calls, n));
    }
  print_problems (self);
  print_histogram (latency);
}

static void
add_latency (JsonBuilder *builder, const LatencyHistogram *latency)
{
  vhostctl_json_begin_object (builder, "latency-ns");
  vhostctl_json_double (builder, "mean", latency_histogram_mean (latency));
  vhostctl_json_int (builder, "min", latency->n > 0 ? latency->min_ns : 0);
  vhostctl_json_int (builder, "p50", latency_histogram_percentile (latency, 50));
  vhostctl_json_int (builder, "p90", latency_histogram_percentile (latency, 90));
  vhostctl_json_int (builder, "p99", latency_histogram_percentile (latency, 99));
  vhostctl_json_int (builder, "p99.9", latency_histogram_percentile (latency, 99.9));
  vhostctl_json_int (builder, "p99.99", latency_histogram_percentile (latency, 99.99));
  vhostctl_json_int (builder, "max", latency->max_ns);
  json_builder_end_object (builder);
}

static void
add_result (JsonBuilder *builder, const BenchResult *result, guint64 block_size)
{
  const double n = (double) result->latency.n;

  vhostctl_json_int (builder, "requests", result->latency.n);
  vhostctl_json_int (builder, "reads", result->n_reads);
  vhostctl_json_int (builder, "writes", result->n_writes);
  vhostctl_json_double (builder, "seconds", (double) result->elapsed_ns / 1e9);
  vhostctl_json_double (builder, "iops", get_iops (result));
  vhostctl_json_double (builder, "mib-per-second",
                        get_iops (result) * (double) block_size / (1 << 20));
  add_latency (builder, &result->latency);
  vhostctl_json_double (builder, "front-end-cpu-ns-per-request",
                        divide ((double) result->cpu_ns, n));
  vhostctl_json_int (builder, "kicks", result->n_kicks);
  vhostctl_json_int (builder, "calls", result->n_calls);
  vhostctl_json_double (builder, "kicks-per-request", divide ((double) result->n_kicks, n));
  vhostctl_json_double (builder, "calls-per-request", divide ((double) result->n_calls, n));
}

static void
add_options (JsonBuilder *builder, const BenchOptions *options, const BenchDevice *device)
{
  g_autofree char *seed = g_strdup_printf ("%" G_GUINT64_FORMAT, options->seed);

  vhostctl_json_begin_object (builder, "options");
  vhostctl_json_string (builder, "rw", bench_mode_name (options->mode));
  vhostctl_json_int (builder, "mix", options->read_percent);
  vhostctl_json_int (builder, "block-size", options->block_size);
  vhostctl_json_int (builder, "depth", options->depth);
  vhostctl_json_int (builder, "queues", options->n_queues);
  vhostctl_json_int (builder, "queue-size", options->queue_size);
  vhostctl_json_double (builder, "time", (double) options->duration_ns / 1e9);
  vhostctl_json_int (builder, "requests", options->n_requests);
  vhostctl_json_double (builder, "warmup", (double) options->warmup_ns / 1e9);
  vhostctl_json_int (builder, "offset", options->offset);
  vhostctl_json_int (builder, "size", device->n_blocks * options->block_size);
  vhostctl_json_boolean (builder, "busy", options->busy);
  vhostctl_json_int (builder, "poll-us", options->poll_ns / 1000);
  vhostctl_json_boolean (builder, "indirect", options->indirect);
  vhostctl_json_boolean (builder, "packed", options->packed);
  vhostctl_json_boolean (builder, "in_order", options->in_order);
  vhostctl_json_boolean (builder, "tracked", options->tracked);
  vhostctl_json_boolean (builder, "dirty_log", options->dirty_log);
  vhostctl_json_boolean (builder, "verify", options->verify);
  /* As text: many readers' numbers have 53 bits. */
  vhostctl_json_string (builder, "seed", seed);
  json_builder_end_object (builder);
}

static void
add_problems (JsonBuilder *builder, const BenchReport *self)
{
  const BenchResult *total = self->total;

  vhostctl_json_begin_object (builder, "errors");
  for (guint i = 0; i < BENCH_N_ERRORS; i++)
    vhostctl_json_int (builder, error_names[i], total->n_errors[i]);
  vhostctl_json_int (builder, "bad-used", total->n_bad_used);
  vhostctl_json_string (builder, "first", total->first_error);
  json_builder_end_object (builder);
  if (!self->options->verify)
    return;
  vhostctl_json_begin_object (builder, "verify");
  vhostctl_json_int (builder, "blocks", total->n_verified);
  vhostctl_json_int (builder, "mismatches", total->n_mismatches);
  vhostctl_json_boolean (builder, "complete", self->read_back);
  vhostctl_json_begin_array (builder, "first-mismatches");
  for (guint i = 0; i < total->mismatches->len; i++)
    json_builder_add_string_value (builder, g_ptr_array_index (total->mismatches, i));
  json_builder_end_array (builder);
  json_builder_end_object (builder);
}

static void
print_json (const BenchReport *self)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree char *socket_path = vhostctl_make_printable (self->options->socket_path);
  const LatencyHistogram *latency = &self->total->latency;

  vhostctl_json_begin_object (builder, NULL);
  vhostctl_json_string (builder, "socket", socket_path);
  vhostctl_json_int (builder, "peer-pid", (guint64) MAX (self->device->pid, 0));
  vhostctl_json_string (builder, "peer-name", self->device->name);
  vhostctl_json_int (builder, "disk-size", self->device->size);
  add_options (builder, self->options, self->device);
  vhostctl_json_boolean (builder, "interrupted", self->interrupted);
  vhostctl_json_string (builder, "failure", self->failure);
  add_result (builder, self->total, self->options->block_size);
  if (self->peer_cpu_ns != G_MAXUINT64)
    vhostctl_json_double (builder, "back-end-cpu-ns-per-request",
                          divide ((double) self->peer_cpu_ns, (double) latency->n));
  else
    vhostctl_json_string (builder, "back-end-cpu-ns-per-request", NULL);
  add_problems (builder, self);

  vhostctl_json_begin_array (builder, "per-queue");
  for (guint i = 0; i < self->jobs->len; i++)
    {
      vhostctl_json_begin_object (builder, NULL);
      add_result (builder, bench_job_get_result (g_ptr_array_index (self->jobs, i)),
                  self->options->block_size);
      json_builder_end_object (builder);
    }
  json_builder_end_array (builder);

  vhostctl_json_begin_array (builder, "histogram");
  for (guint i = 0; i < LATENCY_BUCKETS; i++)
    {
      if (latency->counts[i] == 0)
        continue;
      vhostctl_json_begin_object (builder, NULL);
      vhostctl_json_int (builder, "from-ns", latency_histogram_bucket_first (i));
      vhostctl_json_int (builder, "to-ns", latency_histogram_bucket_last (i));
      vhostctl_json_int (builder, "requests", latency->counts[i]);
      json_builder_end_object (builder);
    }
  json_builder_end_array (builder);
  json_builder_end_object (builder);
  vhostctl_json_print (builder);
}

void
bench_report_print (const BenchReport *self)
{
  if (self->options->json)
    print_json (self);
  else
    print_words (self);
}

void
bench_report_progress (const BenchOptions *options, const char *what, double seconds, double iops)
{
  char count[32];

  if (!options->progress || !isatty (STDERR_FILENO))
    return;
  if (what == NULL)
    fprintf (stderr, "\r%60s\r", "");
  else
    fprintf (stderr, "\r%-10s %5.0f s %10s IOPS %10.1f MiB/s  ", what, seconds,
             format_count (iops, count), iops * (double) options->block_size / (1 << 20));
  fflush (stderr);
}
