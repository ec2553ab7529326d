/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's IOMMU, and the back-end's requests in general. */
#include "scripted-back-end.h"

#include <sys/mman.h>

#define OFFSET G_GUINT64_CONSTANT (0x40000000)

static Peer
new_peer (void)
{
  return (Peer){ .features = F30 | BIT (VHOST_WIRE_F_ACCESS_PLATFORM),
                 .protocol_features = BIT (3) | BIT (5) | BIT (18) | BIT (10) };
}

static void
start (Peer *peer, gboolean lazy)
{
  g_autoptr (GError) error = NULL;

  peer_start (peer);
  g_object_set (peer->frontend, "iova-offset", OFFSET, "iotlb-lazy", lazy, NULL);
  NEGOTIATE (peer, BIT (VHOST_WIRE_F_ACCESS_PLATFORM), G_MAXUINT64);
  vhost_frontend_add_memory (peer->frontend, 0, MIB, &error);
  g_assert_no_error (error);
}

static void
test_update (void)
{
  Peer peer = new_peer ();
  g_autoptr (GError) error = NULL;
  VhostFrontendIotlbMessage message;
  VhostWireVringAddr address;
  VhostFrontendQueue *queue;
  guint64 ring;

  start (&peer, FALSE);
  g_assert_true (vhost_frontend_iotlb_map (peer.frontend, OFFSET, MIB, 0, 3, &error));
  queue = vhost_frontend_add_queue (peer.frontend, 0, 64, &error);
  g_assert_no_error (error);
  vhost_frontend_queue_get_addresses (queue, &ring, NULL, NULL);
  g_assert_false (vhost_frontend_iotlb_map (peer.frontend, OFFSET + 4096, 1, 0, 3, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (vhost_frontend_iotlb_map (peer.frontend, 0, 2 * MIB, 0, 3, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (vhost_frontend_iotlb_map (peer.frontend, G_MAXUINT64, 2, 0, 3, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_iotlb_unmap (peer.frontend, OFFSET, MIB, &error));
  g_assert_true (vhost_frontend_iotlb_map (peer.frontend, OFFSET + 4096, 1, 0, 1, &error));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 21 3 2 5 22 8 10 9 14 13 12 18 22 22");
  memcpy (&message, peer_seen (&peer, 7)->payload, sizeof message);
  g_assert_cmphex (message.iova, ==, OFFSET);
  g_assert_cmphex (message.size, ==, MIB);
  g_assert_cmphex (message.user_addr, ==,
                   (guintptr) vhost_frontend_get_memory (peer.frontend, 0, 1));
  g_assert_cmpuint (message.perm, ==, 3);
  g_assert_cmpuint (message.type, ==, 2);
  memcpy (&address, peer_seen (&peer, 10)->payload, sizeof address);
  g_assert_cmphex (address.descriptor, ==, ring + OFFSET);
  memcpy (&message, peer_seen (&peer, 15)->payload, sizeof message);
  g_assert_cmpuint (message.type, ==, 3);
  g_array_set_size (peer.seen, 0);

  /* The next back-end is told what there is. */
  peer_start (&peer);
  g_assert_true (vhost_frontend_resume (peer.frontend, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 21 3 2 5 22 8 10 9 14 13 12 18");
  peer_clear (&peer);
}

static guint64
request (Peer *peer, VhostChannel *channel, guint32 code, const void *payload, guint32 size,
         int *fd)
{
  VhostMessage *message;

  g_assert_true (vhost_channel_send (channel, code, 9, payload, size, NULL, 0, NULL));
  g_assert_cmpuint (vhost_frontend_process_backend_messages (peer->frontend, 5000), ==, 1);
  g_assert_cmpint (vhost_channel_receive (channel, &message, NULL), ==, VHOST_CHANNEL_MESSAGE);
  g_assert_cmpuint (message->header.request, ==, code);
  if (fd != NULL)
    *fd = vhost_message_steal_fd (message, 0);
  return message->payload.u64;
}

static void
test_miss (void)
{
  Peer peer = new_peer ();
  VhostFrontendIotlbMessage miss = { .iova = 0x5000, .perm = 1, .type = 1 };
  g_autoptr (GError) error = NULL;
  VhostChannel *channel;

  start (&peer, TRUE);
  channel = vhost_channel_new_take_fd (g_steal_fd (&peer.backend_fd));
  g_assert_true (vhost_frontend_iotlb_map (peer.frontend, 0x4000, 0x2000, 0x8000, 1, &error));
  g_assert_cmpuint (request (&peer, channel, 1, &miss, sizeof miss, NULL), ==, 0);
  /* Not with this access, not this address, not a miss, not whole. */
  miss.perm = 2;
  g_assert_cmpuint (request (&peer, channel, 1, &miss, sizeof miss, NULL), ==, 1);
  miss.perm = 1;
  miss.iova = 0x6000;
  g_assert_cmpuint (request (&peer, channel, 1, &miss, sizeof miss, NULL), ==, 1);
  miss.iova = 0x5000;
  miss.type = 4;
  g_assert_cmpuint (request (&peer, channel, 1, &miss, sizeof miss, NULL), ==, 1);
  g_assert_cmpuint (request (&peer, channel, 1, &miss, 8, NULL), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_n_backend_requests (peer.frontend, 1), ==, 5);
  vhost_channel_free (channel);
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 21 3 2 5 22");
  peer_clear (&peer);
}

static int
on_request (VhostFrontend *frontend, guint code, GBytes *payload, int fd, gpointer data)
{
  if (code != VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP)
    return code == VHOST_WIRE_BACKEND_SHMEM_UNMAP ? 7 : -1;
  g_assert_cmpuint (g_bytes_get_size (payload), ==, 16);
  vhost_frontend_take_answer_fd (frontend, memfd_create ("object", MFD_CLOEXEC));
  return 0;
}

static void
test_handler (void)
{
  Peer peer = new_peer ();
  const guint8 payload[40] = { 0 };
  VhostChannel *channel;
  int fd = -1;

  start (&peer, TRUE);
  channel = vhost_channel_new_take_fd (g_steal_fd (&peer.backend_fd));
  g_assert_cmpuint (request (&peer, channel, 8, payload, 16, &fd), ==, 1);
  g_assert_cmpint (fd, ==, -1);
  g_signal_connect (peer.frontend, "backend-request", G_CALLBACK (on_request), NULL);
  g_assert_cmpuint (request (&peer, channel, 8, payload, 16, &fd), ==, 0);
  g_assert_cmpint (fd, >=, 0);
  vhost_fd_clear (&fd);
  g_assert_cmpuint (request (&peer, channel, 10, payload, 40, NULL), ==, 7);
  g_assert_cmpuint (request (&peer, channel, 6, payload, 16, NULL), ==, 0);
  g_assert_cmpuint (request (&peer, channel, 8, payload, 15, &fd), ==, 1);
  g_assert_cmpint (fd, ==, -1);
  /* A queue that is not there. */
  g_assert_cmpuint (request (&peer, channel, 4, "\377\377\377\377\0\0\0\0", 8, NULL), ==, 1);
  vhost_channel_free (channel);
  peer_stop (&peer);
  peer_clear (&peer);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/rules/I2-updates-at-once-and-again-after-a-reconnection", test_update);
  g_test_add_func ("/rules/I5-answers-a-miss-after-its-update", test_miss);
  g_test_add_func ("/frontend-backend-request/lets-a-handler-answer", test_handler);
  return g_test_run ();
}
