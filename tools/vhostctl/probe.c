/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl probe: what a back-end offers, in words or as JSON. Asks only, changes nothing: no ring
 * is started. */
#include "config.h"

#include "vhostctl.h"

#include <stdio.h>
#include <string.h>

#define DEVICE_BITS_END 24 /* bits 0 to 23 are the device type's own (VIRTIO 1.3, 2.2) */
#define PROTOCOL_CONFIG 9
#define CONFIG_SHOWN 64

static char *opt_device;
static gboolean opt_json;

static const GOptionEntry entries[] = {
  { "device", 'd', 0, G_OPTION_ARG_STRING, &opt_device,
    "Type of the device: block, net, rng, scsi ... (default: guessed)", "TYPE" },
  { "json", 'j', 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL },
  G_OPTION_ENTRY_NULL,
};

/* Block is what can be told from the outside: SEG_MAX, BLK_SIZE and FLUSH together with a
 * configuration space that begins with a capacity. */
static const char *
guess_device (VhostFrontend *frontend, gboolean have_config)
{
  const guint64 block = 1u << VIRTIO_BLK_F_SEG_MAX | 1u << VIRTIO_BLK_F_FLUSH;

  if (have_config && (vhost_frontend_get_offered_features (frontend) & block) == block)
    return "block";
  return NULL;
}

static const char *
feature_name (const char *device, guint bit)
{
  const char *name
      = bit < DEVICE_BITS_END && device == NULL ? NULL : vhost_frontend_feature_name (device, bit);

  return name;
}

static void
print_bits (const char *title, guint64 bits, const char *device, gboolean protocol)
{
  const char *margin = title;

  if (bits == 0)
    printf ("%-19s none\n", title);
  for (guint bit = 0; bit < 64; bit++)
    {
      const char *name;

      if ((bits >> bit & 1) == 0)
        continue;
      name = protocol ? vhost_frontend_protocol_feature_name (bit) : feature_name (device, bit);
      printf ("%-19s %2u  %s\n", margin, bit, name != NULL ? name : "(no known name)");
      margin = "";
    }
}

static void
print_block (const struct virtio_blk_config *c, guint64 features)
{
  g_autofree char *size
      = g_format_size_full (GUINT64_FROM_LE (c->capacity) * 512, G_FORMAT_SIZE_IEC_UNITS);

#define HAS(name) ((features >> VIRTIO_BLK_F_##name & 1) != 0)
  printf ("%-19s %s (%" G_GUINT64_FORMAT " sectors of 512 bytes)%s\n", "capacity", size,
          (guint64) GUINT64_FROM_LE (c->capacity), HAS (RO) ? ", read-only" : "");
  if (HAS (BLK_SIZE))
    printf ("%-19s %u bytes\n", "block size", GUINT32_FROM_LE (c->blk_size));
  if (HAS (SEG_MAX))
    printf ("%-19s %u\n", "segments", GUINT32_FROM_LE (c->seg_max));
  if (HAS (TOPOLOGY))
    printf ("%-19s physical block 2^%u blocks, minimum I/O %u, optimal I/O %u blocks\n", "topology",
            c->physical_block_exp, GUINT16_FROM_LE (c->min_io_size),
            GUINT32_FROM_LE (c->opt_io_size));
  if (HAS (CONFIG_WCE))
    printf ("%-19s %s\n", "write cache", c->wce ? "writeback" : "writethrough");
  if (HAS (MQ))
    printf ("%-19s %u\n", "queues (device)", GUINT16_FROM_LE (c->num_queues));
  if (HAS (DISCARD))
    printf ("%-19s %u sectors in %u segments\n", "discard at most",
            GUINT32_FROM_LE (c->max_discard_sectors), GUINT32_FROM_LE (c->max_discard_seg));
  if (HAS (WRITE_ZEROES))
    printf ("%-19s %u sectors in %u segments%s\n", "write zeroes at most",
            GUINT32_FROM_LE (c->max_write_zeroes_sectors),
            GUINT32_FROM_LE (c->max_write_zeroes_seg),
            c->write_zeroes_may_unmap ? ", may unmap" : "");
}

static void
add_member_int (JsonBuilder *builder, const char *name, gint64 value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_int_value (builder, value);
}

static void
add_member_string (JsonBuilder *builder, const char *name, const char *value)
{
  json_builder_set_member_name (builder, name);
  if (value != NULL)
    json_builder_add_string_value (builder, value);
  else
    json_builder_add_null_value (builder);
}

static void
add_bits (JsonBuilder *builder, const char *member, guint64 bits, const char *device,
          gboolean protocol)
{
  g_autofree char *hex = g_strdup_printf ("0x%" G_GINT64_MODIFIER "x", bits);
  g_autofree char *names = g_strconcat (member, "-names", NULL);

  add_member_string (builder, member, hex); /* a JSON number has no 64 bits */
  json_builder_set_member_name (builder, names);
  json_builder_begin_array (builder);
  for (guint bit = 0; bit < 64; bit++)
    if (bits >> bit & 1)
      {
        const char *name
            = protocol ? vhost_frontend_protocol_feature_name (bit) : feature_name (device, bit);
        g_autofree char *number = g_strdup_printf ("bit %u", bit);

        json_builder_add_string_value (builder, name != NULL ? name : number);
      }
  json_builder_end_array (builder);
}

static void
add_block (JsonBuilder *builder, const struct virtio_blk_config *c)
{
  json_builder_set_member_name (builder, "block");
  json_builder_begin_object (builder);
  add_member_int (builder, "capacity", GUINT64_FROM_LE (c->capacity) * 512);
  add_member_int (builder, "block-size", GUINT32_FROM_LE (c->blk_size));
  add_member_int (builder, "seg-max", GUINT32_FROM_LE (c->seg_max));
  add_member_int (builder, "num-queues", GUINT16_FROM_LE (c->num_queues));
  add_member_int (builder, "write-cache", c->wce);
  add_member_int (builder, "max-discard-sectors", GUINT32_FROM_LE (c->max_discard_sectors));
  add_member_int (builder, "max-discard-segments", GUINT32_FROM_LE (c->max_discard_seg));
  add_member_int (builder, "max-write-zeroes-sectors",
                  GUINT32_FROM_LE (c->max_write_zeroes_sectors));
  add_member_int (builder, "max-write-zeroes-segments", GUINT32_FROM_LE (c->max_write_zeroes_seg));
  json_builder_end_object (builder);
}

/* The space's bytes up to the last that is not zero: its true length cannot be asked for. */
static GBytes *
read_config (VhostFrontend *frontend)
{
  GBytes *all = vhost_frontend_get_config (frontend, 0, CONFIG_SHOWN, NULL);
  const guint8 *data;
  gsize size;
  GBytes *used;

  if (all == NULL)
    return NULL;
  data = g_bytes_get_data (all, &size);
  while (size > 0 && data[size - 1] == 0)
    size--;
  used = g_bytes_new_from_bytes (all, 0, size);
  g_bytes_unref (all);
  return used;
}

static char *
hex_of (GBytes *bytes)
{
  GString *text = g_string_new (NULL);
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  for (gsize i = 0; i < size; i++)
    g_string_append_printf (text, "%02x", data[i]);
  return g_string_free (text, FALSE);
}

int
verb_probe (int argc, char **argv)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) config = NULL;
  g_autofree char *peer = NULL;
  struct virtio_blk_config block;
  const char *device;
  gboolean is_block;
  guint64 features, protocol;

  if (!parse_options ("probe", "Shows what a vhost-user back-end offers.", entries, &argc, &argv))
    return EXIT_USAGE;
  /* The configuration space is only there once its bit has been acked. */
  if (!vhost_frontend_connect (frontend, argv[1], &error)
      || !vhost_frontend_negotiate (frontend, G_GUINT64_CONSTANT (1) << 32,
                                    1u << PROTOCOL_CONFIG | 1 | 1u << 15, &error))
    {
      complain ("probe", "%s", error->message);
      return 1;
    }
  features = vhost_frontend_get_offered_features (frontend);
  protocol = vhost_frontend_get_offered_protocol_features (frontend);
  if (protocol >> PROTOCOL_CONFIG & 1)
    config = read_config (frontend);
  device = opt_device != NULL ? opt_device : guess_device (frontend, config != NULL);
  is_block = g_strcmp0 (device, "block") == 0 && config != NULL
             && read_block_config (frontend, &block, NULL);
  peer = process_name (vhost_frontend_get_peer_pid (frontend));

  if (opt_json)
    {
      g_autoptr (JsonBuilder) builder = json_builder_new ();

      json_builder_begin_object (builder);
      add_member_string (builder, "socket", argv[1]);
      add_member_int (builder, "peer-pid", vhost_frontend_get_peer_pid (frontend));
      add_member_string (builder, "peer-name", peer);
      add_member_string (builder, "device", device);
      add_member_int (builder, "max-queues", vhost_frontend_get_max_queues (frontend));
      add_member_int (builder, "max-memory-slots", vhost_frontend_get_max_memory_slots (frontend));
      add_bits (builder, "features", features, device, FALSE);
      add_bits (builder, "protocol-features", protocol, NULL, TRUE);
      if (config != NULL)
        {
          g_autofree char *hex = hex_of (config);

          add_member_string (builder, "config", hex);
        }
      if (is_block)
        add_block (builder, &block);
      json_builder_end_object (builder);
      print_json (builder);
      return 0;
    }

  printf ("%-19s %s", "back-end", peer != NULL ? peer : "unknown");
  printf (" (pid %d)\n", vhost_frontend_get_peer_pid (frontend));
  printf ("%-19s %s%s\n", "device", device != NULL ? device : "unknown",
          device != NULL && opt_device == NULL ? " (guessed from its features)" : "");
  printf ("%-19s %u\n", "queues", vhost_frontend_get_max_queues (frontend));
  printf ("%-19s %" G_GUINT64_FORMAT "\n", "memory slots",
          vhost_frontend_get_max_memory_slots (frontend));
  if (is_block)
    print_block (&block, features);
  else if (config != NULL)
    {
      g_autofree char *hex = hex_of (config);

      printf ("%-19s %s\n", "configuration", *hex != '\0' ? hex : "all zero");
    }
  print_bits ("features", features, device, FALSE);
  print_bits ("protocol features", protocol, NULL, TRUE);
  return 0;
}
