/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages without end, the want of descriptors, and connections that end at the worst moment.
 * After each the process lives, another front-end is served and nothing is left behind. Public API
 * only. */
#include "hostile-device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Again and again ---- */

static void
assert_no_leak (Hostile *h, guint request, gconstpointer payload, gsize size, int fd, guint times)
{
  guint n_before = raw_count_settled_fds ();
  guint64 first = raw_request (h->attacker, request, payload, size, &fd, fd >= 0);

  for (guint i = 1; i < times; i++)
    g_assert_cmpuint (raw_request (h->attacker, request, payload, size, &fd, fd >= 0), ==, first);
  /* One more may be kept than before, but not one for each message. */
  LIVE_WAIT_FOR (live_count_fds () <= n_before + 1);
}

static void
assert_repeated (gboolean rings)
{
  Hostile h;
  const guint64 ring = 0;
  const RawState num = { 0, 16 };
  const RawState base = { 0, 0 };
  RawTable table = { .n = 2 };
  RawSlot slot = { .region = { 0x100000, 1 << 20, 0x100000, 0 } };
  int event_fd = eventfd (0, EFD_CLOEXEC);
  int memory_fd = raw_memfd (4 << 20, 0);
  int memory_fds[2] = { memory_fd, memory_fd };
  int channel[2];
  guint n_before;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), ==, 0);
  hostile_begin (&h);
  hostile_reconnect (&h, rings);
  assert_no_leak (&h, MSG_SET_VRING_NUM, &num, sizeof num, -1, 1000);
  assert_no_leak (&h, MSG_SET_VRING_BASE, &base, sizeof base, -1, 1000);
  assert_no_leak (&h, MSG_SET_VRING_CALL, &ring, sizeof ring, event_fd, 1000);
  assert_no_leak (&h, MSG_SET_VRING_ERR, &ring, sizeof ring, event_fd, 1000);
  assert_no_leak (&h, MSG_SET_VRING_KICK, &ring, sizeof ring, event_fd, 1000);
  assert_no_leak (&h, MSG_SET_BACKEND_REQ_FD, NULL, 0, channel[1], 1000);
  assert_no_leak (&h, MSG_SET_OWNER, NULL, 0, -1, 1000);
  assert_no_leak (&h, MSG_RESET_OWNER, NULL, 0, -1, 1000);

  table.regions[0] = slot.region;
  table.regions[1] = (RawRegion){ 0x10000000, 1 << 20, 0x10000000, 1 << 20 };
  g_assert_cmpuint (raw_request (h.attacker, MSG_SET_MEM_TABLE, &table, 8 + 64, memory_fds, 2), ==,
                    0);
  n_before = raw_count_settled_fds ();
  for (guint i = 0; i < 1000; i++)
    g_assert_cmpuint (raw_request (h.attacker, MSG_SET_MEM_TABLE, &table, 8 + 64, memory_fds, 2),
                      ==, 0);
  for (guint i = 0; i < 1000; i++)
    g_assert_cmpuint (raw_request (h.attacker, MSG_ADD_MEM_REG, &slot, sizeof slot, &memory_fd, 1),
                      !=, 0);
  LIVE_WAIT_FOR (live_count_fds () <= n_before);
  assert_no_leak (&h, MSG_RESET_DEVICE, NULL, 0, -1, 100);
  hostile_end (&h);
  close (event_fd);
  close (memory_fd);
  close (channel[0]);
  close (channel[1]);
}

static void
test_repeated (void)
{
  assert_repeated (FALSE);
}

static void
test_repeated_running (void)
{
  assert_repeated (TRUE);
}

/* ---- No descriptors left ---- */

/* Numbers from 0 to @n - 1 may be used. */
static void
limit_fds (rlim_t n, struct rlimit *old)
{
  struct rlimit limit;

  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, old), ==, 0);
  limit = *old;
  limit.rlim_cur = n;
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &limit), ==, 0);
}

static void
test_few_left (void)
{
  Hostile h;
  struct rlimit old;
  GError *error = NULL;

  hostile_begin (&h);
  hostile_disconnect (&h);
  limit_fds (live_count_fds () + 20, &old);
  h.attacker = vhost_frontend_new ();
  vhost_frontend_connect (h.attacker, h.device->socket_path, &error);
  g_assert_no_error (error);
  LIVE_WAIT_FOR (raw_log_has ("file descriptors are left"));
  hostile_assert_no_spin ();
  hostile_assert_witness (&h);
  g_assert_cmpuint (raw_count_sessions (h.device), ==, 1);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
  vhost_frontend_negotiate (h.attacker, LIVE_ALL_FEATURES, LIVE_ALL_FEATURES, &error);
  g_assert_no_error (error);
  hostile_end (&h);
}

/* Takes every number below the limit. Gives what was taken. */
static GArray *
take_all_fds (void)
{
  GArray *fds = g_array_new (FALSE, FALSE, sizeof (int));
  int fd;

  while ((fd = fcntl (0, F_DUPFD_CLOEXEC, 0)) >= 0)
    g_array_append_val (fds, fd);
  g_assert_cmpint (errno, ==, EMFILE);
  return fds;
}

static void
give_fds_back (GArray *fds)
{
  for (guint i = 0; i < fds->len; i++)
    close (g_array_index (fds, int, i));
  g_array_unref (fds);
}

static void
test_none_left (void)
{
  Hostile h;
  struct rlimit old;
  GArray *taken;
  int waiting;
  int fd = raw_memfd (1 << 20, 0);
  RawSlot slot = { .region = { 0x10000000, 1 << 20, 0x10000000, 0 } };
  GError *error = NULL;

  hostile_begin (&h);
  waiting = hostile_connect (&h);
  limit_fds (live_count_fds () + 8, &old);
  taken = take_all_fds ();
  /* The descriptor cannot be had: the kernel says "truncated", and the stream is lost. */
  vhost_frontend_send (h.attacker, MSG_ADD_MEM_REG, RAW_VERSION, &slot, sizeof slot, &fd, 1,
                       &error);
  g_assert_no_error (error);
  raw_assert_closed (h.attacker);
  hostile_assert_no_spin ();
  live_device_assert_echo (h.witness, 0, "the witness");
  give_fds_back (taken);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
  close (waiting);
  hostile_end (&h);
  close (fd);
}

/* ---- The end at the worst moment ---- */

typedef struct
{
  GByteArray *bytes; /* (owned) */
  int fd;            /* -1: none; with the first byte */
} Step;

static void
add_step (GArray *steps, guint request, gconstpointer payload, guint size, int fd)
{
  Step step = { raw_bytes (request, RAW_VERSION | RAW_NEED_REPLY, payload, size), fd };

  g_array_append_val (steps, step);
}

/* All that a front-end says from its first word on, to one running ring and its end. */
static GArray *
make_handshake (int event_fd, int memory_fd, int channel_fd)
{
  GArray *steps = g_array_new (FALSE, FALSE, sizeof (Step));
  const guint64 protocol = RAW_BIT (0) | RAW_BIT (3) | RAW_BIT (5) | RAW_BIT (9) | RAW_BIT (13)
                           | RAW_BIT (15) | RAW_BIT (16) | RAW_BIT (21);
  const guint64 features = RAW_BIT (28) | RAW_BIT (29) | RAW_BIT (30) | RAW_BIT (32);
  const RawSlot slot = { .region = { 0x100000, 1 << 20, 0x100000, 0 } };
  const RawState num = { 0, 16 }, base = { 0, 0 }, enable = { 0, 1 };
  const RawAddr addr = { .descriptor = 0x100000, .available = 0x101000, .used = 0x102000 };
  const RawConfig config = { .size = 8 };
  const guint64 ring = 0, status = 15;

  add_step (steps, MSG_GET_FEATURES, NULL, 0, -1);
  add_step (steps, MSG_GET_PROTOCOL_FEATURES, NULL, 0, -1);
  add_step (steps, MSG_SET_PROTOCOL_FEATURES, &protocol, sizeof protocol, -1);
  add_step (steps, MSG_GET_QUEUE_NUM, NULL, 0, -1);
  add_step (steps, MSG_SET_BACKEND_REQ_FD, NULL, 0, channel_fd);
  add_step (steps, MSG_GET_MAX_MEM_SLOTS, NULL, 0, -1);
  add_step (steps, MSG_SET_OWNER, NULL, 0, -1);
  add_step (steps, MSG_SET_FEATURES, &features, sizeof features, -1);
  add_step (steps, MSG_GET_CONFIG, &config, 12 + 8, -1);
  add_step (steps, MSG_ADD_MEM_REG, &slot, sizeof slot, memory_fd);
  add_step (steps, MSG_SET_VRING_NUM, &num, sizeof num, -1);
  add_step (steps, MSG_SET_VRING_BASE, &base, sizeof base, -1);
  add_step (steps, MSG_SET_VRING_ADDR, &addr, sizeof addr, -1);
  add_step (steps, MSG_SET_VRING_ERR, &ring, sizeof ring, event_fd);
  add_step (steps, MSG_SET_VRING_CALL, &ring, sizeof ring, event_fd);
  add_step (steps, MSG_SET_VRING_KICK, &ring, sizeof ring, event_fd);
  add_step (steps, MSG_SET_VRING_ENABLE, &enable, sizeof enable, -1);
  add_step (steps, MSG_SET_STATUS, &status, sizeof status, -1);
  add_step (steps, MSG_REM_MEM_REG, &slot, sizeof slot, -1);
  add_step (steps, MSG_GET_VRING_BASE, &base, sizeof base, -1);
  add_step (steps, MSG_RESET_DEVICE, NULL, 0, -1);
  return steps;
}

/* The first @n bytes of all steps. */
static void
send_part (int socket_fd, GArray *steps, gsize n)
{
  for (guint i = 0; i < steps->len && n > 0; i++)
    {
      Step *step = &g_array_index (steps, Step, i);
      gsize part = MIN (n, step->bytes->len);
      union
      {
        struct cmsghdr align;
        char bytes[CMSG_SPACE (sizeof (int))];
      } control = { 0 };
      struct iovec iov = { step->bytes->data, part };
      struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

      if (step->fd >= 0)
        {
          message.msg_control = control.bytes;
          message.msg_controllen = sizeof control.bytes;
          control.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN (sizeof (int)),
                                            .cmsg_level = SOL_SOCKET,
                                            .cmsg_type = SCM_RIGHTS };
          memcpy (CMSG_DATA (&control.align), &step->fd, sizeof (int));
        }
      g_assert_cmpint (sendmsg (socket_fd, &message, MSG_NOSIGNAL), ==, (gssize) part);
      n -= part;
    }
}

static void
assert_cuts (gboolean at_messages_only)
{
  Hostile h;
  int event_fd = eventfd (0, EFD_CLOEXEC);
  int memory_fd = raw_memfd (1 << 20, 0);
  int channel[2];
  GArray *steps;
  gsize total = 0;
  guint next = 0;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), ==, 0);
  steps = make_handshake (event_fd, memory_fd, channel[1]);
  for (guint i = 0; i < steps->len; i++)
    total += g_array_index (steps, Step, i).bytes->len;
  hostile_begin (&h);
  hostile_disconnect (&h);
  for (gsize n = 0; n <= total; n++)
    {
      int fd = hostile_connect (&h);

      send_part (fd, steps, n);
      if (at_messages_only)
        {
          char answer[64];

          /* So that it has come so far, and not only its bytes. */
          if (n > 0)
            g_assert_cmpint (recv (fd, answer, sizeof answer, 0), >, 0);
          if (next < steps->len)
            n += g_array_index (steps, Step, next++).bytes->len - 1;
        }
      close (fd);
    }
  LIVE_WAIT_FOR (raw_count_sessions (h.device) == 1);
  hostile_end (&h);
  for (guint i = 0; i < steps->len; i++)
    g_byte_array_unref (g_array_index (steps, Step, i).bytes);
  g_array_unref (steps);
  close (event_fd);
  close (memory_fd);
  close (channel[0]);
  close (channel[1]);
}

static void
test_cut_anywhere (void)
{
  assert_cuts (FALSE);
}

static void
test_cut_between (void)
{
  assert_cuts (TRUE);
}

/* Requests that the device holds. */
static void
hold_requests (Hostile *h, guint n)
{
  VhostFrontendQueue *queue = vhost_frontend_get_queue (h->attacker, 0);
  VhostFrontendBuffer buffer = { vhost_frontend_allocate (h->attacker, 64, 8), 64, TRUE };

  echo_backend_hold (h->backend, TRUE);
  for (guint i = 0; i < n; i++)
    g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, h));
  vhost_frontend_queue_force_kick (queue);
  LIVE_WAIT_FOR (echo_backend_get_n_held (h->backend) == n);
  echo_backend_hold (h->backend, FALSE);
}

/* The connection ends while @request, if any, waits for held requests. */
static void
assert_gone_in_flight (guint request, gconstpointer payload, gsize size)
{
  Hostile h;
  GError *error = NULL;

  hostile_begin (&h);
  hold_requests (&h, 8);
  if (request != 0)
    {
      vhost_frontend_send (h.attacker, request, RAW_VERSION | RAW_NEED_REPLY, payload, size, NULL,
                           0, &error);
      g_assert_no_error (error);
    }
  g_clear_object (&h.attacker);
  hostile_assert_witness (&h);
  /* The session waits for its requests, and does nothing else. */
  hostile_assert_no_spin ();
  g_assert_cmpuint (raw_count_sessions (h.device), ==, 2);
  echo_backend_release (h.backend, TRUE);
  hostile_end (&h);
}

static void
test_gone_in_flight (void)
{
  assert_gone_in_flight (0, NULL, 0);
}

static void
test_gone_in_stop (void)
{
  const RawState state = { 0, 0 };

  assert_gone_in_flight (MSG_GET_VRING_BASE, &state, sizeof state);
}

static void
test_gone_in_reset (void)
{
  assert_gone_in_flight (MSG_RESET_DEVICE, NULL, 0);
}

static void
test_gone_in_removal (void)
{
  const RawSlot slot = { .region = { 0x100000, 4 << 20, 0x100000, 0 } };

  assert_gone_in_flight (MSG_REM_MEM_REG, &slot, sizeof slot);
}

/* The requests end long after everything else. */
static void
test_gone_for_good (void)
{
  Hostile h;

  hostile_begin_with (&h, 1, 20);
  hold_requests (&h, 8);
  hostile_disconnect (&h);
  hostile_reconnect (&h, TRUE);
  live_device_assert_echo (h.attacker, 0, "the same device, the next session");
  echo_backend_release (h.backend, FALSE);
  live_device_assert_echo (h.attacker, 0, "and again");
  hostile_end (&h);
}

/* Reset, kicks and the end, with no breath between them. */
static void
test_all_at_once (void)
{
  Hostile h;
  GError *error = NULL;

  hostile_begin (&h);
  for (guint i = 0; i < 100; i++)
    {
      VhostFrontendQueue *queue = vhost_frontend_get_queue (h.attacker, 0);
      VhostFrontendBuffer buffer = { vhost_frontend_allocate (h.attacker, 64, 8), 64, TRUE };
      const RawState state = { 0, 0 };

      while (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &h))
        vhost_frontend_queue_force_kick (queue);
      if (i % 2 == 0)
        vhost_frontend_send (h.attacker, MSG_RESET_DEVICE, 0, NULL, 0, NULL, 0, &error);
      else
        vhost_frontend_send (h.attacker, MSG_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0,
                             &error);
      g_assert_no_error (error);
      vhost_frontend_queue_force_kick (queue);
      if (i % 3 == 0)
        vhost_frontend_send (h.attacker, MSG_RESET_DEVICE, 0, NULL, 0, NULL, 0, &error);
      g_assert_no_error (error);
      g_clear_object (&h.attacker);
      h.attacker = live_device_connect_queues (h.device, 1, 16);
    }
  hostile_end (&h);
}

#define TEST(name, function) g_test_add_func ("/protocol/hostile-" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("messages-again-and-again-leave-no-descriptor", test_repeated);
  TEST ("messages-again-and-again-leave-no-descriptor-while-a-ring-runs", test_repeated_running);
  TEST ("with-few-descriptors-left-new-front-ends-wait", test_few_left);
  TEST ("with-no-descriptors-left-only-who-sends-one-goes", test_none_left);
  TEST ("a-connection-may-end-at-any-byte", test_cut_anywhere);
  TEST ("a-connection-may-end-after-any-message", test_cut_between);
  TEST ("a-connection-may-end-with-requests-in-flight", test_gone_in_flight);
  TEST ("a-connection-may-end-while-a-ring-stops", test_gone_in_stop);
  TEST ("a-connection-may-end-while-the-device-resets", test_gone_in_reset);
  TEST ("a-connection-may-end-while-memory-goes", test_gone_in_removal);
  TEST ("requests-may-end-after-their-session", test_gone_for_good);
  TEST ("reset-kick-and-end-may-come-at-once", test_all_at_once);
  return g_test_run ();
}
