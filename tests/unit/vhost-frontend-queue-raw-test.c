/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains in plain numbers and descriptors that break the rules, against the ring's memory. Must not
 * use the library's own device side: a mistake in both would hide itself. */
#include "vhost-frontend-private.h"

#include "vhost-error.h"

#include <string.h>

#define MEMORY_ADDRESS 0x100000
#define MEMORY_SIZE (1024 * 1024)
#define SIZE 8

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 a; /* split: flags, packed: id */
  guint16 b; /* split: next, packed: flags */
} Descriptor;

typedef struct
{
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  Descriptor *descriptors;
  guint16 *available;
  guint16 *used;
} Fixture;

static void
set_up (Fixture *f, gboolean packed)
{
  g_autoptr (GError) error = NULL;
  guint64 descriptors, available, used;

  f->frontend = vhost_frontend_new ();
  vhost_frontend_memory_new_region (f->frontend, MEMORY_ADDRESS, MEMORY_SIZE, &error);
  g_assert_no_error (error);
  f->queue = vhost_frontend_queue_new (f->frontend, 0, SIZE, packed, &error);
  g_assert_no_error (error);
  vhost_frontend_queue_get_addresses (f->queue, &descriptors, &available, &used);
  f->descriptors = vhost_frontend_get_memory (f->frontend, descriptors, 16 * SIZE);
  f->available = vhost_frontend_get_memory (f->frontend, available, 4);
  f->used = vhost_frontend_get_memory (f->frontend, used, 4);
}

static void
tear_down (Fixture *f)
{
  vhost_frontend_queue_detach (f->queue);
  vhost_frontend_queue_unref (f->queue);
  g_object_unref (f->frontend);
}

/* The device of a split ring: marks @id used. */
static void
give (Fixture *f, guint32 id, guint32 length)
{
  const guint32 element[2] = { id, length };

  memcpy (&f->used[2 + 4 * (f->used[1] % SIZE)], element, sizeof element);
  __atomic_store_n (&f->used[1], (guint16) (f->used[1] + 1), __ATOMIC_RELEASE);
}

static void
assert_taken (Fixture *f, gsize token, guint32 length)
{
  gsize got_token;
  guint32 got_length;

  g_assert_true (vhost_frontend_queue_take (f->queue, &got_token, &got_length));
  g_assert_cmpuint (got_token, ==, token);
  g_assert_cmpuint (got_length, ==, length);
}

static void
test_ranges (void)
{
  const guint64 ranges[] = { 0x1000, 16, 0x2000, 4096 };
  gsize token;
  guint32 length;
  Fixture f;

  set_up (&f, FALSE);
  g_assert_false (vhost_frontend_queue_add_ranges (f.queue, ranges, 0, 0, FALSE, 1));
  g_assert_false (vhost_frontend_queue_add_ranges (f.queue, ranges, 3, 1, FALSE, 1));
  g_assert_true (vhost_frontend_queue_add_ranges (f.queue, ranges, 4, 1, FALSE, 77));
  vhost_frontend_queue_kick (f.queue);
  g_assert_cmpuint (f.available[1], ==, 1);

  const Descriptor *first = &f.descriptors[f.available[2]];

  g_assert_cmphex (first->address, ==, 0x1000);
  g_assert_cmpuint (first->length, ==, 16);
  g_assert_cmpuint (first->a, ==, 1);
  g_assert_cmphex (f.descriptors[first->b].address, ==, 0x2000);
  g_assert_cmpuint (f.descriptors[first->b].a, ==, 2);
  g_assert_false (vhost_frontend_queue_take (f.queue, &token, &length));
  give (&f, f.available[2], 5);
  assert_taken (&f, 77, 5);
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, SIZE);
  tear_down (&f);
}

static void
test_split (void)
{
  const guint64 fields[] = { 0x1000, 16, 0xffff, 2, 0x2000, 1, 4, 60000, 0x3000, 9, 1, 2 };
  Fixture f;

  set_up (&f, FALSE);
  g_assert_false (vhost_frontend_queue_add_raw (f.queue, fields, 0, 0, 1));
  g_assert_false (vhost_frontend_queue_add_raw (f.queue, fields, 11, 0, 1));
  g_assert_false (vhost_frontend_queue_add_raw (f.queue, fields, 12, 3, 1));

  /* Every head, often enough to go round the ring and its free list. */
  for (guint i = 0; i < 5 * SIZE; i++)
    {
      const guint head = i % 3;
      guint16 at, places[3] = { 0 };

      g_assert_true (vhost_frontend_queue_add_raw (f.queue, fields, 12, head, i));
      g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, SIZE - 3);
      vhost_frontend_queue_kick (f.queue);
      g_assert_cmpuint (f.available[1], ==, i + 1);
      at = f.available[2 + i % SIZE];
      g_assert_cmpuint (at, <, SIZE);
      g_assert_cmphex (f.descriptors[at].address, ==, 0x1000 * (head + 1));
      for (guint16 j = 0; j < SIZE; j++)
        {
          if (f.descriptors[j].address == 0x1000 * 1)
            places[0] = j;
          if (f.descriptors[j].address == 0x1000 * 2)
            places[1] = j;
          if (f.descriptors[j].address == 0x1000 * 3)
            places[2] = j;
        }
      g_assert_cmpuint (f.descriptors[places[0]].a, ==, 0xffff);
      g_assert_cmpuint (f.descriptors[places[0]].b, ==, places[2]);
      g_assert_cmpuint (f.descriptors[places[1]].b, ==, 60000);
      g_assert_cmpuint (f.descriptors[places[2]].b, ==, places[2]);
      give (&f, at, i);
      assert_taken (&f, i, i);
      g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, SIZE);
      memset (f.descriptors, 0, SIZE * sizeof *f.descriptors);
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);

  /* No room. */
  for (guint i = 0; i < 2; i++)
    g_assert_true (vhost_frontend_queue_add_raw (f.queue, fields, 12, 2, i));
  g_assert_false (vhost_frontend_queue_add_raw (f.queue, fields, 12, 0, 9));
  tear_down (&f);
}

static void
test_packed (void)
{
  const guint64 fields[] = { 0x1000, 16, 0xffff, 0, 0x2000, 1, 2, 0, 0x3000, 9, 0, 0 };
  const guint64 ranges[] = { 0x9000, 1 };
  guint slot = 0;
  gboolean wrap = TRUE;
  Fixture f;

  set_up (&f, TRUE);
  for (guint i = 0; i < 3 * SIZE; i++)
    {
      const guint first = slot;
      guint16 id = 0;
      const gboolean first_wrap = wrap;

      /* One before it that is not published yet, now and then. */
      if (i % 2 == 1)
        {
          g_assert_true (vhost_frontend_queue_add_ranges (f.queue, ranges, 2, 1, FALSE, 1000));
          slot = (slot + 1) % SIZE;
          wrap = slot == 0 ? !wrap : wrap;
        }
      g_assert_true (vhost_frontend_queue_add_raw (f.queue, fields, 12, 0, i));
      vhost_frontend_queue_kick (f.queue);
      for (guint j = 0; j < 3; j++)
        {
          const Descriptor *descriptor = &f.descriptors[slot];
          const guint16 bits = wrap ? 0x80 : 0x8000;

          g_assert_cmphex (descriptor->address, ==, fields[4 * j]);
          g_assert_cmpuint (descriptor->length, ==, fields[4 * j + 1]);
          g_assert_cmphex (descriptor->b, ==, (fields[4 * j + 2] & 0x7f7f) | bits);
          id = descriptor->a;
          slot = (slot + 1) % SIZE;
          wrap = slot == 0 ? !wrap : wrap;
        }
      if (i % 2 == 1)
        {
          /* Used: both bits are the wrap counter's. */
          __atomic_store_n (&f.descriptors[first].b, first_wrap ? 0x8080 : 0, __ATOMIC_RELEASE);
          assert_taken (&f, 1000, 0);
        }

      const guint at = i % 2 == 1 ? (first + 1) % SIZE : first;
      const gboolean at_wrap = i % 2 == 1 && at == 0 ? !first_wrap : first_wrap;

      f.descriptors[at].a = id;
      f.descriptors[at].length = 3;
      __atomic_store_n (&f.descriptors[at].b, (at_wrap ? 0x8080 : 0) | 2, __ATOMIC_RELEASE);
      assert_taken (&f, i, 3);
      g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, SIZE);
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);
  tear_down (&f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-queue-raw/adds-chains-by-numbers", test_ranges);
  g_test_add_func ("/frontend-queue-raw/writes-split-descriptors-as-told", test_split);
  g_test_add_func ("/frontend-queue-raw/writes-packed-descriptors-as-told", test_packed);
  return g_test_run ();
}
