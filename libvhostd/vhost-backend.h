/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_BACKEND (vhost_backend_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_DERIVABLE_TYPE (VhostBackend, vhost_backend, VHOST, BACKEND, GObject)

/**
 * VhostConfigFlags:
 * @VHOST_CONFIG_WRITABLE: the driver writes; only writable fields may change
 * @VHOST_CONFIG_MIGRATION: the front-end restores the space of a migrated device; every field may
 * change
 */
typedef enum
{
  VHOST_CONFIG_WRITABLE = 0,
  VHOST_CONFIG_MIGRATION = 1,
} VhostConfigFlags;

/**
 * VhostBackendClass:
 * @get_features: VIRTIO feature bits of the device itself (control thread)
 * @features_acked: what the front-end accepted, device bits and others (control)
 * @get_config: the configuration space; default: what vhost_backend_set_config_space () gave
 * (control)
 * @set_config: a driver's write; default: into the space's writable bytes (control)
 * @start: the daemon starts; open what is needed (control)
 * @stop: the daemon stops (control)
 * @activate: the first ring of a session is about to start; %VHOST_ERROR_BUSY is tried again for a
 * second (control)
 * @suspend: the last ring of a session has stopped (control)
 * @reset: the device goes back to its initial state (control)
 * @queue_started: a ring starts (worker)
 * @queue_stopped: a ring has stopped, no request in flight (worker)
 * @process_queue: there may be requests: pop them; default: pops all and calls @process_chain
 * (worker)
 * @process_chain: one request; complete it now or later (worker)
 * @memory_changed: the guest's memory map was replaced (control)
 * @worker_started: a worker thread begins (worker)
 * @worker_stopped: a worker thread ends (worker)
 */
struct _VhostBackendClass
{
  GObjectClass parent_class;

  guint64 (*get_features) (VhostBackend *self);
  void (*features_acked) (VhostBackend *self, guint64 features);
  GBytes *(*get_config) (VhostBackend *self, GError **error);
  gboolean (*set_config) (VhostBackend *self, guint offset, GBytes *data, VhostConfigFlags flags,
                          GError **error);
  gboolean (*start) (VhostBackend *self, GError **error);
  void (*stop) (VhostBackend *self);
  gboolean (*activate) (VhostBackend *self, GError **error);
  void (*suspend) (VhostBackend *self);
  void (*reset) (VhostBackend *self);
  void (*queue_started) (VhostBackend *self, VhostQueue *queue);
  void (*queue_stopped) (VhostBackend *self, VhostQueue *queue);
  void (*process_queue) (VhostBackend *self, VhostQueue *queue);
  void (*process_chain) (VhostBackend *self, VhostQueue *queue, VhostChain *chain);
  void (*memory_changed) (VhostBackend *self, VhostMemory *memory);
  void (*worker_started) (VhostBackend *self, VhostWorker *worker);
  void (*worker_stopped) (VhostBackend *self, VhostWorker *worker);

  /*< private >*/
  gpointer padding[16];
};

VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_device (VhostBackendClass *klass, const char *name, guint virtio_id,
                                     guint max_queues);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_chain_data_size (VhostBackendClass *klass, gsize size);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_add_capability (VhostBackendClass *klass, const char *capability);

VHOST_AVAILABLE_IN_0_1
VhostBackend *vhost_backend_new_simple (const char *device, guint virtio_id, guint num_queues);

VHOST_AVAILABLE_IN_0_1
const char *vhost_backend_get_device_name (VhostBackend *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_backend_get_virtio_id (VhostBackend *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_backend_get_num_queues (VhostBackend *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_backend_get_queue_size (VhostBackend *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_backend_get_acked_features (VhostBackend *self);
VHOST_AVAILABLE_IN_0_1
VhostIo *vhost_backend_get_io (VhostBackend *self, VhostQueue *queue);
VHOST_AVAILABLE_IN_0_1
GMainContext *vhost_backend_get_context (VhostBackend *self, VhostQueue *queue);

VHOST_AVAILABLE_IN_0_1
void vhost_backend_set_config_space (VhostBackend *self, gconstpointer data, gsize length,
                                     gconstpointer writable_mask);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_notify_config (VhostBackend *self);

G_END_DECLS
