/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's vIOMMU. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

VHOST_SESSION_HANDLER (iotlb_msg)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}
