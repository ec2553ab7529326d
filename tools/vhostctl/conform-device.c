/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request that the device at hand always answers: a disk reads a sector, an entropy source fills
 * a buffer, a network card takes a packet to send. Must not change what the device holds. */
#include "conform.h"

#include <string.h>

#define SECTOR 512
#define BLOCK_HEADER 16
#define NET_HEADER 12
#define NET_PACKET 64
#define RNG_BYTES 64
/* Within a request's own bytes. */
#define DATA_AT 64
#define STATUS_AT 1024

static gboolean
is_device (Conform *self, const char *name)
{
  return g_strcmp0 (self->device, name) == 0;
}

static guint
get_io_ring (Conform *self)
{
  return is_device (self, "net") ? 1 : 0;
}

guint
conform_io_build (ConformRing *self, guint n, ConformBuffer *buffers)
{
  Conform *conform = self->conform;
  const guint64 address = self->data_address + n * CONFORM_REQUEST_BYTES;
  guint8 *bytes = conform_memory (conform, address);

  memset (bytes, 0, CONFORM_REQUEST_BYTES);
  if (is_device (conform, "rng"))
    {
      buffers[0] = (ConformBuffer){ address, RNG_BYTES, TRUE };
      return 1;
    }
  if (is_device (conform, "net"))
    {
      memset (bytes + NET_HEADER, 0xff, 6); /* to all */
      buffers[0] = (ConformBuffer){ address, NET_HEADER + NET_PACKET, FALSE };
      return 1;
    }
  memset (bytes + DATA_AT, 0xaa, SECTOR);
  bytes[STATUS_AT] = 0xff;
  buffers[0] = (ConformBuffer){ address, BLOCK_HEADER, FALSE };
  buffers[1] = (ConformBuffer){ address + DATA_AT, SECTOR, TRUE };
  buffers[2] = (ConformBuffer){ address + STATUS_AT, 1, TRUE };
  return 3;
}

void
conform_io_check (ConformRing *self, guint n, guint32 length)
{
  Conform *conform = self->conform;
  const guint64 address = self->data_address + n * CONFORM_REQUEST_BYTES;
  const guint8 *bytes = conform_memory (conform, address);
  guint32 most = SECTOR + 1;

  if (is_device (conform, "rng"))
    most = RNG_BYTES;
  else if (is_device (conform, "net"))
    most = 0;
  else
    CONFORM_CHECK (conform, bytes[STATUS_AT] == 0, "a read of sector 0 ends with status %u%s",
                   bytes[STATUS_AT], bytes[STATUS_AT] == 0xff ? " (not written)" : "");
  /* A packed ring's used length means something only where something was written. */
  if (self->packed && most == 0)
    return;
  CONFORM_CHECK (conform, length <= most,
                 "the used length is %u, but only %u bytes can be written (2.7.8, 2.8.6)", length,
                 most);
}

void
conform_io_offer (ConformRing *self, guint n)
{
  ConformBuffer buffers[CONFORM_PER_REQUEST];
  guint id;
  guint n_buffers = conform_io_build (self, n, buffers);

  conform_ring_offer (self, buffers, n_buffers, n * CONFORM_PER_REQUEST, &id);
}

guint
conform_io_finish (ConformRing *self)
{
  Conform *conform = self->conform;
  guint32 id, length;
  guint n;

  if (!conform_ring_take (self, &id, &length))
    return 0;
  CONFORM_CHECK (conform, id % CONFORM_PER_REQUEST == 0 && id < self->size,
                 "the used entry has id %u, which no request has", id);
  if (conform_is_decided (conform))
    return 0;
  n = id / CONFORM_PER_REQUEST;
  conform_io_check (self, n, length);
  if (self->packed)
    {
      ConformBuffer buffers[CONFORM_PER_REQUEST];
      /* Only counted: the request is over. */
      const guint slots = conform_io_build (self, n, buffers);

      self->used_position += slots;
      if (self->used_position >= self->size)
        {
          self->used_position -= self->size;
          self->used_wrap ^= 1;
        }
    }
  return n;
}

void
conform_io_run (ConformRing *self)
{
  conform_io_offer (self, 0);
  conform_ring_kick (self);
  conform_io_finish (self);
}

ConformRing *
conform_prepare_io (Conform *self)
{
  conform_share_memory (self);
  /* A network card runs when all its rings do. */
  for (guint i = 0; i < get_io_ring (self); i++)
    conform_ring_start (conform_ring (self, i));
  return conform_ring (self, get_io_ring (self));
}

ConformRing *
conform_start_io (Conform *self)
{
  ConformRing *ring = conform_prepare_io (self);

  conform_ring_start (ring);
  return ring;
}
