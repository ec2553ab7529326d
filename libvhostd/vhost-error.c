/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's one error domain and its names on D-Bus. Must not grow a code that no caller can
 * act upon. */
#include "vhost-error.h"

/* The major API version is part of the name, as it is of the bus name. */
#define VHOST_ERROR_DBUS_PREFIX "io.github.libvhostd1.Error."

static const GDBusErrorEntry vhost_error_entries[] = {
  { VHOST_ERROR_FAILED, VHOST_ERROR_DBUS_PREFIX "Failed" },
  { VHOST_ERROR_INVALID, VHOST_ERROR_DBUS_PREFIX "Invalid" },
  { VHOST_ERROR_SOCKET, VHOST_ERROR_DBUS_PREFIX "Socket" },
  { VHOST_ERROR_DISCONNECTED, VHOST_ERROR_DBUS_PREFIX "Disconnected" },
  { VHOST_ERROR_PROTOCOL, VHOST_ERROR_DBUS_PREFIX "Protocol" },
  { VHOST_ERROR_NOT_NEGOTIATED, VHOST_ERROR_DBUS_PREFIX "NotNegotiated" },
  { VHOST_ERROR_REFUSED, VHOST_ERROR_DBUS_PREFIX "Refused" },
  { VHOST_ERROR_NO_SHARED_MEMORY, VHOST_ERROR_DBUS_PREFIX "NoSharedMemory" },
  { VHOST_ERROR_RING, VHOST_ERROR_DBUS_PREFIX "Ring" },
  { VHOST_ERROR_BACKEND, VHOST_ERROR_DBUS_PREFIX "Backend" },
  { VHOST_ERROR_BUSY, VHOST_ERROR_DBUS_PREFIX "Busy" },
  { VHOST_ERROR_TIMED_OUT, VHOST_ERROR_DBUS_PREFIX "TimedOut" },
};

/* A code without a D-Bus name would travel as an encoded quark that no client can match. */
G_STATIC_ASSERT (G_N_ELEMENTS (vhost_error_entries) == VHOST_ERROR_TIMED_OUT + 1);

/**
 * VHOST_ERROR:
 *
 * Error domain of the library; codes are those of [enum@Vhost.Error].
 *
 * Since: 0.1
 */

/**
 * VhostError:
 * @VHOST_ERROR_FAILED: something went wrong that fits no other code
 * @VHOST_ERROR_INVALID: an argument, option or property has a value that cannot be used
 * @VHOST_ERROR_SOCKET: a socket could not be made, bound, connected, read or written
 * @VHOST_ERROR_DISCONNECTED: the other end is gone
 * @VHOST_ERROR_PROTOCOL: the other end broke the vhost-user protocol
 * @VHOST_ERROR_NOT_NEGOTIATED: a message or call needs a feature that was not negotiated
 * @VHOST_ERROR_REFUSED: the other end answered a request with a failure
 * @VHOST_ERROR_NO_SHARED_MEMORY: the front-end shares no (or not enough) guest memory
 * @VHOST_ERROR_RING: a virtqueue's layout or contents break the rules of VIRTIO
 * @VHOST_ERROR_BACKEND: the device itself failed
 * @VHOST_ERROR_BUSY: the object is in use or in a state that does not allow it now
 * @VHOST_ERROR_TIMED_OUT: the other end did not answer in time
 *
 * Codes of the %VHOST_ERROR domain.
 *
 * On D-Bus each is `io.github.libvhostd1.Error.` and the code's name, such as
 * `io.github.libvhostd1.Error.NoSharedMemory`.
 *
 * Since: 0.1
 */

/**
 * vhost_error_quark:
 *
 * Gets the quark of the %VHOST_ERROR domain.
 *
 * The first call also registers the domain's D-Bus error names, so that errors keep their code
 * over a bus.
 *
 * Thread: any.
 *
 * Returns: the quark
 *
 * Since: 0.1
 */
GQuark
vhost_error_quark (void)
{
  static gsize quark = 0;
  g_dbus_error_register_error_domain ("vhost-error-quark", &quark, vhost_error_entries,
                                      G_N_ELEMENTS (vhost_error_entries));
  return (GQuark) quark;
}
