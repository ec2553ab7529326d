/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A userfaultfd over guest memory: who waits, who is woken, and what is read then. Skipped where
 * the host allows none. */
#include "vhost-postcopy-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define SIZE (8 * PAGE)

typedef struct
{
  VhostPostcopy *postcopy;
  VhostMemory *memory;
  guint8 *host;
  _Atomic (gboolean) ended;
  gssize result;
  int error;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  VhostMemoryRegionInfo info = { 0x100000, SIZE, 0x100000, 0 };
  GError *error = NULL;
  int fd;

  if (!vhost_postcopy_is_possible ())
    return;
  fd = memfd_create ("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_assert_cmpint (ftruncate (fd, SIZE), ==, 0);
  f->memory = vhost_memory_new_take_fds (&info, &fd, 1, TRUE, &error);
  g_assert_no_error (error);
  f->host = vhost_memory_lookup (f->memory, 0x100000)->host;
  f->postcopy = vhost_postcopy_new (&error);
  g_assert_no_error (error);
  g_assert_true (vhost_postcopy_register (f->postcopy, f->memory, &error));
  g_assert_no_error (error);
  /* Again: nothing new. */
  g_assert_true (vhost_postcopy_register (f->postcopy, f->memory, &error));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->postcopy, vhost_postcopy_free);
  g_clear_pointer (&f->memory, vhost_memory_unref);
}

/* A system call out of guest memory, as a disk's write is. */
static gpointer
write_thread (gpointer data)
{
  Fixture *f = data;
  int file = memfd_create ("disk", MFD_CLOEXEC);

  f->result = pwrite (file, f->host + PAGE, PAGE, 0);
  f->error = errno;
  close (file);
  atomic_store (&f->ended, TRUE);
  return NULL;
}

static GThread *
start_fault (Fixture *f)
{
  GThread *thread = g_thread_new ("fault", write_thread, f);
  struct pollfd pollfd = { .fd = vhost_postcopy_get_fd (f->postcopy), .events = POLLIN };
  struct uffd_msg message;

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  g_assert_cmpint (read (pollfd.fd, &message, sizeof message), ==, sizeof message);
  g_assert_cmphex (message.arg.pagefault.address & ~(guint64) (PAGE - 1), ==,
                   (guintptr) f->host + PAGE);
  g_assert_false (atomic_load (&f->ended));
  return thread;
}

#define SKIP(f)                                                                                    \
  if ((f)->postcopy == NULL)                                                                       \
    {                                                                                              \
      g_test_skip ("this host allows no userfaultfd");                                             \
      return;                                                                                      \
    }

static void
test_copy (Fixture *f, gconstpointer data)
{
  static const guint8 page[PAGE] = { 7 };
  struct uffdio_copy copy = { .src = (guintptr) page, .len = PAGE };
  GThread *thread;

  SKIP (f);
  thread = start_fault (f);
  copy.dst = (guintptr) f->host + PAGE;
  g_assert_cmpint (ioctl (vhost_postcopy_get_fd (f->postcopy), UFFDIO_COPY, &copy), ==, 0);
  g_thread_join (thread);
  g_assert_cmpint (f->result, ==, PAGE);
  g_assert_cmpint (f->host[PAGE], ==, 7);
}

static void
test_free (Fixture *f, gconstpointer data)
{
  GThread *thread;
  int copy;

  SKIP (f);
  thread = start_fault (f);
  copy = dup (vhost_postcopy_get_fd (f->postcopy)); /* the front-end's */
  g_clear_pointer (&f->postcopy, vhost_postcopy_free);
  g_thread_join (thread);
  g_assert_cmpint (f->result, ==, PAGE);
  close (copy);
}

static void
test_fail (Fixture *f, gconstpointer data)
{
  GThread *thread;

  SKIP (f);
  thread = start_fault (f);
  vhost_postcopy_fail (f->postcopy);
  g_thread_join (thread);
  g_assert_cmpint (f->result, ==, -1); /* not a page of zeros on the disk */
  g_assert_cmpint (f->error, ==, EFAULT);
  /* A sealed file is guarded too. */
  g_assert_cmpint (*(volatile guint8 *) f->host, ==, 0);
  g_assert_true (atomic_load (&f->memory->mappings[0]->poisoned));
  g_assert_true (vhost_memory_is_poisoned (f->memory)); /* and whoever asks hears of it */
}

static void
test_release (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostMemory) empty = NULL;
  GError *error = NULL;

  SKIP (f);
  empty = vhost_memory_new_empty ();
  g_assert_true (vhost_postcopy_register (f->postcopy, empty, &error));
  g_assert_cmpint (f->host[0], ==, 0); /* an ordinary page again */
}

#define ADD(name, function)                                                                        \
  g_test_add ("/postcopy/" name, Fixture, NULL, set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("waits-for-a-page", test_copy);
  ADD ("lets-everyone-go-when-it-ends", test_free);
  ADD ("fails-rather-than-reads-zeros", test_fail);
  ADD ("lets-go-of-what-is-not-used", test_release);
  return g_test_run ();
}
