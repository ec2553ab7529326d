/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device files: the options of a command line, written down. Must not know any option's meaning;
 * the parser of the command line has that.
 *
 * How it works: each line becomes the argument that it stands for. These go before the arguments of
 * the command line, so that what is said there wins. To name the line that is wrong, each argument
 * is parsed by itself first. */
#include "config.h"

#include "vhost-device-file-private.h"

#include "vhost-error.h"
#include "vhost-property-private.h"

#include <string.h>

#define OPTION "--config"
#define GROUP "Device"

typedef struct
{
  char *key;            /* (owned) */
  guint line;           /* 0: not found */
  GPtrArray *arguments; /* (owned): of char* */
} Entry;

struct _VhostDeviceFile
{
  char *path;         /* (owned) */
  GPtrArray *entries; /* (owned): of Entry, in the order of the file */
};

/* They exclude each other, so one on the command line stands for all of them. */
static const char *const places[] = { "socket-path", "fd", "run", "client" };
/* They are about one run of the program, not about the device. */
static const char *const not_in_files[]
    = { "config", "fd", "help", "print-capabilities", "version" };
/* Options without a value. */
static const char *const switches[] = { "client", "strict" };

static gboolean
is_one_of (const char *key, const char *const *keys, guint n)
{
  for (guint i = 0; i < n; i++)
    if (strcmp (keys[i], key) == 0)
      return TRUE;
  return FALSE;
}
#define IS_ONE_OF(key, keys) is_one_of (key, keys, G_N_ELEMENTS (keys))

static void
free_entry (gpointer data)
{
  Entry *entry = data;
  g_free (entry->key);
  g_ptr_array_unref (entry->arguments);
  g_free (entry);
}

/* @argument is --@name or --@name=VALUE. */
static gboolean
is_option (const char *argument, const char *name)
{
  gsize length = strlen (name);
  return strncmp (argument, "--", 2) == 0 && strncmp (argument + 2, name, length) == 0
         && (argument[2 + length] == '=' || argument[2 + length] == '\0');
}

gboolean
vhost_device_file_find (char **arguments, char **path, GError **error)
{
  *path = NULL;
  for (guint i = 1; arguments[0] != NULL && arguments[i] != NULL; i++)
    {
      if (strcmp (arguments[i], "--") == 0)
        break;
      if (!is_option (arguments[i], OPTION + 2))
        continue;
      const char *value = strchr (arguments[i], '=');
      value = value != NULL ? value + 1 : arguments[++i];
      /* Without one the parser complains. */
      if (value == NULL)
        break;
      if (*path != NULL)
        {
          g_clear_pointer (path, g_free);
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       OPTION " is there twice: a device has one file");
          return FALSE;
        }
      *path = g_strdup (value);
    }
  return TRUE;
}

/* Which line of @text, from 1, begins with @word, blanks aside, followed by @end; 0: none. The last
 * one, since that is the one which counts. */
static guint
find_line (const char *text, const char *word, char end)
{
  guint found = 0, number = 0;
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      const char *rest = lines[i] + strspn (lines[i], " \t");
      number++;
      if (!g_str_has_prefix (rest, word))
        continue;
      rest += strlen (word);
      rest += strspn (rest, " \t");
      if (*rest == end)
        found = number;
    }
  return found;
}

/* "FILE:LINE: ", as far as the line is known. */
static char *
make_prefix (const char *path, guint line)
{
  return line > 0 ? g_strdup_printf ("%s:%u: ", path, line) : g_strdup_printf ("%s: ", path);
}

static gboolean
check_groups (GKeyFile *file, const char *path, const char *text, GError **error)
{
  g_auto (GStrv) groups = g_key_file_get_groups (file, NULL);
  for (guint i = 0; groups[i] != NULL; i++)
    {
      if (strcmp (groups[i], GROUP) == 0)
        continue;
      g_autofree char *heading = g_strdup_printf ("[%s", groups[i]);
      g_autofree char *prefix = make_prefix (path, find_line (text, heading, ']'));
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%sthere is no group [%s]: all keys go below [" GROUP "]", prefix, groups[i]);
      return FALSE;
    }
  if (groups[0] != NULL)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "%s: there is no group [" GROUP "]: it has to begin with a line that says so", path);
  return FALSE;
}

/* Whether a switch is on; -1: @text is wrong. */
static int
read_switch (const char *key, const char *text, GError **error)
{
  g_autoptr (GParamSpec) pspec
      = g_param_spec_ref_sink (g_param_spec_boolean (key, NULL, NULL, FALSE, G_PARAM_READWRITE));
  g_auto (GValue) value = G_VALUE_INIT;
  return vhost_property_parse (pspec, text, &value, error) ? g_value_get_boolean (&value) : -1;
}

/* The arguments that "@key=@value" stands for, into @entry. */
static gboolean
translate (Entry *entry, const char *value, const char *device, GError **error)
{
  const char *key = entry->key;
  int on;
  if (strcmp (key, "type") == 0)
    {
      if (strcmp (value, device) == 0)
        return TRUE;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the file is for a device \"%s\", but this one is \"%s\"", value, device);
      return FALSE;
    }
  if (IS_ONE_OF (key, not_in_files))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "%s is for the command line only", key);
      return FALSE;
    }
  if (strcmp (key, "filter") == 0)
    {
      g_auto (GStrv) names = g_strsplit (value, ",", -1);
      for (guint i = 0; names[i] != NULL; i++)
        g_ptr_array_add (entry->arguments, g_strdup_printf ("--filter=%s", g_strstrip (names[i])));
      return TRUE;
    }
  if (!IS_ONE_OF (key, switches))
    {
      g_ptr_array_add (entry->arguments, g_strdup_printf ("--%s=%s", key, value));
      return TRUE;
    }
  on = read_switch (key, value, error);
  if (on == 1)
    g_ptr_array_add (entry->arguments, g_strdup_printf ("--%s", key));
  return on != -1;
}

static gboolean
read_entries (VhostDeviceFile *self, GKeyFile *file, const char *text, const char *device,
              GError **error)
{
  g_auto (GStrv) keys = g_key_file_get_keys (file, GROUP, NULL, NULL);
  for (guint i = 0; keys[i] != NULL; i++)
    {
      Entry *entry = g_new0 (Entry, 1);
      entry->key = g_strdup (keys[i]);
      entry->line = find_line (text, keys[i], '=');
      entry->arguments = g_ptr_array_new_with_free_func (g_free);
      g_ptr_array_add (self->entries, entry);
      /* With a wrong escape there are a value and an error. */
      GError *problem = NULL;
      g_autofree char *value = g_key_file_get_string (file, GROUP, keys[i], &problem);
      if (problem == NULL && translate (entry, value, device, &problem))
        continue;
      g_autofree char *prefix = make_prefix (self->path, entry->line);
      g_propagate_prefixed_error (error, problem, "%s", prefix);
      return FALSE;
    }
  return TRUE;
}

VhostDeviceFile *
vhost_device_file_read (const char *path, const char *device, GError **error)
{
  g_autofree char *text = NULL;
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autoptr (VhostDeviceFile) self = g_new0 (VhostDeviceFile, 1);
  self->path = g_filename_display_name (path);
  self->entries = g_ptr_array_new_with_free_func (free_entry);

  /* GLib's words name the file already. */
  if (!g_file_get_contents (path, &text, NULL, error))
    return NULL;
  if (!g_key_file_load_from_data (file, text, strlen (text), G_KEY_FILE_NONE, error))
    {
      g_prefix_error (error, "%s: ", self->path);
      return NULL;
    }
  if (!check_groups (file, self->path, text, error)
      || !read_entries (self, file, text, device, error))
    return NULL;
  return g_steal_pointer (&self);
}

void
vhost_device_file_free (VhostDeviceFile *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref (self->entries);
  g_free (self->path);
  g_free (self);
}

gboolean
vhost_device_file_check (VhostDeviceFile *self, VhostDeviceFileCheck check, gpointer data,
                         GError **error)
{
  for (guint i = 0; i < self->entries->len; i++)
    {
      const Entry *entry = g_ptr_array_index (self->entries, i);
      for (guint j = 0; j < entry->arguments->len; j++)
        {
          if (check (g_ptr_array_index (entry->arguments, j), data, error))
            continue;
          g_autofree char *prefix = make_prefix (self->path, entry->line);
          g_prefix_error (error, "%s", prefix);
          return FALSE;
        }
    }
  return TRUE;
}

/* Whether the command line says where to serve. */
static gboolean
names_place (char **arguments)
{
  for (guint i = 1; arguments[i] != NULL && strcmp (arguments[i], "--") != 0; i++)
    {
      if (strncmp (arguments[i], "-s", 2) == 0)
        return TRUE;
      for (guint j = 0; j < G_N_ELEMENTS (places); j++)
        if (is_option (arguments[i], places[j]))
          return TRUE;
    }
  return FALSE;
}

char **
vhost_device_file_insert (VhostDeviceFile *self, char **arguments)
{
  g_autoptr (GPtrArray) all = g_ptr_array_new ();
  gboolean drops_places = names_place (arguments);
  g_ptr_array_add (all, g_strdup (arguments[0]));
  for (guint i = 0; i < self->entries->len; i++)
    {
      const Entry *entry = g_ptr_array_index (self->entries, i);
      if (drops_places && IS_ONE_OF (entry->key, places))
        continue;
      for (guint j = 0; j < entry->arguments->len; j++)
        g_ptr_array_add (all, g_strdup (g_ptr_array_index (entry->arguments, j)));
    }
  for (guint i = 1; arguments[i] != NULL; i++)
    g_ptr_array_add (all, g_strdup (arguments[i]));
  g_ptr_array_add (all, NULL);
  return (char **) g_ptr_array_free (g_steal_pointer (&all), FALSE);
}
