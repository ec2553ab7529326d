/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What no front-end sends. A back-end may close the connection; it must live, and serve the next
 * one. */
#include "conform.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void
begin (Conform *self)
{
  conform_connect (self);
  conform_may_close (self);
}

static void
ring_index (Conform *self)
{
  static const guint requests[] = { MSG_SET_VRING_NUM, MSG_SET_VRING_BASE, MSG_SET_VRING_ENABLE };
  static const guint32 indices[] = { 255, 256, 65536, 0x80000000u, 0xffffffffu };

  for (guint i = 0; i < G_N_ELEMENTS (requests) * G_N_ELEMENTS (indices); i++)
    {
      const ConformState state = { indices[i % G_N_ELEMENTS (indices)], 1 };

      self->may_close = FALSE;
      begin (self);
      conform_ack (self, requests[i / G_N_ELEMENTS (indices)], &state, sizeof state, NULL, 0);
      conform_in_step (self);
    }
}

static void
get_base_index (Conform *self)
{
  const ConformState state = { 0xffffu, 0 };

  begin (self);
  conform_send (self, MSG_GET_VRING_BASE, CONFORM_VERSION, &state, sizeof state, NULL, 0);
  {
    ConformAnswer answer;

    conform_receive_reply (self, MSG_GET_VRING_BASE, -1, &answer);
  }
  conform_in_step (self);
}

static void
table_count (Conform *self)
{
  guint8 payload[8 + 8 * 32] = { 0 };
  const guint32 n = 0x7fffffff;

  begin (self);
  memcpy (payload, &n, sizeof n);
  conform_send (self, MSG_SET_MEM_TABLE, CONFORM_VERSION, payload, sizeof payload, &self->memory_fd,
                1);
  conform_in_step (self);
}

static void
table_wraps (Conform *self)
{
  guint8 payload[64];
  const ConformRegion region
      = { CONFORM_MEMORY, G_MAXUINT64 - 4095, 0x1000, G_GUINT64_CONSTANT (0x8000) };
  const gsize size = conform_make_table (payload, &region, 1);

  begin (self);
  conform_ack (self, MSG_SET_MEM_TABLE, payload, size, &self->memory_fd, 1);
  conform_in_step (self);
}

static void
table_past_file (Conform *self)
{
  guint8 payload[64];
  ConformRegion region;
  gsize size;

  begin (self);
  region = conform_main_region (self);
  region.offset = 1ull << 40;
  size = conform_make_table (payload, &region, 1);
  conform_ack (self, MSG_SET_MEM_TABLE, payload, size, &self->memory_fd, 1);
  conform_in_step (self);
}

static void
table_without_fd (Conform *self)
{
  guint8 payload[64];
  ConformRegion region;
  gsize size;

  begin (self);
  region = conform_main_region (self);
  size = conform_make_table (payload, &region, 1);
  conform_ack (self, MSG_SET_MEM_TABLE, payload, size, NULL, 0);
  conform_in_step (self);
}

static void
memory_is_a_pipe (Conform *self)
{
  guint8 payload[64];
  ConformRegion region;
  gsize size;
  int fds[2];

  begin (self);
  region = conform_main_region (self);
  size = conform_make_table (payload, &region, 1);
  if (pipe (fds) != 0)
    return;
  conform_ack (self, MSG_SET_MEM_TABLE, payload, size, fds, 1);
  conform_in_step (self);
  close (fds[0]);
  close (fds[1]);
}

static void
kick_without_memory (Conform *self)
{
  ConformRing *ring;

  begin (self);
  ring = conform_ring (self, 0);
  conform_ack (self, MSG_SET_VRING_KICK, &(guint64){ 0 }, 8, &ring->kick_fd, 1);
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
  conform_in_step (self);
}

static void
huge_size (Conform *self)
{
  const guint32 header[3] = { MSG_GET_FEATURES, CONFORM_VERSION, 0xffffff00u };

  begin (self);
  conform_send_bytes (self, header, sizeof header, NULL, 0);
  /* Whether it waits for the rest or closes: what counts is the next connection. */
  g_usleep ((gulong) self->quiet_ms * 1000);
}

static void
half_message (Conform *self)
{
  const guint32 header[3] = { MSG_SET_FEATURES, CONFORM_VERSION, 8 };

  begin (self);
  conform_send_bytes (self, header, 7, NULL, 0);
  g_usleep ((gulong) self->quiet_ms * 1000);
}

static void
wrong_sizes (Conform *self)
{
  static const guint8 zeroes[300] = { 0 };

  /* Each message but those that wait for more: no payload at all. */
  for (guint request = 1; request <= MSG_GET_SHMEM_CONFIG && !conform_is_decided (self); request++)
    {
      /* Short ones that say so. */
      begin (self);
      conform_send (self, request, CONFORM_VERSION, zeroes, 3, NULL, 0);
      g_usleep (1000);
      conform_close (self);
    }
}

static void
reply_flag (Conform *self)
{
  begin (self);
  conform_send (self, MSG_GET_FEATURES, CONFORM_VERSION | CONFORM_REPLY, NULL, 0, NULL, 0);
  g_usleep ((gulong) self->quiet_ms * 1000);
}

static void
full_call (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  eventfd_write (ring->call_fd, G_MAXUINT64 - 1);
  conform_io_run (ring);
  conform_in_step (self);
}

/* A front-end that goes while requests are under way. */
static void
goes_in_the_middle (Conform *self)
{
  for (guint i = 0; i < 10 && !conform_is_decided (self); i++)
    {
      ConformRing *ring;

      conform_connect (self);
      ring = conform_start_io (self);
      for (guint k = 0; k < 4; k++)
        conform_io_offer (ring, k);
      conform_ring_kick (ring);
      conform_close (self);
    }
}

static void
memory_shrinks (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  if (conform_is_decided (self))
    return;
  conform_io_offer (ring, 0);
  if (ftruncate (self->memory_fd, 0) != 0)
    return;
  conform_ring_kick (ring);
  g_usleep ((gulong) self->quiet_ms * 1000);
}

#define ROW(name, text, run, io)                                                                   \
  {                                                                                                \
    name, "Communication", text, run, CONFORM_SILENT, 0, 0, io, 0                                  \
  }

const ConformRule conform_hostile_rules[] = {
  ROW ("H-index", "rings that do not exist do no harm", ring_index, FALSE),
  ROW ("H-get-base", "GET_VRING_BASE of a ring that does not exist does no harm", get_base_index,
       FALSE),
  ROW ("H-regions", "a table that says it has 2147483647 regions does no harm", table_count, FALSE),
  ROW ("H-wrap", "a region whose end wraps does no harm", table_wraps, FALSE),
  ROW ("H-file", "a region behind its file's end does no harm", table_past_file, FALSE),
  ROW ("H-no-fd", "a region without a descriptor does no harm", table_without_fd, FALSE),
  ROW ("H-pipe", "a pipe as memory does no harm", memory_is_a_pipe, FALSE),
  ROW ("H-kick", "a ring that starts without memory does no harm", kick_without_memory, FALSE),
  ROW ("H-huge", "a message of 4 GiB does no harm to others", huge_size, FALSE),
  ROW ("H-half", "half a header does no harm to others", half_message, FALSE),
  ROW ("H-size", "messages of a wrong size do no harm", wrong_sizes, FALSE),
  ROW ("H-reply", "a message marked as reply does no harm", reply_flag, FALSE),
  ROW ("H-call", "a call descriptor that is full does not stop the ring", full_call, TRUE),
  ROW ("H-gone", "a front-end that goes while requests are under way does no harm",
       goes_in_the_middle, TRUE),
  ROW ("H-shrink", "a memory file that shrinks does no harm to others", memory_shrinks, TRUE),
  { 0 },
};
