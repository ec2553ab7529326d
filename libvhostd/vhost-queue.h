/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_QUEUE (vhost_queue_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostQueue, vhost_queue, VHOST, QUEUE, GObject)

/**
 * VhostQueueState:
 * @VHOST_QUEUE_STATE_STOPPED: not started
 * @VHOST_QUEUE_STATE_STARTED: started, but disabled
 * @VHOST_QUEUE_STATE_ENABLED: started and enabled: requests are taken
 * @VHOST_QUEUE_STATE_DRAINING: stopping: waits for requests in flight
 * @VHOST_QUEUE_STATE_BROKEN: the driver broke a rule of the ring; until it is set up again
 *
 * What a ring is doing. Specification: "Ring states".
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_QUEUE_STATE_STOPPED,
  VHOST_QUEUE_STATE_STARTED,
  VHOST_QUEUE_STATE_ENABLED,
  VHOST_QUEUE_STATE_DRAINING,
  VHOST_QUEUE_STATE_BROKEN,
} VhostQueueState;

/**
 * VhostQueueCounters:
 * @kicks: wake-ups by the front-end
 * @calls: notifications sent
 * @calls_suppressed: completions for which the driver wanted none
 * @requests: chains taken
 * @completed: chains given back
 * @passes: batches served
 * @polls_hit: batches found by polling, without a kick
 * @bytes_in: sizes of readable parts taken
 * @bytes_out: written lengths given back
 *
 * What a queue has done. They only grow.
 *
 * Since: 0.1
 */
typedef struct
{
  guint64 kicks;
  guint64 calls;
  guint64 calls_suppressed;
  guint64 requests;
  guint64 completed;
  guint64 passes;
  guint64 polls_hit;
  guint64 bytes_in;
  guint64 bytes_out;
} VhostQueueCounters;

VHOST_AVAILABLE_IN_0_1
guint vhost_queue_get_index (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_queue_get_size (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
VhostQueueState vhost_queue_get_state (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_queue_get_in_flight (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
void vhost_queue_get_counters (VhostQueue *self, VhostQueueCounters *counters);

VHOST_AVAILABLE_IN_0_1
VhostChain *vhost_queue_pop (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_queue_pop_many (VhostQueue *self, VhostChain **chains, guint n_chains);
VHOST_AVAILABLE_IN_0_1
void vhost_queue_flush (VhostQueue *self);
VHOST_AVAILABLE_IN_0_1
void vhost_queue_complete_batch (VhostQueue *self, VhostChain *const *chains, const gsize *written,
                                 guint n_chains);

G_END_DECLS
