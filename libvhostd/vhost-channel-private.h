/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One vhost-user socket: non-blocking framing of messages and descriptors, both directions. Knows
 * the wire layer's sizes, nothing of sessions. Not thread safe: one thread at a time. */
#pragma once

#include "vhost-wire-private.h"

typedef struct _VhostChannel VhostChannel;

/* A received message. Belongs to the channel until the next receive; descriptors that nobody stole
 * are closed then. */
typedef struct
{
  VhostWireHeader header;
  union
  {
    guint8 bytes[VHOST_WIRE_MAX_PAYLOAD];
    guint64 u64;
    VhostWireVringState state;
    VhostWireVringAddr addr;
    VhostWireMemTable table;
    VhostWireSingleRegion region;
    VhostWireConfig config;
    VhostWireLog log;
    VhostWireIotlb iotlb;
    VhostWireInflight inflight;
    VhostWireSharedObject object;
    VhostWireDeviceState device_state;
  } payload; /* bytes past header.size are zero */
  int fds[VHOST_WIRE_MAX_FDS];
  guint n_fds;
} VhostMessage;

typedef enum
{
  VHOST_CHANNEL_AGAIN,   /* nothing complete yet */
  VHOST_CHANNEL_MESSAGE, /* *message is set */
  VHOST_CHANNEL_CLOSED,  /* the peer closed between two messages */
  VHOST_CHANNEL_ERROR,   /* framing error, truncated descriptors, socket error: close */
} VhostChannelResult;

/* Takes @fd (a stream socket), makes it non-blocking. */
VhostChannel *vhost_channel_new_take_fd (int fd);
void vhost_channel_free (VhostChannel *self);
int vhost_channel_get_fd (VhostChannel *self);

/* Reads exactly one message: 12 bytes, then exactly its size, never more. Never blocks. */
VhostChannelResult vhost_channel_receive (VhostChannel *self, VhostMessage **message,
                                          GError **error);

/* Whether a message, or a part of one, has come that was not received. */
gboolean vhost_channel_has_input (VhostChannel *self);

/* Takes descriptor @index out of @message (its slot becomes -1). (transfer full) */
int vhost_message_steal_fd (VhostMessage *message, guint index);

/* Queues and sends as much as the socket takes; @fds are duplicated only when they must wait.
 * FALSE: the socket is broken, or more than 64 KiB wait because the peer does not read. */
gboolean vhost_channel_send (VhostChannel *self, guint32 request, guint32 flags,
                             const void *payload, guint32 size, const int *fds, guint n_fds,
                             GError **error);
gboolean vhost_channel_flush (VhostChannel *self, GError **error);
gboolean vhost_channel_wants_write (VhostChannel *self);

/* Waits until the socket is readable (or writable while output waits, which is flushed). @deadline
 * is monotonic us. For front-ends. */
gboolean vhost_channel_wait (VhostChannel *self, gint64 deadline, GError **error);

/* As receive, but waits until @deadline (monotonic us). FALSE: closed, broken or too late. */
gboolean vhost_channel_receive_wait (VhostChannel *self, gint64 deadline, VhostMessage **message,
                                     GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostChannel, vhost_channel_free)
