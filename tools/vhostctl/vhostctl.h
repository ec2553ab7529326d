/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the verbs share: exit codes and the shape of a verb. Each verb is a file of its own. */
#pragma once

#include <json-glib/json-glib.h>
#include <libvhostd.h>

#define EXIT_USAGE 2

/* A verb gets its own arguments, argv[0] being its name; returns the exit status. */
int verb_bench (int argc, char **argv);
int verb_probe (int argc, char **argv);

/* "vhostctl VERB: text" on stderr. */
void complain (const char *verb, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Parses a verb's options: FALSE: the error has been told, exit with EXIT_USAGE. */
gboolean parse_options (const char *verb, const char *summary, const GOptionEntry *entries,
                        int *argc, char ***argv);
/* "64M" to bytes: K, M, G, T are powers of 1024. */
gboolean parse_size (const char *text, guint64 *size);
void print_json (JsonBuilder *builder);
/* Command name of a process; NULL: not known. (transfer full) */
char *process_name (int pid);

/* virtio-blk's configuration space (VIRTIO 1.3, 5.2.4), as far as @bytes has it; the rest is zero.
 */
#include <linux/virtio_blk.h>
gboolean read_block_config (VhostFrontend *frontend, struct virtio_blk_config *config,
                            GError **error);
