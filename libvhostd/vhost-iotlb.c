/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of a vIOMMU's translations, and the view of guest memory that follows from it. Must not
 * know rings or messages, and must not keep places in this process: regions come and go, user
 * addresses are what the front-end has said.
 *
 * How it works: the ranges stand in one array, ascending and apart. Each change is the same step:
 * what a new range overlaps is cut out, at most two ends of it stay, and the new range (or none)
 * takes the place. Ends are kept as last bytes, since a range may reach the end of the address
 * space. */
#include "config.h"

#include "vhost-iotlb-private.h"

#include <string.h>

#include "vhost-error.h"

/* One range may span several regions. More slots than this come only from many ranges that each
 * span many regions; what is beyond stays a miss. */
#define MAX_SLOTS (4 * VHOST_IOTLB_MAX_ENTRIES)

typedef struct
{
  guint64 iova;
  guint64 last; /* byte */
  guint64 user_address;
  guint64 age; /* the smallest is the oldest */
  guint access;
} Entry;

struct _VhostIotlb
{
  /* One change adds two at most: a range of its own, and the second end of one that it cuts. */
  Entry entries[VHOST_IOTLB_MAX_ENTRIES + 2];
  guint n;
  guint64 updates;
};

VhostIotlb *
vhost_iotlb_new (void)
{
  return g_new0 (VhostIotlb, 1);
}

void
vhost_iotlb_free (VhostIotlb *self)
{
  g_free (self);
}

void
vhost_iotlb_clear (VhostIotlb *self)
{
  self->n = 0;
}

guint
vhost_iotlb_get_n_entries (VhostIotlb *self)
{
  return self->n;
}

static void
forget_oldest (VhostIotlb *self)
{
  guint oldest = 0;

  for (guint i = 1; i < self->n; i++)
    if (self->entries[i].age < self->entries[oldest].age)
      oldest = i;
  self->n--;
  memmove (&self->entries[oldest], &self->entries[oldest + 1],
           (self->n - oldest) * sizeof *self->entries);
}

/* The first range that ends at @address or later; n: none. */
static guint
find_first (VhostIotlb *self, guint64 address)
{
  guint low = 0;
  guint high = self->n;

  while (low < high)
    {
      guint middle = (low + high) / 2;

      if (self->entries[middle].last < address)
        low = middle + 1;
      else
        high = middle;
    }
  return low;
}

/* Puts @entry (nullable: nothing) in place of all from @first to @last. TRUE: something was there.
 */
static gboolean
replace (VhostIotlb *self, guint64 first, guint64 last, const Entry *entry)
{
  guint begin = find_first (self, first);
  guint end = begin;
  Entry pieces[3];
  guint n = 0;

  while (end < self->n && self->entries[end].iova <= last)
    end++;
  if (end > begin && self->entries[begin].iova < first)
    {
      pieces[n] = self->entries[begin];
      pieces[n++].last = first - 1;
    }
  if (entry != NULL)
    pieces[n++] = *entry;
  if (end > begin && self->entries[end - 1].last > last)
    {
      Entry *rest = &pieces[n++];

      *rest = self->entries[end - 1];
      rest->user_address += last + 1 - rest->iova;
      rest->iova = last + 1;
    }

  memmove (&self->entries[begin + n], &self->entries[end], (self->n - end) * sizeof *pieces);
  memcpy (&self->entries[begin], pieces, n * sizeof *pieces);
  self->n += n - (end - begin);
  while (self->n > VHOST_IOTLB_MAX_ENTRIES)
    forget_oldest (self);
  return end > begin;
}

/* Whether all of the range is in regions that follow each other. */
static gboolean
check_user_range (VhostMemory *memory, guint64 user_address, guint64 size)
{
  for (;;)
    {
      VhostMemoryMapping *mapping = vhost_memory_find_user (memory, user_address);
      guint64 here;

      if (mapping == NULL)
        return FALSE;
      here = mapping->info.size - (user_address - mapping->info.user_address);
      if (size <= here)
        return TRUE;
      size -= here;
      user_address += here; /* regions' ends do not wrap */
    }
}

gboolean
vhost_iotlb_update (VhostIotlb *self, VhostMemory *memory, guint64 iova, guint64 size,
                    guint64 user_address, guint access, GError **error)
{
  Entry entry;

  if (size == 0 || size - 1 > G_MAXUINT64 - iova)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the translation of I/O address 0x%" G_GINT64_MODIFIER "x has size "
                   "0x%" G_GINT64_MODIFIER "x, which is 0 or reaches beyond the last address",
                   iova, size);
      return FALSE;
    }
  if (access == 0 || (access & ~(VHOST_MEMORY_READ | VHOST_MEMORY_WRITE)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the translation of I/O address 0x%" G_GINT64_MODIFIER
                   "x has permission %u; only 1 (read), 2 (write) and 3 (both) are known",
                   iova, access);
      return FALSE;
    }
  if (!check_user_range (memory, user_address, size))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the translation of I/O address 0x%" G_GINT64_MODIFIER "x to user address "
                   "0x%" G_GINT64_MODIFIER "x, 0x%" G_GINT64_MODIFIER
                   "x bytes, is not wholly inside the shared memory regions",
                   iova, user_address, size);
      return FALSE;
    }

  entry = (Entry){ iova, iova + (size - 1), user_address, self->updates++, access };
  replace (self, entry.iova, entry.last, &entry);
  return TRUE;
}

gboolean
vhost_iotlb_contradicts (VhostIotlb *self, guint64 iova, guint64 size, guint64 user_address,
                         guint access)
{
  guint64 last = iova + (size - 1);

  if (size == 0 || size - 1 > G_MAXUINT64 - iova)
    return FALSE; /* it will be refused */
  for (guint i = find_first (self, iova); i < self->n && self->entries[i].iova <= last; i++)
    /* The same distance, wherever they begin; it may be negative, and wraps alike. */
    if (self->entries[i].user_address - self->entries[i].iova != user_address - iova
        || (self->entries[i].access & ~access) != 0)
      return TRUE;
  return FALSE;
}

gboolean
vhost_iotlb_invalidate (VhostIotlb *self, guint64 iova, guint64 size)
{
  guint64 last;

  if (size == 0 && iova != 0)
    return FALSE;
  last = size == 0 || size - 1 > G_MAXUINT64 - iova ? G_MAXUINT64 : iova + (size - 1);
  return replace (self, iova, last, NULL);
}

/* How far it is from @user_address, where no region is, to the next region; G_MAXUINT64: none. */
static guint64
get_hole (VhostMemory *memory, guint64 user_address)
{
  const guint64 *keys = memory->by_user.keys;
  guint at;

  if (memory->n_regions == 0)
    return G_MAXUINT64;
  at = vhost_memory_search (keys, memory->n_regions, user_address);
  if (keys[at] < user_address)
    at++;
  return at < memory->n_regions ? keys[at] - user_address : G_MAXUINT64;
}

/* The slots of @entry behind @n others in @slots; returns their new number. */
static guint
add_slots (const Entry *entry, VhostMemory *memory, VhostMemorySlot *slots, guint n)
{
  guint64 at = entry->iova;

  while (n < MAX_SLOTS)
    {
      guint64 user_address = entry->user_address + (at - entry->iova);
      VhostMemoryMapping *mapping = vhost_memory_find_user (memory, user_address);
      guint64 left = entry->last - at; /* less one */
      guint64 offset, here;
      guint8 *host;
      VhostMemorySlot *before;

      if (mapping == NULL)
        {
          /* Its region is gone since the update. */
          guint64 hole = get_hole (memory, user_address);

          if (hole > left)
            return n;
          at += hole;
          continue;
        }
      offset = user_address - mapping->info.user_address;
      here = mapping->info.size - offset;
      if (left < here)
        here = left + 1;
      host = mapping->host + offset;

      before = n > 0 ? &slots[n - 1] : NULL;
      /* Regions may be neighbours in this process by chance: a slot stays in one. */
      if (before != NULL && before->guest_address + before->size == at
          && before->host + before->size == host && before->access == entry->access && offset > 0)
        before->size += here;
      else
        slots[n++] = (VhostMemorySlot){ at, here, host, entry->access };
      if (left < here)
        return n;
      at += here;
    }
  return n;
}

VhostMemory *
vhost_iotlb_build_view (VhostIotlb *self, VhostMemory *memory)
{
  g_autofree VhostMemorySlot *slots = g_new (VhostMemorySlot, MAX_SLOTS);
  guint n = 0;

  for (guint i = 0; i < self->n; i++)
    n = add_slots (&self->entries[i], memory, slots, n);
  return vhost_memory_new_view (memory, slots, n);
}
