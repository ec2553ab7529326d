/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver side's memory: how it is told, and what is allocated in it. */
#include "scripted-back-end.h"

static void
test_memory_table (void)
{
  Peer peer = { .features = F30, .protocol_features = BIT (3) };
  g_autoptr (GError) error = NULL;
  VhostWireMemTable table;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, BIT (3));
  for (guint i = 0; i < 8; i++)
    g_assert_true (vhost_frontend_add_memory (peer.frontend, i * MIB, MIB, &error));
  g_assert_false (vhost_frontend_add_memory (peer.frontend, 8 * MIB, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_null (vhost_frontend_get_memory (peer.frontend, 8 * MIB, 1));
  g_assert_true (vhost_frontend_remove_memory (peer.frontend, 3 * MIB, &error));
  g_assert_null (vhost_frontend_get_memory (peer.frontend, 3 * MIB, 1));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 3 2 5 5 5 5 5 5 5 5 5");
  g_assert_cmpuint (peer_seen (&peer, 12)->n_fds, ==, 8);
  g_assert_cmpuint (peer_seen (&peer, 12)->size, ==, 8 + 32 * 8);
  g_assert_cmpuint (peer_seen (&peer, 13)->n_fds, ==, 7);
  memcpy (&table, peer_seen (&peer, 13)->payload, sizeof table);
  g_assert_cmpuint (table.n_regions, ==, 7);
  g_assert_cmphex (table.regions[3].guest_addr, ==, 4 * MIB);
  g_assert_cmphex (table.regions[3].size, ==, MIB);
  g_assert_cmphex (table.regions[3].user_addr, ==,
                   (guintptr) vhost_frontend_get_memory (peer.frontend, 4 * MIB, MIB));
  peer_clear (&peer);
}

static void
test_memory_slots (void)
{
  Peer peer
      = { .features = F30, .protocol_features = BIT (3) | BIT (15) | BIT (21), .max_slots = 2 };
  g_autoptr (GError) error = NULL;
  VhostWireSingleRegion region;

  peer_start (&peer);
  NEGOTIATE (&peer, 0, G_MAXUINT64);
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 0, MIB, &error));
  g_assert_true (vhost_frontend_add_memory (peer.frontend, 2 * MIB, MIB, &error));
  g_assert_false (vhost_frontend_add_memory (peer.frontend, 4 * MIB, MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (vhost_frontend_remove_memory (peer.frontend, 2 * MIB, &error));
  g_assert_false (vhost_frontend_remove_memory (peer.frontend, 2 * MIB, &error));
  g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
  g_clear_error (&error);
  /* Not its beginning. */
  g_assert_false (vhost_frontend_remove_memory (peer.frontend, 4096, &error));
  peer_stop (&peer);

  assert_requests (&peer, "1 15 16 36 3 2 37 37 38");
  g_assert_cmpuint (peer_seen (&peer, 7)->n_fds, ==, 1);
  g_assert_cmpuint (peer_seen (&peer, 7)->size, ==, 40);
  g_assert_cmpuint (peer_seen (&peer, 8)->n_fds, ==, 0);
  memcpy (&region, peer_seen (&peer, 7)->payload, sizeof region);
  g_assert_cmphex (region.region.guest_addr, ==, 2 * MIB);
  /* GPA_ADDRESSES: the guest's address takes the place of ours. */
  g_assert_cmphex (region.region.user_addr, ==, 2 * MIB);
  peer_clear (&peer);
}

static void
test_memory_arguments (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  static const struct
  {
    guint64 address;
    gsize size;
  } bad[] = { { 0, 0 },          { 1, 4096 },    { G_MAXUINT64 - 4095, 8192 },
              { 0, G_MAXSIZE },  { 4096, 4096 }, { 0, 8192 },
              { 8192, 3 * 4096 } };

  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 4096, 2 * 4096, &error));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_assert_null (
          vhost_frontend_memory_new_region (frontend, bad[i].address, bad[i].size, &error));
      g_assert_error (error, VHOST_ERROR, VHOST_ERROR_INVALID);
      g_clear_error (&error);
    }
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0, 4096, NULL));
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, G_MAXUINT64 - 8191, 4096, NULL));
}

static void
test_allocate (void)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  guint64 address;
  guint64 end = 4096;
  struct stat st;

  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, 1), ==, 0);
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0, 4 * 4096, NULL));
  g_assert_cmphex (vhost_frontend_allocate (frontend, 0, 1), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, 3), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, G_MAXSIZE, 1), ==, 0);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 1, G_MAXSIZE / 2 + 1), ==, 0);
  for (guint i = 0; i < 7; i++)
    {
      address = vhost_frontend_allocate (frontend, 10, 64);
      g_assert_cmphex (address, >=, end);
      g_assert_cmphex (address % 64, ==, 0);
      end = address + 10;
    }
  g_assert_cmphex (vhost_frontend_allocate (frontend, 2 * 4096, 0), ==, end);
  g_assert_cmphex (vhost_frontend_allocate (frontend, 4096, 0), ==, 0);
  /* A second region takes what the first has no room for. */
  g_assert_nonnull (vhost_frontend_memory_new_region (frontend, 0x100000, 4096, NULL));
  g_assert_cmphex (vhost_frontend_allocate (frontend, 4096, 0), ==, 0x100000);

  g_assert_null (vhost_frontend_get_memory (frontend, 0, 4 * 4096 + 1));
  g_assert_nonnull (vhost_frontend_get_memory (frontend, 0, 4 * 4096));
  g_assert_null (vhost_frontend_get_memory (frontend, 0x100000, G_MAXSIZE));
  g_assert_cmpint (vhost_frontend_get_memory_fd (frontend, 0x200000), ==, -1);
  g_assert_cmpint (fstat (vhost_frontend_get_memory_fd (frontend, 0x100fff), &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 4096);
  /* The back-end may seal it, nobody has. */
  g_assert_cmpint (fcntl (vhost_frontend_get_memory_fd (frontend, 0), F_GET_SEALS), ==, 0);
}

static void
test_leaks (void)
{
  guint before, after;

  /* What the first round opens once for the process does not count. */
  test_memory_table ();
  vhost_fd_settle ();
  before = vhost_fd_count_free ();
  for (guint i = 0; i < 3; i++)
    {
      test_memory_table ();
      test_memory_slots ();
    }
  vhost_fd_settle ();
  after = vhost_fd_count_free ();
  g_assert_cmpuint (after, ==, before);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/frontend-memory/sends-the-whole-table-without-slots", test_memory_table);
  g_test_add_func ("/frontend-memory/adds-and-removes-slots", test_memory_slots);
  g_test_add_func ("/frontend-memory/refuses-regions-that-cannot-be", test_memory_arguments);
  g_test_add_func ("/frontend-memory/allocates-disjoint-memory-but-never-address-0", test_allocate);
  g_test_add_func ("/frontend-memory/leaks-no-descriptor", test_leaks);
  return g_test_run ();
}
