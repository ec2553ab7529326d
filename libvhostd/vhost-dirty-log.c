/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log of a live migration: maps the front-end's bitmap and sets bits in it. Must not
 * touch a byte outside of the size that was announced, and must not lose a page.
 *
 * How it works: the front-end takes bits by exchanging words with 0 and copies the pages then. A
 * write and its mark can meet that in any way but one: that we find the bit still set, do nothing,
 * and the front-end clears it and copies the page before our write is visible. So a full fence
 * stands between what was written before and the first look at the bits. The look itself is worth
 * its price: nearly all bits are set already, and a cache line that is only read can be in all the
 * queues' caches at once. While there is no log, pages are kept in a set, under a lock. */
#include "config.h"

#include "vhost-dirty-log-private.h"
#include "vhost-page-set-private.h"
#include "vhost-sigbus-private.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"

struct _VhostDirtyLog
{
  VhostReference ref_count;
  guint8 *bits; /* of guest address 0; NULL: pending */
  guint64 size; /* in bytes of 8 pages */

  guint8 *base; /* what mmap returned */
  gsize length;
  gboolean guarded; /* in the SIGBUS handler's table */
  _Atomic (gboolean) poisoned;

  pthread_mutex_t lock;
  VhostPageSet pending; /* under the lock */
  VhostDirtyLog *also;  /* (owned) (nullable): of a pending log: marked as well */
};

static VhostDirtyLog *
dirty_log_new (void)
{
  VhostDirtyLog *self = g_new0 (VhostDirtyLog, 1);

  vhost_reference_init (&self->ref_count);
  atomic_init (&self->poisoned, FALSE);
  pthread_mutex_init (&self->lock, NULL);
  return self;
}

VhostDirtyLog *
vhost_dirty_log_new_pending (VhostDirtyLog *also)
{
  VhostDirtyLog *self = dirty_log_new ();

  self->also = also != NULL ? vhost_dirty_log_ref (also) : NULL;
  return self;
}

/* The numbers, and the file against them. */
static gboolean
check_file (int fd, guint64 size, guint64 offset, GError **error)
{
  struct stat status;

  if (fd < 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the dirty log came without a file descriptor");
      return FALSE;
    }
  if (size == 0 || offset > G_MAXUINT64 - size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the dirty log has size %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT
                   " of its file, which is empty or wraps around",
                   size, offset);
      return FALSE;
    }
  if (fstat (fd, &status) != 0 || !S_ISREG (status.st_mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the dirty log's descriptor is no memory file (memfd, shared memory) but: %s",
                   vhost_fd_kind_to_string (vhost_fd_get_kind (fd)));
      return FALSE;
    }
  if (offset + size > (guint64) status.st_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the dirty log needs %" G_GUINT64_FORMAT
                   " bytes of its file (offset %" G_GUINT64_FORMAT ", size %" G_GUINT64_FORMAT
                   "), but the file has only %" G_GUINT64_FORMAT,
                   offset + size, offset, size, (guint64) status.st_size);
      return FALSE;
    }
  /* Room for one page more, even a huge one, so that rounding up cannot wrap. */
  if (offset + size > (guint64) G_MAXINT64 - (G_GUINT64_CONSTANT (1) << 35)
      || size > G_MAXSSIZE / 2)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the dirty log cannot be mapped: offset %" G_GUINT64_FORMAT
                   " and size %" G_GUINT64_FORMAT " are too large",
                   offset, size);
      return FALSE;
    }
  return TRUE;
}

static gboolean
map_file (VhostDirtyLog *self, int fd, guint64 size, guint64 offset, GError **error)
{
  guint64 granularity = vhost_memory_file_granularity (fd);
  guint64 skip = offset & (granularity - 1);
  guint64 length = (skip + size + granularity - 1) & ~(granularity - 1);
  gboolean sealed;
  void *base = MAP_FAILED;

  errno = ENOMEM;
  if (length <= G_MAXSSIZE)
    base = mmap (NULL, (gsize) length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                 (off_t) (offset - skip));
  if (base == MAP_FAILED)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot map the dirty log (offset %" G_GUINT64_FORMAT ", size %" G_GUINT64_FORMAT
                   ") for reading and writing: %s",
                   offset, size, g_strerror (errno));
      return FALSE;
    }
  self->base = base;
  self->length = (gsize) length;
  self->bits = self->base + skip;
  self->size = size;
  (void) madvise (base, self->length, MADV_DONTDUMP);

  /* The front-end may want to give its file another size between two logs, so we do not seal it
   * ourselves. Where it did, the size is looked at again; huge pages can be missing all the same.
   */
  sealed
      = vhost_memory_file_is_sealed (fd, FALSE) && granularity == (guint64) sysconf (_SC_PAGESIZE);
  if (sealed)
    return check_file (fd, size, offset, error);
  self->guarded = vhost_sigbus_protect (self->base, self->length, &self->poisoned, error);
  return self->guarded;
}

VhostDirtyLog *
vhost_dirty_log_new_take_fd (int fd, guint64 size, guint64 offset, GError **error)
{
  g_autoptr (VhostDirtyLog) self = dirty_log_new ();
  gboolean ok = check_file (fd, size, offset, error) && map_file (self, fd, size, offset, error);

  vhost_fd_discard (&fd); /* the mapping is enough */
  return ok ? g_steal_pointer (&self) : NULL;
}

VhostDirtyLog *
vhost_dirty_log_ref (VhostDirtyLog *self)
{
  vhost_reference_take (&self->ref_count);
  return self;
}

void
vhost_dirty_log_unref (VhostDirtyLog *self)
{
  if (!vhost_reference_drop (&self->ref_count))
    return;
  if (self->guarded)
    vhost_sigbus_unprotect (self->base);
  if (self->base != NULL)
    munmap (self->base, self->length);
  vhost_page_set_clear (&self->pending);
  if (self->also != NULL)
    vhost_dirty_log_unref (self->also);
  pthread_mutex_destroy (&self->lock);
  g_free (self);
}

gboolean
vhost_dirty_log_is_poisoned (VhostDirtyLog *self)
{
  /* Partner: the SIGBUS handler's store. A fence, because the looks at the bits come before. */
  atomic_thread_fence (memory_order_acquire);
  return atomic_load_explicit (&self->poisoned, memory_order_relaxed);
}

gboolean
vhost_dirty_log_covers (VhostDirtyLog *self, guint64 guest_address, guint64 length)
{
  if (length == 0)
    return TRUE;
  if (length - 1 > G_MAXUINT64 - guest_address)
    return FALSE;
  return self->bits == NULL
         || (guest_address + (length - 1)) / VHOST_DIRTY_LOG_PAGE / 8 < self->size;
}

/* Relaxed is enough here: the caller's fence is before, and who publishes afterwards does
 * so with release. Partner: the front-end's exchange of the word. */
static inline void
set_byte (guint8 *byte, guint8 mask)
{
  if ((__atomic_load_n (byte, __ATOMIC_RELAXED) & mask) != mask)
    __atomic_fetch_or (byte, mask, __ATOMIC_RELAXED);
}

/* All bits from @at to before @end. A plain store is enough: there is no bit to preserve. */
static void
set_all (guint8 *at, guint8 *end)
{
  while (at < end)
    {
      if ((guintptr) at % 8 == 0 && end - at >= 8)
        {
          guint64 *word = (guint64 *) (gpointer) at;

          if (__atomic_load_n (word, __ATOMIC_RELAXED) != G_MAXUINT64)
            __atomic_store_n (word, G_MAXUINT64, __ATOMIC_RELAXED);
          at += 8;
        }
      else
        {
          set_byte (at++, 0xff);
        }
    }
}

/* L3: page p is bit p % 8 of byte p / 8. Of the byte of @page: it and those behind it. */
static inline guint8
pages_from (guint64 page)
{
  return (guint8) (0xffu << (page % 8));
}

/* It and those before it. */
static inline guint8
pages_to (guint64 page)
{
  return (guint8) (0xffu >> (7 - page % 8));
}

static void
set_pages (VhostDirtyLog *self, guint64 first, guint64 last)
{
  guint8 *begin, *end;

  if (G_UNLIKELY (self->bits == NULL))
    {
      pthread_mutex_lock (&self->lock);
      vhost_page_set_add (&self->pending, first, last);
      pthread_mutex_unlock (&self->lock);
      if (self->also != NULL)
        set_pages (self->also, first, last);
      return;
    }
  if (G_UNLIKELY (first / 8 >= self->size))
    return;
  if (G_UNLIKELY (last / 8 >= self->size))
    last = self->size * 8 - 1;

  begin = self->bits + first / 8;
  end = self->bits + last / 8;
  if (G_LIKELY (begin == end))
    {
      set_byte (begin, pages_from (first) & pages_to (last));
      return;
    }
  set_byte (begin, pages_from (first));
  set_all (begin + 1, end);
  set_byte (end, pages_to (last));
}

/* Of a log that is pending: the same pages. */
static void
set_pending (VhostDirtyLog *self, guint64 byte, guint mask)
{
  for (guint bit = 0; bit < 8; bit++)
    if ((mask & (1u << bit)) != 0)
      set_pages (self, byte * 8 + bit, byte * 8 + bit);
}

static inline void
set_mark (VhostDirtyLog *self, VhostDirtyMark mark)
{
  if (G_UNLIKELY (self->bits == NULL))
    set_pending (self, mark.byte, mark.pages);
  else if (G_LIKELY (mark.byte < self->size))
    set_byte (self->bits + mark.byte, mark.pages);
}

void
vhost_dirty_log_commit_batch (VhostDirtyLog *self, VhostDirtyBatch *batch)
{
  /* See above: what was written is visible before we look whether the bits are set (L9). */
  atomic_thread_fence (memory_order_seq_cst);
  for (guint32 used = batch->used; used != 0; used &= used - 1)
    {
      VhostDirtyMark *mark = &batch->marks[__builtin_ctz (used)];

      set_mark (self, *mark);
      mark->pages = 0;
    }
  for (guint i = 0; i < batch->n_aside; i++)
    set_mark (self, batch->aside[i]);
  batch->used = 0;
  batch->n_aside = 0;
}

static inline void
collect (VhostDirtyLog *self, VhostDirtyBatch *batch, guint64 byte, guint8 pages)
{
  guint i = byte % VHOST_DIRTY_BATCH_SIZE;
  VhostDirtyMark *mark = &batch->marks[i];

  if (mark->byte != byte)
    {
      if (mark->pages != 0 && batch->n_aside == VHOST_DIRTY_BATCH_SIZE)
        vhost_dirty_log_commit_batch (self, batch);
      if (mark->pages != 0)
        batch->aside[batch->n_aside++] = *mark;
      *mark = (VhostDirtyMark){ byte, 0 };
    }
  mark->pages |= pages;
  batch->used |= 1u << i;
}

/* At once, or with others later. */
static inline void
mark_pages (VhostDirtyLog *self, VhostDirtyBatch *batch, guint64 first, guint64 last)
{
  guint64 begin = first / 8, end = last / 8;

  if (G_UNLIKELY (batch == NULL || end - begin > VHOST_DIRTY_BATCH_SIZE / 4))
    {
      /* See above: what was written is visible before we look whether the bit is set (L9). */
      atomic_thread_fence (memory_order_seq_cst);
      set_pages (self, first, last);
      return;
    }
  if (G_LIKELY (begin == end))
    {
      collect (self, batch, begin, pages_from (first) & pages_to (last));
      return;
    }
  collect (self, batch, begin, pages_from (first));
  while (++begin < end)
    collect (self, batch, begin, 0xff);
  collect (self, batch, end, pages_to (last));
}

static inline void
mark (VhostDirtyLog *self, VhostDirtyBatch *batch, guint64 guest_address, guint64 length)
{
  guint64 last;

  if (G_LIKELY (batch != NULL && vhost_dirty_batch_add (batch, guest_address, length)))
    return;
  if (length == 0)
    return;
  last = length - 1 > G_MAXUINT64 - guest_address ? G_MAXUINT64 : guest_address + (length - 1);
  mark_pages (self, batch, guest_address / VHOST_DIRTY_LOG_PAGE, last / VHOST_DIRTY_LOG_PAGE);
}

void
vhost_dirty_log_mark (VhostDirtyLog *self, guint64 guest_address, guint64 length)
{
  mark (self, NULL, guest_address, length);
}

/* @mapping: where the last one was, nearly always the right one; may be NULL. */
static inline const VhostMemoryMapping *
mark_host (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
           const VhostMemoryMapping *mapping, const guint8 *at, guint64 length)
{
  /* Regions may follow each other in this process: nearly always this is one step. */
  while (length > 0)
    {
      guint64 offset, here;

      if (mapping == NULL || (guintptr) at - (guintptr) mapping->host >= mapping->info.size)
        mapping = vhost_memory_find_host (memory, at);
      if (mapping == NULL)
        return NULL;
      offset = (guint64) (at - mapping->host);
      here = MIN (length, mapping->info.size - offset);
      mark (self, batch, mapping->info.guest_address + offset, here);
      at += here;
      length -= here;
    }
  return mapping;
}

void
vhost_dirty_log_mark_host (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
                           const void *host, guint64 length)
{
  (void) mark_host (self, batch, memory, NULL, host, length);
}

void
vhost_dirty_log_mark_segments (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
                               const struct iovec *segments, guint n)
{
  const VhostMemoryMapping *mapping = NULL;

  for (guint i = 0; i < n; i++)
    mapping = mark_host (self, batch, memory, mapping, segments[i].iov_base, segments[i].iov_len);
}

void
vhost_dirty_log_mark_address (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
                              guint64 address, guint64 length)
{
  if (!memory->is_view)
    {
      mark (self, batch, address, length);
      return;
    }
  while (length > 0)
    {
      const VhostMemorySlot *slot = vhost_memory_lookup (memory, address);
      guint64 offset, here;

      if (slot == NULL)
        return;
      offset = address - slot->guest_address;
      here = MIN (length, slot->size - offset);
      vhost_dirty_log_mark_host (self, batch, memory, slot->host + offset, here);
      address += here;
      length -= here;
    }
}

static void
merge_unit (guint64 first, guint64 last, gpointer data)
{
  mark_pages (data, NULL, first, last);
}

void
vhost_dirty_log_merge (VhostDirtyLog *self, VhostDirtyLog *from)
{
  VhostPageSet copy;

  if (self == from || from->bits != NULL)
    return;
  /* A copy: never two locks at once, and marks do not wait for the bitmap. */
  pthread_mutex_lock (&from->lock);
  copy = from->pending;
  copy.keys = g_memdup2 (copy.keys, copy.capacity * sizeof *copy.keys);
  pthread_mutex_unlock (&from->lock);
  vhost_page_set_foreach (&copy, merge_unit, self);
  vhost_page_set_clear (&copy);
}
