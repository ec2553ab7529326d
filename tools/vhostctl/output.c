/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers, options, errors and JSON, the same for every verb. Must not know a device. */
#include "vhostctl.h"

#include <stdio.h>
#include <string.h>

void
vhostctl_complain (const char *verb, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_printerr ("vhostctl %s: %s\n", verb, text);
}

gboolean
vhostctl_parse_options (const char *verb, const char *summary, const GOptionEntry *entries,
                        int *argc, char ***argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("SOCKET");
  g_autofree char *program = g_strdup_printf ("vhostctl %s", verb);
  g_autoptr (GError) error = NULL;

  g_set_prgname (program);
  g_option_context_set_summary (context, summary);
  g_option_context_set_description (context, "Exit status: 0 done, 1 failed, 2 wrong usage.");
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    {
      vhostctl_complain (verb, "%s; see vhostctl %s --help", error->message, verb);
      return FALSE;
    }
  if (*argc < 2)
    {
      vhostctl_complain (verb, "name the back-end's socket, as in: vhostctl %s /run/disk0.sock",
                         verb);
      return FALSE;
    }
  if (*argc > 2)
    {
      vhostctl_complain (verb, "'%s' is too much: one socket is all; see vhostctl %s --help",
                         (*argv)[2], verb);
      return FALSE;
    }
  return TRUE;
}

gboolean
vhostctl_parse_size (const char *text, guint64 *size)
{
  static const char units[] = "KMGT";
  guint64 number;
  const char *unit;
  char *end;
  guint shift;

  /* g_ascii_strtoull () takes blanks and signs; a size has neither. */
  if (!g_ascii_isdigit (*text) || strspn (text, "0123456789") > 19)
    return FALSE;
  number = g_ascii_strtoull (text, &end, 10);
  if (*end == '\0')
    {
      *size = number;
      return TRUE;
    }
  unit = strchr (units, g_ascii_toupper (*end));
  if (unit == NULL || end[1] != '\0')
    return FALSE;
  shift = 10 * (guint) (unit - units + 1);
  if (number > G_MAXUINT64 >> shift)
    return FALSE;
  *size = number << shift;
  return TRUE;
}

char *
vhostctl_format_size (guint64 size)
{
  static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
  double number = (double) size;
  guint unit = 0;

  while (number >= 1024 && unit + 1 < G_N_ELEMENTS (units))
    {
      number /= 1024;
      unit++;
    }
  return number == (guint64) number ? g_strdup_printf ("%.0f %s", number, units[unit])
                                    : g_strdup_printf ("%.2f %s", number, units[unit]);
}

char *
vhostctl_make_printable (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *printable = g_string_new (NULL);

  for (const char *p = valid; *p != '\0'; p = g_utf8_next_char (p))
    {
      const gunichar c = g_utf8_get_char (p);

      g_string_append_unichar (printable, g_unichar_isprint (c) ? c : '?');
    }
  return g_string_free (printable, FALSE);
}

/* Larger numbers are not told right by JSON readers anyhow. */
void
vhostctl_json_int (JsonBuilder *builder, const char *name, guint64 value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_int_value (builder, (gint64) MIN (value, (guint64) G_MAXINT64));
}

void
vhostctl_json_double (JsonBuilder *builder, const char *name, double value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_double_value (builder, value);
}

void
vhostctl_json_boolean (JsonBuilder *builder, const char *name, gboolean value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_boolean_value (builder, value);
}

void
vhostctl_json_string (JsonBuilder *builder, const char *name, const char *value)
{
  json_builder_set_member_name (builder, name);
  if (value != NULL)
    json_builder_add_string_value (builder, value);
  else
    json_builder_add_null_value (builder);
}

void
vhostctl_json_begin_object (JsonBuilder *builder, const char *name)
{
  if (name != NULL)
    json_builder_set_member_name (builder, name);
  json_builder_begin_object (builder);
}

void
vhostctl_json_begin_array (JsonBuilder *builder, const char *name)
{
  json_builder_set_member_name (builder, name);
  json_builder_begin_array (builder);
}

void
vhostctl_json_print (JsonBuilder *builder)
{
  g_autoptr (JsonNode) root = json_builder_get_root (builder);
  g_autofree char *text = json_to_string (root, TRUE);

  puts (text);
}
