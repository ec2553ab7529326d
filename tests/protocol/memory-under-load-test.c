/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that comes and goes under a slow disk while requests use it: ADD_MEM_REG works beside
 * them, REM_MEM_REG waits for those whose buffers it takes away, and all bytes are right. Public
 * API only. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block-disk.h"

#define CYCLES 32
#define BLOCK 4096
#define N_SLOTS 16
#define N_BLOCKS (IMAGE_SIZE / BLOCK)
#define BASE_AT 0x100000
#define BASE_SIZE (1 << 20)
#define EXTRA_AT 0x40000000
#define EXTRA_SIZE (1 << 20)
#define PACKED (G_GUINT64_CONSTANT (1) << 34)

typedef struct
{
  struct virtio_blk_outhdr header;
  guint8 status;
  guint8 padding[47];
} Frame;

typedef struct
{
  guint64 frame; /* guest addresses */
  guint64 data;  /* in the base region; the other half of the request may be in the extra one */
  guint block;
  guint8 value;
  gboolean reads;
  gboolean busy;
  gboolean extra; /* uses the region that comes and goes */
} Slot;

typedef struct
{
  LiveDevice *device;
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  char *path;
  Slot slots[N_SLOTS];
  guint8 written[N_BLOCKS];
  guint n_sent;
  guint n_done;
} Load;

static guint8 *
at (Load *self, guint64 address, gsize size)
{
  guint8 *memory = vhost_frontend_get_memory (self->frontend, address, size);

  g_assert_nonnull (memory);
  return memory;
}

static Frame *
frame_of (Load *self, Slot *slot)
{
  return (Frame *) (gpointer) at (self, slot->frame, sizeof (Frame));
}

/* The second half of a request's data: in the extra region, or behind the first half. */
static guint64
second_half (Load *self, Slot *slot)
{
  return slot->extra ? EXTRA_AT + (guint64) (slot - self->slots) * BLOCK : slot->data + BLOCK / 2;
}

static void
set_up (Load *self, guint64 features)
{
  gpointer delay;
  gpointer block;
  GError *error = NULL;

  memset (self, 0, sizeof *self);
  self->path = disk_make_image (IMAGE_SIZE);
  block = g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", self->path, NULL);
  delay = g_object_new (VHOST_TYPE_FILTER_DELAY, "next", block, "delay-us", 500, "delay-jitter-ms",
                        2, "delay-at", VHOST_FILTER_DELAY_AT_START, NULL);
  g_object_unref (block);
  self->device = live_device_new (delay, NULL, NULL);
  self->frontend = vhost_frontend_new ();
  vhost_frontend_connect (self->frontend, self->device->socket_path, &error);
  g_assert_no_error (error);
  vhost_frontend_negotiate (self->frontend, LIVE_ALL_FEATURES | features, G_MAXUINT64, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (vhost_frontend_get_features (self->frontend) & PACKED, ==, features);
  vhost_frontend_add_memory (self->frontend, BASE_AT, BASE_SIZE, &error);
  g_assert_no_error (error);
  self->queue = vhost_frontend_add_queue (self->frontend, 0, 128, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < N_SLOTS; i++)
    {
      self->slots[i].frame = vhost_frontend_allocate (self->frontend, sizeof (Frame), 64);
      self->slots[i].data = vhost_frontend_allocate (self->frontend, BLOCK, 64);
      g_assert_cmpuint (self->slots[i].data, !=, 0);
    }
}

static void
tear_down (Load *self)
{
  g_clear_object (&self->frontend);
  live_device_free (self->device);
  unlink (self->path);
  g_free (self->path);
}

static gboolean
is_in_use (Load *self, guint block)
{
  for (guint i = 0; i < N_SLOTS; i++)
    if (self->slots[i].busy && self->slots[i].block == block)
      return TRUE;
  return FALSE;
}

static void
send (Load *self, Slot *slot, gboolean extra)
{
  Frame *frame = frame_of (self, slot);
  VhostFrontendBuffer buffers[4];

  do
    slot->block = (guint) g_test_rand_int_range (0, N_BLOCKS);
  while (is_in_use (self, slot->block));
  slot->extra = extra;
  slot->reads = self->written[slot->block] != 0 && self->n_sent % 2 != 0;
  slot->value = slot->reads ? self->written[slot->block] : (guint8) (1 + self->n_sent % 255);
  *frame = (Frame){ .header.type = GUINT32_TO_LE (slot->reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT),
                    .header.sector = GUINT64_TO_LE ((guint64) slot->block * (BLOCK / 512)),
                    .status = NO_STATUS };
  buffers[0] = (VhostFrontendBuffer){ slot->frame, 16, FALSE };
  buffers[1] = (VhostFrontendBuffer){ slot->data, BLOCK / 2, slot->reads };
  buffers[2] = (VhostFrontendBuffer){ second_half (self, slot), BLOCK / 2, slot->reads };
  buffers[3] = (VhostFrontendBuffer){ slot->frame + G_STRUCT_OFFSET (Frame, status), 1, TRUE };
  for (guint i = 1; i < 3; i++)
    memset (at (self, buffers[i].address, BLOCK / 2), slot->reads ? 0 : slot->value, BLOCK / 2);
  g_assert_true (vhost_frontend_queue_add (self->queue, buffers, 4, FALSE, slot));
  slot->busy = TRUE;
  self->n_sent++;
}

static void
check (Load *self, Slot *slot)
{
  g_assert_true (slot->busy);
  slot->busy = FALSE;
  self->n_done++;
  g_assert_cmpuint (frame_of (self, slot)->status, ==, VIRTIO_BLK_S_OK);
  self->written[slot->block] = slot->value;
  if (!slot->reads)
    return;
  for (guint i = 0; i < BLOCK / 2; i++)
    {
      g_assert_cmpuint (at (self, slot->data, BLOCK / 2)[i], ==, slot->value);
      g_assert_cmpuint (at (self, second_half (self, slot), BLOCK / 2)[i], ==, slot->value);
    }
}

static void
fill (Load *self, gboolean extra)
{
  for (guint i = 0; i < N_SLOTS; i++)
    if (!self->slots[i].busy)
      send (self, &self->slots[i], extra && i % 2 == 0);
  vhost_frontend_queue_kick (self->queue);
}

/* Requests until so many have ended; then a full load is under way. */
static void
run (Load *self, guint n, gboolean extra)
{
  gint64 deadline = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  guint end = self->n_done + n;
  gpointer token;

  while (self->n_done < end)
    {
      fill (self, extra);
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      vhost_frontend_queue_wait (self->queue, 10);
      while (vhost_frontend_queue_poll (self->queue, &token, NULL))
        check (self, token);
    }
  fill (self, extra);
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (self->queue), ==, 0);
}

static void
drain (Load *self)
{
  gint64 deadline = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  gpointer token;

  while (self->n_done < self->n_sent)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      if (vhost_frontend_queue_poll (self->queue, &token, NULL))
        check (self, token);
      else
        vhost_frontend_queue_wait (self->queue, 10);
    }
}

static void
find_queue (LiveDevice *device, gpointer data)
{
  GListModel *sessions = vhost_daemon_get_sessions (device->daemon);
  g_autoptr (VhostSession) session = g_list_model_get_item (sessions, 0);

  *(VhostQueue **) data = g_object_ref (vhost_session_get_queue (session, 0));
}

/* A request that still waits in the ring would be taken without its memory. */
static void
wait_until_taken (Load *self)
{
  VhostQueueCounters counters;
  VhostQueue *queue;

  live_device_call (self->device, find_queue, &queue);
  LIVE_WAIT_FOR ((vhost_queue_get_counters (queue, &counters), counters.requests == self->n_sent));
  g_object_unref (queue);
}

/* What used the region has ended when the answer is there. */
static guint
count_unanswered (Load *self)
{
  guint n = 0;

  for (guint i = 0; i < N_SLOTS; i++)
    if (self->slots[i].busy && self->slots[i].extra
        && frame_of (self, &self->slots[i])->status == NO_STATUS)
      n++;
  return n;
}

static void
test_cycles (gconstpointer data)
{
  guint n_waited = 0;
  GError *error = NULL;
  Load load;

  set_up (&load, GPOINTER_TO_SIZE (data) == 0 ? 0 : PACKED);
  for (guint i = 0; i < CYCLES; i++)
    {
      guint8 kept[N_SLOTS][BLOCK / 2];

      run (&load, N_SLOTS, FALSE);
      vhost_frontend_add_memory (load.frontend, EXTRA_AT, EXTRA_SIZE, &error);
      g_assert_no_error (error);
      run (&load, 2 * N_SLOTS, TRUE);
      wait_until_taken (&load);
      n_waited += count_unanswered (&load);
      {
        /* The region's pages outlive the front-end's own map of it: what was read into them? */
        guint8 *extra = vhost_frontend_get_memory (load.frontend, EXTRA_AT, EXTRA_SIZE);
        gsize size = EXTRA_SIZE;
        guint8 *same = mmap (NULL, size, PROT_READ, MAP_SHARED,
                             vhost_frontend_get_memory_fd (load.frontend, EXTRA_AT), 0);

        g_assert_true (same != MAP_FAILED && extra != NULL);
        vhost_frontend_remove_memory (load.frontend, EXTRA_AT, &error);
        g_assert_no_error (error);
        g_assert_cmpuint (count_unanswered (&load), ==, 0);
        for (guint j = 0; j < N_SLOTS; j++)
          memcpy (kept[j], same + j * BLOCK, BLOCK / 2);
        munmap (same, size);
      }
      for (guint j = 0; j < N_SLOTS; j++)
        if (load.slots[j].busy && load.slots[j].extra)
          {
            if (load.slots[j].reads)
              for (guint k = 0; k < BLOCK / 2; k++)
                g_assert_cmpuint (kept[j][k], ==, load.slots[j].value);
            memcpy (at (&load, load.slots[j].data + BLOCK / 2, BLOCK / 2), kept[j], BLOCK / 2);
            load.slots[j].extra = FALSE; /* checked like the others */
          }
    }
  drain (&load);
  /* Otherwise nothing was ever taken away from under a request. */
  g_assert_cmpuint (n_waited, >, CYCLES);
  tear_down (&load);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  disk_init_log ();
  g_test_add_data_func ("/protocol/memory-under-load/comes-and-goes-split", GSIZE_TO_POINTER (0),
                        test_cycles);
  g_test_add_data_func ("/protocol/memory-under-load/comes-and-goes-packed", GSIZE_TO_POINTER (1),
                        test_cycles);
  return g_test_run ();
}
