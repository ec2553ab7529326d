/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a run of the cases found, for people and for programs. */
#include "conform.h"

#include <string.h>
#include <unistd.h>

/* Of a transcript, when not all is wanted. */
#define LAST_LINES 8

static const char *const verdicts[CONFORM_N_VERDICTS] = {
  [CONFORM_UNDECIDED] = "undecided",
  [CONFORM_KEPT] = "kept",
  [CONFORM_BROKEN] = "broken",
  [CONFORM_DIFFERS] = "differs",
  [CONFORM_NOT_OFFERED] = "not offered",
  [CONFORM_CRASHED] = "crashed",
  [CONFORM_HUNG] = "hung",
  [CONFORM_INCONCLUSIVE] = "inconclusive",
  [CONFORM_NOT_VISIBLE] = "not visible",
  [CONFORM_NOT_RUN] = "not run",
};

static const char *const forces[] = { "must", "should", "open" };

const char *
conform_verdict_name (ConformVerdict verdict)
{
  return verdicts[verdict];
}

void
conform_print_progress (guint n, guint total, const char *name)
{
  if (!isatty (STDERR_FILENO))
    return;
  if (name == NULL)
    g_printerr ("\r\033[K");
  else
    g_printerr ("\r\033[K%u/%u %s", n, total, name);
}

/* Its end, which is where it went wrong, or @all. */
static void
print_transcript (const char *transcript, gboolean all)
{
  g_auto (GStrv) lines = g_strsplit (transcript, "\n", -1);
  const guint n = g_strv_length (lines);

  for (guint i = all || n < LAST_LINES ? 0 : n - LAST_LINES; i < n; i++)
    if (*lines[i] != '\0')
      printf ("    %s\n", lines[i]);
}

static gboolean
is_fault (ConformVerdict verdict)
{
  return verdict == CONFORM_BROKEN || verdict == CONFORM_CRASHED || verdict == CONFORM_HUNG;
}

void
conform_print_table (const ConformResult *results, guint n, gboolean verbose)
{
  guint counts[CONFORM_N_VERDICTS] = { 0 };
  GString *summary = g_string_new (NULL);

  printf ("%-22s %-34s %-6s %-12s %s\n", "RULE", "SECTION", "TEXT", "VERDICT", "");
  for (guint i = 0; i < n; i++)
    {
      const ConformResult *result = &results[i];
      const ConformRule *rule = result->rule;

      counts[result->verdict]++;
      printf ("%-22s %-34s %-6s %-12s %s\n", rule->name, rule->section, forces[rule->force],
              verdicts[result->verdict], result->sentence != NULL ? result->sentence : rule->text);
      if (result->transcript != NULL
          && ((verbose && result->verdict != CONFORM_NOT_VISIBLE) || is_fault (result->verdict)))
        print_transcript (result->transcript, verbose);
    }
  for (guint i = 0; i < CONFORM_N_VERDICTS; i++)
    if (counts[i] > 0)
      g_string_append_printf (summary, "%s%u %s", summary->len > 0 ? ", " : "", counts[i],
                              verdicts[i]);
  printf ("%u rules: %s\n", n, summary->str);
  g_string_free (summary, TRUE);
}

void
conform_print_json (Conform *self, const ConformResult *results, guint n)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_array (builder);
  for (guint i = 0; i < n; i++)
    {
      const ConformResult *result = &results[i];
      const char *sentence = result->sentence != NULL ? result->sentence : result->rule->text;

      vhostctl_json_begin_object (builder, NULL);
      vhostctl_json_string (builder, "rule", result->rule->name);
      vhostctl_json_string (builder, "section", result->rule->section);
      vhostctl_json_string (builder, "text", forces[result->rule->force]);
      vhostctl_json_string (builder, "verdict", verdicts[result->verdict]);
      vhostctl_json_string (builder, "rule-text", result->rule->text);
      vhostctl_json_string (builder, "sentence", sentence);
      vhostctl_json_string (builder, "transcript", result->transcript);
      json_builder_end_object (builder);
    }
  json_builder_end_array (builder);
  vhostctl_json_print (builder);
}
