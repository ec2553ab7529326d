/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

VHOST_AVAILABLE_IN_0_1
GSource *vhost_kick_source_new (VhostQueue *queue);

G_END_DECLS
