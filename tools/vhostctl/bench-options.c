/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What bench can be told. Checks each number by itself; whether the device can do it is not known
 * here. */
#include "bench.h"

#include "vhostctl.h"

#include <sched.h>
#include <string.h>

#define MAX_BLOCK_SIZE (G_GUINT64_CONSTANT (1) << 30)
#define MAX_RING_SIZE 32768
#define MAX_QUEUES 256
#define MAX_SECONDS 31536000

#define DEFAULT_SECONDS 5

static const char *const mode_names[] = {
  [BENCH_RANDREAD] = "randread", [BENCH_RANDWRITE] = "randwrite", [BENCH_READ] = "read",
  [BENCH_WRITE] = "write",       [BENCH_MIXED] = "mixed",
};

static char *opt_rw;
static char *opt_block_size;
static char *opt_requests;
static char *opt_offset;
static char *opt_size;
static char *opt_cpu;
static char *opt_seed;
static int opt_mix = -1;
static int opt_depth = 32;
static int opt_queues = 1;
static int opt_queue_size = 256;
static double opt_time;
static double opt_warmup;
static gboolean opt_busy;
static gboolean opt_sleep;
static gboolean opt_indirect;
static gboolean opt_packed;
static gboolean opt_in_order;
static gboolean opt_tracked;
static gboolean opt_dirty_log;
static gboolean opt_verify;
static int opt_poll;
static gboolean opt_json;
static gboolean opt_no_progress;

static const GOptionEntry entries[] = {
  { "rw", 0, 0, G_OPTION_ARG_STRING, &opt_rw,
    "randread, randwrite, read, write (in order) or mixed (default: randread; all that write "
    "destroy data)",
    "MODE" },
  { "mix", 0, 0, G_OPTION_ARG_INT, &opt_mix, "Share of reads in mixed (default: 70)", "PERCENT" },
  { "block-size", 0, 0, G_OPTION_ARG_STRING, &opt_block_size, "Bytes per request (default: 4K)",
    "BYTES" },
  { "depth", 0, 0, G_OPTION_ARG_INT, &opt_depth, "Requests in flight in each queue (default: 32)",
    "N" },
  { "queues", 0, 0, G_OPTION_ARG_INT, &opt_queues, "Queues, each with a thread (default: 1)", "N" },
  { "queue-size", 0, 0, G_OPTION_ARG_INT, &opt_queue_size, "Entries of a ring (default: 256)",
    "N" },
  { "time", 0, 0, G_OPTION_ARG_DOUBLE, &opt_time,
    "How long to measure (default: 5, with --requests no limit)", "SECONDS" },
  { "requests", 0, 0, G_OPTION_ARG_STRING, &opt_requests, "How many requests to measure", "N" },
  { "warmup", 0, 0, G_OPTION_ARG_DOUBLE, &opt_warmup, "Load before measuring (default: 0)",
    "SECONDS" },
  { "offset", 0, 0, G_OPTION_ARG_STRING, &opt_offset, "First byte to touch (default: 0)", "BYTES" },
  { "size", 0, 0, G_OPTION_ARG_STRING, &opt_size,
    "Size of the region to touch (default: up to the end)", "BYTES" },
  { "busy", 0, 0, G_OPTION_ARG_NONE, &opt_busy, "Poll the used ring, without sleep", NULL },
  { "sleep", 0, 0, G_OPTION_ARG_NONE, &opt_sleep, "Sleep until the device calls (default)", NULL },
  { "poll", 0, 0, G_OPTION_ARG_INT, &opt_poll,
    "Look so long before sleeping, as a virtual CPU under KVM does (default: 0)", "US" },
  { "indirect", 0, 0, G_OPTION_ARG_NONE, &opt_indirect, "Use indirect descriptors", NULL },
  { "packed", 0, 0, G_OPTION_ARG_NONE, &opt_packed, "Use packed rings", NULL },
  { "in-order", 0, 0, G_OPTION_ARG_NONE, &opt_in_order,
    "Let the device use buffers in the order they came", NULL },
  { "tracked", 0, 0, G_OPTION_ARG_NONE, &opt_tracked,
    "Have requests in flight tracked, for crash recovery", NULL },
  { "dirty-log", 0, 0, G_OPTION_ARG_NONE, &opt_dirty_log,
    "Have writes to memory logged, as during a migration", NULL },
  { "verify", 0, 0, G_OPTION_ARG_NONE, &opt_verify,
    "Write patterns, read all of them back and compare (default mode: mixed; destroys data)",
    NULL },
  { "cpu", 0, 0, G_OPTION_ARG_STRING, &opt_cpu, "CPUs of the threads, such as 0,2-3 (default: any)",
    "LIST" },
  { "seed", 0, 0, G_OPTION_ARG_STRING, &opt_seed,
    "Of offsets and patterns, to repeat a run (default: random)", "N" },
  { "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL },
  { "no-progress", 0, 0, G_OPTION_ARG_NONE, &opt_no_progress, "Show no progress", NULL },
  G_OPTION_ENTRY_NULL,
};

const char *
bench_mode_name (BenchMode mode)
{
  return mode_names[mode];
}

#define complain(...) vhostctl_complain ("bench", __VA_ARGS__)

static gboolean
parse_mode (BenchOptions *self)
{
  if (opt_rw == NULL)
    {
      self->mode = opt_verify ? BENCH_MIXED : BENCH_RANDREAD;
      return TRUE;
    }
  for (guint i = 0; i < G_N_ELEMENTS (mode_names); i++)
    {
      if (strcmp (opt_rw, mode_names[i]) == 0)
        {
          self->mode = i;
          return TRUE;
        }
    }
  complain ("--rw=%s: it is randread, randwrite, read, write or mixed", opt_rw);
  return FALSE;
}

/* @text (nullable): the default stays. */
static gboolean
parse_bytes (const char *option, const char *text, guint64 *value)
{
  if (text == NULL || vhostctl_parse_size (text, value))
    return TRUE;
  complain ("%s=%s: a number is wanted, with K, M, G or T if you like", option, text);
  return FALSE;
}

static gboolean
check_range (const char *option, gint64 value, gint64 min, gint64 max)
{
  if (value >= min && value <= max)
    return TRUE;
  complain ("%s=%" G_GINT64_FORMAT ": it is %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, option,
            value, min, max);
  return FALSE;
}

static gboolean
parse_seconds (const char *option, double seconds, guint64 *ns)
{
  /* A NaN fails this too. */
  if (!(seconds >= 0 && seconds <= MAX_SECONDS))
    {
      complain ("%s=%g: it is 0 to %d seconds", option, seconds, MAX_SECONDS);
      return FALSE;
    }
  *ns = (guint64) (seconds * 1e9);
  return TRUE;
}

static gboolean
parse_cpu_number (const char **text, guint *cpu)
{
  guint number = 0;

  if (!g_ascii_isdigit (**text))
    return FALSE;
  while (g_ascii_isdigit (**text))
    {
      number = number * 10 + (guint) (**text - '0');
      if (number >= CPU_SETSIZE)
        return FALSE;
      (*text)++;
    }
  *cpu = number;
  return TRUE;
}

static gboolean
parse_cpus (BenchOptions *self)
{
  const char *p = opt_cpu;

  while (p != NULL)
    {
      guint first, last;

      if (!parse_cpu_number (&p, &first))
        break;
      last = first;
      if (*p == '-')
        {
          p++;
          if (!parse_cpu_number (&p, &last) || last < first)
            break;
        }
      for (guint cpu = first; cpu <= last; cpu++)
        g_array_append_val (self->cpus, cpu);
      if (*p == '\0')
        return TRUE;
      if (*p++ != ',')
        break;
    }
  if (opt_cpu == NULL)
    return TRUE;
  complain ("--cpu=%s: a list is wanted, such as 0,2-3; CPUs are numbered 0 to %d", opt_cpu,
            CPU_SETSIZE - 1);
  return FALSE;
}

static gboolean
check_block_size (const BenchOptions *self)
{
  if (self->block_size >= 512 && self->block_size % 512 == 0 && self->block_size <= MAX_BLOCK_SIZE)
    return TRUE;
  complain ("--block-size=%" G_GUINT64_FORMAT ": it is a multiple of 512, at most 1G",
            self->block_size);
  return FALSE;
}

static gboolean
check_combinations (const BenchOptions *self)
{
  if (opt_busy && opt_sleep)
    {
      complain ("--busy and --sleep exclude each other");
      return FALSE;
    }
  if (opt_busy && opt_poll > 0)
    {
      complain ("--poll is for a front-end that sleeps, not for --busy");
      return FALSE;
    }
  if (opt_mix >= 0 && self->mode != BENCH_MIXED)
    {
      complain ("--mix is for --rw=mixed");
      return FALSE;
    }
  if (self->verify && (self->mode == BENCH_READ || self->mode == BENCH_RANDREAD))
    {
      complain ("--verify compares what this run has written: add --rw=write, randwrite or mixed "
                "(they destroy data)");
      return FALSE;
    }
  if (self->n_requests > 0 && self->n_requests < self->n_queues)
    {
      complain ("--requests=%" G_GUINT64_FORMAT " leaves some of the %u queues without work",
                self->n_requests, self->n_queues);
      return FALSE;
    }
  return TRUE;
}

gboolean
bench_options_parse (BenchOptions *self, int argc, char **argv)
{
  memset (self, 0, sizeof *self);
  self->cpus = g_array_new (FALSE, FALSE, sizeof (guint));
  self->block_size = 4096;
  self->seed = (guint64) g_random_int () << 32 | g_random_int ();

  if (!vhostctl_parse_options ("bench",
                               "Loads the disk behind a socket, and tells how fast it was.\n"
                               "Reads only, unless --rw says otherwise.",
                               entries, &argc, &argv))
    return FALSE;
  self->socket_path = g_strdup (argv[1]);

  if (!parse_mode (self) || !parse_bytes ("--block-size", opt_block_size, &self->block_size)
      || !parse_bytes ("--requests", opt_requests, &self->n_requests)
      || !parse_bytes ("--offset", opt_offset, &self->offset)
      || !parse_bytes ("--size", opt_size, &self->size)
      || !parse_bytes ("--seed", opt_seed, &self->seed)
      || !parse_seconds ("--time", opt_time, &self->duration_ns)
      || !parse_seconds ("--warmup", opt_warmup, &self->warmup_ns)
      || !check_range ("--depth", opt_depth, 1, MAX_RING_SIZE)
      || !check_range ("--queues", opt_queues, 1, MAX_QUEUES)
      || !check_range ("--queue-size", opt_queue_size, 1, MAX_RING_SIZE)
      || !check_range ("--poll", opt_poll, 0, G_USEC_PER_SEC)
      || (opt_mix >= 0 && !check_range ("--mix", opt_mix, 0, 100)) || !check_block_size (self)
      || !parse_cpus (self))
    return FALSE;
  if (opt_requests != NULL && self->n_requests == 0)
    {
      complain ("--requests=0 leaves nothing to do");
      return FALSE;
    }
  if (!opt_packed && (opt_queue_size & (opt_queue_size - 1)) != 0)
    {
      complain ("--queue-size=%d: it is a power of 2 without --packed", opt_queue_size);
      return FALSE;
    }

  self->read_percent = opt_mix >= 0 ? (guint) opt_mix : 70;
  self->depth = (guint) opt_depth;
  self->n_queues = (guint) opt_queues;
  self->queue_size = (guint) opt_queue_size;
  if (self->duration_ns == 0 && self->n_requests == 0)
    self->duration_ns = DEFAULT_SECONDS * G_GUINT64_CONSTANT (1000000000);
  self->busy = opt_busy;
  self->poll_ns = (guint64) opt_poll * 1000;
  self->indirect = opt_indirect;
  self->packed = opt_packed;
  self->in_order = opt_in_order;
  self->tracked = opt_tracked;
  self->dirty_log = opt_dirty_log;
  self->verify = opt_verify;
  self->json = opt_json;
  self->progress = !opt_no_progress;
  return check_combinations (self);
}

void
bench_options_clear (BenchOptions *self)
{
  g_clear_pointer (&self->socket_path, g_free);
  g_clear_pointer (&self->cpus, g_array_unref);
}
