/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GET_SHARED_OBJECT and GET_SHMEM_CONFIG as the session answers them, and the device's requests on
 * their way to the channel. */
#include "session-peer.h"

#include "request-peer.h"

#define TEST_AREA "session-object"
#define P(name) VHOST_WIRE_BIT (VHOST_WIRE_PROTOCOL_##name)
#define WITH_OBJECTS (ALL_PROTOCOL | P (SHARED_OBJECT) | P (SHMEM_MAP) | P (BACKEND_SEND_FD))
#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define ID 1
#define REGION (1 << 20)

static const guint8 uuid[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
static Outcome outcome;

/* A session of a device that has all this. */
static void
set_up_objects (Fixture *f, gconstpointer data)
{
  set_up (f, data);
  end_session (f);
  vhost_backend_set_shared_objects (VHOST_BACKEND (f->device), TRUE);
  g_assert_true (vhost_backend_set_shmem_region (VHOST_BACKEND (f->device), ID, REGION, NULL));
  f->n_closed = 0;
  connect_session (f, 10000);
}

static void
accept_objects (Fixture *f, guint64 without)
{
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_PROTOCOL_FEATURES, WITH_OBJECTS & ~without), ==, 0);
  g_assert_cmpuint (call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES), ==, 0);
}

static void
start (Fixture *f)
{
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
}

/* Thread: control. */
static void
on_added (GObject *source, GAsyncResult *result, gpointer data)
{
  outcome.n_done++;
  outcome.good
      = vhost_backend_shared_object_add_finish (VHOST_BACKEND (source), result, &outcome.error);
}

static void
add (Fixture *f)
{
  int fd = rich_memfd ();

  vhost_backend_shared_object_add_async (VHOST_BACKEND (f->device), UUID, fd, NULL, on_added, NULL);
  close (fd);
}

/* Thread: control. */
static void
on_mapped (GObject *source, GAsyncResult *result, gpointer data)
{
  outcome.n_done++;
  outcome.good = vhost_backend_map_shmem_finish (VHOST_BACKEND (source), result, &outcome.error);
}

static void
map (Fixture *f, GCancellable *cancellable)
{
  int fd = rich_memfd ();

  vhost_backend_map_shmem_async (VHOST_BACKEND (f->device), ID, 0, fd, 0, 1 << 16, FALSE,
                                 cancellable, on_mapped, NULL);
  close (fd);
}

static void
expect_request (int channel, guint32 request)
{
  VhostWireHeader header;
  guint8 payload[64];

  read_exactly (channel, &header, sizeof header);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmpuint (header.size, <=, sizeof payload);
  read_exactly (channel, payload, header.size);
}

static void
answer (int channel, guint32 request, guint64 value)
{
  struct
  {
    VhostWireHeader header;
    guint64 value;
  } __attribute__ ((packed)) reply = { { request, 5, 8 }, value };

  g_assert_cmpint (write (channel, &reply, sizeof reply), ==, 20);
}

/* -1: nothing. */
static int
get (Fixture *f, const guint8 *bytes, guint32 size)
{
  guint8 payload[16];
  int fd;

  send_message (f, VHOST_WIRE_GET_SHARED_OBJECT, 0, bytes, size, NULL, 0);
  receive_fd_reply (f, VHOST_WIRE_GET_SHARED_OBJECT, payload, sizeof payload, &fd);
  return fd;
}

static void
test_object (Fixture *f, gconstpointer data)
{
  int channel, fd;

  accept_objects (f, 0);
  g_assert_cmpint (get (f, uuid, 16), ==, -1);
  g_assert_cmpint (get (f, NULL, 0), ==, -1);
  channel = give_channel (f);
  start (f);
  add (f);
  expect_request (channel, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD);
  answer (channel, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 0);
  EXPECT_GOOD (&outcome);
  fd = get (f, uuid, 16);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  g_assert_cmpint (get (f, NULL, 0), ==, -1); /* some forget the UUID */
  close (channel);
}

static void
test_config (Fixture *f, gconstpointer data)
{
  g_autofree VhostWireShmemConfig *config = g_new0 (VhostWireShmemConfig, 1);

  accept_objects (f, 0);
  send_message (f, VHOST_WIRE_GET_SHMEM_CONFIG, 0, NULL, 0, NULL, 0);
  g_assert_cmpuint (receive_reply (f, VHOST_WIRE_GET_SHMEM_CONFIG, config, sizeof *config), ==,
                    sizeof *config);
  g_assert_cmpuint (config->n_regions, ==, 1); /* SH1 */
  g_assert_cmpuint (config->sizes[0], ==, 0);
  g_assert_cmpuint (config->sizes[ID], ==, REGION);
}

/* Each of these is missing once. */
static void
test_not_negotiated (Fixture *f, gconstpointer data)
{
  accept_objects (f, P (SHARED_OBJECT));
  close (give_channel (f));
  add (f);
  EXPECT_ERROR (&outcome, NOT_NEGOTIATED);
  accept_objects (f, P (SHMEM_MAP));
  map (f, NULL);
  EXPECT_ERROR (&outcome, NOT_NEGOTIATED);
  accept_objects (f, P (BACKEND_SEND_FD)); /* the mapping has a descriptor */
  map (f, NULL);
  EXPECT_ERROR (&outcome, NOT_NEGOTIATED);
}

static void
test_no_channel (Fixture *f, gconstpointer data)
{
  accept_objects (f, 0);
  start (f);
  add (f);
  EXPECT_ERROR (&outcome, NOT_NEGOTIATED);
}

static void
test_waits_for_ring (Fixture *f, gconstpointer data)
{
  int channel;

  accept_objects (f, 0);
  channel = give_channel (f);
  map (f, NULL);
  g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  g_assert_false (is_readable (channel)); /* S3 */
  start (f);
  expect_request (channel, VHOST_WIRE_BACKEND_SHMEM_MAP);
  answer (channel, VHOST_WIRE_BACKEND_SHMEM_MAP, 12);
  EXPECT_ERROR (&outcome, REFUSED);
  close (channel);
}

static void
test_cancelled (Fixture *f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  int channel;

  accept_objects (f, 0);
  channel = give_channel (f);
  start (f);
  map (f, cancellable);
  expect_request (channel, VHOST_WIRE_BACKEND_SHMEM_MAP);
  g_cancellable_cancel (cancellable);
  EXPECT_FAILURE (&outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  /* Its answer comes all the same, and is nobody else's. */
  add (f);
  answer (channel, VHOST_WIRE_BACKEND_SHMEM_MAP, 1);
  expect_request (channel, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD);
  answer (channel, VHOST_WIRE_BACKEND_SHARED_OBJECT_ADD, 0);
  EXPECT_GOOD (&outcome);
  close (channel);
}

/* @data: "session": that ends, too. */
static void
test_channel_ends (Fixture *f, gconstpointer data)
{
  int channel;

  accept_objects (f, 0);
  channel = give_channel (f);
  start (f);
  map (f, NULL);
  expect_request (channel, VHOST_WIRE_BACKEND_SHMEM_MAP);
  if (data != NULL)
    end_session (f);
  else
    vhost_fd_clear (&channel);
  EXPECT_ERROR (&outcome, DISCONNECTED);
  if (data != NULL)
    add (f);
  else
    g_assert_cmpuint (call (f, VHOST_WIRE_SET_OWNER, NULL, 0), ==, 0);
  if (data != NULL)
    EXPECT_ERROR (&outcome, DISCONNECTED);
  vhost_fd_clear (&channel);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("B3-GET_SHARED_OBJECT-has-what-was-added", set_up_objects, test_object);
  ADD ("SH1-GET_SHMEM_CONFIG-tells-regions-by-number", set_up_objects, test_config);
  ADD ("requests-need-their-features", set_up_objects, test_not_negotiated);
  ADD ("requests-need-a-channel", set_up_objects, test_no_channel);
  ADD ("S3-requests-wait-for-a-ring", set_up_objects, test_waits_for_ring);
  ADD ("a-cancelled-requests-answer-is-dropped", set_up_objects, test_cancelled);
  g_test_add ("/" TEST_AREA "/requests-end-with-the-channel", Fixture, NULL, set_up_objects,
              test_channel_ends, tear_down);
  g_test_add ("/" TEST_AREA "/requests-end-with-the-session", Fixture, "session", set_up_objects,
              test_channel_ends, tear_down);
  return g_test_run ();
}
