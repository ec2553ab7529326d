/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of an in-flight region, which other back-ends read and write too, and what its three
 * files share. Must not be included outside of them and of their tests.
 *
 * How it works: the numbers that steer us (links, positions, counter) are read from the area once,
 * in recover, checked, and kept in private memory from then on. While the ring runs the area is
 * only written, so what the front-end does to it then can mislead nobody but the next process,
 * which checks again. */
#pragma once

#include "vhost-inflight-private.h"

#define VHOST_INFLIGHT_VERSION 1u

typedef struct
{
  guint8 inflight;
  guint8 padding[5];
  guint16 next;
  guint64 counter;
} VhostInflightSplitEntry;

typedef struct
{
  guint64 features;
  guint16 version;
  guint16 desc_num;
  guint16 last_batch_head;
  guint16 used_idx;
  VhostInflightSplitEntry desc[];
} VhostInflightSplitArea;

typedef struct
{
  guint8 inflight;
  guint8 padding;
  guint16 next;
  guint16 last;
  guint16 num;
  guint64 counter;
  guint16 id;
  guint16 flags;
  guint32 len;
  guint64 addr;
} VhostInflightPackedEntry;

/* Both pairs of an index and its wrap counter: they move in one store (IF8). */
typedef union
{
  struct
  {
    guint16 used_idx;
    guint16 old_used_idx;
    guint8 used_wrap;
    guint8 old_used_wrap;
    guint8 padding[2];
  };
  guint64 word;
} VhostInflightPackedPositions;

typedef struct
{
  guint64 features;
  guint16 version;
  guint16 desc_num;
  guint16 free_head;
  guint16 old_free_head;
  VhostInflightPackedPositions positions;
  guint8 padding[8];
  VhostInflightPackedEntry desc[];
} VhostInflightPackedArea;

G_STATIC_ASSERT (sizeof (VhostInflightSplitEntry) == 16);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VhostInflightSplitEntry, counter) == 8);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VhostInflightSplitArea, desc) == 16);
G_STATIC_ASSERT (sizeof (VhostInflightPackedPositions) == 8);
G_STATIC_ASSERT (sizeof (VhostInflightPackedEntry) == 32);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VhostInflightPackedEntry, addr) == 24);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VhostInflightPackedArea, positions) == 16);
G_STATIC_ASSERT (G_STRUCT_OFFSET (VhostInflightPackedArea, desc) == 32);

struct _VhostInflightRegion
{
  VhostInflight *area; /* (owned) */
  union
  {
    void *memory;
    VhostInflightSplitArea *split;
    VhostInflightPackedArea *packed;
  };
  guint index;    /* the queue's */
  guint size;     /* the ring's */
  guint desc_num; /* entries of desc[]; not below the ring's size */
  guint64 counter;
  VhostInflightRequest *requests; /* (owned) (nullable) */
  guint n_requests;

  /* A copy of the links of desc[]: split, the batch's list; packed, free and taken lists. */
  guint16 *next; /* (owned) */

  /* split */
  guint16 available;
  guint16 last_batch_head;
  guint n_batch; /* pushed, not published */

  /* packed */
  guint16 *last; /* (owned) (nullable): by a list's first entry */
  guint16 *num;  /* (owned) (nullable) */
  guint16 free_head;
  guint n_free;
  VhostInflightPackedPositions positions;
  guint slots; /* that the requests to be served again occupy */
  /* Where the last packed_get () was, since lists are read from their start on. */
  guint cursor_entry; /* desc_num: nowhere */
  guint cursor_step;
  guint cursor_at;
};

/* A request found by recover, before it is sorted. */
typedef struct
{
  guint64 counter;
  VhostInflightRequest request;
} VhostInflightFound;

/* The header, as far as the layouts agree. TRUE with @fresh: version 0, to be initialised. */
gboolean vhost_inflight_region_check (VhostInflightRegion *self, gboolean *fresh, GError **error);
/* Sets what is served again, oldest first, and the counter above them all (IF11). */
void vhost_inflight_region_set_found (VhostInflightRegion *self, VhostInflightFound *found,
                                      guint n);
/* An error about this region; returns FALSE. */
gboolean vhost_inflight_region_refuse (VhostInflightRegion *self, GError **error,
                                       const char *format, ...) G_GNUC_PRINTF (3, 4);

/* Loads from the area: once, into a local that is checked. */
static inline guint8
vhost_inflight_load8 (const guint8 *field)
{
  return __atomic_load_n (field, __ATOMIC_RELAXED);
}

static inline guint16
vhost_inflight_load16 (const guint16 *field)
{
  return __atomic_load_n (field, __ATOMIC_RELAXED);
}

static inline guint32
vhost_inflight_load32 (const guint32 *field)
{
  return __atomic_load_n (field, __ATOMIC_RELAXED);
}

static inline guint64
vhost_inflight_load64 (const guint64 *field)
{
  return __atomic_load_n (field, __ATOMIC_RELAXED);
}

/* Stores to the area. release: neither compiler nor processor moves an earlier store, to the area
 * or to the ring, behind it. Partner: the loads in recover, of another process, after this one has
 * ended. */
static inline void
vhost_inflight_store8 (guint8 *field, guint8 value)
{
  __atomic_store_n (field, value, __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
}

static inline void
vhost_inflight_store16 (guint16 *field, guint16 value)
{
  __atomic_store_n (field, value, __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
}

static inline void
vhost_inflight_store32 (guint32 *field, guint32 value)
{
  __atomic_store_n (field, value, __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
}

static inline void
vhost_inflight_store64 (guint64 *field, guint64 value)
{
  __atomic_store_n (field, value, __ATOMIC_RELEASE);
  VHOST_INFLIGHT_STEP ();
}
