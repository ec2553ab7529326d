/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of bench know of each other: options, the device, a job, the result. */
#pragma once

#include <stdatomic.h>

#include "device-config.h"
#include "latency-histogram.h"

#define BENCH_MAX_NAMED_MISMATCHES 16

typedef enum
{
  BENCH_RANDREAD,
  BENCH_RANDWRITE,
  BENCH_READ,
  BENCH_WRITE,
  BENCH_MIXED,
  BENCH_READ_BACK, /* every block that was written, once */
} BenchMode;

typedef struct
{
  char *socket_path; /* (owned) */
  BenchMode mode;
  guint read_percent;
  guint64 block_size;
  guint depth;
  guint n_queues;
  guint queue_size;
  guint64 duration_ns; /* 0: no limit */
  guint64 n_requests;  /* 0: no limit */
  guint64 warmup_ns;
  guint64 offset;
  guint64 size; /* 0: up to the end */
  guint64 seed;
  GArray *cpus; /* (owned) (element-type guint): empty: not pinned */
  gboolean busy;
  guint64 poll_ns; /* a sleeping front-end looks so long before it sleeps */
  gboolean indirect;
  gboolean packed;
  gboolean in_order;
  gboolean tracked;   /* in-flight tracking */
  gboolean dirty_log; /* as during a migration */
  gboolean verify;
  gboolean json;
  gboolean progress;
} BenchOptions;

/* FALSE: what is wrong has been told. */
gboolean bench_options_parse (BenchOptions *self, int argc, char **argv);
void bench_options_clear (BenchOptions *self);
const char *bench_mode_name (BenchMode mode);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BenchOptions, bench_options_clear)

typedef struct
{
  VhostFrontend *frontend; /* (owned) */
  int pid;
  char *name; /* (owned) (nullable) */
  guint64 size;
  guint64 first_sector;
  guint64 n_blocks; /* of the options' block size */
  guint n_segments; /* pieces that a block has because of the device's limits */
  guint32 segment_size;
} BenchDevice;

/* Connects, checks the options against the disk, shares memory for all jobs. */
gboolean bench_device_open (BenchDevice *self, const BenchOptions *options, GError **error);
void bench_device_clear (BenchDevice *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BenchDevice, bench_device_clear)

typedef enum
{
  BENCH_PHASE_WARMUP,  /* load, not counted */
  BENCH_PHASE_MEASURE, /* load, counted */
  BENCH_PHASE_DRAIN,   /* nothing new */
  BENCH_PHASE_ABANDON, /* leave at once, the back-end is gone */
} BenchPhase;

/* Shared by the control thread and the jobs' threads. */
typedef struct
{
  _Atomic BenchPhase phase;
  _Atomic guint n_running;
  _Atomic guint n_failed;
  int done_fd; /* (owned): written by a job that ends */
} BenchRun;

typedef enum
{
  BENCH_ERROR_IO,
  BENCH_ERROR_UNSUPPORTED,
  BENCH_ERROR_NO_STATUS,
  BENCH_ERROR_OTHER,
  BENCH_N_ERRORS,
} BenchErrorKind;

/* What a job has counted; of several jobs by bench_result_merge (). */
typedef struct
{
  LatencyHistogram latency; /* of requests that succeeded */
  guint64 n_reads;
  guint64 n_writes;
  guint64 elapsed_ns;
  guint64 cpu_ns;
  guint64 n_kicks;
  guint64 n_calls;
  guint64 n_bad_used;
  guint64 n_errors[BENCH_N_ERRORS];
  char *first_error; /* (owned) (nullable) */
  guint64 n_verified;
  guint64 n_mismatches;
  GPtrArray *mismatches; /* (owned) (element-type utf8): the first few */
} BenchResult;

void bench_result_init (BenchResult *self);
void bench_result_clear (BenchResult *self);
void bench_result_merge (BenchResult *self, const BenchResult *other);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BenchResult, bench_result_clear)

typedef struct _BenchJob BenchJob;

/* Adds the queue @index and makes its requests. Thread: control. */
BenchJob *bench_job_new (const BenchOptions *options, const BenchDevice *device, BenchRun *run,
                         guint index, GError **error);
void bench_job_free (BenchJob *self);
/* Starts the job's thread; run->n_running counts it already. */
gboolean bench_job_start (BenchJob *self, GError **error);
void bench_job_join (BenchJob *self);
/* The next start reads back what was written. */
void bench_job_prepare_read_back (BenchJob *self);
/* Requests that are complete. Thread: any. */
guint64 bench_job_get_n_done (BenchJob *self);
/* Thread: control, when the job does not run. @error (nullable): why it gave up. */
const BenchResult *bench_job_get_result (BenchJob *self);
const GError *bench_job_get_error (BenchJob *self);

typedef struct
{
  const BenchOptions *options;
  const BenchDevice *device;
  const BenchResult *total;
  GPtrArray *jobs;
  guint64 peer_cpu_ns; /* G_MAXUINT64: not known */
  gboolean interrupted;
  gboolean read_back;  /* all that was written has been read and compared */
  const char *failure; /* (nullable) */
} BenchReport;

void bench_report_print (const BenchReport *self);
/* A line of progress over the one before, on stderr when that is a terminal; @what NULL wipes it.
 */
void bench_report_progress (const BenchOptions *options, const char *what, double seconds,
                            double iops);
