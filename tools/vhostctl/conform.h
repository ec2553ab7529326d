/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl conform: the rules of the protocol, each as a case that runs against a back-end. What
 * the files of the verb share. Speaks to the socket itself: a checker that used the library's own
 * messages and rings would share its mistakes, and hide those of both sides.
 *
 * How a case works: it is a straight line of helpers. The first thing that goes wrong decides the
 * verdict, and from then on every helper does nothing and returns 0, so that no case needs to look
 * at results only to stop. Nothing in a case waits longer than the time limit. A case that comes to
 * its end undecided has found the rule kept. */
#pragma once

#include "device-config.h"
#include "vhostctl.h"

#include <stdio.h>

/* ---- Rules ---- */

typedef enum
{
  CONFORM_UNDECIDED,
  CONFORM_KEPT,
  CONFORM_BROKEN,
  CONFORM_DIFFERS, /* the text only advises, or is silent, and the back-end does otherwise */
  CONFORM_NOT_OFFERED,
  CONFORM_CRASHED,
  CONFORM_HUNG,
  CONFORM_INCONCLUSIVE,
  CONFORM_NOT_VISIBLE, /* cannot be seen from outside */
  CONFORM_NOT_RUN,
  CONFORM_N_VERDICTS,
} ConformVerdict;

/* What the texts say of a rule: only what they demand can be broken. */
typedef enum
{
  CONFORM_MUST,
  CONFORM_SHOULD,
  CONFORM_SILENT,
} ConformForce;

typedef struct _Conform Conform;

typedef struct
{
  const char *name;    /* "R4", or a message's */
  const char *section; /* of the vhost-user specification, or of VIRTIO 1.3 */
  const char *text;    /* what is kept; without @run also why that is not visible */
  void (*run) (Conform *self);
  ConformForce force;
  guint64 features; /* needed, besides those of every case */
  guint64 protocol;
  gboolean needs_io; /* requests to the device */
  guint message;     /* for the rows of messages */
} ConformRule;

/* Each ends with a row without a name. */
extern const ConformRule conform_message_rules[];
extern const ConformRule conform_negotiation_rules[];
extern const ConformRule conform_ring_state_rules[];
extern const ConformRule conform_status_rules[];
extern const ConformRule conform_config_rules[];
extern const ConformRule conform_memory_rules[];
extern const ConformRule conform_split_rules[];
extern const ConformRule conform_split_broken_rules[];
extern const ConformRule conform_packed_rules[];
extern const ConformRule conform_notify_rules[];
extern const ConformRule conform_inflight_rules[];
extern const ConformRule conform_log_rules[];
extern const ConformRule conform_iotlb_rules[];
extern const ConformRule conform_state_rules[];
extern const ConformRule conform_postcopy_rules[];
extern const ConformRule conform_hostile_rules[];

/* ---- The wire ---- */

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
  MSG_SEND_RARP = 19,
  MSG_NET_SET_MTU = 20,
  MSG_SET_BACKEND_REQ_FD = 21,
  MSG_IOTLB_MSG = 22,
  MSG_SET_VRING_ENDIAN = 23,
  MSG_GET_CONFIG = 24,
  MSG_SET_CONFIG = 25,
  MSG_CREATE_CRYPTO_SESSION = 26,
  MSG_CLOSE_CRYPTO_SESSION = 27,
  MSG_POSTCOPY_ADVISE = 28,
  MSG_POSTCOPY_LISTEN = 29,
  MSG_POSTCOPY_END = 30,
  MSG_GET_INFLIGHT_FD = 31,
  MSG_SET_INFLIGHT_FD = 32,
  MSG_GPU_SET_SOCKET = 33,
  MSG_RESET_DEVICE = 34,
  MSG_VRING_KICK = 35,
  MSG_GET_MAX_MEM_SLOTS = 36,
  MSG_ADD_MEM_REG = 37,
  MSG_REM_MEM_REG = 38,
  MSG_SET_STATUS = 39,
  MSG_GET_STATUS = 40,
  MSG_GET_SHARED_OBJECT = 41,
  MSG_SET_DEVICE_STATE_FD = 42,
  MSG_CHECK_DEVICE_STATE = 43,
  MSG_GET_SHMEM_CONFIG = 44,
};

#define CONFORM_VERSION 1u
#define CONFORM_REPLY 4u
#define CONFORM_NEED_REPLY 8u
#define CONFORM_NO_FD 256u
#define CONFORM_MAX_PAYLOAD 4096
#define CONFORM_MAX_FDS 8

#define P_MQ BIT (0)
#define P_LOG_SHMFD BIT (1)
#define P_RARP BIT (2)
#define P_REPLY_ACK BIT (3)
#define P_MTU BIT (4)
#define P_BACKEND_REQ BIT (5)
#define P_CROSS_ENDIAN BIT (6)
#define P_CRYPTO BIT (7)
#define P_PAGEFAULT BIT (8)
#define P_CONFIG BIT (9)
#define P_BACKEND_SEND_FD BIT (10)
#define P_INFLIGHT BIT (12)
#define P_RESET_DEVICE BIT (13)
#define P_INBAND BIT (14)
#define P_MEM_SLOTS BIT (15)
#define P_STATUS BIT (16)
#define P_SHARED_OBJECT BIT (18)
#define P_DEVICE_STATE BIT (19)
#define P_BASE_INFLIGHT BIT (20)
#define P_GPA BIT (21)
#define P_SHMEM BIT (22)

#define F_LOG_ALL BIT (26)
#define F_INDIRECT BIT (28)
#define F_EVENT_IDX BIT (29)
#define F_PROTOCOL BIT (30)
#define F_VERSION_1 BIT (32)
#define F_IOMMU BIT (33)
#define F_PACKED BIT (34)
#define F_IN_ORDER BIT (35)

typedef struct
{
  guint32 index, num;
} ConformState;

typedef struct
{
  guint64 guest, size, user, offset;
} ConformRegion;

typedef struct
{
  guint32 request, flags, size;
  guint8 payload[CONFORM_MAX_PAYLOAD];
  int fds[CONFORM_MAX_FDS]; /* (owned) by the case */
  guint n_fds;
} ConformAnswer;

/* "SET_VRING_NUM" or "message 77". */
const char *conform_message_name (guint request);

/* A case's connection. conform_open () only connects. */
void conform_open (Conform *self);
void conform_close (Conform *self);
/* Connects and negotiates what the rule needs with @features and @protocol on top. */
void conform_connect_with (Conform *self, guint64 features, guint64 protocol);
void conform_connect (Conform *self);

void conform_send_bytes (Conform *self, gconstpointer data, gsize size, const int *fds,
                         guint n_fds);
void conform_send (Conform *self, guint request, guint flags, gconstpointer payload, gsize size,
                   const int *fds, guint n_fds);
/* Waits for the next message; FALSE: none, and the case is decided. */
gboolean conform_receive (Conform *self, ConformAnswer *answer);
/* The answer to @request in the shape that every reply has. @size: -1 any. */
gboolean conform_receive_reply (Conform *self, guint request, gssize size, ConformAnswer *answer);
guint64 conform_get_u64 (Conform *self, guint request);
/* With NEED_REPLY; the u64 that comes back. Without REPLY_ACK: 0, once the message was served. */
guint64 conform_ack (Conform *self, guint request, gconstpointer payload, gsize size,
                     const int *fds, guint n_fds);
/* ... must be 0. */
void conform_do (Conform *self, guint request, gconstpointer payload, gsize size, const int *fds,
                 guint n_fds);
void conform_do_u64 (Conform *self, guint request, guint64 value);
void conform_do_state (Conform *self, guint request, guint32 index, guint32 num);
/* ... must not be 0; closing the connection is a refusal, too, but for @stays. Needs REPLY_ACK. */
void conform_refused (Conform *self, guint request, gconstpointer payload, gsize size,
                      const int *fds, guint n_fds, gboolean stays);
/* The stream has not slipped and the back-end is there. */
void conform_in_step (Conform *self);
/* Nothing comes on the socket for the time in which something would. */
void conform_expect_silence (Conform *self);
/* TRUE: the back-end closed the connection within the time limit. */
gboolean conform_is_closed (Conform *self);
/* From here on an end of the connection by the back-end is within the rules. */
void conform_may_close (Conform *self);
void conform_clear_answer (ConformAnswer *answer);
/* Gives the back-end its channel; the other end, owned by the case. */
int conform_open_channel (Conform *self);
/* One message of the back-end's own on its channel @fd. FALSE: none within @timeout_ms. */
gboolean conform_receive_on (Conform *self, int fd, guint timeout_ms, ConformAnswer *message);

/* ---- Verdicts ---- */

/* The rule is not kept: broken, or differs where the texts leave it open. */
void conform_fail (Conform *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
void conform_inconclusive (Conform *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
void conform_not_offered (Conform *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
void conform_note (Conform *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
gboolean conform_is_decided (Conform *self);
/* Fails with the text unless @condition. */
#define CONFORM_CHECK(self, condition, ...)                                                        \
  G_STMT_START                                                                                     \
  {                                                                                                \
    if (!conform_is_decided (self) && !(condition))                                                \
      conform_fail (self, __VA_ARGS__);                                                            \
  }                                                                                                \
  G_STMT_END

/* ---- Guest memory and rings ---- */

#define CONFORM_MEMORY G_GUINT64_CONSTANT (0x100000)
#define CONFORM_MEMORY_SIZE (4u << 20)
/* Where a vIOMMU has it; no guest or user address is like that. */
#define CONFORM_IOVA G_GUINT64_CONSTANT (0x7700000000)
#define CONFORM_N_RINGS 3
#define CONFORM_RING_SIZE 16
/* Descriptors that a request of the device may take, and bytes of its buffers. */
#define CONFORM_PER_REQUEST 4
#define CONFORM_REQUEST_BYTES 4096

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u
#define DESC_AVAIL 0x80u
#define DESC_USED 0x8000u

/* Of both layouts: a packed ring has the id where a split one has flags. */
typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} ConformDescriptor;

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 id;
  guint16 flags;
} ConformPackedDescriptor;

typedef struct
{
  guint64 address;
  guint32 length;
  gboolean writable;
} ConformBuffer;

/* Little-endian hosts only, as its numbers are the host's. */
typedef struct
{
  Conform *conform;
  guint index;
  guint size;
  gboolean packed;
  guint64 descriptor_address, available_address, used_address, data_address;
  ConformDescriptor *descriptors;
  ConformPackedDescriptor *slots;
  guint16 *available; /* split: flags, idx, ring[], used_event; packed: offset, flags */
  guint16 *used;      /* split: flags, idx, {id, length}[], avail_event; packed as above */
  int kick_fd, call_fd, err_fd; /* (owned) */
  guint32 address_flags;
  guint64 log_address;
  guint16 available_index; /* split */
  guint16 used_index;
  guint position, used_position; /* packed */
  guint wrap, used_wrap;
  guint32 base;
} ConformRing;

/* Shares the memory; the rings lie in it, but the back-end has not heard of them. */
void conform_share_memory (Conform *self);
/* What the device finds in descriptors: behind a vIOMMU not the guest's address. */
guint64 conform_io_address (Conform *self, guint64 guest_address);
/* ... and in SET_VRING_ADDR. */
guint64 conform_ring_address (Conform *self, guint64 guest_address);
gpointer conform_memory (Conform *self, guint64 guest_address);
/* In the format of SET_MEM_TABLE; how many bytes. */
gsize conform_make_table (gpointer payload, const ConformRegion *regions, guint n);
ConformRegion conform_main_region (Conform *self);
int conform_memfd (gsize size);

ConformRing *conform_ring (Conform *self, guint index);
/* Makes it anew, with nothing in it. */
void conform_ring_lay_out (ConformRing *self, guint size);
void conform_ring_set_address (ConformRing *self);
void conform_ring_set_notifier (ConformRing *self, guint request, int fd);
/* NUM, BASE, ADDR, CALL, ERR. */
void conform_ring_set_up (ConformRing *self);
void conform_ring_kick_message (ConformRing *self);
void conform_ring_enable (ConformRing *self, guint32 value);
void conform_ring_start (ConformRing *self);
guint32 conform_ring_stop (ConformRing *self);
/* Makes a chain available; @id is what comes back. No kick. */
void conform_ring_offer (ConformRing *self, const ConformBuffer *buffers, guint n, guint first,
                         guint *id);
void conform_ring_offer_head (ConformRing *self, guint head);
void conform_ring_kick (ConformRing *self);
/* Waits for the next used entry. */
gboolean conform_ring_take (ConformRing *self, guint32 *id, guint32 *length);
/* Whether there is one, without waiting. */
gboolean conform_ring_has_used (ConformRing *self);
/* None comes for the time in which one would. */
void conform_ring_expect_nothing (ConformRing *self, const char *why);
guint64 conform_take_events (int fd);
/* Whether @fd was signalled within @timeout_ms. */
gboolean conform_wait_event (int fd, guint timeout_ms);

/* ---- Requests that the device answers ---- */

/* Memory, rings that the device needs, all started. The ring for requests. */
ConformRing *conform_start_io (Conform *self);
ConformRing *conform_prepare_io (Conform *self);
/* Request number @n (0 ... size / CONFORM_PER_REQUEST - 1): offers it, without a kick. */
void conform_io_offer (ConformRing *self, guint n);
/* Waits for it, and looks whether it is right. Requests may come back in any order: the number. */
guint conform_io_finish (ConformRing *self);
/* All of it. */
void conform_io_run (ConformRing *self);
/* The buffers of request @n; how many. */
guint conform_io_build (ConformRing *self, guint n, ConformBuffer *buffers);
void conform_io_check (ConformRing *self, guint n, guint32 length);

/* ---- The run ---- */

typedef struct
{
  const ConformRule *rule;
  ConformVerdict verdict;
  char *sentence;   /* (owned) (nullable) */
  char *transcript; /* (owned) (nullable) */
} ConformResult;

typedef struct _ConformServer ConformServer;

struct _Conform
{
  const char *socket_path;
  guint timeout_ms;
  guint quiet_ms; /* in which something forbidden would have shown */
  const char *device;
  guint64 offered_features, offered_protocol;
  guint n_queues;
  int peer_pid;

  /* Of the case under way. */
  const ConformRule *rule;
  ConformVerdict verdict;
  char *sentence;      /* (owned) */
  GString *transcript; /* (owned) */
  gint64 deadline;
  gboolean may_close, was_opened, was_closed;
  int fd; /* (owned) or -1 */
  guint64 features, protocol;
  /* Called while a ring is waited for (nullable): the front-end's other duties. */
  void (*meanwhile) (Conform *self);
  int channel; /* for @meanwhile */
  guint n_misses;
  guint8 *memory;
  int memory_fd;
  ConformRing rings[CONFORM_N_RINGS];
};

void conform_transcribe (Conform *self, const char *format, ...) G_GNUC_PRINTF (2, 3);
gint64 conform_get_deadline (Conform *self);
void conform_rings_init (Conform *self);
void conform_rings_clear (Conform *self);

/* @command (nullable): a shell-like command with {socket}. */
ConformServer *conform_server_new (Conform *conform, const char *command, gboolean loud);
void conform_server_free (ConformServer *self);
gboolean conform_server_start (ConformServer *self, GError **error);
/* Asks GET_FEATURES on a new connection: KEPT, CRASHED, HUNG. @features (nullable). */
ConformVerdict conform_server_check (ConformServer *self, guint64 *features);
gboolean conform_server_can_restart (ConformServer *self);
/* A new one in the place of what is left of the old. */
gboolean conform_server_restart (ConformServer *self, GError **error);

const char *conform_verdict_name (ConformVerdict verdict);
void conform_print_progress (guint n, guint total, const char *name);
void conform_print_table (const ConformResult *results, guint n, gboolean verbose);
void conform_print_json (Conform *self, const ConformResult *results, guint n);
