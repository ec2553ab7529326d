/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that has everything that a device can have: state, objects, shared memory, a network, a
 * display. It answers requests as the echo device does. With it, a front-end that says what the
 * test tells it to. Public API only. */
#pragma once

#include "raw-wire.h"

G_BEGIN_DECLS

#define RICH_TYPE_BACKEND (rich_backend_get_type ())
G_DECLARE_FINAL_TYPE (RichBackend, rich_backend, RICH, BACKEND, VhostBackend)

/* Of the device; read and written on the daemon's thread, or while nothing is under way and
 * rich_sync () has been called. Atomic, since a message to the daemon orders nothing that a thread
 * sanitizer could see. */
typedef struct
{
  GBytes *state;           /* (owned) */
  _Atomic (gboolean) fail; /* the next call */
  _Atomic (gboolean) hold; /* state transfers do not end until they are cancelled */
  _Atomic (guint) n_saves, n_loads, n_cancelled, n_memory_changes;
  guint8 mac[6];
  _Atomic (guint) mtu;
  _Atomic (gsize) crypto_size;
  _Atomic (gint64) crypto_closed;
  int gpu_fd; /* (owned) */
} RichData;
RichData *rich_backend_get_data (RichBackend *self);

enum
{
  RICH_SEND_RARP = 19,
  RICH_NET_SET_MTU = 20,
  RICH_CREATE_CRYPTO_SESSION = 26,
  RICH_CLOSE_CRYPTO_SESSION = 27,
  RICH_POSTCOPY_ADVISE = 28,
  RICH_POSTCOPY_LISTEN = 29,
  RICH_POSTCOPY_END = 30,
  RICH_GPU_SET_SOCKET = 33,
  RICH_GET_SHARED_OBJECT = 41,
  RICH_SET_DEVICE_STATE_FD = 42,
  RICH_CHECK_DEVICE_STATE = 43,
  RICH_GET_SHMEM_CONFIG = 44,
};

#define RICH_UUID "01234567-89ab-cdef-0123-456789abcdef"
extern const guint8 rich_uuid[16];
#define RICH_SHMEM_ID 3
#define RICH_SHMEM_SIZE (16 * 4096)

typedef struct
{
  LiveDevice *device;
  RichBackend *backend;
  VhostFrontend *frontend; /* (owned) */
  RichData *data;
  int channel; /* (owned): our end of the back-end's channel; -1: not made */
  gint64 n_fds;
} Rich;

/* A front-end that has accepted @protocol_features. */
void rich_begin (Rich *self, guint64 protocol_features);
/* It goes; nothing is left behind. */
void rich_end (Rich *self);
/* What the daemon's thread has done is visible. */
void rich_sync (Rich *self);
/* Memory and ring 0. */
void rich_start_ring (Rich *self);
void rich_stop_ring (Rich *self);

/* Sends without NEED_REPLY. */
void rich_send (Rich *self, guint request, gconstpointer payload, gsize size, int fd);
/* The answer to @request, its size; @fd (nullable): what came with it, -1: nothing. */
gsize rich_receive (Rich *self, guint request, gpointer payload, gsize max, int *fd);
guint64 rich_receive_u64 (Rich *self, guint request);

/* A channel in place of the front-end's own. */
void rich_open_channel (Rich *self);
/* The next request on it. */
RawHeader rich_read_request (Rich *self, gpointer payload, gsize max, int *fd);
void rich_answer (Rich *self, guint request, guint64 value, int fd);
gboolean rich_channel_is_silent (Rich *self);

/* How a call of the device's ended. */
typedef struct
{
  gboolean done;
  gboolean good;
  GError *error; /* (owned) */
  int fd;        /* (owned): of a lookup */
} RichOutcome;

/* Runs @start on the daemon's thread. */
#define RICH_CALL(self, start, data) live_device_call ((self)->device, (start), (data))
gboolean rich_outcome_is_done (Rich *self, RichOutcome *outcome);
void rich_outcome_clear (RichOutcome *outcome);
#define RICH_WAIT(self, outcome) LIVE_WAIT_FOR (rich_outcome_is_done ((self), (outcome)))

G_END_DECLS
