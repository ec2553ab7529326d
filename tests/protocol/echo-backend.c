/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. Everything that two threads touch stands behind one mutex. */
#include "echo-backend.h"

#include <pthread.h>
#include <string.h>

struct _EchoBackend
{
  VhostBackend parent_instance;

  pthread_mutex_t lock;
  gboolean hold;
  GPtrArray *held; /* of VhostChain (unowned): the queue's */
  guint busy;
  EchoCalls calls;
};

G_DEFINE_FINAL_TYPE (EchoBackend, echo_backend, VHOST_TYPE_BACKEND)

#define COUNT(self, what)                                                                          \
  G_STMT_START                                                                                     \
  {                                                                                                \
    pthread_mutex_lock (&(self)->lock);                                                            \
    (self)->calls.what++;                                                                          \
    pthread_mutex_unlock (&(self)->lock);                                                          \
  }                                                                                                \
  G_STMT_END

static guint64
echo_get_features (VhostBackend *backend)
{
  return G_GUINT64_CONSTANT (1) << ECHO_FEATURE;
}

static void
echo_features_acked (VhostBackend *backend, guint64 features)
{
  EchoBackend *self = ECHO_BACKEND (backend);

  pthread_mutex_lock (&self->lock);
  self->calls.acked = features;
  pthread_mutex_unlock (&self->lock);
}

static gboolean
echo_start (VhostBackend *backend, GError **error)
{
  guint8 data[ECHO_CONFIG_SIZE], mask[ECHO_CONFIG_SIZE] = { 0 };

  for (guint i = 0; i < ECHO_CONFIG_SIZE; i++)
    data[i] = i;
  memset (mask, 0xff, ECHO_CONFIG_WRITABLE);
  vhost_backend_set_config_space (backend, data, sizeof data, mask);
  COUNT (ECHO_BACKEND (backend), starts);
  return TRUE;
}

static void
echo_stop (VhostBackend *backend)
{
  COUNT (ECHO_BACKEND (backend), stops);
}

static gboolean
echo_activate (VhostBackend *backend, GError **error)
{
  EchoBackend *self = ECHO_BACKEND (backend);
  gboolean busy;

  pthread_mutex_lock (&self->lock);
  self->calls.activates++;
  busy = self->busy > 0;
  if (busy)
    self->busy--;
  pthread_mutex_unlock (&self->lock);
  if (busy)
    g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BUSY, "someone else has the echo");
  return !busy;
}

static void
echo_suspend (VhostBackend *backend)
{
  COUNT (ECHO_BACKEND (backend), suspends);
}

static void
echo_reset (VhostBackend *backend)
{
  COUNT (ECHO_BACKEND (backend), resets);
}

static void
echo_queue_started (VhostBackend *backend, VhostQueue *queue)
{
  COUNT (ECHO_BACKEND (backend), queue_starts);
}

static void
echo_queue_stopped (VhostBackend *backend, VhostQueue *queue)
{
  COUNT (ECHO_BACKEND (backend), queue_stops);
}

static void
echo_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  COUNT (ECHO_BACKEND (backend), memory_changes);
}

static void
answer (VhostChain *chain)
{
  guint8 bytes[4096];
  gsize n, written = 0;

  while ((n = vhost_chain_pull (chain, bytes, sizeof bytes)) > 0)
    written += vhost_chain_write (chain, bytes, n);
  vhost_chain_complete (chain, written);
}

static void
echo_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  EchoBackend *self = ECHO_BACKEND (backend);
  gboolean hold;

  pthread_mutex_lock (&self->lock);
  self->calls.requests++;
  hold = self->hold;
  if (hold)
    g_ptr_array_add (self->held, chain);
  pthread_mutex_unlock (&self->lock);
  if (!hold)
    answer (chain);
}

static void
echo_finalize (GObject *object)
{
  EchoBackend *self = ECHO_BACKEND (object);

  g_ptr_array_unref (self->held);
  pthread_mutex_destroy (&self->lock);
  G_OBJECT_CLASS (echo_backend_parent_class)->finalize (object);
}

static void
echo_backend_class_init (EchoBackendClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = echo_finalize;
  backend_class->get_features = echo_get_features;
  backend_class->features_acked = echo_features_acked;
  backend_class->start = echo_start;
  backend_class->stop = echo_stop;
  backend_class->activate = echo_activate;
  backend_class->suspend = echo_suspend;
  backend_class->reset = echo_reset;
  backend_class->queue_started = echo_queue_started;
  backend_class->queue_stopped = echo_queue_stopped;
  backend_class->memory_changed = echo_memory_changed;
  backend_class->process_chain = echo_process_chain;
  vhost_backend_class_set_device (backend_class, "echo", 42, 256);
}

static void
echo_backend_init (EchoBackend *self)
{
  pthread_mutex_init (&self->lock, NULL);
  self->held = g_ptr_array_new ();
}

EchoBackend *
echo_backend_new (guint num_queues, guint workers)
{
  return g_object_new (ECHO_TYPE_BACKEND, "num-queues", num_queues, "workers", workers, NULL);
}

void
echo_backend_hold (EchoBackend *self, gboolean hold)
{
  pthread_mutex_lock (&self->lock);
  self->hold = hold;
  pthread_mutex_unlock (&self->lock);
}

guint
echo_backend_get_n_held (EchoBackend *self)
{
  guint n;

  pthread_mutex_lock (&self->lock);
  n = self->held->len;
  pthread_mutex_unlock (&self->lock);
  return n;
}

void
echo_backend_release (EchoBackend *self, gboolean newest_first)
{
  GPtrArray *held;

  pthread_mutex_lock (&self->lock);
  held = self->held;
  self->held = g_ptr_array_new ();
  pthread_mutex_unlock (&self->lock);
  for (guint i = 0; i < held->len; i++)
    answer (held->pdata[newest_first ? held->len - 1 - i : i]);
  g_ptr_array_unref (held);
}

EchoCalls
echo_backend_get_calls (EchoBackend *self)
{
  EchoCalls calls;

  pthread_mutex_lock (&self->lock);
  calls = self->calls;
  pthread_mutex_unlock (&self->lock);
  return calls;
}

void
echo_backend_be_busy (EchoBackend *self, guint times)
{
  pthread_mutex_lock (&self->lock);
  self->busy = times;
  pthread_mutex_unlock (&self->lock);
}
