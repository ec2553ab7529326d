/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The abstract class that a device is made from, and the calls through which sessions and workers
 * reach it. Must not know sessions: what goes to the front-end goes through VhostBackendPeer.
 *
 * Virtual functions have a default that does nothing wrong, so a subclass may chain up. Some have
 * none, because their absence says something: without process_chain the device is a listener of the
 * daemon's signals; without get_state, announce, set_mtu, create_crypto_session or set_gpu_socket
 * the device does not have what they stand for, and the front-end is not offered it. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include "vhost-error.h"
#include "vhost-queue-private.h"
#include "vhost-worker.h"

#define QUEUE_SIZE_MAX 32768
#define WORKERS_MAX 64
#define POLL_MAX_MAX 1000000

/* VIRTIO 1.3, section 2.2: bits 0 to 23 and 50 to 63 are the device type's own, the others the
 * transport's. */
#define DEVICE_FEATURES                                                                            \
  (((G_GUINT64_CONSTANT (1) << 24) - 1) | ~((G_GUINT64_CONSTANT (1) << 50) - 1))

enum
{
  PROP_NUM_QUEUES = 1,
  PROP_QUEUE_SIZE,
  PROP_WORKERS,
  PROP_POLL_MAX,
  PROP_POSTCOPY,
  PROP_MASKED_FEATURES,
  N_PROPS,
};

enum
{
  SIGNAL_CONFIG_WRITTEN,
  SIGNAL_ERROR,
  N_SIGNALS,
};

static GParamSpec *properties[N_PROPS];
static guint signals[N_SIGNALS];

/**
 * VhostBackend:
 *
 * A device: what a program derives from to serve one.
 *
 * The class says what kind of device it is ([method@BackendClass.set_device]) and what it does with
 * requests: `process_chain`, or `process_queue` for batches. Its properties are its options, on the
 * command line, in device files and over D-Bus. A [class@Daemon] serves it to front-ends, or
 * [func@Backend.main] as a whole program.
 *
 * Which virtual function runs on which thread stands in the class structure: all that deals with
 * requests on the queue's worker, everything else on the control thread, the daemon's.
 *
 * Since: 0.1
 */
G_DEFINE_ABSTRACT_TYPE_WITH_PRIVATE (VhostBackend, vhost_backend, G_TYPE_OBJECT)

/* A back-end whose device is whatever its user makes of the daemon's signals. */
typedef struct
{
  VhostBackend parent_instance;
} VhostSimpleBackend;

typedef struct
{
  VhostBackendClass parent_class;
} VhostSimpleBackendClass;

static GType vhost_simple_backend_get_type (void);

G_DEFINE_FINAL_TYPE (VhostSimpleBackend, vhost_simple_backend, VHOST_TYPE_BACKEND)

/* What other files of the class see of an instance. */
VhostBackendPrivate *
vhost_backend_get_private (VhostBackend *self)
{
  return vhost_backend_get_instance_private (self);
}

/* Defaults of the virtual functions. Called: as the class's documentation says. */

static guint64
vhost_backend_real_get_features (VhostBackend *self)
{
  return 0;
}

static void
vhost_backend_real_features_acked (VhostBackend *self, guint64 features)
{
}

static gboolean
vhost_backend_real_start (VhostBackend *self, GError **error)
{
  return TRUE;
}

static void
vhost_backend_real_nothing (VhostBackend *self)
{
}

static void
vhost_backend_real_queue_nothing (VhostBackend *self, VhostQueue *queue)
{
}

/* Called: worker. */
static void
vhost_backend_real_process_queue (VhostBackend *self, VhostQueue *queue)
{
  /* No type check here: this runs once per batch, and the instance came from the session. */
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (self);
  void (*process_chain) (VhostBackend *, VhostQueue *, VhostChain *) = klass->process_chain;
  VhostChain *chain;

  if (process_chain == NULL)
    return;
  while ((chain = vhost_queue_pop (queue)) != NULL)
    process_chain (self, queue, chain);
}

static void
vhost_backend_real_memory_changed (VhostBackend *self, VhostMemory *memory)
{
}

static void
vhost_backend_real_worker_nothing (VhostBackend *self, VhostWorker *worker)
{
}

static void
vhost_backend_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (VHOST_BACKEND (object));

  switch (id)
    {
    case PROP_NUM_QUEUES:
      g_value_set_uint (value, priv->num_queues);
      break;
    case PROP_QUEUE_SIZE:
      g_value_set_uint (value, priv->queue_size);
      break;
    case PROP_WORKERS:
      g_value_set_uint (value, priv->workers);
      break;
    case PROP_POLL_MAX:
      g_value_set_uint (value, priv->poll_max);
      break;
    case PROP_POSTCOPY:
      g_value_set_boolean (value, priv->postcopy);
      break;
    case PROP_MASKED_FEATURES:
      g_value_set_uint64 (value, vhost_backend_get_masked_features (VHOST_BACKEND (object)));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_backend_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (VHOST_BACKEND (object));
  guint *field = NULL;

  switch (id)
    {
    case PROP_NUM_QUEUES:
      field = &priv->num_queues;
      break;
    case PROP_QUEUE_SIZE:
      field = &priv->queue_size;
      break;
    case PROP_WORKERS:
      field = &priv->workers;
      break;
    case PROP_POLL_MAX:
      field = &priv->poll_max;
      break;
    case PROP_POSTCOPY:
      if (priv->postcopy != g_value_get_boolean (value))
        {
          priv->postcopy = g_value_get_boolean (value);
          g_object_notify_by_pspec (object, pspec);
        }
      return;
    case PROP_MASKED_FEATURES:
      if (priv->masked_features != g_value_get_uint64 (value))
        {
          priv->masked_features = g_value_get_uint64 (value);
          g_object_notify_by_pspec (object, pspec);
        }
      return;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      return;
    }
  if (*field == g_value_get_uint (value))
    return;
  *field = g_value_get_uint (value);
  g_object_notify_by_pspec (object, pspec);
}

static void
vhost_backend_finalize (GObject *object)
{
  VhostBackend *self = VHOST_BACKEND (object);
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  g_clear_object (&priv->next);
  g_free (priv->device_name);
  g_free (priv->config_space);
  g_free (priv->writable_mask);
  g_clear_error (&priv->reported);
  vhost_backend_forget_objects (self);
  g_clear_pointer (&priv->mappings, g_array_unref);
  g_free (priv->shmem_sizes);
  g_clear_object (&priv->transfer_cancellable);
  g_clear_pointer (&priv->context, g_main_context_unref);
  pthread_mutex_destroy (&priv->peer_lock);
  G_OBJECT_CLASS (vhost_backend_parent_class)->finalize (object);
}

static void
vhost_backend_class_init (VhostBackendClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhost_backend_get_property;
  object_class->set_property = vhost_backend_set_property;
  object_class->finalize = vhost_backend_finalize;

  klass->get_features = vhost_backend_real_get_features;
  klass->features_acked = vhost_backend_real_features_acked;
  klass->get_config = vhost_backend_real_get_config;
  klass->set_config = vhost_backend_real_set_config;
  klass->start = vhost_backend_real_start;
  klass->stop = vhost_backend_real_nothing;
  klass->activate = vhost_backend_real_start;
  klass->suspend = vhost_backend_real_nothing;
  klass->reset = vhost_backend_real_nothing;
  klass->queue_started = vhost_backend_real_queue_nothing;
  klass->queue_stopping = vhost_backend_real_queue_nothing;
  klass->queue_stopped = vhost_backend_real_queue_nothing;
  klass->process_queue = vhost_backend_real_process_queue;
  klass->memory_changed = vhost_backend_real_memory_changed;
  klass->worker_started = vhost_backend_real_worker_nothing;
  klass->worker_stopped = vhost_backend_real_worker_nothing;
  klass->save_state_async = vhost_backend_real_save_state_async;
  klass->save_state_finish = vhost_backend_real_save_state_finish;
  klass->load_state_async = vhost_backend_real_load_state_async;
  klass->load_state_finish = vhost_backend_real_load_state_finish;
  klass->get_shared_object = vhost_backend_real_get_shared_object;

  /**
   * VhostBackend:num-queues:
   *
   * How many queues the device has, at most as many as its class allows
   * ([method@BackendClass.set_device]). A larger number is refused when the daemon starts.
   *
   * Since: 0.1
   */
  properties[PROP_NUM_QUEUES]
      = g_param_spec_uint ("num-queues", NULL, "Number of queues", 1, VHOST_BACKEND_QUEUES_MAX, 1,
                           flags | G_PARAM_CONSTRUCT_ONLY);

  /**
   * VhostBackend:queue-size:
   *
   * The largest ring that the front-end may set up, in descriptors. A power of two; anything else
   * is refused when the daemon starts, and a change takes effect there.
   *
   * Since: 0.1
   */
  properties[PROP_QUEUE_SIZE] = g_param_spec_uint (
      "queue-size", NULL, "Largest ring accepted, in descriptors (a power of two)", 2,
      QUEUE_SIZE_MAX, 1024, flags);

  /**
   * VhostBackend:workers:
   *
   * How many threads serve the queues. With 0 they are served in the main context of the daemon, as
   * scripts want it. A change takes effect when the daemon starts.
   *
   * Since: 0.1
   */
  properties[PROP_WORKERS] = g_param_spec_uint (
      "workers", NULL, "Threads that serve the queues (0: the main loop serves them)", 0,
      WORKERS_MAX, 1, flags);

  /**
   * VhostBackend:poll-max:
   *
   * How long a worker looks for new requests before it sleeps, in microseconds. The time adapts
   * itself between 0 and this; 0 switches polling off.
   *
   * Since: 0.1
   */
  properties[PROP_POLL_MAX] = g_param_spec_uint (
      "poll-max", NULL, "Longest busy polling before a sleep, in microseconds (0: none)", 0,
      POLL_MAX_MAX, 50, flags);

  /**
   * VhostBackend:postcopy:
   *
   * Whether front-ends may migrate the device by postcopy (protocol feature PAGEFAULT). It hands
   * them a userfaultfd of this process, by which they can fill any page that it has not touched
   * yet: say yes where the front-end is trusted as much as the device. A change takes effect with
   * the next front-end.
   *
   * Since: 0.1
   */
  properties[PROP_POSTCOPY] = g_param_spec_boolean (
      "postcopy", NULL, "Allow postcopy migration; the front-end is then fully trusted", FALSE,
      flags);

  /**
   * VhostBackend:masked-features:
   *
   * Feature bits of the transport, such as packed rings (bit 34) or the dirty log (bit 26), that
   * are not offered to front-ends although the library knows them: for a device that cannot do with
   * them, or to test a driver without. Bits 30 and 32 cannot be masked. A change takes effect with
   * the next front-end.
   *
   * Since: 0.1
   */
  properties[PROP_MASKED_FEATURES] = g_param_spec_uint64 (
      "masked-features", NULL, "Transport features that are not offered", 0, G_MAXUINT64, 0, flags);

  g_object_class_install_properties (object_class, N_PROPS, properties);

  /**
   * VhostBackend::config-written:
   * @self: the back-end
   * @offset: where in the configuration space
   * @length: how many bytes
   *
   * The driver has written to the configuration space, and the write was accepted.
   *
   * Thread: control.
   *
   * Since: 0.1
   */
  signals[SIGNAL_CONFIG_WRITTEN]
      = g_signal_new ("config-written", G_TYPE_FROM_CLASS (klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                      NULL, G_TYPE_NONE, 2, G_TYPE_UINT, G_TYPE_UINT);

  /**
   * VhostBackend::error:
   * @self: the back-end
   * @error: what went wrong
   *
   * The device's own code has failed, and goes on: [method@Backend.report_error].
   *
   * Thread: control.
   *
   * Since: 0.1
   */
  signals[SIGNAL_ERROR]
      = g_signal_new ("error", G_TYPE_FROM_CLASS (klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                      G_TYPE_NONE, 1, G_TYPE_ERROR | G_SIGNAL_TYPE_STATIC_SCOPE);
}

static void
vhost_backend_init (VhostBackend *self)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  pthread_mutex_init (&priv->peer_lock, NULL);
  priv->num_queues = 1;
  priv->queue_size = 1024;
  priv->workers = 1;
  priv->poll_max = 50;
}

static void
vhost_simple_backend_class_init (VhostSimpleBackendClass *klass)
{
}

static void
vhost_simple_backend_init (VhostSimpleBackend *self)
{
}

/* Gives a failed virtual function an error when it came without one (a script's exception, a
 * forgotten g_set_error). */
void
vhost_backend_propagate_failure (VhostBackend *self, const char *what, GError *local_error,
                                 GError **error)
{
  if (local_error != NULL)
    g_propagate_error (error, local_error);
  else
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_BACKEND,
                 "%s of the %s back-end failed without saying why", what,
                 vhost_backend_get_device_name (self));
}

void
vhost_backend_emit_config_written (VhostBackend *self, guint offset, guint length)
{
  g_signal_emit (self, signals[SIGNAL_CONFIG_WRITTEN], 0, offset, length);
}

void
vhost_backend_emit_error (VhostBackend *self, const GError *error)
{
  g_signal_emit (self, signals[SIGNAL_ERROR], 0, error);
}

gboolean
vhost_backend_set_peer (VhostBackend *self, const VhostBackendPeer *peer, gpointer session)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  /* These two are written on the control thread only. */
  if (priv->peer != NULL && priv->session != session)
    return FALSE;
  if (priv->next != NULL && !vhost_backend_set_peer (priv->next, peer, session))
    return FALSE;

  pthread_mutex_lock (&priv->peer_lock);
  priv->peer = peer;
  priv->session = peer != NULL ? session : NULL;
  g_clear_pointer (&priv->context, g_main_context_unref);
  priv->control = NULL;
  priv->notify_pending = FALSE;
  if (peer != NULL)
    {
      priv->context = g_main_context_ref_thread_default ();
      priv->control = g_thread_self ();
    }
  pthread_mutex_unlock (&priv->peer_lock);
  if (peer == NULL)
    vhost_backend_drop_requests (self);
  return TRUE;
}

guint64
vhost_backend_get_features (VhostBackend *self)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  guint64 features = VHOST_BACKEND_GET_CLASS (self)->get_features (self);

  if ((features & ~DEVICE_FEATURES) != 0 && !priv->warned_features)
    {
      priv->warned_features = TRUE;
      g_warning ("%s: feature bits 0x%" G_GINT64_MODIFIER "x are the transport's, not the "
                 "device's: not offered by get_features",
                 G_OBJECT_TYPE_NAME (self), features & ~DEVICE_FEATURES);
    }
  return features & DEVICE_FEATURES;
}

void
vhost_backend_features_acked (VhostBackend *self, guint64 features)
{
  /* Partner: vhost_backend_get_acked_features (). Nothing else is published with it. */
  atomic_store_explicit (&vhost_backend_get_private (self)->acked_features, features,
                         memory_order_relaxed);
  VHOST_BACKEND_GET_CLASS (self)->features_acked (self, features);
}

gboolean
vhost_backend_start (VhostBackend *self, GError **error)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  guint max_queues = vhost_backend_class_get_max_queues (VHOST_BACKEND_GET_CLASS (self));
  GError *local_error = NULL;

  if (priv->started)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "the %s back-end is in use already: every daemon needs one of its own",
                   vhost_backend_get_device_name (self));
      return FALSE;
    }
  if (priv->num_queues > max_queues)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "num-queues is %u, but a %s device has at most %u", priv->num_queues,
                   vhost_backend_get_device_name (self), max_queues);
      return FALSE;
    }
  if ((priv->queue_size & (priv->queue_size - 1)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue-size is %u, but it must be a power of two (2 to %d)", priv->queue_size,
                   QUEUE_SIZE_MAX);
      return FALSE;
    }

  if (!VHOST_BACKEND_GET_CLASS (self)->start (self, &local_error) || local_error != NULL)
    {
      vhost_backend_propagate_failure (self, "start", local_error, error);
      return FALSE;
    }
  priv->started = TRUE;
  return TRUE;
}

void
vhost_backend_stop (VhostBackend *self)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  if (!priv->started)
    return;
  priv->started = FALSE;
  VHOST_BACKEND_GET_CLASS (self)->stop (self);
}

gboolean
vhost_backend_activate (VhostBackend *self, GError **error)
{
  GError *local_error = NULL;

  vhost_backend_cancel_transfer (self); /* D7: the front-end has thought better of it */
  if (!VHOST_BACKEND_GET_CLASS (self)->activate (self, &local_error) || local_error != NULL)
    {
      vhost_backend_propagate_failure (self, "activate", local_error, error);
      return FALSE;
    }
  return TRUE;
}

void
vhost_backend_suspend (VhostBackend *self)
{
  VHOST_BACKEND_GET_CLASS (self)->suspend (self);
}

void
vhost_backend_reset (VhostBackend *self)
{
  vhost_backend_cancel_transfer (self);
  vhost_backend_forget_mappings (self);
  VHOST_BACKEND_GET_CLASS (self)->reset (self);
}

void
vhost_backend_memory_changed (VhostBackend *self, VhostMemory *memory)
{
  VHOST_BACKEND_GET_CLASS (self)->memory_changed (self, memory);
}

void
vhost_backend_queue_started (VhostBackend *self, VhostQueue *queue)
{
  VHOST_BACKEND_GET_CLASS (self)->queue_started (self, queue);
}

void
vhost_backend_queue_stopping (VhostBackend *self, VhostQueue *queue)
{
  VHOST_BACKEND_GET_CLASS (self)->queue_stopping (self, queue);
}

void
vhost_backend_queue_stopped (VhostBackend *self, VhostQueue *queue)
{
  VHOST_BACKEND_GET_CLASS (self)->queue_stopped (self, queue);
}

void
vhost_backend_process_queue (VhostBackend *self, VhostQueue *queue)
{
  VHOST_BACKEND_GET_CLASS (self)->process_queue (self, queue);
}

void
vhost_backend_worker_started (VhostBackend *self, VhostWorker *worker)
{
  VHOST_BACKEND_GET_CLASS (self)->worker_started (self, worker);
}

void
vhost_backend_worker_stopped (VhostBackend *self, VhostWorker *worker)
{
  VHOST_BACKEND_GET_CLASS (self)->worker_stopped (self, worker);
}

VhostBackend *
vhost_backend_get_device (VhostBackend *self)
{
  while (vhost_backend_get_private (self)->next != NULL)
    self = vhost_backend_get_private (self)->next;
  return self;
}

gsize
vhost_backend_get_chain_data_size (VhostBackend *self)
{
  VhostBackend *device = vhost_backend_get_device (self);

  return vhost_backend_class_get_chain_data_size (VHOST_BACKEND_GET_CLASS (device));
}

guint
vhost_backend_get_workers (VhostBackend *self)
{
  VhostBackend *device = vhost_backend_get_device (self);

  /* Filters in front of it hold requests for the device, so its class decides. */
  if (vhost_backend_class_is_main_context_only (VHOST_BACKEND_GET_CLASS (device)))
    return 0;
  return vhost_backend_get_private (self)->workers;
}

guint
vhost_backend_get_poll_max (VhostBackend *self)
{
  return vhost_backend_get_private (self)->poll_max;
}

/**
 * vhost_backend_new_simple:
 * @device: the device type: `block`, `rng`, ...
 * @virtio_id: its VIRTIO device number
 * @num_queues: how many queues it has, 1 to 256
 *
 * Makes a back-end without a class of its own. It takes no request by itself: connect to
 * [signal@Daemon::kick] and pop them there.
 *
 * Thread: control.
 *
 * Returns: (transfer full): a new back-end
 *
 * Since: 0.1
 */
VhostBackend *
vhost_backend_new_simple (const char *device, guint virtio_id, guint num_queues)
{
  VhostBackend *self;
  VhostBackendPrivate *priv;

  g_return_val_if_fail (device != NULL && device[0] != '\0', NULL);
  g_return_val_if_fail (num_queues >= 1 && num_queues <= VHOST_BACKEND_QUEUES_MAX, NULL);

  self = g_object_new (vhost_simple_backend_get_type (), "num-queues", num_queues, NULL);
  priv = vhost_backend_get_private (self);
  priv->device_name = g_strdup (device);
  priv->virtio_id = virtio_id;
  return self;
}

/**
 * vhost_backend_get_device_name:
 * @self: a back-end
 *
 * Gets the device type: what [method@BackendClass.set_device] said, else the name of the class.
 *
 * Thread: any.
 *
 * Returns: the device's name
 *
 * Since: 0.1
 */
const char *
vhost_backend_get_device_name (VhostBackend *self)
{
  VhostBackendPrivate *priv;

  g_return_val_if_fail (VHOST_IS_BACKEND (self), NULL);

  priv = vhost_backend_get_private (self);
  return priv->device_name != NULL
             ? priv->device_name
             : vhost_backend_class_get_device_name (VHOST_BACKEND_GET_CLASS (self));
}

/**
 * vhost_backend_get_virtio_id:
 * @self: a back-end
 *
 * Gets the VIRTIO device number (specification of VIRTIO, section 5).
 *
 * Thread: any.
 *
 * Returns: the number, 0 when the class has not said it
 *
 * Since: 0.1
 */
guint
vhost_backend_get_virtio_id (VhostBackend *self)
{
  VhostBackendPrivate *priv;

  g_return_val_if_fail (VHOST_IS_BACKEND (self), 0);

  priv = vhost_backend_get_private (self);
  return priv->device_name != NULL
             ? priv->virtio_id
             : vhost_backend_class_get_virtio_id (VHOST_BACKEND_GET_CLASS (self));
}

/**
 * vhost_backend_get_num_queues: (get-property num-queues)
 * @self: a back-end
 *
 * Gets how many queues the device has.
 *
 * Thread: any.
 *
 * Returns: the number of queues, 1 to 256
 *
 * Since: 0.1
 */
guint
vhost_backend_get_num_queues (VhostBackend *self)
{
  g_return_val_if_fail (VHOST_IS_BACKEND (self), 0);

  return vhost_backend_get_private (self)->num_queues;
}

/**
 * vhost_backend_get_queue_size: (get-property queue-size)
 * @self: a back-end
 *
 * Gets the largest ring that the front-end may set up.
 *
 * Thread: control.
 *
 * Returns: the size in descriptors
 *
 * Since: 0.1
 */
guint
vhost_backend_get_queue_size (VhostBackend *self)
{
  g_return_val_if_fail (VHOST_IS_BACKEND (self), 0);

  return vhost_backend_get_private (self)->queue_size;
}

/**
 * vhost_backend_get_acked_features:
 * @self: a back-end
 *
 * Gets the feature bits that the front-end accepted last, the device's and the transport's
 * (vhost-user specification, VHOST_USER_SET_FEATURES).
 *
 * Thread: any.
 *
 * Returns: VIRTIO feature bits, 0 before the negotiation
 *
 * Since: 0.1
 */
guint64
vhost_backend_get_acked_features (VhostBackend *self)
{
  g_return_val_if_fail (VHOST_IS_BACKEND (self), 0);

  /* Partner: vhost_backend_features_acked (). */
  return atomic_load_explicit (&vhost_backend_get_private (self)->acked_features,
                               memory_order_relaxed);
}

gboolean
vhost_backend_get_postcopy (VhostBackend *self)
{
  return vhost_backend_get_private (vhost_backend_get_device (self))->postcopy;
}

/**
 * vhost_backend_get_masked_features: (get-property masked-features)
 * @self: a back-end
 *
 * Gets the transport's feature bits that are not offered: of a filter, its own and those of the
 * back-end that it wraps.
 *
 * Thread: control.
 *
 * Returns: VIRTIO feature bits
 *
 * Since: 0.1
 */
guint64
vhost_backend_get_masked_features (VhostBackend *self)
{
  VhostBackendPrivate *priv;

  g_return_val_if_fail (VHOST_IS_BACKEND (self), 0);

  priv = vhost_backend_get_private (self);
  return priv->masked_features
         | (priv->next != NULL ? vhost_backend_get_masked_features (priv->next) : 0);
}

/**
 * vhost_backend_get_io: (skip)
 * @self: a back-end
 * @queue: one of its queues
 *
 * Gets the engine through which a request of @queue does its reads and writes, so that they join
 * the worker's batch.
 *
 * Thread: worker (that of @queue).
 *
 * Returns: (transfer none) (nullable): the engine, %NULL before the queue has a worker
 *
 * Since: 0.1
 */
VhostIo *
vhost_backend_get_io (VhostBackend *self, VhostQueue *queue)
{
  /* No type checks: devices call it for every request. */
  return queue->worker != NULL ? vhost_worker_get_io (queue->worker) : NULL;
}

/**
 * vhost_backend_get_context:
 * @self: a back-end
 * @queue: one of its queues
 *
 * Gets the main context that serves @queue. Sources of the device's own (a timer, a socket)
 * attached to it run on the queue's thread, so that they may touch it.
 *
 * Thread: worker (that of @queue).
 *
 * Returns: (transfer none) (nullable): the context, %NULL before the queue has a worker
 *
 * Since: 0.1
 */
GMainContext *
vhost_backend_get_context (VhostBackend *self, VhostQueue *queue)
{
  g_return_val_if_fail (VHOST_IS_BACKEND (self), NULL);
  g_return_val_if_fail (VHOST_IS_QUEUE (queue), NULL);

  return queue->worker != NULL ? vhost_worker_get_context (queue->worker) : NULL;
}
