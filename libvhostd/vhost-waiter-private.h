/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two ways to wait for kicks, GLib's descriptors and I/O completions. A waiter knows
 * descriptors and numbers; it does not know queues. Thread: the worker's, all of it. */
#pragma once

#include <glib.h>

typedef struct _VhostWaiter VhostWaiter;

typedef struct
{
  /* FALSE and @error: not allowed here (seccomp, io_uring_disabled, old kernel). */
  VhostWaiter *(*new) (GError **error);
  void (*free) (VhostWaiter *self);
  /* Watches a kick descriptor. @eventfd: edge-triggered, never read; otherwise level-triggered and
   * the caller reads it. @id comes back. */
  gboolean (*add) (VhostWaiter *self, int fd, gboolean eventfd, guint id, GError **error);
  void (*remove) (VhostWaiter *self, int fd, guint id);
  /* GLib's poll array changed (memcmp): register these; the array stays valid until the next call.
   */
  gboolean (*set_glib_fds) (VhostWaiter *self, GPollFD *fds, guint n);
  /* Waits at most @timeout_us (-1 for ever, 0 not at all). Kicked ids go to @kicked (at most @max);
   * returns how many.
   * *@glib_ready: GLib's revents have been filled. Submits and reaps I/O on the way where the
   * waiter can. */
  guint (*wait) (VhostWaiter *self, gint64 timeout_us, guint *kicked, guint max,
                 gboolean *glib_ready);
  /* Something to reap without a system call? For busy polling. */
  gboolean (*peek) (VhostWaiter *self);
} VhostWaiterOps;

struct _VhostWaiter
{
  const VhostWaiterOps *ops;
};

extern const VhostWaiterOps vhost_waiter_epoll_ops;
extern const VhostWaiterOps vhost_waiter_uring_ops;

/* poll() of GLib's array, for a nested iteration and for filling revents. */
guint vhost_waiter_poll_glib (GPollFD *fds, guint n, int timeout_ms);

/* GLib's array inside an epoll set (vhost-waiter-epoll.c). */
typedef struct
{
  GPollFD *fds; /* (unowned): GLib's */
  guint n_fds;
  GPollFD *registered; /* (owned): what is in the set */
  guint n_registered;
  gboolean always_ready; /* one of them cannot be in an epoll set */
} VhostWaiterGlib;

void vhost_waiter_glib_set (VhostWaiterGlib *self, int epoll_fd, GPollFD *fds, guint n);
void vhost_waiter_glib_clear (VhostWaiterGlib *self);

#define VHOST_WAITER_MAX_KICKS 64

/* The ring of a uring waiter, for operations of the I/O engine (struct io_uring). */
struct io_uring;
struct io_uring *vhost_waiter_uring_get_ring (VhostWaiter *self);
/* A free submission entry, submitting first when there is none. */
struct io_uring_sqe *vhost_waiter_uring_get_sqe (VhostWaiter *self);
