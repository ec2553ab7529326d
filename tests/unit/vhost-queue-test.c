/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue: passes, completions now and later and from elsewhere, stops, maps that are replaced,
 * rings that break. */
#include "hand-ring.h"

#include "vhost-error.h"
#include "vhost-iotlb-private.h"

typedef struct
{
  HandRing hand;
  VhostQueue *queue;
  VhostQueueSetup setup;
  GPtrArray *held; /* chains that the back-end keeps */
  gboolean hold;
  gboolean lazy; /* takes nothing */
  guint processed;
  guint woken;
} Fixture;

static void
process (VhostQueue *queue, gpointer owner)
{
  Fixture *f = owner;
  VhostChain *chain;

  while (!f->lazy && (chain = vhost_queue_pop (queue)) != NULL)
    {
      f->processed++;
      if (f->hold)
        g_ptr_array_add (f->held, chain);
      else
        vhost_chain_complete (chain, chain->writable_size);
    }
}

static void
note_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  hand_note_error (&((Fixture *) owner)->hand, error);
}

static void
wake (VhostQueue *queue)
{
  __atomic_fetch_add (&((Fixture *) queue->owner)->woken, 1, __ATOMIC_SEQ_CST);
}

static const VhostQueueHooks hooks = { .process = process, .error = note_error, .wake = wake };

static void
start (Fixture *f)
{
  GError *error = NULL;

  f->setup = hand_setup (&f->hand);
  vhost_queue_start (f->queue, &f->setup, f->hand.memory, &error);
  g_assert_no_error (error);
}

static void
set_up_sized (Fixture *f, guint size)
{
  memset (f, 0, sizeof *f);
  hand_ring_init (&f->hand, size);
  f->held = g_ptr_array_new ();
  f->queue = vhost_queue_new (0, 32768, 64, &hooks, f);
  vhost_queue_set_enabled (f->queue, TRUE);
  start (f);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 8);
}

static void
set_up_large (Fixture *f, gconstpointer data)
{
  set_up_sized (f, 1024);
}

static void
complete_held (Fixture *f)
{
  for (guint i = 0; i < f->held->len; i++)
    vhost_chain_complete (f->held->pdata[i], 1);
  g_ptr_array_set_size (f->held, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_ptr_array_unref (f->held);
  g_assert_finalize_object (f->queue);
  hand_ring_clear (&f->hand);
}

static void
offer (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    {
      guint head = f->hand.avail_idx % f->hand.size;

      hand_desc (&f->hand, head, HAND_DATA + head * 512, 512, 2, 0);
      hand_offer (&f->hand, head);
    }
}

/* Counts how often entries become visible, and to how many. */
static struct
{
  const VhostRingOps *ops;
  guint seen[8]; /* entries that were visible after each time */
  guint n;
} shown;

static void
note_shown (VhostRing *ring)
{
  g_assert_cmpuint (shown.n, <, G_N_ELEMENTS (shown.seen));
  shown.seen[shown.n++] = ring->next_used;
}

static void
count_expose (VhostRing *ring)
{
  shown.ops->expose (ring);
  note_shown (ring);
}

static gboolean
count_publish (VhostRing *ring)
{
  gboolean wanted = shown.ops->publish (ring);

  note_shown (ring);
  return wanted;
}

/* V26: the first completion of a pass by itself, then a batch that is longer than a group. */
static void
complete_batch (Fixture *f, guint alone)
{
  VhostRingOps ops = *f->queue->ring.ops;
  gsize written[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  guint n = f->held->len, before;

  memset (&shown, 0, sizeof shown);
  shown.ops = f->queue->ring.ops;
  ops.expose = count_expose;
  ops.publish = count_publish;
  f->queue->ring.ops = &ops;
  for (guint i = 0; i < alone; i++)
    vhost_chain_complete (f->held->pdata[i], written[i]);
  before = shown.n;
  vhost_queue_complete_batch (f->queue, (VhostChain *const *) (gpointer) f->held->pdata + alone,
                              written + alone, n - alone);
  vhost_queue_complete_batch (f->queue, NULL, NULL, 0);
  g_assert_cmpuint (shown.n, ==, before + 1);
  g_assert_cmpuint (shown.seen[shown.n - 1], ==, n);
  f->queue->ring.ops = shown.ops;
  g_ptr_array_set_size (f->held, 0);
  g_assert_cmpuint (vhost_queue_get_in_flight (f->queue), ==, 0);
  vhost_queue_flush (f->queue);
}

static void
V26_a_batch_appears_at_once (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 7);
  vhost_queue_serve (f->queue);
  complete_batch (f, 0);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 7);
  for (guint i = 0; i < 7; i++)
    {
      guint32 id, length;

      hand_used (&f->hand, i, &id, &length);
      g_assert_cmpuint (length, ==, i + 1);
    }
}

static void
V26_a_batch_within_a_pass_appears_at_once (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 8);
  vhost_queue_serve (f->queue);
  complete_batch (f, 2);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 8);
}

typedef struct
{
  VhostTask task;
  guint ran;
} Note;

static void
note_run (VhostTask *task)
{
  ((Note *) task)->ran++;
}

static void
serves_what_is_there (Fixture *f, gconstpointer data)
{
  guint32 id, len;

  offer (f, 5);
  g_assert_false (vhost_queue_serve (f->queue));
  g_assert_cmpuint (f->processed, ==, 5);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 5);
  hand_used (&f->hand, 4, &id, &len);
  g_assert_cmpuint (id, ==, 4);
  g_assert_cmpuint (len, ==, 512);
  g_assert_cmpuint (hand_read_event (f->setup.call_fd), >=, 1);
  g_assert_cmpuint (vhost_queue_get_in_flight (f->queue), ==, 0);
}

static void
a_pass_has_a_budget (Fixture *f, gconstpointer data)
{
  offer (f, 600);
  g_assert_true (vhost_queue_serve (f->queue));
  g_assert_cmpuint (f->processed, ==, VHOST_QUEUE_BUDGET);
  g_assert_true (vhost_queue_serve (f->queue));
  g_assert_false (vhost_queue_serve (f->queue));
  g_assert_cmpuint (f->processed, ==, 600);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 600);
}

static void
disabled_ring_takes_nothing (Fixture *f, gconstpointer data)
{
  vhost_queue_set_enabled (f->queue, FALSE);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_STARTED);
  offer (f, 1);
  g_assert_false (vhost_queue_has_available (f->queue));
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->processed, ==, 0);
  vhost_queue_set_enabled (f->queue, TRUE);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->processed, ==, 1);
}

static void
a_ring_disabled_in_flight_finishes_what_it_took (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 2);
  vhost_queue_serve (f->queue);
  vhost_queue_set_enabled (f->queue, FALSE);
  complete_held (f);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 2);
}

static void
stop_waits_for_requests_in_flight (Fixture *f, gconstpointer data)
{
  Note stopped = { .task.run = note_run };

  f->hold = TRUE;
  offer (f, 3);
  vhost_queue_serve (f->queue);
  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  g_assert_cmpuint (stopped.ran, ==, 0);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_DRAINING);
  offer (f, 1); /* too late for this one */
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->held->len, ==, 3);
  complete_held (f);
  g_assert_cmpuint (stopped.ran, ==, 1);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 3);
  g_assert_cmpuint (vhost_queue_get_base (f->queue), ==, 3);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_STOPPED);
}

static void
starts_again_where_it_stopped (Fixture *f, gconstpointer data)
{
  Note stopped = { .task.run = note_run };
  GError *error = NULL;

  offer (f, 3);
  vhost_queue_serve (f->queue);
  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  g_assert_cmpuint (stopped.ran, ==, 1);
  offer (f, 2);
  f->setup = hand_setup (&f->hand);
  f->setup.base = vhost_queue_get_base (f->queue);
  vhost_queue_start (f->queue, &f->setup, f->hand.memory, &error);
  g_assert_no_error (error);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->processed, ==, 5);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 5);
}

static void
a_refused_start_changes_nothing (Fixture *f, gconstpointer data)
{
  VhostQueueSetup bad = f->setup;
  g_autoptr (GError) error = NULL;
  Note stopped = { .task.run = note_run };

  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  bad.size = 12;
  g_assert_false (vhost_queue_start (f->queue, &bad, f->hand.memory, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_clear_error (&error);
  bad.size = 8;
  bad.used = 4;
  g_assert_false (vhost_queue_start (f->queue, &bad, f->hand.memory, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_RING);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_STOPPED);
}

static gpointer
complete_elsewhere (gpointer data)
{
  Fixture *f = data;

  complete_held (f);
  return NULL;
}

static void
completes_from_another_thread (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 8);
  vhost_queue_serve (f->queue);
  g_thread_join (g_thread_new ("elsewhere", complete_elsewhere, f));
  g_assert_cmpuint (f->woken, ==, 1); /* one for the whole batch */
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  vhost_queue_collect_remote (f->queue);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 8);
}

static void
a_chain_that_is_held_is_not_reused (Fixture *f, gconstpointer data)
{
  VhostChain *mine;

  f->hold = TRUE;
  offer (f, 1);
  vhost_queue_serve (f->queue);
  mine = vhost_chain_ref (f->held->pdata[0]);
  complete_held (f);
  for (guint i = 0; i < 20; i++)
    {
      offer (f, 1);
      vhost_queue_serve (f->queue);
      g_assert_true (f->held->pdata[0] != mine);
      complete_held (f);
    }
  vhost_chain_unref (mine);
}

static void
chain_data_is_zero_at_first_and_kept (Fixture *f, gconstpointer data)
{
  guint8 *bytes;

  f->hold = TRUE;
  offer (f, 1);
  vhost_queue_serve (f->queue);
  bytes = vhost_chain_get_data (f->held->pdata[0]);
  for (guint i = 0; i < 64; i++)
    g_assert_cmpuint (bytes[i], ==, 0);
  memset (bytes, 7, 64);
  complete_held (f);
  offer (f, 1);
  vhost_queue_serve (f->queue);
  g_assert_true (vhost_chain_get_data (f->held->pdata[0]) == bytes);
  g_assert_cmpuint (bytes[63], ==, 7);
  complete_held (f);
}

static void
V47_a_violation_breaks_this_ring_only_once (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 2);
  vhost_queue_serve (f->queue);
  hand_offer (&f->hand, 100);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  g_assert_cmpint (f->hand.error_code, ==, VHOST_ERROR_RING);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_BROKEN);
  g_assert_cmpuint (hand_read_event (f->setup.err_fd), ==, 1);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  /* what was taken before is finished all the same */
  complete_held (f);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 2);
}

static void
V48_a_broken_ring_stops_at_the_bad_entry_and_starts_again (Fixture *f, gconstpointer data)
{
  Note stopped = { .task.run = note_run };
  GError *error = NULL;

  offer (f, 2);
  hand_offer (&f->hand, 100);
  vhost_queue_serve (f->queue);
  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  g_assert_cmpuint (stopped.ran, ==, 1);
  g_assert_cmpuint (vhost_queue_get_base (f->queue), ==, 2);
  hand_set_avail_index (&f->hand, 2);
  offer (f, 1);
  f->setup = hand_setup (&f->hand);
  f->setup.base = 2;
  vhost_queue_start (f->queue, &f->setup, f->hand.memory, &error);
  g_assert_no_error (error);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 3);
}

static void
an_old_map_lives_until_its_last_request_ends (Fixture *f, gconstpointer data)
{
  Note released = { .task.run = note_run };
  VhostMemory *new_map = hand_map (f->hand.fd, 0x7000000);

  f->hold = TRUE;
  offer (f, 2);
  vhost_queue_serve (f->queue);
  vhost_queue_set_memory (f->queue, new_map, &released.task);
  g_assert_cmpuint (released.ran, ==, 0);
  offer (f, 1); /* with the new map */
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->held->len, ==, 3);
  /* the old request's memory is still there to be written */
  *(guint8 *) ((VhostChain *) f->held->pdata[0])->segments[0].iov_base = 9;
  vhost_chain_complete (g_ptr_array_steal_index (f->held, 0), 1);
  g_assert_cmpuint (released.ran, ==, 0);
  vhost_chain_complete (g_ptr_array_steal_index (f->held, 0), 1);
  g_assert_cmpuint (released.ran, ==, 1);
  complete_held (f);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 3);
  vhost_memory_unref (new_map);
}

static void
a_map_without_the_ring_breaks_it_quietly (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostMemory) empty = vhost_memory_new_empty ();
  Note released = { .task.run = note_run };
  Note stopped = { .task.run = note_run };

  f->hold = TRUE;
  offer (f, 1);
  vhost_queue_serve (f->queue);
  vhost_queue_set_memory (f->queue, empty, &released.task);
  g_assert_cmpint (f->hand.error_code, ==, VHOST_ERROR_RING);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  complete_held (f); /* must not touch the ring */
  g_assert_cmpuint (released.ran, ==, 1);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  g_assert_cmpuint (stopped.ran, ==, 1);
}

static void
an_abandoned_queue_lives_until_its_last_request_ends (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = f->queue;

  f->hold = TRUE;
  offer (f, 2);
  vhost_queue_serve (queue);
  vhost_queue_abandon (queue);
  g_object_add_weak_pointer (G_OBJECT (queue), (gpointer *) &queue);
  g_object_unref (f->queue);
  g_assert_nonnull (queue);
  complete_held (f);
  g_assert_null (queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  f->queue = vhost_queue_new (0, 8, 0, &hooks, f); /* for the tear-down */
}

static void
memory_that_shrank_ends_the_session_not_the_process (Fixture *f, gconstpointer data)
{
  offer (f, 1);
  vhost_queue_serve (f->queue);
  g_assert_cmpint (ftruncate (f->hand.fd, 0), ==, 0);
  (void) *(volatile guint16 *) f->queue->ring.available; /* the fault: zero pages from here on */
  vhost_queue_serve (f->queue);
  g_assert_cmpint (f->hand.error_code, ==, VHOST_ERROR_NO_SHARED_MEMORY);
  g_assert_cmpint (vhost_queue_get_state (f->queue), ==, VHOST_QUEUE_STATE_BROKEN);
}

static void
kicks_are_wanted_only_when_asked_for (Fixture *f, gconstpointer data)
{
  guint16 *event = (guint16 *) hand_at (&f->hand, HAND_USED) + 2 + 4 * 8;

  *event = 0x7777;
  g_assert_false (vhost_queue_kicks_on (f->queue));
  g_assert_cmpuint (*event, ==, 0);
  offer (f, 1);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (*event, ==, 0); /* left behind: one kick, then silence */
  offer (f, 1);
  g_assert_true (vhost_queue_kicks_on (f->queue)); /* look again before sleeping */
}

static void
what_a_back_end_leaves_is_no_news (Fixture *f, gconstpointer data)
{
  guint16 *event = (guint16 *) hand_at (&f->hand, HAND_USED) + 2 + 4 * 8;

  f->lazy = TRUE;
  offer (f, 3);
  g_assert_true (vhost_queue_has_available (f->queue));
  g_assert_false (vhost_queue_serve (f->queue));
  g_assert_false (vhost_queue_has_available (f->queue));
  g_assert_false (vhost_queue_kicks_on (f->queue));
  g_assert_cmpuint (*event, ==, 3); /* a kick for the next one, please */
  offer (f, 1);
  g_assert_true (vhost_queue_has_available (f->queue));
  f->lazy = FALSE;
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->processed, ==, 4);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 4);
}

static void
V8_one_more_than_all_heads_breaks_the_ring (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 8);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->held->len, ==, 8);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->hand.errors, ==, 0);
  hand_offer (&f->hand, 0);
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  g_assert_false (vhost_queue_has_available (f->queue));
  complete_held (f);
}

/* Chains of 1024 descriptors until the queue's budget for them is used up. */
static void
starve (Fixture *f)
{
  HandDesc *table = hand_at (&f->hand, HAND_DATA + 0x10000);

  for (guint i = 0; i < 1024; i++)
    table[i] = (HandDesc){ HAND_DATA + i, 1, 2 | (i < 1023 ? 1 : 0), i + 1 };
  f->hold = TRUE;
  for (guint i = 0; i < 100; i++)
    {
      hand_desc (&f->hand, i, HAND_DATA + 0x10000, 1024 * 16, 4, 0);
      hand_offer (&f->hand, i);
    }
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->held->len, >, 10);
  g_assert_cmpuint (f->held->len, <, 100);
}

static void
a_starved_queue_waits_for_a_completion (Fixture *f, gconstpointer data)
{
  starve (f);
  g_assert_false (vhost_queue_has_available (f->queue));
  g_assert_false (vhost_queue_kicks_on (f->queue));
  while (f->processed < 100 || f->held->len > 0)
    {
      guint before = f->woken;

      complete_held (f);
      g_assert_cmpuint (f->woken, >, before);
      vhost_queue_serve (f->queue);
    }
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 100);
}

static void
a_starved_queue_that_is_abandoned_wakes_nobody (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = f->queue;
  guint woken;

  starve (f);
  vhost_queue_abandon (queue);
  g_object_add_weak_pointer (G_OBJECT (queue), (gpointer *) &queue);
  g_object_unref (f->queue);
  woken = f->woken;
  complete_held (f);
  g_assert_null (queue);
  g_assert_cmpuint (f->woken, ==, woken);          /* it is gone: nothing may be linked to it */
  f->queue = vhost_queue_new (0, 8, 0, &hooks, f); /* for the tear-down */
}

static void
an_abandoned_queue_shows_what_had_ended (Fixture *f, gconstpointer data)
{
  f->hold = TRUE;
  offer (f, 4);
  vhost_queue_serve (f->queue);
  for (guint i = 0; i < 3; i++)
    vhost_chain_complete (g_ptr_array_steal_index (f->held, 0), 1);
  vhost_queue_abandon (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 3);
  complete_held (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 3);
}

static void
V23_a_used_length_is_never_above_the_room (Fixture *f, gconstpointer data)
{
  guint32 id, len;

  f->hold = TRUE;
  offer (f, 1);
  vhost_queue_serve (f->queue);
  vhost_chain_complete (g_ptr_array_steal_index (f->held, 0), 100000);
  vhost_queue_flush (f->queue);
  hand_used (&f->hand, 0, &id, &len);
  g_assert_cmpuint (len, ==, 512);
}

static void
a_ring_of_32768_is_served (Fixture *f, gconstpointer data)
{
  tear_down (f, NULL);
  set_up_sized (f, 32768);
  f->hold = TRUE;
  for (guint i = 0; i < 32768; i++)
    hand_desc (&f->hand, i, HAND_DATA, 1, 2, 0);
  {
    guint16 *avail = hand_at (&f->hand, HAND_AVAIL);

    for (guint i = 0; i < 32768; i++)
      avail[2 + i] = i;
    hand_set_avail_index (&f->hand, 32768);
  }
  while (vhost_queue_serve (f->queue))
    ;
  g_assert_cmpuint (f->held->len, ==, 32768);
  g_assert_cmpuint (vhost_queue_get_in_flight (f->queue), ==, 32768);
  complete_held (f);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 32768);
}

/* The guest's memory behind a vIOMMU that changes nothing; without @used, the used ring has no
 * translation. */
static VhostMemory *
make_view (Fixture *f, gboolean used)
{
  VhostIotlb *iotlb = vhost_iotlb_new ();
  VhostMemory *view;

  g_assert_true (vhost_iotlb_update (iotlb, f->hand.memory, HAND_BASE, HAND_USED - HAND_BASE,
                                     0x7000000, 3, NULL));
  g_assert_true (vhost_iotlb_update (iotlb, f->hand.memory, HAND_DATA,
                                     HAND_BASE + HAND_SIZE - HAND_DATA,
                                     0x7000000 + (HAND_DATA - HAND_BASE), 3, NULL));
  if (used)
    g_assert_true (vhost_iotlb_update (iotlb, f->hand.memory, HAND_USED, HAND_DATA - HAND_USED,
                                       0x7000000 + (HAND_USED - HAND_BASE), 3, NULL));
  view = vhost_iotlb_build_view (iotlb, f->hand.memory);
  vhost_iotlb_free (iotlb);
  return view;
}

static void
an_answer_that_waits_for_its_ring_holds_no_map (Fixture *f, gconstpointer data)
{
  VhostMemory *whole[] = { make_view (f, TRUE), make_view (f, TRUE) };
  VhostMemory *part[] = { make_view (f, FALSE), make_view (f, FALSE) };
  VhostDirtyLog *log = vhost_dirty_log_new_pending (NULL);
  Note released = { .task.run = note_run };

  vhost_queue_set_memory (f->queue, whole[0], NULL);
  vhost_queue_set_log (f->queue, log, FALSE, 0);
  f->hold = TRUE;
  offer (f, 2);
  vhost_queue_serve (f->queue);
  vhost_queue_set_memory (f->queue, part[0], NULL);
  vhost_chain_complete (g_ptr_array_steal_index (f->held, 0), 1);
  vhost_queue_set_memory (f->queue, part[1], &released.task);
  g_assert_cmpuint (released.ran, ==, 0); /* the device may still write */
  complete_held (f);
  g_assert_cmpuint (released.ran, ==, 1);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  vhost_queue_set_memory (f->queue, whole[1], NULL);
  vhost_queue_flush (f->queue);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 2);
  g_assert_cmpuint (f->hand.errors, ==, 0);
  for (guint i = 0; i < 2; i++)
    {
      vhost_memory_unref (whole[i]);
      vhost_memory_unref (part[i]);
    }
  vhost_dirty_log_unref (log);
}

static void
a_base_that_proves_impossible_is_the_rings_base (Fixture *f, gconstpointer data)
{
  g_autoptr (VhostMemory) whole = make_view (f, TRUE);
  g_autoptr (VhostMemory) part = make_view (f, FALSE);
  g_autoptr (VhostMemory) again = make_view (f, TRUE);
  g_autoptr (GError) error = NULL;
  Note stopped = { .task.run = note_run };

  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  f->setup = hand_setup (&f->hand);
  f->setup.base = 100; /* ahead of a used index that cannot be read yet */
  g_assert_true (vhost_queue_start (f->queue, &f->setup, part, &error));
  g_assert_no_error (error);
  vhost_queue_set_memory (f->queue, whole, NULL);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  vhost_queue_set_memory (f->queue, again, NULL);
  g_assert_cmpuint (f->hand.errors, ==, 1);
  vhost_queue_stop (f->queue, FALSE, &stopped.task);
  g_assert_cmpuint (vhost_queue_get_base (f->queue), ==, 100);
}

static void
an_index_that_is_not_possible_keeps_nobody_awake (Fixture *f, gconstpointer data)
{
  static const guint16 indices[] = { 7, 40000, 65535, 8, 0 };

  f->lazy = TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (indices); i++)
    {
      hand_set_avail_index (&f->hand, indices[i]);
      g_assert_true (vhost_queue_has_available (f->queue));
      g_assert_false (vhost_queue_serve (f->queue));
      g_assert_false (vhost_queue_has_available (f->queue));
      g_assert_false (vhost_queue_kicks_on (f->queue));
    }
  hand_set_avail_index (&f->hand, 40000);
  f->lazy = FALSE;
  vhost_queue_serve (f->queue);
  g_assert_cmpuint (f->hand.errors, ==, 1);
}

static void
L9_all_that_was_split_off_is_marked (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int fd = memfd_create ("log", MFD_CLOEXEC);
  guint8 pages[128] = { 0 };
  VhostDirtyLog *log;
  VhostChain *chain;

  g_assert_cmpint (ftruncate (fd, 4096), ==, 0);
  log = vhost_dirty_log_new_take_fd (dup (fd), 4096, 0, &error);
  g_assert_no_error (error);
  vhost_queue_set_log (f->queue, log, FALSE, 0);
  /* A byte, two and three, each in a page of its own. */
  for (guint i = 0; i < 3; i++)
    hand_desc (&f->hand, i, HAND_DATA + i * 4096, i + 1, i < 2 ? 3 : 2, i + 1);
  hand_offer (&f->hand, 0);
  f->hold = TRUE;
  vhost_queue_serve (f->queue);
  chain = g_ptr_array_steal_index (f->held, 0);
  for (guint i = 0; i < 4; i++)
    g_assert_nonnull (vhost_chain_split_status (chain));
  g_assert_cmpuint (vhost_chain_get_writable_size (chain), ==, 2);
  vhost_chain_complete (chain, 6);
  g_assert_cmpint (pread (fd, pages, sizeof pages, HAND_DATA / 4096 / 8), ==, sizeof pages);
  g_assert_cmphex (pages[0], ==, 7);
  vhost_dirty_log_unref (log);
  close (fd);
}

#define ADD(name, up) g_test_add ("/queue/" #name, Fixture, NULL, up, name, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD (serves_what_is_there, set_up);
  ADD (a_pass_has_a_budget, set_up_large);
  ADD (disabled_ring_takes_nothing, set_up);
  ADD (a_ring_disabled_in_flight_finishes_what_it_took, set_up);
  ADD (stop_waits_for_requests_in_flight, set_up);
  ADD (starts_again_where_it_stopped, set_up);
  ADD (a_refused_start_changes_nothing, set_up);
  ADD (completes_from_another_thread, set_up);
  ADD (a_chain_that_is_held_is_not_reused, set_up);
  ADD (chain_data_is_zero_at_first_and_kept, set_up);
  ADD (V47_a_violation_breaks_this_ring_only_once, set_up);
  ADD (V48_a_broken_ring_stops_at_the_bad_entry_and_starts_again, set_up);
  ADD (an_old_map_lives_until_its_last_request_ends, set_up);
  ADD (a_map_without_the_ring_breaks_it_quietly, set_up);
  ADD (an_abandoned_queue_lives_until_its_last_request_ends, set_up);
  ADD (memory_that_shrank_ends_the_session_not_the_process, set_up);
  ADD (kicks_are_wanted_only_when_asked_for, set_up);
  ADD (a_ring_of_32768_is_served, set_up);
  ADD (what_a_back_end_leaves_is_no_news, set_up);
  ADD (V8_one_more_than_all_heads_breaks_the_ring, set_up);
  ADD (V23_a_used_length_is_never_above_the_room, set_up);
  ADD (V26_a_batch_appears_at_once, set_up);
  ADD (V26_a_batch_within_a_pass_appears_at_once, set_up);
  ADD (a_starved_queue_waits_for_a_completion, set_up_large);
  ADD (a_starved_queue_that_is_abandoned_wakes_nobody, set_up_large);
  ADD (an_abandoned_queue_shows_what_had_ended, set_up);
  ADD (an_answer_that_waits_for_its_ring_holds_no_map, set_up);
  ADD (a_base_that_proves_impossible_is_the_rings_base, set_up);
  ADD (an_index_that_is_not_possible_keeps_nobody_awake, set_up);
  ADD (L9_all_that_was_split_off_is_marked, set_up);
  return g_test_run ();
}
