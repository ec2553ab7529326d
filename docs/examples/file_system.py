#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A file system for the guest, whose one file says how often it was opened. VIRTIO 1.3, 5.11; FUSE 7.31.

The guest mounts it by the tag that QEMU has given it: mount -t virtiofs TAG /mnt
"""
import errno
import stat
import struct

from gi.repository import GObject, Vhost

ROOT, FILE = 1, 2  # the inodes
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, DESTROY, BATCH_FORGET = \
    1, 2, 3, 14, 15, 18, 25, 26, 27, 28, 29, 38, 42
HEADER = struct.Struct("<IIQQ")  # length, operation, number of the request, inode; the rest is who asks
HEADER_SIZE, MOST = 40, 1 << 17
DIRECT_IO = 1  # the guest keeps no copy
HANDLES = 1000  # a guest could open any number


@Vhost.device("fs")
class FileSystem(Vhost.Backend):
    name = GObject.Property(type=str, default="opened", blurb="Of the file")

    def do_start(self):
        self.opened = 0
        self.texts = {}  # by handle: what a reader began with stays

    def do_process_chain(self, queue, chain):
        with chain:
            head = chain.read(HEADER_SIZE)
            if len(head) < HEADER_SIZE:
                return
            _, operation, number, inode = HEADER.unpack(head[:HEADER.size])
            if operation in (FORGET, BATCH_FORGET):
                return  # has no answer
            error, answer = 0, b""
            try:
                answer = self.obey(operation, inode, chain.read(MOST).ljust(64, b"\0"))
            except OSError as reason:
                error = reason.errno
            answer = answer[:max(0, chain.writable_size - 16)]
            chain.write(struct.pack("<IiQ", 16 + len(answer), -error, number) + answer)

    def attributes(self, inode):
        size = 0 if inode == ROOT else MOST  # of a file read directly only a bound
        mode = stat.S_IFDIR | 0o555 if inode == ROOT else stat.S_IFREG | 0o444
        return struct.pack("<QQQ36xIIIIIII", inode, size, 1, mode, 1, 0, 0, 0, 512, 0)

    def obey(self, operation, inode, said):
        if operation == INIT:
            return struct.pack("<IIIIHHIIHH28x", 7, 31, MOST, 0, 16, 12, MOST, 1, MOST >> 12, 0)
        if operation == GETATTR and inode in (ROOT, FILE):
            return struct.pack("<QII", 0, 0, 0) + self.attributes(inode)
        if operation == LOOKUP and inode == ROOT and said.split(b"\0")[0] == self.name.encode():
            return struct.pack("<QQQQII", FILE, 0, 0, 0, 0, 0) + self.attributes(FILE)
        if operation == OPENDIR:
            return struct.pack("<QII", 0, 0, 0)
        if operation == OPEN and inode == FILE:
            if len(self.texts) == HANDLES:
                raise OSError(errno.EMFILE, "")
            self.opened += 1
            self.texts[self.opened] = f"opened {self.opened} times\n".encode()
            return struct.pack("<QII", self.opened, DIRECT_IO, 0)
        handle, offset, size = struct.unpack("<QQI", said[:20])
        if operation == READ and handle in self.texts:
            return self.texts[handle][offset:offset + size]
        if operation == READDIR:
            name = self.name.encode()
            entry = struct.pack("<QQII", FILE, 1, len(name), stat.S_IFREG >> 12) + name
            return b"" if offset > 0 else entry + bytes(-len(entry) % 8)
        if operation == RELEASE:
            self.texts.pop(handle, None)
        elif operation not in (FLUSH, RELEASEDIR, DESTROY):
            raise OSError(errno.ENOENT if operation == LOOKUP else errno.ENOSYS, "")
        return b""
