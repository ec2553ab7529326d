/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting by io_uring: one system call submits I/O, reaps completions and waits for kicks. Knows
 * descriptors and numbers, not queues; a completed operation goes to the I/O engine.
 *
 * How it works: each kick eventfd has a multishot poll, which fires at each write without the
 * eventfd ever being read. Other kick descriptors have a one-shot poll, armed again at the next
 * wait, after their owner has read them. GLib's descriptors sit in an epoll set which the ring
 * polls one-shot too: multishot is edge-triggered and would lose GLib's level semantics. With
 * DEFER_TASKRUN completions appear only inside a system call, so somebody who spins must look at
 * the ring's TASKRUN flag (peek).
 *
 * A completion's user_data says what it is by its low three bits: an operation (a pointer), a kick
 * (id and generation, so that a late completion of a removed descriptor is not taken for its
 * successor's), GLib's set, or nothing. */
#include "config.h"

#include "vhost-io-private.h"
#include "vhost-waiter-private.h"

#include "vhost-error.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SUBMISSION_ENTRIES 256
#define COMPLETION_ENTRIES 4096

enum
{
  TAG_OPERATION = 0,
  TAG_KICK = 1,
  TAG_GLIB = 2,
  TAG_NONE = 3,
  TAG_MASK = 7,
};

typedef struct
{
  int fd; /* -1: free */
  guint32 generation;
  gboolean eventfd;
  gboolean armed;
} Slot;

typedef struct
{
  VhostWaiter parent;
  struct io_uring ring;
  GArray *slots;     /* of Slot, by id */
  gboolean must_arm; /* some slot, or GLib's set, is not armed */
  int epoll_fd;
  gboolean glib_armed;
  VhostWaiterGlib glib;
} UringWaiter;

struct io_uring *
vhost_waiter_uring_get_ring (VhostWaiter *waiter)
{
  return &((UringWaiter *) waiter)->ring;
}

struct io_uring_sqe *
vhost_waiter_uring_get_sqe (VhostWaiter *waiter)
{
  UringWaiter *self = (UringWaiter *) waiter;
  struct io_uring_sqe *sqe = io_uring_get_sqe (&self->ring);

  if (G_UNLIKELY (sqe == NULL))
    {
      io_uring_submit (&self->ring);
      sqe = io_uring_get_sqe (&self->ring);
    }
  return sqe;
}

static guint64
kick_data (const Slot *slot, guint id)
{
  return (guint64) slot->generation << 32 | (guint64) id << 3 | TAG_KICK;
}

static gboolean
arm (UringWaiter *self, guint id)
{
  Slot *slot = &g_array_index (self->slots, Slot, id);
  struct io_uring_sqe *sqe = vhost_waiter_uring_get_sqe (&self->parent);

  if (sqe == NULL)
    return FALSE;
  if (slot->eventfd)
    io_uring_prep_poll_multishot (sqe, slot->fd, POLLIN);
  else
    io_uring_prep_poll_add (sqe, slot->fd, POLLIN);
  io_uring_sqe_set_data64 (sqe, kick_data (slot, id));
  slot->armed = TRUE;
  return TRUE;
}

static void
arm_all (UringWaiter *self)
{
  self->must_arm = FALSE;
  for (guint i = 0; i < self->slots->len; i++)
    {
      Slot *slot = &g_array_index (self->slots, Slot, i);

      if (slot->fd >= 0 && !slot->armed && !arm (self, i))
        self->must_arm = TRUE;
    }
  if (!self->glib_armed)
    {
      struct io_uring_sqe *sqe = vhost_waiter_uring_get_sqe (&self->parent);

      if (sqe == NULL)
        {
          self->must_arm = TRUE;
          return;
        }
      io_uring_prep_poll_add (sqe, self->epoll_fd, POLLIN);
      io_uring_sqe_set_data64 (sqe, TAG_GLIB);
      self->glib_armed = TRUE;
    }
}

static VhostWaiter *
uring_waiter_new (GError **error)
{
  UringWaiter *self = g_new0 (UringWaiter, 1);
  struct io_uring_params params = {
    .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
             | IORING_SETUP_TASKRUN_FLAG,
    .cq_entries = COMPLETION_ENTRIES,
  };
  int result = io_uring_queue_init_params (SUBMISSION_ENTRIES, &self->ring, &params);

  if (result == -EINVAL)
    {
      /* Before Linux 6.1: completions then come by interrupting the thread, which works as well. */
      params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE,
                                         .cq_entries = COMPLETION_ENTRIES };
      result = io_uring_queue_init_params (SUBMISSION_ENTRIES, &self->ring, &params);
    }
  /* EXT_ARG: waits with a timeout. RSRC_TAGS came with Linux 5.13, as multishot polls did. */
  if (result == 0
      && (params.features & (IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS))
             != (IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS))
    {
      io_uring_queue_exit (&self->ring);
      result = -ENOSYS;
    }
  if (result != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "io_uring cannot be used here: %s",
                   g_strerror (-result));
      g_free (self);
      return NULL;
    }
  self->epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
  if (self->epoll_fd < 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "cannot create an epoll set: %s",
                   g_strerror (errno));
      io_uring_queue_exit (&self->ring);
      g_free (self);
      return NULL;
    }
  self->parent.ops = &vhost_waiter_uring_ops;
  self->slots = g_array_new (FALSE, TRUE, sizeof (Slot));
  self->must_arm = TRUE;
  return &self->parent;
}

static void
uring_waiter_free (VhostWaiter *waiter)
{
  UringWaiter *self = (UringWaiter *) waiter;

  io_uring_queue_exit (&self->ring);
  close (self->epoll_fd);
  vhost_waiter_glib_clear (&self->glib);
  g_array_unref (self->slots);
  g_free (self);
}

static gboolean
uring_waiter_add (VhostWaiter *waiter, int fd, gboolean eventfd, guint id, GError **error)
{
  UringWaiter *self = (UringWaiter *) waiter;
  Slot *slot;

  while (self->slots->len <= id)
    {
      Slot none = { .fd = -1 };

      g_array_append_val (self->slots, none);
    }
  slot = &g_array_index (self->slots, Slot, id);
  slot->fd = fd;
  slot->eventfd = eventfd;
  slot->armed = FALSE;
  slot->generation++;
  self->must_arm = TRUE;
  return TRUE;
}

static void
uring_waiter_remove (VhostWaiter *waiter, int fd, guint id)
{
  UringWaiter *self = (UringWaiter *) waiter;
  Slot *slot = &g_array_index (self->slots, Slot, id);
  struct io_uring_sqe *sqe;

  if (slot->armed && (sqe = vhost_waiter_uring_get_sqe (waiter)) != NULL)
    {
      io_uring_prep_poll_remove (sqe, kick_data (slot, id));
      io_uring_sqe_set_data64 (sqe, TAG_NONE);
      io_uring_submit (&self->ring); /* the poll holds the file open */
    }
  slot->fd = -1;
  slot->armed = FALSE;
  slot->generation++;
}

static gboolean
uring_waiter_set_glib_fds (VhostWaiter *waiter, GPollFD *fds, guint n)
{
  UringWaiter *self = (UringWaiter *) waiter;

  vhost_waiter_glib_set (&self->glib, self->epoll_fd, fds, n);
  return TRUE;
}

static gboolean
uring_waiter_peek (VhostWaiter *waiter)
{
  UringWaiter *self = (UringWaiter *) waiter;

  return io_uring_cq_ready (&self->ring) > 0
         || (__atomic_load_n (self->ring.sq.kflags, __ATOMIC_RELAXED)
             & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static guint
reap (UringWaiter *self, guint *kicked, guint max, gboolean *glib)
{
  struct io_uring_cqe *cqe;
  unsigned head;
  unsigned seen = 0;
  guint n_kicked = 0;

  io_uring_for_each_cqe (&self->ring, head, cqe)
  {
    guint64 data = cqe->user_data;
    int result = cqe->res;
    unsigned flags = cqe->flags;

    if (n_kicked == max)
      break;
    seen++;
    switch (data & TAG_MASK)
      {
      case TAG_OPERATION:
        {
          VhostIoOp *op = (VhostIoOp *) (guintptr) data;

          vhost_io_op_ended (op->io, op, result);
          break;
        }
      case TAG_KICK:
        {
          guint id = (guint32) data >> 3;
          Slot *slot = &g_array_index (self->slots, Slot, id);

          if (slot->generation != data >> 32)
            break;
          if (!(flags & IORING_CQE_F_MORE))
            {
              slot->armed = FALSE;
              self->must_arm = TRUE;
            }
          kicked[n_kicked++] = id;
          break;
        }
      case TAG_GLIB:
        *glib = TRUE;
        self->glib_armed = FALSE;
        self->must_arm = TRUE;
        break;
      default:
        break;
      }
  }
  io_uring_cq_advance (&self->ring, seen);
  return n_kicked;
}

static guint
uring_waiter_wait (VhostWaiter *waiter, gint64 timeout_us, guint *kicked, guint max,
                   gboolean *glib_ready)
{
  UringWaiter *self = (UringWaiter *) waiter;
  gboolean glib = self->glib.always_ready;
  guint n_kicked;

  if (self->must_arm)
    arm_all (self);
  if (glib || io_uring_cq_ready (&self->ring) > 0)
    timeout_us = 0;

  if (timeout_us == 0)
    {
      /* No system call when there is nothing to submit and nothing to fetch. */
      if (io_uring_sq_ready (&self->ring) > 0 || uring_waiter_peek (waiter))
        io_uring_submit_and_get_events (&self->ring);
    }
  else if (timeout_us < 0)
    io_uring_submit_and_wait (&self->ring, 1);
  else
    {
      struct io_uring_cqe *cqe;
      struct __kernel_timespec time
          = { .tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000 };

      io_uring_submit_and_wait_timeout (&self->ring, &cqe, 1, &time, NULL);
    }
  n_kicked = reap (self, kicked, max, &glib);
  *glib_ready = glib && vhost_waiter_poll_glib (self->glib.fds, self->glib.n_fds, 0) > 0;
  return n_kicked;
}

const VhostWaiterOps vhost_waiter_uring_ops = {
  .new = uring_waiter_new,
  .free = uring_waiter_free,
  .add = uring_waiter_add,
  .remove = uring_waiter_remove,
  .set_glib_fds = uring_waiter_set_glib_fds,
  .wait = uring_waiter_wait,
  .peek = uring_waiter_peek,
};
