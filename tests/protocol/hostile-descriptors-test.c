/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors that a front-end must not send: too many, at the wrong byte, of the wrong kind, full,
 * broken. After each the process lives, another front-end is served and nothing is left behind.
 * Public API only. */
#include "hostile-device.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- How many, and when ---- */

/* Descriptors that belong to nothing are closed with the message, which is answered all the same.
 */
static void
assert_stray_fds (guint n)
{
  Hostile h;
  int fd = eventfd (0, EFD_CLOEXEC);
  int fds[8] = { fd, fd, fd, fd, fd, fd, fd, fd };
  guint n_before;

  hostile_begin (&h);
  hostile_reconnect (&h, FALSE);
  n_before = raw_count_settled_fds ();
  for (guint request = 0; request <= 60; request++)
    {
      guint answered;
      GError *error = NULL;

      /* These are about rings and their log, and may keep one. */
      if (((request >= MSG_SET_VRING_KICK && request <= MSG_SET_VRING_ERR)
           || request == MSG_SET_LOG_FD)
          && n == 1)
        continue;
      vhost_frontend_send (h.attacker, request, RAW_VERSION | RAW_NEED_REPLY, NULL, 0, fds, n,
                           &error);
      g_assert_no_error (error);
      vhost_frontend_receive (h.attacker, &answered, NULL, NULL, NULL, NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (answered, ==, request);
    }
  LIVE_WAIT_FOR (live_count_fds () <= n_before);
  hostile_end (&h);
  close (fd);
}

static void
test_one_stray (void)
{
  assert_stray_fds (1);
}

static void
test_eight_stray (void)
{
  assert_stray_fds (8);
}

static void
assert_too_many (guint n)
{
  Hostile h;
  int fds[253];
  GError *error = NULL;

  fds[0] = eventfd (0, EFD_CLOEXEC);
  for (guint i = 1; i < G_N_ELEMENTS (fds); i++)
    fds[i] = fds[0];
  hostile_begin (&h);
  vhost_frontend_send (h.attacker, MSG_SET_MEM_TABLE, RAW_VERSION, NULL, 0, fds, n, &error);
  g_assert_no_error (error);
  raw_assert_closed (h.attacker);
  hostile_end (&h);
  close (fds[0]);
}

static void
test_nine (void)
{
  assert_too_many (9);
}

static void
test_253 (void)
{
  assert_too_many (253);
}

/* They belong to the first byte of the header; here they come with byte @at. */
static void
assert_late_fds (guint at)
{
  Hostile h;
  const guint64 ring = 0;
  int fd = eventfd (0, EFD_CLOEXEC);
  g_autoptr (GByteArray) bytes = raw_bytes (MSG_SET_VRING_CALL, RAW_VERSION, &ring, sizeof ring);
  GError *error = NULL;

  hostile_begin (&h);
  vhost_frontend_send_raw (h.attacker, bytes->data, at, NULL, 0, &error);
  g_assert_no_error (error);
  hostile_assert_witness (&h);
  vhost_frontend_send_raw (h.attacker, bytes->data + at, bytes->len - at, &fd, 1, &error);
  g_assert_no_error (error);
  raw_assert_closed (h.attacker);
  hostile_end (&h);
  close (fd);
}

static void
test_late_header (void)
{
  assert_late_fds (4);
}

static void
test_late_payload (void)
{
  assert_late_fds (RAW_HEADER_SIZE);
}

static void
test_late_byte (void)
{
  assert_late_fds (RAW_HEADER_SIZE + 7);
}

/* Their message never gets whole. */
static void
test_cut_with_fds (void)
{
  Hostile h;
  int fd = eventfd (0, EFD_CLOEXEC);
  int fds[8] = { fd, fd, fd, fd, fd, fd, fd, fd };
  g_autoptr (GByteArray) bytes = raw_bytes (MSG_SET_MEM_TABLE, RAW_VERSION, NULL, 264);
  GError *error = NULL;

  hostile_begin (&h);
  vhost_frontend_send_raw (h.attacker, bytes->data, bytes->len, fds, 8, &error);
  g_assert_no_error (error);
  hostile_assert_witness (&h);
  hostile_end (&h);
  close (fd);
}

static void
test_flag_and_fd (void)
{
  const guint requests[] = { MSG_SET_VRING_KICK, MSG_SET_VRING_CALL, MSG_SET_VRING_ERR };
  Hostile h;
  int fd = eventfd (0, EFD_CLOEXEC);

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    {
      g_assert_cmpuint (raw_ring_fd (h.attacker, requests[i], RAW_NO_FD, fd), !=, 0);
      g_assert_cmpuint (raw_ring_fd (h.attacker, requests[i], 0, -1), !=, 0);
    }
  live_device_assert_echo (h.attacker, 0, "as before");
  hostile_end (&h);
  close (fd);
}

/* ---- Of the wrong kind ---- */

typedef int (*MakeFd) (void);

static int
make_file (void)
{
  return raw_memfd (4096, 0);
}

static int
make_null (void)
{
  return open ("/dev/null", O_RDWR | O_CLOEXEC);
}

static int
make_zero (void)
{
  return open ("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int
make_socket (void)
{
  return socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int
make_directory (void)
{
  return open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
make_epoll (void)
{
  return epoll_create1 (EPOLL_CLOEXEC);
}

static int
make_timer (void)
{
  return timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int
make_path_only (void)
{
  return open ("/proc/self/exe", O_PATH | O_CLOEXEC);
}

static const struct
{
  const char *name;
  MakeFd make;
} wrong_kinds[] = {
  { "memory-file", make_file }, { "null-device", make_null },    { "zero-device", make_zero },
  { "socket", make_socket },    { "directory", make_directory }, { "epoll", make_epoll },
  { "timer", make_timer },      { "path", make_path_only },
};

static void
test_wrong_kind (gconstpointer data)
{
  const guint requests[] = { MSG_SET_VRING_KICK, MSG_SET_VRING_CALL, MSG_SET_VRING_ERR };
  Hostile h;
  int fd = wrong_kinds[GPOINTER_TO_UINT (data)].make ();

  g_assert_cmpint (fd, >=, 0);
  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    g_assert_cmpuint (raw_ring_fd (h.attacker, requests[i], 0, fd), !=, 0);
  live_device_assert_echo (h.attacker, 0, "as before");
  hostile_end (&h);
  close (fd);
}

static void
test_own_socket (void)
{
  const guint requests[] = { MSG_SET_VRING_KICK, MSG_SET_VRING_CALL, MSG_SET_VRING_ERR };
  Hostile h;

  hostile_begin (&h);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    g_assert_cmpuint (raw_ring_fd (h.attacker, requests[i], 0, vhost_frontend_get_fd (h.attacker)),
                      !=, 0);
  live_device_assert_echo (h.attacker, 0, "as before");
  hostile_end (&h);
}

/* Who holds the front-end's end never sees it go. */
static void
test_own_socket_as_channel (void)
{
  Hostile h;
  int other;

  hostile_begin (&h);
  g_assert_cmpuint (raw_request (h.attacker, MSG_SET_BACKEND_REQ_FD, NULL, 0,
                                 (int[]){ vhost_frontend_get_fd (h.attacker) }, 1),
                    !=, 0);
  /* Nor may two of them hold each other. */
  other = vhost_frontend_get_fd (h.witness);
  g_assert_cmpuint (raw_request (h.attacker, MSG_SET_BACKEND_REQ_FD, NULL, 0, &other, 1), !=, 0);
  hostile_end (&h);
}

/* Takes @other, when it is to be closed first. */
static void
assert_kick_idle (guint workers, int sent, int other, gboolean close_other)
{
  Hostile h;

  hostile_begin_with (&h, workers, 10000);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_KICK, 0, sent), ==, 0);
  if (close_other)
    {
      close (other);
      h.n_fds--;
    }
  hostile_assert_no_spin ();
  hostile_assert_witness (&h);
  hostile_end (&h);
}

/* The end of a pipe that is sent, and whether the other one is closed then. */
static void
assert_kick_pipe (guint sent, gboolean close_other)
{
  for (guint workers = 0; workers < 2; workers++)
    {
      int fds[2];

      g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
      assert_kick_idle (workers, fds[sent], fds[!sent], close_other);
      close (fds[sent]);
      if (!close_other)
        close (fds[!sent]);
    }
}

static void
test_kick_pipe_gone (void)
{
  assert_kick_pipe (0, TRUE);
}

static void
test_kick_pipe_end (void)
{
  assert_kick_pipe (1, FALSE);
}

static void
test_kick_pipe_end_gone (void)
{
  assert_kick_pipe (1, TRUE);
}

/* Each read takes 1 off, so that it cannot be read empty. */
static void
test_kick_semaphore (void)
{
  for (guint workers = 0; workers < 2; workers++)
    {
      const guint64 many = G_MAXUINT64 - 1;
      int fd = eventfd (0, EFD_CLOEXEC | EFD_SEMAPHORE);

      g_assert_cmpint (write (fd, &many, sizeof many), ==, sizeof many);
      assert_kick_idle (workers, fd, -1, FALSE);
      close (fd);
    }
}

static void
test_kick_pipe_works (void)
{
  Hostile h;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffer;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  hostile_begin (&h);
  queue = vhost_frontend_get_queue (h.attacker, 0);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_KICK, 0, fds[0]), ==, 0);
  buffer = (VhostFrontendBuffer){ vhost_frontend_allocate (h.attacker, 64, 8), 64, TRUE };
  for (guint i = 0; i < 3; i++)
    {
      g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &h));
      vhost_frontend_queue_publish (queue);
      g_assert_cmpint (write (fds[1], "12345678", 8), ==, 8);
      LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, NULL, NULL));
    }
  hostile_assert_no_spin (); /* it was read */
  hostile_end (&h);
  close (fds[0]);
  close (fds[1]);
}

/* R5: the front-end asks to be polled, and then has nothing to do. */
static void
test_kick_none (void)
{
  for (guint workers = 0; workers < 2; workers++)
    {
      Hostile h;

      hostile_begin_with (&h, workers, 10000);
      g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_KICK, RAW_NO_FD, -1), ==, 0);
      /* It is looked at thousands of times a second, so this is not nothing. */
      g_assert_cmpuint (hostile_measure_cpu (), <, 60);
      live_device_assert_echo (h.attacker, 0, "found by looking");
      hostile_end (&h);
    }
}

/* The device's call is its own kick. */
static void
test_kick_is_call (void)
{
  Hostile h;
  int fd;

  hostile_begin (&h);
  fd = vhost_frontend_queue_get_kick_fd (vhost_frontend_get_queue (h.attacker, 0));
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, 0, fd), ==, 0);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_ERR, 0, fd), ==, 0);
  live_device_assert_echo (h.attacker, 0, "round and round?");
  hostile_assert_no_spin ();
  hostile_end (&h);
}

/* ---- Calls that nobody takes ---- */

/* Some requests, looked for and not waited for. */
static void
assert_polled_echo (VhostFrontend *frontend)
{
  VhostFrontendQueue *queue = vhost_frontend_get_queue (frontend, 0);
  VhostFrontendBuffer buffer = { vhost_frontend_allocate (frontend, 64, 8), 64, TRUE };

  for (guint i = 0; i < 100; i++)
    {
      g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, frontend));
      vhost_frontend_queue_force_kick (queue);
      /* Calls stay wanted at each buffer. */
      vhost_frontend_queue_set_calls_enabled (queue, TRUE);
      LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, NULL, NULL));
    }
}

static void
fill_eventfd (int fd)
{
  const guint64 full = G_MAXUINT64 - 1;
  guint64 n;
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };

  if (poll (&pollfd, 1, 0) == 1)
    g_assert_cmpint (read (fd, &n, sizeof n), ==, sizeof n);
  g_assert_cmpint (write (fd, &full, sizeof full), ==, sizeof full);
}

static void
test_call_full (void)
{
  Hostile h;

  hostile_begin (&h);
  fill_eventfd (vhost_frontend_queue_get_call_fd (vhost_frontend_get_queue (h.attacker, 0)));
  assert_polled_echo (h.attacker);
  hostile_end (&h);
}

/* Flags belong to the file, and so to both: what was made non-blocking blocks again. Only the
 * attacker's own ring may stand still, and only until it goes. */
static void
test_call_full_blocking (void)
{
  Hostile h;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffer;
  int fd;

  hostile_begin (&h);
  queue = vhost_frontend_get_queue (h.attacker, 0);
  buffer = (VhostFrontendBuffer){ vhost_frontend_allocate (h.attacker, 64, 8), 64, TRUE };
  fd = vhost_frontend_queue_get_call_fd (queue);
  fill_eventfd (fd);
  g_assert_cmpint (fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) & ~O_NONBLOCK), ==, 0);
  for (guint i = 0; i < 3; i++)
    g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &h));
  vhost_frontend_queue_force_kick (queue);
  LIVE_WAIT_FOR (vhost_frontend_queue_poll (queue, NULL, NULL));
  hostile_assert_witness (&h);
  hostile_end (&h);
}

static void
test_call_pipe_full (void)
{
  Hostile h;
  int fds[2];
  char byte = 0;

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC | O_NONBLOCK), ==, 0);
  while (write (fds[1], &byte, 1) == 1)
    ;
  g_assert_cmpint (errno, ==, EAGAIN);
  hostile_begin (&h);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, 0, fds[1]), ==, 0);
  assert_polled_echo (h.attacker);
  hostile_end (&h);
  close (fds[0]);
  close (fds[1]);
}

/* A write to it would be a SIGPIPE. */
static void
test_call_pipe_gone (void)
{
  Hostile h;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  hostile_begin (&h);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, 0, fds[1]), ==, 0);
  close (fds[0]);
  close (fds[1]);
  h.n_fds -= 2;
  assert_polled_echo (h.attacker);
  hostile_end (&h);
}

/* An end that cannot be written. */
static void
test_call_pipe_end (void)
{
  Hostile h;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  hostile_begin (&h);
  g_assert_cmpuint (raw_ring_fd (h.attacker, MSG_SET_VRING_CALL, 0, fds[0]), ==, 0);
  assert_polled_echo (h.attacker);
  hostile_end (&h);
  close (fds[0]);
  close (fds[1]);
}

/* ---- That take long to close ---- */

/* A TCP connection whose sender lingers: it has sent what its reader does not read, and close ()
 * waits for that. */
typedef struct
{
  int sender;
  int reader;
} Lingering;

static void
lingering_init (Lingering *self)
{
  struct sockaddr_in address = { .sin_family = AF_INET };
  socklen_t length = sizeof address;
  const struct linger linger = { .l_onoff = 1, .l_linger = 3600 };
  static const char bytes[65536];
  int listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  g_assert_cmpint (bind (listener, (struct sockaddr *) &address, sizeof address), ==, 0);
  g_assert_cmpint (listen (listener, 1), ==, 0);
  g_assert_cmpint (getsockname (listener, (struct sockaddr *) &address, &length), ==, 0);
  self->sender = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (connect (self->sender, (struct sockaddr *) &address, sizeof address), ==, 0);
  self->reader = accept4 (listener, NULL, NULL, SOCK_CLOEXEC);
  g_assert_cmpint (self->reader, >=, 0);
  close (listener);
  g_assert_cmpint (setsockopt (self->sender, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), ==, 0);
  while (send (self->sender, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
    ;
  g_assert_cmpint (errno, ==, EAGAIN);
}

/* @n times the same descriptor with the first byte. */
static void
send_with (int socket, guint32 request, guint32 flags, gconstpointer payload, gsize size, int fd,
           guint n)
{
  g_autoptr (GByteArray) bytes = raw_bytes (request, flags, payload, size);
  struct iovec iov = { .iov_base = bytes->data, .iov_len = bytes->len };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (253 * sizeof (int))];
  } control = { 0 };
  struct msghdr message = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = CMSG_SPACE (n * sizeof (int)) };

  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN (n * sizeof (int));
  for (guint i = 0; i < n; i++)
    memcpy (CMSG_DATA (&control.header) + i * sizeof fd, &fd, sizeof fd);
  g_assert_cmpint (sendmsg (socket, &message, MSG_NOSIGNAL), ==, (gssize) bytes->len);
}

typedef void (*GiveLingering) (int socket, int fd);

static void
give_in_a_message (int socket, int fd)
{
  send_with (socket, MSG_SET_OWNER, RAW_VERSION, NULL, 0, fd, 1);
}

static void
give_as_call (int socket, int fd)
{
  const guint64 ring = 0;

  send_with (socket, MSG_SET_VRING_CALL, RAW_VERSION, &ring, sizeof ring, fd, 1);
}

static void
give_as_memory (int socket, int fd)
{
  const struct
  {
    guint64 padding, guest_address, size, user_address, offset;
  } region = { 0, 1u << 30, 4096, 1u << 30, 0 };

  send_with (socket, MSG_ADD_MEM_REG, RAW_VERSION, &region, sizeof region, fd, 1);
}

static void
give_too_many (int socket, int fd)
{
  send_with (socket, MSG_SET_OWNER, RAW_VERSION, NULL, 0, fd, 100);
}

/* The first has a version that does not exist and ends the session; nobody reads the second. */
static void
give_behind_the_end (int socket, int fd)
{
  g_autoptr (GByteArray) bytes = raw_bytes (MSG_SET_OWNER, 0, NULL, 0);

  g_assert_cmpint (write (socket, bytes->data, bytes->len), ==, (gssize) bytes->len);
  send_with (socket, MSG_SET_OWNER, RAW_VERSION, NULL, 0, fd, 1);
}

static void
test_lingering (gconstpointer data)
{
  GiveLingering give = (GiveLingering) data;
  Lingering lingering;
  Hostile h;
  int socket;

  lingering_init (&lingering);
  hostile_begin (&h);
  /* It waits its turn, so that the device's copy of the descriptor is the last one. */
  socket = hostile_connect (&h);
  give (socket, lingering.sender);
  close (lingering.sender);
  h.n_fds--;
  g_clear_object (&h.attacker);
  hostile_assert_witness (&h);
  close (socket);
  hostile_assert_witness (&h);
  close (lingering.reader);
  h.n_fds--;
  hostile_end (&h);
}

/* More of them than there are threads that wait. */
static void
test_many_lingering (void)
{
  Lingering lingering[20];
  Hostile h;
  int socket;

  for (guint i = 0; i < G_N_ELEMENTS (lingering); i++)
    lingering_init (&lingering[i]);
  hostile_begin (&h);
  socket = hostile_connect (&h);
  for (guint i = 0; i < G_N_ELEMENTS (lingering); i++)
    {
      give_in_a_message (socket, lingering[i].sender);
      close (lingering[i].sender);
    }
  g_clear_object (&h.attacker);
  hostile_assert_witness (&h);
  close (socket);
  hostile_assert_witness (&h);
  for (guint i = 0; i < G_N_ELEMENTS (lingering); i++)
    close (lingering[i].reader);
  h.n_fds -= 2 * G_N_ELEMENTS (lingering);
  hostile_end (&h);
}

#define TEST(name, function) g_test_add_func ("/protocol/hostile-" name, function)
#define LINGERING(name, give)                                                                      \
  g_test_add_data_func ("/protocol/hostile-a-socket-that-lingers-stops-nobody-" name,              \
                        (gconstpointer) (give), test_lingering)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("a-descriptor-with-any-message-is-closed", test_one_stray);
  TEST ("8-descriptors-with-any-message-are-closed", test_eight_stray);
  TEST ("9-descriptors-close-the-connection", test_nine);
  TEST ("253-descriptors-close-the-connection", test_253);
  TEST ("a-descriptor-amid-the-header-closes-the-connection", test_late_header);
  TEST ("a-descriptor-with-the-payload-closes-the-connection", test_late_payload);
  TEST ("a-descriptor-with-the-last-byte-closes-the-connection", test_late_byte);
  TEST ("descriptors-of-a-message-that-is-cut-are-closed", test_cut_with_fds);
  TEST ("the-no-descriptor-flag-and-a-descriptor-are-refused", test_flag_and_fd);
  for (guint i = 0; i < G_N_ELEMENTS (wrong_kinds); i++)
    {
      g_autofree char *path
          = g_strdup_printf ("/protocol/hostile-a-%s-notifies-nobody", wrong_kinds[i].name);

      g_test_add_data_func (path, GUINT_TO_POINTER (i), test_wrong_kind);
    }
  TEST ("the-connection-itself-notifies-nobody", test_own_socket);
  TEST ("the-connection-itself-is-no-channel", test_own_socket_as_channel);
  TEST ("kicks-through-a-pipe-arrive", test_kick_pipe_works);
  TEST ("a-kick-pipe-whose-writer-is-gone-does-not-spin", test_kick_pipe_gone);
  TEST ("the-wrong-end-of-a-kick-pipe-does-not-spin", test_kick_pipe_end);
  TEST ("the-wrong-end-of-a-kick-pipe-without-reader-does-not-spin", test_kick_pipe_end_gone);
  TEST ("a-kick-semaphore-does-not-spin", test_kick_semaphore);
  TEST ("a-ring-to-be-polled-does-not-spin", test_kick_none);
  TEST ("one-eventfd-for-kick-call-and-error-does-not-spin", test_kick_is_call);
  TEST ("a-full-call-counter-stops-nothing", test_call_full);
  TEST ("a-full-call-counter-that-blocks-ends-with-its-session", test_call_full_blocking);
  TEST ("a-full-call-pipe-stops-nothing", test_call_pipe_full);
  TEST ("a-call-pipe-that-nobody-reads-stops-nothing", test_call_pipe_gone);
  TEST ("the-wrong-end-of-a-call-pipe-stops-nothing", test_call_pipe_end);
  LINGERING ("in-a-message", give_in_a_message);
  LINGERING ("as-a-call", give_as_call);
  LINGERING ("as-memory", give_as_memory);
  LINGERING ("a-hundred-times", give_too_many);
  LINGERING ("behind-the-end", give_behind_the_end);
  TEST ("20-sockets-that-linger-stop-nobody", test_many_lingering);
  return g_test_run ();
}
