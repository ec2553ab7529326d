/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A userfaultfd over guest memory. Must not touch that memory, and must leave nobody waiting in it.
 *
 * How it works: a thread that touches a registered page that is missing sleeps in the kernel until
 * the front-end, which has the descriptor too, has put the page there and wakes it. Closing our
 * descriptor therefore ends nothing: ranges are unregistered one by one, which wakes their waiters.
 * Mappings are held meanwhile, so that no range can come to mean other memory.
 *
 * Only a userfaultfd for faults of the kernel too will do: requests go to the disk out of guest
 * memory by system calls, which the user-mode-only kind lets fail. */
#include "config.h"

#include "vhost-postcopy-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vhost-error.h"
#include "vhost-fd-private.h"
#include "vhost-sigbus-private.h"

/* Linux 6.1; older headers lack it. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO (0xAA, 0x00)
#endif

struct _VhostPostcopy
{
  int fd;               /* (owned) */
  GHashTable *mappings; /* (owned): VhostMemoryMapping (owned), registered */
};

static int
open_userfaultfd (void)
{
  int flags = O_CLOEXEC | O_NONBLOCK;
  int fd = (int) syscall (SYS_userfaultfd, flags);
  int device;

  if (fd >= 0)
    return fd;
  /* Who may open the device may have one without being privileged. */
  device = open ("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0)
    return -1;
  fd = ioctl (device, USERFAULTFD_IOC_NEW, flags);
  vhost_fd_clear (&device);
  return fd;
}

/* With huge pages where the kernel knows them. */
static gboolean
agree (int fd)
{
  struct uffdio_api api
      = { .api = UFFD_API,
          .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS };

  if (ioctl (fd, UFFDIO_API, &api) == 0)
    return TRUE;
  api = (struct uffdio_api){ .api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM };
  return ioctl (fd, UFFDIO_API, &api) == 0;
}

VhostPostcopy *
vhost_postcopy_new (GError **error)
{
  VhostPostcopy *self;
  int fd = open_userfaultfd ();

  if (fd < 0 || !agree (fd))
    {
      int errsv = errno;

      vhost_fd_clear (&fd);
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot have a userfaultfd for shared memory: %s; it needs the capability "
                   "SYS_PTRACE, the sysctl vm.unprivileged_userfaultfd, or /dev/userfaultfd",
                   g_strerror (errsv));
      return NULL;
    }
  self = g_new0 (VhostPostcopy, 1);
  self->fd = fd;
  self->mappings
      = g_hash_table_new_full (NULL, NULL, (GDestroyNotify) vhost_memory_mapping_unref, NULL);
  return self;
}

static pthread_once_t probed = PTHREAD_ONCE_INIT;
static gboolean possible; /* written by probe () */

static void
probe (void)
{
  g_autoptr (VhostPostcopy) self = vhost_postcopy_new (NULL);

  possible = self != NULL;
}

gboolean
vhost_postcopy_is_possible (void)
{
  pthread_once (&probed, probe);
  return possible;
}

static struct uffdio_range
range_of (const VhostMemoryMapping *mapping)
{
  return (struct uffdio_range){ .start = (guintptr) mapping->base, .len = mapping->length };
}

static void
unregister_mapping (VhostPostcopy *self, const VhostMemoryMapping *mapping)
{
  struct uffdio_range range = range_of (mapping);

  (void) ioctl (self->fd, UFFDIO_UNREGISTER, &range); /* wakes who waits there */
}

void
vhost_postcopy_free (VhostPostcopy *self)
{
  GHashTableIter iter;
  gpointer mapping;

  g_hash_table_iter_init (&iter, self->mappings);
  while (g_hash_table_iter_next (&iter, &mapping, NULL))
    unregister_mapping (self, mapping);
  vhost_fd_clear (&self->fd);
  g_hash_table_unref (self->mappings);
  g_free (self);
}

void
vhost_postcopy_fail (VhostPostcopy *self)
{
  /* A file without a byte: every access is beyond its end. */
  int empty = memfd_create ("vhost-postcopy", MFD_CLOEXEC);
  GHashTableIter iter;
  gpointer key;

  g_hash_table_iter_init (&iter, self->mappings);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    {
      VhostMemoryMapping *mapping = key;
      struct uffdio_range range = range_of (mapping);

      if (empty < 0
          || mmap (mapping->base, mapping->length, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED | MAP_NORESERVE, empty, 0)
                 == MAP_FAILED)
        continue; /* they wait on: better than to write what was never there */
      (void) ioctl (self->fd, UFFDIO_WAKE, &range);
    }
  vhost_fd_clear (&empty);
}

int
vhost_postcopy_get_fd (VhostPostcopy *self)
{
  return self->fd;
}

static gboolean
register_mapping (VhostPostcopy *self, VhostMemoryMapping *mapping, GError **error)
{
  struct uffdio_register command
      = { .range = range_of (mapping), .mode = UFFDIO_REGISTER_MODE_MISSING };

  /* A huge page would come and be woken as a whole, the front-end speaks of small ones. */
  (void) madvise (mapping->base, mapping->length, MADV_NOHUGEPAGE);
  /* Else vhost_postcopy_fail () would end the program. It lasts as long as the mapping. */
  if (!mapping->guarded
      && !vhost_sigbus_protect (mapping->base, mapping->length, &mapping->poisoned, error))
    return FALSE;
  mapping->guarded = TRUE;
  vhost_memory_watch_sealed ();
  if (ioctl (self->fd, UFFDIO_REGISTER, &command) != 0)
    {
      int errsv = errno;

      g_set_error (
          error, VHOST_ERROR, VHOST_ERROR_FAILED,
          "the memory region at guest address 0x%" G_GINT64_MODIFIER
          "x cannot be registered with userfaultfd: %s; it must be shared memory (a memfd) "
          "or huge pages",
          mapping->info.guest_address, g_strerror (errsv));
      return FALSE;
    }
  if ((command.ioctls & ((guint64) 1 << _UFFDIO_COPY)) == 0)
    {
      unregister_mapping (self, mapping);
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "pages of the memory region at guest address 0x%" G_GINT64_MODIFIER
                   "x cannot be filled from outside",
                   mapping->info.guest_address);
      return FALSE;
    }
  g_hash_table_add (self->mappings, vhost_memory_mapping_ref (mapping));
  return TRUE;
}

static gboolean
is_among (VhostMemory *memory, gconstpointer mapping)
{
  for (guint i = 0; i < memory->n_regions; i++)
    if (memory->mappings[i] == mapping)
      return TRUE;
  return FALSE;
}

gboolean
vhost_postcopy_register (VhostPostcopy *self, VhostMemory *memory, GError **error)
{
  g_autoptr (GPtrArray) added = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer mapping;

  for (guint i = 0; i < memory->n_regions; i++)
    {
      if (g_hash_table_contains (self->mappings, memory->mappings[i]))
        continue;
      if (!register_mapping (self, memory->mappings[i], error))
        {
          for (guint j = 0; j < added->len; j++)
            {
              unregister_mapping (self, g_ptr_array_index (added, j));
              g_hash_table_remove (self->mappings, g_ptr_array_index (added, j));
            }
          return FALSE;
        }
      g_ptr_array_add (added, memory->mappings[i]);
    }
  g_hash_table_iter_init (&iter, self->mappings);
  while (g_hash_table_iter_next (&iter, &mapping, NULL))
    if (!is_among (memory, mapping))
      {
        unregister_mapping (self, mapping);
        g_hash_table_iter_remove (&iter);
      }
  return TRUE;
}
