/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_ERROR (vhost_error_quark ())

typedef enum
{
  VHOST_ERROR_FAILED,
  VHOST_ERROR_INVALID,
  VHOST_ERROR_SOCKET,
  VHOST_ERROR_DISCONNECTED,
  VHOST_ERROR_PROTOCOL,
  VHOST_ERROR_NOT_NEGOTIATED,
  VHOST_ERROR_REFUSED,
  VHOST_ERROR_NO_SHARED_MEMORY,
  VHOST_ERROR_RING,
  VHOST_ERROR_BACKEND,
  VHOST_ERROR_BUSY,
  VHOST_ERROR_TIMED_OUT,
} VhostError;

VHOST_AVAILABLE_IN_0_1
GQuark vhost_error_quark (void);

G_END_DECLS
