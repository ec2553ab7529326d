/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Negotiation and acknowledgement, rules N1 to N4 and A1 to A5, by raw messages from a front-end
 * that has agreed on nothing unless a test says so. Public API only. */
#include "hand-driver.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connected, and not a word said. */
static VhostFrontend *
connect_silently (LiveDevice *device)
{
  VhostFrontend *frontend = vhost_frontend_new ();
  GError *error = NULL;

  vhost_frontend_connect (frontend, device->socket_path, &error);
  g_assert_no_error (error);
  return frontend;
}

typedef struct
{
  LiveDevice *device;      /* (owned) */
  VhostFrontend *frontend; /* (owned) */
} Fresh;

static Fresh *
fresh_new (gconstpointer data)
{
  Fresh *self = g_new0 (Fresh, 1);

  self->device = live_device_new (echo_backend_new (2, GPOINTER_TO_UINT (data)), NULL, NULL);
  self->frontend = connect_silently (self->device);
  return self;
}

static void
fresh_free (Fresh *self)
{
  g_object_unref (self->frontend);
  live_device_free (self->device);
  g_free (self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Fresh, fresh_free)

static void
send_message (VhostFrontend *frontend, guint request, guint flags, gconstpointer payload,
              gsize size)
{
  GError *error = NULL;

  vhost_frontend_send (frontend, request, RAW_VERSION | flags, payload, size, NULL, 0, &error);
  g_assert_no_error (error);
}

/* The next message on the socket is the answer to @request. */
static gsize
receive_reply (VhostFrontend *frontend, guint request, gpointer payload, gsize size)
{
  guint got = 0, flags = 0;
  GError *error = NULL;

  vhost_frontend_receive (frontend, &got, &flags, payload, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (got, ==, request);
  g_assert_cmpuint (flags, ==, RAW_VERSION | RAW_REPLY);
  return size;
}

static guint64
receive_u64 (VhostFrontend *frontend, guint request)
{
  guint64 value = 0;

  g_assert_cmpuint (receive_reply (frontend, request, &value, sizeof value), ==, sizeof value);
  return value;
}

static guint64
send_channel (VhostFrontend *frontend, int *ours)
{
  int fds[2];
  guint64 answer;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  answer = raw_request (frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1);
  close (fds[1]);
  *ours = fds[0];
  return answer;
}

/* ---- N: negotiation ---- */

static void
test_protocol_features_first (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  guint64 offered;

  g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_FEATURES) & F_PROTOCOL, !=, 0);
  offered = hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES);
  g_assert_cmpuint (offered & P_REPLY_ACK, !=, 0);
  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, offered));
  /* It counts: this one needs a protocol feature. */
  g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_QUEUE_NUM), ==, 2);
}

static void
test_protocol_features_unacked (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);

  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_FEATURES, F_VERSION_1));
  g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES) & P_STATUS, !=, 0);
  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, P_STATUS));
  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_STATUS, 3));
  g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_STATUS), ==, 3);
}

/* QEMU's order. */
static void
test_owner_comes_late (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  VhostFrontend *frontend = fresh->frontend;
  guint64 features = hand_get_u64 (frontend, MSG_GET_FEATURES), protocol;
  int channel;

  protocol = hand_get_u64 (frontend, MSG_GET_PROTOCOL_FEATURES);
  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_PROTOCOL_FEATURES, protocol));
  g_assert_cmpuint (hand_get_u64 (frontend, MSG_GET_QUEUE_NUM), ==, 2);
  g_assert_cmpuint (hand_get_u64 (frontend, MSG_GET_MAX_MEM_SLOTS), >, 8);
  ASSERT_TAKEN (send_channel (frontend, &channel));
  ASSERT_TAKEN (raw_request (frontend, MSG_SET_OWNER, NULL, 0, NULL, 0));
  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_FEATURES, features));
  /* SET_OWNER has not begun anything anew. */
  g_assert_cmpuint (hand_get_u64 (frontend, MSG_GET_QUEUE_NUM), ==, 2);
  close (channel);
}

static void
test_owner_again (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);

  for (guint i = 0; i < 3; i++)
    {
      guint64 offered = hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES);

      /* Nothing is left of the connection before: not negotiated, so refused. */
      ASSERT_REFUSED (raw_u64 (fresh->frontend, MSG_SET_STATUS, 1));
      ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, offered));
      ASSERT_TAKEN (raw_request (fresh->frontend, MSG_SET_OWNER, NULL, 0, NULL, 0));
      g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_STATUS), ==, 0);
      ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_STATUS, STATUS_DRIVER_OK));
      g_object_unref (fresh->frontend);
      fresh->frontend = connect_silently (fresh->device);
    }
}

static void
test_feature_not_offered (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  EchoBackend *echo = world->echo;
  guint64 offered = vhost_frontend_get_offered_features (world->frontend);
  guint64 acked = echo_backend_get_calls (echo).acked;

  for (guint bit = 0; bit < 64; bit++)
    if ((offered & RAW_BIT (bit)) == 0)
      {
        ASSERT_REFUSED (raw_u64 (world->frontend, MSG_SET_FEATURES, acked | RAW_BIT (bit)));
        g_assert_cmpuint (echo_backend_get_calls (echo).acked, ==, acked);
      }
  /* What was negotiated before still holds. */
  hand_ring_start (world->rings[0]);
  hand_ring_echo (world->rings[0]);
}

static void
test_protocol_feature_not_offered (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  guint64 offered = hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES);

  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, offered));
  for (guint bit = 0; bit < 64; bit++)
    if ((offered & RAW_BIT (bit)) == 0)
      ASSERT_REFUSED (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, RAW_BIT (bit)));
  g_assert_cmpuint (hand_get_u64 (fresh->frontend, MSG_GET_QUEUE_NUM), ==, 2);
}

/* Its regions have another layout, and are mapped by the grant (bit 17). */
static void
test_no_xen (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  guint64 offered = hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES);

  g_assert_cmphex (offered & RAW_BIT (17), ==, 0);
  ASSERT_REFUSED (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, RAW_BIT (17)));
}

static void
test_reset_owner (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  EchoCalls calls;

  hand_ring_start (ring);
  hand_ring_echo (ring);
  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_STATUS, STATUS_DRIVER_OK));
  ASSERT_TAKEN (raw_request (world->frontend, MSG_RESET_OWNER, NULL, 0, NULL, 0));
  /* The rings may be disabled by it, no more. */
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  hand_ring_echo (ring);
  g_assert_cmpuint (hand_world_get_status (world), ==, STATUS_DRIVER_OK);
  calls = echo_backend_get_calls (world->echo);
  g_assert_cmpuint (calls.resets, ==, 0);
  g_assert_cmpuint (calls.queue_stops, ==, 0);
}

/* ---- A: acknowledgement ---- */

/* Whether it is taken does not matter here, and most are wrong: each gets one answer. */
static void
test_every_message (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  const guint8 zeroes[40] = { 0 };

  for (guint negotiated = 0; negotiated < 2; negotiated++)
    {
      for (guint request = 0; request < MSG_N + 2; request++)
        for (guint size = 0; size <= sizeof zeroes; size += 8)
          {
            guint8 payload[4096];

            send_message (fresh->frontend, request, RAW_NEED_REPLY, zeroes, size);
            receive_reply (fresh->frontend, request, payload, sizeof payload);
          }
      raw_assert_in_step (fresh->frontend);
      ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES,
                             hand_get_u64 (fresh->frontend, MSG_GET_PROTOCOL_FEATURES)));
      ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_FEATURES,
                             hand_get_u64 (fresh->frontend, MSG_GET_FEATURES)));
    }
}

static void
test_unknown_message (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  const guint unknown[] = { 0, MSG_N, 1000, G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (unknown); i++)
    {
      ASSERT_REFUSED (raw_request (fresh->frontend, unknown[i], NULL, 0, NULL, 0));
      ASSERT_REFUSED (raw_request (fresh->frontend, unknown[i], "12345678", 8, NULL, 0));
      /* Nobody asks: nothing comes. */
      send_message (fresh->frontend, unknown[i], 0, "12345678", 8);
    }
  raw_assert_in_step (fresh->frontend);
}

static void
test_own_reply_only (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const guint requests[] = { MSG_GET_FEATURES, MSG_GET_PROTOCOL_FEATURES, MSG_GET_QUEUE_NUM,
                             MSG_GET_MAX_MEM_SLOTS, MSG_GET_STATUS };
  const guint32 state[2] = { 0, 0 };
  guint32 config[3 + 2] = { 0, 8, 0 };
  guint32 base[2];

  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    {
      send_message (world->frontend, requests[i], RAW_NEED_REPLY, NULL, 0);
      receive_u64 (world->frontend, requests[i]);
      g_assert_true (hand_is_silent (world->frontend));
    }

  hand_ring_start (world->rings[0]);
  hand_ring_echo (world->rings[0]);
  send_message (world->frontend, MSG_GET_VRING_BASE, RAW_NEED_REPLY, state, sizeof state);
  g_assert_cmpuint (receive_reply (world->frontend, MSG_GET_VRING_BASE, base, sizeof base), ==, 8);
  g_assert_cmpuint (base[1], ==, 1);

  send_message (world->frontend, MSG_GET_CONFIG, RAW_NEED_REPLY, config, sizeof config);
  g_assert_cmpuint (receive_reply (world->frontend, MSG_GET_CONFIG, config, sizeof config), ==,
                    sizeof config);
  raw_assert_in_step (world->frontend);
}

/* The front-end waits for these in any case. */
static void
test_refused_question (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  const RawState state = { 9, 0 }; /* there are two */
  guint8 payload[64];

  send_message (fresh->frontend, MSG_GET_VRING_BASE, 0, &state, sizeof state);
  /* Anything that could be taken for an index would be a lie. */
  g_assert_cmpuint (receive_reply (fresh->frontend, MSG_GET_VRING_BASE, payload, sizeof payload),
                    !=, 8);
  send_message (fresh->frontend, MSG_GET_STATUS, 0, NULL, 0); /* not negotiated */
  receive_reply (fresh->frontend, MSG_GET_STATUS, payload, sizeof payload);
  raw_assert_in_step (fresh->frontend);
}

static void
test_failure_is_not_zero (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  const guint32 state[2] = { 7, 16 };

  ASSERT_REFUSED (hand_ring_send_num (ring, 3));
  ASSERT_REFUSED (raw_request (world->frontend, MSG_SET_VRING_NUM, state, sizeof state, NULL, 0));
  ASSERT_REFUSED (raw_u64 (world->frontend, MSG_SET_VRING_KICK, 0)); /* no descriptor */
  ASSERT_REFUSED (raw_u64 (world->frontend, MSG_SET_FEATURES, RAW_BIT (63)));
  raw_assert_in_step (world->frontend);
}

/* Not asked for, so not sent, though it failed. */
static void
test_failure_is_silent (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const guint32 state[2] = { 0, 3 };

  send_message (world->frontend, MSG_SET_VRING_NUM, 0, state, sizeof state);
  raw_assert_in_step (world->frontend);
}

static void
test_flag_counts_alone (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);

  ASSERT_TAKEN (raw_u64 (fresh->frontend, MSG_SET_PROTOCOL_FEATURES, P_MQ));
  ASSERT_TAKEN (raw_request (fresh->frontend, MSG_SET_OWNER, NULL, 0, NULL, 0));
  ASSERT_REFUSED (raw_u64 (fresh->frontend, MSG_SET_FEATURES, RAW_BIT (63)));
  raw_assert_in_step (fresh->frontend);
}

static void
test_no_flag_no_reply (gconstpointer data)
{
  g_autoptr (Fresh) fresh = fresh_new (data);
  VhostFrontend *frontend = fresh->frontend;
  guint64 offered = hand_get_u64 (frontend, MSG_GET_PROTOCOL_FEATURES);
  int fds[2];
  GError *error = NULL;

  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_PROTOCOL_FEATURES, offered));
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  vhost_frontend_send (frontend, MSG_SET_BACKEND_REQ_FD, 0, NULL, 0, &fds[1], 1, &error);
  g_assert_no_error (error);
  send_message (frontend, MSG_SET_OWNER, 0, NULL, 0);
  send_message (frontend, MSG_SET_STATUS, 0, &offered, 0); /* too short, and still not asked */
  raw_assert_in_step (frontend);
  close (fds[0]);
  close (fds[1]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("N1-protocol-features-work-before-features", test_protocol_features_first);
  RULE ("N1-protocol-features-work-though-bit-30-is-not-acked", test_protocol_features_unacked);
  RULE ("N2-set-owner-need-not-be-first", test_owner_comes_late);
  RULE ("N2-each-connection-begins-anew", test_owner_again);
  RULE ("N3-feature-that-was-not-offered-is-refused", test_feature_not_offered);
  RULE ("N3-protocol-feature-that-was-not-offered-is-refused", test_protocol_feature_not_offered);
  RULE ("M4-memory-of-xen-is-not-offered", test_no_xen);
  RULE ("N4-reset-owner-drops-nothing", test_reset_owner);
  RULE ("A1-every-message-with-need-reply-gets-one-answer", test_every_message);
  RULE ("A1-unknown-message-with-need-reply-gets-a-failure", test_unknown_message);
  RULE ("A2-message-with-an-answer-of-its-own-gets-no-second-one", test_own_reply_only);
  RULE ("A2-refused-question-is-answered-without-need-reply", test_refused_question);
  RULE ("A3-failure-is-not-zero", test_failure_is_not_zero);
  RULE ("A3-failure-is-silent-without-need-reply", test_failure_is_silent);
  RULE ("A4-need-reply-is-answered-though-reply-ack-was-not-negotiated", test_flag_counts_alone);
  RULE ("A5-no-flag-no-reply", test_no_flag_no_reply);
  return g_test_run ();
}
