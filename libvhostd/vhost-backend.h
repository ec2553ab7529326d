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
 *
 * Why the configuration space is written.
 *
 * Since: 0.1
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
 * @queue_stopping: a stop waits for the requests in flight: end what is parked now, for example
 * reads that wait for input; default: nothing (worker)
 * @queue_stopped: a ring has stopped, no request in flight (worker)
 * @process_queue: there may be requests: pop them; default: pops all and calls @process_chain
 * (worker)
 * @process_chain: one request; complete it now or later (worker)
 * @memory_changed: the guest's memory map was replaced (control)
 * @worker_started: a worker thread begins (worker)
 * @worker_stopped: a worker thread ends (worker)
 * @get_state: the device's state as bytes, for a migration; a device whose state is small
 * implements this one and @set_state (control)
 * @set_state: takes over what @get_state gave on another host (control)
 * @save_state_async: writes the device's state to a stream that never blocks, so only with
 * asynchronous calls; default: writes what @get_state gives (control)
 * @save_state_finish: whether all was written (control)
 * @load_state_async: reads the device's state from such a stream until its end; default: reads at
 * most 64 MiB for @set_state (control)
 * @load_state_finish: whether all was taken over (control)
 * @get_shared_object: a new descriptor of the shared object with this UUID, or -1 with an error;
 * default: what vhost_backend_shared_object_add_async () was given (control)
 * @announce: no default: tell the network that the guest is here now, in its name: 6 bytes of MAC
 * address (control)
 * @set_mtu: no default: the guest's link has this MTU (control)
 * @create_crypto_session: no default: makes a session out of the front-end's description, whose
 * layout is between the two; returns its number, or a negative one with an error (control)
 * @close_crypto_session: no default: closes such a session, also one that its front-end left open
 *   when it went (control)
 * @set_gpu_socket: no default: takes over the socket to the front-end's display (control)
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
  void (*queue_stopping) (VhostBackend *self, VhostQueue *queue);

  GBytes *(*get_state) (VhostBackend *self, GError **error);
  gboolean (*set_state) (VhostBackend *self, GBytes *state, GError **error);
  void (*save_state_async) (VhostBackend *self, GOutputStream *stream, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
  gboolean (*save_state_finish) (VhostBackend *self, GAsyncResult *result, GError **error);
  void (*load_state_async) (VhostBackend *self, GInputStream *stream, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
  gboolean (*load_state_finish) (VhostBackend *self, GAsyncResult *result, GError **error);

  int (*get_shared_object) (VhostBackend *self, const char *uuid, GError **error);
  gboolean (*announce) (VhostBackend *self, GBytes *mac, GError **error);
  gboolean (*set_mtu) (VhostBackend *self, guint mtu, GError **error);
  gint64 (*create_crypto_session) (VhostBackend *self, GBytes *description, GError **error);
  gboolean (*close_crypto_session) (VhostBackend *self, gint64 id, GError **error);
  void (*set_gpu_socket) (VhostBackend *self, int fd);

  /*< private >*/
  gpointer padding[16];
};

VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_device (VhostBackendClass *klass, const char *name, guint virtio_id,
                                     guint max_queues);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_chain_data_size (VhostBackendClass *klass, gsize size);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_main_context_only (VhostBackendClass *klass);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_add_capability (VhostBackendClass *klass, const char *capability);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_class_set_option_default (VhostBackendClass *klass, const char *property,
                                             const char *text);

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
VHOST_AVAILABLE_IN_0_1
void vhost_backend_report_error (VhostBackend *self, const GError *error);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_backend_get_masked_features (VhostBackend *self);

/* Shared objects */
VHOST_AVAILABLE_IN_0_1
void vhost_backend_set_shared_objects (VhostBackend *self, gboolean shared_objects);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_shared_object_add_async (VhostBackend *self, const char *uuid, int fd,
                                            GCancellable *cancellable, GAsyncReadyCallback callback,
                                            gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_shared_object_add_finish (VhostBackend *self, GAsyncResult *result,
                                                 GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_shared_object_remove_async (VhostBackend *self, const char *uuid,
                                               GCancellable *cancellable,
                                               GAsyncReadyCallback callback, gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_shared_object_remove_finish (VhostBackend *self, GAsyncResult *result,
                                                    GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_shared_object_lookup_async (VhostBackend *self, const char *uuid,
                                               GCancellable *cancellable,
                                               GAsyncReadyCallback callback, gpointer user_data);
VHOST_AVAILABLE_IN_0_1
int vhost_backend_shared_object_lookup_finish (VhostBackend *self, GAsyncResult *result,
                                               GError **error);

/* Shared memory regions, host notifiers */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_set_shmem_region (VhostBackend *self, guint id, guint64 size,
                                         GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_map_shmem_async (VhostBackend *self, guint id, guint64 offset, int fd,
                                    guint64 fd_offset, guint64 length, gboolean writable,
                                    GCancellable *cancellable, GAsyncReadyCallback callback,
                                    gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_map_shmem_finish (VhostBackend *self, GAsyncResult *result, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_unmap_shmem_async (VhostBackend *self, guint id, guint64 offset, guint64 length,
                                      GCancellable *cancellable, GAsyncReadyCallback callback,
                                      gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_unmap_shmem_finish (VhostBackend *self, GAsyncResult *result,
                                           GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_set_host_notifiers (VhostBackend *self, gboolean host_notifiers);
VHOST_AVAILABLE_IN_0_1
void vhost_backend_set_host_notifier_async (VhostBackend *self, guint queue, int fd, guint64 offset,
                                            GCancellable *cancellable, GAsyncReadyCallback callback,
                                            gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_backend_set_host_notifier_finish (VhostBackend *self, GAsyncResult *result,
                                                 GError **error);

G_END_DECLS
