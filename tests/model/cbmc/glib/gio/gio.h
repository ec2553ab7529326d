/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See glib.h: there is nothing of GIO's in the proved files. */
#pragma once

#include <glib.h>
