/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk for a guest (VIRTIO 1.3, 5.2): an image file, a block device, or nothing at all. This file
 * is the object: options, features, configuration space, life. Must not touch requests.
 *
 * How it notices that the image has grown: inotify tells when another program that had the image
 * open for writing closes it, as every program that makes images larger does. Watching for writes
 * instead would wake this process for each write of the guest, and looking now and then would wake
 * it for nothing. */
#include "block-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define NAME "block"
#define VIRTIO_ID 2
#define MAX_QUEUES 256

#define MIN_BLOCK_SIZE 512
#define MAX_BLOCK_SIZE 4096
#define DEFAULT_NULL_SIZE (G_GUINT64_CONSTANT (1) << 30)

/* A request of seg_max segments and two more descriptors has to fit into a ring, if the driver uses
 * no indirect tables. The ring's size is not known when the driver reads this; front-ends make 128
 * entries by default, and a driver that gets more than its ring can hold waits for ever. */
#define SEG_MAX (128 - 2)

#define FEATURE(name) (G_GUINT64_CONSTANT (1) << VIRTIO_BLK_F_##name)

enum
{
  PROP_BLK_FILE = 1,
  PROP_READ_ONLY,
  PROP_SERIAL,
  PROP_LOGICAL_BLOCK_SIZE,
  PROP_CACHE,
  PROP_DRIVER,
  PROP_SIZE,
  PROP_READ_ZEROES,
  N_PROPS,
};

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE (VhostdBlock, vhostd_block, VHOST_TYPE_BACKEND)

static GType
vhostd_block_cache_get_type (void)
{
  static gsize type;

  if (g_once_init_enter (&type))
    {
      static const GEnumValue values[] = {
        { VHOSTD_BLOCK_CACHE_WRITEBACK, "VHOSTD_BLOCK_CACHE_WRITEBACK", "writeback" },
        { VHOSTD_BLOCK_CACHE_WRITETHROUGH, "VHOSTD_BLOCK_CACHE_WRITETHROUGH", "writethrough" },
        { VHOSTD_BLOCK_CACHE_DIRECT, "VHOSTD_BLOCK_CACHE_DIRECT", "direct" },
        { 0, NULL, NULL },
      };

      g_once_init_leave (&type, g_enum_register_static ("VhostdBlockCache", values));
    }
  return type;
}

static GType
vhostd_block_driver_get_type (void)
{
  static gsize type;

  if (g_once_init_enter (&type))
    {
      static const GEnumValue values[] = {
        { VHOSTD_BLOCK_DRIVER_FILE, "VHOSTD_BLOCK_DRIVER_FILE", "file" },
        { VHOSTD_BLOCK_DRIVER_NULL, "VHOSTD_BLOCK_DRIVER_NULL", "null" },
        { 0, NULL, NULL },
      };

      g_once_init_leave (&type, g_enum_register_static ("VhostdBlockDriver", values));
    }
  return type;
}

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

/* ---- Configuration space and write cache ---- */

static void
publish_config (VhostdBlock *self)
{
  struct virtio_blk_config mask = { .wce = 1 };

  vhost_backend_set_config_space (VHOST_BACKEND (self), &self->config, sizeof self->config, &mask);
}

/* Who decides whether a completed write is durable (5.2.5.2, 5.2.6.2): the driver, if it took
 * CONFIG_WCE; without FLUSH it could not make anything durable later, so all is at once; else the
 * property. */
static void
update_write_mode (VhostdBlock *self, guint64 features)
{
  gboolean writethrough;

  if ((features & FEATURE (CONFIG_WCE)) != 0)
    writethrough = self->config.wce == 0;
  else
    writethrough
        = (features & FEATURE (FLUSH)) == 0 || self->cache == VHOSTD_BLOCK_CACHE_WRITETHROUGH;
  /* Partner: the workers when a write has ended. Requests that the driver sent after its change
   * come through the ring, which orders them behind it. */
  atomic_store_explicit (&self->writethrough, writethrough, memory_order_relaxed);
}

static guint8
get_initial_wce (VhostdBlock *self)
{
  return self->cache != VHOSTD_BLOCK_CACHE_WRITETHROUGH;
}

/* Called: control. */
static void
vhostd_block_features_acked (VhostBackend *backend, guint64 features)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);

  /* 5.2.5.2: with CONFIG_WCE and without FLUSH the field begins as 0. Otherwise it stays: this also
   * comes when a front-end only switches dirty logging. */
  if ((features & FEATURE (CONFIG_WCE)) != 0 && (features & FEATURE (FLUSH)) == 0
      && self->config.wce != 0)
    {
      self->config.wce = 0;
      publish_config (self);
    }
  update_write_mode (self, features);
}

/* Called: control. */
static void
vhostd_block_reset (VhostBackend *backend)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);

  self->config.wce = get_initial_wce (self);
  publish_config (self);
  update_write_mode (self, vhost_backend_get_acked_features (backend));
}

/* Called: control; the caller has checked that the bytes are within 256. */
static gboolean
vhostd_block_set_config (VhostBackend *backend, guint offset, GBytes *bytes, VhostConfigFlags flags,
                         GError **error)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);
  struct virtio_blk_config config = self->config;
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  if (offset < sizeof config)
    memcpy ((guint8 *) &config + offset, data, MIN (size, sizeof config - offset));
  if (flags == VHOST_CONFIG_MIGRATION)
    {
      /* A migrated disk brings its state; what the medium is like is known better here. */
      if (config.capacity != self->config.capacity)
        return refuse (error, VHOST_ERROR_REFUSED,
                       "the migrated disk has %" G_GUINT64_FORMAT
                       " sectors of 512 bytes, but the image here has %" G_GUINT64_FORMAT
                       "; both sides must use the same image",
                       GUINT64_FROM_LE (config.capacity), GUINT64_FROM_LE (self->config.capacity));
    }
  else if (!VHOST_BACKEND_CLASS (vhostd_block_parent_class)
                ->set_config (backend, offset, bytes, flags, error))
    {
      return FALSE;
    }
  self->config.wce = config.wce & 1;
  publish_config (self);
  update_write_mode (self, vhost_backend_get_acked_features (backend));
  return TRUE;
}

/* Called: control. */
static guint64
vhostd_block_get_features (VhostBackend *backend)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);
  guint64 features = FEATURE (SEG_MAX) | FEATURE (BLK_SIZE) | FEATURE (TOPOLOGY) | FEATURE (FLUSH)
                     | FEATURE (CONFIG_WCE);

  if (vhost_backend_get_num_queues (backend) > 1)
    features |= FEATURE (MQ);
  if (self->is_read_only)
    features |= FEATURE (RO);
  else
    features |= FEATURE (WRITE_ZEROES) | (self->can_discard ? FEATURE (DISCARD) : 0);
  return features;
}

static guint
get_exponent (guint64 n)
{
  return n > 1 ? (guint) __builtin_ctzll (n) : 0;
}

static void
fill_config (VhostdBlock *self, guint64 capacity)
{
  guint block_size = (guint) self->block_mask + 1;
  guint queue_size = vhost_backend_get_queue_size (VHOST_BACKEND (self));
  guint physical = self->image != NULL ? self->image->physical_size : block_size;
  guint optimal = self->image != NULL ? self->image->optimal_size : 0;
  struct virtio_blk_config config = { 0 };

  /* Only a power of two can be told. */
  if (physical < block_size || (physical & (physical - 1)) != 0)
    physical = block_size;
  config.capacity = GUINT64_TO_LE (capacity);
  config.seg_max = GUINT32_TO_LE (CLAMP (queue_size - 2, 1, SEG_MAX));
  config.blk_size = GUINT32_TO_LE (block_size);
  config.physical_block_exp = (guint8) get_exponent (physical / block_size);
  config.min_io_size = GUINT16_TO_LE (MIN (physical / block_size, G_MAXUINT16));
  config.opt_io_size = GUINT32_TO_LE (optimal / block_size);
  config.wce = get_initial_wce (self);
  config.num_queues = GUINT16_TO_LE (vhost_backend_get_num_queues (VHOST_BACKEND (self)));
  if (!self->is_read_only)
    {
      /* The alignment is advice for cutting large ranges; others are taken as well. */
      if (self->can_discard)
        {
          config.max_discard_sectors = GUINT32_TO_LE (VHOSTD_BLOCK_MAX_DISCARD_SECTORS);
          config.max_discard_seg = GUINT32_TO_LE (VHOSTD_BLOCK_MAX_RANGES);
          config.discard_sector_alignment = GUINT32_TO_LE (physical >> VHOSTD_BLOCK_SECTOR_SHIFT);
        }
      config.max_write_zeroes_sectors = GUINT32_TO_LE (VHOSTD_BLOCK_MAX_ZEROES_SECTORS);
      config.max_write_zeroes_seg = GUINT32_TO_LE (VHOSTD_BLOCK_MAX_RANGES);
      config.write_zeroes_may_unmap = 1;
    }
  self->config = config;
  atomic_store_explicit (&self->capacity, capacity, memory_order_relaxed);
  publish_config (self);
}

/* ---- Size ---- */

/* vhostd_block_refresh:
 * @backend: a block back-end
 *
 * Looks how large the image is now and tells the guest if that has changed. Happens by itself when
 * another program has closed a file that it had written to; whoever makes a block device larger
 * calls this. Does nothing while the back-end is not started.
 *
 * Thread: control. */
void
vhostd_block_refresh (VhostBackend *backend)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);
  guint64 old = atomic_load_explicit (&self->capacity, memory_order_relaxed);
  g_autoptr (GError) error = NULL;
  guint64 capacity;
  guint64 size;

  if (!self->started || self->image == NULL)
    return;
  if (!vhostd_block_image_get_size (self->image, &size, &error))
    {
      g_warning ("%s; the disk keeps its %" G_GUINT64_FORMAT " sectors", error->message, old);
      return;
    }
  /* A part of a block at the end cannot be reached. */
  capacity = (size & ~self->block_mask) >> VHOSTD_BLOCK_SECTOR_SHIFT;
  if (capacity == old)
    return;
  if (capacity < old)
    g_warning ("%s has shrunk from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
               " sectors: what was behind is lost to the guest",
               self->image->path, old, capacity);
  else
    g_info ("%s has grown from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT " sectors",
            self->image->path, old, capacity);
  /* Partner: is_within () on the workers. A request that was checked before is short at worst. */
  atomic_store_explicit (&self->capacity, capacity, memory_order_relaxed);
  self->config.capacity = GUINT64_TO_LE (capacity);
  publish_config (self);
  vhost_backend_notify_config (backend);
}

/* Called: control, in the context that the back-end was started in. */
static gboolean
on_image_event (int fd, GIOCondition condition, gpointer user_data)
{
  char buffer[4096] __attribute__ ((aligned (__alignof__(struct inotify_event))));

  /* Which event it was does not matter. The descriptor does not block. */
  while (read (fd, buffer, sizeof buffer) > 0)
    ;
  vhostd_block_refresh (user_data);
  return G_SOURCE_CONTINUE;
}

static void
stop_watch (VhostdBlock *self)
{
  if (self->watch != NULL)
    {
      g_source_destroy (self->watch);
      g_clear_pointer (&self->watch, g_source_unref);
    }
  if (self->watch_fd >= 0)
    {
      close (self->watch_fd);
      self->watch_fd = -1;
    }
}

static void
start_watch (VhostdBlock *self)
{
  g_autoptr (GMainContext) context = g_main_context_ref_thread_default ();
  /* The file that is open, whatever its path leads to by now. */
  g_autofree char *link
      = g_strdup_printf ("/proc/self/fd/%d", vhost_io_file_get_fd (self->image->file));

  self->watch_fd = inotify_init1 (IN_CLOEXEC | IN_NONBLOCK);
  if (self->watch_fd < 0
      || inotify_add_watch (self->watch_fd, link, IN_CLOSE_WRITE | IN_ATTRIB) < 0)
    {
      g_info ("%s cannot be watched (%s): a new size is seen at the next start of the guest only",
              self->image->path, g_strerror (errno));
      stop_watch (self);
      return;
    }
  self->watch = g_unix_fd_source_new (self->watch_fd, G_IO_IN);
  g_source_set_static_name (self->watch, "vhostd block image");
  g_source_set_callback (self->watch, (GSourceFunc) (void (*) (void)) on_image_event, self, NULL);
  g_source_attach (self->watch, context);
}

/* ---- Life ---- */

static gboolean
open_null (VhostdBlock *self, guint64 *size, GError **error)
{
  if (self->blk_file != NULL)
    return refuse (error, VHOST_ERROR_INVALID,
                   "driver=null has no image, but blk-file is %s; leave one of them away",
                   self->blk_file);
  if (self->size == 0 || self->size % self->logical_block_size != 0)
    return refuse (error, VHOST_ERROR_INVALID,
                   "size is %" G_GUINT64_FORMAT
                   " bytes, but it must be a multiple of the logical block size, %u",
                   self->size, self->logical_block_size);
  *size = self->size;
  return TRUE;
}

static gboolean
check_image (VhostdBlock *self, guint64 *size, GError **error)
{
  VhostdBlockImage *image = self->image;

  if (!vhostd_block_image_get_size (image, size, error))
    return FALSE;
  if (*size == 0)
    return refuse (error, VHOST_ERROR_INVALID,
                   "the image %s is empty: 0 bytes; give it a size (truncate -s 1G FILE)",
                   image->path);
  if (*size % self->logical_block_size != 0)
    return refuse (error, VHOST_ERROR_INVALID,
                   "the image %s has %" G_GUINT64_FORMAT
                   " bytes, which is no multiple of the logical block size, %u; is it a raw image?",
                   image->path, *size, self->logical_block_size);
  if (image->offset_alignment > self->logical_block_size)
    return refuse (error, VHOST_ERROR_INVALID,
                   "cache=direct on %s needs blocks of %u bytes, but the guest's have %u; use "
                   "logical-block-size=%u or cache=writeback",
                   image->path, image->offset_alignment, self->logical_block_size,
                   image->offset_alignment);
  return TRUE;
}

static gboolean
open_file (VhostdBlock *self, guint64 *size, GError **error)
{
  VhostdBlockImageFlags flags = 0;

  if (self->blk_file == NULL || self->blk_file[0] == '\0')
    return refuse (error, VHOST_ERROR_INVALID,
                   "no image was given; say blk-file=PATH, or driver=null for a disk of nothing");
  if (self->read_only)
    flags |= VHOSTD_BLOCK_IMAGE_READ_ONLY;
  if (self->cache == VHOSTD_BLOCK_CACHE_DIRECT)
    flags |= VHOSTD_BLOCK_IMAGE_DIRECT;
  self->image = vhostd_block_image_open (self->blk_file, flags, error);
  if (self->image == NULL)
    return FALSE;
  if (!check_image (self, size, error))
    {
      g_clear_pointer (&self->image, vhostd_block_image_close);
      return FALSE;
    }
  return TRUE;
}

/* Called: control. */
static gboolean
vhostd_block_start (VhostBackend *backend, GError **error)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);
  gsize id_length = self->serial != NULL ? strlen (self->serial) : 0;
  guint64 size;

  if ((self->logical_block_size & (self->logical_block_size - 1)) != 0)
    return refuse (error, VHOST_ERROR_INVALID,
                   "logical-block-size is %u, but it must be a power of two, %d to %d",
                   self->logical_block_size, MIN_BLOCK_SIZE, MAX_BLOCK_SIZE);
  if (id_length > sizeof self->id)
    return refuse (error, VHOST_ERROR_INVALID,
                   "serial has %" G_GSIZE_FORMAT " bytes, but a disk's has %d at most", id_length,
                   VIRTIO_BLK_ID_BYTES);
  if (!(self->driver == VHOSTD_BLOCK_DRIVER_NULL ? open_null (self, &size, error)
                                                 : open_file (self, &size, error)))
    return FALSE;

  memset (self->id, 0, sizeof self->id);
  if (id_length > 0)
    memcpy (self->id, self->serial, id_length);
  self->is_read_only = self->read_only;
  self->zero_reads = self->read_zeroes;
  self->can_discard = self->image == NULL || self->image->can_discard;
  self->block_mask = self->logical_block_size - 1;
  self->memory_mask = self->image != NULL ? self->image->memory_alignment - 1 : 0;
  self->length_mask = self->image != NULL ? self->image->offset_alignment - 1 : 0;
  fill_config (self, size >> VHOSTD_BLOCK_SECTOR_SHIFT);
  update_write_mode (self, vhost_backend_get_acked_features (backend));
  if (self->image != NULL)
    start_watch (self);
  self->started = TRUE;
  return TRUE;
}

/* Called: control. */
static void
vhostd_block_suspend (VhostBackend *backend)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);

  if (self->locked)
    vhostd_block_image_unlock (self->image);
  self->locked = FALSE;
}

/* Called: control; no queue runs any more. */
static void
vhostd_block_stop (VhostBackend *backend)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);

  stop_watch (self);
  vhostd_block_suspend (backend);
  g_clear_pointer (&self->image, vhostd_block_image_close);
  self->started = FALSE;
}

/* Called: control. */
static gboolean
vhostd_block_activate (VhostBackend *backend, GError **error)
{
  VhostdBlock *self = VHOSTD_BLOCK (backend);

  if (self->image != NULL && !self->locked)
    {
      if (!vhostd_block_image_lock (self->image, error))
        return FALSE;
      self->locked = TRUE;
    }
  /* Whoever had it before may have changed its size, and block devices do not tell. */
  vhostd_block_refresh (backend);
  return TRUE;
}

/* ---- Object ---- */

static void
vhostd_block_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostdBlock *self = VHOSTD_BLOCK (object);

  switch (id)
    {
    case PROP_BLK_FILE:
      g_value_set_string (value, self->blk_file);
      break;
    case PROP_READ_ONLY:
      g_value_set_boolean (value, self->read_only);
      break;
    case PROP_SERIAL:
      g_value_set_string (value, self->serial);
      break;
    case PROP_LOGICAL_BLOCK_SIZE:
      g_value_set_uint (value, self->logical_block_size);
      break;
    case PROP_CACHE:
      g_value_set_enum (value, self->cache);
      break;
    case PROP_DRIVER:
      g_value_set_enum (value, self->driver);
      break;
    case PROP_SIZE:
      g_value_set_uint64 (value, self->size);
      break;
    case PROP_READ_ZEROES:
      g_value_set_boolean (value, self->read_zeroes);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

/* A change while the back-end runs counts from its next start on. */
static void
vhostd_block_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostdBlock *self = VHOSTD_BLOCK (object);
  g_auto (GValue) old = G_VALUE_INIT;

  g_value_init (&old, G_PARAM_SPEC_VALUE_TYPE (pspec));
  vhostd_block_get_property (object, id, &old, pspec);
  if (g_param_values_cmp (pspec, &old, value) == 0)
    return;
  switch (id)
    {
    case PROP_BLK_FILE:
      g_free (self->blk_file);
      self->blk_file = g_value_dup_string (value);
      break;
    case PROP_READ_ONLY:
      self->read_only = g_value_get_boolean (value);
      break;
    case PROP_SERIAL:
      g_free (self->serial);
      self->serial = g_value_dup_string (value);
      break;
    case PROP_LOGICAL_BLOCK_SIZE:
      self->logical_block_size = g_value_get_uint (value);
      break;
    case PROP_CACHE:
      self->cache = g_value_get_enum (value);
      break;
    case PROP_DRIVER:
      self->driver = g_value_get_enum (value);
      break;
    case PROP_SIZE:
      self->size = g_value_get_uint64 (value);
      break;
    case PROP_READ_ZEROES:
      self->read_zeroes = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      return;
    }
  g_object_notify_by_pspec (object, pspec);
}

static void
vhostd_block_finalize (GObject *object)
{
  VhostdBlock *self = VHOSTD_BLOCK (object);

  if (self->started)
    vhostd_block_stop (VHOST_BACKEND (object));
  g_free (self->blk_file);
  g_free (self->serial);
  G_OBJECT_CLASS (vhostd_block_parent_class)->finalize (object);
}

static void
vhostd_block_class_init (VhostdBlockClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);
  /* What a disk is does not change under a guest. */
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhostd_block_get_property;
  object_class->set_property = vhostd_block_set_property;
  object_class->finalize = vhostd_block_finalize;

  backend_class->get_features = vhostd_block_get_features;
  backend_class->features_acked = vhostd_block_features_acked;
  backend_class->set_config = vhostd_block_set_config;
  backend_class->reset = vhostd_block_reset;
  backend_class->start = vhostd_block_start;
  backend_class->stop = vhostd_block_stop;
  backend_class->activate = vhostd_block_activate;
  backend_class->suspend = vhostd_block_suspend;
  backend_class->process_queue = vhostd_block_process_queue;

  vhost_backend_class_set_device (backend_class, NAME, VIRTIO_ID, MAX_QUEUES);
  vhost_backend_class_set_chain_data_size (backend_class, vhostd_block_request_get_size ());
  vhost_backend_class_add_capability (backend_class, "read-only");
  vhost_backend_class_add_capability (backend_class, "blk-file");

  properties[PROP_BLK_FILE]
      = g_param_spec_string ("blk-file", NULL, "Image: a raw file or a block device", NULL, flags);
  properties[PROP_READ_ONLY] = g_param_spec_boolean (
      "read-only", NULL, "The guest may not write; others may read along", FALSE, flags);
  properties[PROP_SERIAL] = g_param_spec_string (
      "serial", NULL, "Name by which the guest knows the disk, at most 20 bytes", NULL, flags);
  properties[PROP_LOGICAL_BLOCK_SIZE] = g_param_spec_uint (
      "logical-block-size", NULL, "Smallest unit that the guest reads and writes, in bytes",
      MIN_BLOCK_SIZE, MAX_BLOCK_SIZE, MIN_BLOCK_SIZE, flags);
  properties[PROP_CACHE] = g_param_spec_enum (
      "cache", NULL,
      "When writes are durable: after a flush (writeback), at once (writethrough), after a flush "
      "and past the host's page cache (direct)",
      vhostd_block_cache_get_type (), VHOSTD_BLOCK_CACHE_WRITEBACK, flags);
  properties[PROP_DRIVER] = g_param_spec_enum (
      "driver", NULL, "What is behind the disk: an image (file), nothing (null, to measure)",
      vhostd_block_driver_get_type (), VHOSTD_BLOCK_DRIVER_FILE, flags);
  properties[PROP_SIZE]
      = g_param_spec_uint64 ("size", NULL, "Size of the disk of nothing, in bytes", 0, G_MAXINT64,
                             DEFAULT_NULL_SIZE, flags);
  properties[PROP_READ_ZEROES] = g_param_spec_boolean (
      "read-zeroes", NULL, "Reads of the disk of nothing give zeros, else they touch no memory",
      FALSE, flags);
  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhostd_block_init (VhostdBlock *self)
{
  self->logical_block_size = MIN_BLOCK_SIZE;
  self->size = DEFAULT_NULL_SIZE;
  self->watch_fd = -1;
  atomic_init (&self->capacity, 0);
  atomic_init (&self->writethrough, FALSE);
  atomic_init (&self->last_warning, 0);
  atomic_init (&self->unreported, 0);
}
