/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's running rings: start, stop and what they report. Must not touch a queue from the
 * control thread once its ring has started.
 *
 * How it works: KICK starts a ring. What depends on other messages is checked then, the addresses
 * are translated, the back-end is activated if this is the first ring, and a command takes
 * everything to the worker. A stop comes back when the requests in flight have ended, or were given
 * up. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <errno.h>
#include <fcntl.h>

/* A back-end that is still in use elsewhere (a lock, say) gets a second to become free. */
#define ACTIVATION_INTERVAL_MS 50
#define ACTIVATION_TRIES 20

/* ---- Hooks ---- */

/* Thread: worker. */
static void
queue_process (VhostQueue *queue, gpointer owner)
{
  VhostSession *self = owner;

  vhost_backend_process_queue (queue->backend, queue);
  if (self->owner->wants_kicks != NULL && self->owner->wants_kicks (self->owner_data))
    self->owner->kicked (queue, self->owner_data);
}

/* Thread: control. */
static void
queue_failed (VhostSessionCommand *command)
{
  VhostSession *self = command->session;
  VhostSessionVring *vring = &self->vrings[command->queue->index];
  guint suppressed;

  if (self->closing)
    return;
  if (g_error_matches (command->error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY))
    {
      /* All rings live in that memory. */
      vhost_session_shutdown (self, self->drain_timeout_ms, g_steal_pointer (&command->error));
      return;
    }
  vring->broken = TRUE;
  vring->renewed = vring->have_base = FALSE;
  vhost_session_report_break (self, vring);
  self->needs_reset = TRUE;
  /* A guest can have this as often as it likes, so it is limited and not a warning. */
  if (vhost_rate_limit_allows (&self->breaks, &suppressed))
    g_message ("%s: queue %u is broken until its driver sets it up again: %s", self->peer_label,
               command->queue->index, command->error->message);
  vhost_session_announce_config (self); /* V47 */
  vhost_session_notify (self, VHOST_SESSION_PROP_STATUS);
  g_signal_emit_by_name (self, "queue-broken", command->queue, command->error->message);
}

/* Thread: worker. */
static void
queue_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  VhostSessionCommand *command = vhost_session_command_new (owner, NULL, NULL, queue_failed);

  command->queue = g_object_ref (queue);
  command->error = g_error_copy (error);
  vhost_session_command_answer (command);
}

/* Thread: worker. */
static void
queue_stopping (VhostQueue *queue, gpointer owner)
{
  vhost_backend_queue_stopping (queue->backend, queue);
}

/* .call is set at the start of a ring that wants it. */
const VhostQueueHooks vhost_session_queue_hooks = {
  .process = queue_process,
  .error = queue_error,
  .miss = vhost_session_queue_miss,
  .stopping = queue_stopping,
  .wake = vhost_worker_wake_queue,
};

/* ---- Pause ---- */

/* Thread: worker. */
static void
idled (VhostTask *task)
{
  vhost_session_command_answer (VHOST_SESSION_COMMAND_OF_DRAINED (task));
}

/* Thread: worker. */
static void
pause_run (VhostSessionCommand *command)
{
  command->drained.run = idled;
  vhost_queue_set_paused (command->queue, command->enabled, &command->drained);
}

/* Thread: control. */
static void
pause_done (VhostSessionCommand *command)
{
  VhostSession *self = command->session;

  if (command->enabled && --self->n_pausing == 0 && self->owner->paused != NULL)
    self->owner->paused (self, self->owner_data);
}

void
vhost_session_set_paused (VhostSession *self, gboolean paused)
{
  for (guint i = 0; i < self->n_vrings; i++)
    {
      VhostSessionCommand *command
          = vhost_session_command_new (self, &self->vrings[i], pause_run, pause_done);

      command->enabled = paused;
      if (paused)
        self->n_pausing++;
      vhost_session_command_post (command, FALSE);
    }
}

/* ---- Stop ---- */

/* Thread: control. */
void
vhost_session_command_ended (VhostSessionCommand *command)
{
}

/* Thread: worker. */
static void
stop_ended (VhostTask *task)
{
  VhostSessionCommand *command = VHOST_SESSION_COMMAND_OF_DRAINED (task);

  command->base = vhost_queue_get_base (command->queue);
  /* Given up with requests out: the back-end was promised that none is, so it is not told. */
  if (!command->queue->abandoned || command->queue->in_flight == 0)
    vhost_backend_queue_stopped (command->queue->backend, command->queue);
  vhost_session_command_answer (command);
}

/* Thread: worker. Perhaps called from within the completion of the last request: a back-end must
 * not lose its queue's state under its feet there, so it hears of the stop from the worker's own
 * loop. */
static void
stop_drained (VhostTask *task)
{
  VhostSessionCommand *command = VHOST_SESSION_COMMAND_OF_DRAINED (task);

  command->drained.run = stop_ended;
  vhost_worker_post (command->worker, &command->drained);
}

/* Thread: worker. */
static void
stop_run (VhostSessionCommand *command)
{
  command->drained.run = stop_drained;
  vhost_worker_stop_queue (command->worker, command->queue, command->suspend, &command->drained);
}

/* Thread: control. */
static void
stop_done (VhostSessionCommand *command)
{
  VhostSession *self = command->session;
  VhostSessionVring *vring = command->vring;

  vring->started = vring->stopping = FALSE;
  self->n_started--;
  if (!vring->have_base)
    {
      vring->base = command->base; /* V48: of a broken ring the index of the bad entry */
      vring->base_known = TRUE;
    }
  vring->have_base = FALSE;
  vhost_session_flush_calls (self, vring);
  vhost_session_forget_misses (self, vring);
  vhost_session_check_suspend (self);
}

void
vhost_session_stop_vring (VhostSession *self, VhostSessionVring *vring, gboolean waited)
{
  VhostSessionCommand *command = vhost_session_command_new (self, vring, stop_run, stop_done);

  command->suspend = vhost_session_may_suspend (self, vring);
  vring->stopping = TRUE;
  vhost_session_command_post (command, waited);
}

/* Thread: worker. */
static void
abandon_run (VhostSessionCommand *command)
{
  VhostQueue *queue = command->queue;
  VhostTask *stopped = g_steal_pointer (&queue->drained_next);
  VhostTask *released = g_steal_pointer (&queue->released);

  vhost_worker_abandon_queue (command->worker, queue);
  /* Whoever waited for requests that may never end has waited long enough. */
  if (released != NULL)
    released->run (released);
  if (stopped != NULL)
    stopped->run (stopped);
  vhost_session_command_answer (command);
}

void
vhost_session_abandon_vring (VhostSession *self, VhostSessionVring *vring)
{
  vhost_session_command_post (
      vhost_session_command_new (self, vring, abandon_run, vhost_session_command_ended), FALSE);
}

void
vhost_session_check_suspend (VhostSession *self)
{
  if (!self->active || self->n_started > 0)
    return;
  self->active = FALSE;
  self->log_stale = TRUE;
  vhost_backend_suspend (self->backend);
}

/* ---- Start ---- */

/* Thread: worker. */
static void
start_run (VhostSessionCommand *command)
{
  command->queue->hooks.call = command->in_band ? vhost_session_queue_call : NULL;
  vhost_queue_set_enabled (command->queue, command->enabled);
  if (vhost_worker_start_queue (command->worker, command->queue, &command->setup, command->memory,
                                &command->error))
    {
      /* They are the queue's now. */
      command->setup.kick_fd = command->setup.call_fd = command->setup.err_fd
          = command->setup.log_fd = -1;
      vhost_backend_queue_started (command->queue->backend, command->queue);
    }
  vhost_session_command_answer (command);
}

/* Thread: control. */
static void
start_done (VhostSessionCommand *command)
{
  VhostSession *self = command->session;
  VhostSessionVring *vring = command->vring;
  gboolean any_broken = FALSE;

  if (command->error != NULL)
    {
      vhost_session_check_suspend (self);
      return;
    }
  vring->started = TRUE;
  vring->broken = vring->renewed = vring->have_base = FALSE;
  self->n_started++;
  if (self->closing)
    {
      vhost_session_stop_vring (self, vring, FALSE);
      if (self->abandoned)
        vhost_session_abandon_vring (self, vring);
      return;
    }
  for (guint i = 0; i < self->n_vrings; i++)
    any_broken |= self->vrings[i].broken;
  if (self->needs_reset && !any_broken)
    {
      self->needs_reset = FALSE;
      vhost_session_notify (self, VHOST_SESSION_PROP_STATUS);
    }
  vhost_session_flush_config (self);
  vhost_session_ask_misses (self);
  vhost_backend_flush_requests (self->backend);
}

/* One part of the ring, as the queue's map has it. Without GPA_ADDRESSES it comes as the
 * front-end's own address; behind a vIOMMU it is an I/O address in any case (I1). */
static gboolean
translate (VhostSession *self, VhostSessionVring *vring, const char *part, guint64 address,
           guint64 length, guint64 *guest_address, GError **error)
{
  *guest_address = address;
  if (vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_GPA_ADDRESSES)
      || vhost_session_has_feature (self, VHOST_WIRE_F_ACCESS_PLATFORM))
    return TRUE; /* checked against the map by the queue */
  if (vhost_memory_user_to_guest (self->memory, address, length, guest_address))
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
               "the %s of ring %u (0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
               " bytes) is in none of the %u memory regions that the front-end shares; if the VM's "
               "memory is not shared, %s",
               part, vring->queue->index, address, length,
               vhost_memory_get_n_regions (self->memory), vhost_session_memory_cure);
  return FALSE;
}

int
vhost_session_duplicate_fd (int fd, GError **error)
{
  int copy = fd < 0 ? -1 : fcntl (fd, F_DUPFD_CLOEXEC, 3);

  if (fd >= 0 && copy < 0)
    {
      int errsv = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot duplicate a notification descriptor: %s; raise the limit of open files",
                   g_strerror (errsv));
    }
  return copy;
}

/* V7: a position that the ring does not have, or more bits than a split ring's index has. */
static gboolean
check_base (VhostSessionVring *vring, guint32 base, gboolean packed, GError **error)
{
  guint32 size = vring->size;

  if (packed ? (base & 0x7fff) < size && (base >> 16 & 0x7fff) < size : base <= G_MAXUINT16)
    return TRUE;
  g_set_error (
      error, VHOST_ERROR, VHOST_ERROR_INVALID,
      "ring %u cannot begin at 0x%x: a %s ring of %u entries has no such %s (SET_VRING_BASE)",
      vring->queue->index, base, packed ? "packed" : "split", size, packed ? "positions" : "index");
  return FALSE;
}

/* V3, V4: the sizes of the parts. */
static gboolean
translate_parts (VhostSession *self, VhostSessionVring *vring, VhostQueueSetup *setup,
                 gboolean packed, GError **error)
{
  const VhostWireVringAddr *addr = &vring->addr;
  guint64 size = vring->size;
  guint event = vhost_session_has_feature (self, VHOST_WIRE_F_RING_EVENT_IDX) ? 2 : 0;

  return translate (self, vring, packed ? "descriptor ring" : "descriptor table", addr->descriptor,
                    16 * size, &setup->descriptor, error)
         && translate (self, vring, packed ? "driver event area" : "available ring",
                       addr->available, packed ? 4 : 4 + 2 * size + event, &setup->available, error)
         && translate (self, vring, packed ? "device event area" : "used ring", addr->used,
                       packed ? 4 : 4 + 8 * size + event, &setup->used, error);
}

/* What the start needs and other messages have brought, or have not (R17). V1, V2 and V3 are the
 * queue's to check. */
gboolean
vhost_session_prepare_setup (VhostSession *self, VhostSessionVring *vring, VhostQueueSetup *setup,
                             GError **error)
{
  gboolean packed = vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED);
  gboolean version_1 = vhost_session_has_feature (self, VHOST_WIRE_F_VERSION_1);
  guint index = vring->queue->index;

  if (vring->size == 0 || !vring->have_addr)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "ring %u cannot start without %s",
                   index,
                   vring->size == 0 ? "its size (SET_VRING_NUM)" : "its place (SET_VRING_ADDR)");
      return FALSE;
    }
  if (self->memory == NULL || vhost_memory_get_n_regions (self->memory) == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY,
                   "the front-end shares no guest memory; %s", vhost_session_memory_cure);
      return FALSE;
    }
  if (self->postcopy_ack_due)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "ring %u cannot start before the front-end has acknowledged where its memory "
                   "lies here (postcopy)",
                   index);
      return FALSE;
    }
  setup->size = vring->size;
  setup->base = vhost_session_get_vring_base (self, vring);
  setup->features = self->features;
  if (version_1) /* which has no such feature any more (V39) */
    setup->features &= ~VHOST_WIRE_BIT (VHOST_WIRE_F_NOTIFY_ON_EMPTY);
  setup->big_endian = vring->big_endian && !version_1;
  setup->log = vring->addr.log;
  setup->log_used = (vring->addr.flags & VHOST_WIRE_VRING_F_LOG) != 0;
  setup->dirty_log = vhost_session_get_log (self);
  return check_base (vring, setup->base, packed, error)
         && translate_parts (self, vring, setup, packed, error)
         && vhost_session_check_log (self, vring, &vring->addr, error)
         && vhost_session_find_inflight (self, vring, &setup->inflight, error);
}

static gboolean try_start (gpointer data);

/* The current message is a KICK whose ring is stopped: all the way to the worker. */
void
vhost_session_begin_start (VhostSession *self)
{
  self->tries = 0;
  if (try_start (self) == G_SOURCE_CONTINUE && !self->closing)
    {
      self->retry_timer = g_timeout_source_new (ACTIVATION_INTERVAL_MS);
      g_source_set_static_name (self->retry_timer, "VhostSession activation");
      g_source_set_callback (self->retry_timer, try_start, self, NULL);
      g_source_attach (self->retry_timer, self->context);
    }
}

static void
clear_retry_timer (VhostSession *self)
{
  if (self->retry_timer != NULL)
    {
      g_source_destroy (self->retry_timer);
      g_clear_pointer (&self->retry_timer, g_source_unref);
    }
}

/* Thread: control. Once, and again by timer while the back-end is busy. */
static gboolean
try_start (gpointer data)
{
  VhostSession *self = data;
  VhostSessionVring *vring = self->current_vring;
  VhostSessionCommand *command;
  GError *error = NULL;

  if (!self->active)
    {
      if (!vhost_backend_activate (self->backend, &error))
        {
          if (g_error_matches (error, VHOST_ERROR, VHOST_ERROR_BUSY)
              && ++self->tries < ACTIVATION_TRIES)
            {
              g_clear_error (&error);
              return G_SOURCE_CONTINUE;
            }
          if (error == NULL)
            error = g_error_new (VHOST_ERROR, VHOST_ERROR_BACKEND,
                                 "the device could not be activated and did not say why");
          goto refused;
        }
      self->active = TRUE;
    }
  clear_retry_timer (self);
  command = vhost_session_command_new (self, vring, start_run, start_done);
  command->enabled = vring->enabled;
  command->in_band = vhost_session_calls_in_band (self, vring);
  command->setup.kick_fd = g_steal_fd (&vring->kick_fd);
  command->setup.call_fd = vhost_session_duplicate_fd (vring->call_fd, &error);
  if (error == NULL)
    command->setup.err_fd = vhost_session_duplicate_fd (vring->err_fd, &error);
  if (error == NULL)
    command->setup.log_fd = vhost_session_duplicate_fd (self->log_fd, &error);
  if (error != NULL || !vhost_session_prepare_setup (self, vring, &command->setup, &error))
    {
      vhost_session_command_free (command);
      vhost_session_check_suspend (self);
      goto refused;
    }
  command->memory = vhost_memory_ref (vhost_session_get_ring_memory (self));
  if (command->setup.inflight != NULL)
    command->inflight = vhost_inflight_ref (command->setup.inflight);
  if (command->setup.dirty_log != NULL)
    command->log = vhost_dirty_log_ref (command->setup.dirty_log);
  vhost_session_command_post (command, TRUE);
  self->continuation = vhost_session_continue_ack;
  return G_SOURCE_REMOVE;

refused:
  clear_retry_timer (self);
  vhost_fd_discard (&vring->kick_fd);
  vhost_session_finish_message (self, error);
  return G_SOURCE_REMOVE;
}

/* QEMU does not ask for KICK's acknowledgement: its guest would hang without a word, so the log
 * says it aloud. */
static void
warn_of_memory (VhostSession *self, const GError *error)
{
  if (!g_error_matches (error, VHOST_ERROR, VHOST_ERROR_NO_SHARED_MEMORY) || self->told_cure)
    return;
  self->told_cure = TRUE;
  g_warning ("%s: %s", self->peer_label, error->message);
}

/* Thread: control. A broken ring that was set up again has stopped. */
static void
continue_restart (VhostSession *self)
{
  vhost_session_disarm_drain (self);
  vhost_session_begin_start (self);
}

VhostSessionResult
vhost_session_start_vring (VhostSession *self, VhostSessionVring *vring, int fd, GError **error)
{
  VhostQueueSetup setup = { 0 };

  if (!vhost_session_prepare_setup (self, vring, &setup, error))
    {
      vhost_fd_discard (&fd);
      if (error != NULL)
        warn_of_memory (self, *error);
      return VHOST_SESSION_REFUSED;
    }
  vhost_fd_discard (&vring->kick_fd);
  vring->kick_fd = fd;
  self->current_vring = vring;
  if (vring->started)
    {
      vhost_session_stop_vring (self, vring, TRUE);
      vhost_session_arm_drain (self);
      return vhost_session_wait (self, continue_restart);
    }
  vhost_session_begin_start (self);
  return VHOST_SESSION_LATER;
}
