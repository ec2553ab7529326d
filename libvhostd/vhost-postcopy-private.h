/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A userfaultfd over guest memory whose pages are still to come from another host. Knows no
 * message. Not thread safe: one thread at a time; other threads may be waiting for pages. */
#pragma once

#include "vhost-memory-private.h"

typedef struct _VhostPostcopy VhostPostcopy;

/* Whether this process may have a userfaultfd that system calls honour too. Looked up once. Thread:
 * any. */
gboolean vhost_postcopy_is_possible (void);

VhostPostcopy *vhost_postcopy_new (GError **error);
/* Whoever still waits for a page goes on with what there is: END. */
void vhost_postcopy_free (VhostPostcopy *self);
/* Pages that are missing will not come. Replaces all registered memory with such that cannot be
 * read: whoever waits or comes later gets EFAULT or SIGBUS (which vhost-sigbus survives), never
 * zeros that the guest has not written. */
void vhost_postcopy_fail (VhostPostcopy *self);

/* For the front-end; stays ours. */
int vhost_postcopy_get_fd (VhostPostcopy *self);
/* @memory is what the device uses now: new mappings are registered, those that are in it no more
 * are let go. */
gboolean vhost_postcopy_register (VhostPostcopy *self, VhostMemory *memory, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostPostcopy, vhost_postcopy_free)
