/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The protocol tests' device: it copies the readable part of a request into its writable part, can
 * hold requests back, and remembers what the library asked of it. Public API only. */
#pragma once

#include <libvhostd.h>

G_BEGIN_DECLS

#define ECHO_TYPE_BACKEND (echo_backend_get_type ())
G_DECLARE_FINAL_TYPE (EchoBackend, echo_backend, ECHO, BACKEND, VhostBackend)

/* Its configuration space: 32 bytes 0, 1, 2 ...; the first 8 are the driver's to write. */
#define ECHO_CONFIG_SIZE 32
#define ECHO_CONFIG_WRITABLE 8
/* A feature bit of its own. */
#define ECHO_FEATURE 5

EchoBackend *echo_backend_new (guint num_queues, guint workers);

/* Thread: any. Requests are taken and kept until released, in order or newest first. */
void echo_backend_hold (EchoBackend *self, gboolean hold);
guint echo_backend_get_n_held (EchoBackend *self);
void echo_backend_release (EchoBackend *self, gboolean newest_first);

/* Thread: any. */
typedef struct
{
  guint starts, stops, activates, suspends, resets, queue_starts, queue_stops, memory_changes,
      requests;
  guint64 acked;
} EchoCalls;
EchoCalls echo_backend_get_calls (EchoBackend *self);
/* activate () answers VHOST_ERROR_BUSY so many times, then works. */
void echo_backend_be_busy (EchoBackend *self, guint times);

G_END_DECLS
