/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way from the device to its front-end. Must never wait for an answer (B1): a front-end may
 * answer only after it has asked something on the main socket, which this same thread serves.
 *
 * How it works: a source reads and forgets answers. While output waits because the other end does
 * not read, a further change is only remembered and goes out once when there is room: what the
 * front-end must know is that something changed, not how often. So an unread socket costs one
 * message, not one per change. */
#include "config.h"

#include "vhost-backend-channel-private.h"

#include "vhost-channel-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-trace-private.h"

#include <sys/socket.h>

/* Answers that are read in one dispatch of the context. */
#define ANSWERS_PER_DISPATCH 16

struct _VhostBackendChannel
{
  VhostChannel *channel; /* (owned) */
  GSource *source;       /* (owned) (nullable): NULL once the channel is broken */
  gpointer tag;
  gboolean reply_ack;
  gboolean pending; /* a change that could not be sent yet */
};

typedef struct
{
  GSource source;
  VhostBackendChannel *self; /* (unowned): destroys the source before it goes */
} VhostBackendChannelSource;

static void
stop (VhostBackendChannel *self)
{
  if (self->source == NULL)
    return;
  g_source_destroy (self->source);
  g_clear_pointer (&self->source, g_source_unref);
}

static gboolean
send_config_change (VhostBackendChannel *self, GError **error)
{
  guint32 flags = VHOST_WIRE_VERSION | (self->reply_ack ? VHOST_WIRE_FLAG_NEED_REPLY : 0);

  self->pending = FALSE;
  if (!vhost_channel_send (self->channel, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, flags, NULL, 0,
                           NULL, 0, error))
    {
      stop (self);
      return FALSE;
    }
  return TRUE;
}

static void
update_source (VhostBackendChannel *self)
{
  if (self->source != NULL)
    g_source_modify_unix_fd (self->source, self->tag,
                             G_IO_IN | (vhost_channel_wants_write (self->channel) ? G_IO_OUT : 0));
}

/* FALSE: nothing more to read now, or ever. */
static gboolean
read_answer (VhostBackendChannel *self)
{
  VhostMessage *message = NULL;
  g_autoptr (GError) error = NULL;

  switch (vhost_channel_receive (self->channel, &message, &error))
    {
    case VHOST_CHANNEL_MESSAGE:
      for (guint i = 0; i < message->n_fds; i++)
        {
          int fd = vhost_message_steal_fd (message, i);

          vhost_fd_clear (&fd);
        }
      if ((message->header.flags & VHOST_WIRE_FLAG_REPLY) == 0)
        vhost_debug (CONTROL, "the front-end sent a request (%u) on the back-end's channel",
                     message->header.request);
      else if (message->payload.u64 != 0)
        vhost_debug (CONTROL, "the front-end answers 0x%" G_GINT64_MODIFIER "x to request %u",
                     message->payload.u64, message->header.request);
      return TRUE;
    case VHOST_CHANNEL_CLOSED:
    case VHOST_CHANNEL_ERROR:
      vhost_debug (CONTROL, "the back-end's channel has ended: %s",
                   error != NULL ? error->message : "the front-end closed it");
      stop (self);
      return FALSE;
    case VHOST_CHANNEL_AGAIN:
    default:
      return FALSE;
    }
}

/* Thread: control. */
static gboolean
dispatch (GSource *source, GSourceFunc callback, gpointer data)
{
  VhostBackendChannel *self = ((VhostBackendChannelSource *) source)->self;
  g_autoptr (GError) error = NULL;

  if (vhost_channel_wants_write (self->channel) && !vhost_channel_flush (self->channel, &error))
    {
      vhost_debug (CONTROL, "the back-end's channel has ended: %s", error->message);
      stop (self);
      return G_SOURCE_CONTINUE;
    }
  for (guint i = 0; i < ANSWERS_PER_DISPATCH; i++)
    if (!read_answer (self))
      break;
  if (self->source != NULL && self->pending && !vhost_channel_wants_write (self->channel)
      && !send_config_change (self, &error))
    vhost_debug (CONTROL, "the back-end's channel has ended: %s", error->message);
  update_source (self);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .dispatch = dispatch };

VhostBackendChannel *
vhost_backend_channel_new_take_fd (int fd, gboolean reply_ack, GMainContext *context,
                                   GError **error)
{
  VhostFdKind kind = vhost_fd_get_kind (fd);
  VhostBackendChannel *self;
  int type = 0;
  int listening = 0;
  socklen_t length = sizeof type;

  if (kind != VHOST_FD_SOCKET || getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0
      || type != SOCK_STREAM
      || (length = sizeof listening,
          getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0)
      || listening)
    {
      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_INVALID,
          "the descriptor for the back-end's requests must be a connected stream socket; its "
          "kind is: %s%s",
          vhost_fd_kind_to_string (kind),
          kind != VHOST_FD_SOCKET ? "" : (listening ? ", listening" : ", another type"));
      vhost_fd_clear (&fd);
      return NULL;
    }
  self = g_new0 (VhostBackendChannel, 1);
  self->reply_ack = reply_ack;
  self->channel = vhost_channel_new_take_fd (fd);
  self->source = g_source_new (&source_funcs, sizeof (VhostBackendChannelSource));
  ((VhostBackendChannelSource *) self->source)->self = self;
  g_source_set_static_name (self->source, "VhostBackendChannel");
  self->tag = g_source_add_unix_fd (self->source, vhost_channel_get_fd (self->channel), G_IO_IN);
  g_source_attach (self->source, context);
  return self;
}

void
vhost_backend_channel_free (VhostBackendChannel *self)
{
  stop (self);
  vhost_channel_free (self->channel);
  g_free (self);
}

gboolean
vhost_backend_channel_config_change (VhostBackendChannel *self, GError **error)
{
  gboolean sent = TRUE;

  if (self->source == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "the front-end has closed the channel for the back-end's requests");
      return FALSE;
    }
  if (vhost_channel_wants_write (self->channel))
    self->pending = TRUE;
  else
    sent = send_config_change (self, error);
  update_source (self);
  return sent;
}
