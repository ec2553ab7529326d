/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IF3: numbers of an in-flight area that are accepted leave every entry of every queue inside the
 * area and inside its file; compared with arithmetic that cannot wrap around. */
#define GOALS 2

#include <sys/stat.h>
#include <sys/vfs.h>

/* What the file is, is one more number of the front-end's. */
static int harness_fstat (int fd, struct stat *status);
static int harness_fstatfs (int fd, struct statfs *system);
#define fstat harness_fstat
#define fstatfs harness_fstatfs

#include "harness.h"

#include "vhost-inflight.c"

typedef unsigned __int128 wide;

static gint64 file_size;

static int
harness_fstat (int fd, struct stat *status)
{
  (void) fd;
  status->st_mode = S_IFREG;
  status->st_size = file_size;
  return 0;
}

static int
harness_fstatfs (int fd, struct statfs *system)
{
  (void) fd;
  system->f_type = 0;
  return 0;
}

VhostFdKind
vhost_fd_get_kind (int fd)
{
  (void) fd;
  return VHOST_FD_OTHER;
}

const char *
vhost_fd_kind_to_string (VhostFdKind kind)
{
  (void) kind;
  return "";
}

static void
harness (void)
{
  VhostInflight area = { 0 };
  GError *error = NULL;
  guint64 header, entry, region;
  gboolean accepted;

  area.packed = nondet_uint8 () & 1;
  area.num_queues = any_number (8);
  area.queue_size = nondet_uint8 () & 1 ? 1u << nondet_uint8 () % 17 : any_number (300);
  area.size = nondet_uint8 () & 1
                  ? area.num_queues * (64 + 32 * (guint64) area.queue_size) + any_length () - 32
                  : nondet_uint64 ();
  area.offset = nondet_uint8 () & 1 ? 8u * (nondet_uint16 () & 0x3ff) : any_address (G_MAXINT64);
  file_size = (gint64) (nondet_uint8 () & 1 ? area.offset + area.size + nondet_uint8 () % 32 - 16
                                            : any_length ());
  ASSUME (file_size >= 0);

  accepted = check_numbers (area.num_queues, area.queue_size, area.packed, &error)
             && check_place (&area, &error);
  PROVE (accepted == (error == NULL));
  REACHED (accepted);
  if (!accepted)
    return;
  header = area.packed ? sizeof (VhostInflightPackedArea) : sizeof (VhostInflightSplitArea);
  entry = area.packed ? sizeof (VhostInflightPackedEntry) : sizeof (VhostInflightSplitEntry);
  region = region_size (area.queue_size, area.packed);
  PROVE ((wide) region >= header + (wide) entry * area.queue_size);
  PROVE (region % REGION_ALIGNMENT == 0);
  PROVE ((wide) region * area.num_queues <= area.size);
  PROVE ((wide) area.offset + area.size <= (wide) file_size);
  PROVE (area.offset % 8 == 0);
}
