#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A disk in memory, gone when the program ends. VIRTIO 1.3, 5.2."""
import struct

from gi.repository import GObject, Vhost

SECTOR = 512
READ, WRITE, FLUSH, GET_ID = 0, 1, 4, 8
OK, IO_ERROR, UNSUPPORTED = b"\0", b"\1", b"\2"
HEADER = struct.Struct("<IIQ")  # type, reserved, first sector


@Vhost.device("block")
class RamDisk(Vhost.Backend):
    size = GObject.Property(type=GObject.TYPE_UINT64, default=64 << 20, minimum=SECTOR, maximum=16 << 30,
                            flags=GObject.ParamFlags.READWRITE | GObject.ParamFlags.CONSTRUCT_ONLY,
                            blurb="Bytes of the disk, a multiple of 512")
    serial = GObject.Property(type=str, default="ram", blurb="What the guest has in /sys/block/vda/serial, 20 bytes at most")
    Config = Vhost.config_space("capacity:Q")

    def do_start(self):
        if self.size % SECTOR:
            raise ValueError(f"size {self.size} is not a multiple of {SECTOR}: choose one that is")
        self.memory = bytearray(self.size)
        self.config.capacity = self.size // SECTOR

    def do_process_chain(self, queue, chain):
        kind, _, sector = HEADER.unpack(chain.read(HEADER.size))
        if kind == READ:
            # Behind the data is one byte more for the status, as in all requests.
            data, status = self.read(sector * SECTOR, chain.writable_size - 1)
            chain.write(data)
        elif kind == WRITE:
            status = self.write(sector * SECTOR, chain.read())
        elif kind == GET_ID:
            status = OK
            chain.write(self.serial.encode().ljust(20, b"\0")[:min(20, chain.writable_size - 1)])
        else:
            status = OK if kind == FLUSH else UNSUPPORTED
        chain.writable[-1][-1:] = status
        chain.complete(chain.written + 1)

    def read(self, at, size):
        if at + size > self.size:
            return b"\0" * size, IO_ERROR
        return memoryview(self.memory)[at:at + size], OK

    def write(self, at, data):
        if at + len(data) > self.size:
            return IO_ERROR
        self.memory[at:at + len(data)] = data
        return OK
