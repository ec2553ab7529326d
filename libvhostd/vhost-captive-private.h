/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A captive command: a shell line that is told of a device's socket, and with whose end the device
 * ends. Must not know the device. Thread: control, all of it. */
#pragma once

#include <gio/gio.h>

typedef struct _VhostCaptive VhostCaptive;

/* Makes a folder that only this user can enter, for the socket. (transfer full) */
VhostCaptive *vhost_captive_new (GError **error);
/* Takes the folder away. The command must have ended. */
void vhost_captive_free (VhostCaptive *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostCaptive, vhost_captive_free)

const char *vhost_captive_get_socket_path (VhostCaptive *self);

/* Starts @command with $vhost_socket, and with $vhost_qemu, the arguments that QEMU wants for
 * @device. @ended is called once, from the main context, when it has ended. */
gboolean vhost_captive_run (VhostCaptive *self, const char *command, const char *device,
                            guint virtio_id, void (*ended) (gpointer data), gpointer data,
                            GError **error);
gboolean vhost_captive_is_running (VhostCaptive *self);
/* Sends a signal to the command and all that it has started; what ignores it is killed after a
 * while. */
void vhost_captive_signal (VhostCaptive *self, int number);
/* Its exit status, or 128 and the number of the signal that it died of. */
int vhost_captive_get_status (VhostCaptive *self);
