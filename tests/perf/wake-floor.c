/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How often a second a thread on one CPU can be woken through an eventfd by a thread on another
 * that does nothing but wait for it: no back-end can serve a front-end that sleeps after each
 * request faster than that. Prints one number.
 *
 * Usage: wake-floor SLEEPER-CPU WAKER-CPU SECONDS */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static _Atomic (unsigned) request;
static _Atomic (int) stop;
static int call_fd;

static void
pin (int cpu)
{
  cpu_set_t set;

  CPU_ZERO (&set);
  CPU_SET (cpu, &set);
  pthread_setaffinity_np (pthread_self (), sizeof set, &set);
}

static void *
wake (void *cpu)
{
  unsigned seen = 0;

  pin (*(int *) cpu);
  while (!stop)
    if (request != seen)
      {
        seen = request;
        eventfd_write (call_fd, 1);
      }
  return NULL;
}

int
main (int argc, char **argv)
{
  pthread_t thread;
  struct timespec start, now;
  eventfd_t value;
  double seconds = argc > 3 ? atof (argv[3]) : 1, elapsed;
  int waker = argc > 2 ? atoi (argv[2]) : 1;
  unsigned n = 0;

  call_fd = eventfd (0, EFD_CLOEXEC);
  if (call_fd < 0 || pthread_create (&thread, NULL, wake, &waker) != 0)
    return 1;
  pin (argc > 1 ? atoi (argv[1]) : 0);
  clock_gettime (CLOCK_MONOTONIC, &start);
  do
    {
      request++;
      eventfd_read (call_fd, &value); /* blocks */
      n++;
      clock_gettime (CLOCK_MONOTONIC, &now);
      elapsed = now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9;
    }
  while (elapsed < seconds);
  stop = 1;
  pthread_join (thread, NULL);
  printf ("%.0f\n", n / elapsed);
  return 0;
}
