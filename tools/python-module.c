/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program becomes the Python interpreter that runs a module of the library's. Finds the
 * interpreter and its modules, in the build tree too; must not know what a module does. */
#include "python-module.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

#ifdef VHOSTD_PYTHON

/* Beside a program that was not installed: where the modules of its tree are. */
#define ENVIRONMENT_FILE "python-environment"

static void
prepend (const char *name, const char *folder)
{
  const char *old = g_getenv (name);
  g_autofree char *value = NULL;

  if (old != NULL && old[0] != '\0')
    value = g_strconcat (folder, ":", old, NULL);
  g_setenv (name, value != NULL ? value : folder, TRUE);
}

/* One NAME=FOLDER in a line. FALSE: this program is not in a build tree. */
static gboolean
use_build_tree (void)
{
  g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *folder = program != NULL ? g_path_get_dirname (program) : NULL;
  g_autofree char *path = NULL;
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;

  if (folder == NULL)
    return FALSE;
  path = g_build_filename (folder, ENVIRONMENT_FILE, NULL);
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return FALSE;
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      char *separator = strchr (lines[i], '=');

      if (separator == NULL || lines[i][0] == '#')
        continue;
      *separator = '\0';
      prepend (lines[i], separator + 1);
    }
  return TRUE;
}

#endif

int
python_module_exec (const char *title, const char *module, int argc, char **argv)
{
#ifdef VHOSTD_PYTHON
  g_autoptr (GPtrArray) command = g_ptr_array_new ();

  if (!use_build_tree () && strcmp (VHOSTD_PREFIX, "/usr") != 0)
    {
      /* Where neither Python nor introspection looks by itself. */
      prepend ("PYTHONPATH", VHOSTD_PYTHON_DIR);
      prepend ("GI_TYPELIB_PATH", VHOSTD_TYPELIB_DIR);
    }
  g_ptr_array_add (command, (gpointer) VHOSTD_PYTHON);
  g_ptr_array_add (command, (gpointer) "-m");
  g_ptr_array_add (command, (gpointer) module);
  for (int i = 1; i < argc; i++)
    g_ptr_array_add (command, argv[i]);
  g_ptr_array_add (command, NULL);
  execvp (VHOSTD_PYTHON, (char **) command->pdata);
  fprintf (stderr, "%s: cannot start %s: %s\n", title, VHOSTD_PYTHON, g_strerror (errno));
  return 1;
#else
  fprintf (
      stderr,
      "%s: this program was built without Python: it needs introspection and PyGObject when it "
      "is built\n",
      title);
  return EXIT_USAGE;
#endif
}
