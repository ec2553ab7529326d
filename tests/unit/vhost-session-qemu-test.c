/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is put up with from QEMU, for the types of device that need it, and for no others. */
#define N_QUEUES 4
#include "session-peer.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_scsi.h>

#define TEST_AREA "session-qemu"

static void
set_up_as (Fixture *f, const char *name, guint virtio_id)
{
  gpointer klass = g_type_class_ref (TEST_TYPE_DEVICE);

  vhost_backend_class_set_device (klass, name, virtio_id, N_QUEUES);
  set_up (f, NULL);
  g_type_class_unref (klass);
}

static void
set_up_scsi (Fixture *f, gconstpointer data)
{
  set_up_as (f, "scsi", VIRTIO_ID_SCSI);
}

static void
set_up_crypto (Fixture *f, gconstpointer data)
{
  set_up_as (f, "crypto", VIRTIO_ID_CRYPTO);
}

static void
set_up_net (Fixture *f, gconstpointer data)
{
  set_up_as (f, "net", VIRTIO_ID_NET);
}

static void
set_up_other (Fixture *f, gconstpointer data)
{
  set_up_as (f, "rng", VIRTIO_ID_RNG);
}

static guint64
set_features (Fixture *f, guint bit)
{
  return call_u64 (f, VHOST_WIRE_SET_FEATURES, FEATURES | VHOST_WIRE_BIT (bit));
}

static void
test_change (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (set_features (f, VIRTIO_SCSI_F_CHANGE), ==, 0);
  g_assert_cmphex (f->device->features, ==, FEATURES);
  g_assert_cmpuint (set_features (f, VIRTIO_SCSI_F_INOUT), !=, 0);
  g_assert_cmpuint (set_features (f, VIRTIO_SCSI_F_T10_PI), !=, 0);
}

static void
test_no_change (Fixture *f, gconstpointer data)
{
  g_assert_cmpuint (set_features (f, VIRTIO_SCSI_F_CHANGE), !=, 0);
}

static void
test_never_enabled (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  offer (f);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

/* Who says SET_VRING_ENABLE is heard. */
static void
test_disabled (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 0), ==, 0);
  start_ring (f, 0);
  offer (f);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
}

static void
test_enabled_as_others (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (set_memory (f), ==, 0);
  start_ring (f, 0);
  offer (f);
  wait_for_worker (f);
  g_assert_cmpuint (hand_used_index (&f->hand), ==, 0);
}

static guint64
add_region (Fixture *f, int fd, guint64 mmap_offset)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, mmap_offset } };

  return call_fds (f, VHOST_WIRE_ADD_MEM_REG, &region, sizeof region, &fd, 1);
}

static guint64
remove_region (Fixture *f)
{
  VhostWireSingleRegion region = { 0, { HAND_BASE, HAND_SIZE, HAND_USER, 0 } };

  return call (f, VHOST_WIRE_REM_MEM_REG, &region, sizeof region);
}

static void
test_pairs_add_memory (Fixture *f, gconstpointer data)
{
  int other = memfd_create ("other", MFD_CLOEXEC);

  g_assert_cmpint (ftruncate (other, HAND_SIZE * 2), ==, 0);
  negotiate (f);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), ==, 0);
  g_assert_cmpuint (add_region (f, other, 0), !=, 0);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), ==, 0);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), !=, 0); /* there are two pairs */
  start_ring (f, 0);
  g_assert_cmpuint (call_state (f, VHOST_WIRE_SET_VRING_ENABLE, 0, 1), ==, 0);
  g_assert_cmpuint (remove_region (f), ==, 0);
  offer (f); /* the other pair has it still */
  ITERATE_UNTIL (hand_used_index (&f->hand) == 1);
  g_assert_cmpuint (vhost_memory_get_n_regions (f->session->memory), ==, 1);
  g_assert_cmpuint (remove_region (f), ==, 0);
  g_assert_cmpuint (vhost_memory_get_n_regions (f->session->memory), ==, 0);
  g_assert_cmpuint (remove_region (f), !=, 0);
  g_assert_cmpuint (add_region (f, other, 0), ==, 0);
  g_assert_cmpuint (add_region (f, other, 4096), !=, 0);
  close (other);
}

/* A table replaces all of it, however often it was added. */
static void
test_a_table_begins_anew (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), ==, 0);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), ==, 0);
  g_assert_cmpuint (set_memory (f), ==, 0);
  g_assert_cmpuint (remove_region (f), ==, 0);
  g_assert_cmpuint (vhost_memory_get_n_regions (f->session->memory), ==, 0);
}

static void
test_others_add_once (Fixture *f, gconstpointer data)
{
  negotiate (f);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), ==, 0);
  g_assert_cmpuint (add_region (f, f->hand.fd, 0), !=, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("scsi-may-take-CHANGE-unasked", set_up_scsi, test_change);
  ADD ("nobody-else-may", set_up_other, test_no_change);
  ADD ("crypto-is-served-without-enable", set_up_crypto, test_never_enabled);
  ADD ("crypto-can-be-disabled", set_up_crypto, test_disabled);
  ADD ("nobody-else-is", set_up_other, test_enabled_as_others);
  ADD ("each-pair-of-a-network-card-adds-memory", set_up_net, test_pairs_add_memory);
  ADD ("a-table-begins-anew", set_up_net, test_a_table_begins_anew);
  ADD ("nobody-else-adds-it-twice", set_up_other, test_others_add_once);
  return g_test_run ();
}
