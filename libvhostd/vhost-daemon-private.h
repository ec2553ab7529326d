/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tests ask of a daemon beyond its public face. Must not be needed by any program. */
#pragma once

#include "vhost-daemon.h"

/* How many file descriptors stay free for the sessions that are there already; below that nobody is
 * let in. Tests set 0 to see accept () itself fail. */
#define VHOST_DAEMON_FD_RESERVE 64
void vhost_daemon_set_fd_reserve (VhostDaemon *self, guint reserve);

/* How often the daemon has tried to accept a connection. Thread: control. */
guint64 vhost_daemon_get_accept_attempts (VhostDaemon *self);
