/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network messages: SEND_RARP and NET_SET_MTU. Public API only. */
#include "raw-device.h"
#include "rich-backend.h"

#include <string.h>

static void
test_rarp (void)
{
  const guint8 mac[8] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0xff, 0xff };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (raw_request (f.frontend, RICH_SEND_RARP, mac, 8, NULL, 0), ==, 0);
  rich_sync (&f);
  g_assert_cmpmem (f.data->mac, 6, mac, 6);
  f.data->fail = TRUE;
  g_assert_cmpuint (raw_request (f.frontend, RICH_SEND_RARP, mac, 8, NULL, 0), !=, 0);
  rich_end (&f);
}

static void
test_mtu (void)
{
  const guint64 bad[] = { 0, 67, 65536, RAW_BIT (32) | 1500, G_MAXUINT64 };
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES);
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_NET_SET_MTU, 9000), ==, 0);
  rich_sync (&f);
  g_assert_cmpuint (f.data->mtu, ==, 9000);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpuint (raw_u64 (f.frontend, RICH_NET_SET_MTU, bad[i]), !=, 0);
  rich_sync (&f);
  g_assert_cmpuint (f.data->mtu, ==, 9000);
  /* A5: without the flag there is no answer, or the stream would slip. */
  {
    const guint64 mtu = 1500;

    rich_send (&f, RICH_NET_SET_MTU, &mtu, sizeof mtu, -1);
    raw_assert_in_step (f.frontend);
  }
  rich_sync (&f);
  g_assert_cmpuint (f.data->mtu, ==, 1500);
  rich_end (&f);
}

static void
test_not_accepted (void)
{
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES & ~(RAW_BIT (2) | RAW_BIT (4)));
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_SEND_RARP, 1), !=, 0);
  g_assert_cmpuint (raw_u64 (f.frontend, RICH_NET_SET_MTU, 1500), !=, 0);
  rich_sync (&f);
  g_assert_cmpuint (f.data->mtu, ==, 0);
  rich_end (&f);
}

static void
test_not_offered (void)
{
  RawDevice f;

  raw_device_begin (&f, 1, NULL);
  raw_device_connect (&f, LIVE_ALL_FEATURES);
  g_assert_cmphex (
      vhost_frontend_get_protocol_features (f.frontend)
          & (RAW_BIT (2) | RAW_BIT (4) | RAW_BIT (7) | RAW_BIT (11) | RAW_BIT (18) | RAW_BIT (22)),
      ==, 0);
  raw_device_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("SEND_RARP-brings-the-address", test_rarp);
  TEST ("A5-NET_SET_MTU-tells-whether-it-is-possible", test_mtu);
  TEST ("network-messages-need-their-features", test_not_accepted);
  TEST ("V46-features-of-devices-are-not-offered-by-others", test_not_offered);
  return g_test_run ();
}
