/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log: which pages are marked when the device writes. */
#include "conform.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
/* One bit for each page up to the end of the memory, and more than enough. */
#define LOG_BYTES 8192

typedef struct
{
  int fd;
  guint8 *bits;
} Log;

static void
send_log (Conform *self, const Log *log, guint64 size, guint64 offset)
{
  const guint64 payload[2] = { size, offset };
  ConformAnswer answer;

  conform_send (self, MSG_SET_LOG_BASE, CONFORM_VERSION, payload, sizeof payload, &log->fd, 1);
  conform_receive_reply (self, MSG_SET_LOG_BASE, -1, &answer);
  conform_clear_answer (&answer);
}

static void
make_log (Log *log)
{
  log->fd = conform_memfd (LOG_BYTES);
  log->bits = mmap (NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, 0);
}

static void
clear_log (Log *log)
{
  munmap (log->bits, LOG_BYTES);
  close (log->fd);
}

static gboolean
is_marked (const Log *log, guint64 address)
{
  const guint64 page = address / PAGE;

  return (log->bits[page / 8] >> page % 8 & 1) != 0;
}

static guint
count_marks (const Log *log)
{
  guint n = 0;

  for (guint i = 0; i < LOG_BYTES; i++)
    n += (guint) __builtin_popcount (log->bits[i]);
  return n;
}

/* A page that is in no region: the used ring is logged there, and nothing else. */
#define USED_LOG 0x5000

/* A ring that runs with a log and LOG_ALL; with @used its writes are logged, too. */
static ConformRing *
start_logged (Conform *self, const Log *log, gboolean used)
{
  ConformRing *ring;

  conform_connect (self);
  send_log (self, log, LOG_BYTES, 0);
  ring = conform_prepare_io (self);
  /* Without the flag the address must not count. */
  ring->address_flags = used ? 1 : 0;
  ring->log_address = USED_LOG;
  conform_ring_start (ring);
  return ring;
}

static gboolean
writes_buffers (Conform *self)
{
  if (g_strcmp0 (self->device, "net") != 0)
    return TRUE;
  conform_inconclusive (self, "a network card writes only what it receives");
  return FALSE;
}

static void
buffers_are_marked (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, FALSE);
  conform_io_run (ring);
  if (writes_buffers (self))
    CONFORM_CHECK (self, is_marked (&log, ring->data_address),
                   "the page of a buffer that was written is not marked");
  clear_log (&log);
}

static void
used_is_marked (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, TRUE);
  conform_io_run (ring);
  CONFORM_CHECK (self, is_marked (&log, USED_LOG), "the used ring's log address is not marked");
  clear_log (&log);
}

static void
used_is_not_marked (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, FALSE);
  conform_io_run (ring);
  CONFORM_CHECK (self, !is_marked (&log, USED_LOG) && !is_marked (&log, ring->used_address),
                 "the used ring's page is marked without the flag of SET_VRING_ADDR");
  clear_log (&log);
}

/* Used descriptors lie in the descriptor ring, of which the log address does not speak. */
static void
slots_are_marked (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, TRUE);
  conform_io_run (ring);
  CONFORM_CHECK (self, is_marked (&log, ring->descriptor_address),
                 "the page of the descriptor ring, where used descriptors are, is not marked");
  clear_log (&log);
}

static void
only_what_was_written (Conform *self)
{
  Log log;
  ConformRing *ring;
  guint n;

  make_log (&log);
  ring = start_logged (self, &log, TRUE);
  conform_io_run (ring);
  n = count_marks (&log);
  CONFORM_CHECK (self, n <= 2, "%u pages are marked, at most 2 were written", n);
  clear_log (&log);
}

static void
stops_when_cleared (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, FALSE);
  conform_io_run (ring);
  self->features &= ~F_LOG_ALL;
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  memset (log.bits, 0, LOG_BYTES);
  conform_io_run (ring);
  CONFORM_CHECK (self, count_marks (&log) == 0, "pages are marked after LOG_ALL was taken back");
  clear_log (&log);
}

static void
starts_while_running (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  conform_connect (self);
  self->features &= ~F_LOG_ALL;
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  ring = conform_start_io (self);
  conform_io_run (ring);
  send_log (self, &log, LOG_BYTES, 0);
  self->features |= F_LOG_ALL;
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  conform_io_run (ring);
  if (writes_buffers (self))
    CONFORM_CHECK (self, is_marked (&log, ring->data_address),
                   "nothing is marked when LOG_ALL comes while the ring runs");
  clear_log (&log);
}

static void
quiet_after_stop (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  ring = start_logged (self, &log, TRUE);
  conform_io_run (ring);
  conform_ring_stop (ring);
  memset (log.bits, 0, LOG_BYTES);
  g_usleep ((gulong) self->quiet_ms * 1000);
  CONFORM_CHECK (self, count_marks (&log) == 0, "pages are marked after the ring stopped");
  clear_log (&log);
}

static void
bad_log_refused (Conform *self)
{
  const guint64 payload[2] = { G_MAXUINT64 - 4095, 8192 };
  Log log;

  make_log (&log);
  conform_connect (self);
  conform_may_close (self);
  conform_send (self, MSG_SET_LOG_BASE, CONFORM_VERSION, payload, sizeof payload, &log.fd, 1);
  {
    ConformAnswer answer;

    conform_receive_reply (self, MSG_SET_LOG_BASE, -1, &answer);
  }
  conform_in_step (self);
  clear_log (&log);
}

/* Marks past the log's size are dropped: the log ends before the memory begins. */
static void
short_log (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  conform_connect (self);
  send_log (self, &log, 16, 0);
  conform_may_close (self);
  ring = conform_start_io (self);
  conform_io_run (ring);
  CONFORM_CHECK (self, count_marks (&log) == 0, "the log is written past the size it was given");
  clear_log (&log);
}

static void
replaced (Conform *self)
{
  Log old, new;
  ConformRing *ring;

  make_log (&old);
  make_log (&new);
  ring = start_logged (self, &old, FALSE);
  conform_io_run (ring);
  send_log (self, &new, LOG_BYTES, 0);
  memset (old.bits, 0, LOG_BYTES);
  conform_io_run (ring);
  CONFORM_CHECK (self, count_marks (&old) == 0, "the old log is marked after a new one came");
  if (writes_buffers (self))
    CONFORM_CHECK (self, is_marked (&new, ring->data_address), "the new log is not marked");
  clear_log (&old);
  clear_log (&new);
}

static void
log_after_start (Conform *self)
{
  Log log;
  ConformRing *ring;

  make_log (&log);
  conform_connect (self);
  ring = conform_start_io (self);
  send_log (self, &log, LOG_BYTES, 0);
  conform_io_run (ring);
  if (writes_buffers (self))
    CONFORM_CHECK (self, is_marked (&log, ring->data_address),
                   "nothing is marked when SET_LOG_BASE comes after the start");
  clear_log (&log);
}

#define SECTION "Migration"
#define LOG(name, text, run, force)                                                                \
  {                                                                                                \
    name, SECTION, text, run, force, F_LOG_ALL, P_LOG_SHMFD, TRUE, 0                               \
  }
#define HIDDEN(name, text, reason)                                                                 \
  {                                                                                                \
    name, SECTION, text "; not visible: " reason, NULL, CONFORM_MUST, 0, 0, FALSE, 0               \
  }

const ConformRule conform_log_rules[] = {
  LOG ("L1", "with LOG_ALL the pages of buffers that are written are marked", buffers_are_marked,
       CONFORM_MUST),
  LOG ("L2", "the used ring is marked when SET_VRING_ADDR asks for it", used_is_marked,
       CONFORM_MUST),
  LOG ("L2-flag", "... and only then", used_is_not_marked, CONFORM_SHOULD),
  LOG ("L3", "a bit is a page of 4096 bytes, and no other is marked", only_what_was_written,
       CONFORM_SHOULD),
  LOG ("L4", "logging stops when LOG_ALL is taken back", stops_when_cleared, CONFORM_MUST),
  LOG ("L4-start", "logging starts while the ring runs", starts_while_running, CONFORM_MUST),
  HIDDEN ("L5", "the descriptor of SET_LOG_FD tells of new marks", "it may be signalled, or not"),
  LOG ("L6", "nothing is marked after the ring stopped", quiet_after_stop, CONFORM_MUST),
  LOG ("L7", "marks past the log's size are dropped", short_log, CONFORM_SILENT),
  LOG ("L7-wrap", "a log whose end wraps does no harm", bad_log_refused, CONFORM_SILENT),
  LOG ("L8", "the used ring's own log address is marked", used_is_marked, CONFORM_MUST),
  HIDDEN ("L9", "a page is marked after it was written, and before that is told",
          "the order of writing and marking cannot be seen from outside"),
  LOG ("L10", "a new log replaces the old one", replaced, CONFORM_SILENT),
  LOG ("L11", "SET_LOG_BASE may come after the start", log_after_start, CONFORM_SILENT),
  { "L13", SECTION, "packed: the pages of buffers that are written are marked", buffers_are_marked,
    CONFORM_MUST, F_LOG_ALL | F_PACKED, P_LOG_SHMFD, TRUE, 0 },
  { "L13-slots", SECTION, "packed: used descriptors are marked where they are", slots_are_marked,
    CONFORM_SILENT, F_LOG_ALL | F_PACKED, P_LOG_SHMFD, TRUE, 0 },
  { 0 },
};
