/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device state, postcopy and the messages of particular devices against a scripted back-end. */
#include "scripted-back-end.h"

#include <sys/mman.h>

#define STATE_SIZE 200000

/* The back-end's end of the device state. */
typedef struct
{
  GThread *thread;
  int fd;
  gboolean save;
  gsize n;
  gboolean own_fd;
  guint64 error;
} State;

static gpointer
state_thread (gpointer data)
{
  State *state = data;
  guint8 bytes[1000];

  memset (bytes, 'a', sizeof bytes);
  if (state->save)
    for (; state->n < STATE_SIZE; state->n += sizeof bytes)
      g_assert_cmpint (write (state->fd, bytes, sizeof bytes), ==, sizeof bytes);
  else
    for (ssize_t n; (n = read (state->fd, bytes, sizeof bytes)) > 0;)
      state->n += (gsize) n;
  vhost_fd_clear (&state->fd);
  return NULL;
}

static gboolean
serve_state (Peer *peer, VhostMessage *message)
{
  State *state = peer->data;
  guint64 answer = 0x100;
  int fds[2];

  if (message->header.request == VHOST_WIRE_CHECK_DEVICE_STATE)
    {
      g_clear_pointer (&state->thread, g_thread_join);
      answer = !state->save && state->n != STATE_SIZE;
      vhost_channel_send (peer->channel, message->header.request, REPLY, &answer, 8, NULL, 0, NULL);
      return TRUE;
    }
  if (message->header.request != VHOST_WIRE_SET_DEVICE_STATE_FD)
    return FALSE;
  state->save = message->payload.state.index == 0;
  state->n = 0;
  if (state->error != 0)
    answer = state->error;
  else if (state->own_fd)
    {
      answer = 0;
      g_assert_cmpint (pipe (fds), ==, 0);
      state->fd = fds[state->save ? 1 : 0];
      vhost_channel_send (peer->channel, message->header.request, REPLY, &answer, 8,
                          &fds[state->save ? 0 : 1], 1, NULL);
      vhost_fd_clear (&fds[state->save ? 0 : 1]);
    }
  else
    state->fd = vhost_message_steal_fd (message, 0);
  if (state->error == 0)
    state->thread = g_thread_new ("state", state_thread, state);
  if (!state->own_fd)
    vhost_channel_send (peer->channel, message->header.request, REPLY, &answer, 8, NULL, 0, NULL);
  return TRUE;
}

static void
test_state (gconstpointer data)
{
  State state = { .own_fd = GPOINTER_TO_INT (data) };
  Peer peer
      = { .features = F30, .protocol_features = BIT (19), .script = serve_state, .data = &state };
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GBytes) half = NULL;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  bytes = vhost_frontend_save_state (peer.frontend, STATE_SIZE, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_bytes_get_size (bytes), ==, STATE_SIZE);
  g_assert_true (vhost_frontend_load_state (peer.frontend, bytes, &error));
  g_assert_no_error (error);
  half = g_bytes_new_from_bytes (bytes, 0, STATE_SIZE / 2);
  g_assert_false (vhost_frontend_load_state (peer.frontend, half, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  if (!state.own_fd)
    {
      state.error = 0x101;
      g_assert_null (vhost_frontend_save_state (peer.frontend, STATE_SIZE, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
      g_clear_error (&error);
      /* No error and no descriptor at the same time. */
      state.error = G_GUINT64_CONSTANT (1) << 32;
      g_assert_null (vhost_frontend_save_state (peer.frontend, STATE_SIZE, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
      g_clear_error (&error);
    }
  peer_stop (&peer);
  peer_clear (&peer);
}

static gboolean
serve_postcopy (Peer *peer, VhostMessage *message)
{
  VhostWireSingleRegion region = message->payload.region;
  int fd;

  switch (message->header.request)
    {
    case VHOST_WIRE_POSTCOPY_ADVISE:
      fd = memfd_create ("uffd", MFD_CLOEXEC);
      vhost_channel_send (peer->channel, message->header.request, REPLY, NULL, 0, &fd, 1, NULL);
      vhost_fd_clear (&fd);
      return TRUE;
    case VHOST_WIRE_ADD_MEM_REG:
      /* The acknowledgement of the addresses is not answered. */
      if (message->header.size != sizeof region)
        return TRUE;
      region.region.user_addr = 0x7000000;
      vhost_channel_send (peer->channel, message->header.request, REPLY, &region, sizeof region,
                          NULL, 0, NULL);
      return TRUE;
    default:
      return FALSE;
    }
}

static void
test_postcopy (void)
{
  Peer peer = { .features = F30,
                .protocol_features = BIT (3) | BIT (8) | BIT (15),
                .max_slots = 8,
                .script = serve_postcopy };
  g_autoptr (GError) error = NULL;
  int fd;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  fd = vhost_frontend_postcopy_advise (peer.frontend, &error);
  g_assert_cmpint (fd, >=, 0);
  vhost_fd_clear (&fd);
  g_assert_true (vhost_frontend_postcopy_listen (peer.frontend, &error));
  g_assert_true (vhost_frontend_add_memory (peer.frontend, MIB, MIB, &error));
  g_assert_no_error (error);
  g_assert_cmphex (vhost_frontend_get_backend_address (peer.frontend, MIB + 5), ==, 0x7000005);
  g_assert_true (vhost_frontend_postcopy_end (peer.frontend, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 36 3 2 28 29 37 37 30");
  g_assert_cmpuint (peer_seen (&peer, 9)->size, ==, 8);
  g_assert_cmphex (peer_seen (&peer, 9)->flags, ==, 1);
  peer_clear (&peer);
}

static gboolean
serve_devices (Peer *peer, VhostMessage *message)
{
  struct
  {
    guint32 n, padding;
    guint64 sizes[256];
  } shmem = { .n = 1, .sizes = { [3] = 4096 } };
  int fd = 0;

  if (message->header.request == VHOST_WIRE_GET_SHMEM_CONFIG)
    vhost_channel_send (peer->channel, message->header.request, REPLY, &shmem, sizeof shmem, NULL,
                        0, NULL);
  else if (message->header.request == VHOST_WIRE_GET_SHARED_OBJECT)
    vhost_channel_send (peer->channel, message->header.request, REPLY, NULL, 0, &fd,
                        message->payload.bytes[0] == 1 ? 1 : 0, NULL);
  else
    return FALSE;
  return TRUE;
}

static void
test_devices (void)
{
  Peer peer = { .features = F30,
                .protocol_features = BIT (2) | BIT (3) | BIT (4) | BIT (7) | BIT (18) | BIT (22),
                .script = serve_devices };
  const guint8 mac[6] = { 1, 2, 3, 4, 5, 6 };
  guint8 uuid[16] = { 1 };
  guint64 sizes[256];
  g_autoptr (GBytes) session = g_bytes_new_static ("12345678", 8);
  g_autoptr (GBytes) answer = NULL;
  g_autoptr (GError) error = NULL;
  guint n;
  int fd;

  peer_start (&peer);
  g_assert_false (vhost_frontend_send_rarp (peer.frontend, mac, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_NOT_NEGOTIATED);
  g_clear_error (&error);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_true (vhost_frontend_send_rarp (peer.frontend, mac, &error));
  g_assert_true (vhost_frontend_set_mtu (peer.frontend, 9000, &error));
  g_assert_true (vhost_frontend_get_shmem_config (peer.frontend, sizes, &n, &error));
  g_assert_cmpuint (n, ==, 1);
  g_assert_cmpuint (sizes[3], ==, 4096);
  fd = vhost_frontend_get_shared_object (peer.frontend, uuid, &error);
  g_assert_cmpint (fd, >=, 0);
  vhost_fd_clear (&fd);
  uuid[0] = 2;
  g_assert_cmpint (vhost_frontend_get_shared_object (peer.frontend, uuid, &error), ==, -1);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_set_gpu_socket (peer.frontend, 0, &error));
  answer = vhost_frontend_create_crypto_session (peer.frontend, session, &error);
  g_assert_cmpuint (g_bytes_get_size (answer), ==, 8);
  g_assert_true (vhost_frontend_close_crypto_session (peer.frontend, 4, &error));
  peer_stop (&peer);
  assert_requests (&peer, "1 15 16 3 2 19 20 44 41 41 33 26 27");
  g_assert_cmpmem (peer_seen (&peer, 5)->payload, 6, mac, 6);
  peer_clear (&peer);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/frontend-migration/passes-state-through-its-own-pipe",
                        GINT_TO_POINTER (FALSE), test_state);
  g_test_add_data_func ("/rules/D2-passes-state-through-the-backends-pipe", GINT_TO_POINTER (TRUE),
                        test_state);
  g_test_add_func ("/rules/P5-learns-the-backends-addresses", test_postcopy);
  g_test_add_func ("/frontend-object/speaks-to-particular-devices", test_devices);
  return g_test_run ();
}
