/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors of the device's own code: who hears of them, where, and how many. */
#include "config.h"

#include "vhost-backend-private.h"
#include "vhost-backend.h"
#include "vhost-filter.h"

typedef struct
{
  guint n;
  char *text; /* (owned): the latest */
  GThread *thread;
} Heard;

static void
on_error (VhostBackend *backend, const GError *error, gpointer data)
{
  Heard *heard = data;

  heard->n++;
  g_free (heard->text);
  heard->text = g_strdup (error->message);
  heard->thread = g_thread_self ();
}

static VhostBackend *
new_backend (Heard *heard)
{
  VhostBackend *backend = vhost_backend_new_simple ("rng", 4, 1);

  g_signal_connect (backend, "error", G_CALLBACK (on_error), heard);
  return backend;
}

static void
report (VhostBackend *backend, const char *text)
{
  g_autoptr (GError) error = g_error_new_literal (VHOST_ERROR, VHOST_ERROR_BACKEND, text);

  vhost_backend_report_error (backend, error);
}

static void
test_heard_at_once (void)
{
  Heard heard = { 0 };
  g_autoptr (VhostBackend) backend = new_backend (&heard);

  report (backend, "no session");
  g_assert_cmpuint (heard.n, ==, 1);
  g_assert_cmpstr (heard.text, ==, "no session");
  g_free (heard.text);
}

static gpointer
report_often (gpointer data)
{
  report (data, "the first");
  for (guint i = 0; i < 100; i++)
    report (data, "another");
  return NULL;
}

static const VhostBackendPeer peer;

static void
test_heard_on_the_sessions_thread (void)
{
  Heard heard = { 0 };
  g_autoptr (GMainContext) context = g_main_context_new ();
  VhostBackend *backend = new_backend (&heard);

  g_main_context_push_thread_default (context);
  g_assert_true (vhost_backend_set_peer (backend, &peer, &heard));
  for (guint i = 1; i <= 2; i++)
    {
      g_thread_join (g_thread_new ("reporter", report_often, backend));
      g_assert_cmpuint (heard.n, ==, i - 1);
      while (g_main_context_iteration (context, FALSE))
        ;
      /* Many that nobody has seen yet are one, the first. */
      g_assert_cmpuint (heard.n, ==, i);
      g_assert_cmpstr (heard.text, ==, "the first");
      g_assert_true (heard.thread == g_thread_self ());
    }
  /* The session ends while one is on its way: it is still told. */
  g_thread_join (g_thread_new ("reporter", report_often, backend));
  g_assert_true (vhost_backend_set_peer (backend, NULL, &heard));
  while (g_main_context_iteration (context, FALSE))
    ;
  g_assert_cmpuint (heard.n, ==, 3);
  g_main_context_pop_thread_default (context);
  g_assert_finalize_object (backend);
  g_free (heard.text);
}

static void
test_heard_through_filters (void)
{
  Heard heard = { 0 }, outside = { 0 };
  VhostBackend *backend = new_backend (&heard);
  VhostBackend *filter = g_object_new (VHOST_TYPE_FILTER_ERROR, "next", backend, NULL);

  g_signal_connect (filter, "error", G_CALLBACK (on_error), &outside);
  report (backend, "inside");
  g_assert_cmpuint (heard.n, ==, 1);
  g_assert_cmpuint (outside.n, ==, 1);
  g_assert_cmpstr (outside.text, ==, "inside");
  g_assert_finalize_object (filter);
  report (backend, "alone");
  g_assert_cmpuint (heard.n, ==, 2);
  g_assert_cmpuint (outside.n, ==, 1);
  g_object_unref (backend);
  g_free (heard.text);
  g_free (outside.text);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  /* Each report is a warning. */
  g_log_set_always_fatal (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
  g_log_set_fatal_mask ("Vhost", G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
  g_test_add_func ("/backend-error/heard-at-once-without-a-session", test_heard_at_once);
  g_test_add_func ("/backend-error/heard-once-on-the-session-s-thread",
                   test_heard_on_the_sessions_thread);
  g_test_add_func ("/backend-error/heard-through-filters", test_heard_through_filters);
  return g_test_run ();
}
