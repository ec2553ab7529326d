/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One front-end's connection as an object: its beginning, its end and what can be asked of it. Must
 * not read messages (vhost-session-message.c does) and must never wait for a worker.
 *
 * How it works: the end has three steps. Shutdown stops reading and posts a stop for each ring.
 * When all commands are back, helped along at the deadline by telling the queues to forget their
 * requests, everything is released and the owner hears of it. A command holds the session, so a
 * late one finds it alive. */
#include "config.h"

#include "vhost-session.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <poll.h>
#include <sys/socket.h>

const char vhost_session_memory_cure[]
    = "start the VM with -object memory-backend-memfd,id=mem,size=512M,share=on -machine "
      "memory-backend=mem (the size as in -m), in libvirt with <memoryBacking><source "
      "type='memfd'/><access mode='shared'/></memoryBacking>";

static GParamSpec *properties[VHOST_SESSION_N_PROPS];

/**
 * VhostSession:
 *
 * The connection of one front-end, from the moment that it connects until its last request has
 * ended.
 *
 * A daemon makes sessions; programs look at them: who the front-end is, what was negotiated, which
 * queues there are.
 *
 * Thread: control, unless a function says otherwise.
 *
 * Since: 0.1
 */
G_DEFINE_FINAL_TYPE (VhostSession, vhost_session, G_TYPE_OBJECT)

/* ---- Life ---- */

static void
clear_source (GSource **source)
{
  if (*source == NULL)
    return;
  g_source_destroy (*source);
  g_clear_pointer (source, g_source_unref);
}

static void
vhost_session_finalize (GObject *object)
{
  VhostSession *self = VHOST_SESSION (object);

  g_clear_pointer (&self->backend_channel, vhost_backend_channel_free); /* its end uses the rest */
  vhost_session_clear_iotlb (self);
  for (guint i = 0; i < self->n_vrings; i++)
    {
      g_clear_object (&self->vrings[i].queue);
      vhost_fd_discard (&self->vrings[i].kick_fd);
      vhost_fd_discard (&self->vrings[i].call_fd);
      vhost_fd_discard (&self->vrings[i].err_fd);
    }
  g_free (self->vrings);
  clear_source (&self->source);
  clear_source (&self->inbox_source);
  clear_source (&self->drain_timer);
  clear_source (&self->retry_timer);
  g_clear_pointer (&self->channel, vhost_channel_free);
  vhost_session_clear_log (self);
  vhost_session_clear_crypto (self);
  g_clear_pointer (&self->inflight, vhost_inflight_unref);
  g_clear_pointer (&self->memory, vhost_memory_unref);
  g_clear_pointer (&self->repeats, g_array_unref);
  g_clear_pointer (&self->inbox, vhost_session_inbox_unref);
  g_clear_error (&self->message_error);
  g_clear_error (&self->close_error);
  g_clear_object (&self->backend);
  g_clear_pointer (&self->context, g_main_context_unref);
  g_free (self->peer_name);
  g_free (self->peer_label);
  G_OBJECT_CLASS (vhost_session_parent_class)->finalize (object);
}

static void
vhost_session_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostSession *self = VHOST_SESSION (object);

  switch (id)
    {
    case VHOST_SESSION_PROP_BACKEND:
      g_value_set_object (value, self->backend);
      break;
    case VHOST_SESSION_PROP_PEER_PID:
      g_value_set_int (value, self->peer_pid);
      break;
    case VHOST_SESSION_PROP_PEER_UID:
      g_value_set_int (value, self->peer_uid);
      break;
    case VHOST_SESSION_PROP_PEER_NAME:
      g_value_set_string (value, self->peer_name);
      break;
    case VHOST_SESSION_PROP_FEATURES:
      g_value_set_uint64 (value, self->features);
      break;
    case VHOST_SESSION_PROP_PROTOCOL_FEATURES:
      g_value_set_uint64 (value, self->protocol_features);
      break;
    case VHOST_SESSION_PROP_STATUS:
      g_value_set_uint (value, vhost_session_get_status (self));
      break;
    case VHOST_SESSION_PROP_N_QUEUES:
      g_value_set_uint (value, self->n_vrings);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_session_class_init (VhostSessionClass *klass)
{
  const GParamFlags flags = G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->finalize = vhost_session_finalize;
  object_class->get_property = vhost_session_get_property;

  /**
   * VhostSession:backend:
   *
   * The device that serves this front-end.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_BACKEND] = g_param_spec_object (
      "backend", "Back-end", "Device that serves this front-end", VHOST_TYPE_BACKEND, flags);
  /**
   * VhostSession:peer-pid:
   *
   * Process id of the front-end when it connected, or -1.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_PEER_PID] = g_param_spec_int (
      "peer-pid", "Peer process", "Process id of the front-end", -1, G_MAXINT, -1, flags);
  /**
   * VhostSession:peer-uid:
   *
   * User id of the front-end when it connected, or -1.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_PEER_UID] = g_param_spec_int (
      "peer-uid", "Peer user", "User id of the front-end", G_MININT, G_MAXINT, -1, flags);
  /**
   * VhostSession:peer-name:
   *
   * Command name of the front-end's process, for people to read; %NULL when it could not be found.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_PEER_NAME] = g_param_spec_string (
      "peer-name", "Peer name", "Command name of the front-end", NULL, flags);
  /**
   * VhostSession:features:
   *
   * VIRTIO feature bits that the front-end accepted.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_FEATURES] = g_param_spec_uint64 (
      "features", "Features", "VIRTIO feature bits that were accepted", 0, G_MAXUINT64, 0, flags);
  /**
   * VhostSession:protocol-features:
   *
   * vhost-user protocol feature bits that the front-end accepted.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_PROTOCOL_FEATURES]
      = g_param_spec_uint64 ("protocol-features", "Protocol features",
                             "Protocol feature bits that were accepted", 0, G_MAXUINT64, 0, flags);
  /**
   * VhostSession:status:
   *
   * VIRTIO device status; 64 is among it while a ring is broken.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_STATUS]
      = g_param_spec_uint ("status", "Status", "VIRTIO device status", 0, 255, 0, flags);
  /**
   * VhostSession:n-queues:
   *
   * Number of queues of the device.
   *
   * Since: 0.1
   */
  properties[VHOST_SESSION_PROP_N_QUEUES] = g_param_spec_uint (
      "n-queues", "Queues", "Number of queues", 0, VHOST_WIRE_MAX_QUEUES, 0, flags);
  g_object_class_install_properties (object_class, VHOST_SESSION_N_PROPS, properties);

  /**
   * VhostSession::queue-broken:
   * @self: the session
   * @queue: the queue
   * @message: what the driver did
   *
   * The driver broke a rule of the ring: the queue takes nothing more until the driver sets it up
   * again. Everything else goes on.
   *
   * Thread: control.
   *
   * Since: 0.1
   */
  g_signal_new ("queue-broken", VHOST_TYPE_SESSION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                G_TYPE_NONE, 2, VHOST_TYPE_QUEUE, G_TYPE_STRING);

  /**
   * VhostSession::message:
   * @self: the session
   * @request: number of the message
   * @flags: flags of its header; bit 3: an answer is asked for
   * @payload: what came with it
   * @fds: file descriptors that came with it
   *
   * A message arrived that the specification does not know, an extension perhaps that this program
   * and its front-end have agreed on. A handler that knows it returns %TRUE; before that it may
   * answer with vhost_session_reply_message(). Without that, the library acknowledges the message
   * if the front-end asks for it, with 0 for one that was handled and 1 for one that was not.
   *
   * The payload has at most 2056 bytes, like every message. It comes from the front-end as it is
   * and must be checked.
   *
   * Thread: control.
   *
   * Returns: %TRUE when the message was handled; no other handler sees it then
   *
   * Since: 0.1
   */
  g_signal_new ("message", VHOST_TYPE_SESSION, G_SIGNAL_RUN_LAST, 0,
                g_signal_accumulator_true_handled, NULL, NULL, G_TYPE_BOOLEAN, 4, G_TYPE_UINT,
                G_TYPE_UINT, G_TYPE_BYTES, G_TYPE_UNIX_FD_LIST);
}

static void
vhost_session_init (VhostSession *self)
{
  self->peer_pid = self->peer_uid = -1;
  self->log_fd = -1;
}

/* Who is at the other end. A command name is the peer's to choose, so it is made fit to print. */
static void
identify_peer (VhostSession *self, int fd)
{
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  g_autofree char *path = NULL;
  g_autofree char *comm = NULL;

  if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 && credentials.pid > 0)
    {
      self->peer_pid = credentials.pid;
      self->peer_uid = (int) credentials.uid;
      path = g_strdup_printf ("/proc/%d/comm", credentials.pid);
      if (g_file_get_contents (path, &comm, NULL, NULL))
        {
          g_autofree char *valid = g_utf8_make_valid (g_strchomp (comm), -1);

          self->peer_name = g_strescape (valid, NULL);
        }
    }
  if (self->peer_pid > 0)
    self->peer_label = g_strdup_printf (
        "%s (pid %d)", self->peer_name != NULL ? self->peer_name : "front-end", self->peer_pid);
  else
    self->peer_label = g_strdup ("front-end");
}

/* ---- The end ---- */

/* The flags of a descriptor are its peer's too: who makes one blocking again and fills it has a
 * worker hang in its write. A counter at its limit says nothing to anybody, so it may be emptied;
 * any other is left alone, it may be a call that its driver has yet to see. */
static void
free_stuck_writer (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLOUT };

  if (fd < 0)
    return;
  vhost_fd_set_nonblocking (fd, NULL);
  if (poll (&pollfd, 1, 0) == 0)
    vhost_fd_drain (fd);
}

static void
free_stuck_workers (VhostSession *self)
{
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started)
      {
        free_stuck_writer (self->vrings[i].call_fd);
        free_stuck_writer (self->vrings[i].err_fd);
      }
  free_stuck_writer (self->log_fd);
}

/* Thread: control. */
static gboolean
drain_expired (gpointer data)
{
  VhostSession *self = data;

  clear_source (&self->drain_timer);
  if (!self->closing)
    {
      vhost_session_shutdown (
          self, 0,
          g_error_new (VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                       "the requests in flight did not end within %u ms of %s; the connection is "
                       "closed without an answer",
                       self->drain_timeout_ms, vhost_wire_name (self->current.request)));
      return G_SOURCE_REMOVE;
    }
  if (self->n_commands == 0)
    {
      vhost_session_close_now (self);
      return G_SOURCE_REMOVE;
    }
  free_stuck_workers (self);
  self->abandoned = TRUE;
  if (self->close_error == NULL)
    self->close_error = g_error_new (
        VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
        "requests were still in flight when the time to drain was over and were given up");
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started)
      vhost_session_abandon_vring (self, &self->vrings[i]);
  return G_SOURCE_REMOVE;
}

static void
set_drain_timer (VhostSession *self, guint milliseconds)
{
  clear_source (&self->drain_timer);
  self->drain_timer = g_timeout_source_new (milliseconds);
  g_source_set_static_name (self->drain_timer, "VhostSession drain");
  g_source_set_callback (self->drain_timer, drain_expired, self, NULL);
  g_source_attach (self->drain_timer, self->context);
}

void
vhost_session_arm_drain (VhostSession *self)
{
  if (!self->closing)
    set_drain_timer (self, self->drain_timeout_ms);
}

void
vhost_session_disarm_drain (VhostSession *self)
{
  if (!self->closing)
    clear_source (&self->drain_timer);
}

void
vhost_session_shutdown (VhostSession *self, guint drain_timeout_ms, GError *error)
{
  gint64 deadline = g_get_monotonic_time () + (gint64) drain_timeout_ms * 1000;

  if (self->closing)
    {
      g_clear_error (&error);
      if (!self->closed && !self->abandoned && deadline < self->close_deadline)
        {
          self->close_deadline = deadline;
          set_drain_timer (self, self->n_commands > 0 ? drain_timeout_ms : 0);
        }
      return;
    }
  vhost_debug (CONTROL, "%s: the session ends: %s", self->peer_label,
               error != NULL ? error->message : "the connection was closed");
  self->closing = TRUE;
  self->close_deadline = deadline;
  self->close_error = error;
  clear_source (&self->source);
  clear_source (&self->retry_timer);
  vhost_session_fail_postcopy (self); /* a worker may wait for a page */
  free_stuck_workers (self);
  for (guint i = 0; i < self->n_vrings; i++)
    if (self->vrings[i].started && !self->vrings[i].stopping)
      vhost_session_stop_vring (self, &self->vrings[i], FALSE);
  /* Also with nothing to wait for: the owner is told from the main loop, never from within its own
   * call. */
  set_drain_timer (self, self->n_commands > 0 ? drain_timeout_ms : 0);
}

/* Nothing is out at the workers any more. */
void
vhost_session_close_now (VhostSession *self)
{
  g_autoptr (GError) error = NULL;

  if (self->closed)
    return;
  self->closed = TRUE;
  self->busy = FALSE;
  clear_source (&self->drain_timer);
  clear_source (&self->inbox_source);
  for (guint i = 0; i < self->n_vrings; i++)
    {
      self->vrings[i].started = FALSE;
      vhost_fd_discard (&self->vrings[i].kick_fd);
      vhost_fd_discard (&self->vrings[i].call_fd);
      vhost_fd_discard (&self->vrings[i].err_fd);
    }
  self->n_started = 0;
  vhost_session_check_suspend (self);
  vhost_session_clear_transfer (self);
  vhost_backend_set_peer (self->backend, NULL, self);
  g_clear_pointer (&self->backend_channel, vhost_backend_channel_free);
  vhost_session_clear_postcopy (self);
  g_clear_pointer (&self->channel, vhost_channel_free);
  vhost_session_clear_iotlb (self);
  vhost_session_clear_log (self);
  g_clear_pointer (&self->inflight, vhost_inflight_unref);
  g_clear_pointer (&self->memory, vhost_memory_unref);
  g_clear_pointer (&self->repeats, g_array_unref);
  error = g_steal_pointer (&self->close_error);
  self->owner->closed (self, error, self->owner_data);
  g_object_unref (self); /* the session's own, from vhost_session_new_take_fd () */
}

/* ---- Private ---- */

void
vhost_session_notify (VhostSession *self, VhostSessionProperty property)
{
  g_object_notify_by_pspec (G_OBJECT (self), properties[property]);
}

VhostSession *
vhost_session_new_take_fd (int fd, VhostBackend *backend, VhostWorker **workers, guint n_workers,
                           guint drain_timeout_ms, gboolean seal_memory,
                           const VhostSessionOwner *owner, gpointer owner_data, GError **error)
{
  g_autoptr (VhostSession) self = g_object_new (VHOST_TYPE_SESSION, NULL);
  guint n_vrings = MIN (vhost_backend_get_num_queues (backend), VHOST_WIRE_MAX_QUEUES);

  self->backend = g_object_ref (backend);
  self->owner = owner;
  self->owner_data = owner_data;
  self->context = g_main_context_ref_thread_default ();
  self->drain_timeout_ms = drain_timeout_ms;
  self->seal_memory = seal_memory;
  identify_peer (self, fd);
  self->channel = vhost_channel_new_take_fd (fd);

  self->inbox = g_new0 (VhostSessionInbox, 1);
  atomic_init (&self->inbox->ref_count, 1);
  if (!vhost_mailbox_init (&self->inbox->mailbox, error))
    return NULL;
  if (!vhost_backend_set_peer (backend, &vhost_session_backend_peer, self))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                   "the device serves another front-end already; %s has to wait until that one has "
                   "gone",
                   self->peer_label);
      return NULL;
    }

  self->vrings = g_new0 (VhostSessionVring, n_vrings);
  self->n_vrings = n_vrings;
  for (guint i = 0; i < n_vrings; i++)
    {
      VhostSessionVring *vring = &self->vrings[i];

      vring->kick_fd = vring->call_fd = vring->err_fd = -1;
      vring->big_endian = G_BYTE_ORDER == G_BIG_ENDIAN;
      vring->enabled = vhost_session_starts_enabled (self);
      vring->worker = workers[i % n_workers];
      vring->queue = vhost_queue_new (i, vhost_backend_get_queue_size (backend),
                                      vhost_backend_get_chain_data_size (backend),
                                      &vhost_session_queue_hooks, self);
      vring->queue->backend = backend;
      vring->queue->user_data = self;
    }

  self->inbox_source = vhost_mailbox_create_source (&self->inbox->mailbox);
  g_source_attach (self->inbox_source, self->context);
  vhost_session_attach (self);
  vhost_debug (CONTROL, "%s: connected", self->peer_label);

  g_object_ref (self); /* its own, until vhost_session_close_now () */
  return g_steal_pointer (&self);
}

/* ---- Public ---- */

/**
 * vhost_session_get_backend:
 * @self: a session
 *
 * Thread: any.
 *
 * Returns: (transfer none): the device that serves this front-end
 *
 * Since: 0.1
 */
VhostBackend *
vhost_session_get_backend (VhostSession *self)
{
  return self->backend;
}

/**
 * vhost_session_get_peer_pid:
 * @self: a session
 *
 * Who connected, by the kernel's word. The process may have passed the connection on since.
 *
 * Thread: any.
 *
 * Returns: the front-end's process id, or -1
 *
 * Since: 0.1
 */
gint
vhost_session_get_peer_pid (VhostSession *self)
{
  return self->peer_pid;
}

/**
 * vhost_session_get_peer_uid:
 * @self: a session
 *
 * Thread: any.
 *
 * Returns: the front-end's user id, or -1
 *
 * Since: 0.1
 */
gint
vhost_session_get_peer_uid (VhostSession *self)
{
  return self->peer_uid;
}

/**
 * vhost_session_get_peer_name:
 * @self: a session
 *
 * The command name of the front-end's process, printable. The process chose it: it proves nothing.
 *
 * Thread: any.
 *
 * Returns: (transfer none) (nullable): the name, or %NULL when it could not be found
 *
 * Since: 0.1
 */
const char *
vhost_session_get_peer_name (VhostSession *self)
{
  return self->peer_name;
}

/**
 * vhost_session_get_features:
 * @self: a session
 *
 * Thread: control.
 *
 * Returns: the VIRTIO feature bits that the front-end accepted (SET_FEATURES)
 *
 * Since: 0.1
 */
guint64
vhost_session_get_features (VhostSession *self)
{
  return self->features;
}

/**
 * vhost_session_get_protocol_features:
 * @self: a session
 *
 * Thread: control.
 *
 * Returns: the protocol feature bits that the front-end accepted (SET_PROTOCOL_FEATURES)
 *
 * Since: 0.1
 */
guint64
vhost_session_get_protocol_features (VhostSession *self)
{
  return self->protocol_features;
}

/**
 * vhost_session_get_status:
 * @self: a session
 *
 * Thread: control.
 *
 * Returns: the VIRTIO device status as GET_STATUS answers it: what the front-end set, and 64 (the
 * device needs a reset) while a ring is broken
 *
 * Since: 0.1
 */
guint
vhost_session_get_status (VhostSession *self)
{
  return self->status | (self->needs_reset ? VHOST_SESSION_STATUS_NEEDS_RESET : 0);
}

/**
 * vhost_session_get_memory:
 * @self: a session
 *
 * The guest's memory as the front-end shares it now. A map never changes: hold a reference and it
 * stays what it was.
 *
 * Thread: control.
 *
 * Returns: (transfer none) (nullable): the map, or %NULL before the front-end has sent one and
 * after the end
 *
 * Since: 0.1
 */
VhostMemory *
vhost_session_get_memory (VhostSession *self)
{
  return self->memory;
}

/**
 * vhost_session_get_n_queues:
 * @self: a session
 *
 * Thread: any.
 *
 * Returns: how many queues the device has, started or not
 *
 * Since: 0.1
 */
guint
vhost_session_get_n_queues (VhostSession *self)
{
  return self->n_vrings;
}

/**
 * vhost_session_get_queue:
 * @self: a session
 * @index: number of the queue
 *
 * Thread: any.
 *
 * Returns: (transfer none) (nullable): the queue, which lives as long as the session; %NULL when
 * there is no such one
 *
 * Since: 0.1
 */
VhostQueue *
vhost_session_get_queue (VhostSession *self, guint index)
{
  return index < self->n_vrings ? self->vrings[index].queue : NULL;
}

/**
 * vhost_session_close:
 * @self: a session
 *
 * Ends the connection: no message is read any more, the rings stop, requests in flight get the
 * daemon's drain timeout to end. Returns at once; does nothing when the session ends already.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_session_close (VhostSession *self)
{
  if (self->channel != NULL)
    vhost_session_shutdown (self, self->drain_timeout_ms, NULL);
}

/**
 * vhost_session_reply_message:
 * @self: a session
 * @payload: at most 2056 bytes
 * @error: return location for an error, or %NULL
 *
 * Answers the message that a handler of #VhostSession::message is just looking at, in place of the
 * acknowledgement. At most once for each message.
 *
 * Thread: control.
 *
 * Returns: %TRUE when the answer is under way; %FALSE with #VHOST_ERROR_INVALID when no message
 * waits for one or @payload is too long
 *
 * Since: 0.1
 */
gboolean
vhost_session_reply_message (VhostSession *self, GBytes *payload, GError **error)
{
  gsize size;
  const void *data = g_bytes_get_data (payload, &size);

  if (!self->offered || self->replied || size > VHOST_WIRE_MAX_PAYLOAD)
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "%s: %" G_GSIZE_FORMAT " bytes cannot be sent as an answer: %s", self->peer_label, size,
          size > VHOST_WIRE_MAX_PAYLOAD
              ? "no message is that long"
              : "no message waits for one; answer from a handler of the signal \"message\"");
      return FALSE;
    }
  vhost_session_reply (self, data, (guint32) size);
  return TRUE;
}
