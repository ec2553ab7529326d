/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon: owns the socket, the workers and the sessions, and outlives any number of front-ends.
 * Must not know what a message or a ring is.
 *
 * How it works. A *slot* is a back-end object with its workers; a session borrows one slot. Slots
 * are made when they are needed, at most max-sessions, and kept until the daemon stops. A slot is
 * free again once its session has been closed, that is, drained, so a back-end object never serves
 * two sessions. Everything that may change whether a front-end can be let in ends in
 * vhost_daemon_advance (), which alone decides to watch the listening socket, to connect, or to
 * leave both alone. While no slot is free the socket is not watched: further front-ends wait in the
 * kernel's queue. The same happens when descriptors run out, with a timer to look again; a loop
 * that keeps accepting without descriptors would spin. */
#include "config.h"

#include "vhost-daemon-private.h"

#include "vhost-backend-private.h"
#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-mailbox-private.h"
#include "vhost-queue.h"
#include "vhost-session-private.h"
#include "vhost-trace-private.h"
#include "vhost-worker-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_FD_MS 100    /* between two looks whether descriptors are free again */
#define STOP_DRAIN_MS 2000 /* whoever stops us sends SIGKILL a few seconds later */
#define DEFAULT_DRAIN_MS 10000
#define DEFAULT_RECONNECT_MS 1000
#define DEFAULT_SOCKET_MODE 0660

typedef struct _DaemonSlot DaemonSlot;

/* One queue's news for the daemon's context. */
typedef struct
{
  VhostTask task; /* first */
  DaemonSlot *slot;
  _Atomic (VhostQueue *) queue; /* (owned) (nullable): set while the task is posted */
} DaemonKick;

struct _DaemonSlot
{
  VhostDaemon *daemon;   /* (unowned): outlives its slots */
  VhostBackend *backend; /* (owned) */
  GPtrArray *workers;    /* (owned) (element-type VhostWorker) */
  gboolean is_inline;    /* the only worker is the daemon's own context */
  VhostSession *session; /* (owned) (nullable) */
  gint64 opened;         /* monotonic us */
  guint n_kicks;
  DaemonKick *kicks; /* (owned) */
};

typedef struct
{
  char *name;            /* (owned) (nullable) */
  VhostBackend *backend; /* (owned) (nullable) */
  char *socket_path;     /* (owned) (nullable) */
  VhostDaemonMode mode;
  guint socket_mode;
  guint reconnect_interval;
  guint max_sessions;
  guint drain_timeout;
  gboolean seal_memory;
  gboolean exit_on_disconnect;
  VhostWaiterKind waiter;

  _Atomic (int) state; /* VhostDaemonState; written by the control thread, read by any */
  int adopted_fd;      /* (owned) */
  gboolean adopted_listens;
  GListStore *sessions; /* (owned) */

  /* quit () comes from any thread and must find the context, or none */
  GMutex lock;
  GMainContext *context; /* (owned) (nullable): set while started */

  /* While started */
  gboolean one_shot; /* an adopted connection: there will be no second one */
  int listen_fd;     /* owned unless it is adopted_fd */
  char *bound_path;  /* (owned) (nullable): our socket file, with what identifies it */
  dev_t bound_dev;
  ino_t bound_ino;
  GSource *watch;  /* (owned) (nullable): the listening socket */
  GSource *timer;  /* (owned) (nullable): wait before the next accept or connect */
  GSource *finish; /* (owned) (nullable): the last step of stopping */
  VhostMailbox mailbox;
  GSource *mailbox_source; /* (owned) */
  GPtrArray *slots;        /* (owned) (element-type DaemonSlot) */
  GList *stop_tasks;       /* (owned) (element-type GTask) */
  gboolean no_more_backends;
  gboolean short_of_fds; /* said once */
  int connect_errno;     /* last one reported */
  guint fd_reserve;
  guint64 accept_attempts;
} VhostDaemonPrivate;

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
  PROP_EXIT_ON_DISCONNECT,
  PROP_WAITER,
  PROP_STATE,
  N_PROPS
};
static GParamSpec *props[N_PROPS];

enum
{
  SIGNAL_KICK,
  SIGNAL_CONFIG_CHANGED,
  SIGNAL_SESSION_OPENED,
  SIGNAL_SESSION_CLOSED,
  SIGNAL_CREATE_BACKEND,
  N_SIGNALS
};
static guint signals[N_SIGNALS];

G_DEFINE_TYPE_WITH_PRIVATE (VhostDaemon, vhost_daemon, G_TYPE_OBJECT)

static void vhost_daemon_advance (VhostDaemon *self);
static gboolean vhost_daemon_on_finish (gpointer data);

static const char *
vhost_daemon_name (VhostDaemonPrivate *priv)
{
  return priv->name != NULL ? priv->name : "vhost";
}

static void
vhost_daemon_set_state (VhostDaemon *self, VhostDaemonState state)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  /* Relaxed: the number stands alone, nothing is published with it. */
  if (atomic_exchange_explicit (&priv->state, (int) state, memory_order_relaxed) != (int) state)
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_STATE]);
}

static gboolean
vhost_daemon_is_open (VhostDaemon *self)
{
  VhostDaemonState state = vhost_daemon_get_state (self);
  return state == VHOST_DAEMON_STATE_WAITING || state == VHOST_DAEMON_STATE_RUNNING;
}

static guint
vhost_daemon_count_sessions (VhostDaemonPrivate *priv)
{
  return g_list_model_get_n_items (G_LIST_MODEL (priv->sessions));
}

static void
vhost_daemon_clear_source (GSource **source)
{
  if (*source != NULL)
    {
      g_source_destroy (*source);
      g_clear_pointer (source, g_source_unref);
    }
}

static GSource *
vhost_daemon_attach (VhostDaemon *self, GSource *source, GSourceFunc callback)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  g_source_set_callback (source, callback, self, NULL);
  g_source_attach (source, priv->context);
  return source;
}

/* Slots */

/* Thread: control, from the mailbox. */
static void
vhost_daemon_on_kick (VhostTask *task)
{
  DaemonKick *kick = (DaemonKick *) task;
  /* Acquire: partner of the exchange in vhost_daemon_kicked (). From here on a kick posts the task
   * anew. */
  g_autoptr (VhostQueue) queue
      = atomic_exchange_explicit (&kick->queue, NULL, memory_order_acquire);
  if (queue != NULL && kick->slot->session != NULL)
    g_signal_emit (kick->slot->daemon, signals[SIGNAL_KICK], 0, queue);
}

/* Thread: any. */
static gboolean
vhost_daemon_wants_kicks (gpointer data)
{
  DaemonSlot *slot = data;
  return g_signal_has_handler_pending (slot->daemon, signals[SIGNAL_KICK], 0, TRUE);
}

/* Thread: worker. */
static void
vhost_daemon_kicked (VhostQueue *queue, gpointer data)
{
  DaemonSlot *slot = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (slot->daemon);
  if (slot->is_inline)
    {
      /* The worker is the daemon's context, and inside a pass: the handler may pop. */
      g_signal_emit (slot->daemon, signals[SIGNAL_KICK], 0, queue);
      return;
    }
  guint index = vhost_queue_get_index (queue);
  if (index >= slot->n_kicks)
    return;
  DaemonKick *kick = &slot->kicks[index];
  /* Release: partner of the exchange in vhost_daemon_on_kick (). What stood there is pending
   * already; the newer queue takes its place, since the older one may belong to a session that is
   * over. */
  VhostQueue *pending
      = atomic_exchange_explicit (&kick->queue, g_object_ref (queue), memory_order_acq_rel);
  if (pending == NULL)
    vhost_mailbox_post (&priv->mailbox, &kick->task);
  else
    g_object_unref (pending);
}

/* Thread: worker. */
static void
vhost_daemon_worker_started (VhostWorker *worker, gpointer data)
{
  vhost_backend_worker_started (data, worker);
}

/* Thread: worker. */
static void
vhost_daemon_worker_stopped (VhostWorker *worker, gpointer data)
{
  vhost_backend_worker_stopped (data, worker);
}

static void
vhost_daemon_free_slot (gpointer data)
{
  DaemonSlot *slot = data;
  for (guint i = 0; i < slot->workers->len; i++)
    {
      VhostWorker *worker = g_ptr_array_index (slot->workers, i);
      if (slot->is_inline)
        vhost_backend_worker_stopped (slot->backend, worker);
      vhost_worker_stop (worker);
    }
  g_ptr_array_unref (slot->workers);
  vhost_backend_stop (slot->backend);
  for (guint i = 0; i < slot->n_kicks; i++)
    {
      VhostQueue *queue
          = atomic_exchange_explicit (&slot->kicks[i].queue, NULL, memory_order_acquire);
      g_clear_object (&queue);
    }
  g_free (slot->kicks);
  g_object_unref (slot->backend);
  g_free (slot);
}

static DaemonSlot *
vhost_daemon_new_slot (VhostDaemon *self, VhostBackend *backend, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  if (!vhost_backend_start (backend, error))
    return NULL;

  DaemonSlot *slot = g_new0 (DaemonSlot, 1);
  slot->daemon = self;
  slot->backend = g_object_ref (backend);
  slot->workers = g_ptr_array_new_with_free_func (g_object_unref);
  slot->n_kicks = vhost_backend_get_num_queues (backend);
  slot->kicks = g_new0 (DaemonKick, slot->n_kicks);
  for (guint i = 0; i < slot->n_kicks; i++)
    {
      slot->kicks[i].task.run = vhost_daemon_on_kick;
      slot->kicks[i].slot = slot;
    }

  guint n_workers = vhost_backend_get_workers (backend);
  slot->is_inline = n_workers == 0;
  for (guint i = 0; i < MAX (n_workers, 1); i++)
    {
      g_autofree char *name = g_strdup_printf ("%s/%u", vhost_daemon_name (priv), i);
      VhostWorker *worker
          = slot->is_inline
                ? vhost_worker_new_inline (priv->context, error)
                : vhost_worker_new_thread (name, priv->waiter, vhost_backend_get_poll_max (backend),
                                           vhost_daemon_worker_started, vhost_daemon_worker_stopped,
                                           backend, error);
      if (worker == NULL)
        {
          vhost_daemon_free_slot (slot);
          return NULL;
        }
      g_ptr_array_add (slot->workers, worker);
      if (slot->is_inline)
        vhost_backend_worker_started (backend, worker);
    }
  return slot;
}

/* The slot for the next session; NULL when it has to wait, or with @error when there can be none.
 */
static DaemonSlot *
vhost_daemon_get_free_slot (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  if (vhost_daemon_count_sessions (priv) >= priv->max_sessions)
    return NULL;
  for (guint i = 0; i < priv->slots->len; i++)
    {
      DaemonSlot *slot = g_ptr_array_index (priv->slots, i);
      if (slot->session == NULL)
        return slot;
    }
  if (priv->no_more_backends)
    return NULL;

  g_autoptr (VhostBackend) backend = NULL;
  if (priv->slots->len == 0 && priv->backend != NULL)
    backend = g_object_ref (priv->backend);
  else
    g_signal_emit (self, signals[SIGNAL_CREATE_BACKEND], 0, &backend);
  if (backend == NULL)
    {
      priv->no_more_backends = TRUE;
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%s: no back-end for session %u of max-sessions %u: a back-end object serves one "
          "front-end at a time; return one more from the create-backend signal",
          vhost_daemon_name (priv), priv->slots->len + 1, priv->max_sessions);
      return NULL;
    }
  DaemonSlot *slot = vhost_daemon_new_slot (self, backend, error);
  if (slot == NULL)
    {
      priv->no_more_backends = TRUE;
      return NULL;
    }
  g_ptr_array_add (priv->slots, slot);
  return slot;
}

/* Sessions */

static void
vhost_daemon_finish_when_empty (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  /* Not at once: the caller may be a session that is just closing and still uses its workers. */
  if (vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_STOPPING && priv->finish == NULL
      && vhost_daemon_count_sessions (priv) == 0)
    {
      priv->finish = g_idle_source_new ();
      g_source_set_priority (priv->finish, G_PRIORITY_DEFAULT);
      vhost_daemon_attach (self, priv->finish, vhost_daemon_on_finish);
    }
}

/* Thread: control. */
static gboolean
vhost_daemon_on_timer (gpointer data)
{
  VhostDaemon *self = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  vhost_daemon_clear_source (&priv->timer);
  vhost_daemon_advance (self);
  return G_SOURCE_REMOVE;
}

/* Nobody is let in and nothing is tried for @ms. */
static void
vhost_daemon_pause (VhostDaemon *self, guint ms)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  vhost_daemon_clear_source (&priv->watch);
  vhost_daemon_clear_source (&priv->timer);
  priv->timer = vhost_daemon_attach (self, g_timeout_source_new (ms), vhost_daemon_on_timer);
}

/* Thread: control. The session has drained; @error is why it ended, NULL when the front-end went.
 */
static void
vhost_daemon_on_session_closed (VhostSession *session, const GError *error, gpointer data)
{
  DaemonSlot *slot = data;
  g_autoptr (VhostDaemon) self = g_object_ref (slot->daemon);
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  if (slot->session != session)
    return;

  g_autoptr (VhostSession) closed = g_steal_pointer (&slot->session);
  guint position;
  if (g_list_store_find (priv->sessions, closed, &position))
    g_list_store_remove (priv->sessions, position);
  priv->no_more_backends = FALSE;
  if (error != NULL)
    vhost_warn_limited ("%s: session ended: %s", vhost_daemon_name (priv), error->message);
  else
    vhost_debug (CONTROL, "%s: the front-end has gone", vhost_daemon_name (priv));
  guint n_left = vhost_daemon_count_sessions (priv);
  if (n_left == 0 && vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_RUNNING)
    vhost_daemon_set_state (self, VHOST_DAEMON_STATE_WAITING);
  g_signal_emit (self, signals[SIGNAL_SESSION_CLOSED], 0, closed, error);

  if (vhost_daemon_is_open (self) && n_left == 0 && (priv->exit_on_disconnect || priv->one_shot))
    vhost_daemon_stop_async (self, NULL, NULL, NULL);
  else if (vhost_daemon_is_open (self) && priv->mode == VHOST_DAEMON_MODE_CLIENT
           && priv->listen_fd == -1)
    {
      /* A front-end that hangs up on us each time must not make us connect in a loop. */
      gint64 lived = (g_get_monotonic_time () - slot->opened) / 1000;
      if (lived < priv->reconnect_interval)
        vhost_daemon_pause (self, priv->reconnect_interval - (guint) lived);
    }
  vhost_daemon_advance (self);
  vhost_daemon_finish_when_empty (self);
}

/* Thread: control. */
static void
vhost_daemon_on_config_changed (VhostSession *session, guint offset, guint length,
                                gboolean by_driver, gpointer data)
{
  DaemonSlot *slot = data;
  g_signal_emit (slot->daemon, signals[SIGNAL_CONFIG_CHANGED], 0, session, offset, length,
                 by_driver ? VHOST_CONFIG_ORIGIN_DRIVER : VHOST_CONFIG_ORIGIN_DEVICE);
}

static gboolean
vhost_daemon_open_session (VhostDaemon *self, DaemonSlot *slot, int fd, GError **error)
{
  static const VhostSessionOwner owner = {
    .closed = vhost_daemon_on_session_closed,
    .config_changed = vhost_daemon_on_config_changed,
    .wants_kicks = vhost_daemon_wants_kicks,
    .kicked = vhost_daemon_kicked,
  };
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  /* The descriptor is the session's from here on, also when this fails. */
  /* A session attaches to the thread's default, which need not be what this callback runs in. */
  g_main_context_push_thread_default (priv->context);
  VhostSession *session = vhost_session_new_take_fd (
      fd, slot->backend, (VhostWorker **) slot->workers->pdata, slot->workers->len,
      priv->drain_timeout, priv->seal_memory, &owner, slot, error);
  g_main_context_pop_thread_default (priv->context);
  if (session == NULL)
    return FALSE;
  slot->session = session;
  slot->opened = g_get_monotonic_time ();
  g_list_store_append (priv->sessions, session);
  vhost_daemon_set_state (self, VHOST_DAEMON_STATE_RUNNING);
  g_signal_emit (self, signals[SIGNAL_SESSION_OPENED], 0, session);
  return TRUE;
}

/* The socket */

static gboolean
vhost_daemon_set_errno (GError **error, int code, const char *what, const char *path, int number)
{
  g_set_error (error, VHOST_ERROR, code, "%s %s: %s", what, path, g_strerror (number));
  return FALSE;
}

static gboolean
vhost_daemon_make_address (const char *path, struct sockaddr_un *address, GError **error)
{
  memset (address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen (path) >= sizeof address->sun_path)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "socket path %s has %zu bytes, at most %zu are possible: use a shorter one",
                   path, strlen (path), sizeof address->sun_path - 1);
      return FALSE;
    }
  strcpy (address->sun_path, path);
  return TRUE;
}

static int
vhost_daemon_new_socket (GError **error)
{
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot make", "a Unix socket", errno);
  return fd;
}

/* Removes a socket file that nobody listens on; refuses everything else that is in the way. */
static gboolean
vhost_daemon_remove_stale (const struct sockaddr_un *address, GError **error)
{
  const char *path = address->sun_path;
  struct stat info;
  if (lstat (path, &info) == -1)
    return errno == ENOENT
           || vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot look at", path, errno);
  if (!S_ISSOCK (info.st_mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "%s exists and is not a socket: remove it or choose another socket path", path);
      return FALSE;
    }
  int fd = vhost_daemon_new_socket (error);
  if (fd == -1)
    return FALSE;
  int result = connect (fd, (const struct sockaddr *) address, sizeof *address);
  int reason = result == -1 ? errno : 0;
  vhost_fd_clear (&fd);
  /* EAGAIN: it listens and its queue is full. EPROTOTYPE: a live socket of another kind. */
  if (reason == 0 || reason == EAGAIN || reason == EPROTOTYPE)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "another process listens on %s: stop it or choose another socket path", path);
      return FALSE;
    }
  if (reason != ECONNREFUSED && reason != ENOENT)
    return vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot tell who listens on", path,
                                   reason);
  if (unlink (path) == -1 && errno != ENOENT)
    return vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, "cannot remove the stale socket",
                                   path, errno);
  return TRUE;
}

static gboolean
vhost_daemon_listen (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  const char *path = priv->socket_path;
  struct sockaddr_un address;
  if (!vhost_daemon_make_address (path, &address, error)
      || !vhost_daemon_remove_stale (&address, error))
    return FALSE;
  int fd = vhost_daemon_new_socket (error);
  if (fd == -1)
    return FALSE;
  /* The descriptor's mode limits the file's from the start, chmod then adds what the umask took;
   * nobody can connect before listen (). The umask itself is the whole process's and is left alone.
   */
  struct stat info;
  const char *failed = NULL;
  if (fchmod (fd, priv->socket_mode) == -1
      || bind (fd, (const struct sockaddr *) &address, sizeof address) == -1)
    failed = "cannot make the socket";
  else
    {
      if (chmod (path, priv->socket_mode) == -1)
        failed = "cannot set the mode of";
      else if (listen (fd, SOMAXCONN) == -1)
        failed = "cannot listen on";
      else if (lstat (path, &info) == -1)
        failed = "cannot look at";
      if (failed != NULL)
        {
          int reason = errno;
          unlink (path);
          errno = reason;
        }
    }
  if (failed != NULL)
    {
      vhost_daemon_set_errno (error, VHOST_ERROR_SOCKET, failed, path, errno);
      vhost_fd_clear (&fd);
      return FALSE;
    }
  priv->listen_fd = fd;
  priv->bound_path = g_strdup (path);
  priv->bound_dev = info.st_dev;
  priv->bound_ino = info.st_ino;
  return TRUE;
}

static void
vhost_daemon_close_socket (VhostDaemonPrivate *priv)
{
  struct stat info;
  /* Someone may have put his own socket there; that one stays. */
  if (priv->bound_path != NULL && lstat (priv->bound_path, &info) == 0
      && info.st_dev == priv->bound_dev && info.st_ino == priv->bound_ino)
    unlink (priv->bound_path);
  g_clear_pointer (&priv->bound_path, g_free);
  if (priv->listen_fd == priv->adopted_fd)
    priv->listen_fd = -1;
  vhost_fd_clear (&priv->listen_fd);
}

/* TRUE when there are too few descriptors for one more session; then the daemon looks again later.
 */
static gboolean
vhost_daemon_short_of_fds (VhostDaemon *self, gboolean refused)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  guint n_free = vhost_fd_count_free ();
  if (!refused && n_free >= priv->fd_reserve)
    return FALSE;
  if (!priv->short_of_fds)
    g_warning (
        "%s: only %u file descriptors are left: new front-ends wait until there are %u; raise "
        "the limit (ulimit -n, LimitNOFILE=)",
        vhost_daemon_name (priv), n_free, priv->fd_reserve);
  priv->short_of_fds = TRUE;
  vhost_daemon_pause (self, RETRY_FD_MS);
  return TRUE;
}

/* Thread: control. Lets one front-end in. */
static gboolean
vhost_daemon_on_incoming (int listen_fd, GIOCondition condition, gpointer data)
{
  g_autoptr (VhostDaemon) self = g_object_ref (data);
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  g_autoptr (GError) error = NULL;
  /* What this changes about the watch happens to priv->watch, so the answer to GLib is always the
   * same. */
  if (vhost_daemon_short_of_fds (self, FALSE))
    return G_SOURCE_CONTINUE;
  DaemonSlot *slot = vhost_daemon_get_free_slot (self, &error);
  if (slot == NULL || !vhost_daemon_is_open (self))
    {
      if (error != NULL)
        g_warning ("%s", error->message);
      vhost_daemon_advance (self);
      return G_SOURCE_CONTINUE;
    }

  priv->accept_attempts++;
  int fd = accept4 (listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd == -1)
    {
      int reason = errno;
      if (reason == EMFILE || reason == ENFILE || reason == ENOBUFS || reason == ENOMEM)
        vhost_daemon_short_of_fds (self, TRUE);
      else if (reason != EAGAIN && reason != EINTR && reason != ECONNABORTED)
        {
          vhost_warn_limited ("%s: cannot accept a connection: %s", vhost_daemon_name (priv),
                              g_strerror (reason));
          vhost_daemon_pause (self, RETRY_FD_MS);
        }
      return G_SOURCE_CONTINUE;
    }
  priv->short_of_fds = FALSE;
  if (!vhost_daemon_open_session (self, slot, fd, &error))
    vhost_warn_limited ("%s: cannot serve a front-end: %s", vhost_daemon_name (priv),
                        error->message);
  vhost_daemon_advance (self);
  return G_SOURCE_CONTINUE;
}

/* Tries to connect; a Unix socket does so at once or not at all. */
static void
vhost_daemon_connect (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  g_autoptr (GError) error = NULL;
  struct sockaddr_un address;
  if (vhost_daemon_short_of_fds (self, FALSE))
    return;
  DaemonSlot *slot = vhost_daemon_get_free_slot (self, &error);
  if (slot == NULL)
    return;
  int fd = -1;
  if (!vhost_daemon_make_address (priv->socket_path, &address, &error)
      || (fd = vhost_daemon_new_socket (&error)) == -1)
    vhost_warn_limited ("%s: %s", vhost_daemon_name (priv), error->message);
  else if (connect (fd, (const struct sockaddr *) &address, sizeof address) == -1)
    {
      /* Said once for each reason, not each time. */
      int reason = errno;
      if (reason != priv->connect_errno)
        g_message ("%s: cannot connect to %s: %s; trying again every %u ms",
                   vhost_daemon_name (priv), priv->socket_path, g_strerror (reason),
                   priv->reconnect_interval);
      priv->connect_errno = reason;
      vhost_fd_clear (&fd);
    }
  else
    {
      priv->connect_errno = 0;
      priv->short_of_fds = FALSE;
      if (vhost_daemon_open_session (self, slot, fd, &error))
        return;
      vhost_warn_limited ("%s: cannot serve a front-end: %s", vhost_daemon_name (priv),
                          error->message);
    }
  vhost_daemon_pause (self, priv->reconnect_interval);
}

/* Lets front-ends in, or not, as things are now. */
static void
vhost_daemon_advance (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  if (!vhost_daemon_is_open (self) || priv->timer != NULL)
    {
      vhost_daemon_clear_source (&priv->watch);
      return;
    }
  guint n_sessions = vhost_daemon_count_sessions (priv);
  gboolean listens = priv->listen_fd != -1;
  gboolean room = n_sessions < priv->max_sessions
                  && (n_sessions < priv->slots->len || !priv->no_more_backends);
  if (!room)
    vhost_daemon_clear_source (&priv->watch);
  if (listens && room && priv->watch == NULL)
    {
      priv->watch = g_unix_fd_source_new (priv->listen_fd, G_IO_IN);
      vhost_daemon_attach (self, priv->watch, G_SOURCE_FUNC (vhost_daemon_on_incoming));
    }
  else if (!listens && !priv->one_shot && n_sessions == 0)
    vhost_daemon_connect (self);
}

/* Everything that start () made, in the opposite order. */
static void
vhost_daemon_teardown (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  vhost_daemon_clear_source (&priv->watch);
  vhost_daemon_clear_source (&priv->timer);
  vhost_daemon_clear_source (&priv->finish);
  /* The workers are gone with their slots; only then can nothing post to the mailbox any more. Its
   * tasks live in the slots, so it must be gone before anyone looks into it again. */
  g_clear_pointer (&priv->slots, g_ptr_array_unref);
  vhost_daemon_clear_source (&priv->mailbox_source);
  vhost_mailbox_clear (&priv->mailbox);
  vhost_daemon_close_socket (priv);
  g_mutex_lock (&priv->lock);
  GMainContext *context = g_steal_pointer (&priv->context);
  g_mutex_unlock (&priv->lock);
  g_main_context_unref (context);
}

/* Thread: control. All sessions have ended: the last step of stopping. */
static gboolean
vhost_daemon_on_finish (gpointer data)
{
  VhostDaemon *self = data;
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  vhost_daemon_teardown (self);
  GList *tasks = g_steal_pointer (&priv->stop_tasks);
  vhost_daemon_set_state (self, VHOST_DAEMON_STATE_STOPPED);
  for (GList *l = tasks; l != NULL; l = l->next)
    g_task_return_boolean (l->data, TRUE);
  g_list_free_full (tasks, g_object_unref);
  g_object_unref (self); /* the reference of a started daemon */
  return G_SOURCE_REMOVE;
}

/* Thread: control. */
static gboolean
vhost_daemon_on_quit (gpointer data)
{
  vhost_daemon_stop_async (data, NULL, NULL, NULL);
  return G_SOURCE_REMOVE;
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
  [PROP_EXIT_ON_DISCONNECT] = G_STRUCT_OFFSET (VhostDaemonPrivate, exit_on_disconnect),
  [PROP_WAITER] = G_STRUCT_OFFSET (VhostDaemonPrivate, waiter),
};
G_STATIC_ASSERT (sizeof (VhostDaemonMode) == sizeof (guint));
G_STATIC_ASSERT (sizeof (VhostWaiterKind) == sizeof (guint));

static void
vhost_daemon_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostDaemon *self = VHOST_DAEMON (object);
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (VHOST_DAEMON (object));
  /* A started daemon holds a reference to itself, so only what a stopped one has is left. */
  vhost_fd_clear (&priv->adopted_fd);
  g_clear_object (&priv->sessions);
  g_clear_object (&priv->backend);
  g_free (priv->name);
  g_free (priv->socket_path);
  g_mutex_clear (&priv->lock);
  G_OBJECT_CLASS (vhost_daemon_parent_class)->finalize (object);
}

static void
vhost_daemon_init (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  g_mutex_init (&priv->lock);
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
  signals[SIGNAL_KICK] = g_signal_new ("kick", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                       NULL, G_TYPE_NONE, 1, VHOST_TYPE_QUEUE);
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
  signals[SIGNAL_CONFIG_CHANGED] = g_signal_new (
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
  signals[SIGNAL_SESSION_OPENED]
      = g_signal_new ("session-opened", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
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
  signals[SIGNAL_SESSION_CLOSED]
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
  signals[SIGNAL_CREATE_BACKEND]
      = g_signal_new ("create-backend", VHOST_TYPE_DAEMON, G_SIGNAL_RUN_LAST, 0,
                      vhost_daemon_accumulate_backend, NULL, NULL, VHOST_TYPE_BACKEND, 0);
}

/* Private */

void
vhost_daemon_set_fd_reserve (VhostDaemon *self, guint reserve)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  priv->fd_reserve = reserve;
}

guint64
vhost_daemon_get_accept_attempts (VhostDaemon *self)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  int fd = priv->adopted_fd;
  priv->adopted_fd = -1;
  priv->one_shot = TRUE;
  return vhost_daemon_open_session (self, g_ptr_array_index (priv->slots, 0), fd, error);
}

/* The way in, last of all: whoever comes finds everything ready. */
static gboolean
vhost_daemon_open_socket (VhostDaemon *self, GError **error)
{
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  if (vhost_daemon_is_open (self))
    return TRUE;
  if (vhost_daemon_get_state (self) == VHOST_DAEMON_STATE_STOPPING)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "%s: the daemon is still stopping: wait for vhost_daemon_stop_async ()",
                   vhost_daemon_name (priv));
      return FALSE;
    }
  if ((priv->adopted_fd != -1) == (priv->socket_path != NULL))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%s: the daemon has %s: give it either a socket path or a file descriptor",
                   vhost_daemon_name (priv),
                   priv->socket_path != NULL ? "a socket path and a file descriptor" : "no socket");
      return FALSE;
    }
  if (!vhost_mailbox_init (&priv->mailbox, error))
    return FALSE;
  g_mutex_lock (&priv->lock);
  priv->context = g_main_context_ref_thread_default ();
  g_mutex_unlock (&priv->lock);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
      DaemonSlot *slot = g_ptr_array_index (priv->slots, i);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  g_mutex_lock (&priv->lock);
  if (priv->context != NULL)
    {
      g_autoptr (GSource) source = g_idle_source_new ();
      g_source_set_priority (source, G_PRIORITY_DEFAULT);
      g_source_set_callback (source, vhost_daemon_on_quit, g_object_ref (self), g_object_unref);
      g_source_attach (source, priv->context);
    }
  g_mutex_unlock (&priv->lock);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
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
  VhostDaemonPrivate *priv = vhost_daemon_get_instance_private (self);
  return G_LIST_MODEL (priv->sessions);
}
