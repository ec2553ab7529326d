/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device on a private bus, as a program of another connection sees it: every method, property,
 * signal and error name, who may call, and arguments that are nonsense. Public API only.
 *
 * The device lives on a thread of its own with its own context, which is not the default one. */
#include <libvhostd.h>

#include <gio/gunixfdlist.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "echo-backend.h"
#include "live-device.h"

#define PREFIX "io.github.libvhostd1"
#define PREFIX_PATH "/io/github/libvhostd1"
#define DEVICE PREFIX ".Device"
#define ERROR_NAME(code) PREFIX ".Error." code

typedef struct
{
  GTestDBus *bus;
  GDBusConnection *caller; /* the test's own */
  LiveDevice *device;
  EchoBackend *echo;
  VhostService *service; /* lives on the device's thread */
  GDBusConnection *own;  /* the service's */
  char *name;            /* of the bus */
  GError *error;
  gint authorize; /* what the signal answers: -1: nobody does */
  guint n_asked;
  guint asked_uid, asked_pid;
  char *asked_action;
  VhostDaemon *extra; /* (nullable) */
} Fixture;

/* ---- Set-up ---- */

static GDBusConnection *
join (Fixture *f)
{
  GError *error = NULL;
  GDBusConnection *connection = g_dbus_connection_new_for_address_sync (
      g_test_dbus_get_bus_address (f->bus),
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT
          | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
      NULL, NULL, &error);

  g_assert_no_error (error);
  return connection;
}

static gboolean
on_authorize (VhostService *service, VhostDaemon *daemon, guint uid, guint pid, const char *action,
              gpointer data)
{
  Fixture *f = data;

  f->n_asked++;
  f->asked_uid = uid;
  f->asked_pid = pid;
  g_free (f->asked_action);
  f->asked_action = g_strdup (action);
  return f->authorize;
}

static void
start_service (LiveDevice *device, gpointer data)
{
  Fixture *f = data;
  GError *error = NULL;

  f->service = vhost_service_new (f->own);
  g_assert_null (vhost_service_get_bus_name (f->service));
  g_assert_true (vhost_service_add (f->service, device->daemon, &error));
  g_assert_no_error (error);
  f->name = g_strdup (vhost_service_get_bus_name (f->service));
  if (f->authorize >= 0)
    g_signal_connect (f->service, "authorize", G_CALLBACK (on_authorize), f);
}

static void
end_service (LiveDevice *device, gpointer data)
{
  Fixture *f = data;

  g_assert_finalize_object (f->service);
}

static VhostBackend *
make_backend (Fixture *f)
{
  VhostBackend *filter;

  f->echo = echo_backend_new (2, 1);
  filter = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", f->echo, NULL);
  g_object_unref (f->echo);
  return filter;
}

static void
set_up_with (Fixture *f, gint authorize)
{
  memset (f, 0, sizeof *f);
  f->authorize = authorize;
  f->bus = g_test_dbus_new (G_TEST_DBUS_NONE);
  g_test_dbus_up (f->bus);
  f->caller = join (f);
  f->own = join (f);
  f->device = live_device_new (make_backend (f), NULL, NULL);
  live_device_call (f->device, start_service, f);
}

static void
tear_down (Fixture *f)
{
  GError *error = NULL;

  live_device_call (f->device, end_service, f);
  live_device_free (f->device);
  g_dbus_connection_close_sync (f->own, NULL, &error);
  g_assert_no_error (error);
  g_dbus_connection_close_sync (f->caller, NULL, &error);
  g_assert_no_error (error);
  g_object_unref (f->own);
  g_object_unref (f->caller);
  g_test_dbus_down (f->bus);
  g_object_unref (f->bus);
  g_free (f->name);
  g_free (f->asked_action);
}

/* ---- Calls ---- */

static GVariant *
call_on (Fixture *f, const char *interface, const char *method, GVariant *arguments,
         GUnixFDList **fds)
{
  g_clear_error (&f->error);
  return g_dbus_connection_call_with_unix_fd_list_sync (
      f->caller, f->name, PREFIX_PATH "/devices/test", interface, method, arguments, NULL,
      G_DBUS_CALL_FLAGS_NONE, 20000, NULL, fds, NULL, &f->error);
}

static GVariant *
call (Fixture *f, const char *method, GVariant *arguments)
{
  return call_on (f, DEVICE, method, arguments, NULL);
}

static void
call_ok (Fixture *f, const char *method, GVariant *arguments)
{
  GVariant *answer = call (f, method, arguments);

  g_assert_no_error (f->error);
  g_variant_unref (answer);
}

static void
assert_remote (Fixture *f, GVariant *answer, const char *name, const char *part)
{
  g_autofree char *remote = NULL;

  g_assert_null (answer);
  g_assert_nonnull (f->error);
  remote = g_dbus_error_get_remote_error (f->error);
  g_assert_cmpstr (remote, ==, name);
  if (part != NULL)
    g_assert_nonnull (strstr (f->error->message, part));
}

static GVariant *
get (Fixture *f, const char *property)
{
  g_autoptr (GVariant) answer = call_on (f, "org.freedesktop.DBus.Properties", "Get",
                                         g_variant_new ("(ss)", DEVICE, property), NULL);
  GVariant *value;

  g_assert_no_error (f->error);
  g_variant_get (answer, "(v)", &value);
  return value;
}

static void
assert_string (Fixture *f, const char *property, const char *expected)
{
  g_autoptr (GVariant) value = get (f, property);

  g_assert_cmpstr (g_variant_get_string (value, NULL), ==, expected);
}

/* Until the device has told of it. */
static void
wait_string (Fixture *f, const char *property, const char *expected)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  for (;;)
    {
      g_autoptr (GVariant) value = get (f, property);

      if (strcmp (g_variant_get_string (value, NULL), expected) == 0)
        return;
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      g_usleep (500);
    }
}

static GVariant *
get_option (Fixture *f, const char *name)
{
  g_autoptr (GVariant) options = get (f, "Options");

  return g_variant_lookup_value (options, name, NULL);
}

static GVariant *
options_with (const char *name, GVariant *value)
{
  return g_variant_new_parsed ("({%s: %v},)", name, value);
}

/* ---- Properties ---- */

static void
properties_say_what_it_is (Fixture *f)
{
  g_autoptr (GVariant) id = NULL;
  g_autoptr (GVariant) changeable = NULL;
  g_autoptr (GVariant) delay = NULL;
  g_autoptr (GVariant) at = NULL;
  g_autoptr (GVariant) next = NULL;
  g_autoptr (GVariant) error = NULL;

  assert_string (f, "Name", "test");
  assert_string (f, "Type", "echo");
  assert_string (f, "State", "waiting");
  assert_string (f, "SocketPath", f->device->socket_path);
  id = get (f, "VirtioId");
  g_assert_cmpuint (g_variant_get_uint32 (id), ==,
                    vhost_backend_get_virtio_id (f->device->backend));
  changeable = get (f, "ChangeableOptions");
  {
    g_autofree const char **names = g_variant_get_strv (changeable, NULL);

    g_assert_true (g_strv_contains (names, "delay-ms"));
    g_assert_false (g_strv_contains (names, "num-queues"));
    g_assert_false (g_strv_contains (names, "next"));
  }
  delay = get_option (f, "delay-ms");
  g_assert_cmpuint (g_variant_get_uint32 (delay), ==, 0);
  at = get_option (f, "delay-at");
  g_assert_cmpstr (g_variant_get_string (at, NULL), ==, "end");
  next = get_option (f, "next");
  g_assert_null (next);
  error = get (f, "LastError");
  g_autofree char *text = g_variant_print (error, FALSE);
  g_assert_cmpstr (text, ==, "('', '')");
}

static gboolean
has_name (Fixture *f, const char *property, const char *name)
{
  g_autoptr (GVariant) value = get (f, property);
  g_autofree const char **names = g_variant_get_strv (value, NULL);

  return g_strv_contains (names, name);
}

static void
properties_follow_the_front_end (Fixture *f)
{
  VhostFrontend *frontend = live_device_connect_queues (f->device, 2, 64);
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  wait_string (f, "State", "running");
  for (;;)
    {
      g_autoptr (GVariant) queues = get (f, "Queues");
      g_autofree char *text = g_variant_print (queues, FALSE);

      if (strcmp (text, "[(0, 'enabled', 64), (1, 'enabled', 64)]") == 0)
        break;
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      g_usleep (500);
    }
  {
    g_autoptr (GVariant) peers = get (f, "Peers");
    g_autoptr (GVariant) features = get (f, "Features");
    g_autoptr (GVariant) protocol = get (f, "ProtocolFeatures");
    g_autoptr (GVariant) size = get (f, "MemorySize");
    guint pid, uid;
    const char *name;

    g_assert_cmpuint (g_variant_n_children (peers), ==, 1);
    g_variant_get_child (peers, 0, "(uu&s)", &pid, &uid, &name);
    g_assert_cmpuint (pid, ==, (guint) getpid ());
    g_assert_cmpuint (uid, ==, (guint) getuid ());
    g_assert_cmpuint (strlen (name), >, 0);
    g_assert_cmphex (g_variant_get_uint64 (features), ==, vhost_frontend_get_features (frontend));
    g_assert_cmphex (g_variant_get_uint64 (protocol), ==,
                     vhost_frontend_get_protocol_features (frontend));
    g_assert_cmpuint (g_variant_get_uint64 (size), ==, 4 << 20);
  }
  g_assert_true (has_name (f, "FeatureNames", "VERSION_1"));
  g_assert_true (has_name (f, "FeatureNames", "5")); /* the device's own, which has no name */
  g_assert_true (has_name (f, "ProtocolFeatureNames", "REPLY_ACK"));
  g_object_unref (frontend);
  wait_string (f, "State", "waiting");
  {
    g_autoptr (GVariant) peers = get (f, "Peers");
    g_autoptr (GVariant) queues = get (f, "Queues");

    g_assert_cmpuint (g_variant_n_children (peers), ==, 0);
    g_assert_cmpuint (g_variant_n_children (queues), ==, 0);
  }
}

/* ---- Signals ---- */

static void
on_signal (GDBusConnection *connection, const char *sender, const char *path, const char *interface,
           const char *name, GVariant *arguments, gpointer data)
{
  g_autofree char *text = g_variant_print (arguments, FALSE);

  g_string_append_printf (data, "%s %s\n", name, text);
}

static void
wait_seen (GString *seen, const char *what)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  while (strstr (seen->str, what) == NULL)
    {
      if (g_get_monotonic_time () > deadline)
        g_error ("waited in vain for %s; there was:\n%s", what, seen->str);
      g_main_context_iteration (NULL, FALSE);
      g_usleep (200);
    }
}

static void
notify_config (LiveDevice *device, gpointer data)
{
  vhost_backend_notify_config (((Fixture *) data)->device->backend);
}

static void
report_errors (LiveDevice *device, gpointer data)
{
  g_autoptr (GError) error = g_error_new (VHOST_ERROR, VHOST_ERROR_BACKEND, "on purpose");

  for (guint i = 0; i < 100; i++)
    vhost_backend_report_error (((Fixture *) data)->device->backend, error);
}

static void
signals_tell_what_happens (Fixture *f)
{
  GString *seen = g_string_new (NULL);
  guint id = g_dbus_connection_signal_subscribe (f->caller, f->name, NULL, NULL, NULL, NULL,
                                                 G_DBUS_SIGNAL_FLAGS_NONE, on_signal, seen, NULL);
  VhostFrontend *frontend;
  g_autofree char *opened
      = g_strdup_printf ("SessionOpened (%u, %u)", (guint) getpid (), (guint) getuid ());
  guint8 junk[12] = { 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0 };
  GError *error = NULL;
  /* The bus knows of the subscription when it has answered what came after it. */
  g_autoptr (GVariant) subscribed = get (f, "State");

  frontend = live_device_connect_queues (f->device, 1, 64);
  wait_seen (seen, opened);
  wait_seen (seen, "'State': <'running'>");
  live_device_call (f->device, notify_config, f);
  wait_seen (seen, "ConfigChanged (0, 256, 'device')");
  /* A device that fails again and again is heard of once in a second. */
  live_device_call (f->device, report_errors, f);
  wait_seen (seen, "Error ('" ERROR_NAME ("Backend") "', 'on purpose')");
  wait_seen (seen, "'LastError': <('" ERROR_NAME ("Backend"));
  g_assert_null (
      strstr (strstr (seen->str, "on purpose')") + 1, "Error ('" ERROR_NAME ("Backend")));
  /* A version that does not exist ends the session. */
  vhost_frontend_send_raw (frontend, junk, sizeof junk, NULL, 0, &error);
  g_assert_no_error (error);
  wait_seen (seen, "SessionClosed ('" ERROR_NAME ("Protocol"));
  wait_seen (seen, "Error ('" ERROR_NAME ("Protocol"));
  wait_seen (seen, "'LastError': <('" ERROR_NAME ("Protocol"));
  g_object_unref (frontend);
  call_ok (f, "Pause", NULL);
  wait_seen (seen, "'Paused': <true>");
  call_ok (f, "Resume", NULL);
  g_dbus_connection_signal_unsubscribe (f->caller, id);
  g_string_free (seen, TRUE);
}

/* ---- Methods ---- */

static void
pauses_and_goes_on (Fixture *f)
{
  VhostFrontend *frontend = live_device_connect_queues (f->device, 1, 64);
  guint64 at = vhost_frontend_allocate (frontend, 128, 64);
  const VhostFrontendBuffer buffers[] = { { at, 64, FALSE }, { at + 64, 64, TRUE } };
  VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, 0);
  guint before;

  live_device_assert_echo (frontend, 0, "before");
  before = echo_backend_get_calls (f->echo).requests;
  call_ok (f, "Pause", NULL);
  call_ok (f, "Pause", NULL);
  vhost_frontend_queue_add (queue, buffers, 2, FALSE, NULL);
  vhost_frontend_queue_kick (queue);
  call_ok (f, "GetStatistics", g_variant_new_parsed ("(@a{sv} {},)"));
  g_assert_cmpuint (echo_backend_get_calls (f->echo).requests, ==, before);
  call_ok (f, "Resume", NULL);
  LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, NULL, NULL));
  g_object_unref (frontend);
}

static void
counts_requests (Fixture *f)
{
  VhostFrontend *frontend = live_device_connect_queues (f->device, 2, 64);
  guint64 time, requests = 0, completed = 0;
  g_autoptr (GVariant) answer = NULL;
  g_autoptr (GVariant) queues = NULL;
  g_autoptr (GVariant) counters = NULL;
  gint64 begin = g_get_monotonic_time () * 1000;
  guint index;

  for (guint i = 0; i < 5; i++)
    live_device_assert_echo (frontend, 1, "one more");
  answer = call (f, "GetStatistics", g_variant_new_parsed ("(@a{sv} {},)"));
  g_assert_no_error (f->error);
  g_variant_get (answer, "(t@a(ua{st}))", &time, &queues);
  g_assert_cmpuint (time, >=, (guint64) begin);
  g_assert_cmpuint (g_variant_n_children (queues), ==, 2);
  g_variant_get_child (queues, 1, "(u@a{st})", &index, &counters);
  g_assert_cmpuint (index, ==, 1);
  g_assert_true (g_variant_lookup (counters, "requests", "t", &requests));
  g_assert_true (g_variant_lookup (counters, "completed", "t", &completed));
  g_assert_cmpuint (requests, ==, 5);
  g_assert_cmpuint (completed, ==, 5);
  assert_remote (f, call (f, "GetStatistics", g_variant_new_parsed ("({'x': <1>},)")),
                 ERROR_NAME ("Invalid"), "\"x\"");
  g_object_unref (frontend);
}

static void
disconnects (Fixture *f)
{
  VhostFrontend *frontend = live_device_connect_queues (f->device, 1, 64);

  wait_string (f, "State", "running");
  call_ok (f, "Disconnect", NULL);
  wait_string (f, "State", "waiting");
  g_object_unref (frontend);
  frontend = live_device_connect_queues (f->device, 1, 64);
  live_device_assert_echo (frontend, 0, "again");
  g_object_unref (frontend);
}

static void
sets_options (Fixture *f)
{
  g_autoptr (GVariant) value = NULL;
  g_autoptr (GVariant) text = NULL;
  g_autoptr (GVariant) all = NULL;

  call_ok (f, "SetOptions", options_with ("delay-ms", g_variant_new_uint32 (7)));
  value = get_option (f, "delay-ms");
  g_assert_cmpuint (g_variant_get_uint32 (value), ==, 7);
  call_ok (f, "SetOptions", options_with ("delay-ms", g_variant_new_string ("1K")));
  text = get_option (f, "delay-ms");
  g_assert_cmpuint (g_variant_get_uint32 (text), ==, 1024);
  call_ok (f, "SetOptions",
           g_variant_new_parsed ("({'delay-at': <'start'>, 'delay-us': <@x 5>},)"));
  assert_remote (f, call (f, "SetOptions", options_with ("nothing", g_variant_new_int32 (1))),
                 ERROR_NAME ("Invalid"), "\"nothing\"");
  assert_remote (f, call (f, "SetOptions", options_with ("num-queues", g_variant_new_int32 (1))),
                 ERROR_NAME ("Invalid"), "cannot change");
  assert_remote (f, call (f, "SetOptions", options_with ("delay-ms", g_variant_new_int32 (-1))),
                 ERROR_NAME ("Invalid"), "delay-ms");
  assert_remote (f, call (f, "SetOptions", options_with ("delay-at", g_variant_new_string ("x"))),
                 ERROR_NAME ("Invalid"), "start");
  assert_remote (f, call (f, "SetOptions", g_variant_new_parsed ("({'delay-ms': <(1, 2)>},)")),
                 ERROR_NAME ("Invalid"), "(ii)");
  /* All or none. */
  assert_remote (
      f, call (f, "SetOptions", g_variant_new_parsed ("({'delay-ms': <9>, 'delay-us': <-1>},)")),
      ERROR_NAME ("Invalid"), "delay-us");
  all = get (f, "Options");
  {
    guint ms = 0, us = 0;
    const char *at = NULL;

    g_variant_lookup (all, "delay-ms", "u", &ms);
    g_variant_lookup (all, "delay-us", "u", &us);
    g_variant_lookup (all, "delay-at", "&s", &at);
    g_assert_cmpuint (ms, ==, 1024);
    g_assert_cmpuint (us, ==, 5);
    g_assert_cmpstr (at, ==, "start");
  }
}

static int
take_fd (Fixture *f, const char *method, GVariant *arguments)
{
  g_autoptr (GUnixFDList) fds = NULL;
  g_autoptr (GVariant) answer = call_on (f, DEVICE, method, arguments, &fds);
  GError *error = NULL;
  int fd;

  g_assert_no_error (f->error);
  g_assert_cmpint (g_unix_fd_list_get_length (fds), ==, 1);
  fd = g_unix_fd_list_get (fds, 0, &error);
  g_assert_no_error (error);
  return fd;
}

static void
opens_a_front_end (Fixture *f)
{
  VhostFrontend *frontend = vhost_frontend_new ();
  GError *error = NULL;
  int fd = take_fd (f, "OpenFrontend", g_variant_new_parsed ("(@a{sv} {},)"));

  assert_remote (f, call (f, "OpenFrontend", g_variant_new_parsed ("(@a{sv} {},)")),
                 ERROR_NAME ("Busy"), "max-sessions");
  g_assert_true (vhost_frontend_connect_take_fd (frontend, fd, &error));
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_negotiate (frontend, LIVE_ALL_FEATURES, G_MAXUINT64, &error));
  g_assert_no_error (error);
  wait_string (f, "State", "running");
  g_object_unref (frontend);
  wait_string (f, "State", "waiting");
}

/* Reads lines from a monitor until one has @what. */
static void
wait_line (int fd, GString *text, const char *what)
{
  while (strstr (text->str, what) == NULL)
    {
      struct pollfd in = { fd, POLLIN, 0 };
      char bytes[4096];
      gssize n;

      if (poll (&in, 1, 20000) != 1 || (n = read (fd, bytes, sizeof bytes)) <= 0)
        g_error ("waited in vain for %s; there was:\n%s", what, text->str);
      g_string_append_len (text, bytes, n);
    }
}

static void
shows_what_happens_to_who_watches (Fixture *f)
{
  int fd = take_fd (f, "Monitor", g_variant_new_parsed ("({'interval': <@u 100>},)"));
  GString *text = g_string_new (NULL);
  VhostFrontend *frontend;

  wait_line (fd, text, "\"event\":\"device\"");
  g_assert_nonnull (strstr (text->str, "\"Name\":\"test\""));
  frontend = live_device_connect_queues (f->device, 1, 64);
  wait_line (fd, text, "\"opened\":true");
  wait_line (fd, text, "\"state\":\"running\"");
  live_device_assert_echo (frontend, 0, "watched");
  wait_line (fd, text, "\"requests\":1");
  live_device_call (f->device, notify_config, f);
  wait_line (fd, text, "\"event\":\"config\"");
  g_object_unref (frontend);
  wait_line (fd, text, "\"opened\":false");
  close (fd);
  g_string_free (text, TRUE);
}

static void
watching_is_bounded (Fixture *f)
{
  int fds[8];
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    fds[i] = take_fd (f, "Monitor", g_variant_new_parsed ("(@a{sv} {},)"));
  assert_remote (f, call (f, "Monitor", g_variant_new_parsed ("(@a{sv} {},)")), ERROR_NAME ("Busy"),
                 "close one first");
  close (fds[0]);
  for (;;)
    {
      GVariant *answer = call (f, "Monitor", g_variant_new_parsed ("(@a{sv} {},)"));

      if (answer != NULL)
        {
          g_variant_unref (answer);
          break;
        }
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      g_usleep (500);
    }
  assert_remote (f, call (f, "Monitor", g_variant_new_parsed ("({'interval': <@u 99>},)")),
                 ERROR_NAME ("Invalid"), "100");
  assert_remote (f, call (f, "Monitor", g_variant_new_parsed ("({'interval': <'x'>},)")),
                 ERROR_NAME ("Invalid"), "100");
  assert_remote (f, call (f, "Monitor", g_variant_new_parsed ("({'speed': <1>},)")),
                 ERROR_NAME ("Invalid"), "speed");
  for (guint i = 1; i < G_N_ELEMENTS (fds); i++)
    close (fds[i]);
}

/* A reader that sleeps loses lines and hears how many. */
static void
who_watches_slowly_loses_lines (Fixture *f)
{
  int fd = take_fd (f, "Monitor", g_variant_new_parsed ("({'interval': <@u 100>},)"));
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < 4000; i++)
    live_device_call (f->device, notify_config, f);
  /* Without a front-end nothing changes; with one each is an event. */
  {
    VhostFrontend *frontend = live_device_connect_queues (f->device, 1, 64);

    for (guint i = 0; i < 6000; i++)
      {
        live_device_call (f->device, notify_config, f);
        vhost_frontend_process_backend_messages (frontend, 0);
      }
    g_object_unref (frontend);
  }
  wait_line (fd, text, "\"lost\":");
  live_device_assert_alive (f->device);
  close (fd);
  g_string_free (text, TRUE);
}

static void
removes_itself (Fixture *f)
{
  call_ok (f, "Remove", NULL);
  assert_remote (f, call (f, "Resume", NULL), "org.freedesktop.DBus.Error.UnknownMethod", NULL);
  LIVE_WAIT_FOR (vhost_daemon_get_state (f->device->daemon) == VHOST_DAEMON_STATE_STOPPED);
}

/* ---- The manager's view ---- */

static void
add_more (LiveDevice *device, gpointer data)
{
  Fixture *f = data;
  GError *error = NULL;
  EchoBackend *echo = echo_backend_new (1, 0);
  VhostService *second = vhost_service_new (f->own);

  f->extra = vhost_daemon_new ("1 dev/ice", VHOST_BACKEND (echo));
  g_object_unref (echo);
  g_assert_true (vhost_service_add (f->service, f->extra, &error));
  g_assert_no_error (error);
  g_assert_false (vhost_service_add (f->service, f->extra, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  {
    g_autoptr (VhostDaemon) empty = vhost_daemon_new ("empty", NULL);

    g_assert_false (vhost_service_add (f->service, empty, &error));
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
    g_clear_error (&error);
    g_assert_false (vhost_service_remove (f->service, empty));
  }
  /* A service of its own has a name of its own, also in the same process. */
  g_object_unref (second);
}

static void
remove_extra (LiveDevice *device, gpointer data)
{
  Fixture *f = data;

  g_assert_true (vhost_service_remove (f->service, f->extra));
  g_assert_finalize_object (f->extra);
}

static void
lists_its_devices (Fixture *f)
{
  g_autoptr (GVariant) answer = NULL;
  g_autofree char *text = NULL;
  g_autofree char *expected = g_strdup_printf (PREFIX ".Process%d", (int) getpid ());

  g_assert_cmpstr (f->name, ==, expected);
  live_device_call (f->device, add_more, f);
  answer = g_dbus_connection_call_sync (f->caller, f->name, PREFIX_PATH,
                                        "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                        NULL, NULL, G_DBUS_CALL_FLAGS_NONE, 20000, NULL, &f->error);
  g_assert_no_error (f->error);
  text = g_variant_print (answer, FALSE);
  g_assert_nonnull (strstr (text, PREFIX_PATH "/devices/test"));
  g_assert_nonnull (strstr (text, PREFIX_PATH "/devices/_31_20dev_2fice"));
  live_device_call (f->device, remove_extra, f);
}

/* ---- Who may ---- */

static const char *const guarded[]
    = { "Pause", "Resume", "Disconnect", "SetOptions", "Monitor", "OpenFrontend", "Remove" };

static GVariant *
arguments_of (const char *method)
{
  return strcmp (method, "SetOptions") == 0 || strcmp (method, "Monitor") == 0
                 || strcmp (method, "OpenFrontend") == 0
             ? g_variant_new_parsed ("(@a{sv} {},)")
             : NULL;
}

static void
the_program_decides (void)
{
  Fixture f;

  set_up_with (&f, FALSE);
  for (guint i = 0; i < G_N_ELEMENTS (guarded); i++)
    {
      assert_remote (&f, call (&f, guarded[i], arguments_of (guarded[i])),
                     "org.freedesktop.DBus.Error.AccessDenied", guarded[i]);
      g_assert_cmpuint (f.n_asked, ==, i + 1);
      g_assert_cmpstr (f.asked_action, ==, guarded[i]);
      g_assert_cmpuint (f.asked_uid, ==, (guint) getuid ());
      g_assert_cmpuint (f.asked_pid, ==, (guint) getpid ());
    }
  /* Who only reads is not asked for. */
  call_ok (&f, "GetStatistics", g_variant_new_parsed ("(@a{sv} {},)"));
  assert_string (&f, "State", "waiting");
  g_assert_cmpuint (f.n_asked, ==, G_N_ELEMENTS (guarded));
  f.authorize = TRUE;
  call_ok (&f, "Pause", NULL);
  call_ok (&f, "Resume", NULL);
  tear_down (&f);
}

/* A bus that lets everyone in, as the system's does. */
#define OPEN_BUS                                                                                   \
  "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "            \
  "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">"                               \
  "<busconfig><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth><policy context=\"default\">"  \
  "<allow user=\"*\"/><allow send_type=\"method_call\"/><allow send_requested_reply=\"true\" "     \
  "send_type=\"method_return\"/><allow send_requested_reply=\"true\" send_type=\"error\"/><allow " \
  "receive_type=\"method_call\"/><allow receive_type=\"method_return\"/><allow "                   \
  "receive_type=\"error\"/><allow receive_type=\"signal\"/><allow own=\"*\"/>"                     \
  "</policy></busconfig>"

static void
another_user_may_not (void)
{
  g_autofree char *folder = NULL;
  g_autofree char *config = NULL;
  g_autofree char *text = NULL;
  g_autofree char *address = NULL;
  g_autofree char *bus_path = NULL;
  g_autoptr (GSubprocess) daemon = NULL;
  g_autoptr (GError) error = NULL;
  Fixture f = { .authorize = -1 };
  int status = -1;
  pid_t child;

  if (geteuid () != 0)
    {
      g_test_skip ("only root can call as another user");
      return;
    }
  folder = g_dir_make_tmp ("vhost-bus-XXXXXX", &error);
  g_assert_no_error (error);
  chmod (folder, 0755);
  config = g_build_filename (folder, "bus.conf", NULL);
  bus_path = g_build_filename (folder, "bus", NULL);
  address = g_strdup_printf ("unix:path=%s", bus_path);
  text = g_strdup_printf (OPEN_BUS, folder);
  g_assert_true (g_file_set_contents (config, text, -1, &error));
  daemon = g_subprocess_new (G_SUBPROCESS_FLAGS_STDERR_SILENCE, &error, "dbus-daemon", "--nofork",
                             "--config-file", config, NULL);
  if (daemon == NULL)
    {
      g_test_skip ("dbus-daemon is missing");
      return;
    }
  LIVE_WAIT_FOR (g_file_test (bus_path, G_FILE_TEST_EXISTS));
  chmod (bus_path, 0777);
  /* The socket is there before the daemon listens. */
  for (guint i = 0; f.own == NULL && i < 1000; i++)
    {
      g_clear_error (&error);
      g_usleep (i > 0 ? 5000 : 0);
      f.own = g_dbus_connection_new_for_address_sync (
          address,
          G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT
              | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
          NULL, NULL, &error);
    }
  g_assert_no_error (error);
  f.device = live_device_new (make_backend (&f), NULL, NULL);
  live_device_call (f.device, start_service, &f);

  /* A program of its own: a forked child of a process with threads can do next to nothing. */
  child = fork ();
  if (child == 0)
    {
      if (setgid (65534) != 0 || setuid (65534) != 0)
        _exit (99);
      execlp ("gdbus", "gdbus", "call", "--address", address, "-d", f.name, "-o",
              PREFIX_PATH "/devices/test", "-m", DEVICE ".Pause", NULL);
      _exit (77);
    }
  g_assert_cmpint (waitpid (child, &status, 0), ==, child);
  g_assert_true (WIFEXITED (status));
  if (WEXITSTATUS (status) == 77)
    g_test_skip ("gdbus is missing");
  else
    g_assert_cmpint (WEXITSTATUS (status), ==, 1);
  g_assert_false (vhost_daemon_is_paused (f.device->daemon));

  live_device_call (f.device, end_service, &f);
  live_device_free (f.device);
  g_dbus_connection_close_sync (f.own, NULL, NULL);
  g_object_unref (f.own);
  g_subprocess_force_exit (daemon);
  g_subprocess_wait (daemon, NULL, NULL);
  unlink (config);
  unlink (bus_path);
  rmdir (folder);
  g_free (f.name);
}

/* ---- Nonsense ---- */

static GVariant *
random_value (guint depth)
{
  GVariantBuilder builder;

  switch (g_test_rand_int_range (0, depth > 3 ? 9 : 12))
    {
    case 0:
      return g_variant_new_boolean (g_test_rand_bit ());
    case 1:
      return g_variant_new_byte ((guint8) g_test_rand_int ());
    case 2:
      return g_variant_new_int16 ((gint16) g_test_rand_int ());
    case 3:
      return g_variant_new_uint32 ((guint32) g_test_rand_int ());
    case 4:
      return g_variant_new_int64 ((gint64) g_test_rand_int () * G_MAXINT32);
    case 5:
      return g_variant_new_uint64 (g_test_rand_bit () ? G_MAXUINT64 : 0);
    case 6:
      return g_variant_new_double (g_test_rand_bit () ? g_test_rand_double () : NAN);
    case 7:
      return g_variant_new_string (g_test_rand_bit () ? "" : "99999999999999999999999K");
    case 8:
      return g_variant_new_object_path ("/a");
    case 9:
      return g_variant_new_variant (random_value (depth + 1));
    case 10:
      g_variant_builder_init (&builder, G_VARIANT_TYPE ("av"));
      for (gint i = g_test_rand_int_range (0, 4); i > 0; i--)
        g_variant_builder_add (&builder, "v", random_value (depth + 1));
      return g_variant_builder_end (&builder);
    default:
      return g_variant_new ("(vv)", random_value (depth + 1), random_value (depth + 1));
    }
}

static GVariant *
random_options (void)
{
  static const char *const names[]
      = { "delay-ms", "delay-us", "delay-at", "delay-jitter-ms", "delay-seed", "num-queues",
          "interval", "",         "next",     "workers",         "poll-max",   "\xc3\xa9" };
  GVariantBuilder builder;

  g_variant_builder_init (&builder, G_VARIANT_TYPE_VARDICT);
  for (gint i = g_test_rand_int_range (0, 4); i > 0; i--)
    g_variant_builder_add (&builder, "{sv}", names[g_test_rand_int_range (0, G_N_ELEMENTS (names))],
                           random_value (0));
  return g_variant_builder_end (&builder);
}

static void
nonsense_is_answered (Fixture *f)
{
  static const char *const methods[] = { "Pause",         "Resume",  "Disconnect",   "SetOptions",
                                         "GetStatistics", "Monitor", "OpenFrontend", "Nothing" };

  for (guint i = 0; i < 2000; i++)
    {
      const char *method = methods[g_test_rand_int_range (0, G_N_ELEMENTS (methods))];
      GVariant *arguments = NULL;
      GVariant *answer;

      switch (g_test_rand_int_range (0, 4))
        {
        case 0:
          break;
        case 1:
          arguments = g_variant_new ("(v)", random_value (0));
          break;
        case 2:
          arguments = g_variant_new ("(vs)", random_value (0), "x");
          break;
        default:
          arguments = g_variant_new ("(@a{sv})", random_options ());
        }
      answer = call (f, method, arguments);
      g_assert_true (answer != NULL || f->error != NULL);
      /* Answered, and not left to run out. */
      g_assert_false (g_error_matches (f->error, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY)
                      || g_error_matches (f->error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
      g_clear_pointer (&answer, g_variant_unref);
    }
  call_ok (f, "Resume", NULL);
  call_ok (f, "Disconnect", NULL);
  wait_string (f, "State", "waiting");
  call_ok (f, "SetOptions",
           g_variant_new_parsed ("({'delay-ms': <0>, 'delay-us': <0>, 'delay-jitter-ms': <0>},)"));
  live_device_assert_alive (f->device);
}

static void
every_error_code_has_a_name (void)
{
  g_autoptr (GEnumClass) klass = g_type_class_ref (VHOST_TYPE_ERROR);

  for (guint i = 0; i < klass->n_values; i++)
    {
      GError error = { VHOST_ERROR, klass->values[i].value, (char *) "x" };
      g_autofree char *name = g_dbus_error_encode_gerror (&error);

      g_assert_true (g_str_has_prefix (name, PREFIX ".Error."));
    }
}

/* ---- Tests ---- */

typedef void (*Test) (Fixture *f);

static void
run (gconstpointer data)
{
  Fixture f;

  set_up_with (&f, -1);
  (*(const Test *) data) (&f);
  g_clear_error (&f.error);
  tear_down (&f);
}

#define ADD(function)                                                                              \
  G_STMT_START                                                                                     \
  {                                                                                                \
    static const Test test_##function = function;                                                  \
    g_test_add_data_func ("/service/" #function, &test_##function, run);                           \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_dbus_unset ();
  /* That a session ended by an error is said with a warning, and meant here. */
  g_log_set_always_fatal (G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
  ADD (properties_say_what_it_is);
  ADD (properties_follow_the_front_end);
  ADD (signals_tell_what_happens);
  ADD (pauses_and_goes_on);
  ADD (counts_requests);
  ADD (disconnects);
  ADD (sets_options);
  ADD (opens_a_front_end);
  ADD (shows_what_happens_to_who_watches);
  ADD (watching_is_bounded);
  ADD (who_watches_slowly_loses_lines);
  ADD (lists_its_devices);
  ADD (nonsense_is_answered);
  ADD (removes_itself);
  g_test_add_func ("/service/the_program_decides", the_program_decides);
  g_test_add_func ("/service/another_user_may_not", another_user_may_not);
  g_test_add_func ("/service/every_error_code_has_a_name", every_error_code_has_a_name);
  return g_test_run ();
}
