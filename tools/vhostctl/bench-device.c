/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disk under load: connects, finds out what it can do, refuses what it cannot, shares the
 * memory that all jobs need. Must not write to it. */
#include "bench.h"

#include "peer.h"
#include "vhostctl.h"

#include <string.h>
#include <unistd.h>

#define GUEST_ADDRESS 0x100000
#define PAGE 4096
/* A ring's entry with its share of the available and used rings, and its indirect table. */
#define BYTES_PER_ENTRY (16 + 2 + 8)
#define TABLE_ENTRY 16

static const guint64 wanted_features
    = BIT (FEATURE_VERSION_1) | BIT (FEATURE_RING_EVENT_IDX) | BIT (BLOCK_SIZE_MAX)
      | BIT (BLOCK_SEG_MAX) | BIT (BLOCK_RO) | BIT (BLOCK_BLK_SIZE) | BIT (BLOCK_FLUSH)
      | BIT (BLOCK_TOPOLOGY) | BIT (BLOCK_CONFIG_WCE) | BIT (BLOCK_MQ);
static const guint64 wanted_protocol_features = BIT (PROTOCOL_MQ) | BIT (PROTOCOL_REPLY_ACK)
                                                | BIT (PROTOCOL_CONFIG)
                                                | BIT (PROTOCOL_CONFIGURE_MEM_SLOTS);

static gboolean
writes (BenchMode mode)
{
  return mode == BENCH_WRITE || mode == BENCH_RANDWRITE || mode == BENCH_MIXED;
}

static gboolean
read_config (BenchDevice *self, BlockConfig *block, GError **error)
{
  const guint64 features = vhost_frontend_get_offered_features (self->frontend);
  const guint64 protocol = vhost_frontend_get_offered_protocol_features (self->frontend);
  g_autoptr (GBytes) config = NULL;
  const char *device;

  if ((protocol & BIT (PROTOCOL_CONFIG)) == 0)
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "the back-end offers no configuration space (protocol features 0x%" G_GINT64_MODIFIER
          "x), and without it a disk has no size: is it a disk?",
          protocol);
      return FALSE;
    }
  config = device_config_read (self->frontend, error);
  if (config == NULL)
    return FALSE;
  device = device_config_guess (features, protocol, config);
  if (device != NULL && strcmp (device, "block") != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the device looks like '%s', and this drives disks only; vhostctl probe shows "
                   "what is there",
                   device);
      return FALSE;
    }
  device_config_parse_block (config, features, block);
  if (block->n_sectors == 0 || block->n_sectors > G_MAXINT64 / 512)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the disk says it has %" G_GUINT64_FORMAT " sectors: there is nothing to test",
                   block->n_sectors);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_queues (BenchDevice *self, const BlockConfig *block, const BenchOptions *options,
              GError **error)
{
  const guint max_queues = vhost_frontend_get_max_queues (self->frontend);
  const guint n_queues = block->n_queues > 0 ? MIN (block->n_queues, max_queues) : max_queues;

  if (options->n_queues <= n_queues)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "the disk has %u queues, not %u: lower --queues, or give the back-end more",
               n_queues, options->n_queues);
  return FALSE;
}

static gboolean
check_blocks (BenchDevice *self, const BlockConfig *block, const BenchOptions *options,
              GError **error)
{
  const guint64 unit = block->block_size > 0 ? block->block_size : 512;
  guint64 size;

  self->size = block->n_sectors * 512;
  if (options->block_size % unit != 0 || options->offset % unit != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the disk's blocks have %" G_GUINT64_FORMAT
                   " bytes: --block-size and --offset must be multiples of that",
                   unit);
      return FALSE;
    }
  if (options->offset % 512 != 0 || options->offset >= self->size
      || options->size > self->size - options->offset)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                   " are not a part of the disk, which has %" G_GUINT64_FORMAT
                   ": change --offset or --size",
                   options->size, options->offset, self->size);
      return FALSE;
    }
  size = options->size > 0 ? options->size : self->size - options->offset;
  self->first_sector = options->offset / 512;
  self->n_blocks = size / options->block_size;

  /* With --verify a block has one request at a time, so each needs one of its own. */
  if (self->n_blocks / options->n_queues < (options->verify ? options->depth : 1))
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%" G_GUINT64_FORMAT " bytes are %" G_GUINT64_FORMAT
          " blocks, too few for --queues=%u and --depth=%u: lower one of them, or --block-size",
          size, self->n_blocks, options->n_queues, options->depth);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_segments (BenchDevice *self, const BlockConfig *block, const BenchOptions *options,
                GError **error)
{
  const guint32 unit = block->block_size > 0 ? block->block_size : 512;
  guint descriptors;
  guint64 n;

  /* A limit that leaves no room for one block is nonsense, and so is none. */
  self->segment_size = (guint32) options->block_size;
  if (block->size_max >= unit)
    self->segment_size = MIN (self->segment_size, block->size_max / unit * unit);
  n = (options->block_size + self->segment_size - 1) / self->segment_size;
  if (n > MAX (block->seg_max, 1))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "requests of %" G_GUINT64_FORMAT " bytes need %" G_GUINT64_FORMAT
                   " segments, and the disk takes %u of %u bytes: lower --block-size",
                   options->block_size, n, MAX (block->seg_max, 1), block->size_max);
      return FALSE;
    }
  self->n_segments = (guint) n;

  descriptors = options->indirect ? 1 : self->n_segments + 2;
  if ((guint64) options->depth * descriptors > options->queue_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u requests of %u descriptors do not fit into a ring of %u: lower --depth, "
                   "raise --queue-size%s",
                   options->depth, descriptors, options->queue_size,
                   options->indirect ? "" : ", or use --indirect");
      return FALSE;
    }
  return TRUE;
}

/* All at once: some back-ends stop their rings when memory is added. */
static gboolean
share_memory (BenchDevice *self, const BenchOptions *options, GError **error)
{
  const guint64 machine = (guint64) sysconf (_SC_PHYS_PAGES) * (guint64) sysconf (_SC_PAGESIZE);
  const guint64 data = (options->block_size + PAGE - 1) / PAGE * PAGE;
  const guint64 table = MAX (self->n_segments + 2, 8) * TABLE_ENTRY;
  const guint64 request = data + 128;
  const guint64 queue = options->depth * request
                        + options->queue_size * (BYTES_PER_ENTRY + (options->indirect ? table : 0))
                        + 4 * PAGE;
  const guint64 size = (options->n_queues * queue + (1 << 21)) >> 21 << 21;

  if (size > machine / 2)
    {
      g_autofree char *text = vhostctl_format_size (size);

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%s of memory for %u requests of %" G_GUINT64_FORMAT
                   " bytes are more than half of this machine's: lower --depth or --block-size",
                   text, options->n_queues * options->depth, options->block_size);
      return FALSE;
    }
  return vhost_frontend_add_memory (self->frontend, GUEST_ADDRESS, size, error);
}

/* What was asked for by an option must be there. */
static gboolean
check_ring_features (BenchDevice *self, const BenchOptions *options, GError **error)
{
  const struct
  {
    gboolean wanted;
    guint bit;
    const char *what;
    const char *option;
  } rows[] = {
    { options->indirect, FEATURE_RING_INDIRECT, "indirect descriptors", "--indirect" },
    { options->packed, FEATURE_RING_PACKED, "packed rings", "--packed" },
    { options->in_order, FEATURE_IN_ORDER, "use in order", "--in-order" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      if (!rows[i].wanted
          || (vhost_frontend_get_features (self->frontend) & BIT (rows[i].bit)) != 0)
        continue;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "the back-end offers no %s (feature %u): leave %s away", rows[i].what,
                   rows[i].bit, rows[i].option);
      return FALSE;
    }
  return TRUE;
}

gboolean
bench_device_open (BenchDevice *self, const BenchOptions *options, GError **error)
{
  const guint64 protocol = wanted_protocol_features
                           | (options->tracked ? BIT (PROTOCOL_INFLIGHT_SHMFD) : 0)
                           | (options->dirty_log ? BIT (PROTOCOL_LOG_SHMFD) : 0);
  const guint64 features = wanted_features | (options->indirect ? BIT (FEATURE_RING_INDIRECT) : 0)
                           | (options->packed ? BIT (FEATURE_RING_PACKED) : 0)
                           | (options->in_order ? BIT (FEATURE_IN_ORDER) : 0);
  guint64 refused;
  BlockConfig block;

  self->frontend = vhost_frontend_new ();
  if (!vhost_frontend_connect (self->frontend, options->socket_path, error)
      || !vhost_frontend_negotiate (self->frontend, features, protocol, error))
    return FALSE;
  refused = protocol & ~vhost_frontend_get_protocol_features (self->frontend)
            & (BIT (PROTOCOL_INFLIGHT_SHMFD) | BIT (PROTOCOL_LOG_SHMFD));
  if (refused != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                   "the back-end offers no %s: leave %s away",
                   (refused & BIT (PROTOCOL_LOG_SHMFD)) != 0 ? "dirty log" : "in-flight tracking",
                   (refused & BIT (PROTOCOL_LOG_SHMFD)) != 0 ? "--dirty-log" : "--tracked");
      return FALSE;
    }
  self->pid = vhost_frontend_get_peer_pid (self->frontend);
  self->name = peer_get_name (self->pid);
  if (!read_config (self, &block, error))
    return FALSE;

  if (writes (options->mode)
      && (vhost_frontend_get_offered_features (self->frontend) & BIT (BLOCK_RO)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the disk is read-only, so --rw=%s is out of the question: use randread or read",
                   bench_mode_name (options->mode));
      return FALSE;
    }
  if (!check_ring_features (self, options, error))
    return FALSE;
  return check_queues (self, &block, options, error) && check_blocks (self, &block, options, error)
         && check_segments (self, &block, options, error) && share_memory (self, options, error)
         && (!options->dirty_log || vhost_frontend_start_log (self->frontend, error));
}

void
bench_device_clear (BenchDevice *self)
{
  g_clear_object (&self->frontend);
  g_clear_pointer (&self->name, g_free);
}
