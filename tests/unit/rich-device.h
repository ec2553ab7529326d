/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that has what only some devices have, for the tests of the files around it, and a class
 * to take it from. There is one such device at a time. */
#pragma once

#include "vhost-backend-private.h"
#include "vhost-error.h"
#include "vhost-fd-private.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the device was told, and what it was asked. */
typedef struct
{
  gboolean fail; /* with an error */
  gboolean mute; /* without one */
  gboolean hold; /* state transfers end when they are cancelled */
  gboolean late; /* ... not even then, but when the test says so */
  GTask *held;   /* (owned) (nullable) */
  GBytes *state; /* (owned) (nullable) */
  guint n_saves, n_loads, n_cancelled;
  guint8 mac[6];
  guint n_announces;
  guint mtu;
  gsize crypto_size;
  gint64 crypto_id; /* the next one */
  gint64 crypto_closed;
  int gpu_fd; /* (owned) */
} RichRecord;

static RichRecord rich = { .gpu_fd = -1 };

static inline void
rich_clear (void)
{
  g_clear_object (&rich.held);
  g_clear_pointer (&rich.state, g_bytes_unref);
  vhost_fd_clear (&rich.gpu_fd);
  rich = (RichRecord){ .gpu_fd = -1 };
}

static inline gboolean
rich_try (GError **error)
{
  if (rich.fail)
    g_set_error (error, VHOST_ERROR, VHOST_ERROR_BUSY, "told to fail");
  return !rich.fail && !rich.mute;
}

static inline GBytes *
rich_get_state (VhostBackend *backend, GError **error)
{
  rich.n_saves++;
  return rich_try (error) ? g_bytes_ref (rich.state) : NULL;
}

static inline gboolean
rich_set_state (VhostBackend *backend, GBytes *state, GError **error)
{
  rich.n_loads++;
  if (!rich_try (error))
    return FALSE;
  g_clear_pointer (&rich.state, g_bytes_unref);
  rich.state = g_bytes_ref (state);
  return TRUE;
}

static inline gboolean
rich_on_cancelled (GCancellable *cancellable, gpointer data)
{
  rich.n_cancelled++;
  if (!rich.late)
    {
      g_task_return_error_if_cancelled (data);
      g_clear_object (&rich.held);
    }
  return G_SOURCE_REMOVE;
}

static inline void
rich_save_state_async (VhostBackend *backend, GOutputStream *stream, GCancellable *cancellable,
                       GAsyncReadyCallback callback, gpointer user_data)
{
  GSource *source;

  if (!rich.hold)
    {
      vhost_backend_real_save_state_async (backend, stream, cancellable, callback, user_data);
      return;
    }
  rich.held = g_task_new (backend, cancellable, callback, user_data);
  g_task_set_check_cancellable (rich.held, FALSE);
  source = g_cancellable_source_new (cancellable);
  g_task_attach_source (rich.held, source, G_SOURCE_FUNC (rich_on_cancelled));
  g_source_unref (source);
}

static inline gboolean
rich_announce (VhostBackend *backend, GBytes *mac, GError **error)
{
  g_assert_cmpuint (g_bytes_get_size (mac), ==, 6);
  memcpy (rich.mac, g_bytes_get_data (mac, NULL), 6);
  rich.n_announces++;
  return rich_try (error);
}

static inline gboolean
rich_set_mtu (VhostBackend *backend, guint mtu, GError **error)
{
  rich.mtu = mtu;
  return rich_try (error);
}

static inline gint64
rich_create_crypto_session (VhostBackend *backend, GBytes *description, GError **error)
{
  rich.crypto_size = g_bytes_get_size (description);
  return rich_try (error) ? rich.crypto_id : -1;
}

static inline gboolean
rich_close_crypto_session (VhostBackend *backend, gint64 id, GError **error)
{
  rich.crypto_closed = id;
  return rich_try (error);
}

static inline void
rich_set_gpu_socket (VhostBackend *backend, int fd)
{
  vhost_fd_clear (&rich.gpu_fd);
  rich.gpu_fd = fd;
}

static inline void
rich_fill_class (VhostBackendClass *klass)
{
  klass->get_state = rich_get_state;
  klass->set_state = rich_set_state;
  klass->save_state_async = rich_save_state_async;
  klass->announce = rich_announce;
  klass->set_mtu = rich_set_mtu;
  klass->create_crypto_session = rich_create_crypto_session;
  klass->close_crypto_session = rich_close_crypto_session;
  klass->set_gpu_socket = rich_set_gpu_socket;
}

/* ---- A class of its own ---- */

typedef struct
{
  VhostBackend parent_instance;
} RichDevice;

typedef struct
{
  VhostBackendClass parent_class;
} RichDeviceClass;

GType rich_device_get_type (void);
G_DEFINE_TYPE (RichDevice, rich_device, VHOST_TYPE_BACKEND)

static inline void
rich_device_class_init (RichDeviceClass *klass)
{
  rich_fill_class (VHOST_BACKEND_CLASS (klass));
  vhost_backend_class_set_device (VHOST_BACKEND_CLASS (klass), "rich", 43, 2);
}

static inline void
rich_device_init (RichDevice *self)
{
}

static inline VhostBackend *
rich_device_new (void)
{
  rich_clear ();
  return g_object_new (rich_device_get_type (), "num-queues", 2, NULL);
}

/* ---- Around it ---- */

static inline int
rich_memfd (void)
{
  int fd = memfd_create ("rich", MFD_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

/* Whatever is ready is done. */
static inline void
rich_settle (void)
{
  while (g_main_context_iteration (NULL, FALSE))
    ;
}

static inline guint
rich_count_fds (void)
{
  DIR *dir;
  guint n = 0;

  /* What GLib opens at first use is there. */
  g_object_unref (g_task_new (NULL, NULL, NULL, NULL));
  rich_settle ();
  vhost_fd_settle ();
  dir = opendir ("/proc/self/fd");
  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n;
}

/* Runs the main context until @condition. */
#define RICH_ITERATE_UNTIL(condition)                                                              \
  G_STMT_START                                                                                     \
  {                                                                                                \
    gint64 _deadline = g_get_monotonic_time () + 20 * G_USEC_PER_SEC;                              \
    while (!(condition))                                                                           \
      {                                                                                            \
        g_assert_cmpint (g_get_monotonic_time (), <, _deadline);                                   \
        g_main_context_iteration (NULL, FALSE);                                                    \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END
