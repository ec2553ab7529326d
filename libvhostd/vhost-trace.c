/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Debug switches and the limit on warnings. Must not write anything itself and must not cost when
 * off. */
#include "config.h"

#include "vhost-trace-private.h"

#define RATE_LIMIT_INTERVAL G_USEC_PER_SEC

VhostDebugFlags
vhost_debug_flags (void)
{
  /* One more than the flags, since GLib's once wants a value other than 0. */
  static gsize flags_plus_one = 0;
  if (g_once_init_enter (&flags_plus_one))
    {
      static const GDebugKey keys[] = {
        { "control", VHOST_DEBUG_CONTROL },
        { "data", VHOST_DEBUG_DATA },
        { "wire", VHOST_DEBUG_WIRE },
      };
      guint flags = g_parse_debug_string (g_getenv ("VHOST_DEBUG"), keys, G_N_ELEMENTS (keys));
      g_once_init_leave (&flags_plus_one, (gsize) flags + 1);
    }
  return (VhostDebugFlags) (flags_plus_one - 1);
}

gboolean
vhost_rate_limit_allows (VhostRateLimit *limit, guint *suppressed)
{
  /* Relaxed throughout: the fields guard nothing but themselves, and a message more or less is no
   * harm. */
  gint64 now = MAX (g_get_monotonic_time (), 1);
  gint64 last = atomic_load_explicit (&limit->last, memory_order_relaxed);
  if ((last != 0 && now - last < RATE_LIMIT_INTERVAL)
      || !atomic_compare_exchange_strong_explicit (&limit->last, &last, now, memory_order_relaxed,
                                                   memory_order_relaxed))
    {
      atomic_fetch_add_explicit (&limit->suppressed, 1, memory_order_relaxed);
      return FALSE;
    }
  *suppressed = atomic_exchange_explicit (&limit->suppressed, 0, memory_order_relaxed);
  return TRUE;
}
