/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of postcopy (P1 to P8). The test is the front-end's fault thread as well. Public API
 * only. Skipped where the host allows no userfaultfd. */
#include "raw-device.h"
#include "rich-backend.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGEFAULT RAW_BIT (8)
#define SIZE (16 * RAW_PAGE)
#define GUEST 0x100000
#define USER 0x7000000

/* FALSE: the test is over. */
static gboolean
begin (Rich *f)
{
  rich_begin (f, LIVE_ALL_FEATURES & ~RAW_PROTOCOL_GPA_ADDRESSES);
  if ((vhost_frontend_get_protocol_features (f->frontend) & PAGEFAULT) != 0)
    return TRUE;
  g_test_skip ("this host allows no userfaultfd");
  rich_end (f);
  return FALSE;
}

static int
advise (Rich *f)
{
  int fd;

  rich_send (f, RICH_POSTCOPY_ADVISE, NULL, 0, -1);
  g_assert_cmpuint (rich_receive (f, RICH_POSTCOPY_ADVISE, NULL, 0, &fd), ==, 0);
  return fd;
}

static guint64
listen_postcopy (Rich *f)
{
  return raw_request (f->frontend, RICH_POSTCOPY_LISTEN, NULL, 0, NULL, 0);
}

static guint64
end (Rich *f)
{
  rich_send (f, RICH_POSTCOPY_END, NULL, 0, -1);
  return rich_receive_u64 (f, RICH_POSTCOPY_END);
}

/* Sends the table; checks the answer. Returns where the region lies there. */
static guint64
send_table (Rich *f, int fd, guint64 offset)
{
  RawTable table = { .n = 1, .regions = { { GUEST, SIZE, USER, offset } } };
  RawTable answer = { 0 };

  rich_send (f, MSG_SET_MEM_TABLE, &table, 40, fd);
  g_assert_cmpuint (rich_receive (f, MSG_SET_MEM_TABLE, &answer, sizeof answer, NULL), ==, 40);
  g_assert_cmpuint (answer.n, ==, 1);
  g_assert_cmphex (answer.regions[0].guest, ==, GUEST);
  g_assert_cmpuint (answer.regions[0].size, ==, SIZE);
  g_assert_cmpuint (answer.regions[0].offset, ==, offset);
  g_assert_cmphex (answer.regions[0].user, !=, USER);
  return answer.regions[0].user;
}

static void
send_ack (Rich *f, guint request)
{
  const guint64 zero = 0;

  rich_send (f, request, &zero, sizeof zero, -1);
}

/* Puts pages where @address is and around it, as the front-end's fault thread does. Those that are
 * there already, or not registered, are none of its business. */
static void
fill (int uffd, guint64 address)
{
  static const guint8 page[RAW_PAGE];
  const guint64 middle = address & ~(guint64) (RAW_PAGE - 1);
  gboolean filled = FALSE;

  for (int i = -3; i <= 3; i++)
    {
      struct uffdio_copy copy
          = { .dst = middle + (guint64) (i * RAW_PAGE), .src = (guintptr) page, .len = RAW_PAGE };

      filled |= ioctl (uffd, UFFDIO_COPY, &copy) == 0 && i == 0;
    }
  g_assert_true (filled);
}

static guint64
wait_fault (int uffd)
{
  struct pollfd pollfd = { .fd = uffd, .events = POLLIN };
  struct uffd_msg message = { 0 };

  g_assert_cmpint (poll (&pollfd, 1, 20000), ==, 1);
  g_assert_cmpint (read (uffd, &message, sizeof message), ==, sizeof message);
  g_assert_cmpuint (message.event, ==, UFFD_EVENT_PAGEFAULT);
  return message.arg.pagefault.address;
}

static gboolean
no_fault (int uffd)
{
  struct pollfd pollfd = { .fd = uffd, .events = POLLIN };

  return poll (&pollfd, 1, 0) == 0;
}

/* A ring that does not wait for the answers: the worker may hang in a fault. */
static void
send_ring (Rich *f, int kick)
{
  const RawAddr addr
      = { .descriptor = USER, .available = USER + RAW_PAGE, .used = USER + 2 * RAW_PAGE };

  g_assert_cmpuint (raw_state (f->frontend, MSG_SET_VRING_NUM, 0, 16), ==, 0);
  g_assert_cmpuint (raw_request (f->frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==,
                    0);
  g_assert_cmpuint (raw_ring_fd (f->frontend, MSG_SET_VRING_CALL, RAW_NO_FD, -1), ==, 0);
  g_assert_cmpuint (raw_state (f->frontend, MSG_SET_VRING_ENABLE, 0, 1), ==, 0);
  rich_send (f, MSG_SET_VRING_KICK, (guint64[]){ 0 }, 8, kick);
}

static void
test_end (void)
{
  Rich f;
  int uffd;

  if (!begin (&f))
    return;
  g_assert_cmpuint (end (&f), !=, 0);             /* of what? */
  g_assert_cmpuint (listen_postcopy (&f), !=, 0); /* with what? */
  uffd = advise (&f);
  g_assert_cmpint (uffd, >=, 0);
  g_assert_cmpuint (listen_postcopy (&f), ==, 0);
  g_assert_cmpuint (end (&f), ==, 0);
  close (uffd);
  raw_assert_in_step (f.frontend);
  rich_end (&f);
}

/* LISTEN before the table, and a device that faults. */
static void
bases (gconstpointer data)
{
  const guint request = GPOINTER_TO_UINT (data);
  int fd = raw_memfd (SIZE + RAW_PAGE, 0);
  int kick = eventfd (0, EFD_CLOEXEC);
  guint64 base, fault;
  guint n_changes;
  Rich f;
  int uffd;

  if (!begin (&f))
    {
      close (fd);
      close (kick);
      return;
    }
  uffd = advise (&f);
  g_assert_cmpuint (listen_postcopy (&f), ==, 0);
  n_changes = f.data->n_memory_changes;
  if (request == MSG_SET_MEM_TABLE)
    base = send_table (&f, fd, RAW_PAGE);
  else
    {
      RawSlot slot = { .region = { GUEST, SIZE, USER, RAW_PAGE } }, answer = { 0 };

      rich_send (&f, MSG_ADD_MEM_REG, &slot, sizeof slot, fd);
      g_assert_cmpuint (rich_receive (&f, MSG_ADD_MEM_REG, &answer, sizeof answer, NULL), ==,
                        sizeof answer);
      g_assert_cmphex (answer.region.guest, ==, GUEST);
      base = answer.region.user;
    }
  /* P3: nothing is touched, no ring starts and the device hears of nothing before the word. */
  rich_sync (&f);
  g_assert_cmpuint (f.data->n_memory_changes, ==, n_changes);
  {
    const RawAddr addr
        = { .descriptor = USER, .available = USER + RAW_PAGE, .used = USER + 2 * RAW_PAGE };

    raw_state (f.frontend, MSG_SET_VRING_NUM, 0, 16);
    raw_request (f.frontend, MSG_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
    g_assert_cmpuint (raw_ring_fd (f.frontend, MSG_SET_VRING_KICK, 0, kick), !=, 0);
  }
  g_assert_true (no_fault (uffd));
  send_ack (&f, request);
  raw_assert_in_step (f.frontend); /* it has no answer */
  rich_sync (&f);
  g_assert_cmpuint (f.data->n_memory_changes, ==, n_changes + 1);
  g_assert_true (no_fault (uffd));

  /* P5: the address that was told is where the worker faults. */
  send_ring (&f, kick);
  fault = wait_fault (uffd);
  g_assert_cmphex (fault, >=, base);
  g_assert_cmphex (fault, <, base + 3 * RAW_PAGE);
  fill (uffd, fault);
  raw_assert_in_step (f.frontend); /* the ring has started */
  /* P4 */
  g_assert_cmpuint (end (&f), ==, 0);
  raw_assert_in_step (f.frontend);
  close (uffd);
  close (fd);
  close (kick);
  rich_end (&f);
}

static void
test_acks (void)
{
  const guint requests[] = { 0, MSG_SET_MEM_TABLE, MSG_ADD_MEM_REG, MSG_REM_MEM_REG };
  Rich f;
  int uffd, fd = raw_memfd (SIZE, 0);

  if (!begin (&f))
    {
      close (fd);
      return;
    }
  uffd = advise (&f);
  g_assert_cmpuint (listen_postcopy (&f), ==, 0);
  {
    /* A refused table has an answer too, or the front-end would wait for ever. */
    RawTable bad = { .n = 1, .regions = { { GUEST, 0, USER, 0 } } }, answer;

    rich_send (&f, MSG_SET_MEM_TABLE, &bad, 40, fd);
    g_assert_cmpuint (rich_receive (&f, MSG_SET_MEM_TABLE, &answer, sizeof answer, NULL), ==, 0);
  }
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    {
      guint n_changes;

      send_table (&f, fd, 0);
      rich_sync (&f);
      n_changes = f.data->n_memory_changes;
      send_ack (&f, requests[i]);
      raw_assert_in_step (f.frontend);
      rich_sync (&f);
      g_assert_cmpuint (f.data->n_memory_changes, ==, n_changes + 1);
    }
  g_assert_cmpuint (end (&f), ==, 0);
  close (uffd);
  close (fd);
  rich_end (&f);
}

/* P7: what is mapped when LISTEN comes is registered too. */
static void
test_mapped_before (void)
{
  RawRegion region = { GUEST, SIZE, USER, 0 };
  int fd = raw_memfd (SIZE, 0);
  int kick = eventfd (0, EFD_CLOEXEC);
  Rich f;
  int uffd;

  if (!begin (&f))
    {
      close (fd);
      close (kick);
      return;
    }
  uffd = advise (&f);
  g_assert_cmpuint (raw_set_table (f.frontend, &region, &fd, 1), ==, 0); /* an ordinary answer */
  g_assert_cmpuint (listen_postcopy (&f), ==, 0);
  send_ring (&f, kick);
  fill (uffd, wait_fault (uffd));
  g_assert_cmpuint (end (&f), ==, 0);
  raw_assert_in_step (f.frontend);
  close (uffd);
  close (fd);
  close (kick);
  rich_end (&f);
}

/* The front-end dies while a worker waits for a page, and keeps the descriptor that could end the
 * wait: nothing hangs, and no page of zeros appears in the guest's memory. */
static void
test_front_end_dies (void)
{
  int fd = raw_memfd (SIZE, 0);
  int kick = eventfd (0, EFD_CLOEXEC);
  struct stat before, after;
  Rich f;
  int uffd;

  if (!begin (&f))
    {
      close (fd);
      close (kick);
      return;
    }
  uffd = advise (&f);
  g_assert_cmpuint (listen_postcopy (&f), ==, 0);
  send_table (&f, fd, 0);
  send_ack (&f, MSG_SET_MEM_TABLE);
  send_ring (&f, kick);
  wait_fault (uffd);
  g_assert_cmpint (fstat (fd, &before), ==, 0);
  vhost_frontend_close (f.frontend);
  LIVE_WAIT_FOR (raw_count_sessions (f.device) == 0);
  g_assert_cmpint (fstat (fd, &after), ==, 0);
  g_assert_cmpint (after.st_blocks, ==, before.st_blocks);
  close (uffd);
  close (fd);
  close (kick);
  raw_log_expect (TRUE);
  rich_end (&f);
  raw_log_expect (FALSE);
}

/* Threads that wait for the front-end cannot be the daemon's own. */
static void
test_inline (void)
{
  g_autoptr (RichBackend) backend = g_object_new (RICH_TYPE_BACKEND, "workers", 0, NULL);
  LiveDevice *device = live_device_new (g_object_ref (backend), NULL, NULL);
  VhostFrontend *frontend = live_device_connect (device);

  g_assert_cmphex (vhost_frontend_get_protocol_features (frontend) & PAGEFAULT, ==, 0);
  g_object_unref (frontend);
  g_object_unref (g_steal_pointer (&backend));
  live_device_free (device);
}

static void
test_not_accepted (void)
{
  Rich f;

  rich_begin (&f, LIVE_ALL_FEATURES & ~PAGEFAULT);
  g_assert_cmpint (advise (&f), ==, -1);
  g_assert_cmpuint (listen_postcopy (&f), !=, 0);
  g_assert_cmpuint (end (&f), !=, 0);
  rich_end (&f);
}

#define TEST(name, function) g_test_add_func ("/rules/" name, function)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  raw_log_init ();

  TEST ("P1-P4-a-userfaultfd-from-POSTCOPY_ADVISE-to-POSTCOPY_END", test_end);
  g_test_add_data_func ("/rules/P2-P5-SET_MEM_TABLE-answers-with-bases",
                        GUINT_TO_POINTER (MSG_SET_MEM_TABLE), bases);
  g_test_add_data_func ("/rules/P2-P5-ADD_MEM_REG-answers-with-bases",
                        GUINT_TO_POINTER (MSG_ADD_MEM_REG), bases);
  TEST ("P3-the-word-comes-under-any-of-its-names", test_acks);
  TEST ("P7-POSTCOPY_LISTEN-registers-what-is-mapped", test_mapped_before);
  TEST ("P-a-front-end-that-dies-leaves-no-worker-waiting", test_front_end_dies);
  TEST ("P-not-offered-where-the-daemon-serves-the-rings", test_inline);
  TEST ("P8-nothing-without-the-feature", test_not_accepted);
  return g_test_run ();
}
