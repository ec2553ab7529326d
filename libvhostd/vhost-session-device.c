/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages that only some kinds of device know. */
#include "config.h"

#include "vhost-error.h"
#include "vhost-session-private.h"

VHOST_SESSION_HANDLER (send_rarp)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (net_set_mtu)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (create_crypto_session)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (close_crypto_session)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

VHOST_SESSION_HANDLER (gpu_set_socket)
{
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_REFUSED, "it is not offered here");
  return VHOST_SESSION_REFUSED;
}

guint64
vhost_session_get_device_protocol_bits (VhostSession *self)
{
  return 0;
}
