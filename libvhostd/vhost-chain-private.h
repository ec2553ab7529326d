/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A chain's inside. Only the queue and the ring layouts fill it; everyone else uses vhost-chain.h.
 */
#pragma once

#include <stdatomic.h>

#include "vhost-chain.h"
#include "vhost-memory-private.h"
#include "vhost-reference-private.h"

#define VHOST_CHAIN_INLINE_SEGMENTS 32

/* A memory map in use by a queue, with the number of its chains that still point into it. */
typedef struct _VhostQueueMap VhostQueueMap;

struct _VhostChain
{
  VhostReference ref_count; /* one is the queue's own */
  guint16 head;
  guint16 n_slots;    /* ring slots it occupies (packed); 1 for split */
  gboolean in_flight; /* between pop and complete */
  VhostQueue *queue;  /* (unowned): lives at least until its last chain completes */
  VhostQueueMap *map;
  struct iovec *segments; /* readable ones first; inline_segments or an overflow block */
  guint32 n_readable;
  guint32 n_writable;
  guint32 n_segments;   /* as popped: with those that were split off */
  guint32 n_allocated;  /* of segments */
  guint32 first;        /* pull's position: segment */
  gsize first_offset;   /* and byte in it */
  gsize readable_size;  /* what pull has not taken */
  gsize writable_size;  /* without a split-off status byte */
  gsize writable_total; /* as popped: bound of the used length */
  gsize write_offset;   /* vhost_chain_write's position in the writable part */
  /* Whoever has the chain splits them off while the queue's own thread may look, see
   * vhost_queue_invalidate (). */
  guint32 n_status;      /* segments behind the writable ones that were split off whole */
  guint32 status_length; /* bytes behind the last writable one that were split off it */
  guint32 completed_length;
  guint pool_index;        /* in the queue's list of chains */
  VhostChain *remote_next; /* completed on another thread */
  struct iovec inline_segments[VHOST_CHAIN_INLINE_SEGMENTS];
  gpointer data[]; /* the back-end's own, zeroed once */
};

VhostChain *vhost_chain_new (VhostQueue *queue, gsize data_size);
void vhost_chain_free (VhostChain *self);
/* Room for at least @n segments, keeping those that are there. */
void vhost_chain_reserve (VhostChain *self, guint n);
/* Empties the chain, back to the inline array; for the pool. Returns the overflow segments that it
 * gave up. */
guint vhost_chain_recycle (VhostChain *self);
