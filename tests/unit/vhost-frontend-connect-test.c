/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why the driver side cannot connect, in its words. */
#include "scripted-back-end.h"

#include <sys/un.h>

static void
test_connect_errors (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *directory = g_dir_make_tmp ("vhost-frontend-XXXXXX", &error);
  g_autofree char *path = g_build_filename (directory, "socket", NULL);
  g_autofree char *long_path = g_strnfill (108, 'x');
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int file;
  int fds[2];

  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "is the back-end running"));
  g_clear_error (&error);

  file = open (path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "that is no socket"));
  g_clear_error (&error);
  unlink (path);

  /* Bound, and left behind by its owner. */
  strcpy (address.sun_path, path);
  fds[0] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (fds[0], (struct sockaddr *) &address, sizeof address), ==, 0);
  vhost_fd_clear (&fds[0]);
  g_assert_false (vhost_frontend_connect (frontend, path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_nonnull (strstr (error->message, "nobody listens"));
  g_clear_error (&error);
  unlink (path);
  rmdir (directory);

  g_assert_false (vhost_frontend_connect (frontend, long_path, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);

  /* The descriptor is taken, and closed, all the same. */
  g_assert_false (vhost_frontend_connect_take_fd (frontend, file, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET);
  g_assert_cmpint (fcntl (file, F_GETFD), ==, -1);
  g_clear_error (&error);

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_true (vhost_frontend_connect_take_fd (frontend, fds[0], &error));
  g_assert_cmpint (vhost_frontend_get_fd (frontend), ==, fds[0]);
  g_assert_false (vhost_frontend_connect_take_fd (frontend, fds[1], &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_assert_cmpint (fcntl (fds[1], F_GETFD), ==, -1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-connect/explains-why-it-cannot-connect", test_connect_errors);
  return g_test_run ();
}
