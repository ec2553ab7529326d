/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end class: what a subclass gets for nothing, and what the front-end may do to a
 * configuration space. */
#include "config.h"

#include "vhost-backend-private.h"
#include "vhost-backend.h"
#include "vhost-chain.h"
#include "vhost-error.h"
#include "vhost-filter.h"

#include "hand-ring.h"

/* A device that counts its calls. */
typedef struct
{
  VhostBackend parent_instance;
  guint chains, starts, stops, resets;
  gboolean fail;
  gboolean fail_silently;
  guint64 features;
  guint64 acked;
  VhostMemory *memory;
} TestBackend;

typedef VhostBackendClass TestBackendClass;

static GType test_backend_get_type (void);
G_DEFINE_TYPE (TestBackend, test_backend, VHOST_TYPE_BACKEND)

static guint64
test_backend_get_features (VhostBackend *backend)
{
  return ((TestBackend *) backend)->features;
}

static void
test_backend_features_acked (VhostBackend *backend, guint64 features)
{
  ((TestBackend *) backend)->acked = features;
}

static gboolean
test_backend_start (VhostBackend *backend, GError **error)
{
  TestBackend *self = (TestBackend *) backend;

  if (self->fail)
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "the file is locked");
  if (self->fail || self->fail_silently)
    return FALSE;
  self->starts++;
  return TRUE;
}

static void
test_backend_stop (VhostBackend *backend)
{
  ((TestBackend *) backend)->stops++;
}

static void
test_backend_reset (VhostBackend *backend)
{
  ((TestBackend *) backend)->resets++;
}

static void
test_backend_memory_changed (VhostBackend *backend, VhostMemory *memory)
{
  ((TestBackend *) backend)->memory = memory;
}

static void
test_backend_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  ((TestBackend *) backend)->chains++;
  vhost_chain_complete (chain, 0);
}

static void
test_backend_class_init (TestBackendClass *klass)
{
  klass->get_features = test_backend_get_features;
  klass->features_acked = test_backend_features_acked;
  klass->start = test_backend_start;
  klass->activate = test_backend_start;
  klass->stop = test_backend_stop;
  klass->reset = test_backend_reset;
  klass->memory_changed = test_backend_memory_changed;
  klass->process_chain = test_backend_process_chain;
  vhost_backend_class_set_device (klass, "rng", 4, 2);
  vhost_backend_class_add_capability (klass, "first");
}

static void
test_backend_init (TestBackend *self)
{
}

/* A subclass that says more of itself, and one whose configuration space is computed. */
typedef TestBackend ChildBackend;
typedef TestBackendClass ChildBackendClass;

static GType child_backend_get_type (void);
G_DEFINE_TYPE (ChildBackend, child_backend, test_backend_get_type ())

static GBytes *
child_backend_get_config (VhostBackend *backend, GError **error)
{
  if (((TestBackend *) backend)->fail)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "no answer");
      return NULL;
    }
  if (((TestBackend *) backend)->fail_silently)
    return NULL;
  return g_bytes_new_static ("computed", 8);
}

static void
child_backend_class_init (ChildBackendClass *klass)
{
  klass->get_config = child_backend_get_config;
  vhost_backend_class_add_capability (klass, "second");
  vhost_backend_class_add_capability (klass, "first");
  vhost_backend_class_set_chain_data_size (klass, 48);
}

static void
child_backend_init (ChildBackend *self)
{
}

static TestBackend *
new_backend (void)
{
  return g_object_new (test_backend_get_type (), NULL);
}

typedef struct
{
  gboolean suspended;
  guint changes;
  GThread *thread;
} Session;

static void
session_config_changed (gpointer data)
{
  Session *self = data;

  self->changes++;
  self->thread = g_thread_self ();
}

static gboolean
session_is_suspended (gpointer data)
{
  return ((Session *) data)->suspended;
}

static const VhostBackendPeer peer = { session_config_changed, session_is_suspended };

/* A device for an interpreter that has one thread, and one that derives from it. */
typedef TestBackend OneThread;
typedef TestBackendClass OneThreadClass;
typedef TestBackend AlsoOneThread;
typedef TestBackendClass AlsoOneThreadClass;
static GType one_thread_get_type (void);
static GType also_one_thread_get_type (void);
G_DEFINE_TYPE (OneThread, one_thread, test_backend_get_type ())
G_DEFINE_TYPE (AlsoOneThread, also_one_thread, one_thread_get_type ())

static void
one_thread_class_init (OneThreadClass *klass)
{
  vhost_backend_class_set_main_context_only (VHOST_BACKEND_CLASS (klass));
}

static void
one_thread_init (OneThread *self)
{
  (void) self;
}

static void
also_one_thread_class_init (AlsoOneThreadClass *klass)
{
  (void) klass;
}

static void
also_one_thread_init (AlsoOneThread *self)
{
  (void) self;
}

static guint
count_workers (GType type, gboolean filtered)
{
  g_autoptr (VhostBackend) backend = g_object_new (type, "workers", 3, NULL);
  g_autoptr (VhostBackend) filter
      = filtered ? g_object_new (VHOST_TYPE_FILTER_DELAY, "next", backend, "workers", 2, NULL)
                 : NULL;

  return vhost_backend_get_workers (filtered ? filter : backend);
}

static void
test_main_context_only_means_no_workers (void)
{
  g_assert_cmpuint (count_workers (one_thread_get_type (), FALSE), ==, 0);
  g_assert_cmpuint (count_workers (also_one_thread_get_type (), FALSE), ==, 0);
  g_assert_cmpuint (count_workers (one_thread_get_type (), TRUE), ==, 0);
  /* The class that they derive from is not concerned. */
  g_assert_cmpuint (count_workers (test_backend_get_type (), FALSE), ==, 3);
  g_assert_cmpuint (count_workers (test_backend_get_type (), TRUE), >, 0);
}

static void
test_class_data_is_inherited (void)
{
  g_autoptr (GObject) test = g_object_new (test_backend_get_type (), NULL);
  g_autoptr (GObject) child = g_object_new (child_backend_get_type (), NULL);
  const char *const *capabilities;

  g_assert_cmpstr (vhost_backend_get_device_name (VHOST_BACKEND (child)), ==, "rng");
  g_assert_cmpuint (vhost_backend_get_virtio_id (VHOST_BACKEND (child)), ==, 4);
  g_assert_cmpuint (vhost_backend_get_chain_data_size (VHOST_BACKEND (child)), ==, 48);
  g_assert_cmpuint (vhost_backend_get_chain_data_size (VHOST_BACKEND (test)), ==, 0);

  capabilities = vhost_backend_class_get_capabilities (VHOST_BACKEND_GET_CLASS (child));
  g_assert_cmpuint (g_strv_length ((GStrv) capabilities), ==, 2);
  g_assert_cmpstr (capabilities[0], ==, "first");
  g_assert_cmpstr (capabilities[1], ==, "second");
  capabilities = vhost_backend_class_get_capabilities (VHOST_BACKEND_GET_CLASS (test));
  g_assert_cmpuint (g_strv_length ((GStrv) capabilities), ==, 1);
}

static void
test_properties_have_defaults_and_help (void)
{
  g_autoptr (GObject) object = g_object_new (test_backend_get_type (), NULL);
  static const struct
  {
    const char *name;
    guint value;
  } expected[]
      = { { "num-queues", 1 }, { "queue-size", 1024 }, { "workers", 1 }, { "poll-max", 50 } };

  for (guint i = 0; i < G_N_ELEMENTS (expected); i++)
    {
      GParamSpec *pspec
          = g_object_class_find_property (G_OBJECT_GET_CLASS (object), expected[i].name);
      g_auto (GValue) value = G_VALUE_INIT;
      guint number;

      g_assert_nonnull (pspec);
      g_assert_cmpuint (strlen (g_param_spec_get_blurb (pspec)), >, 10);
      g_object_get (object, expected[i].name, &number, NULL);
      g_assert_cmpuint (number, ==, expected[i].value);
      g_assert_cmpuint (g_value_get_uint (g_param_spec_get_default_value (pspec)), ==,
                        expected[i].value);
    }
}

static void
on_notify (GObject *object, GParamSpec *pspec, gpointer data)
{
  (*(guint *) data)++;
}

static void
test_property_change_is_notified_once (void)
{
  g_autoptr (GObject) object = g_object_new (test_backend_get_type (), NULL);
  guint n = 0;

  g_signal_connect (object, "notify::poll-max", G_CALLBACK (on_notify), &n);
  g_object_set (object, "poll-max", 7, NULL);
  g_object_set (object, "poll-max", 7, NULL);
  g_assert_cmpuint (n, ==, 1);
  g_assert_cmpuint (vhost_backend_get_poll_max (VHOST_BACKEND (object)), ==, 7);
}

static void
assert_start_fails (VhostBackend *backend, int code, const char *words)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vhost_backend_start (backend, &error));
  g_assert_error (error, VHOST_ERROR, code);
  g_assert_nonnull (strstr (error->message, words));
}

static void
test_start_refuses_what_the_device_cannot (void)
{
  g_autoptr (GObject) queues = g_object_new (test_backend_get_type (), "num-queues", 3, NULL);
  g_autoptr (GObject) size = g_object_new (test_backend_get_type (), "queue-size", 1000, NULL);

  assert_start_fails (VHOST_BACKEND (queues), VHOST_ERROR_INVALID, "num-queues is 3");
  assert_start_fails (VHOST_BACKEND (size), VHOST_ERROR_INVALID, "1000");
  g_assert_cmpuint (((TestBackend *) queues)->starts, ==, 0);
}

static void
test_start_and_stop_pair (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  TestBackend *self = (TestBackend *) backend;
  g_autoptr (GError) error = NULL;

  vhost_backend_stop (backend);
  g_assert_cmpuint (self->stops, ==, 0);

  self->fail = TRUE;
  assert_start_fails (backend, VHOST_ERROR_BUSY, "locked");
  self->fail = FALSE;
  self->fail_silently = TRUE;
  assert_start_fails (backend, VHOST_ERROR_BACKEND, "without saying why");
  vhost_backend_stop (backend);
  g_assert_cmpuint (self->stops, ==, 0);
  self->fail_silently = FALSE;

  g_assert_true (vhost_backend_start (backend, &error));
  g_assert_no_error (error);
  assert_start_fails (backend, VHOST_ERROR_BUSY, "in use");
  vhost_backend_stop (backend);
  vhost_backend_stop (backend);
  g_assert_cmpuint (self->stops, ==, 1);
  g_assert_true (vhost_backend_start (backend, NULL));
  vhost_backend_stop (backend);
}

static void
test_activate_passes_its_error_on (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_backend_activate (backend, &error));
  ((TestBackend *) backend)->fail = TRUE;
  g_assert_false (vhost_backend_activate (backend, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
}

static void
test_offers_device_features_only (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  TestBackend *self = (TestBackend *) backend;
  const guint64 own = G_GUINT64_CONSTANT (0xfffc000000ffffff);

  self->features = own;
  g_assert_cmphex (vhost_backend_get_features (backend), ==, own);
  self->features = G_MAXUINT64;
  g_test_expect_message ("Vhost", G_LOG_LEVEL_WARNING, "*0x3ffffff000000*transport*");
  g_assert_cmphex (vhost_backend_get_features (backend), ==, own);
  /* Said once, not for every session. */
  g_assert_cmphex (vhost_backend_get_features (backend), ==, own);
  g_test_assert_expected_messages ();

  g_assert_cmphex (vhost_backend_get_acked_features (backend), ==, 0);
  vhost_backend_features_acked (backend, 0x123456789);
  g_assert_cmphex (self->acked, ==, 0x123456789);
  g_assert_cmphex (vhost_backend_get_acked_features (backend), ==, 0x123456789);
}

static const guint8 space[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
static const guint8 mask[8] = { 0, 0, 0xff, 0, 0xff, 0xff, 0x0f, 0 };

static VhostBackend *
new_with_config (void)
{
  TestBackend *backend = new_backend ();

  vhost_backend_set_config_space (VHOST_BACKEND (backend), space, sizeof space, mask);
  return VHOST_BACKEND (backend);
}

static void
assert_config (VhostBackend *backend, const guint8 *expected)
{
  guint8 data[8];

  g_assert_true (vhost_backend_read_config (backend, 0, 8, data, NULL));
  g_assert_cmpmem (data, 8, expected, 8);
}

static void
test_config_reads_zeros_past_its_end (void)
{
  g_autoptr (VhostBackend) backend = new_with_config ();
  guint8 data[256];
  g_autoptr (GError) error = NULL;

  memset (data, 0xee, sizeof data);
  g_assert_true (vhost_backend_read_config (backend, 0, 256, data, &error));
  g_assert_cmpmem (data, 8, space, 8);
  for (guint i = 8; i < 256; i++)
    g_assert_cmpuint (data[i], ==, 0);
  memset (data, 0xee, sizeof data);
  g_assert_true (vhost_backend_read_config (backend, 6, 4, data, &error));
  g_assert_cmpmem (data, 5, "\7\10\0\0\356", 5);
  g_assert_true (vhost_backend_read_config (backend, 255, 1, data, &error));
  g_assert_cmpuint (data[0], ==, 0);
}

static void
test_config_refuses_ranges_outside (void)
{
  static const guint32 ranges[][2] = {
    { 0, 0 },
    { 0, 257 },
    { 1, 256 },
    { 256, 1 },
    { G_MAXUINT32, 1 },
    { 1, G_MAXUINT32 },
    { G_MAXUINT32, G_MAXUINT32 },
    { 256, 0 },
  };
  g_autoptr (VhostBackend) backend = new_with_config ();
  guint8 data[512] = { 0 };

  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    {
      g_autoptr (GError) read_error = NULL;
      g_autoptr (GError) write_error = NULL;

      g_assert_false (
          vhost_backend_read_config (backend, ranges[i][0], ranges[i][1], data, &read_error));
      g_assert_error (read_error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_assert_false (
          vhost_backend_write_config (backend, ranges[i][0], ranges[i][1], data, 0, &write_error));
      g_assert_error (write_error, VHOST_ERROR, VHOST_ERROR_INVALID);
    }
}

static void
on_config_written (VhostBackend *backend, guint offset, guint length, gpointer data)
{
  guint *seen = data;

  seen[0]++;
  seen[1] = offset;
  seen[2] = length;
}

static void
test_config_takes_writable_bytes (void)
{
  g_autoptr (VhostBackend) backend = new_with_config ();
  static const guint8 after[8] = { 1, 2, 3, 4, 50, 60, 7, 8 };
  static const guint8 with_neighbours[4] = { 4, 50, 60, 7 };
  guint seen[3] = { 0 };
  guint8 nibble = 0x0c;
  g_autoptr (GError) error = NULL;

  g_signal_connect (backend, "config-written", G_CALLBACK (on_config_written), seen);
  /* Bytes that are not writable may be in it, as long as they stay what they are. */
  g_assert_true (vhost_backend_write_config (backend, 3, 4, with_neighbours, 0, &error));
  g_assert_no_error (error);
  assert_config (backend, after);
  g_assert_cmpuint (seen[0], ==, 1);
  g_assert_cmpuint (seen[1], ==, 3);
  g_assert_cmpuint (seen[2], ==, 4);

  /* A mask of single bits. */
  g_assert_true (vhost_backend_write_config (backend, 6, 1, &nibble, 0, &error));
  nibble = 0x1c;
  g_assert_false (vhost_backend_write_config (backend, 6, 1, &nibble, 0, &error));
}

static void
test_config_refuses_all_or_nothing (void)
{
  g_autoptr (VhostBackend) backend = new_with_config ();
  static const guint8 bad[4] = { 99, 99, 7, 9 };
  static const guint8 beyond[4] = { 8, 0, 0, 1 };
  static const guint8 zeros[4] = { 8, 0, 0, 0 };
  guint seen[3] = { 0 };
  g_autoptr (GError) error = NULL;

  g_signal_connect (backend, "config-written", G_CALLBACK (on_config_written), seen);
  g_assert_false (vhost_backend_write_config (backend, 4, 4, bad, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_assert_nonnull (strstr (error->message, "byte 7"));
  g_clear_error (&error);
  g_assert_false (vhost_backend_write_config (backend, 7, 4, beyond, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  assert_config (backend, space);
  g_assert_cmpuint (seen[0], ==, 0);
  g_assert_true (vhost_backend_write_config (backend, 7, 4, zeros, 0, &error));
}

static void
test_config_opens_for_migration_only_while_suspended (void)
{
  g_autoptr (VhostBackend) backend = new_with_config ();
  static const guint8 restored[8] = { 9, 9, 9, 9, 9, 9, 9, 9 };
  Session session = { 0 };
  guint8 one = 42;
  g_autoptr (GError) error = NULL;

  /* Without a session, and with one that runs: a plain write. */
  g_assert_false (vhost_backend_write_config (backend, 0, 8, restored, 1, NULL));
  g_assert_true (vhost_backend_set_peer (backend, &peer, &session));
  g_assert_false (vhost_backend_write_config (backend, 0, 8, restored, 1, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);
  assert_config (backend, space);
  g_assert_true (vhost_backend_write_config (backend, 4, 1, &one, 1, &error));

  session.suspended = TRUE;
  g_assert_false (vhost_backend_write_config (backend, 0, 8, restored, 0, NULL));
  g_assert_true (vhost_backend_write_config (backend, 0, 8, restored, 1, &error));
  g_assert_no_error (error);
  assert_config (backend, restored);

  for (guint flags = 2; flags != 0; flags <<= 1)
    {
      g_autoptr (GError) flag_error = NULL;

      g_assert_false (vhost_backend_write_config (backend, 4, 1, &one, flags, &flag_error));
      g_assert_error (flag_error, VHOST_ERROR, VHOST_ERROR_INVALID);
    }
  g_assert_true (vhost_backend_set_peer (backend, NULL, &session));
}

static void
test_config_without_mask_is_read_only (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  guint8 data = 0;

  g_assert_false (vhost_backend_has_config (backend));
  g_assert_false (vhost_backend_read_config (backend, 0, 1, &data, NULL));
  vhost_backend_set_config_space (backend, space, sizeof space, NULL);
  g_assert_true (vhost_backend_has_config (backend));
  g_assert_false (vhost_backend_write_config (backend, 2, 1, &data, 0, NULL));
  assert_config (backend, space);
  vhost_backend_set_config_space (backend, NULL, 0, NULL);
  g_assert_false (vhost_backend_has_config (backend));
}

static void
test_config_of_a_subclass_is_the_whole_space (void)
{
  g_autoptr (VhostBackend) backend = g_object_new (child_backend_get_type (), NULL);
  TestBackend *self = (TestBackend *) backend;
  guint8 data[10];
  g_autoptr (GError) error = NULL;

  g_assert_true (vhost_backend_has_config (backend));
  g_assert_true (vhost_backend_read_config (backend, 0, 10, data, &error));
  g_assert_cmpmem (data, 10, "computed\0", 10);
  /* Nothing of it is stored here: it can be written as it is, and not otherwise. */
  g_assert_true (vhost_backend_write_config (backend, 0, 10, data, 0, &error));
  data[0]++;
  g_assert_false (vhost_backend_write_config (backend, 0, 10, data, 0, NULL));

  self->fail = TRUE;
  g_assert_false (vhost_backend_read_config (backend, 0, 10, data, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  self->fail = FALSE;
  self->fail_silently = TRUE;
  g_assert_false (vhost_backend_read_config (backend, 0, 10, data, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BACKEND);
}

static void
test_belongs_to_one_session (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  Session first = { 0 }, second = { 0 };

  g_assert_true (vhost_backend_set_peer (backend, &peer, &first));
  g_assert_true (vhost_backend_set_peer (backend, &peer, &first));
  g_assert_false (vhost_backend_set_peer (backend, &peer, &second));
  g_assert_false (vhost_backend_set_peer (backend, NULL, &second));
  g_assert_true (vhost_backend_set_peer (backend, NULL, &first));
  g_assert_true (vhost_backend_set_peer (backend, &peer, &second));
  g_assert_true (vhost_backend_set_peer (backend, NULL, &second));
}

/* Called: on a thread of its own. */
static gpointer
notify_often (gpointer data)
{
  for (guint i = 0; i < 100; i++)
    vhost_backend_notify_config (data);
  return NULL;
}

static void
test_notify_reaches_the_sessions_thread (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  g_autoptr (GMainContext) context = g_main_context_new ();
  Session session = { 0 };

  vhost_backend_notify_config (backend);
  g_main_context_push_thread_default (context);
  g_assert_true (vhost_backend_set_peer (backend, &peer, &session));
  vhost_backend_notify_config (backend);
  g_assert_cmpuint (session.changes, ==, 1);

  g_thread_join (g_thread_new ("notifier", notify_often, backend));
  g_assert_cmpuint (session.changes, ==, 1);
  while (g_main_context_iteration (context, FALSE))
    ;
  /* All that waited became one. */
  g_assert_cmpuint (session.changes, ==, 2);
  g_assert_true (session.thread == g_thread_self ());
  g_thread_join (g_thread_new ("notifier", notify_often, backend));
  while (g_main_context_iteration (context, FALSE))
    ;
  g_assert_cmpuint (session.changes, ==, 3);

  /* The session ends while one is on its way. */
  g_thread_join (g_thread_new ("notifier", notify_often, backend));
  g_assert_true (vhost_backend_set_peer (backend, NULL, &session));
  while (g_main_context_iteration (context, FALSE))
    ;
  g_assert_cmpuint (session.changes, ==, 3);
  g_main_context_pop_thread_default (context);
}

static void
process (VhostQueue *queue, gpointer owner)
{
  vhost_backend_process_queue (owner, queue);
}

static void
no_error (VhostQueue *queue, const GError *error, gpointer owner)
{
  g_error ("the queue broke: %s", error->message);
}

static void
no_wake (VhostQueue *queue)
{
}

static const VhostQueueHooks hooks = { .process = process, .error = no_error, .wake = no_wake };

/* How many of three offered requests the back-end answers in one pass. */
static guint
answer_three (VhostBackend *backend)
{
  HandRing hand;
  VhostQueueSetup setup;
  g_autoptr (GObject) object = NULL;
  g_autoptr (GError) error = NULL;
  VhostQueue *queue;
  guint answered;

  hand_ring_init (&hand, 16);
  setup = hand_setup (&hand);
  queue = vhost_queue_new (0, 1024, 0, &hooks, backend);
  object = G_OBJECT (queue);
  g_assert_true (vhost_queue_start (queue, &setup, hand.memory, &error));
  g_assert_no_error (error);
  vhost_queue_set_enabled (queue, TRUE);
  g_assert_null (vhost_backend_get_io (backend, queue));
  g_assert_null (vhost_backend_get_context (backend, queue));

  for (guint16 i = 0; i < 3; i++)
    {
      hand_desc (&hand, i, HAND_DATA + i * 64u, 64, 2 /* writable */, 0);
      hand_offer (&hand, i);
    }
  vhost_queue_serve (queue);
  answered = hand_used_index (&hand);

  vhost_queue_abandon (queue);
  g_clear_object (&object);
  hand_ring_clear (&hand);
  return answered;
}

static void
test_default_hands_every_request_to_process_chain (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());

  g_assert_cmpuint (answer_three (backend), ==, 3);
  g_assert_cmpuint (((TestBackend *) backend)->chains, ==, 3);
}

static void
test_simple_backend_leaves_requests_alone (void)
{
  g_autoptr (VhostBackend) backend = vhost_backend_new_simple ("gpio", 41, 2);
  g_autoptr (VhostBackend) other = vhost_backend_new_simple ("can", 36, 1);
  g_autoptr (GError) error = NULL;
  guint8 byte;

  g_assert_cmpstr (vhost_backend_get_device_name (backend), ==, "gpio");
  g_assert_cmpuint (vhost_backend_get_virtio_id (backend), ==, 41);
  g_assert_cmpuint (vhost_backend_get_num_queues (backend), ==, 2);
  g_assert_cmpstr (vhost_backend_get_device_name (other), ==, "can");
  g_assert_cmpuint (answer_three (backend), ==, 0);

  /* And every call is answered with nothing wrong. */
  g_assert_true (vhost_backend_start (backend, &error));
  g_assert_true (vhost_backend_activate (backend, &error));
  g_assert_cmphex (vhost_backend_get_features (backend), ==, 0);
  vhost_backend_features_acked (backend, 1);
  vhost_backend_memory_changed (backend, NULL);
  vhost_backend_worker_started (backend, NULL);
  vhost_backend_worker_stopped (backend, NULL);
  vhost_backend_queue_started (backend, NULL);
  vhost_backend_queue_stopped (backend, NULL);
  g_assert_false (vhost_backend_read_config (backend, 0, 1, &byte, NULL));
  vhost_backend_reset (backend);
  vhost_backend_suspend (backend);
  vhost_backend_stop (backend);
}

static void
test_calls_reach_the_subclass (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  g_autoptr (VhostMemory) memory = vhost_memory_new_empty ();
  TestBackend *self = (TestBackend *) backend;

  vhost_backend_memory_changed (backend, memory);
  g_assert_true (self->memory == memory);
  vhost_backend_reset (backend);
  g_assert_cmpuint (self->resets, ==, 1);
}

static void
test_masked_features (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  guint64 value = 0;

  g_assert_cmphex (vhost_backend_get_masked_features (backend), ==, 0);
  g_object_set (backend, "masked-features", G_GUINT64_CONSTANT (1) << 34, NULL);
  g_object_get (backend, "masked-features", &value, NULL);
  g_assert_cmphex (value, ==, G_GUINT64_CONSTANT (1) << 34);
  g_assert_cmphex (vhost_backend_get_masked_features (backend), ==, value);
}

static void
on_failed (GObject *source, GAsyncResult *result, gpointer data)
{
  GError **error = data;

  g_assert_false (vhost_backend_unmap_shmem_finish (VHOST_BACKEND (source), result, error));
}

/* What a plain device has not, and requests without a front-end. */
static void
test_has_nothing (void)
{
  g_autoptr (VhostBackend) backend = VHOST_BACKEND (new_backend ());
  g_autoptr (GError) error = NULL;
  static const guint8 bytes[16];
  gint64 id;

  g_assert_false (vhost_backend_has_state (backend));
  g_assert_false (vhost_backend_has_announce (backend));
  g_assert_false (vhost_backend_has_mtu (backend));
  g_assert_false (vhost_backend_has_crypto (backend));
  g_assert_false (vhost_backend_has_shared_objects (backend));
  g_assert_false (vhost_backend_has_host_notifiers (backend));
  g_assert_null (vhost_backend_get_shmem_sizes (backend));
  g_assert_false (vhost_backend_announce (backend, bytes, NULL));
  g_assert_false (vhost_backend_set_mtu (backend, 1500, NULL));
  g_assert_false (vhost_backend_create_crypto_session (backend, NULL, &id, NULL));
  g_assert_false (vhost_backend_close_crypto_session (backend, 1, NULL));
  g_assert_cmpint (vhost_backend_get_shared_object (backend, bytes, NULL), ==, -1);
  vhost_backend_queue_stopping (backend, NULL); /* may always be called */

  g_assert_true (vhost_backend_set_shmem_region (backend, 0, 65536, NULL));
  vhost_backend_unmap_shmem_async (backend, 0, 0, 4096, NULL, on_failed, &error);
  g_assert_no_error (error); /* never within the call */
  while (error == NULL)
    g_main_context_iteration (NULL, TRUE);
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_DISCONNECTED);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/backend/class-data-is-inherited", test_class_data_is_inherited);
  g_test_add_func ("/backend/main-context-only-means-no-workers",
                   test_main_context_only_means_no_workers);
  g_test_add_func ("/backend/properties-have-defaults-and-help",
                   test_properties_have_defaults_and_help);
  g_test_add_func ("/backend/notifies-a-property-change-once",
                   test_property_change_is_notified_once);
  g_test_add_func ("/backend/start-refuses-what-the-device-cannot",
                   test_start_refuses_what_the_device_cannot);
  g_test_add_func ("/backend/start-and-stop-come-in-pairs", test_start_and_stop_pair);
  g_test_add_func ("/backend/activate-passes-its-error-on", test_activate_passes_its_error_on);
  g_test_add_func ("/backend/offers-device-features-only", test_offers_device_features_only);
  g_test_add_func ("/backend/config-reads-zeros-past-its-end",
                   test_config_reads_zeros_past_its_end);
  g_test_add_func ("/backend/config-refuses-ranges-outside", test_config_refuses_ranges_outside);
  g_test_add_func ("/backend/config-takes-writable-bytes", test_config_takes_writable_bytes);
  g_test_add_func ("/backend/config-refuses-all-or-nothing", test_config_refuses_all_or_nothing);
  g_test_add_func ("/backend/config-opens-for-migration-only-while-suspended",
                   test_config_opens_for_migration_only_while_suspended);
  g_test_add_func ("/backend/config-without-mask-is-read-only",
                   test_config_without_mask_is_read_only);
  g_test_add_func ("/backend/config-of-a-subclass-is-the-whole-space",
                   test_config_of_a_subclass_is_the_whole_space);
  g_test_add_func ("/backend/belongs-to-one-session", test_belongs_to_one_session);
  g_test_add_func ("/backend/notify-reaches-the-session-s-thread-once",
                   test_notify_reaches_the_sessions_thread);
  g_test_add_func ("/backend/hands-every-request-to-process-chain",
                   test_default_hands_every_request_to_process_chain);
  g_test_add_func ("/backend/simple-one-leaves-requests-alone",
                   test_simple_backend_leaves_requests_alone);
  g_test_add_func ("/backend/calls-reach-the-subclass", test_calls_reach_the_subclass);
  g_test_add_func ("/backend/remembers-masked-features", test_masked_features);
  g_test_add_func ("/backend/has-only-what-its-class-has", test_has_nothing);
  return g_test_run ();
}
