/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-flight tracking (vhost-user specification, "Inflight I/O tracking"): an area of shared memory
 * that outlives this process and says which requests were taken and not given back. Pure: knows the
 * area's memory and the numbers that the ring gives it. Everything in the area is the front-end's
 * to change, so each number is checked before use and each walk is bounded (IF3).
 *
 * The order of stores is the whole point: after each of them the process may be killed, and the
 * next one must neither lose nor repeat a request. VHOST_INFLIGHT_STEP () stands after every store
 * to shared memory here and in the ring layouts; the model test stops there. */
#pragma once

#include <glib.h>

#ifndef VHOST_INFLIGHT_STEP
#define VHOST_INFLIGHT_STEP() ((void) 0)
#endif

/* ---- The area: all queues of a device ---- */

typedef struct _VhostInflight VhostInflight; /* counted, thread: any */

/* A zeroed, sealed memfd that fits. */
VhostInflight *vhost_inflight_new (guint num_queues, guint queue_size, gboolean packed,
                                   GError **error);
/* GET_INFLIGHT_FD: it fits the other layout, too. */
VhostInflight *vhost_inflight_new_for_both (guint num_queues, guint queue_size, gboolean packed,
                                            GError **error);
/* SET_INFLIGHT_FD. Takes @fd in any case; everything is checked against everything (IF3). */
VhostInflight *vhost_inflight_new_take_fd (int fd, guint64 size, guint64 offset, guint num_queues,
                                           guint queue_size, gboolean packed, GError **error);
/* The same file for rings of the other layout. NULL: it is too small for them, or not fresh. */
VhostInflight *vhost_inflight_new_other (VhostInflight *self, GError **error);
VhostInflight *vhost_inflight_ref (VhostInflight *self);
void vhost_inflight_unref (VhostInflight *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostInflight, vhost_inflight_unref)
int vhost_inflight_get_fd (VhostInflight *self); /* (unowned) */
guint64 vhost_inflight_get_size (VhostInflight *self);
guint64 vhost_inflight_get_offset (VhostInflight *self);
guint vhost_inflight_get_num_queues (VhostInflight *self);
guint vhost_inflight_get_queue_size (VhostInflight *self);
gboolean vhost_inflight_is_packed (VhostInflight *self);
/* Its file lost pages (only where it could not be sealed): what is tracked there is gone. */
gboolean vhost_inflight_is_poisoned (VhostInflight *self);

/* ---- One queue's region, used by its ring. Thread: the queue's worker ---- */

/* A request that is to be served again, in the order in which they were taken. */
typedef struct
{
  guint16 head;  /* split: the head. packed: the entry of the area where its list begins */
  guint16 slots; /* packed: ring slots that it occupies */
  guint16 id;    /* packed: the buffer ID */
} VhostInflightRequest;

/* A packed list's descriptor as it was when it was taken. */
typedef struct
{
  guint64 address;
  guint32 length;
  guint16 id;
  guint16 flags;
} VhostInflightDescriptor;

typedef struct _VhostInflightRegion VhostInflightRegion;

/* The region of queue @index. @size is the ring's: not more than the area's (IF3), less where the
 * driver chose a shorter ring. (transfer full) A region holds its area. */
VhostInflightRegion *vhost_inflight_region_new (VhostInflight *area, guint index, guint size,
                                                GError **error);
void vhost_inflight_region_free (VhostInflightRegion *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostInflightRegion, vhost_inflight_region_free)
/* Valid after recover: what is to be served again, oldest first. (transfer none) */
const VhostInflightRequest *vhost_inflight_region_get_requests (VhostInflightRegion *self,
                                                                guint *n);

/* In all that follows heads and entries come from the ring, which has checked them, or from here.
 */

/* Split. Initialises a fresh region (IF2), or finishes what the last process left half done (IF5)
 * and finds the requests to be served again. @used_index is the ring's. */
gboolean vhost_inflight_split_recover (VhostInflightRegion *self, guint16 used_index,
                                       GError **error);
/* IF6: where the ring goes on. Valid after recover. */
guint16 vhost_inflight_split_get_available (VhostInflightRegion *self);
/* A head was taken from the available ring. */
void vhost_inflight_split_take (VhostInflightRegion *self, guint16 head);
/* Its used entry was written; the index not yet. Any number of them may come before ... */
void vhost_inflight_split_push (VhostInflightRegion *self, guint16 head);
/* ... the index that covers them all was stored. */
void vhost_inflight_split_published (VhostInflightRegion *self, guint16 used_index);

/* Packed. @ring: the descriptor ring itself (IF9 looks at its flags); @wrap bits as in the
 * message. */
gboolean vhost_inflight_packed_recover (VhostInflightRegion *self, const void *ring, guint32 base,
                                        GError **error);
/* IF10: positions with their wrap counters. Valid after recover. */
void vhost_inflight_packed_get_positions (VhostInflightRegion *self, guint16 *available,
                                          gboolean *available_wrap, guint16 *used,
                                          gboolean *used_wrap);
/* A list of descriptors was taken. Returns the entry where it begins: the request's handle.
 * G_MAXUINT16: more slots than the ring has are in flight, this one is not tracked. */
guint16 vhost_inflight_packed_take (VhostInflightRegion *self,
                                    const VhostInflightDescriptor *descriptors, guint n);
/* A list that is served again: descriptor @step of those that begin at @entry. FALSE: @step is past
 * its end, or the area was changed meanwhile. */
gboolean vhost_inflight_packed_get (VhostInflightRegion *self, guint16 entry, guint step,
                                    VhostInflightDescriptor *descriptor);
/* One used descriptor (IF8): for @n requests, several only for a batch of IN_ORDER. Before its
 * flags are stored; @used and @used_wrap are the position behind it. */
void vhost_inflight_packed_push (VhostInflightRegion *self, const guint16 *entries, guint n,
                                 guint16 used, gboolean used_wrap);
/* After its flags were stored. */
void vhost_inflight_packed_published (VhostInflightRegion *self, const guint16 *entries, guint n);
