/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* @argv: a name, the script and its arguments. Returns an exit code, if at all. */
int vhostd_run (int argc, char **argv);
