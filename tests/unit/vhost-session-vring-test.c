/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's rings: set-up, start, stop, and what a driver breaks. */
#include "session-peer.h"

#define TEST_AREA "session-vring"

static void
test_ring_limits (Fixture *f, gconstpointer data)
{
  static const guint32 bad[] = { 0, 3, 65536, G_MAXUINT32 };
  VhostWireVringAddr addr = ring_addr (N_QUEUES);

  negotiate (f);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, bad[i]), !=, 0); /* V1 */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, N_QUEUES, 8), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 256, 8), !=,
                    0); /* not cut to 8 bits */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 65536), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 2), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, N_QUEUES, 1), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, N_QUEUES, f->call_fd), !=, 0);
}

static void
test_notifier_kinds (Fixture *f, gconstpointer data)
{
  guint64 no_fd = VHOST_WIRE_VRING_NO_FD;
  guint64 with_fd = 0;
  int pipes[2];

  g_assert_cmpint (pipe2 (pipes, O_CLOEXEC), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->hand.fd), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->peer), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->hand.fd), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, pipes[1]), ==, 0);
  g_assert_cmpint (fcntl (pipes[1], F_GETFL) & O_NONBLOCK, !=, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_VRING_CALL, &no_fd, sizeof no_fd, &f->call_fd, 1),
                    !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_CALL, &with_fd, sizeof with_fd), !=, 0);
  close (pipes[0]);
  close (pipes[1]);
}

static void
test_serves (Fixture *f, gconstpointer data)
{
  guint32 id, len;

  start_device (f);
  g_assert_cmpuint (f->device->n_activations, ==, 1);
  offer (f);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  hand_used (&f->hand, 1, &id, &len);
  g_assert_cmpuint (id, ==, 1);
  g_assert_cmpuint (len, ==, 3);
  ITERATE_UNTIL (is_readable (f->call_fd));
  ITERATE_UNTIL (atomic_load (&f->n_kicked) > 0);
  g_assert_cmpuint (get_base (f, 0), ==, 2);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_started), ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
  /* A stopped ring answers again, and starts again where it was, with the same call descriptor
   * (R7). */
  g_assert_cmpuint (get_base (f, 0), ==, 2);
  hand_read_event (f->call_fd);
  offer (f);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 3);
  ITERATE_UNTIL (is_readable (f->call_fd));
  g_assert_cmpuint (f->device->n_activations, ==, 2);
}

static void
test_disabled_until_enabled (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  offer (f);
  g_assert_cmpint (vhost_queue_get_state (vhost_session_get_queue (f->session, 0)), ==,
                   VHOST_QUEUE_STATE_STARTED);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_enabled_without_bit_30 (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, VHOST_WIRE_BIT (VHOST_WIRE_F_VERSION_1)),
                    ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 0), !=, 0); /* not negotiated */
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_running_ring_stays (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);
  int kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  start_device (f);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, 4), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 4), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0); /* R9 */
  addr.used += 64;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | 1u << 29), !=, 0);
  /* R16: another kick descriptor and nothing else */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, kick_fd), ==, 0);
  g_assert_cmpuint (f->device->n_activations, ==, 1);
  close (f->kick_fd);
  f->kick_fd = kick_fd;
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  /* another call descriptor */
  close (f->call_fd);
  f->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->call_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (is_readable (f->call_fd));
}

static void
test_kick_needs_all (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  negotiate (f);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  addr.used++; /* V2 */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (f->device->n_activations, ==, f->device->n_suspends);
  start_ring (f, 0); /* no trace of all that */
}

static void
test_busy_activation (Fixture *f, gconstpointer data)
{
  f->device->busy = 3;
  start_device (f);
  g_assert_cmpuint (f->device->n_activations, ==, 4);
  g_assert_cmpuint (get_base (f, 0), ==, 0);
  f->device->busy = G_MAXUINT;
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (f->device->n_activations, ==, 24);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
}

static void
test_get_base_waits (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);
  VhostWireVringState state = { 0, 0 };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  send_message (f, VHOST_WIRE_GET_FEATURES, 0, NULL, 0, NULL, 0); /* must wait its turn */
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  g_assert_false (is_readable (f->peer));
  post_completion (f);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, &state, sizeof state), ==, 8);
  g_assert_cmpuint (state.num, ==, 1);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  g_assert_cmphex (receive_u64 (f, VHOST_WIRE_GET_FEATURES), !=, 0);
}

static void
break_ring (Fixture *f)
{
  hand_desc (&f->hand, f->hand.avail_idx % RING_SIZE, HAND_BASE + HAND_SIZE, 512, 2, 0);
  hand_offer (&f->hand, f->hand.avail_idx % RING_SIZE);
  vhost_fd_notify (f->kick_fd);
}

static void
test_broken_ring (Fixture *f, gconstpointer data)
{
  int channel;

  start_device (f);
  channel = give_channel (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 15), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  break_ring (f);
  ITERATE_UNTIL (f->n_broken == 1);
  ITERATE_UNTIL (is_readable (f->err_fd));
  expect_config_change (channel); /* V47 */
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 15 | 64);
  g_assert_cmpuint (get_base (f, 0), ==, 1); /* V48: the bad entry */

  hand_set_avail_index (&f->hand, 1);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 1), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 15);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  close (channel);
}

/* V48: without GET_VRING_BASE in between. */
static void
test_broken_ring_set_up_again (Fixture *f, gconstpointer data)
{
  start_device (f);
  break_ring (f);
  ITERATE_UNTIL (f->n_broken == 1);
  hand_set_avail_index (&f->hand, 0);
  describe_ring (f, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (atomic_load (&f->device->n_started), ==, 2);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
}

static void
negotiate_packed (Fixture *f)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES,
                              ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CROSS_ENDIAN)),
                    ==, 0);
  g_assert_cmpuint (
      call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED)),
      ==, 0);
}

static void
test_packed_positions (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  negotiate_packed (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmphex (get_base (f, 0), ==, 0x80008000);                        /* V7 */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, 7), ==, 0); /* V1 */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  g_assert_cmphex (get_base (f, 0), ==, 0x80008000);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0x80060003), ==, 0);
  g_assert_cmphex (get_base (f, 0), ==, 0x80060003);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  g_assert_cmphex (get_base (f, 0), ==, 0x80060003);
  /* Positions that a ring of 7 does not have, one each. */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0x80060007), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0x80078000), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  g_assert_cmphex (get_base (f, 0), ==, 0x80008000);
}

/* What came before the features is checked by them when the ring starts. */
static void
test_layout_comes_last (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, 7), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0x80008000), ==, 0);
  negotiate (f); /* split */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, 7), !=, 0);
  negotiate_packed (f);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 0x80008000), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
}

static void
test_endian (Fixture *f, gconstpointer data)
{
  VhostQueueSetup setup = { 0 };
  const guint64 protocol = ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CROSS_ENDIAN);
  const guint64 legacy = VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES);
  GError *error = NULL;

  negotiate (f);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENDIAN, 0, 1), !=, 0); /* bit 6 */
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, protocol), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENDIAN, 0, 2), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENDIAN, 0, 1), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  describe_ring (f, 0);
  describe_ring (f, 1);
  g_assert_true (vhost_session_prepare_setup (f->session, &f->session->vrings[0], &setup, &error));
  g_assert_false (setup.big_endian); /* VERSION_1: V5 */
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, legacy), ==, 0);
  g_assert_true (vhost_session_prepare_setup (f->session, &f->session->vrings[0], &setup, &error));
  g_assert_true (setup.big_endian);
  g_assert_true (vhost_session_prepare_setup (f->session, &f->session->vrings[1], &setup, &error));
  g_assert_cmpint (setup.big_endian, ==, G_BYTE_ORDER == G_BIG_ENDIAN);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENDIAN, 0, 0), !=, 0); /* it runs */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("packed-rings-have-two-positions", set_up, test_packed_positions);
  ADD ("size-and-base-may-come-before-the-layout", set_up, test_layout_comes_last);
  ADD ("byte-order-is-for-rings-without-version-1", set_up, test_endian);
  ADD ("refuses-impossible-rings", set_up, test_ring_limits);
  ADD ("takes-only-eventfds-and-pipes-for-notifications", set_up, test_notifier_kinds);
  ADD ("serves-a-ring-and-starts-it-again-where-it-stopped", set_up, test_serves);
  ADD ("takes-nothing-from-a-ring-that-is-not-enabled", set_up, test_disabled_until_enabled);
  ADD ("enables-all-rings-for-a-front-end-without-bit-30", set_up, test_enabled_without_bit_30);
  ADD ("changes-only-descriptors-of-a-running-ring", set_up, test_running_ring_stays);
  ADD ("starts-no-ring-before-all-is-known", set_up, test_kick_needs_all);
  ADD ("tries-a-busy-device-again-for-a-second", set_up, test_busy_activation);
  ADD ("answers-get-vring-base-when-requests-have-ended", set_up, test_get_base_waits);
  ADD ("shows-a-broken-ring-and-heals-it", set_up, test_broken_ring);
  ADD ("heals-a-broken-ring-without-a-stop", set_up, test_broken_ring_set_up_again);
  ADD_INLINE ("serves-a-ring-and-starts-it-again-where-it-stopped", set_up, test_serves);
  ADD_INLINE ("answers-get-vring-base-when-requests-have-ended", set_up, test_get_base_waits);
  ADD_INLINE ("shows-a-broken-ring-and-heals-it", set_up, test_broken_ring);
  return g_test_run ();
}
