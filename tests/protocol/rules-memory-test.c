/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the memory map (M1 to M8): which regions are taken and which are refused. Public API
 * only. */
#include "raw-device.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MiB (1024 * 1024)

static RawRegion
region (guint64 guest, guint64 size, guint64 user, guint64 offset)
{
  return (RawRegion){ .guest = guest, .size = size, .user = user, .offset = offset };
}

/* SET_MEM_TABLE of two regions, then the first alone and the second by ADD_MEM_REG. Both ways must
 * be answered with @accepted. */
static void
assert_pair (RawRegion one, RawRegion two, gboolean accepted)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion both[2] = { one, two };
  int fds[2] = { fd, fd };

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpint (raw_set_table (f.frontend, both, fds, 2) == 0, ==, accepted);
  g_assert_cmpuint (raw_set_table (f.frontend, both, fds, 1), ==, 0);
  g_assert_cmpint (raw_slot (f.frontend, MSG_ADD_MEM_REG, two, fd) == 0, ==, accepted);
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
  close (fd);
}

static void
test_m1_guest_overlap (void)
{
  assert_pair (region (0x100000, 2 * RAW_PAGE, 0x7f0000000000, 0),
               region (0x101000, RAW_PAGE, 0x7f1000000000, 0), FALSE);
}

static void
test_m1_user_overlap (void)
{
  assert_pair (region (0x100000, 2 * RAW_PAGE, 0x7f0000000000, 0),
               region (0x200000, RAW_PAGE, 0x7f0000001000, 0), FALSE);
}

static void
test_m1_inside (void)
{
  assert_pair (region (0x101000, RAW_PAGE, 0x7f0000000000, 0),
               region (0x100000, 16 * RAW_PAGE, 0x7f1000000000, 0), FALSE);
}

static void
test_m1_neighbours (void)
{
  assert_pair (region (0x100000, RAW_PAGE, 0x7f0000000000, 0),
               region (0x101000, RAW_PAGE, 0x7f0000001000, 0), TRUE);
}

/* Both messages refuse @bad. */
static void
assert_bad_region (RawRegion bad)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &bad, &fd, 1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, bad, fd), !=, 0);
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
  close (fd);
}

static void
test_size_0 (void)
{
  assert_bad_region (region (0x100000, 0, 0x7f0000000000, 0));
}

static void
test_guest_wrap (void)
{
  assert_bad_region (region (G_MAXUINT64 - RAW_PAGE + 1, 2 * RAW_PAGE, 0x7f0000000000, 0));
}

static void
test_user_wrap (void)
{
  assert_bad_region (region (0x100000, 2 * RAW_PAGE, G_MAXUINT64 - RAW_PAGE + 1, 0));
}

static void
test_offset_wrap (void)
{
  assert_bad_region (region (0x100000, 2 * RAW_PAGE, 0x7f0000000000, G_MAXUINT64 - RAW_PAGE + 1));
}

static void
test_beyond_file (void)
{
  assert_bad_region (region (0x100000, MiB + RAW_PAGE, 0x7f0000000000, 0));
}

static void
test_offset_beyond_file (void)
{
  assert_bad_region (region (0x100000, RAW_PAGE, 0x7f0000000000, MiB));
}

static void
test_huge (void)
{
  assert_bad_region (region (0, RAW_BIT (63), 0, 0));
}

static void
test_m2_eight (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion regions[9];
  int fds[9];

  for (guint i = 0; i < 9; i++)
    {
      regions[i]
          = region (0x100000 * (i + 1), RAW_PAGE, 0x7f0000000000 + i * RAW_PAGE, i * RAW_PAGE);
      fds[i] = fd;
    }
  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, regions, fds, 8), ==, 0);
  raw_device_end (&f);
  close (fd);
}

/* The count says more than the descriptors and bytes that came. */
static void
test_m2_counts (void)
{
  const guint32 counts[] = { 2, 8, 9, 255, 0x80000000, G_MAXUINT32 };
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  for (guint i = 0; i < G_N_ELEMENTS (counts); i++)
    {
      RawTable table = { .n = counts[i], .regions = { region (0x100000, RAW_PAGE, 0x100000, 0) } };

      g_assert_cmpuint (
          raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + sizeof (RawRegion), &fd, 1), !=,
          0);
      g_assert_cmpuint (
          raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + 9 * sizeof (RawRegion), &fd, 1),
          !=, 0);
    }
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
  close (fd);
}

/* The text draws the table with all its rows, front-ends send the used ones. */
static void
test_m2_padded (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawTable table = { .n = 1, .regions = { region (0x100000, RAW_PAGE, 0x7f0000000000, 0) } };

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  memset (&table.regions[1], 0xff, 7 * sizeof (RawRegion));
  g_assert_cmpuint (
      raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + 8 * sizeof (RawRegion), &fd, 1), ==,
      0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m3_offset (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion r = region (0x100000, RAW_PAGE, 0x7f0000000000, RAW_PAGE);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  r.offset = 0xdeadbeef;
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m3_other_numbers (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion r = region (0x100000, 2 * RAW_PAGE, 0x7f0000000000, 0);
  RawRegion wrong[3] = { r, r, r };

  wrong[0].guest += RAW_PAGE;
  wrong[1].user += RAW_PAGE;
  wrong[2].size -= RAW_PAGE;
  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, wrong[i], -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_rem_with_fd (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion r = region (0x100000, RAW_PAGE, 0x7f0000000000, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, fd), ==, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_add_without_fd (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int two[2] = { fd, fd };
  RawSlot slot = { .region = region (0x100000, RAW_PAGE, 0x7f0000000000, 0) };

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_request (f.frontend, MSG_ADD_MEM_REG, &slot, sizeof slot, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_ADD_MEM_REG, &slot, sizeof slot, two, 2), !=, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m5_replaces_added (void)
{
  RawDevice f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion one = region (RAW_FIRST, RAW_PAGE, 0x7f0000000000, 0);
  const RawRegion two = region (RAW_SECOND, RAW_PAGE, 0x7f1000000000, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &one, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, two, fd), ==, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &one, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, two, -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, one, -1), ==, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m5_empty (void)
{
  RawDevice f;
  RawTable none = { 0 };
  const RawRegion r = region (RAW_FIRST, RAW_PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_MEM_TABLE, &none, 8, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m7_unknown (void)
{
  RawDevice f;
  const RawRegion r = region (RAW_SECOND, RAW_PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m7_twice (void)
{
  RawDevice f;
  const RawRegion r = region (RAW_SECOND, RAW_PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_m8_constant (void)
{
  RawDevice f;
  guint64 slots;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  slots = vhost_frontend_get_max_memory_slots (f.frontend);
  g_assert_cmpuint (slots, >, 8);
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostFrontend) other = live_device_connect_queues (f.device, 1, 16);

      g_assert_cmpuint (vhost_frontend_get_max_memory_slots (other), ==, slots);
    }
  raw_device_end (&f);
}

static void
test_m8_all (void)
{
  RawDevice f;
  guint64 slots;
  int fd = raw_memfd (1024 * RAW_PAGE, MFD_ALLOW_SEALING);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  slots = vhost_frontend_get_max_memory_slots (f.frontend);
  g_assert_cmpuint (slots, <, 1024);
  for (guint64 i = 0; i <= slots; i++)
    {
      guint64 at = RAW_SECOND + i * RAW_PAGE;
      guint64 answer
          = raw_slot (f.frontend, MSG_ADD_MEM_REG, region (at, RAW_PAGE, at, i * RAW_PAGE), fd);

      g_assert_cmpint (answer == 0, ==, i < slots);
    }
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
  close (fd);
}

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("M1-regions-that-overlap-for-the-guest-are-refused", test_m1_guest_overlap);
  TEST ("M1-regions-that-overlap-for-the-front-end-are-refused", test_m1_user_overlap);
  TEST ("M1-a-region-around-another-is-refused", test_m1_inside);
  TEST ("M1-regions-that-touch-are-taken", test_m1_neighbours);
  TEST ("memory-a-region-of-size-0-is-refused", test_size_0);
  TEST ("memory-a-guest-address-that-wraps-is-refused", test_guest_wrap);
  TEST ("memory-a-user-address-that-wraps-is-refused", test_user_wrap);
  TEST ("memory-a-file-offset-that-wraps-is-refused", test_offset_wrap);
  TEST ("memory-a-region-longer-than-its-file-is-refused", test_beyond_file);
  TEST ("memory-a-region-behind-its-file-is-refused", test_offset_beyond_file);
  TEST ("memory-a-region-of-half-the-address-space-is-refused", test_huge);
  TEST ("M2-a-table-of-8-regions-is-taken", test_m2_eight);
  TEST ("M2-a-table-that-counts-wrong-is-refused", test_m2_counts);
  TEST ("M2-rows-behind-the-count-are-ignored", test_m2_padded);
  TEST ("M3-a-region-is-removed-whatever-the-offset-says", test_m3_offset);
  TEST ("M3-a-region-is-not-removed-by-another-address-or-size", test_m3_other_numbers);
  TEST ("M3-a-descriptor-that-comes-with-a-removal-is-closed", test_rem_with_fd);
  TEST ("memory-a-region-without-its-one-descriptor-is-refused", test_add_without_fd);
  TEST ("M5-a-table-replaces-added-regions", test_m5_replaces_added);
  TEST ("M5-an-empty-table-takes-the-memory-away", test_m5_empty);
  TEST ("M7-removing-an-unknown-region-is-refused", test_m7_unknown);
  TEST ("M7-adding-a-region-twice-is-refused", test_m7_twice);
  TEST ("M8-the-number-of-slots-is-the-same-for-each-connection", test_m8_constant);
  TEST ("M8-every-slot-that-is-offered-can-be-used-and-no-more", test_m8_all);
  return g_test_run ();
}
