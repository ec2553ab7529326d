/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program's daemons on a bus: the name, the objects, and who may do what. Must not know what a
 * method does. */
#include "config.h"

#include "vhost-service.h"

#include "vhost-service-private.h"

#include "vhost-error.h"

#include <gio/gcredentials.h>
#include <unistd.h>

struct _VhostService
{
  GObject parent_instance;

  GDBusConnection *connection; /* (owned) */
  char *bus_name;              /* (owned) (nullable): wanted, or owned */
  gboolean owns_name;
  GDBusObjectManagerServer *manager; /* (owned) (nullable): once something is exported */
  GPtrArray *devices;                /* (owned) (element-type VhostServiceDevice) */
  GCancellable *gone;                /* (owned): ends what waits for the bus */
};

enum
{
  PROP_CONNECTION = 1,
  PROP_BUS_NAME,
  N_PROPS
};
static GParamSpec *props[N_PROPS];
static guint authorize_signal;

/**
 * VhostService:
 *
 * Puts a program's daemons on a bus, to be looked at and controlled.
 *
 * Each is an object with the interface `io.github.libvhostd1.Device` below an
 * `org.freedesktop.DBus.ObjectManager` at `/io/github/libvhostd1`. [signal@Service::authorize]
 * decides who may do what.
 *
 * Since: 0.1
 */
G_DEFINE_FINAL_TYPE (VhostService, vhost_service, G_TYPE_OBJECT)

/* ---- Who may do what ---- */

typedef struct
{
  VhostService *service;             /* (owned) */
  VhostServiceDevice *device;        /* (owned) */
  GDBusMethodInvocation *invocation; /* (owned) */
  VhostServiceAction action;
} Call;

void
vhost_service_return_error (GDBusMethodInvocation *invocation, GError *error)
{
  g_dbus_method_invocation_take_error (invocation, error);
}

/* Takes @call. */
static void
decide (Call *call, guint uid, guint pid)
{
  const char *method = g_dbus_method_invocation_get_method_name (call->invocation);
  VhostDaemon *daemon = vhost_service_device_get_daemon (call->device);
  gboolean allowed = FALSE;

  if (daemon == NULL)
    g_dbus_method_invocation_return_error (call->invocation, G_DBUS_ERROR,
                                           G_DBUS_ERROR_UNKNOWN_OBJECT,
                                           "the device has been removed meanwhile");
  else
    {
      g_signal_emit (call->service, authorize_signal, 0, daemon, uid, pid, method, &allowed);
      if (allowed)
        call->action (call->device, call->invocation);
      else
        g_dbus_method_invocation_return_error (
            call->invocation, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED,
            "user %u may not %s this device, which belongs to user %u: ask as that user, or have "
            "its program answer the signal \"authorize\" otherwise",
            uid, method, (guint) getuid ());
    }
  vhost_service_device_unref (call->device);
  g_object_unref (call->service);
  g_free (call);
}

static void
on_credentials (GObject *object, GAsyncResult *result, gpointer data)
{
  Call *call = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) answer
      = g_dbus_connection_call_finish (G_DBUS_CONNECTION (object), result, &error);
  g_autoptr (GVariant) values = NULL;
  guint uid = G_MAXUINT32, pid = 0; /* nobody, of whom nothing is known */

  /* A caller that has left the bus: the answer, too, goes nowhere. */
  if (answer != NULL)
    {
      values = g_variant_get_child_value (answer, 0);
      g_variant_lookup (values, "UnixUserID", "u", &uid);
      g_variant_lookup (values, "ProcessID", "u", &pid);
    }
  decide (call, uid, pid);
}

void
vhost_service_authorize (VhostService *self, VhostServiceDevice *device,
                         GDBusMethodInvocation *invocation, VhostServiceAction action)
{
  const char *sender = g_dbus_method_invocation_get_sender (invocation);
  Call *call = g_new0 (Call, 1);

  call->service = g_object_ref (self);
  call->device = vhost_service_device_ref (device);
  call->invocation = invocation;
  call->action = action;
  if (sender != NULL)
    {
      g_dbus_connection_call (
          self->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
          "GetConnectionCredentials", g_variant_new ("(s)", sender), G_VARIANT_TYPE ("(a{sv})"),
          G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, self->gone, on_credentials, call);
      return;
    }
  /* No bus: the other end itself calls. */
  {
    GCredentials *peer = g_dbus_connection_get_peer_credentials (self->connection);
    uid_t uid = peer != NULL ? g_credentials_get_unix_user (peer, NULL) : (uid_t) -1;
    pid_t pid = peer != NULL ? g_credentials_get_unix_pid (peer, NULL) : 0;

    decide (call, (guint) uid, pid > 0 ? (guint) pid : 0);
  }
}

static gboolean
vhost_service_real_authorize (VhostService *self, VhostDaemon *daemon, guint uid, guint pid,
                              const char *action)
{
  return uid == (guint) getuid () || uid == 0;
}

/* ---- The name ---- */

/* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER */
#define IS_OWNER 1u
#define DO_NOT_QUEUE 4u
#define SERVICES_PER_PROCESS 100

static gboolean
request_name (VhostService *self, const char *name, guint *reply, GError **error)
{
  g_autoptr (GVariant) answer = g_dbus_connection_call_sync (
      self->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
      "RequestName", g_variant_new ("(su)", name, DO_NOT_QUEUE), G_VARIANT_TYPE ("(u)"),
      G_DBUS_CALL_FLAGS_NONE, -1, NULL, error);

  if (answer == NULL)
    return FALSE;
  g_variant_get (answer, "(u)", reply);
  return TRUE;
}

static gboolean
own_name (VhostService *self, GError **error)
{
  gboolean chosen = self->bus_name != NULL;
  guint reply = 0;

  if (self->owns_name || g_dbus_connection_get_unique_name (self->connection) == NULL)
    return TRUE;
  for (guint i = 1; i <= SERVICES_PER_PROCESS; i++)
    {
      g_autofree char *name
          = chosen   ? g_strdup (self->bus_name)
            : i == 1 ? g_strdup_printf (VHOST_SERVICE_NAME ".Process%d", (int) getpid ())
                     : g_strdup_printf (VHOST_SERVICE_NAME ".Process%d_%u", (int) getpid (), i);

      if (!request_name (self, name, &reply, error))
        return FALSE;
      if (reply == IS_OWNER)
        {
          g_free (self->bus_name);
          self->bus_name = g_steal_pointer (&name);
          self->owns_name = TRUE;
          g_object_notify_by_pspec (G_OBJECT (self), props[PROP_BUS_NAME]);
          return TRUE;
        }
      if (chosen)
        break;
    }
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
               "the bus name %s belongs to another program or service: choose another one",
               chosen ? self->bus_name : VHOST_SERVICE_NAME ".Process...");
  return FALSE;
}

/* As sd_bus_path_encode(3) does, so that every name has a path, and each its own. */
static char *
encode_path (const char *name)
{
  GString *path = g_string_new (VHOST_SERVICE_PATH "/devices/");

  if (*name == '\0')
    g_string_append_c (path, '_');
  for (const char *at = name; *at != '\0'; at++)
    if (g_ascii_isalpha (*at) || (g_ascii_isdigit (*at) && at != name))
      g_string_append_c (path, *at);
    else
      g_string_append_printf (path, "_%02x", (guint8) *at);
  return g_string_free (path, FALSE);
}

/* ---- The object ---- */

static void
vhost_service_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostService *self = VHOST_SERVICE (object);

  if (id == PROP_CONNECTION)
    g_value_set_object (value, self->connection);
  else if (id == PROP_BUS_NAME)
    g_value_set_string (value, self->bus_name);
  else
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
vhost_service_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostService *self = VHOST_SERVICE (object);

  if (id == PROP_CONNECTION)
    self->connection = g_value_dup_object (value);
  else if (id == PROP_BUS_NAME)
    self->bus_name = g_value_dup_string (value);
  else
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
vhost_service_dispose (GObject *object)
{
  VhostService *self = VHOST_SERVICE (object);

  g_cancellable_cancel (self->gone);
  while (self->devices->len > 0)
    vhost_service_remove (
        self, vhost_service_device_get_daemon (self->devices->pdata[self->devices->len - 1]));
  if (self->manager != NULL)
    g_dbus_object_manager_server_set_connection (self->manager, NULL);
  g_clear_object (&self->manager);
  if (self->owns_name && !g_dbus_connection_is_closed (self->connection))
    g_dbus_connection_call (self->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                            "org.freedesktop.DBus", "ReleaseName",
                            g_variant_new ("(s)", self->bus_name), NULL, G_DBUS_CALL_FLAGS_NONE, -1,
                            NULL, NULL, NULL);
  self->owns_name = FALSE;
  G_OBJECT_CLASS (vhost_service_parent_class)->dispose (object);
}

static void
vhost_service_finalize (GObject *object)
{
  VhostService *self = VHOST_SERVICE (object);

  g_clear_object (&self->connection);
  g_ptr_array_unref (self->devices);
  g_object_unref (self->gone);
  g_free (self->bus_name);
  G_OBJECT_CLASS (vhost_service_parent_class)->finalize (object);
}

static void
vhost_service_init (VhostService *self)
{
  self->devices = g_ptr_array_new_with_free_func ((GDestroyNotify) vhost_service_device_unref);
  self->gone = g_cancellable_new ();
  vhost_error_quark (); /* errors have names on the bus */
}

static void
vhost_service_class_init (VhostServiceClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhost_service_get_property;
  object_class->set_property = vhost_service_set_property;
  object_class->dispose = vhost_service_dispose;
  object_class->finalize = vhost_service_finalize;

  /**
   * VhostService:connection:
   *
   * The bus, or a peer.
   *
   * Since: 0.1
   */
  props[PROP_CONNECTION]
      = g_param_spec_object ("connection", NULL, "The bus", G_TYPE_DBUS_CONNECTION, flags);
  /**
   * VhostService:bus-name:
   *
   * The name that the service owns on the bus. By default it is chosen when the first daemon is
   * added: `io.github.libvhostd1.Process` with the process's number, and `_2` and so on behind it
   * for further services of the process. %NULL until then, and without a bus.
   *
   * Since: 0.1
   */
  props[PROP_BUS_NAME] = g_param_spec_string ("bus-name", NULL, "Name on the bus", NULL, flags);
  g_object_class_install_properties (object_class, N_PROPS, props);

  /**
   * VhostService::authorize:
   * @self: the service
   * @daemon: the device that is called
   * @uid: the caller's user id; 4294967295 when it is not known
   * @pid: the caller's process id; 0 when it is not known, and it may be another one by now
   * @action: the D-Bus method: `Pause`, `Resume`, `Disconnect`, `SetOptions`, `Remove`, `Monitor`
   * or `OpenFrontend`
   *
   * Whether the caller may do that. The first handler decides; without one the user whose process
   * this is may, and root. What only reads is not asked for.
   *
   * Returns: %TRUE to allow it
   *
   * Since: 0.1
   */
  authorize_signal = g_signal_new_class_handler (
      "authorize", VHOST_TYPE_SERVICE, G_SIGNAL_RUN_LAST, G_CALLBACK (vhost_service_real_authorize),
      g_signal_accumulator_first_wins, NULL, NULL, G_TYPE_BOOLEAN, 4, VHOST_TYPE_DAEMON,
      G_TYPE_UINT, G_TYPE_UINT, G_TYPE_STRING);
}

/**
 * vhost_service_new:
 * @connection: a bus, or a peer
 *
 * Makes a service that has nothing on the bus yet.
 *
 * Thread: control
 *
 * Returns: (transfer full): a new service
 *
 * Since: 0.1
 */
VhostService *
vhost_service_new (GDBusConnection *connection)
{
  return g_object_new (VHOST_TYPE_SERVICE, "connection", connection, NULL);
}

static VhostServiceDevice *
find (VhostService *self, VhostDaemon *daemon, guint *position)
{
  for (guint i = 0; i < self->devices->len; i++)
    if (vhost_service_device_get_daemon (self->devices->pdata[i]) == daemon)
      {
        if (position != NULL)
          *position = i;
        return self->devices->pdata[i];
      }
  return NULL;
}

/**
 * vhost_service_add:
 * @self: a service
 * @daemon: a daemon, started or not
 * @error: where to put an error
 *
 * Puts a daemon on the bus, as `/io/github/libvhostd1/devices/` and its name. The first one makes
 * the service own its name there, which takes a round trip.
 *
 * Calls are answered in the thread-default main context of the caller, which must be the daemon's.
 * The daemon stays on the bus, also when it has stopped, until vhost_service_remove () or until
 * someone calls its method Remove; it is kept alive that long.
 *
 * Errors: %VHOST_ERROR_INVALID for a daemon without a back-end or with a name that is no UTF-8,
 * %VHOST_ERROR_BUSY when the service has one of that name or the bus name is taken, and the bus's
 * own.
 *
 * Thread: control
 *
 * Returns: whether it is on the bus
 *
 * Since: 0.1
 */
gboolean
vhost_service_add (VhostService *self, VhostDaemon *daemon, GError **error)
{
  g_return_val_if_fail (VHOST_IS_SERVICE (self), FALSE);
  g_return_val_if_fail (VHOST_IS_DAEMON (daemon), FALSE);
  g_return_val_if_fail (self->connection != NULL, FALSE);
  g_autofree char *name = NULL;
  g_autofree char *path = NULL;
  g_autoptr (GDBusObjectSkeleton) object = NULL;
  VhostServiceDevice *device;

  g_object_get (daemon, "name", &name, NULL);
  if (name != NULL && !g_utf8_validate (name, -1, NULL))
    {
      g_set_error_literal (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "the daemon's name is not UTF-8, which a bus needs: give it another one");
      return FALSE;
    }
  if (vhost_daemon_get_backend (daemon) == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%s: the daemon has no back-end, so there is nothing to show: set one first",
                   name != NULL ? name : "vhost");
      return FALSE;
    }
  path = encode_path (name != NULL ? name : "");
  if (self->manager != NULL)
    {
      g_autoptr (GDBusObject) other
          = g_dbus_object_manager_get_object (G_DBUS_OBJECT_MANAGER (self->manager), path);
      if (other != NULL)
        {
          g_set_error (
              error, VHOST_ERROR, VHOST_ERROR_BUSY,
              "the service has a device named \"%s\" already: give the daemon another name",
              name != NULL ? name : "");
          return FALSE;
        }
    }
  if (!own_name (self, error))
    return FALSE;
  if (self->manager == NULL)
    {
      self->manager = g_dbus_object_manager_server_new (VHOST_SERVICE_PATH);
      g_dbus_object_manager_server_set_connection (self->manager, self->connection);
    }
  device = vhost_service_device_new (self, daemon);
  g_ptr_array_add (self->devices, device);
  object = g_dbus_object_skeleton_new (path);
  g_dbus_object_skeleton_add_interface (
      object, G_DBUS_INTERFACE_SKELETON (vhost_service_device_get_skeleton (device)));
  g_dbus_object_manager_server_export (self->manager, object);
  return TRUE;
}

/**
 * vhost_service_remove:
 * @self: a service
 * @daemon: a daemon
 *
 * Takes a daemon off the bus. It goes on with what it does.
 *
 * Thread: control
 *
 * Returns: whether it was there
 *
 * Since: 0.1
 */
gboolean
vhost_service_remove (VhostService *self, VhostDaemon *daemon)
{
  g_return_val_if_fail (VHOST_IS_SERVICE (self), FALSE);
  guint position;
  VhostServiceDevice *device = find (self, daemon, &position);
  GDBusObject *object;

  if (device == NULL)
    return FALSE;
  object
      = g_dbus_interface_get_object (G_DBUS_INTERFACE (vhost_service_device_get_skeleton (device)));
  g_dbus_object_manager_server_unexport (self->manager, g_dbus_object_get_object_path (object));
  vhost_service_device_withdraw (device);
  g_ptr_array_remove_index (self->devices, position);
  return TRUE;
}

/**
 * vhost_service_get_bus_name:
 * @self: a service
 *
 * Thread: control
 *
 * Returns: (nullable): #VhostService:bus-name
 *
 * Since: 0.1
 */
const char *
vhost_service_get_bus_name (VhostService *self)
{
  g_return_val_if_fail (VHOST_IS_SERVICE (self), NULL);
  return self->bus_name;
}
