/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's own state, saved and loaded. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

VHOST_SESSION_HANDLER (set_device_state_fd)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (check_device_state)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}
