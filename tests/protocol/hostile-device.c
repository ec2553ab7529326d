/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "hostile-device.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SPIN_WINDOW (200 * 1000)

/* Thread: the daemon's. */
static void
set_up (LiveDevice *device, gpointer data)
{
  guint *drain_timeout = data;

  raw_allow_two_sessions (device, NULL);
  g_object_set (device->daemon, "drain-timeout", *drain_timeout, NULL);
}

void
hostile_begin_with (Hostile *self, guint workers, guint drain_timeout)
{
  raw_log_expect (TRUE);
  self->backend = echo_backend_new (1, workers);
  self->device = live_device_new (self->backend, set_up, &drain_timeout);
  raw_count_idle_fds (self->device);
  /* The first one gets the device's own back-end. */
  self->attacker = live_device_connect (self->device);
  self->witness = live_device_connect_queues (self->device, 1, 16);
  hostile_disconnect (self);
  self->n_fds = raw_count_settled_fds ();
  hostile_reconnect (self, TRUE);
}

void
hostile_begin (Hostile *self)
{
  hostile_begin_with (self, 1, 10000);
}

void
hostile_disconnect (Hostile *self)
{
  g_clear_object (&self->attacker);
  LIVE_WAIT_FOR (raw_count_sessions (self->device) == 1);
}

void
hostile_reconnect (Hostile *self, gboolean rings)
{
  hostile_disconnect (self);
  self->attacker = rings ? live_device_connect_queues (self->device, 1, 16)
                         : live_device_connect (self->device);
}

void
hostile_assert_witness (Hostile *self)
{
  live_device_assert_echo (self->witness, 0, "the witness");
  raw_assert_in_step (self->witness);
  /* One more round of the daemon's context: now everybody's bytes of before have been read. */
  raw_count_sessions (self->device);
}

void
hostile_end (Hostile *self)
{
  hostile_disconnect (self);
  hostile_assert_witness (self);
  LIVE_WAIT_FOR (live_count_fds () <= self->n_fds);
  live_device_assert_alive (self->device);
  g_clear_object (&self->witness);
  live_device_free (self->device);
  raw_log_expect (FALSE);
}

int
hostile_connect (Hostile *self)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpuint (
      g_strlcpy (address.sun_path, self->device->socket_path, sizeof address.sun_path), <,
      sizeof address.sun_path);
  g_assert_cmpint (connect (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
  return fd;
}

guint
hostile_measure_cpu (void)
{
  gint64 start = raw_cpu_time ();
  gint64 used;

  /* Time has to pass: this is a measurement, not a wait for something. */
  g_usleep (SPIN_WINDOW);
  used = raw_cpu_time () - start;
  g_test_message ("%" G_GINT64_FORMAT " us of CPU time in %d us", used, SPIN_WINDOW);
  return (guint) (used * 100 / SPIN_WINDOW);
}

void
hostile_assert_no_spin (void)
{
  /* A thread that goes round and round has less than a CPU when others want it too. */
  g_assert_cmpuint (hostile_measure_cpu (), <, 15);
}
