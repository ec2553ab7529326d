/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's only wait: for a descriptor, with a deadline. Must not read or write it.
 *
 * How it works: with iterate-context the wait is a source in the thread-default main context, which
 * is iterated until the source was dispatched; thus a back-end of the same thread gets its turn.
 * Where another thread owns the context this one cannot iterate it, and does not need to: it polls.
 */
#include "config.h"

#include "vhost-frontend-private.h"

#include <errno.h>
#include <poll.h>

typedef struct
{
  GSource source;
  gpointer tags[2]; /* (nullable) */
  gboolean dispatched;
  gboolean ready;
} VhostFrontendWait;

static gboolean
wait_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  VhostFrontendWait *wait = (VhostFrontendWait *) source;

  /* Woken by the time when no descriptor has anything. */
  for (guint i = 0; i < G_N_ELEMENTS (wait->tags); i++)
    {
      if (wait->tags[i] != NULL && g_source_query_unix_fd (source, wait->tags[i]) != 0)
        wait->ready = TRUE;
    }
  wait->dispatched = TRUE;
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs wait_funcs = { .dispatch = wait_dispatch };

static int
iterate_for (VhostFrontend *self, GMainContext *context, int fd, int other_fd, short events,
             gint64 deadline)
{
  const guint n_disconnects = self->n_disconnects;
  VhostFrontendWait *wait
      = (VhostFrontendWait *) g_source_new (&wait_funcs, sizeof (VhostFrontendWait));
  GSource *source = &wait->source;
  int result;

  g_source_set_static_name (source, "vhost front-end waits");
  wait->tags[0] = g_source_add_unix_fd (source, fd, (GIOCondition) events);
  if (other_fd >= 0)
    wait->tags[1] = g_source_add_unix_fd (source, other_fd, (GIOCondition) events);
  g_source_set_ready_time (source, deadline);
  g_source_attach (source, context);

  /* A handler that disconnects closes the descriptors. */
  while (!wait->dispatched && self->n_disconnects == n_disconnects)
    g_main_context_iteration (context, TRUE);

  result = wait->ready ? 1 : 0;
  if (self->n_disconnects != n_disconnects)
    {
      errno = ENOTCONN;
      result = -1;
    }
  g_source_destroy (source);
  g_source_unref (source);
  return result;
}

static int
poll_for (int fd, int other_fd, short events, gint64 deadline)
{
  struct pollfd pollfds[2]
      = { { .fd = fd, .events = events }, { .fd = other_fd, .events = events } };
  int timeout = -1;
  int result;

  do
    {
      if (deadline >= 0)
        {
          gint64 left = deadline - g_get_monotonic_time ();

          timeout = left <= 0 ? 0 : (int) MIN (left / 1000 + 1, G_MAXINT);
        }
      result = poll (pollfds, G_N_ELEMENTS (pollfds), timeout);
    }
  while (result < 0 && errno == EINTR);

  return MIN (result, 1);
}

int
vhost_frontend_wait_for (VhostFrontend *self, int fd, int other_fd, short events, gint64 deadline)
{
  g_autoptr (GMainContext) context = NULL;
  int result;
  int saved_errno;

  if (!self->iterate_context)
    return poll_for (fd, other_fd, events, deadline);

  context = g_main_context_ref_thread_default ();
  if (!g_main_context_acquire (context))
    return poll_for (fd, other_fd, events, deadline);
  result = iterate_for (self, context, fd, other_fd, events, deadline);
  saved_errno = errno;
  g_main_context_release (context);
  errno = saved_errno;
  return result;
}
