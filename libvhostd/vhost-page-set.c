/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages were written while nobody had a log for them. Must not lose a page, and must not use
 * more memory than VHOST_PAGE_SET_MAX allows, whatever is added.
 *
 * How it works: a hash table with open addressing, at most half full. When it is full at its
 * largest size, two neighbouring units become one, as often as it takes to halve their number; as
 * keys have 52 bits this happens a few dozen times at most. A set that has become coarse has more
 * pages than were added: they are sent once more than needed, which is no harm. */
#include "config.h"

#include "vhost-page-set-private.h"

#define FIRST_CAPACITY 256u
#define LAST_CAPACITY (2 * VHOST_PAGE_SET_MAX)

void
vhost_page_set_clear (VhostPageSet *self)
{
  g_free (self->keys);
  *self = (VhostPageSet){ 0 };
}

/* FALSE: it was there. */
static gboolean
insert (VhostPageSet *self, guint64 unit)
{
  /* Fibonacci hashing: neighbouring pages spread over the table. */
  guint64 hash = unit * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);
  guint at = (guint) (hash >> 32) & (self->capacity - 1);

  while (self->keys[at] != 0)
    {
      if (self->keys[at] == unit + 1)
        return FALSE;
      at = (at + 1) & (self->capacity - 1);
    }
  self->keys[at] = unit + 1;
  self->n++;
  return TRUE;
}

/* The same set in a table of @capacity, in units 2^@coarser times as large. */
static void
rebuild (VhostPageSet *self, guint capacity, guint coarser)
{
  VhostPageSet old = *self;

  self->keys = g_new0 (guint64, capacity);
  self->capacity = capacity;
  self->shift += coarser;
  self->n = 0;
  for (guint i = 0; i < old.capacity; i++)
    if (old.keys[i] != 0)
      insert (self, (old.keys[i] - 1) >> coarser);
  g_free (old.keys);
}

static void
make_room (VhostPageSet *self)
{
  if (self->n < self->capacity / 2)
    return;
  if (self->capacity < LAST_CAPACITY)
    {
      rebuild (self, MAX (2 * self->capacity, FIRST_CAPACITY), 0);
      return;
    }
  while (self->n > VHOST_PAGE_SET_MAX / 2)
    rebuild (self, LAST_CAPACITY, 1);
}

void
vhost_page_set_add (VhostPageSet *self, guint64 first, guint64 last)
{
  guint64 page = first;

  /* A long range makes the units larger as it goes, so the steps are bounded too. */
  while (page <= last)
    {
      make_room (self);
      insert (self, page >> self->shift);
      page = ((page >> self->shift) + 1) << self->shift;
    }
}

void
vhost_page_set_foreach (const VhostPageSet *self,
                        void (*function) (guint64 first, guint64 last, gpointer data),
                        gpointer data)
{
  for (guint i = 0; i < self->capacity; i++)
    if (self->keys[i] != 0)
      {
        guint64 first = (self->keys[i] - 1) << self->shift;

        function (first, first + (G_GUINT64_CONSTANT (1) << self->shift) - 1, data);
      }
}
