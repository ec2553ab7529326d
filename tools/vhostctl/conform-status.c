/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device status and the channel of the back-end's own messages. */
#include "conform.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FEATURES_OK 8u
#define DRIVER_OK 4u

static void
status_is_stored (Conform *self)
{
  static const guint8 steps[] = { 1, 3, 11, 15 };

  conform_connect (self);
  for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
    {
      guint64 status;

      conform_do_u64 (self, MSG_SET_STATUS, steps[i]);
      status = conform_get_u64 (self, MSG_GET_STATUS);
      CONFORM_CHECK (self, status == steps[i], "the status reads as %u after %u was set",
                     (guint) status, steps[i]);
    }
}

static void
refused_features_show (Conform *self)
{
  guint bit = 63;
  guint64 features;

  while ((self->offered_features & BIT (bit)) != 0)
    bit--;
  conform_connect (self);
  features = self->features | BIT (bit);
  conform_may_close (self);
  if (conform_ack (self, MSG_SET_FEATURES, &features, sizeof features, NULL, 0) == 0)
    conform_inconclusive (self, "features that were not offered are accepted (N3)");
  conform_ack (self, MSG_SET_STATUS, &(guint64){ 11 }, 8, NULL, 0);
  CONFORM_CHECK (self, (conform_get_u64 (self, MSG_GET_STATUS) & FEATURES_OK) == 0,
                 "FEATURES_OK is set although the features were refused");
}

static void
zero_clears (Conform *self)
{
  ConformRing *ring;
  guint32 base;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_do_u64 (self, MSG_SET_STATUS, 15);
  conform_io_run (ring);
  base = conform_ring_stop (ring);
  conform_do_u64 (self, MSG_SET_STATUS, 0);
  CONFORM_CHECK (self, conform_get_u64 (self, MSG_GET_STATUS) == 0,
                 "the status is not 0 after it was set to 0");
  ring->base = base;
  conform_do_u64 (self, MSG_SET_STATUS, 15);
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
start_is_the_gate (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
}

static void
large_status_refused (Conform *self)
{
  const guint64 status = 0x100;

  conform_connect (self);
  conform_refused (self, MSG_SET_STATUS, &status, sizeof status, NULL, 0, FALSE);
}

/* A front-end that never reads its channel must not keep the back-end from answering. */
static void
never_waits_for_channel (Conform *self)
{
  ConformRing *ring;
  int channel;

  conform_connect_with (self, 0, P_BACKEND_SEND_FD | P_CONFIG);
  channel = conform_open_channel (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_stop (ring);
  conform_in_step (self);
  if (channel >= 0)
    close (channel);
}

static void
second_channel_replaces (Conform *self)
{
  struct pollfd pollfd = { .events = POLLIN };
  int first, second;

  conform_connect (self);
  first = conform_open_channel (self);
  second = conform_open_channel (self);
  pollfd.fd = first;
  if (!conform_is_decided (self))
    CONFORM_CHECK (self, poll (&pollfd, 1, (int) self->timeout_ms) > 0,
                   "the first socket stays open after a second one came");
  if (first >= 0)
    close (first);
  if (second >= 0)
    close (second);
  conform_in_step (self);
}

#define STATUS "SET_STATUS, GET_STATUS"

const ConformRule conform_status_rules[] = {
  { "T1", STATUS, "the status is stored and returned", status_is_stored, CONFORM_MUST, 0, P_STATUS,
    FALSE, 0 },
  { "T1-features", "VIRTIO 2.2.2", "FEATURES_OK stays clear when features were refused",
    refused_features_show, CONFORM_SILENT, 0, P_STATUS | P_REPLY_ACK, FALSE, 0 },
  { "T2", STATUS, "status 0 clears the status, and rings can start again", zero_clears,
    CONFORM_SILENT, 0, P_STATUS, TRUE, 0 },
  { "T3", STATUS, "a ring that was started is served without DRIVER_OK", start_is_the_gate,
    CONFORM_SILENT, 0, P_STATUS, TRUE, 0 },
  { "T4", STATUS, "a status above 255 is refused", large_status_refused, CONFORM_SILENT, 0,
    P_STATUS | P_REPLY_ACK, FALSE, 0 },
  { "B1", "Back-end communication", "the back-end answers although its channel is never read",
    never_waits_for_channel, CONFORM_SILENT, 0, P_BACKEND_REQ, TRUE, 0 },
  { "B2", "SET_BACKEND_REQ_FD", "a second channel replaces the first, which is closed",
    second_channel_replaces, CONFORM_SILENT, 0, P_BACKEND_REQ, FALSE, 0 },
  { "B3", "Back-end message types",
    "the back-end keeps a table of the objects it shares; not visible: which objects are shared, "
    "and when, is the device's matter",
    NULL, CONFORM_MUST, 0, P_SHARED_OBJECT, FALSE, 0 },
  { 0 },
};
