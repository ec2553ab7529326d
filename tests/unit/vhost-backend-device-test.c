/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that only some devices know: what is checked before, and how they fail. */
#include "rich-device.h"

#include "vhost-filter.h"

static const guint8 mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

#define EXPECT(call, code)                                                                         \
  G_STMT_START                                                                                     \
  {                                                                                                \
    GError *error = NULL;                                                                          \
                                                                                                   \
    g_assert_false (call);                                                                         \
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_##code);                                       \
    g_error_free (error);                                                                          \
  }                                                                                                \
  G_STMT_END

/* A device, or the same one behind two filters. */
static VhostBackend *
wrap (VhostBackend *device, gconstpointer filtered)
{
  if (filtered == NULL)
    return device;
  for (guint i = 0; i < 2; i++)
    {
      VhostBackend *filter = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", device, NULL);

      g_object_unref (device);
      device = filter;
    }
  return device;
}

static void
test_missing (gconstpointer filtered)
{
  VhostBackend *device = wrap (vhost_backend_new_simple ("plain", 1, 1), filtered);
  g_autoptr (GBytes) description = g_bytes_new_static ("x", 1);
  gint64 id = 0;
  guint n_fds = rich_count_fds ();

  g_assert_false (vhost_backend_has_announce (device));
  g_assert_false (vhost_backend_has_mtu (device));
  g_assert_false (vhost_backend_has_crypto (device));
  EXPECT (vhost_backend_announce (device, mac, &error), REFUSED);
  EXPECT (vhost_backend_set_mtu (device, 1500, &error), REFUSED);
  EXPECT (vhost_backend_create_crypto_session (device, description, &id, &error), REFUSED);
  EXPECT (vhost_backend_close_crypto_session (device, 1, &error), REFUSED);
  /* The descriptor was taken all the same. */
  EXPECT (vhost_backend_set_gpu_socket_take_fd (device, rich_memfd (), &error), REFUSED);
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
  g_assert_finalize_object (device);
}

static void
test_calls (gconstpointer filtered)
{
  VhostBackend *device = wrap (rich_device_new (), filtered);
  g_autoptr (GBytes) description = g_bytes_new_static ("12345678", 8);
  gint64 id = 0;
  int fd;

  g_assert_true (vhost_backend_has_announce (device));
  g_assert_true (vhost_backend_has_mtu (device));
  g_assert_true (vhost_backend_has_crypto (device));
  g_assert_true (vhost_backend_announce (device, mac, NULL));
  g_assert_cmpmem (rich.mac, 6, mac, 6);
  g_assert_true (vhost_backend_set_mtu (device, 9000, NULL));
  g_assert_cmpuint (rich.mtu, ==, 9000);
  rich.crypto_id = G_MAXINT64;
  g_assert_true (vhost_backend_create_crypto_session (device, description, &id, NULL));
  g_assert_cmpint (id, ==, G_MAXINT64);
  g_assert_cmpuint (rich.crypto_size, ==, 8);
  g_assert_true (vhost_backend_close_crypto_session (device, 7, NULL));
  g_assert_cmpint (rich.crypto_closed, ==, 7);
  fd = rich_memfd ();
  g_assert_true (vhost_backend_set_gpu_socket_take_fd (device, fd, NULL));
  g_assert_cmpint (rich.gpu_fd, ==, fd);
  rich_clear ();
  g_assert_finalize_object (device);
}

static void
test_bad_numbers (void)
{
  const guint64 bad[] = { 0, 67, 65536, G_MAXUINT32, G_GUINT64_CONSTANT (1) << 32 | 1500 };
  VhostBackend *device = rich_device_new ();

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    EXPECT (vhost_backend_set_mtu (device, bad[i], &error), INVALID);
  g_assert_cmpuint (rich.mtu, ==, 0);
  g_assert_true (vhost_backend_set_mtu (device, 68, NULL));
  g_assert_true (vhost_backend_set_mtu (device, 65535, NULL));
  rich.crypto_closed = -5;
  EXPECT (vhost_backend_close_crypto_session (device, G_MAXUINT64, &error), INVALID);
  g_assert_cmpint (rich.crypto_closed, ==, -5);
  g_assert_true (vhost_backend_close_crypto_session (device, G_MAXINT64, NULL));
  g_assert_finalize_object (device);
}

static void
expect_all_fail (VhostBackend *device, int code)
{
  g_autoptr (GBytes) description = g_bytes_new_static ("x", 1);
  gint64 id = 0;
  gboolean (*const close_session) (VhostBackend *, guint64, GError **)
      = vhost_backend_close_crypto_session;

  for (guint i = 0; i < 4; i++)
    {
      g_autoptr (GError) error = NULL;

      if (i == 0)
        g_assert_false (vhost_backend_announce (device, mac, &error));
      else if (i == 1)
        g_assert_false (vhost_backend_set_mtu (device, 1500, &error));
      else if (i == 2)
        g_assert_false (vhost_backend_create_crypto_session (device, description, &id, &error));
      else
        g_assert_false (close_session (device, 3, &error));
      g_assert_error (error, VHOST_ERROR, code);
    }
}

static void
test_failures (gconstpointer filtered)
{
  VhostBackend *device = wrap (rich_device_new (), filtered);

  rich.fail = TRUE;
  expect_all_fail (device, VHOST_ERROR_BUSY); /* the device's own */
  rich.fail = FALSE;
  rich.mute = TRUE;
  expect_all_fail (device, VHOST_ERROR_BACKEND); /* made up */
  g_assert_finalize_object (device);
}

#define TEST(name, function)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_test_add_data_func ("/backend-device/" name, NULL, function);                                \
    g_test_add_data_func ("/backend-device/filtered/" name, "filtered", function);                 \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  TEST ("what-is-missing-is-refused-and-closed", test_missing);
  TEST ("calls-reach-the-device", test_calls);
  TEST ("failures-have-an-error-in-any-case", test_failures);
  g_test_add_func ("/backend-device/numbers-are-checked-before-the-call", test_bad_numbers);
  return g_test_run ();
}
