/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the back-end is alive, and, if it was given as a command, its process. Must not end a
 * process that it has not started. */
#include "conform.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct _ConformServer
{
  Conform *conform; /* (unowned) */
  char *command;    /* (owned) (nullable) */
  gboolean loud;    /* its output is shown */
  GPid pid;         /* 0: none */
};

ConformServer *
conform_server_new (Conform *conform, const char *command, gboolean loud)
{
  ConformServer *self = g_new0 (ConformServer, 1);

  self->conform = conform;
  self->command = g_strdup (command);
  self->loud = loud;
  return self;
}

static void
end_process (ConformServer *self)
{
  if (self->pid == 0)
    return;
  /* Nothing of it is wanted any more, and one that hangs hears nothing milder. */
  kill (self->pid, SIGKILL);
  waitpid (self->pid, NULL, 0);
  self->pid = 0;
}

void
conform_server_free (ConformServer *self)
{
  end_process (self);
  g_free (self->command);
  g_free (self);
}

/* Between fork and exec: the back-end must not outlive a checker that was killed. */
static void
set_up_child (gpointer data)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

gboolean
conform_server_start (ConformServer *self, GError **error)
{
  g_auto (GStrv) argv = NULL;
  GSpawnFlags flags = G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD;
  gint64 deadline;

  if (self->command == NULL)
    return TRUE;
  if (!g_shell_parse_argv (self->command, NULL, &argv, error))
    return FALSE;
  for (guint i = 0; argv[i] != NULL; i++)
    {
      GString *word = g_string_new (argv[i]);

      g_string_replace (word, "{socket}", self->conform->socket_path, 0);
      g_free (argv[i]);
      argv[i] = g_string_free (word, FALSE);
    }
  unlink (self->conform->socket_path);
  if (!self->loud)
    flags |= G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL;
  if (!g_spawn_async (NULL, argv, NULL, flags, set_up_child, NULL, &self->pid, error))
    return FALSE;
  /* A program may take its time to start, on a busy machine, too. */
  deadline = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  while (access (self->conform->socket_path, F_OK) != 0)
    {
      if (waitpid (self->pid, NULL, WNOHANG) == self->pid)
        {
          self->pid = 0;
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       "'%s' ended before it made the socket: try it by hand, or --verbose",
                       argv[0]);
          return FALSE;
        }
      if (g_get_monotonic_time () > deadline)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                       "'%s' did not make the socket %s: is {socket} in the command?", argv[0],
                       self->conform->socket_path);
          return FALSE;
        }
      g_usleep (10000);
    }
  return TRUE;
}

gboolean
conform_server_can_restart (ConformServer *self)
{
  return self->command != NULL;
}

gboolean
conform_server_restart (ConformServer *self, GError **error)
{
  end_process (self);
  return conform_server_start (self, error);
}

static gboolean
is_dead (ConformServer *self)
{
  const int pid = self->conform->peer_pid;

  if (self->pid != 0)
    {
      if (waitpid (self->pid, NULL, WNOHANG) != self->pid)
        return FALSE;
      self->pid = 0;
      return TRUE;
    }
  if (self->command != NULL)
    return TRUE;
  return pid > 0 && kill (pid, 0) != 0 && errno == ESRCH;
}

/* -1: nobody listens. */
static int
try_connect (ConformServer *self)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct ucred peer;
  socklen_t size = sizeof peer;

  g_strlcpy (address.sun_path, self->conform->socket_path, sizeof address.sun_path);
  if (connect (fd, (struct sockaddr *) &address, sizeof address) != 0)
    {
      close (fd);
      return -1;
    }
  if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
    self->conform->peer_pid = peer.pid;
  return fd;
}

/* TRUE: answered; a connection that ends meanwhile is not one. */
static gboolean
ask (int fd, guint timeout_ms, guint64 *features)
{
  const guint32 question[3] = { MSG_GET_FEATURES, CONFORM_VERSION, 0 };
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };
  guint8 answer[20];

  if (send (fd, question, sizeof question, MSG_NOSIGNAL) != sizeof question
      || poll (&pollfd, 1, (int) timeout_ms) <= 0
      || recv (fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer)
    return FALSE;
  if (features != NULL)
    memcpy (features, answer + 12, sizeof *features);
  return TRUE;
}

ConformVerdict
conform_server_check (ConformServer *self, guint64 *features)
{
  /* Longer than a case waits: one that was left in a bad state may have to clean up. */
  const guint patience_ms = MAX (3 * self->conform->timeout_ms, 3000);
  const gint64 deadline = g_get_monotonic_time () + (gint64) patience_ms * 1000;

  while (TRUE)
    {
      int fd = try_connect (self);
      gboolean answered = FALSE;

      if (fd >= 0)
        {
          answered = ask (fd, patience_ms, features);
          close (fd);
        }
      if (answered)
        return CONFORM_KEPT;
      if (is_dead (self))
        return CONFORM_CRASHED;
      if (g_get_monotonic_time () > deadline)
        return fd < 0 && self->pid == 0 ? CONFORM_CRASHED : CONFORM_HUNG;
      g_usleep (5000);
    }
}
