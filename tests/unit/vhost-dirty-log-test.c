/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log: the right bits, none outside, none lost. */
#include "config.h"

#include "vhost-dirty-log-private.h"

#include "guest-memory.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <dirent.h>
#include <fcntl.h>

#define UVA G_GUINT64_CONSTANT (0x7f0000000000)

/* A log and the front-end's view of its file. */
typedef struct
{
  int fd;
  guint8 *file;
  guint64 file_size;
  VhostDirtyLog *log;
} Logged;

static void
logged_init (Logged *self, guint64 file_size, guint64 size, guint64 offset)
{
  g_autoptr (GError) error = NULL;

  self->file_size = file_size;
  self->fd = guest_memory_new_file (file_size);
  self->file = mmap (NULL, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
  g_assert_true (self->file != MAP_FAILED);
  self->log = vhost_dirty_log_new_take_fd (dup (self->fd), size, offset, &error);
  g_assert_no_error (error);
}

static void
logged_clear (Logged *self)
{
  vhost_dirty_log_unref (self->log);
  munmap (self->file, self->file_size);
  close (self->fd);
}

static guint64
count_bits (const Logged *self)
{
  guint64 n = 0;

  for (guint64 i = 0; i < self->file_size; i++)
    n += (guint) __builtin_popcount (self->file[i]);
  return n;
}

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

static void
test_each_page_has_its_bit (void)
{
  Logged logged;

  logged_init (&logged, 4096, 4096, 0);
  vhost_dirty_log_mark (logged.log, 0, 1);
  g_assert_cmpuint (logged.file[0], ==, 0x01);
  vhost_dirty_log_mark (logged.log, 11 * PAGE + 4095, 1);
  g_assert_cmpuint (logged.file[1], ==, 0x08);
  vhost_dirty_log_mark (logged.log, 14 * PAGE + 4095, 2);
  g_assert_cmpuint (logged.file[1], ==, 0xc8);
  vhost_dirty_log_mark (logged.log, 15 * PAGE, PAGE + 1);
  g_assert_cmpuint (logged.file[2], ==, 0x01);
  g_assert_cmpuint (count_bits (&logged), ==, 5);
  /* Nothing written, nothing marked. */
  vhost_dirty_log_mark (logged.log, 100 * PAGE, 0);
  g_assert_cmpuint (count_bits (&logged), ==, 5);
  logged_clear (&logged);
}

static void
test_begins_at_the_offset (void)
{
  const guint64 offset = 4096 + 13;
  Logged logged;

  logged_init (&logged, 3 * 4096, 5, offset);
  vhost_dirty_log_mark (logged.log, 0, 1);
  g_assert_cmpuint (logged.file[offset], ==, 0x01);
  vhost_dirty_log_mark (logged.log, 39 * PAGE, 1);
  g_assert_cmpuint (logged.file[offset + 4], ==, 0x80);
  g_assert_cmpuint (count_bits (&logged), ==, 2);
  logged_clear (&logged);
}

static void
test_drops_pages_past_its_end (void)
{
  const guint64 offset = 100;
  Logged logged;

  logged_init (&logged, 4096, 21, offset);
  memset (logged.file, 0, 4096);
  vhost_dirty_log_mark (logged.log, 21 * 8 * PAGE, 1);
  vhost_dirty_log_mark (logged.log, G_MAXUINT64, 1);
  vhost_dirty_log_mark (logged.log, G_MAXUINT64 - 10, 100);
  vhost_dirty_log_mark (logged.log, G_MAXUINT64, G_MAXUINT64);
  g_assert_cmpuint (count_bits (&logged), ==, 0);
  /* What is inside of such a range is marked. */
  vhost_dirty_log_mark (logged.log, 21 * 8 * PAGE - 1, G_MAXUINT64);
  g_assert_cmpuint (count_bits (&logged), ==, 1);
  g_assert_cmpuint (logged.file[offset + 20], ==, 0x80);
  vhost_dirty_log_mark (logged.log, 0, G_MAXUINT64);
  g_assert_cmpuint (count_bits (&logged), ==, 21 * 8);
  g_assert_cmpuint (logged.file[offset - 1], ==, 0);
  g_assert_cmpuint (logged.file[offset + 21], ==, 0);
  logged_clear (&logged);
}

static void
assert_refused (int fd, guint64 size, guint64 offset, const char *words)
{
  g_autoptr (GError) error = NULL;
  guint before = count_fds ();

  g_assert_null (vhost_dirty_log_new_take_fd (fd, size, offset, &error));
  g_assert_nonnull (error);
  g_assert_true (error->domain == VHOST_ERROR);
  if (strstr (error->message, words) == NULL)
    g_error ("\"%s\" does not say \"%s\"", error->message, words);
  g_assert_cmpuint (count_fds (), ==, before - (fd >= 0));
}

static void
test_refuses_bad_numbers (void)
{
  static const struct
  {
    guint64 size, offset;
    const char *words;
  } cases[] = {
    { 0, 0, "size 0" },
    { 0, 4096, "size 0" },
    { 4097, 0, "only 4096" },
    { 4096, 1, "only 4096" },
    { 1, 4096, "only 4096" },
    { G_MAXUINT64, 0, "only 4096" },
    { G_MAXUINT64, 1, "wraps around" },
    { 2, G_MAXUINT64 - 1, "wraps around" },
    { 4096, G_MAXUINT64 - 4095, "wraps around" },
    { 1, G_MAXINT64, "only 4096" },
    { G_GUINT64_CONSTANT (1) << 63, G_GUINT64_CONSTANT (1) << 63, "wraps around" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_refused (guest_memory_new_file (4096), cases[i].size, cases[i].offset, cases[i].words);
}

static void
test_refuses_descriptors_that_are_no_file (void)
{
  g_autofree char *path = NULL;
  int file = guest_memory_new_file (4096);
  int pipes[2];

  g_assert_cmpint (pipe (pipes), ==, 0);
  assert_refused (pipes[0], 16, 0, "pipe");
  close (pipes[1]);
  assert_refused (-1, 16, 0, "without a file descriptor");
  path = g_strdup_printf ("/proc/self/fd/%d", file);
  assert_refused (open (path, O_RDONLY | O_CLOEXEC), 16, 0, "cannot map");
  assert_refused (open ("/dev/zero", O_RDWR | O_CLOEXEC), 16, 0, "no memory file");
  close (file);
}

/* As large as files of the kernel's memory can be: nothing of it may be touched but what is marked.
 */
static void
test_takes_a_huge_sparse_log (void)
{
  const guint64 size = G_GUINT64_CONSTANT (1) << 36;
  g_autoptr (GError) error = NULL;
  int fd = guest_memory_new_file (size);
  VhostDirtyLog *log = vhost_dirty_log_new_take_fd (dup (fd), size, 0, &error);
  guint8 byte = 0;

  g_assert_no_error (error);
  vhost_dirty_log_mark (log, size * 8 * PAGE - 1, 1);
  g_assert_cmpint (pread (fd, &byte, 1, (off_t) size - 1), ==, 1);
  g_assert_cmpuint (byte, ==, 0x80);
  vhost_dirty_log_unref (log);
  close (fd);
}

static void
test_covers_what_it_has_bits_for (void)
{
  Logged logged;
  g_autoptr (VhostDirtyLog) pending = vhost_dirty_log_new_pending (NULL);

  logged_init (&logged, 4096, 2, 0);
  g_assert_true (vhost_dirty_log_covers (logged.log, 0, 16 * PAGE));
  g_assert_false (vhost_dirty_log_covers (logged.log, 0, 16 * PAGE + 1));
  g_assert_false (vhost_dirty_log_covers (logged.log, 1, 16 * PAGE));
  g_assert_true (vhost_dirty_log_covers (logged.log, 16 * PAGE - 1, 1));
  g_assert_false (vhost_dirty_log_covers (logged.log, 16 * PAGE, 1));
  g_assert_false (vhost_dirty_log_covers (logged.log, 1, G_MAXUINT64));
  g_assert_false (vhost_dirty_log_covers (logged.log, G_MAXUINT64, 2));
  g_assert_true (vhost_dirty_log_covers (logged.log, 99 * PAGE, 0));
  g_assert_true (vhost_dirty_log_covers (pending, 16 * PAGE, G_MAXUINT64 / 2));
  logged_clear (&logged);
}

static void
test_marks_ranges_like_a_naive_bitmap (void)
{
  enum
  {
    BYTES = 61,
    OFFSET = 3
  };
  g_autoptr (GRand) random = g_rand_new_with_seed (3);
  Logged logged;

  logged_init (&logged, 4096, BYTES, OFFSET);
  for (guint round = 0; round < 5000; round++)
    {
      guint8 expected[4096] = { 0 };
      guint64 first = (guint64) g_rand_int_range (random, 0, BYTES * 8 + 5);
      guint64 n = (guint64) g_rand_int_range (random, 1, round % 2 == 0 ? 20 : BYTES * 8);

      memset (logged.file, 0, 4096);
      /* Some are set already. */
      if (round % 3 == 0)
        expected[OFFSET + 7] = logged.file[OFFSET + 7] = 0x5a;
      for (guint64 page = first; page < first + n && page < BYTES * 8; page++)
        expected[OFFSET + page / 8] |= (guint8) (1u << (page % 8));
      vhost_dirty_log_mark (logged.log, first * PAGE + 5, (n - 1) * PAGE + 1);
      g_assert_cmpmem (logged.file, 4096, expected, 4096);
    }
  logged_clear (&logged);
}

typedef struct
{
  VhostDirtyLog *log;
  guint first; /* page; every second from there on */
} Marker;

static gpointer
mark_every_second (gpointer data)
{
  Marker *marker = data;

  for (guint64 page = marker->first; page < 4096 * 8; page += 2)
    vhost_dirty_log_mark (marker->log, page * PAGE, 1);
  return NULL;
}

static void
test_loses_no_neighbouring_bits (void)
{
  for (guint round = 0; round < 20; round++)
    {
      Logged logged;
      Marker markers[2];
      GThread *threads[2];

      logged_init (&logged, 4096, 4096, 0);
      for (guint i = 0; i < 2; i++)
        {
          markers[i] = (Marker){ logged.log, i };
          threads[i] = g_thread_new ("marker", mark_every_second, &markers[i]);
        }
      for (guint i = 0; i < 2; i++)
        g_thread_join (threads[i]);
      g_assert_cmpuint (count_bits (&logged), ==, 4096 * 8);
      logged_clear (&logged);
    }
}

/* Cache lines of their own. */
typedef struct
{
  VhostDirtyLog *log;
  _Alignas(64) _Atomic (guint32) page;   /* the guest's: what is written */
  _Alignas(64) _Atomic (guint32) marked; /* what was marked, too */
} Race;

#define RACE_ROUNDS 2000000u

static gpointer
write_and_mark (gpointer data)
{
  Race *race = data;

  for (guint32 i = 1; i <= RACE_ROUNDS; i++)
    {
      atomic_store_explicit (&race->page, i, memory_order_relaxed);
      vhost_dirty_log_mark (race->log, 0, 4);
      atomic_store_explicit (&race->marked, i, memory_order_release);
      /* Time to be caught: the next mark would make good for this one. */
      for (guint spin = 0; spin < i % 256; spin++)
        atomic_signal_fence (memory_order_seq_cst);
    }
  return NULL;
}

/* The front-end takes the bit just while the page is written again: it copies the new page, or
 * finds the bit once more. */
static void
test_a_page_written_while_its_bit_is_taken_is_not_lost (void)
{
  static Race race;
  Logged logged;
  GThread *thread;
  guint32 copied = 0;
  guint32 marked = 0;

  logged_init (&logged, 4096, 4096, 0);
  race.log = logged.log;
  thread = g_thread_new ("writer", write_and_mark, &race);
  while (marked < RACE_ROUNDS)
    {
      marked = atomic_load_explicit (&race.marked, memory_order_acquire);
      if (__atomic_exchange_n (logged.file, 0, __ATOMIC_SEQ_CST) != 0)
        copied = atomic_load_explicit (&race.page, memory_order_relaxed);
      g_assert_cmpuint (copied, >=, marked);
    }
  g_thread_join (thread);
  logged_clear (&logged);
}

static void
test_remembers_pages_until_there_is_a_log (void)
{
  g_autoptr (VhostDirtyLog) pending = vhost_dirty_log_new_pending (NULL);
  g_autoptr (VhostDirtyLog) second = vhost_dirty_log_new_pending (NULL);
  Logged logged;

  vhost_dirty_log_mark (pending, 3 * PAGE, 1);
  vhost_dirty_log_mark (pending, 5 * PAGE - 1, 2);
  vhost_dirty_log_mark (pending, 4096 * 8 * PAGE, 1); /* past the later log */
  vhost_dirty_log_mark (pending, G_MAXUINT64, 1);
  logged_init (&logged, 4096, 4096, 0);
  vhost_dirty_log_merge (logged.log, pending);
  g_assert_cmpuint (logged.file[0], ==, 0x38);
  g_assert_cmpuint (count_bits (&logged), ==, 3);

  /* By way of another pending one; and what is no pending log has nothing to give. */
  memset (logged.file, 0, 4096);
  vhost_dirty_log_merge (second, pending);
  vhost_dirty_log_merge (second, second);
  vhost_dirty_log_merge (second, logged.log);
  vhost_dirty_log_merge (logged.log, second);
  g_assert_cmpuint (logged.file[0], ==, 0x38);
  logged_clear (&logged);
}

static void
test_remembers_more_pages_than_it_has_room_for (void)
{
  const guint64 n = 200000;
  g_autoptr (VhostDirtyLog) pending = vhost_dirty_log_new_pending (NULL);
  Logged logged;

  for (guint64 i = 0; i < n; i++)
    vhost_dirty_log_mark (pending, 5 * i * PAGE, 1);
  logged_init (&logged, 4096 * 32, 4096 * 32, 0);
  vhost_dirty_log_merge (logged.log, pending);
  for (guint64 i = 0; i < n; i++)
    g_assert_true ((logged.file[5 * i / 8] & (1u << (5 * i % 8))) != 0);
  logged_clear (&logged);
}

static gpointer
mark_pending (gpointer data)
{
  Marker *marker = data;

  for (guint64 page = marker->first; page < 2000; page += 2)
    vhost_dirty_log_mark (marker->log, page * PAGE, 1);
  return NULL;
}

static void
test_remembers_pages_of_several_threads (void)
{
  g_autoptr (VhostDirtyLog) pending = vhost_dirty_log_new_pending (NULL);
  Marker markers[2] = { { pending, 0 }, { pending, 1 } };
  GThread *threads[2];
  Logged logged;

  for (guint i = 0; i < 2; i++)
    threads[i] = g_thread_new ("marker", mark_pending, &markers[i]);
  for (guint i = 0; i < 2; i++)
    g_thread_join (threads[i]);
  logged_init (&logged, 4096, 4096, 0);
  vhost_dirty_log_merge (logged.log, pending);
  g_assert_cmpuint (count_bits (&logged), ==, 2000);
  logged_clear (&logged);
}

/* Far apart in the guest. */
static const VhostMemoryRegionInfo two_regions[] = {
  { 40 * PAGE, 8 * PAGE, UVA, 0 },
  { 0, 4 * PAGE, UVA + 64 * PAGE, 100 },
};

static void
test_marks_by_places_in_this_process (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (two_regions, 2, TRUE);
  guint8 *low, *high;
  guint8 outside;
  Logged logged;

  logged_init (&logged, 4096, 4096, 0);
  low = guest_memory_at (memory, 0);
  high = guest_memory_at (memory, 40 * PAGE);
  /* By guest pages, however the region lies in this process. */
  vhost_dirty_log_mark_host (logged.log, NULL, memory, low + PAGE - 1, 2);
  g_assert_cmpuint (logged.file[0], ==, 0x03);
  vhost_dirty_log_mark_host (logged.log, NULL, memory, high + 7 * PAGE, PAGE);
  g_assert_cmpuint (logged.file[5], ==, 0x80);
  g_assert_cmpuint (count_bits (&logged), ==, 3);
  vhost_dirty_log_mark_host (logged.log, NULL, memory, &outside, 1);
  vhost_dirty_log_mark_host (logged.log, NULL, memory, NULL, PAGE);
  vhost_dirty_log_mark_host (logged.log, NULL, memory, high - 1, 0);
  g_assert_cmpuint (count_bits (&logged), ==, 3);
  logged_clear (&logged);
}

/* Collected and committed is the same as at once: near and far, one page and many, more than there
 * is room for, past the log's end; for a log that is pending, too. */
static void
test_collects_what_marks_at_once_set (void)
{
  enum
  {
    BYTES = 4096
  };
  g_autoptr (GRand) random = g_rand_new_with_seed (5);
  g_autoptr (VhostMemory) none = vhost_memory_new_empty ();
  VhostDirtyBatch batch = { 0 }, pending_batch = { 0 };
  Logged at_once, collected, remembered;

  logged_init (&at_once, 2 * BYTES, BYTES, 0);
  logged_init (&collected, 2 * BYTES, BYTES, 0);
  logged_init (&remembered, 2 * BYTES, BYTES, 0);
  for (guint round = 0; round < 2000; round++)
    {
      g_autoptr (VhostDirtyLog) pending = vhost_dirty_log_new_pending (NULL);
      guint64 near = (guint64) g_rand_int_range (random, 0, BYTES * 8) * PAGE;
      guint n = (guint) g_rand_int_range (random, 0, round % 4 == 0 ? 200 : 8);

      memset (at_once.file, 0, 2 * BYTES);
      memset (collected.file, 0, 2 * BYTES);
      memset (remembered.file, 0, 2 * BYTES);
      for (guint i = 0; i < n; i++)
        {
          guint kind = (guint) g_rand_int_range (random, 0, 4);
          guint64 address = kind == 0 ? near + (guint64) g_rand_int_range (random, 0, 4096)
                                      : (guint64) g_rand_int_range (random, 0, BYTES * 8 + 9) * PAGE
                                            + (guint64) g_rand_int_range (random, 0, 4096);
          guint64 length = kind < 3 ? (guint64) g_rand_int_range (random, 0, 4097)
                                    : (guint64) g_rand_int_range (random, 0, 100) * PAGE;

          vhost_dirty_log_mark (at_once.log, address, length);
          vhost_dirty_log_mark_address (collected.log, &batch, none, address, length);
          vhost_dirty_log_mark_address (pending, &pending_batch, none, address, length);
        }
      vhost_dirty_log_commit (collected.log, &batch);
      vhost_dirty_log_commit (pending, &pending_batch);
      vhost_dirty_log_merge (remembered.log, pending);
      g_assert_cmpmem (collected.file, 2 * BYTES, at_once.file, 2 * BYTES);
      g_assert_cmpmem (remembered.file, 2 * BYTES, at_once.file, 2 * BYTES);
      /* Nothing is left over for the next. */
      memset (collected.file, 0, 2 * BYTES);
      vhost_dirty_log_commit (collected.log, &batch);
      g_assert_cmpuint (count_bits (&collected), ==, 0);
    }
  logged_clear (&at_once);
  logged_clear (&collected);
  logged_clear (&remembered);
}

static void
test_marks_segments_wherever_each_lies (void)
{
  g_autoptr (VhostMemory) memory = guest_memory_new (two_regions, 2, TRUE);
  guint8 *low, *high;
  guint8 outside;
  VhostDirtyBatch batch = { 0 };
  Logged logged;

  logged_init (&logged, 4096, 4096, 0);
  low = guest_memory_at (memory, 0);
  high = guest_memory_at (memory, 40 * PAGE);
  {
    const struct iovec segments[]
        = { { low + PAGE - 1, 2 }, { high + 7 * PAGE, PAGE }, { &outside, 1 },
            { low + 3 * PAGE, 1 }, { low + 2 * PAGE, 0 },     { high, 2 * PAGE } };

    vhost_dirty_log_mark_segments (logged.log, &batch, memory, segments, G_N_ELEMENTS (segments));
  }
  g_assert_cmpuint (count_bits (&logged), ==, 0);
  vhost_dirty_log_commit (logged.log, &batch);
  g_assert_cmpuint (logged.file[0], ==, 0x0b);
  g_assert_cmpuint (logged.file[5], ==, 0x83);
  g_assert_cmpuint (count_bits (&logged), ==, 6);
  logged_clear (&logged);
}

static void
test_marks_guest_pages_through_a_view (void)
{
  const VhostMemoryRegionInfo infos[] = { { 8 * PAGE, 8 * PAGE, UVA, 0 } };
  g_autoptr (VhostMemory) memory = guest_memory_new (infos, 1, TRUE);
  guint8 *host = guest_memory_at (memory, 8 * PAGE);
  /* Two neighbours in IOVA that are none in guest memory. */
  const VhostMemorySlot slots[] = {
    { 100 * PAGE, PAGE, host + 6 * PAGE, 3 },
    { 101 * PAGE, PAGE, host + PAGE, 3 },
  };
  g_autoptr (VhostMemory) view = vhost_memory_new_view (memory, slots, 2);
  Logged logged;

  logged_init (&logged, 4096, 4096, 0);
  vhost_dirty_log_mark_address (logged.log, NULL, view, 101 * PAGE - 1, 2);
  g_assert_cmpuint (logged.file[1], ==, 0x42);
  g_assert_cmpuint (count_bits (&logged), ==, 2);
  vhost_dirty_log_mark_host (logged.log, NULL, view, host, 1);
  g_assert_cmpuint (logged.file[1], ==, 0x43);
  /* Without a translation there is no page to mark, also not the one with that number. */
  vhost_dirty_log_mark_address (logged.log, NULL, view, 102 * PAGE - 1, G_MAXUINT64);
  vhost_dirty_log_mark_address (logged.log, NULL, view, 0, 1);
  g_assert_cmpuint (count_bits (&logged), ==, 3);
  /* Without a view, addresses are guest addresses, and need not be in the table (L2). */
  vhost_dirty_log_mark_address (logged.log, NULL, memory, 0, 1);
  g_assert_cmpuint (logged.file[0], ==, 0x01);
  logged_clear (&logged);
}

static void
test_survives_a_file_that_shrinks (void)
{
  Logged logged;

  logged_init (&logged, 8 * 4096, 8 * 4096, 0);
  g_assert_false (vhost_dirty_log_is_poisoned (logged.log));
  g_assert_cmpint (ftruncate (logged.fd, 4096), ==, 0);
  vhost_dirty_log_mark (logged.log, 0, 1);
  g_assert_cmpuint (logged.file[0], ==, 1);
  g_assert_false (vhost_dirty_log_is_poisoned (logged.log));
  vhost_dirty_log_mark (logged.log, 7 * 4096 * 8 * PAGE, PAGE);
  g_assert_true (vhost_dirty_log_is_poisoned (logged.log));
  vhost_dirty_log_mark (logged.log, 0, 8 * 4096 * 8 * PAGE);
  logged_clear (&logged);
}

static void
test_needs_no_guard_where_the_file_is_sealed (void)
{
  int fd = guest_memory_new_file (4096);
  g_autoptr (VhostDirtyLog) log = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (fcntl (fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), ==, 0);
  log = vhost_dirty_log_new_take_fd (dup (fd), 4096, 0, &error);
  g_assert_no_error (error);
  vhost_dirty_log_mark (log, 0, 1);
  g_assert_cmpint (ftruncate (fd, 0), ==, -1);
  close (fd);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/rules/L3-each-page-has-its-bit", test_each_page_has_its_bit);
  g_test_add_func ("/rules/L7-bit-0-is-at-the-offset", test_begins_at_the_offset);
  g_test_add_func ("/rules/L7-drops-pages-past-the-end", test_drops_pages_past_its_end);
  g_test_add_func ("/rules/L7-refuses-bad-numbers", test_refuses_bad_numbers);
  g_test_add_func ("/rules/L8-covers-what-it-has-bits-for", test_covers_what_it_has_bits_for);
  g_test_add_func ("/rules/L9-a-page-written-while-its-bit-is-taken-is-not-lost",
                   test_a_page_written_while_its_bit_is_taken_is_not_lost);
  g_test_add_func ("/rules/L11-remembers-pages-until-there-is-a-log",
                   test_remembers_pages_until_there_is_a_log);
  g_test_add_func ("/rules/L11-remembers-more-pages-than-it-has-room-for",
                   test_remembers_more_pages_than_it_has_room_for);
  g_test_add_func ("/rules/L11-remembers-pages-of-several-threads",
                   test_remembers_pages_of_several_threads);
  g_test_add_func ("/dirty-log/collects-what-marks-at-once-set",
                   test_collects_what_marks_at_once_set);
  g_test_add_func ("/dirty-log/marks-segments-wherever-each-lies",
                   test_marks_segments_wherever_each_lies);
  g_test_add_func ("/rules/L12-marks-guest-pages-through-a-view",
                   test_marks_guest_pages_through_a_view);
  g_test_add_func ("/dirty-log/refuses-descriptors-that-are-no-file",
                   test_refuses_descriptors_that_are_no_file);
  g_test_add_func ("/dirty-log/takes-a-huge-sparse-log", test_takes_a_huge_sparse_log);
  g_test_add_func ("/dirty-log/marks-ranges-like-a-naive-bitmap",
                   test_marks_ranges_like_a_naive_bitmap);
  g_test_add_func ("/dirty-log/loses-no-neighbouring-bits", test_loses_no_neighbouring_bits);
  g_test_add_func ("/dirty-log/marks-by-places-in-this-process",
                   test_marks_by_places_in_this_process);
  g_test_add_func ("/dirty-log/survives-a-file-that-shrinks", test_survives_a_file_that_shrinks);
  g_test_add_func ("/dirty-log/needs-no-guard-where-the-file-is-sealed",
                   test_needs_no_guard_where_the_file_is_sealed);
  return g_test_run ();
}
