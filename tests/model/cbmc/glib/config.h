/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See glib.h: the proved files need nothing of the build's configuration. */
#pragma once
