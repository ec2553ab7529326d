/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The I/O engine's inside. Thread: the worker's, unless said. */
#pragma once

#include "vhost-io.h"
#include "vhost-mailbox-private.h"
#include "vhost-reference-private.h"
#include "vhost-waiter-private.h"

enum
{
  VHOST_IO_OP_READV,
  VHOST_IO_OP_WRITEV,
  VHOST_IO_OP_FSYNC,
  VHOST_IO_OP_FALLOCATE,
  VHOST_IO_OP_POLL,
  VHOST_IO_OP_CALL,
};

enum
{
  VHOST_IO_IDLE,
  VHOST_IO_RECORDED, /* in the batch */
  VHOST_IO_STARTED,  /* at the kernel or in the pool */
  VHOST_IO_ENDED,    /* result known, done not yet run */
};

#define VHOST_IO_FLAG_CANCELLED (1u << 0)
#define VHOST_IO_FLAG_FUA (1u << 1)

struct _VhostIoFile
{
  VhostReference ref_count;
  int fd;                    /* (owned) */
  gboolean direct;           /* O_DIRECT */
  gboolean in_memory;        /* tmpfs, ramfs, memfd: never blocks, knows no NOWAIT */
  _Atomic (gboolean) nowait; /* RWF_NOWAIT has not been refused yet */
  _Atomic (guint) misses;    /* reads in a row that the page cache did not have */
};

struct _VhostIo
{
  VhostMailbox *mailbox; /* (unowned): where pool threads post */
  VhostWaiter *uring;    /* (unowned) (nullable): the waiter whose ring takes operations */
  VhostIoOp *batch;      /* recorded, oldest first */
  VhostIoOp **batch_tail;
  guint n_batch;
  VhostIoOp *ended; /* done to be run in the next reaping */
  VhostIoOp **ended_tail;
  GMainContext *context;  /* (unowned): the worker's, for polls without io_uring */
  GPtrArray *polls;       /* (owned): operations that wait for a descriptor */
  guint outstanding;      /* started and not ended */
  _Atomic (guint) n_jobs; /* given to the pool and not yet out of its thread's hands */
  GThreadPool *pool;      /* (owned) (nullable): made when first needed */
};

void vhost_io_init (VhostIo *self, GMainContext *context, VhostMailbox *mailbox,
                    VhostWaiter *uring);
/* Whatever waits for a descriptor ends with -ECANCELED: nothing else can be counted on to end it.
 */
void vhost_io_cancel_polls (VhostIo *self);
/* Waits for what is outstanding. */
void vhost_io_clear (VhostIo *self);
/* Starts the batch: inline, io_uring or threads. */
void vhost_io_start_batch (VhostIo *self);
/* Runs done of ended operations; TRUE when any ran. */
gboolean vhost_io_reap (VhostIo *self);
static inline gboolean
vhost_io_has_work (VhostIo *self)
{
  return self->n_batch > 0 || self->ended != NULL;
}
/* An operation has a result (bytes or -errno): retries what was short, else queues it for reaping.
 */
void vhost_io_op_ended (VhostIo *self, VhostIoOp *op, gssize result);

/* vhost-io-uring.c. FALSE: the submission queue is full. */
gboolean vhost_io_uring_start (VhostIo *self, VhostIoOp *op);
void vhost_io_uring_cancel (VhostIo *self, VhostIoOp *op);
/* vhost-io-threads.c */
void vhost_io_source_start (VhostIo *self, VhostIoOp *op);
void vhost_io_source_cancel (VhostIo *self, VhostIoOp *op);
void vhost_io_threads_start (VhostIo *self, VhostIoOp *op);
gssize vhost_io_run_blocking (VhostIoOp *op);
