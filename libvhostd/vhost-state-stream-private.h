/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The channel for a device's state as a pair of GIO streams, one of which is used. Never blocks,
 * whatever the other end does. */
#pragma once

#include <gio/gio.h>

/* Takes @fd in any case: a pipe or a stream socket, open for writing (reading). */
GOutputStream *vhost_state_output_new_take_fd (int fd, GError **error);
GInputStream *vhost_state_input_new_take_fd (int fd, GError **error);
