/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vhost-types.h"

G_BEGIN_DECLS

#define VHOST_TYPE_IO_FILE (vhost_io_file_get_type ())

/**
 * VhostIoDone:
 * @op: the operation
 * @result: bytes moved, or 0; a negative errno on failure
 *
 * Runs on the worker that the operation was given to, never inside the call that started it.
 */
typedef void (*VhostIoDone) (VhostIoOp *op, gssize result);

/**
 * VhostIoCall:
 * @op: the operation
 *
 * Blocking work of vhost_io_call (), run on a pool thread. Returns: the operation's result.
 */
typedef gssize (*VhostIoCall) (VhostIoOp *op);

/**
 * VhostIoOp: (skip)
 * @done: called when the operation has ended
 * @user_data: the caller's own
 *
 * One operation. It lives in the caller's memory (usually a chain's data) and belongs to the engine
 * from the call that starts it until @done runs.
 */
struct _VhostIoOp
{
  VhostIoDone done;
  gpointer user_data;

  /*< private >*/
  VhostIoOp *next;
  VhostIo *io;
  VhostIoFile *file;
  union
  {
    const struct iovec *iov;
    VhostIoCall call;
  } arg;
  struct iovec *resume; /* a shortened copy of the vector, after a short transfer */
  guint64 offset;
  guint64 length;
  gssize result;
  guint32 n_iov;
  gint32 mode;
  guint8 kind;
  guint8 state;
  guint16 flags;
  gpointer padding[2];
};

VHOST_AVAILABLE_IN_0_1
GType vhost_io_file_get_type (void);
VHOST_AVAILABLE_IN_0_1
VhostIoFile *vhost_io_file_new_take_fd (int fd);
VHOST_AVAILABLE_IN_0_1
VhostIoFile *vhost_io_file_ref (VhostIoFile *self);
VHOST_AVAILABLE_IN_0_1
void vhost_io_file_unref (VhostIoFile *self);
VHOST_AVAILABLE_IN_0_1
int vhost_io_file_get_fd (VhostIoFile *self);

VHOST_AVAILABLE_IN_0_1
void vhost_io_readv (VhostIo *self, VhostIoOp *op, VhostIoFile *file, const struct iovec *iov,
                     guint n_iov, guint64 offset);
VHOST_AVAILABLE_IN_0_1
void vhost_io_writev (VhostIo *self, VhostIoOp *op, VhostIoFile *file, const struct iovec *iov,
                      guint n_iov, guint64 offset);
VHOST_AVAILABLE_IN_0_1
void vhost_io_fsync (VhostIo *self, VhostIoOp *op, VhostIoFile *file, gboolean data_only);
VHOST_AVAILABLE_IN_0_1
void vhost_io_fallocate (VhostIo *self, VhostIoOp *op, VhostIoFile *file, int mode, guint64 offset,
                         guint64 length);
VHOST_AVAILABLE_IN_0_1
void vhost_io_poll (VhostIo *self, VhostIoOp *op, VhostIoFile *file, short events);
VHOST_AVAILABLE_IN_0_1
void vhost_io_call (VhostIo *self, VhostIoOp *op, VhostIoCall call);
VHOST_AVAILABLE_IN_0_1
void vhost_io_cancel (VhostIo *self, VhostIoOp *op);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VhostIoFile, vhost_io_file_unref)

G_END_DECLS
