/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a driver puts into a split ring, good and bad, rules V8 to V16, through a live device.
 * Public API only. */
#include "hand-scene.h"

#include <string.h>

/* ---- V8 to V10: the available ring ---- */

static void
test_window (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put_echo (ring, 0);
  ring->available_index += 16;
  hand_ring_submit (ring, 0); /* 17 more than the device has seen */
  scene_assert_broken (scene, 1);
}

static void
test_full_window (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  for (guint head = 0; head < 16; head++)
    {
      hand_ring_put (ring, head, hand_ring_buffer (ring, head), 16, 0, 0);
      ring->available[2 + ((ring->available_index + head) & 15)] = head;
    }
  ring->available_index += 15;
  ring->available[2 + (ring->available_index & 15)] = 15;
  hand_ring_submit (ring, 15);
  hand_ring_wait_used (ring, 17);
  g_assert_cmpuint (hand_ring_get_errors (ring), ==, 0);
}

/* Five requests are out; @n new ones are offered by an index that was moved by that much. */
static void
assert_bad_window (gconstpointer data, gint n)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  EchoBackend *echo = scene->world->echo;
  guint16 next = 6;

  echo_backend_hold (echo, TRUE);
  for (guint head = 0; head < 5; head++)
    {
      hand_ring_put (ring, head, hand_ring_buffer (ring, head), 16, 0, 0);
      hand_ring_submit (ring, head);
    }
  LIVE_WAIT_FOR (echo_backend_get_n_held (echo) == 5);
  echo_backend_hold (echo, FALSE);
  /* All that is in the ring is good, only too much. */
  for (guint head = 5; head < 16; head++)
    {
      hand_ring_put (ring, head, hand_ring_buffer (ring, head), 16, 0, 0);
      ring->available[2 + (next++ & 15)] = head;
    }
  __atomic_store_n (&ring->available[1], (guint16) (6 + n), __ATOMIC_RELEASE);
  hand_ring_kick (ring);
  LIVE_WAIT_FOR (hand_ring_get_errors (ring) > 0);
  g_assert_cmpuint (echo_backend_get_calls (echo).requests, ==, 6);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 1);
  echo_backend_release (echo, FALSE);
  hand_ring_wait_used (ring, 6);
  scene_assert_broken (scene, 6);
}

/* 12 are fewer than the ring has, but with the 5 that are out they are more. */
static void
test_window_of_used (gconstpointer data)
{
  assert_bad_window (data, 12);
}

/* Seen from the used index that is within the ring. */
static void
test_window_backwards (gconstpointer data)
{
  assert_bad_window (data, -2);
}

static void
test_head_outside (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  scene_assert_breaks (scene, 16);
}

static void
test_head_far_outside (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  scene_assert_breaks (scene, 0xffff);
}

static void
test_head_in_flight (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  echo_backend_hold (scene->world->echo, TRUE);
  hand_ring_put_echo (ring, 4);
  hand_ring_submit (ring, 4);
  LIVE_WAIT_FOR (echo_backend_get_n_held (scene->world->echo) == 1);
  echo_backend_hold (scene->world->echo, FALSE);
  hand_ring_submit (ring, 4);
  LIVE_WAIT_FOR (hand_ring_get_errors (ring) > 0);
  echo_backend_release (scene->world->echo, FALSE);
  hand_ring_wait_used (ring, 2);
  hand_ring_assert_echo (ring, 4, 1);
  scene_assert_broken (scene, 2);
}

typedef struct
{
  guint16 *field;
  guint16 values[2];
  gint end;
} Flipper;

/* Thread: its own. */
static gpointer
flip (gpointer data)
{
  Flipper *flipper = data;

  for (guint i = 0; !g_atomic_int_get (&flipper->end); i++)
    __atomic_store_n (flipper->field, flipper->values[i % 2], __ATOMIC_RELAXED);
  return NULL;
}

/* A driver that rewrites a descriptor while the device looks at it. Whichever value the device saw,
 * it must have used that one and no other: the answer is right, or the ring is broken. */
static void
test_read_once (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  Flipper flipper = { .field = &ring->descriptors[0].next, .values = { 1, 0xffff } };
  GThread *thread = g_thread_new ("flipper", flip, &flipper);
  guint64 errors = 0;

  /* Nobody but the flipper writes to the descriptors from here on. */
  for (guint i = 0; i < 200; i++)
    {
      guint16 slot = hand_ring_get_used (ring);

      memset (hand_ring_bytes (ring, 0), (int) i, 16);
      hand_ring_submit (ring, 0);
      LIVE_WAIT_FOR (hand_ring_get_used (ring) != slot || hand_ring_get_errors (ring) > errors);
      if (hand_ring_get_errors (ring) == errors)
        {
          g_assert_cmpuint (hand_ring_get_used (ring), ==, slot + 1);
          hand_ring_assert_echo (ring, 0, slot);
          continue;
        }
      errors++;
      g_assert_cmpuint (hand_ring_get_base (ring), ==, slot);
      g_assert_cmpuint (hand_ring_get_used (ring), ==, slot);
      /* The driver takes its last entry back. */
      ring->base = ring->available_index = ring->available[1] = slot;
      hand_ring_start (ring);
    }
  g_atomic_int_set (&flipper.end, TRUE);
  g_thread_join (thread);
  scene_assert_others_live (scene);
}

/* ---- V11 to V16: chains ---- */

static void
test_next_outside (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, hand_ring_buffer (ring, 2), 16, DESC_NEXT, 16);
  scene_assert_breaks (scene, 2);
}

static void
test_loop (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, hand_ring_buffer (ring, 2), 16, DESC_NEXT, 3);
  hand_ring_put (ring, 3, hand_ring_buffer (ring, 3), 16, DESC_NEXT, 2);
  scene_assert_breaks (scene, 2);
}

/* Empty buffers cost nothing to follow, so they must be counted too. */
static void
test_empty_loop (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, 0, 0, DESC_NEXT, 2);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_loop (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 2, &address);

  table[0] = (HandDescriptor){ hand_ring_buffer (scene->ring, 2), 8, DESC_NEXT, 1 };
  table[1] = (HandDescriptor){ hand_ring_buffer (scene->ring, 3), 8, DESC_NEXT, 0 };
  hand_ring_put (scene->ring, 2, address, 32, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_indirect_next_outside (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 4, &address);

  /* The third entry is there, but the table is said to end before it. */
  table[0] = (HandDescriptor){ hand_ring_buffer (scene->ring, 2), 8, DESC_NEXT, 2 };
  table[2] = (HandDescriptor){ hand_ring_buffer (scene->ring, 3), 8, DESC_WRITE, 0 };
  hand_ring_put (scene->ring, 2, address, 32, DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_other_flags (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put_echo (ring, 4);
  ring->descriptors[4].flags |= 0xfff8;
  ring->descriptors[5].flags |= 0xfff8;
  scene_assert_works (scene, 4, 16);
  hand_ring_assert_echo (ring, 4, 1);
}

static void
test_whole_ring_as_chain (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  for (guint i = 0; i < 15; i++)
    {
      *hand_ring_bytes (ring, i) = (guint8) (100 + i);
      hand_ring_put (ring, i, hand_ring_buffer (ring, i), 1, DESC_NEXT, i + 1);
    }
  hand_ring_put (ring, 15, hand_ring_buffer (ring, 15), 16, DESC_WRITE, 0);
  scene_assert_works (scene, 0, 15);
  for (guint i = 0; i < 15; i++)
    g_assert_cmpuint (hand_ring_bytes (ring, 15)[i], ==, 100 + i);
}

/* @n readable bytes, one for each descriptor but the last, in one table. */
static void
put_long_table (Scene *scene, guint n)
{
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, n, &address);
  guint64 in = vhost_frontend_allocate (scene->world->frontend, 2048, 16);
  guint64 out = vhost_frontend_allocate (scene->world->frontend, 2048, 16);

  for (guint i = 0; i + 1 < n; i++)
    table[i] = (HandDescriptor){ in + i, 1, DESC_NEXT, (guint16) (i + 1) };
  table[n - 1] = (HandDescriptor){ out, 2048, DESC_WRITE, 0 };
  hand_ring_put (scene->ring, 2, address, n * sizeof (HandDescriptor), DESC_INDIRECT, 0);
}

static void
test_long_table (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  put_long_table (scene, 1024);
  scene_assert_works (scene, 2, 1023);
}

static void
test_too_long_table (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);

  put_long_table (scene, 1025);
  scene_assert_breaks (scene, 2);
}

static void
assert_bad_buffer (gconstpointer data, guint64 address, guint32 length, guint16 flags)
{
  g_autoptr (Scene) scene = scene_new (data);

  hand_ring_put (scene->ring, 2, address, length, flags, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_buffer_wraps (gconstpointer data)
{
  assert_bad_buffer (data, G_MAXUINT64 - 15, 32, 0);
}

static void
test_buffer_outside (gconstpointer data)
{
  assert_bad_buffer (data, 0x1000, 16, DESC_WRITE);
}

static void
test_buffer_ends_outside (gconstpointer data)
{
  assert_bad_buffer (data, HAND_MEMORY + HAND_MEMORY_SIZE - 8, 16, DESC_WRITE);
}

static void
test_buffer_begins_outside (gconstpointer data)
{
  assert_bad_buffer (data, HAND_MEMORY - 8, 16, 0);
}

static void
test_buffer_huge (gconstpointer data)
{
  assert_bad_buffer (data, HAND_MEMORY, G_MAXUINT32, 0);
}

static void
test_chain_over_4_gib (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 1024, &address);
  const guint64 large = HAND_MEMORY + 4 * HAND_MEMORY_SIZE;
  GError *error = NULL;

  vhost_frontend_add_memory (scene->world->frontend, large, 8 << 20, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 513; i++) /* the same 8 MiB each time: 4 GiB and a bit */
    table[i] = (HandDescriptor){ large, 8 << 20, DESC_NEXT, (guint16) (i + 1) };
  hand_ring_put (scene->ring, 2, address, 1024 * sizeof (HandDescriptor), DESC_INDIRECT, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_buffer_spans_regions (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  const guint64 border = HAND_MEMORY + HAND_MEMORY_SIZE;
  GError *error = NULL;

  vhost_frontend_add_memory (scene->world->frontend, border, 1 << 20, &error);
  g_assert_no_error (error);
  hand_ring_put_echo (ring, 4);
  ring->descriptors[5].address = border - 6;
  scene_assert_works (scene, 4, 16);
  g_assert_cmpmem (vhost_frontend_get_memory (scene->world->frontend, border - 6, 6), 6,
                   hand_ring_bytes (ring, 4), 6);
  g_assert_cmpmem (vhost_frontend_get_memory (scene->world->frontend, border, 10), 10,
                   hand_ring_bytes (ring, 4) + 6, 10);
}

static void
test_readable_after_writable (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put (ring, 2, hand_ring_buffer (ring, 2), 16, DESC_WRITE | DESC_NEXT, 3);
  hand_ring_put (ring, 3, hand_ring_buffer (ring, 3), 16, 0, 0);
  scene_assert_breaks (scene, 2);
}

static void
test_zero_length (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;

  hand_ring_put_echo (ring, 4);
  /* 4, an empty one, one that is nowhere, 5, and an empty one at the end */
  ring->descriptors[4].next = 8;
  hand_ring_put (ring, 8, hand_ring_buffer (ring, 8), 0, DESC_NEXT, 9);
  hand_ring_put (ring, 9, 0, 0, DESC_NEXT, 5);
  ring->descriptors[5].flags |= DESC_NEXT;
  ring->descriptors[5].next = 10;
  hand_ring_put (ring, 10, hand_ring_buffer (ring, 10), 0, DESC_WRITE, 0);
  scene_assert_works (scene, 4, 16);
  hand_ring_assert_echo (ring, 4, 1);
}

static void
test_framing (gconstpointer data)
{
  g_autoptr (Scene) scene = scene_new (data);
  HandRing *ring = scene->ring;
  guint64 address;
  HandDescriptor *table = scene_new_table (scene, 22, &address);
  guint8 *in = hand_ring_bytes (ring, 4), *out = hand_ring_bytes (ring, 5);

  for (guint i = 0; i < 16; i++)
    {
      in[i] = (guint8) (200 - i);
      table[i]
          = (HandDescriptor){ hand_ring_buffer (ring, 4) + i, 1, DESC_NEXT, (guint16) (i + 1) };
    }
  for (guint i = 0; i < 6; i++)
    table[16 + i] = (HandDescriptor){ hand_ring_buffer (ring, 5) + 3 * i, 3,
                                      DESC_WRITE | (i < 5 ? DESC_NEXT : 0), (guint16) (17 + i) };
  memset (out, 0xee, 18);
  hand_ring_put (ring, 2, address, 22 * sizeof *table, DESC_INDIRECT, 0);
  scene_assert_works (scene, 2, 16);
  g_assert_cmpmem (out, 16, in, 16);
  g_assert_cmpuint (out[16], ==, 0xee); /* V6: nobody said that this was written */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("V8-index-too-far-ahead-of-the-device-breaks-the-ring", test_window);
  RULE ("V8-whole-ring-at-once-is-served", test_full_window);
  RULE ("V8-index-too-far-ahead-of-used-breaks-the-ring", test_window_of_used);
  RULE ("V8-index-that-goes-back-breaks-the-ring", test_window_backwards);
  RULE ("V9-head-outside-the-table-breaks-the-ring", test_head_outside);
  RULE ("V9-head-65535-breaks-the-ring", test_head_far_outside);
  RULE ("V9-head-in-flight-breaks-the-ring", test_head_in_flight);
  RULE ("V10-descriptor-that-changes-is-read-once", test_read_once);
  RULE ("V11-next-outside-the-table-breaks-the-ring", test_next_outside);
  RULE ("V11-loop-breaks-the-ring", test_loop);
  RULE ("V11-loop-of-empty-buffers-breaks-the-ring", test_empty_loop);
  RULE ("V11-loop-in-an-indirect-table-breaks-the-ring", test_indirect_loop);
  RULE ("V11-next-outside-an-indirect-table-breaks-the-ring", test_indirect_next_outside);
  RULE ("V11-other-flags-are-ignored", test_other_flags);
  RULE ("V12-chain-as-long-as-the-ring-is-served", test_whole_ring_as_chain);
  RULE ("V12-indirect-table-of-1024-is-served", test_long_table);
  RULE ("V12-indirect-table-of-1025-breaks-the-ring", test_too_long_table);
  RULE ("V13-buffer-that-wraps-around-breaks-the-ring", test_buffer_wraps);
  RULE ("V13-buffer-outside-memory-breaks-the-ring", test_buffer_outside);
  RULE ("V13-buffer-that-ends-outside-memory-breaks-the-ring", test_buffer_ends_outside);
  RULE ("V13-buffer-that-begins-outside-memory-breaks-the-ring", test_buffer_begins_outside);
  RULE ("V13-buffer-larger-than-memory-breaks-the-ring", test_buffer_huge);
  RULE ("V13-chain-of-more-than-4-gib-breaks-the-ring", test_chain_over_4_gib);
  RULE ("V13-buffer-may-span-regions", test_buffer_spans_regions);
  RULE ("V14-readable-after-writable-breaks-the-ring", test_readable_after_writable);
  RULE ("V15-buffers-of-length-0-add-nothing", test_zero_length);
  RULE ("V16-any-framing-is-served", test_framing);
  return g_test_run ();
}
