/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A back-end's own I/O as part of the worker's batch. Knows operations and files; not queues, not
 * chains.
 *
 * How it works: a call only records the operation, which lives in the caller's memory. At the end
 * of a pass the worker has the whole batch and each operation goes the way that was found to be the
 * fastest. Reads of a buffered file are tried at once without blocking (RWF_NOWAIT), since the page
 * cache mostly has them; when it mostly has not, they are tried only now and then. Each one that
 * succeeds ends before the next begins: the driver, which may be awake on another CPU, goes on with
 * the first ones while the last are copied, which is worth more than the system calls that a batch
 * would save. Files that are memory anyway are read and written at once. All else goes into
 * io_uring with one system call for the batch, or to a small thread pool where io_uring is refused.
 * RWF_NOWAIT is not used with O_DIRECT: it blocks there. A transfer that comes back short is
 * continued here; the caller sees whole results. */
#include "config.h"

#include "vhost-io.h"

#include "vhost-io-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

/* After so many reads in a row that the page cache did not have, only each n-th is tried at once.
 */
#define MISSES_TOLERATED 8
#define TRY_EVERY 16

/**
 * VhostIo:
 *
 * The I/O engine of one worker: a back-end's reads and writes join the worker's batch.
 *
 * Get it with vhost_backend_get_io(). An operation (#VhostIoOp) lives in the caller's memory,
 * usually in a chain's data (vhost_chain_get_data()); the call that starts it only records it, and
 * its `done` function runs later on the same worker. Nothing is allocated.
 *
 * Since: 0.1
 */

/**
 * VhostIoFile:
 *
 * A file descriptor that operations are made on, with what the engine found out about it.
 *
 * Since: 0.1
 */
G_DEFINE_BOXED_TYPE (VhostIoFile, vhost_io_file, vhost_io_file_ref, vhost_io_file_unref)

/**
 * vhost_io_file_new_take_fd:
 * @fd: an open descriptor; taken
 *
 * Makes a file for the engine.
 *
 * Thread: any.
 *
 * Returns: (transfer full): the file; it closes @fd with its last reference
 *
 * Since: 0.1
 */
VhostIoFile *
vhost_io_file_new_take_fd (int fd)
{
  VhostIoFile *self = g_new0 (VhostIoFile, 1);
  struct statfs fs;
  int flags = fcntl (fd, F_GETFL);

  vhost_reference_init (&self->ref_count);
  self->fd = fd;
  self->direct = flags >= 0 && (flags & O_DIRECT);
  self->in_memory = fstatfs (fd, &fs) == 0
                    && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC
                        || (guint32) fs.f_type == HUGETLBFS_MAGIC);
  atomic_init (&self->nowait, !self->direct && !self->in_memory);
  return self;
}

/**
 * vhost_io_file_ref:
 * @self: a file
 *
 * Thread: any.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
VhostIoFile *
vhost_io_file_ref (VhostIoFile *self)
{
  vhost_reference_take (&self->ref_count);
  return self;
}

/**
 * vhost_io_file_unref:
 * @self: (transfer full): a file; no operation on it may be under way when the last reference goes
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_io_file_unref (VhostIoFile *self)
{
  if (vhost_reference_drop (&self->ref_count))
    {
      close (self->fd);
      g_free (self);
    }
}

/**
 * vhost_io_file_get_fd:
 * @self: a file
 *
 * Thread: any.
 *
 * Returns: the descriptor; it stays the file's
 *
 * Since: 0.1
 */
int
vhost_io_file_get_fd (VhostIoFile *self)
{
  return self->fd;
}

void
vhost_io_init (VhostIo *self, GMainContext *context, VhostMailbox *mailbox, VhostWaiter *uring)
{
  memset (self, 0, sizeof *self);
  self->context = context;
  self->polls = g_ptr_array_new ();
  self->mailbox = mailbox;
  self->uring = uring;
  self->batch_tail = &self->batch;
  self->ended_tail = &self->ended;
}

static void
record (VhostIo *self, VhostIoOp *op, guint8 kind, VhostIoFile *file)
{
  op->next = NULL;
  op->io = self;
  op->file = file;
  op->resume = NULL;
  op->result = 0;
  op->kind = kind;
  op->state = VHOST_IO_RECORDED;
  op->flags = 0;
  *self->batch_tail = op;
  self->batch_tail = &op->next;
  self->n_batch++;
}

static void
record_transfer (VhostIo *self, VhostIoOp *op, guint8 kind, VhostIoFile *file,
                 const struct iovec *iov, guint n_iov, guint64 offset)
{
  op->arg.iov = iov;
  op->n_iov = n_iov;
  op->offset = offset;
  op->length = 0;
  for (guint i = 0; i < n_iov; i++)
    op->length += iov[i].iov_len;
  record (self, op, kind, file);
}

/**
 * vhost_io_readv: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @file: what to read
 * @iov: where to: any number of segments, to stay unchanged until `done` runs
 * @n_iov: how many
 * @offset: position in the file, bytes
 *
 * Reads. The result is the number of bytes, smaller than the vector only at the file's end, or a
 * negative errno.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_readv (VhostIo *self, VhostIoOp *op, VhostIoFile *file, const struct iovec *iov,
                guint n_iov, guint64 offset)
{
  record_transfer (self, op, VHOST_IO_OP_READV, file, iov, n_iov, offset);
}

/**
 * vhost_io_writev: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @file: what to write
 * @iov: what from: any number of segments, to stay unchanged until `done` runs
 * @n_iov: how many
 * @offset: position in the file, bytes
 *
 * Writes. The result is the number of bytes, or a negative errno.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_writev (VhostIo *self, VhostIoOp *op, VhostIoFile *file, const struct iovec *iov,
                 guint n_iov, guint64 offset)
{
  record_transfer (self, op, VHOST_IO_OP_WRITEV, file, iov, n_iov, offset);
}

/**
 * vhost_io_fsync: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @file: what to write back
 * @data_only: as fdatasync(2)
 *
 * Writes a file's cached data to its medium.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_fsync (VhostIo *self, VhostIoOp *op, VhostIoFile *file, gboolean data_only)
{
  op->mode = data_only;
  record (self, op, VHOST_IO_OP_FSYNC, file);
}

/**
 * vhost_io_fallocate: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @file: which file
 * @mode: as fallocate(2)
 * @offset: first byte
 * @length: how many bytes
 *
 * Allocates, frees or zeroes a piece of a file.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_fallocate (VhostIo *self, VhostIoOp *op, VhostIoFile *file, int mode, guint64 offset,
                    guint64 length)
{
  op->mode = mode;
  op->offset = offset;
  op->length = length;
  record (self, op, VHOST_IO_OP_FALLOCATE, file);
}

/**
 * vhost_io_poll: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @file: what to wait for
 * @events: as poll(2)
 *
 * Waits until a descriptor is ready. The result is the events that came.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_poll (VhostIo *self, VhostIoOp *op, VhostIoFile *file, short events)
{
  op->mode = events;
  record (self, op, VHOST_IO_OP_POLL, file);
}

/**
 * vhost_io_call: (skip)
 * @self: the worker's engine
 * @op: the operation; its `done` must be set
 * @call: (scope async): what to do
 *
 * Runs a function that may block on a pool thread. The result is what it returns.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_call (VhostIo *self, VhostIoOp *op, VhostIoCall call)
{
  op->arg.call = call;
  record (self, op, VHOST_IO_OP_CALL, NULL);
}

static void
end (VhostIo *self, VhostIoOp *op, gssize result)
{
  op->result = result;
  op->state = VHOST_IO_ENDED;
  op->next = NULL;
  *self->ended_tail = op;
  self->ended_tail = &op->next;
}

/* The part of the vector behind @done bytes, as a copy: the caller's own stays unchanged. */
static void
advance (VhostIoOp *op, guint64 done)
{
  const struct iovec *iov = op->arg.iov;
  guint n = op->n_iov;
  struct iovec *rest;

  op->offset += done;
  op->length -= done;
  while (n > 0 && done >= iov->iov_len)
    {
      done -= iov->iov_len;
      iov++;
      n--;
    }
  rest = g_new (struct iovec, MAX (n, 1));
  memcpy (rest, iov, n * sizeof *rest);
  if (n > 0)
    {
      rest[0].iov_base = (guint8 *) rest[0].iov_base + done;
      rest[0].iov_len -= done;
    }
  g_free (op->resume);
  op->resume = rest;
  op->arg.iov = rest;
  op->n_iov = n;
}

static void
start_async (VhostIo *self, VhostIoOp *op)
{
  op->state = VHOST_IO_STARTED;
  self->outstanding++;
  if (op->kind == VHOST_IO_OP_POLL)
    g_ptr_array_add (self->polls, op);
#if HAVE_URING
  if (self->uring != NULL && op->kind != VHOST_IO_OP_CALL && vhost_io_uring_start (self, op))
    return;
#endif
  if (op->kind == VHOST_IO_OP_POLL)
    vhost_io_source_start (self, op);
  else
    vhost_io_threads_start (self, op);
}

/* TRUE: @op has ended; FALSE: it is to be started once more. */
static gboolean
take_result (VhostIo *self, VhostIoOp *op, gssize result)
{
  if (op->kind != VHOST_IO_OP_READV && op->kind != VHOST_IO_OP_WRITEV)
    {
      end (self, op, result);
      return TRUE;
    }
  if (result == -EINTR && !(op->flags & VHOST_IO_FLAG_CANCELLED))
    return FALSE;
  if (result >= 0)
    {
      op->result += result;
      if (result > 0 && (guint64) result < op->length && !(op->flags & VHOST_IO_FLAG_CANCELLED))
        {
          advance (op, result);
          return FALSE;
        }
      /* A write that moves nothing would be tried for ever. */
      result
          = op->kind == VHOST_IO_OP_WRITEV && result == 0 && op->length > 0 ? -ENOSPC : op->result;
    }
  g_clear_pointer (&op->resume, g_free);
  end (self, op, result);
  return TRUE;
}

void
vhost_io_op_ended (VhostIo *self, VhostIoOp *op, gssize result)
{
  self->outstanding--;
  if (op->kind == VHOST_IO_OP_POLL)
    g_ptr_array_remove_fast (self->polls, op);
  if (!take_result (self, op, result))
    start_async (self, op);
}

/* Would a read without waiting probably succeed? Workers that share a file share its history; a
 * race costs nothing. */
static gboolean
is_probably_cached (VhostIoFile *file)
{
  guint misses;

  if (!atomic_load_explicit (&file->nowait, memory_order_relaxed))
    return FALSE;
  misses = atomic_load_explicit (&file->misses, memory_order_relaxed);
  if (misses < MISSES_TOLERATED)
    return TRUE;
  atomic_store_explicit (&file->misses, misses + 1, memory_order_relaxed);
  return misses % TRY_EVERY == 0;
}

/* At once and without blocking, where that is likely to work. FALSE: not done. */
static gboolean
try_inline (VhostIo *self, VhostIoOp *op)
{
  VhostIoFile *file = op->file;
  gssize result;

  if (op->kind != VHOST_IO_OP_READV && op->kind != VHOST_IO_OP_WRITEV)
    return FALSE;
  if (file->in_memory)
    {
      do
        result = vhost_io_run_blocking (op);
      while (!take_result (self, op, result));
      return TRUE;
    }
  if (op->kind != VHOST_IO_OP_READV || !is_probably_cached (file))
    return FALSE;
  result = preadv2 (file->fd, op->arg.iov, MIN (op->n_iov, IOV_MAX), op->offset, RWF_NOWAIT);
  if (result < 0)
    {
      if (errno == EOPNOTSUPP)
        atomic_store_explicit (&file->nowait, FALSE, memory_order_relaxed);
      else if (errno == EAGAIN)
        atomic_fetch_add_explicit (&file->misses, 1, memory_order_relaxed);
      return FALSE; /* asked again, the waiting way, it will tell its error again */
    }
  atomic_store_explicit (&file->misses, 0, memory_order_relaxed);
  /* Partly cached: the rest may have to wait. */
  return take_result (self, op, result);
}

void
vhost_io_start_batch (VhostIo *self)
{
  VhostIoOp *op = self->batch;

  self->batch = NULL;
  self->batch_tail = &self->batch;
  self->n_batch = 0;
  while (op != NULL)
    {
      VhostIoOp *next = op->next;

      if (op->flags & VHOST_IO_FLAG_CANCELLED)
        end (self, op, -ECANCELED);
      else if (try_inline (self, op))
        vhost_io_reap (self);
      else
        start_async (self, op);
      op = next;
    }
}

gboolean
vhost_io_reap (VhostIo *self)
{
  VhostIoOp *op = self->ended;

  if (op == NULL)
    return FALSE;
  self->ended = NULL;
  self->ended_tail = &self->ended;
  while (op != NULL)
    {
      VhostIoOp *next = op->next;

      op->state = VHOST_IO_IDLE;
      op->done (op, op->result); /* may free or reuse it */
      op = next;
    }
  return TRUE;
}

/**
 * vhost_io_cancel: (skip)
 * @self: the worker's engine
 * @op: an operation that was started here
 *
 * Asks for an early end. `done` runs all the same, with -ECANCELED or with the result if it was too
 * late.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_io_cancel (VhostIo *self, VhostIoOp *op)
{
  if (op->state != VHOST_IO_RECORDED && op->state != VHOST_IO_STARTED)
    return;
  __atomic_fetch_or (&op->flags, VHOST_IO_FLAG_CANCELLED,
                     __ATOMIC_RELAXED); /* read by pool threads */
  if (op->state != VHOST_IO_STARTED)
    return;
#if HAVE_URING
  if (self->uring != NULL && op->kind != VHOST_IO_OP_CALL)
    {
      vhost_io_uring_cancel (self, op);
      return;
    }
#endif
  if (op->kind == VHOST_IO_OP_POLL)
    vhost_io_source_cancel (self, op);
}

void
vhost_io_cancel_polls (VhostIo *self)
{
  for (guint i = self->polls->len; i > 0; i--)
    vhost_io_cancel (self, g_ptr_array_index (self->polls, i - 1));
}

void
vhost_io_clear (VhostIo *self)
{
  /* A job's result may be here while its thread is still on the way out of the post: it needs our
   * memory. */
  while (atomic_load_explicit (&self->n_jobs, memory_order_acquire) > 0)
    g_thread_yield ();
  g_clear_pointer (&self->polls, g_ptr_array_unref);
  if (self->pool != NULL)
    {
      g_thread_pool_free (self->pool, FALSE, TRUE);
      self->pool = NULL;
    }
}
