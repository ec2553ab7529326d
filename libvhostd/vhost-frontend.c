/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side of vhost-user: connects to any back-end, negotiates, asks the device. Must not
 * know the library's own back-end half: it speaks to what is on the other end of the socket, and
 * believes nothing of it. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <poll.h>
#include <sys/socket.h>

#define DEFAULT_TIMEOUT_MS 10000

/* The log is switched on while a device runs, with a log in place. */
#define UNABLE_FEATURES VHOST_WIRE_BIT (VHOST_WIRE_F_LOG_ALL)
/* They ask something of the caller, or change what ring memory looks like: only by name. */
#define SPECIAL_FEATURES                                                                           \
  (VHOST_WIRE_BIT (VHOST_WIRE_F_ACCESS_PLATFORM) | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED)       \
   | VHOST_WIRE_BIT (VHOST_WIRE_F_IN_ORDER))
/* XEN_MMAP gives memory regions another layout. */
#define ABLE_PROTOCOL_FEATURES                                                                     \
  ((VHOST_WIRE_BIT (VHOST_WIRE_N_PROTOCOL_BITS) - 1)                                               \
   & ~VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_XEN_MMAP))

enum
{
  PROP_TIMEOUT = 1,
  PROP_FEATURES,
  PROP_PROTOCOL_FEATURES,
  PROP_KICK_MODE,
  PROP_CALL_MODE,
  PROP_INFLIGHT,
  PROP_IOVA_OFFSET,
  PROP_IOTLB_LAZY,
  PROP_ITERATE_CONTEXT,
  N_PROPERTIES,
};

enum
{
  CONFIG_CHANGED,
  BACKEND_MESSAGE,
  BACKEND_REQUEST,
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
 * Memory and queues outlive a connection. After vhost_frontend_close () and a new
 * vhost_frontend_connect (), vhost_frontend_resume () tells the new back-end all that the old one
 * knew, and queues go on where they were.
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
    case PROP_KICK_MODE:
      g_value_set_enum (value, self->kick_mode);
      break;
    case PROP_CALL_MODE:
      g_value_set_enum (value, self->call_mode);
      break;
    case PROP_INFLIGHT:
      g_value_set_boolean (value, self->use_inflight);
      break;
    case PROP_IOVA_OFFSET:
      g_value_set_uint64 (value, self->iova_offset);
      break;
    case PROP_IOTLB_LAZY:
      g_value_set_boolean (value, self->iotlb_lazy);
      break;
    case PROP_ITERATE_CONTEXT:
      g_value_set_boolean (value, self->iterate_context);
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
    case PROP_KICK_MODE:
      self->kick_mode = g_value_get_enum (value);
      break;
    case PROP_CALL_MODE:
      self->call_mode = g_value_get_enum (value);
      break;
    case PROP_INFLIGHT:
      self->use_inflight = g_value_get_boolean (value);
      break;
    case PROP_IOVA_OFFSET:
      self->iova_offset = g_value_get_uint64 (value);
      break;
    case PROP_IOTLB_LAZY:
      self->iotlb_lazy = g_value_get_boolean (value);
      break;
    case PROP_ITERATE_CONTEXT:
      self->iterate_context = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_frontend_dispose (GObject *object)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  vhost_frontend_close (self);
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      /* Someone may hold the queue longer than its memory lives. */
      if (self->queues[i] != NULL)
        vhost_frontend_queue_detach (self->queues[i]);
      g_clear_pointer (&self->queues[i], vhost_frontend_queue_unref);
    }
  vhost_frontend_memory_clear (self);
  vhost_frontend_inflight_clear (self);
  vhost_frontend_log_clear (self);
  vhost_fd_clear (&self->log_event_fd);

  G_OBJECT_CLASS (vhost_frontend_parent_class)->dispose (object);
}

static void
vhost_frontend_finalize (GObject *object)
{
  VhostFrontend *self = VHOST_FRONTEND (object);

  g_ptr_array_unref (self->regions);
  g_ptr_array_unref (self->removed);
  g_array_unref (self->mappings);
  g_mutex_clear (&self->memory_lock);

  G_OBJECT_CLASS (vhost_frontend_parent_class)->finalize (object);
}

/* The signal's answer when no handler has one. */
static int
leave_request (VhostFrontend *self, guint request, GBytes *payload, int fd)
{
  return -1;
}

static gboolean
stop_at_answer (GSignalInvocationHint *hint, GValue *result, const GValue *answer, gpointer data)
{
  g_value_set_int (result, MAX (g_value_get_int (answer), -1));
  return g_value_get_int (answer) < 0;
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
  /**
   * VhostFrontend:kick-mode:
   *
   * How the device is notified. Queues take it over when they start; in-band kicks are sent by the
   * thread that kicks, which has to be the control thread.
   *
   * Since: 0.1
   */
  properties[PROP_KICK_MODE] = g_param_spec_enum (
      "kick-mode", "Kick mode", "How the device is notified", VHOST_TYPE_FRONTEND_NOTIFY,
      VHOST_FRONTEND_NOTIFY_EVENTFD, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:call-mode:
   *
   * How the device calls. Queues take it over when they start.
   *
   * Since: 0.1
   */
  properties[PROP_CALL_MODE] = g_param_spec_enum (
      "call-mode", "Call mode", "How the device calls", VHOST_TYPE_FRONTEND_NOTIFY,
      VHOST_FRONTEND_NOTIFY_EVENTFD, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:inflight:
   *
   * Whether the area of in-flight requests is fetched and given back where INFLIGHT_SHMFD was
   * negotiated.
   *
   * Since: 0.1
   */
  properties[PROP_INFLIGHT]
      = g_param_spec_boolean ("inflight", "In-flight", "Whether requests in flight are tracked",
                              TRUE, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:iova-offset:
   *
   * With ACCESS_PLATFORM: what is added to a guest address to make the IO virtual address of rings
   * and indirect tables. Queues take it over when they start.
   *
   * Since: 0.1
   */
  properties[PROP_IOVA_OFFSET] = g_param_spec_uint64 (
      "iova-offset", "IOVA offset", "From guest addresses to IO virtual addresses", 0, G_MAXUINT64,
      0, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:iotlb-lazy:
   *
   * Whether the back-end is told of entries only when it misses them.
   *
   * Since: 0.1
   */
  properties[PROP_IOTLB_LAZY] = g_param_spec_boolean (
      "iotlb-lazy", "Lazy IOTLB", "Whether entries are sent only when missed", FALSE,
      G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  /**
   * VhostFrontend:iterate-context:
   *
   * Whether a call that waits for the back-end iterates the thread-default main context meanwhile,
   * so that a back-end in the same thread can answer, and timeouts go off.
   *
   * Handlers that run then may disconnect, and may drive queues; a call that waits for an answer
   * gives #VHOST_ERROR_BUSY there. The caller holds a reference to the front-end. A source that is
   * being dispatched does not run again inside itself: what waits inside of the back-end's own
   * handler waits in vain.
   *
   * Since: 0.1
   */
  properties[PROP_ITERATE_CONTEXT] = g_param_spec_boolean (
      "iterate-context", "Iterate context", "Whether waiting runs the main context", FALSE,
      G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
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
  /**
   * VhostFrontend::backend-request:
   * @self: the front-end
   * @request: the message's code
   * @payload: what came with it
   * @fd: the descriptor that came with it, which belongs to the message; -1: none
   *
   * A well-formed request of the back-end wants to be served. Emitted by
   * vhost_frontend_process_backend_messages (), after #VhostFrontend::backend-message. For a
   * descriptor in the answer see vhost_frontend_take_answer_fd ().
   *
   * Thread: control.
   *
   * Returns: what to answer, 0 for success; -1 leaves it to the next handler and at last to the
   * front-end itself
   *
   * Since: 0.1
   */
  signals[BACKEND_REQUEST] = g_signal_new_class_handler (
      "backend-request", VHOST_TYPE_FRONTEND, G_SIGNAL_RUN_LAST, G_CALLBACK (leave_request),
      stop_at_answer, NULL, NULL, G_TYPE_INT, 3, G_TYPE_UINT, G_TYPE_BYTES, G_TYPE_INT);
}

static void
vhost_frontend_init (VhostFrontend *self)
{
  self->timeout = DEFAULT_TIMEOUT_MS;
  self->max_queues = 1;
  self->max_memory_slots = VHOST_WIRE_MAX_REGIONS;
  self->session_status = -1;
  self->use_inflight = TRUE;
  self->inflight.fd = -1;
  self->log.fd = -1;
  self->log_event_fd = -1;
  self->answer_fd = -1;
  self->mappings = g_array_new (FALSE, FALSE, sizeof (VhostFrontendMapping));
  vhost_frontend_memory_init (self);
}

int
vhost_frontend_emit_backend_request (VhostFrontend *self, guint32 request, gconstpointer payload,
                                     gsize size, int fd, gboolean well_formed)
{
  VhostChannel *channel = self->backend_channel;
  g_autoptr (GBytes) bytes = NULL;
  int answer = -1;

  /* The message does not live longer than its channel. */
  bytes = g_bytes_new (payload, size);
  if (request == VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG)
    g_signal_emit (self, signals[CONFIG_CHANGED], 0);
  g_signal_emit (self, signals[BACKEND_MESSAGE], 0, request);
  if (well_formed && self->backend_channel == channel)
    g_signal_emit (self, signals[BACKEND_REQUEST], 0, request, bytes, fd, &answer);
  return answer;
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

/**
 * vhost_frontend_close:
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
vhost_frontend_close (VhostFrontend *self)
{
  g_return_if_fail (VHOST_IS_FRONTEND (self));

  self->n_disconnects++;
  g_clear_pointer (&self->channel, vhost_channel_free);
  g_clear_pointer (&self->backend_channel, vhost_channel_free);
  for (guint i = 0; i < G_N_ELEMENTS (self->queues); i++)
    {
      if (self->queues[i] != NULL)
        vhost_frontend_queue_disconnected (self->queues[i]);
    }
  self->inflight.sent = self->inflight.none = FALSE;
  self->listening = FALSE;
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

gboolean
vhost_frontend_change_features (VhostFrontend *self, guint64 features, GError **error)
{
  if (!vhost_frontend_set (self, VHOST_WIRE_SET_FEATURES, &features, sizeof features, NULL, 0,
                           error, "0x%" G_GINT64_MODIFIER "x", features))
    return FALSE;
  set_features (self, features);
  return TRUE;
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
 * Bit 30 is taken whenever it is offered. %G_MAXUINT64 leaves out what asks something of the caller
 * or changes the look of ring memory: ACCESS_PLATFORM (IOMMU), RING_PACKED, IN_ORDER are taken when
 * other bits name them. Never taken are XEN_MMAP, which this driver does not do, and LOG_ALL, which
 * vhost_frontend_start_log () switches on.
 *
 * Thread: control. Specification: "Communication", "Protocol features".
 *
 * Returns: %TRUE on success, or failure with a %VHOST_ERROR: of the connection, or what the other
 * end refused
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_negotiate (VhostFrontend *self, guint64 wanted_features,
                          guint64 wanted_protocol_features, GError **error)
{
  const guint64 unable = UNABLE_FEATURES | (wanted_features == G_MAXUINT64 ? SPECIAL_FEATURES : 0);
  guint64 features;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  /* Until the bits are agreed anew nothing may be acknowledged by an old one. */
  set_protocol_features (self, 0);
  if (!vhost_frontend_get_u64 (self, VHOST_WIRE_GET_FEATURES, &self->offered_features, error))
    return FALSE;
  features = self->offered_features
             & ((wanted_features & ~unable) | VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES));
  if ((features & VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES)) != 0
      && !negotiate_protocol (self, wanted_protocol_features, error))
    return FALSE;

  if (!vhost_frontend_set (self, VHOST_WIRE_SET_OWNER, NULL, 0, NULL, 0, error, "no arguments")
      || !vhost_frontend_change_features (self, features, error))
    return FALSE;
  self->negotiated = TRUE;
  self->session_features = features;
  self->session_protocol_features = self->protocol_features;
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
