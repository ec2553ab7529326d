/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Framing of messages and descriptors, with a peer that does everything wrong. */
#include "vhost-channel-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE (g_get_monotonic_time () + 20 * G_USEC_PER_SEC)

typedef struct
{
  VhostChannel *channel;
  int peer;
  guint free_before;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  int pair[2];
  vhost_fd_settle ();
  f->free_before = vhost_fd_count_free ();
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  f->channel = vhost_channel_new_take_fd (pair[0]);
  f->peer = pair[1];
}

/* Every test ends with as many descriptors as it began with. */
static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->channel, vhost_channel_free);
  vhost_fd_clear (&f->peer);
  vhost_fd_settle ();
  g_assert_cmpuint (vhost_fd_count_free (), ==, f->free_before);
}

/* Sends from the peer with @n_fds fresh descriptors. */
static void
peer_send (Fixture *f, const void *data, gsize size, guint n_fds)
{
  union
  {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int) * 64)];
  } control;
  int fds[64];
  struct iovec iov = { (void *) data, size };
  struct msghdr msghdr = { .msg_iov = &iov, .msg_iovlen = 1 };
  for (guint i = 0; i < n_fds; i++)
    fds[i] = eventfd (i, EFD_CLOEXEC);
  if (n_fds > 0)
    {
      memset (&control, 0, sizeof control);
      msghdr.msg_control = &control;
      msghdr.msg_controllen = CMSG_SPACE (sizeof (int) * n_fds);
      struct cmsghdr *cmsg = CMSG_FIRSTHDR (&msghdr);
      cmsg->cmsg_level = SOL_SOCKET;
      cmsg->cmsg_type = SCM_RIGHTS;
      cmsg->cmsg_len = CMSG_LEN (sizeof (int) * n_fds);
      memcpy (CMSG_DATA (cmsg), fds, sizeof (int) * n_fds);
    }
  g_assert_cmpint (sendmsg (f->peer, &msghdr, MSG_NOSIGNAL), ==, size);
  for (guint i = 0; i < n_fds; i++)
    close (fds[i]);
}

typedef struct
{
  VhostWireHeader header;
  guint8 payload[600];
} Packet;

static gsize
make_packet (Packet *packet, guint32 request, guint32 size)
{
  packet->header = (VhostWireHeader){ request, VHOST_WIRE_VERSION, size };
  for (guint i = 0; i < MIN (size, sizeof packet->payload); i++)
    packet->payload[i] = (guint8) (i + 1);
  return VHOST_WIRE_HEADER_SIZE + size;
}

static VhostMessage *
expect_message (Fixture *f, guint32 request, guint32 size, guint n_fds)
{
  g_autoptr (GError) error = NULL;
  VhostMessage *message = NULL;
  VhostChannelResult result = vhost_channel_receive (f->channel, &message, &error);
  g_assert_no_error (error);
  g_assert_cmpint (result, ==, VHOST_CHANNEL_MESSAGE);
  g_assert_cmpuint (message->header.request, ==, request);
  g_assert_cmpuint (message->header.size, ==, size);
  g_assert_cmpuint (message->n_fds, ==, n_fds);
  for (guint i = 0; i < sizeof message->payload.bytes; i++)
    g_assert_cmpuint (message->payload.bytes[i], ==, i < size ? (guint8) (i + 1) : 0);
  for (guint i = 0; i < n_fds; i++)
    g_assert_cmpint (fcntl (message->fds[i], F_GETFD) & FD_CLOEXEC, !=, 0);
  return message;
}

static void
expect_result (Fixture *f, VhostChannelResult expected, int code)
{
  g_autoptr (GError) error = NULL;
  VhostMessage *message = NULL;
  g_assert_cmpint (vhost_channel_receive (f->channel, &message, &error), ==, expected);
  g_assert_null (message);
  if (code >= 0)
    g_assert_error (error, VHOST_ERROR, code);
  else
    g_assert_no_error (error);
}

static void
test_message_with_eight_fds (Fixture *f, gconstpointer data)
{
  Packet packet;
  gsize size = make_packet (&packet, 5, 264);
  expect_result (f, VHOST_CHANNEL_AGAIN, -1);
  peer_send (f, &packet, size, 8);
  VhostMessage *message = expect_message (f, 5, 264, 8);
  /* In the order in which they were sent. */
  for (guint i = 1; i < 8; i++)
    {
      guint64 value = 0;
      g_assert_cmpint (read (message->fds[i], &value, sizeof value), ==, sizeof value);
      g_assert_cmpuint (value, ==, i);
    }
  expect_result (f, VHOST_CHANNEL_AGAIN, -1);
}

static void
test_stolen_fd_survives_and_others_close (Fixture *f, gconstpointer data)
{
  Packet packet;
  peer_send (f, &packet, make_packet (&packet, 5, 0), 2);
  VhostMessage *message = expect_message (f, 5, 0, 2);
  int kept = vhost_message_steal_fd (message, 1), other = message->fds[0];
  g_assert_cmpint (vhost_message_steal_fd (message, 1), ==, -1);
  g_assert_cmpint (vhost_message_steal_fd (message, 2), ==, -1);
  g_assert_cmpint (vhost_message_steal_fd (message, G_MAXUINT), ==, -1);
  expect_result (f, VHOST_CHANNEL_AGAIN, -1);
  g_assert_cmpint (fcntl (kept, F_GETFD), >=, 0);
  g_assert_cmpint (fcntl (other, F_GETFD), ==, -1);
  close (kept);
}

static void
test_merged_messages_keep_their_own_fds (Fixture *f, gconstpointer data)
{
  Packet packet;
  peer_send (f, &packet, make_packet (&packet, 1, 0), 0);
  peer_send (f, &packet, make_packet (&packet, 2, 8), 0);
  peer_send (f, &packet, make_packet (&packet, 12, 8), 1);
  peer_send (f, &packet, make_packet (&packet, 13, 8), 1);
  peer_send (f, &packet, make_packet (&packet, 3, 0), 0);
  expect_message (f, 1, 0, 0);
  expect_message (f, 2, 8, 0);
  expect_message (f, 12, 8, 1);
  expect_message (f, 13, 8, 1);
  expect_message (f, 3, 0, 0);
  expect_result (f, VHOST_CHANNEL_AGAIN, -1);
}

static void
test_byte_by_byte_never_blocks (Fixture *f, gconstpointer data)
{
  Packet packet;
  gsize size = make_packet (&packet, 37, 40);
  for (gsize i = 0; i < size; i++)
    {
      expect_result (f, VHOST_CHANNEL_AGAIN, -1);
      peer_send (f, (guint8 *) &packet + i, 1, i == 0 ? 3 : 0);
    }
  expect_message (f, 37, 40, 3);
}

static void
test_close_between_messages_is_no_error (Fixture *f, gconstpointer data)
{
  Packet packet;
  peer_send (f, &packet, make_packet (&packet, 3, 0), 0);
  vhost_fd_clear (&f->peer);
  expect_message (f, 3, 0, 0);
  expect_result (f, VHOST_CHANNEL_CLOSED, -1);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_reset_between_messages_is_a_close (Fixture *f, gconstpointer data)
{
  /* A peer that goes without having read our reply. */
  guint64 value = 0;
  g_assert_true (vhost_channel_send (f->channel, 1, 5, &value, 8, NULL, 0, NULL));
  vhost_fd_clear (&f->peer);
  expect_result (f, VHOST_CHANNEL_CLOSED, -1);
}

static void
test_close_in_mid_message_is_an_error (Fixture *f, gconstpointer data)
{
  Packet packet;
  make_packet (&packet, 5, 40);
  peer_send (f, &packet, GPOINTER_TO_SIZE (data), 4);
  vhost_fd_clear (&f->peer);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_fds_behind_the_first_byte_are_refused (Fixture *f, gconstpointer data)
{
  Packet packet;
  gsize size = make_packet (&packet, 12, 8), split = GPOINTER_TO_SIZE (data);
  peer_send (f, &packet, split, 0);
  expect_result (f, VHOST_CHANNEL_AGAIN, -1);
  peer_send (f, (guint8 *) &packet + split, size - split, 1);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_PROTOCOL);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_nine_fds_are_refused (Fixture *f, gconstpointer data)
{
  Packet packet;
  peer_send (f, &packet, make_packet (&packet, 5, 8), GPOINTER_TO_UINT (data));
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_PROTOCOL);
}

static void
test_fds_beyond_our_limit_are_refused (Fixture *f, gconstpointer data)
{
  Packet packet;
  struct rlimit old, low;
  peer_send (f, &packet, make_packet (&packet, 5, 8), 8);
  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  low = old;
  low.rlim_cur = (rlim_t) f->peer + 4; /* room for three, if nothing lies between */
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &low), ==, 0);
  g_autoptr (GError) error = NULL;
  VhostMessage *message = NULL;
  VhostChannelResult result = vhost_channel_receive (f->channel, &message, &error);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
  g_assert_cmpint (result, ==, VHOST_CHANNEL_ERROR);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
}

static void
test_bad_header_ends_the_stream (Fixture *f, gconstpointer data)
{
  /* The fds that came with it are closed, the bytes behind it are never read as a message. */
  Packet packet;
  gsize size = make_packet (&packet, 1, 0);
  packet.header.flags = 2;
  peer_send (f, &packet, size, 2);
  make_packet (&packet, 1, 0);
  peer_send (f, &packet, size, 2);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_PROTOCOL);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_size_is_refused_before_it_is_used (Fixture *f, gconstpointer data)
{
  VhostWireHeader header = { 5, VHOST_WIRE_VERSION, GPOINTER_TO_UINT (data) };
  peer_send (f, &header, sizeof header, 0);
  expect_result (f, VHOST_CHANNEL_ERROR, VHOST_ERROR_PROTOCOL);
}

static void
test_no_socket_is_an_error (void)
{
  int fds[] = { eventfd (0, EFD_CLOEXEC), -1 };
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      g_autoptr (VhostChannel) channel = vhost_channel_new_take_fd (fds[i]);
      g_autoptr (GError) error = NULL;
      VhostMessage *message;
      g_assert_cmpint (vhost_channel_receive (channel, &message, &error), ==, VHOST_CHANNEL_ERROR);
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
      g_clear_error (&error);
      g_assert_false (vhost_channel_send (channel, 1, 1, NULL, 0, NULL, 0, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
    }
}

static void
test_sends_version_and_fds (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostChannel) other = vhost_channel_new_take_fd (g_steal_fd (&f->peer));
  g_autoptr (GError) error = NULL;
  VhostMessage *message;
  int fds[2] = { eventfd (0, EFD_CLOEXEC), eventfd (7, EFD_CLOEXEC) };
  guint64 value = 42;
  g_assert_true (
      vhost_channel_send (f->channel, 31, VHOST_WIRE_FLAG_REPLY, &value, 8, fds, 2, &error));
  g_assert_true (vhost_channel_send (f->channel, 3, VHOST_WIRE_VERSION, NULL, 0, NULL, 0, &error));
  close (fds[0]);
  close (fds[1]);
  g_assert_true (vhost_channel_receive_wait (other, DEADLINE, &message, &error));
  g_assert_cmpuint (message->header.flags, ==, 5);
  g_assert_cmpuint (message->payload.u64, ==, 42);
  g_assert_cmpuint (message->n_fds, ==, 2);
  g_assert_true (vhost_channel_receive_wait (other, DEADLINE, &message, &error));
  g_assert_cmpuint (message->header.request, ==, 3);
  g_assert_cmpuint (message->header.flags, ==, 1);
  g_assert_false (vhost_channel_send (f->channel, 3, 1, NULL, 0, fds, 9, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
}

/* Fills the socket until output has to wait; returns how many messages were sent. */
static guint
fill (VhostChannel *channel, guint32 size, const int *fds, guint n_fds)
{
  g_autofree guint8 *payload = g_malloc (size);
  guint n = 0;
  for (guint i = 0; i < size; i++)
    payload[i] = (guint8) (i + 1);
  while (!vhost_channel_wants_write (channel))
    {
      g_autoptr (GError) error = NULL;
      gboolean sent = vhost_channel_send (channel, 1000 + n, 1, payload, size, fds, n_fds, &error);
      g_assert_no_error (error);
      g_assert_true (sent);
      n++;
    }
  return n;
}

static void
test_output_waits_in_order_with_its_fds (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostChannel) other = vhost_channel_new_take_fd (g_steal_fd (&f->peer));
  g_autoptr (GError) error = NULL;
  int small = 4096, fd = eventfd (0, EFD_CLOEXEC);
  setsockopt (vhost_channel_get_fd (f->channel), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  guint n = fill (f->channel, 500, &fd, 1);
  g_assert_true (vhost_channel_send (f->channel, 1000 + n, 1, NULL, 0, &fd, 1, &error));
  g_assert_true (vhost_channel_wants_write (f->channel));
  /* What waits has duplicates of its own. */
  close (fd);
  for (guint i = 0; i <= n; i++)
    {
      VhostMessage *message;
      g_assert_true (vhost_channel_flush (f->channel, &error));
      g_assert_true (vhost_channel_receive_wait (other, DEADLINE, &message, &error));
      g_assert_cmpuint (message->header.request, ==, 1000 + i);
      g_assert_cmpuint (message->header.size, ==, i < n ? 500 : 0);
      g_assert_cmpuint (message->n_fds, ==, 1);
      if (i < n)
        g_assert_cmpuint (message->payload.bytes[499], ==, (guint8) 500);
    }
  g_assert_false (vhost_channel_wants_write (f->channel));
}

static void
test_peer_that_never_reads_is_given_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int fd = eventfd (0, EFD_CLOEXEC);
  guint8 payload[2000] = { 0 };
  guint n = 0;
  while (vhost_channel_send (f->channel, 1, 1, payload, sizeof payload, &fd, 1, &error))
    g_assert_cmpuint (n++, <, 10000);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  close (fd);
  g_assert_false (vhost_channel_wants_write (f->channel));
  g_clear_error (&error);
  g_assert_false (vhost_channel_flush (f->channel, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_send_to_a_closed_peer_raises_no_signal (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  vhost_fd_clear (&f->peer);
  g_assert_false (vhost_channel_send (f->channel, 1, 1, NULL, 0, NULL, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_wait_ends_at_the_deadline (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  VhostMessage *message;
  gint64 begin = g_get_monotonic_time ();
  g_assert_false (vhost_channel_receive_wait (f->channel, begin + 2000, &message, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_cmpint (g_get_monotonic_time (), >=, begin + 2000);
  g_clear_error (&error);
  g_assert_false (vhost_channel_wait (f->channel, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_clear_error (&error);
  vhost_fd_clear (&f->peer);
  g_assert_false (vhost_channel_receive_wait (f->channel, DEADLINE, &message, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static gpointer
answering_thread (gpointer data)
{
  /* Reads all the bytes that were sent, then answers. */
  int *arguments = data;
  char buffer[4096];
  for (int left = arguments[1]; left > 0;)
    {
      ssize_t n = read (arguments[0], buffer, MIN ((int) sizeof buffer, left));
      g_assert_cmpint (n, >, 0);
      left -= (int) n;
    }
  VhostWireHeader header = { 3, 5, 0 };
  g_assert_cmpint (write (arguments[0], &header, sizeof header), ==, sizeof header);
  return NULL;
}

static void
test_wait_flushes_meanwhile (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  VhostMessage *message;
  int small = 4096;
  setsockopt (vhost_channel_get_fd (f->channel), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  guint n = fill (f->channel, 500, NULL, 0);
  int arguments[2] = { f->peer, (int) n * 512 };
  GThread *thread = g_thread_new ("peer", answering_thread, arguments);
  gboolean received = vhost_channel_receive_wait (f->channel, DEADLINE, &message, &error);
  g_assert_no_error (error);
  g_assert_true (received);
  g_assert_cmpuint (message->header.request, ==, 3);
  g_thread_join (thread);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function, data) g_test_add (path, Fixture, data, set_up, function, tear_down)
  ADD ("/channel/message-with-eight-fds", test_message_with_eight_fds, NULL);
  ADD ("/channel/stolen-fd-survives-and-others-close", test_stolen_fd_survives_and_others_close,
       NULL);
  ADD ("/channel/merged-messages-keep-their-own-fds", test_merged_messages_keep_their_own_fds,
       NULL);
  ADD ("/channel/byte-by-byte-never-blocks", test_byte_by_byte_never_blocks, NULL);
  ADD ("/channel/close-between-messages-is-no-error", test_close_between_messages_is_no_error,
       NULL);
  ADD ("/channel/reset-between-messages-is-a-close", test_reset_between_messages_is_a_close, NULL);
  ADD ("/channel/close-in-the-header-is-an-error", test_close_in_mid_message_is_an_error,
       GSIZE_TO_POINTER (5));
  ADD ("/channel/close-before-the-payload-is-an-error", test_close_in_mid_message_is_an_error,
       GSIZE_TO_POINTER (12));
  ADD ("/channel/close-in-the-payload-is-an-error", test_close_in_mid_message_is_an_error,
       GSIZE_TO_POINTER (51));
  ADD ("/channel/fds-in-mid-header-are-refused", test_fds_behind_the_first_byte_are_refused,
       GSIZE_TO_POINTER (5));
  ADD ("/channel/fds-with-the-payload-are-refused", test_fds_behind_the_first_byte_are_refused,
       GSIZE_TO_POINTER (12));
  ADD ("/channel/nine-fds-are-refused", test_nine_fds_are_refused, GUINT_TO_POINTER (9));
  ADD ("/channel/sixty-four-fds-are-refused", test_nine_fds_are_refused, GUINT_TO_POINTER (64));
  ADD ("/channel/fds-beyond-our-limit-are-refused", test_fds_beyond_our_limit_are_refused, NULL);
  ADD ("/channel/bad-header-ends-the-stream", test_bad_header_ends_the_stream, NULL);
  ADD ("/channel/size-one-too-many-is-refused", test_size_is_refused_before_it_is_used,
       GUINT_TO_POINTER (VHOST_WIRE_MAX_PAYLOAD + 1));
  ADD ("/channel/size-of-all-ones-is-refused", test_size_is_refused_before_it_is_used,
       GUINT_TO_POINTER (G_MAXUINT32));
  g_test_add_func ("/channel/no-socket-is-an-error", test_no_socket_is_an_error);
  ADD ("/channel/sends-version-and-fds", test_sends_version_and_fds, NULL);
  ADD ("/channel/output-waits-in-order-with-its-fds", test_output_waits_in_order_with_its_fds,
       NULL);
  ADD ("/channel/peer-that-never-reads-is-given-up", test_peer_that_never_reads_is_given_up, NULL);
  ADD ("/channel/send-to-a-closed-peer-raises-no-signal",
       test_send_to_a_closed_peer_raises_no_signal, NULL);
  ADD ("/channel/wait-ends-at-the-deadline", test_wait_ends_at_the_deadline, NULL);
  ADD ("/channel/wait-flushes-meanwhile", test_wait_flushes_meanwhile, NULL);
#undef ADD
  return g_test_run ();
}
