/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. The daemon's thread runs its context until it is told to end; commands come
 * through a pipe, with a semaphore for the way back: the thread sanitizer understands both, and not
 * what GLib does inside. */
#include "live-device.h"

#include <fcntl.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

typedef struct
{
  LiveDevice *device;
  LiveSetup setup;
  gpointer data;
  GError *error;
  sem_t done;
} Start;

typedef struct
{
  LiveDevice *device;
  void (*func) (LiveDevice *device, gpointer data);
  gpointer data;
  sem_t done;
} Call;

/* Thread: the daemon's. */
static gboolean
run_call (int fd, GIOCondition condition, gpointer data)
{
  Call *call;

  if (read (fd, &call, sizeof call) == sizeof call)
    {
      call->func (call->device, call->data);
      sem_post (&call->done);
    }
  return G_SOURCE_CONTINUE;
}

static gpointer
daemon_thread (gpointer data)
{
  Start *start = data;
  LiveDevice *self = start->device;
  GSource *calls;
  GMainLoop *loop;

  g_main_context_push_thread_default (self->context);
  calls = g_unix_fd_source_new (self->calls[0], G_IO_IN);
  g_source_set_callback (calls, G_SOURCE_FUNC (run_call), NULL, NULL);
  g_source_attach (calls, self->context);
  self->daemon = vhost_daemon_new ("test", self->backend);
  g_object_set (self->daemon, "socket-path", self->socket_path, NULL);
  if (start->setup != NULL)
    start->setup (self, start->data);
  if (!vhost_daemon_start (self->daemon, &start->error))
    g_clear_object (&self->daemon);
  loop = g_main_loop_new (self->context, FALSE);
  self->start_state = loop;
  sem_post (&start->done);
  if (self->daemon != NULL)
    g_main_loop_run (loop);
  g_main_loop_unref (loop);
  /* What was stopped lets go of the daemon in its last dispatches. */
  while (g_main_context_iteration (self->context, FALSE))
    ;
  g_source_destroy (calls);
  g_source_unref (calls);
  g_main_context_pop_thread_default (self->context);
  if (self->daemon != NULL)
    g_assert_finalize_object (g_steal_pointer (&self->daemon));
  return NULL;
}

LiveDevice *
live_device_new (gpointer backend, LiveSetup setup, gpointer data)
{
  LiveDevice *self = g_new0 (LiveDevice, 1);
  Start start = { .device = self, .setup = setup, .data = data };

  self->backend = backend;
  self->directory = g_dir_make_tmp ("vhost-test-XXXXXX", NULL);
  g_assert_nonnull (self->directory);
  self->socket_path = g_build_filename (self->directory, "socket", NULL);
  self->context = g_main_context_new ();
  g_assert_cmpint (pipe2 (self->calls, O_CLOEXEC), ==, 0);
  sem_init (&start.done, 0, 0);
  self->thread = g_thread_new ("daemon", daemon_thread, &start);
  while (sem_wait (&start.done) != 0)
    ;
  sem_destroy (&start.done);
  g_assert_no_error (start.error);
  return self;
}

void
live_device_call (LiveDevice *self, void (*func) (LiveDevice *device, gpointer data), gpointer data)
{
  Call call = { .device = self, .func = func, .data = data };
  Call *message = &call;

  sem_init (&call.done, 0, 0);
  g_assert_cmpint (write (self->calls[1], &message, sizeof message), ==, sizeof message);
  while (sem_wait (&call.done) != 0)
    ;
  sem_destroy (&call.done);
}

static void
on_stopped (GObject *source, GAsyncResult *result, gpointer data)
{
  LiveDevice *self = data;
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_daemon_stop_finish (VHOST_DAEMON (source), result, &error));
  g_assert_no_error (error);
  g_main_loop_quit (self->start_state);
}

static void
stop (LiveDevice *self, gpointer data)
{
  vhost_daemon_stop_async (self->daemon, NULL, on_stopped, self);
}

void
live_device_free (LiveDevice *self)
{
  live_device_call (self, stop, NULL);
  g_thread_join (self->thread);
  g_assert_false (g_file_test (self->socket_path, G_FILE_TEST_EXISTS));
  g_assert_finalize_object (self->backend);
  g_main_context_unref (self->context);
  close (self->calls[0]);
  close (self->calls[1]);
  g_rmdir (self->directory);
  g_free (self->directory);
  g_free (self->socket_path);
  g_free (self);
}

VhostFrontend *
live_device_connect (LiveDevice *self)
{
  VhostFrontend *frontend = vhost_frontend_new ();
  GError *error = NULL;

  vhost_frontend_connect (frontend, self->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (frontend, LIVE_ALL_FEATURES, LIVE_ALL_FEATURES, &error);
  g_assert_no_error (error);
  return frontend;
}

VhostFrontend *
live_device_connect_queues (LiveDevice *self, guint n, guint size)
{
  VhostFrontend *frontend = live_device_connect (self);
  GError *error = NULL;

  vhost_frontend_add_memory (frontend, 0x100000, 4 << 20, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < n; i++)
    {
      vhost_frontend_add_queue (frontend, i, size, &error);
      g_assert_no_error (error);
    }
  return frontend;
}

void
live_device_assert_echo (VhostFrontend *frontend, guint index, const char *text)
{
  VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, index);
  guint32 length = strlen (text);
  guint64 in = vhost_frontend_allocate (frontend, 64, 8);
  guint64 out = vhost_frontend_allocate (frontend, 64, 8);
  VhostFrontendBuffer buffers[2] = { { in, length, FALSE }, { out, length, TRUE } };
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;
  gpointer token = NULL;
  guint32 written = 0;

  g_assert_cmpuint (in, !=, 0);
  g_assert_cmpuint (out, !=, 0);
  memcpy (vhost_frontend_get_memory (frontend, in, length), text, length);
  g_assert_true (vhost_frontend_queue_add (queue, buffers, 2, FALSE, &token));
  vhost_frontend_queue_kick (queue);
  while (!vhost_frontend_queue_poll (queue, &token, &written))
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      vhost_frontend_queue_wait (queue, 1000);
    }
  g_assert_true (token == &token);
  g_assert_cmpuint (written, ==, length);
  g_assert_cmpmem (vhost_frontend_get_memory (frontend, out, length), length, text, length);
}

void
live_device_assert_alive (LiveDevice *self)
{
  g_autoptr (VhostFrontend) frontend = live_device_connect_queues (self, 1, 16);

  live_device_assert_echo (frontend, 0, "still alive");
}

guint
live_count_fds (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  return n - 1; /* the directory's own */
}
