/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split ring against drivers that keep the rules and drivers that do not (V1 to V49). */
#include "hand-ring.h"

#include "vhost-error.h"

typedef struct
{
  HandRing hand;
  VhostRing ring;
  VhostMemoryCache cache;
  VhostChain *chain;
  guint64 budget;
} Fixture;

static void
set_up_sized (Fixture *f, guint size, gboolean event_idx)
{
  GError *error = NULL;

  hand_ring_init (&f->hand, size);
  memset (&f->ring, 0, sizeof f->ring);
  memset (&f->cache, 0, sizeof f->cache);
  vhost_ring_init (&f->ring, &vhost_ring_split_ops, size);
  f->ring.memory = f->hand.memory;
  f->ring.cache = &f->cache;
  f->ring.descriptor_address = HAND_DESC;
  f->ring.available_address = HAND_AVAIL;
  f->ring.used_address = HAND_USED;
  f->ring.event_idx = event_idx;
  f->ring.indirect = TRUE;
  f->budget = 128 * 1024;
  f->ring.segments_left = &f->budget;
  f->chain = vhost_chain_new (NULL, 0);
  f->ring.ops->place (&f->ring, &error);
  g_assert_no_error (error);
  f->ring.ops->set_base (&f->ring, 0, &error);
  g_assert_no_error (error);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 8, TRUE);
}

static void
set_up_flags (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 8, FALSE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vhost_chain_unref (f->chain);
  vhost_ring_clear (&f->ring);
  hand_ring_clear (&f->hand);
}

static VhostRingResult
pop (Fixture *f, GError **error)
{
  f->budget += vhost_chain_recycle (f->chain);
  return f->ring.ops->pop (&f->ring, f->chain, error);
}

/* The next entry must be refused with these words, and be refused again. */
static void
assert_violation (Fixture *f, const char *words)
{
  guint32 base = f->ring.ops->get_base (&f->ring);

  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_cmpint (pop (f, &error), ==, VHOST_RING_VIOLATION);
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
      if (strstr (error->message, words) == NULL)
        g_error ("expected '%s' in: %s", words, error->message);
    }
  /* V48: the answer to GET_VRING_BASE is the bad entry */
  g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, base);
}

static void
takes_direct_chain (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 3, HAND_DATA, 16, 1, 5);
  hand_desc (&f->hand, 5, HAND_DATA + 64, 512, 1 | 2, 0);
  hand_desc (&f->hand, 0, HAND_DATA + 4096, 1, 2, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_EMPTY);
  hand_offer (&f->hand, 3);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->head, ==, 3);
  g_assert_cmpuint (f->chain->n_readable, ==, 1);
  g_assert_cmpuint (f->chain->n_writable, ==, 2);
  g_assert_cmpuint (f->chain->readable_size, ==, 16);
  g_assert_cmpuint (f->chain->writable_size, ==, 513);
  *(guint8 *) f->chain->segments[2].iov_base = 0x5a;
  g_assert_cmpuint (*(guint8 *) hand_at (&f->hand, HAND_DATA + 4096), ==, 0x5a);
  f->ring.ops->push (&f->ring, f->chain, 513);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  g_assert_true (f->ring.ops->publish (&f->ring));
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  {
    guint32 id, len;

    hand_used (&f->hand, 0, &id, &len);
    g_assert_cmpuint (id, ==, 3);
    g_assert_cmpuint (len, ==, 513);
  }
}

static void
takes_indirect_chain (Fixture *f, gconstpointer data)
{
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x100);

  table[0] = (HandDesc){ HAND_DATA, 16, 1, 2 };
  table[2] = (HandDesc){ HAND_DATA + 0x1000, 100, 2, 0 };
  /* WRITE on an indirect descriptor is ignored (V17) */
  hand_desc (&f->hand, 1, HAND_DATA + 0x100, 3 * 16, 4 | 2, 0);
  hand_offer (&f->hand, 1);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->readable_size, ==, 16);
  g_assert_cmpuint (f->chain->writable_size, ==, 100);
}

static void
takes_indirect_at_the_end_of_a_direct_chain (Fixture *f, gconstpointer data)
{
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x100);

  table[0] = (HandDesc){ HAND_DATA + 0x1000, 100, 2, 0 };
  hand_desc (&f->hand, 0, HAND_DATA, 16, 1, 1);
  hand_desc (&f->hand, 1, HAND_DATA + 0x100, 16, 4, 0);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->n_readable, ==, 1);
  g_assert_cmpuint (f->chain->n_writable, ==, 1);
}

static void
takes_an_indirect_table_longer_than_the_ring (Fixture *f, gconstpointer data)
{
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x10000);

  for (guint i = 0; i < 1024; i++)
    table[i] = (HandDesc){ HAND_DATA + i, 1, 2 | (i < 1023 ? 1 : 0), i + 1 };
  hand_desc (&f->hand, 0, HAND_DATA + 0x10000, 1024 * 16, 4, 0);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->n_writable, ==, 1024);
  g_assert_cmpuint (f->budget, <, 128 * 1024);
  f->budget += vhost_chain_recycle (f->chain);
  g_assert_cmpuint (f->budget, ==, 128 * 1024);
}

static void
waits_when_the_segment_budget_is_used_up (Fixture *f, gconstpointer data)
{
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x10000);

  for (guint i = 0; i < 1024; i++)
    table[i] = (HandDesc){ HAND_DATA + i, 1, 2 | (i < 1023 ? 1 : 0), i + 1 };
  hand_desc (&f->hand, 0, HAND_DATA + 0x10000, 1024 * 16, 4, 0);
  hand_offer (&f->hand, 0);
  f->budget = 100;
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_AGAIN);
  vhost_chain_recycle (f->chain);
  f->budget = 128 * 1024;
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->n_writable, ==, 1024);
}

static void
takes_a_descriptor_of_length_zero (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, G_MAXUINT64, 0, 1, 1); /* V15: adds nothing, wherever it points */
  hand_desc (&f->hand, 1, HAND_DATA, 4, 2, 0);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->n_readable, ==, 0);
  g_assert_cmpuint (f->chain->n_writable, ==, 1);
}

static void
ignores_unknown_descriptor_flags (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 4, 0xfff8 | 2, 0);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->n_writable, ==, 1);
}

static void
indices_run_through_65535 (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  *((guint16 *) hand_at (&f->hand, HAND_USED) + 1) = 65530;
  f->ring.ops->set_base (&f->ring, 65530, &error);
  g_assert_no_error (error);
  f->hand.avail_idx = 65530;
  hand_desc (&f->hand, 0, HAND_DATA, 4, 2, 0);
  for (guint i = 0; i < 20; i++)
    {
      hand_offer (&f->hand, 0);
      g_assert_true (f->ring.ops->has_available (&f->ring));
      g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
      f->ring.ops->push (&f->ring, f->chain, 4);
      f->ring.ops->publish (&f->ring);
      g_assert_cmpuint (hand_used_index (&f->hand), ==, (guint16) (65531 + i));
    }
}

static void
V8_index_too_far_ahead (Fixture *f, gconstpointer data)
{
  hand_set_avail_index (&f->hand, 9);
  assert_violation (f, "too far ahead");
}

static void
V9_head_outside_the_ring (Fixture *f, gconstpointer data)
{
  hand_offer (&f->hand, 8);
  assert_violation (f, "head 8 is outside");
}

static void
V9_head_still_in_flight (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 4, 2, 0);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  hand_offer (&f->hand, 0);
  assert_violation (f, "still in flight");
}

static void
V11_loop (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 4, 1, 1);
  hand_desc (&f->hand, 1, HAND_DATA, 4, 1, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "loop");
}

static void
V11_loop_of_empty_descriptors (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, 0, 0, 1, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "loop");
}

static void
V11_next_outside_the_table (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 4, 1, 8);
  hand_offer (&f->hand, 0);
  assert_violation (f, "next descriptor 8");
}

static void
V12_indirect_table_too_long (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 1025 * 16, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "1025 descriptors");
}

static void
V13_more_than_4_gib (Fixture *f, gconstpointer data)
{
  /* Sparse: nothing of it is ever touched. */
  VhostMemoryRegionInfo info = { 0x100000000, 0xc0000000, 0x900000000, 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) large = NULL;
  int fd = memfd_create ("sparse", MFD_CLOEXEC);

  g_assert_cmpint (ftruncate (fd, info.size), ==, 0);
  large = vhost_memory_add_take_fd (f->hand.memory, &info, fd, FALSE, &error);
  g_assert_no_error (error);
  f->ring.memory = large;
  hand_desc (&f->hand, 0, info.guest_address, 0xc0000000, 1, 1);
  hand_desc (&f->hand, 1, info.guest_address, 0x40000000, 1, 2);
  hand_desc (&f->hand, 2, info.guest_address, 1, 0, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "4 GiB");
  hand_desc (&f->hand, 1, info.guest_address, 0x40000000, 0, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_cmpuint (f->chain->readable_size, ==, G_GUINT64_CONSTANT (1) << 32);
  f->ring.memory = f->hand.memory;
}

static void
V13_buffer_wraps_around (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, G_MAXUINT64 - 3, 8, 0, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "wraps around");
}

static void
V13_buffer_leaves_its_region (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_BASE + HAND_SIZE - 4, 8, 0, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "not in a shared memory region");
}

static void
V14_readable_after_writable (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 4, 1 | 2, 1);
  hand_desc (&f->hand, 1, HAND_DATA, 4, 0, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "readable descriptor follows");
}

static void
V17_indirect_without_the_feature (Fixture *f, gconstpointer data)
{
  f->ring.indirect = FALSE;
  hand_desc (&f->hand, 0, HAND_DATA, 16, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "not negotiated");
}

static void
V17_indirect_with_next (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 16, 4 | 1, 1);
  hand_offer (&f->hand, 0);
  assert_violation (f, "has a next one");
}

static void
V17_indirect_in_indirect (Fixture *f, gconstpointer data)
{
  *(HandDesc *) hand_at (&f->hand, HAND_DATA) = (HandDesc){ HAND_DATA, 16, 4, 0 };
  hand_desc (&f->hand, 0, HAND_DATA, 16, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "inside an indirect table");
}

static void
V17_indirect_of_odd_length (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 24, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "not a multiple of 16");
}

static void
V17_indirect_of_no_length (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_DATA, 0, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "not a multiple of 16");
}

static void
V17_indirect_table_ends_outside_its_region (Fixture *f, gconstpointer data)
{
  hand_desc (&f->hand, 0, HAND_BASE + HAND_SIZE - 16, 32, 4, 0);
  hand_offer (&f->hand, 0);
  assert_violation (f, "not wholly inside");
}

static void
V2_misaligned_parts_are_refused (Fixture *f, gconstpointer data)
{
  guint64 *addresses[]
      = { &f->ring.descriptor_address, &f->ring.available_address, &f->ring.used_address };
  guint off[] = { 8, 1, 2 };

  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (GError) error = NULL;

      *addresses[i] += off[i];
      g_assert_false (f->ring.ops->place (&f->ring, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
      *addresses[i] -= off[i];
    }
}

static void
V3_event_fields_count_only_with_event_idx (Fixture *f, gconstpointer data)
{
  /* The used ring ends exactly with the region: there is no room for avail_event. */
  g_autoptr (GError) error = NULL;

  f->ring.used_address = HAND_BASE + HAND_SIZE - (4 + 8 * 8);
  g_assert_false (f->ring.ops->place (&f->ring, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  f->ring.event_idx = FALSE;
  g_assert_true (f->ring.ops->place (&f->ring, &error));
  g_assert_no_error (error);
}

static void
V30_call_follows_the_flag (Fixture *f, gconstpointer data)
{
  guint16 *avail = hand_at (&f->hand, HAND_AVAIL);

  hand_desc (&f->hand, 0, HAND_DATA, 4, 2, 0);
  for (guint i = 0; i < 4; i++)
    {
      hand_offer (&f->hand, 0);
      g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
      avail[0] = i % 2;
      f->ring.ops->push (&f->ring, f->chain, 4);
      g_assert_cmpint (f->ring.ops->publish (&f->ring), ==, i % 2 == 0);
    }
  g_assert_false (f->ring.ops->publish (&f->ring)); /* nothing new */
}

static void
V31_call_follows_used_event (Fixture *f, gconstpointer data)
{
  guint16 *avail = hand_at (&f->hand, HAND_AVAIL);
  guint16 *event = &avail[2 + 8];

  avail[0] = 1; /* must be ignored */
  hand_desc (&f->hand, 0, HAND_DATA, 4, 2, 0);
  for (guint i = 0; i < 8; i++)
    {
      gboolean call;

      hand_offer (&f->hand, 0);
      g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
      *event = 3;
      f->ring.ops->push (&f->ring, f->chain, 4);
      call = f->ring.ops->publish (&f->ring);
      /* the first decision after the start has no old index: call */
      g_assert_cmpint (call, ==, i == 0 || i == 3);
    }
}

static void
V32_kicks_by_flag (Fixture *f, gconstpointer data)
{
  guint16 *used = hand_at (&f->hand, HAND_USED);

  f->ring.ops->kicks_off (&f->ring);
  g_assert_cmpuint (used[0], ==, 1);
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (used[0], ==, 0);
  hand_set_avail_index (&f->hand, 1);
  g_assert_true (f->ring.ops->kicks_on (&f->ring)); /* V37 */
}

static void
V33_kicks_by_avail_event (Fixture *f, gconstpointer data)
{
  guint16 *used = hand_at (&f->hand, HAND_USED);
  guint16 *event = &used[2 + 4 * 8];

  hand_desc (&f->hand, 0, HAND_DATA, 4, 2, 0);
  *event = 0x7777;
  f->ring.ops->kicks_off (&f->ring);
  g_assert_cmpuint (used[0], ==, 0);
  g_assert_cmpuint (*event, ==, 0x7777);
  hand_offer (&f->hand, 0);
  g_assert_cmpint (pop (f, NULL), ==, VHOST_RING_TAKEN);
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (*event, ==, 1);
}

static void
R11_used_position_comes_from_the_ring (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  *((guint16 *) hand_at (&f->hand, HAND_USED) + 1) = 100;
  g_assert_true (f->ring.ops->set_base (&f->ring, 104, &error));
  g_assert_cmpuint (f->ring.next_used, ==, 100);
  g_assert_false (f->ring.ops->set_base (&f->ring, 109, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  g_assert_false (f->ring.ops->set_base (&f->ring, 0x10000, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
}

#define ADD(name, up) g_test_add ("/ring-split/" #name, Fixture, NULL, up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (takes_direct_chain, set_up);
  ADD (takes_indirect_chain, set_up);
  ADD (takes_indirect_at_the_end_of_a_direct_chain, set_up);
  ADD (takes_an_indirect_table_longer_than_the_ring, set_up);
  ADD (waits_when_the_segment_budget_is_used_up, set_up);
  ADD (takes_a_descriptor_of_length_zero, set_up);
  ADD (ignores_unknown_descriptor_flags, set_up);
  ADD (indices_run_through_65535, set_up);
  ADD (V2_misaligned_parts_are_refused, set_up);
  ADD (V3_event_fields_count_only_with_event_idx, set_up);
  ADD (V8_index_too_far_ahead, set_up);
  ADD (V9_head_outside_the_ring, set_up);
  ADD (V9_head_still_in_flight, set_up);
  ADD (V11_loop, set_up);
  ADD (V11_loop_of_empty_descriptors, set_up);
  ADD (V11_next_outside_the_table, set_up);
  ADD (V12_indirect_table_too_long, set_up);
  ADD (V13_more_than_4_gib, set_up);
  ADD (V13_buffer_wraps_around, set_up);
  ADD (V13_buffer_leaves_its_region, set_up);
  ADD (V14_readable_after_writable, set_up);
  ADD (V17_indirect_without_the_feature, set_up);
  ADD (V17_indirect_with_next, set_up);
  ADD (V17_indirect_in_indirect, set_up);
  ADD (V17_indirect_of_odd_length, set_up);
  ADD (V17_indirect_of_no_length, set_up);
  ADD (V17_indirect_table_ends_outside_its_region, set_up);
  ADD (V30_call_follows_the_flag, set_up_flags);
  ADD (V31_call_follows_used_event, set_up);
  ADD (V32_kicks_by_flag, set_up_flags);
  ADD (V33_kicks_by_avail_event, set_up);
  ADD (R11_used_position_comes_from_the_ring, set_up);
  return g_test_run ();
}
