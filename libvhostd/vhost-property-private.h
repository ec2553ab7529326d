/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GObject properties as a program's interface: text to value, options to properties. One parser for
 * the command line, device files and D-Bus strings. */
#pragma once

#include <gio/gio.h>

/* Parses @text for @pspec into @value (initialised here). Booleans take
 * yes/no/on/off/true/false/1/0; integers take a K, M, G or T suffix (powers of 1024) and are
 * checked against the pspec's range; enums take their nicks, an error lists them; flags take
 * nick,nick; strings, doubles and G_TYPE_STRV (comma) as they are. The error names the property,
 * the text and what would be right. */
gboolean vhost_property_parse (GParamSpec *pspec, const char *text, GValue *value, GError **error);

/* The value as vhost_property_parse () would read it back. (transfer full) */
char *vhost_property_format (GParamSpec *pspec, const GValue *value);

/* Collects "name=text" settings for @type before an object is built, so that construct-only
 * properties work. */
typedef struct _VhostPropertySet VhostPropertySet;
VhostPropertySet *vhost_property_set_new (GType type);
void vhost_property_set_free (VhostPropertySet *self);
gboolean vhost_property_set_add (VhostPropertySet *self, const char *name, const char *text,
                                 GError **error);
/* For a property that is an object: no text says it. NULL: none, and lets go of the one before. */
void vhost_property_set_add_object (VhostPropertySet *self, const char *name, gpointer object);
/* Adds one option per writable property that @type or its ancestors up to @stop (excluded) install;
 * a boolean property foo is --foo, --foo=no, --no-foo. Blurbs are the help, the value's type is the
 * argument's name. GOption hands callbacks the group's user data: make @group with @self as its
 * user data. @self outlives it. */
void vhost_property_set_add_options (VhostPropertySet *self, GOptionGroup *group, GType stop);
/* Builds the object. Can be called more than once. (transfer full) */
GObject *vhost_property_set_build (VhostPropertySet *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostPropertySet, vhost_property_set_free)
