/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a back-end's features and configuration space tell about the device behind it. Must not
 * believe either: both are a stranger's. */
#pragma once

#include <libvhostd.h>

#define BIT(n) (G_GUINT64_CONSTANT (1) << (n))

/* vhost-user protocol features and VIRTIO features that the verbs speak of. */
enum
{
  PROTOCOL_MQ = 0,
  PROTOCOL_RARP = 2,
  PROTOCOL_REPLY_ACK = 3,
  PROTOCOL_CONFIG = 9,
  PROTOCOL_LOG_SHMFD = 1,
  PROTOCOL_INFLIGHT_SHMFD = 12,
  PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
  FEATURE_RING_INDIRECT = 28,
  FEATURE_RING_PACKED = 34,
  FEATURE_IN_ORDER = 35,
  FEATURE_RING_EVENT_IDX = 29,
  FEATURE_VERSION_1 = 32,
};

/* virtio-blk's feature bits (VIRTIO 1.3, 5.2.3). */
enum
{
  BLOCK_SIZE_MAX = 1,
  BLOCK_SEG_MAX = 2,
  BLOCK_GEOMETRY = 4,
  BLOCK_RO = 5,
  BLOCK_BLK_SIZE = 6,
  BLOCK_FLUSH = 9,
  BLOCK_TOPOLOGY = 10,
  BLOCK_CONFIG_WCE = 11,
  BLOCK_MQ = 12,
  BLOCK_DISCARD = 13,
  BLOCK_WRITE_ZEROES = 14,
};

/* The same in the machine's own byte order; 0 where the back-end has no such field. */
typedef struct
{
  guint64 n_sectors; /* of 512 bytes */
  guint32 size_max;
  guint32 seg_max;
  guint32 block_size;
  guint physical_block_exp;
  guint alignment_offset;
  guint min_io_size;
  guint32 opt_io_size;
  guint write_cache;
  guint n_queues;
  guint32 max_discard_sectors;
  guint32 max_discard_segments;
  guint32 discard_alignment;
  guint32 max_write_zeroes_sectors;
  guint32 max_write_zeroes_segments;
  gboolean write_zeroes_may_unmap;
} BlockConfig;

/* The configuration space, as much of it as the back-end gives; its length cannot be asked for.
 * Needs CONFIG negotiated. (transfer full) */
GBytes *device_config_read (VhostFrontend *frontend, GError **error);
/* @config (nullable). NULL: cannot be told. */
const char *device_config_guess (guint64 features, guint64 protocol_features, GBytes *config);
/* Takes a field only where its feature is in @features. */
void device_config_parse_block (GBytes *config, guint64 features, BlockConfig *block);
