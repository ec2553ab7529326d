/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl bench in three files: bench.c (options, set-up, time), bench-job.c (one queue's load)
 * and bench-report.c (what is printed). */
#pragma once

#include "latency-histogram.h"
#include "vhostctl.h"

#include <stdatomic.h>

typedef enum
{
  BENCH_RANDREAD,
  BENCH_RANDWRITE,
  BENCH_READ,
  BENCH_WRITE,
  BENCH_MIXED,
} BenchPattern;

typedef struct
{
  BenchPattern pattern;
  const char *pattern_name;
  guint read_percent; /* of BENCH_MIXED */
  guint64 block_size;
  guint depth;
  guint queues;
  guint queue_size;
  double seconds;
  guint64 requests; /* in all queues; 0: by time */
  guint64 region;   /* bytes of the device that are used */
  gboolean busy;
  guint poll_us; /* a sleeping front-end looks so long before it sleeps */
  gboolean indirect;
  gboolean verify;
  guint64 seed;
} BenchOptions;

typedef struct _BenchRequest BenchRequest;

typedef struct
{
  const BenchOptions *options;
  VhostFrontendQueue *queue; /* (unowned): the front-end's */
  guint index;
  int cpu;             /* -1: any */
  guint64 first_block; /* this job's part of the region, in blocks */
  guint64 n_blocks;
  guint64 quota; /* requests to make; G_MAXUINT64: until told to stop */

  BenchRequest *requests; /* (owned) */
  guint in_flight;
  guint64 random;
  guint64 next_block;   /* of sequential patterns */
  guint32 *generations; /* (owned) (nullable): of each block, for verify */
  guint8 *busy_blocks;  /* (owned) (nullable): a byte each: no two requests on one block at once */

  _Atomic (guint64) done; /* read by the progress line */
  guint64 reads;
  guint64 writes;
  guint64 errors;     /* status not 0 */
  guint64 mismatches; /* verify */
  guint64 verified;   /* blocks compared */
  guint64 cpu_ns;
  guint64 elapsed_ns; /* of the load itself */
  guint64 n_kicks;
  guint64 n_calls;
  char *failure; /* (owned) (nullable): why the job gave up */
  LatencyHistogram latency;
} BenchJob;

extern _Atomic (gboolean) bench_stop;

/* Bytes of guest memory that a job needs. */
gsize bench_job_memory (const BenchOptions *options);
/* Allocates the requests; FALSE: no room. */
gboolean bench_job_prepare (BenchJob *self, VhostFrontend *frontend);
/* The thread. */
gpointer bench_job_run (gpointer job);
void bench_job_clear (BenchJob *self);

typedef struct
{
  const BenchOptions *options;
  const char *socket;
  char *peer_name;
  int peer_pid;
  guint64 requests;
  guint64 errors;
  guint64 mismatches;
  guint64 verified;
  double seconds;
  guint64 front_cpu_ns;
  guint64 back_cpu_ns; /* 0: not known */
  guint64 n_kicks;
  guint64 n_calls;
  LatencyHistogram latency;
} BenchResult;

void bench_report_text (const BenchResult *result);
void bench_report_json (const BenchResult *result);
/* One line, overwritten by the next; for terminals. */
void bench_report_progress (const BenchOptions *options, guint64 done_last_second, double elapsed);
void bench_report_progress_end (void);
