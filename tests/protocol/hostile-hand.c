/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "hostile-hand.h"

#include <string.h>

void
hostile_hand_begin (HostileHand *self, gconstpointer data, guint64 features)
{
  HandOptions options = hand_options (data);

  static gboolean warm;

  raw_log_expect (TRUE);
  if (!warm)
    {
      /* What GLib and the library open once and keep. */
      warm = TRUE;
      live_device_free (live_device_new (echo_backend_new (1, 1), NULL, NULL));
    }
  self->n_fds = live_count_fds ();
  options.features |= features;
  options.max_sessions = 2;
  self->world = hand_world_new_full (&options);
  self->ring = self->world->rings[0];
  self->witness = live_device_connect_queues (self->world->device, 1, 16);
}

void
hostile_hand_assert_alive (HostileHand *self)
{
  live_device_assert_echo (self->witness, 0, "the witness");
  raw_assert_in_step (self->witness);
  raw_assert_in_step (self->world->frontend);
}

void
hostile_hand_renew (HostileHand *self, gboolean packed)
{
  HandRing *ring = self->ring;

  (void) hand_ring_get_base (ring);
  hand_ring_clear (ring);
  /* The event words too: whatever the attack has left there. */
  memset (ring->available, 0, 6 + 2 * ring->size);
  memset (ring->used, 0, 6 + 8 * ring->size);
  if (!packed)
    {
      hand_ring_start (ring);
      hand_ring_echo (ring);
      return;
    }
  ring->base = PACKED_BASE;
  hand_ring_start (ring);
  hostile_packed_put_echo (ring, 0, TRUE, 1);
  hand_ring_kick (ring);
  LIVE_WAIT_FOR (hostile_packed_is_used (ring, 0, TRUE));
  g_assert_cmpmem (hand_ring_bytes (ring, 1), 16, hand_ring_bytes (ring, 0), 16);
}

void
hostile_hand_end (HostileHand *self)
{
  LiveDevice *device = self->world->device;

  g_clear_object (&self->world->frontend);
  LIVE_WAIT_FOR (raw_count_sessions (device) == 1);
  live_device_assert_echo (self->witness, 0, "without the attacker");
  self->world->frontend = live_device_connect_queues (device, 1, 16);
  live_device_assert_echo (self->world->frontend, 0, "a new front-end");
  g_clear_object (&self->witness);
  hand_world_free (self->world);
  LIVE_WAIT_FOR (live_count_fds () <= self->n_fds);
  raw_log_expect (FALSE);
}

HostilePacked *
hostile_packed_slot (HandRing *ring, guint slot)
{
  g_assert_cmpuint (slot, <, ring->size);
  return (HostilePacked *) (gpointer) ring->descriptors + slot;
}

void
hostile_packed_put (HandRing *ring, guint slot, HostilePacked descriptor)
{
  HostilePacked *at = hostile_packed_slot (ring, slot);

  at->address = descriptor.address;
  at->length = descriptor.length;
  at->id = descriptor.id;
  /* Partner: the device's acquire load of a head's flags. */
  __atomic_store_n (&at->flags, descriptor.flags, __ATOMIC_RELEASE);
}

void
hostile_packed_put_echo (HandRing *ring, guint slot, gboolean wrap, guint16 id)
{
  guint next = (slot + 1) % ring->size;
  guint16 round = wrap ? PACKED_AVAIL : PACKED_USED;
  guint16 next_round = next > slot ? round : round ^ (PACKED_AVAIL | PACKED_USED);

  for (guint i = 0; i < 16; i++)
    hand_ring_bytes (ring, slot)[i] = (guint8) (id * 31 + slot * 7 + i + 1);
  memset (hand_ring_bytes (ring, next), 0, HAND_BUFFER);
  hostile_packed_put (ring, next,
                      (HostilePacked){ hand_ring_buffer (ring, next), 16, id,
                                       (guint16) (DESC_WRITE | next_round) });
  hostile_packed_put (
      ring, slot,
      (HostilePacked){ hand_ring_buffer (ring, slot), 16, id, (guint16) (DESC_NEXT | round) });
}

gboolean
hostile_packed_is_used (HandRing *ring, guint slot, gboolean wrap)
{
  /* Partner: the device's release store, after buffer, id and length. */
  guint16 flags = __atomic_load_n (&hostile_packed_slot (ring, slot)->flags, __ATOMIC_ACQUIRE);

  return ((flags & PACKED_AVAIL) != 0) == (wrap != FALSE)
         && ((flags & PACKED_USED) != 0) == (wrap != FALSE);
}
