/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the device asks of its front-end: shared memory mappings (SH2, SH3), objects, host
 * notifiers; and how such requests end (B1, B2, S3). Public API only. */
#include "rich-backend.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_NOTIFIER_MSG 3
#define LOOKUP 8
#define SHMEM_MAP 9
#define SHMEM_UNMAP 10
#define PAGE 4096

typedef struct
{
  guint8 shmid, padding[7];
  guint64 fd_offset, shm_offset, length, flags;
} Mmap;

typedef struct
{
  RichOutcome outcome;
  GCancellable *cancellable;
  guint id;
  guint64 offset;
  guint64 length;
  int fd;
} Range;

/* Thread: the daemon's. */
static void
on_mapped (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->good = vhost_backend_map_shmem_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
map (LiveDevice *device, gpointer data)
{
  Range *range = data;

  vhost_backend_map_shmem_async (device->backend, range->id, range->offset, range->fd, PAGE,
                                 range->length, TRUE, range->cancellable, on_mapped,
                                 &range->outcome);
  g_assert_false (range->outcome.done); /* never within the call */
}

/* Thread: the daemon's. */
static void
on_unmapped (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->good
      = vhost_backend_unmap_shmem_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
unmap (LiveDevice *device, gpointer data)
{
  Range *range = data;

  vhost_backend_unmap_shmem_async (device->backend, range->id, range->offset, range->length,
                                   range->cancellable, on_unmapped, &range->outcome);
}

/* Thread: the daemon's. */
static void
cancel (LiveDevice *device, gpointer data)
{
  g_cancellable_cancel (data);
}

static void
begin (Rich *f, guint64 protocol_features)
{
  rich_begin (f, protocol_features);
  rich_start_ring (f);
  rich_open_channel (f);
}

/* The request arrives and is answered. */
static void
serve (Rich *f, guint request, guint64 answer)
{
  Mmap got;
  int fd;

  g_assert_cmpuint (rich_read_request (f, &got, sizeof got, &fd).request, ==, request);
  g_assert_cmpint (fd >= 0, ==, request == SHMEM_MAP);
  if (fd >= 0)
    close (fd);
  rich_answer (f, request, answer, -1);
}

#define EXPECT_DONE(f, range)                                                                      \
  G_STMT_START                                                                                     \
  {                                                                                                \
    RICH_WAIT (f, &(range)->outcome);                                                              \
    g_assert_no_error ((range)->outcome.error);                                                    \
    g_assert_true ((range)->outcome.good);                                                         \
    rich_outcome_clear (&(range)->outcome);                                                        \
  }                                                                                                \
  G_STMT_END
#define EXPECT_ERROR(f, range, code)                                                               \
  G_STMT_START                                                                                     \
  {                                                                                                \
    RICH_WAIT (f, &(range)->outcome);                                                              \
    g_assert_error ((range)->outcome.error, VHOST_ERROR, code);                                    \
    rich_outcome_clear (&(range)->outcome);                                                        \
  }                                                                                                \
  G_STMT_END

static void
test_map (void)
{
  Range range = { .id = RICH_SHMEM_ID, .offset = PAGE, .length = 2 * PAGE };
  struct stat want, have;
  RawHeader header;
  Mmap got;
  Rich f;
  int fd;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  header = rich_read_request (&f, &got, sizeof got, &fd);
  g_assert_cmpuint (header.request, ==, SHMEM_MAP);
  g_assert_cmpuint (header.size, ==, 40);
  g_assert_cmphex (header.flags, ==, RAW_VERSION | RAW_NEED_REPLY);
  g_assert_cmpuint (got.shmid, ==, RICH_SHMEM_ID);
  g_assert_cmpuint (got.fd_offset, ==, PAGE);
  g_assert_cmpuint (got.shm_offset, ==, PAGE);
  g_assert_cmpuint (got.length, ==, 2 * PAGE);
  g_assert_cmphex (got.flags, ==, 1);
  g_assert_cmpint (fstat (fd, &have), ==, 0);
  g_assert_cmpint (fstat (range.fd, &want), ==, 0);
  g_assert_cmpuint (have.st_ino, ==, want.st_ino);
  close (fd);
  /* B1: the main socket is served meanwhile. */
  raw_assert_in_step (f.frontend);
  g_assert_false (rich_outcome_is_done (&f, &range.outcome));
  rich_answer (&f, SHMEM_MAP, 0, -1);
  EXPECT_DONE (&f, &range);

  RICH_CALL (&f, unmap, &range);
  serve (&f, SHMEM_UNMAP, 0);
  EXPECT_DONE (&f, &range);
  close (range.fd);
  rich_end (&f);
}

static void
test_ranges (void)
{
  const struct
  {
    guint id;
    guint64 offset, length;
  } bad[] = { { RICH_SHMEM_ID, 0, 0 },
              { RICH_SHMEM_ID, 1, PAGE },
              { RICH_SHMEM_ID, 0, PAGE + 1 },
              { RICH_SHMEM_ID, RICH_SHMEM_SIZE, PAGE },
              { RICH_SHMEM_ID, PAGE, RICH_SHMEM_SIZE },
              { RICH_SHMEM_ID, G_MAXUINT64 - PAGE + 1, 2 * PAGE },
              { RICH_SHMEM_ID + 1, 0, PAGE },
              { 256 + RICH_SHMEM_ID, 0, PAGE } };
  Range range = { .id = RICH_SHMEM_ID, .offset = PAGE, .length = 2 * PAGE };
  Range part = { .id = RICH_SHMEM_ID, .offset = 2 * PAGE, .length = PAGE };
  Rich f;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = part.fd = raw_memfd (16 * PAGE, 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      Range wrong
          = { .id = bad[i].id, .offset = bad[i].offset, .length = bad[i].length, .fd = range.fd };

      RICH_CALL (&f, map, &wrong);
      EXPECT_ERROR (&f, &wrong, VHOST_ERROR_INVALID);
    }
  RICH_CALL (&f, map, &range);
  serve (&f, SHMEM_MAP, 0);
  EXPECT_DONE (&f, &range);
  RICH_CALL (&f, map, &part); /* not free */
  EXPECT_ERROR (&f, &part, VHOST_ERROR_BUSY);
  RICH_CALL (&f, unmap, &part); /* not whole */
  EXPECT_ERROR (&f, &part, VHOST_ERROR_INVALID);
  g_assert_true (rich_channel_is_silent (&f));
  close (range.fd);
  rich_end (&f);
}

static void
test_refused (void)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = raw_memfd (16 * PAGE, 0);
  for (guint i = 0; i < 2; i++) /* what was refused is free still */
    {
      RICH_CALL (&f, map, &range);
      serve (&f, SHMEM_MAP, 22);
      EXPECT_ERROR (&f, &range, VHOST_ERROR_REFUSED);
    }
  close (range.fd);
  rich_end (&f);
}

static void
test_reset (void)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;
  GError *error = NULL;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  serve (&f, SHMEM_MAP, 0);
  EXPECT_DONE (&f, &range);
  g_assert_cmpuint (raw_request (f.frontend, MSG_RESET_DEVICE, NULL, 0, NULL, 0), ==, 0);
  RICH_CALL (&f, unmap, &range);
  EXPECT_ERROR (&f, &range, VHOST_ERROR_INVALID);
  vhost_frontend_add_queue (f.frontend, 1, 16, &error);
  g_assert_no_error (error);
  RICH_CALL (&f, map, &range); /* free again */
  serve (&f, SHMEM_MAP, 0);
  EXPECT_DONE (&f, &range);
  close (range.fd);
  rich_end (&f);
}

static void
test_waits_for_ring (void)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_open_channel (&f);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  close (range.fd); /* it was not needed longer */
  g_assert_true (rich_channel_is_silent (&f));
  rich_start_ring (&f);
  serve (&f, SHMEM_MAP, 0);
  EXPECT_DONE (&f, &range);
  rich_end (&f);
}

static void
test_held_dropped (void)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_open_channel (&f);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  vhost_frontend_close (f.frontend);
  EXPECT_ERROR (&f, &range, VHOST_ERROR_DISCONNECTED);
  RICH_CALL (&f, map, &range); /* nobody is there */
  EXPECT_ERROR (&f, &range, VHOST_ERROR_DISCONNECTED);
  close (range.fd);
  rich_end (&f);
}

static void
assert_not_negotiated (guint64 without, gboolean channel)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES & ~without);
  rich_start_ring (&f);
  if (channel)
    rich_open_channel (&f);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  EXPECT_ERROR (&f, &range, VHOST_ERROR_NOT_NEGOTIATED);
  if (channel)
    g_assert_true (rich_channel_is_silent (&f));
  close (range.fd);
  rich_end (&f);
}

static void
test_not_negotiated (void)
{
  assert_not_negotiated (RAW_BIT (22), TRUE);
  assert_not_negotiated (RAW_BIT (10), TRUE);
  assert_not_negotiated (RAW_BIT (5), FALSE);
}

static void
test_without_acks (void)
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;
  Mmap got;
  int fd;

  begin (&f, LIVE_ALL_FEATURES & ~RAW_BIT (3));
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  g_assert_cmphex (rich_read_request (&f, &got, sizeof got, &fd).flags, ==, RAW_VERSION);
  close (fd);
  EXPECT_DONE (&f, &range); /* nobody will say more */
  close (range.fd);
  rich_end (&f);
}

/* The channel ends in whatever way; the session does not. */
static void
assert_ends (void (*how) (Rich *f))
{
  Range range = { .id = RICH_SHMEM_ID, .length = PAGE };
  Rich f;
  Mmap got;
  int fd;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, map, &range);
  rich_read_request (&f, &got, sizeof got, &fd);
  close (fd);
  how (&f);
  EXPECT_ERROR (&f, &range, VHOST_ERROR_DISCONNECTED);
  raw_assert_in_step (f.frontend);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  rich_open_channel (&f); /* another one is as good as new */
  RICH_CALL (&f, map, &range);
  serve (&f, SHMEM_MAP, 0);
  EXPECT_DONE (&f, &range);
  close (range.fd);
  rich_end (&f);
}

static void
wrong_request (Rich *f)
{
  rich_answer (f, SHMEM_UNMAP, 0, -1);
}

static void
wrong_fd (Rich *f)
{
  rich_answer (f, SHMEM_MAP, 0, f->channel);
}

static void
wrong_size (Rich *f)
{
  const RawHeader header = { SHMEM_MAP, RAW_VERSION | RAW_REPLY, 0 };

  g_assert_cmpint (write (f->channel, &header, sizeof header), ==, sizeof header);
}

static void
close_channel (Rich *f)
{
  close (f->channel);
  f->channel = -1;
}

static void
test_wrong_answers (void)
{
  assert_ends (wrong_request);
  assert_ends (wrong_fd);
  assert_ends (wrong_size);
}

static void
test_ends (void)
{
  assert_ends (close_channel);
  assert_ends (rich_open_channel);
}

static void
test_cancel (void)
{
  Range first = { .id = RICH_SHMEM_ID, .length = PAGE };
  Range second = { .id = RICH_SHMEM_ID, .offset = PAGE, .length = PAGE };
  Mmap got;
  Rich f;
  int fd;

  begin (&f, LIVE_ALL_FEATURES);
  first.fd = second.fd = raw_memfd (16 * PAGE, 0);
  first.cancellable = g_cancellable_new ();
  RICH_CALL (&f, map, &first);
  RICH_CALL (&f, map, &second);
  for (guint i = 0; i < 2; i++)
    {
      rich_read_request (&f, &got, sizeof got, &fd);
      close (fd);
    }
  RICH_CALL (&f, cancel, first.cancellable);
  RICH_WAIT (&f, &first.outcome);
  g_assert_error (first.outcome.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  rich_outcome_clear (&first.outcome);
  /* Its answer is not taken for the second one's. */
  rich_answer (&f, SHMEM_MAP, 5, -1);
  g_assert_false (rich_outcome_is_done (&f, &second.outcome));
  rich_answer (&f, SHMEM_MAP, 0, -1);
  EXPECT_DONE (&f, &second);
  g_object_unref (first.cancellable);
  close (first.fd);
  rich_end (&f);
}

/* Thread: the daemon's. */
static void
on_found (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->fd
      = vhost_backend_shared_object_lookup_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
lookup (LiveDevice *device, gpointer data)
{
  vhost_backend_shared_object_lookup_async (device->backend, RICH_UUID, NULL, on_found, data);
}

static void
test_lookup (void)
{
  RichOutcome outcome = { 0 };
  RawHeader header;
  guint8 uuid[16];
  struct stat want, got;
  Rich f;
  int fd = raw_memfd (PAGE, 0);

  begin (&f, LIVE_ALL_FEATURES);
  RICH_CALL (&f, lookup, &outcome);
  header = rich_read_request (&f, uuid, sizeof uuid, NULL);
  g_assert_cmpuint (header.request, ==, LOOKUP);
  g_assert_cmphex (header.flags, ==, RAW_VERSION); /* A2: it has a reply of its own */
  g_assert_cmpmem (uuid, header.size, rich_uuid, 16);
  rich_answer (&f, LOOKUP, 0, fd);
  RICH_WAIT (&f, &outcome);
  g_assert_no_error (outcome.error);
  g_assert_cmpint (fstat (outcome.fd, &got), ==, 0);
  g_assert_cmpint (fstat (fd, &want), ==, 0);
  g_assert_cmpuint (got.st_ino, ==, want.st_ino);
  rich_outcome_clear (&outcome);

  RICH_CALL (&f, lookup, &outcome);
  rich_read_request (&f, uuid, sizeof uuid, NULL);
  rich_answer (&f, LOOKUP, 2, -1);
  RICH_WAIT (&f, &outcome);
  g_assert_error (outcome.error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_assert_cmpint (outcome.fd, ==, -1);
  rich_outcome_clear (&outcome);

  RICH_CALL (&f, lookup, &outcome);
  rich_read_request (&f, uuid, sizeof uuid, NULL);
  rich_answer (&f, LOOKUP, 0, -1);
  RICH_WAIT (&f, &outcome);
  g_assert_error (outcome.error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  rich_outcome_clear (&outcome);
  close (fd);
  rich_end (&f);
}

/* Thread: the daemon's. */
static void
on_notifier (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->good
      = vhost_backend_set_host_notifier_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
set_notifier (LiveDevice *device, gpointer data)
{
  Range *range = data;

  vhost_backend_set_host_notifier_async (device->backend, range->id, range->fd, range->offset, NULL,
                                         on_notifier, &range->outcome);
}

static void
test_notifier (void)
{
  Range range = { .offset = 3 * PAGE };
  struct
  {
    guint64 index, size, offset;
  } area;
  Rich f;
  int fd;

  begin (&f, LIVE_ALL_FEATURES);
  range.fd = raw_memfd (16 * PAGE, 0);
  RICH_CALL (&f, set_notifier, &range);
  g_assert_cmpuint (rich_read_request (&f, &area, sizeof area, &fd).request, ==, HOST_NOTIFIER_MSG);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  g_assert_cmphex (area.index, ==, 0);
  g_assert_cmpuint (area.size, ==, PAGE);
  g_assert_cmpuint (area.offset, ==, 3 * PAGE);
  rich_answer (&f, HOST_NOTIFIER_MSG, 0, -1);
  EXPECT_DONE (&f, &range);
  close (range.fd);

  range.fd = -1;
  range.offset = 0;
  RICH_CALL (&f, set_notifier, &range);
  rich_read_request (&f, &area, sizeof area, &fd);
  g_assert_cmpint (fd, ==, -1);
  g_assert_cmphex (area.index, ==, RAW_NO_FD);
  rich_answer (&f, HOST_NOTIFIER_MSG, 0, -1);
  EXPECT_DONE (&f, &range);

  range.id = 99;
  RICH_CALL (&f, set_notifier, &range);
  EXPECT_ERROR (&f, &range, VHOST_ERROR_INVALID);
  rich_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("B1-BACKEND_SHMEM_MAP-waits-while-the-main-socket-is-served", test_map);
  TEST ("SH2-BACKEND_SHMEM_MAP-takes-free-ranges-and-BACKEND_SHMEM_UNMAP-whole-ones", test_ranges);
  TEST ("SH2-the-front-end-may-refuse", test_refused);
  TEST ("SH3-a-reset-drops-all-mappings", test_reset);
  TEST ("S3-a-request-waits-for-the-first-ring", test_waits_for_ring);
  TEST ("B-a-request-that-waits-ends-with-the-front-end", test_held_dropped);
  TEST ("B-a-request-needs-its-features", test_not_negotiated);
  TEST ("B-without-acks-a-request-ends-when-it-is-out", test_without_acks);
  TEST ("B-a-wrong-answer-ends-the-channel-only", test_wrong_answers);
  TEST ("B2-requests-end-with-their-channel", test_ends);
  TEST ("B-the-answer-to-a-cancelled-request-is-dropped", test_cancel);
  TEST ("BACKEND_SHARED_OBJECT_LOOKUP-finds-an-object", test_lookup);
  TEST ("BACKEND_VRING_HOST_NOTIFIER_MSG-sets-and-removes", test_notifier);
  return g_test_run ();
}
