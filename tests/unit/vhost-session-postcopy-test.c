/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSTCOPY_ADVISE, LISTEN and END as the session answers them, and what waits in between. Most of
 * it is skipped where the host allows no userfaultfd. */
#define WITH_POSTCOPY TRUE
#include "session-peer.h"

#define TEST_AREA "session-postcopy"
#define PAGEFAULT VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_PAGEFAULT)

#define SKIP()                                                                                     \
  if (!vhost_postcopy_is_possible ())                                                              \
    {                                                                                              \
      g_test_skip ("this host allows no userfaultfd");                                             \
      return;                                                                                      \
    }

static void
begin (Fixture *f)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL | PAGEFAULT), ==,
                    0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
}

/* The userfaultfd; -1: refused. */
static int
advise (Fixture *f)
{
  guint8 payload[8];
  int fd;

  send_message (f, VHOST_WIRE_POSTCOPY_ADVISE, 0, NULL, 0, NULL, 0);
  receive_fd_reply (f, VHOST_WIRE_POSTCOPY_ADVISE, payload, sizeof payload, &fd);
  return fd;
}

static guint64
listen_now (Fixture *f)
{
  return call (f, VHOST_WIRE_POSTCOPY_LISTEN, NULL, 0);
}

static guint64
end_now (Fixture *f)
{
  return get_u64 (f, VHOST_WIRE_POSTCOPY_END);
}

/* The table, and the back-end's answer: its own addresses. */
static VhostWireMemTable
set_table (Fixture *f)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };
  VhostWireMemTable bases = { 0 };

  send_message (f, VHOST_WIRE_SET_MEM_TABLE, NEED_REPLY, &table, 40, &f->hand.fd, 1);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_SET_MEM_TABLE, &bases, sizeof bases), ==, 40);
  return bases;
}

static void
acknowledge (Fixture *f)
{
  guint64 zero = 0;

  send_message (f, VHOST_WIRE_SET_MEM_TABLE, 0, &zero, sizeof zero, NULL, 0);
}

static void
test_not_inline (Fixture *f, gconstpointer data)
{
  /* A missing page would stop the main loop for as long as the front-end likes. */
  g_object_set (f->device, "workers", 0, NULL);
  g_assert_cmphex (get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES) & PAGEFAULT, ==, 0);
}

static void
test_needs_feature (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpint (advise (f), ==, -1);
  g_assert_cmpuint (listen_now (f), !=, 0);
  g_assert_cmpuint (end_now (f), !=, 0);
  g_assert_null (f->session->postcopy);
}

static void
test_order (Fixture *f, gconstpointer data)
{
  int fd;

  SKIP ();
  begin (f);
  g_assert_cmpuint (listen_now (f), !=, 0);
  g_assert_cmpuint (end_now (f), !=, 0);
  fd = advise (f);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  fd = advise (f); /* thought anew */
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  g_assert_cmpuint (listen_now (f), ==, 0);
  g_assert_cmpint (advise (f), ==, -1);
  g_assert_cmpuint (end_now (f), ==, 0);
  g_assert_cmpuint (end_now (f), !=, 0);
  g_assert_null (f->session->postcopy);
}

static void
test_bases (Fixture *f, gconstpointer data)
{
  VhostWireMemTable bases;

  SKIP ();
  begin (f);
  close (advise (f));
  g_assert_cmpuint (listen_now (f), ==, 0);
  bases = set_table (f);
  g_assert_cmpuint (bases.n_regions, ==, 1);
  g_assert_cmphex (bases.regions[0].guest_addr, ==, HAND_BASE);
  g_assert_cmphex (bases.regions[0].user_addr, ==, /* P5 */
                   (guintptr) vhost_memory_lookup (f->session->memory, HAND_BASE)->host);
  g_assert_true (f->session->postcopy_ack_due);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 0);
  acknowledge (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (f->session->postcopy_ack_due);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 1); /* only now may it look */
  g_assert_cmpuint (end_now (f), ==, 0);
}

/* The acknowledgement never comes: the end of the migration stands for it. */
static void
test_end_without_ack (Fixture *f, gconstpointer data)
{
  SKIP ();
  begin (f);
  close (advise (f));
  g_assert_cmpuint (listen_now (f), ==, 0);
  set_table (f);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 0);
  g_assert_cmpuint (end_now (f), ==, 0);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 1);
  g_assert_false (f->session->postcopy_ack_due);
}

static void
test_changes_under_rings (Fixture *f, gconstpointer data)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };

  SKIP ();
  begin (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  close (advise (f));
  g_assert_cmpuint (listen_now (f), ==, 0); /* P7: what came before */
  send_message (f, VHOST_WIRE_SET_MEM_TABLE, NEED_REPLY, &table, 40, &f->hand.fd, 1);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_SET_MEM_TABLE, &table, sizeof table), ==, 0);
  g_assert_false (f->session->postcopy_ack_due);
  g_assert_cmpuint (end_now (f), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

/* @data: "unacknowledged". */
static void
test_session_ends (Fixture *f, gconstpointer data)
{
  guint n_fds;

  SKIP ();
  begin (f);
  n_fds = count_fds ();
  close (advise (f));
  g_assert_cmpuint (listen_now (f), ==, 0);
  set_table (f);
  if (data == NULL)
    acknowledge (f);
  end_session (f);
  g_assert_cmpuint (count_fds (), <=, n_fds); /* nor the userfaultfd */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("is-not-offered-where-the-main-loop-serves", set_up, test_not_inline);
  ADD ("messages-need-their-feature", set_up, test_needs_feature);
  ADD ("P1-P4-messages-have-an-order", set_up, test_order);
  ADD ("P5-P6-the-front-end-is-told-where-memory-lies", set_up, test_bases);
  ADD ("P3-the-end-needs-no-acknowledgement", set_up, test_end_without_ack);
  ADD ("P7-memory-stays-while-rings-run", set_up, test_changes_under_rings);
  g_test_add ("/" TEST_AREA "/the-end-of-the-session-ends-it", Fixture, NULL, set_up,
              test_session_ends, tear_down);
  g_test_add ("/" TEST_AREA "/the-end-of-the-session-ends-it-unacknowledged", Fixture,
              "unacknowledged", set_up, test_session_ends, tear_down);
  return g_test_run ();
}
