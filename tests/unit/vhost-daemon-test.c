/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon from outside: sockets, front-ends that come and go, descriptors that run out, stops
 * and starts. Front-ends here mostly say nothing; what is said is the sessions' business. */
#include "vhost-daemon-private.h"

#include "vhost-backend.h"
#include "vhost-chain.h"
#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-frontend-queue.h"
#include "vhost-frontend.h"
#include "vhost-queue.h"
#include "vhost-session.h"
#include "vhost-wire-private.h"

#include <dirent.h>
#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEADLINE_US (20 * G_USEC_PER_SEC)

/* A device that counts what happens to it. */
typedef struct
{
  VhostBackend parent_instance;
  gboolean fails;
  guint starts, stops;
  _Atomic (guint) workers_started, workers_stopped;
} CountBackend;
typedef struct
{
  VhostBackendClass parent_class;
} CountBackendClass;
GType count_backend_get_type (void);
G_DEFINE_TYPE (CountBackend, count_backend, VHOST_TYPE_BACKEND)

static gboolean
count_backend_start (VhostBackend *backend, GError **error)
{
  CountBackend *self = (CountBackend *) backend;
  if (self->fails)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BACKEND, "the image is not there");
      return FALSE;
    }
  self->starts++;
  return TRUE;
}

static void
count_backend_stop (VhostBackend *backend)
{
  ((CountBackend *) backend)->stops++;
}

static void
count_backend_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  vhost_chain_complete (chain, 0);
}

static void
count_backend_worker_started (VhostBackend *backend, VhostWorker *worker)
{
  atomic_fetch_add (&((CountBackend *) backend)->workers_started, 1);
}

static void
count_backend_worker_stopped (VhostBackend *backend, VhostWorker *worker)
{
  atomic_fetch_add (&((CountBackend *) backend)->workers_stopped, 1);
}

static void
count_backend_class_init (CountBackendClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);
  backend_class->start = count_backend_start;
  backend_class->stop = count_backend_stop;
  backend_class->process_chain = count_backend_process_chain;
  backend_class->worker_started = count_backend_worker_started;
  backend_class->worker_stopped = count_backend_worker_stopped;
  vhost_backend_class_set_device (backend_class, "count", 63, 4);
}

static void
count_backend_init (CountBackend *self)
{
}

static CountBackend *
new_backend (guint workers)
{
  return g_object_new (count_backend_get_type (), "workers", workers, NULL);
}

typedef struct
{
  CountBackend *backend;
  VhostDaemon *daemon;
  char *folder;
  char *path;
  guint n_fds;
  guint opened, closed, closed_with_error;
  guint kicks;
  GThread *main_thread;
  GThread *quitter;
  guint config_changes;
  GPtrArray *created; /* by create-backend */
  guint may_create;
} Fixture;

static guint
count_fds (void)
{
  guint n = 0;
  DIR *directory = opendir ("/proc/self/fd");
  while (readdir (directory) != NULL)
    n++;
  closedir (directory);
  return n;
}

#define WAIT_FOR(condition)                                                                        \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + DEADLINE_US;                                      \
    guint _timer = g_timeout_add (5, on_tick, NULL);                                               \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_main_context_iteration (NULL, TRUE);                                                     \
      }                                                                                            \
    g_source_remove (_timer);                                                                      \
  }                                                                                                \
  G_STMT_END

/* Only wakes the loop, so that a condition that no source announces is looked at. */
static gboolean
on_tick (gpointer data)
{
  return G_SOURCE_CONTINUE;
}

static void
on_opened (VhostDaemon *daemon, VhostSession *session, gpointer data)
{
  Fixture *f = data;
  f->opened++;
  g_assert_cmpint (vhost_daemon_get_state (daemon), ==, VHOST_DAEMON_STATE_RUNNING);
  g_assert_cmpint (vhost_session_get_peer_pid (session), ==, getpid ());
}

static void
on_closed (VhostDaemon *daemon, VhostSession *session, GError *error, gpointer data)
{
  Fixture *f = data;
  f->closed++;
  f->closed_with_error += error != NULL;
}

static void
set_up (Fixture *f, gconstpointer workers)
{
  f->n_fds = count_fds ();
  f->main_thread = g_thread_self ();
  f->folder = g_dir_make_tmp ("vhost-daemon-XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "s", NULL);
  f->backend = new_backend (GPOINTER_TO_UINT (workers));
  f->daemon = vhost_daemon_new ("disk0", VHOST_BACKEND (f->backend));
  f->created = g_ptr_array_new_with_free_func (g_object_unref);
  g_object_set (f->daemon, "socket-path", f->path, NULL);
  g_signal_connect (f->daemon, "session-opened", G_CALLBACK (on_opened), f);
  g_signal_connect (f->daemon, "session-closed", G_CALLBACK (on_closed), f);
}

static void
stop (Fixture *f)
{
  vhost_daemon_stop_async (f->daemon, NULL, NULL, NULL);
  WAIT_FOR (vhost_daemon_get_state (f->daemon) == VHOST_DAEMON_STATE_STOPPED);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  stop (f);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_cmpuint (f->backend->starts, ==, f->backend->stops);
  g_assert_cmpuint (atomic_load (&f->backend->workers_started), ==,
                    atomic_load (&f->backend->workers_stopped));
  g_assert_finalize_object (f->daemon);
  g_assert_finalize_object (f->backend);
  g_ptr_array_unref (f->created);
  g_unlink (f->path);
  g_rmdir (f->folder);
  g_free (f->path);
  g_free (f->folder);
  /* Every descriptor of the test is closed again. */
  g_assert_cmpuint (count_fds (), ==, f->n_fds);
}

static void
start (Fixture *f)
{
  GError *error = NULL;
  vhost_daemon_start (f->daemon, &error);
  g_assert_no_error (error);
}

static void
assert_start_fails (Fixture *f, int code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_assert_false (vhost_daemon_start (f->daemon, &error));
  g_assert_error (error, VHOST_ERROR, code);
  if (strstr (error->message, words) == NULL)
    g_error ("\"%s\" does not say \"%s\"", error->message, words);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_STOPPED);
}

static void
make_address (const char *path, struct sockaddr_un *address)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  g_strlcpy (address->sun_path, path, sizeof address->sun_path);
}

static int
connect_to (const char *path)
{
  struct sockaddr_un address;
  make_address (path, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (fd, !=, -1);
  g_assert_cmpint (connect (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  return fd;
}

static int
listen_at (const char *path)
{
  struct sockaddr_un address;
  make_address (path, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  g_assert_cmpint (listen (fd, 8), ==, 0);
  return fd;
}

static guint
n_sessions (Fixture *f)
{
  return g_list_model_get_n_items (vhost_daemon_get_sessions (f->daemon));
}

/* Sockets */

static void
test_needs_socket (Fixture *f, gconstpointer data)
{
  g_object_set (f->daemon, "socket-path", "", NULL);
  assert_start_fails (f, VHOST_ERROR_INVALID, "no socket");
}

static void
test_one_socket_only (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_autofree char *other = g_strconcat (f->path, "2", NULL);
  int fd = listen_at (other);
  g_assert_true (vhost_daemon_adopt_fd (f->daemon, fd, &error));
  g_assert_no_error (error);
  assert_start_fails (f, VHOST_ERROR_INVALID, "a socket path and a file descriptor");
  g_unlink (other);
}

static void
test_long_path (Fixture *f, gconstpointer data)
{
  g_autofree char *name = g_strnfill (108, 'x');
  g_object_set (f->daemon, "socket-path", name, NULL);
  assert_start_fails (f, VHOST_ERROR_INVALID, "has 108 bytes, at most 107");
  /* As a client it is the same. */
  g_object_set (f->daemon, "mode", VHOST_DAEMON_MODE_CLIENT, NULL);
  assert_start_fails (f, VHOST_ERROR_INVALID, "has 108 bytes, at most 107");
}

static void
test_socket_mode (Fixture *f, gconstpointer data)
{
  struct stat info;
  mode_t old = umask (0077);
  g_object_set (f->daemon, "socket-mode", 0626, NULL);
  start (f);
  umask (old);
  g_assert_cmpint (lstat (f->path, &info), ==, 0);
  g_assert_cmpint (info.st_mode & 0777, ==, 0626);
}

static void
test_replaces_stale (Fixture *f, gconstpointer data)
{
  int fd = listen_at (f->path);
  vhost_fd_clear (&fd);
  g_assert_true (g_file_test (f->path, G_FILE_TEST_EXISTS));
  start (f);
  fd = connect_to (f->path);
  WAIT_FOR (n_sessions (f) == 1);
  vhost_fd_clear (&fd);
}

static void
test_refuses_live (Fixture *f, gconstpointer data)
{
  int fd = listen_at (f->path);
  assert_start_fails (f, VHOST_ERROR_BUSY, "another process listens on");
  vhost_fd_clear (&fd);
  /* The other one ended: now it works. */
  start (f);
}

static void
test_refuses_file (Fixture *f, gconstpointer data)
{
  g_assert_true (g_file_set_contents (f->path, "precious", -1, NULL));
  assert_start_fails (f, VHOST_ERROR_SOCKET, "is not a socket");
  g_assert_true (g_file_test (f->path, G_FILE_TEST_IS_REGULAR));
}

static void
test_refuses_missing_folder (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->folder, "none", "s", NULL);
  g_object_set (f->daemon, "socket-path", path, NULL);
  assert_start_fails (f, VHOST_ERROR_SOCKET, "No such file");
}

static void
test_removes_own_socket (Fixture *f, gconstpointer data)
{
  start (f);
  g_assert_true (g_file_test (f->path, G_FILE_TEST_EXISTS));
  stop (f);
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
}

static void
test_leaves_foreign_socket (Fixture *f, gconstpointer data)
{
  start (f);
  g_unlink (f->path);
  int fd = listen_at (f->path);
  stop (f);
  g_assert_true (g_file_test (f->path, G_FILE_TEST_EXISTS));
  vhost_fd_clear (&fd);
}

/* Sessions */

static void
test_one_after_another (Fixture *f, gconstpointer data)
{
  start (f);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_WAITING);
  for (guint i = 1; i <= 3; i++)
    {
      int fd = connect_to (f->path);
      WAIT_FOR (f->opened == i);
      g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_RUNNING);
      g_assert_cmpuint (n_sessions (f), ==, 1);
      g_autoptr (VhostSession) session
          = g_list_model_get_item (vhost_daemon_get_sessions (f->daemon), 0);
      g_assert_true (vhost_session_get_backend (session) == VHOST_BACKEND (f->backend));
      vhost_fd_clear (&fd);
      WAIT_FOR (f->closed == i);
      g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_WAITING);
      g_assert_cmpuint (n_sessions (f), ==, 0);
    }
  g_assert_cmpuint (f->closed_with_error, ==, 0);
  g_assert_cmpuint (f->backend->starts, ==, 1);
}

static void
test_second_waits (Fixture *f, gconstpointer data)
{
  start (f);
  int first = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  int second = connect_to (f->path); /* into the kernel's queue */
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_cmpuint (f->opened, ==, 1);
  vhost_fd_clear (&first);
  WAIT_FOR (f->opened == 2);
  g_assert_cmpuint (f->closed, ==, 1);
  vhost_fd_clear (&second);
  WAIT_FOR (f->closed == 2);
}

static VhostBackend *
on_create_backend (VhostDaemon *daemon, gpointer data)
{
  Fixture *f = data;
  if (f->may_create == 0)
    return NULL;
  f->may_create--;
  CountBackend *backend = new_backend (0);
  g_ptr_array_add (f->created, g_object_ref (backend));
  return VHOST_BACKEND (backend);
}

static void
test_creates_backends (Fixture *f, gconstpointer data)
{
  f->may_create = 2;
  g_signal_connect (f->daemon, "create-backend", G_CALLBACK (on_create_backend), f);
  g_object_set (f->daemon, "max-sessions", 3, NULL);
  start (f);
  int fds[4];
  for (guint i = 0; i < 4; i++)
    fds[i] = connect_to (f->path);
  WAIT_FOR (f->opened == 3);
  g_assert_cmpuint (f->created->len, ==, 2);
  /* No two sessions share a back-end object. */
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostSession) session
          = g_list_model_get_item (vhost_daemon_get_sessions (f->daemon), i);
      g_assert_true (g_hash_table_add (seen, vhost_session_get_backend (session)));
    }
  /* The fourth takes the place of whoever goes first, and its back-end. */
  vhost_fd_clear (&fds[1]);
  WAIT_FOR (f->opened == 4);
  g_assert_cmpuint (f->created->len, ==, 2);
  stop (f);
  for (guint i = 0; i < 2; i++)
    {
      CountBackend *backend = g_ptr_array_index (f->created, i);
      g_assert_cmpuint (backend->starts, ==, 1);
      g_assert_cmpuint (backend->stops, ==, 1);
    }
  for (guint i = 0; i < 4; i++)
    vhost_fd_clear (&fds[i]);
}

static void
test_waits_without_backend (Fixture *f, gconstpointer data)
{
  g_object_set (f->daemon, "max-sessions", 2, NULL);
  start (f);
  int first = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*create-backend*");
  int second = connect_to (f->path);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_test_assert_expected_messages ();
  g_assert_cmpuint (f->opened, ==, 1);
  vhost_fd_clear (&first);
  WAIT_FOR (f->opened == 2);
  vhost_fd_clear (&second);
}

static void
test_raised_max_sessions (Fixture *f, gconstpointer data)
{
  f->may_create = 1;
  g_signal_connect (f->daemon, "create-backend", G_CALLBACK (on_create_backend), f);
  start (f);
  int first = connect_to (f->path), second = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  g_object_set (f->daemon, "max-sessions", 2, NULL);
  WAIT_FOR (f->opened == 2);
  vhost_fd_clear (&first);
  vhost_fd_clear (&second);
}

/* Stop and start */

static void
on_stopped (GObject *object, GAsyncResult *result, gpointer data)
{
  GError *error = NULL;
  g_assert_true (vhost_daemon_stop_finish (VHOST_DAEMON (object), result, &error));
  g_assert_no_error (error);
  ++*(guint *) data;
}

static void
test_stops_with_sessions (Fixture *f, gconstpointer data)
{
  guint done = 0;
  char byte;
  start (f);
  int fd = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  vhost_daemon_stop_async (f->daemon, NULL, on_stopped, &done);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_STOPPING);
  vhost_daemon_stop_async (f->daemon, NULL, on_stopped, &done);
  g_autoptr (GError) error = NULL;
  g_assert_false (vhost_daemon_start (f->daemon, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  WAIT_FOR (done == 2);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_STOPPED);
  g_assert_cmpuint (f->closed, ==, 1);
  g_assert_cmpuint (f->backend->stops, ==, 1);
  g_assert_cmpint (read (fd, &byte, 1), ==, 0);
  vhost_fd_clear (&fd);
  /* Once more is no error. */
  vhost_daemon_stop_async (f->daemon, NULL, on_stopped, &done);
  WAIT_FOR (done == 3);
}

static void
test_starts_again (Fixture *f, gconstpointer workers)
{
  for (guint i = 1; i <= 3; i++)
    {
      start (f);
      start (f); /* does nothing */
      g_assert_cmpuint (f->backend->starts, ==, i);
      int fd = connect_to (f->path);
      WAIT_FOR (f->opened == i);
      stop (f);
      g_assert_cmpuint (f->closed, ==, i);
      g_assert_cmpuint (f->backend->stops, ==, i);
      vhost_fd_clear (&fd);
    }
  guint n_workers = MAX (GPOINTER_TO_UINT (workers), 1);
  g_assert_cmpuint (atomic_load (&f->backend->workers_started), ==, 3 * n_workers);
}

static void
test_backend_fails (Fixture *f, gconstpointer data)
{
  f->backend->fails = TRUE;
  assert_start_fails (f, VHOST_ERROR_BACKEND, "the image is not there");
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
  f->backend->fails = FALSE;
  start (f);
}

static gpointer
quit_from_thread (gpointer data)
{
  vhost_daemon_quit (data);
  return NULL;
}

static gboolean
start_quit_thread (gpointer data)
{
  Fixture *f = data;
  f->quitter = g_thread_new ("quitter", quit_from_thread, f->daemon);
  return G_SOURCE_REMOVE;
}

static void
test_quit_from_thread (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  vhost_daemon_quit (f->daemon); /* stopped: forgotten */
  g_idle_add (start_quit_thread, f);
  g_assert_true (vhost_daemon_run (f->daemon, &error));
  g_assert_no_error (error);
  g_thread_join (f->quitter);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_STOPPED);
}

static gpointer
connect_and_go (gpointer data)
{
  Fixture *f = data;
  int fd = connect_to (f->path);
  vhost_fd_clear (&fd);
  return NULL;
}

static void
test_exit_on_disconnect (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_object_set (f->daemon, "exit-on-disconnect", TRUE, NULL);
  start (f);
  GThread *thread = g_thread_new ("front-end", connect_and_go, f);
  g_assert_true (vhost_daemon_run (f->daemon, &error));
  g_thread_join (thread);
  g_assert_cmpuint (f->closed, ==, 1);
}

static void
quit_on_opened (VhostDaemon *daemon, VhostSession *session, gpointer data)
{
  vhost_daemon_stop_async (daemon, NULL, NULL, NULL);
}

static void
test_stop_in_handler (Fixture *f, gconstpointer data)
{
  g_signal_connect (f->daemon, "session-opened", G_CALLBACK (quit_on_opened), NULL);
  start (f);
  int fd = connect_to (f->path);
  WAIT_FOR (vhost_daemon_get_state (f->daemon) == VHOST_DAEMON_STATE_STOPPED);
  g_assert_cmpuint (f->closed, ==, 1);
  vhost_fd_clear (&fd);
}

static void
on_config_changed (VhostDaemon *daemon, VhostSession *session, guint offset, guint length,
                   VhostConfigOrigin origin, gpointer data)
{
  Fixture *f = data;
  f->config_changes++;
  g_assert_cmpint (origin, ==, VHOST_CONFIG_ORIGIN_DEVICE);
  g_assert_cmpuint (length, >, 0);
}

static void
test_config_changed (Fixture *f, gconstpointer data)
{
  g_signal_connect (f->daemon, "config-changed", G_CALLBACK (on_config_changed), f);
  start (f);
  int fd = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  vhost_backend_notify_config (VHOST_BACKEND (f->backend));
  WAIT_FOR (f->config_changes == 1);
  vhost_fd_clear (&fd);
}

static void
on_session_changed (VhostDaemon *daemon, VhostSession *session, gpointer n)
{
  ++*(guint *) n;
}

/* Also where the main context never rests. */
static void
test_session_changed (Fixture *f, gconstpointer data)
{
  const VhostWireHeader messages[] = { { VHOST_WIRE_SET_OWNER, VHOST_WIRE_VERSION, 0 },
                                       { VHOST_WIRE_SET_OWNER, VHOST_WIRE_VERSION, 0 } };
  guint changes = 0;
  guint busy = g_timeout_add_full (G_PRIORITY_DEFAULT, 0, on_tick, NULL, NULL);

  g_signal_connect (f->daemon, "session-changed", G_CALLBACK (on_session_changed), &changes);
  start (f);
  int fd = connect_to (f->path);
  WAIT_FOR (f->opened == 1);
  g_assert_cmpuint (changes, ==, 0);
  g_assert_cmpint (write (fd, messages, sizeof messages), ==, sizeof messages);
  WAIT_FOR (changes > 0);
  g_assert_cmpuint (changes, ==, 1);
  g_source_remove (busy);
  vhost_fd_clear (&fd);
  stop (f); /* before what it counts into goes */
}

/* Given descriptors */

static void
test_adopts_listening (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_object_set (f->daemon, "socket-path", NULL, NULL);
  g_assert_true (vhost_daemon_adopt_fd (f->daemon, listen_at (f->path), &error));
  for (guint i = 1; i <= 2; i++)
    {
      start (f);
      int fd = connect_to (f->path);
      WAIT_FOR (f->opened == i);
      stop (f);
      vhost_fd_clear (&fd);
    }
  /* Not ours to remove. */
  g_assert_true (g_file_test (f->path, G_FILE_TEST_EXISTS));
}

static void
test_adopts_connected (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  int pair[2];
  g_object_set (f->daemon, "socket-path", NULL, NULL);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  g_assert_true (vhost_daemon_adopt_fd (f->daemon, pair[0], &error));
  start (f);
  g_assert_cmpuint (f->opened, ==, 1);
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_RUNNING);
  vhost_fd_clear (&pair[1]);
  WAIT_FOR (vhost_daemon_get_state (f->daemon) == VHOST_DAEMON_STATE_STOPPED);
  g_assert_cmpuint (f->closed, ==, 1);
  /* The connection is used up. */
  assert_start_fails (f, VHOST_ERROR_INVALID, "no socket");
}

static void
test_adopt_refuses (Fixture *f, gconstpointer data)
{
  int pair[2];
  g_assert_true (g_unix_open_pipe (pair, FD_CLOEXEC, NULL));
  int fds[] = { -1,
                4000,
                pair[0],
                socket (AF_UNIX, SOCK_STREAM, 0),
                socket (AF_UNIX, SOCK_DGRAM, 0),
                socket (AF_INET, SOCK_STREAM, 0) };
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      g_autoptr (GError) error = NULL;
      g_assert_false (vhost_daemon_adopt_fd (f->daemon, fds[i], &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      if (i >= 3)
        vhost_fd_clear (&fds[i]); /* still ours */
    }
  start (f);
  g_autoptr (GError) error = NULL;
  g_assert_false (vhost_daemon_adopt_fd (f->daemon, pair[0], &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  vhost_fd_clear (&pair[0]);
  vhost_fd_clear (&pair[1]);
}

/* Client */

static void
test_client_reconnects (Fixture *f, gconstpointer data)
{
  g_object_set (f->daemon, "mode", VHOST_DAEMON_MODE_CLIENT, "reconnect-interval", 20, NULL);
  start (f); /* nobody listens yet */
  g_assert_cmpint (vhost_daemon_get_state (f->daemon), ==, VHOST_DAEMON_STATE_WAITING);
  int listener = listen_at (f->path);
  for (guint i = 1; i <= 3; i++)
    {
      WAIT_FOR (f->opened == i);
      int fd = accept (listener, NULL, NULL);
      g_assert_cmpint (fd, !=, -1);
      vhost_fd_clear (&fd);
      WAIT_FOR (f->closed == i);
    }
  WAIT_FOR (f->opened == 4);
  stop (f);
  vhost_fd_clear (&listener);
}

static void
test_client_has_patience (Fixture *f, gconstpointer data)
{
  g_object_set (f->daemon, "mode", VHOST_DAEMON_MODE_CLIENT, "reconnect-interval", 100, NULL);
  int listener = listen_at (f->path);
  gint64 begin = g_get_monotonic_time ();
  start (f);
  for (guint i = 1; i <= 3; i++)
    {
      WAIT_FOR (f->opened == i);
      int fd = accept (listener, NULL, NULL);
      vhost_fd_clear (&fd);
    }
  /* Hung up on at once each time, it connects no more often than it was told. */
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, 190 * 1000);
  stop (f);
  vhost_fd_clear (&listener);
}

/* Descriptors run out */

static struct rlimit
forbid_new_fds (void)
{
  struct rlimit old, none;
  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  int first_free = dup (STDERR_FILENO);
  close (first_free);
  none = old;
  none.rlim_cur = (rlim_t) first_free;
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &none), ==, 0);
  g_assert_cmpint (dup (STDERR_FILENO), ==, -1);
  return old;
}

static gboolean
on_time (gpointer data)
{
  *(gboolean *) data = TRUE;
  return G_SOURCE_REMOVE;
}

static void
test_few_fds (Fixture *f, gconstpointer data)
{
  start (f);
  int fd = connect_to (f->path);
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*file descriptors are left*ulimit*");
  struct rlimit old = forbid_new_fds ();
  gboolean over = FALSE;
  guint turns = 0;
  g_timeout_add (350, on_time, &over);
  while (!over)
    {
      g_main_context_iteration (NULL, TRUE);
      turns++;
    }
  /* It has looked again some times, said so once, tried nothing, and slept in between. */
  g_test_assert_expected_messages ();
  g_assert_cmpuint (turns, <, 20);
  g_assert_cmpuint (vhost_daemon_get_accept_attempts (f->daemon), ==, 0);
  g_assert_cmpuint (f->opened, ==, 0);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
  WAIT_FOR (f->opened == 1);
  vhost_fd_clear (&fd);
}

/* Kicks */

/* A front-end with one request, in a thread since its calls block. */
static gpointer
send_request (gpointer data)
{
  Fixture *f = data;
  GError *error = NULL;
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  vhost_frontend_connect (frontend, f->path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (frontend, G_MAXUINT64, G_MAXUINT64, &error);
  g_assert_no_error (error);
  vhost_frontend_add_memory (frontend, 0x100000, 1 << 20, &error);
  g_assert_no_error (error);
  VhostFrontendQueue *queue = vhost_frontend_add_queue (frontend, 0, 16, &error);
  g_assert_no_error (error);
  VhostFrontendBuffer buffer = { vhost_frontend_allocate (frontend, 512, 16), 512, TRUE };
  g_assert_true (vhost_frontend_queue_add (queue, &buffer, 1, FALSE, f));
  vhost_frontend_queue_kick (queue);
  gpointer token = NULL;
  guint32 length;
  gint64 deadline = g_get_monotonic_time () + DEADLINE_US;
  while (!vhost_frontend_queue_poll (queue, &token, &length))
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      vhost_frontend_queue_wait (queue, 100);
    }
  g_assert_true (token == f);
  vhost_frontend_close (frontend);
  return NULL;
}

static void
on_kick (VhostDaemon *daemon, VhostQueue *queue, gpointer data)
{
  Fixture *f = data;
  VhostChain *chain;
  f->kicks++;
  g_assert_true (g_thread_self () == f->main_thread);
  g_assert_cmpuint (vhost_queue_get_index (queue), ==, 0);
  if (vhost_daemon_get_backend (daemon) == VHOST_BACKEND (f->backend))
    return; /* its own process_chain () does the work */
  while ((chain = vhost_queue_pop (queue)) != NULL)
    vhost_chain_complete (chain, 0);
}

static void
exchange_request (Fixture *f)
{
  start (f);
  GThread *thread = g_thread_new ("front-end", send_request, f);
  WAIT_FOR (f->closed == 1);
  g_thread_join (thread);
}

static void
test_kick_is_a_device (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostBackend) simple = vhost_backend_new_simple ("simple", 63, 1);
  g_object_set (simple, "workers", 0, NULL);
  g_object_set (f->daemon, "backend", simple, NULL);
  g_signal_connect (f->daemon, "kick", G_CALLBACK (on_kick), f);
  exchange_request (f);
  g_assert_cmpuint (f->kicks, >=, 1);
  stop (f);
  g_object_set (f->daemon, "backend", NULL, NULL);
}

static void
test_kick_from_worker (Fixture *f, gconstpointer data)
{
  g_signal_connect (f->daemon, "kick", G_CALLBACK (on_kick), f);
  exchange_request (f);
  g_assert_cmpuint (f->kicks, >=, 1);
}

static void
test_no_kick_wanted (Fixture *f, gconstpointer data)
{
  exchange_request (f);
  g_assert_cmpuint (f->kicks, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  /* GLib's own descriptors, opened once and kept, do not count. */
  g_autoptr (GTask) task = g_task_new (NULL, NULL, NULL, NULL);
  g_task_return_boolean (task, TRUE);
#define TEST(path, workers, function)                                                              \
  g_test_add ("/daemon/" path, Fixture, GUINT_TO_POINTER (workers), set_up, function, tear_down)
  TEST ("refuses-to-start-without-a-socket", 0, test_needs_socket);
  TEST ("refuses-a-path-beside-a-descriptor", 0, test_one_socket_only);
  TEST ("refuses-a-socket-path-of-108-bytes", 0, test_long_path);
  TEST ("gives-its-socket-the-mode-it-was-told-whatever-the-umask", 0, test_socket_mode);
  TEST ("replaces-a-socket-that-nobody-listens-on", 0, test_replaces_stale);
  TEST ("refuses-a-socket-that-another-process-listens-on", 0, test_refuses_live);
  TEST ("refuses-a-file-that-is-no-socket", 0, test_refuses_file);
  TEST ("says-why-it-cannot-make-a-socket", 0, test_refuses_missing_folder);
  TEST ("removes-its-socket-when-it-stops", 0, test_removes_own_socket);
  TEST ("leaves-a-socket-that-is-not-its-own", 0, test_leaves_foreign_socket);
  TEST ("serves-one-front-end-after-another", 0, test_one_after_another);
  TEST ("serves-one-front-end-after-another-on-workers", 2, test_one_after_another);
  TEST ("lets-a-second-front-end-wait-until-the-first-has-gone", 1, test_second_waits);
  TEST ("gives-each-front-end-its-own-back-end", 1, test_creates_backends);
  TEST ("lets-a-front-end-wait-when-no-back-end-can-be-had", 0, test_waits_without_backend);
  TEST ("lets-waiting-front-ends-in-when-max-sessions-is-raised", 0, test_raised_max_sessions);
  TEST ("ends-its-sessions-when-it-stops", 1, test_stops_with_sessions);
  TEST ("can-be-started-again", 0, test_starts_again);
  TEST ("can-be-started-again-with-workers", 2, test_starts_again);
  TEST ("leaves-nothing-behind-when-the-back-end-does-not-start", 1, test_backend_fails);
  TEST ("can-be-told-to-quit-by-another-thread", 1, test_quit_from_thread);
  TEST ("stops-with-its-last-front-end-when-told-so", 0, test_exit_on_disconnect);
  TEST ("can-be-stopped-by-a-handler-of-session-opened", 0, test_stop_in_handler);
  TEST ("says-that-the-device-changed-its-configuration", 0, test_config_changed);
  TEST ("tells-once-of-several-messages", 0, test_session_changed);
  TEST ("serves-on-a-listening-descriptor", 0, test_adopts_listening);
  TEST ("serves-a-connected-descriptor-once", 0, test_adopts_connected);
  TEST ("refuses-descriptors-that-are-no-unix-stream-sockets", 0, test_adopt_refuses);
  TEST ("connects-again-as-a-client", 0, test_client_reconnects);
  TEST ("does-not-connect-in-a-loop-when-it-is-hung-up-on", 0, test_client_has_patience);
  TEST ("lets-nobody-in-while-descriptors-are-few", 0, test_few_fds);
  TEST ("kick-handler-alone-makes-a-device", 0, test_kick_is_a_device);
  TEST ("kick-from-a-worker-arrives-in-the-daemons-thread", 1, test_kick_from_worker);
  TEST ("serves-without-kick-handlers", 1, test_no_kick_wanted);
  return g_test_run ();
}
