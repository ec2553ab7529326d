/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block device as a back-end type. Must not need more than the public header. */
#pragma once

#include <libvhostd.h>

G_BEGIN_DECLS

#define VHOSTD_TYPE_BLOCK (vhostd_block_get_type ())

GType vhostd_block_get_type (void);
void vhostd_block_refresh (VhostBackend *backend);

G_END_DECLS
