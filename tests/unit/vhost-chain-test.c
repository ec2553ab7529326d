/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing a chain, however the driver cut it into pieces. */
#include "vhost-chain-private.h"

#include <string.h>

typedef struct
{
  VhostChain *chain;
  guint8 memory[64];
} Fixture;

/* Readable: bytes 0..9 in pieces of 3, 4 and 3; writable: 16 bytes in pieces of 1, 10 and 5. */
static void
set_up (Fixture *f, gconstpointer data)
{
  const guint lengths[] = { 3, 4, 3, 1, 10, 5 };
  guint at = 0;

  for (guint i = 0; i < sizeof f->memory; i++)
    f->memory[i] = i;
  f->chain = vhost_chain_new (NULL, 8);
  for (guint i = 0; i < 6; i++)
    {
      f->chain->segments[i] = (struct iovec){ f->memory + at, lengths[i] };
      at += lengths[i] + 2; /* gaps must stay as they are */
    }
  f->chain->n_readable = 3;
  f->chain->n_writable = 3;
  f->chain->readable_size = 10;
  f->chain->writable_size = 16;
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vhost_chain_unref (f->chain);
}

static void
pull_takes_across_pieces (Fixture *f, gconstpointer data)
{
  guint8 out[16] = { 0 };
  guint n;

  g_assert_cmpuint (vhost_chain_pull (f->chain, out, 2), ==, 2);
  g_assert_cmpuint (vhost_chain_pull (f->chain, out + 2, 4), ==, 4);
  g_assert_cmpmem (out, 6, ((guint8[]){ 0, 1, 2, 5, 6, 7 }), 6);
  g_assert_cmpuint (vhost_chain_get_readable_size (f->chain), ==, 4);
  g_assert_cmpuint (vhost_chain_get_readable (f->chain, &n)->iov_len, ==, 1);
  g_assert_cmpuint (n, ==, 2);
  g_assert_cmpuint (vhost_chain_pull (f->chain, out, 16), ==, 4);
  g_assert_cmpmem (out, 4, ((guint8[]){ 8, 11, 12, 13 }), 4);
  g_assert_cmpuint (vhost_chain_pull (f->chain, out, 16), ==, 0);
  g_assert_cmpuint (vhost_chain_get_readable_size (f->chain), ==, 0);
}

static void
read_takes_nothing_off (Fixture *f, gconstpointer data)
{
  guint8 out[16];

  for (guint i = 0; i < 2; i++)
    {
      g_assert_cmpuint (vhost_chain_read (f->chain, 2, out, 3), ==, 3);
      g_assert_cmpmem (out, 3, ((guint8[]){ 2, 5, 6 }), 3);
    }
  g_assert_cmpuint (vhost_chain_read (f->chain, 8, out, 16), ==, 2);
  g_assert_cmpuint (vhost_chain_read (f->chain, 10, out, 1), ==, 0);
  g_assert_cmpuint (vhost_chain_get_readable_size (f->chain), ==, 10);
}

static void
write_appends_and_stops_at_the_end (Fixture *f, gconstpointer data)
{
  guint8 in[32];

  memset (in, 0xaa, sizeof in);
  g_assert_cmpuint (vhost_chain_write (f->chain, in, 4), ==, 4);
  g_assert_cmpuint (vhost_chain_write (f->chain, in, 32), ==, 12);
  g_assert_cmpuint (vhost_chain_write (f->chain, in, 1), ==, 0);
  g_assert_cmpuint (f->memory[16], ==, 0xaa);
  g_assert_cmpuint (f->memory[17], ==, 17); /* the gap */
  g_assert_cmpuint (f->memory[19], ==, 0xaa);
  g_assert_cmpuint (f->memory[35], ==, 0xaa);
  g_assert_cmpuint (f->memory[36], ==, 36);
}

static void
status_is_the_last_writable_byte (Fixture *f, gconstpointer data)
{
  guint8 *status = vhost_chain_split_status (f->chain);
  guint n;

  g_assert_true (status == f->memory + 35);
  g_assert_cmpuint (vhost_chain_get_writable_size (f->chain), ==, 15);
  for (guint i = 0; i < 5; i++)
    g_assert_nonnull (vhost_chain_split_status (f->chain));
  vhost_chain_get_writable (f->chain, &n);
  g_assert_cmpuint (n, ==, 2); /* a piece that was used up is gone */
  for (guint i = 0; i < 10; i++)
    g_assert_nonnull (vhost_chain_split_status (f->chain));
  g_assert_null (vhost_chain_split_status (f->chain));
}

static void
zero_fills_a_piece (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (vhost_chain_zero (f->chain, 1, 2), ==, 2);
  g_assert_cmpuint (f->memory[16], ==, 16);
  g_assert_cmpuint (f->memory[19], ==, 0);
  g_assert_cmpuint (f->memory[20], ==, 0);
  g_assert_cmpuint (f->memory[21], ==, 21);
  g_assert_cmpuint (vhost_chain_zero (f->chain, 15, 100), ==, 1);
}

static void
bytes_for_scripts (Fixture *f, gconstpointer data)
{
  g_autoptr (GBytes) bytes = vhost_chain_read_bytes (f->chain, 100);

  g_assert_cmpuint (g_bytes_get_size (bytes), ==, 10);
  g_assert_cmpuint (vhost_chain_write_bytes (f->chain, bytes), ==, 10);
  g_assert_cmpuint (f->memory[16], ==, 0);
  g_assert_cmpuint (f->memory[19], ==, 1);
}

static void
overflow_segments_are_kept_and_given_up (Fixture *f, gconstpointer data)
{
  vhost_chain_reserve (f->chain, 100);
  g_assert_true (f->chain->segments != f->chain->inline_segments);
  g_assert_cmpuint (vhost_chain_get_readable_size (f->chain), ==, 10);
  pull_takes_across_pieces (f, NULL);
  g_assert_cmpuint (vhost_chain_recycle (f->chain), ==, 100);
  g_assert_true (f->chain->segments == f->chain->inline_segments);
  g_assert_cmpuint (vhost_chain_recycle (f->chain), ==, 0);
}

#define ADD(name) g_test_add ("/chain/" #name, Fixture, NULL, set_up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (pull_takes_across_pieces);
  ADD (read_takes_nothing_off);
  ADD (write_appends_and_stops_at_the_end);
  ADD (status_is_the_last_writable_byte);
  ADD (zero_fills_a_piece);
  ADD (bytes_for_scripts);
  ADD (overflow_segments_are_kept_and_given_up);
  return g_test_run ();
}
