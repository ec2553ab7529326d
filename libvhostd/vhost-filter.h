/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-backend.h"

G_BEGIN_DECLS

#define VHOST_TYPE_FILTER (vhost_filter_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_DERIVABLE_TYPE (VhostFilter, vhost_filter, VHOST, FILTER, VhostBackend)

/**
 * VhostFilterClass:
 * @popped: a request has come from the driver and is about to go to the back-end; hold it, end it,
 * or do nothing and it goes on (worker)
 * @completed: the back-end has ended a request with a used length of @written, and it is about to
 * go back to the driver; hold it, or do nothing and it goes on (worker)
 *
 * The virtual functions of #VhostBackendClass forward to the next back-end: a filter that overrides
 * one calls its parent's.
 */
struct _VhostFilterClass
{
  VhostBackendClass parent_class;

  void (*popped) (VhostFilter *self, VhostQueue *queue, VhostChain *chain);
  void (*completed) (VhostFilter *self, VhostQueue *queue, VhostChain *chain, guint written);

  /*< private >*/
  gpointer padding[8];
};

VHOST_AVAILABLE_IN_0_1
void vhost_filter_class_set_name (VhostFilterClass *klass, const char *name);

VHOST_AVAILABLE_IN_0_1
VhostBackend *vhost_filter_get_next (VhostFilter *self);
VHOST_AVAILABLE_IN_0_1
void vhost_filter_hold (VhostFilter *self, VhostChain *chain, gint64 until, guint64 order);
VHOST_AVAILABLE_IN_0_1
void vhost_filter_end (VhostFilter *self, VhostChain *chain, guint written);
VHOST_AVAILABLE_IN_0_1
void vhost_filter_release (VhostFilter *self, VhostQueue *queue);
VHOST_AVAILABLE_IN_0_1
guint vhost_filter_get_n_held (VhostFilter *self, VhostQueue *queue);

/**
 * VhostFilterDelayAt:
 * @VHOST_FILTER_DELAY_AT_START: the back-end gets the request late
 * @VHOST_FILTER_DELAY_AT_END: the driver gets the answer late
 *
 * Where a delay lies: before the back-end has the request, or behind.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_FILTER_DELAY_AT_START,
  VHOST_FILTER_DELAY_AT_END,
} VhostFilterDelayAt;

#define VHOST_TYPE_FILTER_DELAY (vhost_filter_delay_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostFilterDelay, vhost_filter_delay, VHOST, FILTER_DELAY, VhostFilter)

#define VHOST_TYPE_FILTER_ERROR (vhost_filter_error_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostFilterError, vhost_filter_error, VHOST, FILTER_ERROR, VhostFilter)

#define VHOST_TYPE_FILTER_REORDER (vhost_filter_reorder_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostFilterReorder, vhost_filter_reorder, VHOST, FILTER_REORDER, VhostFilter)

G_END_DECLS
