/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process at the other end of the socket, as the kernel knows it. Must not talk to it. */
#include "peer.h"

#include "vhostctl.h"

#include <time.h>

char *
peer_get_name (int pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/comm", pid);
  g_autofree char *name = NULL;

  /* 0 is a process of another pid namespace. */
  if (pid <= 0 || !g_file_get_contents (path, &name, NULL, NULL))
    return NULL;
  /* The process has chosen its name itself: it may hold anything. */
  return vhostctl_make_printable (g_strchomp (name));
}

/* The process's CPU clock is better than the files in /proc/PID/task: it has threads that have
 * ended, it is one system call, and it counts in nanoseconds on every kernel. */
gboolean
peer_get_cpu_ns (int pid, guint64 *ns)
{
  struct timespec time;
  clockid_t clock;

  if (pid <= 0 || clock_getcpuclockid (pid, &clock) != 0 || clock_gettime (clock, &time) != 0)
    return FALSE;
  *ns = (guint64) time.tv_sec * 1000000000 + (guint64) time.tv_nsec;
  return TRUE;
}
