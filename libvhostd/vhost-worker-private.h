/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's inside and its private calls: session and daemon use these. */
#pragma once

#include "vhost-mailbox-private.h"
#include "vhost-queue-private.h"
#include "vhost-worker.h"

/* Thread: control. Starts a thread; @waiter AUTO takes io_uring where it is allowed. poll_max in
 * us. started/stopped run on the thread. */
typedef void (*VhostWorkerHook) (VhostWorker *worker, gpointer data);
VhostWorker *vhost_worker_new_thread (const char *name, VhostWaiterKind waiter, guint poll_max,
                                      VhostWorkerHook started, VhostWorkerHook stopped,
                                      gpointer data, GError **error);
/* Thread: control. No thread: queues are served in @context by VhostKickSource. */
VhostWorker *vhost_worker_new_inline (GMainContext *context, GError **error);
/* Thread: control. Queues must be stopped or abandoned. Ends the thread, waits for it. Idempotent.
 */
void vhost_worker_stop (VhostWorker *self);

/* Thread: any. Runs @task on the worker, in order of posting. The task must live until then. */
void vhost_worker_post (VhostWorker *self, VhostTask *task);
void vhost_worker_set_poll_max (VhostWorker *self, guint poll_max_us);

/* Thread: worker. vhost_queue_start () and the kick's place in the waiter. */
gboolean vhost_worker_start_queue (VhostWorker *self, VhostQueue *queue,
                                   const VhostQueueSetup *setup, VhostMemory *memory,
                                   GError **error);
/* Thread: worker. The counterpart; @stopped runs on the worker when drained. */
void vhost_worker_stop_queue (VhostWorker *self, VhostQueue *queue, gboolean suspend,
                              VhostTask *stopped);
/* Thread: worker. The session is over: vhost_queue_abandon () and out of the waiter. */
void vhost_worker_abandon_queue (VhostWorker *self, VhostQueue *queue);
/* VhostQueueHooks.wake: whoever makes a queue installs this one. Thread: any. */
void vhost_worker_wake_queue (VhostQueue *queue);
/* Thread: worker. R16: another kick descriptor on a started ring. Takes @fd (-1: polling mode) on
 * success. */
gboolean vhost_worker_take_kick_fd (VhostWorker *self, VhostQueue *queue, int fd, GError **error);
/* Thread: worker. As if kicked: serve the queue in the next pass. */
void vhost_worker_kick_queue (VhostWorker *self, VhostQueue *queue);

/* Thread: worker. TRUE: within a pass, so a handler iterates the context. */
gboolean vhost_worker_is_in_pass (VhostWorker *self);
/* Thread: the one that runs an inline worker's context: it is the worker's from here on. */
void vhost_worker_bind_thread (VhostWorker *self);
/* Thread: worker, for VhostKickSource: run the ready and dirty queues once. */
void vhost_worker_run_pass (VhostWorker *self);
