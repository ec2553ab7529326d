/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's inside, shared by the vhost-frontend files. Must not know the back-end half of
 * the library. */
#pragma once

#include <stdatomic.h>

#include "vhost-channel-private.h"
#include "vhost-frontend-queue.h"
#include "vhost-frontend.h"
#include "vhost-reference-private.h"

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

/* Ring memory is little-endian, as VERSION_1 has it; legacy devices are driven as by a
 * little-endian guest. */
typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} VhostFrontendDescriptor;

typedef struct
{
  _Atomic guint16 flags;
  _Atomic guint16 idx;
  guint16 ring[]; /* then used_event */
} VhostFrontendAvailable;

/* Atomic, so that each is read once and what was checked is what is used. */
typedef struct
{
  _Atomic guint32 id;
  _Atomic guint32 length;
} VhostFrontendUsedElement;

typedef struct
{
  _Atomic guint16 flags;
  _Atomic guint16 idx;
  VhostFrontendUsedElement ring[]; /* then avail_event */
} VhostFrontendUsed;

/* What is known of the chain that begins at a descriptor. */
typedef struct
{
  gpointer token;
  guint16 tail;
  guint16 n; /* descriptors; 0: not in flight */
} VhostFrontendHead;

typedef struct
{
  VhostFrontendDescriptor *descriptors; /* in guest memory; NULL: none yet */
  guint64 address;
  guint32 size; /* entries */
} VhostFrontendTable;

struct _VhostFrontendQueue
{
  VhostFrontendDescriptor *descriptors;
  VhostFrontendAvailable *available;
  VhostFrontendUsed *used;
  _Atomic guint16 *used_event;
  _Atomic guint16 *avail_event;
  VhostFrontendHead *heads; /* (owned) */
  guint16 *next;            /* (owned): free list and links of chains in flight */
  guint n_free;
  guint16 free_head;
  guint16 mask;
  guint16 avail_idx;     /* with what add () put there */
  guint16 published_idx; /* what the device sees */
  guint16 kicked_idx;    /* at the last decision to notify or not */
  guint16 used_idx;      /* next entry to take */
  guint16 seen_used_idx; /* last value loaded */
  gboolean event_idx;
  gboolean indirect;
  gboolean calls_enabled;
  gboolean detached;
  int kick_fd; /* (owned) */
  int call_fd; /* (owned) */
  int err_fd;  /* (owned) */
  guint64 n_kicks;
  guint64 n_calls;
  guint64 bad_used;

  VhostReference ref_count;
  VhostFrontend *frontend;    /* (unowned) (nullable): NULL once detached */
  VhostFrontendTable *tables; /* (owned): one for each head, filled at first use */
  guint index;
  guint size;
  guint32 base;     /* where the device starts again */
  gboolean running; /* no GET_VRING_BASE since the start */
  guint64 descriptors_address;
  guint64 available_address;
  guint64 used_address;
  guint64 user_descriptors; /* what SET_VRING_ADDR calls them */
  guint64 user_available;
  guint64 user_used;
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
