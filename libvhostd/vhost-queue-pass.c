/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue's hot half: a pass over the ring, taking requests, giving them back, calling the
 * driver. Must not lock, allocate or emit for a request.
 *
 * How it works: a pass (vhost_queue_serve) lets the back-end pop at most VHOST_QUEUE_BUDGET chains.
 * A completion writes its used entry at once. The driver sees the first one of a pass at once, for
 * latency, and the others in groups; whether it must be called is decided at the first and at the
 * pass's end. A driver that only ever polls gets groups of EXPOSE_EVERY, which cost both sides the
 * fewest moves of the index's cache line. One that asked for a call lately sleeps when it finds
 * nothing, and waking it costs more than a hundred requests: it sees each completion at once. */
#include "config.h"

#include "vhost-queue.h"

#include "vhost-chain-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-queue-private.h"
#include "vhost-trace-private.h"

/* Within a pass a driver that polls sees completions in groups of so many. */
#ifndef EXPOSE_EVERY
#define EXPOSE_EVERY 4
#endif
/* Passes without a call until a driver counts as one that polls. */
#ifndef EXPOSE_PATIENCE
#define EXPOSE_PATIENCE 1024
#endif

/* The map of a request that has ended. */
static void
release_map (VhostQueue *self, VhostQueueMap *map)
{
  if (--map->in_flight > 0 || map == self->map)
    return;
  for (VhostQueueMap **link = &self->old_maps; *link != NULL; link = &(*link)->next)
    if (*link == map)
      {
        *link = map->next;
        vhost_queue_map_free (map);
        break;
      }
  if (!vhost_queue_has_awaited (self))
    vhost_queue_run_task (&self->released);
}

static void
check_memory (VhostQueue *self)
{
  if (G_UNLIKELY (self->map != NULL && vhost_memory_is_poisoned (self->map->memory)))
    vhost_queue_break (self, g_error_new (VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                                          "queue %u: a file behind the guest's memory became "
                                          "shorter; the front-end must not truncate it",
                                          self->index));
  if (G_UNLIKELY (self->inflight != NULL && vhost_inflight_is_poisoned (self->inflight)))
    vhost_queue_break (self, g_error_new (VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                                          "queue %u: the file of the in-flight area became "
                                          "shorter; the front-end must not truncate it",
                                          self->index));
  /* Marks are lost: a migration would go on with pages that nobody copies again. */
  if (G_UNLIKELY (self->log != NULL && vhost_dirty_log_is_poisoned (self->log)))
    vhost_queue_break (self, g_error_new (VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                                          "queue %u: the file of the dirty log became shorter; "
                                          "the front-end must not truncate it",
                                          self->index));
}

static void
publish (VhostQueue *self)
{
  gboolean wanted = self->ring.ops->publish (&self->ring);

  self->dirty = FALSE;
  if (G_UNLIKELY (self->log_marked))
    {
      vhost_dirty_log_commit (self->log, &self->log_batch); /* the index itself */
      self->log_marked = FALSE;
      if (self->log_fd >= 0)
        vhost_fd_notify (self->log_fd); /* L5 */
    }
  if (!wanted)
    {
      vhost_queue_count (&self->counters.calls_suppressed, 1);
      return;
    }
  if (self->call_fd >= 0)
    vhost_fd_notify (self->call_fd);
  else if (self->hooks.call != NULL)
    self->hooks.call (self, self->owner);
  else
    return; /* V40: the front-end polls */
  self->expose_patience = EXPOSE_PATIENCE;
  vhost_queue_count (&self->counters.calls, 1);
}

/**
 * vhost_queue_flush:
 * @self: a queue
 *
 * Shows the driver what was completed so far and calls it if it wants that. The end of a pass does
 * this by itself; a back-end that works long within one pass may do it earlier.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_queue_flush (VhostQueue *self)
{
  self->announced = FALSE;
  if (self->dirty && !self->silent)
    publish (self);
}

/* Nothing is in flight: was somebody waiting for that? May be the end of @self. */
static void
idle (VhostQueue *self)
{
  if (G_UNLIKELY (self->idled != NULL))
    vhost_queue_run_task (&self->idled);
  if (G_UNLIKELY (self->abandoned))
    {
      if (self->map != NULL)
        {
          g_clear_pointer (&self->map, vhost_queue_map_free);
          g_object_unref (self); /* of vhost_queue_abandon () */
        }
    }
  else if (G_UNLIKELY (vhost_queue_get_state (self) == VHOST_QUEUE_STATE_DRAINING))
    vhost_queue_drained (self);
}

gboolean
vhost_queue_serve_resumed (VhostQueue *self)
{
  gboolean again;

  self->more = FALSE;
  self->in_pass = TRUE;
  self->hooks.process (self, self->owner);
  self->in_pass = FALSE;
  vhost_queue_flush (self);
  again = self->more && self->resumed != NULL;
  if (self->in_flight == 0)
    idle (self);
  return again;
}

gboolean
vhost_queue_serve (VhostQueue *self)
{
  gboolean again;
  guint32 looked;

  self->budget = VHOST_QUEUE_BUDGET;
  self->more = FALSE;
  self->starved = FALSE;
  if (self->expose_patience > 0)
    self->expose_patience--;
  check_memory (self);
  if (G_UNLIKELY (!self->accepting))
    {
      vhost_queue_flush (self);
      /* The back-end still gets what a filter kept from it, though the ring gives nothing more. */
      return self->resumed != NULL && vhost_queue_serve_resumed (self);
    }
  vhost_queue_kicks_off (self);
  self->emptied = FALSE;
  looked = self->ring.ops->look (&self->ring);
  self->in_pass = TRUE;
  self->hooks.process (self, self->owner);
  self->in_pass = FALSE;
  /* What a back-end leaves in the ring is its own affair: it is not shown it again and again, but
   * when the driver adds more, or kicks. */
  if (G_UNLIKELY (!self->emptied && !self->more && !self->starved && self->accepting))
    self->ring.ops->leave (&self->ring, looked);
  vhost_queue_flush (self);
  check_memory (self);
  vhost_queue_count (&self->counters.passes, 1);
  VHOST_PROBE3 (pass, self->index, VHOST_QUEUE_BUDGET - self->budget, self->in_flight);
  again = self->more && (self->accepting || self->resumed != NULL);
  if (G_UNLIKELY (self->in_flight == 0))
    idle (self);
  return again;
}

static inline VhostChain *
pop_ring (VhostQueue *self)
{
  VhostChain *chain;
  GError *error = NULL;

  if (G_UNLIKELY (!self->accepting))
    return NULL;
  if (G_UNLIKELY (self->resubmit_only && self->ring.n_resubmit == 0))
    return NULL;
  if (G_UNLIKELY (self->budget == 0))
    {
      if (self->in_pass)
        {
          self->more = self->ring.ops->has_available (&self->ring);
          self->emptied = !self->more;
          return NULL;
        }
      self->budget = VHOST_QUEUE_BUDGET; /* a pop outside a pass has no share to keep */
    }

  if (G_LIKELY (self->n_free_chains > 0))
    chain = self->free_chains[--self->n_free_chains];
  else if (self->n_chains < self->ring.size)
    {
      chain = vhost_chain_new (self, self->chain_data_size);
      chain->pool_index = self->chains->len;
      g_ptr_array_add (self->chains, chain);
      self->n_chains++;
    }
  else
    {
      /* Every head is in flight: a driver that offers one more breaks V8. */
      self->emptied = TRUE;
      if (self->ring.ops->has_available (&self->ring))
        vhost_queue_break (self,
                           g_error_new (VHOST_ERROR, VHOST_ERROR_RING,
                                        "queue %u: more requests than the ring has entries, %u",
                                        self->index, self->ring.size));
      return NULL;
    }

  switch (self->ring.ops->pop (&self->ring, chain, &error))
    {
    case VHOST_RING_TAKEN:
      chain->in_flight = TRUE;
      chain->writable_total = chain->writable_size;
      chain->map = self->map;
      self->map->in_flight++;
      self->in_flight++;
      self->budget--;
      vhost_queue_count (&self->counters.requests, 1);
      vhost_queue_count (&self->counters.bytes_in, chain->readable_size);
      return chain;
    case VHOST_RING_AGAIN:
      self->starved = TRUE;
      break;
    case VHOST_RING_MISS:
      vhost_queue_ask (self, self->ring.miss_address, self->ring.miss_access);
      break;
    case VHOST_RING_VIOLATION:
      check_memory (self); /* the zeros in place of a lost file look like a violation */
      g_prefix_error (&error, "queue %u: ", self->index);
      vhost_queue_break (self, error);
      break;
    case VHOST_RING_EMPTY:
    default:
      self->emptied = TRUE;
      break;
    }
  self->segments_left += vhost_chain_recycle (chain);
  self->free_chains[self->n_free_chains++] = chain;
  return NULL;
}

/* What a filter lets through: chains that it kept first, then the ring's. */
static G_GNUC_NO_INLINE VhostChain *
pop_filtered (VhostQueue *self)
{
  VhostChain *chain;

  while ((chain = self->resumed) == NULL)
    {
      chain = pop_ring (self);
      if (chain == NULL || self->filter->popped (self->filter, chain))
        return chain;
      if (self->budget == 0 && !self->in_pass)
        {
          /* Nothing else would end this, with a driver that refills the ring. */
          self->more = TRUE;
          self->hooks.wake (self);
          return NULL;
        }
    }
  self->resumed = chain->remote_next;
  chain->remote_next = NULL;
  return chain;
}

void
vhost_queue_resume (VhostQueue *self, VhostChain *chain)
{
  chain->remote_next = NULL;
  if (self->resumed == NULL)
    self->resumed_tail = &self->resumed;
  *self->resumed_tail = chain;
  self->resumed_tail = &chain->remote_next;
  self->more = TRUE;
  if (!self->in_pass)
    self->hooks.wake (self);
}

void
vhost_queue_drop_filter (VhostQueue *self)
{
  VhostQueueFilter *filter = g_steal_pointer (&self->filter);

  if (filter == NULL)
    return;
  g_object_ref (self); /* the last chain of an abandoned queue lets it go */
  while (self->resumed != NULL)
    {
      VhostChain *chain = self->resumed;

      self->resumed = chain->remote_next;
      chain->completed_length = 0;
      vhost_queue_give_back (self, chain);
    }
  filter->drop (filter);
  g_object_unref (self);
}

/**
 * vhost_queue_pop:
 * @self: a queue
 *
 * Takes the next request. %NULL ends the batch: nothing is there, or the pass has had its share and
 * the queue will be served again without a kick.
 *
 * Thread: worker, within #VhostBackendClass.process_queue, or any time on that thread.
 *
 * Returns: (transfer none) (nullable): a chain, valid until it is completed
 *
 * Since: 0.1
 */
VhostChain *
vhost_queue_pop (VhostQueue *self)
{
  return G_LIKELY (self->filter == NULL) ? pop_ring (self) : pop_filtered (self);
}

/* What the device may have written: all of the writable part, since a used length says only how
 * much it did at least (V23). Marked after it was written and before it is given back (L9). */
static void
mark_written (VhostQueue *self, VhostChain *chain)
{
  const struct iovec *segments = chain->segments + chain->n_readable;

  if (chain->map == NULL)
    return; /* it was marked when it was held, and its memory may be gone */
  vhost_dirty_log_mark_segments (self->log, &self->log_batch, chain->map->memory, segments,
                                 chain->n_writable + chain->n_status);
  if (chain->status_length > 0)
    {
      const struct iovec *last = &segments[chain->n_writable - 1];

      vhost_dirty_log_mark_host (self->log, &self->log_batch, chain->map->memory,
                                 (guint8 *) last->iov_base + last->iov_len, chain->status_length);
    }
  self->log_marked = TRUE;
  /* A packed ring may show a request as soon as it is pushed; a split one commits with its index.
   */
  if (self->ring.ops == &vhost_ring_packed_ops || self->unplaced)
    vhost_dirty_log_commit (self->log, &self->log_batch);
}

void
vhost_queue_let_go (VhostQueue *self, VhostChain *chain)
{
  VhostQueueMap *map = chain->map;

  self->segments_left += vhost_chain_recycle (chain);
  /* acquire: pairs with the release in vhost_chain_unref () of a holder on another thread */
  if (G_LIKELY (atomic_load_explicit (&chain->ref_count, memory_order_acquire) == 1))
    self->free_chains[self->n_free_chains++] = chain;
  else
    {
      /* Someone still holds it: it is theirs now, the pool makes another one. */
      self->n_chains--;
      vhost_queue_forget_chain (self, chain);
      vhost_chain_unref (chain);
    }
  self->in_flight--;
  if (G_LIKELY (map != NULL))
    release_map (self, map);
  if (G_LIKELY (self->in_flight > 0 && !self->starved))
    return;
  if (self->starved)
    {
      self->starved = FALSE;
      self->more = TRUE;
      if (!self->in_pass)
        self->hooks.wake (self);
    }
  if (self->in_flight == 0 && !self->in_pass)
    idle (self);
}

/* The used ring is nowhere just now. While the ring stops nobody will say where it is: the request
 * stays unanswered, in the in-flight area where there is one (R13). */
static void
hold (VhostQueue *self, VhostChain *chain)
{
  if (!self->base_pending && vhost_queue_get_state (self) != VHOST_QUEUE_STATE_DRAINING)
    {
      chain->remote_next = NULL;
      *self->held_end = chain;
      self->held_end = &chain->remote_next;
      /* Only the ring is needed now: nobody who waits for the memory waits for a place, too. */
      if (chain->map != NULL)
        release_map (self, g_steal_pointer (&chain->map));
    }
  else
    vhost_queue_let_go (self, chain);
}

/* When the driver sees an entry that was just written. */
static inline void
show (VhostQueue *self)
{
  if (!self->announced)
    {
      if (G_UNLIKELY (self->in_batch))
        return;
      /* The first of a pass goes out at once; of the others the pass's end takes care, or, when
       * the completion comes from elsewhere, the worker's next flush. */
      self->announced = TRUE;
      if (!self->in_pass)
        self->hooks.wake (self);
      publish (self);
    }
  else if (++self->unexposed >= (self->expose_patience > 0 ? 1 : EXPOSE_EVERY))
    {
      if (G_UNLIKELY (self->in_batch))
        return;
      self->unexposed = 0;
      self->ring.ops->expose (&self->ring);
    }
}

void
vhost_queue_put (VhostQueue *self, VhostChain *chain)
{
  if (G_LIKELY (!self->silent))
    {
      if (G_UNLIKELY (self->log != NULL))
        mark_written (self, chain);
      if (G_UNLIKELY (self->unplaced))
        {
          hold (self, chain);
          return;
        }
      self->ring.ops->push (&self->ring, chain, chain->completed_length);
      vhost_queue_count (&self->counters.bytes_out, chain->completed_length);
      self->dirty = TRUE;
      show (self);
    }
  vhost_queue_let_go (self, chain);
}

void
vhost_queue_give_back (VhostQueue *self, VhostChain *chain)
{
  chain->in_flight = FALSE;
  vhost_queue_count (&self->counters.completed, 1);
  vhost_queue_put (self, chain);
}

/**
 * vhost_queue_complete_batch: (skip)
 * @self: a queue
 * @chains: (array length=n_chains): requests of this queue, as the driver is to see them
 * @written: (array length=n_chains): bytes written to each, as vhost_chain_complete() takes it
 * @n_chains: how many; 0 does nothing
 *
 * Completes several requests so that the driver sees all of them or none: what a packet over
 * several receive buffers needs (VIRTIO 1.3, 2.7.8 and 2.8.9).
 *
 * It cannot be kept where each request is shown by itself: on a packed ring whose requests in
 * flight are tracked, and behind a filter.
 *
 * Thread: worker.
 *
 * Since: 0.1
 */
void
vhost_queue_complete_batch (VhostQueue *self, VhostChain *const *chains, const gsize *written,
                            guint n_chains)
{
  g_return_if_fail (vhost_queue_is_own_thread (self));
  g_return_if_fail (n_chains == 0 || (chains != NULL && written != NULL));

  if (n_chains == 0)
    return;
  /* The last one comes by the usual way: with it all that was kept back appears. */
  self->in_batch = TRUE;
  for (guint i = 0; i + 1 < n_chains; i++)
    vhost_chain_complete (chains[i], written[i]);
  self->in_batch = FALSE;
  self->unexposed = EXPOSE_EVERY;
  vhost_chain_complete (chains[n_chains - 1], written[n_chains - 1]);
}

/* Apart from the next one, which then needs no stack. */
static G_GNUC_NO_INLINE void
finish_filtered (VhostQueue *self, VhostChain *chain)
{
  chain->in_flight = FALSE; /* the back-end is done with it */
  if (self->filter->completed (self->filter, chain))
    vhost_queue_give_back (self, chain);
}

void
vhost_queue_finish (VhostQueue *self, VhostChain *chain)
{
  if (G_LIKELY (self->filter == NULL))
    vhost_queue_give_back (self, chain);
  else
    finish_filtered (self, chain);
}

void
vhost_queue_collect_remote (VhostQueue *self)
{
  /* acquire: pairs with the release of the push in vhost_chain_complete (); release: with the
   * acquire of the next push, which posts remote_task again. The mailbox must be done with its
   * link. */
  VhostChain *chain = atomic_exchange_explicit (&self->remote, NULL, memory_order_acq_rel);
  VhostChain *oldest_first = NULL;

  while (chain != NULL)
    {
      VhostChain *next = chain->remote_next;

      chain->remote_next = oldest_first;
      oldest_first = chain;
      chain = next;
    }
  if (oldest_first == NULL)
    return;
  g_object_ref (self); /* the last one of an abandoned queue lets it go */
  while (oldest_first != NULL)
    {
      chain = oldest_first;
      oldest_first = chain->remote_next;
      vhost_queue_finish (self, chain);
    }
  g_object_unref (self);
}

void
vhost_queue_kicks_off (VhostQueue *self)
{
  if (self->kicks_wanted && self->accepting)
    {
      self->kicks_wanted = FALSE;
      self->ring.ops->kicks_off (&self->ring);
    }
}

gboolean
vhost_queue_kicks_on (VhostQueue *self)
{
  if (self->kicks_wanted || !self->accepting || self->starved)
    return FALSE;
  if (self->kick_fd < 0)
    {
      /* V40: nobody will kick, say so and look again. */
      self->ring.ops->kicks_off (&self->ring);
      return self->ring.ops->has_available (&self->ring);
    }
  self->kicks_wanted = TRUE;
  return self->ring.ops->kicks_on (&self->ring);
}
