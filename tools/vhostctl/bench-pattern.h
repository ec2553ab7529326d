/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Contents of the blocks that bench writes and finds again. Each block says whose it is, so that a
 * wrong one tells where it came from. */
#pragma once

#include <glib.h>

/* Sizes are multiples of 512. */
void bench_pattern_fill (gpointer data, gsize size, guint64 seed, guint64 offset,
                         guint32 generation);
gboolean bench_pattern_check (gconstpointer data, gsize size, guint64 seed, guint64 offset,
                              guint32 generation);
/* What is wrong with a block that did not pass the check. (transfer full) */
char *bench_pattern_explain (gconstpointer data, gsize size, guint64 seed, guint64 offset,
                             guint32 generation);
/* Makes any earlier content of a buffer fail the check. */
void bench_pattern_spoil (gpointer data, gsize size);
