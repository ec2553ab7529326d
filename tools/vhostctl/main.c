/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl VERB SOCKET [OPTION...]: looks at vhost-user back-ends and drives them. Finds the verb
 * and hands over; must not know what a verb does. */
#include "vhostctl.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct
{
  const char *name;
  const char *summary;
  int (*run) (int argc, char **argv);
} verbs[] = {
  { "bench", "loads, measures and verifies a disk", vhostctl_bench },
  { "conform", "checks a back-end against the rules of the protocol", vhostctl_conform },
  { "probe", "shows what a back-end offers", vhostctl_probe },
};

static void
print_help (FILE *stream)
{
  fputs ("Usage:\n"
         "  vhostctl VERB SOCKET [OPTION...]\n"
         "\n"
         "Speaks to the vhost-user back-end behind a socket, without a virtual machine.\n"
         "\n"
         "Verbs:\n",
         stream);
  for (guint i = 0; i < G_N_ELEMENTS (verbs); i++)
    fprintf (stream, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
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
