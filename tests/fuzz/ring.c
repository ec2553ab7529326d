/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: a ring in memory that the input writes, between the passes too. Whatever it says,
 * chains lie inside the shared regions, lists end, and the queue can be stopped and started again,
 * also from an in-flight area that the input has written.
 *
 * The input: one byte that picks the layout and what watches it, one byte of features and ring
 * size, then records {u8 what, u16 where, u8 n, n bytes}.
 */
#include "vhost-memory-private.h"
#include "vhost-queue-private.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BASE_1 G_GUINT64_CONSTANT (0x1000)
#define BASE_2 (BASE_1 + SIZE_1) /* adjacent for the guest, apart for us */
#define SIZE_1 0x4000u
#define SIZE_2 0x2000u
#define HELD 16
#define AREA_ENTRIES 128

/* The first byte. */
#define PACKED 1u
#define IN_ORDER 2u
#define TRACKED 4u
#define BIG_ENDIAN_RING 8u
#define LOGGED 16u
#define ODD_SIZE 32u
#define ON_EMPTY 64u

typedef struct
{
  VhostChain *held[HELD];
  guint n_held;
  guint mode;
} State;

static VhostMemory *memory;
static guint8 *host[2];
static VhostDirtyLog *dirty_log;
static VhostInflight *areas[2];
static guint8 *area_bytes[2];

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

static void
set_up (void)
{
  VhostMemoryRegionInfo infos[2] = {
    { BASE_1, SIZE_1, 0x10000, 0 },
    { BASE_2, SIZE_2, 0x90000, 0 },
  };
  int fds[2], copies[2];
  GError *error = NULL;

  for (guint i = 0; i < 2; i++)
    {
      fds[i] = memfd_create ("fuzz-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
      if (ftruncate (fds[i], infos[i].size) != 0)
        g_error ("ftruncate");
      host[i] = mmap (NULL, infos[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
      copies[i] = fds[i];
    }
  memory = vhost_memory_new_take_fds (infos, copies, 2, TRUE, &error);
  g_assert_no_error (error);
  dirty_log = vhost_dirty_log_new_pending (NULL);
  for (guint i = 0; i < 2; i++)
    {
      areas[i] = vhost_inflight_new (1, AREA_ENTRIES, i == 1, &error);
      g_assert_no_error (error);
      area_bytes[i] = mmap (NULL, vhost_inflight_get_size (areas[i]), PROT_READ | PROT_WRITE,
                            MAP_SHARED, vhost_inflight_get_fd (areas[i]), 0);
      g_assert_true (area_bytes[i] != MAP_FAILED);
    }
}

static void
check_chain (VhostChain *chain)
{
  gsize total = 0;

  for (guint i = 0; i < chain->n_readable + chain->n_writable; i++)
    {
      const guint8 *at = chain->segments[i].iov_base;
      gsize n = chain->segments[i].iov_len;
      gboolean inside = FALSE;

      for (guint r = 0; r < memory->n_regions; r++)
        inside |= at >= memory->slots[r].host && n <= memory->slots[r].size
                  && at + n <= memory->slots[r].host + memory->slots[r].size;
      g_assert_true (inside);
      g_assert_cmpuint (n, >, 0);
      total += n;
    }
  g_assert_cmpuint (total, ==, chain->readable_size + chain->writable_size);
}

static void
process (VhostQueue *queue, gpointer owner)
{
  State *state = owner;
  VhostChain *chain;

  while ((chain = vhost_queue_pop (queue)) != NULL)
    {
      guint8 header[16];
      guint8 *status;
      gsize n;

      check_chain (chain);
      n = vhost_chain_pull (chain, header, sizeof header);
      g_assert_cmpuint (n, <=, sizeof header);
      status = vhost_chain_split_status (chain);
      if (status != NULL)
        *status = 0;
      vhost_chain_zero (chain, 3, 100);
      vhost_chain_write (chain, header, n);
      if ((state->mode & 1) && state->n_held < HELD)
        state->held[state->n_held++] = chain;
      else
        vhost_chain_complete (chain, chain->writable_size + 1);
    }
}

static void
error_hook (VhostQueue *queue, const GError *error, gpointer owner)
{
}

static void
wake (VhostQueue *queue)
{
}

static void
run_stopped (VhostTask *task)
{
  task->next = task;
}

static const VhostQueueHooks hooks = { .process = process, .error = error_hook, .wake = wake };

static gboolean
start (VhostQueue *queue, guint kind, guint size, guint features, guint32 base, guint ring_at)
{
  VhostQueueSetup setup = {
    .size = kind & ODD_SIZE && size > 1 ? size - 1 : size,
    .base = base,
    .descriptor = BASE_1 + (ring_at & 0x70),
    .available = BASE_1 + 0x1000,
    .used = BASE_1 + 0x2000,
    .features = G_GUINT64_CONSTANT (1) << 32 | (guint64) (features & 3) << 28
                | (guint64) (kind & (PACKED | IN_ORDER)) << 34
                | (guint64) ((kind & ON_EMPTY) != 0) << 24,
    .inflight = kind & TRACKED ? areas[kind & PACKED] : NULL,
    .dirty_log = kind & LOGGED ? dirty_log : NULL,
    .log_used = (kind & LOGGED) != 0,
    .log = 0x100000,
    .log_fd = -1,
    .big_endian = (kind & BIG_ENDIAN_RING) != 0,
    .kick_fd = -1,
    .call_fd = -1,
    .err_fd = -1,
  };

  return vhost_queue_start (queue, &setup, memory, NULL);
}

static void
complete_all (State *state)
{
  while (state->n_held > 0)
    vhost_chain_complete (state->held[--state->n_held], 7);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  State state = { .n_held = 0 };
  VhostQueue *queue;
  VhostTask stopped = { .run = run_stopped };
  guint kind, ring_size, features;
  guint8 *area;
  gsize area_size;

  if (memory == NULL)
    set_up ();
  if (size < 3)
    return 0;
  kind = *data++;
  size--;
  area = area_bytes[kind & PACKED];
  area_size = vhost_inflight_get_size (areas[kind & PACKED]);
  if (kind & TRACKED)
    memset (area, 0, area_size);
  memset (host[0], 0, SIZE_1);
  memset (host[1], 0, SIZE_2);
  ring_size = 1u << (data[0] & 7);
  features = data[0] >> 3;
  state.mode = data[0] >> 5;
  queue = vhost_queue_new (0, 32768, 32, &hooks, &state);
  vhost_queue_set_enabled (queue, TRUE);
  start (queue, kind, ring_size, features, kind & PACKED ? 0x80008000u : 0, 0);
  data++;
  size--;

  while (size >= 4)
    {
      guint what = data[0];
      guint where = data[1] | data[2] << 8;
      guint n = MIN (data[3], size - 4);
      guint8 *target;

      /* Places that matter are near: descriptors, available ring, used ring, the rest of memory. */
      switch (what & 3)
        {
        case 0:
          target = host[0] + where % 0x800;
          break;
        case 1:
          target = host[0] + 0x1000 + where % 0x110;
          break;
        case 2:
          target = host[0] + 0x2000 + where % 0x410;
          break;
        default:
          /* The area's header and first entries, or anywhere. */
          if ((kind & TRACKED) && (where & 0xc000) == 0xc000)
            target = area + where % 0x100;
          else
            target
                = where & 1 ? host[1] + where % (SIZE_2 - 256) : host[0] + where % (SIZE_1 - 256);
          break;
        }
      memcpy (target, data + 4, n);
      data += 4 + n;
      size -= 4 + n;

      for (guint i = 0; i < 4 && (what & 4) && vhost_queue_serve (queue); i++)
        ;
      if (what & 8)
        complete_all (&state);
      if (what & 16)
        vhost_queue_kicks_on (queue);
      if ((what & 0xe0) == 0xe0)
        {
          vhost_queue_stop (queue, FALSE, &stopped);
          complete_all (&state);
          start (queue, kind, 1u << (where & 7), features,
                 where >> 8 & 3 ? vhost_queue_get_base (queue) : where, where);
        }
    }
  vhost_queue_serve (queue);
  vhost_queue_stop (queue, FALSE, &stopped);
  complete_all (&state);
  g_assert_cmpint (vhost_queue_get_in_flight (queue), ==, 0);
  g_object_unref (queue);
  return 0;
}
