/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's front-ends of some devices do against the text of the protocol, and without which
 * these devices would not work there. Each is bound to its type of device, where it harms nobody
 * else. */
#include "config.h"

#include "vhost-session-private.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_scsi.h>
#include <sys/stat.h>

/* vhost-user-scsi offers CHANGE to the guest without having asked the back-end, and acks what the
 * guest took. With it a driver only says that it hears of new parameters, should there be any. */
guint64
vhost_session_get_ignored_features (VhostSession *self)
{
  return vhost_backend_get_virtio_id (self->backend) == VIRTIO_ID_SCSI
             ? VHOST_WIRE_BIT (VIRTIO_SCSI_F_CHANGE)
             : 0;
}

/* cryptodev-vhost-user acks bit 30, which makes rings start disabled, and never enables them. */
gboolean
vhost_session_starts_enabled (VhostSession *self)
{
  return vhost_backend_get_virtio_id (self->backend) == VIRTIO_ID_CRYPTO;
}

static gboolean
is_same_file (int a, int b)
{
  struct stat x, y;

  return fstat (a, &x) == 0 && fstat (b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static gboolean
is_same_region (const VhostMemoryRegionInfo *a, const VhostMemoryRegionInfo *b)
{
  return a->guest_address == b->guest_address && a->user_address == b->user_address
         && a->size == b->size;
}

static const VhostMemoryMapping *
find_region (VhostMemory *memory, const VhostMemoryRegionInfo *info)
{
  for (guint i = 0; memory != NULL && i < memory->n_regions; i++)
    if (is_same_region (&memory->mappings[i]->info, info))
      return memory->mappings[i];
  return NULL;
}

/* A network card has a vhost device for each pair of queues, all with one connection, and those of
 * QEMU 7.2 add each region one after the other, and remove it so. It goes with the last of them. */
gboolean
vhost_session_repeats_region (VhostSession *self, const VhostMemoryRegionInfo *info, int fd)
{
  const VhostMemoryMapping *mapping;
  guint n_pairs = 1;

  if (vhost_backend_get_virtio_id (self->backend) != VIRTIO_ID_NET)
    return FALSE;
  mapping = find_region (self->memory, info);
  if (mapping == NULL || mapping->info.mmap_offset != info->mmap_offset
      || !is_same_file (mapping->fd, fd))
    return FALSE;
  if (self->repeats == NULL)
    self->repeats = g_array_new (FALSE, FALSE, sizeof *info);
  for (guint i = 0; i < self->repeats->len; i++)
    n_pairs += is_same_region (&g_array_index (self->repeats, VhostMemoryRegionInfo, i), info);
  if (n_pairs >= (self->n_vrings + 1) / 2)
    return FALSE;
  g_array_append_val (self->repeats, *info);
  return TRUE;
}

gboolean
vhost_session_forget_repeat (VhostSession *self, const VhostMemoryRegionInfo *info)
{
  for (guint i = 0; self->repeats != NULL && i < self->repeats->len; i++)
    if (is_same_region (&g_array_index (self->repeats, VhostMemoryRegionInfo, i), info))
      {
        g_array_remove_index_fast (self->repeats, i);
        return TRUE;
      }
  return FALSE;
}
