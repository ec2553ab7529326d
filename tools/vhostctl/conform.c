/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl conform: runs the cases, each on a connection of its own, and looks after each whether
 * the back-end still lives. Must not know a rule. */
#include "conform.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_S 2
#define QUIET_MS 100
/* ... and so many times what a request takes. */
#define SLOWNESS 3
/* A case may wait for several things in turn. */
#define CASE_TIMEOUTS 8

static const ConformRule *const subjects[] = {
  conform_message_rules, conform_negotiation_rules,  conform_ring_state_rules,
  conform_status_rules,  conform_config_rules,       conform_memory_rules,
  conform_split_rules,   conform_split_broken_rules, conform_packed_rules,
  conform_notify_rules,  conform_inflight_rules,     conform_log_rules,
  conform_iotlb_rules,   conform_state_rules,        conform_postcopy_rules,
  conform_hostile_rules,
};

static char *opt_only;
static char *opt_device;
static char *opt_serve;
static gboolean opt_json;
static gboolean opt_verbose;
static gboolean opt_strict;
static double opt_timeout = DEFAULT_TIMEOUT_S;

static const GOptionEntry entries[] = {
  { "only", 0, 0, G_OPTION_ARG_STRING, &opt_only, "Run these rules alone", "RULE[,RULE...]" },
  { "device", 'd', 0, G_OPTION_ARG_STRING, &opt_device,
    "Type of the device: block, net, rng (default: guessed)", "TYPE" },
  { "serve", 0, 0, G_OPTION_ARG_STRING, &opt_serve,
    "Start the back-end by this, and again when it crashed or hung; {socket} is SOCKET",
    "COMMAND" },
  { "timeout", 0, 0, G_OPTION_ARG_DOUBLE, &opt_timeout, "Wait so long for an answer (default: 2)",
    "SECONDS" },
  { "strict", 0, 0, G_OPTION_ARG_NONE, &opt_strict, "Fail also where the back-end only differs",
    NULL },
  { "json", 'j', 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL },
  { "verbose", 'v', 0, G_OPTION_ARG_NONE, &opt_verbose,
    "Show what was sent and received for every rule, and the back-end's output", NULL },
  G_OPTION_ENTRY_NULL,
};

/* ---- Verdicts ---- */

gboolean
conform_is_decided (Conform *self)
{
  return self->verdict != CONFORM_UNDECIDED;
}

static void
decide (Conform *self, ConformVerdict verdict, const char *format, va_list args)
{
  if (conform_is_decided (self))
    return;
  self->verdict = verdict;
  g_free (self->sentence);
  self->sentence = g_strdup_vprintf (format, args);
}

#define DEFINE_VERDICT(name, verdict)                                                              \
  void conform_##name (Conform *self, const char *format, ...)                                     \
  {                                                                                                \
    va_list args;                                                                                  \
                                                                                                   \
    va_start (args, format);                                                                       \
    decide (self, verdict, format, args);                                                          \
    va_end (args);                                                                                 \
  }

DEFINE_VERDICT (fail, self->rule != NULL && self->rule->force != CONFORM_MUST ? CONFORM_DIFFERS
                                                                              : CONFORM_BROKEN)
DEFINE_VERDICT (inconclusive, CONFORM_INCONCLUSIVE)
DEFINE_VERDICT (not_offered, CONFORM_NOT_OFFERED)
/* The rule is kept, in a way that is worth a word. */
DEFINE_VERDICT (note, CONFORM_KEPT)

void
conform_transcribe (Conform *self, const char *format, ...)
{
  va_list args;

  /* A case that waits in a loop must not fill the memory. */
  if (self->transcript->len > 16384)
    return;
  va_start (args, format);
  g_string_append_vprintf (self->transcript, format, args);
  va_end (args);
  g_string_append_c (self->transcript, '\n');
}

gint64
conform_get_deadline (Conform *self)
{
  return MIN (g_get_monotonic_time () + (gint64) self->timeout_ms * 1000, self->deadline);
}

/* ---- The run ---- */

static void
begin_case (Conform *self, const ConformRule *rule)
{
  self->rule = rule;
  self->verdict = CONFORM_UNDECIDED;
  self->sentence = NULL;
  self->transcript = g_string_new (NULL);
  self->deadline = g_get_monotonic_time () + (gint64) CASE_TIMEOUTS * self->timeout_ms * 1000;
  self->may_close = self->was_opened = self->was_closed = FALSE;
  self->fd = -1;
  self->features = self->protocol = 0;
  self->meanwhile = NULL;
  self->channel = -1;
  self->n_misses = 0;
  conform_rings_init (self);
}

static void
end_case (Conform *self)
{
  conform_close (self);
  conform_rings_clear (self);
}

/* What the back-end offers, before any rule. */
static gboolean
explore (Conform *self)
{
  begin_case (self, NULL);
  conform_open (self);
  self->offered_features = conform_get_u64 (self, MSG_GET_FEATURES);
  self->offered_protocol = 0;
  self->n_queues = 1;
  if ((self->offered_features & F_PROTOCOL) != 0)
    self->offered_protocol = conform_get_u64 (self, MSG_GET_PROTOCOL_FEATURES);
  if ((self->offered_protocol & P_MQ) != 0)
    self->n_queues = (guint) conform_get_u64 (self, MSG_GET_QUEUE_NUM);
  if (self->device == NULL)
    {
      g_autoptr (GBytes) config = NULL;
      ConformAnswer answer = { 0 };

      conform_connect_with (self, 0, P_CONFIG);
      if ((self->protocol & P_CONFIG) != 0)
        {
          guint8 question[12 + 60] = { 0 };

          question[4] = 60;
          conform_send (self, MSG_GET_CONFIG, CONFORM_VERSION, question, sizeof question, NULL, 0);
          if (conform_receive (self, &answer) && answer.size == sizeof question)
            config = g_bytes_new (answer.payload + 12, 60);
          conform_clear_answer (&answer);
        }
      self->device = device_config_guess (self->offered_features, self->offered_protocol, config);
    }
  end_case (self);
  if (self->verdict != CONFORM_UNDECIDED)
    vhostctl_complain ("conform", "%s: %s", self->socket_path, self->sentence);
  g_string_free (self->transcript, TRUE);
  g_clear_pointer (&self->sentence, g_free);
  return self->verdict == CONFORM_UNDECIDED;
}

static gboolean
knows_device (Conform *self)
{
  static const char *const known[] = { "block", "net", "rng", NULL };

  return self->device != NULL && g_strv_contains (known, self->device);
}

/* What is forbidden must have the time to show, also where each request takes long. */
static void
measure (Conform *self)
{
  ConformRing *ring;
  gint64 begin;

  begin_case (self, NULL);
  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  begin = g_get_monotonic_time ();
  conform_io_run (ring);
  if (!conform_is_decided (self))
    self->quiet_ms
        = MAX (self->quiet_ms, (guint) (SLOWNESS * (g_get_monotonic_time () - begin) / 1000));
  end_case (self);
  /* A request that fails is told by the rules. */
  g_string_free (self->transcript, TRUE);
  g_clear_pointer (&self->sentence, g_free);
}

/* Whether the case can run at all. */
static gboolean
check_needs (Conform *self, const ConformRule *rule)
{
  const guint64 features = rule->features & ~self->offered_features;
  const guint64 protocol = rule->protocol & ~self->offered_protocol;

  /* First: bits below 24 mean something else to each type of device. */
  if (protocol != 0)
    {
      const guint bit = (guint) __builtin_ctzll (protocol);
      const char *name = vhost_frontend_protocol_feature_name (bit);

      conform_not_offered (self, "protocol feature %u (%s) is not offered", bit, name ? name : "?");
    }
  else if (features != 0)
    {
      const guint bit = (guint) __builtin_ctzll (features);
      const char *name = vhost_frontend_feature_name (self->device, bit);

      conform_not_offered (self, "feature %u (%s) is not offered", bit, name ? name : "?");
    }
  else if (rule->needs_io && !knows_device (self))
    conform_inconclusive (self, "no request is known that this device answers: give --device");
  return !conform_is_decided (self);
}

static void
run_case (Conform *self, ConformServer *server, const ConformRule *rule, ConformResult *result)
{
  begin_case (self, rule);
  if (rule->run == NULL)
    self->verdict = CONFORM_NOT_VISIBLE;
  else if (check_needs (self, rule))
    {
      ConformVerdict health;

      rule->run (self);
      /* Before the connection ends, nobody else may be served. */
      conform_close (self);
      health = conform_server_check (server, NULL);
      if (health != CONFORM_KEPT)
        {
          g_autofree char *before = g_steal_pointer (&self->sentence);

          self->verdict = health;
          self->sentence = g_strdup_printf (
              "%s%s%s",
              health == CONFORM_CRASHED ? "the back-end is gone afterwards"
                                        : "the back-end answers nobody afterwards",
              before != NULL ? "; before: " : "", before != NULL ? before : "");
        }
      else if (self->verdict == CONFORM_UNDECIDED)
        self->verdict = CONFORM_KEPT;
    }
  end_case (self);
  result->verdict = self->verdict;
  result->sentence = g_steal_pointer (&self->sentence);
  result->transcript = g_string_free (self->transcript, FALSE);
}

/* (transfer full) An unknown name is told, and NULL returned. */
static GPtrArray *
choose_rules (void)
{
  g_autoptr (GPtrArray) rules = g_ptr_array_new ();
  g_auto (GStrv) names = opt_only != NULL ? g_strsplit (opt_only, ",", -1) : NULL;

  for (guint i = 0; i < G_N_ELEMENTS (subjects); i++)
    for (const ConformRule *rule = subjects[i]; rule->name != NULL; rule++)
      if (names == NULL || g_strv_contains ((const char *const *) names, rule->name))
        g_ptr_array_add (rules, (gpointer) rule);
  for (guint i = 0; names != NULL && names[i] != NULL; i++)
    {
      gboolean found = FALSE;

      for (guint k = 0; k < rules->len; k++)
        found |= strcmp (((const ConformRule *) rules->pdata[k])->name, names[i]) == 0;
      if (!found)
        {
          vhostctl_complain ("conform", "there is no rule '%s'; without --only all are listed",
                             names[i]);
          return NULL;
        }
    }
  return g_steal_pointer (&rules);
}

/* FALSE: the back-end is lost, and with it the rest of the run. */
static gboolean
keep_alive (ConformServer *server, const ConformResult *result)
{
  g_autoptr (GError) error = NULL;

  if (result->verdict != CONFORM_CRASHED && result->verdict != CONFORM_HUNG)
    return TRUE;
  if (!conform_server_can_restart (server))
    return FALSE;
  if (conform_server_restart (server, &error)
      && conform_server_check (server, NULL) == CONFORM_KEPT)
    return TRUE;
  vhostctl_complain ("conform", "%s",
                     error != NULL ? error->message : "the back-end does not answer any more");
  return FALSE;
}

static int
run_rules (Conform *self, ConformServer *server, GPtrArray *rules)
{
  g_autofree ConformResult *results = g_new0 (ConformResult, rules->len);
  gboolean alive = TRUE;
  int status = EXIT_SUCCESS;

  for (guint i = 0; i < rules->len; i++)
    {
      results[i].rule = rules->pdata[i];
      conform_print_progress (i + 1, rules->len, results[i].rule->name);
      if (!alive)
        {
          results[i].verdict = CONFORM_NOT_RUN;
          continue;
        }
      run_case (self, server, rules->pdata[i], &results[i]);
      alive = keep_alive (server, &results[i]);
      if (results[i].verdict == CONFORM_BROKEN || results[i].verdict == CONFORM_CRASHED
          || results[i].verdict == CONFORM_HUNG
          || (opt_strict && results[i].verdict == CONFORM_DIFFERS))
        status = EXIT_FAILURE;
    }
  conform_print_progress (0, 0, NULL);
  if (opt_json)
    conform_print_json (self, results, rules->len);
  else
    conform_print_table (results, rules->len, opt_verbose);
  for (guint i = 0; i < rules->len; i++)
    {
      g_free (results[i].sentence);
      g_free (results[i].transcript);
    }
  return status;
}

int
vhostctl_conform (int argc, char **argv)
{
  Conform self = { .fd = -1, .quiet_ms = QUIET_MS };
  g_autoptr (GPtrArray) rules = NULL;
  g_autoptr (GError) error = NULL;
  ConformServer *server;
  int status = EXIT_FAILURE;

  if (!vhostctl_parse_options ("conform",
                               "Runs the rules of the protocol against the back-end behind a "
                               "socket. Nothing may use it meanwhile.",
                               entries, &argc, &argv))
    return EXIT_USAGE;
  if (!(opt_timeout >= 0.05 && opt_timeout <= 600))
    {
      vhostctl_complain ("conform", "a time limit is between 0.05 and 600 seconds");
      return EXIT_USAGE;
    }
  if (strlen (argv[1]) >= 108)
    {
      vhostctl_complain ("conform", "the path of a socket has at most 107 bytes");
      return EXIT_USAGE;
    }
  rules = choose_rules ();
  if (rules == NULL)
    return EXIT_USAGE;

  self.socket_path = argv[1];
  self.timeout_ms = (guint) (opt_timeout * 1000);
  self.device = opt_device;
  server = conform_server_new (&self, opt_serve, opt_verbose);
  if (!conform_server_start (server, &error))
    vhostctl_complain ("conform", "%s", error->message);
  else if (conform_server_check (server, &self.offered_features) != CONFORM_KEPT)
    vhostctl_complain ("conform", "nobody answers at %s: is the back-end running, and not in use?",
                       self.socket_path);
  else if (explore (&self))
    {
      if (knows_device (&self))
        measure (&self);
      status = run_rules (&self, server, rules);
    }
  conform_server_free (server);
  return status;
}
