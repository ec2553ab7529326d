/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of shared objects, and adding, removing and looking up. */
#include "request-peer.h"

#include "vhost-filter.h"

#include <sys/stat.h>

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
static const guint8 uuid[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };

typedef struct
{
  VhostBackend *backend; /* (owned): the device or the filter before it */
  VhostBackend *device;  /* (unowned): who asks */
  RequestPeer peer;
  Outcome outcome;
  int fd; /* an object */
  guint n_fds;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->backend = f->device = rich_device_new ();
  if (data != NULL)
    {
      f->backend = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", f->device, NULL);
      g_object_unref (f->device);
    }
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
on_added (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->good
      = vhost_backend_shared_object_add_finish (VHOST_BACKEND (source), result, &outcome->error);
}

/* Thread: control. */
static void
on_removed (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->good
      = vhost_backend_shared_object_remove_finish (VHOST_BACKEND (source), result, &outcome->error);
}

/* Thread: control. */
static void
on_found (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  outcome->fd
      = vhost_backend_shared_object_lookup_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->good = outcome->fd >= 0;
}

static void
add (Fixture *f, GCancellable *cancellable)
{
  vhost_backend_shared_object_add_async (f->device, UUID, f->fd, cancellable, on_added,
                                         &f->outcome);
}

static void
remove_it (Fixture *f)
{
  vhost_backend_shared_object_remove_async (f->device, UUID, NULL, on_removed, &f->outcome);
}

static void
look_up (Fixture *f, GCancellable *cancellable)
{
  vhost_backend_shared_object_lookup_async (f->device, UUID, cancellable, on_found, &f->outcome);
}

/* What the front-end gets. */
static gboolean
is_there (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  struct stat want, got;
  int fd = vhost_backend_get_shared_object (f->backend, uuid, &error);

  if (fd < 0)
    {
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      return FALSE;
    }
  g_assert_no_error (error);
  g_assert_cmpint (fstat (fd, &got), ==, 0);
  g_assert_cmpint (fstat (f->fd, &want), ==, 0);
  g_assert_cmpuint (got.st_ino, ==, want.st_ino);
  close (fd);
  return TRUE;
}

static void
test_added_and_removed (Fixture *f, gconstpointer data)
{
  g_assert_false (is_there (f));
  add (f, NULL);
  g_assert_cmpuint (f->peer.sent[0].request, ==, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD);
  g_assert_cmpmem (f->peer.sent[0].payload, f->peer.sent[0].size, uuid, 16);
  g_assert_true (is_there (f)); /* another device may ask at once */
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  add (f, NULL);
  EXPECT_ERROR (&f->outcome, BUSY);
  g_assert_true (is_there (f));
  remove_it (f);
  g_assert_false (is_there (f)); /* whatever the front-end says */
  request_peer_answer (&f->peer, 1, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
}

static void
test_not_added (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  add (f, NULL);
  request_peer_answer (&f->peer, 0, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
  g_assert_false (is_there (f));
  add (f, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_false (is_there (f));
  f->peer.refuses = TRUE;
  add (f, NULL);
  EXPECT_ERROR (&f->outcome, NOT_NEGOTIATED);
  g_assert_false (is_there (f));
}

static void
test_bad_arguments (Fixture *f, gconstpointer data)
{
  static const char *const bad[]
      = { "", "x", "01234567-89ab-cdef-0123-456789abcde", "01234567-89ab-cdef-0123-456789abcdefa",
          "01234567_89ab_cdef_0123_456789abcdef" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      vhost_backend_shared_object_add_async (f->device, bad[i], f->fd, NULL, on_added, &f->outcome);
      EXPECT_ERROR (&f->outcome, INVALID);
      vhost_backend_shared_object_remove_async (f->device, bad[i], NULL, on_removed, &f->outcome);
      EXPECT_ERROR (&f->outcome, INVALID);
      vhost_backend_shared_object_lookup_async (f->device, bad[i], NULL, on_found, &f->outcome);
      EXPECT_ERROR (&f->outcome, INVALID);
    }
  vhost_backend_shared_object_add_async (f->device, UUID, 100000, NULL, on_added, &f->outcome);
  EXPECT_ERROR (&f->outcome, FAILED);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

static void
test_found (Fixture *f, gconstpointer data)
{
  look_up (f, NULL);
  g_assert_cmpuint (f->peer.sent[0].request, ==, VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP);
  request_peer_answer (&f->peer, 0, 0, fcntl (f->fd, F_DUPFD_CLOEXEC, 3));
  RICH_ITERATE_UNTIL (f->outcome.n_done == 1);
  g_assert_no_error (f->outcome.error);
  close (f->outcome.fd);
  outcome_clear (&f->outcome);
}

static void
test_not_found (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  look_up (f, NULL);
  request_peer_answer (&f->peer, 0, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
  look_up (f, NULL);
  request_peer_answer (&f->peer, 1, 0, -1); /* found, but where? */
  EXPECT_ERROR (&f->outcome, PROTOCOL);
  look_up (f, NULL);
  request_peer_answer (&f->peer, 2, 1, fcntl (f->fd, F_DUPFD_CLOEXEC, 3));
  EXPECT_ERROR (&f->outcome, REFUSED);
  look_up (f, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

static void
test_not_fetched (Fixture *f, gconstpointer data)
{
  vhost_backend_shared_object_lookup_async (f->device, UUID, NULL, NULL, NULL);
  request_peer_answer (&f->peer, 0, 0, fcntl (f->fd, F_DUPFD_CLOEXEC, 3));
  rich_settle (); /* tear_down counts */
}

static void
test_session_ends (Fixture *f, gconstpointer data)
{
  add (f, NULL);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  request_peer_disconnect (&f->peer, f->backend);
  g_assert_false (is_there (f));
  add (f, NULL);
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  g_assert_false (is_there (f));
  request_peer_connect (&f->peer, f->backend);
}

static void
test_offered (Fixture *f, gconstpointer data)
{
  g_assert_false (vhost_backend_has_shared_objects (f->backend));
  vhost_backend_set_shared_objects (f->device, TRUE);
  g_assert_true (vhost_backend_has_shared_objects (f->backend));
  /* A filter is the device to whoever has it. */
  vhost_backend_set_shared_objects (f->backend, FALSE);
  g_assert_false (vhost_backend_has_shared_objects (f->device));
}

/* ---- A device with a table of its own ---- */

static int own_fd = -1;

static int
get_own (VhostBackend *backend, const char *text, GError **error)
{
  g_assert_cmpstr (text, ==, UUID);
  if (rich.fail)
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "not now");
  return own_fd;
}

static void
test_own_table (Fixture *f, gconstpointer data)
{
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (f->device);
  GError *error = NULL;

  klass->get_shared_object = get_own;
  g_assert_cmpint (vhost_backend_get_shared_object (f->backend, uuid, &error), ==, -1);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BACKEND); /* it did not say why */
  g_clear_error (&error);
  own_fd = rich_memfd ();
  g_assert_cmpint (vhost_backend_get_shared_object (f->backend, uuid, &error), ==, own_fd);
  g_assert_no_error (error);
  /* A descriptor and an error: it is closed. */
  rich.fail = TRUE;
  g_assert_cmpint (vhost_backend_get_shared_object (f->backend, uuid, &error), ==, -1);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_cmpint (fcntl (own_fd, F_GETFD), ==, -1);
  own_fd = -1;
  klass->get_shared_object = vhost_backend_real_get_shared_object;
}

#define TEST(name, function)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_test_add ("/backend-object/" name, Fixture, NULL, set_up, function, tear_down);              \
    g_test_add ("/backend-object/filtered/" name, Fixture, "filtered", set_up, function,           \
                tear_down);                                                                        \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  TEST ("is-in-the-table-from-adding-to-removing", test_added_and_removed);
  TEST ("is-not-in-the-table-when-adding-fails", test_not_added);
  TEST ("bad-arguments-go-nowhere", test_bad_arguments);
  TEST ("what-is-found-is-the-callers", test_found);
  TEST ("what-is-not-found-is-an-error", test_not_found);
  TEST ("what-nobody-fetches-is-closed", test_not_fetched);
  TEST ("is-forgotten-with-the-session", test_session_ends);
  TEST ("is-offered-when-the-device-says-so", test_offered);
  TEST ("a-device-can-have-a-table-of-its-own", test_own_table);
  return g_test_run ();
}
