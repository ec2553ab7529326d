/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl list: the devices on the buses, one in a line. */
#include "bus.h"
#include "vhostctl.h"

#include <stdio.h>
#include <stdlib.h>

static void
print_json (Bus *bus)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_array (builder);
  for (guint i = 0; i < bus->devices->len; i++)
    {
      BusDevice *device = bus->devices->pdata[i];

      vhostctl_json_begin_object (builder, NULL);
      vhostctl_json_string (builder, "name", device->name);
      vhostctl_json_string (builder, "type", bus_device_get_string (device, "Type"));
      vhostctl_json_string (builder, "state", bus_device_get_string (device, "State"));
      vhostctl_json_int (builder, "process", device->process);
      vhostctl_json_string (builder, "socket-path", bus_device_get_string (device, "SocketPath"));
      vhostctl_json_string (builder, "bus-name", device->owner);
      vhostctl_json_string (builder, "object-path", device->path);
      json_builder_end_object (builder);
    }
  json_builder_end_array (builder);
  vhostctl_json_print (builder);
}

static void
print_table (Bus *bus)
{
  int name_width = 4, type_width = 4;

  for (guint i = 0; i < bus->devices->len; i++)
    {
      BusDevice *device = bus->devices->pdata[i];
      g_autofree char *name = vhostctl_make_printable (device->name);
      g_autofree char *type = vhostctl_make_printable (bus_device_get_string (device, "Type"));

      name_width = MAX (name_width, (int) g_utf8_strlen (name, -1));
      type_width = MAX (type_width, (int) g_utf8_strlen (type, -1));
    }
  printf ("%-*s  %-*s  %-8s  %7s  %s\n", name_width, "NAME", type_width, "TYPE", "STATE", "PROCESS",
          "SOCKET");
  for (guint i = 0; i < bus->devices->len; i++)
    {
      BusDevice *device = bus->devices->pdata[i];
      g_autofree char *name = vhostctl_make_printable (device->name);
      g_autofree char *type = vhostctl_make_printable (bus_device_get_string (device, "Type"));
      g_autofree char *socket
          = vhostctl_make_printable (bus_device_get_string (device, "SocketPath"));
      gboolean paused = FALSE;

      g_variant_lookup (device->properties, "Paused", "b", &paused);
      /* printf counts bytes, and a name may have letters of several. */
      printf ("%s%*s  %s%*s  %-8s  %7u  %s\n", name, name_width - (int) g_utf8_strlen (name, -1),
              "", type, type_width - (int) g_utf8_strlen (type, -1), "",
              paused ? "paused" : bus_device_get_string (device, "State"), device->process, socket);
    }
}

int
vhostctl_list (int argc, char **argv)
{
  g_auto (Bus) bus = { 0 };
  const GOptionEntry more[]
      = { { "json", 0, 0, G_OPTION_ARG_NONE, &bus.json, "Print JSON", NULL }, { NULL } };

  if (!bus_parse_options (&bus, "list", "", "Lists the devices on the session and the system bus.",
                          more, 0, &argc, &argv))
    return EXIT_USAGE;
  if (argc > 1)
    {
      vhostctl_complain ("list", "'%s' is too much: list takes no name; try vhostctl show %s",
                         argv[1], argv[1]);
      return EXIT_USAGE;
    }
  if (!bus_find (&bus))
    return EXIT_FAILURE;
  if (bus.json)
    print_json (&bus);
  else if (bus.devices->len == 0)
    g_printerr ("vhostctl list: no devices; programs put theirs on a bus by --bus=session or "
                "--bus=system\n");
  else
    print_table (&bus);
  return EXIT_SUCCESS;
}
