/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Debug switches and static probes. Nothing here costs more than a load and a branch when it is
 * off. */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "config.h"

#if HAVE_SDT
#include <sys/sdt.h>
#define VHOST_PROBE1(name, a) DTRACE_PROBE1 (vhost, name, a)
#define VHOST_PROBE2(name, a, b) DTRACE_PROBE2 (vhost, name, a, b)
#define VHOST_PROBE3(name, a, b, c) DTRACE_PROBE3 (vhost, name, a, b, c)
#else
#define VHOST_PROBE1(name, a)
#define VHOST_PROBE2(name, a, b)
#define VHOST_PROBE3(name, a, b, c)
#endif

typedef enum
{
  VHOST_DEBUG_CONTROL = 1 << 0,
  VHOST_DEBUG_DATA = 1 << 1,
  VHOST_DEBUG_WIRE = 1 << 2,
} VhostDebugFlags;

/* From VHOST_DEBUG=control,data,wire; read once. */
VhostDebugFlags vhost_debug_flags (void);

#define vhost_debug(area, ...)                                                                     \
  G_STMT_START                                                                                     \
  {                                                                                                \
    if (G_UNLIKELY (vhost_debug_flags () & VHOST_DEBUG_##area))                                    \
      g_message (__VA_ARGS__);                                                                     \
  }                                                                                                \
  G_STMT_END

/* At most one message a second for each call site: what a guest can cause must not fill a disk. */
typedef struct
{
  _Atomic (gint64) last; /* monotonic us; 0: never */
  _Atomic (guint) suppressed;
} VhostRateLimit;

gboolean vhost_rate_limit_allows (VhostRateLimit *limit, guint *suppressed);

#define vhost_warn_limited(...)                                                                    \
  G_STMT_START                                                                                     \
  {                                                                                                \
    static VhostRateLimit _limit;                                                                  \
    guint _suppressed;                                                                             \
    if (vhost_rate_limit_allows (&_limit, &_suppressed))                                           \
      {                                                                                            \
        g_autofree char *_text = g_strdup_printf (__VA_ARGS__);                                    \
        if (_suppressed > 0)                                                                       \
          g_warning ("%s (and %u more since)", _text, _suppressed);                                \
        else                                                                                       \
          g_warning ("%s", _text);                                                                 \
      }                                                                                            \
  }                                                                                                \
  G_STMT_END
