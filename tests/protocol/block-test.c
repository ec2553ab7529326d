/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests of the block device, as its driver sees them. Public API only; must not look into
 * the back-end, only at answers and at the image. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block-disk.h"

/* ---- Reading and writing ---- */

static void
test_reads (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = disk_allocate (disk, 4096);
  guint32 used;

  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 9, data, 4096, &used));
  g_assert_cmpuint (used, ==, 4097);
  for (guint i = 0; i < 4096; i++)
    g_assert_cmpuint (disk_at (disk, data, 4096)[i], ==, disk_pattern (9 * 512 + i));
  /* The last sector is one, too. */
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, SECTORS - 1, data, 512, &used));
  g_assert_cmpuint (disk_at (disk, data, 512)[5], ==, disk_pattern (IMAGE_SIZE - 512 + 5));
}

static void
test_writes (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = disk_allocate (disk, 8192);
  guint32 used;

  memset (disk_at (disk, data, 8192), 0x5a, 8192);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, 16, data, 8192, &used));
  g_assert_cmpuint (used, ==, 1);
  disk_assert_image (disk, 16 * 512, 8192, 0x5a);
  disk_assert_image (disk, 0, 16 * 512, -1);
  disk_assert_image (disk, 16 * 512 + 8192, 512, -1);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, &used));
  g_assert_cmpuint (used, ==, 1);
}

static void
test_pieces (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 header = disk_put_header (disk, VIRTIO_BLK_T_IN, 3);
  guint64 data = disk_allocate (disk, 1025);
  /* The header in three pieces, data cut at odd places, the status in one piece with data. */
  const VhostFrontendBuffer buffers[] = {
    { header, 1, FALSE }, { header + 1, 7, FALSE },  { header + 8, 8, FALSE },
    { data, 100, TRUE },  { data + 100, 413, TRUE }, { data + 513, 512, TRUE },
  };

  disk_at (disk, data, 1025)[1024] = NO_STATUS;
  g_assert_cmpuint (disk_send_chain (disk, buffers, G_N_ELEMENTS (buffers)), ==, 1025);
  g_assert_cmpuint (disk_at (disk, data, 1025)[1024], ==, VIRTIO_BLK_S_OK);
  for (guint i = 0; i < 1024; i++)
    g_assert_cmpuint (disk_at (disk, data, 1025)[i], ==, disk_pattern (3 * 512 + i));
}

static void
test_empty (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint32 used;

  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 1, 0, 0, &used));
  g_assert_cmpuint (used, ==, 1);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, 1, 0, 0, &used));
  g_assert_cmpuint (used, ==, 1);
}

static void
test_queues (void)
{
  g_autoptr (Disk) disk = NULL;
  char *path = disk_make_image (IMAGE_SIZE);
  guint64 data;

  disk = disk_new_with (
      g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, "num-queues", 4, "workers", 2, NULL),
      path);
  g_assert_cmpuint (vhost_frontend_get_features (disk->frontend) & FEATURE (MQ), !=, 0);
  g_assert_cmpuint (GUINT16_FROM_LE (disk_get_config (disk).num_queues), ==, 4);
  data = disk_allocate (disk, 512);
  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (GError) error = NULL;

      if (i > 0)
        disk->queue = vhost_frontend_add_queue (disk->frontend, i, 64, &error);
      g_assert_no_error (error);
      ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, i, data, 512, NULL));
      g_assert_cmpuint (disk_at (disk, data, 512)[1], ==, disk_pattern (i * 512 + 1));
    }
}

/* A driver keeps many requests under way; every one has to find its own place again. */
static void
test_many (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct
  {
    guint64 data;
    guint64 status;
    gboolean done;
  } all[20] = { 0 };
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;
  guint n_done = 0;

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    {
      VhostFrontendBuffer buffers[3];

      all[i].data = disk_allocate (disk, 512);
      all[i].status = disk_allocate (disk, 1);
      *disk_at (disk, all[i].status, 1) = NO_STATUS;
      memset (disk_at (disk, all[i].data, 512), 100 + (int) i, 512);
      buffers[0] = (VhostFrontendBuffer){
        disk_put_header (disk, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i), 16, FALSE
      };
      buffers[1] = (VhostFrontendBuffer){ all[i].data, 512, i % 2 };
      buffers[2] = (VhostFrontendBuffer){ all[i].status, 1, TRUE };
      g_assert_true (vhost_frontend_queue_add (disk->queue, buffers, 3, FALSE, &all[i]));
    }
  vhost_frontend_queue_kick (disk->queue);
  while (n_done < G_N_ELEMENTS (all))
    {
      gpointer token;
      guint32 length;

      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      if (!vhost_frontend_queue_poll (disk->queue, &token, &length))
        {
          vhost_frontend_queue_wait (disk->queue, 1000);
          continue;
        }
      for (guint i = 0; i < G_N_ELEMENTS (all); i++)
        if (token == &all[i])
          {
            g_assert_false (all[i].done);
            all[i].done = TRUE;
            g_assert_cmpuint (length, ==, i % 2 ? 513 : 1);
            g_assert_cmpuint (*disk_at (disk, all[i].status, 1), ==, VIRTIO_BLK_S_OK);
            n_done++;
          }
    }
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    {
      if (i % 2)
        g_assert_cmpuint (disk_at (disk, all[i].data, 512)[3], ==, disk_pattern (i * 512 + 3));
      else
        disk_assert_image (disk, i * 512, 512, 100 + (gint) i);
    }
}

/* ---- What is refused ---- */

static void
test_beyond_end (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  const guint64 sectors[] = { SECTORS - 1,
                              SECTORS,
                              G_MAXUINT64,
                              G_MAXUINT64 >> 9,
                              (G_GUINT64_CONSTANT (1) << 55) + 1,
                              G_GUINT64_CONSTANT (1) << 63 };
  guint64 data = disk_allocate (disk, 1024);
  guint32 used;

  for (guint i = 0; i < G_N_ELEMENTS (sectors); i++)
    {
      memset (disk_at (disk, data, 1024), 0x11, 1024);
      ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, sectors[i], data, 1024, &used));
      /* The status is written, the data before it are not: nothing contiguous. */
      g_assert_cmpuint (used, ==, 0);
      g_assert_cmpuint (disk_at (disk, data, 1024)[0], ==, 0x11);
      ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_OUT, sectors[i], data, 1024, &used));
      g_assert_cmpuint (used, ==, 1);
    }
  disk_assert_image (disk, 0, IMAGE_SIZE, -1);
}

static void
test_odd_length (void)
{
  g_autoptr (Disk) disk = disk_new ("logical-block-size", 4096, NULL);
  guint64 data = disk_allocate (disk, 8192);

  g_assert_cmpuint (GUINT32_FROM_LE (disk_get_config (disk).blk_size), ==, 4096);
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 513, NULL));
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_OUT, 0, data, 100, NULL));
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL));
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, 1, data, 4096, NULL));
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 8, data, 4096, NULL));
}

static void
test_unknown (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  const guint32 types[] = { 2, 3, 5, 14, 0x80000000u, 0xffffffffu };
  guint64 data = disk_allocate (disk, 512);

  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    ASSERT_UNSUPP (disk_request (disk, types[i], 0, data, 512, NULL));
}

static void
test_no_status (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = disk_allocate (disk, 512);
  VhostFrontendBuffer buffers[2]
      = { { disk_put_header (disk, VIRTIO_BLK_T_OUT, 0), 16, FALSE }, { data, 512, FALSE } };

  g_assert_cmpuint (disk_send_chain (disk, buffers, 2), ==, 0);
  disk_assert_image (disk, 0, 512, -1);
  /* The ring lives on. */
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL));
}

static void
test_short_header (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 status = disk_allocate (disk, 1);
  VhostFrontendBuffer buffers[2]
      = { { disk_put_header (disk, VIRTIO_BLK_T_FLUSH, 0), 15, FALSE }, { status, 1, TRUE } };

  *disk_at (disk, status, 1) = NO_STATUS;
  g_assert_cmpuint (disk_send_chain (disk, buffers, 2), ==, 1);
  g_assert_cmpuint (*disk_at (disk, status, 1), ==, VIRTIO_BLK_S_IOERR);
  /* Without any header, too. */
  *disk_at (disk, status, 1) = NO_STATUS;
  g_assert_cmpuint (disk_send_chain (disk, buffers + 1, 1), ==, 1);
  g_assert_cmpuint (*disk_at (disk, status, 1), ==, VIRTIO_BLK_S_IOERR);
}

static void
test_read_only (void)
{
  g_autoptr (Disk) disk = disk_new ("read-only", TRUE, NULL);
  guint64 features = vhost_frontend_get_features (disk->frontend);
  guint64 data = disk_allocate (disk, 512);

  g_assert_cmpuint (features & FEATURE (RO), !=, 0);
  g_assert_cmpuint (features & (FEATURE (DISCARD) | FEATURE (WRITE_ZEROES)), ==, 0);
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_OUT, 0, data, 512, NULL));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 8, 0));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0));
  disk_assert_image (disk, 0, 4096, -1);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL));
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL));
}

/* ---- Discard and write-zeroes ---- */

static void
test_discard (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct stat before, after;

  g_assert_cmpint (stat (disk->path, &before), ==, 0);
  ASSERT_OK (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, 256, 512, 0));
  g_assert_cmpint (stat (disk->path, &after), ==, 0);
  g_assert_cmpint (after.st_size, ==, IMAGE_SIZE);
  /* What it gives back depends on the file system; the neighbours must not be touched. */
  g_assert_cmpint (after.st_blocks, <=, before.st_blocks);
  disk_assert_image (disk, 0, 256 * 512, -1);
  disk_assert_image (disk, 768 * 512, IMAGE_SIZE - 768 * 512, -1);
}

static void
assert_writes_zeroes (Disk *disk)
{
  struct virtio_blk_discard_write_zeroes ranges[3]
      = { { .sector = GUINT64_TO_LE (8), .num_sectors = GUINT32_TO_LE (8) },
          { .sector = GUINT64_TO_LE (900), .num_sectors = 0 },
          { .sector = GUINT64_TO_LE (101),
            .num_sectors = GUINT32_TO_LE (3),
            .flags = GUINT32_TO_LE (VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) } };

  ASSERT_OK (disk_send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 3));
  disk_assert_image (disk, 0, 8 * 512, -1);
  disk_assert_image (disk, 8 * 512, 8 * 512, 0);
  disk_assert_image (disk, 16 * 512, 85 * 512, -1);
  disk_assert_image (disk, 101 * 512, 3 * 512, 0);
  disk_assert_image (disk, 104 * 512, 512, -1);
}

static void
test_write_zeroes (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);

  assert_writes_zeroes (disk);
}

/* tmpfs can give space back and cannot zero it in place. */
static void
test_write_zeroes_by_hand (void)
{
  g_autoptr (Disk) disk = NULL;
  char *path;

  if (g_access ("/dev/shm", W_OK) != 0)
    {
      g_test_skip ("no /dev/shm to write to");
      return;
    }
  path = disk_make_image_in ("/dev/shm", IMAGE_SIZE);
  disk = disk_new_with (g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, NULL), path);
  assert_writes_zeroes (disk);
  /* The second time it is known. */
  assert_writes_zeroes (disk);
}

static void
test_bad_ranges (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_config config = disk_get_config (disk);
  guint32 max_discard = GUINT32_FROM_LE (config.max_discard_sectors);
  guint max_ranges = GUINT32_FROM_LE (config.max_write_zeroes_seg);
  g_autofree struct virtio_blk_discard_write_zeroes *many
      = g_new0 (struct virtio_blk_discard_write_zeroes, max_ranges + 1);
  struct virtio_blk_discard_write_zeroes second_is_bad[2]
      = { { .sector = 0, .num_sectors = GUINT32_TO_LE (8) },
          { .sector = GUINT64_TO_LE (SECTORS), .num_sectors = GUINT32_TO_LE (1) } };
  guint64 data = disk_allocate (disk, 64);

  g_assert_cmpuint (max_discard, >, 0);
  ASSERT_UNSUPP (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 8, 1));
  ASSERT_UNSUPP (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2));
  ASSERT_UNSUPP (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0x80000001u));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, 0, max_discard + 1, 0));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, G_MAXUINT64, 2, 0));
  /* No range, a part of one, too many. */
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_DISCARD, 0, 0, 0, NULL));
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_DISCARD, 0, data, 20, NULL));
  ASSERT_IOERR (disk_send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, many, max_ranges + 1));
  ASSERT_OK (disk_send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, many, max_ranges));
  /* All or nothing. */
  ASSERT_IOERR (disk_send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, second_is_bad, 2));
  disk_assert_image (disk, 0, IMAGE_SIZE, -1);
}

/* ---- Other requests ---- */

static void
test_serial (void)
{
  g_autoptr (Disk) disk = disk_new ("serial", "disk-0815", NULL);
  guint64 data = disk_allocate (disk, 20);
  guint32 used;

  memset (disk_at (disk, data, 20), 0xff, 20);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_GET_ID, 0, data, 20, &used));
  g_assert_cmpuint (used, ==, 21);
  g_assert_cmpmem (disk_at (disk, data, 20), 20, "disk-0815\0\0\0\0\0\0\0\0\0\0", 20);
}

/* ---- The disk of nothing ---- */

static void
test_null (void)
{
  g_autoptr (Disk) disk = disk_new_with (g_object_new (VHOSTD_TYPE_BLOCK, "driver", 1, "size",
                                                       (guint64) 65536, "serial", "nothing", NULL),
                                         NULL);
  guint64 data = disk_allocate (disk, 1024);
  guint32 used;

  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, 128);
  memset (disk_at (disk, data, 1024), 0x42, 1024);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, 0, data, 1024, &used));
  g_assert_cmpuint (used, ==, 1);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 126, data, 1024, &used));
  g_assert_cmpuint (used, ==, 0);
  g_assert_cmpuint (disk_at (disk, data, 1024)[0], ==, 0x42);
  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, 127, data, 1024, &used));
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, &used));
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_GET_ID, 0, data, 20, &used));
  g_assert_cmpstr ((char *) disk_at (disk, data, 20), ==, "nothing");
  ASSERT_OK (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 128, 0));
  ASSERT_IOERR (disk_send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 129, 0));
  ASSERT_UNSUPP (disk_request (disk, 99, 0, data, 512, &used));
}

static void
test_null_zeroes (void)
{
  g_autoptr (Disk) disk = disk_new_with (
      g_object_new (VHOSTD_TYPE_BLOCK, "driver", 1, "read-zeroes", TRUE, NULL), NULL);
  guint64 data = disk_allocate (disk, 512);
  guint32 used;

  memset (disk_at (disk, data, 512), 0x42, 512);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 512, &used));
  g_assert_cmpuint (used, ==, 513);
  for (guint i = 0; i < 512; i++)
    g_assert_cmpuint (disk_at (disk, data, 512)[i], ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  disk_init_log ();

  g_test_add_func ("/block/reads-what-the-image-holds", test_reads);
  g_test_add_func ("/block/writes-reach-the-image", test_writes);
  g_test_add_func ("/block/takes-a-request-cut-into-any-pieces", test_pieces);
  g_test_add_func ("/block/takes-requests-without-data", test_empty);
  g_test_add_func ("/block/serves-several-queues", test_queues);
  g_test_add_func ("/block/keeps-many-requests-apart", test_many);
  g_test_add_func ("/block/refuses-what-is-beyond-the-end", test_beyond_end);
  g_test_add_func ("/block/refuses-parts-of-blocks", test_odd_length);
  g_test_add_func ("/block/says-unsupported-to-unknown-requests", test_unknown);
  g_test_add_func ("/block/lives-on-after-a-request-without-status", test_no_status);
  g_test_add_func ("/block/answers-a-short-header-with-an-error", test_short_header);
  g_test_add_func ("/block/writes-nothing-when-read-only", test_read_only);
  g_test_add_func ("/block/discards-no-more-than-was-said", test_discard);
  g_test_add_func ("/block/write-zeroes-leaves-zeros-and-neighbours", test_write_zeroes);
  g_test_add_func ("/block/write-zeroes-writes-where-it-must", test_write_zeroes_by_hand);
  g_test_add_func ("/block/refuses-bad-ranges-as-a-whole", test_bad_ranges);
  g_test_add_func ("/block/tells-its-serial", test_serial);
  g_test_add_func ("/block/null-touches-no-data", test_null);
  g_test_add_func ("/block/null-reads-zeros-when-asked", test_null_zeroes);
  return g_test_run ();
}
