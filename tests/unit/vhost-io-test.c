/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The I/O engine, with io_uring and with threads: whole results, continued transfers, errors,
 * cancellation. */
#include "vhost-io-private.h"
#include "vhost-worker-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct
{
  VhostWorker *worker;
  char *path;
  VhostIoFile *file;
} Fixture;

typedef struct
{
  VhostTask task;
  VhostIoOp op;
  VhostWorker *worker;
  void (*start) (VhostIo *io, gpointer test);
  VhostIoFile *file;
  struct iovec *iov;
  guint n_iov;
  guint64 offset;
  gssize result;
  gboolean within_call;
  gboolean done;
} Test;

static void
set_up (Fixture *f, gconstpointer data)
{
  VhostWaiterKind kind = GPOINTER_TO_INT (data);
  GError *error = NULL;
  int fd;

  memset (f, 0, sizeof *f);
  f->worker = vhost_worker_new_thread ("io", kind, 0, NULL, NULL, NULL, &error);
  if (f->worker == NULL && kind == VHOST_WAITER_URING)
    {
      g_test_skip (error->message);
      g_error_free (error);
      return;
    }
  g_assert_no_error (error);
  f->path = g_build_filename (g_get_tmp_dir (), "vhost-io-XXXXXX", NULL);
  fd = g_mkstemp (f->path);
  g_assert_cmpint (fd, >=, 0);
  f->file = vhost_io_file_new_take_fd (fd);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  vhost_worker_stop (f->worker);
  g_assert_finalize_object (f->worker);
  vhost_io_file_unref (f->file);
  g_unlink (f->path);
  g_free (f->path);
}

static void
done (VhostIoOp *op, gssize result)
{
  Test *test = op->user_data;

  g_assert_false (test->within_call);
  test->result = result;
  __atomic_store_n (&test->done, TRUE, __ATOMIC_RELEASE);
}

static void
run_start (VhostTask *task)
{
  Test *test = (Test *) task;

  test->op.done = done;
  test->op.user_data = test;
  test->within_call = TRUE;
  test->start (vhost_worker_get_io (test->worker), test);
  test->within_call = FALSE;
}

static void
begin (Test *test)
{
  test->task.run = run_start;
  vhost_worker_post (test->worker, &test->task);
}

static gssize
finish (Test *test)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  while (!__atomic_load_n (&test->done, __ATOMIC_ACQUIRE))
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      g_thread_yield ();
    }
  return test->result;
}

static void
start_read (VhostIo *io, gpointer data)
{
  Test *test = data;

  vhost_io_readv (io, &test->op, test->file, test->iov, test->n_iov, test->offset);
}

static void
start_write (VhostIo *io, gpointer data)
{
  Test *test = data;

  vhost_io_writev (io, &test->op, test->file, test->iov, test->n_iov, test->offset);
}

static void
start_sync (VhostIo *io, gpointer data)
{
  Test *test = data;

  vhost_io_fsync (io, &test->op, test->file, TRUE);
}

static void
start_punch (VhostIo *io, gpointer data)
{
  Test *test = data;

  vhost_io_fallocate (io, &test->op, test->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      test->offset, 4096);
}

static gssize
run (Fixture *f, void (*start) (VhostIo *io, gpointer test), struct iovec *iov, guint n_iov,
     guint64 offset)
{
  Test test = { .worker = f->worker,
                .start = start,
                .file = f->file,
                .iov = iov,
                .n_iov = n_iov,
                .offset = offset };

  begin (&test);
  return finish (&test);
}

static void
reads_what_it_wrote (Fixture *f, gconstpointer data)
{
  guint8 in[8192], out[8192];
  struct iovec iov[2] = { { in, 100 }, { in + 100, 8092 } };
  struct iovec back[2] = { { out, 5000 }, { out + 5000, 3192 } };

  if (f->worker == NULL)
    return;
  for (guint i = 0; i < sizeof in; i++)
    in[i] = i * 7;
  g_assert_cmpint (run (f, start_write, iov, 2, 4096), ==, 8192);
  g_assert_cmpint (run (f, start_sync, NULL, 0, 0), ==, 0);
  g_assert_cmpint (run (f, start_read, back, 2, 4096), ==, 8192);
  g_assert_cmpmem (in, sizeof in, out, sizeof out);
}

static void
a_read_across_the_end_is_short (Fixture *f, gconstpointer data)
{
  guint8 bytes[4096];
  struct iovec iov = { bytes, sizeof bytes };

  if (f->worker == NULL)
    return;
  g_assert_cmpint (ftruncate (vhost_io_file_get_fd (f->file), 1000), ==, 0);
  g_assert_cmpint (run (f, start_read, &iov, 1, 0), ==, 1000);
  g_assert_cmpint (run (f, start_read, &iov, 1, 5000), ==, 0);
}

static void
more_segments_than_one_call_takes (Fixture *f, gconstpointer data)
{
  enum
  {
    N = 3 * IOV_MAX + 5
  };
  g_autofree guint8 *in = g_malloc (N * 16);
  g_autofree guint8 *out = g_malloc0 (N * 16);
  g_autofree struct iovec *iov = g_new (struct iovec, N);

  if (f->worker == NULL)
    return;
  for (guint i = 0; i < N; i++)
    {
      memset (in + i * 16, i, 16);
      iov[i] = (struct iovec){ in + i * 16, 16 };
    }
  g_assert_cmpint (run (f, start_write, iov, N, 0), ==, N * 16);
  for (guint i = 0; i < N; i++)
    iov[i] = (struct iovec){ out + i * 16, 16 };
  g_assert_cmpint (run (f, start_read, iov, N, 0), ==, N * 16);
  g_assert_cmpmem (in, N * 16, out, N * 16);
}

static void
errors_are_negative_errno (Fixture *f, gconstpointer data)
{
  guint8 byte = 1;
  struct iovec iov = { &byte, 1 };
  VhostIoFile *writable = f->file;

  if (f->worker == NULL)
    return;
  f->file = vhost_io_file_new_take_fd (open (f->path, O_RDONLY | O_CLOEXEC));
  g_assert_cmpint (run (f, start_write, &iov, 1, 0), ==, -EBADF);
  vhost_io_file_unref (f->file);
  f->file = writable;
  iov.iov_base = GSIZE_TO_POINTER (1);
  g_assert_cmpint (ftruncate (vhost_io_file_get_fd (f->file), 10), ==, 0);
  g_assert_cmpint (run (f, start_read, &iov, 1, 0), ==, -EFAULT);
}

static void
punches_holes (Fixture *f, gconstpointer data)
{
  guint8 bytes[4096];
  struct iovec iov = { bytes, sizeof bytes };
  gssize result;

  if (f->worker == NULL)
    return;
  memset (bytes, 1, sizeof bytes);
  g_assert_cmpint (run (f, start_write, &iov, 1, 0), ==, 4096);
  result = run (f, start_punch, NULL, 0, 0);
  if (result == -EOPNOTSUPP)
    {
      g_test_skip ("this file system has no holes");
      return;
    }
  g_assert_cmpint (result, ==, 0);
  g_assert_cmpint (run (f, start_read, &iov, 1, 0), ==, 4096);
  g_assert_cmpuint (bytes[17], ==, 0);
}

static void
a_batch_of_reads_all_end (Fixture *f, gconstpointer data)
{
  Test tests[64];
  guint8 bytes[64][512];
  struct iovec iov[64];

  if (f->worker == NULL)
    return;
  g_assert_cmpint (ftruncate (vhost_io_file_get_fd (f->file), 64 * 512), ==, 0);
  for (guint i = 0; i < 64; i++)
    {
      iov[i] = (struct iovec){ bytes[i], 512 };
      tests[i] = (Test){ .worker = f->worker,
                         .start = start_read,
                         .file = f->file,
                         .iov = &iov[i],
                         .n_iov = 1,
                         .offset = i * 512 };
      begin (&tests[i]);
    }
  for (guint i = 0; i < 64; i++)
    g_assert_cmpint (finish (&tests[i]), ==, 512);
}

static void
memory_files_are_read_at_once (Fixture *f, gconstpointer data)
{
  guint8 bytes[512];
  struct iovec iov = { bytes, sizeof bytes };
  VhostIoFile *on_disk = f->file;

  if (f->worker == NULL)
    return;
  f->file = vhost_io_file_new_take_fd (memfd_create ("memory", MFD_CLOEXEC));
  g_assert_true (f->file->in_memory);
  memset (bytes, 3, sizeof bytes);
  g_assert_cmpint (run (f, start_write, &iov, 1, 100), ==, 512);
  memset (bytes, 0, sizeof bytes);
  g_assert_cmpint (run (f, start_read, &iov, 1, 100), ==, 512);
  g_assert_cmpuint (bytes[511], ==, 3);
  vhost_io_file_unref (f->file);
  f->file = on_disk;
}

static gssize
blocking_call (VhostIoOp *op)
{
  return 4711;
}

static void
start_call (VhostIo *io, gpointer data)
{
  vhost_io_call (io, &((Test *) data)->op, blocking_call);
}

static void
a_call_runs_on_another_thread (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  g_assert_cmpint (run (f, start_call, NULL, 0, 0), ==, 4711);
}

static void
start_poll (VhostIo *io, gpointer data)
{
  Test *test = data;

  vhost_io_poll (io, &test->op, test->file, POLLIN);
}

static void
run_cancel (VhostTask *task)
{
  Test *cancel = (Test *) task;
  Test *test = cancel->op.user_data;

  vhost_io_cancel (vhost_worker_get_io (test->worker), &test->op);
  __atomic_store_n (&cancel->done, TRUE, __ATOMIC_RELEASE);
}

static void
a_poll_ends_by_its_event_or_by_cancel (Fixture *f, gconstpointer data)
{
  int fds[2];
  VhostIoFile *reader;

  if (f->worker == NULL)
    return;
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  reader = vhost_io_file_new_take_fd (fds[0]);
  {
    Test test = { .worker = f->worker, .start = start_poll, .file = reader };
    Test cancel = { .task.run = run_cancel, .op.user_data = &test };

    begin (&test);
    vhost_worker_post (f->worker, &cancel.task);
    g_assert_cmpint (finish (&test), ==, -ECANCELED);
    finish (&cancel);
  }
  {
    Test test = { .worker = f->worker, .start = start_poll, .file = reader };

    begin (&test);
    g_assert_cmpint (write (fds[1], "x", 1), ==, 1);
    g_assert_cmpint (finish (&test), ==, POLLIN);
  }
  close (fds[1]);
  vhost_io_file_unref (reader);
}

#define ADD(name)                                                                                  \
  g_test_add ("/io/threads/" #name, Fixture, GINT_TO_POINTER (VHOST_WAITER_EPOLL), set_up, name,   \
              tear_down);                                                                          \
  g_test_add ("/io/uring/" #name, Fixture, GINT_TO_POINTER (VHOST_WAITER_URING), set_up, name,     \
              tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (reads_what_it_wrote);
  ADD (a_read_across_the_end_is_short);
  ADD (more_segments_than_one_call_takes);
  ADD (errors_are_negative_errno);
  ADD (punches_holes);
  ADD (a_batch_of_reads_all_end);
  ADD (memory_files_are_read_at_once);
  ADD (a_call_runs_on_another_thread);
  ADD (a_poll_ends_by_its_event_or_by_cancel);
  return g_test_run ();
}
