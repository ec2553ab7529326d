/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl: looks at vhost-user back-ends and drives them. This file knows the verbs' names and
 * what they share. */
#include "config.h"

#include "vhostctl.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static const struct
{
  const char *name;
  const char *summary;
  int (*run) (int argc, char **argv);
} verbs[] = {
  { "bench", "measures and verifies a block back-end, without a VM", verb_bench },
  { "probe", "shows what a back-end offers", verb_probe },
};

void
complain (const char *verb, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_printerr ("vhostctl %s: %s\n", verb, text);
}

gboolean
parse_options (const char *verb, const char *summary, const GOptionEntry *entries, int *argc,
               char ***argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("SOCKET");
  g_autofree char *program = g_strdup_printf ("vhostctl %s", verb);
  g_autoptr (GError) error = NULL;

  g_set_prgname (program);
  g_option_context_set_summary (context, summary);
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    {
      complain (verb, "%s; see vhostctl %s --help", error->message, verb);
      return FALSE;
    }
  if (*argc != 2)
    {
      complain (verb,
                *argc < 2 ? "name the back-end's socket, as in: vhostctl %s /run/disk0.sock"
                          : "one socket only; see vhostctl %s --help",
                verb);
      return FALSE;
    }
  return TRUE;
}

gboolean
parse_size (const char *text, guint64 *size)
{
  const char *const units = "KMGT";
  char *end;
  const char *unit;

  if (!g_ascii_isdigit (*text))
    return FALSE;
  *size = g_ascii_strtoull (text, &end, 10);
  if (*end == '\0')
    return TRUE;
  unit = strchr (units, g_ascii_toupper (*end));
  if (unit == NULL || end[1] != '\0' || *size > G_MAXUINT64 >> (10 * (unit - units + 1)))
    return FALSE;
  *size <<= 10 * (unit - units + 1);
  return TRUE;
}

void
print_json (JsonBuilder *builder)
{
  g_autoptr (JsonNode) root = json_builder_get_root (builder);
  g_autofree char *text = json_to_string (root, TRUE);

  puts (text);
}

char *
process_name (int pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/comm", pid);
  char *name = NULL;

  if (pid > 0 && g_file_get_contents (path, &name, NULL, NULL))
    g_strchomp (name);
  return name;
}

gboolean
read_block_config (VhostFrontend *frontend, struct virtio_blk_config *config, GError **error)
{
  g_autoptr (GBytes) bytes = NULL;
  gconstpointer data;
  gsize size;

  memset (config, 0, sizeof *config);
  bytes = vhost_frontend_get_config (frontend, 0, sizeof *config, error);
  if (bytes == NULL)
    return FALSE;
  data = g_bytes_get_data (bytes, &size);
  memcpy (config, data, MIN (size, sizeof *config));
  return TRUE;
}

static void
usage (FILE *to)
{
  fprintf (to, "Usage: vhostctl VERB SOCKET [OPTION...]\n\n");
  for (gsize i = 0; i < G_N_ELEMENTS (verbs); i++)
    fprintf (to, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
  fprintf (
      to, "\nvhostctl VERB --help shows a verb's options. Exit status: 0 ok, 1 failed, 2 usage.\n");
}

int
main (int argc, char **argv)
{
  setlocale (LC_ALL, "");
  if (argc > 1 && strcmp (argv[1], "--version") == 0)
    {
      printf ("vhostctl %s\n", PACKAGE_VERSION);
      return 0;
    }
  if (argc > 1 && (strcmp (argv[1], "--help") == 0 || strcmp (argv[1], "-h") == 0))
    {
      usage (stdout);
      return 0;
    }
  for (gsize i = 0; argc > 1 && i < G_N_ELEMENTS (verbs); i++)
    if (strcmp (argv[1], verbs[i].name) == 0)
      return verbs[i].run (argc - 1, argv + 1);
  if (argc > 1)
    g_printerr ("vhostctl: no verb is called '%s'\n", argv[1]);
  usage (stderr);
  return EXIT_USAGE;
}
