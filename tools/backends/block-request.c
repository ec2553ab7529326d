/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests of the block device (VIRTIO 1.3, 5.2.6). Trusts nothing of what the driver wrote:
 * every number is read once into a local, checked and only then used.
 *
 * How it works: a request lives in its chain's data. Reads and writes go straight between the image
 * and guest memory; with O_DIRECT and buffers that it refuses, through an aligned buffer, piece by
 * piece. Each step that waits is an operation of the worker's engine, whose done function starts
 * the next step or finishes the request.
 *
 * The used length (2.7.8.2) counts what was surely written from the first writable byte on. A
 * request that was refused or has failed has written its status only: that is not contiguous when
 * data should have come before it, so the length is 0 then. Zeroing the data instead would let a
 * driver have gigabytes zeroed by requests that are refused anyway. */
#include "block-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Of the buffer for what O_DIRECT cannot take as it is, per request in flight. */
#define BOUNCE_SIZE (128 * 1024)
#define BOUNCE_ALIGNMENT 4096

#define WARNING_INTERVAL_US G_USEC_PER_SEC

typedef struct
{
  guint64 offset; /* bytes */
  guint64 length;
  gboolean unmap;
} Range;

typedef struct
{
  VhostIoOp op; /* first: an operation is its request */
  VhostdBlock *self;
  VhostChain *chain;
  VhostIo *io;
  guint8 *status; /* in guest memory */
  guint64 offset; /* in the image, bytes */
  guint64 length;

  guint8 *bounce; /* (owned) (nullable) */
  struct iovec bounce_iov;
  guint64 bounced; /* bytes that are through */

  gboolean zeroes; /* ranges are to be zeroed, else discarded */
  guint n_ranges;
  guint current;
  Range ranges[VHOSTD_BLOCK_MAX_RANGES];
} Request;

gsize
vhostd_block_request_get_size (void)
{
  return sizeof (Request);
}

static inline void
complete (VhostChain *chain, guint8 *status, guint8 value, gsize written)
{
  *status = value;
  /* The status counts when there is no gap before it. */
  vhost_chain_complete (chain,
                        written == vhost_chain_get_writable_size (chain) ? written + 1 : written);
}

static void
finish (Request *request, guint8 value, gsize written)
{
  if (G_UNLIKELY (request->bounce != NULL))
    {
      free (request->bounce);
      request->bounce = NULL;
    }
  complete (request->chain, request->status, value, written);
}

/* An error of the medium: the guest sees IOERR only, the reason is for the operator. A failing disk
 * fails thousands of times a second; one message each second tells enough. Thread: worker. */
static void
fail (Request *request, const char *what, guint64 offset, int code)
{
  VhostdBlock *self = request->self;
  gint64 now = g_get_monotonic_time ();
  gint64 last = atomic_load_explicit (&self->last_warning, memory_order_relaxed);

  /* Relaxed: of several workers one wins and writes, nothing else hangs on it. */
  if ((last == 0 || now - last >= WARNING_INTERVAL_US)
      && atomic_compare_exchange_strong_explicit (&self->last_warning, &last, now,
                                                  memory_order_relaxed, memory_order_relaxed))
    {
      guint more = atomic_exchange_explicit (&self->unreported, 0, memory_order_relaxed);

      g_warning ("%s: %s of %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                 " failed: %s; the guest gets an I/O error (%u more since the last such message)",
                 self->image->path, what, request->length, offset, g_strerror (code), more);
    }
  else
    {
      atomic_fetch_add_explicit (&self->unreported, 1, memory_order_relaxed);
    }
  finish (request, VIRTIO_BLK_S_IOERR, 0);
}

/* The driver's position and length against the disk. @sector is any number, so no sum is made. */
static inline gboolean
is_within (VhostdBlock *self, guint64 sector, guint64 length)
{
  guint64 capacity = atomic_load_explicit (&self->capacity, memory_order_relaxed);
  guint64 sectors = length >> VHOSTD_BLOCK_SECTOR_SHIFT;

  return sector <= capacity && sectors <= capacity - sector
         && (((sector << VHOSTD_BLOCK_SECTOR_SHIFT) | length) & self->block_mask) == 0;
}

/* Called: worker. */
static void
flush_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (G_UNLIKELY (result < 0))
    fail (request, "flush", request->offset, (int) -result);
  else
    finish (request, VIRTIO_BLK_S_OK, 0);
}

/* A write has reached the page cache. */
static void
finish_write (Request *request)
{
  if (atomic_load_explicit (&request->self->writethrough, memory_order_relaxed))
    {
      request->op.done = flush_done;
      vhost_io_fsync (request->io, &request->op, request->self->image->file, TRUE);
      return;
    }
  finish (request, VIRTIO_BLK_S_OK, 0);
}

/* Called: worker. */
static void
read_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (G_LIKELY (result >= 0 && (guint64) result == request->length))
    finish (request, VIRTIO_BLK_S_OK, request->length);
  else /* a short one: the image has been cut off under us */
    fail (request, "read", request->offset, result < 0 ? (int) -result : ENODATA);
}

/* Called: worker. */
static void
write_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (G_LIKELY (result >= 0 && (guint64) result == request->length))
    finish_write (request);
  else
    fail (request, "write", request->offset, result < 0 ? (int) -result : EIO);
}

/* Whether O_DIRECT would refuse the guest's buffers. */
static gboolean
needs_bounce (VhostdBlock *self, const struct iovec *iov, guint n)
{
  for (guint i = 0; i < n; i++)
    if (((guintptr) iov[i].iov_base & self->memory_mask) != 0
        || (iov[i].iov_len & self->length_mask) != 0)
      return TRUE;
  return FALSE;
}

static gboolean
start_bounce (Request *request)
{
  gpointer memory = NULL;

  if (posix_memalign (&memory, BOUNCE_ALIGNMENT, MIN (request->length, BOUNCE_SIZE)) != 0)
    {
      fail (request, "buffer", request->offset, ENOMEM);
      return FALSE;
    }
  request->bounce = memory;
  request->bounced = 0;
  request->bounce_iov.iov_base = memory;
  return TRUE;
}

static void
bounce_read_next (Request *request)
{
  request->bounce_iov.iov_len = MIN (request->length - request->bounced, BOUNCE_SIZE);
  vhost_io_readv (request->io, &request->op, request->self->image->file, &request->bounce_iov, 1,
                  request->offset + request->bounced);
}

/* Called: worker. */
static void
bounce_read_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (result < 0 || (gsize) result != request->bounce_iov.iov_len)
    {
      fail (request, "read", request->offset + request->bounced,
            result < 0 ? (int) -result : ENODATA);
      return;
    }
  vhost_chain_write (request->chain, request->bounce, (gsize) result);
  request->bounced += (guint64) result;
  if (request->bounced < request->length)
    bounce_read_next (request);
  else
    finish (request, VIRTIO_BLK_S_OK, request->length);
}

static void
bounce_write_next (Request *request)
{
  request->bounce_iov.iov_len = vhost_chain_pull (
      request->chain, request->bounce, MIN (request->length - request->bounced, BOUNCE_SIZE));
  vhost_io_writev (request->io, &request->op, request->self->image->file, &request->bounce_iov, 1,
                   request->offset + request->bounced);
}

/* Called: worker. */
static void
bounce_write_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (result < 0 || (gsize) result != request->bounce_iov.iov_len)
    {
      fail (request, "write", request->offset + request->bounced, result < 0 ? (int) -result : EIO);
      return;
    }
  request->bounced += (guint64) result;
  if (request->bounced < request->length)
    bounce_write_next (request);
  else
    finish_write (request);
}

static void
start_read (Request *request)
{
  VhostdBlock *self = request->self;
  const struct iovec *iov;
  guint n;

  iov = vhost_chain_get_writable (request->chain, &n);
  if (G_UNLIKELY (self->length_mask != 0 && needs_bounce (self, iov, n)))
    {
      request->op.done = bounce_read_done;
      if (start_bounce (request))
        bounce_read_next (request);
      return;
    }
  request->op.done = read_done;
  vhost_io_readv (request->io, &request->op, self->image->file, iov, n, request->offset);
}

static void
start_write (Request *request)
{
  VhostdBlock *self = request->self;
  const struct iovec *iov;
  guint n;

  iov = vhost_chain_get_readable (request->chain, &n);
  if (G_UNLIKELY (self->length_mask != 0 && needs_bounce (self, iov, n)))
    {
      request->op.done = bounce_write_done;
      if (start_bounce (request))
        bounce_write_next (request);
      return;
    }
  request->op.done = write_done;
  vhost_io_writev (request->io, &request->op, self->image->file, iov, n, request->offset);
}

/* All ranges of a discard or write-zeroes request, checked before the first is obeyed. Returns the
 * status. */
static guint8
take_ranges (VhostdBlock *self, VhostChain *chain, gboolean zeroes, Range *ranges, guint *n_ranges)
{
  gsize size = vhost_chain_get_readable_size (chain);
  guint32 max_sectors = zeroes ? VHOSTD_BLOCK_MAX_ZEROES_SECTORS : VHOSTD_BLOCK_MAX_DISCARD_SECTORS;
  struct virtio_blk_discard_write_zeroes segment;

  if (size == 0 || size % sizeof segment != 0 || size / sizeof segment > VHOSTD_BLOCK_MAX_RANGES)
    return VIRTIO_BLK_S_IOERR;
  *n_ranges = size / sizeof segment;
  for (guint i = 0; i < *n_ranges; i++)
    {
      guint64 sector;
      guint32 n_sectors;
      guint32 flags;

      vhost_chain_pull (chain, &segment, sizeof segment);
      sector = GUINT64_FROM_LE (segment.sector);
      n_sectors = GUINT32_FROM_LE (segment.num_sectors);
      flags = GUINT32_FROM_LE (segment.flags);
      /* 5.2.6.2: unknown flags, and "unmap" where it says nothing. */
      if ((flags & ~(guint32) (zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0)) != 0)
        return VIRTIO_BLK_S_UNSUPP;
      ranges[i].offset = sector << VHOSTD_BLOCK_SECTOR_SHIFT;
      ranges[i].length = (guint64) n_sectors << VHOSTD_BLOCK_SECTOR_SHIFT;
      ranges[i].unmap = flags != 0;
      if (n_sectors > max_sectors || !is_within (self, sector, ranges[i].length))
        return VIRTIO_BLK_S_IOERR;
    }
  return VIRTIO_BLK_S_OK;
}

static void next_range (Request *request);

/* Called: worker. */
static void
range_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  /* A discard is a hint: a medium that cannot do it has obeyed. */
  if (result < 0 && (request->zeroes || !vhostd_block_image_is_unable ((int) -result)))
    {
      fail (request, request->zeroes ? "write of zeroes" : "discard",
            request->ranges[request->current].offset, (int) -result);
      return;
    }
  request->current++;
  next_range (request);
}

/* Called: pool. The request rests meanwhile. */
static gssize
call_discard (VhostIoOp *op)
{
  Request *request = (Request *) op;
  const Range *range = &request->ranges[request->current];

  return vhostd_block_image_discard_device (request->self->image, range->offset, range->length);
}

/* Called: pool. The request rests meanwhile. */
static gssize
call_fill (VhostIoOp *op)
{
  Request *request = (Request *) op;
  const Range *range = &request->ranges[request->current];

  return vhostd_block_image_fill_zeroes (request->self->image, range->offset, range->length);
}

static void
fill_range (Request *request)
{
  request->op.done = range_done;
  vhost_io_call (request->io, &request->op, call_fill);
}

/* What remembers that @range's way of zeroing is unknown to the image. */
static _Atomic (gboolean) *
get_unable (VhostdBlockImage *image, const Range *range)
{
  return range->unmap ? &image->no_punch_hole : &image->no_zero_range;
}

/* Called: worker. */
static void
zero_done (VhostIoOp *op, gssize result)
{
  Request *request = (Request *) op;

  if (result < 0 && vhostd_block_image_is_unable ((int) -result))
    {
      /* EINVAL may be due to this range alone. */
      if (result != -EINVAL)
        atomic_store_explicit (
            get_unable (request->self->image, &request->ranges[request->current]), TRUE,
            memory_order_relaxed);
      fill_range (request);
      return;
    }
  range_done (op, result);
}

/* Obeys the current range, or finishes behind the last one. */
static void
next_range (Request *request)
{
  VhostdBlockImage *image = request->self->image;
  const Range *range;

  while (request->current < request->n_ranges && request->ranges[request->current].length == 0)
    request->current++;
  if (request->current == request->n_ranges)
    {
      if (request->zeroes)
        finish_write (request);
      else
        finish (request, VIRTIO_BLK_S_OK, 0);
      return;
    }

  range = &request->ranges[request->current];
  request->length = range->length; /* for messages */
  if (!request->zeroes)
    {
      request->op.done = range_done;
      if (image->is_device)
        vhost_io_call (request->io, &request->op, call_discard);
      else
        vhost_io_fallocate (request->io, &request->op, image->file,
                            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range->offset,
                            range->length);
    }
  else if (atomic_load_explicit (get_unable (image, range), memory_order_relaxed))
    {
      fill_range (request);
    }
  else
    {
      /* Only with the flag may the space be given back (5.2.6.2). */
      request->op.done = zero_done;
      vhost_io_fallocate (request->io, &request->op, image->file,
                          (range->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE)
                              | FALLOC_FL_KEEP_SIZE,
                          range->offset, range->length);
    }
}

static void
start_ranges (Request *request, gboolean zeroes)
{
  VhostdBlock *self = request->self;
  guint8 status;

  if (self->is_read_only)
    status = VIRTIO_BLK_S_IOERR;
  else if (!zeroes && !self->can_discard)
    status = VIRTIO_BLK_S_UNSUPP;
  else
    status = take_ranges (self, request->chain, zeroes, request->ranges, &request->n_ranges);
  if (status != VIRTIO_BLK_S_OK)
    {
      finish (request, status, 0);
      return;
    }
  request->zeroes = zeroes;
  request->current = 0;
  next_range (request);
}

/* One request on an image. */
static void
process_file (VhostdBlock *self, VhostIo *io, VhostChain *chain)
{
  Request *request = vhost_chain_get_data (chain);
  struct virtio_blk_outhdr header;
  gsize pulled = vhost_chain_pull (chain, &header, sizeof header);
  guint8 *status = vhost_chain_split_status (chain);
  guint64 sector;

  /* Nowhere to say anything. The ring's rules are kept, so it lives on. */
  if (G_UNLIKELY (status == NULL))
    {
      vhost_chain_complete (chain, 0);
      return;
    }
  if (G_UNLIKELY (pulled != sizeof header))
    {
      complete (chain, status, VIRTIO_BLK_S_IOERR, 0);
      return;
    }

  request->self = self;
  request->chain = chain;
  request->io = io;
  request->status = status;
  sector = GUINT64_FROM_LE (header.sector);
  request->offset = sector << VHOSTD_BLOCK_SECTOR_SHIFT;
  switch (GUINT32_FROM_LE (header.type))
    {
    case VIRTIO_BLK_T_IN:
      request->length = vhost_chain_get_writable_size (chain);
      if (G_UNLIKELY (!is_within (self, sector, request->length)))
        finish (request, VIRTIO_BLK_S_IOERR, 0);
      else if (request->length == 0)
        finish (request, VIRTIO_BLK_S_OK, 0);
      else
        start_read (request);
      break;
    case VIRTIO_BLK_T_OUT:
      request->length = vhost_chain_get_readable_size (chain);
      if (G_UNLIKELY (self->is_read_only || !is_within (self, sector, request->length)))
        finish (request, VIRTIO_BLK_S_IOERR, 0);
      else if (request->length == 0)
        finish (request, VIRTIO_BLK_S_OK, 0);
      else
        start_write (request);
      break;
    case VIRTIO_BLK_T_FLUSH:
      request->offset = request->length = 0;
      if (self->is_read_only)
        {
          finish (request, VIRTIO_BLK_S_OK, 0);
          break;
        }
      request->op.done = flush_done;
      vhost_io_fsync (io, &request->op, self->image->file, TRUE);
      break;
    case VIRTIO_BLK_T_GET_ID:
      finish (request, VIRTIO_BLK_S_OK, vhost_chain_write (chain, self->id, sizeof self->id));
      break;
    case VIRTIO_BLK_T_DISCARD:
      start_ranges (request, FALSE);
      break;
    case VIRTIO_BLK_T_WRITE_ZEROES:
      start_ranges (request, TRUE);
      break;
    default:
      finish (request, VIRTIO_BLK_S_UNSUPP, 0);
      break;
    }
}

/* One request on nothing, with the same checks: what is measured with it is the way of a request
 * through the library. */
static inline void
process_null (VhostdBlock *self, VhostChain *chain)
{
  struct virtio_blk_outhdr header;
  gsize pulled = vhost_chain_pull (chain, &header, sizeof header);
  guint8 *status = vhost_chain_split_status (chain);
  gsize writable = vhost_chain_get_writable_size (chain);
  guint8 value = VIRTIO_BLK_S_IOERR;
  gsize written = 0;

  if (G_UNLIKELY (status == NULL))
    {
      vhost_chain_complete (chain, 0);
      return;
    }
  if (G_UNLIKELY (pulled != sizeof header))
    header.type = G_MAXUINT32;
  switch (GUINT32_FROM_LE (header.type))
    {
    case VIRTIO_BLK_T_IN:
      if (G_UNLIKELY (!is_within (self, GUINT64_FROM_LE (header.sector), writable)))
        break;
      value = VIRTIO_BLK_S_OK;
      /* Untouched data are not counted as written: the driver finds its own old bytes. */
      if (self->zero_reads)
        written = vhost_chain_zero (chain, 0, writable);
      break;
    case VIRTIO_BLK_T_OUT:
      if (!self->is_read_only
          && is_within (self, GUINT64_FROM_LE (header.sector),
                        vhost_chain_get_readable_size (chain)))
        value = VIRTIO_BLK_S_OK;
      break;
    case VIRTIO_BLK_T_FLUSH:
      value = VIRTIO_BLK_S_OK;
      break;
    case VIRTIO_BLK_T_GET_ID:
      value = VIRTIO_BLK_S_OK;
      written = vhost_chain_write (chain, self->id, sizeof self->id);
      break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
      if (!self->is_read_only)
        {
          Range ranges[VHOSTD_BLOCK_MAX_RANGES];
          guint n;

          value = take_ranges (
              self, chain, GUINT32_FROM_LE (header.type) == VIRTIO_BLK_T_WRITE_ZEROES, ranges, &n);
        }
      break;
    default:
      if (pulled == sizeof header)
        value = VIRTIO_BLK_S_UNSUPP;
      break;
    }
  *status = value;
  vhost_chain_complete (chain, written == writable ? written + 1 : written);
}

/* Called: worker, once per batch. */
void
vhostd_block_process_queue (VhostBackend *backend, VhostQueue *queue)
{
  /* No type check: it would be the costliest part of an empty batch. */
  VhostdBlock *self = (VhostdBlock *) backend;
  VhostChain *chain;
  VhostIo *io;

  if (self->image == NULL)
    {
      while ((chain = vhost_queue_pop (queue)) != NULL)
        process_null (self, chain);
      return;
    }
  io = vhost_backend_get_io (backend, queue);
  while ((chain = vhost_queue_pop (queue)) != NULL)
    process_file (self, io, chain);
}
