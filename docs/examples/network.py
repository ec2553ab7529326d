#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A network card at whose other end one host lives, which answers ARP and ping. VIRTIO 1.3, 5.1."""
import struct

from gi.repository import GObject, Vhost

RECEIVE, TRANSMIT = 0, 1  # queues, as the driver names them
F_MAC = 1 << 5  # the card's address is in the configuration space; QEMU takes its own, its cards have mac=
VERSION_1 = 1 << 32  # without it, the last two bytes of the header do not exist
HEADER = struct.pack("<10xH", 1)  # before each frame: nothing special, in one buffer
ARP, IPV4, ICMP, ECHO_REQUEST = b"\x08\x06", b"\x08\x00", 1, 8


def checksum(data):
    """Of the Internet: RFC 1071."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack(">H", ~total & 0xffff)


@Vhost.device("net")
class Network(Vhost.Backend):
    Config = Vhost.config_space("mac:6B")
    host = GObject.Property(type=str, default="10.0.0.2", blurb="Address of the host at the other end")
    mac = bytes.fromhex("5254000000fe")

    def do_get_features(self):
        return F_MAC

    def do_features_acked(self, features):
        self.header = HEADER if features & VERSION_1 else HEADER[:10]

    def do_start(self):
        self.config.mac = bytes.fromhex("525400000001")
        self.address = bytes(map(int, self.host.split(".")))
        self.buffers = []

    def do_process_chain(self, queue, chain):
        if queue.get_index() == RECEIVE:
            self.buffers.append(chain)  # until there is an answer
            return
        answer = self.answer(chain.read()[len(self.header):])
        chain.complete()
        if answer and self.buffers:  # without a buffer a frame is lost, as on a wire
            with self.buffers.pop(0) as buffer:
                buffer.write(self.header + answer)

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        if queue.get_index() == RECEIVE:
            while self.buffers:
                self.buffers.pop().complete(0)

    def answer(self, frame):
        """What the host says to a frame; nothing to most."""
        sender, kind, packet = frame[6:12], frame[12:14], frame[14:]
        if kind == ARP and packet[24:28] == self.address:
            return sender + self.mac + ARP + packet[:6] + b"\0\2" + self.mac + self.address + packet[8:18]
        if kind == IPV4 and packet[16:20] == self.address and (packet[9], packet[20]) == (ICMP, ECHO_REQUEST):
            echo = bytes(4) + packet[24:]  # type 0, and a checksum to come
            return sender + self.mac + IPV4 + packet[:12] + self.address + packet[12:16] + echo[:2] + checksum(echo) + echo[4:]
        return None
