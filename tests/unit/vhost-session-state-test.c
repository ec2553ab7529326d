/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE as the session answers them: before, in the middle of
 * and after a transfer, and when the device outlives its session. */
#include "rich-device.h"

#define TEST_DEVICE_FILL_CLASS rich_fill_class
#include "session-peer.h"

#define TEST_AREA "session-state"
#define WITH_STATE (ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_DEVICE_STATE))

/* What the answers say. */
#define TAKEN 256
#define IS_REFUSED(answer) (((answer) &255) != 0)

static void
begin (Fixture *f)
{
  rich_clear ();
  rich.state = g_bytes_new_static ("state", 5);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, WITH_STATE), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
}

/* Our end; the other one goes to the back-end. */
static int
set_fd (Fixture *f, guint direction, guint phase, guint64 *answer)
{
  VhostWireDeviceState parameters = { direction, phase };
  gboolean save = direction == VHOST_WIRE_SAVE;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  send_message (f, VHOST_WIRE_SET_DEVICE_STATE_FD, 0, &parameters, sizeof parameters, &fds[save],
                1);
  *answer = receive_u64 (f, VHOST_WIRE_SET_DEVICE_STATE_FD);
  close (fds[save]);
  return fds[!save];
}

static int
expect_taken (Fixture *f, guint direction)
{
  guint64 answer;
  int fd = set_fd (f, direction, 0, &answer);

  g_assert_cmphex (answer, ==, TAKEN);
  return fd;
}

static void
expect_refused (Fixture *f, guint direction, guint phase)
{
  guint64 answer;

  close (set_fd (f, direction, phase, &answer));
  g_assert_true (IS_REFUSED (answer));
}

static guint64
check (Fixture *f)
{
  return get_u64 (f, VHOST_WIRE_CHECK_DEVICE_STATE);
}

static void
test_saves (Fixture *f, gconstpointer data)
{
  char bytes[8];
  int fd;

  begin (f);
  fd = expect_taken (f, VHOST_WIRE_SAVE);
  read_exactly (fd, bytes, 5);
  g_assert_cmpmem (bytes, 5, "state", 5);
  ITERATE_UNTIL (is_readable (fd));
  g_assert_cmpint (read (fd, bytes, sizeof bytes), ==, 0); /* D3 */
  close (fd);
  g_assert_cmpuint (check (f), ==, 0);
  g_assert_true (IS_REFUSED (check (f))); /* once */
}

static void
test_check_waits (Fixture *f, gconstpointer data)
{
  int fd;

  begin (f);
  fd = expect_taken (f, VHOST_WIRE_LOAD);
  send_message (f, VHOST_WIRE_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
  ITERATE_UNTIL (f->session->check_waits); /* D6 */
  g_assert_false (is_readable (f->peer));
  g_assert_cmpint (write (fd, "other", 5), ==, 5);
  close (fd);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_CHECK_DEVICE_STATE), ==, 0);
  g_assert_cmpmem (g_bytes_get_data (rich.state, NULL), g_bytes_get_size (rich.state), "other", 5);
}

static void
test_failures (Fixture *f, gconstpointer data)
{
  int fd;

  begin (f);
  g_assert_true (IS_REFUSED (check (f))); /* of what? */
  rich.fail = TRUE;
  close (expect_taken (f, VHOST_WIRE_SAVE));
  g_assert_true (IS_REFUSED (check (f)));
  fd = expect_taken (f, VHOST_WIRE_LOAD);
  send_message (f, VHOST_WIRE_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
  ITERATE_UNTIL (f->session->check_waits);
  close (fd);
  g_assert_true (IS_REFUSED (receive_u64 (f, VHOST_WIRE_CHECK_DEVICE_STATE)));
  rich.fail = FALSE;
  close (expect_taken (f, VHOST_WIRE_LOAD)); /* the next one is another one */
  g_assert_cmpuint (check (f), ==, 0);
}

static void
test_parameters (Fixture *f, gconstpointer data)
{
  guint n_fds;

  begin (f);
  n_fds = rich_count_fds ();
  expect_refused (f, 2, 0);
  expect_refused (f, G_MAXUINT32, 0);
  expect_refused (f, VHOST_WIRE_SAVE, 1);
  expect_refused (f, VHOST_WIRE_LOAD, G_MAXUINT32);
  g_assert_cmpuint (rich.n_saves + rich.n_loads, ==, 0);
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
}

static void
test_not_now (Fixture *f, gconstpointer data)
{
  int fd;

  begin (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  expect_refused (f, VHOST_WIRE_SAVE, 0); /* D1 */
  get_base (f, 0);
  fd = expect_taken (f, VHOST_WIRE_LOAD);
  expect_refused (f, VHOST_WIRE_SAVE, 0);
  close (fd);
  g_assert_cmpuint (check (f), ==, 0);
  g_assert_cmpuint (rich.n_saves, ==, 0);
}

/* Nobody asks after the first one. */
static void
test_unasked (Fixture *f, gconstpointer data)
{
  int fd;

  begin (f);
  rich.fail = TRUE;
  fd = expect_taken (f, VHOST_WIRE_SAVE);
  ITERATE_UNTIL (is_readable (fd)); /* its end */
  close (fd);
  rich.fail = FALSE;
  close (expect_taken (f, VHOST_WIRE_LOAD));
  g_assert_cmpuint (check (f), ==, 0); /* the verdict is the second one's */
}

static void
test_not_negotiated (Fixture *f, gconstpointer data)
{
  rich_clear ();
  negotiate (f);
  expect_refused (f, VHOST_WIRE_SAVE, 0);
  g_assert_true (IS_REFUSED (check (f)));
}

/* D7: a ring starts. */
static void
test_ring_starts (Fixture *f, gconstpointer data)
{
  int fd;

  begin (f);
  rich.hold = TRUE;
  fd = expect_taken (f, VHOST_WIRE_SAVE);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  ITERATE_UNTIL (rich.n_cancelled == 1);
  g_assert_true (IS_REFUSED (check (f)));
  close (fd);
}

/* @data: "late": the device ends the transfer when the session is gone. */
static void
test_session_ends (Fixture *f, gconstpointer data)
{
  char end;
  int fd;

  begin (f);
  rich.hold = TRUE;
  rich.late = data != NULL;
  fd = expect_taken (f, VHOST_WIRE_SAVE);
  send_message (f, VHOST_WIRE_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
  ITERATE_UNTIL (f->session->check_waits);
  end_session (f);
  ITERATE_UNTIL (rich.n_cancelled == 1);
  if (rich.late)
    {
      /* The next session has to wait for it. */
      rich.hold = rich.late = FALSE;
      f->n_closed = 0;
      connect_session (f, 10000);
      g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, WITH_STATE), ==, 0);
      close (expect_taken (f, VHOST_WIRE_LOAD));
      g_assert_true (IS_REFUSED (check (f)));
      g_task_return_boolean (rich.held, TRUE);
      g_clear_object (&rich.held);
    }
  ITERATE_UNTIL (is_readable (fd)); /* D3: its end, in any case */
  g_assert_cmpint (read (fd, &end, 1), ==, 0);
  close (fd);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("D3-saves-until-the-end-of-the-stream", set_up, test_saves);
  ADD ("D6-CHECK_DEVICE_STATE-waits-for-the-end", set_up, test_check_waits);
  ADD ("D6-failures-show-in-the-verdict", set_up, test_failures);
  ADD ("D8-unknown-parameters-are-refused-and-closed", set_up, test_parameters);
  ADD ("D1-is-refused-while-a-ring-runs-or-another-transfer", set_up, test_not_now);
  ADD ("a-verdict-is-of-the-last-transfer", set_up, test_unasked);
  ADD ("needs-its-feature", set_up, test_not_negotiated);
  ADD ("D7-a-ring-that-starts-ends-it", set_up, test_ring_starts);
  g_test_add ("/" TEST_AREA "/ends-with-the-session", Fixture, NULL, set_up, test_session_ends,
              tear_down);
  g_test_add ("/" TEST_AREA "/outlives-the-session", Fixture, "late", set_up, test_session_ends,
              tear_down);
  return g_test_run ();
}
