/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side of vhost-user: connects to any back-end, negotiates, asks the device. Must not
 * know the library's own back-end half: it speaks to what is on the other end of the socket, and
 * believes nothing of it. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 10000

/* What the queue driver cannot do (other ring layouts and orders, addresses behind an IOMMU), and
 * the log, which is switched on while a device runs, with a log in place. */
#define UNABLE_FEATURES                                                                            \
  (VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL) | VHOST_WIRE_BIT (VHOST_WIRE_F_ACCESS_PLATFORM)           \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED) | VHOST_WIRE_BIT (VHOST_WIRE_F_IN_ORDER))
/* XEN_MMAP gives memory regions another layout. */
#define ABLE_PROTOCOL_FEATURES                                                                     \
  ((VHOST_WIRE_BIT (VHOST_WIRE_N_PROTOCOL_BITS) - 1)                                               \
   & ~VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_XEN_MMAP))

enum
{
  PROP_TIMEOUT = 1,
  PROP_FEATURES,
  PROP_PROTOCOL_FEATURES,
  N_PROPERTIES,
};

enum
{
  CONFIG_CHANGED,
  BACKEND_MESSAGE,
  N_SIGNALS,
};

static GParamSpec *properties[N_PROPERTIES];
static guint signals[N_SIGNALS];

/**
 * VhostFrontend:
 *
 * The driver's side of vhost-user: connects to a back-end, negotiates, shares memory, drives
 * queues. For tests, load generators and tools, with no virtual machine and with any back-end.
 *
 * The calls, in order: vhost_frontend_connect (), vhost_frontend_negotiate (),
 * vhost_frontend_add_memory (), vhost_frontend_add_queue (), then the functions of
 * #VhostFrontendQueue. Every call that speaks to the back-end blocks, at most
 * #VhostFrontend:timeout. Where REPLY_ACK was negotiated, each message is acknowledged before its
 * function returns, and a refusal is #VHOST_ERROR_REFUSED; without it, a back-end can show its
 * dislike only by closing the connection (#VHOST_ERROR_DISCONNECTED, often at the message after).
 *
 * To misbehave there are vhost_frontend_send () and vhost_frontend_send_raw (), and the memory of
 * the rings.
 *
 * Memory and queues outlive a connection. After vhost_frontend_disconnect () and a new
 * vhost_frontend_connect () and vhost_frontend_negotiate (), vhost_frontend_restart_queue ()
 * carries a queue on where it was.
 *
 * Since: 0.1
 */
G_DEFINE_FINAL_TYPE (VhostFrontend, vhost_frontend, G_TYPE_OBJECT)

static void
vhost_frontend_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  switch (id)
    {
    case PROP_TIMEOUT:
      g_value_set_uint (value, self->timeout);
      break;
    case PROP_FEATURES:
      g_value_set_uint64 (value, self->features);
      break;
    case PROP_PROTOCOL_FEATURES:
      g_value_set_uint64 (value, self->protocol_features);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_frontend_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  switch (id)
    {
    case PROP_TIMEOUT:
      if (self->timeout != g_value_get_uint (value))
        {
          self->timeout = g_value_get_uint (value);
          g_object_notify_by_pspec (object, pspec);
        }
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_frontend_dispose (GObject *object)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  vhost_frontend_disconnect (self);
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      /* Someone may hold the queue longer than its memory lives. */
      if (self->queues[i] != NULL)
        vhost_frontend_queue_detach (self->queues[i]);
      g_clear_pointer (&self->queues[i], vhost_frontend_queue_unref);
    }
  vhost_frontend_memory_clear (self);

  G_OBJECT_CLASS (vhost_frontend_parent_class)->dispose (object);
}

static void
vhost_frontend_finalize (GObject *object)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  g_ptr_array_unref (self->regions);
  g_ptr_array_unref (self->removed);
  g_mutex_clear (&self->memory_lock);

  G_OBJECT_CLASS (vhost_frontend_parent_class)->finalize (object);
}

static void
vhost_frontend_class_init (VhostFrontendClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->get_property = vhost_frontend_get_property;
  object_class->set_property = vhost_frontend_set_property;
  object_class->dispose = vhost_frontend_dispose;
  object_class->finalize = vhost_frontend_finalize;

  /**
   * VhostFrontend:timeout:
   *
   * How long a call waits for the back-end, in milliseconds.
   *
   * Since: 0.1
   */
  properties[PROP_TIMEOUT] = g_param_spec_uint (
      "timeout", "Timeout", "Longest wait for the back-end, in milliseconds", 1, G_MAXINT,
      DEFAULT_TIMEOUT_MS, G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:features:
   *
   * The VIRTIO feature bits that were negotiated.
   *
   * Since: 0.1
   */
  properties[PROP_FEATURES] = g_param_spec_uint64 (
      "features", "Features", "Negotiated VIRTIO feature bits", 0, G_MAXUINT64, 0,
      G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:protocol-features:
   *
   * The vhost-user protocol feature bits that were negotiated.
   *
   * Since: 0.1
   */
  properties[PROP_PROTOCOL_FEATURES] = g_param_spec_uint64 (
      "protocol-features", "Protocol features", "Negotiated vhost-user protocol feature bits", 0,
      G_MAXUINT64, 0, G_PARAM_READABLE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties (object_class, N_PROPERTIES, properties);

  /**
   * VhostFrontend::config-changed:
   * @self: the front-end
   *
   * The back-end says that its configuration space changed. Emitted by
   * vhost_frontend_process_backend_messages ().
   *
   * Thread: control.
   *
   * Since: 0.1
   */
  signals[CONFIG_CHANGED] = g_signal_new ("config-changed", VHOST_TYPE_FRONTEND, G_SIGNAL_RUN_LAST,
                                          0, NULL, NULL, NULL, G_TYPE_NONE, 0);
  /**
   * VhostFrontend::backend-message:
   * @self: the front-end
   * @request: the message's code
   *
   * A request of the back-end came. Emitted by vhost_frontend_process_backend_messages (), before
   * the answer.
   *
   * Thread: control.
   *
   * Since: 0.1
   */
  signals[BACKEND_MESSAGE]
      = g_signal_new ("backend-message", VHOST_TYPE_FRONTEND, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                      NULL, G_TYPE_NONE, 1, G_TYPE_UINT);
}

static void
vhost_frontend_init (VhostFrontend *self)
{
  self->timeout = DEFAULT_TIMEOUT_MS;
  self->max_queues = 1;
  self->max_memory_slots = VHOST_WIRE_MAX_REGIONS;
  vhost_frontend_memory_init (self);
}

void
vhost_frontend_emit_backend_message (VhostFrontend *self, guint32 request)
{
  if (request == VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG)
    g_signal_emit (self, signals[CONFIG_CHANGED], 0);
  g_signal_emit (self, signals[BACKEND_MESSAGE], 0, request);
}

static void
set_features (VhostFrontend *self, guint64 features)
{
  if (self->features != features)
    {
      self->features = features;
      g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_FEATURES]);
    }
}

static void
set_protocol_features (VhostFrontend *self, guint64 features)
{
  if (self->protocol_features != features)
    {
      self->protocol_features = features;
      g_object_notify_by_pspec (G_OBJECT (self), properties[PROP_PROTOCOL_FEATURES]);
    }
}

/**
 * vhost_frontend_new:
 *
 * Makes a front-end that is not connected.
 *
 * Thread: any.
 *
 * Returns: (transfer full): a new #VhostFrontend
 *
 * Since: 0.1
 */
VhostFrontend *
vhost_frontend_new (void)
{
  return g_object_new (VHOST_TYPE_FRONTEND, NULL);
}

static gboolean
check_unconnected (VhostFrontend *self, GError **error)
{
  if (self->channel == NULL)
    return TRUE;

  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BUSY,
                       "already connected to a back-end: disconnect first");
  return FALSE;
}

static void
set_connect_error (GError **error, const char *socket_path, int code, guint timeout)
{
  switch (code)
    {
    case ENOENT:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "cannot connect to '%s': there is no such socket; is the back-end running?",
                   socket_path);
      break;
    case ECONNREFUSED:
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_SOCKET,
          "cannot connect to '%s': nobody listens there; a back-end that has ended left it "
          "behind, so start it again",
          socket_path);
      break;
    case EACCES:
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_SOCKET,
          "cannot connect to '%s': permission denied; write access to the socket is needed",
          socket_path);
      break;
    case EAGAIN:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT,
                   "cannot connect to '%s': the back-end took no connection for %u ms; is it busy "
                   "with another front-end?",
                   socket_path, timeout);
      break;
    default:
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot connect to '%s': %s",
                   socket_path, g_strerror (code));
    }
}

/**
 * vhost_frontend_connect:
 * @self: a front-end
 * @socket_path: (type filename): path of the back-end's Unix socket
 * @error: return location for an error
 *
 * Connects to a back-end that listens. No message is sent yet.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_SOCKET, #VHOST_ERROR_TIMED_OUT (the back-end
 * does not accept), or #VHOST_ERROR_BUSY (connected already)
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_connect (VhostFrontend *self, const char *socket_path, GError **error)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct timeval timeout;
  int fd;
  int result;
  int saved_errno;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);
  g_return_val_if_fail (socket_path != NULL, FALSE);

  if (!check_unconnected (self, error))
    return FALSE;
  if (strlen (socket_path) >= sizeof address.sun_path)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the socket path '%s' has %zu bytes; a Unix socket's has at most %zu",
                   socket_path, strlen (socket_path), sizeof address.sun_path - 1);
      return FALSE;
    }
  strcpy (address.sun_path, socket_path);

  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    {
      saved_errno = errno;
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET, "cannot make a socket: %s",
                   g_strerror (saved_errno));
      return FALSE;
    }

  /* connect () waits while the listener's backlog is full; the send timeout bounds that. */
  timeout.tv_sec = self->timeout / 1000;
  timeout.tv_usec = self->timeout % 1000 * 1000;
  setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  do
    result = connect (fd, (struct sockaddr *) &address, sizeof address);
  while (result != 0 && errno == EINTR);
  if (result != 0)
    {
      saved_errno = errno;
      close (fd);
      set_connect_error (error, socket_path, saved_errno, self->timeout);
      return FALSE;
    }

  self->channel = vhost_channel_new_take_fd (fd);
  return TRUE;
}

/**
 * vhost_frontend_connect_take_fd:
 * @self: a front-end
 * @fd: a connected stream socket; it is taken over, and closed when this fails
 * @error: return location for an error
 *
 * Uses a connection that exists: one end of a pair of sockets, or one that was accepted from a
 * back-end that connects.
 *
 * Thread: control.
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_SOCKET (no stream socket) or
 * #VHOST_ERROR_BUSY (connected already)
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_connect_take_fd (VhostFrontend *self, int fd, GError **error)
{
  int type = 0;
  socklen_t length = sizeof type;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (!check_unconnected (self, error))
    {
      vhost_fd_clear (&fd);
      return FALSE;
    }
  if (getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_SOCKET,
                   "descriptor %d is no stream socket: vhost-user needs a connected one", fd);
      vhost_fd_clear (&fd);
      return FALSE;
    }

  self->channel = vhost_channel_new_take_fd (fd);
  return TRUE;
}

/**
 * vhost_frontend_disconnect:
 * @self: a front-end
 *
 * Closes the connection and the back-end channel, without a word to the back-end. What was
 * negotiated is forgotten; memory and queues stay. Does nothing when not connected.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_frontend_disconnect (VhostFrontend *self)
{
  g_return_if_fail (VHOST_IS_FRONTEND (self));

  g_clear_pointer (&self->channel, vhost_channel_free);
  g_clear_pointer (&self->backend_channel, vhost_channel_free);
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      if (self->queues[i] != NULL)
        vhost_frontend_queue_disconnected (self->queues[i]);
    }
  self->offered_features = 0;
  self->offered_protocol_features = 0;
  self->max_queues = 1;
  self->max_memory_slots = VHOST_WIRE_MAX_REGIONS;
  set_features (self, 0);
  set_protocol_features (self, 0);
}

/**
 * vhost_frontend_is_connected:
 * @self: a front-end
 *
 * Whether there is a connection and the back-end has not closed it. Looks at the socket, reads
 * nothing.
 *
 * Thread: control.
 *
 * Returns: %TRUE when connected
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_is_connected (VhostFrontend *self)
{
  struct pollfd pollfd = { .events = POLLRDHUP };

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  if (self->channel == NULL)
    return FALSE;
  pollfd.fd = vhost_channel_get_fd (self->channel);
  return poll (&pollfd, 1, 0) <= 0
         || (pollfd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0;
}

/**
 * vhost_frontend_get_fd:
 * @self: a front-end
 *
 * The connection's socket, to watch it. Reading from it takes messages away from the other
 * functions.
 *
 * Thread: control.
 *
 * Returns: a descriptor that belongs to @self, -1 when not connected
 *
 * Since: 0.1
 */
int
vhost_frontend_get_fd (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  return self->channel != NULL ? vhost_channel_get_fd (self->channel) : -1;
}

/**
 * vhost_frontend_get_peer_pid:
 * @self: a front-end
 *
 * The process that listened, or made the pair of sockets; it need not be the one that serves now.
 *
 * Thread: control.
 *
 * Returns: a process id; 0 when it is unknown (not connected, another pid namespace)
 *
 * Since: 0.1
 */
gint
vhost_frontend_get_peer_pid (VhostFrontend *self)
{
  struct ucred peer = { 0 };
  socklen_t length = sizeof peer;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  if (self->channel == NULL
      || getsockopt (vhost_channel_get_fd (self->channel), SOL_SOCKET, SO_PEERCRED, &peer, &length)
             != 0)
    return 0;
  return peer.pid;
}

/* GET_PROTOCOL_FEATURES and what the bits taken from it open. */
static gboolean
negotiate_protocol (VhostFrontend *self, guint64 wanted, GError **error)
{
  guint64 features;
  guint64 value;

  if (!vhost_frontend_get_u64 (self, VHOST_WIRE_GET_PROTOCOL_FEATURES,
                               &self->offered_protocol_features, error))
    return FALSE;
  features = wanted & self->offered_protocol_features & ABLE_PROTOCOL_FEATURES;
  /* Bit 20 may only come with 12. */
  if ((features & VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_INFLIGHT_SHMFD)) == 0)
    features &= ~VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_GET_VRING_BASE_INFLIGHT);
  if (!vhost_frontend_set (self, VHOST_WIRE_SET_PROTOCOL_FEATURES, &features, sizeof features, NULL,
                           0, error, "0x%" G_GINT64_MODIFIER "x", features))
    return FALSE;
  set_protocol_features (self, features);

  if (vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_MQ))
    {
      if (!vhost_frontend_get_u64 (self, VHOST_WIRE_GET_QUEUE_NUM, &value, error))
        return FALSE;
      self->max_queues = (guint) MIN (value, G_MAXUINT);
    }
  if (vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS)
      && !vhost_frontend_get_u64 (self, VHOST_WIRE_GET_MAX_MEM_SLOTS, &self->max_memory_slots,
                                  error))
    return FALSE;
  return !vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_BACKEND_REQ)
         || vhost_frontend_open_backend_channel (self, error);
}

/**
 * vhost_frontend_negotiate:
 * @self: a connected front-end
 * @wanted_features: VIRTIO feature bits to take where offered; %G_MAXUINT64 for all
 * @wanted_protocol_features: vhost-user protocol feature bits to take where offered
 * @error: return location for an error
 *
 * Negotiates with the back-end: GET_FEATURES, then, where PROTOCOL_FEATURES (bit 30) is offered,
 * the protocol features, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS and the back-end channel as these allow,
 * then SET_OWNER and SET_FEATURES. Memory of an earlier connection is sent last.
 *
 * Bit 30 is taken whenever it is offered. Never taken is what this driver does not do: packed
 * rings, IN_ORDER, ACCESS_PLATFORM (IOMMU), XEN_MMAP; and LOG_ALL, which is for vhost_frontend_send
 * () once a log is set.
 *
 * Thread: control. Specification: "Communication", "Protocol features".
 *
 * Returns: %TRUE on success
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_negotiate (VhostFrontend *self, guint64 wanted_features,
                          guint64 wanted_protocol_features, GError **error)
{
  guint64 features;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  /* Until the bits are agreed anew nothing may be acknowledged by an old one. */
  set_protocol_features (self, 0);
  if (!vhost_frontend_get_u64 (self, VHOST_WIRE_GET_FEATURES, &self->offered_features, error))
    return FALSE;
  features
      = self->offered_features
        & ((wanted_features & ~UNABLE_FEATURES) | VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES));
  if ((features & VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES)) != 0
      && !negotiate_protocol (self, wanted_protocol_features, error))
    return FALSE;

  if (!vhost_frontend_set (self, VHOST_WIRE_SET_OWNER, NULL, 0, NULL, 0, error, "no arguments")
      || !vhost_frontend_set (self, VHOST_WIRE_SET_FEATURES, &features, sizeof features, NULL, 0,
                              error, "0x%" G_GINT64_MODIFIER "x", features))
    return FALSE;
  set_features (self, features);
  return vhost_frontend_memory_replay (self, error);
}

/**
 * vhost_frontend_get_offered_features:
 * @self: a front-end
 *
 * The VIRTIO feature bits that the back-end offers.
 *
 * Thread: control.
 *
 * Returns: the bits; 0 before vhost_frontend_negotiate ()
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_offered_features (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->offered_features;
}

/**
 * vhost_frontend_get_offered_protocol_features:
 * @self: a front-end
 *
 * The vhost-user protocol feature bits that the back-end offers.
 *
 * Thread: control.
 *
 * Returns: the bits; 0 before vhost_frontend_negotiate ()
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_offered_protocol_features (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->offered_protocol_features;
}

/**
 * vhost_frontend_get_features:
 * @self: a front-end
 *
 * The VIRTIO feature bits in use.
 *
 * Thread: control.
 *
 * Returns: the bits; 0 before vhost_frontend_negotiate ()
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_features (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->features;
}

/**
 * vhost_frontend_get_protocol_features:
 * @self: a front-end
 *
 * The vhost-user protocol feature bits in use.
 *
 * Thread: control.
 *
 * Returns: the bits; 0 before vhost_frontend_negotiate ()
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_protocol_features (VhostFrontend *self)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  return self->protocol_features;
}
