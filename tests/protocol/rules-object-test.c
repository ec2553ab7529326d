/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared objects (B3) and the configuration of shared memory (SH1), as the front-end asks for them.
 * Public API only. */
#include "rich-backend.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKEND_SHARED_OBJECT_ADD 6
#define BACKEND_SHARED_OBJECT_REMOVE 7

typedef struct
{
  RichOutcome outcome;
  int fd;
} Object;

/* Thread: the daemon's. */
static void
on_added (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->good
      = vhost_backend_shared_object_add_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
add (LiveDevice *device, gpointer data)
{
  Object *object = data;

  vhost_backend_shared_object_add_async (device->backend, RICH_UUID, object->fd, NULL, on_added,
                                         &object->outcome);
}

/* Thread: the daemon's. */
static void
on_removed (GObject *source, GAsyncResult *result, gpointer data)
{
  RichOutcome *outcome = data;

  outcome->good
      = vhost_backend_shared_object_remove_finish (VHOST_BACKEND (source), result, &outcome->error);
  outcome->done = TRUE;
}

/* Thread: the daemon's. */
static void
remove_object (LiveDevice *device, gpointer data)
{
  Object *object = data;

  vhost_backend_shared_object_remove_async (device->backend, RICH_UUID, NULL, on_removed,
                                            &object->outcome);
}

/* Answers the request that @start makes. */
static void
do_request (Rich *f, void (*start) (LiveDevice *, gpointer), Object *object, guint request,
            guint64 answer)
{
  guint8 uuid[16];
  RawHeader header;

  RICH_CALL (f, start, object);
  header = rich_read_request (f, uuid, sizeof uuid, NULL);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmphex (header.flags, ==, RAW_VERSION | RAW_NEED_REPLY);
  g_assert_cmpmem (uuid, header.size, rich_uuid, 16);
  rich_answer (f, request, answer, -1);
  RICH_WAIT (f, &object->outcome);
}

/* What GET_SHARED_OBJECT answers; -1: nothing. */
static int
get (Rich *f, gconstpointer uuid, gsize size)
{
  int fd;
  guint8 payload[16];

  rich_send (f, RICH_GET_SHARED_OBJECT, uuid, size, -1);
  rich_receive (f, RICH_GET_SHARED_OBJECT, payload, sizeof payload, &fd);
  return fd;
}

static void
test_object (void)
{
  const guint8 other[16] = { 1 };
  struct stat want, got;
  Object object = { .fd = raw_memfd (8192, 0) };
  Rich f;
  int fd;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_start_ring (&f);
  rich_open_channel (&f);
  g_assert_cmpint (get (&f, rich_uuid, 16), ==, -1);
  do_request (&f, add, &object, BACKEND_SHARED_OBJECT_ADD, 0);
  g_assert_no_error (object.outcome.error);
  g_assert_true (object.outcome.good);

  fd = get (&f, rich_uuid, 16);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (fstat (fd, &got), ==, 0);
  g_assert_cmpint (fstat (object.fd, &want), ==, 0);
  g_assert_cmpuint (got.st_ino, ==, want.st_ino);
  close (fd);
  g_assert_cmpint (get (&f, other, 16), ==, -1);
  g_assert_cmpint (get (&f, NULL, 0), ==, -1); /* QEMU forgets the UUID */
  raw_assert_in_step (f.frontend);

  /* One may not be added twice. */
  rich_outcome_clear (&object.outcome);
  RICH_CALL (&f, add, &object);
  RICH_WAIT (&f, &object.outcome);
  g_assert_error (object.outcome.error, VHOST_ERROR, VHOST_ERROR_BUSY);
  g_assert_true (rich_channel_is_silent (&f));

  rich_outcome_clear (&object.outcome);
  do_request (&f, remove_object, &object, BACKEND_SHARED_OBJECT_REMOVE, 0);
  g_assert_true (object.outcome.good);
  g_assert_cmpint (get (&f, rich_uuid, 16), ==, -1);
  close (object.fd);
  rich_outcome_clear (&object.outcome);
  rich_end (&f);
}

static void
test_refused (void)
{
  Object object = { .fd = raw_memfd (8192, 0) };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  rich_start_ring (&f);
  rich_open_channel (&f);
  do_request (&f, add, &object, BACKEND_SHARED_OBJECT_ADD, 1);
  g_assert_error (object.outcome.error, VHOST_ERROR, VHOST_ERROR_REFUSED);
  g_assert_cmpint (get (&f, rich_uuid, 16), ==, -1);
  close (object.fd);
  rich_outcome_clear (&object.outcome);
  rich_end (&f);
}

static void
test_not_accepted (void)
{
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES & ~(RAW_BIT (18) | RAW_BIT (22)));
  g_assert_cmpint (get (&f, rich_uuid, 16), ==, -1);
  raw_assert_in_step (f.frontend);
  rich_end (&f);
}

typedef struct
{
  guint32 n, padding;
  guint64 sizes[256];
} Config;

/* Thread: the daemon's. */
static void
change_region (LiveDevice *device, gpointer data)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vhost_backend_set_shmem_region (device->backend, 4, 4096, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_BUSY);
}

static void
test_config (void)
{
  g_autofree Config *config = g_new0 (Config, 1);
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  RICH_CALL (&f, change_region, NULL); /* fixed for the connection */
  rich_send (&f, RICH_GET_SHMEM_CONFIG, NULL, 0, -1);
  g_assert_cmpuint (rich_receive (&f, RICH_GET_SHMEM_CONFIG, config, sizeof *config, NULL), ==,
                    2056);
  g_assert_cmpuint (config->n, ==, 1);
  for (guint i = 0; i < 256; i++)
    g_assert_cmpuint (config->sizes[i], ==, i == RICH_SHMEM_ID ? RICH_SHMEM_SIZE : 0);
  rich_end (&f);
}

static void
test_region_sizes (void)
{
  g_autoptr (VhostBackend) backend = vhost_backend_new_simple ("test", 1, 1);
  const guint64 bad[] = { 1, 4095, 4097, G_MAXUINT64 };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_false (vhost_backend_set_shmem_region (backend, 0, bad[i], &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
    }
  g_assert_false (vhost_backend_set_shmem_region (backend, 256, 4096, NULL));
  g_assert_true (vhost_backend_set_shmem_region (backend, 255, 65536, NULL));
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("B3-BACKEND_SHARED_OBJECT_ADD-and-BACKEND_SHARED_OBJECT_REMOVE-change-a-table",
        test_object);
  TEST ("B3-GET_SHARED_OBJECT-gives-no-object-that-was-refused", test_refused);
  TEST ("objects-need-their-feature", test_not_accepted);
  TEST ("SH1-GET_SHMEM_CONFIG-tells-regions-by-number", test_config);
  TEST ("SH-regions-are-whole-pages", test_region_sizes);
  return g_test_run ();
}
