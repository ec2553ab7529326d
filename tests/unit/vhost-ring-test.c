/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ring layouts promise in the same way: IN_ORDER, calls when nothing is left, marks in a
 * dirty log, missing translations, tracking in flight; and rings of the other byte order. */
#include "hand-ring.h"

#include "vhost-error.h"

#define START 0x80008000u
#define SIZE 8u
#define LOG_BYTES 4096u
#define LOG_AT G_GUINT64_CONSTANT (0x3000000) /* log_guest_addr: outside of the memory table */
#define PAGE G_GUINT64_CONSTANT (4096)

typedef enum
{
  SPLIT,
  PACKED,
  SWAPPED
} Layout;

typedef struct
{
  HandRing hand;
  Layout layout;
  VhostRing ring;
  VhostMemoryCache cache;
  VhostMemory *view;
  VhostChain *chains[SIZE];
  guint64 budget;
  VhostInflight *area;
  VhostDirtyLog *log;
  guint8 *log_bytes;
} Fixture;

static void
start (Fixture *f, gboolean event_idx, gboolean in_order)
{
  static const VhostRingOps *ops[]
      = { &vhost_ring_split_ops, &vhost_ring_packed_ops, &vhost_ring_split_swapped_ops };
  g_autoptr (GError) error = NULL;
  guint32 base = f->layout == PACKED ? START : f->ring.ops != NULL ? hand_used_index (&f->hand) : 0;

  memset (&f->cache, 0, sizeof f->cache);
  vhost_ring_init (&f->ring, ops[f->layout], SIZE);
  f->ring.memory = f->view != NULL ? f->view : f->hand.memory;
  f->ring.cache = &f->cache;
  f->ring.descriptor_address = HAND_DESC;
  f->ring.available_address = HAND_AVAIL;
  f->ring.used_address = HAND_USED;
  f->ring.event_idx = event_idx;
  f->ring.indirect = TRUE;
  f->ring.in_order = in_order;
  f->ring.segments_left = &f->budget;
  if (f->area != NULL)
    f->ring.inflight = vhost_inflight_region_new (f->area, 0, SIZE, &error);
  g_assert_no_error (error);
  f->ring.ops->place (&f->ring, &error);
  g_assert_no_error (error);
  f->ring.ops->set_base (&f->ring, base, &error);
  g_assert_no_error (error);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  memset (f, 0, sizeof *f);
  f->layout = GPOINTER_TO_UINT (data);
  hand_ring_init (&f->hand, SIZE);
  f->budget = 128 * 1024;
  for (guint i = 0; i < SIZE; i++)
    f->chains[i] = vhost_chain_new (NULL, 0);
  start (f, FALSE, FALSE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < SIZE; i++)
    vhost_chain_unref (f->chains[i]);
  vhost_ring_clear (&f->ring);
  g_clear_pointer (&f->view, vhost_memory_unref);
  g_clear_pointer (&f->area, vhost_inflight_unref);
  g_clear_pointer (&f->log, vhost_dirty_log_unref);
  if (f->log_bytes != NULL)
    munmap (f->log_bytes, LOG_BYTES);
  hand_ring_clear (&f->hand);
}

/* One descriptor at @address, as request @id. */
static void
offer_at (Fixture *f, guint16 id, guint64 address, guint32 length, guint16 flags)
{
  HandSlot slot = { address, length, id, flags };

  if (f->layout == PACKED)
    hand_offer_list (&f->hand, &slot, 1);
  else
    {
      hand_desc (&f->hand, id, address, length, flags, 0);
      hand_offer (&f->hand, id);
    }
}

static void
offer (Fixture *f, guint16 id)
{
  offer_at (f, id, HAND_DATA + PAGE * id, 4, HAND_WRITE);
}

static VhostRingResult
pop (Fixture *f, guint i, GError **error)
{
  f->budget += vhost_chain_recycle (f->chains[i]);
  return f->ring.ops->pop (&f->ring, f->chains[i], error);
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
offer_and_take (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    {
      offer (f, (guint16) i);
      take (f, i);
    }
}

static void
push (Fixture *f, guint i, guint32 length)
{
  f->ring.ops->push (&f->ring, f->chains[i], length);
}

/* The next entry that the driver sees, which stands for @n requests. */
static void
assert_used (Fixture *f, guint n, guint id, guint length)
{
  if (f->layout == PACKED)
    {
      HandSlot used = { 0 };

      g_assert_true (hand_take_used (&f->hand, n, &used));
      g_assert_cmpuint (used.id, ==, id);
      g_assert_cmpuint (used.len, ==, length);
    }
  else
    {
      guint32 used_id, used_length;

      g_assert_cmpuint ((guint16) (hand_used_index (&f->hand) - f->hand.used_idx), >=, n);
      hand_used (&f->hand, f->hand.used_idx, &used_id, &used_length);
      g_assert_cmpuint (used_id, ==, id);
      g_assert_cmpuint (used_length, ==, length);
      f->hand.used_idx += n;
    }
}

static void
assert_none_used (Fixture *f)
{
  HandSlot used;

  if (f->layout == PACKED)
    g_assert_false (hand_take_used (&f->hand, 1, &used));
  else
    g_assert_cmpuint (hand_used_index (&f->hand), ==, f->hand.used_idx);
}

/* ---- IN_ORDER ---- */

static void
V27_what_ends_early_waits (Fixture *f, gconstpointer data)
{
  start (f, FALSE, TRUE);
  offer_and_take (f, 3);
  push (f, 2, 1);
  push (f, 1, 1);
  g_assert_false (f->ring.ops->publish (&f->ring));
  assert_none_used (f);
  push (f, 0, 1);
  g_assert_true (f->ring.ops->publish (&f->ring));
  for (guint i = 0; i < 3; i++)
    assert_used (f, 1, i, 1);
  assert_none_used (f);
}

static void
V27_a_head_that_waits_is_in_flight (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  start (f, FALSE, TRUE);
  offer_and_take (f, 2);
  push (f, 1, 4);
  f->ring.ops->publish (&f->ring);
  offer (f, 1);
  g_assert_cmpint (pop (f, 7, &error), ==, VHOST_RING_VIOLATION);
  g_assert_nonnull (strstr (error->message, "still in flight"));
}

static void
V28_one_entry_for_a_batch (Fixture *f, gconstpointer data)
{
  start (f, FALSE, TRUE);
  offer_and_take (f, 5);
  push (f, 1, 4);
  push (f, 0, 4); /* in full */
  push (f, 2, 3); /* not in full: ends the batch */
  push (f, 3, 4);
  g_assert_true (f->ring.ops->publish (&f->ring));
  assert_used (f, 3, 2, 3);
  assert_used (f, 1, 3, 4);
  assert_none_used (f);
  push (f, 4, 0);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 1, 4, 0);
  assert_none_used (f);
}

static void
V28_what_has_nothing_to_write_is_used_in_full (Fixture *f, gconstpointer data)
{
  start (f, FALSE, TRUE);
  for (guint i = 0; i < 3; i++)
    {
      offer_at (f, (guint16) i, HAND_DATA, 16, 0);
      take (f, i);
      push (f, i, 0);
    }
  f->ring.ops->expose (&f->ring);
  assert_used (f, 3, 2, 0);
  g_assert_true (f->ring.ops->publish (&f->ring));
}

static void
in_order_goes_round_many_times (Fixture *f, gconstpointer data)
{
  start (f, TRUE, TRUE);
  for (guint round = 0; round < 100; round++)
    {
      guint n = 1 + round % SIZE;

      offer_and_take (f, n);
      for (guint i = n; i-- > 0;)
        push (f, i, 4);
      f->ring.ops->publish (&f->ring);
      assert_used (f, n, n - 1, 4);
      assert_none_used (f);
    }
}

/* ---- Calls ---- */

static void
V39_calls_when_nothing_is_left (Fixture *f, gconstpointer data)
{
  guint16 *available = hand_at (&f->hand, HAND_AVAIL);

  available[f->layout == PACKED ? 1 : 0] = 1; /* no calls, please */
  f->ring.notify_on_empty = TRUE;
  offer (f, 0);
  offer (f, 1);
  take (f, 0);
  push (f, 0, 4);
  g_assert_false (f->ring.ops->publish (&f->ring));
  take (f, 1);
  push (f, 1, 4);
  g_assert_true (f->ring.ops->publish (&f->ring));
  g_assert_false (f->ring.ops->publish (&f->ring));
}

/* ---- The dirty log ---- */

static void
start_log (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  int fd = memfd_create ("log", MFD_CLOEXEC);

  g_assert_cmpint (ftruncate (fd, LOG_BYTES), ==, 0);
  f->log_bytes = mmap (NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  g_assert_true (f->log_bytes != MAP_FAILED);
  f->log = vhost_dirty_log_new_take_fd (fd, LOG_BYTES, 0, &error);
  g_assert_no_error (error);
  f->ring.log = f->log;
  f->ring.log_used = TRUE;
  f->ring.log_address = LOG_AT;
}

/* Whether the page was marked; forgets it. */
static gboolean
take_mark (Fixture *f, guint64 address)
{
  guint64 page = address / PAGE;
  guint8 bit = (guint8) (1u << page % 8);
  gboolean marked = (f->log_bytes[page / 8] & bit) != 0;

  f->log_bytes[page / 8] &= (guint8) ~bit;
  return marked;
}

static void
assert_no_marks (Fixture *f)
{
  for (guint i = 0; i < LOG_BYTES; i++)
    g_assert_cmpuint (f->log_bytes[i], ==, 0);
}

static void
L8_every_write_to_the_ring_is_marked (Fixture *f, gconstpointer data)
{
  start_log (f);
  f->ring.ops->kicks_off (&f->ring);
  g_assert_true (take_mark (f, LOG_AT));
  f->ring.ops->kicks_on (&f->ring);
  g_assert_true (take_mark (f, LOG_AT));
  assert_no_marks (f);
  offer_and_take (f, 2);
  assert_no_marks (f);
  for (guint i = 0; i < 2; i++)
    {
      push (f, i, 4);
      /* L13: used descriptors are not where the log address is */
      g_assert_true (take_mark (f, f->layout == PACKED ? HAND_DESC : LOG_AT));
      f->ring.ops->expose (&f->ring);
      g_assert_true (take_mark (f, f->layout == PACKED ? HAND_DESC : LOG_AT));
      assert_no_marks (f);
    }
}

static void
L2_nothing_is_marked_without_the_flag (Fixture *f, gconstpointer data)
{
  start_log (f);
  f->ring.log_used = FALSE;
  offer_and_take (f, 1);
  push (f, 0, 4);
  f->ring.ops->publish (&f->ring);
  f->ring.ops->kicks_on (&f->ring);
  assert_no_marks (f);
}

/* ---- A vIOMMU ---- */

/* I/O addresses are the guest's addresses here, page by page, but for those left out; pages can lie
 * elsewhere than their neighbours. */
static void
set_view (Fixture *f, guint64 without, guint access, guint64 elsewhere)
{
  GArray *slots = g_array_new (FALSE, TRUE, sizeof (VhostMemorySlot));
  VhostMemory *old = f->view;

  for (guint64 page = HAND_BASE; page < HAND_BASE + 0x300000; page += PAGE)
    {
      VhostMemorySlot slot = { page, PAGE, f->hand.memory->slots[0].host + (page - HAND_BASE), 3 };

      if (page == without)
        slot.access = access;
      if (page == elsewhere)
        slot.host += 0x300000 - (page - HAND_BASE);
      if (slot.access != 0)
        g_array_append_val (slots, slot);
    }
  f->view = vhost_memory_new_view (f->hand.memory, (VhostMemorySlot *) (gpointer) slots->data,
                                   slots->len);
  g_array_unref (slots);
  f->ring.memory = f->view;
  memset (&f->cache, 0, sizeof f->cache);
  g_clear_pointer (&old, vhost_memory_unref);
}

static void
assert_miss (Fixture *f, guint64 address, guint access)
{
  guint32 base = f->ring.ops->get_base (&f->ring);

  for (guint i = 0; i < 2; i++)
    {
      g_assert_cmpint (pop (f, 7, NULL), ==, VHOST_RING_MISS);
      g_assert_cmpuint (f->ring.miss_address, ==, address);
      g_assert_cmpuint (f->ring.miss_access, ==, access);
      g_assert_cmpuint (f->ring.ops->get_base (&f->ring), ==, base);
      g_assert_true (f->ring.ops->has_available (&f->ring));
    }
}

static void
I5_a_buffer_without_translation_is_asked_for (Fixture *f, gconstpointer data)
{
  guint64 page = HAND_DATA + PAGE;

  set_view (f, page, 0, 0);
  offer_at (f, 0, page - 8, 16, 0);
  assert_miss (f, page, VHOST_MEMORY_READ);
  set_view (f, page, VHOST_MEMORY_WRITE, 0);
  assert_miss (f, page, VHOST_MEMORY_READ);
  set_view (f, page, VHOST_MEMORY_READ, 0);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->readable_size, ==, 16);
}

static void
I5_a_writable_buffer_needs_the_right_to_write (Fixture *f, gconstpointer data)
{
  set_view (f, HAND_DATA, VHOST_MEMORY_READ, 0);
  offer_at (f, 0, HAND_DATA + 4, 16, HAND_WRITE);
  assert_miss (f, HAND_DATA + 4, VHOST_MEMORY_WRITE);
  set_view (f, HAND_DATA, VHOST_MEMORY_WRITE, 0);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->writable_size, ==, 16);
}

static void
I5_an_indirect_table_without_translation_is_asked_for (Fixture *f, gconstpointer data)
{
  guint64 table = HAND_DATA + 4 * PAGE;
  guint64 second = table + PAGE;

  set_view (f, second, 0, 0);
  offer_at (f, 0, table + PAGE - 16, 32, HAND_INDIRECT);
  assert_miss (f, second, VHOST_MEMORY_READ);
}

static void
V17_an_indirect_table_may_lie_in_pages_apart (Fixture *f, gconstpointer data)
{
  guint64 second = HAND_DATA + 5 * PAGE;
  guint64 table = second - 16;
  HandDesc *first_entry = hand_at (&f->hand, table);
  HandDesc *second_entry = hand_at (&f->hand, HAND_BASE + 0x300000);

  *first_entry = (HandDesc){ HAND_DATA, 4, 1, 1 };
  /* packed: the last two fields are the ID and the flags */
  *second_entry = (HandDesc){ HAND_DATA + 0x100, 8, 2, f->layout == PACKED ? 2 : 0 };
  set_view (f, 0, 0, second);
  offer_at (f, 0, table, 32, HAND_INDIRECT);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->readable_size, ==, 4);
  g_assert_cmpuint (f->chains[0]->writable_size, ==, 8);
}

static void
V3_a_part_without_translation_is_no_fault (Fixture *f, gconstpointer data)
{
  guint64 parts[] = { HAND_DESC, HAND_AVAIL, HAND_USED };
  guint split[] = { VHOST_MEMORY_READ, VHOST_MEMORY_READ, VHOST_MEMORY_WRITE };

  split[0] = f->layout == PACKED ? VHOST_MEMORY_READ | VHOST_MEMORY_WRITE : VHOST_MEMORY_READ;
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (GError) error = NULL;

      set_view (f, parts[i], 0, 0);
      g_assert_false (f->ring.ops->place (&f->ring, &error));
      g_assert_nonnull (error);
      g_assert_true (f->ring.missed);
      g_assert_cmpuint (f->ring.miss_address, ==, parts[i]);
      g_assert_cmpuint (f->ring.miss_access, ==, split[i]);
      g_clear_error (&error);
      set_view (f, parts[i], split[i], 0);
      g_assert_true (f->ring.ops->place (&f->ring, &error));
      g_assert_no_error (error);
      g_assert_false (f->ring.missed);
    }
}

static void
L12_the_log_address_goes_through_the_view (Fixture *f, gconstpointer data)
{
  guint64 log_at = HAND_DATA + 0x20000;

  set_view (f, 0, 0, log_at);
  start_log (f);
  f->ring.log_address = log_at;
  f->ring.ops->kicks_off (&f->ring);
  g_assert_true (take_mark (f, HAND_BASE + 0x300000));
  assert_no_marks (f);
}

/* ---- In-flight tracking; the order of stores is the model test's ---- */

static void
start_tracking (Fixture *f, gboolean in_order)
{
  g_autoptr (GError) error = NULL;

  f->area = vhost_inflight_new (1, SIZE, f->layout == PACKED, &error);
  g_assert_no_error (error);
  start (f, FALSE, in_order);
}

static void
IF5_what_was_taken_is_served_again_first (Fixture *f, gconstpointer data)
{
  start_tracking (f, FALSE);
  offer_and_take (f, 4);
  push (f, 1, 4);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 1, 1, 4);
  offer (f, 5);
  start (f, FALSE, FALSE);
  g_assert_cmpuint (f->ring.n_resubmit, ==, 3);
  g_assert_true (f->ring.ops->has_available (&f->ring));
  for (guint i = 0; i < 4; i++)
    {
      static const guint heads[] = { 0, 2, 3, 5 };

      take (f, i);
      g_assert_cmpuint (f->chains[i]->head, ==, heads[i]);
      g_assert_cmpuint (f->chains[i]->writable_size, ==, 4);
      push (f, i, 4);
    }
  g_assert_cmpuint (f->ring.n_resubmit, ==, 0);
  g_assert_cmpint (pop (f, 4, NULL), ==, VHOST_RING_EMPTY);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 1, 0, 4);
  assert_used (f, 1, 2, 4);
  assert_used (f, 1, 3, 4);
  assert_used (f, 1, 5, 4);
}

static void
what_is_to_be_served_again_can_be_left_too (Fixture *f, gconstpointer data)
{
  start_tracking (f, FALSE);
  offer_and_take (f, 2);
  start (f, FALSE, FALSE);
  f->ring.ops->leave (&f->ring, f->ring.ops->look (&f->ring));
  g_assert_false (f->ring.ops->has_available (&f->ring));
  take (f, 0);
  g_assert_true (f->ring.ops->has_available (&f->ring));
}

static void
IF12_what_waits_for_its_turn_stays_recorded (Fixture *f, gconstpointer data)
{
  start_tracking (f, TRUE);
  offer_and_take (f, 2);
  push (f, 1, 4); /* done, but its turn has not come */
  f->ring.ops->publish (&f->ring);
  start (f, FALSE, TRUE);
  g_assert_cmpuint (f->ring.n_resubmit, ==, 2);
  take (f, 0);
  take (f, 1);
  push (f, 0, 4);
  push (f, 1, 4);
  f->ring.ops->publish (&f->ring);
  assert_used (f, 2, 1, 4);
}

static void
a_request_served_again_is_checked_again (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  start_tracking (f, FALSE);
  offer_and_take (f, 1);
  if (f->layout == PACKED)
    {
      /* The area's copy counts. It is the front-end's to change: the address is its last field. */
      guint8 *bytes = mmap (NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                            vhost_inflight_get_fd (f->area), 0);
      guint64 *address = (guint64 *) (gpointer) (bytes + 32 + 24);

      g_assert_cmpuint (*address, ==, HAND_DATA);
      *address = 1;
      munmap (bytes, 4096);
    }
  else
    hand_desc (&f->hand, 0, 1, 4, 0, 0);
  start (f, FALSE, FALSE);
  g_assert_cmpint (pop (f, 0, &error), ==, VHOST_RING_VIOLATION);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_assert_nonnull (strstr (error->message, "to be served again"));
}

static void
a_request_served_again_may_miss (Fixture *f, gconstpointer data)
{
  start_tracking (f, FALSE);
  offer_and_take (f, 1);
  set_view (f, 0, 0, 0);
  start (f, FALSE, FALSE);
  set_view (f, HAND_DATA, 0, 0);
  assert_miss (f, HAND_DATA, VHOST_MEMORY_WRITE);
  g_assert_cmpuint (f->ring.n_resubmit, ==, 1);
  set_view (f, 0, 0, 0);
  take (f, 0);
}

/* ---- Byte order ---- */

static void
V5_a_big_endian_ring (Fixture *f, gconstpointer data)
{
  HandDesc *desc = hand_at (&f->hand, HAND_DESC);
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x1000);
  guint16 *available = hand_at (&f->hand, HAND_AVAIL);
  guint16 *used = hand_at (&f->hand, HAND_USED);
  guint32 *elements = (guint32 *) (gpointer) (used + 2);

  start (f, TRUE, FALSE);
  desc[2] = (HandDesc){ GUINT64_TO_BE (HAND_DATA), GUINT32_TO_BE (16), GUINT16_TO_BE (1),
                        GUINT16_TO_BE (5) };
  desc[5]
      = (HandDesc){ GUINT64_TO_BE (HAND_DATA + 0x1000), GUINT32_TO_BE (16), GUINT16_TO_BE (4), 0 };
  table[0] = (HandDesc){ GUINT64_TO_BE (HAND_DATA + 64), GUINT32_TO_BE (3), GUINT16_TO_BE (2), 0 };
  available[2] = GUINT16_TO_BE (2);
  available[1] = GUINT16_TO_BE (1);
  take (f, 0);
  g_assert_cmpuint (f->chains[0]->head, ==, 2);
  g_assert_cmpuint (f->chains[0]->readable_size, ==, 16);
  g_assert_cmpuint (f->chains[0]->writable_size, ==, 3);
  push (f, 0, 3);
  g_assert_true (f->ring.ops->publish (&f->ring));
  g_assert_cmpuint (used[1], ==, GUINT16_TO_BE (1));
  g_assert_cmpuint (elements[0], ==, GUINT32_TO_BE (2));
  g_assert_cmpuint (elements[1], ==, GUINT32_TO_BE (3));
  g_assert_false (f->ring.ops->kicks_on (&f->ring));
  g_assert_cmpuint (used[2 + 4 * SIZE], ==, GUINT16_TO_BE (1));

  /* used_event */
  available[3] = GUINT16_TO_BE (2);
  available[2 + SIZE] = GUINT16_TO_BE (1);
  available[1] = GUINT16_TO_BE (2);
  take (f, 0);
  push (f, 0, 3);
  g_assert_true (f->ring.ops->publish (&f->ring));
}

static void
V8_a_big_endian_index_too_far_ahead (Fixture *f, gconstpointer data)
{
  guint16 *available = hand_at (&f->hand, HAND_AVAIL);
  g_autoptr (GError) error = NULL;

  available[1] = GUINT16_TO_BE (SIZE + 1);
  g_assert_cmpint (pop (f, 0, &error), ==, VHOST_RING_VIOLATION);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
}

#define ADD_TO(layout, kind, name)                                                                 \
  g_test_add ("/ring/" layout "/" #name, Fixture, GUINT_TO_POINTER (kind), set_up, name, tear_down)
#define ADD(name)                                                                                  \
  ADD_TO ("split", SPLIT, name);                                                                   \
  ADD_TO ("packed", PACKED, name)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (V27_what_ends_early_waits);
  ADD (V27_a_head_that_waits_is_in_flight);
  ADD (V28_one_entry_for_a_batch);
  ADD (V28_what_has_nothing_to_write_is_used_in_full);
  ADD (in_order_goes_round_many_times);
  ADD (V39_calls_when_nothing_is_left);
  ADD (L2_nothing_is_marked_without_the_flag);
  ADD (L8_every_write_to_the_ring_is_marked);
  ADD (L12_the_log_address_goes_through_the_view);
  ADD (I5_a_buffer_without_translation_is_asked_for);
  ADD (I5_a_writable_buffer_needs_the_right_to_write);
  ADD (I5_an_indirect_table_without_translation_is_asked_for);
  ADD (V17_an_indirect_table_may_lie_in_pages_apart);
  ADD (V3_a_part_without_translation_is_no_fault);
  ADD (IF5_what_was_taken_is_served_again_first);
  ADD (what_is_to_be_served_again_can_be_left_too);
  ADD (IF12_what_waits_for_its_turn_stays_recorded);
  ADD (a_request_served_again_is_checked_again);
  ADD (a_request_served_again_may_miss);
  ADD_TO ("swapped", SWAPPED, V5_a_big_endian_ring);
  ADD_TO ("swapped", SWAPPED, V8_a_big_endian_index_too_far_ahead);
  return g_test_run ();
}
