/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory that outlives the device's process in the in-flight model, store by store. Must not
 * know what the stores are for, beyond their names. */
#pragma once

#include <glib.h>

/* What a store changed, by its place. */
typedef enum
{
  MODEL_STORE_OTHER,
  MODEL_STORE_INFLIGHT,
  MODEL_STORE_COUNTER,
  MODEL_STORE_NEXT,
  MODEL_STORE_LAST,
  MODEL_STORE_BATCH_HEAD,
  MODEL_STORE_USED_INDEX,
  MODEL_STORE_FREE_HEAD,
  MODEL_STORE_OLD_FREE_HEAD,
  MODEL_STORE_POSITION,
  MODEL_STORE_OLD_POSITION,
  MODEL_STORE_RING, /* used->idx, or a descriptor's flags */
} ModelStore;

/* A mistake that the code could have, made by the model: @store is forgotten, or comes only behind
 * the next @until. */
typedef struct
{
  const char *name;
  gboolean packed;
  gboolean in_recovery; /* only there; or only elsewhere */
  ModelStore store;
  ModelStore until; /* MODEL_STORE_OTHER: forgotten */
  guint spared;     /* so many of each call are left alone */
} ModelMistake;

void model_memory_watch (gboolean packed, guint8 *area, gsize area_length, guint8 *descriptors,
                         gsize descriptors_length, guint8 *used, gsize used_length);
void model_memory_set_mistake (const ModelMistake *mistake);
/* The process ends right after the @stop_at-th store from now; 0: it does not. */
void model_memory_stop_after (guint stop_at);
guint model_memory_get_steps (void);
/* Around each call into the code. */
void model_memory_begin (gboolean recovery);
/* TRUE: the process has ended in between; the memory is as it was then. */
gboolean model_memory_end (void);
