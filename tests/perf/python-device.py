#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that does as little as is told, to measure what Python costs. For python-cost.py."""

import struct

from gi.repository import GObject, Vhost

HEADER = struct.Struct("<IIQ")
PAGE = bytes(4096)
SEG_MAX, BLK_SIZE = 1 << 2, 1 << 6


@Vhost.device("block")
class Measured(Vhost.Backend):
    work = GObject.Property(type=str, default="disk", blurb="empty, write or disk")
    size = GObject.Property(type=GObject.TYPE_UINT64, default=64 << 20, blurb="Size in bytes")
    Config = Vhost.config_space("capacity:Q", "size_max:I", "seg_max:I", "geometry:I", "blk_size:I")

    def do_get_features(self):
        return SEG_MAX | BLK_SIZE

    def do_start(self):
        self.config.capacity, self.config.seg_max, self.config.blk_size = self.size // 512, 126, 512
        self.data = memoryview(bytearray(self.size))
        # An attribute of the object goes before the method of the class.
        self.do_process_chain = {"empty": self.empty, "write": self.write, "disk": self.disk}[self.work]

    def do_process_chain(self, queue, chain):
        chain.complete()

    def empty(self, queue, chain):
        chain.complete(4097)

    def write(self, queue, chain):
        chain.write(PAGE)
        chain.complete(4097)

    def disk(self, queue, chain):
        kind, _, sector = HEADER.unpack(chain.read(16))
        at = sector * 512
        if kind == 0:
            for segment in chain:
                end = min(at + len(segment), len(self.data))
                segment[:end - at] = self.data[at:end]
                at = end
            chain.write(b"\0", -1)
            chain.complete(chain.writable_size)
        elif kind == 1:
            data = chain.read()[:max(0, len(self.data) - at)]
            self.data[at:at + len(data)] = data
            chain.write(b"\0")
            chain.complete()
        else:
            chain.write(b"\2", -1)
            chain.complete(0)
