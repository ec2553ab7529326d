/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

VHOST_AVAILABLE_IN_0_1
int vhost_backend_main (GType backend_type, int argc, char **argv);

G_END_DECLS
