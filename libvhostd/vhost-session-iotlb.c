/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's vIOMMU: what the front-end says of I/O addresses, and what the rings ask. Must not
 * wait for the front-end: it may answer only after it has been answered (B1, R13).
 *
 * How it works: each UPDATE or INVALIDATE makes a new view, and is answered when all running rings
 * use it. A ring that misses an address waits by itself for another map; it only tells us. Here the
 * questions are put together, so that the front-end is asked once for each address, and for not
 * more of them than the rings can wait for. The answer to a MISS says that its UPDATE has come
 * before it, or will not come (I5). But they come on two sockets: before a ring is told that its
 * address does not exist, everything that has arrived on the session's socket must have been
 * handled. So the verdict is spoken by a source that runs only when the sockets are quiet. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <string.h>

/* A MISS that was sent. The channel's callback frees it. */
typedef struct
{
  VhostSession *session; /* (unowned) (nullable): NULL, nobody is interested any more */
  guint64 iova;
  guint access;
  gboolean asks;                            /* the answer is the front-end's, not made up */
  gboolean settled;                         /* who asks the same from now on asks something new */
  guint8 vrings[VHOST_WIRE_MAX_QUEUES / 8]; /* who waits: a bit each */
} VhostSessionMiss;

static gboolean
has_view (VhostSession *self)
{
  return vhost_session_has_feature (self, VHOST_WIRE_F_ACCESS_PLATFORM);
}

VhostMemory *
vhost_session_get_ring_memory (VhostSession *self)
{
  return self->view != NULL ? self->view : self->memory;
}

static gboolean
is_translated (VhostSession *self, guint64 iova, guint access)
{
  const VhostMemorySlot *slot = self->view != NULL ? vhost_memory_lookup (self->view, iova) : NULL;

  return slot != NULL && (slot->access & access) == access;
}

/* ---- The view ---- */

/* What the view translates now is answered, whatever the front-end says of it later: should the
 * entry go again, then a ring that lacks it asks anew, and an answer that is still on its way is
 * none to that. */
static void
settle_misses (VhostSession *self)
{
  for (GSList *l = self->misses; l != NULL; l = l->next)
    {
      VhostSessionMiss *miss = l->data;

      if (!is_translated (self, miss->iova, miss->access))
        continue;
      miss->settled = TRUE;
      memset (miss->vrings, 0, sizeof miss->vrings);
    }
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];

      if (vring->miss_answered
          && is_translated (self, vring->answered_iova, vring->answered_access))
        vring->miss_answered = FALSE;
    }
}

static void
forget_all_misses (VhostSession *self)
{
  for (GSList *l = self->misses; l != NULL; l = l->next)
    ((VhostSessionMiss *) l->data)->session = NULL;
  g_clear_pointer (&self->misses, g_slist_free);
  self->n_misses = 0;
  for (guint i = 0; i < self->n_vrings; i++)
    self->vrings[i].missing = self->vrings[i].miss_answered = FALSE;
  if (self->miss_source != NULL)
    g_source_destroy (self->miss_source);
  g_clear_pointer (&self->miss_source, g_source_unref);
}

void
vhost_session_clear_iotlb (VhostSession *self)
{
  forget_all_misses (self);
  g_clear_pointer (&self->view, vhost_memory_unref);
  g_clear_pointer (&self->iotlb, vhost_iotlb_free);
}

void
vhost_session_update_view (VhostSession *self, gboolean forget)
{
  g_autoptr (VhostMemory) memory = NULL;

  if (!has_view (self))
    {
      if (self->iotlb != NULL)
        vhost_session_clear_iotlb (self);
      return;
    }
  if (self->iotlb == NULL)
    self->iotlb = vhost_iotlb_new ();
  else if (forget)
    vhost_iotlb_clear (self->iotlb);
  memory = self->memory != NULL ? vhost_memory_ref (self->memory) : vhost_memory_new_empty ();
  g_clear_pointer (&self->view, vhost_memory_unref);
  self->view = vhost_iotlb_build_view (self->iotlb, memory);
  settle_misses (self);
}

/* Thread: control. */
static void
continue_iotlb (VhostSession *self)
{
  vhost_session_disarm_drain (self);
  vhost_session_reply_u64 (self, 0);
  vhost_session_finish_message (self, NULL);
  vhost_session_ask_misses (self); /* what was missing may be there */
}

/* Who invalidates reuses the memory on our word: all rings have let go of it by then, and so have
 * the requests in flight. So it is with an UPDATE that leads elsewhere. Any other UPDATE waits for
 * the rings only, which bounds the views that are under way. */
VHOST_SESSION_HANDLER (iotlb_msg)
{
  VhostWireIotlb entry = message->payload.iotlb;
  gboolean takes_away = entry.type == VHOST_WIRE_IOTLB_INVALIDATE;
  guint64 last;

  switch (entry.type)
    {
    case VHOST_WIRE_IOTLB_UPDATE:
      if (self->memory == NULL)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                       "I/O address 0x%" G_GINT64_MODIFIER
                       "x has nowhere to lead to: the front-end shares no guest memory yet",
                       entry.iova);
          return VHOST_SESSION_REFUSED;
        }
      takes_away = vhost_iotlb_contradicts (self->iotlb, entry.iova, entry.size, entry.user_address,
                                            entry.access);
      if (!vhost_iotlb_update (self->iotlb, self->memory, entry.iova, entry.size,
                               entry.user_address, entry.access, error))
        return VHOST_SESSION_REFUSED;
      break;
    case VHOST_WIRE_IOTLB_INVALIDATE:
      if (!vhost_iotlb_invalidate (self->iotlb, entry.iova, entry.size))
        {
          vhost_session_reply_u64 (self, 0);
          return VHOST_SESSION_REPLIED;
        }
      break;
    default: /* I4 */
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "its type is %u; a front-end sends UPDATE (2) and INVALIDATE (3)", entry.type);
      return VHOST_SESSION_REFUSED;
    }
  vhost_session_update_view (self, FALSE);
  /* As the table sees it: size 0 at 0, and what would wrap, reach the end. */
  last = entry.size == 0 || entry.size - 1 > G_MAXUINT64 - entry.iova ? G_MAXUINT64
                                                                      : entry.iova + entry.size - 1;
  if (takes_away ? vhost_session_post_invalidation (self, entry.iova, last)
                 : vhost_session_post_ring_memory (self))
    return vhost_session_wait (self, continue_iotlb);
  vhost_session_reply_u64 (self, 0);
  return VHOST_SESSION_REPLIED;
}

/* ---- Misses ---- */

static void
send_iotlb (VhostSession *self, VhostWireIotlbType type, guint64 iova, guint access,
            VhostBackendChannelDone done, gpointer data)
{
  VhostWireIotlb entry = { .iova = iova, .access = (guint8) access, .type = (guint8) type };

  vhost_backend_channel_send (self->backend_channel, VHOST_WIRE_BACKEND_IOTLB_MSG, &entry,
                              sizeof entry, NULL, 0, done, data);
}

/* Thread: worker. */
static void
answered_run (VhostSessionCommand *command)
{
  vhost_queue_miss_answered (command->queue, command->address, command->access);
  vhost_session_command_answer (command);
}

/* Thread: control. The front-end has been heard to the end: what is not translated now will not be.
 */
static gboolean
judge_misses (gpointer data)
{
  VhostSession *self = data;

  g_clear_pointer (&self->miss_source, g_source_unref);
  /* The answer may have overtaken an UPDATE: the end of each message calls again. */
  if (self->busy || vhost_channel_has_input (self->channel))
    {
      self->miss_delayed = TRUE;
      return G_SOURCE_REMOVE;
    }
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];
      VhostSessionCommand *command;

      if (!vring->miss_answered)
        continue;
      vring->miss_answered = FALSE;
      if (!vring->started || is_translated (self, vring->answered_iova, vring->answered_access))
        continue;
      if (self->backend_channel != NULL)
        send_iotlb (self, VHOST_WIRE_IOTLB_ACCESS_FAIL, vring->answered_iova,
                    vring->answered_access, NULL, NULL);
      command = vhost_session_command_new (self, vring, answered_run, vhost_session_command_ended);
      command->address = vring->answered_iova;
      command->access = vring->answered_access;
      vhost_session_command_post (command, FALSE);
    }
  return G_SOURCE_REMOVE;
}

static void
judge_later (VhostSession *self)
{
  if (self->miss_source != NULL || self->closing)
    return;
  self->miss_source = g_idle_source_new ();
  /* Not when nothing else is to be done: a device that serves its queues here may always have some.
   */
  g_source_set_priority (self->miss_source, G_PRIORITY_DEFAULT);
  g_source_set_static_name (self->miss_source, "VhostSession misses");
  g_source_set_callback (self->miss_source, judge_misses, self, NULL);
  g_source_attach (self->miss_source, self->context);
}

void
vhost_session_resume_misses (VhostSession *self)
{
  if (!self->miss_delayed)
    return;
  self->miss_delayed = FALSE;
  judge_later (self);
}

/* Thread: control. */
static void
miss_answered (guint64 answer, int fd, const GError *error, gpointer data)
{
  g_autofree VhostSessionMiss *miss = data;
  VhostSession *self = miss->session;

  vhost_fd_discard (&fd);
  if (self == NULL)
    return;
  self->misses = g_slist_remove (self->misses, miss);
  self->n_misses--;
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];

      if ((miss->vrings[i / 8] >> (i % 8) & 1) == 0)
        continue;
      if (error != NULL)
        {
          /* The channel has ended. Another one may come, or an UPDATE unasked (I6). */
          if (!vring->missing)
            {
              vring->missing = TRUE;
              vring->miss_iova = miss->iova;
              vring->miss_access = miss->access;
            }
        }
      /* Without REPLY_ACK nobody says that no UPDATE will come. */
      else if (miss->asks)
        {
          vring->miss_answered = TRUE;
          vring->answered_iova = miss->iova;
          vring->answered_access = miss->access;
          judge_later (self);
        }
    }
  if (error == NULL)
    vhost_session_ask_misses (self);
}

static VhostSessionMiss *
find_miss (VhostSession *self, guint64 iova, guint access)
{
  for (GSList *l = self->misses; l != NULL; l = l->next)
    {
      VhostSessionMiss *miss = l->data;

      if (!miss->settled && miss->iova == iova && miss->access == access)
        return miss;
    }
  return NULL;
}

void
vhost_session_ask_misses (VhostSession *self)
{
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];
      VhostSessionMiss *miss;

      /* S3: nothing is sent for a ring that does not run. */
      if (!vring->missing || !vring->started || self->closing)
        continue;
      if (is_translated (self, vring->miss_iova, vring->miss_access))
        {
          vring->missing = FALSE; /* the map with it is on its way to the ring */
          continue;
        }
      miss = find_miss (self, vring->miss_iova, vring->miss_access);
      if (miss == NULL)
        {
          /* A ring waits for one at a time; the rest are of rings that have gone on since. */
          if (self->backend_channel == NULL || self->n_misses >= 2 * self->n_vrings)
            continue;
          miss = g_new0 (VhostSessionMiss, 1);
          miss->session = self;
          miss->iova = vring->miss_iova;
          miss->access = vring->miss_access;
          miss->asks = vhost_backend_channel_asks (self->backend_channel);
          self->misses = g_slist_prepend (self->misses, miss);
          self->n_misses++;
          send_iotlb (self, VHOST_WIRE_IOTLB_MISS, miss->iova, miss->access, miss_answered, miss);
        }
      miss->vrings[i / 8] |= (guint8) (1u << (i % 8));
      vring->missing = FALSE;
    }
}

/* Thread: control. */
static void
queue_missed (VhostSessionCommand *command)
{
  VhostSession *self = command->session;
  VhostSessionVring *vring = &self->vrings[command->queue->index];

  /* The newest counts: the ring asks again for what it still lacks when its map changes. An answer
   * that waits for its verdict was to a question before. */
  vring->miss_answered = FALSE;
  vring->missing = TRUE;
  vring->miss_iova = command->address;
  vring->miss_access = command->access;
  vhost_session_ask_misses (self);
}

void
vhost_session_queue_miss (VhostQueue *queue, guint64 iova, guint access, gpointer owner)
{
  VhostSessionCommand *command = vhost_session_command_new (owner, NULL, NULL, queue_missed);

  command->queue = g_object_ref (queue);
  command->address = iova;
  command->access = access;
  vhost_session_command_answer (command);
}

void
vhost_session_forget_misses (VhostSession *self, VhostSessionVring *vring)
{
  guint index = vring->queue->index;

  vring->missing = vring->miss_answered = FALSE;
  for (GSList *l = self->misses; l != NULL; l = l->next)
    {
      VhostSessionMiss *miss = l->data;

      if ((miss->vrings[index / 8] >> (index % 8) & 1) == 0)
        continue;
      miss->vrings[index / 8] &= (guint8) ~(1u << (index % 8));
      miss->settled = TRUE; /* the ring's next start is another driver's, perhaps */
    }
}
