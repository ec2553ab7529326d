/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A back-end type as a whole program, to the letter of the specification's "Back-end program
 * conventions": options, signals, exit codes, the service manager, and a captive command. Must not
 * know any device; what a device can be told is its GObject properties. Owns process-wide things
 * (signals, log writer), so nothing else may call it. */
#include "config.h"

#include "vhost-backend-main.h"

#include "vhost-backend-private.h"
#include "vhost-captive-private.h"
#include "vhost-daemon.h"
#include "vhost-device-file-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-filter-private.h"
#include "vhost-property-private.h"
#include "vhost-service.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define LISTEN_FDS_START 3

typedef struct
{
  GType type;
  const char *device;          /* (unowned): "block" */
  VhostPropertySet *backend;   /* (owned) */
  VhostPropertySet *settings;  /* (owned): the daemon's */
  VhostFilterOptions *filters; /* (owned) (nullable): before the back-end */
  VhostDaemon *daemon;         /* (owned) (nullable) */

  /* The command line */
  char *socket_path;   /* (owned) (nullable) */
  char *fd_text;       /* (owned) (nullable) */
  char *config;        /* (owned) (nullable) */
  char *run;           /* (owned) (nullable) */
  char *bus;           /* (owned) (nullable) */
  char *name;          /* (owned) (nullable) */
  char **filter_names; /* (owned) (nullable) */
  char **rest;         /* (owned) (nullable) */
  GPtrArray *strings;  /* (owned): of the options */
  guint socket_mode;
  gboolean exits; /* when the front-end goes, if that was said */
  gboolean exits_set;
  gboolean client;
  gboolean help;
  gboolean version;
  gboolean strict;

  int fd; /* (owned): given to us; -1 */
  gboolean fd_is_activated;

  VhostCaptive *captive; /* (owned) (nullable): --run */
  gboolean failed;       /* strict, and the device has reported an error */
} BackendMain;

/* Messages */

static char *log_prefix; /* set before the writer is installed, never freed */

/* Thread: any. */
static GLogWriterOutput
write_log (GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer data)
{
  const char *domain = NULL, *message = NULL;
  for (gsize i = 0; i < n_fields; i++)
    {
      /* A field with a length is not a string that ends by itself. */
      if (fields[i].length != -1)
        continue;
      if (strcmp (fields[i].key, "MESSAGE") == 0)
        message = fields[i].value;
      else if (strcmp (fields[i].key, "GLIB_DOMAIN") == 0)
        domain = fields[i].value;
    }
  if (message == NULL || g_log_writer_is_journald (STDERR_FILENO))
    return g_log_writer_default (level, fields, n_fields, data);
  if (!g_log_writer_default_would_drop (level, domain))
    fprintf (stderr, "%s: %s\n", log_prefix, message);
  return G_LOG_WRITER_HANDLED;
}

/* What the user did wrong, or what failed. */
static G_GNUC_PRINTF (2, 3) int fail (int status, const char *format, ...)
{
  va_list arguments;
  va_start (arguments, format);
  g_autofree char *text = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  fprintf (stderr, "%s: %s\n", log_prefix, text);
  return status;
}

static void
set_up_messages (const char *program, const char *device)
{
  static gsize installed;
  g_autofree char *base = g_path_get_basename (program);
  log_prefix = g_strdup_printf ("%s[%s]", base, device);
  /* GLib takes one writer in a process's life. */
  if (g_once_init_enter (&installed))
    {
      g_log_set_writer_func (write_log, NULL, NULL);
      g_once_init_leave (&installed, 1);
    }
}

static int
print_capabilities (VhostBackendClass *klass, const char *device)
{
  const char *const *features = vhost_backend_class_get_capabilities (klass);
  g_autoptr (GString) text = g_string_new (NULL);
  g_string_append_printf (text, "{\n  \"type\": \"%s\",\n  \"features\": [", device);
  for (guint i = 0; features != NULL && features[i] != NULL; i++)
    g_string_append_printf (text, "%s\n    \"%s\"", i > 0 ? "," : "", features[i]);
  g_string_append_printf (text, "%s]\n}\n", features != NULL && features[0] != NULL ? "\n  " : "");
  if (fputs (text->str, stdout) == EOF || fflush (stdout) == EOF)
    return fail (EXIT_FAILURE, "cannot write the capabilities: %s", g_strerror (errno));
  return EXIT_SUCCESS;
}

/* Tells the service manager, if there is one, as sd_notify(3) describes. */
static void
notify_manager (const char *state)
{
  const char *path = g_getenv ("NOTIFY_SOCKET");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  if (path == NULL || (path[0] != '/' && path[0] != '@'))
    return;
  gsize length = strlen (path);
  if (length < 2 || length >= sizeof address.sun_path)
    return;
  memcpy (address.sun_path, path, length);
  if (path[0] == '@')
    address.sun_path[0] = '\0';
  int fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return;
  /* Not heard is not our failure. */
  if (sendto (fd, state, strlen (state), MSG_NOSIGNAL, (struct sockaddr *) &address,
              offsetof (struct sockaddr_un, sun_path) + length)
      == -1)
    g_message ("cannot notify the service manager at %s: %s", path, g_strerror (errno));
  vhost_fd_clear (&fd);
}

/* Options */

/* Properties of the daemon that are options, too. */
static const struct
{
  const char *name;
  const char *argument;
} daemon_options[] = {
  { "max-sessions", "NUMBER" },       { "drain-timeout", "NUMBER" },
  { "reconnect-interval", "NUMBER" }, { "seal-memory", "yes|no" },
  { "waiter", "auto|epoll|uring" },   { "in-band", "yes|no" },
};

static gboolean
parse_daemon_option (const char *name, const char *text, gpointer data, GError **error)
{
  BackendMain *self = data;
  return vhost_property_set_add (self->settings, name + strspn (name, "-"),
                                 text != NULL ? text : "yes", error);
}

/* A number that is written as such and nothing else. */
static gboolean
read_number (const char *text, guint base, guint64 max, guint64 *number)
{
  return text != NULL && g_ascii_string_to_unsigned (text, base, 0, max, number, NULL);
}

/* Parsed at once, so that a device file's line is named when it is wrong. */
static gboolean
parse_socket_mode (const char *name, const char *text, gpointer data, GError **error)
{
  BackendMain *self = data;
  guint64 mode;
  if (!read_number (text, 8, 0777, &mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%s=%s is not an octal number from 0 to 0777, as in 0660", name, text);
      return FALSE;
    }
  self->socket_mode = (guint) mode;
  return TRUE;
}

static gboolean
parse_on_disconnect (const char *name, const char *text, gpointer data, GError **error)
{
  BackendMain *self = data;
  self->exits_set = TRUE;
  self->exits = strcmp (text, "exit") == 0;
  if (self->exits || strcmp (text, "listen") == 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "%s=%s is neither listen nor exit", name,
               text);
  return FALSE;
}

static gboolean
parse_bus (const char *name, const char *text, gpointer data, GError **error)
{
  BackendMain *self = data;
  if (strcmp (text, "session") != 0 && strcmp (text, "system") != 0
      && !g_dbus_is_supported_address (text, error))
    {
      g_prefix_error (error, "%s=%s is neither session nor system nor a bus's address: ", name,
                      text);
      return FALSE;
    }
  g_free (self->bus);
  self->bus = g_strdup (text);
  return TRUE;
}

/* The options' strings stay in @self, since GOption only points to them. */
static const char *
keep (BackendMain *self, char *string)
{
  g_ptr_array_add (self->strings, string);
  return string;
}

static void
add_daemon_options (BackendMain *self, GOptionGroup *group)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (VHOST_TYPE_DAEMON);
  for (guint i = 0; i < G_N_ELEMENTS (daemon_options); i++)
    {
      GParamSpec *pspec
          = g_object_class_find_property ((GObjectClass *) klass, daemon_options[i].name);
      g_autofree char *preset
          = vhost_property_format (pspec, g_param_spec_get_default_value (pspec));
      gboolean is_boolean = G_IS_PARAM_SPEC_BOOLEAN (pspec);
      const GOptionEntry entry[] = {
        { pspec->name, 0, is_boolean ? G_OPTION_FLAG_OPTIONAL_ARG : 0, G_OPTION_ARG_CALLBACK,
          (gpointer) parse_daemon_option,
          keep (self, g_strdup_printf ("%s (default: %s)", g_param_spec_get_blurb (pspec), preset)),
          daemon_options[i].argument },
        { NULL },
      };
      g_option_group_add_entries (group, entry);
    }
}

static GOptionContext *
make_options (BackendMain *self)
{
  g_autofree char *filter_names = vhost_filter_list_names ();
  const char *filter_help = keep (
      self, g_strdup_printf ("Put a filter before the device, can be repeated: %s", filter_names));
  const GOptionEntry entries[] = {
    { "socket-path", 's', 0, G_OPTION_ARG_FILENAME, &self->socket_path,
      "Unix socket to listen on, or to connect to", "PATH" },
    { "fd", 0, 0, G_OPTION_ARG_STRING, &self->fd_text,
      "Open socket in place of a path, listening or connected", "FDNUM" },
    { "config", 0, 0, G_OPTION_ARG_FILENAME, &self->config,
      "Take options from a file; those given here win", "FILE" },
    { "run", 0, 0, G_OPTION_ARG_FILENAME, &self->run,
      "Run a command with $vhost_socket and $vhost_qemu, end with it", "COMMAND" },
    { "client", 0, 0, G_OPTION_ARG_NONE, &self->client,
      "Connect to the socket instead of listening", NULL },
    { "socket-mode", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer) parse_socket_mode,
      "Permissions of the socket file (default: 0660)", "OCTAL" },
    { "on-disconnect", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer) parse_on_disconnect,
      "When the front-end goes (default: listen; with --fd: exit)", "listen|exit" },
    { "bus", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer) parse_bus,
      "Let the device be controlled over D-Bus: vhostctl list", "session|system|ADDRESS" },
    { "name", 0, 0, G_OPTION_ARG_STRING, &self->name,
      "The device's name on the bus and in messages (default: its type)", "NAME" },
    { "filter", 0, 0, G_OPTION_ARG_STRING_ARRAY, &self->filter_names, filter_help, "NAME" },
    { "strict", 0, 0, G_OPTION_ARG_NONE, &self->strict,
      "End with status 1 when the device reports an error of its own", NULL },
    { "print-capabilities", 0, 0, G_OPTION_ARG_NONE, &self->help,
      "Print a JSON description and exit", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &self->version, "Print the version and exit", NULL },
    { "help", 'h', 0, G_OPTION_ARG_NONE, &self->help, "Print this and exit", NULL },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &self->rest, NULL, NULL },
    { NULL },
  };
  g_autofree char *title = g_strdup_printf ("Options of the %s device:", self->device);
  GOptionContext *context = g_option_context_new (NULL);
  GOptionGroup *main_group = g_option_group_new (NULL, NULL, NULL, self, NULL);
  GOptionGroup *device_group = g_option_group_new (self->device, title, title, self->backend, NULL);
  g_option_group_add_entries (main_group, entries);

  add_daemon_options (self, main_group);
  vhost_property_set_add_options (self->backend, device_group, G_TYPE_OBJECT);
  g_option_context_set_main_group (context, main_group);
  g_option_context_add_group (context, device_group);
  vhost_filter_options_add_groups (self->filters, context);
  /* GLib's own --help hides the device's options behind another one. */
  g_option_context_set_help_enabled (context, FALSE);
  return context;
}

/* A socket from the service manager, as sd_listen_fds(3) describes; 0 or an exit code. */
static int
take_activated_fd (BackendMain *self)
{
  guint64 pid = 0, n = 0;
  if (!read_number (g_getenv ("LISTEN_PID"), 10, G_MAXINT, &pid) || pid != (guint64) getpid ()
      || !read_number (g_getenv ("LISTEN_FDS"), 10, G_MAXINT, &n) || n == 0)
    return 0;
  /* For us alone, not for a captive command. */
  g_unsetenv ("LISTEN_PID");
  g_unsetenv ("LISTEN_FDS");
  g_unsetenv ("LISTEN_FDNAMES");
  if (n != 1)
    return fail (EXIT_USAGE,
                 "the service manager passed %" G_GUINT64_FORMAT
                 " sockets, but a device has one: use one ListenStream= per unit",
                 n);
  self->fd = LISTEN_FDS_START;
  self->fd_is_activated = TRUE;
  return 0;
}

/* Exactly one place to serve at; 0 or an exit code. */
static int
check_socket_options (BackendMain *self)
{
  int status = take_activated_fd (self);
  if (status != 0)
    return status;
  guint n = (self->socket_path != NULL) + (self->fd_text != NULL) + (self->run != NULL)
            + self->fd_is_activated;
  if (n != 1)
    return fail (EXIT_USAGE,
                 "%s: give exactly one of --socket-path=PATH, --fd=FDNUM, --run=COMMAND, or a "
                 "socket from the service manager (LISTEN_FDS)",
                 n == 0 ? "there is no socket to serve at" : "there is more than one socket");
  if (self->client && self->socket_path == NULL)
    return fail (EXIT_USAGE, "--client connects to a socket by its path: add --socket-path=PATH");
  if (self->fd_text != NULL)
    {
      guint64 number;
      if (!read_number (self->fd_text, 10, G_MAXINT, &number) || number <= STDERR_FILENO)
        return fail (EXIT_USAGE,
                     "--fd=%s is not the number of a file descriptor above 2: standard input, "
                     "output and error are not sockets to serve at",
                     self->fd_text);
      self->fd = (int) number;
    }
  return 0;
}

/* The daemon's properties from options that are more than a property. */
static void
apply_options (BackendMain *self)
{
  /* Whoever hands over a socket waits for the end of the program, not for another front-end. */
  gboolean exits = self->exits_set ? self->exits : self->fd_text != NULL;

  self->daemon = VHOST_DAEMON (vhost_property_set_build (self->settings));
  g_object_set (self->daemon, "name", self->name != NULL ? self->name : self->device, "socket-path",
                self->socket_path, "socket-mode", self->socket_mode, "exit-on-disconnect", exits,
                "mode", self->client ? VHOST_DAEMON_MODE_CLIENT : VHOST_DAEMON_MODE_SERVER, NULL);
}

/* Running */

/* The command first: while it ends it may still need its device. */
static gboolean
end_with (BackendMain *self, int number)
{
  if (self->captive != NULL && vhost_captive_is_running (self->captive))
    vhost_captive_signal (self->captive, number);
  else
    vhost_daemon_quit (self->daemon);
  return G_SOURCE_CONTINUE;
}

/* Thread: control. */
static void
on_command_ended (gpointer data)
{
  BackendMain *self = data;
  vhost_daemon_quit (self->daemon);
}

/* Thread: control, all three. */
static gboolean
on_sigterm (gpointer data)
{
  return end_with (data, SIGTERM);
}

static gboolean
on_sigint (gpointer data)
{
  return end_with (data, SIGINT);
}

static gboolean
on_sighup (gpointer data)
{
  return end_with (data, SIGHUP);
}

/* Thread: control. */
static void
on_state_changed (VhostDaemon *daemon, GParamSpec *pspec, gpointer data)
{
  if (vhost_daemon_get_state (daemon) == VHOST_DAEMON_STATE_STOPPING)
    notify_manager ("STOPPING=1");
}

/* Thread: control. A script may keep the back-end when we are gone: the daemon knows. */
static void
on_backend_error (VhostDaemon *daemon, const GError *error)
{
  BackendMain *self = g_object_get_data (G_OBJECT (daemon), "vhost-backend-main");
  if (self == NULL)
    return;
  self->failed = TRUE;
  end_with (self, SIGTERM);
}

/* Thread: control. Another object with the same properties. */
static VhostBackend *
on_create_backend (VhostDaemon *daemon, gpointer data)
{
  BackendMain *self = data;
  VhostBackend *backend = VHOST_BACKEND (vhost_property_set_build (self->backend));
  if (self->strict)
    g_signal_connect_object (backend, "error", G_CALLBACK (on_backend_error), self->daemon,
                             G_CONNECT_SWAPPED);
  return vhost_filter_options_wrap (self->filters, backend);
}

/* The bus that was asked for, with the device on it. (transfer full) */
static VhostService *
join_bus (BackendMain *self, GError **error)
{
  g_autoptr (GDBusConnection) connection = NULL;
  g_autoptr (VhostService) service = NULL;
  if (strcmp (self->bus, "session") == 0)
    connection = g_bus_get_sync (G_BUS_TYPE_SESSION, NULL, error);
  else if (strcmp (self->bus, "system") == 0)
    connection = g_bus_get_sync (G_BUS_TYPE_SYSTEM, NULL, error);
  else
    connection = g_dbus_connection_new_for_address_sync (
        self->bus,
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT
            | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
        NULL, NULL, error);
  if (connection == NULL)
    {
      g_prefix_error (error, "cannot join the bus \"%s\"%s: ", self->bus,
                      strcmp (self->bus, "session") == 0
                          ? " (without a desktop, dbus-run-session COMMAND makes one)"
                          : "");
      return NULL;
    }
  /* A guest's disk must not go with the bus. */
  g_dbus_connection_set_exit_on_close (connection, FALSE);
  service = vhost_service_new (connection);
  return vhost_service_add (service, self->daemon, error) ? g_steal_pointer (&service) : NULL;
}

/* Whoever asked for the end over the bus gets an answer before the program goes. */
static void
leave_bus (VhostService *service)
{
  g_autoptr (GDBusConnection) connection = NULL;
  g_object_get (service, "connection", &connection, NULL);
  /* The answer is due in this context already; a bound, should others never cease. */
  for (guint i = 0; i < 100 && g_main_context_iteration (NULL, FALSE); i++)
    ;
  g_dbus_connection_flush_sync (connection, NULL, NULL);
}

/* Everything is checked: serve until told to stop. Returns the exit code. */
static int
serve (BackendMain *self)
{
  g_autoptr (GError) error = NULL;
  g_object_set_data (G_OBJECT (self->daemon), "vhost-backend-main", self);
  g_autoptr (VhostBackend) backend = on_create_backend (self->daemon, self);
  g_object_set (self->daemon, "backend", backend, NULL);
  g_signal_connect (self->daemon, "create-backend", G_CALLBACK (on_create_backend), self);
  g_signal_connect (self->daemon, "notify::state", G_CALLBACK (on_state_changed), NULL);
  if (self->fd != -1)
    {
      if (!vhost_daemon_adopt_fd (self->daemon, self->fd, &error))
        return fail (EXIT_FAILURE, "%s", error->message);
      self->fd = -1;
    }
  if (self->run != NULL)
    {
      self->captive = vhost_captive_new (&error);
      if (self->captive == NULL)
        return fail (EXIT_FAILURE, "%s", error->message);
      g_object_set (self->daemon, "socket-path", vhost_captive_get_socket_path (self->captive),
                    NULL);
    }
  g_autoptr (VhostService) service = NULL;
  if (self->bus != NULL && (service = join_bus (self, &error)) == NULL)
    return fail (EXIT_FAILURE, "%s", error->message);
  if (!vhost_daemon_start (self->daemon, &error))
    return fail (EXIT_FAILURE, "%s", error->message);

  const guint watches[] = {
    g_unix_signal_add (SIGTERM, on_sigterm, self),
    g_unix_signal_add (SIGINT, on_sigint, self),
    g_unix_signal_add (SIGHUP, on_sighup, self),
  };
  int status = EXIT_SUCCESS;
  if (self->captive != NULL
      && !vhost_captive_run (self->captive, self->run, self->device,
                             vhost_backend_get_virtio_id (backend), on_command_ended, self, &error))
    {
      status = fail (EXIT_FAILURE, "cannot run the command: %s", error->message);
      vhost_daemon_quit (self->daemon);
    }
  notify_manager ("READY=1");
  vhost_daemon_run (self->daemon, NULL);
  if (service != NULL)
    leave_bus (service);
  /* With --on-disconnect=exit the daemon may be gone before the command is. */
  while (self->captive != NULL && vhost_captive_is_running (self->captive))
    g_main_context_iteration (NULL, TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (watches); i++)
    g_source_remove (watches[i]);
  if (self->failed)
    return EXIT_FAILURE;
  if (status == EXIT_SUCCESS && self->captive != NULL)
    status = vhost_captive_get_status (self->captive);
  return status;
}

static void
backend_main_init (BackendMain *self, GType type, const char *device)
{
  *self = (BackendMain){
    .type = type,
    .device = device,
    .backend = vhost_property_set_new (type),
    .settings = vhost_property_set_new (VHOST_TYPE_DAEMON),
    .strings = g_ptr_array_new_with_free_func (g_free),
    .socket_mode = 0660,
    .fd = -1,
  };
}

static void
backend_main_clear (BackendMain *self)
{
  if (self->daemon != NULL)
    g_object_set_data (G_OBJECT (self->daemon), "vhost-backend-main", NULL);
  g_clear_object (&self->daemon);
  vhost_captive_free (self->captive);
  vhost_property_set_free (self->backend);
  vhost_property_set_free (self->settings);
  vhost_filter_options_free (self->filters);
  g_free (self->socket_path);
  g_free (self->fd_text);
  g_free (self->config);
  g_free (self->run);
  g_free (self->bus);
  g_free (self->name);
  g_strfreev (self->filter_names);
  g_strfreev (self->rest);
  g_ptr_array_unref (self->strings);
}

/* Whether a filter that a device file names is there. */
static gboolean
check_file_filter (const char *argument, gpointer data, GError **error)
{
  BackendMain *self = data;
  char *arguments[] = { (char *) "", (char *) argument, NULL };
  VhostFilterOptions *filters = vhost_filter_options_new (self->type, arguments, error);
  vhost_filter_options_free (filters);
  return filters != NULL;
}

/* Whether what a line of a device file says is right, tried where it changes nothing. */
static gboolean
check_file_argument (const char *argument, gpointer data, GError **error)
{
  BackendMain *self = data, trial;
  g_auto (GStrv) arguments = g_new0 (char *, 3);
  arguments[0] = g_strdup ("");
  arguments[1] = g_strdup (argument);
  backend_main_init (&trial, self->type, self->device);
  trial.filters = self->filters;
  g_autoptr (GOptionContext) context = make_options (&trial);
  g_autoptr (GError) problem = NULL;
  gboolean parsed = g_option_context_parse_strv (context, &arguments, &problem);
  if (g_error_matches (problem, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION))
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                 "there is no option \"%.*s\": --help lists them",
                 (int) strcspn (argument + 2, "="), argument + 2);
  else if (problem != NULL)
    g_propagate_error (error, g_steal_pointer (&problem));
  trial.filters = NULL;
  backend_main_clear (&trial);
  return parsed;
}

/* The arguments with those of a device file, if one is named; 0 or an exit code. */
static int
insert_device_file (BackendMain *self, char ***arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostDeviceFile) file = NULL;
  g_autofree char *path = NULL;
  if (!vhost_device_file_find (*arguments, &path, &error))
    return fail (EXIT_USAGE, "%s", error->message);
  if (path != NULL)
    {
      file = vhost_device_file_read (path, self->device, &error);
      if (file == NULL || !vhost_device_file_check (file, check_file_filter, self, &error))
        return fail (EXIT_USAGE, "%s", error->message);
      char **all = vhost_device_file_insert (file, *arguments);
      g_strfreev (*arguments);
      *arguments = all;
    }
  self->filters = vhost_filter_options_new (self->type, *arguments, &error);
  if (self->filters == NULL
      || (file != NULL && !vhost_device_file_check (file, check_file_argument, self, &error)))
    return fail (EXIT_USAGE, "%s", error->message);
  return 0;
}

static int
parse_and_serve (BackendMain *self, int argc, char **argv)
{
  g_autoptr (GOptionContext) context = NULL;
  g_autoptr (GError) error = NULL;
  /* GOption takes arguments out of the array that it is given. */
  g_auto (GStrv) arguments = g_new0 (char *, (gsize) argc + 1);
  for (int i = 0; i < argc; i++)
    arguments[i] = g_strdup (argv[i]);
  int status = insert_device_file (self, &arguments);
  if (status != 0)
    return status;
  context = make_options (self);
  if (!g_option_context_parse_strv (context, &arguments, &error))
    return fail (EXIT_USAGE, "%s; --help lists the options", error->message);
  if (!vhost_filter_options_check (self->filters, self->filter_names, &error))
    return fail (EXIT_USAGE, "%s", error->message);
  if (self->help)
    {
      g_autofree char *text = g_option_context_get_help (context, FALSE, NULL);
      fputs (text, stdout);
      return EXIT_SUCCESS;
    }
  if (self->version)
    {
      printf ("%s (libvhostd) %s\n", g_get_prgname (), PACKAGE_VERSION);
      return EXIT_SUCCESS;
    }
  if (self->rest != NULL)
    return fail (EXIT_USAGE, "unexpected argument \"%s\": options begin with --; --help lists them",
                 self->rest[0]);
  status = check_socket_options (self);
  if (status != 0)
    return status;
  apply_options (self);
  return serve (self);
}

/* Public */

/**
 * vhost_backend_main:
 * @backend_type: a type derived from #VhostBackend
 * @argc: number of arguments
 * @argv: (array length=argc): the program's name and its arguments
 *
 * The whole main () of a program that serves one device.
 *
 * Each writable property of the type is an option: `blk-file` is `--blk-file`. Beside these there
 * are `--socket-path`, `--fd`, `--client`, `--run`, `--config`, `--socket-mode`, `--max-sessions`,
 * `--drain-timeout`, `--reconnect-interval`, `--seal-memory`, `--waiter`, `--on-disconnect`,
 * `--bus`, `--name`, `--strict`, `--filter` (and the properties of each filter that is named),
 * `--print-capabilities`, `--version` and `--help`. A single listening socket that the service
 * manager passed is used when none is named, and the service manager hears when the device is ready
 * and when it stops. SIGTERM, SIGINT and SIGHUP end the program cleanly.
 *
 * It takes over the process: signal handlers, the log writer and the default main context. It is
 * meant to be called once.
 *
 * Specification: "Backend program conventions".
 *
 * Thread: control, the main thread
 * Returns: the exit code: 0 after a clean end, 1 when something failed, 2 for a wrong command line;
 *   with `--run` that of the command
 * Since: 0.1
 */
int
vhost_backend_main (GType backend_type, int argc, char **argv)
{
  g_return_val_if_fail (g_type_is_a (backend_type, VHOST_TYPE_BACKEND), EXIT_USAGE);
  g_return_val_if_fail (!G_TYPE_IS_ABSTRACT (backend_type), EXIT_USAGE);
  g_autoptr (GTypeClass) klass = g_type_class_ref (backend_type);
  const char *program = argc > 0 ? argv[0] : "vhostd";
  const char *device = vhost_backend_class_get_device_name ((VhostBackendClass *) klass);
  if (device == NULL)
    device = g_type_name (backend_type);
  set_up_messages (program, device);
  /* The specification: all other options are ignored, wrong ones too. */
  for (int i = 1; i < argc; i++)
    if (strcmp (argv[i], "--print-capabilities") == 0)
      return print_capabilities ((VhostBackendClass *) klass, device);

  /* A front-end may pass a pipe in place of an eventfd and close its other end. */
  signal (SIGPIPE, SIG_IGN);
  BackendMain self;
  g_autoptr (GError) error = NULL;
  backend_main_init (&self, backend_type, device);
  int status
      = vhost_backend_class_add_option_defaults ((VhostBackendClass *) klass, self.backend, &error)
            ? parse_and_serve (&self, argc, argv)
            : fail (EXIT_FAILURE, "the class has a wrong default: %s", error->message);
  backend_main_clear (&self);
  return status;
}
