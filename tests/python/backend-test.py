#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices in Python: every method that the library calls, the configuration space, errors, threads, coroutines."""

import asyncio
import contextlib
import ctypes
import io
import os
import socket
import tempfile
import threading

from gi.repository import Gio, GObject

from driver import GLib, Vhost, data, descriptors, pair, serve, stop, tap, until, vm


@contextlib.contextmanager
def quiet():
    """Tracebacks that are meant; the warnings of the library are not caught."""
    with contextlib.redirect_stderr(io.StringIO()) as text:
        yield text


def fails(code, function, *arguments):
    try:
        function(*arguments)
    except GLib.Error as error:
        if code is not None and not error.matches(Vhost.error_quark(), code):
            raise vm.Failed(f"not that error: {error}") from error
        return error.message
    raise vm.Failed(f"{function} did not fail")


@tap.test("the decorator says what the device is")
def decorator():
    @Vhost.device("input")
    class Input(Vhost.Backend):
        pass

    @Vhost.device("made-up", virtio_id=77, queues=3, max_queues=5)
    class MadeUp(Vhost.Backend):
        pass

    class Child(MadeUp):
        pass

    for kind, name, number, queues in ((Input, "input", 18, 2), (MadeUp, "made-up", 77, 3), (Child, "made-up", 77, 3)):
        backend = kind()
        tap.equal((backend.get_device_name(), backend.get_virtio_id(), backend.get_num_queues()),
                  (name, number, queues), kind.__name__)
        tap.equal(backend.props.workers, 0, "workers of a script")
    tap.equal(MadeUp(num_queues=5, workers=2).props.workers, 2, "workers that were asked for")
    for arguments in (("no such thing",), ("rng", 0), ("rng", 4, 300), (Input,)):
        try:
            Vhost.device(*arguments)
        except (TypeError, ValueError):
            continue
        raise vm.Failed(f"device{arguments} was accepted")


@tap.test("properties are what they are in C, with defaults and ranges")
def properties():
    class Device(Vhost.Backend):
        fail_every = GObject.Property(type=int, default=3, minimum=0, maximum=9, blurb="Every Nth")

    device = Device(fail_every=5)
    tap.equal((device.fail_every, device.get_property("fail-every"), Device().fail_every), (5, 5, 3), "the values")
    tap.equal(Device.find_property("fail-every").blurb, "Every Nth", "the blurb")


@tap.test("every method of a device is called, in order, with what it is meant to get")
def methods():
    calls = []

    @Vhost.device("net", queues=1)
    class All(Vhost.Backend):
        def do_get_features(self):
            return 1 << 3 | 1 << 21
        def do_features_acked(self, features):
            calls.append(("acked", bool(features & 1 << 3)))
        def do_get_config(self):
            return b"configuration"
        def do_set_config(self, offset, data, flags):
            calls.append(("set_config", offset, data, flags == Vhost.ConfigFlags.WRITABLE))
        def do_start(self):
            calls.append("start")
        def do_stop(self):
            calls.append("stop")
        def do_activate(self):
            calls.append("activate")
        def do_suspend(self):
            calls.append("suspend")
        def do_reset(self):
            calls.append("reset")
        def do_queue_started(self, queue):
            calls.append(("started", queue.get_index(), queue.get_size()))
        def do_queue_stopping(self, queue):
            calls.append("stopping")
            for chain in self.parked:
                chain.complete(2)
        def do_queue_stopped(self, queue):
            calls.append("stopped")
        def do_memory_changed(self, memory):
            calls.append(("memory", memory.get_n_regions()))
        def do_worker_started(self, worker):
            calls.append("worker started")
        def do_worker_stopped(self, worker):
            calls.append("worker stopped")
        def do_get_state(self):
            return b"state"
        def do_set_state(self, state):
            calls.append(("set_state", state))
        def do_announce(self, mac):
            calls.append(("announce", mac))
        def do_set_mtu(self, mtu):
            calls.append(("mtu", mtu))
        def do_create_crypto_session(self, description):
            return 42
        def do_close_crypto_session(self, number):
            calls.append(("close", number))
        def do_set_gpu_socket(self, fd):
            calls.append("gpu socket")
            os.close(fd)
        def do_get_shared_object(self, uuid):
            return os.open("/dev/null", os.O_RDONLY)
        def do_process_chain(self, queue, chain):
            self.parked.append(chain)

    device = All()
    device.parked = []
    device.set_shared_objects(True)
    with pair(device, features=1 << 32 | 1 << 3 | 1 << 21) as driver:
        front = driver.frontend
        tap.equal(driver.run(front.get_config, 3, 5).get_data(), b"figur", "get_config")
        driver.run(front.set_config, 1, GLib.Bytes.new(b"xy"), 0)
        driver.run(front.set_mtu, 1500)
        driver.run(front.send_rarp, b"abcdef")
        tap.equal(driver.run(front.create_crypto_session, GLib.Bytes.new(bytes(900))).get_size() > 0, True, "a session")
        driver.run(front.close_crypto_session, 42)
        ours, theirs = socket.socketpair()
        driver.run(front.set_gpu_socket, theirs.detach())
        ours.close()
        os.close(driver.run(front.get_shared_object, list(range(16))))
        driver.offer((), (8,))
        driver.kick()
        until(lambda: device.parked, "the request")
        driver.run(front.stop_queue, 0)
        tap.equal(driver.collect(1), [2], "what the parked request was given")
        tap.equal(data(driver.run(front.save_state, 1 << 20)), b"state", "get_state")
        driver.run(front.load_state, b"other")
        driver.run(front.reset_device)
    flat = [call if isinstance(call, str) else call[0] for call in calls]
    for wanted in ("start", "worker started", "acked", "memory", "set_config", "mtu", "announce", "close", "gpu socket", "activate", "started", "stopping",
                   "stopped", "suspend", "set_state", "reset", "worker stopped", "stop"):
        tap.equal(wanted in flat, True, f"a call of {wanted} in {flat}")
    tap.equal([call for call in calls if call[0] in ("set_config", "mtu", "started", "set_state")],
              [("started", 0, 256), ("set_config", 1, b"xy", True), ("mtu", 1500), ("set_state", b"other")], "arguments")
    tap.equal((flat[0], flat[-1]), ("start", "stop"), "the first and the last")


@tap.test("an array of a configuration space takes as many numbers as it has")
def arrays():
    space = Vhost.config_space("mac:6B", "speeds:2H", "one:B")()
    space.mac, space.speeds, space.one = b"\1\2\3\4\5\6", [1, 512], 7
    tap.equal(bytes(space), b"\1\2\3\4\5\6\1\0\0\2\7", "the space")
    space.mac = space.mac
    tap.equal((bytes(space.mac), list(space.speeds)), (b"\1\2\3\4\5\6", [1, 512]), "what it has")
    for wrong in (b"12345", b"1234567", b""):
        try:
            space.mac = wrong
        except ValueError as error:
            tap.equal(f"mac has 6 numbers, not {len(wrong)}" in str(error), True, str(error))
        else:
            raise vm.Failed(f"{wrong} was taken")


@tap.test("a configuration space is a structure whose fields are live")
def configuration():
    @Vhost.device("block")
    class Disk(Vhost.Backend):
        class Config(ctypes.LittleEndianStructure):
            _pack_ = 1
            _fields_ = [("capacity", ctypes.c_uint64), ("sizes", ctypes.c_uint32 * 2), ("writeback", ctypes.c_uint8)]
            _writable_ = ["writeback"]

        refuse = False

        def do_set_config(self, offset, data, flags):
            if self.refuse:
                raise ValueError("not now")

    disk = Disk()
    disk.config.capacity = 0x1122
    disk.config.sizes[1] = 7
    written = []
    disk.connect("config-written", lambda disk, offset, length: written.append((offset, length)))
    with pair(disk) as driver:
        def get():
            return driver.run(driver.frontend.get_config, 0, 18).get_data()

        def put(offset, data):
            driver.run(driver.frontend.set_config, offset, GLib.Bytes.new(data), 0)
        tap.equal(get(), b"\x22\x11" + bytes(10) + b"\7" + bytes(5), "what the driver reads")
        put(16, b"\1")
        tap.equal((disk.config.writeback, written), (1, [(16, 1)]), "what the driver wrote")
        disk.config.writeback = 3
        disk.notify_config()
        tap.equal(get()[16], 3, "what the device changed")
        fails(None, put, 0, b"\0")
        fails(None, put, 15, b"\1\1")
        fails(None, put, 250, b"\1")
        put(14, b"\0\0\5")
        tap.equal((disk.config.capacity, disk.config.writeback), (0x1122, 5), "after a write of what did not change, too")
        disk.refuse = True
        with quiet():
            fails(None, put, 16, b"\6")
        tap.equal(disk.config.writeback, 5, "after one that the device refused")


@tap.test("a configuration space is described in short, or given as bytes")
def configuration_in_short():
    class Short(Vhost.Backend):
        Config = Vhost.config_space("mac:6B", "status:H", "mtu:I", writable=["status"])

    class Bytes(Vhost.Backend):
        pass

    short = Short()
    short.config.mac[:] = b"abcdef"
    short.config.mtu = 0x01020304
    plain = Bytes()
    plain.set_config_space(b"0123", b"\0\0\0\xff")
    with pair(short) as driver:
        tap.equal(driver.run(driver.frontend.get_config, 0, 12).get_data(), b"abcdef\0\0\4\3\2\1", "the structure")
        driver.run(driver.frontend.set_config, 6, GLib.Bytes.new(b"\7\0"), 0)
        tap.equal(short.config.status, 7, "the field")
    with pair(plain) as driver:
        driver.run(driver.frontend.set_config, 3, GLib.Bytes.new(b"x"), 0)
        tap.equal(driver.run(driver.frontend.get_config, 0, 4).get_data(), b"012x", "the bytes")
    for wrong in (("x",), ("x:Z",), ("x:xB",)):
        try:
            Vhost.config_space(*wrong)
        except ValueError:
            continue
        raise vm.Failed(f"{wrong} was accepted")


@tap.test("an exception in a method is an error, and the signal says so")
def exceptions():
    class Bad(Vhost.Backend):
        def do_start(self):
            if self.bad_start:
                raise OSError("no such image")
        def do_get_config(self):
            return 1 / 0
        def do_process_chain(self, queue, chain):
            chain.write(b"some")
            raise KeyError("lost")

    bad = Bad()
    errors = []
    bad.connect("error", lambda bad, error: errors.append(error.message))
    bad.bad_start = True
    with quiet() as text:
        daemon = Vhost.Daemon(name="bad", backend=bad)
        daemon.props.socket_path = os.path.join(tempfile.mkdtemp(), "socket")
        message = fails(Vhost.Error.BACKEND, daemon.start)
        tap.equal((message, errors), ("do_start: OSError: no such image", []), "the error of do_start, told once")
        bad.bad_start = False
        errors.clear()
        with pair(bad) as driver:
            fails(None, driver.run, driver.frontend.get_config, 0, 4)
            for _ in range(50):
                tap.equal(driver.request(b"x", into=(8,)), b"", "the answer")
    tap.equal(errors[0], "do_get_config: ZeroDivisionError: division by zero", "the first error")
    tap.equal(errors[1:], ["do_process_chain: KeyError: 'lost'"] * 50, "the others")
    tap.equal(0 < text.getvalue().count("Traceback") <= 20, True, "tracebacks are limited")


@tap.test("a GLib.Error goes through as it is")
def own_errors():
    class Busy(Vhost.Backend):
        def do_get_config(self):
            raise GLib.Error.new_literal(Vhost.error_quark(), "not yet", Vhost.Error.BUSY)
        def do_process_chain(self, queue, chain):
            chain.complete(0)

    with pair(Busy()) as driver:
        fails(None, driver.run, driver.frontend.get_config, 0, 4)


@tap.test("a handler of the daemon's signal kick is enough for a device")
def kick():
    backend = Vhost.Backend.new_simple("rng", 4, 1)
    daemon, fd = serve(backend)

    errors = []
    backend.connect("error", lambda backend, error: errors.append(error.message))

    def serve_kick(daemon, queue):
        for chain in queue:
            with chain:
                if chain.read() == b"bad":
                    raise ValueError("bad")
                chain.write(b"kicked")
    daemon.connect("kick", serve_kick)
    import driver as drivers
    driver = drivers.Driver(daemon, fd)
    try:
        driver.start()
        tap.equal(driver.request(into=(16,)), b"kicked", "the answer")
        with quiet() as text:
            for _ in range(50):
                tap.equal(driver.request(b"bad", into=(16,)), b"", "the answer to a bad one")
        tap.equal((errors, text.getvalue().count("Traceback") <= 20), (["kick: ValueError: bad"] * 50, True), "errors")
    finally:
        driver.close()
        stop(daemon)


@tap.test("worker threads call into Python, each with one state for its life")
def workers():
    seen = set()

    @Vhost.device("rng", queues=3)
    class Threads(Vhost.Backend):
        def do_process_chain(self, queue, chain):
            seen.add((queue.get_index(), threading.get_ident()))
            local.count = getattr(local, "count", 0) + 1
            chain.write(b"%d" % local.count)
            chain.complete()

    local = threading.local()
    with pair(Threads(workers=3), queues=3) as driver:
        for turn in range(1, 4):
            for queue in range(3):
                tap.equal(driver.request(into=(4,), queue=queue), b"%d" % turn, "what the thread counts by itself")
    tap.equal((len(seen), len({thread for _, thread in seen})), (3, 3), "threads")
    tap.equal(threading.get_ident() in {thread for _, thread in seen}, False, "the main thread served")


@tap.test("a coroutine awaits timers of asyncio, calls of GIO, and others beside it")
def coroutines():
    folder = tempfile.mkdtemp()
    file = Gio.File.new_for_path(os.path.join(folder, "data"))
    file.replace_contents(b"from a file", None, False, Gio.FileCreateFlags.NONE, None)

    class Later(Vhost.Backend):
        async def do_process_chain(self, queue, chain):
            with chain:
                what = chain.read()
                if what == b"sleep":
                    await asyncio.sleep(0.01)
                elif what == b"file":
                    what = (await Vhost.gio(file, "load_contents"))[1]
                elif what == b"missing":
                    await Vhost.gio(Gio.File.new_for_path("/no/such/file"), "load_contents")
                elif what == b"fail":
                    await asyncio.sleep(0)
                    raise ValueError("late")
                chain.write(what)

    with pair(Later(workers=2), queues=1) as driver:
        tap.equal(driver.request(b"sleep", into=(32,)), b"sleep", "on a worker thread")
        tap.equal(driver.request(b"file", into=(32,)), b"from a file", "GIO on a worker thread")
    later = Later()
    errors = []
    later.connect("error", lambda later, error: errors.append(error.message))
    with quiet(), pair(later) as driver:
        for out, answer in ((b"now", b"now"), (b"sleep", b"sleep"), (b"file", b"from a file"), (b"missing", b""),
                            (b"fail", b"")):
            tap.equal(driver.request(out, into=(32,)), answer, f"the answer to {out}")
        for _ in range(20):
            driver.offer((b"sleep",), (8,))
        driver.kick()
        tap.equal(driver.collect(20), [5] * 20, "twenty at once")
    tap.equal((len(errors), "late" in errors[1]), (2, True), "errors")


@tap.test("front-ends come and go, and nothing stays")
def connections():
    long = bool(os.environ.get("VHOST_TEST_LONG"))

    class Plain(Vhost.Backend):
        def do_process_chain(self, queue, chain):
            chain.write(b"x")
            chain.complete()

    def once(n):
        for _ in range(n):
            with pair(Plain()) as driver:
                driver.request(into=(1,))

    once(20)
    objects()
    before = (descriptors(), threading.active_count(), objects())
    size, used = resident(), allocated()
    once(10000 if long else 300)
    tap.equal((descriptors(), threading.active_count(), objects()), before, "descriptors, threads and objects")
    grown, used = resident() - size, allocated() - used
    print(f"# {grown} bytes more resident, {used} more allocated")
    tap.equal((grown < 1 << 20, used < 64 << 10), (True, True), f"growth of {grown} bytes, {used} allocated, is small")


@tap.test("requests come and go, and nothing stays")
def requests():
    long = bool(os.environ.get("VHOST_TEST_LONG"))

    class Plain(Vhost.Backend):
        served = 0

        def do_process_chain(self, queue, chain):
            self.served += 1
            chain.read(1)
            for segment in chain:
                segment[:1] = b"y"
            chain.complete(1)

    plain = Plain()
    with pair(plain) as driver:
        def turn(n):
            for _ in range(n // 100):
                for _ in range(100):
                    driver.offer((b"x",), (1,))
                driver.kick()
                driver.collect(100)
        turn(5000)
        before = (descriptors(), objects())
        size, used = resident(), allocated()
        turn(1000000 if long else 45000)
        tap.equal((descriptors(), objects()), before, "descriptors and objects")
        grown, used = resident() - size, allocated() - used
        print(f"# {plain.served} requests, {grown} bytes more resident, {used} more allocated")
        tap.equal((grown < 1 << 20, used < 64 << 10), (True, True), f"growth of {grown} bytes, {used} allocated, is small")


def objects():
    import gc
    gc.collect()
    return sum(isinstance(found, (GObject.Object, memoryview)) or type(found).__name__ in ("Chain", "GuestMemory", "_Hold")
               for found in gc.get_objects())


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                                                     "uordblks", "fordblks", "keepcost")]


_mallinfo = ctypes.CDLL(None).mallinfo2
_mallinfo.restype = _Mallinfo


def allocated():
    """Bytes that malloc () has given and not got back; Python's small objects are not among them."""
    return _mallinfo().uordblks


def resident():
    """Bytes of the process's own; guest memory that is touched for the first time is not counted."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon:"))


tap.main()
