/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: a whole session, its rings included, against a front-end that says and writes
 * whatever the input says. Everything runs in one thread (an inline worker), so a finding repeats.
 *
 * The input is a list of records {u8 what, u8 request, u8 flags, u8 fds, u8 n, n bytes}: a
 * well-framed message, raw bytes, bytes for the guest's memory with a kick, or for the other files
 * that the front-end shares, an answer on the back-end's channel, or something that the device asks
 * for. A thread serves the faults of postcopy, which nobody else could. */
#include "vhost-fd-private.h"
#include "vhost-session-private.h"
#include "vhost-worker-loop-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY_SIZE 0x10000u
/* Of the in-flight area's file and the log's: as much as the seeds need. */
#define AREA_SIZE 0x2000u
#define FUZZ_UUID "01234567-89ab-cdef-0123-456789abcdef"

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* ---- the device */

#define FUZZ_TYPE_BACKEND (fuzz_backend_get_type ())
G_DECLARE_FINAL_TYPE (FuzzBackend, fuzz_backend, FUZZ, BACKEND, VhostBackend)

struct _FuzzBackend
{
  VhostBackend parent_instance;
  VhostChain *held;
};

G_DEFINE_FINAL_TYPE (FuzzBackend, fuzz_backend, VHOST_TYPE_BACKEND)

static void
fuzz_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  FuzzBackend *self = (FuzzBackend *) backend;
  guint8 header[16];

  vhost_chain_pull (chain, header, sizeof header);
  vhost_chain_write (chain, header, sizeof header);
  /* One request is always one behind, so that stops and map changes meet requests in flight. */
  if (self->held != NULL)
    vhost_chain_complete (self->held, 1);
  self->held = chain;
}

static void
fuzz_release (FuzzBackend *self)
{
  if (self->held != NULL)
    vhost_chain_complete (g_steal_pointer (&self->held), 1);
}

static guint64
fuzz_get_features (VhostBackend *backend)
{
  return 1 << 3; /* a network's MTU */
}

static GBytes *
fuzz_get_state (VhostBackend *backend, GError **error)
{
  static const guint8 state[100000]; /* more than a pipe holds */

  return g_bytes_new_static (state, sizeof state);
}

static gboolean
fuzz_set_state (VhostBackend *backend, GBytes *state, GError **error)
{
  return g_bytes_get_size (state) != 1;
}

static gboolean
fuzz_announce (VhostBackend *backend, GBytes *mac, GError **error)
{
  return TRUE;
}

static gboolean
fuzz_set_mtu (VhostBackend *backend, guint mtu, GError **error)
{
  return TRUE;
}

static gint64
fuzz_create_crypto_session (VhostBackend *backend, GBytes *description, GError **error)
{
  return (gint64) g_bytes_get_size (description);
}

static gboolean
fuzz_close_crypto_session (VhostBackend *backend, gint64 id, GError **error)
{
  return TRUE;
}

static void
fuzz_set_gpu_socket (VhostBackend *backend, int fd)
{
  close (fd);
}

static void
fuzz_backend_class_init (FuzzBackendClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  backend_class->get_features = fuzz_get_features;
  backend_class->process_chain = fuzz_process_chain;
  backend_class->get_state = fuzz_get_state;
  backend_class->set_state = fuzz_set_state;
  backend_class->announce = fuzz_announce;
  backend_class->set_mtu = fuzz_set_mtu;
  backend_class->create_crypto_session = fuzz_create_crypto_session;
  backend_class->close_crypto_session = fuzz_close_crypto_session;
  backend_class->set_gpu_socket = fuzz_set_gpu_socket;
  vhost_backend_class_set_device (backend_class, "fuzz", 43, 4);
}

static void
fuzz_backend_init (FuzzBackend *self)
{
  VhostBackend *backend = VHOST_BACKEND (self);
  guint8 space[32] = { 1, 2, 3 }, mask[32] = { 0xff, 0xff };

  vhost_backend_set_config_space (backend, space, sizeof space, mask);
  vhost_backend_set_shared_objects (backend, TRUE);
  vhost_backend_set_host_notifiers (backend, TRUE);
  vhost_backend_set_shmem_region (backend, 3, MEMORY_SIZE, NULL);
}

static void
on_found (GObject *backend, GAsyncResult *result, gpointer data)
{
  int fd = vhost_backend_shared_object_lookup_finish (VHOST_BACKEND (backend), result, NULL);

  vhost_fd_clear (&fd);
}

/* ---- the front-end */

static int memory_fd = -1;
static guint8 *memory;
static int kick_fd = -1;
static int null_fd;
static int area_fd; /* for the in-flight area and the log; can shrink */
/* New for each input. The front-end's ends: pipe_fds[0] of a state that is saved, more_fds[1] of
 * one that is loaded, socket_fds[1] of the channel. */
static int pipe_fds[2], more_fds[2], socket_fds[2];
static int answer_fd; /* what came with the last answer; -1: nothing */

static gboolean talk;

static GLogWriterOutput
quiet_writer (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  /* A warning is allowed; what GLib calls critical is a bug here. */
  if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR))
    {
      g_log_writer_standard_streams (level, fields, n, NULL);
      __builtin_trap ();
    }
  /* What a seed really does. */
  if (G_UNLIKELY (talk))
    g_log_writer_standard_streams (level, fields, n, NULL);
  return G_LOG_WRITER_HANDLED;
}

static void
set_up (void)
{
  talk = g_getenv ("VHOST_FUZZ_LOG") != NULL;
  g_log_set_writer_func (quiet_writer, NULL, NULL);
  memory_fd = memfd_create ("fuzz-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  area_fd = memfd_create ("fuzz-area", MFD_CLOEXEC);
  if (memory_fd < 0 || ftruncate (memory_fd, MEMORY_SIZE) != 0 || area_fd < 0)
    g_error ("set-up: %s", g_strerror (errno));
  memory = mmap (NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
  kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  /* The context opens its own descriptor now, and so does the one of tasks. */
  g_type_ensure (G_TYPE_TASK);
  g_main_context_iteration (NULL, FALSE);
}

/* ---- faults: the front-end's thread of a migration by postcopy */

static GThread *fault_thread;
static int fault_fd = -1, quit_fd = -1;

static gpointer
serve_faults (gpointer data)
{
  static const guint8 page[4096];
  struct pollfd fds[2]
      = { { .fd = fault_fd, .events = POLLIN }, { .fd = quit_fd, .events = POLLIN } };

  for (;;)
    {
      struct uffd_msg message;

      if (poll (fds, 2, -1) <= 0)
        continue;
      if ((fds[1].revents | (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL))) != 0)
        return NULL;
      while (read (fault_fd, &message, sizeof message) == sizeof message)
        {
          guint64 address = message.arg.pagefault.address & ~(guint64) 4095;
          struct uffdio_copy copy = { .dst = address, .src = (guintptr) page, .len = 4096 };
          struct uffdio_range range = { address, 4096 };

          if (message.event == UFFD_EVENT_PAGEFAULT && ioctl (fault_fd, UFFDIO_COPY, &copy) != 0)
            ioctl (fault_fd, UFFDIO_WAKE, &range);
        }
    }
}

static void
stop_faults (void)
{
  if (fault_thread == NULL)
    return;
  eventfd_write (quit_fd, 1);
  g_thread_join (g_steal_pointer (&fault_thread));
  vhost_fd_clear (&fault_fd);
  vhost_fd_clear (&quit_fd);
}

/* Takes @fd. */
static void
start_faults (int fd)
{
  stop_faults ();
  fault_fd = fd;
  quit_fd = eventfd (0, EFD_CLOEXEC);
  fault_thread = g_thread_new ("faults", serve_faults, NULL);
}

/* ---- messages */

/* @kinds: low bits: which, of a second dozen with bit 8; the others: how many more of the same. */
static void
send_bytes (int fd, const void *bytes, gsize size, guint kinds)
{
  const int palette[16]
      = { -1,        kick_fd,  memory_fd,     pipe_fds[0], socket_fds[0], null_fd,
          memory_fd, kick_fd,  pipe_fds[1],   more_fds[0], area_fd,       answer_fd,
          area_fd,   fault_fd, socket_fds[1], more_fds[1] };
  int which = palette[(kinds & 7) | (kinds & 256 ? 8 : 0)];
  char control[CMSG_SPACE (9 * sizeof (int))] = { 0 };
  struct iovec iov = { (gpointer) bytes, size };
  struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
  int fds[9];
  guint n = 0;

  if (size == 0)
    return;
  if (which >= 0)
    for (guint i = 0; i <= (kinds >> 3 & 31) % 9; i++)
      fds[n++] = which;
  if (n > 0)
    {
      struct cmsghdr *header;

      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE (n * sizeof (int));
      header = CMSG_FIRSTHDR (&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN (n * sizeof (int));
      memcpy (CMSG_DATA (header), fds, n * sizeof (int));
    }
  if (sendmsg (fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    return; /* closed by the other side: as it should */
}

/* Takes what came with an answer: a userfaultfd has its thread, an in-flight area is kept. */
static void
take_answer_fd (int fd)
{
  struct uffdio_range nothing = { 0, 0 };

  /* Of a userfaultfd only: it knows the command and dislikes the range. */
  if (ioctl (fd, UFFDIO_WAKE, &nothing) != 0 && errno == EINVAL)
    {
      start_faults (fd);
      return;
    }
  vhost_fd_clear (&answer_fd);
  answer_fd = fd;
}

/* One read of what the other side has said. TRUE: there may be more. */
static gboolean
swallow (int peer)
{
  guint8 sink[4096];
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (8 * sizeof (int))];
  } control;
  struct iovec iov = { sink, sizeof sink };
  struct msghdr message = {
    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
  };
  gssize n = recvmsg (peer, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  gboolean had_fds = FALSE;

  for (struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR (&message) : NULL; header != NULL;
       header = CMSG_NXTHDR (&message, header))
    for (gsize i = 0; CMSG_LEN ((i + 1) * sizeof (int)) <= header->cmsg_len; i++)
      {
        int fd;

        memcpy (&fd, CMSG_DATA (header) + i * sizeof fd, sizeof fd);
        take_answer_fd (fd);
        had_fds = TRUE;
      }
  /* A read ends behind descriptors. Else, one that is not full was the last: this is the place
   * where a system call more costs. */
  return had_fds || n == sizeof sink;
}

static void
settle (int peer)
{
  for (guint i = 0; i < 200 && g_main_context_iteration (NULL, FALSE); i++)
    ;
  while (swallow (peer))
    ;
}

/* The next of the device's own requests gets an answer of the input's making. */
static void
answer (const guint8 *record, const guint8 *bytes, guint n)
{
  guint8 message[VHOST_WIRE_HEADER_SIZE + 256];
  VhostWireHeader header;
  guint64 value = 0;

  if (recv (socket_fds[1], &header, VHOST_WIRE_HEADER_SIZE, 0) != VHOST_WIRE_HEADER_SIZE)
    return;
  while (header.size > 0)
    {
      gssize got = recv (socket_fds[1], message, MIN (header.size, sizeof message), 0);

      if (got <= 0)
        return;
      header.size -= (guint32) got;
    }
  if (record[1] != 0)
    header.request = record[1] % 16;
  header.flags = 1 | 4 | (record[2] & 8);
  header.size = n > 0 ? n : sizeof value;
  memcpy (message, &header, VHOST_WIRE_HEADER_SIZE);
  memcpy (message + VHOST_WIRE_HEADER_SIZE, n > 0 ? bytes : (const guint8 *) &value, header.size);
  send_bytes (socket_fds[1], message, VHOST_WIRE_HEADER_SIZE + header.size,
              record[3] | (record[2] & 16u) << 4);
}

/* What the device and the rest of the host do of their own accord. */
static void
act (VhostBackend *backend, const guint8 *record, const guint8 *bytes, guint n)
{
  guint8 sink[4096];
  guint64 offset = record[3] * 4096u;

  switch (record[1] % 16)
    {
    case 0:
      vhost_backend_notify_config (backend);
      break;
    case 1:
      vhost_backend_shared_object_add_async (backend, FUZZ_UUID, memory_fd, NULL, NULL, NULL);
      break;
    case 2:
      vhost_backend_shared_object_remove_async (backend, FUZZ_UUID, NULL, NULL, NULL);
      break;
    case 3:
      vhost_backend_shared_object_lookup_async (backend, FUZZ_UUID, NULL, on_found, NULL);
      break;
    case 4:
      vhost_backend_set_host_notifier_async (backend, record[3] & 3, record[2] & 1 ? -1 : memory_fd,
                                             0, NULL, NULL, NULL);
      break;
    case 5:
      vhost_backend_map_shmem_async (backend, 3, offset, memory_fd, 0, 4096, TRUE, NULL, NULL,
                                     NULL);
      break;
    case 6:
      vhost_backend_unmap_shmem_async (backend, 3, offset, 4096, NULL, NULL, NULL);
      break;
    case 7:
      /* Pages go that postcopy has to bring. */
      if (fallocate (memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset % MEMORY_SIZE,
                     4096)
          != 0)
        break;
      break;
    case 8:
      if (ftruncate (area_fd, record[3] * 32) != 0)
        break;
      break;
    case 9:
      /* Into the area, as the front-end may at any time. */
      if (pwrite (area_fd, bytes, n, (record[2] | record[3] << 8) % (AREA_SIZE - 256)) < 0
          || (answer_fd >= 0 && pwrite (answer_fd, bytes, n, record[2] | record[3] << 8) < 0))
        break;
      break;
    case 10:
      vhost_fd_clear (&more_fds[1]);
      break;
    case 11:
      vhost_fd_clear (&pipe_fds[0]);
      break;
    case 12:
      if (read (pipe_fds[0], sink, sizeof sink) <= 0)
        break;
      break;
    case 13:
      if (more_fds[1] >= 0 && write (more_fds[1], bytes, n) < 0)
        break;
      break;
    case 14:
      vhost_fd_clear (&socket_fds[1]);
      break;
    default:
      break;
    }
}

/* What the last input left in the objects that all inputs share: a finding must not need it. */
static void
reset (void)
{
  eventfd_t n;

  memset (memory, 0, MEMORY_SIZE);
  eventfd_read (kick_fd, &n);
  lseek (memory_fd, 0, SEEK_SET);
  if (ftruncate (area_fd, 0) != 0 || ftruncate (area_fd, AREA_SIZE) != 0
      || pipe2 (pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0
      || pipe2 (more_fds, O_CLOEXEC | O_NONBLOCK) != 0
      || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socket_fds) != 0)
    g_error ("reset: %s", g_strerror (errno));
  answer_fd = -1;
}

static void
forget (void)
{
  for (guint i = 0; i < 2; i++)
    {
      vhost_fd_clear (&pipe_fds[i]);
      vhost_fd_clear (&more_fds[i]);
      vhost_fd_clear (&socket_fds[i]);
    }
  vhost_fd_clear (&answer_fd);
}

static void
on_closed (VhostSession *session, const GError *error, gpointer data)
{
  *(gboolean *) data = TRUE;
}

static void
on_config_changed (VhostSession *session, guint offset, guint length, gboolean by_driver,
                   gpointer data)
{
}

static gboolean
wants_kicks (gpointer data)
{
  return FALSE;
}

static void
on_kicked (VhostQueue *queue, gpointer data)
{
}

static const VhostSessionOwner owner = {
  .closed = on_closed,
  .config_changed = on_config_changed,
  .wants_kicks = wants_kicks,
  .kicked = on_kicked,
};

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzBackend *backend;
  VhostWorker *worker;
  VhostSession *session;
  gboolean closed = FALSE;
  guint free_fds;
  int fds[2];
  GError *error = NULL;

  if (memory == NULL)
    set_up ();
  vhost_fd_settle ();
  free_fds = vhost_fd_count_free ();
  reset ();
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
    return 0;
  backend = g_object_new (FUZZ_TYPE_BACKEND, "num-queues", 4, NULL);
  worker = vhost_worker_new_inline (NULL, &error);
  g_assert_no_error (error);
  session = vhost_session_new_take_fd (fds[0], VHOST_BACKEND (backend), &worker, 1, 10, TRUE,
                                       &owner, &closed, &error);
  g_assert_no_error (error);
  session->in_band = TRUE;

  for (guint records = 0; size >= 5 && records < 64; records++)
    {
      guint n = MIN (data[4], size - 5);

      if ((data[0] & 7) == 7)
        {
          /* The guest writes: low addresses, where the seeds' rings are. */
          guint at = (data[1] | data[2] << 8) % (MEMORY_SIZE - 256);
          guint64 one = 1;

          memcpy (memory + at, data + 5, n);
          if (write (kick_fd, &one, sizeof one) < 0)
            eventfd_read (kick_fd, &one);
        }
      else if ((data[0] & 7) == 6)
        send_bytes (fds[1], data + 5, n, data[3]);
      else if ((data[0] & 7) == 5)
        answer (data, data + 5, n);
      else if ((data[0] & 7) == 4)
        act (VHOST_BACKEND (backend), data, data + 5, n);
      else
        {
          /* Bit 5: a long one, whose rest is 0. */
          guint8 message[VHOST_WIRE_HEADER_SIZE + 512] = { 0 };
          VhostWireHeader header
              = { data[1] % 50, 1 | (data[2] & 12), n + (data[2] & 32 ? 256u : 0u) };

          memcpy (message, &header, sizeof header);
          memcpy (message + sizeof header, data + 5, n);
          send_bytes (fds[1], message, sizeof header + header.size, data[3] | (data[2] & 16u) << 4);
        }
      if (!(data[0] & 8))
        settle (fds[1]);
      if (data[0] & 16)
        fuzz_release (backend);
      data += 5 + n;
      size -= 5 + n;
    }

  settle (fds[1]);
  close (fds[1]);
  fuzz_release (backend);
  while (!closed)
    {
      g_main_context_iteration (NULL, TRUE);
      fuzz_release (backend);
    }
  stop_faults ();
  forget ();
  g_object_unref (session);
  vhost_worker_stop (worker);
  g_object_unref (worker);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_finalize_object (backend);
  vhost_fd_settle ();
  g_assert_cmpuint (vhost_fd_count_free (), ==, free_fds);
  return 0;
}
