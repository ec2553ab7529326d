/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings behind a vIOMMU, rules I1 to I6 and R13, as a front-end sees them. Public API only. */
#include "hand-driver.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define F_PLATFORM RAW_BIT (33)
#define IOVA G_GUINT64_CONSTANT (0x7700000000)
#define READ 1u
#define WRITE 2u
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
  HandWorld *world;
  HandRing *ring;
  int channel;
} IotlbScene;

static guint64
to_iova (guint64 guest_address)
{
  return guest_address - HAND_MEMORY + IOVA;
}

static guint64
send_entry (IotlbScene *self, guint type, guint64 guest_address, guint64 size, guint access)
{
  const RawIotlb entry = {
    .iova = to_iova (guest_address),
    .size = size,
    .user = hand_world_get_user_address (self->world, guest_address),
    .access = (guint8) access,
    .type = (guint8) type,
  };

  return raw_request (self->world->frontend, MSG_IOTLB_MSG, &entry, sizeof entry, NULL, 0);
}

/* The next request of the device, unanswered. */
static RawIotlb
expect (IotlbScene *self, guint type)
{
  RawHeader header;
  RawIotlb entry;

  LIVE_WAIT_FOR (recv (self->channel, &header, sizeof header, MSG_PEEK | MSG_DONTWAIT)
                 == (gssize) sizeof header);
  g_assert_cmpint (read (self->channel, &header, RAW_HEADER_SIZE), ==, RAW_HEADER_SIZE);
  g_assert_cmpuint (header.request, ==, 1);
  g_assert_cmpuint (header.size, ==, sizeof entry);
  LIVE_WAIT_FOR (recv (self->channel, &entry, sizeof entry, MSG_PEEK | MSG_DONTWAIT)
                 == (gssize) sizeof entry);
  g_assert_cmpint (read (self->channel, &entry, sizeof entry), ==, sizeof entry);
  g_assert_cmpuint (entry.type, ==, type);
  return entry;
}

static gboolean
has_asked (IotlbScene *self)
{
  char byte;

  return recv (self->channel, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void
answer (IotlbScene *self)
{
  guint8 reply[RAW_HEADER_SIZE + 8] = { 0 };
  const RawHeader header = { 1, RAW_VERSION | RAW_REPLY, 8 };

  memcpy (reply, &header, sizeof header);
  g_assert_cmpint (write (self->channel, reply, sizeof reply), ==, sizeof reply);
}

/* Everything is told but no address translated. */
static IotlbScene *
iotlb_scene_new (gconstpointer data)
{
  IotlbScene *self = g_new0 (IotlbScene, 1);
  VhostFrontend *frontend;
  RawAddr addr = { 0 };
  int fds[2];

  self->world = hand_world_new (data);
  self->ring = self->world->rings[0];
  frontend = self->world->frontend;
  g_assert_cmphex (vhost_frontend_get_offered_features (frontend) & F_PLATFORM, !=, 0);
  ASSERT_TAKEN (
      raw_u64 (frontend, MSG_SET_FEATURES, vhost_frontend_get_features (frontend) | F_PLATFORM));
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  ASSERT_TAKEN (raw_request (frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1));
  close (fds[1]);
  self->channel = fds[0];
  hand_ring_set_up (self->ring);
  addr.descriptor = to_iova (self->ring->descriptor_address);
  addr.available = to_iova (self->ring->available_address);
  addr.used = to_iova (self->ring->used_address);
  ASSERT_TAKEN (raw_request (frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0));
  return self;
}

static void
iotlb_scene_free (IotlbScene *self)
{
  close (self->channel);
  hand_world_free (self->world);
  g_free (self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (IotlbScene, iotlb_scene_free)

static void
start (IotlbScene *self)
{
  ASSERT_TAKEN (hand_ring_send_kick (self->ring, self->ring->kick_fd));
  ASSERT_TAKEN (hand_ring_send_enable (self->ring, 1));
}

/* A request whose buffers are in the two pages from @in and @out on. */
static void
submit (IotlbScene *self, guint64 in, guint64 out)
{
  hand_ring_put (self->ring, 0, to_iova (in), 16, DESC_NEXT, 1);
  hand_ring_put (self->ring, 1, to_iova (out), 16, DESC_WRITE, 0);
  hand_ring_submit (self->ring, 0);
}

#define IN_PAGE (HAND_MEMORY + (2u << 20))
#define OUT_PAGE (IN_PAGE + 4096)

static void
test_addresses_are_translated (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);
  guint8 *in = vhost_frontend_get_memory (self->world->frontend, IN_PAGE, 8192);

  memcpy (in, "behind the IOMMU", 16);
  ASSERT_TAKEN (send_entry (self, UPDATE, HAND_MEMORY, HAND_MEMORY_SIZE, READ | WRITE));
  start (self);
  submit (self, IN_PAGE, OUT_PAGE);
  hand_ring_wait_used (self->ring, 1);
  g_assert_cmpmem (in, 16, in + 4096, 16);
  g_assert_false (has_asked (self));
}

static void
test_bad_entries (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);

  ASSERT_REFUSED (send_entry (self, MISS, HAND_MEMORY, 4096, READ));
  ASSERT_REFUSED (send_entry (self, ACCESS_FAIL, HAND_MEMORY, 4096, READ));
  ASSERT_REFUSED (send_entry (self, 0, HAND_MEMORY, 4096, READ));
  ASSERT_REFUSED (send_entry (self, UPDATE, HAND_MEMORY, HAND_MEMORY_SIZE + 1, READ));
  ASSERT_REFUSED (send_entry (self, UPDATE, HAND_MEMORY, 0, READ));
  ASSERT_REFUSED (send_entry (self, UPDATE, HAND_MEMORY, 4096, 4));
  ASSERT_TAKEN (send_entry (self, INVALIDATE, HAND_MEMORY, 4096, 0)); /* nothing there: fine */
}

static void
test_miss (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);
  RawIotlb miss;

  ASSERT_TAKEN (send_entry (self, UPDATE, HAND_MEMORY, 2u << 20, READ | WRITE));
  start (self);
  submit (self, IN_PAGE, OUT_PAGE);
  miss = expect (self, MISS);
  g_assert_cmphex (miss.iova, ==, to_iova (IN_PAGE));
  g_assert_cmpuint (miss.access, ==, READ);
  ASSERT_TAKEN (send_entry (self, UPDATE, IN_PAGE, 4096, READ));
  answer (self);
  miss = expect (self, MISS);
  g_assert_cmphex (miss.iova, ==, to_iova (OUT_PAGE));
  g_assert_cmpuint (miss.access, ==, WRITE);
  ASSERT_TAKEN (send_entry (self, UPDATE, OUT_PAGE, 4096, WRITE));
  answer (self);
  hand_ring_wait_used (self->ring, 1);
  g_assert_false (has_asked (self));
}

static void
test_invalidate (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);

  ASSERT_TAKEN (send_entry (self, UPDATE, HAND_MEMORY, HAND_MEMORY_SIZE, READ | WRITE));
  start (self);
  submit (self, IN_PAGE, OUT_PAGE);
  hand_ring_wait_used (self->ring, 1);
  ASSERT_TAKEN (send_entry (self, INVALIDATE, OUT_PAGE, 4096, 0));
  submit (self, IN_PAGE, OUT_PAGE);
  g_assert_cmphex (expect (self, MISS).iova, ==, to_iova (OUT_PAGE));
  g_assert_cmpuint (hand_ring_get_used (self->ring), ==, 1);
  ASSERT_TAKEN (send_entry (self, UPDATE, OUT_PAGE, 4096, WRITE));
  hand_ring_wait_used (self->ring, 2); /* the update alone is enough */
}

static void
test_does_not_exist (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);

  ASSERT_TAKEN (send_entry (self, UPDATE, HAND_MEMORY, 2u << 20, READ | WRITE));
  start (self);
  submit (self, IN_PAGE, OUT_PAGE);
  expect (self, MISS);
  g_assert_cmpuint (hand_ring_get_errors (self->ring), ==, 0);
  answer (self);
  LIVE_WAIT_FOR (hand_ring_get_errors (self->ring) == 1);
  g_assert_cmphex (expect (self, ACCESS_FAIL).iova, ==, to_iova (IN_PAGE));
  g_assert_cmpuint (hand_ring_get_base (self->ring), ==, 0); /* V48 */
}

static void
test_stop_does_not_wait (gconstpointer data)
{
  g_autoptr (IotlbScene) self = iotlb_scene_new (data);

  start (self); /* not even the ring is translated */
  expect (self, MISS);
  g_assert_cmpuint (hand_ring_get_base (self->ring), ==, 0);
  ASSERT_TAKEN (send_entry (self, UPDATE, HAND_MEMORY, HAND_MEMORY_SIZE, READ | WRITE));
  answer (self); /* of a question that nobody has any more */
  start (self);
  submit (self, IN_PAGE, OUT_PAGE);
  hand_ring_wait_used (self->ring, 1);
  g_assert_cmpuint (hand_ring_get_errors (self->ring), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("I1-addresses-of-rings-and-buffers-are-translated", test_addresses_are_translated);
  RULE ("I2-an-invalidation-is-in-force-when-it-is-answered", test_invalidate);
  RULE ("I3-what-is-missing-is-asked-for", test_miss);
  RULE ("I4-entries-that-cannot-be-are-refused", test_bad_entries);
  RULE ("I5-what-has-no-translation-breaks-the-ring", test_does_not_exist);
  RULE ("R13-a-stop-does-not-wait-for-a-translation", test_stop_does_not_wait);
  return g_test_run ();
}
