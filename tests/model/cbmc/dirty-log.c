/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log's bitmap: the bits of a range's pages are set, and no other bit, and no byte
 * outside of the log is touched, whatever the range. */
#define GOALS 3

#include "harness.h"

#include "vhost-dirty-log.c"

#define MOST 24u
#define BEFORE 8u

/* Addresses are guest addresses here. */
VhostMemoryMapping *
vhost_memory_find_host (VhostMemory *self, const void *host)
{
  (void) self, (void) host;
  PROVE (FALSE);
  return NULL;
}

const VhostMemorySlot *
vhost_memory_lookup (VhostMemory *self, guint64 guest_address)
{
  (void) self, (void) guest_address;
  PROVE (FALSE);
  return NULL;
}

/* There is a bitmap here, so nothing is kept for later. */
void
vhost_page_set_add (VhostPageSet *self, guint64 first, guint64 last)
{
  (void) self, (void) first, (void) last;
  PROVE (FALSE);
}

static void
harness (void)
{
  static guint8 *all;
  VhostDirtyLog log = { 0 };
  guint8 before[BEFORE + MOST];
  guint64 address, length, size;
  gboolean covered = TRUE;

  if (all == NULL)
    all = harness_guarded (BEFORE + MOST);
  size = 1 + nondet_uint8 () % MOST;
  log.bits = all + BEFORE + MOST - size;
  log.size = size;
  for (guint i = 0; i < BEFORE + MOST; i++)
    all[i] = before[i] = nondet_uint8 () % 4 == 0 ? nondet_uint8 () : 0;
#ifdef __CPROVER__
  address = nondet_uint64 ();
  length = nondet_uint64 ();
#else
  address = nondet_uint8 () % 8 ? nondet_uint64 () % (size * 8 * VHOST_DIRTY_LOG_PAGE + 8192)
                                : any_address (size * 8 * VHOST_DIRTY_LOG_PAGE);
  length = nondet_uint8 () % 8
               ? nondet_uint64 () % (MOST * 8 * VHOST_DIRTY_LOG_PAGE) >> nondet_uint8 () % 24
               : any_length ();
#endif

  /* At once, or collected, in front of marks past the log's end that want the same place. */
  if (nondet_uint8 () % 2 == 0)
    {
      vhost_dirty_log_mark (&log, address, length);
    }
  else
    {
      const guint64 period = VHOST_DIRTY_BATCH_SIZE * 8 * VHOST_DIRTY_LOG_PAGE;
      VhostDirtyBatch batch = { 0 };
      VhostMemory memory = { 0 };

      if (nondet_uint8 () % 2 == 0)
        batch.marks[address / VHOST_DIRTY_LOG_PAGE / 8 % VHOST_DIRTY_BATCH_SIZE].byte
            = address / VHOST_DIRTY_LOG_PAGE / 8;
      vhost_dirty_log_mark_address (&log, &batch, &memory, address, length);
      for (guint i = nondet_uint8 () % 4; i > 0 && address < period; i--)
        vhost_dirty_log_mark_address (&log, &batch, &memory, address + i * period, 1);
      vhost_dirty_log_commit (&log, &batch);
    }

  for (guint i = 0; i < BEFORE + MOST - size; i++)
    PROVE (all[i] == before[i]);
  for (guint page = 0; page < size * 8; page++)
    {
      unsigned __int128 first = (guint64) page * VHOST_DIRTY_LOG_PAGE;
      gboolean was = (before[BEFORE + MOST - size + page / 8] >> page % 8) & 1;
      gboolean is = (log.bits[page / 8] >> page % 8) & 1;
      gboolean meets = length > 0 && first < (unsigned __int128) address + length
                       && first + VHOST_DIRTY_LOG_PAGE > address;

      PROVE (is == (was || meets));
      if (meets)
        REACHED (0);
    }
  if (length > 0
      && (unsigned __int128) address + length > (unsigned __int128) size * 8 * VHOST_DIRTY_LOG_PAGE)
    covered = FALSE;
  /* A range that wraps around is marked to the last address there is, and not covered. */
  PROVE (vhost_dirty_log_covers (&log, address, length) == covered);
  REACHED (covered ? 1 : 2);
}
