/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl pause NAME */
#include "bus.h"
#include "vhostctl.h"

int
vhostctl_pause (int argc, char **argv)
{
  return bus_run_simple (
      "pause", "Pause",
      "Takes no more requests and waits for those in flight; front-ends stay connected.", argc,
      argv);
}
