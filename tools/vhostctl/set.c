/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl set NAME OPTION=VALUE...: what may change while a device runs. The device parses the
 * values, as it does those of its command line. */
#include "bus.h"
#include "vhostctl.h"

#include <stdlib.h>
#include <string.h>

int
vhostctl_set (int argc, char **argv)
{
  g_auto (Bus) bus = { 0 };
  g_autoptr (GVariant) answer = NULL;
  GVariantBuilder options;
  BusDevice *device;

  if (!bus_parse_options (&bus, "set", "NAME OPTION=VALUE...",
                          "Changes options of a running device: all that are named, or none.", NULL,
                          2, &argc, &argv))
    return EXIT_USAGE;
  g_variant_builder_init (&options, G_VARIANT_TYPE_VARDICT);
  for (int i = 2; i < argc; i++)
    {
      const char *equals = strchr (argv[i], '=');
      g_autofree char *name = NULL;

      if (equals == NULL || equals == argv[i] || !g_utf8_validate (argv[i], -1, NULL))
        {
          g_variant_builder_clear (&options);
          vhostctl_complain ("set", "'%s' is no OPTION=VALUE, as in delay-ms=20", argv[i]);
          return EXIT_USAGE;
        }
      name = g_strndup (argv[i] + strspn (argv[i], "-"), equals - argv[i] - strspn (argv[i], "-"));
      g_variant_builder_add (&options, "{sv}", name, g_variant_new_string (equals + 1));
    }
  device = bus_get (&bus, argv[1]);
  if (device == NULL)
    {
      g_variant_builder_clear (&options);
      return EXIT_FAILURE;
    }
  answer = bus_call (&bus, device, "SetOptions", g_variant_new ("(a{sv})", &options), NULL);
  return answer != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}
