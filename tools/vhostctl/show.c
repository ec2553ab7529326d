/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl show NAME: everything that a device says of itself. */
#include "bus.h"
#include "vhostctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GVariant *
get_counters (GVariant *statistics, guint queue)
{
  g_autoptr (GVariant) list = g_variant_get_child_value (statistics, 1);
  GVariantIter iter;
  GVariant *counters;
  guint index;

  g_variant_iter_init (&iter, list);
  while (g_variant_iter_next (&iter, "(u@a{st})", &index, &counters))
    {
      if (index == queue)
        return counters;
      g_variant_unref (counters);
    }
  return NULL;
}

static guint64
get_counter (GVariant *counters, const char *name)
{
  guint64 value = 0;

  if (counters != NULL)
    g_variant_lookup (counters, name, "t", &value);
  return value;
}

static void
print_words (BusDevice *device, const char *label, const char *property)
{
  g_autoptr (GVariant) list
      = g_variant_lookup_value (device->properties, property, G_VARIANT_TYPE_STRING_ARRAY);
  g_autofree const char **words = list != NULL ? g_variant_get_strv (list, NULL) : NULL;
  g_autofree char *text = words != NULL ? g_strjoinv (", ", (char **) words) : g_strdup ("");
  g_autofree char *printable = vhostctl_make_printable (text);

  if (printable[0] != '\0')
    printf ("%-18s %s\n", label, printable);
}

static void
print_options (BusDevice *device)
{
  g_autoptr (GVariant) options
      = g_variant_lookup_value (device->properties, "Options", G_VARIANT_TYPE_VARDICT);
  g_autoptr (GVariant) list = g_variant_lookup_value (device->properties, "ChangeableOptions",
                                                      G_VARIANT_TYPE_STRING_ARRAY);
  g_autofree const char **changeable = list != NULL ? g_variant_get_strv (list, NULL) : NULL;
  GVariantIter iter;
  const char *name;
  GVariant *value;

  if (options == NULL || g_variant_n_children (options) == 0)
    return;
  puts ("\nOptions (* may change while it runs: vhostctl set)");
  g_variant_iter_init (&iter, options);
  while (g_variant_iter_loop (&iter, "{&sv}", &name, &value))
    {
      gboolean is_text = g_variant_is_of_type (value, G_VARIANT_TYPE_STRING);
      g_autofree char *text = is_text ? g_variant_dup_string (value, NULL)
                              : g_variant_is_of_type (value, G_VARIANT_TYPE_BOOLEAN)
                                  ? g_strdup (g_variant_get_boolean (value) ? "yes" : "no")
                                  : g_variant_print (value, FALSE);
      g_autofree char *printable = vhostctl_make_printable (text);

      printf ("  %c %-22s %s\n",
              changeable != NULL && g_strv_contains (changeable, name) ? '*' : ' ', name,
              printable);
    }
}

static void
print_queues (BusDevice *device, GVariant *statistics)
{
  g_autoptr (GVariant) queues
      = g_variant_lookup_value (device->properties, "Queues", G_VARIANT_TYPE ("a(usu)"));
  GVariantIter iter;
  guint index, size;
  const char *state;

  if (queues == NULL || g_variant_n_children (queues) == 0)
    return;
  printf ("\n%5s  %-8s  %6s  %12s  %12s  %12s  %12s  %12s\n", "QUEUE", "STATE", "SIZE", "REQUESTS",
          "KICKS", "CALLS", "READ", "WRITTEN");
  g_variant_iter_init (&iter, queues);
  while (g_variant_iter_next (&iter, "(u&su)", &index, &state, &size))
    {
      g_autoptr (GVariant) counters = get_counters (statistics, index);
      g_autofree char *in = vhostctl_format_size (get_counter (counters, "bytes-in"));
      g_autofree char *out = vhostctl_format_size (get_counter (counters, "bytes-out"));

      printf ("%5u  %-8s  %6u  %12" G_GUINT64_FORMAT "  %12" G_GUINT64_FORMAT
              "  %12" G_GUINT64_FORMAT "  %12s  %12s\n",
              index, state, size, get_counter (counters, "requests"),
              get_counter (counters, "kicks"), get_counter (counters, "calls"), in, out);
    }
}

static void
print_text (BusDevice *device, GVariant *statistics)
{
  g_autofree char *name = vhostctl_make_printable (device->name);
  g_autofree char *socket = vhostctl_make_printable (bus_device_get_string (device, "SocketPath"));
  g_autofree char *memory = vhostctl_format_size (bus_device_get_number (device, "MemorySize"));
  g_autoptr (GVariant) peers
      = g_variant_lookup_value (device->properties, "Peers", G_VARIANT_TYPE ("a(uus)"));
  const char *error_name = "", *error_text = "", *peer;
  gboolean paused = FALSE;
  guint process, user;
  GVariantIter iter;

  g_variant_lookup (device->properties, "Paused", "b", &paused);
  printf ("%-18s %s\n", "Name", name);
  printf ("%-18s %s (VIRTIO id %u)\n", "Type", bus_device_get_string (device, "Type"),
          (guint) bus_device_get_number (device, "VirtioId"));
  printf ("%-18s %s%s\n", "State", bus_device_get_string (device, "State"),
          paused ? ", paused" : "");
  printf ("%-18s %u (%s)\n", "Process", device->process, device->owner);
  if (socket[0] != '\0')
    printf ("%-18s %s\n", "Socket", socket);
  if (peers != NULL)
    {
      g_variant_iter_init (&iter, peers);
      while (g_variant_iter_next (&iter, "(uu&s)", &process, &user, &peer))
        printf ("%-18s %s (process %u, user %u)\n", "Front-end", peer, process, user);
    }
  if (bus_device_get_number (device, "MemorySize") > 0)
    printf ("%-18s %s\n", "Guest memory", memory);
  print_words (device, "Features", "FeatureNames");
  print_words (device, "Protocol features", "ProtocolFeatureNames");
  if (g_variant_lookup (device->properties, "LastError", "(&s&s)", &error_name, &error_text)
      && error_name[0] != '\0')
    {
      g_autofree char *text = vhostctl_make_printable (error_text);

      printf ("%-18s %s (%s)\n", "Last error", text, error_name);
    }
  print_options (device);
  print_queues (device, statistics);
}

int
vhostctl_show (int argc, char **argv)
{
  g_auto (Bus) bus = { 0 };
  g_autoptr (GVariant) statistics = NULL;
  BusDevice *device;
  const GOptionEntry more[]
      = { { "json", 0, 0, G_OPTION_ARG_NONE, &bus.json, "Print JSON", NULL }, { NULL } };

  if (!bus_parse_options (&bus, "show", "NAME", "Shows what a device says of itself.", more, 1,
                          &argc, &argv))
    return EXIT_USAGE;
  if (argc > 2)
    {
      vhostctl_complain ("show", "'%s' is too much: one device at a time", argv[2]);
      return EXIT_USAGE;
    }
  device = bus_get (&bus, argv[1]);
  if (device == NULL)
    return EXIT_FAILURE;
  statistics
      = bus_call (&bus, device, "GetStatistics", g_variant_new_parsed ("(@a{sv} {},)"), NULL);
  if (statistics == NULL)
    return EXIT_FAILURE;
  if (bus.json)
    {
      g_auto (GVariantDict) dict;
      g_autoptr (GVariant) whole = NULL;
      g_autofree char *text = NULL;

      g_variant_dict_init (&dict, device->properties);
      g_variant_dict_insert (&dict, "Process", "u", device->process);
      g_variant_dict_insert (&dict, "BusName", "s", device->owner);
      g_variant_dict_insert (&dict, "ObjectPath", "s", device->path);
      {
        g_autoptr (GVariant) counters = g_variant_get_child_value (statistics, 1);

        g_variant_dict_insert_value (&dict, "Statistics", counters);
      }
      whole = g_variant_ref_sink (g_variant_dict_end (&dict));
      text = json_gvariant_serialize_data (whole, NULL);
      puts (text);
    }
  else
    print_text (device, statistics);
  return EXIT_SUCCESS;
}
