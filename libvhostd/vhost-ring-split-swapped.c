/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The split ring of a legacy guest whose byte order is big-endian (V5). Must not hold code of its
 * own. */
#define VHOST_RING_SWAPPED 1

#include "vhost-ring-split.c"
