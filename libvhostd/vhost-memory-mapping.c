/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One region of guest memory: the checks of its numbers and its file, its mapping. Must not know of
 * other regions, and must not use a number before it was checked.
 *
 * How it works: the file is sealed against shrinking where its owner allows that, and its size is
 * compared after that; where it can still shrink, the mapping is entered into the table of the
 * SIGBUS handler for as long as it lives. */
#include "config.h"

#include "vhost-memory-private.h"
#include "vhost-sigbus-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

VhostMemoryMapping *
vhost_memory_mapping_ref (VhostMemoryMapping *mapping)
{
  vhost_reference_take (&mapping->ref_count);
  return mapping;
}

void
vhost_memory_mapping_unref (VhostMemoryMapping *mapping)
{
  if (!vhost_reference_drop (&mapping->ref_count))
    return;

  if (mapping->base != NULL)
    {
      /* Before munmap: the handler must not put pages where something else may be mapped the next
       * moment. */
      if (mapping->guarded)
        vhost_sigbus_unprotect (mapping->base);
      munmap (mapping->base, mapping->length);
    }
  vhost_fd_discard (&mapping->fd);
  g_free (mapping);
}

gboolean
vhost_memory_region_info_check (const VhostMemoryRegionInfo *info, GError **error)
{
  const char *wraps = NULL;
  guint64 start = 0;

  if (info->size == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at guest address 0x%" G_GINT64_MODIFIER "x has size 0",
                   info->guest_address);
      return FALSE;
    }

  if (info->guest_address > G_MAXUINT64 - info->size)
    {
      wraps = "guest address";
      start = info->guest_address;
    }
  else if (info->user_address > G_MAXUINT64 - info->size)
    {
      wraps = "user address";
      start = info->user_address;
    }
  else if (info->mmap_offset > G_MAXUINT64 - info->size)
    {
      wraps = "file offset";
      start = info->mmap_offset;
    }
  if (wraps != NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x wraps around: %s 0x%" G_GINT64_MODIFIER "x and size 0x%" G_GINT64_MODIFIER
                   "x do not fit into 64 bits",
                   info->guest_address, wraps, start, info->size);
      return FALSE;
    }
  return TRUE;
}

/* The file behind a region: its kind, and whether the region lies within it. */
static gboolean
check_file (int fd, const VhostMemoryRegionInfo *info, GError **error)
{
  struct stat status;
  guint64 end
      = info->mmap_offset + info->size; /* vhost_memory_region_info_check (): does not wrap */

  if (fd < 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x came without a file descriptor",
                   info->guest_address);
      return FALSE;
    }
  if (fstat (fd, &status) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "cannot look at the file of the memory region at guest address "
                   "0x%" G_GINT64_MODIFIER "x: %s",
                   info->guest_address, g_strerror (errno));
      return FALSE;
    }
  /* Character devices are /dev/dax and the like: they have no size to compare with; mmap decides.
   */
  if (!S_ISREG (status.st_mode) && !S_ISCHR (status.st_mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the descriptor of the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x is no memory file (memfd, shared memory, hugetlbfs or dax) but: %s",
                   info->guest_address, vhost_fd_kind_to_string (vhost_fd_get_kind (fd)));
      return FALSE;
    }
  if (S_ISREG (status.st_mode) && end > (guint64) status.st_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x needs %" G_GUINT64_FORMAT " bytes of its file (offset %" G_GUINT64_FORMAT
                   ", size %" G_GUINT64_FORMAT "), but the file has only %" G_GUINT64_FORMAT,
                   info->guest_address, end, info->mmap_offset, info->size,
                   (guint64) status.st_size);
      return FALSE;
    }
  /* A page more, so that rounding up cannot wrap either. */
  if (end > (guint64) G_MAXINT64 - (G_GUINT64_CONSTANT (1) << 32) || info->size > G_MAXSSIZE)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x cannot be mapped: offset %" G_GUINT64_FORMAT " and size %" G_GUINT64_FORMAT
                   " are beyond what a file can have",
                   info->guest_address, info->mmap_offset, info->size);
      return FALSE;
    }
  return TRUE;
}

gboolean
vhost_memory_file_is_sealed (int fd, gboolean seal)
{
  int seals = fcntl (fd, F_GET_SEALS);

  if (seals >= 0 && (seals & F_SEAL_SHRINK) == 0 && seal
      && fcntl (fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
    seals = fcntl (fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

guint64
vhost_memory_file_granularity (int fd)
{
  guint64 page = (guint64) sysconf (_SC_PAGESIZE);
  struct statfs status;

  if (fstatfs (fd, &status) == 0 && (guint64) status.f_type == HUGETLBFS_MAGIC
      && status.f_bsize > 0)
    {
      guint64 huge = (guint64) status.f_bsize;

      /* 16 GiB is the largest page there is on any machine. */
      if (huge > page && huge <= (G_GUINT64_CONSTANT (1) << 34) && (huge & (huge - 1)) == 0)
        return huge;
    }
  return page;
}

/* From @skip bytes below the region's own offset. */
static gboolean
map_from (VhostMemoryMapping *mapping, guint64 skip, guint64 granularity)
{
  guint64 length = (skip + mapping->info.size + granularity - 1) & ~(granularity - 1);
  void *base;

  if (length > G_MAXSSIZE)
    {
      errno = ENOMEM;
      return FALSE;
    }
  base = mmap (NULL, (gsize) length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
               mapping->fd, (off_t) (mapping->info.mmap_offset - skip));
  if (base == MAP_FAILED)
    return FALSE;
  mapping->base = base;
  mapping->length = (gsize) length;
  mapping->host = mapping->base + skip;
  return TRUE;
}

VhostMemoryMapping *
vhost_memory_mapping_new_take_fd (const VhostMemoryRegionInfo *info, int fd, gboolean seal,
                                  GError **error)
{
  g_autoptr (VhostMemoryMapping) mapping = g_new0 (VhostMemoryMapping, 1);
  guint64 granularity;

  vhost_reference_init (&mapping->ref_count);
  mapping->info = *info;
  mapping->fd = fd;

  if (!check_file (fd, info, error))
    return NULL;
  /* The size is looked at again once it can no longer become smaller. Huge pages are guarded all
   * the same: where the front-end punches a hole and the pool is empty, touching it is a SIGBUS
   * too. */
  granularity = vhost_memory_file_granularity (fd);
  mapping->sealed = vhost_memory_file_is_sealed (fd, seal);
  if (mapping->sealed && !check_file (fd, info, error))
    return NULL;
  if (granularity > (guint64) sysconf (_SC_PAGESIZE))
    mapping->sealed = FALSE;

  /* The offset need not be aligned: map from the page that it lies in. Where the file wants more
   * than we know of (dax devices), all of it from the start is the other way. */
  if (!map_from (mapping, info->mmap_offset & (granularity - 1), granularity)
      && (errno != EINVAL || !map_from (mapping, info->mmap_offset, granularity)))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot map the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x (offset %" G_GUINT64_FORMAT ", size %" G_GUINT64_FORMAT
                   ") for reading and writing: %s",
                   info->guest_address, info->mmap_offset, info->size, g_strerror (errno));
      return NULL;
    }
  /* The guest's memory is no part of our core files; where the kernel refuses, nothing is lost. */
  (void) madvise (mapping->base, mapping->length, MADV_DONTDUMP);

  if (!mapping->sealed
      && !vhost_sigbus_protect (mapping->base, mapping->length, &mapping->poisoned, error))
    return NULL; /* what follows takes nothing back from the table, which is fine */

  mapping->guarded = !mapping->sealed;
  return g_steal_pointer (&mapping);
}
