/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session, from the front-end's chair: a peer written by hand sends messages over a socket pair, a small device serves
 * a ring on a worker thread. Must not use the library's own front-end, which would hide a mistake that both sides make. */
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
#define N_QUEUES 2
#define RING_SIZE 8
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

static guint64
test_device_get_features (VhostBackend *backend)
{
  return 1 << 5;
}

static void
test_device_features_acked (VhostBackend *backend, guint64 features)
{
  TEST_DEVICE (backend)->features = features;
}

static gboolean
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

static void
test_device_suspend (VhostBackend *backend)
{
  TEST_DEVICE (backend)->n_suspends++;
}

static void
test_device_reset (VhostBackend *backend)
{
  TEST_DEVICE (backend)->n_resets++;
}

static void
test_device_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  TEST_DEVICE (backend)->n_memory_changes++;
}

static void
test_device_queue_started (VhostBackend *backend, VhostQueue *queue)
{
  atomic_fetch_add (&TEST_DEVICE (backend)->n_started, 1);
}

static void
test_device_queue_stopped (VhostBackend *backend, VhostQueue *queue)
{
  atomic_fetch_add (&TEST_DEVICE (backend)->n_stopped, 1);
}

static void
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

static void
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
  vhost_backend_class_set_device (backend_class, "test", 4, N_QUEUES);
}

static void
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

static void
on_closed (VhostSession *session, const GError *error, gpointer data)
{
  Fixture *f = data;

  g_assert_true (session == f->session);
  f->n_closed++;
  f->close_error = error != NULL ? g_error_copy (error) : NULL;
}

static void
on_config_changed (VhostSession *session, guint offset, guint length, gboolean by_driver,
                   gpointer data)
{
  Fixture *f = data;

  if (by_driver)
    f->driver_changes++;
  else
    f->device_changes++;
}

static gboolean
wants_kicks (gpointer data)
{
  return TRUE;
}

static void
on_kicked (VhostQueue *queue, gpointer data)
{
  atomic_fetch_add (&((Fixture *) data)->n_kicked, 1);
}

static const VhostSessionOwner owner = { on_closed, on_config_changed, wants_kicks, on_kicked };

static void
on_broken (VhostSession *session, VhostQueue *queue, const char *message, Fixture *f)
{
  g_assert_nonnull (message);
  f->n_broken++;
}

static gboolean
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

static void
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

static void
set_up (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  memset (f, 0, sizeof *f);
  hand_ring_init (&f->hand, RING_SIZE);
  f->device = g_object_new (TEST_TYPE_DEVICE, "num-queues", N_QUEUES, NULL);
  f->worker = vhost_worker_new_thread ("test", VHOST_WAITER_EPOLL, 0, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  f->kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  f->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  f->err_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  connect_session (f, 10000);
}

static void
set_up_impatient (Fixture *f, gconstpointer data)
{
  set_up (f, data);
  close (f->peer);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_finalize_object (g_steal_pointer (&f->session));
  f->n_closed = 0;
  connect_session (f, 20);
}

static void
end_session (Fixture *f)
{
  vhost_fd_clear (&f->peer);
  if (f->session == NULL)
    return;
  ITERATE_UNTIL (f->n_closed > 0);
  g_assert_cmpuint (f->n_closed, ==, 1);
  g_assert_finalize_object (g_steal_pointer (&f->session));
}

static void
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

static void
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

static gboolean
is_readable (int fd)
{
  struct pollfd pollfd = { fd, POLLIN, 0 };

  return poll (&pollfd, 1, 0) == 1;
}

/* Reads exactly @size bytes that must come; runs the main loop meanwhile. */
static void
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
static guint32
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

static guint64
receive_u64 (Fixture *f, guint32 request)
{
  guint64 value = 0;

  g_assert_cmpuint (receive_reply (f, request, &value, sizeof value), ==, 8);
  return value;
}

static guint64
get_u64 (Fixture *f, guint32 request)
{
  send_message (f, request, 0, NULL, 0, NULL, 0);
  return receive_u64 (f, request);
}

static guint64
call_fds (Fixture *f, guint32 request, const void *payload, guint32 size, const int *fds,
          guint n_fds)
{
  send_message (f, request, NEED_REPLY, payload, size, fds, n_fds);
  return receive_u64 (f, request);
}

static guint64
call (Fixture *f, guint32 request, const void *payload, guint32 size)
{
  return call_fds (f, request, payload, size, NULL, 0);
}

static guint64
call_u64 (Fixture *f, guint32 request, guint64 value)
{
  return call (f, request, &value, sizeof value);
}

static guint64
call_state (Fixture *f, guint32 request, guint32 index, guint32 num)
{
  VhostWireVringState state = { index, num };

  return call (f, request, &state, sizeof state);
}

static guint64
call_vring_fd (Fixture *f, guint32 request, guint index, int fd)
{
  guint64 value = index | (fd < 0 ? VHOST_WIRE_VRING_NO_FD : 0);

  return call_fds (f, request, &value, sizeof value, &fd, fd < 0 ? 0 : 1);
}

static guint32
get_base (Fixture *f, guint index)
{
  VhostWireVringState state = { index, 0 };

  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, &state, sizeof state), ==, 8);
  g_assert_cmpuint (state.index, ==, index);
  return state.num;
}

static void
negotiate (Fixture *f)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
}

static guint64
set_memory (Fixture *f)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };

  return call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1);
}

/* The ring's place by user addresses. */
static VhostWireVringAddr
ring_addr (guint index)
{
  return (VhostWireVringAddr) {
    .index = index,
    .descriptor = HAND_DESC - HAND_BASE + HAND_USER,
    .available = HAND_AVAIL - HAND_BASE + HAND_USER,
    .used = HAND_USED - HAND_BASE + HAND_USER,
  };
}

static void
describe_ring (Fixture *f, guint index)
{
  VhostWireVringAddr addr = ring_addr (index);

  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, index, RING_SIZE), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, index, 0), ==, 0);
}

static void
start_ring (Fixture *f, guint index)
{
  describe_ring (f, index);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, index, f->call_fd), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_ERR, index, f->err_fd), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, index, f->kick_fd), ==, 0);
}

/* All of it: one ring that serves requests. */
static void
start_device (Fixture *f)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
}

static void
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
static void
complete_held (VhostTask *task)
{
  TestDevice *device = ((Completion *) task)->device;
  guint n = atomic_load (&device->n_held);

  for (guint i = 0; i < n; i++)
    vhost_chain_complete (device->held[i], 3);
  atomic_store (&device->n_held, 0);
  g_free (task);
}

static void
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
static void
note_run (VhostTask *task)
{
  atomic_store (&((Note *) task)->ran, TRUE);
}

/* Everything that was posted to the worker before has run. */
static void
wait_for_worker (Fixture *f)
{
  Note note = { .task.run = note_run };

  vhost_worker_post (f->worker, &note.task);
  ITERATE_UNTIL (atomic_load (&note.ran));
}

static guint
count_fds (void)
{
  DIR *dir = opendir ("/proc/self/fd");
  guint n = 0;

  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n;
}

/* ---- Negotiation ---- */

static void
test_offers (Fixture *f, gconstpointer data)
{
  guint64 features = get_u64 (f, VHOST_WIRE_GET_FEATURES);
  guint64 protocol = get_u64 (f, VHOST_WIRE_GET_PROTOCOL_FEATURES); /* N1 */

  g_assert_cmphex (features, ==,
                   G_GUINT64_CONSTANT (1) << 32 | 1u << 30 | 1u << 29 | 1u << 28 | 1u << 5);
  g_assert_cmphex (protocol, ==, ALL_PROTOCOL | 1u << 21);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, protocol), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_QUEUE_NUM), ==, N_QUEUES);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_MAX_MEM_SLOTS), ==, 509);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, features), ==, 0);
  g_assert_cmphex (f->device->features, ==, features);
  g_assert_cmphex (vhost_session_get_features (f->session), ==, features);
  g_assert_cmphex (vhost_session_get_protocol_features (f->session), ==, protocol);
  g_assert_cmpint (vhost_session_get_peer_pid (f->session), ==, getpid ());
  g_assert_cmpint (vhost_session_get_peer_uid (f->session), ==, (int) getuid ());
  g_assert_nonnull (vhost_session_get_peer_name (f->session));
}

static void
test_acks_when_asked (Fixture *f, gconstpointer data)
{
  send_message (f, VHOST_WIRE_SET_OWNER, 0, NULL, 0, NULL, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_OWNER, NULL, 0), ==, 0); /* not SET_OWNER's */
  send_message (f, VHOST_WIRE_GET_FEATURES, NEED_REPLY, NULL, 0, NULL, 0);
  g_assert_cmphex (receive_u64 (f, VHOST_WIRE_GET_FEATURES), !=, 0); /* A2: one answer, its own */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_refuses_strange_features (Fixture *f, gconstpointer data)
{
  guint64 packed = VHOST_WIRE_BIT (VHOST_WIRE_F_RING_PACKED);

  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL | 1u << 14), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | packed), !=, 0);
  g_assert_cmphex (vhost_session_get_features (f->session), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 11), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 3); /* T1 */
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 11), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 11);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 256), !=, 0); /* T4 */
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 11);
}

static void
test_unknown_message (Fixture *f, gconstpointer data)
{
  guint64 value = 0;

  send_message (f, 77, 0, &value, sizeof value, &f->kick_fd, 1);
  g_assert_cmpuint (call (f, 77, &value, sizeof value), !=, 0);
  g_assert_cmpuint (call (f, 0, NULL, 0), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SEND_RARP, &value, sizeof value), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_bad_version (Fixture *f, gconstpointer data)
{
  VhostWireHeader header = { VHOST_WIRE_SET_OWNER, 2, 0 };
  guint8 byte;

  g_assert_cmpint (write (f->peer, &header, sizeof header), ==, sizeof header);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  g_assert_cmpint (read (f->peer, &byte, 1), ==, 0);
}

/* An answer of its own is due also when it was refused; the stream must not slip. */
static void
test_failed_getters (Fixture *f, gconstpointer data)
{
  VhostWireVringState state = { N_QUEUES, 0 };
  VhostWireConfig config = { 0, 4, 0, { 0 } };
  guint8 reply[64];
  guint8 inflight[24] = { 0 };

  send_message (f, VHOST_WIRE_GET_VRING_BASE, NEED_REPLY, &state, sizeof state, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, reply, sizeof reply), ==, 0);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, 3, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, reply, sizeof reply), ==, 0);
  /* not negotiated */
  send_message (f, VHOST_WIRE_GET_CONFIG, 0, &config, 16, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_CONFIG, reply, sizeof reply), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_QUEUE_NUM), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_CHECK_DEVICE_STATE), !=, 0);
  send_message (f, VHOST_WIRE_GET_INFLIGHT_FD, 0, inflight, 20, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_INFLIGHT_FD, reply, sizeof reply), ==, 20);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
}

static void
test_ring_limits (Fixture *f, gconstpointer data)
{
  static const guint32 bad[] = { 0, 3, 65536, G_MAXUINT32 };
  VhostWireVringAddr addr = ring_addr (N_QUEUES);

  negotiate (f);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, bad[i]), !=, 0); /* V1 */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, N_QUEUES, 8), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 256, 8), !=, 0); /* not cut to 8 bits */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 65536), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 2), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, N_QUEUES, 1), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, N_QUEUES, f->call_fd), !=, 0);
}

static void
test_notifier_kinds (Fixture *f, gconstpointer data)
{
  guint64 no_fd = VHOST_WIRE_VRING_NO_FD;
  guint64 with_fd = 0;
  int pipes[2];

  g_assert_cmpint (pipe2 (pipes, O_CLOEXEC), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->hand.fd), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->peer), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->hand.fd), !=, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, pipes[1]), ==, 0);
  g_assert_cmpint (fcntl (pipes[1], F_GETFL) & O_NONBLOCK, !=, 0);
  g_assert_cmpuint (
      call_fds (f, VHOST_WIRE_SET_VRING_CALL, &no_fd, sizeof no_fd, &f->call_fd, 1), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_CALL, &with_fd, sizeof with_fd), !=, 0);
  close (pipes[0]);
  close (pipes[1]);
}

/* ---- Rings ---- */

static void
test_serves (Fixture *f, gconstpointer data)
{
  guint32 id, len;

  start_device (f);
  g_assert_cmpuint (f->device->n_activations, ==, 1);
  offer (f);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  hand_used (&f->hand, 1, &id, &len);
  g_assert_cmpuint (id, ==, 1);
  g_assert_cmpuint (len, ==, 3);
  ITERATE_UNTIL (is_readable (f->call_fd));
  ITERATE_UNTIL (atomic_load (&f->n_kicked) > 0);
  g_assert_cmpuint (get_base (f, 0), ==, 2);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_started), ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
  /* A stopped ring answers again, and starts again where it was, with the same call descriptor (R7). */
  g_assert_cmpuint (get_base (f, 0), ==, 2);
  hand_read_event (f->call_fd);
  offer (f);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 3);
  ITERATE_UNTIL (is_readable (f->call_fd));
  g_assert_cmpuint (f->device->n_activations, ==, 2);
}

static void
test_disabled_until_enabled (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  offer (f);
  g_assert_cmpint (vhost_queue_get_state (vhost_session_get_queue (f->session, 0)), ==,
                   VHOST_QUEUE_STATE_STARTED);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_enabled_without_bit_30 (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (
      call_u64 (f, VHOST_WIRE_SET_FEATURES, VHOST_WIRE_BIT (VHOST_WIRE_F_VERSION_1)), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 0), !=, 0); /* not negotiated */
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_running_ring_stays (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);
  int kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  start_device (f);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, 4), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 4), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0); /* R9 */
  addr.used += 64;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), !=, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | 1u << 29), !=, 0);
  /* R16: another kick descriptor and nothing else */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, kick_fd), ==, 0);
  g_assert_cmpuint (f->device->n_activations, ==, 1);
  close (f->kick_fd);
  f->kick_fd = kick_fd;
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  /* another call descriptor */
  close (f->call_fd);
  f->call_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_CALL, 0, f->call_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (is_readable (f->call_fd));
}

static void
test_kick_needs_all (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  negotiate (f);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  addr.used++; /* V2 */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (f->device->n_activations, ==, f->device->n_suspends);
  start_ring (f, 0); /* no trace of all that */
}

static void
test_no_shared_memory (Fixture *f, gconstpointer data)
{
  VhostWireMemTable table = { 0 };

  negotiate (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_MEM_TABLE, &table, 8), ==, 0);
  describe_ring (f, 0);
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING,
                         "*(pid *): the front-end shares no guest memory*memory-backend-memfd*share=on*libvirt*");
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_test_assert_expected_messages ();
  /* said once */
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  table.n_regions = 1;
  table.regions[0] = (VhostWireRegion) { HAND_BASE, HAND_SIZE, HAND_USER, 0 };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40), !=, 0);
}

static void
test_ring_outside_memory (Fixture *f, gconstpointer data)
{
  VhostWireVringAddr addr = ring_addr (0);

  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  addr.available = HAND_USER + HAND_SIZE - 8; /* its end is outside */
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0); /* R17 */
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*available ring of ring 0*share=on*");
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_test_assert_expected_messages ();
  g_assert_cmpuint (f->device->n_activations, ==, 0);
}

static void
test_guest_addresses (Fixture *f, gconstpointer data)
{
  VhostWireMemTable table = { 1, 0, { { HAND_BASE, HAND_SIZE, HAND_USER, 0 } } };
  VhostWireVringAddr addr = { 0, 0, HAND_DESC, HAND_USED, HAND_AVAIL, 0 };

  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, ALL_PROTOCOL | 1u << 21), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1), !=, 0);
  table.regions[0].user_addr = HAND_BASE;
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_MEM_TABLE, &table, 40, &f->hand.fd, 1), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_NUM, 0, RING_SIZE), ==, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_VRING_ADDR, &addr, sizeof addr), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_busy_activation (Fixture *f, gconstpointer data)
{
  f->device->busy = 3;
  start_device (f);
  g_assert_cmpuint (f->device->n_activations, ==, 4);
  g_assert_cmpuint (get_base (f, 0), ==, 0);
  f->device->busy = G_MAXUINT;
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), !=, 0);
  g_assert_cmpuint (f->device->n_activations, ==, 24);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
}

static void
test_get_base_waits (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);
  VhostWireVringState state = { 0, 0 };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  send_message (f, VHOST_WIRE_GET_FEATURES, 0, NULL, 0, NULL, 0); /* must wait its turn */
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  g_assert_false (is_readable (f->peer));
  post_completion (f);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_VRING_BASE, &state, sizeof state), ==, 8);
  g_assert_cmpuint (state.num, ==, 1);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  g_assert_cmphex (receive_u64 (f, VHOST_WIRE_GET_FEATURES), !=, 0);
}

static void
test_drain_timeout (Fixture *f, gconstpointer data)
{
  VhostWireVringState state = { 0, 0 };
  guint8 byte;

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  g_assert_cmpint (read (f->peer, &byte, 1), ==, 0); /* no answer */
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  /* The request ends after the session; nothing is written to the ring then. */
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
}

static void
test_disconnect_drains (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  g_assert_cmpuint (f->n_closed, ==, 0);
  post_completion (f);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_no_error (f->close_error);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 1);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
}

static void
test_disconnect_while_waiting (Fixture *f, gconstpointer data)
{
  VhostQueue *queue = vhost_session_get_queue (f->session, 0);
  VhostWireVringState state = { 0, 0 };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_GET_VRING_BASE, 0, &state, sizeof state, NULL, 0);
  ITERATE_UNTIL (vhost_queue_get_state (queue) == VHOST_QUEUE_STATE_DRAINING);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (f->session->closing);
  post_completion (f);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_no_error (f->close_error);
}

static void
test_disconnect_while_activating (Fixture *f, gconstpointer data)
{
  guint64 value = 0;

  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  describe_ring (f, 0);
  f->device->busy = G_MAXUINT;
  send_message (f, VHOST_WIRE_SET_VRING_KICK, 0, &value, sizeof value, &f->kick_fd, 1);
  ITERATE_UNTIL (f->device->n_activations >= 2);
  vhost_fd_clear (&f->peer);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_cmpuint (f->device->n_suspends, ==, 0);
}

static void
test_close_is_idempotent (Fixture *f, gconstpointer data)
{
  start_device (f);
  vhost_session_close (f->session);
  vhost_session_close (f->session);
  g_assert_cmpuint (f->n_closed, ==, 0); /* never from within the call */
  ITERATE_UNTIL (f->n_closed == 1);
  vhost_session_close (f->session);
  g_assert_null (vhost_session_get_memory (f->session));
  g_assert_nonnull (vhost_session_get_queue (f->session, 0));
  g_assert_null (vhost_session_get_queue (f->session, N_QUEUES));
}

static void
test_shorter_shutdown (Fixture *f, gconstpointer data)
{
  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  vhost_session_shutdown (f->session, 10 * 60 * 1000, NULL);
  vhost_session_shutdown (f->session, 10, NULL);
  ITERATE_UNTIL (f->n_closed == 1);
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
}

/* ---- Memory ---- */

static void
test_memory_slots (Fixture *f, gconstpointer data)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, 0 } };
  VhostWireSingleRegion unknown = { 0, { HAND_BASE + 1, HAND_SIZE, HAND_USER, 0 } };

  negotiate (f);
  g_assert_cmpuint (call (f, VHOST_WIRE_REM_MEM_REG, &region, sizeof region), !=, 0);
  g_assert_cmpuint (
      call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &f->hand.fd, 1), ==, 0);
  g_assert_cmpuint (vhost_memory_get_n_regions (vhost_session_get_memory (f->session)), ==, 1);
  g_assert_cmpuint (
      call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &f->hand.fd, 1), !=, 0); /* M7 */
  g_assert_cmpuint (call (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region), !=, 0);
  g_assert_cmpuint (call (f, VHOST_WIRE_REM_MEM_REG, &unknown, sizeof unknown), !=, 0);
  region.region.mmap_offset = 4096; /* not looked at */
  g_assert_cmpuint (
      call_fds (f, VHOST_WIRE_REM_MEM_REG, &region, sizeof region, &f->hand.fd, 1), ==, 0);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 2);
}

static void
test_rem_waits (Fixture *f, gconstpointer data)
{
  int other = memfd_create ("other", MFD_CLOEXEC);
  VhostWireSingleRegion region = { 0, { HAND_BASE + (1 << 30), 4096, HAND_USER + (1 << 30), 0 } };

  g_assert_cmpint (ftruncate (other, 4096), ==, 0);
  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  g_assert_cmpuint (
      call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &other, 1), ==, 0);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_REM_MEM_REG, NEED_REPLY, &region, sizeof region, NULL, 0);
  ITERATE_UNTIL (f->session->busy);
  wait_for_worker (f); /* so the command has run there */
  g_assert_false (is_readable (f->peer));
  g_assert_true (f->session->busy);
  post_completion (f);
  g_assert_cmpuint (receive_u64 (f, VHOST_WIRE_REM_MEM_REG), ==, 0);
  close (other);
}

static void
test_rem_timeout (Fixture *f, gconstpointer data)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, 0 } };

  atomic_store (&f->device->hold, TRUE);
  start_device (f);
  offer (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 1);
  send_message (f, VHOST_WIRE_REM_MEM_REG, NEED_REPLY, &region, sizeof region, NULL, 0);
  ITERATE_UNTIL (f->n_closed == 1);
  g_assert_error (f->close_error, VHOST_ERROR, VHOST_ERROR_TIMED_OUT);
  post_completion (f);
  ITERATE_UNTIL (atomic_load (&f->device->n_held) == 0);
}

static void
test_table_under_running_ring (Fixture *f, gconstpointer data)
{
  start_device (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (f->device->n_memory_changes, ==, 2);
}

/* ---- Config, status, reset ---- */

static guint32
get_config (Fixture *f, guint32 offset, guint32 size, VhostWireConfig *config)
{
  *config = (VhostWireConfig) { .offset = offset, .size = size };
  send_message (f, VHOST_WIRE_GET_CONFIG, 0, config, VHOST_WIRE_CONFIG_HEADER + size, NULL, 0);
  return receive_reply (f, VHOST_WIRE_GET_CONFIG, config, sizeof *config);
}

static void
test_config (Fixture *f, gconstpointer data)
{
  VhostWireConfig config = { 0, 1, 0, { 9 } };

  negotiate (f);
  g_assert_cmpuint (get_config (f, 4, 60, &config), ==, 72);
  g_assert_cmpuint (config.size, ==, 60);
  g_assert_cmpuint (config.data[0], ==, 5);
  g_assert_cmpuint (config.data[59], ==, 0);
  g_assert_cmpuint (get_config (f, G_MAXUINT32, 60, &config), ==, 0); /* C2, C3 */

  config = (VhostWireConfig) { 0, 1, 0, { 9 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), ==, 0);
  g_assert_cmpuint (f->driver_changes, ==, 1);
  config.flags = 2;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0);
  config = (VhostWireConfig) { 1, 1, 0, { 9 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0); /* read-only */
  config.flags = 1;
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), ==, 0); /* suspended: C4 */
  g_assert_cmpuint (get_config (f, 0, 2, &config), ==, 14);
  g_assert_cmpuint (config.data[0], ==, 9);
  g_assert_cmpuint (config.data[1], ==, 9);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  config = (VhostWireConfig) { 1, 1, 1, { 7 } };
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_CONFIG, &config, 13), !=, 0); /* running */
}

static int
give_channel (Fixture *f)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), ==, 0);
  close (fds[1]);
  return fds[0];
}

static void
expect_config_change (int channel)
{
  VhostWireHeader header;

  read_exactly (channel, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, VHOST_WIRE_BACKEND_CONFIG_CHANGE_MSG);
  g_assert_cmpuint (header.size, ==, 0);
}

static void
test_config_change_waits (Fixture *f, gconstpointer data)
{
  int channel, other;

  negotiate (f);
  g_assert_cmpuint (call_fds (f, VHOST_WIRE_SET_BACKEND_REQ_FD, NULL, 0, &f->kick_fd, 1), !=, 0);
  channel = give_channel (f);
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  ITERATE_UNTIL (f->device_changes == 1);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (is_readable (channel)); /* S3 */
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  expect_config_change (channel);
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  expect_config_change (channel);
  other = give_channel (f); /* B2 */
  vhost_backend_notify_config (VHOST_BACKEND (f->device));
  expect_config_change (other);
  close (channel);
  close (other);
  g_assert_cmpuint (get_base (f, 0), ==, 0); /* the session goes on */
}

static void
break_ring (Fixture *f)
{
  hand_desc (&f->hand, f->hand.avail_idx % RING_SIZE, HAND_BASE + HAND_SIZE, 512, 2, 0);
  hand_offer (&f->hand, f->hand.avail_idx % RING_SIZE);
  vhost_fd_notify (f->kick_fd);
}

static void
test_broken_ring (Fixture *f, gconstpointer data)
{
  int channel;

  start_device (f);
  channel = give_channel (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 15), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  break_ring (f);
  ITERATE_UNTIL (f->n_broken == 1);
  ITERATE_UNTIL (is_readable (f->err_fd));
  expect_config_change (channel); /* V47 */
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 15 | 64);
  g_assert_cmpuint (get_base (f, 0), ==, 1); /* V48: the bad entry */

  hand_set_avail_index (&f->hand, 1);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_BASE, 0, 1), ==, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 15);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 2);
  close (channel);
}

/* V48: without GET_VRING_BASE in between. */
static void
test_broken_ring_set_up_again (Fixture *f, gconstpointer data)
{
  start_device (f);
  break_ring (f);
  ITERATE_UNTIL (f->n_broken == 1);
  hand_set_avail_index (&f->hand, 0);
  describe_ring (f, 0);
  g_assert_cmpuint (call_vring_fd (f, VHOST_WIRE_SET_VRING_KICK, 0, f->kick_fd), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (atomic_load (&f->device->n_started), ==, 2);
  g_assert_cmpuint (atomic_load (&f->device->n_stopped), ==, 1);
}

static void
test_reset (Fixture *f, gconstpointer data)
{
  start_device (f);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_STATUS, 15), ==, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  g_assert_cmpuint (f->device->n_resets, ==, 1);
  g_assert_cmpuint (f->device->n_suspends, ==, 1);
  g_assert_cmpuint (get_u64 (f, VHOST_WIRE_GET_STATUS), ==, 0);
  g_assert_cmpint (vhost_queue_get_state (vhost_session_get_queue (f->session, 0)), ==,
                   VHOST_QUEUE_STATE_STOPPED);
  g_assert_nonnull (vhost_session_get_memory (f->session)); /* R12: it stays */
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0), ==, 0);
  hand_set_avail_index (&f->hand, 0);
  memset (hand_at (&f->hand, HAND_USED), 0, 128);
  start_ring (f, 0);
  offer (f);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0); /* disabled */
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

/* ---- Whatever comes ---- */

static void
test_second_session (Fixture *f, gconstpointer data)
{
  int fds[2];
  GError *error = NULL;

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_null (vhost_session_new_take_fd (fds[1], VHOST_BACKEND (f->device), &f->worker, 1, 100,
                                            FALSE, &owner, f, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_true (is_readable (fds[0])); /* closed */
  close (fds[0]);
  end_session (f);
  f->n_closed = 0;
  connect_session (f, 100);
  start_device (f);
}

static gboolean
count_tick (gpointer data)
{
  ++*(guint *) data;
  return G_SOURCE_CONTINUE;
}

static void
test_talkative (Fixture *f, gconstpointer data)
{
  guint ticks = 0;
  guint idle = g_idle_add_full (G_PRIORITY_DEFAULT, count_tick, &ticks, NULL);

  for (guint i = 0; i < 160; i++)
    send_message (f, VHOST_WIRE_SET_OWNER, 0, NULL, 0, NULL, 0);
  send_message (f, VHOST_WIRE_GET_FEATURES, 0, NULL, 0, NULL, 0);
  receive_u64 (f, VHOST_WIRE_GET_FEATURES);
  g_assert_cmpuint (ticks, >=, 9);
  g_source_remove (idle);
}

/* Each message gets the answer that it asks for or none, whatever stands in it, and no descriptor stays behind. */
static void
test_random_messages (Fixture *f, gconstpointer data)
{
  GRand *rand = g_rand_new_with_seed (20261123);
  guint before, after;

  start_device (f);
  before = count_fds ();
  for (guint i = 0; i < 3000; i++)
    {
      guint8 payload[VHOST_WIRE_MAX_PAYLOAD];
      guint32 request = g_rand_int_range (rand, 0, VHOST_WIRE_N_REQUESTS + 2);
      const VhostWireMessage *row = vhost_wire_lookup (request);
      guint32 size = row != NULL && g_rand_int_range (rand, 0, 8) > 0
                         ? row->min_size
                         : (guint32) g_rand_int_range (rand, 0, 64);
      int fds[3] = { f->kick_fd, f->hand.fd, f->call_fd };
      guint8 reply[VHOST_WIRE_MAX_PAYLOAD];

      for (guint j = 0; j < size; j++)
        payload[j] = j % 8 > 1 || g_rand_boolean (rand) ? 0 : g_rand_int_range (rand, 0, 256);
      /* The starts and stops have tests of their own; here nothing may warn. */
      if (request == VHOST_WIRE_SET_VRING_KICK)
        continue;
      send_message (f, request, NEED_REPLY, payload, size, fds, g_rand_int_range (rand, 0, 4));
      receive_reply (f, request, reply, sizeof reply);
    }
  g_rand_free (rand);
  g_assert_cmpuint (call (f, VHOST_WIRE_RESET_DEVICE, NULL, 0) | 1, ==, 1);
  after = count_fds ();
  /* call, err and kick of the rings and one map's file come and go */
  g_assert_cmpuint (after, <=, before + 8);
  end_session (f);
  g_assert_cmpuint (count_fds (), <, before);
}

static void
test_no_leaks (Fixture *f, gconstpointer data)
{
  guint before;

  end_session (f);
  before = count_fds ();
  for (guint i = 0; i < 20; i++)
    {
      f->n_closed = 0;
      hand_set_avail_index (&f->hand, 0);
      memset (hand_at (&f->hand, HAND_USED), 0, 128);
      connect_session (f, 1000);
      start_device (f);
      close (give_channel (f));
      start_ring (f, 1);
      end_session (f);
    }
  g_assert_cmpuint (count_fds (), ==, before);
}

#define ADD(name, setup, function)                                                                 \
  g_test_add ("/session/" name, Fixture, NULL, setup, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("offers-what-works-and-knows-its-peer", set_up, test_offers);
  ADD ("answers-each-message-once-and-only-when-asked", set_up, test_acks_when_asked);
  ADD ("refuses-features-that-were-not-offered", set_up, test_refuses_strange_features);
  ADD ("refuses-what-it-does-not-know-and-goes-on", set_up, test_unknown_message);
  ADD ("closes-on-a-version-that-does-not-exist", set_up, test_bad_version);
  ADD ("answers-getters-also-when-they-fail", set_up, test_failed_getters);
  ADD ("refuses-impossible-rings", set_up, test_ring_limits);
  ADD ("takes-only-eventfds-and-pipes-for-notifications", set_up, test_notifier_kinds);
  ADD ("serves-a-ring-and-starts-it-again-where-it-stopped", set_up, test_serves);
  ADD ("takes-nothing-from-a-ring-that-is-not-enabled", set_up, test_disabled_until_enabled);
  ADD ("enables-all-rings-for-a-front-end-without-bit-30", set_up, test_enabled_without_bit_30);
  ADD ("changes-only-descriptors-of-a-running-ring", set_up, test_running_ring_stays);
  ADD ("starts-no-ring-before-all-is-known", set_up, test_kick_needs_all);
  ADD ("tells-how-to-share-memory", set_up, test_no_shared_memory);
  ADD ("refuses-a-ring-outside-memory", set_up, test_ring_outside_memory);
  ADD ("takes-guest-addresses-when-negotiated", set_up, test_guest_addresses);
  ADD ("tries-a-busy-device-again-for-a-second", set_up, test_busy_activation);
  ADD ("answers-get-vring-base-when-requests-have-ended", set_up, test_get_base_waits);
  ADD ("closes-without-an-answer-when-requests-do-not-end", set_up_impatient, test_drain_timeout);
  ADD ("drains-after-a-disconnect", set_up, test_disconnect_drains);
  ADD ("notices-a-disconnect-while-a-worker-is-asked", set_up, test_disconnect_while_waiting);
  ADD ("notices-a-disconnect-while-the-device-is-busy", set_up, test_disconnect_while_activating);
  ADD ("closes-once", set_up, test_close_is_idempotent);
  ADD ("shortens-a-shutdown", set_up, test_shorter_shutdown);
  ADD ("adds-and-removes-regions", set_up, test_memory_slots);
  ADD ("answers-rem-mem-reg-when-requests-have-ended", set_up, test_rem_waits);
  ADD ("closes-when-a-removed-region-stays-in-use", set_up_impatient, test_rem_timeout);
  ADD ("changes-the-table-under-a-running-ring", set_up, test_table_under_running_ring);
  ADD ("reads-and-writes-the-configuration", set_up, test_config);
  ADD ("tells-of-a-changed-configuration-once-a-ring-runs", set_up, test_config_change_waits);
  ADD ("shows-a-broken-ring-and-heals-it", set_up, test_broken_ring);
  ADD ("heals-a-broken-ring-without-a-stop", set_up, test_broken_ring_set_up_again);
  ADD ("resets-the-device-and-keeps-the-connection", set_up, test_reset);
  ADD ("gives-a-device-to-one-front-end-at-a-time", set_up, test_second_session);
  ADD ("leaves-the-loop-to-others", set_up, test_talkative);
  ADD ("answers-random-messages-and-keeps-no-descriptor", set_up, test_random_messages);
  ADD ("leaks-no-descriptor", set_up, test_no_leaks);
  return g_test_run ();
}
