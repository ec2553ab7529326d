/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A harness calls the library's own code with any values that are possible and says what must hold
 * then. It must not assume more than the code may.
 *
 * How it works: CBMC takes every nondet_ call for any value at all and proves PROVE () for all of
 * them. A compiler makes a program that runs harness () again and again with random values, many of
 * them near the limits: that finds mistakes and proves nothing. ASSUME () that fails ends such a
 * run; REACHED () says that a run was worth something, and one that never happens is an error. */
#pragma once

#include <glib.h>

static void harness (void);

static GError harness_the_error;

void
harness_error (GError **error)
{
  if (error != NULL)
    *error = &harness_the_error;
}

#ifdef __CPROVER__

guint8 nondet_uint8 (void);
guint16 nondet_uint16 (void);
guint32 nondet_uint32 (void);
guint64 nondet_uint64 (void);

#define ASSUME(condition) __CPROVER_assume (condition)
#define PROVE(condition) __CPROVER_assert (condition, #condition)
#define REACHED(goal) ((void) 0)

/* The prover watches the bounds of every object by itself. */
static gpointer
harness_guarded (gsize size)
{
  return malloc (size);
}

/* Any value. The second form may be limited in a random run: see below. */
#define any_address(near) nondet_uint64 ()
#define any_length() nondet_uint64 ()
#define any_number(most) nondet_uint16 ()

/* CBMC has no qsort of its own. */
void
qsort (void *base, size_t n, size_t size, int (*compare) (const void *, const void *))
{
  guint8 *bytes = base;

  for (size_t i = 1; i < n; i++)
    for (size_t j = i; j > 0 && compare (bytes + (j - 1) * size, bytes + j * size) > 0; j--)
      for (size_t k = 0; k < size; k++)
        {
          guint8 byte = bytes[j * size + k];

          bytes[j * size + k] = bytes[(j - 1) * size + k];
          bytes[(j - 1) * size + k] = byte;
        }
}

/* Memory that the other side writes is volatile, and that is "any value" with --nondet-volatile. */
void
harness_meanwhile (void)
{
}

int
main (void)
{
  harness ();
  return 0;
}

#else

#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define HARNESS_RUNS 1000000u
#define HARNESS_GOALS 8

static guint64 harness_state = 1;
static guint64 harness_run;
static guint64 harness_seed;
static guint64 harness_goals[HARNESS_GOALS];
static jmp_buf harness_skip;

/* splitmix64: good enough, and the same everywhere. */
static guint64
nondet_uint64 (void)
{
  guint64 z = harness_state += 0x9e3779b97f4a7c15ull;

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

#define nondet_uint8() ((guint8) nondet_uint64 ())
#define nondet_uint16() ((guint16) nondet_uint64 ())
#define nondet_uint32() ((guint32) nondet_uint64 ())

#define ASSUME(condition)                                                                          \
  do                                                                                               \
    if (!(condition))                                                                              \
      longjmp (harness_skip, 1);                                                                   \
  while (0)
#define PROVE(condition)                                                                           \
  do                                                                                               \
    if (!(condition))                                                                              \
      {                                                                                            \
        printf ("line %d: does not hold: %s (seed %lu, run %lu)\n", __LINE__, #condition,          \
                harness_seed, harness_run);                                                        \
        exit (1);                                                                                  \
      }                                                                                            \
  while (0)
#define REACHED(goal) (harness_goals[goal]++)

/* Its last byte is the last one that there is: what reads past it ends the program. */
G_GNUC_UNUSED static gpointer
harness_guarded (gsize size)
{
  gsize page = (gsize) sysconf (_SC_PAGESIZE);
  gsize length = (size + page - 1) / page * page;
  guint8 *base
      = mmap (NULL, length + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (base == MAP_FAILED || mprotect (base + length, page, PROT_NONE) != 0)
    abort ();
  return base + length - size;
}

/* Mostly at one of the places where something begins or ends. */
G_GNUC_UNUSED static guint64
any_address (guint64 near)
{
  switch (nondet_uint8 () % 8)
    {
    case 0:
      return nondet_uint64 ();
    case 1:
      return (guint64) 0 - nondet_uint8 () % 64;
    default:
      return near + nondet_uint8 () % 128 - 16;
    }
}

G_GNUC_UNUSED static guint64
any_length (void)
{
  switch (nondet_uint8 () % 8)
    {
    case 0:
      return nondet_uint64 () >> nondet_uint8 () % 64;
    case 1:
      return (guint64) 0 - nondet_uint8 () % 64;
    case 2:
      return 16u * (nondet_uint8 () % 8);
    default:
      return nondet_uint8 () % 64;
    }
}

/* Mostly not above @most. */
G_GNUC_UNUSED static guint16
any_number (guint most)
{
  return nondet_uint8 () % 16 == 0 ? nondet_uint16 () : (guint16) (nondet_uint16 () % (most + 1));
}

/* Now and then the other side changes its mind; a harness that has such memory says how. */
static void (*harness_scribble) (void);

void
harness_meanwhile (void)
{
  if (harness_scribble != NULL && nondet_uint8 () % 4 == 0)
    harness_scribble ();
}

/* Arguments: the time in milliseconds, the seed. */
int
main (int argc, char **argv)
{
  gint64 left = argc > 1 ? atol (argv[1]) : 1000;
  struct timespec begin, now;
  guint64 worth = 0;
  int goals = 0;

  harness_seed = argc > 2 ? strtoul (argv[2], NULL, 10) : 1;
  clock_gettime (CLOCK_MONOTONIC, &begin);
  for (harness_run = 0; harness_run < HARNESS_RUNS; harness_run++)
    {
      /* Each run by itself, so that one can be repeated. */
      harness_state = (harness_seed << 32) + harness_run;
      if (setjmp (harness_skip) == 0)
        {
          harness ();
          worth++;
        }
      if (harness_run % 256 == 0)
        {
          /* A second of processor time for 256 runs: a loop without end. */
          setitimer (ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = 1 }, NULL);
          clock_gettime (CLOCK_MONOTONIC, &now);
          if ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 > left)
            break;
        }
    }
  printf ("%lu random runs, %lu of them possible;", harness_run, worth);
  for (int i = 0; i < HARNESS_GOALS; i++)
    if (harness_goals[i] > 0)
      {
        goals++;
        printf (" %d: %lu", i, harness_goals[i]);
      }
  printf ("\n");
  return goals == GOALS ? 0 : 2;
}

#endif
