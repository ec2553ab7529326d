/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of one split virtqueue, and the messages that set one up. Must not believe the device:
 * the used ring is checked against what this side remembers in memory of its own, and nothing else
 * is read back from the ring.
 *
 * How it works: free descriptors form a list in `next`, private memory; a chain is taken from its
 * front and put back there as a whole, since its descriptors stay linked, so both cost the same for
 * any length. add () fills descriptors and available entries, kick () publishes the index once for
 * all of them, full fence, then reads whether the device wants to be told. poll () loads the used
 * index (acquire) once per batch. No call allocates, locks or enters the kernel, but for the
 * eventfds and for an indirect table that has to grow.
 *
 * Calls under EVENT_IDX are armed lazily: used_event stays where the last wait () put it, so a busy
 * queue is never called; wait () moves it up to the next used entry, full fence, looks again, and
 * only then sleeps. The fences are the other halves of the device's: publish used index, full
 * fence, read used_event; and arm avail_event, full fence, read the available index
 * (VIRTIO 2.7.7, 2.7.10). */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define MAX_QUEUE_SIZE 32768
/* An indirect table's `next` has 16 bits. */
#define MAX_TABLE_SIZE 65536
#define MIN_TABLE_SIZE 8

#define DESCRIPTOR_F_NEXT 1u
#define DESCRIPTOR_F_WRITE 2u
#define DESCRIPTOR_F_INDIRECT 4u
#define AVAILABLE_F_NO_INTERRUPT 1u
#define USED_F_NO_NOTIFY 1u

/* used_event this far behind asks for no call; it is moved on before the index comes round to it.
 */
#define EVENT_DISTANCE 0x8000u
#define EVENT_REFRESH_MASK 0x3fffu

/* Ring memory is little-endian, as VERSION_1 has it; legacy devices are driven as by a
 * little-endian guest. */
typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} Descriptor;

typedef struct
{
  _Atomic guint16 flags;
  _Atomic guint16 idx;
  guint16 ring[]; /* then used_event */
} Available;

/* Atomic, so that each is read once and what was checked is what is used. */
typedef struct
{
  _Atomic guint32 id;
  _Atomic guint32 length;
} UsedElement;

typedef struct
{
  _Atomic guint16 flags;
  _Atomic guint16 idx;
  UsedElement ring[]; /* then avail_event */
} Used;

/* What is known of the chain that begins at a descriptor. */
typedef struct
{
  gpointer token;
  guint16 tail;
  guint16 n; /* descriptors; 0: not in flight */
} Head;

typedef struct
{
  Descriptor *descriptors; /* in guest memory; NULL: none yet */
  guint64 address;
  guint32 size; /* entries */
} Table;

struct _VhostFrontendQueue
{
  Descriptor *descriptors;
  Available *available;
  Used *used;
  _Atomic guint16 *used_event;
  _Atomic guint16 *avail_event;
  Head *heads;   /* (owned) */
  guint16 *next; /* (owned): free list and links of chains in flight */
  guint n_free;
  guint16 free_head;
  guint16 mask;
  guint16 avail_idx;     /* with what add () put there */
  guint16 published_idx; /* what the device sees */
  guint16 used_idx;      /* next entry to take */
  guint16 seen_used_idx; /* last value loaded */
  gboolean event_idx;
  gboolean indirect;
  gboolean calls_enabled;
  gboolean detached;
  int kick_fd; /* (owned) */
  int call_fd; /* (owned) */
  int err_fd;  /* (owned) */
  guint64 n_kicks;
  guint64 n_calls;
  guint64 bad_used;

  gatomicrefcount ref_count;
  VhostFrontend *frontend; /* (unowned) (nullable): NULL once detached */
  Table *tables;           /* (owned): one for each head, filled at first use */
  guint index;
  guint size;
  guint32 base;     /* where the device starts again */
  gboolean running; /* no GET_VRING_BASE since the start */
  guint64 descriptors_address;
  guint64 available_address;
  guint64 used_address;
  guint64 user_descriptors; /* what SET_VRING_ADDR calls them */
  guint64 user_available;
  guint64 user_used;
};

G_DEFINE_BOXED_TYPE (VhostFrontendQueue, vhost_frontend_queue, vhost_frontend_queue_ref,
                     vhost_frontend_queue_unref)

G_STATIC_ASSERT (sizeof (Descriptor) == 16);
G_STATIC_ASSERT (sizeof (_Atomic guint16) == 2);

/* What a detached queue's indices read. */
static Used nothing_used;

static guint16
load_event (_Atomic guint16 *event)
{
  return GUINT16_FROM_LE (atomic_load_explicit (event, memory_order_relaxed));
}

static void
store_event (_Atomic guint16 *event, guint16 value)
{
  atomic_store_explicit (event, GUINT16_TO_LE (value), memory_order_relaxed);
}

VhostFrontendQueue *
vhost_frontend_queue_new (VhostFrontend *frontend, guint index, guint size, GError **error)
{
  g_autoptr (VhostFrontendQueue) self = NULL;
  gpointer memory;

  if (index >= VHOST_WIRE_MAX_QUEUES)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "there is no queue %u: messages name queues 0 to %u", index,
                   VHOST_WIRE_MAX_QUEUES - 1);
      return NULL;
    }
  if (size == 0 || size > MAX_QUEUE_SIZE || (size & (size - 1)) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u cannot have %u entries: a split ring has a power of 2, at most %u",
                   index, size, MAX_QUEUE_SIZE);
      return NULL;
    }

  self = g_new0 (VhostFrontendQueue, 1);
  g_atomic_ref_count_init (&self->ref_count);
  self->kick_fd = self->call_fd = self->err_fd = -1;
  self->frontend = frontend;
  self->index = index;
  self->size = size;
  self->mask = (guint16) (size - 1);
  self->n_free = size;
  self->calls_enabled = TRUE;
  self->heads = g_new0 (Head, size);
  self->tables = g_new0 (Table, size);
  self->next = g_new0 (guint16, size);
  for (guint i = 0; i + 1 < size; i++)
    self->next[i] = (guint16) (i + 1);

  if ((self->kick_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->call_fd = vhost_fd_new_eventfd (error)) < 0
      || (self->err_fd = vhost_fd_new_eventfd (error)) < 0)
    return NULL;

  self->descriptors_address = vhost_frontend_memory_allocate_pinned (
      frontend, size * sizeof (Descriptor), 16, &memory, &self->user_descriptors);
  if (self->descriptors_address != 0)
    {
      self->descriptors = memory;
      self->available_address = vhost_frontend_memory_allocate_pinned (
          frontend, sizeof (Available) + (size + 1) * sizeof (guint16), 2, &memory,
          &self->user_available);
    }
  if (self->available_address != 0)
    {
      self->available = memory;
      self->used_event = (_Atomic guint16 *) &self->available->ring[size];
      self->used_address = vhost_frontend_memory_allocate_pinned (
          frontend, sizeof (Used) + size * sizeof (UsedElement) + sizeof (guint16), 4, &memory,
          &self->user_used);
    }
  if (self->used_address == 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "no guest memory is left for queue %u with %u entries: add memory first", index,
                   size);
      return NULL;
    }
  self->used = memory;
  self->avail_event = (_Atomic guint16 *) (gpointer) &self->used->ring[size];
  return g_steal_pointer (&self);
}

void
vhost_frontend_queue_set_features (VhostFrontendQueue *self, gboolean event_idx, gboolean indirect)
{
  self->event_idx = event_idx;
  self->indirect = indirect;
  /* One of the two ways stays unused, at "call" and 0. */
  if (!self->detached)
    store_event (&self->available->flags, 0);
}

void
vhost_frontend_queue_detach (VhostFrontendQueue *self)
{
  /* With nothing free and nothing used, neither add () nor poll () comes near the ring. */
  self->frontend = NULL;
  self->detached = TRUE;
  self->n_free = 0;
  self->avail_idx = self->published_idx;
  self->used = &nothing_used;
  self->used_idx = self->seen_used_idx = 0;
}

void
vhost_frontend_queue_disconnected (VhostFrontendQueue *self)
{
  if (!self->running)
    return;
  /* Nobody can be asked any more: what was not marked used is to be done again. */
  self->running = FALSE;
  self->base = GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
}

/**
 * vhost_frontend_queue_ref:
 * @self: a queue
 *
 * Takes a reference. A queue whose #VhostFrontend is gone can still be asked for its numbers; it
 * adds and polls nothing.
 *
 * Thread: any.
 *
 * Returns: (transfer full): @self
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_queue_ref (VhostFrontendQueue *self)
{
  g_atomic_ref_count_inc (&self->ref_count);
  return self;
}

/**
 * vhost_frontend_queue_unref:
 * @self: (transfer full): a queue
 *
 * Drops a reference.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_unref (VhostFrontendQueue *self)
{
  if (!g_atomic_ref_count_dec (&self->ref_count))
    return;
  vhost_fd_clear (&self->kick_fd);
  vhost_fd_clear (&self->call_fd);
  vhost_fd_clear (&self->err_fd);
  g_free (self->heads);
  g_free (self->tables);
  g_free (self->next);
  g_free (self);
}

/**
 * vhost_frontend_queue_get_index:
 * @self: a queue
 *
 * The queue's number.
 *
 * Thread: any.
 *
 * Returns: 0 to 255
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_index (VhostFrontendQueue *self)
{
  return self->index;
}

/**
 * vhost_frontend_queue_get_size:
 * @self: a queue
 *
 * The number of the ring's descriptors.
 *
 * Thread: any.
 *
 * Returns: a power of 2
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_size (VhostFrontendQueue *self)
{
  return self->size;
}

/**
 * vhost_frontend_queue_get_free:
 * @self: a queue
 *
 * The number of descriptors that no chain in flight uses.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: 0 to vhost_frontend_queue_get_size ()
 *
 * Since: 0.1
 */
guint
vhost_frontend_queue_get_free (VhostFrontendQueue *self)
{
  return self->n_free;
}

/* Room for @n entries in the table of @head; the smaller table before it is given up. */
static gboolean
reserve_table (VhostFrontendQueue *self, Table *table, guint n)
{
  guint32 size = MAX (n, MIN_TABLE_SIZE);
  gpointer memory;
  guint64 address;

  if (G_LIKELY (n <= table->size))
    return TRUE;
  if (n > MAX_TABLE_SIZE)
    return FALSE;
  address = vhost_frontend_memory_allocate_pinned (self->frontend, size * sizeof (Descriptor), 16,
                                                   &memory, NULL);
  if (address == 0)
    return FALSE;
  *table = (Table){ memory, address, size };
  return TRUE;
}

static inline guint16
buffer_flags (const VhostFrontendBuffer *buffer, gboolean last)
{
  return GUINT16_TO_LE (
      (guint16) ((buffer->writable ? DESCRIPTOR_F_WRITE : 0) | (last ? 0 : DESCRIPTOR_F_NEXT)));
}

/**
 * vhost_frontend_queue_add:
 * @self: a queue
 * @buffers: (array length=n_buffers): the chain, those that the device reads first
 * @n_buffers: how many, not 0
 * @indirect: whether to use an indirect table, where INDIRECT_DESC was negotiated
 * @token: what vhost_frontend_queue_poll () gives back for this chain
 *
 * Makes a chain available; the device sees it after vhost_frontend_queue_kick ().
 *
 * Addresses, lengths and order are not checked: a driver may be wrong. An indirect table takes one
 * descriptor and, for its first use, guest memory; it is used again by later chains.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.
 *
 * Returns: %FALSE when there is no room: fewer free descriptors than buffers, or no memory for a
 * table
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_add (VhostFrontendQueue *self, const VhostFrontendBuffer *buffers,
                          guint n_buffers, gboolean indirect, gpointer token)
{
  const guint16 first = self->free_head;
  guint16 last = first;
  guint16 n;

  if (n_buffers == 0 || self->n_free == 0)
    return FALSE;

  if (indirect && self->indirect)
    {
      Table *table = &self->tables[first];

      if (!reserve_table (self, table, n_buffers))
        return FALSE;
      for (guint i = 0; i < n_buffers; i++)
        table->descriptors[i] = (Descriptor){
          .address = GUINT64_TO_LE (buffers[i].address),
          .length = GUINT32_TO_LE (buffers[i].length),
          .flags = buffer_flags (&buffers[i], i + 1 == n_buffers),
          .next = i + 1 == n_buffers ? 0 : GUINT16_TO_LE ((guint16) (i + 1)),
        };
      self->descriptors[first] = (Descriptor){
        .address = GUINT64_TO_LE (table->address),
        .length = GUINT32_TO_LE ((guint32) (n_buffers * sizeof (Descriptor))),
        .flags = GUINT16_TO_LE (DESCRIPTOR_F_INDIRECT),
      };
      n = 1;
    }
  else
    {
      if (n_buffers > self->n_free)
        return FALSE;
      for (guint i = 0; i < n_buffers; i++)
        {
          if (i > 0)
            last = self->next[last];
          self->descriptors[last] = (Descriptor){
            .address = GUINT64_TO_LE (buffers[i].address),
            .length = GUINT32_TO_LE (buffers[i].length),
            .flags = buffer_flags (&buffers[i], i + 1 == n_buffers),
            .next = i + 1 == n_buffers ? 0 : GUINT16_TO_LE (self->next[last]),
          };
        }
      n = (guint16) n_buffers;
    }

  self->free_head = self->next[last];
  self->n_free -= n;
  self->heads[first] = (Head){ token, last, n };
  self->available->ring[self->avail_idx & self->mask] = GUINT16_TO_LE (first);
  self->avail_idx++;
  return TRUE;
}

/**
 * vhost_frontend_queue_kick:
 * @self: a queue
 *
 * Publishes the chains that were added, and notifies the device unless it asked not to be.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.13.4, 2.7.10.
 *
 * Returns: %TRUE when the device was notified; %FALSE also when nothing was added
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_kick (VhostFrontendQueue *self)
{
  const guint16 old = self->published_idx;
  const guint16 new = self->avail_idx;
  gboolean wanted;

  if (old == new)
    return FALSE;

  /* Partner: the device's acquire load of the index, before it reads entries and descriptors. */
  atomic_store_explicit (&self->available->idx, GUINT16_TO_LE (new), memory_order_release);
  self->published_idx = new;
  /* Partner: the device's full fence between switching kicks on and its last look at the index. */
  atomic_thread_fence (memory_order_seq_cst);
  if (self->event_idx)
    wanted = (guint16) (new - load_event (self->avail_event) - 1) < (guint16) (new - old);
  else
    wanted = (load_event (&self->used->flags) & USED_F_NO_NOTIFY) == 0;
  if (!wanted)
    return FALSE;

  self->n_kicks++;
  vhost_fd_notify (self->kick_fd);
  return TRUE;
}

/**
 * vhost_frontend_queue_force_kick:
 * @self: a queue
 *
 * Publishes the chains that were added, and notifies the device in any case.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_force_kick (VhostFrontendQueue *self)
{
  if (self->published_idx != self->avail_idx)
    {
      /* Partner: as in vhost_frontend_queue_kick (). */
      atomic_store_explicit (&self->available->idx, GUINT16_TO_LE (self->avail_idx),
                             memory_order_release);
      self->published_idx = self->avail_idx;
    }
  self->n_kicks++;
  vhost_fd_notify (self->kick_fd);
}

/* Partner: the device's release store, after it wrote buffers and entries. */
static inline gboolean
look_for_used (VhostFrontendQueue *self)
{
  self->seen_used_idx
      = GUINT16_FROM_LE (atomic_load_explicit (&self->used->idx, memory_order_acquire));
  return self->seen_used_idx != self->used_idx;
}

/**
 * vhost_frontend_queue_poll:
 * @self: a queue
 * @token: (out) (optional) (transfer none): the chain's token
 * @length: (out) (optional): bytes that the device says it wrote
 *
 * Takes the next chain that the device has used; never waits.
 *
 * Entries whose id is not that of a chain in flight are skipped and counted, see
 * vhost_frontend_queue_get_bad_used (). @length is the device's word.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.14.
 *
 * Returns: %FALSE when there is none
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_poll (VhostFrontendQueue *self, gpointer *token, guint32 *length)
{
  if (self->used_idx == self->seen_used_idx && !look_for_used (self))
    return FALSE;

  /* At most once round: a device that counts on and on cannot hold the caller. */
  do
    {
      UsedElement *element = &self->used->ring[self->used_idx & self->mask];
      const guint32 id
          = GUINT32_FROM_LE (atomic_load_explicit (&element->id, memory_order_relaxed));
      Head *head;

      self->used_idx++;
      /* A spent used_event must not be met again by an index that has gone round. */
      if (G_UNLIKELY ((self->used_idx & EVENT_REFRESH_MASK) == 0) && self->event_idx)
        store_event (self->used_event, (guint16) (self->used_idx - EVENT_DISTANCE));

      if (G_UNLIKELY (id >= self->size || self->heads[id].n == 0))
        {
          self->bad_used++;
          continue;
        }
      head = &self->heads[id];
      if (token != NULL)
        *token = head->token;
      if (length != NULL)
        *length = GUINT32_FROM_LE (atomic_load_explicit (&element->length, memory_order_relaxed));
      /* The chain is linked from head to tail still. */
      self->next[head->tail] = self->free_head;
      self->free_head = (guint16) id;
      self->n_free += head->n;
      head->n = 0;
      return TRUE;
    }
  while (self->used_idx != self->seen_used_idx);

  return FALSE;
}

/**
 * vhost_frontend_queue_set_calls_enabled:
 * @self: a queue
 * @enabled: whether the device shall call
 *
 * Says whether the device is to notify of used buffers; at first it is. Without, look with
 * vhost_frontend_queue_poll ().
 *
 * With EVENT_IDX, enabling asks for one call, at the next used buffer; vhost_frontend_queue_wait ()
 * asks for the next one by itself, and who watches vhost_frontend_queue_get_call_fd () instead
 * enables again after each call, and polls once more then.
 *
 * Thread: worker (the one that drives the queue). Specification: VIRTIO 2.7.7.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_set_calls_enabled (VhostFrontendQueue *self, gboolean enabled)
{
  self->calls_enabled = enabled;
  if (self->detached)
    return;
  if (self->event_idx)
    store_event (self->used_event,
                 enabled ? self->used_idx : (guint16) (self->used_idx - EVENT_DISTANCE));
  else
    store_event (&self->available->flags, enabled ? 0 : AVAILABLE_F_NO_INTERRUPT);
  /* Partner: the device's full fence between publishing a used entry and reading this. */
  atomic_thread_fence (memory_order_seq_cst);
}

/* Counts the calls that have come. The descriptor's flags are the back-end's too, so a read might
 * block. */
static gboolean
take_calls (VhostFrontendQueue *self, int timeout_ms)
{
  struct pollfd pollfd = { .fd = self->call_fd, .events = POLLIN };
  guint64 n;

  if (poll (&pollfd, 1, timeout_ms) <= 0 || (pollfd.revents & POLLIN) == 0)
    return FALSE;
  if (read (self->call_fd, &n, sizeof n) != sizeof n)
    return FALSE;
  self->n_calls += n;
  return TRUE;
}

/**
 * vhost_frontend_queue_wait:
 * @self: a queue
 * @timeout_ms: how long; 0 does not wait, -1 waits for ever
 *
 * Waits until vhost_frontend_queue_poll () has something to find, or the device calls. A call that
 * came for buffers taken already counts too, so poll and wait again.
 *
 * While calls are disabled nothing but an unasked call ends the wait.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: %FALSE when the time is over
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_queue_wait (VhostFrontendQueue *self, int timeout_ms)
{
  gint64 deadline;

  if (self->used_idx != self->seen_used_idx || look_for_used (self))
    return TRUE;

  if (self->calls_enabled && self->event_idx && !self->detached)
    {
      store_event (self->used_event, self->used_idx);
      /* Partner: the device's full fence between publishing a used entry and reading used_event. */
      atomic_thread_fence (memory_order_seq_cst);
      if (look_for_used (self))
        return TRUE;
    }

  deadline = g_get_monotonic_time () + (gint64) timeout_ms * 1000;
  for (;;)
    {
      if (take_calls (self, timeout_ms) || look_for_used (self))
        return TRUE;
      /* A signal ends the sleep early. */
      if (timeout_ms >= 0)
        {
          gint64 left = deadline - g_get_monotonic_time ();

          if (left <= 0)
            return FALSE;
          timeout_ms = (int) ((left + 999) / 1000);
        }
    }
}

/**
 * vhost_frontend_queue_get_bad_used:
 * @self: a queue
 *
 * How many used entries named no chain in flight: the device broke the ring's rules.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_bad_used (VhostFrontendQueue *self)
{
  return self->bad_used;
}

/**
 * vhost_frontend_queue_get_n_kicks:
 * @self: a queue
 *
 * How many times the device was notified.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_n_kicks (VhostFrontendQueue *self)
{
  return self->n_kicks;
}

/**
 * vhost_frontend_queue_get_n_calls:
 * @self: a queue
 *
 * How many times the device has called. Takes the calls that are pending off the call descriptor;
 * the buffers they stand for are found by vhost_frontend_queue_poll () and
 * vhost_frontend_queue_wait () nevertheless.
 *
 * Thread: worker (the one that drives the queue).
 *
 * Returns: the count
 *
 * Since: 0.1
 */
guint64
vhost_frontend_queue_get_n_calls (VhostFrontendQueue *self)
{
  take_calls (self, 0);
  return self->n_calls;
}

/**
 * vhost_frontend_queue_get_addresses:
 * @self: a queue
 * @descriptors: (out) (optional): guest address of the descriptor table
 * @available: (out) (optional): guest address of the available ring
 * @used: (out) (optional): guest address of the used ring
 *
 * Where the ring lies, for those who want to write something wrong there.
 *
 * Thread: any. Specification: VIRTIO 2.7.
 *
 * Since: 0.1
 */
void
vhost_frontend_queue_get_addresses (VhostFrontendQueue *self, guint64 *descriptors,
                                    guint64 *available, guint64 *used)
{
  if (descriptors != NULL)
    *descriptors = self->descriptors_address;
  if (available != NULL)
    *available = self->available_address;
  if (used != NULL)
    *used = self->used_address;
}

/**
 * vhost_frontend_queue_get_kick_fd:
 * @self: a queue
 *
 * The eventfd that notifies the device.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_kick_fd (VhostFrontendQueue *self)
{
  return self->kick_fd;
}

/**
 * vhost_frontend_queue_get_call_fd:
 * @self: a queue
 *
 * The eventfd by which the device calls. Its flags are the back-end's as well: poll before reading.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_call_fd (VhostFrontendQueue *self)
{
  return self->call_fd;
}

/**
 * vhost_frontend_queue_get_err_fd:
 * @self: a queue
 *
 * The eventfd by which the device says that the ring is broken.
 *
 * Thread: any.
 *
 * Returns: a descriptor that belongs to @self
 *
 * Since: 0.1
 */
int
vhost_frontend_queue_get_err_fd (VhostFrontendQueue *self)
{
  return self->err_fd;
}

static gboolean
send_ring_fd (VhostFrontend *self, guint32 request, guint index, int fd, GError **error)
{
  const guint64 payload = index;

  return vhost_frontend_set (self, request, &payload, sizeof payload, &fd, 1, error,
                             "queue %u, an eventfd", index);
}

static gboolean
send_ring_state (VhostFrontend *self, guint32 request, guint index, guint32 number, GError **error)
{
  const VhostWireVringState payload = { index, number };

  return vhost_frontend_set (self, request, &payload, sizeof payload, NULL, 0, error,
                             "queue %u, number %u", index, number);
}

/* All that a back-end without any memory of the ring has to know. KICK is last: it starts the ring.
 */
static gboolean
start_queue (VhostFrontend *self, VhostFrontendQueue *queue, GError **error)
{
  const guint index = queue->index;
  const VhostWireVringAddr address = {
    .index = index,
    .descriptor = queue->user_descriptors,
    .used = queue->user_used,
    .available = queue->user_available,
  };

  vhost_frontend_queue_set_features (
      queue, vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_EVENT_IDX),
      vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_RING_INDIRECT_DESC));
  vhost_frontend_queue_set_calls_enabled (queue, queue->calls_enabled);

  if (!send_ring_state (self, VHOST_WIRE_SET_VRING_NUM, index, queue->size, error)
      || !send_ring_state (self, VHOST_WIRE_SET_VRING_BASE, index, queue->base, error)
      || !vhost_frontend_set (
          self, VHOST_WIRE_SET_VRING_ADDR, &address, sizeof address, NULL, 0, error,
          "queue %u, descriptors 0x%" G_GINT64_MODIFIER "x, available 0x%" G_GINT64_MODIFIER
          "x, used 0x%" G_GINT64_MODIFIER "x",
          index, address.descriptor, address.available, address.used)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_ERR, index, queue->err_fd, error)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_CALL, index, queue->call_fd, error)
      || !send_ring_fd (self, VHOST_WIRE_SET_VRING_KICK, index, queue->kick_fd, error))
    return FALSE;
  queue->running = TRUE;
  return !vhost_frontend_has_feature_bit (self, VHOST_WIRE_F_PROTOCOL_FEATURES)
         || send_ring_state (self, VHOST_WIRE_SET_VRING_ENABLE, index, 1, error);
}

static VhostFrontendQueue *
require_queue (VhostFrontend *self, guint index, GError **error)
{
  if (index < VHOST_WIRE_MAX_QUEUES && self->queues[index] != NULL)
    return self->queues[index];

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID, "there is no queue %u: add it first",
               index);
  return NULL;
}

/**
 * vhost_frontend_add_queue:
 * @self: a negotiated front-end with memory
 * @index: the queue's number, 0 to 255; not checked against the back-end's
 * @size: entries, a power of 2 up to 32768
 * @error: return location for an error
 *
 * Makes a split virtqueue in guest memory and starts it: SET_VRING_NUM, BASE (0), ADDR, ERR, CALL,
 * KICK and, with PROTOCOL_FEATURES, ENABLE.
 *
 * Thread: control. Specification: "Ring states".
 *
 * Returns: (transfer none): the queue, which is @self's, or %NULL with an error
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_add_queue (VhostFrontend *self, guint index, guint size, GError **error)
{
  g_autoptr (VhostFrontendQueue) queue = NULL;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  if (index < VHOST_WIRE_MAX_QUEUES && self->queues[index] != NULL)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "queue %u exists: stop it and start it again instead", index);
      return NULL;
    }
  queue = vhost_frontend_queue_new (self, index, size, error);
  if (queue == NULL || !start_queue (self, queue, error))
    return NULL;

  self->queues[index] = g_steal_pointer (&queue);
  return self->queues[index];
}

/**
 * vhost_frontend_stop_queue:
 * @self: a front-end
 * @index: a queue that was added
 * @base: (out) (optional): the available index at which the device stopped
 * @error: return location for an error
 *
 * Stops a queue by GET_VRING_BASE. When this returns the device has finished what it took, or keeps
 * a record of it.
 *
 * Thread: control. Specification: GET_VRING_BASE.
 *
 * Returns: %TRUE on success
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_stop_queue (VhostFrontend *self, guint index, guint *base, GError **error)
{
  const VhostWireVringState payload = { index, 0 };
  VhostFrontendQueue *queue;
  VhostMessage *answer;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  queue = require_queue (self, index, error);
  if (queue == NULL
      || !vhost_frontend_get (self, VHOST_WIRE_GET_VRING_BASE, &payload, sizeof payload, &answer,
                              error))
    return FALSE;
  if (answer->header.size != sizeof payload || answer->payload.state.index != index
      || answer->payload.state.num > G_MAXUINT16)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "the answer to GET_VRING_BASE of queue %u has %u bytes, queue %u, index %u; it "
                   "must have %zu bytes, the same queue and an index of 16 bits",
                   index, answer->header.size, answer->payload.state.index,
                   answer->payload.state.num, sizeof payload);
      return FALSE;
    }

  queue->running = FALSE;
  queue->base = answer->payload.state.num;
  if (base != NULL)
    *base = queue->base;
  return TRUE;
}

/**
 * vhost_frontend_restart_queue:
 * @self: a front-end
 * @index: a queue that was added
 * @error: return location for an error
 *
 * Starts a stopped queue again, where the device stopped. All messages of vhost_frontend_add_queue
 * () are sent, so the back-end may be another process.
 *
 * When the connection was lost while the queue ran, it goes on behind the last used buffer; chains
 * in flight are done (again) by the new back-end, in the order they were made available.
 *
 * Thread: control. Specification: "Ring states".
 *
 * Returns: %TRUE on success; %FALSE with #VHOST_ERROR_BUSY when the queue was not stopped
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_restart_queue (VhostFrontend *self, guint index, GError **error)
{
  VhostFrontendQueue *queue;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  queue = require_queue (self, index, error);
  if (queue == NULL)
    return FALSE;
  if (queue->running)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "queue %u runs: stop it first", index);
      return FALSE;
    }
  return start_queue (self, queue, error);
}

/**
 * vhost_frontend_get_queue:
 * @self: a front-end
 * @index: a number
 *
 * A queue that was added.
 *
 * Thread: control.
 *
 * Returns: (transfer none) (nullable): the queue, which is @self's
 *
 * Since: 0.1
 */
VhostFrontendQueue *
vhost_frontend_get_queue (VhostFrontend *self, guint index)
{
  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  return index < VHOST_WIRE_MAX_QUEUES ? self->queues[index] : NULL;
}

/**
 * VhostFrontendBuffer:
 * @address: guest physical address
 * @length: bytes
 * @writable: whether the device writes it, else it reads it
 *
 * A piece of a chain.
 *
 * Since: 0.1
 */

/**
 * VhostFrontendQueue:
 *
 * The driver's side of one virtqueue, made by vhost_frontend_add_queue ().
 *
 * Not thread safe; different queues may be driven by different threads.
 *
 * Since: 0.1
 */
