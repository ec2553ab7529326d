/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order, wake-ups and hand-over of the mailbox. */
#include "vhost-mailbox-private.h"

#include <poll.h>
#include <unistd.h>

#define DEADLINE_MS 20000

typedef struct
{
  VhostTask task;
  GArray *log;
  guint number;
} NumberTask;

static void
log_number (VhostTask *task)
{
  NumberTask *self = (NumberTask *) task;
  g_array_append_val (self->log, self->number);
}

static gboolean
is_readable (const VhostMailbox *mailbox)
{
  struct pollfd pollfd = { .fd = mailbox->wake_fd, .events = POLLIN };
  return poll (&pollfd, 1, 0) == 1;
}

static void
test_runs_oldest_first (void)
{
  VhostMailbox mailbox;
  g_autoptr (GArray) log = g_array_new (FALSE, FALSE, sizeof (guint));
  NumberTask tasks[5];
  g_assert_true (vhost_mailbox_init (&mailbox, NULL));
  g_assert_true (vhost_mailbox_is_empty (&mailbox));
  g_assert_false (vhost_mailbox_run (&mailbox));
  for (guint i = 0; i < 5; i++)
    {
      tasks[i] = (NumberTask){ { NULL, log_number }, log, i };
      vhost_mailbox_post (&mailbox, &tasks[i].task);
    }
  g_assert_false (vhost_mailbox_is_empty (&mailbox));
  g_assert_true (vhost_mailbox_run (&mailbox));
  g_assert_cmpuint (log->len, ==, 5);
  for (guint i = 0; i < 5; i++)
    g_assert_cmpuint (g_array_index (log, guint, i), ==, i);
  vhost_mailbox_clear (&mailbox);
}

static void
test_writes_only_to_a_sleeper (void)
{
  VhostMailbox mailbox;
  g_autoptr (GArray) log = g_array_new (FALSE, FALSE, sizeof (guint));
  NumberTask a = { { NULL, log_number }, log, 1 }, b = { { NULL, log_number }, log, 2 };
  g_assert_true (vhost_mailbox_init (&mailbox, NULL));

  vhost_mailbox_post (&mailbox, &a.task);
  g_assert_false (is_readable (&mailbox));
  g_assert_false (vhost_mailbox_prepare_sleep (&mailbox));
  vhost_mailbox_run (&mailbox);

  g_assert_true (vhost_mailbox_prepare_sleep (&mailbox));
  vhost_mailbox_post (&mailbox, &a.task);
  vhost_mailbox_post (&mailbox, &b.task);
  g_assert_true (is_readable (&mailbox));
  vhost_mailbox_wake (&mailbox);
  g_assert_false (is_readable (&mailbox));
  g_assert_true (vhost_mailbox_run (&mailbox));
  g_assert_cmpuint (log->len, ==, 3);
  vhost_mailbox_clear (&mailbox);
}

static void
test_late_write_is_read_at_the_next_wake (void)
{
  VhostMailbox mailbox;
  g_assert_true (vhost_mailbox_init (&mailbox, NULL));
  /* A poster that has taken the flag and is stopped before its write. */
  g_assert_true (vhost_mailbox_prepare_sleep (&mailbox));
  g_assert_true (atomic_exchange (&mailbox.sleeping, FALSE));
  vhost_mailbox_wake (&mailbox);
  g_assert_true (vhost_mailbox_prepare_sleep (&mailbox));
  const guint64 one = 1;
  g_assert_cmpint (write (mailbox.wake_fd, &one, sizeof one), ==, sizeof one);
  vhost_mailbox_wake (&mailbox);
  g_assert_false (is_readable (&mailbox));
  vhost_mailbox_clear (&mailbox);
}

typedef struct
{
  VhostTask task;
  VhostMailbox *mailbox;
  guint runs;
} AgainTask;

static void
post_again (VhostTask *task)
{
  AgainTask *self = (AgainTask *) task;
  self->runs++;
  vhost_mailbox_post (self->mailbox, task);
}

static void
test_task_that_posts_itself_yields (void)
{
  VhostMailbox mailbox;
  g_assert_true (vhost_mailbox_init (&mailbox, NULL));
  AgainTask again = { { NULL, post_again }, &mailbox, 0 };
  vhost_mailbox_post (&mailbox, &again.task);
  for (guint i = 1; i < 4; i++)
    {
      g_assert_true (vhost_mailbox_run (&mailbox));
      g_assert_cmpuint (again.runs, ==, i);
    }
  vhost_mailbox_clear (&mailbox);
}

#define N_POSTERS 3
#define N_POSTS 4000

typedef struct
{
  VhostTask task;
  guint *sum;
  guint value;
} SumTask;

/* Plain memory on both sides: a thread sanitizer run proves the hand-over. */
static void
add_and_free (VhostTask *task)
{
  SumTask *self = (SumTask *) task;
  *self->sum += self->value;
  g_free (self);
}

typedef struct
{
  VhostMailbox mailbox;
  guint sum;
} Shared;

static gpointer
poster_thread (gpointer data)
{
  Shared *shared = data;
  for (guint i = 0; i < N_POSTS; i++)
    {
      SumTask *task = g_new0 (SumTask, 1);
      task->task.run = add_and_free;
      task->sum = &shared->sum;
      task->value = 1;
      vhost_mailbox_post (&shared->mailbox, &task->task);
      if (i % 64 == 0)
        g_thread_yield ();
    }
  return NULL;
}

static void
test_no_wake_up_is_lost (void)
{
  Shared shared = { .sum = 0 };
  GThread *threads[N_POSTERS];
  g_assert_true (vhost_mailbox_init (&shared.mailbox, NULL));
  for (guint i = 0; i < N_POSTERS; i++)
    threads[i] = g_thread_new ("poster", poster_thread, &shared);
  while (shared.sum < N_POSTERS * N_POSTS)
    {
      if (vhost_mailbox_prepare_sleep (&shared.mailbox))
        {
          struct pollfd pollfd = { .fd = shared.mailbox.wake_fd, .events = POLLIN };
          g_assert_cmpint (poll (&pollfd, 1, DEADLINE_MS), ==, 1);
          vhost_mailbox_wake (&shared.mailbox);
        }
      vhost_mailbox_run (&shared.mailbox);
    }
  for (guint i = 0; i < N_POSTERS; i++)
    g_thread_join (threads[i]);
  g_assert_cmpuint (shared.sum, ==, N_POSTERS * N_POSTS);
  vhost_mailbox_clear (&shared.mailbox);
}

static gboolean
time_is_up (gpointer data)
{
  g_error ("the mailbox's source was not woken in time");
  return G_SOURCE_REMOVE;
}

static void
test_source_runs_posts_of_other_threads (void)
{
  Shared shared = { .sum = 0 };
  GThread *threads[N_POSTERS];
  g_assert_true (vhost_mailbox_init (&shared.mailbox, NULL));
  g_autoptr (GMainContext) context = g_main_context_new ();
  g_autoptr (GSource) source = vhost_mailbox_create_source (&shared.mailbox);
  g_autoptr (GSource) timeout = g_timeout_source_new (DEADLINE_MS);
  g_source_set_callback (timeout, time_is_up, NULL, NULL);
  g_source_attach (source, context);
  g_source_attach (timeout, context);
  for (guint i = 0; i < N_POSTERS; i++)
    threads[i] = g_thread_new ("poster", poster_thread, &shared);
  while (shared.sum < N_POSTERS * N_POSTS)
    g_main_context_iteration (context, TRUE);
  for (guint i = 0; i < N_POSTERS; i++)
    g_thread_join (threads[i]);
  g_source_destroy (source);
  g_source_destroy (timeout);
  vhost_mailbox_clear (&shared.mailbox);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/mailbox/runs-oldest-first", test_runs_oldest_first);
  g_test_add_func ("/mailbox/writes-only-to-a-sleeper", test_writes_only_to_a_sleeper);
  g_test_add_func ("/mailbox/late-write-is-read-at-the-next-wake",
                   test_late_write_is_read_at_the_next_wake);
  g_test_add_func ("/mailbox/task-that-posts-itself-yields", test_task_that_posts_itself_yields);
  g_test_add_func ("/mailbox/no-wake-up-is-lost", test_no_wake_up_is_lost);
  g_test_add_func ("/mailbox/source-runs-posts-of-other-threads",
                   test_source_runs_posts_of_other_threads);
  return g_test_run ();
}
