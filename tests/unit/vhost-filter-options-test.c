/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filters on a command line. */
#include "vhost-error.h"
#include "vhost-filter-private.h"

/* A device with an option that a filter has, too. */
typedef struct
{
  VhostBackend parent_instance;
} SlowDevice;

typedef struct
{
  VhostBackendClass parent_class;
} SlowDeviceClass;

static GType slow_device_get_type (void);
G_DEFINE_TYPE (SlowDevice, slow_device, VHOST_TYPE_BACKEND)

static void
slow_device_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
}

static void
slow_device_class_init (SlowDeviceClass *klass)
{
  G_OBJECT_CLASS (klass)->set_property = slow_device_set_property;
  g_object_class_install_property (
      G_OBJECT_CLASS (klass), 1,
      g_param_spec_uint ("delay-ms", NULL, "", 0, 1, 0, G_PARAM_WRITABLE | G_PARAM_STATIC_STRINGS));
}

static void
slow_device_init (SlowDevice *self)
{
}

static VhostFilterOptions *
parse (GType type, const char *line, GError **error)
{
  g_auto (GStrv) arguments = g_strsplit (line, " ", -1);
  char **names = NULL;
  g_autofree char *run = NULL;
  const GOptionEntry entries[] = {
    { "filter", 0, 0, G_OPTION_ARG_STRING_ARRAY, &names, "", "NAME" },
    { "run", 0, 0, G_OPTION_ARG_STRING, &run, "", "COMMAND" },
    { NULL },
  };
  VhostFilterOptions *self = vhost_filter_options_new (type, arguments, error);
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);

  if (self == NULL)
    return NULL;
  g_option_context_add_main_entries (context, entries, NULL);
  vhost_filter_options_add_groups (self, context);
  if (!g_option_context_parse_strv (context, &arguments, error)
      || !vhost_filter_options_check (self, names, error))
    g_clear_pointer (&self, vhost_filter_options_free);
  g_strfreev (names);
  return self;
}

static VhostFilterOptions *
parse_good (const char *line)
{
  GError *error = NULL;
  VhostFilterOptions *self = parse (VHOST_TYPE_BACKEND, line, &error);

  g_assert_no_error (error);
  return self;
}

static void
assert_refused (GType type, const char *line, const char *words)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (parse (type, line, &error));
  g_assert_nonnull (error);
  g_assert_nonnull (strstr (error->message, words));
}

static void
the_first_is_outermost (void)
{
  VhostFilterOptions *options
      = parse_good ("program --filter=error --delay-ms=20 --filter delay --error-rate=0.5");

  /* A program may make several devices. */
  for (guint i = 0; i < 2; i++)
    {
      VhostBackend *device = vhost_backend_new_simple ("thing", 1, 1);
      VhostBackend *top = vhost_filter_options_wrap (options, g_object_ref (device));
      VhostBackend *second = vhost_filter_get_next (VHOST_FILTER (top));
      double rate;
      guint ms;

      g_assert_true (VHOST_IS_FILTER_ERROR (top));
      g_assert_true (VHOST_IS_FILTER_DELAY (second));
      g_assert_true (vhost_filter_get_next (VHOST_FILTER (second)) == device);
      g_object_get (top, "error-rate", &rate, NULL);
      g_object_get (second, "delay-ms", &ms, NULL);
      g_assert_cmpfloat (rate, ==, 0.5);
      g_assert_cmpuint (ms, ==, 20);
      g_assert_finalize_object (top);
      g_assert_finalize_object (device);
    }
  vhost_filter_options_free (options);
}

static void
none_leaves_the_device_alone (void)
{
  VhostFilterOptions *options = parse_good ("program -- --filter=delay");
  VhostBackend *device = vhost_backend_new_simple ("thing", 1, 1);

  g_assert_true (vhost_filter_options_wrap (options, device) == device);
  g_assert_finalize_object (device);
  vhost_filter_options_free (options);
}

static void
mistakes_are_named (void)
{
  GType type = VHOST_TYPE_BACKEND;

  assert_refused (type, "program --filter=nope", "there are delay, error, reorder");
  assert_refused (type, "program --filter=", "no filter \"\"");
  assert_refused (type, "program --filter", "--filter");
  assert_refused (type, "program --filter=delay --filter=error --filter=delay",
                  "--filter=delay is there twice");
  assert_refused (type, "program --delay-ms=3", "delay-ms");
  assert_refused (type, "program --filter=delay --delay-ms=x", "delay-ms cannot be \"x\"");
  assert_refused (type, "program --filter=delay --next=x", "next");
  assert_refused (type, "program --run --filter=delay", "write it as --option=VALUE");
  assert_refused (slow_device_get_type (), "program --filter=delay", "its option --delay-ms");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-options/the-first-is-outermost", the_first_is_outermost);
  g_test_add_func ("/filter-options/none-leaves-the-device-alone", none_leaves_the_device_alone);
  g_test_add_func ("/filter-options/mistakes-are-named", mistakes_are_named);
  return g_test_run ();
}
