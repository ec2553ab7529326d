/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Back-end to front-end requests on the socket of SET_BACKEND_REQ_FD. Never waits (B1): answers
 * arrive by a GSource in the control context. Thread: control. */
#pragma once

#include <gio/gio.h>

typedef struct _VhostBackendChannel VhostBackendChannel;

/* Takes @fd in any case; NULL and @error when it is no stream socket. @reply_ack: bit 3 was acked.
 */
VhostBackendChannel *vhost_backend_channel_new_take_fd (int fd, gboolean reply_ack,
                                                        GMainContext *context, GError **error);
void vhost_backend_channel_free (VhostBackendChannel *self);
/* CONFIG_CHANGE_MSG. Several that could not be sent yet count as one. FALSE: the channel is broken.
 */
gboolean vhost_backend_channel_config_change (VhostBackendChannel *self, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostBackendChannel, vhost_backend_channel_free)
