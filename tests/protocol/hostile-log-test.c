/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dirty logs that wrap, are too small, shrink, or come and go under load. After each the process
 * lives, another front-end is served and nothing is left behind. Public API only; must not touch a
 * file of its own that it has cut short. */
#include "hostile-hand.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_SIZE 4096u
#define VRING_F_LOG 1u

static guint64
send_log (HostileHand *h, guint64 size, guint64 offset, int fd)
{
  const guint64 log[2] = { size, offset };

  return raw_request (h->world->frontend, MSG_SET_LOG_BASE, log, sizeof log, &fd, 1);
}

static guint64
send_log_all (HostileHand *h, gboolean on)
{
  guint64 features = vhost_frontend_get_features (h->world->frontend) & ~F_LOG_ALL;

  return raw_u64 (h->world->frontend, MSG_SET_FEATURES, features | (on ? F_LOG_ALL : 0));
}

static guint64
send_addr (HostileHand *h, guint32 flags, guint64 log)
{
  HandRing *ring = h->ring;
  const RawAddr addr = {
    .flags = flags,
    .descriptor = hand_world_get_user_address (h->world, ring->descriptor_address),
    .used = hand_world_get_user_address (h->world, ring->used_address),
    .available = hand_world_get_user_address (h->world, ring->available_address),
    .log = log,
  };

  return raw_request (h->world->frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
}

static void
begin (HostileHand *h, gconstpointer data)
{
  hostile_hand_begin (h, data, 0);
  hand_ring_start (h->ring);
  hand_ring_echo (h->ring);
}

static void
end (HostileHand *h)
{
  hand_ring_echo (h->ring);
  hostile_hand_assert_alive (h);
  hostile_hand_end (h);
}

static void
test_places (gconstpointer data)
{
  const guint64 bad[][2] = {
    { 0, 0 },
    { LOG_SIZE + 1, 0 },
    { LOG_SIZE, 1 },
    { LOG_SIZE, G_MAXUINT64 },
    { LOG_SIZE, G_MAXUINT64 - LOG_SIZE + 1 }, /* the sum is 0 */
    { LOG_SIZE, G_MAXINT64 },
    { G_MAXUINT64, 0 },
    { G_MAXUINT64, 1 },
    { G_MAXUINT64, G_MAXUINT64 },
    { G_MAXINT64, 0 },
    { RAW_BIT (63), RAW_BIT (63) },
    { RAW_BIT (62), 0 },
    { 1, LOG_SIZE },
  };
  HostileHand h;
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  for (guint on = 0; on < 2; on++)
    {
      ASSERT_TAKEN (send_log_all (&h, on));
      for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
        ASSERT_REFUSED (send_log (&h, bad[i][0], bad[i][1], fd));
      hand_ring_echo (h.ring);
    }
  close (fd);
  end (&h);
}

static void
test_kinds (gconstpointer data)
{
  HostileHand h;
  int pair[2], fds[8];
  guint n = 0;

  begin (&h, data);
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  fds[n++] = pair[0];
  fds[n++] = pair[1];
  fds[n++] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  fds[n++] = eventfd (0, EFD_CLOEXEC);
  fds[n++] = epoll_create1 (EPOLL_CLOEXEC);
  fds[n++] = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  fds[n++] = open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fds[n++] = open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  for (guint i = 0; i < n; i++)
    {
      ASSERT_REFUSED (send_log (&h, LOG_SIZE, 0, fds[i]));
      /* Of those, a pipe and an eventfd can be told something. */
      if (i != 0 && i != 1 && i != 3)
        ASSERT_REFUSED (raw_request (h.world->frontend, MSG_SET_LOG_FD, NULL, 0, &fds[i], 1));
      close (fds[i]);
    }
  end (&h);
}

/* Nobody reads what the ring tells after each round, and it cannot be told any more. */
static void
test_full_descriptor (gconstpointer data)
{
  HostileHand h;
  int event = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  int log = raw_memfd (LOG_SIZE, 0);
  int pair[2];

  begin (&h, data);
  g_assert_cmpint (eventfd_write (event, G_MAXUINT64 - 1), ==, 0);
  ASSERT_TAKEN (raw_request (h.world->frontend, MSG_SET_LOG_FD, NULL, 0, &event, 1));
  ASSERT_TAKEN (send_log (&h, LOG_SIZE, 0, log));
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  hand_ring_echo (h.ring);
  /* A write to it would be a SIGPIPE. */
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  ASSERT_TAKEN (raw_request (h.world->frontend, MSG_SET_LOG_FD, NULL, 0, &pair[1], 1));
  close (pair[0]);
  close (pair[1]);
  hand_ring_echo (h.ring);
  close (event);
  close (log);
  end (&h);
}

/* The device's writes are all behind the log's end; bytes around it are not the log's. */
static void
test_past_the_log (gconstpointer data)
{
  HostileHand h;
  guint8 bytes[LOG_SIZE];
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  memset (bytes, 0xa5, sizeof bytes);
  bytes[100] = 0;
  g_assert_cmpint (pwrite (fd, bytes, sizeof bytes, 0), ==, sizeof bytes);
  ASSERT_TAKEN (send_log (&h, 1, 100, fd));
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  hand_ring_echo (h.ring);
  hand_ring_sync (h.ring);
  g_assert_cmpint (pread (fd, bytes, sizeof bytes, 0), ==, sizeof bytes);
  for (guint i = 0; i < sizeof bytes; i++)
    g_assert_cmpuint (bytes[i], ==, i == 100 ? 0 : 0xa5);
  close (fd);
  end (&h);
}

static void
test_used_addresses (gconstpointer data)
{
  const guint64 log_end = (guint64) LOG_SIZE * 8 * 4096;
  const guint64 bad[]
      = { log_end,           log_end - 1,  G_MAXUINT64,  G_MAXUINT64 - 100, G_MAXUINT64 - 133,
          G_MAXUINT64 - 134, RAW_BIT (63), RAW_BIT (51), log_end - 133,     log_end * 4096 };
  HostileHand h;
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  ASSERT_TAKEN (send_log (&h, LOG_SIZE, 0, fd));
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      ASSERT_REFUSED (send_addr (&h, VRING_F_LOG, bad[i]));
      hand_ring_echo (h.ring);
    }
  /* Without logging nothing is checked, and with it nothing is written. */
  ASSERT_TAKEN (send_log_all (&h, FALSE));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      (void) send_addr (&h, VRING_F_LOG, bad[i]);
      (void) send_log_all (&h, TRUE);
      hand_ring_echo (h.ring);
      ASSERT_TAKEN (send_log_all (&h, FALSE));
    }
  ASSERT_TAKEN (send_addr (&h, 0, 0));
  close (fd);
  end (&h);
}

/* Before there is a log, all that is written must be remembered, and that is bounded. */
static void
test_no_log (gconstpointer data)
{
  HostileHand h;
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  for (guint i = 0; i < 200; i++)
    {
      (void) send_addr (&h, VRING_F_LOG, i * (G_MAXUINT64 / 200));
      hand_ring_echo (h.ring);
    }
  ASSERT_TAKEN (send_addr (&h, 0, 0));
  ASSERT_TAKEN (send_log (&h, LOG_SIZE, 0, fd));
  close (fd);
  end (&h);
}

/* The log is gone under the ring. Marks are lost, so the session ends, and nothing else does. */
static void
test_shrinks (gconstpointer data)
{
  HostileHand h;
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  ASSERT_TAKEN (send_log (&h, LOG_SIZE, 0, fd));
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  hand_ring_echo (h.ring);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  hand_ring_put_echo (h.ring, 0);
  hand_ring_submit (h.ring, 0);
  raw_assert_closed (h.world->frontend);
  live_device_assert_echo (h.witness, 0, "the witness");
  close (fd);
  hostile_hand_end (&h);
}

/* What was remembered goes into a log that is cut short meanwhile. */
static void
test_shrinks_with_pages (gconstpointer data)
{
  HostileHand h;

  begin (&h, data);
  for (guint i = 0; i < 50; i++)
    {
      int fd = raw_memfd (LOG_SIZE, 0);
      const guint64 log[2] = { LOG_SIZE, 0 };
      GError *error = NULL;

      ASSERT_TAKEN (send_log_all (&h, TRUE));
      hand_ring_echo (h.ring);
      vhost_frontend_send (h.world->frontend, MSG_SET_LOG_BASE, RAW_VERSION, log, sizeof log, &fd,
                           1, &error);
      g_assert_no_error (error);
      g_assert_cmpint (ftruncate (fd, 0), ==, 0);
      {
        guint request, flags;
        guint64 answer;
        gsize size = sizeof answer;

        vhost_frontend_receive (h.world->frontend, &request, &flags, &answer, &size, NULL, NULL,
                                &error);
        if (error != NULL)
          {
            /* The session may end for it. */
            g_clear_error (&error);
            close (fd);
            hostile_hand_end (&h);
            return;
          }
      }
      close (fd);
      (void) hand_ring_get_base (h.ring);
      ASSERT_TAKEN (send_log_all (&h, FALSE));
      hostile_hand_renew (&h, FALSE);
    }
  hostile_hand_assert_alive (&h);
  hostile_hand_end (&h);
}

typedef struct
{
  HandRing *ring;
  gint stop;
} Load;

static gpointer
run_load (gpointer data)
{
  Load *self = data;

  while (!g_atomic_int_get (&self->stop))
    hand_ring_echo (self->ring);
  return NULL;
}

static void
test_toggled (gconstpointer data)
{
  HostileHand h;
  Load load = { 0 };
  GThread *thread;
  int fd = raw_memfd (LOG_SIZE, 0);

  begin (&h, data);
  load.ring = h.ring;
  ASSERT_TAKEN (send_log (&h, LOG_SIZE, 0, fd));
  thread = g_thread_new ("load", run_load, &load);
  for (guint i = 0; i < 1000; i++)
    ASSERT_TAKEN (send_log_all (&h, i % 2 == 0));
  hostile_hand_assert_alive (&h);
  g_atomic_int_set (&load.stop, 1);
  g_thread_join (thread);
  close (fd);
  end (&h);
}

static void
test_replaced (gconstpointer data)
{
  HostileHand h;
  Load load = { 0 };
  GThread *thread;
  guint n_fds;

  begin (&h, data);
  load.ring = h.ring;
  ASSERT_TAKEN (send_log_all (&h, TRUE));
  hostile_hand_assert_alive (&h);
  n_fds = raw_count_settled_fds ();
  thread = g_thread_new ("load", run_load, &load);
  for (guint i = 0; i < 300; i++)
    {
      int fd = raw_memfd (LOG_SIZE, 0);

      ASSERT_TAKEN (send_log (&h, 1 + i % LOG_SIZE, 0, fd));
      close (fd);
    }
  g_atomic_int_set (&load.stop, 1);
  g_thread_join (thread);
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  end (&h);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define TEST(name, func) hand_test_add ("/protocol/hostile-log-" name, func)
  TEST ("places-that-cannot-be-are-refused", test_places);
  TEST ("descriptors-of-other-kinds-are-refused", test_kinds);
  TEST ("a-descriptor-that-takes-nothing-stops-nothing", test_full_descriptor);
  TEST ("pages-past-its-end-are-not-marked-elsewhere", test_past_the_log);
  TEST ("used-rings-outside-are-refused-or-not-marked", test_used_addresses);
  TEST ("pages-everywhere-without-a-log-are-bounded", test_no_log);
  TEST ("a-file-that-shrinks-harms-nobody-else", test_shrinks);
  TEST ("a-file-that-shrinks-while-it-is-filled-harms-nobody-else", test_shrinks_with_pages);
  TEST ("switched-a-thousand-times-under-load", test_toggled);
  TEST ("replaced-under-load-leaves-nothing-behind", test_replaced);
  return g_test_run ();
}
