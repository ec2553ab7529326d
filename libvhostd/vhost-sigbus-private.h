/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file that shrinks under a mapping: the process-wide SIGBUS handler that keeps the process
 * alive.
 *
 * How it works: every mapping that can lose pages is entered into a lock-free table. The handler
 * looks the fault address up, replaces the whole mapping by anonymous zero pages (MAP_FIXED |
 * MAP_NORESERVE), sets the mapping's poisoned flag and returns; a fault elsewhere goes to the
 * handler that was installed before. SA_ONSTACK, SA_SIGINFO. Must be async-signal-safe. */
#pragma once

#include <glib.h>
#include <stdatomic.h>

/* Thread: any. FALSE: the table (4096 entries) is full or sigaction failed; the caller refuses the
 * region. */
gboolean vhost_sigbus_protect (void *base, gsize length, _Atomic (gboolean) *poisoned,
                               GError **error);
/* Thread: any; before munmap. */
void vhost_sigbus_unprotect (void *base);
