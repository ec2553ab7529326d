#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A device that no specification knows, for drivers that are being written, or for QEMU's vhost-user-test-device.

Queue 0 adds up: a request is any number of 32-bit numbers, the answer their sum in 64 bits. Queue 1 gives the answers
back in the opposite order, three at a time. The driver can set the factor in the configuration space by which sums are
multiplied; the device counts there what it has answered, and tells the driver.
"""
import array

from gi.repository import Vhost


@Vhost.device("made-up", virtio_id=0x3f, queues=2)
class MadeUp(Vhost.Backend):
    Config = Vhost.config_space("factor:I", "answered:I", writable=["factor"])

    def __init__(self, **properties):
        super().__init__(**properties)
        self.config.factor = 1
        self.kept = []

    def do_process_chain(self, queue, chain):
        if queue.get_index() == 0:
            self.answer(chain)
            return
        self.kept.append(chain)
        if len(self.kept) == 3:
            while self.kept:
                self.answer(self.kept.pop())

    def answer(self, chain):
        numbers = chain.read()
        if len(numbers) % 4:
            raise ValueError(f"{len(numbers)} bytes are no whole 32-bit numbers")
        total = sum(array.array("I", numbers)) * self.config.factor
        chain.write((total % (1 << 64)).to_bytes(8, "little"))
        chain.complete()
        self.config.answered += 1
        self.notify_config()

    def do_queue_stopping(self, queue):
        while queue.get_index() == 1 and self.kept:
            self.kept.pop().complete(0)
