/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-flight area as a front-end sees it: its two messages, rules IF2, IF3, IF12 and T2, and
 * requests that survive a connection. Public API only. */
#include "hand-driver.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct
{
  guint64 size, offset;
  guint16 num_queues, queue_size;
  guint8 padding[4];
} RawInflight;

/* -1: without a descriptor. */
static int
get_area (VhostFrontend *frontend, RawInflight *area, gsize size)
{
  guint request = 0, flags = 0, n_fds = 1;
  gsize got = sizeof *area;
  int fd = -1;
  GError *error = NULL;

  vhost_frontend_send (frontend, MSG_GET_INFLIGHT_FD, RAW_VERSION, area, size, NULL, 0, &error);
  g_assert_no_error (error);
  memset (area, 0, sizeof *area);
  vhost_frontend_receive (frontend, &request, &flags, area, &got, &fd, &n_fds, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_INFLIGHT_FD);
  g_assert_cmpuint (flags, ==, RAW_VERSION | RAW_REPLY);
  g_assert_cmpuint (got, ==, size);
  return n_fds == 1 ? fd : -1;
}

static guint64
set_area (VhostFrontend *frontend, const RawInflight *area, int fd)
{
  return raw_request (frontend, MSG_SET_INFLIGHT_FD, area, sizeof *area, &fd, 1);
}

static int
new_area (HandWorld *world, RawInflight *area)
{
  *area = (RawInflight){ .num_queues = 2, .queue_size = 16 };
  return get_area (world->frontend, area, sizeof *area);
}

static void
test_sizes (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const gsize sizes[] = { 20, 24 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      RawInflight area = { .num_queues = 2, .queue_size = 16 };
      int fd = get_area (world->frontend, &area, sizes[i]);
      g_autofree guint8 *bytes = NULL;

      g_assert_cmpint (fd, >=, 0);
      g_assert_cmpuint (area.num_queues, ==, 2);
      g_assert_cmpuint (area.queue_size, ==, 16);
      g_assert_cmpuint (area.size, >=, 2 * (16 + 16 * 16));
      bytes = g_malloc (area.size);
      g_assert_cmpint (pread (fd, bytes, area.size, (off_t) area.offset), ==, (gssize) area.size);
      for (guint64 j = 0; j < area.size; j++)
        g_assert_cmpuint (bytes[j], ==, 0); /* IF2 */
      close (fd);
    }
}

static void
test_impossible (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  const RawInflight bad[] = {
    { .num_queues = 0, .queue_size = 16 },
    { .num_queues = 3, .queue_size = 16 },
    { .num_queues = 2, .queue_size = 0 },
    { .num_queues = 2, .queue_size = 32769 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      RawInflight area = bad[i];

      g_assert_cmpint (get_area (world->frontend, &area, sizeof area), ==, -1);
      g_assert_cmpuint (area.size, ==, 0);
    }
  raw_assert_in_step (world->frontend);
}

static void
test_misfit (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  RawInflight area, bad;
  int fd = new_area (world, &area);

  bad = area;
  bad.size *= 2;
  ASSERT_REFUSED (set_area (world->frontend, &bad, fd));
  bad = area;
  bad.offset = G_MAXUINT64 - 63;
  ASSERT_REFUSED (set_area (world->frontend, &bad, fd));
  bad = area;
  bad.queue_size = 32768;
  ASSERT_REFUSED (set_area (world->frontend, &bad, fd));
  ASSERT_REFUSED (set_area (world->frontend, &area, world->rings[0]->kick_fd));
  ASSERT_TAKEN (set_area (world->frontend, &area, fd));
  close (fd);
}

/* The request is out when the front-end goes, and comes again. */
static void
test_served_again (gconstpointer data)
{
  g_autoptr (HandWorld) world = hand_world_new (data);
  HandRing *ring = world->rings[0];
  RawInflight area;
  int fd = new_area (world, &area);
  guint8 *bytes;

  ASSERT_TAKEN (set_area (world->frontend, &area, fd));
  hand_ring_start (ring);
  hand_ring_echo (ring);
  g_assert_cmpuint (hand_ring_get_base (ring), ==, 1);
  ASSERT_TAKEN (raw_u64 (world->frontend, MSG_SET_STATUS, 0)); /* T2 */
  /* What a device leaves behind that is killed after it took head 4 (IF4). */
  hand_ring_put_echo (ring, 4);
  hand_ring_offer (ring, 4);
  bytes = mmap (NULL, area.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t) area.offset);
  g_assert_true (bytes != MAP_FAILED);
  g_assert_cmpuint (bytes[8], ==, 1); /* version */
  bytes[16 + 16 * 4] = 1;
  munmap (bytes, area.size);
  close (fd);

  ring->base = 2; /* IF6: whatever it says */
  hand_ring_start (ring);
  hand_ring_wait_used (ring, 2);
  hand_ring_assert_echo (ring, 4, 1);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, 2); /* once */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("IF2-a-new-area-is-zero-and-comes-in-the-size-that-was-asked-with", test_sizes);
  RULE ("IF3-an-area-that-cannot-be-has-no-descriptor", test_impossible);
  RULE ("IF3-an-area-that-does-not-fit-is-refused", test_misfit);
  RULE ("T2-status-0-keeps-the-area-and-requests-are-served-again", test_served_again);
  return g_test_run ();
}
