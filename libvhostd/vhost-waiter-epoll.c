/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting by epoll: kicks and GLib's descriptors in one set. For where io_uring is refused. Knows
 * descriptors and numbers, not queues.
 *
 * How it works: an eventfd is watched edge-triggered and never read (one system call less for each
 * kick); what is no eventfd could fill up, so it is level-triggered and its owner reads it. GLib's
 * descriptors are level-triggered; when one is ready poll() fills in the whole array, as GLib would
 * have done. */
#include "config.h"

#include "vhost-waiter-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define GLIB_TAG G_GUINT64_CONSTANT (0xffffffff00000000)
#define MAX_EVENTS 64

typedef struct
{
  VhostWaiter parent;
  int epoll_fd;
  int glib_fd; /* a set within the set: GLib's descriptors close behind our back, and what then
                  takes over the number of one may be a kick, which must not be removed in its place
                */
  VhostWaiterGlib glib;
} EpollWaiter;

/* ---- GLib's array in an epoll set, for both waiters */

guint
vhost_waiter_poll_glib (GPollFD *fds, guint n, int timeout_ms)
{
  /* GPollFD and struct pollfd have the same layout wherever poll() exists; GLib itself relies on
   * it. */
  int ready = poll ((struct pollfd *) (gpointer) fds, n, timeout_ms);

  return MAX (ready, 0);
}

static guint32
events_of (const GPollFD *fd)
{
  return ((fd->events & G_IO_IN) ? EPOLLIN : 0) | ((fd->events & G_IO_OUT) ? EPOLLOUT : 0)
         | ((fd->events & G_IO_PRI) ? EPOLLPRI : 0);
}

void
vhost_waiter_glib_clear (VhostWaiterGlib *self)
{
  g_free (self->registered);
}

void
vhost_waiter_glib_set (VhostWaiterGlib *self, int epoll_fd, GPollFD *fds, guint n)
{
  self->fds = fds;
  self->n_fds = n;
  /* One unchanged descriptor is the context's own wake-up, which lives as long as the context. With
   * more of them, a number may stand for another file than last time: register anew. This is off
   * the kick path. */
  if (n == 1 && self->n_registered == 1 && self->registered[0].fd == fds[0].fd
      && self->registered[0].events == fds[0].events)
    return;

  for (guint i = 0; i < self->n_registered; i++)
    epoll_ctl (epoll_fd, EPOLL_CTL_DEL, self->registered[i].fd, NULL);
  self->registered = g_renew (GPollFD, self->registered, n);
  self->n_registered = n;
  self->always_ready = FALSE;
  for (guint i = 0; i < n; i++)
    {
      struct epoll_event event = { .events = events_of (&fds[i]), .data.u64 = GLIB_TAG };

      self->registered[i] = fds[i];
      if (epoll_ctl (epoll_fd, EPOLL_CTL_ADD, fds[i].fd, &event) == 0)
        continue;
      if (errno == EEXIST)
        {
          for (guint j = 0; j < i; j++)
            if (fds[j].fd == fds[i].fd)
              event.events |= events_of (&fds[j]);
          epoll_ctl (epoll_fd, EPOLL_CTL_MOD, fds[i].fd, &event);
        }
      else
        self->always_ready = TRUE; /* a plain file or a closed number: poll() says what it is */
    }
}

/* ---- the waiter */

static VhostWaiter *
epoll_waiter_new (GError **error)
{
  struct epoll_event event = { .events = EPOLLIN, .data.u64 = GLIB_TAG };
  EpollWaiter *self;
  int fd = epoll_create1 (EPOLL_CLOEXEC);

  if (fd < 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "cannot create an epoll set: %s",
                   g_strerror (errno));
      return NULL;
    }
  self = g_new0 (EpollWaiter, 1);
  self->parent.ops = &vhost_waiter_epoll_ops;
  self->epoll_fd = fd;
  self->glib_fd = epoll_create1 (EPOLL_CLOEXEC);
  if (self->glib_fd < 0 || epoll_ctl (fd, EPOLL_CTL_ADD, self->glib_fd, &event) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "cannot create an epoll set: %s",
                   g_strerror (errno));
      vhost_fd_clear (&self->glib_fd);
      vhost_fd_clear (&self->epoll_fd);
      g_free (self);
      return NULL;
    }
  return &self->parent;
}

static void
epoll_waiter_free (VhostWaiter *waiter)
{
  EpollWaiter *self = (EpollWaiter *) waiter;

  close (self->glib_fd);
  close (self->epoll_fd);
  vhost_waiter_glib_clear (&self->glib);
  g_free (self);
}

static gboolean
epoll_waiter_add (VhostWaiter *waiter, int fd, gboolean eventfd, guint id, GError **error)
{
  EpollWaiter *self = (EpollWaiter *) waiter;
  struct epoll_event event = { .events = EPOLLIN | (eventfd ? EPOLLET : 0), .data.u64 = id };

  if (epoll_ctl (self->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "cannot wait for kicks: %s",
                   g_strerror (errno));
      return FALSE;
    }
  return TRUE;
}

static void
epoll_waiter_remove (VhostWaiter *waiter, int fd, guint id)
{
  EpollWaiter *self = (EpollWaiter *) waiter;

  epoll_ctl (self->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static gboolean
epoll_waiter_set_glib_fds (VhostWaiter *waiter, GPollFD *fds, guint n)
{
  EpollWaiter *self = (EpollWaiter *) waiter;

  vhost_waiter_glib_set (&self->glib, self->glib_fd, fds, n);
  return TRUE;
}

static guint
epoll_waiter_wait (VhostWaiter *waiter, gint64 timeout_us, guint *kicked, guint max,
                   gboolean *glib_ready)
{
  EpollWaiter *self = (EpollWaiter *) waiter;
  struct epoll_event events[MAX_EVENTS];
  gboolean glib = self->glib.always_ready;
  guint n_kicked = 0;
  int n;

  if (glib)
    timeout_us = 0;
  if (timeout_us > 0 && timeout_us < 1000000)
    {
      struct timespec time = { .tv_nsec = timeout_us * 1000 };

      /* epoll_wait counts milliseconds, which a polling ring cannot wait for */
      n = epoll_pwait2 (self->epoll_fd, events, MIN (max, MAX_EVENTS), &time, NULL);
      if (n < 0 && errno != EINTR) /* ENOSYS, or EPERM from a sandbox that does not know it */
        n = epoll_wait (self->epoll_fd, events, MIN (max, MAX_EVENTS), (timeout_us + 999) / 1000);
    }
  else
    n = epoll_wait (self->epoll_fd, events, MIN (max, MAX_EVENTS),
                    timeout_us < 0 ? -1 : (int) MIN ((timeout_us + 999) / 1000, G_MAXINT));

  for (int i = 0; i < n; i++)
    {
      if (events[i].data.u64 == GLIB_TAG)
        glib = TRUE;
      else
        kicked[n_kicked++] = events[i].data.u64;
    }
  *glib_ready = glib && vhost_waiter_poll_glib (self->glib.fds, self->glib.n_fds, 0) > 0;
  return n_kicked;
}

static gboolean
epoll_waiter_peek (VhostWaiter *waiter)
{
  return FALSE;
}

const VhostWaiterOps vhost_waiter_epoll_ops = {
  .new = epoll_waiter_new,
  .free = epoll_waiter_free,
  .add = epoll_waiter_add,
  .remove = epoll_waiter_remove,
  .set_glib_fds = epoll_waiter_set_glib_fds,
  .wait = epoll_waiter_wait,
  .peek = epoll_waiter_peek,
};
