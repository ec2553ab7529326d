/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest of the in-flight model. Must not use library code.
 *
 * How it works: request i has its buffers at data + i * 128, so the device's side can tell from a
 * chain's addresses which one it was given. Seeing a request used and using its descriptors again
 * are two things: the first is the model's account, the second changes shared memory. */
#include "model-driver.h"

#include <string.h>

#define NEXT 1u
#define WRITE 2u
#define AVAILABLE (1u << 7)
#define USED (1u << 15)

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags, next;
} SplitDescriptor;

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 id, flags;
} PackedDescriptor;

guint
model_random (ModelRandom *self, guint below)
{
  /* splitmix64 */
  guint64 z = (self->state += G_GUINT64_CONSTANT (0x9e3779b97f4a7c15));

  z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT (0x94d049bb133111eb);
  return (guint) ((z ^ (z >> 31)) >> 33) % below;
}

void
model_driver_reset (ModelDriver *self)
{
  self->n_requests = 0;
  for (guint i = 0; i < MODEL_RING_MAX; i++)
    {
      self->by_id[i] = -1;
      self->free_ids[i] = (guint16) i;
    }
  self->n_free_ids = self->free_slots = self->size;
  self->next_available = self->next_used = 0;
  self->available_wrap = self->used_wrap = TRUE;
}

static guint16
take_id (ModelDriver *self)
{
  guint16 id = self->free_ids[0];

  memmove (self->free_ids, self->free_ids + 1, --self->n_free_ids * sizeof id);
  return id;
}

static void
offer_split (ModelDriver *self, ModelRequest *request, guint64 address, gboolean writable)
{
  SplitDescriptor *table = (SplitDescriptor *) (gpointer) self->descriptors;
  guint16 *ring = (guint16 *) (gpointer) self->available;

  for (guint i = 0; i < request->n; i++)
    request->at[i] = take_id (self);
  for (guint i = 0; i < request->n; i++)
    table[request->at[i]] = (SplitDescriptor){
      .address = address + i * MODEL_BUFFER,
      .length = MODEL_BUFFER,
      .flags = i + 1 < request->n ? NEXT
               : writable         ? WRITE
                                  : 0,
      .next = i + 1 < request->n ? request->at[i + 1] : 0,
    };
  request->id = request->at[0];
  ring[2 + self->next_available % self->size] = request->id;
  ring[1] = ++self->next_available;
}

static void
offer_packed (ModelDriver *self, ModelRequest *request, guint64 address, gboolean writable)
{
  PackedDescriptor *ring = (PackedDescriptor *) (gpointer) self->descriptors;
  guint16 first = self->next_available, first_flags = 0;

  request->id = take_id (self);
  self->free_slots -= request->n;
  for (guint i = 0; i < request->n; i++)
    {
      PackedDescriptor *slot = &ring[self->next_available];
      guint16 flags = self->available_wrap ? AVAILABLE : USED;

      flags |= i + 1 < request->n ? NEXT : writable ? WRITE : 0;
      slot->address = address + i * MODEL_BUFFER;
      slot->length = MODEL_BUFFER;
      slot->id = request->id;
      if (i == 0)
        first_flags = flags;
      else
        slot->flags = flags;
      if (++self->next_available == self->size)
        {
          self->next_available = 0;
          self->available_wrap = !self->available_wrap;
        }
    }
  ring[first].flags = first_flags;
}

gboolean
model_driver_offer (ModelDriver *self, ModelRandom *random)
{
  guint room = self->packed ? (self->n_free_ids > 0 ? self->free_slots : 0) : self->n_free_ids;
  guint n = 1 + model_random (random, 3);
  gboolean writable = model_random (random, 2);
  ModelRequest *request = &self->requests[self->n_requests];
  guint64 address = self->data + self->n_requests * MODEL_REQUEST;

  if (self->n_requests == MODEL_REQUESTS_MAX || n > room)
    return FALSE;
  *request = (ModelRequest){ .n = n };
  if (self->packed)
    offer_packed (self, request, address, writable);
  else
    offer_split (self, request, address, writable);
  self->by_id[request->id] = (int) self->n_requests++;
  return TRUE;
}

static const char *
see_request (ModelDriver *self, guint index)
{
  ModelRequest *request = &self->requests[index];

  if (!request->completed)
    return "a request was given back that no process completed";
  request->used = TRUE;
  self->by_id[request->id] = -1;
  if (self->packed)
    {
      self->next_used += request->n;
      if (self->next_used >= self->size)
        {
          self->next_used -= self->size;
          self->used_wrap = !self->used_wrap;
        }
    }
  else
    self->next_used++;
  return NULL;
}

/* A used entry: @id, and under IN_ORDER all that were offered before it (V28). */
static const char *
see_id (ModelDriver *self, guint32 id)
{
  const char *problem = NULL;
  int index;

  if (id >= self->size || self->by_id[id] < 0)
    return "a request was given back that is not out";
  index = self->by_id[id];
  for (int i = self->in_order ? 0 : index; i <= index && problem == NULL; i++)
    if (!self->requests[i].used)
      problem = see_request (self, (guint) i);
  return problem;
}

const char *
model_driver_see (ModelDriver *self)
{
  const char *problem = NULL;

  for (guint turns = 0; problem == NULL; turns++)
    {
      if (turns > MODEL_RING_MAX)
        return "more was given back than is out";
      if (self->packed)
        {
          PackedDescriptor *slot
              = (PackedDescriptor *) (gpointer) self->descriptors + self->next_used;

          if (((slot->flags & AVAILABLE) != 0) != self->used_wrap
              || ((slot->flags & USED) != 0) != self->used_wrap)
            return NULL;
          problem = see_id (self, slot->id);
        }
      else
        {
          if (((guint16 *) (gpointer) self->used)[1] == self->next_used)
            return NULL;
          problem = see_id (
              self, ((guint32 *) (gpointer) self->used)[1 + 2 * (self->next_used % self->size)]);
        }
    }
  return problem;
}

void
model_driver_reuse (ModelDriver *self, ModelRandom *random)
{
  for (guint i = 0; i < self->n_requests; i++)
    {
      ModelRequest *request = &self->requests[i];

      if (!request->used || request->reused || (!self->in_order && model_random (random, 3) == 0))
        continue;
      request->reused = TRUE;
      if (self->packed)
        {
          self->free_ids[self->n_free_ids++] = request->id;
          self->free_slots += request->n;
        }
      else
        for (guint k = 0; k < request->n; k++)
          self->free_ids[self->n_free_ids++] = request->at[k];
    }
}
