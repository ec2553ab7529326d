/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl monitor NAME: what a device does, while it does it. Rates for people, the device's own
 * lines for programs. */
#include "bus.h"
#include "vhostctl.h"

#include <gio/gunixfdlist.h>
#include <gio/gunixinputstream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct
{
  guint64 timestamp; /* ns; 0: none yet */
  guint64 requests, kicks, calls, in, out;
} Sample;

static guint64
add_up (JsonArray *queues, const char *counter)
{
  guint64 sum = 0;

  for (guint i = 0; i < json_array_get_length (queues); i++)
    {
      JsonArray *queue = json_array_get_array_element (queues, i);
      JsonObject *counters
          = json_array_get_length (queue) == 2 ? json_array_get_object_element (queue, 1) : NULL;

      if (counters != NULL && json_object_has_member (counters, counter))
        sum += (guint64) json_object_get_int_member (counters, counter);
    }
  return sum;
}

/* FALSE: nothing was printed, there is nothing to compare with yet. */
static gboolean
print_rates (JsonObject *line, Sample *before)
{
  gboolean comparable;
  JsonArray *queues = json_object_get_array_member (line, "queues");
  Sample now = {
    .timestamp = (guint64) json_object_get_int_member (line, "timestamp"),
    .requests = add_up (queues, "requests"),
    .kicks = add_up (queues, "kicks"),
    .calls = add_up (queues, "calls"),
    .in = add_up (queues, "bytes-in"),
    .out = add_up (queues, "bytes-out"),
  };

  /* Another front-end counts from the beginning. */
  comparable = before->timestamp != 0 && now.timestamp > before->timestamp
               && now.requests >= before->requests;
  if (comparable)
    {
      const double seconds = (double) (now.timestamp - before->timestamp) / 1e9;
#define RATE(what) ((double) (now.what - before->what) / seconds)
      printf ("%12.0f requests/s %10.1f MiB/s in %10.1f MiB/s out %10.0f kicks/s %10.0f calls/s\n",
              RATE (requests), RATE (in) / (1 << 20), RATE (out) / (1 << 20), RATE (kicks),
              RATE (calls));
    }
  *before = now;
  return comparable;
}

static const char *
get_text (JsonObject *line, const char *member)
{
  return json_object_has_member (line, member) ? json_object_get_string_member (line, member) : "";
}

static void
print_event (JsonObject *line, const char *event)
{
  if (strcmp (event, "state") == 0)
    printf ("state: %s%s\n", get_text (line, "state"),
            json_object_get_boolean_member_with_default (line, "paused", FALSE) ? ", paused" : "");
  else if (strcmp (event, "session") == 0
           && json_object_get_boolean_member_with_default (line, "opened", FALSE))
    printf ("front-end: process %" G_GINT64_FORMAT " connected\n",
            json_object_get_int_member_with_default (line, "process", 0));
  else if (strcmp (event, "session") == 0)
    printf ("front-end: gone%s%s\n", *get_text (line, "message") != '\0' ? ": " : "",
            get_text (line, "message"));
  else if (strcmp (event, "config") == 0)
    printf ("configuration space changed by the %s\n", get_text (line, "origin"));
  else if (strcmp (event, "error") == 0)
    printf ("error: %s (%s)\n", get_text (line, "message"), get_text (line, "name"));
  if (json_object_has_member (line, "lost"))
    printf ("(%" G_GINT64_FORMAT " lines were lost: this reader was too slow)\n",
            json_object_get_int_member (line, "lost"));
}

/* FALSE: it is no line of ours. */
static gboolean
print_line (const char *text, Sample *before, gboolean *is_counted)
{
  g_autoptr (JsonNode) node = json_from_string (text, NULL);
  JsonObject *line;
  const char *event;

  if (node == NULL || !JSON_NODE_HOLDS_OBJECT (node))
    return FALSE;
  line = json_node_get_object (node);
  event = get_text (line, "event");
  *is_counted = strcmp (event, "statistics") == 0;
  if (before == NULL)
    puts (text);
  else if (*is_counted)
    *is_counted = print_rates (line, before);
  else
    print_event (line, event);
  fflush (stdout);
  return TRUE;
}

int
vhostctl_monitor (int argc, char **argv)
{
  g_auto (Bus) bus = { 0 };
  int interval = 1000, count = 0;
  const GOptionEntry more[] = {
    { "interval", 0, 0, G_OPTION_ARG_INT, &interval,
      "Milliseconds between two lines (default: 1000)", "MS" },
    { "count", 0, 0, G_OPTION_ARG_INT, &count, "End after so many (default: when the device does)",
      "N" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &bus.json, "Print the device's lines as they are: JSON",
      NULL },
    { NULL },
  };
  g_autoptr (GUnixFDList) fds = NULL;
  g_autoptr (GVariant) answer = NULL;
  g_autoptr (GInputStream) raw = NULL;
  g_autoptr (GDataInputStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  Sample before = { 0 };
  BusDevice *device;
  int n = 0, fd;

  if (!bus_parse_options (&bus, "monitor", "NAME",
                          "Shows what a device does, until it ends or Ctrl-C.", more, 1, &argc,
                          &argv))
    return EXIT_USAGE;
  if (interval < 0 || count < 0)
    {
      vhostctl_complain ("monitor", "--interval and --count are not negative");
      return EXIT_USAGE;
    }
  device = bus_get (&bus, argv[1]);
  if (device == NULL)
    return EXIT_FAILURE;
  answer = bus_call (&bus, device, "Monitor",
                     g_variant_new_parsed ("({'interval': <%u>},)", (guint) interval), &fds);
  if (answer == NULL)
    return EXIT_FAILURE;
  fd = fds != NULL ? g_unix_fd_list_get (fds, 0, &error) : -1;
  if (fd < 0)
    {
      vhostctl_complain ("monitor", "the device gave no stream to read from");
      return EXIT_FAILURE;
    }
  raw = g_unix_input_stream_new (fd, TRUE);
  stream = g_data_input_stream_new (raw);
  for (;;)
    {
      g_autofree char *text = g_data_input_stream_read_line_utf8 (stream, NULL, NULL, &error);
      gboolean is_counted = FALSE;

      if (text == NULL && error == NULL)
        return EXIT_SUCCESS; /* the device has ended */
      if (text == NULL || !print_line (text, bus.json ? NULL : &before, &is_counted))
        {
          vhostctl_complain ("monitor", "cannot read what the device says: %s",
                             error != NULL ? error->message : "it is no JSON");
          return EXIT_FAILURE;
        }
      if (is_counted && count > 0 && ++n >= count)
        return EXIT_SUCCESS;
    }
}
