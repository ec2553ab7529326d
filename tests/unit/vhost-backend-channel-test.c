/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end's channel, from the front-end's end of a socket pair: what arrives, what is
 * forgotten, what is refused. */
#include "vhost-backend-channel-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-wire-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct
{
  VhostBackendChannel *channel;
  int peer;
} Fixture;

static void
open_channel (Fixture *f, gboolean reply_ack)
{
  int fds[2];
  GError *error = NULL;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
  f->peer = fds[0];
  f->channel = vhost_backend_channel_new_take_fd (fds[1], reply_ack, NULL, &error);
  g_assert_no_error (error);
}

static void
set_up (Fixture *f, gconstpointer reply_ack)
{
  open_channel (f, GPOINTER_TO_INT (reply_ack));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vhost_backend_channel_free (f->channel);
  vhost_fd_clear (&f->peer);
}

/* Everything that is ready now; the channel never needs time. */
static void
iterate (void)
{
  while (g_main_context_iteration (NULL, FALSE))
    ;
}

static void
change (Fixture *f)
{
  GError *error = NULL;

  g_assert_true (vhost_backend_channel_config_change (f->channel, &error));
  g_assert_no_error (error);
}

/* FALSE: nothing is there. */
static gboolean
receive (Fixture *f, VhostWireHeader *header)
{
  gssize n = read (f->peer, header, sizeof *header);

  if (n < 0)
    {
      g_assert_cmpint (errno, ==, EAGAIN);
      return FALSE;
    }
  g_assert_cmpint (n, ==, sizeof *header);
  return TRUE;
}

static void
test_sends (Fixture *f, gconstpointer data)
{
  VhostWireHeader header;

  change (f);
  g_assert_true (receive (f, &header));
  g_assert_cmpuint (header.request, ==, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG);
  g_assert_cmphex (header.flags, ==, 1);
  g_assert_cmpuint (header.size, ==, 0);
  g_assert_false (receive (f, &header));
}

static void
test_asks_for_answers (Fixture *f, gconstpointer data)
{
  struct
  {
    VhostWireHeader header;
    guint64 value;
  } __attribute__ ((packed)) answer = { { VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, 5, 8 }, 1 };
  VhostWireHeader header;

  /* The second one does not wait for the first one's answer. */
  change (f);
  change (f);
  for (guint i = 0; i < 2; i++)
    {
      g_assert_true (receive (f, &header));
      g_assert_cmphex (header.flags, ==, 1 | VHOST_WIRE_FLAG_NEED_REPLY);
    }
  for (guint i = 0; i < 40; i++)
    g_assert_cmpint (write (f->peer, &answer, sizeof answer), ==, sizeof answer);
  iterate ();
  change (f);
  g_assert_true (receive (f, &header));
}

static void
test_unread (Fixture *f, gconstpointer data)
{
  VhostWireHeader header;
  guint sent = 0, received = 0;

  /* Far more than a socket holds: none blocks, none fails. */
  for (guint i = 0; i < 100000; i++)
    {
      change (f);
      sent++;
    }
  do
    {
      while (receive (f, &header))
        {
          g_assert_cmpuint (header.request, ==, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG);
          received++;
        }
    }
  while (g_main_context_iteration (NULL, FALSE));
  g_assert_cmpuint (received, >, 1);
  g_assert_cmpuint (received, <, sent); /* they were merged */
  change (f);
  g_assert_true (receive (f, &header));
}

static void
test_closed (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  vhost_fd_clear (&f->peer);
  iterate ();
  g_assert_false (vhost_backend_channel_config_change (f->channel, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_error_free (error);
}

static void
test_closed_unnoticed (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  vhost_fd_clear (&f->peer);
  g_assert_false (vhost_backend_channel_config_change (f->channel, &error));
  g_assert_nonnull (error);
  g_clear_error (&error);
  iterate ();
  g_assert_false (vhost_backend_channel_config_change (f->channel, &error));
  g_error_free (error);
}

static void
test_garbage (Fixture *f, gconstpointer data)
{
  static const guint8 garbage[64] = { [4] = 2 };
  GError *error = NULL;

  g_assert_cmpint (write (f->peer, garbage, sizeof garbage), ==, sizeof garbage);
  iterate ();
  g_assert_false (vhost_backend_channel_config_change (f->channel, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_error_free (error);
}

/* ---- Requests ---- */

typedef struct
{
  guint n;
  guint64 answer;
  int fd;
  GError *error;
} Done;

static void
on_done (guint64 answer, int fd, const GError *error, gpointer data)
{
  Done *done = data;

  done->n++;
  done->answer = answer;
  vhost_fd_clear (&done->fd);
  done->fd = fd;
  g_clear_error (&done->error);
  done->error = error != NULL ? g_error_copy (error) : NULL;
}

static guint
ask (Fixture *f, VhostWireBackendRequest request, Done *done)
{
  static const guint8 payload[40] = { 1 };
  const guint size = request == VHOST_WIRE_BACKEND_SHMEM_UNMAP ? 40 : 16;
  guint n = done->n;
  guint id
      = vhost_backend_channel_send (f->channel, request, payload, size, NULL, 0, on_done, done);

  g_assert_cmpuint (done->n, ==, n); /* never within the call */
  return id;
}

static void
reply (Fixture *f, guint32 request, guint64 value)
{
  struct
  {
    VhostWireHeader header;
    guint64 value;
  } __attribute__ ((packed)) answer = { { request, 5, 8 }, value };

  g_assert_cmpint (write (f->peer, &answer, sizeof answer), ==, sizeof answer);
}

static void
assert_failed (Done *done, GQuark domain, int code)
{
  g_assert_cmpuint (done->n, ==, 1);
  g_assert_error (done->error, domain, code);
  g_clear_error (&done->error);
}

static void
test_order (Fixture *f, gconstpointer data)
{
  Done first = { .fd = -1 }, second = { .fd = -1 };

  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &first);
  change (f);
  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &second);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 5);
  reply (f, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, 9);
  iterate ();
  g_assert_cmpuint (first.n, ==, 1);
  g_assert_cmpuint (first.answer, ==, 5);
  g_assert_no_error (first.error);
  g_assert_cmpuint (second.n, ==, 0);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 0);
  iterate ();
  g_assert_cmpuint (second.n, ==, 1);
  g_assert_cmpuint (second.answer, ==, 0);
}

static void
test_made_up (Fixture *f, gconstpointer data)
{
  Done done = { .fd = -1 }, own = { .fd = -1 };

  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &done);
  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP, &own);
  iterate ();
  g_assert_cmpuint (done.n, ==, 1);
  g_assert_cmpuint (done.answer, ==, 0);
  g_assert_no_error (done.error);
  g_assert_cmpuint (own.n, ==, 0); /* this one has a reply of its own */
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP, 3);
  iterate ();
  g_assert_cmpuint (own.answer, ==, 3);
}

/* Nobody reads: a bounded number waits, in order, and nothing else is lost. */
static void
test_bounded (Fixture *f, gconstpointer data)
{
  guint8 bytes[52];
  Done done[1100];
  guint n_refused = 0, n_read = 0;

  for (guint i = 0; i < G_N_ELEMENTS (done); i++)
    {
      done[i] = (Done){ .fd = -1 };
      ask (f, VHOST_WIRE_BACKEND_SHMEM_UNMAP, &done[i]);
    }
  iterate ();
  for (guint i = 0; i < G_N_ELEMENTS (done); i++)
    if (done[i].n > 0)
      {
        g_assert_cmpuint (i, >=, 1024);
        assert_failed (&done[i], VHOST_ERROR, VHOST_ERROR_BUSY);
        n_refused++;
      }
  g_assert_cmpuint (n_refused, ==, 1100 - 1024);
  do
    while (recv (f->peer, bytes, sizeof bytes, 0) == sizeof bytes)
      n_read++;
  while (g_main_context_iteration (NULL, FALSE));
  g_assert_cmpuint (n_read, ==, 1024);
  for (guint i = 0; i < 1024; i++)
    {
      reply (f, VHOST_WIRE_BACKEND_SHMEM_UNMAP, i);
      iterate ();
      g_assert_cmpuint (done[i].n, ==, 1);
      g_assert_cmpuint (done[i].answer, ==, i);
    }
}

/* A device with many requests of its own does not keep its rings from being heard, and they are
 * bounded as well. */
static void
test_calls_go_beyond (Fixture *f, gconstpointer data)
{
  Done done[1024], calls[1100], late = { .fd = -1 };

  for (guint i = 0; i < G_N_ELEMENTS (done); i++)
    {
      done[i] = (Done){ .fd = -1 };
      ask (f, VHOST_WIRE_BACKEND_SHMEM_UNMAP, &done[i]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    {
      calls[i] = (Done){ .fd = -1 };
      ask (f, VHOST_WIRE_BACKEND_VRING_CALL, &calls[i]);
    }
  ask (f, VHOST_WIRE_BACKEND_SHMEM_UNMAP, &late);
  iterate ();
  assert_failed (&late, VHOST_ERROR, VHOST_ERROR_BUSY);
  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    if (i < 1024)
      g_assert_cmpuint (calls[i].n, ==, 0);
    else
      assert_failed (&calls[i], VHOST_ERROR, VHOST_ERROR_BUSY);
  vhost_fd_clear (&f->peer);
  iterate ();
  for (guint i = 0; i < 1024; i++)
    assert_failed (&calls[i], VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  for (guint i = 0; i < G_N_ELEMENTS (done); i++)
    assert_failed (&done[i], VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_wrong (Fixture *f, gconstpointer data)
{
  Done done = { .fd = -1 }, late = { .fd = -1 };

  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &done);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_REMOVE, 0);
  iterate ();
  assert_failed (&done, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &late);
  iterate ();
  assert_failed (&late, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

static void
test_unasked (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 0);
  iterate ();
  g_assert_false (vhost_backend_channel_config_change (f->channel, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  g_error_free (error);
}

static void
test_cancelled (Fixture *f, gconstpointer data)
{
  Done first = { .fd = -1 }, second = { .fd = -1 };
  guint id = ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &first);

  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &second);
  vhost_backend_channel_cancel (f->channel, id);
  vhost_backend_channel_cancel (f->channel, id);
  vhost_backend_channel_cancel (f->channel, 12345);
  g_assert_cmpuint (first.n, ==, 0);
  iterate ();
  assert_failed (&first, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 7);
  iterate ();
  g_assert_cmpuint (second.n, ==, 0);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 8);
  iterate ();
  g_assert_cmpuint (first.n, ==, 1);
  g_assert_cmpuint (second.answer, ==, 8);
}

static void
test_freed (Fixture *f, gconstpointer data)
{
  Done done = { .fd = -1 };

  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &done);
  vhost_backend_channel_free (f->channel);
  assert_failed (&done, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  vhost_fd_clear (&f->peer);
  open_channel (f, TRUE);
}

static void
free_channel (guint64 answer, int fd, const GError *error, gpointer data)
{
  g_clear_pointer (&((Fixture *) data)->channel, vhost_backend_channel_free);
}

static void
test_freed_within (Fixture *f, gconstpointer data)
{
  static const guint8 payload[16];
  Done done = { .fd = -1 };

  vhost_backend_channel_send (f->channel, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, payload, 16, NULL,
                              0, free_channel, f);
  ask (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, &done);
  reply (f, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 0);
  iterate ();
  g_assert_null (f->channel);
  assert_failed (&done, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
  vhost_fd_clear (&f->peer);
  open_channel (f, TRUE);
}

static void
refuse (int fd)
{
  GError *error = NULL;

  g_assert_null (vhost_backend_channel_new_take_fd (fd, FALSE, NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_error_free (error);
  vhost_fd_settle ();
  g_assert_cmpint (fcntl (fd, F_GETFD), ==, -1); /* taken all the same */
}

static void
test_kinds (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int listening = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  /* An empty name: the kernel picks one. */
  g_assert_cmpint (bind (listening, (struct sockaddr *) &address, sizeof address.sun_family), ==,
                   0);
  g_assert_cmpint (listen (listening, 1), ==, 0);
  refuse (listening);
  refuse (socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  refuse (eventfd (0, EFD_CLOEXEC));
}

#define ADD(name, reply_ack, function)                                                             \
  g_test_add ("/backend-channel/" name, Fixture, GINT_TO_POINTER (reply_ack), set_up, function,    \
              tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("sends-a-change-at-once", FALSE, test_sends);
  ADD ("reads-answers-and-never-waits-for-them", TRUE, test_asks_for_answers);
  ADD ("merges-changes-that-nobody-reads", FALSE, test_unread);
  ADD ("fails-when-the-front-end-has-closed", FALSE, test_closed);
  ADD ("fails-when-the-front-end-closes-unnoticed", FALSE, test_closed_unnoticed);
  ADD ("ends-on-garbage", FALSE, test_garbage);
  ADD ("matches-answers-in-order-and-not-those-to-changes", TRUE, test_order);
  ADD ("makes-up-answers-where-none-will-come", FALSE, test_made_up);
  ADD ("holds-a-bounded-number-of-requests", TRUE, test_bounded);
  ADD ("calls-of-rings-go-out-beyond-that", TRUE, test_calls_go_beyond);
  ADD ("ends-on-a-wrong-answer-with-all-requests", TRUE, test_wrong);
  ADD ("ends-on-an-answer-that-nobody-asked-for", TRUE, test_unasked);
  ADD ("drops-the-answer-to-a-cancelled-request", TRUE, test_cancelled);
  ADD ("ends-its-requests-when-it-goes", TRUE, test_freed);
  ADD ("may-go-from-within-an-answer", TRUE, test_freed_within);
  g_test_add_func ("/backend-channel/takes-connected-stream-sockets-only", test_kinds);
  return g_test_run ();
}
