/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_WORKER (vhost_worker_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostWorker, vhost_worker, VHOST, WORKER, GObject)

/**
 * VhostWaiterKind:
 * @VHOST_WAITER_AUTO: io_uring where it works, epoll otherwise
 * @VHOST_WAITER_EPOLL: epoll, and threads for I/O
 * @VHOST_WAITER_URING: io_uring for both
 *
 * How a worker waits for kicks and does I/O.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_WAITER_AUTO,
  VHOST_WAITER_EPOLL,
  VHOST_WAITER_URING,
} VhostWaiterKind;

VHOST_AVAILABLE_IN_0_1
const char *vhost_worker_get_name (VhostWorker *self);
VHOST_AVAILABLE_IN_0_1
GMainContext *vhost_worker_get_context (VhostWorker *self);
VHOST_AVAILABLE_IN_0_1
VhostIo *vhost_worker_get_io (VhostWorker *self);
VHOST_AVAILABLE_IN_0_1
VhostWaiterKind vhost_worker_get_waiter (VhostWorker *self);

G_END_DECLS
