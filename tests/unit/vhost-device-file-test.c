/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device files: lines become arguments, the command line wins, errors name the line. */
#include "vhost-device-file-private.h"

#include "vhost-error.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *
write_file (const char *text)
{
  GError *error = NULL;
  char *path = NULL;
  int fd = g_file_open_tmp ("vhost-device-file-XXXXXX", &path, &error);
  g_assert_no_error (error);
  g_assert_cmpint (write (fd, text, strlen (text)), ==, (gssize) strlen (text));
  g_assert_true (g_close (fd, &error));
  return path;
}

/* The arguments that come out, joined by blanks. */
static char *
expand (const char *text, const char *line)
{
  GError *error = NULL;
  g_autofree char *path = write_file (text);
  g_auto (GStrv) arguments = g_strsplit (line, " ", -1);
  g_autoptr (VhostDeviceFile) file = vhost_device_file_read (path, "toy", &error);
  g_assert_no_error (error);
  g_auto (GStrv) all = vhost_device_file_insert (file, arguments);
  g_unlink (path);
  return g_strjoinv (" ", all);
}

static void
test_lines (void)
{
  g_autofree char *all = expand ("# about it\n[Device]\ntype=toy\nsize = 2M\nimage=a b\\s\n\n"
                                 "filter=delay, error\nclient=yes\nread-only=no\n",
                                 "vhostd --size=3M");
  g_assert_cmpstr (all, ==,
                   "vhostd --size=2M --image=a b  --filter=delay --filter=error --client "
                   "--read-only=no --size=3M");
  g_autofree char *off = expand ("[Device]\nclient=off\n", "vhostd");
  g_assert_cmpstr (off, ==, "vhostd");
}

/* The ways to say where to serve exclude each other. */
static void
test_places (void)
{
  static const char *const lines[]
      = { "vhostd --socket-path=b", "vhostd --socket-path b", "vhostd -s b", "vhostd -sb",
          "vhostd --fd=3",          "vhostd --run true" };
  for (guint i = 0; i < G_N_ELEMENTS (lines); i++)
    {
      g_autofree char *all = expand ("[Device]\nsocket-path=a\nclient=yes\n", lines[i]);
      g_assert_cmpstr (all, ==, lines[i]);
    }
  g_autofree char *kept = expand ("[Device]\nsocket-path=a\n", "vhostd --fdx -- --fd=3");
  g_assert_cmpstr (kept, ==, "vhostd --socket-path=a --fdx -- --fd=3");
}

static void
test_find (void)
{
  static const struct
  {
    const char *line, *path;
  } cases[] = {
    { "vhostd --config=a --size=3", "a" }, { "vhostd --config a", "a" },
    { "vhostd --config", NULL },           { "vhostd --configs=a", NULL },
    { "vhostd -- --config=a", NULL },      { "--config=a", NULL },
  };
  GError *error = NULL;
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = NULL;
      g_auto (GStrv) arguments = g_strsplit (cases[i].line, " ", -1);
      g_assert_true (vhost_device_file_find (arguments, &path, &error));
      g_assert_cmpstr (path, ==, cases[i].path);
    }
  char *path = (char *) "old";
  g_auto (GStrv) twice = g_strsplit ("vhostd --config=a --config=b", " ", -1);
  g_assert_false (vhost_device_file_find (twice, &path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_null (path);
  g_clear_error (&error);
}

static void
test_wrong (void)
{
  static const struct
  {
    const char *text, *message;
  } cases[] = {
    { "size=1\n", ": Key file does not start with a group" },
    { "", ": there is no group [Device]" },
    { "[Device]\nnonsense\n", "nonsense" },
    { "[Device]\nsize=1\n\n [Devices]\nimage=x\n", ":4: there is no group [Devices]" },
    { "[Device]\ntype=disk\n", ":2: the file is for a device \"disk\", but this one is \"toy\"" },
    { "[Device]\nfd=3\n", ":2: fd is for the command line only" },
    { "[Device]\nsize=1\n\tconfig=x\n", ":3: config is for the command line only" },
    { "[Device]\nhelp=yes\n", ":2: help is" },
    { "[Device]\nclient=perhaps\n", ":2: client cannot be \"perhaps\": expected yes or no" },
    { "[Device]\nimage=\\q\n", ":2: " },
    { "[Device]\nimage=\xff\n", ":2: " },
  };
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autofree char *path = write_file (cases[i].text);
      g_assert_null (vhost_device_file_read (path, "toy", &error));
      g_assert_nonnull (error);
      g_assert_true (g_str_has_prefix (error->message, path));
      g_assert_nonnull (strstr (error->message, cases[i].message));
      g_unlink (path);
    }
  g_autoptr (GError) error = NULL;
  g_assert_null (vhost_device_file_read ("/nonexistent/file", "toy", &error));
  g_assert_nonnull (strstr (error->message, "/nonexistent/file"));
}

static gboolean
check_argument (const char *argument, gpointer data, GError **error)
{
  GString *seen = data;
  g_string_append_printf (seen, "%s ", argument);
  if (strcmp (argument, "--filter=b") != 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "no b");
  return FALSE;
}

/* A key that is there twice counts as its last line says. */
static void
test_check (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) seen = g_string_new (NULL);
  g_autofree char *path = write_file ("[Device]\nsize=1\nfilter=a\nfilter=a,b,c\nimage=x\n");
  g_autoptr (VhostDeviceFile) file = vhost_device_file_read (path, "toy", &error);
  g_assert_no_error (error);
  g_assert_false (vhost_device_file_check (file, check_argument, seen, &error));
  g_autofree char *expected = g_strconcat (path, ":4: no b", NULL);
  g_assert_cmpstr (error->message, ==, expected);
  g_assert_cmpstr (seen->str, ==, "--size=1 --filter=a --filter=b ");
  g_unlink (path);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/device-file/lines-become-arguments-before-the-command-line", test_lines);
  g_test_add_func ("/device-file/the-command-line-says-where-to-serve", test_places);
  g_test_add_func ("/device-file/is-found-on-the-command-line", test_find);
  g_test_add_func ("/device-file/errors-name-file-and-line", test_wrong);
  g_test_add_func ("/device-file/checks-name-the-line-that-is-wrong", test_check);
  return g_test_run ();
}
