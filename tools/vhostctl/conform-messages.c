/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every message of the front-end, sent once as it should be: whether the answer has the shape that
 * the specification gives it, and the stream stays in step. What messages do is asked by the rules.
 */
#include "conform.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRONT_END_MESSAGES "Front-end message types"

/* A u64 comes back without being asked for. */
static void
ask_u64 (Conform *self)
{
  conform_connect (self);
  conform_get_u64 (self, self->rule->message);
  conform_in_step (self);
}

/* Nothing to carry; a plain acknowledgement. */
static void
acknowledge_empty (Conform *self)
{
  conform_connect (self);
  conform_do (self, self->rule->message, NULL, 0, NULL, 0);
  conform_in_step (self);
}

static void
set_owner (Conform *self)
{
  guint64 bits;

  conform_open (self);
  conform_get_u64 (self, MSG_GET_FEATURES);
  if ((self->offered_features & F_PROTOCOL) != 0)
    {
      bits = P_REPLY_ACK & conform_get_u64 (self, MSG_GET_PROTOCOL_FEATURES);
      conform_send (self, MSG_SET_PROTOCOL_FEATURES, CONFORM_VERSION, &bits, sizeof bits, NULL, 0);
      self->protocol = bits;
    }
  conform_do (self, MSG_SET_OWNER, NULL, 0, NULL, 0);
  conform_in_step (self);
}

static void
set_features (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_SET_FEATURES, self->features);
  conform_in_step (self);
}

static void
set_protocol_features (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_SET_PROTOCOL_FEATURES, self->protocol);
  conform_in_step (self);
}

static void
set_mem_table (Conform *self)
{
  conform_connect (self);
  conform_share_memory (self);
  conform_in_step (self);
}

static void
set_log_base (Conform *self)
{
  const guint64 payload[2] = { 4096, 0 };
  int fd = conform_memfd (4096);
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_SET_LOG_BASE, CONFORM_VERSION, payload, sizeof payload, &fd, 1);
  /* It has an answer of its own, whose payload the text does not give. */
  conform_receive_reply (self, MSG_SET_LOG_BASE, -1, &answer);
  conform_clear_answer (&answer);
  conform_in_step (self);
  close (fd);
}

static void
set_log_fd (Conform *self)
{
  int fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  conform_connect (self);
  conform_do (self, MSG_SET_LOG_FD, NULL, 0, &fd, 1);
  conform_in_step (self);
  close (fd);
}

static void
set_vring_num (Conform *self)
{
  conform_connect (self);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, CONFORM_RING_SIZE);
  conform_in_step (self);
}

static void
set_vring_base (Conform *self)
{
  conform_connect (self);
  conform_do_state (self, MSG_SET_VRING_BASE, 0, 0);
  conform_in_step (self);
}

static void
set_vring_addr (Conform *self)
{
  conform_connect (self);
  conform_share_memory (self);
  conform_do_state (self, MSG_SET_VRING_NUM, 0, CONFORM_RING_SIZE);
  conform_ring_set_address (conform_ring (self, 0));
  conform_in_step (self);
}

static void
get_vring_base (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  conform_share_memory (self);
  ring = conform_ring (self, 0);
  conform_ring_start (ring);
  conform_ring_stop (ring);
  conform_in_step (self);
}

static void
set_vring_kick (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  conform_share_memory (self);
  ring = conform_ring (self, 0);
  conform_ring_set_up (ring);
  conform_ring_kick_message (ring);
  conform_in_step (self);
}

static void
set_notifier (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  ring = conform_ring (self, 0);
  conform_ring_set_notifier (ring, self->rule->message, ring->call_fd);
  conform_ring_set_notifier (ring, self->rule->message, -1);
  conform_in_step (self);
}

static void
set_vring_enable (Conform *self)
{
  conform_connect (self);
  conform_do_state (self, MSG_SET_VRING_ENABLE, 0, 1);
  conform_do_state (self, MSG_SET_VRING_ENABLE, 0, 0);
  conform_in_step (self);
}

static void
send_rarp (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_SEND_RARP, G_GUINT64_CONSTANT (0x060504030252));
  conform_in_step (self);
}

static void
net_set_mtu (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_NET_SET_MTU, 1500);
  conform_in_step (self);
}

static void
set_backend_req_fd (Conform *self)
{
  conform_connect (self);
  close (conform_open_channel (self));
  conform_in_step (self);
}

static void
iotlb_msg (Conform *self)
{
  /* Update: page 0x100000 to itself, read and write. */
  struct
  {
    guint64 iova, size, user;
    guint8 permission, type, padding[6];
  } payload = { CONFORM_MEMORY, 4096, 0, 3, 2, { 0 } };
  ConformAnswer answer;

  conform_connect (self);
  conform_share_memory (self);
  payload.user = conform_main_region (self).user;
  conform_send (self, MSG_IOTLB_MSG, CONFORM_VERSION | CONFORM_NEED_REPLY, &payload, sizeof payload,
                NULL, 0);
  conform_receive_reply (self, MSG_IOTLB_MSG, 8, &answer);
  conform_clear_answer (&answer);
  conform_in_step (self);
}

static void
set_vring_endian (Conform *self)
{
  conform_connect (self);
  conform_do_state (self, MSG_SET_VRING_ENDIAN, 0, 0);
  conform_in_step (self);
}

static void
get_config (Conform *self)
{
  guint8 payload[12 + 8] = { 0 };
  ConformAnswer answer;

  payload[4] = 8;
  conform_connect (self);
  conform_send (self, MSG_GET_CONFIG, CONFORM_VERSION, payload, sizeof payload, NULL, 0);
  conform_receive_reply (self, MSG_GET_CONFIG, sizeof payload, &answer);
  conform_in_step (self);
}

/* Any answer in step will do: which field can be written only the device knows. */
static void
set_config (Conform *self)
{
  guint8 payload[12 + 8] = { 0 };

  payload[4] = 8;
  conform_connect (self);
  conform_may_close (self);
  conform_ack (self, MSG_SET_CONFIG, payload, sizeof payload, NULL, 0);
  conform_in_step (self);
}

static void
crypto_session (Conform *self)
{
  conform_connect (self);
  conform_inconclusive (self, "the specification does not give the payload's layout");
}

static void
postcopy_advise (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_POSTCOPY_ADVISE, CONFORM_VERSION, NULL, 0, NULL, 0);
  if (conform_receive_reply (self, MSG_POSTCOPY_ADVISE, 0, &answer) && answer.n_fds == 0)
    conform_note (self, "no userfaultfd could be opened");
  conform_clear_answer (&answer);
  conform_in_step (self);
}

static void
postcopy_listen (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_POSTCOPY_ADVISE, CONFORM_VERSION, NULL, 0, NULL, 0);
  if (conform_receive_reply (self, MSG_POSTCOPY_ADVISE, 0, &answer) && answer.n_fds == 0)
    conform_inconclusive (self, "no userfaultfd could be opened");
  conform_clear_answer (&answer);
  if (self->rule->message == MSG_POSTCOPY_LISTEN)
    conform_do (self, MSG_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
  else
    conform_get_u64 (self, MSG_POSTCOPY_END);
  conform_in_step (self);
}

static void
get_inflight_fd (Conform *self)
{
  struct
  {
    guint64 size, offset;
    guint16 queues, queue_size;
    guint32 padding;
  } payload = { 0, 0, 1, CONFORM_RING_SIZE, 0 };
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_GET_INFLIGHT_FD, CONFORM_VERSION, &payload, sizeof payload, NULL, 0);
  if (conform_receive_reply (self, MSG_GET_INFLIGHT_FD, sizeof payload, &answer))
    {
      memcpy (&payload, answer.payload, sizeof payload);
      CONFORM_CHECK (self, payload.size != 0 && answer.n_fds == 1,
                     "the answer has %u fds and names a region of %" G_GUINT64_FORMAT " bytes",
                     answer.n_fds, payload.size);
    }
  if (self->rule->message == MSG_SET_INFLIGHT_FD)
    conform_do (self, MSG_SET_INFLIGHT_FD, &payload, sizeof payload, answer.fds, answer.n_fds);
  conform_clear_answer (&answer);
  conform_in_step (self);
}

static void
gpu_set_socket (Conform *self)
{
  int pair[2];

  if (g_strcmp0 (self->device, "gpu") != 0)
    {
      conform_not_offered (self, "only a GPU has it");
      return;
    }
  conform_connect (self);
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return;
  conform_do (self, MSG_GPU_SET_SOCKET, NULL, 0, pair, 1);
  close (pair[0]);
  close (pair[1]);
  conform_in_step (self);
}

static void
vring_kick (Conform *self)
{
  ConformRing *ring;

  conform_connect (self);
  conform_share_memory (self);
  ring = conform_ring (self, 0);
  conform_ring_set_up (ring);
  conform_do_state (self, MSG_VRING_KICK, 0, 0);
  conform_in_step (self);
}

static void
add_mem_reg (Conform *self)
{
  struct
  {
    guint64 padding;
    ConformRegion region;
  } payload = { 0 };

  conform_connect (self);
  payload.region = conform_main_region (self);
  conform_do (self, MSG_ADD_MEM_REG, &payload, sizeof payload, &self->memory_fd, 1);
  if (self->rule->message == MSG_REM_MEM_REG)
    conform_do (self, MSG_REM_MEM_REG, &payload, sizeof payload, NULL, 0);
  conform_in_step (self);
}

static void
set_status (Conform *self)
{
  conform_connect (self);
  conform_do_u64 (self, MSG_SET_STATUS, 1);
  conform_in_step (self);
}

static void
get_shared_object (Conform *self)
{
  const guint8 uuid[16] = { 1, 2, 3 };
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_GET_SHARED_OBJECT, CONFORM_VERSION, uuid, sizeof uuid, NULL, 0);
  if (conform_receive_reply (self, MSG_GET_SHARED_OBJECT, -1, &answer))
    CONFORM_CHECK (self, answer.n_fds == 0, "an object that nobody has shared is handed out");
  conform_clear_answer (&answer);
  conform_in_step (self);
}

static void
check_device_state (Conform *self)
{
  conform_connect (self);
  if (self->rule->message == MSG_SET_DEVICE_STATE_FD)
    {
      const guint32 payload[2] = { 0, 0 };
      ConformAnswer answer;
      int fds[2];

      if (pipe (fds) != 0)
        return;
      conform_send (self, MSG_SET_DEVICE_STATE_FD, CONFORM_VERSION, payload, sizeof payload,
                    &fds[1], 1);
      conform_receive_reply (self, MSG_SET_DEVICE_STATE_FD, 8, &answer);
      conform_clear_answer (&answer);
      close (fds[0]);
      close (fds[1]);
    }
  else
    conform_get_u64 (self, MSG_CHECK_DEVICE_STATE);
  conform_in_step (self);
}

static void
get_shmem_config (Conform *self)
{
  ConformAnswer answer;

  conform_connect (self);
  conform_send (self, MSG_GET_SHMEM_CONFIG, CONFORM_VERSION, NULL, 0, NULL, 0);
  conform_receive_reply (self, MSG_GET_SHMEM_CONFIG, 8 + 256 * 8, &answer);
  conform_clear_answer (&answer);
  conform_in_step (self);
}

#define ROW(name, text, run, protocol)                                                             \
  {                                                                                                \
#name, FRONT_END_MESSAGES, text, run, CONFORM_MUST, 0, protocol, FALSE, MSG_##name             \
  }

const ConformRule conform_message_rules[] = {
  ROW (GET_FEATURES, "is answered with 8 bytes", ask_u64, 0),
  ROW (SET_FEATURES, "takes what was offered", set_features, 0),
  ROW (SET_OWNER, "begins a session", set_owner, 0),
  { "RESET_OWNER", FRONT_END_MESSAGES, "is taken or refused, and the session goes on",
    acknowledge_empty, CONFORM_SILENT, 0, 0, FALSE, MSG_RESET_OWNER },
  ROW (SET_MEM_TABLE, "takes one region with its descriptor", set_mem_table, 0),
  ROW (SET_LOG_BASE, "is answered, NEED_REPLY or not", set_log_base, P_LOG_SHMFD),
  { "SET_LOG_FD", FRONT_END_MESSAGES, "takes an eventfd", set_log_fd, CONFORM_MUST, F_LOG_ALL, 0,
    FALSE, MSG_SET_LOG_FD },
  ROW (SET_VRING_NUM, "takes a size", set_vring_num, 0),
  ROW (SET_VRING_ADDR, "takes addresses in shared memory", set_vring_addr, 0),
  ROW (SET_VRING_BASE, "takes an index", set_vring_base, 0),
  ROW (GET_VRING_BASE, "is answered with 8 bytes about the same ring", get_vring_base, 0),
  ROW (SET_VRING_KICK, "takes an eventfd", set_vring_kick, 0),
  ROW (SET_VRING_CALL, "takes an eventfd, or none", set_notifier, 0),
  ROW (SET_VRING_ERR, "takes an eventfd, or none", set_notifier, 0),
  ROW (GET_PROTOCOL_FEATURES, "is answered with 8 bytes", ask_u64, P_REPLY_ACK),
  ROW (SET_PROTOCOL_FEATURES, "takes what was offered", set_protocol_features, P_REPLY_ACK),
  ROW (GET_QUEUE_NUM, "is answered with 8 bytes", ask_u64, P_MQ),
  { "SET_VRING_ENABLE", FRONT_END_MESSAGES, "takes 1 and 0", set_vring_enable, CONFORM_MUST,
    F_PROTOCOL, 0, FALSE, MSG_SET_VRING_ENABLE },
  ROW (SEND_RARP, "takes a MAC address", send_rarp, P_RARP),
  { "NET_SET_MTU", FRONT_END_MESSAGES, "takes 1500", net_set_mtu, CONFORM_MUST, BIT (3), P_MTU,
    FALSE, MSG_NET_SET_MTU },
  ROW (SET_BACKEND_REQ_FD, "takes a socket", set_backend_req_fd, P_BACKEND_REQ),
  { "IOTLB_MSG", FRONT_END_MESSAGES, "is answered with 8 bytes", iotlb_msg, CONFORM_MUST, F_IOMMU,
    0, FALSE, MSG_IOTLB_MSG },
  ROW (SET_VRING_ENDIAN, "takes little-endian", set_vring_endian, P_CROSS_ENDIAN),
  ROW (GET_CONFIG, "is answered in the size of the question", get_config, P_CONFIG),
  ROW (SET_CONFIG, "is answered, one way or the other", set_config, P_CONFIG),
  ROW (CREATE_CRYPTO_SESSION, "is answered with a session", crypto_session, P_CRYPTO),
  ROW (CLOSE_CRYPTO_SESSION, "is acknowledged", crypto_session, P_CRYPTO),
  ROW (POSTCOPY_ADVISE, "is answered without payload", postcopy_advise, P_PAGEFAULT),
  ROW (POSTCOPY_LISTEN, "is acknowledged", postcopy_listen, P_PAGEFAULT),
  ROW (POSTCOPY_END, "is answered with 8 bytes", postcopy_listen, P_PAGEFAULT),
  ROW (GET_INFLIGHT_FD, "is answered with a region and its descriptor", get_inflight_fd,
       P_INFLIGHT),
  ROW (SET_INFLIGHT_FD, "takes the region back", get_inflight_fd, P_INFLIGHT),
  ROW (GPU_SET_SOCKET, "takes a socket", gpu_set_socket, 0),
  ROW (RESET_DEVICE, "is acknowledged", acknowledge_empty, P_RESET_DEVICE),
  ROW (VRING_KICK, "starts a ring", vring_kick, P_INBAND | P_REPLY_ACK | P_BACKEND_REQ),
  ROW (GET_MAX_MEM_SLOTS, "is answered with 8 bytes", ask_u64, P_MEM_SLOTS),
  ROW (ADD_MEM_REG, "takes a region with its descriptor", add_mem_reg, P_MEM_SLOTS),
  ROW (REM_MEM_REG, "takes a region away that was added", add_mem_reg, P_MEM_SLOTS),
  ROW (SET_STATUS, "takes ACKNOWLEDGE", set_status, P_STATUS),
  ROW (GET_STATUS, "is answered with 8 bytes", ask_u64, P_STATUS),
  ROW (GET_SHARED_OBJECT, "is answered; an unknown object without a descriptor", get_shared_object,
       P_SHARED_OBJECT),
  ROW (SET_DEVICE_STATE_FD, "is answered with 8 bytes", check_device_state, P_DEVICE_STATE),
  ROW (CHECK_DEVICE_STATE, "is answered with 8 bytes", check_device_state, P_DEVICE_STATE),
  ROW (GET_SHMEM_CONFIG, "is answered with 256 sizes", get_shmem_config, P_SHMEM),
  { 0 },
};
