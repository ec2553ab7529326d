/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A back-end program as its users see it: options, exit codes, signals, service manager, captive
 * command. This program plays the device itself when its first argument is --as-program. */
#include "vhost-backend-main.h"

#include "vhost-backend.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-frontend.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEADLINE_US (20 * G_USEC_PER_SEC)

/* The device */

typedef struct
{
  VhostBackend parent_instance;
  char *image;
  gboolean read_only;
  guint64 size;
} ToyBackend;
typedef struct
{
  VhostBackendClass parent_class;
} ToyBackendClass;
GType toy_backend_get_type (void);
G_DEFINE_TYPE (ToyBackend, toy_backend, VHOST_TYPE_BACKEND)

enum
{
  PROP_IMAGE = 1,
  PROP_READ_ONLY,
  PROP_SIZE,
};

static void
toy_backend_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  ToyBackend *self = (ToyBackend *) object;
  if (id == PROP_IMAGE)
    self->image = g_value_dup_string (value);
  else if (id == PROP_READ_ONLY)
    self->read_only = g_value_get_boolean (value);
  else
    self->size = g_value_get_uint64 (value);
}

/* Without an image it says what it was told, with one it works. */
static gboolean
toy_backend_start (VhostBackend *backend, GError **error)
{
  ToyBackend *self = (ToyBackend *) backend;
  if (g_strcmp0 (self->image, "good") == 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_BACKEND,
               "no image: image=%s read-only=%d size=%" G_GUINT64_FORMAT, self->image,
               self->read_only, self->size);
  return FALSE;
}

static void
toy_backend_finalize (GObject *object)
{
  g_free (((ToyBackend *) object)->image);
  G_OBJECT_CLASS (toy_backend_parent_class)->finalize (object);
}

static void
toy_backend_class_init (ToyBackendClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);
  GParamFlags flags = G_PARAM_WRITABLE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS;
  object_class->set_property = toy_backend_set_property;
  object_class->finalize = toy_backend_finalize;
  backend_class->start = toy_backend_start;
  g_object_class_install_property (
      object_class, PROP_IMAGE,
      g_param_spec_string ("image", "", "Where the data is", NULL, flags));
  g_object_class_install_property (
      object_class, PROP_READ_ONLY,
      g_param_spec_boolean ("read-only", "", "Refuse writes", FALSE, flags));
  g_object_class_install_property (
      object_class, PROP_SIZE,
      g_param_spec_uint64 ("size", "", "How much", 0, G_MAXUINT64, 0, flags));
  vhost_backend_class_set_device (backend_class, "toy", 63, 2);
  vhost_backend_class_add_capability (backend_class, "image");
  vhost_backend_class_add_capability (backend_class, "read-only");
}

static void
toy_backend_init (ToyBackend *self)
{
}

/* Running it */

typedef struct
{
  char *folder;
  char *path;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("vhost-main-XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "s", NULL);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  /* Nothing was left in the folder. */
  g_assert_cmpint (g_rmdir (f->folder), ==, 0);
  g_free (f->path);
  g_free (f->folder);
}

static GSubprocessLauncher *
new_launcher (GSubprocessFlags flags)
{
  GSubprocessLauncher *launcher = g_subprocess_launcher_new (flags);
  g_subprocess_launcher_unsetenv (launcher, "NOTIFY_SOCKET");
  g_subprocess_launcher_unsetenv (launcher, "LISTEN_FDS");
  g_subprocess_launcher_unsetenv (launcher, "LISTEN_PID");
  g_subprocess_launcher_unsetenv (launcher, "G_MESSAGES_DEBUG");
  return launcher;
}

static GSubprocess *
spawn (GSubprocessLauncher *launcher, const char *const *arguments)
{
  GError *error = NULL;
  g_autoptr (GPtrArray) words = g_ptr_array_new ();
  g_ptr_array_add (words, (gpointer) "/proc/self/exe");
  g_ptr_array_add (words, (gpointer) "--as-program");
  for (guint i = 0; arguments[i] != NULL; i++)
    g_ptr_array_add (words, (gpointer) arguments[i]);
  g_ptr_array_add (words, NULL);
  GSubprocess *child
      = g_subprocess_launcher_spawnv (launcher, (const char *const *) words->pdata, &error);
  g_assert_no_error (error);
  return child;
}

/* Exit code, or 128 and the signal. */
static int
finish (GSubprocess *child, char **out, char **err)
{
  GError *error = NULL;
  g_subprocess_communicate_utf8 (child, NULL, NULL, out, err, &error);
  g_assert_no_error (error);
  return g_subprocess_get_if_exited (child) ? g_subprocess_get_exit_status (child)
                                            : 128 + g_subprocess_get_term_sig (child);
}

static int
run (const char *const *arguments, char **out, char **err)
{
  g_autoptr (GSubprocessLauncher) launcher
      = new_launcher (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_autoptr (GSubprocess) child = spawn (launcher, arguments);
  return finish (child, out, err);
}
#define RUN(out, err, ...) run ((const char *const[]){ __VA_ARGS__, NULL }, out, err)

static void
assert_contains (const char *text, const char *part)
{
  if (strstr (text, part) == NULL)
    g_error ("\"%s\" does not contain \"%s\"", text, part);
}

#define WAIT_FOR(condition)                                                                        \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + DEADLINE_US;                                      \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_usleep (1000);                                                                           \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END

static void
make_address (const char *path, struct sockaddr_un *address)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  g_strlcpy (address->sun_path, path, sizeof address->sun_path);
}

static int
try_connect (const char *path)
{
  struct sockaddr_un address;
  make_address (path, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect (fd, (struct sockaddr *) &address, sizeof address) == -1)
    vhost_fd_clear (&fd);
  return fd;
}

static int
bind_at (const char *path, int type)
{
  struct sockaddr_un address;
  make_address (path, &address);
  int fd = socket (AF_UNIX, type | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  if (type == SOCK_STREAM)
    g_assert_cmpint (listen (fd, 8), ==, 0);
  return fd;
}

static VhostFrontend *
serve_me (const char *path)
{
  GError *error = NULL;
  VhostFrontend *frontend = vhost_frontend_new ();
  WAIT_FOR (vhost_frontend_connect (frontend, path, NULL));
  vhost_frontend_negotiate (frontend, G_MAXUINT64, G_MAXUINT64, &error);
  g_assert_no_error (error);
  return frontend;
}

/* What is printed and refused */

static void
test_capabilities (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL;
  g_assert_cmpint (RUN (&out, &err, "--nonsense", "--fd=x", "--print-capabilities", "rest"), ==, 0);
  g_assert_cmpstr (err, ==, "");
  g_assert_cmpstr (out, ==,
                   "{\n  \"type\": \"toy\",\n  \"features\": [\n    \"image\",\n"
                   "    \"read-only\"\n  ]\n}\n");
}

static void
test_help (Fixture *f, gconstpointer data)
{
  static const char *const options[] = {
    "--socket-path=PATH", "--fd=FDNUM",
    "--config=FILE",      "--run=COMMAND",
    "--client",           "--socket-mode",
    "--on-disconnect",    "--max-sessions",
    "--drain-timeout",    "--in-band",
    "--seal-memory",      "--reconnect-interval",
    "--waiter",           "--print-capabilities",
    "--version",          "--help",
    "--num-queues",       "--image=TEXT",
    "Where the data is",  "--read-only",
    "toy device",
  };
  g_autofree char *out = NULL, *err = NULL;
  g_assert_cmpint (RUN (&out, &err, "--help"), ==, 0);
  g_assert_cmpstr (err, ==, "");
  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    assert_contains (out, options[i]);
}

/* The options of filters that are named, and only of those. */
static void
test_filter_help (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL, *plain = NULL;
  g_assert_cmpint (RUN (&out, &err, "--filter=delay", "--filter", "error", "--help"), ==, 0);
  g_assert_cmpstr (err, ==, "");
  assert_contains (out, "Options of the filter delay:");
  assert_contains (out, "--delay-ms=NUMBER");
  assert_contains (out, "Options of the filter error:");
  assert_contains (out, "--error-rate=NUMBER");
  g_assert_null (strstr (out, "--reorder-depth"));
  g_clear_pointer (&err, g_free);
  g_assert_cmpint (RUN (&plain, &err, "--help"), ==, 0);
  assert_contains (plain, "delay, error, reorder");
  g_assert_null (strstr (plain, "--delay-ms"));
}

static void
test_version (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL;
  g_assert_cmpint (RUN (&out, &err, "--version"), ==, 0);
  assert_contains (out, "(libvhostd) 0.");
}

static void
test_usage (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *first, *second, *words;
  } cases[] = {
    { "--image=good", NULL, "there is no socket" },
    { "--socket-path=a", "--fd=3", "more than one socket" },
    { "--socket-path=a", "--run=true", "more than one socket" },
    { "--nonsense", NULL, "nonsense" },
    { "stray", NULL, "unexpected argument \"stray\"" },
    { "--fd=abc", NULL, "--fd=abc" },
    { "--fd=1", NULL, "standard input" },
    { "--fd=-3", NULL, "--fd=-3" },
    { "--fd=99999999999", NULL, "--fd=99999999999" },
    { "--client", "--run=true", "add --socket-path" },
    { "--socket-path=a", "--socket-mode=888", "octal" },
    { "--socket-path=a", "--socket-mode=1777", "octal" },
    { "--socket-path=a", "--on-disconnect=sleep", "neither listen nor exit" },
    { "--socket-path=a", "--bus=tram", "nor a bus's address" },
    { "--socket-path=a", "--waiter=sundial", "sundial" },
    { "--socket-path=a", "--max-sessions=0", "0" },
    { "--socket-path=a", "--max-sessions=many", "many" },
    { "--socket-path=a", "--read-only=maybe", "maybe" },
  };
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *out = NULL, *err = NULL;
      g_assert_cmpint (RUN (&out, &err, cases[i].first, cases[i].second), ==, 2);
      g_assert_cmpstr (out, ==, "");
      g_assert_true (g_str_has_prefix (err, "vhostd[toy]: "));
      assert_contains (err, cases[i].words);
      /* One line. */
      g_assert_true (strchr (err, '\n') == err + strlen (err) - 1);
    }
}

static void
test_start_fails (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL;
  g_autofree char *option = g_strconcat ("--socket-path=", f->path, NULL);
  g_assert_cmpint (RUN (&out, &err, option, "--image=bad", "--read-only", "--size=64M"), ==, 1);
  assert_contains (err, "vhostd[toy]: no image: image=bad read-only=1 size=67108864\n");
}

/* Files; the device says what it was told. */
static void
test_config (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *text, *option;
    int status;
    const char *words;
  } cases[] = {
    { "image=file\nsize=64M\nread-only=yes\n", "--image=mine", 1,
      "no image: image=mine read-only=1 size=67108864\n" },
    { "filter=delay\ndelay-ms=1\n", "--filter=error", 1, "no image: image=(null)" },
    { "delay-ms=1\n", "--filter=delay", 1, "no image: image=(null)" },
    { "size=64Q\n", "--version", 2, ":3: size cannot be \"64Q\": expected a number" },
    { "delay-ms=1\n", "--filter=error", 2, ":3: there is no option \"delay-ms\"" },
    { "filter=nonsense\n", "--version", 2, ":3: there is no filter \"nonsense\"" },
    { "waiter=sundial\n", "--version", 2, ":3: waiter cannot be \"sundial\"" },
    { "socket-mode=0888\n", "--version", 2, ":3: --socket-mode=0888 is not an octal number" },
    { "on-disconnect=sleep\n", "--version", 2, ":3: --on-disconnect=sleep is neither" },
    { "bus=tram\n", "--version", 2, ":3: --bus=tram is neither session nor system" },
    { "bus=tram:number=9\n", "--version", 2, "tram" },
    { "socket-mode=0600\non-disconnect=exit\nbus=session\n", "--version", 0, "" },
  };
  g_autofree char *file = g_strconcat (f->path, ".conf", NULL);
  g_autofree char *option = g_strconcat ("--config=", file, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      GError *error = NULL;
      g_autofree char *out = NULL, *err = NULL;
      g_autofree char *text
          = g_strdup_printf ("[Device]\nsocket-path=%s\n%s", f->path, cases[i].text);
      g_file_set_contents (file, text, -1, &error);
      g_assert_no_error (error);
      g_assert_cmpint (RUN (&out, &err, option, cases[i].option), ==, cases[i].status);
      assert_contains (err, cases[i].words);
    }
  g_unlink (file);
}

/* Serving */

static GSubprocess *
spawn_at (Fixture *f, const char *option)
{
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_autofree char *path = g_strconcat ("--socket-path=", f->path, NULL);
  return spawn (launcher, (const char *const[]){ path, "--image=good", option, NULL });
}

static void
test_signal (Fixture *f, gconstpointer number)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocess) child = spawn_at (f, "--socket-mode=0600");
  struct stat info;
  g_autoptr (VhostFrontend) frontend = serve_me (f->path);
  g_assert_cmpint (lstat (f->path, &info), ==, 0);
  g_assert_cmpint (info.st_mode & 0777, ==, 0600);
  g_subprocess_send_signal (child, GPOINTER_TO_INT (number));
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
  g_assert_cmpstr (err, ==, "");
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
}

static void
test_listens_again (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocess) child = spawn_at (f, NULL);
  for (guint i = 0; i < 3; i++)
    {
      g_autoptr (VhostFrontend) frontend = serve_me (f->path);
    }
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
}

static void
test_exits_on_disconnect (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocess) child = spawn_at (f, "--on-disconnect=exit");
  g_clear_object (&(VhostFrontend *){ serve_me (f->path) });
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
}

static void
test_two_sessions (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocess) child = spawn_at (f, "--max-sessions=2");
  /* Negotiation of the second is answered while the first is there. */
  g_autoptr (VhostFrontend) first = serve_me (f->path);
  g_autoptr (VhostFrontend) second = serve_me (f->path);
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
}

static void
test_client (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_autofree char *err = NULL;
  int listener = bind_at (f->path, SOCK_STREAM);
  g_autoptr (GSubprocess) child = spawn_at (f, "--client");
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_assert_true (vhost_frontend_connect_take_fd (frontend, accept (listener, NULL, NULL), &error));
  g_assert_true (vhost_frontend_negotiate (frontend, G_MAXUINT64, G_MAXUINT64, &error));
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
  /* The listener's file is not the client's to remove. */
  g_assert_cmpint (g_unlink (f->path), ==, 0);
  vhost_fd_clear (&listener);
}

/* Given descriptors */

static void
test_fd (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_subprocess_launcher_take_fd (launcher, bind_at (f->path, SOCK_STREAM), 7);
  g_autoptr (GSubprocess) child
      = spawn (launcher, (const char *const[]){ "--fd=7", "--image=good", NULL });
  g_clear_object (&(VhostFrontend *){ serve_me (f->path) });
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
  g_assert_cmpint (g_unlink (f->path), ==, 0);
}

static void
test_fd_connected (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_autofree char *err = NULL;
  int pair[2];
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_subprocess_launcher_take_fd (launcher, pair[0], 3);
  g_autoptr (GSubprocess) child
      = spawn (launcher, (const char *const[]){ "--fd=3", "--image=good", NULL });
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_assert_true (vhost_frontend_connect_take_fd (frontend, pair[1], &error));
  g_assert_true (vhost_frontend_negotiate (frontend, G_MAXUINT64, G_MAXUINT64, &error));
  vhost_frontend_close (frontend);
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
}

static void
test_fd_no_socket (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_subprocess_launcher_take_fd (launcher, open ("/dev/null", O_RDWR | O_CLOEXEC), 7);
  g_autoptr (GSubprocess) child
      = spawn (launcher, (const char *const[]){ "--fd=7", "--image=good", NULL });
  g_assert_cmpint (finish (child, NULL, &err), ==, 1);
  assert_contains (err, "file descriptor 7 is not a socket");
}

/* As a service manager does it: LISTEN_PID is the program's own number, so a shell becomes it. */
static GSubprocess *
spawn_activated (GSubprocessLauncher *launcher, const char *environment, const char *option)
{
  GError *error = NULL;
  g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *script
      = g_strdup_printf ("%s exec \"$0\" --as-program --image=good \"$@\"", environment);
  GSubprocess *child
      = g_subprocess_launcher_spawn (launcher, &error, "sh", "-c", script, self, option, NULL);
  g_assert_no_error (error);
  return child;
}

static void
test_activation (Fixture *f, gconstpointer data)
{
  g_autofree char *err = NULL;
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_subprocess_launcher_take_fd (launcher, bind_at (f->path, SOCK_STREAM), 3);
  g_autoptr (GSubprocess) child = spawn_activated (launcher, "LISTEN_FDS=1 LISTEN_PID=$$", NULL);
  for (guint i = 0; i < 2; i++)
    g_clear_object (&(VhostFrontend *){ serve_me (f->path) });
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
  g_assert_cmpstr (err, ==, "");
  g_assert_cmpint (g_unlink (f->path), ==, 0);
}

static void
test_activation_refused (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *environment, *option, *words;
  } cases[] = {
    { "LISTEN_FDS=2 LISTEN_PID=$$", NULL, "passed 2 sockets" },
    { "LISTEN_FDS=1 LISTEN_PID=1", NULL, "there is no socket" },
    { "LISTEN_FDS=x LISTEN_PID=$$", NULL, "there is no socket" },
    { "LISTEN_FDS=1 LISTEN_PID=$$", "--socket-path=a", "more than one socket" },
  };
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *err = NULL;
      g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
      g_autoptr (GSubprocess) child
          = spawn_activated (launcher, cases[i].environment, cases[i].option);
      g_assert_cmpint (finish (child, NULL, &err), ==, 2);
      assert_contains (err, cases[i].words);
    }
}

static void
test_notifies (Fixture *f, gconstpointer data)
{
  char text[64] = { 0 };
  g_autofree char *err = NULL;
  g_autofree char *notify_path = g_build_filename (f->folder, "n", NULL);
  int fd = bind_at (notify_path, SOCK_DGRAM);
  g_autoptr (GSubprocessLauncher) launcher = new_launcher (G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_subprocess_launcher_setenv (launcher, "NOTIFY_SOCKET", notify_path, TRUE);
  g_autofree char *path = g_strconcat ("--socket-path=", f->path, NULL);
  g_autoptr (GSubprocess) child
      = spawn (launcher, (const char *const[]){ path, "--image=good", NULL });
  g_assert_cmpint (recv (fd, text, sizeof text - 1, 0), >, 0);
  g_assert_cmpstr (text, ==, "READY=1");
  /* Ready means that a front-end can connect now. */
  int client = try_connect (f->path);
  g_assert_cmpint (client, !=, -1);
  vhost_fd_clear (&client);
  g_subprocess_send_signal (child, SIGTERM);
  memset (text, 0, sizeof text);
  g_assert_cmpint (recv (fd, text, sizeof text - 1, 0), >, 0);
  g_assert_cmpstr (text, ==, "STOPPING=1");
  g_assert_cmpint (finish (child, NULL, &err), ==, 0);
  vhost_fd_clear (&fd);
  g_unlink (notify_path);
}

/* Captive commands */

static void
test_run (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL;
  g_assert_cmpint (RUN (&out, &err, "--image=good", "--run",
                        "test -S \"$vhost_socket\" && echo \"$vhost_socket $vhost_qemu\"; exit 7"),
                   ==, 7);
  g_assert_cmpstr (err, ==, "");
  g_auto (GStrv) words = g_strsplit (out, " ", 2);
  g_autofree char *expected
      = g_strdup_printf ("-chardev socket,id=vhost0,path=%s "
                         "-device vhost-user-device-pci,chardev=vhost0,virtio-id=63\n",
                         words[0]);
  g_assert_cmpstr (words[1], ==, expected);
  g_autofree char *folder = g_path_get_dirname (words[0]);
  g_assert_false (g_file_test (folder, G_FILE_TEST_EXISTS));
}

static void
test_run_nonsense (Fixture *f, gconstpointer data)
{
  g_autofree char *out = NULL, *err = NULL;
  g_assert_cmpint (RUN (&out, &err, "--image=good", "--run=/nonexistent/command"), ==, 127);
}

/* The command gets the signal, and so does what it has started; the pipe ends when all are gone. */
static void
test_run_signal (Fixture *f, gconstpointer command)
{
  char line[256] = { 0 };
  g_autoptr (GSubprocessLauncher) launcher
      = new_launcher (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) child = spawn (
      launcher, (const char *const[]){ "--image=good", "--run", (const char *) command, NULL });
  GInputStream *pipe = g_subprocess_get_stdout_pipe (child);
  g_assert_cmpint (g_input_stream_read (pipe, line, sizeof line - 1, NULL, NULL), >, 0);
  g_strchomp (line);
  g_assert_true (g_file_test (line, G_FILE_TEST_EXISTS));
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, NULL), ==, 128 + SIGTERM);
  g_autofree char *folder = g_path_get_dirname (line);
  g_assert_false (g_file_test (folder, G_FILE_TEST_EXISTS));
}

static void
test_run_stubborn (Fixture *f, gconstpointer data)
{
  char line[256] = { 0 };
  g_autoptr (GSubprocessLauncher) launcher
      = new_launcher (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) child = spawn (
      launcher, (const char *const[]){ "--image=good", "--run",
                                       "trap '' TERM; echo on; while :; do sleep 1; done", NULL });
  GInputStream *pipe = g_subprocess_get_stdout_pipe (child);
  g_assert_cmpint (g_input_stream_read (pipe, line, sizeof line - 1, NULL, NULL), >, 0);
  g_subprocess_send_signal (child, SIGTERM);
  g_assert_cmpint (finish (child, NULL, NULL), ==, 128 + SIGKILL);
}

int
main (int argc, char **argv)
{
  if (argc > 1 && strcmp (argv[1], "--as-program") == 0)
    {
      argv[1] = (char *) "vhostd";
      return vhost_backend_main (toy_backend_get_type (), argc - 1, argv + 1);
    }
  g_test_init (&argc, &argv, NULL);
#define TEST(path, function, data)                                                                 \
  g_test_add ("/backend-main/" path, Fixture, data, set_up, function, tear_down)
  TEST ("prints-its-capabilities-whatever-else-is-asked", test_capabilities, NULL);
  TEST ("lists-the-devices-options-and-its-own", test_help, NULL);
  TEST ("lists-the-options-of-filters-that-are-named", test_filter_help, NULL);
  TEST ("prints-its-version", test_version, NULL);
  TEST ("says-in-one-line-what-is-wrong-with-the-command-line", test_usage, NULL);
  TEST ("takes-options-from-a-file-and-the-command-line-wins", test_config, NULL);
  TEST ("says-why-the-device-did-not-start", test_start_fails, NULL);
  TEST ("ends-cleanly-on-sigterm", test_signal, GINT_TO_POINTER (SIGTERM));
  TEST ("ends-cleanly-on-sigint", test_signal, GINT_TO_POINTER (SIGINT));
  TEST ("ends-cleanly-on-sighup", test_signal, GINT_TO_POINTER (SIGHUP));
  TEST ("serves-one-front-end-after-another", test_listens_again, NULL);
  TEST ("exits-with-the-front-end-when-told-so", test_exits_on_disconnect, NULL);
  TEST ("serves-two-front-ends-at-once-when-told-so", test_two_sessions, NULL);
  TEST ("connects-as-a-client-when-told-so", test_client, NULL);
  TEST ("serves-on-a-listening-descriptor-until-its-front-end-goes", test_fd, NULL);
  TEST ("serves-on-a-connected-descriptor", test_fd_connected, NULL);
  TEST ("refuses-a-descriptor-that-is-no-socket", test_fd_no_socket, NULL);
  TEST ("serves-on-a-socket-of-the-service-manager", test_activation, NULL);
  TEST ("refuses-what-a-service-manager-should-not-pass", test_activation_refused, NULL);
  TEST ("tells-the-service-manager-when-it-is-ready-and-when-it-stops", test_notifies, NULL);
  TEST ("runs-a-captive-command-and-exits-with-its-status", test_run, NULL);
  TEST ("passes-on-the-shells-complaint", test_run_nonsense, NULL);
  TEST ("passes-a-signal-to-the-captive-command", test_run_signal,
        "echo \"$vhost_socket\"; exec sleep 1000");
  TEST ("passes-a-signal-to-what-the-command-has-started", test_run_signal,
        "echo \"$vhost_socket\"; sleep 1000; echo never");
  TEST ("kills-a-captive-command-that-ignores-the-signal", test_run_stubborn, NULL);
  return g_test_run ();
}
