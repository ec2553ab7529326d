/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can a call be lost? Within a pass the device shows its completions in groups and thinks about a
 * call only twice: at the first completion and at the pass's end, each time about all that came
 * since the last time. The driver takes what it sees, then asks to be called, looks once more and
 * sleeps. Memory is x86's, as in kick.pml; a state without an exit is a driver that sleeps while
 * completions are there.
 *
 * EVENT_IDX or FLAGS as there. NO_DEVICE_FENCE takes away the fence in publish () of the ring
 * layouts, NO_DRIVER_FENCE the driver's. NO_LAST_DECISION shows the last group without the thought
 * at the pass's end; STALE_OLD thinks only about the last group, not about all since the last
 * decision. */
#define N 5
#define GROUP 2

byte used = 0;                   /* completions shown, as memory has it */
byte event = 0;                  /* the completion that shall call, as memory has it */
bool off = false;

byte device_store = 0;
bool device_full = false;
byte driver_event = 0;
bool driver_off = false;
bool driver_full = false;

bool call = false;

inline store_used (value) { atomic { !device_full -> device_store = value; device_full = true } }
inline store_wish (value, no) { atomic { !driver_full -> driver_event = value; driver_off = no; driver_full = true } }

proctype device_buffer ()
{
end:
  do
  :: atomic { device_full -> used = device_store; device_full = false }
  od
}

proctype driver_buffer ()
{
end:
  do
  :: atomic { driver_full -> event = driver_event; off = driver_off; driver_full = false }
  od
}

inline decide ()
{
  store_used (at);
#ifndef NO_DEVICE_FENCE
  !device_full;
#endif
#ifdef EVENT_IDX
  wanted = event;
  if :: wanted >= old && wanted < at -> call = true :: else fi;
#else
  suppressed = off;
  if :: !suppressed -> call = true :: else fi;
#endif
  old = at
}

proctype device ()
{
  byte at = 0, old = 0, wanted, n, group;
  bool suppressed;

  do
  :: at == N -> break
  :: else ->                     /* a pass of one to five completions */
     if :: n = 1 :: at + 3 <= N -> n = 3 :: at == 0 -> n = N fi;
     if :: at + n > N -> n = N - at :: else fi;
     at++; n--;
     decide ();
     group = 0;
     do
     :: n == 0 -> break
     :: else ->
        at++; n--; group++;
        if
        :: group == GROUP ->
           group = 0;
           store_used (at);
#ifdef STALE_OLD
           old = at
#endif
        :: else
        fi
     od;
#ifdef NO_LAST_DECISION
     store_used (at)
#else
     if :: at > old -> decide () :: else fi
#endif
  od
}

proctype driver ()
{
  byte seen = 0, now;

  do
  :: true ->
#ifndef EVENT_IDX
     store_wish (0, true);
#endif
     do
     :: now = used;
        if :: now != seen -> seen = now :: else -> break fi
     od;
     if :: seen == N -> break :: else fi;
     store_wish (seen, false);
#ifndef NO_DRIVER_FENCE
     !driver_full;
#endif
     now = used;
     if
     :: now != seen
     :: else -> atomic { call -> call = false }    /* asleep */
     fi
  od
}

init { atomic { run device_buffer (); run driver_buffer (); run device (); run driver () } }
