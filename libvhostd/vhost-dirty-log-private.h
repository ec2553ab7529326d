/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log of a live migration (vhost-user specification, "Migration"): one bit for each page
 * of 4096 bytes, in memory that the front-end reads while we set bits. Must not know rings or
 * sessions. */
#pragma once

#include <sys/uio.h>

#include "vhost-memory-private.h"

#define VHOST_DIRTY_LOG_PAGE 4096u

typedef struct _VhostDirtyLog VhostDirtyLog;

/* Takes @fd in any case. Bit 0 is guest address 0, at @offset of the file (L7): @size and @offset
 * are checked for wrap-around and against the file. */
VhostDirtyLog *vhost_dirty_log_new_take_fd (int fd, guint64 size, guint64 offset, GError **error);
/* A log that nobody reads: remembers pages until SET_LOG_BASE brings a real one (L11). In bounded
 * memory: when there are very many it remembers larger units, so more than was marked. */
/* @also (nullable): a log of before, which the front-end may go on reading; it is marked too. */
VhostDirtyLog *vhost_dirty_log_new_pending (VhostDirtyLog *also);
/* Thread: any, all below. */
VhostDirtyLog *vhost_dirty_log_ref (VhostDirtyLog *self);
void vhost_dirty_log_unref (VhostDirtyLog *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostDirtyLog, vhost_dirty_log_unref)

/* Everything that @from, a pending log, remembers is marked here; nobody marks in @from any more.
 */
void vhost_dirty_log_merge (VhostDirtyLog *self, VhostDirtyLog *from);
/* Whether the last byte lies inside the log (L8). Always TRUE for a pending one. */
gboolean vhost_dirty_log_covers (VhostDirtyLog *self, guint64 guest_address, guint64 length);
/* Eight pages, as the log has them: bits of a byte. */
typedef struct
{
  guint64 byte;
  guint8 pages; /* 0: none */
} VhostDirtyMark;

/* Pages that one thread has written, to be marked together later: looking at a page's bit costs a
 * full fence, and one is enough for all of them. Each byte has its place by its lowest bits, since
 * ring and headers are nearly always where they were a moment ago, which costs one comparison; what
 * another byte drives out of its place is set aside. Empty when all is zero. */
#define VHOST_DIRTY_BATCH_SIZE 32
typedef struct
{
  guint32 used; /* bit i: marks[i] has pages */
  guint n_aside;
  VhostDirtyMark marks[VHOST_DIRTY_BATCH_SIZE];
  VhostDirtyMark aside[VHOST_DIRTY_BATCH_SIZE];
} VhostDirtyBatch;

void vhost_dirty_log_commit_batch (VhostDirtyLog *self, VhostDirtyBatch *batch);
/* Marks what was collected and empties @batch. */
static inline void
vhost_dirty_log_commit (VhostDirtyLog *self, VhostDirtyBatch *batch)
{
  if (batch->used != 0)
    vhost_dirty_log_commit_batch (self, batch);
}
/* The pages of @length bytes, atomically; pages past the end of the log are dropped (L7). The
 * bytes must have been written before, and must not be published yet (L9). */
void vhost_dirty_log_mark (VhostDirtyLog *self, guint64 guest_address, guint64 length);
/* The same for a place in this process' view of @memory's regions: finds its guest address (also
 * where @memory is an IOVA view). A place outside is ignored. @batch (nullable): collects the pages
 * there, for vhost_dirty_log_commit (). */
void vhost_dirty_log_mark_host (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
                                const void *host, guint64 length);
/* The same for each of @n segments. */
void vhost_dirty_log_mark_segments (VhostDirtyLog *self, VhostDirtyBatch *batch,
                                    VhostMemory *memory, const struct iovec *segments, guint n);
/* The usual case of a mark in a batch: one page, near where one was before. FALSE: nothing was
 * done.
 */
static inline gboolean
vhost_dirty_batch_add (VhostDirtyBatch *self, guint64 guest_address, guint64 length)
{
  guint64 byte = guest_address / VHOST_DIRTY_LOG_PAGE / 8;
  guint i = byte % VHOST_DIRTY_BATCH_SIZE;

  /* No bytes are no page: less one they are very many. */
  if (G_UNLIKELY (length - 1 >= VHOST_DIRTY_LOG_PAGE - guest_address % VHOST_DIRTY_LOG_PAGE
                  || self->marks[i].byte != byte))
    return FALSE;
  self->marks[i].pages |= (guint8) (1u << (guest_address / VHOST_DIRTY_LOG_PAGE % 8));
  self->used |= 1u << i;
  return TRUE;
}
/* The same for @length bytes at @address as @memory's slots have it: guest addresses as they are,
 * IOVAs of a view by way of their memory (L12). What has no translation is ignored. */
void vhost_dirty_log_mark_address (VhostDirtyLog *self, VhostDirtyBatch *batch, VhostMemory *memory,
                                   guint64 address, guint64 length);
/* TRUE: the log's file shrank under us, marks are lost; the session must end. */
gboolean vhost_dirty_log_is_poisoned (VhostDirtyLog *self);
