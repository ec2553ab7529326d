/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of a vIOMMU's translations: what it takes, what stays of a range that is cut, and the
 * view that follows from it. */
#include "config.h"

#include "vhost-iotlb-private.h"

#include "guest-memory.h"
#include "vhost-error.h"

#define UVA G_GUINT64_CONSTANT (0x7f0000000000)
#define READ VHOST_MEMORY_READ
#define WRITE VHOST_MEMORY_WRITE
#define BOTH (READ | WRITE)

/* Two regions that are neighbours for the front-end, in the other order for the guest, and one
 * apart. */
static const VhostMemoryRegionInfo infos[] = {
  { 32 * PAGE, 16 * PAGE, UVA, 0 },
  { 0, 16 * PAGE, UVA + 16 * PAGE, 0 },
  { 64 * PAGE, 16 * PAGE, UVA + 64 * PAGE, 0 },
};

typedef struct
{
  VhostIotlb *table;
  VhostMemory *memory;
  guint8 *first, *second; /* the neighbours, in this process */
} Fixture;

static void
set_up (Fixture *self, gconstpointer data)
{
  self->table = vhost_iotlb_new ();
  self->memory = guest_memory_new (infos, G_N_ELEMENTS (infos), TRUE);
  self->first = guest_memory_at (self->memory, 32 * PAGE);
  self->second = guest_memory_at (self->memory, 0);
}

static void
tear_down (Fixture *self, gconstpointer data)
{
  vhost_iotlb_free (self->table);
  vhost_memory_unref (self->memory);
}

/* In pages, from the first region's begin. */
static void
update (Fixture *self, guint64 iova, guint64 n, guint64 to, guint access)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_iotlb_update (self->table, self->memory, iova * PAGE, n * PAGE,
                                     UVA + to * PAGE, access, &error));
  g_assert_no_error (error);
}

/* The view's slots as text: "iova+n=place:access ...", in pages. */
static void
assert_view (Fixture *self, const char *expected)
{
  g_autoptr (VhostMemory) view = vhost_iotlb_build_view (self->table, self->memory);
  g_autoptr (GString) text = g_string_new (NULL);

  g_assert_true (view->is_view);
  g_assert_cmpuint (vhost_memory_get_n_regions (view), ==, self->memory->n_regions);
  for (guint i = 0; i < view->n_slots; i++)
    {
      const VhostMemorySlot *slot = &view->slots[i];
      const VhostMemoryMapping *mapping = vhost_memory_find_host (view, slot->host);

      g_assert_nonnull (mapping);
      g_assert_cmpuint (slot->host - mapping->host + slot->size, <=, mapping->info.size);
      g_assert_cmpuint (view->keys[i], ==, slot->guest_address);
      g_string_append_printf (
          text, "%s%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT "=%" G_GUINT64_FORMAT ":%u",
          i > 0 ? " " : "", slot->guest_address / PAGE, slot->size / PAGE,
          (mapping->info.user_address - UVA + (guint64) (slot->host - mapping->host)) / PAGE,
          slot->access);
    }
  g_assert_cmpstr (text->str, ==, expected);
}

static void
test_translates_by_the_table_alone (Fixture *self, gconstpointer data)
{
  g_autoptr (VhostMemory) view = NULL;

  assert_view (self, "");
  update (self, 1000, 2, 3, READ);
  view = vhost_iotlb_build_view (self->table, self->memory);
  g_assert_true (guest_memory_at (view, 1000 * PAGE + 5) == self->first + 3 * PAGE + 5);
  g_assert_null (guest_memory_at (view, 1000 * PAGE - 1));
  g_assert_null (guest_memory_at (view, 1002 * PAGE));
  /* Guest addresses have no meaning. */
  g_assert_null (guest_memory_at (view, 32 * PAGE));
  g_assert_null (guest_memory_at (view, 0));
}

static gboolean
contradicts (Fixture *self, guint64 iova, guint64 n, guint64 to, guint access)
{
  return vhost_iotlb_contradicts (self->table, iova * PAGE, n * PAGE, UVA + to * PAGE, access);
}

static void
test_tells_what_takes_away (Fixture *self, gconstpointer data)
{
  g_assert_false (contradicts (self, 0, 8, 0, BOTH));
  update (self, 10, 4, 2, BOTH);
  update (self, 20, 4, 12, READ);
  /* The same, a part of it, more, beside it, with more rights. */
  g_assert_false (contradicts (self, 10, 4, 2, BOTH));
  g_assert_false (contradicts (self, 12, 1, 4, BOTH));
  g_assert_false (contradicts (self, 8, 20, 0, BOTH));
  g_assert_false (contradicts (self, 14, 6, 30, READ));
  g_assert_false (contradicts (self, 20, 4, 12, BOTH));
  /* Elsewhere, fewer rights, in one of two, with one page. */
  g_assert_true (contradicts (self, 10, 4, 3, BOTH));
  g_assert_true (contradicts (self, 10, 4, 2, READ));
  g_assert_true (contradicts (self, 20, 4, 12, WRITE));
  g_assert_true (contradicts (self, 0, 11, 0, BOTH));
  g_assert_true (contradicts (self, 13, 8, 5, READ));
  /* What will be refused. */
  g_assert_false (contradicts (self, 10, 0, 9, BOTH));
  g_assert_false (vhost_iotlb_contradicts (self->table, 2, G_MAXUINT64, 0, READ));
}

static void
test_refuses_bad_updates (Fixture *self, gconstpointer data)
{
  static const struct
  {
    guint64 iova, size, user_address;
    guint access;
    const char *words;
  } cases[] = {
    { 0, 0, UVA, BOTH, "size 0x0" },
    { PAGE, G_MAXUINT64, UVA, BOTH, "beyond the last address" },
    { G_MAXUINT64, 2, UVA, BOTH, "beyond the last address" },
    { 0, PAGE, UVA, 0, "permission 0" },
    { 0, PAGE, UVA, 4, "permission 4" },
    { 0, PAGE, UVA, 7, "permission 7" },
    { 0, PAGE, UVA, G_MAXUINT, "permission" },
    { 0, PAGE, UVA - 1, BOTH, "not wholly inside" },
    { 0, 32 * PAGE + 1, UVA, BOTH, "not wholly inside" },
    { 0, PAGE, UVA + 32 * PAGE, BOTH, "not wholly inside" },
    { 0, PAGE + 1, UVA + 79 * PAGE, BOTH, "not wholly inside" },
    { 0, G_MAXUINT64, UVA, BOTH, "not wholly inside" },
    { 0, PAGE, G_MAXUINT64, BOTH, "not wholly inside" },
    { 0, PAGE, 0, BOTH, "not wholly inside" },
  };
  g_autoptr (VhostMemory) empty = vhost_memory_new_empty ();

  update (self, 0, 1, 0, BOTH);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_false (vhost_iotlb_update (self->table, self->memory, cases[i].iova, cases[i].size,
                                          cases[i].user_address, cases[i].access, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      if (strstr (error->message, cases[i].words) == NULL)
        g_error ("\"%s\" does not say \"%s\"", error->message, cases[i].words);
    }
  g_assert_false (vhost_iotlb_update (self->table, empty, 0, 1, UVA, BOTH, NULL));
  assert_view (self, "0+1=0:3");
}

static void
test_a_newer_range_replaces_what_it_overlaps (Fixture *self, gconstpointer data)
{
  update (self, 10, 10, 0, BOTH);
  update (self, 13, 2, 64, READ);
  assert_view (self, "10+3=0:3 13+2=64:1 15+5=5:3");
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 3);
  update (self, 14, 3, 70, WRITE);
  assert_view (self, "10+3=0:3 13+1=64:1 14+3=70:2 17+3=7:3");
  update (self, 5, 7, 20, READ);
  assert_view (self, "5+7=20:1 12+1=2:3 13+1=64:1 14+3=70:2 17+3=7:3");
  update (self, 0, 30, 0, BOTH);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 1);
  assert_view (self, "0+16=0:3 16+14=16:3");
}

static void
test_the_same_range_again_only_changes_its_rights (Fixture *self, gconstpointer data)
{
  update (self, 10, 10, 0, READ);
  update (self, 10, 10, 0, BOTH);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 1);
  assert_view (self, "10+10=0:3");
}

static void
test_cuts_out_what_is_invalidated (Fixture *self, gconstpointer data)
{
  update (self, 10, 10, 0, BOTH);
  update (self, 30, 10, 64, BOTH);
  g_assert_false (vhost_iotlb_invalidate (self->table, 20 * PAGE, 10 * PAGE));
  g_assert_false (vhost_iotlb_invalidate (self->table, 0, 10 * PAGE));
  g_assert_false (vhost_iotlb_invalidate (self->table, 40 * PAGE, G_MAXUINT64));
  g_assert_true (vhost_iotlb_invalidate (self->table, 12 * PAGE, PAGE));
  assert_view (self, "10+2=0:3 13+7=3:3 30+10=64:3");
  g_assert_false (vhost_iotlb_invalidate (self->table, 12 * PAGE, PAGE));
  g_assert_true (vhost_iotlb_invalidate (self->table, 18 * PAGE, 13 * PAGE));
  assert_view (self, "10+2=0:3 13+5=3:3 31+9=65:3");
  g_assert_true (vhost_iotlb_invalidate (self->table, 0, 13 * PAGE + 1));
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 2);
}

static void
test_invalidates_everything (Fixture *self, gconstpointer data)
{
  update (self, 10, 10, 0, BOTH);
  update (self, 30, 10, 64, BOTH);
  /* Size 0 anywhere else is nothing at all. */
  g_assert_false (vhost_iotlb_invalidate (self->table, 15 * PAGE, 0));
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 2);
  g_assert_true (vhost_iotlb_invalidate (self->table, 15 * PAGE, G_MAXUINT64));
  assert_view (self, "10+5=0:3");
  g_assert_true (vhost_iotlb_invalidate (self->table, 0, 0));
  assert_view (self, "");
  g_assert_false (vhost_iotlb_invalidate (self->table, 0, 0));

  update (self, 10, 10, 0, BOTH);
  g_assert_true (vhost_iotlb_invalidate (self->table, 0, G_MAXUINT64));
  update (self, 10, 10, 0, BOTH);
  vhost_iotlb_clear (self->table);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 0);
}

static void
test_merges_neighbours (Fixture *self, gconstpointer data)
{
  update (self, 12, 1, 2, BOTH);
  update (self, 10, 1, 0, BOTH);
  update (self, 11, 1, 1, BOTH);
  assert_view (self, "10+3=0:3");
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, 3);
  /* Not with other rights, not where the memory lies elsewhere. */
  update (self, 13, 1, 3, READ);
  update (self, 14, 1, 5, READ);
  assert_view (self, "10+3=0:3 13+1=3:1 14+1=5:1");
}

static void
test_a_range_may_span_regions (Fixture *self, gconstpointer data)
{
  update (self, 100, 4, 14, BOTH);
  assert_view (self, "100+2=14:3 102+2=16:3");
}

static void
test_leaves_out_memory_that_is_gone (Fixture *self, gconstpointer data)
{
  VhostMemory *all = self->memory;

  update (self, 100, 32, 0, BOTH);
  update (self, 200, 2, 64, READ);

  self->memory = vhost_memory_remove (all, &infos[0], NULL);
  assert_view (self, "116+16=16:3 200+2=64:1");
  vhost_memory_unref (self->memory);
  self->memory = vhost_memory_remove (all, &infos[1], NULL);
  assert_view (self, "100+16=0:3 200+2=64:1");
  vhost_memory_unref (self->memory);
  self->memory = vhost_memory_remove (all, &infos[2], NULL);
  assert_view (self, "100+16=0:3 116+16=16:3");
  vhost_memory_unref (self->memory);
  self->memory = vhost_memory_new_empty ();
  assert_view (self, "");
  vhost_memory_unref (self->memory);
  /* It may come back. */
  self->memory = all;
  assert_view (self, "100+16=0:3 116+16=16:3 200+2=64:1");
}

static void
test_reaches_the_last_address (Fixture *self, gconstpointer data)
{
  const guint64 top = G_MAXUINT64 - (2 * PAGE - 1);
  g_autoptr (VhostMemory) view = NULL;
  guint64 missing;

  g_assert_true (
      vhost_iotlb_update (self->table, self->memory, top, 2 * PAGE, UVA + PAGE, BOTH, NULL));
  update (self, 0, 1, 0, BOTH);
  view = vhost_iotlb_build_view (self->table, self->memory);
  g_assert_true (guest_memory_at (view, top) == self->first + PAGE);
  g_assert_true (guest_memory_at (view, G_MAXUINT64) == self->first + 3 * PAGE - 1);
  g_assert_true (vhost_memory_holds (view, top, 2 * PAGE, BOTH, NULL));
  g_assert_false (vhost_memory_holds (view, top, 2 * PAGE + 1, BOTH, &missing));
  g_assert_true (vhost_iotlb_invalidate (self->table, G_MAXUINT64 - (PAGE - 1), PAGE));
  g_assert_true (vhost_iotlb_invalidate (self->table, top, PAGE));
  assert_view (self, "0+1=0:3");
}

static void
test_a_view_never_changes (Fixture *self, gconstpointer data)
{
  g_autoptr (VhostMemory) view = NULL;

  update (self, 10, 1, 0, BOTH);
  view = vhost_iotlb_build_view (self->table, self->memory);
  vhost_iotlb_clear (self->table);
  vhost_memory_unref (self->memory);
  self->memory = vhost_memory_new_empty ();
  /* And holds the memory. */
  *guest_memory_at (view, 10 * PAGE) = 1;
  g_assert_cmpuint (*self->first, ==, 1);
}

static void
test_forgets_the_oldest_when_full (Fixture *self, gconstpointer data)
{
  g_autoptr (VhostMemory) view = NULL;

  /* Not in the order of the addresses; every second page, so that none merge. */
  for (guint64 i = 0; i < VHOST_IOTLB_MAX_ENTRIES; i++)
    update (self, 2 * (i ^ 5), 1, i % 16, BOTH);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, VHOST_IOTLB_MAX_ENTRIES);
  /* The oldest but one becomes young. */
  update (self, 2 * (1 ^ 5), 1, 1, BOTH);
  for (guint64 i = 0; i < 3; i++)
    update (self, 10000 + 2 * i, 1, 0, BOTH);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, VHOST_IOTLB_MAX_ENTRIES);
  view = vhost_iotlb_build_view (self->table, self->memory);
  g_assert_null (guest_memory_at (view, 2 * (0 ^ 5) * PAGE));
  g_assert_nonnull (guest_memory_at (view, 2 * (1 ^ 5) * PAGE));
  g_assert_null (guest_memory_at (view, 2 * (2 ^ 5) * PAGE));
  g_assert_null (guest_memory_at (view, 2 * (3 ^ 5) * PAGE));
  g_assert_nonnull (guest_memory_at (view, 2 * (4 ^ 5) * PAGE));
  g_assert_nonnull (guest_memory_at (view, 10004 * PAGE));
}

static void
test_cutting_keeps_the_bound (Fixture *self, gconstpointer data)
{
  g_autoptr (VhostMemory) view = NULL;

  for (guint64 i = 0; i < VHOST_IOTLB_MAX_ENTRIES; i++)
    update (self, 4 * i, 3, i % 8, BOTH);
  update (self, 4 * 1000 + 1, 1, 64, READ);
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, VHOST_IOTLB_MAX_ENTRIES);
  g_assert_true (vhost_iotlb_invalidate (self->table, (4 * 1001 + 1) * PAGE, PAGE));
  g_assert_cmpuint (vhost_iotlb_get_n_entries (self->table), ==, VHOST_IOTLB_MAX_ENTRIES);
  view = vhost_iotlb_build_view (self->table, self->memory);
  g_assert_nonnull (guest_memory_at (view, (4 * 1000 + 1) * PAGE));
  g_assert_null (guest_memory_at (view, (4 * 1001 + 1) * PAGE));
  g_assert_nonnull (guest_memory_at (view, (4 * 1001 + 2) * PAGE));
}

/* Each of many ranges spans many regions: the view stays bounded. */
static void
test_many_ranges_over_many_regions_stay_bounded (void)
{
  enum
  {
    N = 500
  };
  g_autofree VhostMemoryRegionInfo *many = g_new0 (VhostMemoryRegionInfo, N);
  g_autoptr (VhostIotlb) table = vhost_iotlb_new ();
  g_autoptr (VhostMemory) memory = NULL;
  g_autoptr (VhostMemory) view = NULL;

  for (guint64 i = 0; i < N; i++)
    many[i] = (VhostMemoryRegionInfo){ 2 * i * PAGE, PAGE, UVA + i * PAGE, 0 };
  memory = guest_memory_new (many, N, TRUE);
  for (guint64 i = 0; i < VHOST_IOTLB_MAX_ENTRIES; i++)
    g_assert_true (vhost_iotlb_update (table, memory, i * N * PAGE, N * PAGE, UVA, BOTH, NULL));
  view = vhost_iotlb_build_view (table, memory);
  g_assert_cmpuint (view->n_slots, >=, N);
  g_assert_cmpuint (view->n_slots, <=, 4 * VHOST_IOTLB_MAX_ENTRIES);
  g_assert_true (vhost_memory_holds (view, 0, N * PAGE, BOTH, NULL));
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *path;
    void (*function) (Fixture *self, gconstpointer data);
  } tests[] = {
    { "/rules/I1-translates-by-the-table-alone", test_translates_by_the_table_alone },
    { "/rules/I3-cuts-out-what-is-invalidated", test_cuts_out_what_is_invalidated },
    { "/rules/I3-invalidates-everything", test_invalidates_everything },
    { "/rules/I4-refuses-bad-updates", test_refuses_bad_updates },
    { "/rules/I6-takes-the-same-range-again", test_the_same_range_again_only_changes_its_rights },
    { "/iotlb/a-newer-range-replaces-what-it-overlaps",
      test_a_newer_range_replaces_what_it_overlaps },
    { "/iotlb/merges-neighbours", test_merges_neighbours },
    { "/iotlb/a-range-may-span-regions", test_a_range_may_span_regions },
    { "/iotlb/leaves-out-memory-that-is-gone", test_leaves_out_memory_that_is_gone },
    { "/iotlb/reaches-the-last-address", test_reaches_the_last_address },
    { "/iotlb/a-view-never-changes", test_a_view_never_changes },
    { "/iotlb/tells-what-takes-away", test_tells_what_takes_away },
    { "/iotlb/forgets-the-oldest-when-full", test_forgets_the_oldest_when_full },
    { "/iotlb/cutting-keeps-the-bound", test_cutting_keeps_the_bound },
  };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
    g_test_add (tests[i].path, Fixture, NULL, set_up, tests[i].function, tear_down);
  g_test_add_func ("/iotlb/many-ranges-over-many-regions-stay-bounded",
                   test_many_ranges_over_many_regions_stay_bounded);
  return g_test_run ();
}
