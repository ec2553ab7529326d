/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Indirect descriptor tables in a split ring, rule V17, through a live device. Public API only.
 * Their loops and lengths are among the rules of chains. */
#include "hand-scene.h"

#include <string.h>

/* ---- V17: indirect tables ---- */

/* A good table of two: as hand_ring_put_echo () at 4. */
static guint64
new_echo_table (Scene *scene)
{
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 2, &address);

  hand_ring_put_echo (scene->ring, 4);
  table[0] = scene->ring->descriptors[4];
  table[0].next = 1;
  table[1] = scene->ring->descriptors[5];
  return address;
}

static void
test_indirect (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, new_echo_table (scene), 32, DESC_INDIRECT, 0);
  scene_assert_works (scene, 2, 16);
  g_assert_cmpmem (hand_ring_bytes (ring, 5), 16, hand_ring_bytes (ring, 4), 16);
}

static void
test_indirect_write_ignored (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, new_echo_table (scene), 32, DESC_INDIRECT | DESC_WRITE, 0);
  scene_assert_works (scene, 2, 16);
  g_assert_cmpmem (hand_ring_bytes (ring, 5), 16, hand_ring_bytes (ring, 4), 16);
}

static void
test_indirect_last_of_chain (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  guint64 address = new_echo_table (scene);
  HandDescriptor *table = vhost_frontend_get_memory (scene->world->frontend, address, 32);

  table[1].length = HAND_BUFFER;
  memset (hand_ring_bytes (ring, 8), 0x77, 8);
  hand_ring_put (ring, 8, hand_ring_buffer (ring, 8), 8, DESC_NEXT, 2);
  hand_ring_put (ring, 2, address, 32, DESC_INDIRECT, 0);
  scene_assert_works (scene, 8, 24);
  g_assert_cmpmem (hand_ring_bytes (ring, 5), 8, hand_ring_bytes (ring, 8), 8);
  g_assert_cmpmem (hand_ring_bytes (ring, 5) + 8, 16, hand_ring_bytes (ring, 4), 16);
}

static void
test_indirect_follows_next (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 4, &address);

  hand_ring_put_echo (ring, 4);
  table[0] = (HandDescriptor){ hand_ring_buffer (ring, 4), 4, DESC_NEXT, 3 };
  table[3] = (HandDescriptor){ hand_ring_buffer (ring, 4) + 4, 12, DESC_NEXT, 1 };
  table[1] = (HandDescriptor){ hand_ring_buffer (ring, 5), 16, DESC_WRITE, 2 };
  table[2] = (HandDescriptor){ 0, 16, 0, 0 }; /* not reached */
  hand_ring_put (ring, 2, address, 64, DESC_INDIRECT, 0);
  scene_assert_works (scene, 2, 16);
  g_assert_cmpmem (hand_ring_bytes (ring, 5), 16, hand_ring_bytes (ring, 4), 16);
}

static void
test_indirect_not_negotiated (gconstpointer data)
{
  HandOptions options = hand_options (data);
  g_autoptr (Scene) scene = NULL;

  options.features &= ~F_INDIRECT;
  scene = scene_new_full (options);
  hand_ring_put (scene->ring, 2, new_echo_table (scene), 32, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_with_next (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, new_echo_table (scene), 32, DESC_INDIRECT | DESC_NEXT, 4);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_in_indirect (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  guint64 inner = new_echo_table (scene), address;
  HandDescriptor *table = scene_new_table (scene, 1, &address);

  table[0] = (HandDescriptor){ inner, 32, DESC_INDIRECT, 0 };
  hand_ring_put (scene->ring, 2, address, 16, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
assert_bad_table (gconstpointer data, guint32 length)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, new_echo_table (scene), length, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_empty (gconstpointer data)
{
  assert_bad_table (data, 0);
}

static void
test_indirect_part_of_entry (gconstpointer data)
{
  assert_bad_table (data, 33);
}

static void
test_indirect_huge (gconstpointer data)
{
  assert_bad_table (data, G_MAXUINT32 & ~15u);
}

static void
test_indirect_ends_outside (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, HAND_MEMORY + HAND_MEMORY_SIZE - 16, 32, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_wraps (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, G_MAXUINT64 - 15, 32, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V17-indirect-table-is-served", test_indirect);
  RULE ("V17-write-flag-of-an-indirect-table-is-ignored", test_indirect_write_ignored);
  RULE ("V17-indirect-table-ends-a-chain-of-ordinary-descriptors", test_indirect_last_of_chain);
  RULE ("V17-indirect-table-is-followed-by-next", test_indirect_follows_next);
  RULE ("V17-indirect-table-without-its-feature-breaks-the-ring", test_indirect_not_negotiated);
  RULE ("V17-indirect-table-with-a-next-breaks-the-ring", test_indirect_with_next);
  RULE ("V17-indirect-table-in-another-breaks-the-ring", test_indirect_in_indirect);
  RULE ("V17-indirect-table-of-length-0-breaks-the-ring", test_indirect_empty);
  RULE ("V17-indirect-table-with-part-of-an-entry-breaks-the-ring", test_indirect_part_of_entry);
  RULE ("V17-indirect-table-of-4-gib-breaks-the-ring", test_indirect_huge);
  RULE ("V17-indirect-table-that-ends-outside-memory-breaks-the-ring", test_indirect_ends_outside);
  RULE ("V17-indirect-table-that-wraps-around-breaks-the-ring", test_indirect_wraps);
  return g_test_run ();
}
