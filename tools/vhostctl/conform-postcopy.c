/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Postcopy migration: the messages around the userfaultfd. Page faults themselves are not driven.
 */
#include "conform.h"

#include <string.h>
#include <unistd.h>

/* FALSE: no userfaultfd, or decided. */
static gboolean
advise (Conform *self)
{
  ConformAnswer answer;

  conform_send (self, MSG_POSTCOPY_ADVISE, CONFORM_VERSION, NULL, 0, NULL, 0);
  if (conform_receive_reply (self, MSG_POSTCOPY_ADVISE, 0, &answer) && answer.n_fds == 0)
    conform_inconclusive (self, "the back-end cannot open a userfaultfd here");
  conform_clear_answer (&answer);
  return !conform_is_decided (self);
}

static void
opens (Conform *self)
{
  conform_connect (self);
  advise (self);
  conform_in_step (self);
}

static void
table_answers_bases (Conform *self)
{
  guint8 payload[64];
  ConformRegion region, got;
  ConformAnswer answer;
  gsize size;

  conform_connect (self);
  if (!advise (self))
    return;
  conform_do (self, MSG_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
  region = conform_main_region (self);
  size = conform_make_table (payload, &region, 1);
  conform_send (self, MSG_SET_MEM_TABLE, CONFORM_VERSION, payload, size, &self->memory_fd, 1);
  if (!conform_receive_reply (self, MSG_SET_MEM_TABLE, (gssize) size, &answer))
    return;
  memcpy (&got, answer.payload + 8, sizeof got);
  conform_clear_answer (&answer);
  CONFORM_CHECK (self, got.guest == region.guest && got.size == region.size,
                 "the answer's region is not the one that was sent");
  CONFORM_CHECK (self, got.user != 0 && got.user % 4096 == 0,
                 "the answer's address 0x%" G_GINT64_MODIFIER "x is no mapping", got.user);
  conform_send (self, MSG_SET_MEM_TABLE, CONFORM_VERSION, &(guint64){ 0 }, 8, NULL, 0);
  /* The empty one has no answer. */
  conform_in_step (self);
  CONFORM_CHECK (self, conform_get_u64 (self, MSG_POSTCOPY_END) == 0, "POSTCOPY_END fails");
}

static void
ends (Conform *self)
{
  conform_connect (self);
  if (!advise (self))
    return;
  conform_do (self, MSG_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
  CONFORM_CHECK (self, conform_get_u64 (self, MSG_POSTCOPY_END) == 0, "POSTCOPY_END fails");
  conform_share_memory (self);
  conform_in_step (self);
}

static void
listens_after_table (Conform *self)
{
  conform_connect (self);
  conform_share_memory (self);
  if (!advise (self))
    return;
  conform_do (self, MSG_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
  CONFORM_CHECK (self, conform_get_u64 (self, MSG_POSTCOPY_END) == 0, "POSTCOPY_END fails");
}

#define SECTION "Postcopy"
#define ROW(name, text, run, force)                                                                \
  {                                                                                                \
    name, SECTION, text, run, force, 0, P_PAGEFAULT, FALSE, 0                                      \
  }

const ConformRule conform_postcopy_rules[] = {
  ROW ("P1", "POSTCOPY_ADVISE opens a userfaultfd", opens, CONFORM_MUST),
  ROW ("P2", "after POSTCOPY_LISTEN a memory table is answered with its addresses",
       table_answers_bases, CONFORM_MUST),
  ROW ("P3", "the empty table that acknowledges them has no answer", table_answers_bases,
       CONFORM_MUST),
  ROW ("P4", "POSTCOPY_END ends it, and tables are taken as before", ends, CONFORM_MUST),
  ROW ("P5", "the answer has the same regions, with addresses of the back-end", table_answers_bases,
       CONFORM_MUST),
  ROW ("P6", "there is one answer only", table_answers_bases, CONFORM_MUST),
  ROW ("P7", "POSTCOPY_LISTEN takes what is mapped already", listens_after_table, CONFORM_SILENT),
  { "P8", SECTION,
    "without a userfaultfd the session goes on; not visible: it takes a back-end that may not open "
    "a userfaultfd",
    NULL, CONFORM_SILENT, 0, P_PAGEFAULT, FALSE, 0 },
  { 0 },
};
