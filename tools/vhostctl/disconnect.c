/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl disconnect NAME */
#include "bus.h"
#include "vhostctl.h"

int
vhostctl_disconnect (int argc, char **argv)
{
  return bus_run_simple ("disconnect", "Disconnect",
                         "Closes the connections to front-ends; the device waits for the next one.",
                         argc, argv);
}
