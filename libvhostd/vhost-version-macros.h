/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a public symbol carries: its first release, which also exports it. */
#pragma once

#ifdef VHOST_COMPILATION
#define VHOST_EXPORTED __attribute__ ((visibility ("default"))) extern
#else
#define VHOST_EXPORTED extern
#endif

#define VHOST_AVAILABLE_IN_0_1 VHOST_EXPORTED
