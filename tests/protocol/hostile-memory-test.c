/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory files that are not what they should be: of the wrong kind, or cut short under a running
 * device. Public API only; must not touch a file of its own that it has cut short. */
#include "raw-device.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Files that shrink ---- */

static RawRegion
region (guint64 guest, guint64 size, guint64 user, guint64 offset)
{
  return (RawRegion){ .guest = guest, .size = size, .user = user, .offset = offset };
}

/* A region of @fd, in which a request's data lie, is cut short. That session ends, another one goes
 * on. */
static void
assert_shrinking_data (int fd)
{
  RawDevice f;
  g_autoptr (VhostFrontend) other = NULL;
  VhostFrontendQueue *queue;
  VhostFrontendBuffer buffers[2]
      = { { RAW_SECOND + RAW_PAGE, RAW_PAGE, FALSE }, { 0, RAW_PAGE, TRUE } };

  g_assert_cmpint (ftruncate (fd, 16 * RAW_PAGE), ==, 0);
  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  other = live_device_connect_queues (f.device, 1, 16);
  queue = vhost_frontend_get_queue (f.frontend, 0);
  buffers[1].address = vhost_frontend_allocate (f.frontend, RAW_PAGE, 8);
  g_assert_cmpuint (
      raw_slot (f.frontend, MSG_ADD_MEM_REG, region (RAW_SECOND, 16 * RAW_PAGE, RAW_SECOND, 0), fd),
      ==, 0);
  raw_log_expect (TRUE);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_true (vhost_frontend_queue_add (queue, buffers, 2, FALSE, &f));
  vhost_frontend_queue_kick (queue);
  raw_assert_closed (f.frontend);
  LIVE_WAIT_FOR (g_atomic_int_get (&f.closed_by) == VHOST_ERROR_NO_SHARED_MEMORY);
  live_device_assert_echo (other, 0, "another session");
  g_clear_object (&other);
  raw_device_end (&f);
  raw_log_expect (FALSE);
}

static void
test_shrinking_memfd (void)
{
  int fd = raw_memfd (16 * RAW_PAGE, 0);

  assert_shrinking_data (fd);
  close (fd);
}

static void
assert_shrinking_file (const char *directory)
{
  g_autofree char *path = g_build_filename (directory, "vhost-test-XXXXXX", NULL);
  int fd = g_mkstemp (path);

  if (fd < 0)
    {
      g_test_skip ("the directory cannot be written");
      return;
    }
  assert_shrinking_data (fd);
  close (fd);
  g_unlink (path);
}

static void
test_shrinking_file (void)
{
  assert_shrinking_file (g_get_tmp_dir ());
}

static void
test_shrinking_shm (void)
{
  assert_shrinking_file ("/dev/shm");
}

/* Nothing but the rings is in it. */
static void
test_shrinking_ring (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, 0);
  int kick_fd = eventfd (0, EFD_CLOEXEC);
  const guint64 one = 1;
  guint8 *map = raw_ring_map (fd);
  RawRegion r = region (RAW_FIRST, RAW_RING_BYTES, RAW_FIRST, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpuint (raw_ring_start (f.frontend, RAW_FIRST, kick_fd), ==, 0);
  raw_ring_request (map, RAW_FIRST, 0, kick_fd);
  munmap (map, RAW_RING_BYTES);
  raw_log_expect (TRUE);
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_cmpint (write (kick_fd, &one, sizeof one), ==, sizeof one);
  raw_assert_closed (f.frontend);
  LIVE_WAIT_FOR (g_atomic_int_get (&f.closed_by) == VHOST_ERROR_NO_SHARED_MEMORY);
  raw_device_end (&f);
  raw_log_expect (FALSE);
  close (fd);
  close (kick_fd);
}

static void
test_sealed (void)
{
  RawDevice f;
  int fd = raw_memfd (RAW_RING_BYTES, MFD_ALLOW_SEALING);
  RawRegion r = region (RAW_FIRST, RAW_RING_BYTES, RAW_FIRST, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), ==, 0);
  g_assert_cmpint (ftruncate (fd, 0), ==, -1);
  g_assert_cmpint (errno, ==, EPERM);
  raw_device_end (&f);
  close (fd);
}

/* ---- Descriptors of the wrong kind ---- */

static int
make_pipe (void)
{
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  close (fds[1]);
  return fds[0];
}

static int
make_socket (void)
{
  return socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int
make_eventfd (void)
{
  return eventfd (0, EFD_CLOEXEC);
}

static int
make_epoll (void)
{
  return epoll_create1 (EPOLL_CLOEXEC);
}

static int
make_directory (void)
{
  return open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
make_null (void)
{
  return open ("/dev/null", O_RDWR | O_CLOEXEC);
}

/* Cannot be mapped for writing. */
static int
make_read_only (void)
{
  return open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

/* Has a size, and nothing else works. */
static int
make_path_only (void)
{
  return open ("/proc/self/exe", O_PATH | O_CLOEXEC);
}

static const struct
{
  const char *name;
  int (*make) (void);
} wrong_kinds[] = {
  { "pipe", make_pipe },
  { "socket", make_socket },
  { "eventfd", make_eventfd },
  { "epoll", make_epoll },
  { "directory", make_directory },
  { "null", make_null },
  { "read-only-file", make_read_only },
  { "path", make_path_only },
};

static void
test_wrong_kind (gconstpointer data)
{
  RawDevice f;
  RawRegion r = region (RAW_SECOND, RAW_PAGE, RAW_SECOND, 0);
  int fd = wrong_kinds[GPOINTER_TO_UINT (data)].make ();

  g_assert_cmpint (fd, >=, 0);
  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, fd), !=, 0);
  g_assert_cmpuint (raw_set_table (f.frontend, &r, &fd, 1), !=, 0);
  live_device_assert_echo (f.frontend, 0, "the memory of before");
  raw_device_end (&f);
  close (fd);
}

static void
test_own_socket (void)
{
  RawDevice f;
  RawRegion r = region (RAW_SECOND, RAW_PAGE, RAW_SECOND, 0);

  raw_device_begin (&f, 1, NULL);
  raw_device_connect_rings (&f, 1);
  g_assert_cmpuint (raw_slot (f.frontend, MSG_ADD_MEM_REG, r, vhost_frontend_get_fd (f.frontend)),
                    !=, 0);
  live_device_assert_echo (f.frontend, 0, "the memory of before");
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("memory-a-memfd-that-shrinks-ends-its-session-only", test_shrinking_memfd);
  TEST ("memory-a-file-that-shrinks-ends-its-session-only", test_shrinking_file);
  TEST ("memory-a-shared-memory-file-that-shrinks-ends-its-session-only", test_shrinking_shm);
  TEST ("memory-a-ring-whose-file-shrinks-ends-its-session-only", test_shrinking_ring);
  TEST ("memory-a-memfd-that-allows-seals-cannot-shrink-any-more", test_sealed);
  TEST ("memory-the-connection-itself-is-refused", test_own_socket);
  for (guint i = 0; i < G_N_ELEMENTS (wrong_kinds); i++)
    {
      g_autofree char *path = g_strdup_printf (
          "/protocol/memory-a-descriptor-of-kind-%s-is-refused", wrong_kinds[i].name);

      g_test_add_data_func (path, GUINT_TO_POINTER (i), test_wrong_kind);
    }
  return g_test_run ();
}
