/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration space of a device, from both sides, and the word to the front-end that it has
 * changed. Must not trust an offset, a size or a flag of the front-end. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

#include <string.h>

#include "vhost-error.h"

#define CONFIG_SPACE_MAX VHOST_BACKEND_CONFIG_SPACE_MAX

/* Called: control. */
GBytes *
vhost_backend_real_get_config (VhostBackend *self, GError **error)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);

  return g_bytes_new (priv->config_space, priv->config_length);
}

static gboolean
is_suspended (VhostBackendPrivate *priv)
{
  return priv->peer != NULL && priv->peer->is_suspended != NULL
         && priv->peer->is_suspended (priv->session);
}

/* Called: control. Writes all of @bytes or nothing. */
gboolean
vhost_backend_real_set_config (VhostBackend *self, guint offset, GBytes *bytes,
                               VhostConfigFlags flags, GError **error)
{
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  gboolean everything = flags == VHOST_CONFIG_MIGRATION && is_suspended (priv);
  guint8 old[CONFIG_SPACE_MAX];
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  if (size == 0 || size > CONFIG_SPACE_MAX || offset > CONFIG_SPACE_MAX - size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%" G_GSIZE_FORMAT " bytes at offset %u do not fit into the %d bytes of a "
                   "configuration space",
                   size, offset, CONFIG_SPACE_MAX);
      return FALSE;
    }
  /* What the driver reads decides what a change is; a subclass's get_config may put more there than
   * we store. */
  if (!vhost_backend_read_config (self, offset, (guint32) size, old, error))
    return FALSE;

  for (gsize i = 0; i < size; i++)
    {
      gsize at = offset + i;
      gboolean stored = at < priv->config_length;
      /* A bit of the mask that is clear is a bit that may not change. */
      guint8 allowed = 0;

      if (stored && everything)
        allowed = 0xff;
      else if (stored && priv->writable_mask != NULL)
        allowed = priv->writable_mask[at];
      if (((old[i] ^ data[i]) & ~allowed) != 0)
        {
          g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                       "byte %" G_GSIZE_FORMAT " of the configuration space cannot be changed from "
                       "0x%02x to 0x%02x: it is not writable",
                       at, old[i], data[i]);
          return FALSE;
        }
    }

  if (offset < priv->config_length)
    memcpy (priv->config_space + offset, data, MIN (size, priv->config_length - offset));
  return TRUE;
}

gboolean
vhost_backend_has_config (VhostBackend *self)
{
  VhostBackend *device = vhost_backend_get_device (self);

  return vhost_backend_get_private (device)->config_length > 0
         || VHOST_BACKEND_GET_CLASS (device)->get_config != vhost_backend_real_get_config;
}

/* What a request of either direction must keep to. */
static gboolean
check_config_range (VhostBackend *self, guint32 offset, guint32 size, GError **error)
{
  if (!vhost_backend_has_config (self))
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED,
                   "the %s device has no configuration space",
                   vhost_backend_get_device_name (self));
      return FALSE;
    }
  /* C2, C3: the difference cannot wrap, the sum could. */
  if (size == 0 || size > CONFIG_SPACE_MAX || offset > CONFIG_SPACE_MAX - size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "%u bytes at offset %u are not 1 to %d bytes within the %d of a configuration "
                   "space",
                   size, offset, CONFIG_SPACE_MAX, CONFIG_SPACE_MAX);
      return FALSE;
    }
  return TRUE;
}

gboolean
vhost_backend_read_config (VhostBackend *self, guint32 offset, guint32 size, guint8 *data,
                           GError **error)
{
  g_autoptr (GBytes) bytes = NULL;
  GError *local_error = NULL;
  const guint8 *space;
  gsize length;

  if (!check_config_range (self, offset, size, error))
    return FALSE;
  bytes = VHOST_BACKEND_GET_CLASS (self)->get_config (self, &local_error);
  if (bytes == NULL || local_error != NULL)
    {
      vhost_backend_propagate_failure (self, "get_config", local_error, error);
      return FALSE;
    }

  space = g_bytes_get_data (bytes, &length);
  memset (data, 0, size);
  if (offset < length)
    memcpy (data, space + offset, MIN (size, length - offset));
  return TRUE;
}

gboolean
vhost_backend_write_config (VhostBackend *self, guint32 offset, guint32 size, const guint8 *data,
                            guint32 flags, GError **error)
{
  VhostConfigFlags effective = VHOST_CONFIG_WRITABLE;
  g_autoptr (GBytes) bytes = NULL;
  GError *local_error = NULL;

  if (!check_config_range (self, offset, size, error))
    return FALSE;
  if (flags != VHOST_CONFIG_WRITABLE && flags != VHOST_CONFIG_MIGRATION)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_INVALID,
                   "flags 0x%x of a configuration write are unknown: 0 (driver) or 1 (migration)",
                   flags);
      return FALSE;
    }
  /* C4: some front-ends say "migration" for every write of a running driver. It must not open what
   * the driver may not change, so it counts only while the device is suspended. */
  if (flags == VHOST_CONFIG_MIGRATION && is_suspended (vhost_backend_get_private (self)))
    effective = VHOST_CONFIG_MIGRATION;

  bytes = g_bytes_new (data, size);
  if (!VHOST_BACKEND_GET_CLASS (self)->set_config (self, offset, bytes, effective, &local_error)
      || local_error != NULL)
    {
      vhost_backend_propagate_failure (self, "set_config", local_error, error);
      return FALSE;
    }
  vhost_backend_emit_config_written (self, offset, size);
  return TRUE;
}

/**
 * vhost_backend_set_config_space:
 * @self: a back-end
 * @data: (array length=length) (element-type guint8) (nullable): the configuration space as the
 *   driver reads it: little-endian fields; it is copied
 * @length: its length in bytes, 0 to 256; 0: the device has none
 * @writable_mask: (array length=length) (element-type guint8) (nullable): as many bytes: the bits
 *   that are set may be changed by the driver (0xff: all of the byte); %NULL: the driver may change
 *   nothing
 *
 * Gives the device its configuration space. The base class then answers reads and writes: a write
 * that would change anything that is not writable is refused as a whole.
 *
 * A running front-end learns of a change by [method@Backend.notify_config].
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_set_config_space (VhostBackend *self, gconstpointer data, gsize length,
                                gconstpointer writable_mask)
{
  VhostBackendPrivate *priv;
  guint8 *space;
  guint8 *mask;

  g_return_if_fail (VHOST_IS_BACKEND (self));
  g_return_if_fail (length <= CONFIG_SPACE_MAX);
  g_return_if_fail (data != NULL || length == 0);

  priv = vhost_backend_get_private (self);
  /* Copied before the old ones go: @data may be the old one. */
  space = g_memdup2 (data, length);
  mask = writable_mask != NULL ? g_memdup2 (writable_mask, length) : NULL;
  g_free (priv->config_space);
  g_free (priv->writable_mask);
  priv->config_space = space;
  priv->writable_mask = mask;
  priv->config_length = length;
}

/* Called: control. */
static gboolean
on_notify_config (gpointer user_data)
{
  VhostBackend *self = user_data;
  VhostBackendPrivate *priv = vhost_backend_get_private (self);
  const VhostBackendPeer *peer;
  gpointer session;

  pthread_mutex_lock (&priv->peer_lock);
  /* The session may have ended while this was on its way, and another have begun, in another
   * context even: that one reads the space anew by itself. */
  peer = priv->control == g_thread_self () ? priv->peer : NULL;
  session = priv->session;
  if (peer != NULL)
    priv->notify_pending = FALSE;
  pthread_mutex_unlock (&priv->peer_lock);

  if (peer != NULL && peer->config_changed != NULL)
    peer->config_changed (session);
  return G_SOURCE_REMOVE;
}

/**
 * vhost_backend_notify_config:
 * @self: a back-end
 *
 * Tells the front-end that the configuration space has changed, for example because the disk has
 * grown (vhost-user specification, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG). Nothing happens without
 * a front-end, or with one that does not take such messages.
 *
 * Called on another thread than the session's, it is handed over to that one; several calls that
 * were not handed over yet count as one.
 *
 * Thread: any.
 *
 * Since: 0.1
 */
void
vhost_backend_notify_config (VhostBackend *self)
{
  VhostBackendPrivate *priv;
  g_autoptr (GMainContext) context = NULL;
  g_autoptr (GSource) source = NULL;

  g_return_if_fail (VHOST_IS_BACKEND (self));

  priv = vhost_backend_get_private (self);
  pthread_mutex_lock (&priv->peer_lock);
  if (priv->context != NULL && priv->control != g_thread_self () && !priv->notify_pending)
    {
      context = g_main_context_ref (priv->context);
      priv->notify_pending = TRUE;
    }
  if (priv->context == NULL || priv->control != g_thread_self ())
    {
      pthread_mutex_unlock (&priv->peer_lock);
      if (context == NULL)
        return;
      /* Not g_main_context_invoke (): where no loop runs yet it would call on this thread. */
      source = g_idle_source_new ();
      g_source_set_priority (source, G_PRIORITY_DEFAULT);
      g_source_set_static_name (source, "vhost-backend-notify-config");
      g_source_set_callback (source, on_notify_config, g_object_ref (self), g_object_unref);
      g_source_attach (source, context);
      return;
    }
  pthread_mutex_unlock (&priv->peer_lock);
  on_notify_config (self);
}
