/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A driver that asks for all it can get, and the sizes at their limits: nobody else on the same
 * thread may starve. Public API only. */
#include "hostile-device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A device whose ring 0 never gets empty: each request brings the next one, by the driver's code,
 * which runs on the device's own thread. No real driver is that quick. */
#define REFILL_TYPE_BACKEND (refill_backend_get_type ())
G_DECLARE_FINAL_TYPE (RefillBackend, refill_backend, REFILL, BACKEND, VhostBackend)

struct _RefillBackend
{
  VhostBackend parent_instance;

  pthread_mutex_t lock;       /* for all below */
  VhostFrontendQueue *driver; /* (unowned) (nullable): of ring 0, while it is flooded */
  guint served;
};

G_DEFINE_FINAL_TYPE (RefillBackend, refill_backend, VHOST_TYPE_BACKEND)

static void
refill_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  RefillBackend *self = REFILL_BACKEND (backend);
  VhostFrontendBuffer buffer = { 0x100000, 1, TRUE };

  if (vhost_queue_get_index (queue) != 0)
    {
      guint8 bytes[64];
      gsize n = vhost_chain_pull (chain, bytes, sizeof bytes);

      vhost_chain_complete (chain, vhost_chain_write (chain, bytes, n));
      return;
    }
  vhost_chain_complete (chain, 0);
  vhost_queue_flush (queue);
  pthread_mutex_lock (&self->lock);
  if (self->driver != NULL)
    {
      self->served++;
      while (vhost_frontend_queue_poll (self->driver, NULL, NULL))
        ;
      while (vhost_frontend_queue_add (self->driver, &buffer, 1, FALSE, self))
        ;
      vhost_frontend_queue_publish (self->driver);
    }
  pthread_mutex_unlock (&self->lock);
}

static void
refill_finalize (GObject *object)
{
  pthread_mutex_destroy (&REFILL_BACKEND (object)->lock);
  G_OBJECT_CLASS (refill_backend_parent_class)->finalize (object);
}

static void
refill_backend_class_init (RefillBackendClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = refill_finalize;
  backend_class->process_chain = refill_process_chain;
  vhost_backend_class_set_device (backend_class, "refill", 42, 2);
}

static void
refill_backend_init (RefillBackend *self)
{
  pthread_mutex_init (&self->lock, NULL);
}

static guint
get_served (RefillBackend *self)
{
  guint served;

  pthread_mutex_lock (&self->lock);
  served = self->served;
  pthread_mutex_unlock (&self->lock);
  return served;
}

typedef struct
{
  LiveDevice *device;
  RefillBackend *backend;  /* the device's */
  VhostFrontend *frontend; /* (owned) */
} Fixture;

/* From here on ring 0 is never empty. */
static void
begin (Fixture *f, guint workers)
{
  VhostFrontendBuffer buffer = { 0x100000, 1, TRUE };
  VhostFrontendQueue *queue;

  f->backend = g_object_new (REFILL_TYPE_BACKEND, "num-queues", 2, "workers", workers, NULL);
  f->device = live_device_new (f->backend, NULL, NULL);
  f->frontend = live_device_connect_queues (f->device, 2, 256);
  queue = vhost_frontend_get_queue (f->frontend, 0);
  pthread_mutex_lock (&f->backend->lock);
  f->backend->driver = queue;
  vhost_frontend_queue_set_calls_enabled (queue, FALSE);
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, f));
  vhost_frontend_queue_force_kick (queue);
  pthread_mutex_unlock (&f->backend->lock);
  LIVE_WAIT_FOR (get_served (f->backend) > 1000);
}

static void
end (Fixture *f)
{
  guint before = get_served (f->backend);

  /* It has gone on all the time. */
  LIVE_WAIT_FOR (get_served (f->backend) > before);
  pthread_mutex_lock (&f->backend->lock);
  f->backend->driver = NULL;
  pthread_mutex_unlock (&f->backend->lock);
  g_clear_object (&f->frontend);
  live_device_free (f->device);
}

static void
assert_queue_served (guint workers)
{
  Fixture f;

  begin (&f, workers);
  for (guint i = 0; i < 50; i++)
    live_device_assert_echo (f.frontend, 1, "the other queue");
  end (&f);
}

static void
test_queue (void)
{
  assert_queue_served (1);
}

static void
test_queue_inline (void)
{
  assert_queue_served (0);
}

static void
assert_socket_served (guint workers)
{
  Fixture f;
  guint status;
  GError *error = NULL;

  begin (&f, workers);
  for (guint i = 0; i < 50; i++)
    {
      vhost_frontend_get_status (f.frontend, &status, &error);
      g_assert_no_error (error);
    }
  end (&f);
}

static void
test_socket (void)
{
  assert_socket_served (1);
}

static void
test_socket_inline (void)
{
  assert_socket_served (0);
}

/* Messages that go to the worker and back. */
static void
assert_commands_served (guint workers)
{
  Fixture f;
  int fd;

  begin (&f, workers);
  fd = vhost_frontend_queue_get_err_fd (vhost_frontend_get_queue (f.frontend, 1));
  for (guint i = 0; i < 50; i++)
    {
      g_assert_cmpuint (raw_ring_fd (f.frontend, MSG_SET_VRING_ERR, 1, fd), ==, 0);
      g_assert_cmpuint (raw_state (f.frontend, MSG_SET_VRING_ENABLE, 1, i % 2), ==, 0);
    }
  end (&f);
}

static void
test_commands (void)
{
  assert_commands_served (1);
}

static void
test_commands_inline (void)
{
  assert_commands_served (0);
}

/* The flooded ring itself, and its neighbour. */
static void
assert_flooded_ring_stops (guint workers)
{
  Fixture f;
  GError *error = NULL;

  begin (&f, workers);
  for (guint i = 0; i < 20; i++)
    {
      vhost_frontend_stop_queue (f.frontend, 1, NULL, &error);
      g_assert_no_error (error);
      vhost_frontend_restart_queue (f.frontend, 1, &error);
      g_assert_no_error (error);
    }
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  pthread_mutex_lock (&f.backend->lock);
  f.backend->driver = NULL;
  pthread_mutex_unlock (&f.backend->lock);
  g_clear_object (&f.frontend);
  live_device_free (f.device);
}

static void
test_stop (void)
{
  assert_flooded_ring_stops (1);
}

static void
test_stop_inline (void)
{
  assert_flooded_ring_stops (0);
}

/* Thread: the queue's context. */
static gboolean
on_timer (gpointer data)
{
  _Atomic (guint) *ticks = data;

  atomic_fetch_add_explicit (ticks, 1, memory_order_relaxed);
  return G_SOURCE_CONTINUE;
}

typedef struct
{
  _Atomic (guint) ticks;
  GSource *source;
} Timer;

/* Thread: the daemon's. */
static void
add_timer (LiveDevice *device, gpointer data)
{
  Timer *timer = data;
  g_autoptr (VhostSession) session
      = g_list_model_get_item (vhost_daemon_get_sessions (device->daemon), 0);

  timer->source = g_timeout_source_new (5);
  g_source_set_callback (timer->source, on_timer, &timer->ticks, NULL);
  g_source_attach (timer->source, vhost_backend_get_context (device->backend,
                                                             vhost_session_get_queue (session, 0)));
}

static void
assert_timer_served (guint workers)
{
  Fixture f;
  Timer timer = { 0 };

  begin (&f, workers);
  live_device_call (f.device, add_timer, &timer);
  LIVE_WAIT_FOR (atomic_load_explicit (&timer.ticks, memory_order_relaxed) >= 20);
  g_source_destroy (timer.source);
  g_source_unref (timer.source);
  end (&f);
}

static void
test_timer (void)
{
  assert_timer_served (1);
}

static void
test_timer_inline (void)
{
  assert_timer_served (0);
}

typedef struct
{
  VhostFrontendQueue *queue;
  guint64 buffer;
  _Atomic (gboolean) end;
} Flood;

/* Thread: the flood's. Keeps the queue full, and kicks all the time. */
static gpointer
flood_thread (gpointer data)
{
  Flood *self = data;
  VhostFrontendBuffer buffer = { self->buffer, 64, TRUE };

  vhost_frontend_queue_set_calls_enabled (self->queue, FALSE);
  /* Relaxed: only a flag. */
  while (!atomic_load_explicit (&self->end, memory_order_relaxed))
    {
      while (vhost_frontend_queue_poll (self->queue, NULL, NULL))
        ;
      while (vhost_frontend_queue_add (self->queue, &buffer, 1, FALSE, self))
        ;
      vhost_frontend_queue_force_kick (self->queue);
    }
  return NULL;
}

/* Two front-ends: each has a worker of its own, and they share the daemon's context. */
static void
test_session (void)
{
  Hostile h;
  Flood flood;
  GThread *thread;

  hostile_begin (&h);
  flood.queue = vhost_frontend_get_queue (h.attacker, 0);
  flood.buffer = vhost_frontend_allocate (h.attacker, 64, 8);
  atomic_init (&flood.end, FALSE);
  thread = g_thread_new ("flood", flood_thread, &flood);
  for (guint i = 0; i < 50; i++)
    hostile_assert_witness (&h);
  atomic_store_explicit (&flood.end, TRUE, memory_order_relaxed);
  g_thread_join (thread);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (flood.queue), ==, 0);
  hostile_end (&h);
}

typedef struct
{
  VhostFrontend *frontend;
  _Atomic (gboolean) end;
} Talk;

/* Thread: the talker's. */
static gpointer
talk_thread (gpointer data)
{
  Talk *self = data;

  while (!atomic_load_explicit (&self->end, memory_order_relaxed))
    {
      GError *error = NULL;

      /* Many at once, so that there is always one more to read. */
      for (guint i = 0; i < 100; i++)
        {
          vhost_frontend_send (self->frontend, MSG_GET_FEATURES, 0, NULL, 0, NULL, 0, &error);
          g_assert_no_error (error);
        }
      for (guint i = 0; i < 100; i++)
        {
          vhost_frontend_receive (self->frontend, NULL, NULL, NULL, NULL, NULL, NULL, &error);
          g_assert_no_error (error);
        }
    }
  return NULL;
}

static void
test_talker (void)
{
  Hostile h;
  Talk talk;
  GThread *thread;

  hostile_begin (&h);
  talk.frontend = h.attacker;
  atomic_init (&talk.end, FALSE);
  thread = g_thread_new ("talk", talk_thread, &talk);
  for (guint i = 0; i < 50; i++)
    {
      hostile_assert_witness (&h);
      g_assert_cmpuint (raw_count_sessions (h.device), ==, 2);
    }
  atomic_store_explicit (&talk.end, TRUE, memory_order_relaxed);
  g_thread_join (thread);
  hostile_end (&h);
}

/* ---- Limits ---- */

static void
assert_many_queues (guint workers)
{
  const guint n = 256;
  struct rlimit limit;
  LiveDevice *device;
  VhostFrontend *frontend;
  guint n_fds;
  GError *error = NULL;

  /* Three descriptors for each ring, on both sides. */
  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &limit), ==, 0);
  if (limit.rlim_cur < 4096)
    {
      limit.rlim_cur = MIN (4096, limit.rlim_max);
      if (setrlimit (RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 4096)
        {
          g_test_skip ("4096 open files are needed");
          return;
        }
    }
  device = live_device_new (echo_backend_new (n, workers), NULL, NULL);
  n_fds = raw_count_idle_fds (device);
  frontend = live_device_connect_queues (device, n, 16);
  g_assert_cmpuint (vhost_frontend_get_max_queues (frontend), ==, n);
  for (guint i = 0; i < n; i++)
    live_device_assert_echo (frontend, i, "each one");

  /* All at once. */
  for (guint i = 0; i < n; i++)
    {
      VhostFrontendBuffer buffer = { vhost_frontend_allocate (frontend, 64, 8), 64, TRUE };
      VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, i);

      for (guint k = 0; k < 16; k++)
        g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, queue));
    }
  for (guint i = 0; i < n; i++)
    vhost_frontend_queue_kick (vhost_frontend_get_queue (frontend, i));
  for (guint i = 0; i < n; i++)
    for (guint k = 0; k < 16; k++)
      LIVE_WAIT_FOR (
          vhost_frontend_queue_poll (vhost_frontend_get_queue (frontend, i), NULL, NULL));

  for (guint i = 0; i < n; i += 2)
    {
      vhost_frontend_stop_queue (frontend, i, NULL, &error);
      g_assert_no_error (error);
    }
  live_device_assert_echo (frontend, 255, "the last one");
  g_object_unref (frontend);
  LIVE_WAIT_FOR (raw_count_sessions (device) == 0);
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  live_device_free (device);
}

static void
test_256_queues (void)
{
  assert_many_queues (2);
}

static void
test_256_queues_inline (void)
{
  assert_many_queues (0);
}

/* A full ring of the largest size, each answered once. */
static void
test_32768_entries (void)
{
  const guint size = 32768;
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device;
  g_autoptr (VhostFrontend) frontend = NULL;
  g_autofree guint8 *seen = g_malloc0 (size);
  VhostFrontendQueue *queue;
  guint64 in, out;
  guint n = 0;

  g_object_set (backend, "queue-size", size, NULL);
  device = live_device_new (backend, NULL, NULL);
  frontend = live_device_connect_queues (device, 1, size);
  queue = vhost_frontend_get_queue (frontend, 0);
  in = vhost_frontend_allocate (frontend, 8, 8);
  out = vhost_frontend_allocate (frontend, 8, 8);
  for (guint round = 0; round < 3; round++)
    {
      VhostFrontendBuffer buffers[2] = { { in, 8, FALSE }, { out, 8, TRUE } };

      memset (seen, 0, size);
      for (n = 0; vhost_frontend_queue_add (queue, buffers, 2, FALSE, &seen[n]); n++)
        ;
      g_assert_cmpuint (n, ==, size / 2);
      vhost_frontend_queue_kick (queue);
      for (guint i = 0; i < n; i++)
        {
          gpointer token = NULL;
          guint32 length = 0;

          LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, &token, &length));
          g_assert_cmpuint (length, ==, 8);
          g_assert_cmpuint ((*(guint8 *) token)++, ==, 0);
        }
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (queue), ==, 0);
  live_device_assert_echo (frontend, 0, "and one more");
  g_clear_object (&frontend);
  live_device_free (device);
}

/* The same, held back and given back the other way round. */
static void
test_32768_held (void)
{
  const guint size = 32768;
  EchoBackend *backend = echo_backend_new (1, 1);
  LiveDevice *device;
  g_autoptr (VhostFrontend) frontend = NULL;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffer;
  guint n = 0;

  g_object_set (backend, "queue-size", size, NULL);
  device = live_device_new (backend, NULL, NULL);
  frontend = live_device_connect_queues (device, 1, size);
  queue = vhost_frontend_get_queue (frontend, 0);
  buffer = (VhostFrontendBuffer){ vhost_frontend_allocate (frontend, 8, 8), 8, TRUE };
  echo_backend_hold (backend, TRUE);
  while (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, device))
    n++;
  g_assert_cmpuint (n, ==, size);
  vhost_frontend_queue_kick (queue);
  LIVE_WAIT_FOR (echo_backend_get_n_held (backend) == n);
  echo_backend_hold (backend, FALSE);
  echo_backend_release (backend, TRUE);
  for (guint i = 0; i < n; i++)
    LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, NULL, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (queue), ==, 0);
  g_clear_object (&frontend);
  live_device_free (device);
}

#define TEST(name, function) g_test_add_func ("/protocol/flood-" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("a-flooded-queue-leaves-another-one-its-turn", test_queue);
  TEST ("a-flooded-queue-leaves-another-one-its-turn-without-workers", test_queue_inline);
  TEST ("a-flooded-queue-leaves-the-socket-its-turn", test_socket);
  TEST ("a-flooded-queue-leaves-the-socket-its-turn-without-workers", test_socket_inline);
  TEST ("a-flooded-queue-leaves-commands-their-turn", test_commands);
  TEST ("a-flooded-queue-leaves-commands-their-turn-without-workers", test_commands_inline);
  TEST ("a-flooded-queue-leaves-a-timer-its-turn", test_timer);
  TEST ("a-flooded-queue-leaves-a-timer-its-turn-without-workers", test_timer_inline);
  TEST ("rings-stop-under-a-flood", test_stop);
  TEST ("rings-stop-under-a-flood-without-workers", test_stop_inline);
  TEST ("a-flooded-queue-leaves-another-session-its-turn", test_session);
  TEST ("a-talkative-front-end-leaves-another-one-its-turn", test_talker);
  TEST ("256-queues-work-at-once", test_256_queues);
  TEST ("256-queues-work-at-once-without-workers", test_256_queues_inline);
  TEST ("32768-entries-are-each-answered-once", test_32768_entries);
  TEST ("32768-held-requests-are-given-back-in-any-order", test_32768_held);
  return g_test_run ();
}
