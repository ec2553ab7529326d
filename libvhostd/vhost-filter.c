/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The abstract class of filters: back-ends that stand before another one and look like it. Must not
 * know what any filter does with requests; the queue's half is vhost-filter-queue.c, what only some
 * devices know is in vhost-filter-device.c.
 *
 * How it works: everything that is asked of the filter is asked of the next back-end. What the base
 * class keeps for itself (the device's name and number, the properties) is copied from there, or
 * bound to it. Requests do not go through virtual functions of back-ends: each filter puts itself
 * between a queue and whatever pops from it when the queue starts. */
#include "config.h"

#include "vhost-filter.h"

#include "vhost-backend-private.h"
#include "vhost-filter-private.h"
#include "vhost-queue-private.h"

/**
 * VhostFilter:
 *
 * A back-end that wraps another one and changes what happens to its requests: makes them wait,
 * fail, or end in another order. To testers of drivers and front-ends, a device that behaves badly.
 *
 * To the daemon a filter is the device. Filters can wrap filters; a request meets the outermost
 * one, which the daemon got, first, and its answer last.
 *
 * A filter is a class with one or both of #VhostFilterClass.popped and #VhostFilterClass.completed,
 * which may call [method@Filter.hold] or [method@Filter.end], and with properties, which are
 * options of programs where [method@FilterClass.set_name] has given it a name. Properties are set
 * on the control thread and read on workers.
 *
 * Since: 0.1
 */

enum
{
  PROP_NEXT = 1,
  N_PROPS,
};

typedef struct
{
  _Atomic (guint64) seed; /* 0: by chance */
} VhostFilterPrivate;

static GParamSpec *properties[N_PROPS];

G_DEFINE_ABSTRACT_TYPE_WITH_PRIVATE (VhostFilter, vhost_filter, VHOST_TYPE_BACKEND)

static VhostBackend *
get_next (VhostBackend *self)
{
  return vhost_backend_get_private (self)->next;
}

/* ---- What is asked of a back-end. Called: as VhostBackendClass says. ---- */

static guint64
vhost_filter_get_features (VhostBackend *backend)
{
  return vhost_backend_get_features (get_next (backend));
}

static void
vhost_filter_features_acked (VhostBackend *backend, guint64 features)
{
  vhost_backend_features_acked (get_next (backend), features);
}

static GBytes *
vhost_filter_get_config (VhostBackend *backend, GError **error)
{
  VhostBackend *next = get_next (backend);

  return VHOST_BACKEND_GET_CLASS (next)->get_config (next, error);
}

static gboolean
vhost_filter_set_config (VhostBackend *backend, guint offset, GBytes *data, VhostConfigFlags flags,
                         GError **error)
{
  VhostBackend *next = get_next (backend);
  gsize length = g_bytes_get_size (data);

  if (!VHOST_BACKEND_GET_CLASS (next)->set_config (next, offset, data, flags, error))
    return FALSE;
  vhost_backend_emit_config_written (next, offset, (guint) length);
  return TRUE;
}

static gboolean
vhost_filter_start (VhostBackend *backend, GError **error)
{
  return vhost_backend_start (get_next (backend), error);
}

static void
vhost_filter_stop (VhostBackend *backend)
{
  vhost_backend_stop (get_next (backend));
}

static gboolean
vhost_filter_activate (VhostBackend *backend, GError **error)
{
  return vhost_backend_activate (get_next (backend), error);
}

static void
vhost_filter_suspend (VhostBackend *backend)
{
  vhost_backend_suspend (get_next (backend));
}

static void
vhost_filter_reset (VhostBackend *backend)
{
  vhost_backend_reset (get_next (backend));
}

static void
vhost_filter_queue_started (VhostBackend *backend, VhostQueue *queue)
{
  VhostFilter *self = VHOST_FILTER (backend);

  if (!vhost_filter_queue_add (queue, self, vhost_filter_get_seed (self)))
    g_warning ("queue %u: %s does nothing: there are %d filters before it already",
               vhost_queue_get_index (queue), G_OBJECT_TYPE_NAME (self), VHOST_FILTER_LAYERS_MAX);
  vhost_backend_queue_started (get_next (backend), queue);
}

static void
vhost_filter_queue_stopping (VhostBackend *backend, VhostQueue *queue)
{
  vhost_backend_queue_stopping (get_next (backend), queue);
}

static void
vhost_filter_queue_stopped (VhostBackend *backend, VhostQueue *queue)
{
  vhost_backend_queue_stopped (get_next (backend), queue);
  vhost_filter_queue_remove (queue, VHOST_FILTER (backend));
}

static void
vhost_filter_process_queue (VhostBackend *backend, VhostQueue *queue)
{
  vhost_backend_process_queue (get_next (backend), queue);
}

static void
vhost_filter_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  vhost_backend_memory_changed (get_next (backend), memory);
}

static void
vhost_filter_worker_started (VhostBackend *backend, VhostWorker *worker)
{
  vhost_backend_worker_started (get_next (backend), worker);
}

static void
vhost_filter_worker_stopped (VhostBackend *backend, VhostWorker *worker)
{
  vhost_backend_worker_stopped (get_next (backend), worker);
}

/* ---- What is asked of a filter. Called: worker. ---- */

static void
vhost_filter_real_popped (VhostFilter *self, VhostQueue *queue, VhostChain *chain)
{
}

static void
vhost_filter_real_completed (VhostFilter *self, VhostQueue *queue, VhostChain *chain, guint written)
{
}

/* ---- Object ---- */

static void
vhost_filter_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  switch (id)
    {
    case PROP_NEXT:
      g_value_set_object (value, get_next (VHOST_BACKEND (object)));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  switch (id)
    {
    case PROP_NEXT:
      vhost_backend_get_private (VHOST_BACKEND (object))->next = g_value_dup_object (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_constructed (GObject *object)
{
  static const char *const shared[] = { "queue-size", "workers", "poll-max" };
  VhostBackendPrivate *priv = vhost_backend_get_private (VHOST_BACKEND (object));

  G_OBJECT_CLASS (vhost_filter_parent_class)->constructed (object);
  if (priv->next == NULL)
    {
      /* The program's mistake. It gets a device that does nothing, and a word. */
      g_critical ("%s was made without the back-end that it wraps: set its property \"next\"",
                  G_OBJECT_TYPE_NAME (object));
      priv->next = vhost_backend_new_simple (G_OBJECT_TYPE_NAME (object), 0, 1);
    }
  priv->device_name = g_strdup (vhost_backend_get_device_name (priv->next));
  priv->virtio_id = vhost_backend_get_virtio_id (priv->next);
  priv->num_queues = vhost_backend_get_num_queues (priv->next);
  /* Whoever serves the device listens here, and need not know what is behind. */
  g_signal_connect_object (priv->next, "error", G_CALLBACK (vhost_backend_emit_error), object,
                           G_CONNECT_SWAPPED);
  for (guint i = 0; i < G_N_ELEMENTS (shared); i++)
    g_object_bind_property (priv->next, shared[i], object, shared[i],
                            G_BINDING_SYNC_CREATE | G_BINDING_BIDIRECTIONAL);
}

static void
vhost_filter_class_init (VhostFilterClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  object_class->get_property = vhost_filter_get_property;
  object_class->set_property = vhost_filter_set_property;
  object_class->constructed = vhost_filter_constructed;

  backend_class->get_features = vhost_filter_get_features;
  backend_class->features_acked = vhost_filter_features_acked;
  backend_class->get_config = vhost_filter_get_config;
  backend_class->set_config = vhost_filter_set_config;
  backend_class->start = vhost_filter_start;
  backend_class->stop = vhost_filter_stop;
  backend_class->activate = vhost_filter_activate;
  backend_class->suspend = vhost_filter_suspend;
  backend_class->reset = vhost_filter_reset;
  backend_class->queue_started = vhost_filter_queue_started;
  backend_class->queue_stopping = vhost_filter_queue_stopping;
  backend_class->queue_stopped = vhost_filter_queue_stopped;
  backend_class->process_queue = vhost_filter_process_queue;
  backend_class->memory_changed = vhost_filter_memory_changed;
  backend_class->worker_started = vhost_filter_worker_started;
  backend_class->worker_stopped = vhost_filter_worker_stopped;
  vhost_filter_class_init_device (backend_class);

  klass->popped = vhost_filter_real_popped;
  klass->completed = vhost_filter_real_completed;

  /**
   * VhostFilter:next: (getter get_next)
   *
   * The back-end that the filter wraps; the filter has its device name, its number of queues and
   * its configuration space, and shares the other properties of #VhostBackend with it. A back-end
   * has one filter at most.
   *
   * Since: 0.1
   */
  properties[PROP_NEXT]
      = g_param_spec_object ("next", NULL, "The back-end that is wrapped", VHOST_TYPE_BACKEND,
                             G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS);

  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhost_filter_init (VhostFilter *self)
{
}

void
vhost_filter_set_seed (VhostFilter *self, guint64 seed)
{
  VhostFilterPrivate *priv = vhost_filter_get_instance_private (self);

  /* Partner: vhost_filter_get_seed () when a queue starts. Nothing else is published with it. */
  atomic_store_explicit (&priv->seed, seed, memory_order_relaxed);
}

guint64
vhost_filter_get_seed (VhostFilter *self)
{
  VhostFilterPrivate *priv = vhost_filter_get_instance_private (self);

  return atomic_load_explicit (&priv->seed, memory_order_relaxed);
}

/**
 * vhost_filter_get_next: (get-property next)
 * @self: a filter
 *
 * Thread: any.
 *
 * Returns: (transfer none): the back-end that the filter wraps
 *
 * Since: 0.1
 */
VhostBackend *
vhost_filter_get_next (VhostFilter *self)
{
  g_return_val_if_fail (VHOST_IS_FILTER (self), NULL);

  return get_next (VHOST_BACKEND (self));
}

/* ---- Names ---- */

static GQuark
name_quark (void)
{
  return g_quark_from_static_string ("vhost-filter-name");
}

/**
 * vhost_filter_class_set_name:
 * @klass: the class
 * @name: a word, as in `--filter=delay`
 *
 * Gives a class of filters its name on command lines. The name belongs to this class alone, not to
 * those that are derived from it. The class must be derived from #VhostFilter itself.
 *
 * To be called in class_init, or by a script right after the class was made.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_filter_class_set_name (VhostFilterClass *klass, const char *name)
{
  g_return_if_fail (klass != NULL);
  g_return_if_fail (name != NULL && name[0] != '\0');

  g_type_set_qdata (G_TYPE_FROM_CLASS (klass), name_quark (), (gpointer) g_intern_string (name));
}

/* Its name; NULL: has none. */
static const char *
get_name (GType type)
{
  GTypeClass *klass;

  if (G_TYPE_IS_ABSTRACT (type))
    return NULL;
  /* The class says its name when it is made. */
  klass = g_type_class_ref (type);
  g_type_class_unref (klass);
  return g_type_get_qdata (type, name_quark ());
}

static GType *
list_types (guint *n)
{
  g_type_ensure (VHOST_TYPE_FILTER_DELAY);
  g_type_ensure (VHOST_TYPE_FILTER_ERROR);
  g_type_ensure (VHOST_TYPE_FILTER_REORDER);
  return g_type_children (VHOST_TYPE_FILTER, n);
}

GType
vhost_filter_find_type (const char *name)
{
  guint n;
  g_autofree GType *types = list_types (&n);

  for (guint i = 0; i < n; i++)
    if (g_strcmp0 (get_name (types[i]), name) == 0)
      return types[i];
  return G_TYPE_INVALID;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

char *
vhost_filter_list_names (void)
{
  guint n;
  g_autofree GType *types = list_types (&n);
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  for (guint i = 0; i < n; i++)
    if (get_name (types[i]) != NULL)
      g_ptr_array_add (names, (gpointer) get_name (types[i]));
  g_ptr_array_sort (names, compare_names);
  g_ptr_array_add (names, NULL);
  return g_strjoinv (", ", (char **) names->pdata);
}
