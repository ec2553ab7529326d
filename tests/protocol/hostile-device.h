/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device with two front-ends: one misbehaves, the other one is the witness that the daemon goes
 * on meanwhile. Public API only. */
#pragma once

#include "raw-wire.h"

G_BEGIN_DECLS

typedef struct
{
  LiveDevice *device;
  EchoBackend *backend;    /* the device's, which serves @attacker */
  VhostFrontend *attacker; /* (owned) (nullable) */
  VhostFrontend *witness;  /* (owned) */
  guint n_fds;             /* open without the attacker */
} Hostile;

/* Both have a running ring 0 of 16 entries and 4 MiB at 0x100000. Warnings are allowed from here
 * on. */
void hostile_begin (Hostile *self);
/* The same; the attacker's device has @workers, and the daemon gives up after @drain_timeout ms. */
void hostile_begin_with (Hostile *self, guint workers, guint drain_timeout);
/* The attacker goes. The process lives, the witness and a new front-end are served, no descriptor
 * is left behind. */
void hostile_end (Hostile *self);

/* The attacker goes and comes again. @rings: with memory and a ring, else only negotiated. */
void hostile_reconnect (Hostile *self, gboolean rings);
/* The attacker goes, and its session ends. */
void hostile_disconnect (Hostile *self);
/* The witness is served, and what the attacker sent before has been read. */
void hostile_assert_witness (Hostile *self);
/* A connection that has said nothing yet. */
int hostile_connect (Hostile *self);

/* How busy this process is, in percent of one CPU. Takes a fifth of a second. */
guint hostile_measure_cpu (void);
/* No thread goes round and round. */
void hostile_assert_no_spin (void);

G_END_DECLS
