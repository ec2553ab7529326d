/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filters of one queue: what they hold, and for how long. Must not know what any filter is
 * for.
 *
 * How it works: a queue with filters has one stack of layers, the first nearest to the driver. A
 * request passes the layers' popped () from the first to the last, its end passes completed () from
 * the last to the first. A layer that holds a request has it in a heap, by time, then by the order
 * that the filter gave it, then by age. One timer per stack wakes for the earliest of all heaps. A
 * timerfd, as GLib's own timers know whole milliseconds only. Heaps grow with what is in flight,
 * which the ring bounds, and never shrink: no allocation per request. */
#include "config.h"

#include "vhost-fd-private.h"
#include "vhost-filter-private.h"
#include "vhost-queue-private.h"
#include "vhost-worker.h"

#include <sys/timerfd.h>

#define HEAP_FIRST 16

typedef struct
{
  gint64 until;
  guint64 order;
  guint64 age;
  VhostChain *chain;
  gboolean ended; /* held on its way back */
} Held;

typedef struct
{
  VhostFilter *filter; /* (unowned): lives as long as the queue runs */
  Held *heap;          /* (owned): earliest first */
  guint n_held;
  guint n_allocated;
  guint64 random;
} Layer;

/* One call of a virtual function: which request it is about, and what became of it. */
typedef struct
{
  Layer *layer;
  VhostChain *chain;
  gboolean ended;
  gboolean taken; /* held, or at its end: the caller goes no further */
} Call;

typedef struct
{
  VhostQueueFilter parent; /* the queue's view of it */
  VhostQueue *queue;       /* (unowned) */
  Layer layers[VHOST_FILTER_LAYERS_MAX];
  guint n_layers;
  guint64 age;       /* of the next request that is held */
  Call *call;        /* (unowned) (nullable): the innermost one under way */
  gboolean stopping; /* nothing is held any more */
  GSource *timer;    /* (owned) (nullable): from the first held request on */
  gint64 timer_due;
} Stack;

typedef struct
{
  GSource parent;
  Stack *stack;
  int fd; /* (owned); -1: the process has no descriptor left; then milliseconds must do */
} Timer;

/* ---- Heap ---- */

static gboolean
is_before (const Held *a, const Held *b)
{
  if (a->until != b->until)
    return a->until < b->until;
  if (a->order != b->order)
    return a->order < b->order;
  return a->age < b->age;
}

static void
heap_add (Layer *layer, Held held)
{
  guint i = layer->n_held++;

  if (layer->n_held > layer->n_allocated)
    {
      layer->n_allocated = MAX (layer->n_allocated * 2, HEAP_FIRST);
      layer->heap = g_renew (Held, layer->heap, layer->n_allocated);
    }
  for (; i > 0 && is_before (&held, &layer->heap[(i - 1) / 2]); i = (i - 1) / 2)
    layer->heap[i] = layer->heap[(i - 1) / 2];
  layer->heap[i] = held;
}

static Held
heap_take (Layer *layer)
{
  Held first = layer->heap[0];
  Held last = layer->heap[--layer->n_held];
  guint i = 0;

  for (guint child = 1; child < layer->n_held; child = 2 * i + 1)
    {
      if (child + 1 < layer->n_held && is_before (&layer->heap[child + 1], &layer->heap[child]))
        child++;
      if (is_before (&last, &layer->heap[child]))
        break;
      layer->heap[i] = layer->heap[child];
      i = child;
    }
  layer->heap[i] = last;
  return first;
}

/* ---- The way of a request ---- */

/* FALSE: a layer has taken it. @from: the first one to ask. */
static gboolean
ask_popped (Stack *self, guint from, VhostChain *chain)
{
  Call *outer = self->call;
  gboolean taken = FALSE;

  for (guint i = from; i < self->n_layers && !taken; i++)
    {
      VhostFilter *filter = self->layers[i].filter;
      Call call = { .layer = &self->layers[i], .chain = chain };

      self->call = &call;
      VHOST_FILTER_GET_CLASS (filter)->popped (filter, self->queue, chain);
      self->call = outer;
      taken = call.taken;
    }
  return !taken;
}

/* The same on the way back. @below: the layer that it comes from. */
static gboolean
ask_completed (Stack *self, guint below, VhostChain *chain)
{
  Call *outer = self->call;
  gboolean taken = FALSE;

  for (guint i = below; i > 0 && !taken; i--)
    {
      VhostFilter *filter = self->layers[i - 1].filter;
      Call call = { .layer = &self->layers[i - 1], .chain = chain, .ended = TRUE };

      self->call = &call;
      VHOST_FILTER_GET_CLASS (filter)->completed (filter, self->queue, chain,
                                                  chain->completed_length);
      self->call = outer;
      taken = call.taken;
    }
  return !taken;
}

/* The next one that @layer holds goes on. Filters before or behind it may hold it again. */
static void
let_go (Stack *self, Layer *layer)
{
  Held held = heap_take (layer);
  guint index = (guint) (layer - self->layers);

  if (held.ended && ask_completed (self, index, held.chain))
    vhost_queue_give_back (self->queue, held.chain);
  else if (!held.ended && ask_popped (self, index + 1, held.chain))
    vhost_queue_resume (self->queue, held.chain);
}

/* Called by the queue. */
static gboolean
stack_popped (VhostQueueFilter *filter, VhostChain *chain)
{
  return ask_popped ((Stack *) filter, 0, chain);
}

/* Called by the queue. */
static gboolean
stack_completed (VhostQueueFilter *filter, VhostChain *chain)
{
  Stack *self = (Stack *) filter;

  return ask_completed (self, self->n_layers, chain);
}

/* Called by the queue. */
static void
stack_release (VhostQueueFilter *filter, gboolean stopping)
{
  Stack *self = (Stack *) filter;

  self->stopping |= stopping;
  for (guint i = 0; i < self->n_layers; i++)
    /* A filter that is asked in between may release something itself. */
    for (guint n = self->layers[i].n_held; n > 0 && self->layers[i].n_held > 0; n--)
      let_go (self, &self->layers[i]);
}

/* Called by the queue. Nobody is asked any more: the filters may be gone soon. */
static void
stack_drop (VhostQueueFilter *filter)
{
  Stack *self = (Stack *) filter;

  if (self->timer != NULL)
    {
      g_source_destroy (self->timer);
      g_source_unref (self->timer);
    }
  for (guint i = 0; i < self->n_layers; i++)
    {
      Layer *layer = &self->layers[i];

      while (layer->n_held > 0)
        {
          Held held = heap_take (layer);

          if (!held.ended)
            held.chain->completed_length = 0; /* the back-end has not seen it */
          vhost_queue_give_back (self->queue, held.chain);
        }
      g_free (layer->heap);
    }
  g_free (self);
}

/* ---- Timer ---- */

static gint64
get_next_time (Stack *self)
{
  gint64 next = G_MAXINT64;

  for (guint i = 0; i < self->n_layers; i++)
    if (self->layers[i].n_held > 0)
      next = MIN (next, self->layers[i].heap[0].until);
  return next;
}

static void
set_timer (Stack *self, gint64 due)
{
  Timer *timer = (Timer *) self->timer;
  /* All zeros would switch it off. */
  struct itimerspec time = { .it_value.tv_nsec = 1 };

  if (due == self->timer_due)
    return;
  self->timer_due = due;
  if (timer->fd < 0)
    {
      g_source_set_ready_time (self->timer, due == G_MAXINT64 ? -1 : MAX (due, 0));
      return;
    }
  if (due == G_MAXINT64)
    time.it_value.tv_nsec = 0;
  else if (due > 0)
    time.it_value = (struct timespec){ due / G_USEC_PER_SEC, due % G_USEC_PER_SEC * 1000 + 1 };
  timerfd_settime (timer->fd, TFD_TIMER_ABSTIME, &time, NULL);
}

/* Called: worker. */
static gboolean
timer_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  Timer *timer = (Timer *) source;
  Stack *self = timer->stack;
  VhostQueue *queue = self->queue;
  gint64 now = g_get_monotonic_time ();

  if (timer->fd >= 0)
    vhost_fd_drain (timer->fd);
  self->timer_due = G_MININT64; /* it is set anew at the end, not in between */
  g_object_ref (queue);
  /* What a layer lets go may be held by another for a time that has come, too, but not for ever:
   * those before it are asked for answers only, those behind it for requests only. */
  for (guint i = 0; i < self->n_layers; i++)
    {
      Layer *layer = &self->layers[i];

      for (guint n = layer->n_held; n > 0 && layer->n_held > 0 && layer->heap[0].until <= now; n--)
        let_go (self, layer);
    }
  if (queue->filter == &self->parent)
    set_timer (self, get_next_time (self));
  g_object_unref (queue);
  return G_SOURCE_CONTINUE;
}

static void
timer_finalize (GSource *source)
{
  vhost_fd_clear (&((Timer *) source)->fd);
}

static GSourceFuncs timer_funcs = {
  .dispatch = timer_dispatch,
  .finalize = timer_finalize,
};

static void
need_timer (Stack *self, gint64 due)
{
  if (self->timer == NULL)
    {
      Timer *timer;

      self->timer = g_source_new (&timer_funcs, sizeof (Timer));
      g_source_set_static_name (self->timer, "vhost-filter");
      timer = (Timer *) self->timer;
      timer->stack = self;
      timer->fd = timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
      if (timer->fd >= 0)
        g_source_add_unix_fd (self->timer, timer->fd, G_IO_IN);
      self->timer_due = G_MAXINT64;
      g_source_attach (self->timer, vhost_worker_get_context (self->queue->worker));
    }
  if (due < self->timer_due)
    set_timer (self, due);
}

/* ---- For filters ---- */

static Stack *
get_stack (VhostQueue *queue)
{
  return (Stack *) queue->filter;
}

static Layer *
find_layer (VhostQueue *queue, VhostFilter *filter)
{
  Stack *self = get_stack (queue);

  for (guint i = 0; self != NULL && i < self->n_layers; i++)
    if (self->layers[i].filter == filter)
      return &self->layers[i];
  return NULL;
}

gboolean
vhost_filter_queue_add (VhostQueue *queue, VhostFilter *filter, guint64 seed)
{
  Stack *self = get_stack (queue);
  Layer *layer;

  if (self == NULL)
    {
      self = g_new0 (Stack, 1);
      self->parent.popped = stack_popped;
      self->parent.completed = stack_completed;
      self->parent.release = stack_release;
      self->parent.drop = stack_drop;
      self->queue = queue;
      queue->filter = &self->parent;
    }
  if (self->n_layers == VHOST_FILTER_LAYERS_MAX)
    return FALSE;
  layer = &self->layers[self->n_layers++];
  layer->filter = filter;
  while (seed == 0)
    seed = (guint64) g_random_int () << 32 | g_random_int ();
  /* Queues of one filter each have a series of their own. */
  layer->random = seed + ((guint64) queue->index << 48);
  return TRUE;
}

void
vhost_filter_queue_remove (VhostQueue *queue, VhostFilter *filter)
{
  Stack *self = get_stack (queue);

  /* Of an abandoned queue it is gone already. */
  if (self != NULL && self->layers[0].filter == filter)
    vhost_queue_drop_filter (queue);
}

gint64
vhost_filter_queue_get_next_time (VhostQueue *queue, VhostFilter *filter)
{
  Layer *layer = find_layer (queue, filter);

  return layer != NULL && layer->n_held > 0 ? layer->heap[0].until : G_MAXINT64;
}

guint64
vhost_filter_queue_random (VhostQueue *queue, VhostFilter *filter)
{
  Layer *layer = find_layer (queue, filter);
  guint64 z;

  if (layer == NULL)
    return 0;
  /* A counter, mixed (SplitMix64): every seed is a good one. */
  z = layer->random += G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* The call of a virtual function of @filter for @chain that is under way; NULL: none. */
static Call *
get_call (VhostFilter *filter, VhostChain *chain)
{
  Stack *self = get_stack (chain->queue);
  Call *call = self != NULL ? self->call : NULL;

  return call != NULL && call->chain == chain && call->layer->filter == filter && !call->taken
             ? call
             : NULL;
}

/**
 * vhost_filter_hold:
 * @self: a filter
 * @chain: the request that its virtual function was called for
 * @until: when it goes on, in microseconds of g_get_monotonic_time(); %G_MAXINT64: not before
 * [method@Filter.release]
 * @order: of requests with the same time the one with the smallest goes first, then the oldest
 *
 * Makes a request, or its answer, wait. When its time has come it goes on to the next filter, or
 * where it was going. While a queue stops nothing can wait, and everything that waits goes on at
 * once; also when the memory map is replaced and the front-end waits for the end of the old one.
 *
 * Only within #VhostFilterClass.popped and #VhostFilterClass.completed, once.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_filter_hold (VhostFilter *self, VhostChain *chain, gint64 until, guint64 order)
{
  Stack *stack;
  Call *call;

  g_return_if_fail (chain != NULL);
  call = get_call (self, chain);
  g_return_if_fail (call != NULL);

  stack = get_stack (chain->queue);
  if (stack->stopping || (chain->queue->released != NULL && chain->map != chain->queue->map))
    return;
  heap_add (call->layer, (Held){ until, order, stack->age++, chain, call->ended });
  call->taken = TRUE;
  if (until != G_MAXINT64)
    need_timer (stack, until);
}

/**
 * vhost_filter_end:
 * @self: a filter
 * @chain: the request that its virtual function was called for
 * @written: the used length, as for vhost_chain_complete()
 *
 * Ends a request before the back-end has seen it. The answer passes the filters between this one
 * and the driver.
 *
 * Only within #VhostFilterClass.popped, once.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_filter_end (VhostFilter *self, VhostChain *chain, guint written)
{
  Stack *stack;
  Call *call;

  g_return_if_fail (chain != NULL);
  call = get_call (self, chain);
  g_return_if_fail (call != NULL && !call->ended);

  stack = get_stack (chain->queue);
  call->taken = TRUE;
  chain->in_flight = FALSE;
  chain->completed_length = (guint32) MIN ((gsize) written, chain->writable_total);
  if (ask_completed (stack, (guint) (call->layer - stack->layers), chain))
    vhost_queue_give_back (chain->queue, chain);
}

/**
 * vhost_filter_release:
 * @self: a filter
 * @queue: a queue
 *
 * Lets everything go on that the filter holds in a queue, the earliest first.
 *
 * Thread: worker (that of @queue).
 *
 * Since: 0.1
 */
void
vhost_filter_release (VhostFilter *self, VhostQueue *queue)
{
  Layer *layer;

  g_return_if_fail (VHOST_IS_FILTER (self));
  g_return_if_fail (VHOST_IS_QUEUE (queue));

  layer = find_layer (queue, self);
  for (guint n = layer != NULL ? layer->n_held : 0; n > 0 && layer->n_held > 0; n--)
    let_go (get_stack (queue), layer);
}

/**
 * vhost_filter_get_n_held:
 * @self: a filter
 * @queue: a queue
 *
 * Thread: worker (that of @queue).
 *
 * Returns: how many requests and answers the filter holds in @queue
 *
 * Since: 0.1
 */
guint
vhost_filter_get_n_held (VhostFilter *self, VhostQueue *queue)
{
  Layer *layer;

  g_return_val_if_fail (VHOST_IS_FILTER (self), 0);
  g_return_val_if_fail (VHOST_IS_QUEUE (queue), 0);

  layer = find_layer (queue, self);
  return layer != NULL ? layer->n_held : 0;
}
