/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vhost-user messages as data: names, sizes, descriptors, replies, gates. Pure functions over
 * bytes: must not know a socket, a session or a memory map, so that a fuzzer can reach all of it.
 *
 * How it works: one table per direction, indexed by the request's number. A message is checked in
 * two steps. A wrong header means that the stream can no longer be followed, so the connection
 * ends; a wrong message has been read whole, so it is refused and the connection lives. */
#include "config.h"

#include "vhost-wire-private.h"

#include "vhost-error.h"

#include <string.h>

/* Sizes of payloads. */
#define U64 8
#define STATE 8
#define ADDR 40
#define MEM_TABLE_HEADER 8
#define REGION 32
#define MEM_TABLE_MAX (MEM_TABLE_HEADER + REGION * VHOST_WIRE_MAX_REGIONS)
#define SINGLE_REGION (8 + REGION)
#define LOG 16
/* The text draws these two without the C structure's padding; everyone sends them with it. */
#define IOTLB_MIN 26
#define IOTLB_MAX 32
#define INFLIGHT_MIN 20
#define INFLIGHT_MAX 24
#define CONFIG_MIN (VHOST_WIRE_CONFIG_HEADER + 1)
#define CONFIG_MAX (VHOST_WIRE_CONFIG_HEADER + VHOST_WIRE_MAX_CONFIG)
#define UUID 16
#define DEVICE_STATE 8
#define AREA 24
#define MMAP 40
/* The layout is not in the text: anything that holds a number. */
#define CRYPTO_MIN 8

G_STATIC_ASSERT (sizeof (VhostWireHeader) == VHOST_WIRE_HEADER_SIZE);
G_STATIC_ASSERT (sizeof (VhostWireVringState) == STATE);
G_STATIC_ASSERT (sizeof (VhostWireVringAddr) == ADDR);
G_STATIC_ASSERT (sizeof (VhostWireMemTable) == MEM_TABLE_MAX);
G_STATIC_ASSERT (sizeof (VhostWireSingleRegion) == SINGLE_REGION);
G_STATIC_ASSERT (sizeof (VhostWireLog) == LOG);
G_STATIC_ASSERT (sizeof (VhostWireIotlb) == IOTLB_MAX);
G_STATIC_ASSERT (sizeof (VhostWireInflight) == INFLIGHT_MAX);
G_STATIC_ASSERT (sizeof (VhostWireConfig) == CONFIG_MAX);
G_STATIC_ASSERT (sizeof (VhostWireSharedObject) == UUID);
G_STATIC_ASSERT (sizeof (VhostWireDeviceState) == DEVICE_STATE);
G_STATIC_ASSERT (sizeof (VhostWireShmemConfig) == VHOST_WIRE_MAX_PAYLOAD);
G_STATIC_ASSERT (sizeof (VhostWireVringArea) == AREA);
G_STATIC_ASSERT (sizeof (VhostWireMmap) == MMAP);

/* Gates. */
#define ANY VHOST_WIRE_NO_GATE
#define P(bit) VHOST_WIRE_PROTOCOL_##bit
#define F(bit) VHOST_WIRE_F_##bit
#define F_NET_MTU 3

/* Replies. */
#define ACK VHOST_WIRE_REPLY_ACK
#define OWN VHOST_WIRE_REPLY_OWN
#define DEPENDS VHOST_WIRE_REPLY_DEPENDS

#define ROW(number, min_size, max_size, min_fds, max_fds, reply, protocol, feature)                \
  [VHOST_WIRE_##number]                                                                            \
      = { #number, min_size, max_size, min_fds, max_fds, reply, protocol, feature, FALSE }
/* A message that this version knows and refuses. */
#define ROW_UNSUPPORTED(number, min_size, max_size, min_fds, max_fds, reply, protocol, feature)    \
  [VHOST_WIRE_##number]                                                                            \
      = { #number, min_size, max_size, min_fds, max_fds, reply, protocol, feature, TRUE }

static const VhostWireMessage requests[VHOST_WIRE_N_REQUESTS] = {
  /* Payload from and to, descriptors from and to, reply, protocol bit, feature bit. */
  ROW (GET_FEATURES, 0, 0, 0, 0, OWN, ANY, ANY),
  ROW (SET_FEATURES, U64, U64, 0, 0, ACK, ANY, ANY),
  ROW (SET_OWNER, 0, 0, 0, 0, ACK, ANY, ANY),
  ROW (RESET_OWNER, 0, 0, 0, 0, ACK, ANY, ANY),
  ROW (SET_MEM_TABLE, MEM_TABLE_HEADER, MEM_TABLE_MAX, 0, VHOST_WIRE_MAX_REGIONS, DEPENDS, ANY,
       ANY),
  /* The message's entry says u64 and no descriptor, its prose the log and one: both are in use. */
  ROW (SET_LOG_BASE, U64, LOG, 0, 1, DEPENDS, ANY, ANY),
  ROW (SET_LOG_FD, 0, 0, 1, 1, ACK, ANY, ANY),
  ROW (SET_VRING_NUM, STATE, STATE, 0, 0, ACK, ANY, ANY),
  ROW (SET_VRING_ADDR, ADDR, ADDR, 0, 0, ACK, ANY, ANY),
  ROW (SET_VRING_BASE, STATE, STATE, 0, 0, ACK, ANY, ANY),
  ROW (GET_VRING_BASE, STATE, STATE, 0, 0, OWN, ANY, ANY),
  ROW (SET_VRING_KICK, U64, U64, 0, 1, ACK, ANY, ANY),
  ROW (SET_VRING_CALL, U64, U64, 0, 1, ACK, ANY, ANY),
  ROW (SET_VRING_ERR, U64, U64, 0, 1, ACK, ANY, ANY),
  ROW (GET_PROTOCOL_FEATURES, 0, 0, 0, 0, OWN, ANY, F (PROTOCOL_FEATURES)),
  ROW (SET_PROTOCOL_FEATURES, U64, U64, 0, 0, ACK, ANY, F (PROTOCOL_FEATURES)),
  ROW (GET_QUEUE_NUM, 0, 0, 0, 0, OWN, P (MQ), ANY),
  ROW (SET_VRING_ENABLE, STATE, STATE, 0, 0, ACK, ANY, F (PROTOCOL_FEATURES)),
  ROW (SEND_RARP, U64, U64, 0, 0, ACK, P (RARP), ANY),
  ROW (NET_SET_MTU, U64, U64, 0, 0, ACK, P (NET_MTU), F_NET_MTU),
  /* Feature bit 30 is not asked for: front-ends send this one before SET_FEATURES (N2). */
  ROW (SET_BACKEND_REQ_FD, 0, 0, 1, 1, ACK, P (BACKEND_REQ), ANY),
  ROW (IOTLB_MSG, IOTLB_MIN, IOTLB_MAX, 0, 0, OWN, ANY, F (ACCESS_PLATFORM)),
  ROW (SET_VRING_ENDIAN, STATE, STATE, 0, 0, ACK, P (CROSS_ENDIAN), ANY),
  ROW (GET_CONFIG, CONFIG_MIN, CONFIG_MAX, 0, 0, OWN, P (CONFIG), ANY),
  ROW (SET_CONFIG, CONFIG_MIN, CONFIG_MAX, 0, 0, ACK, P (CONFIG), ANY),
  ROW (CREATE_CRYPTO_SESSION, CRYPTO_MIN, VHOST_WIRE_MAX_PAYLOAD, 0, 0, OWN, P (CRYPTO_SESSION),
       ANY),
  ROW (CLOSE_CRYPTO_SESSION, U64, U64, 0, 0, ACK, P (CRYPTO_SESSION), ANY),
  ROW (POSTCOPY_ADVISE, 0, 0, 0, 0, OWN, P (PAGEFAULT), ANY),
  ROW (POSTCOPY_LISTEN, 0, 0, 0, 0, ACK, P (PAGEFAULT), ANY),
  ROW (POSTCOPY_END, 0, 0, 0, 0, OWN, P (PAGEFAULT), ANY),
  ROW (GET_INFLIGHT_FD, INFLIGHT_MIN, INFLIGHT_MAX, 0, 0, OWN, P (INFLIGHT_SHMFD), ANY),
  ROW (SET_INFLIGHT_FD, INFLIGHT_MIN, INFLIGHT_MAX, 1, 1, ACK, P (INFLIGHT_SHMFD), ANY),
  ROW (GPU_SET_SOCKET, 0, 0, 1, 1, ACK, ANY, ANY),
  ROW (RESET_DEVICE, 0, 0, 0, 0, ACK, P (RESET_DEVICE), ANY),
  ROW (VRING_KICK, STATE, STATE, 0, 0, ACK, P (INBAND_NOTIFICATIONS), ANY),
  ROW (GET_MAX_MEM_SLOTS, 0, 0, 0, 0, OWN, P (CONFIGURE_MEM_SLOTS), ANY),
  ROW (ADD_MEM_REG, SINGLE_REGION, SINGLE_REGION, 1, 1, DEPENDS, P (CONFIGURE_MEM_SLOTS), ANY),
  /* A descriptor is allowed and has no meaning. */
  ROW (REM_MEM_REG, SINGLE_REGION, SINGLE_REGION, 0, 1, ACK, P (CONFIGURE_MEM_SLOTS), ANY),
  ROW (SET_STATUS, U64, U64, 0, 0, ACK, P (STATUS), ANY),
  ROW (GET_STATUS, 0, 0, 0, 0, OWN, P (STATUS), ANY),
  /* QEMU gives size 0. */
  ROW (GET_SHARED_OBJECT, 0, UUID, 0, 0, OWN, P (SHARED_OBJECT), ANY),
  ROW (SET_DEVICE_STATE_FD, DEVICE_STATE, DEVICE_STATE, 1, 1, OWN, P (DEVICE_STATE), ANY),
  ROW (CHECK_DEVICE_STATE, 0, 0, 0, 0, OWN, P (DEVICE_STATE), ANY),
  ROW (GET_SHMEM_CONFIG, 0, 0, 0, 0, OWN, P (SHMEM_MAP), ANY),
};

/* All of them need BACKEND_REQ too, those with a descriptor BACKEND_SEND_FD: without them there is
 * no such channel. */
static const VhostWireMessage backend_requests[VHOST_WIRE_N_BACKEND_REQUESTS] = {
  ROW (BACKEND_IOTLB_MSG, IOTLB_MIN, IOTLB_MAX, 0, 0, ACK, P (BACKEND_REQ), F (ACCESS_PLATFORM)),
  ROW (BACKEND_CONFIG_CHANGE_MSG, 0, 0, 0, 0, ACK, P (CONFIG), ANY),
  ROW (BACKEND_VRING_HOST_NOTIFIER_MSG, AREA, AREA, 0, 1, ACK, P (HOST_NOTIFIER), ANY),
  ROW (BACKEND_VRING_CALL, STATE, STATE, 0, 0, ACK, P (INBAND_NOTIFICATIONS), ANY),
  ROW (BACKEND_VRING_ERR, STATE, STATE, 0, 0, ACK, P (INBAND_NOTIFICATIONS), ANY),
  ROW (BACKEND_SHARED_OBJECT_ADD, UUID, UUID, 0, 0, ACK, P (SHARED_OBJECT), ANY),
  ROW (BACKEND_SHARED_OBJECT_REMOVE, UUID, UUID, 0, 0, ACK, P (SHARED_OBJECT), ANY),
  ROW (BACKEND_SHARED_OBJECT_LOOKUP, UUID, UUID, 0, 0, OWN, P (SHARED_OBJECT), ANY),
  ROW (BACKEND_SHMEM_MAP, MMAP, MMAP, 1, 1, ACK, P (SHMEM_MAP), ANY),
  ROW (BACKEND_SHMEM_UNMAP, MMAP, MMAP, 0, 0, ACK, P (SHMEM_MAP), ANY),
};

static const char *const protocol_bit_names[VHOST_WIRE_N_PROTOCOL_BITS] = {
  "MQ",
  "LOG_SHMFD",
  "RARP",
  "REPLY_ACK",
  "NET_MTU",
  "BACKEND_REQ",
  "CROSS_ENDIAN",
  "CRYPTO_SESSION",
  "PAGEFAULT",
  "CONFIG",
  "BACKEND_SEND_FD",
  "HOST_NOTIFIER",
  "INFLIGHT_SHMFD",
  "RESET_DEVICE",
  "INBAND_NOTIFICATIONS",
  "CONFIGURE_MEM_SLOTS",
  "STATUS",
  "XEN_MMAP",
  "SHARED_OBJECT",
  "DEVICE_STATE",
  "GET_VRING_BASE_INFLIGHT",
  "GPA_ADDRESSES",
  "SHMEM_MAP",
};

/* VIRTIO 1.3, section 6, and the bits that vhost-user has put among them. */
static const char *const transport_bit_names[64] = {
  [24] = "NOTIFY_ON_EMPTY",    [26] = "LOG_ALL",           [27] = "ANY_LAYOUT",
  [28] = "RING_INDIRECT_DESC", [29] = "RING_EVENT_IDX",    [30] = "PROTOCOL_FEATURES",
  [32] = "VERSION_1",          [33] = "ACCESS_PLATFORM",   [34] = "RING_PACKED",
  [35] = "IN_ORDER",           [36] = "ORDER_PLATFORM",    [37] = "SR_IOV",
  [38] = "NOTIFICATION_DATA",  [39] = "NOTIF_CONFIG_DATA", [40] = "RING_RESET",
  [41] = "ADMIN_VQ",
};

static const char *const net_bit_names[64] = {
  [0] = "CSUM",
  [1] = "GUEST_CSUM",
  [2] = "CTRL_GUEST_OFFLOADS",
  [3] = "MTU",
  [5] = "MAC",
  [6] = "GSO",
  [7] = "GUEST_TSO4",
  [8] = "GUEST_TSO6",
  [9] = "GUEST_ECN",
  [10] = "GUEST_UFO",
  [11] = "HOST_TSO4",
  [12] = "HOST_TSO6",
  [13] = "HOST_ECN",
  [14] = "HOST_UFO",
  [15] = "MRG_RXBUF",
  [16] = "STATUS",
  [17] = "CTRL_VQ",
  [18] = "CTRL_RX",
  [19] = "CTRL_VLAN",
  [20] = "CTRL_RX_EXTRA",
  [21] = "GUEST_ANNOUNCE",
  [22] = "MQ",
  [23] = "CTRL_MAC_ADDR",
  [51] = "HASH_TUNNEL",
  [52] = "VQ_NOTF_COAL",
  [53] = "NOTF_COAL",
  [54] = "GUEST_USO4",
  [55] = "GUEST_USO6",
  [56] = "HOST_USO",
  [57] = "HASH_REPORT",
  [59] = "GUEST_HDRLEN",
  [60] = "RSS",
  [61] = "RSC_EXT",
  [62] = "STANDBY",
  [63] = "SPEED_DUPLEX",
};

static const char *const block_bit_names[64] = {
  [0] = "BARRIER",       [1] = "SIZE_MAX",  [2] = "SEG_MAX",
  [4] = "GEOMETRY",      [5] = "RO",        [6] = "BLK_SIZE",
  [7] = "SCSI",          [9] = "FLUSH",     [10] = "TOPOLOGY",
  [11] = "CONFIG_WCE",   [12] = "MQ",       [13] = "DISCARD",
  [14] = "WRITE_ZEROES", [15] = "LIFETIME", [16] = "SECURE_ERASE",
  [17] = "ZONED",
};

static const char *const console_bit_names[64] = { "SIZE", "MULTIPORT", "EMERG_WRITE" };
static const char *const scsi_bit_names[64] = { "INOUT", "HOTPLUG", "CHANGE", "T10_PI" };
static const char *const vsock_bit_names[64] = { "STREAM", "SEQPACKET", "NO_IMPLIED_STREAM" };
static const char *const fs_bit_names[64] = { "NOTIFICATION" };
static const char *const gpu_bit_names[64]
    = { "VIRGL", "EDID", "RESOURCE_UUID", "RESOURCE_BLOB", "CONTEXT_INIT" };
static const char *const balloon_bit_names[64] = {
  "MUST_TELL_HOST", "STATS_VQ", "DEFLATE_ON_OOM", "FREE_PAGE_HINT", "PAGE_POISON", "REPORTING",
};

/* rng and input have no bits of their own. */
static const struct
{
  const char *device;
  const char *const *names;
} device_bit_names[] = {
  { "balloon", balloon_bit_names }, { "block", block_bit_names }, { "console", console_bit_names },
  { "fs", fs_bit_names },           { "gpu", gpu_bit_names },     { "net", net_bit_names },
  { "scsi", scsi_bit_names },       { "vsock", vsock_bit_names },
};

const VhostWireMessage *
vhost_wire_lookup (guint32 request)
{
  if (request >= VHOST_WIRE_N_REQUESTS || requests[request].name == NULL)
    return NULL;
  return &requests[request];
}

const VhostWireMessage *
vhost_wire_lookup_backend (guint32 request)
{
  if (request >= VHOST_WIRE_N_BACKEND_REQUESTS || backend_requests[request].name == NULL)
    return NULL;
  return &backend_requests[request];
}

const char *
vhost_wire_name (guint32 request)
{
  static _Thread_local char unknown[sizeof "message 4294967295"];
  const VhostWireMessage *message = vhost_wire_lookup (request);
  if (message != NULL)
    return message->name;
  g_snprintf (unknown, sizeof unknown, "message %u", request);
  return unknown;
}

const char *
vhost_wire_protocol_bit_name (guint bit)
{
  return bit < G_N_ELEMENTS (protocol_bit_names) ? protocol_bit_names[bit] : NULL;
}

const char *
vhost_wire_feature_bit_name (const char *device, guint bit)
{
  if (bit >= G_N_ELEMENTS (transport_bit_names))
    return NULL;
  if (transport_bit_names[bit] != NULL || device == NULL)
    return transport_bit_names[bit];
  for (guint i = 0; i < G_N_ELEMENTS (device_bit_names); i++)
    if (strcmp (device_bit_names[i].device, device) == 0)
      return device_bit_names[i].names[bit];
  return NULL;
}

gboolean
vhost_wire_check_header (const VhostWireHeader *header, GError **error)
{
  if ((header->flags & VHOST_WIRE_FLAG_VERSION_MASK) != VHOST_WIRE_VERSION)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s has protocol version %u (flags 0x%x), only version %u exists: the other end "
                   "does not speak vhost-user or lost its place in the stream",
                   vhost_wire_name (header->request), header->flags & VHOST_WIRE_FLAG_VERSION_MASK,
                   header->flags, VHOST_WIRE_VERSION);
      return FALSE;
    }
  if (header->size > VHOST_WIRE_MAX_PAYLOAD)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s announces a payload of %u bytes, no message has more than %u",
                   vhost_wire_name (header->request), header->size, VHOST_WIRE_MAX_PAYLOAD);
      return FALSE;
    }
  return TRUE;
}

/* "8", or "8 to 16". */
static const char *
format_range (char buffer[32], guint min, guint max)
{
  if (min == max)
    g_snprintf (buffer, 32, "%u", min);
  else
    g_snprintf (buffer, 32, "%u to %u", min, max);
  return buffer;
}

/* Payloads are copied, never cast: a caller's buffer need not be aligned. */
static gboolean
check_mem_table (const VhostWireHeader *header, const void *payload, guint n_fds, GError **error)
{
  guint32 n_regions;
  memcpy (&n_regions, payload, sizeof n_regions);
  if (n_regions > VHOST_WIRE_MAX_REGIONS)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "SET_MEM_TABLE has %u memory regions, at most %u are allowed", n_regions,
                   VHOST_WIRE_MAX_REGIONS);
      return FALSE;
    }
  if (header->size < MEM_TABLE_HEADER + n_regions * REGION)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "SET_MEM_TABLE has %u memory regions in %u bytes, %u are needed", n_regions,
                   header->size, MEM_TABLE_HEADER + n_regions * REGION);
      return FALSE;
    }
  if (n_fds != n_regions)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "SET_MEM_TABLE has %u memory regions and %u file descriptors, there must be one "
                   "for each",
                   n_regions, n_fds);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_vring_fd (const VhostWireMessage *message, const void *payload, guint n_fds, GError **error)
{
  guint64 value;
  memcpy (&value, payload, sizeof value);
  gboolean no_fd = (value & VHOST_WIRE_VRING_NO_FD) != 0;
  if (no_fd == (n_fds == 0))
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
               no_fd ? "%s for ring %u says that it has no file descriptor, but one came"
                     : "%s for ring %u came without a file descriptor and does not say so",
               message->name, (guint) (value & VHOST_WIRE_VRING_INDEX_MASK));
  return FALSE;
}

static gboolean
check_config (const VhostWireMessage *message, const VhostWireHeader *header, const void *payload,
              GError **error)
{
  guint32 offset, size;
  memcpy (&offset, payload, sizeof offset);
  memcpy (&size, (const guint8 *) payload + 4, sizeof size);
  if (size < 1 || size > VHOST_WIRE_MAX_CONFIG)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s is for %u bytes of the configuration space, it must be 1 to %u",
                   message->name, size, VHOST_WIRE_MAX_CONFIG);
      return FALSE;
    }
  if (header->size != VHOST_WIRE_CONFIG_HEADER + size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s is for %u bytes of the configuration space, but has a payload of %u instead "
                   "of %u",
                   message->name, size, header->size, VHOST_WIRE_CONFIG_HEADER + size);
      return FALSE;
    }
  if (offset > G_MAXUINT32 - size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s is for %u bytes at offset %u of the configuration space, which wraps around",
                   message->name, size, offset);
      return FALSE;
    }
  return TRUE;
}

/* Where a range is two sizes and nothing between them. */
static gboolean
check_two_sizes (const VhostWireMessage *message, const VhostWireHeader *header, GError **error)
{
  if (header->size == message->min_size || header->size == message->max_size)
    return TRUE;
  g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
               "%s has a payload of %u bytes, it must be %u or %u", message->name, header->size,
               message->min_size, message->max_size);
  return FALSE;
}

gboolean
vhost_wire_check_message (const VhostWireMessage *message, const VhostWireHeader *header,
                          const void *payload, guint n_fds, GError **error)
{
  char range[32];
  if (header->size < message->min_size || header->size > message->max_size)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s has a payload of %u bytes, it must be %s", message->name, header->size,
                   format_range (range, message->min_size, message->max_size));
      return FALSE;
    }
  if (n_fds < message->min_fds || n_fds > message->max_fds)
    {
      g_set_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL,
                   "%s came with %u file descriptors, it must be %s", message->name, n_fds,
                   format_range (range, message->min_fds, message->max_fds));
      return FALSE;
    }

  /* Both directions use the same numbers: only rows of the front-end's table are looked at more
   * closely. */
  if (vhost_wire_lookup (header->request) != message)
    return TRUE;
  switch (header->request)
    {
    case VHOST_WIRE_SET_MEM_TABLE:
      return check_mem_table (header, payload, n_fds, error);
    case VHOST_WIRE_SET_VRING_KICK:
    case VHOST_WIRE_SET_VRING_CALL:
    case VHOST_WIRE_SET_VRING_ERR:
      return check_vring_fd (message, payload, n_fds, error);
    case VHOST_WIRE_GET_CONFIG:
    case VHOST_WIRE_SET_CONFIG:
      return check_config (message, header, payload, error);
    case VHOST_WIRE_SET_LOG_BASE:
    case VHOST_WIRE_GET_SHARED_OBJECT:
    case VHOST_WIRE_IOTLB_MSG:
    case VHOST_WIRE_GET_INFLIGHT_FD:
    case VHOST_WIRE_SET_INFLIGHT_FD:
      return check_two_sizes (message, header, error);
    default:
      return TRUE;
    }
}
