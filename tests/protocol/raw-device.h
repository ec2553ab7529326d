/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device, a front-end that says what the test tells it to, and a ring in memory of one's own.
 * Public API only. */
#pragma once

#include "raw-wire.h"

G_BEGIN_DECLS

/* Where live_device_connect_queues () puts its memory, and a place that it leaves free. */
#define RAW_FIRST 0x100000
#define RAW_FIRST_SIZE (4 << 20)
#define RAW_SECOND 0x10000000
#define RAW_PAGE 4096

typedef struct
{
  LiveDevice *device;
  EchoBackend *backend;    /* of the first session; the device's */
  VhostFrontend *frontend; /* (owned) (nullable) */
  guint n_fds;             /* open without a front-end */
  gint closed_by;          /* VhostError of the last session with one, -1: none; atomic */
} RawDevice;

/* @setup (nullable): as for live_device_new (), with @self as its data. Two sessions are allowed.
 */
void raw_device_begin (RawDevice *self, guint n_queues, LiveSetup setup);
/* A front-end without memory. */
void raw_device_connect (RawDevice *self, guint64 protocol_features);
/* ... with memory and rings of 16 entries. */
void raw_device_connect_rings (RawDevice *self, guint n);
/* The front-end goes; no descriptor is left behind, and a new front-end is served. */
void raw_device_end (RawDevice *self);

/* A ring of 16 entries by hand, at the beginning of a file of RAW_RING_BYTES. */
#define RAW_RING_BYTES (8 * RAW_PAGE)
guint8 *raw_ring_map (int fd);
/* Starts ring 0 at user address @user. Returns KICK's answer; the others must be accepted. */
guint64 raw_ring_start (VhostFrontend *frontend, guint64 user, int kick_fd);
/* Request number @n (0, 1 ..., each once) in the ring at @map, which the guest has at @guest, and
 * its answer. */
void raw_ring_request (guint8 *map, guint64 guest, guint16 n, int kick_fd);
/* The number of entries that were given back. */
guint16 raw_ring_get_used (guint8 *map);

/* Waits for a descriptor. */
void raw_wait_readable (int fd);

G_END_DECLS
