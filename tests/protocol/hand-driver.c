/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "hand-driver.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- World ---- */

static VhostBackend *
on_create_backend (VhostDaemon *daemon, gpointer data)
{
  return VHOST_BACKEND (echo_backend_new (2, GPOINTER_TO_UINT (data)));
}

/* Thread: the daemon's. */
static void
set_up_daemon (LiveDevice *device, gpointer data)
{
  const HandOptions *options = data;

  if (options->max_sessions <= 1)
    return;
  g_object_set (device->daemon, "max-sessions", options->max_sessions, NULL);
  g_signal_connect (device->daemon, "create-backend", G_CALLBACK (on_create_backend),
                    GUINT_TO_POINTER (options->workers));
}

HandOptions
hand_options (gconstpointer data)
{
  guint workers = GPOINTER_TO_UINT (data);

  return (HandOptions){
    .workers = workers,
    .features = LIVE_ALL_FEATURES,
    .protocol_features = workers > 0 ? LIVE_ALL_FEATURES & ~P_GPA : LIVE_ALL_FEATURES,
  };
}

HandWorld *
hand_world_new_full (const HandOptions *options)
{
  HandWorld *self = g_new0 (HandWorld, 1);
  HandOptions copy = *options;
  GError *error = NULL;

  self->echo = echo_backend_new (G_N_ELEMENTS (self->rings), options->workers);
  g_object_set (self->echo, "poll-max", options->poll_max, NULL);
  self->device = live_device_new (self->echo, set_up_daemon, &copy);
  self->frontend = vhost_frontend_new ();
  vhost_frontend_connect (self->frontend, self->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (self->frontend, options->features, options->protocol_features, &error);
  g_assert_no_error (error);
  vhost_frontend_add_memory (self->frontend, HAND_MEMORY, HAND_MEMORY_SIZE, &error);
  g_assert_no_error (error);
  self->memory = vhost_frontend_get_memory (self->frontend, HAND_MEMORY, HAND_MEMORY_SIZE);
  self->gpa = (vhost_frontend_get_protocol_features (self->frontend) & P_GPA) != 0;
  for (guint i = 0; i < G_N_ELEMENTS (self->rings); i++)
    self->rings[i] = hand_ring_new (self, i, options->ring_size > 0 ? options->ring_size : 16);
  return self;
}

HandWorld *
hand_world_new (gconstpointer data)
{
  const HandOptions options = hand_options (data);

  return hand_world_new_full (&options);
}

void
hand_world_free (HandWorld *self)
{
  g_object_unref (self->frontend);
  live_device_free (self->device);
  for (guint i = 0; i < G_N_ELEMENTS (self->rings); i++)
    hand_ring_free (self->rings[i]);
  g_free (self);
}

typedef struct
{
  guint index;
  VhostQueueState state;
} StateCall;

/* Thread: the daemon's. */
static void
get_state (LiveDevice *device, gpointer data)
{
  StateCall *call = data;
  g_autoptr (VhostSession) session
      = g_list_model_get_item (vhost_daemon_get_sessions (device->daemon), 0);

  g_assert_nonnull (session);
  call->state = vhost_queue_get_state (vhost_session_get_queue (session, call->index));
}

VhostQueueState
hand_world_get_state (HandWorld *self, guint index)
{
  StateCall call = { .index = index };

  live_device_call (self->device, get_state, &call);
  return call.state;
}

/* Thread: the daemon's. */
static void
notify_config (LiveDevice *device, gpointer data)
{
  vhost_backend_notify_config (device->backend);
}

void
hand_world_notify_config (HandWorld *self)
{
  live_device_call (self->device, notify_config, NULL);
}

guint
hand_world_get_status (HandWorld *self)
{
  return hand_get_u64 (self->frontend, MSG_GET_STATUS);
}

guint64
hand_world_get_user_address (HandWorld *self, guint64 guest_address)
{
  if (self->gpa)
    return guest_address;
  /* The front-end's own mapping is what it tells the device. */
  return (guint64) (guintptr) self->memory + (guest_address - HAND_MEMORY);
}

/* ---- Messages ---- */

guint64
hand_get_u64 (VhostFrontend *frontend, guint request)
{
  guint got = 0, flags = 0;
  guint64 value = 0;
  gsize size = sizeof value;
  GError *error = NULL;

  vhost_frontend_send (frontend, request, 0, NULL, 0, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (frontend, &got, &flags, &value, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (got, ==, request);
  g_assert_cmpuint (flags, ==, RAW_VERSION | RAW_REPLY);
  g_assert_cmpuint (size, ==, sizeof value);
  return value;
}

gboolean
hand_is_silent (VhostFrontend *frontend)
{
  struct pollfd pollfd = { .fd = vhost_frontend_get_fd (frontend), .events = POLLIN };

  return poll (&pollfd, 1, 0) == 0;
}

static guint64
send_fd (HandRing *self, guint request, int fd)
{
  return raw_ring_fd (self->world->frontend, request, self->index | (fd < 0 ? RAW_NO_FD : 0), fd);
}

guint64
hand_ring_send_num (HandRing *self, guint32 num)
{
  return raw_state (self->world->frontend, MSG_SET_VRING_NUM, self->index, num);
}

guint64
hand_ring_send_base (HandRing *self, guint32 base)
{
  return raw_state (self->world->frontend, MSG_SET_VRING_BASE, self->index, base);
}

guint64
hand_ring_send_addr (HandRing *self)
{
  const RawAddr addr = {
    .index = self->index,
    .descriptor = hand_world_get_user_address (self->world, self->descriptor_address),
    .used = hand_world_get_user_address (self->world, self->used_address),
    .available = hand_world_get_user_address (self->world, self->available_address),
  };

  return raw_request (self->world->frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
}

guint64
hand_ring_send_kick (HandRing *self, int fd)
{
  return send_fd (self, MSG_SET_VRING_KICK, fd);
}

guint64
hand_ring_send_call (HandRing *self, int fd)
{
  return send_fd (self, MSG_SET_VRING_CALL, fd);
}

guint64
hand_ring_send_err (HandRing *self, int fd)
{
  return send_fd (self, MSG_SET_VRING_ERR, fd);
}

guint64
hand_ring_send_enable (HandRing *self, guint32 value)
{
  return raw_state (self->world->frontend, MSG_SET_VRING_ENABLE, self->index, value);
}

guint32
hand_ring_get_base (HandRing *self)
{
  VhostFrontend *frontend = self->world->frontend;
  RawState state = { self->index, 0 };
  gsize size = sizeof state;
  guint request = 0, flags = 0;
  GError *error = NULL;

  vhost_frontend_send (frontend, MSG_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (frontend, &request, &flags, &state, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_VRING_BASE);
  g_assert_cmpuint (flags, ==, RAW_VERSION | RAW_REPLY);
  g_assert_cmpuint (size, ==, sizeof state);
  g_assert_cmpuint (state.index, ==, self->index);
  return state.num;
}

/* ---- Ring ---- */

static guint64
allocate (VhostFrontend *frontend, gsize size, gsize alignment)
{
  guint64 address = vhost_frontend_allocate (frontend, size, alignment);

  g_assert_cmpuint (address, !=, 0);
  return address;
}

static int
new_eventfd (void)
{
  int fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

HandRing *
hand_ring_new (HandWorld *world, guint index, guint size)
{
  VhostFrontend *frontend = world->frontend;
  HandRing *self = g_new0 (HandRing, 1);

  self->world = world;
  self->index = index;
  self->size = size;
  self->descriptor_address = allocate (frontend, 16 * size, 16);
  self->available_address = allocate (frontend, 6 + 2 * size, 2);
  self->used_address = allocate (frontend, 6 + 8 * size, 4);
  self->data_address = allocate (frontend, HAND_BUFFER * size, 16);
  self->descriptors = vhost_frontend_get_memory (frontend, self->descriptor_address, 16 * size);
  self->available = vhost_frontend_get_memory (frontend, self->available_address, 6 + 2 * size);
  self->used = vhost_frontend_get_memory (frontend, self->used_address, 6 + 8 * size);
  self->data = vhost_frontend_get_memory (frontend, self->data_address, HAND_BUFFER * size);
  self->kick_fd = new_eventfd ();
  self->call_fd = new_eventfd ();
  self->err_fd = new_eventfd ();
  return self;
}

void
hand_ring_free (HandRing *self)
{
  close (self->kick_fd);
  close (self->call_fd);
  close (self->err_fd);
  g_free (self);
}

void
hand_ring_set_up (HandRing *self)
{
  ASSERT_TAKEN (hand_ring_send_num (self, self->size));
  ASSERT_TAKEN (hand_ring_send_base (self, self->base));
  ASSERT_TAKEN (hand_ring_send_addr (self));
  ASSERT_TAKEN (hand_ring_send_err (self, self->err_fd));
  ASSERT_TAKEN (hand_ring_send_call (self, self->call_fd));
}

void
hand_ring_start (HandRing *self)
{
  hand_ring_set_up (self);
  ASSERT_TAKEN (hand_ring_send_kick (self, self->kick_fd));
  ASSERT_TAKEN (hand_ring_send_enable (self, 1));
}

void
hand_ring_clear (HandRing *self)
{
  memset (self->descriptors, 0, 16 * self->size);
  memset (self->available, 0, 4 + 2 * self->size);
  memset (self->used, 0, 4 + 8 * self->size);
  self->available_index = self->base = 0;
}

guint64
hand_ring_buffer (HandRing *self, guint n)
{
  g_assert_cmpuint (n, <, self->size);
  return self->data_address + n * HAND_BUFFER;
}

guint8 *
hand_ring_bytes (HandRing *self, guint n)
{
  g_assert_cmpuint (n, <, self->size);
  return self->data + n * HAND_BUFFER;
}

void
hand_ring_put (HandRing *self, guint n, guint64 address, guint32 length, guint16 flags,
               guint16 next)
{
  self->descriptors[n] = (HandDescriptor){ address, length, flags, next };
}

void
hand_ring_put_echo (HandRing *self, guint head)
{
  for (guint i = 0; i < 16; i++)
    hand_ring_bytes (self, head)[i] = (guint8) (self->available_index * 31 + head * 7 + i + 1);
  memset (hand_ring_bytes (self, head + 1), 0, HAND_BUFFER);
  hand_ring_put (self, head, hand_ring_buffer (self, head), 16, DESC_NEXT, head + 1);
  hand_ring_put (self, head + 1, hand_ring_buffer (self, head + 1), 16, DESC_WRITE, 0);
}

void
hand_ring_assert_echo (HandRing *self, guint head, guint slot)
{
  guint32 id, length;

  hand_ring_get_element (self, slot, &id, &length);
  g_assert_cmpuint (id, ==, head);
  g_assert_cmpuint (length, ==, 16);
  g_assert_cmpmem (hand_ring_bytes (self, head + 1), 16, hand_ring_bytes (self, head), 16);
}

void
hand_ring_offer (HandRing *self, guint head)
{
  self->available[2 + (self->available_index & (self->size - 1))] = (guint16) head;
  self->available_index++;
  /* Partner: the device's acquire load of the index, before it reads entries and descriptors. */
  __atomic_store_n (&self->available[1], self->available_index, __ATOMIC_RELEASE);
}

void
hand_ring_kick (HandRing *self)
{
  g_assert_cmpint (eventfd_write (self->kick_fd, 1), ==, 0);
}

guint16
hand_ring_get_used (HandRing *self)
{
  /* Partner: the device's release store, after buffers and elements. */
  return __atomic_load_n (&self->used[1], __ATOMIC_ACQUIRE);
}

void
hand_ring_wait_used (HandRing *self, guint16 index)
{
  LIVE_WAIT_FOR (hand_ring_get_used (self) == index);
}

void
hand_ring_get_element (HandRing *self, guint slot, guint32 *id, guint32 *length)
{
  const guint32 *elements = (const guint32 *) (gpointer) (self->used + 2);

  slot &= self->size - 1;
  *id = elements[2 * slot];
  *length = elements[2 * slot + 1];
}

void
hand_ring_submit (HandRing *self, guint head)
{
  hand_ring_offer (self, head);
  hand_ring_kick (self);
}

void
hand_ring_echo (HandRing *self)
{
  guint16 slot = hand_ring_get_used (self);

  hand_ring_put_echo (self, 0);
  hand_ring_submit (self, 0);
  hand_ring_wait_used (self, slot + 1);
  hand_ring_assert_echo (self, 0, slot);
}

guint16 *
hand_ring_used_event (HandRing *self)
{
  return &self->available[2 + self->size];
}

guint16 *
hand_ring_avail_event (HandRing *self)
{
  return &self->used[2 + 4 * self->size];
}

static guint64
take_events (int fd)
{
  guint64 n = 0;

  if (read (fd, &n, sizeof n) != sizeof n)
    {
      g_assert_cmpint (errno, ==, EAGAIN);
      return 0;
    }
  return n;
}

guint64
hand_ring_get_calls (HandRing *self)
{
  return self->calls += take_events (self->call_fd);
}

guint64
hand_ring_get_errors (HandRing *self)
{
  return self->errors += take_events (self->err_fd);
}

void
hand_ring_sync (HandRing *self)
{
  ASSERT_TAKEN (hand_ring_send_err (self, self->err_fd));
  ASSERT_TAKEN (hand_ring_send_err (self, self->err_fd));
}

void
hand_test_add (const char *name, GTestDataFunc func)
{
  g_autofree char *inline_name = g_strconcat (name, "/inline", NULL);
  g_autofree char *worker_name = g_strconcat (name, "/worker", NULL);

  g_test_add_data_func (worker_name, GUINT_TO_POINTER (1), func);
  g_test_add_data_func (inline_name, GUINT_TO_POINTER (0), func);
}
