/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two virtqueue layouts behind one table of functions. A layout knows the ring's memory and
 * nothing else: no descriptors of files, no threads, no back-end. */
#pragma once

#include "vhost-chain-private.h"

typedef struct _VhostRing VhostRing;

typedef enum
{
  VHOST_RING_EMPTY,
  VHOST_RING_TAKEN,
  VHOST_RING_AGAIN, /* the segment budget is used up: try when requests have ended */
  VHOST_RING_VIOLATION,
} VhostRingResult;

typedef struct
{
  /* Translates the ring's parts in ring->memory and checks them; also after a change of the map. */
  gboolean (*place) (VhostRing *ring, GError **error);
  /* Positions at start, from SET_VRING_BASE's number and, split, from guest memory. */
  gboolean (*set_base) (VhostRing *ring, guint32 base, GError **error);
  guint32 (*get_base) (VhostRing *ring);
  /* Is there more than the back-end has been shown? */
  gboolean (*has_available) (VhostRing *ring);
  /* The driver's index, to be given to leave () later: what is there now is no news any more. */
  guint32 (*look) (VhostRing *ring);
  void (*leave) (VhostRing *ring, guint32 looked);
  VhostRingResult (*pop) (VhostRing *ring, VhostChain *chain, GError **error);
  void (*push) (VhostRing *ring, VhostChain *chain, guint32 length);
  /* Makes pushed entries visible; whether the driver must be called is for publish () to say,
   * later. */
  void (*expose) (VhostRing *ring);
  /* Makes pushed entries visible; returns TRUE when the driver must be called for what came since
   * the last time. */
  gboolean (*publish) (VhostRing *ring);
  void (*kicks_off) (VhostRing *ring);
  gboolean (*kicks_on) (VhostRing *ring); /* includes the full fence and the second look */
} VhostRingOps;

struct _VhostRing
{
  const VhostRingOps *ops;
  VhostMemory *memory; /* (unowned): the queue's current map */
  VhostMemoryCache *cache;
  guint64 descriptor_address;
  guint64 available_address;
  guint64 used_address;
  guint32 size;
  gboolean event_idx;
  gboolean indirect;

  /* split */
  struct _VhostSplitDescriptor *descriptors;
  struct _VhostSplitAvailable *available;
  struct _VhostSplitUsed *used;
  guint16 mask;
  guint16 next_available; /* index of the next entry to take */
  guint16 looked_at;      /* the driver's index that is no news: next_available, or behind what a
                             back-end left */
  guint16 seen_available; /* last read value of available->idx */
  guint16 next_used;      /* private: counts pushed entries */
  guint16 called_used;    /* used index at the last call decision */
  guint32 n_uncalled;     /* entries pushed since then */
  gboolean called_valid;
  guint8 *in_flight;      /* (owned): a byte per head (V9) */
  guint64 *segments_left; /* (unowned): the queue's segment budget */
  guint32 max_chain;      /* descriptors of one chain: max (size, 1024) through an indirect table */
};

extern const VhostRingOps vhost_ring_split_ops;

/* Ring state for @size entries; frees an older one. */
void vhost_ring_init (VhostRing *ring, const VhostRingOps *ops, guint32 size);
void vhost_ring_clear (VhostRing *ring);
