/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory tables and slots. */
#include "conform.h"

#include <string.h>
#include <unistd.h>

#define FAR G_GUINT64_CONSTANT (0x40000000)

typedef struct
{
  guint64 padding;
  ConformRegion region;
} Slot;

static guint64
send_table (Conform *self, const ConformRegion *regions, guint n)
{
  guint8 payload[8 + 16 * sizeof (ConformRegion)];
  const gsize size = conform_make_table (payload, regions, n);
  int fds[16];

  for (guint i = 0; i < n; i++)
    fds[i] = self->memory_fd;
  return conform_ack (self, MSG_SET_MEM_TABLE, payload, size, fds, n);
}

static ConformRegion
small_region (Conform *self, guint64 guest, guint i)
{
  const ConformRegion main = conform_main_region (self);

  return (ConformRegion){ guest, 65536, main.user - CONFORM_MEMORY + guest, i * 65536ull };
}

static void
expect_refused_table (Conform *self, const ConformRegion *regions, guint n)
{
  guint64 answer;

  conform_may_close (self);
  if ((self->protocol & P_REPLY_ACK) == 0)
    conform_inconclusive (self, "without REPLY_ACK a refusal cannot be seen");
  answer = send_table (self, regions, n);
  CONFORM_CHECK (self, answer != 0, "the table is accepted");
}

static void
overlap_refused (Conform *self)
{
  ConformRegion regions[2];

  conform_connect (self);
  regions[0] = small_region (self, FAR, 0);
  regions[1] = small_region (self, FAR + 32768, 1);
  expect_refused_table (self, regions, 2);
}

static void
eight_regions (Conform *self)
{
  ConformRegion regions[8];
  ConformRing *ring;

  conform_connect (self);
  regions[0] = conform_main_region (self);
  for (guint i = 1; i < 8; i++)
    regions[i] = small_region (self, FAR + i * 0x100000ull, i);
  if (send_table (self, regions, 8) != 0)
    conform_fail (self, "a table of 8 regions is refused");
  ring = conform_ring (self, 0);
  conform_ring_set_up (ring);
  conform_in_step (self);
}

static void
nine_regions_refused (Conform *self)
{
  ConformRegion regions[9];
  guint8 payload[8 + sizeof regions];
  gsize size;
  int fds[8];

  conform_connect (self);
  for (guint i = 0; i < 9; i++)
    regions[i] = small_region (self, FAR + i * 0x100000ull, i);
  size = conform_make_table (payload, regions, 9);
  for (guint i = 0; i < 8; i++)
    fds[i] = self->memory_fd;
  conform_refused (self, MSG_SET_MEM_TABLE, payload, size, fds, 8, FALSE);
}

static guint64
send_slot (Conform *self, guint request, ConformRegion region)
{
  const Slot slot = { 0, region };

  return conform_ack (self, request, &slot, sizeof slot, &self->memory_fd,
                      request == MSG_ADD_MEM_REG);
}

static void
slot_identified (Conform *self)
{
  ConformRegion region, other;

  conform_connect (self);
  region = small_region (self, FAR, 0);
  if (send_slot (self, MSG_ADD_MEM_REG, region) != 0)
    conform_fail (self, "ADD_MEM_REG is refused");
  /* The offset does not count. */
  other = region;
  other.offset = 0;
  if (send_slot (self, MSG_REM_MEM_REG, other) != 0)
    conform_fail (self, "REM_MEM_REG of the region that was added is refused");
  if (send_slot (self, MSG_ADD_MEM_REG, region) != 0)
    conform_fail (self, "ADD_MEM_REG is refused after REM_MEM_REG of the same region");
}

static void
slot_with_descriptor (Conform *self)
{
  Slot slot = { 0 };

  conform_connect (self);
  slot.region = small_region (self, FAR, 0);
  conform_do (self, MSG_ADD_MEM_REG, &slot, sizeof slot, &self->memory_fd, 1);
  conform_may_close (self);
  conform_ack (self, MSG_REM_MEM_REG, &slot, sizeof slot, &self->memory_fd, 1);
  conform_in_step (self);
}

static void
table_replaces (Conform *self)
{
  ConformRing *ring;
  ConformRegion moved;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  /* The same guest addresses, told by another user address: the rings' own must be told anew, and
   * that is the front-end's part, so only buffers are looked at. */
  moved = conform_main_region (self);
  if (send_table (self, &moved, 1) != 0)
    conform_fail (self, "a table in the place of the same is refused");
  conform_io_run (ring);
}

static void
opaque_user_addresses (Conform *self)
{
  ConformRegion region;
  guint8 *memory = self->memory;
  ConformRing *ring;

  conform_connect (self);
  /* An address where nobody has anything. */
  self->memory = (guint8 *) (guintptr) G_GUINT64_CONSTANT (0x5a5a00000000);
  region = conform_main_region (self);
  if (send_table (self, &region, 1) != 0)
    conform_fail (self, "a user address that is not mapped anywhere is refused");
  self->memory = memory;
  if (g_strcmp0 (self->device, "net") == 0)
    conform_inconclusive (self, "a network card needs all its rings");
  ring = conform_ring (self, 0);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, ring->size);
  conform_do_state (self, MSG_SET_VRING_BASE, 0, ring->base);
  self->memory = (guint8 *) (guintptr) G_GUINT64_CONSTANT (0x5a5a00000000);
  conform_ring_set_address (ring);
  self->memory = memory;
  conform_ring_set_notifier (ring, MSG_SET_VRING_CALL, ring->call_fd);
  conform_ring_kick_message (ring);
  conform_ring_enable (ring, 1);
  conform_io_run (ring);
}

static void
unknown_slot_refused (Conform *self)
{
  guint64 answer;

  conform_connect (self);
  conform_share_memory (self);
  conform_may_close (self);
  answer = send_slot (self, MSG_REM_MEM_REG, small_region (self, FAR, 0));
  CONFORM_CHECK (self, answer != 0, "REM_MEM_REG of a region that was never added is accepted");
}

static void
overlapping_slot_refused (Conform *self)
{
  guint64 answer;

  conform_connect (self);
  conform_share_memory (self);
  conform_may_close (self);
  answer = send_slot (self, MSG_ADD_MEM_REG, conform_main_region (self));
  CONFORM_CHECK (self, answer != 0, "ADD_MEM_REG of a region that overlaps is accepted");
}

static void
slots_do_not_shrink (Conform *self)
{
  guint64 first, second;

  conform_connect (self);
  first = conform_get_u64 (self, MSG_GET_MAX_MEM_SLOTS);
  conform_connect (self);
  second = conform_get_u64 (self, MSG_GET_MAX_MEM_SLOTS);
  CONFORM_CHECK (self, second >= first,
                 "%" G_GUINT64_FORMAT " slots, and %" G_GUINT64_FORMAT " on the next connection",
                 first, second);
}

/* As many as were promised, up to what a program's open files allow. */
static void
promised_slots (Conform *self)
{
  guint64 n;

  conform_connect (self);
  n = conform_get_u64 (self, MSG_GET_MAX_MEM_SLOTS);
  for (guint64 i = 0; i < MIN (n, 64) && !conform_is_decided (self); i++)
    if (send_slot (self, MSG_ADD_MEM_REG,
                   small_region (self, FAR + i * 0x100000ull, (guint) i % 32))
        != 0)
      conform_fail (self, "slot %u of %u is refused", (guint) i + 1, (guint) n);
}

static void
gpa_addresses (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
}

static void
buffer_across_regions (Conform *self)
{
  const guint64 half = CONFORM_MEMORY_SIZE / 2;
  ConformRegion regions[2];
  ConformRing *ring;

  conform_connect (self);
  regions[0] = regions[1] = conform_main_region (self);
  regions[0].size = regions[1].size = half;
  regions[1].guest += half;
  regions[1].user += half;
  regions[1].offset += half;
  if (send_table (self, regions, 2) != 0)
    conform_fail (self, "two regions side by side are refused");
  if (g_strcmp0 (self->device, "net") == 0)
    conform_inconclusive (self, "a network card needs all its rings");
  ring = conform_ring (self, 0);
  /* The request's bytes lie around the border. */
  ring->data_address = CONFORM_MEMORY + half - 128;
  conform_ring_start (ring);
  conform_io_run (ring);
}

#define TABLE "Memory regions description"

const ConformRule conform_memory_rules[] = {
  { "M1", TABLE, "regions that overlap are refused", overlap_refused, CONFORM_SILENT, 0,
    P_REPLY_ACK, FALSE, 0 },
  { "M2", TABLE, "a table may have 8 regions", eight_regions, CONFORM_MUST, 0, 0, FALSE, 0 },
  { "M2-nine", TABLE, "a table of 9 regions is refused", nine_regions_refused, CONFORM_SILENT, 0,
    P_REPLY_ACK, FALSE, 0 },
  { "M3", "REM_MEM_REG", "a region is known by its addresses and size", slot_identified,
    CONFORM_MUST, 0, P_MEM_SLOTS, FALSE, 0 },
  { "M3-fd", "REM_MEM_REG", "a descriptor with REM_MEM_REG does no harm", slot_with_descriptor,
    CONFORM_SILENT, 0, P_MEM_SLOTS, FALSE, 0 },
  { "M4", TABLE, "memory of Xen's grants is mapped on demand alone; not visible: it takes Xen",
    NULL, CONFORM_MUST, 0, BIT (17), FALSE, 0 },
  { "M5", "SET_MEM_TABLE", "a table can be replaced under a ring that runs", table_replaces,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "M6", TABLE, "user addresses are only compared and offset", opaque_user_addresses, CONFORM_MUST,
    0, 0, TRUE, 0 },
  { "M6-span", TABLE, "a buffer may span regions", buffer_across_regions, CONFORM_SILENT, 0, 0,
    TRUE, 0 },
  { "M7", "REM_MEM_REG", "removing an unknown region is refused", unknown_slot_refused,
    CONFORM_SILENT, 0, P_MEM_SLOTS | P_REPLY_ACK, FALSE, 0 },
  { "M7-overlap", "ADD_MEM_REG", "adding a region that overlaps is refused",
    overlapping_slot_refused, CONFORM_SILENT, 0, P_MEM_SLOTS | P_REPLY_ACK, FALSE, 0 },
  { "M8", "GET_MAX_MEM_SLOTS", "the number of slots does not shrink between connections",
    slots_do_not_shrink, CONFORM_SILENT, 0, P_MEM_SLOTS, FALSE, 0 },
  { "M8-kept", "GET_MAX_MEM_SLOTS", "as many slots as promised can be used (64 are tried)",
    promised_slots, CONFORM_MUST, 0, P_MEM_SLOTS | P_REPLY_ACK, FALSE, 0 },
  { "GPA", "Protocol features", "with GPA_ADDRESSES rings and regions are told by guest address",
    gpa_addresses, CONFORM_MUST, 0, P_GPA, TRUE, 0 },
  { 0 },
};
