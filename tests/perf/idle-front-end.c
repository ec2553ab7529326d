/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A front-end that starts a ring, makes a few block requests, says "ready" and then does nothing:
 * what an idle guest looks like to a back-end.
 *
 * Usage: idle-front-end SOCKET */
#include <libvhostd.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY 0x100000

int
main (int argc, char **argv)
{
  g_autoptr (VhostFrontend) frontend = vhost_frontend_new ();
  g_autoptr (GError) error = NULL;
  VhostFrontendQueue *queue = NULL;

  if (argc == 2 && vhost_frontend_connect (frontend, argv[1], &error)
      && vhost_frontend_negotiate (frontend, G_GUINT64_CONSTANT (1) << 32 | 1u << 29, G_MAXUINT64,
                                   &error)
      && vhost_frontend_add_memory (frontend, MEMORY, 1 << 20, &error))
    queue = vhost_frontend_add_queue (frontend, 0, 64, &error);
  if (queue == NULL)
    {
      fprintf (stderr, "idle-front-end: %s\n", error != NULL ? error->message : "name a socket");
      return 1;
    }
  for (guint i = 0; i < 100; i++)
    {
      guint64 header = vhost_frontend_allocate (frontend, 64, 64);
      guint64 data = vhost_frontend_allocate (frontend, 1024, 512);
      VhostFrontendBuffer buffers[]
          = { { header, 16, FALSE }, { data, 512, TRUE }, { data + 512, 1, TRUE } };
      gpointer token;
      guint32 length;

      memset (vhost_frontend_get_memory (frontend, header, 16), 0, 16);
      vhost_frontend_queue_add (queue, buffers, 3, FALSE, &header);
      vhost_frontend_queue_kick (queue);
      while (!vhost_frontend_queue_poll (queue, &token, &length))
        vhost_frontend_queue_wait (queue, 1000);
    }
  puts ("ready");
  fflush (stdout);
  pause ();
  return 0;
}
