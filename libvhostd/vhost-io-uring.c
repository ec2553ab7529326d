/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations as io_uring entries. Must not wait and must not reap: the waiter does. */
#include "config.h"

#include "vhost-io-private.h"

#include <limits.h>
#include <liburing.h>

gboolean
vhost_io_uring_start (VhostIo *self, VhostIoOp *op)
{
  struct io_uring_sqe *sqe = vhost_waiter_uring_get_sqe (self->uring);
  int fd = op->file->fd;

  if (sqe == NULL)
    return FALSE;
  switch (op->kind)
    {
    case VHOST_IO_OP_READV:
      io_uring_prep_readv (sqe, fd, op->arg.iov, MIN (op->n_iov, IOV_MAX), op->offset);
      break;
    case VHOST_IO_OP_WRITEV:
      io_uring_prep_writev (sqe, fd, op->arg.iov, MIN (op->n_iov, IOV_MAX), op->offset);
      break;
    case VHOST_IO_OP_FSYNC:
      io_uring_prep_fsync (sqe, fd, op->mode ? IORING_FSYNC_DATASYNC : 0);
      break;
    case VHOST_IO_OP_FALLOCATE:
      io_uring_prep_fallocate (sqe, fd, op->mode, op->offset, op->length);
      break;
    case VHOST_IO_OP_POLL:
    default:
      io_uring_prep_poll_add (sqe, fd, (unsigned) op->mode);
      break;
    }
  /* An operation is aligned to 8 bytes at least, so the tag in the low bits is 0: see the waiter.
   */
  io_uring_sqe_set_data (sqe, op);
  return TRUE;
}

void
vhost_io_uring_cancel (VhostIo *self, VhostIoOp *op)
{
  struct io_uring_sqe *sqe = vhost_waiter_uring_get_sqe (self->uring);

  if (sqe == NULL)
    return; /* a cancellation is a wish */
  io_uring_prep_cancel (sqe, op, 0);
  io_uring_sqe_set_data64 (sqe, 3); /* the waiter's "nothing" */
}
