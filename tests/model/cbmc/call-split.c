/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* V31: the driver of a split ring is called when, and only when, the entry that used_event names is
 * among those since the last decision; compared with a count, one by one. */
#define GOALS 3

#include "walk.h"

#include "vhost-ring-split.c"

static void
harness (void)
{
  static guint16 available[2 + RING_SIZE + 1];
  static guint32 used[1 + 2 * RING_SIZE + 1];
  guint16 old = nondet_uint16 (), event;
  guint32 count
      = nondet_uint8 () % 64 ? nondet_uint8 () % (2 * RING_SIZE) : nondet_uint32 () % 70000;
  gboolean wanted = FALSE, first = nondet_uint8 () % 16 == 0;

#ifdef __CPROVER__
  ASSUME (count <= 2 * RING_SIZE);
#endif
  memset (&ring, 0, sizeof ring);
  ring.memory = &memory;
  ring.size = RING_SIZE;
  ring.mask = RING_SIZE - 1;
  ring.event_idx = TRUE;
  ring.available = (gpointer) available;
  ring.used = (gpointer) used;
  ring.called_valid = !first;
  ring.called_used = old;
  ring.exposed_used = old;
  ring.next_used = (guint16) (old + count);
  ring.n_uncalled = count;
  event = (guint16) (old + any_number (2 * RING_SIZE) - 2);
  available[2 + RING_SIZE] = event;

  /* An entry that stands at the named place: it was index @event when it was pushed. */
  for (guint32 i = 0; i < count; i++)
    wanted = wanted || (guint16) (old + i) == event;
  wanted = count > 0 && (wanted || first);

  PROVE (split_publish (&ring) == wanted);
  PROVE (ring.n_uncalled == 0);
  PROVE (count == 0 || ((struct _VhostSplitUsed *) (gpointer) used)->index == ring.next_used);
  /* Nothing new: no call, whatever the driver writes there now. */
  available[2 + RING_SIZE] = nondet_uint16 ();
  PROVE (!split_publish (&ring));
  /* One more: only its own place counts, since the others had their decision. */
  ring.next_used++;
  ring.n_uncalled = 1;
  event = (guint16) (old + any_number (3 * RING_SIZE) - 2);
  available[2 + RING_SIZE] = event;
  PROVE (split_publish (&ring)
         == (event == (guint16) (ring.next_used - 1) || (first && count == 0)));
  REACHED (count > G_MAXUINT16 ? 2 : wanted);
}
