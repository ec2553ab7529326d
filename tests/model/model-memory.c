/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory that outlives the device's process. Must not call into the library.
 *
 * How it works: the code calls model_step () after each store. "The process ends here" is a copy of
 * the memory made at that moment: the code runs on to the end of its call, then the copy is put
 * back. Nothing else touches the memory meanwhile, so that is the same as an end in the middle, but
 * it leaks nothing. A mistake is made by undoing the store that was just seen (found by comparing
 * with the memory before it), and doing it again later, or never. */
#include "model-memory.h"

#include "model-step.h"

#include <string.h>

#define WINDOW_MAX 1024
#define HELD_MAX 64

typedef struct
{
  guint8 *memory;
  gsize length;
  guint8 before[WINDOW_MAX]; /* as of the last store */
  guint8 at_stop[WINDOW_MAX];
} Window;

typedef struct
{
  guint8 *at;
  gsize n;
  guint8 old_bytes[16], new_bytes[16];
} Change;

enum
{
  AREA,
  DESCRIPTORS,
  USED,
  N_WINDOWS
};

static struct
{
  gboolean packed, active, recovery, first, stopped;
  guint steps, stop_at, spared;
  Window windows[N_WINDOWS];
  const ModelMistake *mistake;
  Change held[HELD_MAX];
  guint n_held;
} model;

void
model_memory_watch (gboolean packed, guint8 *area, gsize area_length, guint8 *descriptors,
                    gsize descriptors_length, guint8 *used, gsize used_length)
{
  guint8 *memory[N_WINDOWS] = { area, descriptors, used };
  gsize lengths[N_WINDOWS] = { area_length, descriptors_length, used_length };

  memset (&model, 0, sizeof model);
  model.packed = packed;
  for (guint i = 0; i < N_WINDOWS; i++)
    {
      g_assert_cmpuint (lengths[i], <=, WINDOW_MAX);
      model.windows[i].memory = memory[i];
      model.windows[i].length = lengths[i];
    }
}

void
model_memory_set_mistake (const ModelMistake *mistake)
{
  model.mistake = mistake;
}

void
model_memory_stop_after (guint stop_at)
{
  model.steps = 0;
  model.stop_at = stop_at;
  model.stopped = FALSE;
}

guint
model_memory_get_steps (void)
{
  return model.steps;
}

static void
remember (void)
{
  for (guint i = 0; i < N_WINDOWS; i++)
    memcpy (model.windows[i].before, model.windows[i].memory, model.windows[i].length);
}

static void
count_step (void)
{
  if (++model.steps != model.stop_at || model.stopped)
    return;
  model.stopped = TRUE;
  for (guint i = 0; i < N_WINDOWS; i++)
    memcpy (model.windows[i].at_stop, model.windows[i].memory, model.windows[i].length);
}

static ModelStore
name_store (guint window, gsize at)
{
  static const ModelStore split_header[16] = { [12] = MODEL_STORE_BATCH_HEAD,
                                               [13] = MODEL_STORE_BATCH_HEAD,
                                               [14] = MODEL_STORE_USED_INDEX,
                                               [15] = MODEL_STORE_USED_INDEX };
  static const ModelStore packed_header[32]
      = { [12] = MODEL_STORE_FREE_HEAD,     [13] = MODEL_STORE_FREE_HEAD,
          [14] = MODEL_STORE_OLD_FREE_HEAD, [15] = MODEL_STORE_OLD_FREE_HEAD,
          [16] = MODEL_STORE_POSITION,      [17] = MODEL_STORE_POSITION,
          [18] = MODEL_STORE_OLD_POSITION,  [19] = MODEL_STORE_OLD_POSITION,
          [20] = MODEL_STORE_POSITION,      [21] = MODEL_STORE_OLD_POSITION };

  if (window == DESCRIPTORS)
    return model.packed && at % 16 >= 14 ? MODEL_STORE_RING : MODEL_STORE_OTHER;
  if (window == USED)
    return !model.packed && (at == 2 || at == 3) ? MODEL_STORE_RING : MODEL_STORE_OTHER;
  if (!model.packed)
    {
      if (at < 16)
        return split_header[at];
      at %= 16;
      return at == 0   ? MODEL_STORE_INFLIGHT
             : at >= 8 ? MODEL_STORE_COUNTER
             : at >= 6 ? MODEL_STORE_NEXT
                       : MODEL_STORE_OTHER;
    }
  if (at < 32)
    return packed_header[at];
  at %= 32;
  return at == 0              ? MODEL_STORE_INFLIGHT
         : at == 2 || at == 3 ? MODEL_STORE_NEXT
         : at == 4 || at == 5 ? MODEL_STORE_LAST
         : at >= 8 && at < 16 ? MODEL_STORE_COUNTER
                              : MODEL_STORE_OTHER;
}

/* What the store just made changed. FALSE: nothing, or more than one store. */
static gboolean
find_change (Change *change, ModelStore *store)
{
  for (guint i = 0; i < N_WINDOWS; i++)
    {
      Window *window = &model.windows[i];
      gsize first = 0, last = window->length;

      while (first < last && window->memory[first] == window->before[first])
        first++;
      if (first == last)
        continue;
      while (window->memory[last - 1] == window->before[last - 1])
        last--;
      if (last - first > 8)
        return FALSE;
      change->at = window->memory + first;
      change->n = last - first;
      memcpy (change->old_bytes, window->before + first, change->n);
      memcpy (change->new_bytes, change->at, change->n);
      *store = name_store (i, first);
      return TRUE;
    }
  return FALSE;
}

static void
release (void)
{
  guint n = model.n_held;

  model.n_held = 0;
  for (guint i = 0; i < n; i++)
    {
      Change *change = &model.held[i];

      for (gsize k = 0; k < change->n; k++)
        if (change->new_bytes[k] != change->old_bytes[k])
          change->at[k] = change->new_bytes[k];
      count_step ();
    }
}

void
model_step (void)
{
  Change change;
  ModelStore store = MODEL_STORE_OTHER;
  const ModelMistake *mistake = model.mistake;

  if (!model.active)
    return;
  if (mistake == NULL || model.first || mistake->in_recovery != model.recovery
      || !find_change (&change, &store))
    {
      count_step ();
    }
  else if (store == mistake->store && model.spared < mistake->spared)
    {
      model.spared++;
      count_step ();
    }
  else if (store == mistake->store)
    {
      memcpy (change.at, change.old_bytes, change.n);
      if (mistake->until != MODEL_STORE_OTHER && model.n_held < HELD_MAX)
        model.held[model.n_held++] = change;
    }
  else
    {
      count_step ();
      if (store == mistake->until)
        release ();
    }
  if (mistake != NULL)
    remember ();
}

void
model_memory_begin (gboolean recovery)
{
  model.active = TRUE;
  /* The first start of all, with version 0 in the area, is neither. */
  model.recovery = recovery;
  model.first = recovery && model.windows[AREA].memory[8] == 0;
  model.spared = 0;
  if (model.mistake != NULL)
    remember ();
}

gboolean
model_memory_end (void)
{
  release ();
  model.active = FALSE;
  if (!model.stopped)
    return FALSE;
  for (guint i = 0; i < N_WINDOWS; i++)
    memcpy (model.windows[i].memory, model.windows[i].at_stop, model.windows[i].length);
  return TRUE;
}
