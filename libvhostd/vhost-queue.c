/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A virtqueue: its start, its stop, and what happens to requests when the ring breaks or gets
 * another memory map. The hot half is vhost-queue-pass.c. Must not know workers, back-ends or
 * sessions: what must travel upwards goes through the hooks.
 *
 * How it works: everything here belongs to one thread, the queue's worker. Each chain counts in the
 * map that it was translated with, so a map that was replaced lives until its last request ends. A
 * stop takes no new requests and ends when none is in flight; a session that cannot wait abandons
 * the queue, which then lives, without touching the ring, until its last request ends. */
#include "config.h"

#include "vhost-queue.h"

#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-queue-private.h"
#include "vhost-trace-private.h"

#include <sched.h>

/* Overflow segments in use at once: 2 MiB of vectors. A chain alone never needs more. */
#define SEGMENT_BUDGET (128u * 1024)

/**
 * VhostQueue:
 *
 * One virtqueue of a session.
 *
 * A back-end takes requests with vhost_queue_pop() and gives each back with vhost_chain_complete().
 * Both are plain functions on the queue's own ring: no lock, no allocation and no signal stands
 * between a driver and its device.
 *
 * Counters and state can be read from any thread; everything else belongs to the queue's worker.
 *
 * Since: 0.1
 */

enum
{
  PROP_INDEX = 1,
  PROP_SIZE,
  PROP_STATE,
  N_PROPS
};

static GParamSpec *properties[N_PROPS];

__thread VhostQueue *vhost_queue_completing;

G_DEFINE_FINAL_TYPE (VhostQueue, vhost_queue, G_TYPE_OBJECT)

void
vhost_queue_map_free (VhostQueueMap *map)
{
  vhost_memory_unref (map->memory);
  g_free (map);
}

static void
set_state (VhostQueue *self, VhostQueueState state)
{
  /* relaxed: readers on other threads only show it */
  atomic_store_explicit (&self->state, state, memory_order_relaxed);
  self->accepting = state == VHOST_QUEUE_STATE_ENABLED && !self->silent;
}

static void
drop_free_chains (VhostQueue *self)
{
  while (self->n_free_chains > 0)
    {
      self->n_chains--;
      vhost_chain_unref (self->free_chains[--self->n_free_chains]);
    }
}

static void
vhost_queue_finalize (GObject *object)
{
  VhostQueue *self = VHOST_QUEUE (object);

  guint own = vhost_queue_completing == self ? 1 : 0;

  /* Acquire: pairs with the release in vhost_chain_complete (), whose thread is about to leave. */
  while (atomic_load_explicit (&self->remote_users, memory_order_acquire) > own)
    sched_yield ();
  if (own > 0)
    vhost_queue_completing = NULL;
  if (self->filter != NULL)
    {
      self->silent = TRUE; /* nobody would flush */
      self->filter->drop (g_steal_pointer (&self->filter));
    }
  drop_free_chains (self);
  g_free (self->free_chains);
  g_clear_pointer (&self->map, vhost_queue_map_free);
  while (self->old_maps != NULL)
    {
      VhostQueueMap *map = self->old_maps;

      self->old_maps = map->next;
      vhost_queue_map_free (map);
    }
  vhost_ring_clear (&self->ring);
  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  if (self->kick_source != NULL)
    {
      g_source_destroy (self->kick_source);
      g_source_unref (self->kick_source);
    }
  if (self->worker != NULL)
    g_object_unref (self->worker);
  G_OBJECT_CLASS (vhost_queue_parent_class)->finalize (object);
}

static void
vhost_queue_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostQueue *self = VHOST_QUEUE (object);

  switch (id)
    {
    case PROP_INDEX:
      g_value_set_uint (value, self->index);
      break;
    case PROP_SIZE:
      g_value_set_uint (value, vhost_queue_get_size (self));
      break;
    case PROP_STATE:
      g_value_set_enum (value, vhost_queue_get_state (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_queue_class_init (VhostQueueClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->finalize = vhost_queue_finalize;
  object_class->get_property = vhost_queue_get_property;

  /**
   * VhostQueue:index:
   *
   * The queue's number in its device.
   *
   * Since: 0.1
   */
  properties[PROP_INDEX] = g_param_spec_uint ("index", "Index", "Number of the queue in its device",
                                              0, 255, 0, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostQueue:size:
   *
   * Entries of the ring, as the front-end chose them; 0 before the first start.
   *
   * Since: 0.1
   */
  properties[PROP_SIZE] = g_param_spec_uint ("size", "Size", "Entries of the ring", 0, 32768, 0,
                                             G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostQueue:state:
   *
   * The ring's state. It changes on the queue's worker, without a notification.
   *
   * Since: 0.1
   */
  properties[PROP_STATE]
      = g_param_spec_enum ("state", "State", "State of the ring", VHOST_TYPE_QUEUE_STATE,
                           VHOST_QUEUE_STATE_STOPPED, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
run_remote (VhostTask *task)
{
  VhostQueue *self
      = (VhostQueue *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (VhostQueue, remote_task));

  vhost_queue_collect_remote (self);
}

static void
vhost_queue_init (VhostQueue *self)
{
  self->kick_fd = self->call_fd = self->err_fd = -1;
  self->owner_thread = pthread_self ();
  self->remote_task.run = run_remote;
  self->segments_left = SEGMENT_BUDGET;
  atomic_init (&self->state, VHOST_QUEUE_STATE_STOPPED);
}

VhostQueue *
vhost_queue_new (guint index, guint max_size, gsize chain_data_size, const VhostQueueHooks *hooks,
                 gpointer owner)
{
  VhostQueue *self = g_object_new (VHOST_TYPE_QUEUE, NULL);

  self->index = index;
  self->max_size = max_size;
  self->chain_data_size = chain_data_size;
  self->hooks = *hooks;
  self->owner = owner;
  return self;
}

gboolean
vhost_queue_start (VhostQueue *self, const VhostQueueSetup *setup, VhostMemory *memory,
                   GError **error)
{
  VhostRing ring = { 0 };
  VhostMemoryCache cache = { 0 };
  VhostQueueMap *map;

  if (setup->size == 0 || setup->size > self->max_size || (setup->size & (setup->size - 1)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "queue %u: a split ring of %u entries is not possible; a power of 2 up to %u is",
                   self->index, setup->size, self->max_size);
      return FALSE;
    }

  /* Built aside first: a refused start leaves everything as it was. */
  vhost_ring_init (&ring, &vhost_ring_split_ops, setup->size);
  ring.memory = memory;
  ring.cache = &cache;
  ring.descriptor_address = setup->descriptor;
  ring.available_address = setup->available;
  ring.used_address = setup->used;
  ring.event_idx = (setup->features >> 29) & 1;
  ring.indirect = (setup->features >> 28) & 1;
  if (!ring.ops->place (&ring, error) || !ring.ops->set_base (&ring, setup->base, error))
    {
      g_prefix_error (error, "queue %u: ", self->index);
      vhost_ring_clear (&ring);
      return FALSE;
    }

  if (self->map != NULL)
    vhost_queue_map_free (self->map);
  map = g_new0 (VhostQueueMap, 1);
  map->memory = vhost_memory_ref (memory);
  self->map = map;
  drop_free_chains (self);
  vhost_ring_clear (&self->ring);
  self->ring = ring;
  self->ring.cache = &self->cache;
  self->ring.segments_left = &self->segments_left;
  self->cache = cache;
  g_free (self->free_chains);
  self->free_chains = g_new (VhostChain *, setup->size);
  atomic_store_explicit (&self->size, setup->size, memory_order_relaxed);

  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  self->kick_fd = setup->kick_fd;
  self->call_fd = setup->call_fd;
  self->err_fd = setup->err_fd;

  self->owner_thread = pthread_self ();
  self->more = self->starved = self->dirty = self->announced = self->silent = FALSE;
  self->kicks_wanted = FALSE;
  set_state (self, self->enabled ? VHOST_QUEUE_STATE_ENABLED : VHOST_QUEUE_STATE_STARTED);
  return TRUE;
}

void
vhost_queue_run_task (VhostTask **slot)
{
  VhostTask *task = *slot;

  *slot = NULL;
  if (task != NULL)
    task->run (task);
}

/* Nothing is in flight any more: the driver sees the last entries, then the ring is left alone (S1,
 * S2). */
void
vhost_queue_drained (VhostQueue *self)
{
  vhost_queue_flush (self);
  set_state (self, VHOST_QUEUE_STATE_STOPPED);
  drop_free_chains (self);
  g_clear_pointer (&self->map, vhost_queue_map_free);
  self->ring.memory = NULL;
  vhost_queue_run_task (&self->stopped);
}

void
vhost_queue_stop (VhostQueue *self, gboolean suspend, VhostTask *stopped)
{
  self->stopped = stopped;
  if (self->map == NULL)
    {
      vhost_queue_run_task (&self->stopped);
      return;
    }
  /* Before the state: the last one that it gives back would end the stop. */
  if (self->filter != NULL)
    self->filter->release (self->filter, TRUE);
  set_state (self, VHOST_QUEUE_STATE_DRAINING);
  if (self->in_flight == 0)
    vhost_queue_drained (self);
}

guint32
vhost_queue_get_base (VhostQueue *self)
{
  return self->ring.ops != NULL ? self->ring.ops->get_base (&self->ring) : 0;
}

void
vhost_queue_set_enabled (VhostQueue *self, gboolean enabled)
{
  VhostQueueState state = vhost_queue_get_state (self);

  self->enabled = enabled;
  if (state == VHOST_QUEUE_STATE_STARTED || state == VHOST_QUEUE_STATE_ENABLED)
    set_state (self, enabled ? VHOST_QUEUE_STATE_ENABLED : VHOST_QUEUE_STATE_STARTED);
}

void
vhost_queue_set_memory (VhostQueue *self, VhostMemory *memory, VhostTask *released)
{
  if (self->map != NULL && self->map->memory != memory)
    {
      VhostQueueMap *old = self->map;
      g_autoptr (GError) error = NULL;

      self->map = g_new0 (VhostQueueMap, 1);
      self->map->memory = vhost_memory_ref (memory);
      self->cache = (VhostMemoryCache){ 0 };
      self->ring.memory = memory;
      if (old->in_flight > 0)
        {
          old->next = self->old_maps;
          self->old_maps = old;
        }
      if (!self->ring.ops->place (&self->ring, &error))
        {
          /* Nowhere to write any more, not even for requests in flight. A new start mends that. */
          self->silent = TRUE;
          g_prefix_error (&error, "after a change of the memory map ");
          vhost_queue_break (self, g_steal_pointer (&error));
        }
      if (old->in_flight == 0)
        vhost_queue_map_free (old);
    }
  if (self->filter != NULL && released != NULL && self->old_maps != NULL)
    self->filter->release (self->filter, FALSE);
  self->released = released;
  if (self->old_maps == NULL)
    vhost_queue_run_task (&self->released);
}

void
vhost_queue_take_call_fd (VhostQueue *self, int fd)
{
  vhost_fd_clear (&self->call_fd);
  self->call_fd = fd;
}

void
vhost_queue_take_err_fd (VhostQueue *self, int fd)
{
  vhost_fd_clear (&self->err_fd);
  self->err_fd = fd;
}

void
vhost_queue_take_log_fd (VhostQueue *self, int fd)
{
  vhost_fd_clear (&fd);
}

void
vhost_queue_set_log (VhostQueue *self, VhostDirtyLog *log, gboolean log_used, guint64 log_address)
{
}

void
vhost_queue_miss_answered (VhostQueue *self, guint64 iova)
{
}

void
vhost_queue_abandon (VhostQueue *self)
{
  /* What has ended is shown to the driver; from here on nothing is. */
  vhost_queue_flush (self);
  self->abandoned = self->silent = TRUE;
  self->starved = FALSE; /* nobody will serve it again */
  self->stopped = NULL;
  self->released = NULL;
  set_state (self, VHOST_QUEUE_STATE_STOPPED);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  /* The requests that are still out hold the queue, and each its map. */
  if (self->in_flight > 0)
    g_object_ref (self);
  else
    g_clear_pointer (&self->map, vhost_queue_map_free);
  vhost_queue_drop_filter (self);
}

void
vhost_queue_break (VhostQueue *self, GError *error)
{
  VhostQueueState state = vhost_queue_get_state (self);

  if (state == VHOST_QUEUE_STATE_STARTED || state == VHOST_QUEUE_STATE_ENABLED)
    {
      /* Requests that were taken before finish as usual (V47). */
      set_state (self, VHOST_QUEUE_STATE_BROKEN);
      if (self->err_fd >= 0)
        vhost_fd_notify (self->err_fd);
      self->hooks.error (self, error, self->owner);
    }
  g_error_free (error);
}

/**
 * vhost_queue_get_index:
 * @self: a queue
 *
 * Thread: any.
 *
 * Returns: the queue's number in its device
 *
 * Since: 0.1
 */
guint
vhost_queue_get_index (VhostQueue *self)
{
  return self->index;
}

/**
 * vhost_queue_get_size:
 * @self: a queue
 *
 * Thread: any.
 *
 * Returns: entries of the ring, as the front-end chose them; 0 before the first start
 *
 * Since: 0.1
 */
guint
vhost_queue_get_size (VhostQueue *self)
{
  return atomic_load_explicit (&self->size, memory_order_relaxed);
}

/**
 * vhost_queue_get_state:
 * @self: a queue
 *
 * Thread: any.
 *
 * Returns: the ring's state; on another thread than the worker it may be old by the time it is
 * looked at
 *
 * Since: 0.1
 */
VhostQueueState
vhost_queue_get_state (VhostQueue *self)
{
  return atomic_load_explicit (&self->state, memory_order_relaxed);
}

/**
 * vhost_queue_get_in_flight:
 * @self: a queue
 *
 * Thread: any.
 *
 * Returns: requests that were popped and not yet completed; from another thread a moment's estimate
 *
 * Since: 0.1
 */
guint
vhost_queue_get_in_flight (VhostQueue *self)
{
  guint64 completed = atomic_load_explicit (&self->counters.completed, memory_order_relaxed);
  guint64 requests = atomic_load_explicit (&self->counters.requests, memory_order_relaxed);

  return requests > completed ? requests - completed : 0;
}

/**
 * vhost_queue_get_counters: (skip)
 * @self: a queue
 * @counters: (out caller-allocates): the counters
 *
 * Reads the queue's counters. They only grow; they are not taken at one moment.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_queue_get_counters (VhostQueue *self, VhostQueueCounters *counters)
{
#define READ(name) .name = atomic_load_explicit (&self->counters.name, memory_order_relaxed)
  *counters = (VhostQueueCounters){
    READ (kicks),  READ (calls),     READ (calls_suppressed), READ (requests),  READ (completed),
    READ (passes), READ (polls_hit), READ (bytes_in),         READ (bytes_out),
  };
#undef READ
}
