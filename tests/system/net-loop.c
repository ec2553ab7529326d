/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network-shaped back-end for tests with drivers that QEMU is not: what the driver transmits
 * comes back to it. Queue 0 receives, queue 1 transmits, as in virtio-net.
 *
 * Each frame that goes to the driver carries a number and a checksum over its bytes; frames that
 * the driver forwards come in again and are checked. At the end one line says how many there were.
 */
#include <libvhostd.h>
#include <linux/virtio_ids.h>

#include <string.h>

#define NET_HEADER 12
#define MAX_FRAME 2048
#define MAX_WAITING 512
#define MARK G_GUINT64_CONSTANT (0x766c6f6f70303031)
/* Behind the addresses and the type: destination, source, type, mark, number, checksum. */
#define STAMP_AT 42
#define STAMP_SIZE 24

G_DECLARE_FINAL_TYPE (NetLoop, net_loop, NET, LOOP, VhostBackend)

typedef struct
{
  guint length;
  guint8 bytes[MAX_FRAME];
} Frame;

struct _NetLoop
{
  VhostBackend parent_instance;
  /* Both queues have one worker: only it touches these. */
  VhostQueue *receive; /* (unowned) (nullable) */
  Frame *waiting;      /* (owned): a ring of MAX_WAITING */
  guint first;
  guint n_waiting;
  guint64 n_sent;
  guint64 n_taken;
  guint64 n_stamped;
  guint64 n_wrong;
};

G_DEFINE_FINAL_TYPE (NetLoop, net_loop, VHOST_TYPE_BACKEND)

static guint64
sum_of (const Frame *frame)
{
  guint64 sum = 0xcbf29ce484222325;

  for (guint i = STAMP_AT + STAMP_SIZE; i < frame->length; i++)
    sum = (sum ^ frame->bytes[i]) * 0x100000001b3;
  return sum;
}

static void
check (NetLoop *self, const Frame *frame)
{
  guint64 stamp[3];

  self->n_taken++;
  if (frame->length < STAMP_AT + STAMP_SIZE)
    return;
  memcpy (stamp, frame->bytes + STAMP_AT, sizeof stamp);
  if (stamp[0] != MARK)
    return; /* the driver's own */
  self->n_stamped++;
  if (stamp[2] != (sum_of (frame) ^ stamp[1]))
    self->n_wrong++;
}

static void
stamp (NetLoop *self, Frame *frame)
{
  guint64 stamp[3] = { MARK, self->n_sent, 0 };

  self->n_sent++;
  if (frame->length < STAMP_AT + STAMP_SIZE)
    return;
  stamp[2] = sum_of (frame) ^ stamp[1];
  memcpy (frame->bytes + STAMP_AT, stamp, sizeof stamp);
}

static void
deliver (NetLoop *self)
{
  static const guint8 header[NET_HEADER] = { [10] = 1 }; /* one buffer */
  VhostChain *chain;

  while (self->receive != NULL && self->n_waiting > 0
         && (chain = vhost_queue_pop (self->receive)) != NULL)
    {
      Frame *frame = &self->waiting[self->first];
      gsize n;

      stamp (self, frame);
      n = vhost_chain_write (chain, header, sizeof header);
      n += vhost_chain_write (chain, frame->bytes, frame->length);
      vhost_chain_complete (chain, n);
      self->first = (self->first + 1) % MAX_WAITING;
      self->n_waiting--;
    }
}

static void
net_loop_process_queue (VhostBackend *backend, VhostQueue *queue)
{
  NetLoop *self = NET_LOOP (backend);
  VhostChain *chain;

  if (vhost_queue_get_index (queue) == 0)
    {
      self->receive = queue;
      deliver (self);
      return;
    }
  while (self->n_waiting < MAX_WAITING && (chain = vhost_queue_pop (queue)) != NULL)
    {
      Frame *frame = &self->waiting[(self->first + self->n_waiting) % MAX_WAITING];
      guint8 header[NET_HEADER];

      vhost_chain_pull (chain, header, sizeof header);
      frame->length = vhost_chain_pull (chain, frame->bytes, sizeof frame->bytes);
      vhost_chain_complete (chain, 0);
      check (self, frame);
      self->n_waiting++;
      deliver (self);
    }
  /* Nowhere to put more: what the receiver cannot take is lost, as on a wire. */
  if (self->n_waiting == MAX_WAITING)
    self->n_waiting = 0;
  if (self->receive != NULL)
    vhost_queue_flush (self->receive);
}

static void
net_loop_queue_stopped (VhostBackend *backend, VhostQueue *queue)
{
  NetLoop *self = NET_LOOP (backend);

  if (queue == self->receive)
    self->receive = NULL;
}

static void
net_loop_suspend (VhostBackend *backend)
{
  NetLoop *self = NET_LOOP (backend);

  g_print ("frames: %" G_GUINT64_FORMAT " taken, %" G_GUINT64_FORMAT " given, %" G_GUINT64_FORMAT
           " came back, %" G_GUINT64_FORMAT " wrong, features 0x%" G_GINT64_MODIFIER "x\n",
           self->n_taken, self->n_sent, self->n_stamped, self->n_wrong,
           vhost_backend_get_acked_features (backend));
}

static void
net_loop_finalize (GObject *object)
{
  g_free (NET_LOOP (object)->waiting);
  G_OBJECT_CLASS (net_loop_parent_class)->finalize (object);
}

static void
net_loop_class_init (NetLoopClass *klass)
{
  VhostBackendClass *backend_class = VHOST_BACKEND_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = net_loop_finalize;
  backend_class->process_queue = net_loop_process_queue;
  backend_class->queue_stopped = net_loop_queue_stopped;
  backend_class->suspend = net_loop_suspend;
  vhost_backend_class_set_device (backend_class, "net", VIRTIO_ID_NET, 2);
}

static void
net_loop_init (NetLoop *self)
{
  self->waiting = g_new (Frame, MAX_WAITING);
}

int
main (int argc, char **argv)
{
  return vhost_backend_main (net_loop_get_type (), argc, argv);
}
