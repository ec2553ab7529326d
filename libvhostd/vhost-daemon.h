/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_DAEMON (vhost_daemon_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_DERIVABLE_TYPE (VhostDaemon, vhost_daemon, VHOST, DAEMON, GObject)

/**
 * VhostDaemonMode:
 * @VHOST_DAEMON_MODE_SERVER: listens; front-ends connect
 * @VHOST_DAEMON_MODE_CLIENT: connects to a listening front-end, again and again
 *
 * Which side waits for the other.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_DAEMON_MODE_SERVER,
  VHOST_DAEMON_MODE_CLIENT,
} VhostDaemonMode;

/**
 * VhostDaemonState:
 * @VHOST_DAEMON_STATE_STOPPED: not started, or stopped again
 * @VHOST_DAEMON_STATE_WAITING: listens or tries to connect, no session
 * @VHOST_DAEMON_STATE_RUNNING: at least one session
 * @VHOST_DAEMON_STATE_STOPPING: sessions drain, nobody is let in any more
 *
 * What a daemon is doing.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_DAEMON_STATE_STOPPED,
  VHOST_DAEMON_STATE_WAITING,
  VHOST_DAEMON_STATE_RUNNING,
  VHOST_DAEMON_STATE_STOPPING,
} VhostDaemonState;

/**
 * VhostConfigOrigin:
 * @VHOST_CONFIG_ORIGIN_DRIVER: the guest's driver wrote
 * @VHOST_CONFIG_ORIGIN_DEVICE: the back-end changed it
 *
 * Who changed a device's configuration space.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_CONFIG_ORIGIN_DRIVER,
  VHOST_CONFIG_ORIGIN_DEVICE,
} VhostConfigOrigin;

/**
 * VhostDaemonClass:
 *
 * The class has no virtual functions: a subclass connects to the signals of its own instance.
 *
 * Since: 0.1
 */
struct _VhostDaemonClass
{
  GObjectClass parent_class;

  /*< private >*/
  gpointer padding[8];
};

VHOST_AVAILABLE_IN_0_1
VhostDaemon *vhost_daemon_new (const char *name, VhostBackend *backend);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_start (VhostDaemon *self, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_daemon_stop_async (VhostDaemon *self, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_stop_finish (VhostDaemon *self, GAsyncResult *result, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_daemon_pause_async (VhostDaemon *self, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_pause_finish (VhostDaemon *self, GAsyncResult *result, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_daemon_resume (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_is_paused (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
int vhost_daemon_open_frontend (VhostDaemon *self, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_daemon_close_sessions (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_run (VhostDaemon *self, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_daemon_quit (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_daemon_adopt_fd (VhostDaemon *self, int fd, GError **error);

VHOST_AVAILABLE_IN_0_1
VhostBackend *vhost_daemon_get_backend (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
VhostDaemonState vhost_daemon_get_state (VhostDaemon *self);
VHOST_AVAILABLE_IN_0_1
GListModel *vhost_daemon_get_sessions (VhostDaemon *self);

G_END_DECLS
