/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory map's inside: regions, sorted keys, translation. Immutable once built, so that it is
 * read without locks. Must not know the wire format. */
#pragma once

#include <stdatomic.h>

#include "vhost-memory.h"
#include "vhost-reference-private.h"

#define VHOST_MEMORY_MAX_REGIONS 509

/* What a front-end says of a region. */
typedef struct
{
  guint64 guest_address;
  guint64 size;
  guint64 user_address;
  guint64 mmap_offset;
} VhostMemoryRegionInfo;

/* One mapping, shared by all maps that contain it; unmapped with its last reference. */
typedef struct _VhostMemoryMapping VhostMemoryMapping;
struct _VhostMemoryMapping
{
  VhostReference ref_count;
  VhostMemoryRegionInfo info;
  guint8 *base;     /* what mmap returned */
  gsize length;     /* of the mapping: mmap_offset + size, or less when the offset was cut off */
  guint8 *host;     /* of the region's first byte */
  int fd;           /* (owned): kept for scripts and for hand-over */
  gboolean sealed;  /* F_SEAL_SHRINK is held, pages are sure: never poisoned */
  gboolean guarded; /* vhost-sigbus knows it, sealed or not. Thread: control */
  _Atomic (gboolean) poisoned; /* the file shrank: set by the SIGBUS handler */
};

/* The numbers by themselves: size not 0, no sum that wraps around. */
gboolean vhost_memory_region_info_check (const VhostMemoryRegionInfo *info, GError **error);

/* Takes @fd in any case; @info was checked. (transfer full) */
VhostMemoryMapping *vhost_memory_mapping_new_take_fd (const VhostMemoryRegionInfo *info, int fd,
                                                      gboolean seal, GError **error);
/* Thread: any. */
VhostMemoryMapping *vhost_memory_mapping_ref (VhostMemoryMapping *mapping);
void vhost_memory_mapping_unref (VhostMemoryMapping *mapping);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostMemoryMapping, vhost_memory_mapping_unref)

/* A region as translation sees it: small, copied, sorted by guest address. */
typedef struct
{
  guint64 guest_address;
  guint64 size;
  guint8 *host;
  guint access; /* VHOST_MEMORY_READ and _WRITE; both, but in an IOVA view */
} VhostMemorySlot;

/* What the device may do there. The values are those of the IOTLB messages. */
#define VHOST_MEMORY_READ 1u
#define VHOST_MEMORY_WRITE 2u

/* Two last hits. One per queue (one thread); cleared when the map changes. */
typedef struct
{
  VhostMemorySlot slots[2];
} VhostMemoryCache;

/* The regions once more, in the order of another address. */
typedef struct
{
  guint64 *keys; /* ascending */
  VhostMemoryMapping **mappings;
} VhostMemoryIndex;

/* A view has slots of its own; all that concerns regions it shares with the map it was made of. */
struct _VhostMemory
{
  VhostReference ref_count;
  guint n_regions;
  guint n_slots;                 /* the same number, but in a view */
  guint64 *keys;                 /* addresses, ascending, for the branchless search */
  VhostMemorySlot *slots;        /* same order */
  VhostMemoryMapping **mappings; /* by guest address, a reference each */
  VhostMemoryMapping **unsealed; /* those of them that can be poisoned: often none */
  guint n_unsealed;
  VhostMemoryIndex by_user;
  VhostMemoryIndex by_host;
  gboolean is_view;     /* addresses are IOVAs: what is not found is a miss, not a mistake (I1) */
  VhostMemory *regions; /* (owned) (nullable): what a view was made of */
};

VhostMemory *vhost_memory_new_empty (void);

/* The whole table anew (SET_MEM_TABLE). Takes every fd of @fds in any case. Checks: size not 0, no
 * wrap-around of any address + size, no overlap in guest or user addresses, mmap_offset + size
 * inside the file (fstat), fd mappable, n <= 509. @seal: try F_ADD_SEALS (F_SEAL_SHRINK). */
VhostMemory *vhost_memory_new_take_fds (const VhostMemoryRegionInfo *infos, int *fds, guint n,
                                        gboolean seal, GError **error);
/* @self plus one region (ADD_MEM_REG). Takes @fd in any case. @self stays as it is. (transfer full)
 */
VhostMemory *vhost_memory_add_take_fd (VhostMemory *self, const VhostMemoryRegionInfo *info, int fd,
                                       gboolean seal, GError **error);
/* @self without the region that has the same guest address, user address and size. (transfer full)
 */
VhostMemory *vhost_memory_remove (VhostMemory *self, const VhostMemoryRegionInfo *info,
                                  GError **error);

/* A view: a map over the regions of @regions (or of what that is a view of) with other addresses.
 * @slots ascend, do not overlap, and each lies in one region. They are copied. (transfer full) */
VhostMemory *vhost_memory_new_view (VhostMemory *regions, const VhostMemorySlot *slots, guint n);

/* User address (an opaque value) to guest address; the whole range must lie in one region. */
gboolean vhost_memory_user_to_guest (VhostMemory *self, guint64 user_address, guint64 length,
                                     guint64 *guest_address);

/* The place of a byte of this process in the guest's memory; works on views too. The whole range
 * must lie in one region. */
gboolean vhost_memory_host_to_guest (VhostMemory *self, const void *host, guint64 length,
                                     guint64 *guest_address);
/* The region that has this byte; NULL: none. (transfer none) */
VhostMemoryMapping *vhost_memory_find_user (VhostMemory *self, guint64 user_address);
VhostMemoryMapping *vhost_memory_find_host (VhostMemory *self, const void *host);

/* Whether all of @length bytes are there and may be used for @access, in one slot or in several
 * that follow each other. FALSE: @missing (nullable) is the first byte that is not. */
gboolean vhost_memory_holds (VhostMemory *self, guint64 address, guint64 length, guint access,
                             guint64 *missing);

/* TRUE: a region's file shrank under us, or its pages will not come any more (postcopy); the
 * session must end. */
gboolean vhost_memory_is_poisoned (VhostMemory *self);
/* From now on sealed files are looked at, too. Thread: any. */
void vhost_memory_watch_sealed (void);

const VhostMemorySlot *vhost_memory_lookup (VhostMemory *self, guint64 guest_address);

/* Pages that lie apart in this process, side by side (V3); see vhost-memory-window.c. */
typedef struct _VhostMemoryWindow VhostMemoryWindow;

#define VHOST_MEMORY_WINDOW_MAX G_GUINT64_CONSTANT (0x100000)

/* @length bytes at @address in one piece. When one slot holds them, they are where they are and
 * *@window is NULL. Otherwise, in a view only, their pages are mapped once more into *@window, and
 * what is returned is good until that is freed. NULL: something is missing, or without the right
 * for all of @access (vhost_memory_holds () says where), or the pages cannot be mapped so: not all
 * aligned, huge, more than VHOST_MEMORY_WINDOW_MAX. Thread: any; not for every request. */
gpointer vhost_memory_translate_window (VhostMemory *self, guint64 address, guint64 length,
                                        guint access, VhostMemoryWindow **window);
void vhost_memory_window_free (VhostMemoryWindow *window);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostMemoryWindow, vhost_memory_window_free)

/* What offsets and lengths of a mapping of this file must be multiples of. */
guint64 vhost_memory_file_granularity (int fd);
/* Whether the file can no longer shrink. @seal: see to it, when the file's owner allows that. */
gboolean vhost_memory_file_is_sealed (int fd, gboolean seal);

/* The last of @n keys not above @address, or the first of all; @n is not 0. The choice is a
 * conditional move: addresses are random, a branch here would be mispredicted every second time. */
static inline guint
vhost_memory_search (const guint64 *keys, guint n, guint64 address)
{
  const guint64 *base = keys;

  while (n > 1)
    {
      guint half = n / 2;

      base = base[half] <= address ? base + half : base;
      n -= half;
    }
  return (guint) (base - keys);
}

static inline gboolean
vhost_memory_slot_holds (const VhostMemorySlot *slot, guint64 address, guint64 length)
{
  guint64 offset = address - slot->guest_address;
  return offset < slot->size && length <= slot->size - offset;
}

/* The slot that holds the first byte of @address, through the cache; NULL: unmapped. */
static inline const VhostMemorySlot *
vhost_memory_find (VhostMemory *self, VhostMemoryCache *cache, guint64 address)
{
  const VhostMemorySlot *found;

  if (G_LIKELY (address - cache->slots[0].guest_address < cache->slots[0].size))
    return &cache->slots[0];
  if (G_LIKELY (address - cache->slots[1].guest_address < cache->slots[1].size))
    return &cache->slots[1];
  found = vhost_memory_lookup (self, address);
  if (found == NULL)
    return NULL;
  cache->slots[1] = cache->slots[0];
  cache->slots[0] = *found;
  return &cache->slots[0];
}

/* @length bytes at guest address @address, when one region holds them all; else NULL. */
static inline gpointer
vhost_memory_translate (VhostMemory *self, VhostMemoryCache *cache, guint64 address, guint64 length)
{
  const VhostMemorySlot *slot = vhost_memory_find (self, cache, address);

  if (G_UNLIKELY (slot == NULL || !vhost_memory_slot_holds (slot, address, length)))
    return NULL;
  return slot->host + (address - slot->guest_address);
}
