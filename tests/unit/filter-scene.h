/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device behind filters, on a ring written by hand, served by the test's own main context: the
 * scene of the filters' tests. */
#pragma once

#include "hand-ring.h"

#include "vhost-backend-private.h"
#include "vhost-filter-private.h"
#include "vhost-worker-private.h"

#define SCENE_SIZE 64
#define SCENE_DEADLINE (20 * G_USEC_PER_SEC)

/* A device that ends requests with a used length of 1, at once or when it is told to. */
typedef struct
{
  VhostBackend parent_instance;
  gboolean keep;
  gboolean gives_up; /* what it keeps, when a queue stops */
  GPtrArray *kept;
  guint heads[SCENE_SIZE * 32];
  guint n_seen;
  guint starts, stops, activates, suspends, resets, memory_changes, queue_starts, queue_stops,
      queue_stoppings, worker_starts, worker_stops;
  gboolean fail;
  guint64 features, acked;
} SceneDevice;

typedef struct
{
  VhostBackendClass parent_class;
} SceneDeviceClass;

static GType scene_device_get_type (void);
G_DEFINE_TYPE (SceneDevice, scene_device, VHOST_TYPE_BACKEND)

typedef struct
{
  HandRing hand;
  VhostWorker *worker;
  VhostQueue *queue;
  SceneDevice *device; /* (unowned) */
  VhostBackend *top;   /* (owned): the outermost filter */
  guint64 features;    /* of the ring, besides the usual ones */
  int kick_fd;
  guint n_checked;
  guint stopped, released;
  VhostTask stop_task, release_task;
} Scene;

static void
scene_device_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  SceneDevice *self = (SceneDevice *) backend;

  self->heads[self->n_seen++ % G_N_ELEMENTS (self->heads)] = vhost_chain_get_head (chain);
  if (self->keep)
    g_ptr_array_add (self->kept, chain);
  else
    vhost_chain_complete (chain, 1);
}

static void
scene_device_finalize (GObject *object)
{
  g_ptr_array_unref (((SceneDevice *) object)->kept);
  G_OBJECT_CLASS (scene_device_parent_class)->finalize (object);
}

#define SCENE_COUNT(name, member)                                                                  \
  static void scene_device_##name (VhostBackend *backend) { ((SceneDevice *) backend)->member++; }
#define SCENE_COUNT_WITH(name, member, Type)                                                       \
  static void scene_device_##name (VhostBackend *backend, Type *with)                              \
  {                                                                                                \
    ((SceneDevice *) backend)->member++;                                                           \
  }
#define SCENE_TRY(name, member)                                                                    \
  static gboolean scene_device_##name (VhostBackend *backend, GError **error)                      \
  {                                                                                                \
    ((SceneDevice *) backend)->member++;                                                           \
    if (((SceneDevice *) backend)->fail)                                                           \
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "not now");                               \
    return !((SceneDevice *) backend)->fail;                                                       \
  }
SCENE_TRY (start, starts)
SCENE_TRY (activate, activates)
SCENE_COUNT (stop, stops)
SCENE_COUNT (suspend, suspends)
SCENE_COUNT (reset, resets)
SCENE_COUNT_WITH (memory_changed, memory_changes, VhostMemory)
SCENE_COUNT_WITH (queue_started, queue_starts, VhostQueue)
SCENE_COUNT_WITH (queue_stopped, queue_stops, VhostQueue)

/* What is parked ends here, or a stop would wait for ever. */
static void
scene_device_queue_stopping (VhostBackend *backend, VhostQueue *queue)
{
  SceneDevice *self = (SceneDevice *) backend;

  self->queue_stoppings++;
  for (guint i = 0; self->gives_up && i < self->kept->len; i++)
    vhost_chain_complete (g_ptr_array_index (self->kept, i), 1);
  if (self->gives_up)
    g_ptr_array_set_size (self->kept, 0);
}

SCENE_COUNT_WITH (worker_started, worker_starts, VhostWorker)
SCENE_COUNT_WITH (worker_stopped, worker_stops, VhostWorker)

static guint64
scene_device_get_features (VhostBackend *backend)
{
  return ((SceneDevice *) backend)->features;
}

static void
scene_device_features_acked (VhostBackend *backend, guint64 features)
{
  ((SceneDevice *) backend)->acked = features;
}

static void
scene_device_class_init (SceneDeviceClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = scene_device_finalize;
  backend_class->process_chain = scene_device_process_chain;
  backend_class->start = scene_device_start;
  backend_class->activate = scene_device_activate;
  backend_class->stop = scene_device_stop;
  backend_class->suspend = scene_device_suspend;
  backend_class->reset = scene_device_reset;
  backend_class->memory_changed = scene_device_memory_changed;
  backend_class->queue_started = scene_device_queue_started;
  backend_class->queue_stopping = scene_device_queue_stopping;
  backend_class->queue_stopped = scene_device_queue_stopped;
  backend_class->worker_started = scene_device_worker_started;
  backend_class->worker_stopped = scene_device_worker_stopped;
  backend_class->get_features = scene_device_get_features;
  backend_class->features_acked = scene_device_features_acked;
  vhost_backend_class_set_device (backend_class, "scene", 63, 4);
  vhost_backend_class_set_chain_data_size (backend_class, 24);
}

static void
scene_device_init (SceneDevice *self)
{
  self->kept = g_ptr_array_new ();
}

static void
scene_process (VhostQueue *queue, gpointer owner)
{
  vhost_backend_process_queue (((Scene *) owner)->top, queue);
}

static void
scene_stopping (VhostQueue *queue, gpointer owner)
{
  vhost_backend_queue_stopping (((Scene *) owner)->top, queue);
}

static void
scene_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  hand_note_error (&((Scene *) owner)->hand, error);
}

static const VhostQueueHooks scene_hooks = { .process = scene_process,
                                             .error = scene_error,
                                             .stopping = scene_stopping,
                                             .wake = vhost_worker_wake_queue };

static void
scene_note_stopped (VhostTask *task)
{
  Scene *self = (Scene *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (Scene, stop_task));

  self->stopped++;
}

static void
scene_note_released (VhostTask *task)
{
  Scene *self = (Scene *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (Scene, release_task));

  self->released++;
}

/* Every head is a request of two writable bytes; the odd half of them of one. */
static inline void
scene_init (Scene *self)
{
  GError *error = NULL;

  memset (self, 0, sizeof *self);
  self->stop_task.run = scene_note_stopped;
  self->release_task.run = scene_note_released;
  hand_ring_init (&self->hand, SCENE_SIZE);
  for (guint i = 0; i < SCENE_SIZE; i++)
    hand_desc (&self->hand, i, HAND_DATA + 16 * i, 2 - i % 2, 2, 0);
  self->worker = vhost_worker_new_inline (NULL, &error);
  g_assert_no_error (error);
  self->device = g_object_new (scene_device_get_type (), NULL);
  self->top = VHOST_BACKEND (self->device);
}

/* Puts a filter before all that is there. (transfer none) */
static inline gpointer
scene_wrap (Scene *self, GType type)
{
  VhostBackend *filter = g_object_new (type, "next", self->top, NULL);

  g_object_unref (self->top);
  self->top = filter;
  return filter;
}

static inline void
scene_start (Scene *self)
{
  VhostQueueSetup setup = hand_setup (&self->hand);
  GError *error = NULL;

  setup.features |= self->features;
  self->queue = vhost_queue_new (0, SCENE_SIZE, vhost_backend_get_chain_data_size (self->top),
                                 &scene_hooks, self);
  vhost_queue_set_enabled (self->queue, TRUE);
  self->kick_fd = dup (setup.kick_fd);
  vhost_worker_start_queue (self->worker, self->queue, &setup, self->hand.memory, &error);
  g_assert_no_error (error);
  vhost_backend_queue_started (self->top, self->queue);
}

#define SCENE_ITERATE_UNTIL(condition)                                                             \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + SCENE_DEADLINE;                                   \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_main_context_iteration (NULL, FALSE);                                                    \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END

/* Whatever can be done without time passing is done. */
static inline void
scene_settle (Scene *self)
{
  for (guint idle = 0; idle < 5; idle++)
    if (g_main_context_iteration (NULL, FALSE))
      idle = 0;
}

static inline void
scene_offer (Scene *self, guint n)
{
  for (guint i = 0; i < n; i++)
    hand_offer (&self->hand, self->hand.avail_idx % SCENE_SIZE);
  g_assert_cmpint (eventfd_write (self->kick_fd, 1), ==, 0);
  scene_settle (self);
}

static inline void
scene_complete_kept (Scene *self)
{
  for (guint i = 0; i < self->device->kept->len; i++)
    vhost_chain_complete (g_ptr_array_index (self->device->kept, i), 1);
  g_ptr_array_set_size (self->device->kept, 0);
  scene_settle (self);
}

/* The head of the @i-th answer; @length (nullable): its used length. */
static inline guint
scene_get_answer (Scene *self, guint i, guint32 *length)
{
  guint32 id, used;

  g_assert_cmpuint (i, <, hand_used_index (&self->hand));
  hand_used (&self->hand, i, &id, &used);
  if (length != NULL)
    *length = used;
  return id;
}

/* The answers from @first on are those to the @n heads from @first_head on, in some order. TRUE: in
 * the order of the heads. */
static inline gboolean
scene_check_answers (Scene *self, guint first, guint first_head, guint n)
{
  guint64 seen = 0;
  gboolean ordered = TRUE;

  g_assert_cmpuint (n, <=, SCENE_SIZE);
  for (guint i = 0; i < n; i++)
    {
      guint head = scene_get_answer (self, first + i, NULL);

      g_assert_cmpuint ((head - first_head) % SCENE_SIZE, <, n);
      g_assert_cmpuint (seen & (G_GUINT64_CONSTANT (1) << head), ==, 0);
      seen |= G_GUINT64_CONSTANT (1) << head;
      ordered &= head == (first_head + i) % SCENE_SIZE;
    }
  return ordered;
}

/* What a session does; the stop ends when the last request does. */
static inline void
scene_begin_stop (Scene *self)
{
  vhost_worker_stop_queue (self->worker, self->queue, FALSE, &self->stop_task);
}

static inline void
scene_end_stop (Scene *self)
{
  SCENE_ITERATE_UNTIL (self->stopped > 0);
  vhost_backend_queue_stopped (self->top, self->queue);
  g_assert_null (self->queue->filter);
}

static inline void
scene_clear (Scene *self)
{
  if (self->queue != NULL)
    {
      if (self->stopped == 0)
        {
          scene_begin_stop (self);
          scene_end_stop (self);
        }
      g_assert_cmpuint (vhost_queue_get_in_flight (self->queue), ==, 0);
      g_assert_finalize_object (self->queue);
      close (self->kick_fd);
    }
  g_assert_finalize_object (self->top);
  vhost_worker_stop (self->worker);
  g_assert_finalize_object (self->worker);
  hand_ring_clear (&self->hand);
}
