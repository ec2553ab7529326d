/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of all public types, so that no header needs another for a pointer. */
#pragma once

#include <gio/gio.h>
#include <sys/uio.h>

#include "vhost-version-macros.h"

G_BEGIN_DECLS

typedef struct _VhostBackend VhostBackend;
typedef struct _VhostBackendClass VhostBackendClass;
typedef struct _VhostChain VhostChain;
typedef struct _VhostDaemon VhostDaemon;
typedef struct _VhostDaemonClass VhostDaemonClass;
typedef struct _VhostFilter VhostFilter;
typedef struct _VhostFilterClass VhostFilterClass;
typedef struct _VhostFrontend VhostFrontend;
typedef struct _VhostFrontendQueue VhostFrontendQueue;
typedef struct _VhostIo VhostIo;
typedef struct _VhostIoFile VhostIoFile;
typedef struct _VhostIoOp VhostIoOp;
typedef struct _VhostMemory VhostMemory;
typedef struct _VhostQueue VhostQueue;
typedef struct _VhostSession VhostSession;
typedef struct _VhostWorker VhostWorker;

G_END_DECLS
