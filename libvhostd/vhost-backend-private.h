/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The abstract class's inside: what the session calls, and the way back to the session. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "vhost-backend.h"

#define VHOST_BACKEND_QUEUES_MAX 256
#define VHOST_BACKEND_CONFIG_SPACE_MAX 256

/* Installed by the session that owns the back-end object; a back-end's own requests go through it.
 * Thread: control. */
typedef struct
{
  void (*config_changed) (gpointer session);
  /* Whether device state may be touched by the front-end's privileged writes: all rings stopped. */
  gboolean (*is_suspended) (gpointer session);
} VhostBackendPeer;

/* One session per back-end object. NULL clears. FALSE: another session has it. */
gboolean vhost_backend_set_peer (VhostBackend *self, const VhostBackendPeer *peer,
                                 gpointer session);

/* Thread: control. Wrappers of the vfuncs that check their results. */
guint64
vhost_backend_get_features (VhostBackend *self); /* device bits only, without transport bits */
/* Transport features that the device does not want to be offered. */
guint64 vhost_backend_get_masked_features (VhostBackend *self);
void vhost_backend_features_acked (VhostBackend *self, guint64 features);
/* Size 1..256 at @offset; what lies past the device's space is zero (C3). */
gboolean vhost_backend_read_config (VhostBackend *self, guint32 offset, guint32 size, guint8 *data,
                                    GError **error);
gboolean vhost_backend_write_config (VhostBackend *self, guint32 offset, guint32 size,
                                     const guint8 *data, guint32 flags, GError **error);
gboolean vhost_backend_has_config (VhostBackend *self);
gboolean vhost_backend_start (VhostBackend *self, GError **error);
void vhost_backend_stop (VhostBackend *self);
gboolean vhost_backend_activate (VhostBackend *self, GError **error);
void vhost_backend_suspend (VhostBackend *self);
void vhost_backend_reset (VhostBackend *self);
void vhost_backend_memory_changed (VhostBackend *self, VhostMemory *memory);

/* Thread: worker. */
void vhost_backend_queue_started (VhostBackend *self, VhostQueue *queue);
/* A stop waits for requests in flight: what is parked should end now, or be handed back. */
void vhost_backend_queue_stopping (VhostBackend *self, VhostQueue *queue);
void vhost_backend_queue_stopped (VhostBackend *self, VhostQueue *queue);
void vhost_backend_process_queue (VhostBackend *self, VhostQueue *queue);
void vhost_backend_worker_started (VhostBackend *self, VhostWorker *worker);
void vhost_backend_worker_stopped (VhostBackend *self, VhostWorker *worker);

/* The device behind all filters, or @self. What no filter has a part in is asked of it directly. */
VhostBackend *vhost_backend_get_device (VhostBackend *self);
gsize vhost_backend_get_chain_data_size (VhostBackend *self);
guint vhost_backend_get_workers (VhostBackend *self);
guint vhost_backend_get_poll_max (VhostBackend *self);
/* Features list of --print-capabilities. NULL-terminated. */
const char *const *vhost_backend_class_get_capabilities (VhostBackendClass *klass);
const char *vhost_backend_class_get_device_name (VhostBackendClass *klass);

guint vhost_backend_class_get_max_queues (VhostBackendClass *klass);
guint vhost_backend_class_get_virtio_id (VhostBackendClass *klass);
gsize vhost_backend_class_get_chain_data_size (VhostBackendClass *klass);

/* Shared by the files of this class. */
typedef struct
{
  VhostBackend *next; /* (owned) (nullable): of a filter: the back-end that it wraps */
  char *device_name;  /* (owned) (nullable): of an instance of the simple class, or a filter */
  guint virtio_id;
  guint num_queues;
  guint queue_size;
  guint workers;
  guint poll_max;
  gboolean started;
  gboolean warned_features;
  _Atomic (guint64) acked_features;

  guint8 *config_space;  /* (owned) (nullable) */
  guint8 *writable_mask; /* (owned) (nullable): nothing is writable */
  gsize config_length;

  pthread_mutex_t peer_lock; /* for what other threads read: all below. No GMutex: TSan sees none */
  const VhostBackendPeer *peer;
  gpointer session;        /* (unowned) */
  GMainContext *context;   /* (owned) (nullable) */
  gboolean notify_pending; /* a hand-over to the context is under way */
  GThread *control;        /* (unowned): only compared */
} VhostBackendPrivate;

VhostBackendPrivate *vhost_backend_get_private (VhostBackend *self);
/* Gives a failed virtual function an error when it came without one (a script's exception, a
 * forgotten g_set_error). Takes
 * @local_error. */
void vhost_backend_propagate_failure (VhostBackend *self, const char *what, GError *local_error,
                                      GError **error);
void vhost_backend_emit_config_written (VhostBackend *self, guint offset, guint length);
GBytes *vhost_backend_real_get_config (VhostBackend *self, GError **error);
gboolean vhost_backend_real_set_config (VhostBackend *self, guint offset, GBytes *bytes,
                                        VhostConfigFlags flags, GError **error);

/* Tells that a kick came, so that the daemon can emit its signal; NULL when nobody listens. Thread:
 * worker. */
typedef void (*VhostBackendKicked) (VhostQueue *queue, gpointer data);
