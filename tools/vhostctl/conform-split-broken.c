/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Split rings whose driver breaks its rules. The standard says only that the device should ask for
 * a reset; what is looked for is that the bad entry is not served, and that nothing else is harmed.
 */
#include "conform.h"

#include <string.h>

/* A ring that has served a request, next to be given something bad. */
static ConformRing *
start_good (Conform *self)
{
  ConformRing *ring;

  conform_connect_with (self, F_INDIRECT, P_STATUS);
  if ((self->protocol & P_STATUS) != 0)
    conform_do_u64 (self, MSG_SET_STATUS, 15);
  ring = conform_start_io (self);
  conform_io_run (ring);
  return ring;
}

/* The bad entry was made available: nothing comes back for it, the session lives or is closed. */
static void
expect_refused (ConformRing *self)
{
  Conform *conform = self->conform;

  conform_ring_kick (self);
  conform_ring_expect_nothing (self, "a used entry comes back for it");
  conform_may_close (conform);
  conform_in_step (conform);
}

static void
put (ConformRing *self, guint n, guint64 address, guint32 length, guint flags, guint next)
{
  self->descriptors[n] = (ConformDescriptor){ address, length, (guint16) flags, (guint16) next };
}

static void
offer_bad (ConformRing *self)
{
  if (!conform_is_decided (self->conform))
    conform_ring_offer_head (self, 0);
  expect_refused (self);
}

static void
window_too_far (Conform *self)
{
  ConformRing *ring = start_good (self);

  if (conform_is_decided (self))
    return;
  ring->available_index = (guint16) (ring->available_index + ring->size + 1);
  /* Partner: the device's acquire load of the index. */
  __atomic_store_n (&ring->available[1], ring->available_index, __ATOMIC_RELEASE);
  expect_refused (ring);
}

static void
head_too_large (Conform *self)
{
  ConformRing *ring = start_good (self);

  if (!conform_is_decided (self))
    conform_ring_offer_head (ring, ring->size);
  expect_refused (ring);
}

static void
chain_loops (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, ring->data_address, 16, DESC_NEXT, 1);
  put (ring, 1, ring->data_address, 16, DESC_NEXT, 0);
  offer_bad (ring);
}

static void
next_too_large (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, ring->data_address, 16, DESC_NEXT, ring->size + 100);
  offer_bad (ring);
}

static void
outside_memory (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, G_GUINT64_CONSTANT (0x7000000000), 16, 0, 0);
  offer_bad (ring);
}

static void
runs_out_of_memory (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, CONFORM_MEMORY + CONFORM_MEMORY_SIZE - 8, 4096, 0, 0);
  offer_bad (ring);
}

static void
address_wraps (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, G_MAXUINT64 - 7, 64, 0, 0);
  offer_bad (ring);
}

static void
readable_after_writable (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, ring->data_address, 16, DESC_WRITE | DESC_NEXT, 1);
  put (ring, 1, ring->data_address + 64, 16, 0, 0);
  offer_bad (ring);
}

static void
indirect_and_next (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, ring->data_address + 0x8000, 16, DESC_INDIRECT | DESC_NEXT, 1);
  put (ring, 1, ring->data_address, 16, 0, 0);
  offer_bad (ring);
}

static void
indirect_odd_length (Conform *self)
{
  ConformRing *ring = start_good (self);

  put (ring, 0, ring->data_address + 0x8000, 17, DESC_INDIRECT, 0);
  offer_bad (ring);
}

static void
indirect_in_indirect (Conform *self)
{
  ConformRing *ring = start_good (self);
  ConformDescriptor *table;

  if (conform_is_decided (self))
    return;
  table = conform_memory (self, ring->data_address + 0x8000);
  table[0] = (ConformDescriptor){ ring->data_address + 0x8000, 16, DESC_INDIRECT, 0 };
  put (ring, 0, ring->data_address + 0x8000, 16, DESC_INDIRECT, 0);
  offer_bad (ring);
}

static void
zero_length (Conform *self)
{
  ConformRing *ring;
  ConformBuffer buffers[CONFORM_PER_REQUEST + 1];
  guint n, id;
  guint32 got, length;

  conform_connect (self);
  ring = conform_start_io (self);
  n = conform_io_build (ring, 0, buffers + 1);
  buffers[0] = (ConformBuffer){ buffers[1].address, 0, buffers[1].writable };
  conform_ring_offer (ring, buffers, n + 1, 0, &id);
  conform_ring_kick (ring);
  if (conform_ring_take (ring, &got, &length))
    conform_io_check (ring, 0, length);
}

static void
error_is_told (Conform *self)
{
  ConformRing *ring = start_good (self);
  gint64 deadline;

  if (conform_is_decided (self))
    return;
  conform_ring_offer_head (ring, ring->size);
  conform_ring_kick (ring);
  CONFORM_CHECK (self, conform_wait_event (ring->err_fd, self->timeout_ms),
                 "the descriptor of SET_VRING_ERR is not signalled");
  if ((self->protocol & P_STATUS) == 0)
    return;
  deadline = conform_get_deadline (self);
  while (!conform_is_decided (self) && (conform_get_u64 (self, MSG_GET_STATUS) & 64) == 0)
    {
      /* Two threads may tell it, in any order. */
      if (g_get_monotonic_time () > deadline)
        conform_fail (self, "GET_STATUS does not show DEVICE_NEEDS_RESET");
      g_usleep (2000);
    }
}

static void
mends (Conform *self)
{
  ConformRing *ring = start_good (self);

  if (conform_is_decided (self))
    return;
  conform_ring_offer_head (ring, ring->size);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_ring_stop (ring);
  conform_ring_lay_out (ring, CONFORM_RING_SIZE);
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
wrong_for_the_device (Conform *self)
{
  ConformRing *ring = start_good (self);
  guint32 id, length;

  if (g_strcmp0 (self->device, "block") != 0)
    {
      conform_inconclusive (self, "what is wrong for the device is known for disks only");
      return;
    }
  /* A header that is too short, and no byte for the status. */
  put (ring, 0, ring->data_address, 4, 0, 0);
  if (!conform_is_decided (self))
    conform_ring_offer_head (ring, 0);
  conform_ring_kick (ring);
  if (conform_ring_take (ring, &id, &length))
    CONFORM_CHECK (self, length == 0, "a request without room is used with length %u", length);
  conform_io_run (ring);
}

#define BAD(name, section, text, run)                                                              \
  {                                                                                                \
    name, section, text, run, CONFORM_SILENT, 0, 0, TRUE, 0                                        \
  }
#define BAD_INDIRECT(name, section, text, run)                                                     \
  {                                                                                                \
    name, section, text, run, CONFORM_SILENT, F_INDIRECT, 0, TRUE, 0                               \
  }

const ConformRule conform_split_broken_rules[] = {
  BAD ("V8", "VIRTIO 2.7.6", "an index more than a ring ahead is not followed", window_too_far),
  BAD ("V9", "VIRTIO 2.7.6", "a head beyond the ring is not served", head_too_large),
  BAD ("V11", "VIRTIO 2.7.5", "a chain that loops is not served", chain_loops),
  BAD ("V11-next", "VIRTIO 2.7.5", "a chain that leaves the table is not served", next_too_large),
  BAD ("V12", "VIRTIO 2.7.5.3.1", "a chain longer than the ring is not served", chain_loops),
  BAD ("V13", "VIRTIO 2.7.5", "a buffer outside the memory is not served", outside_memory),
  BAD ("V13-end", "VIRTIO 2.7.5", "a buffer that runs out of the memory is not served",
       runs_out_of_memory),
  BAD ("V13-wrap", "VIRTIO 2.7.5", "a buffer whose end wraps is not served", address_wraps),
  BAD ("V14", "VIRTIO 2.7.4.2", "readable after writable is not served", readable_after_writable),
  BAD ("V15", "VIRTIO 2.7.5", "a descriptor of length 0 adds nothing", zero_length),
  BAD_INDIRECT ("V17-next", "VIRTIO 2.7.5.3.1", "INDIRECT with NEXT is not served",
                indirect_and_next),
  BAD_INDIRECT ("V17-length", "VIRTIO 2.7.5.3.2", "an indirect table of 17 bytes is not served",
                indirect_odd_length),
  BAD_INDIRECT ("V17-nested", "VIRTIO 2.7.5.3.1", "an indirect table in another is not served",
                indirect_in_indirect),
  BAD ("V47", "VIRTIO 2.1.2", "a broken ring is told by SET_VRING_ERR's descriptor and the status",
       error_is_told),
  BAD ("V48", "VIRTIO 2.1.2", "a broken ring works again when it was set up anew", mends),
  BAD ("V49", "VIRTIO 5.2.6", "a request that is wrong for the device does not break the ring",
       wrong_for_the_device),
  { 0 },
};
