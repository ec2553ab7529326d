/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library asks of file descriptors. Must not know what a descriptor is used for. */
#pragma once

#include <glib.h>

/* The kernel's limit for one message (SCM_MAX_FD). */
#define VHOST_FD_MOST_IN_MESSAGE 253

typedef enum
{
  VHOST_FD_OTHER,
  VHOST_FD_EVENTFD,
  VHOST_FD_PIPE,
  VHOST_FD_SOCKET,
  VHOST_FD_REGULAR, /* a file, a memfd, a hugetlbfs file */
  VHOST_FD_BLOCK,
} VhostFdKind;

VhostFdKind vhost_fd_get_kind (int fd);
const char *vhost_fd_kind_to_string (VhostFdKind kind);

/* Closes *@fd unless it is -1, sets it to -1, keeps errno. */
void vhost_fd_clear (int *fd);

/* The same for a descriptor that came from outside: what may wait in close () (a socket that
 * lingers, a file of a file system that a process serves) is closed on a thread of its own. */
void vhost_fd_discard (int *fd);
/* Waits until all of these are closed: for tests that count. */
void vhost_fd_settle (void);

/* Closes the socket of a connection: also what lies unread in it, which may be descriptors. */
void vhost_fd_close_connection (int *fd);

/* eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK); -1 and @error when the process has no descriptor left.
 */
int vhost_fd_new_eventfd (GError **error);

/* Adds 1 to an eventfd (or one 8-byte word to a pipe); never blocks on a non-blocking one; FALSE:
 * full or broken. */
gboolean vhost_fd_notify (int fd);

/* Reads an eventfd or pipe empty. FALSE: it counts as ready for ever, whatever is read (a pipe
 * without its other end, a semaphore with a high count): do not watch it any more. */
gboolean vhost_fd_drain (int fd);

gboolean vhost_fd_set_nonblocking (int fd, GError **error);

/* Lower bound of descriptors that this process may still open (RLIMIT_NOFILE minus those in use).
 */
guint vhost_fd_count_free (void);
