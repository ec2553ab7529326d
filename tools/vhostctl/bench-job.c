/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The load of one queue, on a thread of its own. Must be cheap: it shares the machine with the
 * back-end it measures. Nothing is allocated, locked or logged while it runs.
 *
 * How it works: all requests exist from the beginning, with header, data and status in guest
 * memory. A round takes what is idle, fills it in, makes it available with one kick, and reaps all
 * that is used; when nothing is, it sleeps until the device calls, or looks again. The clock is
 * read once when a batch is submitted and once when one was reaped, before its data are looked at.
 *
 * Each queue has a slice of the disk's region for itself. With --verify it remembers, for each
 * block of the slice, how often it was written (the generation, from which the pattern follows) and
 * whether a request is under way: two at once on one block would leave its content open. */
#include "bench.h"

#include "bench-pattern.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define LINE 64
/* Longer than a disk may take for anything. */
#define PATIENCE_NS (20 * G_GUINT64_CONSTANT (1000000000))
#define WAIT_MS 100
#define SPINS_PER_LOOK 4096

#define NO_STATUS 0xff
#define PUBLISH_EVERY 4
#define UNDER_WAY 0x80000000u
/* The first generation of another round would be taken for no content at all. */
#define MAX_GENERATION (UNDER_WAY - 1)

/* 16 bytes of header and the status behind them, in one cache line: where Linux' driver has them.
 */
typedef struct
{
  struct virtio_blk_outhdr header;
  _Atomic guint8 status;
  guint8 padding[LINE - sizeof (struct virtio_blk_outhdr) - 1];
} BenchFrame;

typedef struct
{
  VhostFrontendBuffer *buffers; /* n_segments + 2 */
  BenchFrame *frame;            /* in guest memory */
  gpointer data;                /* in guest memory */
  guint64 submitted_ns;
  guint64 block;
  guint32 generation; /* of the data written or expected; 0: not known */
  gboolean is_write;
} BenchRequest;

struct _BenchJob
{
  /* Read by the control thread now and then. */
  _Atomic guint64 n_done;

  const BenchOptions *options;
  BenchRun *run;
  VhostFrontendQueue *queue;
  GThread *thread; /* (owned) (nullable) */
  guint index;

  BenchRequest *requests;       /* (owned) */
  VhostFrontendBuffer *buffers; /* (owned) */
  BenchRequest **idle;          /* (owned): a stack */
  guint n_idle;
  guint n_buffers;

  BenchMode mode;
  BenchPhase phase;
  gboolean measuring;
  guint64 n_left; /* to be submitted */
  guint64 random_state;
  guint64 first_sector;
  guint64 n_blocks;
  guint64 next_block;
  guint32 *generations; /* (owned) (nullable): of each block, and UNDER_WAY */

  guint64 start_ns;
  guint64 count_from_ns; /* submission of the first request that counts */
  guint64 start_cpu_ns;
  guint64 start_kicks;
  guint64 start_calls;
  guint64 last_done_ns;
  BenchResult result;
  GError *error; /* (owned) (nullable) */
};

static inline guint64
get_clock (clockid_t clock)
{
  struct timespec time;

  clock_gettime (clock, &time);
  return (guint64) time.tv_sec * 1000000000 + (guint64) time.tv_nsec;
}

static inline guint64
get_random (BenchJob *self)
{
  guint64 x = self->random_state += G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);

  x = (x ^ (x >> 30)) * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * G_GUINT64_CONSTANT (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline guint64
get_next (const BenchJob *self, guint64 block)
{
  return block + 1 == self->n_blocks ? 0 : block + 1;
}

/* FALSE: there is no block left to read back. */
static inline gboolean
choose (BenchJob *self, guint64 *block, gboolean *is_write)
{
  switch (self->mode)
    {
    case BENCH_READ:
    case BENCH_WRITE:
      *block = self->next_block;
      self->next_block = get_next (self, *block);
      *is_write = self->mode == BENCH_WRITE;
      break;
    case BENCH_READ_BACK:
      while (self->next_block < self->n_blocks && self->generations[self->next_block] == 0)
        self->next_block++;
      if (self->next_block == self->n_blocks)
        return FALSE;
      *block = self->next_block++;
      *is_write = FALSE;
      return TRUE;
    case BENCH_RANDREAD:
    case BENCH_RANDWRITE:
    case BENCH_MIXED:
    default:
      /* The high half of the product: as even as a remainder, and no division. */
      *block = (guint64) (((unsigned __int128) get_random (self) * self->n_blocks) >> 64);
      *is_write = self->mode == BENCH_RANDWRITE
                  || (self->mode == BENCH_MIXED
                      && get_random (self) % 100 >= self->options->read_percent);
    }
  /* There are at least as many blocks as requests, and this one is idle. */
  if (self->generations != NULL)
    {
      while ((self->generations[*block] & UNDER_WAY) != 0)
        *block = get_next (self, *block);
    }
  return TRUE;
}

static inline guint64
get_offset (const BenchJob *self, guint64 block)
{
  return self->first_sector * 512 + block * self->options->block_size;
}

static void
prepare_content (BenchJob *self, BenchRequest *request)
{
  const guint32 generation = self->generations[request->block];

  self->generations[request->block] = generation | UNDER_WAY;
  request->generation = generation;
  if (request->is_write)
    {
      request->generation = generation == MAX_GENERATION ? 1 : generation + 1;
      bench_pattern_fill (request->data, self->options->block_size, self->options->seed,
                          get_offset (self, request->block), request->generation);
    }
  else if (generation != 0)
    bench_pattern_spoil (request->data, self->options->block_size);
}

static inline gboolean
submit (BenchJob *self, BenchRequest *request, guint64 now)
{
  BenchFrame *frame = request->frame;

  if (!choose (self, &request->block, &request->is_write))
    {
      self->n_left = 0;
      return FALSE;
    }
  if (self->generations != NULL)
    prepare_content (self, request);
  frame->header.type = GUINT32_TO_LE (request->is_write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
  frame->header.sector = GUINT64_TO_LE (get_offset (self, request->block) / 512);
  atomic_store_explicit (&frame->status, NO_STATUS, memory_order_relaxed);
  for (guint i = 1; i + 1 < self->n_buffers; i++)
    request->buffers[i].writable = !request->is_write;
  if (G_UNLIKELY (!vhost_frontend_queue_add (self->queue, request->buffers, self->n_buffers,
                                             self->options->indirect, request)))
    {
      self->error = g_error_new (VHOST_ERROR, VHOST_ERROR_FAILED,
                                 "queue %u has no room for a request of %u pieces", self->index,
                                 self->n_buffers);
      return FALSE;
    }
  /* A device that polls begins with these while others are added. */
  if (self->n_idle % PUBLISH_EVERY == 0)
    vhost_frontend_queue_publish (self->queue);
  request->submitted_ns = now;
  self->n_left--;
  return TRUE;
}

static inline void
submit_idle (BenchJob *self)
{
  const guint before = self->n_idle;
  guint64 now;

  if (before == 0 || self->n_left == 0)
    return;
  now = get_clock (CLOCK_MONOTONIC);
  while (self->n_idle > 0 && self->n_left > 0 && submit (self, self->idle[self->n_idle - 1], now))
    self->n_idle--;
  if (self->n_idle < before)
    vhost_frontend_queue_kick (self->queue);
}

static void
note_error (BenchJob *self, const BenchRequest *request, guint8 status)
{
  BenchErrorKind kind = BENCH_ERROR_OTHER;
  const char *name = "a status that does not exist";

  if (status == VIRTIO_BLK_S_IOERR)
    {
      kind = BENCH_ERROR_IO;
      name = "IOERR";
    }
  else if (status == VIRTIO_BLK_S_UNSUPP)
    {
      kind = BENCH_ERROR_UNSUPPORTED;
      name = "UNSUPP";
    }
  else if (status == NO_STATUS)
    {
      kind = BENCH_ERROR_NO_STATUS;
      name = "none was written";
    }
  self->result.n_errors[kind]++;
  if (self->result.first_error == NULL)
    self->result.first_error = g_strdup_printf (
        "queue %u: %s of %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
        ": status %u (%s)",
        self->index, request->is_write ? "write" : "read", self->options->block_size,
        get_offset (self, request->block), status, name);
}

static void
check_content (BenchJob *self, BenchRequest *request, gboolean succeeded)
{
  const guint64 offset = get_offset (self, request->block);
  const gsize size = self->options->block_size;

  /* After a write that failed the block may hold anything. */
  self->generations[request->block] = request->is_write && !succeeded ? 0 : request->generation;
  if (request->is_write || !succeeded || request->generation == 0)
    return;
  self->result.n_verified++;
  if (bench_pattern_check (request->data, size, self->options->seed, offset, request->generation))
    return;
  self->result.n_mismatches++;
  if (self->result.mismatches->len < BENCH_MAX_NAMED_MISMATCHES)
    {
      g_autofree char *what = bench_pattern_explain (request->data, size, self->options->seed,
                                                     offset, request->generation);

      g_ptr_array_add (self->result.mismatches,
                       g_strdup_printf ("block at offset %" G_GUINT64_FORMAT ": %s", offset, what));
    }
}

static inline void
complete (BenchJob *self, BenchRequest *request, guint64 now)
{
  const guint8 status = atomic_load_explicit (&request->frame->status, memory_order_relaxed);

  if (G_UNLIKELY (status != VIRTIO_BLK_S_OK))
    note_error (self, request, status);
  else if (self->measuring && request->submitted_ns >= self->count_from_ns)
    {
      latency_histogram_add (&self->result.latency, now - request->submitted_ns);
      if (request->is_write)
        self->result.n_writes++;
      else
        self->result.n_reads++;
    }
  if (self->generations != NULL)
    check_content (self, request, status == VIRTIO_BLK_S_OK);
}

/* FALSE: nothing was used. */
static inline gboolean
reap (BenchJob *self)
{
  const guint before = self->n_idle;
  gpointer token;

  while (self->n_idle < self->options->depth
         && vhost_frontend_queue_poll (self->queue, &token, NULL))
    self->idle[self->n_idle++] = token;
  if (self->n_idle == before)
    return FALSE;

  self->last_done_ns = get_clock (CLOCK_MONOTONIC);
  for (guint i = before; i < self->n_idle; i++)
    complete (self, self->idle[i], self->last_done_ns);
  /* Nothing depends on it but a line on the screen. */
  atomic_store_explicit (&self->n_done,
                         atomic_load_explicit (&self->n_done, memory_order_relaxed) + self->n_idle
                             - before,
                         memory_order_relaxed);
  return TRUE;
}

static void
begin_measure (BenchJob *self)
{
  const guint64 n = self->options->n_requests;
  const guint n_queues = self->options->n_queues;

  self->measuring = TRUE;
  self->start_kicks = vhost_frontend_queue_get_n_kicks (self->queue);
  self->start_calls = vhost_frontend_queue_get_n_calls (self->queue);
  self->start_cpu_ns = get_clock (CLOCK_THREAD_CPUTIME_ID);
  self->start_ns = get_clock (CLOCK_MONOTONIC);
  if (n == 0)
    return;
  /* The queues share the number. What the warm-up left in flight is none of it; of a stretch of
   * time it is a part, as what is in flight at the end is not. */
  self->n_left = n / n_queues + (self->index < n % n_queues ? 1 : 0);
  self->count_from_ns = self->start_ns;
}

static void
end_measure (BenchJob *self)
{
  BenchResult *result = &self->result;

  if (!self->measuring)
    return;
  self->measuring = FALSE;
  result->elapsed_ns = get_clock (CLOCK_MONOTONIC) - self->start_ns;
  result->cpu_ns = get_clock (CLOCK_THREAD_CPUTIME_ID) - self->start_cpu_ns;
  result->n_kicks = vhost_frontend_queue_get_n_kicks (self->queue) - self->start_kicks;
  result->n_calls = vhost_frontend_queue_get_n_calls (self->queue) - self->start_calls;
}

static void
enter_phase (BenchJob *self, BenchPhase phase)
{
  self->phase = phase;
  if (phase == BENCH_PHASE_MEASURE)
    begin_measure (self);
  else if (phase > BENCH_PHASE_MEASURE)
    {
      end_measure (self);
      self->n_left = 0;
    }
}

static inline void
relax (void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause ();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Nothing is used yet. FALSE: nothing ever will be, it seems. */
static inline gboolean
wait_for_used (BenchJob *self, guint *n_spins)
{
  if (self->options->busy)
    {
      relax ();
      if (++*n_spins % SPINS_PER_LOOK != 0)
        return TRUE;
    }
  else if (self->options->poll_ns > 0
           && get_clock (CLOCK_MONOTONIC) - self->last_done_ns < self->options->poll_ns)
    {
      relax ();
      return TRUE;
    }
  else if (vhost_frontend_queue_wait (self->queue, WAIT_MS))
    return TRUE;
  if (get_clock (CLOCK_MONOTONIC) - self->last_done_ns < PATIENCE_NS)
    return TRUE;
  self->error = g_error_new (
      VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
      "queue %u: no answer to any of %u requests for %u seconds; the back-end hangs, or a kick or "
      "call was lost",
      self->index, self->options->depth - self->n_idle, (guint) (PATIENCE_NS / 1000000000));
  return FALSE;
}

static void
run_load (BenchJob *self)
{
  guint n_spins = 0;

  self->last_done_ns = get_clock (CLOCK_MONOTONIC);
  while (self->error == NULL)
    {
      /* Partner: the control thread's release store. */
      const BenchPhase phase = atomic_load_explicit (&self->run->phase, memory_order_acquire);

      if (G_UNLIKELY (phase != self->phase))
        enter_phase (self, phase);
      if (phase == BENCH_PHASE_ABANDON)
        return;
      submit_idle (self);
      if (self->n_idle == self->options->depth)
        return;
      if (!reap (self) && !wait_for_used (self, &n_spins))
        return;
    }
}

static gboolean
pin (BenchJob *self)
{
  cpu_set_t set;
  guint cpu;
  int code;

  if (self->options->cpus->len == 0)
    return TRUE;
  cpu = g_array_index (self->options->cpus, guint, self->index % self->options->cpus->len);
  CPU_ZERO (&set);
  CPU_SET (cpu, &set);
  code = pthread_setaffinity_np (pthread_self (), sizeof set, &set);
  if (code == 0)
    return TRUE;
  self->error = g_error_new (VHOST_ERROR, VHOST_ERROR_INVALID,
                             "cannot pin queue %u's thread to CPU %u: %s; "
                             "/sys/devices/system/cpu/online names those there are",
                             self->index, cpu, g_strerror (code));
  return FALSE;
}

/* Thread: the job's own. */
static gpointer
run_thread (gpointer data)
{
  BenchJob *self = data;
  const guint64 one = 1;

  vhost_frontend_queue_set_calls_enabled (self->queue, !self->options->busy);
  if (pin (self))
    run_load (self);
  end_measure (self);
  self->result.n_bad_used = vhost_frontend_queue_get_bad_used (self->queue);

  /* Partner: the control thread's acquire loads; it joins this thread before it looks closer. */
  if (self->error != NULL)
    atomic_fetch_add_explicit (&self->run->n_failed, 1, memory_order_release);
  atomic_fetch_sub_explicit (&self->run->n_running, 1, memory_order_release);
  if (write (self->run->done_fd, &one, sizeof one) < 0)
    g_debug ("cannot write the end of queue %u: %s", self->index, g_strerror (errno));
  return NULL;
}

static gboolean
make_requests (BenchJob *self, const BenchDevice *device, GError **error)
{
  const guint depth = self->options->depth;
  const guint64 block_size = self->options->block_size;
  VhostFrontend *frontend = device->frontend;

  self->n_buffers = device->n_segments + 2;
  self->requests = g_new0 (BenchRequest, depth);
  self->buffers = g_new0 (VhostFrontendBuffer, (gsize) depth * self->n_buffers);
  self->idle = g_new0 (BenchRequest *, depth);
  for (guint i = 0; i < depth; i++)
    {
      BenchRequest *request = &self->requests[i];
      const guint64 frame = vhost_frontend_allocate (frontend, sizeof (BenchFrame), LINE);
      const guint64 data = vhost_frontend_allocate (frontend, block_size, PAGE);
      guint64 *words;

      if (frame == 0 || data == 0)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                       "no guest memory is left for request %u of queue %u", i, self->index);
          return FALSE;
        }
      request->frame = vhost_frontend_get_memory (frontend, frame, sizeof (BenchFrame));
      request->data = vhost_frontend_get_memory (frontend, data, block_size);
      request->buffers = self->buffers + (gsize) i * self->n_buffers;
      request->buffers[0] = (VhostFrontendBuffer){ frame, sizeof request->frame->header, FALSE };
      for (guint n = 0; n < device->n_segments; n++)
        {
          const guint64 at = (guint64) n * device->segment_size;

          request->buffers[1 + n].address = data + at;
          request->buffers[1 + n].length = (guint32) MIN (device->segment_size, block_size - at);
        }
      request->buffers[self->n_buffers - 1]
          = (VhostFrontendBuffer){ frame + G_STRUCT_OFFSET (BenchFrame, status), 1, TRUE };
      /* Touches the pages before the clock runs, and leaves nothing that a disk might compress. */
      words = request->data;
      for (guint64 n = 0; n < block_size / sizeof *words; n++)
        words[n] = get_random (self);
      self->idle[self->n_idle++] = request;
    }
  return TRUE;
}

BenchJob *
bench_job_new (const BenchOptions *options, const BenchDevice *device, BenchRun *run, guint index,
               GError **error)
{
  const guint64 slice = device->n_blocks / options->n_queues;
  BenchJob *self = g_new0 (BenchJob, 1);

  self->options = options;
  self->run = run;
  self->index = index;
  self->mode = options->mode;
  self->phase = BENCH_PHASE_WARMUP;
  self->n_left = G_MAXUINT64;
  self->random_state = options->seed + index * G_GUINT64_CONSTANT (0xd1342543de82ef95);
  self->n_blocks = slice;
  self->first_sector = device->first_sector + index * slice * (options->block_size / 512);
  bench_result_init (&self->result);

  if (options->verify)
    {
      /* Zeroed pages that the kernel makes when they are touched: a large disk costs little. */
      self->generations = g_try_new0 (guint32, slice);
      if (self->generations == NULL)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                       "no memory to remember %" G_GUINT64_FORMAT
                       " blocks for --verify: lower --size or raise --block-size",
                       slice);
          bench_job_free (self);
          return NULL;
        }
    }
  self->queue = vhost_frontend_add_queue (device->frontend, index, options->queue_size, error);
  if (self->queue == NULL || !make_requests (self, device, error))
    {
      bench_job_free (self);
      return NULL;
    }
  return self;
}

void
bench_job_free (BenchJob *self)
{
  bench_job_join (self);
  bench_result_clear (&self->result);
  g_clear_error (&self->error);
  g_free (self->generations);
  g_free (self->requests);
  g_free (self->buffers);
  g_free (self->idle);
  g_free (self);
}

gboolean
bench_job_start (BenchJob *self, GError **error)
{
  g_autofree char *name = g_strdup_printf ("queue-%u", self->index);

  self->thread = g_thread_try_new (name, run_thread, self, error);
  return self->thread != NULL;
}

void
bench_job_join (BenchJob *self)
{
  if (self->thread != NULL)
    g_thread_join (g_steal_pointer (&self->thread));
}

void
bench_job_prepare_read_back (BenchJob *self)
{
  self->mode = BENCH_READ_BACK;
  self->phase = BENCH_PHASE_WARMUP;
  self->n_left = G_MAXUINT64;
  self->next_block = 0;
}

guint64
bench_job_get_n_done (BenchJob *self)
{
  return atomic_load_explicit (&self->n_done, memory_order_relaxed);
}

const BenchResult *
bench_job_get_result (BenchJob *self)
{
  return &self->result;
}

const GError *
bench_job_get_error (BenchJob *self)
{
  return self->error;
}
