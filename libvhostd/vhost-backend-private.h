/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The abstract class's inside: what the session calls, and the way back to the session. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "vhost-backend.h"
#include "vhost-error.h"
#include "vhost-property-private.h"
#include "vhost-wire-private.h"

#define VHOST_BACKEND_QUEUES_MAX 256
#define VHOST_BACKEND_CONFIG_SPACE_MAX 256

/* How a request to the front-end ended; as VhostBackendChannelDone. @fd is the callee's. */
typedef void (*VhostBackendAnswered) (guint64 answer, int fd, const GError *error, gpointer data);

/* Installed by the session that owns the back-end object; a back-end's own requests go through it.
 * Thread: control. */
typedef struct
{
  void (*config_changed) (gpointer session);
  /* Whether device state may be touched by the front-end's privileged writes: all rings stopped. */
  gboolean (*is_suspended) (gpointer session);
  /* Whether the front-end takes such a request, with a descriptor or without. */
  gboolean (*takes) (gpointer session, VhostWireBackendRequest request, gboolean with_fd,
                     GError **error);
  /* Sends a request to the front-end; @fd (-1: none) stays the caller's. @done runs once, never
   * within this call. Only while a ring runs (S3), and after takes (). */
  guint (*send) (gpointer session, VhostWireBackendRequest request, const void *payload,
                 guint32 size, int fd, VhostBackendAnswered done, gpointer data);
  void (*cancel) (gpointer session, guint id);
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

void vhost_backend_emit_error (VhostBackend *self, const GError *error);

/* vhost-backend-request.c. A ring has started: what was held back for it may be sent (S3). */
void vhost_backend_flush_requests (VhostBackend *self);
/* The session is over. */
void vhost_backend_drop_requests (VhostBackend *self);

/* vhost-backend-object.c */
gboolean vhost_backend_has_shared_objects (VhostBackend *self);
/* The descriptor of a shared object (owned by the caller), -1: there is none. */
int vhost_backend_get_shared_object (VhostBackend *self, const guint8 uuid[16], GError **error);
void vhost_backend_forget_objects (VhostBackend *self);
int vhost_backend_real_get_shared_object (VhostBackend *self, const char *uuid, GError **error);

/* vhost-backend-shmem.c. Sizes by number, 0: not used; NULL: the device has no region. */
const guint64 *vhost_backend_get_shmem_sizes (VhostBackend *self);
/* SH3: the front-end has dropped all mappings. */
void vhost_backend_forget_mappings (VhostBackend *self);
gboolean vhost_backend_has_host_notifiers (VhostBackend *self);

/* vhost-backend-state.c */
gboolean vhost_backend_has_state (VhostBackend *self);
typedef void (*VhostBackendTransferred) (const GError *error, gpointer data);
/* @stream: a GOutputStream to save to, a GInputStream to load from. @done (perhaps within this
 * call) runs once in any case. */
void vhost_backend_save_state (VhostBackend *self, GOutputStream *stream,
                               VhostBackendTransferred done, gpointer data);
void vhost_backend_load_state (VhostBackend *self, GInputStream *stream,
                               VhostBackendTransferred done, gpointer data);
/* One that is under way ends as soon as the device takes notice. */
void vhost_backend_cancel_transfer (VhostBackend *self);
void vhost_backend_real_save_state_async (VhostBackend *self, GOutputStream *stream,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data);
gboolean vhost_backend_real_save_state_finish (VhostBackend *self, GAsyncResult *result,
                                               GError **error);
void vhost_backend_real_load_state_async (VhostBackend *self, GInputStream *stream,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data);
gboolean vhost_backend_real_load_state_finish (VhostBackend *self, GAsyncResult *result,
                                               GError **error);

/* vhost-backend-device.c: what only some devices know. The class may lack a function: has_... */
gboolean vhost_backend_has_announce (VhostBackend *self);
gboolean vhost_backend_announce (VhostBackend *self, const guint8 mac[6], GError **error);
gboolean vhost_backend_has_mtu (VhostBackend *self);
gboolean vhost_backend_set_mtu (VhostBackend *self, guint64 mtu, GError **error);
gboolean vhost_backend_has_crypto (VhostBackend *self);
gboolean vhost_backend_create_crypto_session (VhostBackend *self, GBytes *description, gint64 *id,
                                              GError **error);
gboolean vhost_backend_close_crypto_session (VhostBackend *self, guint64 id, GError **error);
/* Takes @fd. */
gboolean vhost_backend_set_gpu_socket_take_fd (VhostBackend *self, int fd, GError **error);

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
gboolean vhost_backend_get_postcopy (VhostBackend *self);
/* Features list of --print-capabilities. NULL-terminated. */
const char *const *vhost_backend_class_get_capabilities (VhostBackendClass *klass);
const char *vhost_backend_class_get_device_name (VhostBackendClass *klass);

/* What options are when they are not given, into @set, which is one for this class. */
gboolean vhost_backend_class_add_option_defaults (VhostBackendClass *klass, VhostPropertySet *set,
                                                  GError **error);

guint vhost_backend_class_get_max_queues (VhostBackendClass *klass);
guint vhost_backend_class_get_virtio_id (VhostBackendClass *klass);
gsize vhost_backend_class_get_chain_data_size (VhostBackendClass *klass);
gboolean vhost_backend_class_is_main_context_only (VhostBackendClass *klass);

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

  guint64 masked_features;
  gboolean postcopy;
  GList *requests; /* (owned): to the front-end, not ended yet, in order */
  gboolean shared_objects;
  GHashTable *objects; /* (owned) (nullable): uuid -> descriptor (owned) */
  gboolean host_notifiers;
  guint64 *shmem_sizes; /* (owned) (nullable) */
  GArray *mappings;     /* (owned) (nullable): of VhostBackendMapping */
  guint n_resets;       /* mappings from before one are gone */
  gboolean transferring;
  GCancellable *transfer_cancellable; /* (owned) (nullable) */

  pthread_mutex_t peer_lock; /* for what other threads read: all below. No GMutex: TSan sees none */
  const VhostBackendPeer *peer;
  gpointer session;        /* (unowned) */
  GMainContext *context;   /* (owned) (nullable) */
  gboolean notify_pending; /* a hand-over to the context is under way */
  GError *reported;        /* (owned) (nullable): likewise, the first one that was not seen yet */
  GThread *control;        /* (unowned): only compared */
} VhostBackendPrivate;

VhostBackendPrivate *vhost_backend_get_private (VhostBackend *self);

/* vhost-backend-request.c: for the files that make requests. Thread: control. */

/* A request on its way. */
typedef struct _VhostBackendRequest VhostBackendRequest;
struct _VhostBackendRequest
{
  GTask *task; /* (owned) */
  VhostWireBackendRequest request;
  const char *name; /* static: for errors */
  union
  {
    VhostWireSharedObject object;
    VhostWireMmap mmap;
    VhostWireVringArea area;
  } payload;
  guint32 size;
  int fd; /* (owned): goes with it; -1: none */
  /* (nullable): before the task ends. @error NULL: the front-end has done it; what came with the
   * answer is in answer_fd. Returns TRUE when it has ended the task itself. */
  gboolean (*ended) (VhostBackend *self, VhostBackendRequest *request, const GError *error);
  int answer_fd;   /* (owned): -1: none */
  guint n_resets;  /* of the device, when it was made */
  gboolean is_out; /* @id counts */
  guint id;
  GSource *cancel_source; /* (owned) (nullable) */
};
/* Takes @task and ends it when this cannot be: NULL then. @fd (-1: none) stays the caller's. */
VhostBackendRequest *vhost_backend_request_new (GTask *task, const char *name,
                                                VhostWireBackendRequest request,
                                                gconstpointer payload, guint32 size, int fd);
/* Takes @request, which was not submitted: its task fails. */
void vhost_backend_request_refuse (VhostBackendRequest *request, VhostError code,
                                   const char *format, ...) G_GNUC_PRINTF (3, 4);
/* Takes @request: it goes out now, or when a ring has started, and its task will end. */
void vhost_backend_request_submit (VhostBackendRequest *request);

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
