/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log of a migration, rules L1 to L11, as a front-end sees it. Public API only. */
#include "hand-driver.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOG_SIZE 4096u
#define F_LOG_ALL RAW_BIT (26)
#define VRING_F_LOG 1u

typedef struct
{
  HandWorld *world;
  HandRing *ring;
  int fd;
  guint8 *bytes;
} LogScene;

static LogScene *
log_scene_new (gconstpointer data)
{
  LogScene *self = g_new0 (LogScene, 1);

  self->world = hand_world_new (data);
  self->ring = self->world->rings[0];
  self->fd = raw_memfd (LOG_SIZE, 0);
  self->bytes = mmap (NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
  g_assert_true (self->bytes != MAP_FAILED);
  hand_ring_start (self->ring);
  hand_ring_echo (self->ring);
  return self;
}

static void
log_scene_free (LogScene *self)
{
  munmap (self->bytes, LOG_SIZE);
  close (self->fd);
  hand_world_free (self->world);
  g_free (self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LogScene, log_scene_free)

static guint64
send_log (LogScene *self, guint64 size, guint64 offset)
{
  const guint64 log[2] = { size, offset };

  return raw_request (self->world->frontend, MSG_SET_LOG_BASE, log, sizeof log, &self->fd, 1);
}

static guint64
send_log_all (LogScene *self, gboolean on)
{
  guint64 features = vhost_frontend_get_features (self->world->frontend);

  return raw_u64 (self->world->frontend, MSG_SET_FEATURES, features | (on ? F_LOG_ALL : 0));
}

static guint64
send_used_log (LogScene *self, guint32 flags, guint64 address)
{
  HandRing *ring = self->ring;
  const RawAddr addr = {
    .flags = flags,
    .descriptor = hand_world_get_user_address (self->world, ring->descriptor_address),
    .used = hand_world_get_user_address (self->world, ring->used_address),
    .available = hand_world_get_user_address (self->world, ring->available_address),
    .log = address,
  };

  return raw_request (self->world->frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
}

static gboolean
is_dirty (LogScene *self, guint64 address)
{
  guint64 page = address / 4096;

  return (self->bytes[page / 8] >> (page % 8) & 1) != 0;
}

static gboolean
is_clean (LogScene *self)
{
  for (guint i = 0; i < LOG_SIZE; i++)
    if (self->bytes[i] != 0)
      return FALSE;
  return TRUE;
}

/* The device writes into descriptor 1's buffer and the used ring. */
static void
serve (LogScene *self)
{
  hand_ring_echo (self->ring);
  hand_ring_sync (self->ring);
}

static void
test_buffers (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  serve (self);
  g_assert_true (is_clean (self));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  g_assert_true (is_dirty (self, hand_ring_buffer (self->ring, 1)));
}

static void
test_used_ring (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);
  const guint64 elsewhere = G_GUINT64_CONSTANT (100) << 20; /* outside the memory table */

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  g_assert_false (is_dirty (self, elsewhere));
  ASSERT_TAKEN (send_used_log (self, VRING_F_LOG, elsewhere));
  serve (self);
  g_assert_true (is_dirty (self, elsewhere));
}

static void
test_stops_when_cleared (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  ASSERT_TAKEN (send_log_all (self, FALSE));
  memset (self->bytes, 0, LOG_SIZE);
  serve (self);
  g_assert_true (is_clean (self));
}

static void
test_descriptor (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);
  int event = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  guint64 n = 0;

  ASSERT_TAKEN (raw_request (self->world->frontend, MSG_SET_LOG_FD, NULL, 0, &event, 1));
  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  serve (self);
  g_assert_cmpint (read (event, &n, sizeof n), ==, -1);
  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  g_assert_cmpint (read (event, &n, sizeof n), ==, sizeof n);
  close (event);
}

static void
test_nothing_after_the_stop (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  echo_backend_hold (self->world->echo, TRUE);
  hand_ring_put_echo (self->ring, 0);
  hand_ring_submit (self->ring, 0);
  LIVE_WAIT_FOR (echo_backend_get_n_held (self->world->echo) == 1);
  echo_backend_release (self->world->echo, FALSE);
  g_assert_cmpuint (hand_ring_get_base (self->ring), ==, 2);
  g_assert_true (is_dirty (self, hand_ring_buffer (self->ring, 1))); /* before the answer */
  memset (self->bytes, 0, LOG_SIZE);
  ASSERT_TAKEN (raw_u64 (self->world->frontend, MSG_SET_STATUS, 0));
  g_assert_true (is_clean (self));
}

static void
test_log_that_does_not_fit (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);

  ASSERT_REFUSED (send_log (self, LOG_SIZE + 1, 0));
  ASSERT_REFUSED (send_log (self, LOG_SIZE, 1));
  ASSERT_REFUSED (send_log (self, LOG_SIZE, G_MAXUINT64 - 10));
  ASSERT_REFUSED (send_log (self, G_MAXUINT64, 0));
  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
}

static void
test_used_ring_outside (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);
  const guint64 end = (guint64) LOG_SIZE * 8 * 4096;
  guint64 size = 6 + 8 * 16;

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  ASSERT_REFUSED (send_used_log (self, VRING_F_LOG, end - size + 1));
  ASSERT_TAKEN (send_used_log (self, VRING_F_LOG, end - size));
  ASSERT_REFUSED (send_log (self, LOG_SIZE - 8, 0)); /* now the log is too small for it */
  serve (self);
  g_assert_true (is_dirty (self, end - size));
}

static void
test_replaced (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);
  const guint64 place[2] = { LOG_SIZE, 0 };
  int other = raw_memfd (LOG_SIZE, 0);
  guint8 bits = 0;

  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  ASSERT_TAKEN (
      raw_request (self->world->frontend, MSG_SET_LOG_BASE, place, sizeof place, &other, 1));
  memset (self->bytes, 0, LOG_SIZE);
  serve (self);
  g_assert_true (is_clean (self));
  g_assert_cmpint (pread (other, &bits, 1, (off_t) (hand_ring_buffer (self->ring, 1) / 4096 / 8)),
                   ==, 1);
  g_assert_cmpuint (bits, !=, 0);
  close (other);
}

static void
test_log_comes_late (gconstpointer data)
{
  g_autoptr (LogScene) self = log_scene_new (data);

  ASSERT_TAKEN (send_log_all (self, TRUE));
  serve (self);
  ASSERT_TAKEN (send_log (self, LOG_SIZE, 0));
  g_assert_true (is_dirty (self, hand_ring_buffer (self->ring, 1)));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
#define RULE(name, func) hand_test_add ("/protocol/" name, func)
  RULE ("L1-writes-to-buffers-are-marked", test_buffers);
  RULE ("L2-the-used-ring-is-marked-where-it-is-asked-for", test_used_ring);
  RULE ("L4-marking-stops-when-the-feature-is-cleared", test_stops_when_cleared);
  RULE ("L5-the-descriptor-is-written", test_descriptor);
  RULE ("L6-nothing-is-marked-after-the-stop", test_nothing_after_the_stop);
  RULE ("L7-a-log-that-does-not-fit-its-file-is-refused", test_log_that_does_not_fit);
  RULE ("L8-a-used-ring-outside-the-log-is-refused", test_used_ring_outside);
  RULE ("L10-nothing-is-marked-in-a-replaced-log", test_replaced);
  RULE ("L11-pages-are-remembered-until-the-log-comes", test_log_comes_late);
  return g_test_run ();
}
