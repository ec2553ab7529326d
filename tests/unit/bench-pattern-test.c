/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pattern of bench --verify: whatever goes wrong with a block is noticed and named. */
#include "bench-pattern.h"

#include <string.h>

#define SIZE 4096
#define SEED 0x1234
#define OFFSET (G_GUINT64_CONSTANT (1) << 40)

static void
assert_explained (gconstpointer block, const char *words)
{
  g_autofree char *text = NULL;

  g_assert_false (bench_pattern_check (block, SIZE, SEED, OFFSET, 7));
  text = bench_pattern_explain (block, SIZE, SEED, OFFSET, 7);
  if (strstr (text, words) == NULL)
    g_error ("'%s' does not say '%s'", text, words);
}

static void
test_right_block_passes (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, OFFSET, 7);
  g_assert_true (bench_pattern_check (block, SIZE, SEED, OFFSET, 7));
}

static void
test_every_flipped_byte_is_found (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, OFFSET, 7);
  for (gsize i = 0; i < SIZE; i++)
    {
      block[i] ^= 0x10;
      g_assert_false (bench_pattern_check (block, SIZE, SEED, OFFSET, 7));
      block[i] ^= 0x10;
    }
  block[777] ^= 1;
  assert_explained (block, "byte at offset 1099511628553 ");
}

static void
test_zeros_are_named (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, OFFSET, 7);
  memset (block + 1024, 0, 512);
  assert_explained (block, "zeros at offset 1099511628800");
}

static void
test_stale_and_torn_writes_are_named (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, OFFSET, 6);
  assert_explained (block, "write 6 at offset 1099511627776");
  /* The first half arrived. */
  bench_pattern_fill (block, SIZE / 2, SEED, OFFSET, 7);
  assert_explained (block, "write 6 at offset 1099511629824");
}

static void
test_data_of_another_block_are_named (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, 8192, 7);
  assert_explained (block, "the data of offset 8192 ");
}

static void
test_data_of_another_run_are_refused (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED + 1, OFFSET, 7);
  assert_explained (block, "byte at offset");
}

static void
test_read_without_data_is_named (void)
{
  g_autofree guint8 *block = g_malloc (SIZE);

  bench_pattern_fill (block, SIZE, SEED, OFFSET, 7);
  bench_pattern_spoil (block, SIZE);
  assert_explained (block, "without data");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/bench-pattern/right-block-passes", test_right_block_passes);
  g_test_add_func ("/bench-pattern/every-flipped-byte-is-found", test_every_flipped_byte_is_found);
  g_test_add_func ("/bench-pattern/zeros-are-named", test_zeros_are_named);
  g_test_add_func ("/bench-pattern/stale-and-torn-writes-are-named",
                   test_stale_and_torn_writes_are_named);
  g_test_add_func ("/bench-pattern/data-of-another-block-are-named",
                   test_data_of_another_block_are_named);
  g_test_add_func ("/bench-pattern/data-of-another-run-are-refused",
                   test_data_of_another_run_are_refused);
  g_test_add_func ("/bench-pattern/read-without-data-is-named", test_read_without_data_is_named);
  return g_test_run ();
}
