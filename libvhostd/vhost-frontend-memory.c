/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory as the driver side makes it: memfd regions, the messages about them, an allocator.
 * Must not touch what lies in the memory.
 *
 * How it works: each region is one memfd, mapped whole. Addresses are handed out upwards and never
 * taken back; that is all a test or a load generator needs, and it keeps the allocator out of the
 * way of what is being tested. A region that holds a ring stays mapped when it is removed: to take
 * memory away under a running ring is one of the things a back-end must survive, and this process
 * has to survive it too. */
#include "config.h"

#include "vhost-frontend-private.h"

#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
vhost_frontend_region_free (VhostFrontendRegion *region)
{
  if (region->map != NULL)
    munmap (region->map, region->size);
  vhost_fd_clear (&region->fd);
  g_free (region);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostFrontendRegion, vhost_frontend_region_free)

void
vhost_frontend_memory_init (VhostFrontend *self)
{
  g_mutex_init (&self->memory_lock);
  self->regions = g_ptr_array_new_with_free_func ((GDestroyNotify) vhost_frontend_region_free);
  self->removed = g_ptr_array_new_with_free_func ((GDestroyNotify) vhost_frontend_region_free);
}

void
vhost_frontend_memory_clear (VhostFrontend *self)
{
  g_mutex_lock (&self->memory_lock);
  g_ptr_array_set_size (self->regions, 0);
  g_ptr_array_set_size (self->removed, 0);
  g_mutex_unlock (&self->memory_lock);
}

static VhostFrontendRegion *
find_in_list (GPtrArray *regions, guint64 guest_address, gsize length)
{
  for (guint i = 0; i < regions->len; i++)
    {
      VhostFrontendRegion *region = g_ptr_array_index (regions, i);

      if (guest_address >= region->guest_addr && guest_address - region->guest_addr <= region->size
          && length <= region->size - (guest_address - region->guest_addr))
        return region;
    }

  return NULL;
}

static VhostFrontendRegion *
find_region_locked (VhostFrontend *self, guint64 guest_address, gsize length)
{
  return find_in_list (self->regions, guest_address, length);
}

static guint64
region_user_address (VhostFrontend *self, const VhostFrontendRegion *region)
{
  /* With GPA_ADDRESSES messages speak of guest addresses only, the region's own included. */
  if (vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_GPA_ADDRESSES))
    return region->guest_addr;
  return (guint64) (guintptr) region->map;
}

gboolean
vhost_frontend_memory_to_user (VhostFrontend *self, guint64 guest_address, guint64 length,
                               guint64 *user_address)
{
  const VhostFrontendRegion *region;
  gboolean known;

  g_mutex_lock (&self->memory_lock);
  region = find_in_list (self->regions, guest_address, length);
  known = region != NULL;
  if (region == NULL)
    region = find_in_list (self->removed, guest_address, length);
  if (region != NULL)
    *user_address = region_user_address (self, region) + (guest_address - region->guest_addr);
  g_mutex_unlock (&self->memory_lock);
  return known;
}

static VhostWireRegion
region_to_wire (VhostFrontend *self, const VhostFrontendRegion *region)
{
  return (VhostWireRegion){
    .guest_addr = region->guest_addr,
    .size = region->size,
    .user_addr = region_user_address (self, region),
    .mmap_offset = 0,
  };
}

VhostFrontendRegion *
vhost_frontend_memory_new_region (VhostFrontend *self, guint64 guest_address, gsize size,
                                  GError **error)
{
  const guint64 page = sysconf (_SC_PAGESIZE);
  g_autoptr (VhostFrontendRegion) region = NULL;
  VhostFrontendRegion *result;
  gpointer map;

  if (size == 0 || size > G_MAXSSIZE || guest_address > G_MAXUINT64 - size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "a memory region of %" G_GSIZE_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                   "x is empty or leaves the address space",
                   size, guest_address);
      return NULL;
    }
  if (guest_address % page != 0)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "guest address 0x%" G_GINT64_MODIFIER
                   "x is not a multiple of the page size, %" G_GUINT64_FORMAT,
                   guest_address, page);
      return NULL;
    }
  for (guint i = 0; i < self->regions->len; i++)
    {
      const VhostFrontendRegion *other = g_ptr_array_index (self->regions, i);

      if (guest_address < other->guest_addr + other->size
          && other->guest_addr < guest_address + size)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       "a memory region of %" G_GSIZE_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                       "x overlaps the one at 0x%" G_GINT64_MODIFIER "x",
                       size, guest_address, other->guest_addr);
          return NULL;
        }
    }

  region = g_new0 (VhostFrontendRegion, 1);
  region->guest_addr = guest_address;
  region->size = size;
  /* Address 0 means "no room" to the allocator's callers, so the page around it stays unused. */
  region->next = guest_address == 0 ? MIN (page, size) : 0;
  /* Sealing stays possible: the back-end may want to make sure that the file is never cut short. */
  region->fd = memfd_create ("vhost-frontend", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (region->fd < 0 || ftruncate (region->fd, (off_t) size) != 0)
    {
      int saved_errno = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot make a memory file of %" G_GSIZE_FORMAT " bytes: %s", size,
                   g_strerror (saved_errno));
      return NULL;
    }
  map = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, region->fd, 0);
  if (map == MAP_FAILED)
    {
      int saved_errno = errno;

      g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
                   "cannot map a memory file of %" G_GSIZE_FORMAT " bytes: %s", size,
                   g_strerror (saved_errno));
      return NULL;
    }
  region->map = map;

  result = g_steal_pointer (&region);
  g_mutex_lock (&self->memory_lock);
  g_ptr_array_add (self->regions, result);
  g_mutex_unlock (&self->memory_lock);
  return result;
}

/* Takes the region off the list; it lives on where a ring lies in it. */
static void
drop_region (VhostFrontend *self, VhostFrontendRegion *region)
{
  guint position;

  g_mutex_lock (&self->memory_lock);
  if (g_ptr_array_find (self->regions, region, &position))
    {
      g_ptr_array_steal_index (self->regions, position);
      if (region->pins > 0)
        g_ptr_array_add (self->removed, region);
      else
        vhost_frontend_region_free (region);
    }
  g_mutex_unlock (&self->memory_lock);
}

/* Postcopy: the front-end has seen the answer, the back-end may touch the memory (P3). The code is
 * that of the last message. */
static gboolean
confirm_addresses (VhostFrontend *self, guint32 request, GError **error)
{
  const guint64 empty = 0;

  return vhost_frontend_send (self, request, 0, &empty, sizeof empty, NULL, 0, error);
}

/* While postcopy listens, a memory message is answered by the same with the back-end's addresses
 * (P5). @sent: what was said of each of @n regions. */
static gboolean
take_addresses (VhostFrontend *self, const VhostWireRegion *sent, const VhostWireRegion *told,
                guint n, GError **error)
{
  for (guint i = 0; i < n; i++)
    {
      VhostFrontendRegion *region;

      if (told[i].guest_addr != sent[i].guest_addr || told[i].size != sent[i].size)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                       "the back-end answered with another memory region, at 0x%" G_GINT64_MODIFIER
                       "x instead of 0x%" G_GINT64_MODIFIER "x",
                       told[i].guest_addr, sent[i].guest_addr);
          return FALSE;
        }
      g_mutex_lock (&self->memory_lock);
      region = find_region_locked (self, sent[i].guest_addr, 1);
      if (region != NULL)
        region->backend_addr = told[i].user_addr;
      g_mutex_unlock (&self->memory_lock);
    }
  return TRUE;
}

static gboolean
check_answer_size (const VhostMessage *answer, gsize size, GError **error)
{
  if (answer->header.size == size)
    return TRUE;
  g_set_error (
      error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
      "the answer to %s has %u bytes; while postcopy listens it must have %" G_GSIZE_FORMAT,
      vhost_wire_name (answer->header.request), answer->header.size, size);
  return FALSE;
}

/* SET_MEM_TABLE with all regions but @without. */
static gboolean
send_table (VhostFrontend *self, const VhostFrontendRegion *without, GError **error)
{
  VhostWireMemTable table = { 0 };
  int fds[VHOST_WIRE_MAX_REGIONS];
  VhostMessage *answer;
  gsize size;

  for (guint i = 0; i < self->regions->len; i++)
    {
      const VhostFrontendRegion *region = g_ptr_array_index (self->regions, i);

      if (region == without)
        continue;
      if (table.n_regions == VHOST_WIRE_MAX_REGIONS)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                       "%u memory regions are too many: without CONFIGURE_MEM_SLOTS, which was not "
                       "negotiated, %u are the most",
                       self->regions->len, VHOST_WIRE_MAX_REGIONS);
          return FALSE;
        }
      table.regions[table.n_regions] = region_to_wire (self, region);
      fds[table.n_regions] = region->fd;
      table.n_regions++;
    }

  size = G_STRUCT_OFFSET (VhostWireMemTable, regions) + table.n_regions * sizeof (VhostWireRegion);
  if (!self->listening)
    return vhost_frontend_set (self, VHOST_WIRE_SET_MEM_TABLE, &table, size, fds, table.n_regions,
                               error, "%u regions", table.n_regions);
  return vhost_frontend_get_with_fds (self, VHOST_WIRE_SET_MEM_TABLE, &table, size, fds,
                                      table.n_regions, &answer, error)
         && check_answer_size (answer, size, error)
         && take_addresses (self, table.regions, answer->payload.table.regions, table.n_regions,
                            error)
         && confirm_addresses (self, VHOST_WIRE_SET_MEM_TABLE, error);
}

/* ADD_MEM_REG or REM_MEM_REG. */
static gboolean
send_slot (VhostFrontend *self, guint32 request, const VhostFrontendRegion *region, GError **error)
{
  VhostWireSingleRegion message = { .region = region_to_wire (self, region) };
  VhostMessage *answer;

  if (self->listening && request == VHOST_WIRE_ADD_MEM_REG)
    return vhost_frontend_get_with_fds (self, request, &message, sizeof message, &region->fd, 1,
                                        &answer, error)
           && check_answer_size (answer, sizeof message, error)
           && take_addresses (self, &message.region, &answer->payload.region.region, 1, error);
  return vhost_frontend_set (self, request, &message, sizeof message, &region->fd,
                             request == VHOST_WIRE_ADD_MEM_REG ? 1 : 0, error,
                             "%" G_GSIZE_FORMAT " bytes at 0x%" G_GINT64_MODIFIER "x", region->size,
                             region->guest_addr);
}

gboolean
vhost_frontend_memory_replay (VhostFrontend *self, GError **error)
{
  if (self->regions->len == 0)
    return TRUE;
  if (!vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS))
    return send_table (self, NULL, error);

  for (guint i = 0; i < self->regions->len; i++)
    {
      if (!send_slot (self, VHOST_WIRE_ADD_MEM_REG, g_ptr_array_index (self->regions, i), error))
        return FALSE;
    }
  return !self->listening || confirm_addresses (self, VHOST_WIRE_ADD_MEM_REG, error);
}

static guint64
allocate_locked (VhostFrontend *self, gsize length, gsize alignment, VhostFrontendRegion **region,
                 gsize *offset)
{
  for (guint i = 0; i < self->regions->len; i++)
    {
      VhostFrontendRegion *candidate = g_ptr_array_index (self->regions, i);
      const guint64 first = candidate->guest_addr + candidate->next;
      const guint64 padding = -first & (guint64) (alignment - 1);
      const gsize left = candidate->size - candidate->next;

      if (padding <= left && length <= left - padding)
        {
          *region = candidate;
          *offset = candidate->next + padding;
          candidate->next = *offset + length;
          return candidate->guest_addr + *offset;
        }
    }

  return 0;
}

guint64
vhost_frontend_memory_allocate_pinned (VhostFrontend *self, gsize length, gsize alignment,
                                       gpointer *memory)
{
  VhostFrontendRegion *region = NULL;
  gsize offset = 0;
  guint64 address;

  g_mutex_lock (&self->memory_lock);
  address = allocate_locked (self, length, alignment, &region, &offset);
  if (address != 0)
    {
      region->pins++;
      *memory = region->map + offset;
    }
  g_mutex_unlock (&self->memory_lock);
  /* The allocator never hands out a byte twice, but a test may have written there by its own means.
   */
  if (address != 0)
    memset (*memory, 0, length);
  return address;
}

/**
 * vhost_frontend_add_memory:
 * @self: a front-end
 * @guest_address: guest physical address of the region, a multiple of the page size
 * @size: bytes, not 0
 * @error: return location for an error
 *
 * Makes a region of guest memory (a memfd) and shares it with the back-end.
 *
 * With CONFIGURE_MEM_SLOTS it goes out as ADD_MEM_REG, otherwise the whole table goes out again as
 * SET_MEM_TABLE, which takes at most 8 regions. Regions may not overlap: #VHOST_ERROR_INVALID. When
 * the back-end refuses, the region is gone again.
 *
 * The file can be sealed, and no seal is set.
 *
 * Regions outlive the connection: vhost_frontend_negotiate () sends them to the next one.
 *
 * Thread: control. Specification: "Multiple Memory Regions", SET_MEM_TABLE, ADD_MEM_REG.
 *
 * Returns: %TRUE on success
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_add_memory (VhostFrontend *self, guint64 guest_address, gsize size, GError **error)
{
  gboolean slots;
  VhostFrontendRegion *region;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  slots = vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS);
  if (slots && self->regions->len >= self->max_memory_slots)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "the back-end takes %" G_GUINT64_FORMAT " memory regions, and %u are in use",
                   self->max_memory_slots, self->regions->len);
      return FALSE;
    }

  region = vhost_frontend_memory_new_region (self, guest_address, size, error);
  if (region == NULL)
    return FALSE;

  /* The log has to cover it before the device can write there. */
  if (!vhost_frontend_log_cover (self, guest_address + size, error)
      || (slots
              ? !send_slot (self, VHOST_WIRE_ADD_MEM_REG, region, error)
                    || (self->listening && !confirm_addresses (self, VHOST_WIRE_ADD_MEM_REG, error))
              : !send_table (self, NULL, error)))
    {
      drop_region (self, region);
      return FALSE;
    }
  return TRUE;
}

/**
 * vhost_frontend_remove_memory:
 * @self: a front-end
 * @guest_address: where the region begins
 * @error: return location for an error
 *
 * Takes a region away from the back-end: REM_MEM_REG, or SET_MEM_TABLE without it.
 *
 * A region that holds a ring may go too; what the back-end makes of that is its test. Pointers into
 * the region are not to be used any more. When the back-end refuses, the region stays.
 *
 * Thread: control. Specification: REM_MEM_REG.
 *
 * Returns: %TRUE on success
 *
 * Since: 0.1
 */
gboolean
vhost_frontend_remove_memory (VhostFrontend *self, guint64 guest_address, GError **error)
{
  VhostFrontendRegion *region;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), FALSE);

  g_mutex_lock (&self->memory_lock);
  region = find_region_locked (self, guest_address, 1);
  g_mutex_unlock (&self->memory_lock);
  if (region == NULL || region->guest_addr != guest_address)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "no memory region begins at 0x%" G_GINT64_MODIFIER "x", guest_address);
      return FALSE;
    }

  if (vhost_frontend_has_protocol_bit (self, VHOST_WIRE_PROTOCOL_CONFIGURE_MEM_SLOTS)
          ? !send_slot (self, VHOST_WIRE_REM_MEM_REG, region, error)
          : !send_table (self, region, error))
    return FALSE;

  drop_region (self, region);
  return TRUE;
}

/**
 * vhost_frontend_get_memory: (skip)
 * @self: a front-end
 * @guest_address: guest physical address
 * @length: bytes
 *
 * Where guest memory is mapped in this process.
 *
 * Thread: any.
 *
 * Returns: (nullable): the first byte, or %NULL when [@guest_address, +@length) does not lie in one
 * region
 *
 * Since: 0.1
 */
gpointer
vhost_frontend_get_memory (VhostFrontend *self, guint64 guest_address, gsize length)
{
  VhostFrontendRegion *region;
  gpointer result = NULL;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), NULL);

  g_mutex_lock (&self->memory_lock);
  region = find_region_locked (self, guest_address, length);
  if (region != NULL)
    result = region->map + (guest_address - region->guest_addr);
  g_mutex_unlock (&self->memory_lock);
  return result;
}

/**
 * vhost_frontend_get_memory_fd:
 * @self: a front-end
 * @guest_address: any guest physical address in the region
 *
 * The memfd behind a region; the region's first byte is the file's. A script maps it to reach guest
 * memory.
 *
 * Thread: any.
 *
 * Returns: the descriptor, which belongs to @self, or -1 when no region holds the address
 *
 * Since: 0.1
 */
int
vhost_frontend_get_memory_fd (VhostFrontend *self, guint64 guest_address)
{
  VhostFrontendRegion *region;
  int fd = -1;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), -1);

  g_mutex_lock (&self->memory_lock);
  region = find_region_locked (self, guest_address, 1);
  if (region != NULL)
    fd = region->fd;
  g_mutex_unlock (&self->memory_lock);
  return fd;
}

/**
 * vhost_frontend_get_backend_address:
 * @self: a front-end
 * @guest_address: any guest physical address in a region
 *
 * Where the back-end has mapped a byte of guest memory, as it said while postcopy listened: that is
 * the address in which userfaultfd speaks of faults.
 *
 * Thread: any. Specification: POSTCOPY_LISTEN, SET_MEM_TABLE.
 *
 * Returns: an address of the back-end's process; 0 when it said none
 *
 * Since: 0.1
 */
guint64
vhost_frontend_get_backend_address (VhostFrontend *self, guint64 guest_address)
{
  const VhostFrontendRegion *region;
  guint64 result = 0;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  g_mutex_lock (&self->memory_lock);
  region = find_region_locked (self, guest_address, 1);
  if (region != NULL && region->backend_addr != 0)
    result = region->backend_addr + (guest_address - region->guest_addr);
  g_mutex_unlock (&self->memory_lock);
  return result;
}

/**
 * vhost_frontend_allocate:
 * @self: a front-end
 * @length: bytes, not 0
 * @alignment: a power of 2, in bytes; 0 means 1
 *
 * Takes a piece of guest memory that nothing else uses. It is never given back, but for the
 * region's end.
 *
 * Thread: any.
 *
 * Returns: its guest physical address; 0 means that no region has room, or that the arguments are
 * wrong
 *
 * Since: 0.1
 */
guint64
vhost_frontend_allocate (VhostFrontend *self, gsize length, gsize alignment)
{
  VhostFrontendRegion *region;
  gsize offset;
  guint64 address;

  g_return_val_if_fail (VHOST_IS_FRONTEND (self), 0);

  if (alignment == 0)
    alignment = 1;
  if (length == 0 || (alignment & (alignment - 1)) != 0)
    return 0;

  g_mutex_lock (&self->memory_lock);
  address = allocate_locked (self, length, alignment, &region, &offset);
  g_mutex_unlock (&self->memory_lock);
  return address;
}
