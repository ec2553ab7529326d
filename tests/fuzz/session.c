/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: a whole session, its rings included, against a front-end that says and writes
 * whatever the input says. Everything runs in one thread (an inline worker), so a finding repeats.
 *
 * The input is a list of records {u8 what, u8 request, u8 flags, u8 fds, u8 n, n bytes}: a
 * well-framed message, raw bytes, or bytes for the guest's memory with a kick. */
#include "vhost-fd-private.h"
#include "vhost-session-private.h"
#include "vhost-worker-loop-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY_SIZE 0x10000u

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

static void
fuzz_backend_class_init (FuzzBackendClass *klass)
{
  VHOST_BACKEND_CLASS (klass)->process_chain = fuzz_process_chain;
  vhost_backend_class_set_device (VHOST_BACKEND_CLASS (klass), "fuzz", 42, 4);
}

static void
fuzz_backend_init (FuzzBackend *self)
{
  guint8 space[32] = { 1, 2, 3 }, mask[32] = { 0xff, 0xff };

  vhost_backend_set_config_space (VHOST_BACKEND (self), space, sizeof space, mask);
}

/* ---- the front-end */

static int memory_fd = -1;
static guint8 *memory;
static int kick_fd = -1;
static int pipe_fds[2];
static int null_fd;
static int socket_fds[2];

static void
quiet (const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
}

static GLogWriterOutput
quiet_writer (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  /* A warning is allowed; what GLib calls critical is a bug here. */
  if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR))
    {
      g_log_writer_standard_streams (level, fields, n, NULL);
      __builtin_trap ();
    }
  return G_LOG_WRITER_HANDLED;
}

static void
set_up (void)
{
  g_log_set_default_handler (quiet, NULL);
  g_log_set_writer_func (quiet_writer, NULL, NULL);
  memory_fd = memfd_create ("fuzz-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory_fd < 0 || ftruncate (memory_fd, MEMORY_SIZE) != 0
      || pipe2 (pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0
      || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socket_fds) != 0)
    g_error ("set-up: %s", g_strerror (errno));
  memory = mmap (NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
  kick_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  /* The context opens its own descriptor now. */
  g_main_context_iteration (NULL, FALSE);
}

static void
send_bytes (int fd, const void *bytes, gsize size, guint kinds)
{
  const int palette[8]
      = { -1, kick_fd, memory_fd, pipe_fds[0], socket_fds[0], null_fd, memory_fd, kick_fd };
  char control[CMSG_SPACE (9 * sizeof (int))] = { 0 };
  struct iovec iov = { (gpointer) bytes, size };
  struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
  int fds[9];
  guint n = 0;

  if (size == 0)
    return;
  /* Low bits: which; high bits: how many more of the same. */
  if (palette[kinds & 7] >= 0)
    for (guint i = 0; i <= (kinds >> 3) % 9; i++)
      fds[n++] = palette[kinds & 7];
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

static void
settle (int peer)
{
  guint8 sink[4096];

  for (guint i = 0; i < 200 && g_main_context_iteration (NULL, FALSE); i++)
    ;
  /* One that is not full was the last: this is the place where a system call more costs. */
  while (recv (peer, sink, sizeof sink, MSG_DONTWAIT) == sizeof sink)
    ;
}

/* What the last input left in the objects that all inputs share: a finding must not need it. */
static void
reset (void)
{
  guint8 sink[4096];
  eventfd_t n;

  memset (memory, 0, MEMORY_SIZE);
  eventfd_read (kick_fd, &n);
  while (recv (socket_fds[1], sink, sizeof sink, 0) > 0)
    ;
  lseek (memory_fd, 0, SEEK_SET);
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
  reset ();
  free_fds = vhost_fd_count_free ();
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
    return 0;
  backend = g_object_new (FUZZ_TYPE_BACKEND, "num-queues", 4, NULL);
  worker = vhost_worker_new_inline (NULL, &error);
  g_assert_no_error (error);
  session = vhost_session_new_take_fd (fds[0], VHOST_BACKEND (backend), &worker, 1, 10, TRUE,
                                       &owner, &closed, &error);
  g_assert_no_error (error);

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
      else
        {
          guint8 message[VHOST_WIRE_HEADER_SIZE + 256];
          VhostWireHeader header = { data[1] % 50, 1 | (data[2] & 12), n };

          memcpy (message, &header, sizeof header);
          memcpy (message + sizeof header, data + 5, n);
          send_bytes (fds[1], message, sizeof header + n, data[3]);
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
  g_object_unref (session);
  vhost_worker_stop (worker);
  g_object_unref (worker);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_finalize_object (backend);
  g_assert_cmpuint (vhost_fd_count_free (), ==, free_fds);
  return 0;
}
