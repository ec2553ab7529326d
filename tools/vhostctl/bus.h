/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices on the buses, found by what their programs say. Must not know what a verb does with one.
 */
#pragma once

#include <gio/gio.h>

typedef struct
{
  const char *verb; /* for messages */
  gboolean session; /* options: which buses; none: both */
  gboolean system;
  char *address; /* (owned) (nullable) */
  gboolean json;

  GPtrArray *devices; /* (owned) (element-type BusDevice): by name */
} Bus;

typedef struct
{
  GDBusConnection *connection; /* (owned) */
  char *owner;                 /* (owned): the program's name on the bus */
  guint process;               /* 0: not known */
  char *path;                  /* (owned) */
  char *name;                  /* (owned) */
  GVariant *properties;        /* (owned): a{sv} */
} BusDevice;

/* Options of every such verb, and @more of its own (nullable, NULL-terminated). FALSE: told, exit
 * with EXIT_USAGE. @what: the arguments after the verb, for the help; at least @n of them. */
gboolean bus_parse_options (Bus *self, const char *verb, const char *what, const char *summary,
                            const GOptionEntry *more, int n, int *argc, char ***argv);
void bus_clear (Bus *self);
/* Everything that answers in time; who does not is named on stderr. FALSE: no bus at all, told. */
gboolean bus_find (Bus *self);
/* The device called @name, or "PROCESS/NAME". NULL: told. (transfer none) */
BusDevice *bus_get (Bus *self, const char *name);
/* Calls a method; NULL: told, in plain words. */
GVariant *bus_call (Bus *self, BusDevice *device, const char *method, GVariant *arguments,
                    GUnixFDList **fds);
/* A method of one device without arguments: the whole verb. */
int bus_run_simple (const char *verb, const char *method, const char *summary, int argc,
                    char **argv);

/* Of a device: a property that is a string, a number. */
const char *bus_device_get_string (BusDevice *self, const char *property);
guint64 bus_device_get_number (BusDevice *self, const char *property);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Bus, bus_clear)
