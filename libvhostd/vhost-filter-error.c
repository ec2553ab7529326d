/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "error": requests fail. Must not know any device: of a request it knows only the last
 * byte that is the device's to write, where many devices put a status. */
#include "config.h"

#include "vhost-filter-private.h"

#include "vhost-chain.h"

#include <stdatomic.h>

#define NO_STATUS (-1)
#define NO_LIMIT (-1)
#define RATE_ONE (G_GUINT64_CONSTANT (1) << 32)

/**
 * VhostFilterError:
 *
 * Ends requests with an error before the back-end sees them. All its properties but the seed take
 * effect on the next request; the two that count are shared by all queues.
 *
 * Since: 0.1
 */
struct _VhostFilterError
{
  VhostFilter parent_instance;

  /* Written by the control thread, read by workers; relaxed: each stands for itself. */
  _Atomic (guint64) rate; /* in parts of RATE_ONE */
  _Atomic (int) status;
  /* Counted down by workers. */
  _Atomic (int) count;
  _Atomic (guint) after;

  double shown_rate; /* control thread */
};

enum
{
  PROP_ERROR_RATE = 1,
  PROP_ERROR_COUNT,
  PROP_ERROR_AFTER,
  PROP_ERROR_STATUS,
  PROP_ERROR_SEED,
  N_PROPS,
};

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE (VhostFilterError, vhost_filter_error, VHOST_TYPE_FILTER)

/* TRUE: this request is still one of those that pass. */
static gboolean
take_after (VhostFilterError *self)
{
  guint after = atomic_load_explicit (&self->after, memory_order_relaxed);

  while (after > 0)
    if (atomic_compare_exchange_weak_explicit (&self->after, &after, after - 1,
                                               memory_order_relaxed, memory_order_relaxed))
      return TRUE;
  return FALSE;
}

/* FALSE: as many as should fail have failed. */
static gboolean
take_count (VhostFilterError *self)
{
  int count = atomic_load_explicit (&self->count, memory_order_relaxed);

  while (count > 0)
    if (atomic_compare_exchange_weak_explicit (&self->count, &count, count - 1,
                                               memory_order_relaxed, memory_order_relaxed))
      return TRUE;
  return count == NO_LIMIT;
}

/* Called: worker. */
static void
vhost_filter_error_popped (VhostFilter *filter, VhostQueue *queue, VhostChain *chain)
{
  VhostFilterError *self = VHOST_FILTER_ERROR (filter);
  guint64 rate = atomic_load_explicit (&self->rate, memory_order_relaxed);
  int status = atomic_load_explicit (&self->status, memory_order_relaxed);
  guint8 *byte = NULL;

  if (take_after (self))
    return;
  if (rate == 0
      || (rate < RATE_ONE && (vhost_filter_queue_random (queue, filter) & (RATE_ONE - 1)) >= rate))
    return;
  if (!take_count (self))
    return;

  if (status != NO_STATUS)
    byte = vhost_chain_split_status (chain);
  if (byte != NULL)
    *byte = (guint8) status;
  /* The status counts as written only where nothing before it was left out (VIRTIO 1.3, 2.7.8.2).
   */
  vhost_filter_end (filter, chain,
                    byte != NULL && vhost_chain_get_writable_size (chain) == 0 ? 1 : 0);
}

static void
vhost_filter_error_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostFilterError *self = VHOST_FILTER_ERROR (object);

  switch (id)
    {
    case PROP_ERROR_RATE:
      g_value_set_double (value, self->shown_rate);
      break;
    case PROP_ERROR_COUNT:
      g_value_set_int (value, atomic_load_explicit (&self->count, memory_order_relaxed));
      break;
    case PROP_ERROR_AFTER:
      g_value_set_uint (value, atomic_load_explicit (&self->after, memory_order_relaxed));
      break;
    case PROP_ERROR_STATUS:
      g_value_set_int (value, atomic_load_explicit (&self->status, memory_order_relaxed));
      break;
    case PROP_ERROR_SEED:
      g_value_set_uint64 (value, vhost_filter_get_seed (VHOST_FILTER (self)));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_error_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostFilterError *self = VHOST_FILTER_ERROR (object);

  switch (id)
    {
    case PROP_ERROR_RATE:
      self->shown_rate = g_value_get_double (value);
      atomic_store_explicit (&self->rate, (guint64) (self->shown_rate * (double) RATE_ONE),
                             memory_order_relaxed);
      break;
    case PROP_ERROR_COUNT:
      atomic_store_explicit (&self->count, g_value_get_int (value), memory_order_relaxed);
      break;
    case PROP_ERROR_AFTER:
      atomic_store_explicit (&self->after, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_ERROR_STATUS:
      atomic_store_explicit (&self->status, g_value_get_int (value), memory_order_relaxed);
      break;
    case PROP_ERROR_SEED:
      vhost_filter_set_seed (VHOST_FILTER (self), g_value_get_uint64 (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_error_class_init (VhostFilterErrorClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostFilterClass *filter_class = VHOST_FILTER_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_CONSTRUCT | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhost_filter_error_get_property;
  object_class->set_property = vhost_filter_error_set_property;
  filter_class->popped = vhost_filter_error_popped;
  vhost_filter_class_set_name (filter_class, "error");

  /**
   * VhostFilterError:error-rate:
   *
   * Which part of the requests fails, by chance: 0 none, 0.01 one of a hundred, 1 all.
   *
   * Since: 0.1
   */
  properties[PROP_ERROR_RATE] = g_param_spec_double (
      "error-rate", NULL, "Part of the requests that fails, 0 to 1", 0, 1, 1, flags);

  /**
   * VhostFilterError:error-count:
   *
   * How many requests fail at most; it counts down. -1: without a limit.
   *
   * Since: 0.1
   */
  properties[PROP_ERROR_COUNT]
      = g_param_spec_int ("error-count", NULL, "Fails so many requests only (-1: no limit)",
                          NO_LIMIT, G_MAXINT, NO_LIMIT, flags);

  /**
   * VhostFilterError:error-after:
   *
   * How many requests pass before the first may fail; it counts down.
   *
   * Since: 0.1
   */
  properties[PROP_ERROR_AFTER] = g_param_spec_uint (
      "error-after", NULL, "Lets so many requests pass first", 0, G_MAXUINT, 0, flags);

  /**
   * VhostFilterError:error-status:
   *
   * What is put into the last byte of the request that the device may write; for a disk 1 is an
   * I/O error. -1: nothing is put anywhere. The used length is 0, or 1 if there is only that byte.
   *
   * Since: 0.1
   */
  properties[PROP_ERROR_STATUS] = g_param_spec_int (
      "error-status", NULL, "Status of what fails, its last writable byte (-1: it is left alone)",
      NO_STATUS, G_MAXUINT8, 1, flags);

  /**
   * VhostFilterError:error-seed:
   *
   * The same number gives the same series of failures in a queue; 0: another one each time. Takes
   * effect when a queue starts.
   *
   * Since: 0.1
   */
  properties[PROP_ERROR_SEED] = g_param_spec_uint64 (
      "error-seed", NULL, "Repeats the series of chance (0: another each time)", 0, G_MAXUINT64, 0,
      flags);

  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhost_filter_error_init (VhostFilterError *self)
{
}
