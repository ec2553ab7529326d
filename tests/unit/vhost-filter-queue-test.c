/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What filters hold in a queue: order, time, and the ends: a stop, another memory map, a session
 * that cannot wait, a broken ring. */
#include "vhost-error.h"

#include "filter-scene.h"

/* A filter that does what the test says. */
typedef struct
{
  VhostFilter parent_instance;
  gint64 start_time, end_time; /* relative; 0: passes */
  guint n_popped, n_completed;
  gint64 order_step; /* of the order given to each */
  gboolean end;
  guint written;
  VhostFilter *lets_go; /* (unowned) (nullable): of it when an answer comes by */
} Tool;

typedef struct
{
  VhostFilterClass parent_class;
} ToolClass;

static GType tool_get_type (void);
G_DEFINE_TYPE (Tool, tool, VHOST_TYPE_FILTER)

static void
hold (Tool *self, VhostChain *chain, gint64 time, guint n)
{
  if (time != 0)
    vhost_filter_hold (VHOST_FILTER (self), chain,
                       time == G_MAXINT64 ? time : g_get_monotonic_time () + time,
                       1000 + (guint64) (self->order_step * n));
}

static void
tool_popped (VhostFilter *filter, VhostQueue *queue, VhostChain *chain)
{
  Tool *self = (Tool *) filter;

  self->n_popped++;
  if (self->end)
    vhost_filter_end (filter, chain, self->written);
  else
    hold (self, chain, self->start_time, self->n_popped);
}

static void
tool_completed (VhostFilter *filter, VhostQueue *queue, VhostChain *chain, guint written)
{
  Tool *self = (Tool *) filter;

  self->written = written;
  hold (self, chain, self->end_time, ++self->n_completed);
  if (self->lets_go != NULL)
    vhost_filter_release (self->lets_go, queue);
}

static void
tool_class_init (ToolClass *klass)
{
  klass->parent_class.popped = tool_popped;
  klass->parent_class.completed = tool_completed;
}

static void
tool_init (Tool *self)
{
}

static void
requests_meet_filters_in_order (void)
{
  Scene s;
  Tool *inner, *outer;

  scene_init (&s);
  inner = scene_wrap (&s, tool_get_type ());
  outer = scene_wrap (&s, tool_get_type ());
  scene_start (&s);
  inner->end = TRUE;
  inner->written = 1;
  scene_offer (&s, 4);
  /* What the inner one ends has passed the outer one, and passes it again. */
  g_assert_cmpuint (outer->n_popped, ==, 4);
  g_assert_cmpuint (inner->n_popped, ==, 4);
  g_assert_cmpuint (s.device->n_seen, ==, 0);
  g_assert_cmpuint (inner->n_completed, ==, 0);
  g_assert_cmpuint (outer->n_completed, ==, 4);
  g_assert_cmpuint (outer->written, ==, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 4);

  outer->end = TRUE;
  outer->written = 7;
  scene_offer (&s, 1);
  g_assert_cmpuint (inner->n_popped, ==, 4);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  /* Never more than there was room for. */
  {
    guint32 length;

    scene_get_answer (&s, 4, &length);
    g_assert_cmpuint (length, ==, 2);
  }
  scene_clear (&s);
}

static void
both_directions_can_wait (void)
{
  Scene s;
  Tool *inner, *outer;

  scene_init (&s);
  inner = scene_wrap (&s, tool_get_type ());
  outer = scene_wrap (&s, tool_get_type ());
  outer->start_time = outer->end_time = inner->start_time = inner->end_time = 1000;
  scene_start (&s);
  scene_offer (&s, 40);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 40);
  scene_check_answers (&s, 0, 0, 40);
  g_assert_cmpuint (outer->n_popped, ==, 40);
  g_assert_cmpuint (outer->n_completed, ==, 40);
  g_assert_cmpuint (inner->n_popped, ==, 40);
  g_assert_cmpuint (inner->n_completed, ==, 40);
  scene_clear (&s);
}

static void
release_goes_by_time_then_order_then_age (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  scene_start (&s);
  tool->end_time = G_MAXINT64;
  scene_offer (&s, 3); /* 0 1 2 */
  tool->order_step = -1;
  scene_offer (&s, 3); /* 5 4 3 before them */
  tool->end_time = 20 * G_USEC_PER_SEC;
  tool->order_step = 0;
  scene_offer (&s, 1); /* 6 before all */
  g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (tool), s.queue), ==, 7);
  g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (tool), s.queue), ==,
                    vhost_queue_get_in_flight (s.queue));
  vhost_filter_release (VHOST_FILTER (tool), s.queue);
  scene_settle (&s);
  {
    static const guint expected[] = { 6, 5, 4, 3, 0, 1, 2 };

    for (guint i = 0; i < G_N_ELEMENTS (expected); i++)
      g_assert_cmpuint (scene_get_answer (&s, i, NULL), ==, expected[i]);
  }
  scene_clear (&s);
}

static void
a_stop_lets_answers_go (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  scene_start (&s);
  scene_offer (&s, 30);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  scene_begin_stop (&s);
  /* Within the call. */
  g_assert_cmpuint (s.stopped, ==, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 30);
  g_assert_cmpuint (vhost_queue_get_base (s.queue), ==, 30);
  scene_end_stop (&s);
  scene_clear (&s);
}

static void
a_stop_lets_requests_go_to_the_device (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->start_time = tool->end_time = G_MAXINT64;
  scene_start (&s);
  scene_offer (&s, 30);
  g_assert_cmpuint (s.device->n_seen, ==, 0);
  scene_begin_stop (&s);
  scene_end_stop (&s);
  g_assert_cmpuint (s.device->n_seen, ==, 30);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 30);
  g_assert_true (scene_check_answers (&s, 0, 0, 30));
  scene_clear (&s);
}

/* The device ends its requests during the stop: nothing is held any more. */
static void
a_stopping_queue_holds_nothing (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  s.device->keep = TRUE;
  scene_start (&s);
  scene_offer (&s, 3);
  scene_begin_stop (&s);
  scene_settle (&s);
  g_assert_cmpuint (s.stopped, ==, 0);
  scene_complete_kept (&s);
  g_assert_cmpuint (s.stopped, ==, 1);
  scene_end_stop (&s);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 3);
  scene_clear (&s);
}

static void
a_queue_holds_again_after_its_next_start (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  scene_start (&s);
  for (guint i = 1; i <= 3; i++)
    {
      VhostQueueSetup setup = hand_setup (&s.hand);

      scene_offer (&s, 5);
      g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (tool), s.queue), ==, 5);
      scene_begin_stop (&s);
      scene_end_stop (&s);
      g_assert_cmpuint (hand_used_index (&s.hand), ==, 5 * i);
      close (s.kick_fd);
      s.kick_fd = dup (setup.kick_fd);
      setup.base = vhost_queue_get_base (s.queue);
      s.stopped = 0;
      g_assert_true (vhost_worker_start_queue (s.worker, s.queue, &setup, s.hand.memory, NULL));
      vhost_backend_queue_started (s.top, s.queue);
    }
  scene_clear (&s);
}

static void
an_abandoned_queue_ends_what_is_held (void)
{
  Scene s;
  Tool *tool;
  VhostQueue *queue;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  scene_start (&s);
  scene_offer (&s, 5); /* held at their end */
  tool->start_time = G_MAXINT64;
  scene_offer (&s, 5); /* and at their start */
  tool->start_time = 0;
  s.device->keep = TRUE;
  scene_offer (&s, 1); /* and one is with the device */
  vhost_worker_abandon_queue (s.worker, s.queue);
  g_assert_cmpuint (vhost_queue_get_in_flight (s.queue), ==, 1);
  g_assert_cmpuint (s.device->n_seen, ==, 6);
  /* The driver sees none of them; the filter may go now, the queue lives for the last request. */
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  queue = g_steal_pointer (&s.queue);
  g_object_add_weak_pointer (G_OBJECT (queue), (gpointer *) &queue);
  g_object_unref (queue);
  g_assert_nonnull (queue);
  scene_complete_kept (&s);
  g_assert_null (queue);
  close (s.kick_fd);
  scene_clear (&s);
}

static void
another_memory_map_does_not_wait (void)
{
  Scene s;
  Tool *tool;
  VhostMemory *memory;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  scene_start (&s);
  scene_offer (&s, 5);
  memory = hand_map (s.hand.fd, 0x7000000);
  vhost_queue_set_memory (s.queue, memory, &s.release_task);
  g_assert_cmpuint (s.released, ==, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  /* Not for good. */
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  scene_clear (&s);
  vhost_memory_unref (memory);
}

static void
what_uses_an_old_map_is_held_no_more (void)
{
  Scene s;
  Tool *inner, *outer;
  VhostMemory *memory;

  scene_init (&s);
  inner = scene_wrap (&s, tool_get_type ());
  outer = scene_wrap (&s, tool_get_type ());
  inner->end_time = outer->end_time = G_MAXINT64;
  scene_start (&s);
  scene_offer (&s, 1); /* an answer that the one lets go, for the other */
  s.device->keep = TRUE;
  scene_offer (&s, 1); /* one that comes later */
  memory = hand_map (s.hand.fd, 0x7000000);
  vhost_queue_set_memory (s.queue, memory, &s.release_task);
  g_assert_cmpuint (s.released, ==, 0);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 1);
  scene_offer (&s, 1); /* and one of the new map, which can wait */
  scene_complete_kept (&s);
  g_assert_cmpuint (s.released, ==, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 2);
  g_assert_cmpuint (vhost_filter_get_n_held (VHOST_FILTER (inner), s.queue), ==, 1);
  s.device->keep = FALSE;
  scene_clear (&s);
  vhost_memory_unref (memory);
}

static guint seen_at_stop;

static void
note_stopping (VhostQueue *queue, gpointer owner)
{
  seen_at_stop = ((Scene *) owner)->device->n_seen;
}

static void
a_device_hears_of_the_stop_last (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->start_time = G_MAXINT64;
  s.device->keep = TRUE;
  scene_start (&s);
  s.queue->hooks.stopping = note_stopping;
  seen_at_stop = 0;
  scene_offer (&s, 5);
  hand_offer (&s.hand, 5); /* too late */
  scene_begin_stop (&s);
  g_assert_cmpuint (seen_at_stop, ==, 5);
  scene_complete_kept (&s);
  scene_end_stop (&s);
  g_assert_cmpuint (s.device->n_seen, ==, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  scene_clear (&s);
}

static void
filters_may_let_go_within_one_another (void)
{
  Scene s;
  Tool *inner, *outer;

  scene_init (&s);
  inner = scene_wrap (&s, tool_get_type ());
  outer = scene_wrap (&s, tool_get_type ());
  inner->end_time = G_MAXINT64;
  outer->lets_go = VHOST_FILTER (inner);
  scene_start (&s);
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  vhost_filter_release (VHOST_FILTER (inner), s.queue);
  scene_settle (&s);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 5);
  scene_offer (&s, 5);
  scene_begin_stop (&s);
  scene_end_stop (&s);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 10);
  g_assert_cmpuint (outer->n_completed, ==, 10);
  scene_clear (&s);
}

/* Takes one request in its first pass. */
static void
process_slowly (VhostQueue *queue, gpointer owner)
{
  Scene *s = owner;
  VhostChain *chain;

  queue->hooks.process = scene_process;
  chain = vhost_queue_pop (queue);
  g_assert_nonnull (chain);
  s->device->n_seen++;
  vhost_chain_complete (chain, 1);
}

static void
a_disabled_ring_serves_all_that_is_let_go (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->start_time = 1000;
  tool->lets_go = VHOST_FILTER (tool);
  scene_start (&s);
  scene_offer (&s, 1);
  tool->start_time = G_MAXINT64;
  scene_offer (&s, 2);
  vhost_queue_set_enabled (s.queue, FALSE);
  s.queue->hooks.process = process_slowly;
  SCENE_ITERATE_UNTIL (s.device->n_seen == 3);
  scene_settle (&s);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 3);
  scene_clear (&s);
}

static void
requests_of_a_broken_ring_still_start (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->start_time = 5000;
  scene_start (&s);
  scene_offer (&s, 5);
  hand_offer (&s.hand, 9999); /* not a head */
  eventfd_write (s.kick_fd, 1);
  SCENE_ITERATE_UNTIL (vhost_queue_get_state (s.queue) == VHOST_QUEUE_STATE_BROKEN);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 5);
  g_assert_cmpuint (s.device->n_seen, ==, 5);
  scene_clear (&s);
}

/* Ends every request at once, with a driver that is always ahead: a pop must come back. */
static void
a_pop_outside_a_pass_comes_back (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end = TRUE;
  scene_start (&s);
  scene_settle (&s);
  s.queue->budget = 10;
  for (guint i = 0; i < SCENE_SIZE; i++)
    hand_offer (&s.hand, i);
  g_assert_null (vhost_queue_pop (s.queue));
  g_assert_cmpuint (tool->n_popped, ==, 10);
  /* The rest needs no kick. */
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == SCENE_SIZE);
  scene_clear (&s);
}

static gpointer
complete_elsewhere (gpointer data)
{
  vhost_chain_complete (data, 1);
  return NULL;
}

static void
answers_from_other_threads_are_held_on_the_worker (void)
{
  Scene s;
  Tool *tool;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = G_MAXINT64;
  s.device->keep = TRUE;
  scene_start (&s);
  scene_offer (&s, 1);
  g_thread_join (
      g_thread_new ("elsewhere", complete_elsewhere, g_ptr_array_index (s.device->kept, 0)));
  g_assert_cmpuint (tool->n_completed, ==, 0);
  SCENE_ITERATE_UNTIL (vhost_filter_get_n_held (VHOST_FILTER (tool), s.queue) == 1);
  vhost_filter_release (VHOST_FILTER (tool), s.queue);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 1);
  scene_clear (&s);
}

static void
without_descriptors_milliseconds_do (void)
{
  Scene s;
  Tool *tool;
  GPtrArray *taken = g_ptr_array_new ();
  int fd;

  scene_init (&s);
  tool = scene_wrap (&s, tool_get_type ());
  tool->end_time = 3000;
  scene_start (&s);
  while ((fd = dup (s.kick_fd)) >= 0)
    g_ptr_array_add (taken, GINT_TO_POINTER (fd));
  scene_offer (&s, 5);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 0);
  SCENE_ITERATE_UNTIL (hand_used_index (&s.hand) == 5);
  for (guint i = 0; i < taken->len; i++)
    close (GPOINTER_TO_INT (g_ptr_array_index (taken, i)));
  g_ptr_array_unref (taken);
  scene_clear (&s);
}

static void
a_seventeenth_filter_does_nothing (void)
{
  Scene s;
  Tool *tool = NULL, *first = NULL;

  scene_init (&s);
  for (guint i = 0; i < VHOST_FILTER_LAYERS_MAX + 1; i++)
    {
      tool = scene_wrap (&s, tool_get_type ());
      if (first == NULL)
        first = tool;
    }
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*does nothing*");
  scene_start (&s);
  g_test_assert_expected_messages ();
  scene_offer (&s, 3);
  g_assert_cmpuint (tool->n_popped, ==, 3);
  g_assert_cmpuint (first->n_popped, ==, 0);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 3);
  scene_clear (&s);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter-queue/requests-meet-filters-in-order", requests_meet_filters_in_order);
  g_test_add_func ("/filter-queue/both-directions-can-wait", both_directions_can_wait);
  g_test_add_func ("/filter-queue/release-goes-by-time-then-order-then-age",
                   release_goes_by_time_then_order_then_age);
  g_test_add_func ("/filter-queue/a-stop-lets-answers-go", a_stop_lets_answers_go);
  g_test_add_func ("/filter-queue/a-stop-lets-requests-go-to-the-device",
                   a_stop_lets_requests_go_to_the_device);
  g_test_add_func ("/filter-queue/a-stopping-queue-holds-nothing", a_stopping_queue_holds_nothing);
  g_test_add_func ("/filter-queue/a-queue-holds-again-after-its-next-start",
                   a_queue_holds_again_after_its_next_start);
  g_test_add_func ("/filter-queue/an-abandoned-queue-ends-what-is-held",
                   an_abandoned_queue_ends_what_is_held);
  g_test_add_func ("/filter-queue/another-memory-map-does-not-wait",
                   another_memory_map_does_not_wait);
  g_test_add_func ("/rules/V47-requests-of-a-broken-ring-still-reach-the-device",
                   requests_of_a_broken_ring_still_start);
  g_test_add_func ("/filter-queue/a-pop-outside-a-pass-comes-back",
                   a_pop_outside_a_pass_comes_back);
  g_test_add_func ("/filter-queue/answers-from-other-threads-are-held-on-the-worker",
                   answers_from_other_threads_are_held_on_the_worker);
  g_test_add_func ("/filter-queue/without-descriptors-milliseconds-do",
                   without_descriptors_milliseconds_do);
  g_test_add_func ("/filter-queue/what-uses-an-old-map-is-held-no-more",
                   what_uses_an_old_map_is_held_no_more);
  g_test_add_func ("/filter-queue/a-device-hears-of-the-stop-last",
                   a_device_hears_of_the_stop_last);
  g_test_add_func ("/filter-queue/filters-may-let-go-within-one-another",
                   filters_may_let_go_within_one_another);
  g_test_add_func ("/filter-queue/a-disabled-ring-serves-all-that-is-let-go",
                   a_disabled_ring_serves_all_that_is_let_go);
  g_test_add_func ("/filter-queue/a-seventeenth-filter-does-nothing",
                   a_seventeenth_filter_does_nothing);
  return g_test_run ();
}
