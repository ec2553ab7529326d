/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What filters have in common inside: the requests that they hold in a queue, chance, names. */
#pragma once

#include "vhost-filter.h"

/* Filters on one queue. */
#define VHOST_FILTER_LAYERS_MAX 16

/* Between @queue and its back-end there is now @filter, too, behind those that are there already.
 * The filter outlives the queue's run. FALSE: there are as many as there can be. Thread: worker,
 * all of these. */
gboolean vhost_filter_queue_add (VhostQueue *queue, VhostFilter *filter, guint64 seed);
/* Takes all filters off @queue if @filter is the first of them; the queue has stopped. */
void vhost_filter_queue_remove (VhostQueue *queue, VhostFilter *filter);
/* When the next request that @filter holds in @queue goes on; G_MAXINT64: none does by itself. */
gint64 vhost_filter_queue_get_next_time (VhostQueue *queue, VhostFilter *filter);
/* A number from the filter's own series for @queue. */
guint64 vhost_filter_queue_random (VhostQueue *queue, VhostFilter *filter);

/* The functions of devices that have more than queues. Called: class_init. */
void vhost_filter_class_init_device (VhostBackendClass *klass);

/* Begins the series of every queue that starts from now on; 0: with chance. Thread: any. */
void vhost_filter_set_seed (VhostFilter *self, guint64 seed);
guint64 vhost_filter_get_seed (VhostFilter *self);

/* The filter that a command line calls @name; G_TYPE_INVALID: none. */
GType vhost_filter_find_type (const char *name);
/* The names of all, for people. (transfer full) */
char *vhost_filter_list_names (void);

/* The filters of a command line. */
typedef struct _VhostFilterOptions VhostFilterOptions;

/* Looks for --filter=NAME in @arguments; the properties of each are options, none of which may be
 * one of @backend_type, too. NULL: an error in the user's words. */
VhostFilterOptions *vhost_filter_options_new (GType backend_type, char **arguments, GError **error);
void vhost_filter_options_free (VhostFilterOptions *self);
/* One group of options per filter. @self outlives it. */
void vhost_filter_options_add_groups (VhostFilterOptions *self, GOptionContext *context);
/* Whether the names that were parsed (nullable) are the ones that were found before. */
gboolean vhost_filter_options_check (VhostFilterOptions *self, char **names, GError **error);
/* Takes @backend and returns it with all filters before it, the first one outermost. Can be called
 * more than once. (transfer full) */
VhostBackend *vhost_filter_options_wrap (VhostFilterOptions *self, VhostBackend *backend);
