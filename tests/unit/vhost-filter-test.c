/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A filter looks like the back-end behind it, whatever is asked of it. */
#include "vhost-error.h"

#include "filter-scene.h"

static void
looks_like_the_device (void)
{
  Scene s;
  SceneDevice *device
      = g_object_new (scene_device_get_type (), "num-queues", 3, "workers", 2, NULL);
  VhostBackend *filter = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", device, NULL);
  VhostBackend *next;

  g_object_get (filter, "next", &next, NULL);
  g_assert_true (next == VHOST_BACKEND (device));
  g_object_unref (next);
  g_assert_true (vhost_filter_get_next (VHOST_FILTER (filter)) == VHOST_BACKEND (device));
  g_assert_cmpstr (vhost_backend_get_device_name (filter), ==, "scene");
  g_assert_cmpuint (vhost_backend_get_virtio_id (filter), ==, 63);
  g_assert_cmpuint (vhost_backend_get_num_queues (filter), ==, 3);
  g_assert_cmpuint (vhost_backend_get_workers (filter), ==, 2);
  g_assert_cmpuint (vhost_backend_get_chain_data_size (filter), ==, 24);
  /* Both ways. */
  g_object_set (filter, "queue-size", 64, NULL);
  g_assert_cmpuint (vhost_backend_get_queue_size (VHOST_BACKEND (device)), ==, 64);
  g_object_set (device, "poll-max", 7, NULL);
  g_assert_cmpuint (vhost_backend_get_poll_max (filter), ==, 7);
  g_assert_finalize_object (filter);
  g_assert_finalize_object (device);

  scene_init (&s);
  s.device->features = 0x105;
  scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  g_assert_cmpstr (vhost_backend_get_device_name (s.top), ==, "scene");
  g_assert_cmpuint (vhost_backend_get_features (s.top), ==, 0x105);
  vhost_backend_features_acked (s.top, 0x104);
  g_assert_cmpuint (s.device->acked, ==, 0x104);
  g_assert_cmpuint (vhost_backend_get_acked_features (VHOST_BACKEND (s.device)), ==, 0x104);
  scene_clear (&s);
}

static void
hands_on_what_happens (void)
{
  Scene s;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  g_assert_true (vhost_backend_start (s.top, NULL));
  vhost_backend_worker_started (s.top, s.worker);
  g_assert_true (vhost_backend_activate (s.top, NULL));
  vhost_backend_memory_changed (s.top, s.hand.memory);
  scene_start (&s);
  g_assert_cmpuint (s.device->queue_starts, ==, 1);
  scene_begin_stop (&s);
  scene_end_stop (&s);
  g_assert_cmpuint (s.device->queue_stops, ==, 1);
  vhost_backend_suspend (s.top);
  vhost_backend_reset (s.top);
  vhost_backend_worker_stopped (s.top, s.worker);
  vhost_backend_stop (s.top);
  g_assert_cmpuint (s.device->starts, ==, 1);
  g_assert_cmpuint (s.device->activates, ==, 1);
  g_assert_cmpuint (s.device->memory_changes, ==, 1);
  g_assert_cmpuint (s.device->suspends, ==, 1);
  g_assert_cmpuint (s.device->resets, ==, 1);
  g_assert_cmpuint (s.device->worker_starts, ==, 1);
  g_assert_cmpuint (s.device->worker_stops, ==, 1);
  g_assert_cmpuint (s.device->stops, ==, 1);
  scene_clear (&s);
}

static void
hands_back_errors (void)
{
  Scene s;
  GError *error = NULL;

  scene_init (&s);
  s.device->fail = TRUE;
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  g_assert_false (vhost_backend_start (s.top, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_false (vhost_backend_activate (s.top, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  s.device->fail = FALSE;
  g_assert_true (vhost_backend_start (s.top, NULL));
  /* One daemon at a time, whether it has the filter or the device. */
  g_assert_false (vhost_backend_start (VHOST_BACKEND (s.device), &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_clear_error (&error);
  vhost_backend_stop (s.top);
  scene_clear (&s);
}

/* A stop waits for what the device has parked; it must hear of it, and the filters let it pass. */
static void
hands_on_a_stop (void)
{
  Scene s;

  scene_init (&s);
  s.device->keep = s.device->gives_up = TRUE;
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_REORDER), "reorder-depth", 100, "reorder-ms",
                24u * 60 * 60 * 1000, NULL);
  g_object_set (scene_wrap (&s, VHOST_TYPE_FILTER_DELAY), "delay-ms", 60000, NULL);
  scene_start (&s);
  scene_offer (&s, 3);
  g_assert_cmpuint (s.device->kept->len, ==, 3);
  scene_begin_stop (&s);
  scene_end_stop (&s);
  g_assert_cmpuint (s.device->queue_stoppings, ==, 1);
  g_assert_cmpuint (hand_used_index (&s.hand), ==, 3);
  scene_clear (&s);
}

static void
masks_what_either_masks (void)
{
  Scene s;
  guint64 masked;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  g_assert_cmphex (vhost_backend_get_masked_features (s.top), ==, 0);
  g_object_set (s.device, "masked-features", G_GUINT64_CONSTANT (1) << 34, NULL);
  g_object_set (s.top, "masked-features", G_GUINT64_CONSTANT (1) << 26, NULL);
  g_object_get (s.top, "masked-features", &masked, NULL);
  g_assert_cmphex (masked, ==, G_GUINT64_CONSTANT (0x404000000));
  g_assert_cmphex (vhost_backend_get_masked_features (s.top), ==, masked);
  /* The device's own are its own. */
  g_assert_cmphex (vhost_backend_get_masked_features (VHOST_BACKEND (s.device)), ==,
                   G_GUINT64_CONSTANT (0x400000000));
  scene_clear (&s);
}

static void
count_written (VhostBackend *backend, guint offset, guint length, gpointer data)
{
  *(guint *) data += offset * 100 + length;
}

static void
count_changed (gpointer session)
{
  ++*(guint *) session;
}

static gboolean
is_suspended (gpointer session)
{
  return TRUE;
}

static const VhostBackendPeer peer
    = { .config_changed = count_changed, .is_suspended = is_suspended };

static void
has_the_configuration_space (void)
{
  static const guint8 space[4] = { 1, 2, 3, 4 };
  static const guint8 mask[4] = { 0, 0xff, 0, 0 };
  Scene s;
  guint written[2] = { 0 }, changed = 0, other = 0;
  guint8 data[4];
  GError *error = NULL;

  scene_init (&s);
  scene_wrap (&s, VHOST_TYPE_FILTER_DELAY);
  scene_wrap (&s, VHOST_TYPE_FILTER_ERROR);
  g_assert_false (vhost_backend_has_config (s.top));
  vhost_backend_set_config_space (VHOST_BACKEND (s.device), space, 4, mask);
  g_assert_true (vhost_backend_has_config (s.top));
  g_signal_connect (s.top, "config-written", G_CALLBACK (count_written), &written[0]);
  g_signal_connect (s.device, "config-written", G_CALLBACK (count_written), &written[1]);
  g_assert_true (vhost_backend_write_config (s.top, 1, 1, (const guint8[]){ 9 }, 0, NULL));
  g_assert_cmpuint (written[0], ==, 101);
  g_assert_cmpuint (written[1], ==, 101);
  g_assert_true (vhost_backend_read_config (s.top, 0, 4, data, NULL));
  g_assert_cmpmem (data, 4, ((guint8[]){ 1, 9, 3, 4 }), 4);
  g_assert_false (vhost_backend_write_config (s.top, 0, 1, (const guint8[]){ 9 }, 0, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_clear_error (&error);

  /* The device behind tells the session that the filter has. */
  g_assert_true (vhost_backend_set_peer (s.top, &peer, &changed));
  g_assert_false (vhost_backend_set_peer (VHOST_BACKEND (s.device), &peer, &other));
  vhost_backend_notify_config (VHOST_BACKEND (s.device));
  vhost_backend_notify_config (s.top);
  g_assert_cmpuint (changed, ==, 2);
  g_assert_true (vhost_backend_write_config (s.top, 0, 1, (const guint8[]){ 9 },
                                             VHOST_CONFIG_MIGRATION, NULL));
  g_assert_true (vhost_backend_set_peer (s.top, NULL, &changed));
  vhost_backend_notify_config (VHOST_BACKEND (s.device));
  g_assert_cmpuint (changed, ==, 2);
  scene_clear (&s);
}

static void
has_a_name (void)
{
  g_autofree char *names = vhost_filter_list_names ();

  g_assert_cmpstr (names, ==, "delay, error, reorder");
  g_assert_true (vhost_filter_find_type ("delay") == VHOST_TYPE_FILTER_DELAY);
  g_assert_true (vhost_filter_find_type ("error") == VHOST_TYPE_FILTER_ERROR);
  g_assert_true (vhost_filter_find_type ("reorder") == VHOST_TYPE_FILTER_REORDER);
  g_assert_true (vhost_filter_find_type ("") == G_TYPE_INVALID);
  g_assert_true (vhost_filter_find_type ("delays") == G_TYPE_INVALID);
}

static void
needs_a_back_end (void)
{
  VhostBackend *filter;

  g_test_expect_message ("Vhost", G_LOG_LEVEL_CRITICAL, "*set its property \"next\"*");
  filter = g_object_new (VHOST_TYPE_FILTER_DELAY, NULL);
  g_test_assert_expected_messages ();
  g_assert_nonnull (vhost_filter_get_next (VHOST_FILTER (filter)));
  g_assert_cmpuint (vhost_backend_get_features (filter), ==, 0);
  g_assert_finalize_object (filter);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/filter/looks-like-the-device", looks_like_the_device);
  g_test_add_func ("/filter/hands-on-what-happens", hands_on_what_happens);
  g_test_add_func ("/filter/hands-on-a-stop-to-what-is-parked", hands_on_a_stop);
  g_test_add_func ("/filter/masks-what-either-masks", masks_what_either_masks);
  g_test_add_func ("/filter/hands-back-errors", hands_back_errors);
  g_test_add_func ("/filter/has-the-devices-configuration-space", has_the_configuration_space);
  g_test_add_func ("/filter/is-found-by-its-name", has_a_name);
  g_test_add_func ("/filter/needs-a-back-end", needs_a_back_end);
  return g_test_run ();
}
