/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of a device's state (D1 to D10): SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE. Public API
 * only. */
#include "raw-device.h"
#include "rich-backend.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAVE 0
#define LOAD 1
/* More than a pipe holds. */
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

#define ASSERT_TAKEN(answer) g_assert_cmphex ((answer), ==, 256)
#define ASSERT_REFUSED(answer)                                                                     \
  G_STMT_START                                                                                     \
  {                                                                                                \
    guint64 _answer = (answer);                                                                    \
    g_assert_cmphex (_answer & 255, !=, 0); /* D4: and no descriptor */                            \
    g_assert_cmphex (_answer & 256, ==, 256);                                                      \
  }                                                                                                \
  G_STMT_END

static guint8 *
make_state (gsize size)
{
  guint8 *state = g_malloc (size);

  for (gsize i = 0; i < size; i++)
    state[i] = (guint8) (i * 7 + i / 256);
  return state;
}

static void
give_state (Rich *f, gsize size)
{
  g_bytes_unref (f->data->state);
  f->data->state = g_bytes_new_take (make_state (size), size);
  rich_sync (f);
}

static GByteArray *
read_all (int fd)
{
  GByteArray *array = g_byte_array_new ();
  guint8 piece[4096];
  ssize_t n;

  while ((n = read (fd, piece, sizeof piece)) > 0)
    g_byte_array_append (array, piece, (guint) n);
  g_assert_cmpint (n, ==, 0);
  close (fd);
  return array;
}

static void
write_all (int fd, const guint8 *data, gsize size)
{
  while (size > 0)
    {
      ssize_t n = write (fd, data, size);

      g_assert_cmpint (n, >, 0);
      data += n;
      size -= (gsize) n;
    }
}

static void
make_channel (int fds[2], gboolean socket)
{
  g_assert_cmpint (socket ? socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                          : pipe2 (fds, O_CLOEXEC),
                   ==, 0);
}

static void
save (gconstpointer data)
{
  Rich f;
  int fds[2];
  g_autoptr (GByteArray) got = NULL;
  g_autofree guint8 *want = make_state (BIG);

  rich_begin (&f, LIVE_ALL_FEATURES);
  give_state (&f, BIG);
  make_channel (fds, GPOINTER_TO_INT (data));
  /* D5: more than the channel holds, and nobody reads yet. */
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  raw_assert_in_step (f.frontend);
  got = read_all (fds[0]); /* D3: there is an end */
  g_assert_cmpmem (got->data, got->len, want, BIG);
  g_assert_cmpuint (check (&f), ==, 0);
  rich_end (&f);
}

static void
load (gconstpointer data)
{
  Rich f;
  int fds[2];
  g_autofree guint8 *state = make_state (BIG);

  rich_begin (&f, LIVE_ALL_FEATURES);
  make_channel (fds, GPOINTER_TO_INT (data));
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, fds[0]));
  close (fds[0]);
  write_all (fds[1], state, BIG);
  /* D6: it cannot be known before the end of the stream, so there is no answer yet. */
  rich_send (&f, RICH_CHECK_DEVICE_STATE, NULL, 0, -1);
  rich_sync (&f);
  g_assert_cmpuint (f.data->n_loads, ==, 0);
  close (fds[1]);
  g_assert_cmpuint (rich_receive_u64 (&f, RICH_CHECK_DEVICE_STATE), ==, 0);
  rich_sync (&f);
  g_assert_cmpmem (g_bytes_get_data (f.data->state, NULL), g_bytes_get_size (f.data->state), state,
                   BIG);
  rich_end (&f);
}

static void
test_only_suspended (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_start_ring (&f);
  make_channel (fds, FALSE);
  ASSERT_REFUSED (set_fd (&f, SAVE, 0, fds[1]));
  rich_stop_ring (&f);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  g_byte_array_unref (read_all (fds[0]));
  g_assert_cmpuint (check (&f), ==, 0);
  rich_end (&f);
}

static void
test_resumes (void)
{
  Rich f;
  int fds[2];
  GError *error = NULL;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_start_ring (&f);
  rich_stop_ring (&f);
  f.data->hold = TRUE;
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  /* The migration has failed elsewhere. */
  vhost_frontend_restart_queue (f.frontend, 0, &error);
  g_assert_no_error (error);
  live_device_assert_echo (f.frontend, 0, "goes on");
  g_byte_array_unref (read_all (fds[0]));
  rich_sync (&f);
  g_assert_cmpuint (f.data->n_cancelled, ==, 1);
  g_assert_cmpuint (check (&f), !=, 0);
  rich_end (&f);
}

/* What the rings are at comes by messages: the stream is what the device gave, to the byte, and a
 * device that loads it begins at 0. */
static void
test_without_rings (void)
{
  Rich f;
  int fds[2];
  g_autoptr (GByteArray) got = NULL;
  g_autofree guint8 *want = make_state (100);

  rich_begin (&f, LIVE_ALL_FEATURES);
  give_state (&f, 100);
  rich_start_ring (&f);
  live_device_assert_echo (f.frontend, 0, "one request");
  rich_stop_ring (&f);
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  got = read_all (fds[0]);
  g_assert_cmpmem (got->data, got->len, want, 100);
  g_assert_cmpuint (check (&f), ==, 0);
  rich_end (&f);

  rich_begin (&f, LIVE_ALL_FEATURES);
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, fds[0]));
  close (fds[0]);
  write_all (fds[1], got->data, got->len);
  close (fds[1]);
  g_assert_cmpuint (check (&f), ==, 0);
  rich_start_ring (&f);
  live_device_assert_echo (f.frontend, 0, "the first request");
  rich_end (&f);
}

static void
test_unknown_parameters (void)
{
  const guint32 bad[][2] = { { 2, 0 }, { G_MAXUINT32, 0 }, { SAVE, 1 }, { LOAD, G_MAXUINT32 } };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      int fds[2];

      make_channel (fds, FALSE);
      ASSERT_REFUSED (set_fd (&f, bad[i][0], bad[i][1], fds[1]));
      close (fds[1]);
      g_byte_array_unref (read_all (fds[0])); /* it was closed there too */
    }
  g_assert_cmpuint (f.data->n_saves, ==, 0);
  rich_end (&f);
}

static void
test_kinds (void)
{
  Rich f;
  int pair[2], fds[5];

  rich_begin (&f, LIVE_ALL_FEATURES);
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  fds[0] = eventfd (0, EFD_CLOEXEC);
  fds[1] = raw_memfd (4096, 0);
  fds[2] = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  fds[3] = pair[0]; /* cannot be written to */
  fds[4] = open ("/dev/null", O_RDWR | O_CLOEXEC);
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      ASSERT_REFUSED (set_fd (&f, SAVE, 0, fds[i]));
      close (fds[i]);
    }
  ASSERT_REFUSED (set_fd (&f, LOAD, 0, pair[1]));
  close (pair[1]);
  rich_end (&f);
}

static void
test_second (void)
{
  Rich f;
  int fds[2], more[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  make_channel (fds, FALSE);
  make_channel (more, FALSE);
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, fds[0]));
  ASSERT_REFUSED (set_fd (&f, LOAD, 0, more[0]));
  close (fds[1]);
  g_assert_cmpuint (check (&f), ==, 0);
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, more[0]));
  close (more[1]);
  g_assert_cmpuint (check (&f), ==, 0);
  close (fds[0]);
  close (more[0]);
  rich_end (&f);
}

static void
test_failures (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (check (&f), !=, 0); /* nothing was transferred */
  f.data->fail = TRUE;
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  g_byte_array_unref (read_all (fds[0]));
  g_assert_cmpuint (check (&f), !=, 0);
  /* The verdict is of that one transfer. */
  g_assert_cmpuint (check (&f), !=, 0);

  rich_sync (&f);
  f.data->fail = TRUE;
  make_channel (fds, TRUE);
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, fds[1]));
  close (fds[1]);
  write_all (fds[0], (const guint8 *) "state", 5);
  close (fds[0]);
  g_assert_cmpuint (check (&f), !=, 0);
  rich_end (&f);
}

/* The front-end goes away in the middle of what it reads. */
static void
cut_short (gconstpointer data)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  give_state (&f, BIG);
  make_channel (fds, GPOINTER_TO_INT (data));
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  close (fds[0]);
  g_assert_cmpuint (check (&f), !=, 0);
  rich_end (&f);
}

static void
test_session_ends (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, LOAD, 0, fds[0]));
  close (fds[0]);
  rich_send (&f, RICH_CHECK_DEVICE_STATE, NULL, 0, -1);
  f.n_fds++; /* our end stays open */
  rich_end (&f);
  close (fds[1]);
}

static void
test_reset (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  f.data->hold = TRUE;
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  close (fds[1]);
  g_assert_cmpuint (raw_request (f.frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0), ==, 0);
  g_byte_array_unref (read_all (fds[0]));
  g_assert_cmpuint (check (&f), !=, 0);
  rich_end (&f);
}

/* The other end of a pipe may make it blocking at any time. */
static void
test_blocking_again (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES);
  give_state (&f, BIG);
  make_channel (fds, FALSE);
  ASSERT_TAKEN (set_fd (&f, SAVE, 0, fds[1]));
  fcntl (fds[1], F_SETFL, fcntl (fds[1], F_GETFL) & ~O_NONBLOCK);
  close (fds[1]);
  for (guint i = 0; i < 16; i++)
    {
      guint8 bytes[5000];

      g_assert_cmpint (read (fds[0], bytes, sizeof bytes), >, 0);
      raw_assert_in_step (f.frontend);
    }
  g_byte_array_unref (read_all (fds[0]));
  g_assert_cmpuint (check (&f), ==, 0);
  rich_end (&f);
}

static void
test_not_accepted (void)
{
  Rich f;
  int fds[2];

  rich_begin (&f, LIVE_ALL_FEATURES & ~RAW_BIT (19));
  make_channel (fds, FALSE);
  ASSERT_REFUSED (set_fd (&f, SAVE, 0, fds[1]));
  g_assert_cmpuint (check (&f), !=, 0);
  close (fds[0]);
  close (fds[1]);
  rich_end (&f);
}

static void
test_not_offered (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL); /* a device without state */
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmphex (vhost_frontend_get_protocol_features (f.frontend) & RAW_BIT (19), ==, 0);
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)
#define TEST_DATA(name, data, function)                                                            \
  g_test_add_data_func ("/rules/" name, GINT_TO_POINTER (data), function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("D1-only-while-suspended", test_only_suspended);
  TEST_DATA ("D2-D3-D5-SET_DEVICE_STATE_FD-saves-through-a-pipe-after-the-answer", FALSE, save);
  TEST_DATA ("D2-D3-D5-SET_DEVICE_STATE_FD-saves-through-a-socket-after-the-answer", TRUE, save);
  TEST_DATA ("D6-CHECK_DEVICE_STATE-waits-for-what-a-pipe-brings", FALSE, load);
  TEST_DATA ("D6-CHECK_DEVICE_STATE-waits-for-what-a-socket-brings", TRUE, load);
  TEST ("D6-CHECK_DEVICE_STATE-tells-of-failures", test_failures);
  TEST ("D7-a-ring-start-takes-the-device-back", test_resumes);
  TEST ("D10-the-rings-are-no-part-of-the-state", test_without_rings);
  TEST ("D4-D8-D9-unknown-parameters-are-refused-and-the-descriptor-is-closed",
        test_unknown_parameters);
  TEST ("D-a-channel-of-the-wrong-kind-is-refused", test_kinds);
  TEST ("D-a-second-transfer-waits-its-turn", test_second);
  TEST_DATA ("D-a-pipe-cut-short-fails", FALSE, cut_short);
  TEST_DATA ("D-a-socket-cut-short-fails", TRUE, cut_short);
  TEST ("D-a-pipe-made-blocking-stops-nothing", test_blocking_again);
  TEST ("D-the-end-of-the-session-ends-the-transfer", test_session_ends);
  TEST ("D-a-reset-ends-the-transfer", test_reset);
  TEST ("D-nothing-without-the-feature", test_not_accepted);
  TEST ("D-not-offered-by-a-device-without-state", test_not_offered);
  return g_test_run ();
}
