/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_FRONTEND (vhost_frontend_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostFrontend, vhost_frontend, VHOST, FRONTEND, GObject)

/**
 * VhostFrontendNotify:
 * @VHOST_FRONTEND_NOTIFY_EVENTFD: by an eventfd
 * @VHOST_FRONTEND_NOTIFY_NONE: not at all, the other side polls
 * @VHOST_FRONTEND_NOTIFY_INBAND: by a message, where INBAND_NOTIFICATIONS was negotiated
 *
 * How one side tells the other about buffers.
 *
 * Since: 0.1
 */
typedef enum
{
  VHOST_FRONTEND_NOTIFY_EVENTFD,
  VHOST_FRONTEND_NOTIFY_NONE,
  VHOST_FRONTEND_NOTIFY_INBAND,
} VhostFrontendNotify;

VHOST_AVAILABLE_IN_0_1
VhostFrontend *vhost_frontend_new (void);

/* Connection. Everything here blocks, at most `timeout` ms (property, 10000). */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_connect (VhostFrontend *self, const char *socket_path, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_connect_path (VhostFrontend *self, const char *socket_path, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_connect_take_fd (VhostFrontend *self, int fd, GError **error);
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_close (VhostFrontend *self);
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
/* A new connection instead of a lost one: everything again, rings go on where they were. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_resume (VhostFrontend *self, GError **error);
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
gboolean vhost_frontend_find_memory (VhostFrontend *self, guint64 guest_address, guint64 *start,
                                     guint64 *size);
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

/* In-flight tracking: fetched and sent by itself where it was negotiated. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_prepare_inflight (VhostFrontend *self, guint n_queues, guint queue_size,
                                          GError **error);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_get_inflight_fd (VhostFrontend *self, guint64 *size, guint64 *offset);
VHOST_AVAILABLE_IN_0_1
gpointer vhost_frontend_get_inflight_memory (VhostFrontend *self, gsize *size);
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_drop_inflight (VhostFrontend *self);

/* The log of dirty pages, 4096 bytes each. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_start_log (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_stop_log (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_log_take (VhostFrontend *self, guint64 guest_address, guint64 length);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_log_count (VhostFrontend *self);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_set_log_event (VhostFrontend *self, GError **error);

/* The IOMMU in front of the device, with ACCESS_PLATFORM. @access: 1 read, 2 write, 3 both. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_iotlb_map (VhostFrontend *self, guint64 iova, guint64 size,
                                   guint64 guest_address, guint access, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_iotlb_unmap (VhostFrontend *self, guint64 iova, guint64 size,
                                     GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_iotlb_invalidate (VhostFrontend *self, guint64 iova, guint64 size,
                                          GError **error);

/* Migration. */
VHOST_AVAILABLE_IN_0_1
GBytes *vhost_frontend_save_state (VhostFrontend *self, gsize max_size, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_load_state (VhostFrontend *self, GBytes *state, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_check_state (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_postcopy_advise (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_postcopy_listen (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_postcopy_end (VhostFrontend *self, GError **error);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_backend_address (VhostFrontend *self, guint64 guest_address);

/* What only some devices know. */
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_send_rarp (VhostFrontend *self, const guint8 mac[6], GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_set_mtu (VhostFrontend *self, guint mtu, GError **error);
VHOST_AVAILABLE_IN_0_1
int vhost_frontend_get_shared_object (VhostFrontend *self, const guint8 uuid[16], GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_get_shmem_config (VhostFrontend *self, guint64 sizes[256], guint *n_regions,
                                          GError **error);
VHOST_AVAILABLE_IN_0_1
guint64 *vhost_frontend_get_shmem_sizes (VhostFrontend *self, guint *n_sizes, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_set_gpu_socket (VhostFrontend *self, int fd, GError **error);
VHOST_AVAILABLE_IN_0_1
GBytes *vhost_frontend_create_crypto_session (VhostFrontend *self, GBytes *session, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_frontend_close_crypto_session (VhostFrontend *self, guint64 id, GError **error);

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
VHOST_AVAILABLE_IN_0_1
GBytes *vhost_frontend_receive_bytes (VhostFrontend *self, guint *request, guint *flags, int **fds,
                                      guint *n_fds, GError **error);
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
VHOST_AVAILABLE_IN_0_1
void vhost_frontend_take_answer_fd (VhostFrontend *self, int fd);
VHOST_AVAILABLE_IN_0_1
guint64 vhost_frontend_get_n_backend_requests (VhostFrontend *self, guint request);

G_END_DECLS
