/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's state, shared by its two files: vhost-worker.c (object, thread, queues) and
 * vhost-worker-loop.c (the poll function). */
#pragma once

#include "vhost-io-private.h"
#include "vhost-worker-private.h"

struct _VhostWorker
{
  GObject parent_instance;

  /* vhost_queue_current_thread () of the one that serves; 0: none any more. Queues point to it. An
   * inline worker goes along when its context moves to another thread. */
  _Atomic (guint64) thread_number;
  char *name;
  GMainContext *context; /* (owned) */
  GThread *thread;       /* (owned) (nullable): NULL for an inline worker */
  GSource *source;       /* (owned) (nullable): an inline worker's */
  VhostMailbox mailbox;
  VhostWaiterKind waiter_kind;
  _Atomic (guint) poll_max; /* us */
  VhostWorkerHook started;
  VhostWorkerHook stopped;
  gpointer hook_data;

  /* The thread's own from here on */
  VhostWaiter *waiter; /* (owned) (nullable): NULL for an inline worker */
  VhostIo io;
  gboolean quit;
  gboolean in_pass;  /* rings are being served: a nested iteration must not */
  gboolean nested;   /* there was one within this call of the poll function */
  gboolean in_poll;  /* a nested iteration must serve GLib's descriptors only */
  GPtrArray *queues; /* of VhostQueue (unowned), started; NULL: free id */
  guint n_queues;
  guint n_polled;    /* of them without a kick descriptor */
  VhostQueue *ready; /* to be served, oldest first */
  VhostQueue **ready_tail;
  VhostQueue *dirty; /* to be flushed */
  gint64 poll_us;    /* how long to poll before sleeping: adapts between 0 and poll_max */

  /* After the thread's end: tasks run where they are posted, on one thread at a time */
  _Atomic (gboolean) ended;
  _Atomic (gboolean) ended_busy;
};

void vhost_worker_link_ready (VhostWorker *self, VhostQueue *queue);
void vhost_worker_link_dirty (VhostWorker *self, VhostQueue *queue);
void vhost_worker_unlink (VhostWorker *self, VhostQueue *queue);
/* Becomes the poll function of the calling thread's context. */
void vhost_worker_loop_bind (VhostWorker *self);
