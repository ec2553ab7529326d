/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IF9: recovery of a packed ring's in-flight region from any bytes whatever: no entry outside of
 * the region is touched, no entry belongs to two requests or to one and the free list, and the
 * slots fit into the ring. */
#define GOALS 3

#include "harness.h"

#include "vhost-inflight-packed.c"
#include "vhost-inflight.c"

#define ENTRIES 4u

static VhostInflightPackedArea *memory;
static guint8 *slots;
static guint16 links[ENTRIES], lasts[ENTRIES], nums[ENTRIES];
static VhostInflight area;
static VhostInflightRegion region;

static void
any_area (void)
{
  memory->features = nondet_uint8 () % 16 == 0 ? nondet_uint64 () : 0;
  memory->version = nondet_uint8 () % 16 == 0 ? nondet_uint16 () : nondet_uint8 () % 8 != 0;
  memory->desc_num = nondet_uint8 () % 16 == 0 ? nondet_uint16 () : ENTRIES;
  memory->free_head = any_number (ENTRIES);
  memory->old_free_head = nondet_uint8 () & 1 ? memory->free_head : any_number (ENTRIES);
  memory->positions.word = nondet_uint64 ();
  memory->positions.used_idx = any_number (ENTRIES);
  memory->positions.old_used_idx = any_number (ENTRIES);
  for (guint i = 0; i < ENTRIES; i++)
    memory->desc[i] = (VhostInflightPackedEntry){ .inflight = any_number (1),
                                                  .next = any_number (ENTRIES),
                                                  .last = any_number (ENTRIES),
                                                  .num = any_number (ENTRIES),
                                                  .counter = any_length (),
                                                  .id = nondet_uint16 () };
#ifndef __CPROVER__
  /* Half of them nearly right: what is random alone is refused nearly always. */
  if (nondet_uint8 () & 1)
    {
      guint free_head = nondet_uint8 () % (ENTRIES + 1);

      for (guint i = 0; i < ENTRIES; i++)
        {
          memory->desc[i].inflight = i < free_head;
          memory->desc[i].num = 1;
          memory->desc[i].last = i;
          memory->desc[i].next = i + 1;
        }
      memory->free_head = memory->old_free_head = free_head;
      if (free_head > 1 && (nondet_uint8 () & 1))
        {
          memory->desc[0].num = 2;
          memory->desc[0].last = 1;
          memory->desc[1].inflight = nondet_uint8 () % 4 == 0;
        }
      if (nondet_uint8 () & 1)
        memory->desc[nondet_uint8 () % ENTRIES].next = any_number (ENTRIES);
    }
#endif
}

static void
harness (void)
{
  GError *error = NULL;
  guint seen = 0, count = 0;
  guint16 available, used;
  gboolean available_wrap, used_wrap;
  guint at;

  if (memory == NULL)
    {
      memory = harness_guarded (sizeof *memory + ENTRIES * sizeof memory->desc[0]);
      slots = harness_guarded (ENTRIES * RING_SLOT);
    }
  any_area ();
  for (guint i = 0; i < ENTRIES * RING_SLOT; i++)
    slots[i] = nondet_uint8 ();
  free (region.requests);
  memset (&area, 0, sizeof area);
  memset (&region, 0, sizeof region);
  region.area = &area;
  region.packed = memory;
  region.next = links;
  region.last = lasts;
  region.num = nums;
  region.desc_num = ENTRIES;
  region.size = nondet_uint8 () & 1 ? ENTRIES : ENTRIES - 1;
  memset (nums, 0, sizeof nums);

  if (!vhost_inflight_packed_recover (&region, slots, nondet_uint32 () & 0x80038003u, &error))
    {
      PROVE (error != NULL);
      REACHED (0);
      return;
    }
  PROVE (error == NULL);
  /* Free entries and requests together are all entries, each once. */
  at = region.free_head;
  for (guint i = 0; i < region.n_free; i++)
    {
      PROVE (at < ENTRIES && (seen >> at & 1) == 0);
      seen |= 1u << at;
      at = links[at];
    }
  PROVE (at == ENTRIES);
  for (guint i = 0; i < region.n_requests; i++)
    {
      VhostInflightDescriptor descriptor;
      VhostInflightRequest request = region.requests[i];

      at = request.head;
      PROVE (request.slots > 0);
      for (guint step = 0; step < request.slots; step++)
        {
          PROVE (at < ENTRIES && (seen >> at & 1) == 0);
          seen |= 1u << at;
          PROVE (vhost_inflight_packed_get (&region, request.head, step, &descriptor));
          PROVE (region.cursor_at == at);
          at = links[at];
        }
      PROVE (!vhost_inflight_packed_get (&region, request.head, request.slots, &descriptor));
      count += request.slots;
    }
  PROVE (seen == (1u << ENTRIES) - 1);
  PROVE (count <= region.size && count == region.slots);
  vhost_inflight_packed_get_positions (&region, &available, &available_wrap, &used, &used_wrap);
  PROVE (available < region.size && used < region.size);
  PROVE ((guint) (available + (available_wrap != used_wrap) * region.size - used) == count);
  REACHED (region.n_requests > 0 ? 1 : 2);
  /* What was settled stays so. */
  PROVE (vhost_inflight_packed_recover (&region, slots, 0, &error));
  PROVE (region.slots == count);
}
