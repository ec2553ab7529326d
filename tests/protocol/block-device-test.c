/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block device around its requests: configuration space, write cache, size, locks, start.
 * Public API only. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block-disk.h"

static gboolean
is_locked (const char *path)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  int fd = open (path, O_RDWR | O_CLOEXEC);

  g_assert_cmpint (fcntl (fd, F_OFD_GETLK, &lock), ==, 0);
  close (fd);
  return lock.l_type != F_UNLCK;
}

/* ---- The device ---- */

static void
test_config (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_config config = disk_get_config (disk);
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
  guint64 data = disk_allocate (disk, 512);
  g_autoptr (GBytes) capacity = g_bytes_new ("\1\2\3\4\5\6\7\0", 8);

  disk_expect_warnings (TRUE); /* refusals may be logged */
  g_assert_true (set_wce (disk, 0));
  g_assert_cmpuint (disk_get_config (disk).wce, ==, 0);
  memset (disk_at (disk, data, 512), 7, 512);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, 4, data, 512, NULL));
  disk_assert_image (disk, 4 * 512, 512, 7);
  g_assert_true (set_wce (disk, 1));
  g_assert_cmpuint (disk_get_config (disk).wce, ==, 1);
  g_assert_false (set_wce (disk, 2));
  g_assert_false (vhost_frontend_set_config (disk->frontend, 0, capacity, 0, NULL));
  g_assert_false (vhost_frontend_set_config (disk->frontend, 0, capacity, 1, NULL));
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, SECTORS);
  disk_expect_warnings (FALSE);
}

static gboolean
migrate_config (Disk *self, const struct virtio_blk_config *config)
{
  g_autoptr (GBytes) bytes = g_bytes_new (config, sizeof *config);

  return vhost_frontend_set_config (self->frontend, 0, bytes, 1, NULL);
}

static void
test_migrated_config (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  struct virtio_blk_config config = disk_get_config (disk);
  struct virtio_blk_config after;

  g_assert_true (vhost_frontend_stop_queue (disk->frontend, 0, NULL, NULL));
  config.wce = 0;
  config.opt_io_size = GUINT32_TO_LE (77);
  g_assert_true (migrate_config (disk, &config));
  after = disk_get_config (disk);
  g_assert_cmpuint (after.wce, ==, 0);
  /* What the medium is like is not the source's business. */
  g_assert_cmpuint (GUINT32_FROM_LE (after.opt_io_size), !=, 77);
  config.capacity = GUINT64_TO_LE (SECTORS + 1);
  g_assert_false (migrate_config (disk, &config));
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, SECTORS);
}

static void
test_writethrough (void)
{
  g_autoptr (Disk) disk = disk_new ("cache", 1, NULL);
  guint64 data = disk_allocate (disk, 512);

  g_assert_cmpuint (disk_get_config (disk).wce, ==, 0);
  memset (disk_at (disk, data, 512), 9, 512);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, 4, data, 512, NULL));
  disk_assert_image (disk, 4 * 512, 512, 9);
  ASSERT_OK (disk_send_range (disk, VIRTIO_BLK_T_WRITE_ZEROES, 4, 1, 0));
  disk_assert_image (disk, 4 * 512, 512, 0);
}

static void
test_direct (void)
{
  static const guint32 size = 300 * 1024; /* more than one piece of the aligned buffer */
  g_autofree char *path = disk_make_image (IMAGE_SIZE);
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
  data = disk_allocate (disk, size + 8192);
  {
    /* Neither addresses nor lengths are what the disk wants. */
    const VhostFrontendBuffer pieces[]
        = { { data + 3, 1000, TRUE }, { data + 1003, size - 1000, TRUE } };
    const VhostFrontendBuffer back[] = { { data + 3, 7, FALSE }, { data + 10, size - 7, FALSE } };
    guint32 used;

    ASSERT_OK (disk_request_pieces (disk, VIRTIO_BLK_T_IN, 8, pieces, 2, &used));
    g_assert_cmpuint (used, ==, size + 1);
    for (guint i = 0; i < size; i++)
      g_assert_cmpuint (disk_at (disk, data + 3, size)[i], ==, disk_pattern (8 * 512 + i));
    memset (disk_at (disk, data + 3, size), 0x77, size);
    ASSERT_OK (disk_request_pieces (disk, VIRTIO_BLK_T_OUT, 16, back, 2, &used));
    g_assert_cmpuint (used, ==, 1);
    disk_assert_image (disk, 0, 16 * 512, -1);
    disk_assert_image (disk, 16 * 512, size, 0x77);
    disk_assert_image (disk, 16 * 512 + size, 4096, -1);
  }
  /* And without the detour. */
  data = (data + 4095) & ~(guint64) 4095;
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 16, data, 8192, NULL));
  g_assert_cmpuint (disk_at (disk, data, 8192)[8191], ==, 0x77);
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
  guint64 data = disk_allocate (disk, 512);
  guint generation = vhost_frontend_get_config_generation (disk->frontend);

  ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, SECTORS, data, 512, NULL));
  grow (disk->path, 2 * IMAGE_SIZE);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (disk->frontend, 20000), >, 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (disk->frontend), >, generation);
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, 2 * SECTORS);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, SECTORS, data, 512, NULL));

  disk_expect_warnings (TRUE);
  grow (disk->path, IMAGE_SIZE);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (disk->frontend, 20000), >, 0);
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, SECTORS);
  g_assert_cmpint (g_atomic_int_get (&disk_seen_warnings), ==, 1);
  disk_expect_warnings (FALSE);
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
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, 3 * SECTORS);
}

static void
test_io_errors (void)
{
  g_autoptr (Disk) disk = disk_new (NULL, NULL);
  guint64 data = disk_allocate (disk, 512);
  guint32 used;

  disk_expect_warnings (TRUE);
  g_assert_cmpint (truncate (disk->path, 4096), ==, 0);
  for (guint i = 0; i < 50; i++)
    {
      ASSERT_IOERR (disk_request (disk, VIRTIO_BLK_T_IN, 100 + i, data, 512, &used));
      g_assert_cmpuint (used, ==, 0);
    }
  /* One a second: 50 requests do not take ten. */
  g_assert_cmpint (g_atomic_int_get (&disk_seen_warnings), >=, 1);
  g_assert_cmpint (g_atomic_int_get (&disk_seen_warnings), <, 10);
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_IN, 0, data, 512, NULL));
  disk_expect_warnings (FALSE);
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
  disk_expect_warnings (TRUE);
  g_assert_false (vhost_frontend_restart_queue (disk->frontend, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  disk_expect_warnings (FALSE);
  close (fd);

  g_clear_error (&error);
  g_object_unref (disk->frontend);
  disk->frontend = live_device_connect_queues (disk->device, 1, 64);
  disk->queue = vhost_frontend_get_queue (disk->frontend, 0);
  g_assert_true (is_locked (disk->path));
  ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL));
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
  g_autofree char *path = disk_make_image (IMAGE_SIZE);
  LiveDevice *device = live_device_new (g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, NULL),
                                        setup_two_sessions, path);
  Disk one = { .path = path, .device = device };
  Disk two = { .path = path, .device = device };
  guint64 data;

  one.frontend = live_device_connect_queues (device, 1, 64);
  one.queue = vhost_frontend_get_queue (one.frontend, 0);
  two.frontend = live_device_connect_queues (device, 1, 64);
  two.queue = vhost_frontend_get_queue (two.frontend, 0);

  data = disk_allocate (&one, 512);
  memset (disk_at (&one, data, 512), 0x3c, 512);
  ASSERT_OK (disk_request (&one, VIRTIO_BLK_T_OUT, 5, data, 512, NULL));
  data = disk_allocate (&two, 512);
  ASSERT_OK (disk_request (&two, VIRTIO_BLK_T_IN, 5, data, 512, NULL));
  g_assert_cmpuint (disk_at (&two, data, 512)[511], ==, 0x3c);

  /* The lock stays until the last one has gone. */
  g_object_unref (one.frontend);
  ASSERT_OK (disk_request (&two, VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL));
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
  g_autofree char *path = disk_make_image (IMAGE_SIZE);
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

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  disk_init_log ();

  g_test_add_func ("/block-device/describes-itself", test_config);
  g_test_add_func ("/block-device/lets-the-driver-change-the-write-cache-only", test_wce);
  g_test_add_func ("/block-device/takes-the-write-cache-of-a-migrated-disk", test_migrated_config);
  g_test_add_func ("/block-device/writes-through", test_writethrough);
  g_test_add_func ("/block-device/direct-takes-unaligned-buffers", test_direct);
  g_test_add_func ("/block-device/notices-a-new-size", test_grows);
  g_test_add_func ("/block-device/can-be-told-to-look-at-the-size", test_refresh);
  g_test_add_func ("/block-device/reports-errors-of-the-medium-now-and-then", test_io_errors);
  g_test_add_func ("/block-device/holds-a-lock-while-rings-run", test_lock);
  g_test_add_func ("/block-device/sessions-share-an-image", test_shared);
  g_test_add_func ("/block-device/says-why-it-cannot-start", test_start_errors);
  return g_test_run ();
}
