/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process-wide SIGBUS handler that survives a shrinking guest memory file. Must do nothing in
 * the handler that is not async-signal-safe, and must not swallow a fault that is not ours.
 *
 * How it works: a slot of the table is free (base 0), claimed (base 1: being filled or being
 * emptied) or live (base is an address). The handler counts itself in before it looks at any slot,
 * and vhost_sigbus_unprotect () takes its slot out of the live ones before it looks at that count;
 * both with sequential consistency, so that one of them sees the other: either the handler no
 * longer finds the slot, or the unprotecting thread waits until it is done with it. Only then may
 * the slot, the mapping and its flag be used for something else. */
#include "config.h"

#include "vhost-sigbus-private.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "vhost-error.h"

#define SLOTS 4096
#define SLOT_FREE ((guintptr) 0)
#define SLOT_CLAIMED ((guintptr) 1)

/* After this many faults in one mapping the replacement plainly does not help (its own pages fail,
 * for example because swap does): the process would fault for ever. Far more than the threads that
 * can meet in one fault. */
#define FAULTS_MAX 65536

typedef struct
{
  _Atomic (guintptr) base;
  /* Plain: written only while the slot is claimed, read only while it is live. */
  gsize length;
  _Atomic (gboolean) *poisoned;
  _Atomic (guint) faults;
} Slot;

static Slot slots[SLOTS];
/* Slots at and above this one were never used: the handler need not look at them. */
static _Atomic (guint) n_slots;
/* Threads in the handler's use of the table. */
static _Atomic (guint) n_handling;

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static gboolean installed; /* under install_lock */
/* What was there before us; written before our handler is installed, never again. */
static struct sigaction previous;
static _Atomic (gboolean) previous_reset;

/* Called: in the signal handler. TRUE: the fault was in one of our mappings, which now has pages.
 */
static gboolean
handle_fault (guintptr address)
{
  gboolean handled = FALSE;
  guint n;

  /* Partner: the load in vhost_sigbus_unprotect (). */
  atomic_fetch_add_explicit (&n_handling, 1, memory_order_seq_cst);

  n = atomic_load_explicit (&n_slots, memory_order_seq_cst);
  for (guint i = 0; i < n && !handled; i++)
    {
      Slot *slot = &slots[i];
      /* Partners: the store in vhost_sigbus_protect () (length and flag are visible with it) and
       * the exchange in vhost_sigbus_unprotect (). */
      guintptr base = atomic_load_explicit (&slot->base, memory_order_seq_cst);

      if (base == SLOT_FREE || base == SLOT_CLAIMED || address - base >= slot->length)
        continue;
      if (atomic_fetch_add_explicit (&slot->faults, 1, memory_order_relaxed) >= FAULTS_MAX)
        break;

      /* Set first: who reads zeros from the new pages and then looks at the flag must find it set.
       * Partner: vhost_memory_is_poisoned (). */
      atomic_store_explicit (slot->poisoned, TRUE, memory_order_release);
      /* The whole mapping at once: one fault for all of it, and it is the only way that works for
       * huge pages. Several threads may do this to the same mapping; each ends with zero pages
       * there. */
      handled = mmap ((void *) base, slot->length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)
                != MAP_FAILED;
    }

  /* Partner: the load in vhost_sigbus_unprotect (), which reuses the slot after it. */
  atomic_fetch_sub_explicit (&n_handling, 1, memory_order_seq_cst);
  return handled;
}

/* Called: in the signal handler. What would have happened without us. */
static void
call_previous (int signal_number, siginfo_t *info, void *context)
{
  gboolean gone = (previous.sa_flags & SA_RESETHAND) != 0
                  && atomic_exchange_explicit (&previous_reset, TRUE, memory_order_relaxed);
  gboolean sent = info->si_code <= 0;

  if (!gone && (previous.sa_flags & SA_SIGINFO) != 0)
    {
      previous.sa_sigaction (signal_number, info, context);
    }
  else if (!gone && previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
    {
      previous.sa_handler (signal_number);
    }
  else if (sent && !gone && previous.sa_handler == SIG_IGN)
    {
      /* kill () with the signal ignored: nothing. A fault cannot be ignored, the kernel kills all
       * the same. */
    }
  else
    {
      struct sigaction fatal = { .sa_handler = SIG_DFL };

      /* A fault comes again when we return, and then kills with the right address in the core file;
       * a signal that somebody sent has to be sent again. It stays blocked until we return. */
      sigemptyset (&fatal.sa_mask);
      sigaction (signal_number, &fatal, NULL);
      if (sent)
        raise (signal_number);
    }
}

/* Called: as a signal handler, on the thread that faulted, perhaps on its alternate stack. */
static void
on_sigbus (int signal_number, siginfo_t *info, void *context)
{
  int saved_errno = errno;
  gboolean handled = FALSE;

  /* Only what says "there is no page": after an alignment fault new pages would bring the same
   * fault again, and si_addr of a signal that was sent, or of a memory error not yet touched (AO),
   * is not an access of this thread. */
  if (info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR)
    handled = handle_fault ((guintptr) info->si_addr);
  errno = saved_errno;
  if (!handled)
    call_previous (signal_number, info, context);
}

/* With install_lock held. */
static gboolean
install_locked (GError **error)
{
  struct sigaction action = { 0 };

  if (installed)
    return TRUE;

  /* Asked for first, not taken from the call that installs: a fault between that call's return and
   * the end of its writing would find `previous` half filled. */
  if (sigaction (SIGBUS, NULL, &previous) == 0)
    {
      action.sa_sigaction = on_sigbus;
      /* What the previous handler asked for with its flags and its mask holds for it still, since
       * it runs within ours. */
      action.sa_mask = previous.sa_mask;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK | (previous.sa_flags & (SA_NODEFER | SA_RESTART));
      if (sigaction (SIGBUS, &action, NULL) == 0)
        {
          installed = TRUE;
          return TRUE;
        }
    }

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
               "cannot install the SIGBUS handler that guards shared memory: %s",
               g_strerror (errno));
  return FALSE;
}

gboolean
vhost_sigbus_protect (void *base, gsize length, _Atomic (gboolean) *poisoned, GError **error)
{
  gboolean ready;

  pthread_mutex_lock (&install_lock);
  ready = install_locked (error);
  pthread_mutex_unlock (&install_lock);
  if (!ready)
    return FALSE;

  for (guint i = 0; i < SLOTS; i++)
    {
      Slot *slot = &slots[i];
      guintptr expected = SLOT_FREE;
      guint n;

      /* Acquire: its partner is the release store of SLOT_FREE in vhost_sigbus_unprotect (). */
      if (!atomic_compare_exchange_strong_explicit (&slot->base, &expected, SLOT_CLAIMED,
                                                    memory_order_acquire, memory_order_relaxed))
        continue;

      slot->length = length;
      slot->poisoned = poisoned;
      atomic_store_explicit (&slot->faults, 0, memory_order_relaxed);

      /* The bound first, so that a live slot is always below it. */
      n = atomic_load_explicit (&n_slots, memory_order_relaxed);
      while (n <= i
             && !atomic_compare_exchange_weak_explicit (&n_slots, &n, i + 1, memory_order_seq_cst,
                                                        memory_order_relaxed))
        ;
      /* Partner: the load in handle_fault (). */
      atomic_store_explicit (&slot->base, (guintptr) base, memory_order_seq_cst);
      return TRUE;
    }

  g_set_error (error, VHOST_ERROR, VHOST_ERROR_FAILED,
               "%d mappings of files that may shrink are in use already: let the front-end share "
               "memory that can be sealed (a memfd), or use more processes",
               SLOTS);
  return FALSE;
}

void
vhost_sigbus_unprotect (void *base)
{
  guint n = atomic_load_explicit (&n_slots, memory_order_seq_cst);

  for (guint i = 0; i < n; i++)
    {
      Slot *slot = &slots[i];
      guintptr expected = (guintptr) base;

      if (!atomic_compare_exchange_strong_explicit (&slot->base, &expected, SLOT_CLAIMED,
                                                    memory_order_seq_cst, memory_order_relaxed))
        continue;

      /* Partner: handle_fault ()'s count. Who counted in before our exchange may hold the slot; it
       * needs some tens of microseconds, and the caller's next step is munmap: waiting is the only
       * safe thing. */
      while (atomic_load_explicit (&n_handling, memory_order_seq_cst) != 0)
        sched_yield ();
      atomic_store_explicit (&slot->base, SLOT_FREE, memory_order_release);
      return;
    }
}
