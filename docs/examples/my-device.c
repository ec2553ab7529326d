/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: CC0-1.0 */
/* An entropy device: the guest asks for random bytes, the host's kernel gives them, or nothing when
 * it is told to. Copy it and make it yours. */
#include <libvhostd.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

G_DECLARE_FINAL_TYPE (MyDevice, my_device, MY, DEVICE, VhostBackend)

struct _MyDevice
{
  VhostBackend parent_instance;
  guint fail_every;
  guint seen; /* the worker's */
};

G_DEFINE_FINAL_TYPE (MyDevice, my_device, VHOST_TYPE_BACKEND)

/* On a worker thread, once per request. The segments are the guest's own memory: nothing is copied.
 */
static void
my_device_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  MyDevice *self = MY_DEVICE (backend);
  guint n_segments;
  const struct iovec *segments = vhost_chain_get_writable (chain, &n_segments);
  gsize written = 0;

  if (++self->seen, self->fail_every > 0 && self->seen % self->fail_every == 0)
    n_segments = 0;
  for (guint i = 0; i < n_segments; i++)
    {
      gssize got = getrandom (segments[i].iov_base, segments[i].iov_len, 0);

      written += MAX (got, 0);
      if (got < 0 || (gsize) got < segments[i].iov_len)
        break; /* the driver is told how much it got, and asks again */
    }
  vhost_chain_complete (chain, written);
}

/* A property is an option, a key of a device file, and an option over D-Bus. */
static void
my_device_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  MY_DEVICE (object)->fail_every = g_value_get_uint (value);
}

static void
my_device_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  g_value_set_uint (value, MY_DEVICE (object)->fail_every);
}

static void
my_device_class_init (MyDeviceClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->set_property = my_device_set_property;
  G_OBJECT_CLASS (klass)->get_property = my_device_get_property;
  backend_class->process_chain = my_device_process_chain;
  vhost_backend_class_set_device (backend_class, "rng", VIRTIO_ID_RNG, 1);
  g_object_class_install_property (
      G_OBJECT_CLASS (klass), 1,
      g_param_spec_uint ("fail-every", NULL, "Answer every Nth request with nothing (0: never)", 0,
                         G_MAXUINT, 0, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS));
}

static void
my_device_init (MyDevice *self)
{
}

int
main (int argc, char **argv)
{
  return vhost_backend_main (my_device_get_type (), argc, argv);
}
