/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-daemon.h"

G_BEGIN_DECLS

#define VHOST_TYPE_SERVICE (vhost_service_get_type ())
VHOST_AVAILABLE_IN_0_1
G_DECLARE_FINAL_TYPE (VhostService, vhost_service, VHOST, SERVICE, GObject)

VHOST_AVAILABLE_IN_0_1
VhostService *vhost_service_new (GDBusConnection *connection);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_service_add (VhostService *self, VhostDaemon *daemon, GError **error);
VHOST_AVAILABLE_IN_0_1
gboolean vhost_service_remove (VhostService *self, VhostDaemon *daemon);
VHOST_AVAILABLE_IN_0_1
const char *vhost_service_get_bus_name (VhostService *self);

G_END_DECLS
