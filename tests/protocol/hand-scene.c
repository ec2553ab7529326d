/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "hand-scene.h"

Scene *
scene_new_full (HandOptions options)
{
  Scene *self = g_new0 (Scene, 1);

  options.max_sessions = 2;
  self->world = hand_world_new_full (&options);
  self->second = live_device_connect_queues (self->world->device, 1, 16);
  self->ring = self->world->rings[0];
  self->other = self->world->rings[1];
  hand_ring_start (self->ring);
  hand_ring_start (self->other);
  hand_ring_echo (self->ring);
  LIVE_WAIT_FOR (hand_ring_get_calls (self->ring) == 1);
  return self;
}

Scene *
scene_new (gconstpointer data)
{
  return scene_new_full (hand_options (data));
}

void
scene_free (Scene *self)
{
  g_object_unref (self->second);
  hand_world_free (self->world);
  g_free (self);
}

HandDescriptor *
scene_new_table (Scene *self, guint n, guint64 *address)
{
  *address = vhost_frontend_allocate (self->world->frontend, n * sizeof (HandDescriptor), 16);
  g_assert_cmpuint (*address, !=, 0);
  return vhost_frontend_get_memory (self->world->frontend, *address, n * sizeof (HandDescriptor));
}

void
scene_assert_others_live (Scene *self)
{
  hand_ring_echo (self->other);
  live_device_assert_echo (self->second, 0, "another front-end's request");
}

void
scene_assert_broken (Scene *self, guint bad)
{
  VhostFrontend *frontend = self->world->frontend;
  HandRing *ring = self->ring;
  guint64 calls;

  LIVE_WAIT_FOR (hand_ring_get_errors (ring) > 0);
  scene_assert_others_live (self);
  LIVE_WAIT_FOR ((hand_world_get_status (self->world) & STATUS_NEEDS_RESET) != 0);
  LIVE_WAIT_FOR (vhost_frontend_process_backend_messages (frontend, 0) > 0);
  g_assert_cmpuint (vhost_frontend_get_config_generation (frontend), ==, 1);
  g_assert_cmpint (hand_world_get_state (self->world, 0), ==, VHOST_QUEUE_STATE_BROKEN);

  /* It stays so, in silence. */
  calls = hand_ring_get_calls (ring);
  hand_ring_kick (ring);
  hand_ring_sync (ring);
  g_assert_cmpuint (hand_ring_get_errors (ring), ==, 1);
  g_assert_cmpuint (hand_ring_get_calls (ring), ==, calls);
  g_assert_cmpuint (hand_ring_get_used (ring), ==, bad);

  g_assert_cmpuint (hand_ring_get_base (ring), ==, bad);
  hand_ring_clear (ring);
  hand_ring_start (ring);
  hand_ring_echo (ring);
  g_assert_cmpuint (hand_world_get_status (self->world) & STATUS_NEEDS_RESET, ==, 0);
  scene_assert_others_live (self);
}

void
scene_assert_breaks (Scene *self, guint head)
{
  hand_ring_submit (self->ring, head);
  scene_assert_broken (self, 1);
  /* The bad chain brought no call; the first request of each of the two lives did. */
  LIVE_WAIT_FOR (hand_ring_get_calls (self->ring) == 2);
}

void
scene_assert_works (Scene *self, guint head, guint32 written)
{
  guint16 slot = hand_ring_get_used (self->ring);
  guint32 id, length;

  hand_ring_submit (self->ring, head);
  hand_ring_wait_used (self->ring, slot + 1);
  hand_ring_get_element (self->ring, slot, &id, &length);
  g_assert_cmpuint (id, ==, head);
  g_assert_cmpuint (length, ==, written);
  g_assert_cmpuint (hand_ring_get_errors (self->ring), ==, 0);
}
