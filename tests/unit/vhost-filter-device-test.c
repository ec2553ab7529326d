/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a filter hands on of what only some devices know, when a program calls it directly: a filter
 * has all functions, and its device perhaps none of them. */
#include "rich-device.h"

#include "vhost-filter.h"

static VhostBackend *
wrap (VhostBackend *device)
{
  VhostBackend *filter = g_object_new (VHOST_TYPE_FILTER_ERROR, "next", device, NULL);

  g_object_unref (device);
  return filter;
}

#define EXPECT_REFUSED(call)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    GError *error = NULL;                                                                          \
                                                                                                   \
    g_assert_true (call);                                                                          \
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);                                      \
    g_error_free (error);                                                                          \
  }                                                                                                \
  G_STMT_END

static void
test_missing (void)
{
  VhostBackend *filter = wrap (vhost_backend_new_simple ("plain", 1, 1));
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (filter);
  g_autoptr (GBytes) bytes = g_bytes_new_static ("123456", 6);
  guint n_fds = rich_count_fds ();

  EXPECT_REFUSED (klass->get_state (filter, &error) == NULL);
  EXPECT_REFUSED (!klass->set_state (filter, bytes, &error));
  EXPECT_REFUSED (!klass->announce (filter, bytes, &error));
  EXPECT_REFUSED (!klass->set_mtu (filter, 1500, &error));
  EXPECT_REFUSED (klass->create_crypto_session (filter, bytes, &error) < 0);
  EXPECT_REFUSED (!klass->close_crypto_session (filter, 1, &error));
  klass->set_gpu_socket (filter, rich_memfd ());
  g_assert_cmpuint (rich_count_fds (), ==, n_fds);
  g_assert_finalize_object (filter);
}

static void
test_present (void)
{
  VhostBackend *filter = wrap (wrap (rich_device_new ()));
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (filter);
  g_autoptr (GBytes) bytes = g_bytes_new_static ("123456", 6);
  g_autoptr (GBytes) state = NULL;

  g_assert_true (klass->set_state (filter, bytes, NULL));
  state = klass->get_state (filter, NULL);
  g_assert_true (g_bytes_equal (state, bytes));
  g_assert_true (klass->announce (filter, bytes, NULL));
  g_assert_cmpmem (rich.mac, 6, "123456", 6);
  g_assert_true (klass->set_mtu (filter, 1500, NULL));
  g_assert_cmpuint (rich.mtu, ==, 1500);
  rich_clear ();
  g_assert_finalize_object (filter);
}

/* ---- A filter that has a say of its own ---- */

typedef struct
{
  VhostFilter parent_instance;
} LimitFilter;

typedef struct
{
  VhostFilterClass parent_class;
} LimitFilterClass;

GType limit_filter_get_type (void);
G_DEFINE_TYPE (LimitFilter, limit_filter, VHOST_TYPE_FILTER)

static gboolean
limit_set_mtu (VhostBackend *backend, guint mtu, GError **error)
{
  return VHOST_BACKEND_CLASS (limit_filter_parent_class)->set_mtu (backend, MIN (mtu, 1400), error);
}

static void
limit_filter_class_init (LimitFilterClass *klass)
{
  VHOST_BACKEND_CLASS (klass)->set_mtu = limit_set_mtu;
}

static void
limit_filter_init (LimitFilter *self)
{
}

static void
test_changes (void)
{
  VhostBackend *device = rich_device_new ();
  VhostBackend *filter = wrap (g_object_new (limit_filter_get_type (), "next", device, NULL));

  g_object_unref (device);
  g_assert_true (vhost_backend_set_mtu (filter, 9000, NULL));
  g_assert_cmpuint (rich.mtu, ==, 1400);
  g_assert_finalize_object (filter);
  /* It cannot give a device what that does not have. */
  device = vhost_backend_new_simple ("plain", 1, 1);
  filter = g_object_new (limit_filter_get_type (), "next", device, NULL);
  g_object_unref (device);
  g_assert_false (vhost_backend_has_mtu (filter));
  g_assert_finalize_object (filter);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-device/what-the-device-lacks-is-refused", test_missing);
  g_test_add_func ("/filter-device/what-the-device-has-is-handed-on", test_present);
  g_test_add_func ("/filter-device/a-filter-can-change-a-call-but-not-the-device", test_changes);
  return g_test_run ();
}
