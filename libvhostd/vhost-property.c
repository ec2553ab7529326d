/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GObject properties as a program's interface: text to value and back, options to properties. The
 * only parser for the command line, device files and D-Bus strings, so that all of them mean the
 * same; must not know any class. */
#include "config.h"

#include "vhost-property-private.h"

#include "vhost-error.h"

#include <math.h>
#include <string.h>

struct _VhostPropertySet
{
  GObjectClass *klass;       /* (owned) */
  GHashTable *values;        /* pspec name (unowned) -> GValue (owned) */
  GPtrArray *option_strings; /* (owned): what the option entries point to */
};

/* Says what would have been right. */
static gboolean
refuse (GParamSpec *pspec, const char *text, GError **error, const char *expected)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "%s cannot be \"%s\": expected %s",
               pspec->name, text, expected);
  return FALSE;
}

static gboolean
parse_boolean (const char *text, gboolean *value)
{
  static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };
  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (g_ascii_strcasecmp (text, words[i]) == 0)
      {
        *value = i % 2;
        return TRUE;
      }
  return FALSE;
}

/* Decimal or 0x, an optional minus sign, an optional suffix. GLib's own parsers know no suffix and
 * strtoull () takes
 * "-1" for the largest number. */
static gboolean
parse_magnitude (const char *text, gboolean *negative, guint64 *magnitude)
{
  *negative = *text == '-';
  if (*negative)
    text++;
  guint base = 10;
  if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
    {
      base = 16;
      text += 2;
    }
  if (base == 16 ? !g_ascii_isxdigit (*text) : !g_ascii_isdigit (*text))
    return FALSE;
  guint64 n = 0;
  for (; base == 16 ? g_ascii_isxdigit (*text) : g_ascii_isdigit (*text); text++)
    if (__builtin_mul_overflow (n, (guint64) base, &n)
        || __builtin_add_overflow (n, (guint64) g_ascii_xdigit_value (*text), &n))
      return FALSE;
  if (*text != '\0')
    {
      static const char suffixes[] = "KMGT";
      const char *suffix = strchr (suffixes, g_ascii_toupper (*text));
      if (suffix == NULL || text[1] != '\0')
        return FALSE;
      guint64 unit = G_GUINT64_CONSTANT (1) << (10 * (suffix - suffixes + 1));
      if (__builtin_mul_overflow (n, unit, &n))
        return FALSE;
    }
  *magnitude = n;
  return TRUE;
}

static gboolean
parse_signed (GParamSpec *pspec, const char *text, gint64 min, gint64 max, gint64 *value,
              GError **error)
{
  gboolean negative;
  guint64 magnitude;
  gboolean valid = parse_magnitude (text, &negative, &magnitude)
                   && magnitude <= (guint64) G_MAXINT64 + (negative ? 1 : 0);
  if (valid)
    {
      /* Negated as unsigned: -G_MININT64 has no signed form. */
      *value = (gint64) (negative ? -magnitude : magnitude);
      if (*value >= min && *value <= max)
        return TRUE;
    }
  g_autofree char *expected = g_strdup_printf (
      "a number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT ", with K, M, G or T if you like",
      min, max);
  return refuse (pspec, text, error, expected);
}

static gboolean
parse_unsigned (GParamSpec *pspec, const char *text, guint64 min, guint64 max, guint64 *value,
                GError **error)
{
  gboolean negative;
  if (parse_magnitude (text, &negative, value) && (!negative || *value == 0) && *value >= min
      && *value <= max)
    return TRUE;
  g_autofree char *expected = g_strdup_printf (
      "a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT ", with K, M, G or T if you like",
      min, max);
  return refuse (pspec, text, error, expected);
}

static gboolean
parse_double (GParamSpec *pspec, const char *text, double min, double max, double *value,
              GError **error)
{
  char *end;
  *value = g_ascii_strtod (text, &end);
  if (end != text && *end == '\0' && !isnan (*value) && *value >= min && *value <= max)
    return TRUE;
  g_autofree char *expected = g_strdup_printf ("a number from %g to %g", min, max);
  return refuse (pspec, text, error, expected);
}

/* "a|b|c": for errors and for help. */
static char *
list_enum_nicks (GEnumClass *klass, const char *separator)
{
  GString *list = g_string_new (NULL);
  for (guint i = 0; i < klass->n_values; i++)
    g_string_append_printf (list, "%s%s", i > 0 ? separator : "", klass->values[i].value_nick);
  return g_string_free (list, FALSE);
}

static char *
list_flags_nicks (GFlagsClass *klass, const char *separator)
{
  GString *list = g_string_new (NULL);
  for (guint i = 0; i < klass->n_values; i++)
    g_string_append_printf (list, "%s%s", i > 0 ? separator : "", klass->values[i].value_nick);
  return g_string_free (list, FALSE);
}

static gboolean
parse_enum (GParamSpec *pspec, const char *text, GValue *value, GError **error)
{
  GEnumClass *klass = G_PARAM_SPEC_ENUM (pspec)->enum_class;
  const GEnumValue *found = g_enum_get_value_by_nick (klass, text);
  if (found != NULL)
    {
      g_value_set_enum (value, found->value);
      return TRUE;
    }
  g_autofree char *nicks = list_enum_nicks (klass, ", ");
  g_autofree char *expected = g_strdup_printf ("one of %s", nicks);
  return refuse (pspec, text, error, expected);
}

static gboolean
parse_flags (GParamSpec *pspec, const char *text, GValue *value, GError **error)
{
  GFlagsClass *klass = G_PARAM_SPEC_FLAGS (pspec)->flags_class;
  g_auto (GStrv) words = g_strsplit (text, ",", -1);
  guint flags = 0;
  for (guint i = 0; words[i] != NULL; i++)
    {
      const GFlagsValue *found = g_flags_get_value_by_nick (klass, g_strstrip (words[i]));
      if (found == NULL)
        {
          g_autofree char *nicks = list_flags_nicks (klass, ", ");
          g_autofree char *expected = g_strdup_printf ("a comma-separated list of %s", nicks);
          return refuse (pspec, text, error, expected);
        }
      flags |= found->value;
    }
  g_value_set_flags (value, flags);
  return TRUE;
}

/* All widths of integer. The result is within the pspec's range, hence within the type's. */
static gboolean
parse_integer (GParamSpec *pspec, const char *text, GValue *value, GError **error)
{
  gint64 s = 0;
  guint64 u = 0;
#define PARSE(TYPE, Spec, n, sign, setter)                                                         \
  if (G_IS_PARAM_SPEC_##TYPE (pspec))                                                              \
    {                                                                                              \
      if (!parse_##sign (pspec, text, ((Spec *) pspec)->minimum, ((Spec *) pspec)->maximum, &n,    \
                         error))                                                                   \
        return FALSE;                                                                              \
      setter (value, n);                                                                           \
      return TRUE;                                                                                 \
    }
  PARSE (CHAR, GParamSpecChar, s, signed, g_value_set_schar)
  PARSE (INT, GParamSpecInt, s, signed, g_value_set_int)
  PARSE (LONG, GParamSpecLong, s, signed, g_value_set_long)
  PARSE (INT64, GParamSpecInt64, s, signed, g_value_set_int64)
  PARSE (UCHAR, GParamSpecUChar, u, unsigned, g_value_set_uchar)
  PARSE (UINT, GParamSpecUInt, u, unsigned, g_value_set_uint)
  PARSE (ULONG, GParamSpecULong, u, unsigned, g_value_set_ulong)
  PARSE (UINT64, GParamSpecUInt64, u, unsigned, g_value_set_uint64)
#undef PARSE
  return FALSE;
}

typedef enum
{
  KIND_NONE,
  KIND_BOOLEAN,
  KIND_INTEGER,
  KIND_DOUBLE,
  KIND_ENUM,
  KIND_FLAGS,
  KIND_STRING,
  KIND_STRV,
} PropertyKind;

static PropertyKind
get_kind (GParamSpec *pspec)
{
  switch (G_TYPE_FUNDAMENTAL (pspec->value_type))
    {
    case G_TYPE_BOOLEAN:
      return KIND_BOOLEAN;
    case G_TYPE_CHAR:
    case G_TYPE_UCHAR:
    case G_TYPE_INT:
    case G_TYPE_UINT:
    case G_TYPE_LONG:
    case G_TYPE_ULONG:
    case G_TYPE_INT64:
    case G_TYPE_UINT64:
      /* A unichar is a uint by its value, not by its pspec, and has no range to check. */
      return G_IS_PARAM_SPEC_UNICHAR (pspec) ? KIND_NONE : KIND_INTEGER;
    case G_TYPE_FLOAT:
    case G_TYPE_DOUBLE:
      return KIND_DOUBLE;
    case G_TYPE_ENUM:
      return KIND_ENUM;
    case G_TYPE_FLAGS:
      return KIND_FLAGS;
    case G_TYPE_STRING:
      return KIND_STRING;
    default:
      return pspec->value_type == G_TYPE_STRV ? KIND_STRV : KIND_NONE;
    }
}

/* A property that a class overrides carries no range of its own. */
static GParamSpec *
resolve (GParamSpec *pspec)
{
  GParamSpec *target = g_param_spec_get_redirect_target (pspec);
  return target != NULL ? target : pspec;
}

static gboolean
parse_value (GParamSpec *pspec, const char *text, GValue *value, GError **error)
{
  gboolean b;
  double d;
  switch (get_kind (pspec))
    {
    case KIND_BOOLEAN:
      if (!parse_boolean (text, &b))
        return refuse (pspec, text, error, "yes or no (or on, off, true, false, 1, 0)");
      g_value_set_boolean (value, b);
      return TRUE;
    case KIND_INTEGER:
      return parse_integer (pspec, text, value, error);
    case KIND_DOUBLE:
      if (G_IS_PARAM_SPEC_FLOAT (pspec))
        {
          const GParamSpecFloat *spec = G_PARAM_SPEC_FLOAT (pspec);
          if (!parse_double (pspec, text, spec->minimum, spec->maximum, &d, error))
            return FALSE;
          g_value_set_float (value, (float) d);
          return TRUE;
        }
      if (!parse_double (pspec, text, G_PARAM_SPEC_DOUBLE (pspec)->minimum,
                         G_PARAM_SPEC_DOUBLE (pspec)->maximum, &d, error))
        return FALSE;
      g_value_set_double (value, d);
      return TRUE;
    case KIND_ENUM:
      return parse_enum (pspec, text, value, error);
    case KIND_FLAGS:
      return parse_flags (pspec, text, value, error);
    case KIND_STRING:
      g_value_set_string (value, text);
      /* Only pspecs that allow certain characters change anything; a changed name is not what was
       * asked for. */
      if (g_param_value_validate (pspec, value))
        return refuse (pspec, text, error, "other characters");
      return TRUE;
    case KIND_STRV:
      g_value_take_boxed (value, g_strsplit (text, ",", -1));
      return TRUE;
    case KIND_NONE:
    default:
      return refuse (pspec, text, error,
                     "no text: a value of this type can be set by a program only");
    }
}

gboolean
vhost_property_parse (GParamSpec *pspec, const char *text, GValue *value, GError **error)
{
  pspec = resolve (pspec);
  g_value_init (value, pspec->value_type);
  /* Command lines may hold any bytes; properties of GObjects, and the bus, take UTF-8 only. */
  if (!g_utf8_validate (text, -1, NULL))
    {
      g_value_unset (value);
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "the value of %s is not valid UTF-8",
                   pspec->name);
      return FALSE;
    }
  if (parse_value (pspec, text, value, error))
    return TRUE;
  g_value_unset (value);
  return FALSE;
}

static char *
format_integer (const GValue *value)
{
  GValue wide = G_VALUE_INIT;
  /* GLib's transforms convert between all integer widths; the sign decides which is wide enough. */
  switch (G_VALUE_TYPE (value))
    {
    case G_TYPE_UCHAR:
      return g_strdup_printf ("%u", g_value_get_uchar (value));
    case G_TYPE_CHAR:
      return g_strdup_printf ("%d", g_value_get_schar (value));
    case G_TYPE_UINT:
    case G_TYPE_ULONG:
    case G_TYPE_UINT64:
      g_value_init (&wide, G_TYPE_UINT64);
      g_value_transform (value, &wide);
      return g_strdup_printf ("%" G_GUINT64_FORMAT, g_value_get_uint64 (&wide));
    default:
      g_value_init (&wide, G_TYPE_INT64);
      g_value_transform (value, &wide);
      return g_strdup_printf ("%" G_GINT64_FORMAT, g_value_get_int64 (&wide));
    }
}

static char *
format_flags (GParamSpec *pspec, guint flags)
{
  GFlagsClass *klass = G_PARAM_SPEC_FLAGS (pspec)->flags_class;
  GString *list = g_string_new (NULL);
  guint listed = 0;
  for (guint i = 0; i < klass->n_values; i++)
    {
      const GFlagsValue *value = &klass->values[i];
      /* Names may share bits: each that fits and adds one is needed, whatever went before. */
      if ((value->value & ~flags) != 0 || (value->value & ~listed) == 0)
        continue;
      g_string_append_printf (list, "%s%s", list->len > 0 ? "," : "", value->value_nick);
      listed |= value->value;
    }
  return g_string_free (list, FALSE);
}

char *
vhost_property_format (GParamSpec *pspec, const GValue *value)
{
  pspec = resolve (pspec);
  char buffer[G_ASCII_DTOSTR_BUF_SIZE];
  switch (get_kind (pspec))
    {
    case KIND_BOOLEAN:
      return g_strdup (g_value_get_boolean (value) ? "yes" : "no");
    case KIND_INTEGER:
      return format_integer (value);
    case KIND_DOUBLE:
      return g_strdup (g_ascii_dtostr (buffer, sizeof buffer,
                                       G_VALUE_HOLDS_FLOAT (value) ? g_value_get_float (value)
                                                                   : g_value_get_double (value)));
    case KIND_ENUM:
      {
        const GEnumValue *found
            = g_enum_get_value (G_PARAM_SPEC_ENUM (pspec)->enum_class, g_value_get_enum (value));
        return g_strdup (found != NULL ? found->value_nick : "");
      }
    case KIND_FLAGS:
      return format_flags (pspec, g_value_get_flags (value));
    case KIND_STRING:
      return g_strdup (g_value_get_string (value) != NULL ? g_value_get_string (value) : "");
    case KIND_STRV:
      {
        char **strv = g_value_get_boxed (value);
        return strv != NULL ? g_strjoinv (",", strv) : g_strdup ("");
      }
    case KIND_NONE:
    default:
      return g_strdup_value_contents (value);
    }
}

static void
free_value (gpointer data)
{
  g_value_unset (data);
  g_free (data);
}

VhostPropertySet *
vhost_property_set_new (GType type)
{
  VhostPropertySet *self = g_new0 (VhostPropertySet, 1);
  self->klass = g_type_class_ref (type);
  self->values = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, free_value);
  self->option_strings = g_ptr_array_new_with_free_func (g_free);
  return self;
}

void
vhost_property_set_free (VhostPropertySet *self)
{
  if (self == NULL)
    return;
  g_hash_table_unref (self->values);
  g_ptr_array_unref (self->option_strings);
  g_type_class_unref (self->klass);
  g_free (self);
}

static gboolean
is_settable (GParamSpec *pspec)
{
  return (pspec->flags & G_PARAM_WRITABLE) != 0 && get_kind (resolve (pspec)) != KIND_NONE;
}

static char *
list_settable (GObjectClass *klass)
{
  guint n_pspecs;
  g_autofree GParamSpec **pspecs = g_object_class_list_properties (klass, &n_pspecs);
  GString *list = g_string_new (NULL);
  for (guint i = 0; i < n_pspecs; i++)
    if (is_settable (pspecs[i]))
      g_string_append_printf (list, "%s%s", list->len > 0 ? ", " : "", pspecs[i]->name);
  return g_string_free (list, FALSE);
}

gboolean
vhost_property_set_add (VhostPropertySet *self, const char *name, const char *text, GError **error)
{
  GParamSpec *pspec = g_object_class_find_property (self->klass, name);
  if (pspec == NULL || !is_settable (pspec))
    {
      g_autofree char *names = list_settable (self->klass);
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   pspec == NULL ? "%s has no property \"%s\": it has %s"
                                 : "%s does not let its property \"%s\" be set: it has %s",
                   G_OBJECT_CLASS_NAME (self->klass), name, names[0] != '\0' ? names : "none");
      return FALSE;
    }
  g_autofree GValue *value = g_new0 (GValue, 1);
  if (!vhost_property_parse (pspec, text, value, error))
    return FALSE;
  g_hash_table_replace (self->values, (gpointer) pspec->name, g_steal_pointer (&value));
  return TRUE;
}

void
vhost_property_set_add_object (VhostPropertySet *self, const char *name, gpointer object)
{
  GParamSpec *pspec = g_object_class_find_property (self->klass, name);
  GValue *value = g_new0 (GValue, 1);
  g_value_init (value, pspec->value_type);
  g_value_set_object (value, object);
  g_hash_table_replace (self->values, (gpointer) pspec->name, value);
}

/* Called by GOption on the thread that parses. */
static gboolean
option_parsed (const char *option_name, const char *text, gpointer data, GError **error)
{
  const char *name = option_name + strspn (option_name, "-");
  return vhost_property_set_add (data, name, text != NULL ? text : "yes", error);
}

/* Called by GOption on the thread that parses. */
static gboolean
negated_option_parsed (const char *option_name, const char *text, gpointer data, GError **error)
{
  const char *name = option_name + strspn (option_name, "-");
  return vhost_property_set_add (data, name + strlen ("no-"), "no", error);
}

/* The option entries point to strings, which must stay. */
static const char *
keep (VhostPropertySet *self, char *string)
{
  g_ptr_array_add (self->option_strings, string);
  return string;
}

static char *
describe_argument (GParamSpec *pspec)
{
  switch (get_kind (pspec))
    {
    case KIND_BOOLEAN:
      return g_strdup ("yes|no");
    case KIND_INTEGER:
    case KIND_DOUBLE:
      return g_strdup ("NUMBER");
    case KIND_ENUM:
      return list_enum_nicks (G_PARAM_SPEC_ENUM (pspec)->enum_class, "|");
    case KIND_FLAGS:
      {
        g_autofree char *nicks = list_flags_nicks (G_PARAM_SPEC_FLAGS (pspec)->flags_class, "|");
        return g_strconcat (nicks, ",...", NULL);
      }
    case KIND_STRV:
      return g_strdup ("TEXT,...");
    case KIND_STRING:
    case KIND_NONE:
    default:
      return g_strdup ("TEXT");
    }
}

static char *
describe_property (VhostPropertySet *self, GParamSpec *pspec)
{
  /* What was set before is what stays when the option is not given. */
  const GValue *preset = g_hash_table_lookup (self->values, pspec->name);
  const char *blurb = g_param_spec_get_blurb (pspec);
  if (blurb == NULL)
    blurb = "";
  GParamSpec *target = resolve (pspec);
  g_autofree char *text = vhost_property_format (
      target, preset != NULL ? preset : g_param_spec_get_default_value (target));
  if (text[0] == '\0' || strcmp (text, "no") == 0)
    return g_strdup (blurb);
  return g_strdup_printf ("%s (default: %s)", blurb, text);
}

void
vhost_property_set_add_options (VhostPropertySet *self, GOptionGroup *group, GType stop)
{
  guint n_pspecs;
  g_autofree GParamSpec **pspecs = g_object_class_list_properties (self->klass, &n_pspecs);
  for (guint i = 0; i < n_pspecs; i++)
    {
      GParamSpec *pspec = pspecs[i];
      /* @stop and what it inherits from are not ours to offer. */
      if (!is_settable (pspec) || (stop != G_TYPE_INVALID && g_type_is_a (stop, pspec->owner_type)))
        continue;

      gboolean is_boolean = get_kind (resolve (pspec)) == KIND_BOOLEAN;
      GOptionEntry entries[] = {
        {
            .long_name = pspec->name,
            /* FILENAME: the bytes as they are. GOption would convert them from the locale's
             * character set, which is ASCII for a system service. */
            .flags = G_OPTION_FLAG_FILENAME | (is_boolean ? G_OPTION_FLAG_OPTIONAL_ARG : 0),
            .arg = G_OPTION_ARG_CALLBACK,
            .arg_data = (gpointer) option_parsed,
            .description = keep (self, describe_property (self, pspec)),
            .arg_description = keep (self, describe_argument (resolve (pspec))),
        },
        { 0 },
      };
      g_option_group_add_entries (group, entries);

      if (!is_boolean)
        continue;
      const char *negated = keep (self, g_strconcat ("no-", pspec->name, NULL));
      /* A class may have a property of that very name. */
      if (g_object_class_find_property (self->klass, negated) != NULL)
        continue;
      entries[0].long_name = negated;
      entries[0].flags = G_OPTION_FLAG_NO_ARG | G_OPTION_FLAG_HIDDEN;
      entries[0].arg_data = (gpointer) negated_option_parsed;
      entries[0].arg_description = NULL;
      g_option_group_add_entries (group, entries);
    }
}

GObject *
vhost_property_set_build (VhostPropertySet *self)
{
  guint n = g_hash_table_size (self->values);
  g_autofree const char **names = g_new0 (const char *, n + 1);
  g_autofree GValue *values = g_new0 (GValue, n + 1); /* shallow: the set keeps the contents */
  GHashTableIter iter;
  gpointer name, value;
  guint i = 0;
  g_hash_table_iter_init (&iter, self->values);
  while (g_hash_table_iter_next (&iter, &name, &value))
    {
      names[i] = name;
      values[i++] = *(const GValue *) value;
    }
  GObject *object
      = g_object_new_with_properties (G_OBJECT_CLASS_TYPE (self->klass), n, names, values);
  return g_object_is_floating (object) ? g_object_ref_sink (object) : object;
}
