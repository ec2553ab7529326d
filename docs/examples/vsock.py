#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A socket device at whose other end a host says everything back that is sent to one port. VIRTIO 1.3, 5.10."""
import collections
import struct

from gi.repository import GObject, Vhost

RECEIVE, TRANSMIT = 0, 1  # queues, as the driver names them; QEMU keeps the third, of events
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
HOST, STREAM = 2, 1  # the host's address, the kind of socket
READS_NO_MORE = 1  # a flag of SHUTDOWN
ROOM = 64 << 10  # bytes that we keep of a stream whose other end does not read
MOST = 1024  # streams, and answers that wait for a buffer: a guest could ask for any number
HEADER = struct.Struct("<QQIIIHHIII")  # addresses from and to, ports from and to, length, type, operation, flags, room, read


class Stream:
    """One connection: what is to be said back, how many bytes were, and how many the guest has room for by now."""

    def __init__(self, credit):
        self.data, self.done, self.credit, self.ending = bytearray(), 0, credit, False


@Vhost.device("vsock")
class Echo(Vhost.Backend):
    Config = Vhost.config_space("guest_cid:Q")
    guest_cid = GObject.Property(type=int, default=3, minimum=3, blurb="The guest's address")
    port = GObject.Property(type=int, default=7, minimum=0, blurb="The port that is listened at")

    def do_start(self):
        self.config.guest_cid = self.guest_cid
        self.streams, self.answers, self.buffers = {}, collections.deque(), collections.deque()

    def do_process_chain(self, queue, chain):
        if queue.get_index() == RECEIVE:
            self.buffers.append(chain)
        elif queue.get_index() == TRANSMIT:
            head = chain.read(HEADER.size)
            if len(head) == HEADER.size:
                self.hear(HEADER.unpack(head), chain)
            chain.complete()
        self.answer()

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        if queue.get_index() == RECEIVE:
            while self.buffers:
                self.buffers.pop().complete(0)

    def hear(self, head, chain):
        """A packet of the guest's."""
        source, target, theirs, ours, length, kind, operation, flags, room, read = head
        stream = self.streams.get((theirs, ours))
        credit = read + room & 0xffffffff  # the counters of a stream wrap
        if kind != STREAM or target != HOST or source != self.guest_cid:
            self.say(theirs, ours, RST, kind)
        elif operation == RST:
            self.streams.pop((theirs, ours), None)
        elif operation == REQUEST and ours == self.port and stream is None and len(self.streams) < MOST:
            self.streams[theirs, ours] = Stream(credit)
            self.say(theirs, ours, RESPONSE)
        elif stream is None or operation == REQUEST or operation == RW and length > ROOM - len(stream.data):
            self.streams.pop((theirs, ours), None)
            self.say(theirs, ours, RST)
        else:
            stream.credit = credit
            if operation == RW:
                stream.data += chain.read(length)
            elif operation == CREDIT_REQUEST:
                self.say(theirs, ours, CREDIT_UPDATE)
            elif operation == SHUTDOWN:
                stream.ending = True
                if flags & READS_NO_MORE:
                    stream.data.clear()

    def say(self, theirs, ours, operation, kind=STREAM):
        if len(self.answers) < MOST:
            self.answers.append((theirs, ours, operation, kind))

    def answer(self):
        """In as many buffers as there are: words first, then data that the guest has room for."""
        while self.buffers and self.answers:
            self.packet(*self.answers.popleft())
        for ports, stream in list(self.streams.items()):
            while self.buffers and stream.data and stream.credit != stream.done:
                space = min(self.buffers[0].writable_size - HEADER.size, stream.credit - stream.done & 0xffffffff)
                piece = bytes(stream.data[:max(0, space)])
                del stream.data[:len(piece)]
                stream.done = stream.done + len(piece) & 0xffffffff
                self.packet(*ports, RW, STREAM, piece)
            if self.buffers and stream.ending and not stream.data:
                self.packet(*ports, RST, STREAM)
                del self.streams[ports]

    def packet(self, theirs, ours, operation, kind, data=b""):
        stream = self.streams.get((theirs, ours))
        read = stream.done if stream else 0
        head = HEADER.pack(HOST, self.guest_cid, ours, theirs, len(data), kind, operation, 0, ROOM, read)
        with self.buffers.popleft() as buffer:
            buffer.write(head + data)
