/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains told in plain numbers: for language bindings, and descriptors that break the rules on
 * purpose. Must not let what is written there harm the driver's own books.
 *
 * How it works: a chain of any descriptors is first added as a well-formed one, so the driver knows
 * what comes back; then its descriptors are overwritten, before the device sees them. */
#include "config.h"

#include "vhost-frontend-private.h"

#include <stdatomic.h>

#define FIELDS 4 /* address, length, flags, next */
#define DESCRIPTOR_F_AVAILABLE (1u << 7)
#define DESCRIPTOR_F_USED (1u << 15)
#define MAX_BUFFERS 65536

/**
 * vhost_frontend_queue_add_ranges:
 * @self: a queue
 * @ranges: (array length=n_ranges): guest address and length of each buffer, one after the other
 * @n_ranges: how many numbers, twice the number of buffers
 * @n_readable: how many of the buffers the device reads; they come first
 * @indirect: whether to use an indirect table, where INDIRECT_DESC was negotiated
 * @token: what vhost_frontend_queue_take () gives back for this chain
 *
 * Makes a chain available, as vhost_frontend_queue_add (); for languages that have no arrays of
 * structures.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.
 *
 * Returns: %FALSE when there is no room, or no buffer, or one has no second number
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_add_ranges (VhostFrontendQueue *self, const guint64 *ranges, guint n_ranges,
                                 guint n_readable, gboolean indirect, gsize token)
{
  const guint n = n_ranges / 2;
  g_autofree VhostFrontendBuffer *buffers = NULL;

  g_return_val_if_fail (ranges != NULL || n_ranges == 0, FALSE);

  if (n == 0 || n_ranges % 2 != 0 || n > MAX_BUFFERS)
    return FALSE;
  buffers = g_new (VhostFrontendBuffer, n);
  for (guint i = 0; i < n; i++)
    buffers[i] = (VhostFrontendBuffer){
      .address = ranges[2 * i],
      .length = (guint32) ranges[2 * i + 1],
      .writable = i >= n_readable,
    };
  return vhost_frontend_queue_add (self, buffers, n, indirect, (gpointer) (guintptr) token);
}

static void
overwrite_split (VhostFrontendQueue *self, const guint64 *fields, guint n, guint head,
                 guint16 first)
{
  g_autofree guint16 *places = g_new (guint16, n);

  places[0] = first;
  for (guint i = 1; i < n; i++)
    places[i] = self->next[places[i - 1]];

  for (guint i = 0; i < n; i++, fields += FIELDS)
    {
      const guint64 next = fields[3];

      self->descriptors[places[i]] = (VhostFrontendDescriptor){
        .address = GUINT64_TO_LE (fields[0]),
        .length = GUINT32_TO_LE ((guint32) fields[1]),
        .flags = GUINT16_TO_LE ((guint16) fields[2]),
        .next = GUINT16_TO_LE (next < n ? places[next] : (guint16) next),
      };
    }
  /* The id that comes back is the head's: the books follow it. */
  if (head != 0)
    {
      self->available->ring[(guint16) (self->avail_idx - 1) & self->mask]
          = GUINT16_TO_LE (places[head]);
      /* From the head round to the tail, as if it had been the first. */
      self->next[places[n - 1]] = first;
      for (guint i = 0; i < n; i++)
        self->next[places[(head + i) % n]] = places[(head + i + 1) % n];
      self->heads[places[head]] = (VhostFrontendHead){ self->heads[first].token,
                                                       places[(head + n - 1) % n], (guint16) n };
      self->heads[first].n = 0;
    }
}

static void
overwrite_packed (VhostFrontendQueue *self, const guint64 *fields, guint n, guint first_slot,
                  gboolean wrap, gboolean held_back)
{
  const guint16 both = DESCRIPTOR_F_AVAILABLE | DESCRIPTOR_F_USED;

  for (guint i = 0; i < n; i++, fields += FIELDS)
    {
      const guint slot = (first_slot + i) % self->size;
      const gboolean lap = first_slot + i >= self->size ? !wrap : wrap;
      const guint16 flags = (guint16) ((fields[2] & ~(guint64) both)
                                       | (lap ? DESCRIPTOR_F_AVAILABLE : DESCRIPTOR_F_USED));

      self->slots[slot].address = GUINT64_TO_LE (fields[0]);
      atomic_store_explicit (&self->slots[slot].length, GUINT32_TO_LE ((guint32) fields[1]),
                             memory_order_relaxed);
      if (i == 0 && held_back)
        self->first_flags = flags;
      else
        /* Partner: the device's acquire load of the flags. */
        atomic_store_explicit (&self->slots[slot].flags, GUINT16_TO_LE (flags),
                               memory_order_release);
    }
}

/**
 * vhost_frontend_queue_add_raw:
 * @self: a queue
 * @fields: (array length=n_fields): address, length, flags and next of each descriptor, one after
 * the other
 * @n_fields: how many numbers, four times the number of descriptors
 * @head: which of the descriptors the device is told of, 0 the first; a packed ring has no choice
 * @token: what vhost_frontend_queue_take () gives back for this chain
 *
 * Makes descriptors available that need not make sense; the device sees them after
 * vhost_frontend_queue_kick ().
 *
 * Each takes a place of the ring. A `next` below the number of descriptors means that one, wherever
 * it came to lie; others are written as they are. A packed ring has no `next`, and the bits that
 * say "available" are set whatever @fields say.
 *
 * A device that judges the ring broken by them gives nothing back until it is restarted.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.5, 2.8.
 *
 * Returns: %FALSE when there is no room, no descriptor, one that lacks numbers, @head is none of
 * them, or the ring is driven by IN_ORDER
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_add_raw (VhostFrontendQueue *self, const guint64 *fields, guint n_fields,
                              guint head, gsize token)
{
  const guint n = n_fields / FIELDS;
  g_autofree VhostFrontendBuffer *buffers = NULL;
  guint first, slot;
  gboolean wrap, held_back;

  g_return_val_if_fail (fields != NULL || n_fields == 0, FALSE);

  if (n == 0 || n_fields % FIELDS != 0 || head >= n || n > self->n_free || self->in_order)
    return FALSE;
  first = self->free_head;
  slot = self->avail_slot;
  wrap = self->avail_wrap;
  /* Of a packed ring: the first list since the last publish keeps its flags back; others' show. */
  held_back = self->first_flags == 0;
  if (self->packed && !held_back)
    {
      vhost_frontend_queue_publish (self);
      held_back = TRUE;
    }

  buffers = g_new0 (VhostFrontendBuffer, n);
  if (!vhost_frontend_queue_add (self, buffers, n, FALSE, (gpointer) (guintptr) token))
    return FALSE;
  if (self->packed)
    overwrite_packed (self, fields, n, slot, wrap, held_back);
  else
    overwrite_split (self, fields, n, head, (guint16) first);
  return TRUE;
}

/**
 * vhost_frontend_queue_take:
 * @self: a queue
 * @token: (out): the number that the chain was added with
 * @length: (out): bytes that the device says it wrote
 *
 * Takes the next chain that the device has used, as vhost_frontend_queue_poll (); for chains that
 * were added with a number as their token.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.14.
 *
 * Returns: %FALSE when there is none
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_take (VhostFrontendQueue *self, gsize *token, guint32 *length)
{
  gpointer pointer = NULL;
  gboolean taken;

  *length = 0;
  taken = vhost_frontend_queue_poll (self, &pointer, length);
  *token = (gsize) (guintptr) pointer;
  return taken;
}
