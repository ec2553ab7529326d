/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl bench: options, set-up and time. The front-end is the library's own, so any vhost-user
 * block back-end can be measured, and no VM is needed. */
#include "config.h"

#include "bench.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_START 0x100000
#define MIN_BLOCK 512
#define MAX_BLOCK (16u << 20)
#define DEFAULT_REGION (G_GUINT64_CONSTANT (1) << 40) /* all of the device */
#define VERIFY_REGION (64u << 20) /* unless asked for more: every block is read back */

static char *opt_rw, *opt_block_size, *opt_size, *opt_cpu;
static int opt_mix = 70, opt_depth = 32, opt_queues = 1, opt_queue_size = 256, opt_poll;
static double opt_time = 5, opt_warmup = 0.2;
static gint64 opt_requests, opt_seed = 1;
static gboolean opt_busy, opt_sleep, opt_indirect, opt_verify, opt_json, opt_no_progress;

static const GOptionEntry entries[] = {
  { "rw", 0, 0, G_OPTION_ARG_STRING, &opt_rw,
    "randread, randwrite, read, write or mixed (randread; mixed to verify)", "PATTERN" },
  { "mix", 0, 0, G_OPTION_ARG_INT, &opt_mix, "Share of reads of mixed, in percent (70)",
    "PERCENT" },
  { "block-size", 'b', 0, G_OPTION_ARG_STRING, &opt_block_size, "Bytes of a request (4K)", "SIZE" },
  { "depth", 'd', 0, G_OPTION_ARG_INT, &opt_depth, "Requests in flight in each queue (32)", "N" },
  { "queues", 'q', 0, G_OPTION_ARG_INT, &opt_queues, "Queues, each with a thread (1)", "N" },
  { "queue-size", 0, 0, G_OPTION_ARG_INT, &opt_queue_size, "Entries of a ring (256)", "N" },
  { "time", 't', 0, G_OPTION_ARG_DOUBLE, &opt_time, "How long (5)", "SECONDS" },
  { "requests", 'n', 0, G_OPTION_ARG_INT64, &opt_requests, "So many requests instead of a time",
    "N" },
  { "size", 's', 0, G_OPTION_ARG_STRING, &opt_size,
    "Use only the device's first SIZE bytes (all; 64M to verify)", "SIZE" },
  { "busy", 0, 0, G_OPTION_ARG_NONE, &opt_busy, "The front-end polls the ring and wants no calls",
    NULL },
  { "sleep", 0, 0, G_OPTION_ARG_NONE, &opt_sleep,
    "The front-end sleeps until it is called (default)", NULL },
  { "poll", 0, 0, G_OPTION_ARG_INT, &opt_poll,
    "A sleeping front-end looks so long before it sleeps, as a virtual CPU under KVM does (0)",
    "US" },
  { "indirect", 0, 0, G_OPTION_ARG_NONE, &opt_indirect, "Put each request into an indirect table",
    NULL },
  { "verify", 0, 0, G_OPTION_ARG_NONE, &opt_verify,
    "Write known contents and check them; destroys what is there", NULL },
  { "warmup", 0, 0, G_OPTION_ARG_DOUBLE, &opt_warmup, "Not measured, before the start (0.2)",
    "SECONDS" },
  { "cpu", 0, 0, G_OPTION_ARG_STRING, &opt_cpu, "Pin the threads to these, as in 0,2", "LIST" },
  { "seed", 0, 0, G_OPTION_ARG_INT64, &opt_seed, "Of random blocks and contents (1)", "N" },
  { "json", 'j', 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL },
  { "no-progress", 0, 0, G_OPTION_ARG_NONE, &opt_no_progress, "No line per second on a terminal",
    NULL },
  G_OPTION_ENTRY_NULL,
};

static gboolean
usage_error (const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  complain ("bench", "%s", text);
  return FALSE;
}

static gboolean
read_options (BenchOptions *o)
{
  static const char *const patterns[] = { "randread", "randwrite", "read", "write", "mixed" };
  guint pattern = 0;

  if (opt_rw == NULL)
    opt_rw = g_strdup (opt_verify ? "mixed" : "randread");
  while (pattern < G_N_ELEMENTS (patterns) && strcmp (opt_rw, patterns[pattern]) != 0)
    pattern++;
  if (pattern == G_N_ELEMENTS (patterns))
    return usage_error ("--rw=%s: choose randread, randwrite, read, write or mixed", opt_rw);
  o->pattern = pattern;
  o->pattern_name = patterns[pattern];
  o->block_size = 4096;
  o->region = opt_verify ? VERIFY_REGION : DEFAULT_REGION;
  if (opt_block_size != NULL && !parse_size (opt_block_size, &o->block_size))
    return usage_error ("--block-size=%s is no size; write 4096, 4K or 1M", opt_block_size);
  if (o->block_size < MIN_BLOCK || o->block_size > MAX_BLOCK || o->block_size % MIN_BLOCK != 0)
    return usage_error ("--block-size must be a multiple of 512, up to 16M");
  if (opt_size != NULL && !parse_size (opt_size, &o->region))
    return usage_error ("--size=%s is no size; write 64M or 1G", opt_size);
  if (opt_queue_size < 4 || opt_queue_size > 32768 || (opt_queue_size & (opt_queue_size - 1)) != 0)
    return usage_error ("--queue-size must be a power of 2 from 4 to 32768");
  if (opt_depth < 1 || opt_depth > opt_queue_size / (opt_indirect ? 1 : 3))
    return usage_error (
        "--depth=%d does not fit: a request takes %s of the %d entries of --queue-size", opt_depth,
        opt_indirect ? "one" : "three", opt_queue_size);
  if (opt_queues < 1 || opt_queues > 256)
    return usage_error ("--queues must be 1 to 256");
  if (opt_mix < 0 || opt_mix > 100)
    return usage_error ("--mix is a percentage");
  if (!(opt_time > 0) || opt_requests < 0 || !(opt_warmup >= 0) || opt_poll < 0)
    return usage_error ("--time must be above 0, --requests, --warmup and --poll not below");
  if (opt_busy && opt_sleep)
    return usage_error ("--busy or --sleep, not both");
  if (opt_verify && (o->pattern == BENCH_RANDREAD || o->pattern == BENCH_READ))
    return usage_error ("--verify needs a pattern that writes: --rw=randwrite, write or mixed");
  o->read_percent = opt_mix;
  o->depth = opt_depth;
  o->queues = opt_queues;
  o->queue_size = opt_queue_size;
  o->seconds = opt_time;
  o->requests = opt_requests;
  o->busy = opt_busy;
  o->poll_us = opt_poll;
  o->indirect = opt_indirect;
  o->verify = opt_verify;
  o->seed = opt_seed;
  return TRUE;
}

static void
on_interrupt (int signal_number)
{
  atomic_store_explicit (&bench_stop, TRUE, memory_order_relaxed);
}

/* Nanoseconds that all threads of @pid have run; 0: cannot be known. */
static guint64
process_cpu_ns (int pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/task", pid);
  g_autoptr (GDir) dir = pid > 0 ? g_dir_open (path, 0, NULL) : NULL;
  const char *name;
  guint64 total = 0;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *file = g_build_filename (path, name, "schedstat", NULL);
      g_autofree char *text = NULL;

      if (g_file_get_contents (file, &text, NULL, NULL))
        total += g_ascii_strtoull (text, NULL, 10);
    }
  return total;
}

static gboolean
set_up (VhostFrontend *frontend, const char *socket, BenchOptions *o, GError **error)
{
  const guint64 ring_bits = G_GUINT64_CONSTANT (1) << 32 | 1u << 29 | 1u << 28;
  const guint64 block_bits = 1u << VIRTIO_BLK_F_RO | 1u << VIRTIO_BLK_F_SEG_MAX
                             | 1u << VIRTIO_BLK_F_BLK_SIZE | 1u << VIRTIO_BLK_F_FLUSH
                             | 1u << VIRTIO_BLK_F_MQ;
  struct virtio_blk_config config;
  guint64 capacity;

  if (!vhost_frontend_connect (frontend, socket, error)
      || !vhost_frontend_negotiate (frontend, ring_bits | block_bits, G_MAXUINT64, error)
      || !read_block_config (frontend, &config, error))
    return FALSE;
  capacity = GUINT64_FROM_LE (config.capacity) * 512;
  o->region = MIN (o->region, capacity);
  if (o->region / o->block_size < o->queues * (guint64) (o->verify ? o->depth : 1))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the device has %" G_GUINT64_FORMAT
                   " bytes, which are not enough blocks of %" G_GUINT64_FORMAT
                   " for %u queues of depth %u",
                   o->region, o->block_size, o->queues, o->depth);
      return FALSE;
    }
  if (o->pattern != BENCH_RANDREAD && o->pattern != BENCH_READ
      && (vhost_frontend_get_features (frontend) >> VIRTIO_BLK_F_RO & 1))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the device is read-only and --rw=%s writes; choose randread or read",
                   o->pattern_name);
      return FALSE;
    }
  if (o->queues > vhost_frontend_get_max_queues (frontend))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the back-end has %u queues, not %u; see its num-queues",
                   vhost_frontend_get_max_queues (frontend), o->queues);
      return FALSE;
    }
  return vhost_frontend_add_memory (
      frontend, MEMORY_START, (bench_job_memory (o) * o->queues + 0x1fffff) & ~(gsize) 0x1fffff,
      error);
}

static gboolean
prepare_jobs (VhostFrontend *frontend, BenchOptions *o, BenchJob *jobs, GError **error)
{
  g_auto (GStrv) cpus = opt_cpu != NULL ? g_strsplit (opt_cpu, ",", -1) : NULL;
  guint n_cpus = cpus != NULL ? g_strv_length (cpus) : 0;
  guint64 blocks = o->region / o->block_size / o->queues;

  for (guint i = 0; i < o->queues; i++)
    {
      BenchJob *job = &jobs[i];

      job->options = o;
      job->index = i;
      job->cpu = n_cpus > 0 ? (int) g_ascii_strtoull (cpus[i % n_cpus], NULL, 10) : -1;
      job->first_block = i * blocks;
      job->n_blocks = blocks;
      job->quota
          = o->requests > 0 ? o->requests / o->queues + (i < o->requests % o->queues) : G_MAXUINT64;
      job->queue = vhost_frontend_add_queue (frontend, i, o->queue_size, error);
      if (job->queue == NULL)
        return FALSE;
      if (!bench_job_prepare (job, frontend))
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                       "the front-end's memory is used up at queue %u", i);
          return FALSE;
        }
    }
  return TRUE;
}

static guint64
count_done (BenchJob *jobs, guint n)
{
  guint64 done = 0;

  for (guint i = 0; i < n; i++)
    done += atomic_load_explicit (&jobs[i].done, memory_order_relaxed);
  return done;
}

/* Lets the time pass, a progress line each second; ends early when all requests are made. */
static void
watch (BenchOptions *o, BenchJob *jobs, double seconds)
{
  gboolean progress = isatty (STDOUT_FILENO) && !opt_json && !opt_no_progress;
  gint64 start = g_get_monotonic_time ();
  gint64 next = start + G_USEC_PER_SEC;
  guint64 before = 0;

  while (!atomic_load_explicit (&bench_stop, memory_order_relaxed))
    {
      gint64 now = g_get_monotonic_time ();

      if (o->requests > 0 ? count_done (jobs, o->queues) >= o->requests
                          : now - start >= seconds * G_USEC_PER_SEC)
        break;
      for (guint i = 0; i < o->queues; i++)
        if (__atomic_load_n (&jobs[i].failure, __ATOMIC_ACQUIRE) != NULL)
          return;
      if (now >= next && progress)
        {
          guint64 done = count_done (jobs, o->queues);

          bench_report_progress (o, done - before, (now - start) / (double) G_USEC_PER_SEC);
          before = done;
          next += G_USEC_PER_SEC;
        }
      g_usleep (o->requests > 0 ? 1000 : 20000);
    }
  if (progress)
    bench_report_progress_end ();
}

static void
run_jobs (BenchOptions *o, BenchJob *jobs, double seconds)
{
  g_autofree GThread **threads = g_new (GThread *, o->queues);

  atomic_store_explicit (&bench_stop, FALSE, memory_order_relaxed);
  for (guint i = 0; i < o->queues; i++)
    threads[i] = g_thread_new ("bench", bench_job_run, &jobs[i]);
  watch (o, jobs, seconds);
  atomic_store_explicit (&bench_stop, TRUE, memory_order_relaxed);
  for (guint i = 0; i < o->queues; i++)
    g_thread_join (threads[i]);
}

static void
warm_up (BenchOptions *o, BenchJob *jobs)
{
  BenchOptions warm = *o;

  warm.verify = FALSE;
  warm.requests = 0;
  if (o->verify || o->requests > 0 || opt_warmup <= 0)
    return; /* what is counted or compared begins from nothing */
  run_jobs (&warm, jobs, opt_warmup);
  for (guint i = 0; i < o->queues; i++)
    {
      latency_histogram_init (&jobs[i].latency);
      jobs[i].reads = jobs[i].writes = jobs[i].errors = 0;
      atomic_store_explicit (&jobs[i].done, 0, memory_order_relaxed);
    }
}

int
verb_bench (int argc, char **argv)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  g_autofree BenchJob *jobs = NULL;
  g_autofree BenchResult *result = g_new0 (BenchResult, 1);
  BenchOptions o = { 0 };
  guint64 cpu_before;
  int status = 0;

  if (!parse_options ("bench",
                      "Measures a vhost-user block back-end. Patterns that write destroy what is "
                      "on the device.",
                      entries, &argc, &argv)
      || !read_options (&o))
    return EXIT_USAGE;
  jobs = g_new0 (BenchJob, o.queues);
  if (!set_up (frontend, argv[1], &o, &error) || !prepare_jobs (frontend, &o, jobs, &error))
    {
      complain ("bench", "%s", error->message);
      return 1;
    }

  signal (SIGINT, on_interrupt);
  warm_up (&o, jobs);
  result->options = &o;
  result->socket = argv[1];
  result->peer_pid = vhost_frontend_get_peer_pid (frontend);
  result->peer_name = process_name (result->peer_pid);
  latency_histogram_init (&result->latency);
  cpu_before = process_cpu_ns (result->peer_pid);
  run_jobs (&o, jobs, o.seconds);
  result->back_cpu_ns = process_cpu_ns (result->peer_pid) - cpu_before;

  for (guint i = 0; i < o.queues; i++)
    {
      BenchJob *job = &jobs[i];

      result->requests += job->reads + job->writes;
      result->errors += job->errors;
      result->mismatches += job->mismatches;
      result->verified += job->verified;
      result->front_cpu_ns += job->cpu_ns;
      result->n_kicks += job->n_kicks;
      result->n_calls += job->n_calls;
      result->seconds = MAX (result->seconds, job->elapsed_ns / 1e9);
      latency_histogram_merge (&result->latency, &job->latency);
      if (job->failure != NULL)
        {
          complain ("bench", "%s", job->failure);
          status = 1;
        }
    }
  if (opt_json)
    bench_report_json (result);
  else
    bench_report_text (result);
  if (result->errors > 0 || result->mismatches > 0)
    status = 1;
  for (guint i = 0; i < o.queues; i++)
    {
      if (status == 0)
        vhost_frontend_stop_queue (frontend, i, NULL, NULL);
      bench_job_clear (&jobs[i]);
    }
  g_free (result->peer_name);
  return status;
}
