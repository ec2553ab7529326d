/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* @title: of messages; @argv: a name and the module's arguments. Returns an exit code, if at all.
 */
int python_module_exec (const char *title, const char *module, int argc, char **argv);
