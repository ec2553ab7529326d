/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split layout's pop () before a driver that writes anything, at any time. */
#define GOALS 3

#include "walk.h"

#include "vhost-ring-split.c"

static struct _VhostSplitDescriptor *table;
static struct _VhostSplitAvailable *available;

static void
any_descriptor (void *place)
{
  guint64 address;
  guint32 length;
  struct _VhostSplitDescriptor descriptor
      = { .flags = any_flags (), .next = any_number (RING_SIZE) };

  any_buffer (&address, &length);
  descriptor.address = address;
  descriptor.length = length;
  memcpy (place, &descriptor, sizeof descriptor);
}

#ifndef __CPROVER__
static void
scribble (void)
{
  guint at = nondet_uint8 () % (RING_SIZE + REGION_0 / 16 + REGION_1 / 16);

  if (at < RING_SIZE)
    any_descriptor (&table[at]);
  else if (at < RING_SIZE + REGION_0 / 16)
    any_descriptor (region[0] + (at - RING_SIZE) * 16);
  else
    any_descriptor (region[1] + (at - RING_SIZE - REGION_0 / 16) * 16);
}
#endif

static void
harness (void)
{
  guint8 before[RING_SIZE];
  GError *error = NULL;
  VhostRingResult result;
  guint16 next, used;

  walk_memory ();
  walk_ring ();
  if (table == NULL)
    {
      table = harness_guarded (RING_SIZE * sizeof *table);
      available = harness_guarded (sizeof *available + 2 * RING_SIZE);
    }
  for (guint i = 0; i < RING_SIZE; i++)
    {
      any_descriptor (&table[i]);
      available->ring[i] = any_number (RING_SIZE);
    }
  for (guint i = 0; i < REGION_0; i += 16)
    any_descriptor (region[0] + i);
  for (guint i = 0; i < REGION_1; i += 16)
    any_descriptor (region[1] + i);
#ifndef __CPROVER__
  harness_scribble = nondet_uint8 () & 1 ? scribble : NULL;
#endif

  ring.descriptors = table;
  ring.available = available;
  used = nondet_uint16 ();
  next = (guint16) (used + any_number (RING_SIZE));
  ASSUME ((guint16) (next - used) <= RING_SIZE);
  ring.next_used = used;
  ring.next_available = ring.seen_available = next;
  available->index = (guint16) (next + any_number (RING_SIZE));
  memcpy (before, in_flight, sizeof before);

  result = split_pop (&ring, &chain, &error);

  walk_check (result, error, before);
  PROVE (ring.next_available == (guint16) (next + (result == VHOST_RING_TAKEN)));
  PROVE ((guint16) (ring.seen_available - used) <= RING_SIZE);
  if (result == VHOST_RING_VIOLATION)
    REACHED (1);
  if (result == VHOST_RING_AGAIN)
    REACHED (2);
}
