/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A block device and its driver, for tests: requests as calls. Public API only. */
#pragma once

#include <block.h>
#include <linux/virtio_blk.h>

#include "live-device.h"

#define IMAGE_SIZE (1024 * 1024)
#define SECTORS (IMAGE_SIZE / 512)
#define FEATURE(name) (G_GUINT64_CONSTANT (1) << VIRTIO_BLK_F_##name)
#define NO_STATUS 0xee

#define ASSERT_OK(request) g_assert_cmpuint (request, ==, VIRTIO_BLK_S_OK)
#define ASSERT_IOERR(request) g_assert_cmpuint (request, ==, VIRTIO_BLK_S_IOERR)
#define ASSERT_UNSUPP(request) g_assert_cmpuint (request, ==, VIRTIO_BLK_S_UNSUPP)

typedef struct
{
  char *path; /* (owned) (nullable): the image */
  LiveDevice *device;
  VhostFrontend *frontend; /* (owned) */
  VhostFrontendQueue *queue;
} Disk;

/* A disk with an image of its own of IMAGE_SIZE and these properties, NULL at their end; the second
 * one takes @path. One queue. */
#define disk_new(...)                                                                              \
  ({                                                                                               \
    char *_path = disk_make_image (IMAGE_SIZE);                                                    \
    disk_new_with (g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", _path, __VA_ARGS__), _path);       \
  })
Disk *disk_new_with (gpointer backend, char *path);
void disk_free (Disk *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Disk, disk_free)

/* An image whose bytes are disk_pattern () of their offset. */
char *disk_make_image (gsize size);
char *disk_make_image_in (const char *directory, gsize size);
guint8 disk_pattern (gsize offset);
/* @value -1: the pattern. */
void disk_assert_image (Disk *self, gsize offset, gsize length, gint value);

guint64 disk_allocate (Disk *self, gsize size);
guint8 *disk_at (Disk *self, guint64 address, gsize size);
guint64 disk_put_header (Disk *self, guint32 type, guint64 sector);

/* @buffers as they are, and the wait for the answer. Returns the used length. */
guint32 disk_send_chain (Disk *self, const VhostFrontendBuffer *buffers, guint n);
/* Whole requests, with header and status. Return the status. */
guint8 disk_request (Disk *self, guint32 type, guint64 sector, guint64 address, guint32 length,
                     guint32 *used);
guint8 disk_request_pieces (Disk *self, guint32 type, guint64 sector,
                            const VhostFrontendBuffer *data, guint n, guint32 *used);
guint8 disk_send_ranges (Disk *self, guint32 type,
                         const struct virtio_blk_discard_write_zeroes *ranges, guint n);
guint8 disk_send_range (Disk *self, guint32 type, guint64 sector, guint32 n_sectors, guint32 flags);
struct virtio_blk_config disk_get_config (Disk *self);

/* Before g_test_run (): what log messages mean. A warning fails a test unless it is expected. */
void disk_init_log (void);
void disk_expect_warnings (gboolean expected);
extern gint disk_seen_warnings; /* atomic; since they are expected */
