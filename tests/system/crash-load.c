/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Load on a disk whose back-end dies again and again: the driver side of a crash test, on the
 * public API.
 *
 * How it works: each block of the disk holds its own number and a generation, over and over. A
 * block has at most one request at a time; a write moves it to the next generation, a read expects
 * the last one that was answered. So a write that lands twice, late, shows as a generation of
 * before, a request that is forgotten shows at the end as one that was never answered, and an
 * answer that nobody waits for is counted by the queue. When the socket breaks it connects anew and
 * goes on, with everything that was in flight still in flight. After so many lives of the back-end
 * it waits for all answers and reads the whole disk. */
#include <libvhostd.h>

#include <linux/virtio_blk.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(n) (G_GUINT64_CONSTANT (1) << (n))
#define FEATURES (BIT (32) /* VERSION_1 */ | BIT (29) /* EVENT_IDX */)
#define PACKED BIT (34)
#define IN_ORDER BIT (35)
#define PROTOCOL                                                                                   \
  (BIT (0) /* MQ */ | BIT (3) /* REPLY_ACK */ | BIT (9) /* CONFIG */                               \
   | BIT (12) /* INFLIGHT_SHMFD */ | BIT (15) /* CONFIGURE_MEM_SLOTS */)

#define MEMORY_AT 0x100000
#define MEMORY_SIZE (4 << 20)
#define BLOCK 1024
#define N_BLOCKS 64 /* few, so that a write that comes late meets the next one */
#define DEPTH 24
#define RING 128
#define PATIENCE (20 * G_USEC_PER_SEC)
#define NO_STATUS 0xff

typedef struct
{
  struct virtio_blk_outhdr header;
  _Atomic guint8 status;
  guint8 padding[47];
  guint64 words[BLOCK / 8];
} Frame;

typedef struct
{
  VhostFrontendBuffer buffers[3];
  Frame *frame; /* in guest memory */
  guint block;
  guint64 generation; /* written, or expected */
  gboolean is_write;
  gboolean in_flight;
} Request;

typedef struct
{
  VhostFrontend *frontend;
  VhostFrontendQueue *queue;
  const char *path;
  GRand *random;
  Request requests[DEPTH];
  guint64 generations[N_BLOCKS];
  gboolean busy[N_BLOCKS];
  guint n_in_flight;
  guint64 n_done;
  guint64 n_wrong;
  guint64 n_errors;
  guint64 n_lives;
} Load;

static guint64
word_of (guint block, guint64 generation)
{
  return (guint64) block << 48 | generation;
}

static void
submit (Load *self, Request *request, guint block, gboolean is_write)
{
  Frame *frame = request->frame;

  request->block = block;
  request->is_write = is_write;
  request->generation = self->generations[block] + (is_write ? 1 : 0);
  for (guint i = 0; i < BLOCK / 8; i++)
    frame->words[i] = is_write ? word_of (block, request->generation) : G_MAXUINT64;
  frame->header = (struct virtio_blk_outhdr){
    .type = GUINT32_TO_LE (is_write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
    .sector = GUINT64_TO_LE ((guint64) block * (BLOCK / 512)),
  };
  atomic_store_explicit (&frame->status, NO_STATUS, memory_order_relaxed);
  request->buffers[1].writable = !is_write;
  if (!vhost_frontend_queue_add (self->queue, request->buffers, 3, FALSE, request))
    g_error ("a ring of %u has no room for %u requests", RING, DEPTH);
  request->in_flight = TRUE;
  self->busy[block] = TRUE;
  self->n_in_flight++;
}

static void
check (Load *self, Request *request)
{
  guint8 status = atomic_load_explicit (&request->frame->status, memory_order_relaxed);

  request->in_flight = FALSE;
  self->busy[request->block] = FALSE;
  self->n_in_flight--;
  self->n_done++;
  if (status != VIRTIO_BLK_S_OK)
    {
      self->n_errors++;
      fprintf (stderr, "block %u: status %u\n", request->block, status);
      return;
    }
  if (request->is_write)
    {
      self->generations[request->block] = request->generation;
      return;
    }
  for (guint i = 0; i < BLOCK / 8; i++)
    if (request->frame->words[i] != word_of (request->block, request->generation))
      {
        self->n_wrong++;
        fprintf (stderr,
                 "block %u: word %u is 0x%" G_GINT64_MODIFIER "x, not of generation "
                 "%" G_GUINT64_FORMAT "\n",
                 request->block, i, request->frame->words[i], request->generation);
        return;
      }
}

static void
reap (Load *self)
{
  gpointer token;

  while (vhost_frontend_queue_poll (self->queue, &token, NULL))
    {
      Request *request = token;

      /* A token that is not in flight would be the queue's mistake, not the back-end's. */
      g_assert (request->in_flight);
      check (self, request);
    }
}

/* From here on the back-end may be killed. */
static void
say_life (Load *self)
{
  self->n_lives++;
  printf ("life %" G_GUINT64_FORMAT "\n", self->n_lives);
  fflush (stdout);
}

static void
connect_anew (Load *self)
{
  gint64 end = g_get_monotonic_time () + PATIENCE;
  GError *error = NULL;

  for (;;)
    {
      vhost_frontend_close (self->frontend);
      if (vhost_frontend_connect (self->frontend, self->path, &error)
          && (self->queue == NULL || vhost_frontend_resume (self->frontend, &error)))
        break;
      if (g_get_monotonic_time () > end)
        g_error ("no new back-end: %s", error->message);
      g_clear_error (&error);
      g_usleep (1000);
    }
  if (self->queue != NULL)
    say_life (self);
}

/* Sleeps until the device calls or the socket breaks. */
static void
wait_a_moment (Load *self)
{
  struct pollfd socket = { .fd = vhost_frontend_get_fd (self->frontend), .events = POLLIN };

  vhost_frontend_queue_wait (self->queue, 2);
  if (poll (&socket, 1, 0) > 0)
    connect_anew (self); /* nothing is asked that would be answered, so this is its end */
}

static guint
choose_block (Load *self)
{
  guint block = (guint) g_rand_int_range (self->random, 0, N_BLOCKS);

  while (self->busy[block])
    block = (block + 1) % N_BLOCKS;
  return block;
}

static void
run (Load *self, guint lives)
{
  while (self->n_lives < lives)
    {
      /* Not always all of them: a crash has to find some that are answered and not asked again. */
      guint depth = (guint) g_rand_int_range (self->random, 1, DEPTH + 1);
      gboolean added = FALSE;

      for (guint i = 0; i < DEPTH && self->n_in_flight < depth; i++)
        if (!self->requests[i].in_flight)
          {
            submit (self, &self->requests[i], choose_block (self), g_rand_boolean (self->random));
            added = TRUE;
          }
      if (added)
        vhost_frontend_queue_kick (self->queue);
      wait_a_moment (self);
      reap (self);
    }
}

/* FALSE: some were not answered. */
static gboolean
drain (Load *self)
{
  gint64 end = g_get_monotonic_time () + PATIENCE;

  while (self->n_in_flight > 0 && g_get_monotonic_time () < end)
    {
      wait_a_moment (self);
      reap (self);
    }
  return self->n_in_flight == 0;
}

static void
read_all (Load *self)
{
  for (guint block = 0; block < N_BLOCKS; block += DEPTH)
    {
      for (guint i = 0; i < DEPTH && block + i < N_BLOCKS; i++)
        submit (self, &self->requests[i], block + i, FALSE);
      vhost_frontend_queue_kick (self->queue);
      if (!drain (self))
        return;
    }
}

/* Generation 0 everywhere, so that each block has its content from the beginning. */
static void
write_all (Load *self)
{
  for (guint block = 0; block < N_BLOCKS; block += DEPTH)
    {
      for (guint i = 0; i < DEPTH && block + i < N_BLOCKS; i++)
        submit (self, &self->requests[i], block + i, TRUE);
      vhost_frontend_queue_kick (self->queue);
      if (!drain (self))
        return;
    }
}

static void
set_up (Load *self, guint64 features)
{
  GError *error = NULL;

  self->frontend = vhost_frontend_new ();
  connect_anew (self);
  if (!vhost_frontend_negotiate (self->frontend, FEATURES | features, PROTOCOL, &error)
      || !vhost_frontend_add_memory (self->frontend, MEMORY_AT, MEMORY_SIZE, &error))
    g_error ("%s", error->message);
  if ((vhost_frontend_get_features (self->frontend) & features) != features
      || (vhost_frontend_get_protocol_features (self->frontend) & BIT (12)) == 0)
    g_error ("the back-end does not offer what is to be tested");
  self->queue = vhost_frontend_add_queue (self->frontend, 0, RING, &error);
  if (self->queue == NULL)
    g_error ("%s", error->message);
  for (guint i = 0; i < DEPTH; i++)
    {
      guint64 at = vhost_frontend_allocate (self->frontend, sizeof (Frame), 64);
      Request *request = &self->requests[i];

      request->frame = vhost_frontend_get_memory (self->frontend, at, sizeof (Frame));
      request->buffers[0]
          = (VhostFrontendBuffer){ at + G_STRUCT_OFFSET (Frame, header), 16, FALSE };
      request->buffers[1]
          = (VhostFrontendBuffer){ at + G_STRUCT_OFFSET (Frame, words), BLOCK, FALSE };
      request->buffers[2] = (VhostFrontendBuffer){ at + G_STRUCT_OFFSET (Frame, status), 1, TRUE };
    }
}

int
main (int argc, char **argv)
{
  gboolean packed = FALSE, in_order = FALSE;
  int lives = 8, seed = 0;
  const GOptionEntry entries[] = {
    { "packed", 0, 0, G_OPTION_ARG_NONE, &packed, "Use packed rings", NULL },
    { "in-order", 0, 0, G_OPTION_ARG_NONE, &in_order, "Let the device use buffers in order", NULL },
    { "lives", 0, 0, G_OPTION_ARG_INT, &lives, "Lives of the back-end until it ends", "N" },
    { "seed", 0, 0, G_OPTION_ARG_INT, &seed, "Of what is asked for", "N" },
    { NULL },
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("SOCKET");
  GError *error = NULL;
  Load *self = g_new0 (Load, 1);
  guint64 bad;

  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc != 2)
    {
      fprintf (stderr, "crash-load: %s\n", error != NULL ? error->message : "name one socket");
      return 2;
    }
  self->path = argv[1];
  self->random = g_rand_new_with_seed ((guint32) seed);
  set_up (self, (packed ? PACKED : 0) | (in_order ? IN_ORDER : 0));
  write_all (self);
  say_life (self);
  run (self, (guint) lives);
  if (drain (self))
    read_all (self);
  bad = vhost_frontend_queue_get_bad_used (self->queue);
  printf ("end: %" G_GUINT64_FORMAT " answered, %u lost, %" G_GUINT64_FORMAT
          " answered twice, %" G_GUINT64_FORMAT " wrong, %" G_GUINT64_FORMAT " errors\n",
          self->n_done, self->n_in_flight, bad, self->n_wrong, self->n_errors);
  g_object_unref (self->frontend);
  g_rand_free (self->random);
  g_free (self);
  return 0;
}
