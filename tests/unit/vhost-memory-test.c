/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory map: what it takes, what it refuses, and that an address never leads outside. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-memory-private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GPA G_GUINT64_CONSTANT (0x100000)
#define UVA G_GUINT64_CONSTANT (0x7f0000000000)
#define MIB G_GUINT64_CONSTANT (0x100000)

static guint
count_fds (void)
{
  DIR *dir;
  guint n = 0;

  vhost_fd_settle ();
  dir = opendir ("/proc/self/fd");

  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n;
}

static guint
count_mappings (void)
{
  g_autofree char *maps = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents ("/proc/self/maps", &maps, NULL, NULL));
  for (const char *at = maps; (at = strstr (at, "vhost-memory-test-file")) != NULL; at++)
    n++;
  return n;
}

static int
new_file (guint64 size, guint flags)
{
  int fd = memfd_create ("vhost-memory-test-file", MFD_CLOEXEC | flags);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) size), ==, 0);
  return fd;
}

static VhostMemoryRegionInfo
region (guint64 guest, guint64 size, guint64 user, guint64 offset)
{
  return (VhostMemoryRegionInfo){ guest, size, user, offset };
}

static VhostMemory *
map_one (VhostMemoryRegionInfo info, int fd, gboolean seal)
{
  g_autoptr (GError) error = NULL;
  VhostMemory *memory = vhost_memory_new_take_fds (&info, &fd, 1, seal, &error);

  g_assert_no_error (error);
  g_assert_nonnull (memory);
  g_assert_cmpint (fd, ==, -1);
  return memory;
}

/* The table must be refused with an error that says all of @words (split at '|'), and nothing may
 * be left over. */
static void
assert_refused (const VhostMemoryRegionInfo *infos, int *fds, guint n, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) list = g_strsplit (words, "|", -1);
  guint open_fds = 0;
  guint before = count_fds ();

  for (guint i = 0; i < n; i++)
    open_fds += fds[i] >= 0;
  g_assert_null (vhost_memory_new_take_fds (infos, fds, n, TRUE, &error));
  g_assert_nonnull (error);
  g_assert_true (error->domain == VHOST_ERROR);
  for (guint i = 0; list[i] != NULL; i++)
    if (strstr (error->message, list[i]) == NULL)
      g_error ("\"%s\" does not say \"%s\"", error->message, list[i]);
  for (guint i = 0; i < n; i++)
    g_assert_cmpint (fds[i], ==, -1);
  g_assert_cmpuint (count_fds (), ==, before - open_fds);
  g_assert_cmpuint (count_mappings (), ==, 0);
}

static void
assert_one_refused (VhostMemoryRegionInfo info, int fd, const char *words)
{
  assert_refused (&info, &fd, 1, words);
}

static void
test_translates_within_regions (void)
{
  VhostMemoryRegionInfo infos[] = {
    region (4 * MIB, MIB, UVA + 4 * MIB, 0),
    region (MIB, MIB, UVA, 0),
  };
  int fds[] = { new_file (MIB, 0), new_file (MIB, 0) };
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) memory = vhost_memory_new_take_fds (infos, fds, 2, TRUE, &error);
  VhostMemoryCache cache = { 0 };
  guint8 *low, *high;
  guint64 guest, size, user;

  g_assert_no_error (error);
  g_assert_cmpuint (vhost_memory_get_n_regions (memory), ==, 2);
  g_assert_cmpuint (vhost_memory_get_size (memory), ==, 2 * MIB);
  g_assert_true (vhost_memory_get_region (memory, 0, &guest, &size, &user));
  g_assert_cmpuint (guest, ==, MIB);
  g_assert_cmpuint (size, ==, MIB);
  g_assert_cmpuint (user, ==, UVA);
  g_assert_false (vhost_memory_get_region (memory, 2, NULL, NULL, NULL));

  low = vhost_memory_translate (memory, &cache, MIB, MIB);
  high = vhost_memory_translate (memory, &cache, 4 * MIB, MIB);
  g_assert_nonnull (low);
  g_assert_nonnull (high);
  g_assert_true (vhost_memory_translate (memory, &cache, 2 * MIB - 1, 1) == low + MIB - 1);
  g_assert_true (vhost_memory_translate (memory, &cache, 4 * MIB + 5, 10) == high + 5);

  /* One byte out, at each side; and lengths that would wrap a sum. */
  g_assert_null (vhost_memory_translate (memory, &cache, MIB - 1, 1));
  g_assert_null (vhost_memory_translate (memory, &cache, 2 * MIB, 1));
  g_assert_null (vhost_memory_translate (memory, &cache, 2 * MIB - 1, 2));
  g_assert_null (vhost_memory_translate (memory, &cache, MIB, MIB + 1));
  g_assert_null (vhost_memory_translate (memory, &cache, MIB + 1, G_MAXUINT64));
  g_assert_null (vhost_memory_translate (memory, &cache, G_MAXUINT64, 1));
  g_assert_null (vhost_memory_translate (memory, &cache, 0, 1));
}

static void
test_empty_map_holds_nothing (void)
{
  g_autoptr (VhostMemory) memory = vhost_memory_new_empty ();
  VhostMemoryCache cache = { 0 };
  gsize length = 1;
  guint64 guest;

  g_assert_cmpuint (vhost_memory_get_n_regions (memory), ==, 0);
  g_assert_cmpuint (vhost_memory_get_size (memory), ==, 0);
  g_assert_null (vhost_memory_translate (memory, &cache, 0, 0));
  g_assert_null (vhost_memory_map (memory, 0, &length));
  g_assert_cmpuint (length, ==, 0);
  g_assert_false (vhost_memory_user_to_guest (memory, 0, 0, &guest));
  g_assert_false (vhost_memory_is_poisoned (memory));
}

static void
test_finds_each_of_many_regions (void)
{
  VhostMemoryRegionInfo infos[VHOST_MEMORY_MAX_REGIONS];
  int fds[VHOST_MEMORY_MAX_REGIONS];
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) memory = NULL;
  int file = new_file (4096, 0);
  guint before;

  /* Every number of regions up to 20, then the most there can be; in an order that is no order. */
  for (guint n = 1; n <= VHOST_MEMORY_MAX_REGIONS; n = n < 20 ? n + 1 : n + 489)
    {
      before = count_fds ();
      for (guint i = 0; i < n; i++)
        {
          guint shuffled = (i * 7 + 3) % n;

          if (n % 7 == 0)
            shuffled = n - 1 - i;
          infos[i] = region ((shuffled + 1) * 0x10000, 0x1000, (shuffled + 1) * 0x20000, 0);
          fds[i] = fcntl (file, F_DUPFD_CLOEXEC, 3);
        }
      memory = vhost_memory_new_take_fds (infos, fds, n, FALSE, &error);
      g_assert_no_error (error);
      for (guint i = 0; i < n; i++)
        {
          guint64 start = (i + 1) * 0x10000;
          const VhostMemorySlot *slot = vhost_memory_lookup (memory, start);

          g_assert_nonnull (slot);
          g_assert_cmpuint (slot->guest_address, ==, start);
          g_assert_true (vhost_memory_lookup (memory, start + 0xfff) == slot);
          g_assert_null (vhost_memory_lookup (memory, start - 1));
          g_assert_null (vhost_memory_lookup (memory, start + 0x1000));
        }
      g_assert_null (vhost_memory_lookup (memory, 0));
      g_clear_pointer (&memory, vhost_memory_unref);
      g_assert_cmpuint (count_fds (), ==, before);
    }
  close (file);
}

static void
test_takes_509_regions_and_no_more (void)
{
  VhostMemoryRegionInfo infos[VHOST_MEMORY_MAX_REGIONS + 1];
  int fds[VHOST_MEMORY_MAX_REGIONS + 1];
  int file = new_file (4096, 0);

  for (guint i = 0; i < G_N_ELEMENTS (infos); i++)
    {
      infos[i] = region (i * 0x10000, 0x1000, i * 0x10000, 0);
      fds[i] = fcntl (file, F_DUPFD_CLOEXEC, 3);
    }
  assert_refused (infos, fds, G_N_ELEMENTS (infos), "510|509");

  for (guint i = 0; i < G_N_ELEMENTS (infos); i++)
    fds[i] = fcntl (file, F_DUPFD_CLOEXEC, 3);
  {
    g_autoptr (GError) error = NULL;
    g_autoptr (VhostMemory) full
        = vhost_memory_new_take_fds (infos, fds, VHOST_MEMORY_MAX_REGIONS, FALSE, &error);

    g_assert_no_error (error);
    g_assert_null (vhost_memory_add_take_fd (full, &infos[VHOST_MEMORY_MAX_REGIONS],
                                             fds[VHOST_MEMORY_MAX_REGIONS], FALSE, &error));
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  }
  close (file);
}

static void
test_refuses_bad_numbers (void)
{
  assert_one_refused (region (GPA, 0, UVA, 0), new_file (MIB, 0), "size 0");
  assert_one_refused (region (G_MAXUINT64 - 0xfff, 0x2000, UVA, 0), new_file (MIB, 0),
                      "wraps|guest address");
  assert_one_refused (region (GPA, 0x2000, G_MAXUINT64 - 0xfff, 0), new_file (MIB, 0),
                      "wraps|user address");
  assert_one_refused (region (GPA, 0x2000, UVA, G_MAXUINT64 - 0xfff), new_file (MIB, 0),
                      "wraps|file offset");
  assert_one_refused (region (GPA, G_MAXUINT64, 0, 0), new_file (MIB, 0), "wraps");
  assert_one_refused (region (0, G_MAXUINT64, 0, 0), new_file (MIB, 0), "1048576");
  assert_one_refused (region (0, (guint64) G_MAXINT64 + 1, 0, 0), new_file (MIB, 0), "1048576");
}

static void
test_refuses_a_region_beyond_its_file (void)
{
  assert_one_refused (region (GPA, MIB + 1, UVA, 0), new_file (MIB, 0), "1048577|1048576");
  assert_one_refused (region (GPA, MIB, UVA, 1), new_file (MIB, 0), "1048577|1048576");
  assert_one_refused (region (GPA, 1, UVA, MIB), new_file (MIB, 0), "1048577|1048576");
  assert_one_refused (region (GPA, 1, UVA, 0), new_file (0, 0), "has only 0");
}

static void
test_refuses_overlaps (void)
{
  static const struct
  {
    guint64 guest, size, user;
    const char *words;
  } second[] = {
    { GPA, MIB, UVA + 64 * MIB, "overlap|guest" },
    { GPA + MIB - 1, MIB, UVA + 64 * MIB, "overlap|guest" },
    { GPA - MIB + 1, MIB, UVA + 64 * MIB, "overlap|guest" },
    { GPA + 4096, 4096, UVA + 64 * MIB, "overlap|guest" },
    { GPA + 64 * MIB, MIB, UVA + MIB - 1, "overlap|user" },
    { GPA + 64 * MIB, MIB, UVA - MIB + 1, "overlap|user" },
    { GPA + 64 * MIB, MIB, UVA, "overlap|user" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (second); i++)
    {
      VhostMemoryRegionInfo infos[] = {
        region (GPA, MIB, UVA, 0),
        region (second[i].guest, second[i].size, second[i].user, 0),
      };
      int fds[] = { new_file (MIB, 0), new_file (MIB, 0) };

      assert_refused (infos, fds, 2, second[i].words);
    }
}

static void
test_takes_neighbours (void)
{
  VhostMemoryRegionInfo infos[] = {
    region (GPA + MIB, MIB, UVA + MIB, 0),
    region (GPA, MIB, UVA, 0),
  };
  int fds[] = { new_file (MIB, 0), new_file (MIB, 0) };
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) memory = vhost_memory_new_take_fds (infos, fds, 2, TRUE, &error);
  VhostMemoryCache cache = { 0 };
  guint8 out[16], in[16] = "across the seam";

  g_assert_no_error (error);
  /* A translation never crosses, even where the guest sees one piece; a copy does. */
  g_assert_null (vhost_memory_translate (memory, &cache, GPA + MIB - 8, 16));
  g_assert_true (vhost_memory_write (memory, GPA + MIB - 8, in, sizeof in, &error));
  g_assert_true (vhost_memory_read (memory, GPA + MIB - 8, out, sizeof out, &error));
  g_assert_cmpmem (in, sizeof in, out, sizeof out);
  g_assert_cmpint (memcmp (vhost_memory_map (memory, GPA + MIB, NULL), in + 8, 8), ==, 0);
}

static void
test_refuses_files_that_are_no_memory (void)
{
  VhostMemoryRegionInfo info = region (GPA, 4096, UVA, 0);
  int pipes[2], sockets[2];

  g_assert_cmpint (pipe2 (pipes, O_CLOEXEC), ==, 0);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), ==, 0);
  assert_one_refused (info, pipes[0], vhost_fd_kind_to_string (VHOST_FD_PIPE));
  assert_one_refused (info, sockets[0], vhost_fd_kind_to_string (VHOST_FD_SOCKET));
  assert_one_refused (info, eventfd (0, EFD_CLOEXEC), vhost_fd_kind_to_string (VHOST_FD_EVENTFD));
  assert_one_refused (info, open ("/", O_RDONLY | O_CLOEXEC), "no memory file");
  assert_one_refused (info, open ("/dev/null", O_RDWR | O_CLOEXEC), "cannot map");
  assert_one_refused (info, -1, "without a file descriptor");
  close (pipes[1]);
  close (sockets[1]);
}

static void
test_refuses_a_file_it_may_not_write (void)
{
  int fd = new_file (MIB, 0);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);

  assert_one_refused (region (GPA, MIB, UVA, 0), open (path, O_RDONLY | O_CLOEXEC),
                      "cannot map|writing");
  close (fd);
}

static void
test_closes_everything_when_one_of_many_is_bad (void)
{
  VhostMemoryRegionInfo infos[] = {
    region (GPA, MIB, UVA, 0),
    region (GPA + MIB, 2 * MIB, UVA + MIB, 0),
    region (GPA + 3 * MIB, MIB, UVA + 3 * MIB, 0),
  };
  int fds[] = { new_file (MIB, 0), new_file (MIB, 0), new_file (MIB, 0) };

  assert_refused (infos, fds, 3, "2097152|1048576");
}

static void
test_maps_from_an_offset_that_is_no_page (void)
{
  int fd = new_file (MIB, 0);
  char text[] = "here it begins";
  g_autoptr (VhostMemory) memory = NULL;
  char out[sizeof text];

  g_assert_cmpint (pwrite (fd, text, sizeof text, 0x2345), ==, sizeof text);
  memory = map_one (region (GPA + 3, 0x1001, UVA, 0x2345), fd, FALSE);
  g_assert_true (vhost_memory_read (memory, GPA + 3, out, sizeof out, NULL));
  g_assert_cmpstr (out, ==, text);
  /* The mapping reaches down to the page, the region does not. */
  g_assert_null (vhost_memory_map (memory, GPA + 2, NULL));
  g_assert_nonnull (vhost_memory_map (memory, GPA + 3 + 0x1000, NULL));
  g_assert_null (vhost_memory_map (memory, GPA + 3 + 0x1001, NULL));
}

static void
test_maps_huge_pages (void)
{
  int fd = memfd_create ("vhost-memory-test-file", MFD_CLOEXEC | MFD_HUGETLB);
  struct stat status;
  guint64 huge;
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) memory = NULL;
  VhostMemoryRegionInfo info;
  void *probe;

  if (fd < 0)
    {
      g_test_skip ("the kernel has no hugetlb memfd");
      return;
    }
  g_assert_cmpint (fstat (fd, &status), ==, 0);
  huge = (guint64) status.st_blksize;
  g_assert_cmpint (ftruncate (fd, (off_t) (2 * huge)), ==, 0);
  probe = mmap (NULL, 2 * huge, PROT_READ, MAP_SHARED, fd, 0);
  if (probe == MAP_FAILED)
    {
      close (fd);
      g_test_skip ("no huge pages are reserved");
      return;
    }
  munmap (probe, 2 * huge);

  info = region (GPA, huge, UVA, huge / 2);
  memory = vhost_memory_new_take_fds (&info, &fd, 1, TRUE, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (memory->mappings[0]->length, ==, 2 * huge);
  g_assert_true (memory->mappings[0]->host == memory->mappings[0]->base + huge / 2);
}

static void
test_takes_character_devices_that_can_be_mapped (void)
{
  g_autoptr (VhostMemory) memory
      = map_one (region (GPA, MIB, UVA, 0), open ("/dev/zero", O_RDWR | O_CLOEXEC), TRUE);
  char text[] = "shared";

  g_assert_true (vhost_memory_write (memory, GPA, text, sizeof text, NULL));
  g_assert_cmpstr (vhost_memory_map (memory, GPA, NULL), ==, text);
}

static void
test_adds_and_removes_a_region (void)
{
  VhostMemoryRegionInfo first = region (GPA, MIB, UVA, 0);
  VhostMemoryRegionInfo second = region (0, 4096, UVA + MIB, 0);
  VhostMemoryRegionInfo other;
  g_autoptr (GError) error = NULL;
  g_autoptr (VhostMemory) one = map_one (first, new_file (MIB, 0), TRUE);
  g_autoptr (VhostMemory) two
      = vhost_memory_add_take_fd (one, &second, new_file (4096, 0), TRUE, &error);
  g_autoptr (VhostMemory) rest = NULL;
  guint8 *host;

  g_assert_no_error (error);
  g_assert_cmpuint (vhost_memory_get_n_regions (one), ==, 1);
  g_assert_cmpuint (vhost_memory_get_n_regions (two), ==, 2);
  /* The same mapping in both. */
  host = vhost_memory_map (one, GPA, NULL);
  g_assert_true (vhost_memory_map (two, GPA, NULL) == host);

  /* Each of the three numbers counts, the offset does not (M3, M7). */
  other = first;
  other.size--;
  g_assert_null (vhost_memory_remove (two, &other, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  other = first;
  other.user_address++;
  g_assert_null (vhost_memory_remove (two, &other, NULL));
  other = first;
  other.guest_address++;
  g_assert_null (vhost_memory_remove (two, &other, NULL));
  other = second;
  other.mmap_offset = G_MAXUINT64;
  rest = vhost_memory_remove (two, &other, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_memory_get_n_regions (rest), ==, 1);
  g_assert_null (vhost_memory_map (rest, 0, NULL));

  g_clear_pointer (&one, vhost_memory_unref);
  g_clear_pointer (&two, vhost_memory_unref);
  g_assert_cmpuint (count_mappings (), ==, 1);
  host[0] = 1;
  g_clear_pointer (&rest, vhost_memory_unref);
  g_assert_cmpuint (count_mappings (), ==, 0);
}

static void
test_refuses_to_add_an_overlap (void)
{
  VhostMemoryRegionInfo first = region (GPA, MIB, UVA, 0);
  VhostMemoryRegionInfo second = region (GPA + 4096, 4096, UVA + MIB, 0);
  g_autoptr (VhostMemory) memory = map_one (first, new_file (MIB, 0), TRUE);
  g_autoptr (GError) error = NULL;
  guint before = count_fds ();

  g_assert_null (vhost_memory_add_take_fd (memory, &second, new_file (MIB, 0), TRUE, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (vhost_memory_add_take_fd (memory, &first, new_file (MIB, 0), TRUE, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_cmpuint (count_fds (), ==, before);
  g_assert_cmpuint (vhost_memory_get_n_regions (memory), ==, 1);
}

static void
test_turns_user_addresses_into_guest_addresses (void)
{
  VhostMemoryRegionInfo infos[] = {
    region (GPA, MIB, UVA, 0),
    region (GPA + MIB, MIB, UVA + MIB, 0),
  };
  int fds[] = { new_file (MIB, 0), new_file (MIB, 0) };
  g_autoptr (VhostMemory) memory = vhost_memory_new_take_fds (infos, fds, 2, TRUE, NULL);
  guint64 guest = 0;

  g_assert_true (vhost_memory_user_to_guest (memory, UVA + 5, MIB - 5, &guest));
  g_assert_cmpuint (guest, ==, GPA + 5);
  g_assert_true (vhost_memory_user_to_guest (memory, UVA + 2 * MIB - 1, 1, &guest));
  g_assert_cmpuint (guest, ==, GPA + 2 * MIB - 1);
  g_assert_false (vhost_memory_user_to_guest (memory, UVA + 5, MIB - 4, &guest));
  g_assert_false (vhost_memory_user_to_guest (memory, UVA - 1, 1, &guest));
  g_assert_false (vhost_memory_user_to_guest (memory, UVA + 2 * MIB, 1, &guest));
  g_assert_false (vhost_memory_user_to_guest (memory, UVA, G_MAXUINT64, &guest));
  g_assert_false (vhost_memory_user_to_guest (memory, G_MAXUINT64, 2, &guest));
}

static void
test_copies_all_or_nothing (void)
{
  g_autoptr (VhostMemory) memory = map_one (region (GPA, MIB, UVA, 0), new_file (MIB, 0), TRUE);
  g_autoptr (GError) error = NULL;
  guint8 data[32];

  memset (data, 0xee, sizeof data);
  g_assert_false (vhost_memory_write (memory, GPA + MIB - 16, data, 32, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "0x200000"));
  g_assert_cmpuint (((guint8 *) vhost_memory_map (memory, GPA, NULL))[MIB - 16], ==, 0);
  g_assert_false (vhost_memory_read (memory, G_MAXUINT64 - 3, data, 8, NULL));
  g_assert_cmpuint (data[0], ==, 0xee);
  g_assert_true (vhost_memory_read (memory, 0, data, 0, NULL));
}

static void
test_seals_what_can_be_sealed (void)
{
  int fd = new_file (MIB, MFD_ALLOW_SEALING);
  int kept = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  g_autoptr (VhostMemory) memory = map_one (region (GPA, MIB, UVA, 0), fd, TRUE);

  g_assert_cmpuint (memory->n_unsealed, ==, 0);
  g_assert_cmpint (ftruncate (kept, 4096), ==, -1);
  g_assert_cmpint (errno, ==, EPERM);
  /* A balloon's way to give memory back stays open. */
  g_assert_cmpint (fallocate (kept, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t) MIB / 2),
                   ==, 0);
  g_assert_false (vhost_memory_is_poisoned (memory));
  close (kept);
}

static void
test_leaves_the_file_open_when_sealing_is_off (void)
{
  int fd = new_file (MIB, MFD_ALLOW_SEALING);
  int kept = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  g_autoptr (VhostMemory) memory = map_one (region (GPA, MIB, UVA, 0), fd, FALSE);

  g_assert_cmpuint (memory->n_unsealed, ==, 1);
  g_assert_cmpint (fcntl (kept, F_GET_SEALS), ==, 0);
  close (kept);
}

static void
test_survives_a_file_that_shrinks (void)
{
  int fd = new_file (MIB, 0);
  int kept = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  VhostMemoryRegionInfo second = region (GPA + MIB, MIB, UVA + MIB, 0);
  g_autoptr (VhostMemory) memory = map_one (region (GPA, MIB, UVA, 0), fd, TRUE);
  g_autoptr (VhostMemory) larger
      = vhost_memory_add_take_fd (memory, &second, new_file (MIB, MFD_ALLOW_SEALING), TRUE, NULL);
  g_autoptr (VhostMemory) without = NULL;
  VhostMemoryRegionInfo first = region (GPA, MIB, UVA, 0);
  guint8 byte = 1;

  g_assert_false (vhost_memory_is_poisoned (larger));
  g_assert_cmpint (ftruncate (kept, 0), ==, 0);
  g_assert_true (vhost_memory_read (memory, GPA + MIB / 2, &byte, 1, NULL));
  g_assert_cmpuint (byte, ==, 0);
  /* Every map that has the region knows, the others do not care. */
  g_assert_true (vhost_memory_is_poisoned (memory));
  g_assert_true (vhost_memory_is_poisoned (larger));
  without = vhost_memory_remove (larger, &first, NULL);
  g_assert_false (vhost_memory_is_poisoned (without));
  close (kept);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/memory/translates-within-regions", test_translates_within_regions);
  g_test_add_func ("/memory/holds-nothing-when-empty", test_empty_map_holds_nothing);
  g_test_add_func ("/memory/finds-each-of-many-regions", test_finds_each_of_many_regions);
  g_test_add_func ("/memory/takes-509-regions-and-no-more", test_takes_509_regions_and_no_more);
  g_test_add_func ("/memory/refuses-bad-numbers", test_refuses_bad_numbers);
  g_test_add_func ("/memory/refuses-a-region-beyond-its-file",
                   test_refuses_a_region_beyond_its_file);
  g_test_add_func ("/memory/refuses-overlaps", test_refuses_overlaps);
  g_test_add_func ("/memory/takes-neighbours-and-copies-across", test_takes_neighbours);
  g_test_add_func ("/memory/refuses-files-that-are-no-memory",
                   test_refuses_files_that_are_no_memory);
  g_test_add_func ("/memory/refuses-a-file-it-may-not-write", test_refuses_a_file_it_may_not_write);
  g_test_add_func ("/memory/closes-everything-when-one-of-many-is-bad",
                   test_closes_everything_when_one_of_many_is_bad);
  g_test_add_func ("/memory/maps-from-an-offset-that-is-no-page",
                   test_maps_from_an_offset_that_is_no_page);
  g_test_add_func ("/memory/maps-huge-pages", test_maps_huge_pages);
  g_test_add_func ("/memory/takes-character-devices-that-can-be-mapped",
                   test_takes_character_devices_that_can_be_mapped);
  g_test_add_func ("/memory/adds-and-removes-a-region", test_adds_and_removes_a_region);
  g_test_add_func ("/memory/refuses-to-add-an-overlap", test_refuses_to_add_an_overlap);
  g_test_add_func ("/memory/turns-user-addresses-into-guest-addresses",
                   test_turns_user_addresses_into_guest_addresses);
  g_test_add_func ("/memory/copies-all-or-nothing", test_copies_all_or_nothing);
  g_test_add_func ("/memory/seals-what-can-be-sealed", test_seals_what_can_be_sealed);
  g_test_add_func ("/memory/leaves-the-file-open-when-sealing-is-off",
                   test_leaves_the_file_open_when_sealing_is_off);
  g_test_add_func ("/memory/survives-a-file-that-shrinks", test_survives_a_file_that_shrinks);
  return g_test_run ();
}
