/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the object (block.c) and its requests (block-request.c) share. */
#pragma once

#include <linux/virtio_blk.h>
#include <stdatomic.h>

#include "block-image.h"
#include "block.h"

G_BEGIN_DECLS

#define VHOSTD_BLOCK_SECTOR_SHIFT 9

/* Limits of one discard or write-zeroes request. A range is one system call, and zeroing may have
 * to write it all: a thread should not be busy for minutes with one. Ranges of a request are copied
 * into the chain's data before the first is obeyed, hence few. */
#define VHOSTD_BLOCK_MAX_RANGES 16
#define VHOSTD_BLOCK_MAX_DISCARD_SECTORS (1u << 22)
#define VHOSTD_BLOCK_MAX_ZEROES_SECTORS (1u << 18)

typedef enum
{
  VHOSTD_BLOCK_CACHE_WRITEBACK,
  VHOSTD_BLOCK_CACHE_WRITETHROUGH,
  VHOSTD_BLOCK_CACHE_DIRECT,
} VhostdBlockCache;

typedef enum
{
  VHOSTD_BLOCK_DRIVER_FILE,
  VHOSTD_BLOCK_DRIVER_NULL,
} VhostdBlockDriver;

#define VHOSTD_BLOCK(object) (G_TYPE_CHECK_INSTANCE_CAST ((object), VHOSTD_TYPE_BLOCK, VhostdBlock))

typedef struct
{
  VhostBackend parent_instance;

  /* The properties. Thread: control. */
  char *blk_file; /* (owned) (nullable) */
  char *serial;   /* (owned) (nullable) */
  gboolean read_only;
  guint logical_block_size;
  VhostdBlockCache cache;
  VhostdBlockDriver driver;
  guint64 size;
  gboolean read_zeroes;

  /* From start to stop. Written by the control thread while no queue runs, read by workers. */
  gboolean started;
  VhostdBlockImage *image; /* (owned) (nullable): NULL for driver=null */
  gboolean is_read_only;
  gboolean zero_reads;
  gboolean can_discard;
  guint64 block_mask;   /* of the logical block size */
  guintptr memory_mask; /* what O_DIRECT wants of buffers */
  guint64 length_mask;  /* and of each segment's length; 0 without O_DIRECT */
  char id[VIRTIO_BLK_ID_BYTES];

  /* Changed under running queues by the control thread; each stands for itself, so relaxed. */
  _Atomic (guint64) capacity;      /* sectors of 512 bytes */
  _Atomic (gboolean) writethrough; /* a write is on the medium before it is completed */

  /* Rate of warnings; any worker. */
  _Atomic (gint64) last_warning; /* us, monotonic */
  _Atomic (guint) unreported;

  /* Thread: control. */
  struct virtio_blk_config config; /* little-endian */
  GSource *watch;                  /* (owned) (nullable): tells that the image may have grown */
  int watch_fd;                    /* (owned): inotify, -1: none */
  gboolean locked;
} VhostdBlock;

typedef struct
{
  VhostBackendClass parent_class;
} VhostdBlockClass;

gsize vhostd_block_request_get_size (void);
/* Thread: worker. */
void vhostd_block_process_queue (VhostBackend *backend, VhostQueue *queue);

G_END_DECLS
