/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device behind a vIOMMU: translations that come, go and are asked for. */
#include "conform.h"

#include <string.h>
#include <unistd.h>

enum
{
  TYPE_MISS = 1,
  TYPE_UPDATE = 2,
  TYPE_INVALIDATE = 3,
};

typedef struct
{
  guint64 iova, size, user;
  guint8 permission, type, padding[6];
} Iotlb;

static guint64
send_iotlb (Conform *self, const Iotlb *message)
{
  ConformAnswer answer;
  guint64 value = 0;

  conform_send (self, MSG_IOTLB_MSG, CONFORM_VERSION | CONFORM_NEED_REPLY, message, sizeof *message,
                NULL, 0);
  if (conform_receive_reply (self, MSG_IOTLB_MSG, 8, &answer))
    memcpy (&value, answer.payload, sizeof value);
  conform_clear_answer (&answer);
  return value;
}

/* The whole memory, at I/O addresses that are the guest's own. */
static Iotlb
whole (Conform *self, guint8 type)
{
  return (Iotlb){ CONFORM_MEMORY, CONFORM_MEMORY_SIZE, conform_main_region (self).user, 3, type,
                  { 0 } };
}

static void
update_all (Conform *self)
{
  const Iotlb message = whole (self, TYPE_UPDATE);

  CONFORM_CHECK (self, send_iotlb (self, &message) == 0, "an update within the memory is refused");
}

/* Answers a miss as a front-end does: by an update, and then, if asked for, a reply. */
static void
serve_channel (Conform *self)
{
  struct
  {
    guint32 request, flags, size, value[2];
  } reply = { 1, CONFORM_VERSION | CONFORM_REPLY, 8, { 0 } };
  ConformAnswer miss;
  Iotlb message;

  if (!conform_receive_on (self, self->channel, 0, &miss))
    return;
  memcpy (&message, miss.payload, sizeof message);
  conform_clear_answer (&miss);
  CONFORM_CHECK (self, miss.request == 1 && message.type == TYPE_MISS,
                 "message %u of type %u comes instead of a miss", miss.request, message.type);
  CONFORM_CHECK (
      self, message.iova >= CONFORM_MEMORY && message.iova - CONFORM_MEMORY < CONFORM_MEMORY_SIZE,
      "the miss is about address 0x%" G_GINT64_MODIFIER "x", message.iova);
  self->n_misses++;
  update_all (self);
  if ((miss.flags & CONFORM_NEED_REPLY) != 0
      && write (self->channel, &reply, sizeof reply) != sizeof reply)
    conform_inconclusive (self, "the channel is closed");
}

static ConformRing *
start_translated (Conform *self)
{
  ConformRing *ring;

  conform_connect_with (self, 0, P_BACKEND_REQ | P_REPLY_ACK);
  self->channel = conform_open_channel (self);
  self->meanwhile = serve_channel;
  ring = conform_prepare_io (self);
  update_all (self);
  conform_ring_start (ring);
  return ring;
}

static void
stop_serving (Conform *self)
{
  self->meanwhile = NULL;
  if (self->channel >= 0)
    close (self->channel);
  self->channel = -1;
}

static void
translates (Conform *self)
{
  ConformRing *ring = start_translated (self);

  conform_io_run (ring);
  conform_io_run (ring);
  stop_serving (self);
}

static void
all_answered (Conform *self)
{
  Iotlb message;

  conform_connect (self);
  conform_share_memory (self);
  update_all (self);
  message = whole (self, TYPE_INVALIDATE);
  CONFORM_CHECK (self, send_iotlb (self, &message) == 0, "an invalidation is refused");
  conform_in_step (self);
}

/* After an invalidation the device asks, and goes on when it is told. */
static void
asks_for_missing (Conform *self)
{
  ConformRing *ring = start_translated (self);
  Iotlb message;

  conform_io_run (ring);
  message = whole (self, TYPE_INVALIDATE);
  send_iotlb (self, &message);
  self->n_misses = 0;
  conform_io_run (ring);
  CONFORM_CHECK (self, self->n_misses > 0,
                 "a request is served through a translation that was invalidated");
  stop_serving (self);
}

static void
wrong_types_refused (Conform *self)
{
  static const guint8 types[] = { 1, 4, 0, 77 };

  conform_connect (self);
  conform_share_memory (self);
  conform_may_close (self);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      const Iotlb message = whole (self, types[i]);
      guint64 answer = send_iotlb (self, &message);

      CONFORM_CHECK (self, answer != 0, "type %u is accepted", types[i]);
    }
}

static void
outside_refused (Conform *self)
{
  Iotlb message;

  conform_connect (self);
  conform_share_memory (self);
  message = whole (self, TYPE_UPDATE);
  message.user += CONFORM_MEMORY_SIZE;
  conform_may_close (self);
  CONFORM_CHECK (self, send_iotlb (self, &message) != 0,
                 "an update to an address outside the memory is accepted");
}

/* The stop must not wait for a translation, since nobody serves the channel meanwhile. */
static void
stop_does_not_wait (Conform *self)
{
  ConformRing *ring = start_translated (self);
  Iotlb message;

  conform_io_run (ring);
  message = whole (self, TYPE_INVALIDATE);
  send_iotlb (self, &message);
  conform_io_offer (ring, 0);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_ring_stop (ring);
  stop_serving (self);
}

static void
offers_what_it_needs (Conform *self)
{
  const guint64 needed = P_REPLY_ACK | P_BACKEND_REQ;

  conform_connect (self);
  CONFORM_CHECK (self, (self->offered_protocol & needed) == needed,
                 "feature 33 is offered without protocol features 3 and 5");
}

#define SECTION "IOMMU support"
#define IOMMU(name, text, run, force, io)                                                          \
  {                                                                                                \
    name, SECTION, text, run, force, F_IOMMU, 0, io, 0                                             \
  }

const ConformRule conform_iotlb_rules[] = {
  IOMMU ("I1", "addresses of rings and buffers go through the translations", translates,
         CONFORM_MUST, TRUE),
  IOMMU ("I2", "updates and invalidations are answered", all_answered, CONFORM_MUST, FALSE),
  IOMMU ("I3", "a translation that is missing is asked for", asks_for_missing, CONFORM_MUST, TRUE),
  IOMMU ("I4", "types that a front-end does not send are refused", wrong_types_refused,
         CONFORM_SILENT, FALSE),
  IOMMU ("I4-range", "an update outside the memory is refused", outside_refused, CONFORM_SILENT,
         FALSE),
  IOMMU ("I5", "GET_VRING_BASE is answered while a translation is missing", stop_does_not_wait,
         CONFORM_SILENT, TRUE),
  IOMMU ("I6", "updates are taken that nobody asked for", all_answered, CONFORM_MUST, FALSE),
  IOMMU ("I7", "with feature 33 protocol features 3 and 5 are offered", offers_what_it_needs,
         CONFORM_SILENT, FALSE),
  { 0 },
};
