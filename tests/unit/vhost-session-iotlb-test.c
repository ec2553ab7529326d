/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's vIOMMU: updates, invalidations, and the questions that rings have. */
#include "session-peer.h"

#define TEST_AREA "session-iotlb"
#define IOVA G_GUINT64_CONSTANT (0x9000000000)
#define PLATFORM (FEATURES | VHOST_WIRE_BIT (VHOST_WIRE_F_ACCESS_PLATFORM))

static guint64
send_entry (Fixture *f, guint type, guint64 iova, guint64 size, guint64 user, guint access)
{
  VhostWireIotlb entry = { iova, size, user, (guint8) access, (guint8) type, { 0 } };

  send_message (f, VHOST_WIRE_IOTLB_MSG, 0, &entry, sizeof entry, NULL, 0);
  return receive_u64 (f, VHOST_WIRE_IOTLB_MSG); /* I2: unasked */
}

static guint64
update (Fixture *f, guint64 from, guint64 size)
{
  return send_entry (f, VHOST_WIRE_IOTLB_UPDATE, IOVA + (from - HAND_BASE), size,
                     HAND_USER + (from - HAND_BASE), 3);
}

static void
expect_iotlb (int channel, guint type, guint64 iova, guint access)
{
  VhostWireHeader header;
  VhostWireIotlb entry;

  read_exactly (channel, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, VHOST_WIRE_BACKEND_IOTLB_MSG);
  g_assert_cmpuint (header.size, ==, sizeof entry);
  read_exactly (channel, &entry, sizeof entry);
  g_assert_cmpuint (entry.type, ==, type);
  g_assert_cmphex (entry.iova, ==, iova);
  g_assert_cmpuint (entry.access, ==, access);
}

static void
answer (int channel)
{
  struct
  {
    VhostWireHeader header;
    guint64 value;
  } __attribute__ ((packed)) reply = { { VHOST_WIRE_BACKEND_IOTLB_MSG, 5, 8 }, 0 };

  g_assert_cmpint (write (channel, &reply, 20), ==, 20);
}

/* All I/O addresses are IOVA more than those of the hand-made ring's map. */
static void
start_behind (Fixture *f)
{
  VhostWireVringAddr addr = ring_addr (0);

  addr.descriptor += IOVA - HAND_USER;
  addr.available += IOVA - HAND_USER;
  addr.used += IOVA - HAND_USER;
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, PLATFORM), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_ERR, 0, f->err_fd), ==, 0);
}

static void
kick (Fixture *f)
{
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
}

static void
offer_behind (Fixture *f)
{
  hand_desc (&f->hand, 0, HAND_DATA - HAND_BASE + IOVA, 512, 2, 0);
  hand_offer (&f->hand, 0);
  g_assert_true (vhost_fd_notify (f->kick_fd));
}

/* The rings are translated, the data of the one request are not: that is asked for. */
static int
start_with_a_miss (Fixture *f)
{
  int channel;

  start_behind (f);
  channel = give_channel (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_DATA - HAND_BASE), ==, 0);
  kick (f);
  offer_behind (f);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, HAND_DATA - HAND_BASE + IOVA, 2);
  return channel;
}

static void
test_needs_the_feature (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_SIZE), !=, 0);
  g_assert_null (f->session->view);
}

static void
test_serves_what_was_translated_before (Fixture *f, gconstpointer data)
{
  VhostWireIotlb unpadded = { IOVA, HAND_SIZE, HAND_USER, 3, VHOST_WIRE_IOTLB_UPDATE, { 0 } };

  start_behind (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_IOTLB_MSG, &unpadded, 26), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_IOTLB_MSG, &unpadded, 28), !=, 0);
  kick (f);
  offer_behind (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_refuses_bad_entries (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, PLATFORM), ==, 0);
  g_assert_cmpuint (update (f, HAND_BASE, 4096), !=, 0); /* no memory yet */
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_MISS, IOVA, 4096, HAND_USER, 3), !=, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_ACCESS_FAIL, IOVA, 4096, HAND_USER, 3), !=, 0);
  g_assert_cmpuint (send_entry (f, 5, IOVA, 4096, HAND_USER, 3), !=, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_UPDATE, IOVA, 0, HAND_USER, 3), !=, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_UPDATE, IOVA, 4096, HAND_USER, 4), !=, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_UPDATE, IOVA, HAND_SIZE + 1, HAND_USER, 3), !=,
                    0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_UPDATE, G_MAXUINT64 - 10, 4096, HAND_USER, 3),
                    !=, 0);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_INVALIDATE, IOVA, 4096, 0, 0), ==, 0);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (f->session->iotlb), ==, 0);
}

static void
test_asks_and_goes_on (Fixture *f, gconstpointer data)
{
  int channel;

  start_behind (f);
  channel = give_channel (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_DATA - HAND_BASE), ==, 0); /* the rings */
  kick (f);
  offer_behind (f);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, HAND_DATA - HAND_BASE + IOVA, 2);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  g_assert_false (is_readable (channel)); /* asked once */
  g_assert_cmpuint (update (f, HAND_DATA, 4096), ==, 0);
  answer (channel);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (f->n_broken, ==, 0);
  close (channel);
}

/* The whole ring has no translation at its start. */
static void
test_asks_for_the_ring_itself (Fixture *f, gconstpointer data)
{
  int channel;

  start_behind (f);
  channel = give_channel (f);
  kick (f);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, HAND_DESC - HAND_BASE + IOVA, 1);
  offer_behind (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_SIZE), ==, 0);
  answer (channel);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  /* Taken away again; R13: the stop does not wait for the front-end. */
  g_assert_cmpuint (
      send_entry (f, VHOST_WIRE_IOTLB_INVALIDATE, HAND_DATA - HAND_BASE + IOVA, 4096, 0, 0), ==, 0);
  offer_behind (f);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, HAND_DATA - HAND_BASE + IOVA, 2);
  g_assert_cmpuint (get_base (f, 0), ==, 1);
  g_assert_cmpuint (f->n_broken, ==, 0);
  close (channel);
}

static void
test_what_does_not_exist_breaks_the_ring (Fixture *f, gconstpointer data)
{
  const guint64 iova = HAND_DATA - HAND_BASE + IOVA;
  int channel;

  channel = start_with_a_miss (f);
  answer (channel); /* I5: no update before it */
  ITERATE_UNTIL (f->n_broken == 1);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_ACCESS_FAIL, iova, 2);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  close (channel);
}

/* The channel asks for answers as was agreed when it came, whatever has been agreed since. */
static void
test_a_channel_keeps_its_ways (Fixture *f, gconstpointer data)
{
  const guint64 iova = HAND_DATA - HAND_BASE + IOVA;
  int channel;

  start_behind (f);
  channel = give_channel (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES,
                              ALL_PROTOCOL & ~VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_REPLY_ACK)),
                    ==, 0);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_DATA - HAND_BASE), ==, 0);
  kick (f);
  offer_behind (f);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, iova, 2);
  answer (channel);
  ITERATE_UNTIL (f->n_broken == 1);
  close (channel);
}

static gboolean
count (gpointer n)
{
  ++*(guint *) n;
  return G_SOURCE_CONTINUE;
}

/* Another device of this main context has always something to do. */
static void
test_what_does_not_exist_is_judged_in_a_busy_main_context (Fixture *f, gconstpointer data)
{
  guint n = 0;
  guint busy = g_timeout_add_full (G_PRIORITY_DEFAULT, 0, count, &n, NULL);
  int channel;

  channel = start_with_a_miss (f);
  answer (channel);
  ITERATE_UNTIL (f->n_broken == 1);
  g_assert_cmpuint (n, >, 0);
  g_source_remove (busy);
  close (channel);
}

/* A message that has come in part may be the UPDATE. */
static void
test_an_update_that_is_still_coming_counts (Fixture *f, gconstpointer data)
{
  const VhostWireHeader header
      = { VHOST_WIRE_IOTLB_MSG, VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_NEED_REPLY,
          sizeof (VhostWireIotlb) };
  const VhostWireIotlb entry
      = { HAND_DATA - HAND_BASE + IOVA, 4096, HAND_DATA - HAND_BASE + HAND_USER, 3,
          VHOST_WIRE_IOTLB_UPDATE,      { 0 } };
  int channel;

  channel = start_with_a_miss (f);
  g_assert_cmpint (write (f->peer, &header, sizeof header), ==, sizeof header);
  answer (channel);
  ITERATE_UNTIL (f->session->miss_delayed);
  g_assert_cmpint (write (f->peer, &entry, sizeof entry), ==, sizeof entry);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_IOTLB_MSG), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (f->n_broken, ==, 0);
  close (channel);
}

/* The address has had its translation, and has lost it again. */
static void
test_an_old_answer_is_none_to_a_new_question (Fixture *f, gconstpointer data)
{
  const guint64 iova = HAND_DATA - HAND_BASE + IOVA;
  int channel;

  channel = start_with_a_miss (f);
  g_assert_cmpuint (update (f, HAND_DATA, 4096), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_INVALIDATE, iova, 4096, 0, 0), ==, 0);
  offer_behind (f);
  ITERATE_UNTIL (f->session->n_misses == 2);
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, iova, 2);
  answer (channel); /* to the first one */
  ITERATE_UNTIL (f->session->n_misses == 1);
  g_assert_null (f->session->miss_source); /* no verdict is due */
  g_assert_false (f->session->vrings[0].miss_answered);
  g_assert_cmpuint (update (f, HAND_DATA, 4096), ==, 0);
  answer (channel);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  g_assert_cmpuint (f->n_broken, ==, 0);
  close (channel);
}

/* Both are there at once; the order of the sockets must not count. */
static void
test_an_update_before_the_answer_counts (Fixture *f, gconstpointer data)
{
  VhostWireIotlb entry = { HAND_DATA - HAND_BASE + IOVA, 4096, HAND_DATA - HAND_BASE + HAND_USER, 3,
                           VHOST_WIRE_IOTLB_UPDATE,      { 0 } };
  int channel;

  channel = start_with_a_miss (f);
  for (guint i = 0; i < 50; i++) /* messages that wait for the worker come first */
    send_message (f, VHOST_WIRE_SET_VRING_ENABLE, 0, &(VhostWireVringState){ 0, 1 }, 8, NULL, 0);
  send_message (f, VHOST_WIRE_IOTLB_MSG, 0, &entry, sizeof entry, NULL, 0);
  answer (channel);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_IOTLB_MSG), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (f->n_broken, ==, 0);
  close (channel);
}

static void
test_asks_again_on_another_channel (Fixture *f, gconstpointer data)
{
  const guint64 iova = HAND_DATA - HAND_BASE + IOVA;
  int channel, other;

  start_behind (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_DATA - HAND_BASE), ==, 0);
  kick (f);
  offer_behind (f);
  wait_for_worker (f);
  channel = give_channel (f); /* only now */
  expect_iotlb (channel, VHOST_WIRE_IOTLB_MISS, iova, 2);
  other = give_channel (f);
  expect_iotlb (other, VHOST_WIRE_IOTLB_MISS, iova, 2);
  g_assert_cmpuint (update (f, HAND_DATA, 4096), ==, 0);
  answer (other);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  close (channel);
  close (other);
}

static void
test_features_begin_anew (Fixture *f, gconstpointer data)
{
  start_behind (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_SIZE), ==, 0);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (f->session->iotlb), ==, 1);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, PLATFORM), ==, 0);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (f->session->iotlb), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_null (f->session->view);
}

/* Everything is translated, and the device keeps the one request that there is. */
static void
hold_a_request (Fixture *f)
{
  atomic_store (&f->device->hold, TRUE);
  start_behind (f);
  g_assert_cmpuint (update (f, HAND_BASE, HAND_SIZE), ==, 0);
  kick (f);
  offer_behind (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
}

static void
assert_answer_waits (Fixture *f, const VhostWireIotlb *entry)
{
  send_message (f, VHOST_WIRE_IOTLB_MSG, 0, entry, sizeof *entry, NULL, 0);
  ITERATE_UNTIL (f->session->busy);
  /* The command has run there, and whatever it has answered is taken up. */
  wait_for_worker (f);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_false (is_readable (f->peer));
  g_assert_true (f->session->busy);
  post_completion (f);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_IOTLB_MSG), ==, 0);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
}

/* The request's page goes: the answer waits for its end. Another page goes: it does not. */
static void
test_an_invalidation_waits_for_its_requests (Fixture *f, gconstpointer data)
{
  VhostWireIotlb entry
      = { .iova = HAND_DATA - HAND_BASE + IOVA, .size = 4096, .type = VHOST_WIRE_IOTLB_INVALIDATE };

  hold_a_request (f);
  g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_INVALIDATE, entry.iova + 4096, 4096, 0, 0), ==,
                    0);
  assert_answer_waits (f, &entry);
}

static gpointer
split_all (gpointer chain)
{
  guint n = 0;

  while (vhost_chain_split_status (chain) != NULL)
    n++;
  return GUINT_TO_POINTER (n);
}

/* Bytes that the device has taken for its status are in use as well, also while it takes them. */
static void
test_an_invalidation_waits_for_a_status (Fixture *f, gconstpointer data)
{
  VhostWireIotlb entry = { .iova = HAND_DATA - HAND_BASE + IOVA + 511,
                           .size = 1,
                           .type = VHOST_WIRE_IOTLB_INVALIDATE };
  GThread *thread;

  hold_a_request (f);
  thread = g_thread_new ("device", split_all, f->device->held[0]);
  for (guint i = 0; i < 20; i++)
    g_assert_cmpuint (send_entry (f, VHOST_WIRE_IOTLB_INVALIDATE, entry.iova + 8192 + i, 1, 0, 0),
                      ==, 0);
  g_assert_cmpuint (GPOINTER_TO_UINT (g_thread_join (thread)), ==, 512);
  assert_answer_waits (f, &entry);
}

/* The request's page leads elsewhere, or may only be read: the answer waits. The same once more,
 * for its neighbour, or with more rights: it does not. */
static void
an_update_waits (Fixture *f, gboolean leads_elsewhere)
{
  VhostWireIotlb entry = { .iova = HAND_DATA - HAND_BASE + IOVA,
                           .size = 4096,
                           .user_address = HAND_DATA - HAND_BASE + HAND_USER,
                           .access = 3,
                           .type = VHOST_WIRE_IOTLB_UPDATE };

  hold_a_request (f);
  g_assert_cmpuint (update (f, HAND_DATA, 4096), ==, 0);
  g_assert_cmpuint (
      send_entry (f, entry.type, entry.iova + 4096, 4096, entry.user_address + 8192, 1), ==, 0);
  g_assert_cmpuint (update (f, HAND_DATA + 4096, 4096), ==, 0);
  entry.user_address += leads_elsewhere ? 4096 : 0;
  entry.access = leads_elsewhere ? 3 : 1;
  assert_answer_waits (f, &entry);
}

static void
test_an_update_that_leads_elsewhere_waits (Fixture *f, gconstpointer data)
{
  an_update_waits (f, TRUE);
}

static void
test_an_update_that_forbids_waits (Fixture *f, gconstpointer data)
{
  an_update_waits (f, FALSE);
}

static void
test_an_invalidation_does_not_wait_for_ever (Fixture *f, gconstpointer data)
{
  VhostWireIotlb entry = { .type = VHOST_WIRE_IOTLB_INVALIDATE };

  hold_a_request (f);
  send_message (f, VHOST_WIRE_IOTLB_MSG, 0, &entry, sizeof entry, NULL, 0); /* all */
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("is-refused-without-its-feature", set_up, test_needs_the_feature);
  ADD ("serves-what-was-translated-before", set_up, test_serves_what_was_translated_before);
  ADD ("refuses-entries-that-cannot-be", set_up, test_refuses_bad_entries);
  ADD ("I3-BACKEND_IOTLB_MSG-asks-once-for-what-is-missing", set_up, test_asks_and_goes_on);
  ADD ("asks-for-the-ring-itself", set_up, test_asks_for_the_ring_itself);
  ADD ("what-does-not-exist-breaks-the-ring", set_up, test_what_does_not_exist_breaks_the_ring);
  ADD ("a-channel-keeps-its-ways", set_up, test_a_channel_keeps_its_ways);
  ADD ("what-does-not-exist-is-judged-in-a-busy-main-context", set_up,
       test_what_does_not_exist_is_judged_in_a_busy_main_context);
  ADD ("an-update-that-is-still-coming-counts", set_up, test_an_update_that_is_still_coming_counts);
  ADD ("an-old-answer-is-none-to-a-new-question", set_up,
       test_an_old_answer_is_none_to_a_new_question);
  ADD ("an-update-before-the-answer-counts", set_up, test_an_update_before_the_answer_counts);
  ADD ("asks-again-on-another-channel", set_up, test_asks_again_on_another_channel);
  ADD ("an-invalidation-waits-for-its-requests", set_up,
       test_an_invalidation_waits_for_its_requests);
  ADD ("an-invalidation-waits-for-a-status", set_up, test_an_invalidation_waits_for_a_status);
  ADD ("an-update-that-leads-elsewhere-waits-for-its-requests", set_up,
       test_an_update_that_leads_elsewhere_waits);
  ADD ("an-update-that-forbids-waits-for-its-requests", set_up, test_an_update_that_forbids_waits);
  ADD ("an-invalidation-does-not-wait-for-ever", set_up_impatient,
       test_an_invalidation_does_not_wait_for_ever);
  ADD ("setting-features-forgets-translations", set_up, test_features_begin_anew);
  return g_test_run ();
}
