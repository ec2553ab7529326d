/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The byte order of legacy rings, rule V5, and positions of packed rings in messages, rule V7.
 * Public API only. */
#include "hand-driver.h"

#define F_PACKED RAW_BIT (34)
#define LITTLE 0
#define BIG 1

static guint64
send_endian (HandRing *ring, guint32 value)
{
  return raw_state (ring->world->frontend, MSG_SET_VRING_ENDIAN, ring->index, value);
}

static void
test_values (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_REFUSED (send_endian (ring, 2));
  ASSERT_REFUSED (send_endian (ring, G_MAXUINT32));
  ASSERT_TAKEN (send_endian (ring, LITTLE));
  hand_ring_start (ring);
  ASSERT_REFUSED (send_endian (ring, LITTLE));
  hand_ring_echo (ring);
}

/* With VERSION_1 a ring is little-endian, whatever was said. */
static void
test_modern (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (send_endian (ring, BIG));
  hand_ring_start (ring);
  hand_ring_echo (ring);
}

static void
test_legacy (gconstpointer data)
{
  HandOptions options = hand_options (data);
  g_autoptr (HandWorld) world = NULL;
  HandRing *ring;
  guint8 *out;

  options.features &= ~(F_VERSION_1 | F_EVENT_IDX);
  world = hand_world_new_full (&options);
  ring = world->rings[0];
  ASSERT_TAKEN (send_endian (ring, BIG));
  hand_ring_put_echo (ring, 0);
  out = hand_ring_bytes (ring, 0);
  for (guint i = 0; i < 2; i++)
    {
      HandDescriptor *d = &ring->descriptors[i];

      d->address = GUINT64_TO_BE (d->address);
      d->length = GUINT32_TO_BE (d->length);
      d->flags = GUINT16_TO_BE (d->flags);
      d->next = GUINT16_TO_BE (d->next);
    }
  ring->available[1] = GUINT16_TO_BE (1);
  hand_ring_start (ring);
  hand_ring_wait_used (ring, GUINT16_TO_BE (1));
  g_assert_cmpmem (out, 16, hand_ring_bytes (ring, 1), 16);
}

static void
test_packed_positions (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_FEATURES,
                         vhost_frontend_get_features (world->frontend) | F_PACKED));
  g_assert_cmphex (hand_ring_get_base (ring), ==, 0x80008000);
  ASSERT_TAKEN (hand_ring_send_num (ring, 5)); /* V1 */
  ASSERT_TAKEN (hand_ring_send_addr (ring));
  ASSERT_TAKEN (hand_ring_send_base (ring, 0x80008005));
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  ASSERT_TAKEN (hand_ring_send_base (ring, 0x80058000));
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  ASSERT_TAKEN (hand_ring_send_base (ring, 0x00030003));
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmphex (hand_ring_get_base (ring), ==, 0x00030003);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V5-endian-is-0-or-1-and-comes-before-the-start", test_values);
  RULE ("V5-version-1-is-little-endian", test_modern);
  RULE ("V5-legacy-rings-may-be-big-endian", test_legacy);
  RULE ("V7-a-packed-ring-has-two-positions-with-their-wraps", test_packed_positions);
  return g_test_run ();
}
