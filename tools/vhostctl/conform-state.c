/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's own state, moved to another back-end, and memory that it would map into the guest.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define MOST_BYTES (1u << 20)
#define SAVE 0u
#define LOAD 1u

/* Sends @fd, which is closed here. The fd to use from now on is returned, -1: the one that was
 * sent. */
static int
send_fd (Conform *self, guint32 direction, guint32 phase, int fd, guint64 *value)
{
  const guint32 payload[2] = { direction, phase };
  ConformAnswer answer;
  int own = -1;

  *value = 0;
  conform_send (self, MSG_SET_DEVICE_STATE_FD, CONFORM_VERSION, payload, sizeof payload, &fd, 1);
  if (conform_receive_reply (self, MSG_SET_DEVICE_STATE_FD, 8, &answer))
    {
      memcpy (value, answer.payload, sizeof *value);
      CONFORM_CHECK (self, (*value & 0xff) == 0 || answer.n_fds == 0,
                     "an error and a descriptor come back together");
      CONFORM_CHECK (self, ((*value & CONFORM_NO_FD) != 0) == (answer.n_fds == 0),
                     "the answer has %u descriptors and says otherwise", answer.n_fds);
      if (answer.n_fds > 0)
        {
          own = answer.fds[0];
          answer.fds[0] = -1;
        }
    }
  conform_clear_answer (&answer);
  close (fd);
  return own;
}

/* All that is saved. */
static GByteArray *
save (Conform *self)
{
  GByteArray *state = g_byte_array_new ();
  const gint64 deadline = conform_get_deadline (self);
  int fds[2];
  int own;
  guint64 value;

  if (conform_is_decided (self) || pipe2 (fds, O_CLOEXEC) != 0)
    return state;
  own = send_fd (self, SAVE, 0, fds[1], &value);
  CONFORM_CHECK (self, (value & 0xff) == 0, "saving is refused (%u)", (guint) (value & 0xff));
  if (own >= 0)
    {
      close (fds[0]);
      fds[0] = own;
    }
  while (!conform_is_decided (self) && state->len < MOST_BYTES)
    {
      struct pollfd pollfd = { .fd = fds[0], .events = POLLIN };
      guint8 bytes[4096];
      ssize_t n;

      if (g_get_monotonic_time () > deadline)
        conform_fail (self, "the state does not come to its end");
      if (poll (&pollfd, 1, 50) <= 0)
        continue;
      n = read (fds[0], bytes, sizeof bytes);
      if (n <= 0)
        break;
      g_byte_array_append (state, bytes, (guint) n);
    }
  close (fds[0]);
  CONFORM_CHECK (self, conform_get_u64 (self, MSG_CHECK_DEVICE_STATE) == 0,
                 "CHECK_DEVICE_STATE reports an error after saving");
  conform_transcribe (self, "-- %u bytes of state", state->len);
  return state;
}

static void
saves (Conform *self)
{
  conform_connect (self);
  g_byte_array_unref (save (self));
}

static void
loads (Conform *self)
{
  GByteArray *state;
  int fds[2];
  int own;
  guint64 value;

  conform_connect (self);
  state = save (self);
  conform_connect (self);
  if (!conform_is_decided (self) && pipe2 (fds, O_CLOEXEC) == 0)
    {
      own = send_fd (self, LOAD, 0, fds[0], &value);
      CONFORM_CHECK (self, (value & 0xff) == 0, "loading is refused (%u)", (guint) (value & 0xff));
      if (own >= 0)
        {
          close (fds[1]);
          fds[1] = own;
        }
      /* More than a pipe holds would need a reader; then the case cannot tell. */
      fcntl (fds[1], F_SETFL, O_NONBLOCK);
      if (!conform_is_decided (self)
          && write (fds[1], state->data, state->len) != (ssize_t) state->len)
        conform_inconclusive (self, "the state is longer than a pipe");
      close (fds[1]);
      CONFORM_CHECK (self, conform_get_u64 (self, MSG_CHECK_DEVICE_STATE) == 0,
                     "CHECK_DEVICE_STATE reports an error after loading what was saved");
    }
  g_byte_array_unref (state);
}

static void
not_while_running (Conform *self)
{
  int fds[2];
  guint64 value;

  conform_connect (self);
  conform_start_io (self);
  if (conform_is_decided (self) || pipe2 (fds, O_CLOEXEC) != 0)
    return;
  conform_may_close (self);
  send_fd (self, SAVE, 0, fds[1], &value);
  close (fds[0]);
  CONFORM_CHECK (self, (value & 0xff) != 0, "the state is saved while a ring runs");
}

/* Nobody reads: the back-end must answer all the same. */
static void
does_not_block (Conform *self)
{
  int fds[2];
  guint64 value;

  conform_connect (self);
  if (conform_is_decided (self) || pipe2 (fds, O_CLOEXEC) != 0)
    return;
  send_fd (self, SAVE, 0, fds[1], &value);
  conform_in_step (self);
  close (fds[0]);
}

static void
resumes_after_saving (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  ring->base = conform_ring_stop (ring);
  g_byte_array_unref (save (self));
  conform_ring_start (ring);
  conform_io_run (ring);
}

static void
bad_direction_refused (Conform *self)
{
  static const guint32 bad[][2] = { { 2, 0 }, { 0, 1 } };

  conform_connect (self);
  conform_may_close (self);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      int fds[2];
      guint64 value;

      if (conform_is_decided (self) || pipe2 (fds, O_CLOEXEC) != 0)
        return;
      send_fd (self, bad[i][0], bad[i][1], fds[1], &value);
      close (fds[0]);
      CONFORM_CHECK (self, (value & 0xff) != 0, "direction %u in phase %u is accepted", bad[i][0],
                     bad[i][1]);
    }
}

static void
shared_memory_sizes (Conform *self)
{
  ConformAnswer answer;
  guint32 n;
  guint64 sizes[256];
  guint n_used = 0;

  conform_connect (self);
  conform_send (self, MSG_GET_SHMEM_CONFIG, CONFORM_VERSION, NULL, 0, NULL, 0);
  if (!conform_receive_reply (self, MSG_GET_SHMEM_CONFIG, 8 + sizeof sizes, &answer))
    return;
  memcpy (&n, answer.payload, sizeof n);
  memcpy (sizes, answer.payload + 8, sizeof sizes);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      n_used += sizes[i] != 0;
      CONFORM_CHECK (self, sizes[i] % 4096 == 0, "region %u has %" G_GUINT64_FORMAT " bytes", i,
                     sizes[i]);
    }
  CONFORM_CHECK (self, n == n_used, "%u regions are told, %u have a size", n, n_used);
}

#define SECTION "Migrating back-end state"
#define SHMEM "VIRTIO Shared Memory Region configuration"

const ConformRule conform_state_rules[] = {
  { "D1", SECTION, "the state is not moved while a ring runs", not_while_running, CONFORM_SILENT, 0,
    P_DEVICE_STATE, FALSE, 0 },
  { "D2", SECTION, "the state comes through the channel that was agreed on", saves, CONFORM_MUST, 0,
    P_DEVICE_STATE, FALSE, 0 },
  { "D3", SECTION, "the end of the state is the channel's end", saves, CONFORM_MUST, 0,
    P_DEVICE_STATE, FALSE, 0 },
  { "D4", SECTION, "an answer is an error or has a descriptor, not both", saves, CONFORM_MUST, 0,
    P_DEVICE_STATE, FALSE, 0 },
  { "D5", SECTION, "messages are answered while nobody reads the state", does_not_block,
    CONFORM_SILENT, 0, P_DEVICE_STATE, FALSE, 0 },
  { "D6", SECTION, "what was saved can be loaded", loads, CONFORM_MUST, 0, P_DEVICE_STATE, FALSE,
    0 },
  { "D7", SECTION, "the source can go on after it was saved", resumes_after_saving, CONFORM_MUST, 0,
    P_DEVICE_STATE, TRUE, 0 },
  { "D8", SECTION, "unknown directions and phases are refused", bad_direction_refused,
    CONFORM_SILENT, 0, P_DEVICE_STATE, FALSE, 0 },
  { "D9", SECTION,
    "a descriptor that is not used is closed; not visible: whether it closes a descriptor that it "
    "does not use",
    NULL, CONFORM_SILENT, 0, P_DEVICE_STATE, FALSE, 0 },
  { "D10", SECTION,
    "the rings are no part of the state; not visible: what the state holds is the device's own",
    NULL, CONFORM_MUST, 0, P_DEVICE_STATE, FALSE, 0 },
  { "SH1", SHMEM, "the sizes of regions fit their number", shared_memory_sizes, CONFORM_MUST, 0,
    P_SHMEM, FALSE, 0 },
  { "SH2", SHMEM,
    "only free ranges are mapped, and whole mappings unmapped; not visible: what a device maps, "
    "and when, is its own matter",
    NULL, CONFORM_MUST, 0, P_SHMEM, FALSE, 0 },
  { "SH3", SHMEM,
    "a reset drops all mappings; not visible: what a device maps, and when, is its own matter",
    NULL, CONFORM_MUST, 0, P_SHMEM, FALSE, 0 },
  { 0 },
};
