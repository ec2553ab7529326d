/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What messages do to a ring, rules R9, R11, R13 and R15 to R17: what may change while it runs,
 * what a start needs, and what is refused and then leaves the ring as it was. Public API only. R10
 * is a habit of front-ends for network devices: there is nothing to test here. */
#include "hand-driver.h"

#include <sys/eventfd.h>
#include <unistd.h>

static void
add_memory_at_work (gconstpointer data, guint64 without)
{
  HandOptions options = hand_options (data);
  g_autoptr (HandWorld) world = NULL;
  HandRing *ring;
  guint64 address = HAND_MEMORY + HAND_MEMORY_SIZE;
  GError *error = NULL;

  options.protocol_features &= ~without;
  world = hand_world_new_full (&options);
  ring = world->rings[0];
  hand_ring_start (ring);
  ASSERT_TAKEN (hand_ring_send_num (world->rings[1], 16)); /* the other one stays stopped */
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 1);
  echo_backend_hold (world->echo, FALSE);

  vhost_frontend_add_memory (world->frontend, address, 1 << 20, &error);
  g_assert_no_error (error);
  /* Taken under the new map, before the one that was taken under the old. */
  hand_ring_put_echo (ring, 2);
  ring->descriptors[3].address = address + 100;
  hand_ring_submit (ring, 2);
  hand_ring_wait_used (ring, 1);
  g_assert_cmpmem (vhost_frontend_get_memory (world->frontend, address + 100, 16), 16,
                   hand_ring_bytes (ring, 2), 16);
  echo_backend_release (world->echo, FALSE);
  hand_ring_wait_used (ring, 2);
  hand_ring_assert_echo (ring, 0, 1);
}

static void
test_memory_slot_while_running (gconstpointer data)
{
  add_memory_at_work (data, 0);
}

static void
test_memory_table_while_running (gconstpointer data)
{
  add_memory_at_work (data, P_MEM_SLOTS);
}

static void
test_call_fd_while_running (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  int old = ring->call_fd;
  guint64 n;

  hand_ring_start (ring);
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  ring->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT_TAKEN (hand_ring_send_call (ring, ring->call_fd));
  *hand_ring_used_event (ring) = 1;
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 2);
  g_assert_cmpint (read (old, &n, sizeof n), ==, -1);
  close (old);
}

static void
test_err_fd_while_running (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  int old = ring->err_fd;
  guint64 n;

  hand_ring_start (ring);
  ring->err_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT_TAKEN (hand_ring_send_err (ring, ring->err_fd));
  hand_ring_submit (ring, 16); /* a head that does not exist */
  LIVE_WAIT_FOR (hand_ring_get_errors (ring) == 1);
  g_assert_cmpint (read (old, &n, sizeof n), ==, -1);
  close (old);
}

static void
test_same_features_while_running (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  ASSERT_TAKEN (
      raw_u64 (world->frontend, MSG_SET_FEATURES, vhost_frontend_get_features (world->frontend)));
  ASSERT_TAKEN (hand_ring_send_addr (ring));
  hand_ring_echo (ring);
}

static void
test_used_index_from_memory (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ring->base = ring->available_index = 40;
  ring->available[1] = 40;
  ring->used[1] = 37; /* three are in flight, for whoever had the ring before */
  hand_ring_start (ring);
  hand_ring_put_echo (ring, 0);
  hand_ring_submit (ring, 0);
  hand_ring_wait_used (ring, 38);
  hand_ring_assert_echo (ring, 0, 37);
}

static void
test_base_beyond_the_ring (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ring->base = ring->available_index = 17;
  ring->available[1] = 17;
  hand_ring_set_up (ring);
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  hand_ring_clear (ring);
  hand_ring_start (ring);
  hand_ring_echo (ring);
}

/* QEMU does not read the channel while it waits for this answer. */
static void
test_stop_needs_no_front_end (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  for (guint i = 0; i < 2000; i++) /* more than the socket takes */
    hand_world_notify_config (world);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 1);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (world->frontend, 1000), >, 0);
}

/* Bit 14 is not offered, so the message that goes with it must not work. */
static void
test_in_band_kick (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const guint32 state[2] = { 0, 0 };

  g_assert_cmpuint (vhost_frontend_get_offered_protocol_features (world->frontend) & RAW_BIT (14),
                    ==, 0);
  hand_ring_set_up (world->rings[0]);
  ASSERT_REFUSED (raw_request (world->frontend, MSG_VRING_KICK, state, sizeof state, NULL, 0));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
}

static void
test_kick_replaces_the_fd (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  int old = ring->kick_fd;

  hand_ring_start (ring);
  hand_ring_echo (ring);
  echo_backend_hold (world->echo, TRUE);
  hand_ring_put_echo (ring, 2);
  hand_ring_submit (ring, 2);
  LIVE_WAIT_FOR (echo_backend_get_n_held (world->echo) == 1);
  echo_backend_hold (world->echo, FALSE);

  ring->kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  close (old);
  /* The worker has had its look at the ring and sleeps: only the new descriptor wakes it. */
  hand_ring_sync (ring);
  for (guint i = 1; i < 4; i++)
    {
      hand_ring_put_echo (ring, 0);
      hand_ring_submit (ring, 0);
      hand_ring_wait_used (ring, i + 1);
      hand_ring_assert_echo (ring, 0, i);
    }
  /* "Nothing else": the request in flight is still in flight, and no other start was seen. */
  echo_backend_release (world->echo, FALSE);
  hand_ring_wait_used (ring, 5);
  hand_ring_assert_echo (ring, 2, 4);
  g_assert_cmpuint (echo_backend_get_calls (world->echo).queue_starts, ==, 1);
}

static void
test_kick_without_num (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (hand_ring_send_addr (ring));
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  hand_ring_start (ring);
  hand_ring_echo (ring);
}

static void
test_kick_without_addr (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  ASSERT_TAKEN (hand_ring_send_num (ring, 16));
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  hand_ring_start (ring);
  hand_ring_echo (ring);
}

static void
test_kick_without_memory (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  g_autoptr (VhostFrontend) bare = NULL;
  HandRing *ring = world->rings[0];
  VhostFrontend *full = world->frontend;

  vhost_frontend_close (full);
  world->frontend = bare = live_device_connect (world->device);
  hand_ring_set_up (ring);
  /* A user without shared memory must find out why the guest hangs. */
  raw_log_expect (TRUE);
  ASSERT_REFUSED (hand_ring_send_kick (ring, ring->kick_fd));
  g_assert_true (raw_log_has ("shares no guest memory"));
  g_assert_true (raw_log_has ("share=on"));
  raw_log_expect (FALSE);
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STOPPED);
  world->frontend = full;
}

static void
test_num_of_a_running_ring (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  ASSERT_REFUSED (hand_ring_send_num (ring, 8));
  for (guint i = 0; i < 20; i++)
    hand_ring_echo (ring);
}

static void
test_base_of_a_running_ring (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  ASSERT_REFUSED (hand_ring_send_base (ring, 7));
  hand_ring_echo (ring);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 2);
}

static void
test_addr_of_a_running_ring (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  hand_ring_echo (ring);
  ring->used_address += 64;
  ASSERT_REFUSED (hand_ring_send_addr (ring));
  hand_ring_echo (ring);
}

static void
test_enable_with_another_number (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];

  hand_ring_start (ring);
  ASSERT_REFUSED (hand_ring_send_enable (ring, 2));
  ASSERT_REFUSED (hand_ring_send_enable (ring, G_MAXUINT32));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_ENABLED);
  hand_ring_echo (ring);
  ASSERT_TAKEN (hand_ring_send_enable (ring, 0));
  ASSERT_REFUSED (hand_ring_send_enable (ring, 0x100));
  ASSERT_REFUSED (hand_ring_send_enable (ring, 0x101));
  g_assert_cmpint (hand_world_get_state (world, 0), ==, VHOST_QUEUE_STATE_STARTED);
}

static void
in_any_order (gconstpointer data, gboolean enabled_first)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  HandRing *ring = world->rings[0];
  VhostFrontend *first = world->frontend;
  guint64 features = vhost_frontend_get_features (first);
  guint64 protocol = vhost_frontend_get_protocol_features (first);
  int memory_fd = vhost_frontend_get_memory_fd (first, HAND_MEMORY);
  /* count, then one region: guest address, size, user address, offset in its file */
  const guint64 table[5]
      = { 1, HAND_MEMORY, HAND_MEMORY_SIZE, hand_world_get_user_address (world, HAND_MEMORY), 0 };
  GError *error = NULL;

  vhost_frontend_close (first);
  vhost_frontend_connect (frontend, world->device->socket_path, &error);
  g_assert_no_error (error);
  world->frontend = frontend;
  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_PROTOCOL_FEATURES, protocol));
  ASSERT_TAKEN (hand_ring_send_call (ring, ring->call_fd));
  ASSERT_TAKEN (hand_ring_send_err (ring, ring->err_fd));
  ASSERT_TAKEN (hand_ring_send_addr (ring));
  ASSERT_TAKEN (hand_ring_send_base (ring, 0));
  if (enabled_first)
    ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (raw_u64 (frontend, MSG_SET_FEATURES, features));
  if (!enabled_first)
    ASSERT_TAKEN (hand_ring_send_enable (ring, 1));
  ASSERT_TAKEN (hand_ring_send_num (ring, 16));
  ASSERT_TAKEN (raw_request (frontend, MSG_SET_MEM_TABLE, table, sizeof table, &memory_fd, 1));
  ASSERT_TAKEN (hand_ring_send_kick (ring, ring->kick_fd));
  hand_ring_echo (ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (ring) == 1);
  world->frontend = first;
}

static void
test_any_order (gconstpointer data)
{
  in_any_order (data, FALSE);
}

/* As QEMU does it for network cards, whose rings would never run otherwise. */
static void
test_enable_before_features (gconstpointer data)
{
  in_any_order (data, TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("R9-memory-slot-is-added-while-the-ring-runs", test_memory_slot_while_running);
  RULE ("R9-memory-table-grows-while-the-ring-runs", test_memory_table_while_running);
  RULE ("R9-call-descriptor-changes-while-the-ring-runs", test_call_fd_while_running);
  RULE ("R9-err-descriptor-changes-while-the-ring-runs", test_err_fd_while_running);
  RULE ("R9-same-features-and-addresses-again-while-the-ring-runs",
        test_same_features_while_running);
  RULE ("R11-used-index-is-read-from-the-ring", test_used_index_from_memory);
  RULE ("R11-base-further-than-the-ring-from-the-used-index-is-refused", test_base_beyond_the_ring);
  RULE ("R13-get-vring-base-does-not-wait-for-the-front-end", test_stop_needs_no_front_end);
  RULE ("R15-kick-as-a-message-needs-its-feature", test_in_band_kick);
  RULE ("R16-kick-of-a-running-ring-replaces-the-descriptor-only", test_kick_replaces_the_fd);
  RULE ("R16-kick-without-num-is-refused", test_kick_without_num);
  RULE ("R16-kick-without-addr-is-refused", test_kick_without_addr);
  RULE ("R16-kick-without-memory-is-refused-with-a-cure", test_kick_without_memory);
  RULE ("R16-num-of-a-running-ring-is-refused", test_num_of_a_running_ring);
  RULE ("R16-base-of-a-running-ring-is-refused", test_base_of_a_running_ring);
  RULE ("R16-addr-of-a-running-ring-is-refused", test_addr_of_a_running_ring);
  RULE ("R16-enable-with-neither-0-nor-1-is-refused", test_enable_with_another_number);
  RULE ("R17-all-but-kick-comes-in-any-order", test_any_order);
  RULE ("R17-enable-comes-before-features", test_enable_before_features);
  return g_test_run ();
}
