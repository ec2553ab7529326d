/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small guest memories for the tests of the memory layer: as many regions as wanted, each in a
 * memfd of its own. */
#pragma once

#include "vhost-memory-private.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE G_GUINT64_CONSTANT (4096)

static inline int
guest_memory_new_file (guint64 size)
{
  int fd = memfd_create ("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) size), ==, 0);
  return fd;
}

/* Files that are just large enough. */
static inline VhostMemory *
guest_memory_new (const VhostMemoryRegionInfo *infos, guint n, gboolean seal)
{
  g_autofree int *fds = g_new (int, n);
  g_autoptr (GError) error = NULL;
  VhostMemory *memory;

  for (guint i = 0; i < n; i++)
    fds[i] = guest_memory_new_file (infos[i].mmap_offset + infos[i].size);
  memory = vhost_memory_new_take_fds (infos, fds, n, seal, &error);
  g_assert_no_error (error);
  return memory;
}

/* What a view's address leads to; NULL: nothing. */
static inline guint8 *
guest_memory_at (VhostMemory *memory, guint64 address)
{
  const VhostMemorySlot *slot = vhost_memory_lookup (memory, address);

  return slot != NULL ? slot->host + (address - slot->guest_address) : NULL;
}
