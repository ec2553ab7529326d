/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A vIOMMU that lies, never ends, or never answers. After each the process lives, the ring can work
 * again, another front-end is served and nothing is left behind. Public API only. */
#include "hostile-hand.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IOVA G_GUINT64_CONSTANT (0x7700000000)
#define READ 1u
#define WRITE 2u
#define IN_PAGE (HAND_MEMORY + (2u << 20))
#define OUT_PAGE (IN_PAGE + 4096)
enum
{
  MISS = 1,
  UPDATE,
  INVALIDATE,
  ACCESS_FAIL
};

typedef struct
{
  guint64 iova, size, user;
  guint8 access, type, padding[6];
} RawIotlb;

typedef struct
{
  HostileHand h;
  int channel; /* (owned): our end; -1: closed */
} Iommu;

static guint64
to_iova (guint64 guest_address)
{
  return guest_address - HAND_MEMORY + IOVA;
}

static guint64
send_entry (Iommu *self, guint type, guint64 iova, guint64 size, guint64 user, guint access)
{
  const RawIotlb entry = { iova, size, user, (guint8) access, (guint8) type, { 0 } };

  return raw_request (self->h.world->frontend, MSG_IOTLB_MSG, &entry, sizeof entry, NULL, 0);
}

/* As a well-behaved front-end does it. */
static guint64
map (Iommu *self, guint64 guest_address, guint64 size)
{
  return send_entry (self, UPDATE, to_iova (guest_address), size,
                     hand_world_get_user_address (self->h.world, guest_address), READ | WRITE);
}

static guint64
unmap (Iommu *self, guint64 guest_address, guint64 size)
{
  return send_entry (self, INVALIDATE, to_iova (guest_address), size, 0, 0);
}

static void
close_channel (Iommu *self)
{
  if (self->channel >= 0)
    close (self->channel);
  self->channel = -1;
}

static void
open_channel (Iommu *self)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  ASSERT_TAKEN (raw_request (self->h.world->frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1));
  close (fds[1]);
  close_channel (self);
  self->channel = fds[0];
}

static void
set_up_ring (Iommu *self)
{
  HandRing *ring = self->h.ring;
  const RawAddr addr = { .descriptor = to_iova (ring->descriptor_address),
                         .available = to_iova (ring->available_address),
                         .used = to_iova (ring->used_address) };

  hand_ring_set_up (ring);
  ASSERT_TAKEN (
      raw_request (self->h.world->frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0));
}

static void
start_ring (Iommu *self)
{
  ASSERT_TAKEN (hand_ring_send_kick (self->h.ring, self->h.ring->kick_fd));
  ASSERT_TAKEN (hand_ring_send_enable (self->h.ring, 1));
}

static void
begin (Iommu *self, gconstpointer data)
{
  self->channel = -1;
  hostile_hand_begin (&self->h, data, F_PLATFORM);
  g_assert_cmphex (vhost_frontend_get_features (self->h.world->frontend) & F_PLATFORM, !=, 0);
  open_channel (self);
  set_up_ring (self);
}

static void
submit (Iommu *self)
{
  HandRing *ring = self->h.ring;

  hand_ring_put (ring, 0, to_iova (IN_PAGE), 16, DESC_NEXT, 1);
  hand_ring_put (ring, 1, to_iova (OUT_PAGE), 16, DESC_WRITE, 0);
  hand_ring_submit (ring, 0);
}

static void
serve (Iommu *self)
{
  guint16 used = hand_ring_get_used (self->h.ring);

  submit (self);
  hand_ring_wait_used (self->h.ring, used + 1);
}

/* All that is wrong is over: the ring begins anew. */
static void
end (Iommu *self)
{
  hostile_hand_assert_alive (&self->h);
  (void) hand_ring_get_base (self->h.ring);
  hand_ring_clear (self->h.ring);
  ASSERT_TAKEN (map (self, HAND_MEMORY, HAND_MEMORY_SIZE));
  set_up_ring (self);
  start_ring (self);
  serve (self);
  close_channel (self);
  hostile_hand_end (&self->h);
}

/* Waits for a request of this type; others are swallowed, none is answered. */
static RawIotlb
expect (Iommu *self, guint type)
{
  for (;;)
    {
      struct
      {
        RawHeader header;
        guint8 payload[sizeof (RawIotlb)];
      } message;
      RawIotlb entry;
      const gssize size = RAW_HEADER_SIZE + sizeof entry;

      LIVE_WAIT_FOR (recv (self->channel, &message, size, MSG_PEEK | MSG_DONTWAIT) == size);
      g_assert_cmpint (recv (self->channel, &message, size, 0), ==, size);
      g_assert_cmpuint (message.header.request, ==, 1);
      memcpy (&entry, message.payload, sizeof entry);
      if (entry.type == type)
        return entry;
    }
}

static void
answer (Iommu *self, guint request, guint32 size, guint64 value)
{
  guint8 reply[RAW_HEADER_SIZE + 64] = { 0 };
  const RawHeader header = { request, RAW_VERSION | RAW_REPLY, size };

  g_assert_cmpuint (size, <=, 64);
  memcpy (reply, &header, RAW_HEADER_SIZE);
  memcpy (reply + RAW_HEADER_SIZE, &value, MIN (size, sizeof value));
  g_assert_cmpint (send (self->channel, reply, RAW_HEADER_SIZE + size, MSG_NOSIGNAL), >, 0);
}

static void
wait_closed (Iommu *self)
{
  struct pollfd pollfd = { .fd = self->channel, .events = POLLRDHUP };

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
}

/* ---- Entries ---- */

static void
test_entries (gconstpointer data)
{
  Iommu f;
  guint64 user;

  begin (&f, data);
  user = hand_world_get_user_address (f.h.world, HAND_MEMORY);
  for (guint type = 0; type < 256; type++)
    if (type != UPDATE && type != INVALIDATE)
      ASSERT_REFUSED (send_entry (&f, type, IOVA, 4096, user, READ));
  for (guint access = 0; access < 256; access++)
    if (access < 1 || access > 3)
      ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 4096, user, access));
  /* Sizes and sums, on either side. */
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 0, user, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, HAND_MEMORY_SIZE + 1, user, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, G_MAXUINT64, user, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, G_MAXUINT64, 2, user, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, G_MAXUINT64 - 4095, 4097, user, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 4096, user - 1, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 4096, user + HAND_MEMORY_SIZE - 4095, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 4096, 0, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, 4096, G_MAXUINT64, READ));
  ASSERT_REFUSED (send_entry (&f, UPDATE, IOVA, G_MAXUINT64 - user + 1, user, READ));
  /* The very end of the address space is a place like others. */
  ASSERT_TAKEN (send_entry (&f, UPDATE, G_MAXUINT64 - 4095, 4096, user, READ));
  ASSERT_TAKEN (send_entry (&f, UPDATE, G_MAXUINT64, 1, user, WRITE));
  ASSERT_TAKEN (send_entry (&f, INVALIDATE, 0, G_MAXUINT64, 0, 0));
  ASSERT_TAKEN (send_entry (&f, INVALIDATE, 0, 0, 0, 0));
  ASSERT_TAKEN (send_entry (&f, INVALIDATE, G_MAXUINT64, G_MAXUINT64, 0, 0));
  end (&f);
}

/* Each cuts, covers or splits others; the last one counts. */
static void
test_overlaps (gconstpointer data)
{
  Iommu f;
  guint64 user;
  guint32 n = 1;

  begin (&f, data);
  user = hand_world_get_user_address (f.h.world, HAND_MEMORY);
  ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
  start_ring (&f);
  for (guint i = 0; i < 500; i++)
    {
      guint64 at, size;

      n = n * 1664525 + 1013904223;
      at = (n >> 4) % HAND_MEMORY_SIZE;
      n = n * 1664525 + 1013904223;
      size = 1 + (n >> 4) % (HAND_MEMORY_SIZE - at);
      if (n >> 31)
        ASSERT_TAKEN (send_entry (&f, UPDATE, IOVA + at, size,
                                  user + (n >> 3) % (HAND_MEMORY_SIZE - size + 1), 1 + n % 3));
      else
        ASSERT_TAKEN (send_entry (&f, INVALIDATE, IOVA + at, size, 0, 0));
    }
  end (&f);
}

static void
test_ten_thousand (gconstpointer data)
{
  Iommu f;

  begin (&f, data);
  ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
  start_ring (&f);
  serve (&f);
  /* Single bytes, which cannot be put together. */
  for (guint i = 0; i < 10000; i++)
    {
      guint64 at = IOVA + RAW_BIT (32) + 2 * (guint64) i;

      ASSERT_TAKEN (send_entry (
          &f, UPDATE, at, 1,
          hand_world_get_user_address (f.h.world, HAND_MEMORY) + i % HAND_MEMORY_SIZE, READ));
    }
  end (&f);
}

/* ---- Under load ---- */

static void
test_ring_pulled_away (gconstpointer data)
{
  Iommu f;
  guint64 parts[3];

  begin (&f, data);
  parts[0] = f.h.ring->descriptor_address;
  parts[1] = f.h.ring->available_address;
  parts[2] = f.h.ring->used_address;
  ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
  start_ring (&f);
  for (guint i = 0; i < 300; i++)
    {
      guint16 used = hand_ring_get_used (f.h.ring);

      submit (&f);
      ASSERT_TAKEN (unmap (&f, parts[i % 3], 1 + i % 8));
      ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
      hand_ring_wait_used (f.h.ring, used + 1);
    }
  g_assert_cmpuint (hand_ring_get_errors (f.h.ring), ==, 0);
  end (&f);
}

/* ---- The channel ---- */

static void
test_never_answered (gconstpointer data)
{
  Iommu f;

  begin (&f, data);
  start_ring (&f);
  expect (&f, MISS);
  hostile_hand_assert_alive (&f.h);
  g_assert_cmpuint (hand_ring_get_base (f.h.ring), ==, 0);
  start_ring (&f);
  /* With the question open, the session ends. */
  close_channel (&f);
  hostile_hand_end (&f.h);
}

static void
test_closed (gconstpointer data)
{
  Iommu f;

  begin (&f, data);
  start_ring (&f);
  expect (&f, MISS);
  close_channel (&f);
  hostile_hand_assert_alive (&f.h);
  /* A new channel: the question is still there, or an UPDATE is enough. */
  open_channel (&f);
  hostile_hand_assert_alive (&f.h);
  ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
  serve (&f);
  end (&f);
}

/* The ring is stopped in the middle of its question, again and again: questions that nobody has
 * any more do not pile up. */
static void
test_never_read (gconstpointer data)
{
  Iommu f;
  int small = 1;

  begin (&f, data);
  g_assert_cmpint (setsockopt (f.channel, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), ==, 0);
  for (guint i = 0; i < 1000; i++)
    {
      start_ring (&f);
      hand_ring_kick (f.h.ring);
      hand_ring_sync (f.h.ring);
      g_assert_cmpuint (hand_ring_get_base (f.h.ring), ==, 0);
      if (i % 100 == 0)
        hand_world_notify_config (f.h.world);
    }
  hostile_hand_assert_alive (&f.h);
  end (&f);
}

typedef struct
{
  guint request;
  guint32 size;
  guint64 value;
} Answer;

/* The channel is given up, the session is not. */
static void
test_wrong_answers (gconstpointer data)
{
  const Answer wrong[]
      = { { 4, 8, 0 },  { 0, 8, 0 },  { 0xffffffff, 8, 0 }, { 1, 0, 0 }, { 1, 4, 0 },
          { 1, 16, 0 }, { 1, 64, 0 }, { 8, 8, 0 },          { 11, 8, 0 } };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    {
      Iommu f;

      begin (&f, data);
      start_ring (&f);
      expect (&f, MISS);
      answer (&f, wrong[i].request, wrong[i].size, wrong[i].value);
      wait_closed (&f);
      hostile_hand_assert_alive (&f.h);
      open_channel (&f);
      ASSERT_TAKEN (map (&f, HAND_MEMORY, HAND_MEMORY_SIZE));
      serve (&f);
      end (&f);
    }
}

/* Nothing was asked. */
static void
test_answers_unasked (gconstpointer data)
{
  Iommu f;

  begin (&f, data);
  answer (&f, 1, 8, 0);
  wait_closed (&f);
  open_channel (&f);
  /* Requests, and half a message, have no meaning on it. */
  for (guint i = 0; i < 200; i++)
    {
      const RawHeader header = { i % 50, RAW_VERSION, 0 };

      g_assert_cmpint (send (f.channel, &header, RAW_HEADER_SIZE, MSG_NOSIGNAL), >, 0);
    }
  g_assert_cmpint (send (f.channel, "\1\0\0", 3, MSG_NOSIGNAL), ==, 3);
  hostile_hand_assert_alive (&f.h);
  end (&f);
}

/* What is there is denied: an UPDATE for another address, for another access, or none. */
static void
test_denied (gconstpointer data)
{
  for (guint i = 0; i < 3; i++)
    {
      Iommu f;

      begin (&f, data);
      ASSERT_TAKEN (map (&f, HAND_MEMORY, 2u << 20));
      start_ring (&f);
      submit (&f);
      g_assert_cmphex (expect (&f, MISS).iova, ==, to_iova (IN_PAGE));
      if (i == 0)
        ASSERT_TAKEN (map (&f, OUT_PAGE, 4096));
      if (i == 1)
        ASSERT_TAKEN (send_entry (&f, UPDATE, to_iova (IN_PAGE), 4096,
                                  hand_world_get_user_address (f.h.world, IN_PAGE), WRITE));
      answer (&f, 1, 8, i == 2 ? G_MAXUINT64 : 0);
      LIVE_WAIT_FOR (hand_ring_get_errors (f.h.ring) == 1);
      expect (&f, ACCESS_FAIL);
      end (&f);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define TEST(name, func) hand_test_add ("/protocol/hostile-iotlb-" name, func)
  TEST ("entries-that-cannot-be-are-refused", test_entries);
  TEST ("entries-that-overlap-do-no-harm", test_overlaps);
  TEST ("ten-thousand-entries-do-no-harm", test_ten_thousand);
  TEST ("a-ring-pulled-away-under-load-comes-back", test_ring_pulled_away);
  TEST ("a-question-never-answered-stops-nothing-else", test_never_answered);
  TEST ("a-channel-closed-on-a-question-stops-nothing-else", test_closed);
  TEST ("a-channel-never-read-stops-nothing", test_never_read);
  TEST ("wrong-answers-end-the-channel-only", test_wrong_answers);
  TEST ("answers-that-nobody-asked-for-end-the-channel-only", test_answers_unasked);
  TEST ("an-address-that-is-denied-breaks-its-ring-only", test_denied);
  return g_test_run ();
}
