/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon that lives in a thread of the test, and front-ends for it. Public API only. */
#pragma once

#include <libvhostd.h>

#include "echo-backend.h"

typedef struct
{
  VhostDaemon *daemon;
  VhostBackend *backend;
  char *directory;
  char *socket_path;
  GMainContext *context;
  GThread *thread;
  int calls[2]; /* pipe of commands */
  gpointer start_state;
} LiveDevice;

/* @setup (nullable): runs on the daemon's thread before its start; sets properties, connects
 * signals. */
typedef void (*LiveSetup) (LiveDevice *device, gpointer data);

/* Takes @backend. Fails the test when the daemon does not start. */
LiveDevice *live_device_new (gpointer backend, LiveSetup setup, gpointer data);
/* Stops the daemon (it must end within 20 s), checks that everything is freed. */
void live_device_free (LiveDevice *self);
/* Runs @func on the daemon's thread and waits for it. */
void live_device_call (LiveDevice *self, void (*func) (LiveDevice *device, gpointer data),
                       gpointer data);

/* A front-end that is connected and has negotiated all that both know. */
VhostFrontend *live_device_connect (LiveDevice *self);
/* ... and has 4 MiB of memory at 0x100000 and @n queues of @size entries. */
VhostFrontend *live_device_connect_queues (LiveDevice *self, guint n, guint size);

/* Every feature of the library that the tests may ask for. */
/* But for another ring layout and other addresses (bits 33 to 35), which a test asks for. */
#define LIVE_ALL_FEATURES (~(G_GUINT64_CONSTANT (7) << 33))

/* One echo request on @queue and the check of its answer. */
void live_device_assert_echo (VhostFrontend *frontend, guint queue, const char *text);
/* The device serves a new front-end. */
void live_device_assert_alive (LiveDevice *self);

/* Descriptors open in this process. */
guint live_count_fds (void);

#define LIVE_WAIT_FOR(condition)                                                                   \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;                              \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_usleep (200);                                                                            \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END
