/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "delay": requests take longer. Must not look into them. */
#include "config.h"

#include "vhost-filter-private.h"

#include "vhost-enums.h"

#include <stdatomic.h>

#define MS_MAX (24u * 60 * 60 * 1000)
#define US_MAX 1000000000

/**
 * VhostFilterDelay:
 *
 * Makes requests wait before the back-end gets them, or answers before the driver gets them. All
 * its properties but the seed take effect on the next request.
 *
 * Since: 0.1
 */
struct _VhostFilterDelay
{
  VhostFilter parent_instance;

  /* Written by the control thread, read by workers; relaxed: each stands for itself. */
  _Atomic (guint) ms;
  _Atomic (guint) us;
  _Atomic (guint) jitter_ms;
  _Atomic (int) at; /* VhostFilterDelayAt */
};

enum
{
  PROP_DELAY_MS = 1,
  PROP_DELAY_US,
  PROP_DELAY_JITTER_MS,
  PROP_DELAY_AT,
  PROP_DELAY_SEED,
  N_PROPS,
};

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE (VhostFilterDelay, vhost_filter_delay, VHOST_TYPE_FILTER)

static void
delay (VhostFilterDelay *self, VhostQueue *queue, VhostChain *chain)
{
  gint64 time = (gint64) atomic_load_explicit (&self->ms, memory_order_relaxed) * 1000
                + atomic_load_explicit (&self->us, memory_order_relaxed);
  guint64 jitter = (guint64) atomic_load_explicit (&self->jitter_ms, memory_order_relaxed) * 1000;

  if (jitter > 0)
    time += (gint64) (vhost_filter_queue_random (queue, VHOST_FILTER (self)) % (jitter + 1));
  if (time > 0)
    vhost_filter_hold (VHOST_FILTER (self), chain, g_get_monotonic_time () + time, 0);
}

/* Called: worker. */
static void
vhost_filter_delay_popped (VhostFilter *filter, VhostQueue *queue, VhostChain *chain)
{
  VhostFilterDelay *self = VHOST_FILTER_DELAY (filter);

  if (atomic_load_explicit (&self->at, memory_order_relaxed) == VHOST_FILTER_DELAY_AT_START)
    delay (self, queue, chain);
}

/* Called: worker. */
static void
vhost_filter_delay_completed (VhostFilter *filter, VhostQueue *queue, VhostChain *chain,
                              guint written)
{
  VhostFilterDelay *self = VHOST_FILTER_DELAY (filter);

  if (atomic_load_explicit (&self->at, memory_order_relaxed) == VHOST_FILTER_DELAY_AT_END)
    delay (self, queue, chain);
}

static void
vhost_filter_delay_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostFilterDelay *self = VHOST_FILTER_DELAY (object);

  switch (id)
    {
    case PROP_DELAY_MS:
      g_value_set_uint (value, atomic_load_explicit (&self->ms, memory_order_relaxed));
      break;
    case PROP_DELAY_US:
      g_value_set_uint (value, atomic_load_explicit (&self->us, memory_order_relaxed));
      break;
    case PROP_DELAY_JITTER_MS:
      g_value_set_uint (value, atomic_load_explicit (&self->jitter_ms, memory_order_relaxed));
      break;
    case PROP_DELAY_AT:
      g_value_set_enum (value, atomic_load_explicit (&self->at, memory_order_relaxed));
      break;
    case PROP_DELAY_SEED:
      g_value_set_uint64 (value, vhost_filter_get_seed (VHOST_FILTER (self)));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_delay_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  VhostFilterDelay *self = VHOST_FILTER_DELAY (object);

  switch (id)
    {
    case PROP_DELAY_MS:
      atomic_store_explicit (&self->ms, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_DELAY_US:
      atomic_store_explicit (&self->us, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_DELAY_JITTER_MS:
      atomic_store_explicit (&self->jitter_ms, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_DELAY_AT:
      atomic_store_explicit (&self->at, g_value_get_enum (value), memory_order_relaxed);
      break;
    case PROP_DELAY_SEED:
      vhost_filter_set_seed (VHOST_FILTER (self), g_value_get_uint64 (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_delay_class_init (VhostFilterDelayClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostFilterClass *filter_class = VHOST_FILTER_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhost_filter_delay_get_property;
  object_class->set_property = vhost_filter_delay_set_property;
  filter_class->popped = vhost_filter_delay_popped;
  filter_class->completed = vhost_filter_delay_completed;
  vhost_filter_class_set_name (filter_class, "delay");

  /**
   * VhostFilterDelay:delay-ms:
   *
   * How long each request waits, in milliseconds; #VhostFilterDelay:delay-us comes on top.
   *
   * Since: 0.1
   */
  properties[PROP_DELAY_MS] = g_param_spec_uint (
      "delay-ms", NULL, "Milliseconds that each request waits", 0, MS_MAX, 0, flags);

  /**
   * VhostFilterDelay:delay-us:
   *
   * How long each request waits, in microseconds, on top of #VhostFilterDelay:delay-ms.
   *
   * Since: 0.1
   */
  properties[PROP_DELAY_US] = g_param_spec_uint (
      "delay-us", NULL, "Microseconds that each request waits on top", 0, US_MAX, 0, flags);

  /**
   * VhostFilterDelay:delay-jitter-ms:
   *
   * Each request waits longer by a time between 0 and this, in milliseconds.
   *
   * Since: 0.1
   */
  properties[PROP_DELAY_JITTER_MS] = g_param_spec_uint (
      "delay-jitter-ms", NULL, "Milliseconds by chance, 0 to this, on top", 0, MS_MAX, 0, flags);

  /**
   * VhostFilterDelay:delay-at:
   *
   * Whether requests wait or answers.
   *
   * Since: 0.1
   */
  properties[PROP_DELAY_AT]
      = g_param_spec_enum ("delay-at", NULL, "Wait before the back-end's work, or after it",
                           VHOST_TYPE_FILTER_DELAY_AT, VHOST_FILTER_DELAY_AT_END, flags);

  /**
   * VhostFilterDelay:delay-seed:
   *
   * The same number gives the same series of jitter in a queue; 0: another one each time. Takes
   * effect when a queue starts.
   *
   * Since: 0.1
   */
  properties[PROP_DELAY_SEED] = g_param_spec_uint64 (
      "delay-seed", NULL, "Repeats the series of chance (0: another each time)", 0, G_MAXUINT64, 0,
      flags);

  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhost_filter_delay_init (VhostFilterDelay *self)
{
  atomic_init (&self->at, VHOST_FILTER_DELAY_AT_END);
}
