/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block device as its driver sees it: a front-end against a live daemon. Public API only; must
 * not look into the back-end, only at answers and at the image. */
#include <block.h>

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live-device.h"

#define IMAGE_SIZE (1024 * 1024)
#define SECTORS (IMAGE_SIZE / 512)
#define FEATURE(name) (G_GUINT64_CONSTANT (1) << VIRTIO_BLK_F_##name)
#define NO_STATUS 0xee

typedef struct
{
  char *path; /* (owned) (nullable): the image */
  LiveDevice *device;
  VhostFrontend *frontend; /* (owned) */
  VhostFrontendQueue *queue;
} Disk;

/* Warnings that a test expects; any other fails it. */
static gint expected_warnings;
static gint seen_warnings;

/* Instead of GLib's: that one writes "Bail out!" for a warning, expected or not. Called on any
 * thread. */
static void
on_log (const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
  if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) == 0
      && ((level & G_LOG_LEVEL_WARNING) == 0 || g_atomic_int_get (&expected_warnings)))
    {
      if (level & G_LOG_LEVEL_WARNING)
        g_atomic_int_inc (&seen_warnings);
      g_test_message ("%s: %s", domain, message);
      return;
    }
  g_log_default_handler (domain, level, message, data);
  abort ();
}

static void
expect_warnings (gboolean expected)
{
  g_atomic_int_set (&expected_warnings, expected);
  g_atomic_int_set (&seen_warnings, 0);
}

static guint8
pattern (gsize offset)
{
  return (guint8) (offset * 7 + (offset >> 9) * 13 + (offset >> 16));
}

static char *
make_image (gsize size)
{
  g_autofree char *path = NULL;
  g_autofree guint8 *data = g_malloc (size);
  int fd = g_file_open_tmp ("vhost-block-XXXXXX", &path, NULL);

  g_assert_cmpint (fd, >=, 0);
  for (gsize i = 0; i < size; i++)
    data[i] = pattern (i);
  g_assert_cmpint (write (fd, data, size), ==, (gssize) size);
  close (fd);
  return g_steal_pointer (&path);
}

static Disk *
disk_new_with (gpointer backend, char *path)
{
  Disk *self = g_new0 (Disk, 1);

  self->path = path;
  self->device = live_device_new (backend, NULL, NULL);
  self->frontend = live_device_connect_queues (self->device, 1, 64);
  self->queue = vhost_frontend_get_queue (self->frontend, 0);
  return self;
}

static Disk *
disk_new (const char *first_property, ...)
{
  char *path = make_image (IMAGE_SIZE);
  GObject *backend;
  va_list args;

  va_start (args, first_property);
  backend = g_object_new_valist (VHOSTD_TYPE_BLOCK, first_property, args);
  va_end (args);
  g_object_set (backend, "blk-file", path, NULL);
  return disk_new_with (backend, path);
}

static void
disk_free (Disk *self)
{
  g_object_unref (self->frontend);
  live_device_free (self->device);
  if (self->path != NULL)
    g_unlink (self->path);
  g_free (self->path);
  g_free (self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Disk, disk_free)

/* @buffers as they are, and the wait for the answer. Returns the used length. */
static guint32
send_chain (Disk *self, const VhostFrontendBuffer *buffers, guint n)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;
  gpointer token = NULL;
  guint32 length = 0;

  g_assert_true (vhost_frontend_queue_add (self->queue, buffers, n, FALSE, self));
  vhost_frontend_queue_kick (self->queue);
  while (!vhost_frontend_queue_poll (self->queue, &token, &length))
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      vhost_frontend_queue_wait (self->queue, 1000);
    }
  g_assert_true (token == self);
  return length;
}

static guint64
allocate (Disk *self, gsize size)
{
  guint64 address = vhost_frontend_allocate (self->frontend, size, 16);

  g_assert_cmpuint (address, !=, 0);
  return address;
}

static guint8 *
at (Disk *self, guint64 address, gsize size)
{
  guint8 *memory = vhost_frontend_get_memory (self->frontend, address, size);

  g_assert_nonnull (memory);
  return memory;
}

static guint64
put_header (Disk *self, guint32 type, guint64 sector)
{
  struct virtio_blk_outhdr header
      = { .type = GUINT32_TO_LE (type), .sector = GUINT64_TO_LE (sector) };
  guint64 address = allocate (self, sizeof header);

  memcpy (at (self, address, sizeof header), &header, sizeof header);
  return address;
}

/* A whole request; @data are @n pieces between header and status. */
static guint8
request_pieces (Disk *self, guint32 type, guint64 sector, const VhostFrontendBuffer *data, guint n,
                guint32 *used)
{
  guint64 status = allocate (self, 1);
  VhostFrontendBuffer buffers[32];
  guint32 length;

  g_assert_cmpuint (n + 2, <=, G_N_ELEMENTS (buffers));
  *at (self, status, 1) = NO_STATUS;
  buffers[0] = (VhostFrontendBuffer){ put_header (self, type, sector), 16, FALSE };
  memcpy (buffers + 1, data, n * sizeof *data);
  buffers[n + 1] = (VhostFrontendBuffer){ status, 1, TRUE };
  length = send_chain (self, buffers, n + 2);
  if (used != NULL)
    *used = length;
  return *at (self, status, 1);
}

static guint8
request (Disk *self, guint32 type, guint64 sector, guint64 address, guint32 length, guint32 *used)
{
  gboolean in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
  VhostFrontendBuffer data = { address, length, in };

  return request_pieces (self, type, sector, &data, length > 0 ? 1 : 0, used);
}

static guint8
send_ranges (Disk *self, guint32 type, const struct virtio_blk_discard_write_zeroes *ranges,
             guint n)
{
  gsize size = n * sizeof *ranges;
  guint64 address = allocate (self, size);

  memcpy (at (self, address, size), ranges, size);
  return request (self, type, 0, address, (guint32) size, NULL);
}

static guint8
send_range (Disk *self, guint32 type, guint64 sector, guint32 n_sectors, guint32 flags)
{
  struct virtio_blk_discard_write_zeroes range = { .sector = GUINT64_TO_LE (sector),
                                                   .num_sectors = GUINT32_TO_LE (n_sectors),
                                                   .flags = GUINT32_TO_LE (flags) };

  return send_ranges (self, type, &range, 1);
}

static void
assert_image (Disk *self, gsize offset, gsize length, gint value)
{
  g_autofree guint8 *data = g_malloc (length);
  int fd = open (self->path, O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (pread (fd, data, length, (off_t) offset), ==, (gssize) length);
  close (fd);
  for (gsize i = 0; i < length; i++)
    g_assert_cmpuint (data[i], ==, value >= 0 ? (guint) value : pattern (offset + i));
}

static struct virtio_blk_config
get_config (Disk *self)
{
  struct virtio_blk_config config;
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = vhost_frontend_get_config (self->frontend, 0, sizeof config, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, sizeof config);
  memcpy (&config, g_bytes_get_data (bytes, NULL), sizeof config);
  return config;
}

static gboolean
is_locked (const char *path)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  int fd = open (path, O_RDWR | O_CLOEXEC);

  g_assert_cmpint (fcntl (fd, F_OFD_GETLK, &lock), ==, 0);
  close (fd);
  return lock.l_type != F_UNLCK;
}

/* ---- Reading and writing ---- */

static void
test_reads (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 4096);
  guint32 used;

  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 9, data, 4096, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 4097);
  for (guint i = 0; i < 4096; i++)
    g_assert_cmpuint (at (disk, data, 4096)[i], ==, pattern (9 * 512 + i));
  /* The last sector is one, too. */
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, SECTORS - 1, data, 512, &used), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (at (disk, data, 512)[5], ==, pattern (IMAGE_SIZE - 512 + 5));
}

static void
test_writes (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 8192);
  guint32 used;

  memset (at (disk, data, 8192), 0x5a, 8192);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 16, data, 8192, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 1);
  assert_image (disk, 16 * 512, 8192, 0x5a);
  assert_image (disk, 0, 16 * 512, -1);
  assert_image (disk, 16 * 512 + 8192, 512, -1);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 1);
}

static void
test_pieces (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 header = put_header (disk, VIRTIO_BLK_T_IN, 3);
  guint64 data = allocate (disk, 1025);
  /* The header in three pieces, data cut at odd places, the status in one piece with data. */
  const VhostFrontendBuffer buffers[] = {
    { header, 1, FALSE }, { header + 1, 7, FALSE },  { header + 8, 8, FALSE },
    { data, 100, TRUE },  { data + 100, 413, TRUE }, { data + 513, 512, TRUE },
  };

  at (disk, data, 1025)[1024] = NO_STATUS;
  g_assert_cmpuint (send_chain (disk, buffers, G_N_ELEMENTS (buffers)), ==, 1025);
  g_assert_cmpuint (at (disk, data, 1025)[1024], ==, VIRTIO_BLK_S_OK);
  for (guint i = 0; i < 1024; i++)
    g_assert_cmpuint (at (disk, data, 1025)[i], ==, pattern (3 * 512 + i));
}

static void
test_empty (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint32 used;

  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 1, 0, 0, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 1);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 1, 0, 0, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 1);
}

static void
test_queues (void)
{
  g_autoptr (Disk) disk = NULL;
  char *path = make_image (IMAGE_SIZE);
  guint64 data;

  disk = disk_new_with (
      g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, "num-queues", 4, "workers", 2, NULL),
      path);
  g_assert_cmpuint (vhost_frontend_get_features (disk->frontend) & FEATURE (MQ), !=, 0);
  g_assert_cmpuint (GUINT16_FROM_LE (get_config (disk).num_queues), ==, 4);
  data = allocate (disk, 512);
  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (GError) error = NULL;

      if (i > 0)
        disk->queue = vhost_frontend_add_queue (disk->frontend, i, 64, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, i, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
      g_assert_cmpuint (at (disk, data, 512)[1], ==, pattern (i * 512 + 1));
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

      all[i].data = allocate (disk, 512);
      all[i].status = allocate (disk, 1);
      *at (disk, all[i].status, 1) = NO_STATUS;
      memset (at (disk, all[i].data, 512), 100 + (int) i, 512);
      buffers[0]
          = (VhostFrontendBuffer){ put_header (disk, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i),
                                   16, FALSE };
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
            g_assert_cmpuint (*at (disk, all[i].status, 1), ==, VIRTIO_BLK_S_OK);
            n_done++;
          }
    }
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    {
      if (i % 2)
        g_assert_cmpuint (at (disk, all[i].data, 512)[3], ==, pattern (i * 512 + 3));
      else
        assert_image (disk, i * 512, 512, 100 + (gint) i);
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
  guint64 data = allocate (disk, 1024);
  guint32 used;

  for (guint i = 0; i < G_N_ELEMENTS (sectors); i++)
    {
      memset (at (disk, data, 1024), 0x11, 1024);
      g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, sectors[i], data, 1024, &used), ==,
                        VIRTIO_BLK_S_IOERR);
      /* The status is written, the data before it are not: nothing contiguous. */
      g_assert_cmpuint (used, ==, 0);
      g_assert_cmpuint (at (disk, data, 1024)[0], ==, 0x11);
      g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, sectors[i], data, 1024, &used), ==,
                        VIRTIO_BLK_S_IOERR);
      g_assert_cmpuint (used, ==, 1);
    }
  assert_image (disk, 0, IMAGE_SIZE, -1);
}

static void
test_odd_length (void)
{
  g_autoptr (Disk) disk = disk_new ("logical-block-size", 4096, NULL);
  guint64 data = allocate (disk, 8192);

  g_assert_cmpuint (GUINT32_FROM_LE (get_config (disk).blk_size), ==, 4096);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 513, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 0, data, 100, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 1, data, 4096, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 8, data, 4096, NULL), ==, VIRTIO_BLK_S_OK);
}

static void
test_unknown (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  const guint32 types[] = { 2, 3, 5, 14, 0x80000000u, 0xffffffffu };
  guint64 data = allocate (disk, 512);

  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    g_assert_cmpuint (request (disk, types[i], 0, data, 512, NULL), ==, VIRTIO_BLK_S_UNSUPP);
}

static void
test_no_status (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 512);
  VhostFrontendBuffer buffers[2]
      = { { put_header (disk, VIRTIO_BLK_T_OUT, 0), 16, FALSE }, { data, 512, FALSE } };

  g_assert_cmpuint (send_chain (disk, buffers, 2), ==, 0);
  assert_image (disk, 0, 512, -1);
  /* The ring lives on. */
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
}

static void
test_short_header (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 status = allocate (disk, 1);
  VhostFrontendBuffer buffers[2]
      = { { put_header (disk, VIRTIO_BLK_T_FLUSH, 0), 15, FALSE }, { status, 1, TRUE } };

  *at (disk, status, 1) = NO_STATUS;
  g_assert_cmpuint (send_chain (disk, buffers, 2), ==, 1);
  g_assert_cmpuint (*at (disk, status, 1), ==, VIRTIO_BLK_S_IOERR);
  /* Without any header, too. */
  *at (disk, status, 1) = NO_STATUS;
  g_assert_cmpuint (send_chain (disk, buffers + 1, 1), ==, 1);
  g_assert_cmpuint (*at (disk, status, 1), ==, VIRTIO_BLK_S_IOERR);
}

static void
test_read_only (void)
{
  g_autoptr (Disk) disk = disk_new ("read-only", TRUE, NULL);
  guint64 features = vhost_frontend_get_features (disk->frontend);
  guint64 data = allocate (disk, 512);

  g_assert_cmpuint (features & FEATURE (RO), !=, 0);
  g_assert_cmpuint (features & (FEATURE (DISCARD) | FEATURE (WRITE_ZEROES)), ==, 0);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 0, data, 512, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 8, 0), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), ==, VIRTIO_BLK_S_IOERR);
  assert_image (disk, 0, 4096, -1);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), ==, VIRTIO_BLK_S_OK);
}

/* ---- Discard and write-zeroes ---- */

static void
test_discard (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct stat before, after;

  g_assert_cmpint (stat (disk->path, &before), ==, 0);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, 256, 512, 0), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpint (stat (disk->path, &after), ==, 0);
  g_assert_cmpint (after.st_size, ==, IMAGE_SIZE);
  /* What it gives back depends on the file system; the neighbours must not be touched. */
  g_assert_cmpint (after.st_blocks, <=, before.st_blocks);
  assert_image (disk, 0, 256 * 512, -1);
  assert_image (disk, 768 * 512, IMAGE_SIZE - 768 * 512, -1);
}

static void
test_write_zeroes (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_discard_write_zeroes ranges[3]
      = { { .sector = GUINT64_TO_LE (8), .num_sectors = GUINT32_TO_LE (8) },
          { .sector = GUINT64_TO_LE (900), .num_sectors = 0 },
          { .sector = GUINT64_TO_LE (101),
            .num_sectors = GUINT32_TO_LE (3),
            .flags = GUINT32_TO_LE (VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) } };

  g_assert_cmpuint (send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 3), ==, VIRTIO_BLK_S_OK);
  assert_image (disk, 0, 8 * 512, -1);
  assert_image (disk, 8 * 512, 8 * 512, 0);
  assert_image (disk, 16 * 512, 85 * 512, -1);
  assert_image (disk, 101 * 512, 3 * 512, 0);
  assert_image (disk, 104 * 512, 512, -1);
}

static void
test_bad_ranges (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_config config = get_config (disk);
  guint32 max_discard = GUINT32_FROM_LE (config.max_discard_sectors);
  guint max_ranges = GUINT32_FROM_LE (config.max_write_zeroes_seg);
  g_autofree struct virtio_blk_discard_write_zeroes *many
      = g_new0 (struct virtio_blk_discard_write_zeroes, max_ranges + 1);
  struct virtio_blk_discard_write_zeroes second_is_bad[2]
      = { { .sector = 0, .num_sectors = GUINT32_TO_LE (8) },
          { .sector = GUINT64_TO_LE (SECTORS), .num_sectors = GUINT32_TO_LE (1) } };
  guint64 data = allocate (disk, 64);

  g_assert_cmpuint (max_discard, >, 0);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 8, 1), ==, VIRTIO_BLK_S_UNSUPP);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), ==, VIRTIO_BLK_S_UNSUPP);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0x80000001u), ==,
                    VIRTIO_BLK_S_UNSUPP);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, 0, max_discard + 1, 0), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, G_MAXUINT64, 2, 0), ==,
                    VIRTIO_BLK_S_IOERR);
  /* No range, a part of one, too many. */
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_DISCARD, 0, 0, 0, NULL), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_DISCARD, 0, data, 20, NULL), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, many, max_ranges + 1), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, many, max_ranges), ==,
                    VIRTIO_BLK_S_OK);
  /* All or nothing. */
  g_assert_cmpuint (send_ranges (disk, VIRTIO_BLK_T_WRITE_ZEROES, second_is_bad, 2), ==,
                    VIRTIO_BLK_S_IOERR);
  assert_image (disk, 0, IMAGE_SIZE, -1);
}

/* ---- The device ---- */

static void
test_serial (void)
{
  g_autoptr (Disk) disk = disk_new ("serial", "disk-0815", NULL);
  guint64 data = allocate (disk, 20);
  guint32 used;

  memset (at (disk, data, 20), 0xff, 20);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_GET_ID, 0, data, 20, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 21);
  g_assert_cmpmem (at (disk, data, 20), 20, "disk-0815\0\0\0\0\0\0\0\0\0\0", 20);
}

static void
test_config (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_config config = get_config (disk);
  guint64 features = vhost_frontend_get_features (disk->frontend);

  g_assert_cmpuint (GUINT64_FROM_LE (config.capacity), ==, SECTORS);
  g_assert_cmpuint (GUINT32_FROM_LE (config.blk_size), ==, 512);
  g_assert_cmpuint (GUINT32_FROM_LE (config.seg_max), ==, 126);
  g_assert_cmpuint (config.wce, ==, 1);
  g_assert_cmpuint (features & FEATURE (MQ), ==, 0);
  g_assert_cmpuint (features & FEATURE (RO), ==, 0);
  g_assert_cmpuint (features & FEATURE (FLUSH), !=, 0);
  g_assert_cmpuint (features & FEATURE (DISCARD), !=, 0);
}

static gboolean
set_wce (Disk *self, guint8 value)
{
  g_autoptr (GBytes) bytes = g_bytes_new (&value, 1);

  return vhost_frontend_set_config (self->frontend, G_STRUCT_OFFSET (struct virtio_blk_config, wce),
                                    bytes, 0, NULL);
}

static void
test_wce (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 512);
  g_autoptr (GBytes) capacity = g_bytes_new ("\1\2\3\4\5\6\7\0", 8);

  expect_warnings (TRUE); /* refusals may be logged */
  g_assert_true (set_wce (disk, 0));
  g_assert_cmpuint (get_config (disk).wce, ==, 0);
  memset (at (disk, data, 512), 7, 512);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 4, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  assert_image (disk, 4 * 512, 512, 7);
  g_assert_true (set_wce (disk, 1));
  g_assert_cmpuint (get_config (disk).wce, ==, 1);
  g_assert_false (set_wce (disk, 2));
  g_assert_false (vhost_frontend_set_config (disk->frontend, 0, capacity, 0, NULL));
  g_assert_false (vhost_frontend_set_config (disk->frontend, 0, capacity, 1, NULL));
  g_assert_cmpuint (GUINT64_FROM_LE (get_config (disk).capacity), ==, SECTORS);
  expect_warnings (FALSE);
}

static void
test_writethrough (void)
{
  g_autoptr (Disk) disk = disk_new ("cache", 1, NULL);
  guint64 data = allocate (disk, 512);

  g_assert_cmpuint (get_config (disk).wce, ==, 0);
  memset (at (disk, data, 512), 9, 512);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 4, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  assert_image (disk, 4 * 512, 512, 9);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 4, 1, 0), ==, VIRTIO_BLK_S_OK);
  assert_image (disk, 4 * 512, 512, 0);
}

static void
test_direct (void)
{
  static const guint32 size = 300 * 1024; /* more than one piece of the aligned buffer */
  g_autofree char *path = make_image (IMAGE_SIZE);
  int fd = open (path, O_RDWR | O_DIRECT | O_CLOEXEC);
  g_autoptr (Disk) disk = NULL;
  guint64 data;

  if (fd < 0)
    {
      g_test_skip ("the temporary directory knows no O_DIRECT");
      g_unlink (path);
      return;
    }
  close (fd);
  disk = disk_new_with (g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, "cache", 2,
                                      "logical-block-size", 4096, NULL),
                        g_strdup (path));
  data = allocate (disk, size + 8192);
  {
    /* Neither addresses nor lengths are what the disk wants. */
    const VhostFrontendBuffer pieces[]
        = { { data + 3, 1000, TRUE }, { data + 1003, size - 1000, TRUE } };
    const VhostFrontendBuffer back[] = { { data + 3, 7, FALSE }, { data + 10, size - 7, FALSE } };
    guint32 used;

    g_assert_cmpuint (request_pieces (disk, VIRTIO_BLK_T_IN, 8, pieces, 2, &used), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (used, ==, size + 1);
    for (guint i = 0; i < size; i++)
      g_assert_cmpuint (at (disk, data + 3, size)[i], ==, pattern (8 * 512 + i));
    memset (at (disk, data + 3, size), 0x77, size);
    g_assert_cmpuint (request_pieces (disk, VIRTIO_BLK_T_OUT, 16, back, 2, &used), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (used, ==, 1);
    assert_image (disk, 0, 16 * 512, -1);
    assert_image (disk, 16 * 512, size, 0x77);
    assert_image (disk, 16 * 512 + size, 4096, -1);
  }
  /* And without the detour. */
  data = (data + 4095) & ~(guint64) 4095;
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 16, data, 8192, NULL), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (at (disk, data, 8192)[8191], ==, 0x77);
}

static void
grow (const char *path, off_t size)
{
  int fd = open (path, O_WRONLY | O_CLOEXEC);

  g_assert_cmpint (ftruncate (fd, size), ==, 0);
  close (fd);
}

static void
test_grows (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 512);
  guint generation = vhost_frontend_get_config_generation (disk->frontend);

  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, SECTORS, data, 512, NULL), ==,
                    VIRTIO_BLK_S_IOERR);
  grow (disk->path, 2 * IMAGE_SIZE);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (disk->frontend, 20000), >, 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (disk->frontend), >, generation);
  g_assert_cmpuint (GUINT64_FROM_LE (get_config (disk).capacity), ==, 2 * SECTORS);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, SECTORS, data, 512, NULL), ==, VIRTIO_BLK_S_OK);

  expect_warnings (TRUE);
  grow (disk->path, IMAGE_SIZE);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (disk->frontend, 20000), >, 0);
  g_assert_cmpuint (GUINT64_FROM_LE (get_config (disk).capacity), ==, SECTORS);
  g_assert_cmpint (g_atomic_int_get (&seen_warnings), ==, 1);
  expect_warnings (FALSE);
}

static void
call_refresh (LiveDevice *device, gpointer data)
{
  vhostd_block_refresh (device->backend);
}

static void
test_refresh (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);

  /* By its name and not by a descriptor: nothing is closed, so nobody tells. */
  g_assert_cmpint (truncate (disk->path, 3 * IMAGE_SIZE), ==, 0);
  live_device_call (disk->device, call_refresh, NULL);
  g_assert_cmpuint (GUINT64_FROM_LE (get_config (disk).capacity), ==, 3 * SECTORS);
}

static void
test_io_errors (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = allocate (disk, 512);
  guint32 used;

  expect_warnings (TRUE);
  g_assert_cmpint (truncate (disk->path, 4096), ==, 0);
  for (guint i = 0; i < 50; i++)
    {
      g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 100 + i, data, 512, &used), ==,
                        VIRTIO_BLK_S_IOERR);
      g_assert_cmpuint (used, ==, 0);
    }
  /* One a second: 50 requests do not take ten. */
  g_assert_cmpint (g_atomic_int_get (&seen_warnings), >=, 1);
  g_assert_cmpint (g_atomic_int_get (&seen_warnings), <, 10);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  expect_warnings (FALSE);
}

/* ---- Who may use the image ---- */

static void
test_lock (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  g_autoptr (GError) error = NULL;
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  int fd = open (disk->path, O_RDWR | O_CLOEXEC);

  g_assert_true (is_locked (disk->path));
  g_assert_true (vhost_frontend_stop_queue (disk->frontend, 0, NULL, &error));
  g_assert_no_error (error);
  /* No ring runs: the destination of a migration may have it. */
  LIVE_WAIT_FOR (!is_locked (disk->path));

  g_assert_cmpint (fcntl (fd, F_OFD_SETLK, &lock), ==, 0);
  expect_warnings (TRUE);
  g_assert_false (vhost_frontend_restart_queue (disk->frontend, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  expect_warnings (FALSE);
  close (fd);

  g_clear_error (&error);
  g_object_unref (disk->frontend);
  disk->frontend = live_device_connect_queues (disk->device, 1, 64);
  disk->queue = vhost_frontend_get_queue (disk->frontend, 0);
  g_assert_true (is_locked (disk->path));
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), ==, VIRTIO_BLK_S_OK);
}

static VhostBackend *
on_create_backend (VhostDaemon *daemon, gpointer path)
{
  return g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, NULL);
}

static void
setup_two_sessions (LiveDevice *device, gpointer path)
{
  g_object_set (device->daemon, "max-sessions", 2, NULL);
  g_signal_connect (device->daemon, "create-backend", G_CALLBACK (on_create_backend), path);
}

static void
test_shared (void)
{
  g_autofree char *path = make_image (IMAGE_SIZE);
  LiveDevice *device = live_device_new (g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, NULL),
                                        setup_two_sessions, path);
  Disk one = { .path = path, .device = device };
  Disk two = { .path = path, .device = device };
  guint64 data;

  one.frontend = live_device_connect_queues (device, 1, 64);
  one.queue = vhost_frontend_get_queue (one.frontend, 0);
  two.frontend = live_device_connect_queues (device, 1, 64);
  two.queue = vhost_frontend_get_queue (two.frontend, 0);

  data = allocate (&one, 512);
  memset (at (&one, data, 512), 0x3c, 512);
  g_assert_cmpuint (request (&one, VIRTIO_BLK_T_OUT, 5, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  data = allocate (&two, 512);
  g_assert_cmpuint (request (&two, VIRTIO_BLK_T_IN, 5, data, 512, NULL), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (at (&two, data, 512)[511], ==, 0x3c);

  /* The lock stays until the last one has gone. */
  g_object_unref (one.frontend);
  g_assert_cmpuint (request (&two, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), ==, VIRTIO_BLK_S_OK);
  g_assert_true (is_locked (path));
  g_object_unref (two.frontend);
  LIVE_WAIT_FOR (!is_locked (path));
  live_device_free (device);
  g_unlink (path);
}

/* What a daemon with such a back-end says at its start. */
static void
assert_start_fails (gpointer backend, const char *part)
{
  g_autofree char *directory = g_dir_make_tmp ("vhost-test-XXXXXX", NULL);
  g_autofree char *socket_path = g_build_filename (directory, "socket", NULL);
  g_autoptr (VhostDaemon) daemon = vhost_daemon_new ("test", backend);
  g_autoptr (GError) error = NULL;

  g_object_set (daemon, "socket-path", socket_path, NULL);
  g_assert_false (vhost_daemon_start (daemon, &error));
  g_assert_nonnull (error);
  if (strstr (error->message, part) == NULL)
    g_error ("\"%s\" does not say \"%s\"", error->message, part);
  g_object_unref (backend);
  g_rmdir (directory);
}

static void
test_start_errors (void)
{
  g_autofree char *path = make_image (IMAGE_SIZE);
  guint fds = live_count_fds ();
#define BLOCK(...) g_object_new (VHOSTD_TYPE_BLOCK, __VA_ARGS__, NULL)

  assert_start_fails (BLOCK (NULL), "blk-file");
  assert_start_fails (BLOCK ("blk-file", "/nowhere/disk.img"), "No such file");
  assert_start_fails (BLOCK ("blk-file", "/"), "directory");
  assert_start_fails (BLOCK ("blk-file", "/dev/null"), "neither a file nor a block device");
  assert_start_fails (BLOCK ("blk-file", path, "driver", 1), "driver=null");
  assert_start_fails (BLOCK ("driver", 1, "size", (guint64) 1000), "1000");
  assert_start_fails (BLOCK ("blk-file", path, "logical-block-size", 1000), "power of two");
  assert_start_fails (BLOCK ("blk-file", path, "serial", "123456789012345678901"), "21 bytes");
  grow (path, 1000);
  assert_start_fails (BLOCK ("blk-file", path), "1000 bytes");
  grow (path, 0);
  assert_start_fails (BLOCK ("blk-file", path), "empty");
  g_unlink (path);
  g_assert_cmpint (mkfifo (path, 0600), ==, 0);
  assert_start_fails (BLOCK ("blk-file", path, "read-only", TRUE),
                      "neither a file nor a block device");
  g_unlink (path);
#undef BLOCK
  g_assert_cmpuint (live_count_fds (), ==, fds);
}

/* ---- The disk of nothing ---- */

static void
test_null (void)
{
  g_autoptr (Disk) disk = disk_new_with (g_object_new (VHOSTD_TYPE_BLOCK, "driver", 1, "size",
                                                       (guint64) 65536, "serial", "nothing", NULL),
                                         NULL);
  guint64 data = allocate (disk, 1024);
  guint32 used;

  g_assert_cmpuint (GUINT64_FROM_LE (get_config (disk).capacity), ==, 128);
  memset (at (disk, data, 1024), 0x42, 1024);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_OUT, 0, data, 1024, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 1);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 126, data, 1024, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 0);
  g_assert_cmpuint (at (disk, data, 1024)[0], ==, 0x42);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 127, data, 1024, &used), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_GET_ID, 0, data, 20, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpstr ((char *) at (disk, data, 20), ==, "nothing");
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 128, 0), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (send_range (disk, VIRTIO_BLK_T_DISCARD, 0, 129, 0), ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (request (disk, 99, 0, data, 512, &used), ==, VIRTIO_BLK_S_UNSUPP);
}

static void
test_null_zeroes (void)
{
  g_autoptr (Disk) disk = disk_new_with (
      g_object_new (VHOSTD_TYPE_BLOCK, "driver", 1, "read-zeroes", TRUE, NULL), NULL);
  guint64 data = allocate (disk, 512);
  guint32 used;

  memset (at (disk, data, 512), 0x42, 512);
  g_assert_cmpuint (request (disk, VIRTIO_BLK_T_IN, 0, data, 512, &used), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (used, ==, 513);
  for (guint i = 0; i < 512; i++)
    g_assert_cmpuint (at (disk, data, 512)[i], ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_log_set_default_handler (on_log, NULL);

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
  g_test_add_func ("/block/refuses-bad-ranges-as-a-whole", test_bad_ranges);
  g_test_add_func ("/block/tells-its-serial", test_serial);
  g_test_add_func ("/block/describes-itself", test_config);
  g_test_add_func ("/block/lets-the-driver-change-the-write-cache-only", test_wce);
  g_test_add_func ("/block/writes-through", test_writethrough);
  g_test_add_func ("/block/direct-takes-unaligned-buffers", test_direct);
  g_test_add_func ("/block/notices-a-new-size", test_grows);
  g_test_add_func ("/block/can-be-told-to-look-at-the-size", test_refresh);
  g_test_add_func ("/block/reports-errors-of-the-medium-now-and-then", test_io_errors);
  g_test_add_func ("/block/holds-a-lock-while-rings-run", test_lock);
  g_test_add_func ("/block/sessions-share-an-image", test_shared);
  g_test_add_func ("/block/says-why-it-cannot-start", test_start_errors);
  g_test_add_func ("/block/null-touches-no-data", test_null);
  g_test_add_func ("/block/null-reads-zeros-when-asked", test_null_zeroes);
  return g_test_run ();
}
