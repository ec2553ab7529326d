/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared memory regions, what is mapped in them, and host notifiers. */
#include "request-peer.h"

#include "vhost-filter.h"

#define ID 3
#define N_PAGES 16

typedef struct
{
  VhostBackend *backend; /* (owned): the device or the filter before it */
  VhostBackend *device;  /* (unowned): who asks */
  RequestPeer peer;
  Outcome outcome;
  guint64 page;
  int fd;
  guint n_fds;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  f->page = (guint64) sysconf (_SC_PAGESIZE);
  f->backend = f->device = rich_device_new ();
  if (data != NULL)
    {
      f->backend = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", f->device, NULL);
      g_object_unref (f->device);
    }
  vhost_backend_set_shmem_region (f->device, ID, N_PAGES * f->page, &error);
  g_assert_no_error (error);
  request_peer_connect (&f->peer, f->backend);
  f->n_fds = rich_count_fds ();
  f->fd = rich_memfd ();
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  request_peer_disconnect (&f->peer, f->backend);
  rich_settle ();
  vhost_fd_clear (&f->fd);
  g_assert_cmpuint (rich_count_fds (), ==, f->n_fds);
  g_assert_finalize_object (f->backend);
}

/* Thread: control. */
static void
on_mapped (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->good = vhost_backend_map_shmem_finish (VHOST_BACKEND (source), result, &outcome->error);
}

/* Thread: control. */
static void
on_unmapped (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->good
      = vhost_backend_unmap_shmem_finish (VHOST_BACKEND (source), result, &outcome->error);
}

/* Thread: control. */
static void
on_notifier (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->good
      = vhost_backend_set_host_notifier_finish (VHOST_BACKEND (source), result, &outcome->error);
}

/* In pages. */
static void
map (Fixture *f, guint first, guint n, GCancellable *cancellable)
{
  vhost_backend_map_shmem_async (f->device, ID, first * f->page, f->fd, 0, n * f->page, TRUE,
                                 cancellable, on_mapped, &f->outcome);
}

static void
unmap (Fixture *f, guint first, guint n, GCancellable *cancellable)
{
  vhost_backend_unmap_shmem_async (f->device, ID, first * f->page, n * f->page, cancellable,
                                   on_unmapped, &f->outcome);
}

static void
map_well (Fixture *f, guint first, guint n)
{
  map (f, first, n, NULL);
  request_peer_answer (&f->peer, f->peer.n_sent - 1, 0, -1);
  EXPECT_GOOD (&f->outcome);
}

static void
test_regions (Fixture *f, gconstpointer data)
{
  const guint64 *sizes = vhost_backend_get_shmem_sizes (f->backend);
  GError *error = NULL;

  g_assert_nonnull (sizes);
  for (guint i = 0; i < VHOST_WIRE_SHMEM_REGIONS; i++)
    g_assert_cmpuint (sizes[i], ==, i == ID ? N_PAGES * f->page : 0);
  g_assert_false (vhost_backend_set_shmem_region (f->backend, 4, f->page, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY); /* a front-end relies on it */
  g_clear_error (&error);
  request_peer_disconnect (&f->peer, f->backend);
  g_assert_false (vhost_backend_set_shmem_region (f->backend, 256, f->page, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (vhost_backend_set_shmem_region (f->backend, 4, f->page + 1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  /* Through a filter as well. */
  g_assert_true (vhost_backend_set_shmem_region (f->backend, 255, f->page, NULL));
  g_assert_cmpuint (vhost_backend_get_shmem_sizes (f->device)[255], ==, f->page);
  g_assert_true (vhost_backend_set_shmem_region (f->backend, 255, 0, NULL));
  g_assert_true (vhost_backend_set_shmem_region (f->backend, ID, 0, NULL));
  g_assert_null (vhost_backend_get_shmem_sizes (f->backend));
  request_peer_connect (&f->peer, f->backend);
}

static void
test_mapped (Fixture *f, gconstpointer data)
{
  VhostWireMmap sent;

  map (f, 2, 3, NULL);
  memcpy (&sent, f->peer.sent[0].payload, sizeof sent);
  g_assert_cmpuint (f->peer.sent[0].request, ==, VHOST_WIRE_BACKEND_SHMEM_MAP);
  g_assert_cmpint (f->peer.sent[0].fd, >=, 0);
  g_assert_cmpuint (sent.shmid, ==, ID);
  g_assert_cmpuint (sent.shm_offset, ==, 2 * f->page);
  g_assert_cmpuint (sent.length, ==, 3 * f->page);
  g_assert_cmphex (sent.flags, ==, VHOST_WIRE_MMAP_WRITABLE);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  /* SH2: what overlaps is taken, its neighbours are not. */
  map (f, 4, 1, NULL);
  EXPECT_ERROR (&f->outcome, BUSY);
  map (f, 0, 16, NULL);
  EXPECT_ERROR (&f->outcome, BUSY);
  map_well (f, 0, 2);
  map_well (f, 5, 1);
  unmap (f, 2, 2, NULL);
  EXPECT_ERROR (&f->outcome, INVALID);
  unmap (f, 2, 3, NULL);
  request_peer_answer (&f->peer, f->peer.n_sent - 1, 0, -1);
  EXPECT_GOOD (&f->outcome);
  map_well (f, 2, 3);
}

static void
test_bad_ranges (Fixture *f, gconstpointer data)
{
  const struct
  {
    guint id;
    guint64 offset, fd_offset, length;
  } bad[] = {
    { ID, 0, 0, 0 },
    { ID, 1, 0, f->page },
    { ID, 0, 1, f->page },
    { ID, 0, 0, f->page - 1 },
    { ID, 0, 0, (N_PAGES + 1) * f->page },
    { ID, N_PAGES * f->page, 0, f->page },
    { ID, f->page, 0, 0 - f->page },
    { ID, 0 - f->page, 0, 2 * f->page },
    { ID, 0, 0 - 2 * f->page, f->page },
    { ID + 1, 0, 0, f->page },
    { ID + 256, 0, 0, f->page },
    { G_MAXUINT, 0, 0, f->page },
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      vhost_backend_map_shmem_async (f->device, bad[i].id, bad[i].offset, f->fd, bad[i].fd_offset,
                                     bad[i].length, FALSE, NULL, on_mapped, &f->outcome);
      EXPECT_ERROR (&f->outcome, INVALID);
    }
  unmap (f, 0, 1, NULL);
  EXPECT_ERROR (&f->outcome, INVALID);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

static void
test_not_mapped (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  map (f, 0, 1, NULL);
  request_peer_answer (&f->peer, 0, 22, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
  f->peer.suspended = TRUE;
  map (f, 0, 1, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  f->peer.suspended = FALSE;
  f->peer.refuses = TRUE;
  map (f, 0, 1, NULL);
  EXPECT_ERROR (&f->outcome, NOT_NEGOTIATED);
  f->peer.refuses = FALSE;
  map_well (f, 0, 1); /* it was free each time */
}

/* It may be mapped or not. */
static void
test_cancelled_on_its_way (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  map (f, 0, 1, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  map (f, 0, 1, NULL);
  EXPECT_ERROR (&f->outcome, BUSY);
  unmap (f, 0, 1, NULL);
  request_peer_answer (&f->peer, 1, 0, -1);
  EXPECT_GOOD (&f->outcome);
  map_well (f, 0, 1);
}

static void
test_not_unmapped (Fixture *f, gconstpointer data)
{
  map_well (f, 0, 1);
  unmap (f, 0, 1, NULL);
  request_peer_answer (&f->peer, 1, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
  map (f, 0, 1, NULL); /* it is there still */
  EXPECT_ERROR (&f->outcome, BUSY);
}

static void
test_reset (Fixture *f, gconstpointer data)
{
  map_well (f, 0, 1);
  map (f, 1, 1, NULL);
  vhost_backend_reset (f->backend); /* SH3 */
  request_peer_answer (&f->peer, 1, 0, -1);
  EXPECT_ERROR (&f->outcome, FAILED);
  unmap (f, 0, 1, NULL);
  EXPECT_ERROR (&f->outcome, INVALID);
  map_well (f, 0, 2);
  /* An answer from before does not take away what came after. */
  unmap (f, 0, 2, NULL);
  vhost_backend_reset (f->backend);
  map_well (f, 0, 2);
  request_peer_answer (&f->peer, 3, 0, -1);
  EXPECT_GOOD (&f->outcome);
  map (f, 0, 1, NULL);
  EXPECT_ERROR (&f->outcome, BUSY);
}

static void
test_session_ends (Fixture *f, gconstpointer data)
{
  map_well (f, 0, 1);
  map (f, 1, 1, NULL);
  request_peer_disconnect (&f->peer, f->backend);
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  map (f, 2, 1, NULL);
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  request_peer_connect (&f->peer, f->backend);
  map_well (f, 0, 3); /* the next front-end has nothing */
}

static void
test_notifier (Fixture *f, gconstpointer data)
{
  VhostWireVringArea area;

  vhost_backend_set_host_notifier_async (f->device, 2, f->fd, 0, NULL, on_notifier, &f->outcome);
  EXPECT_ERROR (&f->outcome, INVALID); /* the device has two queues */
  vhost_backend_set_host_notifier_async (f->device, 0, f->fd, 1, NULL, on_notifier, &f->outcome);
  EXPECT_ERROR (&f->outcome, INVALID);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
  vhost_backend_set_host_notifier_async (f->device, 1, f->fd, f->page, NULL, on_notifier,
                                         &f->outcome);
  memcpy (&area, f->peer.sent[0].payload, sizeof area);
  g_assert_cmphex (area.index, ==, 1);
  g_assert_cmpuint (area.offset, ==, f->page);
  g_assert_cmpuint (area.size, ==, f->page);
  g_assert_cmpint (f->peer.sent[0].fd, >=, 0);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  vhost_backend_set_host_notifier_async (f->device, 1, -1, 0, NULL, on_notifier, &f->outcome);
  memcpy (&area, f->peer.sent[1].payload, sizeof area);
  g_assert_cmphex (area.index, ==, 1 | VHOST_WIRE_VRING_NO_FD);
  g_assert_cmpint (f->peer.sent[1].fd, ==, -1);
  request_peer_answer (&f->peer, 1, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
}

static void
test_notifiers_offered (Fixture *f, gconstpointer data)
{
  g_assert_false (vhost_backend_has_host_notifiers (f->backend));
  vhost_backend_set_host_notifiers (f->device, TRUE);
  g_assert_true (vhost_backend_has_host_notifiers (f->backend));
  vhost_backend_set_host_notifiers (f->backend, FALSE);
  g_assert_false (vhost_backend_has_host_notifiers (f->device));
}

#define TEST(name, function)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_test_add ("/backend-shmem/" name, Fixture, NULL, set_up, function, tear_down);               \
    g_test_add ("/backend-shmem/filtered/" name, Fixture, "filtered", set_up, function,            \
                tear_down);                                                                        \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  TEST ("regions-are-fixed-while-a-front-end-is-there", test_regions);
  TEST ("SH2-mappings-do-not-overlap-and-go-as-a-whole", test_mapped);
  TEST ("bad-ranges-go-nowhere", test_bad_ranges);
  TEST ("a-range-is-free-when-mapping-fails", test_not_mapped);
  TEST ("a-range-is-taken-when-nobody-knows", test_cancelled_on_its_way);
  TEST ("a-mapping-stays-when-unmapping-fails", test_not_unmapped);
  TEST ("SH3-a-reset-drops-all-mappings", test_reset);
  TEST ("mappings-end-with-the-session", test_session_ends);
  TEST ("a-host-notifier-is-a-whole-page-of-a-queue", test_notifier);
  TEST ("host-notifiers-are-offered-when-the-device-says-so", test_notifiers_offered);
  return g_test_run ();
}
