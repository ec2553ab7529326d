/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session: negotiation, answers, the end, and whatever a front-end may send. */
#include "session-peer.h"

#include <gio/gunixfdlist.h>

#define TEST_AREA "session"

static void
test_offers (Fixture *f, gconstpointer data)
{
  guint64 features = get_u64 (f, VHOST_WIRE_GET_FEATURES);
  /* PAGEFAULT (8) depends on the host. */
  guint64 protocol
      = get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES) & ~(G_GUINT64_CONSTANT (1) << 8); /* N1 */

  /* RING_RESET, IN_ORDER, RING_PACKED, ACCESS_PLATFORM, VERSION_1, PROTOCOL_FEATURES, EVENT_IDX,
   * INDIRECT_DESC, LOG_ALL, NOTIFY_ON_EMPTY and the device's own */
  g_assert_cmphex (features, ==,
                   G_GUINT64_CONSTANT (0x10f) << 32 | 1u << 30 | 1u << 29 | 1u << 28 | 1u << 26
                       | 1u << 24 | 1u << 5);
  /* GPA_ADDRESSES, GET_VRING_BASE_INFLIGHT, INFLIGHT_SHMFD, BACKEND_SEND_FD, CROSS_ENDIAN,
   * LOG_SHMFD */
  g_assert_cmphex (protocol, ==,
                   ALL_PROTOCOL | 1u << 21 | 1u << 20 | 1u << 12 | 1u << 10 | 1u << 6 | 1u << 1);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, protocol), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_QUEUE_NUM), ==, N_QUEUES);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_MAX_MEM_SLOTS), ==, 509);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, features), ==, 0);
  g_assert_cmphex (f->device->features, ==, features);
  g_assert_cmphex (vhost_session_get_features (f->session), ==, features);
  g_assert_cmphex (vhost_session_get_protocol_features (f->session), ==, protocol);
  g_assert_cmpint (vhost_session_get_peer_pid (f->session), ==, getpid ());
  g_assert_cmpint (vhost_session_get_peer_uid (f->session), ==, (int) getuid ());
  g_assert_nonnull (vhost_session_get_peer_name (f->session));
}

static void
test_acks_when_asked (Fixture *f, gconstpointer data)
{
  send_message (f, VHOST_WIRE_SET_OWNER, 0, NULL, 0, NULL, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_OWNER, NULL, 0), ==, 0); /* not SET_OWNER's */
  send_message (f, VHOST_WIRE_GET_FEATURES, NEED_REPLY, NULL, 0, NULL, 0);
  g_assert_cmphex (receive_u64 (f, VHOST_WIRE_GET_FEATURES), !=, 0); /* A2: one answer, its own */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_refuses_strange_features (Fixture *f, gconstpointer data)
{
  guint64 strange = VHOST_WIRE_BIT (41);

  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL | 1u << 14), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | strange), !=, 0);
  g_assert_cmphex (vhost_session_get_features (f->session), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 11), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 3); /* T1 */
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 11), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 11);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 256), !=, 0); /* T4 */
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 11);
}

typedef struct
{
  Fixture *f;
  guint n;
  gboolean reply;
} Vendor;

static gboolean
on_message (VhostSession *session, guint request, guint flags, GBytes *payload, GUnixFDList *fds,
            Vendor *vendor)
{
  g_autoptr (GBytes) answer = g_bytes_new ("abc", 3);
  g_autoptr (GBytes) huge = g_bytes_new_take (g_malloc0 (3000), 3000);
  g_autoptr (GError) error = NULL;

  vendor->n++;
  if (request != 1001)
    return FALSE;
  g_assert_cmpuint (g_bytes_get_size (payload), ==, 8);
  g_assert_cmpint (g_unix_fd_list_get_length (fds), ==, 1);
  if (!vendor->reply)
    return TRUE;
  g_assert_false (vhost_session_reply_message (session, huge, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_true (vhost_session_reply_message (session, answer, NULL));
  g_assert_false (vhost_session_reply_message (session, answer, NULL)); /* one is enough */
  return TRUE;
}

static void
test_vendor_message (Fixture *f, gconstpointer data)
{
  Vendor vendor = { .f = f };
  guint64 value = 7;
  char answer[8] = "";
  g_autoptr (GBytes) bytes = g_bytes_new ("x", 1);
  g_autoptr (GError) error = NULL;

  g_signal_connect (f->session, "message", G_CALLBACK (on_message), &vendor);
  g_assert_cmpuint (call_fds (f, 1001, &value, 8, &f->kick_fd, 1), ==, 0);
  g_assert_cmpuint (call (f, 1002, NULL, 0), !=, 0);
  vendor.reply = TRUE;
  send_message (f, 1001, NEED_REPLY, &value, 8, &f->kick_fd, 1);
  g_assert_cmpuint (receive_reply (f, 1001, answer, sizeof answer), ==, 3);
  g_assert_cmpstr (answer, ==, "abc");
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0); /* one answer, not two */
  g_assert_cmpuint (vendor.n, ==, 3);
  g_assert_false (vhost_session_reply_message (f->session, bytes, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
}

static void
test_unknown_message (Fixture *f, gconstpointer data)
{
  guint64 value = 0;

  send_message (f, 77, 0, &value, sizeof value, &f->kick_fd, 1);
  g_assert_cmpuint (call (f, 77, &value, sizeof value), !=, 0);
  g_assert_cmpuint (call (f, 0, NULL, 0), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SEND_RARP, &value, sizeof value), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_bad_version (Fixture *f, gconstpointer data)
{
  VhostWireHeader header = { VHOST_WIRE_SET_OWNER, 2, 0 };
  guint8 byte;

  g_assert_cmpint (write (f->peer, &header, sizeof header), ==, sizeof header);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  g_assert_cmpint (read (f->peer, &byte, 1), ==, 0);
}

/* An answer of its own is due also when it was refused; the stream must not slip. */
static void
test_failed_getters (Fixture *f, gconstpointer data)
{
  VhostWireVringState state = { N_QUEUES, 0 };
  VhostWireConfig config = { 0, 4, 0, { 0 } };
  guint8 reply[64];
  guint8 inflight[24] = { 0 };

  send_message (f, VHOST_WIRE_GET_VRING_BASE, NEED_REPLY, &state, sizeof state, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, reply, sizeof reply), ==, 0);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, 3, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, reply, sizeof reply), ==, 0);
  /* not negotiated */
  send_message (f, VHOST_WIRE_GET_CONFIG, 0, &config, 16, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_CONFIG, reply, sizeof reply), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_QUEUE_NUM), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_CHECK_DEVICE_STATE), !=, 0);
  send_message (f, VHOST_WIRE_GET_INFLIGHT_FD, 0, inflight, 20, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_INFLIGHT_FD, reply, sizeof reply), ==, 20);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_drain_timeout (Fixture *f, gconstpointer data)
{
  VhostWireVringState state = { 0, 0 };
  guint8 byte;

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_cmpint (read (f->peer, &byte, 1), ==, 0); /* no answer */
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  /* The request ends after the session; nothing is written to the ring then. */
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
}

static void
test_disconnect_drains (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  g_assert_cmpuint (f->n_closed, ==, 0);
  post_completion (f);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_no_error (f->close_error);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
}

static void
test_disconnect_while_waiting (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);
  VhostWireVringState state = { 0, 0 };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (f->session->closing);
  post_completion (f);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_no_error (f->close_error);
}

static void
test_disconnect_while_activating (Fixture *f, gconstpointer data)
{
  guint64 value = 0;

  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  describe_ring (f, 0);
  f->device->busy = G_MAXUINT;
  send_message (f, VHOST_WIRE_SET_VRING_KICK, 0, &value, sizeof value, &f->kick_fd, 1);
  ITERATE_UNTIL (f->device->n_activations >= 2);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_cmpuint (f->device->n_suspends, ==, 0);
}

static void
test_close_is_idempotent (Fixture *f, gconstpointer data)
{
  start_device (f);
  vhost_session_close (f->session);
  vhost_session_close (f->session);
  g_assert_cmpuint (f->n_closed, ==, 0); /* never from within the call */
  ITERATE_UNTIL (f->n_closed == 1);
  vhost_session_close (f->session);
  g_assert_null (vhost_session_get_memory (f->session));
  g_assert_nonnull (vhost_session_get_queue (f->session, 0));
  g_assert_null (vhost_session_get_queue (f->session, N_QUEUES));
}

static void
test_shorter_shutdown (Fixture *f, gconstpointer data)
{
  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  vhost_session_shutdown (f->session, 10 * 60 * 1000, NULL);
  vhost_session_shutdown (f->session, 10, NULL);
  ITERATE_UNTIL (f->n_closed == 1);
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
}

static void
test_second_session (Fixture *f, gconstpointer data)
{
  int fds[2];
  GError *error = NULL;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_null (vhost_session_new_take_fd (fds[1], VHOST_BACKEND (f->device), &f->worker, 1, 100,
                                            FALSE, &owner, f, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_true (is_readable (fds[0])); /* closed */
  close (fds[0]);
  end_session (f);
  f->n_closed = 0;
  connect_session (f, 100);
  start_device (f);
}

static gboolean
count_tick (gpointer data)
{
  ++*(guint *) data;
  return G_SOURCE_CONTINUE;
}

static void
test_talkative (Fixture *f, gconstpointer data)
{
  guint ticks = 0;
  guint idle = g_idle_add_full (G_PRIORITY_DEFAULT, count_tick, &ticks, NULL);

  for (guint i = 0; i < 160; i++)
    send_message (f, VHOST_WIRE_SET_OWNER, 0, NULL, 0, NULL, 0);
  send_message (f, VHOST_WIRE_GET_FEATURES, 0, NULL, 0, NULL, 0);
  receive_u64 (f, VHOST_WIRE_GET_FEATURES);
  g_assert_cmpuint (ticks, >=, 9);
  g_source_remove (idle);
}

/* Each message gets the answer that it asks for or none, whatever stands in it, and no descriptor
 * stays behind. */
static void
test_random_messages (Fixture *f, gconstpointer data)
{
  GRand *rand = g_rand_new_with_seed (20261123);
  guint before, after;

  start_device (f);
  before = count_fds ();
  for (guint i = 0; i < 3000; i++)
    {
      guint8 payload[VHOST_WIRE_MAX_PAYLOAD];
      guint32 request = g_rand_int_range (rand, 0, VHOST_WIRE_N_REQUESTS + 2);
      const VhostWireMessage *row = vhost_wire_lookup (request);
      guint32 size = row != NULL && g_rand_int_range (rand, 0, 8) > 0
                         ? row->min_size
                         : (guint32) g_rand_int_range (rand, 0, 64);
      int fds[3] = { f->kick_fd, f->hand.fd, f->call_fd };
      guint8 reply[VHOST_WIRE_MAX_PAYLOAD];

      for (guint j = 0; j < size; j++)
        payload[j] = j % 8 > 1 || g_rand_boolean (rand) ? 0 : g_rand_int_range (rand, 0, 256);
      /* The starts and stops have tests of their own; here nothing may warn. */
      if (request == VHOST_WIRE_SET_VRING_KICK)
        continue;
      send_message (f, request, NEED_REPLY, payload, size, fds, g_rand_int_range (rand, 0, 4));
      receive_reply (f, request, reply, sizeof reply);
    }
  g_rand_free (rand);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0) | 1, ==, 1);
  after = count_fds ();
  /* call, err and kick of the rings and one map's file come and go */
  g_assert_cmpuint (after, <=, before + 8);
  end_session (f);
  g_assert_cmpuint (count_fds (), <, before);
}

static void
test_no_leaks (Fixture *f, gconstpointer data)
{
  guint before;

  end_session (f);
  before = count_fds ();
  for (guint i = 0; i < 20; i++)
    {
      f->n_closed = 0;
      hand_set_avail_index (&f->hand, 0);
      memset (hand_at (&f->hand, HAND_USED), 0, 128);
      connect_session (f, 1000);
      start_device (f);
      close (give_channel (f));
      start_ring (f, 1);
      end_session (f);
    }
  g_assert_cmpuint (count_fds (), ==, before);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("offers-unknown-messages-to-the-program", set_up, test_vendor_message);
  ADD ("offers-what-works-and-knows-its-peer", set_up, test_offers);
  ADD ("answers-each-message-once-and-only-when-asked", set_up, test_acks_when_asked);
  ADD ("refuses-features-that-were-not-offered", set_up, test_refuses_strange_features);
  ADD ("refuses-what-it-does-not-know-and-goes-on", set_up, test_unknown_message);
  ADD ("closes-on-a-version-that-does-not-exist", set_up, test_bad_version);
  ADD ("answers-getters-also-when-they-fail", set_up, test_failed_getters);
  ADD ("closes-without-an-answer-when-requests-do-not-end", set_up_impatient, test_drain_timeout);
  ADD ("drains-after-a-disconnect", set_up, test_disconnect_drains);
  ADD ("notices-a-disconnect-while-a-worker-is-asked", set_up, test_disconnect_while_waiting);
  ADD ("notices-a-disconnect-while-the-device-is-busy", set_up, test_disconnect_while_activating);
  ADD ("closes-once", set_up, test_close_is_idempotent);
  ADD ("shortens-a-shutdown", set_up, test_shorter_shutdown);
  ADD ("gives-a-device-to-one-front-end-at-a-time", set_up, test_second_session);
  ADD ("leaves-the-loop-to-others", set_up, test_talkative);
  ADD ("answers-random-messages-and-keeps-no-descriptor", set_up, test_random_messages);
  ADD ("leaks-no-descriptor", set_up, test_no_leaks);
  ADD_INLINE ("closes-without-an-answer-when-requests-do-not-end", set_up_impatient,
              test_drain_timeout);
  ADD_INLINE ("drains-after-a-disconnect", set_up, test_disconnect_drains);
  ADD_INLINE ("leaks-no-descriptor", set_up, test_no_leaks);
  return g_test_run ();
}
