/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Windows: pages that lie apart become one piece, and only those. */
#include "config.h"

#include "guest-memory.h"

#define UVA G_GUINT64_CONSTANT (0x7f0000000000)
#define READ VHOST_MEMORY_READ
#define WRITE VHOST_MEMORY_WRITE
#define BOTH (READ | WRITE)

static const VhostMemoryRegionInfo infos[] = {
  { 32 * PAGE, 16 * PAGE, UVA, 0 },
  { 0, 16 * PAGE, UVA + 16 * PAGE, 3 * PAGE },
};

static guint
count_mappings (void)
{
  g_autofree char *maps = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents ("/proc/self/maps", &maps, NULL, NULL));
  for (const char *at = maps; (at = strstr (at, "guest-memory")) != NULL; at++)
    n++;
  return n;
}

/* IOVA pages 100 to 102 lie in both regions, in no order; 103 can only be read. */
static VhostMemory *
new_view (VhostMemory *memory)
{
  guint8 *first = guest_memory_at (memory, 32 * PAGE);
  guint8 *second = guest_memory_at (memory, 0);
  const VhostMemorySlot slots[] = {
    { 100 * PAGE, PAGE, first + 7 * PAGE, BOTH },
    { 101 * PAGE, PAGE, second + 5 * PAGE, BOTH },
    { 102 * PAGE, PAGE, first, BOTH },
    { 103 * PAGE, PAGE, first + 9 * PAGE, READ },
  };

  return vhost_memory_new_view (memory, slots, G_N_ELEMENTS (slots));
}

static void
test_needs_none_where_one_slot_has_it_all (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  g_autoptr (VhostMemoryWindow) window = NULL;
  guint8 *second = guest_memory_at (memory, 0);

  g_assert_true (vhost_memory_translate_window (memory, 5, 2 * PAGE, BOTH, &window) == second + 5);
  g_assert_null (window);
  g_assert_true (vhost_memory_translate_window (view, 101 * PAGE, PAGE, BOTH, &window)
                 == second + 5 * PAGE);
  g_assert_null (window);
}

static void
test_puts_pages_side_by_side (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);
  VhostMemoryWindow *window;
  guint before = count_mappings ();
  guint8 *bytes
      = vhost_memory_translate_window (view, 100 * PAGE + 16, 3 * PAGE - 32, BOTH, &window);

  g_assert_nonnull (bytes);
  g_assert_nonnull (window);
  g_assert_cmpuint ((guintptr) bytes % PAGE, ==, 16);
  /* The same memory from both sides, to the last byte. */
  for (guint64 at = 0; at < 3 * PAGE - 32; at++)
    bytes[at] = (guint8) (at * 7 + at / 251);
  for (guint64 at = 0; at < 3 * PAGE - 32; at++)
    g_assert_cmpuint (*guest_memory_at (view, 100 * PAGE + 16 + at), ==,
                      (guint8) (at * 7 + at / 251));
  *guest_memory_at (memory, 5 * PAGE + 1) = 0xa5;
  g_assert_cmpuint (bytes[PAGE - 16 + 1], ==, 0xa5);

  vhost_memory_window_free (window);
  g_assert_cmpuint (count_mappings (), ==, before);
  vhost_memory_window_free (NULL);
}

static void
test_lives_without_its_view (void)
{
  VhostMemory *memory = guest_memory_new (infos, 2, FALSE);
  VhostMemory *view = new_view (memory);
  g_autoptr (VhostMemoryWindow) window = NULL;
  guint8 *bytes = vhost_memory_translate_window (view, 100 * PAGE, 3 * PAGE, BOTH, &window);

  vhost_memory_unref (view);
  vhost_memory_unref (memory);
  g_assert_nonnull (window);
  memset (bytes, 1, 3 * PAGE);
}

static void
assert_none (VhostMemory *view, guint64 address, guint64 length, guint access)
{
  VhostMemoryWindow *window = GSIZE_TO_POINTER (1);
  guint before = count_mappings ();

  g_assert_null (vhost_memory_translate_window (view, address, length, access, &window));
  g_assert_null (window);
  g_assert_cmpuint (count_mappings (), ==, before);
}

static void
test_refuses_what_is_not_all_there (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) view = new_view (memory);

  assert_none (view, 99 * PAGE, 2 * PAGE, READ);
  assert_none (view, 100 * PAGE, 4 * PAGE + 1, READ);
  assert_none (view, 102 * PAGE, 2 * PAGE, BOTH);
  assert_none (view, 103 * PAGE, 1, WRITE);
  assert_none (view, 100 * PAGE, G_MAXUINT64, READ);
  /* Regions are never put together: the guest sees those that it has. */
  assert_none (memory, 15 * PAGE, 2 * PAGE, READ);
}

static void
test_refuses_pages_that_do_not_fit (void)
{
  const VhostMemoryRegionInfo odd = { 0, 16 * PAGE, UVA, 100 };
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 2, TRUE);
  g_autoptr (VhostMemory) odd_memory = guest_memory_new (&odd, 1, TRUE);
  guint8 *first = guest_memory_at (memory, 32 * PAGE);
  guint8 *odd_first = guest_memory_at (odd_memory, 0);
  /* An end within a page, a page that begins elsewhere in guest memory, an odd offset in the file.
   */
  const VhostMemorySlot cases[][2] = {
    { { 0, PAGE + 8, first, BOTH }, { PAGE + 8, PAGE, first + 4 * PAGE + 8, BOTH } },
    { { 0, PAGE, first, BOTH }, { PAGE, PAGE, first + 4 * PAGE + 8, BOTH } },
  };
  const VhostMemorySlot odd_case[]
      = { { 0, PAGE, odd_first, BOTH }, { PAGE, PAGE, odd_first + 4 * PAGE, BOTH } };
  g_autoptr (VhostMemory) odd_view = vhost_memory_new_view (odd_memory, odd_case, 2);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (VhostMemory) view = vhost_memory_new_view (memory, cases[i], 2);

      assert_none (view, 0, 2 * PAGE, BOTH);
    }
  assert_none (odd_view, 0, 2 * PAGE, BOTH);
}

static void
test_is_no_larger_than_a_ring_can_be (void)
{
  const guint64 n = VHOST_MEMORY_WINDOW_MAX / PAGE + 1;
  const VhostMemoryRegionInfo large = { 0, 2 * n * PAGE, UVA, 0 };
  g_autoptr (VhostMemory) memory = guest_memory_new (&large, 1, TRUE);
  g_autofree VhostMemorySlot *slots = g_new (VhostMemorySlot, n);
  g_autoptr (VhostMemory) view = NULL;
  g_autoptr (VhostMemoryWindow) window = NULL;
  guint8 *bytes;

  for (guint64 i = 0; i < n; i++)
    slots[i] = (VhostMemorySlot){ i * PAGE, PAGE, (guint8 *) guest_memory_at (memory, 2 * i * PAGE),
                                  BOTH };
  view = vhost_memory_new_view (memory, slots, (guint) n);
  assert_none (view, 0, VHOST_MEMORY_WINDOW_MAX + 1, BOTH);
  bytes = vhost_memory_translate_window (view, 0, VHOST_MEMORY_WINDOW_MAX, BOTH, &window);
  g_assert_nonnull (bytes);
  bytes[VHOST_MEMORY_WINDOW_MAX - 1] = 9;
  g_assert_cmpuint (*guest_memory_at (memory, 2 * (n - 2) * PAGE + PAGE - 1), ==, 9);
}

/* Whichever of the two files it is. */
static void
test_survives_a_file_that_shrinks (void)
{
  for (guint which = 0; which < 2; which++)
    {
      int fds[2] = { guest_memory_new_file (16 * PAGE), guest_memory_new_file (19 * PAGE) };
      int kept = dup (fds[which]);
      g_autoptr (VhostMemory) memory = vhost_memory_new_take_fds (infos, fds, 2, FALSE, NULL);
      g_autoptr (VhostMemory) view = new_view (memory);
      g_autoptr (VhostMemoryWindow) window = NULL;
      guint8 *bytes = vhost_memory_translate_window (view, 100 * PAGE, 3 * PAGE, BOTH, &window);

      g_assert_nonnull (window);
      g_assert_cmpint (ftruncate (kept, 0), ==, 0);
      memset (bytes, 1, 3 * PAGE);
      g_assert_true (vhost_memory_is_poisoned (view));
      close (kept);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (sysconf (_SC_PAGESIZE) != 4096)
    return 77;
  g_test_add_func ("/rules/V3-puts-pages-side-by-side", test_puts_pages_side_by_side);
  g_test_add_func ("/rules/V3-refuses-what-is-not-all-there", test_refuses_what_is_not_all_there);
  g_test_add_func ("/memory-window/needs-none-where-one-slot-has-it-all",
                   test_needs_none_where_one_slot_has_it_all);
  g_test_add_func ("/memory-window/lives-without-its-view", test_lives_without_its_view);
  g_test_add_func ("/memory-window/refuses-pages-that-do-not-fit",
                   test_refuses_pages_that_do_not_fit);
  g_test_add_func ("/memory-window/is-no-larger-than-a-ring-can-be",
                   test_is_no_larger_than_a_ring_can_be);
  g_test_add_func ("/memory-window/survives-a-file-that-shrinks",
                   test_survives_a_file_that_shrinks);
  return g_test_run ();
}
