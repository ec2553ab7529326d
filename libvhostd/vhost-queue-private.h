/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue's inside and what session and worker do with it. All functions here: thread: the
 * queue's worker. */
#pragma once

#include "vhost-chain-private.h"
#include "vhost-mailbox-private.h"
#include "vhost-queue.h"
#include "vhost-ring-private.h"

/* Everything that a ring's start needs, collected from the front-end's messages. */
typedef struct
{
  guint32 size;       /* SET_VRING_NUM */
  guint32 base;       /* SET_VRING_BASE, as it came */
  guint64 descriptor; /* guest physical addresses: the session has translated them */
  guint64 available;
  guint64 used;
  guint64 log;       /* log_guest_addr */
  gboolean log_used; /* VHOST_VRING_F_LOG */
  guint64 features;  /* acked */
  int kick_fd;       /* -1: polling mode. The queue takes all three on success */
  int call_fd;       /* -1: the front-end polls */
  int err_fd;
  VhostInflight *inflight; /* (unowned) (nullable): the device's area; the start takes references */
  VhostDirtyLog *dirty_log; /* (unowned) (nullable): LOG_ALL is on */
  int log_fd;               /* -1: nobody wants to hear of marks (L5). Taken like the other three */
  gboolean big_endian;      /* SET_VRING_ENDIAN; only without VERSION_1 */
} VhostQueueSetup;

/* What must travel upwards. Installed before the first start; called on the worker. */
typedef struct
{
  void (*process) (VhostQueue *queue, gpointer owner);
  /* The ring is broken (VHOST_ERROR_RING) or its memory is gone (VHOST_ERROR_NO_SHARED_MEMORY). */
  void (*error) (VhostQueue *queue, const GError *error, gpointer owner);
  /* In-band notification in place of the call descriptor; may be NULL. */
  void (*call) (VhostQueue *queue, gpointer owner);
  /* A translation is missing (I3); the queue waits until its map changes. At most once for each
   * address and map. May be NULL where there is no vIOMMU. */
  void (*miss) (VhostQueue *queue, guint64 iova, guint access, gpointer owner);
  /* The requests in flight are about to be waited for: a back-end that parks some should end them
   * now, or hand them back (vhost_chain_hand_back ()). May be NULL. */
  void (*stopping) (VhostQueue *queue, gpointer owner);
  /* From the worker: a chain was completed on another thread, or a queue outside a pass became
   * dirty. Thread: any. */
  void (*wake) (VhostQueue *queue);
} VhostQueueHooks;

struct _VhostQueueMap
{
  VhostQueueMap *next;
  VhostMemory *memory;
  guint in_flight;
  gboolean awaited; /* a replaced one: somebody waits for its last request */
};

/* What stands between a ring and its back-end. Embedded in whatever its owner keeps. It may keep a
 * chain for a while; then it gives it on with vhost_queue_resume () or vhost_queue_give_back (). */
typedef struct _VhostQueueFilter VhostQueueFilter;

struct _VhostQueueFilter
{
  /* A chain has come from the ring. FALSE: not for the back-end now, it is kept or has ended. */
  gboolean (*popped) (VhostQueueFilter *self, VhostChain *chain);
  /* The back-end has ended a chain. FALSE: not for the driver now. */
  gboolean (*completed) (VhostQueueFilter *self, VhostChain *chain);
  /* Lets everything go that is kept; @stopping: and keeps nothing any more. */
  void (*release) (VhostQueueFilter *self, gboolean stopping);
  /* The queue has let go of the filter, which ends what it keeps and frees itself. */
  void (*drop) (VhostQueueFilter *self);
};

#define VHOST_QUEUE_BUDGET 256

struct _VhostQueue
{
  GObject parent_instance;

  /* Touched by every request; the worker's alone */
  VhostRing ring;
  VhostQueueMap *map;       /* (owned): the one in use */
  VhostChain **free_chains; /* (owned): stack of n_free_chains */
  GPtrArray *chains;        /* (owned) (unowned elements): the pool, free or in flight */
  guint n_free_chains;
  guint n_chains;         /* in the pool, free or in flight; at most the ring's size */
  guint budget;           /* chains left in this pass */
  gboolean accepting;     /* started, enabled, not broken, not draining: pop may take */
  guint in_flight;        /* popped and not completed. Beside the budget one load would take both,
                           and wait for the stores to each. */
  gboolean emptied;       /* the back-end has seen the ring empty in this pass */
  gboolean more;          /* the pass ended by its budget: serve again without a kick */
  gboolean starved;       /* the pass ended by the segment budget: serve again after a completion */
  gboolean in_pass;       /* within vhost_queue_serve () */
  gboolean dirty;         /* pushed entries the driver cannot see yet */
  gboolean paused;        /* nothing is taken, by the daemon's wish; the driver does not see it */
  gboolean in_batch;      /* the entries that come appear together, at the batch's end */
  guint unexposed;        /* completions since then */
  guint expose_patience;  /* passes for which the driver counts as one that sleeps */
  gboolean announced;     /* the first completion of this pass has been published */
  gboolean kicks_wanted;  /* as last told to the driver */
  gboolean silent;        /* the ring is not to be touched any more: abandoned, or unmapped */
  gboolean abandoned;     /* the session is gone */
  gboolean unplaced;      /* a part of the ring has no translation yet (a vIOMMU): wait for one */
  gboolean resubmit_only; /* stopping: serves again what must be, takes nothing new */
  gboolean log_marked;    /* pages were marked since the log descriptor was written */
  guint64 segments_left;
  VhostMemoryCache cache;
  VhostQueueFilter *filter; /* (nullable) (owned): between ring and back-end */
  VhostChain *resumed;      /* let go by it, for the back-end to pop; linked by remote_next */
  VhostChain **resumed_tail;
  /* (unowned): vhost_queue_current_thread () of whoever may touch all this: the worker's, or,
   * without one, own_thread */
  const _Atomic (guint64) *owner_thread;
  int call_fd; /* (owned) */

  /* The worker's list links and kick */
  VhostWorker *worker; /* (owned): from the first start on */
  VhostQueue *next_ready;
  VhostQueue *next_dirty;
  gboolean linked_ready;
  gboolean linked_dirty;
  int kick_fd; /* (owned); -1: polling mode */
  gboolean kick_is_eventfd;
  gboolean watched; /* kick_fd is in the waiter under waiter_id */
  guint waiter_id;
  GSource *kick_source; /* (owned) (nullable): in a foreign context */
  VhostTask drained_task;
  VhostTask *drained_next;

  /* Seldom touched */
  guint index;
  guint max_size;
  gsize chain_data_size;
  gboolean enabled;
  _Atomic (int) state;     /* VhostQueueState */
  _Atomic (guint) size;    /* of the ring, for readers on other threads */
  int err_fd;              /* (owned) */
  VhostQueueMap *old_maps; /* (owned): replaced, still in use by requests */
  VhostTask *released;     /* run when old_maps has become empty */
  VhostTask *stopped;      /* run when the last request in flight is done */
  VhostTask *idled;        /* likewise, of a pause */
  VhostInflight *inflight; /* (unowned) (nullable): the ring's region holds it */
  gboolean suspending;     /* the stop leaves requests recorded (bit 20) */
  gboolean base_pending;   /* of an unplaced ring: its positions are not set yet */
  guint32 base;            /* then: SET_VRING_BASE */
  VhostChain *held;        /* completed while the ring was unplaced, oldest first */
  VhostChain **held_end;
  gboolean miss_asked; /* hooks.miss has been told of miss_iova and miss_access, in this map */
  guint64 miss_iova;
  guint miss_access;
  VhostDirtyLog *log;        /* (owned) (nullable) */
  VhostDirtyBatch log_batch; /* pages of requests that the driver cannot see yet */
  int log_fd;                /* (owned) */
  VhostQueueHooks hooks;
  _Atomic (guint64) own_thread; /* of the start */
  gpointer owner;               /* (unowned): for hooks */
  gpointer user_data;           /* (unowned): the session's */
  gpointer backend;             /* (unowned): VhostBackend */

  /* Completions from other threads */
  _Atomic (VhostChain *) remote; /* newest first */
  VhostTask remote_task;
  _Atomic (guint) remote_users; /* threads that are just handing one over */

  /* Written by the worker, read by anyone */
  struct
  {
    _Atomic (guint64) kicks, calls, calls_suppressed, requests, completed, passes, polls_hit,
        bytes_in, bytes_out;
  } counters;
};

VhostQueue *vhost_queue_new (guint index, guint max_size, gsize chain_data_size,
                             const VhostQueueHooks *hooks, gpointer owner);

/* Checks the ring's place in @memory (V1, V2, V3), reads what R11 asks for. On failure nothing has
 * changed and the descriptors are still the caller's. */
gboolean vhost_queue_start (VhostQueue *self, const VhostQueueSetup *setup, VhostMemory *memory,
                            GError **error);
/* Takes no new requests; @stopped runs once nothing is in flight (perhaps within the call).
 * @suspend (bit 20): what a back-end hands back stays recorded as in flight. */
void vhost_queue_stop (VhostQueue *self, gboolean suspend, VhostTask *stopped);
/* SET_VRING_BASE's format. Valid once stopped. */
guint32 vhost_queue_get_base (VhostQueue *self);
void vhost_queue_set_enabled (VhostQueue *self, gboolean enabled);
/* Takes no requests, or goes on with those that wait. @idled (nullable) is run when none is in
 * flight any more, or nobody waits for that any more. The front-end sees nothing of it. */
void vhost_queue_set_paused (VhostQueue *self, gboolean paused, VhostTask *idled);
/* Puts @memory in use; the rings are translated anew. @released (nullable) runs when no request
 * uses an older map any more. A ring that @memory no longer holds breaks. */
void vhost_queue_set_memory (VhostQueue *self, VhostMemory *memory, VhostTask *released);
/* The same for a view that lacks @iova to @last. @released (nullable) runs when no request uses
 * those addresses any more; requests that use others are not waited for. */
void vhost_queue_invalidate (VhostQueue *self, VhostMemory *memory, guint64 iova, guint64 last,
                             VhostTask *released);
void vhost_queue_take_call_fd (VhostQueue *self, int fd);
void vhost_queue_take_err_fd (VhostQueue *self, int fd);
/* Dirty logging on, with another log, or off (NULL). No mark in the old log after this (L10). The
 * log is referenced. @log_used and @log_address: VHOST_VRING_F_LOG and log_guest_addr. */
void vhost_queue_set_log (VhostQueue *self, VhostDirtyLog *log, gboolean log_used,
                          guint64 log_address);
/* -1: none (L5). */
void vhost_queue_take_log_fd (VhostQueue *self, int fd);
/* The front-end has answered a miss. If the ring still waits for this access, it fails: the ring
 * breaks (I5). */
void vhost_queue_miss_answered (VhostQueue *self, guint64 iova, guint access);
/* The session is over and requests are still out: forget them, let go of memory as they end, touch
 * no ring. */
void vhost_queue_abandon (VhostQueue *self);
void vhost_queue_break (VhostQueue *self, GError *error); /* (transfer full) */

/* One pass: process hook, budget, flush. Returns TRUE when the queue must be served again at once.
 */
gboolean vhost_queue_serve (VhostQueue *self);
void vhost_queue_finish (VhostQueue *self,
                         VhostChain *chain); /* complete () on the owner's thread */
/* The same without a filter: the chain goes back to the driver. */
void vhost_queue_give_back (VhostQueue *self, VhostChain *chain);
/* What is left to do of that; once more when the used ring has a place again. */
void vhost_queue_put (VhostQueue *self, VhostChain *chain);
/* A filter lets a chain go to the back-end, whose next pop gives it. */
void vhost_queue_resume (VhostQueue *self, VhostChain *chain);
/* Ends the filter, and with it all that it keeps. */
void vhost_queue_drop_filter (VhostQueue *self);
/* Finishes what was completed on other threads. */
void vhost_queue_collect_remote (VhostQueue *self);

/* The queue to which this thread is just handing over a completion; its end clears it. */
extern __thread VhostQueue *vhost_queue_completing;

/* Between the queue's two files. */
void vhost_queue_map_free (VhostQueueMap *map);
/* Puts @memory in use; vhost_queue_await () must follow. */
void vhost_queue_replace_memory (VhostQueue *self, VhostMemory *memory);
/* Runs @released (nullable) when no request uses a map that is awaited. */
void vhost_queue_await (VhostQueue *self, VhostTask *released);
gboolean vhost_queue_has_awaited (VhostQueue *self);
/* @chain leaves the pool. */
void vhost_queue_forget_chain (VhostQueue *self, VhostChain *chain);
/* Runs *@slot, if there is one, and empties it. */
void vhost_queue_run_task (VhostTask **slot);
/* Nothing is in flight any more: the stop can end. */
void vhost_queue_drained (VhostQueue *self);
/* Something has no translation: ask for it, once. */
void vhost_queue_ask (VhostQueue *self, guint64 iova, guint access);
/* The back-end gets what a filter let go, and nothing from the ring; only while the queue does not
 * accept. TRUE: once more, please. May be the end of @self. */
gboolean vhost_queue_serve_resumed (VhostQueue *self);
/* The chain's end, without the ring: it counts in no map any more and goes back to the pool. */
void vhost_queue_let_go (VhostQueue *self, VhostChain *chain);
/* vhost_chain_hand_back () on the owner's thread. */
gboolean vhost_queue_hand_back (VhostQueue *self, VhostChain *chain);

/* A number of the calling thread's own. The system gives the names of threads that have ended to
 * new ones, which must not pass for the owner. */
extern __thread guint64 vhost_queue_thread_number;
guint64 vhost_queue_number_thread (void);

static inline guint64
vhost_queue_current_thread (void)
{
  guint64 number = vhost_queue_thread_number;

  return G_LIKELY (number != 0) ? number : vhost_queue_number_thread ();
}

/* Thread: any. relaxed: only a thread itself makes this true for it. */
static inline gboolean
vhost_queue_is_own_thread (VhostQueue *self)
{
  return atomic_load_explicit (self->owner_thread, memory_order_relaxed)
         == vhost_queue_current_thread ();
}

static inline gboolean
vhost_queue_has_available (VhostQueue *self)
{
  return self->accepting && !self->starved && self->ring.ops->has_available (&self->ring);
}

/* Tell the driver whether kicks are wanted; on: TRUE when requests came meanwhile (V37). */
void vhost_queue_kicks_off (VhostQueue *self);
gboolean vhost_queue_kicks_on (VhostQueue *self);

static inline void
vhost_queue_count (_Atomic (guint64) *counter, guint64 n)
{
  atomic_store_explicit (counter, atomic_load_explicit (counter, memory_order_relaxed) + n,
                         memory_order_relaxed);
}
