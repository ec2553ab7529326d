# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The driver of one queue: requests that wait, requests that do not, and descriptors that break the rules.

How it works: each request has a number, which the ring gives back when the device has used it. A request's blocks of
guest memory are its own until then; one that nobody waits for any more keeps them, because the device may still write
there.
"""

import asyncio
import time
import weakref

from gi.repository import GLib, Vhost

from . import failure

__all__ = []

# How long a wait sleeps before it looks whether the back-end is still there.
_LOOK_MS = 100


def failed(code, text):
    return GLib.Error.new_literal(Vhost.error_quark(), text, code)


class FrontendRequest:
    """A request under way, or done: then `data` is what the device wrote, `length` what it says that it wrote.

    `whole` is all that it had room for, also what lies behind the `length`: a status behind data that were not written.
    """

    def __init__(self, queue, outs, ins, callback):
        self._queue, self._outs, self._ins, self._callback = queue, outs, ins, callback
        self.done, self.data, self.whole, self.length, self.error = False, b"", b"", None, None
        self._raw = False
        self._futures = []

    @property
    def in_size(self):
        return sum(length for _, length in self._ins)

    def wait(self, timeout=None):
        """Waits until the device has answered; `timeout` in seconds, the front-end's by default. Returns self."""
        self._queue._wait_for(lambda: self.done, timeout)
        return self

    def result(self, timeout=None):
        """What the device wrote; waits for it."""
        self.wait(timeout)
        if self.error is not None:
            raise self.error
        return self.data

    def __await__(self):
        """`await queue.request_async (...)` in a coroutine of Vhost.event_loop(): what the device wrote."""
        if not self.done:
            self._futures.append(asyncio.get_running_loop().create_future())
            yield from self._futures[-1]
        return self.result()

    def _finish(self, memory, length):
        self.length = length
        self.whole = b"".join(bytes(memory.view(address, size)) for address, size in self._ins)
        self.data = self.whole[:length]
        for address, size in self._outs + self._ins:
            memory.give(address, size)
        if length > self.in_size and not self._raw:
            self.error = failed(Vhost.Error.PROTOCOL, f"the device says that it wrote {length} bytes into "
                                f"{self.in_size}: it claims more than it was given")
        self.done = True
        for future in self._futures:
            if not future.done():  # it may be cancelled
                future.set_result(None)


class FrontendRequests:
    """What Frontend.queue() gives. `ring` is the Vhost.FrontendQueue beneath."""

    def __init__(self, frontend, ring):
        self.frontend, self.ring = frontend, ring
        self.index, self.size = ring.get_index(), ring.get_size()
        self._memory = frontend._memory
        self._flying = {}
        self._next = 1
        self._watch = 0

    # ---- Requests ----

    def request(self, out=(), in_size=0, *, indirect=False, timeout=None):
        """One request: buffers that the device reads, and room for so many bytes (or a list of sizes).

        Returns the bytes that the device wrote. Runs the main context while it waits, `timeout` seconds at most.
        """
        return self._submit(out, in_size, indirect, None, timeout, True).result(timeout)

    def request_async(self, out=(), in_size=0, callback=None, *, indirect=False):
        """A request that is not waited for. `callback (request)` is called from the main context when it is done.

        Many may be under way; a full ring is the error BUSY. Returns a request to wait() for, or to ask for `done`.
        """
        request = self._submit(out, in_size, indirect, callback, None, False)
        self._watch_calls()
        return request

    def _submit(self, out, in_size, indirect, callback, timeout, may_wait):
        pieces = [bytes(out)] if isinstance(out, (bytes, bytearray, memoryview)) else [bytes(piece) for piece in out]
        sizes = ([in_size] if in_size else []) if isinstance(in_size, int) else list(in_size)
        if any(size < 0 for size in sizes):
            raise ValueError("sizes must not be negative")
        if not pieces and not sizes:
            raise ValueError("a request has a buffer at least: give out, in_size, or both")
        needed = 1 if indirect else len(pieces) + len(sizes)
        if needed > self.size:
            raise ValueError(f"{needed} buffers do not fit a queue of {self.size}: take fewer, or indirect=True")
        if may_wait:
            self._wait_for(lambda: self.ring.get_free() >= needed, timeout)
        blocks = []
        try:
            for length in [*map(len, pieces), *sizes]:
                blocks.append((self._memory.take(length), length))
            for (address, length), piece in zip(blocks, pieces):
                self._memory.view(address, length)[:] = piece
            request = FrontendRequest(self, blocks[:len(pieces)], blocks[len(pieces):], callback)
            self._add(request, lambda token: self.ring.add_ranges(
                [number for block in blocks for number in block], len(pieces), indirect, token))
        except BaseException:
            for address, length in blocks:
                self._memory.give(address, length)
            raise
        self.ring.kick()
        return request

    def _add(self, request, add):
        token = self._next
        if not add(token):
            raise failed(Vhost.Error.BUSY, f"queue {self.index} has no room: {self.ring.get_free()} of "
                         f"{self.size} descriptors are free; wait for requests under way")
        self._next += 1
        self._flying[token] = request

    def add_raw(self, descriptors, head=0, kick=True):
        """Descriptors (address, length, flags, next) as told, to see what the device makes of them.

        A `next` that is the number of another one in the list means that one; others are written as they are. `head` is
        the number of the one that the device is told of. Returns a request whose `length` the device gives.
        """
        request = FrontendRequest(self, [], [], None)
        request._raw = True
        fields = [int(field) for descriptor in descriptors for field in descriptor]
        self._add(request, lambda token: self.ring.add_raw(fields, head, token))
        if kick:
            self.ring.kick()
        return request

    @property
    def in_flight(self):
        """How many requests the device has not given back."""
        self._reap()
        return len(self._flying)

    def _reap(self):
        take = self.ring.take
        taken, token, length = take()
        while taken:
            request = self._flying.pop(token, None)
            if request is not None:
                request._finish(self._memory, length)
                if request._callback is not None:
                    try:
                        request._callback(request)
                    except Exception as error:  # the others' turn comes nevertheless
                        failure.show(error)
            taken, token, length = take()

    def _wait_for(self, condition, timeout):
        # First of all: a callback that asks for its own answer must not run those of later ones.
        if condition():
            return
        self._reap()
        if condition():
            return
        # The watch would take away the call that ends the wait.
        watched = self._watch
        self._unwatch()
        try:
            self._wait_until(condition, timeout)
        finally:
            if watched and self._flying:
                self._watch_calls()

    def _wait_until(self, condition, timeout):
        seconds = self.frontend.props.timeout / 1000 if timeout is None else timeout
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            self.ring.wait(max(0, min(_LOOK_MS, int(left * 1000) + 1)))
            self._reap()
            if condition():
                return
            if left <= 0:
                raise failed(Vhost.Error.TIMED_OUT,
                             f"the device did not answer on queue {self.index} within {seconds:g} s")
            if not self.frontend.is_connected():
                raise failed(Vhost.Error.DISCONNECTED,
                             f"the connection ended while a request was under way on queue {self.index}")

    # ---- Calls from the device, while nobody waits ----

    def _watch_calls(self):
        if self._watch:
            return
        reference = weakref.ref(self)

        def called(*_):
            queue = reference()
            return queue is not None and queue._called()
        self._watch = GLib.io_add_watch(self.ring.get_call_fd(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN, called)
        # One that came before the watch calls no more.
        GLib.idle_add(lambda: called() and False)

    def _called(self):
        self.ring.get_n_calls()  # takes the call away
        self._reap()
        self.ring.set_calls_enabled(True)
        self._reap()
        if self._flying and self._watch:
            return True
        self._unwatch()
        return False

    def _unwatch(self):
        if self._watch:
            GLib.source_remove(self._watch)
            self._watch = 0

    # ---- The ring ----

    def kick(self):
        """Notifies the device whether it wants it or not."""
        self.ring.force_kick()

    def wait(self, timeout=None):
        """Waits until all requests are back; `timeout` in seconds."""
        self._wait_for(lambda: not self._flying, timeout)

    def stop(self):
        """Stops the queue; returns where the device is. Requests under way stay under way."""
        return self.frontend.stop_queue(self.index)[1]

    def restart(self):
        """Starts it again, where it was."""
        return self.frontend.restart_queue(self.index)

    def close(self):
        self._unwatch()
        self._flying.clear()

    @property
    def n_calls(self):
        return self.ring.get_n_calls()

    @property
    def bad_used(self):
        """How many answers were no request's."""
        return self.ring.get_bad_used()

    @property
    def addresses(self):
        """Guest addresses of descriptor table, available ring and used ring (packed: the ring and both event areas)."""
        return tuple(self.ring.get_addresses())
