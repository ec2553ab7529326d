/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_CHAIN (vhost_chain_get_type ())

VHOST_AVAILABLE_IN_0_1
GType vhost_chain_get_type (void);

VHOST_AVAILABLE_IN_0_1
VhostChain *vhost_chain_ref (VhostChain *self);
VHOST_AVAILABLE_IN_0_1
void vhost_chain_unref (VhostChain *self);

VHOST_AVAILABLE_IN_0_1
VhostQueue *vhost_chain_get_queue (VhostChain *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_chain_get_head (VhostChain *self);
VHOST_AVAILABLE_IN_0_1
gpointer vhost_chain_get_data (VhostChain *self);

VHOST_AVAILABLE_IN_0_1
const struct iovec *vhost_chain_get_readable (VhostChain *self, guint *n_segments);
VHOST_AVAILABLE_IN_0_1
const struct iovec *vhost_chain_get_writable (VhostChain *self, guint *n_segments);
VHOST_AVAILABLE_IN_0_1
guint vhost_chain_get_segments (VhostChain *self, struct iovec *segments, guint n_segments,
                                guint *n_readable);
VHOST_AVAILABLE_IN_0_1
VhostMemory *vhost_chain_get_memory (VhostChain *self);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_get_readable_size (VhostChain *self);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_get_writable_size (VhostChain *self);

VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_pull (VhostChain *self, gpointer data, gsize length);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_read (VhostChain *self, gsize offset, gpointer data, gsize length);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_write (VhostChain *self, gconstpointer data, gsize length);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_zero (VhostChain *self, gsize offset, gsize length);
VHOST_AVAILABLE_IN_0_1
guint8 *vhost_chain_split_status (VhostChain *self);

VHOST_AVAILABLE_IN_0_1
GBytes *vhost_chain_read_bytes (VhostChain *self, gsize length);
VHOST_AVAILABLE_IN_0_1
gsize vhost_chain_write_bytes (VhostChain *self, GBytes *bytes);

VHOST_AVAILABLE_IN_0_1
void vhost_chain_complete (VhostChain *self, gsize written);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_chain_hand_back (VhostChain *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostChain, vhost_chain_unref)

G_END_DECLS
