/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's memory: tables, regions, rings that lie in them or not. */
#include "session-peer.h"

#define TEST_AREA "session-memory"

static void
test_no_shared_memory (Fixture *f, gconstpointer data)
{
  VhostWireMemTable table = { 0 };

  negotiate (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_MEM_TABLE, &table, 8), ==, 0);
  describe_ring (f, 0);
  g_test_expect_message (
      "Vhost", G_LOG_LEVEL_WARNING,
      "*(pid *): the front-end shares no guest memory*memory-backend-memfd*share=on*libvirt*");
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_test_assert_expected_messages ();
  /* said once */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  table.n_regions = 1;
  table.regions[0] = (VhostWireRegion){ HAND_BASE, HAND_SIZE, HAND_USER, 0 };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40), !=, 0);
}

static void
test_ring_outside_memory (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  addr.available = HAND_USER + HAND_SIZE - 8; /* its end is outside */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0); /* R17 */
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*available ring of ring 0*share=on*");
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_test_assert_expected_messages ();
  g_assert_cmpuint (f->device->n_activations, ==, 0);
}

static void
test_guest_addresses (Fixture *f, gconstpointer data)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };
  VhostWireVringAddr addr = { 0, 0, HAND_DESC, HAND_USED, HAND_AVAIL, 0 };

  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL | 1u << 21), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1), !=, 0);
  table.regions[0].user_addr = HAND_BASE;
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_memory_slots (Fixture *f, gconstpointer data)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, 0 } };
  VhostWireSingleRegion unknown = { 0, { HAND_BASE + 1, HAND_SIZE, HAND_USER, 0 } };

  negotiate (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_REM_MEM_REG, &region, sizeof region), !=, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &f->hand.fd, 1),
                    ==, 0);
  g_assert_cmpuint (vhost_memory_get_n_regions (vhost_session_get_memory (f->session)), ==, 1);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &f->hand.fd, 1),
                    !=, 0); /* M7 */
  g_assert_cmpuint (call (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_REM_MEM_REG, &unknown, sizeof unknown), !=, 0);
  region.region.mmap_offset = 4096; /* not looked at */
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_REM_MEM_REG, &region, sizeof region, &f->hand.fd, 1),
                    ==, 0);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 2);
}

static void
test_rem_waits (Fixture *f, gconstpointer data)
{
  int other = memfd_create ("other", MFD_CLOEXEC);
  VhostWireSingleRegion region = { 0, { HAND_BASE + (1 << 30), 4096, HAND_USER + (1 << 30), 0 } };

  g_assert_cmpint (ftruncate (other, 4096), ==, 0);
  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &other, 1), ==, 0);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_REM_MEM_REG, NEED_REPLY, &region, sizeof region, NULL, 0);
  ITERATE_UNTIL (f->session->busy);
  wait_for_worker (f); /* so the command has run there */
  g_assert_false (is_readable (f->peer));
  g_assert_true (f->session->busy);
  post_completion (f);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_REM_MEM_REG), ==, 0);
  close (other);
}

static void
test_rem_timeout (Fixture *f, gconstpointer data)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, 0 } };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_REM_MEM_REG, NEED_REPLY, &region, sizeof region, NULL, 0);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
}

static void
test_table_under_running_ring (Fixture *f, gconstpointer data)
{
  start_device (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 2);
}

static void
test_file_shrinks (Fixture *f, gconstpointer data)
{
  start_device (f);
  g_assert_cmpint (ftruncate (f->hand.fd, 0), ==, 0);
  g_assert_true (vhost_fd_notify (f->kick_fd));
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY);
  /* The device is free for the next front-end. */
  g_assert_finalize_object (g_steal_pointer (&f->session));
  vhost_fd_clear (&f->peer);
  f->n_closed = 0;
  g_assert_cmpint (ftruncate (f->hand.fd, HAND_SIZE), ==, 0);
  connect_session (f, 1000);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("tells-how-to-share-memory", set_up, test_no_shared_memory);
  ADD ("refuses-a-ring-outside-memory", set_up, test_ring_outside_memory);
  ADD ("takes-guest-addresses-when-negotiated", set_up, test_guest_addresses);
  ADD ("adds-and-removes-regions", set_up, test_memory_slots);
  ADD ("answers-rem-mem-reg-when-requests-have-ended", set_up, test_rem_waits);
  ADD ("closes-when-a-removed-region-stays-in-use", set_up_impatient, test_rem_timeout);
  ADD ("changes-the-table-under-a-running-ring", set_up, test_table_under_running_ring);
  ADD_INLINE ("answers-rem-mem-reg-when-requests-have-ended", set_up, test_rem_waits);
  ADD ("closes-the-session-when-a-file-shrinks", set_up, test_file_shrinks);
  return g_test_run ();
}
