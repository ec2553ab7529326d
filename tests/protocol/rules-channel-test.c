/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the back-end channel (B1, B2, and S3 for what goes over it), and what closes a
 * connection (E2). Public API only. */
#include "raw-device.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MSG_BACKEND_CONFIG_CHANGE 2

static void
start_ring (RawDevice *f)
{
  GError *error = NULL;

  vhost_frontend_add_memory (f->frontend, 0x100000, 1 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (f->frontend, 0, 16, &error);
  g_assert_no_error (error);
}

/* Thread: the daemon's. */
static void
notify (LiveDevice *device, gpointer data)
{
  vhost_backend_notify_config (device->backend);
}

/* Thread: the daemon's. */
static void
notify_often (LiveDevice *device, gpointer data)
{
  for (guint i = 0; i < 10000; i++)
    vhost_backend_notify_config (device->backend);
}

static void
test_change (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_config_generation (f.frontend), ==, 1);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_config_generation (f.frontend), ==, 2);
  raw_device_end (&f);
}

static void
test_s3_waits (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  for (guint i = 0; i < 3; i++)
    live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  start_ring (&f);
  /* However many there were, one tells it all. */
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  live_device_assert_echo (f.frontend, 0, "runs");
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  raw_device_end (&f);
}

static void
test_s3_after_stop (void)
{
  RawDevice f;
  GError *error = NULL;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  vhost_frontend_restart_queue (f.frontend, 0, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  raw_device_end (&f);
}

/* A channel, but no CONFIG. */
static void
test_change_not_accepted (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_CONFIG);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  raw_device_end (&f);
}

static void
test_channel_not_accepted (void)
{
  RawDevice f;
  int fds[2];

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_BACKEND_REQ);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), !=, 0);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "nothing else happens");
  close (fds[0]);
  close (fds[1]);
  raw_device_end (&f);
}

/* B1: the front-end asks before it answers. */
static void
test_b1_no_wait (void)
{
  RawDevice f;
  g_autoptr (GBytes) space = NULL;
  GError *error = NULL;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  space = vhost_frontend_get_config (f.frontend, 0, 8, &error);
  g_assert_no_error (error);
  live_device_assert_echo (f.frontend, 0, "the ring goes on too");
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
}

/* The next message's request; 0: the other end has closed. */
static guint32
read_channel (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };
  RawHeader header = { 0 };
  ssize_t n;

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  n = recv (fd, &header, sizeof header, MSG_WAITALL);
  if (n <= 0)
    return 0;
  g_assert_cmpint (n, ==, sizeof header);
  g_assert_cmpuint (header.size, ==, 0);
  return header.request;
}

/* A channel in place of the front-end's own. Returns our end; the other one is closed here. */
static int
replace_channel (RawDevice *f)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f->frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), ==, 0);
  close (fds[1]);
  return fds[0];
}

static void
test_b2_replaces (void)
{
  RawDevice f;
  int first, second;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  first = replace_channel (&f);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (first), ==, MSG_BACKEND_CONFIG_CHANGE);
  second = replace_channel (&f);
  g_assert_cmpuint (read_channel (first), ==, 0);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (second), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (first);
  close (second);
  raw_device_end (&f);
}

static void
test_channel_closed (void)
{
  RawDevice f;
  int fd;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  fd = replace_channel (&f);
  close (fd);
  live_device_call (f.device, notify, NULL);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  /* A new one works, and is told what the old one could not be. */
  fd = replace_channel (&f);
  g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (fd);
  raw_device_end (&f);
}

static void
test_channel_unread (void)
{
  RawDevice f;
  int fd;
  guint n_fds, n = 0;
  struct pollfd pollfd = { .events = POLLIN };

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  pollfd.fd = fd = replace_channel (&f);
  n_fds = raw_count_settled_fds ();
  live_device_call (f.device, notify_often, NULL);
  raw_assert_in_step (f.frontend);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  /* What a socket holds, not one for each change. */
  while (poll (&pollfd, 1, 0) == 1)
    {
      g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
      n++;
    }
  g_assert_cmpuint (n, >, 0);
  g_assert_cmpuint (n, <, 10000);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (fd);
  raw_device_end (&f);
}

/* What @bytes do on the channel is the channel's affair. */
static void
assert_channel_input (GByteArray *bytes, gboolean survives)
{
  RawDevice f;
  int fd;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  fd = replace_channel (&f);
  g_assert_cmpint (send (fd, bytes->data, bytes->len, MSG_NOSIGNAL), ==, bytes->len);
  if (survives)
    {
      live_device_call (f.device, notify, NULL);
      g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
    }
  raw_assert_in_step (f.frontend);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  close (fd);
  raw_device_end (&f);
  g_byte_array_unref (bytes);
}

static void
test_channel_garbage (void)
{
  GByteArray *bytes = g_byte_array_new ();

  g_byte_array_set_size (bytes, 4000);
  memset (bytes->data, 0xff, bytes->len);
  assert_channel_input (bytes, FALSE);
}

static void
test_channel_half (void)
{
  GByteArray *bytes = raw_bytes (MSG_BACKEND_CONFIG_CHANGE, RAW_VERSION | RAW_REPLY, NULL, 8);

  assert_channel_input (bytes, TRUE);
}

static void
test_channel_request (void)
{
  assert_channel_input (raw_bytes (MSG_SET_OWNER, RAW_VERSION | RAW_NEED_REPLY, NULL, 0), TRUE);
}

static void
test_channel_refusal (void)
{
  const guint64 refused = 1;

  assert_channel_input (raw_bytes (MSG_BACKEND_CONFIG_CHANGE, RAW_VERSION | RAW_REPLY, &refused, 8),
                        TRUE);
}

static int
make_listening (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  /* The kernel chooses an abstract name. */
  g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof (sa_family_t)), ==, 0);
  g_assert_cmpint (listen (fd, 1), ==, 0);
  return fd;
}

static void
test_channel_kinds (void)
{
  RawDevice f;
  int fds[4];

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  fds[0] = eventfd (0, EFD_CLOEXEC);
  fds[1] = raw_memfd (4096, 0);
  fds[2] = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  fds[3] = make_listening ();
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[i], 1), !=,
                        0);
      close (fds[i]);
    }
  /* The channel that was there is there still. */
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  raw_device_end (&f);
}

/* Nobody is left at the other end. */
static void
test_channel_itself (void)
{
  RawDevice f;
  int fds[2];

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  start_ring (&f);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[0], 1), ==, 0);
  g_assert_cmpint (write (fds[1], "x", 1), ==, 1);
  close (fds[0]);
  close (fds[1]);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  raw_device_end (&f);
}

static void
assert_version_closes (guint version)
{
  RawDevice f;
  GError *error = NULL;
  g_autoptr (GByteArray) bytes = raw_bytes (MSG_GET_FEATURES, version, NULL, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  raw_log_expect (TRUE);
  vhost_frontend_send_raw (f.frontend, bytes->data, bytes->len, NULL, 0, &error);
  g_assert_no_error (error);
  raw_assert_closed (f.frontend);
  raw_device_end (&f);
  raw_log_expect (FALSE);
}

static void
test_e2_version_0 (void)
{
  assert_version_closes (0);
}

static void
test_e2_version_2 (void)
{
  assert_version_closes (2);
}

static void
test_e2_version_3 (void)
{
  assert_version_closes (3);
}

/* Everything that has been read whole. */
static void
test_e2_refusal (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_FEATURES, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_PROTOCOL_FEATURES, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, 0x12345678, 0), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_VRING_NUM, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_MEM_TABLE, G_MAXUINT64), !=, 0);
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("BACKEND_CONFIG_CHANGE_MSG-tells-of-a-change", test_change);
  TEST ("B-a-change-is-not-told-without-the-feature", test_change_not_accepted);
  TEST ("B-a-channel-is-refused-without-its-feature", test_channel_not_accepted);
  TEST ("S3-a-change-waits-for-the-first-ring", test_s3_waits);
  TEST ("S3-a-change-after-the-last-ring-waits-for-the-next", test_s3_after_stop);
  TEST ("B1-the-main-socket-is-served-while-an-answer-is-due", test_b1_no_wait);
  TEST ("B2-a-second-channel-replaces-the-first", test_b2_replaces);
  TEST ("B-a-closed-channel-does-not-end-the-session", test_channel_closed);
  TEST ("B-an-unread-channel-costs-nothing", test_channel_unread);
  TEST ("B-garbage-ends-the-channel-only", test_channel_garbage);
  TEST ("B-half-an-answer-stops-nothing", test_channel_half);
  TEST ("B-a-request-on-the-channel-is-ignored", test_channel_request);
  TEST ("B-a-refusal-is-taken", test_channel_refusal);
  TEST ("B-a-channel-of-the-wrong-kind-is-refused", test_channel_kinds);
  TEST ("B-a-channel-to-nobody-ends-alone", test_channel_itself);
  TEST ("E2-version-0-closes-the-connection", test_e2_version_0);
  TEST ("E2-version-2-closes-the-connection", test_e2_version_2);
  TEST ("E2-version-3-closes-the-connection", test_e2_version_3);
  TEST ("E2-a-refused-message-closes-nothing", test_e2_refusal);
  return g_test_run ();
}
