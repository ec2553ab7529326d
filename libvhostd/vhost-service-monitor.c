/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Those who watch a device: each reads lines of JSON from a socket of its own. Must never wait for
 * one of them.
 *
 * How it works: a line goes out whole or not at all. Of one that the socket took in part the rest
 * is kept, and until it is out other lines are counted as lost; the next one that fits says how
 * many. */
#include "config.h"

#include "vhost-service-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct
{
  VhostServiceMonitors *monitors; /* (unowned) */
  char *caller;                   /* (owned) */
  int fd;                         /* (owned) */
  GSource *timer;                 /* (owned) */
  GSource *hangup;                /* (owned) */
  GString *rest;                  /* (owned): of a line that went out in part */
  guint64 n_lost;
} Monitor;

struct _VhostServiceMonitors
{
  VhostServiceDevice *device; /* (unowned) */
  GPtrArray *list;            /* (owned) (element-type Monitor) */
};

static void
monitor_free (gpointer data)
{
  Monitor *self = data;

  g_source_destroy (self->timer);
  g_source_unref (self->timer);
  g_source_destroy (self->hangup);
  g_source_unref (self->hangup);
  vhost_fd_clear (&self->fd);
  g_string_free (self->rest, TRUE);
  g_free (self->caller);
  g_free (self);
}

/* What the socket takes of it; -1: the reader is gone. */
static gssize
put (Monitor *self, const char *text, gsize length)
{
  gssize n = send (self->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);

  if (n >= 0)
    return n;
  return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
}

/* FALSE: the reader is gone. */
static gboolean
tell (Monitor *self, const char *event, GVariant *line)
{
  g_auto (GVariantDict) dict;
  g_autoptr (GVariant) whole = NULL;
  g_autofree char *text = NULL;
  gsize length;
  gssize n;

  if (self->rest->len > 0)
    {
      n = put (self, self->rest->str, self->rest->len);
      if (n < 0)
        return FALSE;
      g_string_erase (self->rest, 0, n);
    }
  if (self->rest->len > 0)
    {
      self->n_lost++;
      return TRUE;
    }
  g_variant_dict_init (&dict, line);
  g_variant_dict_insert (&dict, "event", "s", event);
  if (self->n_lost > 0)
    g_variant_dict_insert (&dict, "lost", "t", self->n_lost);
  whole = g_variant_ref_sink (g_variant_dict_end (&dict));
  text = json_gvariant_serialize_data (whole, &length);
  text = g_realloc (text, length + 2);
  text[length++] = '\n';
  n = put (self, text, length);
  if (n < 0)
    return FALSE;
  if (n == 0)
    {
      self->n_lost++;
      return TRUE;
    }
  self->n_lost = 0;
  g_string_append_len (self->rest, text + n, (gssize) length - n);
  return TRUE;
}

static void
drop (Monitor *self)
{
  g_ptr_array_remove (self->monitors->list, self);
}

static gboolean
on_timer (gpointer data)
{
  Monitor *self = data;
  g_autoptr (GVariant) line = NULL;
  GVariantBuilder builder;

  g_variant_builder_init (&builder, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&builder, "{sv}", "timestamp",
                         g_variant_new_uint64 ((guint64) g_get_monotonic_time () * 1000));
  g_variant_builder_add (&builder, "{sv}", "queues",
                         vhost_service_device_get_statistics (self->monitors->device));
  line = g_variant_ref_sink (g_variant_builder_end (&builder));
  if (tell (self, "statistics", line))
    return G_SOURCE_CONTINUE;
  drop (self);
  return G_SOURCE_REMOVE;
}

/* Nothing is ever read: whatever comes is the reader's end. */
static gboolean
on_hangup (int fd, GIOCondition condition, gpointer data)
{
  drop (data);
  return G_SOURCE_REMOVE;
}

VhostServiceMonitors *
vhost_service_monitors_new (VhostServiceDevice *device)
{
  VhostServiceMonitors *self = g_new0 (VhostServiceMonitors, 1);

  self->device = device;
  self->list = g_ptr_array_new_with_free_func (monitor_free);
  return self;
}

void
vhost_service_monitors_free (VhostServiceMonitors *self)
{
  g_ptr_array_unref (self->list);
  g_free (self);
}

int
vhost_service_monitors_open (VhostServiceMonitors *self, const char *caller, guint interval_ms,
                             GError **error)
{
  guint n_own = 0;
  Monitor *monitor;
  g_autoptr (GVariant) first = NULL;
  int fds[2];

  for (guint i = 0; i < self->list->len; i++)
    n_own += strcmp (((Monitor *) self->list->pdata[i])->caller, caller) == 0;
  if (self->list->len >= VHOST_SERVICE_MONITORS_MAX || n_own >= VHOST_SERVICE_MONITORS_PER_CALLER)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "%u watch the device already, %u of them for you, of at most %u and %u: close "
                   "one first",
                   self->list->len, n_own, VHOST_SERVICE_MONITORS_MAX,
                   VHOST_SERVICE_MONITORS_PER_CALLER);
      return -1;
    }
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot make a pair of sockets: %s",
                   g_strerror (errno));
      return -1;
    }
  shutdown (fds[0], SHUT_RD); /* nothing is to come back */
  monitor = g_new0 (Monitor, 1);
  monitor->monitors = self;
  monitor->caller = g_strdup (caller);
  monitor->fd = fds[0];
  monitor->rest = g_string_new (NULL);
  monitor->timer = g_timeout_source_new (interval_ms);
  g_source_set_callback (monitor->timer, on_timer, monitor, NULL);
  g_source_attach (monitor->timer, g_main_context_get_thread_default ());
  /* Hanging up is always reported; with the reading half shut, IN would be, too. */
  monitor->hangup = g_unix_fd_source_new (monitor->fd, G_IO_HUP | G_IO_ERR);
  g_source_set_callback (monitor->hangup, G_SOURCE_FUNC (on_hangup), monitor, NULL);
  g_source_attach (monitor->hangup, g_main_context_get_thread_default ());
  g_ptr_array_add (self->list, monitor);
  first = vhost_service_device_describe (self->device);
  tell (monitor, "device", first);
  return fds[1];
}

void
vhost_service_monitors_tell (VhostServiceMonitors *self, const char *event, GVariant *line)
{
  g_autoptr (GVariant) sunk = g_variant_ref_sink (line);

  for (guint i = self->list->len; i > 0; i--)
    if (!tell (self->list->pdata[i - 1], event, sunk))
      g_ptr_array_remove_index (self->list, i - 1);
}
