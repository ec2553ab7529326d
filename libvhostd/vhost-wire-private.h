/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vhost-user messages as data: one row per message. Pure: knows no socket, no session, no
 * memory map. */
#pragma once

#include <glib.h>

#define VHOST_WIRE_VERSION 1u
#define VHOST_WIRE_FLAG_VERSION_MASK 3u
#define VHOST_WIRE_FLAG_REPLY (1u << 2)
#define VHOST_WIRE_FLAG_NEED_REPLY (1u << 3)
#define VHOST_WIRE_HEADER_SIZE 12
#define VHOST_WIRE_MAX_FDS 8
#define VHOST_WIRE_MAX_REGIONS 8
#define VHOST_WIRE_MAX_MEM_SLOTS 509
#define VHOST_WIRE_MAX_CONFIG 256
#define VHOST_WIRE_MAX_QUEUES 256
/* The longest payload of any row (GET_SHMEM_CONFIG's reply); a longer size in a header is a framing
 * error. */
#define VHOST_WIRE_MAX_PAYLOAD 2056
#define VHOST_WIRE_VRING_INDEX_MASK 0xffu
#define VHOST_WIRE_VRING_NO_FD (1u << 8)

/* Front-end to back-end. */
typedef enum
{
  VHOST_WIRE_NONE = 0,
  VHOST_WIRE_GET_FEATURES = 1,
  VHOST_WIRE_SET_FEATURES = 2,
  VHOST_WIRE_SET_OWNER = 3,
  VHOST_WIRE_RESET_OWNER = 4,
  VHOST_WIRE_SET_MEM_TABLE = 5,
  VHOST_WIRE_SET_LOG_BASE = 6,
  VHOST_WIRE_SET_LOG_FD = 7,
  VHOST_WIRE_SET_VRING_NUM = 8,
  VHOST_WIRE_SET_VRING_ADDR = 9,
  VHOST_WIRE_SET_VRING_BASE = 10,
  VHOST_WIRE_GET_VRING_BASE = 11,
  VHOST_WIRE_SET_VRING_KICK = 12,
  VHOST_WIRE_SET_VRING_CALL = 13,
  VHOST_WIRE_SET_VRING_ERR = 14,
  VHOST_WIRE_GET_PROTOCOL_FEATURES = 15,
  VHOST_WIRE_SET_PROTOCOL_FEATURES = 16,
  VHOST_WIRE_GET_QUEUE_NUM = 17,
  VHOST_WIRE_SET_VRING_ENABLE = 18,
  VHOST_WIRE_SEND_RARP = 19,
  VHOST_WIRE_NET_SET_MTU = 20,
  VHOST_WIRE_SET_BACKEND_REQ_FD = 21,
  VHOST_WIRE_IOTLB_MSG = 22,
  VHOST_WIRE_SET_VRING_ENDIAN = 23,
  VHOST_WIRE_GET_CONFIG = 24,
  VHOST_WIRE_SET_CONFIG = 25,
  VHOST_WIRE_CREATE_CRYPTO_SESSION = 26,
  VHOST_WIRE_CLOSE_CRYPTO_SESSION = 27,
  VHOST_WIRE_POSTCOPY_ADVISE = 28,
  VHOST_WIRE_POSTCOPY_LISTEN = 29,
  VHOST_WIRE_POSTCOPY_END = 30,
  VHOST_WIRE_GET_INFLIGHT_FD = 31,
  VHOST_WIRE_SET_INFLIGHT_FD = 32,
  VHOST_WIRE_GPU_SET_SOCKET = 33,
  VHOST_WIRE_RESET_DEVICE = 34,
  VHOST_WIRE_VRING_KICK = 35,
  VHOST_WIRE_GET_MAX_MEM_SLOTS = 36,
  VHOST_WIRE_ADD_MEM_REG = 37,
  VHOST_WIRE_REM_MEM_REG = 38,
  VHOST_WIRE_SET_STATUS = 39,
  VHOST_WIRE_GET_STATUS = 40,
  VHOST_WIRE_GET_SHARED_OBJECT = 41,
  VHOST_WIRE_SET_DEVICE_STATE_FD = 42,
  VHOST_WIRE_CHECK_DEVICE_STATE = 43,
  VHOST_WIRE_GET_SHMEM_CONFIG = 44,
  VHOST_WIRE_N_REQUESTS,
} VhostWireRequest;

/* Back-end to front-end, on the channel of SET_BACKEND_REQ_FD. */
typedef enum
{
  VHOST_WIRE_BACKEND_IOTLB_MSG = 1,
  VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG = 2,
  VHOST_WIRE_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
  VHOST_WIRE_BACKEND_VRING_CALL = 4,
  VHOST_WIRE_BACKEND_VRING_ERR = 5,
  VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD = 6,
  VHOST_WIRE_BACKEND_SHARED_OBJECT_REMOVE = 7,
  VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP = 8,
  VHOST_WIRE_BACKEND_SHMEM_MAP = 9,
  VHOST_WIRE_BACKEND_SHMEM_UNMAP = 10,
  VHOST_WIRE_N_BACKEND_REQUESTS,
} VhostWireBackendRequest;

/* Protocol feature bits (numbers). */
typedef enum
{
  VHOST_WIRE_PROTOCOL_MQ = 0,
  VHOST_WIRE_PROTOCOL_LOG_SHMFD = 1,
  VHOST_WIRE_PROTOCOL_RARP = 2,
  VHOST_WIRE_PROTOCOL_REPLY_ACK = 3,
  VHOST_WIRE_PROTOCOL_NET_MTU = 4,
  VHOST_WIRE_PROTOCOL_BACKEND_REQ = 5,
  VHOST_WIRE_PROTOCOL_CROSS_ENDIAN = 6,
  VHOST_WIRE_PROTOCOL_CRYPTO_SESSION = 7,
  VHOST_WIRE_PROTOCOL_PAGEFAULT = 8,
  VHOST_WIRE_PROTOCOL_CONFIG = 9,
  VHOST_WIRE_PROTOCOL_BACKEND_SEND_FD = 10,
  VHOST_WIRE_PROTOCOL_HOST_NOTIFIER = 11,
  VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD = 12,
  VHOST_WIRE_PROTOCOL_RESET_DEVICE = 13,
  VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS = 14,
  VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
  VHOST_WIRE_PROTOCOL_STATUS = 16,
  VHOST_WIRE_PROTOCOL_XEN_MMAP = 17,
  VHOST_WIRE_PROTOCOL_SHARED_OBJECT = 18,
  VHOST_WIRE_PROTOCOL_DEVICE_STATE = 19,
  VHOST_WIRE_PROTOCOL_GET_VRING_BASE_INFLIGHT = 20,
  VHOST_WIRE_PROTOCOL_GPA_ADDRESSES = 21,
  VHOST_WIRE_PROTOCOL_SHMEM_MAP = 22,
  VHOST_WIRE_N_PROTOCOL_BITS,
} VhostWireProtocolBit;

/* VIRTIO feature bits that the transport owns or the library implements (numbers). */
#define VHOST_WIRE_F_NOTIFY_ON_EMPTY 24
#define VHOST_WIRE_F_LOG_ALL 26
#define VHOST_WIRE_F_RING_INDIRECT_DESC 28
#define VHOST_WIRE_F_RING_EVENT_IDX 29
#define VHOST_WIRE_F_PROTOCOL_FEATURES 30
#define VHOST_WIRE_F_VERSION_1 32
#define VHOST_WIRE_F_ACCESS_PLATFORM 33
#define VHOST_WIRE_F_RING_PACKED 34
#define VHOST_WIRE_F_IN_ORDER 35
#define VHOST_WIRE_F_RING_RESET 40

/* Of SET_VRING_ADDR. */
#define VHOST_WIRE_VRING_F_LOG 1u

#define VHOST_WIRE_BIT(n) (G_GUINT64_CONSTANT (1) << (n))

typedef struct
{
  guint32 request;
  guint32 flags;
  guint32 size;
} VhostWireHeader;

typedef struct
{
  guint32 index;
  guint32 num;
} VhostWireVringState;

typedef struct
{
  guint32 index;
  guint32 flags; /* bit 0: VHOST_VRING_F_LOG */
  guint64 descriptor;
  guint64 used;
  guint64 available;
  guint64 log;
} VhostWireVringAddr;

typedef struct
{
  guint64 guest_addr;
  guint64 size;
  guint64 user_addr;
  guint64 mmap_offset;
} VhostWireRegion;

typedef struct
{
  guint32 n_regions;
  guint32 padding;
  VhostWireRegion regions[VHOST_WIRE_MAX_REGIONS];
} VhostWireMemTable;

typedef struct
{
  guint64 padding;
  VhostWireRegion region;
} VhostWireSingleRegion;

typedef struct
{
  guint32 offset;
  guint32 size;
  guint32 flags;
  guint8 data[VHOST_WIRE_MAX_CONFIG];
} VhostWireConfig;
#define VHOST_WIRE_CONFIG_HEADER 12

typedef struct
{
  guint64 size;
  guint64 offset;
} VhostWireLog;

/* struct vhost_iotlb_msg with the C structure's padding. */
typedef struct
{
  guint64 iova;
  guint64 size;
  guint64 user_address;
  guint8 access; /* bit 0: read, bit 1: write */
  guint8 type;   /* VhostWireIotlbType */
  guint8 padding[6];
} VhostWireIotlb;

typedef enum
{
  VHOST_WIRE_IOTLB_MISS = 1, /* this and the last one are the back-end's to send */
  VHOST_WIRE_IOTLB_UPDATE = 2,
  VHOST_WIRE_IOTLB_INVALIDATE = 3,
  VHOST_WIRE_IOTLB_ACCESS_FAIL = 4,
} VhostWireIotlbType;

typedef struct
{
  guint64 mmap_size;
  guint64 mmap_offset;
  guint16 num_queues;
  guint16 queue_size;
  guint8 padding[4];
} VhostWireInflight;

/* Of GET_SHARED_OBJECT and the back-end's requests about shared objects. */
typedef struct
{
  guint8 uuid[16]; /* in the order of the text form */
} VhostWireSharedObject;

/* Of SET_DEVICE_STATE_FD. */
typedef struct
{
  guint32 direction; /* VhostWireDirection */
  guint32 phase;
} VhostWireDeviceState;

typedef enum
{
  VHOST_WIRE_SAVE = 0, /* from the back-end to the front-end */
  VHOST_WIRE_LOAD = 1,
} VhostWireDirection;

/* The only phase there is: the device is suspended. */
#define VHOST_WIRE_PHASE_STOPPED 0u

#define VHOST_WIRE_SHMEM_REGIONS 256

typedef struct
{
  guint32 n_regions; /* those whose size is not 0 */
  guint32 padding;
  guint64 sizes[VHOST_WIRE_SHMEM_REGIONS];
} VhostWireShmemConfig;

typedef struct
{
  guint64 index; /* with VHOST_WIRE_VRING_NO_FD */
  guint64 size;
  guint64 offset;
} VhostWireVringArea;

/* Of the back-end's SHMEM_MAP and SHMEM_UNMAP. */
typedef struct
{
  guint8 shmid;
  guint8 padding[7];
  guint64 fd_offset;
  guint64 shm_offset;
  guint64 length;
  guint64 flags;
} VhostWireMmap;
#define VHOST_WIRE_MMAP_WRITABLE 1u

/* How a message is answered. */
typedef enum
{
  VHOST_WIRE_REPLY_ACK,     /* u64 0 or not, only when NEED_REPLY is set */
  VHOST_WIRE_REPLY_OWN,     /* always, with a payload of its own */
  VHOST_WIRE_REPLY_DEPENDS, /* own in a certain state (SET_LOG_BASE with bit 1, the memory messages
                               in postcopy) */
} VhostWireReply;

#define VHOST_WIRE_NO_GATE 0xff

/* A row of the table. Sizes are those of the request's payload. */
typedef struct
{
  const char *name;
  guint16 min_size;
  guint16 max_size;
  guint8 min_fds;
  guint8 max_fds;
  guint8 reply;         /* VhostWireReply */
  guint8 protocol_bit;  /* must be acked; VHOST_WIRE_NO_GATE: none */
  guint8 feature_bit;   /* must be acked (30: offered is enough for 15 and 16); VHOST_WIRE_NO_GATE:
                           none */
  gboolean unsupported; /* known, but not implemented: refused */
} VhostWireMessage;

/* NULL: not a known message. */
const VhostWireMessage *vhost_wire_lookup (guint32 request);
const VhostWireMessage *vhost_wire_lookup_backend (guint32 request);

/* "SET_VRING_NUM" or "message 77" (static per thread). For logs. */
const char *vhost_wire_name (guint32 request);
const char *vhost_wire_protocol_bit_name (guint bit); /* NULL: unknown */
/* Device-independent VIRTIO bits and, with @device ("block", "net" ...), that device's; NULL:
 * unknown. */
const char *vhost_wire_feature_bit_name (const char *device, guint bit);

/* Header check: version and size. FALSE is a framing error: close the connection. */
gboolean vhost_wire_check_header (const VhostWireHeader *header, GError **error);

/* Payload size and number of descriptors against the row, size 0..max fds, SET_MEM_TABLE's count
 * against its size and fds. FALSE: refuse the message (NACK), keep the connection. */
gboolean vhost_wire_check_message (const VhostWireMessage *message, const VhostWireHeader *header,
                                   const void *payload, guint n_fds, GError **error);
