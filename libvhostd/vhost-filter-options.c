/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filters on a command line: --filter=NAME and the options of each. Must not know what any filter
 * can be told; that is its GObject properties.
 *
 * How it works: which options there are depends on the filters that are named, so these are looked
 * for before the command line is parsed. */
#include "config.h"

#include "vhost-filter-private.h"

#include "vhost-error.h"
#include "vhost-property-private.h"

#define OPTION "--filter"

struct _VhostFilterOptions
{
  GPtrArray *names; /* (owned): of char*, as given */
  GPtrArray *sets;  /* (owned): of VhostPropertySet, in the same order */
};

/* Whether the option --@name is that of a property of @type which programs offer. */
static gboolean
has_option (GType type, const char *name)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  GParamSpec *pspec = g_object_class_find_property ((GObjectClass *) klass, name);
  return pspec != NULL && (pspec->flags & G_PARAM_WRITABLE) != 0;
}

/* A name in @type's own options that the back-end has, too; NULL: none. */
static const char *
find_clash (GType type, GType backend_type)
{
  guint n;
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  g_autofree GParamSpec **pspecs = g_object_class_list_properties ((GObjectClass *) klass, &n);
  for (guint i = 0; i < n; i++)
    if (!g_type_is_a (VHOST_TYPE_FILTER, pspecs[i]->owner_type)
        && has_option (backend_type, pspecs[i]->name))
      return pspecs[i]->name;
  return NULL;
}

static gboolean
add (VhostFilterOptions *self, const char *name, GType backend_type, GError **error)
{
  GType type = vhost_filter_find_type (name);
  if (type == G_TYPE_INVALID)
    {
      g_autofree char *names = vhost_filter_list_names ();
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no filter \"%s\": there are %s", name, names);
      return FALSE;
    }
  if (self->names->len == VHOST_FILTER_LAYERS_MAX)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "there are more than %d filters",
                   VHOST_FILTER_LAYERS_MAX);
      return FALSE;
    }
  const char *clash = find_clash (type, backend_type);
  for (guint i = 0; i < self->names->len && clash == NULL; i++)
    {
      const char *other = g_ptr_array_index (self->names, i);
      if (strcmp (other, name) == 0)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       OPTION "=%s is there twice: both would have the same options; give it once",
                       name);
          return FALSE;
        }
      clash = find_clash (type, vhost_filter_find_type (other));
    }
  if (clash != NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the filter \"%s\" cannot be used here: its option --%s is that of something "
                   "else, too",
                   name, clash);
      return FALSE;
    }
  g_ptr_array_add (self->names, g_strdup (name));
  g_ptr_array_add (self->sets, vhost_property_set_new (type));
  return TRUE;
}

VhostFilterOptions *
vhost_filter_options_new (GType backend_type, char **arguments, GError **error)
{
  VhostFilterOptions *self = g_new0 (VhostFilterOptions, 1);
  self->names = g_ptr_array_new_with_free_func (g_free);
  self->sets = g_ptr_array_new_with_free_func ((GDestroyNotify) vhost_property_set_free);
  for (guint i = 1; arguments[0] != NULL && arguments[i] != NULL; i++)
    {
      const char *name = NULL;
      if (strcmp (arguments[i], "--") == 0)
        break;
      if (g_str_has_prefix (arguments[i], OPTION "="))
        name = arguments[i] + strlen (OPTION "=");
      else if (strcmp (arguments[i], OPTION) == 0)
        name = arguments[++i]; /* without one the parser complains */
      if (name == NULL && arguments[i] == NULL)
        break;
      if (name != NULL && !add (self, name, backend_type, error))
        {
          vhost_filter_options_free (self);
          return NULL;
        }
    }
  return self;
}

void
vhost_filter_options_free (VhostFilterOptions *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->names);
  g_ptr_array_unref (self->sets);
  g_free (self);
}

void
vhost_filter_options_add_groups (VhostFilterOptions *self, GOptionContext *context)
{
  for (guint i = 0; i < self->sets->len; i++)
    {
      const char *name = g_ptr_array_index (self->names, i);
      VhostPropertySet *set = g_ptr_array_index (self->sets, i);
      g_autofree char *title = g_strdup_printf ("Options of the filter %s:", name);
      GOptionGroup *group = g_option_group_new (name, title, title, set, NULL);
      vhost_property_set_add_options (set, group, VHOST_TYPE_FILTER);
      g_option_context_add_group (context, group);
    }
}

gboolean
vhost_filter_options_check (VhostFilterOptions *self, char **names, GError **error)
{
  guint n = names != NULL ? g_strv_length (names) : 0;
  /* They differ where the value of another option looks like this one. */
  if (n == self->names->len)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "an option has \"" OPTION "\" for its value: write it as --option=VALUE");
  return FALSE;
}

VhostBackend *
vhost_filter_options_wrap (VhostFilterOptions *self, VhostBackend *backend)
{
  for (guint i = self->sets->len; i > 0; i--)
    {
      VhostPropertySet *set = g_ptr_array_index (self->sets, i - 1);
      vhost_property_set_add_object (set, "next", backend);
      g_object_unref (backend);
      backend = VHOST_BACKEND (vhost_property_set_build (set));
      vhost_property_set_add_object (set, "next", NULL);
    }
  return backend;
}
