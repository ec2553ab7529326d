/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Both waiters keep the same contract. */
#include "config.h"

#include "vhost-waiter-private.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct
{
  VhostWaiter *waiter;
  const VhostWaiterOps *ops;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  f->ops = data;
  f->waiter = f->ops->new (&error);
  if (f->waiter == NULL)
    {
      g_test_skip (error->message);
      g_error_free (error);
      return;
    }
  f->ops->set_glib_fds (f->waiter, NULL, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->waiter != NULL)
    f->ops->free (f->waiter);
}

static int
new_eventfd (void)
{
  return eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void
poke (int fd)
{
  guint64 one = 1;

  g_assert_cmpint (write (fd, &one, sizeof one), ==, sizeof one);
}

/* Waits at most a second for something; which ids came, and whether GLib's did. */
static guint
wait_some (Fixture *f, guint *kicked, gboolean *glib)
{
  return f->ops->wait (f->waiter, G_USEC_PER_SEC, kicked, VHOST_WAITER_MAX_KICKS, glib);
}

static void
each_write_to_an_eventfd_is_seen_without_reading_it (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int fd = new_eventfd ();

  if (f->waiter == NULL)
    return;
  g_assert_true (f->ops->add (f->waiter, fd, TRUE, 3, NULL));
  for (guint i = 0; i < 100; i++)
    {
      poke (fd);
      g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 1);
      g_assert_cmpuint (kicked[0], ==, 3);
      g_assert_false (glib);
    }
  g_assert_cmpuint (f->ops->wait (f->waiter, 0, kicked, 8, &glib), ==, 0);
  g_assert_cmpuint (f->ops->wait (f->waiter, 2000, kicked, 8, &glib), ==, 0);
  f->ops->remove (f->waiter, fd, 3);
  close (fd);
}

static void
a_kick_that_takes_over_a_number_of_glibs_stays (Fixture *f, gconstpointer data)
{
  GPollFD fds[2] = { { new_eventfd (), G_IO_IN, 0 }, { new_eventfd (), G_IO_IN, 0 } };
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int fd = new_eventfd ();

  if (f->waiter == NULL)
    return;
  f->ops->set_glib_fds (f->waiter, fds, 2);
  /* GLib's second one is closed, and its number is a kick's before the waiter hears of the first.
   */
  g_assert_cmpint (dup2 (fd, fds[1].fd), ==, fds[1].fd);
  close (fd);
  g_assert_true (f->ops->add (f->waiter, fds[1].fd, TRUE, 5, NULL));
  f->ops->set_glib_fds (f->waiter, fds, 1);
  poke (fds[1].fd);
  g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 1);
  g_assert_cmpuint (kicked[0], ==, 5);
  poke (fds[0].fd);
  g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 0);
  g_assert_true (glib);
  f->ops->remove (f->waiter, fds[1].fd, 5);
  f->ops->set_glib_fds (f->waiter, NULL, 0);
  close (fds[0].fd);
  close (fds[1].fd);
}

static void
a_pipe_is_seen_until_it_is_read (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int fds[2];
  char c;

  if (f->waiter == NULL)
    return;
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC | O_NONBLOCK), ==, 0);
  g_assert_true (f->ops->add (f->waiter, fds[0], FALSE, 1, NULL));
  g_assert_cmpint (write (fds[1], "ab", 2), ==, 2);
  for (guint i = 0; i < 2; i++)
    {
      g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 1);
      g_assert_cmpint (read (fds[0], &c, 1), ==, 1);
    }
  g_assert_cmpuint (f->ops->wait (f->waiter, 2000, kicked, 8, &glib), ==, 0);
  f->ops->remove (f->waiter, fds[0], 1);
  close (fds[0]);
  close (fds[1]);
}

static void
a_removed_descriptor_is_silent_and_its_id_can_be_used_again (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int a = new_eventfd (), b = new_eventfd ();

  if (f->waiter == NULL)
    return;
  g_assert_true (f->ops->add (f->waiter, a, TRUE, 1, NULL));
  poke (a);
  g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 1);
  poke (a);
  f->ops->remove (f->waiter, a, 1);
  g_assert_true (f->ops->add (f->waiter, b, TRUE, 1, NULL));
  g_assert_cmpuint (f->ops->wait (f->waiter, 2000, kicked, 8, &glib), ==, 0);
  poke (a);
  g_assert_cmpuint (f->ops->wait (f->waiter, 2000, kicked, 8, &glib), ==, 0);
  poke (b);
  g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 1);
  f->ops->remove (f->waiter, b, 1);
  close (a);
  close (b);
}

static void
glib_descriptors_are_level_triggered (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int a = new_eventfd (), b = new_eventfd ();
  GPollFD fds[2] = { { a, G_IO_IN, 0 }, { b, G_IO_IN, 0 } };

  if (f->waiter == NULL)
    return;
  for (guint n = 1; n <= 2; n++)
    {
      f->ops->set_glib_fds (f->waiter, fds, n);
      poke (a);
      for (guint i = 0; i < 3; i++)
        {
          g_assert_cmpuint (wait_some (f, kicked, &glib), ==, 0);
          g_assert_true (glib);
          g_assert_cmpuint (fds[0].revents, ==, G_IO_IN);
        }
      eventfd_read (a, &(eventfd_t){ 0 });
      f->ops->wait (f->waiter, 2000, kicked, 8, &glib);
      g_assert_false (glib);
    }
  f->ops->set_glib_fds (f->waiter, NULL, 0);
  close (a);
  close (b);
}

static void
a_number_that_became_another_file_is_noticed (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int a = new_eventfd (), b = new_eventfd ();
  GPollFD fds[2] = { { a, G_IO_IN, 0 }, { b, G_IO_IN, 0 } };

  if (f->waiter == NULL)
    return;
  f->ops->set_glib_fds (f->waiter, fds, 2);
  f->ops->wait (f->waiter, 0, kicked, 8, &glib);
  close (b);
  g_assert_cmpint (new_eventfd (), ==, b);
  f->ops->set_glib_fds (f->waiter, fds, 2);
  poke (b);
  wait_some (f, kicked, &glib);
  g_assert_true (glib);
  g_assert_cmpuint (fds[1].revents, ==, G_IO_IN);
  f->ops->set_glib_fds (f->waiter, NULL, 0);
  close (a);
  close (b);
}

static void
the_same_number_twice_and_a_plain_file_are_fine (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;
  int fds_pipe[2];
  int plain = open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  GPollFD fds[3];

  if (f->waiter == NULL)
    return;
  g_assert_cmpint (pipe2 (fds_pipe, O_CLOEXEC), ==, 0);
  fds[0] = (GPollFD){ fds_pipe[0], G_IO_IN, 0 };
  fds[1] = (GPollFD){ fds_pipe[0], G_IO_HUP, 0 };
  f->ops->set_glib_fds (f->waiter, fds, 2);
  f->ops->wait (f->waiter, 0, kicked, 8, &glib);
  g_assert_false (glib);
  g_assert_cmpint (write (fds_pipe[1], "x", 1), ==, 1);
  wait_some (f, kicked, &glib);
  g_assert_true (glib);
  fds[2] = (GPollFD){ plain, G_IO_IN, 0 };
  f->ops->set_glib_fds (f->waiter, fds, 3);
  wait_some (f, kicked, &glib);
  g_assert_true (glib);
  g_assert_cmpuint (fds[2].revents, ==, G_IO_IN);
  f->ops->set_glib_fds (f->waiter, NULL, 0);
  close (plain);
  close (fds_pipe[0]);
  close (fds_pipe[1]);
}

static void
waits_as_long_as_told (Fixture *f, gconstpointer data)
{
  guint kicked[VHOST_WAITER_MAX_KICKS];
  gboolean glib;

  if (f->waiter == NULL)
    return;
  for (gint64 us = 200; us <= 20000; us *= 10)
    {
      gint64 start = g_get_monotonic_time ();

      g_assert_cmpuint (f->ops->wait (f->waiter, us, kicked, 8, &glib), ==, 0);
      g_assert_cmpint (g_get_monotonic_time () - start, >=, us - 1);
    }
}

static void
many_descriptors_all_arrive (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 256
  };
  gboolean seen[N + 1] = { FALSE };
  int fds[N];
  guint n_seen = 0;
  gint64 deadline = g_get_monotonic_time () + 10 * G_USEC_PER_SEC;

  if (f->waiter == NULL)
    return;
  for (guint i = 0; i < N; i++)
    {
      fds[i] = new_eventfd ();
      g_assert_true (f->ops->add (f->waiter, fds[i], TRUE, i + 1, NULL));
      poke (fds[i]);
    }
  while (n_seen < N)
    {
      guint kicked[VHOST_WAITER_MAX_KICKS];
      gboolean glib;
      guint n = wait_some (f, kicked, &glib);

      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      for (guint i = 0; i < n; i++)
        {
          n_seen += !seen[kicked[i]];
          seen[kicked[i]] = TRUE;
        }
    }
  for (guint i = 0; i < N; i++)
    {
      f->ops->remove (f->waiter, fds[i], i + 1);
      close (fds[i]);
    }
}

static void
add (const char *name, void (*func) (Fixture *f, gconstpointer data))
{
  const struct
  {
    const char *name;
    const VhostWaiterOps *ops;
  } waiters[]
      = { { "epoll", &vhost_waiter_epoll_ops },
#if HAVE_URING
          { "uring", &vhost_waiter_uring_ops },
#endif
        };

  for (guint i = 0; i < G_N_ELEMENTS (waiters); i++)
    {
      g_autofree char *path = g_strdup_printf ("/waiter/%s/%s", waiters[i].name, name);

      g_test_add (path, Fixture, waiters[i].ops, set_up, func, tear_down);
    }
}

#define ADD(name) add (#name, name)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (each_write_to_an_eventfd_is_seen_without_reading_it);
  ADD (a_kick_that_takes_over_a_number_of_glibs_stays);
  ADD (a_pipe_is_seen_until_it_is_read);
  ADD (a_removed_descriptor_is_silent_and_its_id_can_be_used_again);
  ADD (glib_descriptors_are_level_triggered);
  ADD (a_number_that_became_another_file_is_noticed);
  ADD (the_same_number_twice_and_a_plain_file_are_fine);
  ADD (waits_as_long_as_told);
  ADD (many_descriptors_all_arrive);
  return g_test_run ();
}
