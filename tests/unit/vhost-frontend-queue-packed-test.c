/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of a packed virtqueue against a device that is played by hand on the ring's memory.
 * Must not use the library's own device side: a mistake in both would hide itself. */
#include "vhost-frontend-private.h"

#include "vhost-error.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_ADDRESS 0x100000
#define MEMORY_SIZE (4 * 1024 * 1024)
#define AVAIL 0x80u
#define USED 0x8000u
#define NEXT 1u
#define WRITE 2u
#define INDIRECT 4u

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 id;
  guint16 flags;
} Slot;

/* What the device took: one list. */
typedef struct
{
  guint16 id;
  guint n;
  guint head;
} Taken;

typedef struct
{
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  guint size;
  Slot *slots;
  guint16 *driver_event; /* position, flags */
  guint16 *device_event;
  guint avail, used;
  gboolean avail_wrap, used_wrap;
} Fixture;

static void
set_up (Fixture *f, guint size, gboolean event_idx, gboolean indirect, gboolean in_order)
{
  g_autoptr (GError) error = NULL;
  guint64 ring, driver, device;

  memset (f, 0, sizeof *f);
  f->size = size;
  f->avail_wrap = f->used_wrap = TRUE;
  f->frontend = vhost_frontend_new ();
  vhost_frontend_memory_new_region (f->frontend, MEMORY_ADDRESS, MEMORY_SIZE, &error);
  g_assert_no_error (error);
  f->queue = vhost_frontend_queue_new (f->frontend, 3, size, TRUE, &error);
  g_assert_no_error (error);
  g_assert_true (vhost_frontend_queue_set_in_order (f->queue, in_order));
  vhost_frontend_queue_set_features (f->queue, event_idx, indirect);
  vhost_frontend_queue_get_addresses (f->queue, &ring, &driver, &device);
  g_assert_cmphex (ring % 16, ==, 0);
  g_assert_cmphex (driver % 4, ==, 0);
  g_assert_cmphex (device % 4, ==, 0);
  f->slots = vhost_frontend_get_memory (f->frontend, ring, 16 * size);
  f->driver_event = vhost_frontend_get_memory (f->frontend, driver, 4);
  f->device_event = vhost_frontend_get_memory (f->frontend, device, 4);
}

static void
tear_down (Fixture *f)
{
  vhost_frontend_queue_detach (f->queue);
  vhost_frontend_queue_unref (f->queue);
  g_object_unref (f->frontend);
}

static guint16
load_flags (Fixture *f, guint slot)
{
  return __atomic_load_n (&f->slots[slot].flags, __ATOMIC_ACQUIRE);
}

static gboolean
is_available (Fixture *f)
{
  return (load_flags (f, f->avail) & (AVAIL | USED)) == (f->avail_wrap ? AVAIL : USED);
}

static void
step (guint *position, gboolean *wrap, guint n, guint size)
{
  *position += n;
  if (*position >= size)
    {
      *position -= size;
      *wrap = !*wrap;
    }
}

/* The device: the next list. */
static Taken
take (Fixture *f)
{
  Taken taken = { .head = f->avail };
  guint16 flags;

  g_assert_true (is_available (f));
  do
    {
      g_assert_true (is_available (f));
      flags = load_flags (f, f->avail);
      taken.id = f->slots[f->avail].id;
      taken.n++;
      g_assert_cmpuint (taken.n, <=, f->size);
      step (&f->avail, &f->avail_wrap, 1, f->size);
    }
  while ((flags & NEXT) != 0);
  return taken;
}

/* The device: one used descriptor for @n slots. */
static void
give (Fixture *f, guint16 id, guint n, guint32 length)
{
  Slot *slot = &f->slots[f->used];

  slot->id = id;
  slot->length = length;
  __atomic_store_n (&slot->flags, (f->used_wrap ? AVAIL | USED : 0) | (length > 0 ? WRITE : 0),
                    __ATOMIC_RELEASE);
  step (&f->used, &f->used_wrap, n, f->size);
}

static gboolean
add (Fixture *f, guint n, gpointer token)
{
  VhostFrontendBuffer buffers[8];

  for (guint i = 0; i < n; i++)
    buffers[i] = (VhostFrontendBuffer){ MEMORY_ADDRESS + i, 100 + i, i > 0 };
  return vhost_frontend_queue_add (f->queue, buffers, n, FALSE, token);
}

static void
test_list (void)
{
  Fixture f;
  Taken taken;
  gpointer token = NULL;
  guint32 length = 1;

  set_up (&f, 5, FALSE, FALSE, FALSE);
  g_assert_true (add (&f, 3, &f));
  g_assert_true (add (&f, 1, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 1);
  g_assert_false (add (&f, 2, NULL));
  /* Nothing is seen before it is published. */
  g_assert_false (is_available (&f));
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  g_assert_false (vhost_frontend_queue_kick (f.queue));
  taken = take (&f);
  g_assert_cmpuint (taken.n, ==, 3);
  g_assert_cmphex (load_flags (&f, 0), ==, AVAIL | NEXT);
  g_assert_cmphex (load_flags (&f, 1), ==, AVAIL | NEXT | WRITE);
  g_assert_cmphex (load_flags (&f, 2), ==, AVAIL | WRITE);
  g_assert_cmphex (f.slots[2].address, ==, MEMORY_ADDRESS + 2);
  g_assert_cmpuint (f.slots[2].length, ==, 102);
  g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
  give (&f, taken.id, 3, 7);
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, &length));
  g_assert_true (token == &f);
  g_assert_cmpuint (length, ==, 7);
  /* Without WRITE the length means nothing. */
  taken = take (&f);
  give (&f, taken.id, 1, 0);
  f.slots[3].length = 99;
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, &length));
  g_assert_cmpuint (length, ==, 0);
  g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 5);
  tear_down (&f);
}

/* Lists of mixed length, used in another order than they came, in a ring of no power of 2. */
static void
test_wrap (void)
{
  Fixture f;

  set_up (&f, 11, FALSE, FALSE, FALSE);
  for (guint round = 0; round < 5000; round++)
    {
      Taken taken[4];
      gpointer token;
      guint sum = 0;

      for (guint i = 0; i < 4; i++)
        g_assert_true (add (&f, 1 + (round + i) % 3, GUINT_TO_POINTER (1u << i)));
      vhost_frontend_queue_kick (f.queue);
      for (guint i = 0; i < 4; i++)
        taken[i] = take (&f);
      g_assert_false (is_available (&f));
      for (guint i = 0; i < 4; i++)
        {
          const Taken *t = &taken[(i * 3 + round) % 4];

          give (&f, t->id, t->n, i);
        }
      while (vhost_frontend_queue_poll (f.queue, &token, NULL))
        sum += GPOINTER_TO_UINT (token);
      g_assert_cmpuint (sum, ==, 15);
    }
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 11);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);
  tear_down (&f);
}

static void
test_bad_used (void)
{
  Fixture f;
  Taken first, second;
  gpointer token = NULL;

  set_up (&f, 8, FALSE, FALSE, FALSE);
  /* A used descriptor where nothing is in flight is not looked at. */
  f.slots[0].flags = AVAIL | USED;
  g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
  f.slots[0].flags = 0;

  g_assert_true (add (&f, 1, &f));
  g_assert_true (add (&f, 1, &first));
  vhost_frontend_queue_kick (f.queue);
  first = take (&f);
  second = take (&f);
  give (&f, 8, 1, 0);
  give (&f, second.id, 1, 0);
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, NULL));
  g_assert_true (token == &first);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 1);
  g_assert_false (vhost_frontend_queue_poll (f.queue, &token, NULL));
  /* The first one's slot is lost, the ring lives on. */
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 7);
  for (guint i = 0; i < 100; i++)
    {
      g_assert_true (add (&f, 2, &second));
      vhost_frontend_queue_kick (f.queue);
      second = take (&f);
      give (&f, second.id, 2, 0);
      g_assert_true (vhost_frontend_queue_poll (f.queue, &token, NULL));
      g_assert_true (token == &second);
    }
  tear_down (&f);
}

/* Everything that the device can write, at random: the driver's numbers stay within the ring. */
static void
test_hostile (gconstpointer data)
{
  Fixture f;
  g_autoptr (GRand) random = g_rand_new_with_seed (4711);
  guint polled = 0, added = 0;

  set_up (&f, 16, TRUE, FALSE, GPOINTER_TO_INT (data));
  for (guint round = 0; round < 50000; round++)
    {
      guint8 *bytes = (guint8 *) f.slots;

      for (guint i = 0; i < 3; i++)
        added += add (&f, 1 + g_rand_int (random) % 4, NULL) ? 1 : 0;
      vhost_frontend_queue_kick (f.queue);
      for (guint i = 0; i < 64; i++)
        bytes[g_rand_int (random) % 256] = (guint8) g_rand_int (random);
      for (guint i = 0; i < 16; i++)
        f.slots[i].id %= 20;
      f.device_event[0] = (guint16) g_rand_int (random);
      f.device_event[1] = (guint16) g_rand_int (random);
      while (vhost_frontend_queue_poll (f.queue, NULL, NULL))
        polled++;
      g_assert_cmpuint (polled, <=, added);
      g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), <=, 16);
      vhost_frontend_queue_wait (f.queue, 0);
    }
  g_assert_cmpuint (polled, >, 0);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), >, 0);
  tear_down (&f);
}

static void
test_kick (void)
{
  Fixture f;

  set_up (&f, 8, FALSE, FALSE, FALSE);
  f.device_event[1] = 1;
  g_assert_true (add (&f, 1, NULL));
  g_assert_false (vhost_frontend_queue_kick (f.queue));
  g_assert_true (is_available (&f));
  f.device_event[1] = 0;
  g_assert_true (add (&f, 1, NULL));
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  tear_down (&f);

  /* One descriptor, anywhere among those added, and past the end of the ring. */
  set_up (&f, 8, TRUE, FALSE, FALSE);
  f.device_event[1] = 2;
  for (guint i = 0; i < 100; i++)
    {
      const guint wanted = (3 * i + 2) % 8;
      const gboolean wrap = (3 * i + 2) / 8 % 2 == 0;
      Taken taken;

      f.device_event[0] = (guint16) (wanted | (wrap ? 0x8000 : 0));
      g_assert_true (add (&f, 2, NULL));
      g_assert_false (vhost_frontend_queue_kick (f.queue));
      g_assert_true (add (&f, 1, NULL));
      g_assert_true (vhost_frontend_queue_kick (f.queue));
      for (guint j = 0; j < 2; j++)
        {
          taken = take (&f);
          give (&f, taken.id, taken.n, 0);
          g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
        }
    }
  tear_down (&f);
}

static void
test_calls (void)
{
  Fixture f;
  Taken taken;

  set_up (&f, 4, FALSE, FALSE, FALSE);
  g_assert_cmpuint (f.driver_event[1], ==, 0);
  vhost_frontend_queue_set_calls_enabled (f.queue, FALSE);
  g_assert_cmpuint (f.driver_event[1], ==, 1);
  tear_down (&f);

  set_up (&f, 4, TRUE, FALSE, FALSE);
  g_assert_cmpuint (f.driver_event[1], ==, 2);
  g_assert_cmphex (f.driver_event[0], ==, 0x8000);
  for (guint i = 0; i < 5; i++)
    {
      g_assert_true (add (&f, 1, NULL));
      vhost_frontend_queue_kick (f.queue);
      taken = take (&f);
      give (&f, taken.id, taken.n, 0);
      g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
    }
  /* Polling left it behind, waiting moves it up: the second lap's slot 1. */
  g_assert_cmphex (f.driver_event[0], ==, 0x8000);
  g_assert_false (vhost_frontend_queue_wait (f.queue, 0));
  g_assert_cmphex (f.driver_event[0], ==, 1);
  tear_down (&f);
}

static void
test_indirect (void)
{
  Fixture f;
  const VhostFrontendBuffer buffers[] = { { 0x1000, 16, FALSE }, { 0x2000, 32, TRUE } };
  const Slot *table;
  Taken taken;

  set_up (&f, 8, FALSE, TRUE, FALSE);
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 2, TRUE, NULL));
  vhost_frontend_queue_kick (f.queue);
  taken = take (&f);
  g_assert_cmpuint (taken.n, ==, 1);
  g_assert_cmphex (load_flags (&f, 0), ==, AVAIL | INDIRECT);
  g_assert_cmpuint (f.slots[0].length, ==, 32);
  table = vhost_frontend_get_memory (f.frontend, f.slots[0].address, 32);
  g_assert_nonnull (table);
  g_assert_cmphex (table[0].flags, ==, 0);
  g_assert_cmphex (table[1].flags, ==, WRITE);
  g_assert_cmphex (table[1].address, ==, 0x2000);
  tear_down (&f);
}

static void
test_batch (void)
{
  Fixture f;
  Taken taken[4];
  gpointer token;
  guint32 length;

  set_up (&f, 7, FALSE, FALSE, TRUE);
  for (guint round = 0; round < 50; round++)
    {
      for (guint i = 0; i < 3; i++)
        g_assert_true (add (&f, 2, GUINT_TO_POINTER (i + 1)));
      vhost_frontend_queue_kick (f.queue);
      for (guint i = 0; i < 3; i++)
        taken[i] = take (&f);
      /* One used descriptor for two lists, one for the last. */
      give (&f, taken[1].id, 4, 5);
      give (&f, taken[2].id, 2, 6);
      for (guint i = 0; i < 3; i++)
        {
          g_assert_true (vhost_frontend_queue_poll (f.queue, &token, &length));
          g_assert_cmpuint (GPOINTER_TO_UINT (token), ==, i + 1);
          /* The skipped one was written in full. */
          g_assert_cmpuint (length, ==, i == 0 ? 101 : i == 1 ? 5 : 6);
        }
      g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);
  /* The way of driving cannot change with a list in flight. */
  g_assert_true (add (&f, 1, NULL));
  g_assert_false (vhost_frontend_queue_set_in_order (f.queue, FALSE));
  tear_down (&f);
}

static void
test_lost (void)
{
  Fixture f;
  Taken taken;

  set_up (&f, 4, FALSE, FALSE, FALSE);
  g_assert_cmphex (f.queue->base, ==, 0x80008000);
  for (guint i = 0; i < 5; i++)
    {
      g_assert_true (add (&f, 1, NULL));
      vhost_frontend_queue_kick (f.queue);
      taken = take (&f);
      give (&f, taken.id, taken.n, 0);
      if (i < 4)
        g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
    }
  /* Used but not polled counts. */
  f.queue->running = TRUE;
  vhost_frontend_queue_disconnected (f.queue);
  g_assert_cmphex (f.queue->base, ==, 0x00010001);
  g_assert_true (f.queue->lost);
  tear_down (&f);
}

static void
test_sizes (void)
{
  static const guint sizes[] = { 0, 32769, 65536 };
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_assert_null (vhost_frontend_queue_new (frontend, 0, sizes[i], TRUE, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_clear_error (&error);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-queue-packed/publishes-lists-at-the-kick", test_list);
  g_test_add_func ("/frontend-queue-packed/keeps-tokens-apart-round-the-ring", test_wrap);
  g_test_add_func ("/frontend-queue-packed/passes-over-ids-that-are-not-in-flight", test_bad_used);
  g_test_add_data_func ("/frontend-queue-packed/survives-a-device-that-writes-anything",
                        GINT_TO_POINTER (FALSE), test_hostile);
  g_test_add_data_func ("/frontend-queue-packed/survives-anything-in-order", GINT_TO_POINTER (TRUE),
                        test_hostile);
  g_test_add_func ("/rules/V36-kicks-by-the-devices-event-area", test_kick);
  g_test_add_func ("/rules/V34-arms-the-drivers-event-area-only-to-wait", test_calls);
  g_test_add_func ("/rules/V21-writes-indirect-tables-one-after-the-other", test_indirect);
  g_test_add_func ("/rules/V28-takes-one-used-descriptor-for-a-batch", test_batch);
  g_test_add_func ("/frontend-queue-packed/goes-on-behind-the-last-used-list", test_lost);
  g_test_add_func ("/frontend-queue-packed/takes-any-size-up-to-32768", test_sizes);
  return g_test_run ();
}
