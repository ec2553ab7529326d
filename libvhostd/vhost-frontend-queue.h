/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

/* The driver's side of one virtqueue; belongs to its VhostFrontend. Not thread safe; different
 * queues may be driven by different threads. Buffers are guest addresses (vhost_frontend_allocate
 * ()). */

typedef struct
{
  guint64 address; /* guest physical */
  guint32 length;
  gboolean writable; /* by the device */
} VhostFrontendBuffer;

#define VHOST_TYPE_FRONTEND_QUEUE (vhost_frontend_queue_get_type ())
VHOST_AVAILABLE_IN_0_1
GType vhost_frontend_queue_get_type (void);
VHOST_AVAILABLE_IN_0_1
VhostFrontendQueue *vhost_frontend_queue_ref (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_queue_unref (VhostFrontendQueue *self);

VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_queue_get_index (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_queue_get_size (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_queue_get_free (VhostFrontendQueue *self);

/* Makes a chain available (not yet published). @indirect uses a table when INDIRECT_DESC was
 * negotiated. FALSE: no room. @token comes back from poll. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers,
                                   guint n_buffers, gboolean indirect, gpointer token);
/* Publishes what was added; a kick must follow before a wait. */
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_queue_publish (VhostFrontendQueue *self);
/* Publishes what was added; kicks if the back-end wants it. TRUE: a kick was sent. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_kick (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_queue_force_kick (VhostFrontendQueue *self);
/* Next used buffer. FALSE: none. A used id that was not in flight is counted in get_bad_used () and
 * skipped. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length);
/* Calls wanted (FALSE: none at all until enabled again) and the wait for one. -1: for ever. */
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_queue_set_calls_enabled (VhostFrontendQueue *self, gboolean enabled);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_wait (VhostFrontendQueue *self, int timeout_ms);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_queue_get_bad_used (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_queue_get_n_kicks (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_queue_get_n_calls (VhostFrontendQueue *self);

/* The same in plain numbers, for language bindings, and descriptors that break the rules. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_add_ranges (VhostFrontendQueue *self, const guint64 *ranges,
                                          guint n_ranges, guint n_readable, gboolean indirect,
                                          gsize token);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_add_raw (VhostFrontendQueue *self, const guint64 *fields,
                                       guint n_fields, guint head, gsize token);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_queue_take (VhostFrontendQueue *self, gsize *token, guint32 *length);

/* The ring's memory and descriptors, to misbehave with. */
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_queue_get_addresses (VhostFrontendQueue *self, guint64 *descriptors,
                                         guint64 *available, guint64 *used);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_queue_get_kick_fd (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_queue_get_call_fd (VhostFrontendQueue *self);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_queue_get_err_fd (VhostFrontendQueue *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostFrontendQueue, vhost_frontend_queue_unref)

G_END_DECLS
