/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The area of in-flight requests as the driver side keeps it: fetched from the first back-end,
 * given to each one after it. Must not look into the area: what is in there is the back-ends'
 * affair. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* 256 queues of 32768 entries, 32 bytes each, with room to spare. */
#define MAX_AREA_SIZE (G_GUINT64_CONSTANT (1) << 30)

typedef struct
{
  guint64 size;
  guint64 offset;
  guint16 n_queues;
  guint16 queue_size;
  guint8 padding[4];
} InflightMessage;
/* The text draws the message without the padding. */
#define INFLIGHT_MIN 20

void
vhost_frontend_inflight_clear (VhostFrontend *self)
{
  VhostFrontendInflight *area = &self->inflight;

  if (area->map != NULL)
    munmap (area->map, area->offset + area->size);
  vhost_fd_clear (&area->fd);
  *area = (VhostFrontendInflight){ .fd = -1 };
}

static gboolean
check_area (const InflightMessage *message, int fd, guint n_queues, guint queue_size,
            GError **error)
{
  struct stat st;

  if (message->n_queues == n_queues && message->queue_size == queue_size
      && message->size <= MAX_AREA_SIZE && message->offset <= MAX_AREA_SIZE && fstat (fd, &st) == 0
      && S_ISREG (st.st_mode) && st.st_size >= 0
      && message->offset + message->size <= (guint64) st.st_size)
    return TRUE;

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
               "the back-end's in-flight area of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
               " for %u queues of %u entries is not what was asked for (%u queues of %u entries), "
               "or leaves its file",
               message->size, message->offset, message->n_queues, message->queue_size, n_queues,
               queue_size);
  return FALSE;
}

/**
 * vhost_frontend_prepare_inflight:
 * @self: a negotiated front-end
 * @n_queues: how many queues there will be
 * @queue_size: entries of each; they have to be the same
 * @error: return location for an error
 *
 * Fetches the area in which the back-end marks requests in flight (GET_INFLIGHT_FD), and gives it
 * back (SET_INFLIGHT_FD), so that the next back-end finds there what this one had taken.
 *
 * Where INFLIGHT_SHMFD was negotiated the first vhost_frontend_add_queue () does it by itself, for
 * as many queues as vhost_frontend_get_max_queues () says; that is wrong only if sizes differ or
 * there are more, as in a network device, which counts pairs. The area stays over reconnections,
 * until vhost_frontend_drop_inflight (). A back-end that has no area to give (size 0) is driven
 * without.
 *
 * Thread: control. Specification: "Inflight I/O tracking".
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED, #VHOST_ERROR_BUSY (there is
 * an area already), #VHOST_ERROR_PROTOCOL (an area that cannot be) ...
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_prepare_inflight (VhostFrontend *self, guint n_queues, guint queue_size,
                                 GError **error)
{
  InflightMessage message = { .n_queues = (guint16) n_queues, .queue_size = (guint16) queue_size };
  VhostFrontendInflight *area = &self->inflight;
  VhostMessage *answer;
  int fd;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD,
                                          VHOST_WIRE_GET_INFLIGHT_FD, error))
    return FALSE;
  if (n_queues == 0 || n_queues > G_MAXUINT16 || queue_size == 0 || queue_size > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no in-flight area for %u queues of %u entries", n_queues, queue_size);
      return FALSE;
    }
  if (area->fd >= 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "there is an in-flight area for %u queues of %u entries: drop it first",
                   area->n_queues, area->queue_size);
      return FALSE;
    }

  if (!vhost_frontend_get (self, VHOST_WIRE_GET_INFLIGHT_FD, &message, sizeof message, &answer,
                           error))
    return FALSE;
  if (answer->header.size < INFLIGHT_MIN || answer->header.size > sizeof message)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_INFLIGHT_FD has %u bytes; it must have %zu",
                   answer->header.size, sizeof message);
      return FALSE;
    }
  memcpy (&message, answer->payload.bytes, sizeof message);
  fd = vhost_message_steal_fd (answer, 0);
  if (message.size == 0 || fd < 0)
    {
      vhost_fd_clear (&fd);
      area->none = TRUE;
      return TRUE;
    }
  if (!check_area (&message, fd, n_queues, queue_size, error))
    {
      vhost_fd_clear (&fd);
      return FALSE;
    }
  *area = (VhostFrontendInflight){ .fd = fd,
                                   .size = message.size,
                                   .offset = message.offset,
                                   .n_queues = message.n_queues,
                                   .queue_size = message.queue_size };
  return TRUE;
}

gboolean
vhost_frontend_inflight_start (VhostFrontend *self, guint index, guint queue_size, GError **error)
{
  VhostFrontendInflight *area = &self->inflight;
  InflightMessage message = { 0 };

  if (!vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD)
      || !self->use_inflight || area->none)
    return TRUE;
  if (area->fd < 0
      && (!vhost_frontend_prepare_inflight (
          self, CLAMP (self->max_queues, index + 1, MAX (index + 1, VHOST_WIRE_MAX_QUEUES)),
          queue_size, error)))
    return FALSE;
  if (area->none)
    return TRUE;
  if (index >= area->n_queues || queue_size != area->queue_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u of %u entries has no place in the in-flight area of %u queues of %u "
                   "entries: prepare a larger one, or set inflight to FALSE",
                   index, queue_size, area->n_queues, area->queue_size);
      return FALSE;
    }
  if (area->sent)
    return TRUE;

  message.size = area->size;
  message.offset = area->offset;
  message.n_queues = area->n_queues;
  message.queue_size = area->queue_size;
  area->sent
      = vhost_frontend_set (self, VHOST_WIRE_SET_INFLIGHT_FD, &message, sizeof message, &area->fd,
                            1, error, "%u queues of %u entries", area->n_queues, area->queue_size);
  return area->sent;
}

/**
 * vhost_frontend_get_inflight_fd:
 * @self: a front-end
 * @size: (out) (optional): bytes of the area
 * @offset: (out) (optional): where it begins in the file
 *
 * The file of in-flight requests.
 *
 * Thread: control. Specification: GET_INFLIGHT_FD.
 *
 * Returns: a descriptor that belongs to @self, -1 when there is no area
 *
 * Since: 0.1
 */
int
vhost_frontend_get_inflight_fd (VhostFrontend *self, guint64 *size, guint64 *offset)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  if (size != NULL)
    *size = self->inflight.size;
  if (offset != NULL)
    *offset = self->inflight.offset;
  return self->inflight.fd;
}

/**
 * vhost_frontend_get_inflight_memory: (skip)
 * @self: a front-end
 * @size: (out) (optional): bytes of the area
 *
 * The area of in-flight requests itself, to misbehave with. A back-end that cuts its file short
 * makes it unsafe to touch.
 *
 * Thread: control. Specification: "Inflight I/O tracking".
 *
 * Returns: (nullable): the area's first byte, %NULL when there is none or it cannot be mapped
 *
 * Since: 0.1
 */
gpointer
vhost_frontend_get_inflight_memory (VhostFrontend *self, gsize *size)
{
  VhostFrontendInflight *area = &self->inflight;
  gpointer map;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  if (area->fd < 0)
    return NULL;
  if (area->map == NULL)
    {
      map = mmap (NULL, area->offset + area->size, PROT_READ | PROT_WRITE, MAP_SHARED, area->fd, 0);
      if (map == MAP_FAILED)
        return NULL;
      area->map = map;
    }
  if (size != NULL)
    *size = area->size;
  return (guint8 *) area->map + area->offset;
}

/**
 * vhost_frontend_drop_inflight:
 * @self: a front-end
 *
 * Forgets the area of in-flight requests, as after a reset of the machine; the next queue to start
 * fetches a new one.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_frontend_drop_inflight (VhostFrontend *self)
{
  g_return_if_fail (VHOST_IS_FRONTEND (self));

  vhost_frontend_inflight_clear (self);
}
