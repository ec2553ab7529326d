/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GObject properties as D-Bus values. Must not parse anything itself: a number becomes text, and
 * vhost_property_parse () says whether it is one that the property takes. */
#include "config.h"

#include "vhost-property-variant-private.h"

#include "vhost-error.h"
#include "vhost-property-private.h"

GVariant *
vhost_property_to_variant (GParamSpec *pspec, const GValue *value)
{
  switch (G_TYPE_FUNDAMENTAL (pspec->value_type))
    {
    case G_TYPE_BOOLEAN:
      return g_variant_new_boolean (g_value_get_boolean (value));
    case G_TYPE_CHAR:
      return g_variant_new_int32 (g_value_get_schar (value));
    case G_TYPE_UCHAR:
      return g_variant_new_uint32 (g_value_get_uchar (value));
    case G_TYPE_INT:
      return g_variant_new_int32 (g_value_get_int (value));
    case G_TYPE_UINT:
      return g_variant_new_uint32 (g_value_get_uint (value));
    case G_TYPE_LONG:
      return g_variant_new_int64 (g_value_get_long (value));
    case G_TYPE_ULONG:
      return g_variant_new_uint64 (g_value_get_ulong (value));
    case G_TYPE_INT64:
      return g_variant_new_int64 (g_value_get_int64 (value));
    case G_TYPE_UINT64:
      return g_variant_new_uint64 (g_value_get_uint64 (value));
    case G_TYPE_FLOAT:
      return g_variant_new_double ((double) g_value_get_float (value));
    case G_TYPE_DOUBLE:
      return g_variant_new_double (g_value_get_double (value));
    case G_TYPE_STRING:
      {
        const char *text = g_value_get_string (value);
        /* A script can put any bytes there; the bus takes UTF-8 only. */
        return g_variant_new_take_string (text != NULL ? g_utf8_make_valid (text, -1)
                                                       : g_strdup (""));
      }
    case G_TYPE_ENUM:
    case G_TYPE_FLAGS:
      return g_variant_new_take_string (vhost_property_format (pspec, value));
    case G_TYPE_BOXED:
      if (pspec->value_type == G_TYPE_STRV)
        {
          const char *const *words = g_value_get_boxed (value);
          GVariantBuilder list;
          g_variant_builder_init (&list, G_VARIANT_TYPE_STRING_ARRAY);
          for (guint i = 0; words != NULL && words[i] != NULL; i++)
            g_variant_builder_add_value (
                &list, g_variant_new_take_string (g_utf8_make_valid (words[i], -1)));
          return g_variant_builder_end (&list);
        }
      return NULL;
    default:
      return NULL;
    }
}

/* What the command line would have said; NULL: nothing that it could say. */
static char *
to_text (GVariant *variant)
{
  char number[G_ASCII_DTOSTR_BUF_SIZE];
  switch (g_variant_classify (variant))
    {
    case G_VARIANT_CLASS_BOOLEAN:
      return g_strdup (g_variant_get_boolean (variant) ? "yes" : "no");
    case G_VARIANT_CLASS_BYTE:
      return g_strdup_printf ("%u", g_variant_get_byte (variant));
    case G_VARIANT_CLASS_INT16:
      return g_strdup_printf ("%d", g_variant_get_int16 (variant));
    case G_VARIANT_CLASS_UINT16:
      return g_strdup_printf ("%u", g_variant_get_uint16 (variant));
    case G_VARIANT_CLASS_INT32:
      return g_strdup_printf ("%d", g_variant_get_int32 (variant));
    case G_VARIANT_CLASS_UINT32:
      return g_strdup_printf ("%u", g_variant_get_uint32 (variant));
    case G_VARIANT_CLASS_INT64:
      return g_strdup_printf ("%" G_GINT64_FORMAT, g_variant_get_int64 (variant));
    case G_VARIANT_CLASS_UINT64:
      return g_strdup_printf ("%" G_GUINT64_FORMAT, g_variant_get_uint64 (variant));
    case G_VARIANT_CLASS_DOUBLE:
      return g_strdup (g_ascii_dtostr (number, sizeof number, g_variant_get_double (variant)));
    case G_VARIANT_CLASS_STRING:
      return g_variant_dup_string (variant, NULL);
    default:
      return NULL;
    }
}

gboolean
vhost_property_from_variant (GParamSpec *pspec, GVariant *variant, GValue *value, GError **error)
{
  if (pspec->value_type == G_TYPE_STRV
      && g_variant_is_of_type (variant, G_VARIANT_TYPE_STRING_ARRAY))
    {
      g_value_init (value, G_TYPE_STRV);
      g_value_take_boxed (value, g_variant_dup_strv (variant, NULL));
      return TRUE;
    }
  g_autofree char *text = to_text (variant);
  /* A number for a name would be a mistake rather than a name. */
  if (text == NULL
      || ((pspec->value_type == G_TYPE_STRING || pspec->value_type == G_TYPE_STRV)
          && !g_variant_is_of_type (variant, G_VARIANT_TYPE_STRING)))
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%s cannot be a value of D-Bus type '%s': give %s, or a string as on the command "
          "line",
          pspec->name, g_variant_get_type_string (variant), g_type_name (pspec->value_type));
      return FALSE;
    }
  return vhost_property_parse (pspec, text, value, error);
}
