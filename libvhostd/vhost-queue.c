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

/* VIRTIO feature bits that lay out a ring. */
#define FEATURE_NOTIFY_ON_EMPTY 24
#define FEATURE_INDIRECT_DESC 28
#define FEATURE_EVENT_IDX 29
#define FEATURE_RING_PACKED 34
#define FEATURE_IN_ORDER 35

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
__thread guint64 vhost_queue_thread_number;

guint64
vhost_queue_number_thread (void)
{
  static _Atomic (guint64) last;

  vhost_queue_thread_number = atomic_fetch_add_explicit (&last, 1, memory_order_relaxed) + 1;
  return vhost_queue_thread_number;
}

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
  self->accepting
      = state == VHOST_QUEUE_STATE_ENABLED && !self->silent && !self->unplaced && !self->paused;
}

void
vhost_queue_forget_chain (VhostQueue *self, VhostChain *chain)
{
  VhostChain *last = g_ptr_array_index (self->chains, self->chains->len - 1);

  last->pool_index = chain->pool_index;
  g_ptr_array_remove_index_fast (self->chains, chain->pool_index);
}

static void
drop_free_chains (VhostQueue *self)
{
  while (self->n_free_chains > 0)
    {
      self->n_chains--;
      vhost_queue_forget_chain (self, self->free_chains[self->n_free_chains - 1]);
      vhost_chain_unref (self->free_chains[--self->n_free_chains]);
    }
}

static void
drop_chains (VhostChain *chain)
{
  while (chain != NULL)
    {
      VhostChain *next = chain->remote_next;

      vhost_chain_unref (chain);
      chain = next;
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
  drop_chains (self->resumed);
  drop_chains (self->held);
  drop_free_chains (self);
  g_free (self->free_chains);
  g_ptr_array_unref (self->chains);
  g_clear_pointer (&self->map, vhost_queue_map_free);
  while (self->old_maps != NULL)
    {
      VhostQueueMap *map = self->old_maps;

      self->old_maps = map->next;
      vhost_queue_map_free (map);
    }
  vhost_ring_clear (&self->ring);
  g_clear_pointer (&self->log, vhost_dirty_log_unref);
  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  vhost_fd_clear (&self->log_fd);
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
  self->kick_fd = self->call_fd = self->err_fd = self->log_fd = -1;
  self->chains = g_ptr_array_new ();
  self->held_end = &self->held;
  atomic_init (&self->own_thread, vhost_queue_current_thread ());
  self->owner_thread = &self->own_thread;
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

/* V1: the layout is known only now. */
static const VhostRingOps *
choose_layout (VhostQueue *self, const VhostQueueSetup *setup, GError **error)
{
  gboolean packed = (setup->features >> FEATURE_RING_PACKED) & 1;

  if (setup->size == 0 || setup->size > self->max_size
      || (!packed && (setup->size & (setup->size - 1)) != 0))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "queue %u: a %s ring of %u entries is not possible; %s up to %u is", self->index,
                   packed ? "packed" : "split", setup->size, packed ? "any number" : "a power of 2",
                   self->max_size);
      return NULL;
    }
  if (packed)
    return &vhost_ring_packed_ops;
  return setup->big_endian ? &vhost_ring_split_swapped_ops : &vhost_ring_split_ops;
}

/* A ring built aside, so that a refused start leaves everything as it was. *@placed FALSE: a part
 * of it has no translation yet. */
static gboolean
build_ring (VhostQueue *self, const VhostQueueSetup *setup, VhostMemory *memory, VhostRing *ring,
            VhostMemoryCache *cache, gboolean *placed, GError **error)
{
  const VhostRingOps *ops = choose_layout (self, setup, error);

  if (ops == NULL)
    return FALSE;
  vhost_ring_init (ring, ops, setup->size);
  ring->memory = memory;
  ring->cache = cache;
  ring->descriptor_address = setup->descriptor;
  ring->available_address = setup->available;
  ring->used_address = setup->used;
  ring->event_idx = (setup->features >> FEATURE_EVENT_IDX) & 1;
  ring->indirect = (setup->features >> FEATURE_INDIRECT_DESC) & 1;
  ring->in_order = (setup->features >> FEATURE_IN_ORDER) & 1;
  ring->notify_on_empty = (setup->features >> FEATURE_NOTIFY_ON_EMPTY) & 1;
  ring->log = setup->dirty_log;
  ring->log_used = setup->log_used;
  ring->log_address = setup->log;
  if (setup->inflight != NULL)
    {
      ring->inflight = vhost_inflight_region_new (setup->inflight, self->index, setup->size, error);
      if (ring->inflight == NULL)
        return FALSE;
    }
  *placed = ring->ops->place (ring, error);
  if (*placed)
    return ring->ops->set_base (ring, setup->base, error);
  if (!ring->missed)
    return FALSE;
  g_clear_error (error);
  return TRUE;
}

gboolean
vhost_queue_start (VhostQueue *self, const VhostQueueSetup *setup, VhostMemory *memory,
                   GError **error)
{
  VhostRing ring = { 0 };
  VhostMemoryCache cache = { 0 };
  VhostQueueMap *map;
  GError *failure = NULL;
  gboolean placed;

  if (!build_ring (self, setup, memory, &ring, &cache, &placed, &failure))
    {
      g_propagate_prefixed_error (error, failure, "queue %u: ", self->index);
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
  self->ring.log_batch = &self->log_batch;
  self->log_batch = (VhostDirtyBatch){ 0 };
  self->cache = cache;
  g_free (self->free_chains);
  self->free_chains = g_new (VhostChain *, setup->size);
  atomic_store_explicit (&self->size, setup->size, memory_order_relaxed);

  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  vhost_fd_clear (&self->log_fd);
  self->kick_fd = setup->kick_fd;
  self->call_fd = setup->call_fd;
  self->err_fd = setup->err_fd;
  self->log_fd = setup->log_fd;
  g_clear_pointer (&self->log, vhost_dirty_log_unref);
  self->log = setup->dirty_log != NULL ? vhost_dirty_log_ref (setup->dirty_log) : NULL;

  self->inflight = setup->inflight;
  atomic_store_explicit (&self->own_thread, vhost_queue_current_thread (), memory_order_relaxed);
  self->more = self->starved = self->dirty = self->announced = self->silent = FALSE;
  self->kicks_wanted = self->resubmit_only = self->suspending = self->miss_asked = FALSE;
  self->unplaced = self->base_pending = !placed;
  self->base = setup->base;
  set_state (self, self->enabled ? VHOST_QUEUE_STATE_ENABLED : VHOST_QUEUE_STATE_STARTED);
  if (!placed)
    vhost_queue_ask (self, self->ring.miss_address, self->ring.miss_access);
  /* Whoever served this ring before may have been killed between showing an entry and calling. */
  else if (setup->inflight != NULL && self->call_fd >= 0)
    vhost_fd_notify (self->call_fd);
  return TRUE;
}

void
vhost_queue_ask (VhostQueue *self, guint64 iova, guint access)
{
  if (self->miss_asked && self->miss_iova == iova && self->miss_access == access)
    return;
  self->miss_asked = TRUE;
  self->miss_iova = iova;
  self->miss_access = access;
  if (self->hooks.miss != NULL)
    self->hooks.miss (self, iova, access, self->owner);
}

void
vhost_queue_miss_answered (VhostQueue *self, guint64 iova, guint access)
{
  /* A new map since then has cleared the question, and asked its own. */
  if (!self->miss_asked || self->miss_iova != iova || self->miss_access != access)
    return;
  vhost_queue_break (
      self, g_error_new (VHOST_ERROR, VHOST_ERROR_RING,
                         "queue %u: the front-end has no translation of I/O address "
                         "0x%" G_GINT64_MODIFIER "x for %s",
                         self->index, iova,
                         (self->miss_access & VHOST_MEMORY_WRITE) != 0 ? "writing" : "reading"));
}

/* The requests that wait for the used ring to have a place: to the driver, or, where nobody will
 * see them any more, to nowhere. */
static void
release_held (VhostQueue *self, gboolean finish)
{
  VhostChain *chain = g_steal_pointer (&self->held);
  gboolean in_pass = self->in_pass;

  self->held_end = &self->held;
  self->in_pass = TRUE; /* the last one must not end the stop or the queue under our feet */
  while (chain != NULL)
    {
      VhostChain *next = chain->remote_next;

      if (finish)
        vhost_queue_put (self, chain);
      else
        vhost_queue_let_go (self, chain);
      chain = next;
    }
  self->in_pass = in_pass;
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
  vhost_queue_run_task (&self->idled);
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
  /* The back-end knows all that it has when it is told of the stop. */
  self->accepting = FALSE;
  while (self->resumed != NULL && vhost_queue_serve_resumed (self))
    ;
  set_state (self, vhost_queue_get_state (self));
  self->suspending = suspend && self->ring.inflight != NULL;
  /* What is in flight for the front-end must have ended, also what only its area knows of. */
  while (!self->suspending && self->accepting && self->ring.n_resubmit > 0)
    {
      guint before = self->ring.n_resubmit;

      self->resubmit_only = TRUE;
      vhost_queue_serve (self);
      if (self->ring.n_resubmit == before)
        break; /* the back-end takes no more, or has too many segments out already; a rest stays
                  recorded, for whoever serves the ring next */
    }
  set_state (self, VHOST_QUEUE_STATE_DRAINING);
  release_held (self, FALSE);
  self->in_pass = TRUE; /* what ends here must not end the stop under our feet */
  if (self->in_flight > 0 && self->hooks.stopping != NULL)
    self->hooks.stopping (self, self->owner);
  self->in_pass = FALSE;
  if (self->in_flight == 0)
    vhost_queue_drained (self);
  else
    vhost_queue_flush (self);
}

gboolean
vhost_queue_hand_back (VhostQueue *self, VhostChain *chain)
{
  if (!self->suspending || vhost_queue_get_state (self) != VHOST_QUEUE_STATE_DRAINING)
    return FALSE;
  chain->in_flight = FALSE;
  vhost_queue_count (&self->counters.completed, 1);
  vhost_queue_let_go (self, chain);
  return TRUE;
}

guint32
vhost_queue_get_base (VhostQueue *self)
{
  if (self->base_pending)
    return self->base;
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
vhost_queue_set_paused (VhostQueue *self, gboolean paused, VhostTask *idled)
{
  vhost_queue_run_task (&self->idled); /* whoever waited has been overtaken */
  self->paused = paused;
  set_state (self, vhost_queue_get_state (self));
  self->idled = idled;
  if (!paused || self->in_flight == 0)
    vhost_queue_run_task (&self->idled);
  if (!paused && self->accepting)
    {
      /* What came meanwhile has been kicked for already. */
      self->more = TRUE;
      self->hooks.wake (self);
    }
}

/* Takes @error. */
static void
lose_place (VhostQueue *self, GError *error)
{
  if (self->ring.missed)
    {
      /* A vIOMMU: it will have one again. */
      g_error_free (error);
      self->unplaced = TRUE;
      set_state (self, vhost_queue_get_state (self));
      vhost_queue_ask (self, self->ring.miss_address, self->ring.miss_access);
      return;
    }
  /* Nowhere to write any more, not even for requests in flight. A new start mends that. */
  self->silent = TRUE;
  g_prefix_error (&error, "after a change of the memory map ");
  vhost_queue_break (self, error);
}

static void
take_place (VhostQueue *self)
{
  GError *error = NULL;

  if (self->base_pending && !self->silent)
    {
      /* A base that is not possible stays pending: it is where the ring stops, too. */
      if (!self->ring.ops->set_base (&self->ring, self->base, &error))
        {
          self->silent = TRUE;
          g_prefix_error (&error, "queue %u: ", self->index);
          vhost_queue_break (self, error);
          return;
        }
      self->base_pending = FALSE;
      if (self->ring.inflight != NULL && self->call_fd >= 0)
        vhost_fd_notify (self->call_fd);
    }
  self->unplaced = FALSE;
  set_state (self, vhost_queue_get_state (self));
  release_held (self, TRUE);
  if (self->ring.memory->is_view)
    {
      /* Whatever waited for a translation looks again. */
      self->more = TRUE;
      self->hooks.wake (self);
    }
}

void
vhost_queue_replace_memory (VhostQueue *self, VhostMemory *memory)
{
  if (self->map != NULL && self->map->memory != memory)
    {
      VhostQueueMap *old = self->map;
      gboolean unused = old->in_flight == 0; /* else its last request frees it, perhaps below */
      GError *error = NULL;

      vhost_queue_flush (self); /* to where the ring was until now */
      self->map = g_new0 (VhostQueueMap, 1);
      self->map->memory = vhost_memory_ref (memory);
      self->cache = (VhostMemoryCache){ 0 };
      self->ring.memory = memory;
      if (!unused)
        {
          old->next = self->old_maps;
          self->old_maps = old;
        }
      self->miss_asked = FALSE;
      if (!self->ring.ops->place (&self->ring, &error))
        lose_place (self, error);
      else
        take_place (self);
      if (unused)
        vhost_queue_map_free (old);
    }
}

gboolean
vhost_queue_has_awaited (VhostQueue *self)
{
  const VhostQueueMap *map = self->old_maps;

  while (map != NULL && !map->awaited)
    map = map->next;
  return map != NULL;
}

void
vhost_queue_await (VhostQueue *self, VhostTask *released)
{
  /* From here on no filter keeps what uses an older one, nor what comes back of it later. */
  self->released = released;
  if (self->filter != NULL && released != NULL && vhost_queue_has_awaited (self))
    self->filter->release (self->filter, FALSE);
  if (!vhost_queue_has_awaited (self))
    vhost_queue_run_task (&self->released);
}

void
vhost_queue_set_memory (VhostQueue *self, VhostMemory *memory, VhostTask *released)
{
  vhost_queue_replace_memory (self, memory);
  for (VhostQueueMap *map = self->old_maps; map != NULL; map = map->next)
    map->awaited = map->awaited || released != NULL;
  vhost_queue_await (self, released);
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
  vhost_fd_clear (&self->log_fd);
  self->log_fd = fd;
}

void
vhost_queue_set_log (VhostQueue *self, VhostDirtyLog *log, gboolean log_used, guint64 log_address)
{
  VhostDirtyLog *old = g_steal_pointer (&self->log);

  if (old != NULL)
    {
      vhost_queue_flush (self);
      vhost_dirty_log_commit (old, &self->log_batch);
      self->log_marked = FALSE;
    }
  self->log = log != NULL ? vhost_dirty_log_ref (log) : NULL;
  self->ring.log = log;
  self->ring.log_used = log_used;
  self->ring.log_address = log_address;
  if (old != NULL)
    vhost_dirty_log_unref (old);
}

void
vhost_queue_abandon (VhostQueue *self)
{
  /* What has ended is shown to the driver; from here on nothing is. */
  vhost_queue_flush (self);
  self->silent = TRUE;
  release_held (self, FALSE);
  self->abandoned = TRUE;
  self->starved = FALSE; /* nobody will serve it again */
  self->stopped = NULL;
  self->released = NULL;
  vhost_queue_run_task (&self->idled);
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
