/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's guest memory: builds a new map for each message and brings it to the running rings.
 * Must not map or translate anything itself, the memory layer does.
 *
 * How it works: a map is immutable, so each message makes a new one on the control thread and the
 * queues switch on their own workers. The old map goes with the last request that uses it.
 * REM_MEM_REG is answered only then, because the front-end takes the memory away on our word. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

static VhostMemoryRegionInfo
region_info (const VhostWireRegion *region)
{
  return (VhostMemoryRegionInfo){
    .guest_address = region->guest_addr,
    .size = region->size,
    .user_address = region->user_addr,
    .mmap_offset = region->mmap_offset,
  };
}

/* With GPA_ADDRESSES the user address "must duplicate" the guest address. */
static gboolean
check_user_address (VhostSession *self, const VhostMemoryRegionInfo *info, GError **error)
{
  if (!vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_GPA_ADDRESSES)
      || info->user_address == info->guest_address)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "the memory region at 0x%" G_GINT64_MODIFIER "x has user address "
               "0x%" G_GINT64_MODIFIER "x; with GPA_ADDRESSES both must be the same",
               info->guest_address, info->user_address);
  return FALSE;
}

/* Thread: worker. */
static void
replace_run (VhostSessionCommand *command)
{
  vhost_queue_set_memory (command->queue, command->memory, NULL);
  vhost_session_command_answer (command);
}

/* Thread: worker. */
static void
remove_ended (VhostTask *task)
{
  vhost_session_command_answer (VHOST_SESSION_COMMAND_OF_DRAINED (task));
}

/* Thread: worker. */
static void
remove_run (VhostSessionCommand *command)
{
  command->drained.run = remove_ended;
  vhost_queue_set_memory (command->queue, command->memory, &command->drained);
}

/* Thread: worker. */
static void
invalidate_run (VhostSessionCommand *command)
{
  command->drained.run = remove_ended;
  vhost_queue_invalidate (command->queue, command->memory, command->address, command->last,
                          &command->drained);
}

/* Thread: control. */
static void
continue_replaced (VhostSession *self)
{
  vhost_session_disarm_drain (self);
  vhost_backend_memory_changed (self->backend, self->memory);
  vhost_session_continue_ack (self);
}

static void
post_ring_memory (VhostSession *self, void (*run) (VhostSessionCommand *command), guint64 iova,
                  guint64 last)
{
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionCommand *command;

      if (!self->vrings[i].started)
        continue;
      command
          = vhost_session_command_new (self, &self->vrings[i], run, vhost_session_command_ended);
      command->memory = vhost_memory_ref (vhost_session_get_ring_memory (self));
      command->address = iova;
      command->last = last;
      vhost_session_command_post (command, TRUE);
    }
}

gboolean
vhost_session_post_ring_memory (VhostSession *self)
{
  post_ring_memory (self, replace_run, 0, 0);
  return self->n_started > 0;
}

gboolean
vhost_session_post_invalidation (VhostSession *self, guint64 iova, guint64 last)
{
  post_ring_memory (self, invalidate_run, iova, last);
  if (self->n_started > 0)
    vhost_session_arm_drain (self);
  return self->n_started > 0;
}

/* Takes @memory. @released: wait until no request uses the old map any more. */
static VhostSessionResult
use_memory (VhostSession *self, VhostMemory *memory, gboolean released)
{
  g_clear_pointer (&self->memory, vhost_memory_unref);
  self->memory = memory;
  vhost_session_update_view (self, FALSE);
  if (self->n_started == 0)
    {
      if (!self->postcopy_ack_due) /* P3: then later */
        vhost_backend_memory_changed (self->backend, memory);
      return VHOST_SESSION_DONE;
    }
  post_ring_memory (self, released ? remove_run : replace_run, 0, 0);
  if (released)
    vhost_session_arm_drain (self);
  return vhost_session_wait (self, continue_replaced);
}

/* Takes @memory, which has regions that @message has brought. */
static VhostSessionResult
use_new_memory (VhostSession *self, VhostMemory *memory, VhostMessage *message, GError **error)
{
  if (!vhost_session_prepare_postcopy (self, memory, error))
    {
      vhost_memory_unref (memory);
      return VHOST_SESSION_REFUSED;
    }
  return vhost_session_reply_bases (self, message, use_memory (self, memory, FALSE));
}

/* The whole table anew, regions of ADD_MEM_REG included (M5). No region at all is allowed: it takes
 * the memory away. */
VHOST_SESSION_HANDLER (set_mem_table)
{
  const VhostWireMemTable *table = &message->payload.table;
  VhostMemoryRegionInfo infos[VHOST_WIRE_MAX_REGIONS];
  int fds[VHOST_WIRE_MAX_REGIONS];
  guint n = MIN (table->n_regions, VHOST_WIRE_MAX_REGIONS);
  VhostSessionResult result;
  VhostMemory *memory;

  for (guint i = 0; i < n; i++)
    {
      infos[i] = region_info (&table->regions[i]);
      if (!check_user_address (self, &infos[i], error))
        return VHOST_SESSION_REFUSED;
    }
  for (guint i = 0; i < n; i++)
    fds[i] = vhost_message_steal_fd (message, i);
  memory = n > 0 ? vhost_memory_new_take_fds (infos, fds, n, self->seal_memory, error)
                 : vhost_memory_new_empty ();
  if (memory == NULL)
    return VHOST_SESSION_REFUSED;
  result = use_new_memory (self, memory, message, error);
  if (result != VHOST_SESSION_REFUSED)
    g_clear_pointer (&self->repeats, g_array_unref);
  return result;
}

/* M8: the same for every connection. */
VHOST_SESSION_HANDLER (get_max_mem_slots)
{
  vhost_session_reply_u64 (self, VHOST_WIRE_MAX_MEM_SLOTS);
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (add_mem_reg)
{
  VhostMemoryRegionInfo info = region_info (&message->payload.region.region);
  g_autoptr (VhostMemory) old
      = self->memory != NULL ? vhost_memory_ref (self->memory) : vhost_memory_new_empty ();
  VhostMemory *memory;

  if (!check_user_address (self, &info, error))
    return VHOST_SESSION_REFUSED;
  if (vhost_session_repeats_region (self, &info, message->fds[0]))
    return vhost_session_reply_bases (self, message, VHOST_SESSION_DONE);
  memory = vhost_memory_add_take_fd (old, &info, vhost_message_steal_fd (message, 0),
                                     self->seal_memory, error);
  if (memory == NULL)
    return VHOST_SESSION_REFUSED;
  return use_new_memory (self, memory, message, error);
}

/* A descriptor that comes along has no meaning and is closed with the message. */
VHOST_SESSION_HANDLER (rem_mem_reg)
{
  VhostMemoryRegionInfo info = region_info (&message->payload.region.region);
  VhostMemory *memory;

  if (self->memory == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the memory region at 0x%" G_GINT64_MODIFIER
                   "x cannot be removed: there is none",
                   info.guest_address);
      return VHOST_SESSION_REFUSED;
    }
  if (vhost_session_forget_repeat (self, &info))
    return VHOST_SESSION_DONE;
  memory = vhost_memory_remove (self->memory, &info, error);
  if (memory == NULL)
    return VHOST_SESSION_REFUSED;
  return use_memory (self, memory, TRUE);
}
