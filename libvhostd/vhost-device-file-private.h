/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device files: a command line's options as "key=value" lines under [Device]. Not installed. */
#pragma once

#include <gio/gio.h>

typedef struct _VhostDeviceFile VhostDeviceFile;

/* Takes the path out of the --config=FILE in @arguments, whose first is the program's name; NULL:
 * there is none. FALSE: there are two. */
gboolean vhost_device_file_find (char **arguments, char **path, GError **error);

/* Reads the file at @path for a @device such as "block". Errors begin with the path, and with the
 * line where there is one. */
VhostDeviceFile *vhost_device_file_read (const char *path, const char *device, GError **error);
void vhost_device_file_free (VhostDeviceFile *self);

/* Whether the one argument that a line stands for is right. */
typedef gboolean (*VhostDeviceFileCheck) (const char *argument, gpointer data, GError **error);
/* Asks @check for each line; its errors get path and line in front. */
gboolean vhost_device_file_check (VhostDeviceFile *self, VhostDeviceFileCheck check, gpointer data,
                                  GError **error);

/* @arguments with those of the file after the program's name, so that later ones win. Where
 * @arguments say where to serve, the file does not. (transfer full) */
char **vhost_device_file_insert (VhostDeviceFile *self, char **arguments);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostDeviceFile, vhost_device_file_free)
