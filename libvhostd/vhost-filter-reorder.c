/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filter "reorder": requests end in another order than they would. Must not look into them.
 *
 * How it works: answers gather until there are enough, or until the first of them has waited long
 * enough; then all go, in an order by chance. A driver that waits for one answer before it sends
 * the next request gets it when the time is over. */
#include "config.h"

#include "vhost-filter-private.h"

#include <stdatomic.h>

#define DEPTH_MAX 32768
#define MS_MAX (24u * 60 * 60 * 1000)

/**
 * VhostFilterReorder:
 *
 * Gives answers back in another order. All its properties but the seed take effect on the next
 * request.
 *
 * Since: 0.1
 */
struct _VhostFilterReorder
{
  VhostFilter parent_instance;

  /* Written by the control thread, read by workers; relaxed: each stands for itself. */
  _Atomic (guint) depth;
  _Atomic (guint) ms;
};

enum
{
  PROP_REORDER_DEPTH = 1,
  PROP_REORDER_MS,
  PROP_REORDER_SEED,
  N_PROPS,
};

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE (VhostFilterReorder, vhost_filter_reorder, VHOST_TYPE_FILTER)

/* Called: worker. */
static void
vhost_filter_reorder_completed (VhostFilter *filter, VhostQueue *queue, VhostChain *chain,
                                guint written)
{
  VhostFilterReorder *self = VHOST_FILTER_REORDER (filter);
  guint depth = atomic_load_explicit (&self->depth, memory_order_relaxed);
  gint64 time = (gint64) atomic_load_explicit (&self->ms, memory_order_relaxed) * 1000;
  guint n_held = vhost_filter_get_n_held (filter, queue);

  if (n_held > 0 || (depth > 1 && time > 0))
    {
      /* All of a group have the time of its first; what differs is the order. */
      gint64 until = n_held > 0 ? vhost_filter_queue_get_next_time (queue, filter)
                                : g_get_monotonic_time () + time;

      vhost_filter_hold (filter, chain, until, vhost_filter_queue_random (queue, filter));
      if (n_held + 1 >= depth)
        vhost_filter_release (filter, queue);
    }
}

static void
vhost_filter_reorder_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  VhostFilterReorder *self = VHOST_FILTER_REORDER (object);

  switch (id)
    {
    case PROP_REORDER_DEPTH:
      g_value_set_uint (value, atomic_load_explicit (&self->depth, memory_order_relaxed));
      break;
    case PROP_REORDER_MS:
      g_value_set_uint (value, atomic_load_explicit (&self->ms, memory_order_relaxed));
      break;
    case PROP_REORDER_SEED:
      g_value_set_uint64 (value, vhost_filter_get_seed (VHOST_FILTER (self)));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_reorder_set_property (GObject *object, guint id, const GValue *value,
                                   GParamSpec *pspec)
{
  VhostFilterReorder *self = VHOST_FILTER_REORDER (object);

  switch (id)
    {
    case PROP_REORDER_DEPTH:
      atomic_store_explicit (&self->depth, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_REORDER_MS:
      atomic_store_explicit (&self->ms, g_value_get_uint (value), memory_order_relaxed);
      break;
    case PROP_REORDER_SEED:
      vhost_filter_set_seed (VHOST_FILTER (self), g_value_get_uint64 (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
vhost_filter_reorder_class_init (VhostFilterReorderClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  VhostFilterClass *filter_class = VHOST_FILTER_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_CONSTRUCT | G_PARAM_STATIC_STRINGS;

  object_class->get_property = vhost_filter_reorder_get_property;
  object_class->set_property = vhost_filter_reorder_set_property;
  filter_class->completed = vhost_filter_reorder_completed;
  vhost_filter_class_set_name (filter_class, "reorder");

  /**
   * VhostFilterReorder:reorder-depth:
   *
   * How many answers of a queue gather before they go. With 0 or 1 each goes at once.
   *
   * Since: 0.1
   */
  properties[PROP_REORDER_DEPTH] = g_param_spec_uint (
      "reorder-depth", NULL, "Answers that gather before they go", 0, DEPTH_MAX, 8, flags);

  /**
   * VhostFilterReorder:reorder-ms:
   *
   * How long the first of them waits at most, in milliseconds. With 0 each goes at once.
   *
   * Since: 0.1
   */
  properties[PROP_REORDER_MS] = g_param_spec_uint (
      "reorder-ms", NULL, "Milliseconds after which they go anyway", 0, MS_MAX, 10, flags);

  /**
   * VhostFilterReorder:reorder-seed:
   *
   * The same number gives the same series of orders in a queue; 0: another one each time. Takes
   * effect when a queue starts.
   *
   * Since: 0.1
   */
  properties[PROP_REORDER_SEED] = g_param_spec_uint64 (
      "reorder-seed", NULL, "Repeats the series of orders (0: another each time)", 0, G_MAXUINT64,
      0, flags);

  g_object_class_install_properties (object_class, N_PROPS, properties);
}

static void
vhost_filter_reorder_init (VhostFilterReorder *self)
{
}
