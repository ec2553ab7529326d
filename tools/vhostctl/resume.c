/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vhostctl resume NAME */
#include "bus.h"
#include "vhostctl.h"

int
vhostctl_resume (int argc, char **argv)
{
  return bus_run_simple ("resume", "Resume", "Goes on after a pause.", argc, argv);
}
