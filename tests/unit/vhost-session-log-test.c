/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's dirty log: on, off, another one, and what is remembered until there is one. */
#include "session-peer.h"

#define TEST_AREA "session-log"
#define LOG_ALL VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL)
#define LOGGED (ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_LOG_SHMFD))
#define LOG_SIZE 4096u
/* Page of the buffer of head 0, and of the used ring. */
#define DATA_PAGE (HAND_DATA / 4096)
#define USED_PAGE (HAND_USED / 4096)

typedef struct
{
  int fd;
  guint8 *bytes;
} Log;

static Log
new_log (void)
{
  Log log = { .fd = memfd_create ("log", MFD_CLOEXEC) };

  g_assert_cmpint (ftruncate (log.fd, LOG_SIZE), ==, 0);
  log.bytes = mmap (NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, log.fd, 0);
  g_assert_true (log.bytes != MAP_FAILED);
  return log;
}

static void
free_log (Log *log)
{
  munmap (log->bytes, LOG_SIZE);
  close (log->fd);
}

static gboolean
is_dirty (const Log *log, guint64 page)
{
  return (__atomic_load_n (&log->bytes[page / 8], __ATOMIC_ACQUIRE) >> (page % 8) & 1) != 0;
}

static gboolean
is_clean (const Log *log)
{
  for (guint i = 0; i < LOG_SIZE; i++)
    if (log->bytes[i] != 0)
      return FALSE;
  return TRUE;
}

/* Its own answer. */
static guint64
set_log (Fixture *f, const Log *log)
{
  VhostWireLog place = { LOG_SIZE, 0 };

  return call_fds (f, VHOST_WIRE_SET_LOG_BASE, &place, sizeof place, &log->fd, 1);
}

static guint64
set_log_all (Fixture *f, gboolean on)
{
  return call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | (on ? LOG_ALL : 0));
}

static guint64
set_used_log (Fixture *f, guint flags, guint64 address)
{
  VhostWireVringAddr addr = ring_addr (0);

  addr.flags = flags;
  addr.log = address;
  return call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr);
}

static void
start_logged (Fixture *f)
{
  start_device (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, LOGGED), ==, 0);
}

static void
serve (Fixture *f)
{
  guint16 used = hand_used_index (&f->hand);

  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == (guint16) (used + 1));
}

static void
test_marks_while_running (Fixture *f, gconstpointer data)
{
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_clean (&log)); /* not before LOG_ALL */
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  serve (f);
  g_assert_true (is_dirty (&log, DATA_PAGE));
  g_assert_false (is_dirty (&log, USED_PAGE)); /* L2 */
  g_assert_cmpuint (set_used_log (f, VHOST_WIRE_VRING_F_LOG, HAND_USED), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_dirty (&log, USED_PAGE));
  g_assert_cmpuint (set_log_all (f, FALSE), ==, 0); /* L4 */
  memset (log.bytes, 0, LOG_SIZE);
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_clean (&log));
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  serve (f);
  g_assert_true (is_dirty (&log, DATA_PAGE));
  free_log (&log);
}

static void
test_remembers_until_there_is_a_log (Fixture *f, gconstpointer data)
{
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  g_assert_true (is_dirty (&log, DATA_PAGE)); /* L11 */
  g_assert_false (f->session->log_pending);
  free_log (&log);
}

/* A device that was stopped and is started anew gets its log after its rings, or goes on with the
 * one that is there: nobody has said so yet. */
static void
test_a_new_start_marks_the_old_log_and_the_new (Fixture *f, gconstpointer data)
{
  Log old = new_log ();
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log (f, &old), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  g_assert_cmpuint (get_base (f, 0), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  start_ring (f, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_dirty (&old, DATA_PAGE));
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  g_assert_true (is_dirty (&log, DATA_PAGE));
  free_log (&old);
  free_log (&log);
}

/* A migration was cancelled; the next one switches the log on before it sends another one. */
static void
test_a_second_migration_gets_all_marks (Fixture *f, gconstpointer data)
{
  Log old = new_log ();
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log (f, &old), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  g_assert_cmpuint (set_log_all (f, FALSE), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  g_assert_true (is_dirty (&log, DATA_PAGE));
  free_log (&old);
  free_log (&log);
}

static void
test_another_log (Fixture *f, gconstpointer data)
{
  Log old = new_log ();
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log (f, &old), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_clean (&old)); /* L10 */
  g_assert_true (is_dirty (&log, DATA_PAGE));
  free_log (&old);
  free_log (&log);
}

static void
test_refuses_bad_logs (Fixture *f, gconstpointer data)
{
  Log log = new_log ();
  VhostWireLog place = { 2 * LOG_SIZE, 0 };
  guint64 size = LOG_SIZE;

  start_logged (f);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_BASE, &place, 16, &log.fd, 1), !=, 0);
  place = (VhostWireLog){ LOG_SIZE, G_MAXUINT64 - 100 };
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_BASE, &place, 16, &log.fd, 1), !=, 0);
  place = (VhostWireLog){ LOG_SIZE, 0 };
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_BASE, &place, 16, &f->kick_fd, 1), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_LOG_BASE, &place, 16), !=, 0);
  g_assert_null (f->session->log);
  /* The answer comes unasked, and only one. */
  send_message (f, VHOST_WIRE_SET_LOG_BASE, 0, &place, 16, NULL, 0);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_SET_LOG_BASE), !=, 0);
  send_message (f, VHOST_WIRE_SET_LOG_BASE, 0, &size, 8, &log.fd, 1);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_SET_LOG_BASE), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  send_message (f, VHOST_WIRE_SET_LOG_BASE, 0, &place, 16, &log.fd, 1); /* without bit 1 none */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  free_log (&log);
}

/* L8: guest addresses up to 128 MiB are in a log of 4096 bytes. */
static void
test_used_ring_must_fit (Fixture *f, gconstpointer data)
{
  const guint64 end = (guint64) LOG_SIZE * 8 * 4096;
  Log log = new_log ();

  start_logged (f);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  g_assert_cmpuint (set_used_log (f, 1, end - 68), ==, 0);
  g_assert_cmpuint (set_used_log (f, 1, end - 67), !=, 0);
  g_assert_cmpuint (set_used_log (f, 1, G_MAXUINT64 - 3), !=, 0);
  g_assert_cmpuint (set_used_log (f, 0, end), ==, 0);
  g_assert_cmpuint (get_base (f, 0), ==, 0);
  g_assert_cmpuint (set_used_log (f, 1, end), ==, 0); /* stopped: known later */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (set_used_log (f, 1, HAND_USED), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  {
    VhostWireLog small = { 8, 0 };

    g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_BASE, &small, 16, &log.fd, 1), !=, 0);
  }
  serve (f);
  wait_for_worker (f);
  g_assert_true (is_dirty (&log, USED_PAGE)); /* the one before is in use still */
  free_log (&log);
}

static void
test_tells_of_marks (Fixture *f, gconstpointer data)
{
  Log log = new_log ();
  int event = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  start_logged (f);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_FD, NULL, 0, &log.fd, 1), !=, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_LOG_FD, NULL, 0, &event, 1), ==, 0);
  g_assert_cmpuint (set_log (f, &log), ==, 0);
  serve (f);
  wait_for_worker (f);
  g_assert_false (is_readable (event));
  g_assert_cmpuint (set_log_all (f, TRUE), ==, 0);
  serve (f);
  ITERATE_UNTIL (is_readable (event)); /* L5 */
  free_log (&log);
  close (event);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("is-switched-on-and-off-while-rings-run", set_up, test_marks_while_running);
  ADD ("remembers-pages-until-there-is-a-log", set_up, test_remembers_until_there_is_a_log);
  ADD ("a-new-start-marks-the-old-log-and-the-new", set_up,
       test_a_new_start_marks_the_old_log_and_the_new);
  ADD ("a-second-migration-gets-all-marks", set_up, test_a_second_migration_gets_all_marks);
  ADD ("nothing-is-marked-in-a-replaced-log", set_up, test_another_log);
  ADD ("refuses-logs-that-do-not-fit-their-file", set_up, test_refuses_bad_logs);
  ADD ("the-used-ring-must-lie-inside-the-log", set_up, test_used_ring_must_fit);
  ADD ("writes-the-log-descriptor-after-marks", set_up, test_tells_of_marks);
  return g_test_run ();
}
