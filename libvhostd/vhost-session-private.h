/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's inside, shared by its files (one subject each): vhost-session.c owns the life
 * cycle, -message reads and answers, -command goes to the workers and back, -ring starts and stops;
 * -memory, -vring, -config, -log, -inflight, -iotlb and -inband hold the handlers.
 *
 * A handler returns at once. What a worker must do first is posted to it as a VhostSessionCommand;
 * the session reads no further message until all commands of the current one have come back through
 * the session's mailbox. */
#pragma once

#include "vhost-backend-channel-private.h"
#include "vhost-backend-private.h"
#include "vhost-channel-private.h"
#include "vhost-iotlb-private.h"
#include "vhost-postcopy-private.h"
#include "vhost-session.h"
#include "vhost-trace-private.h"
#include "vhost-worker-private.h"

typedef enum
{
  VHOST_SESSION_DONE,    /* handled: an ack of 0 when one was asked for */
  VHOST_SESSION_REPLIED, /* the handler has sent its own reply */
  VHOST_SESSION_REFUSED, /* error set: non-zero where an answer is due */
  VHOST_SESSION_LATER,   /* vhost_session_finish_message () will be called */
  VHOST_SESSION_CLOSE,   /* error set: the session must end */
} VhostSessionResult;

/* What the front-end has said of one ring. Control thread; the queue itself lives on its worker. */
typedef struct
{
  VhostQueue *queue;   /* (owned) */
  VhostWorker *worker; /* (unowned): the daemon's */
  guint32 size;
  guint32 base;
  gboolean base_known; /* SET_VRING_BASE, or where the ring stopped */
  gboolean big_endian; /* its order of bytes without VERSION_1 */
  gboolean have_addr;
  VhostWireVringAddr addr;
  int kick_fd; /* (owned) until the ring starts */
  int call_fd; /* (owned) the queue has a duplicate: a ring that is started again without CALL keeps
                  calling */
  int err_fd;  /* (owned) likewise */
  gboolean started;  /* as the protocol sees it (R4, R6) */
  gboolean stopping; /* a stop is on its way to the worker */
  gboolean enabled;
  gboolean broken;
  gboolean renewed;   /* broken, and set up again since: KICK makes it whole (V48) */
  gboolean have_base; /* of a broken ring: SET_VRING_BASE came since */

  /* In-band notification */
  gboolean call_polled;           /* SET_VRING_CALL said that there is no descriptor */
  gboolean err_polled;            /* likewise */
  gboolean call_out;              /* a VRING_CALL is not answered yet ... */
  gboolean call_again;            /* ... and there was reason for another one since */
  _Atomic (gboolean) call_posted; /* a call is on its way from the worker */

  /* What the ring waits for that its map does not translate */
  gboolean missing;
  guint64 miss_iova;
  guint miss_access;
  /* ... and what the front-end has answered, until it is sure that no translation comes */
  gboolean miss_answered;
  guint64 answered_iova;
  guint answered_access;
} VhostSessionVring;

typedef struct
{
  /* Thread: control, all of them. */
  void (*closed) (VhostSession *session, const GError *error,
                  gpointer data); /* after the drain; error NULL: the peer went */
  /* A change by the device is announced with the whole range that messages can reach: 0 to
   * VHOST_WIRE_MAX_CONFIG. */
  void (*config_changed) (VhostSession *session, guint offset, guint length, gboolean by_driver,
                          gpointer data);
  /* TRUE: someone wants kicks (any thread reads it) */
  gboolean (*wants_kicks) (gpointer data);
  void (*kicked) (VhostQueue *queue, gpointer data); /* thread: worker */
  /* A message was done: features, memory or rings may be others. May be NULL. */
  void (*changed) (VhostSession *session, gpointer data);
  /* A pause has arrived: nothing is in flight any more, or it was overtaken. May be NULL. */
  void (*paused) (VhostSession *session, gpointer data);
} VhostSessionOwner;

/* The way back from the workers. Counted apart from the session, because a worker that has just
 * posted may still be about to write the eventfd when the session is gone already. */
typedef struct
{
  _Atomic (guint) ref_count;
  VhostMailbox mailbox;
} VhostSessionInbox;

/* Something for a queue's worker to do, and its way back. */
typedef struct _VhostSessionCommand VhostSessionCommand;
struct _VhostSessionCommand
{
  VhostTask task;           /* first: to the worker and back */
  VhostTask drained;        /* for what the queue calls when requests have ended */
  VhostSession *session;    /* (owned) */
  VhostSessionInbox *inbox; /* (owned) */
  VhostSessionVring *vring; /* (unowned) (nullable): the session's; NULL: an event from the worker,
                               nobody waits for it */
  void (*run) (VhostSessionCommand
                   *command); /* thread: worker; vhost_session_command_answer () must follow */
  void (*done) (VhostSessionCommand *command); /* thread: control */
  gboolean waited;                             /* the current message waits for it */
  VhostQueueSetup setup;                       /* descriptors (owned) */
  int fd;                                      /* (owned) */
  VhostMemory *memory;                         /* (owned) (nullable) */
  VhostInflight *inflight;                     /* (owned) (nullable) */
  VhostDirtyLog *log;                          /* (owned) (nullable) */
  gboolean log_used;
  guint64 address; /* log_guest_addr, or an I/O address */
  guint64 last;    /* the last byte of a range that begins at address */
  guint access;
  gboolean suspend;    /* requests may stay recorded (bit 20) */
  gboolean in_band;    /* calls go by message */
  VhostWorker *worker; /* (unowned) */
  VhostQueue *queue;   /* (owned) */
  gboolean enabled;
  guint32 base;
  GError *error; /* (owned) (nullable): what the worker says */
};

#define VHOST_SESSION_COMMAND_OF_DRAINED(task)                                                     \
  ((VhostSessionCommand *) (gpointer) ((guint8 *) (task) -G_STRUCT_OFFSET (VhostSessionCommand,    \
                                                                           drained)))

/* The device's state on its way; vhost-session-state.c. */
typedef struct _VhostSessionTransfer VhostSessionTransfer;

struct _VhostSession
{
  GObject parent_instance;

  VhostBackend *backend;          /* (owned) */
  const VhostSessionOwner *owner; /* (unowned) */
  gpointer owner_data;
  GMainContext *context; /* (owned) */
  guint drain_timeout_ms;
  gboolean seal_memory;
  int peer_pid;
  int peer_uid;
  char *peer_name;  /* (owned) */
  char *peer_label; /* (owned): "qemu-system-x86 (pid 4711)", for logs and errors */

  VhostChannel *channel; /* (owned) (nullable): NULL once closed */
  GSource *source;       /* (owned) (nullable): of the channel */
  gpointer source_tag;
  VhostSessionInbox *inbox; /* (owned) */
  GSource *inbox_source;    /* (owned) */
  GSource *drain_timer;     /* (owned) (nullable) */
  GSource *retry_timer;     /* (owned) (nullable): activation of the back-end */
  VhostRateLimit refusals;  /* in the log */
  VhostRateLimit breaks;

  /* Negotiated */
  guint64 features;
  gboolean have_features;
  gboolean features_refused;
  guint64 protocol_features;
  guint status; /* as the front-end set it */
  gboolean needs_reset;

  VhostMemory *memory;       /* (owned) (nullable) */
  GArray *repeats;           /* of VhostMemoryRegionInfo (nullable): added more than once */
  gboolean told_cure;        /* about shared memory */
  VhostSessionVring *vrings; /* (owned) */
  guint n_vrings;
  guint n_started;
  gboolean active;                      /* the back-end is activated */
  VhostBackendChannel *backend_channel; /* (owned) (nullable) */
  gboolean config_pending;
  gboolean in_band; /* bit 14 is offered */

  /* The dirty log */
  VhostDirtyLog *log;        /* (owned) (nullable) */
  gboolean log_pending;      /* no front-end reads it yet (L11) */
  gboolean log_stale;        /* rings have stopped or logging has ended since it came */
  VhostDirtyLog *former_log; /* (owned) (nullable): pending, until SET_LOG_BASE has ended */
  int log_fd;                /* (owned): SET_LOG_FD */

  VhostInflight *inflight; /* (owned) (nullable): SET_INFLIGHT_FD */

  /* The vIOMMU */
  VhostIotlb *iotlb;           /* (owned) (nullable): without ACCESS_PLATFORM */
  VhostMemory *view;           /* (owned) (nullable): what the rings use then */
  GHashTable *crypto_sessions; /* (owned) (nullable): of gint64: what the front-end has open */
  GSList *misses;              /* of VhostSessionMiss, asked and not answered */
  guint n_misses;
  GSource *miss_source;  /* (owned) (nullable): rings are to learn what does not exist ... */
  gboolean miss_delayed; /* ... when the current message has ended */

  /* Device state */
  VhostSessionTransfer *transfer; /* (owned) (nullable): running, or not asked after yet */
  gboolean check_waits;           /* the current message is CHECK_DEVICE_STATE */

  /* Postcopy */
  VhostPostcopy *postcopy; /* (owned) (nullable) */
  gboolean postcopy_listens;
  gboolean postcopy_ack_due; /* the front-end was told bases: no ring starts (P3) */

  /* The current message */
  VhostWireHeader current;
  gboolean busy;                             /* not answered yet */
  gboolean replied;                          /* it needs no acknowledgement any more */
  gboolean offered;                          /* just with the handlers of the signal "message" */
  guint waiting;                             /* commands that must come back first */
  void (*continuation) (VhostSession *self); /* then */
  GError *message_error;                     /* (owned) (nullable): the first failure among them */
  VhostSessionVring *current_vring;          /* (unowned) */
  guint tries;                               /* of the activation */

  /* The end */
  guint n_commands; /* all that are out */
  guint n_pausing;  /* rings that still have requests in flight */
  gboolean closing;
  gboolean abandoned;
  gboolean closed;
  gint64 close_deadline; /* monotonic us */
  GError *close_error;   /* (owned) (nullable) */
};

/* Takes @fd (connected) in any case. Queue i is served by workers[i % n_workers]. Sources are
 * attached to the thread-default context. The session lives, whoever holds it, until owner->closed
 * has run; from then on the references decide. */
VhostSession *vhost_session_new_take_fd (int fd, VhostBackend *backend, VhostWorker **workers,
                                         guint n_workers, guint drain_timeout_ms,
                                         gboolean seal_memory, const VhostSessionOwner *owner,
                                         gpointer owner_data, GError **error);
/* Stops reading, drains the rings (at most @drain_timeout_ms), then calls owner->closed, never
 * within this call. Idempotent; a second call can only shorten the wait. Takes @error (nullable).
 */
void vhost_session_shutdown (VhostSession *self, guint drain_timeout_ms, GError *error);

/* Takes no requests from any ring, now or later, or goes on. owner->paused follows a pause. */
void vhost_session_set_paused (VhostSession *self, gboolean paused);

/* As the property of the same name; 0 is GObject's. */
typedef enum
{
  VHOST_SESSION_PROP_BACKEND = 1,
  VHOST_SESSION_PROP_PEER_PID,
  VHOST_SESSION_PROP_PEER_UID,
  VHOST_SESSION_PROP_PEER_NAME,
  VHOST_SESSION_PROP_FEATURES,
  VHOST_SESSION_PROP_PROTOCOL_FEATURES,
  VHOST_SESSION_PROP_STATUS,
  VHOST_SESSION_PROP_N_QUEUES,
  VHOST_SESSION_N_PROPS
} VhostSessionProperty;
void vhost_session_notify (VhostSession *self, VhostSessionProperty property);

/* VIRTIO device status. */
#define VHOST_SESSION_STATUS_FEATURES_OK 8u
#define VHOST_SESSION_STATUS_NEEDS_RESET 64u

/* For the handlers. Thread: control. */
static inline gboolean
vhost_session_has_protocol (VhostSession *self, VhostWireProtocolBit bit)
{
  return (self->protocol_features & VHOST_WIRE_BIT (bit)) != 0;
}

/* Without bit 30 there is no SET_VRING_ENABLE: SET_FEATURES enables (R8). */
static inline gboolean
vhost_session_has_enable (VhostSession *self)
{
  return (self->features & VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES)) != 0;
}

/* vhost-session-qemu.c: feature bits that are passed over where they were not offered ... */
guint64 vhost_session_get_ignored_features (VhostSession *self);
/* ... and whether rings need no SET_VRING_ENABLE. */
gboolean vhost_session_starts_enabled (VhostSession *self);
/* The region is there, and is added once more. FALSE: it is another, or that is a mistake. */
gboolean vhost_session_repeats_region (VhostSession *self, const VhostMemoryRegionInfo *info,
                                       int fd);
/* TRUE: it was added once more than it has been removed now. */
gboolean vhost_session_forget_repeat (VhostSession *self, const VhostMemoryRegionInfo *info);

/* @bit: a number, VHOST_WIRE_F_... */
static inline gboolean
vhost_session_has_feature (VhostSession *self, guint bit)
{
  return (self->features & VHOST_WIRE_BIT (bit)) != 0;
}

/* Begins to read: attaches the socket's source. */
void vhost_session_attach (VhostSession *self);
/* Answers the current message with its own code and flags exactly 5. */
void vhost_session_reply (VhostSession *self, const void *payload, guint32 size);
void vhost_session_reply_u64 (VhostSession *self, guint64 value);
/* @fd stays the caller's; -1: none. */
void vhost_session_reply_fd (VhostSession *self, const void *payload, guint32 size, int fd);
/* Ends a message for which LATER was returned. Takes @error (nullable: it succeeded). */
void vhost_session_finish_message (VhostSession *self, GError *error);
/* What to tell a user whose front-end shares no guest memory. */
extern const char vhost_session_memory_cure[];
/* Closes the session after its drain timeout unless vhost_session_disarm_drain () comes first. */
void vhost_session_arm_drain (VhostSession *self);
void vhost_session_disarm_drain (VhostSession *self);

/* Nothing is out at the workers any more, and the session is closing. */
void vhost_session_close_now (VhostSession *self);
/* Thread: any, both. */
VhostSessionInbox *vhost_session_inbox_ref (VhostSessionInbox *inbox);
void vhost_session_inbox_unref (VhostSessionInbox *inbox);

/* Thread: control. @vring's worker will run @run, then the control thread @done. */
VhostSessionCommand *vhost_session_command_new (VhostSession *self, VhostSessionVring *vring,
                                                void (*run) (VhostSessionCommand *command),
                                                void (*done) (VhostSessionCommand *command));
/* Thread: control. Takes @command. @waited: the current message waits for it. */
void vhost_session_command_post (VhostSessionCommand *command, gboolean waited);
/* Thread: control. Of one that was not posted. */
void vhost_session_command_free (VhostSessionCommand *command);
/* Thread: worker. Takes @command back to the control thread. */
void vhost_session_command_answer (VhostSessionCommand *command);
/* Returned by a handler that has posted its commands: @continuation runs when the last one is back.
 */
VhostSessionResult vhost_session_wait (VhostSession *self,
                                       void (*continuation) (VhostSession *self));
/* A continuation without anything of its own. */
void vhost_session_continue_ack (VhostSession *self);

/* What a message's handler looks like. Thread: control. The message has been checked against its
 * row and gates. */
#define VHOST_SESSION_HANDLER(name)                                                                \
  VhostSessionResult vhost_session_handle_##name (VhostSession *self, VhostMessage *message,       \
                                                  GError **error)

/* vhost-session-ring.c */
extern const VhostQueueHooks vhost_session_queue_hooks;
void vhost_session_stop_vring (VhostSession *self, VhostSessionVring *vring, gboolean waited);
void vhost_session_abandon_vring (VhostSession *self, VhostSessionVring *vring);
void vhost_session_post_enabled (VhostSession *self, VhostSessionVring *vring, gboolean waited);
/* The current message is to start @vring, which is stopped, or broken and set up again. Takes @fd
 * (-1: polling mode). */
VhostSessionResult vhost_session_start_vring (VhostSession *self, VhostSessionVring *vring, int fd,
                                              GError **error);
/* The last ring has stopped, or the first has failed to start. */
void vhost_session_check_suspend (VhostSession *self);
/* Everything that the ring's start needs, checked and translated, without descriptors. */
gboolean vhost_session_prepare_setup (VhostSession *self, VhostSessionVring *vring,
                                      VhostQueueSetup *setup, GError **error);
/* The current message is a KICK for current_vring, which is stopped: all the way to the worker, and
 * the answer. */
void vhost_session_begin_start (VhostSession *self);
/* -1 stays -1 without an error. */
int vhost_session_duplicate_fd (int fd, GError **error);
/* For commands that leave nothing to do. */
void vhost_session_command_ended (VhostSessionCommand *command);

/* vhost-session-vring.c */
VHOST_SESSION_HANDLER (set_vring_num);
VHOST_SESSION_HANDLER (set_vring_addr);
VHOST_SESSION_HANDLER (set_vring_base);
VHOST_SESSION_HANDLER (get_vring_base);
VHOST_SESSION_HANDLER (set_vring_kick);
VHOST_SESSION_HANDLER (set_vring_call);
VHOST_SESSION_HANDLER (set_vring_err);
VHOST_SESSION_HANDLER (set_vring_enable);
VHOST_SESSION_HANDLER (set_vring_endian);
/* In SET_VRING_BASE's format; where a ring begins that nobody has said anything of. */
guint32 vhost_session_get_vring_base (VhostSession *self, VhostSessionVring *vring);
/* The ring with this number, as it came. */
VhostSessionVring *vhost_session_find_vring (VhostSession *self, guint32 index, GError **error);

/* vhost-session-memory.c */
/* Brings the map to all running rings; FALSE: there are none, so there is nothing to wait for. */
gboolean vhost_session_post_ring_memory (VhostSession *self);
/* The same for a view without @iova to @last, until no request uses those. */
gboolean vhost_session_post_invalidation (VhostSession *self, guint64 iova, guint64 last);
VHOST_SESSION_HANDLER (set_mem_table);
VHOST_SESSION_HANDLER (get_max_mem_slots);
VHOST_SESSION_HANDLER (add_mem_reg);
VHOST_SESSION_HANDLER (rem_mem_reg);

/* vhost-session-config.c */
extern const VhostBackendPeer vhost_session_backend_peer;
/* Has what this message needs been negotiated? */
gboolean vhost_session_check_gates (VhostSession *self, const VhostWireMessage *row,
                                    guint32 request, GError **error);
guint64 vhost_session_get_offered_features (VhostSession *self);
/* Sends CONFIG_CHANGE now or when the first ring starts (S3). */
void vhost_session_announce_config (VhostSession *self);
void vhost_session_flush_config (VhostSession *self);
/* FALSE: @fd is the front-end's end of a connection to us, this one or another. Kept here, it would
 * never hang up, and the session would outlive the front-end for ever. */
gboolean vhost_session_check_socket (VhostSession *self, int fd, GError **error);
VHOST_SESSION_HANDLER (get_features);
VHOST_SESSION_HANDLER (set_features);
VHOST_SESSION_HANDLER (get_protocol_features);
VHOST_SESSION_HANDLER (set_protocol_features);
VHOST_SESSION_HANDLER (get_queue_num);
VHOST_SESSION_HANDLER (owner);
VHOST_SESSION_HANDLER (get_config);
VHOST_SESSION_HANDLER (set_config);
VHOST_SESSION_HANDLER (set_status);
VHOST_SESSION_HANDLER (get_status);
VHOST_SESSION_HANDLER (set_backend_req_fd);
VHOST_SESSION_HANDLER (reset_device);

/* vhost-session-log.c: the dirty log */
VHOST_SESSION_HANDLER (set_log_base);
VHOST_SESSION_HANDLER (set_log_fd);
/* What rings mark in; NULL: LOG_ALL is off. (transfer none) */
VhostDirtyLog *vhost_session_get_log (VhostSession *self);
/* LOG_ALL may have changed. Returns whether commands were posted to wait for. */
gboolean vhost_session_update_log (VhostSession *self, guint64 old_features);
/* Tells @vring's worker of log and address; to be waited for. */
void vhost_session_post_log (VhostSession *self, VhostSessionVring *vring);
/* L8, as far as it can be known. */
gboolean vhost_session_check_log (VhostSession *self, VhostSessionVring *vring,
                                  const VhostWireVringAddr *addr, GError **error);
void vhost_session_clear_log (VhostSession *self);
/* Closes what the front-end has left open at the device. */
void vhost_session_clear_crypto (VhostSession *self);

/* vhost-session-inflight.c */
VHOST_SESSION_HANDLER (get_inflight_fd);
VHOST_SESSION_HANDLER (set_inflight_fd);
/* The area for @vring's next start; *@area NULL: none. FALSE: it does not fit the ring (IF3). */
gboolean vhost_session_find_inflight (VhostSession *self, VhostSessionVring *vring,
                                      VhostInflight **area, GError **error);
/* Whether a stop may leave requests of @vring recorded. */
gboolean vhost_session_may_suspend (VhostSession *self, VhostSessionVring *vring);

/* vhost-session-iotlb.c: the vIOMMU */
VHOST_SESSION_HANDLER (iotlb_msg);
/* The map for rings: guest memory, or the view of it. (transfer none) (nullable) */
VhostMemory *vhost_session_get_ring_memory (VhostSession *self);
/* Features or memory have changed: the view follows. @forget: what was translated is void. */
void vhost_session_update_view (VhostSession *self, gboolean forget);
void vhost_session_clear_iotlb (VhostSession *self);
/* VhostQueueHooks.miss. Thread: worker. */
void vhost_session_queue_miss (VhostQueue *queue, guint64 iova, guint access, gpointer owner);
/* Sends what rings wait for, as far as it may be sent. */
void vhost_session_ask_misses (VhostSession *self);
/* The current message has ended. */
void vhost_session_resume_misses (VhostSession *self);
/* @vring has stopped: it waits for nothing. */
void vhost_session_forget_misses (VhostSession *self, VhostSessionVring *vring);

/* vhost-session-inband.c: notifications as messages */
VHOST_SESSION_HANDLER (vring_kick);
/* VhostQueueHooks.call. Thread: worker. */
void vhost_session_queue_call (VhostQueue *queue, gpointer owner);
gboolean vhost_session_calls_in_band (VhostSession *self, VhostSessionVring *vring);
void vhost_session_report_break (VhostSession *self, VhostSessionVring *vring);
/* @vring has stopped: what was held back goes out now. */
void vhost_session_flush_calls (VhostSession *self, VhostSessionVring *vring);

/* vhost-session-state.c: the device's own state */
VHOST_SESSION_HANDLER (set_device_state_fd);
VHOST_SESSION_HANDLER (check_device_state);
/* The session ends, or has no use for the transfer. */
void vhost_session_clear_transfer (VhostSession *self);

/* vhost-session-postcopy.c */
VHOST_SESSION_HANDLER (postcopy_advise);
VHOST_SESSION_HANDLER (postcopy_listen);
VHOST_SESSION_HANDLER (postcopy_end);
gboolean vhost_session_can_postcopy (VhostSession *self);
void vhost_session_clear_postcopy (VhostSession *self);
/* The session ends: what is missing will not come. */
void vhost_session_fail_postcopy (VhostSession *self);
/* For the messages about memory. Before @memory is used: registers it when that is due. */
gboolean vhost_session_prepare_postcopy (VhostSession *self, VhostMemory *memory, GError **error);
/* ... after: answers with the bases when they are asked for. Returns the message's result. */
VhostSessionResult vhost_session_reply_bases (VhostSession *self, VhostMessage *message,
                                              VhostSessionResult result);
/* The front-end waits for bases as the answer to the current message. */
gboolean vhost_session_owes_bases (VhostSession *self);
/* The front-end's word that it serves faults, under whatever name; then what it allows. */
gboolean vhost_session_is_postcopy_ack (VhostSession *self, const VhostMessage *message);
void vhost_session_end_ack (VhostSession *self);

/* vhost-session-object.c: shared objects and shared memory regions */
VHOST_SESSION_HANDLER (get_shared_object);
VHOST_SESSION_HANDLER (get_shmem_config);
/* VhostBackendPeer's */
gboolean vhost_session_peer_takes (gpointer session, VhostWireBackendRequest request,
                                   gboolean with_fd, GError **error);
guint vhost_session_peer_send (gpointer session, VhostWireBackendRequest request,
                               const void *payload, guint32 size, int fd, VhostBackendAnswered done,
                               gpointer data);
void vhost_session_peer_cancel (gpointer session, guint id);

/* vhost-session-device.c: what only some kinds of device know */
/* Protocol features that depend on the back-end's class: ORed into what is offered. */
guint64 vhost_session_get_device_protocol_bits (VhostSession *self);
VHOST_SESSION_HANDLER (send_rarp);
VHOST_SESSION_HANDLER (net_set_mtu);
VHOST_SESSION_HANDLER (create_crypto_session);
VHOST_SESSION_HANDLER (close_crypto_session);
VHOST_SESSION_HANDLER (gpu_set_socket);
