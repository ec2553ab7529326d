/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory map seen otherwise than by guest address: views with addresses of a vIOMMU, and the
 * way back from user addresses and from places in this process. Must not map anything.
 *
 * How it works: a view is a map with slots of its own, so that whoever translates needs not know
 * that there is a vIOMMU. What concerns regions (mappings, their orders, what can be poisoned) it
 * borrows from the map that it was made of, and holds a reference to that: making a view costs
 * its slots, not the regions. */
#include "config.h"

#include "vhost-memory-private.h"

VhostMemory *
vhost_memory_new_view (VhostMemory *regions, const VhostMemorySlot *slots, guint n)
{
  VhostMemory *self = g_new0 (VhostMemory, 1);

  if (regions->regions != NULL)
    regions = regions->regions;
  vhost_reference_init (&self->ref_count);
  self->is_view = TRUE;
  self->regions = vhost_memory_ref (regions);
  self->n_regions = regions->n_regions;
  self->mappings = regions->mappings;
  self->unsealed = regions->unsealed;
  self->n_unsealed = regions->n_unsealed;
  self->by_user = regions->by_user;
  self->by_host = regions->by_host;

  self->n_slots = n;
  self->slots = g_memdup2 (slots, n * sizeof *slots);
  self->keys = g_new (guint64, n);
  for (guint i = 0; i < n; i++)
    self->keys[i] = slots[i].guest_address;
  return self;
}

VhostMemoryMapping *
vhost_memory_find_user (VhostMemory *self, guint64 user_address)
{
  VhostMemoryMapping *mapping;

  if (self->n_regions == 0)
    return NULL;
  mapping = self->by_user
                .mappings[vhost_memory_search (self->by_user.keys, self->n_regions, user_address)];
  return user_address - mapping->info.user_address < mapping->info.size ? mapping : NULL;
}

VhostMemoryMapping *
vhost_memory_find_host (VhostMemory *self, const void *host)
{
  VhostMemoryMapping *mapping;
  guint64 address = (guintptr) host;

  if (self->n_regions == 0)
    return NULL;
  mapping
      = self->by_host.mappings[vhost_memory_search (self->by_host.keys, self->n_regions, address)];
  return address - (guintptr) mapping->host < mapping->info.size ? mapping : NULL;
}

gboolean
vhost_memory_user_to_guest (VhostMemory *self, guint64 user_address, guint64 length,
                            guint64 *guest_address)
{
  const VhostMemoryMapping *mapping = vhost_memory_find_user (self, user_address);
  guint64 offset;

  if (mapping == NULL)
    return FALSE;
  offset = user_address - mapping->info.user_address;
  if (length > mapping->info.size - offset)
    return FALSE;
  *guest_address = mapping->info.guest_address + offset;
  return TRUE;
}

gboolean
vhost_memory_host_to_guest (VhostMemory *self, const void *host, guint64 length,
                            guint64 *guest_address)
{
  const VhostMemoryMapping *mapping = vhost_memory_find_host (self, host);
  guint64 offset;

  if (mapping == NULL)
    return FALSE;
  offset = (guint64) ((const guint8 *) host - mapping->host);
  if (length > mapping->info.size - offset)
    return FALSE;
  *guest_address = mapping->info.guest_address + offset;
  return TRUE;
}

gboolean
vhost_memory_holds (VhostMemory *self, guint64 address, guint64 length, guint access,
                    guint64 *missing)
{
  const VhostMemorySlot *slot = vhost_memory_lookup (self, address);
  const VhostMemorySlot *end = slot != NULL ? self->slots + self->n_slots : NULL;
  guint64 at = address;
  guint64 left = length;

  if (length == 0)
    return TRUE;
  /* As many steps as there are slots, whatever the length. */
  while (slot != NULL && (slot->access & access) == access)
    {
      guint64 here = slot->size - (at - slot->guest_address);

      if (left <= here)
        return TRUE;
      at += here;
      left -= here;
      slot++;
      /* A view's last slot may end where the addresses do: nothing follows it. */
      if (slot == end || slot->guest_address != at)
        slot = NULL;
    }
  if (missing != NULL)
    *missing = at;
  return FALSE;
}
