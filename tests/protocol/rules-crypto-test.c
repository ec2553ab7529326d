/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages for crypto devices and displays: CREATE_CRYPTO_SESSION, CLOSE_CRYPTO_SESSION and
 * GPU_SET_SOCKET. Public API only. */
#include "raw-device.h"
#include "rich-backend.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct
{
  gint64 id;
  guint8 rest[600];
} Session;

static void
test_sessions (void)
{
  Session session = { -1, { 1, 2, 3 } }, answer;
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_send (&f, RICH_CREATE_CRYPTO_SESSION, &session, sizeof session, -1);
  g_assert_cmpuint (rich_receive (&f, RICH_CREATE_CRYPTO_SESSION, &answer, sizeof answer, NULL), ==,
                    sizeof answer);
  g_assert_cmpint (answer.id, ==, 77);
  g_assert_cmpmem (answer.rest, sizeof answer.rest, session.rest, sizeof session.rest);
  rich_sync (&f);
  g_assert_cmpuint (f.data->crypto_size, ==, sizeof session);
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_CLOSE_CRYPTO_SESSION, 77), ==, 0);
  rich_sync (&f);
  g_assert_cmpint (f.data->crypto_closed, ==, 77);
  rich_end (&f);
}

static void
test_failures (void)
{
  Session session = { 5, { 1 } }, answer;
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  f.data->fail = TRUE;
  rich_send (&f, RICH_CREATE_CRYPTO_SESSION, &session, sizeof session, -1);
  g_assert_cmpuint (rich_receive (&f, RICH_CREATE_CRYPTO_SESSION, &answer, sizeof answer, NULL), ==,
                    sizeof answer);
  g_assert_cmpint (answer.id, <, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_CLOSE_CRYPTO_SESSION, G_MAXUINT64), !=, 0);
  rich_sync (&f);
  g_assert_cmpint (f.data->crypto_closed, ==, -1);
  f.data->fail = TRUE;
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_CLOSE_CRYPTO_SESSION, 1), !=, 0);
  rich_end (&f);
}

static void
open_session (Rich *f)
{
  Session session = { -1, { 1 } }, answer;

  rich_send (f, RICH_CREATE_CRYPTO_SESSION, &session, sizeof session, -1);
  rich_receive (f, RICH_CREATE_CRYPTO_SESSION, &answer, sizeof answer, NULL);
  g_assert_cmpint (answer.id, ==, 77);
}

/* Without a word of the front-end; but one that it has closed is not closed twice. */
static void
test_left_open (void)
{
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  open_session (&f);
  g_assert_cmpint (f.data->crypto_closed, ==, -1);
  vhost_frontend_close (f.frontend);
  LIVE_WAIT_FOR (f.data->crypto_closed == 77);
  rich_end (&f);

  rich_begin (&f, LIVE_ALL_FEATURES);
  open_session (&f);
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_CLOSE_CRYPTO_SESSION, 77), ==, 0);
  f.data->crypto_closed = -1;
  vhost_frontend_close (f.frontend);
  LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  g_assert_cmpint (f.data->crypto_closed, ==, -1);
  rich_end (&f);
}

static void
test_display (void)
{
  Rich f;
  int fds[2], other = eventfd (0, EFD_CLOEXEC);
  char byte = 0;

  rich_begin (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (raw_request (f.frontend, RICH_GPU_SET_SOCKET, NULL, 0, &other, 1), !=, 0);
  g_assert_cmpuint (raw_request (f.frontend, RICH_GPU_SET_SOCKET, NULL, 0, NULL, 0), !=, 0);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, RICH_GPU_SET_SOCKET, NULL, 0, &fds[1], 1), ==, 0);
  close (fds[1]);
  rich_sync (&f);
  g_assert_cmpint (write (f.data->gpu_fd, "x", 1), ==, 1);
  g_assert_cmpint (read (fds[0], &byte, 1), ==, 1);
  close (fds[0]);
  close (other);
  rich_end (&f);
}

static void
test_no_display (void)
{
  RawDevice f;
  int fds[2];

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, RICH_GPU_SET_SOCKET, NULL, 0, &fds[1], 1), !=, 0);
  close (fds[0]);
  close (fds[1]);
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("CREATE_CRYPTO_SESSION-makes-what-CLOSE_CRYPTO_SESSION-ends", test_sessions);
  TEST ("CREATE_CRYPTO_SESSION-fails-with-a-negative-number", test_failures);
  TEST ("a-crypto-session-ends-with-its-front-end", test_left_open);
  TEST ("GPU_SET_SOCKET-reaches-the-device", test_display);
  TEST ("GPU_SET_SOCKET-is-refused-by-a-device-without-display", test_no_display);
  return g_test_run ();
}
