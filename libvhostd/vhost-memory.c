/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's memory as the front-end shares it: maps regions, translates addresses. A map never
 * changes once it is built; another region makes another map, and the two share the mappings they
 * have in common. Must not know the wire format, and must not use a number of a region before it
 * was checked.
 *
 * How it works: the guest addresses of all regions stand in one array of their own, ascending, so
 * that the search touches few cache lines and compiles to conditional moves; what it finds is a
 * slot (address, size, host pointer) that callers may copy into a cache of their own. User
 * addresses are values of the front-end's own address space: they are compared and subtracted,
 * never followed. */
#include "config.h"

#include "vhost-memory-private.h"

#include <string.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

/**
 * VhostMemory:
 *
 * The guest's memory as a front-end shares it: regions, immutable. A change makes another map.
 *
 * What it maps stays mapped as long as somebody holds a reference.
 *
 * Since: 0.1
 */
G_DEFINE_BOXED_TYPE (VhostMemory, vhost_memory, vhost_memory_ref, vhost_memory_unref)

static int
compare_guest (gconstpointer a, gconstpointer b)
{
  const VhostMemoryRegionInfo *x = *(const VhostMemoryRegionInfo *const *) a;
  const VhostMemoryRegionInfo *y = *(const VhostMemoryRegionInfo *const *) b;

  return (x->guest_address > y->guest_address) - (x->guest_address < y->guest_address);
}

static int
compare_user (gconstpointer a, gconstpointer b)
{
  const VhostMemoryRegionInfo *x = *(const VhostMemoryRegionInfo *const *) a;
  const VhostMemoryRegionInfo *y = *(const VhostMemoryRegionInfo *const *) b;

  return (x->user_address > y->user_address) - (x->user_address < y->user_address);
}

static gboolean
check_apart (const char *what, guint64 first, guint64 first_size, guint64 second, GError **error)
{
  if (second - first >= first_size)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "two memory regions overlap in %s addresses: one begins at 0x%" G_GINT64_MODIFIER
               "x with size 0x%" G_GINT64_MODIFIER "x, another at 0x%" G_GINT64_MODIFIER "x",
               what, first, first_size, second);
  return FALSE;
}

/* All regions of one map together (M1). Reorders @infos, which has been checked one by one. */
static gboolean
check_infos (const VhostMemoryRegionInfo **infos, guint n, GError **error)
{
  if (n > VHOST_MEMORY_MAX_REGIONS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u memory regions are more than the %d that are offered", n,
                   VHOST_MEMORY_MAX_REGIONS);
      return FALSE;
    }

  if (n < 2)
    return TRUE;

  /* Sorted, an overlap is an overlap of neighbours. */
  qsort (infos, n, sizeof *infos, compare_user);
  for (guint i = 1; i < n; i++)
    if (!check_apart ("user", infos[i - 1]->user_address, infos[i - 1]->size,
                      infos[i]->user_address, error))
      return FALSE;
  qsort (infos, n, sizeof *infos, compare_guest);
  for (guint i = 1; i < n; i++)
    if (!check_apart ("guest", infos[i - 1]->guest_address, infos[i - 1]->size,
                      infos[i]->guest_address, error))
      return FALSE;
  return TRUE;
}

static int
compare_mappings_user (gconstpointer a, gconstpointer b)
{
  const VhostMemoryMapping *x = *(const VhostMemoryMapping *const *) a;
  const VhostMemoryMapping *y = *(const VhostMemoryMapping *const *) b;

  return (x->info.user_address > y->info.user_address)
         - (x->info.user_address < y->info.user_address);
}

static int
compare_mappings_host (gconstpointer a, gconstpointer b)
{
  const VhostMemoryMapping *x = *(const VhostMemoryMapping *const *) a;
  const VhostMemoryMapping *y = *(const VhostMemoryMapping *const *) b;

  return (x->host > y->host) - (x->host < y->host);
}

/* @self's regions in two more orders, for the way back from other addresses. */
static void
fill_indexes (VhostMemory *self)
{
  gsize size = self->n_regions * sizeof *self->mappings;

  self->by_user.keys = g_new (guint64, self->n_regions);
  self->by_user.mappings = g_memdup2 (self->mappings, size);
  self->by_host.keys = g_new (guint64, self->n_regions);
  self->by_host.mappings = g_memdup2 (self->mappings, size);
  if (self->n_regions == 0)
    return;

  qsort (self->by_user.mappings, self->n_regions, sizeof *self->mappings, compare_mappings_user);
  qsort (self->by_host.mappings, self->n_regions, sizeof *self->mappings, compare_mappings_host);
  for (guint i = 0; i < self->n_regions; i++)
    {
      self->by_user.keys[i] = self->by_user.mappings[i]->info.user_address;
      self->by_host.keys[i] = (guintptr) self->by_host.mappings[i]->host;
    }
}

/* A map of @mappings, which it takes (the references, not the array). */
static VhostMemory *
memory_new_take_mappings (VhostMemoryMapping *const *mappings, guint n)
{
  VhostMemory *self = g_new0 (VhostMemory, 1);

  vhost_reference_init (&self->ref_count);
  self->n_regions = n;
  self->n_slots = n;
  self->keys = g_new (guint64, n);
  self->slots = g_new (VhostMemorySlot, n);
  self->mappings = g_new (VhostMemoryMapping *, n);
  self->unsealed = g_new (VhostMemoryMapping *, n);

  for (guint i = 0; i < n; i++)
    {
      VhostMemoryMapping *mapping = mappings[i];
      guint at = i;

      /* Insertion: at most 509 entries, which come sorted nearly always. */
      while (at > 0 && self->keys[at - 1] > mapping->info.guest_address)
        {
          self->keys[at] = self->keys[at - 1];
          self->mappings[at] = self->mappings[at - 1];
          at--;
        }
      self->keys[at] = mapping->info.guest_address;
      self->mappings[at] = mapping;
      if (!mapping->sealed)
        self->unsealed[self->n_unsealed++] = mapping;
    }
  for (guint i = 0; i < n; i++)
    {
      self->slots[i].guest_address = self->mappings[i]->info.guest_address;
      self->slots[i].size = self->mappings[i]->info.size;
      self->slots[i].host = self->mappings[i]->host;
      self->slots[i].access = VHOST_MEMORY_READ | VHOST_MEMORY_WRITE;
    }
  fill_indexes (self);
  return self;
}

VhostMemory *
vhost_memory_new_empty (void)
{
  return memory_new_take_mappings (NULL, 0);
}

static void
clear_fds (int *fds, guint n)
{
  for (guint i = 0; i < n; i++)
    vhost_fd_discard (&fds[i]);
}

VhostMemory *
vhost_memory_new_take_fds (const VhostMemoryRegionInfo *infos, int *fds, guint n, gboolean seal,
                           GError **error)
{
  g_autofree const VhostMemoryRegionInfo **sorted = g_new (const VhostMemoryRegionInfo *, n);
  g_autofree VhostMemoryMapping **mappings = g_new0 (VhostMemoryMapping *, n);
  guint n_mapped = 0;
  gboolean ok = TRUE;

  /* All numbers first: a bad table costs no mapping. */
  for (guint i = 0; i < n && ok; i++)
    {
      sorted[i] = &infos[i];
      ok = vhost_memory_region_info_check (&infos[i], error);
    }
  ok = ok && check_infos (sorted, n, error);

  while (ok && n_mapped < n)
    {
      VhostMemoryMapping *mapping
          = vhost_memory_mapping_new_take_fd (&infos[n_mapped], fds[n_mapped], seal, error);

      fds[n_mapped] = -1;
      if (mapping == NULL)
        ok = FALSE;
      else
        mappings[n_mapped++] = mapping;
    }
  if (ok)
    return memory_new_take_mappings (mappings, n);

  clear_fds (fds, n);
  for (guint i = 0; i < n_mapped; i++)
    vhost_memory_mapping_unref (mappings[i]);
  return NULL;
}

VhostMemory *
vhost_memory_add_take_fd (VhostMemory *self, const VhostMemoryRegionInfo *info, int fd,
                          gboolean seal, GError **error)
{
  guint n = self->n_regions;
  g_autofree const VhostMemoryRegionInfo **sorted = g_new (const VhostMemoryRegionInfo *, n + 1);
  g_autofree VhostMemoryMapping **mappings = g_new (VhostMemoryMapping *, n + 1);

  for (guint i = 0; i < n; i++)
    sorted[i] = &self->mappings[i]->info;
  sorted[n] = info;
  if (!vhost_memory_region_info_check (info, error) || !check_infos (sorted, n + 1, error))
    {
      vhost_fd_discard (&fd);
      return NULL;
    }

  mappings[n] = vhost_memory_mapping_new_take_fd (info, fd, seal, error);
  if (mappings[n] == NULL)
    return NULL;
  for (guint i = 0; i < n; i++)
    mappings[i] = vhost_memory_mapping_ref (self->mappings[i]);
  return memory_new_take_mappings (mappings, n + 1);
}

VhostMemory *
vhost_memory_remove (VhostMemory *self, const VhostMemoryRegionInfo *info, GError **error)
{
  g_autofree VhostMemoryMapping **mappings = g_new (VhostMemoryMapping *, self->n_regions);
  guint n = 0;

  for (guint i = 0; i < self->n_regions; i++)
    {
      const VhostMemoryRegionInfo *have = &self->mappings[i]->info;

      /* M3: these three and nothing else; front-ends send other offsets here than they added the
       * region with. */
      if (have->guest_address != info->guest_address || have->user_address != info->user_address
          || have->size != info->size)
        mappings[n++] = self->mappings[i];
    }
  if (n == self->n_regions)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no memory region to remove with guest address 0x%" G_GINT64_MODIFIER
                   "x, user address 0x%" G_GINT64_MODIFIER "x and size 0x%" G_GINT64_MODIFIER "x",
                   info->guest_address, info->user_address, info->size);
      return NULL;
    }

  for (guint i = 0; i < n; i++)
    vhost_memory_mapping_ref (mappings[i]);
  return memory_new_take_mappings (mappings, n);
}

/* Sealed mappings are poisoned by a failed postcopy only: who never had one need not look. */
static _Atomic (gboolean) sealed_can_fail;

void
vhost_memory_watch_sealed (void)
{
  /* relaxed: the memory that can fail is handed to the worker after this, through its mailbox,
   * which orders both. Partner: the load in vhost_memory_is_poisoned (). It is never taken back. */
  atomic_store_explicit (&sealed_can_fail, TRUE, memory_order_relaxed);
}

gboolean
vhost_memory_is_poisoned (VhostMemory *self)
{
  /* Partner: the SIGBUS handler's store, made before the zero pages appeared. A fence, because the
   * loads that may have found them come before this one. */
  atomic_thread_fence (memory_order_acquire);
  for (guint i = 0; i < self->n_unsealed; i++)
    if (G_UNLIKELY (atomic_load_explicit (&self->unsealed[i]->poisoned, memory_order_relaxed)))
      return TRUE;
  /* relaxed: behind the same fence. Partner: vhost_memory_watch_sealed (). */
  if (G_UNLIKELY (atomic_load_explicit (&sealed_can_fail, memory_order_relaxed)))
    for (guint i = 0; i < self->n_regions; i++)
      if (G_UNLIKELY (atomic_load_explicit (&self->mappings[i]->poisoned, memory_order_relaxed)))
        return TRUE;
  return FALSE;
}

const VhostMemorySlot *
vhost_memory_lookup (VhostMemory *self, guint64 guest_address)
{
  const VhostMemorySlot *slot;

  if (G_UNLIKELY (self->n_slots == 0))
    return NULL;
  slot = &self->slots[vhost_memory_search (self->keys, self->n_slots, guest_address)];
  return guest_address - slot->guest_address < slot->size ? slot : NULL;
}

/**
 * vhost_memory_ref:
 * @self: a memory map
 *
 * Adds a reference.
 *
 * A map never changes; who holds a reference keeps its regions mapped, even when the front-end has
 * meanwhile replaced them.
 *
 * Thread: any.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
VhostMemory *
vhost_memory_ref (VhostMemory *self)
{
  g_return_val_if_fail (self != NULL, NULL);

  vhost_reference_take (&self->ref_count);
  return self;
}

/**
 * vhost_memory_unref:
 * @self: (transfer full): a memory map
 *
 * Drops a reference; with the last one all regions that no other map has are unmapped.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_memory_unref (VhostMemory *self)
{
  g_return_if_fail (self != NULL);

  if (!vhost_reference_drop (&self->ref_count))
    return;
  if (self->regions != NULL)
    {
      vhost_memory_unref (self->regions);
    }
  else
    {
      for (guint i = 0; i < self->n_regions; i++)
        vhost_memory_mapping_unref (self->mappings[i]);
      g_free (self->by_host.mappings);
      g_free (self->by_host.keys);
      g_free (self->by_user.mappings);
      g_free (self->by_user.keys);
      g_free (self->unsealed);
      g_free (self->mappings);
    }
  g_free (self->slots);
  g_free (self->keys);
  g_free (self);
}

/**
 * vhost_memory_get_n_regions:
 * @self: a memory map
 *
 * Gets how many regions the front-end shares.
 *
 * Thread: any.
 *
 * Returns: the number of regions, 0 to 509
 *
 * Since: 0.1
 */
guint
vhost_memory_get_n_regions (VhostMemory *self)
{
  g_return_val_if_fail (self != NULL, 0);

  return self->n_regions;
}

/**
 * vhost_memory_get_size:
 * @self: a memory map
 *
 * Gets how much memory the front-end shares.
 *
 * Thread: any.
 *
 * Returns: the sum of the regions' sizes in bytes
 *
 * Since: 0.1
 */
guint64
vhost_memory_get_size (VhostMemory *self)
{
  guint64 size = 0;

  g_return_val_if_fail (self != NULL, 0);

  /* Regions do not overlap: their sum fits. */
  for (guint i = 0; i < self->n_regions; i++)
    size += self->mappings[i]->info.size;
  return size;
}

/**
 * vhost_memory_get_region:
 * @self: a memory map
 * @index: which region, in ascending order of guest addresses
 * @guest_address: (out) (optional): where the guest sees it
 * @size: (out) (optional): its size in bytes
 * @user_address: (out) (optional): where the front-end sees it; not an address of this process
 *
 * Gets the place of one region (vhost-user specification, "Memory region description").
 *
 * Thread: any.
 *
 * Returns: %FALSE when there are not that many regions; nothing is set then
 *
 * Since: 0.1
 */
gboolean
vhost_memory_get_region (VhostMemory *self, guint index, guint64 *guest_address, guint64 *size,
                         guint64 *user_address)
{
  const VhostMemoryRegionInfo *info;

  g_return_val_if_fail (self != NULL, FALSE);

  if (index >= self->n_regions)
    return FALSE;
  info = &self->mappings[index]->info;
  if (guest_address != NULL)
    *guest_address = info->guest_address;
  if (size != NULL)
    *size = info->size;
  if (user_address != NULL)
    *user_address = info->user_address;
  return TRUE;
}

/**
 * vhost_memory_get_region_address: (skip)
 * @self: a memory map
 * @index: which region, in ascending order of guest addresses
 * @length: (out): its size in bytes
 *
 * Gets the place of one region in this process. What vhost_memory_map() says of guest memory holds
 * here too.
 *
 * Thread: any, while a reference to @self is held.
 *
 * Returns: (transfer none) (nullable): the address of the region's first byte; %NULL when there are
 * not that many regions
 *
 * Since: 0.1
 */
gpointer
vhost_memory_get_region_address (VhostMemory *self, guint index, gsize *length)
{
  g_return_val_if_fail (self != NULL && length != NULL, NULL);

  *length = 0;
  if (index >= self->n_regions)
    return NULL;
  *length = self->mappings[index]->info.size;
  return self->mappings[index]->host;
}

/**
 * vhost_memory_map:
 * @self: a memory map
 * @guest_address: an address in the guest's physical memory
 * @length: (out) (optional): how many bytes follow in one piece, to the end of the region
 *
 * Gets the address in this process of a byte of guest memory.
 *
 * The guest can change these bytes at any moment: read a value once into a variable of your own,
 * check it there, use it from there. What is written is not entered into the log of a migration;
 * for requests use [struct@Chain], which sees to that.
 *
 * Thread: any, while a reference to @self is held.
 *
 * Returns: (transfer none) (nullable): the byte's address, or %NULL when no region holds it;
 * @length is 0 then
 *
 * Since: 0.1
 */
gpointer
vhost_memory_map (VhostMemory *self, guint64 guest_address, gsize *length)
{
  const VhostMemorySlot *slot;

  g_return_val_if_fail (self != NULL, NULL);

  slot = vhost_memory_lookup (self, guest_address);
  if (length != NULL)
    *length = slot != NULL ? (gsize) (slot->size - (guest_address - slot->guest_address)) : 0;
  return slot != NULL ? slot->host + (guest_address - slot->guest_address) : NULL;
}

static gboolean
check_range (VhostMemory *self, guint64 address, gsize length, guint access, GError **error)
{
  guint64 missing;

  if (vhost_memory_holds (self, address, length, access, &missing))
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "%" G_GSIZE_FORMAT " bytes at guest address 0x%" G_GINT64_MODIFIER
               "x are not all in shared memory: there is none at 0x%" G_GINT64_MODIFIER "x",
               length, address, missing);
  return FALSE;
}

/**
 * vhost_memory_read:
 * @self: a memory map
 * @guest_address: an address in the guest's physical memory
 * @data: (out caller-allocates) (array length=length) (element-type guint8): where to copy to
 * @length: how many bytes; the range may cross regions that follow each other
 * @error: return location for an error
 *
 * Copies out of the guest's memory.
 *
 * Fails with %VHOST_ERROR_INVALID when a part of the range is not shared; nothing is copied then.
 *
 * Thread: any, while a reference to @self is held.
 *
 * Returns: %TRUE when all bytes were copied
 *
 * Since: 0.1
 */
gboolean
vhost_memory_read (VhostMemory *self, guint64 guest_address, gpointer data, gsize length,
                   GError **error)
{
  guint8 *to = data;

  g_return_val_if_fail (self != NULL, FALSE);
  g_return_val_if_fail (data != NULL || length == 0, FALSE);

  if (!check_range (self, guest_address, length, VHOST_MEMORY_READ, error))
    return FALSE;
  while (length > 0)
    {
      gsize piece;
      gpointer host = vhost_memory_map (self, guest_address, &piece);

      piece = MIN (piece, length);
      memcpy (to, host, piece);
      to += piece;
      guest_address += piece;
      length -= piece;
    }
  return TRUE;
}

/**
 * vhost_memory_write:
 * @self: a memory map
 * @guest_address: an address in the guest's physical memory
 * @data: (array length=length) (element-type guint8): what to copy
 * @length: how many bytes; the range may cross regions that follow each other
 * @error: return location for an error
 *
 * Copies into the guest's memory.
 *
 * Fails with %VHOST_ERROR_INVALID when a part of the range is not shared; nothing is copied then.
 * What is written is not entered into the log of a migration; for requests use [struct@Chain].
 *
 * Thread: any, while a reference to @self is held.
 *
 * Returns: %TRUE when all bytes were copied
 *
 * Since: 0.1
 */
gboolean
vhost_memory_write (VhostMemory *self, guint64 guest_address, gconstpointer data, gsize length,
                    GError **error)
{
  const guint8 *from = data;

  g_return_val_if_fail (self != NULL, FALSE);
  g_return_val_if_fail (data != NULL || length == 0, FALSE);

  if (!check_range (self, guest_address, length, VHOST_MEMORY_WRITE, error))
    return FALSE;
  while (length > 0)
    {
      gsize piece;
      gpointer host = vhost_memory_map (self, guest_address, &piece);

      piece = MIN (piece, length);
      memcpy (host, from, piece);
      from += piece;
      guest_address += piece;
      length -= piece;
    }
  return TRUE;
}
