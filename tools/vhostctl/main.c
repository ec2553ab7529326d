/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl VERB: looks at vhost-user back-ends, drives them, controls devices over D-Bus. Finds the
 * verb and hands over; must not know what a verb does. */
#include "vhostctl.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct
{
  const char *name;
  const char *arguments;
  const char *summary;
  int (*run) (int argc, char **argv);
} verbs[] = {
  /* Of a socket */
  { "bench", "SOCKET", "loads, measures and verifies a disk", vhostctl_bench },
  { "conform", "SOCKET", "checks a back-end against the rules of the protocol", vhostctl_conform },
  { "probe", "SOCKET", "shows what a back-end offers", vhostctl_probe },
  { "shell", "SOCKET", "opens a Python prompt with a front-end", vhostctl_shell },
  /* Of a bus */
  { "list", "", "lists the devices on the buses", vhostctl_list },
  { "show", "NAME", "shows what a device says of itself", vhostctl_show },
  { "set", "NAME OPTION=VALUE...", "changes options of a running device", vhostctl_set },
  { "pause", "NAME", "leaves requests in the rings", vhostctl_pause },
  { "resume", "NAME", "goes on with them", vhostctl_resume },
  { "disconnect", "NAME", "closes the connections to front-ends", vhostctl_disconnect },
  { "monitor", "NAME", "shows what a device does", vhostctl_monitor },
  { "remove", "NAME", "stops a device", vhostctl_remove },
};

static void
print_help (FILE *stream)
{
  fputs (
      "Usage:\n"
      "  vhostctl VERB [ARGUMENT...] [OPTION...]\n"
      "\n"
      "Drives the vhost-user back-end behind a socket, without a virtual machine; controls devices "
      "over D-Bus.\n"
      "\n"
      "Verbs:\n",
      stream);
  for (guint i = 0; i < G_N_ELEMENTS (verbs); i++)
    {
      g_autofree char *usage = g_strdup_printf ("%s %s", verbs[i].name, verbs[i].arguments);
      fprintf (stream, "  %-27s %s\n", usage, verbs[i].summary);
    }
  fputs ("\n"
         "Options:\n"
         "  -h, --help Print this and exit; vhostctl VERB --help lists a verb's options\n"
         "  --version  Print the version and exit\n"
         "\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage.\n",
         stream);
}

/* What was printed must have arrived, or a script takes half of it for all. */
static int
check_output (int status)
{
  if (fflush (stdout) == 0 && !ferror (stdout))
    return status;
  g_printerr ("vhostctl: cannot write the output\n");
  return EXIT_FAILURE;
}

int
main (int argc, char **argv)
{
  const char *word;

  setlocale (LC_ALL, "");
  if (argc < 2)
    {
      print_help (stderr);
      return EXIT_USAGE;
    }
  word = argv[1];
  if (strcmp (word, "--help") == 0 || strcmp (word, "-h") == 0)
    {
      print_help (stdout);
      return check_output (EXIT_SUCCESS);
    }
  if (strcmp (word, "--version") == 0)
    {
      puts ("vhostctl (libvhostd) " PACKAGE_VERSION);
      return check_output (EXIT_SUCCESS);
    }
  for (guint i = 0; i < G_N_ELEMENTS (verbs); i++)
    {
      if (strcmp (word, verbs[i].name) == 0)
        return check_output (verbs[i].run (argc - 1, argv + 1));
    }
  g_printerr ("vhostctl: there is no verb '%s'; vhostctl --help lists them\n", word);
  return EXIT_USAGE;
}
