/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A ring as a GSource, for a context that is not a worker's: scripts, and workers=0. Slower than a
 * worker's own loop (GLib looks at every source each time), but the ring can share a main loop with
 * anything. */
#include "config.h"

#include "vhost-kick-source.h"

#include "vhost-fd-private.h"
#include "vhost-worker-private.h"

/* How often a ring without a usable kick descriptor is looked at. */
#define POLLED_US 200

typedef struct
{
  GSource parent;
  VhostQueue *queue; /* (unowned): destroyed with the ring's stop */
  gpointer tag;      /* (nullable): of the kick descriptor */
} KickSource;

/* TRUE: requests are there. Otherwise the driver has been told to kick. */
static gboolean
look (KickSource *self)
{
  return vhost_queue_has_available (self->queue) || vhost_queue_kicks_on (self->queue);
}

/* Not in prepare: it wakes the context, which would go round and round. */
static void
look_again_later (GSource *source)
{
  g_source_set_ready_time (source, g_get_monotonic_time () + POLLED_US);
}

static gboolean
kick_prepare (GSource *source, gint *timeout)
{
  KickSource *self = (KickSource *) source;

  *timeout = -1;
  return !vhost_worker_is_in_pass (self->queue->worker) && look (self);
}

static gboolean
kick_check (GSource *source)
{
  KickSource *self = (KickSource *) source;

  if (vhost_worker_is_in_pass (self->queue->worker))
    return FALSE;
  return (self->tag != NULL && g_source_query_unix_fd (source, self->tag) != 0)
         || vhost_queue_has_available (self->queue);
}

static gboolean
kick_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  KickSource *self = (KickSource *) source;
  VhostQueue *queue = self->queue;

  vhost_worker_bind_thread (queue->worker);
  if (self->tag != NULL && g_source_query_unix_fd (source, self->tag) != 0)
    {
      /* What cannot be read empty is as good as none. */
      if (!vhost_fd_drain (queue->kick_fd))
        g_source_remove_unix_fd (source, g_steal_pointer (&self->tag));
      vhost_queue_count (&queue->counters.kicks, 1);
    }
  if (self->tag == NULL)
    look_again_later (source);
  vhost_worker_kick_queue (queue->worker, queue);
  vhost_worker_run_pass (queue->worker);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs kick_funcs = {
  .prepare = kick_prepare,
  .check = kick_check,
  .dispatch = kick_dispatch,
};

/**
 * vhost_kick_source_new: (skip)
 * @queue: a started queue of a back-end without worker threads (its `workers` property is 0)
 *
 * Makes a source that serves @queue when it is kicked, and as long as it has requests. The library
 * itself attaches one for each queue when a back-end has no workers, so this is for those who build
 * a loop of their own.
 *
 * Thread: the one that runs the context; the source must be destroyed before the queue stops.
 *
 * Returns: (transfer full): the source, not attached
 *
 * Since: 0.1
 */
GSource *
vhost_kick_source_new (VhostQueue *queue)
{
  GSource *source = g_source_new (&kick_funcs, sizeof (KickSource));
  KickSource *self = (KickSource *) source;

  self->queue = queue;
  g_source_set_static_name (source, "vhost-kick");
  if (queue->kick_fd >= 0)
    self->tag = g_source_add_unix_fd (source, queue->kick_fd, G_IO_IN);
  else
    look_again_later (source);
  return source;
}
