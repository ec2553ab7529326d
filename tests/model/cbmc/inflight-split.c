/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IF5: recovery of a split ring's in-flight region from any bytes whatever, and what is tracked
 * afterwards: no entry outside of the region is touched, each request is named once, and a second
 * recovery finds what the first one left. */
#define GOALS 3

#include "harness.h"

#include "vhost-inflight-split.c"
#include "vhost-inflight.c"

#define ENTRIES 4u

static VhostInflightSplitArea *memory;
static guint16 links[ENTRIES];
static VhostInflight area;
static VhostInflightRegion region;

static void
any_area (void)
{
  memory->features = nondet_uint8 () % 16 == 0 ? nondet_uint64 () : 0;
  memory->version = nondet_uint8 () % 16 == 0 ? nondet_uint16 () : nondet_uint8 () % 8 != 0;
  memory->desc_num = nondet_uint8 () % 16 == 0 ? nondet_uint16 () : ENTRIES;
  memory->last_batch_head = any_number (ENTRIES);
  memory->used_idx = any_number (ENTRIES);
  for (guint i = 0; i < ENTRIES; i++)
    memory->desc[i] = (VhostInflightSplitEntry){ .inflight = any_number (1),
                                                 .next = any_number (ENTRIES),
                                                 .counter = any_length () };
}

static void
harness (void)
{
  GError *error = NULL;
  guint16 used = any_number (ENTRIES);
  guint seen = 0;
  guint64 last = 0;

  if (memory == NULL)
    memory = harness_guarded (sizeof *memory + ENTRIES * sizeof memory->desc[0]);
  any_area ();
  free (region.requests);
  memset (&area, 0, sizeof area);
  memset (&region, 0, sizeof region);
  region.area = &area;
  region.split = memory;
  region.next = links;
  region.desc_num = ENTRIES;
  region.size = nondet_uint8 () & 1 ? ENTRIES : ENTRIES / 2;

  if (!vhost_inflight_split_recover (&region, used, &error))
    {
      PROVE (error != NULL);
      REACHED (0);
      return;
    }
  PROVE (error == NULL);
  PROVE (region.n_requests <= region.size);
  PROVE (memory->used_idx == used && memory->version == VHOST_INFLIGHT_VERSION);
  PROVE (region.available == (guint16) (used + region.n_requests));
  for (guint i = 0; i < region.n_requests; i++)
    {
      guint16 head = region.requests[i].head;

      PROVE (head < region.size);
      PROVE ((seen >> head & 1) == 0);
      PROVE (memory->desc[head].inflight != 0);
      PROVE (memory->desc[head].counter >= last);
      seen |= 1u << head;
      last = memory->desc[head].counter;
    }
  for (guint i = 0; i < ENTRIES; i++)
    PROVE ((memory->desc[i].inflight != 0) == (seen >> i & 1));

  /* All of them end in one batch, and one more is taken, which the next process finds alone. */
  for (guint i = 0; i < region.n_requests; i++)
    vhost_inflight_split_push (&region, region.requests[i].head);
  used += region.n_requests;
  if (nondet_uint8 () & 1)
    {
      /* Stopped behind the ring's store: the next recovery ends it. */
      REACHED (1);
    }
  else
    {
      vhost_inflight_split_published (&region, used);
      vhost_inflight_split_take (&region, 0);
      REACHED (2);
    }
  seen = memory->desc[0].inflight != 0 && memory->used_idx == used && region.n_batch == 0;
  PROVE (vhost_inflight_split_recover (&region, used, &error));
  PROVE (region.n_requests == seen);
}
