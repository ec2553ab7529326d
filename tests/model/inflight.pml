/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of stores when a group of split-ring requests ends (vhost-user specification, "Inflight
 * I/O tracking"): the process may be killed after each of them, and the next one has the area and
 * the ring only. Three requests, taken in order; two end together, then the third. A request that
 * is given back twice, or never, breaks an assertion.
 *
 * CLEAR_FIRST clears the flags before the index is shown, INDEX_FIRST shows it before the list is
 * linked, FORGET_USED leaves the area's own index behind, CLEAR_ONE recovers one request of the
 * last group in place of all of it. */
#define N 3
#define END 7

bit inflight[N];
byte next[N];
byte last_batch = END;
byte area_used = 0;
byte ring_used = 0;
byte given[N];                   /* how often the driver saw it */
byte order[N];                   /* the used ring's entries */
bool crashed = false;

/* Perhaps the end of the process. */
inline step () { if :: !crashed -> crashed = true; goto recover :: true fi }

/* What the driver sees: entries below the index, each once. */
inline reveal (upto)
{
  atomic {
    k = ring_used;
    do :: k < upto -> given[order[k]]++; assert (given[order[k]] == 1); k++ :: else -> break od;
    ring_used = upto
  }
}

/* Requests a and b (END: only a) end as one group. */
inline end_group (a, b)
{
  order[ring_used] = a;
  if :: b != END -> order[ring_used + 1] = b :: else fi;
  n = (b != END -> 2 : 1);
#ifdef CLEAR_FIRST
  inflight[a] = 0; step ();
  if :: b != END -> inflight[b] = 0; step () :: else fi;
#endif
#ifdef INDEX_FIRST
  reveal (ring_used + n); step ();
#endif
  next[a] = last_batch; step ();
  last_batch = a; step ();
  if :: b != END -> next[b] = last_batch; step (); last_batch = b; step () :: else fi;
#ifndef INDEX_FIRST
  reveal (ring_used + n); step ();
#endif
  inflight[a] = 0; step ();
  if :: b != END -> inflight[b] = 0; step () :: else fi;
#ifndef FORGET_USED
  area_used = ring_used; step ()
#endif
}

proctype backend ()
{
  byte i, k, n, at, left;

  i = 0;
  do :: i < N -> inflight[i] = 1; i++ :: else -> break od;
  end_group (1, 0);
  end_group (2, END);
  goto finished;

recover:
  if
  :: area_used != ring_used ->
     left = ring_used - area_used;
     at = last_batch;
#ifdef CLEAR_ONE
     left = 1;
#endif
     do
     :: left > 0 -> assert (at < N); inflight[at] = 0; at = next[at]; left--
     :: else -> break
     od;
     area_used = ring_used
  :: else
  fi;
  /* Whatever is in flight still is served again, in order. */
  i = 0;
  do
  :: i < N ->
     if
     :: inflight[i] -> order[ring_used] = i; reveal (ring_used + 1); inflight[i] = 0; area_used = ring_used
     :: else
     fi;
     i++
  :: else -> break
  od;

finished:
  i = 0;
  do :: i < N -> assert (given[i] == 1); i++ :: else -> break od
}

init { run backend () }
