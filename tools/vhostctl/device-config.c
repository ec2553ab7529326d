/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a back-end's features and configuration space tell about the device behind it. Must not
 * believe either: both are a stranger's. */
#include "device-config.h"

#include <string.h>

GBytes *
device_config_read (VhostFrontend *frontend, GError **error)
{
  /* Back-ends refuse what goes beyond their own idea of the space: virtio-blk's has 60 bytes up to
   * write zeroes, 36 before discard, 8 in the beginning; fs has 40, scsi 36, net 24, 12, 10, 6. */
  static const guint sizes[] = { 256, 64, 60, 40, 36, 24, 16, 12, 10, 8, 6, 4 };
  g_autoptr (GError) first_error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (GError) local_error = NULL;
      GBytes *bytes = vhost_frontend_get_config (frontend, 0, sizes[i], &local_error);

      if (bytes != NULL)
        return bytes;
      if (first_error == NULL)
        first_error = g_error_copy (local_error);
      /* Anything but a plain no leaves the connection in doubt. */
      if (!g_error_matches (local_error, VHOST_ERROR, VHOST_ERROR_REFUSED))
        break;
    }
  g_propagate_error (error, g_steal_pointer (&first_error));
  return NULL;
}

/* A little-endian number of @size bytes; 0 where the space ends before it. */
static guint64
get_number (GBytes *config, gsize offset, gsize size)
{
  gsize length;
  const guint8 *data = g_bytes_get_data (config, &length);
  guint64 number = 0;

  if (offset + size > length)
    return 0;
  for (gsize i = 0; i < size; i++)
    number |= (guint64) data[offset + i] << (8 * i);
  return number;
}

/* vhost-user does not say what is behind a socket. These are bits and values that only one kind of
 * device has in practice; a back-end that has none of them stays unknown. */
const char *
device_config_guess (guint64 features, guint64 protocol_features, GBytes *config)
{
  const guint64 net = BIT (0) | BIT (15) | BIT (17); /* CSUM, MRG_RXBUF, CTRL_VQ */
  const guint64 block = BIT (BLOCK_SEG_MAX) | BIT (BLOCK_FLUSH);
  const guint64 small_block = BIT (BLOCK_BLK_SIZE) | BIT (BLOCK_FLUSH);

  if ((protocol_features & BIT (PROTOCOL_RARP)) != 0 || (features & net) == net)
    return "net";
  if (config == NULL)
    return NULL;
  /* sense_size and cdb_size, which the device resets to these. */
  if (get_number (config, 20, 4) == 96 && get_number (config, 24, 4) == 32)
    return "scsi";
  if (((features & block) == block || (features & small_block) == small_block)
      && get_number (config, 0, 8) > 0)
    return "block";
  return NULL;
}

void
device_config_parse_block (GBytes *config, guint64 features, BlockConfig *block)
{
#define HAS(bit) ((features & BIT (BLOCK_##bit)) != 0)
  memset (block, 0, sizeof *block);
  block->n_sectors = get_number (config, 0, 8);
  if (HAS (SIZE_MAX))
    block->size_max = (guint32) get_number (config, 8, 4);
  if (HAS (SEG_MAX))
    block->seg_max = (guint32) get_number (config, 12, 4);
  if (HAS (BLK_SIZE))
    block->block_size = (guint32) get_number (config, 20, 4);
  if (HAS (TOPOLOGY))
    {
      block->physical_block_exp = (guint) get_number (config, 24, 1);
      block->alignment_offset = (guint) get_number (config, 25, 1);
      block->min_io_size = (guint) get_number (config, 26, 2);
      block->opt_io_size = (guint32) get_number (config, 28, 4);
    }
  if (HAS (CONFIG_WCE))
    block->write_cache = (guint) get_number (config, 32, 1);
  if (HAS (MQ))
    block->n_queues = (guint) get_number (config, 34, 2);
  if (HAS (DISCARD))
    {
      block->max_discard_sectors = (guint32) get_number (config, 36, 4);
      block->max_discard_segments = (guint32) get_number (config, 40, 4);
      block->discard_alignment = (guint32) get_number (config, 44, 4);
    }
  if (HAS (WRITE_ZEROES))
    {
      block->max_write_zeroes_sectors = (guint32) get_number (config, 48, 4);
      block->max_write_zeroes_segments = (guint32) get_number (config, 52, 4);
      block->write_zeroes_may_unmap = get_number (config, 56, 1) != 0;
    }
#undef HAS
}
