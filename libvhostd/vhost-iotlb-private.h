/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's I/O translations under a vIOMMU (VIRTIO_F_ACCESS_PLATFORM): what the front-end's
 * IOTLB messages have said, and the map of guest memory that follows from it. Thread: control. Must
 * not know rings or messages.
 *
 * How it works: the table itself belongs to the session. Queues never see it: they get a view, an
 * immutable VhostMemory whose slots are IOVA ranges with access rights. So the hit path is the same
 * as without a vIOMMU, down to the two-entry cache. */
#pragma once

#include "vhost-memory-private.h"

/* Ranges that a table holds; when it is full the oldest is forgotten, which costs a miss. */
#define VHOST_IOTLB_MAX_ENTRIES 2048

typedef struct _VhostIotlb VhostIotlb;

VhostIotlb *vhost_iotlb_new (void);
void vhost_iotlb_free (VhostIotlb *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostIotlb, vhost_iotlb_free)

/* UPDATE: @size bytes from @iova on are those at @user_address (with GPA_ADDRESSES a guest address;
 * the map's regions then have both alike). They must lie within @memory's regions, in one or in
 * several whose user addresses follow each other; no wrap-around, size not 0, @access 1 to 3 (I4).
 * Replaces whatever of older ranges it overlaps. */
gboolean vhost_iotlb_update (VhostIotlb *self, VhostMemory *memory, guint64 iova, guint64 size,
                             guint64 user_address, guint access, GError **error);
/* Whether that UPDATE takes something away: an address that leads elsewhere now, or may be used for
 * less. */
gboolean vhost_iotlb_contradicts (VhostIotlb *self, guint64 iova, guint64 size,
                                  guint64 user_address, guint access);
/* INVALIDATE: cuts the range out; what sticks out at either side stays. FALSE: nothing was there.
 * @size 0 with @iova 0, or a range that reaches the end of the address space, is everything from
 * there on. */
gboolean vhost_iotlb_invalidate (VhostIotlb *self, guint64 iova, guint64 size);
void vhost_iotlb_clear (VhostIotlb *self);
guint vhost_iotlb_get_n_entries (VhostIotlb *self);
/* The translations as a map over @memory's regions; ranges whose memory is gone are left out.
 * Neighbours that follow each other in IOVA and in this process with equal rights are one slot.
 * (transfer full) */
VhostMemory *vhost_iotlb_build_view (VhostIotlb *self, VhostMemory *memory);
