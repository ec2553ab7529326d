/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl bench: starts the jobs, watches them, ends them, has the result reported. Must not do
 * anything per request.
 *
 * How it works: the jobs follow a phase that stands in shared memory; this thread sleeps until the
 * next second, the next phase, a signal, the end of a job or the end of the connection. The signals
 * are blocked and read from a descriptor; after the first they are let through, so that a second
 * Ctrl-C ends a program whose back-end does not answer. */
#include "bench.h"

#include "peer.h"
#include "vhostctl.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS G_GUINT64_CONSTANT (1000000000)
#define NEVER G_MAXUINT64

typedef struct
{
  const BenchOptions *options;
  BenchDevice *device;
  BenchRun run;
  GPtrArray *jobs; /* (owned) (element-type BenchJob) */
  int signal_fd;   /* (owned) */
  guint64 peer_cpu_ns;
  guint64 start_peer_cpu_ns;
  gboolean measured;
  gboolean interrupted;
  gboolean disconnected;
} Bench;

static void
bench_clear (Bench *self)
{
  g_clear_pointer (&self->jobs, g_ptr_array_unref);
  if (self->run.done_fd >= 0)
    close (self->run.done_fd);
  if (self->signal_fd >= 0)
    close (self->signal_fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Bench, bench_clear)

static guint64
get_now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (guint64) time.tv_sec * SECOND_NS + (guint64) time.tv_nsec;
}

static void
get_signals (sigset_t *signals)
{
  sigemptyset (signals);
  sigaddset (signals, SIGINT);
  sigaddset (signals, SIGTERM);
}

static gboolean
bench_open_fds (Bench *self, GError **error)
{
  sigset_t signals;

  get_signals (&signals);
  /* Before there is any thread: they inherit it. */
  pthread_sigmask (SIG_BLOCK, &signals, NULL);
  self->signal_fd = signalfd (-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  self->run.done_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (self->signal_fd >= 0 && self->run.done_fd >= 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "cannot make a file descriptor: %s",
               g_strerror (errno));
  return FALSE;
}

static void
set_phase (Bench *self, BenchPhase phase)
{
  /* Partner: the jobs' acquire load in each round. */
  atomic_store_explicit (&self->run.phase, phase, memory_order_release);
}

static BenchPhase
get_phase (Bench *self)
{
  /* Only this thread writes it. */
  return atomic_load_explicit (&self->run.phase, memory_order_relaxed);
}

static void
begin_measure (Bench *self)
{
  if (!peer_get_cpu_ns (self->device->pid, &self->start_peer_cpu_ns))
    self->start_peer_cpu_ns = NEVER;
  set_phase (self, BENCH_PHASE_MEASURE);
}

/* Only the first end counts. */
static void
end_measure (Bench *self)
{
  guint64 ns;

  if (self->measured)
    return;
  self->measured = TRUE;
  if (self->start_peer_cpu_ns != NEVER && peer_get_cpu_ns (self->device->pid, &ns))
    self->peer_cpu_ns = ns - self->start_peer_cpu_ns;
}

static void
drain (Bench *self)
{
  if (get_phase (self) >= BENCH_PHASE_DRAIN)
    return;
  if (get_phase (self) == BENCH_PHASE_MEASURE)
    end_measure (self);
  set_phase (self, BENCH_PHASE_DRAIN);
}

static void
take_signal (Bench *self)
{
  struct signalfd_siginfo info;
  sigset_t signals;

  if (read (self->signal_fd, &info, sizeof info) != sizeof info)
    return;
  self->interrupted = TRUE;
  /* A shell starts what runs in the background with SIGINT ignored. */
  signal (SIGINT, SIG_DFL);
  signal (SIGTERM, SIG_DFL);
  get_signals (&signals);
  pthread_sigmask (SIG_UNBLOCK, &signals, NULL);
  drain (self);
}

static void
take_done (Bench *self)
{
  guint64 n;

  if (read (self->run.done_fd, &n, sizeof n) != sizeof n)
    return;
  /* Partner: the release additions of the jobs. The rest of them would only make the figures of a
   * different load. */
  if (atomic_load_explicit (&self->run.n_failed, memory_order_acquire) > 0)
    set_phase (self, BENCH_PHASE_ABANDON);
}

static guint64
count_done (Bench *self)
{
  guint64 n = 0;

  for (guint i = 0; i < self->jobs->len; i++)
    n += bench_job_get_n_done (g_ptr_array_index (self->jobs, i));
  return n;
}

static guint
get_n_running (Bench *self)
{
  /* Partner: the release subtraction at the end of a job. */
  return atomic_load_explicit (&self->run.n_running, memory_order_acquire);
}

/* Until all jobs have ended. */
static void
watch (Bench *self, const char *what, guint64 warmup_end, guint64 end)
{
  const guint64 start = get_now ();
  guint64 next_line = start + SECOND_NS;
  guint64 last_line = start;
  guint64 last_done = count_done (self);

  while (get_n_running (self) > 0)
    {
      struct pollfd fds[] = {
        { .fd = self->run.done_fd, .events = POLLIN },
        { .fd = self->signal_fd, .events = POLLIN },
        { .fd = self->disconnected ? -1 : vhost_frontend_get_fd (self->device->frontend),
          .events = POLLRDHUP },
      };
      guint64 now = get_now ();
      const guint64 wake = MIN (next_line, MIN (warmup_end, end));

      if (wake > now)
        poll (fds, G_N_ELEMENTS (fds), (int) ((wake - now) / 1000000 + 1));
      now = get_now ();
      if ((fds[0].revents & POLLIN) != 0)
        take_done (self);
      if ((fds[1].revents & POLLIN) != 0)
        take_signal (self);
      if (fds[2].revents != 0)
        {
          self->disconnected = TRUE;
          set_phase (self, BENCH_PHASE_ABANDON);
        }

      if (now >= warmup_end)
        {
          warmup_end = NEVER;
          if (get_phase (self) == BENCH_PHASE_WARMUP)
            begin_measure (self);
        }
      if (now >= end)
        {
          end = NEVER;
          drain (self);
        }
      if (now >= next_line)
        {
          const guint64 done = count_done (self);

          bench_report_progress (self->options, what, (double) (now - start) / 1e9,
                                 (double) (done - last_done) * 1e9 / (double) (now - last_line));
          last_done = done;
          last_line = now;
          next_line = now + SECOND_NS;
        }
    }
  bench_report_progress (self->options, NULL, 0, 0);
}

/* The phase is set. FALSE: a thread could not be started. */
static gboolean
run_jobs (Bench *self, const char *what, guint64 warmup_end, guint64 end, GError **error)
{
  guint n_started = 0;

  atomic_store_explicit (&self->run.n_running, self->jobs->len, memory_order_relaxed);
  while (n_started < self->jobs->len
         && bench_job_start (g_ptr_array_index (self->jobs, n_started), error))
    n_started++;
  if (n_started < self->jobs->len)
    {
      atomic_fetch_sub_explicit (&self->run.n_running, self->jobs->len - n_started,
                                 memory_order_relaxed);
      set_phase (self, BENCH_PHASE_ABANDON);
    }
  watch (self, what, warmup_end, end);
  for (guint i = 0; i < n_started; i++)
    bench_job_join (g_ptr_array_index (self->jobs, i));
  return n_started == self->jobs->len;
}

/* Why the load ended before it should have. */
static gboolean
check_jobs (Bench *self, GError **error)
{
  if (self->disconnected)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "the back-end closed the connection after %" G_GUINT64_FORMAT
                   " requests: look at its log; the figures are of what came before",
                   count_done (self));
      return FALSE;
    }
  for (guint i = 0; i < self->jobs->len; i++)
    {
      const GError *job_error = bench_job_get_error (g_ptr_array_index (self->jobs, i));

      if (job_error != NULL)
        {
          if (error != NULL)
            *error = g_error_copy (job_error);
          return FALSE;
        }
    }
  return TRUE;
}

static gboolean
run_load (Bench *self, GError **error)
{
  const BenchOptions *options = self->options;
  const guint64 now = get_now ();
  const guint64 measure = now + options->warmup_ns;

  if (options->warmup_ns > 0)
    set_phase (self, BENCH_PHASE_WARMUP);
  else
    begin_measure (self);
  if (!run_jobs (self, bench_mode_name (options->mode), options->warmup_ns > 0 ? measure : NEVER,
                 options->duration_ns > 0 ? measure + options->duration_ns : NEVER, error))
    return FALSE;
  if (get_phase (self) >= BENCH_PHASE_MEASURE)
    end_measure (self);
  return check_jobs (self, error);
}

static gboolean
read_back (Bench *self, GError **error)
{
  for (guint i = 0; i < self->jobs->len; i++)
    bench_job_prepare_read_back (g_ptr_array_index (self->jobs, i));
  set_phase (self, BENCH_PHASE_WARMUP);
  return run_jobs (self, "read back", NEVER, NEVER, error) && check_jobs (self, error);
}

static gboolean
make_jobs (Bench *self, GError **error)
{
  for (guint i = 0; i < self->options->n_queues; i++)
    {
      BenchJob *job = bench_job_new (self->options, self->device, &self->run, i, error);

      if (job == NULL)
        return FALSE;
      g_ptr_array_add (self->jobs, job);
    }
  return TRUE;
}

/* As a driver leaves: rings first. A back-end that has failed is not asked, it might not answer. */
static void
leave (Bench *self, gboolean failed)
{
  for (guint i = 0; i < self->jobs->len && !failed; i++)
    {
      if (!vhost_frontend_stop_queue (self->device->frontend, i, NULL, NULL))
        break;
    }
  vhost_frontend_close (self->device->frontend);
}

static gboolean
has_problems (const BenchResult *total)
{
  for (guint i = 0; i < BENCH_N_ERRORS; i++)
    {
      if (total->n_errors[i] > 0)
        return TRUE;
    }
  return total->n_bad_used > 0 || total->n_mismatches > 0;
}

int
vhostctl_bench (int argc, char **argv)
{
  g_auto (BenchOptions) options = { 0 };
  g_auto (BenchDevice) device = { 0 };
  g_auto (Bench) bench = {
    .options = &options,
    .device = &device,
    .run.done_fd = -1,
    .signal_fd = -1,
    .peer_cpu_ns = NEVER,
  };
  g_auto (BenchResult) total = { 0 };
  g_autoptr (GError) error = NULL;
  BenchReport report;
  gboolean is_read_back = FALSE;

  bench_result_init (&total);
  bench.jobs = g_ptr_array_new_with_free_func ((GDestroyNotify) bench_job_free);
  if (!bench_options_parse (&options, argc, argv))
    return EXIT_USAGE;
  if (!bench_device_open (&device, &options, &error) || !make_jobs (&bench, &error)
      || !bench_open_fds (&bench, &error))
    {
      vhostctl_complain ("bench", "%s", error->message);
      return EXIT_FAILURE;
    }

  if (run_load (&bench, &error) && options.verify && !bench.interrupted)
    is_read_back = read_back (&bench, &error) && !bench.interrupted;
  leave (&bench, error != NULL);

  for (guint i = 0; i < bench.jobs->len; i++)
    bench_result_merge (&total, bench_job_get_result (g_ptr_array_index (bench.jobs, i)));
  report = (BenchReport){
    .options = &options,
    .device = &device,
    .total = &total,
    .jobs = bench.jobs,
    .peer_cpu_ns = bench.peer_cpu_ns,
    .interrupted = bench.interrupted,
    .read_back = is_read_back,
    .failure = error != NULL ? error->message : NULL,
  };
  /* A JSON reader wants an object in any case; a person is not helped by zeros. */
  if (options.json || total.latency.n > 0 || has_problems (&total))
    bench_report_print (&report);

  if (error != NULL)
    vhostctl_complain ("bench", "%s", error->message);
  else if (total.latency.n == 0)
    vhostctl_complain ("bench", "no request succeeded");
  else if (options.verify && !is_read_back)
    vhostctl_complain ("bench", "interrupted before all that was written was read back");
  else if (!has_problems (&total))
    return EXIT_SUCCESS;
  return EXIT_FAILURE;
}
