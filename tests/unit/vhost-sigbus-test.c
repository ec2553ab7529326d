/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that shrink under a mapping: the process must live, and no other program's faults may be
 * hidden. */
#include "config.h"

#include "vhost-sigbus-private.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_PAGES 8

typedef struct
{
  int fd;
  volatile guint8 *base;
  gsize page;
  gsize length;
  _Atomic (gboolean) poisoned;
} Shared;

static void
shared_init (Shared *self)
{
  self->page = (gsize) sysconf (_SC_PAGESIZE);
  self->length = N_PAGES * self->page;
  atomic_init (&self->poisoned, FALSE);
  self->fd = memfd_create ("sigbus-test", MFD_CLOEXEC);
  g_assert_cmpint (self->fd, >=, 0);
  g_assert_cmpint (ftruncate (self->fd, (off_t) self->length), ==, 0);
  self->base = mmap (NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
  g_assert_true (self->base != MAP_FAILED);
  self->base[0] = 0x5a;
  self->base[self->length - 1] = 0x5a;
}

static void
shared_clear (Shared *self)
{
  munmap ((void *) self->base, self->length);
  close (self->fd);
}

static void
protect (Shared *self)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_sigbus_protect ((void *) self->base, self->length, &self->poisoned, &error));
  g_assert_no_error (error);
}

static gboolean
is_poisoned (Shared *self)
{
  return atomic_load (&self->poisoned);
}

/* Called: on a thread of its own. */
static gpointer
touch_last_page (gpointer data)
{
  Shared *self = data;

  return GUINT_TO_POINTER (self->base[self->length - 1]);
}

static void
test_survives_on_another_thread (void)
{
  Shared shared;
  GThread *thread;

  shared_init (&shared);
  protect (&shared);
  g_assert_cmpint (ftruncate (shared.fd, 0), ==, 0);
  g_assert_false (is_poisoned (&shared));

  thread = g_thread_new ("toucher", touch_last_page, &shared);
  /* Zero pages, no longer the file's. */
  g_assert_cmpuint (GPOINTER_TO_UINT (g_thread_join (thread)), ==, 0);
  g_assert_true (is_poisoned (&shared));

  vhost_sigbus_unprotect ((void *) shared.base);
  shared_clear (&shared);
}

static void
test_replaces_the_whole_mapping (void)
{
  Shared shared;

  shared_init (&shared);
  protect (&shared);
  g_assert_cmpint (ftruncate (shared.fd, (off_t) shared.page), ==, 0);

  shared.base[shared.length - 1] = 1;
  g_assert_true (is_poisoned (&shared));
  /* The first page was still in the file; it went with the rest, so that no half of it is left. */
  g_assert_cmpuint (shared.base[0], ==, 0);
  g_assert_cmpuint (shared.base[shared.length - 1], ==, 1);

  vhost_sigbus_unprotect ((void *) shared.base);
  shared_clear (&shared);
}

static void
test_leaves_other_mappings_alone (void)
{
  Shared bad, good;

  shared_init (&bad);
  shared_init (&good);
  protect (&good);
  protect (&bad);
  g_assert_cmpint (ftruncate (bad.fd, 0), ==, 0);

  g_assert_cmpuint (bad.base[0], ==, 0);
  g_assert_true (is_poisoned (&bad));
  g_assert_false (is_poisoned (&good));
  g_assert_cmpuint (good.base[0], ==, 0x5a);

  vhost_sigbus_unprotect ((void *) bad.base);
  vhost_sigbus_unprotect ((void *) good.base);
  shared_clear (&bad);
  shared_clear (&good);
}

static void
test_keeps_errno (void)
{
  Shared shared;

  shared_init (&shared);
  protect (&shared);
  g_assert_cmpint (ftruncate (shared.fd, 0), ==, 0);
  errno = 4711;
  (void) shared.base[0];
  g_assert_cmpint (errno, ==, 4711);
  g_assert_true (is_poisoned (&shared));

  vhost_sigbus_unprotect ((void *) shared.base);
  shared_clear (&shared);
}

static void
test_counts_as_free_what_was_given_back (void)
{
  _Atomic (gboolean) flag = FALSE;

  /* More than the table holds in all; never more than one at a time. */
  for (guintptr i = 0; i < 10000; i++)
    {
      gpointer base = (gpointer) ((i + 1) << 20);

      g_assert_true (vhost_sigbus_protect (base, 4096, &flag, NULL));
      vhost_sigbus_unprotect (base);
    }
}

static void
test_refuses_when_the_table_is_full (void)
{
  _Atomic (gboolean) flag = FALSE;
  g_autoptr (GError) error = NULL;
  guintptr n = 0;

  /* Addresses of the first gigabytes, where a process of ours has nothing mapped that faults. */
  while (n < 10000 && vhost_sigbus_protect ((gpointer) ((n + 1) << 20), 4096, &flag, &error))
    n++;
  g_assert_cmpuint (n, ==, 4096);
  g_assert_nonnull (error);
  g_assert_nonnull (strstr (error->message, "4096"));
  while (n > 0)
    vhost_sigbus_unprotect ((gpointer) (n-- << 20));
}

static volatile sig_atomic_t previous_calls;

/* Called: in the signal handler. */
static void
on_previous (int signal_number, siginfo_t *info, void *context)
{
  previous_calls = previous_calls + 1;
  if (info->si_code > 0)
    _exit (42);
}

static void
install_previous (void)
{
  struct sigaction action = { .sa_sigaction = on_previous, .sa_flags = SA_SIGINFO };

  sigemptyset (&action.sa_mask);
  g_assert_cmpint (sigaction (SIGBUS, &action, NULL), ==, 0);
}

static void
child_foreign_fault (void)
{
  Shared ours, foreign;

  install_previous ();
  shared_init (&ours);
  shared_init (&foreign);
  protect (&ours);
  g_assert_cmpint (ftruncate (foreign.fd, 0), ==, 0);
  (void) foreign.base[0];
  _exit (1);
}

static void
child_foreign_fault_by_default (void)
{
  struct sigaction action = { .sa_handler = SIG_DFL };
  Shared ours, foreign;

  sigaction (SIGBUS, &action, NULL);
  shared_init (&ours);
  shared_init (&foreign);
  protect (&ours);
  g_assert_cmpint (ftruncate (foreign.fd, 0), ==, 0);
  (void) foreign.base[0];
  _exit (0);
}

static void
child_unprotected_fault (void)
{
  Shared shared;

  install_previous ();
  shared_init (&shared);
  protect (&shared);
  vhost_sigbus_unprotect ((void *) shared.base);
  g_assert_cmpint (ftruncate (shared.fd, 0), ==, 0);
  (void) shared.base[0];
  _exit (1);
}

static void
child_sent_signal (void)
{
  Shared ours;

  install_previous ();
  shared_init (&ours);
  protect (&ours);
  raise (SIGBUS);
  _exit (previous_calls == 1 && !is_poisoned (&ours) ? 42 : 1);
}

static void
child_sent_signal_by_default (void)
{
  struct sigaction action = { .sa_handler = SIG_DFL };
  Shared ours;

  sigaction (SIGBUS, &action, NULL);
  shared_init (&ours);
  protect (&ours);
  raise (SIGBUS);
  _exit (0);
}

static void
child_sent_signal_ignored (void)
{
  struct sigaction action = { .sa_handler = SIG_IGN };
  Shared ours;

  sigaction (SIGBUS, &action, NULL);
  shared_init (&ours);
  protect (&ours);
  raise (SIGBUS);
  _exit (42);
}

/* In a process of its own each time: the handler is installed once in a process's life. It leaves
 * with 42 where all went well, for which GLib's own macros have no question. */
static void
test_in_child (gconstpointer data)
{
  const char *name = data;
  g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *path = g_strdup_printf ("/sigbus/child/%s", name);
  const char *argv[] = { self, "--GTestSubprocess", "-p", path, NULL };
  int status = 0;
  g_autoptr (GError) error = NULL;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                NULL, NULL, NULL, NULL, &status, &error);
  g_assert_no_error (error);
  if (g_str_has_suffix (name, "by-default"))
    g_assert_true (WIFSIGNALED (status) ? WTERMSIG (status) == SIGBUS : WEXITSTATUS (status) != 0);
  else
    g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 42);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    const char *child;
    void (*function) (void);
  } children[] = {
    { "/sigbus/gives-a-foreign-fault-to-the-previous-handler", "foreign-fault",
      child_foreign_fault },
    { "/sigbus/lets-a-foreign-fault-kill", "foreign-fault-by-default",
      child_foreign_fault_by_default },
    { "/sigbus/forgets-a-mapping-that-was-given-back", "unprotected-fault",
      child_unprotected_fault },
    { "/sigbus/gives-a-sent-signal-to-the-previous-handler", "sent-signal", child_sent_signal },
    { "/sigbus/lets-a-sent-signal-kill", "sent-signal-by-default", child_sent_signal_by_default },
    { "/sigbus/ignores-a-sent-signal-that-was-ignored", "sent-signal-ignored",
      child_sent_signal_ignored },
  };

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/sigbus/survives-a-truncated-file-on-another-thread",
                   test_survives_on_another_thread);
  g_test_add_func ("/sigbus/replaces-the-whole-mapping", test_replaces_the_whole_mapping);
  g_test_add_func ("/sigbus/leaves-other-mappings-alone", test_leaves_other_mappings_alone);
  g_test_add_func ("/sigbus/keeps-errno", test_keeps_errno);
  g_test_add_func ("/sigbus/counts-as-free-what-was-given-back",
                   test_counts_as_free_what_was_given_back);
  g_test_add_func ("/sigbus/refuses-when-the-table-is-full", test_refuses_when_the_table_is_full);
  for (guint i = 0; i < G_N_ELEMENTS (children); i++)
    {
      g_autofree char *path = g_strdup_printf ("/sigbus/child/%s", children[i].child);

      g_test_add_data_func (children[i].name, children[i].child, test_in_child);
      if (g_test_subprocess ())
        g_test_add_func (path, children[i].function);
    }
  return g_test_run ();
}
