/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log of dirty pages, as the driver side of a migration keeps it. Must not know what made a
 * page dirty.
 *
 * How it works: a memfd with one bit for each 4096 bytes of guest address, from 0 up. The back-end
 * sets bits, this side takes them, both atomically. When memory grows past the log's end a longer
 * log takes its place, and what the old one holds is added to it once the back-end has left it. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_SHIFT 12
#define MAX_LOG_SIZE (G_GUINT64_CONSTANT (1) << 30)
#define LOG_ALL VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL)

static void
free_log (VhostFrontendLog *log)
{
  if (log->map != NULL)
    munmap ((gpointer) log->map, log->size);
  vhost_fd_clear (&log->fd);
  *log = (VhostFrontendLog){ .fd = -1 };
}

void
vhost_frontend_log_clear (VhostFrontend *self)
{
  free_log (&self->log);
  self->logging = FALSE;
}

static gboolean
make_log (VhostFrontendLog *log, guint64 end, GError **error)
{
  const guint64 page = sysconf (_SC_PAGESIZE);
  const guint64 bytes = (end >> PAGE_SHIFT) / 8 + 1;
  const guint64 size = (bytes + page - 1) / page * page;
  gpointer map = MAP_FAILED;

  *log = (VhostFrontendLog){ .fd = -1 };
  if (size > MAX_LOG_SIZE)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "memory up to 0x%" G_GINT64_MODIFIER "x needs a log of %" G_GUINT64_FORMAT
                   " bytes: %" G_GUINT64_FORMAT " are the most, so use lower addresses",
                   end, size, MAX_LOG_SIZE);
      return FALSE;
    }
  log->fd = memfd_create ("vhost-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (log->fd >= 0 && ftruncate (log->fd, (off_t) size) == 0)
    map = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, 0);
  if (map == MAP_FAILED)
    {
      const int saved_errno = errno;

      free_log (log);
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot make a log of %" G_GUINT64_FORMAT " bytes: %s", size,
                   g_strerror (saved_errno));
      return FALSE;
    }
  log->map = map;
  log->size = size;
  return TRUE;
}

/* With LOG_SHMFD the message has an answer of its own, whose payload means nothing. */
static gboolean
send_log (VhostFrontend *self, const VhostFrontendLog *log, GError **error)
{
  const VhostWireLog message = { log->size, 0 };
  VhostMessage *answer;

  return vhost_frontend_get_with_fds (self, VHOST_WIRE_SET_LOG_BASE, &message, sizeof message,
                                      &log->fd, 1, &answer, error);
}

static guint64
find_end (VhostFrontend *self)
{
  guint64 end = 0;

  g_mutex_lock (&self->memory_lock);
  for (guint i = 0; i < self->regions->len; i++)
    {
      const VhostFrontendRegion *region = g_ptr_array_index (self->regions, i);

      end = MAX (end, region->guest_addr + region->size);
    }
  g_mutex_unlock (&self->memory_lock);
  return end;
}

gboolean
vhost_frontend_log_cover (VhostFrontend *self, guint64 end, GError **error)
{
  VhostFrontendLog log;

  if (!self->logging || end <= (guint64) self->log.size * 8 << PAGE_SHIFT)
    return TRUE;
  if (!make_log (&log, end, error))
    return FALSE;
  if (!send_log (self, &log, error))
    {
      free_log (&log);
      return FALSE;
    }
  for (gsize i = 0; i < self->log.size; i++)
    atomic_fetch_or_explicit (&log.map[i],
                              atomic_load_explicit (&self->log.map[i], memory_order_relaxed),
                              memory_order_relaxed);
  free_log (&self->log);
  self->log = log;
  return TRUE;
}

static gboolean
send_addresses (VhostFrontend *self, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      if (self->queues[i] != NULL && self->queues[i]->running
          && !vhost_frontend_queue_send_address (self->queues[i], error))
        return FALSE;
    }
  return TRUE;
}

gboolean
vhost_frontend_log_replay (VhostFrontend *self, GError **error)
{
  return !self->logging
         || (send_log (self, &self->log, error)
             && vhost_frontend_change_features (self, self->features | LOG_ALL, error));
}

/**
 * vhost_frontend_start_log:
 * @self: a negotiated front-end
 * @error: return location for an error
 *
 * Makes the back-end log the pages that it writes: SET_LOG_BASE with a memfd for all of guest
 * memory, SET_FEATURES with LOG_ALL, and SET_VRING_ADDR with VHOST_VRING_F_LOG for each running
 * queue. Later queues log too; when memory is added the log grows.
 *
 * Thread: control. Specification: "Migration".
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_NOT_NEGOTIATED (LOG_SHMFD, or LOG_ALL is not
 * offered), #VHOST_ERROR_BUSY (there is a log) ...
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_start_log (VhostFrontend *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (self->logging)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                           "the back-end logs already: stop the log first");
      return FALSE;
    }
  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_LOG_SHMFD,
                                          VHOST_WIRE_SET_LOG_BASE, error))
    return FALSE;
  if ((self->offered_features & LOG_ALL) == 0)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED,
                           "the back-end does not offer LOG_ALL: it cannot log");
      return FALSE;
    }

  free_log (&self->log);
  if (!make_log (&self->log, find_end (self), error) || !send_log (self, &self->log, error))
    return FALSE;
  self->logging = TRUE;
  if (vhost_frontend_change_features (self, self->features | LOG_ALL, error)
      && send_addresses (self, error))
    return TRUE;
  self->logging = FALSE;
  return FALSE;
}

/**
 * vhost_frontend_stop_log:
 * @self: a front-end whose back-end logs
 * @error: return location for an error
 *
 * Ends the log: SET_FEATURES without LOG_ALL, SET_VRING_ADDR without the flag. What was logged can
 * be taken still.
 *
 * Thread: control. Specification: "Migration".
 *
 * Returns: %TRUE on success, also when there is no log, or failure with a %VHOST_ERROR: of the
 * connection, or what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_stop_log (VhostFrontend *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!self->logging)
    return TRUE;
  self->logging = FALSE;
  return vhost_frontend_change_features (self, self->features & ~LOG_ALL, error)
         && send_addresses (self, error);
}

/**
 * vhost_frontend_log_take:
 * @self: a front-end
 * @guest_address: first byte
 * @length: bytes
 *
 * Whether a page of a range was logged as written; its pages are clean in the log then.
 *
 * Thread: control. Specification: "Migration".
 *
 * Returns: %TRUE when one was dirty; %FALSE also for what the log does not reach
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_log_take (VhostFrontend *self, guint64 guest_address, guint64 length)
{
  const guint64 n_pages = (guint64) self->log.size * 8;
  guint64 last;
  gboolean dirty = FALSE;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (length == 0 || n_pages == 0)
    return FALSE;
  last = length - 1 > G_MAXUINT64 - guest_address ? G_MAXUINT64 : guest_address + length - 1;
  last = MIN (last >> PAGE_SHIFT, n_pages - 1);
  for (guint64 page = guest_address >> PAGE_SHIFT; page <= last; page++)
    {
      const guint8 bit = (guint8) (1u << page % 8);

      /* Partner: the back-end's atomic or, after it wrote the page. */
      if ((atomic_fetch_and_explicit (&self->log.map[page / 8], (guint8) ~bit, memory_order_acq_rel)
           & bit)
          != 0)
        dirty = TRUE;
    }
  return dirty;
}

/**
 * vhost_frontend_log_count:
 * @self: a front-end
 *
 * How many pages the log says are dirty.
 *
 * Thread: control.
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_log_count (VhostFrontend *self)
{
  guint64 n = 0;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  for (gsize i = 0; i < self->log.size; i++)
    n += (guint64) __builtin_popcount (
        atomic_load_explicit (&self->log.map[i], memory_order_relaxed));
  return n;
}

/**
 * vhost_frontend_set_log_event:
 * @self: a negotiated front-end
 * @error: return location for an error
 *
 * Gives the back-end an eventfd that it may write when it has logged something (SET_LOG_FD).
 *
 * Thread: control. Specification: SET_LOG_FD.
 *
 * Returns: a descriptor that belongs to @self, -1 on error
 *
 * Since: 0.1
 */
int
vhost_frontend_set_log_event (VhostFrontend *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  if (self->log_event_fd < 0)
    self->log_event_fd = vhost_fd_new_eventfd (error);
  if (self->log_event_fd < 0
      || !vhost_frontend_set (self, VHOST_WIRE_SET_LOG_FD, NULL, 0, &self->log_event_fd, 1, error,
                              "an eventfd"))
    return -1;
  return self->log_event_fd;
}
