/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stands in for libFuzzer where there is none: runs a target over its seed files, so that they are
 * regression tests under every compiler. It finds nothing new on purpose; that is the fuzzer's
 * work.
 *
 * How it works: each file of the folders named is one input and one test case. A fixed sequence of
 * small changes to it runs too (same numbers each time), since most bugs sit next to a valid input.
 */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CHANGES_PER_SEED 64

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);
int LLVMFuzzerInitialize (int *argc, char ***argv) __attribute__ ((weak));

/* Exactly as long as the input and on the heap: a sanitizer sees the first byte read too many. */
static void
run_input (const guint8 *data, gsize size)
{
  g_autofree guint8 *copy = g_memdup2 (data, size);

  LLVMFuzzerTestOneInput (copy != NULL ? copy : (const guint8 *) "", size);
}

static void
run_changes (const guint8 *data, gsize size)
{
  g_autoptr (GRand) random = g_rand_new_with_seed ((guint32) size + 1);

  for (guint i = 0; i < CHANGES_PER_SEED && size > 0; i++)
    {
      g_autofree guint8 *copy = g_memdup2 (data, size);
      gsize at = (gsize) g_rand_int_range (random, 0, (gint32) MIN (size, G_MAXINT32));
      static const guint8 edges[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

      switch (i % 4)
        {
        case 0:
          copy[at] ^= (guint8) (1u << g_rand_int_range (random, 0, 8));
          run_input (copy, size);
          break;
        case 1:
          copy[at] = edges[g_rand_int_range (random, 0, G_N_ELEMENTS (edges))];
          run_input (copy, size);
          break;
        case 2:
          memset (copy + at, 0xff, MIN (size - at, 8));
          run_input (copy, size);
          break;
        default:
          run_input (copy, at);
          break;
        }
    }
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

static GPtrArray *
collect_seeds (int argc, char **argv)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);

  for (int i = 1; i < argc; i++)
    {
      g_autoptr (GDir) folder = g_dir_open (argv[i], 0, NULL);
      const char *name;

      if (folder == NULL)
        g_ptr_array_add (paths, g_strdup (argv[i]));
      while (folder != NULL && (name = g_dir_read_name (folder)) != NULL)
        g_ptr_array_add (paths, g_build_filename (argv[i], name, NULL));
    }
  g_ptr_array_sort (paths, compare_names);
  return paths;
}

int
main (int argc, char **argv)
{
  g_autoptr (GPtrArray) paths = collect_seeds (argc, argv);
  guint8 plain[4096];
  gboolean all_read = TRUE;

  if (LLVMFuzzerInitialize != NULL)
    LLVMFuzzerInitialize (&argc, &argv);

  /* Unbuffered: after a crash the last line names the input. */
  setvbuf (stdout, NULL, _IONBF, 0);
  printf ("1..%u\n", paths->len + 1);
  for (gsize i = 0; i < sizeof plain; i++)
    plain[i] = (guint8) (i * 37 + (i >> 8));
  run_input (NULL, 0);
  run_input (plain, sizeof plain);
  run_changes (plain, sizeof plain);
  printf ("ok 1 - /survives-empty-and-arbitrary-input\n");

  for (guint i = 0; i < paths->len; i++)
    {
      const char *path = g_ptr_array_index (paths, i);
      g_autofree char *name = g_path_get_basename (path);
      g_autofree char *data = NULL;
      g_autoptr (GError) error = NULL;
      gsize size;

      printf ("# %s\n", path);
      if (!g_file_get_contents (path, &data, &size, &error))
        {
          printf ("# %s\nnot ok %u - /survives-seed/%s\n", error->message, i + 2, name);
          all_read = FALSE;
          continue;
        }
      run_input ((const guint8 *) data, size);
      run_changes ((const guint8 *) data, size);
      printf ("ok %u - /survives-seed/%s\n", i + 2, name);
    }
  return all_read ? 0 : 1;
}
