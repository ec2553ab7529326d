/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split ring itself, rules V1 to V3, V22, V23, V39, V44 and V46, through a live device: its
 * set-up, and what comes back in it. Public API only. What drivers put into it is in
 * rules-split-chain-test.c, who wakes whom in rules-split-notify-test.c. */
#include "hand-driver.h"

#include <string.h>

/* ---- V1 to V3: set-up ---- */

static void
test_size_refused (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const guint sizes[] = { 0, 3, 1023, 2048, 32768, 65536, RAW_BIT (31), G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    ASSERT_REFUSED (hand_ring_send_num (world->rings[0], sizes[i]));
}

/* The largest that the device takes is its queue-size. */
static void
test_sizes (gconstpointer data)
{
  for (guint size = 1; size <= 1024; size *= 4)
    {
      HandOptions options = hand_options (data);
      g_autoptr (HandWorld) world = NULL;
      HandRing *ring;

      options.ring_size = size;
      world = hand_world_new_full (&options);
      ring = world->rings[0];
      hand_ring_start (ring);
      for (guint i = 0; i < 3 * size; i++)
        {
          hand_ring_put (ring, i % size, hand_ring_buffer (ring, i % size), 8, DESC_WRITE, 0);
          hand_ring_submit (ring, i % size);
          if (i % 7 == 0 || i % size == size - 1)
            hand_ring_wait_used (ring, i + 1);
        }
      g_assert_cmpuint (hand_ring_get_base (ring), ==, 3 * size);
    }
}

/* The ring does not start; in its right place it does. */
static void
assert_misplaced (HandWorld *world, guint64 *address, guint64 wrong)
{
  HandRing *ring = world->rings[0];
  guint64 right = *address;

  *address = wrong;
  hand_ring_set_up (ring);
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  *address = right;
  hand_ring_start (ring);
  hand_ring_echo (ring);
}

static void
test_descriptors_align (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  guint64 *address = &world->rings[0]->descriptor_address;

  assert_misplaced (world, address, *address + 8);
}

static void
test_available_align (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  guint64 *address = &world->rings[0]->available_address;

  assert_misplaced (world, address, *address + 1);
}

static void
test_used_align (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  guint64 *address = &world->rings[0]->used_address;

  assert_misplaced (world, address, *address + 2);
}

/* As far back as a part of @bytes fits, less @excess that do not. */
static guint64
at_end (guint bytes, guint excess)
{
  return HAND_MEMORY + HAND_MEMORY_SIZE - bytes + excess;
}

/* A user whose front-end shares too little must find that in the log; with guest addresses the
 * front-end itself is wrong, which only the answer tells. */
static void
assert_outside (HandWorld *world, guint64 *address, guint64 wrong)
{
  raw_log_expect (!world->gpa);
  assert_misplaced (world, address, wrong);
  if (!world->gpa)
    g_assert_true (raw_log_has ("is in none of the"));
  raw_log_expect (FALSE);
}

static void
test_descriptors_extent (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  assert_outside (world, &world->rings[0]->descriptor_address, at_end (16 * 16, 16));
}

static void
test_available_extent (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  /* Only used_event lies outside. */
  assert_outside (world, &world->rings[0]->available_address, at_end (6 + 2 * 16, 2));
}

static void
test_used_extent (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  /* Only avail_event lies outside. */
  assert_outside (world, &world->rings[0]->used_address, at_end (4 + 8 * 16, 0));
}

/* The other way round: parts that fill the region to its last byte are taken, and without EVENT_IDX
 * the two event words are no part of them. */
static void
test_exact_extent (gconstpointer data)
{
  HandOptions options = hand_options (data);
  g_autoptr (HandWorld) world = NULL;
  HandRing *ring;

  options.features &= ~F_EVENT_IDX;
  world = hand_world_new_full (&options);
  ring = world->rings[0];
  ring->used_address = at_end (4 + 8 * 16, 0);
  ring->used = (guint16 *) (gpointer) (world->memory + (ring->used_address - HAND_MEMORY));
  hand_ring_start (ring);
  for (guint i = 0; i < 20; i++)
    hand_ring_echo (ring);
  hand_ring_get_base (ring);

  ring->used_address -= 256;
  ring->used -= 128;
  ring->available_address = at_end (4 + 2 * 16, 0);
  ring->available
      = (guint16 *) (gpointer) (world->memory + (ring->available_address - HAND_MEMORY));
  hand_ring_clear (ring);
  hand_ring_start (ring);
  for (guint i = 0; i < 20; i++)
    hand_ring_echo (ring);
}

/* ---- V22 and V23: used entries ---- */

static void
test_used_in_any_order (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  echo_backend_hold (world->echo, TRUE);
  for (guint head = 0; head < 8; head += 2)
    {
      hand_ring_put_echo (ring, head);
      ring->descriptors[head + 1].length = 16 + head;
      hand_ring_submit (ring, head);
    }
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 4);
  echo_backend_release (world->echo, TRUE);
  hand_ring_wait_used (ring, 4);
  for (guint i = 0; i < 4; i++)
    hand_ring_assert_echo (ring, 6 - 2 * i, i);
}

static void
test_indices_wrap (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ring->base = ring->available_index = ring->available[1] = ring->used[1] = 65530;
  hand_ring_start (ring);
  for (guint i = 0; i < 40; i++)
    hand_ring_echo (ring);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 34);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 34);
}

static void
assert_used_length (HandRing *ring, guint32 readable, guint32 writable, guint32 expected)
{
  guint16 slot = hand_ring_get_used (ring);
  guint8 *out = hand_ring_bytes (ring, 5);
  guint32 id, length;

  memset (out, 0xee, HAND_BUFFER);
  memset (hand_ring_bytes (ring, 4), 0x11, HAND_BUFFER);
  hand_ring_put (ring, 4, hand_ring_buffer (ring, 4), readable, DESC_NEXT, 5);
  hand_ring_put (ring, 5, hand_ring_buffer (ring, 5), writable, DESC_WRITE, 0);
  hand_ring_submit (ring, 4);
  hand_ring_wait_used (ring, slot + 1);
  hand_ring_get_element (ring, slot, &id, &length);
  g_assert_cmpuint (id, ==, 4);
  g_assert_cmpuint (length, ==, expected);
  for (guint i = 0; i < HAND_BUFFER; i++)
    g_assert_cmpuint (out[i], ==, i < expected ? 0x11 : 0xee);
}

static void
test_used_length (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  assert_used_length (ring, 10, 64, 10);
  assert_used_length (ring, 64, 10, 10);
  assert_used_length (ring, 32, 32, 32);
  assert_used_length (ring, 0, 32, 0);
  assert_used_length (ring, 32, 0, 0);
}

/* ---- V39 and V46: what is offered ---- */

static guint64
get_offered (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);

  return vhost_frontend_get_offered_features (world->frontend);
}

/* For legacy drivers. One that has VERSION_1 too and takes this bit, as here, is called by its
 * flags alone: a call for every empty ring is what the other tests would see. */
static void
test_on_empty (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  g_assert_cmphex (vhost_frontend_get_features (world->frontend) & RAW_BIT (24), !=, 0);
  *hand_ring_used_event (ring) = 100;
  hand_ring_start (ring);
  hand_ring_echo (ring); /* calls: there was no decision before it (V31) */
  hand_ring_echo (ring);
  hand_ring_echo (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_calls (ring), <=, 1);
}

static void
test_offered (gconstpointer data)
{
  guint64 offered = get_offered (data);

  g_assert_cmphex (offered & F_VERSION_1, !=, 0);
  g_assert_cmphex (offered & RAW_BIT (ECHO_FEATURE), !=, 0);
  /* 37, 39 and 41 are bound to PCI; 38 is data that an eventfd does not carry. */
  g_assert_cmphex (offered & (RAW_BIT (37) | RAW_BIT (38) | RAW_BIT (39) | RAW_BIT (41)), ==, 0);
}

/* ---- V44 ---- */

static void
test_nothing_after_reset (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0], *other = world->rings[1];
  guint64 calls;

  hand_ring_start (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  ASSERT_TAKEN (raw_request (world->frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0));
  calls = hand_ring_get_calls (ring);
  *hand_ring_used_event (ring) = 1;
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  hand_ring_start (other);
  hand_ring_echo (other);
  hand_ring_kick (ring);
  hand_ring_sync (other);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 1);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, calls);
  g_assert_cmpuint (echo_backend_get_calls (world->echo).requests, ==, 2);
  /* Not even by KICK, until it has its size and its place again. */
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V1-size-that-is-no-power-of-2-or-too-large-is-refused", test_size_refused);
  RULE ("V1-rings-of-1-to-queue-size-work", test_sizes);
  RULE ("V2-misaligned-descriptor-table-does-not-start", test_descriptors_align);
  RULE ("V2-misaligned-available-ring-does-not-start", test_available_align);
  RULE ("V2-misaligned-used-ring-does-not-start", test_used_align);
  RULE ("V3-descriptor-table-that-ends-outside-memory-does-not-start", test_descriptors_extent);
  RULE ("V3-available-ring-whose-event-is-outside-memory-does-not-start", test_available_extent);
  RULE ("V3-used-ring-whose-event-is-outside-memory-does-not-start", test_used_extent);
  RULE ("V3-without-event-idx-the-rings-end-before-the-events", test_exact_extent);
  RULE ("V22-entries-come-back-in-any-order", test_used_in_any_order);
  RULE ("V22-indices-wrap-at-65536", test_indices_wrap);
  RULE ("V23-used-length-is-what-was-written", test_used_length);
  RULE ("V39-notify-on-empty-is-for-legacy-drivers", test_on_empty);
  RULE ("V44-nothing-is-taken-or-called-after-a-reset", test_nothing_after_reset);
  RULE ("V46-only-what-can-be-kept-is-offered", test_offered);
  return g_test_run ();
}
