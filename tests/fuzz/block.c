/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: the block device's requests through a real queue. Each request is compared with a
 * second, plain implementation of the device: its status, its used length, every byte of the image
 * and every byte of guest memory, so that a write past a buffer shows as well as a wrong one.
 *
 * The input: a byte of modes, then requests {u8 shape, u8 payload bytes, u8 readable pieces, u8
 * writable pieces, 16 bytes of header, payload, a u16 length per piece}. The readable pieces
 * together hold header, payload and a pattern, cut off where they end; the last writable byte is
 * the status. Everything runs in one thread but for what the engine gives to its pool. */
#include "block-private.h"

#include "vhost-backend-private.h"
#include "vhost-memory-private.h"
#include "vhost-queue-private.h"
#include "vhost-wire-private.h"
#include "vhost-worker-private.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IMAGE_SIZE 0x40000u
#define SERIAL "fuzz-serial"

/* The guest's memory: two regions that touch in the middle of the data, so that pieces are cut
 * there. */
#define MEMORY_SIZE 0x60000u
#define REGION_1 0x28800u
#define BASE G_GUINT64_CONSTANT (0x100000)
#define RING_SIZE 256u
#define DESCRIPTORS 0u
#define AVAILABLE 0x1000u
#define USED 0x2000u
#define USED_SIZE (4 + RING_SIZE * 8 + 2)
#define TABLES 0x3000u
#define SPARE 0x5000u /* for a request without anything */
#define DATA 0x5010u

#define MAX_BATCH 8
#define MAX_PIECES 31 /* in one direction */
#define TABLE_SIZE ((2 * MAX_PIECES + 2) * sizeof (Descriptor))
#define MAX_OVERLAPPING 4096u
#define OVERLAPPING_SIZE (3 * 100 + MAX_OVERLAPPING)
#define PATTERN_PERIOD 4099u /* no power of two: a block in a wrong place shows */

enum
{
  MODE_NULL = 1,
  MODE_READ_ONLY = 2,
  MODE_WRITETHROUGH = 4,
  MODE_LARGE_BLOCKS = 8,
  MODE_BOUNCE = 16,
  MODE_ZEROES = 32, /* null: reads give zeros; file: zeroing is done by hand */
  MODE_EVENT_IDX = 64,
  MODE_NO_DISCARD = 128,
};

enum
{
  SHAPE_MORE = 1, /* the next request is offered together with this one */
  SHAPE_INDIRECT = 2,
  SHAPE_ALIGNED = 4,
  SHAPE_OVERLAPPING = 8, /* pieces share memory */
};

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags, next;
} Descriptor;

typedef struct
{
  guint32 at; /* in guest memory */
  guint32 length;
} Piece;

typedef struct
{
  Piece pieces[2 * MAX_PIECES];
  guint n_readable, n_writable; /* of pieces */
  gsize readable, writable;     /* bytes */
  const guint8 *stream;         /* the readable bytes as they were offered */
  guint16 head;
} Request;

/* Same for all inputs. */
static VhostdBlock *devices[2]; /* on the image, on nothing */
static VhostWorker *worker;
static VhostMemory *memory;
static guint8 *guest;
static guint8 *image;
static int image_fd;
static guint8 pattern[MEMORY_SIZE + PATTERN_PERIOD];

/* What guest memory and image should be. */
static guint8 expected_guest[MEMORY_SIZE];
static guint8 expected_image[IMAGE_SIZE];
static gboolean image_dirty;

/* Of this input. */
static VhostdBlock *device;
static VhostQueue *queue;
static guint mode;
static Request requests[MAX_BATCH];
static guint n_requests;
static gboolean overlapping; /* some of these share memory */
static guint16 n_offered;    /* since the start */
static guint n_descriptors;
static guint32 next_data;
static guint32 touched; /* end of all data of this input */
static guint8 streams[MAX_BATCH * MAX_PIECES * MAX_OVERLAPPING + MEMORY_SIZE];
static gsize streams_used;

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* ---- Set-up ---- */

static GLogWriterOutput
quiet_writer (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  /* Nothing here may fail, so nothing is worth a warning. */
  if (level & (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR | G_LOG_LEVEL_WARNING))
    {
      g_log_writer_standard_streams (level, fields, n, NULL);
      __builtin_trap ();
    }
  return G_LOG_WRITER_HANDLED;
}

static guint8 *
make_memory (const char *name, gsize size, int *fd)
{
  guint8 *at;

  *fd = memfd_create (name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_assert_cmpint (ftruncate (*fd, (off_t) size), ==, 0);
  at = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  g_assert_true (at != MAP_FAILED);
  return at;
}

static VhostdBlock *
make_device (const char *path)
{
  VhostBackend *backend
      = path != NULL ? g_object_new (VHOSTD_TYPE_BLOCK, "serial", SERIAL, "blk-file", path, NULL)
                     : g_object_new (VHOSTD_TYPE_BLOCK, "serial", SERIAL, "driver",
                                     VHOSTD_BLOCK_DRIVER_NULL, "size", (guint64) IMAGE_SIZE, NULL);
  GError *error = NULL;

  vhost_backend_start (backend, &error);
  g_assert_no_error (error);
  return VHOSTD_BLOCK (backend);
}

static void
set_up (void)
{
  VhostMemoryRegionInfo infos[2] = {
    { BASE, REGION_1, 0x10000, 0 },
    { BASE + REGION_1, MEMORY_SIZE - REGION_1, 0x900000, REGION_1 },
  };
  g_autofree char *path = NULL;
  GError *error = NULL;
  int fds[2];

  g_log_set_writer_func (quiet_writer, NULL, NULL);
  for (guint i = 0; i < sizeof pattern; i++)
    pattern[i] = (guint8) (i * 151 + (i >> 8) * 7 + (i >> 16));
  guest = make_memory ("fuzz-guest", MEMORY_SIZE, &fds[0]);
  fds[1] = dup (fds[0]);
  memory = vhost_memory_new_take_fds (infos, fds, 2, TRUE, &error);
  g_assert_no_error (error);

  /* A file in memory is read and written within the call, which makes a finding repeat. */
  image = make_memory ("fuzz-image", IMAGE_SIZE, &image_fd);
  path = g_strdup_printf ("/proc/self/fd/%d", image_fd);
  devices[0] = make_device (path);
  devices[1] = make_device (NULL);
  worker = vhost_worker_new_inline (NULL, &error);
  g_assert_no_error (error);
  image_dirty = TRUE;
}

static void
process (VhostQueue *self, gpointer owner)
{
  vhost_backend_process_queue (owner, self);
}

static void
broken (VhostQueue *self, const GError *error, gpointer owner)
{
  g_error ("a valid ring broke: %s", error->message);
}

static void
run_stopped (VhostTask *task)
{
  task->next = task;
}

static const VhostQueueHooks hooks
    = { .process = process, .error = broken, .wake = vhost_worker_wake_queue };

/* The device's settings behind its properties: to set them there takes a new start each time. */
static void
start (void)
{
  VhostQueueSetup setup = {
    .size = RING_SIZE,
    .descriptor = BASE + DESCRIPTORS,
    .available = BASE + AVAILABLE,
    .used = BASE + USED,
    .features
    = VHOST_WIRE_BIT (VHOST_WIRE_F_VERSION_1) | VHOST_WIRE_BIT (VHOST_WIRE_F_RING_INDIRECT_DESC),
    .kick_fd = -1,
    .call_fd = -1,
    .err_fd = -1,
    .log_fd = -1,
  };
  GError *error = NULL;

  device = devices[(mode & MODE_NULL) != 0];
  device->is_read_only = (mode & MODE_READ_ONLY) != 0;
  device->zero_reads = (mode & MODE_ZEROES) != 0;
  device->can_discard = (mode & (MODE_NO_DISCARD | MODE_NULL)) != MODE_NO_DISCARD;
  device->block_mask = (mode & MODE_LARGE_BLOCKS) ? 4095 : 511;
  device->memory_mask = device->length_mask = (mode & MODE_BOUNCE) ? 511 : 0;
  atomic_store (&device->writethrough, (mode & MODE_WRITETHROUGH) != 0);
  if (device->image != NULL)
    {
      atomic_store (&device->image->no_punch_hole, (mode & MODE_ZEROES) != 0);
      atomic_store (&device->image->no_zero_range, (mode & MODE_ZEROES) != 0);
    }
  if (mode & MODE_EVENT_IDX)
    setup.features |= VHOST_WIRE_BIT (VHOST_WIRE_F_RING_EVENT_IDX);

  queue = vhost_queue_new (0, RING_SIZE, vhost_backend_get_chain_data_size (VHOST_BACKEND (device)),
                           &hooks, device);
  queue->backend = device;
  vhost_queue_set_enabled (queue, TRUE);
  vhost_worker_start_queue (worker, queue, &setup, memory, &error);
  g_assert_no_error (error);
}

/* ---- The driver ---- */

static void
guest_write (guint32 at, gconstpointer data, gsize length)
{
  memcpy (guest + at, data, length);
  memcpy (expected_guest + at, data, length);
}

/* Finds room for a piece. Its length may get smaller, down to nothing. */
static Piece
place (guint length, guint shape, guint number)
{
  Piece piece = { next_data, length };

  if (shape & SHAPE_OVERLAPPING)
    return (Piece){ DATA + number % 4 * 100, MIN (length, MAX_OVERLAPPING) };
  if (shape & SHAPE_ALIGNED)
    piece.at = (piece.at + 511) & ~511u;
  piece.at = MIN (piece.at, MEMORY_SIZE);
  piece.length = MIN (length, MEMORY_SIZE - piece.at);
  next_data = piece.at + piece.length;
  return piece;
}

/* Byte lengths, or larger ones in units: two bits say which. */
static guint
decode_length (const guint8 *data)
{
  guint n = data[0] | data[1] << 8;

  return (n & 0x3fff) << (n >> 14) * 3;
}

static void
fill_readable (Request *request, const guint8 *start_bytes, gsize n_start)
{
  guint8 *stream = streams + streams_used;
  gsize done = 0;

  for (guint i = 0; i < request->n_readable; i++)
    {
      const Piece *piece = &request->pieces[i];
      gsize n = MIN (piece->length, done < n_start ? n_start - done : 0);

      guest_write (piece->at, start_bytes + done, n);
      guest_write (piece->at + n, pattern + (done + n) % PATTERN_PERIOD, piece->length - n);
      done += piece->length;
    }
  request->readable = done;
  /* Read back: pieces may share memory. */
  done = 0;
  for (guint i = 0; i < request->n_readable; i++)
    {
      memcpy (stream + done, guest + request->pieces[i].at, request->pieces[i].length);
      done += request->pieces[i].length;
    }
  request->stream = stream;
  streams_used += done;
}

static void
offer (Request *request, guint shape)
{
  guint n = request->n_readable + request->n_writable;
  gboolean indirect = (shape & SHAPE_INDIRECT) || n_descriptors + n > RING_SIZE - MAX_BATCH;
  guint32 table = indirect ? TABLES + n_requests * TABLE_SIZE : DESCRIPTORS;
  guint first = indirect ? 0 : n_descriptors;
  guint16 slot = AVAILABLE / 2 + 2 + n_offered % RING_SIZE;
  guint16 index;

  for (guint i = 0; i < n; i++)
    {
      Descriptor descriptor = {
        .address = BASE + request->pieces[i].at,
        .length = request->pieces[i].length,
        .flags = (i + 1 < n ? 1 : 0) | (i >= request->n_readable ? 2 : 0),
        .next = first + i + 1,
      };

      guest_write (table + (first + i) * sizeof descriptor, &descriptor, sizeof descriptor);
    }
  request->head = n_descriptors;
  if (indirect)
    {
      Descriptor descriptor = { BASE + table, n * sizeof descriptor, 4, 0 };

      guest_write (DESCRIPTORS + n_descriptors * sizeof descriptor, &descriptor, sizeof descriptor);
    }
  n_descriptors += indirect ? 1 : n;
  guest_write (slot * 2, &request->head, 2);
  index = ++n_offered;
  guest_write (AVAILABLE + 2, &index, 2);
}

/* Takes a request off the input, which has at least the fixed part of it. Returns bytes used. */
static gsize
take_request (const guint8 *data, gsize size, guint shape)
{
  Request *request = &requests[n_requests];
  guint8 start_bytes[16 + 255];
  gsize n_payload = MIN (data[1], size - 20);
  guint n_pieces[2] = { data[2] & MAX_PIECES, data[3] & MAX_PIECES };
  gsize at = 20 + n_payload;

  memset (request, 0, sizeof *request);
  memcpy (start_bytes, data + 4, 16 + n_payload);
  if (shape & SHAPE_OVERLAPPING)
    overlapping = TRUE;
  for (guint side = 0; side < 2; side++)
    for (guint i = 0; i < n_pieces[side] && at + 2 <= size; i++, at += 2)
      {
        guint n = request->n_readable + request->n_writable;
        Piece piece = place (decode_length (data + at), shape, n);

        if (piece.length == 0)
          continue;
        request->pieces[n] = piece;
        if (side == 0)
          request->n_readable++;
        else
          {
            request->n_writable++;
            request->writable += piece.length;
          }
      }
  if (request->n_readable + request->n_writable == 0)
    {
      request->pieces[0] = (Piece){ SPARE, 1 };
      request->n_readable = 1;
    }
  if (request->n_writable > 0)
    {
      const Piece *last = &request->pieces[request->n_readable + request->n_writable - 1];

      guest_write (last->at + last->length - 1, "\x5a", 1);
    }
  fill_readable (request, start_bytes, 16 + n_payload);
  touched = MAX (touched, MAX (next_data, DATA + OVERLAPPING_SIZE));
  offer (request, shape);
  n_requests++;
  return at;
}

/* ---- The other device ---- */

static void
expect_written (const Request *request, const guint8 *data, gsize length)
{
  for (guint i = 0; i < request->n_writable && length > 0; i++)
    {
      const Piece *piece = &request->pieces[request->n_readable + i];
      gsize n = MIN (piece->length, length);

      memcpy (expected_guest + piece->at, data, n);
      data += n;
      length -= n;
    }
}

static gboolean
is_on_disk (guint64 sector, gsize length)
{
  unsigned __int128 first = (unsigned __int128) sector * 512;
  guint block = (mode & MODE_LARGE_BLOCKS) ? 4096 : 512;

  return first % block == 0 && length % block == 0 && first + length <= IMAGE_SIZE;
}

static guint8
expect_ranges (const Request *request, gboolean zeroes, gboolean obey)
{
  struct virtio_blk_discard_write_zeroes ranges[VHOSTD_BLOCK_MAX_RANGES];
  gsize size = request->readable - sizeof (struct virtio_blk_outhdr);
  gsize n = size / sizeof ranges[0];

  if (mode & MODE_READ_ONLY)
    return VIRTIO_BLK_S_IOERR;
  if (!zeroes && (mode & (MODE_NO_DISCARD | MODE_NULL)) == MODE_NO_DISCARD)
    return VIRTIO_BLK_S_UNSUPP;
  if (n == 0 || n > G_N_ELEMENTS (ranges) || size != n * sizeof ranges[0])
    return VIRTIO_BLK_S_IOERR;
  memcpy (ranges, request->stream + sizeof (struct virtio_blk_outhdr), size);
  for (gsize i = 0; i < n; i++)
    {
      if (ranges[i].flags != 0 && !(zeroes && ranges[i].flags == 1))
        return VIRTIO_BLK_S_UNSUPP;
      if (!is_on_disk (ranges[i].sector, (gsize) ranges[i].num_sectors * 512))
        return VIRTIO_BLK_S_IOERR;
    }
  /* A hole in a file reads as zeros. */
  for (gsize i = 0; i < n && obey && !(mode & MODE_NULL); i++)
    memset (expected_image + ranges[i].sector * 512, 0, (gsize) ranges[i].num_sectors * 512);
  return VIRTIO_BLK_S_OK;
}

/* What @request gets. @obey: and does. */
static guint8
expect (const Request *request, gboolean obey, guint32 *used_length)
{
  struct virtio_blk_outhdr header;
  const guint8 *payload = request->stream + sizeof header;
  gsize space = request->writable - 1, written = 0;
  guint8 status = VIRTIO_BLK_S_IOERR;
  char id[VIRTIO_BLK_ID_BYTES] = SERIAL;

  *used_length = space == 0;
  if (request->readable < sizeof header)
    return status;
  memcpy (&header, request->stream, sizeof header);
  switch (header.type)
    {
    case VIRTIO_BLK_T_IN:
      if (!is_on_disk (header.sector, space))
        break;
      status = VIRTIO_BLK_S_OK;
      if (mode & MODE_NULL)
        written = (mode & MODE_ZEROES) ? space : 0;
      else
        written = space;
      if (obey && (mode & MODE_NULL))
        {
          static const guint8 zeros[MEMORY_SIZE + MAX_PIECES * MAX_OVERLAPPING];

          expect_written (request, zeros, written);
        }
      else if (obey)
        expect_written (request, expected_image + header.sector * 512, written);
      break;
    case VIRTIO_BLK_T_OUT:
      if ((mode & MODE_READ_ONLY) || !is_on_disk (header.sector, request->readable - sizeof header))
        break;
      status = VIRTIO_BLK_S_OK;
      if (obey && !(mode & MODE_NULL))
        memcpy (expected_image + header.sector * 512, payload, request->readable - sizeof header);
      break;
    case VIRTIO_BLK_T_FLUSH:
      status = VIRTIO_BLK_S_OK;
      break;
    case VIRTIO_BLK_T_GET_ID:
      status = VIRTIO_BLK_S_OK;
      written = MIN (space, sizeof id);
      if (obey)
        expect_written (request, (guint8 *) id, written);
      break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
      status = expect_ranges (request, header.type == VIRTIO_BLK_T_WRITE_ZEROES, obey);
      break;
    default:
      status = VIRTIO_BLK_S_UNSUPP;
      break;
    }
  *used_length = written == space ? written + 1 : written;
  return status;
}

/* ---- Comparison ---- */

/* @alone: no other request was under way, so that the contents are certain, too. */
static void
check_request (Request *request, guint32 used_length, gboolean alone)
{
  const Piece *last = &request->pieces[request->n_readable + request->n_writable - 1];
  guint32 status_at = last->at + last->length - 1;
  guint32 expected_length = 0;
  guint8 status;

  g_assert_cmpuint (used_length, <=, request->writable);
  if (request->writable == 0)
    {
      g_assert_cmpuint (used_length, ==, 0);
      return;
    }
  if (alone)
    {
      status = expect (request, TRUE, &expected_length);
      expected_guest[status_at] = status;
    }
  else
    {
      status = expect (request, FALSE, &expected_length);
      for (guint i = 0; i < request->n_writable; i++)
        {
          const Piece *piece = &request->pieces[request->n_readable + i];

          memcpy (expected_guest + piece->at, guest + piece->at, piece->length);
        }
      if (overlapping)
        return; /* another one may have changed its header */
    }
  g_assert_cmpuint (guest[status_at], ==, status);
  g_assert_cmpuint (used_length, ==, expected_length);
}

static void
begin_batch (void)
{
  n_requests = n_descriptors = 0;
  next_data = DATA;
  streams_used = 0;
  overlapping = FALSE;
}

static void
finish_batch (void)
{
  guint16 used_index = 0;
  guint n_done = 0;

  if (n_requests == 0)
    return;
  do
    {
      g_main_context_iteration (NULL, TRUE);
      memcpy (&used_index, guest + USED + 2, sizeof used_index);
    }
  while (used_index != n_offered);
  g_assert_cmpuint (vhost_queue_get_in_flight (queue), ==, 0);

  for (guint i = 0; i < n_requests; i++)
    {
      guint32 element[2];
      guint16 slot = (guint16) (n_offered - n_requests + i) % RING_SIZE;
      guint found = 0;

      memcpy (element, guest + USED + 4 + slot * sizeof element, sizeof element);
      while (found < n_requests && requests[found].head != element[0])
        found++;
      g_assert_cmpuint (found, <, n_requests);
      g_assert_false (n_done & 1u << found);
      n_done |= 1u << found;
      check_request (&requests[found], element[1], n_requests == 1);
    }
  if (n_requests > 1 && memcmp (expected_image, image, IMAGE_SIZE) != 0)
    memcpy (expected_image, image, IMAGE_SIZE);
  memcpy (expected_guest + USED, guest + USED, USED_SIZE);
  /* A page more: where a write past the end would be. */
  g_assert_cmpint (memcmp (guest, expected_guest, MIN (touched + 4096, MEMORY_SIZE)), ==, 0);
  g_assert_cmpint (memcmp (image, expected_image, IMAGE_SIZE), ==, 0);
  g_assert_cmpint (lseek (image_fd, 0, SEEK_END), ==, IMAGE_SIZE);
  begin_batch ();
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  VhostTask stopped = { .run = run_stopped };

  if (size < 1 + 20)
    return 0;
  if (memory == NULL)
    set_up ();
  if (image_dirty)
    {
      memcpy (image, pattern, IMAGE_SIZE);
      memcpy (expected_image, pattern, IMAGE_SIZE);
    }
  memset (guest, 0, MAX (touched, DATA));
  memset (expected_guest, 0, MAX (touched, DATA));
  mode = *data++;
  size--;
  n_offered = 0;
  touched = DATA;
  begin_batch ();
  start ();

  for (guint total = 0; size >= 20 && total < 64; total++)
    {
      guint shape = data[0];
      gsize n = take_request (data, size, shape);

      data += n;
      size -= n;
      if (!(shape & SHAPE_MORE) || n_requests == MAX_BATCH)
        finish_batch ();
    }
  finish_batch ();

  image_dirty = memcmp (image, pattern, IMAGE_SIZE) != 0;
  vhost_worker_stop_queue (worker, queue, FALSE, &stopped);
  g_assert_true (stopped.next == &stopped);
  g_object_unref (queue);
  return 0;
}
