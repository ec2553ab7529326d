/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A ring whose driver may break a rule, and everything that must not care: another ring of the same
 * front-end and another front-end with a back-end of its own. Public API only.
 *
 * A scene begins with a request that works, so a bad entry is number 1 at least. */
#pragma once

#include "hand-driver.h"

G_BEGIN_DECLS

typedef struct
{
  HandWorld *world;      /* (owned) */
  VhostFrontend *second; /* (owned): another one, with one queue */
  HandRing *ring;        /* of the first; started, one request served */
  HandRing *other;       /* the first one's other ring; started */
} Scene;

Scene *scene_new_full (HandOptions options);
Scene *scene_new (gconstpointer data);
void scene_free (Scene *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Scene, scene_free)

/* An indirect table of @n entries in guest memory. */
HandDescriptor *scene_new_table (Scene *self, guint n, guint64 *address);
/* Requests on the other ring and of the other front-end. */
void scene_assert_others_live (Scene *self);
/* The driver has broken a rule at entry @bad, and all before it was given back: only that ring is
 * broken, the specification's signs are there, and the ring can be set up again, which is done. */
void scene_assert_broken (Scene *self, guint bad);
/* The chain at @head must break the ring. */
void scene_assert_breaks (Scene *self, guint head);
/* The chain at @head is good, and @written bytes come back. */
void scene_assert_works (Scene *self, guint head, guint32 written);

G_END_DECLS
