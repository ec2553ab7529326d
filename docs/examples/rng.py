#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""An entropy device that fails when it is told to: does the guest's driver cope?"""
import os

from gi.repository import GObject, Vhost


@Vhost.device("rng")
class ShakyRng(Vhost.Backend):
    fail_every = GObject.Property(type=int, default=0, minimum=0,
                                  blurb="Answer every Nth request with nothing (0: never)")
    seen = 0

    def do_process_chain(self, queue, chain):
        self.seen += 1
        if not (self.fail_every and self.seen % self.fail_every == 0):
            chain.write(os.urandom(chain.writable_size))
        chain.complete()
