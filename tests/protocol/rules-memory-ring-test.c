/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the memory map as a ring feels them: user addresses (M6, GPA_ADDRESSES), tables that
 * are replaced (M5) and regions that come and go while requests are under way. Public API only. */
#include "raw-device.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define MiB (1024 * 1024)

static RawRegion
region (guint64 guest, guint64 size, guint64 user, guint64 offset)
{
  return (RawRegion){ .guest = guest, .size = size, .user = user, .offset = offset };
}

/* M6: whatever the number is, it is compared and offset. */
static void
assert_user_address (guint64 user)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = raw_ring_map (fd);
  RawRegion r = region (RAW_FIRST, RAW_RING_BYTES, user, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, user, kick_fd), ==, 0);
  for (guint i = 0; i < 3; i++)
    raw_ring_request (map, RAW_FIRST, (guint16) i, kick_fd);
  raw_device_end (&f);
  munmap (map, RAW_RING_BYTES);
  close (fd);
  close (kick_fd);
}

static void
test_m6_zero (void)
{
  assert_user_address (0);
}

static void
test_m6_top (void)
{
  assert_user_address (G_MAXUINT64 - RAW_RING_BYTES);
}

static void
test_m6_same_as_guest (void)
{
  assert_user_address (RAW_FIRST);
}

/* A ring at a guest address means nothing where user addresses are spoken. */
static void
test_m6_guest_address (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  RawRegion r = region (RAW_FIRST, RAW_RING_BYTES, 0x7f0000000000, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  raw_log_expect (TRUE); /* of memory that is not shared, which this looks like */
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, RAW_FIRST, kick_fd), !=, 0);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (raw_ring_start (f.frontend, 0x7f0000000000, kick_fd), ==, 0);
  raw_device_end (&f);
  raw_log_expect (FALSE);
  close (fd);
  close (kick_fd);
}

/* The text's "must duplicate the guest address". */
static void
test_gpa_differs (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  RawRegion r = region (RAW_SECOND, RAW_RING_BYTES, 0x7f0000000000, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmphex (vhost_frontend_get_protocol_features (f.frontend) & RAW_PROTOCOL_GPA_ADDRESSES,
                   !=, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  r.user = r.guest;
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  raw_device_end (&f);
  close (fd);
}

static void
test_gpa_rings (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = raw_ring_map (fd);
  RawRegion r = region (RAW_SECOND, RAW_RING_BYTES, RAW_SECOND, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, RAW_SECOND, kick_fd), ==, 0);
  raw_ring_request (map, RAW_SECOND, 0, kick_fd);
  raw_device_end (&f);
  munmap (map, RAW_RING_BYTES);
  close (fd);
  close (kick_fd);
}

/* The region need not begin at a page of its file. */
static void
test_odd_offset (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = raw_ring_map (fd);
  /* The ring lies in the file from its first byte on, and the region begins 16 bytes behind it: so
   * the region's guest address is 16 higher. */
  RawRegion r = region (RAW_FIRST + 16, RAW_RING_BYTES - 16, RAW_FIRST + 16, 16);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  raw_log_expect (TRUE);
  g_assert_cmpuint (raw_ring_start (f.frontend, RAW_FIRST, kick_fd), !=, 0);
  raw_log_expect (FALSE);
  r = region (RAW_FIRST, RAW_RING_BYTES - 48, RAW_FIRST, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, RAW_FIRST, kick_fd), ==, 0);
  raw_ring_request (map, RAW_FIRST, 0, kick_fd);
  raw_device_end (&f);
  munmap (map, RAW_RING_BYTES);
  close (fd);
  close (kick_fd);
}

/* M5: the same addresses, another file. */
static void
test_m5_moves_ring (void)
{
  RawDevice f;
  int first = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int second = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *first_map = raw_ring_map (first);
  guint8 *second_map = raw_ring_map (second);
  RawRegion r = region (RAW_FIRST, RAW_RING_BYTES, 0x7f0000000000, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &first, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, r.user, kick_fd), ==, 0);
  raw_ring_request (first_map, RAW_FIRST, 0, kick_fd);
  memcpy (second_map, first_map, RAW_RING_BYTES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &second, 1), ==, 0);
  raw_ring_request (second_map, RAW_FIRST, 1, kick_fd);
  raw_ring_request (second_map, RAW_FIRST, 2, kick_fd);
  g_assert_cmpuint (raw_ring_get_used (first_map), ==, 1);
  raw_device_end (&f);
  munmap (first_map, RAW_RING_BYTES);
  munmap (second_map, RAW_RING_BYTES);
  close (first);
  close (second);
  close (kick_fd);
}

/* The queue's ring is where no memory is any more. */
static void
test_m5_without_ring (void)
{
  RawDevice f;
  VhostFrontendQueue *queue;
  RawRegion away = region (RAW_SECOND, MiB, RAW_SECOND, 0);
  RawRegion back = region (RAW_FIRST, RAW_FIRST_SIZE, RAW_FIRST, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int memory;
  GError *error = NULL;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  live_device_assert_echo (f.frontend, 0, "before");
  g_assert_cmpuint (raw_set_table (f.frontend, &away, &fd, 1), ==, 0);
  raw_wait_readable (vhost_frontend_queue_get_err_fd (queue));
  raw_assert_in_step (f.frontend);
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  memory = vhost_frontend_get_memory_fd (f.frontend, RAW_FIRST);
  g_assert_cmpuint (raw_set_table (f.frontend, &back, &memory, 1), ==, 0);
  vhost_frontend_restart_queue (f.frontend, 0, &error);
  g_assert_no_error (error);
  live_device_assert_echo (f.frontend, 0, "after");
  raw_device_end (&f);
  close (fd);
}

/* A refused message leaves what was there before. */
static void
test_refused_keeps (void)
{
  RawDevice f;
  RawRegion bad[2] = { region (RAW_FIRST, RAW_FIRST_SIZE, RAW_FIRST, 0),
                       region (RAW_SECOND, MiB, RAW_SECOND, MiB) };
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int fds[2];

  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  fds[0] = vhost_frontend_get_memory_fd (f.frontend, RAW_FIRST);
  fds[1] = fd;
  g_assert_cmpuint (raw_set_table (f.frontend, bad, fds, 2), !=, 0);
  live_device_assert_echo (f.frontend, 0, "still there");
  raw_device_end (&f);
  close (fd);
}

/* ---- Under load ---- */

typedef struct
{
  VhostFrontendQueue *queue;
  guint64 in, out;
  guint sent, done;
} Load;

/* As many requests as the queue takes, and the answers that are there. */
static void
load_step (Load *load)
{
  VhostFrontendBuffer buffers[2] = { { load->in, 64, FALSE }, { load->out, 64, TRUE } };
  guint32 length;

  while (vhost_frontend_queue_poll (load->queue, NULL, &length))
    {
      g_assert_cmpuint (length, ==, 64);
      load->done++;
    }
  while (vhost_frontend_queue_add (load->queue, buffers, 2, FALSE, load))
    load->sent++;
  vhost_frontend_queue_kick (load->queue);
}

static void
load_finish (Load *load)
{
  LIVE_WAIT_FOR ((load->done += vhost_frontend_queue_poll (load->queue, NULL, NULL)) == load->sent);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (load->queue), ==, 0);
}

static Load
load_begin (RawDevice *f)
{
  return (Load){
    .queue = vhost_frontend_get_queue (f->frontend, 0),
    .in = vhost_frontend_allocate (f->frontend, 64, 8),
    .out = vhost_frontend_allocate (f->frontend, 64, 8),
  };
}

static void
test_cycles (void)
{
  RawDevice f;
  Load load;
  GError *error = NULL;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  load = load_begin (&f);
  for (guint i = 0; i < 200; i++)
    {
      load_step (&load);
      vhost_frontend_add_memory (f.frontend, RAW_SECOND, MiB, &error);
      g_assert_no_error (error);
      load_step (&load);
      vhost_frontend_remove_memory (f.frontend, RAW_SECOND, &error);
      g_assert_no_error (error);
    }
  load_finish (&load);
  g_assert_cmpuint (load.done, >=, 200);
  raw_device_end (&f);
}

static void
test_table_under_load (void)
{
  RawDevice f;
  Load load;
  RawRegion r = region (RAW_FIRST, RAW_FIRST_SIZE, RAW_FIRST, 0);
  int memory;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  load = load_begin (&f);
  memory = vhost_frontend_get_memory_fd (f.frontend, RAW_FIRST);
  for (guint i = 0; i < 200; i++)
    {
      load_step (&load);
      g_assert_cmpuint (raw_set_table (f.frontend, &r, &memory, 1), ==, 0);
    }
  load_finish (&load);
  raw_device_end (&f);
}

/* Thread: the daemon's. */
static void
count_regions (LiveDevice *device, gpointer data)
{
  g_autoptr (VhostSession) session
      = g_list_model_get_item (vhost_daemon_get_sessions (device->daemon), 0);
  guint *n = data;

  *n = vhost_memory_get_n_regions (vhost_session_get_memory (session));
}

static guint
get_n_regions (RawDevice *f)
{
  guint n = 0;

  live_device_call (f->device, count_regions, &n);
  return n;
}

/* A held request whose answer goes to @out, which lies in the second region. */
static guint64
hold_request_in_second (RawDevice *f)
{
  guint64 in = vhost_frontend_allocate (f->frontend, 64, 8);
  VhostFrontendBuffer buffers[2] = { { in, 64, FALSE }, { RAW_SECOND + 64, 64, TRUE } };

  echo_backend_hold (f->backend, TRUE);
  g_assert_true (
      vhost_frontend_queue_add (vhost_frontend_get_queue (f->frontend, 0), buffers, 2, FALSE, f));
  vhost_frontend_queue_kick (vhost_frontend_get_queue (f->frontend, 0));
  LIVE_WAIT_FOR (echo_backend_get_n_held (f->backend) == 1);
  echo_backend_hold (f->backend, FALSE);
  return in;
}

static void
test_removal_waits (void)
{
  RawDevice f;
  RawSlot slot = { .region = region (RAW_SECOND, MiB, RAW_SECOND, 0) };
  struct pollfd pollfd = { .events = POLLIN };
  guint request;
  guint64 answer = 99;
  gsize size = sizeof answer;
  gpointer token = NULL;
  GError *error = NULL;

  raw_device_begin (&f, 2, NULL);
  raw_device_connect_rings (&f, 2);
  vhost_frontend_add_memory (f.frontend, RAW_SECOND, MiB, &error);
  g_assert_no_error (error);
  hold_request_in_second (&f);

  vhost_frontend_send (f.frontend, MSG_REM_MEM_REG, RAW_VERSION | RAW_NEED_REPLY, &slot,
                       sizeof slot, NULL, 0, &error);
  g_assert_no_error (error);
  LIVE_WAIT_FOR (get_n_regions (&f) == 1);
  /* The same worker serves the other queue: when it has, it has seen the new map. */
  for (guint i = 0; i < 10; i++)
    live_device_assert_echo (f.frontend, 1, "the other queue goes on");
  pollfd.fd = vhost_frontend_get_fd (f.frontend);
  g_assert_cmpint (poll (&pollfd, 1, 0), ==, 0);
  g_assert_false (
      vhost_frontend_queue_poll (vhost_frontend_get_queue (f.frontend, 0), &token, NULL));

  echo_backend_release (f.backend, FALSE);
  vhost_frontend_receive (f.frontend, &request, NULL, &answer, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_REM_MEM_REG);
  g_assert_cmpuint (answer, ==, 0);
  /* The request was done before, not after. */
  g_assert_true (
      vhost_frontend_queue_poll (vhost_frontend_get_queue (f.frontend, 0), &token, NULL));
  raw_device_end (&f);
}

/* Thread: the daemon's. */
static void
be_impatient (LiveDevice *device, gpointer data)
{
  g_object_set (device->daemon, "drain-timeout", 50, NULL);
}

static void
test_removal_gives_up (void)
{
  RawDevice f;
  RawSlot slot = { .region = region (RAW_SECOND, MiB, RAW_SECOND, 0) };
  guint64 answer;
  gsize size = sizeof answer;
  GError *error = NULL;

  raw_device_begin (&f, 2, be_impatient);
  f.frontend = live_device_connect_queues (f.device, 2, 16);
  vhost_frontend_add_memory (f.frontend, RAW_SECOND, MiB, &error);
  g_assert_no_error (error);
  hold_request_in_second (&f);

  raw_log_expect (TRUE);
  vhost_frontend_send (f.frontend, MSG_REM_MEM_REG, RAW_VERSION | RAW_NEED_REPLY, &slot,
                       sizeof slot, NULL, 0, &error);
  g_assert_no_error (error);
  g_assert_false (
      vhost_frontend_receive (f.frontend, NULL, NULL, &answer, &size, NULL, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_clear_error (&error);
  LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  g_assert_cmpint (g_atomic_int_get (&f.closed_by), ==, VHOST_ERROR_TIMED_OUT);
  /* The map of a request that runs has stayed: the end of the request still writes into it. */
  echo_backend_release (f.backend, FALSE);
  raw_device_end (&f);
  raw_log_expect (FALSE);
}

static void
test_removed_is_gone (void)
{
  RawDevice f;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffer = { RAW_SECOND, 64, TRUE };
  GError *error = NULL;

  raw_device_begin (&f, 2, NULL);
  raw_device_connect_rings (&f, 2);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  vhost_frontend_add_memory (f.frontend, RAW_SECOND, MiB, &error);
  g_assert_no_error (error);
  vhost_frontend_remove_memory (f.frontend, RAW_SECOND, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &f));
  vhost_frontend_queue_kick (queue);
  raw_wait_readable (vhost_frontend_queue_get_err_fd (queue));
  g_assert_false (vhost_frontend_queue_poll (queue, NULL, NULL));
  live_device_assert_echo (f.frontend, 1, "the other queue");
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("M5-a-running-ring-moves-with-the-table", test_m5_moves_ring);
  TEST ("M5-a-table-without-the-ring-breaks-that-ring-only", test_m5_without_ring);
  TEST ("M5-a-refused-table-leaves-the-old-one", test_refused_keeps);
  TEST ("M6-user-address-0-works", test_m6_zero);
  TEST ("M6-the-highest-user-address-works", test_m6_top);
  TEST ("M6-a-user-address-may-equal-the-guest-address", test_m6_same_as_guest);
  TEST ("M6-a-ring-is-not-found-by-its-guest-address", test_m6_guest_address);
  TEST ("GPA_ADDRESSES-a-user-address-that-differs-is-refused", test_gpa_differs);
  TEST ("GPA_ADDRESSES-a-ring-is-found-by-its-guest-address", test_gpa_rings);
  TEST ("memory-an-offset-within-a-page-works", test_odd_offset);
  TEST ("memory-regions-come-and-go-under-load", test_cycles);
  TEST ("memory-tables-are-replaced-under-load", test_table_under_load);
  TEST ("memory-a-removal-waits-for-requests-in-the-region", test_removal_waits);
  TEST ("memory-a-removal-does-not-wait-for-ever", test_removal_gives_up);
  TEST ("memory-a-request-in-a-removed-region-breaks-its-ring-only", test_removed_is_gone);
  return g_test_run ();
}
