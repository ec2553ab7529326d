/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The set of pages: it loses none, and does not grow beyond its bound. */
#include "config.h"

#include "vhost-page-set-private.h"

#define LAST_PAGE ((G_GUINT64_CONSTANT (1) << 52) - 1)

typedef struct
{
  guint64 page; /* looked for */
  gboolean found;
  guint64 n_pages;
  guint n_units;
} Look;

static void
look_at (guint64 first, guint64 last, gpointer data)
{
  Look *look = data;

  g_assert_cmpuint (first, <=, last);
  look->found |= look->page >= first && look->page <= last;
  look->n_pages += last - first + 1;
  look->n_units++;
}

static Look
look_for (const VhostPageSet *set, guint64 page)
{
  Look look = { .page = page };

  vhost_page_set_foreach (set, look_at, &look);
  return look;
}

static void
test_holds_what_was_added (void)
{
  VhostPageSet set = { 0 };

  g_assert_cmpuint (look_for (&set, 0).n_units, ==, 0);
  vhost_page_set_add (&set, 0, 0);
  vhost_page_set_add (&set, 7, 9);
  vhost_page_set_add (&set, 8, 8);
  vhost_page_set_add (&set, LAST_PAGE, LAST_PAGE);
  g_assert_cmpuint (look_for (&set, 0).n_pages, ==, 5);
  for (guint64 page = 7; page <= 9; page++)
    g_assert_true (look_for (&set, page).found);
  g_assert_true (look_for (&set, 0).found);
  g_assert_true (look_for (&set, LAST_PAGE).found);
  g_assert_false (look_for (&set, 6).found);
  g_assert_false (look_for (&set, 10).found);
  vhost_page_set_clear (&set);
}

static void
test_is_exact_up_to_its_bound (void)
{
  VhostPageSet set = { 0 };

  for (guint64 i = 0; i < VHOST_PAGE_SET_MAX; i++)
    vhost_page_set_add (&set, 1000 * i, 1000 * i);
  g_assert_cmpuint (look_for (&set, 0).n_pages, ==, VHOST_PAGE_SET_MAX);
  g_assert_true (look_for (&set, 1000 * (VHOST_PAGE_SET_MAX - 1)).found);
  vhost_page_set_clear (&set);
}

static void
collect (guint64 first, guint64 last, gpointer data)
{
  for (guint64 page = first; page <= last; page++)
    g_hash_table_add (data, GSIZE_TO_POINTER (page + 1));
}

static void
test_becomes_coarser_and_loses_none (void)
{
  VhostPageSet set = { 0 };
  g_autoptr (GHashTable) pages = g_hash_table_new (NULL, NULL);

  /* Every third page: more than fit, so units of two, then of four. */
  for (guint64 i = 0; i < 2 * VHOST_PAGE_SET_MAX; i++)
    vhost_page_set_add (&set, 3 * i, 3 * i);
  vhost_page_set_foreach (&set, collect, pages);
  for (guint64 i = 0; i < 2 * VHOST_PAGE_SET_MAX; i++)
    g_assert_true (g_hash_table_contains (pages, GSIZE_TO_POINTER (3 * i + 1)));
  g_assert_cmpuint (look_for (&set, 0).n_units, <=, VHOST_PAGE_SET_MAX);
  vhost_page_set_clear (&set);
}

static void
test_stays_bounded_whatever_is_added (void)
{
  VhostPageSet set = { 0 };
  g_autoptr (GRand) random = g_rand_new_with_seed (1);
  guint64 kept[64];

  for (guint i = 0; i < 200000; i++)
    {
      guint64 page = ((guint64) g_rand_int (random) << 20) | (g_rand_int (random) & 0xfffff);

      if (i % 4096 == 0)
        kept[i / 4096] = page;
      vhost_page_set_add (&set, page, page);
    }
  g_assert_cmpuint (set.n, <=, VHOST_PAGE_SET_MAX);
  g_assert_cmpuint (set.capacity, <=, 2 * VHOST_PAGE_SET_MAX);
  for (guint i = 0; i <= 200000 / 4096; i++)
    g_assert_true (look_for (&set, kept[i]).found);
  vhost_page_set_clear (&set);
}

static void
test_takes_a_range_of_all_pages (void)
{
  VhostPageSet set = { 0 };

  vhost_page_set_add (&set, 0, LAST_PAGE);
  g_assert_cmpuint (set.capacity, <=, 2 * VHOST_PAGE_SET_MAX);
  g_assert_true (look_for (&set, 0).found);
  g_assert_true (look_for (&set, LAST_PAGE / 2).found);
  g_assert_true (look_for (&set, LAST_PAGE).found);
  g_assert_cmpuint (look_for (&set, 0).n_pages, ==, LAST_PAGE + 1);
  vhost_page_set_clear (&set);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/page-set/holds-what-was-added", test_holds_what_was_added);
  g_test_add_func ("/page-set/is-exact-up-to-its-bound", test_is_exact_up_to_its_bound);
  g_test_add_func ("/page-set/becomes-coarser-and-loses-none", test_becomes_coarser_and_loses_none);
  g_test_add_func ("/page-set/stays-bounded-whatever-is-added",
                   test_stays_bounded_whatever_is_added);
  g_test_add_func ("/page-set/takes-a-range-of-all-pages", test_takes_a_range_of_all_pages);
  return g_test_run ();
}
