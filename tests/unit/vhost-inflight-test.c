/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-flight area: its bytes, each rule of its use, and areas that somebody has tampered with.
 * What happens when the process is killed in between is the model's (tests/model). */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-inflight-layout-private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define AVAIL (1u << 7)
#define USED (1u << 15)

typedef struct
{
  VhostInflight *area;
  VhostInflightRegion *region;
  guint8 *memory; /* the test's own mapping */
  VhostInflightSplitArea *split;
  VhostInflightPackedArea *packed;
  struct
  {
    guint64 address;
    guint32 length;
    guint16 id, flags;
  } ring[4];
} Fixture;

static void
new_region (Fixture *f)
{
  GError *error = NULL;

  g_clear_pointer (&f->region, vhost_inflight_region_free);
  f->region = vhost_inflight_region_new (f->area, 1, 4, &error);
  g_assert_no_error (error);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  gboolean packed = data != NULL;
  GError *error = NULL;
  gsize size;

  f->area = vhost_inflight_new (2, 4, packed, &error);
  g_assert_no_error (error);
  size = vhost_inflight_get_size (f->area);
  f->memory
      = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vhost_inflight_get_fd (f->area), 0);
  g_assert_true (f->memory != MAP_FAILED);
  f->split = (gpointer) (f->memory + size / 2);
  f->packed = (gpointer) f->split;
  new_region (f);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  munmap (f->memory, vhost_inflight_get_size (f->area));
  vhost_inflight_region_free (f->region);
  vhost_inflight_unref (f->area);
}

static gboolean
recover (Fixture *f, guint32 base, GError **error)
{
  new_region (f);
  return vhost_inflight_is_packed (f->area)
             ? vhost_inflight_packed_recover (f->region, f->ring, base, error)
             : vhost_inflight_split_recover (f->region, (guint16) base, error);
}

static void
assert_recovers (Fixture *f, guint32 base)
{
  GError *error = NULL;

  recover (f, base, &error);
  g_assert_no_error (error);
}

static void
assert_refused (Fixture *f, guint32 base, const char *words)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (recover (f, base, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  if (strstr (error->message, words) == NULL)
    g_error ("expected '%s' in: %s", words, error->message);
}

static void
assert_requests (Fixture *f, guint n_expected, const guint *heads)
{
  guint n;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (f->region, &n);

  g_assert_cmpuint (n, ==, n_expected);
  for (guint i = 0; i < n; i++)
    g_assert_cmpuint (requests[i].head, ==, heads[i]);
}

/* ---- The area ---- */

static void
regions_are_rounded_up (void)
{
  g_autoptr (VhostInflight) split = vhost_inflight_new (3, 4, FALSE, NULL);
  g_autoptr (VhostInflight) packed = vhost_inflight_new (3, 3, TRUE, NULL);

  /* 16 + 4 * 16 and 32 + 3 * 32, to the next multiple of 64 */
  g_assert_cmpuint (vhost_inflight_get_size (split), ==, 3 * 128);
  g_assert_cmpuint (vhost_inflight_get_size (packed), ==, 3 * 128);
  g_assert_cmpuint (vhost_inflight_get_offset (split), ==, 0);
  g_assert_cmpuint (vhost_inflight_get_num_queues (packed), ==, 3);
  g_assert_cmpuint (vhost_inflight_get_queue_size (packed), ==, 3);
  g_assert_true (vhost_inflight_is_packed (packed));
}

/* What came before the features: as long as nothing is tracked in it. */
static void
serves_the_other_layout (void)
{
  for (guint packed = 0; packed < 2; packed++)
    {
      g_autoptr (VhostInflight) area = vhost_inflight_new_for_both (3, 4, packed, NULL);
      g_autoptr (VhostInflight) other = vhost_inflight_new_other (area, NULL);
      g_autoptr (VhostInflightRegion) region = vhost_inflight_region_new (other, 2, 4, NULL);
      g_autoptr (GError) error = NULL;

      g_assert_cmpint (vhost_inflight_is_packed (other), !=, packed);
      g_assert_cmpuint (vhost_inflight_get_size (other), ==, vhost_inflight_get_size (area));
      if (packed)
        g_assert_true (vhost_inflight_split_recover (region, 0, NULL));
      else
        {
          guint64 ring[8] = { 0 };

          g_assert_true (vhost_inflight_packed_recover (region, ring, 0x80008000, NULL));
        }
      g_assert_null (vhost_inflight_new_other (area, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_assert_nonnull (strstr (error->message, "GET_INFLIGHT_FD"));
    }
}

/* At the end of a page, so that nothing behind it is there. */
static void
serves_the_other_layout_at_an_offset (void)
{
  const gsize page = (gsize) sysconf (_SC_PAGESIZE);
  int fd = memfd_create ("two pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_autoptr (VhostInflight) area = NULL;
  g_autoptr (VhostInflight) other = NULL;

  g_assert_cmpint (ftruncate (fd, (off_t) (2 * page)), ==, 0);
  area = vhost_inflight_new_take_fd (fd, 20 * 192, 2 * page - 20 * 192, 20, 4, FALSE, NULL);
  g_assert_nonnull (area);
  other = vhost_inflight_new_other (area, NULL);
  g_assert_nonnull (other);
}

static void
serves_no_other_layout_that_does_not_fit (void)
{
  int fd = memfd_create ("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_autoptr (VhostInflight) area = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (ftruncate (fd, 3 * 128), ==, 0);
  area = vhost_inflight_new_take_fd (fd, 3 * 128, 0, 3, 4, FALSE, NULL);
  g_assert_nonnull (area);
  g_assert_null (vhost_inflight_new_other (area, &error));
  g_assert_nonnull (strstr (error->message, "too small"));
}

static void
new_area_is_zeroed_and_sealed (Fixture *f, gconstpointer data)
{
  int fd = vhost_inflight_get_fd (f->area);

  for (gsize i = 0; i < vhost_inflight_get_size (f->area); i++)
    g_assert_cmpuint (f->memory[i], ==, 0);
  g_assert_cmpint (ftruncate (fd, 0), !=, 0);
  g_assert_cmpint (fcntl (fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), !=, 0);
}

static void
impossible_numbers_are_refused (void)
{
  static const struct
  {
    guint queues, size;
    gboolean packed;
  } cases[] = { { 0, 4, FALSE }, { 257, 4, FALSE },  { 1, 0, FALSE },     { 1, 3, FALSE },
                { 1, 0, TRUE },  { 1, 32769, TRUE }, { 1, 65536, FALSE }, { 1, G_MAXUINT, TRUE } };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_null (vhost_inflight_new (cases[i].queues, cases[i].size, cases[i].packed, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
    }
}

static int
new_file (guint64 size)
{
  int fd = memfd_create ("vhost-inflight-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  g_assert_cmpint (ftruncate (fd, (off_t) size), ==, 0);
  return fd;
}

static void
assert_set_refused (int fd, guint64 size, guint64 offset, guint queues, guint queue_size)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vhost_inflight_new_take_fd (fd, size, offset, queues, queue_size, FALSE, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  vhost_fd_settle ();
  if (fd >= 0)
    g_assert_cmpint (fcntl (fd, F_GETFD), ==, -1); /* taken, so closed */
}

static void
set_is_checked_against_its_file (void)
{
  int pair[2];

  assert_set_refused (-1, 128, 0, 1, 4);
  assert_set_refused (new_file (127), 128, 0, 1, 4);
  assert_set_refused (new_file (4096), 127, 0, 1, 4);
  assert_set_refused (new_file (4096), 128, 4096 - 64, 1, 4);
  assert_set_refused (new_file (4096), 128, 4, 1, 4);
  assert_set_refused (new_file (4096), 128, G_MAXUINT64 - 7, 1, 4);
  assert_set_refused (new_file (4096), G_MAXUINT64, 8, 1, 4);
  assert_set_refused (new_file (4096), G_MAXINT64, G_MAXINT64 - 7, 1, 4);
  assert_set_refused (new_file (4096), 4096, 0, 256, 32768);
  assert_set_refused (new_file (4096), 4096, 0, 65535, 4);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
  assert_set_refused (pair[0], 128, 0, 1, 4);
  close (pair[1]);
  g_assert_cmpint (pipe (pair), ==, 0);
  assert_set_refused (pair[0], 128, 0, 1, 4);
  close (pair[1]);
}

static void
set_takes_any_multiple_of_8 (void)
{
  g_autoptr (GError) error = NULL;
  int fd = new_file (8192);
  guint16 version = 0;
  g_autoptr (VhostInflight) area
      = vhost_inflight_new_take_fd (fd, 256, 4096 + 8, 2, 4, FALSE, &error);
  g_autoptr (VhostInflightRegion) region = NULL;

  g_assert_no_error (error);
  region = vhost_inflight_region_new (area, 1, 4, &error);
  g_assert_true (vhost_inflight_split_recover (region, 0, &error));
  g_assert_cmpint (pread (fd, &version, 2, 4096 + 8 + 128 + 8), ==, 2);
  g_assert_cmpuint (version, ==, 1);
}

static void
shrinking_file_fails_its_area_only (void)
{
  g_autoptr (GError) error = NULL;
  int fd = new_file (8192);
  g_autoptr (VhostInflight) area = NULL;
  g_autoptr (VhostInflightRegion) region = NULL;

  /* Its owner forbids seals, so it can take its pages away. */
  g_assert_cmpint (fcntl (fd, F_ADD_SEALS, F_SEAL_SEAL), ==, 0);
  area = vhost_inflight_new_take_fd (fd, 128, 4096, 1, 4, FALSE, &error);
  g_assert_no_error (error);
  region = vhost_inflight_region_new (area, 0, 4, &error);
  g_assert_true (vhost_inflight_split_recover (region, 0, &error));
  g_assert_false (vhost_inflight_is_poisoned (area));
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  vhost_inflight_split_take (region, 1);
  g_assert_true (vhost_inflight_is_poisoned (area));
  g_assert_false (vhost_inflight_split_recover (region, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
}

static void
region_must_exist_and_be_large_enough (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostInflightRegion) shorter = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_null (vhost_inflight_region_new (f->area, 2, 4, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  g_assert_null (vhost_inflight_region_new (f->area, 1, 8, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  g_assert_null (vhost_inflight_region_new (f->area, 1, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  shorter = vhost_inflight_region_new (f->area, 1, 2, &error);
  g_assert_no_error (error);
}

static void
header_is_checked (Fixture *f, gconstpointer data)
{
  guint32 base = data != NULL ? 0x80008000 : 0;

  assert_recovers (f, base);
  f->split->desc_num = 8;
  assert_refused (f, base, "has 8 entries");
  f->split->desc_num = 4;
  f->split->version = 2;
  assert_refused (f, base, "version is 2");
  f->split->version = 1;
  f->split->features = 1;
  assert_refused (f, base, "features");
}

/* ---- Split ---- */

static void
split_starts_at_the_used_index (Fixture *f, gconstpointer data)
{
  memset (f->split, 0xff, 128);
  f->split->version = 0; /* whatever else is there */
  assert_recovers (f, 70);
  g_assert_cmpuint (f->split->features, ==, 0);
  g_assert_cmpuint (f->split->version, ==, 1);
  g_assert_cmpuint (f->split->desc_num, ==, 4);
  g_assert_cmpuint (f->split->used_idx, ==, 70);
  g_assert_cmpuint (f->split->desc[3].inflight, ==, 0);
  g_assert_cmpuint (vhost_inflight_split_get_available (f->region), ==, 70);
  assert_requests (f, 0, NULL);
}

static void
split_take_sets_flag_and_counter (Fixture *f, gconstpointer data)
{
  assert_recovers (f, 0);
  vhost_inflight_split_take (f->region, 2);
  vhost_inflight_split_take (f->region, 0);
  g_assert_cmpuint (f->split->desc[2].inflight, ==, 1);
  g_assert_cmpuint (f->split->desc[0].counter, ==, f->split->desc[2].counter + 1);
  g_assert_cmpuint (f->split->desc[1].inflight, ==, 0);
}

static void
split_batch_is_a_list_until_published (Fixture *f, gconstpointer data)
{
  assert_recovers (f, 0);
  for (guint16 i = 0; i < 3; i++)
    vhost_inflight_split_take (f->region, i);
  vhost_inflight_split_push (f->region, 2);
  vhost_inflight_split_push (f->region, 0);
  g_assert_cmpuint (f->split->last_batch_head, ==, 0);
  g_assert_cmpuint (f->split->desc[0].next, ==, 2);
  g_assert_cmpuint (f->split->desc[0].inflight + f->split->desc[2].inflight, ==, 2);
  g_assert_cmpuint (f->split->used_idx, ==, 0);
  vhost_inflight_split_published (f->region, 2);
  g_assert_cmpuint (f->split->desc[0].inflight + f->split->desc[2].inflight, ==, 0);
  g_assert_cmpuint (f->split->desc[1].inflight, ==, 1);
  g_assert_cmpuint (f->split->used_idx, ==, 2);
}

static void
split_recovery_clears_the_whole_batch (Fixture *f, gconstpointer data)
{
  static const guint left[] = { 3 };

  assert_recovers (f, 0xfffe);
  for (guint16 i = 0; i < 4; i++)
    vhost_inflight_split_take (f->region, i);
  vhost_inflight_split_push (f->region, 1);
  vhost_inflight_split_push (f->region, 2);
  vhost_inflight_split_push (f->region, 0);
  assert_recovers (f, 1); /* the index was stored, nothing after it */
  assert_requests (f, 1, left);
  g_assert_cmpuint (f->split->used_idx, ==, 1);
  g_assert_cmpuint (vhost_inflight_split_get_available (f->region), ==, 2); /* IF6 */
}

static void
split_unpublished_batch_is_served_again (Fixture *f, gconstpointer data)
{
  static const guint both[] = { 3, 1 };

  assert_recovers (f, 9);
  vhost_inflight_split_take (f->region, 3);
  vhost_inflight_split_take (f->region, 1);
  vhost_inflight_split_push (f->region, 1);
  assert_recovers (f, 9);
  assert_requests (f, 2, both);
  g_assert_cmpuint (vhost_inflight_split_get_available (f->region), ==, 11);
}

static void
split_counter_goes_on_above_the_highest (Fixture *f, gconstpointer data)
{
  static const guint order[] = { 1, 2, 0 };

  assert_recovers (f, 0);
  f->split->desc[2] = (VhostInflightSplitEntry){ .inflight = 1, .counter = 100 };
  f->split->desc[1] = (VhostInflightSplitEntry){ .inflight = 1, .counter = 7 };
  assert_recovers (f, 0);
  vhost_inflight_split_take (f->region, 0);
  g_assert_cmpuint (f->split->desc[0].counter, ==, 101);
  assert_recovers (f, 0);
  assert_requests (f, 3, order);
}

static void
split_order_survives_forged_counters (Fixture *f, gconstpointer data)
{
  static const guint order[] = { 0, 1, 3 };

  assert_recovers (f, 0);
  f->split->desc[0] = (VhostInflightSplitEntry){ .inflight = 1, .counter = G_MAXUINT64 };
  f->split->desc[1] = (VhostInflightSplitEntry){ .inflight = 255, .counter = G_MAXUINT64 };
  f->split->desc[3] = (VhostInflightSplitEntry){ .inflight = 1, .counter = G_MAXUINT64 };
  assert_recovers (f, 0);
  assert_requests (f, 3, order);
}

static void
split_ring_that_begins_anew_has_nothing_to_finish (Fixture *f, gconstpointer data)
{
  assert_recovers (f, 5000);
  assert_recovers (f, 0);
  g_assert_cmpuint (f->split->used_idx, ==, 0);
  assert_requests (f, 0, NULL);
}

static void
split_tampered_areas_are_refused (Fixture *f, gconstpointer data)
{
  assert_recovers (f, 0);
  f->split->last_batch_head = 4;
  assert_refused (f, 0, "begins at entry 4");
  f->split->last_batch_head = 0;
  f->split->desc[0].inflight = 1;
  assert_refused (f, 5, "5 entries behind");
  f->split->desc[0].next = 0xffff;
  assert_refused (f, 2, "is entry 65535");
  /* A loop is as long as the distance. */
  f->split->desc[0].next = 0;
  assert_recovers (f, 4);

  /* A ring of 2 in an area of 4 */
  f->split->desc[3].inflight = 1;
  {
    g_autoptr (VhostInflightRegion) shorter = vhost_inflight_region_new (f->area, 1, 2, NULL);
    g_autoptr (GError) error = NULL;

    g_assert_false (vhost_inflight_split_recover (shorter, 4, &error));
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  }
}

/* ---- Packed ---- */

static guint16
take (Fixture *f, guint n, guint16 id)
{
  VhostInflightDescriptor descriptors[4];

  for (guint i = 0; i < n; i++)
    descriptors[i] = (VhostInflightDescriptor){ 0x1000 * (id + 1u) + i, 10 + i, id, (guint16) i };
  return vhost_inflight_packed_take (f->region, descriptors, n);
}

static void
packed_starts_with_a_free_list (Fixture *f, gconstpointer data)
{
  guint16 available, used;
  gboolean available_wrap, used_wrap;

  assert_recovers (f, 0x80028002);
  g_assert_cmpuint (f->packed->version, ==, 1);
  g_assert_cmpuint (f->packed->desc_num, ==, 4);
  g_assert_cmpuint (f->packed->free_head, ==, 0);
  g_assert_cmpuint (f->packed->old_free_head, ==, 0);
  for (guint i = 0; i < 4; i++)
    g_assert_cmpuint (f->packed->desc[i].next, ==, i + 1);
  g_assert_cmpuint (f->packed->positions.used_idx, ==, 2);
  g_assert_cmpuint (f->packed->positions.old_used_idx, ==, 2);
  g_assert_cmpuint (f->packed->positions.used_wrap, ==, 1);
  g_assert_cmpuint (f->packed->positions.old_used_wrap, ==, 1);
  vhost_inflight_packed_get_positions (f->region, &available, &available_wrap, &used, &used_wrap);
  g_assert_cmpuint (available, ==, 2);
  g_assert_cmpuint (used, ==, 2);
  g_assert_true (available_wrap && used_wrap);
}

static void
packed_base_must_be_in_the_ring (Fixture *f, gconstpointer data)
{
  assert_refused (f, 0x80048004, "outside of the ring");
  g_assert_cmpuint (f->packed->version, ==, 0);
}

static void
packed_take_copies_the_list (Fixture *f, gconstpointer data)
{
  VhostInflightDescriptor descriptor;
  guint16 entry;

  assert_recovers (f, 0x80008000);
  entry = take (f, 3, 2);
  g_assert_cmpuint (entry, ==, 0);
  g_assert_cmpuint (f->packed->desc[0].inflight, ==, 1);
  g_assert_cmpuint (f->packed->desc[0].num, ==, 3);
  g_assert_cmpuint (f->packed->desc[0].last, ==, 2);
  g_assert_cmpuint (f->packed->desc[1].addr, ==, 0x3001);
  g_assert_cmpuint (f->packed->desc[1].len, ==, 11);
  g_assert_cmpuint (f->packed->desc[1].id, ==, 2);
  g_assert_cmpuint (f->packed->desc[1].flags, ==, 1);
  g_assert_cmpuint (f->packed->free_head, ==, 3);
  g_assert_cmpuint (f->packed->old_free_head, ==, 3);
  for (int step = 2; step >= 0; step--)
    {
      g_assert_true (vhost_inflight_packed_get (f->region, entry, (guint) step, &descriptor));
      g_assert_cmpuint (descriptor.address, ==, 0x3000 + (guint) step);
    }
  g_assert_false (vhost_inflight_packed_get (f->region, entry, 3, &descriptor));
  g_assert_false (vhost_inflight_packed_get (f->region, 4, 0, &descriptor));
  /* more than there are entries: not tracked, and nothing breaks */
  g_assert_cmpuint (take (f, 2, 3), ==, G_MAXUINT16);
}

static void
packed_half_taken_list_is_undone (Fixture *f, gconstpointer data)
{
  assert_recovers (f, 0x80008000);
  take (f, 1, 0);
  /* The next one up to before its last store. */
  f->packed->desc[1].inflight = 1;
  f->packed->desc[1].num = 1;
  f->packed->free_head = 2;
  assert_recovers (f, 0);
  assert_requests (f, 1, (const guint[]){ 0 });
  g_assert_cmpuint (f->packed->free_head, ==, 1);
  g_assert_cmpuint (f->packed->desc[1].inflight, ==, 0);
}

/* What the driver's slot 0 looks like in the round of @wrap. */
static void
set_slot (Fixture *f, gboolean wrap, gboolean used)
{
  f->ring[0].flags = wrap ? AVAIL : USED;
  if (used)
    f->ring[0].flags = wrap ? AVAIL | USED : 0;
  /* other bits say nothing */
  f->ring[0].flags |= 0x4007;
}

static void
packed_unpublished_is_rolled_back (Fixture *f, gconstpointer data)
{
  guint16 entries[2], available, used;
  gboolean available_wrap, used_wrap;

  assert_recovers (f, 0x80008000);
  entries[0] = take (f, 2, 0);
  entries[1] = take (f, 1, 1);
  set_slot (f, TRUE, FALSE);
  vhost_inflight_packed_push (f->region, entries, 1, 2, TRUE);
  g_assert_cmpuint (f->packed->positions.used_idx, ==, 2);
  g_assert_cmpuint (f->packed->positions.old_used_idx, ==, 0);
  assert_recovers (f, 0);
  assert_requests (f, 2, (const guint[]){ 0, 2 });
  g_assert_cmpuint (f->packed->positions.used_idx, ==, 0);
  g_assert_cmpuint (f->packed->free_head, ==, 3);
  vhost_inflight_packed_get_positions (f->region, &available, &available_wrap, &used, &used_wrap);
  g_assert_cmpuint (used, ==, 0);
  g_assert_cmpuint (available, ==, 3); /* IF10 */
  g_assert_true (available_wrap && used_wrap);
}

/* A buffer that fills the ring: index as before, only the wrap counter has changed. */
static void
packed_published_is_kept (Fixture *f, gconstpointer data)
{
  for (guint next_lap = 0; next_lap < 2; next_lap++)
    {
      guint16 entry;

      memset (f->packed, 0, 32);
      assert_recovers (f, 0x80008000);
      entry = take (f, 4, 3);
      g_assert_cmpuint (f->packed->free_head, ==, 4);
      vhost_inflight_packed_push (f->region, &entry, 1, 0, FALSE);
      /* Ours, or the driver's again, for the next round. */
      set_slot (f, next_lap ? FALSE : TRUE, !next_lap);
      assert_recovers (f, 0);
      assert_requests (f, 0, NULL);
      g_assert_cmpuint (f->packed->positions.old_used_wrap, ==, 0);
      g_assert_cmpuint (f->packed->old_free_head, ==, 0);
      g_assert_cmpuint (f->packed->desc[0].inflight, ==, 0);
    }
}

static void
packed_only_the_last_step_missing (Fixture *f, gconstpointer data)
{
  guint16 entry;

  assert_recovers (f, 0x80008000);
  entry = take (f, 1, 0);
  vhost_inflight_packed_push (f->region, &entry, 1, 1, TRUE);
  vhost_inflight_packed_published (f->region, &entry, 1);
  f->packed->positions.old_used_idx = 0;
  set_slot (f, TRUE, FALSE); /* not looked at */
  assert_recovers (f, 0);
  g_assert_cmpuint (f->packed->positions.old_used_idx, ==, 1);
  g_assert_cmpuint (f->packed->positions.used_idx, ==, 1);
}

static void
packed_batch_is_one_used_descriptor (Fixture *f, gconstpointer data)
{
  guint16 entries[3];

  assert_recovers (f, 0x80008000);
  for (guint16 i = 0; i < 3; i++)
    entries[i] = take (f, 1, i);
  vhost_inflight_packed_push (f->region, entries, 2, 2, TRUE);
  vhost_inflight_packed_published (f->region, entries, 2);
  assert_recovers (f, 0);
  assert_requests (f, 1, (const guint[]){ 2 });
  /* the free list: 1, 0, 3 */
  g_assert_cmpuint (f->packed->free_head, ==, 1);
  g_assert_cmpuint (f->packed->desc[1].next, ==, 0);
  g_assert_cmpuint (f->packed->desc[0].next, ==, 3);
}

static void
packed_request_has_its_last_id (Fixture *f, gconstpointer data)
{
  VhostInflightDescriptor list[2] = { { 1, 1, 9, 1 }, { 2, 2, 3, 0 } };
  const VhostInflightRequest *request;
  guint n;

  assert_recovers (f, 0x80008000);
  vhost_inflight_packed_take (f->region, list, 2);
  assert_recovers (f, 0);
  request = vhost_inflight_region_get_requests (f->region, &n);
  g_assert_cmpuint (n, ==, 1);
  g_assert_cmpuint (request->id, ==, 3);
  g_assert_cmpuint (request->slots, ==, 2);
}

static void
packed_tampering_while_it_runs_misleads_nobody (Fixture *f, gconstpointer data)
{
  VhostInflightDescriptor descriptor;
  guint16 entry;

  assert_recovers (f, 0x80008000);
  entry = take (f, 2, 0);
  memset (f->packed, 0xff, 32 + 4 * 32);
  g_assert_true (vhost_inflight_packed_get (f->region, entry, 1, &descriptor));
  vhost_inflight_packed_push (f->region, &entry, 1, 2, TRUE);
  vhost_inflight_packed_published (f->region, &entry, 1);
  g_assert_cmpuint (take (f, 1, 1), ==, 0);
  g_assert_cmpuint (take (f, 1, 2), ==, 1);
}

static void
packed_tampered_areas_are_refused (Fixture *f, gconstpointer data)
{
  VhostInflightPackedArea *area = f->packed;
  guint8 good[32 + 4 * 32];

  assert_recovers (f, 0x80008000);
  take (f, 2, 0);
  memcpy (good, area, sizeof good);

#define TAMPER(change, words)                                                                      \
  G_STMT_START                                                                                     \
  {                                                                                                \
    memcpy (area, good, sizeof good);                                                              \
    change;                                                                                        \
    assert_refused (f, 0, words);                                                                  \
  }                                                                                                \
  G_STMT_END

  TAMPER (area->positions.used_idx = 4, "used positions");
  TAMPER (area->positions.old_used_idx = 0xffff, "used positions");
  TAMPER (area->free_head = 5, "begin at");
  TAMPER (area->old_free_head = 0xffff, "begin at");
  TAMPER (area->desc[2].next = 5, "leads to entry 5");
  TAMPER (area->desc[3].next = 2, "is a loop");
  TAMPER (area->desc[2].next = 2, "is a loop");
  TAMPER (area->desc[2].next = 4, "neither free nor");
  TAMPER (area->desc[0].num = 0, "has 0 descriptors");
  TAMPER (area->desc[0].num = 5, "has 5 descriptors");
  TAMPER (area->desc[0].next = 4, "leads to entry 4");
  TAMPER (area->desc[0].next = 0, "and elsewhere");
  TAMPER (area->desc[0].next = 3, "and elsewhere");
  TAMPER (area->desc[0].last = 0xffff, "ends at entry 1");
  TAMPER (area->desc[1].inflight = 1, "descriptors");
  TAMPER (area->desc[0].inflight = 0, "neither free nor");
  memcpy (area, good, sizeof good);
  assert_recovers (f, 0);
}

#define SPLIT(path, function)                                                                      \
  g_test_add ("/inflight/" path, Fixture, NULL, set_up, function, tear_down)
#define PACKED(path, function)                                                                     \
  g_test_add ("/inflight/" path, Fixture, "packed", set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/inflight/IF1-regions-are-rounded-up-to-64", regions_are_rounded_up);
  g_test_add_func ("/inflight/serves-the-other-layout", serves_the_other_layout);
  g_test_add_func ("/inflight/serves-the-other-layout-at-an-offset",
                   serves_the_other_layout_at_an_offset);
  g_test_add_func ("/inflight/serves-no-other-layout-that-does-not-fit",
                   serves_no_other_layout_that_does_not_fit);
  SPLIT ("IF2-new-area-is-zeroed-and-sealed", new_area_is_zeroed_and_sealed);
  g_test_add_func ("/inflight/impossible-numbers-are-refused", impossible_numbers_are_refused);
  g_test_add_func ("/inflight/IF3-set-is-checked-against-its-file",
                   set_is_checked_against_its_file);
  g_test_add_func ("/inflight/set-takes-any-multiple-of-8", set_takes_any_multiple_of_8);
  g_test_add_func ("/inflight/shrinking-file-fails-its-area-only",
                   shrinking_file_fails_its_area_only);
  SPLIT ("IF3-region-must-exist-and-be-large-enough", region_must_exist_and_be_large_enough);
  SPLIT ("IF3-split-header-is-checked", header_is_checked);
  PACKED ("IF3-packed-header-is-checked", header_is_checked);
  SPLIT ("IF2-split-starts-at-the-used-index", split_starts_at_the_used_index);
  SPLIT ("IF4-split-take-sets-flag-and-counter", split_take_sets_flag_and_counter);
  SPLIT ("IF4-split-batch-is-a-list-until-published", split_batch_is_a_list_until_published);
  SPLIT ("IF5-split-recovery-clears-the-whole-batch", split_recovery_clears_the_whole_batch);
  SPLIT ("IF5-split-unpublished-batch-is-served-again", split_unpublished_batch_is_served_again);
  SPLIT ("IF11-split-counter-goes-on-above-the-highest", split_counter_goes_on_above_the_highest);
  SPLIT ("IF3-split-order-survives-forged-counters", split_order_survives_forged_counters);
  SPLIT ("V45-split-ring-that-begins-anew-has-nothing-to-finish",
         split_ring_that_begins_anew_has_nothing_to_finish);
  SPLIT ("IF3-split-tampered-areas-are-refused", split_tampered_areas_are_refused);
  PACKED ("IF2-packed-starts-with-a-free-list", packed_starts_with_a_free_list);
  PACKED ("V7-packed-base-must-be-in-the-ring", packed_base_must_be_in_the_ring);
  PACKED ("IF7-packed-take-copies-the-list", packed_take_copies_the_list);
  PACKED ("IF9-packed-half-taken-list-is-undone", packed_half_taken_list_is_undone);
  PACKED ("IF9-IF10-packed-unpublished-is-rolled-back", packed_unpublished_is_rolled_back);
  PACKED ("IF9-packed-published-is-kept-though-only-the-wrap-differs", packed_published_is_kept);
  PACKED ("IF9-packed-only-the-last-step-missing", packed_only_the_last_step_missing);
  PACKED ("IF8-packed-batch-is-one-used-descriptor", packed_batch_is_one_used_descriptor);
  PACKED ("V20-packed-request-has-its-last-id", packed_request_has_its_last_id);
  PACKED ("packed-tampering-while-it-runs-misleads-nobody",
          packed_tampering_while_it_runs_misleads_nobody);
  PACKED ("IF3-packed-tampered-areas-are-refused", packed_tampered_areas_are_refused);
  return g_test_run ();
}
