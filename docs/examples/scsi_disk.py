#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A SCSI host bus adapter with one disk in RAM, which can be made read-only while it runs. VIRTIO 1.3, 5.6; SPC, SBC."""
import struct

from gi.repository import GObject, Vhost

CONTROL, EVENTS = 0, 1  # queues, as the driver names them; requests are in all others
LUN, SENSE, CDB, BLOCK = 8, 96, 32, 512  # bytes
OK, BAD_TARGET = 0, 3  # of the adapter
GOOD, CHECK_CONDITION = 0, 2  # of the disk
ILLEGAL_REQUEST, DATA_PROTECT = 5, 7
ANSWER = struct.Struct("<IIHBB")  # bytes of sense data, of data that did not come, qualifier, status, answer
ONE_DISK = (b"\1\0\0\0", b"\1\0\x40\0")  # target 0, LUN 0, in two ways


class Refused(Exception):
    """Sense key, and what is behind it."""


@Vhost.device("scsi")
class ScsiDisk(Vhost.Backend):
    Config = Vhost.config_space("num_queues:I", "seg_max:I", "max_sectors:I", "cmd_per_lun:I", "event_info_size:I",
                                "sense_size:I", "cdb_size:I", "max_channel:H", "max_target:H", "max_lun:I",
                                writable=["sense_size", "cdb_size"])
    size = GObject.Property(type=GObject.TYPE_UINT64, default=64 << 20, minimum=BLOCK, maximum=1 << 40, blurb="Bytes")
    read_only = GObject.Property(type=bool, default=False, blurb="Refuse writes; may change at any time")

    def do_start(self):
        self.data = bytearray(self.size // BLOCK * BLOCK)
        self.config.num_queues, self.config.seg_max, self.config.max_sectors = self.props.num_queues - 2, 126, 0xffff
        self.config.cmd_per_lun, self.config.event_info_size = 64, 16
        self.config.sense_size, self.config.cdb_size = SENSE, CDB
        self.events = []

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        while queue.get_index() == EVENTS and self.events:
            self.events.pop().complete(0)

    def do_process_chain(self, queue, chain):
        if queue.get_index() == EVENTS:
            self.events.append(chain)  # nothing ever happens
            return
        with chain:
            if queue.get_index() == CONTROL:
                chain.write(bytes(chain.writable_size))  # aborted, reset: there is nothing to undo
                return
            head, room = chain.read(LUN + 11 + CDB), chain.writable_size - ANSWER.size - SENSE
            data, sense, status, answer = b"", b"", GOOD, OK
            if len(head) < LUN + 11 + CDB or room < 0:
                return
            try:
                if head[:4] not in ONE_DISK:
                    answer = BAD_TARGET
                else:
                    data = bytes(self.obey(head[LUN + 11:], chain, room))[:room]
            except Refused as reason:
                key, code = reason.args
                sense, status = struct.pack(">BxBxxxxBxxxxBxxxxx", 0x70, key, 10, code), CHECK_CONDITION
            chain.write(ANSWER.pack(len(sense), room - len(data), 0, status, answer) + sense.ljust(SENSE, b"\0") + data)

    def obey(self, command, chain, room):
        """Data that a command asks for; what it brings is in the chain."""
        code, length = command[0], command[4]
        if code in (0x00, 0x1b, 0x35):  # TEST UNIT READY, START STOP UNIT, SYNCHRONIZE CACHE
            return b""
        if code == 0x12 and not command[1] & 1:  # INQUIRY
            return struct.pack(">BxBBBxxx8s16s4s", 0, 5, 2, 31, b"VHOSTD  ", b"Python disk     ", b"1   ")[:length]
        if code == 0x1a:  # MODE SENSE (6): no pages
            return bytes((3, 0, 0x80 if self.read_only else 0, 0))[:length]
        if code == 0x25:  # READ CAPACITY (10)
            return struct.pack(">II", min(len(self.data) // BLOCK - 1, 0xffffffff), BLOCK)
        if code == 0xa0:  # REPORT LUNS
            return struct.pack(">I12x", 8)
        if code not in (0x28, 0x2a):
            raise Refused(ILLEGAL_REQUEST, 0x20)
        block, blocks = struct.unpack(">2xIxHx", command[:10])  # READ (10), WRITE (10)
        begin, end = block * BLOCK, (block + blocks) * BLOCK
        if end > len(self.data):
            raise Refused(ILLEGAL_REQUEST, 0x21)
        if code == 0x28:
            return memoryview(self.data)[begin:min(end, begin + room)]
        if self.read_only:
            raise Refused(DATA_PROTECT, 0x27)
        if chain.readable_size < end - begin:
            raise Refused(ILLEGAL_REQUEST, 0x24)
        self.data[begin:end] = chain.read(end - begin)
        return b""
