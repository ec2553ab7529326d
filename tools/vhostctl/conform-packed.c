/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packed rings. */
#include "conform.h"

#include <string.h>

static ConformRing *
start (Conform *self)
{
  conform_connect (self);
  return conform_start_io (self);
}

static void
areas (Conform *self)
{
  ConformRing *ring = start (self);
  guint16 before[2];

  memcpy (before, ring->available, sizeof before);
  conform_io_run (ring);
  CONFORM_CHECK (self, memcmp (before, ring->available, sizeof before) == 0,
                 "the driver's event area is written");
}

static void
base_has_both (Conform *self)
{
  ConformRing *ring = start (self);
  const guint32 first = CONFORM_RING_SIZE;
  guint32 base, expected;

  conform_io_run (ring);
  base = conform_ring_stop (ring);
  expected = ring->position | ring->wrap << 15 | ring->used_position << 16 | ring->used_wrap << 31;
  CONFORM_CHECK (self, base == expected,
                 "GET_VRING_BASE answers 0x%x instead of 0x%x (%u slots in a ring of %u)", base,
                 expected, ring->position, first);
  ring->base = base;
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
bad_base_refused (Conform *self)
{
  const ConformState state = { 0, 0x80008000u | CONFORM_RING_SIZE };
  ConformRing *ring;

  conform_connect (self);
  conform_share_memory (self);
  ring = conform_ring (self, 0);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, ring->size);
  conform_may_close (self);
  if (conform_ack (self, MSG_SET_VRING_BASE, &state, sizeof state, NULL, 0) != 0)
    return;
  /* It may look only at the start. */
  conform_ring_set_address (ring);
  CONFORM_CHECK (self,
                 conform_ack (self, MSG_SET_VRING_KICK, &(guint64){ 0 }, 8, &ring->kick_fd, 1) != 0,
                 "position 16 of a ring of 16 is accepted");
}

static void
unavailable_left_alone (Conform *self)
{
  ConformRing *ring = start (self);

  conform_io_run (ring);
  if (conform_is_decided (self))
    return;
  /* Of the wrong lap: both bits equal, then both inverted. */
  ring->slots[ring->position].flags = 0;
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, ring->slots[ring->position].flags == 0,
                 "a slot is used that is not available");
  ring->slots[ring->position].flags = DESC_USED;
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, ring->slots[ring->position].flags == DESC_USED,
                 "a slot of the wrong lap is used");
}

/* Lists of several slots pass the ring's end with and without falling apart there. */
static void
many_laps (Conform *self)
{
  ConformRing *ring = start (self);

  for (guint i = 0; i < 5 * CONFORM_RING_SIZE + 3 && !conform_is_decided (self); i++)
    conform_io_run (ring);
}

static void
odd_sizes (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_ring_lay_out (ring, 13);
  conform_ring_start (ring);
  for (guint i = 0; i < 40 && !conform_is_decided (self); i++)
    conform_io_run (ring);
}

static void
id_of_last (Conform *self)
{
  ConformRing *ring = start (self);

  /* The helpers put another id into every slot but the last. */
  conform_io_offer (ring, 3);
  conform_ring_kick (ring);
  CONFORM_CHECK (self, conform_io_finish (ring) == 3, "another id than the last slot's comes back");
}

static void
used_flags (Conform *self)
{
  ConformRing *ring = start (self);
  guint16 flags;
  guint position = ring->used_position;

  conform_io_run (ring);
  flags = ring->slots[position].flags;
  CONFORM_CHECK (self, (flags & (DESC_NEXT | DESC_INDIRECT)) == 0,
                 "used flags 0x%x have NEXT or INDIRECT", flags);
  CONFORM_CHECK (self, (flags & DESC_WRITE) != 0 || g_strcmp0 (self->device, "net") == 0,
                 "used flags 0x%x lack WRITE although something was written", flags);
}

static void
several_at_once (Conform *self)
{
  ConformRing *ring = start (self);

  for (guint lap = 0; lap < 6; lap++)
    {
      for (guint i = 0; i < 4; i++)
        conform_io_offer (ring, i);
      conform_ring_kick (ring);
      for (guint i = 0; i < 4; i++)
        conform_io_finish (ring);
    }
}

static void
id_too_large (Conform *self)
{
  ConformRing *ring = start (self);
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  guint n, id;

  conform_io_run (ring);
  n = conform_io_build (ring, 0, buffers);
  conform_ring_offer (ring, buffers, n, 0xffff, &id);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  /* Opaque to one that only echoes it; an index for others, who must look first. */
  conform_may_close (self);
  conform_in_step (self);
}

static void
indirect (Conform *self)
{
  ConformRing *ring = start (self);
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  ConformPackedDescriptor *table;
  guint n;
  guint32 id, length;

  if (conform_is_decided (self))
    return;
  n = conform_io_build (ring, 0, buffers);
  table = conform_memory (self, ring->data_address + 0x8000);
  /* Ids and other flags do not count. */
  for (guint i = 0; i < n; i++)
    table[i] = (ConformPackedDescriptor){ buffers[i].address, buffers[i].length, 0x7777,
                                          buffers[i].writable ? DESC_WRITE : 0 };
  ring->slots[0].address = ring->data_address + 0x8000;
  ring->slots[0].length = 16 * n;
  ring->slots[0].id = 8;
  /* Partner: the device's acquire load of the flags. */
  __atomic_store_n (&ring->slots[0].flags, DESC_INDIRECT | DESC_AVAIL, __ATOMIC_RELEASE);
  conform_ring_kick (ring);
  if (conform_ring_take (ring, &id, &length))
    {
      conform_io_check (ring, 0, length);
      CONFORM_CHECK (self, id == 8, "an indirect list with id 8 comes back as %u", id);
    }
}

static void
event_area_valid (Conform *self)
{
  ConformRing *ring = start (self);

  conform_io_run (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, ring->used[1] <= 2, "the device's event flags are 0x%x", ring->used[1]);
  CONFORM_CHECK (self, ring->used[1] != 2 || (self->features & F_EVENT_IDX) != 0,
                 "the device's event flags are 2 without EVENT_IDX");
  CONFORM_CHECK (self, (ring->used[0] & 0x7fff) < ring->size || ring->used[1] != 2,
                 "the device's event position is %u in a ring of %u", ring->used[0] & 0x7fff,
                 ring->size);
}

static void
call_wanted (Conform *self, gboolean wanted)
{
  ConformRing *ring = start (self);
  gboolean called;

  conform_io_run (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_take_events (ring->call_fd);
  if (conform_is_decided (self))
    return;
  ring->available[1] = wanted ? 0 : 1;
  conform_io_run (ring);
  called = conform_wait_event (ring->call_fd, wanted ? self->timeout_ms : self->quiet_ms);
  CONFORM_CHECK (self, called == wanted,
                 wanted ? "no call comes although it is wanted"
                        : "a call comes although it is switched off");
}

static void
called (Conform *self)
{
  call_wanted (self, TRUE);
}

static void
not_called (Conform *self)
{
  call_wanted (self, FALSE);
}

/* Names the slot that is @n slots behind the next used one. */
static void
name_slot (ConformRing *ring, guint n)
{
  guint slot = ring->used_position + n;
  guint wrap = ring->used_wrap;

  if (slot >= ring->size)
    {
      slot -= ring->size;
      wrap = !wrap;
    }
  ring->available[0] = (guint16) (slot | wrap << 15);
  /* Partner: the device reads the flags before the slot. */
  __atomic_store_n (&ring->available[1], 2, __ATOMIC_RELEASE);
}

/* Rounds enough for lists that go on at the ring's begin. */
#define SLOT_ROUNDS 24

static void
called_by_slot (Conform *self)
{
  ConformRing *ring = start (self);
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  guint n_slots;

  conform_io_run (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  if (conform_is_decided (self))
    return;
  n_slots = conform_io_build (ring, 0, buffers);
  for (guint i = 0; i < SLOT_ROUNDS && !conform_is_decided (self); i++)
    {
      conform_take_events (ring->call_fd);
      /* One in the middle of a list counts as passed, too. */
      name_slot (ring, i % n_slots);
      conform_io_run (ring);
      CONFORM_CHECK (self, conform_wait_event (ring->call_fd, self->timeout_ms),
                     "no call comes for slot 0x%x, which was named", ring->available[0]);
    }
}

static void
not_called_by_others (Conform *self)
{
  ConformRing *ring = start (self);
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  guint n_slots;

  if (conform_is_decided (self))
    return;
  n_slots = conform_io_build (ring, 0, buffers);
  name_slot (ring, n_slots);
  conform_io_run (ring);
  /* The first one after the start may be called for in any case. */
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_take_events (ring->call_fd);
  for (guint i = 0; i < SLOT_ROUNDS && !conform_is_decided (self); i++)
    {
      name_slot (ring, n_slots);
      conform_io_run (ring);
    }
  CONFORM_CHECK (self, !conform_wait_event (ring->call_fd, self->quiet_ms),
                 "a call comes though the slot that was named is not used yet");
}

static void
lost_kicks (Conform *self)
{
  ConformRing *ring = start (self);

  for (guint i = 0; i < 100 && !conform_is_decided (self); i++)
    {
      guint16 flags;
      guint position;

      position = ring->position | ring->wrap << 15;
      conform_io_offer (ring, 0);
      /* Partner: the device's barrier between switching kicks on and its last look. */
      __atomic_thread_fence (__ATOMIC_SEQ_CST);
      flags = ring->used[1];
      if (flags == 0 || (flags == 2 && ring->used[0] == position))
        conform_ring_kick (ring);
      conform_io_finish (ring);
    }
}

#define PACKED(name, section, text, run, force)                                                    \
  {                                                                                                \
    name, section, text, run, force, F_PACKED, 0, TRUE, 0                                          \
  }

const ConformRule conform_packed_rules[] = {
  PACKED ("V4", "VIRTIO 2.8.10", "the driver's event area is only read", areas, CONFORM_MUST),
  PACKED ("V7", "Vring base", "GET_VRING_BASE has both positions and wrap counters", base_has_both,
          CONFORM_MUST),
  PACKED ("V7-bad", "Vring base", "a position beyond the ring is refused", bad_base_refused,
          CONFORM_SILENT),
  PACKED ("V18", "VIRTIO 2.8.1", "a slot that is not available is left alone",
          unavailable_left_alone, CONFORM_MUST),
  PACKED ("V19", "VIRTIO 2.8.6", "lists go on at the ring's begin with the wrap counter toggled",
          many_laps, CONFORM_MUST),
  PACKED ("V19-size", "VIRTIO 2.8.10.1", "a ring's size need not be a power of 2", odd_sizes,
          CONFORM_MUST),
  PACKED ("V20", "VIRTIO 2.8.6", "the id that comes back is the last slot's", id_of_last,
          CONFORM_MUST),
  PACKED ("V20-large", "VIRTIO 2.8.6", "an id of 65535 does no harm", id_too_large, CONFORM_SILENT),
  { "V21", "VIRTIO 2.8.7", "an indirect list takes one slot, its entries' ids do not count",
    indirect, CONFORM_MUST, F_PACKED | F_INDIRECT, 0, TRUE, 0 },
  PACKED ("V24", "VIRTIO 2.8.6", "used flags have AVAIL, USED and WRITE alone", used_flags,
          CONFORM_MUST),
  PACKED ("V25", "VIRTIO 2.8.12", "several requests at once all come back", several_at_once,
          CONFORM_MUST),
  PACKED ("V34", "VIRTIO 2.8.14", "the device's event area has a meaning", event_area_valid,
          CONFORM_MUST),
  PACKED ("V35", "VIRTIO 2.8.14", "the driver is called when it wants to be", called, CONFORM_MUST),
  PACKED ("V35-none", "VIRTIO 2.8.14", "the driver is not called when it does not want to be",
          not_called, CONFORM_SHOULD),
  { "V35-slot", "VIRTIO 2.8.14", "with EVENT_IDX the slot that was named calls", called_by_slot,
    CONFORM_MUST, F_PACKED | F_EVENT_IDX, 0, TRUE, 0 },
  { "V35-slot-none", "VIRTIO 2.8.14", "with EVENT_IDX no other slot calls", not_called_by_others,
    CONFORM_SHOULD, F_PACKED | F_EVENT_IDX, 0, TRUE, 0 },
  PACKED ("V36", "VIRTIO 2.8.14", "no request is lost when kicks are sent only as wanted",
          lost_kicks, CONFORM_MUST),
  { "V36-event", "VIRTIO 2.8.14", "... with EVENT_IDX", lost_kicks, CONFORM_MUST,
    F_PACKED | F_EVENT_IDX, 0, TRUE, 0 },
  { 0 },
};
