/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that only some devices know, as the session answers them, and which features it offers
 * for what the device has. */
#include "rich-device.h"

#define NET_F_MTU 3

static guint64
get_features (VhostBackend *backend)
{
  return 1 << NET_F_MTU;
}

static void
fill_class (VhostBackendClass *klass)
{
  rich_fill_class (klass);
  klass->get_features = get_features;
}

#define TEST_DEVICE_FILL_CLASS fill_class

#include "session-peer.h"

#define TEST_AREA "session-device"
#define P(name) VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_##name)
#define NET_AND_CRYPTO (ALL_PROTOCOL | P (RARP) | P (NET_MTU) | P (CRYPTO_SESSION))

static void
accept_all (Fixture *f)
{
  rich_clear ();
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, NET_AND_CRYPTO), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | 1 << NET_F_MTU), ==, 0);
}

static guint64
get_device_bits (Fixture *f)
{
  return get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES)
         & (P (RARP) | P (NET_MTU) | P (CRYPTO_SESSION) | P (DEVICE_STATE) | P (SHARED_OBJECT)
            | P (HOST_NOTIFIER) | P (SHMEM_MAP));
}

static void
test_offers (Fixture *f, gconstpointer data)
{
  const guint64 always = P (RARP) | P (NET_MTU) | P (CRYPTO_SESSION) | P (DEVICE_STATE);
  VhostBackend *device = VHOST_BACKEND (f->device);
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (device);

  g_assert_cmphex (get_device_bits (f), ==, always);
  vhost_backend_set_shared_objects (device, TRUE);
  g_assert_cmphex (get_device_bits (f), ==, always | P (SHARED_OBJECT));
  vhost_backend_set_shared_objects (device, FALSE);
  vhost_backend_set_host_notifiers (device, TRUE);
  g_assert_cmphex (get_device_bits (f), ==, always | P (HOST_NOTIFIER));
  vhost_backend_set_host_notifiers (device, FALSE);
  /* Half of what crypto needs is nothing. */
  klass->close_crypto_session = NULL;
  g_assert_cmphex (get_device_bits (f), ==, always & ~P (CRYPTO_SESSION));
  klass->close_crypto_session = rich_close_crypto_session;
  end_session (f);
  g_assert_true (vhost_backend_set_shmem_region (device, 0, 1 << 16, NULL));
  f->n_closed = 0;
  connect_session (f, 10000);
  g_assert_cmphex (get_device_bits (f), ==, always | P (SHMEM_MAP));
}

static void
test_needs_features (Fixture *f, gconstpointer data)
{
  guint8 bytes[8] = { 1, 2, 3, 4, 5, 6 };

  rich_clear ();
  negotiate (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SEND_RARP, bytes, 8), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_NET_SET_MTU, 1500), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_CLOSE_CRYPTO_SESSION, 1), !=, 0);
  g_assert_cmpuint (rich.n_announces, ==, 0);
  g_assert_cmpuint (rich.mtu, ==, 0);
}

static void
test_network (Fixture *f, gconstpointer data)
{
  guint8 mac[8] = { 0x52, 0x54, 0, 1, 2, 3, 0xee, 0xee };

  accept_all (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SEND_RARP, mac, 8), ==, 0);
  g_assert_cmpmem (rich.mac, 6, mac, 6);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_NET_SET_MTU, 9000), ==, 0);
  g_assert_cmpuint (rich.mtu, ==, 9000);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_NET_SET_MTU, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (rich.mtu, ==, 9000);
  rich.fail = TRUE;
  g_assert_cmpuint (call (f, VHOST_WIRE_SEND_RARP, mac, 8), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_NET_SET_MTU, 1500), !=, 0);
  g_assert_cmpuint (f->n_closed, ==, 0);
}

static gint64
create (Fixture *f, gsize size)
{
  guint8 description[VHOST_WIRE_MAX_PAYLOAD] = { 0 };
  gint64 id;

  memset (description, 0xab, size);
  send_message (f, VHOST_WIRE_CREATE_CRYPTO_SESSION, 0, description, (guint32) size, NULL, 0);
  g_assert_cmpuint (
      receive_reply (f, VHOST_WIRE_CREATE_CRYPTO_SESSION, description, sizeof description), ==,
      size);
  memcpy (&id, description, sizeof id);
  for (gsize i = sizeof id; i < size; i++)
    g_assert_cmphex (description[i], ==, 0xab); /* the rest comes back as it was */
  return id;
}

static void
test_crypto (Fixture *f, gconstpointer data)
{
  accept_all (f);
  rich.crypto_id = 7;
  g_assert_cmpint (create (f, 64), ==, 7);
  g_assert_cmpuint (rich.crypto_size, ==, 64);
  rich.mute = TRUE;
  g_assert_cmpint (create (f, 64), ==, -1); /* a refusal is an answer, too */
  rich.mute = FALSE;
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_CLOSE_CRYPTO_SESSION, 7), ==, 0);
  g_assert_cmpint (rich.crypto_closed, ==, 7);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_CLOSE_CRYPTO_SESSION, G_MAXUINT64), !=, 0);
  g_assert_cmpint (rich.crypto_closed, ==, 7);
}

static guint64
set_display (Fixture *f, int fd)
{
  guint64 answer = call_fds (f, VHOST_WIRE_GPU_SET_SOCKET, NULL, 0, &fd, 1);

  close (fd);
  return answer;
}

static void
test_display (Fixture *f, gconstpointer data)
{
  int pair[2];
  guint n_fds;

  accept_all (f);
  n_fds = rich_count_fds ();
  g_assert_cmpuint (set_display (f, rich_memfd ()), !=, 0);
  g_assert_cmpint (rich.gpu_fd, ==, -1);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  g_assert_cmpuint (set_display (f, pair[0]), ==, 0);
  g_assert_cmpint (rich.gpu_fd, >=, 0);
  close (pair[1]);
  rich_clear ();
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("V46-offers-what-the-device-has", set_up, test_offers);
  ADD ("messages-need-their-features", set_up, test_needs_features);
  ADD ("SEND_RARP-and-NET_SET_MTU-reach-the-device", set_up, test_network);
  ADD ("CREATE_CRYPTO_SESSION-answers-in-its-first-bytes", set_up, test_crypto);
  ADD ("GPU_SET_SOCKET-takes-sockets-only", set_up, test_display);
  return g_test_run ();
}
