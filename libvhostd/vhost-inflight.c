/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-flight area: its file, its mapping, the regions of its queues. Must not know what is in a
 * region; the two layouts do.
 *
 * How it works: an area that we make is a sealed memfd, so that nobody can take pages from under
 * us. One that comes from the front-end is sealed against shrinking if its owner allows that, and
 * otherwise entered into the table of the SIGBUS handler, like guest memory: it then reads as zeros
 * and is poisoned, which ends what uses it and nothing else. */
#include "config.h"

#include "vhost-inflight-layout-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-reference-private.h"
#include "vhost-sigbus-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define QUEUES_MAX 256u /* messages name a ring in 8 bits */
#define SIZE_MAX_RING 32768u
#define REGION_ALIGNMENT 64u /* IF1 */

struct _VhostInflight
{
  VhostReference ref_count;
  int fd;
  guint64 size;
  guint64 offset;
  guint num_queues;
  guint queue_size;
  gboolean packed;
  guint8 *base; /* the mapping, from the page that the offset lies in */
  gsize length;
  guint8 *memory; /* the area in it */
  gboolean guarded;
  _Atomic (gboolean) poisoned; /* set by the SIGBUS handler */
};

/* 32 + 32 * 32768 at most: fits easily. */
static guint64
region_size (guint queue_size, gboolean packed)
{
  guint64 size = packed ? sizeof (VhostInflightPackedArea)
                              + (guint64) queue_size * sizeof (VhostInflightPackedEntry)
                        : sizeof (VhostInflightSplitArea)
                              + (guint64) queue_size * sizeof (VhostInflightSplitEntry);

  return (size + REGION_ALIGNMENT - 1) & ~(guint64) (REGION_ALIGNMENT - 1);
}

static gboolean
check_numbers (guint num_queues, guint queue_size, gboolean packed, GError **error)
{
  if (num_queues == 0 || num_queues > QUEUES_MAX)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "an in-flight area for %u queues is not possible: it must be 1 to %u",
                   num_queues, QUEUES_MAX);
      return FALSE;
    }
  if (queue_size == 0 || queue_size > SIZE_MAX_RING
      || (!packed && (queue_size & (queue_size - 1)) != 0))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "an in-flight area for %s rings of %u entries is not possible: it must be %s up "
                   "to %u",
                   packed ? "packed" : "split", queue_size,
                   packed ? "a number from 1" : "a power of 2", SIZE_MAX_RING);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_file (VhostInflight *self, GError **error)
{
  struct stat status;
  struct statfs system;

  if (self->fd < 0 || fstat (self->fd, &status) != 0)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                           "the in-flight area came without a usable file descriptor");
      return FALSE;
    }
  if (!S_ISREG (status.st_mode))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the descriptor of the in-flight area is no memory file but: %s",
                   vhost_fd_kind_to_string (vhost_fd_get_kind (self->fd)));
      return FALSE;
    }
  /* Its pages can be missing without a change of size; nobody needs huge pages here. */
  if (fstatfs (self->fd, &system) == 0 && (guint64) system.f_type == HUGETLBFS_MAGIC)
    {
      g_set_error_literal (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                           "the in-flight area is a file of huge pages: use an ordinary memfd");
      return FALSE;
    }
  if (self->offset + self->size > (guint64) status.st_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the in-flight area (offset %" G_GUINT64_FORMAT ", size %" G_GUINT64_FORMAT
                   ") reaches past the end of its file of %" G_GUINT64_FORMAT " bytes",
                   self->offset, self->size, (guint64) status.st_size);
      return FALSE;
    }
  return TRUE;
}

/* IF3: everything against everything, with sums that cannot wrap. */
static gboolean
check_place (VhostInflight *self, GError **error)
{
  guint64 needed = self->num_queues * region_size (self->queue_size, self->packed);

  if (self->offset > G_MAXINT64 || self->size > G_MAXINT64 - self->offset
      || self->size > G_MAXSSIZE / 2)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the in-flight area wraps around: offset %" G_GUINT64_FORMAT
                   " and size %" G_GUINT64_FORMAT " are beyond what a file can have",
                   self->offset, self->size);
      return FALSE;
    }
  if (self->offset % sizeof (guint64) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the in-flight area's offset %" G_GUINT64_FORMAT " is not a multiple of 8",
                   self->offset);
      return FALSE;
    }
  if (self->size < needed)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the in-flight area of %" G_GUINT64_FORMAT
                   " bytes is too small: %u %s queues of %u entries need %" G_GUINT64_FORMAT,
                   self->size, self->num_queues, self->packed ? "packed" : "split",
                   self->queue_size, needed);
      return FALSE;
    }
  return check_file (self, error);
}

static gboolean
map (VhostInflight *self, GError **error)
{
  guint64 skip = self->offset % (guint64) sysconf (_SC_PAGESIZE);
  guint64 needed = self->num_queues * region_size (self->queue_size, self->packed);
  void *base;

  /* What the queues use, not what the front-end says the area has. */
  base = mmap (NULL, (gsize) (skip + needed), PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
               (off_t) (self->offset - skip));
  if (base == MAP_FAILED)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot map the in-flight area (offset %" G_GUINT64_FORMAT
                   ", size %" G_GUINT64_FORMAT ") for reading and writing: %s",
                   self->offset, needed, g_strerror (errno));
      return FALSE;
    }
  self->base = base;
  self->length = (gsize) (skip + needed);
  self->memory = self->base + skip;
  return TRUE;
}

static VhostInflight *
new_take_fd (int fd, guint64 size, guint64 offset, guint num_queues, guint queue_size,
             gboolean packed)
{
  VhostInflight *self = g_new0 (VhostInflight, 1);

  vhost_reference_init (&self->ref_count);
  self->fd = fd;
  self->size = size;
  self->offset = offset;
  self->num_queues = num_queues;
  self->queue_size = queue_size;
  self->packed = packed;
  return self;
}

static VhostInflight *
new_file (guint num_queues, guint queue_size, gboolean packed, guint64 size, GError **error)
{
  g_autoptr (VhostInflight) self = NULL;

  if (!check_numbers (num_queues, queue_size, packed, error))
    return NULL;
  self = new_take_fd (memfd_create ("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING), size, 0,
                      num_queues, queue_size, packed);
  /* Sealed for good: who gets it later can neither take pages away nor forbid us to write. */
  if (self->fd < 0 || ftruncate (self->fd, (off_t) size) != 0
      || fcntl (self->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot make an in-flight area of %" G_GUINT64_FORMAT " bytes: %s", size,
                   g_strerror (errno));
      return NULL;
    }
  if (!map (self, error))
    return NULL;
  return g_steal_pointer (&self);
}

VhostInflight *
vhost_inflight_new (guint num_queues, guint queue_size, gboolean packed, GError **error)
{
  return new_file (num_queues, queue_size, packed, num_queues * region_size (queue_size, packed),
                   error);
}

VhostInflight *
vhost_inflight_new_for_both (guint num_queues, guint queue_size, gboolean packed, GError **error)
{
  /* Entries of packed rings are the larger ones. */
  return new_file (num_queues, queue_size, packed, num_queues * region_size (queue_size, TRUE),
                   error);
}

VhostInflight *
vhost_inflight_new_take_fd (int fd, guint64 size, guint64 offset, guint num_queues,
                            guint queue_size, gboolean packed, GError **error)
{
  g_autoptr (VhostInflight) self = new_take_fd (fd, size, offset, num_queues, queue_size, packed);
  int seals;

  if (!check_numbers (num_queues, queue_size, packed, error) || !check_place (self, error))
    return NULL;
  (void) fcntl (fd, F_ADD_SEALS, F_SEAL_SHRINK); /* if its owner allows that */
  seals = fcntl (fd, F_GET_SEALS);
  if (seals >= 0 && (seals & F_SEAL_SHRINK) != 0)
    {
      /* The size once more, now that it stays. */
      if (!check_place (self, error) || !map (self, error))
        return NULL;
    }
  else
    {
      if (!map (self, error)
          || !vhost_sigbus_protect (self->base, self->length, &self->poisoned, error))
        return NULL;
      self->guarded = TRUE;
    }
  return g_steal_pointer (&self);
}

static gboolean
is_fresh (VhostInflight *self)
{
  guint64 stride = region_size (self->queue_size, self->packed);

  for (guint i = 0; i < self->num_queues; i++)
    {
      /* Where both layouts have it. */
      VhostInflightSplitArea *area = (gpointer) (self->memory + i * stride);

      if (vhost_inflight_load16 (&area->version) != 0)
        return FALSE;
    }
  return TRUE;
}

VhostInflight *
vhost_inflight_new_other (VhostInflight *self, GError **error)
{
  g_autoptr (VhostInflight) other
      = vhost_inflight_new_take_fd (fcntl (self->fd, F_DUPFD_CLOEXEC, 0), self->size, self->offset,
                                    self->num_queues, self->queue_size, !self->packed, error);

  if (other == NULL)
    return NULL;
  if (is_fresh (self) && is_fresh (other))
    return g_steal_pointer (&other);
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
               "%s rings have been tracked in it: ask for another (GET_INFLIGHT_FD)",
               self->packed ? "packed" : "split");
  return NULL;
}

VhostInflight *
vhost_inflight_ref (VhostInflight *self)
{
  vhost_reference_take (&self->ref_count);
  return self;
}

void
vhost_inflight_unref (VhostInflight *self)
{
  if (!vhost_reference_drop (&self->ref_count))
    return;

  if (self->guarded)
    vhost_sigbus_unprotect (self->base); /* before munmap: something else may be there then */
  if (self->base != NULL)
    munmap (self->base, self->length);
  vhost_fd_discard (&self->fd);
  g_free (self);
}

int
vhost_inflight_get_fd (VhostInflight *self)
{
  return self->fd;
}

guint64
vhost_inflight_get_size (VhostInflight *self)
{
  return self->size;
}

guint64
vhost_inflight_get_offset (VhostInflight *self)
{
  return self->offset;
}

guint
vhost_inflight_get_num_queues (VhostInflight *self)
{
  return self->num_queues;
}

guint
vhost_inflight_get_queue_size (VhostInflight *self)
{
  return self->queue_size;
}

gboolean
vhost_inflight_is_packed (VhostInflight *self)
{
  return self->packed;
}

gboolean
vhost_inflight_is_poisoned (VhostInflight *self)
{
  /* Partner: the handler's store, before its pages replace ours. A fence, because the loads that
   * may have found them come before this one. */
  atomic_thread_fence (memory_order_acquire);
  return atomic_load_explicit (&self->poisoned, memory_order_relaxed);
}

VhostInflightRegion *
vhost_inflight_region_new (VhostInflight *area, guint index, guint size, GError **error)
{
  VhostInflightRegion *self;

  if (index >= area->num_queues)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the in-flight area is for %u queues; there is none with number %u",
                   area->num_queues, index);
      return NULL;
    }
  /* A driver may use fewer entries than the front-end offers; the area is then larger than needed.
   */
  if (size == 0 || size > area->queue_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
                   "the in-flight area is for rings of %u entries; this one has %u: the front-end "
                   "must ask for an area of the ring's size",
                   area->queue_size, size);
      return NULL;
    }

  self = g_new0 (VhostInflightRegion, 1);
  self->area = vhost_inflight_ref (area);
  self->memory = area->memory + index * region_size (area->queue_size, area->packed);
  self->index = index;
  self->size = size;
  self->desc_num = area->queue_size;
  self->next = g_new0 (guint16, self->desc_num);
  if (area->packed)
    {
      self->last = g_new0 (guint16, self->desc_num);
      self->num = g_new0 (guint16, self->desc_num);
    }
  self->cursor_entry = self->desc_num;
  return self;
}

void
vhost_inflight_region_free (VhostInflightRegion *self)
{
  vhost_inflight_unref (self->area);
  g_free (self->requests);
  g_free (self->next);
  g_free (self->last);
  g_free (self->num);
  g_free (self);
}

const VhostInflightRequest *
vhost_inflight_region_get_requests (VhostInflightRegion *self, guint *n)
{
  *n = self->n_requests;
  return self->requests;
}

gboolean
vhost_inflight_region_refuse (VhostInflightRegion *self, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_RING,
               "the in-flight area of queue %u cannot be used: %s; the front-end must get a new "
               "area",
               self->index, what);
  return FALSE;
}

gboolean
vhost_inflight_region_check (VhostInflightRegion *self, gboolean *fresh, GError **error)
{
  /* Where both layouts have them. */
  guint16 version = vhost_inflight_load16 (&self->split->version);
  guint16 desc_num = vhost_inflight_load16 (&self->split->desc_num);
  guint64 features = vhost_inflight_load64 (&self->split->features);

  if (vhost_inflight_is_poisoned (self->area))
    return vhost_inflight_region_refuse (self, error, "its file was made shorter");
  *fresh = version == 0;
  if (*fresh)
    return TRUE;
  if (version != VHOST_INFLIGHT_VERSION)
    return vhost_inflight_region_refuse (self, error, "its version is %u, known is %u", version,
                                         VHOST_INFLIGHT_VERSION);
  if (features != 0)
    return vhost_inflight_region_refuse (
        self, error, "it has features 0x%" G_GINT64_MODIFIER "x, known are none", features);
  if (desc_num != self->desc_num)
    return vhost_inflight_region_refuse (self, error, "it has %u entries, its message said %u",
                                         desc_num, self->desc_num);
  return TRUE;
}

/* Equal counters are the front-end's doing; the order must be one all the same. */
static int
compare_found (gconstpointer a, gconstpointer b)
{
  const VhostInflightFound *first = a;
  const VhostInflightFound *second = b;

  if (first->counter != second->counter)
    return first->counter < second->counter ? -1 : 1;
  return (int) first->request.head - (int) second->request.head;
}

void
vhost_inflight_region_set_found (VhostInflightRegion *self, VhostInflightFound *found, guint n)
{
  qsort (found, n, sizeof *found, compare_found);
  g_free (self->requests);
  self->requests = g_new (VhostInflightRequest, n);
  self->n_requests = n;
  for (guint i = 0; i < n; i++)
    self->requests[i] = found[i].request;
  /* IF11. Round to 0 after 2^64 requests or after a forged number: the order of the next recovery
   * suffers, nothing else. */
  self->counter = n > 0 ? found[n - 1].counter + 1 : 0;
}
