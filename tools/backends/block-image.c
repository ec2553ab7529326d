/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An opened disk image: what it is, what it can, who may use it. Must not write to it but by a
 * request.
 *
 * How it works: a table of the process holds the open images by device, inode and way of opening,
 * so that the sessions of one device share a file object. The lock that keeps other processes away
 * is one of the open file description (F_OFD_SETLK): the sessions that share it do not shut each
 * other out, another process or another way of opening does, and it ends with the process. It is
 * taken by the first session whose rings run and left by the last, not at opening: the destination
 * of a live migration opens the image while the source still uses it. */
#include "block-image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Enough for every sector size there is. */
#define MAX_ALIGNMENT 4096

/* What is written where a medium cannot zero by itself, in one system call at most. */
#define ZERO_BLOCK (64 * 1024)
#define ZERO_VECTORS 16

/* A busy image is tried again every 100 ms; the search for its user goes through all processes. */
#define HOLDER_KEPT_US (2 * G_USEC_PER_SEC)

static GMutex table_lock;
static GPtrArray *table; /* (element-type VhostdBlockImage) (owned) (nullable) */

static gboolean refuse (GError **error, int code, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
refuse (GError **error, int code, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (error != NULL)
    *error = g_error_new_valist (VHOST_ERROR, code, format, args);
  va_end (args);
  return FALSE;
}

static void
refuse_open (GError **error, const char *path, gboolean read_only, gboolean direct, int code)
{
  const char *advice = "";

  if (code == EINVAL && direct)
    advice = "; its file system knows no direct I/O: use cache=writeback";
  else if ((code == EACCES || code == EPERM || code == EROFS) && !read_only)
    advice = "; allow this user to write it, or use read-only=true";
  else if (code == EACCES || code == EPERM)
    advice = "; allow this user to read it";
  else if (code == ENOENT)
    advice = "; blk-file must name an existing image (truncate -s 1G FILE makes one)";
  refuse (error, VHOST_ERROR_BACKEND, "cannot open the image %s for %s: %s%s", path,
          read_only ? "reading" : "reading and writing", g_strerror (code), advice);
}

/* Whether the driver of a block device passes discards on. */
static gboolean
device_can_discard (dev_t rdev)
{
  g_autofree char *base = g_strdup_printf ("/sys/dev/block/%u:%u", major (rdev), minor (rdev));
  /* A partition has no queue of its own, its disk is one folder up. */
  static const char *const places[] = { "queue/discard_max_bytes", "../queue/discard_max_bytes" };

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_autofree char *name = g_build_filename (base, places[i], NULL);
      g_autofree char *text = NULL;

      if (g_file_get_contents (name, &text, NULL, NULL))
        return g_ascii_strtoull (text, NULL, 10) > 0;
    }
  return FALSE;
}

/* What O_DIRECT wants. Told by the kernel since 6.1, for older ones found out by reading. */
static void
find_alignment (VhostdBlockImage *self, int fd)
{
  static const guint sizes[] = { 512, 1024, 2048, MAX_ALIGNMENT };
  g_autofree guint8 *memory = NULL;
  guint8 *aligned;

#ifdef STATX_DIOALIGN
  struct statx info;

  if (statx (fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0
      && (info.stx_mask & STATX_DIOALIGN) != 0 && info.stx_dio_offset_align > 0
      && info.stx_dio_mem_align > 0)
    {
      self->offset_alignment = info.stx_dio_offset_align;
      self->memory_alignment = info.stx_dio_mem_align;
      return;
    }
#endif
  memory = g_malloc (2 * MAX_ALIGNMENT);
  aligned = (guint8 *) (((guintptr) memory + MAX_ALIGNMENT - 1) & ~(guintptr) (MAX_ALIGNMENT - 1));
  self->offset_alignment = MAX_ALIGNMENT;
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    if (pread (fd, aligned, sizes[i], 0) >= 0)
      {
        self->offset_alignment = sizes[i];
        break;
      }
  /* Some take less for memory; this is never too little. */
  self->memory_alignment = self->offset_alignment;
}

static void
find_limits (VhostdBlockImage *self, int fd, const struct stat *st)
{
  self->memory_alignment = self->offset_alignment = 1;
  self->physical_size = st->st_blksize;
  self->can_discard = TRUE;
  if (self->is_device)
    {
      unsigned int value = 0;

      self->can_discard = device_can_discard (st->st_rdev);
      if (ioctl (fd, BLKPBSZGET, &value) == 0 && value > 0)
        self->physical_size = value;
      if (ioctl (fd, BLKIOOPT, &value) == 0)
        self->optimal_size = value;
    }
  if (self->flags & VHOSTD_BLOCK_IMAGE_DIRECT)
    find_alignment (self, fd);
}

static VhostdBlockImage *
find_in_table_locked (dev_t dev, ino_t ino, VhostdBlockImageFlags flags)
{
  for (guint i = 0; table != NULL && i < table->len; i++)
    {
      VhostdBlockImage *image = g_ptr_array_index (table, i);

      if (image->dev == dev && image->ino == ino && image->flags == flags)
        return image;
    }
  return NULL;
}

/* Opens an image or joins those who have it open in the same way. The result is given back by
 * vhostd_block_image_close (). */
VhostdBlockImage *
vhostd_block_image_open (const char *path, VhostdBlockImageFlags flags, GError **error)
{
  gboolean read_only = (flags & VHOSTD_BLOCK_IMAGE_READ_ONLY) != 0;
  gboolean direct = (flags & VHOSTD_BLOCK_IMAGE_DIRECT) != 0;
  int mode = (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0);
  VhostdBlockImage *self;
  struct stat st;
  int fd;

  /* O_NONBLOCK: a pipe in the image's place must not stop us for ever. */
  fd = open (path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    {
      int code = errno;

      if (code == EISDIR)
        refuse (error, VHOST_ERROR_INVALID,
                "%s is a directory; blk-file must name a file or a block device", path);
      else
        refuse_open (error, path, read_only, direct, code);
      return NULL;
    }
  if (fstat (fd, &st) != 0 || (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)))
    {
      refuse (error, VHOST_ERROR_INVALID,
              "%s is %s; blk-file must name a regular file or a block device", path,
              S_ISDIR (st.st_mode) ? "a directory" : "neither a file nor a block device");
      close (fd);
      return NULL;
    }
  /* Off again, else io_uring would answer EAGAIN where it ought to wait. */
  if (fcntl (fd, F_SETFL, direct ? O_DIRECT : 0) != 0)
    {
      refuse_open (error, path, read_only, direct, errno);
      close (fd);
      return NULL;
    }

  g_mutex_lock (&table_lock);
  self = find_in_table_locked (st.st_dev, st.st_ino, flags);
  if (self != NULL)
    {
      /* Locks belong to the other description: this one may be closed without harm to them. */
      close (fd);
    }
  else
    {
      self = g_new0 (VhostdBlockImage, 1);
      self->dev = st.st_dev;
      self->ino = st.st_ino;
      self->flags = flags;
      self->path = g_strdup (path);
      self->is_device = S_ISBLK (st.st_mode);
      atomic_init (&self->no_punch_hole, FALSE);
      atomic_init (&self->no_zero_range, FALSE);
      find_limits (self, fd, &st);
      self->file = vhost_io_file_new_take_fd (fd);
      if (table == NULL)
        table = g_ptr_array_new ();
      g_ptr_array_add (table, self);
    }
  self->n_users++;
  g_mutex_unlock (&table_lock);
  return self;
}

/* Gives the image back; no operation on it may be under way. */
void
vhostd_block_image_close (VhostdBlockImage *self)
{
  G_GNUC_UNUSED g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&table_lock);

  if (--self->n_users > 0)
    return;
  g_ptr_array_remove_fast (table, self);
  if (table->len == 0)
    g_clear_pointer (&table, g_ptr_array_unref);
  vhost_io_file_unref (self->file);
  g_free (self->path);
  g_free (self);
}

/* The image's size in bytes, as it is now. */
gboolean
vhostd_block_image_get_size (VhostdBlockImage *self, guint64 *size, GError **error)
{
  int fd = vhost_io_file_get_fd (self->file);
  struct stat st;

  if (self->is_device ? ioctl (fd, BLKGETSIZE64, size) != 0 : fstat (fd, &st) != 0)
    return refuse (error, VHOST_ERROR_BACKEND, "cannot ask for the size of %s: %s", self->path,
                   g_strerror (errno));
  if (!self->is_device)
    *size = (guint64) st.st_size;
  return TRUE;
}

/* "vhostd (pid 4711)" if process @pid has @target open with a lock on it. Reads links and fdinfo
 * only: they do not block, whatever the descriptors belong to. */
static char *
describe_if_holder (const char *pid, const char *target)
{
  g_autofree char *folder = g_build_filename ("/proc", pid, "fd", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *link = g_build_filename (folder, name, NULL);
      g_autofree char *at = g_file_read_link (link, NULL);
      g_autofree char *info = NULL;
      g_autofree char *text = NULL;
      g_autofree char *comm_name = NULL;
      g_autofree char *comm = NULL;

      if (g_strcmp0 (at, target) != 0)
        continue;
      info = g_build_filename ("/proc", pid, "fdinfo", name, NULL);
      if (!g_file_get_contents (info, &text, NULL, NULL) || strstr (text, "\nlock:") == NULL)
        continue;
      comm_name = g_build_filename ("/proc", pid, "comm", NULL);
      if (g_file_get_contents (comm_name, &comm, NULL, NULL))
        g_strchomp (comm);
      return g_strdup_printf ("%s (pid %s)", comm != NULL ? comm : "process", pid);
    }
  return NULL;
}

/* Who holds a lock in our way. A lock of an open file description has no pid in the kernel's books:
 * its user is found by looking for the file among the descriptors of all processes. */
static char *
find_holder (int fd)
{
  g_autofree char *own = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autofree char *target = g_file_read_link (own, NULL);
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;

  while (target != NULL && dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      char *holder = g_ascii_isdigit (name[0]) ? describe_if_holder (name, target) : NULL;

      if (holder != NULL)
        return holder;
    }
  return g_strdup ("another process");
}

static void
refuse_busy (VhostdBlockImage *self, GError **error)
{
  static GMutex lock;
  static char *holder; /* (owned) (nullable): of a search some time ago */
  static ino_t holder_ino;
  static gint64 holder_time;
  G_GNUC_UNUSED g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);
  gint64 now = g_get_monotonic_time ();

  if (holder == NULL || holder_ino != self->ino || now - holder_time > HOLDER_KEPT_US)
    {
      g_free (holder);
      holder = find_holder (vhost_io_file_get_fd (self->file));
      holder_ino = self->ino;
      holder_time = now;
    }
  refuse (error, VHOST_ERROR_BUSY,
          "the image %s is in use by %s, which has locked it; stop that first%s", self->path,
          holder,
          (self->flags & VHOSTD_BLOCK_IMAGE_READ_ONLY) ? "" : ", or have both use read-only=true");
}

/* Keeps other processes away: from writing if this is read-only, else altogether. Counted.
 * VHOST_ERROR_BUSY: somebody else is there. */
gboolean
vhostd_block_image_lock (VhostdBlockImage *self, GError **error)
{
  G_GNUC_UNUSED g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&table_lock);
  struct flock lock = {
    .l_type = (self->flags & VHOSTD_BLOCK_IMAGE_READ_ONLY) ? F_RDLCK : F_WRLCK,
    .l_whence = SEEK_SET,
  };

  if (self->n_locks == 0 && fcntl (vhost_io_file_get_fd (self->file), F_OFD_SETLK, &lock) != 0)
    {
      if (errno == EAGAIN || errno == EACCES)
        {
          refuse_busy (self, error);
          return FALSE;
        }
      /* A file system without locks is no reason to serve nothing. */
      g_warning ("%s cannot be locked (%s): nothing keeps another program from writing to it",
                 self->path, g_strerror (errno));
    }
  self->n_locks++;
  return TRUE;
}

/* Lets others in again, when called as often as the lock was taken. */
void
vhostd_block_image_unlock (VhostdBlockImage *self)
{
  G_GNUC_UNUSED g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&table_lock);
  struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

  if (--self->n_locks == 0)
    (void) fcntl (vhost_io_file_get_fd (self->file), F_OFD_SETLK, &lock);
}

/* Whether an error of fallocate () or of an ioctl says that this medium cannot do it, at all or
 * with such a range. */
gboolean
vhostd_block_image_is_unable (int code)
{
  return code == EOPNOTSUPP || code == EINVAL || code == ENOTTY || code == ENOSYS;
}

/* Tells a block device that the contents of a range do not matter any more. Thread: pool. */
int
vhostd_block_image_discard_device (VhostdBlockImage *self, guint64 offset, guint64 length)
{
  guint64 range[2] = { offset, length };

  return ioctl (vhost_io_file_get_fd (self->file), BLKDISCARD, range) == 0 ? 0 : -errno;
}

/* Zeroes a range by hand, where the file system or the device does not help. Thread: pool. */
int
vhostd_block_image_fill_zeroes (VhostdBlockImage *self, guint64 offset, guint64 length)
{
  static const guint8 zeros[ZERO_BLOCK] __attribute__ ((aligned (MAX_ALIGNMENT)));
  struct iovec iov[ZERO_VECTORS];

  while (length > 0)
    {
      guint64 left = length;
      gssize written;
      int n = 0;

      while (n < ZERO_VECTORS && left > 0)
        {
          iov[n].iov_base = (gpointer) zeros;
          iov[n].iov_len = MIN (left, ZERO_BLOCK);
          left -= iov[n++].iov_len;
        }
      written = pwritev (vhost_io_file_get_fd (self->file), iov, n, (off_t) offset);
      if (written < 0 && errno == EINTR)
        continue;
      if (written <= 0)
        return written == 0 ? -ENOSPC : -errno;
      offset += (guint64) written;
      length -= (guint64) written;
    }
  return 0;
}
