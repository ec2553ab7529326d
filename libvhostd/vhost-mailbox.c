/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Work handed to another thread. Must not allocate, lock or block when posting, and must not know
 * what a task does.
 *
 * How it works: `head` is a stack that any thread pushes to and that the owner takes whole, then
 * reverses, so that tasks run in the order in which they came. `sleeping` saves the wake-up while
 * the owner is busy anyway. The two form a store-load pair: the poster writes head, then reads
 * sleeping; the owner writes sleeping, then reads head. All four accesses are sequentially
 * consistent, so at least one side sees the other: either the poster wakes the owner or the owner
 * finds the task. */
#include "config.h"

#include "vhost-mailbox-private.h"

#include "vhost-fd-private.h"

#include <errno.h>
#include <unistd.h>

typedef struct
{
  GSource source;
  VhostMailbox *mailbox; /* (unowned): outlives the source */
} VhostMailboxSource;

gboolean
vhost_mailbox_init (VhostMailbox *self, GError **error)
{
  atomic_init (&self->head, NULL);
  atomic_init (&self->sleeping, FALSE);
  self->announced = FALSE;
  self->owed = 0;
  self->wake_fd = vhost_fd_new_eventfd (error);
  return self->wake_fd >= 0;
}

void
vhost_mailbox_clear (VhostMailbox *self)
{
  vhost_fd_clear (&self->wake_fd);
}

void
vhost_mailbox_post (VhostMailbox *self, VhostTask *task)
{
  VhostTask *head = atomic_load_explicit (&self->head, memory_order_relaxed);
  do
    task->next = head;
  /* Release: the owner's exchange in run () sees the task's contents. Sequentially consistent for
   * the pair with `sleeping`, see above. Once this succeeds the task belongs to the owner and may
   * be gone. */
  while (!atomic_compare_exchange_weak_explicit (&self->head, &head, task, memory_order_seq_cst,
                                                 memory_order_relaxed));

  /* Partner: the store in prepare_sleep (). The exchange lets one of several posters pay for the
   * system call. */
  if (atomic_load_explicit (&self->sleeping, memory_order_seq_cst)
      && atomic_exchange_explicit (&self->sleeping, FALSE, memory_order_seq_cst))
    vhost_fd_notify (self->wake_fd);
}

gboolean
vhost_mailbox_run (VhostMailbox *self)
{
  /* Partner: the push in post (). Sequentially consistent because the source below re-arms
   * `sleeping` before it. */
  VhostTask *stack = atomic_exchange_explicit (&self->head, NULL, memory_order_seq_cst);
  if (stack == NULL)
    return FALSE;
  VhostTask *queue = NULL;
  while (stack != NULL)
    {
      VhostTask *next = stack->next;
      stack->next = queue;
      queue = stack;
      stack = next;
    }
  /* Tasks posted from here on wait for the next call: a task that posts itself cannot keep the
   * owner here. */
  while (queue != NULL)
    {
      VhostTask *task = queue;
      queue = task->next; /* run () may free or post the task again */
      task->run (task);
    }
  return TRUE;
}

gboolean
vhost_mailbox_prepare_sleep (VhostMailbox *self)
{
  self->announced = TRUE;
  /* Partner: the load of `sleeping` in post (). */
  atomic_store_explicit (&self->sleeping, TRUE, memory_order_seq_cst);
  if (atomic_load_explicit (&self->head, memory_order_seq_cst) == NULL)
    return TRUE;
  vhost_mailbox_wake (self);
  return FALSE;
}

static guint64
drain_wake_fd (VhostMailbox *self)
{
  guint64 count = 0;
  while (read (self->wake_fd, &count, sizeof count) < 0)
    if (errno != EINTR)
      return 0;
  return count;
}

void
vhost_mailbox_wake (VhostMailbox *self)
{
  if (!self->announced)
    return;
  self->announced = FALSE;
  /* A poster that took the flag writes once, perhaps only after we have looked. The count of what
   * is owed remembers that, else a late write would keep the descriptor readable and the owner
   * awake for ever. A wake-up by anything else finds the flag still set and costs no system call.
   */
  if (!atomic_exchange_explicit (&self->sleeping, FALSE, memory_order_seq_cst))
    self->owed++;
  if (self->owed > 0)
    self->owed -= MIN (drain_wake_fd (self), self->owed);
}

/* Thread: owner. */
static gboolean
mailbox_source_prepare (GSource *source, int *timeout)
{
  *timeout = -1;
  return !vhost_mailbox_is_empty (((VhostMailboxSource *) source)->mailbox);
}

/* Thread: owner. */
static gboolean
mailbox_source_check (GSource *source)
{
  return !vhost_mailbox_is_empty (((VhostMailboxSource *) source)->mailbox);
}

/* Thread: owner. */
static gboolean
mailbox_source_dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  VhostMailbox *mailbox = ((VhostMailboxSource *) source)->mailbox;
  drain_wake_fd (mailbox);
  /* Armed before the list is taken: a post that still saw FALSE came before this store, so run ()
   * finds its task. Partner: the exchange in post (). */
  atomic_store_explicit (&mailbox->sleeping, TRUE, memory_order_seq_cst);
  vhost_mailbox_run (mailbox);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs mailbox_source_funcs = {
  .prepare = mailbox_source_prepare,
  .check = mailbox_source_check,
  .dispatch = mailbox_source_dispatch,
};

GSource *
vhost_mailbox_create_source (VhostMailbox *self)
{
  GSource *source = g_source_new (&mailbox_source_funcs, sizeof (VhostMailboxSource));
  ((VhostMailboxSource *) source)->mailbox = self;
  g_source_set_static_name (source, "VhostMailbox");
  g_source_add_unix_fd (source, self->wake_fd, G_IO_IN);
  /* Partner: the load in post (). What was posted before is found by prepare (). */
  atomic_store_explicit (&self->sleeping, TRUE, memory_order_seq_cst);
  return source;
}
