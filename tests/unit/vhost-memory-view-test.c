/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views of the memory map, and the way back from user addresses and places in this process. */
#include "config.h"

#include "guest-memory.h"
#include "vhost-error.h"

#define UVA G_GUINT64_CONSTANT (0x7f0000000000)
#define READ VHOST_MEMORY_READ
#define WRITE VHOST_MEMORY_WRITE
#define BOTH (READ | WRITE)

static const VhostMemoryRegionInfo infos[] = {
  { 32 * PAGE, 16 * PAGE, UVA, 0 },
  { 0, 16 * PAGE, UVA + 16 * PAGE, 4096 },
};

/* IOVA pages 100 and 101 can be read, 102 written too; 104 lies alone. */
static VhostMemory *
new_view (VhostMemory *memory)
{
  guint8 *first = guest_memory_at (memory, 32 * PAGE);
  guint8 *second = guest_memory_at (memory, 0);
  const VhostMemorySlot slots[] = {
    { 100 * PAGE, PAGE, first + 7 * PAGE, READ },
    { 101 * PAGE, PAGE, second + PAGE, READ },
    { 102 * PAGE, PAGE, first, BOTH },
    { 104 * PAGE, PAGE, first + PAGE, BOTH },
  };

  return vhost_memory_new_view (memory, slots, G_N_ELEMENTS (slots));
}

static void
test_a_view_has_slots_of_its_own (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  g_autoptr (VhostMemory) none = vhost_memory_new_view (memory, NULL, 0);
  VhostMemoryCache cache = { 0 };
  guint8 *first = guest_memory_at (memory, 32 * PAGE);

  g_assert_false (memory->is_view);
  g_assert_true (view->is_view);
  g_assert_true (vhost_memory_translate (view, &cache, 102 * PAGE, PAGE) == first);
  g_assert_true (vhost_memory_translate (view, &cache, 104 * PAGE + 1, 1) == first + PAGE + 1);
  g_assert_null (vhost_memory_translate (view, &cache, 102 * PAGE, PAGE + 1));
  g_assert_null (vhost_memory_translate (view, &cache, 103 * PAGE, 1));
  g_assert_null (vhost_memory_lookup (none, 0));
  g_assert_null (vhost_memory_lookup (none, 32 * PAGE));
}

static void
test_a_view_tells_of_its_regions (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  g_autoptr (VhostMemory) again = vhost_memory_new_view (view, NULL, 0);
  guint64 guest, size, user;

  g_assert_cmpuint (vhost_memory_get_n_regions (view), ==, 2);
  g_assert_cmpuint (vhost_memory_get_size (view), ==, 32 * PAGE);
  g_assert_true (vhost_memory_get_region (view, 1, &guest, &size, &user));
  g_assert_cmpuint (guest, ==, 32 * PAGE);
  g_assert_cmpuint (size, ==, 16 * PAGE);
  g_assert_cmpuint (user, ==, UVA);
  g_assert_false (vhost_memory_get_region (view, 2, NULL, NULL, NULL));
  g_assert_true (vhost_memory_user_to_guest (view, UVA + 17 * PAGE, PAGE, &guest));
  g_assert_cmpuint (guest, ==, PAGE);
  /* A view of a view is one of the same regions. */
  g_assert_true (again->regions == memory);
}

static void
test_regions_live_as_long_as_their_views (void)
{
  VhostMemory *memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);

  vhost_memory_unref (memory);
  memset (guest_memory_at (view, 102 * PAGE), 1, PAGE);
  g_assert_cmpuint (vhost_memory_get_size (view), ==, 32 * PAGE);
}

static void
test_a_view_knows_that_a_file_shrank (void)
{
  int fds[] = { guest_memory_new_file (16 * PAGE) };
  int kept = dup (fds[0]);
  g_autoptr (VhostMemory) memory = vhost_memory_new_take_fds (infos, fds, 1, FALSE, NULL);
  const VhostMemorySlot slot
      = { 100 * PAGE, PAGE, (guint8 *) guest_memory_at (memory, 32 * PAGE), BOTH };
  g_autoptr (VhostMemory) view = vhost_memory_new_view (memory, &slot, 1);

  g_assert_false (vhost_memory_is_poisoned (view));
  g_assert_cmpint (ftruncate (kept, 0), ==, 0);
  memset (guest_memory_at (view, 100 * PAGE), 1, 1);
  g_assert_true (vhost_memory_is_poisoned (view));
  g_assert_true (vhost_memory_is_poisoned (memory));
  close (kept);
}

static void
test_holds_what_follows_each_other (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  guint64 missing = 1;

  g_assert_true (vhost_memory_holds (view, 100 * PAGE, 3 * PAGE, READ, &missing));
  g_assert_true (vhost_memory_holds (view, 103 * PAGE - 1, 1, BOTH, &missing));
  g_assert_true (vhost_memory_holds (view, 103 * PAGE, 0, BOTH, &missing));
  g_assert_cmpuint (missing, ==, 1);
  g_assert_false (vhost_memory_holds (view, 100 * PAGE + 5, 3 * PAGE, READ, &missing));
  g_assert_cmpuint (missing, ==, 103 * PAGE);
  g_assert_false (vhost_memory_holds (view, 102 * PAGE, G_MAXUINT64, READ, &missing));
  g_assert_cmpuint (missing, ==, 103 * PAGE);
  g_assert_false (vhost_memory_holds (view, 7, 1, READ, &missing));
  g_assert_cmpuint (missing, ==, 7);
  /* Rights are part of it: the first byte that may not be written. */
  g_assert_false (vhost_memory_holds (view, 100 * PAGE + 9, PAGE, WRITE, &missing));
  g_assert_cmpuint (missing, ==, 100 * PAGE + 9);
  g_assert_false (vhost_memory_holds (view, 101 * PAGE, 2 * PAGE, BOTH, NULL));
}

static void
test_copies_by_rights (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  g_autoptr (GError) error = NULL;
  guint8 bytes[8] = "abcdefg";
  guint8 copy[8];

  g_assert_true (vhost_memory_write (view, 102 * PAGE, bytes, 8, &error));
  g_assert_true (vhost_memory_read (view, 102 * PAGE, copy, 8, &error));
  g_assert_cmpmem (copy, 8, bytes, 8);
  g_assert_true (vhost_memory_read (view, 101 * PAGE - 4, copy, 8, &error));
  g_assert_no_error (error);
  g_assert_false (vhost_memory_write (view, 101 * PAGE, bytes, 8, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
}

static void
test_finds_guest_addresses_of_places (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  g_autoptr (VhostMemory) empty = vhost_memory_new_empty ();
  guint8 *second = guest_memory_at (memory, 0);
  guint8 outside;
  guint64 guest = 1;

  for (guint i = 0; i < 2; i++)
    {
      VhostMemory *map = i == 0 ? memory : view;

      g_assert_true (vhost_memory_host_to_guest (map, second + 3 * PAGE + 1, PAGE, &guest));
      g_assert_cmpuint (guest, ==, 3 * PAGE + 1);
      g_assert_true (
          vhost_memory_host_to_guest (map, guest_memory_at (memory, 33 * PAGE), PAGE, &guest));
      g_assert_cmpuint (guest, ==, 33 * PAGE);
      g_assert_true (vhost_memory_host_to_guest (map, second, 16 * PAGE, &guest));
      g_assert_cmpuint (guest, ==, 0);
      g_assert_false (vhost_memory_host_to_guest (map, second, 16 * PAGE + 1, &guest));
      g_assert_false (vhost_memory_host_to_guest (map, second + 1, G_MAXUINT64, &guest));
      g_assert_false (vhost_memory_host_to_guest (map, &outside, 1, &guest));
      g_assert_false (vhost_memory_host_to_guest (map, NULL, 1, &guest));
    }
  /* What the file has before the region is not the region's. */
  g_assert_false (vhost_memory_host_to_guest (memory, second - 1, 1, &guest));
  g_assert_false (vhost_memory_host_to_guest (empty, second, 1, &guest));
  g_assert_false (vhost_memory_user_to_guest (empty, UVA, 1, &guest));
}

static void
test_finds_each_of_many_regions (void)
{
  enum
  {
    N = VHOST_MEMORY_MAX_REGIONS
  };
  g_autofree VhostMemoryRegionInfo *many = g_new0 (VhostMemoryRegionInfo, N);
  g_autoptr (VhostMemory) memory = NULL;

  /* User addresses descend as guest addresses ascend. */
  for (guint64 i = 0; i < N; i++)
    many[i] = (VhostMemoryRegionInfo){ 3 * i * PAGE, PAGE, UVA - 2 * i * PAGE, 0 };
  memory = guest_memory_new (many, N, TRUE);
  for (guint64 i = 0; i < N; i++)
    {
      guint8 *host = guest_memory_at (memory, 3 * i * PAGE);
      guint64 guest;

      g_assert_true (vhost_memory_host_to_guest (memory, host + PAGE - 1, 1, &guest));
      g_assert_cmpuint (guest, ==, 3 * i * PAGE + PAGE - 1);
      g_assert_true (vhost_memory_user_to_guest (memory, UVA - 2 * i * PAGE, PAGE, &guest));
      g_assert_cmpuint (guest, ==, 3 * i * PAGE);
      g_assert_null (vhost_memory_find_user (memory, UVA - 2 * i * PAGE + PAGE));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/memory-view/has-slots-of-its-own", test_a_view_has_slots_of_its_own);
  g_test_add_func ("/memory-view/tells-of-its-regions", test_a_view_tells_of_its_regions);
  g_test_add_func ("/memory-view/keeps-its-regions", test_regions_live_as_long_as_their_views);
  g_test_add_func ("/memory-view/knows-that-a-file-shrank", test_a_view_knows_that_a_file_shrank);
  g_test_add_func ("/memory-view/holds-what-follows-each-other",
                   test_holds_what_follows_each_other);
  g_test_add_func ("/memory-view/copies-by-rights", test_copies_by_rights);
  g_test_add_func ("/memory-view/finds-guest-addresses-of-places",
                   test_finds_guest_addresses_of_places);
  g_test_add_func ("/memory-view/finds-each-of-many-regions", test_finds_each_of_many_regions);
  return g_test_run ();
}
