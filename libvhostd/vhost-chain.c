/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One request: vectors that point into guest memory, and the way back to the ring. Must not touch
 * the ring itself. */
#include "config.h"

#include "vhost-chain.h"

#include "vhost-chain-private.h"
#include "vhost-queue-private.h"

#include <string.h>

/**
 * VhostChain:
 *
 * One descriptor chain: a request of the guest's driver.
 *
 * A chain has a readable part, written by the driver, and a writable part, to be filled by the
 * device (VIRTIO 1.3, 2.7.4.2). Both are lists of segments in guest memory itself: nothing is
 * copied unless it is asked for. The driver can change the memory at any moment, so what is checked
 * must be copied first: vhost_chain_pull() does that.
 *
 * A chain comes from vhost_queue_pop() and belongs to its queue. It must be completed exactly once,
 * by vhost_chain_complete(), now or later and from any thread. After that it must not be used any
 * more, unless a reference was taken.
 *
 * Since: 0.1
 */

G_DEFINE_BOXED_TYPE (VhostChain, vhost_chain, vhost_chain_ref, vhost_chain_unref)

VhostChain *
vhost_chain_new (VhostQueue *queue, gsize data_size)
{
  VhostChain *self = g_malloc0 (sizeof *self + data_size);

  vhost_reference_init (&self->ref_count);
  self->queue = queue;
  self->segments = self->inline_segments;
  self->n_allocated = VHOST_CHAIN_INLINE_SEGMENTS;
  return self;
}

void
vhost_chain_free (VhostChain *self)
{
  vhost_chain_recycle (self);
  g_free (self);
}

void
vhost_chain_reserve (VhostChain *self, guint n)
{
  struct iovec *segments;
  guint n_used = self->n_readable + self->n_writable;

  if (n <= self->n_allocated)
    return;
  segments = g_new (struct iovec, n);
  memcpy (segments, self->segments, n_used * sizeof *segments);
  if (self->segments != self->inline_segments)
    g_free (self->segments);
  self->segments = segments;
  self->n_allocated = n;
}

guint
vhost_chain_recycle (VhostChain *self)
{
  guint given_up = 0;

  if (G_UNLIKELY (self->segments != self->inline_segments))
    {
      given_up = self->n_allocated;
      g_free (self->segments);
      self->segments = self->inline_segments;
      self->n_allocated = VHOST_CHAIN_INLINE_SEGMENTS;
    }
  self->n_readable = self->n_writable = 0;
  self->first = 0;
  self->first_offset = 0;
  self->n_status = self->status_length = 0;
  self->readable_size = self->writable_size = self->write_offset = 0;
  return given_up;
}

/**
 * vhost_chain_ref:
 * @self: a chain
 *
 * Takes a reference. It keeps the structure, not the guest memory behind it: segments are valid
 * until the chain is completed.
 *
 * Thread: any.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
VhostChain *
vhost_chain_ref (VhostChain *self)
{
  vhost_reference_take (&self->ref_count);
  return self;
}

/**
 * vhost_chain_unref:
 * @self: (transfer full): a chain
 *
 * Drops a reference.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_chain_unref (VhostChain *self)
{
  if (vhost_reference_drop (&self->ref_count))
    vhost_chain_free (self);
}

/**
 * vhost_chain_get_queue:
 * @self: a chain
 *
 * The queue that the request came from.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none): the queue
 *
 * Since: 0.1
 */
VhostQueue *
vhost_chain_get_queue (VhostChain *self)
{
  return self->queue;
}

/**
 * vhost_chain_get_head:
 * @self: a chain
 *
 * The chain's number in its ring: the index of its first descriptor. No two requests in flight in a
 * queue share it.
 *
 * Thread: any.
 *
 * Returns: 0 to ring size - 1
 *
 * Since: 0.1
 */
guint
vhost_chain_get_head (VhostChain *self)
{
  return self->head;
}

/**
 * vhost_chain_get_data: (skip)
 * @self: a chain
 *
 * Memory of the back-end's own, of the size given to vhost_backend_class_set_chain_data_size().
 * Zero when the chain is used for the first time; what a request leaves in it is there for the next
 * one.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none): the data, aligned for any type
 *
 * Since: 0.1
 */
gpointer
vhost_chain_get_data (VhostChain *self)
{
  return self->data;
}

/**
 * vhost_chain_get_readable: (skip)
 * @self: a chain
 * @n_segments: (out): number of segments
 *
 * What of the readable part vhost_chain_pull() has not taken, as segments in guest memory.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none): the segments; they change with the next pull
 *
 * Since: 0.1
 */
const struct iovec *
vhost_chain_get_readable (VhostChain *self, guint *n_segments)
{
  *n_segments = self->n_readable - self->first;
  return self->segments + self->first;
}

/**
 * vhost_chain_get_writable: (skip)
 * @self: a chain
 * @n_segments: (out): number of segments
 *
 * The writable part, without a status byte that was split off, as segments in guest memory.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none): the segments
 *
 * Since: 0.1
 */
const struct iovec *
vhost_chain_get_writable (VhostChain *self, guint *n_segments)
{
  *n_segments = self->n_writable;
  return self->segments + self->n_readable;
}

/**
 * vhost_chain_get_readable_size:
 * @self: a chain
 *
 * Bytes of the readable part that vhost_chain_pull() has not taken.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: the size in bytes
 *
 * Since: 0.1
 */
gsize
vhost_chain_get_readable_size (VhostChain *self)
{
  return self->readable_size;
}

/**
 * vhost_chain_get_writable_size:
 * @self: a chain
 *
 * Bytes of the writable part, without a status byte that was split off.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: the size in bytes
 *
 * Since: 0.1
 */
gsize
vhost_chain_get_writable_size (VhostChain *self)
{
  return self->writable_size;
}

/**
 * vhost_chain_pull: (skip)
 * @self: a chain
 * @data: (out caller-allocates): where the bytes go
 * @length: how many are wanted
 *
 * Copies the next bytes of the readable part and takes them off it: what a device does with its
 * request header. The driver may have cut the header into any pieces (VIRTIO 1.3, 2.7.4.1).
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: bytes copied; fewer than @length when the readable part is shorter
 *
 * Since: 0.1
 */
gsize
vhost_chain_pull (VhostChain *self, gpointer data, gsize length)
{
  struct iovec *segment = self->segments + self->first;
  gsize done = 0;

  /* The usual case: a header in a segment of its own. */
  if (G_LIKELY (self->first < self->n_readable && segment->iov_len >= length))
    {
      memcpy (data, segment->iov_base, length);
      done = length;
      segment->iov_base = (guint8 *) segment->iov_base + length;
      segment->iov_len -= length;
      if (segment->iov_len == 0)
        self->first++;
      self->readable_size -= length;
      return done;
    }
  while (done < length && self->first < self->n_readable)
    {
      gsize n;

      segment = self->segments + self->first;
      n = MIN (length - done, segment->iov_len);
      memcpy ((guint8 *) data + done, segment->iov_base, n);
      segment->iov_base = (guint8 *) segment->iov_base + n;
      segment->iov_len -= n;
      if (segment->iov_len == 0)
        self->first++;
      done += n;
    }
  self->readable_size -= done;
  return done;
}

/* One segment's share of a walk over @length bytes from @offset. */
typedef void (*SegmentFunc) (guint8 *at, gsize n, gsize done, gpointer data);

static gsize
walk (const struct iovec *segments, guint n_segments, gsize offset, gsize length, SegmentFunc func,
      gpointer data)
{
  gsize done = 0;

  for (guint i = 0; i < n_segments && done < length; i++)
    {
      gsize n = segments[i].iov_len;

      if (offset >= n)
        {
          offset -= n;
          continue;
        }
      n = MIN (n - offset, length - done);
      func ((guint8 *) segments[i].iov_base + offset, n, done, data);
      done += n;
      offset = 0;
    }
  return done;
}

static void
copy_out (guint8 *at, gsize n, gsize done, gpointer data)
{
  memcpy ((guint8 *) data + done, at, n);
}

static void
copy_in (guint8 *at, gsize n, gsize done, gpointer data)
{
  memcpy (at, (const guint8 *) data + done, n);
}

static void
clear_at (guint8 *at, gsize n, gsize done, gpointer data)
{
  memset (at, 0, n);
}

/**
 * vhost_chain_read: (skip)
 * @self: a chain
 * @offset: where to begin, in bytes behind what was pulled
 * @data: (out caller-allocates): where the bytes go
 * @length: how many are wanted
 *
 * Copies bytes of the readable part without taking them off.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: bytes copied; fewer than @length when the readable part is shorter
 *
 * Since: 0.1
 */
gsize
vhost_chain_read (VhostChain *self, gsize offset, gpointer data, gsize length)
{
  return walk (self->segments + self->first, self->n_readable - self->first, offset, length,
               copy_out, data);
}

/**
 * vhost_chain_write: (skip)
 * @self: a chain
 * @data: the bytes
 * @length: how many
 *
 * Appends bytes to the writable part, behind those of the calls before.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: bytes written; fewer than @length when there was no more room
 *
 * Since: 0.1
 */
gsize
vhost_chain_write (VhostChain *self, gconstpointer data, gsize length)
{
  gsize n = walk (self->segments + self->n_readable, self->n_writable, self->write_offset, length,
                  copy_in, (gpointer) data);

  self->write_offset += n;
  return n;
}

/**
 * vhost_chain_zero:
 * @self: a chain
 * @offset: first byte in the writable part
 * @length: how many bytes
 *
 * Fills a piece of the writable part with zeros: what a used length must not leave out
 * (VIRTIO 1.3, 2.7.8.2).
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: bytes written; fewer than @length at the part's end
 *
 * Since: 0.1
 */
gsize
vhost_chain_zero (VhostChain *self, gsize offset, gsize length)
{
  return walk (self->segments + self->n_readable, self->n_writable, offset, length, clear_at, NULL);
}

/**
 * vhost_chain_split_status: (skip)
 * @self: a chain
 *
 * Takes the last byte off the writable part: where block-like devices put their status, behind the
 * data.
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer none) (nullable): the byte in guest memory; %NULL: nothing is writable
 *
 * Since: 0.1
 */
guint8 *
vhost_chain_split_status (VhostChain *self)
{
  struct iovec *last;
  guint8 *status;
  gsize length;

  if (G_UNLIKELY (self->n_writable == 0))
    return NULL;
  last = &self->segments[self->n_readable + self->n_writable - 1];
  length = last->iov_len - 1;
  status = (guint8 *) last->iov_base + length;
  self->status_length++;
  if (length == 0)
    {
      /* It keeps its length for the dirty log. */
      length = self->status_length;
      self->status_length = 0;
      self->n_writable--;
      __atomic_store_n (&self->n_status, self->n_status + 1, __ATOMIC_RELAXED);
    }
  /* Released: a thread that sees the length shrunk sees n_status of all segments behind this one.
   */
  __atomic_store_n (&last->iov_len, length, __ATOMIC_RELEASE);
  self->writable_size--;
  return status;
}

/**
 * vhost_chain_read_bytes:
 * @self: a chain
 * @length: how many bytes at most
 *
 * Copies the next bytes of the readable part and takes them off it. For scripts; see
 * vhost_chain_pull().
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: (transfer full): the bytes, fewer than @length at the part's end; none when there is no
 * memory for a copy of so many
 *
 * Since: 0.1
 */
GBytes *
vhost_chain_read_bytes (VhostChain *self, gsize length)
{
  gsize n = MIN (length, self->readable_size);
  /* The driver chooses the size, up to 4 GiB: it must not end the process. */
  guint8 *data = g_try_malloc (MAX (n, 1));

  if (data == NULL)
    return g_bytes_new (NULL, 0);
  return g_bytes_new_take (data, vhost_chain_pull (self, data, n));
}

/**
 * vhost_chain_write_bytes:
 * @self: a chain
 * @bytes: what to write
 *
 * Appends to the writable part. For scripts; see vhost_chain_write().
 *
 * Thread: any, until the chain is completed.
 *
 * Returns: bytes written; fewer than the size of @bytes when there was no more room
 *
 * Since: 0.1
 */
gsize
vhost_chain_write_bytes (VhostChain *self, GBytes *bytes)
{
  gsize length;
  gconstpointer data = g_bytes_get_data (bytes, &length);

  return vhost_chain_write (self, data, length);
}

/**
 * vhost_chain_complete:
 * @self: a chain that was not completed before
 * @written: bytes written from the first writable one on, without a gap (VIRTIO 1.3, 2.7.8.2); a
 * status byte that was split off counts when all before it was written
 *
 * Gives the request back to the driver. On the queue's own thread the driver sees the first
 * completion of a batch at once and the others at the batch's end; a completion on another thread
 * is handed to the queue's thread.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_chain_complete (VhostChain *self, gsize written)
{
  VhostQueue *queue = self->queue;
  VhostQueue *outer;
  VhostChain *older;

  g_return_if_fail (self->in_flight);

  /* Never more than there was room for (V23), whatever the back-end counted. */
  self->completed_length = MIN (MIN (written, self->writable_total), G_MAXUINT32);
  if (G_LIKELY (vhost_queue_is_own_thread (queue)))
    {
      vhost_queue_finish (queue, self);
      return;
    }

  /* Both ways with the exchange in vhost_queue_collect_remote (): it sees the chain, and we see its
   * end, after which remote_task may be posted again. The queue cannot go away in between: it waits
   * for this chain. Once the chain is pushed it may be finished at any moment, so only the first of
   * a batch, which has a wake-up to give, touches the queue again: counted, so that its end waits
   * for us. (A reference would make this thread the one that frees it.) Where the worker has ended,
   * the wake-up itself can be the queue's end: then it is not ours to touch any more. */
  outer = vhost_queue_completing;
  vhost_queue_completing = queue;
  atomic_fetch_add_explicit (&queue->remote_users, 1, memory_order_relaxed);
  older = atomic_load_explicit (&queue->remote, memory_order_relaxed);
  do
    self->remote_next = older;
  while (!atomic_compare_exchange_weak_explicit (&queue->remote, &older, self, memory_order_acq_rel,
                                                 memory_order_relaxed));
  if (older == NULL)
    queue->hooks.wake (queue);
  /* Release: pairs with the acquire in vhost_queue_finalize (); nothing of ours comes after it. */
  if (vhost_queue_completing == queue)
    atomic_fetch_sub_explicit (&queue->remote_users, 1, memory_order_release);
  vhost_queue_completing = outer;
}

/**
 * vhost_chain_hand_back:
 * @self: a chain that was popped and not completed
 *
 * Gives a request back unserved, while its ring stops: it stays recorded as in flight and is served
 * again, by this back-end or by another one, when the ring starts the next time.
 *
 * This is for a back-end that parks requests, from [vfunc@Backend.queue_stopping] on. It works
 * where the front-end tracks requests in flight and either has agreed that a stop may leave some
 * (protocol feature bit 20) or has gone; otherwise nothing happens and the request must be
 * completed.
 *
 * The device must have no I/O under way for the request any more: whoever serves it next would
 * write to the same places at the same time.
 *
 * Thread: worker. Specification: "Inflight I/O tracking", GET_VRING_BASE.
 *
 * Returns: %TRUE when the chain is gone, %FALSE when it must be completed
 *
 * Since: 0.1
 */
gboolean
vhost_chain_hand_back (VhostChain *self)
{
  g_return_val_if_fail (self->in_flight, FALSE);
  /* The worker has ended: nothing is recorded any more. */
  if (atomic_load_explicit (self->queue->owner_thread, memory_order_relaxed) == 0)
    return FALSE;
  g_return_val_if_fail (vhost_queue_is_own_thread (self->queue), FALSE);

  return vhost_queue_hand_back (self->queue, self);
}
