/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packed ring against drivers that keep the rules and drivers that do not (V1 to V49). */
#include "hand-ring.h"

#include "vhost-error.h"

#define START 0x80008000u /* both wrap counters 1, both positions 0 */

typedef struct
{
  HandRing hand;
  VhostRing ring;
  VhostMemoryCache cache;
  VhostChain *chains[8]; /* in flight, so that ends may come in any order */
  guint64 budget;
} Fixture;

static void
set_up_sized (Fixture *f, guint size, gboolean event_idx)
{
  GError *error = NULL;

  hand_ring_init (&f->hand, size);
  memset (&f->ring, 0, sizeof f->ring);
  memset (&f->cache, 0, sizeof f->cache);
  vhost_ring_init (&f->ring, &vhost_ring_packed_ops, size);
  f->ring.memory = f->hand.memory;
  f->ring.cache = &f->cache;
  f->ring.descriptor_address = HAND_DESC;
  f->ring.available_address = HAND_AVAIL;
  f->ring.used_address = HAND_USED;
  f->ring.event_idx = event_idx;
  f->ring.indirect = TRUE;
  f->budget = 128 * 1024;
  f->ring.segments_left = &f->budget;
  for (guint i = 0; i < G_N_ELEMENTS (f->chains); i++)
    f->chains[i] = vhost_chain_new (NULL, 0);
  f->ring.ops->place (&f->ring, &error);
  g_assert_no_error (error);
  f->ring.ops->set_base (&f->ring, START, &error);
  g_assert_no_error (error);
}

/* No power of 2: nothing may rely on one. */
static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 7, TRUE);
}

static void
set_up_flags (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 7, FALSE);
}

static void
set_up_one (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 1, TRUE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (f->chains); i++)
    vhost_chain_unref (f->chains[i]);
  vhost_ring_clear (&f->ring);
  hand_ring_clear (&f->hand);
}

static VhostRingResult
pop (Fixture *f, guint i, GError **error)
{
  f->budget += vhost_chain_recycle (f->chains[i]);
  return f->ring.ops->pop (&f->ring, f->chains[i], error);
}

/* A list of @n writable descriptors of 4 bytes each, under @id. */
static void
offer (Fixture *f, guint16 id, guint n)
{
  HandSlot list[8];

  for (guint i = 0; i < n; i++)
    list[i] = (HandSlot){ HAND_DATA + 0x100 * id + 4 * i, 4, i == n - 1 ? id : 0x7fff,
                          HAND_WRITE | (i < n - 1 ? HAND_NEXT : 0) };
  hand_offer_list (&f->hand, list, n);
}

static void
offer_one (Fixture *f, guint64 addr, guint32 len, guint16 id, guint16 flags)
{
  HandSlot slot = { addr, len, id, flags };

  hand_offer_list (&f->hand, &slot, 1);
}

static void
take (Fixture *f, guint i)
{
  g_autoptr (GError) error = NULL;
  VhostRingResult result = pop (f, i, &error);

  g_assert_no_error (error);
  g_assert_cmpint (result, ==, VHOST_RING_TAKEN);
}

static void
push (Fixture *f, guint i, guint32 length)
{
  f->ring.ops->push (&f->ring, f->chains[i], length);
}

static void
assert_used (Fixture *f, guint slots, guint16 id, guint32 length)
{
  HandSlot used = { 0 };

  g_assert_true (hand_take_used (&f->hand, slots, &used));
  g_assert_cmpuint (used.id, ==, id);
  g_assert_cmpuint (used.len, ==, length);
  g_assert_cmpuint (used.flags & 0xff & ~HAND_SLOT_AVAIL, ==, length > 0 ? HAND_WRITE : 0);
}

static void
assert_none_used (Fixture *f)
{
  HandSlot used;

  g_assert_false (hand_take_used (&f->hand, 1, &used));
}

/* The next list must be refused with these words, and be refused again. */
static void
assert_violation (Fixture *f, const char *words)
{
  guint32 base = f->ring.ops->get_base (&f->ring);

  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_cmpint (pop (f, 7, &error), ==, VHOST_RING_VIOLATION);
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
      if (strstr (error->message, words) == NULL)
        g_error ("expected '%s' in: %s", words, error->message);
    }
  /* V48: the answer to GET_VRING_BASE is the bad list */
  g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, base);
}

static void
takes_and_gives_back_a_list (Fixture *f, gconstpointer data)
{
  HandSlot list[] = {
    { HAND_DATA, 16, 0, HAND_NEXT },
    { HAND_DATA + 0x1000, 512, 0, HAND_NEXT | HAND_WRITE },
    { HAND_DATA + 0x2000, 1, 5, HAND_WRITE },
  };

  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_EMPTY);
  g_assert_false (f->ring.ops->has_available (&f->ring));
  hand_offer_list (&f->hand, list, 3);
  g_assert_true (f->ring.ops->has_available (&f->ring));
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->head, ==, 5);
  g_assert_cmpuint (f->chains[0]->n_slots, ==, 3);
  g_assert_cmpuint (f->chains[0]->n_readable, ==, 1);
  g_assert_cmpuint (f->chains[0]->n_writable, ==, 2);
  g_assert_cmpuint (f->chains[0]->readable_size, ==, 16);
  g_assert_cmpuint (f->chains[0]->writable_size, ==, 513);
  *(guint8 *) f->chains[0]->segments[2].iov_base = 0x5a;
  g_assert_cmpuint (*(guint8 *) hand_at (&f->hand, HAND_DATA + 0x2000), ==, 0x5a);
  push (f, 0, 513);
  assert_none_used (f);
  g_assert_true (f->ring.ops->publish (&f->ring));
  assert_used (f, 3, 5, 513);
  assert_none_used (f);
  g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, 3u << 16 | 3 | START);
}

static void
goes_round_many_times (Fixture *f, gconstpointer data)
{
  for (guint round = 0; round < 200; round++)
    {
      guint n = 1 + round % MIN (f->hand.size, 3);

      offer (f, round % f->hand.size, n);
      take (f, 0);
      g_assert_cmpint (pop (f, 1, NULL), ==, VHOST_RING_EMPTY);
      push (f, 0, round % 5);
      f->ring.ops->publish (&f->ring);
      assert_used (f, n, round % f->hand.size, round % 5);
    }
}

static void
fills_up_and_empties (Fixture *f, gconstpointer data)
{
  for (guint round = 0; round < 5; round++)
    {
      for (guint i = 0; i < 7; i++)
        offer (f, i, 1);
      for (guint i = 0; i < 7; i++)
        take (f, i);
      g_assert_false (f->ring.ops->has_available (&f->ring));
      g_assert_cmpint (pop (f, 7, NULL), ==, VHOST_RING_EMPTY);
      for (guint i = 0; i < 7; i++)
        push (f, i, 4);
      f->ring.ops->publish (&f->ring);
      for (guint i = 0; i < 7; i++)
        assert_used (f, 1, i, 4);
    }
}

static void
ends_in_any_order (Fixture *f, gconstpointer data)
{
  offer (f, 0, 2);
  offer (f, 1, 3);
  offer (f, 2, 1);
  take (f, 0);
  take (f, 1);
  take (f, 2);
  push (f, 1, 12);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 3, 1, 12);
  push (f, 2, 4);
  push (f, 0, 0);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 1, 2, 4);
  assert_used (f, 2, 0, 0);
}

static void
what_is_left_is_no_news (Fixture *f, gconstpointer data)
{
  guint32 looked;

  offer (f, 0, 1);
  offer (f, 1, 2);
  looked = f->ring.ops->look (&f->ring);
  f->ring.ops->leave (&f->ring, looked);
  /* the first time it is shown once more */
  g_assert_true (f->ring.ops->has_available (&f->ring));
  looked = f->ring.ops->look (&f->ring);
  f->ring.ops->leave (&f->ring, looked);
  g_assert_false (f->ring.ops->has_available (&f->ring));
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  /* the event is behind what was left, so that what is added kicks */
  g_assert_cmpuint (*(guint16 *) hand_at (&f->hand, HAND_USED), ==, 3 | 1u << 15);
  offer (f, 2, 1);
  g_assert_true (f->ring.ops->has_available (&f->ring));

  /* What comes during a pass is news; what the pass takes is no more left. */
  looked = f->ring.ops->look (&f->ring);
  offer (f, 3, 1);
  take (f, 0);
  f->ring.ops->leave (&f->ring, looked);
  g_assert_true (f->ring.ops->has_available (&f->ring));
  looked = f->ring.ops->look (&f->ring);
  f->ring.ops->leave (&f->ring, looked);
  g_assert_false (f->ring.ops->has_available (&f->ring));
  take (f, 1);
  g_assert_true (f->ring.ops->has_available (&f->ring));
}

static void
a_full_ring_can_be_left (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 7; i++)
    offer (f, i, 1);
  for (guint i = 0; i < 2; i++)
    f->ring.ops->leave (&f->ring, f->ring.ops->look (&f->ring));
  g_assert_false (f->ring.ops->has_available (&f->ring));
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  take (f, 0);
  g_assert_true (f->ring.ops->has_available (&f->ring));
}

static void
waits_when_the_segment_budget_is_used_up (Fixture *f, gconstpointer data)
{
  HandSlot *table = hand_at (&f->hand, HAND_DATA + 0x10000);

  for (guint i = 0; i < 1024; i++)
    table[i] = (HandSlot){ HAND_DATA + i, 1, 0, HAND_WRITE };
  offer_one (f, HAND_DATA + 0x10000, 1024 * 16, 0, HAND_INDIRECT);
  f->budget = 100;
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_AGAIN);
  vhost_chain_recycle (f->chains[0]);
  f->budget = 128 * 1024;
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->n_writable, ==, 1024);
}

static void
V2_misaligned_parts_are_refused (Fixture *f, gconstpointer data)
{
  guint64 *addresses[]
      = { &f->ring.descriptor_address, &f->ring.available_address, &f->ring.used_address };
  guint off[] = { 8, 2, 2 };

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
V3_the_whole_ring_must_be_mapped (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->ring.descriptor_address = HAND_BASE + HAND_SIZE - 6 * 16;
  g_assert_false (f->ring.ops->place (&f->ring, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_assert_false (f->ring.missed);
  g_clear_error (&error);
  f->ring.descriptor_address -= 16;
  g_assert_true (f->ring.ops->place (&f->ring, &error));
  g_assert_no_error (error);
}

static void
V6_writes_nothing_but_used_descriptors_and_its_event (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *before = NULL;
  guint8 *now = hand_at (&f->hand, HAND_BASE);

  offer (f, 0, 3);
  offer (f, 1, 1);
  before = g_memdup2 (now, HAND_SIZE);
  take (f, 0);
  take (f, 1);
  push (f, 1, 4);
  f->ring.ops->publish (&f->ring);
  f->ring.ops->kicks_off (&f->ring);
  f->ring.ops->kicks_on (&f->ring);
  for (gsize i = 0; i < HAND_SIZE; i++)
    if (before[i] != now[i])
      {
        guint64 at = HAND_BASE + i;

        g_assert_true ((at >= HAND_DESC + 8 && at < HAND_DESC + 16)
                       || (at >= HAND_USED && at < HAND_USED + 4));
      }
}

static void
V7_base_carries_both_positions (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  static const guint32 good[] = {
    0, START, 3u | 3u << 16, 6u | 2u << 16, 2u | 1u << 15 | 5u << 16, 3u | 3u << 16 | 1u << 31
  };
  static const guint32 bad[]
      = { 7, 7u << 16, 2u | 3u << 16, START | 2u << 16, 6u | 1u << 15 | 5u << 16 };

  for (guint i = 0; i < G_N_ELEMENTS (good); i++)
    {
      g_assert_true (f->ring.ops->set_base (&f->ring, good[i], &error));
      g_assert_no_error (error);
      g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, good[i]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_assert_false (f->ring.ops->set_base (&f->ring, bad[i], &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
      g_clear_error (&error);
    }
}

static void
V12_a_list_may_be_as_long_as_the_ring (Fixture *f, gconstpointer data)
{
  offer (f, 3, 7);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->n_slots, ==, 7);
  push (f, 0, 28);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 7, 3, 28);
  offer (f, 3, 7);
  take (f, 0);
}

static void
V13_buffers_are_checked_whole (Fixture *f, gconstpointer data)
{
  offer_one (f, HAND_BASE + HAND_SIZE - 4, 8, 0, 0);
  assert_violation (f, "not in a shared memory region");
  hand_slots (&f->hand)[0].addr = G_MAXUINT64 - 3;
  assert_violation (f, "wraps around");
}

static void
V14_readable_after_writable (Fixture *f, gconstpointer data)
{
  HandSlot list[] = { { HAND_DATA, 4, 0, HAND_NEXT | HAND_WRITE }, { HAND_DATA, 4, 0, 0 } };

  hand_offer_list (&f->hand, list, 2);
  assert_violation (f, "readable descriptor follows");
}

static void
V15_length_zero_adds_nothing (Fixture *f, gconstpointer data)
{
  offer_one (f, G_MAXUINT64, 0, 6, HAND_WRITE);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->n_readable + f->chains[0]->n_writable, ==, 0);
}

static void
V18_both_flags_decide (Fixture *f, gconstpointer data)
{
  HandSlot *slot = hand_slots (&f->hand);

  slot->flags = HAND_SLOT_AVAIL | HAND_SLOT_USED;
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_EMPTY);
  slot->flags = HAND_SLOT_USED; /* of the round before */
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_EMPTY);
  slot->flags = 0;
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_EMPTY);
  slot->flags = HAND_SLOT_AVAIL;
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_TAKEN);
}

static void
V18_only_the_next_position_counts (Fixture *f, gconstpointer data)
{
  hand_slots (&f->hand)[1] = (HandSlot){ HAND_DATA, 4, 0, HAND_SLOT_AVAIL };
  g_assert_false (f->ring.ops->has_available (&f->ring));
  g_assert_cmpint (pop (f, 0, NULL), ==, VHOST_RING_EMPTY);
}

static void
V19_a_list_goes_on_at_slot_0 (Fixture *f, gconstpointer data)
{
  offer (f, 0, 5);
  take (f, 0);
  push (f, 0, 0);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 5, 0, 0);
  offer (f, 1, 4);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->n_writable, ==, 4);
  g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, 2u | 5u << 16 | 1u << 31);
  push (f, 0, 16);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 4, 1, 16);
  g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, 2u | 2u << 16);
}

static void
V19_a_list_without_end (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 7; i++)
    hand_slots (&f->hand)[i] = (HandSlot){ HAND_DATA, 4, 0, HAND_SLOT_AVAIL | HAND_NEXT };
  assert_violation (f, "more than the ring's 7 slots");
}

static void
V19_more_slots_in_flight_than_the_ring_has (Fixture *f, gconstpointer data)
{
  offer (f, 0, 5);
  take (f, 0);
  offer (f, 1, 3);
  assert_violation (f, "more than the ring's 7 slots");
}

static void
V20_the_id_is_the_last_descriptors (Fixture *f, gconstpointer data)
{
  offer (f, 4, 2); /* the first one's is 0x7fff */
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->head, ==, 4);
}

static void
V20_an_id_outside_the_ring (Fixture *f, gconstpointer data)
{
  offer_one (f, HAND_DATA, 4, 7, 0);
  assert_violation (f, "buffer ID 7 is outside");
}

static void
V20_an_id_still_in_flight (Fixture *f, gconstpointer data)
{
  offer (f, 2, 1);
  take (f, 0);
  offer (f, 2, 1);
  assert_violation (f, "buffer ID 2 is still in flight");
  push (f, 0, 0);
  take (f, 1);
}

static void
V21_an_indirect_table_takes_one_slot (Fixture *f, gconstpointer data)
{
  HandSlot *table = hand_at (&f->hand, HAND_DATA + 0x101); /* at any address */

  for (guint i = 0; i < 3; i++)
    {
      /* all flags but WRITE are ignored, and the IDs too */
      HandSlot entry = { HAND_DATA + 0x1000 * (i + 1), 10, 0xffff,
                         (guint16) ~HAND_WRITE | (i > 0 ? HAND_WRITE : 0) };

      memcpy ((guint8 *) table + 16 * i, &entry, sizeof entry);
    }
  offer_one (f, HAND_DATA + 0x101, 48, 3, HAND_INDIRECT | HAND_WRITE);
  offer (f, 1, 2);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->head, ==, 3);
  g_assert_cmpuint (f->chains[0]->n_slots, ==, 1);
  g_assert_cmpuint (f->chains[0]->n_readable, ==, 1);
  g_assert_cmpuint (f->chains[0]->n_writable, ==, 2);
  take (f, 1);
  g_assert_cmpuint (f->chains[1]->n_slots, ==, 2);
}

static void
V21_indirect_without_the_feature (Fixture *f, gconstpointer data)
{
  f->ring.indirect = FALSE;
  offer_one (f, HAND_DATA, 16, 0, HAND_INDIRECT);
  assert_violation (f, "not negotiated");
}

static void
V21_indirect_with_next (Fixture *f, gconstpointer data)
{
  offer_one (f, HAND_DATA, 16, 0, HAND_INDIRECT | HAND_NEXT);
  assert_violation (f, "has a next one");
}

static void
V21_indirect_in_a_list_of_several (Fixture *f, gconstpointer data)
{
  HandSlot list[] = { { HAND_DATA, 4, 0, HAND_NEXT }, { HAND_DATA + 0x100, 16, 0, HAND_INDIRECT } };

  hand_offer_list (&f->hand, list, 2);
  assert_violation (f, "in a list of several");
}

static void
V21_indirect_tables_of_wrong_length (Fixture *f, gconstpointer data)
{
  offer_one (f, HAND_DATA, 0, 0, HAND_INDIRECT);
  assert_violation (f, "not a multiple of 16");
  hand_slots (&f->hand)[0].len = 24;
  assert_violation (f, "not a multiple of 16");
  hand_slots (&f->hand)[0].len = 1025 * 16;
  assert_violation (f, "1025 descriptors");
  hand_slots (&f->hand)[0].len = 32;
  hand_slots (&f->hand)[0].addr = HAND_BASE + HAND_SIZE - 16;
  assert_violation (f, "not wholly inside");
}

static void
V24_used_descriptors_say_whether_anything_was_written (Fixture *f, gconstpointer data)
{
  offer (f, 0, 1);
  offer (f, 1, 1);
  take (f, 0);
  take (f, 1);
  hand_slots (&f->hand)[0].len = 0x55555555;
  push (f, 0, 0);
  push (f, 1, 3);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 1, 0, 0);
  assert_used (f, 1, 1, 3);
}

/* A failed read: the data is not written, the status byte behind it is. */
static void
write_status_alone (Fixture *f)
{
  HandSlot used = { 0 };

  offer (f, 0, 1);
  take (f, 0);
  *vhost_chain_split_status (f->chains[0]) = 1;
  push (f, 0, 0);
  f->ring.ops->publish (&f->ring);
  g_assert_true (hand_take_used (&f->hand, 1, &used));
  g_assert_cmpuint (used.len, ==, 0);
  g_assert_cmphex (used.flags & HAND_WRITE, ==, HAND_WRITE);
}

static void
V24_a_byte_behind_a_gap_was_written (Fixture *f, gconstpointer data)
{
  write_status_alone (f);
}

static void
V24_a_byte_behind_a_gap_was_written_in_order (Fixture *f, gconstpointer data)
{
  f->ring.in_order = TRUE;
  g_assert_true (f->ring.ops->set_base (&f->ring, START, NULL));
  write_status_alone (f);
}

static void
V25_a_group_appears_with_its_first_descriptor (Fixture *f, gconstpointer data)
{
  HandSlot *slots = hand_slots (&f->hand);

  for (guint i = 0; i < 3; i++)
    {
      offer (f, i, 1);
      take (f, i);
    }
  for (guint i = 0; i < 3; i++)
    push (f, i, 1);
  g_assert_cmpuint (slots[0].flags & HAND_SLOT_USED, ==, 0);
  g_assert_cmpuint (slots[1].flags & HAND_SLOT_USED, !=, 0);
  assert_none_used (f);
  f->ring.ops->expose (&f->ring);
  for (guint i = 0; i < 3; i++)
    assert_used (f, 1, i, 1);
  /* exposed, and not decided about yet */
  g_assert_true (f->ring.ops->publish (&f->ring));
  g_assert_false (f->ring.ops->publish (&f->ring));
}

static gboolean
serve_one (Fixture *f)
{
  offer (f, 0, 1);
  take (f, 0);
  push (f, 0, 4);
  return f->ring.ops->publish (&f->ring);
}

static void
V35_call_follows_the_flags (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_AVAIL);

  for (guint i = 0; i < 12; i++)
    {
      event[1] = i % 4; /* 2 without EVENT_IDX, 3: call */
      g_assert_cmpint (serve_one (f), ==, i % 4 != 1);
    }
}

static void
V35_reserved_bits_are_ignored (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_AVAIL);

  event[1] = 0xfffc | 1;
  g_assert_false (serve_one (f));
}

/* By counting: was one of the @passed slots before the used position the one that is named? */
static gboolean
was_passed (Fixture *f, guint passed, guint16 offset, gboolean wrap)
{
  guint16 at = f->ring.next_used;
  gboolean at_wrap = f->ring.used_wrap;

  while (passed-- > 0)
    {
      if (at == 0)
        {
          at = (guint16) f->hand.size;
          at_wrap = !at_wrap;
        }
      at--;
      if (at == offset && at_wrap == wrap)
        return TRUE;
    }
  return FALSE;
}

static void
V35_call_follows_the_event (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_AVAIL);

  event[1] = 2;
  g_assert_true (serve_one (f)); /* no old position */
  for (guint slots = 1; slots <= 7; slots++)
    for (guint offset = 0; offset < 8; offset++)
      for (guint wrap = 0; wrap < 2; wrap++)
        for (guint start = 0; start < 14; start++)
          {
            gboolean call, expected;

            /* From each position: lists that skip slots count as passing them. */
            offer (f, 1, slots);
            take (f, 0);
            push (f, 0, 4);
            event[0] = (guint16) (offset | wrap << 15);
            call = f->ring.ops->publish (&f->ring);
            expected = offset >= 7 || was_passed (f, slots, (guint16) offset, wrap != 0);
            g_assert_cmpint (call, ==, expected);
            serve_one (f);
          }
}

static void
V35_more_than_a_round_is_always_called (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_AVAIL);

  serve_one (f);
  event[1] = 2;
  event[0] = 6; /* of the other round */
  for (guint i = 0; i < 8; i++)
    {
      offer (f, 0, 1);
      take (f, 0);
      push (f, 0, 4);
      f->ring.ops->expose (&f->ring);
    }
  g_assert_true (f->ring.ops->publish (&f->ring));
}

static void
V36_kicks_by_flags (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_USED);

  f->ring.ops->kicks_off (&f->ring);
  g_assert_cmpuint (event[1], ==, 1);
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (event[1], ==, 0);
  offer (f, 0, 1);
  g_assert_true (f->ring.ops->kicks_on (&f->ring)); /* V37 */
}

static void
V36_kicks_by_event (Fixture *f, gconstpointer data)
{
  guint16 *event = hand_at (&f->hand, HAND_USED);

  f->ring.ops->kicks_off (&f->ring);
  g_assert_cmpuint (event[1], ==, 1);
  offer (f, 0, 3);
  take (f, 0);
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (event[0], ==, 3 | 1u << 15);
  g_assert_cmpuint (event[1], ==, 2);
  push (f, 0, 0);
  offer (f, 1, 4);
  take (f, 0);
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (event[0], ==, 0);
}

#define ADD(name, up) g_test_add ("/ring-packed/" #name, Fixture, NULL, up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (takes_and_gives_back_a_list, set_up);
  ADD (goes_round_many_times, set_up);
  g_test_add ("/ring-packed/a_ring_of_one_goes_round_too", Fixture, NULL, set_up_one,
              goes_round_many_times, tear_down);
  ADD (fills_up_and_empties, set_up);
  ADD (ends_in_any_order, set_up);
  ADD (what_is_left_is_no_news, set_up);
  ADD (a_full_ring_can_be_left, set_up);
  ADD (waits_when_the_segment_budget_is_used_up, set_up);
  ADD (V2_misaligned_parts_are_refused, set_up);
  ADD (V3_the_whole_ring_must_be_mapped, set_up);
  ADD (V6_writes_nothing_but_used_descriptors_and_its_event, set_up);
  ADD (V7_base_carries_both_positions, set_up);
  ADD (V12_a_list_may_be_as_long_as_the_ring, set_up);
  ADD (V13_buffers_are_checked_whole, set_up);
  ADD (V14_readable_after_writable, set_up);
  ADD (V15_length_zero_adds_nothing, set_up);
  ADD (V18_both_flags_decide, set_up);
  ADD (V18_only_the_next_position_counts, set_up);
  ADD (V19_a_list_goes_on_at_slot_0, set_up);
  ADD (V19_a_list_without_end, set_up);
  ADD (V19_more_slots_in_flight_than_the_ring_has, set_up);
  ADD (V20_the_id_is_the_last_descriptors, set_up);
  ADD (V20_an_id_outside_the_ring, set_up);
  ADD (V20_an_id_still_in_flight, set_up);
  ADD (V21_an_indirect_table_takes_one_slot, set_up);
  ADD (V21_indirect_without_the_feature, set_up);
  ADD (V21_indirect_with_next, set_up);
  ADD (V21_indirect_in_a_list_of_several, set_up);
  ADD (V21_indirect_tables_of_wrong_length, set_up);
  ADD (V24_used_descriptors_say_whether_anything_was_written, set_up);
  ADD (V24_a_byte_behind_a_gap_was_written, set_up);
  ADD (V24_a_byte_behind_a_gap_was_written_in_order, set_up);
  ADD (V25_a_group_appears_with_its_first_descriptor, set_up);
  ADD (V35_call_follows_the_flags, set_up_flags);
  ADD (V35_reserved_bits_are_ignored, set_up);
  ADD (V35_call_follows_the_event, set_up);
  ADD (V35_more_than_a_round_is_always_called, set_up);
  ADD (V36_kicks_by_flags, set_up_flags);
  ADD (V36_kicks_by_event, set_up);
  return g_test_run ();
}
