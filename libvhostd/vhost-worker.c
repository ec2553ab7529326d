/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A worker: a thread with a main context whose loop serves virtqueues (vhost-worker-loop.c), or,
 * without a thread, a guest in the daemon's own context. Must not know back-ends and sessions. */
#include "config.h"

#include "vhost-worker.h"

#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-kick-source.h"
#include "vhost-worker-loop-private.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>

/**
 * VhostWorker:
 *
 * A thread that serves queues, or the daemon's own context in its place.
 *
 * Every #GSource works in vhost_worker_get_context(): timers, sockets and idle functions run
 * between two passes over the queues. A handler must be short; what blocks belongs into
 * vhost_io_call().
 *
 * Since: 0.1
 */

enum
{
  PROP_NAME = 1,
  PROP_WAITER,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE (VhostWorker, vhost_worker, G_TYPE_OBJECT)

static void
vhost_worker_finalize (GObject *object)
{
  VhostWorker *self = VHOST_WORKER (object);

  vhost_worker_stop (self);
  g_clear_pointer (&self->queues, g_ptr_array_unref);
  g_clear_pointer (&self->context, g_main_context_unref);
  vhost_mailbox_clear (&self->mailbox);
  g_free (self->name);
  G_OBJECT_CLASS (vhost_worker_parent_class)->finalize (object);
}

static void
vhost_worker_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostWorker *self = VHOST_WORKER (object);

  switch (id)
    {
    case PROP_NAME:
      g_value_set_string (value, self->name);
      break;
    case PROP_WAITER:
      g_value_set_enum (value, self->waiter_kind);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_worker_class_init (VhostWorkerClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->finalize = vhost_worker_finalize;
  object_class->get_property = vhost_worker_get_property;

  /**
   * VhostWorker:name:
   *
   * The worker's name; its thread has it too.
   *
   * Since: 0.1
   */
  properties[PROP_NAME] = g_param_spec_string ("name", "Name", "Name of the worker's thread", NULL,
                                               G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostWorker:waiter:
   *
   * How the worker waits: never %VHOST_WAITER_AUTO, which is only a wish.
   *
   * Since: 0.1
   */
  properties[PROP_WAITER] = g_param_spec_enum ("waiter", "Waiter", "How the worker waits for kicks",
                                               VHOST_TYPE_WAITER_KIND, VHOST_WAITER_EPOLL,
                                               G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhost_worker_init (VhostWorker *self)
{
  self->queues = g_ptr_array_new ();
  self->ready_tail = &self->ready;
  self->mailbox.wake_fd = -1;
}

/* relaxed: who is not on it has nothing to do with what it guards. */
void
vhost_worker_bind_thread (VhostWorker *self)
{
  atomic_store_explicit (&self->thread_number, vhost_queue_current_thread (), memory_order_relaxed);
}

/* ---- the thread */

typedef struct
{
  VhostWorker *worker;
  VhostWaiterKind wanted;
  GError *error;
  sem_t done;
} Start;

static VhostWaiter *
make_waiter (VhostWaiterKind wanted, VhostWaiterKind *made, GError **error)
{
#if HAVE_URING
  if (wanted != VHOST_WAITER_EPOLL)
    {
      g_autoptr (GError) local_error = NULL;
      VhostWaiter *waiter = vhost_waiter_uring_ops.new(&local_error);

      if (waiter != NULL)
        {
          *made = VHOST_WAITER_URING;
          return waiter;
        }
      if (wanted == VHOST_WAITER_URING)
        {
          g_propagate_error (error, g_steal_pointer (&local_error));
          return NULL;
        }
      g_debug ("%s; waiting by epoll", local_error->message);
    }
#else
  if (wanted == VHOST_WAITER_URING)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "this libvhostd was built without io_uring; use the epoll waiter");
      return NULL;
    }
#endif
  *made = VHOST_WAITER_EPOLL;
  return vhost_waiter_epoll_ops.new(error);
}

static void
block_signals (void)
{
  sigset_t signals;

  /* SIGBUS must reach its handler (a file that shrinks); the other faults are not ours to hide. */
  sigfillset (&signals);
  sigdelset (&signals, SIGBUS);
  sigdelset (&signals, SIGSEGV);
  sigdelset (&signals, SIGILL);
  sigdelset (&signals, SIGFPE);
  sigdelset (&signals, SIGTRAP);
  sigdelset (&signals, SIGABRT);
  sigdelset (&signals, SIGPROF);
  pthread_sigmask (SIG_BLOCK, &signals, NULL);
}

/* What is still under way is waited for: its memory belongs to requests that are about to end. */
static void
finish_io (VhostWorker *self)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib_ready;

  while (self->io.outstanding > 0 || vhost_io_has_work (&self->io))
    {
      vhost_io_start_batch (&self->io);
      vhost_io_reap (&self->io);
      if (self->io.outstanding > 0 && vhost_mailbox_prepare_sleep (&self->mailbox))
        self->waiter->ops->wait (self->waiter, -1, kicked, G_N_ELEMENTS (kicked), &glib_ready);
      vhost_mailbox_wake (&self->mailbox);
      vhost_mailbox_run (&self->mailbox);
      vhost_io_reap (&self->io);
    }
}

static gpointer
thread_main (gpointer data)
{
  Start *start = data;
  VhostWorker *self = start->worker;
  gboolean ok;

  block_signals ();
  vhost_worker_bind_thread (self);
  self->waiter = make_waiter (start->wanted, &self->waiter_kind, &start->error);
  ok = self->waiter != NULL
       && self->waiter->ops->add (self->waiter, self->mailbox.wake_fd, TRUE, 0, &start->error);
  if (ok)
    {
      vhost_io_init (&self->io, self->context, &self->mailbox,
                     self->waiter_kind == VHOST_WAITER_URING ? self->waiter : NULL);
      g_main_context_push_thread_default (self->context);
      vhost_worker_loop_bind (self);
    }
  sem_post (&start->done); /* @start is gone from here on */

  if (ok)
    {
      if (self->started != NULL)
        self->started (self, self->hook_data);
      while (!self->quit)
        g_main_context_iteration (self->context, TRUE);
      /* First the back-end, which may have something to cancel. */
      if (self->stopped != NULL)
        self->stopped (self, self->hook_data);
      vhost_io_cancel_polls (&self->io);
      finish_io (self);
      vhost_io_clear (&self->io);
      g_main_context_pop_thread_default (self->context);
    }
  if (self->waiter != NULL)
    self->waiter->ops->free (self->waiter);
  self->waiter = NULL;
  return NULL;
}

VhostWorker *
vhost_worker_new_thread (const char *name, VhostWaiterKind waiter, guint poll_max,
                         VhostWorkerHook started, VhostWorkerHook stopped, gpointer data,
                         GError **error)
{
  g_autoptr (VhostWorker) self = g_object_new (VHOST_TYPE_WORKER, NULL);
  Start start = { .worker = self, .wanted = waiter };

  self->name = g_strdup (name);
  self->started = started;
  self->stopped = stopped;
  self->hook_data = data;
  atomic_init (&self->poll_max, poll_max);
  if (!vhost_mailbox_init (&self->mailbox, error))
    return NULL;
  /* OWNERLESS_POLLING: a source that is attached within a kick must wake the poll function that
   * serves the kick. */
  self->context = g_main_context_new_with_flags (G_MAIN_CONTEXT_FLAGS_OWNERLESS_POLLING);

  sem_init (&start.done, 0, 0);
  self->thread = g_thread_try_new (name, thread_main, &start, error);
  if (self->thread != NULL)
    {
      while (sem_wait (&start.done) != 0)
        ; /* EINTR */
      if (start.error != NULL)
        {
          g_thread_join (g_steal_pointer (&self->thread));
          g_propagate_prefixed_error (error, start.error, "worker %s: ", name);
        }
    }
  sem_destroy (&start.done);
  return self->thread != NULL ? g_steal_pointer (&self) : NULL;
}

/* ---- without a thread: one source in somebody's context; kicks come by VhostKickSource */

typedef struct
{
  GSource parent;
  VhostWorker *worker; /* (unowned) */
  gpointer tag;
} InlineSource;

static gboolean
inline_has_work (VhostWorker *self)
{
  return self->ready != NULL || self->dirty != NULL || vhost_io_has_work (&self->io)
         || !vhost_mailbox_is_empty (&self->mailbox);
}

static gboolean
inline_prepare (GSource *source, gint *timeout)
{
  VhostWorker *self = ((InlineSource *) source)->worker;

  *timeout = -1;
  /* Before anything is dispatched: a timer in the context may work on a queue, too. */
  vhost_worker_bind_thread (self);
  /* A handler within a pass iterates the context: everything waits until it is through. */
  return !self->in_pass && inline_has_work (self);
}

static gboolean
inline_check (GSource *source)
{
  InlineSource *self = (InlineSource *) source;

  return !self->worker->in_pass
         && (inline_has_work (self->worker) || g_source_query_unix_fd (source, self->tag) != 0);
}

static gboolean
inline_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  VhostWorker *self = ((InlineSource *) source)->worker;

  vhost_worker_bind_thread (self);
  vhost_fd_drain (self->mailbox.wake_fd);
  /* A post takes the flag away, so it is set again before each look at the list. Partner: the
   * exchange in vhost_mailbox_post (). */
  atomic_store (&self->mailbox.sleeping, TRUE);
  vhost_mailbox_run (&self->mailbox);
  vhost_worker_run_pass (self);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs inline_funcs = {
  .prepare = inline_prepare,
  .check = inline_check,
  .dispatch = inline_dispatch,
};

VhostWorker *
vhost_worker_new_inline (GMainContext *context, GError **error)
{
  g_autoptr (VhostWorker) self = g_object_new (VHOST_TYPE_WORKER, NULL);

  self->name = g_strdup ("inline");
  self->waiter_kind = VHOST_WAITER_EPOLL; /* GLib's poll, to be exact */
  vhost_worker_bind_thread (self);
  if (!vhost_mailbox_init (&self->mailbox, error))
    return NULL;
  /* A post must write the descriptor: we do not know when the context sleeps. */
  atomic_store (&self->mailbox.sleeping, TRUE);
  self->context
      = context != NULL ? g_main_context_ref (context) : g_main_context_ref_thread_default ();
  vhost_io_init (&self->io, self->context, &self->mailbox, NULL);
  self->source = g_source_new (&inline_funcs, sizeof (InlineSource));
  ((InlineSource *) self->source)->worker = self;
  g_source_set_static_name (self->source, "vhost-worker");
  ((InlineSource *) self->source)->tag
      = g_source_add_unix_fd (self->source, self->mailbox.wake_fd, G_IO_IN);
  g_source_attach (self->source, self->context);
  return g_steal_pointer (&self);
}

/* ---- both */

typedef struct
{
  VhostTask task;
  VhostWorker *worker;
} Quit;

static void
run_quit (VhostTask *task)
{
  ((Quit *) task)->worker->quit = TRUE;
}

/* What is posted to a worker that has ended runs here, on one of the threads that post. Nobody
 * waits for another: the end of a queue waits for those that are just handing a request over to it.
 * Who finds the work taken can go, as the other one looks again after it has let go of it. */
static void
run_ended (VhostWorker *self)
{
  /* seq_cst, all of them: each poster pushes, then looks at ended_busy; each runner clears that,
   * then looks at the list. One of the two sees the other. */
  while (atomic_load (&self->mailbox.head) != NULL)
    {
      if (atomic_exchange (&self->ended_busy, TRUE))
        break;
      vhost_mailbox_run (&self->mailbox);
      atomic_store (&self->ended_busy, FALSE);
    }
}

void
vhost_worker_stop (VhostWorker *self)
{
  Quit quit = { .task.run = run_quit, .worker = self };

  if (self->source != NULL)
    {
      vhost_io_cancel_polls (&self->io);
      while (self->io.outstanding > 0 || vhost_io_has_work (&self->io)
             || !vhost_mailbox_is_empty (&self->mailbox))
        {
          struct pollfd fd = { .fd = self->mailbox.wake_fd, .events = POLLIN };

          vhost_io_start_batch (&self->io);
          vhost_io_reap (&self->io);
          if (self->io.outstanding > 0)
            poll (&fd, 1, -1);
          vhost_fd_drain (self->mailbox.wake_fd);
          atomic_store (&self->mailbox.sleeping, TRUE); /* as inline_dispatch () does */
          vhost_mailbox_run (&self->mailbox);
        }
      vhost_io_clear (&self->io);
      g_source_destroy (self->source);
      g_clear_pointer (&self->source, g_source_unref);
    }
  else if (self->thread != NULL)
    {
      vhost_mailbox_post (&self->mailbox, &quit.task);
      g_thread_join (g_steal_pointer (&self->thread));
    }
  else
    return;

  /* A back-end may still complete a request that it held back. No thread is the queues' own any
   * more, not even this one. */
  atomic_store_explicit (&self->thread_number, 0, memory_order_relaxed);
  atomic_store (&self->ended, TRUE);
  run_ended (self);
}

void
vhost_worker_post (VhostWorker *self, VhostTask *task)
{
  vhost_mailbox_post (&self->mailbox, task);
  /* seq_cst on both sides: either run_ended () of the stop sees the task, or we see the end */
  if (G_UNLIKELY (atomic_load (&self->ended)))
    {
      /* What runs may be the end of the last queue, which holds us. */
      g_object_ref (self);
      run_ended (self);
      g_object_unref (self);
    }
}

void
vhost_worker_set_poll_max (VhostWorker *self, guint poll_max_us)
{
  atomic_store_explicit (&self->poll_max, poll_max_us, memory_order_relaxed);
}

/* ---- queues */

static VhostWorker *
worker_of (VhostQueue *queue)
{
  return queue->worker;
}

/* VhostQueueHooks.wake. Thread: any. */
void
vhost_worker_wake_queue (VhostQueue *queue)
{
  VhostWorker *self = worker_of (queue);

  if (!vhost_queue_is_own_thread (queue))
    {
      vhost_worker_post (self, &queue->remote_task);
      return;
    }
  if (queue->more)
    vhost_worker_link_ready (self, queue);
  vhost_worker_link_dirty (self, queue);
}

static gboolean
watch (VhostWorker *self, VhostQueue *queue, int fd, GError **error)
{
  gboolean eventfd = vhost_fd_get_kind (fd) == VHOST_FD_EVENTFD;

  if (fd < 0)
    {
      self->n_polled++;
    }
  else if (self->waiter != NULL)
    {
      if (!self->waiter->ops->add (self->waiter, fd, eventfd, queue->waiter_id, error))
        return FALSE;
    }
  queue->kick_is_eventfd = eventfd;
  queue->watched = TRUE;
  return TRUE;
}

static void
unwatch (VhostWorker *self, VhostQueue *queue)
{
  if (!queue->watched)
    return;
  queue->watched = FALSE;
  if (queue->kick_fd < 0)
    self->n_polled--;
  else if (self->waiter != NULL)
    self->waiter->ops->remove (self->waiter, queue->kick_fd, queue->waiter_id);
  if (queue->kick_source != NULL)
    {
      g_source_destroy (queue->kick_source);
      g_clear_pointer (&queue->kick_source, g_source_unref);
    }
}

static void
attach_source (VhostWorker *self, VhostQueue *queue)
{
  if (self->waiter == NULL)
    {
      queue->kick_source = vhost_kick_source_new (queue);
      g_source_attach (queue->kick_source, self->context);
    }
}

gboolean
vhost_worker_start_queue (VhostWorker *self, VhostQueue *queue, const VhostQueueSetup *setup,
                          VhostMemory *memory, GError **error)
{
  guint id = 0;

  /* Number 0 is the mailbox's. */
  while (id < self->queues->len && g_ptr_array_index (self->queues, id) != NULL)
    id++;
  queue->waiter_id = id + 1;
  if (!watch (self, queue, setup->kick_fd, error))
    return FALSE;
  if (!vhost_queue_start (queue, setup, memory, error))
    {
      int kick_fd = queue->kick_fd;

      queue->kick_fd = setup->kick_fd;
      unwatch (self, queue);
      queue->kick_fd = kick_fd;
      return FALSE;
    }
  if (queue->worker == NULL)
    queue->worker = g_object_ref (self);
  queue->owner_thread = &self->thread_number;
  if (id == self->queues->len)
    g_ptr_array_add (self->queues, queue);
  else
    self->queues->pdata[id] = queue;
  self->n_queues++;
  attach_source (self, queue);
  /* Whatever is there already needs no kick (R4). */
  vhost_worker_link_ready (self, queue);
  return TRUE;
}

static void
forget (VhostWorker *self, VhostQueue *queue)
{
  if (!queue->watched)
    return;
  unwatch (self, queue);
  vhost_fd_clear (&queue->kick_fd);
  self->queues->pdata[queue->waiter_id - 1] = NULL;
  self->n_queues--;
}

static void
run_drained (VhostTask *task)
{
  VhostQueue *queue
      = (VhostQueue *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (VhostQueue, drained_task));
  VhostTask *next = g_steal_pointer (&queue->drained_next);

  vhost_worker_unlink (worker_of (queue), queue);
  next->run (next);
}

void
vhost_worker_stop_queue (VhostWorker *self, VhostQueue *queue, gboolean suspend, VhostTask *stopped)
{
  forget (self, queue);
  if (queue->worker == NULL)
    {
      stopped->run (stopped); /* was never started */
      return;
    }
  queue->drained_next = stopped;
  queue->drained_task.run = run_drained;
  vhost_queue_stop (queue, suspend, &queue->drained_task);
}

void
vhost_worker_abandon_queue (VhostWorker *self, VhostQueue *queue)
{
  forget (self, queue);
  vhost_worker_unlink (self, queue);
  queue->drained_next = NULL;
  vhost_queue_abandon (queue);
}

gboolean
vhost_worker_take_kick_fd (VhostWorker *self, VhostQueue *queue, int fd, GError **error)
{
  guint old_id = queue->waiter_id;
  int old_fd = queue->kick_fd;

  if (!queue->watched)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING, "queue %u is not started", queue->index);
      return FALSE;
    }
  unwatch (self, queue);
  if (!watch (self, queue, fd, error))
    {
      queue->waiter_id = old_id;
      watch (self, queue, old_fd, NULL);
      attach_source (self, queue);
      return FALSE;
    }
  vhost_fd_clear (&old_fd);
  queue->kick_fd = fd;
  queue->kicks_wanted = FALSE;
  attach_source (self, queue);
  /* A kick on the old one may have been missed in between. */
  vhost_worker_link_ready (self, queue);
  return TRUE;
}

gboolean
vhost_worker_is_in_pass (VhostWorker *self)
{
  return self->in_pass;
}

void
vhost_worker_kick_queue (VhostWorker *self, VhostQueue *queue)
{
  vhost_worker_link_ready (self, queue);
}

/**
 * vhost_worker_get_name:
 * @self: a worker
 *
 * Thread: any.
 *
 * Returns: the worker's name
 *
 * Since: 0.1
 */
const char *
vhost_worker_get_name (VhostWorker *self)
{
  return self->name;
}

/**
 * vhost_worker_get_context:
 * @self: a worker
 *
 * The context that the worker's thread runs. Sources may be attached to it from any thread.
 *
 * Thread: any.
 *
 * Returns: (transfer none): the context
 *
 * Since: 0.1
 */
GMainContext *
vhost_worker_get_context (VhostWorker *self)
{
  return self->context;
}

/**
 * vhost_worker_get_io: (skip)
 * @self: a worker
 *
 * The worker's I/O engine. Use it on the worker's thread only.
 *
 * Thread: any.
 *
 * Returns: (transfer none): the engine
 *
 * Since: 0.1
 */
VhostIo *
vhost_worker_get_io (VhostWorker *self)
{
  return &self->io;
}

/**
 * vhost_worker_get_waiter:
 * @self: a worker
 *
 * Thread: any.
 *
 * Returns: how the worker waits
 *
 * Since: 0.1
 */
VhostWaiterKind
vhost_worker_get_waiter (VhostWorker *self)
{
  return self->waiter_kind;
}
