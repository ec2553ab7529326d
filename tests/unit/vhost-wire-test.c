/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of messages and the checks against it. */
#include "vhost-wire-private.h"

#include "vhost-error.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_vsock.h>
#include <string.h>

static gboolean
check (guint32 request, const void *payload, guint32 size, guint n_fds)
{
  g_autoptr (GError) error = NULL;
  VhostWireHeader header = { .request = request, .flags = VHOST_WIRE_VERSION, .size = size };
  gboolean valid
      = vhost_wire_check_message (vhost_wire_lookup (request), &header, payload, n_fds, &error);
  if (valid)
    g_assert_no_error (error);
  else
    g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
  return valid;
}

static void
test_knows_every_message (void)
{
  for (guint i = 1; i < VHOST_WIRE_N_REQUESTS; i++)
    g_assert_nonnull (vhost_wire_lookup (i));
  for (guint i = 1; i < VHOST_WIRE_N_BACKEND_REQUESTS; i++)
    g_assert_nonnull (vhost_wire_lookup_backend (i));
  const guint32 unknown[] = { 0, VHOST_WIRE_N_REQUESTS, 1000, 0x80000000u, G_MAXUINT32 };
  for (guint i = 0; i < G_N_ELEMENTS (unknown); i++)
    {
      g_assert_null (vhost_wire_lookup (unknown[i]));
      g_assert_null (vhost_wire_lookup_backend (unknown[i]));
    }
  g_assert_null (vhost_wire_lookup_backend (VHOST_WIRE_N_BACKEND_REQUESTS));
}

static void
test_rows_are_consistent (void)
{
  for (guint i = 1; i < VHOST_WIRE_N_REQUESTS; i++)
    {
      const VhostWireMessage *row = vhost_wire_lookup (i);
      g_assert_cmpuint (row->min_size, <=, row->max_size);
      g_assert_cmpuint (row->max_size, <=, VHOST_WIRE_MAX_PAYLOAD);
      g_assert_cmpuint (row->min_fds, <=, row->max_fds);
      g_assert_cmpuint (row->max_fds, <=, VHOST_WIRE_MAX_FDS);
      if (row->protocol_bit != VHOST_WIRE_NO_GATE)
        g_assert_nonnull (vhost_wire_protocol_bit_name (row->protocol_bit));
      g_assert_cmpstr (vhost_wire_name (i), ==, row->name);
      /* What only asks always has an answer. */
      if (g_str_has_prefix (row->name, "GET_"))
        g_assert_cmpuint (row->reply, ==, VHOST_WIRE_REPLY_OWN);
    }
  g_assert_cmpstr (vhost_wire_name (44), ==, "GET_SHMEM_CONFIG");
  g_assert_cmpstr (vhost_wire_name (77), ==, "message 77");
  g_assert_cmpstr (vhost_wire_name (G_MAXUINT32), ==, "message 4294967295");
}

static void
test_own_replies_are_those_of_the_text (void)
{
  const guint own[] = { 1, 11, 15, 17, 22, 24, 26, 28, 30, 31, 36, 40, 41, 42, 43, 44 };
  guint n = 0;
  for (guint i = 1; i < VHOST_WIRE_N_REQUESTS; i++)
    if (vhost_wire_lookup (i)->reply == VHOST_WIRE_REPLY_OWN)
      {
        g_assert_cmpuint (n, <, G_N_ELEMENTS (own));
        g_assert_cmpuint (i, ==, own[n++]);
      }
  g_assert_cmpuint (n, ==, G_N_ELEMENTS (own));
  g_assert_cmpuint (vhost_wire_lookup_backend (8)->reply, ==, VHOST_WIRE_REPLY_OWN);
}

static void
test_offers_what_is_implemented (void)
{
  const guint implemented[]
      = { 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
          23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44 };
  guint n = 0;
  for (guint i = 1; i < VHOST_WIRE_N_REQUESTS; i++)
    if (!vhost_wire_lookup (i)->unsupported)
      {
        g_assert_cmpuint (n, <, G_N_ELEMENTS (implemented));
        g_assert_cmpuint (i, ==, implemented[n++]);
      }
  g_assert_cmpuint (n, ==, G_N_ELEMENTS (implemented));
}

static void
test_header_needs_version_1 (void)
{
  for (guint32 version = 0; version < 4; version++)
    {
      g_autoptr (GError) error = NULL;
      VhostWireHeader header = { 1, version | VHOST_WIRE_FLAG_NEED_REPLY | 0xfffffff0u, 0 };
      g_assert_cmpint (vhost_wire_check_header (&header, &error), ==, version == 1);
      if (version != 1)
        g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
    }
}

static void
test_header_refuses_size_beyond_table (void)
{
  const guint32 sizes[] = { VHOST_WIRE_MAX_PAYLOAD + 1, 0x7fffffffu, 0x80000000u, G_MAXUINT32 };
  VhostWireHeader header = { 5, VHOST_WIRE_VERSION, VHOST_WIRE_MAX_PAYLOAD };
  g_assert_true (vhost_wire_check_header (&header, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (GError) error = NULL;
      header.size = sizes[i];
      g_assert_false (vhost_wire_check_header (&header, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_PROTOCOL);
    }
}

static void
test_refuses_sizes_and_fds_next_to_the_limits (void)
{
  guint8 payload[VHOST_WIRE_MAX_PAYLOAD] = { 0 };
  for (guint i = 1; i < VHOST_WIRE_N_REQUESTS; i++)
    {
      const VhostWireMessage *row = vhost_wire_lookup (i);
      if (row->min_size > 0)
        g_assert_false (check (i, payload, row->min_size - 1u, row->min_fds));
      g_assert_false (check (i, payload, row->max_size + 1u, row->min_fds));
      if (row->min_fds > 0)
        g_assert_false (check (i, payload, row->min_size, row->min_fds - 1u));
      g_assert_false (check (i, payload, row->min_size, row->max_fds + 1u));
      g_assert_false (check (i, payload, G_MAXUINT32, row->min_fds));
      g_assert_false (check (i, payload, row->min_size, G_MAXUINT32));
    }
}

static void
test_takes_padded_and_unpadded_structures (void)
{
  guint8 payload[40] = { 0 };
  g_assert_true (check (VHOST_WIRE_IOTLB_MSG, payload, 26, 0));
  g_assert_true (check (VHOST_WIRE_IOTLB_MSG, payload, 32, 0));
  g_assert_true (check (VHOST_WIRE_GET_INFLIGHT_FD, payload, 20, 0));
  g_assert_true (check (VHOST_WIRE_SET_INFLIGHT_FD, payload, 24, 1));
  g_assert_true (check (VHOST_WIRE_SET_LOG_BASE, payload, 8, 0));
  g_assert_true (check (VHOST_WIRE_SET_LOG_BASE, payload, 16, 1));
  g_assert_false (check (VHOST_WIRE_SET_LOG_BASE, payload, 12, 1));
  g_assert_true (check (VHOST_WIRE_GET_SHARED_OBJECT, NULL, 0, 0));
  g_assert_true (check (VHOST_WIRE_GET_SHARED_OBJECT, payload, 16, 0));
  g_assert_false (check (VHOST_WIRE_GET_SHARED_OBJECT, payload, 8, 0));
  g_assert_true (check (VHOST_WIRE_REM_MEM_REG, payload, 40, 0));
  g_assert_true (check (VHOST_WIRE_REM_MEM_REG, payload, 40, 1));
  g_assert_false (check (VHOST_WIRE_REM_MEM_REG, payload, 32, 0));
  g_assert_false (check (VHOST_WIRE_ADD_MEM_REG, payload, 40, 0));
}

static void
test_mem_table_counts_agree (void)
{
  /* One byte off: payloads need not be aligned. */
  guint8 bytes[sizeof (VhostWireMemTable) + 1] = { 0 };
  guint8 *payload = bytes + 1;
  for (guint32 n = 0; n <= VHOST_WIRE_MAX_REGIONS; n++)
    {
      memcpy (payload, &n, sizeof n);
      g_assert_true (check (VHOST_WIRE_SET_MEM_TABLE, payload, 8 + 32 * n, n));
      g_assert_true (check (VHOST_WIRE_SET_MEM_TABLE, payload, sizeof (VhostWireMemTable), n));
      g_assert_false (check (VHOST_WIRE_SET_MEM_TABLE, payload, 8 + 32 * n, n + 1));
      if (n > 0)
        {
          g_assert_false (check (VHOST_WIRE_SET_MEM_TABLE, payload, 8 + 32 * n, n - 1));
          g_assert_false (check (VHOST_WIRE_SET_MEM_TABLE, payload, 8 + 32 * n - 1, n));
        }
    }
  const guint32 bad[] = { 9, 0x08000000u, 0x80000000u, G_MAXUINT32 };
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      memcpy (payload, &bad[i], sizeof bad[i]);
      g_assert_false (check (VHOST_WIRE_SET_MEM_TABLE, payload, sizeof (VhostWireMemTable), 8));
    }
}

static void
test_no_fd_flag_and_fd_exclude_each_other (void)
{
  for (guint32 request = VHOST_WIRE_SET_VRING_KICK; request <= VHOST_WIRE_SET_VRING_ERR; request++)
    {
      guint64 with = 0x33, without = 0x33 | VHOST_WIRE_VRING_NO_FD;
      guint64 unspecified = 0xfffffffffffffe00u;
      g_assert_true (check (request, &with, 8, 1));
      g_assert_true (check (request, &without, 8, 0));
      g_assert_false (check (request, &with, 8, 0));
      g_assert_false (check (request, &without, 8, 1));
      g_assert_true (check (request, &unspecified, 8, 1));
    }
}

static gboolean
check_config (guint32 request, guint32 offset, guint32 size, guint32 payload_size)
{
  VhostWireConfig config = { .offset = offset, .size = size };
  return check (request, &config, payload_size, 0);
}

static void
test_config_size_agrees_with_payload (void)
{
  const guint32 requests[] = { VHOST_WIRE_GET_CONFIG, VHOST_WIRE_SET_CONFIG };
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    {
      g_assert_true (check_config (requests[i], 0, 1, 13));
      g_assert_true (check_config (requests[i], 4, 60, 72));
      g_assert_true (check_config (requests[i], 0, 256, 268));
      g_assert_false (check_config (requests[i], 0, 0, 12));
      g_assert_false (check_config (requests[i], 0, 0, 13));
      g_assert_false (check_config (requests[i], 0, 257, 269));
      g_assert_false (check_config (requests[i], 0, 60, 71));
      g_assert_false (check_config (requests[i], 0, 60, 73));
      /* 12 + size wraps to the payload's size. */
      g_assert_false (check_config (requests[i], 0, G_MAXUINT32 - 11 + 13, 13 + 12));
      g_assert_false (check_config (requests[i], 0, G_MAXUINT32, 268));
      g_assert_true (check_config (requests[i], G_MAXUINT32 - 8, 8, 20));
      g_assert_false (check_config (requests[i], G_MAXUINT32 - 7, 8, 20));
    }
}

static void
test_backend_rows_are_checked_as_their_own (void)
{
  /* Number 5 is SET_MEM_TABLE in one direction and VRING_ERR in the other. */
  VhostWireHeader header = { VHOST_WIRE_BACKEND_VRING_ERR, VHOST_WIRE_VERSION, 8 };
  VhostWireVringState state = { .index = 3 };
  g_assert_true (vhost_wire_check_message (vhost_wire_lookup_backend (header.request), &header,
                                           &state, 0, NULL));
}

static void
test_names_features_as_the_kernel_does (void)
{
#define SAME(device, prefix, name)                                                                 \
  g_assert_cmpstr (vhost_wire_feature_bit_name (device, prefix##name), ==, #name)
  SAME (NULL, VIRTIO_F_, VERSION_1);
  SAME ("net", VIRTIO_F_, ACCESS_PLATFORM);
  SAME ("block", VIRTIO_F_, IN_ORDER);
  SAME ("rng", VIRTIO_F_, RING_PACKED);
  SAME ("block", VIRTIO_BLK_F_, SEG_MAX);
  SAME ("block", VIRTIO_BLK_F_, RO);
  SAME ("block", VIRTIO_BLK_F_, CONFIG_WCE);
  SAME ("block", VIRTIO_BLK_F_, SECURE_ERASE);
  SAME ("net", VIRTIO_NET_F_, CSUM);
  SAME ("net", VIRTIO_NET_F_, MTU);
  SAME ("net", VIRTIO_NET_F_, CTRL_MAC_ADDR);
  SAME ("net", VIRTIO_NET_F_, RSS);
  SAME ("net", VIRTIO_NET_F_, SPEED_DUPLEX);
  SAME ("console", VIRTIO_CONSOLE_F_, EMERG_WRITE);
  SAME ("scsi", VIRTIO_SCSI_F_, T10_PI);
  SAME ("vsock", VIRTIO_VSOCK_F_, SEQPACKET);
  SAME ("gpu", VIRTIO_GPU_F_, RESOURCE_BLOB);
  SAME ("balloon", VIRTIO_BALLOON_F_, REPORTING);
#undef SAME
  g_assert_cmpstr (vhost_wire_feature_bit_name (NULL, VIRTIO_RING_F_EVENT_IDX), ==,
                   "RING_EVENT_IDX");
  g_assert_null (vhost_wire_feature_bit_name (NULL, 0));
  g_assert_null (vhost_wire_feature_bit_name ("toaster", 0));
  g_assert_null (vhost_wire_feature_bit_name ("rng", 0));
  g_assert_null (vhost_wire_feature_bit_name ("block", 64));
  g_assert_null (vhost_wire_feature_bit_name ("block", G_MAXUINT));
  g_assert_cmpstr (vhost_wire_protocol_bit_name (0), ==, "MQ");
  g_assert_cmpstr (vhost_wire_protocol_bit_name (VHOST_WIRE_PROTOCOL_STATUS), ==, "STATUS");
  g_assert_cmpstr (vhost_wire_protocol_bit_name (22), ==, "SHMEM_MAP");
  g_assert_null (vhost_wire_protocol_bit_name (23));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/wire/knows-every-message", test_knows_every_message);
  g_test_add_func ("/wire/rows-are-consistent", test_rows_are_consistent);
  g_test_add_func ("/wire/own-replies-are-those-of-the-text",
                   test_own_replies_are_those_of_the_text);
  g_test_add_func ("/wire/offers-what-is-implemented", test_offers_what_is_implemented);
  g_test_add_func ("/wire/header-needs-version-1", test_header_needs_version_1);
  g_test_add_func ("/wire/header-refuses-size-beyond-table", test_header_refuses_size_beyond_table);
  g_test_add_func ("/wire/refuses-sizes-and-fds-next-to-the-limits",
                   test_refuses_sizes_and_fds_next_to_the_limits);
  g_test_add_func ("/wire/takes-padded-and-unpadded-structures",
                   test_takes_padded_and_unpadded_structures);
  g_test_add_func ("/wire/mem-table-counts-agree", test_mem_table_counts_agree);
  g_test_add_func ("/wire/no-fd-flag-and-fd-exclude-each-other",
                   test_no_fd_flag_and_fd_exclude_each_other);
  g_test_add_func ("/wire/config-size-agrees-with-payload", test_config_size_agrees_with_payload);
  g_test_add_func ("/wire/backend-rows-are-checked-as-their-own",
                   test_backend_rows_are_checked_as_their_own);
  g_test_add_func ("/wire/names-features-as-the-kernel-does",
                   test_names_features_as_the_kernel_does);
  return g_test_run ();
}
