/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk behind filters, as its driver sees it: slow, failing, out of order, and never wrong.
 * Public API only. */
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "block-disk.h"

#define BLOCK 4096
#define N_SLOTS 20 /* of three descriptors each, in a ring of 64 */
#define N_BLOCKS (IMAGE_SIZE / BLOCK)

/* ---- A driver with many requests under way ---- */

typedef struct
{
  guint64 data;
  guint64 header;
  guint64 status;
  guint block;
  guint number; /* of the request: in the order of sending */
  gboolean busy;
  gboolean reads;
} Slot;

typedef struct
{
  Disk *disk;
  Slot slots[N_SLOTS];
  guint8 written[N_BLOCKS]; /* what the image holds */
  guint n_sent;
  guint n_done;
  guint n_failed;
  guint n_overtaken; /* answers that were not the oldest outstanding */
} Load;

static void
load_init (Load *self, Disk *disk)
{
  memset (self, 0, sizeof *self);
  self->disk = disk;
  for (guint i = 0; i < N_SLOTS; i++)
    {
      self->slots[i].data = disk_allocate (disk, BLOCK);
      self->slots[i].status = disk_allocate (disk, 1);
      self->slots[i].header = disk_put_header (disk, 0, 0);
    }
}

static gboolean
is_in_use (Load *self, guint block)
{
  for (guint i = 0; i < N_SLOTS; i++)
    if (self->slots[i].busy && self->slots[i].block == block)
      return TRUE;
  return FALSE;
}

/* A write of a byte that differs from request to request, or a read of what was written before. */
static void
load_send (Load *self, Slot *slot)
{
  struct virtio_blk_outhdr header;

  do
    slot->block = (guint) g_test_rand_int_range (0, N_BLOCKS);
  while (is_in_use (self, slot->block));
  slot->reads = self->written[slot->block] != 0 && self->n_sent % 2 != 0;
  header = (struct virtio_blk_outhdr){
    .type = GUINT32_TO_LE (slot->reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT),
    .sector = GUINT64_TO_LE ((guint64) slot->block * (BLOCK / 512)),
  };
  memcpy (disk_at (self->disk, slot->header, sizeof header), &header, sizeof header);
  slot->number = self->n_sent++;
  memset (disk_at (self->disk, slot->data, BLOCK), slot->reads ? 0 : 1 + (int) (slot->number % 255),
          BLOCK);
  *disk_at (self->disk, slot->status, 1) = NO_STATUS;
  {
    const VhostFrontendBuffer buffers[] = { { slot->header, sizeof header, FALSE },
                                            { slot->data, BLOCK, slot->reads },
                                            { slot->status, 1, TRUE } };

    g_assert_true (vhost_frontend_queue_add (self->disk->queue, buffers, 3, FALSE, slot));
  }
  slot->busy = TRUE;
}

static void
load_check (Load *self, Slot *slot)
{
  guint8 status = *disk_at (self->disk, slot->status, 1);

  g_assert_true (slot->busy);
  slot->busy = FALSE;
  self->n_done++;
  for (guint i = 0; i < N_SLOTS; i++)
    if (self->slots[i].busy && self->slots[i].number < slot->number)
      {
        self->n_overtaken++;
        break;
      }
  if (status == VIRTIO_BLK_S_IOERR)
    {
      self->n_failed++;
      return;
    }
  g_assert_cmpuint (status, ==, VIRTIO_BLK_S_OK);
  if (slot->reads)
    for (guint i = 0; i < BLOCK; i++)
      g_assert_cmpuint (disk_at (self->disk, slot->data, BLOCK)[i], ==, self->written[slot->block]);
  else
    self->written[slot->block] = (guint8) (1 + slot->number % 255);
}

static void
load_poll (Load *self, guint n_done)
{
  gint64 deadline = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  gpointer token;

  while (self->n_done < n_done)
    {
      g_assert_cmpint (g_get_monotonic_time (), <, deadline);
      if (vhost_frontend_queue_poll (self->disk->queue, &token, NULL))
        load_check (self, token);
      else
        vhost_frontend_queue_wait (self->disk->queue, 100);
    }
  g_assert_cmpuint (vhost_frontend_queue_get_bad_used (self->disk->queue), ==, 0);
}

/* @n requests, as many at once as there are slots; then what the image holds is compared. */
static void
load_run (Load *self, guint n)
{
  guint end = self->n_sent + n;

  while (self->n_done < end)
    {
      for (guint i = 0; i < N_SLOTS && self->n_sent < end; i++)
        if (!self->slots[i].busy)
          load_send (self, &self->slots[i]);
      vhost_frontend_queue_kick (self->disk->queue);
      load_poll (self, self->n_done + 1);
    }
  for (guint i = 0; i < N_BLOCKS; i++)
    if (self->written[i] != 0)
      disk_assert_image (self->disk, (gsize) i * BLOCK, BLOCK, self->written[i]);
}

/* ---- Disks ---- */

static VhostBackend *
make_block (const char *path, guint workers)
{
  return g_object_new (VHOSTD_TYPE_BLOCK, "blk-file", path, "workers", workers, NULL);
}

/* Takes @next. */
static gpointer
wrap (GType type, gpointer next)
{
  gpointer filter = g_object_new (type, "next", next, NULL);

  g_object_unref (next);
  return filter;
}

typedef struct
{
  const char *property;
  gint64 value;
  gpointer object;
} Setting;

static void
set_there (LiveDevice *device, gpointer data)
{
  Setting *setting = data;

  g_object_set (setting->object, setting->property, (int) setting->value, NULL);
}

/* Properties belong to the control thread. */
static void
set_while_running (Disk *disk, gpointer object, const char *property, int value)
{
  Setting setting = { property, value, object };

  live_device_call (disk->device, set_there, &setting);
}

/* ---- Tests ---- */

static void
test_delay_and_reorder (gconstpointer data)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, make_block (path, GPOINTER_TO_UINT (data)));
  gpointer reorder = wrap (VHOST_TYPE_FILTER_REORDER, delay);
  g_autoptr (Disk) disk = NULL;
  Load load;

  g_object_set (delay, "delay-us", 300, "delay-jitter-ms", 1, NULL);
  disk = disk_new_with (reorder, path);
  load_init (&load, disk);
  load_run (&load, 1000);
  g_assert_cmpuint (load.n_failed, ==, 0);
  g_assert_cmpuint (load.n_overtaken, >, 100);
}

static void
test_started_late (void)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, make_block (path, 1));
  g_autoptr (Disk) disk = NULL;
  Load load;

  g_object_set (delay, "delay-us", 300, "delay-jitter-ms", 1, "delay-at",
                VHOST_FILTER_DELAY_AT_START, NULL);
  disk = disk_new_with (delay, path);
  load_init (&load, disk);
  load_run (&load, 500);
  g_assert_cmpuint (load.n_failed, ==, 0);
  g_assert_cmpuint (load.n_overtaken, >, 50);
}

static void
test_errors_are_counted (void)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer error = wrap (VHOST_TYPE_FILTER_ERROR, make_block (path, 1));
  gpointer reorder = wrap (VHOST_TYPE_FILTER_REORDER, error);
  g_autoptr (Disk) disk = NULL;
  Load load;

  g_object_set (error, "error-rate", 0.25, "error-after", 100, "error-count", 50, NULL);
  g_object_set (reorder, "reorder-depth", 4, NULL);
  disk = disk_new_with (reorder, path);
  load_init (&load, disk);
  load_run (&load, 90);
  g_assert_cmpuint (load.n_failed, ==, 0);
  load_run (&load, 910);
  g_assert_cmpuint (load.n_failed, ==, 50);
}

static void
test_switches_while_running (void)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer error = wrap (VHOST_TYPE_FILTER_ERROR, make_block (path, 1));
  gpointer reorder = wrap (VHOST_TYPE_FILTER_REORDER, error);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, reorder);
  g_autoptr (Disk) disk = NULL;
  Load load;

  g_object_set (error, "error-rate", 0.0, NULL);
  g_object_set (reorder, "reorder-depth", 1, NULL);
  disk = disk_new_with (delay, path);
  load_init (&load, disk);
  load_run (&load, 100);
  g_assert_cmpuint (load.n_failed, ==, 0);
  set_while_running (disk, reorder, "reorder-depth", 8);
  load.n_overtaken = 0;
  load_run (&load, 200);
  g_assert_cmpuint (load.n_overtaken, >, 10);
  set_while_running (disk, delay, "delay-us", 500);
  load_run (&load, 100);
  set_while_running (disk, reorder, "reorder-depth", 0);
  set_while_running (disk, delay, "delay-us", 0);
  load_run (&load, 100);
  g_assert_cmpuint (load.n_failed, ==, 0);
}

/* The start of a tracked ring calls in any case; nothing has ended, though. */
static void
assert_waits (Disk *disk)
{
  while (vhost_frontend_queue_wait (disk->queue, 20))
    g_assert_false (vhost_frontend_queue_poll (disk->queue, NULL, NULL));
  g_assert_false (vhost_frontend_queue_poll (disk->queue, NULL, NULL));
}

/* GET_VRING_BASE while requests wait for a day: it answers at once, and nothing is lost. */
static void
test_stop_ends_waiting (gconstpointer data)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, make_block (path, 1));
  g_autoptr (Disk) disk = NULL;
  g_autoptr (GError) error = NULL;
  gint64 begin;
  guint base;
  Load load;

  g_object_set (delay, "delay-ms", 24 * 60 * 60 * 1000, "delay-at", GPOINTER_TO_INT (data), NULL);
  disk = disk_new_with (delay, path);
  load_init (&load, disk);
  for (guint i = 0; i < N_SLOTS; i++)
    load_send (&load, &load.slots[i]);
  vhost_frontend_queue_kick (disk->queue);
  assert_waits (disk);
  begin = g_get_monotonic_time ();
  g_assert_true (vhost_frontend_stop_queue (disk->frontend, 0, &base, &error));
  g_assert_no_error (error);
  g_assert_cmpint (g_get_monotonic_time () - begin, <, 5 * G_USEC_PER_SEC);
  g_assert_cmpuint (base, ==, N_SLOTS);
  load_poll (&load, N_SLOTS);
  set_while_running (disk, delay, "delay-ms", 0);
  g_assert_true (vhost_frontend_restart_queue (disk->frontend, 0, &error));
  g_assert_no_error (error);
  load_run (&load, 100);
  g_assert_cmpuint (load.n_failed, ==, 0);
}

/* The front-end goes away while requests wait: the next one is served at once. */
static void
test_session_ends_while_waiting (gconstpointer data)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, make_block (path, 1));
  g_autoptr (Disk) disk = NULL;
  gint64 begin;
  Load load;

  g_object_set (delay, "delay-ms", 24 * 60 * 60 * 1000, "delay-at", GPOINTER_TO_INT (data), NULL);
  disk = disk_new_with (delay, path);
  load_init (&load, disk);
  for (guint i = 0; i < N_SLOTS; i++)
    load_send (&load, &load.slots[i]);
  vhost_frontend_queue_kick (disk->queue);
  assert_waits (disk);
  begin = g_get_monotonic_time ();
  g_object_unref (disk->frontend);
  set_while_running (disk, delay, "delay-ms", 0);
  disk->frontend = live_device_connect_queues (disk->device, 1, 64);
  disk->queue = vhost_frontend_get_queue (disk->frontend, 0);
  load_init (&load, disk);
  load_run (&load, 100);
  g_assert_cmpint (g_get_monotonic_time () - begin, <, 8 * G_USEC_PER_SEC);
}

/* REM_MEM_REG waits for the requests that use the old map, and these do not wait. */
static void
test_memory_goes_while_waiting (void)
{
  char *path = disk_make_image (IMAGE_SIZE);
  gpointer delay = wrap (VHOST_TYPE_FILTER_DELAY, make_block (path, 1));
  g_autoptr (Disk) disk = NULL;
  g_autoptr (GError) error = NULL;
  gint64 begin;
  Load load;

  g_object_set (delay, "delay-ms", 24 * 60 * 60 * 1000, NULL);
  disk = disk_new_with (delay, path);
  g_assert_true (vhost_frontend_add_memory (disk->frontend, 0x10000000, 1 << 20, &error));
  g_assert_no_error (error);
  load_init (&load, disk);
  for (guint i = 0; i < N_SLOTS; i++)
    load_send (&load, &load.slots[i]);
  vhost_frontend_queue_kick (disk->queue);
  assert_waits (disk);
  begin = g_get_monotonic_time ();
  g_assert_true (vhost_frontend_remove_memory (disk->frontend, 0x10000000, &error));
  g_assert_no_error (error);
  g_assert_cmpint (g_get_monotonic_time () - begin, <, 5 * G_USEC_PER_SEC);
  load_poll (&load, N_SLOTS);
}

/* The disk of nothing ends requests within the pass in which they came. */
static void
test_null_disk (void)
{
  gpointer block = g_object_new (VHOSTD_TYPE_BLOCK, "driver", 1, "num-queues", 2, NULL);
  g_autoptr (Disk) disk = disk_new_with (
      wrap (VHOST_TYPE_FILTER_REORDER, wrap (VHOST_TYPE_FILTER_DELAY, block)), NULL);
  guint64 data = disk_allocate (disk, 512);

  for (guint i = 0; i < 20; i++)
    ASSERT_OK (disk_request (disk, VIRTIO_BLK_T_OUT, i, data, 512, NULL));
  /* It is the disk in everything else. */
  g_assert_cmpuint (GUINT16_FROM_LE (disk_get_config (disk).num_queues), ==, 2);
  g_assert_cmpuint (GUINT64_FROM_LE (disk_get_config (disk).capacity), ==, 1 << 21);
  g_assert_cmpuint (vhost_frontend_get_max_queues (disk->frontend), ==, 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  disk_init_log ();
  g_test_add_data_func ("/filter/data-are-right-through-delay-and-reorder", GUINT_TO_POINTER (1),
                        test_delay_and_reorder);
  g_test_add_data_func ("/filter/data-are-right-in-the-main-loop", GUINT_TO_POINTER (0),
                        test_delay_and_reorder);
  g_test_add_func ("/filter/data-are-right-when-requests-start-late", test_started_late);
  g_test_add_func ("/filter/errors-are-as-many-as-told", test_errors_are_counted);
  g_test_add_func ("/filter/is-switched-while-it-runs", test_switches_while_running);
  g_test_add_data_func ("/filter/a-stop-ends-the-wait-of-answers",
                        GINT_TO_POINTER (VHOST_FILTER_DELAY_AT_END), test_stop_ends_waiting);
  g_test_add_data_func ("/filter/a-stop-ends-the-wait-of-requests",
                        GINT_TO_POINTER (VHOST_FILTER_DELAY_AT_START), test_stop_ends_waiting);
  g_test_add_data_func ("/filter/the-next-session-does-not-wait-for-answers",
                        GINT_TO_POINTER (VHOST_FILTER_DELAY_AT_END),
                        test_session_ends_while_waiting);
  g_test_add_data_func ("/filter/the-next-session-does-not-wait-for-requests",
                        GINT_TO_POINTER (VHOST_FILTER_DELAY_AT_START),
                        test_session_ends_while_waiting);
  g_test_add_func ("/filter/memory-that-goes-does-not-wait", test_memory_goes_while_waiting);
  g_test_add_func ("/filter/works-with-the-disk-of-nothing", test_null_disk);
  return g_test_run ();
}
