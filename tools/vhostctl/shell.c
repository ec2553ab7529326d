/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl shell SOCKET: a Python prompt with a front-end of the back-end there. */
#include "../python-module.h"
#include "vhostctl.h"

int
vhostctl_shell (int argc, char **argv)
{
  return python_module_exec ("vhostctl shell", "libvhostd.shell", argc, argv);
}
