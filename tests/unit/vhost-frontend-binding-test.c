/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The forms for language bindings do what the functions with pointers do. */
#include "scripted-back-end.h"

static void
test_memory (void)
{
  Peer peer = { .features = F30 };
  g_autoptr (GError) error = NULL;
  guint64 start, size;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, 0);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, MIB, MIB, &error));
  g_assert_true (vhost_frontend_find_memory (peer.frontend, MIB + 5, &start, &size));
  g_assert_cmphex (start, ==, MIB);
  g_assert_cmphex (size, ==, MIB);
  g_assert_true (vhost_frontend_find_memory (peer.frontend, 2 * MIB - 1, &start, &size));
  g_assert_false (vhost_frontend_find_memory (peer.frontend, 2 * MIB, &start, &size));
  g_assert_false (vhost_frontend_find_memory (peer.frontend, MIB - 1, &start, &size));
  g_assert_false (vhost_frontend_find_memory (peer.frontend, G_MAXUINT64, &start, &size));
  g_assert_cmphex (start | size, ==, 0);
  peer_stop (&peer);
  peer_clear (&peer);
}

static gboolean
send_descriptors (Peer *peer, VhostMessage *message)
{
  const guint64 value = 7;
  int fds[2];

  if (message->header.request != VHOST_WIRE_GET_STATUS)
    return FALSE;
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  vhost_channel_send (peer->channel, VHOST_WIRE_GET_STATUS, REPLY, &value, sizeof value, fds, 2,
                      NULL);
  close (fds[0]);
  close (fds[1]);
  return TRUE;
}

static void
test_receive (void)
{
  Peer peer = { .features = F30, .script = send_descriptors };
  g_autoptr (GBytes) payload = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree int *fds = NULL;
  guint request, flags, n_fds;
  gsize size;

  peer_start (&peer);
  g_assert_true (
      vhost_frontend_send (peer.frontend, VHOST_WIRE_GET_STATUS, 0, NULL, 0, NULL, 0, NULL));
  payload = vhost_frontend_receive_bytes (peer.frontend, &request, &flags, &fds, &n_fds, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, VHOST_WIRE_GET_STATUS);
  g_assert_cmphex (flags, ==, REPLY);
  g_assert_cmpuint (*(const guint8 *) g_bytes_get_data (payload, &size), ==, 7);
  g_assert_cmpuint (size, ==, 8);
  g_assert_cmpuint (n_fds, ==, 2);
  for (guint i = 0; i < n_fds; i++)
    g_assert_cmpint (close (fds[i]), ==, 0);
  g_clear_pointer (&payload, g_bytes_unref);
  g_clear_pointer (&fds, g_free);

  /* Nothing comes. */
  g_object_set (peer.frontend, "timeout", 10, NULL);
  g_assert_null (
      vhost_frontend_receive_bytes (peer.frontend, &request, &flags, &fds, &n_fds, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_null (fds);
  g_assert_cmpuint (n_fds, ==, 0);
  peer_stop (&peer);
  peer_clear (&peer);
}

static void
test_errors (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  guint n = 1;

  g_assert_false (vhost_frontend_connect_path (frontend, "/no/such/socket", &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_clear_error (&error);
  g_assert_null (vhost_frontend_get_shmem_sizes (frontend, &n, &error));
  g_assert_nonnull (error);
  g_assert_cmpuint (n, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-binding/finds-the-region-of-an-address", test_memory);
  g_test_add_func ("/frontend-binding/hands-over-payload-and-descriptors", test_receive);
  g_test_add_func ("/frontend-binding/has-the-errors-of-the-functions-beneath", test_errors);
  return g_test_run ();
}
