/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifications as messages: kicks, calls, errors, and that a descriptor is preferred. */
#include "session-peer.h"

#define TEST_AREA "session-inband"
#define IN_BAND (ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS))

static guint64
kick_in_band (Fixture *f)
{
  return call_state (f, VHOST_WIRE_VRING_KICK, 0, 0);
}

static void
expect_state (int channel, guint request)
{
  VhostWireHeader header;
  VhostWireVringState state;

  read_exactly (channel, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmpuint (header.size, ==, sizeof state);
  read_exactly (channel, &state, sizeof state);
  g_assert_cmpuint (state.index, ==, 0);
  g_assert_cmpuint (state.num, ==, 0);
}

static void
answer (int channel, guint request)
{
  struct
  {
    VhostWireHeader header;
    guint64 value;
  } __attribute__ ((packed)) reply = { { request, 5, 8 }, 0 };

  g_assert_cmpint (write (channel, &reply, 20), ==, 20);
}

/* Started by message, without any descriptor. */
static int
start_in_band (Fixture *f)
{
  int channel;

  f->session->in_band = TRUE;
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, IN_BAND), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  channel = give_channel (f);
  g_assert_cmpuint (kick_in_band (f), !=, 0); /* what a start needs is missing */
  describe_ring (f, 0);
  g_assert_cmpuint (kick_in_band (f), ==, 0); /* R4 */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  return channel;
}

static void
put (Fixture *f, guint64 address)
{
  guint head = f->hand.avail_idx % RING_SIZE;

  hand_desc (&f->hand, head, address, 512, 2, 0);
  hand_offer (&f->hand, head);
}

static void
test_offered_on_demand (Fixture *f, gconstpointer data)
{
  const guint64 bit = VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INBAND_NOTIFICATIONS);

  g_assert_cmphex (get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES) & bit, ==, 0);
  f->session->in_band = TRUE;
  g_assert_cmphex (get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES) & bit, !=, 0);
  negotiate (f);
  g_assert_cmpuint (kick_in_band (f), !=, 0);
}

static void
test_needs_the_way_back (Fixture *f, gconstpointer data)
{
  guint64 features = IN_BAND
                     & ~VHOST_WIRE_BIT (data == NULL ? VHOST_WIRE_PROTOCOL_REPLY_ACK
                                                     : VHOST_WIRE_PROTOCOL_BACKEND_REQ);

  f->session->in_band = TRUE;
  send_message (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, 0, &features, sizeof features, NULL, 0);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_PROTOCOL); /* E1 */
}

static void
test_kicks_and_calls (Fixture *f, gconstpointer data)
{
  int channel = start_in_band (f);

  put (f, HAND_DATA);
  g_assert_cmpuint (kick_in_band (f), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  expect_state (channel, VHOST_WIRE_BACKEND_VRING_CALL);
  /* Not answered yet: the next ones are one. */
  for (guint i = 2; i < 5; i++)
    {
      put (f, HAND_DATA);
      g_assert_cmpuint (kick_in_band (f), ==, 0);
      ITERATE_UNTIL (hand_used_index (&f->hand) == i);
      wait_for_worker (f);
    }
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (is_readable (channel));
  answer (channel, VHOST_WIRE_BACKEND_VRING_CALL);
  expect_state (channel, VHOST_WIRE_BACKEND_VRING_CALL);
  /* What is held back when the ring stops goes out before the answer. */
  put (f, HAND_DATA);
  g_assert_cmpuint (kick_in_band (f), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 5);
  g_assert_cmpuint (get_base (f, 0), ==, 5);
  g_assert_true (is_readable (channel));
  expect_state (channel, VHOST_WIRE_BACKEND_VRING_CALL);
  g_assert_false (is_readable (channel));
  g_assert_cmpuint (kick_in_band (f), ==, 0); /* R7 */
  g_assert_cmpint (vhost_queue_get_state (vhost_session_get_queue (f->session, 0)), ==,
                   VHOST_QUEUE_STATE_ENABLED);
  close (channel);
}

static void
test_descriptors_are_preferred (Fixture *f, gconstpointer data)
{
  int channel = start_in_band (f);

  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->call_fd), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0); /* R16 */
  offer (f);
  ITERATE_UNTIL (is_readable (f->call_fd)); /* R15 */
  vhost_fd_drain (f->call_fd);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, -1), ==, 0); /* V40: polls */
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  wait_for_worker (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (is_readable (channel));
  g_assert_cmpuint (get_base (f, 0), ==, 2);
  g_assert_cmpuint (kick_in_band (f), ==, 0);
  put (f, HAND_DATA);
  g_assert_cmpuint (kick_in_band (f), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 3);
  g_assert_cmpuint (get_base (f, 0), ==, 3);
  g_assert_false (is_readable (channel)); /* still polled */
  close (channel);
}

static void
test_errors (Fixture *f, gconstpointer data)
{
  int channel = start_in_band (f);

  put (f, HAND_BASE + HAND_SIZE); /* not in the memory */
  g_assert_cmpuint (kick_in_band (f), ==, 0);
  ITERATE_UNTIL (f->n_broken == 1);
  expect_state (channel, VHOST_WIRE_BACKEND_VRING_ERR);
  close (channel);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("is-offered-on-demand-only", set_up, test_offered_on_demand);
  g_test_add ("/session-inband/closes-without-reply-ack", Fixture, NULL, set_up,
              test_needs_the_way_back, tear_down);
  g_test_add ("/session-inband/closes-without-backend-req", Fixture, "without-channel", set_up,
              test_needs_the_way_back, tear_down);
  ADD ("kicks-and-calls-are-messages", set_up, test_kicks_and_calls);
  ADD ("descriptors-and-polling-are-preferred", set_up, test_descriptors_are_preferred);
  ADD ("errors-are-messages", set_up, test_errors);
  return g_test_run ();
}
