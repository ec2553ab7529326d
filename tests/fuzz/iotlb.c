/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: a vIOMMU's table and its views against a naive model, an array with one entry for
 * each unit of the I/O address space. Units are smaller than pages, so nothing can depend on pages.
 *
 * The input: {u8 where the space begins}, then calls of four bytes {u8 what, u8 iova, u8 size, u8
 * to}, all in units; the upper bits of `what` are the access. */
#include "vhost-error.h"
#include "vhost-iotlb-private.h"

#include <sys/mman.h>
#include <unistd.h>

#define UNIT G_GUINT64_CONSTANT (512)
#define UNITS 256u /* of the I/O address space, and of user addresses from UVA on */
#define UVA G_GUINT64_CONSTANT (0x7f0000000000)
#define GONE G_MAXUINT

/* Neighbours for the front-end, two of them not even of whole pages; the guest sees another order.
 */
static const VhostMemoryRegionInfo infos[] = {
  { 64 * 4096, 96 * UNIT, UVA, 0 },
  { 0, 33 * UNIT, UVA + 96 * UNIT, 3 * UNIT },
  { 32 * 4096, 40 * UNIT, UVA + 160 * UNIT, 4096 },
};

typedef struct
{
  VhostIotlb *table;
  VhostMemory *memory;
  gboolean present[G_N_ELEMENTS (infos)];
  guint64 start; /* of the I/O address space */

  guint to[UNITS]; /* unit of user addresses */
  guint access[UNITS];
} State;

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* Which region has this unit of user addresses, in the model's opinion; -1: none. */
static int
region_of (const State *state, guint unit)
{
  guint64 user = UVA + unit * UNIT;

  for (guint i = 0; i < G_N_ELEMENTS (infos); i++)
    if (state->present[i] && user >= infos[i].user_address
        && user < infos[i].user_address + infos[i].size)
      return (int) i;
  return -1;
}

static void
add_region (State *state, guint i)
{
  int fd = memfd_create ("fuzz-iotlb", MFD_CLOEXEC);
  VhostMemory *memory;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) (infos[i].mmap_offset + infos[i].size)), ==, 0);
  memory = vhost_memory_add_take_fd (state->memory, &infos[i], fd, TRUE, NULL);
  g_assert_nonnull (memory);
  vhost_memory_unref (state->memory);
  state->memory = memory;
  state->present[i] = TRUE;
}

static void
toggle_region (State *state, guint i)
{
  if (state->present[i])
    {
      VhostMemory *memory = vhost_memory_remove (state->memory, &infos[i], NULL);

      g_assert_nonnull (memory);
      vhost_memory_unref (state->memory);
      state->memory = memory;
      state->present[i] = FALSE;
    }
  else
    {
      add_region (state, i);
    }
}

static void
update (State *state, guint iova, guint n, guint to, guint access)
{
  g_autoptr (GError) error = NULL;
  gboolean expected = n > 0 && iova + n <= UNITS && access >= 1 && access <= 3;
  gboolean got;

  /* Beyond the model's end it must fail, or is not tried. */
  if (iova + n > UNITS && state->start + UNITS * UNIT != 0)
    return;
  for (guint i = 0; i < n && expected; i++)
    expected = region_of (state, to + i) >= 0;
  got = vhost_iotlb_update (state->table, state->memory, state->start + iova * UNIT, n * UNIT,
                            UVA + to * UNIT, access, &error);
  g_assert_cmpint (got, ==, expected);
  g_assert_true ((error == NULL) == got);
  for (guint i = 0; i < n && got; i++)
    {
      state->to[iova + i] = to + i;
      state->access[iova + i] = access;
    }
}

static void
invalidate (State *state, guint iova, guint n, gboolean to_the_end)
{
  guint64 size = to_the_end ? G_MAXUINT64 : n * UNIT;
  guint end = to_the_end ? UNITS : MIN (iova + n, UNITS);
  gboolean expected = FALSE;

  if (size == 0 && state->start + iova * UNIT == 0)
    end = UNITS;
  for (guint i = iova; i < end; i++)
    {
      expected |= state->to[i] != GONE;
      state->to[i] = GONE;
    }
  g_assert_cmpint (vhost_iotlb_invalidate (state->table, state->start + iova * UNIT, size), ==,
                   expected);
}

static void
check_slots (VhostMemory *view)
{
  for (guint i = 0; i < view->n_slots; i++)
    {
      const VhostMemorySlot *slot = &view->slots[i];
      const VhostMemorySlot *before = i > 0 ? slot - 1 : NULL;
      const VhostMemoryMapping *mapping = vhost_memory_find_host (view, slot->host);

      g_assert_cmpuint (slot->size, >, 0);
      g_assert_nonnull (mapping);
      g_assert_cmpuint (slot->size, <=,
                        mapping->info.size - (guint64) (slot->host - mapping->host));
      if (before == NULL)
        continue;
      g_assert_cmpuint (before->guest_address + (before->size - 1), <, slot->guest_address);
      /* As few as can be: neighbours would be one slot. */
      g_assert_false (before->guest_address + before->size == slot->guest_address
                      && before->access == slot->access && before->host + before->size == slot->host
                      && mapping->host != slot->host);
    }
}

static void
check (State *state)
{
  g_autoptr (VhostMemory) view = vhost_iotlb_build_view (state->table, state->memory);
  guint n_there = 0;

  check_slots (view);
  for (guint i = 0; i < UNITS; i++)
    {
      guint64 address = state->start + i * UNIT;
      const VhostMemorySlot *slot = vhost_memory_lookup (view, address + i);
      int region = state->to[i] != GONE ? region_of (state, state->to[i]) : -1;
      guint8 *host;
      guint64 guest;

      g_assert_cmpint (slot != NULL, ==, region >= 0);
      if (slot == NULL)
        continue;
      n_there++;
      g_assert_cmpuint (slot->access, ==, state->access[i]);
      g_assert_true (vhost_memory_holds (view, address, UNIT, state->access[i], NULL));
      host = slot->host + (address - slot->guest_address);
      g_assert_true (vhost_memory_host_to_guest (view, host, UNIT, &guest));
      g_assert_cmpuint (guest, ==,
                        infos[region].guest_address + UVA + state->to[i] * UNIT
                            - infos[region].user_address);
      /* It is really there. */
      *(volatile guint8 *) host = *(volatile guint8 *) (host + UNIT - 1);
    }
  g_assert_true (n_there > 0 || view->n_slots == 0);
}

static void
check_windows (State *state, guint iova, guint n)
{
  g_autoptr (VhostMemory) view = vhost_iotlb_build_view (state->table, state->memory);
  VhostMemoryWindow *window;
  guint64 address = state->start + iova * UNIT;
  guint64 length = n * UNIT;
  guint8 *bytes = vhost_memory_translate_window (view, address, length, VHOST_MEMORY_READ, &window);

  if (bytes == NULL)
    {
      g_assert_null (window);
      return;
    }
  if (n == 0)
    return;
  g_assert_true (vhost_memory_holds (view, address, length, VHOST_MEMORY_READ, NULL));
  for (guint i = 0; i < n; i++)
    {
      const VhostMemorySlot *slot = vhost_memory_lookup (view, address + i * UNIT);
      guint8 *direct = slot->host + (address + i * UNIT - slot->guest_address);

      *direct = (guint8) (i + iova);
      g_assert_cmpuint (bytes[i * UNIT], ==, (guint8) (i + iova));
    }
  vhost_memory_window_free (window);
}

static void
call (State *state, guint what, guint iova, guint size, guint to)
{
  switch (what % 8)
    {
    case 0:
    case 1:
    case 2:
      update (state, iova, size, to, (what >> 3) % 5);
      break;
    case 3:
      invalidate (state, iova, size, FALSE);
      break;
    case 4:
      invalidate (state, iova, size, to % 8 == 0);
      break;
    case 5:
      check_windows (state, iova, MIN (size, UNITS - iova));
      break;
    case 6:
      toggle_region (state, to % G_N_ELEMENTS (infos));
      break;
    default:
      if (to % 16 == 0)
        {
          vhost_iotlb_clear (state->table);
          for (guint i = 0; i < UNITS; i++)
            state->to[i] = GONE;
        }
      break;
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const guint64 starts[] = { 0, 4096, G_MAXUINT64 - (UNITS * UNIT - 1), UVA };
  State state = { 0 };

  if (size < 1)
    return 0;
  state.table = vhost_iotlb_new ();
  state.memory = vhost_memory_new_empty ();
  state.start = starts[data[0] % G_N_ELEMENTS (starts)];
  for (guint i = 0; i < G_N_ELEMENTS (infos); i++)
    add_region (&state, i);
  for (guint i = 0; i < UNITS; i++)
    state.to[i] = GONE;

  for (gsize at = 1; at + 4 <= size && at < 4 * 512; at += 4)
    {
      call (&state, data[at], data[at + 1], data[at + 2], data[at + 3]);
      check (&state);
    }
  vhost_memory_unref (state.memory);
  vhost_iotlb_free (state.table);
  return 0;
}
