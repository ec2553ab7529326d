/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device's state as bytes of a stream: who has any, and how a transfer ends. */
#include "rich-device.h"

#include "vhost-filter.h"

typedef struct
{
  VhostBackend *backend; /* (owned): the device or the filters before it */
  VhostBackend *device;  /* (unowned) */
  guint n_done;
  GError *error;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->backend = f->device = rich_device_new ();
  for (guint i = 0; data != NULL && i < 2; i++)
    {
      VhostBackend *next = f->backend;

      f->backend = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", next, NULL);
      g_object_unref (next);
    }
  rich.state = g_bytes_new_static ("state", 5);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  rich_settle ();
  rich_clear ();
  g_clear_error (&f->error);
  g_assert_finalize_object (f->backend);
}

/* Thread: control. */
static void
on_transferred (const GError *error, gpointer data)
{
  Fixture *f = data;

  f->n_done++;
  g_clear_error (&f->error);
  f->error = error != NULL ? g_error_copy (error) : NULL;
}

#define EXPECT_ENDED(f)                                                                            \
  G_STMT_START                                                                                     \
  {                                                                                                \
    RICH_ITERATE_UNTIL ((f)->n_done > 0);                                                          \
    rich_settle ();                                                                                \
    g_assert_cmpuint ((f)->n_done, ==, 1);                                                         \
    (f)->n_done = 0;                                                                               \
  }                                                                                                \
  G_STMT_END

static GOutputStream *
save (Fixture *f)
{
  GOutputStream *stream = g_memory_output_stream_new_resizable ();

  vhost_backend_save_state (f->backend, stream, on_transferred, f);
  return stream;
}

static void
load (Fixture *f, const char *bytes, gsize size)
{
  g_autoptr (GInputStream) stream
      = g_memory_input_stream_new_from_data (g_memdup2 (bytes, size), (gssize) size, g_free);

  vhost_backend_load_state (f->backend, stream, on_transferred, f);
}

static void
test_saved_and_loaded (Fixture *f, gconstpointer data)
{
  g_autoptr (GOutputStream) stream = save (f);
  GMemoryOutputStream *memory = G_MEMORY_OUTPUT_STREAM (stream);

  g_assert_true (vhost_backend_has_state (f->backend));
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
  g_assert_cmpmem (g_memory_output_stream_get_data (memory),
                   g_memory_output_stream_get_data_size (memory), "state", 5);
  load (f, "other", 5);
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
  g_assert_cmpmem (g_bytes_get_data (rich.state, NULL), g_bytes_get_size (rich.state), "other", 5);
  load (f, NULL, 0); /* a state can be empty */
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
  g_assert_cmpuint (g_bytes_get_size (rich.state), ==, 0);
}

static void
test_pieces (Fixture *f, gconstpointer data)
{
  const gsize size = 300 * 1024 + 7;
  g_autofree char *bytes = g_malloc (size);

  for (gsize i = 0; i < size; i++)
    bytes[i] = (char) (i * 7 + i / 256);
  load (f, bytes, size);
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
  g_assert_cmpmem (g_bytes_get_data (rich.state, NULL), g_bytes_get_size (rich.state), bytes, size);
}

static void
test_failures (Fixture *f, gconstpointer data)
{
  g_autoptr (GOutputStream) stream = NULL;

  for (guint i = 0; i < 2; i++)
    {
      int code = i == 0 ? VHOST_ERROR_BUSY : VHOST_ERROR_BACKEND;

      rich.fail = i == 0;
      rich.mute = i == 1; /* without saying why */
      g_clear_object (&stream);
      stream = save (f);
      EXPECT_ENDED (f);
      g_assert_error (f->error, VHOST_ERROR, code);
      load (f, "x", 1);
      EXPECT_ENDED (f);
      g_assert_error (f->error, VHOST_ERROR, code);
    }
  rich.mute = FALSE;
  load (f, "x", 1); /* the next one is another one */
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
}

/* More than such a device can have, from somebody who never ends. */
static void
test_too_much (Fixture *f, gconstpointer data)
{
  g_autoptr (GInputStream) stream = g_memory_input_stream_new ();
  g_autoptr (GBytes) piece = g_bytes_new_take (g_malloc0 (1 << 20), 1 << 20);

  for (guint i = 0; i < 65; i++)
    g_memory_input_stream_add_bytes (G_MEMORY_INPUT_STREAM (stream), piece);
  vhost_backend_load_state (f->backend, stream, on_transferred, f);
  EXPECT_ENDED (f);
  g_assert_error (f->error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_assert_cmpuint (rich.n_loads, ==, 0);
}

static void
test_broken_streams (Fixture *f, gconstpointer data)
{
  guint8 little[2];
  g_autoptr (GOutputStream) full = g_memory_output_stream_new (little, sizeof little, NULL, NULL);
  g_autoptr (GInputStream) closed = g_memory_input_stream_new ();

  vhost_backend_save_state (f->backend, full, on_transferred, f);
  EXPECT_ENDED (f);
  g_assert_error (f->error, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  g_input_stream_close (closed, NULL, NULL);
  vhost_backend_load_state (f->backend, closed, on_transferred, f);
  EXPECT_ENDED (f);
  g_assert_error (f->error, G_IO_ERROR, G_IO_ERROR_CLOSED);
  g_assert_cmpuint (rich.n_loads, ==, 0);
}

static void
expect_cancelled (Fixture *f, void (*cancel) (VhostBackend *backend))
{
  g_autoptr (GOutputStream) stream = NULL;

  rich.hold = TRUE;
  rich.n_cancelled = 0;
  stream = save (f);
  rich_settle ();
  g_assert_cmpuint (f->n_done, ==, 0);
  cancel (f->backend);
  EXPECT_ENDED (f);
  g_assert_error (f->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_cmpuint (rich.n_cancelled, ==, 1);
  cancel (f->backend); /* nothing is under way */
  rich_settle ();
  g_assert_cmpuint (f->n_done, ==, 0);
}

static void
activate (VhostBackend *backend)
{
  g_assert_true (vhost_backend_activate (backend, NULL));
}

static void
test_cancelled (Fixture *f, gconstpointer data)
{
  expect_cancelled (f, vhost_backend_cancel_transfer);
  expect_cancelled (f, activate); /* D7 */
  expect_cancelled (f, vhost_backend_reset);
}

/* A device that does not listen: until it ends there is no other one. */
static void
test_slow_to_end (Fixture *f, gconstpointer data)
{
  g_autoptr (GOutputStream) stream = NULL, second = NULL;

  rich.hold = rich.late = TRUE;
  stream = save (f);
  vhost_backend_cancel_transfer (f->backend);
  RICH_ITERATE_UNTIL (rich.n_cancelled == 1);
  g_assert_cmpuint (f->n_done, ==, 0);
  second = save (f);
  EXPECT_ENDED (f);
  g_assert_error (f->error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_task_return_boolean (rich.held, TRUE); /* after all */
  g_clear_object (&rich.held);
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
  rich.hold = FALSE;
  load (f, "x", 1);
  EXPECT_ENDED (f);
  g_assert_no_error (f->error);
}

/* Whoever began it has let go of the device. */
static void
test_back_end_gone (Fixture *f, gconstpointer data)
{
  g_autoptr (GOutputStream) stream = NULL;
  gpointer alive = f->device;

  g_object_add_weak_pointer (G_OBJECT (f->device), &alive);
  rich.hold = TRUE;
  stream = save (f);
  g_object_unref (f->backend);
  g_assert_nonnull (alive);
  vhost_backend_cancel_transfer (f->backend);
  EXPECT_ENDED (f);
  g_assert_error (f->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&f->error);
  g_assert_null (alive);
  set_up (f, data);
}

/* ---- Devices that have less ---- */

static void
test_has_state (Fixture *f, gconstpointer data)
{
  VhostBackendClass *klass = VHOST_BACKEND_GET_CLASS (f->device);
  g_autoptr (VhostBackend) plain = vhost_backend_new_simple ("plain", 1, 1);
  g_autoptr (VhostBackend) filter = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", plain, NULL);
  g_autoptr (GBytes) state = g_bytes_new_static ("x", 1);
  g_autoptr (GError) error = NULL;

  g_assert_false (vhost_backend_has_state (plain));
  g_assert_false (vhost_backend_has_state (filter));
  g_assert_null (VHOST_BACKEND_GET_CLASS (filter)->get_state (filter, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  g_assert_false (VHOST_BACKEND_GET_CLASS (filter)->set_state (filter, state, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  /* Both ways, or none. */
  klass->set_state = NULL;
  g_assert_false (vhost_backend_has_state (f->backend));
  load (f, "x", 1);
  EXPECT_ENDED (f);
  g_assert_error (f->error, VHOST_ERROR, VHOST_ERROR_BACKEND);
  klass->set_state = rich_set_state;
  g_assert_true (vhost_backend_has_state (f->backend));
  klass->get_state = NULL; /* it saves asynchronously */
  g_assert_true (vhost_backend_has_state (f->backend));
  g_object_unref (save (f));
  EXPECT_ENDED (f);
  g_assert_error (f->error, VHOST_ERROR, VHOST_ERROR_BACKEND);
  klass->get_state = rich_get_state;
}

#define TEST(name, function)                                                                       \
  G_STMT_START                                                                                     \
  {                                                                                                \
    g_test_add ("/backend-state/" name, Fixture, NULL, set_up, function, tear_down);               \
    g_test_add ("/backend-state/filtered/" name, Fixture, "filtered", set_up, function,            \
                tear_down);                                                                        \
  }                                                                                                \
  G_STMT_END

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  TEST ("small-state-is-saved-and-loaded-as-bytes", test_saved_and_loaded);
  TEST ("pieces-become-one-state", test_pieces);
  TEST ("failures-have-an-error-in-any-case", test_failures);
  TEST ("more-than-64-mib-are-refused", test_too_much);
  TEST ("a-broken-stream-changes-nothing", test_broken_streams);
  TEST ("D7-is-cancelled-by-who-starts-or-resets-the-device", test_cancelled);
  TEST ("one-that-does-not-end-keeps-the-next-away", test_slow_to_end);
  TEST ("ends-although-the-back-end-was-let-go", test_back_end_gone);
  TEST ("is-there-when-both-ways-are", test_has_state);
  return g_test_run ();
}
