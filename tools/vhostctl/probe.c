/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl probe: what a back-end offers, in words or as JSON. Asks only: it must not start a ring,
 * share memory, or change the device. */
#include "vhostctl.h"

#include "device-config.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL "%-19s "

typedef struct
{
  const char *socket_path;
  int pid;
  char *peer_name; /* (owned) (nullable) */
  guint64 features;
  guint64 protocol_features;
  guint max_queues;
  guint64 max_memory_slots;
  GBytes *config;     /* (owned) (nullable) */
  char *config_error; /* (owned) (nullable): why there is none although it is offered */
  const char *device; /* (nullable) */
  gboolean guessed;
  gboolean is_block;
  BlockConfig block;
} Probe;

static char *opt_device;
static gboolean opt_json;

static const GOptionEntry entries[] = {
  { "device", 'd', 0, G_OPTION_ARG_STRING, &opt_device,
    "Type of the device: block, net, scsi, fs, vsock ... (default: guessed)", "TYPE" },
  { "json", 'j', 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON", NULL },
  G_OPTION_ENTRY_NULL,
};

static void
probe_clear (Probe *self)
{
  g_free (self->peer_name);
  g_free (self->config_error);
  g_clear_pointer (&self->config, g_bytes_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Probe, probe_clear)

static gboolean
probe_ask (Probe *self, GError **error)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  /* What the questions need, no more: a bit that is taken changes what the back-end does. */
  const guint64 protocol_features
      = BIT (PROTOCOL_MQ) | BIT (PROTOCOL_CONFIG) | BIT (PROTOCOL_CONFIGURE_MEM_SLOTS);

  if (!vhost_frontend_connect (frontend, self->socket_path, error)
      || !vhost_frontend_negotiate (frontend, BIT (FEATURE_VERSION_1), protocol_features, error))
    return FALSE;

  self->pid = vhost_frontend_get_peer_pid (frontend);
  self->peer_name = peer_get_name (self->pid);
  self->features = vhost_frontend_get_offered_features (frontend);
  self->protocol_features = vhost_frontend_get_offered_protocol_features (frontend);
  self->max_queues = vhost_frontend_get_max_queues (frontend);
  self->max_memory_slots = vhost_frontend_get_max_memory_slots (frontend);
  if ((self->protocol_features & BIT (PROTOCOL_CONFIG)) != 0)
    {
      g_autoptr (GError) config_error = NULL;

      self->config = device_config_read (frontend, &config_error);
      if (self->config == NULL)
        self->config_error = g_strdup (config_error->message);
    }
  vhost_frontend_close (frontend);

  self->device = opt_device;
  if (self->device == NULL)
    {
      self->device = device_config_guess (self->features, self->protocol_features, self->config);
      self->guessed = self->device != NULL;
    }
  self->is_block = g_strcmp0 (self->device, "block") == 0 && self->config != NULL;
  if (self->is_block)
    device_config_parse_block (self->config, self->features, &self->block);
  return TRUE;
}

/* The bytes in hexadecimal digits, without the zeros at the end: back-ends pad. */
static char *
format_config (GBytes *config)
{
  GString *text = g_string_new (NULL);
  gsize size;
  const guint8 *data = g_bytes_get_data (config, &size);

  while (size > 0 && data[size - 1] == 0)
    size--;
  for (gsize i = 0; i < size; i++)
    g_string_append_printf (text, "%02x", data[i]);
  return g_string_free (text, FALSE);
}

static const char *
get_bit_name (const Probe *self, guint bit, gboolean protocol)
{
  return protocol ? vhost_frontend_protocol_feature_name (bit)
                  : vhost_frontend_feature_name (self->device, bit);
}

/* Bits 0 to 23 and 50 to 63 belong to the device type (VIRTIO 1.3, 2.2). */
static const char *
get_nameless_bit (guint bit, gboolean protocol)
{
  return !protocol && (bit <= 23 || bit >= 50) ? "(a bit of the device type)" : "(not known)";
}

static void
print_bits (const Probe *self, const char *label, guint64 bits, gboolean protocol)
{
  if (bits == 0)
    printf (LABEL "none\n", label);
  for (guint bit = 0; bit < 64; bit++)
    {
      const char *name;

      if ((bits & BIT (bit)) == 0)
        continue;
      name = get_bit_name (self, bit, protocol);
      printf (LABEL "%2u  %s\n", label, bit,
              name != NULL ? name : get_nameless_bit (bit, protocol));
      label = "";
    }
}

static void
print_block (const Probe *self)
{
  const BlockConfig *block = &self->block;
#define HAS(bit) ((self->features & BIT (BLOCK_##bit)) != 0)

  if (block->n_sectors <= G_MAXUINT64 / 512)
    {
      g_autofree char *size = vhostctl_format_size (block->n_sectors * 512);

      printf (LABEL "%s (%" G_GUINT64_FORMAT " sectors of 512 bytes)%s\n", "capacity", size,
              block->n_sectors, HAS (RO) ? ", read-only" : "");
    }
  else
    printf (LABEL "%" G_GUINT64_FORMAT " sectors of 512 bytes, which is absurd\n", "capacity",
            block->n_sectors);
  if (HAS (BLK_SIZE))
    printf (LABEL "%u bytes\n", "block size", block->block_size);
  if (HAS (SEG_MAX))
    printf (LABEL "at most %u in a request\n", "segments", block->seg_max);
  if (HAS (SIZE_MAX) && block->size_max > 0)
    printf (LABEL "at most %u bytes\n", "segment size", block->size_max);
  else if (HAS (SIZE_MAX))
    printf (LABEL "0 as its limit, which means nothing\n", "segment size");
  if (HAS (TOPOLOGY))
    {
      printf (LABEL "physical block 2^%u blocks, alignment offset %u\n", "topology",
              block->physical_block_exp, block->alignment_offset);
      printf (LABEL "minimum I/O %u blocks, optimal %u\n", "", block->min_io_size,
              block->opt_io_size);
    }
  if (HAS (CONFIG_WCE))
    printf (LABEL "%s, the driver may change it\n", "cache",
            block->write_cache != 0 ? "writeback" : "writethrough");
  if (HAS (MQ))
    printf (LABEL "%u\n", "queues of the disk", block->n_queues);
  if (HAS (DISCARD))
    printf (LABEL "at most %u sectors in each of %u segments, aligned to %u sectors\n", "discard",
            block->max_discard_sectors, block->max_discard_segments, block->discard_alignment);
  if (HAS (WRITE_ZEROES))
    printf (LABEL "at most %u sectors in each of %u segments%s\n", "write zeroes",
            block->max_write_zeroes_sectors, block->max_write_zeroes_segments,
            block->write_zeroes_may_unmap ? ", may deallocate" : "");
#undef HAS
}

static void
print_words (const Probe *self)
{
  if (self->pid > 0)
    printf (LABEL "%s (pid %d)\n", "back-end", self->peer_name != NULL ? self->peer_name : "?",
            self->pid);
  else
    printf (LABEL "a process that cannot be seen from here\n", "back-end");
  if (self->device == NULL)
    printf (LABEL "unknown; --device=TYPE gives its bits their names\n", "device");
  else
    printf (LABEL "%s%s\n", "device", self->device, self->guessed ? " (guessed)" : "");
  if ((self->protocol_features & BIT (PROTOCOL_MQ)) != 0)
    printf (LABEL "at most %u\n", "queues", self->max_queues);
  else
    printf (LABEL "as the device type has it (no MQ)\n", "queues");
  printf (LABEL "%" G_GUINT64_FORMAT "\n", "memory slots", self->max_memory_slots);
  if (self->is_block)
    print_block (self);
  else if (self->config != NULL)
    {
      g_autofree char *text = format_config (self->config);

      printf (LABEL "%s\n", "configuration", *text != '\0' ? text : "all zero");
    }
  if (self->config_error != NULL)
    printf (LABEL "not readable: %s\n", "configuration", self->config_error);
  print_bits (self, "features", self->features, FALSE);
  print_bits (self, "protocol features", self->protocol_features, TRUE);
}

static void
add_bits (const Probe *self, JsonBuilder *builder, const char *member, guint64 bits,
          gboolean protocol)
{
  /* As text: many readers' numbers have 53 bits. */
  g_autofree char *hex = g_strdup_printf ("0x%" G_GINT64_MODIFIER "x", bits);
  g_autofree char *names = g_strconcat (member, "-names", NULL);

  vhostctl_json_string (builder, member, hex);
  vhostctl_json_begin_array (builder, names);
  for (guint bit = 0; bit < 64; bit++)
    {
      const char *name = get_bit_name (self, bit, protocol);
      g_autofree char *number = g_strdup_printf ("bit-%u", bit);

      if ((bits & BIT (bit)) != 0)
        json_builder_add_string_value (builder, name != NULL ? name : number);
    }
  json_builder_end_array (builder);
}

static void
add_block (const Probe *self, JsonBuilder *builder)
{
  const BlockConfig *block = &self->block;

  vhostctl_json_begin_object (builder, "block");
  vhostctl_json_int (builder, "sectors", block->n_sectors);
  vhostctl_json_boolean (builder, "read-only", (self->features & BIT (BLOCK_RO)) != 0);
  vhostctl_json_int (builder, "block-size", block->block_size);
  vhostctl_json_int (builder, "segments-max", block->seg_max);
  vhostctl_json_int (builder, "segment-size-max", block->size_max);
  vhostctl_json_int (builder, "physical-block-exp", block->physical_block_exp);
  vhostctl_json_int (builder, "alignment-offset", block->alignment_offset);
  vhostctl_json_int (builder, "minimum-io-blocks", block->min_io_size);
  vhostctl_json_int (builder, "optimal-io-blocks", block->opt_io_size);
  vhostctl_json_boolean (builder, "write-cache", block->write_cache != 0);
  vhostctl_json_int (builder, "queues", block->n_queues);
  vhostctl_json_int (builder, "discard-sectors-max", block->max_discard_sectors);
  vhostctl_json_int (builder, "discard-segments-max", block->max_discard_segments);
  vhostctl_json_int (builder, "discard-alignment", block->discard_alignment);
  vhostctl_json_int (builder, "write-zeroes-sectors-max", block->max_write_zeroes_sectors);
  vhostctl_json_int (builder, "write-zeroes-segments-max", block->max_write_zeroes_segments);
  vhostctl_json_boolean (builder, "write-zeroes-may-unmap", block->write_zeroes_may_unmap);
  json_builder_end_object (builder);
}

static void
print_json (const Probe *self)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree char *socket_path = vhostctl_make_printable (self->socket_path);
  g_autofree char *config = self->config != NULL ? format_config (self->config) : NULL;

  vhostctl_json_begin_object (builder, NULL);
  vhostctl_json_string (builder, "socket", socket_path);
  vhostctl_json_int (builder, "peer-pid", (guint64) MAX (self->pid, 0));
  vhostctl_json_string (builder, "peer-name", self->peer_name);
  vhostctl_json_string (builder, "device", self->device);
  vhostctl_json_boolean (builder, "device-guessed", self->guessed);
  vhostctl_json_int (builder, "queues-max", self->max_queues);
  vhostctl_json_int (builder, "memory-slots-max", self->max_memory_slots);
  add_bits (self, builder, "features", self->features, FALSE);
  add_bits (self, builder, "protocol-features", self->protocol_features, TRUE);
  vhostctl_json_string (builder, "config", config);
  if (self->is_block)
    add_block (self, builder);
  json_builder_end_object (builder);
  vhostctl_json_print (builder);
}

int
vhostctl_probe (int argc, char **argv)
{
  g_auto (Probe) probe = { 0 };
  g_autoptr (GError) error = NULL;

  if (!vhostctl_parse_options ("probe", "Shows what the back-end behind a socket offers.", entries,
                               &argc, &argv))
    return EXIT_USAGE;
  if (opt_device != NULL && !g_utf8_validate (opt_device, -1, NULL))
    {
      vhostctl_complain ("probe", "the device type is no text");
      return EXIT_USAGE;
    }

  probe.socket_path = argv[1];
  if (!probe_ask (&probe, &error))
    {
      vhostctl_complain ("probe", "%s", error->message);
      return EXIT_FAILURE;
    }
  if (opt_json)
    print_json (&probe);
  else
    print_words (&probe);
  return EXIT_SUCCESS;
}
