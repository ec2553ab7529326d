/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parts of a ring under a vIOMMU: contiguous in IOVA, while their pages may lie anywhere in guest
 * memory (V3). Must not map what a view does not hold.
 *
 * How it works: a range of addresses is reserved, and page by page the regions' files are mapped
 * into it, so that rings are read and written as without a vIOMMU, by one pointer. Files that may
 * shrink are guarded as regions are: the window is entered as a whole with the flag of one of its
 * regions, since one poisoned region ends the session, whichever it is. */
#include "config.h"

#include "vhost-memory-private.h"
#include "vhost-sigbus-private.h"

#include <sys/mman.h>
#include <unistd.h>

struct _VhostMemoryWindow
{
  guint8 *base;
  gsize length;
  VhostMemoryMapping *guard; /* (owned) (nullable): its flag is in the SIGBUS handler's table */
};

/* The pages of @slot from @first to @last (both inside it) at @where, which lies in the window. */
static gboolean
map_piece (VhostMemoryWindow *window, VhostMemoryMapping *mapping, guint64 offset, guint64 first,
           guint64 last, guint8 *where)
{
  guint64 page = (guint64) sysconf (_SC_PAGESIZE);
  guint64 skip = first & (page - 1);
  guint64 length = skip + (last - first) + 1;

  /* The offset of @first in the file; as the region was mapped, this is no more than a file can
   * have. Pages can be put side by side only where both addresses begin them together. */
  offset += mapping->info.mmap_offset;
  if ((offset & (page - 1)) != skip)
    return FALSE;
  length = (length + page - 1) & ~(page - 1);
  if (mmap (where - skip, (gsize) length, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_FIXED | MAP_NORESERVE, mapping->fd, (off_t) (offset - skip))
      == MAP_FAILED)
    return FALSE; /* huge pages, or too many mappings */
  if (!mapping->sealed && window->guard == NULL)
    window->guard = vhost_memory_mapping_ref (mapping);
  return TRUE;
}

/* Every slot of the range in its place. The range was found to be there. */
static gboolean
map_pieces (VhostMemoryWindow *window, VhostMemory *memory, guint64 address, guint64 length)
{
  guint64 page = (guint64) sysconf (_SC_PAGESIZE);
  guint64 start = address & ~(page - 1);
  const VhostMemorySlot *slot = vhost_memory_lookup (memory, address);
  guint64 at = address;

  for (;; slot++)
    {
      guint64 offset = at - slot->guest_address;
      guint64 here = MIN (length, slot->size - offset);
      VhostMemoryMapping *mapping = vhost_memory_find_host (memory, slot->host);

      /* Two slots in one page cannot both have it. */
      if (at != address && (at & (page - 1)) != 0)
        return FALSE;
      if (mapping == NULL
          || !map_piece (window, mapping, (guint64) (slot->host - mapping->host) + offset, at,
                         at + here - 1, window->base + (at - start)))
        return FALSE;
      length -= here;
      if (length == 0)
        return TRUE;
      at += here;
    }
}

gpointer
vhost_memory_translate_window (VhostMemory *self, guint64 address, guint64 length, guint access,
                               VhostMemoryWindow **window)
{
  g_autoptr (VhostMemoryWindow) made = NULL;
  const VhostMemorySlot *slot = vhost_memory_lookup (self, address);
  guint64 page = (guint64) sysconf (_SC_PAGESIZE);
  guint64 skip = address & (page - 1);
  void *base;

  *window = NULL;
  if (slot == NULL || (slot->access & access) != access)
    return NULL;
  if (vhost_memory_slot_holds (slot, address, length))
    return slot->host + (address - slot->guest_address);
  if (!self->is_view || length > VHOST_MEMORY_WINDOW_MAX
      || !vhost_memory_holds (self, address, length, access, NULL))
    return NULL;

  made = g_new0 (VhostMemoryWindow, 1);
  made->length = (gsize) ((skip + length + page - 1) & ~(page - 1));
  base = mmap (NULL, made->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return NULL;
  made->base = base;
  if (!map_pieces (made, self, address, length))
    return NULL;
  (void) madvise (made->base, made->length, MADV_DONTDUMP); /* as for regions */
  if (made->guard != NULL
      && !vhost_sigbus_protect (made->base, made->length, &made->guard->poisoned, NULL))
    return NULL;

  *window = g_steal_pointer (&made);
  return (*window)->base + skip;
}

void
vhost_memory_window_free (VhostMemoryWindow *window)
{
  if (window == NULL)
    return;
  if (window->base != NULL)
    {
      /* Before munmap, and harmless where it was not entered. */
      if (window->guard != NULL)
        vhost_sigbus_unprotect (window->base);
      munmap (window->base, window->length);
    }
  g_clear_pointer (&window->guard, vhost_memory_mapping_unref);
  g_free (window);
}
