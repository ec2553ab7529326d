/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Included before everything else when the ring and in-flight files are compiled for the model:
 * after each of their stores to shared memory the model looks in. */
#pragma once

void model_step (void);
#define VHOST_INFLIGHT_STEP() model_step ()
