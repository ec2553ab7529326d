/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "block-disk.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Warnings that a test expects; any other fails it. */
static gint expected_warnings;
gint disk_seen_warnings;

/* Instead of GLib's: that one writes "Bail out!" for a warning, expected or not. Called on any
 * thread. */
static void
on_log (const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
  if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) == 0
      && ((level & G_LOG_LEVEL_WARNING) == 0 || g_atomic_int_get (&expected_warnings)))
    {
      if (level & G_LOG_LEVEL_WARNING)
        g_atomic_int_inc (&disk_seen_warnings);
      g_test_message ("%s: %s", domain, message);
      return;
    }
  g_log_default_handler (domain, level, message, data);
  abort ();
}

/* Before g_test_run (): what log messages mean. */
void
disk_init_log (void)
{
  g_log_set_always_fatal (G_LOG_FATAL_MASK);
  g_log_set_default_handler (on_log, NULL);
}

void
disk_expect_warnings (gboolean expected)
{
  g_atomic_int_set (&expected_warnings, expected);
  g_atomic_int_set (&disk_seen_warnings, 0);
}

guint8
disk_pattern (gsize offset)
{
  return (guint8) (offset * 7 + (offset >> 9) * 13 + (offset >> 16));
}

char *
disk_make_image_in (const char *directory, gsize size)
{
  g_autofree char *path = g_build_filename (directory, "vhost-block-XXXXXX", NULL);
  g_autofree guint8 *data = g_malloc (size);
  int fd = g_mkstemp (path);

  g_assert_cmpint (fd, >=, 0);
  for (gsize i = 0; i < size; i++)
    data[i] = disk_pattern (i);
  g_assert_cmpint (write (fd, data, size), ==, (gssize) size);
  close (fd);
  return g_steal_pointer (&path);
}

char *
disk_make_image (gsize size)
{
  return disk_make_image_in (g_get_tmp_dir (), size);
}

Disk *
disk_new_with (gpointer backend, char *path)
{
  Disk *self = g_new0 (Disk, 1);

  self->path = path;
  self->device = live_device_new (backend, NULL, NULL);
  self->frontend = live_device_connect_queues (self->device, 1, 64);
  self->queue = vhost_frontend_get_queue (self->frontend, 0);
  return self;
}

void
disk_free (Disk *self)
{
  g_object_unref (self->frontend);
  live_device_free (self->device);
  if (self->path != NULL)
    g_unlink (self->path);
  g_free (self->path);
  g_free (self);
}

/* @buffers as they are, and the wait for the answer. Returns the used length. */
guint32
disk_send_chain (Disk *self, const VhostFrontendBuffer *buffers, guint n)
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

guint64
disk_allocate (Disk *self, gsize size)
{
  guint64 address = vhost_frontend_allocate (self->frontend, size, 16);

  g_assert_cmpuint (address, !=, 0);
  return address;
}

guint8 *
disk_at (Disk *self, guint64 address, gsize size)
{
  guint8 *memory = vhost_frontend_get_memory (self->frontend, address, size);

  g_assert_nonnull (memory);
  return memory;
}

guint64
disk_put_header (Disk *self, guint32 type, guint64 sector)
{
  struct virtio_blk_outhdr header
      = { .type = GUINT32_TO_LE (type), .sector = GUINT64_TO_LE (sector) };
  guint64 address = disk_allocate (self, sizeof header);

  memcpy (disk_at (self, address, sizeof header), &header, sizeof header);
  return address;
}

/* A whole request; @data are @n pieces between header and status. */
guint8
disk_request_pieces (Disk *self, guint32 type, guint64 sector, const VhostFrontendBuffer *data,
                     guint n, guint32 *used)
{
  guint64 status = disk_allocate (self, 1);
  VhostFrontendBuffer buffers[32];
  guint32 length;

  g_assert_cmpuint (n + 2, <=, G_N_ELEMENTS (buffers));
  *disk_at (self, status, 1) = NO_STATUS;
  buffers[0] = (VhostFrontendBuffer){ disk_put_header (self, type, sector), 16, FALSE };
  memcpy (buffers + 1, data, n * sizeof *data);
  buffers[n + 1] = (VhostFrontendBuffer){ status, 1, TRUE };
  length = disk_send_chain (self, buffers, n + 2);
  if (used != NULL)
    *used = length;
  return *disk_at (self, status, 1);
}

guint8
disk_request (Disk *self, guint32 type, guint64 sector, guint64 address, guint32 length,
              guint32 *used)
{
  gboolean in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
  VhostFrontendBuffer data = { address, length, in };

  return disk_request_pieces (self, type, sector, &data, length > 0 ? 1 : 0, used);
}

guint8
disk_send_ranges (Disk *self, guint32 type, const struct virtio_blk_discard_write_zeroes *ranges,
                  guint n)
{
  gsize size = n * sizeof *ranges;
  guint64 address = disk_allocate (self, size);

  memcpy (disk_at (self, address, size), ranges, size);
  return disk_request (self, type, 0, address, (guint32) size, NULL);
}

guint8
disk_send_range (Disk *self, guint32 type, guint64 sector, guint32 n_sectors, guint32 flags)
{
  struct virtio_blk_discard_write_zeroes range = { .sector = GUINT64_TO_LE (sector),
                                                   .num_sectors = GUINT32_TO_LE (n_sectors),
                                                   .flags = GUINT32_TO_LE (flags) };

  return disk_send_ranges (self, type, &range, 1);
}

void
disk_assert_image (Disk *self, gsize offset, gsize length, gint value)
{
  g_autofree guint8 *data = g_malloc (length);
  int fd = open (self->path, O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (pread (fd, data, length, (off_t) offset), ==, (gssize) length);
  close (fd);
  for (gsize i = 0; i < length; i++)
    g_assert_cmpuint (data[i], ==, value >= 0 ? (guint) value : disk_pattern (offset + i));
}

struct virtio_blk_config
disk_get_config (Disk *self)
{
  struct virtio_blk_config config;
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = vhost_frontend_get_config (self->frontend, 0, sizeof config, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, sizeof config);
  memcpy (&config, g_bytes_get_data (bytes, NULL), sizeof config);
  return config;
}
