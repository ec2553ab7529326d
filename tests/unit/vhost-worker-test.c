/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workers of all kinds (epoll, io_uring, none): kicks are served, and nothing starves or is
 * starved. */
#include "hand-ring.h"

#include "vhost-error.h"
#include "vhost-worker-loop-private.h"

#include <fcntl.h>
#include <poll.h>

typedef struct
{
  HandRing hand;
  VhostWorker *worker;
  VhostWaiterKind kind;
  gboolean inline_worker;
  VhostQueue *queue;
  VhostQueueSetup setup;
  int call_fd; /* a copy that outlives the queue's */
  int kick_fd;
  _Atomic (gboolean) flood;  /* the back-end makes every request available again */
  _Atomic (gboolean) attach; /* attach an idle source to the own context from within a pass */
  _Atomic (gboolean) nest;   /* iterate the context from within a pass */
  guint attached_ran;
  guint n_timers; /* so many are attached before a nested iteration */
  guint timers_ran;
  guint ticks;
  _Atomic (gboolean) hold;
  VhostChain *held;
  guint processed;
} Fixture;

/* Runs @func on the worker and waits for its end; an inline worker's context is iterated meanwhile.
 */
typedef struct
{
  VhostTask task;
  void (*func) (Fixture *f);
  Fixture *f;
  gboolean done;
} Call;

static void
run_call (VhostTask *task)
{
  Call *call = (Call *) task;

  call->func (call->f);
  __atomic_store_n (&call->done, TRUE, __ATOMIC_RELEASE);
}

#define WAIT_FOR(f, condition)                                                                     \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;                              \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        if ((f)->inline_worker)                                                                    \
          g_main_context_iteration (NULL, FALSE);                                                  \
        else                                                                                       \
          g_thread_yield ();                                                                       \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END

static void
call (Fixture *f, void (*func) (Fixture *f))
{
  Call c = { .task.run = run_call, .func = func, .f = f };

  vhost_worker_post (f->worker, &c.task);
  WAIT_FOR (f, __atomic_load_n (&c.done, __ATOMIC_ACQUIRE));
}

static gboolean
note_attached (gpointer data)
{
  __atomic_fetch_add (&((Fixture *) data)->attached_ran, 1, __ATOMIC_SEQ_CST);
  return G_SOURCE_REMOVE;
}

static gboolean
note_timer (gpointer data)
{
  __atomic_fetch_add (&((Fixture *) data)->timers_ran, 1, __ATOMIC_SEQ_CST);
  return G_SOURCE_REMOVE;
}

static void
process (VhostQueue *queue, gpointer owner)
{
  Fixture *f = owner;
  VhostChain *chain;

  if (f->attach)
    {
      GSource *source = g_idle_source_new ();

      f->attach = FALSE;
      g_source_set_callback (source, note_attached, f, NULL);
      g_source_attach (source, vhost_worker_get_context (f->worker));
      g_source_unref (source);
    }
  if (f->nest)
    {
      f->nest = FALSE;
      for (guint i = 0; i < f->n_timers; i++)
        {
          GSource *timer = g_timeout_source_new (20);

          g_source_add_unix_fd (timer, f->call_fd, G_IO_IN);
          g_source_set_callback (timer, note_timer, f, NULL);
          g_source_attach (timer, vhost_worker_get_context (f->worker));
          g_source_unref (timer);
        }
      g_main_context_iteration (vhost_worker_get_context (f->worker), FALSE);
    }
  while ((chain = vhost_queue_pop (queue)) != NULL)
    {
      guint head = vhost_chain_get_head (chain);

      __atomic_fetch_add (&f->processed, 1, __ATOMIC_SEQ_CST);
      if (f->hold)
        {
          __atomic_store_n (&f->held, chain, __ATOMIC_SEQ_CST);
          continue;
        }
      vhost_chain_complete (chain, 1);
      if (f->flood)
        hand_offer (&f->hand, head);
    }
}

static void
note_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  hand_note_error (&((Fixture *) owner)->hand, error);
}

static const VhostQueueHooks hooks
    = { .process = process, .error = note_error, .wake = vhost_worker_wake_queue };

static void
start_queue (Fixture *f)
{
  GError *error = NULL;

  vhost_worker_start_queue (f->worker, f->queue, &f->setup, f->hand.memory, &error);
  g_assert_no_error (error);
}

typedef struct
{
  VhostTask task;
  gboolean ran;
} Stopped;

static Stopped stopped;

static void
note_stopped (VhostTask *task)
{
  __atomic_store_n (&stopped.ran, TRUE, __ATOMIC_RELEASE);
}

static void
stop_queue (Fixture *f)
{
  stopped = (Stopped){ .task.run = note_stopped };
  vhost_worker_stop_queue (f->worker, f->queue, FALSE, &stopped.task);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  memset (f, 0, sizeof *f);
  f->kind = GPOINTER_TO_INT (data);
  f->inline_worker = f->kind == VHOST_WAITER_AUTO;
  hand_ring_init (&f->hand, 64);
  if (f->inline_worker)
    f->worker = vhost_worker_new_inline (NULL, &error);
  else
    f->worker = vhost_worker_new_thread ("test", f->kind, 50, NULL, NULL, NULL, &error);
  if (f->worker == NULL && f->kind == VHOST_WAITER_URING)
    {
      g_test_skip (error->message);
      g_error_free (error);
      return;
    }
  g_assert_no_error (error);
  f->queue = vhost_queue_new (0, 1024, 0, &hooks, f);
  vhost_queue_set_enabled (f->queue, TRUE);
  f->setup = hand_setup (&f->hand);
  f->call_fd = dup (f->setup.call_fd);
  f->kick_fd = dup (f->setup.kick_fd);
  for (guint i = 0; i < 64; i++)
    hand_desc (&f->hand, i, HAND_DATA + i * 512, 512, 2, 0);
  call (f, start_queue);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->worker != NULL)
    {
      f->flood = FALSE;
      call (f, stop_queue);
      WAIT_FOR (f, __atomic_load_n (&stopped.ran, __ATOMIC_ACQUIRE));
      vhost_worker_stop (f->worker);
      g_assert_finalize_object (f->queue);
      g_assert_finalize_object (f->worker);
      close (f->call_fd);
      close (f->kick_fd);
    }
  hand_ring_clear (&f->hand);
}

static void
kick (Fixture *f)
{
  guint64 one = 1;

  g_assert_cmpint (write (f->kick_fd, &one, sizeof one), ==, sizeof one);
}

static guint
processed (Fixture *f)
{
  return __atomic_load_n (&f->processed, __ATOMIC_SEQ_CST);
}

static void
serves_each_kick (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  for (guint i = 1; i <= 500; i++)
    {
      hand_offer (&f->hand, i % 64);
      kick (f);
      WAIT_FOR (f, hand_used_index (&f->hand) == i);
    }
}

static void
serves_what_was_there_before_the_start (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  call (f, stop_queue);
  WAIT_FOR (f, __atomic_load_n (&stopped.ran, __ATOMIC_ACQUIRE));
  hand_offer (&f->hand, 0);
  f->setup = hand_setup (&f->hand);
  call (f, start_queue);
  WAIT_FOR (f, hand_used_index (&f->hand) == 1); /* no kick at all */
}

static void
sleeps_between_kicks_and_wakes_again (Fixture *f, gconstpointer data)
{
  struct pollfd fd;

  if (f->worker == NULL)
    return;
  fd = (struct pollfd){ .fd = f->call_fd, .events = POLLIN };
  hand_read_event (f->call_fd);
  for (guint i = 1; i <= 20; i++)
    {
      guint16 *event = (guint16 *) hand_at (&f->hand, HAND_AVAIL) + 2 + 64;

      *event = i - 1; /* call for the next one */
      hand_offer (&f->hand, 0);
      kick (f);
      WAIT_FOR (f, poll (&fd, 1, 1) == 1);
      hand_read_event (f->call_fd);
      g_assert_cmpuint (hand_used_index (&f->hand), ==, i);
    }
}

static gboolean
tick (gpointer data)
{
  __atomic_fetch_add (&((Fixture *) data)->ticks, 1, __ATOMIC_SEQ_CST);
  return G_SOURCE_CONTINUE;
}

/* On the worker, which will go on offering. */
static void
begin_flood (Fixture *f)
{
  f->flood = TRUE;
  for (guint i = 0; i < 32; i++)
    hand_offer (&f->hand, i);
}

static void
a_flooded_queue_starves_no_timer_and_no_command (Fixture *f, gconstpointer data)
{
  GSource *timer;

  if (f->worker == NULL)
    return;
  call (f, begin_flood);
  kick (f);
  WAIT_FOR (f, processed (f) > 1000);
  timer = g_timeout_source_new (1);
  g_source_set_callback (timer, tick, f, NULL);
  g_source_attach (timer, vhost_worker_get_context (f->worker));
  WAIT_FOR (f, __atomic_load_n (&f->ticks, __ATOMIC_SEQ_CST) >= 20);
  g_source_destroy (timer);
  g_source_unref (timer);
  call (f, stop_queue); /* a command gets through as well */
  WAIT_FOR (f, __atomic_load_n (&stopped.ran, __ATOMIC_ACQUIRE));
}

static void
a_source_attached_within_a_pass_runs (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  f->attach = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, __atomic_load_n (&f->attached_ran, __ATOMIC_SEQ_CST) == 1);
}

static void
a_back_end_may_iterate_the_context (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  f->attach = f->nest = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, hand_used_index (&f->hand) == 1);
  WAIT_FOR (f, __atomic_load_n (&f->attached_ran, __ATOMIC_SEQ_CST) == 1);
}

static void
sources_of_a_nested_iteration_are_not_lost (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  f->n_timers = 50;
  f->nest = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, __atomic_load_n (&f->timers_ran, __ATOMIC_SEQ_CST) == 50);
  hand_offer (&f->hand, 1);
  kick (f);
  WAIT_FOR (f, hand_used_index (&f->hand) == 2);
}

static void
a_completion_on_another_thread_is_published (Fixture *f, gconstpointer data)
{
  VhostChain *chain;

  if (f->worker == NULL)
    return;
  f->hold = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, (chain = __atomic_exchange_n (&f->held, NULL, __ATOMIC_SEQ_CST)) != NULL);
  vhost_chain_complete (chain, 1);
  WAIT_FOR (f, hand_used_index (&f->hand) == 1);
  f->hold = FALSE;
}

static void
put_pipe (Fixture *f)
{
  GError *error = NULL;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC | O_NONBLOCK), ==, 0);
  g_assert_true (vhost_worker_take_kick_fd (f->worker, f->queue, fds[0], &error));
  g_assert_no_error (error);
  close (f->kick_fd);
  f->kick_fd = fds[1];
}

static void
a_kick_descriptor_can_be_replaced_by_a_pipe (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  call (f, put_pipe);
  for (guint i = 1; i <= 300; i++)
    {
      hand_offer (&f->hand, i % 64);
      kick (f);
      WAIT_FOR (f, hand_used_index (&f->hand) == i);
    }
}

static void
put_none (Fixture *f)
{
  g_assert_true (vhost_worker_take_kick_fd (f->worker, f->queue, -1, NULL));
}

static void
V40_a_ring_without_a_kick_descriptor_is_polled (Fixture *f, gconstpointer data)
{
  if (f->worker == NULL)
    return;
  call (f, put_none);
  for (guint i = 1; i <= 100; i++)
    {
      hand_offer (&f->hand, i % 64);
      WAIT_FOR (f, hand_used_index (&f->hand) == i);
    }
}

static void
stop_waits_for_a_request_that_is_held (Fixture *f, gconstpointer data)
{
  VhostChain *chain;

  if (f->worker == NULL)
    return;
  f->hold = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, (chain = __atomic_exchange_n (&f->held, NULL, __ATOMIC_SEQ_CST)) != NULL);
  call (f, stop_queue);
  g_assert_false (__atomic_load_n (&stopped.ran, __ATOMIC_ACQUIRE));
  vhost_chain_complete (chain, 1);
  WAIT_FOR (f, __atomic_load_n (&stopped.ran, __ATOMIC_ACQUIRE));
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  f->hold = FALSE;
}

static void
abandon (Fixture *f)
{
  vhost_worker_abandon_queue (f->worker, f->queue);
}

static void
a_completion_after_the_worker_ended_is_harmless (Fixture *f, gconstpointer data)
{
  VhostChain *chain;
  VhostQueue *queue;

  if (f->worker == NULL)
    return;
  f->hold = TRUE;
  hand_offer (&f->hand, 0);
  kick (f);
  WAIT_FOR (f, (chain = __atomic_exchange_n (&f->held, NULL, __ATOMIC_SEQ_CST)) != NULL);
  call (f, abandon);
  vhost_worker_stop (f->worker);
  queue = f->queue;
  g_object_add_weak_pointer (G_OBJECT (queue), (gpointer *) &queue);
  g_object_unref (f->queue);
  g_assert_nonnull (queue);
  vhost_chain_complete (chain, 1);
  g_assert_null (queue);
  g_assert_finalize_object (g_steal_pointer (&f->worker));
  close (f->call_fd);
  close (f->kick_fd);
}

/* Two queues of one worker that has ended: each is abandoned and lives for one request. */
typedef struct
{
  Fixture f[2];
  VhostChain *chains[2];
  VhostTask blocker;
} Ended;

static void
ended_init (Ended *self)
{
  memset (self, 0, sizeof *self);
  self->f[0].worker = self->f[1].worker = vhost_worker_new_inline (NULL, NULL);
  for (guint i = 0; i < 2; i++)
    {
      Fixture *f = &self->f[i];

      f->inline_worker = TRUE;
      f->hold = TRUE;
      hand_ring_init (&f->hand, 64);
      hand_desc (&f->hand, 0, HAND_DATA, 512, 2, 0);
      hand_offer (&f->hand, 0);
      f->queue = vhost_queue_new (i, 64, 0, &hooks, f);
      vhost_queue_set_enabled (f->queue, TRUE);
      f->setup = hand_setup (&f->hand);
      start_queue (f);
      WAIT_FOR (f, f->held != NULL);
      self->chains[i] = f->held;
      abandon (f);
      g_object_add_weak_pointer (G_OBJECT (f->queue), (gpointer *) &f->queue);
      g_object_unref (f->queue);
    }
}

static void
ended_clear (Ended *self)
{
  for (guint i = 0; i < 2; i++)
    {
      g_assert_null (self->f[i].queue);
      hand_ring_clear (&self->f[i].hand);
    }
  g_assert_finalize_object (self->f[0].worker);
}

static gpointer
complete_chain (gpointer data)
{
  vhost_chain_complete (data, 1);
  return NULL;
}

static GThread *meeting[2];

/* Runs while nobody else can: the two tasks must pile up behind it. */
static void
run_blocker (VhostTask *task)
{
  Ended *self = (Ended *) (gpointer) ((guint8 *) task - G_STRUCT_OFFSET (Ended, blocker));
  VhostTask *head;

  for (guint i = 0; i < 2; i++)
    meeting[i] = g_thread_new ("meeting", complete_chain, self->chains[i]);
  WAIT_FOR (&self->f[0],
            (head = atomic_load (&self->f[0].worker->mailbox.head)) != NULL && head->next != NULL);
}

static void
completions_after_the_end_may_meet (void)
{
  for (guint round = 0; round < 20; round++)
    {
      Ended ended;

      ended_init (&ended);
      vhost_worker_stop (ended.f[0].worker);
      ended.blocker.run = run_blocker;
      vhost_worker_post (ended.f[0].worker, &ended.blocker);
      for (guint i = 0; i < 2; i++)
        g_thread_join (meeting[i]);
      ended_clear (&ended);
    }
}

static void
a_completion_may_meet_the_end (void)
{
  for (guint round = 0; round < 200; round++)
    {
      Ended ended;
      GThread *thread;

      ended_init (&ended);
      thread = g_thread_new ("other", complete_chain, ended.chains[1]);
      vhost_worker_stop (ended.f[0].worker);
      vhost_chain_complete (ended.chains[0], 1);
      g_thread_join (thread);
      ended_clear (&ended);
    }
}

#define ADD(name)                                                                                  \
  g_test_add ("/worker/inline/" #name, Fixture, GINT_TO_POINTER (VHOST_WAITER_AUTO), set_up, name, \
              tear_down);                                                                          \
  g_test_add ("/worker/epoll/" #name, Fixture, GINT_TO_POINTER (VHOST_WAITER_EPOLL), set_up, name, \
              tear_down);                                                                          \
  g_test_add ("/worker/uring/" #name, Fixture, GINT_TO_POINTER (VHOST_WAITER_URING), set_up, name, \
              tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (serves_each_kick);
  ADD (serves_what_was_there_before_the_start);
  ADD (sleeps_between_kicks_and_wakes_again);
  ADD (a_flooded_queue_starves_no_timer_and_no_command);
  ADD (a_source_attached_within_a_pass_runs);
  ADD (a_back_end_may_iterate_the_context);
  ADD (sources_of_a_nested_iteration_are_not_lost);
  ADD (a_completion_on_another_thread_is_published);
  ADD (a_kick_descriptor_can_be_replaced_by_a_pipe);
  ADD (V40_a_ring_without_a_kick_descriptor_is_polled);
  ADD (stop_waits_for_a_request_that_is_held);
  ADD (a_completion_after_the_worker_ended_is_harmless);
  g_test_add_func ("/worker/completions-after-the-end-may-meet",
                   completions_after_the_end_may_meet);
  g_test_add_func ("/worker/a-completion-may-meet-the-end", a_completion_may_meet_the_end);
  return g_test_run ();
}
