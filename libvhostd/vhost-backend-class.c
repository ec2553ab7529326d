/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a back-end class says of its device: name, number, queues, per-request data, capabilities.
 * Must not know instances.
 *
 * How it works: all this is kept beside the class's GType, not in the class structure, because
 * scripts can call functions but cannot fill structures; a class without an entry of its own has
 * its parent's. */
#include "config.h"

#include "vhost-backend.h"
#include "vhost-backend-private.h"

/* More per request is a mistake: there are up to 32768 requests in a queue. */
#define CHAIN_DATA_MAX (1024 * 1024)

/* What one class said of itself. Lives as long as the type: for ever. */
typedef struct
{
  char *name; /* (nullable): not said */
  guint virtio_id;
  guint max_queues;
  gboolean main_context_only;
  gboolean has_chain_data_size;
  gsize chain_data_size;
  GPtrArray *capabilities; /* (owned) (nullable): of char*, NULL-terminated */
  GPtrArray *defaults;     /* (owned) (nullable): of char*: property and text in turn */
} ClassData;

static GQuark
class_data_quark (void)
{
  return g_quark_from_static_string ("vhost-backend-class-data");
}

/* The class's own entry, made if need be. */
static ClassData *
class_data_make (GType type)
{
  ClassData *data = g_type_get_qdata (type, class_data_quark ());

  if (data == NULL)
    {
      data = g_new0 (ClassData, 1);
      g_type_set_qdata (type, class_data_quark (), data);
    }
  return data;
}

/* The nearest class, from @type upwards, that called vhost_backend_class_set_device (); NULL: none.
 */
static const ClassData *
class_data_find_device (GType type)
{
  for (; type != 0; type = g_type_parent (type))
    {
      const ClassData *data = g_type_get_qdata (type, class_data_quark ());

      if (data != NULL && data->name != NULL)
        return data;
    }
  return NULL;
}

guint
vhost_backend_class_get_max_queues (VhostBackendClass *klass)
{
  const ClassData *data = class_data_find_device (G_TYPE_FROM_CLASS (klass));

  return data != NULL ? data->max_queues : VHOST_BACKEND_QUEUES_MAX;
}

guint
vhost_backend_class_get_virtio_id (VhostBackendClass *klass)
{
  const ClassData *data = class_data_find_device (G_TYPE_FROM_CLASS (klass));

  return data != NULL ? data->virtio_id : 0;
}

gsize
vhost_backend_class_get_chain_data_size (VhostBackendClass *klass)
{
  for (GType type = G_TYPE_FROM_CLASS (klass); type != 0; type = g_type_parent (type))
    {
      const ClassData *data = g_type_get_qdata (type, class_data_quark ());

      if (data != NULL && data->has_chain_data_size)
        return data->chain_data_size;
    }
  return 0;
}

gboolean
vhost_backend_class_is_main_context_only (VhostBackendClass *klass)
{
  for (GType type = G_TYPE_FROM_CLASS (klass); type != 0; type = g_type_parent (type))
    {
      const ClassData *data = g_type_get_qdata (type, class_data_quark ());

      if (data != NULL && data->main_context_only)
        return TRUE;
    }
  return FALSE;
}

const char *const *
vhost_backend_class_get_capabilities (VhostBackendClass *klass)
{
  static const char *const none[] = { NULL };

  for (GType type = G_TYPE_FROM_CLASS (klass); type != 0; type = g_type_parent (type))
    {
      const ClassData *data = g_type_get_qdata (type, class_data_quark ());

      /* An entry begins as a copy of the parent's: it is complete. */
      if (data != NULL && data->capabilities != NULL)
        return (const char *const *) data->capabilities->pdata;
    }
  return none;
}

const char *
vhost_backend_class_get_device_name (VhostBackendClass *klass)
{
  const ClassData *data = class_data_find_device (G_TYPE_FROM_CLASS (klass));

  return data != NULL ? data->name : G_OBJECT_CLASS_NAME (klass);
}

static gboolean
add_defaults (GType type, VhostPropertySet *set, GError **error)
{
  const ClassData *data = g_type_get_qdata (type, class_data_quark ());

  /* The parent's first: what a subclass says counts. */
  if (type != VHOST_TYPE_BACKEND && !add_defaults (g_type_parent (type), set, error))
    return FALSE;
  for (guint i = 0; data != NULL && data->defaults != NULL && i < data->defaults->len; i += 2)
    if (!vhost_property_set_add (set, g_ptr_array_index (data->defaults, i),
                                 g_ptr_array_index (data->defaults, i + 1), error))
      return FALSE;
  return TRUE;
}

gboolean
vhost_backend_class_add_option_defaults (VhostBackendClass *klass, VhostPropertySet *set,
                                         GError **error)
{
  return add_defaults (G_TYPE_FROM_CLASS (klass), set, error);
}

/**
 * vhost_backend_class_set_device:
 * @klass: the class
 * @name: the device type, as `--print-capabilities` and file names write it: `block`, `rng`, ...
 * @virtio_id: the VIRTIO device number (specification of VIRTIO, section 5)
 * @max_queues: how many queues such a device can have, 1 to 256
 *
 * Says what device the class is. Subclasses inherit it.
 *
 * To be called in class_init, or by a script right after the class was made.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_class_set_device (VhostBackendClass *klass, const char *name, guint virtio_id,
                                guint max_queues)
{
  ClassData *data;

  g_return_if_fail (klass != NULL);
  g_return_if_fail (name != NULL && name[0] != '\0');
  g_return_if_fail (max_queues >= 1 && max_queues <= VHOST_BACKEND_QUEUES_MAX);

  data = class_data_make (G_TYPE_FROM_CLASS (klass));
  /* Interned: names that were handed out stay valid. */
  data->name = (char *) g_intern_string (name);
  data->virtio_id = virtio_id;
  data->max_queues = max_queues;
}

/**
 * vhost_backend_class_set_chain_data_size:
 * @klass: the class
 * @size: in bytes, at most 1 MiB
 *
 * Asks for memory of the back-end's own in every request ([method@Chain.get_data]). Subclasses
 * inherit it; 0 is the default.
 *
 * Thread: control, before the daemon starts.
 *
 * Since: 0.1
 */
void
vhost_backend_class_set_chain_data_size (VhostBackendClass *klass, gsize size)
{
  ClassData *data;

  g_return_if_fail (klass != NULL);
  g_return_if_fail (size <= CHAIN_DATA_MAX);

  data = class_data_make (G_TYPE_FROM_CLASS (klass));
  data->has_chain_data_size = TRUE;
  data->chain_data_size = size;
}

/**
 * vhost_backend_class_set_main_context_only:
 * @klass: the class
 *
 * Makes the daemon serve the queues in its main context, whatever [property@Backend:workers] says:
 * for a language whose interpreter refuses calls from other threads, such as JavaScript. Subclasses
 * inherit it, and it cannot be taken back.
 *
 * Thread: control, before the daemon starts.
 *
 * Since: 0.1
 */
void
vhost_backend_class_set_main_context_only (VhostBackendClass *klass)
{
  g_return_if_fail (klass != NULL);

  class_data_make (G_TYPE_FROM_CLASS (klass))->main_context_only = TRUE;
}

/**
 * vhost_backend_class_add_capability:
 * @klass: the class
 * @capability: a word of the vhost-user program conventions: `blk-file`, `read-only`, ...
 *
 * Adds to the features that `--print-capabilities` lists. Subclasses inherit what was added before
 * they add one of their own.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_class_add_capability (VhostBackendClass *klass, const char *capability)
{
  ClassData *data;
  const char *const *have;

  g_return_if_fail (klass != NULL);
  g_return_if_fail (capability != NULL && capability[0] != '\0');

  have = vhost_backend_class_get_capabilities (klass);
  if (g_strv_contains (have, capability))
    return;

  data = class_data_make (G_TYPE_FROM_CLASS (klass));
  if (data->capabilities == NULL)
    {
      data->capabilities = g_ptr_array_new ();
      for (; *have != NULL; have++)
        g_ptr_array_add (data->capabilities, (gpointer) *have);
    }
  else
    {
      g_ptr_array_set_size (data->capabilities, (int) data->capabilities->len - 1);
    }
  g_ptr_array_add (data->capabilities, (gpointer) g_intern_string (capability));
  g_ptr_array_add (data->capabilities, NULL);
}

/**
 * vhost_backend_class_set_option_default:
 * @klass: the class
 * @property: name of one of its properties
 * @text: its value as the command line has it
 *
 * Says what a program of vhost_backend_main() takes for an option that is not given, where that is
 * not the property's own default: a device with three queues says `num-queues` and `3`. Subclasses
 * inherit it. Objects that are made otherwise are not concerned.
 *
 * Thread: control.
 *
 * Since: 0.1
 */
void
vhost_backend_class_set_option_default (VhostBackendClass *klass, const char *property,
                                        const char *text)
{
  ClassData *data;

  g_return_if_fail (klass != NULL);
  g_return_if_fail (property != NULL && text != NULL);

  data = class_data_make (G_TYPE_FROM_CLASS (klass));
  if (data->defaults == NULL)
    data->defaults = g_ptr_array_new ();
  g_ptr_array_add (data->defaults, (gpointer) g_intern_string (property));
  g_ptr_array_add (data->defaults, (gpointer) g_intern_string (text));
}
