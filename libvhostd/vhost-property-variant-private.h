/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GObject properties as D-Bus values, by the same rule as on the command line. */
#pragma once

#include <gio/gio.h>

/* The value as D-Bus says it: integers of 32 or 64 bits, enumerations and flags by their nicks.
 * NULL for what no bus carries (objects). (transfer floating) (nullable) */
GVariant *vhost_property_to_variant (GParamSpec *pspec, const GValue *value);
/* Parses @variant for @pspec into @value (initialised here). A string is what the command line
 * takes, whatever the property's type. */
gboolean vhost_property_from_variant (GParamSpec *pspec, GVariant *variant, GValue *value,
                                      GError **error);
