/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's front-ends of some devices do against the text of the protocol, and without which
 * these devices would not work there. Each is bound to its type of device, where it harms nobody
 * else. */
#include "config.h"

#include "vhost-session-private.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_scsi.h>

/* vhost-user-scsi offers CHANGE to the guest without having asked the back-end, and acks what the
 * guest took. With it a driver only says that it hears of new parameters, should there be any. */
guint64
vhost_session_get_ignored_features (VhostSession *self)
{
  return vhost_backend_get_virtio_id (self->backend) == VIRTIO_ID_SCSI
             ? VHOST_WIRE_BIT (VIRTIO_SCSI_F_CHANGE)
             : 0;
}

/* cryptodev-vhost-user acks bit 30, which makes rings start disabled, and never enables them. */
gboolean
vhost_session_starts_enabled (VhostSession *self)
{
  return vhost_backend_get_virtio_id (self->backend) == VIRTIO_ID_CRYPTO;
}
