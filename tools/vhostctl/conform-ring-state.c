/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a ring: stopped or started, disabled or enabled, and what a back-end may do while
 * all are stopped. */
#include "conform.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static gboolean
is_net (Conform *self)
{
  return g_strcmp0 (self->device, "net") == 0;
}

static void
starts_stopped (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_enable (ring, 1);
  conform_io_offer (ring, 0);
  conform_ring_kick (ring);
  conform_ring_expect_nothing (ring, "a ring is processed that was never started");
}

static void
starts_disabled (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  if (is_net (self))
    {
      conform_inconclusive (self, "a network card may discard what it is given meanwhile");
      return;
    }
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_kick_message (ring);
  conform_io_offer (ring, 0);
  conform_ring_kick (ring);
  conform_ring_expect_nothing (ring, "a ring is processed that was never enabled");
  conform_ring_enable (ring, 1);
  conform_io_finish (ring);
}

static void
stopped_is_left_alone (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_stop (ring);
  conform_io_offer (ring, 1);
  conform_ring_kick (ring);
  conform_ring_expect_nothing (ring, "a ring is processed although it was stopped");
}

static void
enable_is_tracked (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_enable (ring, 1);
  conform_ring_kick_message (ring);
  conform_io_run (ring);
}

static void
disabled_has_no_side_effects (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_enable (ring, 0);
  if (!is_net (self))
    {
      conform_io_offer (ring, 1);
      conform_ring_kick (ring);
      conform_ring_expect_nothing (ring, "a request is served while the ring is disabled");
    }
  conform_ring_enable (ring, 1);
  if (is_net (self))
    conform_io_offer (ring, 1);
  conform_ring_kick (ring);
  conform_io_finish (ring);
}

static void
message_starts (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_enable (ring, 1);
  conform_ring_kick_message (ring);
  /* Before the ring has started nobody looks; from now on a kick is needed, but the ring is
   * started by the message alone. */
  conform_io_offer (ring, 0);
  conform_ring_kick (ring);
  conform_io_finish (ring);
}

static void
looks_at_start (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_enable (ring, 1);
  conform_io_offer (ring, 0);
  conform_ring_kick_message (ring);
  conform_io_finish (ring);
}

static void
polls_without_kick_fd (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_set_notifier (ring, MSG_SET_VRING_KICK, -1);
  conform_ring_enable (ring, 1);
  for (guint i = 0; i < 4; i++)
    {
      conform_io_offer (ring, 0);
      conform_io_finish (ring);
    }
}

static void
stop_completes (Conform *self)
{
  ConformRing *ring;
  guint32 base;

  conform_connect (self);
  ring = conform_start_io (self);
  for (guint i = 0; i < 4; i++)
    conform_io_offer (ring, i);
  conform_ring_kick (ring);
  /* Time to take them, though not to complete them where the medium is slow. */
  g_usleep ((gulong) self->quiet_ms * 1000 / 5);
  base = conform_ring_stop (ring);
  if (conform_is_decided (self))
    return;
  /* What was taken was given back before the answer. */
  CONFORM_CHECK (self, ring->used[1] == (guint16) base,
                 "GET_VRING_BASE answers %u, but %u requests are used", base, ring->used[1]);
  CONFORM_CHECK (self, base <= 4, "GET_VRING_BASE answers %u after 4 requests", base);
  g_usleep ((gulong) self->quiet_ms * 4000);
  CONFORM_CHECK (self, ring->used[1] == (guint16) base,
                 "requests are used after the answer to GET_VRING_BASE");
}

static void
restarts (Conform *self)
{
  ConformRing *ring;
  guint32 base;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_io_run (ring);
  base = conform_ring_stop (ring);
  CONFORM_CHECK (self, base == 2, "GET_VRING_BASE answers %u after 2 requests", base);
  ring->base = base;
  conform_ring_start (ring);
  conform_io_run (ring);
  base = conform_ring_stop (ring);
  CONFORM_CHECK (self, base == 3, "GET_VRING_BASE answers %u after 3 requests", base);
}

static void
enabled_without_bit_30 (Conform *self)
{
  ConformRing *ring;
  const guint64 features = F_VERSION_1 & self->offered_features;

  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  conform_send (self, MSG_SET_OWNER, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_send (self, MSG_SET_FEATURES, CONFORM_VERSION, &features, sizeof features, NULL, 0);
  self->features = features;
  ring = conform_start_io (self);
  conform_io_run (ring);
}

/* With bit 30 SET_FEATURES leaves the rings as they are. */
static void
features_leave_rings (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  if (is_net (self))
    {
      conform_inconclusive (self, "a network card may discard what it is given meanwhile");
      return;
    }
  ring = conform_prepare_io (self);
  conform_ring_set_up (ring);
  conform_ring_kick_message (ring);
  conform_io_offer (ring, 0);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  if (conform_ring_has_used (ring))
    conform_inconclusive (self, "disabled rings are served in any case (R3)");
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  conform_ring_kick (ring);
  conform_ring_expect_nothing (ring, "SET_FEATURES with bit 30 enables a ring");
}

static void
changes_while_running (Conform *self)
{
  ConformRing *ring;
  int kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  int call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_set_notifier (ring, MSG_SET_VRING_CALL, call_fd);
  conform_take_events (call_fd);
  conform_io_run (ring);
  CONFORM_CHECK (self, conform_wait_event (call_fd, self->timeout_ms),
                 "a call descriptor that came while the ring ran is not used");
  conform_ring_set_notifier (ring, MSG_SET_VRING_KICK, kick_fd);
  close (ring->kick_fd);
  ring->kick_fd = kick_fd;
  conform_io_run (ring);
  conform_share_memory (self);
  conform_io_run (ring);
  close (call_fd);
}

static void
reset_disables (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_do (self, MSG_RESET_DEVICE, NULL, 0, NULL, 0);
  conform_io_offer (ring, 1);
  conform_ring_kick (ring);
  if (!is_net (self))
    conform_ring_expect_nothing (ring, "a ring is processed after RESET_DEVICE");
  /* The connection and the memory are still there. */
  conform_ring_stop (ring);
  conform_ring_lay_out (ring, CONFORM_RING_SIZE);
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
disabled_loses_nothing (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  if (is_net (self))
    {
      conform_not_offered (self, "a network card discards while it is disabled");
      return;
    }
  ring = conform_start_io (self);
  conform_ring_enable (ring, 0);
  for (guint i = 0; i < 4; i++)
    conform_io_offer (ring, i);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  /* As front-ends stop on each pause: disabled first. */
  ring->base = conform_ring_stop (ring);
  conform_ring_start (ring);
  conform_ring_kick (ring);
  for (guint i = 0; i < 4; i++)
    conform_io_finish (ring);
}

static void
bad_start_refused (Conform *self)
{
  ConformRing *ring;
  guint64 value = 0;

  conform_connect (self);
  ring = conform_ring (self, 0);
  conform_refused (self, MSG_SET_VRING_KICK, &value, sizeof value, &ring->kick_fd, 1, FALSE);
}

static void
bad_enable_refused (Conform *self)
{
  const ConformState state = { 0, 2 };

  conform_connect (self);
  conform_refused (self, MSG_SET_VRING_ENABLE, &state, sizeof state, NULL, 0, FALSE);
}

static void
any_order (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_ring (self, 0);
  if (is_net (self))
    {
      conform_inconclusive (self, "a network card needs all its rings");
      return;
    }
  conform_ring_set_notifier (ring, MSG_SET_VRING_CALL, ring->call_fd);
  conform_ring_set_notifier (ring, MSG_SET_VRING_ERR, ring->err_fd);
  conform_do_state (self, MSG_SET_VRING_BASE, 0, ring->base);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, ring->size);
  conform_share_memory (self);
  conform_ring_set_address (ring);
  conform_ring_kick_message (ring);
  conform_ring_enable (ring, 1);
  conform_io_run (ring);
}

static void
base_of_running_ring (Conform *self)
{
  const ConformState state = { 0, 7 };
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_may_close (self);
  if (conform_ack (self, MSG_SET_VRING_BASE, &state, sizeof state, NULL, 0) == 0
      && (self->protocol & P_REPLY_ACK) != 0)
    CONFORM_CHECK (self, self->was_closed || ring->index != 0,
                   "SET_VRING_BASE of a ring that runs is accepted");
  conform_io_run (ring);
}

static void
used_index_from_memory (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  /* As a ring that was used before: the message tells one index, the memory the other. */
  ring->base = ring->available_index = ring->used_index = 5;
  ring->available[1] = ring->used[1] = 5;
  conform_ring_start (ring);
  conform_io_run (ring);
  CONFORM_CHECK (self, ring->used[1] == 6, "the used index goes from 5 to %u", ring->used[1]);
}

/* Two requests were given up by whoever served the ring before: the message is about the available
 * ring alone. */
static void
used_index_apart (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  ring->base = ring->available_index = 7;
  ring->available[1] = 7;
  ring->used_index = ring->used[1] = 5;
  conform_ring_start (ring);
  conform_io_run (ring);
  CONFORM_CHECK (self, ring->used[1] == 6, "the used index goes from 5 to %u", ring->used[1]);
}

/* ---- Suspended ---- */

static void
silent_while_stopped (Conform *self)
{
  ConformRing *ring;
  g_autofree guint8 *before = g_malloc (CONFORM_MEMORY_SIZE);

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_stop (ring);
  conform_take_events (ring->call_fd);
  conform_io_offer (ring, 1);
  memcpy (before, self->memory, CONFORM_MEMORY_SIZE);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, memcmp (before, self->memory, CONFORM_MEMORY_SIZE) == 0,
                 "guest memory is written while all rings are stopped");
  CONFORM_CHECK (self, conform_take_events (ring->call_fd) == 0,
                 "the call descriptor is signalled while all rings are stopped");
}

static void
no_messages_while_stopped (Conform *self)
{
  ConformAnswer message;
  int channel;

  conform_connect (self);
  channel = conform_open_channel (self);
  if (conform_receive_on (self, channel, self->quiet_ms, &message))
    conform_fail (self, "message %u comes on the channel before a ring has started",
                  message.request);
  conform_clear_answer (&message);
  if (channel >= 0)
    close (channel);
}

static void
answers_while_stopped (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_ring_stop (ring);
  conform_in_step (self);
  conform_share_memory (self);
  conform_in_step (self);
}

#define RINGS "Ring states"
#define SUSPENDED "Suspended device state"

const ConformRule conform_ring_state_rules[] = {
  { "R1", RINGS, "each ring starts stopped and disabled", starts_stopped, CONFORM_MUST, F_PROTOCOL,
    0, TRUE, 0 },
  { "R1-disabled", RINGS, "requests wait until the ring is enabled", starts_disabled,
    CONFORM_SILENT, F_PROTOCOL, 0, TRUE, 0 },
  { "R2", RINGS, "a stopped ring is not processed", stopped_is_left_alone, CONFORM_MUST, 0, 0, TRUE,
    0 },
  { "R2-tracked", RINGS, "enabling is tracked while the ring is stopped", enable_is_tracked,
    CONFORM_MUST, F_PROTOCOL, 0, TRUE, 0 },
  { "R3", RINGS, "requests wait while the ring is disabled", disabled_has_no_side_effects,
    CONFORM_SILENT, F_PROTOCOL, 0, TRUE, 0 },
  { "R4", RINGS, "SET_VRING_KICK starts the ring", message_starts, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "R4-look", RINGS, "what is available at the start is served without a kick", looks_at_start,
    CONFORM_SHOULD, 0, 0, TRUE, 0 },
  { "R5", "SET_VRING_KICK", "without a descriptor the back-end polls", polls_without_kick_fd,
    CONFORM_SHOULD, 0, 0, TRUE, 0 },
  { "R6", "GET_VRING_BASE", "GET_VRING_BASE stops the ring, its requests complete before",
    stop_completes, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "R7", RINGS, "a stopped ring starts again where it was", restarts, CONFORM_MUST, 0, 0, TRUE,
    0 },
  { "R8", RINGS, "SET_FEATURES without bit 30 enables the rings", enabled_without_bit_30,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "R8-leaves", RINGS, "SET_FEATURES with bit 30 leaves the rings as they are",
    features_leave_rings, CONFORM_MUST, F_PROTOCOL, 0, TRUE, 0 },
  { "R9", RINGS, "descriptors and memory can change while a ring runs", changes_while_running,
    CONFORM_SHOULD, 0, 0, TRUE, 0 },
  { "R10", RINGS,
    "the first pair of rings of a network card may be enabled by the front-end alone; not visible: "
    "what front-ends of network cards do by themselves",
    NULL, CONFORM_SILENT, 0, 0, FALSE, 0 },
  { "R11", "Vring base", "the used index is read from guest memory", used_index_from_memory,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "R11-apart", "Vring base", "... also where the message names a later one", used_index_apart,
    CONFORM_SILENT, 0, 0, TRUE, 0 },
  { "R12", "RESET_DEVICE", "RESET_DEVICE disables all rings; the connection stays", reset_disables,
    CONFORM_MUST, F_PROTOCOL, P_RESET_DEVICE, TRUE, 0 },
  { "R13", "GET_VRING_BASE",
    "GET_VRING_BASE is answered without waiting for the front-end; not visible: it takes a device "
    "that waits for the front-end (seen with I5, where offered)",
    NULL, CONFORM_SILENT, 0, 0, FALSE, 0 },
  { "R14", RINGS, "requests made while disabled, stopped and started again, are all served",
    disabled_loses_nothing, CONFORM_SILENT, F_PROTOCOL, 0, TRUE, 0 },
  { "R15", "VRING_KICK",
    "a kick or error descriptor goes before the message in its place; not visible: only which of "
    "two notifications is sent first",
    NULL, CONFORM_MUST, 0, P_INBAND, FALSE, 0 },
  { "R16", "SET_VRING_KICK", "a ring without size, address and memory does not start",
    bad_start_refused, CONFORM_SILENT, 0, P_REPLY_ACK, FALSE, 0 },
  { "R16-enable", "SET_VRING_ENABLE", "a value other than 0 and 1 is refused", bad_enable_refused,
    CONFORM_SILENT, F_PROTOCOL, P_REPLY_ACK, FALSE, 0 },
  { "R16-base", "SET_VRING_BASE", "a ring that runs keeps its index", base_of_running_ring,
    CONFORM_SILENT, 0, P_REPLY_ACK, TRUE, 0 },
  { "R17", RINGS, "a ring can be set up in any order, SET_VRING_KICK last", any_order,
    CONFORM_SILENT, 0, 0, TRUE, 0 },
  { "S1", SUSPENDED, "no guest memory is written while all rings are stopped", silent_while_stopped,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "S2", SUSPENDED, "no notification is sent while all rings are stopped", silent_while_stopped,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "S3", SUSPENDED, "no message is sent while all rings are stopped", no_messages_while_stopped,
    CONFORM_MUST, 0, P_BACKEND_REQ, FALSE, 0 },
  { "S4", SUSPENDED, "messages are answered while all rings are stopped", answers_while_stopped,
    CONFORM_MUST, 0, 0, FALSE, 0 },
  { 0 },
};
