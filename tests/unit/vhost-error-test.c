/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain and its D-Bus names. */
#include "vhost-error.h"

static void
test_every_code_has_a_bus_name (void)
{
  for (int code = VHOST_ERROR_FAILED; code <= VHOST_ERROR_TIMED_OUT; code++)
    {
      g_autoptr (GError) error = g_error_new (VHOST_ERROR, code, "x");
      g_autofree char *name = g_dbus_error_encode_gerror (error);
      g_assert_true (g_str_has_prefix (name, "io.github.libvhostd1.Error."));
    }
}

static void
test_code_survives_the_bus (void)
{
  g_autoptr (GError) error = g_dbus_error_new_for_dbus_error (
      "io.github.libvhostd1.Error.NoSharedMemory", "the front-end shares no memory");
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY);
}

static void
test_quark_is_constant (void)
{
  g_assert_cmpuint (vhost_error_quark (), ==, vhost_error_quark ());
  g_assert_cmpstr (g_quark_to_string (VHOST_ERROR), ==, "vhost-error-quark");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  (void) VHOST_ERROR; /* registers the names */
  g_test_add_func ("/error/every-code-has-a-bus-name", test_every_code_has_a_bus_name);
  g_test_add_func ("/error/code-survives-the-bus", test_code_survives_the_bus);
  g_test_add_func ("/error/quark-is-constant", test_quark_is_constant);
  return g_test_run ();
}
