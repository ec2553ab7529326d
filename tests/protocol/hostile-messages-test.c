/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that a front-end must not send: cut, slow, oversized, unknown, with wrong numbers. After
 * each the process lives, another front-end is served and nothing is left behind. Public API only.
 */
#include "hostile-device.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Those that have an answer of their own, asked for or not. */
static const guint own_answers[]
    = { 1, 11, 15, 17, 22, 24, 26, 28, 30, 31, 36, 40, 41, 42, 43, 44 };

static gboolean
has_own_answer (Hostile *h, guint request)
{
  if (request == MSG_SET_LOG_BASE) /* LOG_SHMFD */
    return (vhost_frontend_get_protocol_features (h->attacker) & RAW_BIT (1)) != 0;
  for (guint i = 0; i < G_N_ELEMENTS (own_answers); i++)
    if (own_answers[i] == request)
      return TRUE;
  return FALSE;
}

/* Sends one message and counts its answers: those that come before the answer to the next one. */
static guint
count_answers (VhostFrontend *frontend, guint request, guint flags, gconstpointer payload,
               gsize size, const int *fds, guint n_fds)
{
  guint n = 0;
  GError *error = NULL;

  vhost_frontend_send (frontend, request, flags, payload, size, fds, n_fds, &error);
  g_assert_no_error (error);
  vhost_frontend_send (frontend, MSG_GET_PROTOCOL_FEATURES, RAW_VERSION, NULL, 0, NULL, 0, &error);
  g_assert_no_error (error);
  for (;;)
    {
      guint answered, answer_flags;

      vhost_frontend_receive (frontend, &answered, &answer_flags, NULL, NULL, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmphex (answer_flags, ==, RAW_VERSION | RAW_REPLY);
      if (answered == MSG_GET_PROTOCOL_FEATURES && (request != MSG_GET_PROTOCOL_FEATURES || n > 0))
        return n;
      g_assert_cmpuint (answered, ==, request);
      n++;
    }
}

/* ---- Pieces ---- */

/* The first @n bytes of a message, then the witness, then the rest. */
static void
assert_in_two (GByteArray *bytes, guint n)
{
  Hostile h;
  guint request;
  GError *error = NULL;

  hostile_begin (&h);
  vhost_frontend_send_raw (h.attacker, bytes->data, n, NULL, 0, &error);
  g_assert_no_error (error);
  hostile_assert_witness (&h);
  vhost_frontend_send_raw (h.attacker, bytes->data + n, bytes->len - n, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (h.attacker, &request, NULL, NULL, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_SET_STATUS);
  raw_assert_in_step (h.attacker);
  hostile_end (&h);
}

static GByteArray *
status_message (void)
{
  const guint64 status = 1;

  return raw_bytes (MSG_SET_STATUS, RAW_VERSION | RAW_NEED_REPLY, &status, sizeof status);
}

static void
test_half_header (void)
{
  g_autoptr (GByteArray) bytes = status_message ();

  assert_in_two (bytes, 5);
}

static void
test_header_alone (void)
{
  g_autoptr (GByteArray) bytes = status_message ();

  assert_in_two (bytes, RAW_HEADER_SIZE);
}

static void
test_half_payload (void)
{
  g_autoptr (GByteArray) bytes = status_message ();

  assert_in_two (bytes, RAW_HEADER_SIZE + 3);
}

static void
test_bytes (void)
{
  Hostile h;
  g_autoptr (GByteArray) bytes = status_message ();
  guint64 answer = 1;
  gsize size = sizeof answer;
  GError *error = NULL;

  hostile_begin (&h);
  for (guint i = 0; i < bytes->len; i++)
    {
      vhost_frontend_send_raw (h.attacker, bytes->data + i, 1, NULL, 0, &error);
      g_assert_no_error (error);
      hostile_assert_witness (&h);
    }
  vhost_frontend_receive (h.attacker, NULL, NULL, &answer, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (answer, ==, 0);
  hostile_end (&h);
}

/* Many at once, and the last one cut. */
static void
test_pipelined (void)
{
  Hostile h;
  g_autoptr (GByteArray) all = g_byte_array_new ();
  g_autoptr (GByteArray) one = status_message ();
  GError *error = NULL;

  hostile_begin (&h);
  for (guint i = 0; i < 1000; i++)
    g_byte_array_append (all, one->data, one->len);
  vhost_frontend_send_raw (h.attacker, all->data, all->len - 7, NULL, 0, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 999; i++)
    {
      guint request;

      vhost_frontend_receive (h.attacker, &request, NULL, NULL, NULL, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (request, ==, MSG_SET_STATUS);
    }
  hostile_assert_witness (&h);
  hostile_end (&h);
}

/* Asks and asks and does not read. */
static void
test_unread (void)
{
  Hostile h;
  g_autoptr (GByteArray) question = raw_bytes (MSG_GET_FEATURES, RAW_VERSION, NULL, 0);
  guint n_sent = 0, n_full = 0;
  GError *error = NULL;

  hostile_begin (&h);
  /* Full for good is full after each of several rounds in which the daemon had its turn. */
  while (n_full < 20)
    {
      ssize_t n = send (vhost_frontend_get_fd (h.attacker), question->data, question->len,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

      if (n > 0)
        {
          g_assert_cmpint (n, ==, question->len);
          n_sent++;
          n_full = 0;
          g_assert_cmpuint (n_sent, <, 1000 * 1000);
          continue;
        }
      g_assert_cmpint (errno, ==, EAGAIN);
      n_full++;
      hostile_assert_witness (&h);
    }
  hostile_assert_no_spin ();
  for (guint i = 0; i < n_sent; i++)
    {
      guint request;

      vhost_frontend_receive (h.attacker, &request, NULL, NULL, NULL, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (request, ==, MSG_GET_FEATURES);
    }
  raw_assert_in_step (h.attacker);
  hostile_end (&h);
}

/* The same, and then it goes. */
static void
test_unread_and_gone (void)
{
  Hostile h;
  g_autoptr (GByteArray) question = raw_bytes (MSG_GET_FEATURES, RAW_VERSION, NULL, 0);

  hostile_begin (&h);
  for (guint i = 0; i < 2000; i++)
    if (send (vhost_frontend_get_fd (h.attacker), question->data, question->len,
              MSG_DONTWAIT | MSG_NOSIGNAL)
        < 0)
      break;
  hostile_assert_witness (&h);
  hostile_end (&h);
}

/* ---- Headers ---- */

/* Nothing after such a header can be understood. */
static void
assert_header_closes (guint request, guint flags, guint size)
{
  Hostile h;
  const RawHeader header = { request, flags, size };
  GError *error = NULL;

  hostile_begin (&h);
  vhost_frontend_send_raw (h.attacker, &header, sizeof header, NULL, 0, &error);
  g_assert_no_error (error);
  raw_assert_closed (h.attacker);
  hostile_end (&h);
}

static void
test_size_max_and_1 (void)
{
  assert_header_closes (MSG_SET_STATUS, RAW_VERSION, RAW_MAX_PAYLOAD + 1);
}

static void
test_size_2_31 (void)
{
  assert_header_closes (MSG_SET_STATUS, RAW_VERSION, 0x80000000);
}

static void
test_size_max (void)
{
  assert_header_closes (MSG_SET_STATUS, RAW_VERSION, G_MAXUINT32);
}

static void
test_unknown_and_large (void)
{
  assert_header_closes (77, RAW_VERSION | RAW_NEED_REPLY, 1 << 20);
}

static void
test_no_version (void)
{
  assert_header_closes (MSG_GET_FEATURES, RAW_NEED_REPLY, 0);
}

static void
test_version_2 (void)
{
  assert_header_closes (MSG_GET_FEATURES, 2, 0);
}

static void
test_text (void)
{
  Hostile h;
  GError *error = NULL;

  hostile_begin (&h);
  vhost_frontend_send_raw (h.attacker, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, NULL, 0, &error);
  g_assert_no_error (error);
  raw_assert_closed (h.attacker);
  hostile_end (&h);
}

/* Bits of the flags that nobody has given a meaning. */
static void
test_flags (void)
{
  Hostile h;

  hostile_begin (&h);
  g_assert_cmpuint (
      count_answers (h.attacker, MSG_GET_FEATURES, 0xfffffff0 | RAW_VERSION, NULL, 0, NULL, 0), ==,
      1);
  g_assert_cmpuint (
      count_answers (h.attacker, MSG_SET_OWNER, 0x80000000 | RAW_VERSION, NULL, 0, NULL, 0), ==, 0);
  hostile_end (&h);
}

/* An answer to nothing. It changes nothing. */
static void
test_reply (void)
{
  Hostile h;
  const guint64 status = 0x55;
  guint now;
  GError *error = NULL;

  hostile_begin (&h);
  g_assert_cmpuint (count_answers (h.attacker, MSG_SET_STATUS, RAW_VERSION | RAW_REPLY, &status,
                                   sizeof status, NULL, 0),
                    ==, 0);
  vhost_frontend_get_status (h.attacker, &now, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (now, !=, status);
  hostile_end (&h);
}

/* ---- Every number of a message, every size of a payload ---- */

static void
assert_answers_to_all (Hostile *h, guint request)
{
  static const guint8 zeros[RAW_MAX_PAYLOAD];
  const guint sizes[] = { 0, 1, 8, 20, 40, 2055, RAW_MAX_PAYLOAD };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_assert_cmpuint (count_answers (h->attacker, request, RAW_VERSION, zeros, sizes[i], NULL, 0),
                        ==, has_own_answer (h, request));
      g_assert_cmpuint (count_answers (h->attacker, request, RAW_VERSION | RAW_NEED_REPLY, zeros,
                                       sizes[i], NULL, 0),
                        ==, 1);
    }
}

static void
assert_requests (guint first, guint last, gboolean rings)
{
  Hostile h;

  hostile_begin (&h);
  hostile_reconnect (&h, rings);
  for (guint i = 0; i <= last - first; i++)
    assert_answers_to_all (&h, first + i);
  hostile_end (&h);
}

static void
test_every_request (void)
{
  assert_requests (0, MSG_N - 1, FALSE);
}

static void
test_every_request_running (void)
{
  assert_requests (0, MSG_N - 1, TRUE);
}

static void
test_unknown (void)
{
  assert_requests (MSG_N, 60, FALSE);
}

static void
test_unknown_large (void)
{
  const guint requests[] = { 255, 256, 257, 0x10001, 0x7fffffff, 0x80000001, G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    assert_requests (requests[i], requests[i], TRUE);
}

/* Before anything is negotiated. */
static void
test_unnegotiated (void)
{
  Hostile h;
  GError *error = NULL;

  hostile_begin (&h);
  hostile_disconnect (&h);
  h.attacker = vhost_frontend_new ();
  vhost_frontend_connect (h.attacker, h.device->socket_path, &error);
  g_assert_no_error (error);
  for (guint request = 0; request <= 60; request++)
    assert_answers_to_all (&h, request);
  hostile_end (&h);
}

static void
test_refusals (void)
{
  /* Of features that are not offered, and of the table's holes. */
  const guint requests[] = { 0, 7, 19, 20, 23, 27, 29, 32, 33, 35, MSG_N, 60 };
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    g_assert_cmpuint (raw_u64 (h.attacker, requests[i], 0), !=, 0);
  hostile_end (&h);
}

/* ---- Indices ---- */

static const guint32 bad_indices[] = {
  1, 2, 255, 256, 257, 0x10000, 0x1000000, 0x7fffffff, 0x80000000, G_MAXUINT32,
};

static void
assert_bad_index (guint request, guint num)
{
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (bad_indices); i++)
    g_assert_cmpuint (raw_state (h.attacker, request, bad_indices[i], num), !=, 0);
  live_device_assert_echo (h.attacker, 0, "the ring that exists");
  hostile_end (&h);
}

static void
test_num_index (void)
{
  assert_bad_index (MSG_SET_VRING_NUM, 16);
}

static void
test_base_index (void)
{
  assert_bad_index (MSG_SET_VRING_BASE, 0);
}

static void
test_enable_index (void)
{
  assert_bad_index (MSG_SET_VRING_ENABLE, 0);
}

static void
test_addr_index (void)
{
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (bad_indices); i++)
    {
      RawAddr addr = { .index = bad_indices[i], .descriptor = 0x100000, .available = 0x101000 };

      g_assert_cmpuint (raw_request (h.attacker, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0),
                        !=, 0);
    }
  hostile_end (&h);
}

/* It has an answer of its own, whose number must not look like an index. */
static void
test_get_base_index (void)
{
  Hostile h;
  GError *error = NULL;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (bad_indices); i++)
    {
      RawState state = { .index = bad_indices[i] };
      guint request;
      gsize size = 99;

      vhost_frontend_send (h.attacker, MSG_GET_VRING_BASE, RAW_VERSION, &state, sizeof state, NULL,
                           0, &error);
      g_assert_no_error (error);
      vhost_frontend_receive (h.attacker, &request, NULL, NULL, &size, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (request, ==, MSG_GET_VRING_BASE);
      g_assert_cmpuint (size, !=, sizeof state);
    }
  live_device_assert_echo (h.attacker, 0, "the ring that exists");
  hostile_end (&h);
}

static void
assert_bad_fd_index (guint request)
{
  Hostile h;
  int fd = eventfd (0, EFD_CLOEXEC);

  hostile_begin (&h);
  for (guint i = 1; i < 256; i++)
    {
      g_assert_cmpuint (raw_ring_fd (h.attacker, request, i, fd), !=, 0);
      g_assert_cmpuint (raw_ring_fd (h.attacker, request, i | RAW_NO_FD, -1), !=, 0);
    }
  live_device_assert_echo (h.attacker, 0, "the ring that exists");
  hostile_end (&h);
  close (fd);
}

static void
test_kick_index (void)
{
  assert_bad_fd_index (MSG_SET_VRING_KICK);
}

static void
test_call_index (void)
{
  assert_bad_fd_index (MSG_SET_VRING_CALL);
}

static void
test_err_index (void)
{
  assert_bad_fd_index (MSG_SET_VRING_ERR);
}

/* ---- Other numbers ---- */

static void
test_nums (void)
{
  const guint32 bad[] = { 0, 3, 15, 1023, 2048, 32768, 65536, 0x10010, 0x80000000, G_MAXUINT32 };
  Hostile h;

  hostile_begin (&h);
  hostile_reconnect (&h, FALSE);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_NUM, 0, bad[i]), !=, 0);
  for (guint32 num = 1; num <= 1024; num *= 2)
    g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_NUM, 0, num), ==, 0);
  hostile_end (&h);
}

static void
test_bases (void)
{
  const guint32 bad[] = { 0x10000, 0x10001, 0x80000000, G_MAXUINT32 };
  Hostile h;

  hostile_begin (&h);
  hostile_reconnect (&h, FALSE);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_BASE, 0, bad[i]), !=, 0);
  g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_BASE, 0, 0xffff), ==, 0);
  hostile_end (&h);
}

static void
test_enables (void)
{
  const guint32 bad[] = { 2, 256, 257, 0x10001, 0x80000000, G_MAXUINT32 };
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_ENABLE, 0, bad[i]), !=, 0);
  live_device_assert_echo (h.attacker, 0, "enabled still");
  hostile_end (&h);
}

static void
test_statuses (void)
{
  const guint64 bad[] = { 256, 0x1000f, RAW_BIT (32), RAW_BIT (63), G_MAXUINT64 };
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_u64 (h.attacker, MSG_SET_STATUS, bad[i]), !=, 0);
  hostile_end (&h);
}

/* Rings at places that are none. The start is refused, whatever was said before. */
static void
test_addresses (void)
{
  const guint64 bad[] = {
    0,           1, 0xfffff, 0x500000, 0x4ffff0, RAW_BIT (63), G_MAXUINT64 - 4095, G_MAXUINT64 - 15,
    G_MAXUINT64,
  };
  Hostile h;
  int fd = eventfd (0, EFD_CLOEXEC);
  GError *error = NULL;

  hostile_begin (&h);
  hostile_reconnect (&h, FALSE);
  vhost_frontend_add_memory (h.attacker, 0x100000, 4 << 20, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (raw_state (h.attacker, MSG_SET_VRING_NUM, 0, 256), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    for (guint part = 0; part < 3; part++)
      {
        RawAddr addr = { .descriptor = 0x100000, .available = 0x102000, .used = 0x103000 };

        *(part == 0 ? &addr.descriptor : part == 1 ? &addr.available : &addr.used) = bad[i];
        raw_request (h.attacker, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
        g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_KICK, 0, fd), !=, 0);
      }
  hostile_end (&h);
  close (fd);
}

/* The bits behind the flag have no meaning. */
static void
test_high_bits (void)
{
  Hostile h;
  const guint64 high = ~G_GUINT64_CONSTANT (0x1ff);

  hostile_begin (&h);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, high | RAW_NO_FD, -1), ==, 0);
  g_assert_cmpuint (
      raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, high,
                   vhost_frontend_queue_get_call_fd (vhost_frontend_get_queue (h.attacker, 0))),
      ==, 0);
  live_device_assert_echo (h.attacker, 0, "is called");
  hostile_end (&h);
}

#define TEST(name, function) g_test_add_func ("/protocol/hostile-" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("half-a-header-stops-nobody", test_half_header);
  TEST ("a-header-without-its-payload-stops-nobody", test_header_alone);
  TEST ("half-a-payload-stops-nobody", test_half_payload);
  TEST ("a-message-byte-by-byte-is-answered", test_bytes);
  TEST ("a-thousand-messages-at-once-are-answered", test_pipelined);
  TEST ("a-peer-that-does-not-read-is-not-read", test_unread);
  TEST ("a-peer-that-never-read-may-go", test_unread_and_gone);
  TEST ("a-payload-longer-than-any-closes", test_size_max_and_1);
  TEST ("a-payload-of-2-GiB-closes", test_size_2_31);
  TEST ("the-largest-payload-closes", test_size_max);
  TEST ("an-unknown-message-of-1-MiB-closes", test_unknown_and_large);
  TEST ("a-header-without-version-closes", test_no_version);
  TEST ("another-version-closes", test_version_2);
  TEST ("another-protocol-closes", test_text);
  TEST ("unknown-flags-are-ignored", test_flags);
  TEST ("an-answer-that-nobody-asked-for-is-refused", test_reply);
  TEST ("every-message-of-every-size-has-its-answers", test_every_request);
  TEST ("every-message-of-every-size-has-its-answers-while-a-ring-runs",
        test_every_request_running);
  TEST ("every-message-has-its-answers-before-negotiation", test_unnegotiated);
  TEST ("unknown-messages-have-their-answers", test_unknown);
  TEST ("large-unknown-numbers-have-their-answers", test_unknown_large);
  TEST ("what-is-not-offered-is-refused", test_refusals);
  TEST ("SET_VRING_NUM-of-no-ring-is-refused", test_num_index);
  TEST ("SET_VRING_BASE-of-no-ring-is-refused", test_base_index);
  TEST ("SET_VRING_ENABLE-of-no-ring-is-refused", test_enable_index);
  TEST ("SET_VRING_ADDR-of-no-ring-is-refused", test_addr_index);
  TEST ("GET_VRING_BASE-of-no-ring-is-refused", test_get_base_index);
  TEST ("SET_VRING_KICK-of-no-ring-is-refused", test_kick_index);
  TEST ("SET_VRING_CALL-of-no-ring-is-refused", test_call_index);
  TEST ("SET_VRING_ERR-of-no-ring-is-refused", test_err_index);
  TEST ("sizes-of-rings-are-checked", test_nums);
  TEST ("bases-of-rings-are-checked", test_bases);
  TEST ("enable-takes-0-and-1", test_enables);
  TEST ("a-status-has-8-bits", test_statuses);
  TEST ("a-ring-at-no-place-does-not-start", test_addresses);
  TEST ("bits-above-the-no-descriptor-flag-are-ignored", test_high_bits);
  return g_test_run ();
}
