/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One device on the bus: its properties follow the daemon, its methods act on it. Must not decide
 * who may call.
 *
 * How it works: whatever may have changed marks the device; an idle source then computes all
 * properties anew and sets them, and the skeleton tells the bus of those that differ. */
#include "config.h"

#include "vhost-service-private.h"

#include "vhost-backend-private.h"
#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-filter.h"
#include "vhost-frontend.h"
#include "vhost-memory.h"
#include "vhost-property-variant-private.h"
#include "vhost-queue.h"
#include "vhost-session.h"
#include "vhost-trace-private.h"

#include <gio/gunixfdlist.h>
#include <string.h>

#define DEFAULT_INTERVAL_MS 1000
#define MIN_INTERVAL_MS 100
#define MAX_INTERVAL_MS 3600000

struct _VhostServiceDevice
{
  guint ref_count;
  VhostService *service;          /* (unowned) (nullable): NULL once withdrawn */
  VhostDaemon *daemon;            /* (owned) (nullable): likewise */
  VhostDbusDevice *skeleton;      /* (owned) */
  VhostServiceMonitors *monitors; /* (owned) (nullable): likewise */
  GPtrArray *backends; /* (owned) (element-type VhostBackend): filters, then the device */
  GSource *refresh;    /* (owned) (nullable): properties are to be looked at */
  char *error_name;    /* (owned) */
  char *error_text;    /* (owned) */
  VhostRateLimit backend_errors;
};

/* ---- Options ---- */

/* What a program chose when it made the back-end, or the start takes up, is no matter of a running
 * one. */
static gboolean
is_changeable (GParamSpec *pspec)
{
  return (pspec->flags & G_PARAM_WRITABLE) != 0 && (pspec->flags & G_PARAM_CONSTRUCT_ONLY) == 0
         && pspec->owner_type != VHOST_TYPE_BACKEND;
}

/* Calls @each for the options of the filters and of the device. A name that several have is the
 * outermost's. */
static void
each_option (VhostServiceDevice *self,
             void (*each) (GObject *object, GParamSpec *pspec, gpointer data), gpointer data)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < self->backends->len; i++)
    {
      GObject *object = self->backends->pdata[i];
      /* A filter's queues and workers are those of the device behind it. */
      gboolean is_filter = VHOST_IS_FILTER (object);
      guint n;
      g_autofree GParamSpec **list
          = g_object_class_list_properties (G_OBJECT_GET_CLASS (object), &n);

      for (guint j = 0; j < n; j++)
        if ((list[j]->flags & G_PARAM_READABLE) != 0
            && !(is_filter && list[j]->owner_type == VHOST_TYPE_BACKEND)
            && g_hash_table_add (seen, (gpointer) list[j]->name))
          each (object, list[j], data);
    }
}

static void
add_option (GObject *object, GParamSpec *pspec, gpointer data)
{
  GValue value = G_VALUE_INIT;
  GVariant *variant;

  g_object_get_property (object, pspec->name, &value);
  variant = vhost_property_to_variant (pspec, &value);
  if (variant != NULL)
    g_variant_builder_add (data, "{sv}", pspec->name, variant);
  g_value_unset (&value);
}

static void
add_changeable (GObject *object, GParamSpec *pspec, gpointer data)
{
  if (is_changeable (pspec) && !G_IS_PARAM_SPEC_OBJECT (pspec))
    g_ptr_array_add (data, (gpointer) pspec->name);
}

typedef struct
{
  const char *name;
  GObject *object;   /* (unowned) */
  GParamSpec *pspec; /* (unowned) */
  GValue value;
  GValue old;
} Setting;

static void
clear_setting (gpointer data)
{
  Setting *setting = data;

  if (G_VALUE_TYPE (&setting->value) != G_TYPE_INVALID)
    g_value_unset (&setting->value);
  if (G_VALUE_TYPE (&setting->old) != G_TYPE_INVALID)
    g_value_unset (&setting->old);
}

/* FALSE: the device has kept what it had. A setter has no other way to refuse. */
static gboolean
set_option (Setting *setting, GError **error)
{
  g_auto (GValue) now = G_VALUE_INIT;
  g_autofree char *text = NULL;

  if ((setting->pspec->flags & G_PARAM_READABLE) != 0)
    g_object_get_property (setting->object, setting->pspec->name, &setting->old);
  g_object_set_property (setting->object, setting->pspec->name, &setting->value);
  /* Those of filters count down by themselves. */
  if ((setting->pspec->flags & G_PARAM_READABLE) == 0 || VHOST_IS_FILTER (setting->object))
    return TRUE;
  g_object_get_property (setting->object, setting->pspec->name, &now);
  if (g_param_values_cmp (setting->pspec, &now, &setting->value) == 0
      || g_param_values_cmp (setting->pspec, &now, &setting->old) != 0)
    return TRUE;
  text = vhost_property_format (setting->pspec, &now);
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
               "the device did not take the new %s, it is still \"%s\"; what the device prints may "
               "say why",
               setting->name, text);
  return FALSE;
}

static void
match_option (GObject *object, GParamSpec *pspec, gpointer data)
{
  Setting *setting = data;

  if (strcmp (pspec->name, setting->name) == 0)
    {
      setting->object = object;
      setting->pspec = pspec;
    }
}

/* All or none. */
static gboolean
set_options (VhostServiceDevice *self, GVariant *options, GError **error)
{
  g_autoptr (GArray) settings = g_array_new (FALSE, TRUE, sizeof (Setting));
  GVariantIter iter;
  const char *name;
  GVariant *variant;

  g_array_set_clear_func (settings, clear_setting);
  g_variant_iter_init (&iter, options);
  while (g_variant_iter_next (&iter, "{&sv}", &name, &variant))
    {
      g_autoptr (GVariant) value = variant;
      Setting setting = { .name = name };

      each_option (self, match_option, &setting);
      if (setting.pspec == NULL)
        {
          g_set_error (
              error, VHOST_ERROR, VHOST_ERROR_INVALID,
              "the device has no option \"%s\": the property Options (vhostctl show) lists "
              "them",
              name);
          return FALSE;
        }
      if (!is_changeable (setting.pspec))
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       "%s cannot change while the device runs: start it anew with the other value",
                       name);
          return FALSE;
        }
      if (!vhost_property_from_variant (setting.pspec, value, &setting.value, error))
        return FALSE;
      g_array_append_val (settings, setting);
    }
  for (guint i = 0; i < settings->len; i++)
    {
      if (set_option (&g_array_index (settings, Setting, i), error))
        continue;
      while (i-- > 0)
        {
          Setting *setting = &g_array_index (settings, Setting, i);

          if (G_VALUE_TYPE (&setting->old) != G_TYPE_INVALID)
            g_object_set_property (setting->object, setting->pspec->name, &setting->old);
        }
      return FALSE;
    }
  return TRUE;
}

/* ---- Properties ---- */

static const char *
nick_of (GType type, int value)
{
  g_autoptr (GEnumClass) klass = g_type_class_ref (type);
  const GEnumValue *found = g_enum_get_value (klass, value);

  return found != NULL ? found->value_nick : "unknown"; /* (unowned): static types stay */
}

static VhostSession *
get_session (VhostServiceDevice *self)
{
  return g_list_model_get_item (vhost_daemon_get_sessions (self->daemon), 0);
}

static GStrv
name_bits (guint64 bits, const char *device, gboolean protocol)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  for (guint bit = 0; bit < 64; bit++)
    if ((bits >> bit & 1) != 0)
      {
        const char *name = protocol ? vhost_frontend_protocol_feature_name (bit)
                                    : vhost_frontend_feature_name (device, bit);

        g_ptr_array_add (names, name != NULL ? g_strdup (name) : g_strdup_printf ("%u", bit));
      }
  g_ptr_array_add (names, NULL);
  return (GStrv) g_ptr_array_steal (names, NULL);
}

static GVariant *
list_peers (VhostServiceDevice *self)
{
  GListModel *sessions = vhost_daemon_get_sessions (self->daemon);
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("a(uus)"));
  for (guint i = 0; i < g_list_model_get_n_items (sessions); i++)
    {
      g_autoptr (VhostSession) session = g_list_model_get_item (sessions, i);
      const char *name = vhost_session_get_peer_name (session);
      gint pid = vhost_session_get_peer_pid (session);

      g_variant_builder_add (&list, "(uus)", pid > 0 ? (guint) pid : 0,
                             (guint) vhost_session_get_peer_uid (session),
                             name != NULL ? name : "");
    }
  return g_variant_builder_end (&list);
}

static GVariant *
list_queues (VhostSession *session)
{
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("a(usu)"));
  for (guint i = 0; session != NULL && i < vhost_session_get_n_queues (session); i++)
    {
      VhostQueue *queue = vhost_session_get_queue (session, i);

      g_variant_builder_add (&list, "(usu)", i,
                             nick_of (VHOST_TYPE_QUEUE_STATE, vhost_queue_get_state (queue)),
                             vhost_queue_get_size (queue));
    }
  return g_variant_builder_end (&list);
}

GVariant *
vhost_service_device_get_statistics (VhostServiceDevice *self)
{
  g_autoptr (VhostSession) session = self->daemon != NULL ? get_session (self) : NULL;
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("a(ua{st})"));
  for (guint i = 0; session != NULL && i < vhost_session_get_n_queues (session); i++)
    {
      VhostQueueCounters counters;

      vhost_queue_get_counters (vhost_session_get_queue (session, i), &counters);
      const struct
      {
        const char *name;
        guint64 value;
      } rows[] = {
        { "kicks", counters.kicks },
        { "calls", counters.calls },
        { "calls-suppressed", counters.calls_suppressed },
        { "requests", counters.requests },
        { "completed", counters.completed },
        { "passes", counters.passes },
        { "polls-hit", counters.polls_hit },
        { "bytes-in", counters.bytes_in },
        { "bytes-out", counters.bytes_out },
      };
      GVariantBuilder row;

      g_variant_builder_init (&row, G_VARIANT_TYPE ("a{st}"));
      for (guint j = 0; j < G_N_ELEMENTS (rows); j++)
        g_variant_builder_add (&row, "{st}", rows[j].name, rows[j].value);
      g_variant_builder_add (&list, "(u@a{st})", i, g_variant_builder_end (&row));
    }
  return g_variant_builder_end (&list);
}

static void
refresh_now (VhostServiceDevice *self)
{
  g_autoptr (VhostSession) session = get_session (self);
  VhostMemory *memory = session != NULL ? vhost_session_get_memory (session) : NULL;
  const guint64 features = session != NULL ? vhost_session_get_features (session) : 0;
  const guint64 protocol = session != NULL ? vhost_session_get_protocol_features (session) : 0;
  const char *device = vhost_backend_get_device_name (vhost_daemon_get_backend (self->daemon));
  g_auto (GStrv) names = name_bits (features, device, FALSE);
  g_auto (GStrv) protocol_names = name_bits (protocol, device, TRUE);
  GVariantBuilder options;

  g_variant_builder_init (&options, G_VARIANT_TYPE_VARDICT);
  each_option (self, add_option, &options);
  g_object_set (self->skeleton, "state",
                nick_of (VHOST_TYPE_DAEMON_STATE, vhost_daemon_get_state (self->daemon)), "paused",
                vhost_daemon_is_paused (self->daemon), "peers", list_peers (self), "features",
                features, "feature-names", names, "protocol-features", protocol,
                "protocol-feature-names", protocol_names, "memory-size",
                memory != NULL ? vhost_memory_get_size (memory) : G_GUINT64_CONSTANT (0), "options",
                g_variant_builder_end (&options), "queues", list_queues (session), "last-error",
                g_variant_new ("(ss)", self->error_name, self->error_text), NULL);
}

static gboolean
on_refresh (gpointer data)
{
  VhostServiceDevice *self = data;

  g_clear_pointer (&self->refresh, g_source_unref);
  refresh_now (self);
  return G_SOURCE_REMOVE;
}

static void
mark (VhostServiceDevice *self)
{
  if (self->refresh != NULL || self->daemon == NULL)
    return;
  self->refresh = g_idle_source_new ();
  g_source_set_priority (self->refresh, G_PRIORITY_DEFAULT);
  g_source_set_callback (self->refresh, on_refresh, self, NULL);
  g_source_attach (self->refresh, g_main_context_get_thread_default ());
}

/* What is asked for is what is now: reading waits for no idle source. */
static void
bring_up_to_date (VhostServiceDevice *self)
{
  if (self->refresh != NULL)
    {
      g_source_destroy (self->refresh);
      g_clear_pointer (&self->refresh, g_source_unref);
    }
  refresh_now (self);
}

GVariant *
vhost_service_device_describe (VhostServiceDevice *self)
{
  GVariant *all;

  bring_up_to_date (self);
  all = g_dbus_interface_skeleton_get_properties (G_DBUS_INTERFACE_SKELETON (self->skeleton));
  return all;
}

/* ---- What happens to the daemon ---- */

static void
note_error (VhostServiceDevice *self, const GError *error)
{
  g_autofree char *name = g_dbus_error_encode_gerror (error);
  GVariantBuilder line;

  g_free (self->error_name);
  g_free (self->error_text);
  self->error_name = g_steal_pointer (&name);
  self->error_text = g_utf8_make_valid (error->message, -1);
  vhost_dbus_device_emit_error (self->skeleton, self->error_name, self->error_text);
  g_variant_builder_init (&line, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&line, "{sv}", "name", g_variant_new_string (self->error_name));
  g_variant_builder_add (&line, "{sv}", "message", g_variant_new_string (self->error_text));
  vhost_service_monitors_tell (self->monitors, "error", g_variant_builder_end (&line));
  mark (self);
}

static void
on_queue_broken (VhostSession *session, VhostQueue *queue, const char *message, gpointer data)
{
  g_autoptr (GError) error = g_error_new_literal (VHOST_ERROR, VHOST_ERROR_RING, message);

  note_error (data, error);
}

/* A guest can make a device fail at each request: that must not fill the bus. */
static void
on_backend_error (VhostBackend *backend, const GError *error, gpointer data)
{
  VhostServiceDevice *self = data;
  guint suppressed;

  if (vhost_rate_limit_allows (&self->backend_errors, &suppressed))
    note_error (self, error);
}

static void
on_session_opened (VhostDaemon *daemon, VhostSession *session, gpointer data)
{
  VhostServiceDevice *self = data;
  gint pid = vhost_session_get_peer_pid (session);
  guint uid = (guint) vhost_session_get_peer_uid (session);
  GVariantBuilder line;

  g_signal_connect (session, "queue-broken", G_CALLBACK (on_queue_broken), self);
  vhost_dbus_device_emit_session_opened (self->skeleton, pid > 0 ? (guint) pid : 0, uid);
  g_variant_builder_init (&line, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&line, "{sv}", "opened", g_variant_new_boolean (TRUE));
  g_variant_builder_add (&line, "{sv}", "process",
                         g_variant_new_uint32 (pid > 0 ? (guint) pid : 0));
  g_variant_builder_add (&line, "{sv}", "user", g_variant_new_uint32 (uid));
  vhost_service_monitors_tell (self->monitors, "session", g_variant_builder_end (&line));
  mark (self);
}

static void
on_session_closed (VhostDaemon *daemon, VhostSession *session, const GError *error, gpointer data)
{
  VhostServiceDevice *self = data;
  g_autofree char *name = error != NULL ? g_dbus_error_encode_gerror (error) : g_strdup ("");
  g_autofree char *text = g_utf8_make_valid (error != NULL ? error->message : "", -1);
  GVariantBuilder line;

  g_signal_handlers_disconnect_by_data (session, self);
  vhost_dbus_device_emit_session_closed (self->skeleton, name, text);
  g_variant_builder_init (&line, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&line, "{sv}", "opened", g_variant_new_boolean (FALSE));
  g_variant_builder_add (&line, "{sv}", "error", g_variant_new_string (name));
  g_variant_builder_add (&line, "{sv}", "message", g_variant_new_string (text));
  vhost_service_monitors_tell (self->monitors, "session", g_variant_builder_end (&line));
  if (error != NULL)
    note_error (self, error);
  mark (self);
}

static void
on_config_changed (VhostDaemon *daemon, VhostSession *session, guint offset, guint length,
                   VhostConfigOrigin origin, gpointer data)
{
  VhostServiceDevice *self = data;
  const char *nick = nick_of (VHOST_TYPE_CONFIG_ORIGIN, origin);
  GVariantBuilder line;

  vhost_dbus_device_emit_config_changed (self->skeleton, offset, length, nick);
  g_variant_builder_init (&line, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&line, "{sv}", "offset", g_variant_new_uint32 (offset));
  g_variant_builder_add (&line, "{sv}", "length", g_variant_new_uint32 (length));
  g_variant_builder_add (&line, "{sv}", "origin", g_variant_new_string (nick));
  vhost_service_monitors_tell (self->monitors, "config", g_variant_builder_end (&line));
}

static void
on_state (VhostDaemon *daemon, GParamSpec *pspec, gpointer data)
{
  VhostServiceDevice *self = data;
  GVariantBuilder line;

  g_variant_builder_init (&line, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (
      &line, "{sv}", "state",
      g_variant_new_string (nick_of (VHOST_TYPE_DAEMON_STATE, vhost_daemon_get_state (daemon))));
  g_variant_builder_add (&line, "{sv}", "paused",
                         g_variant_new_boolean (vhost_daemon_is_paused (daemon)));
  vhost_service_monitors_tell (self->monitors, "state", g_variant_builder_end (&line));
  mark (self);
}

static void
on_changed (VhostDaemon *daemon, VhostSession *session, gpointer data)
{
  mark (data);
}

static void
on_option (GObject *object, GParamSpec *pspec, gpointer data)
{
  mark (data);
}

/* ---- Methods ---- */

/* A method whose caller must be asked for. */
#define GUARDED(method, ...)                                                                       \
  static gboolean on_##method (VhostDbusDevice *skeleton, GDBusMethodInvocation *invocation,       \
                               ##__VA_ARGS__, gpointer data)                                       \
  {                                                                                                \
    VhostServiceDevice *self = data;                                                               \
    vhost_service_authorize (self->service, self, invocation, do_##method);                        \
    return G_DBUS_METHOD_INVOCATION_HANDLED;                                                       \
  }

static gboolean
refuse_options (GVariant *options, const char *known, GError **error)
{
  GVariantIter iter;
  const char *name;

  g_variant_iter_init (&iter, options);
  while (g_variant_iter_next (&iter, "{&sv}", &name, NULL))
    if (g_strcmp0 (name, known) != 0)
      {
        g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                     "there is no option \"%s\" here: leave it away", name);
        return FALSE;
      }
  return TRUE;
}

/* An answer that comes later: by then the device may be gone, the call is not. */
static void
on_paused (GObject *object, GAsyncResult *result, gpointer data)
{
  GDBusMethodInvocation *invocation = data;
  GError *error = NULL;

  if (vhost_daemon_pause_finish (VHOST_DAEMON (object), result, &error))
    g_dbus_method_invocation_return_value (invocation, NULL);
  else
    vhost_service_return_error (invocation, error);
}

static void
do_pause (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  vhost_daemon_pause_async (self->daemon, NULL, on_paused, invocation);
}
GUARDED (pause)

static void
do_resume (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  vhost_daemon_resume (self->daemon);
  g_dbus_method_invocation_return_value (invocation, NULL);
}
GUARDED (resume)

static void
do_disconnect (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  vhost_daemon_close_sessions (self->daemon);
  g_dbus_method_invocation_return_value (invocation, NULL);
}
GUARDED (disconnect)

static void
do_set_options (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  g_autoptr (GVariant) options
      = g_variant_get_child_value (g_dbus_method_invocation_get_parameters (invocation), 0);
  GError *error = NULL;

  if (!set_options (self, options, &error))
    {
      vhost_service_return_error (invocation, error);
      return;
    }
  bring_up_to_date (self);
  g_dbus_method_invocation_return_value (invocation, NULL);
}
GUARDED (set_options, GVariant *options)

typedef struct
{
  VhostService *service; /* (owned) */
  GDBusMethodInvocation *invocation;
} Removal;

static void
on_stopped (GObject *object, GAsyncResult *result, gpointer data)
{
  Removal *removal = data;
  GError *error = NULL;

  if (vhost_daemon_stop_finish (VHOST_DAEMON (object), result, &error))
    {
      g_dbus_method_invocation_return_value (removal->invocation, NULL);
      vhost_service_remove (removal->service, VHOST_DAEMON (object));
    }
  else
    vhost_service_return_error (removal->invocation, error);
  g_object_unref (removal->service);
  g_free (removal);
}

static void
do_remove (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  Removal *removal = g_new0 (Removal, 1);

  removal->service = g_object_ref (self->service);
  removal->invocation = invocation;
  vhost_daemon_stop_async (self->daemon, NULL, on_stopped, removal);
}
GUARDED (remove)

/* Only reads. */
static gboolean
on_get_statistics (VhostDbusDevice *skeleton, GDBusMethodInvocation *invocation, GVariant *options,
                   gpointer data)
{
  VhostServiceDevice *self = data;
  GError *error = NULL;

  if (!refuse_options (options, NULL, &error))
    vhost_service_return_error (invocation, error);
  else
    vhost_dbus_device_complete_get_statistics (skeleton, invocation,
                                               (guint64) g_get_monotonic_time () * 1000,
                                               vhost_service_device_get_statistics (self));
  return G_DBUS_METHOD_INVOCATION_HANDLED;
}

/* Takes @fd: the answer of a method that hands one out. */
static void
return_fd (GDBusMethodInvocation *invocation, int fd)
{
  g_autoptr (GUnixFDList) list = g_unix_fd_list_new_from_array (&fd, 1);

  g_dbus_method_invocation_return_value_with_unix_fd_list (invocation, g_variant_new ("(h)", 0),
                                                           list);
}

static void
do_monitor (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  g_autoptr (GVariant) options
      = g_variant_get_child_value (g_dbus_method_invocation_get_parameters (invocation), 0);
  g_autoptr (GVariant) wanted = g_variant_lookup_value (options, "interval", NULL);
  guint interval = DEFAULT_INTERVAL_MS;
  GError *error = NULL;
  int fd = -1;

  if (!refuse_options (options, "interval", &error))
    {
      vhost_service_return_error (invocation, error);
      return;
    }
  if (wanted != NULL && g_variant_is_of_type (wanted, G_VARIANT_TYPE_UINT32))
    interval = g_variant_get_uint32 (wanted);
  else if (wanted != NULL)
    interval = 0;
  if (interval < MIN_INTERVAL_MS || interval > MAX_INTERVAL_MS)
    error = g_error_new (VHOST_ERROR, VHOST_ERROR_INVALID,
                         "the interval has to be a number (u) of milliseconds from %u to %u",
                         MIN_INTERVAL_MS, MAX_INTERVAL_MS);
  else
    {
      const char *sender = g_dbus_method_invocation_get_sender (invocation);

      fd = vhost_service_monitors_open (self->monitors, sender != NULL ? sender : "", interval,
                                        &error);
    }
  if (fd >= 0)
    return_fd (invocation, fd);
  else
    vhost_service_return_error (invocation, error);
}
GUARDED (monitor, GUnixFDList *fds, GVariant *options)

static void
do_open_frontend (VhostServiceDevice *self, GDBusMethodInvocation *invocation)
{
  g_autoptr (GVariant) options
      = g_variant_get_child_value (g_dbus_method_invocation_get_parameters (invocation), 0);
  GError *error = NULL;
  int fd = refuse_options (options, NULL, &error)
               ? vhost_daemon_open_frontend (self->daemon, &error)
               : -1;

  if (fd >= 0)
    return_fd (invocation, fd);
  else
    vhost_service_return_error (invocation, error);
}
GUARDED (open_frontend, GUnixFDList *fds, GVariant *options)

/* ---- Life ---- */

static void
connect_daemon (VhostServiceDevice *self)
{
  GListModel *sessions = vhost_daemon_get_sessions (self->daemon);

  for (guint i = 0; i < g_list_model_get_n_items (sessions); i++)
    {
      g_autoptr (VhostSession) session = g_list_model_get_item (sessions, i);

      g_signal_connect (session, "queue-broken", G_CALLBACK (on_queue_broken), self);
    }
  g_signal_connect (self->daemon, "session-opened", G_CALLBACK (on_session_opened), self);
  g_signal_connect (self->daemon, "session-changed", G_CALLBACK (on_changed), self);
  g_signal_connect (self->daemon, "session-closed", G_CALLBACK (on_session_closed), self);
  g_signal_connect (self->daemon, "config-changed", G_CALLBACK (on_config_changed), self);
  g_signal_connect (self->daemon, "notify::state", G_CALLBACK (on_state), self);
  g_signal_connect (self->daemon, "notify::paused", G_CALLBACK (on_state), self);
  for (guint i = 0; i < self->backends->len; i++)
    g_signal_connect (self->backends->pdata[i], "notify", G_CALLBACK (on_option), self);
  /* Filters hand on what the device behind them reports. */
  if (self->backends->len > 0)
    g_signal_connect (self->backends->pdata[0], "error", G_CALLBACK (on_backend_error), self);
}

static void
disconnect_daemon (VhostServiceDevice *self)
{
  GListModel *sessions = vhost_daemon_get_sessions (self->daemon);

  for (guint i = 0; i < g_list_model_get_n_items (sessions); i++)
    {
      g_autoptr (VhostSession) session = g_list_model_get_item (sessions, i);

      g_signal_handlers_disconnect_by_data (session, self);
    }
  g_signal_handlers_disconnect_by_data (self->daemon, self);
  for (guint i = 0; i < self->backends->len; i++)
    g_signal_handlers_disconnect_by_data (self->backends->pdata[i], self);
}

static void
set_constants (VhostServiceDevice *self)
{
  VhostBackend *backend = vhost_daemon_get_backend (self->daemon);
  const char *type = vhost_backend_get_device_name (backend);
  g_autoptr (GPtrArray) changeable = g_ptr_array_new ();
  g_autofree char *name = NULL;
  g_autofree char *path = NULL;

  each_option (self, add_changeable, changeable);
  g_ptr_array_add (changeable, NULL);
  g_object_get (self->daemon, "name", &name, "socket-path", &path, NULL);
  g_object_set (self->skeleton, "name", name != NULL ? name : "", "type", type != NULL ? type : "",
                "virtio-id", vhost_backend_get_virtio_id (backend), "changeable-options",
                changeable->pdata, NULL);
  {
    g_autofree char *valid = g_utf8_make_valid (path != NULL ? path : "", -1);

    g_object_set (self->skeleton, "socket-path", valid, NULL);
  }
}

VhostServiceDevice *
vhost_service_device_new (VhostService *service, VhostDaemon *daemon)
{
  VhostServiceDevice *self = g_new0 (VhostServiceDevice, 1);

  self->ref_count = 1;
  self->service = service;
  self->daemon = g_object_ref (daemon);
  self->skeleton = vhost_dbus_device_skeleton_new ();
  self->monitors = vhost_service_monitors_new (self);
  self->error_name = g_strdup ("");
  self->error_text = g_strdup ("");
  self->backends = g_ptr_array_new_with_free_func (g_object_unref);
  for (VhostBackend *backend = vhost_daemon_get_backend (daemon); backend != NULL;
       backend = VHOST_IS_FILTER (backend) ? vhost_filter_get_next (VHOST_FILTER (backend)) : NULL)
    g_ptr_array_add (self->backends, g_object_ref (backend));
  set_constants (self);
  refresh_now (self);
  connect_daemon (self);
  g_signal_connect (self->skeleton, "handle-pause", G_CALLBACK (on_pause), self);
  g_signal_connect (self->skeleton, "handle-resume", G_CALLBACK (on_resume), self);
  g_signal_connect (self->skeleton, "handle-disconnect", G_CALLBACK (on_disconnect), self);
  g_signal_connect (self->skeleton, "handle-set-options", G_CALLBACK (on_set_options), self);
  g_signal_connect (self->skeleton, "handle-remove", G_CALLBACK (on_remove), self);
  g_signal_connect (self->skeleton, "handle-get-statistics", G_CALLBACK (on_get_statistics), self);
  g_signal_connect (self->skeleton, "handle-monitor", G_CALLBACK (on_monitor), self);
  g_signal_connect (self->skeleton, "handle-open-frontend", G_CALLBACK (on_open_frontend), self);
  return self;
}

VhostServiceDevice *
vhost_service_device_ref (VhostServiceDevice *self)
{
  self->ref_count++;
  return self;
}

void
vhost_service_device_unref (VhostServiceDevice *self)
{
  if (--self->ref_count > 0)
    return;
  g_object_unref (self->skeleton);
  g_ptr_array_unref (self->backends);
  g_free (self->error_name);
  g_free (self->error_text);
  g_free (self);
}

void
vhost_service_device_withdraw (VhostServiceDevice *self)
{
  g_signal_handlers_disconnect_by_data (self->skeleton, self);
  disconnect_daemon (self);
  if (self->refresh != NULL)
    g_source_destroy (self->refresh);
  g_clear_pointer (&self->refresh, g_source_unref);
  g_clear_pointer (&self->monitors, vhost_service_monitors_free);
  g_clear_object (&self->daemon);
  self->service = NULL;
}

VhostDaemon *
vhost_service_device_get_daemon (VhostServiceDevice *self)
{
  return self->daemon;
}

VhostDbusDevice *
vhost_service_device_get_skeleton (VhostServiceDevice *self)
{
  return self->skeleton;
}
