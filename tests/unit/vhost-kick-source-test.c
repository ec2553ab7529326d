/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings as sources of a foreign main context: several share one loop with a timer. */
#include "hand-ring.h"

#include "vhost-kick-source.h"
#include "vhost-worker-private.h"

#define N 4

typedef struct
{
  HandRing hands[N];
  VhostQueue *queues[N];
  int kick_fds[N];
  VhostWorker *worker;
  guint ticks;
  gboolean hold;
  VhostChain *held;
  VhostTask stopped;
  guint n_stopped;
} Fixture;

static void
process (VhostQueue *queue, gpointer owner)
{
  VhostChain *chain;

  while ((chain = vhost_queue_pop (queue)) != NULL)
    if (((Fixture *) owner)->hold)
      ((Fixture *) owner)->held = chain;
    else
      vhost_chain_complete (chain, 1);
}

static void
note_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  g_error ("%s", error->message);
}

static const VhostQueueHooks hooks
    = { .process = process, .error = note_error, .wake = vhost_worker_wake_queue };

static void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  memset (f, 0, sizeof *f);
  f->worker = vhost_worker_new_inline (NULL, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < N; i++)
    {
      VhostQueueSetup setup;

      hand_ring_init (&f->hands[i], 64);
      for (guint head = 0; head < 64; head++)
        hand_desc (&f->hands[i], head, HAND_DATA, 4, 2, 0);
      f->queues[i] = vhost_queue_new (i, 64, 0, &hooks, f);
      vhost_queue_set_enabled (f->queues[i], TRUE);
      setup = hand_setup (&f->hands[i]);
      f->kick_fds[i] = dup (setup.kick_fd);
      vhost_worker_start_queue (f->worker, f->queues[i], &setup, f->hands[i].memory, &error);
      g_assert_no_error (error);
    }
}

static void
run_nothing (VhostTask *task)
{
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  VhostTask stopped = { .run = run_nothing };

  for (guint i = 0; i < N; i++)
    {
      vhost_worker_stop_queue (f->worker, f->queues[i], FALSE, &stopped);
      g_assert_finalize_object (f->queues[i]);
      hand_ring_clear (&f->hands[i]);
      close (f->kick_fds[i]);
    }
  vhost_worker_stop (f->worker);
  g_assert_finalize_object (f->worker);
}

static void
iterate_until (Fixture *f, guint i, guint16 used)
{
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;

  while (hand_used_index (&f->hands[i]) != used)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      g_main_context_iteration (NULL, FALSE);
    }
}

static void
kick (Fixture *f, guint i)
{
  hand_offer (&f->hands[i], f->hands[i].avail_idx % 64);
  eventfd_write (f->kick_fds[i], 1);
}

static void
several_rings_share_a_loop (Fixture *f, gconstpointer data)
{
  for (guint round = 1; round <= 100; round++)
    for (guint i = 0; i < N; i++)
      {
        kick (f, i);
        iterate_until (f, i, round);
      }
}

static gboolean
tick (gpointer data)
{
  ((Fixture *) data)->ticks++;
  return G_SOURCE_CONTINUE;
}

static void
a_timer_of_the_loop_goes_on (Fixture *f, gconstpointer data)
{
  guint id = g_timeout_add (1, tick, f);
  gint64 deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;
  guint rounds = 0;

  while (f->ticks < 20)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      kick (f, 0);
      iterate_until (f, 0, ++rounds);
    }
  g_source_remove (id);
}

static void
an_idle_ring_lets_the_loop_sleep (Fixture *f, gconstpointer data)
{
  kick (f, 0);
  iterate_until (f, 0, 1);
  for (guint i = 0; i < 10 && g_main_context_iteration (NULL, FALSE); i++)
    ;
  g_assert_false (g_main_context_pending (NULL));
}

static void
a_source_is_destroyed_with_its_ring (Fixture *f, gconstpointer data)
{
  VhostTask stopped = { .run = run_nothing };
  GSource *source = g_source_ref (f->queues[1]->kick_source);

  g_assert_false (g_source_is_destroyed (source));
  vhost_worker_stop_queue (f->worker, f->queues[1], FALSE, &stopped);
  g_assert_true (g_source_is_destroyed (source));
  g_source_unref (source);
  kick (f, 0); /* the others go on */
  iterate_until (f, 0, 1);
}

static gpointer
run_elsewhere (gpointer data)
{
  Fixture *f = data;

  for (guint i = 2; i <= 10; i++)
    {
      kick (f, 0);
      iterate_until (f, 0, i);
    }
  return NULL;
}

/* The thread that had the loop is another one's now, perhaps with the same name. */
static void
a_loop_may_move_to_another_thread (Fixture *f, gconstpointer data)
{
  kick (f, 0);
  iterate_until (f, 0, 1);
  g_thread_join (g_thread_new ("elsewhere", run_elsewhere, f));
  for (guint i = 11; i <= 20; i++)
    {
      kick (f, 0);
      iterate_until (f, 0, i);
    }
}

static void
note_stopped (VhostTask *task)
{
  ((Fixture *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (Fixture, stopped)))->n_stopped++;
}

static gpointer
end_elsewhere (gpointer data)
{
  Fixture *f = data;

  kick (f, 0);
  iterate_until (f, 0, 1);
  vhost_chain_complete (f->held, 1);
  iterate_until (f, 1, 1);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  return NULL;
}

static void
a_ring_that_is_stopping_moves_along (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  kick (f, 1);
  while (f->held == NULL)
    g_main_context_iteration (NULL, TRUE);
  f->hold = FALSE;
  f->stopped.run = note_stopped;
  vhost_worker_stop_queue (f->worker, f->queues[1], FALSE, &f->stopped);
  g_assert_cmpuint (f->n_stopped, ==, 0);
  g_thread_join (g_thread_new ("elsewhere", end_elsewhere, f));
  g_assert_cmpuint (f->n_stopped, ==, 1);
}

#define ADD(name) g_test_add ("/kick-source/" #name, Fixture, NULL, set_up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (several_rings_share_a_loop);
  ADD (a_timer_of_the_loop_goes_on);
  ADD (an_idle_ring_lets_the_loop_sleep);
  ADD (a_source_is_destroyed_with_its_ring);
  ADD (a_loop_may_move_to_another_thread);
  ADD (a_ring_that_is_stopping_moves_along);
  return g_test_run ();
}
