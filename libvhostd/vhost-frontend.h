/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_FRONTEND (vhost_frontend_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostFrontend, vhost_frontend, VHOST, FRONTEND, GObject)

VHOST_AVAILABLE_IN_0_1
VhostFrontend *vhost_frontend_new (void);

/* Connection. Everything here blocks, at most `timeout` ms (property, 10000). */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_connect (VhostFrontend *self, const char *socket_path, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_connect_take_fd (VhostFrontend *self, int fd, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_disconnect (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_is_connected (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_get_fd (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
gint vhost_frontend_get_peer_pid (VhostFrontend *self);

/* Negotiation: GET_FEATURES, protocol features, SET_OWNER, SET_FEATURES, the back-end channel;
 * takes what both know. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_negotiate (VhostFrontend *self, guint64 wanted_features,
                                   guint64 wanted_protocol_features, GError **error);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_offered_features (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_offered_protocol_features (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_features (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_protocol_features (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_get_max_queues (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_max_memory_slots (VhostFrontend *self);

/* Names for people. */
VHOST_AVAILABLE_IN_0_1
const char *vhost_frontend_protocol_feature_name (guint bit);
VHOST_AVAILABLE_IN_0_1
const char *vhost_frontend_feature_name (const char *device, guint bit);

/* The device. */
VHOST_AVAILABLE_IN_0_1
GBytes *vhost_frontend_get_config (VhostFrontend *self, guint offset, guint size, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_set_config (VhostFrontend *self, guint offset, GBytes *data, guint flags,
                                    GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_set_status (VhostFrontend *self, guint status, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_get_status (VhostFrontend *self, guint *status, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_reset_device (VhostFrontend *self, GError **error);

/* Guest memory: memfd regions. The first call makes the table; later ones add slots or send the
 * table again. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_add_memory (VhostFrontend *self, guint64 guest_address, gsize size,
                                    GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_remove_memory (VhostFrontend *self, guint64 guest_address, GError **error);
VHOST_AVAILABLE_IN_0_1
gpointer vhost_frontend_get_memory (VhostFrontend *self, guint64 guest_address, gsize length);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_get_memory_fd (VhostFrontend *self, guint64 guest_address);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_allocate (VhostFrontend *self, gsize length, gsize alignment);

/* Queues. add_queue allocates the ring, sends NUM, ADDR, BASE, CALL, KICK and ENABLE. */
VHOST_AVAILABLE_IN_0_1
VhostFrontendQueue *vhost_frontend_add_queue (VhostFrontend *self, guint index, guint size,
                                              GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_stop_queue (VhostFrontend *self, guint index, guint *base, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_restart_queue (VhostFrontend *self, guint index, GError **error);
VHOST_AVAILABLE_IN_0_1
VhostFrontendQueue *vhost_frontend_get_queue (VhostFrontend *self, guint index);

/* The wire itself, to misbehave with. request: 0 in @flags means "version 1"; sends as told, checks
 * nothing. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_send (VhostFrontend *self, guint request, guint flags,
                              gconstpointer payload, gsize size, const int *fds, guint n_fds,
                              GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_send_raw (VhostFrontend *self, gconstpointer data, gsize size,
                                  const int *fds, guint n_fds, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_receive (VhostFrontend *self, guint *request, guint *flags,
                                 gpointer payload, gsize *size, int *fds, guint *n_fds,
                                 GError **error);
/* Sends with NEED_REPLY and reads the u64 answer. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_request (VhostFrontend *self, guint request, gconstpointer payload,
                                 gsize size, const int *fds, guint n_fds, guint64 *answer,
                                 GError **error);

/* The back-end channel: handles what has arrived, waits at most @timeout_ms for a first message.
 * Returns how many. */
VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_process_backend_messages (VhostFrontend *self, int timeout_ms);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_get_backend_channel_fd (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
guint vhost_frontend_get_config_generation (VhostFrontend *self);

G_END_DECLS
