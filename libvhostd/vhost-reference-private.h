/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reference counts in C11 atomics: GLib's are compiled into GLib, where the thread sanitizer cannot
 * see the ordering that they give. */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef _Atomic (guint) VhostReference;

static inline void
vhost_reference_init (VhostReference *self)
{
  atomic_init (self, 1);
}

static inline void
vhost_reference_take (VhostReference *self)
{
  atomic_fetch_add_explicit (self, 1, memory_order_relaxed);
}

/* TRUE: it was the last. acq_rel: whoever frees sees what the other holders wrote. */
static inline gboolean
vhost_reference_drop (VhostReference *self)
{
  return atomic_fetch_sub_explicit (self, 1, memory_order_acq_rel) == 1;
}
