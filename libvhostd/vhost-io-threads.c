/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations by blocking system calls on a pool of threads: for where io_uring is refused, and for
 * vhost_io_call (). A pool thread touches the operation alone; its end travels back through the
 * worker's mailbox. */
#include "config.h"

#include "vhost-io-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <limits.h>
#include <unistd.h>

/* Enough to keep a disk busy; more gave nothing. */
#define POOL_THREADS 4

typedef struct
{
  VhostTask task;
  VhostIoOp *op;
  gssize result;
  /* Release when pushed, acquire when taken: the pool orders this too, but the thread sanitizer
   * cannot see into GLib. */
  _Atomic (gboolean) pushed;
} Job;

static gboolean
is_cancelled (VhostIoOp *op)
{
  return (__atomic_load_n (&op->flags, __ATOMIC_RELAXED) & VHOST_IO_FLAG_CANCELLED) != 0;
}

gssize
vhost_io_run_blocking (VhostIoOp *op)
{
  gssize result;

  if (is_cancelled (op))
    return -ECANCELED;
  switch (op->kind)
    {
    case VHOST_IO_OP_READV:
      result = preadv (op->file->fd, op->arg.iov, MIN (op->n_iov, IOV_MAX), op->offset);
      break;
    case VHOST_IO_OP_WRITEV:
      result = pwritev (op->file->fd, op->arg.iov, MIN (op->n_iov, IOV_MAX), op->offset);
      break;
    case VHOST_IO_OP_FSYNC:
      result = op->mode ? fdatasync (op->file->fd) : fsync (op->file->fd);
      break;
    case VHOST_IO_OP_FALLOCATE:
      result = fallocate (op->file->fd, op->mode, op->offset, op->length);
      break;
    case VHOST_IO_OP_CALL:
      return op->arg.call (op);
    default:
      return -EINVAL; /* a poll is a source */
    }
  return result < 0 ? -errno : result;
}

/* Thread: worker */
static void
job_ended (VhostTask *task)
{
  Job *job = (Job *) task;
  VhostIoOp *op = job->op;
  gssize result = job->result;

  g_free (job);
  vhost_io_op_ended (op->io, op, result);
}

/* Thread: pool */
static void
run_job (gpointer data, gpointer user_data)
{
  Job *job = data;
  VhostIo *io = user_data;

  (void) atomic_load_explicit (&job->pushed, memory_order_acquire);
  job->result = vhost_io_run_blocking (job->op);
  vhost_mailbox_post (io->mailbox, &job->task);
  /* The last touch of the mailbox and the engine. release: pairs with the acquire in vhost_io_clear
   * () */
  atomic_fetch_sub_explicit (&io->n_jobs, 1, memory_order_release);
}

void
vhost_io_threads_start (VhostIo *self, VhostIoOp *op)
{
  Job *job = g_new (Job, 1);

  job->task.run = job_ended;
  job->op = op;
  atomic_fetch_add_explicit (&self->n_jobs, 1, memory_order_relaxed);
  atomic_store_explicit (&job->pushed, TRUE, memory_order_release);
  if (self->pool == NULL)
    self->pool = g_thread_pool_new (run_job, self, POOL_THREADS, FALSE, NULL);
  /* Without any thread the job waits in the pool's queue: GLib runs it when one can be made. */
  g_thread_pool_push (self->pool, job, NULL);
}

/* ---- polls */

/* Thread: worker */
static gboolean
on_poll_ready (int fd, GIOCondition condition, gpointer data)
{
  VhostIoOp *op = data;

  op->padding[0] = NULL; /* the source ends with this call */
  vhost_io_op_ended (op->io, op, condition);
  return G_SOURCE_REMOVE;
}

void
vhost_io_source_start (VhostIo *self, VhostIoOp *op)
{
  GSource *source = g_unix_fd_source_new (op->file->fd, (GIOCondition) op->mode);

  g_source_set_callback (source, G_SOURCE_FUNC (on_poll_ready), op, NULL);
  g_source_attach (source, self->context);
  op->padding[0] = source;
  g_source_unref (source); /* the context has it */
}

void
vhost_io_source_cancel (VhostIo *self, VhostIoOp *op)
{
  GSource *source = g_steal_pointer (&op->padding[0]);

  if (source != NULL)
    {
      g_source_destroy (source);
      vhost_io_op_ended (self, op, -ECANCELED);
    }
}
