/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text to property and back, settings and options. */
#include "vhost-property-private.h"

#include "vhost-error.h"

typedef enum
{
  TEST_CACHE_WRITE_BACK,
  TEST_CACHE_WRITE_THROUGH,
} TestCache;

static GType
test_cache_get_type (void)
{
  static gsize type = 0;
  if (g_once_init_enter (&type))
    {
      static const GEnumValue values[] = {
        { TEST_CACHE_WRITE_BACK, "TEST_CACHE_WRITE_BACK", "write-back" },
        { TEST_CACHE_WRITE_THROUGH, "TEST_CACHE_WRITE_THROUGH", "write-through" },
        { 0, NULL, NULL },
      };
      g_once_init_leave (&type, g_enum_register_static ("TestCache", values));
    }
  return type;
}

static GType
test_flags_get_type (void)
{
  static gsize type = 0;
  if (g_once_init_enter (&type))
    {
      static const GFlagsValue values[] = {
        { 1, "TEST_READ", "read" },
        { 2, "TEST_WRITE", "write" },
        { 0, NULL, NULL },
      };
      g_once_init_leave (&type, g_flags_register_static ("TestFlags", values));
    }
  return type;
}

/* A base with one property and a class with one of each kind. Values are kept in an array. */
enum
{
  PROP_BASE = 1,
  PROP_FILE,
  PROP_READ_ONLY,
  PROP_GRAB,
  PROP_SIZE,
  PROP_OFFSET,
  PROP_COUNT,
  PROP_LEVEL,
  PROP_BYTE,
  PROP_RATE,
  PROP_CACHE,
  PROP_MODE,
  PROP_TAGS,
  PROP_STATE,
  PROP_PEER,
  N_PROPS
};

typedef struct
{
  GObject parent;
  GValue values[N_PROPS];
} TestBase;
typedef GObjectClass TestBaseClass;
typedef TestBase TestDevice;
typedef GObjectClass TestDeviceClass;

GType test_base_get_type (void);
GType test_device_get_type (void);
G_DEFINE_TYPE (TestBase, test_base, G_TYPE_OBJECT)
G_DEFINE_TYPE (TestDevice, test_device, test_base_get_type ())

static void
test_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GValue *slot = &((TestBase *) object)->values[id];
  if (!G_IS_VALUE (slot))
    g_value_init (slot, pspec->value_type);
  g_value_copy (value, slot);
}

static void
test_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GValue *slot = &((TestBase *) object)->values[id];
  if (G_IS_VALUE (slot))
    g_value_copy (slot, value);
}

static void
test_finalize (GObject *object)
{
  for (guint i = 0; i < N_PROPS; i++)
    if (G_IS_VALUE (&((TestBase *) object)->values[i]))
      g_value_unset (&((TestBase *) object)->values[i]);
  G_OBJECT_CLASS (test_base_parent_class)->finalize (object);
}

static void
test_base_init (TestBase *self)
{
}

static void
test_device_init (TestDevice *self)
{
}

#define RW (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS)
#define CONSTRUCT_ONLY (RW | G_PARAM_CONSTRUCT_ONLY)

static void
test_base_class_init (GObjectClass *klass)
{
  klass->set_property = test_set_property;
  klass->get_property = test_get_property;
  klass->finalize = test_finalize;
  g_object_class_install_property (
      klass, PROP_BASE, g_param_spec_uint ("num-queues", NULL, "Number of queues", 1, 256, 1, RW));
}

static void
test_device_class_init (GObjectClass *klass)
{
  klass->set_property = test_set_property;
  klass->get_property = test_get_property;
#define ADD(id, pspec) g_object_class_install_property (klass, id, pspec)
  ADD (PROP_FILE, g_param_spec_string ("blk-file", NULL, "The image", NULL, CONSTRUCT_ONLY));
  ADD (PROP_READ_ONLY,
       g_param_spec_boolean ("read-only", NULL, "Refuse writes", FALSE, CONSTRUCT_ONLY));
  ADD (PROP_GRAB, g_param_spec_boolean ("grab", NULL, "Keep the device", TRUE, RW));
  ADD (PROP_SIZE, g_param_spec_uint64 ("size", NULL, "Bytes", 0, G_MAXUINT64, 0, RW));
  ADD (PROP_OFFSET, g_param_spec_int64 ("offset", NULL, "Bytes", G_MININT64, G_MAXINT64, 0, RW));
  ADD (PROP_COUNT, g_param_spec_uint ("queue-size", NULL, "Entries", 2, 32768, 256, RW));
  ADD (PROP_LEVEL, g_param_spec_int ("level", NULL, "Level", -10, 10, 0, RW));
  ADD (PROP_BYTE, g_param_spec_uchar ("byte", NULL, "Byte", 0, 255, 0, RW));
  ADD (PROP_RATE, g_param_spec_double ("rate", NULL, "Rate", 0, 1, 0.5, RW));
  ADD (PROP_CACHE, g_param_spec_enum ("cache", NULL, "Cache", test_cache_get_type (),
                                      TEST_CACHE_WRITE_BACK, RW));
  ADD (PROP_MODE, g_param_spec_flags ("mode", NULL, "Mode", test_flags_get_type (), 0, RW));
  ADD (PROP_TAGS, g_param_spec_boxed ("tags", NULL, "Tags", G_TYPE_STRV, RW));
  ADD (PROP_STATE, g_param_spec_string ("state", NULL, "State", NULL,
                                        G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  ADD (PROP_PEER, g_param_spec_object ("peer", NULL, "Peer", G_TYPE_OBJECT, RW));
#undef ADD
}

static GParamSpec *
find (const char *name)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (test_device_get_type ());
  GParamSpec *pspec = g_object_class_find_property (G_OBJECT_CLASS (klass), name);
  g_assert_nonnull (pspec);
  return pspec;
}

/* NULL @expected: refused, with an error that names property and text. */
static void
check (const char *name, const char *text, const char *expected)
{
  g_autoptr (GError) error = NULL;
  GValue value = G_VALUE_INIT;
  gboolean parsed = vhost_property_parse (find (name), text, &value, &error);
  if (expected == NULL)
    {
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_assert_false (parsed);
      g_assert_false (G_IS_VALUE (&value));
      g_assert_nonnull (strstr (error->message, name));
      g_assert_nonnull (strstr (error->message, text));
      return;
    }
  g_assert_no_error (error);
  g_assert_true (parsed);
  g_autofree char *formatted = vhost_property_format (find (name), &value);
  g_assert_cmpstr (formatted, ==, expected);
  /* And back again. */
  GValue again = G_VALUE_INIT;
  g_assert_true (vhost_property_parse (find (name), formatted, &again, NULL));
  g_autofree char *formatted_again = vhost_property_format (find (name), &again);
  g_assert_cmpstr (formatted_again, ==, expected);
  g_value_unset (&value);
  g_value_unset (&again);
}

static void
test_booleans_mean_what_they_say (void)
{
  const char *const yes[] = { "yes", "on", "true", "1", "True", "YES" };
  const char *const no[] = { "no", "off", "false", "0", "False", "NO" };
  const char *const bad[] = { "", "2", "maybe", "yes ", "y" };
  for (guint i = 0; i < G_N_ELEMENTS (yes); i++)
    check ("read-only", yes[i], "yes");
  for (guint i = 0; i < G_N_ELEMENTS (no); i++)
    check ("read-only", no[i], "no");
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    check ("read-only", bad[i], NULL);
}

static void
test_integers_take_suffixes_and_keep_their_range (void)
{
  check ("size", "0", "0");
  check ("size", "64M", "67108864");
  check ("size", "64m", "67108864");
  check ("size", "1K", "1024");
  check ("size", "3G", "3221225472");
  check ("size", "2T", "2199023255552");
  check ("size", "0x10", "16");
  check ("size", "18446744073709551615", "18446744073709551615");
  check ("size", "18446744073709551616", NULL);
  check ("size", "16777216T", NULL);
  check ("size", "16777215T", "18446742974197923840");
  check ("size", "-1", NULL);
  check ("size", "-0", "0");
  check ("size", "", NULL);
  check ("size", "K", NULL);
  check ("size", "0x", NULL);
  check ("size", "12KB", NULL);
  check ("size", "1 K", NULL);
  check ("size", " 1", NULL);
  check ("size", "+1", NULL);
  check ("size", "1.5G", NULL);
  check ("size", "1e3", NULL);
  check ("offset", "-9223372036854775808", "-9223372036854775808");
  check ("offset", "-9223372036854775809", NULL);
  check ("offset", "9223372036854775807", "9223372036854775807");
  check ("offset", "9223372036854775808", NULL);
  check ("offset", "-1K", "-1024");
  check ("offset", "--1", NULL);
  check ("queue-size", "1", NULL);
  check ("queue-size", "32K", "32768");
  check ("queue-size", "32769", NULL);
  check ("queue-size", "4294967298", NULL);
  check ("level", "-10", "-10");
  check ("level", "-11", NULL);
  check ("byte", "255", "255");
  check ("byte", "256", NULL);
}

static void
test_other_types_are_read_whole (void)
{
  check ("rate", "0.25", "0.25");
  check ("rate", "1.5", NULL);
  check ("rate", "nan", NULL);
  check ("rate", "0.5x", NULL);
  check ("rate", "", NULL);
  check ("cache", "write-through", "write-through");
  check ("cache", "writethrough", NULL);
  check ("cache", "", NULL);
  check ("mode", "read,write", "read,write");
  check ("mode", "write", "write");
  check ("mode", "", "");
  check ("mode", "read,erase", NULL);
  check ("blk-file", "/a b=c,d", "/a b=c,d");
  check ("tags", "a,b,c", "a,b,c");
  check ("tags", "", "");
  check ("peer", "x", NULL);
}

static void
test_enum_error_lists_what_is_right (void)
{
  g_autoptr (GError) error = NULL;
  GValue value = G_VALUE_INIT;
  g_assert_false (vhost_property_parse (find ("cache"), "none", &value, &error));
  g_assert_nonnull (strstr (error->message, "write-back, write-through"));
}

static void
test_bytes_that_are_no_text_are_refused (void)
{
  g_autoptr (GError) error = NULL;
  GValue value = G_VALUE_INIT;
  g_assert_false (vhost_property_parse (find ("blk-file"), "/\xff\xfe", &value, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
}

static void
test_set_builds_with_construct_only_values (void)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (test_device_get_type ());
  g_autoptr (GError) error = NULL;
  g_assert_true (vhost_property_set_add (set, "blk-file", "/tmp/a", &error));
  g_assert_true (vhost_property_set_add (set, "blk-file", "/tmp/b", &error));
  g_assert_true (vhost_property_set_add (set, "num-queues", "4", &error));
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GObject) object = vhost_property_set_build (set);
      g_autofree char *file = NULL;
      guint num_queues;
      g_object_get (object, "blk-file", &file, "num-queues", &num_queues, NULL);
      g_assert_cmpstr (file, ==, "/tmp/b");
      g_assert_cmpuint (num_queues, ==, 4);
    }
}

static void
test_set_refuses_what_it_cannot_set (void)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (test_device_get_type ());
  const char *const names[] = { "blk-fil", "state", "peer", "" };
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_false (vhost_property_set_add (set, names[i], "x", &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_assert_nonnull (strstr (error->message, "blk-file"));
    }
  g_autoptr (GError) error = NULL;
  g_assert_false (vhost_property_set_add (set, "queue-size", "1", &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
}

/* Parses @line as a program would; NULL: refused. */
static GObject *
parse_line (const char *line, char **help, GError **error)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (test_device_get_type ());
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  GOptionGroup *group = g_option_group_new ("device", "Device:", "Device", set, NULL);
  g_auto (GStrv) argv = NULL;
  vhost_property_set_add_options (set, group, G_TYPE_OBJECT);
  g_option_context_set_main_group (context, group);
  g_option_context_set_help_enabled (context, FALSE);
  if (help != NULL)
    *help = g_option_context_get_help (context, TRUE, NULL);
  g_assert_true (g_shell_parse_argv (line, NULL, &argv, NULL));
  if (!g_option_context_parse_strv (context, &argv, error))
    return NULL;
  g_assert_cmpuint (g_strv_length (argv), ==, 1);
  return vhost_property_set_build (set);
}

static gboolean
read_boolean (const char *line, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GObject) object = parse_line (line, NULL, &error);
  gboolean value;
  g_assert_no_error (error);
  g_object_get (object, name, &value, NULL);
  return value;
}

static void
test_options_set_properties (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GObject) object = parse_line (
      "x --blk-file=/\xc3\xa4 --size 64M --cache=write-through --num-queues=3", NULL, &error);
  g_autofree char *file = NULL;
  guint64 size;
  TestCache cache;
  guint num_queues;
  g_assert_no_error (error);
  g_object_get (object, "blk-file", &file, "size", &size, "cache", &cache, "num-queues",
                &num_queues, NULL);
  g_assert_cmpstr (file, ==, "/\xc3\xa4");
  g_assert_cmpuint (size, ==, 64 << 20);
  g_assert_cmpint (cache, ==, TEST_CACHE_WRITE_THROUGH);
  g_assert_cmpuint (num_queues, ==, 3);
}

static void
test_boolean_options_have_three_forms (void)
{
  g_assert_true (read_boolean ("x --read-only", "read-only"));
  g_assert_true (read_boolean ("x --read-only --grab", "read-only"));
  g_assert_true (read_boolean ("x --read-only=yes", "read-only"));
  g_assert_false (read_boolean ("x --read-only=false", "read-only"));
  g_assert_false (read_boolean ("x --read-only --no-read-only", "read-only"));
  g_assert_false (read_boolean ("x --no-grab", "grab"));
}

static void
test_bad_option_is_refused_with_the_reason (void)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (parse_line ("x --size=huge", NULL, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (parse_line ("x --state=1", NULL, &error));
  g_assert_error (error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION);
}

static void
test_help_is_made_of_blurbs (void)
{
  g_autofree char *help = NULL;
  g_autoptr (GObject) object = parse_line ("x", &help, NULL);
  g_assert_nonnull (object);
  g_assert_nonnull (strstr (help, "--queue-size=NUMBER"));
  g_assert_nonnull (strstr (help, "Entries (default: 256)"));
  g_assert_nonnull (strstr (help, "--cache=write-back|write-through"));
  g_assert_nonnull (strstr (help, "--read-only"));
  g_assert_nonnull (strstr (help, "--num-queues"));
  g_assert_null (strstr (help, "--peer"));
  g_assert_null (strstr (help, "--state"));
}

static void
test_help_has_what_was_set_before (void)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (test_device_get_type ());
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  GOptionGroup *group = g_option_group_new ("device", "Device:", "Device", set, NULL);
  g_assert_true (vhost_property_set_add (set, "queue-size", "64", NULL));
  vhost_property_set_add_options (set, group, G_TYPE_OBJECT);
  g_option_context_set_main_group (context, group);
  g_autofree char *help = g_option_context_get_help (context, TRUE, NULL);
  g_assert_nonnull (strstr (help, "Entries (default: 64)"));
}

static void
test_options_stop_at_a_class (void)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (test_device_get_type ());
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  GOptionGroup *group = g_option_group_new ("device", "Device:", "Device", set, NULL);
  vhost_property_set_add_options (set, group, test_base_get_type ());
  g_option_context_set_main_group (context, group);
  g_autofree char *help = g_option_context_get_help (context, TRUE, NULL);
  g_assert_nonnull (strstr (help, "--blk-file"));
  g_assert_null (strstr (help, "--num-queues"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/property/booleans-mean-what-they-say", test_booleans_mean_what_they_say);
  g_test_add_func ("/property/integers-take-suffixes-and-keep-their-range",
                   test_integers_take_suffixes_and_keep_their_range);
  g_test_add_func ("/property/other-types-are-read-whole", test_other_types_are_read_whole);
  g_test_add_func ("/property/enum-error-lists-what-is-right", test_enum_error_lists_what_is_right);
  g_test_add_func ("/property/bytes-that-are-no-text-are-refused",
                   test_bytes_that_are_no_text_are_refused);
  g_test_add_func ("/property/set-builds-with-construct-only-values",
                   test_set_builds_with_construct_only_values);
  g_test_add_func ("/property/set-refuses-what-it-cannot-set", test_set_refuses_what_it_cannot_set);
  g_test_add_func ("/property/options-set-properties", test_options_set_properties);
  g_test_add_func ("/property/boolean-options-have-three-forms",
                   test_boolean_options_have_three_forms);
  g_test_add_func ("/property/bad-option-is-refused-with-the-reason",
                   test_bad_option_is_refused_with_the_reason);
  g_test_add_func ("/property/help-is-made-of-blurbs", test_help_is_made_of_blurbs);
  g_test_add_func ("/property/help-has-what-was-set-before", test_help_has_what_was_set_before);
  g_test_add_func ("/property/options-stop-at-a-class", test_options_stop_at_a_class);
  return g_test_run ();
}
