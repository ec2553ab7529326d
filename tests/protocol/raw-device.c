/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "raw-device.h"

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Thread: the daemon's. */
static void
on_closed (VhostDaemon *daemon, VhostSession *session, const GError *error, gpointer data)
{
  RawDevice *self = data;

  if (error != NULL)
    g_atomic_int_set (&self->closed_by, error->code);
}

typedef struct
{
  RawDevice *device;
  LiveSetup setup;
} SetUp;

/* Thread: the daemon's. */
static void
set_up (LiveDevice *device, gpointer data)
{
  SetUp *self = data;

  raw_allow_two_sessions (device, NULL);
  g_signal_connect (device->daemon, "session-closed", G_CALLBACK (on_closed), self->device);
  if (self->setup != NULL)
    self->setup (device, self->device);
}

void
raw_device_begin (RawDevice *self, guint n_queues, LiveSetup setup)
{
  SetUp set = { self, setup };

  self->backend = echo_backend_new (n_queues, 1);
  self->frontend = NULL;
  self->closed_by = -1;
  self->device = live_device_new (self->backend, set_up, &set);
  self->n_fds = raw_count_idle_fds (self->device);
}

void
raw_device_connect (RawDevice *self, guint64 protocol_features)
{
  GError *error = NULL;

  self->frontend = vhost_frontend_new ();
  vhost_frontend_connect (self->frontend, self->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (self->frontend, LIVE_ALL_FEATURES, protocol_features, &error);
  g_assert_no_error (error);
}

void
raw_device_connect_rings (RawDevice *self, guint n)
{
  self->frontend = live_device_connect_queues (self->device, n, 16);
}

void
raw_device_end (RawDevice *self)
{
  g_clear_object (&self->frontend);
  LIVE_WAIT_FOR (raw_count_sessions (self->device) == 0);
  LIVE_WAIT_FOR (live_count_fds () <= self->n_fds);
  live_device_assert_alive (self->device);
  live_device_free (self->device);
}

/* ---- A ring by hand ---- */

#define RING_SIZE 16
#define RING_AVAIL RAW_PAGE
#define RING_USED (2 * RAW_PAGE)
#define RING_IN (3 * RAW_PAGE)
#define RING_OUT (4 * RAW_PAGE)

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags, next;
} Descriptor;

guint8 *
raw_ring_map (int fd)
{
  guint8 *map = mmap (NULL, RAW_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  g_assert_true (map != MAP_FAILED);
  return map;
}

guint64
raw_ring_start (VhostFrontend *frontend, guint64 user, int kick_fd)
{
  RawAddr addr = {
    .descriptor = user,
    .available = user + RING_AVAIL,
    .used = user + RING_USED,
  };

  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (raw_request (frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_ring_fd (frontend, MSG_SET_VRING_CALL, RAW_NO_FD, -1), ==, 0);
  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_ENABLE, 0, 1), ==, 0);
  return raw_ring_fd (frontend, MSG_SET_VRING_KICK, 0, kick_fd);
}

void
raw_ring_request (guint8 *map, guint64 guest, guint16 n, int kick_fd)
{
  Descriptor *descriptors = (Descriptor *) (gpointer) map;
  guint16 *available = (guint16 *) (gpointer) (map + RING_AVAIL);
  const _Atomic (guint16) *used_idx = (gpointer) (map + RING_USED + 2);
  const guint64 one = 1;

  memset (map + RING_IN, n + 1, 64);
  memset (map + RING_OUT, 0, 64);
  descriptors[0] = (Descriptor){ guest + RING_IN, 64, 1, 1 };
  descriptors[1] = (Descriptor){ guest + RING_OUT, 64, 2, 0 };
  available[2 + n % RING_SIZE] = 0;
  /* Partner: the device's acquire load of the index. */
  atomic_store_explicit ((_Atomic (guint16) *) &available[1], n + 1, memory_order_release);
  g_assert_cmpint (write (kick_fd, &one, sizeof one), ==, sizeof one);
  /* Partner: the device's release store, behind the data. */
  LIVE_WAIT_FOR (atomic_load_explicit (used_idx, memory_order_acquire) == n + 1);
  g_assert_cmpmem (map + RING_OUT, 64, map + RING_IN, 64);
}

guint16
raw_ring_get_used (guint8 *map)
{
  const _Atomic (guint16) *used_idx = (gpointer) (map + RING_USED + 2);

  return atomic_load_explicit (used_idx, memory_order_relaxed);
}

void
raw_wait_readable (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
}
