/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds of descriptors, notification, limits. */
#include "vhost-fd-private.h"

#include "vhost-error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void
assert_kind_and_close (int fd, VhostFdKind kind)
{
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (vhost_fd_get_kind (fd), ==, kind);
  close (fd);
}

static void
test_tells_kinds_apart (void)
{
  int pair[2];
  assert_kind_and_close (eventfd (0, EFD_CLOEXEC), VHOST_FD_EVENTFD);
  assert_kind_and_close (timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC), VHOST_FD_OTHER);
  assert_kind_and_close (memfd_create ("anon_inode:[eventfd]", MFD_CLOEXEC), VHOST_FD_REGULAR);
  assert_kind_and_close (open ("/dev/null", O_RDWR | O_CLOEXEC), VHOST_FD_OTHER);
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  assert_kind_and_close (pair[0], VHOST_FD_PIPE);
  assert_kind_and_close (pair[1], VHOST_FD_PIPE);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  assert_kind_and_close (pair[0], VHOST_FD_SOCKET);
  close (pair[1]);
  g_assert_cmpint (vhost_fd_get_kind (-1), ==, VHOST_FD_OTHER);
  for (int kind = VHOST_FD_OTHER; kind <= VHOST_FD_BLOCK; kind++)
    g_assert_cmpstr (vhost_fd_kind_to_string (kind), !=, "");
}

static void
test_clear_keeps_errno_and_forgets_the_number (void)
{
  int fd = eventfd (0, EFD_CLOEXEC), number = fd;
  errno = ENOSPC;
  vhost_fd_clear (&fd);
  g_assert_cmpint (errno, ==, ENOSPC);
  g_assert_cmpint (fd, ==, -1);
  g_assert_cmpint (fcntl (number, F_GETFD), ==, -1);
  vhost_fd_clear (&fd);
}

static void
test_discard_closes_what_may_wait_elsewhere (void)
{
  int fd = memfd_create ("memory", MFD_CLOEXEC), number = fd;
  int pair[2];
  char byte;

  errno = ENOSPC;
  vhost_fd_discard (&fd);
  g_assert_cmpint (errno, ==, ENOSPC);
  g_assert_cmpint (fd, ==, -1);
  g_assert_cmpint (fcntl (number, F_GETFD), ==, -1);
  vhost_fd_discard (&fd);

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  number = pair[0];
  vhost_fd_discard (&pair[0]);
  g_assert_cmpint (pair[0], ==, -1);
  g_assert_cmpint (read (pair[1], &byte, 1), ==, 0); /* the other end sees it */
  vhost_fd_settle ();
  g_assert_cmpint (fcntl (number, F_GETFD), ==, -1);
  close (pair[1]);
}

/* With what was on its way, and without a reset: what the other end has still to read stays. */
static void
test_closes_a_connection_with_all_that_is_in_it (void)
{
  int pair[2], fds[2];
  char byte = 'x';
  struct iovec iov = { &byte, 1 };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct msghdr message = {
    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control
  };

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC | O_NONBLOCK), ==, 0);
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN (sizeof (int));
  memcpy (CMSG_DATA (&control.header), &fds[1], sizeof (int));
  for (guint i = 0; i < 3; i++)
    g_assert_cmpint (sendmsg (pair[1], &message, 0), ==, 1);
  close (fds[1]);
  g_assert_cmpint (write (pair[0], "answer", 6), ==, 6);
  g_assert_cmpint (read (fds[0], &byte, 1), ==, -1);

  vhost_fd_close_connection (&pair[0]);
  g_assert_cmpint (pair[0], ==, -1);
  g_assert_cmpint (read (fds[0], &byte, 1), ==, 0); /* nobody has its other end any more */
  for (guint i = 0; i < 6; i++)
    g_assert_cmpint (read (pair[1], &byte, 1), ==, 1);
  g_assert_cmpint (read (pair[1], &byte, 1), ==, 0);
  close (pair[1]);
  close (fds[0]);
  vhost_fd_close_connection (&pair[0]);
}

static void
test_full_eventfd_does_not_block (void)
{
  g_autoptr (GError) error = NULL;
  int fd = vhost_fd_new_eventfd (&error);
  g_assert_no_error (error);
  guint64 most = G_MAXUINT64 - 1, count;
  g_assert_cmpint (write (fd, &most, sizeof most), ==, sizeof most);
  g_assert_false (vhost_fd_notify (fd));
  vhost_fd_drain (fd);
  g_assert_true (vhost_fd_notify (fd));
  g_assert_true (vhost_fd_notify (fd));
  g_assert_cmpint (read (fd, &count, sizeof count), ==, sizeof count);
  g_assert_cmpuint (count, ==, 2);
  close (fd);
}

static void
test_drain_returns_from_a_blocking_descriptor (void)
{
  int fd = eventfd (3, EFD_CLOEXEC), pair[2];
  vhost_fd_drain (fd);
  vhost_fd_drain (fd);
  close (fd);
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  for (guint i = 0; i < 512 * 3; i++)
    g_assert_true (vhost_fd_notify (pair[1]));
  vhost_fd_drain (pair[0]);
  g_assert_true (vhost_fd_set_nonblocking (pair[0], NULL));
  char byte;
  g_assert_cmpint (read (pair[0], &byte, 1), ==, -1);
  g_assert_cmpint (errno, ==, EAGAIN);
  close (pair[0]);
  close (pair[1]);
}

static void
test_pipe_without_reader_does_not_kill (void)
{
  int pair[2];
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  g_assert_cmpint (vhost_fd_get_kind (pair[1]), ==, VHOST_FD_PIPE);
  close (pair[0]);
  g_assert_false (vhost_fd_notify (pair[1]));
  close (pair[1]);
}

static void
test_nonblocking_refuses_a_closed_number (void)
{
  g_autoptr (GError) error = NULL;
  g_assert_false (vhost_fd_set_nonblocking (-1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
}

static void
test_counts_what_may_still_be_opened (void)
{
  struct rlimit old, rlimit;
  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  rlimit = old;
  rlimit.rlim_cur = MIN (old.rlim_cur, 64);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &rlimit), ==, 0);

  guint before = vhost_fd_count_free ();
  g_assert_cmpuint (before, >, 0);
  g_assert_cmpuint (before, <, 64);
  int fds[65];
  guint n = 0;
  while ((fds[n] = eventfd (0, EFD_CLOEXEC)) >= 0)
    n++;
  /* A lower bound: an inherited descriptor above the limit counts although it takes no place below.
   */
  g_assert_cmpuint (n, >=, before);
  g_assert_cmpuint (vhost_fd_count_free (), ==, 0);
  g_autoptr (GError) error = NULL;
  g_assert_cmpint (vhost_fd_new_eventfd (&error), ==, -1);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_FAILED);
  close (fds[--n]);
  if (n + 1 == before)
    g_assert_cmpuint (vhost_fd_count_free (), ==, 1);
  while (n > 0)
    close (fds[--n]);
  g_assert_cmpuint (vhost_fd_count_free (), ==, before);
  setrlimit (RLIMIT_NOFILE, &old);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fd/tells-kinds-apart", test_tells_kinds_apart);
  g_test_add_func ("/fd/clear-keeps-errno-and-forgets-the-number",
                   test_clear_keeps_errno_and_forgets_the_number);
  g_test_add_func ("/fd/discard-closes-what-may-wait-elsewhere",
                   test_discard_closes_what_may_wait_elsewhere);
  g_test_add_func ("/fd/closes-a-connection-with-all-that-is-in-it",
                   test_closes_a_connection_with_all_that_is_in_it);
  g_test_add_func ("/fd/full-eventfd-does-not-block", test_full_eventfd_does_not_block);
  g_test_add_func ("/fd/drain-returns-from-a-blocking-descriptor",
                   test_drain_returns_from_a_blocking_descriptor);
  g_test_add_func ("/fd/pipe-without-reader-does-not-kill", test_pipe_without_reader_does_not_kill);
  g_test_add_func ("/fd/nonblocking-refuses-a-closed-number",
                   test_nonblocking_refuses_a_closed_number);
  g_test_add_func ("/fd/counts-what-may-still-be-opened", test_counts_what_may_still_be_opened);
  return g_test_run ();
}
