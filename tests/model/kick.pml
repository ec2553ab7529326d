/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can a kick be lost? A driver publishes requests and kicks only if the device wants it; the device
 * drains, polls a while with kicks switched off, switches them on, looks once more and sleeps.
 * Memory is x86's: a store waits in its processor's buffer while later loads overtake it. Spin
 * finds a lost wake-up as a state without an exit: a device that sleeps while requests are there.
 *
 * EVENT_IDX: split with avail_event, and packed with the event structure's DESC: one store says
 *   which request shall kick. Otherwise FLAGS: kicks are off or on as a whole.
 * NO_DRIVER_FENCE takes away the fence between publishing and reading what the device wants.
 * NO_DEVICE_FENCE takes away the one in kicks_on () of the ring layouts.
 * NO_SECOND_LOOK takes away the look after that fence (VIRTIO 1.3, 2.7.10, 2.8.14). */
#define N 4

byte available = 0;              /* requests published, as memory has it */
byte event = 0;                  /* the request that shall kick, as memory has it */
bool off = false;                /* FLAGS: no kicks wanted, as memory has it */

byte driver_store = 0;           /* the driver's store buffer: one store */
bool driver_full = false;
byte device_event = 0;           /* the device's */
bool device_off = false;
bool device_full = false;

bool kick = false;

inline store_available (value) { atomic { !driver_full -> driver_store = value; driver_full = true } }
inline store_wish (value, no) { atomic { !device_full -> device_event = value; device_off = no; device_full = true } }

proctype driver_buffer ()
{
end:
  do
  :: atomic { driver_full -> available = driver_store; driver_full = false }
  od
}

proctype device_buffer ()
{
end:
  do
  :: atomic { device_full -> event = device_event; off = device_off; device_full = false }
  od
}

proctype driver ()
{
  byte at = 0, batch, wanted;
  bool suppressed;

  do
  :: at < N ->
     if :: batch = 1 :: at + 2 <= N -> batch = 2 fi;
     store_available (at + batch);
#ifndef NO_DRIVER_FENCE
     !driver_full;
#endif
#ifdef EVENT_IDX
     wanted = event;
     if :: wanted >= at && wanted < at + batch -> kick = true :: else fi;
#else
     suppressed = off;
     if :: !suppressed -> kick = true :: else fi;
#endif
     at = at + batch
  :: else -> break
  od
}

proctype device ()
{
  byte seen = 0, now, idle;

  do
  :: true ->
#ifndef EVENT_IDX
     store_wish (0, true);
#endif
     idle = 0;
     do
     :: now = available;
        if
        :: now != seen -> seen = now; idle = 0
        :: now == seen && idle < 2 -> idle++
        :: else -> break
        fi
     od;
     if :: seen == N -> break :: else fi;
     store_wish (seen, false);
#ifndef NO_DEVICE_FENCE
     !device_full;
#endif
#ifndef NO_SECOND_LOOK
     now = available;
#else
     now = seen;
#endif
     if
     :: now != seen
     :: else -> atomic { kick -> kick = false }    /* asleep */
     fi
  od
}

init { atomic { run driver_buffer (); run device_buffer (); run driver (); run device () } }
