/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process at the other end of the socket, as the kernel knows it. Must not talk to it. */
#pragma once

#include <glib.h>

/* Its command's name, fit to be printed; NULL: not known. (transfer full) (nullable) */
char *peer_get_name (int pid);
/* CPU time that all its threads have used, those included that have ended. FALSE: not known. */
gboolean peer_get_cpu_ns (int pid, guint64 *ns);
