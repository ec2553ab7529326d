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
  guint8 *map;          /* (owned) */
  int fd;               /* (owned) */
  gsize next;           /* first byte that vhost_frontend_allocate () has not handed out */
  guint pins;           /* ring parts and tables inside it: stays mapped when it is removed */
  guint64 backend_addr; /* as told while postcopy runs; 0: not */
} VhostFrontendRegion;

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

/* A slot of a packed ring: both sides write it. */
typedef struct
{
  guint64 address;
  _Atomic guint32 length;
  _Atomic guint16 id;
  _Atomic guint16 flags;
} VhostFrontendSlot;

/* What is known of the chain that begins at a descriptor (packed: of the list with a buffer ID). */
typedef struct
{
  gpointer token;
  guint16 tail;
  guint16 n; /* descriptors; 0: not in flight */
} VhostFrontendHead;

/* What IN_ORDER needs besides, by head or buffer ID. */
typedef struct
{
  guint32 writable; /* bytes */
  guint16 count;    /* chains added before it */
} VhostFrontendOrder;

typedef struct
{
  VhostFrontendDescriptor *descriptors; /* in guest memory; NULL: none yet */
  guint64 address;
  guint32 size; /* entries */
} VhostFrontendTable;

/* A ring layout. Thread: the one that drives the queue. */
typedef struct
{
  gboolean (*add) (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers, guint n_buffers,
                   gboolean indirect, gpointer token);
  void (*publish) (VhostFrontendQueue *self);
  /* Publishes, and says whether the device wants to be notified of what came since the last time.
   */
  gboolean (*wants_kick) (VhostFrontendQueue *self);
  gboolean (*poll) (VhostFrontendQueue *self, gpointer *token, guint32 *length);
  /* Whether poll () has something to look at. */
  gboolean (*has_used) (VhostFrontendQueue *self);
  /* Writes what calls are wanted: the next one, or none. No fence. */
  void (*arm) (VhostFrontendQueue *self, gboolean wanted);
  /* Where a back-end begins that knows nothing of the ring: SET_VRING_BASE's number. */
  guint32 (*lost_base) (VhostFrontendQueue *self);
} VhostFrontendRing;

struct _VhostFrontendQueue
{
  const VhostFrontendRing *ring;
  VhostFrontendHead *heads; /* (owned) */
  guint16 *next;            /* (owned): free list and links of chains in flight; packed: of IDs */
  guint n_free;
  guint16 free_head;
  guint16 mask;
  gboolean event_idx;
  gboolean indirect;
  gboolean in_order;
  gboolean packed;

  /* Split. */
  VhostFrontendDescriptor *descriptors;
  VhostFrontendAvailable *available;
  VhostFrontendUsed *used;
  _Atomic guint16 *used_event;
  _Atomic guint16 *avail_event;
  guint16 avail_idx;     /* with what add () put there */
  guint16 published_idx; /* what the device sees */
  guint16 kicked_idx;    /* at the last decision to notify or not */
  guint16 used_idx;      /* next entry to take */
  guint16 seen_used_idx; /* last value loaded */

  /* Packed. */
  VhostFrontendSlot *slots;
  _Atomic guint32 *driver_event; /* offset and wrap, flags */
  _Atomic guint32 *device_event;
  guint avail_slot; /* where the next list goes */
  guint used_slot;  /* where the next used descriptor is expected */
  gboolean avail_wrap;
  gboolean used_wrap;
  guint n_busy;            /* slots from used_slot to avail_slot */
  guint first_unpublished; /* slot of the first list that the device does not see ... */
  guint16 first_flags;     /* ... and its flags; 0: none */
  guint kicked_slot;
  guint n_unkicked; /* slots since the last decision */
  guint armed_laps; /* laps until an armed event is taken back, so that it is not met again */

  /* IN_ORDER. */
  VhostFrontendOrder *order; /* (owned) (nullable) */
  guint16 oldest;            /* head or ID */
  guint16 n_added;           /* chains */
  guint16 n_done;
  guint16 batch_last; /* ends the batch that is being given back */
  gboolean in_batch;
  guint32 batch_length;

  gboolean calls_enabled;
  gboolean detached;
  VhostFrontendNotify kick_mode; /* of the last start */
  VhostFrontendNotify call_mode;
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
  guint32 base;        /* where the device starts again */
  gboolean running;    /* no GET_VRING_BASE since the start */
  gboolean lost;       /* ran when the connection went away */
  guint64 iova_offset; /* from guest addresses to those that the device is told */
  guint64 descriptors_address;
  guint64 available_address;
  guint64 used_address;
};

/* One entry of the driver's IOMMU. */
typedef struct
{
  guint64 iova;
  guint64 size;
  guint64 guest_addr;
  guint8 access;
} VhostFrontendMapping;

/* IOTLB_MSG of both directions, with the padding that everyone sends. */
typedef struct
{
  guint64 iova;
  guint64 size;
  guint64 user_addr;
  guint8 perm;
  guint8 type;
  guint8 padding[6];
} VhostFrontendIotlbMessage;

/* The log of dirty pages. */
typedef struct
{
  _Atomic guint8 *map; /* (owned) (nullable) */
  gsize size;
  int fd; /* (owned) */
} VhostFrontendLog;

/* The area of in-flight requests, as the back-end made it. */
typedef struct
{
  int fd; /* (owned) */
  guint64 size;
  guint64 offset;
  guint16 n_queues;
  guint16 queue_size;
  gpointer map;  /* (owned) (nullable): of the whole file's first offset + size bytes */
  gboolean sent; /* on this connection */
  gboolean none; /* the back-end has no area to give */
} VhostFrontendInflight;

struct _VhostFrontend
{
  GObject parent_instance;

  guint timeout;                 /* ms */
  gboolean iterate_context;      /* what waits runs the main context */
  gboolean awaiting;             /* an answer: handlers must not send the next request */
  guint n_disconnects;           /* tells who waited that the channel is another one */
  VhostChannel *channel;         /* (owned) (nullable) */
  VhostChannel *backend_channel; /* (owned) (nullable) */
  guint config_generation;
  guint64 n_backend_requests[VHOST_WIRE_N_BACKEND_REQUESTS];
  int answer_fd; /* (owned): what a handler gave for the answer */

  guint64 offered_features;
  guint64 offered_protocol_features;
  guint64 features;
  guint64 protocol_features;
  guint max_queues;
  guint64 max_memory_slots;
  /* What the last connection had agreed, for resume. */
  gboolean negotiated;
  guint64 session_features;
  guint64 session_protocol_features;
  int session_status; /* -1: never set */

  gboolean use_inflight;
  VhostFrontendNotify kick_mode;
  VhostFrontendNotify call_mode;
  guint64 iova_offset;
  gboolean iotlb_lazy;

  VhostFrontendInflight inflight;
  VhostFrontendLog log;
  gboolean logging;
  int log_event_fd;   /* (owned) */
  GArray *mappings;   /* (owned) (element-type VhostFrontendMapping) */
  gboolean listening; /* postcopy: the memory messages are answered with addresses */

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

/* The signals for a back-end's request. Handlers may disconnect. Returns what a handler answered,
 * -1: none did. */
int vhost_frontend_emit_backend_request (VhostFrontend *self, guint32 request,
                                         gconstpointer payload, gsize size, int fd,
                                         gboolean well_formed);
/* SET_FEATURES alone, with what it is answered. */
gboolean vhost_frontend_change_features (VhostFrontend *self, guint64 features, GError **error);

/* vhost-frontend-wait.c */

/* Waits for one of two descriptors (-1: only the first), by iterating the main context where
 * iterate-context says so. 1: ready, 0: the deadline is over, -1: errno, ENOTCONN when a handler
 * disconnected meanwhile. @deadline is monotonic us, -1 none. */
int vhost_frontend_wait_for (VhostFrontend *self, int fd, int other_fd, short events,
                             gint64 deadline);

/* vhost-frontend-channel.c */

gint64 vhost_frontend_get_deadline (VhostFrontend *self);

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
gboolean vhost_frontend_get_with_fds (VhostFrontend *self, guint32 request, const void *payload,
                                      gsize size, const int *fds, guint n_fds,
                                      VhostMessage **answer, GError **error);
gboolean vhost_frontend_get_u64 (VhostFrontend *self, guint32 request, guint64 *value,
                                 GError **error);

/* vhost-frontend-backend-request.c */

/* Makes the pair of sockets and sends SET_BACKEND_REQ_FD. */
gboolean vhost_frontend_open_backend_channel (VhostFrontend *self, GError **error);

/* vhost-frontend-device.c */

gboolean vhost_frontend_check_protocol_bit (VhostFrontend *self, guint bit, guint32 request,
                                            GError **error);

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
 * lives. Thread: any. */
guint64 vhost_frontend_memory_allocate_pinned (VhostFrontend *self, gsize length, gsize alignment,
                                               gpointer *memory);
/* What messages call a guest address. FALSE: the back-end knows no such memory, @length bytes of
 * it. */
gboolean vhost_frontend_memory_to_user (VhostFrontend *self, guint64 guest_address, guint64 length,
                                        guint64 *user_address);

/* vhost-frontend-inflight.c */

void vhost_frontend_inflight_clear (VhostFrontend *self);
/* Before a queue starts: fetches the area once, sends it once on each connection. */
gboolean vhost_frontend_inflight_start (VhostFrontend *self, guint index, guint queue_size,
                                        GError **error);

/* vhost-frontend-log.c */

void vhost_frontend_log_clear (VhostFrontend *self);
/* Makes the log cover guest memory up to @end. */
gboolean vhost_frontend_log_cover (VhostFrontend *self, guint64 end, GError **error);
/* Tells a new connection about the log. */
gboolean vhost_frontend_log_replay (VhostFrontend *self, GError **error);

/* vhost-frontend-iotlb.c */

/* Answers a MISS. TRUE: it was sent an UPDATE. */
gboolean vhost_frontend_iotlb_miss (VhostFrontend *self, const VhostFrontendIotlbMessage *miss);
/* Tells a new connection about the mappings, unless it has to ask for them. */
gboolean vhost_frontend_iotlb_replay (VhostFrontend *self, GError **error);

/* vhost-frontend-queue-split.c, vhost-frontend-queue-packed.c */

extern const VhostFrontendRing vhost_frontend_ring_split;
extern const VhostFrontendRing vhost_frontend_ring_split_in_order;
extern const VhostFrontendRing vhost_frontend_ring_packed;
extern const VhostFrontendRing vhost_frontend_ring_packed_in_order;

/* vhost-frontend-queue.c */

/* What the ring may use; takes effect on an idle ring only. */
void vhost_frontend_queue_set_features (VhostFrontendQueue *self, gboolean event_idx,
                                        gboolean indirect);
/* The ring memory goes away: from now on add fails and poll finds nothing. */
void vhost_frontend_queue_detach (VhostFrontendQueue *self);
/* Room for @n entries in the table of @head; the smaller table before it is given up. */
gboolean vhost_frontend_queue_reserve_table (VhostFrontendQueue *self, VhostFrontendTable *table,
                                             guint n);

/* vhost-frontend-queue-setup.c */

/* Ring memory and eventfds, no messages. */
VhostFrontendQueue *vhost_frontend_queue_new (VhostFrontend *frontend, guint index, guint size,
                                              gboolean packed, GError **error);
/* IN_ORDER or not. FALSE: chains are in flight, and the ring was driven the other way. */
gboolean vhost_frontend_queue_set_in_order (VhostFrontendQueue *self, gboolean in_order);

/* vhost-frontend-queue-start.c */

/* The connection is gone: the next start goes on behind what the back-end has used. */
void vhost_frontend_queue_disconnected (VhostFrontendQueue *self);
/* SET_VRING_ADDR, with the log's flag or not. */
gboolean vhost_frontend_queue_send_address (VhostFrontendQueue *self, GError **error);
/* Notifies the device as the queue was started. */
gboolean vhost_frontend_queue_notify (VhostFrontendQueue *self);
