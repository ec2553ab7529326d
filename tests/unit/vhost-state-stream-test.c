/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The streams for a device's state: they never block, whatever the other end does. */
#include "vhost-state-stream-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Who takes the channel, when it is not us. */
static uid_t opens_as;

/* @data: a socket, not a pipe. fds[0] is for reading. */
static void
make_channel (int fds[2], gconstpointer data)
{
  g_assert_cmpint (data != NULL ? socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                                : pipe2 (fds, O_CLOEXEC),
                   ==, 0);
}

/* Until it is full; then a synchronous call says so. */
static void
test_output (gconstpointer data)
{
  static const guint8 bytes[65536];
  g_autoptr (GOutputStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  gssize n, total = 0;
  int fds[2];

  make_channel (fds, data);
  g_assert_cmpint (seteuid (opens_as != 0 ? opens_as : geteuid ()), ==, 0);
  stream = vhost_state_output_new_take_fd (dup (fds[1]), &error);
  g_assert_cmpint (seteuid (getuid ()), ==, 0);
  g_assert_no_error (error);
  /* The other holder of the same pipe makes it blocking. */
  fcntl (fds[1], F_SETFL, fcntl (fds[1], F_GETFL) & ~O_NONBLOCK);
  while ((n = g_output_stream_write (stream, bytes, sizeof bytes, NULL, &error)) > 0)
    total += n;
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK);
  g_assert_cmpint (total, >, 0);
  g_assert_false (g_pollable_output_stream_is_writable (G_POLLABLE_OUTPUT_STREAM (stream)));
  g_clear_error (&error);
  /* Nobody reads any more: an error, not a signal. */
  close (fds[0]);
  g_assert_cmpint (g_output_stream_write (stream, bytes, 1, NULL, &error), ==, -1);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE);
  close (fds[1]);
}

static void
test_input (gconstpointer data)
{
  g_autoptr (GInputStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  guint8 byte = 0;
  int fds[2];

  make_channel (fds, data);
  g_assert_cmpint (seteuid (opens_as != 0 ? opens_as : geteuid ()), ==, 0);
  stream = vhost_state_input_new_take_fd (dup (fds[0]), &error);
  g_assert_cmpint (seteuid (getuid ()), ==, 0);
  g_assert_no_error (error);
  fcntl (fds[0], F_SETFL, fcntl (fds[0], F_GETFL) & ~O_NONBLOCK);
  g_assert_cmpint (g_input_stream_read (stream, &byte, 1, NULL, &error), ==, -1);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK);
  g_clear_error (&error);
  g_assert_cmpint (write (fds[1], "x", 1), ==, 1);
  g_assert_cmpint (g_input_stream_read (stream, &byte, 1, NULL, &error), ==, 1);
  g_assert_cmpint (byte, ==, 'x');
  close (fds[1]);
  g_assert_cmpint (g_input_stream_read (stream, &byte, 1, NULL, &error), ==, 0);
  g_assert_no_error (error);
  close (fds[0]);
}

static void
test_closes (gconstpointer data)
{
  g_autoptr (GOutputStream) stream = NULL;
  char byte;
  int fds[2];

  make_channel (fds, data);
  stream = vhost_state_output_new_take_fd (fds[1], NULL);
  g_assert_nonnull (stream);
  g_assert_true (g_output_stream_close (stream, NULL, NULL));
  g_assert_cmpint (read (fds[0], &byte, 1), ==, 0);
  close (fds[0]);
}

static void
refuse (int fd)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vhost_state_output_new_take_fd (fd, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  vhost_fd_settle ();
  g_assert_cmpint (fcntl (fd, F_GETFD), ==, -1); /* taken all the same */
}

static void
test_kinds (void)
{
  int fds[2];

  make_channel (fds, NULL);
  refuse (fds[0]);
  refuse (eventfd (0, EFD_CLOEXEC));
  refuse (socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  g_assert_null (vhost_state_input_new_take_fd (fds[1], NULL));
}

#define BOTH(name, function)                                                                       \
  g_test_add_data_func ("/state-stream/pipe/" name, NULL, function);                               \
  g_test_add_data_func ("/state-stream/socket/" name, "socket", function)

/* A pipe of another user cannot be opened anew. */
static void
test_foreign (gconstpointer data)
{
  const uid_t nobody = 65534;

  if (geteuid () != 0)
    {
      g_test_skip ("only root can be someone else");
      return;
    }
  opens_as = nobody;
  if (data != NULL)
    test_output (NULL);
  else
    test_input (NULL);
  opens_as = 0;
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  BOTH ("writes-until-it-is-full", test_output);
  BOTH ("reads-until-it-is-empty", test_input);
  BOTH ("closes-at-once", test_closes);
  g_test_add_data_func ("/state-stream/writes-to-a-pipe-of-another-user", "out", test_foreign);
  g_test_add_data_func ("/state-stream/reads-from-a-pipe-of-another-user", NULL, test_foreign);
  g_test_add_func ("/state-stream/takes-pipes-and-stream-sockets-only", test_kinds);
  return g_test_run ();
}
