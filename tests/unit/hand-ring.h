/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A split or packed ring in a memfd, written by hand: the driver of the tests that look into the
 * queue layer. Must not use the library's own driver side, which would hide a mistake that both
 * sides make. */
#pragma once

#include "vhost-memory-private.h"
#include "vhost-queue-private.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define HAND_BASE G_GUINT64_CONSTANT (0x100000)
#define HAND_SIZE (4u << 20)
#define HAND_DESC (HAND_BASE + 0x1000)
#define HAND_AVAIL (HAND_BASE + 0x90000)
#define HAND_USED (HAND_BASE + 0xb0000)
#define HAND_DATA (HAND_BASE + 0x200000)

typedef struct
{
  guint64 addr;
  guint32 len;
  guint16 flags, next;
} HandDesc;

/* A slot of a packed ring. */
typedef struct
{
  guint64 addr;
  guint32 len;
  guint16 id, flags;
} HandSlot;

#define HAND_NEXT 1u
#define HAND_WRITE 2u
#define HAND_INDIRECT 4u
#define HAND_SLOT_AVAIL (1u << 7)
#define HAND_SLOT_USED (1u << 15)

typedef struct
{
  VhostMemory *memory;
  guint8 *host; /* the test's own mapping */
  int fd;
  guint size;
  guint16 avail_idx; /* packed: the next slot to fill */
  guint16 used_idx;  /* packed: the next slot to look at */
  gboolean avail_wrap, used_wrap;
  guint errors;
  char *error_message;
  int error_code;
} HandRing;

static inline gpointer
hand_at (HandRing *self, guint64 address)
{
  return self->host + (address - HAND_BASE);
}

static inline VhostMemory *
hand_map (int fd, guint64 user_address)
{
  VhostMemoryRegionInfo info = { HAND_BASE, HAND_SIZE, user_address, 0 };
  GError *error = NULL;
  int copy = dup (fd);
  VhostMemory *memory = vhost_memory_new_take_fds (&info, &copy, 1, FALSE, &error);

  g_assert_no_error (error);
  return memory;
}

static inline void
hand_ring_init (HandRing *self, guint size)
{
  memset (self, 0, sizeof *self);
  self->fd = memfd_create ("hand-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_assert_cmpint (self->fd, >=, 0);
  g_assert_cmpint (ftruncate (self->fd, HAND_SIZE), ==, 0);
  self->host = mmap (NULL, HAND_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
  g_assert_true (self->host != MAP_FAILED);
  self->memory = hand_map (self->fd, 0x7000000);
  self->size = size;
  self->avail_wrap = self->used_wrap = TRUE;
}

static inline void
hand_ring_clear (HandRing *self)
{
  vhost_memory_unref (self->memory);
  munmap (self->host, HAND_SIZE);
  close (self->fd);
  g_free (self->error_message);
}

static inline void
hand_desc (HandRing *self, guint i, guint64 addr, guint32 len, guint16 flags, guint16 next)
{
  HandDesc *desc = hand_at (self, HAND_DESC);

  desc[i] = (HandDesc){ addr, len, flags, next };
}

static inline void
hand_set_avail_index (HandRing *self, guint16 index)
{
  self->avail_idx = index;
  __atomic_store_n ((guint16 *) hand_at (self, HAND_AVAIL) + 1, index, __ATOMIC_RELEASE);
}

static inline void
hand_offer (HandRing *self, guint16 head)
{
  guint16 *avail = hand_at (self, HAND_AVAIL);

  avail[2 + self->avail_idx % self->size] = head;
  hand_set_avail_index (self, self->avail_idx + 1);
}

static inline guint16
hand_used_index (HandRing *self)
{
  return __atomic_load_n ((guint16 *) hand_at (self, HAND_USED) + 1, __ATOMIC_ACQUIRE);
}

static inline void
hand_used (HandRing *self, guint slot, guint32 *id, guint32 *len)
{
  guint32 *ring = (guint32 *) ((guint8 *) hand_at (self, HAND_USED) + 4);

  *id = ring[2 * (slot % self->size)];
  *len = ring[2 * (slot % self->size) + 1];
}

static inline HandSlot *
hand_slots (HandRing *self)
{
  return hand_at (self, HAND_DESC);
}

/* Makes a list of @n descriptors available, as a driver of a packed ring does: its head last. */
static inline void
hand_offer_list (HandRing *self, const HandSlot *list, guint n)
{
  HandSlot *head = &hand_slots (self)[self->avail_idx];
  guint16 head_flags = 0;

  for (guint i = 0; i < n; i++)
    {
      HandSlot *slot = &hand_slots (self)[self->avail_idx];
      guint16 flags = list[i].flags | (self->avail_wrap ? HAND_SLOT_AVAIL : HAND_SLOT_USED);

      slot->addr = list[i].addr;
      slot->len = list[i].len;
      slot->id = list[i].id;
      if (i == 0)
        head_flags = flags;
      else
        slot->flags = flags;
      if (++self->avail_idx == self->size)
        {
          self->avail_idx = 0;
          self->avail_wrap = !self->avail_wrap;
        }
    }
  __atomic_store_n (&head->flags, head_flags, __ATOMIC_RELEASE);
}

/* The next used descriptor, of a list of @slots; FALSE: there is none. */
static inline gboolean
hand_take_used (HandRing *self, guint slots, HandSlot *used)
{
  HandSlot *slot = &hand_slots (self)[self->used_idx];
  guint16 flags = __atomic_load_n (&slot->flags, __ATOMIC_ACQUIRE);

  if (((flags & HAND_SLOT_AVAIL) != 0) != self->used_wrap
      || ((flags & HAND_SLOT_USED) != 0) != self->used_wrap)
    return FALSE;
  *used = *slot;
  self->used_idx += slots;
  if (self->used_idx >= self->size)
    {
      self->used_idx -= self->size;
      self->used_wrap = !self->used_wrap;
    }
  return TRUE;
}

static inline VhostQueueSetup
hand_setup (HandRing *self)
{
  return (VhostQueueSetup){
    .size = self->size,
    .descriptor = HAND_DESC,
    .available = HAND_AVAIL,
    .used = HAND_USED,
    .features = G_GUINT64_CONSTANT (1) << 32 | 1u << 28 | 1u << 29,
    .kick_fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC),
    .call_fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC),
    .err_fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC),
    .log_fd = -1,
  };
}

/* What a hook of the error kind keeps for the test. */
static inline void
hand_note_error (HandRing *self, const GError *error)
{
  self->errors++;
  g_free (self->error_message);
  self->error_message = g_strdup (error->message);
  self->error_code = error->code;
}

static inline guint64
hand_read_event (int fd)
{
  guint64 n = 0;

  return read (fd, &n, sizeof n) == sizeof n ? n : 0;
}
