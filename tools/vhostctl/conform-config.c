/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration space. */
#include "conform.h"

#include <string.h>

/* The payload of GET_CONFIG; what came back is in @answer. */
static gboolean
read_config (Conform *self, guint32 offset, guint32 size, ConformAnswer *answer)
{
  guint8 payload[12 + 256] = { 0 };

  memcpy (payload, &offset, 4);
  memcpy (payload + 4, &size, 4);
  conform_send (self, MSG_GET_CONFIG, CONFORM_VERSION, payload, 12 + size, NULL, 0);
  return conform_receive_reply (self, MSG_GET_CONFIG, -1, answer);
}

static void
size_is_the_same (Conform *self)
{
  static const guint sizes[] = { 1, 8, 36, 60 };

  conform_connect (self);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      ConformAnswer answer;

      if (read_config (self, 0, sizes[i], &answer) && answer.size != 0)
        CONFORM_CHECK (self, answer.size == 12 + sizes[i],
                       "a question of %u bytes is answered with %u", 12 + sizes[i], answer.size);
    }
}

/* The same bytes at once and in two pieces. */
static void
offset_counts (Conform *self)
{
  ConformAnswer whole, part;

  conform_connect (self);
  if (!read_config (self, 0, 8, &whole) || whole.size != 20 || !read_config (self, 4, 4, &part))
    return;
  if (part.size == 0)
    conform_note (self, "a read at an offset is refused");
  CONFORM_CHECK (self, part.size == 16, "a question of 16 bytes is answered with %u", part.size);
  if (memcmp (whole.payload + 12, whole.payload + 16, 4) == 0)
    conform_inconclusive (self, "the first 8 bytes do not show what is where");
  CONFORM_CHECK (self, memcmp (whole.payload + 16, part.payload + 12, 4) == 0,
                 "a read at offset 4 does not give what a read at offset 0 gives there");
}

static void
error_is_size_zero (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_may_close (self);
  if (read_config (self, 0xfffffff0u, 8, &answer))
    CONFORM_CHECK (self, answer.size == 0 || answer.size == 20,
                   "an impossible read is answered with %u bytes", answer.size);
  if (!conform_is_decided (self) && answer.size != 0)
    conform_fail (self, "a read at offset 0xfffffff0 succeeds");
}

static void
wrap_is_caught (Conform *self)
{
  guint8 payload[12 + 8] = { 0 };
  const guint32 offset = 0xfffffffcu, size = 0xfffffff8u;
  ConformAnswer answer;

  memcpy (payload, &offset, 4);
  memcpy (payload + 4, &size, 4);
  conform_connect (self);
  conform_may_close (self);
  conform_send (self, MSG_GET_CONFIG, CONFORM_VERSION, payload, sizeof payload, NULL, 0);
  if (conform_receive_reply (self, MSG_GET_CONFIG, -1, &answer))
    CONFORM_CHECK (self, answer.size <= sizeof payload,
                   "a size that is not the message's is answered with %u bytes", answer.size);
  conform_in_step (self);
}

static void
past_the_end (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  if (read_config (self, 0, 256, &answer) && answer.size != 12 + 256)
    conform_fail (self, "a read of 256 bytes is answered with %u", answer.size);
}

static void
read_only_refused (Conform *self)
{
  guint8 payload[12 + 8] = { 0 };
  ConformAnswer before, after;

  conform_connect (self);
  if (g_strcmp0 (self->device, "block") != 0)
    conform_inconclusive (self, "which field is read-only is known for disks only");
  payload[4] = 8;
  if (!read_config (self, 0, 8, &before))
    return;
  /* A disk's capacity, another one than it has. */
  memcpy (payload + 12, before.payload + 12, 8);
  payload[12] ^= 1;
  conform_may_close (self);
  if (conform_ack (self, MSG_SET_CONFIG, payload, sizeof payload, NULL, 0) != 0
      || conform_is_decided (self))
    return;
  /* Perhaps closed by now: another connection tells what became of it. */
  conform_connect_with (self, 0, P_CONFIG);
  if (!read_config (self, 0, 8, &after))
    return;
  CONFORM_CHECK (self, memcmp (before.payload + 12, after.payload + 12, 8) == 0,
                 "SET_CONFIG changes a disk's capacity");
  conform_fail (self, "SET_CONFIG of a disk's capacity is answered with 0, success, though it "
                      "changes nothing");
}

static void
unknown_flags_refused (Conform *self)
{
  guint8 payload[12 + 1] = { 0 };

  payload[4] = 1;
  payload[8] = 0x80;
  conform_connect (self);
  conform_refused (self, MSG_SET_CONFIG, payload, sizeof payload, NULL, 0, FALSE);
}

const ConformRule conform_config_rules[] = {
  { "C1", "GET_CONFIG", "the answer has the size of the question", size_is_the_same, CONFORM_MUST,
    0, P_CONFIG, FALSE, 0 },
  { "C1-offset", "GET_CONFIG", "a read at an offset gives what is there", offset_counts,
    CONFORM_MUST, 0, P_CONFIG, FALSE, 0 },
  { "C2", "GET_CONFIG", "what cannot be read is answered without payload", error_is_size_zero,
    CONFORM_SILENT, 0, P_CONFIG, FALSE, 0 },
  { "C3", "GET_CONFIG", "a read past the end of the device's own is filled up", past_the_end,
    CONFORM_SILENT, 0, P_CONFIG, FALSE, 0 },
  { "C3-wrap", "GET_CONFIG", "an offset and a size that wrap do no harm", wrap_is_caught,
    CONFORM_SILENT, 0, P_CONFIG, FALSE, 0 },
  { "C4", "SET_CONFIG", "SET_CONFIG of a read-only field is not accepted", read_only_refused,
    CONFORM_MUST, 0, P_CONFIG | P_REPLY_ACK, FALSE, 0 },
  { "C4-flags", "SET_CONFIG", "unknown flags are refused", unknown_flags_refused, CONFORM_SILENT, 0,
    P_CONFIG | P_REPLY_ACK, FALSE, 0 },
  { 0 },
};
