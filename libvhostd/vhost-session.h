/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_SESSION (vhost_session_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostSession, vhost_session, VHOST, SESSION, GObject)

VHOST_AVAILABLE_IN_0_1
VhostBackend *vhost_session_get_backend (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
gint vhost_session_get_peer_pid (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
gint vhost_session_get_peer_uid (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
const char *vhost_session_get_peer_name (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_session_get_features (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_session_get_protocol_features (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_session_get_status (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
VhostMemory *vhost_session_get_memory (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_session_get_n_queues (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
VhostQueue *vhost_session_get_queue (VhostSession *self, guint index);
VHOST_AVAILABLE_IN_0_1
void vhost_session_close (VhostSession *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_session_reply_message (VhostSession *self, GBytes *payload, GError **error);

G_END_DECLS
