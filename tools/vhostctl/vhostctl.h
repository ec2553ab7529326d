/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the verbs share: the shape of a verb, options, numbers, JSON. Must not know a device. */
#pragma once

#include <json-glib/json-glib.h>

#define EXIT_USAGE 2

/* A verb gets its own arguments, argv[0] being its name; returns the exit status. */
int vhostctl_bench (int argc, char **argv);
int vhostctl_conform (int argc, char **argv);
int vhostctl_disconnect (int argc, char **argv);
int vhostctl_list (int argc, char **argv);
int vhostctl_monitor (int argc, char **argv);
int vhostctl_pause (int argc, char **argv);
int vhostctl_probe (int argc, char **argv);
int vhostctl_remove (int argc, char **argv);
int vhostctl_resume (int argc, char **argv);
int vhostctl_set (int argc, char **argv);
int vhostctl_shell (int argc, char **argv);
int vhostctl_show (int argc, char **argv);

/* "vhostctl VERB: text" on stderr. */
void vhostctl_complain (const char *verb, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Parses a verb's options. FALSE: what is wrong has been told, exit with EXIT_USAGE. */
gboolean vhostctl_parse_options (const char *verb, const char *summary, const GOptionEntry *entries,
                                 int *argc, char ***argv);
/* "64M" to bytes: K, M, G, T are powers of 1024. FALSE: no such number. */
gboolean vhostctl_parse_size (const char *text, guint64 *size);
/* "4 KiB", "1.5 GiB"; (transfer full) */
char *vhostctl_format_size (guint64 size);
/* @text fit for a terminal and for JSON, whatever bytes it has; (transfer full) */
char *vhostctl_make_printable (const char *text);

void vhostctl_json_int (JsonBuilder *builder, const char *name, guint64 value);
void vhostctl_json_double (JsonBuilder *builder, const char *name, double value);
void vhostctl_json_boolean (JsonBuilder *builder, const char *name, gboolean value);
/* @value (nullable) */
void vhostctl_json_string (JsonBuilder *builder, const char *name, const char *value);
void vhostctl_json_begin_object (JsonBuilder *builder, const char *name);
void vhostctl_json_begin_array (JsonBuilder *builder, const char *name);
void vhostctl_json_print (JsonBuilder *builder);
