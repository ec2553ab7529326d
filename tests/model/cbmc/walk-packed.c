/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packed layout's pop () before a driver that writes anything, at any time. */
#define GOALS 3

#include "walk.h"

#include "vhost-ring-packed.c"

static struct _VhostPackedDescriptor *descriptors;

static void
any_descriptor (void *place)
{
  guint64 address;
  guint32 length;
  struct _VhostPackedDescriptor descriptor
      = { .id = any_number (RING_SIZE), .flags = any_flags () };

  if (nondet_uint8 () & 1)
    descriptor.flags |= FLAG_AVAILABLE;
  else
    descriptor.flags |= nondet_uint8 () & 1 ? FLAG_USED : 0;
  any_buffer (&address, &length);
  descriptor.address = address;
  descriptor.length = length;
  memcpy (place, &descriptor, sizeof descriptor);
}

#ifndef __CPROVER__
static void
scribble (void)
{
  guint at = nondet_uint8 () % (RING_SIZE + REGION_0 / 16);

  if (at < RING_SIZE)
    any_descriptor (&descriptors[at]);
  else
    any_descriptor (region[0] + (at - RING_SIZE) * 16);
}
#endif

static void
harness (void)
{
  guint8 before[RING_SIZE];
  GError *error = NULL;
  VhostRingResult result;
  guint32 busy, position;

  walk_memory ();
  walk_ring ();
  if (descriptors == NULL)
    descriptors = harness_guarded (RING_SIZE * sizeof *descriptors);
  for (guint i = 0; i < RING_SIZE; i++)
    any_descriptor (&descriptors[i]);
  for (guint i = 0; i < REGION_0; i += 16)
    any_descriptor (region[0] + i);
  for (guint i = 0; i < REGION_1; i += 16)
    any_descriptor (region[1] + i);
#ifndef __CPROVER__
  harness_scribble = nondet_uint8 () & 1 ? scribble : NULL;
#endif

  ring.slots = descriptors;
  ring.next_available = nondet_uint8 () % RING_SIZE;
  ring.available_wrap = nondet_uint8 () & 1;
  ring.slots_in_flight = busy = nondet_uint8 () % (RING_SIZE + 1);
  position = ring.next_available;
  memcpy (before, in_flight, sizeof before);

  result = packed_pop (&ring, &chain, &error);

  walk_check (result, error, before);
  PROVE (ring.next_available < RING_SIZE && ring.slots_in_flight <= RING_SIZE);
  if (result == VHOST_RING_TAKEN)
    {
      PROVE (chain.n_slots >= 1 && chain.n_slots == ring.slots_in_flight - busy);
      PROVE (ring.next_available == (position + chain.n_slots) % RING_SIZE);
    }
  else
    PROVE (ring.next_available == position && ring.slots_in_flight == busy);
  if (result == VHOST_RING_VIOLATION)
    REACHED (1);
  if (result == VHOST_RING_AGAIN)
    REACHED (2);
}
