/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Back-end to front-end requests on the socket of SET_BACKEND_REQ_FD. Never waits (B1): answers
 * arrive by a GSource in the control context. Thread: control. */
#pragma once

#include <gio/gio.h>

#include "vhost-wire-private.h"

typedef struct _VhostBackendChannel VhostBackendChannel;

/* Takes @fd in any case; NULL and @error when it is no stream socket. @reply_ack: bit 3 was acked.
 */
VhostBackendChannel *vhost_backend_channel_new_take_fd (int fd, gboolean reply_ack,
                                                        GMainContext *context, GError **error);
void vhost_backend_channel_free (VhostBackendChannel *self);
/* Whether what the front-end does with a request is waited for: REPLY_ACK, as it was at first. */
gboolean vhost_backend_channel_asks (VhostBackendChannel *self);
/* CONFIG_CHANGE_MSG. Several that could not be sent yet count as one. FALSE: the channel is broken.
 */
gboolean vhost_backend_channel_config_change (VhostBackendChannel *self, GError **error);

/* How a request ended. @answer is the u64; @fd (taken by the callee, -1: none) what came with it.
 * @error: not sent, or the channel has ended. Without REPLY_ACK an answer of 0 is made up as soon
 * as the request is out, where it has no reply of its own. */
typedef void (*VhostBackendChannelDone) (guint64 answer, int fd, const GError *error,
                                         gpointer data);
/* Queues a request; @fds stay the caller's. @done (nullable) runs once, never within this call.
 * Returns an id for cancel; a cancelled request's answer is dropped and @done runs with
 * G_IO_ERROR_CANCELLED. */
guint vhost_backend_channel_send (VhostBackendChannel *self, VhostWireBackendRequest request,
                                  const void *payload, guint32 size, const int *fds, guint n_fds,
                                  VhostBackendChannelDone done, gpointer data);
void vhost_backend_channel_cancel (VhostBackendChannel *self, guint id);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostBackendChannel, vhost_backend_channel_free)
