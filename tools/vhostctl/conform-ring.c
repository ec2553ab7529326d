/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory and the driver's side of a ring, split or packed, every byte of which a case can get
 * wrong. Must not use the library's own rings, which would hide a mistake that both sides make. */
#include "conform.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of each ring, in the shared memory: its parts on pages of their own, then the buffers. */
#define RING_BYTES 0x100000
#define AVAILABLE_OFFSET 0x10000
#define USED_OFFSET 0x20000
#define DATA_OFFSET 0x30000

void
conform_rings_init (Conform *self)
{
  self->memory_fd = conform_memfd (CONFORM_MEMORY_SIZE);
  self->memory
      = mmap (NULL, CONFORM_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->memory_fd, 0);
  g_assert (self->memory != MAP_FAILED);
  for (guint i = 0; i < CONFORM_N_RINGS; i++)
    {
      ConformRing *ring = &self->rings[i];

      memset (ring, 0, sizeof *ring);
      ring->conform = self;
      ring->index = i;
      ring->kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
      ring->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
      ring->err_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
}

void
conform_rings_clear (Conform *self)
{
  for (guint i = 0; i < CONFORM_N_RINGS; i++)
    {
      close (self->rings[i].kick_fd);
      close (self->rings[i].call_fd);
      close (self->rings[i].err_fd);
    }
  munmap (self->memory, CONFORM_MEMORY_SIZE);
  close (self->memory_fd);
}

int
conform_memfd (gsize size)
{
  int fd = memfd_create ("vhostctl", MFD_CLOEXEC);

  if (fd >= 0 && ftruncate (fd, (off_t) size) != 0)
    g_printerr ("vhostctl: cannot make a memory file: %s\n", g_strerror (errno));
  return fd;
}

guint64
conform_io_address (Conform *self, guint64 guest_address)
{
  if ((self->features & F_IOMMU) == 0)
    return guest_address;
  return CONFORM_IOVA + (guest_address - CONFORM_MEMORY);
}

guint64
conform_ring_address (Conform *self, guint64 guest_address)
{
  /* GPA_ADDRESSES: guest addresses take the place of user addresses. */
  if ((self->protocol & P_GPA) != 0 || (self->features & F_IOMMU) != 0)
    return conform_io_address (self, guest_address);
  return (guint64) (guintptr) self->memory + (guest_address - CONFORM_MEMORY);
}

gpointer
conform_memory (Conform *self, guint64 guest_address)
{
  return self->memory + (guest_address - CONFORM_MEMORY);
}

gsize
conform_make_table (gpointer payload, const ConformRegion *regions, guint n)
{
  const guint32 head[2] = { n, 0 };

  memcpy (payload, head, sizeof head);
  memcpy ((guint8 *) payload + sizeof head, regions, n * sizeof *regions);
  return sizeof head + n * sizeof *regions;
}

ConformRegion
conform_main_region (Conform *self)
{
  const guint64 user
      = (self->protocol & P_GPA) != 0 ? CONFORM_MEMORY : (guint64) (guintptr) self->memory;

  return (ConformRegion){ CONFORM_MEMORY, CONFORM_MEMORY_SIZE, user, 0 };
}

void
conform_share_memory (Conform *self)
{
  guint8 payload[64];
  const ConformRegion region = conform_main_region (self);
  const gsize size = conform_make_table (payload, &region, 1);

  conform_do (self, MSG_SET_MEM_TABLE, payload, size, &self->memory_fd, 1);
}

ConformRing *
conform_ring (Conform *self, guint index)
{
  ConformRing *ring = &self->rings[index];

  if (ring->size == 0)
    conform_ring_lay_out (ring, CONFORM_RING_SIZE);
  return ring;
}

void
conform_ring_lay_out (ConformRing *self, guint size)
{
  Conform *conform = self->conform;

  self->size = size;
  self->packed = (conform->features & F_PACKED) != 0;
  self->descriptor_address = CONFORM_MEMORY + self->index * RING_BYTES;
  self->available_address = self->descriptor_address + AVAILABLE_OFFSET;
  self->used_address = self->descriptor_address + USED_OFFSET;
  self->data_address = self->descriptor_address + DATA_OFFSET;
  self->descriptors = conform_memory (conform, self->descriptor_address);
  self->slots = conform_memory (conform, self->descriptor_address);
  self->available = conform_memory (conform, self->available_address);
  self->used = conform_memory (conform, self->used_address);
  memset (self->descriptors, 0, RING_BYTES);
  self->available_index = self->used_index = 0;
  self->position = self->used_position = 0;
  self->wrap = self->used_wrap = 1;
  self->base = self->packed ? 0x80008000u : 0;
}

void
conform_ring_set_address (ConformRing *self)
{
  Conform *conform = self->conform;
  const struct
  {
    guint32 index, flags;
    guint64 descriptor, used, available, log;
  } payload = { self->index,
                self->address_flags,
                conform_ring_address (conform, self->descriptor_address),
                conform_ring_address (conform, self->used_address),
                conform_ring_address (conform, self->available_address),
                self->log_address };

  conform_do (conform, MSG_SET_VRING_ADDR, &payload, sizeof payload, NULL, 0);
}

void
conform_ring_set_notifier (ConformRing *self, guint request, int fd)
{
  const guint64 value = self->index | (fd < 0 ? CONFORM_NO_FD : 0);

  conform_do (self->conform, request, &value, sizeof value, &fd, fd >= 0);
}

void
conform_ring_set_up (ConformRing *self)
{
  conform_do_state (self->conform, MSG_SET_VRING_NUM, self->index, self->size);
  conform_do_state (self->conform, MSG_SET_VRING_BASE, self->index, self->base);
  conform_ring_set_address (self);
  conform_ring_set_notifier (self, MSG_SET_VRING_ERR, self->err_fd);
  conform_ring_set_notifier (self, MSG_SET_VRING_CALL, self->call_fd);
}

void
conform_ring_kick_message (ConformRing *self)
{
  conform_ring_set_notifier (self, MSG_SET_VRING_KICK, self->kick_fd);
}

/* Without bit 30 rings are enabled by SET_FEATURES, and the message does not exist. */
void
conform_ring_enable (ConformRing *self, guint32 value)
{
  if ((self->conform->features & F_PROTOCOL) != 0)
    conform_do_state (self->conform, MSG_SET_VRING_ENABLE, self->index, value);
}

void
conform_ring_start (ConformRing *self)
{
  conform_ring_set_up (self);
  conform_ring_kick_message (self);
  conform_ring_enable (self, 1);
}

guint32
conform_ring_stop (ConformRing *self)
{
  const ConformState state = { self->index, 0 };
  ConformAnswer answer;
  ConformState got = { 0 };

  conform_send (self->conform, MSG_GET_VRING_BASE, CONFORM_VERSION, &state, sizeof state, NULL, 0);
  if (conform_receive_reply (self->conform, MSG_GET_VRING_BASE, sizeof got, &answer))
    {
      memcpy (&got, answer.payload, sizeof got);
      CONFORM_CHECK (self->conform, got.index == self->index,
                     "the answer to GET_VRING_BASE of ring %u is about ring %u", self->index,
                     got.index);
    }
  conform_clear_answer (&answer);
  return got.num;
}

/* ---- Making available ---- */

static void
offer_packed (ConformRing *self, const ConformBuffer *buffers, guint n, guint id)
{
  guint head = self->position;
  guint16 head_flags = 0;

  for (guint i = 0; i < n; i++)
    {
      ConformPackedDescriptor *slot = &self->slots[self->position];
      guint16 flags
          = (guint16) ((i + 1 < n ? DESC_NEXT : 0) | (buffers[i].writable ? DESC_WRITE : 0)
                       | (self->wrap ? DESC_AVAIL : DESC_USED));

      slot->address = conform_io_address (self->conform, buffers[i].address);
      slot->length = buffers[i].length;
      /* Only the last one's counts. */
      slot->id = (guint16) (i + 1 < n ? 0xfff0 + i : id);
      if (i == 0)
        head_flags = flags;
      else
        slot->flags = flags;
      if (++self->position == self->size)
        {
          self->position = 0;
          self->wrap ^= 1;
        }
    }
  /* Partner: the device's acquire load of the head's flags, before anything else of the list. */
  __atomic_store_n (&self->slots[head].flags, head_flags, __ATOMIC_RELEASE);
}

void
conform_ring_offer (ConformRing *self, const ConformBuffer *buffers, guint n, guint first,
                    guint *id)
{
  *id = first;
  if (conform_is_decided (self->conform))
    return;
  conform_transcribe (self->conform, "-- ring %u: a request of %u buffers made available",
                      self->index, n);
  if (self->packed)
    {
      offer_packed (self, buffers, n, *id);
      return;
    }
  for (guint i = 0; i < n; i++)
    self->descriptors[first + i] = (ConformDescriptor){
      conform_io_address (self->conform, buffers[i].address),
      buffers[i].length,
      (guint16) ((i + 1 < n ? DESC_NEXT : 0) | (buffers[i].writable ? DESC_WRITE : 0)),
      (guint16) (i + 1 < n ? first + i + 1 : 0),
    };
  conform_ring_offer_head (self, first);
}

void
conform_ring_offer_head (ConformRing *self, guint head)
{
  self->available[2 + self->available_index % self->size] = (guint16) head;
  self->available_index++;
  /* Partner: the device's acquire load of the index, before it reads entries and descriptors. */
  __atomic_store_n (&self->available[1], self->available_index, __ATOMIC_RELEASE);
}

void
conform_ring_kick (ConformRing *self)
{
  if (!conform_is_decided (self->conform))
    {
      conform_transcribe (self->conform, "-- ring %u: kick", self->index);
      eventfd_write (self->kick_fd, 1);
    }
}

/* ---- Used ---- */

gboolean
conform_ring_has_used (ConformRing *self)
{
  if (self->packed)
    {
      /* Partner: the device's release store of the flags, after id and length. */
      const guint16 flags
          = __atomic_load_n (&self->slots[self->used_position].flags, __ATOMIC_ACQUIRE);

      return ((flags & DESC_AVAIL) != 0) == self->used_wrap
             && ((flags & DESC_USED) != 0) == self->used_wrap;
    }
  /* Partner: the device's release store of the index, after buffers and entries. */
  return __atomic_load_n (&self->used[1], __ATOMIC_ACQUIRE) != self->used_index;
}

gboolean
conform_ring_take (ConformRing *self, guint32 *id, guint32 *length)
{
  Conform *conform = self->conform;
  const gint64 deadline = conform_get_deadline (conform);

  *id = *length = 0;
  while (!conform_is_decided (conform) && !conform_ring_has_used (self))
    {
      if (g_get_monotonic_time () > deadline)
        {
          if (deadline == conform->deadline)
            conform_inconclusive (conform, "the case's time is over: the back-end is slow");
          conform_fail (conform, "ring %u: a request is not answered within %u ms", self->index,
                        conform->timeout_ms);
          return FALSE;
        }
      if (conform->meanwhile != NULL)
        conform->meanwhile (conform);
      g_usleep (200);
    }
  if (conform_is_decided (conform))
    return FALSE;
  if (self->packed)
    {
      *id = self->slots[self->used_position].id;
      *length = self->slots[self->used_position].length;
    }
  else
    {
      const guint32 *elements = (const guint32 *) (gpointer) (self->used + 2);

      *id = elements[2 * (self->used_index % self->size)];
      *length = elements[2 * (self->used_index % self->size) + 1];
      self->used_index++;
    }
  conform_transcribe (conform, "-- ring %u: used id %u, length %u", self->index, *id, *length);
  return TRUE;
}

void
conform_ring_expect_nothing (ConformRing *self, const char *why)
{
  const gint64 end = g_get_monotonic_time () + (gint64) self->conform->quiet_ms * 1000;

  while (!conform_is_decided (self->conform) && g_get_monotonic_time () < end)
    {
      CONFORM_CHECK (self->conform, !conform_ring_has_used (self), "%s", why);
      g_usleep (2000);
    }
}

guint64
conform_take_events (int fd)
{
  guint64 n = 0;

  return read (fd, &n, sizeof n) == sizeof n ? n : 0;
}

gboolean
conform_wait_event (int fd, guint timeout_ms)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };

  return poll (&pollfd, 1, (int) timeout_ms) > 0 && conform_take_events (fd) > 0;
}
