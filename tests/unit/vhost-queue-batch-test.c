/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests by the batch, their segments and the memory behind them. */
#include "hand-ring.h"

typedef struct
{
  HandRing hand;
  VhostQueue *queue;
  VhostChain *chains[300]; /* taken and not completed */
  guint n;
  guint room; /* in the batches that the back-end asks for */
  guint batches[8];
  guint n_batches;
} Fixture;

static void
process (VhostQueue *queue, gpointer owner)
{
  Fixture *f = owner;
  guint n;

  do
    {
      n = vhost_queue_pop_many (queue, f->chains + f->n, f->room);
      g_assert_cmpuint (f->n_batches, <, G_N_ELEMENTS (f->batches));
      f->batches[f->n_batches++] = n;
      f->n += n;
    }
  while (n == f->room);
}

static void
note_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  hand_note_error (&((Fixture *) owner)->hand, error);
}

static void
wake (VhostQueue *queue)
{
}

static const VhostQueueHooks hooks = { .process = process, .error = note_error, .wake = wake };

static void
set_up_sized (Fixture *f, guint size)
{
  GError *error = NULL;
  VhostQueueSetup setup;

  memset (f, 0, sizeof *f);
  hand_ring_init (&f->hand, size);
  f->queue = vhost_queue_new (0, 32768, 0, &hooks, f);
  vhost_queue_set_enabled (f->queue, TRUE);
  setup = hand_setup (&f->hand);
  vhost_queue_start (f->queue, &setup, f->hand.memory, &error);
  g_assert_no_error (error);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 8);
}

static void
set_up_large (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 512);
}

static void
complete_all (Fixture *f)
{
  for (guint i = 0; i < f->n; i++)
    vhost_chain_complete (f->chains[i], i);
  f->n = 0;
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  complete_all (f);
  vhost_queue_abandon (f->queue);
  g_object_unref (f->queue);
  hand_ring_clear (&f->hand);
}

static void
offer (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    {
      guint head = f->hand.avail_idx % f->hand.size;

      hand_desc (&f->hand, head, HAND_DATA + head * 512, 512, HAND_WRITE, 0);
      hand_offer (&f->hand, head);
    }
}

static void
takes_as_many_as_there_are (Fixture *f, gconstpointer data)
{
  f->room = 4;
  offer (f, 7);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->n_batches, ==, 2);
  g_assert_cmpuint (f->batches[0], ==, 4);
  g_assert_cmpuint (f->batches[1], ==, 3);
  for (guint i = 0; i < 7; i++)
    g_assert_cmpuint (vhost_chain_get_head (f->chains[i]), ==, i);
  complete_all (f);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 7);
}

static void
room_for_none_takes_none (Fixture *f, gconstpointer data)
{
  f->room = 1;
  offer (f, 2);
  g_assert_cmpuint (vhost_queue_pop_many (f->queue, NULL, 0), ==, 0);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->n, ==, 2);
}

static void
ends_with_the_budget_of_a_pass (Fixture *f, gconstpointer data)
{
  f->room = 100;
  offer (f, 280);
  g_assert_true (vhost_queue_serve (f->queue));
  g_assert_cmpuint (f->n, ==, VHOST_QUEUE_BUDGET);
  complete_all (f);
  f->n_batches = 0;
  g_assert_false (vhost_queue_serve (f->queue));
  g_assert_cmpuint (f->n, ==, 280 - VHOST_QUEUE_BUDGET);
}

static void
segments_are_copied_as_far_as_there_is_room (Fixture *f, gconstpointer data)
{
  struct iovec segments[4] = { { NULL } };
  guint8 byte;
  guint n_readable;

  hand_desc (&f->hand, 0, HAND_DATA, 1, HAND_NEXT, 1);
  hand_desc (&f->hand, 1, HAND_DATA + 100, 20, HAND_NEXT, 2);
  hand_desc (&f->hand, 2, HAND_DATA + 200, 30, HAND_WRITE, 0);
  hand_offer (&f->hand, 0);
  f->room = 8;
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->n, ==, 1);
  g_assert_cmpuint (vhost_chain_get_segments (f->chains[0], segments, 2, &n_readable), ==, 3);
  g_assert_cmpuint (n_readable, ==, 2);
  g_assert_cmpuint (segments[0].iov_len, ==, 1);
  g_assert_cmpuint (segments[1].iov_len, ==, 20);
  g_assert_null (segments[2].iov_base);
  g_assert_cmpuint (vhost_chain_get_segments (f->chains[0], NULL, 0, &n_readable), ==, 3);

  /* What was pulled is gone. */
  vhost_chain_pull (f->chains[0], &byte, 1);
  g_assert_cmpuint (vhost_chain_get_segments (f->chains[0], segments, 4, &n_readable), ==, 2);
  g_assert_cmpuint (n_readable, ==, 1);
  g_assert_cmpuint (segments[0].iov_len, ==, 20);
  g_assert_cmpuint (segments[1].iov_len, ==, 30);
}

static void
memory_outlives_the_request (Fixture *f, gconstpointer data)
{
  struct iovec segment;
  VhostMemory *memory;
  guint8 *region;
  gsize length;
  guint n_readable;

  f->room = 8;
  offer (f, 1);
  vhost_queue_serve (f->queue);
  vhost_chain_get_segments (f->chains[0], &segment, 1, &n_readable);
  memory = vhost_memory_ref (vhost_chain_get_memory (f->chains[0]));
  complete_all (f);
  vhost_queue_abandon (f->queue);
  vhost_memory_unref (f->hand.memory);

  region = vhost_memory_get_region_address (memory, 0, &length);
  g_assert_cmpuint (length, ==, HAND_SIZE);
  g_assert_true ((guint8 *) segment.iov_base == region + (HAND_DATA - HAND_BASE));
  memset (segment.iov_base, 1, segment.iov_len);
  g_assert_null (vhost_memory_get_region_address (memory, 1, &length));
  g_assert_cmpuint (length, ==, 0);
  f->hand.memory = memory;
}

#define ADD(name, up) g_test_add ("/queue-batch/" #name, Fixture, NULL, up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (takes_as_many_as_there_are, set_up);
  ADD (room_for_none_takes_none, set_up);
  ADD (ends_with_the_budget_of_a_pass, set_up_large);
  ADD (segments_are_copied_as_far_as_there_is_room, set_up);
  ADD (memory_outlives_the_request, set_up);
  return g_test_run ();
}
