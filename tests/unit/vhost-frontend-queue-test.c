/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of a split virtqueue against a device that is played by hand on the ring's memory.
 * Must not use the library's own device side: a mistake in both would hide itself. */
#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_ADDRESS 0x100000
#define MEMORY_SIZE (1024 * 1024)

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} Descriptor;

typedef struct
{
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  guint size;
  Descriptor *descriptors;
  guint16 *available; /* flags, idx, ring, used_event */
  guint16 *used;      /* flags, idx, then pairs of 32 bits, then avail_event */
  guint16 seen;       /* the device's position in the available ring */
} Fixture;

#define USED_EVENT(f) ((f)->available[2 + (f)->size])
#define AVAIL_EVENT(f) ((f)->used[2 + 4 * (f)->size])
#define AVAIL_IDX(f) __atomic_load_n (&(f)->available[1], __ATOMIC_ACQUIRE)

static void
set_up (Fixture *f, guint size, gboolean event_idx, gboolean indirect)
{
  g_autoptr (GError) error = NULL;
  guint64 descriptors, available, used;

  memset (f, 0, sizeof *f);
  f->size = size;
  f->frontend = vhost_frontend_new ();
  vhost_frontend_memory_new_region (f->frontend, MEMORY_ADDRESS, MEMORY_SIZE, &error);
  g_assert_no_error (error);
  f->queue = vhost_frontend_queue_new (f->frontend, 3, size, FALSE, &error);
  g_assert_no_error (error);
  vhost_frontend_queue_set_features (f->queue, event_idx, indirect);
  vhost_frontend_queue_get_addresses (f->queue, &descriptors, &available, &used);
  g_assert_cmphex (descriptors % 16, ==, 0);
  g_assert_cmphex (available % 2, ==, 0);
  g_assert_cmphex (used % 4, ==, 0);
  f->descriptors = vhost_frontend_get_memory (f->frontend, descriptors, 16 * size);
  f->available = vhost_frontend_get_memory (f->frontend, available, 6 + 2 * size);
  f->used = vhost_frontend_get_memory (f->frontend, used, 6 + 8 * size);
  g_assert_nonnull (f->descriptors);
  g_assert_nonnull (f->available);
  g_assert_nonnull (f->used);
}

static void
tear_down (Fixture *f)
{
  vhost_frontend_queue_detach (f->queue);
  vhost_frontend_queue_unref (f->queue);
  g_object_unref (f->frontend);
}

/* The device: the next available head. */
static guint16
take (Fixture *f)
{
  g_assert_cmpuint (AVAIL_IDX (f), !=, f->seen);
  return f->available[2 + f->seen++ % f->size];
}

/* The device: marks @id used. */
static void
give (Fixture *f, guint32 id, guint32 length)
{
  guint16 slot = f->used[1] % f->size;
  guint32 element[2] = { id, length };

  memcpy (&f->used[2 + 4 * slot], element, sizeof element);
  __atomic_store_n (&f->used[1], (guint16) (f->used[1] + 1), __ATOMIC_RELEASE);
}

static gboolean
add_one (Fixture *f, gpointer token)
{
  const VhostFrontendBuffer buffer = { MEMORY_ADDRESS, 512, TRUE };

  return vhost_frontend_queue_add (f->queue, &buffer, 1, FALSE, token);
}

static guint64
pending (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };
  guint64 n = 0;

  if (poll (&pollfd, 1, 0) == 1)
    g_assert_cmpint (read (fd, &n, sizeof n), ==, sizeof n);
  return n;
}

static void
test_chain (void)
{
  Fixture f;
  const VhostFrontendBuffer buffers[]
      = { { 0x1000, 16, FALSE }, { 0x2000, 4096, TRUE }, { 0x3000, 1, TRUE } };
  gpointer token = NULL;
  guint32 length = 0;
  guint16 head, second, third;

  set_up (&f, 8, FALSE, FALSE);
  g_assert_cmpuint (vhost_frontend_queue_get_index (f.queue), ==, 3);
  g_assert_cmpuint (vhost_frontend_queue_get_size (f.queue), ==, 8);
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 3, FALSE, &f));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 5);
  g_assert_cmpuint (AVAIL_IDX (&f), ==, 0);
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  g_assert_cmpuint (pending (vhost_frontend_queue_get_kick_fd (f.queue)), ==, 1);
  g_assert_false (vhost_frontend_queue_kick (f.queue));

  head = take (&f);
  second = f.descriptors[head].next;
  third = f.descriptors[second].next;
  g_assert_cmphex (f.descriptors[head].address, ==, 0x1000);
  g_assert_cmpuint (f.descriptors[head].length, ==, 16);
  g_assert_cmpuint (f.descriptors[head].flags, ==, 1);
  g_assert_cmphex (f.descriptors[second].address, ==, 0x2000);
  g_assert_cmpuint (f.descriptors[second].flags, ==, 3);
  g_assert_cmphex (f.descriptors[third].address, ==, 0x3000);
  g_assert_cmpuint (f.descriptors[third].flags, ==, 2);

  g_assert_false (vhost_frontend_queue_poll (f.queue, &token, &length));
  give (&f, head, 4097);
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, &length));
  g_assert_true (token == &f);
  g_assert_cmpuint (length, ==, 4097);
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 8);
  g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
  tear_down (&f);
}

static void
test_full (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[9] = { { 0 } };

  set_up (&f, 8, FALSE, FALSE);
  g_assert_false (vhost_frontend_queue_add (f.queue, buffers, 0, FALSE, NULL));
  g_assert_false (vhost_frontend_queue_add (f.queue, buffers, 9, FALSE, NULL));
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 6, FALSE, NULL));
  g_assert_false (vhost_frontend_queue_add (f.queue, buffers, 3, FALSE, NULL));
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 2, FALSE, NULL));
  g_assert_false (add_one (&f, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 0);
  tear_down (&f);
}

/* Chains of mixed length, used in another order than they came, past the point where 16 bits are
 * full. */
static void
test_wrap (gconstpointer data)
{
  Fixture f;
  VhostFrontendBuffer buffers[3] = { { 1, 1, FALSE }, { 2, 2, TRUE }, { 3, 3, TRUE } };
  guint done = 0;

  set_up (&f, 16, GPOINTER_TO_INT (data), FALSE);
  vhost_frontend_queue_set_calls_enabled (f.queue, FALSE);
  for (guint round = 0; round < 20000; round++)
    {
      guint16 heads[4];
      gpointer token;
      guint sum = 0;

      for (guint i = 0; i < 4; i++)
        g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 1 + (round + i) % 3, FALSE,
                                                 GUINT_TO_POINTER (1u << i)));
      vhost_frontend_queue_kick (f.queue);
      for (guint i = 0; i < 4; i++)
        heads[i] = take (&f);
      /* The tokens' sum shows that each came back once. */
      for (guint i = 0; i < 4; i++)
        give (&f, heads[(i * 3 + round) % 4], i);
      while (vhost_frontend_queue_poll (f.queue, &token, NULL))
        {
          sum += GPOINTER_TO_UINT (token);
          done++;
        }
      g_assert_cmpuint (sum, ==, 15);
      /* With calls off no window of entries ever meets used_event. */
      if (GPOINTER_TO_INT (data))
        g_assert_cmpuint ((guint16) (f.used[1] - USED_EVENT (&f) - 1), >, 16);
    }
  g_assert_cmpuint (done, ==, 80000);
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 16);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 0);
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (f.queue), ==, 0);
  tear_down (&f);
}

static void
test_bad_used (void)
{
  Fixture f;
  guint16 head;
  gpointer token = NULL;

  set_up (&f, 8, FALSE, FALSE);
  g_assert_true (add_one (&f, &f));
  vhost_frontend_queue_kick (f.queue);
  head = take (&f);
  give (&f, 8, 0);
  give (&f, G_MAXUINT32, 0);
  give (&f, (head + 1u) % 8, 0);
  give (&f, head, 7);
  give (&f, head, 7);
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, NULL));
  g_assert_true (token == &f);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 3);
  g_assert_false (vhost_frontend_queue_poll (f.queue, &token, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 4);
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 8);

  /* An index that jumps: every entry is looked at once and refused, and the ring is usable after.
   */
  __atomic_store_n (&f.used[1], (guint16) (f.used[1] - 1), __ATOMIC_RELEASE);
  g_assert_false (vhost_frontend_queue_poll (f.queue, &token, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 4 + 65535);
  g_assert_true (add_one (&f, NULL));
  vhost_frontend_queue_kick (f.queue);
  give (&f, take (&f), 0);
  g_assert_true (vhost_frontend_queue_poll (f.queue, &token, NULL));
  tear_down (&f);
}

/* The device may write into the table; the driver's free list is its own. */
static void
test_hostile_table (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[3] = { { 1, 1, FALSE }, { 2, 2, TRUE }, { 3, 3, TRUE } };

  set_up (&f, 8, FALSE, FALSE);
  for (guint i = 0; i < 50; i++)
    {
      g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 3, FALSE, NULL));
      vhost_frontend_queue_kick (f.queue);
      memset (f.descriptors, 0xff, 16 * 8);
      give (&f, take (&f), 0);
      memset (f.available, 0xff, 6 + 16);
      f.available[1] = f.seen;
      g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
      g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 8);
    }
  tear_down (&f);
}

static void
test_kick_flags (void)
{
  Fixture f;

  set_up (&f, 8, FALSE, FALSE);
  f.used[0] = 1;
  g_assert_true (add_one (&f, NULL));
  g_assert_false (vhost_frontend_queue_kick (f.queue));
  g_assert_cmpuint (AVAIL_IDX (&f), ==, 1);
  f.used[0] = 0;
  g_assert_true (add_one (&f, NULL));
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  f.used[0] = 1;
  vhost_frontend_queue_force_kick (f.queue);
  g_assert_cmpuint (vhost_frontend_queue_get_n_kicks (f.queue), ==, 2);
  g_assert_cmpuint (pending (vhost_frontend_queue_get_kick_fd (f.queue)), ==, 2);
  tear_down (&f);
}

static void
test_kick_event (void)
{
  Fixture f;

  set_up (&f, 8, TRUE, FALSE);
  /* The flag means nothing here. */
  f.used[0] = 1;
  AVAIL_EVENT (&f) = 0;
  g_assert_true (add_one (&f, NULL));
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  g_assert_true (add_one (&f, NULL));
  g_assert_false (vhost_frontend_queue_kick (f.queue));
  /* A batch kicks if the wanted entry is anywhere in it. */
  AVAIL_EVENT (&f) = 3;
  g_assert_true (add_one (&f, NULL));
  g_assert_false (vhost_frontend_queue_kick (f.queue));
  g_assert_true (add_one (&f, NULL));
  g_assert_true (add_one (&f, NULL));
  g_assert_true (vhost_frontend_queue_kick (f.queue));
  tear_down (&f);
}

static void
test_calls_flags (void)
{
  Fixture f;

  set_up (&f, 8, FALSE, FALSE);
  g_assert_cmpuint (f.available[0], ==, 0);
  vhost_frontend_queue_set_calls_enabled (f.queue, FALSE);
  g_assert_cmpuint (f.available[0], ==, 1);
  vhost_frontend_queue_set_calls_enabled (f.queue, TRUE);
  g_assert_cmpuint (f.available[0], ==, 0);
  tear_down (&f);
}

static void
test_calls_event (void)
{
  Fixture f;

  set_up (&f, 8, TRUE, FALSE);
  g_assert_cmpuint (USED_EVENT (&f), ==, 0);
  for (guint i = 0; i < 5; i++)
    {
      g_assert_true (add_one (&f, NULL));
      vhost_frontend_queue_kick (f.queue);
      give (&f, take (&f), 0);
      g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
    }
  /* Polling left it behind, waiting moves it up. */
  g_assert_cmpuint (USED_EVENT (&f), ==, 0);
  g_assert_false (vhost_frontend_queue_wait (f.queue, 0));
  g_assert_cmpuint (USED_EVENT (&f), ==, 5);
  vhost_frontend_queue_set_calls_enabled (f.queue, FALSE);
  g_assert_false (vhost_frontend_queue_wait (f.queue, 0));
  g_assert_cmpuint ((guint16) (f.used[1] - USED_EVENT (&f)), >, 1000);
  g_assert_cmpuint (f.available[0], ==, 0);
  vhost_frontend_queue_set_calls_enabled (f.queue, TRUE);
  g_assert_cmpuint (USED_EVENT (&f), ==, 5);
  tear_down (&f);
}

static gpointer
device_thread (gpointer data)
{
  Fixture *f = data;
  guint16 event;

  /* Waits until the driver has armed, as a device that is asked for a call does. */
  for (gint64 end = g_get_monotonic_time () + 10 * G_USEC_PER_SEC; g_get_monotonic_time () < end;)
    {
      event = __atomic_load_n (&USED_EVENT (f), __ATOMIC_SEQ_CST);
      if (event == 1)
        break;
      g_thread_yield ();
    }
  give (f, take (f), 5);
  vhost_fd_notify (vhost_frontend_queue_get_call_fd (f->queue));
  return NULL;
}

static void
test_wait (void)
{
  Fixture f;
  GThread *thread;
  guint32 length;

  set_up (&f, 8, TRUE, FALSE);
  g_assert_true (add_one (&f, NULL));
  vhost_frontend_queue_kick (f.queue);
  /* Used before the wait: no call is needed. */
  give (&f, take (&f), 0);
  g_assert_true (vhost_frontend_queue_wait (f.queue, -1));
  g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));

  g_assert_true (add_one (&f, NULL));
  vhost_frontend_queue_kick (f.queue);
  thread = g_thread_new ("device", device_thread, &f);
  g_assert_true (vhost_frontend_queue_wait (f.queue, 10000));
  g_thread_join (thread);
  g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, &length));
  g_assert_cmpuint (length, ==, 5);
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (f.queue), ==, 1);
  tear_down (&f);
}

/* The back-end shares the descriptor's flags. */
static void
test_blocking_call_fd (void)
{
  Fixture f;
  int fd;

  set_up (&f, 8, FALSE, FALSE);
  fd = vhost_frontend_queue_get_call_fd (f.queue);
  g_assert_cmpint (fcntl (fd, F_SETFL, 0), ==, 0);
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (f.queue), ==, 0);
  g_assert_false (vhost_frontend_queue_wait (f.queue, 1));
  vhost_fd_notify (fd);
  vhost_fd_notify (fd);
  g_assert_true (vhost_frontend_queue_wait (f.queue, 0));
  g_assert_cmpuint (vhost_frontend_queue_get_n_calls (f.queue), ==, 2);
  tear_down (&f);
}

static void
test_indirect (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[40];
  Descriptor *table;
  guint64 first_table;
  guint16 head;

  for (guint i = 0; i < 40; i++)
    buffers[i] = (VhostFrontendBuffer){ 0x1000 * i, i, i > 0 };

  set_up (&f, 8, FALSE, TRUE);
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 3, TRUE, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 7);
  vhost_frontend_queue_kick (f.queue);
  head = take (&f);
  g_assert_cmpuint (f.descriptors[head].flags, ==, 4);
  g_assert_cmpuint (f.descriptors[head].length, ==, 48);
  first_table = f.descriptors[head].address;
  table = vhost_frontend_get_memory (f.frontend, first_table, 48);
  g_assert_nonnull (table);
  g_assert_cmpuint (table[0].flags, ==, 1);
  g_assert_cmpuint (table[0].next, ==, 1);
  g_assert_cmpuint (table[1].flags, ==, 3);
  g_assert_cmpuint (table[2].flags, ==, 2);
  g_assert_cmphex (table[2].address, ==, 0x2000);
  give (&f, head, 0);
  g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));

  /* The same head again: the same table, until it is too short. */
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 8, TRUE, NULL));
  vhost_frontend_queue_kick (f.queue);
  head = take (&f);
  g_assert_cmphex (f.descriptors[head].address, ==, first_table);
  give (&f, head, 0);
  g_assert_true (vhost_frontend_queue_poll (f.queue, NULL, NULL));
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 40, TRUE, NULL));
  vhost_frontend_queue_kick (f.queue);
  head = take (&f);
  g_assert_cmphex (f.descriptors[head].address, !=, first_table);
  g_assert_cmpuint (f.descriptors[head].length, ==, 640);
  table = vhost_frontend_get_memory (f.frontend, f.descriptors[head].address, 640);
  g_assert_cmpuint (table[39].length, ==, 39);
  tear_down (&f);
}

static void
test_indirect_unnegotiated (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[2] = { { 1, 1, FALSE }, { 2, 2, TRUE } };

  set_up (&f, 8, FALSE, FALSE);
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 2, TRUE, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 6);
  vhost_frontend_queue_kick (f.queue);
  g_assert_cmpuint (f.descriptors[take (&f)].flags, ==, 1);
  tear_down (&f);
}

static void
test_indirect_without_memory (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[2] = { { 1, 1, FALSE }, { 2, 2, TRUE } };

  set_up (&f, 8, FALSE, TRUE);
  while (vhost_frontend_allocate (f.frontend, 64, 1) != 0)
    ;
  g_assert_false (vhost_frontend_queue_add (f.queue, buffers, 2, TRUE, NULL));
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 8);
  g_assert_true (vhost_frontend_queue_add (f.queue, buffers, 2, FALSE, NULL));
  tear_down (&f);
}

static void
test_in_order (void)
{
  Fixture f;
  VhostFrontendBuffer buffers[2] = { { 1, 10, FALSE }, { 2, 20, TRUE } };
  gpointer token;
  guint32 length;

  set_up (&f, 8, TRUE, FALSE);
  g_assert_true (vhost_frontend_queue_set_in_order (f.queue, TRUE));
  for (guint round = 0; round < 30000; round++)
    {
      guint16 heads[3];

      for (guint i = 0; i < 3; i++)
        g_assert_true (
            vhost_frontend_queue_add (f.queue, buffers, 2, FALSE, GUINT_TO_POINTER (i + 1)));
      vhost_frontend_queue_kick (f.queue);
      for (guint i = 0; i < 3; i++)
        {
          heads[i] = take (&f);
          /* In the ring's own order (V29). */
          g_assert_cmpuint (heads[i], ==, (round * 6 + i * 2) % 8);
        }
      /* An entry that stands for more than the index says is passed over; then all three in one. */
      if (round == 7)
        {
          give (&f, heads[2], 0);
          g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
          g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 1);
        }
      memcpy (&f.used[2 + 4 * (f.used[1] % 8)], (guint32[]){ heads[2], 5 }, 8);
      __atomic_store_n (&f.used[1], (guint16) (f.used[1] + 3), __ATOMIC_RELEASE);
      for (guint i = 0; i < 3; i++)
        {
          g_assert_true (vhost_frontend_queue_poll (f.queue, &token, &length));
          g_assert_cmpuint (GPOINTER_TO_UINT (token), ==, i + 1);
          g_assert_cmpuint (length, ==, i < 2 ? 20 : 5);
        }
      g_assert_false (vhost_frontend_queue_poll (f.queue, NULL, NULL));
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (f.queue), ==, 1);
  g_assert_cmpuint (vhost_frontend_queue_get_free (f.queue), ==, 8);
  tear_down (&f);
}

static void
test_detached (void)
{
  Fixture f;
  VhostFrontendQueue *queue;

  set_up (&f, 8, TRUE, TRUE);
  queue = vhost_frontend_queue_ref (f.queue);
  g_assert_true (add_one (&f, NULL));
  vhost_frontend_queue_kick (queue);
  give (&f, take (&f), 0);
  g_assert_true (add_one (&f, NULL));
  tear_down (&f);

  g_assert_false (add_one (&f, NULL));
  g_assert_false (vhost_frontend_queue_kick (queue));
  g_assert_false (vhost_frontend_queue_poll (queue, NULL, NULL));
  g_assert_false (vhost_frontend_queue_wait (queue, 0));
  vhost_frontend_queue_set_calls_enabled (queue, TRUE);
  vhost_frontend_queue_force_kick (queue);
  vhost_frontend_queue_unref (queue);
}

static void
test_sizes (void)
{
  static const guint sizes[] = { 0, 3, 65536, 32768 + 1 };
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_assert_null (vhost_frontend_queue_new (frontend, 0, sizes[i], FALSE, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_clear_error (&error);
    }
  g_assert_null (vhost_frontend_queue_new (frontend, 256, 8, FALSE, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (vhost_frontend_queue_new (frontend, 0, 8, FALSE, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_FAILED);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-queue/publishes-a-chain-at-the-kick", test_chain);
  g_test_add_func ("/frontend-queue/adds-no-more-than-there-are-descriptors", test_full);
  g_test_add_data_func ("/frontend-queue/keeps-tokens-apart-past-the-index-wrap",
                        GINT_TO_POINTER (FALSE), test_wrap);
  g_test_add_data_func ("/frontend-queue/asks-for-no-call-past-the-index-wrap",
                        GINT_TO_POINTER (TRUE), test_wrap);
  g_test_add_func ("/frontend-queue/counts-used-ids-that-are-not-in-flight", test_bad_used);
  g_test_add_func ("/frontend-queue/survives-a-device-that-overwrites-the-table",
                   test_hostile_table);
  g_test_add_func ("/frontend-queue/kicks-by-the-used-flags", test_kick_flags);
  g_test_add_func ("/frontend-queue/kicks-by-avail-event", test_kick_event);
  g_test_add_func ("/frontend-queue/disables-calls-by-the-available-flags", test_calls_flags);
  g_test_add_func ("/frontend-queue/arms-used-event-only-to-wait", test_calls_event);
  g_test_add_func ("/frontend-queue/wakes-from-a-wait-by-a-call", test_wait);
  g_test_add_func ("/frontend-queue/never-blocks-in-a-blocking-call-descriptor",
                   test_blocking_call_fd);
  g_test_add_func ("/frontend-queue/reuses-and-grows-indirect-tables", test_indirect);
  g_test_add_func ("/frontend-queue/falls-back-to-direct-without-the-feature",
                   test_indirect_unnegotiated);
  g_test_add_func ("/frontend-queue/leaves-the-ring-alone-without-memory-for-a-table",
                   test_indirect_without_memory);
  g_test_add_func ("/rules/V28-takes-one-used-entry-for-a-batch", test_in_order);
  g_test_add_func ("/frontend-queue/is-harmless-after-its-frontend", test_detached);
  g_test_add_func ("/frontend-queue/refuses-sizes-that-no-split-ring-has", test_sizes);
  return g_test_run ();
}
