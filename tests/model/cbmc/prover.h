/* SPDX-FileCopyrightText: The libvhostd authors */
/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CBMC knows by itself, for a compiler that reads its half of the harnesses. */
#pragma once

void __CPROVER_assume (_Bool condition);
void __CPROVER_assert (_Bool condition, const char *words);
