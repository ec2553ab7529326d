/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "rich-backend.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const guint8 rich_uuid[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                               0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };

struct _RichBackend
{
  VhostBackend parent_instance;
  RichData data;
};

G_DEFINE_FINAL_TYPE (RichBackend, rich_backend, VHOST_TYPE_BACKEND)

RichData *
rich_backend_get_data (RichBackend *self)
{
  return &self->data;
}

static gboolean
check_fail (RichData *data, GError **error)
{
  if (!data->fail)
    return TRUE;
  data->fail = FALSE;
  g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_BACKEND, "told to fail");
  return FALSE;
}

static guint64
rich_get_features (VhostBackend *backend)
{
  return 1 << 5 | 1 << 3; /* the second one is the network's MTU */
}

static void
rich_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  guint8 bytes[4096];
  gsize n, written = 0;

  while ((n = vhost_chain_pull (chain, bytes, sizeof bytes)) > 0)
    written += vhost_chain_write (chain, bytes, n);
  vhost_chain_complete (chain, written);
}

static void
rich_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  RICH_BACKEND (backend)->data.n_memory_changes++;
}

static GBytes *
rich_get_state (VhostBackend *backend, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  data->n_saves++;
  return check_fail (data, error) ? g_bytes_ref (data->state) : NULL;
}

static gboolean
rich_set_state (VhostBackend *backend, GBytes *state, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  data->n_loads++;
  if (!check_fail (data, error))
    return FALSE;
  g_bytes_unref (data->state);
  data->state = g_bytes_ref (state);
  return TRUE;
}

static gboolean
on_cancelled (GCancellable *cancellable, gpointer user_data)
{
  GTask *task = user_data;

  RICH_BACKEND (g_task_get_source_object (task))->data.n_cancelled++;
  g_task_return_error_if_cancelled (task);
  return G_SOURCE_REMOVE;
}

static void
rich_save_state_async (VhostBackend *backend, GOutputStream *stream, GCancellable *cancellable,
                       GAsyncReadyCallback callback, gpointer user_data)
{
  GTask *task;
  GSource *source;

  if (!RICH_BACKEND (backend)->data.hold)
    {
      VHOST_BACKEND_CLASS (rich_backend_parent_class)
          ->save_state_async (backend, stream, cancellable, callback, user_data);
      return;
    }
  task = g_task_new (backend, cancellable, callback, user_data);
  source = g_cancellable_source_new (cancellable);
  g_task_attach_source (task, source, G_SOURCE_FUNC (on_cancelled));
  g_source_unref (source);
  g_object_unref (task);
}

static gboolean
rich_announce (VhostBackend *backend, GBytes *mac, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  memcpy (data->mac, g_bytes_get_data (mac, NULL), 6);
  return check_fail (data, error);
}

static gboolean
rich_set_mtu (VhostBackend *backend, guint mtu, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  if (!check_fail (data, error))
    return FALSE;
  data->mtu = mtu;
  return TRUE;
}

static gint64
rich_create_crypto_session (VhostBackend *backend, GBytes *description, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  data->crypto_size = g_bytes_get_size (description);
  return check_fail (data, error) ? 77 : -1;
}

static gboolean
rich_close_crypto_session (VhostBackend *backend, gint64 id, GError **error)
{
  RichData *data = &RICH_BACKEND (backend)->data;

  data->crypto_closed = id;
  return check_fail (data, error);
}

static void
rich_set_gpu_socket (VhostBackend *backend, int fd)
{
  RICH_BACKEND (backend)->data.gpu_fd = fd;
}

static void
rich_finalize (GObject *object)
{
  RichData *data = &RICH_BACKEND (object)->data;

  g_bytes_unref (data->state);
  if (data->gpu_fd >= 0)
    close (data->gpu_fd);
  G_OBJECT_CLASS (rich_backend_parent_class)->finalize (object);
}

static void
rich_backend_class_init (RichBackendClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = rich_finalize;
  backend_class->get_features = rich_get_features;
  backend_class->process_chain = rich_process_chain;
  backend_class->memory_changed = rich_memory_changed;
  backend_class->get_state = rich_get_state;
  backend_class->set_state = rich_set_state;
  backend_class->save_state_async = rich_save_state_async;
  backend_class->announce = rich_announce;
  backend_class->set_mtu = rich_set_mtu;
  backend_class->create_crypto_session = rich_create_crypto_session;
  backend_class->close_crypto_session = rich_close_crypto_session;
  backend_class->set_gpu_socket = rich_set_gpu_socket;
  vhost_backend_class_set_device (backend_class, "rich", 43, 2);
}

static void
rich_backend_init (RichBackend *self)
{
  GError *error = NULL;

  self->data.state = g_bytes_new_static ("", 0);
  self->data.gpu_fd = -1;
  self->data.crypto_closed = -1;
  vhost_backend_set_shared_objects (VHOST_BACKEND (self), TRUE);
  vhost_backend_set_host_notifiers (VHOST_BACKEND (self), TRUE);
  vhost_backend_set_shmem_region (VHOST_BACKEND (self), RICH_SHMEM_ID, RICH_SHMEM_SIZE, &error);
  g_assert_no_error (error);
}

/* ---- The front-end ---- */

void
rich_begin (Rich *self, guint64 protocol_features)
{
  GError *error = NULL;

  memset (self, 0, sizeof *self);
  self->channel = -1;
  self->backend = g_object_new (RICH_TYPE_BACKEND, "num-queues", 2, "postcopy", TRUE, NULL);
  self->data = rich_backend_get_data (self->backend);
  self->device = live_device_new (self->backend, NULL, NULL);
  self->n_fds = raw_count_idle_fds (self->device);
  self->frontend = vhost_frontend_new ();
  vhost_frontend_connect (self->frontend, self->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (self->frontend, LIVE_ALL_FEATURES, protocol_features, &error);
  g_assert_no_error (error);
  rich_sync (self);
}

void
rich_end (Rich *self)
{
  g_clear_object (&self->frontend);
  if (self->channel >= 0)
    close (self->channel);
  LIVE_WAIT_FOR (raw_count_sessions (self->device) == 0);
  if (self->data->gpu_fd < 0)
    LIVE_WAIT_FOR (live_count_fds () <= self->n_fds);
  live_device_assert_alive (self->device);
  live_device_free (self->device);
}

static void
nothing (LiveDevice *device, gpointer data)
{
}

void
rich_sync (Rich *self)
{
  live_device_call (self->device, nothing, NULL);
}

void
rich_start_ring (Rich *self)
{
  GError *error = NULL;

  vhost_frontend_add_memory (self->frontend, 0x100000, 1 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (self->frontend, 0, 16, &error);
  g_assert_no_error (error);
  raw_assert_in_step (self->frontend);
}

void
rich_stop_ring (Rich *self)
{
  GError *error = NULL;

  vhost_frontend_stop_queue (self->frontend, 0, NULL, &error);
  g_assert_no_error (error);
}

void
rich_send (Rich *self, guint request, gconstpointer payload, gsize size, int fd)
{
  GError *error = NULL;

  vhost_frontend_send (self->frontend, request, RAW_VERSION, payload, size, &fd, fd >= 0, &error);
  g_assert_no_error (error);
}

gsize
rich_receive (Rich *self, guint request, gpointer payload, gsize max, int *fd)
{
  guint got, flags, n_fds = 8;
  int fds[8];
  gsize size = max;
  GError *error = NULL;

  vhost_frontend_receive (self->frontend, &got, &flags, payload, &size, fds, &n_fds, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (got, ==, request);
  g_assert_cmphex (flags, ==, RAW_VERSION | RAW_REPLY);
  g_assert_cmpuint (n_fds, <=, fd != NULL ? 1 : 0);
  if (fd != NULL)
    *fd = n_fds > 0 ? fds[0] : -1;
  return size;
}

guint64
rich_receive_u64 (Rich *self, guint request)
{
  guint64 value = 0;

  g_assert_cmpuint (rich_receive (self, request, &value, sizeof value, NULL), ==, 8);
  return value;
}

/* ---- The channel ---- */

void
rich_open_channel (Rich *self)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (self->frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), ==,
                    0);
  close (fds[1]);
  if (self->channel >= 0)
    close (self->channel);
  self->channel = fds[0];
}

RawHeader
rich_read_request (Rich *self, gpointer payload, gsize max, int *fd)
{
  struct pollfd pollfd = { .fd = self->channel, .events = POLLIN };
  RawHeader header = { 0 };
  struct iovec iov = { &header, sizeof header };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct msghdr message = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes };

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  g_assert_cmpint (recvmsg (self->channel, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL), ==,
                   sizeof header);
  g_assert_cmpuint (header.size, <=, max);
  if (header.size > 0)
    g_assert_cmpint (recv (self->channel, payload, header.size, MSG_WAITALL), ==, header.size);
  if (fd != NULL)
    *fd = -1;
  if (message.msg_controllen >= CMSG_LEN (sizeof (int)))
    {
      g_assert_nonnull (fd);
      memcpy (fd, CMSG_DATA (&control.header), sizeof (int));
    }
  return header;
}

void
rich_answer (Rich *self, guint request, guint64 value, int fd)
{
  RawHeader header = { request, RAW_VERSION | RAW_REPLY, sizeof value };
  struct iovec iov[2] = { { &header, sizeof header }, { &value, sizeof value } };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

  if (fd >= 0)
    {
      message.msg_control = control.bytes;
      message.msg_controllen = sizeof control.bytes;
      control.header.cmsg_level = SOL_SOCKET;
      control.header.cmsg_type = SCM_RIGHTS;
      control.header.cmsg_len = CMSG_LEN (sizeof (int));
      memcpy (CMSG_DATA (&control.header), &fd, sizeof fd);
    }
  g_assert_cmpint (sendmsg (self->channel, &message, MSG_NOSIGNAL), ==,
                   sizeof header + sizeof value);
}

gboolean
rich_channel_is_silent (Rich *self)
{
  struct pollfd pollfd = { .fd = self->channel, .events = POLLIN };

  rich_sync (self);
  return poll (&pollfd, 1, 0) == 0;
}

typedef struct
{
  RichOutcome *outcome;
  gboolean done;
} Look;

/* Thread: the daemon's. */
static void
look (LiveDevice *device, gpointer data)
{
  Look *self = data;

  self->done = self->outcome->done;
}

gboolean
rich_outcome_is_done (Rich *self, RichOutcome *outcome)
{
  Look data = { outcome, FALSE };

  live_device_call (self->device, look, &data);
  return data.done;
}

void
rich_outcome_clear (RichOutcome *outcome)
{
  g_clear_error (&outcome->error);
  if (outcome->done && outcome->fd > 0)
    close (outcome->fd);
  memset (outcome, 0, sizeof *outcome);
}
