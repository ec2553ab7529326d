/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A captive command: a shell line that is told of a device's socket, and with whose end the device
 * ends. Must not know the device. */
#include "config.h"

#include "vhost-captive-private.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "vhost-error.h"

#define KILL_AFTER_MS 2000 /* a command that ignores its signal */

struct _VhostCaptive
{
  char *folder;       /* (owned): holds the socket */
  char *socket_path;  /* (owned) */
  GSubprocess *child; /* (owned) (nullable): while it runs */
  gboolean own_group; /* the command leads a process group */
  int status;
  guint kill_timer;
  void (*ended) (gpointer data);
  gpointer data;
};

/* What QEMU wants to hear for each type of device; %s is the chardev. */
static const struct
{
  const char *device;
  const char *arguments;
} qemu_devices[] = {
  { "block", "-device vhost-user-blk-pci,chardev=vhost0" },
  { "fs", "-device vhost-user-fs-pci,chardev=vhost0,tag=vhost0" },
  { "gpio", "-device vhost-user-gpio-pci,chardev=vhost0" },
  { "gpu", "-device vhost-user-gpu-pci,chardev=vhost0" },
  { "i2c", "-device vhost-user-i2c-pci,chardev=vhost0" },
  { "input", "-device vhost-user-input-pci,chardev=vhost0" },
  { "net", "-netdev vhost-user,id=vhostnet0,chardev=vhost0 "
           "-device virtio-net-pci,netdev=vhostnet0" },
  { "rng", "-device vhost-user-rng-pci,chardev=vhost0" },
  { "scsi", "-device vhost-user-scsi-pci,chardev=vhost0" },
  { "sound", "-device vhost-user-snd-pci,chardev=vhost0" },
  { "vsock", "-device vhost-user-vsock-pci,chardev=vhost0" },
};

static char *
make_qemu_arguments (VhostCaptive *self, const char *device, guint virtio_id)
{
  for (guint i = 0; i < G_N_ELEMENTS (qemu_devices); i++)
    if (strcmp (qemu_devices[i].device, device) == 0)
      return g_strdup_printf ("-chardev socket,id=vhost0,path=%s %s", self->socket_path,
                              qemu_devices[i].arguments);
  return g_strdup_printf ("-chardev socket,id=vhost0,path=%s "
                          "-device vhost-user-device-pci,chardev=vhost0,virtio-id=%u",
                          self->socket_path, virtio_id);
}

/* The folder's name goes unquoted through a shell and QEMU's commas. */
VhostCaptive *
vhost_captive_new (GError **error)
{
  static const char plain[] = G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "/._-";
  const char *parent = g_get_tmp_dir ();
  VhostCaptive *self;

  if (strspn (parent, plain) != strlen (parent) || strlen (parent) > 64)
    parent = "/tmp";
  self = g_new0 (VhostCaptive, 1);
  self->folder = g_build_filename (parent, "vhostd-XXXXXX", NULL);
  if (g_mkdtemp (self->folder) == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot make a folder for the socket in %s: %s", parent, g_strerror (errno));
      g_free (self->folder);
      g_free (self);
      return NULL;
    }
  self->socket_path = g_build_filename (self->folder, "socket", NULL);
  return self;
}

void
vhost_captive_free (VhostCaptive *self)
{
  if (self == NULL)
    return;
  g_clear_handle_id (&self->kill_timer, g_source_remove);
  g_rmdir (self->folder);
  g_free (self->folder);
  g_free (self->socket_path);
  g_free (self);
}

const char *
vhost_captive_get_socket_path (VhostCaptive *self)
{
  return self->socket_path;
}

/* Between fork and exec: async-signal-safe calls only. */
static void
prepare_child (gpointer data)
{
  VhostCaptive *self = data;

  signal (SIGPIPE, SIG_DFL);
  /* Then a signal reaches all that the shell starts. Not on a terminal, where the group would be
   * in the background, and where the terminal's own signals reach everyone anyway. */
  if (self->own_group)
    setpgid (0, 0);
}

static void
on_child_exited (GObject *object, GAsyncResult *result, gpointer data)
{
  VhostCaptive *self = data;
  GSubprocess *child = G_SUBPROCESS (object);

  g_subprocess_wait_finish (child, result, NULL);
  self->status = g_subprocess_get_if_exited (child) ? g_subprocess_get_exit_status (child)
                                                    : 128 + g_subprocess_get_term_sig (child);
  g_clear_handle_id (&self->kill_timer, g_source_remove);
  g_clear_object (&self->child);
  self->ended (self->data);
}

gboolean
vhost_captive_run (VhostCaptive *self, const char *command, const char *device, guint virtio_id,
                   void (*ended) (gpointer data), gpointer data, GError **error)
{
  g_autofree char *qemu = make_qemu_arguments (self, device, virtio_id);
  g_autoptr (GSubprocessLauncher) launcher
      = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDIN_INHERIT);

  g_subprocess_launcher_setenv (launcher, "vhost_socket", self->socket_path, TRUE);
  g_subprocess_launcher_setenv (launcher, "vhost_qemu", qemu, TRUE);
  g_subprocess_launcher_unsetenv (launcher, "NOTIFY_SOCKET");
  self->own_group = !isatty (STDIN_FILENO);
  g_subprocess_launcher_set_child_setup (launcher, prepare_child, self, NULL);
  self->child = g_subprocess_launcher_spawn (launcher, error, "sh", "-c", command, NULL);
  if (self->child == NULL)
    return FALSE;
  self->ended = ended;
  self->data = data;
  g_subprocess_wait_async (self->child, NULL, on_child_exited, self);
  return TRUE;
}

gboolean
vhost_captive_is_running (VhostCaptive *self)
{
  return self->child != NULL;
}

static void
send_signal (VhostCaptive *self, int number)
{
  const char *identifier = g_subprocess_get_identifier (self->child);
  guint64 pid;

  /* No identifier: it has ended, and we hear of that soon. */
  if (identifier == NULL || !g_ascii_string_to_unsigned (identifier, 10, 0, G_MAXINT, &pid, NULL))
    return;
  if (!self->own_group || kill (-(pid_t) pid, number) == -1)
    g_subprocess_send_signal (self->child, number);
}

static gboolean
on_kill_timer (gpointer data)
{
  VhostCaptive *self = data;

  self->kill_timer = 0;
  g_warning ("the command did not end within %d ms and is killed", KILL_AFTER_MS);
  send_signal (self, SIGKILL);
  return G_SOURCE_REMOVE;
}

void
vhost_captive_signal (VhostCaptive *self, int number)
{
  send_signal (self, number);
  if (self->kill_timer == 0)
    self->kill_timer = g_timeout_add (KILL_AFTER_MS, on_kill_timer, self);
}

int
vhost_captive_get_status (VhostCaptive *self)
{
  return self->status;
}
