/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifications as messages, where the daemon offers them: VRING_KICK, BACKEND_VRING_CALL,
 * BACKEND_VRING_ERR. Public API only. */
#include "raw-device.h"

#define INBAND RAW_BIT (14)
#define BACKEND_VRING_CALL 4
#define BACKEND_VRING_ERR 5

typedef struct
{
  RawDevice raw;
  guint n_calls, n_errors; /* that came as messages */
} Fixture;

/* Thread: the daemon's. */
static void
offer (LiveDevice *device, gpointer data)
{
  gboolean in_band;

  g_object_get (device->daemon, "in-band", &in_band, NULL);
  g_assert_false (in_band);
  g_object_set (device->daemon, "in-band", TRUE, NULL);
}

static void
on_message (VhostFrontend *frontend, guint request, gpointer data)
{
  Fixture *f = data;

  if (request == BACKEND_VRING_CALL)
    f->n_calls++;
  else if (request == BACKEND_VRING_ERR)
    f->n_errors++;
}

static void
begin (Fixture *f, VhostFrontendNotify kick, VhostFrontendNotify call)
{
  GError *error = NULL;

  f->n_calls = f->n_errors = 0;
  raw_device_begin (&f->raw, 1, offer);
  raw_device_connect (&f->raw, LIVE_ALL_FEATURES);
  g_assert_cmphex (vhost_frontend_get_protocol_features (f->raw.frontend) & INBAND, ==, INBAND);
  g_signal_connect (f->raw.frontend, "backend-message", G_CALLBACK (on_message), f);
  g_object_set (f->raw.frontend, "kick-mode", kick, "call-mode", call, NULL);
  vhost_frontend_add_memory (f->raw.frontend, 0x100000, 4 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (f->raw.frontend, 0, 16, &error);
  g_assert_no_error (error);
}

/* The front-end that looks afterwards accepts the feature and uses descriptors all the same. */
static void
end (Fixture *f)
{
  g_assert_cmpint (f->raw.closed_by, ==, -1);
  raw_device_end (&f->raw);
}

typedef struct
{
  VhostFrontendNotify kick, call;
} Modes;

static void
test_echo (gconstpointer data)
{
  const Modes *modes = data;
  Fixture f;
  GError *error = NULL;

  begin (&f, modes->kick, modes->call);
  for (guint round = 0; round < 3; round++)
    {
      for (guint i = 0; i < 20; i++)
        live_device_assert_echo (f.raw.frontend, 0, "by message");
      g_assert_cmpuint (vhost_frontend_stop_queue (f.raw.frontend, 0, NULL, &error), ==, TRUE);
      g_assert_no_error (error);
      vhost_frontend_restart_queue (f.raw.frontend, 0, &error); /* R7 */
      g_assert_no_error (error);
    }
  live_device_assert_echo (f.raw.frontend, 0, "once more");
  if (modes->call == VHOST_FRONTEND_NOTIFY_INBAND)
    {
      /* An answer may be seen before its call comes. */
      while (f.n_calls == 0)
        g_assert_cmpuint (vhost_frontend_process_backend_messages (f.raw.frontend, 20000), >, 0);
    }
  else
    g_assert_cmpuint (f.n_calls, ==, 0);
  g_assert_cmpuint (f.n_errors, ==, 0);
  end (&f);
}

static void
test_error (void)
{
  const VhostFrontendBuffer nowhere = { 0x70000000, 64, TRUE };
  Fixture f;
  VhostFrontendQueue *queue;

  begin (&f, VHOST_FRONTEND_NOTIFY_INBAND, VHOST_FRONTEND_NOTIFY_INBAND);
  queue = vhost_frontend_get_queue (f.raw.frontend, 0);
  g_assert_true (vhost_frontend_queue_add (queue, &nowhere, 1, FALSE, NULL));
  vhost_frontend_queue_force_kick (queue);
  while (f.n_errors == 0)
    g_assert_cmpuint (vhost_frontend_process_backend_messages (f.raw.frontend, 20000), >, 0);
  raw_assert_in_step (f.raw.frontend);
  end (&f);
}

static void
test_not_offered (void)
{
  const guint32 state[2] = { 0, 0 };
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmphex (vhost_frontend_get_offered_protocol_features (f.frontend) & INBAND, ==, 0);
  g_assert_cmpuint (raw_request (f.frontend, MSG_VRING_KICK, state, sizeof state, NULL, 0), !=, 0);
  raw_device_end (&f);
}

/* Kicks of rings that are not there, or not described. */
static void
test_bad_kicks (void)
{
  const guint32 bad[][2] = { { 0, 0 }, { 1, 0 }, { 256, 0 }, { G_MAXUINT32, 0 } };
  RawDevice f;

  raw_device_begin (&f, 1, offer);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_request (f.frontend, MSG_VRING_KICK, bad[i], sizeof bad[i], NULL, 0), !=,
                      0);
  raw_assert_in_step (f.frontend);
  raw_device_end (&f);
}

/* @data: the number of the feature that is missing. */
static void
test_needs_the_way_back (gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  RawDevice f;

  raw_device_begin (&f, 1, offer);
  raw_log_expect (TRUE);
  f.frontend = vhost_frontend_new ();
  vhost_frontend_connect (f.frontend, f.device->socket_path, &error);
  g_assert_no_error (error);
  /* Whether it hears of that here or with its next message is a matter of time. */
  vhost_frontend_negotiate (f.frontend, LIVE_ALL_FEATURES,
                            LIVE_ALL_FEATURES & ~RAW_BIT (GPOINTER_TO_INT (data)), NULL);
  LIVE_WAIT_FOR (g_atomic_int_get (&f.closed_by) == VHOST_ERROR_PROTOCOL);
  raw_log_expect (FALSE);
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)
#define TEST_DATA(name, data, function) g_test_add_data_func ("/rules/" name, data, function)

int
main (int argc, char **argv)
{
  static const Modes both = { VHOST_FRONTEND_NOTIFY_INBAND, VHOST_FRONTEND_NOTIFY_INBAND };
  static const Modes kicks = { VHOST_FRONTEND_NOTIFY_INBAND, VHOST_FRONTEND_NOTIFY_EVENTFD };
  static const Modes calls = { VHOST_FRONTEND_NOTIFY_EVENTFD, VHOST_FRONTEND_NOTIFY_INBAND };
  static const Modes none = { VHOST_FRONTEND_NOTIFY_EVENTFD, VHOST_FRONTEND_NOTIFY_EVENTFD };

  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST_DATA ("R4-R7-VRING_KICK-starts-a-ring-and-calls-are-messages", &both, test_echo);
  TEST_DATA ("R15-kicks-by-message-and-calls-by-descriptor", &kicks, test_echo);
  TEST_DATA ("R15-kicks-by-descriptor-and-calls-by-message", &calls, test_echo);
  TEST_DATA ("R15-descriptors-although-messages-were-accepted", &none, test_echo);
  TEST ("BACKEND_VRING_ERR-tells-of-a-broken-ring", test_error);
  TEST ("VRING_KICK-of-a-ring-that-cannot-start-is-refused", test_bad_kicks);
  TEST ("INBAND_NOTIFICATIONS-is-offered-on-demand-only", test_not_offered);
  TEST_DATA ("E1-closes-without-REPLY_ACK", GINT_TO_POINTER (3), test_needs_the_way_back);
  TEST_DATA ("E1-closes-without-BACKEND_REQ", GINT_TO_POINTER (5), test_needs_the_way_back);
  return g_test_run ();
}
