/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The umbrella header: the only one that users include. */
#pragma once

#include "vhost-backend-main.h"
#include "vhost-backend.h"
#include "vhost-chain.h"
#include "vhost-daemon.h"
#include "vhost-enums.h"
#include "vhost-error.h"
#include "vhost-filter.h"
#include "vhost-frontend-queue.h"
#include "vhost-frontend.h"
#include "vhost-io.h"
#include "vhost-kick-source.h"
#include "vhost-memory.h"
#include "vhost-queue.h"
#include "vhost-service.h"
#include "vhost-session.h"
#include "vhost-types.h"
#include "vhost-version-macros.h"
#include "vhost-worker.h"
