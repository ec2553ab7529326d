/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model test of in-flight tracking: the real ring and in-flight code, killed after every single
 * store to shared memory. Must not know how the area works; it knows what a guest may expect.
 *
 * How it works: a history is a random sequence of a driver's and a device's doings, the same each
 * time for the same number. It is run once to its end, to count its stores, then once for each
 * store, with the device's process ending there; all private state is thrown away, the guest does
 * some more, and a new process starts from the ring and the area alone. That one may be killed too,
 * often while it recovers. The last one finishes everything. Then each request must have been given
 * back, once, and no process may have been given a request that the driver had seen used, or
 * requests in another order than that of taking.
 *
 * A test that finds nothing proves nothing: the same histories run with mistakes made on purpose (a
 * store forgotten, two stores swapped), each of which must be found.
 *
 * VHOST_MODEL_HISTORIES: how many histories for each kind of ring. */
#include "config.h"

#include "hand-ring.h"
#include "model-driver.h"
#include "model-memory.h"
#include "vhost-inflight-layout-private.h"
#include "vhost-ring-private.h"

#define HISTORIES 1200
#define OPERATIONS 48
#define AREA_QUEUES 2 /* ours is the second: its neighbour must stay as it is */
#define PACKED_BASE 0x80008000u

typedef struct
{
  gboolean packed, in_order;
  guint size;
} Kind;

/* What outlives the process. */
static HandRing hand;
static ModelDriver driver;
static VhostInflight *area;
static guint8 *area_memory;
static gsize area_length, region_length;

/* The process. */
static struct
{
  VhostRing ring;
  VhostMemoryCache cache;
  guint64 budget;
  gboolean running;
  VhostChain *held[MODEL_RING_MAX];
  guint held_request[MODEL_RING_MAX];
  guint n_held;
  int last_taken;
} process;

static VhostChain *spare[MODEL_RING_MAX];
static guint n_spare;

/* Why a history failed; NULL: it has not. */
static char *problem;

static void G_GNUC_PRINTF (1, 2) fail (const char *format, ...)
{
  va_list args;

  if (problem != NULL)
    return;
  va_start (args, format);
  problem = g_strdup_vprintf (format, args);
  va_end (args);
}

static void
give_back_chain (VhostChain *chain)
{
  process.budget += vhost_chain_recycle (chain);
  spare[n_spare++] = chain;
}

static void
end_process (void)
{
  while (process.n_held > 0)
    give_back_chain (process.held[--process.n_held]);
  vhost_ring_clear (&process.ring);
  process.running = FALSE;
}

static void
start_process (const Kind *kind)
{
  g_autoptr (GError) error = NULL;
  VhostRing *ring = &process.ring;
  guint32 base = kind->packed ? PACKED_BASE : hand_used_index (&hand);
  gboolean started;

  vhost_ring_init (ring, kind->packed ? &vhost_ring_packed_ops : &vhost_ring_split_ops, kind->size);
  memset (&process.cache, 0, sizeof process.cache);
  ring->memory = hand.memory;
  ring->cache = &process.cache;
  ring->descriptor_address = HAND_DESC;
  ring->available_address = HAND_AVAIL;
  ring->used_address = HAND_USED;
  ring->in_order = kind->in_order;
  process.budget = 1024 * 1024;
  ring->segments_left = &process.budget;
  ring->inflight = vhost_inflight_region_new (area, 1, kind->size, &error);
  g_assert_no_error (error);
  process.last_taken = -1;
  process.running = TRUE;

  model_memory_begin (TRUE);
  started = ring->ops->place (ring, &error) && ring->ops->set_base (ring, base, &error);
  if (model_memory_end ())
    end_process ();
  else if (!started)
    fail ("the ring does not start: %s", error->message);
}

/* Which request this chain is, by its addresses; checks that it is whole. */
static int
identify (VhostChain *chain)
{
  guint8 *data = hand.memory->slots[0].host + (HAND_DATA - HAND_BASE); /* the library's mapping */
  guint n = chain->n_readable + chain->n_writable;
  guint64 offset = (guint64) ((guint8 *) chain->segments[0].iov_base - data);
  guint64 request = offset / MODEL_REQUEST;

  if (n == 0 || request >= driver.n_requests || n != driver.requests[request].n)
    return -1;
  for (guint i = 0; i < n; i++)
    if ((guint8 *) chain->segments[i].iov_base != data + request * MODEL_REQUEST + i * MODEL_BUFFER)
      return -1;
  return (int) request;
}

static void
take (void)
{
  g_autoptr (GError) error = NULL;
  VhostChain *chain = spare[--n_spare];
  VhostRingResult result;
  int request;

  model_memory_begin (FALSE);
  result = process.ring.ops->pop (&process.ring, chain, &error);
  if (model_memory_end ())
    {
      give_back_chain (chain);
      end_process ();
      return;
    }
  if (result != VHOST_RING_TAKEN)
    {
      give_back_chain (chain);
      if (result != VHOST_RING_EMPTY)
        fail ("taking fails: %s", error != NULL ? error->message : "no error set");
      return;
    }
  request = identify (chain);
  if (request < 0)
    fail ("what was taken is no request");
  else if (driver.requests[request].used)
    fail ("request %d is served again, and the driver has seen it used", request);
  else if (request <= process.last_taken)
    fail ("request %d is taken after request %d", request, process.last_taken);
  if (problem != NULL)
    {
      give_back_chain (chain);
      return;
    }
  process.last_taken = request;
  process.held_request[process.n_held] = (guint) request;
  process.held[process.n_held++] = chain;
}

static void
push (ModelRandom *random, gboolean in_turn)
{
  guint at = in_turn ? 0 : model_random (random, process.n_held);
  VhostChain *chain = process.held[at];
  guint request = process.held_request[at];
  guint32 length = model_random (random, 2) ? (guint32) chain->writable_size : 0;

  process.n_held--;
  memmove (process.held + at, process.held + at + 1, (process.n_held - at) * sizeof chain);
  memmove (process.held_request + at, process.held_request + at + 1,
           (process.n_held - at) * sizeof request);
  /* Its work is done; whether that gets known is the question. */
  driver.requests[request].completed = TRUE;
  model_memory_begin (FALSE);
  process.ring.ops->push (&process.ring, chain, length);
  give_back_chain (chain);
  if (model_memory_end ())
    end_process ();
}

static void
publish (gboolean expose_only)
{
  model_memory_begin (FALSE);
  if (expose_only)
    process.ring.ops->expose (&process.ring);
  else
    process.ring.ops->publish (&process.ring);
  if (model_memory_end ())
    end_process ();
}

static void
kicks (gboolean on)
{
  model_memory_begin (FALSE);
  if (on)
    process.ring.ops->kicks_on (&process.ring);
  else
    process.ring.ops->kicks_off (&process.ring);
  if (model_memory_end ())
    end_process ();
}

static void
see (void)
{
  const char *what = model_driver_see (&driver);

  if (what != NULL)
    fail ("%s", what);
}

static void
offer_some (ModelRandom *random)
{
  for (guint n = model_random (random, 4); n > 0; n--)
    model_driver_offer (&driver, random);
}

static void
operate (ModelRandom *random)
{
  switch (model_random (random, 8))
    {
    case 0:
    case 1:
      offer_some (random);
      break;
    case 2:
    case 3:
      for (guint n = 1 + model_random (random, 4); n > 0 && n_spare > 0; n--)
        if (process.running && problem == NULL)
          take ();
      break;
    case 4:
    case 5:
      for (guint n = 1 + model_random (random, 3), in_turn = model_random (random, 2); n > 0; n--)
        if (process.running && process.n_held > 0)
          push (random, in_turn);
      break;
    case 6:
      publish (model_random (random, 2));
      break;
    default:
      if (model_random (random, 4) == 0)
        kicks (model_random (random, 2));
      see ();
      model_driver_reuse (&driver, random);
      break;
    }
}

/* The guest between two processes, and then the next one, which may be killed as well. */
static void
come_back (const Kind *kind, ModelRandom *random, guint *deaths)
{
  see (); /* our account of what the driver can see now */
  if (model_random (random, 2))
    model_driver_reuse (&driver, random);
  if (model_random (random, 2))
    offer_some (random);
  model_memory_stop_after (0);
  if (++*deaths < 4 && model_random (random, 3) > 0)
    model_memory_stop_after (1 + model_random (random, model_random (random, 2) ? 6 : 80));
  start_process (kind);
}

/* Everything is served; nothing must be left. */
static void
finish (const Kind *kind, ModelRandom *random, guint *deaths)
{
  for (guint turns = 0; turns < 64 && problem == NULL; turns++)
    {
      gboolean all = TRUE;

      if (!process.running)
        {
          *deaths = G_MAXUINT / 2;
          come_back (kind, random, deaths);
        }
      for (guint i = 0; i < kind->size && process.running && n_spare > 0 && problem == NULL; i++)
        take ();
      while (process.running && process.n_held > 0)
        push (random, FALSE);
      if (process.running)
        publish (FALSE);
      see ();
      for (guint i = 0; i < driver.n_requests; i++)
        all = all && driver.requests[i].used;
      if (all && process.running)
        return;
    }
  for (guint i = 0; i < driver.n_requests; i++)
    if (!driver.requests[i].used)
      fail ("request %u is lost", i);
  fail ("the device does not come to an end");
}

/* One history, killed for the first time after @stop_at stores. Returns its stores. */
static guint
run (const Kind *kind, guint64 seed, guint stop_at)
{
  ModelRandom random = { seed };
  guint deaths = 0, steps;

  memset (area_memory, 0, area_length);
  memset (hand_at (&hand, HAND_DESC), 0, 16 * MODEL_RING_MAX);
  memset (hand_at (&hand, HAND_AVAIL), 0, 64);
  memset (hand_at (&hand, HAND_USED), 0, 256);
  model_driver_reset (&driver);
  model_memory_stop_after (stop_at);
  start_process (kind);
  for (guint i = 0; i < OPERATIONS && problem == NULL; i++)
    {
      if (!process.running)
        come_back (kind, &random, &deaths);
      else
        operate (&random);
    }
  steps = model_memory_get_steps ();
  finish (kind, &random, &deaths);
  end_process ();
  for (gsize i = 0; i < region_length; i++)
    if (area_memory[i] != 0)
      fail ("byte %" G_GSIZE_FORMAT " of another queue's region was written", i);
  return steps;
}

static void
set_up_kind (const Kind *kind, const ModelMistake *mistake)
{
  GError *error = NULL;

  memset (&driver, 0, sizeof driver);
  driver.packed = kind->packed;
  driver.in_order = kind->in_order;
  driver.size = kind->size;
  driver.descriptors = hand_at (&hand, HAND_DESC);
  driver.available = hand_at (&hand, HAND_AVAIL);
  driver.used = hand_at (&hand, HAND_USED);
  driver.data = HAND_DATA;
  area = vhost_inflight_new (AREA_QUEUES, kind->size, kind->packed, &error);
  g_assert_no_error (error);
  area_length = vhost_inflight_get_size (area);
  region_length = area_length / AREA_QUEUES;
  area_memory = mmap (NULL, area_length, PROT_READ | PROT_WRITE, MAP_SHARED,
                      vhost_inflight_get_fd (area), 0);
  g_assert_true (area_memory != MAP_FAILED);
  model_memory_watch (kind->packed, area_memory + region_length, region_length, driver.descriptors,
                      16 * kind->size, driver.used, 6 + 8 * kind->size);
  model_memory_set_mistake (mistake);
}

static void
clear_kind (void)
{
  munmap (area_memory, area_length);
  g_clear_pointer (&area, vhost_inflight_unref);
}

/* Runs histories until one fails. TRUE: one did. */
static gboolean
search (gboolean packed, gboolean in_order, guint histories, const ModelMistake *mistake)
{
  guint64 runs = 0;

  for (guint i = 0; i < histories && problem == NULL; i++)
    {
      static const guint split_sizes[] = { 4, 2, 8, 1, 16 };
      static const guint packed_sizes[] = { 4, 3, 5, 8, 1, 2, 7, 16 };
      Kind kind = { .packed = packed, .in_order = in_order };
      guint64 seed = (guint64) i << 8;
      guint steps, stop_at = 0;

      kind.size = packed ? packed_sizes[i % G_N_ELEMENTS (packed_sizes)]
                         : split_sizes[i % G_N_ELEMENTS (split_sizes)];
      set_up_kind (&kind, mistake);
      steps = run (&kind, seed, 0);
      for (stop_at = 1; stop_at <= steps && problem == NULL; stop_at++, runs++)
        run (&kind, seed, stop_at);
      clear_kind ();
      if (problem != NULL)
        {
          g_test_message ("history %u (ring of %u), killed after store %u: %s", i, kind.size,
                          stop_at - 1, problem);
          return TRUE;
        }
    }
  g_test_message ("%u histories, %" G_GUINT64_FORMAT " runs", histories, runs);
  return FALSE;
}

static guint
count_histories (void)
{
  const char *more = g_getenv ("VHOST_MODEL_HISTORIES");

  return more != NULL ? (guint) g_ascii_strtoull (more, NULL, 10) : HISTORIES;
}

static void
loses_nothing (gconstpointer data)
{
  guint which = GPOINTER_TO_UINT (data);

  if (search (which & 1, which >> 1, count_histories (), NULL))
    {
      g_test_fail ();
      g_clear_pointer (&problem, g_free);
    }
}

static const ModelMistake mistakes[] = {
  { "split-forgets-a-link", FALSE, FALSE, MODEL_STORE_NEXT },
  { "split-forgets-the-batch", FALSE, FALSE, MODEL_STORE_BATCH_HEAD },
  { "split-forgets-what-it-takes", FALSE, FALSE, MODEL_STORE_INFLIGHT },
  { "split-forgets-the-order", FALSE, FALSE, MODEL_STORE_COUNTER },
  { "split-clears-before-it-publishes", FALSE, FALSE, MODEL_STORE_RING, MODEL_STORE_INFLIGHT },
  { "split-moves-the-index-before-it-clears", FALSE, FALSE, MODEL_STORE_INFLIGHT,
    MODEL_STORE_USED_INDEX },
  { "split-recovery-clears-one-head-only", FALSE, TRUE, MODEL_STORE_INFLIGHT, MODEL_STORE_OTHER,
    1 },
  { "split-recovery-moves-the-index-first", FALSE, TRUE, MODEL_STORE_INFLIGHT,
    MODEL_STORE_USED_INDEX },
  { "packed-forgets-what-it-takes", TRUE, FALSE, MODEL_STORE_OLD_FREE_HEAD },
  { "packed-forgets-the-end-of-a-list", TRUE, FALSE, MODEL_STORE_LAST },
  { "packed-forgets-the-order", TRUE, FALSE, MODEL_STORE_COUNTER },
  { "packed-forgets-a-link", TRUE, FALSE, MODEL_STORE_NEXT },
  { "packed-publishes-before-the-position-moves", TRUE, FALSE, MODEL_STORE_POSITION,
    MODEL_STORE_RING },
  { "packed-clears-before-it-publishes", TRUE, FALSE, MODEL_STORE_RING, MODEL_STORE_INFLIGHT },
  { "packed-settles-the-position-before-the-list", TRUE, FALSE, MODEL_STORE_OLD_FREE_HEAD,
    MODEL_STORE_OLD_POSITION },
  { "packed-recovery-rolls-the-list-back-before-the-position", TRUE, TRUE, MODEL_STORE_POSITION,
    MODEL_STORE_FREE_HEAD },
  { "packed-recovery-settles-the-position-before-the-list", TRUE, TRUE, MODEL_STORE_OLD_FREE_HEAD,
    MODEL_STORE_OLD_POSITION },
};

static void
finds (gconstpointer data)
{
  const ModelMistake *mistake = data;

  if (!search (mistake->packed, FALSE, HISTORIES, mistake))
    g_test_fail_printf ("a mistake made on purpose was not found: %s", mistake->name);
  g_clear_pointer (&problem, g_free);
}

int
main (int argc, char **argv)
{
  static const char *const names[] = { "split", "packed", "split-in-order", "packed-in-order" };
  int result;

  g_test_init (&argc, &argv, NULL);
  hand_ring_init (&hand, MODEL_RING_MAX);
  for (n_spare = 0; n_spare < MODEL_RING_MAX; n_spare++)
    spare[n_spare] = vhost_chain_new (NULL, 0);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *path
          = g_strdup_printf ("/model/%s-loses-and-repeats-nothing-wherever-it-is-killed", names[i]);

      g_test_add_data_func (path, GUINT_TO_POINTER (i), loses_nothing);
    }
  for (guint i = 0; i < G_N_ELEMENTS (mistakes); i++)
    {
      g_autofree char *path = g_strdup_printf ("/model/finds/%s", mistakes[i].name);

      g_test_add_data_func (path, &mistakes[i], finds);
    }
  result = g_test_run ();
  while (n_spare > 0)
    vhost_chain_unref (spare[--n_spare]);
  hand_ring_clear (&hand);
  return result;
}
