/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl remove NAME */
#include "bus.h"
#include "vhostctl.h"

int
vhostctl_remove (int argc, char **argv)
{
  return bus_run_simple ("remove", "Remove",
                         "Stops a device, with a drain, and takes it off the bus.", argc, argv);
}
