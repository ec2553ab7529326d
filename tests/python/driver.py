# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's driver for tests of devices in Python: the library's own front-end, called by ctypes on a thread of its own.

The device runs in the main context of the same process, which is iterated while the driver waits; so a test sees both
sides. It uses nothing of the package's own front-end, which has tests by itself.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
import gi  # noqa: E402

gi.require_version("Vhost", "1")
from gi.repository import GLib, Vhost  # noqa: E402

DEADLINE = 20
MEMORY = 0x100000
MIB = 1 << 20
VERSION_1, RING_PACKED = 1 << 32, 1 << 34
_library = ctypes.CDLL("libvhostd-1.so.0")  # lets the interpreter go on while it blocks


class _Buffer(ctypes.Structure):
    _fields_ = [("address", ctypes.c_uint64), ("length", ctypes.c_uint32), ("writable", ctypes.c_int)]


def _function(name, result, *arguments):
    function = _library[name]
    function.restype, function.argtypes = result, arguments
    return function


_POINTER = ctypes.c_void_p
_get_memory = _function("vhost_frontend_get_memory", _POINTER, _POINTER, ctypes.c_uint64, ctypes.c_size_t)
# Not the package's own, which listens to the device by a callback: PyGObject loses 32 bytes of each. No byte is to be lost.
_negotiate = _function("vhost_frontend_negotiate", ctypes.c_int, _POINTER, ctypes.c_uint64, ctypes.c_uint64, _POINTER)
_add_memory = _function("vhost_frontend_add_memory", ctypes.c_int, _POINTER, ctypes.c_uint64, ctypes.c_uint64, _POINTER)
_add_queue = _function("vhost_frontend_add_queue", _POINTER, _POINTER, ctypes.c_uint, ctypes.c_uint, _POINTER)
_add = _function("vhost_frontend_queue_add", ctypes.c_int, _POINTER, ctypes.POINTER(_Buffer), ctypes.c_uint,
                 ctypes.c_int, _POINTER)
_kick = _function("vhost_frontend_queue_kick", ctypes.c_int, _POINTER)
_poll = _function("vhost_frontend_queue_poll", ctypes.c_int, _POINTER, ctypes.POINTER(_POINTER),
                  ctypes.POINTER(ctypes.c_uint32))
_wait = _function("vhost_frontend_queue_wait", ctypes.c_int, _POINTER, ctypes.c_int)


def until(condition, what):
    """Iterates the main context until something holds."""
    context = GLib.MainContext.default()
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise vm.Failed(f"waited in vain for {what}")
        if not context.iteration(False):
            time.sleep(0.0005)


class Driver:
    """One front-end; its methods block, while the main context goes on."""

    def __init__(self, daemon, fd):
        self.daemon = daemon
        self.executor = concurrent.futures.ThreadPoolExecutor(1)
        self.frontend = Vhost.Frontend(timeout=DEADLINE * 1000)
        self.queues = {}
        self.next = MEMORY
        self.run(self.frontend.connect_take_fd, fd)

    def start(self, features=VERSION_1, queues=1, size=256):
        if not self.run(_negotiate, hash(self.frontend), features, (1 << 64) - 1, None):
            raise vm.Failed("the device and the driver agree on nothing")
        self.run(_add_memory, hash(self.frontend), MEMORY, 4 * MIB, None)
        address = _get_memory(hash(self.frontend), MEMORY, 4 * MIB)
        self.memory = memoryview((ctypes.c_ubyte * (4 * MIB)).from_address(address)).cast("B")
        for index in range(queues):
            self.queues[index] = self.run(_add_queue, hash(self.frontend), index, size, None)
        self.next = self.frontend.allocate(MIB, 4096)
        self.begin = self.next

    def run(self, function, *arguments):
        """Calls a function on the driver's thread."""
        future = self.executor.submit(function, *arguments)
        until(future.done, getattr(function, "__name__", "a call"))
        return future.result()

    def offer(self, out, into, queue=0):
        """Makes a request available: pieces to read, sizes of pieces to write. Returns where the latter are."""
        needed = sum(map(len, out)) + sum(into)
        if self.next + needed > self.begin + MIB:
            self.next = self.begin
        buffers, places = [], []
        for piece in out:
            at = self.next - MEMORY
            self.memory[at:at + len(piece)] = piece
            buffers.append(_Buffer(self.next, len(piece), 0))
            self.next += len(piece)
        for size in into:
            at = self.next - MEMORY
            self.memory[at:at + size] = b"\xee" * size
            buffers.append(_Buffer(self.next, size, 1))
            places.append((at, size))
            self.next += size
        array = (_Buffer * len(buffers))(*buffers)
        if not _add(self.queues[queue], array, len(buffers), 0, self.next):
            raise vm.Failed("the ring is full")
        return places

    def kick(self, queue=0):
        _kick(self.queues[queue])

    def take(self, queue=0):
        """The length of the next request that came back; None: none is there."""
        token, length = _POINTER(), ctypes.c_uint32()
        return length.value if _poll(self.queues[queue], token, length) else None

    def collect(self, n=1, queue=0):
        """Waits for n requests; their lengths."""
        found = []

        def more():
            length = self.take(queue)
            while length is not None:
                found.append(length)
                length = self.take(queue)
            return len(found) >= n
        until(more, f"{n} requests to come back")
        return found

    def request(self, *out, into=(), queue=0):
        """One request: what the device wrote, as long as it says it is."""
        places = self.offer(out, into, queue)
        self.kick(queue)
        length, = self.collect(1, queue)
        return b"".join(bytes(self.memory[at:at + size]) for at, size in places)[:length]

    def close(self):
        self.memory = None
        self.run(self.frontend.close)
        self.executor.shutdown()


def serve(backend, **properties):
    """A started daemon and the other end of its connection."""
    ours, theirs = socket.socketpair()
    daemon = Vhost.Daemon(name="test", backend=backend, **properties)
    daemon.adopt_fd(ours.detach())
    daemon.start()
    return daemon, theirs.detach()


def stop(daemon):
    daemon.stop_async(None, None)
    until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, "the daemon to stop")


@contextlib.contextmanager
def pair(backend, features=VERSION_1, queues=1, start=True, **properties):
    """A device and its driver."""
    daemon, fd = serve(backend, **properties)
    driver = Driver(daemon, fd)
    try:
        if start:
            driver.start(features, queues)
        yield driver
    finally:
        driver.close()
        stop(daemon)


def data(value):
    """Bytes, whether the library's or Python's own."""
    return value.get_data() if isinstance(value, GLib.Bytes) else value


def descriptors():
    return len(os.listdir("/proc/self/fd"))


__all__ = ["Driver", "GLib", "Vhost", "data", "descriptors", "pair", "serve", "stop", "tap", "until", "vm"]
