# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Vhost.Queue with requests as chain.py has them.

A queue's methods pop() and pop_many() are for do_process_queue() and for handlers of a daemon's signal "kick".
"""

import ctypes

from gi.overrides import override
from gi.repository import Vhost

from . import native
from .chain import Chain

__all__ = ["Queue"]

# As many as are taken at once: enough to share a call's cost, few enough not to keep a guest from anybody else.
BATCH = 64
Batch = ctypes.c_uint64 * BATCH


@override
class Queue(Vhost.Queue):
    __module__ = "gi.overrides.Vhost"

    def pop(self):
        """Takes the next request; None: there is none just now."""
        chains = self.pop_many(1)
        return chains[0] if chains else None

    def pop_many(self, n):
        """Takes up to n requests; fewer when there are fewer."""
        chains = []
        while len(chains) < n:
            batch = Batch()
            room = min(BATCH, n - len(chains))
            taken = native.pop_many(hash(self), batch, room)  # a GObject's hash is its address
            chains += map(Chain, batch[:taken])
            if taken < room:
                break
        return chains

    def __iter__(self):
        """The requests that are there: `for chain in queue:`."""
        while True:
            chain = self.pop()
            if chain is None:
                return
            yield chain
