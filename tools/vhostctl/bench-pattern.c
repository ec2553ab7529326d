/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Contents of the blocks that bench writes and finds again. Must be cheap: the same processors
 * serve the disk.
 *
 * How it works: every 512 bytes begin with a seed mark, the offset of these 512 bytes on the disk
 * and the generation (how often the block was written); the rest is a progression whose start and
 * step depend on all three. Misdirected, lost, torn and stale writes all differ, and from the first
 * three words a person learns which it was. */
#include "bench-pattern.h"

#include <string.h>

#define SECTOR_SIZE 512
#define WORDS (SECTOR_SIZE / sizeof (guint64))
#define MARK G_GUINT64_CONSTANT (0x76686f7374640a1a)

typedef guint64 Sector[WORDS];

static inline guint64
mix (guint64 x)
{
  x = (x ^ (x >> 30)) * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * G_GUINT64_CONSTANT (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline void
fill_sector (guint64 *words, guint64 seed, guint64 offset, guint32 generation)
{
  const guint64 start = mix (seed ^ mix (offset ^ mix (generation)));
  const guint64 step = start | 1;

  words[0] = MARK ^ seed;
  words[1] = offset;
  words[2] = generation;
  for (guint i = 3; i < WORDS; i++)
    words[i] = start + i * step;
}

void
bench_pattern_fill (gpointer data, gsize size, guint64 seed, guint64 offset, guint32 generation)
{
  Sector *sectors = data;

  for (gsize i = 0; i < size / SECTOR_SIZE; i++)
    fill_sector (sectors[i], seed, offset + i * SECTOR_SIZE, generation);
}

gboolean
bench_pattern_check (gconstpointer data, gsize size, guint64 seed, guint64 offset,
                     guint32 generation)
{
  const Sector *sectors = data;
  Sector wanted;

  for (gsize i = 0; i < size / SECTOR_SIZE; i++)
    {
      fill_sector (wanted, seed, offset + i * SECTOR_SIZE, generation);
      if (memcmp (sectors[i], wanted, SECTOR_SIZE) != 0)
        return FALSE;
    }
  return TRUE;
}

void
bench_pattern_spoil (gpointer data, gsize size)
{
  Sector *sectors = data;

  for (gsize i = 0; i < size / SECTOR_SIZE; i++)
    sectors[i][0] = sectors[i][WORDS - 1] = ~MARK;
}

char *
bench_pattern_explain (gconstpointer data, gsize size, guint64 seed, guint64 offset,
                       guint32 generation)
{
  const Sector *sectors = data;
  gboolean all_zero = TRUE;
  Sector wanted;
  gsize at = 0;
  guint byte = 0;

  while (at < size / SECTOR_SIZE)
    {
      fill_sector (wanted, seed, offset + at * SECTOR_SIZE, generation);
      if (memcmp (sectors[at], wanted, SECTOR_SIZE) != 0)
        break;
      at++;
    }
  /* The device can write into its own request's buffer for as long as it likes. */
  if (at == size / SECTOR_SIZE)
    return g_strdup ("the data changed after the request was complete");
  offset += at * SECTOR_SIZE;
  for (guint i = 0; i < WORDS; i++)
    all_zero = all_zero && sectors[at][i] == 0;

  if (all_zero)
    return g_strdup_printf ("zeros at offset %" G_GUINT64_FORMAT
                            ", where write %u of the block was",
                            offset, generation);
  if (sectors[at][0] == ~MARK)
    return g_strdup_printf ("nothing was read at offset %" G_GUINT64_FORMAT
                            ": the request succeeded without data",
                            offset);
  if (sectors[at][0] == (MARK ^ seed) && sectors[at][1] != offset)
    return g_strdup_printf ("the data of offset %" G_GUINT64_FORMAT " (write %" G_GUINT64_FORMAT
                            ") lie at offset %" G_GUINT64_FORMAT,
                            sectors[at][1], sectors[at][2], offset);
  if (sectors[at][0] == (MARK ^ seed) && sectors[at][2] != generation)
    return g_strdup_printf ("write %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT
                            ", but write %u was the last",
                            sectors[at][2], offset, generation);

  while (byte < SECTOR_SIZE - 1
         && ((const guint8 *) sectors[at])[byte] == ((const guint8 *) wanted)[byte])
    byte++;
  return g_strdup_printf ("byte at offset %" G_GUINT64_FORMAT " is 0x%02x, must be 0x%02x",
                          offset + byte, ((const guint8 *) sectors[at])[byte],
                          ((const guint8 *) wanted)[byte]);
}
