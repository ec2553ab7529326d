/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of guest memory (M1 to M8), kept under load and against files that are not what they
 * should be. Public API only; must not touch a file of its own that it has cut short. */
#include "raw-wire.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE 4096
#define MiB (1024 * 1024)
/* Where live_device_connect_queues () puts its memory, and a place that it leaves free. */
#define FIRST 0x100000
#define FIRST_SIZE (4 * MiB)
#define SECOND 0x10000000

typedef struct
{
  LiveDevice *device;
  EchoBackend *backend;    /* of the first session; the device's */
  VhostFrontend *frontend; /* (owned) */
  guint n_fds;             /* open without a front-end */
  gint closed_by;          /* VhostError of the last session with one, -1: none; atomic */
} Fixture;

/* Thread: the daemon's. */
static void
on_closed (VhostDaemon *daemon, VhostSession *session, const GError *error, gpointer data)
{
  Fixture *f = data;

  if (error != NULL)
    g_atomic_int_set (&f->closed_by, error->code);
}

/* Thread: the daemon's. */
static void
set_up (LiveDevice *device, gpointer data)
{
  raw_allow_two_sessions (device, NULL);
  g_signal_connect (device->daemon, "session-closed", G_CALLBACK (on_closed), data);
}

static void
begin_with (Fixture *f, guint n_queues, LiveSetup setup)
{
  f->backend = echo_backend_new (n_queues, 1);
  f->closed_by = -1;
  f->device = live_device_new (f->backend, setup, f);
  f->n_fds = raw_count_idle_fds (f->device);
}

static void
begin (Fixture *f, guint n_queues)
{
  begin_with (f, n_queues, set_up);
}

/* Memory by hand: user addresses mean something only without GPA_ADDRESSES. */
static void
begin_bare (Fixture *f)
{
  GError *error = NULL;

  begin (f, 1);
  f->frontend = vhost_frontend_new ();
  vhost_frontend_connect (f->frontend, f->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (f->frontend, LIVE_ALL_FEATURES,
                            LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES, &error);
  g_assert_no_error (error);
}

static void
begin_rings (Fixture *f, guint n_queues)
{
  begin (f, n_queues);
  f->frontend = live_device_connect_queues (f->device, n_queues, 16);
}

static void
end (Fixture *f)
{
  g_clear_object (&f->frontend);
  LIVE_WAIT_FOR (raw_count_sessions (f->device) == 0);
  LIVE_WAIT_FOR (live_count_fds () == f->n_fds);
  live_device_assert_alive (f->device);
  LIVE_WAIT_FOR (raw_count_sessions (f->device) == 0);
  live_device_free (f->device);
}

static RawRegion
region (guint64 guest, guint64 size, guint64 user, guint64 offset)
{
  return (RawRegion){ .guest = guest, .size = size, .user = user, .offset = offset };
}

/* SET_MEM_TABLE of two regions, then the first alone and the second by ADD_MEM_REG. Both ways must
 * be answered with @accepted. */
static void
assert_pair (RawRegion one, RawRegion two, gboolean accepted)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion both[2] = { one, two };
  int fds[2] = { fd, fd };

  begin_bare (&f);
  g_assert_cmpint (raw_set_table (f.frontend, both, fds, 2) == 0, ==, accepted);
  g_assert_cmpuint (raw_set_table (f.frontend, both, fds, 1), ==, 0);
  g_assert_cmpint (raw_slot (f.frontend, MSG_ADD_MEM_REG, two, fd) == 0, ==, accepted);
  raw_assert_in_step (f.frontend);
  end (&f);
  close (fd);
}

static void
test_m1_guest_overlap (void)
{
  assert_pair (region (0x100000, 2 * PAGE, 0x7f0000000000, 0),
               region (0x101000, PAGE, 0x7f1000000000, 0), FALSE);
}

static void
test_m1_user_overlap (void)
{
  assert_pair (region (0x100000, 2 * PAGE, 0x7f0000000000, 0),
               region (0x200000, PAGE, 0x7f0000001000, 0), FALSE);
}

static void
test_m1_inside (void)
{
  assert_pair (region (0x101000, PAGE, 0x7f0000000000, 0),
               region (0x100000, 16 * PAGE, 0x7f1000000000, 0), FALSE);
}

static void
test_m1_neighbours (void)
{
  assert_pair (region (0x100000, PAGE, 0x7f0000000000, 0),
               region (0x101000, PAGE, 0x7f0000001000, 0), TRUE);
}

/* Both messages refuse @bad. */
static void
assert_bad_region (RawRegion bad)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &bad, &fd, 1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, bad, fd), !=, 0);
  raw_assert_in_step (f.frontend);
  end (&f);
  close (fd);
}

static void
test_size_0 (void)
{
  assert_bad_region (region (0x100000, 0, 0x7f0000000000, 0));
}

static void
test_guest_wrap (void)
{
  assert_bad_region (region (G_MAXUINT64 - PAGE + 1, 2 * PAGE, 0x7f0000000000, 0));
}

static void
test_user_wrap (void)
{
  assert_bad_region (region (0x100000, 2 * PAGE, G_MAXUINT64 - PAGE + 1, 0));
}

static void
test_offset_wrap (void)
{
  assert_bad_region (region (0x100000, 2 * PAGE, 0x7f0000000000, G_MAXUINT64 - PAGE + 1));
}

static void
test_beyond_file (void)
{
  assert_bad_region (region (0x100000, MiB + PAGE, 0x7f0000000000, 0));
}

static void
test_offset_beyond_file (void)
{
  assert_bad_region (region (0x100000, PAGE, 0x7f0000000000, MiB));
}

static void
test_huge (void)
{
  assert_bad_region (region (0, RAW_BIT (63), 0, 0));
}

static void
test_m2_eight (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion regions[9];
  int fds[9];

  for (guint i = 0; i < 9; i++)
    {
      regions[i] = region (0x100000 * (i + 1), PAGE, 0x7f0000000000 + i * PAGE, i * PAGE);
      fds[i] = fd;
    }
  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, regions, fds, 8), ==, 0);
  end (&f);
  close (fd);
}

/* The count says more than the descriptors and bytes that came. */
static void
test_m2_counts (void)
{
  const guint32 counts[] = { 2, 8, 9, 255, 0x80000000, G_MAXUINT32 };
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  begin_bare (&f);
  for (guint i = 0; i < G_N_ELEMENTS (counts); i++)
    {
      RawTable table = { .n = counts[i], .regions = { region (0x100000, PAGE, 0x100000, 0) } };

      g_assert_cmpuint (
          raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + sizeof (RawRegion), &fd, 1), !=,
          0);
      g_assert_cmpuint (
          raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + 9 * sizeof (RawRegion), &fd, 1),
          !=, 0);
    }
  raw_assert_in_step (f.frontend);
  end (&f);
  close (fd);
}

/* The text draws the table with all its rows, front-ends send the used ones. */
static void
test_m2_padded (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawTable table = { .n = 1, .regions = { region (0x100000, PAGE, 0x7f0000000000, 0) } };

  begin_bare (&f);
  memset (&table.regions[1], 0xff, 7 * sizeof (RawRegion));
  g_assert_cmpuint (
      raw_request (f.frontend, MSG_SET_MEM_TABLE, &table, 8 + 8 * sizeof (RawRegion), &fd, 1), ==,
      0);
  end (&f);
  close (fd);
}

static void
test_m3_offset (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  RawRegion r = region (0x100000, PAGE, 0x7f0000000000, PAGE);

  begin_bare (&f);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  r.offset = 0xdeadbeef;
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  end (&f);
  close (fd);
}

static void
test_m3_other_numbers (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion r = region (0x100000, 2 * PAGE, 0x7f0000000000, 0);
  RawRegion wrong[3] = { r, r, r };

  wrong[0].guest += PAGE;
  wrong[1].user += PAGE;
  wrong[2].size -= PAGE;
  begin_bare (&f);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, wrong[i], -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  end (&f);
  close (fd);
}

static void
test_rem_with_fd (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion r = region (0x100000, PAGE, 0x7f0000000000, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, fd), ==, 0);
  end (&f);
  close (fd);
}

static void
test_add_without_fd (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int two[2] = { fd, fd };
  RawSlot slot = { .region = region (0x100000, PAGE, 0x7f0000000000, 0) };

  begin_bare (&f);
  g_assert_cmpuint (raw_request (f.frontend, MSG_ADD_MEM_REG, &slot, sizeof slot, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_ADD_MEM_REG, &slot, sizeof slot, two, 2), !=, 0);
  end (&f);
  close (fd);
}

/* ---- A ring by hand, in memory of one's own ---- */

#define HAND_SIZE 16
#define HAND_AVAIL PAGE
#define HAND_USED (2 * PAGE)
#define HAND_IN (3 * PAGE)
#define HAND_OUT (4 * PAGE)
#define HAND_BYTES (8 * PAGE)

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags, next;
} HandDescriptor;

/* One request number @n (from 0 on, each once) in the ring at @map, which the guest knows at
 * @guest, and its answer. */
static void
hand_request (guint8 *map, guint64 guest, guint16 n, int kick_fd)
{
  HandDescriptor *descriptors = (HandDescriptor *) (gpointer) map;
  guint16 *available = (guint16 *) (gpointer) (map + HAND_AVAIL);
  const _Atomic (guint16) *used_idx = (gpointer) (map + HAND_USED + 2);
  const guint64 one = 1;

  memset (map + HAND_IN, n + 1, 64);
  memset (map + HAND_OUT, 0, 64);
  descriptors[0] = (HandDescriptor){ guest + HAND_IN, 64, 1, 1 };
  descriptors[1] = (HandDescriptor){ guest + HAND_OUT, 64, 2, 0 };
  available[2 + n % HAND_SIZE] = 0;
  /* Partner: the device's acquire load of the index. */
  atomic_store_explicit ((_Atomic (guint16) *) &available[1], n + 1, memory_order_release);
  g_assert_cmpint (write (kick_fd, &one, sizeof one), ==, sizeof one);
  /* Partner: the device's release store, behind the data. */
  LIVE_WAIT_FOR (atomic_load_explicit (used_idx, memory_order_acquire) == n + 1);
  g_assert_cmpmem (map + HAND_OUT, 64, map + HAND_IN, 64);
}

/* The ring 0 of a bare front-end at user address @user. */
static guint64
hand_start (VhostFrontend *frontend, guint64 user, int kick_fd)
{
  RawAddr addr = {
    .descriptor = user,
    .available = user + HAND_AVAIL,
    .used = user + HAND_USED,
  };

  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_NUM, 0, HAND_SIZE), ==, 0);
  g_assert_cmpuint (raw_request (frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_ring_fd (frontend, MSG_SET_VRING_CALL, RAW_NO_FD, -1), ==, 0);
  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_ENABLE, 0, 1), ==, 0);
  return raw_ring_fd (frontend, MSG_SET_VRING_KICK, 0, kick_fd);
}

static guint8 *
map_file (int fd)
{
  guint8 *map = mmap (NULL, HAND_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  g_assert_true (map != MAP_FAILED);
  return map;
}

/* M6: whatever the number is, it is compared and offset. */
static void
assert_user_address (guint64 user)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = map_file (fd);
  RawRegion r = region (FIRST, HAND_BYTES, user, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, user, kick_fd), ==, 0);
  for (guint i = 0; i < 3; i++)
    hand_request (map, FIRST, (guint16) i, kick_fd);
  end (&f);
  munmap (map, HAND_BYTES);
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
  assert_user_address (G_MAXUINT64 - HAND_BYTES);
}

static void
test_m6_same_as_guest (void)
{
  assert_user_address (FIRST);
}

/* A ring at a guest address means nothing where user addresses are spoken. */
static void
test_m6_guest_address (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  RawRegion r = region (FIRST, HAND_BYTES, 0x7f0000000000, 0);

  begin_bare (&f);
  raw_log_expect (TRUE); /* of memory that is not shared, which this looks like */
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, FIRST, kick_fd), !=, 0);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (hand_start (f.frontend, 0x7f0000000000, kick_fd), ==, 0);
  end (&f);
  raw_log_expect (FALSE);
  close (fd);
  close (kick_fd);
}

/* The text's "must duplicate the guest address". */
static void
test_gpa_differs (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  RawRegion r = region (SECOND, HAND_BYTES, 0x7f0000000000, 0);

  begin (&f, 1);
  f.frontend = live_device_connect (f.device);
  g_assert_cmphex (vhost_frontend_get_protocol_features (f.frontend) & RAW_PROTOCOL_GPA_ADDRESSES,
                   !=, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  r.user = r.guest;
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  end (&f);
  close (fd);
}

static void
test_gpa_rings (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = map_file (fd);
  RawRegion r = region (SECOND, HAND_BYTES, SECOND, 0);

  begin (&f, 1);
  f.frontend = live_device_connect (f.device);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, SECOND, kick_fd), ==, 0);
  hand_request (map, SECOND, 0, kick_fd);
  end (&f);
  munmap (map, HAND_BYTES);
  close (fd);
  close (kick_fd);
}

/* The region need not begin at a page of its file. */
static void
test_odd_offset (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *map = map_file (fd);
  /* The ring lies in the file from its first byte on, and the region begins 16 bytes behind it: so
   * the region's guest address is 16 higher. */
  RawRegion r = region (FIRST + 16, HAND_BYTES - 16, FIRST + 16, 16);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  raw_log_expect (TRUE);
  g_assert_cmpuint (hand_start (f.frontend, FIRST, kick_fd), !=, 0);
  raw_log_expect (FALSE);
  r = region (FIRST, HAND_BYTES - 48, FIRST, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, FIRST, kick_fd), ==, 0);
  hand_request (map, FIRST, 0, kick_fd);
  end (&f);
  munmap (map, HAND_BYTES);
  close (fd);
  close (kick_fd);
}

/* M5: the same addresses, another file. */
static void
test_m5_moves_ring (void)
{
  Fixture f;
  int first = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int second = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  guint8 *first_map = map_file (first);
  guint8 *second_map = map_file (second);
  RawRegion r = region (FIRST, HAND_BYTES, 0x7f0000000000, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &first, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, r.user, kick_fd), ==, 0);
  hand_request (first_map, FIRST, 0, kick_fd);
  memcpy (second_map, first_map, HAND_BYTES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &second, 1), ==, 0);
  hand_request (second_map, FIRST, 1, kick_fd);
  hand_request (second_map, FIRST, 2, kick_fd);
  g_assert_cmpuint (((guint16 *) (gpointer) (first_map + HAND_USED))[1], ==, 1);
  end (&f);
  munmap (first_map, HAND_BYTES);
  munmap (second_map, HAND_BYTES);
  close (first);
  close (second);
  close (kick_fd);
}

static void
test_m5_replaces_added (void)
{
  Fixture f;
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  const RawRegion one = region (FIRST, PAGE, 0x7f0000000000, 0);
  const RawRegion two = region (SECOND, PAGE, 0x7f1000000000, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &one, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, two, fd), ==, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &one, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, two, -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, one, -1), ==, 0);
  end (&f);
  close (fd);
}

static void
wait_readable (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
}

/* The queue's ring is where no memory is any more. */
static void
test_m5_without_ring (void)
{
  Fixture f;
  VhostFrontendQueue *queue;
  RawRegion away = region (SECOND, MiB, SECOND, 0);
  RawRegion back = region (FIRST, FIRST_SIZE, FIRST, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int memory;
  GError *error = NULL;

  begin_rings (&f, 1);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  live_device_assert_echo (f.frontend, 0, "before");
  g_assert_cmpuint (raw_set_table (f.frontend, &away, &fd, 1), ==, 0);
  wait_readable (vhost_frontend_queue_get_err_fd (queue));
  raw_assert_in_step (f.frontend);
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  memory = vhost_frontend_get_memory_fd (f.frontend, FIRST);
  g_assert_cmpuint (raw_set_table (f.frontend, &back, &memory, 1), ==, 0);
  vhost_frontend_restart_queue (f.frontend, 0, &error);
  g_assert_no_error (error);
  live_device_assert_echo (f.frontend, 0, "after");
  end (&f);
  close (fd);
}

static void
test_m5_empty (void)
{
  Fixture f;
  RawTable none = { 0 };
  const RawRegion r = region (FIRST, PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_MEM_TABLE, &none, 8, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  end (&f);
  close (fd);
}

/* A refused message leaves what was there before. */
static void
test_refused_keeps (void)
{
  Fixture f;
  RawRegion bad[2] = { region (FIRST, FIRST_SIZE, FIRST, 0), region (SECOND, MiB, SECOND, MiB) };
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);
  int fds[2];

  begin_rings (&f, 1);
  fds[0] = vhost_frontend_get_memory_fd (f.frontend, FIRST);
  fds[1] = fd;
  g_assert_cmpuint (raw_set_table (f.frontend, bad, fds, 2), !=, 0);
  live_device_assert_echo (f.frontend, 0, "still there");
  end (&f);
  close (fd);
}

static void
test_m7_unknown (void)
{
  Fixture f;
  const RawRegion r = region (SECOND, PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  begin_bare (&f);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_REM_MEM_REG, r, -1), !=, 0);
  end (&f);
  close (fd);
}

static void
test_m7_twice (void)
{
  Fixture f;
  const RawRegion r = region (SECOND, PAGE, 0x7f0000000000, 0);
  int fd = raw_memfd (MiB, MFD_ALLOW_SEALING);

  begin_bare (&f);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), ==, 0);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  end (&f);
  close (fd);
}

static void
test_m8_constant (void)
{
  Fixture f;
  guint64 slots;

  begin_bare (&f);
  slots = vhost_frontend_get_max_memory_slots (f.frontend);
  g_assert_cmpuint (slots, >, 8);
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostFrontend) other = live_device_connect_queues (f.device, 1, 16);

      g_assert_cmpuint (vhost_frontend_get_max_memory_slots (other), ==, slots);
    }
  end (&f);
}

static void
test_m8_all (void)
{
  Fixture f;
  guint64 slots;
  int fd = raw_memfd (1024 * PAGE, MFD_ALLOW_SEALING);

  begin_bare (&f);
  slots = vhost_frontend_get_max_memory_slots (f.frontend);
  g_assert_cmpuint (slots, <, 1024);
  for (guint64 i = 0; i <= slots; i++)
    {
      guint64 at = SECOND + i * PAGE;
      guint64 answer = raw_slot (f.frontend, MSG_ADD_MEM_REG, region (at, PAGE, at, i * PAGE), fd);

      g_assert_cmpint (answer == 0, ==, i < slots);
    }
  raw_assert_in_step (f.frontend);
  end (&f);
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
load_begin (Fixture *f)
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
  Fixture f;
  Load load;
  GError *error = NULL;

  begin_rings (&f, 1);
  load = load_begin (&f);
  for (guint i = 0; i < 200; i++)
    {
      load_step (&load);
      vhost_frontend_add_memory (f.frontend, SECOND, MiB, &error);
      g_assert_no_error (error);
      load_step (&load);
      vhost_frontend_remove_memory (f.frontend, SECOND, &error);
      g_assert_no_error (error);
    }
  load_finish (&load);
  g_assert_cmpuint (load.done, >=, 200);
  end (&f);
}

static void
test_table_under_load (void)
{
  Fixture f;
  Load load;
  RawRegion r = region (FIRST, FIRST_SIZE, FIRST, 0);
  int memory;

  begin_rings (&f, 1);
  load = load_begin (&f);
  memory = vhost_frontend_get_memory_fd (f.frontend, FIRST);
  for (guint i = 0; i < 200; i++)
    {
      load_step (&load);
      g_assert_cmpuint (raw_set_table (f.frontend, &r, &memory, 1), ==, 0);
    }
  load_finish (&load);
  end (&f);
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
get_n_regions (Fixture *f)
{
  guint n = 0;

  live_device_call (f->device, count_regions, &n);
  return n;
}

/* A held request whose answer goes to @out, which lies in the second region. */
static guint64
hold_request_in_second (Fixture *f)
{
  guint64 in = vhost_frontend_allocate (f->frontend, 64, 8);
  VhostFrontendBuffer buffers[2] = { { in, 64, FALSE }, { SECOND + 64, 64, TRUE } };

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
  Fixture f;
  RawSlot slot = { .region = region (SECOND, MiB, SECOND, 0) };
  struct pollfd pollfd = { .events = POLLIN };
  guint request;
  guint64 answer = 99;
  gsize size = sizeof answer;
  gpointer token = NULL;
  GError *error = NULL;

  begin_rings (&f, 2);
  vhost_frontend_add_memory (f.frontend, SECOND, MiB, &error);
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
  end (&f);
}

/* Thread: the daemon's. */
static void
set_up_impatient (LiveDevice *device, gpointer data)
{
  set_up (device, data);
  g_object_set (device->daemon, "drain-timeout", 50, NULL);
}

static void
test_removal_gives_up (void)
{
  Fixture f;
  RawSlot slot = { .region = region (SECOND, MiB, SECOND, 0) };
  guint64 answer;
  gsize size = sizeof answer;
  GError *error = NULL;

  begin_with (&f, 2, set_up_impatient);
  f.frontend = live_device_connect_queues (f.device, 2, 16);
  vhost_frontend_add_memory (f.frontend, SECOND, MiB, &error);
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
  end (&f);
  raw_log_expect (FALSE);
}

static void
test_removed_is_gone (void)
{
  Fixture f;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffer = { SECOND, 64, TRUE };
  GError *error = NULL;

  begin_rings (&f, 2);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  vhost_frontend_add_memory (f.frontend, SECOND, MiB, &error);
  g_assert_no_error (error);
  vhost_frontend_remove_memory (f.frontend, SECOND, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &f));
  vhost_frontend_queue_kick (queue);
  wait_readable (vhost_frontend_queue_get_err_fd (queue));
  g_assert_false (vhost_frontend_queue_poll (queue, NULL, NULL));
  live_device_assert_echo (f.frontend, 1, "the other queue");
  end (&f);
}

/* ---- Files that shrink ---- */

/* A region of @fd, in which a request's data lie, is cut short. That session ends, another one goes
 * on. */
static void
assert_shrinking_data (int fd)
{
  Fixture f;
  g_autoptr (VhostFrontend) other = NULL;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffers[2] = { { SECOND + PAGE, PAGE, FALSE }, { 0, PAGE, TRUE } };

  g_assert_cmpint (ftruncate (fd, 16 * PAGE), ==, 0);
  begin_rings (&f, 1);
  other = live_device_connect_queues (f.device, 1, 16);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  buffers[1].address = vhost_frontend_allocate (f.frontend, PAGE, 8);
  g_assert_cmpuint (
      raw_slot (f.frontend, MSG_ADD_MEM_REG, region (SECOND, 16 * PAGE, SECOND, 0), fd), ==, 0);
  raw_log_expect (TRUE);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_true (vhost_frontend_queue_add (queue, buffers, 2, FALSE, &f));
  vhost_frontend_queue_kick (queue);
  raw_assert_closed (f.frontend);
  LIVE_WAIT_FOR (g_atomic_int_get (&f.closed_by) == VHOST_ERROR_NO_SHARED_MEMORY);
  live_device_assert_echo (other, 0, "another session");
  g_clear_object (&other);
  end (&f);
  raw_log_expect (FALSE);
}

static void
test_shrinking_memfd (void)
{
  int fd = raw_memfd (16 * PAGE, 0);

  assert_shrinking_data (fd);
  close (fd);
}

static void
assert_shrinking_file (const char *directory)
{
  g_autofree char *path = g_build_filename (directory, "vhost-test-XXXXXX", NULL);
  int fd = g_mkstemp (path);

  if (fd < 0)
    {
      g_test_skip ("the directory cannot be written");
      return;
    }
  assert_shrinking_data (fd);
  close (fd);
  g_unlink (path);
}

static void
test_shrinking_file (void)
{
  assert_shrinking_file (g_get_tmp_dir ());
}

static void
test_shrinking_shm (void)
{
  assert_shrinking_file ("/dev/shm");
}

/* Nothing but the rings is in it. */
static void
test_shrinking_ring (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, 0);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  const guint64 one = 1;
  guint8 *map = map_file (fd);
  RawRegion r = region (FIRST, HAND_BYTES, FIRST, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (hand_start (f.frontend, FIRST, kick_fd), ==, 0);
  hand_request (map, FIRST, 0, kick_fd);
  munmap (map, HAND_BYTES);
  raw_log_expect (TRUE);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_cmpint (write (kick_fd, &one, sizeof one), ==, sizeof one);
  raw_assert_closed (f.frontend);
  LIVE_WAIT_FOR (g_atomic_int_get (&f.closed_by) == VHOST_ERROR_NO_SHARED_MEMORY);
  end (&f);
  raw_log_expect (FALSE);
  close (fd);
  close (kick_fd);
}

static void
test_sealed (void)
{
  Fixture f;
  int fd = raw_memfd (HAND_BYTES, MFD_ALLOW_SEALING);
  RawRegion r = region (FIRST, HAND_BYTES, FIRST, 0);

  begin_bare (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpint (ftruncate (fd, 0), ==, -1);
  g_assert_cmpint (errno, ==, EPERM);
  end (&f);
  close (fd);
}

/* ---- Descriptors of the wrong kind ---- */

typedef int (*MakeFd) (void);

static int
make_pipe (void)
{
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  close (fds[1]);
  return fds[0];
}

static int
make_socket (void)
{
  return socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int
make_eventfd (void)
{
  return eventfd (0, EFD_CLOEXEC);
}

static int
make_epoll (void)
{
  return epoll_create1 (EPOLL_CLOEXEC);
}

static int
make_directory (void)
{
  return open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
make_null (void)
{
  return open ("/dev/null", O_RDWR | O_CLOEXEC);
}

/* Cannot be mapped for writing. */
static int
make_read_only (void)
{
  return open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

/* Has a size, and nothing else works. */
static int
make_path_only (void)
{
  return open ("/proc/self/exe", O_PATH | O_CLOEXEC);
}

static void
test_wrong_kind (gconstpointer data)
{
  MakeFd make;
  Fixture f;
  RawRegion r = region (SECOND, PAGE, SECOND, 0);
  int fd;

  memcpy (&make, data, sizeof make);
  fd = make ();
  g_assert_cmpint (fd, >=, 0);
  begin_rings (&f, 1);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), !=, 0);
  live_device_assert_echo (f.frontend, 0, "the memory of before");
  end (&f);
  close (fd);
}

static void
test_own_socket (void)
{
  Fixture f;
  RawRegion r = region (SECOND, PAGE, SECOND, 0);

  begin_rings (&f, 1);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, vhost_frontend_get_fd (f.frontend)),
                    !=, 0);
  live_device_assert_echo (f.frontend, 0, "the memory of before");
  end (&f);
}

static const MakeFd wrong_kinds[] = {
  make_pipe,      make_socket, make_eventfd,   make_epoll,
  make_directory, make_null,   make_read_only, make_path_only,
};
static const char *const wrong_kind_names[] = {
  "pipe", "socket", "eventfd", "epoll", "directory", "null", "read-only-file", "path",
};
G_STATIC_ASSERT (G_N_ELEMENTS (wrong_kinds) == G_N_ELEMENTS (wrong_kind_names));

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("M1-regions-that-overlap-for-the-guest-are-refused", test_m1_guest_overlap);
  TEST ("M1-regions-that-overlap-for-the-front-end-are-refused", test_m1_user_overlap);
  TEST ("M1-a-region-around-another-is-refused", test_m1_inside);
  TEST ("M1-regions-that-touch-are-taken", test_m1_neighbours);
  TEST ("memory-a-region-of-size-0-is-refused", test_size_0);
  TEST ("memory-a-guest-address-that-wraps-is-refused", test_guest_wrap);
  TEST ("memory-a-user-address-that-wraps-is-refused", test_user_wrap);
  TEST ("memory-a-file-offset-that-wraps-is-refused", test_offset_wrap);
  TEST ("memory-a-region-longer-than-its-file-is-refused", test_beyond_file);
  TEST ("memory-a-region-behind-its-file-is-refused", test_offset_beyond_file);
  TEST ("memory-a-region-of-half-the-address-space-is-refused", test_huge);
  TEST ("M2-a-table-of-8-regions-is-taken", test_m2_eight);
  TEST ("M2-a-table-that-counts-wrong-is-refused", test_m2_counts);
  TEST ("M2-rows-behind-the-count-are-ignored", test_m2_padded);
  TEST ("M3-a-region-is-removed-whatever-the-offset-says", test_m3_offset);
  TEST ("M3-a-region-is-not-removed-by-another-address-or-size", test_m3_other_numbers);
  TEST ("M3-a-descriptor-that-comes-with-a-removal-is-closed", test_rem_with_fd);
  TEST ("memory-a-region-without-its-one-descriptor-is-refused", test_add_without_fd);
  TEST ("M5-a-table-replaces-added-regions", test_m5_replaces_added);
  TEST ("M5-a-running-ring-moves-with-the-table", test_m5_moves_ring);
  TEST ("M5-a-table-without-the-ring-breaks-that-ring-only", test_m5_without_ring);
  TEST ("M5-an-empty-table-takes-the-memory-away", test_m5_empty);
  TEST ("M5-a-refused-table-leaves-the-old-one", test_refused_keeps);
  TEST ("M6-user-address-0-works", test_m6_zero);
  TEST ("M6-the-highest-user-address-works", test_m6_top);
  TEST ("M6-a-user-address-may-equal-the-guest-address", test_m6_same_as_guest);
  TEST ("M6-a-ring-is-not-found-by-its-guest-address", test_m6_guest_address);
  TEST ("GPA_ADDRESSES-a-user-address-that-differs-is-refused", test_gpa_differs);
  TEST ("GPA_ADDRESSES-a-ring-is-found-by-its-guest-address", test_gpa_rings);
  TEST ("memory-an-offset-within-a-page-works", test_odd_offset);
  TEST ("M7-removing-an-unknown-region-is-refused", test_m7_unknown);
  TEST ("M7-adding-a-region-twice-is-refused", test_m7_twice);
  TEST ("M8-the-number-of-slots-is-the-same-for-each-connection", test_m8_constant);
  TEST ("M8-every-slot-that-is-offered-can-be-used-and-no-more", test_m8_all);
  TEST ("memory-regions-come-and-go-under-load", test_cycles);
  TEST ("memory-tables-are-replaced-under-load", test_table_under_load);
  TEST ("memory-a-removal-waits-for-requests-in-the-region", test_removal_waits);
  TEST ("memory-a-removal-does-not-wait-for-ever", test_removal_gives_up);
  TEST ("memory-a-request-in-a-removed-region-breaks-its-ring-only", test_removed_is_gone);
  TEST ("memory-a-memfd-that-shrinks-ends-its-session-only", test_shrinking_memfd);
  TEST ("memory-a-file-that-shrinks-ends-its-session-only", test_shrinking_file);
  TEST ("memory-a-shared-memory-file-that-shrinks-ends-its-session-only", test_shrinking_shm);
  TEST ("memory-a-ring-whose-file-shrinks-ends-its-session-only", test_shrinking_ring);
  TEST ("memory-a-memfd-that-allows-seals-cannot-shrink-any-more", test_sealed);
  for (guint i = 0; i < G_N_ELEMENTS (wrong_kinds); i++)
    {
      g_autofree char *path = g_strdup_printf (
          "/protocol/memory-a-descriptor-of-kind-%s-is-refused", wrong_kind_names[i]);

      g_test_add_data_func (path, &wrong_kinds[i], test_wrong_kind);
    }
  TEST ("memory-the-connection-itself-is-refused", test_own_socket);
  return g_test_run ();
}
