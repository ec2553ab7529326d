/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: an in-flight area and a ring with any bytes in them. Recovering either refuses them
 * or finds requests that are each there once and inside the ring; serving them and new ones, and
 * recovering again while the area is written, never leaves the memory or goes on for ever.
 *
 * The input: one byte of layout and size, four of base, 64 of ring flags, then the area's bytes;
 * what is left over is written into the area while it is in use. */
#include "vhost-inflight-layout-private.h"

#include <string.h>
#include <sys/mman.h>

#define RING_MAX 16u
#define HEADER (1u + 4u + 64u)

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

typedef struct
{
  VhostInflight *area;
  guint8 *memory;
  gsize length;
} Area;

static Area areas[2][RING_MAX + 1];

/* Made once for each layout and size. */
static Area *
get_area (gboolean packed, guint size)
{
  Area *self = &areas[packed][size];

  if (self->area == NULL)
    {
      self->area = vhost_inflight_new (1, size, packed, NULL);
      self->length = vhost_inflight_get_size (self->area);
      self->memory = mmap (NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
                           vhost_inflight_get_fd (self->area), 0);
      g_assert_true (self->memory != MAP_FAILED);
    }
  return self;
}

static void
write_more (Area *area, const guint8 **data, gsize *size)
{
  gsize n = MIN (*size, 8);

  if (n < 2)
    return;
  memcpy (area->memory + (*data)[0] % (area->length - 8), *data + 1, n - 1);
  *data += n;
  *size -= n;
}

static void
check_requests (VhostInflightRegion *region, gboolean packed, guint size)
{
  guint n, slots = 0;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (region, &n);
  gboolean seen[RING_MAX] = { FALSE };

  g_assert_cmpuint (n, <=, size);
  for (guint i = 0; i < n; i++)
    {
      g_assert_cmpuint (requests[i].head, <, size);
      g_assert_false (seen[requests[i].head]);
      seen[requests[i].head] = TRUE;
      g_assert_cmpuint (requests[i].slots, >, 0);
      slots += requests[i].slots;
      for (guint k = 0; packed && k < requests[i].slots; k++)
        {
          VhostInflightDescriptor descriptor;

          g_assert_true (vhost_inflight_packed_get (region, requests[i].head, k, &descriptor));
        }
    }
  g_assert_cmpuint (slots, <=, size);
}

static void
serve_split (VhostInflightRegion *region, guint size, guint16 used, Area *area, const guint8 **data,
             gsize *left)
{
  guint n;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (region, &n);

  g_assert_cmpuint (vhost_inflight_split_get_available (region), ==, (guint16) (used + n));
  for (guint i = 0; i < n; i++)
    vhost_inflight_split_push (region, requests[i].head);
  write_more (area, data, left);
  vhost_inflight_split_published (region, (guint16) (used + n));
  for (guint i = 0; i < size; i++)
    vhost_inflight_split_take (region, (guint16) i);
  write_more (area, data, left);
}

static void
serve_packed (VhostInflightRegion *region, guint size, Area *area, const guint8 **data, gsize *left)
{
  VhostInflightDescriptor list[RING_MAX] = { { 0 } };
  guint16 available, used, entries[RING_MAX];
  gboolean available_wrap, used_wrap;
  guint n;
  const VhostInflightRequest *requests = vhost_inflight_region_get_requests (region, &n);

  vhost_inflight_packed_get_positions (region, &available, &available_wrap, &used, &used_wrap);
  g_assert_cmpuint (available, <, size);
  g_assert_cmpuint (used, <, size);
  for (guint i = 0; i < n; i++)
    {
      entries[i] = requests[i].head;
      write_more (area, data, left);
      vhost_inflight_packed_push (region, &entries[i], 1, available, available_wrap);
      vhost_inflight_packed_published (region, &entries[i], 1);
    }
  /* Whatever was done to the area, all entries are free now. */
  for (guint i = 0; i < size; i++)
    {
      entries[i] = vhost_inflight_packed_take (region, list, 1);
      g_assert_cmpuint (entries[i], <, size);
      write_more (area, data, left);
    }
  g_assert_cmpuint (vhost_inflight_packed_take (region, list, 1), ==, G_MAXUINT16);
  vhost_inflight_packed_push (region, entries, size, available, !available_wrap);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  guint8 ring[RING_MAX * 16] __attribute__ ((aligned (16))) = { 0 };
  gboolean packed;
  guint ring_size;
  guint32 base;
  Area *area;
  gsize n;

  if (size < HEADER)
    return 0;
  packed = data[0] & 1;
  ring_size = packed ? 1 + (data[0] >> 1) % RING_MAX : 1u << (data[0] >> 1) % 5;
  memcpy (&base, data + 1, sizeof base);
  for (guint i = 0; i < RING_MAX; i++)
    memcpy (ring + 16 * i + 12, data + 5 + 4 * i, 4);
  data += HEADER;
  size -= HEADER;

  area = get_area (packed, ring_size);
  memset (area->memory, 0, area->length);
  n = MIN (size, area->length);
  if (n > 0)
    memcpy (area->memory, data, n);
  data += n;
  size -= n;

  for (guint round = 0; round < 3; round++)
    {
      g_autoptr (VhostInflightRegion) region
          = vhost_inflight_region_new (area->area, 0, ring_size, NULL);
      g_autoptr (GError) error = NULL;
      gboolean usable = packed ? vhost_inflight_packed_recover (region, ring, base, &error)
                               : vhost_inflight_split_recover (region, (guint16) base, &error);

      if (!usable)
        {
          g_assert_nonnull (error);
          break;
        }
      check_requests (region, packed, ring_size);
      if (packed)
        serve_packed (region, ring_size, area, &data, &size);
      else
        serve_split (region, ring_size, (guint16) base, area, &data, &size);
    }
  return 0;
}
