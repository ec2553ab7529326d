/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to the front-end: when they go out, and every way in which they can end. */
#include "request-peer.h"

#include "vhost-filter.h"

typedef struct
{
  VhostBackend *backend; /* (owned): the outermost */
  VhostBackend *device;  /* (unowned): who asks */
  RequestPeer peer;
  Outcome outcome;
} Fixture;

/* @data: "filtered": the device is behind two filters. */
static void
set_up (Fixture *f, gconstpointer data)
{
  f->backend = f->device = rich_device_new ();
  for (guint i = 0; data != NULL && i < 2; i++)
    {
      VhostBackend *next = f->backend;

      f->backend = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", next, NULL);
      g_object_unref (next);
    }
  request_peer_connect (&f->peer, f->backend);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  request_peer_disconnect (&f->peer, f->backend);
  rich_settle ();
  g_assert_finalize_object (f->backend);
}

/* Thread: control. */
static void
on_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Outcome *outcome = data;

  outcome->n_done++;
  g_clear_error (&outcome->error);
  outcome->good = g_task_propagate_boolean (G_TASK (result), &outcome->error);
}

static VhostBackendRequest *
make (Fixture *f, GCancellable *cancellable, int fd)
{
  static const VhostWireSharedObject object = { { 1, 2, 3 } };
  GTask *task = g_task_new (f->device, cancellable, on_done, &f->outcome);

  return vhost_backend_request_new (task, "TEST", VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &object,
                                    sizeof object, fd);
}

static void
submit (Fixture *f, GCancellable *cancellable)
{
  VhostBackendRequest *request = make (f, cancellable, -1);

  g_assert_nonnull (request);
  vhost_backend_request_submit (request);
}

static void
test_answered (Fixture *f, gconstpointer data)
{
  submit (f, NULL);
  g_assert_cmpuint (f->peer.n_sent, ==, 1);
  g_assert_cmpuint (f->peer.sent[0].request, ==, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD);
  g_assert_cmpuint (f->peer.sent[0].size, ==, 16);
  g_assert_cmpuint (f->peer.sent[0].payload[2], ==, 3);
  rich_settle ();
  g_assert_cmpuint (f->outcome.n_done, ==, 0);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
}

static void
test_answers_may_come_in_any_order (Fixture *f, gconstpointer data)
{
  Outcome first;

  submit (f, NULL);
  submit (f, NULL);
  request_peer_answer (&f->peer, 1, 0, -1);
  RICH_ITERATE_UNTIL (f->outcome.n_done == 1);
  first = f->outcome;
  g_assert_true (first.good);
  f->outcome = (Outcome){ 0 };
  request_peer_answer (&f->peer, 0, 1, -1);
  EXPECT_ERROR (&f->outcome, REFUSED);
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  guint n_fds = rich_count_fds ();

  submit (f, NULL);
  request_peer_answer (&f->peer, 0, 0x16, rich_memfd ()); /* what came with it is closed */
  RICH_ITERATE_UNTIL (f->outcome.n_done == 1);
  g_assert_nonnull (strstr (f->outcome.error->message, "TEST"));
  g_assert_nonnull (strstr (f->outcome.error->message, "0x16"));
  EXPECT_ERROR (&f->outcome, REFUSED);
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
}

static void
test_no_session (Fixture *f, gconstpointer data)
{
  request_peer_disconnect (&f->peer, f->backend);
  g_assert_null (make (f, NULL, -1));
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  request_peer_connect (&f->peer, f->backend);
}

static void
test_not_negotiated (Fixture *f, gconstpointer data)
{
  f->peer.refuses = TRUE;
  g_assert_null (make (f, NULL, -1));
  EXPECT_ERROR (&f->outcome, NOT_NEGOTIATED);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

/* Thread: a foreign one. */
static gpointer
make_elsewhere (gpointer data)
{
  return make (data, NULL, -1);
}

static void
test_other_thread (Fixture *f, gconstpointer data)
{
  g_assert_null (g_thread_join (g_thread_new ("other", make_elsewhere, f)));
  EXPECT_ERROR (&f->outcome, INVALID);
}

static void
test_descriptors (Fixture *f, gconstpointer data)
{
  guint n_fds = rich_count_fds ();
  int fd = rich_memfd ();
  VhostBackendRequest *request;

  g_assert_null (make (f, NULL, 100000));
  EXPECT_ERROR (&f->outcome, FAILED);
  f->peer.suspended = TRUE;
  request = make (f, NULL, fd);
  close (fd); /* it is not needed longer */
  vhost_backend_request_submit (request);
  f->peer.suspended = FALSE;
  vhost_backend_flush_requests (f->backend);
  g_assert_cmpint (f->peer.sent[0].fd, >=, 0);
  g_assert_cmpint (fcntl (f->peer.sent[0].fd, F_GETFD), ==, FD_CLOEXEC);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
}

static void
test_waits (Fixture *f, gconstpointer data)
{
  f->peer.suspended = TRUE;
  submit (f, NULL);
  rich_settle ();
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
  f->peer.suspended = FALSE;
  vhost_backend_flush_requests (f->backend);
  g_assert_cmpuint (f->peer.n_sent, ==, 1);
  vhost_backend_flush_requests (f->backend); /* once */
  g_assert_cmpuint (f->peer.n_sent, ==, 1);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
}

/* Of a filter, too: it has the same front-end. */
static void
test_filter_asks (Fixture *f, gconstpointer data)
{
  VhostBackend *device = f->device;

  f->device = f->backend;
  test_waits (f, data);
  f->device = device;
}

static void
test_waits_too_long (Fixture *f, gconstpointer data)
{
  f->peer.suspended = TRUE;
  submit (f, NULL);
  vhost_backend_reset (f->backend);
  f->peer.suspended = FALSE;
  vhost_backend_flush_requests (f->backend);
  EXPECT_ERROR (&f->outcome, FAILED);

  /* The front-end has thought better of it. */
  f->peer.suspended = TRUE;
  submit (f, NULL);
  f->peer.suspended = FALSE;
  f->peer.refuses = TRUE;
  vhost_backend_flush_requests (f->backend);
  EXPECT_ERROR (&f->outcome, NOT_NEGOTIATED);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

static void
test_cancelled_before (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  f->peer.suspended = TRUE;
  submit (f, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  f->peer.suspended = FALSE;
  vhost_backend_flush_requests (f->backend);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

static void
test_cancelled_on_its_way (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  submit (f, cancellable);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&f->outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_cmpuint (f->peer.n_cancelled, ==, 1);
  g_assert_false (f->peer.sent[0].open);
}

static void
test_cancelled_after (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  submit (f, cancellable);
  request_peer_answer (&f->peer, 0, 0, -1);
  EXPECT_GOOD (&f->outcome);
  g_cancellable_cancel (cancellable);
  rich_settle ();
  g_assert_cmpuint (f->outcome.n_done, ==, 0);
  g_assert_cmpuint (f->peer.n_cancelled, ==, 0);
}

static void
test_session_ends (Fixture *f, gconstpointer data)
{
  submit (f, NULL);
  request_peer_disconnect (&f->peer, f->backend);
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  request_peer_connect (&f->peer, f->backend);
  f->peer.suspended = TRUE;
  submit (f, NULL);
  request_peer_disconnect (&f->peer, f->backend);
  EXPECT_ERROR (&f->outcome, DISCONNECTED);
  request_peer_connect (&f->peer, f->backend);
  vhost_backend_flush_requests (f->backend); /* the next one hears nothing of it */
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

/* Whoever made it has let go of it: it lives until its last request has ended. */
static void
test_back_end_gone (Fixture *f, gconstpointer data)
{
  gpointer alive = f->device;

  g_object_add_weak_pointer (G_OBJECT (f->device), &alive);
  submit (f, NULL);
  f->peer.suspended = TRUE;
  submit (f, NULL);
  /* The session's reference, which it gives up last. */
  request_peer_disconnect (&f->peer, f->backend);
  g_object_unref (f->backend);
  RICH_ITERATE_UNTIL (f->outcome.n_done == 2);
  g_assert_false (f->outcome.good);
  outcome_clear (&f->outcome);
  RICH_ITERATE_UNTIL (alive == NULL);
  set_up (f, data);
}

static void
test_refused_by_itself (Fixture *f, gconstpointer data)
{
  VhostBackendRequest *request = make (f, NULL, -1);

  vhost_backend_request_refuse (request, VHOST_ERROR_BUSY, "busy with %d", 7);
  RICH_ITERATE_UNTIL (f->outcome.n_done == 1);
  g_assert_cmpstr (f->outcome.error->message, ==, "busy with 7");
  EXPECT_ERROR (&f->outcome, BUSY);
  g_assert_cmpuint (f->peer.n_sent, ==, 0);
}

#define TEST(name, function)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_test_add ("/backend-request/" name, Fixture, NULL, set_up, function, tear_down);             \
    g_test_add ("/backend-request/filtered/" name, Fixture, "filtered", set_up, function,          \
                tear_down);                                                                        \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  TEST ("an-answer-of-0-is-good", test_answered);
  TEST ("answers-may-come-in-any-order", test_answers_may_come_in_any_order);
  TEST ("another-answer-is-a-refusal", test_refused);
  TEST ("needs-a-session", test_no_session);
  TEST ("needs-what-was-not-negotiated", test_not_negotiated);
  TEST ("needs-the-control-thread", test_other_thread);
  TEST ("a-descriptor-is-the-callers-to-close", test_descriptors);
  TEST ("S3-waits-for-a-ring", test_waits);
  TEST ("a-filter-can-ask-too", test_filter_asks);
  TEST ("what-has-waited-is-checked-again", test_waits_too_long);
  TEST ("can-be-cancelled-before-it-goes-out", test_cancelled_before);
  TEST ("can-be-cancelled-on-its-way", test_cancelled_on_its_way);
  TEST ("a-cancellation-after-its-end-is-nothing", test_cancelled_after);
  TEST ("ends-with-the-session", test_session_ends);
  TEST ("ends-although-the-back-end-was-let-go", test_back_end_gone);
  TEST ("can-be-refused-by-the-device-itself", test_refused_by_itself);
  return g_test_run ();
}
