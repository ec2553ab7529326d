/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the copying functions of a chain against flat copies of its two parts. Each segment
 * is a block of its own on the heap, exactly as long as it says, so that the address sanitizer sees
 * the first byte too far: in the ring's target the memory is mapped and hides that.
 *
 * The input: {u8 readable segments, u8 writable segments, a u8 length per segment}, then calls {u8
 * what, u8 offset, u8 length}. */
#include "vhost-chain-private.h"

#include <string.h>

/* More than fit into the chain itself. */
#define MAX_SEGMENTS (2 * VHOST_CHAIN_INLINE_SEGMENTS)
#define MAX_SIZE (MAX_SEGMENTS * 255)

typedef struct
{
  VhostChain *chain;
  guint8 *blocks[MAX_SEGMENTS]; /* (owned) */
  gsize lengths[MAX_SEGMENTS];
  guint n_segments;
  guint n_readable; /* of segments */

  guint8 readable[MAX_SIZE]; /* what pull has not taken */
  gsize readable_size;
  guint8 writable[MAX_SIZE];
  gsize writable_size; /* without bytes that were split off */
  gsize written;       /* by vhost_chain_write () */
  guint8 next;         /* byte to write */
} State;

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

static void
add_segment (State *state, guint8 length, gboolean writable)
{
  struct iovec *segment = &state->chain->segments[state->n_segments];
  guint8 *block = g_malloc (length);

  for (guint i = 0; i < length; i++)
    {
      block[i] = (guint8) (state->n_segments * 67 + i + 1);
      if (writable)
        state->writable[state->writable_size++] = block[i];
      else
        state->readable[state->readable_size++] = block[i];
    }
  *segment = (struct iovec){ block, length };
  state->blocks[state->n_segments] = block;
  state->lengths[state->n_segments] = length;
  state->n_segments++;
  if (!writable)
    state->n_readable++;
}

/* As the ring does it: no segment is empty. Returns bytes of input used. */
static gsize
build (State *state, const guint8 *data, gsize size)
{
  guint n_readable = data[0] % (MAX_SEGMENTS / 2 + 1);
  guint n_writable = data[1] % (MAX_SEGMENTS / 2 + 1);
  gsize at = 2;

  state->chain = vhost_chain_new (NULL, 0);
  for (guint i = 0; i < n_readable + n_writable && at < size; i++, at++)
    {
      guint8 length = MAX (data[at], 1);
      gboolean writable = i >= n_readable;

      vhost_chain_reserve (state->chain, state->n_segments + 1);
      add_segment (state, length, writable);
      if (writable)
        state->chain->n_writable++;
      else
        state->chain->n_readable++;
    }
  state->chain->readable_size = state->readable_size;
  state->chain->writable_size = state->writable_size;
  return at;
}

static gsize
get_total (const struct iovec *segments, guint n)
{
  gsize total = 0;

  for (guint i = 0; i < n; i++)
    {
      g_assert_cmpuint (segments[i].iov_len, >, 0);
      total += segments[i].iov_len;
    }
  return total;
}

static void
check (State *state)
{
  const struct iovec *segments;
  gsize at = 0;
  guint n;

  segments = vhost_chain_get_readable (state->chain, &n);
  g_assert_cmpuint (get_total (segments, n), ==, state->readable_size);
  g_assert_cmpuint (vhost_chain_get_readable_size (state->chain), ==, state->readable_size);
  for (guint i = 0; i < n; at += segments[i++].iov_len)
    g_assert_cmpint (memcmp (segments[i].iov_base, state->readable + at, segments[i].iov_len), ==,
                     0);
  segments = vhost_chain_get_writable (state->chain, &n);
  g_assert_cmpuint (get_total (segments, n), ==, state->writable_size);
  g_assert_cmpuint (vhost_chain_get_writable_size (state->chain), ==, state->writable_size);
  /* The blocks, not the segments: what was split off must be right, too. */
  at = 0;
  for (guint i = state->n_readable; i < state->n_segments; at += state->lengths[i++])
    g_assert_cmpint (memcmp (state->blocks[i], state->writable + at, state->lengths[i]), ==, 0);
}

static void
call_write (State *state, gsize length, gboolean as_bytes)
{
  g_autofree guint8 *data = g_malloc (MAX (length, 1)); /* never NULL */
  gsize expected = MIN (length, state->writable_size - MIN (state->written, state->writable_size));
  gsize n;

  for (gsize i = 0; i < length; i++)
    data[i] = state->next++;
  if (as_bytes)
    {
      g_autoptr (GBytes) bytes = g_bytes_new (data, length);

      n = vhost_chain_write_bytes (state->chain, bytes);
    }
  else
    n = vhost_chain_write (state->chain, data, length);
  g_assert_cmpuint (n, ==, expected);
  memcpy (state->writable + state->written, data, n);
  state->written += n;
}

static void
drop_readable (State *state, const guint8 *data, gsize n, gsize length)
{
  g_assert_cmpuint (n, ==, MIN (length, state->readable_size));
  g_assert_cmpint (n > 0 ? memcmp (data, state->readable, n) : 0, ==, 0);
  state->readable_size -= n;
  memmove (state->readable, state->readable + n, state->readable_size);
}

static void
call (State *state, guint what, gsize offset, gsize length)
{
  VhostChain *chain = state->chain;
  g_autofree guint8 *data = g_malloc (MAX (length, 1)); /* never NULL */
  gsize n;

  switch (what % 7)
    {
    case 0:
      n = vhost_chain_pull (chain, data, length);
      drop_readable (state, data, n, length);
      break;
    case 1:
      {
        g_autoptr (GBytes) bytes = vhost_chain_read_bytes (chain, length);

        drop_readable (state, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes), length);
        break;
      }
    case 2:
      n = vhost_chain_read (chain, offset, data, length);
      g_assert_cmpuint (n, ==,
                        MIN (length, state->readable_size - MIN (offset, state->readable_size)));
      if (n > 0)
        g_assert_cmpint (memcmp (data, state->readable + offset, n), ==, 0);
      break;
    case 3:
      call_write (state, length, FALSE);
      break;
    case 4:
      call_write (state, length, TRUE);
      break;
    case 5:
      n = vhost_chain_zero (chain, offset, length);
      g_assert_cmpuint (n, ==,
                        MIN (length, state->writable_size - MIN (offset, state->writable_size)));
      if (n > 0)
        memset (state->writable + offset, 0, n);
      break;
    default:
      {
        guint8 *status = vhost_chain_split_status (chain);

        g_assert_true ((status == NULL) == (state->writable_size == 0));
        if (status == NULL)
          break;
        g_assert_cmpuint (*status, ==, state->writable[--state->writable_size]);
        *status = state->writable[state->writable_size] = 0xee;
      }
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static State state;
  gsize at;

  if (size < 2)
    return 0;
  memset (&state, 0, sizeof state);
  at = build (&state, data, size);
  check (&state);
  for (; at + 3 <= size; at += 3)
    {
      /* Offsets reach the whole chain, lengths several segments. */
      call (&state, data[at], (gsize) data[at + 1] * (1 + data[at] / 64 * 20),
            (gsize) data[at + 2] * (1 + data[at] / 128 * 5));
      check (&state);
    }
  vhost_chain_unref (state.chain);
  for (guint i = 0; i < state.n_segments; i++)
    g_free (state.blocks[i]);
  return 0;
}
