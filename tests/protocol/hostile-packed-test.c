/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packed rings of a driver that breaks the rules. After each the process lives, the ring can be set
 * up again, another front-end is served and nothing is left behind. Public API only. */
#include "hostile-hand.h"

#include <string.h>

static void
begin (HostileHand *h, gconstpointer data)
{
  hostile_hand_begin (h, data, F_PACKED);
  g_assert_cmphex (vhost_frontend_get_features (h->world->frontend) & F_PACKED, !=, 0);
  h->ring->base = PACKED_BASE;
}

static void
end (HostileHand *h)
{
  hostile_hand_assert_alive (h);
  hostile_hand_end (h);
}

/* The entry at @bad has broken the ring, and only it. */
static void
assert_broken (HostileHand *h, guint bad)
{
  LIVE_WAIT_FOR (hand_ring_get_errors (h->ring) > 0);
  hostile_hand_assert_alive (h);
  g_assert_cmpint (hand_world_get_state (h->world, 0), ==, VHOST_QUEUE_STATE_BROKEN);
  g_assert_cmphex (hand_ring_get_base (h->ring) & 0x7fff, ==, bad);
  hostile_hand_renew (h, TRUE);
}

/* One good request, then these descriptors in slots 2 and on, the first one's flags last. */
static void
assert_breaks (gconstpointer data, const HostilePacked *descriptors, guint n)
{
  HostileHand h;

  begin (&h, data);
  hand_ring_start (h.ring);
  hostile_packed_put_echo (h.ring, 0, TRUE, 4);
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (hostile_packed_is_used (h.ring, 0, TRUE));
  for (guint i = n; i > 0; i--)
    {
      HostilePacked descriptor = descriptors[i - 1];

      if (descriptor.address == 0)
        descriptor.address = hand_ring_buffer (h.ring, 1 + i);
      hostile_packed_put (h.ring, 1 + i, descriptor);
    }
  hand_ring_kick (h.ring);
  assert_broken (&h, 2);
  end (&h);
}

#define BREAKS(...)                                                                                \
  G_STMT_START                                                                                     \
  {                                                                                                \
    const HostilePacked _descriptors[] = { __VA_ARGS__ };                                          \
    assert_breaks (data, _descriptors, G_N_ELEMENTS (_descriptors));                               \
  }                                                                                                \
  G_STMT_END

static void
test_id (gconstpointer data)
{
  BREAKS ({ .length = 16, .id = 16, .flags = PACKED_AVAIL });
  BREAKS ({ .length = 16, .id = 0xffff, .flags = PACKED_AVAIL | DESC_WRITE });
  /* Only the last one's counts, and it is wrong. */
  BREAKS ({ .length = 16, .id = 1, .flags = PACKED_AVAIL | DESC_NEXT },
          { .length = 16, .id = 0x8001, .flags = PACKED_AVAIL });
}

static void
test_indirect (gconstpointer data)
{
  BREAKS ({ .length = 32, .id = 1, .flags = PACKED_AVAIL | DESC_INDIRECT | DESC_NEXT },
          { .length = 16, .id = 1, .flags = PACKED_AVAIL });
  BREAKS ({ .length = 16, .id = 1, .flags = PACKED_AVAIL | DESC_NEXT },
          { .length = 32, .id = 1, .flags = PACKED_AVAIL | DESC_INDIRECT });
  BREAKS ({ .length = 0, .id = 1, .flags = PACKED_AVAIL | DESC_INDIRECT });
  BREAKS ({ .length = 17, .id = 1, .flags = PACKED_AVAIL | DESC_INDIRECT });
  BREAKS ({ .length = 0xfffffff0, .id = 1, .flags = PACKED_AVAIL | DESC_INDIRECT });
  BREAKS ({ .address = G_MAXUINT64 - 15,
            .length = 32,
            .id = 1,
            .flags = PACKED_AVAIL | DESC_INDIRECT });
}

static void
test_addresses (gconstpointer data)
{
  BREAKS ({ .address = G_MAXUINT64 - 7, .length = 16, .id = 1, .flags = PACKED_AVAIL });
  BREAKS ({ .address = 16, .length = 16, .id = 1, .flags = PACKED_AVAIL });
  BREAKS ({ .address = HAND_MEMORY + HAND_MEMORY_SIZE - 8,
            .length = 16,
            .id = 1,
            .flags = PACKED_AVAIL | DESC_WRITE });
  BREAKS ({ .length = G_MAXUINT32, .id = 1, .flags = PACKED_AVAIL });
  /* Readable after writable. */
  BREAKS ({ .length = 16, .id = 1, .flags = PACKED_AVAIL | DESC_NEXT | DESC_WRITE },
          { .length = 16, .id = 1, .flags = PACKED_AVAIL });
}

/* V12, V13: more entries than a list may have, and more than 4 GiB in them. */
static void
test_table_too_large (gconstpointer data)
{
  HostileHand h;
  const guint n = 1025;
  guint64 address;
  HostilePacked *table;

  begin (&h, data);
  address = vhost_frontend_allocate (h.world->frontend, n * sizeof *table, 16);
  g_assert_cmpuint (address, !=, 0);
  table = vhost_frontend_get_memory (h.world->frontend, address, n * sizeof *table);
  for (guint i = 0; i < n; i++)
    table[i] = (HostilePacked){ HAND_MEMORY, HAND_MEMORY_SIZE, 0, DESC_WRITE };
  hand_ring_start (h.ring);
  hostile_packed_put (
      h.ring, 0, (HostilePacked){ address, n * sizeof *table, 3, PACKED_AVAIL | DESC_INDIRECT });
  hand_ring_kick (h.ring);
  assert_broken (&h, 0);
  end (&h);
}

static void
test_id_twice (gconstpointer data)
{
  HostileHand h;

  begin (&h, data);
  hand_ring_start (h.ring);
  echo_backend_hold (h.world->echo, TRUE);
  hostile_packed_put_echo (h.ring, 0, TRUE, 3);
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (echo_backend_get_n_held (h.world->echo) == 1);
  hostile_packed_put_echo (h.ring, 2, TRUE, 3);
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (hand_ring_get_errors (h.ring) > 0);
  echo_backend_hold (h.world->echo, FALSE);
  echo_backend_release (h.world->echo, FALSE);
  assert_broken (&h, 2);
  end (&h);
}

/* Every slot leads to the next one, all around: there is no last one. */
static void
test_endless (gconstpointer data)
{
  HostileHand h;

  begin (&h, data);
  for (guint i = h.ring->size; i > 0; i--)
    hostile_packed_put (
        h.ring, i - 1,
        (HostilePacked){ hand_ring_buffer (h.ring, 0), 1, 0, PACKED_AVAIL | DESC_NEXT });
  hand_ring_start (h.ring);
  hand_ring_kick (h.ring);
  assert_broken (&h, 0);
  end (&h);
}

/* 16 slots, of which 10 are still out. */
static void
test_more_than_the_ring (gconstpointer data)
{
  HostileHand h;

  begin (&h, data);
  hand_ring_start (h.ring);
  echo_backend_hold (h.world->echo, TRUE);
  for (guint i = 10; i > 0; i--)
    hostile_packed_put (h.ring, i - 1,
                        (HostilePacked){ hand_ring_buffer (h.ring, 0), 1, 0,
                                         (guint16) (PACKED_AVAIL | (i < 10 ? DESC_NEXT : 0)) });
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (echo_backend_get_n_held (h.world->echo) == 1);
  /* Slots 10 to 15, and 0 to 3 once more: only the head has to be right. */
  for (guint i = 0; i < 4; i++)
    hostile_packed_put (h.ring, i,
                        (HostilePacked){ hand_ring_buffer (h.ring, 0), 1, 1,
                                         (guint16) (PACKED_USED | (i < 3 ? DESC_NEXT : 0)) });
  for (guint i = 15; i >= 10; i--)
    hostile_packed_put (
        h.ring, i, (HostilePacked){ hand_ring_buffer (h.ring, 0), 1, 1, PACKED_AVAIL | DESC_NEXT });
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (hand_ring_get_errors (h.ring) > 0);
  echo_backend_hold (h.world->echo, FALSE);
  echo_backend_release (h.world->echo, FALSE);
  assert_broken (&h, 10);
  end (&h);
}

/* V18: what is not of this round is not there, and is not an error either. */
static void
test_wrap_lies (gconstpointer data)
{
  const guint16 lies[] = { 0, PACKED_USED, PACKED_AVAIL | PACKED_USED };

  for (guint i = 0; i < G_N_ELEMENTS (lies); i++)
    {
      HostileHand h;

      begin (&h, data);
      hand_ring_start (h.ring);
      for (guint slot = 0; slot < h.ring->size; slot++)
        hostile_packed_put (h.ring, slot,
                            (HostilePacked){ hand_ring_buffer (h.ring, slot), 16, 0, lies[i] });
      hand_ring_kick (h.ring);
      hand_ring_sync (h.ring);
      g_assert_cmpuint (echo_backend_get_calls (h.world->echo).requests, ==, 0);
      g_assert_cmpuint (hand_ring_get_errors (h.ring), ==, 0);
      hostile_packed_put_echo (h.ring, 0, TRUE, 2);
      hand_ring_kick (h.ring);
      LIVE_WAIT_FOR (hostile_packed_is_used (h.ring, 0, TRUE));
      end (&h);
    }
}

static void
test_bases (gconstpointer data)
{
  const guint32 bad[] = { 0x80008010, 0x80108000, 0xffffffff, 0x7fff7fff, 0x00100010 };
  /* Possible, and untrue. */
  const guint32 odd[] = { 0x00008000, 0x80000000, 0x00000000, 0x80058003, 0x0003800f, 0x800f0003 };
  HostileHand h;

  begin (&h, data);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      guint64 answer;

      ASSERT_TAKEN (hand_ring_send_num (h.ring, h.ring->size));
      answer = hand_ring_send_base (h.ring, bad[i]);
      ASSERT_TAKEN (hand_ring_send_addr (h.ring));
      if (answer == 0)
        answer = hand_ring_send_kick (h.ring, h.ring->kick_fd);
      ASSERT_REFUSED (answer);
    }
  for (guint i = 0; i < G_N_ELEMENTS (odd); i++)
    {
      for (guint slot = 0; slot < h.ring->size; slot += 2)
        hostile_packed_put_echo (h.ring, slot, i % 2 == 0, (guint16) slot);
      ASSERT_TAKEN (hand_ring_send_num (h.ring, h.ring->size));
      if (hand_ring_send_base (h.ring, odd[i]) == 0 && hand_ring_send_addr (h.ring) == 0
          && hand_ring_send_kick (h.ring, h.ring->kick_fd) == 0)
        {
          ASSERT_TAKEN (hand_ring_send_enable (h.ring, 1));
          hand_ring_kick (h.ring);
          hand_ring_sync (h.ring);
          hostile_hand_renew (&h, TRUE);
          (void) hand_ring_get_base (h.ring);
        }
      hostile_hand_assert_alive (&h);
    }
  hostile_hand_renew (&h, TRUE);
  end (&h);
}

/* V35: what the driver's event area must not say is taken for "call". */
static void
test_event_area (gconstpointer data)
{
  /* Offset with its bit of the round, flags. */
  const guint16 events[][2] = {
    { 0, 3 },       { 0xffff, 3 }, { 0x7fff, 2 }, { 0x8010, 2 },
    { 16, 0xfffe }, { 0, 0xfffc }, { 0, 0xffff },
  };
  HostileHand h;

  begin (&h, data);
  hand_ring_start (h.ring);
  for (guint i = 0; i < G_N_ELEMENTS (events); i++)
    {
      guint slot = 2 * i % h.ring->size;
      guint64 calls = hand_ring_get_calls (h.ring);

      h.ring->available[0] = events[i][0];
      h.ring->available[1] = events[i][1];
      hostile_packed_put_echo (h.ring, slot, TRUE, (guint16) i);
      hand_ring_kick (h.ring);
      LIVE_WAIT_FOR (hostile_packed_is_used (h.ring, slot, TRUE));
      LIVE_WAIT_FOR (hand_ring_get_calls (h.ring) > calls);
      /* The device's own area is not the driver's to write; whatever it wrote, kicks arrive. */
      h.ring->used[0] = h.ring->used[1] = 0xffff;
    }
  g_assert_cmpuint (hand_ring_get_errors (h.ring), ==, 0);
  end (&h);
}

typedef struct
{
  HandRing *ring;
  gint stop;
} Flipper;

/* Descriptors and a table change all the time, between what is good and what is not. */
static gpointer
flip (gpointer data)
{
  Flipper *self = data;
  HostilePacked *second = hostile_packed_slot (self->ring, 1);
  guint64 good = hand_ring_buffer (self->ring, 1);

  for (guint i = 0; !g_atomic_int_get (&self->stop); i++)
    {
      __atomic_store_n (&second->address, i & 1 ? good : G_MAXUINT64 - i, __ATOMIC_RELAXED);
      __atomic_store_n (&second->length, i & 2 ? 16u : G_MAXUINT32, __ATOMIC_RELAXED);
      __atomic_store_n (&second->id, i & 4 ? 1 : (guint16) i, __ATOMIC_RELAXED);
      if (i % 64 == 0)
        g_thread_yield ();
    }
  return NULL;
}

static void
test_changes_meanwhile (gconstpointer data)
{
  HostileHand h;
  Flipper flipper = { 0 };
  GThread *thread;

  begin (&h, data);
  flipper.ring = h.ring;
  thread = g_thread_new ("flip", flip, &flipper);
  for (guint round = 0; round < 300; round++)
    {
      gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;
      guint64 errors = hand_ring_get_errors (h.ring);

      hand_ring_start (h.ring);
      hostile_packed_slot (h.ring, 1)->flags = DESC_WRITE | PACKED_AVAIL;
      hostile_packed_put (
          h.ring, 0,
          (HostilePacked){ hand_ring_buffer (h.ring, 0), 16, 1, DESC_NEXT | PACKED_AVAIL });
      hand_ring_kick (h.ring);
      /* Served, or refused: what it was when it was read. */
      while (!hostile_packed_is_used (h.ring, 0, TRUE) && hand_ring_get_errors (h.ring) == errors)
        {
          g_assert_cmpint (g_get_monotonic_time (), <, deadline);
          g_thread_yield ();
        }
      (void) hand_ring_get_base (h.ring);
      hostile_packed_slot (h.ring, 0)->flags = 0;
    }
  g_atomic_int_set (&flipper.stop, 1);
  g_thread_join (thread);
  hostile_hand_renew (&h, TRUE);
  end (&h);
}

/* The length of one round, all in the wrong order, of a device that gives back in order. */
static void
test_in_order (gconstpointer data)
{
  HostileHand h;

  hostile_hand_begin (&h, data, F_PACKED | F_IN_ORDER);
  h.ring->base = PACKED_BASE;
  hand_ring_start (h.ring);
  echo_backend_hold (h.world->echo, TRUE);
  for (guint i = 0; i < 8; i++)
    hostile_packed_put_echo (h.ring, 2 * i, TRUE, (guint16) (15 - i));
  hand_ring_kick (h.ring);
  LIVE_WAIT_FOR (echo_backend_get_n_held (h.world->echo) == 8);
  /* Another round on top of it, before anything came back. */
  hostile_packed_put_echo (h.ring, 0, FALSE, 1);
  hand_ring_kick (h.ring);
  hand_ring_sync (h.ring);
  echo_backend_hold (h.world->echo, FALSE);
  echo_backend_release (h.world->echo, TRUE);
  hand_ring_sync (h.ring);
  hostile_hand_assert_alive (&h);
  hostile_hand_renew (&h, TRUE);
  end (&h);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define TEST(name, func) hand_test_add ("/protocol/hostile-packed-" name, func)
  TEST ("an-id-outside-the-ring-breaks-it", test_id);
  TEST ("an-id-in-flight-twice-breaks-the-ring", test_id_twice);
  TEST ("indirect-descriptors-against-the-rules-break-the-ring", test_indirect);
  TEST ("buffers-that-are-nowhere-break-the-ring", test_addresses);
  TEST ("a-table-that-is-too-long-breaks-the-ring", test_table_too_large);
  TEST ("a-list-without-an-end-breaks-the-ring", test_endless);
  TEST ("more-in-flight-than-the-ring-has-breaks-it", test_more_than_the_ring);
  TEST ("flags-of-another-round-are-nothing", test_wrap_lies);
  TEST ("positions-that-cannot-be-are-refused", test_bases);
  TEST ("an-event-area-that-cannot-be-means-calls", test_event_area);
  TEST ("descriptors-that-change-meanwhile-do-no-harm", test_changes_meanwhile);
  TEST ("a-round-too-many-in-order-does-no-harm", test_in_order);
  return g_test_run ();
}
