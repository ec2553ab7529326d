/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Postcopy with a front-end that keeps to no order, acknowledges wrongly or never, and brings no
 * page. After each the process lives, a new front-end is served and nothing is left behind. Public
 * API only. Skipped where the host allows no userfaultfd. */
#include "raw-device.h"
#include "rich-backend.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PAGEFAULT RAW_BIT (8)
#define SIZE (16 * RAW_PAGE)
#define GUEST 0x100000
#define USER 0x7000000

typedef struct
{
  Rich f;
  int memory, kick, uffd; /* (owned) */
} Postcopy;

/* FALSE: the test is over. */
static gboolean
begin (Postcopy *self)
{
  rich_begin (&self->f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  self->uffd = -1;
  if ((vhost_frontend_get_protocol_features (self->f.frontend) & PAGEFAULT) == 0)
    {
      g_test_skip ("this host allows no userfaultfd");
      rich_end (&self->f);
      return FALSE;
    }
  self->memory = raw_memfd (SIZE, 0);
  self->kick = eventfd (0, EFD_CLOEXEC);
  raw_log_expect (TRUE);
  return TRUE;
}

static void
end (Postcopy *self)
{
  close (self->memory);
  close (self->kick);
  g_clear_object (&self->f.frontend);
  LIVE_WAIT_FOR (raw_count_sessions (self->f.device) == 0);
  if (self->uffd >= 0)
    close (self->uffd);
  rich_end (&self->f);
  raw_log_expect (FALSE);
}

static int
advise (Postcopy *self)
{
  int fd;

  rich_send (&self->f, RICH_POSTCOPY_ADVISE, NULL, 0, -1);
  g_assert_cmpuint (rich_receive (&self->f, RICH_POSTCOPY_ADVISE, NULL, 0, &fd), ==, 0);
  return fd;
}

static guint64
listen_postcopy (Postcopy *self)
{
  return raw_request (self->f.frontend, RICH_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
}

static guint64
end_postcopy (Postcopy *self)
{
  rich_send (&self->f, RICH_POSTCOPY_END, NULL, 0, -1);
  return rich_receive_u64 (&self->f, RICH_POSTCOPY_END);
}

/* With the answer that has bases. */
static void
send_table (Postcopy *self)
{
  const RawTable table = { .n = 1, .regions = { { GUEST, SIZE, USER, 0 } } };
  RawTable answer;

  rich_send (&self->f, MSG_SET_MEM_TABLE, &table, 40, self->memory);
  g_assert_cmpuint (rich_receive (&self->f, MSG_SET_MEM_TABLE, &answer, sizeof answer, NULL), ==,
                    40);
}

static void
send_ack (Postcopy *self)
{
  rich_send (&self->f, MSG_SET_MEM_TABLE, (guint64[]){ 0 }, 8, -1);
}

static void
set_up_ring (Postcopy *self)
{
  const RawAddr addr
      = { .descriptor = USER, .available = USER + RAW_PAGE, .used = USER + 2 * RAW_PAGE };
  VhostFrontend *frontend = self->f.frontend;

  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_NUM, 0, 16), ==, 0);
  g_assert_cmpuint (raw_request (frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==, 0);
  g_assert_cmpuint (raw_ring_fd (frontend, MSG_SET_VRING_CALL, RAW_NO_FD, -1), ==, 0);
  g_assert_cmpuint (raw_state (frontend, MSG_SET_VRING_ENABLE, 0, 1), ==, 0);
}

static guint64
kick (Postcopy *self)
{
  return raw_ring_fd (self->f.frontend, MSG_SET_VRING_KICK, 0, self->kick);
}

/* Everything as it should be, until a worker waits for a page. */
static void
hang (Postcopy *self)
{
  struct pollfd pollfd = { .events = POLLIN };

  self->uffd = advise (self);
  g_assert_cmpint (self->uffd, >=, 0);
  g_assert_cmpuint (listen_postcopy (self), ==, 0);
  send_table (self);
  send_ack (self);
  set_up_ring (self);
  rich_send (&self->f, MSG_SET_VRING_KICK, (guint64[]){ 0 }, 8, self->kick);
  pollfd.fd = self->uffd;
  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
}

static void
test_order (void)
{
  Postcopy p;

  if (!begin (&p))
    return;
  for (guint i = 0; i < 3; i++)
    {
      g_assert_cmpuint (end_postcopy (&p), !=, 0);
      g_assert_cmpuint (listen_postcopy (&p), !=, 0);
      send_ack (&p); /* of nothing: an empty table */
      raw_assert_in_step (p.f.frontend);
      p.uffd = advise (&p);
      g_assert_cmpint (p.uffd, >=, 0);
      g_assert_cmpuint (listen_postcopy (&p), ==, 0);
      g_assert_cmpuint (listen_postcopy (&p), ==, 0);
      g_assert_cmpint (advise (&p), ==, -1); /* in the middle */
      send_ack (&p);
      send_ack (&p);
      raw_assert_in_step (p.f.frontend);
      g_assert_cmpuint (end_postcopy (&p), ==, 0);
      g_assert_cmpuint (end_postcopy (&p), !=, 0);
      close (p.uffd);
      p.uffd = -1;
    }
  end (&p);
}

static void
test_many_advices (void)
{
  Postcopy p;
  guint n_fds;

  if (!begin (&p))
    return;
  close (advise (&p));
  n_fds = raw_count_settled_fds ();
  for (guint i = 0; i < 200; i++)
    {
      int fd = advise (&p);

      g_assert_cmpint (fd, >=, 0);
      close (fd);
    }
  LIVE_WAIT_FOR (live_count_fds () <= n_fds);
  end (&p);
}

/* No ring starts, and the front-end goes. */
static void
test_never_acknowledged (void)
{
  Postcopy p;

  if (!begin (&p))
    return;
  p.uffd = advise (&p);
  g_assert_cmpuint (listen_postcopy (&p), ==, 0);
  send_table (&p);
  set_up_ring (&p);
  g_assert_cmpuint (kick (&p), !=, 0);
  send_table (&p);
  g_assert_cmpuint (kick (&p), !=, 0);
  end (&p);
}

/* What looks like the word and is not. */
static void
test_wrong_words (void)
{
  const guint64 zero = 0, one = 1;
  const guint64 payload[2] = { 0 };
  Postcopy p;

  if (!begin (&p))
    return;
  p.uffd = advise (&p);
  g_assert_cmpuint (listen_postcopy (&p), ==, 0);
  send_table (&p);
  set_up_ring (&p);
  rich_send (&p.f, 0, &one, sizeof one, -1);
  rich_send (&p.f, 0, payload, sizeof payload, -1);
  rich_send (&p.f, 0, NULL, 0, -1);
  rich_send (&p.f, 0, &zero, sizeof zero, p.kick);
  rich_send (&p.f, MSG_REM_MEM_REG, &one, sizeof one, -1);
  rich_send (&p.f, MSG_SET_OWNER, &zero, sizeof zero, -1);
  rich_send (&p.f, 99, &zero, sizeof zero, -1);
  raw_request (p.f.frontend, 0, &zero, sizeof zero, NULL, 0);
  g_assert_cmpuint (kick (&p), !=, 0);
  send_ack (&p);
  raw_assert_in_step (p.f.frontend);
  g_assert_cmpuint (end_postcopy (&p), ==, 0);
  g_assert_cmpuint (kick (&p), ==, 0);
  end (&p);
}

/* A worker waits for a page that does not come: the daemon goes on, and END ends the wait. */
static void
test_end_instead_of_pages (void)
{
  Postcopy p;

  if (!begin (&p))
    return;
  hang (&p);
  rich_sync (&p.f);
  /* KICK is not answered before its ring has started, and nothing behind it is read: only the end
   * of the connection ends that. */
  rich_send (&p.f, RICH_POSTCOPY_END, NULL, 0, -1);
  rich_sync (&p.f);
  end (&p);
}

/* The front-end's copy of the descriptor goes first, or the connection. */
static void
dies (gconstpointer data)
{
  Postcopy p;

  if (!begin (&p))
    return;
  hang (&p);
  if (GPOINTER_TO_INT (data))
    {
      close (p.uffd);
      p.uffd = -1;
    }
  rich_sync (&p.f);
  end (&p);
}

/* The memory's file is cut short while a page of it is waited for. */
static void
test_shrinks (void)
{
  Postcopy p;

  if (!begin (&p))
    return;
  hang (&p);
  if (ftruncate (p.memory, 0) != 0)
    g_test_message ("the device has sealed it");
  rich_sync (&p.f);
  end (&p);
}

#define TEST(name, function) g_test_add_func ("/protocol/hostile-postcopy-" name, function)
#define TEST_DATA(name, data, function)                                                            \
  g_test_add_data_func ("/protocol/hostile-postcopy-" name, GINT_TO_POINTER (data), function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();
  TEST ("messages-in-any-order-do-no-harm", test_order);
  TEST ("two-hundred-advices-leave-nothing-behind", test_many_advices);
  TEST ("without-the-word-no-ring-starts", test_never_acknowledged);
  TEST ("wrong-words-are-none", test_wrong_words);
  TEST ("an-end-instead-of-pages-hangs-nobody", test_end_instead_of_pages);
  TEST_DATA ("a-front-end-that-goes-without-a-page-hangs-nobody", FALSE, dies);
  TEST_DATA ("a-front-end-that-forgets-its-descriptor-hangs-nobody", TRUE, dies);
  TEST ("memory-that-shrinks-under-a-wait-hangs-nobody", test_shrinks);
  return g_test_run ();
}
