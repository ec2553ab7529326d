/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An opened disk image: what it is, what it can, who may use it. Knows no requests and no queues.
 */
#pragma once

#include <libvhostd.h>

#include <stdatomic.h>
#include <sys/stat.h>

G_BEGIN_DECLS

typedef enum
{
  VHOSTD_BLOCK_IMAGE_READ_ONLY = 1 << 0,
  VHOSTD_BLOCK_IMAGE_DIRECT = 1 << 1, /* past the page cache */
} VhostdBlockImageFlags;

/* Back-ends of one process that open the same file in the same way share one of these. What is not
 * atomic stays as it was opened. */
typedef struct
{
  guint n_users; /* under the table's lock */
  guint n_locks; /* under the table's lock */
  dev_t dev;
  ino_t ino;
  VhostdBlockImageFlags flags;

  char *path;        /* (owned): for messages */
  VhostIoFile *file; /* (owned) */
  gboolean is_device;
  gboolean can_discard;     /* if it was opened for writing, too */
  guint32 memory_alignment; /* of buffers, 1: any */
  guint32 offset_alignment; /* of positions and lengths, 1: any */
  guint32 physical_size;    /* what the medium writes as one piece, bytes */
  guint32 optimal_size;     /* best transfer, bytes; 0: unknown */

  /* Found out by trying; hints for the next request, they order nothing. */
  _Atomic (gboolean) no_punch_hole;
  _Atomic (gboolean) no_zero_range;
} VhostdBlockImage;

/* Thread: any (a lock inside). */
VhostdBlockImage *vhostd_block_image_open (const char *path, VhostdBlockImageFlags flags,
                                           GError **error);
void vhostd_block_image_close (VhostdBlockImage *self);
gboolean vhostd_block_image_lock (VhostdBlockImage *self, GError **error);
void vhostd_block_image_unlock (VhostdBlockImage *self);
gboolean vhostd_block_image_get_size (VhostdBlockImage *self, guint64 *size, GError **error);

gboolean vhostd_block_image_is_unable (int code);
/* Thread: pool; both block. Zero or a negative errno. */
int vhostd_block_image_discard_device (VhostdBlockImage *self, guint64 offset, guint64 length);
int vhostd_block_image_fill_zeroes (VhostdBlockImage *self, guint64 offset, guint64 length);

G_END_DECLS
