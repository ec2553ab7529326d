/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The few of GLib's names that the proved files use, in plain C, so that a prover can read them. It
 * must have the meaning of GLib's own where a harness can see it, and nothing more. */
#pragma once

#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int gboolean;
typedef int gint;
typedef unsigned int guint;
typedef unsigned int GQuark;
typedef size_t gsize;
typedef ptrdiff_t gssize;
typedef size_t GType;
typedef uintptr_t guintptr;
typedef uint8_t guint8;
typedef uint16_t guint16;
typedef uint32_t guint32;
typedef uint64_t guint64;
typedef int16_t gint16;
typedef int32_t gint32;
typedef int64_t gint64;
typedef void *gpointer;
typedef const void *gconstpointer;
typedef struct _GBytes GBytes;

typedef struct
{
  int code;
} GError;

#define FALSE 0
#define TRUE 1
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define G_MAXUINT16 UINT16_MAX
#define G_MAXUINT32 UINT32_MAX
#define G_MAXUINT64 UINT64_MAX
#define G_MAXINT64 INT64_MAX
#define G_MAXSSIZE SSIZE_MAX
#define G_GUINT64_CONSTANT(value) (value##ull)
#define G_N_ELEMENTS(array) (sizeof (array) / sizeof (array)[0])
#define G_STRUCT_OFFSET(type, member) offsetof (type, member)
#define G_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#define G_LIKELY(condition) (condition)
#define G_UNLIKELY(condition) (condition)
#define G_GNUC_NO_INLINE
#define G_GNUC_UNUSED __attribute__ ((unused))
#define G_GNUC_PRINTF(format, arguments)
#define G_BEGIN_DECLS
#define G_END_DECLS
#define G_GINT64_MODIFIER "l"
#define G_GUINT64_FORMAT "lu"
#define G_GSIZE_FORMAT "zu"

/* Each of these stands around one read of memory that the other side can write: what it does there
 * meanwhile is the harness's. */
void harness_meanwhile (void);

static inline guint64
harness_read (guint64 value)
{
  harness_meanwhile ();
  return value;
}

#define GUINT16_FROM_LE(value) ((guint16) harness_read (value))
#define GUINT32_FROM_LE(value) ((guint32) harness_read (value))
#define GUINT64_FROM_LE(value) harness_read (value)
#define GUINT16_TO_LE(value) ((guint16) (value))
#define GUINT32_TO_LE(value) ((guint32) (value))

/* The text of an error is of no interest, that there is one is. */
void harness_error (GError **error);

#define g_set_error(error, ...) harness_error (error)
#define g_set_error_literal(error, ...) harness_error (error)
#define g_strdup_vprintf(format, args) NULL
#define g_strerror(number) ""
#define g_return_val_if_fail(condition, value) ((void) 0)
#define g_return_if_fail(condition) ((void) 0)

#define g_malloc(size) malloc (size)
#define g_malloc0(size) calloc (1, size)
#define g_new(type, n) ((type *) malloc ((n) * sizeof (type)))
#define g_new0(type, n) ((type *) calloc (n, sizeof (type)))
#define g_free(memory) free ((void *) (memory))
#define g_memdup2(memory, size) memcpy (malloc (size), memory, size)

static inline gpointer
harness_steal (gpointer *place)
{
  gpointer value = *place;

  *place = NULL;
  return value;
}

static inline void
harness_autofree (void *place)
{
  free (*(void **) place);
}

#define g_steal_pointer(place) harness_steal ((gpointer *) (place))
#define g_clear_pointer(place, destroy)                                                            \
  do                                                                                               \
    {                                                                                              \
      if (*(place) != NULL)                                                                        \
        destroy (*(place));                                                                        \
      *(place) = NULL;                                                                             \
    }                                                                                              \
  while (0)
#define g_autofree __attribute__ ((cleanup (harness_autofree)))
/* Nothing that a harness looks at is freed by these. */
#define g_autoptr(type) type##Autoptr *
#define G_DEFINE_AUTOPTR_CLEANUP_FUNC(type, function) typedef type type##Autoptr;
#define G_DEFINE_BOXED_TYPE(type, name, ref, unref)
