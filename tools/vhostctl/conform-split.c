/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings of either layout whose driver does everything right: set-up, buffers, what is given back,
 * and the rules of a split ring's indices. What a driver gets wrong is in conform-split-broken.c.
 */
#include "conform.h"

#include <string.h>

static void
refuse_num (Conform *self, guint32 num)
{
  const ConformState state = { 0, num };

  conform_refused (self, MSG_SET_VRING_NUM, &state, sizeof state, NULL, 0, FALSE);
}

static void
bad_size_refused (Conform *self)
{
  static const guint32 sizes[] = { 0, 3, 32769, 65536, 0x80000000u };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      conform_connect (self);
      refuse_num (self, sizes[i]);
    }
}

static void
sizes_work (Conform *self)
{
  static const guint sizes[] = { 4, 64, 256 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      ConformRing *ring;

      conform_connect (self);
      ring = conform_prepare_io (self);
      conform_ring_lay_out (ring, sizes[i]);
      conform_ring_start (ring);
      for (guint k = 0; k < 2 * sizes[i] && !conform_is_decided (self); k++)
        conform_io_run (ring);
    }
}

/* Starts a ring with its parts elsewhere and gives it a request: it must not be served. */
static void
start_misplaced (Conform *self, guint64 descriptors, guint64 available, guint64 used)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  conform_io_offer (ring, 0);
  ring->descriptor_address = descriptors;
  ring->available_address = available;
  ring->used_address = used;
  conform_may_close (self);
  conform_do_state (self, MSG_SET_VRING_NUM, ring->index, ring->size);
  {
    const guint64 payload[5]
        = { ring->index, conform_ring_address (self, descriptors),
            conform_ring_address (self, used), conform_ring_address (self, available), 0 };

    conform_ack (self, MSG_SET_VRING_ADDR, payload, sizeof payload, NULL, 0);
  }
  {
    const guint64 value = ring->index;

    conform_ack (self, MSG_SET_VRING_KICK, &value, sizeof value, &ring->kick_fd, 1);
  }
  if ((self->features & F_PROTOCOL) != 0)
    {
      const ConformState state = { ring->index, 1 };

      conform_ack (self, MSG_SET_VRING_ENABLE, &state, sizeof state, NULL, 0);
    }
  conform_ring_kick (ring);
}

static void
misaligned_not_started (Conform *self)
{
  const guint64 at = CONFORM_MEMORY + 0x200001;
  guint8 *bytes;

  start_misplaced (self, at, at + 0x10000, at + 0x20002);
  bytes = conform_memory (self, at + 0x20002);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, bytes[2] == 0 && bytes[3] == 0, "a misaligned ring is served");
}

static void
unmapped_not_started (Conform *self)
{
  const guint64 end = CONFORM_MEMORY + CONFORM_MEMORY_SIZE;

  /* The used ring begins in the memory and ends behind it. */
  start_misplaced (self, CONFORM_MEMORY, CONFORM_MEMORY + 0x10000, end - 16);
  conform_may_close (self);
  conform_in_step (self);
}

static void
unmapped_refused (Conform *self)
{
  unmapped_not_started (self);
  if (self->was_closed)
    conform_note (self, "the back-end closes the connection");
}

static void
no_stray_writes (Conform *self)
{
  ConformRing *ring;
  g_autofree guint8 *before = g_malloc (CONFORM_MEMORY_SIZE);
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  guint n;
  gsize used_at;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_offer (ring, 0);
  n = conform_io_build (ring, 0, buffers);
  memcpy (before, self->memory, CONFORM_MEMORY_SIZE);
  conform_ring_kick (ring);
  conform_io_finish (ring);
  if (conform_is_decided (self))
    return;
  /* What may have been written is made equal; nothing else may differ. */
  for (guint i = 0; i <= ring->index; i++)
    {
      used_at = self->rings[i].used_address - CONFORM_MEMORY;
      memcpy (before + used_at, self->memory + used_at, 6 + 8 * self->rings[i].size);
    }
  for (guint i = 0; i < n; i++)
    if (buffers[i].writable)
      memcpy (before + (buffers[i].address - CONFORM_MEMORY),
              self->memory + (buffers[i].address - CONFORM_MEMORY), buffers[i].length);
  for (gsize i = 0; i < CONFORM_MEMORY_SIZE && !conform_is_decided (self); i++)
    CONFORM_CHECK (self, before[i] == self->memory[i],
                   "guest address 0x%" G_GINT64_MODIFIER "x is written", CONFORM_MEMORY + i);
}

static void
index_runs_free (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_prepare_io (self);
  ring->base = ring->available_index = ring->used_index = 0xfffd;
  ring->available[1] = ring->used[1] = 0xfffd;
  conform_ring_start (ring);
  for (guint i = 0; i < 6; i++)
    conform_io_run (ring);
  CONFORM_CHECK (self, ring->used[1] == 3, "the used index goes from 65533 to %u after 6 requests",
                 ring->used[1]);
}

/* Each buffer in single bytes as far as descriptors allow: header first, then data. */
static void
any_framing (Conform *self)
{
  ConformRing *ring;
  ConformBuffer whole[CONFORM_PER_REQUEST], pieces[3 * CONFORM_PER_REQUEST];
  guint n, n_pieces = 0, id;
  guint32 got, length;

  conform_connect (self);
  ring = conform_start_io (self);
  n = conform_io_build (ring, 0, whole);
  for (guint i = 0; i < n; i++)
    {
      const guint32 half = whole[i].length / 2;

      if (half > 0)
        {
          pieces[n_pieces++] = (ConformBuffer){ whole[i].address, half, whole[i].writable };
          pieces[n_pieces++] = (ConformBuffer){ whole[i].address + half, whole[i].length - half,
                                                whole[i].writable };
        }
      else
        pieces[n_pieces++] = whole[i];
    }
  conform_ring_offer (ring, pieces, n_pieces, 0, &id);
  conform_ring_kick (ring);
  if (conform_ring_take (ring, &got, &length))
    conform_io_check (ring, 0, length);
}

/* A table of the request's buffers, offered through one descriptor. */
static void
offer_indirect (ConformRing *ring, guint16 extra_flags)
{
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  const guint n = conform_io_build (ring, 0, buffers);
  const guint64 address = ring->data_address + 0x8000;

  if (conform_is_decided (ring->conform))
    return;
  if (ring->packed)
    {
      ConformPackedDescriptor *table = conform_memory (ring->conform, address);
      ConformPackedDescriptor *slot = &ring->slots[ring->position++];

      for (guint i = 0; i < n; i++)
        table[i] = (ConformPackedDescriptor){ buffers[i].address, buffers[i].length, 0,
                                              buffers[i].writable ? DESC_WRITE : 0 };
      slot->address = address;
      slot->length = n * 16;
      slot->id = 0;
      /* Partner: the device's acquire load of the flags. */
      __atomic_store_n (&slot->flags, (guint16) (DESC_INDIRECT | DESC_AVAIL | extra_flags),
                        __ATOMIC_RELEASE);
      return;
    }
  for (guint i = 0; i < n; i++)
    ((ConformDescriptor *) conform_memory (ring->conform, address))[i] = (ConformDescriptor){
      buffers[i].address,
      buffers[i].length,
      (guint16) ((i + 1 < n ? DESC_NEXT : 0) | (buffers[i].writable ? DESC_WRITE : 0)),
      (guint16) (i + 1),
    };
  ring->descriptors[0]
      = (ConformDescriptor){ address, n * 16, (guint16) (DESC_INDIRECT | extra_flags), 0 };
  conform_ring_offer_head (ring, 0);
}

static void
indirect_works (Conform *self)
{
  /* Without, then with WRITE, which does not count. */
  for (guint i = 0; i < 2; i++)
    {
      ConformRing *ring;
      guint32 id, length;

      conform_connect (self);
      ring = conform_start_io (self);
      offer_indirect (ring, i == 0 ? 0 : DESC_WRITE);
      conform_ring_kick (ring);
      if (conform_ring_take (ring, &id, &length))
        conform_io_check (ring, 0, length);
      CONFORM_CHECK (self, id == 0, "an indirect request with id 0 comes back as %u", id);
    }
}

static void
used_as_told (Conform *self)
{
  ConformRing *ring;
  guint seen = 0;

  conform_connect (self);
  ring = conform_start_io (self);
  for (guint i = 0; i < 4; i++)
    conform_io_offer (ring, i);
  conform_ring_kick (ring);
  for (guint i = 0; i < 4; i++)
    seen |= 1u << conform_io_finish (ring);
  CONFORM_CHECK (self, seen == 15, "of requests 0 to 3 these came back: mask 0x%x", seen);
}

static void
in_order (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  for (guint i = 0; i < 4; i++)
    conform_io_offer (ring, i);
  conform_ring_kick (ring);
  for (guint i = 0; i < 4; i++)
    {
      const guint n = conform_io_finish (ring);

      /* An entry may stand for those before it. */
      CONFORM_CHECK (self, n >= i, "request %u comes back in the place of %u", n, i);
      if (n > i)
        return;
    }
}

static void
ring_reset (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  conform_ring_stop (ring);
  conform_ring_lay_out (ring, 8);
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
offers_what_it_can (Conform *self)
{
  static const guint bits[] = { 37, 38, 39, 41 };

  conform_connect (self);
  CONFORM_CHECK (self, (self->offered_features & F_VERSION_1) != 0, "VERSION_1 is not offered");
  for (guint i = 0; i < G_N_ELEMENTS (bits); i++)
    CONFORM_CHECK (self, (self->offered_features & BIT (bits[i])) == 0,
                   "feature %u is offered, which vhost-user cannot carry", bits[i]);
}

#define HIDDEN(name, section, text, reason)                                                        \
  {                                                                                                \
    name, section, text "; not visible: " reason, NULL, CONFORM_MUST, 0, 0, FALSE, 0               \
  }

const ConformRule conform_split_rules[] = {
  { "V1", "VIRTIO 2.7", "an impossible ring size is refused", bad_size_refused, CONFORM_SILENT, 0,
    P_REPLY_ACK, FALSE, 0 },
  { "V1-sizes", "VIRTIO 2.7", "rings of 4, 64 and 256 entries work", sizes_work, CONFORM_MUST, 0, 0,
    TRUE, 0 },
  { "V2", "VIRTIO 2.7", "a misaligned ring is not served", misaligned_not_started, CONFORM_SILENT,
    0, 0, TRUE, 0 },
  { "V3", "VIRTIO 2.7", "a ring that ends outside the memory does no harm", unmapped_refused,
    CONFORM_SILENT, 0, 0, TRUE, 0 },
  HIDDEN ("V5", "VIRTIO 2.7.3",
          "with VERSION_1 every field is little-endian, without it in the guest's order",
          "this side is little-endian, as the ring"),
  { "V6", "VIRTIO 2.7.5.1", "nothing but the used ring and writable buffers is written",
    no_stray_writes, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "V8-wrap", "VIRTIO 2.7.6", "indices run on over 65535", index_runs_free, CONFORM_MUST, 0, 0,
    TRUE, 0 },
  HIDDEN ("V10", "VIRTIO 2.7.5", "every field that the driver can write is read once",
          "how often a field is read cannot be told by its value"),
  { "V16", "VIRTIO 2.7.4.1", "buffers may be cut anywhere", any_framing, CONFORM_MUST, 0, 0, TRUE,
    0 },
  { "V17", "VIRTIO 2.7.5.3", "indirect descriptors work; WRITE on them does not count",
    indirect_works, CONFORM_MUST, F_INDIRECT, 0, TRUE, 0 },
  { "V22", "VIRTIO 2.7.8.2", "each request comes back once, with its head and the index moved on",
    used_as_told, CONFORM_MUST, 0, 0, TRUE, 0 },
  { "V23", "VIRTIO 2.7.8", "the used length is not above what can be written", used_as_told,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  HIDDEN ("V26", "VIRTIO 2.7.8", "a request over several buffers appears at once",
          "it takes a network card that receives"),
  { "V27", "VIRTIO 6.2", "with IN_ORDER requests come back in their order", in_order, CONFORM_MUST,
    F_IN_ORDER, 0, TRUE, 0 },
  { "V28", "VIRTIO 2.7.9", "with IN_ORDER an entry may stand for those before it", in_order,
    CONFORM_MUST, F_IN_ORDER, 0, TRUE, 0 },
  HIDDEN ("V29", "VIRTIO 2.7.9", "with IN_ORDER the driver takes its descriptors in order",
          "it is the driver's part"),
  HIDDEN ("V41", "VIRTIO 2.7.13", "the index or the flags are read before what they announce",
          "the order of loads cannot be seen"),
  HIDDEN ("V42", "VIRTIO 2.7.8",
          "a used entry is complete before the index or the flags tell of it",
          "the order of stores cannot be seen on one machine"),
  HIDDEN ("V43", "VIRTIO 2.7.7", "the wish for a call is read after the entry was published",
          "a missing barrier shows only now and then"),
  HIDDEN ("V44", "VIRTIO 2.1.2", "nothing is taken or called before the start nor after a reset",
          "seen as R1 and T3: the start of the ring is the gate"),
  { "V45", "VIRTIO 2.6.1", "a ring that was stopped starts anew with another size", ring_reset,
    CONFORM_MUST, 0, 0, TRUE, 0 },
  { "V46", "VIRTIO 2.2.2, 6.2", "VERSION_1 is offered, and nothing that cannot be kept",
    offers_what_it_can, CONFORM_MUST, 0, 0, FALSE, 0 },
  { 0 },
};
