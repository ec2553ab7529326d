/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several requests, and all of a request's segments, in one call: for bindings, to whom a call
 * costs more than the work in it. Must not know the ring. */
#include "config.h"

#include "vhost-queue.h"

#include "vhost-chain-private.h"
#include "vhost-queue-private.h"

#include <string.h>

/**
 * vhost_queue_pop_many: (skip)
 * @self: a queue
 * @chains: (array length=n_chains) (out caller-allocates): where the requests go
 * @n_chains: room in @chains
 *
 * Takes several requests, in the order in which vhost_queue_pop() gives them. Fewer than @n_chains
 * end the batch, as %NULL does there.
 *
 * Each of them belongs to the caller, who completes it.
 *
 * Thread: worker, within #VhostBackendClass.process_queue, or any time on that thread; any for a
 * queue that is stopped, which gives nothing.
 *
 * Returns: how many were taken
 *
 * Since: 0.1
 */
guint
vhost_queue_pop_many (VhostQueue *self, VhostChain **chains, guint n_chains)
{
  guint n = 0;

  g_return_val_if_fail (self != NULL, 0);
  if (vhost_queue_get_state (self) == VHOST_QUEUE_STATE_STOPPED)
    return 0; /* scripts keep queues for longer than these have a thread */
  g_return_val_if_fail (vhost_queue_is_own_thread (self), 0);
  g_return_val_if_fail (chains != NULL || n_chains == 0, 0);

  while (n < n_chains && (chains[n] = vhost_queue_pop (self)) != NULL)
    n++;
  return n;
}

/**
 * vhost_chain_get_segments: (skip)
 * @self: a chain
 * @segments: (array length=n_segments) (out caller-allocates): a copy of the vectors, readable ones
 *   first
 * @n_segments: room in @segments
 * @n_readable: (out): how many segments are readable
 *
 * Copies the vectors of both parts, as vhost_chain_get_readable() and vhost_chain_get_writable()
 * give them.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: how many segments there are; when that is more than @n_segments, the rest was left out
 *
 * Since: 0.1
 */
guint
vhost_chain_get_segments (VhostChain *self, struct iovec *segments, guint n_segments,
                          guint *n_readable)
{
  guint n;

  g_return_val_if_fail (self != NULL && n_readable != NULL, 0);

  *n_readable = self->n_readable - self->first;
  n = *n_readable + self->n_writable;
  if (n_segments > 0) /* else there may be no array at all */
    memcpy (segments, self->segments + self->first, MIN (n, n_segments) * sizeof *segments);
  return n;
}

/**
 * vhost_chain_get_memory:
 * @self: a chain
 *
 * The memory map that the chain's segments point into. Whoever keeps a pointer to a segment for
 * longer than the chain is in flight takes a reference: it keeps the memory mapped, though the
 * guest may use it for something else by then.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none): the map
 *
 * Since: 0.1
 */
VhostMemory *
vhost_chain_get_memory (VhostChain *self)
{
  g_return_val_if_fail (self != NULL && self->in_flight, NULL);

  return self->map->memory;
}
