/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A driver written by hand: raw messages and rings whose every byte a test can get wrong. Public
 * API only; must not use VhostFrontendQueue, which would hide a mistake that both sides make.
 *
 * A world is a live echo device with a front-end that has negotiated and shares memory; its rings
 * lie in that memory, but the device has not heard of them until messages are sent. */
#pragma once

#include "raw-wire.h"

G_BEGIN_DECLS

#define F_INDIRECT RAW_BIT (28)
#define F_EVENT_IDX RAW_BIT (29)
#define F_PROTOCOL RAW_BIT (30)
#define F_VERSION_1 RAW_BIT (32)
#define P_MQ RAW_BIT (0)
#define P_REPLY_ACK RAW_BIT (3)
#define P_MEM_SLOTS RAW_BIT (15)
#define P_STATUS RAW_BIT (16)
#define P_GPA RAW_BIT (21)

#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u

#define HAND_MEMORY G_GUINT64_CONSTANT (0x100000)
#define HAND_MEMORY_SIZE (4u << 20)
/* Of one buffer of a request that hand_ring_put_echo () makes. */
#define HAND_BUFFER 64u

typedef struct
{
  guint64 address;
  guint32 length;
  guint16 flags;
  guint16 next;
} HandDescriptor;

typedef struct _HandWorld HandWorld;

/* Little-endian hosts only, as the tests' own numbers are the host's. */
typedef struct
{
  HandWorld *world;
  guint index;
  guint size;
  guint64 descriptor_address, available_address, used_address, data_address;
  HandDescriptor *descriptors;
  guint16 *available; /* flags, idx, ring[size], used_event */
  guint16 *used;      /* flags, idx, { u32 id, u32 length }[size], avail_event */
  guint8 *data;
  int kick_fd, call_fd, err_fd; /* (owned) */
  guint16 available_index;
  guint32 base; /* as its message says it */
  guint64 calls, errors;
} HandRing;

struct _HandWorld
{
  LiveDevice *device;
  EchoBackend *echo;
  VhostFrontend *frontend; /* (owned); a test may put another one here for a while */
  HandRing *rings[2];      /* (owned) */
  guint8 *memory;          /* the region at HAND_MEMORY */
  gboolean gpa;            /* messages speak of guest addresses */
};

typedef struct
{
  guint workers;             /* 0: the daemon's own context serves */
  guint64 features;          /* wanted; bit 30 is always taken */
  guint64 protocol_features; /* wanted */
  guint poll_max;            /* us */
  guint max_sessions;        /* 0: one */
  guint ring_size;           /* 0: 16 */
} HandOptions;

HandWorld *hand_world_new_full (const HandOptions *options);
/* @data: the number of workers, as HAND_TEST hands it over. Everything is negotiated, but user
 * addresses with workers and guest addresses (P_GPA) without: both ways are in use. */
HandWorld *hand_world_new (gconstpointer data);
void hand_world_free (HandWorld *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (HandWorld, hand_world_free)
HandOptions hand_options (gconstpointer data);

/* Runs on the daemon's thread what its sessions know. */
VhostQueueState hand_world_get_state (HandWorld *self, guint index);
void hand_world_notify_config (HandWorld *self);
guint hand_world_get_status (HandWorld *self);
/* In the region at HAND_MEMORY: what messages call that address. */
guint64 hand_world_get_user_address (HandWorld *self, guint64 guest_address);

/* For a message with an answer of its own. */
guint64 hand_get_u64 (VhostFrontend *frontend, guint request);
/* No byte to read on the socket of @frontend. */
gboolean hand_is_silent (VhostFrontend *frontend);

/* Memory for a ring, and eventfds; no message. */
HandRing *hand_ring_new (HandWorld *world, guint index, guint size);
void hand_ring_free (HandRing *self);

/* One message each; the answer. fd -1: the no-fd flag. */
guint64 hand_ring_send_num (HandRing *self, guint32 num);
guint64 hand_ring_send_base (HandRing *self, guint32 base);
guint64 hand_ring_send_addr (HandRing *self);
guint64 hand_ring_send_kick (HandRing *self, int fd);
guint64 hand_ring_send_call (HandRing *self, int fd);
guint64 hand_ring_send_err (HandRing *self, int fd);
guint64 hand_ring_send_enable (HandRing *self, guint32 value);
guint32 hand_ring_get_base (HandRing *self);

/* NUM, BASE, ADDR, ERR, CALL; all accepted. */
void hand_ring_set_up (HandRing *self);
/* ... and KICK, ENABLE 1. */
void hand_ring_start (HandRing *self);
/* As after a driver's reset: indices 0, nothing in it; the two event words stay. Not while the ring
 * runs. */
void hand_ring_clear (HandRing *self);

guint64 hand_ring_buffer (HandRing *self, guint n);
guint8 *hand_ring_bytes (HandRing *self, guint n);
void hand_ring_put (HandRing *self, guint n, guint64 address, guint32 length, guint16 flags,
                    guint16 next);
/* Descriptors @head and @head + 1: 16 readable bytes and room for 16. */
void hand_ring_put_echo (HandRing *self, guint head);
void hand_ring_assert_echo (HandRing *self, guint head, guint slot);
/* Makes a chain available; no kick. */
void hand_ring_offer (HandRing *self, guint head);
void hand_ring_kick (HandRing *self);
guint16 hand_ring_get_used (HandRing *self);
void hand_ring_wait_used (HandRing *self, guint16 index);
void hand_ring_get_element (HandRing *self, guint slot, guint32 *id, guint32 *length);
/* Both with a kick: a whole request, and one of which nothing is known. */
void hand_ring_echo (HandRing *self);
void hand_ring_submit (HandRing *self, guint head);
guint16 *hand_ring_used_event (HandRing *self);
guint16 *hand_ring_avail_event (HandRing *self);
/* Counted since the ring was made. */
guint64 hand_ring_get_calls (HandRing *self);
guint64 hand_ring_get_errors (HandRing *self);

/* Returns when the worker of @self, which must be started, has done all that earlier kicks ask of
 * it: two messages that the worker itself must answer. The first may be served before a kick that
 * came with it, the second may not. */
void hand_ring_sync (HandRing *self);

#define ASSERT_TAKEN(answer) g_assert_cmpuint (answer, ==, 0)
#define ASSERT_REFUSED(answer) g_assert_cmpuint (answer, !=, 0)

/* Once with a worker thread, once in the daemon's own context. */
void hand_test_add (const char *name, GTestDataFunc func);

G_END_DECLS
