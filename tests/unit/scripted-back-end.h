/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A scripted back-end for the driver side's tests: a thread at the other end of a socket pair that
 * answers as it was told, and remembers what it saw. */
#pragma once

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIT VHOST_WIRE_BIT
#define F30 BIT (VHOST_WIRE_F_PROTOCOL_FEATURES)
#define REPLY (VHOST_WIRE_VERSION | VHOST_WIRE_FLAG_REPLY)
#define MIB (1024 * 1024)

typedef struct
{
  guint32 request;
  guint32 flags;
  guint32 size;
  guint n_fds;
  guint8 payload[sizeof (VhostWireMemTable)];
} Seen;

/* The script; written before the thread starts, read after it has ended. */
typedef struct _Peer Peer;
struct _Peer
{
  /* Answers by itself: TRUE. Thread: the back-end's. */
  gboolean (*script) (Peer *peer, VhostMessage *message);
  gpointer data;
  guint64 features;
  guint64 protocol_features;
  guint64 max_slots;
  guint32 refuse;    /* answers this one with 1 */
  guint32 close_at;  /* closes when this one comes */
  guint32 silent_at; /* does not answer this one */
  guint32 odd_at;    /* answers this one with odd_code, odd_flags, odd_size */
  guint32 odd_code;
  guint32 odd_flags;
  guint32 odd_size;
  guint32 base;
  gboolean wrong_ring; /* GET_VRING_BASE answers for another ring */
  guint64 status;

  VhostChannel *channel;
  GThread *thread;
  GArray *seen;
  int backend_fd; /* of SET_BACKEND_REQ_FD */
  VhostFrontend *frontend;
};

static inline void
answer (Peer *peer, const VhostMessage *message, const void *payload, guint32 size)
{
  const guint32 request = message->header.request;

  if (request == peer->silent_at)
    return;
  if (request == peer->odd_at)
    vhost_channel_send (peer->channel, peer->odd_code, peer->odd_flags, payload, peer->odd_size,
                        NULL, 0, NULL);
  else
    vhost_channel_send (peer->channel, request, REPLY, payload, size, NULL, 0, NULL);
}

static inline void
serve (Peer *peer, VhostMessage *message)
{
  guint64 u64 = 0;
  VhostWireVringState state = message->payload.state;

  if (peer->script != NULL && peer->script (peer, message))
    return;
  switch (message->header.request)
    {
    case VHOST_WIRE_GET_FEATURES:
      u64 = peer->features;
      break;
    case VHOST_WIRE_GET_PROTOCOL_FEATURES:
      u64 = peer->protocol_features;
      break;
    case VHOST_WIRE_GET_QUEUE_NUM:
      u64 = 5;
      break;
    case VHOST_WIRE_GET_MAX_MEM_SLOTS:
      u64 = peer->max_slots;
      break;
    case VHOST_WIRE_GET_STATUS:
      u64 = peer->status;
      break;
    case VHOST_WIRE_SET_STATUS:
      peer->status = message->payload.u64;
      break;
    case VHOST_WIRE_GET_VRING_BASE:
      state.index += peer->wrong_ring ? 1 : 0;
      state.num = peer->base;
      answer (peer, message, &state, sizeof state);
      return;
    case VHOST_WIRE_GET_CONFIG:
      if (message->header.request == peer->refuse)
        {
          answer (peer, message, NULL, 0);
          return;
        }
      for (guint i = 0; i < message->payload.config.size; i++)
        message->payload.config.data[i] = (guint8) (message->payload.config.offset + i);
      answer (peer, message, &message->payload, message->header.size);
      return;
    case VHOST_WIRE_SET_BACKEND_REQ_FD:
      vhost_fd_clear (&peer->backend_fd);
      peer->backend_fd = vhost_message_steal_fd (message, 0);
      break;
    default:
      break;
    }

  const VhostWireMessage *row = vhost_wire_lookup (message->header.request);

  if (message->header.request == peer->refuse)
    u64 = 1;
  if ((row != NULL && row->reply == VHOST_WIRE_REPLY_OWN)
      || (message->header.flags & VHOST_WIRE_FLAG_NEED_REPLY) != 0)
    answer (peer, message, &u64, sizeof u64);
}

static inline gpointer
peer_thread (gpointer data)
{
  Peer *peer = data;
  VhostMessage *message;

  while (vhost_channel_receive_wait (peer->channel, g_get_monotonic_time () + 20 * G_USEC_PER_SEC,
                                     &message, NULL))
    {
      Seen seen = { message->header.request, message->header.flags, message->header.size,
                    message->n_fds };

      memcpy (seen.payload, message->payload.bytes, MIN (seen.size, sizeof seen.payload));
      g_array_append_val (peer->seen, seen);
      if (seen.request == peer->close_at)
        break;
      serve (peer, message);
    }
  g_clear_pointer (&peer->channel, vhost_channel_free);
  return NULL;
}

static inline void
peer_start (Peer *peer)
{
  g_autoptr (GError) error = NULL;
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  if (peer->seen == NULL)
    {
      peer->seen = g_array_new (FALSE, FALSE, sizeof (Seen));
      peer->backend_fd = -1;
      peer->frontend = vhost_frontend_new ();
      g_object_set (peer->frontend, "timeout", 5000, NULL);
    }
  peer->channel = vhost_channel_new_take_fd (fds[1]);
  vhost_frontend_connect_take_fd (peer->frontend, fds[0], &error);
  g_assert_no_error (error);
  peer->thread = g_thread_new ("back-end", peer_thread, peer);
}

/* Ends the connection; then what was seen can be looked at. */
static inline void
peer_stop (Peer *peer)
{
  vhost_frontend_close (peer->frontend);
  g_thread_join (peer->thread);
}

static inline void
peer_clear (Peer *peer)
{
  g_clear_object (&peer->frontend);
  g_array_unref (peer->seen);
  vhost_fd_clear (&peer->backend_fd);
}

static inline const Seen *
peer_seen (Peer *peer, guint i)
{
  g_assert_cmpuint (i, <, peer->seen->len);
  return &g_array_index (peer->seen, Seen, i);
}

static inline void
assert_requests (Peer *peer, const char *expected)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < peer->seen->len; i++)
    g_string_append_printf (text, "%s%u", i > 0 ? " " : "", peer_seen (peer, i)->request);
  g_assert_cmpstr (text->str, ==, expected);
}

#define NEGOTIATE(peer, features, protocol)                                                        \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_autoptr (GError) _error = NULL;                                                              \
    vhost_frontend_negotiate ((peer)->frontend, (features), (protocol), &_error);                  \
    g_assert_no_error (_error);                                                                    \
  }                                                                                                \
  G_STMT_END
