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
MOST = 64  # streams, and answers that wait for a buffer: a guest could ask for any number
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
        self.streams, self.answers = {}, collections.deque()
        self.chains = [collections.deque() for _ in range(3)]

    def do_suspend(self):
        """Whoever starts the queues again has rebooted, maybe, and knows nothing of these."""
        self.streams.clear()
        self.answers.clear()

    def do_process_chain(self, queue, chain):
        self.chains[queue.get_index()].append(chain)
        self.work()

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        while self.chains[queue.get_index()]:
            self.chains[queue.get_index()].popleft().complete(0)

    def work(self):
        """Answers first; then what the guest says, as long as the answers to it have room; then data, where it goes."""
        buffers, packets = self.chains[RECEIVE], self.chains[TRANSMIT]
        while True:
            if buffers and self.answers:
                self.send(*self.answers.popleft())
            elif packets and len(self.answers) < MOST:
                with packets.popleft() as chain:
                    head = chain.read(HEADER.size)
                    if len(head) == HEADER.size:
                        self.hear(HEADER.unpack(head), chain)
            elif not buffers or not any([self.echo(*item) for item in list(self.streams.items())]):
                return

    def hear(self, head, chain):
        """A packet of the guest's; there is one answer to it at most."""
        source, target, theirs, ours, length, kind, operation, flags, room, read = head
        ports, credit = (theirs, ours), read + room & 0xffffffff  # the counters of a stream wrap
        stream = self.streams.get(ports)
        if kind != STREAM or target != HOST or source != self.guest_cid:
            self.answers.append((ports, RST, kind))
        elif operation == RST:
            self.streams.pop(ports, None)
        elif operation == REQUEST and ours == self.port and stream is None and len(self.streams) < MOST:
            self.streams[ports] = Stream(credit)
            self.answers.append((ports, RESPONSE))
        elif stream is None or operation == REQUEST or operation == RW and length > ROOM - len(stream.data):
            self.streams.pop(ports, None)
            self.answers.append((ports, RST))
        else:
            stream.credit = credit
            if operation == RW:
                stream.data += chain.read(length)
            elif operation == CREDIT_REQUEST:
                self.answers.append((ports, CREDIT_UPDATE))
            elif operation == SHUTDOWN:
                stream.ending = True
                if flags & READS_NO_MORE:
                    stream.data.clear()

    def echo(self, ports, stream):
        """A piece of what a stream is to hear, as long as there is room for; says whether there was one."""
        if not self.chains[RECEIVE]:
            return False
        if not stream.data:
            if stream.ending:
                self.send(ports, RST)
                del self.streams[ports]
            return stream.ending
        space = min(self.chains[RECEIVE][0].writable_size - HEADER.size, stream.credit - stream.done & 0xffffffff)
        if space <= 0:
            return False
        piece = bytes(stream.data[:space])
        del stream.data[:space]
        stream.done = stream.done + len(piece) & 0xffffffff
        self.send(ports, RW, STREAM, piece)
        return True

    def send(self, ports, operation, kind=STREAM, data=b""):
        stream = self.streams.get(ports)
        read = stream.done if stream else 0
        head = HEADER.pack(HOST, self.guest_cid, ports[1], ports[0], len(data), kind, operation, 0, ROOM, read)
        with self.chains[RECEIVE].popleft() as buffer:
            buffer.write(head + data)
