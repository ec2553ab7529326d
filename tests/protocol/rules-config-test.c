/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the configuration space (C1 to C4) and of the back-end channel (B1, B2, S3), and
 * what closes a connection (E2). Public API only. */
#include "raw-wire.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MSG_BACKEND_CONFIG_CHANGE 2

typedef struct
{
  LiveDevice *device;
  EchoBackend *backend;    /* the device's */
  VhostFrontend *frontend; /* (owned) */
  guint n_fds;             /* open without a front-end */
  /* The last config-changed; written by the daemon's thread, read in live_device_call (). */
  guint changes, offset, length;
  VhostConfigOrigin origin;
} Fixture;

/* Thread: the daemon's. */
static void
on_config_changed (VhostDaemon *daemon, VhostSession *session, guint offset, guint length,
                   VhostConfigOrigin origin, gpointer data)
{
  Fixture *f = data;

  f->changes++;
  f->offset = offset;
  f->length = length;
  f->origin = origin;
}

/* Thread: the daemon's. */
static void
set_up (LiveDevice *device, gpointer data)
{
  g_signal_connect (device->daemon, "config-changed", G_CALLBACK (on_config_changed), data);
}

static void
begin_with (Fixture *f, guint64 protocol_features)
{
  GError *error = NULL;

  f->backend = echo_backend_new (1, 1);
  f->changes = 0;
  f->device = live_device_new (f->backend, set_up, f);
  f->n_fds = raw_count_idle_fds (f->device);
  f->frontend = vhost_frontend_new ();
  vhost_frontend_connect (f->frontend, f->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (f->frontend, LIVE_ALL_FEATURES, protocol_features, &error);
  g_assert_no_error (error);
}

static void
begin (Fixture *f)
{
  begin_with (f, LIVE_ALL_FEATURES);
}

static void
end (Fixture *f)
{
  g_clear_object (&f->frontend);
  LIVE_WAIT_FOR (raw_count_sessions (f->device) == 0);
  LIVE_WAIT_FOR (live_count_fds () == f->n_fds);
  live_device_assert_alive (f->device);
  live_device_free (f->device);
}

static void
start_ring (Fixture *f)
{
  GError *error = NULL;

  vhost_frontend_add_memory (f->frontend, 0x100000, 1 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (f->frontend, 0, 16, &error);
  g_assert_no_error (error);
}

/* ---- The space ---- */

/* GET_CONFIG as told, with @payload_size bytes of payload. Returns the size of the answer's
 * payload. */
static gsize
get_config (Fixture *f, RawConfig config, gsize payload_size, RawConfig *answer)
{
  guint request, flags;
  gsize size = sizeof *answer;
  GError *error = NULL;

  vhost_frontend_send (f->frontend, MSG_GET_CONFIG, 0, &config, payload_size, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (f->frontend, &request, &flags, answer, &size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (request, ==, MSG_GET_CONFIG);
  g_assert_cmphex (flags, ==, RAW_VERSION | RAW_REPLY);
  return size;
}

static guint64
set_config (Fixture *f, guint32 offset, guint32 flags, const void *data, guint32 size)
{
  RawConfig config = { .offset = offset, .size = size, .flags = flags };

  memcpy (config.data, data, size);
  return raw_request (f->frontend, MSG_SET_CONFIG, &config, 12 + size, NULL, 0);
}

static void
assert_byte (Fixture *f, guint32 offset, guint8 value)
{
  RawConfig answer;

  g_assert_cmpuint (get_config (f, (RawConfig){ .offset = offset, .size = 1 }, 13, &answer), ==,
                    13);
  g_assert_cmpuint (answer.data[0], ==, value);
}

static void
test_c1_size (void)
{
  const guint32 sizes[] = { 1, 4, 31, 32, 60, 255, 256 };
  Fixture f;
  RawConfig answer;

  begin (&f);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      RawConfig config = { .size = sizes[i] };

      g_assert_cmpuint (get_config (&f, config, 12 + sizes[i], &answer), ==, 12 + sizes[i]);
      g_assert_cmpuint (answer.size, ==, sizes[i]);
      for (guint at = 0; at < sizes[i]; at++)
        g_assert_cmpuint (answer.data[at], ==, at < ECHO_CONFIG_SIZE ? at : 0);
    }
  end (&f);
}

/* One bad GET_CONFIG: an answer without payload, and the stream goes on. */
static void
assert_get_refused (guint32 offset, guint32 size, gsize payload_size)
{
  Fixture f;
  RawConfig config = { .offset = offset, .size = size };
  RawConfig answer;

  begin (&f);
  g_assert_cmpuint (get_config (&f, config, payload_size, &answer), ==, 0);
  raw_assert_in_step (f.frontend);
  assert_byte (&f, 3, 3);
  end (&f);
}

static void
test_c1_shorter (void)
{
  assert_get_refused (0, 8, 12 + 7);
}

static void
test_c1_longer (void)
{
  assert_get_refused (0, 8, 12 + 9);
}

static void
test_c1_no_payload (void)
{
  assert_get_refused (0, 0, 0);
}

static void
test_c2_size_0 (void)
{
  assert_get_refused (0, 0, 12);
}

static void
test_c2_too_long (void)
{
  assert_get_refused (0, 257, 12 + 256);
}

static void
test_c2_size_max (void)
{
  assert_get_refused (0, G_MAXUINT32, 12 + 4);
}

static void
test_c3_wraps (void)
{
  assert_get_refused (G_MAXUINT32 - 3, 8, 12 + 8);
}

static void
test_c3_beyond (void)
{
  assert_get_refused (256, 1, 12 + 1);
}

static void
test_c3_across (void)
{
  assert_get_refused (255, 2, 12 + 2);
}

static void
test_c3_zeros (void)
{
  Fixture f;

  begin (&f);
  assert_byte (&f, 31, 31);
  assert_byte (&f, 32, 0);
  assert_byte (&f, 255, 0);
  end (&f);
}

static void
test_c4_get (void)
{
  Fixture f;
  RawConfig config = { .offset = 4, .size = 4, .flags = 0xdeadbeef };
  RawConfig answer;

  begin (&f);
  g_assert_cmpuint (get_config (&f, config, 16, &answer), ==, 16);
  g_assert_cmpuint (answer.data[0], ==, 4);
  end (&f);
}

static void
test_c4_writable (void)
{
  Fixture f;
  const guint8 data[4] = { 11, 12, 13, 14 };

  begin (&f);
  g_assert_cmpuint (set_config (&f, 2, 0, data, 4), ==, 0);
  for (guint i = 0; i < 4; i++)
    assert_byte (&f, 2 + i, data[i]);
  assert_byte (&f, 1, 1);
  assert_byte (&f, 6, 6);
  end (&f);
}

static void
test_c4_read_only (void)
{
  Fixture f;
  const guint8 data[4] = { 99, 99, 99, 99 };

  begin (&f);
  g_assert_cmpuint (set_config (&f, ECHO_CONFIG_WRITABLE, 0, data, 1), !=, 0);
  g_assert_cmpuint (set_config (&f, ECHO_CONFIG_SIZE - 1, 0, data, 1), !=, 0);
  g_assert_cmpuint (set_config (&f, ECHO_CONFIG_SIZE, 0, data, 1), !=, 0);
  assert_byte (&f, ECHO_CONFIG_WRITABLE, ECHO_CONFIG_WRITABLE);
  end (&f);
}

static void
test_c4_all_or_nothing (void)
{
  Fixture f;
  const guint8 data[2] = { 99, 99 };

  begin (&f);
  g_assert_cmpuint (set_config (&f, ECHO_CONFIG_WRITABLE - 1, 0, data, 2), !=, 0);
  assert_byte (&f, ECHO_CONFIG_WRITABLE - 1, ECHO_CONFIG_WRITABLE - 1);
  assert_byte (&f, ECHO_CONFIG_WRITABLE, ECHO_CONFIG_WRITABLE);
  end (&f);
}

static void
test_c4_migration (void)
{
  Fixture f;
  const guint8 data[2] = { 77, 78 };

  begin (&f);
  g_assert_cmpuint (set_config (&f, 20, 1, data, 2), ==, 0);
  assert_byte (&f, 20, 77);
  assert_byte (&f, 21, 78);
  end (&f);
}

static void
test_c4_migration_running (void)
{
  Fixture f;
  const guint8 data = 77;
  GError *error = NULL;

  begin (&f);
  start_ring (&f);
  g_assert_cmpuint (set_config (&f, 20, 1, &data, 1), !=, 0);
  g_assert_cmpuint (set_config (&f, 2, 1, &data, 1), ==, 0);
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (set_config (&f, 20, 1, &data, 1), ==, 0);
  end (&f);
}

static void
test_c4_unknown_flags (void)
{
  const guint32 flags[] = { 2, 3, 0x80000000, G_MAXUINT32 };
  Fixture f;
  const guint8 data = 77;

  begin (&f);
  for (guint i = 0; i < G_N_ELEMENTS (flags); i++)
    g_assert_cmpuint (set_config (&f, 2, flags[i], &data, 1), !=, 0);
  assert_byte (&f, 2, 2);
  end (&f);
}

static void
test_c3_set (void)
{
  Fixture f;
  RawConfig config = { .offset = G_MAXUINT32, .size = 2 };

  begin (&f);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_CONFIG, &config, 14, NULL, 0), !=, 0);
  config.offset = 0;
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_CONFIG, &config, 13, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_CONFIG, &config, 12, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_CONFIG, &config, 4, NULL, 0), !=, 0);
  config.size = 0;
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_CONFIG, &config, 12, NULL, 0), !=, 0);
  assert_byte (&f, 0, 0);
  end (&f);
}

/* Thread: the daemon's. */
static void
copy_fixture (LiveDevice *device, gpointer data)
{
  Fixture **f = data;

  *f[1] = *f[0];
}

static void
test_signal (void)
{
  Fixture f, seen;
  Fixture *both[2] = { &f, &seen };
  const guint8 data[3] = { 1, 2, 3 };

  begin (&f);
  g_assert_cmpuint (set_config (&f, 4, 0, data, 3), ==, 0);
  g_assert_cmpuint (set_config (&f, 20, 0, data, 3), !=, 0);
  live_device_call (f.device, copy_fixture, both);
  g_assert_cmpuint (seen.changes, ==, 1);
  g_assert_cmpuint (seen.offset, ==, 4);
  g_assert_cmpuint (seen.length, ==, 3);
  g_assert_cmpint (seen.origin, ==, VHOST_CONFIG_ORIGIN_DRIVER);
  end (&f);
}

static void
test_not_accepted (void)
{
  Fixture f;
  RawConfig answer;
  const guint8 data = 9;

  begin_with (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_CONFIG);
  g_assert_cmpuint (get_config (&f, (RawConfig){ .size = 4 }, 16, &answer), ==, 0);
  g_assert_cmpuint (set_config (&f, 0, 0, &data, 1), !=, 0);
  end (&f);
}

/* ---- The channel ---- */

/* Thread: the daemon's. */
static void
notify (LiveDevice *device, gpointer data)
{
  vhost_backend_notify_config (device->backend);
}

/* Thread: the daemon's. */
static void
notify_often (LiveDevice *device, gpointer data)
{
  for (guint i = 0; i < 10000; i++)
    vhost_backend_notify_config (device->backend);
}

static void
test_change (void)
{
  Fixture f;

  begin (&f);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_config_generation (f.frontend), ==, 1);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  g_assert_cmpuint (vhost_frontend_get_config_generation (f.frontend), ==, 2);
  end (&f);
}

static void
test_s3_waits (void)
{
  Fixture f;

  begin (&f);
  for (guint i = 0; i < 3; i++)
    live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  start_ring (&f);
  /* However many there were, one tells it all. */
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  live_device_assert_echo (f.frontend, 0, "runs");
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  end (&f);
}

static void
test_s3_after_stop (void)
{
  Fixture f;
  GError *error = NULL;

  begin (&f);
  start_ring (&f);
  vhost_frontend_stop_queue (f.frontend, 0, NULL, &error);
  g_assert_no_error (error);
  live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  vhost_frontend_restart_queue (f.frontend, 0, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  end (&f);
}

/* A channel, but no CONFIG. */
static void
test_change_not_accepted (void)
{
  Fixture f;

  begin_with (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_CONFIG);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  raw_assert_in_step (f.frontend);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 0), ==, 0);
  end (&f);
}

static void
test_channel_not_accepted (void)
{
  Fixture f;
  int fds[2];

  begin_with (&f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_BACKEND_REQ);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), !=, 0);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "nothing else happens");
  close (fds[0]);
  close (fds[1]);
  end (&f);
}

/* B1: the front-end asks before it answers. */
static void
test_b1_no_wait (void)
{
  Fixture f;
  RawConfig answer;

  begin (&f);
  start_ring (&f);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (get_config (&f, (RawConfig){ .size = 8 }, 20, &answer), ==, 20);
  live_device_assert_echo (f.frontend, 0, "the ring goes on too");
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  raw_assert_in_step (f.frontend);
  end (&f);
}

/* The next message's request; 0: the other end has closed. */
static guint32
read_channel (int fd)
{
  struct pollfd pollfd = { .fd = fd, .events = POLLIN };
  RawHeader header = { 0 };
  ssize_t n;

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  n = recv (fd, &header, sizeof header, MSG_WAITALL);
  if (n <= 0)
    return 0;
  g_assert_cmpint (n, ==, sizeof header);
  g_assert_cmpuint (header.size, ==, 0);
  return header.request;
}

/* A channel in place of the front-end's own. Returns our end; the other one is closed here. */
static int
replace_channel (Fixture *f)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_cmpuint (raw_request (f->frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[1], 1), ==, 0);
  close (fds[1]);
  return fds[0];
}

static void
test_b2_replaces (void)
{
  Fixture f;
  int first, second;

  begin (&f);
  start_ring (&f);
  first = replace_channel (&f);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (first), ==, MSG_BACKEND_CONFIG_CHANGE);
  second = replace_channel (&f);
  g_assert_cmpuint (read_channel (first), ==, 0);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (second), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (first);
  close (second);
  end (&f);
}

static void
test_channel_closed (void)
{
  Fixture f;
  int fd;

  begin (&f);
  start_ring (&f);
  fd = replace_channel (&f);
  close (fd);
  live_device_call (f.device, notify, NULL);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  /* A new one works, and is told what the old one could not be. */
  fd = replace_channel (&f);
  g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (fd);
  end (&f);
}

static void
test_channel_unread (void)
{
  Fixture f;
  int fd;
  guint n_fds, n = 0;
  struct pollfd pollfd = { .events = POLLIN };

  begin (&f);
  start_ring (&f);
  pollfd.fd = fd = replace_channel (&f);
  n_fds = live_count_fds ();
  live_device_call (f.device, notify_often, NULL);
  raw_assert_in_step (f.frontend);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  g_assert_cmpuint (live_count_fds (), ==, n_fds);
  /* What a socket holds, not one for each change. */
  while (poll (&pollfd, 1, 0) == 1)
    {
      g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
      n++;
    }
  g_assert_cmpuint (n, >, 0);
  g_assert_cmpuint (n, <, 10000);
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
  close (fd);
  end (&f);
}

/* What @bytes do on the channel is the channel's affair. */
static void
assert_channel_input (GByteArray *bytes, gboolean survives)
{
  Fixture f;
  int fd;

  begin (&f);
  start_ring (&f);
  fd = replace_channel (&f);
  g_assert_cmpint (send (fd, bytes->data, bytes->len, MSG_NOSIGNAL), ==, bytes->len);
  if (survives)
    {
      live_device_call (f.device, notify, NULL);
      g_assert_cmpuint (read_channel (fd), ==, MSG_BACKEND_CONFIG_CHANGE);
    }
  raw_assert_in_step (f.frontend);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  close (fd);
  end (&f);
  g_byte_array_unref (bytes);
}

static void
test_channel_garbage (void)
{
  GByteArray *bytes = g_byte_array_new ();

  g_byte_array_set_size (bytes, 4000);
  memset (bytes->data, 0xff, bytes->len);
  assert_channel_input (bytes, FALSE);
}

static void
test_channel_half (void)
{
  GByteArray *bytes = raw_bytes (MSG_BACKEND_CONFIG_CHANGE, RAW_VERSION | RAW_REPLY, NULL, 8);

  assert_channel_input (bytes, TRUE);
}

static void
test_channel_request (void)
{
  assert_channel_input (raw_bytes (MSG_SET_OWNER, RAW_VERSION | RAW_NEED_REPLY, NULL, 0), TRUE);
}

static void
test_channel_refusal (void)
{
  const guint64 refused = 1;

  assert_channel_input (raw_bytes (MSG_BACKEND_CONFIG_CHANGE, RAW_VERSION | RAW_REPLY, &refused, 8),
                        TRUE);
}

static int
make_listening (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  /* The kernel chooses an abstract name. */
  g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof (sa_family_t)), ==, 0);
  g_assert_cmpint (listen (fd, 1), ==, 0);
  return fd;
}

static void
test_channel_kinds (void)
{
  Fixture f;
  int fds[4];

  begin (&f);
  start_ring (&f);
  fds[0] = eventfd (0, EFD_CLOEXEC);
  fds[1] = raw_memfd (4096, 0);
  fds[2] = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  fds[3] = make_listening ();
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    {
      g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[i], 1), !=,
                        0);
      close (fds[i]);
    }
  /* The channel that was there is there still. */
  live_device_call (f.device, notify, NULL);
  g_assert_cmpuint (vhost_frontend_process_backend_messages (f.frontend, 20000), ==, 1);
  end (&f);
}

/* Nobody is left at the other end. */
static void
test_channel_itself (void)
{
  Fixture f;
  int fds[2];

  begin (&f);
  start_ring (&f);
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  /* Both ends with the back-end: what it sends there comes back to nobody. */
  g_assert_cmpuint (raw_request (f.frontend, MSG_SET_BACKEND_REQ_FD, NULL, 0, &fds[0], 1), ==, 0);
  g_assert_cmpint (write (fds[1], "x", 1), ==, 1);
  close (fds[0]);
  close (fds[1]);
  live_device_call (f.device, notify, NULL);
  live_device_assert_echo (f.frontend, 0, "the session goes on");
  end (&f);
}

/* ---- What closes a connection, and what does not ---- */

static void
assert_version_closes (guint version)
{
  Fixture f;
  GError *error = NULL;
  g_autoptr (GByteArray) bytes = raw_bytes (MSG_GET_FEATURES, version, NULL, 0);

  begin (&f);
  raw_log_expect (TRUE);
  vhost_frontend_send_raw (f.frontend, bytes->data, bytes->len, NULL, 0, &error);
  g_assert_no_error (error);
  raw_assert_closed (f.frontend);
  end (&f);
  raw_log_expect (FALSE);
}

static void
test_e2_version_0 (void)
{
  assert_version_closes (0);
}

static void
test_e2_version_2 (void)
{
  assert_version_closes (2);
}

static void
test_e2_version_3 (void)
{
  assert_version_closes (3);
}

/* Everything that has been read whole. */
static void
test_e2_refusal (void)
{
  Fixture f;

  begin (&f);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_FEATURES, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_PROTOCOL_FEATURES, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, 0x12345678, 0), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_VRING_NUM, G_MAXUINT64), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, MSG_SET_MEM_TABLE, G_MAXUINT64), !=, 0);
  raw_assert_in_step (f.frontend);
  end (&f);
}

#define TEST(name, function) g_test_add_func ("/protocol/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("C1-the-answer-has-the-size-of-the-request", test_c1_size);
  TEST ("C1-a-payload-shorter-than-its-size-is-refused", test_c1_shorter);
  TEST ("C1-a-payload-longer-than-its-size-is-refused", test_c1_longer);
  TEST ("C1-no-payload-is-refused", test_c1_no_payload);
  TEST ("C2-size-0-is-refused-by-an-answer-of-size-0", test_c2_size_0);
  TEST ("C2-more-than-256-bytes-are-refused", test_c2_too_long);
  TEST ("C2-the-largest-size-is-refused", test_c2_size_max);
  TEST ("C3-offset-and-size-that-wrap-are-refused", test_c3_wraps);
  TEST ("C3-an-offset-beyond-256-is-refused", test_c3_beyond);
  TEST ("C3-a-range-that-crosses-256-is-refused", test_c3_across);
  TEST ("C3-what-lies-behind-the-space-reads-as-zeros", test_c3_zeros);
  TEST ("C3-bad-ranges-are-not-written", test_c3_set);
  TEST ("C4-flags-mean-nothing-for-a-read", test_c4_get);
  TEST ("C4-the-driver-writes-writable-fields", test_c4_writable);
  TEST ("C4-the-driver-does-not-write-read-only-fields", test_c4_read_only);
  TEST ("C4-a-write-is-done-wholly-or-not-at-all", test_c4_all_or_nothing);
  TEST ("C4-a-migration-writes-read-only-fields", test_c4_migration);
  TEST ("C4-a-migration-writes-none-of-them-while-a-ring-runs", test_c4_migration_running);
  TEST ("C4-unknown-flags-are-refused", test_c4_unknown_flags);
  TEST ("config-the-daemon-tells-of-a-write", test_signal);
  TEST ("config-is-closed-without-its-feature", test_not_accepted);
  TEST ("B-a-change-is-told", test_change);
  TEST ("B-a-change-is-not-told-without-the-feature", test_change_not_accepted);
  TEST ("B-a-channel-is-refused-without-its-feature", test_channel_not_accepted);
  TEST ("S3-a-change-waits-for-the-first-ring", test_s3_waits);
  TEST ("S3-a-change-after-the-last-ring-waits-for-the-next", test_s3_after_stop);
  TEST ("B1-the-main-socket-is-served-while-an-answer-is-due", test_b1_no_wait);
  TEST ("B2-a-second-channel-replaces-the-first", test_b2_replaces);
  TEST ("B-a-closed-channel-does-not-end-the-session", test_channel_closed);
  TEST ("B-an-unread-channel-costs-nothing", test_channel_unread);
  TEST ("B-garbage-ends-the-channel-only", test_channel_garbage);
  TEST ("B-half-an-answer-stops-nothing", test_channel_half);
  TEST ("B-a-request-on-the-channel-is-ignored", test_channel_request);
  TEST ("B-a-refusal-is-taken", test_channel_refusal);
  TEST ("B-a-channel-of-the-wrong-kind-is-refused", test_channel_kinds);
  TEST ("B-a-channel-to-nobody-ends-alone", test_channel_itself);
  TEST ("E2-version-0-closes-the-connection", test_e2_version_0);
  TEST ("E2-version-2-closes-the-connection", test_e2_version_2);
  TEST ("E2-version-3-closes-the-connection", test_e2_version_3);
  TEST ("E2-a-refused-message-closes-nothing", test_e2_refusal);
  return g_test_run ();
}
