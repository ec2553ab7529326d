/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices on the buses. Programs that export devices own names that begin with
 * io.github.libvhostd1; all are asked at once, and one that does not answer holds up nobody for
 * longer than the time-out.
 */
#include "bus.h"

#include "vhostctl.h"

#include <gio/gunixfdlist.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "io.github.libvhostd1"
#define INTERFACE PREFIX ".Device"
#define ROOT "/io/github/libvhostd1"
#define FIND_TIMEOUT_MS 3000
#define CALL_TIMEOUT_MS 60000 /* Pause and Remove wait for requests in flight */

/* ---- Options ---- */

gboolean
bus_parse_options (Bus *self, const char *verb, const char *what, const char *summary,
                   const GOptionEntry *more, int n, int *argc, char ***argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new (what);
  g_autofree char *program = g_strdup_printf ("vhostctl %s", verb);
  g_autoptr (GError) error = NULL;
  const GOptionEntry entries[] = {
    { "session", 0, 0, G_OPTION_ARG_NONE, &self->session, "Only the session bus", NULL },
    { "system", 0, 0, G_OPTION_ARG_NONE, &self->system, "Only the system bus", NULL },
    { "address", 0, 0, G_OPTION_ARG_STRING, &self->address, "Only the bus there", "ADDRESS" },
    { NULL },
  };

  self->verb = verb;
  g_set_prgname (program);
  g_option_context_set_summary (context, summary);
  g_option_context_set_description (
      context,
      "NAME is what 'vhostctl list' shows; PROCESS/NAME where several programs have one of "
      "that name.\n\nExit status: 0 done, 1 failed, 2 wrong usage.");
  if (more != NULL)
    g_option_context_add_main_entries (context, more, NULL);
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    {
      vhostctl_complain (verb, "%s; see vhostctl %s --help", error->message, verb);
      return FALSE;
    }
  if (*argc - 1 < n)
    {
      vhostctl_complain (verb, "say more: vhostctl %s %s", verb, what);
      return FALSE;
    }
  return TRUE;
}

static void
device_free (gpointer data)
{
  BusDevice *self = data;

  g_clear_object (&self->connection);
  g_free (self->owner);
  g_free (self->path);
  g_free (self->name);
  g_clear_pointer (&self->properties, g_variant_unref);
  g_free (self);
}

void
bus_clear (Bus *self)
{
  g_clear_pointer (&self->address, g_free);
  g_clear_pointer (&self->devices, g_ptr_array_unref);
}

/* ---- Search ---- */

typedef struct
{
  Bus *bus;
  guint *n_waiting;
  GDBusConnection *connection;
  char *owner;
  guint process;
} Question;

static void
add_device (Question *question, const char *path, GVariant *interfaces)
{
  g_autoptr (GVariant) properties = g_variant_lookup_value (interfaces, INTERFACE, NULL);
  BusDevice *device;
  const char *name;

  if (properties == NULL || !g_variant_lookup (properties, "Name", "&s", &name))
    return;
  device = g_new0 (BusDevice, 1);
  device->connection = g_object_ref (question->connection);
  device->owner = g_strdup (question->owner);
  device->process = question->process;
  device->path = g_strdup (path);
  device->name = g_strdup (name);
  device->properties = g_steal_pointer (&properties);
  g_ptr_array_add (question->bus->devices, device);
}

static void
question_end (Question *question)
{
  (*question->n_waiting)--;
  g_object_unref (question->connection);
  g_free (question->owner);
  g_free (question);
}

static void
on_objects (GObject *object, GAsyncResult *result, gpointer data)
{
  Question *question = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) answer
      = g_dbus_connection_call_finish (G_DBUS_CONNECTION (object), result, &error);

  if (answer == NULL)
    {
      g_dbus_error_strip_remote_error (error);
      vhostctl_complain (question->bus->verb, "%s does not answer and is left out: %s",
                         question->owner, error->message);
    }
  else
    {
      g_autoptr (GVariant) objects = g_variant_get_child_value (answer, 0);
      GVariantIter iter;
      const char *path;
      GVariant *interfaces;

      g_variant_iter_init (&iter, objects);
      while (g_variant_iter_loop (&iter, "{&o@a{sa{sv}}}", &path, &interfaces))
        add_device (question, path, interfaces);
    }
  question_end (question);
}

static void
on_process (GObject *object, GAsyncResult *result, gpointer data)
{
  Question *question = data;
  g_autoptr (GVariant) answer
      = g_dbus_connection_call_finish (G_DBUS_CONNECTION (object), result, NULL);

  if (answer != NULL)
    g_variant_get (answer, "(u)", &question->process);
  g_dbus_connection_call (question->connection, question->owner, ROOT,
                          "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", NULL,
                          G_VARIANT_TYPE ("(a{oa{sa{sv}}})"), G_DBUS_CALL_FLAGS_NO_AUTO_START,
                          FIND_TIMEOUT_MS, NULL, on_objects, question);
}

static void
ask_bus (Bus *self, GDBusConnection *connection, guint *n_waiting)
{
  g_autoptr (GVariant) answer = g_dbus_connection_call_sync (
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
      "ListNames", NULL, G_VARIANT_TYPE ("(as)"), G_DBUS_CALL_FLAGS_NONE, FIND_TIMEOUT_MS, NULL,
      NULL);
  g_autoptr (GVariantIter) names = NULL;
  const char *name;

  if (answer == NULL)
    return;
  g_variant_get (answer, "(as)", &names);
  while (g_variant_iter_next (names, "&s", &name))
    if (strcmp (name, PREFIX) == 0 || g_str_has_prefix (name, PREFIX "."))
      {
        Question *question = g_new0 (Question, 1);

        question->bus = self;
        question->n_waiting = n_waiting;
        question->connection = g_object_ref (connection);
        question->owner = g_strdup (name);
        (*n_waiting)++;
        g_dbus_connection_call (
            connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
            "GetConnectionUnixProcessID", g_variant_new ("(s)", name), G_VARIANT_TYPE ("(u)"),
            G_DBUS_CALL_FLAGS_NONE, FIND_TIMEOUT_MS, NULL, on_process, question);
      }
}

static int
compare_devices (gconstpointer a, gconstpointer b)
{
  const BusDevice *first = *(BusDevice *const *) a, *second = *(BusDevice *const *) b;
  int order = strcmp (first->name, second->name);

  return order != 0 ? order
                    : (first->process > second->process) - (first->process < second->process);
}

gboolean
bus_find (Bus *self)
{
  gboolean all = !self->session && !self->system && self->address == NULL;
  g_autoptr (GPtrArray) buses = g_ptr_array_new_with_free_func (g_object_unref);
  g_autoptr (GString) reasons = g_string_new (NULL);
  guint n_waiting = 0;

  for (guint i = 0; i < 3; i++)
    {
      static const char *const labels[] = { "the session bus", "the system bus", "the bus" };
      g_autoptr (GError) error = NULL;
      GDBusConnection *connection;

      if (!(i == 0 ? self->session || all : i == 1 ? self->system || all : self->address != NULL))
        continue;
      if (i < 2)
        connection = g_bus_get_sync (i == 0 ? G_BUS_TYPE_SESSION : G_BUS_TYPE_SYSTEM, NULL, &error);
      else
        connection = g_dbus_connection_new_for_address_sync (
            self->address,
            G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT
                | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
            NULL, NULL, &error);
      if (connection != NULL)
        {
          g_dbus_connection_set_exit_on_close (connection, FALSE);
          g_ptr_array_add (buses, connection);
        }
      else
        g_string_append_printf (reasons, "%s%s: %s", reasons->len > 0 ? "; " : "", labels[i],
                                error->message);
    }
  if (buses->len == 0)
    {
      vhostctl_complain (self->verb, "there is no bus to look at: %s", reasons->str);
      return FALSE;
    }
  self->devices = g_ptr_array_new_with_free_func (device_free);
  for (guint i = 0; i < buses->len; i++)
    ask_bus (self, buses->pdata[i], &n_waiting);
  while (n_waiting > 0)
    g_main_context_iteration (NULL, TRUE);
  g_ptr_array_sort (self->devices, compare_devices);
  return TRUE;
}

BusDevice *
bus_get (Bus *self, const char *name)
{
  const char *slash = strchr (name, '/');
  g_autoptr (GString) known = g_string_new (NULL);
  BusDevice *found = NULL;
  guint n = 0;

  if (!bus_find (self))
    return NULL;
  for (guint i = 0; i < self->devices->len; i++)
    {
      BusDevice *device = self->devices->pdata[i];
      g_autofree char *full = g_strdup_printf ("%u/%s", device->process, device->name);

      g_string_append_printf (known, "%s%s", i > 0 ? ", " : "", full);
      if (strcmp (device->name, name) == 0 || (slash != NULL && strcmp (full, name) == 0))
        {
          found = device;
          n++;
        }
    }
  if (n == 1)
    return found;
  if (n > 1)
    vhostctl_complain (self->verb, "%u programs have a device \"%s\": say which, of %s", n, name,
                       known->str);
  else if (known->len > 0)
    vhostctl_complain (self->verb, "there is no device \"%s\"; there are %s", name, known->str);
  else
    vhostctl_complain (self->verb,
                       "there is no device \"%s\", nor any other: programs put theirs on a bus by "
                       "--bus=session or --bus=system",
                       name);
  return NULL;
}

/* ---- Calls ---- */

GVariant *
bus_call (Bus *self, BusDevice *device, const char *method, GVariant *arguments, GUnixFDList **fds)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *name = NULL;
  GVariant *answer = g_dbus_connection_call_with_unix_fd_list_sync (
      device->connection, device->owner, device->path, INTERFACE, method, arguments, NULL,
      G_DBUS_CALL_FLAGS_NO_AUTO_START, CALL_TIMEOUT_MS, NULL, fds, NULL, &error);

  if (answer != NULL)
    return answer;
  name = g_dbus_error_get_remote_error (error);
  g_dbus_error_strip_remote_error (error);
  if (g_strcmp0 (name, "org.freedesktop.DBus.Error.AccessDenied") == 0)
    vhostctl_complain (self->verb, "refused: %s", error->message);
  else
    vhostctl_complain (self->verb, "%s: %s", device->name, error->message);
  return NULL;
}

int
bus_run_simple (const char *verb, const char *method, const char *summary, int argc, char **argv)
{
  g_auto (Bus) bus = { 0 };
  g_autoptr (GVariant) answer = NULL;
  BusDevice *device;

  if (!bus_parse_options (&bus, verb, "NAME", summary, NULL, 1, &argc, &argv))
    return EXIT_USAGE;
  if (argc > 2)
    {
      vhostctl_complain (verb, "'%s' is too much: one device at a time", argv[2]);
      return EXIT_USAGE;
    }
  device = bus_get (&bus, argv[1]);
  if (device == NULL)
    return EXIT_FAILURE;
  answer = bus_call (&bus, device, method, NULL, NULL);
  return answer != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}

const char *
bus_device_get_string (BusDevice *self, const char *property)
{
  const char *text = "";

  g_variant_lookup (self->properties, property, "&s", &text);
  return text;
}

guint64
bus_device_get_number (BusDevice *self, const char *property)
{
  guint64 number = 0;
  guint32 small = 0;

  if (!g_variant_lookup (self->properties, property, "t", &number)
      && g_variant_lookup (self->properties, property, "u", &small))
    number = small;
  return number;
}
