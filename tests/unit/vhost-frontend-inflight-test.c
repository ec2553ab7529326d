/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The area of in-flight requests over connections, and all else that a new back-end is told. */
#include "scripted-back-end.h"

#include <sys/mman.h>

typedef struct
{
  guint64 size, offset;
  guint16 n_queues, queue_size;
  guint32 padding;
} Area;

/* What GET_INFLIGHT_FD is answered, and what SET_INFLIGHT_FD brought. */
typedef struct
{
  Area answer;
  off_t file_size;
  gboolean no_fd;
  char mark;
} Script;

static gboolean
serve_inflight (Peer *peer, VhostMessage *message)
{
  Script *script = peer->data;
  Area area;

  if (message->header.request == VHOST_WIRE_GET_INFLIGHT_FD)
    {
      int fd = memfd_create ("area", MFD_CLOEXEC);

      g_assert_cmpint (ftruncate (fd, script->file_size), ==, 0);
      memcpy (&area, message->payload.bytes, sizeof area);
      if (script->answer.n_queues == 0)
        {
          script->answer.n_queues = area.n_queues;
          script->answer.queue_size = area.queue_size;
        }
      vhost_channel_send (peer->channel, message->header.request, REPLY, &script->answer,
                          sizeof area, &fd, script->no_fd ? 0 : 1, NULL);
      vhost_fd_clear (&fd);
      return TRUE;
    }
  if (message->header.request == VHOST_WIRE_SET_INFLIGHT_FD)
    g_assert_cmpint (pread (message->fds[0], &script->mark, 1, (off_t) script->answer.offset), ==,
                     1);
  return FALSE;
}

static Peer
new_peer (Script *script)
{
  return (Peer){ .features = F30 | BIT (VHOST_WIRE_F_RING_PACKED),
                 .protocol_features = BIT (3) | BIT (12) | BIT (20) | BIT (16),
                 .script = serve_inflight,
                 .data = script };
}

static void
test_resume (gconstpointer data)
{
  const gboolean packed = GPOINTER_TO_INT (data);
  Script script = { .answer = { .size = 8192, .offset = 4096 }, .file_size = 3 * 4096 };
  Peer peer = new_peer (&script);
  const VhostFrontendBuffer buffer = { 0x1000, 1, TRUE };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  VhostWireVringState state;
  guint64 size, offset, used;
  gsize mapped;
  char *memory;
  guint free;

  peer_start (&peer);
  g_assert_false (vhost_frontend_resume (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_clear_error (&error);
  NEGOTIATE (&peer, packed ? BIT (VHOST_WIRE_F_RING_PACKED) : 0, G_MAXUINT64);
  vhost_frontend_add_memory (peer.frontend, 0, MIB, &error);
  g_assert_no_error (error);
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_no_error (error);
  g_assert_cmpint (vhost_frontend_get_inflight_fd (peer.frontend, &size, &offset), >=, 0);
  g_assert_cmpuint (size, ==, 8192);
  g_assert_cmpuint (offset, ==, 4096);
  memory = vhost_frontend_get_inflight_memory (peer.frontend, &mapped);
  g_assert_nonnull (memory);
  g_assert_cmpuint (mapped, ==, 8192);
  memory[0] = 'x';
  /* All queues share one size. */
  g_assert_null (vhost_frontend_add_queue (peer.frontend, 2, 128, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_set_status (peer.frontend, 15, &error));
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, &peer));
  vhost_frontend_queue_kick (queue);
  free = vhost_frontend_queue_get_free (queue);
  vhost_frontend_queue_get_addresses (queue, NULL, NULL, &used);
  if (!packed)
    ((guint16 *) vhost_frontend_get_memory (peer.frontend, used, 4))[1] = 9;
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 31 32 8 10 9 14 13 12 18 39");
  g_array_set_size (peer.seen, 0);

  peer_start (&peer);
  vhost_frontend_resume (peer.frontend, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_frontend_queue_get_free (queue), ==, free);
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 32 8 10 9 14 13 12 18 39");
  g_assert_cmpint (script.mark, ==, 'x');
  memcpy (&state, peer_seen (&peer, 8)->payload, sizeof state);
  g_assert_cmphex (state.num, ==, packed ? 0x80008000 : 9);
  memcpy (&state, peer_seen (&peer, 7)->payload, sizeof state);

  /* A back-end of another kind. */
  peer.features = packed ? F30 : 0;
  peer.protocol_features = BIT (3);
  peer_start (&peer);
  g_assert_false (vhost_frontend_resume (peer.frontend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_bad_area (void)
{
  static const Script scripts[] = {
    { { 8192, 4096, 0, 0, 0 }, 8192, FALSE, 0 },
    { { G_MAXUINT64, 4096, 0, 0, 0 }, 8192, FALSE, 0 },
    { { 4096, G_MAXUINT64 - 4095, 0, 0, 0 }, 8192, FALSE, 0 },
    { { 4096, 0, 4, 64, 0 }, 8192, FALSE, 0 },
    { { 4096, 0, 5, 65, 0 }, 8192, FALSE, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (scripts); i++)
    {
      Script script = scripts[i];
      Peer peer = new_peer (&script);
      g_autoptr (GError) error = NULL;

      peer_start (&peer);
      NEGOTIATE (&peer, 0, G_MAXUINT64);
      g_assert_false (vhost_frontend_prepare_inflight (peer.frontend, 5, 64, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
      g_assert_cmpint (vhost_frontend_get_inflight_fd (peer.frontend, NULL, NULL), ==, -1);
      peer_stop (&peer);
      peer_clear (&peer);
    }
}

static void
test_no_area (void)
{
  Script script = { .no_fd = TRUE };
  Peer peer = new_peer (&script);
  g_autoptr (GError) error = NULL;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  g_assert_nonnull (vhost_frontend_add_queue (peer.frontend, 0, 64, &error));
  g_assert_nonnull (vhost_frontend_add_queue (peer.frontend, 1, 128, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 5 31 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
  peer_clear (&peer);
}

/* Polled both ways, then by messages. */
static void
test_modes (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3) | BIT (5) | BIT (14) };
  const VhostFrontendBuffer buffer = { 0x1000, 1, TRUE };
  const VhostWireVringState call = { 1, 0 };
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue;
  VhostChannel *channel;
  guint64 number;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_object_set (peer.frontend, "kick-mode", VHOST_FRONTEND_NOTIFY_NONE, "call-mode",
                VHOST_FRONTEND_NOTIFY_NONE, NULL);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, NULL));
  g_assert_false (vhost_frontend_queue_kick (queue));

  g_object_set (peer.frontend, "kick-mode", VHOST_FRONTEND_NOTIFY_INBAND, "call-mode",
                VHOST_FRONTEND_NOTIFY_INBAND, NULL);
  queue = vhost_frontend_add_queue (peer.frontend, 1, 64, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, NULL));
  g_assert_true (vhost_frontend_queue_kick (queue));
  g_assert_false (vhost_frontend_queue_wait (queue, 0));
  channel = vhost_channel_new_take_fd (g_steal_fd (&peer.backend_fd));
  g_assert_true (vhost_channel_send (channel, VHOST_WIRE_BACKEND_VRING_CALL, 9, &call, sizeof call,
                                     NULL, 0, NULL));
  g_assert_true (vhost_frontend_queue_wait (queue, 5000));
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (queue), ==, 1);
  g_assert_cmpuint (
      vhost_frontend_get_n_backend_requests (peer.frontend, VHOST_WIRE_BACKEND_VRING_CALL), ==, 1);
  vhost_channel_free (channel);
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 21 3 2 5 8 10 9 14 13 12 18 8 10 9 18 35 35");
  memcpy (&number, peer_seen (&peer, 12)->payload, sizeof number);
  g_assert_cmphex (number, ==, VHOST_WIRE_VRING_NO_FD);
  g_assert_cmpuint (peer_seen (&peer, 12)->n_fds, ==, 0);
  peer_clear (&peer);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/frontend-inflight/resumes-a-split-queue-with-its-requests",
                        GINT_TO_POINTER (FALSE), test_resume);
  g_test_add_data_func ("/frontend-inflight/resumes-a-packed-queue-with-its-requests",
                        GINT_TO_POINTER (TRUE), test_resume);
  g_test_add_func ("/rules/IF3-refuses-an-area-that-cannot-be", test_bad_area);
  g_test_add_func ("/frontend-inflight/goes-on-untracked-without-an-area", test_no_area);
  g_test_add_func ("/rules/R5-polls-or-speaks-in-band", test_modes);
  return g_test_run ();
}
