/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's in-flight area: makes it, takes it back, and decides which ring gets a part of it.
 * Must not look into the area, the rings do.
 *
 * How it works: the front-end keeps the area and hands it to whoever serves the device next, which
 * after a crash is another process. So the session only holds what SET_INFLIGHT_FD has brought, and
 * a ring takes its region when it starts; what has been recorded is served again then. SET_STATUS 0
 * comes after every pause and takes nothing away (T2), a reset does. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

static gboolean
is_packed (VhostSession *self)
{
  return vhost_session_has_feature (self, VHOST_WIRE_F_RING_PACKED);
}

/* Sizes are checked further where they are multiplied. */
static gboolean
check_shape (VhostSession *self, const VhostWireInflight *place, GError **error)
{
  if (place->num_queues > 0 && place->num_queues <= self->n_vrings && place->queue_size > 0
      && place->queue_size <= 32768)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "an in-flight area for %u queues of %u entries is not possible; the device has %u "
               "queues, which can have up to 32768 entries",
               place->num_queues, place->queue_size, self->n_vrings);
  return FALSE;
}

/* The area is the front-end's from here on: nothing of it is kept until it comes back. A failure is
 * answered with size 0 and no descriptor, and the front-end goes on without tracking. */
VHOST_SESSION_HANDLER (get_inflight_fd)
{
  VhostWireInflight place = message->payload.inflight;
  g_autoptr (VhostInflight) area = NULL;

  if (!check_shape (self, &place, error))
    return VHOST_SESSION_REFUSED;
  area = vhost_inflight_new_for_both (place.num_queues, place.queue_size, is_packed (self), error);
  if (area == NULL)
    return VHOST_SESSION_REFUSED;
  place.mmap_size = vhost_inflight_get_size (area);
  place.mmap_offset = vhost_inflight_get_offset (area);
  /* Answered in the size that came: with the C structure's padding or without. */
  vhost_session_reply_fd (self, &place, message->header.size, vhost_inflight_get_fd (area));
  return VHOST_SESSION_REPLIED;
}

VHOST_SESSION_HANDLER (set_inflight_fd)
{
  VhostWireInflight place = message->payload.inflight;
  VhostInflight *area;

  if (!check_shape (self, &place, error))
    return VHOST_SESSION_REFUSED;
  area = vhost_inflight_new_take_fd (vhost_message_steal_fd (message, 0), place.mmap_size,
                                     place.mmap_offset, place.num_queues, place.queue_size,
                                     is_packed (self), error);
  if (area == NULL)
    return VHOST_SESSION_REFUSED;
  /* Running rings keep the region that they started with. */
  g_clear_pointer (&self->inflight, vhost_inflight_unref);
  self->inflight = area;
  return VHOST_SESSION_DONE;
}

gboolean
vhost_session_find_inflight (VhostSession *self, VhostSessionVring *vring, VhostInflight **area,
                             GError **error)
{
  guint index = vring->queue->index;

  *area = NULL;
  /* The front-end may track fewer queues than there are. */
  if (self->inflight == NULL || index >= vhost_inflight_get_num_queues (self->inflight))
    return TRUE;
  if (vhost_inflight_is_packed (self->inflight) != is_packed (self))
    {
      /* QEMU's vhost-user-scsi sends it before the features. */
      VhostInflight *other = vhost_inflight_new_other (self->inflight, error);

      if (other == NULL)
        {
          g_prefix_error (
              error,
              "ring %u is a %s one, but its in-flight area came while the features said "
              "%s: ",
              index, is_packed (self) ? "packed" : "split", is_packed (self) ? "split" : "packed");
          return FALSE;
        }
      vhost_inflight_unref (self->inflight);
      self->inflight = other;
    }
  *area = self->inflight;
  return TRUE;
}

gboolean
vhost_session_may_suspend (VhostSession *self, VhostSessionVring *vring)
{
  if (self->inflight == NULL
      || vring->queue->index >= vhost_inflight_get_num_queues (self->inflight))
    return FALSE;
  /* A front-end that is gone comes back with the area: then whoever serves it next goes on with
   * what is recorded, which is better than an error. */
  return self->closing
         || vhost_session_has_protocol (self, VHOST_WIRE_PROTOCOL_GET_VRING_BASE_INFLIGHT);
}
