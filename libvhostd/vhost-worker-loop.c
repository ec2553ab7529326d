/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's loop: a GPollFunc that serves kicks itself. Must not allocate and must not call GLib
 * on the kick path.
 *
 * How it works: GLib calls the poll function with its descriptors and a timeout, as it would call
 * poll(). We wait for those, for kicks and for I/O completions together, serve the queues here, and
 * return to GLib only when one of its descriptors is ready, its deadline has passed, or the worker
 * must end. So a timer or a socket works as in any main context, and a kick costs nothing but
 * itself. One round: commands from other threads, one pass over the queues that are ready, the I/O
 * batch, completions, used entries to the drivers, then the wait. The deadline is looked at in
 * every round: a flood of kicks delays a timer by one round at most.
 *
 * Before it sleeps, the worker polls the rings for a while, as long as that has paid lately: it
 * begins with a few microseconds, doubles up to poll-max when an event came soon after it went to
 * sleep, and stops polling when one was long in coming. Drivers are told that kicks are wanted only
 * then; each ring is looked at once more after that. */
#include "config.h"

#include "vhost-fd-private.h"
#include "vhost-worker-loop-private.h"

#define MAX_GLIB_FDS 1024 /* of sources in a context whose handlers iterate it within a pass */
#define POLL_FIRST_US 4
#define CLOCK_EVERY 32 /* looks at the rings between two looks at the clock */
#define ROUNDS_OF_IO 4 /* completions that start new operations, before others have their turn */
#define POLLED_SLEEP_US 200 /* longest sleep while a ring must be polled (no kick descriptor) */

static __thread VhostWorker *current_worker;

static inline void
relax (void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause ();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

void
vhost_worker_link_ready (VhostWorker *self, VhostQueue *queue)
{
  if (queue->linked_ready)
    return;
  queue->linked_ready = TRUE;
  queue->next_ready = NULL;
  *self->ready_tail = queue;
  self->ready_tail = &queue->next_ready;
}

void
vhost_worker_link_dirty (VhostWorker *self, VhostQueue *queue)
{
  if (queue->linked_dirty)
    return;
  queue->linked_dirty = TRUE;
  queue->next_dirty = self->dirty;
  self->dirty = queue;
}

static VhostQueue *
pop_ready (VhostWorker *self)
{
  VhostQueue *queue = self->ready;

  if (queue != NULL)
    {
      self->ready = queue->next_ready;
      if (self->ready == NULL)
        self->ready_tail = &self->ready;
      queue->linked_ready = FALSE;
    }
  return queue;
}

void
vhost_worker_unlink (VhostWorker *self, VhostQueue *queue)
{
  if (queue->linked_ready)
    {
      VhostQueue **link = &self->ready;

      while (*link != queue)
        link = &(*link)->next_ready;
      *link = queue->next_ready;
      if (*link == NULL)
        self->ready_tail = link;
      queue->linked_ready = FALSE;
    }
  if (queue->linked_dirty)
    {
      VhostQueue **link = &self->dirty;

      while (*link != queue)
        link = &(*link)->next_dirty;
      *link = queue->next_dirty;
      queue->linked_dirty = FALSE;
    }
}

static void
flush_dirty (VhostWorker *self)
{
  while (self->dirty != NULL)
    {
      VhostQueue *queue = self->dirty;

      self->dirty = queue->next_dirty;
      queue->linked_dirty = FALSE;
      vhost_queue_flush (queue);
    }
}

void
vhost_worker_run_pass (VhostWorker *self)
{
  /* Each queue that is ready now once; one that wants more goes to the end of the line. */
  guint n_ready = 0;

  self->in_pass = TRUE;
  for (VhostQueue *queue = self->ready; queue != NULL; queue = queue->next_ready)
    n_ready++;
  while (n_ready-- > 0 && self->ready != NULL)
    {
      VhostQueue *queue = pop_ready (self);

      if (vhost_queue_serve (queue))
        vhost_worker_link_ready (self, queue);
    }
  for (guint i = 0; i < ROUNDS_OF_IO && vhost_io_has_work (&self->io); i++)
    {
      vhost_io_start_batch (&self->io);
      vhost_io_reap (&self->io);
    }
  flush_dirty (self);
  self->in_pass = FALSE;
}

static gboolean
has_work (VhostWorker *self)
{
  return self->ready != NULL || self->dirty != NULL || vhost_io_has_work (&self->io)
         || !vhost_mailbox_is_empty (&self->mailbox);
}

/* TRUE: some ring has requests (it is ready now), or something else wants the loop. */
static gboolean
look (VhostWorker *self)
{
  gboolean found = FALSE;

  for (guint i = 0; i < self->queues->len; i++)
    {
      VhostQueue *queue = g_ptr_array_index (self->queues, i);

      if (queue != NULL && vhost_queue_has_available (queue))
        {
          vhost_queue_count (&queue->counters.polls_hit, 1);
          vhost_worker_link_ready (self, queue);
          found = TRUE;
        }
    }
  return found || !vhost_mailbox_is_empty (&self->mailbox)
         || self->waiter->ops->peek (self->waiter);
}

static gboolean
spin (VhostWorker *self, gint64 until)
{
  do
    for (guint i = 0; i < CLOCK_EVERY; i++)
      {
        if (look (self))
          return TRUE;
        relax ();
      }
  while (g_get_monotonic_time () < until);
  return FALSE;
}

/* Kicks are wanted from here on. TRUE: something came in the meantime, do not sleep. */
static gboolean
arm_kicks (VhostWorker *self)
{
  gboolean found = FALSE;

  for (guint i = 0; i < self->queues->len; i++)
    {
      VhostQueue *queue = g_ptr_array_index (self->queues, i);

      if (queue != NULL && vhost_queue_kicks_on (queue))
        {
          vhost_worker_link_ready (self, queue);
          found = TRUE;
        }
    }
  return found;
}

static void
adapt (VhostWorker *self, gint64 waited_us)
{
  gint64 poll_max = atomic_load_explicit (&self->poll_max, memory_order_relaxed);

  if (waited_us > poll_max)
    self->poll_us = 0;
  else if (waited_us > self->poll_us)
    self->poll_us = MIN (MAX (self->poll_us * 2, POLL_FIRST_US), poll_max);
}

static gboolean
take_events (VhostWorker *self, gint64 timeout_us)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib_ready = FALSE;
  guint n = self->waiter->ops->wait (self->waiter, timeout_us, kicked, G_N_ELEMENTS (kicked),
                                     &glib_ready);

  for (guint i = 0; i < n; i++)
    {
      VhostQueue *queue;

      if (kicked[i] == 0)
        {
          vhost_mailbox_wake (&self->mailbox);
          continue;
        }
      queue
          = kicked[i] <= self->queues->len ? g_ptr_array_index (self->queues, kicked[i] - 1) : NULL;
      if (queue == NULL)
        continue;
      if (!queue->kick_is_eventfd && !vhost_fd_drain (queue->kick_fd))
        {
          /* Ready for ever and never read empty: as good as none (V40). */
          self->waiter->ops->remove (self->waiter, queue->kick_fd, queue->waiter_id);
          vhost_fd_clear (&queue->kick_fd);
          self->n_polled++;
        }
      vhost_queue_count (&queue->counters.kicks, 1);
      vhost_worker_link_ready (self, queue);
    }
  return glib_ready;
}

/* Waits for whatever comes first. TRUE: GLib's descriptors. */
static gboolean
wait_for_events (VhostWorker *self, gint64 deadline)
{
  gint64 start, timeout, now;
  gboolean glib_ready;

  if (has_work (self))
    {
      /* Kicks are off while we are awake: a queue beside a busy one has no other way to be seen. */
      look (self);
      return take_events (self, 0);
    }

  start = now = g_get_monotonic_time ();
  if (now >= deadline)
    return take_events (self, 0);
  if (self->n_queues > 0)
    {
      gint64 poll = self->n_polled > 0 ? MAX (self->poll_us, POLL_FIRST_US) : self->poll_us;

      if (poll > 0 && spin (self, MIN (start + poll, deadline)))
        return take_events (self, 0);
      if (arm_kicks (self))
        return take_events (self, 0);
    }
  /* seq_cst store, then a look at the list: pairs with push-then-look in vhost_mailbox_post () */
  if (!vhost_mailbox_prepare_sleep (&self->mailbox))
    return take_events (self, 0);
  timeout = deadline == G_MAXINT64 ? -1 : MAX (deadline - g_get_monotonic_time (), 0);
  if (self->n_polled > 0)
    timeout = timeout < 0 ? POLLED_SLEEP_US : MIN (timeout, POLLED_SLEEP_US);
  glib_ready = take_events (self, timeout);
  atomic_store_explicit (&self->mailbox.sleeping, FALSE, memory_order_relaxed);
  adapt (self, g_get_monotonic_time () - start);
  return glib_ready;
}

static gint
worker_poll (GPollFD *fds, guint n_fds, gint timeout_ms)
{
  VhostWorker *self = current_worker;
  gint64 deadline;
  gboolean glib_ready = FALSE;

  /* A handler within a pass iterates the context: GLib's descriptors only, rings wait for the
   * handler. GLib has used the outer call's array for this one, and its sources may be others now:
   * the outer call must end. */
  if (self->in_poll)
    {
      self->nested = TRUE;
      return vhost_waiter_poll_glib (fds, n_fds, timeout_ms);
    }

  self->in_poll = TRUE;
  self->nested = FALSE;
  for (guint i = 0; i < n_fds; i++)
    fds[i].revents = 0;
  self->waiter->ops->set_glib_fds (self->waiter, fds, n_fds);
  deadline = timeout_ms < 0    ? G_MAXINT64
             : timeout_ms == 0 ? 0
                               : g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  do
    {
      vhost_mailbox_run (&self->mailbox);
      if (self->quit || self->nested)
        break;
      vhost_worker_run_pass (self);
      if (self->nested)
        break;
      glib_ready = wait_for_events (self, deadline);
      vhost_io_reap (&self->io);
    }
  while (!glib_ready && !self->nested
         && (deadline == G_MAXINT64 || g_get_monotonic_time () < deadline));
  self->in_poll = FALSE;

  if (self->nested)
    for (guint i = 0; i < n_fds; i++)
      fds[i].revents = 0;
  if (!glib_ready || self->nested)
    return 0;
  {
    gint n = 0;

    for (guint i = 0; i < n_fds; i++)
      n += fds[i].revents != 0;
    return n;
  }
}

static gboolean
dispatch_nothing (GSource *source, GSourceFunc callback, gpointer data)
{
  return G_SOURCE_REMOVE;
}

/* GLib keeps one array for its polls, enlarges it by freeing the old one, and uses it in a nested
 * iteration as well, while the outer poll function still holds it. So it is made large enough for
 * good before ours is in place: by a source with that many descriptors, which need not exist. */
static void
enlarge_poll_array (GMainContext *context)
{
  static GSourceFuncs nothing = { .dispatch = dispatch_nothing };
  GSource *source = g_source_new (&nothing, sizeof (GSource));

  for (guint i = 0; i < MAX_GLIB_FDS; i++)
    g_source_add_unix_fd (source, G_MAXINT / 2 + (int) i, 0);
  g_source_attach (source, context);
  g_main_context_iteration (context, FALSE);
  g_source_destroy (source);
  g_source_unref (source);
}

void
vhost_worker_loop_bind (VhostWorker *self)
{
  enlarge_poll_array (self->context);
  current_worker = self;
  self->poll_us = 0;
  g_main_context_set_poll_func (self->context, worker_poll);
}
