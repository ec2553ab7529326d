/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of the configuration space (C1 to C4). Public API only. */
#include "raw-device.h"

#include <string.h>

typedef struct
{
  RawDevice raw; /* first */
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
  f->changes = 0;
  raw_device_begin (&f->raw, 1, set_up);
  raw_device_connect (&f->raw, protocol_features);
}

static void
begin (Fixture *f)
{
  begin_with (f, LIVE_ALL_FEATURES);
}

static void
end (Fixture *f)
{
  raw_device_end (&f->raw);
}

static void
start_ring (Fixture *f)
{
  GError *error = NULL;

  vhost_frontend_add_memory (f->raw.frontend, 0x100000, 1 << 20, &error);
  g_assert_no_error (error);
  vhost_frontend_add_queue (f->raw.frontend, 0, 16, &error);
  g_assert_no_error (error);
}

/* GET_CONFIG as told, with @payload_size bytes of payload. Returns the size of the answer's
 * payload. */
static gsize
get_config (Fixture *f, RawConfig config, gsize payload_size, RawConfig *answer)
{
  guint request, flags;
  gsize size = sizeof *answer;
  GError *error = NULL;

  vhost_frontend_send (f->raw.frontend, MSG_GET_CONFIG, 0, &config, payload_size, NULL, 0, &error);
  g_assert_no_error (error);
  vhost_frontend_receive (f->raw.frontend, &request, &flags, answer, &size, NULL, NULL, &error);
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
  return raw_request (f->raw.frontend, MSG_SET_CONFIG, &config, 12 + size, NULL, 0);
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
  raw_assert_in_step (f.raw.frontend);
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
  vhost_frontend_stop_queue (f.raw.frontend, 0, NULL, &error);
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
  g_assert_cmpuint (raw_request (f.raw.frontend, MSG_SET_CONFIG, &config, 14, NULL, 0), !=, 0);
  config.offset = 0;
  g_assert_cmpuint (raw_request (f.raw.frontend, MSG_SET_CONFIG, &config, 13, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.raw.frontend, MSG_SET_CONFIG, &config, 12, NULL, 0), !=, 0);
  g_assert_cmpuint (raw_request (f.raw.frontend, MSG_SET_CONFIG, &config, 4, NULL, 0), !=, 0);
  config.size = 0;
  g_assert_cmpuint (raw_request (f.raw.frontend, MSG_SET_CONFIG, &config, 12, NULL, 0), !=, 0);
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
  live_device_call (f.raw.device, copy_fixture, both);
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
  return g_test_run ();
}
