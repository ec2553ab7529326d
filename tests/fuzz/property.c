/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: text to property values. What is accepted is within the property's range and comes
 * out of its own text again; what is refused leaves no value and says why. Must not need any class
 * of the library.
 *
 * The input: a byte that says which property, or how the text is to be taken, then the text. */
#include "vhost-property-private.h"

#include "vhost-error.h"

#include <string.h>

#define N_PROPERTIES 24

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* ---- A class with a property of every kind ---- */

static GParamSpec *properties[N_PROPERTIES + 1];

#define FUZZ_TYPE_BASE (fuzz_base_get_type ())
G_DECLARE_DERIVABLE_TYPE (FuzzBase, fuzz_base, FUZZ, BASE, GObject)
struct _FuzzBaseClass
{
  GObjectClass parent_class;
};
G_DEFINE_TYPE (FuzzBase, fuzz_base, G_TYPE_OBJECT)

#define FUZZ_TYPE_THING (fuzz_thing_get_type ())
G_DECLARE_FINAL_TYPE (FuzzThing, fuzz_thing, FUZZ, THING, FuzzBase)
struct _FuzzThing
{
  FuzzBase parent_instance;
};
G_DEFINE_FINAL_TYPE (FuzzThing, fuzz_thing, FUZZ_TYPE_BASE)

static GType
fuzz_word_get_type (void)
{
  static const GEnumValue values[] = {
    { -5, "FUZZ_LESS", "less" },
    { 0, "FUZZ_NOTHING", "nothing" },
    { 7, "FUZZ_MORE", "more-of-it" },
    { 0, NULL, NULL },
  };
  static GType type;

  if (type == 0)
    type = g_enum_register_static ("FuzzWord", values);
  return type;
}

static GType
fuzz_bits_get_type (void)
{
  /* Some share bits, and one bit has no name of its own. */
  static const GFlagsValue values[] = {
    { 0, "FUZZ_NONE", "none" }, { 2, "FUZZ_B", "b" },
    { 3, "FUZZ_AB", "ab" },     { 0x80000000, "FUZZ_HIGH", "high" },
    { 12, "FUZZ_CD", "cd" },    { 6, "FUZZ_BC", "bc" },
    { 0, NULL, NULL },
  };
  static GType type;

  if (type == 0)
    type = g_flags_register_static ("FuzzBits", values);
  return type;
}

/* Values are of no interest here, only that they can be set. */
static void
fuzz_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
}

static void
fuzz_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
}

static void
fuzz_base_class_init (FuzzBaseClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->set_property = fuzz_set_property;
  object_class->get_property = fuzz_get_property;
  g_object_class_install_property (object_class, 1,
                                   g_param_spec_uint ("overridden", NULL, "Of the base", 3, 70000,
                                                      512,
                                                      G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS));
}

static void
fuzz_base_init (FuzzBase *self)
{
}

static void
fuzz_thing_class_init (FuzzThingClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags rw = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
  GParamSpec *name;
  guint n = 1;

  object_class->set_property = fuzz_set_property;
  object_class->get_property = fuzz_get_property;
  /* A name with a rule for its characters. */
  name = g_param_spec_string ("name", NULL, "Name", "x", rw);
  G_PARAM_SPEC_STRING (name)->cset_first = g_strdup (G_CSET_a_2_z);
  G_PARAM_SPEC_STRING (name)->cset_nth = g_strdup (G_CSET_a_2_z G_CSET_DIGITS);

  properties[n++] = g_param_spec_boolean ("on", NULL, "Boolean", TRUE, rw);
  properties[n++] = g_param_spec_boolean ("no-on", NULL, "As a negation", FALSE, rw);
  properties[n++] = g_param_spec_char ("char", NULL, "Char", -128, 100, 0, rw);
  properties[n++] = g_param_spec_uchar ("uchar", NULL, "Unsigned char", 2, 255, 3, rw);
  properties[n++] = g_param_spec_int ("int", NULL, "Int", G_MININT, G_MAXINT, 0, rw);
  properties[n++] = g_param_spec_int ("small-int", NULL, "Int", -3, 1024, 0, rw);
  properties[n++] = g_param_spec_uint ("uint", NULL, "Unsigned int", 0, G_MAXUINT, 0, rw);
  properties[n++] = g_param_spec_long ("long", NULL, "Long", G_MINLONG, G_MAXLONG, 0, rw);
  properties[n++] = g_param_spec_ulong ("ulong", NULL, "Unsigned long", 0, G_MAXULONG, 0, rw);
  properties[n++] = g_param_spec_int64 ("int64", NULL, "Int64", G_MININT64, G_MAXINT64, 0, rw);
  properties[n++] = g_param_spec_uint64 ("uint64", NULL, "Uint64", 0, G_MAXUINT64, 0, rw);
  properties[n++] = g_param_spec_uint64 ("size", NULL, "Size", 1024, 1u << 31, 4096,
                                         rw | G_PARAM_CONSTRUCT_ONLY);
  properties[n++] = g_param_spec_float ("float", NULL, "Float", -G_MAXFLOAT, G_MAXFLOAT, 0, rw);
  properties[n++] = g_param_spec_float ("share", NULL, "Float", 0, 1, 0.5f, rw);
  properties[n++]
      = g_param_spec_double ("double", NULL, "Double", -G_MAXDOUBLE, G_MAXDOUBLE, 0, rw);
  properties[n++] = g_param_spec_enum ("word", NULL, "Enum", fuzz_word_get_type (), 0, rw);
  properties[n++] = g_param_spec_flags ("bits", NULL, "Flags", fuzz_bits_get_type (), 0, rw);
  properties[n++] = g_param_spec_string ("text", NULL, "Text", NULL, rw);
  properties[n++] = name;
  properties[n++] = g_param_spec_boxed ("list", NULL, "Texts", G_TYPE_STRV, rw);
  properties[n++] = g_param_spec_unichar ("letter", NULL, "No text for it", 'a', rw);
  properties[n++] = g_param_spec_object ("object", NULL, "No text for it", G_TYPE_OBJECT, rw);
  properties[n++] = g_param_spec_int ("seen", NULL, "Cannot be set", 0, 9, 0,
                                      G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  g_assert_cmpuint (n, ==, N_PROPERTIES);
  g_object_class_install_properties (object_class, n, properties);
  g_object_class_override_property (object_class, n, "overridden");
  properties[n] = g_object_class_find_property (object_class, "overridden");
}

static void
fuzz_thing_init (FuzzThing *self)
{
}

/* ---- What is tried ---- */

static void
check_error (gboolean ok, GError *error)
{
  g_assert_true (ok == (error == NULL));
  /* GOption's own errors repeat an unknown argument as it came. */
  if (error != NULL && error->domain == VHOST_ERROR)
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
}

static gboolean
is_equal (GParamSpec *pspec, const GValue *a, const GValue *b)
{
  /* GLib compares boxed values by their address, and takes close numbers for the same one. */
  if (G_VALUE_HOLDS (a, G_TYPE_STRV))
    return g_strv_equal (g_value_get_boxed (a), g_value_get_boxed (b));
  if (G_VALUE_HOLDS_FLOAT (a))
    return g_value_get_float (a) == g_value_get_float (b);
  if (G_VALUE_HOLDS_DOUBLE (a))
    return g_value_get_double (a) == g_value_get_double (b);
  return g_param_values_cmp (pspec, a, b) == 0;
}

static void
try_value (GParamSpec *pspec, const char *text)
{
  g_auto (GValue) value = G_VALUE_INIT, again = G_VALUE_INIT;
  g_autoptr (GError) error = NULL;
  g_autofree char *formatted = NULL;
  g_autofree char *formatted_again = NULL;
  gboolean ok = vhost_property_parse (pspec, text, &value, &error);

  check_error (ok, error);
  g_assert_true (ok == (G_VALUE_TYPE (&value) != 0));
  if (!ok)
    return;
  g_assert_true (G_VALUE_HOLDS (&value, pspec->value_type));
  g_assert_false (g_param_value_validate (pspec, &value));

  formatted = vhost_property_format (pspec, &value);
  if (!vhost_property_parse (pspec, formatted, &again, &error))
    g_error ("\"%s\", from \"%s\": %s", formatted, text, error->message);
  g_assert_true (is_equal (pspec, &value, &again));
  formatted_again = vhost_property_format (pspec, &again);
  g_assert_cmpstr (formatted, ==, formatted_again);
}

/* Lines of NAME=TEXT, as of a device file. */
static void
try_settings (char *text)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (FUZZ_TYPE_THING);
  g_auto (GStrv) lines = g_strsplit (text, "\n", 16);
  g_autoptr (GObject) object = NULL;

  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_autoptr (GError) error = NULL;
      char *equals = strchr (lines[i], '=');
      gboolean ok;

      /* Whoever reads the lines has looked that they are text; the values he passes on as they are.
       */
      if (equals == NULL || !g_utf8_validate (lines[i], equals - lines[i], NULL))
        continue;
      *equals = '\0';
      ok = vhost_property_set_add (set, lines[i], equals + 1, &error);
      check_error (ok, error);
    }
  object = vhost_property_set_build (set);
  g_assert_true (FUZZ_IS_THING (object));
}

/* Lines as the arguments of a program. */
static void
try_options (char *text)
{
  g_autoptr (VhostPropertySet) set = vhost_property_set_new (FUZZ_TYPE_THING);
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  GOptionGroup *group = g_option_group_new ("fuzz", "", "", set, NULL);
  g_autofree char *line = g_strconcat ("program\n", text, NULL);
  g_auto (GStrv) args = g_strsplit (line, "\n", 16);
  g_autoptr (GError) error = NULL;
  g_autoptr (GObject) object = NULL;
  gboolean ok;

  vhost_property_set_add_options (set, group, G_TYPE_INVALID);
  g_option_context_set_main_group (context, group);
  g_option_context_set_help_enabled (context, FALSE);
  ok = g_option_context_parse_strv (context, &args, &error);
  check_error (ok, error);
  object = vhost_property_set_build (set);
  g_assert_true (FUZZ_IS_THING (object));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static GTypeClass *klass;
  g_autofree char *text = NULL;

  if (klass == NULL)
    {
      g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING | G_LOG_FATAL_MASK);
      klass = g_type_class_ref (FUZZ_TYPE_THING);
    }
  if (size < 1)
    return 0;
  text = g_strndup ((const char *) data + 1, size - 1);
  if (data[0] == 0xff)
    try_settings (text);
  else if (data[0] == 0xfe)
    try_options (text);
  else
    try_value (properties[1 + data[0] % N_PROPERTIES], text);
  return 0;
}
