/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests of the session: a peer written by hand that sends messages over a socket pair, and
 * a small device that serves a ring. Must not use the library's own front-end, which would hide a
 * mistake that both sides make. */
#pragma once

#include "hand-ring.h"

#include "vhost-backend.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-session-private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define DEADLINE (10 * G_USEC_PER_SEC)
#define NEED_REPLY VHOST_WIRE_FLAG_NEED_REPLY
#define HAND_USER G_GUINT64_CONSTANT (0x7000000)
#ifndef N_QUEUES
#define N_QUEUES 2
#endif
#define RING_SIZE 8
#ifndef WITH_POSTCOPY
#define WITH_POSTCOPY FALSE /* what a device has to allow */
#endif
#define FEATURES                                                                                   \
  (VHOST_WIRE_BIT (VHOST_WIRE_F_VERSION_1) | VHOST_WIRE_BIT (VHOST_WIRE_F_PROTOCOL_FEATURES))
#define ALL_PROTOCOL                                                                               \
  (VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_MQ) | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_REPLY_ACK)        \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_BACKEND_REQ)                                              \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CONFIG)                                                   \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_RESET_DEVICE)                                             \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS)                                      \
   | VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_STATUS))

/* ---- A device that can hold its requests back ---- */

#define TEST_TYPE_DEVICE (test_device_get_type ())
G_DECLARE_FINAL_TYPE (TestDevice, test_device, TEST, DEVICE, VhostBackend)

struct _TestDevice
{
  VhostBackend parent_instance;
  _Atomic (gboolean) hold;
  _Atomic (guint) n_held;
  _Atomic (guint) n_started;
  _Atomic (guint) n_stopped;
  VhostChain *held[RING_SIZE];
  guint busy; /* activations to refuse */
  guint n_activations;
  guint n_suspends;
  guint n_resets;
  guint n_memory_changes;
  guint64 features;
};

G_DEFINE_FINAL_TYPE (TestDevice, test_device, VHOST_TYPE_BACKEND)

static inline guint64
test_device_get_features (VhostBackend *backend)
{
  return 1 << 5;
}

static inline void
test_device_features_acked (VhostBackend *backend, guint64 features)
{
  TEST_DEVICE (backend)->features = features;
}

static inline gboolean
test_device_activate (VhostBackend *backend, GError **error)
{
  TestDevice *self = TEST_DEVICE (backend);

  self->n_activations++;
  if (self->busy == 0)
    return TRUE;
  self->busy--;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "in use elsewhere");
  return FALSE;
}

static inline void
test_device_suspend (VhostBackend *backend)
{
  TEST_DEVICE (backend)->n_suspends++;
}

static inline void
test_device_reset (VhostBackend *backend)
{
  TEST_DEVICE (backend)->n_resets++;
}

static inline void
test_device_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  TEST_DEVICE (backend)->n_memory_changes++;
}

static inline void
test_device_queue_started (VhostBackend *backend, VhostQueue *queue)
{
  atomic_fetch_add (&TEST_DEVICE (backend)->n_started, 1);
}

static inline void
test_device_queue_stopped (VhostBackend *backend, VhostQueue *queue)
{
  atomic_fetch_add (&TEST_DEVICE (backend)->n_stopped, 1);
}

static inline void
test_device_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  TestDevice *self = TEST_DEVICE (backend);

  if (atomic_load (&self->hold))
    {
      self->held[atomic_load (&self->n_held)] = chain;
      atomic_fetch_add (&self->n_held, 1);
    }
  else
    vhost_chain_complete (chain, 3);
}

static inline void
test_device_class_init (TestDeviceClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  backend_class->get_features = test_device_get_features;
  backend_class->features_acked = test_device_features_acked;
  backend_class->activate = test_device_activate;
  backend_class->suspend = test_device_suspend;
  backend_class->reset = test_device_reset;
  backend_class->memory_changed = test_device_memory_changed;
  backend_class->queue_started = test_device_queue_started;
  backend_class->queue_stopped = test_device_queue_stopped;
  backend_class->process_chain = test_device_process_chain;
#ifdef TEST_DEVICE_FILL_CLASS /* of a test whose device has more */
  TEST_DEVICE_FILL_CLASS (backend_class);
#endif
  vhost_backend_class_set_device (backend_class, "test", 4, N_QUEUES);
}

static inline void
test_device_init (TestDevice *self)
{
  static const guint8 space[16] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  static const guint8 mask[16] = { 0xff };

  vhost_backend_set_config_space (VHOST_BACKEND (self), space, sizeof space, mask);
}

/* ---- Fixture ---- */

typedef struct
{
  HandRing hand;
  TestDevice *device;
  VhostWorker *worker;
  VhostSession *session; /* (owned) */
  int peer;
  int kick_fd;
  int call_fd;
  int err_fd;
  guint n_closed;
  GError *close_error;
  guint n_broken;
  guint driver_changes;
  guint device_changes;
  _Atomic (guint) n_kicked;
} Fixture;

static inline void
on_closed (VhostSession *session, const GError *error, gpointer data)
{
  Fixture *f = data;

  g_assert_true (session == f->session);
  f->n_closed++;
  g_clear_error (&f->close_error);
  f->close_error = error != NULL ? g_error_copy (error) : NULL;
}

static inline void
on_config_changed (VhostSession *session, guint offset, guint length, gboolean by_driver,
                   gpointer data)
{
  Fixture *f = data;

  if (by_driver)
    f->driver_changes++;
  else
    f->device_changes++;
}

static inline gboolean
wants_kicks (gpointer data)
{
  return TRUE;
}

static inline void
on_kicked (VhostQueue *queue, gpointer data)
{
  atomic_fetch_add (&((Fixture *) data)->n_kicked, 1);
}

static const VhostSessionOwner owner = { on_closed, on_config_changed, wants_kicks, on_kicked };

static inline void
on_broken (VhostSession *session, VhostQueue *queue, const char *message, Fixture *f)
{
  g_assert_nonnull (message);
  f->n_broken++;
}

static inline gboolean
wake_up (gpointer data)
{
  return G_SOURCE_CONTINUE;
}

/* Runs the main loop until @condition; a timer wakes it for what other threads change. */
#define ITERATE_UNTIL(condition)                                                                   \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + DEADLINE;                                         \
    guint _timer = g_timeout_add (2, wake_up, NULL);                                               \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_main_context_iteration (NULL, TRUE);                                                     \
      }                                                                                            \
    g_source_remove (_timer);                                                                      \
  }                                                                                                \
  G_STMT_END

static inline void
connect_session (Fixture *f, guint drain_timeout_ms)
{
  int fds[2];
  GError *error = NULL;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  f->peer = fds[0];
  f->session = vhost_session_new_take_fd (fds[1], VHOST_BACKEND (f->device), &f->worker, 1,
                                          drain_timeout_ms, FALSE, &owner, f, &error);
  g_assert_no_error (error);
  g_signal_connect (f->session, "queue-broken", G_CALLBACK (on_broken), f);
}

/* @data: "inline" serves the rings in the main loop. */
static inline void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  memset (f, 0, sizeof *f);
  hand_ring_init (&f->hand, RING_SIZE);
  f->device
      = g_object_new (TEST_TYPE_DEVICE, "num-queues", N_QUEUES, "postcopy", WITH_POSTCOPY, NULL);
  if (g_strcmp0 (data, "inline") == 0)
    f->worker = vhost_worker_new_inline (NULL, &error);
  else
    f->worker = vhost_worker_new_thread ("test", VHOST_WAITER_EPOLL, 0, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  f->kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  f->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  f->err_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  connect_session (f, 10000);
}

static inline void
set_up_impatient (Fixture *f, gconstpointer data)
{
  set_up (f, data);
  close (f->peer);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_finalize_object (g_steal_pointer (&f->session));
  f->n_closed = 0;
  connect_session (f, 20);
}

static inline void
end_session (Fixture *f)
{
  vhost_fd_clear (&f->peer);
  if (f->session == NULL)
    return;
  ITERATE_UNTIL (f->n_closed > 0);
  g_assert_cmpuint (f->n_closed, ==, 1);
  g_assert_finalize_object (g_steal_pointer (&f->session));
}

static inline void
tear_down (Fixture *f, gconstpointer data)
{
  end_session (f);
  vhost_worker_stop (f->worker);
  g_assert_finalize_object (f->device);
  g_object_unref (f->worker);
  g_clear_error (&f->close_error);
  hand_ring_clear (&f->hand);
  close (f->kick_fd);
  close (f->call_fd);
  close (f->err_fd);
}

/* ---- The peer ---- */

static inline void
send_message (Fixture *f, guint32 request, guint32 flags, const void *payload, guint32 size,
              const int *fds, guint n_fds)
{
  VhostWireHeader header = { request, VHOST_WIRE_VERSION | flags, size };
  struct iovec iov[2] = { { &header, sizeof header }, { (void *) payload, size } };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int) * VHOST_WIRE_MAX_FDS)];
  } control = { 0 };
  struct msghdr msg = { .msg_iov = iov, .msg_iovlen = size > 0 ? 2 : 1 };

  if (n_fds > 0)
    {
      msg.msg_control = control.bytes;
      msg.msg_controllen = CMSG_SPACE (sizeof (int) * n_fds);
      control.header.cmsg_level = SOL_SOCKET;
      control.header.cmsg_type = SCM_RIGHTS;
      control.header.cmsg_len = CMSG_LEN (sizeof (int) * n_fds);
      memcpy (CMSG_DATA (&control.header), fds, sizeof (int) * n_fds);
    }
  g_assert_cmpint (sendmsg (f->peer, &msg, MSG_NOSIGNAL), ==, (gssize) (sizeof header + size));
}

static inline gboolean
is_readable (int fd)
{
  struct pollfd pollfd = { fd, POLLIN, 0 };

  return poll (&pollfd, 1, 0) == 1;
}

/* Reads exactly @size bytes that must come; runs the main loop meanwhile. */
static inline void
read_exactly (int fd, void *data, gsize size)
{
  gsize done = 0;

  while (done < size)
    {
      gssize n;

      ITERATE_UNTIL (is_readable (fd));
      n = read (fd, (guint8 *) data + done, size - done);
      g_assert_cmpint (n, >, 0);
      done += (gsize) n;
    }
}

/* The answer to @request; returns its size. */
static inline guint32
receive_reply (Fixture *f, guint32 request, void *payload, gsize max)
{
  VhostWireHeader header;

  read_exactly (f->peer, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmphex (header.flags, ==, 5);
  g_assert_cmpuint (header.size, <=, max);
  read_exactly (f->peer, payload, header.size);
  return header.size;
}

/* ... with a descriptor, -1: none came. Returns the size. */
static inline guint32
receive_fd_reply (Fixture *f, guint32 request, void *payload, gsize max, int *fd)
{
  VhostWireHeader header;
  struct iovec iov = { &header, sizeof header };
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct msghdr msg = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof control.bytes };

  ITERATE_UNTIL (is_readable (f->peer));
  g_assert_cmpint (recvmsg (f->peer, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL), ==, sizeof header);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmphex (header.flags, ==, 5);
  g_assert_cmpuint (header.size, <=, max);
  *fd = -1;
  if (msg.msg_controllen >= CMSG_LEN (sizeof (int)))
    memcpy (fd, CMSG_DATA (&control.header), sizeof (int));
  read_exactly (f->peer, payload, header.size);
  return header.size;
}

static inline guint64
receive_u64 (Fixture *f, guint32 request)
{
  guint64 value = 0;

  g_assert_cmpuint (receive_reply (f, request, &value, sizeof value), ==, 8);
  return value;
}

static inline guint64
get_u64 (Fixture *f, guint32 request)
{
  send_message (f, request, 0, NULL, 0, NULL, 0);
  return receive_u64 (f, request);
}

static inline guint64
call_fds (Fixture *f, guint32 request, const void *payload, guint32 size, const int *fds,
          guint n_fds)
{
  send_message (f, request, NEED_REPLY, payload, size, fds, n_fds);
  return receive_u64 (f, request);
}

static inline guint64
call (Fixture *f, guint32 request, const void *payload, guint32 size)
{
  return call_fds (f, request, payload, size, NULL, 0);
}

static inline guint64
call_u64 (Fixture *f, guint32 request, guint64 value)
{
  return call (f, request, &value, sizeof value);
}

static inline guint64
call_state (Fixture *f, guint32 request, guint32 index, guint32 num)
{
  VhostWireVringState state = { index, num };

  return call (f, request, &state, sizeof state);
}

static inline guint64
call_vring_fd (Fixture *f, guint32 request, guint index, int fd)
{
  guint64 value = index | (fd < 0 ? VHOST_WIRE_VRING_NO_FD : 0);

  return call_fds (f, request, &value, sizeof value, &fd, fd < 0 ? 0 : 1);
}

static inline guint32
get_base (Fixture *f, guint index)
{
  VhostWireVringState state = { index, 0 };

  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, &state, sizeof state), ==, 8);
  g_assert_cmpuint (state.index, ==, index);
  return state.num;
}

static inline void
negotiate (Fixture *f)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
}

static inline guint64
set_memory (Fixture *f)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };

  return call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1);
}

/* The ring's place by user addresses. */
static inline VhostWireVringAddr
ring_addr (guint index)
{
  return (VhostWireVringAddr){
    .index = index,
    .descriptor = HAND_DESC - HAND_BASE + HAND_USER,
    .available = HAND_AVAIL - HAND_BASE + HAND_USER,
    .used = HAND_USED - HAND_BASE + HAND_USER,
  };
}

static inline void
describe_ring (Fixture *f, guint index)
{
  VhostWireVringAddr addr = ring_addr (index);

  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, index, RING_SIZE), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, index, 0), ==, 0);
}

static inline void
start_ring (Fixture *f, guint index)
{
  describe_ring (f, index);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, index, f->call_fd), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_ERR, index, f->err_fd), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, index, f->kick_fd), ==, 0);
}

/* All of it: one ring that serves requests. */
static inline void
start_device (Fixture *f)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
}

static inline void
offer (Fixture *f)
{
  guint head = f->hand.avail_idx % RING_SIZE;

  hand_desc (&f->hand, head, HAND_DATA + head * 512, 512, 2, 0);
  hand_offer (&f->hand, head);
  g_assert_true (vhost_fd_notify (f->kick_fd));
}

typedef struct
{
  VhostTask task;
  TestDevice *device;
} Completion;

/* Thread: worker. */
static inline void
complete_held (VhostTask *task)
{
  TestDevice *device = ((Completion *) task)->device;
  guint n = atomic_load (&device->n_held);

  for (guint i = 0; i < n; i++)
    vhost_chain_complete (device->held[i], 3);
  atomic_store (&device->n_held, 0);
  g_free (task);
}

static inline void
post_completion (Fixture *f)
{
  Completion *completion = g_new0 (Completion, 1);

  completion->task.run = complete_held;
  completion->device = f->device;
  vhost_worker_post (f->worker, &completion->task);
}

typedef struct
{
  VhostTask task;
  _Atomic (gboolean) ran;
} Note;

/* Thread: worker. */
static inline void
note_run (VhostTask *task)
{
  atomic_store (&((Note *) task)->ran, TRUE);
}

/* Everything that was posted to the worker before has run. */
static inline void
wait_for_worker (Fixture *f)
{
  Note note = { .task.run = note_run };

  vhost_worker_post (f->worker, &note.task);
  ITERATE_UNTIL (atomic_load (&note.ran));
}

static inline guint
count_fds (void)
{
  DIR *dir;
  guint n = 0;

  vhost_fd_settle ();
  dir = opendir ("/proc/self/fd");

  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n;
}

static inline int
give_channel (Fixture *f)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), ==, 0);
  close (fds[1]);
  return fds[0];
}

static inline void
expect_config_change (int channel)
{
  VhostWireHeader header;

  read_exactly (channel, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG);
  g_assert_cmpuint (header.size, ==, 0);
}

#define ADD(name, setup, function)                                                                 \
  g_test_add ("/" TEST_AREA "/" name, Fixture, NULL, setup, function, tear_down)
#define ADD_INLINE(name, setup, function)                                                          \
  g_test_add ("/" TEST_AREA "/inline/" name, Fixture, "inline", setup, function, tear_down)
