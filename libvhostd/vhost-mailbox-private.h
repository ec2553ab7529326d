/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Work handed to another thread: an intrusive list that any thread pushes to and one thread
 * empties, in order. C11 atomics throughout, so that the thread sanitizer sees the hand-over. Must
 * not allocate on push. */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef struct _VhostTask VhostTask;
struct _VhostTask
{
  VhostTask *next;
  void (*run) (VhostTask *task); /* called once, on the thread that owns the mailbox */
};

typedef struct
{
  _Atomic (VhostTask *) head;  /* newest first */
  _Atomic (gboolean) sleeping; /* the owner waits on wake_fd (or is about to) */
  int wake_fd;                 /* (owned): eventfd, non-blocking */
  gboolean announced;          /* owner's: between prepare_sleep and wake */
  guint64 owed; /* owner's: wake-ups that posters claimed and that were not read yet */
} VhostMailbox;

gboolean vhost_mailbox_init (VhostMailbox *self, GError **error);
void vhost_mailbox_clear (VhostMailbox *self); /* tasks still inside are not run */

/* Thread: any. Writes the eventfd only when the owner sleeps. */
void vhost_mailbox_post (VhostMailbox *self, VhostTask *task);

/* Thread: owner. Runs what is there, oldest first; TRUE when anything was run. */
gboolean vhost_mailbox_run (VhostMailbox *self);

/* Thread: owner. prepare announces sleep and returns FALSE when there is work after all; wake ends
 * it and drains the fd. */
gboolean vhost_mailbox_prepare_sleep (VhostMailbox *self);
void vhost_mailbox_wake (VhostMailbox *self);

static inline gboolean
vhost_mailbox_is_empty (VhostMailbox *self)
{
  return atomic_load_explicit (&self->head, memory_order_relaxed) == NULL;
}

/* A source that runs the mailbox's tasks in the context it is attached to (always "sleeping": every
 * post wakes it). */
GSource *vhost_mailbox_create_source (VhostMailbox *self);
