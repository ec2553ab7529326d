/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifications: when a driver is called, and what it reads of kicks. */
#include "conform.h"

static void
run_and_settle (ConformRing *ring)
{
  conform_io_run (ring);
  g_usleep ((gulong) ring->conform->quiet_ms * 1000);
}

static void
calls_by_flags (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_take_events (ring->call_fd);
  conform_io_run (ring);
  CONFORM_CHECK (self, conform_wait_event (ring->call_fd, self->timeout_ms),
                 "no call comes although the driver wants one");
}

static void
no_call_by_flags (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  run_and_settle (ring);
  conform_take_events (ring->call_fd);
  if (ring->packed)
    ring->available[1] = 1;
  else
    ring->available[0] = 1;
  run_and_settle (ring);
  CONFORM_CHECK (self, conform_take_events (ring->call_fd) == 0,
                 "a call comes although the driver wants none");
}

static void
call_by_event (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_take_events (ring->call_fd);
  /* The entry after the next; the flag does not count. */
  ring->available[0] = 1;
  ring->available[2 + ring->size] = 2;
  conform_io_run (ring);
  conform_io_run (ring);
  CONFORM_CHECK (self, conform_wait_event (ring->call_fd, self->timeout_ms),
                 "no call comes for the entry that used_event names");
}

static void
no_call_by_event (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  run_and_settle (ring);
  conform_take_events (ring->call_fd);
  ring->available[2 + ring->size] = 100;
  run_and_settle (ring);
  run_and_settle (ring);
  CONFORM_CHECK (self, conform_take_events (ring->call_fd) == 0,
                 "a call comes although used_event is far away");
}

static void
kick_flags_valid (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  CONFORM_CHECK (self, ring->used[0] <= 1, "used.flags is %u", ring->used[0]);
}

static void
kick_event_follows (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  run_and_settle (ring);
  CONFORM_CHECK (self, ring->used[0] == 0, "used.flags is %u with EVENT_IDX", ring->used[0]);
  if (conform_is_decided (self))
    return;
  /* One that sleeps wants the next request's kick; one that polls never does. */
  if (ring->used[2 + 4 * ring->size] == 1)
    return;
  conform_io_offer (ring, 0);
  conform_io_finish (ring);
  conform_note (self, "avail_event is left behind, and requests are found without a kick");
}

static void
found_without_lost_kicks (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  for (guint i = 0; i < 200 && !conform_is_decided (self); i++)
    {
      gboolean wanted;

      conform_io_offer (ring, 0);
      /* Partner: the device's barrier between switching kicks on and its last look. */
      __atomic_thread_fence (__ATOMIC_SEQ_CST);
      if (ring->packed)
        wanted = ring->used[1] != 1;
      else if ((self->features & F_EVENT_IDX) != 0)
        wanted = ring->used[2 + 4 * ring->size] == (guint16) (ring->available_index - 1);
      else
        wanted = (ring->used[0] & 1) == 0;
      if (wanted)
        conform_ring_kick (ring);
      conform_io_finish (ring);
    }
}

static void
spurious_kicks (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  for (guint i = 0; i < 20; i++)
    conform_ring_kick (ring);
  conform_ring_expect_nothing (ring, "a kick without a request makes a used entry");
  conform_io_run (ring);
}

static void
no_call_without_fd (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_set_notifier (ring, MSG_SET_VRING_CALL, -1);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_take_events (ring->call_fd);
  run_and_settle (ring);
  CONFORM_CHECK (self, conform_take_events (ring->call_fd) == 0,
                 "the old call descriptor is signalled after it was taken away");
}

const ConformRule conform_notify_rules[] = {
  { "V30", "VIRTIO 2.7.7.2", "the driver is called when it wants to be (avail.flags 0)",
    calls_by_flags, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "V30-none", "VIRTIO 2.7.7.2", "the driver is not called when it does not want to be",
    no_call_by_flags, CONFORM_SHOULD, 0, 0, TRUE, 0 },
  { "V31", "VIRTIO 2.7.7.2", "with EVENT_IDX the entry that used_event names calls", call_by_event,
    CONFORM_MUST, F_EVENT_IDX, 0, TRUE, 0 },
  { "V31-none", "VIRTIO 2.7.7.2", "with EVENT_IDX no other entry calls", no_call_by_event,
    CONFORM_SHOULD, F_EVENT_IDX, 0, TRUE, 0 },
  { "V32", "VIRTIO 2.7.10.1", "used.flags is 0 or 1", kick_flags_valid, CONFORM_MUST, 0, 0, TRUE,
    0 },
  { "V33", "VIRTIO 2.7.10.1", "with EVENT_IDX used.flags is 0 and avail_event follows",
    kick_event_follows, CONFORM_MUST, F_EVENT_IDX, 0, TRUE, 0 },
  { "V37", "VIRTIO 2.7.10", "no request is lost when kicks are sent only as wanted",
    found_without_lost_kicks, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "V37-event", "VIRTIO 2.7.10", "... with EVENT_IDX", found_without_lost_kicks, CONFORM_MUST,
    F_EVENT_IDX, 0, TRUE, 0 },
  { "V38", "VIRTIO 2.7.10.2", "kicks without requests do no harm", spurious_kicks, CONFORM_MUST, 0,
    0, TRUE, 0 },
  { "V39", "VIRTIO 6.3",
    "with NOTIFY_ON_EMPTY an empty ring always calls; not visible: it takes a driver of before "
    "VIRTIO 1.0",
    NULL, CONFORM_MUST, BIT (24), 0, FALSE, 0 },
  { "V40", "SET_VRING_CALL", "without a call descriptor nobody is called", no_call_without_fd,
    CONFORM_SHOULD, 0, 0, TRUE, 0 },
  { 0 },
};
