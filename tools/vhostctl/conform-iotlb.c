/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device behind a vIOMMU: translations that come, go and are asked for. */
#include "conform.h"

#include <string.h>
#include <sys/mman.h>
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

/* The whole memory. */
static Iotlb
whole (Conform *self, guint8 type)
{
  return (
      Iotlb){ CONFORM_IOVA, CONFORM_MEMORY_SIZE, conform_main_region (self).user, 3, type, { 0 } };
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
  CONFORM_CHECK (self,
                 message.iova >= CONFORM_IOVA && message.iova - CONFORM_IOVA < CONFORM_MEMORY_SIZE,
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

/* Pages are the guest's, whatever the I/O addresses are. */
static void
marks_guest_pages (Conform *self)
{
  const guint64 size = 8192;
  const guint64 payload[2] = { size, 0 };
  const int fd = conform_memfd (size);
  guint8 *bits = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ConformRing *ring = start_translated (self);
  const guint64 page = ring->data_address / 4096;
  ConformAnswer answer;

  conform_send (self, MSG_SET_LOG_BASE, CONFORM_VERSION, payload, sizeof payload, &fd, 1);
  conform_receive_reply (self, MSG_SET_LOG_BASE, -1, &answer);
  conform_clear_answer (&answer);
  conform_io_run (ring);
  if (g_strcmp0 (self->device, "net") == 0)
    conform_inconclusive (self, "a network card writes only what it receives");
  CONFORM_CHECK (self, (bits[page / 8] >> page % 8 & 1) != 0,
                 "the page of a buffer that was written is not marked");
  stop_serving (self);
  munmap (bits, size);
  close (fd);
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
  { "L12", "Migration", "behind a vIOMMU, marks are those of guest physical pages",
    marks_guest_pages, CONFORM_MUST, F_IOMMU | F_LOG_ALL, P_LOG_SHMFD, TRUE, 0 },
  { 0 },
};
