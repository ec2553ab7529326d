/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostd TYPE [OPTION...]: the built-in devices, one in the foreground. Finds the type and hands
 * over, to Python for a script; must not know what any device can be told. */
#include <libvhostd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../backends/block.h"
#include "../python-module.h"

#define EXIT_USAGE 2

static const struct
{
  const char *name;
  const char *description;
  GType (*get_type) (void);
} backends[] = {
  { "block", "a disk: an image file or a block device", vhostd_block_get_type },
};

static void
print_help (FILE *stream)
{
  fputs ("Usage:\n"
         "  vhostd TYPE [OPTION...]\n"
         "  vhostd run SCRIPT [OPTION...]\n"
         "\n"
         "Serves one virtio device to a virtual machine over a vhost-user socket.\n"
         "\n"
         "Types:\n",
         stream);
  for (guint i = 0; i < G_N_ELEMENTS (backends); i++)
    fprintf (stream, "  %-10s %s\n", backends[i].name, backends[i].description);
  fputs ("\n"
         "A script describes a device in Python: vhostd run --help.\n"
         "\n"
         "Options:\n"
         "  -h, --help Print this and exit; vhostd TYPE --help lists a type's options\n"
         "  --version  Print the version and exit\n",
         stream);
}

int
main (int argc, char **argv)
{
  if (argc < 2)
    {
      print_help (stderr);
      return EXIT_USAGE;
    }
  const char *word = argv[1];
  if (strcmp (word, "--help") == 0 || strcmp (word, "-h") == 0)
    {
      print_help (stdout);
      return EXIT_SUCCESS;
    }
  if (strcmp (word, "--version") == 0)
    {
      puts ("vhostd (libvhostd) " PACKAGE_VERSION);
      return EXIT_SUCCESS;
    }
  if (strcmp (word, "run") == 0)
    return python_module_exec ("vhostd run", "libvhostd.run", argc - 1, argv + 1);
  for (guint i = 0; i < G_N_ELEMENTS (backends); i++)
    if (strcmp (word, backends[i].name) == 0)
      {
        /* What help and version print; messages have the type in brackets anyway. */
        g_autofree char *title = g_strconcat ("vhostd ", word, NULL);
        g_set_prgname (title);
        argv[1] = argv[0];
        return vhost_backend_main (backends[i].get_type (), argc - 1, argv + 1);
      }
  fprintf (stderr, "vhostd: there is no device type \"%s\"; vhostd --help lists them\n", word);
  return EXIT_USAGE;
}
