/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* V35: the driver of a packed ring is called when, and only when, the slot that its event area
 * names was passed, in that round, since the last decision; compared with a walk, slot by slot. */
#define GOALS 3

#include "walk.h"

#include "vhost-ring-packed.c"

static void
harness (void)
{
  static struct _VhostPackedDescriptor descriptors[8];
  guint32 size = 1 + nondet_uint8 () % 8, count = nondet_uint8 () % 20;
  guint32 driver_event;
  guint16 at, slot, offset;
  gboolean round, event_wrap, wanted = FALSE, first = nondet_uint8 () % 16 == 0;
  guint mode = nondet_uint8 () & 3u;

  memset (&ring, 0, sizeof ring);
  ring.memory = &memory;
  ring.size = size;
  ring.event_idx = nondet_uint8 () % 8 != 0;
  ring.slots = descriptors;
  ring.driver_event = &driver_event;
  at = slot = nondet_uint8 () % size;
  round = nondet_uint8 () & 1;
  offset = nondet_uint8 () % 16 == 0 ? nondet_uint16 () & 0x7fff : nondet_uint8 () % size;
  event_wrap = nondet_uint8 () & 1;
  driver_event = mode << 16 | (event_wrap ? EVENT_WRAP : 0) | offset;

  for (guint32 i = 0; i < count; i++)
    {
      wanted = wanted || (slot == offset && round == event_wrap);
      if (++slot == size)
        {
          slot = 0;
          round = !round;
        }
    }
  /* More than a round since then is more than the event area can say; so is another slot. */
  if (first || count > size || offset >= size || !ring.event_idx || mode == EVENT_ENABLE
      || mode == 3)
    wanted = TRUE;
  wanted = wanted && count > 0 && mode != EVENT_DISABLE;

  ring.called_used = at;
  ring.called_valid = !first;
  ring.next_used = slot;
  ring.used_wrap = round;
  ring.n_uncalled = count;
  PROVE (packed_publish (&ring) == wanted);
  PROVE (!packed_publish (&ring));
  /* One more: only its own slot counts, since the others had their decision. */
  driver_event = EVENT_ONE << 16 | (event_wrap ? EVENT_WRAP : 0) | offset;
  wanted = (first && count == 0) || offset >= size || !ring.event_idx
           || (slot == offset && round == event_wrap);
  if (++slot == size)
    {
      slot = 0;
      round = !round;
    }
  ring.next_used = slot;
  ring.used_wrap = round;
  ring.n_uncalled = 1;
  PROVE (packed_publish (&ring) == wanted);
  REACHED (count == size ? 2 : wanted);
}
