/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages as bytes, for tests that send what a well-behaved front-end does not, and the log that
 * such tests cause. Numbers and layouts are the specification's text once more: the library's own
 * table must not prove itself. */
#pragma once

#include "live-device.h"

G_BEGIN_DECLS

enum
{
  MSG_GET_FEATURES = 1,
  MSG_SET_FEATURES = 2,
  MSG_SET_OWNER = 3,
  MSG_RESET_OWNER = 4,
  MSG_SET_MEM_TABLE = 5,
  MSG_SET_LOG_BASE = 6,
  MSG_SET_LOG_FD = 7,
  MSG_SET_VRING_NUM = 8,
  MSG_SET_VRING_ADDR = 9,
  MSG_SET_VRING_BASE = 10,
  MSG_GET_VRING_BASE = 11,
  MSG_SET_VRING_KICK = 12,
  MSG_SET_VRING_CALL = 13,
  MSG_SET_VRING_ERR = 14,
  MSG_GET_PROTOCOL_FEATURES = 15,
  MSG_SET_PROTOCOL_FEATURES = 16,
  MSG_GET_QUEUE_NUM = 17,
  MSG_SET_VRING_ENABLE = 18,
  MSG_SET_BACKEND_REQ_FD = 21,
  MSG_IOTLB_MSG = 22,
  MSG_SET_VRING_ENDIAN = 23,
  MSG_GET_CONFIG = 24,
  MSG_SET_CONFIG = 25,
  MSG_GET_INFLIGHT_FD = 31,
  MSG_SET_INFLIGHT_FD = 32,
  MSG_RESET_DEVICE = 34,
  MSG_VRING_KICK = 35,
  MSG_GET_MAX_MEM_SLOTS = 36,
  MSG_ADD_MEM_REG = 37,
  MSG_REM_MEM_REG = 38,
  MSG_SET_STATUS = 39,
  MSG_GET_STATUS = 40,
  MSG_N = 45,
};

/* Header flags. */
#define RAW_VERSION 1u
#define RAW_REPLY 4u
#define RAW_NEED_REPLY 8u
#define RAW_HEADER_SIZE 12
/* No message is longer. */
#define RAW_MAX_PAYLOAD 2056
#define RAW_NO_FD 256u

/* Feature bits. */
#define RAW_BIT(n) (G_GUINT64_CONSTANT (1) << (n))
#define RAW_PROTOCOL_BACKEND_REQ RAW_BIT (5)
#define RAW_PROTOCOL_CONFIG RAW_BIT (9)
#define RAW_PROTOCOL_MEM_SLOTS RAW_BIT (15)
#define RAW_PROTOCOL_GPA_ADDRESSES RAW_BIT (21)

typedef struct
{
  guint32 request, flags, size;
} RawHeader;

typedef struct
{
  guint64 guest, size, user, offset;
} RawRegion;

typedef struct
{
  guint32 n, padding;
  RawRegion regions[16];
} RawTable;

typedef struct
{
  guint64 padding;
  RawRegion region;
} RawSlot;

typedef struct
{
  guint32 index, num;
} RawState;

typedef struct
{
  guint32 index, flags;
  guint64 descriptor, used, available, log;
} RawAddr;

typedef struct
{
  guint32 offset, size, flags;
  guint8 data[256];
} RawConfig;

/* Sends with NEED_REPLY. Returns the number of the answer, which must come. */
guint64 raw_request (VhostFrontend *frontend, guint request, gconstpointer payload, gsize size,
                     const int *fds, guint n_fds);
guint64 raw_u64 (VhostFrontend *frontend, guint request, guint64 value);
guint64 raw_state (VhostFrontend *frontend, guint request, guint32 index, guint32 num);
/* KICK, CALL, ERR. @fd may be -1. */
guint64 raw_ring_fd (VhostFrontend *frontend, guint request, guint64 value, int fd);
guint64 raw_set_table (VhostFrontend *frontend, const RawRegion *regions, const int *fds, guint n);
guint64 raw_slot (VhostFrontend *frontend, guint request, RawRegion region, int fd);

/* One message as the bytes of the wire. */
GByteArray *raw_bytes (guint request, guint flags, gconstpointer payload, guint size);

/* The stream has not slipped: the next question gets its own answer. */
void raw_assert_in_step (VhostFrontend *frontend);
/* The back-end closes the connection. */
void raw_assert_closed (VhostFrontend *frontend);

/* A memory file. @flags: of memfd_create (). */
int raw_memfd (gsize size, guint flags);
/* max-sessions 2; each session has an echo device of one worker of its own. For live_device_new ().
 */
void raw_allow_two_sessions (LiveDevice *device, gpointer data);
guint raw_count_sessions (LiveDevice *device);
/* Descriptors open while nobody is connected, once everything that the daemon keeps has been made.
 */
guint raw_count_idle_fds (LiveDevice *device);
/* ... now that sessions have ended. */
guint raw_count_settled_fds (void);
/* CPU time of this process, in microseconds. */
gint64 raw_cpu_time (void);

/* Before g_test_run (): a warning that no test has announced ends the program. */
void raw_log_init (void);
/* Allows warnings, or forbids them again, and forgets those that came. */
void raw_log_expect (gboolean expected);
/* Whether a message or warning came that contains @part. */
gboolean raw_log_has (const char *part);

G_END_DECLS
