/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transfers of a device's state that lie, stall or are cut. After each the process lives, a good
 * transfer works, a new front-end is served and nothing is left behind. Public API only. */
#include "raw-device.h"
#include "rich-backend.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAVE 0u
#define LOAD 1u
#define REFUSED 255u
/* More than a pipe or a socket holds. */
#define BIG (1024 * 1024)

static guint64
set_fd (Rich *f, guint32 direction, guint32 phase, int fd)
{
  const guint32 parameters[2] = { direction, phase };

  rich_send (f, RICH_SET_DEVICE_STATE_FD, parameters, sizeof parameters, fd);
  return rich_receive_u64 (f, RICH_SET_DEVICE_STATE_FD);
}

static guint64
check (Rich *f)
{
  rich_send (f, RICH_CHECK_DEVICE_STATE, NULL, 0, -1);
  return rich_receive_u64 (f, RICH_CHECK_DEVICE_STATE);
}

static void
make_channel (int fds[2], gboolean socket)
{
  g_assert_cmpint (socket ? socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                          : pipe2 (fds, O_CLOEXEC),
                   ==, 0);
}

static void
give_state (LiveDevice *device, gpointer data)
{
  Rich *f = data;

  g_bytes_unref (f->data->state);
  f->data->state = g_bytes_new_take (g_malloc0 (BIG), BIG);
}

static void
begin (Rich *f)
{
  rich_begin (f, LIVE_ALL_FEATURES);
  live_device_call (f->device, give_state, f); /* its thread owns the state */
}

/* A transfer as it should be. */
static void
assert_transfer (Rich *f)
{
  int fds[2];

  make_channel (fds, FALSE);
  g_assert_cmphex (set_fd (f, LOAD, 0, fds[0]), ==, RAW_NO_FD);
  close (fds[0]);
  g_assert_cmpint (write (fds[1], "state", 5), ==, 5);
  close (fds[1]);
  g_assert_cmpuint (check (f), ==, 0);
}

static void
test_numbers (void)
{
  const guint32 numbers[] = { 0, 1, 2, 255, 256, 0x7fffffff, 0x80000000, G_MAXUINT32 };
  Rich f;
  guint n_fds;

  begin (&f);
  rich_sync (&f);
  n_fds = raw_count_settled_fds ();
  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    for (guint j = 0; j < G_N_ELEMENTS (numbers); j++)
      {
        int fds[2];

        if (numbers[i] <= LOAD && numbers[j] == 0)
          continue;
        make_channel (fds, j & 1);
        g_assert_cmphex (set_fd (&f, numbers[i], numbers[j], fds[1]) & REFUSED, !=, 0);
        close (fds[0]);
        close (fds[1]);
      }
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  assert_transfer (&f);
  rich_end (&f);
}

static void
test_kinds (void)
{
  Rich f;
  int fds[8];
  guint n = 0;

  begin (&f);
  fds[n++] = eventfd (0, EFD_CLOEXEC);
  fds[n++] = raw_memfd (4096, 0);
  fds[n++] = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  fds[n++] = socket (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  fds[n++] = epoll_create1 (EPOLL_CLOEXEC);
  fds[n++] = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  fds[n++] = open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fds[n++] = open ("/proc/self/exe", O_PATH | O_CLOEXEC);
  for (guint i = 0; i < n; i++)
    {
      g_assert_cmphex (set_fd (&f, SAVE, 0, fds[i]) & REFUSED, !=, 0);
      g_assert_cmphex (set_fd (&f, LOAD, 0, fds[i]) & REFUSED, !=, 0);
      close (fds[i]);
    }
  assert_transfer (&f);
  rich_end (&f);
}

/* A stream socket that is connected to nobody, or waits for connections. */
static void
test_unconnected (void)
{
  Rich f;

  begin (&f);
  for (guint i = 0; i < 4; i++)
    {
      int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

      if (i >= 2)
        {
          /* The kernel finds a name for it. */
          const sa_family_t family = AF_UNIX;

          g_assert_cmpint (bind (fd, (const struct sockaddr *) &family, sizeof family), ==, 0);
          g_assert_cmpint (listen (fd, 1), ==, 0);
        }
      if ((set_fd (&f, i % 2, 0, fd) & REFUSED) == 0)
        g_assert_cmpuint (check (&f), !=, 0);
      close (fd);
    }
  assert_transfer (&f);
  rich_end (&f);
}

/* Whoever holds the front-end's end never sees it go. */
static void
own_socket (gconstpointer data)
{
  Rich f;

  begin (&f);
  g_assert_cmphex (
      set_fd (&f, GPOINTER_TO_UINT (data), 0, vhost_frontend_get_fd (f.frontend)) & REFUSED, !=, 0);
  assert_transfer (&f);
  rich_end (&f);
}

/* Nobody reads, nobody asks; then nobody is there any more. */
static void
never_read (gconstpointer data)
{
  Rich f;
  int fds[2];

  begin (&f);
  make_channel (fds, GPOINTER_TO_INT (data));
  g_assert_cmphex (set_fd (&f, SAVE, 0, fds[1]), ==, RAW_NO_FD);
  close (fds[1]);
  raw_assert_in_step (f.frontend);
  g_assert_cmphex (set_fd (&f, SAVE, 0, fds[0]) & REFUSED, !=, 0);
  f.n_fds++; /* our end stays open */
  rich_end (&f);
  close (fds[0]);
}

/* ... and the question is open. */
static void
never_read_but_asked (gconstpointer data)
{
  Rich f;
  int fds[2];

  begin (&f);
  make_channel (fds, GPOINTER_TO_INT (data));
  g_assert_cmphex (set_fd (&f, SAVE, 0, fds[1]), ==, RAW_NO_FD);
  close (fds[1]);
  rich_send (&f, RICH_CHECK_DEVICE_STATE, NULL, 0, -1);
  rich_sync (&f);
  f.n_fds++;
  rich_end (&f);
  close (fds[0]);
}

/* The reader goes after each number of bytes, among them none. */
static void
cut (gconstpointer data)
{
  const gsize lengths[] = { 0, 1, 4095, 4096, 4097, 65536, 100000 };
  Rich f;

  begin (&f);
  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++)
    {
      guint8 bytes[4096];
      gsize left = lengths[i];
      int fds[2];

      make_channel (fds, GPOINTER_TO_INT (data));
      g_assert_cmphex (set_fd (&f, SAVE, 0, fds[1]), ==, RAW_NO_FD);
      close (fds[1]);
      while (left > 0)
        {
          gssize n = read (fds[0], bytes, MIN (left, sizeof bytes));

          g_assert_cmpint (n, >, 0);
          left -= (gsize) n;
        }
      close (fds[0]);
      g_assert_cmpuint (check (&f), !=, 0);
    }
  assert_transfer (&f);
  rich_end (&f);
}

/* Each second one ends in the middle of what it sends, and comes back. */
static void
test_session_ends (void)
{
  Rich f;
  int fds[2];

  begin (&f);
  for (guint i = 0; i < 6; i++)
    {
      GError *error = NULL;

      make_channel (fds, i % 3 == 0);
      g_assert_cmphex (set_fd (&f, LOAD, 0, fds[0]), ==, RAW_NO_FD);
      close (fds[0]);
      g_assert_cmpint (write (fds[1], "half a st", 9), ==, 9);
      if (i & 1)
        rich_send (&f, RICH_CHECK_DEVICE_STATE, NULL, 0, -1);
      g_clear_object (&f.frontend);
      LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
      close (fds[1]);
      rich_sync (&f);
      g_assert_cmpuint (f.data->n_loads, ==, 0);
      f.frontend = vhost_frontend_new ();
      vhost_frontend_connect (f.frontend, f.device->socket_path, &error);
      g_assert_no_error (error);
      vhost_frontend_negotiate (f.frontend, LIVE_ALL_FEATURES, LIVE_ALL_FEATURES, &error);
      g_assert_no_error (error);
    }
  assert_transfer (&f);
  rich_end (&f);
}

/* A hundred transfers that nobody asks after. */
static void
test_never_asked (void)
{
  Rich f;
  guint n_fds;

  begin (&f);
  rich_sync (&f);
  n_fds = raw_count_settled_fds ();
  for (guint i = 0; i < 100; i++)
    {
      int fds[2];

      make_channel (fds, i & 1);
      while ((set_fd (&f, LOAD, 0, fds[0]) & REFUSED) != 0)
        g_thread_yield (); /* the one before has not ended yet */
      close (fds[0]);
      close (fds[1]);
    }
  g_assert_cmpuint (check (&f), ==, 0);
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  g_assert_cmpuint (check (&f), !=, 0);
  assert_transfer (&f);
  rich_end (&f);
}

#define TEST(name, function) g_test_add_func ("/protocol/hostile-state-" name, function)
#define TEST_DATA(name, data, function)                                                            \
  g_test_add_data_func ("/protocol/hostile-state-" name, GUINT_TO_POINTER (data), function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
  TEST ("directions-and-phases-that-are-none-are-refused", test_numbers);
  TEST ("descriptors-of-other-kinds-are-refused", test_kinds);
  TEST ("a-socket-without-an-other-end-fails", test_unconnected);
  TEST_DATA ("the-connection-itself-takes-no-state", SAVE, own_socket);
  TEST_DATA ("the-connection-itself-brings-no-state", LOAD, own_socket);
  TEST_DATA ("a-pipe-never-read-stops-nothing", FALSE, never_read);
  TEST_DATA ("a-socket-never-read-stops-nothing", TRUE, never_read);
  TEST_DATA ("a-pipe-never-read-with-a-question-open-ends", FALSE, never_read_but_asked);
  TEST_DATA ("a-socket-never-read-with-a-question-open-ends", TRUE, never_read_but_asked);
  TEST_DATA ("a-pipe-cut-anywhere-fails-alone", FALSE, cut);
  TEST_DATA ("a-socket-cut-anywhere-fails-alone", TRUE, cut);
  TEST ("a-session-that-ends-in-the-middle-loads-nothing", test_session_ends);
  TEST ("transfers-that-nobody-asks-after-leave-nothing", test_never_asked);
  return g_test_run ();
}
