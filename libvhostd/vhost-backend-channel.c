/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way from the device to its front-end. Must never wait for an answer (B1): a front-end may
 * answer only after it has asked something on the main socket, which this same thread serves.
 *
 * How it works: a request goes out at once, or waits in `unsent` while the other end does not read.
 * What is due an answer stands in `sent`; answers come in that order. Whatever has ended, for
 * whichever reason, moves to `ended`, and a source of its own tells those who asked, one per
 * dispatch: they may send, cancel or free the channel from there.
 *
 * A change of the configuration stands aside: while output waits, a further one is only remembered
 * and goes out once when there is room, because what the front-end must know is that something
 * changed, not how often. Its answers say nothing and are dropped wherever they come. So an unread
 * socket costs a bounded number of requests and one message for all changes. */
#include "config.h"

#include "vhost-backend-channel-private.h"

#include "vhost-channel-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-trace-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* Answers that are read in one dispatch of the context. */
#define ANSWERS_PER_DISPATCH 16

/* Requests that have not ended: more are refused. */
#define REQUESTS_MAX 1024
/* On top of them, the rings' own: a driver waits for its call. Few for each ring are out at once.
 */
#define RING_REQUESTS_MAX 1024

typedef struct
{
  guint id;
  VhostWireBackendRequest request;
  guint8 *payload; /* (owned) (nullable) */
  guint32 size;
  int fds[VHOST_WIRE_MAX_FDS]; /* (owned): duplicates, until the request is out */
  guint n_fds;
  gboolean asks;                /* an answer is due once it is out */
  VhostBackendChannelDone done; /* (nullable) */
  gpointer data;
  guint64 answer;
  int fd;        /* (owned): what came with the answer */
  GError *error; /* (owned) (nullable) */
} Request;

struct _VhostBackendChannel
{
  VhostChannel *channel; /* (owned) */
  GMainContext *context; /* (owned) (nullable) */
  GSource *source;       /* (owned) (nullable): NULL once the channel is broken */
  gpointer tag;
  gboolean reply_ack;
  gboolean pending; /* a change that could not be sent yet */
  guint last_id;
  GQueue unsent;         /* Request (owned) */
  GQueue sent;           /* likewise: an answer is due */
  GQueue ended;          /* likewise: done () must run */
  GSource *ended_source; /* (owned) (nullable) */
};

typedef struct
{
  GSource source;
  VhostBackendChannel *self; /* (unowned): destroys the source before it goes */
} VhostBackendChannelSource;

/* ---- Requests ---- */

static void
request_free (Request *request)
{
  for (guint i = 0; i < request->n_fds; i++)
    vhost_fd_clear (&request->fds[i]);
  vhost_fd_discard (&request->fd);
  g_clear_error (&request->error);
  g_free (request->payload);
  g_free (request);
}

/* Tells who asked, and takes @request. The channel may be gone afterwards. */
static void
request_finish (Request *request)
{
  VhostBackendChannelDone done = g_steal_pointer (&request->done);

  if (done != NULL)
    done (request->answer, g_steal_fd (&request->fd), request->error, request->data);
  request_free (request);
}

/* Thread: control. One per dispatch: done () may free the channel. */
static gboolean
tell_ended (gpointer data)
{
  VhostBackendChannel *self = data;
  Request *request = g_queue_pop_head (&self->ended);
  gboolean more = !g_queue_is_empty (&self->ended);

  if (!more)
    g_clear_pointer (&self->ended_source, g_source_unref);
  if (request != NULL)
    request_finish (request);
  return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* Takes @request, which stands in no queue any more. */
static void
end_request (VhostBackendChannel *self, Request *request)
{
  if (request->done == NULL)
    {
      request_free (request);
      return;
    }
  g_queue_push_tail (&self->ended, request);
  if (self->ended_source != NULL)
    return;
  self->ended_source = g_idle_source_new ();
  g_source_set_priority (self->ended_source, G_PRIORITY_DEFAULT);
  g_source_set_static_name (self->ended_source, "VhostBackendChannel ended");
  g_source_set_callback (self->ended_source, tell_ended, self, NULL);
  g_source_attach (self->ended_source, self->context);
}

/* Nothing goes in or out any more. */
static void
stop (VhostBackendChannel *self, const char *reason)
{
  Request *request;

  if (self->source == NULL)
    return;
  vhost_debug (CONTROL, "the back-end's channel has ended: %s", reason);
  g_source_destroy (self->source);
  g_clear_pointer (&self->source, g_source_unref);
  while ((request = g_queue_pop_head (&self->sent)) != NULL
         || (request = g_queue_pop_head (&self->unsent)) != NULL)
    {
      g_set_error (&request->error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "request %u got no answer: the channel to the front-end has ended: %s",
                   request->request, reason);
      end_request (self, request);
    }
}

/* As stop (), and the other end sees it: a front-end that waits for requests here must not wait for
 * ever. Not when the channel is only replaced, which may be by the same socket. */
static void
give_up (VhostBackendChannel *self, const char *reason)
{
  if (self->source != NULL)
    (void) shutdown (vhost_channel_get_fd (self->channel), SHUT_RDWR);
  stop (self, reason);
}

/* ---- Output ---- */

static gboolean
send_config_change (VhostBackendChannel *self, GError **error)
{
  guint32 flags = VHOST_WIRE_VERSION | (self->reply_ack ? VHOST_WIRE_FLAG_NEED_REPLY : 0);

  self->pending = FALSE;
  return vhost_channel_send (self->channel, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG, flags, NULL, 0,
                             NULL, 0, error);
}

/* Takes @request. FALSE: the stream is broken. */
static gboolean
send_request (VhostBackendChannel *self, Request *request, const int *fds, GError **error)
{
  /* A2: what has a reply of its own is not asked for a second one. */
  gboolean own = vhost_wire_lookup_backend (request->request)->reply == VHOST_WIRE_REPLY_OWN;
  guint32 flags = VHOST_WIRE_VERSION;

  request->asks = own || (self->reply_ack && request->done != NULL);
  if (request->asks && !own)
    flags |= VHOST_WIRE_FLAG_NEED_REPLY;
  if (!vhost_channel_send (self->channel, request->request, flags, request->payload, request->size,
                           fds, request->n_fds, error))
    {
      request->error = g_error_copy (*error);
      if (fds != request->fds)
        request->n_fds = 0;
      end_request (self, request);
      return FALSE;
    }
  if (fds != request->fds)
    request->n_fds = 0; /* the caller's */
  for (guint i = 0; i < request->n_fds; i++)
    vhost_fd_clear (&request->fds[i]);
  if (request->asks)
    g_queue_push_tail (&self->sent, request);
  else
    end_request (self, request);
  return TRUE;
}

/* Sends what waits, as far as the other end reads. */
static void
send_waiting (VhostBackendChannel *self)
{
  g_autoptr (GError) error = NULL;
  Request *request;

  while (self->source != NULL && !vhost_channel_wants_write (self->channel)
         && (request = g_queue_pop_head (&self->unsent)) != NULL)
    if (!send_request (self, request, request->fds, &error))
      {
        stop (self, error->message);
        return;
      }
  if (self->source != NULL && self->pending && !vhost_channel_wants_write (self->channel)
      && !send_config_change (self, &error))
    stop (self, error->message);
}

static void
update_source (VhostBackendChannel *self)
{
  if (self->source != NULL)
    g_source_modify_unix_fd (self->source, self->tag,
                             G_IO_IN | (vhost_channel_wants_write (self->channel) ? G_IO_OUT : 0));
}

/* ---- Input ---- */

/* FALSE: the answer cannot be right; the place in the stream is lost. */
static gboolean
take_answer (VhostBackendChannel *self, VhostMessage *message)
{
  Request *request;
  guint max_fds;

  if (message->header.request == VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG)
    {
      if (message->payload.u64 != 0)
        vhost_debug (CONTROL, "the front-end answers 0x%" G_GINT64_MODIFIER "x to a change",
                     message->payload.u64);
      return TRUE;
    }
  request = g_queue_peek_head (&self->sent);
  if (request == NULL || request->request != message->header.request)
    return FALSE;
  max_fds = request->request == VHOST_WIRE_BACKEND_SHARED_OBJECT_LOOKUP && message->payload.u64 == 0
                ? 1
                : 0;
  if (message->header.size != sizeof message->payload.u64 || message->n_fds > max_fds)
    return FALSE;
  g_queue_pop_head (&self->sent);
  request->answer = message->payload.u64;
  if (message->n_fds > 0)
    request->fd = vhost_message_steal_fd (message, 0);
  end_request (self, request);
  return TRUE;
}

/* FALSE: nothing more to read now, or ever. */
static gboolean
read_answer (VhostBackendChannel *self)
{
  VhostMessage *message = NULL;
  g_autoptr (GError) error = NULL;
  gboolean good = TRUE;

  switch (vhost_channel_receive (self->channel, &message, &error))
    {
    case VHOST_CHANNEL_MESSAGE:
      if ((message->header.flags & VHOST_WIRE_FLAG_REPLY) == 0)
        vhost_debug (CONTROL, "the front-end sent a request (%u) on the back-end's channel",
                     message->header.request);
      else
        good = take_answer (self, message);
      for (guint i = 0; i < message->n_fds; i++)
        {
          int fd = vhost_message_steal_fd (message, i);

          vhost_fd_discard (&fd);
        }
      if (!good)
        give_up (self, "the front-end answered what was not asked");
      return good;
    case VHOST_CHANNEL_CLOSED:
    case VHOST_CHANNEL_ERROR:
      give_up (self, error != NULL ? error->message : "the front-end closed it");
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
      stop (self, error->message);
      return G_SOURCE_CONTINUE;
    }
  for (guint i = 0; i < ANSWERS_PER_DISPATCH; i++)
    if (!read_answer (self))
      break;
  send_waiting (self);
  update_source (self);
  return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .dispatch = dispatch };

/* ---- Private ---- */

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
      vhost_fd_discard (&fd);
      return NULL;
    }
  self = g_new0 (VhostBackendChannel, 1);
  self->reply_ack = reply_ack;
  self->context = context != NULL ? g_main_context_ref (context) : NULL;
  self->channel = vhost_channel_new_take_fd (fd);
  g_queue_init (&self->unsent);
  g_queue_init (&self->sent);
  g_queue_init (&self->ended);
  self->source = g_source_new (&source_funcs, sizeof (VhostBackendChannelSource));
  ((VhostBackendChannelSource *) self->source)->self = self;
  g_source_set_static_name (self->source, "VhostBackendChannel");
  self->tag = g_source_add_unix_fd (self->source, vhost_channel_get_fd (self->channel), G_IO_IN);
  g_source_attach (self->source, context);
  return self;
}

gboolean
vhost_backend_channel_asks (VhostBackendChannel *self)
{
  return self->reply_ack;
}

void
vhost_backend_channel_free (VhostBackendChannel *self)
{
  GQueue ended;
  Request *request;

  stop (self, "it was replaced, or the session is over");
  if (self->ended_source != NULL)
    g_source_destroy (self->ended_source);
  g_clear_pointer (&self->ended_source, g_source_unref);
  ended = self->ended;
  g_clear_pointer (&self->context, g_main_context_unref);
  vhost_channel_free (self->channel);
  g_free (self);
  while ((request = g_queue_pop_head (&ended)) != NULL)
    request_finish (request);
}

gboolean
vhost_backend_channel_config_change (VhostBackendChannel *self, GError **error)
{
  g_autoptr (GError) local_error = NULL;

  if (self->source == NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                   "the front-end has closed the channel for the back-end's requests");
      return FALSE;
    }
  if (vhost_channel_wants_write (self->channel))
    self->pending = TRUE;
  else if (!send_config_change (self, &local_error))
    {
      stop (self, local_error->message);
      g_propagate_error (error, g_steal_pointer (&local_error));
      return FALSE;
    }
  update_source (self);
  return TRUE;
}

/* Duplicates of @fds, which the caller may close before they are sent. */
static gboolean
keep_fds (Request *request, const int *fds, guint n_fds)
{
  for (guint i = 0; i < n_fds; i++)
    {
      request->fds[i] = fcntl (fds[i], F_DUPFD_CLOEXEC, 3);
      if (request->fds[i] < 0)
        {
          int errsv = errno;

          g_set_error (&request->error, VHOST_ERROR, VHOST_ERROR_FAILED,
                       "cannot keep descriptor %d until request %u can be sent: %s", fds[i],
                       request->request, g_strerror (errsv));
          return FALSE;
        }
      request->n_fds = i + 1;
    }
  return TRUE;
}

static guint
get_limit (VhostWireBackendRequest request)
{
  switch (request)
    {
    case VHOST_WIRE_BACKEND_IOTLB_MSG:
    case VHOST_WIRE_BACKEND_VRING_CALL:
    case VHOST_WIRE_BACKEND_VRING_ERR:
      return REQUESTS_MAX + RING_REQUESTS_MAX;
    default:
      return REQUESTS_MAX;
    }
}

guint
vhost_backend_channel_send (VhostBackendChannel *self, VhostWireBackendRequest request,
                            const void *payload, guint32 size, const int *fds, guint n_fds,
                            VhostBackendChannelDone done, gpointer data)
{
  const VhostWireMessage *row = vhost_wire_lookup_backend (request);
  Request *entry = g_new0 (Request, 1);
  g_autoptr (GError) error = NULL;
  guint id;

  self->last_id = self->last_id == G_MAXUINT ? 1 : self->last_id + 1;
  entry->id = id = self->last_id;
  entry->request = request;
  entry->payload = size > 0 ? g_memdup2 (payload, size) : NULL;
  entry->size = size;
  entry->fd = -1;
  entry->done = done;
  entry->data = data;
  if (self->source == NULL)
    g_set_error (&entry->error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED,
                 "request %u cannot be sent: the front-end has closed the channel", request);
  else if (row == NULL || n_fds > VHOST_WIRE_MAX_FDS)
    g_set_error (&entry->error, VHOST_ERROR, VHOST_ERROR_INVALID,
                 "request %u with %u descriptors is none that a back-end can send", request, n_fds);
  else if (self->unsent.length + self->sent.length >= get_limit (request))
    g_set_error (&entry->error, VHOST_ERROR, VHOST_ERROR_BUSY,
                 "request %u cannot be sent: %u wait for the front-end already; try again when "
                 "some have ended",
                 request, get_limit (request));
  if (entry->error != NULL)
    {
      end_request (self, entry);
      return id;
    }
  if (g_queue_is_empty (&self->unsent) && !vhost_channel_wants_write (self->channel))
    {
      entry->n_fds = n_fds;
      if (!send_request (self, entry, fds, &error))
        stop (self, error->message);
    }
  else if (keep_fds (entry, fds, n_fds))
    g_queue_push_tail (&self->unsent, entry);
  else
    end_request (self, entry);
  update_source (self);
  return id;
}

static GList *
find_request (GQueue *queue, guint id)
{
  for (GList *l = queue->head; l != NULL; l = l->next)
    if (((Request *) l->data)->id == id)
      return l;
  return NULL;
}

void
vhost_backend_channel_cancel (VhostBackendChannel *self, guint id)
{
  GList *link;
  Request *request = NULL;

  if ((link = find_request (&self->unsent, id)) != NULL)
    {
      request = link->data;
      g_queue_delete_link (&self->unsent, link);
    }
  else if ((link = find_request (&self->sent, id)) != NULL)
    {
      Request *answered = link->data;

      /* Its answer will come all the same and must not be taken for another one's. */
      request = g_memdup2 (answered, sizeof *answered);
      request->payload = NULL;
      request->n_fds = 0;
      answered->done = NULL;
    }
  else if ((link = find_request (&self->ended, id)) != NULL)
    {
      request = link->data;
      g_queue_delete_link (&self->ended, link);
      vhost_fd_discard (&request->fd);
      g_clear_error (&request->error);
    }
  if (request == NULL)
    return;
  g_set_error (&request->error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "request %u was cancelled",
               request->request);
  end_request (self, request);
}
