/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session as a back-end sees it, by hand: takes requests to the front-end and answers them when
 * the test says so. */
#pragma once

#include "rich-device.h"

#define PEER_REQUESTS_MAX 16

typedef struct
{
  VhostWireBackendRequest request;
  guint8 payload[64];
  guint32 size;
  int fd; /* as it was at the time of the call; -1: none */
  VhostBackendAnswered done;
  gpointer data;
  gboolean open;
} PeerRequest;

typedef struct
{
  gboolean suspended;
  gboolean refuses; /* nothing was negotiated */
  guint n_sent;
  guint n_cancelled;
  PeerRequest sent[PEER_REQUESTS_MAX];
} RequestPeer;

static inline gboolean
request_peer_is_suspended (gpointer session)
{
  return ((RequestPeer *) session)->suspended;
}

static inline gboolean
request_peer_takes (gpointer session, VhostWireBackendRequest request, gboolean with_fd,
                    GError **error)
{
  if (((RequestPeer *) session)->refuses)
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED, "not negotiated");
  return !((RequestPeer *) session)->refuses;
}

static inline guint
request_peer_send (gpointer session, VhostWireBackendRequest request, const void *payload,
                   guint32 size, int fd, VhostBackendAnswered done, gpointer data)
{
  RequestPeer *self = session;
  PeerRequest *sent = &self->sent[self->n_sent];

  g_assert_cmpuint (self->n_sent, <, PEER_REQUESTS_MAX);
  g_assert_false (self->suspended); /* S3 */
  *sent = (PeerRequest){
    .request = request, .size = size, .fd = fd, .done = done, .data = data, .open = TRUE
  };
  memcpy (sent->payload, payload, size);
  return 100 + self->n_sent++;
}

static inline void
request_peer_end (RequestPeer *self, guint i, guint64 answer, int fd, const GError *error)
{
  g_assert_cmpuint (i, <, self->n_sent);
  g_assert_true (self->sent[i].open);
  self->sent[i].open = FALSE;
  self->sent[i].done (answer, fd, error, self->sent[i].data);
}

/* @fd goes with it. */
static inline void
request_peer_answer (RequestPeer *self, guint i, guint64 answer, int fd)
{
  request_peer_end (self, i, answer, fd, NULL);
}

static inline void
request_peer_cancel (gpointer session, guint id)
{
  RequestPeer *self = session;
  g_autoptr (GError) error = g_error_new (G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled");

  self->n_cancelled++;
  request_peer_end (self, id - 100, 0, -1, error);
}

static inline void
request_peer_config_changed (gpointer session)
{
}

static const VhostBackendPeer request_peer = {
  .config_changed = request_peer_config_changed,
  .is_suspended = request_peer_is_suspended,
  .takes = request_peer_takes,
  .send = request_peer_send,
  .cancel = request_peer_cancel,
};

static inline void
request_peer_connect (RequestPeer *self, VhostBackend *backend)
{
  memset (self, 0, sizeof *self);
  g_assert_true (vhost_backend_set_peer (backend, &request_peer, self));
}

/* As a session does: the channel ends first. */
static inline void
request_peer_disconnect (RequestPeer *self, VhostBackend *backend)
{
  g_autoptr (GError) error = g_error_new (VHOST_ERROR, VHOST_ERROR_DISCONNECTED, "it has gone");

  for (guint i = 0; i < self->n_sent; i++)
    if (self->sent[i].open)
      request_peer_end (self, i, 0, -1, error);
  g_assert_true (vhost_backend_set_peer (backend, NULL, self));
}

/* ---- How a call of the device's ended ---- */

typedef struct
{
  guint n_done;
  gboolean good;
  int fd;        /* (owned): of a lookup; -1: none */
  GError *error; /* (owned) (nullable) */
} Outcome;

static inline void
outcome_clear (Outcome *self)
{
  g_clear_error (&self->error);
  memset (self, 0, sizeof *self);
}

/* It ends, once, and how. */
#define EXPECT_GOOD(outcome)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    RICH_ITERATE_UNTIL ((outcome)->n_done > 0);                                                    \
    rich_settle ();                                                                                \
    g_assert_no_error ((outcome)->error);                                                          \
    g_assert_true ((outcome)->good);                                                               \
    g_assert_cmpuint ((outcome)->n_done, ==, 1);                                                   \
    outcome_clear (outcome);                                                                       \
  }                                                                                                \
  G_STMT_END
#define EXPECT_FAILURE(outcome, domain, code)                                                      \
  G_STMT_START                                                                                     \
  {                                                                                                \
    RICH_ITERATE_UNTIL ((outcome)->n_done > 0);                                                    \
    rich_settle ();                                                                                \
    g_assert_error ((outcome)->error, domain, code);                                               \
    g_assert_false ((outcome)->good);                                                              \
    g_assert_cmpuint ((outcome)->n_done, ==, 1);                                                   \
    outcome_clear (outcome);                                                                       \
  }                                                                                                \
  G_STMT_END
#define EXPECT_ERROR(outcome, code) EXPECT_FAILURE (outcome, VHOST_ERROR, VHOST_ERROR_##code)
