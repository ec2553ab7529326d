/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_MEMORY (vhost_memory_get_type ())

VHOST_AVAILABLE_IN_0_1
GType vhost_memory_get_type (void);

VHOST_AVAILABLE_IN_0_1
VhostMemory *vhost_memory_ref (VhostMemory *self);
VHOST_AVAILABLE_IN_0_1
void vhost_memory_unref (VhostMemory *self);

VHOST_AVAILABLE_IN_0_1
guint vhost_memory_get_n_regions (VhostMemory *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_memory_get_size (VhostMemory *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_memory_get_region (VhostMemory *self, guint index, guint64 *guest_address,
                                  guint64 *size, guint64 *user_address);

VHOST_AVAILABLE_IN_0_1
gpointer vhost_memory_get_region_address (VhostMemory *self, guint index, gsize *length);

VHOST_AVAILABLE_IN_0_1
gpointer vhost_memory_map (VhostMemory *self, guint64 guest_address, gsize *length);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_memory_read (VhostMemory *self, guint64 guest_address, gpointer data, gsize length,
                            GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_memory_write (VhostMemory *self, guint64 guest_address, gconstpointer data,
                             gsize length, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostMemory, vhost_memory_unref)

G_END_DECLS
