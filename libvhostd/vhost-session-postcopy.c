/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Migration that goes on while the guest runs here already. Must not let a ring touch memory before
 * the front-end has said that it serves the faults.
 *
 * How it works: ADVISE opens a userfaultfd and hands it to the front-end. From LISTEN on all memory
 * is registered with it, what is there already and what comes; for each table or region that comes
 * the front-end is told where it lies here (P2), and it acknowledges that with a message that has
 * no name of its own (P3). Until then no ring starts. END makes the memory ordinary again. A
 * session that ends in between has incomplete memory: its requests in flight must fail rather than
 * write zeros to a disk. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

#include <string.h>

/* A userfaultfd reaches into all of this process, so it is given to those only whom the operator
 * trusts. In the control thread a missing page would stop everything, and for as long as the
 * front-end likes: only workers may wait for one. */
gboolean
vhost_session_can_postcopy (VhostSession *self)
{
  return vhost_backend_get_postcopy (self->backend) && vhost_backend_get_workers (self->backend) > 0
         && vhost_postcopy_is_possible ();
}

void
vhost_session_clear_postcopy (VhostSession *self)
{
  self->postcopy_listens = self->postcopy_ack_due = FALSE;
  g_clear_pointer (&self->postcopy, vhost_postcopy_free);
}

void
vhost_session_fail_postcopy (VhostSession *self)
{
  if (self->postcopy != NULL && self->postcopy_listens)
    vhost_postcopy_fail (self->postcopy);
}

VHOST_SESSION_HANDLER (postcopy_advise)
{
  VhostPostcopy *postcopy;

  if (self->postcopy_listens)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "a migration by postcopy is under way (POSTCOPY_END ends it)");
      return VHOST_SESSION_REFUSED;
    }
  postcopy = vhost_postcopy_new (error); /* P1 */
  if (postcopy == NULL)
    return VHOST_SESSION_REFUSED; /* P8: an answer without a descriptor */
  vhost_session_clear_postcopy (self);
  self->postcopy = postcopy;
  vhost_session_reply_fd (self, NULL, 0, vhost_postcopy_get_fd (postcopy));
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (postcopy_listen)
{
  if (self->postcopy == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "there is no userfaultfd yet (POSTCOPY_ADVISE opens it)");
      return VHOST_SESSION_REFUSED;
    }
  /* P7: also what came before. */
  if (self->memory != NULL && !vhost_postcopy_register (self->postcopy, self->memory, error))
    return VHOST_SESSION_REFUSED;
  self->postcopy_listens = TRUE;
  return VHOST_SESSION_DONE;
}

VHOST_SESSION_HANDLER (postcopy_end)
{
  if (self->postcopy == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "no migration by postcopy is under way");
      return VHOST_SESSION_REFUSED;
    }
  vhost_session_end_ack (self); /* whatever was missing is not waited for any more */
  vhost_session_clear_postcopy (self);
  vhost_session_reply_u64 (self, 0); /* P4 */
  return VHOST_SESSION_REPLIED;
}

gboolean
vhost_session_prepare_postcopy (VhostSession *self, VhostMemory *memory, GError **error)
{
  if (!self->postcopy_listens)
    return TRUE;
  if (self->n_started > 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "memory cannot change while %u rings run in the middle of a migration by "
                   "postcopy",
                   self->n_started);
      return FALSE;
    }
  if (!vhost_postcopy_register (self->postcopy, memory, error))
    return FALSE;
  self->postcopy_ack_due = TRUE;
  return TRUE;
}

static void
set_base (VhostMemory *memory, VhostWireRegion *region)
{
  const VhostMemorySlot *slot = vhost_memory_lookup (memory, region->guest_addr);

  if (slot != NULL)
    region->user_addr = (guintptr) slot->host; /* P5 */
}

VhostSessionResult
vhost_session_reply_bases (VhostSession *self, VhostMessage *message, VhostSessionResult result)
{
  guint n = message->payload.table.n_regions;

  if (!self->postcopy_listens || result != VHOST_SESSION_DONE)
    return result;
  if (message->header.request == VHOST_WIRE_ADD_MEM_REG)
    set_base (self->memory, &message->payload.region.region);
  else
    for (guint i = 0; i < MIN (n, VHOST_WIRE_MAX_REGIONS); i++)
      set_base (self->memory, &message->payload.table.regions[i]);
  vhost_session_reply (self, message->payload.bytes, message->header.size); /* P6: the only one */
  return VHOST_SESSION_REPLIED;
}

gboolean
vhost_session_owes_bases (VhostSession *self)
{
  return self->postcopy_listens
         && (self->current.request == VHOST_WIRE_SET_MEM_TABLE
             || self->current.request == VHOST_WIRE_ADD_MEM_REG);
}

/* It comes under the number of the last message about memory, or 0 when there was none. */
gboolean
vhost_session_is_postcopy_ack (VhostSession *self, const VhostMessage *message)
{
  if (!self->postcopy_listens || message->header.size != sizeof message->payload.u64
      || message->payload.u64 != 0 || message->n_fds > 0
      || (message->header.flags & (VHOST_WIRE_FLAG_REPLY | VHOST_WIRE_FLAG_NEED_REPLY)) != 0)
    return FALSE;
  switch (message->header.request)
    {
    case VHOST_WIRE_NONE:
    case VHOST_WIRE_SET_MEM_TABLE:
    case VHOST_WIRE_ADD_MEM_REG:
    case VHOST_WIRE_REM_MEM_REG:
      return TRUE;
    default:
      return FALSE;
    }
}

void
vhost_session_end_ack (VhostSession *self)
{
  if (!self->postcopy_ack_due)
    return;
  self->postcopy_ack_due = FALSE;
  vhost_backend_memory_changed (self->backend, self->memory);
}
