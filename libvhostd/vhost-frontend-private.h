/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's inside, shared by the vhost-frontend files. Must not know the back-end half of
 * the library. */
#pragma once

#include "vhost-channel-private.h"
#include "vhost-frontend-queue.h"
#include "vhost-frontend.h"

/* One memfd. The lists hold pointers, so a region stays where it is for as long as it lives. */
typedef struct
{
  guint64 guest_addr;
  gsize size;
  guint8 *map; /* (owned) */
  int fd;      /* (owned) */
  gsize next;  /* first byte that vhost_frontend_allocate () has not handed out */
  guint pins;  /* ring parts and tables inside it: stays mapped when it is removed */
} VhostFrontendRegion;

struct _VhostFrontend
{
  GObject parent_instance;

  guint timeout;                 /* ms */
  VhostChannel *channel;         /* (owned) (nullable) */
  VhostChannel *backend_channel; /* (owned) (nullable) */
  guint config_generation;

  guint64 offered_features;
  guint64 offered_protocol_features;
  guint64 features;
  guint64 protocol_features;
  guint max_queues;
  guint64 max_memory_slots;

  /* Queues of several threads allocate indirect tables; the fields below are theirs and the control
   * thread's. */
  GMutex memory_lock;
  GPtrArray *regions; /* (owned) (element-type VhostFrontendRegion): known to the back-end */
  GPtrArray
      *removed; /* (owned) (element-type VhostFrontendRegion): no longer, but rings lie in them */

  VhostFrontendQueue *queues[VHOST_WIRE_MAX_QUEUES]; /* (owned) (nullable) */
};

static inline gboolean
vhost_frontend_has_protocol_bit (VhostFrontend *self, guint bit)
{
  return (self->protocol_features & VHOST_WIRE_BIT (bit)) != 0;
}

static inline gboolean
vhost_frontend_has_feature_bit (VhostFrontend *self, guint bit)
{
  return (self->features & VHOST_WIRE_BIT (bit)) != 0;
}

/* vhost-frontend.c */

/* The signals for a back-end's request. Handlers may disconnect. */
void vhost_frontend_emit_backend_message (VhostFrontend *self, guint32 request);

/* vhost-frontend-channel.c */

/* Sends a message that is answered by an acknowledgement: asks for one if that was negotiated, and
 * turns a non-zero one into VHOST_ERROR_REFUSED. The format describes the arguments for that error.
 */
gboolean vhost_frontend_set (VhostFrontend *self, guint32 request, const void *payload, gsize size,
                             const int *fds, guint n_fds, GError **error, const char *format, ...)
    G_GNUC_PRINTF (8, 9);
/* Sends a message with an answer of its own. *@answer belongs to the channel until the next
 * receive. */
gboolean vhost_frontend_get (VhostFrontend *self, guint32 request, const void *payload, gsize size,
                             VhostMessage **answer, GError **error);
gboolean vhost_frontend_get_u64 (VhostFrontend *self, guint32 request, guint64 *value,
                                 GError **error);
/* Makes the pair of sockets and sends SET_BACKEND_REQ_FD. */
gboolean vhost_frontend_open_backend_channel (VhostFrontend *self, GError **error);

/* vhost-frontend-memory.c */

void vhost_frontend_memory_init (VhostFrontend *self);
/* Unmaps everything; the queues must be detached. */
void vhost_frontend_memory_clear (VhostFrontend *self);
/* A region that the back-end does not know yet. NULL: overlap, no memory. */
VhostFrontendRegion *vhost_frontend_memory_new_region (VhostFrontend *self, guint64 guest_address,
                                                       gsize size, GError **error);
/* Tells a new connection about the regions of the one before. */
gboolean vhost_frontend_memory_replay (VhostFrontend *self, GError **error);
/* As vhost_frontend_allocate (), zeroed, and the region stays mapped as long as the front-end
 * lives.
 * *@user_address is what messages call it. Thread: any. */
guint64 vhost_frontend_memory_allocate_pinned (VhostFrontend *self, gsize length, gsize alignment,
                                               gpointer *memory, guint64 *user_address);

/* vhost-frontend-queue.c */

/* Ring memory and eventfds, no messages. */
VhostFrontendQueue *vhost_frontend_queue_new (VhostFrontend *frontend, guint index, guint size,
                                              GError **error);
/* What the ring may use; takes effect on an idle ring only. */
void vhost_frontend_queue_set_features (VhostFrontendQueue *self, gboolean event_idx,
                                        gboolean indirect);
/* The ring memory goes away: from now on add fails and poll finds nothing. */
void vhost_frontend_queue_detach (VhostFrontendQueue *self);
/* The connection is gone: the next start goes on behind what the back-end has used. */
void vhost_frontend_queue_disconnected (VhostFrontendQueue *self);
