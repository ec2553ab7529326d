/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's inside, shared by its files: vhost-daemon.c is the object, its start and its stop,
 * -session lends back-ends to front-ends, -socket lets front-ends in. Thread: control, all of it,
 * where nothing else is said. */
#pragma once

#include "vhost-daemon.h"
#include "vhost-mailbox-private.h"
#include "vhost-session-private.h"

#include <sys/un.h>

/* How many file descriptors stay free for the sessions that are there already; below that nobody is
 * let in. Tests set 0 to see accept () itself fail. */
#define VHOST_DAEMON_FD_RESERVE 64
void vhost_daemon_set_fd_reserve (VhostDaemon *self, guint reserve);

/* How often the daemon has tried to accept a connection. */
guint64 vhost_daemon_get_accept_attempts (VhostDaemon *self);

typedef struct _VhostDaemonSlot VhostDaemonSlot;

/* One queue's news for the daemon's context. */
typedef struct
{
  VhostTask task; /* first */
  VhostDaemonSlot *slot;
  _Atomic (VhostQueue *) queue; /* (owned) (nullable): set while the task is posted */
} VhostDaemonKick;

struct _VhostDaemonSlot
{
  VhostDaemon *daemon;   /* (unowned): outlives its slots */
  VhostBackend *backend; /* (owned) */
  GPtrArray *workers;    /* (owned) (element-type VhostWorker) */
  gboolean is_inline;    /* the only worker is the daemon's own context */
  VhostSession *session; /* (owned) (nullable) */
  gint64 opened;         /* monotonic us */
  GSource *change;       /* (owned) (nullable): session-changed is due */
  guint n_kicks;
  VhostDaemonKick *kicks; /* (owned) */
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
  gboolean in_band;
  gboolean exit_on_disconnect;
  VhostWaiterKind waiter;

  _Atomic (int) state; /* VhostDaemonState; written by the control thread, read by any */
  int adopted_fd;      /* (owned) */
  gboolean adopted_listens;
  GListStore *sessions; /* (owned) */

  /* quit () comes from any thread and must find a mailbox to post to, or none. Not GMutex: the
   * thread sanitizer cannot see into GLib. */
  pthread_mutex_t lock;
  gboolean can_quit;
  struct
  {
    VhostTask task;
    VhostDaemon *daemon; /* (unowned): a started one holds itself */
    gboolean posted;
  } quit;

  GMainContext *context; /* (owned) (nullable): set while started */

  /* While started */
  gboolean one_shot; /* an adopted connection: there will be no second one */
  int listen_fd;     /* owned unless it is adopted_fd */
  char *bound_path;  /* (owned) (nullable): our socket file, with what identifies it */
  dev_t bound_dev;
  ino_t bound_ino;
  GSocketService *service; /* (owned) (nullable): accepts on the listening socket */
  gboolean accepting;      /* a connection is on its way through the service */
  GSource *watch;          /* (owned) (nullable): the gate before it */
  GSource *timer;          /* (owned) (nullable): wait before the next accept or connect */
  GSource *finish;         /* (owned) (nullable): the last step of stopping */
  VhostMailbox mailbox;
  GSource *mailbox_source; /* (owned) */
  GPtrArray *slots;        /* (owned) (element-type VhostDaemonSlot) */
  GList *stop_tasks;       /* (owned) (element-type GTask) */
  gboolean paused;
  GList *pause_tasks;   /* (owned) (element-type GTask) */
  GSource *pause_timer; /* (owned) (nullable): of pause_tasks */
  gboolean no_more_backends;
  gboolean short_of_fds; /* said once */
  int connect_errno;     /* last one reported */
  guint fd_reserve;
  guint64 accept_attempts;
} VhostDaemonPrivate;

enum
{
  VHOST_DAEMON_SIGNAL_KICK,
  VHOST_DAEMON_SIGNAL_CONFIG_CHANGED,
  VHOST_DAEMON_SIGNAL_SESSION_OPENED,
  VHOST_DAEMON_SIGNAL_SESSION_CHANGED,
  VHOST_DAEMON_SIGNAL_SESSION_CLOSED,
  VHOST_DAEMON_SIGNAL_CREATE_BACKEND,
  VHOST_DAEMON_N_SIGNALS
};
extern guint vhost_daemon_signals[VHOST_DAEMON_N_SIGNALS];

/* The object. */
VhostDaemonPrivate *vhost_daemon_get_private (VhostDaemon *self);
const char *vhost_daemon_get_label (VhostDaemonPrivate *priv);
void vhost_daemon_set_state (VhostDaemon *self, VhostDaemonState state);
gboolean vhost_daemon_is_open (VhostDaemon *self);
guint vhost_daemon_count_sessions (VhostDaemonPrivate *priv);
GSource *vhost_daemon_attach (VhostDaemon *self, GSource *source, GSourceFunc callback);
void vhost_daemon_clear_source (GSource **source);
/* A session has ended; when the daemon is stopping and it was the last, stopping goes on. */
void vhost_daemon_finish_when_empty (VhostDaemon *self);

/* Pause. Something was drained, or a session has gone: is everybody's wait over? */
void vhost_daemon_check_paused (VhostDaemon *self);
/* Takes @error (nullable). */
void vhost_daemon_end_pause (VhostDaemon *self, GError *error);

/* Sessions. The slot for the next one; NULL when it has to wait, or with @error when there can be
 * none. */
VhostDaemonSlot *vhost_daemon_get_free_slot (VhostDaemon *self, GError **error);
/* Takes @fd, also when it fails. */
gboolean vhost_daemon_open_session (VhostDaemon *self, VhostDaemonSlot *slot, int fd,
                                    GError **error);
void vhost_daemon_free_slot (gpointer data);

/* The socket. Lets front-ends in, or not, as things are now. */
void vhost_daemon_advance (VhostDaemon *self);
/* Nobody is let in and nothing is tried for @ms. */
void vhost_daemon_hold_off (VhostDaemon *self, guint ms);
gboolean vhost_daemon_make_address (const char *path, struct sockaddr_un *address, GError **error);
gboolean vhost_daemon_listen (VhostDaemon *self, GError **error);
void vhost_daemon_close_socket (VhostDaemonPrivate *priv);
void vhost_daemon_unwatch (VhostDaemonPrivate *priv);
