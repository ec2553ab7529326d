/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side of a migration: the device's own state through a pipe, and postcopy. Must not
 * look into the state. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define DIRECTION_SAVE 0
#define DIRECTION_LOAD 1
#define STATE_NO_FD (1u << 8)
#define STATE_ERROR_MASK 0xffu
#define CHUNK 65536

typedef struct
{
  guint32 direction;
  guint32 phase;
} DeviceStateMessage;

static void
set_pipe_error (GError **error, int code)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED, "the device state's pipe: %s",
               g_strerror (code));
}

/* SET_DEVICE_STATE_FD. Returns our end of the channel, non-blocking: of our pipe, or the one that
 * the back-end prefers (D2). */
static int
open_state (VhostFrontend *self, guint32 direction, GError **error)
{
  const DeviceStateMessage message = { direction, 0 };
  VhostMessage *answer;
  int fds[2];
  int theirs, ours, offered;
  gboolean sent;

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_DEVICE_STATE,
                                          VHOST_WIRE_SET_DEVICE_STATE_FD, error))
    return -1;
  if (pipe2 (fds, O_CLOEXEC) != 0)
    {
      set_pipe_error (error, errno);
      return -1;
    }
  ours = direction == DIRECTION_SAVE ? fds[0] : fds[1];
  theirs = direction == DIRECTION_SAVE ? fds[1] : fds[0];
  sent = vhost_frontend_get_with_fds (self, VHOST_WIRE_SET_DEVICE_STATE_FD, &message,
                                      sizeof message, &theirs, 1, &answer, error);
  vhost_fd_clear (&theirs);
  if (!sent)
    {
      vhost_fd_clear (&ours);
      return -1;
    }

  offered = vhost_message_steal_fd (answer, 0);
  if (answer->header.size != sizeof answer->payload.u64
      || (answer->payload.u64 & STATE_ERROR_MASK) != 0
      || ((answer->payload.u64 & STATE_NO_FD) == 0) != (offered >= 0))
    {
      const gboolean refused = answer->header.size == sizeof answer->payload.u64
                               && (answer->payload.u64 & STATE_ERROR_MASK) != 0;

      g_set_error (error, VHOST_ERROR, refused ? VHOST_ERROR_REFUSED : VHOST_ERROR_PROTOCOL,
                   "the back-end %s SET_DEVICE_STATE_FD (%s): %u bytes, 0x%" G_GINT64_MODIFIER
                   "x, %s descriptor",
                   refused ? "refused" : "gave a wrong answer to",
                   direction == DIRECTION_SAVE ? "save" : "load", answer->header.size,
                   answer->payload.u64, offered >= 0 ? "a" : "no");
      vhost_fd_clear (&offered);
      vhost_fd_clear (&ours);
      return -1;
    }
  if (offered >= 0)
    {
      vhost_fd_clear (&ours);
      ours = offered;
    }
  if (!vhost_fd_set_nonblocking (ours, error))
    vhost_fd_clear (&ours);
  return ours;
}

/* @result of a read or write that did not get on. TRUE: try again. */
static gboolean
wait_for_state (VhostFrontend *self, int fd, short events, gint64 deadline, int code,
                GError **error)
{
  if (code == EINTR)
    return TRUE;
  if (code != EAGAIN)
    {
      set_pipe_error (error, code);
      return FALSE;
    }
  if (vhost_frontend_wait_for (self, fd, -1, events, deadline) > 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
               "the back-end did not %s the device state within %u ms",
               events == POLLIN ? "write" : "read", self->timeout);
  return FALSE;
}

static gboolean
read_state (VhostFrontend *self, int fd, GByteArray *state, gsize max_size, GError **error)
{
  const gint64 deadline = vhost_frontend_get_deadline (self);
  g_autofree guint8 *chunk = g_malloc (CHUNK);

  for (;;)
    {
      const ssize_t n = read (fd, chunk, CHUNK);

      if (n == 0)
        return TRUE;
      if (n < 0)
        {
          if (!wait_for_state (self, fd, POLLIN, deadline, errno, error))
            return FALSE;
          continue;
        }
      if ((gsize) n > max_size - state->len)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                       "the device state has more than %" G_GSIZE_FORMAT " bytes", max_size);
          return FALSE;
        }
      g_byte_array_append (state, chunk, (guint) n);
    }
}

/**
 * vhost_frontend_save_state:
 * @self: a negotiated front-end, whose queues are stopped
 * @max_size: bytes to take at most
 * @error: return location for an error
 *
 * Fetches the device's internal state (SET_DEVICE_STATE_FD, then CHECK_DEVICE_STATE), for
 * vhost_frontend_load_state () of another back-end.
 *
 * Thread: control. Specification: "Migrating back-end state".
 *
 * Returns: (transfer full): the state, or %NULL with #VHOST_ERROR_NOT_NEGOTIATED (DEVICE_STATE),
 * #VHOST_ERROR_REFUSED, #VHOST_ERROR_TIMED_OUT ...
 *
 * Since: 0.1
 */
GBytes *
vhost_frontend_save_state (VhostFrontend *self, gsize max_size, GError **error)
{
  g_autoptr (GByteArray) state = NULL;
  gboolean done;
  int fd;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  max_size = MIN (max_size, G_MAXINT);
  fd = open_state (self, DIRECTION_SAVE, error);
  if (fd < 0)
    return NULL;
  state = g_byte_array_new ();
  done = read_state (self, fd, state, max_size, error);
  vhost_fd_clear (&fd);
  if (!done || !vhost_frontend_check_state (self, error))
    return NULL;
  return g_byte_array_free_to_bytes (g_steal_pointer (&state));
}

/**
 * vhost_frontend_load_state:
 * @self: a negotiated front-end, whose queues are stopped
 * @state: of vhost_frontend_save_state ()
 * @error: return location for an error
 *
 * Gives the device its internal state (SET_DEVICE_STATE_FD, then CHECK_DEVICE_STATE).
 *
 * Thread: control. Specification: "Migrating back-end state".
 *
 * Returns: %TRUE when the back-end took it, or failure with a %VHOST_ERROR: of the connection, or
 * what the other end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_load_state (VhostFrontend *self, GBytes *state, GError **error)
{
  const guint8 *data;
  gint64 deadline;
  gsize size;
  int fd;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (state != NULL, FALSE);

  data = g_bytes_get_data (state, &size);
  fd = open_state (self, DIRECTION_LOAD, error);
  if (fd < 0)
    return FALSE;
  deadline = vhost_frontend_get_deadline (self);
  while (size > 0)
    {
      const ssize_t n = write (fd, data, MIN (size, CHUNK));

      if (n > 0)
        {
          data += n;
          size -= (gsize) n;
        }
      /* A back-end that has seen enough closes its end; the check says what it thinks. */
      else if (n < 0 && errno == EPIPE)
        break;
      else if (!wait_for_state (self, fd, POLLOUT, deadline, n < 0 ? errno : EAGAIN, error))
        {
          vhost_fd_clear (&fd);
          return FALSE;
        }
    }
  vhost_fd_clear (&fd);
  return vhost_frontend_check_state (self, error);
}

/**
 * vhost_frontend_check_state:
 * @self: a negotiated front-end
 * @error: return location for an error
 *
 * Asks whether the last transfer of device state was a success.
 *
 * Thread: control. Specification: CHECK_DEVICE_STATE.
 *
 * Returns: %TRUE when it was; %FALSE with #VHOST_ERROR_REFUSED when not
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_check_state (VhostFrontend *self, GError **error)
{
  guint64 value;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_DEVICE_STATE,
                                          VHOST_WIRE_CHECK_DEVICE_STATE, error)
      || !vhost_frontend_get_u64 (self, VHOST_WIRE_CHECK_DEVICE_STATE, &value, error))
    return FALSE;
  if (value == 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
               "the back-end says that the device state is not whole: it answered "
               "%" G_GUINT64_FORMAT,
               value);
  return FALSE;
}

/**
 * vhost_frontend_postcopy_advise:
 * @self: a negotiated front-end
 * @error: return location for an error
 *
 * Begins postcopy: the back-end opens a userfaultfd and passes it on.
 *
 * Thread: control. Specification: POSTCOPY_ADVISE.
 *
 * Returns: the descriptor, which is the caller's; -1 with #VHOST_ERROR_REFUSED when the back-end
 * gave none, or another error
 *
 * Since: 0.1
 */
int
vhost_frontend_postcopy_advise (VhostFrontend *self, GError **error)
{
  VhostMessage *answer;
  int fd;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_PAGEFAULT,
                                          VHOST_WIRE_POSTCOPY_ADVISE, error)
      || !vhost_frontend_get (self, VHOST_WIRE_POSTCOPY_ADVISE, NULL, 0, &answer, error))
    return -1;
  fd = vhost_message_steal_fd (answer, 0);
  if (fd < 0)
    g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                         "the back-end answered POSTCOPY_ADVISE without a userfaultfd: it may not "
                         "open one");
  return fd;
}

/**
 * vhost_frontend_postcopy_listen:
 * @self: a front-end after vhost_frontend_postcopy_advise ()
 * @error: return location for an error
 *
 * From now on the back-end's memory may be missing. Memory that is added is answered with the
 * addresses at which the back-end sees it: vhost_frontend_get_backend_address ().
 *
 * Thread: control. Specification: POSTCOPY_LISTEN.
 *
 * Returns: %TRUE on success, or failure with a %VHOST_ERROR: of the connection, or what the other
 * end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_postcopy_listen (VhostFrontend *self, GError **error)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_PAGEFAULT,
                                          VHOST_WIRE_POSTCOPY_LISTEN, error)
      || !vhost_frontend_set (self, VHOST_WIRE_POSTCOPY_LISTEN, NULL, 0, NULL, 0, error,
                              "no arguments"))
    return FALSE;
  self->listening = TRUE;
  return TRUE;
}

/**
 * vhost_frontend_postcopy_end:
 * @self: a front-end
 * @error: return location for an error
 *
 * Ends postcopy: all memory is there.
 *
 * Thread: control. Specification: POSTCOPY_END.
 *
 * Returns: %TRUE on success, or failure with a %VHOST_ERROR: of the connection, or what the other
 * end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_postcopy_end (VhostFrontend *self, GError **error)
{
  guint64 value;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!vhost_frontend_check_protocol_bit (self, VHOST_WIRE_PROTOCOL_PAGEFAULT,
                                          VHOST_WIRE_POSTCOPY_END, error)
      || !vhost_frontend_get_u64 (self, VHOST_WIRE_POSTCOPY_END, &value, error))
    return FALSE;
  self->listening = FALSE;
  if (value == 0)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
               "the back-end refused POSTCOPY_END: it answered %" G_GUINT64_FORMAT, value);
  return FALSE;
}
