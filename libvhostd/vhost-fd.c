/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library asks of file descriptors: kind, notification, limits. Must not know what a
 * descriptor is used for, and must not trust one: those of a front-end can be of any kind and can
 * change under us. */
#include "config.h"

#include "vhost-fd-private.h"

#include "vhost-error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* A pipe holds 64 KiB by default; a writer that is faster than we are must not keep us here. */
#define DRAIN_CHUNK 4096
#define DRAIN_MAX_CHUNKS 16

/* Threads that close descriptors of strangers. */
#define MOST_CLOSERS 8

/* A write to a pipe or socket whose reader has gone raises SIGPIPE, for which write() knows no
 * flag. GSocket ignores the signal for the whole process, but a process without a GSocket can also
 * hold such a descriptor. A handler that the program has installed stays. */
static void
ignore_sigpipe_once (void)
{
  static gsize done = 0;
  if (g_once_init_enter (&done))
    {
      struct sigaction action;
      if (sigaction (SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0
          && action.sa_handler == SIG_DFL)
        {
          action.sa_handler = SIG_IGN;
          sigaction (SIGPIPE, &action, NULL);
        }
      g_once_init_leave (&done, 1);
    }
}

/* stat() does not tell anonymous inodes apart; the name that /proc gives them does, and no path can
 * look like it. */
static gboolean
is_eventfd (int fd)
{
  char path[32], name[32];
  g_snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t length = readlink (path, name, sizeof name - 1);
  if (length <= 0)
    return FALSE;
  name[length] = '\0';
  return strcmp (name, "anon_inode:[eventfd]") == 0;
}

VhostFdKind
vhost_fd_get_kind (int fd)
{
  struct stat st;
  if (fd < 0 || fstat (fd, &st) != 0)
    return VHOST_FD_OTHER;
  switch (st.st_mode & S_IFMT)
    {
    case S_IFIFO:
      ignore_sigpipe_once ();
      return VHOST_FD_PIPE;
    case S_IFSOCK:
      ignore_sigpipe_once ();
      return VHOST_FD_SOCKET;
    case S_IFBLK:
      return VHOST_FD_BLOCK;
    case S_IFREG:
      return VHOST_FD_REGULAR;
    default:
      return is_eventfd (fd) ? VHOST_FD_EVENTFD : VHOST_FD_OTHER;
    }
}

const char *
vhost_fd_kind_to_string (VhostFdKind kind)
{
  switch (kind)
    {
    case VHOST_FD_EVENTFD:
      return "eventfd";
    case VHOST_FD_PIPE:
      return "pipe";
    case VHOST_FD_SOCKET:
      return "socket";
    case VHOST_FD_REGULAR:
      return "regular file";
    case VHOST_FD_BLOCK:
      return "block device";
    case VHOST_FD_OTHER:
    default:
      return "descriptor of another kind";
    }
}

void
vhost_fd_clear (int *fd)
{
  int saved_errno = errno;
  int old = *fd;
  *fd = -1;
  /* Linux has released the number even when close() fails, so it is never tried again. */
  if (old >= 0)
    close (old);
  errno = saved_errno;
}

/* Its close () may take as long as somebody outside wants. Not so: eventfds, pipes, and files in
 * memory. */
static gboolean
closes_at_once (int fd)
{
  struct statfs file_system;

  switch (vhost_fd_get_kind (fd))
    {
    case VHOST_FD_EVENTFD:
    case VHOST_FD_PIPE:
      return TRUE;
    case VHOST_FD_REGULAR:
      return fstatfs (fd, &file_system) == 0
             && (file_system.f_type == TMPFS_MAGIC || file_system.f_type == HUGETLBFS_MAGIC);
    case VHOST_FD_OTHER:
    case VHOST_FD_SOCKET:
    case VHOST_FD_BLOCK:
    default:
      return FALSE;
    }
}

/* Descriptors of strangers, and the threads that close them: each goes when nothing is left. */
static struct
{
  pthread_mutex_t lock;
  pthread_cond_t settled;
  GArray *fds; /* (nullable): of int */
  guint n_threads;
} closers = { .lock = PTHREAD_MUTEX_INITIALIZER, .settled = PTHREAD_COND_INITIALIZER };

static void *
close_slowly (void *unused)
{
  pthread_mutex_lock (&closers.lock);
  while (closers.fds->len > 0)
    {
      int fd = g_array_index (closers.fds, int, 0);

      g_array_remove_index (closers.fds, 0);
      pthread_mutex_unlock (&closers.lock);
      close (fd);
      pthread_mutex_lock (&closers.lock);
    }
  closers.n_threads--;
  pthread_cond_broadcast (&closers.settled);
  pthread_mutex_unlock (&closers.lock);
  return NULL;
}

static gboolean
start_closer (void)
{
  pthread_attr_t attributes;
  pthread_t thread;
  gboolean started;

  pthread_attr_init (&attributes);
  pthread_attr_setdetachstate (&attributes, PTHREAD_CREATE_DETACHED);
  started = pthread_create (&thread, &attributes, close_slowly, NULL) == 0;
  pthread_attr_destroy (&attributes);
  return started;
}

/* Who makes all threads wait makes his next descriptors wait, which his limit of descriptors in
 * flight and ours bound. */
static void
close_elsewhere (int fd)
{
  gboolean here = FALSE;

  pthread_mutex_lock (&closers.lock);
  if (closers.fds == NULL)
    closers.fds = g_array_new (FALSE, FALSE, sizeof (int));
  g_array_append_val (closers.fds, fd);
  if (closers.n_threads < MOST_CLOSERS && start_closer ())
    closers.n_threads++;
  if (closers.n_threads == 0)
    {
      /* No thread can be had at all. */
      g_array_set_size (closers.fds, closers.fds->len - 1);
      here = TRUE;
    }
  pthread_mutex_unlock (&closers.lock);
  if (here)
    close (fd);
}

void
vhost_fd_settle (void)
{
  pthread_mutex_lock (&closers.lock);
  while (closers.n_threads > 0)
    pthread_cond_wait (&closers.settled, &closers.lock);
  pthread_mutex_unlock (&closers.lock);
}

void
vhost_fd_discard (int *fd)
{
  int saved_errno = errno;
  int old = *fd;

  *fd = -1;
  if (old < 0)
    return;
  if (closes_at_once (old))
    close (old);
  else
    close_elsewhere (old);
  errno = saved_errno;
}

/* What the other end has sent and nobody has read: the kernel would close its descriptors in our
 * close (). */
static void
empty_socket (int fd)
{
  char bytes[DRAIN_CHUNK];
  union
  {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (VHOST_FD_MOST_IN_MESSAGE * sizeof (int))];
  } control;
  ssize_t n;

  do
    {
      struct iovec iov = { .iov_base = bytes, .iov_len = sizeof bytes };
      struct msghdr msghdr = { .msg_iov = &iov,
                               .msg_iovlen = 1,
                               .msg_control = control.bytes,
                               .msg_controllen = sizeof control };

      n = recvmsg (fd, &msghdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (n < 0)
        continue;
      for (struct cmsghdr *cmsg = CMSG_FIRSTHDR (&msghdr); cmsg != NULL;
           cmsg = CMSG_NXTHDR (&msghdr, cmsg))
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
          for (gsize at = CMSG_LEN (0); at < cmsg->cmsg_len; at += sizeof (int))
            {
              int stray;

              memcpy (&stray, (char *) cmsg + at, sizeof stray);
              vhost_fd_discard (&stray);
            }
    }
  while (n > 0 || (n < 0 && errno == EINTR));
}

static gboolean
is_unix_socket (int fd)
{
  int domain = 0;
  socklen_t length = sizeof domain;

  return getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

void
vhost_fd_close_connection (int *fd)
{
  int saved_errno = errno;

  /* Nothing more can be sent to it: reading it empty comes to an end. */
  if (*fd >= 0 && shutdown (*fd, SHUT_RDWR) == 0)
    empty_socket (*fd);
  if (is_unix_socket (*fd))
    vhost_fd_clear (fd);
  else
    vhost_fd_discard (fd);
  errno = saved_errno;
}

int
vhost_fd_new_eventfd (GError **error)
{
  int fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0)
    {
      int saved_errno = errno;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "cannot create an eventfd: %s%s",
                   g_strerror (saved_errno),
                   saved_errno == EMFILE ? "; raise the limit of open files (RLIMIT_NOFILE)" : "");
    }
  return fd;
}

gboolean
vhost_fd_notify (int fd)
{
  const guint64 one = 1;
  ssize_t n;
  /* Whoever shares the descriptor may have made it blocking again, and full: do not hang in the
   * write. */
  struct pollfd pollfd = { .fd = fd, .events = POLLOUT };
  if (poll (&pollfd, 1, 0) == 0)
    return FALSE;
  do
    n = write (fd, &one, sizeof one);
  while (n < 0 && errno == EINTR);
  return n == sizeof one;
}

gboolean
vhost_fd_drain (int fd)
{
  char buffer[DRAIN_CHUNK];
  guint n_words = 0;
  for (guint i = 0; i < DRAIN_MAX_CHUNKS; i++)
    {
      /* The peer may have made the descriptor blocking behind our back: never read what poll does
       * not promise. */
      struct pollfd pollfd = { .fd = fd, .events = POLLIN };
      if (poll (&pollfd, 1, 0) <= 0)
        return TRUE;
      if ((pollfd.revents & POLLIN) == 0)
        return FALSE;
      ssize_t n = read (fd, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR)
        continue;
      /* A semaphore gives 1 each time, so one word proves nothing. */
      if (n == sizeof (guint64))
        n_words++;
      else if (n < (ssize_t) sizeof buffer)
        return TRUE;
    }
  return n_words < DRAIN_MAX_CHUNKS;
}

gboolean
vhost_fd_set_nonblocking (int fd, GError **error)
{
  int flags = fcntl (fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0)
    return TRUE;
  if (flags < 0 || fcntl (fd, F_SETFL, flags | O_NONBLOCK) != 0)
    {
      int saved_errno = errno;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "cannot make file descriptor %d non-blocking: %s", fd, g_strerror (saved_errno));
      return FALSE;
    }
  return TRUE;
}

/* Without /proc: tries the first numbers one by one. Fewer than there are, which is the safe side.
 */
static guint
count_free_by_probe (guint limit)
{
  guint n = 0;
  for (guint fd = 0; fd < MIN (limit, 1024); fd++)
    if (fcntl ((int) fd, F_GETFD) < 0 && errno == EBADF)
      n++;
  return n;
}

guint
vhost_fd_count_free (void)
{
  struct rlimit rlimit;
  if (getrlimit (RLIMIT_NOFILE, &rlimit) != 0)
    return 0;
  guint limit = (guint) MIN (rlimit.rlim_cur, (rlim_t) G_MAXINT);

  /* Since Linux 6.2 the directory's size is the number of open descriptors. */
  struct stat st;
  if (stat ("/proc/self/fd", &st) == 0 && st.st_size > 0)
    return (guint64) st.st_size >= limit ? 0 : limit - (guint) st.st_size;

  DIR *directory = opendir ("/proc/self/fd");
  if (directory == NULL)
    return errno == EMFILE || errno == ENFILE ? 0 : count_free_by_probe (limit);
  guint used = 0;
  const struct dirent *entry;
  while ((entry = readdir (directory)) != NULL)
    if (entry->d_name[0] != '.')
      used++;
  closedir (directory);
  used--; /* the directory's own descriptor */
  return used >= limit ? 0 : limit - used;
}
