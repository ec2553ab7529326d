/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The service's inside: vhost-service.c has the bus, the devices and who may do what, -device keeps
 * one device's properties and answers its methods, -monitor feeds those who watch. Thread: the one
 * that made the service; all of it. */
#pragma once

#include "vhost-service.h"

#include "vhost-dbus.h"

#define VHOST_SERVICE_PATH "/io/github/libvhostd1"
#define VHOST_SERVICE_NAME "io.github.libvhostd1"

/* What a method does once its caller may: it answers @invocation, now or later. */
typedef struct _VhostServiceDevice VhostServiceDevice;
typedef void (*VhostServiceAction) (VhostServiceDevice *device, GDBusMethodInvocation *invocation);

/* Finds out who calls and asks the program; then @action, or an error for the caller. Takes a
 * reference of @device for as long as it needs it. @invocation: (transfer full), as handlers get
 * it. */
void vhost_service_authorize (VhostService *self, VhostServiceDevice *device,
                              GDBusMethodInvocation *invocation, VhostServiceAction action);
void vhost_service_return_error (GDBusMethodInvocation *invocation, GError *error);

/* ---- A device ---- */

VhostServiceDevice *vhost_service_device_new (VhostService *service, VhostDaemon *daemon);
VhostServiceDevice *vhost_service_device_ref (VhostServiceDevice *self);
void vhost_service_device_unref (VhostServiceDevice *self);
/* Off the bus, and deaf for its daemon. */
void vhost_service_device_withdraw (VhostServiceDevice *self);
VhostDaemon *vhost_service_device_get_daemon (VhostServiceDevice *self);
VhostDbusDevice *vhost_service_device_get_skeleton (VhostServiceDevice *self);
/* The properties as they are now: (a{sv}). (transfer full) */
GVariant *vhost_service_device_describe (VhostServiceDevice *self);
/* GetStatistics' answer without the time: a(ua{st}). (transfer floating) */
GVariant *vhost_service_device_get_statistics (VhostServiceDevice *self);

/* ---- Watching ---- */

/* All who watch one device. */
typedef struct _VhostServiceMonitors VhostServiceMonitors;
VhostServiceMonitors *vhost_service_monitors_new (VhostServiceDevice *device);
void vhost_service_monitors_free (VhostServiceMonitors *self);
/* A new one for @caller; the end to read from, or -1. */
int vhost_service_monitors_open (VhostServiceMonitors *self, const char *caller, guint interval_ms,
                                 GError **error);
/* A line for everyone. @line: a{sv}; floating is taken. */
void vhost_service_monitors_tell (VhostServiceMonitors *self, const char *event, GVariant *line);

/* At most so many watch one device, and so many of those are one caller's. */
#define VHOST_SERVICE_MONITORS_MAX 64
#define VHOST_SERVICE_MONITORS_PER_CALLER 8
