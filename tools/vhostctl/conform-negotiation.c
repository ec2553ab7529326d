/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Negotiation, acknowledgements, and when a connection may be closed. */
#include "conform.h"

#include <string.h>
#include <unistd.h>

static void
protocol_before_features (Conform *self)
{
  guint64 bits = P_REPLY_ACK;

  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  bits &= conform_get_u64 (self, MSG_GET_PROTOCOL_FEATURES);
  conform_send (self, MSG_SET_PROTOCOL_FEATURES, CONFORM_VERSION, &bits, sizeof bits, NULL, 0);
  self->protocol = bits;
  /* The bit counts, although bit 30 was not acked: NEED_REPLY is answered. */
  conform_do (self, MSG_SET_OWNER, NULL, 0, NULL, 0);
  conform_in_step (self);
}

static void
owner_not_first (Conform *self)
{
  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  conform_get_u64 (self, MSG_GET_PROTOCOL_FEATURES);
  conform_get_u64 (self, MSG_GET_QUEUE_NUM);
  conform_send (self, MSG_SET_OWNER, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_in_step (self);
  /* Again on the next connection. */
  conform_connect (self);
  conform_in_step (self);
}

static void
strange_features_refused (Conform *self)
{
  guint bit = 63;
  guint64 features;

  while ((self->offered_features & BIT (bit)) != 0)
    bit--;
  conform_connect (self);
  features = self->features | BIT (bit);
  conform_refused (self, MSG_SET_FEATURES, &features, sizeof features, NULL, 0, FALSE);
}

static void
reset_owner_harmless (Conform *self)
{
  conform_connect (self);
  conform_ack (self, MSG_RESET_OWNER, NULL, 0, NULL, 0);
  /* Features and the connection's state stay: NEED_REPLY is still answered. */
  conform_do_state (self, MSG_SET_VRING_NUM, 0, CONFORM_RING_SIZE);
  conform_in_step (self);
}

static void
answers_need_reply (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, CONFORM_RING_SIZE);
  conform_share_memory (self);
  conform_in_step (self);
}

static void
one_answer_only (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_GET_FEATURES, CONFORM_VERSION | CONFORM_NEED_REPLY, NULL, 0, NULL, 0);
  conform_receive_reply (self, MSG_GET_FEATURES, 8, &answer);
  conform_expect_silence (self);
  conform_in_step (self);
}

/* The text only says that the flag is for requests; front-ends are known that give up at it. */
static void
answer_has_no_need_reply (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_GET_FEATURES, CONFORM_VERSION | CONFORM_NEED_REPLY, NULL, 0, NULL, 0);
  if (conform_receive_reply (self, MSG_GET_FEATURES, 8, &answer))
    CONFORM_CHECK (self, answer.flags == (CONFORM_VERSION | CONFORM_REPLY),
                   "the answer to GET_FEATURES has flags 0x%x instead of 0x5", answer.flags);
}

/* A ring that cannot exist is a failure beyond doubt. */
static void
failure_is_not_zero (Conform *self)
{
  const ConformState state = { 100000, CONFORM_RING_SIZE };

  conform_connect (self);
  conform_refused (self, MSG_SET_VRING_NUM, &state, sizeof state, NULL, 0, FALSE);
}

static void
failure_keeps_session (Conform *self)
{
  const ConformState state = { 100000, CONFORM_RING_SIZE };

  conform_connect (self);
  conform_refused (self, MSG_SET_VRING_NUM, &state, sizeof state, NULL, 0, TRUE);
  conform_in_step (self);
}

/* QEMU sets the flag on some messages without asking for the bit. */
static void
flag_alone_answered (Conform *self)
{
  ConformAnswer answer;
  const ConformState state = { 0, CONFORM_RING_SIZE };

  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  conform_send (self, MSG_SET_OWNER, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_send (self, MSG_SET_VRING_NUM, CONFORM_VERSION | CONFORM_NEED_REPLY, &state, sizeof state,
                NULL, 0);
  conform_receive_reply (self, MSG_SET_VRING_NUM, 8, &answer);
  conform_in_step (self);
}

static void
no_flag_no_answer (Conform *self)
{
  const ConformState state = { 0, CONFORM_RING_SIZE };

  conform_connect (self);
  conform_send (self, MSG_SET_VRING_NUM, CONFORM_VERSION, &state, sizeof state, NULL, 0);
  conform_expect_silence (self);
  conform_in_step (self);
}

static void
inband_needs_channel (Conform *self)
{
  const guint64 bits = P_INBAND;

  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  conform_send (self, MSG_SET_PROTOCOL_FEATURES, CONFORM_VERSION, &bits, sizeof bits, NULL, 0);
  conform_send (self, MSG_SET_OWNER, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_send (self, MSG_SET_FEATURES, CONFORM_VERSION, &self->offered_features, 8, NULL, 0);
  CONFORM_CHECK (self, conform_is_closed (self), "the connection stays open");
}

static void
wrong_version (Conform *self)
{
  conform_connect (self);
  conform_send (self, MSG_GET_FEATURES, 2, NULL, 0, NULL, 0);
  CONFORM_CHECK (self, conform_is_closed (self),
                 "a message of version 2 does not end the connection");
}

static void
unknown_message (Conform *self)
{
  const guint64 payload = 0;

  conform_connect (self);
  conform_refused (self, 200, &payload, sizeof payload, NULL, 0, TRUE);
  conform_in_step (self);
}

static void
message_zero (Conform *self)
{
  conform_connect (self);
  conform_send (self, 0, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_in_step (self);
}

static void
stray_descriptor (Conform *self)
{
  conform_connect (self);
  conform_may_close (self);
  conform_send (self, MSG_GET_QUEUE_NUM, CONFORM_VERSION, NULL, 0, &self->memory_fd, 1);
  if (!conform_is_decided (self))
    {
      ConformAnswer answer;

      conform_receive_reply (self, MSG_GET_QUEUE_NUM, 8, &answer);
    }
  conform_in_step (self);
}

static void
offers_queue_count (Conform *self)
{
  conform_connect (self);
  CONFORM_CHECK (self, (self->offered_protocol & P_MQ) != 0,
                 "protocol feature 0 (MQ) is not offered");
}

const ConformRule conform_negotiation_rules[] = {
  { "N1", "Front-end message types",
    "protocol features can be asked and set before SET_FEATURES once bit 30 is offered",
    protocol_before_features, CONFORM_MUST, F_PROTOCOL, P_REPLY_ACK, FALSE, 0 },
  { "N2", "Front-end message types",
    "SET_OWNER need not come first, and comes again with each connection", owner_not_first,
    CONFORM_SILENT, F_PROTOCOL, P_MQ, FALSE, 0 },
  { "N3", "Front-end message types", "SET_FEATURES with a bit that was not offered is refused",
    strange_features_refused, CONFORM_SILENT, 0, P_REPLY_ACK, FALSE, 0 },
  { "N4", "Front-end message types",
    "RESET_OWNER leaves the connection, its features and its protocol features",
    reset_owner_harmless, CONFORM_SHOULD, 0, P_REPLY_ACK, FALSE, 0 },
  { "N-MQ", "Multiple queue support", "GET_QUEUE_NUM is always offered", offers_queue_count,
    CONFORM_SHOULD, F_PROTOCOL, 0, FALSE, 0 },
  { "A1", "REPLY_ACK", "every message with NEED_REPLY is answered", answers_need_reply,
    CONFORM_MUST, 0, P_REPLY_ACK, FALSE, 0 },
  { "A2", "REPLY_ACK", "a message with an answer of its own has that one answer", one_answer_only,
    CONFORM_MUST, 0, P_REPLY_ACK, FALSE, 0 },
  { "A2-flags", "Header", "an answer has not the flag NEED_REPLY itself", answer_has_no_need_reply,
    CONFORM_SILENT, 0, P_REPLY_ACK, FALSE, 0 },
  { "A3", "REPLY_ACK", "a failure is reported as non-zero", failure_is_not_zero, CONFORM_MUST, 0,
    P_REPLY_ACK, FALSE, 0 },
  { "A3-stays", "REPLY_ACK", "after a failure that was reported the session goes on",
    failure_keeps_session, CONFORM_SHOULD, 0, P_REPLY_ACK, FALSE, 0 },
  { "A4", "REPLY_ACK", "NEED_REPLY is answered also when the bit was not acked",
    flag_alone_answered, CONFORM_SILENT, F_PROTOCOL, 0, FALSE, 0 },
  { "A5", "REPLY_ACK", "without NEED_REPLY there is no acknowledgement", no_flag_no_answer,
    CONFORM_MUST, 0, P_REPLY_ACK, FALSE, 0 },
  { "E1", "In-band notifications",
    "the connection is closed when in-band notifications are acked without bits 3 and 5",
    inband_needs_channel, CONFORM_SHOULD, F_PROTOCOL, P_INBAND, FALSE, 0 },
  { "E2", "Header", "a message of another version ends the connection", wrong_version,
    CONFORM_SILENT, 0, 0, FALSE, 0 },
  { "E2-unknown", "Front-end message types",
    "an unknown message is refused and the session goes on", unknown_message, CONFORM_SILENT, 0,
    P_REPLY_ACK, FALSE, 0 },
  { "E2-zero", "Front-end message types", "message 0 changes nothing", message_zero, CONFORM_SILENT,
    0, 0, FALSE, 0 },
  { "E2-fd", "Ancillary data", "a descriptor that no one asked for does no harm", stray_descriptor,
    CONFORM_SILENT, 0, P_MQ, FALSE, 0 },
  { 0 },
};
