#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A console: what the guest writes comes back to it, or goes to a terminal on the host. VIRTIO 1.3, 5.3."""
import os
import tty

from gi.repository import GLib, GObject, Vhost

RECEIVE, TRANSMIT = 0, 1  # queues, as the driver names them


@Vhost.device("console")
class Console(Vhost.Backend):
    pty = GObject.Property(type=bool, default=False, blurb="Open a terminal on the host, in place of the echo")

    def do_start(self):
        self.buffers, self.waiting, self.terminal = [], b"", None
        if self.pty:
            self.terminal, self.other = os.openpty()  # the other side stays open, or its end would be ours
            tty.setraw(self.other)
            os.set_blocking(self.terminal, False)
            self.path = os.ttyname(self.other)
            print(f"# terminal: {self.path}", flush=True)
            self.watch = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, self.terminal, GLib.IOCondition.IN, self.typed)

    def do_stop(self):
        if self.terminal is not None:
            GLib.source_remove(self.watch)
            os.close(self.terminal)
            os.close(self.other)

    def do_process_chain(self, queue, chain):
        if queue.get_index() == RECEIVE:
            self.buffers.append(chain)  # until there is something to say
        else:
            text = chain.read()
            chain.complete()
            if self.terminal is None:
                self.waiting += text
            else:
                os.write(self.terminal, text)
        self.deliver()

    def do_queue_stopping(self, queue):
        """The driver takes its buffers back."""
        if queue.get_index() == RECEIVE:
            while self.buffers:
                self.buffers.pop().complete(0)

    def typed(self, fd, condition):
        self.waiting += os.read(fd, 4096)
        self.deliver()
        return GLib.SOURCE_CONTINUE

    def deliver(self):
        while self.waiting and self.buffers:
            with self.buffers.pop(0) as chain:
                self.waiting = self.waiting[chain.write(self.waiting[:chain.writable_size]):]
