/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: CC0-1.0 */
/* An entropy device: the guest asks for random bytes, the host's kernel gives them. Copy it and
 * make it yours. */
#include <libvhostd.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

G_DECLARE_FINAL_TYPE (MyDevice, my_device, MY, DEVICE, VhostBackend)

struct _MyDevice
{
  VhostBackend parent_instance;
};

G_DEFINE_FINAL_TYPE (MyDevice, my_device, VHOST_TYPE_BACKEND)

/* On a worker thread, once per request. The segments are the guest's own memory: nothing is copied.
 */
static void
my_device_process_chain (VhostBackend *backend, VhostQueue *queue, VhostChain *chain)
{
  guint n_segments;
  const struct iovec *segments = vhost_chain_get_writable (chain, &n_segments);
  gsize written = 0;

  for (guint i = 0; i < n_segments; i++)
    {
      gssize got = getrandom (segments[i].iov_base, segments[i].iov_len, 0);

      written += MAX (got, 0);
      if (got < 0 || (gsize) got < segments[i].iov_len)
        break; /* the driver is told how much it got, and asks again */
    }
  vhost_chain_complete (chain, written);
}

static void
my_device_class_init (MyDeviceClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  backend_class->process_chain = my_device_process_chain;
  vhost_backend_class_set_device (backend_class, "rng", VIRTIO_ID_RNG, 1);
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
