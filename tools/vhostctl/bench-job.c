/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One queue's load, in a thread of its own. It shares the machine with the back-end that it
 * measures, so the loop is as cheap as it can be: everything is allocated before, the clock is read
 * once for each batch of completions.
 *
 * How verify works: a block's content is made from the seed, its number and how often it was
 * written (its generation), so any block that was ever written can be checked later, and a lost,
 * torn or misplaced write is seen. No two requests touch one block at the same time. At the end
 * every block that was written is read back. */
#include "config.h"

#include "bench.h"

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define SECTOR 512
#define HEADER_SIZE 16
#define ALIGNMENT 4096
/* A back-end that lets requests lie for so long is taken for dead. */
#define STUCK_MS 10000
#define BUSY_LOOKS 1024 /* between two looks at the stop flag */

struct _BenchRequest
{
  VhostFrontendBuffer buffers[3]; /* header, data, status */
  struct virtio_blk_outhdr *header;
  guint8 *data;
  guint8 *status;
  guint64 block;
  guint64 start_ns;
  gboolean write;
};

_Atomic (gboolean) bench_stop;

static inline guint64
clock_ns (clockid_t clock)
{
  struct timespec now;

  clock_gettime (clock, &now);
  return (guint64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* xorshift64*: enough for choosing blocks. */
static inline guint64
next_random (guint64 *state)
{
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * G_GUINT64_CONSTANT (0x2545f4914f6cdd1d);
}

static void
fill_pattern (const BenchJob *self, guint64 block, guint32 generation, guint64 *words)
{
  guint64 state = self->options->seed * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15)
                  + block * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9) + generation + 1;

  /* The first words say in clear what the block is: a mismatch can then be explained. */
  words[0] = block;
  words[1] = generation;
  for (guint64 i = 2; i < self->options->block_size / 8; i++)
    words[i] = state += G_GUINT64_CONSTANT (0x94d049bb133111eb);
}

static void
check_pattern (BenchJob *self, guint64 block, const guint8 *data)
{
  guint32 generation = self->generations[block - self->first_block];
  g_autofree guint64 *wanted = NULL;
  guint64 found[2];

  if (generation == 0)
    return; /* never written: nothing is known of it */
  wanted = g_malloc (self->options->block_size);
  fill_pattern (self, block, generation, wanted);
  self->verified++;
  if (memcmp (wanted, data, self->options->block_size) == 0)
    return;
  memcpy (found, data, sizeof found);
  if (self->mismatches++ < 5)
    complain (
        "bench",
        "verify: the block at offset %" G_GUINT64_FORMAT " should be number %" G_GUINT64_FORMAT
        ", generation %u; it begins as number %" G_GUINT64_FORMAT ", generation %" G_GUINT64_FORMAT,
        block * self->options->block_size, block, generation, found[0], found[1]);
}

gsize
bench_job_memory (const BenchOptions *options)
{
  gsize data = (options->block_size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

  /* Data, headers and status bytes, the ring, indirect tables; and what alignment costs. */
  return options->depth * (data + ALIGNMENT) + options->queue_size * (26 + 64 * 16) + 64 * 1024;
}

gboolean
bench_job_prepare (BenchJob *self, VhostFrontend *frontend)
{
  const BenchOptions *o = self->options;

  self->random = o->seed * 2654435761u + self->index * 40503u + 1;
  self->requests = g_new0 (BenchRequest, o->depth);
  latency_histogram_init (&self->latency);
  if (o->verify)
    {
      self->generations = g_new0 (guint32, self->n_blocks);
      self->busy_blocks = g_new0 (guint8, self->n_blocks);
    }
  for (guint i = 0; i < o->depth; i++)
    {
      BenchRequest *r = &self->requests[i];
      /* Header and status apart from each other by a cache line: that is how drivers lay them out.
       */
      guint64 small = vhost_frontend_allocate (frontend, 128, 64);
      guint64 data = vhost_frontend_allocate (frontend, o->block_size, ALIGNMENT);

      if (small == 0 || data == 0)
        return FALSE;
      r->buffers[0] = (VhostFrontendBuffer){ small, HEADER_SIZE, FALSE };
      r->buffers[1] = (VhostFrontendBuffer){ data, o->block_size, TRUE };
      r->buffers[2] = (VhostFrontendBuffer){ small + 64, 1, TRUE };
      r->header = vhost_frontend_get_memory (frontend, small, HEADER_SIZE);
      r->data = vhost_frontend_get_memory (frontend, data, o->block_size);
      r->status = vhost_frontend_get_memory (frontend, small + 64, 1);
      memset (r->data, 0, o->block_size);
    }
  return TRUE;
}

void
bench_job_clear (BenchJob *self)
{
  g_free (self->requests);
  g_free (self->generations);
  g_free (self->busy_blocks);
  g_free (self->failure);
}

static void
submit (BenchJob *self, BenchRequest *r, guint64 now)
{
  r->header->type = r->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
  r->header->ioprio = 0;
  r->header->sector = r->block * (self->options->block_size / SECTOR);
  r->buffers[1].writable = !r->write;
  *r->status = 0xff;
  r->start_ns = now;
  vhost_frontend_queue_add (self->queue, r->buffers, 3, self->options->indirect, r);
  vhost_frontend_queue_publish (self->queue);
  self->in_flight++;
}

static guint64
choose_block (BenchJob *self)
{
  const BenchOptions *o = self->options;
  guint64 block;

  do
    if (o->pattern == BENCH_READ || o->pattern == BENCH_WRITE)
      {
        block = self->next_block;
        self->next_block = (self->next_block + 1) % self->n_blocks;
      }
    else
      block = next_random (&self->random) % self->n_blocks;
  while (self->busy_blocks != NULL && self->busy_blocks[block]);
  if (self->busy_blocks != NULL)
    self->busy_blocks[block] = 1;
  return self->first_block + block;
}

static void
submit_next (BenchJob *self, BenchRequest *r, guint64 now)
{
  const BenchOptions *o = self->options;

  r->block = choose_block (self);
  switch (o->pattern)
    {
    case BENCH_RANDWRITE:
    case BENCH_WRITE:
      r->write = TRUE;
      break;
    case BENCH_MIXED:
      r->write = next_random (&self->random) % 100 >= o->read_percent;
      break;
    case BENCH_RANDREAD:
    case BENCH_READ:
    default:
      r->write = FALSE;
    }
  if (r->write && self->generations != NULL)
    fill_pattern (self, r->block, ++self->generations[r->block - self->first_block],
                  (guint64 *) (gpointer) r->data);
  submit (self, r, now);
  if (self->quota != G_MAXUINT64)
    self->quota--;
}

/* Status and content. */
static void
finish (BenchJob *self, BenchRequest *r, guint64 now)
{
  self->in_flight--;
  latency_histogram_add (&self->latency, now - r->start_ns);
  if (r->write)
    self->writes++;
  else
    self->reads++;
  if (G_UNLIKELY (*r->status != VIRTIO_BLK_S_OK))
    {
      if (self->errors++ < 5)
        complain ("bench",
                  "the device answered %s at offset %" G_GUINT64_FORMAT " with status %u (%s)",
                  r->write ? "a write" : "a read", r->block * self->options->block_size, *r->status,
                  *r->status == VIRTIO_BLK_S_IOERR    ? "I/O error"
                  : *r->status == VIRTIO_BLK_S_UNSUPP ? "not supported"
                                                      : "no status was written");
    }
  else if (self->generations != NULL && !r->write)
    check_pattern (self, r->block, r->data);
  if (self->busy_blocks != NULL)
    self->busy_blocks[r->block - self->first_block] = 0;
}

/* Reaps what is used; @next makes the request's next use, or nothing. Returns how many ended. */
static guint
reap (BenchJob *self, void (*next) (BenchJob *self, BenchRequest *r, guint64 now))
{
  gpointer token;
  guint32 length;
  guint64 now = 0;
  guint n = 0;

  while (vhost_frontend_queue_poll (self->queue, &token, &length))
    {
      if (n++ == 0)
        now = clock_ns (CLOCK_MONOTONIC);
      finish (self, token, now);
      if (next != NULL)
        next (self, token, now);
    }
  if (n > 0)
    {
      vhost_frontend_queue_kick (self->queue);
      atomic_store_explicit (&self->done, self->reads + self->writes, memory_order_relaxed);
    }
  return n;
}

/* Waits for used buffers in the way that was asked for. FALSE: the back-end is stuck. */
static gboolean
wait_for_used (BenchJob *self, guint64 *idle_since)
{
  const BenchOptions *o = self->options;
  guint64 now = clock_ns (CLOCK_MONOTONIC);

  if (*idle_since == 0)
    *idle_since = now;
  if (now - *idle_since > STUCK_MS * G_GUINT64_CONSTANT (1000000))
    {
      self->failure = g_strdup_printf (
          "queue %u: %u requests have had no answer for %d s; the back-end is stuck or "
          "its ring is broken (see its log)",
          self->index, self->in_flight, STUCK_MS / 1000);
      return FALSE;
    }
  if (!o->busy)
    vhost_frontend_queue_wait (self->queue, 100);
  return TRUE;
}

static void
next_or_nothing (BenchJob *self, BenchRequest *r, guint64 now)
{
  if (self->quota > 0 && !atomic_load_explicit (&bench_stop, memory_order_relaxed))
    submit_next (self, r, now);
}

static gboolean
look_a_while (BenchJob *self)
{
  const BenchOptions *o = self->options;
  guint64 until;

  if (o->busy)
    {
      for (guint i = 0; i < BUSY_LOOKS; i++)
        if (reap (self, next_or_nothing) > 0)
          return TRUE;
      return FALSE;
    }
  if (o->poll_us == 0)
    return FALSE;
  until = clock_ns (CLOCK_MONOTONIC) + o->poll_us * 1000;
  do
    if (reap (self, next_or_nothing) > 0)
      return TRUE;
  while (clock_ns (CLOCK_MONOTONIC) < until);
  return FALSE;
}

static gboolean
run_load (BenchJob *self)
{
  guint64 start = clock_ns (CLOCK_MONOTONIC);
  guint64 idle_since = 0;

  for (guint i = 0; i < self->options->depth && self->quota > 0; i++)
    submit_next (self, &self->requests[i], start);
  vhost_frontend_queue_kick (self->queue);
  while (self->in_flight > 0)
    if (reap (self, next_or_nothing) > 0 || look_a_while (self))
      idle_since = 0;
    else if (!wait_for_used (self, &idle_since))
      return FALSE;
  self->elapsed_ns = clock_ns (CLOCK_MONOTONIC) - start;
  return TRUE;
}

/* ---- verify: read back what was written */

static gboolean
next_written (BenchJob *self, guint64 *block)
{
  while (self->next_block < self->n_blocks)
    if (self->generations[self->next_block++] != 0)
      {
        *block = self->first_block + self->next_block - 1;
        return TRUE;
      }
  return FALSE;
}

static void
read_back (BenchJob *self, BenchRequest *r, guint64 now)
{
  r->write = FALSE;
  if (next_written (self, &r->block))
    submit (self, r, now);
}

static gboolean
verify_all (BenchJob *self)
{
  guint64 now = clock_ns (CLOCK_MONOTONIC);
  guint64 idle_since = 0;

  self->next_block = 0;
  for (guint i = 0; i < self->options->depth; i++)
    read_back (self, &self->requests[i], now);
  vhost_frontend_queue_kick (self->queue);
  while (self->in_flight > 0)
    if (reap (self, read_back) > 0)
      idle_since = 0;
    else if (!wait_for_used (self, &idle_since))
      return FALSE;
  return TRUE;
}

gpointer
bench_job_run (gpointer job)
{
  BenchJob *self = job;
  guint64 kicks = vhost_frontend_queue_get_n_kicks (self->queue);
  guint64 calls = vhost_frontend_queue_get_n_calls (self->queue);
  guint64 cpu;
  gboolean ok;

  if (self->cpu >= 0)
    {
      cpu_set_t set;

      CPU_ZERO (&set);
      CPU_SET (self->cpu, &set);
      if (pthread_setaffinity_np (pthread_self (), sizeof set, &set) != 0)
        complain ("bench", "cannot pin to CPU %d; going on without", self->cpu);
    }
  vhost_frontend_queue_set_calls_enabled (self->queue, !self->options->busy);
  cpu = clock_ns (CLOCK_THREAD_CPUTIME_ID);
  ok = run_load (self);
  self->cpu_ns = clock_ns (CLOCK_THREAD_CPUTIME_ID) - cpu;
  self->n_kicks = vhost_frontend_queue_get_n_kicks (self->queue) - kicks;
  self->n_calls = vhost_frontend_queue_get_n_calls (self->queue) - calls;
  if (ok && self->generations != NULL)
    {
      LatencyHistogram measured = self->latency;
      guint64 reads = self->reads;

      verify_all (self);
      self->latency = measured; /* reading back is no part of the figures */
      self->reads = reads;
    }
  return NULL;
}
