/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two virtqueue layouts behind one table of functions. A layout knows the ring's memory and
 * nothing else: no descriptors of files, no threads, no back-end. */
#pragma once

#include "vhost-chain-private.h"
#include "vhost-dirty-log-private.h"
#include "vhost-inflight-private.h"

typedef struct _VhostRing VhostRing;

typedef enum
{
  VHOST_RING_EMPTY,
  VHOST_RING_TAKEN,
  VHOST_RING_AGAIN, /* the segment budget is used up: try when requests have ended */
  VHOST_RING_VIOLATION,
  VHOST_RING_MISS, /* a translation is missing (ring->miss_*): nothing was taken, try again when
                      the map has changed */
} VhostRingResult;

typedef struct
{
  /* Translates the ring's parts in ring->memory and checks them; also after a change of the map.
   * FALSE with ring->missed: a part has no translation yet (a vIOMMU), which is no fault. */
  gboolean (*place) (VhostRing *ring, GError **error);
  /* Positions at start, from SET_VRING_BASE's number and, split, from guest memory. With
   * ring->inflight: recovers first (IF5, IF9), takes the positions from there (IF6, IF10), and the
   * requests that are to be served again come out of pop () before new ones. */
  gboolean (*set_base) (VhostRing *ring, guint32 base, GError **error);
  guint32 (*get_base) (VhostRing *ring);
  /* Is there more than the back-end has been shown? */
  gboolean (*has_available) (VhostRing *ring);
  /* How far the driver has got, to be given to leave () at the end of the same pass: what is there
   * now is no news any more. */
  guint32 (*look) (VhostRing *ring);
  void (*leave) (VhostRing *ring, guint32 looked);
  VhostRingResult (*pop) (VhostRing *ring, VhostChain *chain, GError **error);
  /* Under IN_ORDER what ends early waits inside until everything before it has ended (V27). */
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

/* A request between pop () and its used entry, where more than its head must be remembered. */
typedef struct
{
  guint64 writable; /* bytes that the device may write */
  guint32 length;   /* as pushed */
  gboolean written; /* packed: something was, wherever it lies */
  guint16 slots;    /* packed */
  guint16 entry;    /* packed: of the in-flight area */
  gboolean done;    /* pushed; waits for its turn (V27) */
} VhostRingRequest;

#define VHOST_RING_PARTS 3

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
  gboolean in_order;
  gboolean notify_on_empty;
  VhostInflightRegion *inflight; /* (owned) (nullable) */
  guint n_resubmit;              /* requests that pop () has still to serve again */
  gboolean resubmit_news;        /* there are some, and the back-end did not leave them */
  guint n_requests;              /* of the in-flight region; the last n_resubmit remain */

  /* Writes to the ring itself are marked here (L2, L8, L12, L13). */
  VhostDirtyLog *log;         /* (unowned) (nullable): the queue's */
  VhostDirtyBatch *log_batch; /* (unowned) (nullable): the queue's; committed before expose () and
                                 publish () show anything */
  gboolean log_used;          /* VHOST_VRING_F_LOG */
  guint64 log_address;

  /* Of the last VHOST_RING_MISS or failed place () */
  gboolean missed;
  guint64 miss_address;
  guint miss_access;

  /* (owned) (nullable): parts whose pages lie apart here, side by side (V3) */
  VhostMemoryWindow *windows[VHOST_RING_PARTS];

  /* Both layouts. A position is a free-running index in the split layout; in the packed one it is a
   * slot, with a wrap counter beside it. */
  guint16 next_available; /* the next entry to take */
  guint16 next_used;      /* private: behind the last pushed entry */
  guint16 called_used;    /* next_used at the last call decision */
  gboolean called_valid;
  guint32 n_uncalled;     /* entries (packed: slots) pushed since then */
  guint8 *in_flight;      /* (owned): a byte per head or buffer ID (V9) */
  guint64 *segments_left; /* (unowned): the queue's segment budget */
  guint32 max_chain;      /* descriptors of one chain: max (size, 1024) through an indirect table */
  gpointer table;         /* (owned) (nullable): copy of an indirect table whose pages lie apart */

  /* split */
  struct _VhostSplitDescriptor *descriptors;
  struct _VhostSplitAvailable *available;
  struct _VhostSplitUsed *used;
  guint16 mask;
  guint16 looked_at;      /* the driver's index that is no news: next_available, or behind what a
                             back-end left */
  guint16 looked_from;    /* next_available at the last look () */
  guint16 seen_available; /* last read value of available->idx */
  guint16 exposed_used;   /* used->idx as the driver sees it */

  /* packed */
  struct _VhostPackedDescriptor *slots;
  guint32 *driver_event;
  guint32 *device_event;
  gboolean available_wrap;
  gboolean used_wrap;
  guint32 slots_in_flight; /* taken and not pushed */
  guint32 slots_left;      /* so many behind next_available are no news: a back-end left them */
  guint32 slots_scanned;   /* so many behind it were available at the last look () */
  guint32 slots_taken;     /* since the last look () */
  gboolean leaves;         /* the back-end is one that leaves things: look () must scan */
  gboolean group_open;     /* the flags of group_slot are still to be written, last (V25) */
  guint16 group_slot;
  guint16 group_flags;
  VhostInflightDescriptor *list; /* (owned) (nullable): one list, for the in-flight area */
  guint16 *entries;              /* (owned) (nullable): the area's entries of one batch */

  /* IN_ORDER and in-flight tracking */
  gboolean remembers;         /* one of them is on */
  VhostRingRequest *requests; /* (owned) (nullable): by head or ID; split: IN_ORDER alone */
  guint16 *row;               /* (owned) (nullable): heads in the order in which they were taken */
  guint32 row_first;
  guint32 row_length;
};

extern const VhostRingOps vhost_ring_split_ops;
extern const VhostRingOps vhost_ring_split_swapped_ops; /* big-endian (V5) */
extern const VhostRingOps vhost_ring_packed_ops;

/* Ring state for @size entries; frees an older one. The fields that say what was negotiated are set
 * between this and set_base (). */
void vhost_ring_init (VhostRing *ring, const VhostRingOps *ops, guint32 size);
void vhost_ring_clear (VhostRing *ring);
