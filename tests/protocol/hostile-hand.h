/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A front-end that speaks by hand and misbehaves, and another one that must not notice. Public API
 * only. */
#pragma once

#include "hand-driver.h"

G_BEGIN_DECLS

#define F_LOG_ALL RAW_BIT (26)
#define F_PLATFORM RAW_BIT (33)
#define F_PACKED RAW_BIT (34)
#define F_IN_ORDER RAW_BIT (35)
/* Both positions 0 in the first round. */
#define PACKED_BASE 0x80008000u

typedef struct
{
  HandWorld *world;
  HandRing *ring;         /* the attacker's: ring 0 of @world */
  VhostFrontend *witness; /* (owned): another front-end, with one queue */
  guint n_fds;            /* open before */
} HostileHand;

/* @data: as HAND_TEST hands it over. @features: besides the usual ones. Warnings are allowed from
 * here on. */
void hostile_hand_begin (HostileHand *self, gconstpointer data, guint64 features);
/* The process lives, the attacker's messages are answered and the witness is served. */
void hostile_hand_assert_alive (HostileHand *self);
/* The ring is set up anew, as a split or packed one by @packed, and serves a request. */
void hostile_hand_renew (HostileHand *self, gboolean packed);
/* The attacker goes. The witness and a new front-end are served, no descriptor is left behind. */
void hostile_hand_end (HostileHand *self);

/* ---- A packed ring, in the memory of a split one: descriptors, driver's and device's event area.
 */

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 id, flags;
} HostilePacked;

#define PACKED_AVAIL 0x80u
#define PACKED_USED 0x8000u

HostilePacked *hostile_packed_slot (HandRing *ring, guint slot);
/* Writes all of @slot; the flags last. */
void hostile_packed_put (HandRing *ring, guint slot, HostilePacked descriptor);
/* An echo request in @slot and the one behind it, with buffers of these numbers, in the round of
 * @wrap. No kick. */
void hostile_packed_put_echo (HandRing *ring, guint slot, gboolean wrap, guint16 id);
/* Whether @slot says "used" in the round of @wrap. */
gboolean hostile_packed_is_used (HandRing *ring, guint slot, gboolean wrap);

G_END_DECLS
