#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A keyboard that types a text, or replays events from a file: "type code value" in each line. VIRTIO 1.3, 5.8."""
import struct

from gi.repository import GLib, GObject, Vhost

EVENT = struct.Struct("<HHI")  # type, code, value
SYN, KEY = 0, 1
KEYS = {letter: code for row, first in (("qwertyuiop", 16), ("asdfghjkl", 30), ("zxcvbnm", 44))
        for code, letter in enumerate(row, first)} | {" ": 57, "\n": 28}
EVENTS, STATUS = 0, 1  # queues
NAME, EVENT_BITS = 0x01, 0x11  # what the driver can ask for (5.8.4)


def bits(numbers):
    """A bitmap with these bits set, as short as can be."""
    value = sum(1 << number for number in set(numbers))
    return value.to_bytes((value.bit_length() + 7) // 8, "little")


@Vhost.device("input")
class Keyboard(Vhost.Backend):
    text = GObject.Property(type=str, default="hello\n", blurb="What it types")
    events = GObject.Property(type=str, default="", blurb="File of events to replay in place of the text")
    interval = GObject.Property(type=int, default=10, minimum=1, maximum=60000, blurb="Milliseconds between two events")
    Config = Vhost.config_space("select:B", "subsel:B", "size:B", "reserved:5B", "data:128B",
                                writable=["select", "subsel"])

    def do_start(self):
        if self.events:
            with open(self.events, encoding="ascii") as file:
                self.script = [tuple(int(word) for word in line.split()) for line in file if line.strip()]
        else:
            self.script = [event for letter in self.text for pressed in (1, 0)
                           for event in ((KEY, KEYS[letter], pressed), (SYN, 0, 0))]
        self.buffers, self.timer = [], 0

    def do_set_config(self, offset, data, flags):
        """The driver selects: what it asked for is there when it reads next."""
        wanted = bytearray(bytes(self.config)[:2])
        wanted[offset:offset + len(data)] = data
        answers = {(NAME, 0): b"libvhostd keyboard",
                   (EVENT_BITS, KEY): bits(code for kind, code, _ in self.script if kind == KEY)}
        answer = answers.get(tuple(wanted[:2]), b"")
        self.config.size = len(answer)
        self.config.data[:] = answer.ljust(128, b"\0")

    def do_process_chain(self, queue, chain):
        if queue.get_index() == STATUS:
            chain.complete()  # lights, which it does not have
            return
        self.buffers.append(chain)
        if not self.timer:
            self.timer = GLib.timeout_add(self.interval, self.send)

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        if queue.get_index() == EVENTS:
            while self.buffers:
                self.buffers.pop().complete(0)

    def send(self):
        while self.script and self.buffers:
            event = self.script.pop(0)
            with self.buffers.pop(0) as chain:
                chain.write(EVENT.pack(*event))
            if event[0] == SYN:
                return GLib.SOURCE_CONTINUE  # the next key comes later
        self.timer = 0
        return GLib.SOURCE_REMOVE
