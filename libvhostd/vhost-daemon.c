/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as an object: its properties and signals, how it starts and how it stops. Owns the
 * socket, the workers and the sessions, and outlives any number of front-ends. Must not know what a
 * message or a ring is. */
#include "config.h"

#include "vhost-daemon.h"

#include "vhost-daemon-private.h"

#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define STOP_DRAIN_MS 2000 /* whoever stops us sends SIGKILL a few seconds later */
#define DEFAULT_DRAIN_MS 10000
#define DEFAULT_RECONNECT_MS 1000
#define DEFAULT_SOCKET_MODE 0660

enum
{
  PROP_NAME = 1,
  PROP_BACKEND,
  PROP_SOCKET_PATH,
  PROP_SOCKET_MODE,
  PROP_MODE,
  PROP_RECONNECT_INTERVAL,
  PROP_MAX_SESSIONS,
  PROP_DRAIN_TIMEOUT,
  PROP_SEAL_MEMORY,
  PROP_IN_BAND,
  PROP_EXIT_ON_DISCONNECT,
  PROP_WAITER,
  PROP_STATE,
  PROP_PAUSED,
  N_PROPS
};
static GParamSpec *props[N_PROPS];

guint vhost_daemon_signals[VHOST_DAEMON_N_SIGNALS];

/**
 * VhostDaemon:
 *
 * Serves a device on a socket, to one front-end after another.
 *
 * It listens, or connects as a client, or takes over a descriptor. All its work happens in the main
 * context in which it was started; requests are served by the back-end's workers. It lives as long
 * as it is started, whoever holds it.
 *
 * Since: 0.1
 */
G_DEFINE_TYPE_WITH_PRIVATE (VhostDaemon, vhost_daemon, G_TYPE_OBJECT)

VhostDaemonPrivate *
vhost_daemon_get_private (VhostDaemon *self)
{
  return vhost_daemon_get_instance_private (self);
}

const char *
vhost_daemon_get_label (VhostDaemonPrivate *priv)
{
  return priv->name != NULL ? priv->name : "vhost";
}

void
vhost_daemon_set_state (VhostDaemon *self, VhostDaemonState state)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  /* Relaxed: the number stands alone, nothing is published with it. */
  if (atomic_exchange_explicit (&priv->state, (int) state, memory_order_relaxed) != (int) state)
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_STATE]);
}

gboolean
vhost_daemon_is_open (VhostDaemon *self)
{
  VhostDaemonState state = vhost_daemon_get_state (self);
  return state == VHOST_DAEMON_STATE_WAITING || state == VHOST_DAEMON_STATE_RUNNING;
}

guint
vhost_daemon_count_sessions (VhostDaemonPrivate *priv)
{
  return g_list_model_get_n_items (G_LIST_MODEL (priv->sessions));
}

void
vhost_daemon_clear_source (GSource **source)
{
  if (*source != NULL)
    {
      g_source_destroy (*source);
      g_clear_pointer (source, g_source_unref);
    }
}

GSource *
vhost_daemon_attach (VhostDaemon *self, GSource *source, GSourceFunc callback)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_source_set_callback (source, callback, self, NULL);
  g_source_attach (source, priv->context);
  return source;
}

/* Everything that start () made, in the opposite order. */
static void
vhost_daemon_teardown (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  vhost_daemon_unwatch (priv);
  vhost_daemon_clear_source (&priv->timer);
  vhost_daemon_clear_source (&priv->finish);
  vhost_daemon_end_pause (self, NULL); /* nothing is in flight now */
  pthread_mutex_lock (&priv->lock);
  priv->can_quit = FALSE;
  pthread_mutex_unlock (&priv->lock);
  /* The workers are gone with their slots; only then can nothing post to the mailbox any more. Its
   * tasks live in the slots, so it must be gone before anyone looks into it again. */
  g_clear_pointer (&priv->slots, g_ptr_array_unref);
  vhost_daemon_clear_source (&priv->mailbox_source);
  vhost_mailbox_clear (&priv->mailbox);
  vhost_daemon_close_socket (priv);
  g_clear_pointer (&priv->context, g_main_context_unref);
}

/* Thread: control. All sessions have ended: the last step of stopping. */
static gboolean
vhost_daemon_on_finish (gpointer data)
{
  VhostDaemon *self = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  vhost_daemon_teardown (self);
  GList *tasks = g_steal_pointer (&priv->stop_tasks);
  vhost_daemon_set_state (self, VHOST_DAEMON_STATE_STOPPED);
  for (GList *l = tasks; l != NULL; l = l->next)
    g_task_return_boolean (l->data, TRUE);
  g_list_free_full (tasks, g_object_unref);
  g_object_unref (self); /* the reference of a started daemon */
  return G_SOURCE_REMOVE;
}

void
vhost_daemon_finish_when_empty (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  /* Not at once: the caller may be a session that is just closing and still uses its workers. */
  if (vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_STOPPING && priv->finish == NULL
      && vhost_daemon_count_sessions (priv) == 0)
    {
      priv->finish = g_idle_source_new ();
      g_source_set_priority (priv->finish, G_PRIORITY_DEFAULT);
      vhost_daemon_attach (self, priv->finish, vhost_daemon_on_finish);
    }
}

/* Thread: control, from the mailbox. */
static void
vhost_daemon_on_quit (VhostTask *task)
{
  VhostDaemonPrivate *priv
      = (VhostDaemonPrivate *) (gpointer) ((guint8 *) task
                                           - G_STRUCT_OFFSET (VhostDaemonPrivate, quit.task));
  pthread_mutex_lock (&priv->lock);
  priv->quit.posted = FALSE;
  pthread_mutex_unlock (&priv->lock);
  vhost_daemon_stop_async (priv->quit.daemon, NULL, NULL, NULL);
}

/* The class */

/* The first back-end that a handler returns is taken. */
static gboolean
vhost_daemon_accumulate_backend (GSignalInvocationHint *hint, GValue *accumulated,
                                 const GValue *returned, gpointer data)
{
  g_value_set_object (accumulated, g_value_get_object (returned));
  return g_value_get_object (returned) == NULL;
}

/* Where each property lives; its GParamSpec says what is there. */
static const gsize prop_offsets[N_PROPS] = {
  [PROP_NAME] = G_STRUCT_OFFSET (VhostDaemonPrivate, name),
  [PROP_BACKEND] = G_STRUCT_OFFSET (VhostDaemonPrivate, backend),
  [PROP_SOCKET_PATH] = G_STRUCT_OFFSET (VhostDaemonPrivate, socket_path),
  [PROP_SOCKET_MODE] = G_STRUCT_OFFSET (VhostDaemonPrivate, socket_mode),
  [PROP_MODE] = G_STRUCT_OFFSET (VhostDaemonPrivate, mode),
  [PROP_RECONNECT_INTERVAL] = G_STRUCT_OFFSET (VhostDaemonPrivate, reconnect_interval),
  [PROP_MAX_SESSIONS] = G_STRUCT_OFFSET (VhostDaemonPrivate, max_sessions),
  [PROP_DRAIN_TIMEOUT] = G_STRUCT_OFFSET (VhostDaemonPrivate, drain_timeout),
  [PROP_SEAL_MEMORY] = G_STRUCT_OFFSET (VhostDaemonPrivate, seal_memory),
  [PROP_IN_BAND] = G_STRUCT_OFFSET (VhostDaemonPrivate, in_band),
  [PROP_EXIT_ON_DISCONNECT] = G_STRUCT_OFFSET (VhostDaemonPrivate, exit_on_disconnect),
  [PROP_WAITER] = G_STRUCT_OFFSET (VhostDaemonPrivate, waiter),
  [PROP_PAUSED] = G_STRUCT_OFFSET (VhostDaemonPrivate, paused),
};
G_STATIC_ASSERT (sizeof (VhostDaemonMode) == sizeof (guint));
G_STATIC_ASSERT (sizeof (VhostWaiterKind) == sizeof (guint));

static void
vhost_daemon_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostDaemon *self = VHOST_DAEMON (object);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (id == PROP_STATE)
    {
      g_value_set_enum (value, vhost_daemon_get_state (self));
      return;
    }
  gpointer field = G_STRUCT_MEMBER_P (priv, prop_offsets[id]);
  switch (G_TYPE_FUNDAMENTAL (pspec->value_type))
    {
    case G_TYPE_STRING:
      g_value_set_string (value, *(char **) field);
      break;
    case G_TYPE_OBJECT:
      g_value_set_object (value, *(GObject **) field);
      break;
    case G_TYPE_UINT:
      g_value_set_uint (value, *(guint *) field);
      break;
    case G_TYPE_ENUM:
      g_value_set_enum (value, *(gint *) field);
      break;
    case G_TYPE_BOOLEAN:
      g_value_set_boolean (value, *(gboolean *) field);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_daemon_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostDaemon *self = VHOST_DAEMON (object);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_auto (GValue) old = G_VALUE_INIT;
  g_value_init (&old, pspec->value_type);
  vhost_daemon_get_property (object, id, &old, pspec);
  if (g_param_values_cmp (pspec, &old, value) == 0)
    return;

  gpointer field = G_STRUCT_MEMBER_P (priv, prop_offsets[id]);
  switch (G_TYPE_FUNDAMENTAL (pspec->value_type))
    {
    case G_TYPE_STRING:
      g_free (*(char **) field);
      /* Empty is none: an empty socket path would bind a name that the kernel chooses. */
      *(char **) field = g_value_dup_string (value);
      if (g_strcmp0 (*(char **) field, "") == 0)
        g_clear_pointer ((char **) field, g_free);
      break;
    case G_TYPE_OBJECT:
      g_clear_object ((GObject **) field);
      *(GObject **) field = g_value_dup_object (value);
      break;
    case G_TYPE_UINT:
      *(guint *) field = g_value_get_uint (value);
      break;
    case G_TYPE_ENUM:
      *(gint *) field = g_value_get_enum (value);
      break;
    case G_TYPE_BOOLEAN:
      *(gboolean *) field = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
  if (id == PROP_MAX_SESSIONS)
    vhost_daemon_advance (self);
  g_object_notify_by_pspec (object, pspec);
}

static void
vhost_daemon_finalize (GObject *object)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (VHOST_DAEMON (object));
  /* A started daemon holds a reference to itself, so only what a stopped one has is left. */
  vhost_fd_clear (&priv->adopted_fd);
  g_clear_object (&priv->sessions);
  g_clear_object (&priv->backend);
  g_free (priv->name);
  g_free (priv->socket_path);
  pthread_mutex_destroy (&priv->lock);
  G_OBJECT_CLASS (vhost_daemon_parent_class)->finalize (object);
}

static void
vhost_daemon_init (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  pthread_mutex_init (&priv->lock, NULL);
  priv->quit.task.run = vhost_daemon_on_quit;
  priv->quit.daemon = self;
  priv->adopted_fd = -1;
  priv->listen_fd = -1;
  priv->socket_mode = DEFAULT_SOCKET_MODE;
  priv->reconnect_interval = DEFAULT_RECONNECT_MS;
  priv->max_sessions = 1;
  priv->drain_timeout = DEFAULT_DRAIN_MS;
  priv->seal_memory = TRUE;
  priv->fd_reserve = VHOST_DAEMON_FD_RESERVE;
  priv->sessions = g_list_store_new (VHOST_TYPE_SESSION);
}

static void
vhost_daemon_class_init (VhostDaemonClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;
  object_class->get_property = vhost_daemon_get_property;
  object_class->set_property = vhost_daemon_set_property;
  object_class->finalize = vhost_daemon_finalize;

  /**
   * VhostDaemon:name:
   *
   * What messages and threads are called after.
   *
   * Since: 0.1
   */
  props[PROP_NAME]
      = g_param_spec_string ("name", "", "Name in messages and of threads", NULL, flags);
  /**
   * VhostDaemon:backend:
   *
   * The device that is served. With none, #VhostDaemon::create-backend is asked for the first one
   * too. A change counts from the next start.
   *
   * Since: 0.1
   */
  props[PROP_BACKEND]
      = g_param_spec_object ("backend", "", "The device", VHOST_TYPE_BACKEND, flags);
  /**
   * VhostDaemon:socket-path:
   *
   * The Unix socket to listen on or to connect to, at most 107 bytes. A change counts from the next
   * start.
   *
   * Since: 0.1
   */
  props[PROP_SOCKET_PATH]
      = g_param_spec_string ("socket-path", "", "Unix socket to listen on", NULL, flags);
  /**
   * VhostDaemon:socket-mode:
   *
   * Permissions of the socket file, whatever the umask is; connecting needs write permission.
   *
   * Since: 0.1
   */
  props[PROP_SOCKET_MODE] = g_param_spec_uint ("socket-mode", "", "Permissions of the socket file",
                                               0, 0777, DEFAULT_SOCKET_MODE, flags);
  /**
   * VhostDaemon:mode:
   *
   * Whether to listen on #VhostDaemon:socket-path or to connect to it. As a client a daemon has one
   * session at a time.
   *
   * Since: 0.1
   */
  props[PROP_MODE] = g_param_spec_enum ("mode", "", "Listen (server) or connect (client)",
                                        VHOST_TYPE_DAEMON_MODE, VHOST_DAEMON_MODE_SERVER, flags);
  /**
   * VhostDaemon:reconnect-interval:
   *
   * Milliseconds between two attempts to connect, in client mode.
   *
   * Since: 0.1
   */
  props[PROP_RECONNECT_INTERVAL] = g_param_spec_uint (
      "reconnect-interval", "", "Milliseconds between two attempts to connect as a client", 1,
      G_MAXINT, DEFAULT_RECONNECT_MS, flags);
  /**
   * VhostDaemon:max-sessions:
   *
   * How many front-ends are served at the same time; more of them wait until one goes. Each needs
   * its own back-end object: see #VhostDaemon::create-backend.
   *
   * Since: 0.1
   */
  props[PROP_MAX_SESSIONS] = g_param_spec_uint (
      "max-sessions", "", "Front-ends served at the same time; more wait", 1, 65535, 1, flags);
  /**
   * VhostDaemon:drain-timeout:
   *
   * Milliseconds that a session waits for requests in flight before it gives up on them. Counts for
   * sessions that open later. vhost_daemon_stop_async () waits at most 2000.
   *
   * Since: 0.1
   */
  props[PROP_DRAIN_TIMEOUT] = g_param_spec_uint (
      "drain-timeout", "", "Milliseconds to wait for requests in flight when a ring stops", 0,
      G_MAXINT, DEFAULT_DRAIN_MS, flags);
  /**
   * VhostDaemon:seal-memory:
   *
   * Whether guest memory files are sealed against shrinking where that is possible.
   *
   * Since: 0.1
   */
  props[PROP_SEAL_MEMORY] = g_param_spec_boolean (
      "seal-memory", "", "Seal guest memory against shrinking where possible", TRUE, flags);
  /**
   * VhostDaemon:in-band:
   *
   * Whether kicks and calls as messages on the socket are offered, in place of file descriptors
   * (vhost-user specification, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS). They are slow, and go
   * through the control thread; a front-end prefers descriptors where it can make them.
   *
   * Off by default, because there are front-ends, QEMU among them, that accept whatever they are
   * offered and then send descriptors all the same. Counts for sessions that open later.
   *
   * Since: 0.1
   */
  props[PROP_IN_BAND]
      = g_param_spec_boolean ("in-band", "", "Offer notifications as messages, for simulators",
                              FALSE, flags | G_PARAM_CONSTRUCT);
  /**
   * VhostDaemon:exit-on-disconnect:
   *
   * Whether the daemon stops, and vhost_daemon_run () returns, once its last session has ended. An
   * adopted connection always ends so.
   *
   * Since: 0.1
   */
  props[PROP_EXIT_ON_DISCONNECT] = g_param_spec_boolean (
      "exit-on-disconnect", "", "Stop once the last front-end has gone", FALSE, flags);
  /**
   * VhostDaemon:waiter:
   *
   * How worker threads wait for work. A change counts from the next start.
   *
   * Since: 0.1
   */
  props[PROP_WAITER] = g_param_spec_enum ("waiter", "", "How worker threads wait for work",
                                          VHOST_TYPE_WAITER_KIND, VHOST_WAITER_AUTO, flags);
  /**
   * VhostDaemon:state:
   *
   * What the daemon is doing. Notified on the control thread.
   *
   * Since: 0.1
   */
  props[PROP_STATE] = g_param_spec_enum (
      "state", "", "What the daemon is doing", VHOST_TYPE_DAEMON_STATE, VHOST_DAEMON_STATE_STOPPED,
      G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  /**
   * VhostDaemon:paused:
   *
   * Whether requests are left in the rings: vhost_daemon_pause_async ().
   *
   * Since: 0.1
   */
  props[PROP_PAUSED]
      = g_param_spec_boolean ("paused", "", "Requests are left in the rings", FALSE,
                              G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties (object_class, N_PROPS, props);

  /**
   * VhostDaemon::kick:
   * @self: the daemon
   * @queue: the queue
   *
   * The driver has put requests into @queue.
   *
   * Emitted only while someone is connected, in the daemon's context. With workers=0 that is where
   * the queue is served, so the handler may take requests with vhost_queue_pop (); with worker
   * threads it is news that comes later, several kicks may be one, and the requests belong to the
   * back-end on its worker.
   *
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_KICK]
      = g_signal_new ("kick", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                      G_TYPE_NONE, 1, VHOST_TYPE_QUEUE);
  /**
   * VhostDaemon::config-changed:
   * @self: the daemon
   * @session: the session
   * @offset: first byte that may have changed
   * @length: number of bytes
   * @origin: who changed them
   *
   * The configuration space was written.
   *
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_CONFIG_CHANGED] = g_signal_new (
      "config-changed", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 4,
      VHOST_TYPE_SESSION, G_TYPE_UINT, G_TYPE_UINT, VHOST_TYPE_CONFIG_ORIGIN);
  /**
   * VhostDaemon::session-opened:
   * @self: the daemon
   * @session: the session
   *
   * A front-end has come; nothing is negotiated yet.
   *
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_OPENED]
      = g_signal_new ("session-opened", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                      G_TYPE_NONE, 1, VHOST_TYPE_SESSION);
  /**
   * VhostDaemon::session-changed:
   * @self: the daemon
   * @session: a session
   *
   * Emitted after messages of a front-end that may have changed features, memory or rings; once for
   * several of them.
   *
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_CHANGED]
      = g_signal_new ("session-changed", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                      G_TYPE_NONE, 1, VHOST_TYPE_SESSION);
  /**
   * VhostDaemon::session-closed:
   * @self: the daemon
   * @session: the session, which is no longer in the list
   * @error: (nullable): why it ended; %NULL when the front-end went or the daemon stops
   *
   * A session has ended and its requests are drained.
   *
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_SESSION_CLOSED]
      = g_signal_new ("session-closed", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                      G_TYPE_NONE, 2, VHOST_TYPE_SESSION, G_TYPE_ERROR);
  /**
   * VhostDaemon::create-backend:
   * @self: the daemon
   *
   * One more back-end object is needed: #VhostDaemon:backend is not set or is serving a front-end
   * already, and #VhostDaemon:max-sessions allows another session. The object is kept for later
   * sessions until the daemon stops. The first answer that is not %NULL is taken.
   *
   * Returns: (transfer full) (nullable): a new back-end; %NULL lets the front-end wait
   * Since: 0.1
   */
  vhost_daemon_signals[VHOST_DAEMON_SIGNAL_CREATE_BACKEND]
      = g_signal_new ("create-backend", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0,
                      vhost_daemon_accumulate_backend, NULL, NULL, VHOST_TYPE_BACKEND, 0);
}

/* Private */

void
vhost_daemon_set_fd_reserve (VhostDaemon *self, guint reserve)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  priv->fd_reserve = reserve;
}

guint64
vhost_daemon_get_accept_attempts (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  return priv->accept_attempts;
}

/* Public */

/**
 * vhost_daemon_new:
 * @name: (nullable): name in messages and of threads
 * @backend: (nullable): the device
 *
 * Makes a daemon that serves @backend to front-ends, once it has a socket and is started.
 *
 * Thread: any
 * Returns: (transfer full): a new daemon
 * Since: 0.1
 */
VhostDaemon *
vhost_daemon_new (const char *name, VhostBackend *backend)
{
  return g_object_new (VHOST_TYPE_DAEMON, "name", name, "backend", backend, NULL);
}

/* One session over a connection that someone else made. */
static gboolean
vhost_daemon_serve_adopted (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  int fd = priv->adopted_fd;
  priv->adopted_fd = -1;
  priv->one_shot = TRUE;
  return vhost_daemon_open_session (self, g_ptr_array_index (priv->slots, 0), fd, error);
}

/* The way in, last of all: whoever comes finds everything ready. */
static gboolean
vhost_daemon_open_socket (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  struct sockaddr_un address;
  if (priv->adopted_fd != -1 && !priv->adopted_listens)
    return vhost_daemon_serve_adopted (self, error);
  if (priv->adopted_fd != -1)
    priv->listen_fd = priv->adopted_fd;
  else if (priv->mode == VHOST_DAEMON_MODE_CLIENT)
    return vhost_daemon_make_address (priv->socket_path, &address, error);
  else
    return vhost_daemon_listen (self, error);
  return TRUE;
}

/**
 * vhost_daemon_start:
 * @self: a daemon
 * @error: where to put an error
 *
 * Starts the back-end and its workers, then listens, or begins to connect.
 *
 * All later work happens in the thread-default main context of the caller, which must be iterated
 * by one thread. A started daemon keeps itself alive until it has stopped. Starting one that is
 * started does nothing. A socket file that nobody listens on is replaced; one that a process
 * listens on, and any other file, is an error.
 *
 * Errors: %VHOST_ERROR_INVALID (settings), %VHOST_ERROR_BUSY (the socket is in use, or the daemon
 * is still stopping), %VHOST_ERROR_SOCKET, and what the back-end reports.
 *
 * Thread: control
 * Returns: whether the daemon is started
 * Since: 0.1
 */
gboolean
vhost_daemon_start (VhostDaemon *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), FALSE);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (vhost_daemon_is_open (self))
    return TRUE;
  if (vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_STOPPING)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "%s: the daemon is still stopping: wait for vhost_daemon_stop_async ()",
                   vhost_daemon_get_label (priv));
      return FALSE;
    }
  if ((priv->adopted_fd != -1) == (priv->socket_path != NULL))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%s: the daemon has %s: give it either a socket path or a file descriptor",
                   vhost_daemon_get_label (priv),
                   priv->socket_path != NULL ? "a socket path and a file descriptor" : "no socket");
      return FALSE;
    }
  if (!vhost_mailbox_init (&priv->mailbox, error))
    return FALSE;
  priv->context = g_main_context_ref_thread_default ();
  pthread_mutex_lock (&priv->lock);
  priv->can_quit = TRUE;
  priv->quit.posted = FALSE;
  pthread_mutex_unlock (&priv->lock);
  priv->mailbox_source = vhost_mailbox_create_source (&priv->mailbox);
  g_source_attach (priv->mailbox_source, priv->context);
  priv->slots = g_ptr_array_new_with_free_func (vhost_daemon_free_slot);
  priv->one_shot = FALSE;
  priv->no_more_backends = FALSE;
  priv->short_of_fds = FALSE;
  priv->connect_errno = 0;

  g_object_ref (self);
  if (vhost_daemon_get_free_slot (self, error) == NULL || !vhost_daemon_open_socket (self, error))
    {
      vhost_daemon_teardown (self);
      vhost_daemon_set_state (self, VHOST_DAEMON_STATE_STOPPED);
      g_object_unref (self);
      return FALSE;
    }
  if (vhost_daemon_count_sessions (priv) == 0)
    vhost_daemon_set_state (self, VHOST_DAEMON_STATE_WAITING);
  vhost_daemon_advance (self);
  return TRUE;
}

/**
 * vhost_daemon_stop_async:
 * @self: a daemon
 * @cancellable: (nullable): makes the result an error, but does not keep the daemon running
 * @callback: (scope async) (nullable): called when the daemon has stopped
 * @user_data: for @callback
 *
 * Lets nobody in any more, ends all sessions, then the workers and the back-end.
 *
 * Requests in flight have #VhostDaemon:drain-timeout to end, but at most 2 seconds. The socket file
 * is removed if it is still the daemon's own. Stopping a stopped daemon succeeds. It can be started
 * again afterwards; an adopted listening socket is kept for that.
 *
 * Thread: control
 * Since: 0.1
 */
void
vhost_daemon_stop_async (VhostDaemon *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                         gpointer user_data)
{
  g_return_if_fail (VHOST_IS_DAEMON (self));
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GTask) task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, vhost_daemon_stop_async);
  VhostDaemonState state = vhost_daemon_get_state (self);
  if (state == VHOST_DAEMON_STATE_STOPPED)
    {
      g_task_return_boolean (task, TRUE);
      return;
    }
  priv->stop_tasks = g_list_append (priv->stop_tasks, g_steal_pointer (&task));
  if (state == VHOST_DAEMON_STATE_STOPPING)
    return;

  vhost_daemon_set_state (self, VHOST_DAEMON_STATE_STOPPING);
  vhost_daemon_advance (self);
  vhost_daemon_clear_source (&priv->timer);
  g_autoptr (GPtrArray) open = g_ptr_array_new_with_free_func (g_object_unref);
  for (guint i = 0; i < priv->slots->len; i++)
    {
      VhostDaemonSlot *slot = g_ptr_array_index (priv->slots, i);
      if (slot->session != NULL)
        g_ptr_array_add (open, g_object_ref (slot->session));
    }
  for (guint i = 0; i < open->len; i++)
    vhost_session_shutdown (g_ptr_array_index (open, i), MIN (priv->drain_timeout, STOP_DRAIN_MS),
                            NULL);
  vhost_daemon_finish_when_empty (self);
}

/**
 * vhost_daemon_stop_finish:
 * @self: a daemon
 * @result: what the callback was given
 * @error: where to put an error
 *
 * Ends vhost_daemon_stop_async ().
 *
 * Thread: control
 * Returns: %TRUE; %FALSE only when it was cancelled
 * Since: 0.1
 */
gboolean
vhost_daemon_stop_finish (VhostDaemon *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  return g_task_propagate_boolean (G_TASK (result), error);
}

/**
 * vhost_daemon_run:
 * @self: a daemon
 * @error: where to put an error
 *
 * Starts the daemon if it is not started, and iterates its context until it has stopped.
 *
 * Thread: control
 * Returns: %FALSE when it could not be started
 * Since: 0.1
 */
gboolean
vhost_daemon_run (VhostDaemon *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), FALSE);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_STOPPED
      && !vhost_daemon_start (self, error))
    return FALSE;
  g_autoptr (VhostDaemon) alive = g_object_ref (self);
  g_autoptr (GMainContext) context = g_main_context_ref (priv->context);
  while (vhost_daemon_get_state (alive) != VHOST_DAEMON_STATE_STOPPED)
    g_main_context_iteration (context, TRUE);
  return TRUE;
}

/**
 * vhost_daemon_quit:
 * @self: a daemon
 *
 * Asks a started daemon to stop, as vhost_daemon_stop_async () does, and returns at once.
 *
 * It may be called from sources that watch signals, but not from a signal handler itself. A
 * stopped daemon does not remember it.
 *
 * Thread: any
 * Since: 0.1
 */
void
vhost_daemon_quit (VhostDaemon *self)
{
  g_return_if_fail (VHOST_IS_DAEMON (self));
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  pthread_mutex_lock (&priv->lock);
  if (priv->can_quit && !priv->quit.posted)
    {
      priv->quit.posted = TRUE;
      vhost_mailbox_post (&priv->mailbox, &priv->quit.task);
    }
  pthread_mutex_unlock (&priv->lock);
}

/**
 * vhost_daemon_adopt_fd:
 * @self: a daemon that is not started
 * @fd: a Unix stream socket
 * @error: where to put an error
 *
 * Serves on a socket that someone else has opened, in place of #VhostDaemon:socket-path.
 *
 * A listening socket is used like one's own; a connected one is one session, and the daemon stops
 * with it. On success the daemon owns @fd and closes it; on failure it is still the caller's.
 *
 * Errors: %VHOST_ERROR_INVALID when @fd is no such socket, %VHOST_ERROR_BUSY when the daemon is
 * started.
 *
 * Thread: control
 * Returns: whether the daemon has taken @fd
 * Since: 0.1
 */
gboolean
vhost_daemon_adopt_fd (VhostDaemon *self, int fd, GError **error)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), FALSE);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  if (vhost_daemon_get_state (self) != VHOST_DAEMON_STATE_STOPPED)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "file descriptor %d comes too late: the daemon is started; stop it first", fd);
      return FALSE;
    }
  int domain = 0, type = 0, listens = 0;
  socklen_t length = sizeof (int);
  struct sockaddr_storage peer;
  socklen_t peer_length = sizeof peer;
  if (getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == -1
      || getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) == -1
      || getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == -1)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "file descriptor %d is not a socket: %s", fd, g_strerror (errno));
      return FALSE;
    }
  if (domain != AF_UNIX || type != SOCK_STREAM
      || (!listens && getpeername (fd, (struct sockaddr *) &peer, &peer_length) == -1))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "file descriptor %d is not a Unix stream socket that listens or is connected "
                   "(family %d, type %d)",
                   fd, domain, type);
      return FALSE;
    }
  if (!vhost_fd_set_nonblocking (fd, error))
    return FALSE;
  fcntl (fd, F_SETFD, FD_CLOEXEC);
  vhost_fd_clear (&priv->adopted_fd);
  priv->adopted_fd = fd;
  priv->adopted_listens = listens != 0;
  return TRUE;
}

/**
 * vhost_daemon_open_frontend:
 * @self: a started daemon
 * @error: where to put an error
 *
 * Opens a session without a socket path: the other end of its connection is returned, for whoever
 * is to be its front-end, in this process or another one.
 *
 * Errors: %VHOST_ERROR_BUSY when #VhostDaemon:max-sessions are served already or the daemon is not
 * started, %VHOST_ERROR_SOCKET when the system gives no sockets.
 *
 * Thread: control
 * Returns: a connected descriptor, the caller's to close; -1 on failure
 * Since: 0.1
 */
int
vhost_daemon_open_frontend (VhostDaemon *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), -1);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GError) failure = NULL;
  int fds[2];
  VhostDaemonSlot *slot
      = vhost_daemon_is_open (self) ? vhost_daemon_get_free_slot (self, &failure) : NULL;
  if (slot == NULL)
    {
      if (failure != NULL)
        g_propagate_error (error, g_steal_pointer (&failure));
      else
        g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "%s: %s", vhost_daemon_get_label (priv),
                     vhost_daemon_is_open (self)
                         ? "as many front-ends are served as max-sessions says: disconnect one, or "
                           "raise it"
                         : "the daemon is not started");
      return -1;
    }
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == -1)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "%s: cannot make a pair of sockets: %s",
                   vhost_daemon_get_label (priv), g_strerror (errno));
      return -1;
    }
  if (vhost_fd_set_nonblocking (fds[0], error)
      && vhost_daemon_open_session (self, slot, g_steal_fd (&fds[0]), error))
    return fds[1];
  vhost_fd_clear (&fds[0]);
  vhost_fd_clear (&fds[1]);
  return -1;
}

/**
 * vhost_daemon_close_sessions:
 * @self: a daemon
 *
 * Closes every session, as vhost_session_close () does, and waits for the next front-end.
 *
 * Thread: control
 * Since: 0.1
 */
void
vhost_daemon_close_sessions (VhostDaemon *self)
{
  g_return_if_fail (VHOST_IS_DAEMON (self));
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  g_autoptr (GPtrArray) open = g_ptr_array_new_with_free_func (g_object_unref);
  for (guint i = 0; i < vhost_daemon_count_sessions (priv); i++)
    g_ptr_array_add (open, g_list_model_get_item (G_LIST_MODEL (priv->sessions), i));
  for (guint i = 0; i < open->len; i++)
    vhost_session_close (g_ptr_array_index (open, i));
}

/**
 * vhost_daemon_get_backend:
 * @self: a daemon
 *
 * The device that is served; with several sessions, the first one's.
 *
 * Thread: control
 * Returns: (transfer none) (nullable): the back-end
 * Since: 0.1
 */
VhostBackend *
vhost_daemon_get_backend (VhostDaemon *self)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), NULL);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  return priv->backend;
}

/**
 * vhost_daemon_get_state:
 * @self: a daemon
 *
 * What the daemon is doing.
 *
 * Thread: any
 * Returns: the state
 * Since: 0.1
 */
VhostDaemonState
vhost_daemon_get_state (VhostDaemon *self)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), VHOST_DAEMON_STATE_STOPPED);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  /* Relaxed: nothing is published with it. */
  return (VhostDaemonState) atomic_load_explicit (&priv->state, memory_order_relaxed);
}

/**
 * vhost_daemon_get_sessions:
 * @self: a daemon
 *
 * The open sessions, a list of #VhostSession that changes as front-ends come and go.
 *
 * Thread: control
 * Returns: (transfer none): the list
 * Since: 0.1
 */
GListModel *
vhost_daemon_get_sessions (VhostDaemon *self)
{
  g_return_val_if_fail (VHOST_IS_DAEMON (self), NULL);
  VhostDaemonPrivate *priv = vhost_daemon_get_private (self);
  return G_LIST_MODEL (priv->sessions);
}
