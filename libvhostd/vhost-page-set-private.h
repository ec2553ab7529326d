/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set of page numbers that never forgets one and never grows beyond a bound: it becomes coarser
 * instead. Must not know what the pages are. Thread: the caller locks. */
#pragma once

#include <glib.h>

/* Units that a set holds, of one page each at first. */
#define VHOST_PAGE_SET_MAX 65536u

typedef struct
{
  guint64 *keys; /* (owned): unit numbers plus 1; 0 is an empty place */
  guint capacity;
  guint n;
  guint shift; /* a unit is that many times 2 pages */
} VhostPageSet;

void vhost_page_set_clear (VhostPageSet *self);
/* The pages from @first to @last, both below 2^52. */
void vhost_page_set_add (VhostPageSet *self, guint64 first, guint64 last);
/* Each unit, in no order. */
void vhost_page_set_foreach (const VhostPageSet *self,
                             void (*function) (guint64 first, guint64 last, gpointer data),
                             gpointer data);
