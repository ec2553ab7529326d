/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "raw-wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

guint64
raw_request (VhostFrontend *frontend, guint request, gconstpointer payload, gsize size,
             const int *fds, guint n_fds)
{
  guint64 answer = 0;
  GError *error = NULL;

  vhost_frontend_request (frontend, request, payload, size, fds, n_fds, &answer, &error);
  g_assert_no_error (error);
  return answer;
}

guint64
raw_u64 (VhostFrontend *frontend, guint request, guint64 value)
{
  return raw_request (frontend, request, &value, sizeof value, NULL, 0);
}

guint64
raw_state (VhostFrontend *frontend, guint request, guint32 index, guint32 num)
{
  RawState state = { index, num };

  return raw_request (frontend, request, &state, sizeof state, NULL, 0);
}

guint64
raw_ring_fd (VhostFrontend *frontend, guint request, guint64 value, int fd)
{
  return raw_request (frontend, request, &value, sizeof value, &fd, fd >= 0);
}

guint64
raw_set_table (VhostFrontend *frontend, const RawRegion *regions, const int *fds, guint n)
{
  RawTable table = { .n = n };

  memcpy (table.regions, regions, n * sizeof *regions);
  return raw_request (frontend, MSG_SET_MEM_TABLE, &table, 8 + n * sizeof *regions, fds, n);
}

guint64
raw_slot (VhostFrontend *frontend, guint request, RawRegion region, int fd)
{
  RawSlot slot = { .region = region };

  return raw_request (frontend, request, &slot, sizeof slot, &fd, fd >= 0);
}

GByteArray *
raw_bytes (guint request, guint flags, gconstpointer payload, guint size)
{
  RawHeader header = { request, flags, size };
  GByteArray *bytes = g_byte_array_new ();

  g_byte_array_append (bytes, (const guint8 *) &header, sizeof header);
  if (payload != NULL)
    g_byte_array_append (bytes, payload, size);
  return bytes;
}

void
raw_assert_in_step (VhostFrontend *frontend)
{
  guint request, flags;
  guint64 features = 0;
  gsize size = sizeof features;
  GError *error = NULL;

  vhost_frontend_send (frontend, MSG_GET_FEATURES, RAW_VERSION, NULL, 0, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (frontend, &request, &flags, &features, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_FEATURES);
  g_assert_cmphex (flags, ==, RAW_VERSION | RAW_REPLY);
  g_assert_cmpuint (size, ==, 8);
  g_assert_cmphex (features & RAW_BIT (ECHO_FEATURE), !=, 0);
}

void
raw_assert_closed (VhostFrontend *frontend)
{
  LIVE_WAIT_FOR (!vhost_frontend_is_connected (frontend));
}

int
raw_memfd (gsize size, guint flags)
{
  int fd = memfd_create ("test", MFD_CLOEXEC | flags);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) size), ==, 0);
  return fd;
}

/* Thread: the daemon's. */
static VhostBackend *
create_backend (VhostDaemon *daemon, gpointer data)
{
  return VHOST_BACKEND (echo_backend_new (1, 1));
}

void
raw_allow_two_sessions (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "max-sessions", 2, NULL);
  g_signal_connect (device->daemon, "create-backend", G_CALLBACK (create_backend), NULL);
}

/* Thread: the daemon's. */
static void
count_sessions (LiveDevice *device, gpointer data)
{
  guint *n = data;

  *n = g_list_model_get_n_items (vhost_daemon_get_sessions (device->daemon));
}

guint
raw_count_sessions (LiveDevice *device)
{
  guint n = 0;

  live_device_call (device, count_sessions, &n);
  return n;
}

guint
raw_count_idle_fds (LiveDevice *device)
{
  guint max_sessions;

  /* Back-ends and their workers are made when they are first needed, and stay. */
  g_object_get (device->daemon, "max-sessions", &max_sessions, NULL);
  {
    g_autoptr (VhostFrontend) first = live_device_connect_queues (device, 1, 16);
    g_autoptr (VhostFrontend) second
        = max_sessions > 1 ? live_device_connect_queues (device, 1, 16) : NULL;

    live_device_assert_echo (first, 0, "first");
    if (second != NULL)
      live_device_assert_echo (second, 0, "second");
  }
  LIVE_WAIT_FOR (raw_count_sessions (device) == 0);
  return raw_count_settled_fds ();
}

guint
raw_count_settled_fds (void)
{
  guint lowest = live_count_fds ();

  /* A session that has ended may still close one or the other, on its worker; others are never
   * opened meanwhile. */
  for (guint n_same = 0; n_same < 100; n_same++)
    {
      guint now = live_count_fds ();

      if (now < lowest)
        {
          lowest = now;
          n_same = 0;
        }
      g_usleep (200);
    }
  return lowest;
}

gint64
raw_cpu_time (void)
{
  struct timespec now;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static gboolean log_expected; /* under log_lock, and all of it */
static GString *log_text;

/* Instead of GLib's own handler, which ends the program at each warning, expected or not. Called on
 * any thread. */
static void
on_log (const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
  gboolean fatal = (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0;

  pthread_mutex_lock (&log_lock);
  if ((level & G_LOG_LEVEL_WARNING) != 0 && !log_expected)
    fatal = TRUE;
  g_string_append_printf (log_text, "%s\n", message);
  pthread_mutex_unlock (&log_lock);
  if (!fatal)
    return;
  g_log_default_handler (domain, level, message, data);
  abort ();
}

void
raw_log_init (void)
{
  log_text = g_string_new (NULL);
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_log_set_default_handler (on_log, NULL);
}

void
raw_log_expect (gboolean expected)
{
  pthread_mutex_lock (&log_lock);
  log_expected = expected;
  g_string_set_size (log_text, 0);
  pthread_mutex_unlock (&log_lock);
}

gboolean
raw_log_has (const char *part)
{
  gboolean found;

  pthread_mutex_lock (&log_lock);
  found = strstr (log_text->str, part) != NULL;
  pthread_mutex_unlock (&log_lock);
  return found;
}
