/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In-flight areas that lie, loop, shrink, change, or are no files at all. After each the process
 * lives, a good area is taken, another front-end is served and nothing is left behind. Public API
 * only; must not touch a file of its own that it has cut short. */
#include "hostile-hand.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define N 16u
/* One queue's part, rounded up to 64. */
#define SPLIT_SIZE 320u
#define PACKED_SIZE 576u

typedef struct
{
  guint64 size, offset;
  guint16 num_queues, queue_size;
  guint8 padding[4];
} RawInflight;

typedef struct
{
  guint64 features;
  guint16 version, desc_num, last_batch_head, used_idx;
  struct
  {
    guint8 inflight, padding[5];
    guint16 next;
    guint64 counter;
  } desc[N];
} SplitArea;

typedef struct
{
  guint64 features;
  guint16 version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
  guint8 used_wrap, old_used_wrap, padding[10];
  struct
  {
    guint8 inflight, padding;
    guint16 next, last, num;
    guint64 counter;
    guint16 id, flags;
    guint32 length;
    guint64 address;
  } desc[N];
} PackedArea;

G_STATIC_ASSERT (sizeof (SplitArea) == 16 + 16 * N);
G_STATIC_ASSERT (sizeof (PackedArea) == 32 + 32 * N);

static guint64
set_area (HostileHand *h, RawInflight area, int fd)
{
  return raw_request (h->world->frontend, MSG_SET_INFLIGHT_FD, &area, sizeof area, &fd, 1);
}

/* An area of the device's own making, or -1. */
static int
get_area (HostileHand *h, RawInflight *area)
{
  VhostFrontend *frontend = h->world->frontend;
  guint request, flags, n_fds = 1;
  gsize size = sizeof *area;
  int fd = -1;
  GError *error = NULL;

  vhost_frontend_send (frontend, MSG_GET_INFLIGHT_FD, RAW_VERSION, area, sizeof *area, NULL, 0,
                       &error);
  g_assert_no_error (error);
  vhost_frontend_receive (frontend, &request, &flags, area, &size, &fd, &n_fds, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_INFLIGHT_FD);
  return n_fds == 1 ? fd : -1;
}

/* A good area after all, and the ring works. */
static void
recover (HostileHand *h, gboolean packed)
{
  RawInflight area = { .num_queues = 2, .queue_size = N };
  int fd;

  (void) hand_ring_get_base (h->ring);
  fd = get_area (h, &area);
  g_assert_cmpint (fd, >=, 0);
  ASSERT_TAKEN (set_area (h, area, fd));
  close (fd);
  hostile_hand_renew (h, packed);
  hostile_hand_assert_alive (h);
}

/* Starts the ring with @bytes as its part of the area. Returns KICK's answer; whatever the ring
 * does with it has been done. */
static guint64
start_with (HostileHand *h, gconstpointer bytes, gsize length, gboolean packed)
{
  const RawInflight area = { 2 * (packed ? PACKED_SIZE : SPLIT_SIZE), 0, 2, N, { 0 } };
  int fd = raw_memfd (area.size, 0);
  guint64 answer;

  g_assert_cmpint (pwrite (fd, bytes, length, 0), ==, (gssize) length);
  ASSERT_TAKEN (set_area (h, area, fd));
  close (fd);
  h->ring->base = packed ? PACKED_BASE : 0;
  hand_ring_set_up (h->ring);
  answer = hand_ring_send_kick (h->ring, h->ring->kick_fd);
  if (answer == 0)
    {
      ASSERT_TAKEN (hand_ring_send_enable (h->ring, 1));
      hand_ring_kick (h->ring);
      hand_ring_sync (h->ring);
      (void) hand_ring_get_base (h->ring);
    }
  return answer;
}

/* Nothing in flight, and all entries free. */
static SplitArea
good_split (void)
{
  return (SplitArea){ .version = 1, .desc_num = N };
}

static PackedArea
good_packed (void)
{
  PackedArea area = { .version = 1, .desc_num = N, .used_wrap = 1, .old_used_wrap = 1 };

  for (guint i = 0; i < N; i++)
    area.desc[i].next = (guint16) (i + 1);
  return area;
}

/* ---- What is in the area ---- */

static void
test_split_fields (gconstpointer data)
{
  HostileHand h;
  SplitArea area;

#define REFUSED(...)                                                                               \
  G_STMT_START                                                                                     \
  {                                                                                                \
    area = good_split ();                                                                          \
    __VA_ARGS__;                                                                                   \
    ASSERT_REFUSED (start_with (&h, &area, sizeof area, FALSE));                                   \
  }                                                                                                \
  G_STMT_END

  hostile_hand_begin (&h, data, 0);
  REFUSED (area.version = 2);
  REFUSED (area.version = 0xffff);
  REFUSED (area.features = 1);
  REFUSED (area.features = G_MAXUINT64);
  REFUSED (area.desc_num = N - 1);
  REFUSED (area.desc_num = 0);
  REFUSED (area.desc_num = 0xffff);
  REFUSED (area.last_batch_head = N);
  REFUSED (area.last_batch_head = 0xffff);
  /* More in the last batch than the ring has, and one whose list leaves the area. */
  REFUSED (area.used_idx = 0xffff - N, area.desc[3].inflight = 1);
  REFUSED (area.used_idx = 0xfffe, area.desc[0].inflight = 1, area.desc[0].next = 0xffff);
#undef REFUSED
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

/* The list of the last batch is a loop: as many steps as the distance says. */
static void
test_split_loop (gconstpointer data)
{
  HostileHand h;
  SplitArea area = good_split ();

  hostile_hand_begin (&h, data, 0);
  area.used_idx = (guint16) (0 - N);
  area.desc[0].inflight = 1;
  ASSERT_TAKEN (start_with (&h, &area, sizeof area, FALSE));
  area.desc[0].next = 5;
  area.desc[5].next = 5;
  area.desc[7].inflight = 0xff;
  ASSERT_TAKEN (start_with (&h, &area, sizeof area, FALSE));
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

/* All heads are in flight, with one counter, and their descriptors are whatever they are. */
static void
test_split_all (gconstpointer data)
{
  HostileHand h;
  SplitArea area = good_split ();

  hostile_hand_begin (&h, data, 0);
  for (guint i = 0; i < N; i++)
    {
      area.desc[i].inflight = 1;
      area.desc[i].counter = G_MAXUINT64;
      hand_ring_put (h.ring, i, G_MAXUINT64 - i, G_MAXUINT32, DESC_NEXT, (guint16) (i * 7));
    }
  (void) start_with (&h, &area, sizeof area, FALSE);
  hostile_hand_assert_alive (&h);
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

static void
test_packed_fields (gconstpointer data)
{
  HostileHand h;
  PackedArea area;

#define REFUSED(...)                                                                               \
  G_STMT_START                                                                                     \
  {                                                                                                \
    area = good_packed ();                                                                         \
    __VA_ARGS__;                                                                                   \
    ASSERT_REFUSED (start_with (&h, &area, sizeof area, TRUE));                                    \
  }                                                                                                \
  G_STMT_END

  hostile_hand_begin (&h, data, F_PACKED);
  REFUSED (area.version = 3);
  REFUSED (area.features = RAW_BIT (63));
  REFUSED (area.desc_num = N + 1);
  REFUSED (area.free_head = N + 1);
  REFUSED (area.free_head = 0xffff);
  REFUSED (area.old_free_head = N + 1);
  REFUSED (area.used_idx = N);
  REFUSED (area.old_used_idx = 0xffff);
  /* Free lists: outside, a loop, entries missing. */
  REFUSED (area.desc[4].next = 0xffff);
  REFUSED (area.desc[4].next = N + 1);
  REFUSED (area.desc[4].next = 4);
  REFUSED (area.desc[15].next = 0);
  REFUSED (area.desc[4].next = 8);
  REFUSED (area.free_head = area.old_free_head = N);
  /* One request of 2: its list, length and end. */
#define TAKEN                                                                                      \
  area.free_head = area.old_free_head = 2, area.desc[0].inflight = 1, area.desc[0].num = 2,        \
  area.desc[0].last = 1
  REFUSED (TAKEN, area.desc[0].num = 0);
  REFUSED (TAKEN, area.desc[0].num = N + 1);
  REFUSED (TAKEN, area.desc[0].num = 0xffff);
  REFUSED (TAKEN, area.desc[0].num = 3);
  REFUSED (TAKEN, area.desc[0].last = 0);
  REFUSED (TAKEN, area.desc[0].last = 0xffff);
  REFUSED (TAKEN, area.desc[0].next = 0);
  REFUSED (TAKEN, area.desc[0].next = N);
  REFUSED (TAKEN, area.desc[0].next = 0xffff);
  REFUSED (TAKEN, area.desc[0].next = 7);
  REFUSED (TAKEN, area.desc[1].inflight = 1, area.desc[1].num = 1, area.desc[1].last = 1);
#undef REFUSED
  /* The list is right, and what it says is not: an ID of 65535, 4 GiB, nowhere. */
  area = good_packed ();
  TAKEN;
  area.desc[1].id = 0xffff;
  (void) start_with (&h, &area, sizeof area, TRUE);
  area.desc[1].id = 1;
  area.desc[1].length = G_MAXUINT32;
  area.desc[1].address = G_MAXUINT64 - 3;
  area.desc[0].flags = 0xffff;
  (void) start_with (&h, &area, sizeof area, TRUE);
#undef TAKEN
  recover (&h, TRUE);
  hostile_hand_end (&h);
}

/* Two requests with one ID, which no ring can have. */
static void
test_packed_id_twice (gconstpointer data)
{
  HostileHand h;
  PackedArea area = good_packed ();

  hostile_hand_begin (&h, data, F_PACKED);
  area.free_head = area.old_free_head = 2;
  for (guint i = 0; i < 2; i++)
    {
      area.desc[i].inflight = area.desc[i].num = 1;
      area.desc[i].last = (guint16) i;
      area.desc[i].id = 5;
      area.desc[i].length = 16;
      area.desc[i].address = hand_ring_buffer (h.ring, i);
    }
  echo_backend_hold (h.world->echo, TRUE);
  {
    const RawInflight place = { 2 * PACKED_SIZE, 0, 2, N, { 0 } };
    int fd = raw_memfd (place.size, 0);

    g_assert_cmpint (pwrite (fd, &area, sizeof area, 0), ==, sizeof area);
    ASSERT_TAKEN (set_area (&h, place, fd));
    close (fd);
    h.ring->base = PACKED_BASE;
    hand_ring_start (h.ring);
    LIVE_WAIT_FOR (hand_ring_get_errors (h.ring) > 0);
    g_assert_cmpuint (echo_backend_get_n_held (h.world->echo), ==, 1);
  }
  echo_backend_hold (h.world->echo, FALSE);
  echo_backend_release (h.world->echo, FALSE);
  hostile_hand_assert_alive (&h);
  recover (&h, TRUE);
  hostile_hand_end (&h);
}

/* Every 16 bits of the area, one after the other, with every sort of number. */
static void
sweep (gconstpointer data, gboolean packed)
{
  const guint16 values[] = { 0, 1, N - 1, N, N + 1, 0x7fff, 0x8000, 0xffff };
  SplitArea split = good_split ();
  PackedArea area = good_packed ();
  gsize size = packed ? sizeof area : sizeof split;
  g_autofree guint16 *bytes = g_malloc (size);
  HostileHand h;

  hostile_hand_begin (&h, data, packed ? F_PACKED : 0);
  split.used_idx = 0xfffd;
  split.desc[2].inflight = split.desc[9].inflight = 1;
  area.free_head = area.old_free_head = 2;
  area.desc[0].inflight = 1;
  area.desc[0].num = 2;
  area.desc[0].last = 1;
  /* Of entries, those that are in use and one that is not. */
  for (gsize at = 4; at < (packed ? 32 + 3 * 32 : 16 + 3 * 16) / 2; at++)
    for (guint i = 0; i < G_N_ELEMENTS (values); i++)
      {
        memcpy (bytes, packed ? (gconstpointer) &area : (gconstpointer) &split, size);
        bytes[at] = values[i];
        hand_ring_clear (h.ring);
        (void) start_with (&h, bytes, size, packed);
      }
  hostile_hand_assert_alive (&h);
  recover (&h, packed);
  hostile_hand_end (&h);
}

static void
test_split_sweep (gconstpointer data)
{
  sweep (data, FALSE);
}

static void
test_packed_sweep (gconstpointer data)
{
  sweep (data, TRUE);
}

/* ---- Where it is ---- */

static void
test_places (gconstpointer data)
{
  const RawInflight bad[] = {
    { 0, 0, 2, N, { 0 } },
    { 2 * SPLIT_SIZE - 1, 0, 2, N, { 0 } },
    { 2 * SPLIT_SIZE, 64, 2, N, { 0 } }, /* past the end of the file */
    { 2 * SPLIT_SIZE, 1, 2, N, { 0 } },
    { 2 * SPLIT_SIZE, G_MAXUINT64 - 7, 2, N, { 0 } },
    { 2 * SPLIT_SIZE, G_MAXUINT64 - 2 * SPLIT_SIZE + 1, 2, N, { 0 } },
    { G_MAXUINT64, 0, 2, N, { 0 } },
    { G_MAXUINT64 - 7, 8, 2, N, { 0 } },
    { G_MAXINT64, 8, 2, N, { 0 } },
    { 2 * SPLIT_SIZE, 0, 0, N, { 0 } },
    { 2 * SPLIT_SIZE, 0, 3, N, { 0 } },
    { 2 * SPLIT_SIZE, 0, 0xffff, N, { 0 } },
    { 2 * SPLIT_SIZE, 0, 2, 0, { 0 } },
    { 2 * SPLIT_SIZE, 0, 2, 17, { 0 } }, /* no power of 2 */
    { 2 * SPLIT_SIZE, 0, 2, 32768, { 0 } },
    { 2 * SPLIT_SIZE, 0, 2, 0xffff, { 0 } },
  };
  HostileHand h;
  int fd = raw_memfd (2 * SPLIT_SIZE, 0);

  hostile_hand_begin (&h, data, 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    ASSERT_REFUSED (set_area (&h, bad[i], fd));
  close (fd);
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

static void
test_kinds (gconstpointer data)
{
  HostileHand h;
  RawInflight area = { 2 * SPLIT_SIZE, 0, 2, N, { 0 } };
  int pair[2], fds[8];
  guint n = 0;

  hostile_hand_begin (&h, data, 0);
  g_assert_cmpint (pipe2 (pair, O_CLOEXEC), ==, 0);
  fds[n++] = pair[0];
  fds[n++] = pair[1];
  fds[n++] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  fds[n++] = eventfd (0, EFD_CLOEXEC);
  fds[n++] = epoll_create1 (EPOLL_CLOEXEC);
  fds[n++] = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  fds[n++] = open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  fds[n++] = open ("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* cannot be mapped for writing */
  for (guint i = 0; i < n; i++)
    {
      ASSERT_REFUSED (set_area (&h, area, fds[i]));
      close (fds[i]);
    }
  ASSERT_REFUSED (set_area (&h, area, vhost_frontend_get_fd (h.world->frontend)));
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

/* ---- What happens to it ---- */

static void
shrink (gconstpointer data, gboolean packed)
{
  const RawInflight area = { 2 * (packed ? PACKED_SIZE : SPLIT_SIZE), 0, 2, N, { 0 } };
  HostileHand h;
  int fd = raw_memfd (area.size, 0);

  hostile_hand_begin (&h, data, packed ? F_PACKED : 0);
  ASSERT_TAKEN (set_area (&h, area, fd));
  hostile_hand_renew (&h, packed);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  close (fd);
  if (packed)
    hostile_packed_put_echo (h.ring, 2, TRUE, 3);
  else
    {
      hand_ring_put_echo (h.ring, 0);
      hand_ring_offer (h.ring, 0);
    }
  hand_ring_kick (h.ring);
  /* Who takes the area away has lost its device. */
  raw_assert_closed (h.world->frontend);
  hostile_hand_end (&h);
}

static void
test_split_shrinks (gconstpointer data)
{
  shrink (data, FALSE);
}

static void
test_packed_shrinks (gconstpointer data)
{
  shrink (data, TRUE);
}

/* Between SET_INFLIGHT_FD and the start. */
static void
test_shrinks_before (gconstpointer data)
{
  const RawInflight area = { 2 * SPLIT_SIZE, 0, 2, N, { 0 } };
  HostileHand h;
  int fd = raw_memfd (area.size, 0);

  hostile_hand_begin (&h, data, 0);
  ASSERT_TAKEN (set_area (&h, area, fd));
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  hand_ring_set_up (h.ring);
  ASSERT_REFUSED (hand_ring_send_kick (h.ring, h.ring->kick_fd));
  ASSERT_REFUSED (set_area (&h, area, fd));
  close (fd);
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

typedef struct
{
  guint8 *bytes;
  gsize size;
  gint stop;
} Scribbler;

static gpointer
scribble (gpointer data)
{
  Scribbler *self = data;
  guint32 n = 1;

  while (!g_atomic_int_get (&self->stop))
    {
      n = n * 1664525 + 1013904223;
      __atomic_store_n (&self->bytes[(n >> 8) % self->size], (guint8) (n >> 24), __ATOMIC_RELAXED);
      if (n % 64 == 0)
        g_thread_yield ();
    }
  return NULL;
}

/* The device keeps a copy of all that it walks: its requests do not care. */
static void
change (gconstpointer data, gboolean packed)
{
  const RawInflight area = { 2 * (packed ? PACKED_SIZE : SPLIT_SIZE), 0, 2, N, { 0 } };
  HostileHand h;
  int fd = raw_memfd (area.size, 0);
  Scribbler scribbler = { .size = area.size };
  GThread *thread;
  gboolean wrap = TRUE;
  guint slot = 2;

  hostile_hand_begin (&h, data, packed ? F_PACKED : 0);
  ASSERT_TAKEN (set_area (&h, area, fd));
  hostile_hand_renew (&h, packed);
  scribbler.bytes = mmap (NULL, area.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  g_assert_true (scribbler.bytes != MAP_FAILED);
  thread = g_thread_new ("scribble", scribble, &scribbler);
  for (guint i = 0; i < 500; i++)
    {
      if (!packed)
        {
          hand_ring_echo (h.ring);
          continue;
        }
      hostile_packed_put_echo (h.ring, slot, wrap, (guint16) (i % N));
      hand_ring_kick (h.ring);
      LIVE_WAIT_FOR (hostile_packed_is_used (h.ring, slot, wrap));
      slot = (slot + 2) % N;
      if (slot == 0)
        wrap = !wrap;
    }
  g_atomic_int_set (&scribbler.stop, 1);
  g_thread_join (thread);
  g_assert_cmpuint (hand_ring_get_errors (h.ring), ==, 0);
  munmap (scribbler.bytes, area.size);
  close (fd);
  hostile_hand_assert_alive (&h);
  recover (&h, packed);
  hostile_hand_end (&h);
}

static void
test_split_changes (gconstpointer data)
{
  change (data, FALSE);
}

static void
test_packed_changes (gconstpointer data)
{
  change (data, TRUE);
}

/* A running ring keeps the area that it began with; the next start has the one that came last. */
static void
test_replaced (gconstpointer data)
{
  HostileHand h;
  int fd = raw_memfd (2 * SPLIT_SIZE, 0);

  hostile_hand_begin (&h, data, 0);
  ASSERT_TAKEN (set_area (&h, (RawInflight){ 2 * SPLIT_SIZE, 0, 2, N, { 0 } }, fd));
  hostile_hand_renew (&h, FALSE);
  /* For rings of 1. */
  ASSERT_TAKEN (set_area (&h, (RawInflight){ 2 * SPLIT_SIZE, 0, 2, 1, { 0 } }, fd));
  hand_ring_echo (h.ring);
  (void) hand_ring_get_base (h.ring);
  hand_ring_set_up (h.ring);
  ASSERT_REFUSED (hand_ring_send_kick (h.ring, h.ring->kick_fd));
  close (fd);
  recover (&h, FALSE);
  hostile_hand_end (&h);
}

/* Each answer brings a file that is the front-end's; the device keeps none. */
static void
test_many (gconstpointer data)
{
  HostileHand h;
  guint n_fds;

  hostile_hand_begin (&h, data, 0);
  hostile_hand_assert_alive (&h);
  n_fds = raw_count_settled_fds ();
  for (guint i = 0; i < 500; i++)
    {
      RawInflight area = { .num_queues = 2, .queue_size = 32768 };
      int fd = get_area (&h, &area);

      g_assert_cmpint (fd, >=, 0);
      ASSERT_TAKEN (set_area (&h, area, fd));
      close (fd);
    }
  LIVE_WAIT_FOR (live_count_fds () <= n_fds + 1);
  hostile_hand_assert_alive (&h);
  hostile_hand_end (&h);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define TEST(name, func) hand_test_add ("/protocol/hostile-inflight-" name, func)
  TEST ("split-numbers-that-cannot-be-are-refused", test_split_fields);
  TEST ("split-lists-in-a-loop-end", test_split_loop);
  TEST ("split-everything-taken-does-no-harm", test_split_all);
  TEST ("split-any-number-anywhere-does-no-harm", test_split_sweep);
  TEST ("packed-numbers-that-cannot-be-are-refused", test_packed_fields);
  TEST ("packed-an-id-in-flight-twice-breaks-the-ring", test_packed_id_twice);
  TEST ("packed-any-number-anywhere-does-no-harm", test_packed_sweep);
  TEST ("places-that-cannot-be-are-refused", test_places);
  TEST ("descriptors-of-other-kinds-are-refused", test_kinds);
  TEST ("split-a-file-that-shrinks-ends-its-session-only", test_split_shrinks);
  TEST ("packed-a-file-that-shrinks-ends-its-session-only", test_packed_shrinks);
  TEST ("a-file-that-shrank-before-the-start-is-refused", test_shrinks_before);
  TEST ("split-an-area-that-changes-does-no-harm", test_split_changes);
  TEST ("packed-an-area-that-changes-does-no-harm", test_packed_changes);
  TEST ("an-area-for-smaller-rings-waits-for-the-start", test_replaced);
  TEST ("five-hundred-areas-leave-nothing-behind", test_many);
  return g_test_run ();
}
