/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's in-flight area: its two messages, and which ring gets it. */
#include "session-peer.h"

#define TEST_AREA "session-inflight"
#define TRACKED                                                                                    \
  (ALL_PROTOCOL | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD)                              \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_GET_VRING_BASE_INFLIGHT))

static void
negotiate_tracking (Fixture *f)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, TRACKED), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
}

/* GET_INFLIGHT_FD with a payload of @size; the descriptor, -1: none came. */
static int
get_area (Fixture *f, VhostWireInflight *place, guint32 size)
{
  VhostWireHeader header = { 0 };
  VhostWireInflight reply = { 0 };
  struct iovec iov[] = { { &header, sizeof header }, { &reply, size } };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct msghdr msg = { .msg_iov = iov,
                        .msg_iovlen = 2,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof control.bytes };
  int fd = -1;

  send_message (f, VHOST_WIRE_GET_INFLIGHT_FD, NEED_REPLY, place, size, NULL, 0);
  ITERATE_UNTIL (is_readable (f->peer));
  g_assert_cmpint (recvmsg (f->peer, &msg, MSG_CMSG_CLOEXEC), ==, (gssize) (sizeof header + size));
  g_assert_cmpuint (header.request, ==, VHOST_WIRE_GET_INFLIGHT_FD);
  g_assert_cmphex (header.flags, ==, 5);
  g_assert_cmpuint (header.size, ==, size);
  if (CMSG_FIRSTHDR (&msg) != NULL)
    memcpy (&fd, CMSG_DATA (CMSG_FIRSTHDR (&msg)), sizeof fd);
  *place = reply;
  return fd;
}

static guint64
set_area (Fixture *f, const VhostWireInflight *place, int fd)
{
  return call_fds (f, VHOST_WIRE_SET_INFLIGHT_FD, place, sizeof *place, &fd, 1);
}

static void
test_both_sizes (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 2, .queue_size = RING_SIZE };
  int fd;

  negotiate_tracking (f);
  fd = get_area (f, &place, 20);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpuint (place.mmap_size, >=, 2 * (16 + 16 * RING_SIZE));
  g_assert_cmpuint (place.num_queues, ==, 2);
  close (fd);
  place = (VhostWireInflight){ .num_queues = 2, .queue_size = RING_SIZE };
  fd = get_area (f, &place, 24);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_INFLIGHT_FD, &place, 20, &fd, 1), ==, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_INFLIGHT_FD, &place, 22, &fd, 1), !=, 0);
  close (fd);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0); /* one answer each */
}

static void
test_failure_has_no_area (Fixture *f, gconstpointer data)
{
  static const VhostWireInflight bad[] = {
    { .num_queues = 0, .queue_size = 8 },
    { .num_queues = N_QUEUES + 1, .queue_size = 8 },
    { .num_queues = G_MAXUINT16, .queue_size = G_MAXUINT16 },
    { .num_queues = 1, .queue_size = 0 },
  };

  negotiate_tracking (f);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      VhostWireInflight place = bad[i];

      g_assert_cmpint (get_area (f, &place, i % 2 == 0 ? 20 : 24), ==, -1);
      g_assert_cmpuint (place.mmap_size, ==, 0);
    }
}

static void
test_refuses_what_does_not_fit (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 2, .queue_size = RING_SIZE };
  VhostWireInflight bad;
  int fd;

  negotiate_tracking (f);
  fd = get_area (f, &place, 24);
  bad = place;
  bad.mmap_offset = G_MAXUINT64 - 8;
  g_assert_cmpuint (set_area (f, &bad, fd), !=, 0);
  bad = place;
  bad.mmap_size *= 2;
  g_assert_cmpuint (set_area (f, &bad, fd), !=, 0);
  bad = place;
  bad.num_queues = N_QUEUES + 1;
  g_assert_cmpuint (set_area (f, &bad, fd), !=, 0);
  bad = place;
  bad.queue_size = 32768;
  g_assert_cmpuint (set_area (f, &bad, fd), !=, 0);
  g_assert_cmpuint (set_area (f, &place, f->kick_fd), !=, 0);
  g_assert_null (f->session->inflight);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  close (fd);
}

#define PACKED_FEATURES (FEATURES | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED))

static void
test_other_layout_does_not_start (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 1, .queue_size = RING_SIZE };
  int fd;

  negotiate_tracking (f);
  fd = get_area (f, &place, 24);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  close (fd);
  start_ring (f, 0);
  (void) get_base (f, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, PACKED_FEATURES), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
}

/* QEMU's vhost-user-scsi: asked for, and given back, before the features say which layout. */
static void
test_comes_before_the_features (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 2, .queue_size = RING_SIZE };
  int fd;

  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, TRACKED), ==, 0);
  fd = get_area (f, &place, 24);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  close (fd);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, PACKED_FEATURES), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  for (guint i = 0; i < 2; i++)
    {
      describe_ring (f, i);
      g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, i, f->kick_fd), ==, 0);
    }
  g_assert_true (vhost_inflight_is_packed (f->session->inflight));
}

/* A request that was taken and not given back comes again, on another connection. */
static void
test_survives_the_connection (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 1, .queue_size = RING_SIZE };
  VhostQueueSetup setup = { 0 };
  GError *error = NULL;
  int fd;

  negotiate_tracking (f);
  fd = get_area (f, &place, 24);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_true (vhost_session_may_suspend (f->session, &f->session->vrings[0]));
  g_assert_false (vhost_session_may_suspend (f->session, &f->session->vrings[1]));
  describe_ring (f, 1); /* which is not tracked */
  g_assert_true (vhost_session_prepare_setup (f->session, &f->session->vrings[1], &setup, &error));
  g_assert_null (setup.inflight);
  g_assert_cmpuint (get_base (f, 0), ==, 1);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 0), ==, 0);
  g_assert_nonnull (f->session->inflight); /* T2 */

  end_session (f);
  f->n_closed = 0;
  connect_session (f, 10000);
  /* Whoever served before had taken head 1 and was killed: IF4's mark. */
  hand_desc (&f->hand, 1, HAND_DATA + 512, 512, 2, 0);
  hand_offer (&f->hand, 1);
  {
    guint8 *area = mmap (NULL, place.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    g_assert_true (area != MAP_FAILED);
    area[16 + 16] = 1;
    munmap (area, place.mmap_size);
  }
  negotiate_tracking (f);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  close (fd);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 1), !=, 0); /* it runs */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2); /* once, not twice */
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 2);
}

static void
test_reset_drops_it (Fixture *f, gconstpointer data)
{
  VhostWireInflight place = { .num_queues = 1, .queue_size = RING_SIZE };
  int fd;

  negotiate_tracking (f);
  fd = get_area (f, &place, 24);
  g_assert_cmpuint (set_area (f, &place, fd), ==, 0);
  close (fd);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  g_assert_null (f->session->inflight);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("answers-in-the-size-that-came", set_up, test_both_sizes);
  ADD ("a-failure-has-size-0-and-no-descriptor", set_up, test_failure_has_no_area);
  ADD ("refuses-an-area-that-does-not-fit", set_up, test_refuses_what_does_not_fit);
  ADD ("a-ring-of-the-other-layout-does-not-start", set_up, test_other_layout_does_not_start);
  ADD ("comes-before-the-features", set_up, test_comes_before_the_features);
  ADD ("requests-in-flight-survive-the-connection", set_up, test_survives_the_connection);
  ADD ("a-reset-drops-the-area", set_up, test_reset_drops_it);
  return g_test_run ();
}
