/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest of the in-flight model: a driver for both ring layouts that offers numbered requests
 * and keeps account of them. It lives on when the device's process ends. Must not use library code,
 * and must not look at the in-flight area. */
#pragma once

#include <glib.h>

#define MODEL_RING_MAX 16
#define MODEL_REQUESTS_MAX 256
#define MODEL_BUFFER 16u   /* bytes of a descriptor's buffer */
#define MODEL_REQUEST 128u /* bytes of address space of a request */

typedef struct
{
  guint16 id;                 /* head or buffer ID */
  guint n;                    /* descriptors */
  gboolean completed;         /* the device pushed it, in whatever process */
  gboolean used;              /* the driver saw it used */
  gboolean reused;            /* its descriptors are free again */
  guint16 at[MODEL_RING_MAX]; /* split: its descriptors */
} ModelRequest;

typedef struct
{
  gboolean packed, in_order;
  guint size;
  guint8 *descriptors, *available, *used; /* the ring's parts, here */
  guint64 data;                           /* guest address of the buffers */

  ModelRequest requests[MODEL_REQUESTS_MAX];
  guint n_requests;
  int by_id[MODEL_RING_MAX]; /* the request that is out under this ID, or -1 */

  guint16 free_ids[MODEL_RING_MAX]; /* split: descriptors; packed: IDs. First in, first out */
  guint n_free_ids;
  guint free_slots; /* packed */
  guint16 next_available, next_used;
  gboolean available_wrap, used_wrap;
} ModelDriver;

/* A small generator: the same numbers from the same seed, here and anywhere. */
typedef struct
{
  guint64 state;
} ModelRandom;

guint model_random (ModelRandom *self, guint below);

void model_driver_reset (ModelDriver *self);
/* Offers one more request when there is room. */
gboolean model_driver_offer (ModelDriver *self, ModelRandom *random);
/* Looks at the used ring. NULL, or what is wrong there (static). */
const char *model_driver_see (ModelDriver *self);
/* Makes the descriptors of some requests that were seen used free again. */
void model_driver_reuse (ModelDriver *self, ModelRandom *random);
