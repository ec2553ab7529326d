/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regions and ranges, compared with arithmetic that cannot wrap around. */
#define GOALS 4

#include "harness.h"

#include "vhost-memory.c"

#define REGIONS 3u

typedef unsigned __int128 wide;

static gboolean
apart (guint64 a, guint64 a_size, guint64 b, guint64 b_size)
{
  return (wide) a + a_size <= b || (wide) b + b_size <= a;
}

static void
check_table (VhostMemoryRegionInfo *infos)
{
  const VhostMemoryRegionInfo *sorted[REGIONS];
  GError *error = NULL;
  gboolean good = TRUE;

  for (guint i = 0; i < REGIONS; i++)
    {
      sorted[i] = &infos[i];
      for (guint j = 0; j < i; j++)
        good
            = good
              && apart (infos[i].guest_address, infos[i].size, infos[j].guest_address,
                        infos[j].size)
              && apart (infos[i].user_address, infos[i].size, infos[j].user_address, infos[j].size);
    }
  PROVE (check_infos (sorted, REGIONS, &error) == good);
  PROVE ((error == NULL) == good);
  ASSUME (good);
  /* By guest address now, as a map has them. */
  for (guint i = 1; i < REGIONS; i++)
    PROVE (sorted[i - 1]->guest_address < sorted[i]->guest_address);
}

static void
harness (void)
{
  static guint8 host[1];
  VhostMemoryRegionInfo infos[REGIONS];
  VhostMemorySlot slots[REGIONS];
  guint64 keys[REGIONS], address, length, near = nondet_uint64 ();
  VhostMemory memory = { .n_slots = REGIONS, .keys = keys, .slots = slots };
  VhostMemoryCache cache = { 0 };
  const VhostMemorySlot *found;
  guint at = REGIONS;

  for (guint i = 0; i < REGIONS; i++)
    {
      infos[i].size = any_length ();
      infos[i].guest_address = any_address (near);
      infos[i].user_address = any_address (0);
      infos[i].mmap_offset = 0;
      /* vhost_memory_region_info_check () has seen to that. */
      ASSUME (infos[i].size > 0 && infos[i].guest_address <= G_MAXUINT64 - infos[i].size
              && infos[i].user_address <= G_MAXUINT64 - infos[i].size);
    }
  check_table (infos);
  REACHED (0);

  /* Insertion, as in memory_new_take_mappings (). */
  for (guint i = 0; i < REGIONS; i++)
    {
      guint to = i;

      for (; to > 0 && keys[to - 1] > infos[i].guest_address; to--)
        {
          keys[to] = keys[to - 1];
          slots[to] = slots[to - 1];
        }
      keys[to] = infos[i].guest_address;
      slots[to] = (VhostMemorySlot){ infos[i].guest_address, infos[i].size, host, 3 };
    }

  /* Twice: the second time through what the first one has put into the cache. */
  for (guint turn = 0; turn < 3; turn++)
    {
      address = any_address (turn == 2 ? keys[1] : near);
      length = any_length ();
      at = REGIONS;
      for (guint i = 0; i < REGIONS; i++)
        if (address >= keys[i] && (wide) address < (wide) keys[i] + slots[i].size)
          at = i;
      found = vhost_memory_find (&memory, &cache, address);
      PROVE ((found != NULL) == (at < REGIONS));
      if (found == NULL)
        {
          REACHED (1);
          PROVE (vhost_memory_translate (&memory, &cache, address, length) == NULL);
          continue;
        }
      PROVE (found->guest_address == keys[at] && found->size == slots[at].size);
      if ((wide) address + length <= (wide) keys[at] + slots[at].size)
        {
          REACHED (2);
          PROVE (vhost_memory_slot_holds (found, address, length));
          PROVE ((guintptr) vhost_memory_translate (&memory, &cache, address, length)
                 == (guintptr) host + (address - keys[at]));
        }
      else
        {
          REACHED (3);
          PROVE (!vhost_memory_slot_holds (found, address, length));
          PROVE (vhost_memory_translate (&memory, &cache, address, length) == NULL);
        }
    }
}
