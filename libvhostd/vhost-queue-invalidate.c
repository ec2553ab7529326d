/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a queue does when a vIOMMU takes translations away. Must not wait itself, and must not hold
 * up requests that use other addresses: a back-end may keep those for as long as it likes.
 *
 * How it works: requests hold places in this process, not I/O addresses. Their old view says which
 * places the addresses led to; a request that uses one of them moves to a map of its own that is
 * awaited, over the same memory. Another address of the same place counts as well, which only makes
 * the wait longer. */
#include "config.h"

#include "vhost-queue-private.h"

/* What a request may use in this process: from @begin to before @end. */
typedef struct
{
  const guint8 *begin;
  const guint8 *end;
} Place;

static int
compare_places (gconstpointer a, gconstpointer b)
{
  const Place *x = a;
  const Place *y = b;

  return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Where @iova to @last led to in @view: ascending, and apart. */
static GArray *
find_places (VhostMemory *view, guint64 iova, guint64 last)
{
  GArray *places = g_array_new (FALSE, FALSE, sizeof (Place));
  guint n = 0;

  for (guint i = 0; i < view->n_slots; i++)
    {
      const VhostMemorySlot *slot = &view->slots[i];
      guint64 slot_last = slot->guest_address + (slot->size - 1);
      guint64 from = MAX (iova, slot->guest_address);
      Place place;

      if (slot->size == 0 || from > MIN (last, slot_last))
        continue;
      place.begin = slot->host + (from - slot->guest_address);
      place.end = slot->host + (MIN (last, slot_last) - slot->guest_address) + 1;
      g_array_append_val (places, place);
    }
  g_array_sort (places, compare_places);
  for (guint i = 0; i < places->len; i++)
    {
      Place place = g_array_index (places, Place, i);
      Place *before = n > 0 ? &g_array_index (places, Place, n - 1) : NULL;

      if (before != NULL && place.begin <= before->end)
        before->end = MAX (before->end, place.end);
      else
        g_array_index (places, Place, n++) = place;
    }
  g_array_set_size (places, n);
  return places;
}

/* The length that segment @i had when it was popped, or more: whoever has the chain may be
 * splitting status bytes off the last ones right now. Too much only waits for one request more. */
static gsize
get_length (const VhostChain *chain, guint i)
{
  gsize length = __atomic_load_n (&chain->segments[i].iov_len, __ATOMIC_ACQUIRE);
  guint n_status = __atomic_load_n (&chain->n_status, __ATOMIC_RELAXED);

  return i + 1 + n_status < chain->n_segments ? length : length + chain->writable_total;
}

static gboolean
uses_places (const VhostChain *chain, const GArray *places)
{
  for (guint i = 0; i < chain->n_segments; i++)
    {
      const guint8 *begin = chain->segments[i].iov_base;
      const guint8 *end = begin + get_length (chain, i);
      guint low = 0;
      guint high = places->len;

      while (low < high) /* the first place that ends behind @begin */
        {
          guint middle = (low + high) / 2;

          if (g_array_index (places, Place, middle).end <= begin)
            low = middle + 1;
          else
            high = middle;
        }
      if (low < places->len && g_array_index (places, Place, low).begin < end)
        return TRUE;
    }
  return FALSE;
}

/* The requests of @map that use the addresses, moved to @awaited. */
static void
move_users (VhostQueue *self, VhostQueueMap *map, VhostQueueMap *awaited, guint64 iova,
            guint64 last)
{
  g_autoptr (GArray) places = find_places (map->memory, iova, last);

  for (guint i = 0; i < self->chains->len && places->len > 0; i++)
    {
      VhostChain *chain = g_ptr_array_index (self->chains, i);

      if (chain->map != map || !uses_places (chain, places))
        continue;
      chain->map = awaited;
      map->in_flight--;
      awaited->in_flight++;
    }
}

/* Back to the list, when a request still needs it. */
static void
keep_or_free (VhostQueue *self, VhostQueueMap *map)
{
  if (map->in_flight == 0)
    {
      vhost_queue_map_free (map);
      return;
    }
  map->next = self->old_maps;
  self->old_maps = map;
}

void
vhost_queue_invalidate (VhostQueue *self, VhostMemory *memory, guint64 iova, guint64 last,
                        VhostTask *released)
{
  VhostQueueMap *map;

  vhost_queue_replace_memory (self, memory);
  /* Those of the pool keep the name of a map that may be gone. */
  for (guint i = 0; i < self->n_free_chains; i++)
    self->free_chains[i]->map = NULL;
  map = g_steal_pointer (&self->old_maps);
  while (map != NULL)
    {
      VhostQueueMap *next = map->next;

      if (!map->awaited)
        {
          VhostQueueMap *awaited = g_new0 (VhostQueueMap, 1);

          awaited->memory = vhost_memory_ref (map->memory);
          awaited->awaited = TRUE;
          move_users (self, map, awaited, iova, last);
          keep_or_free (self, awaited);
        }
      keep_or_free (self, map);
      map = next;
    }
  vhost_queue_await (self, released);
}
