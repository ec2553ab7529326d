#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The front-end in Python: negotiation, configuration space, memory, messages, and lives of a connection."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import weakref

from driver import GLib, Vhost, descriptors, tap, until, vm


@Vhost.device("made-up", virtio_id=42, queues=2)
class Device(Vhost.Backend):
    """Answers each request with its bytes backwards."""
    def do_get_config(self):
        return bytes(getattr(self, "space", b"12345678"))

    def do_set_config(self, offset, data, kind):
        space = bytearray(getattr(self, "space", b"12345678"))
        space[offset:offset + len(data)] = data
        self.space = bytes(space)

    def do_process_chain(self, queue, chain):
        chain.complete(chain.write(chain.read()[::-1]))


def raises(code, function, *arguments, **options):
    """The text of the Vhost.Error that a call raises."""
    try:
        function(*arguments, **options)
    except GLib.Error as error:
        if not error.matches(Vhost.error_quark(), code):
            raise
        return error.message
    raise vm.Failed(f"{function} did not raise {code}")


@tap.test("a device of the same thread answers, with no socket path")
def pair():
    with Vhost.Frontend.pair(Device()) as fe:
        tap.equal(fe.queue(0).request(out=[b"abc", b"def"], in_size=64), b"fedcba", "the answer")
        tap.equal(fe.daemon.props.state, Vhost.DaemonState.RUNNING, "the daemon's state")
        daemon = fe.daemon
    tap.equal(daemon.props.state, Vhost.DaemonState.STOPPED, "the daemon's state afterwards")


@tap.test("features are chosen by name, by bit or by mask; unknown names are told")
def features():
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate(features={"VIRTIO_F_RING_PACKED"})
        tap.equal({"VERSION_1", "RING_PACKED", "PROTOCOL_FEATURES"}, set(fe.feature_names), "by name")
        tap.equal(fe.queue(0).request(b"ab", 8), b"ba", "a packed ring's answer")
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate(features=[29], protocol_features=["REPLY_ACK"])
        tap.equal("RING_EVENT_IDX" in fe.feature_names, True, "by bit")
        tap.equal(fe.protocol_feature_names, ["REPLY_ACK"], "protocol features")
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate(features=1 << 32)
        tap.equal(fe.get_features(), 1 << 32 | 1 << 30, "by mask")
        try:
            fe.negotiate(features={"NO_SUCH"})
        except ValueError as error:
            tap.equal("NO_SUCH" in str(error), True, "the text")
        else:
            raise vm.Failed("a name that does not exist was taken")
        text = raises(Vhost.Error.NOT_NEGOTIATED, fe.negotiate, features=[50])
        tap.equal("50" in text, True, text)


@tap.test("the configuration space is read and written")
def config():
    with Vhost.Frontend.pair(Device()) as fe:
        tap.equal(fe.read_config().rstrip(b"\0"), b"12345678", "all of it")
        tap.equal(fe.read_config(4, 2), b"56", "a part")
        fe.write_config(b"xy", offset=2)
        tap.equal(fe.read_config(0, 8), b"12xy5678", "what was written")


@tap.test("handlers of signals are connected to an object, and paths opened by the class")
def connect():
    heard = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        daemon = Vhost.Daemon(backend=Device(), socket_path=path)
        daemon.start()
        with Vhost.Frontend.connect(path) as fe:
            handler = fe.connect("notify::features", lambda *_: heard.append(1))
            fe.negotiate()
            tap.equal(heard, [1], "notifications")
            fe.disconnect(handler)
            tap.equal(fe.is_connected(), True, "the connection")
            tap.equal(fe.queue(1).request(b"abc", 3), b"cba", "the answer")
        daemon.stop_async(None, None)
        until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, "the daemon")
        raises(Vhost.Error.SOCKET, Vhost.Frontend.open, path)


@tap.test("a configuration change is heard while the main context runs")
def changed():
    heard = []
    device = Device()
    with Vhost.Frontend.pair(device) as fe:
        fe.connect("config-changed", lambda *_: heard.append(1))
        fe.queue(0)
        device.notify_config()
        until(lambda: heard, "the signal")


@tap.test("guest memory is a view that outlives the front-end")
def memory():
    with Vhost.Frontend.pair(Device()) as fe:
        fe.add_memory(0x10000, 0x10000)
        view = fe.memory(0x10010, 4)
        view[:] = b"abcd"
        tap.equal(bytes(fe.memory(0x10008, 16)), b"\0" * 8 + b"abcd" + b"\0" * 4, "the bytes")
        for address, length in ((0x20000, 1), (0x1fffc, 5), (0xffff, 1), (0x10000, -1), (1 << 64, 1)):
            try:
                fe.memory(address, length)
            except IndexError as error:
                tap.equal("add_memory" in str(error), True, "the text")
            else:
                raise vm.Failed(f"there is memory at {address:x}+{length}")
        fe.remove_memory(0x10000)
        tap.equal(fe.find_memory(0x10010)[0], False, "the region")
        fe.add_memory(0x10000, 0x10000)
        tap.equal(bytes(fe.memory(0x10010, 4)), b"\0" * 4, "a new region")
    del fe
    gc.collect()
    view[:2] = b"xy"
    tap.equal(bytes(view), b"xycd", "the view")


@tap.test("a connection that is killed is made again, and requests go on")
def reconnect():
    with Vhost.Frontend.pair(Device()) as fe:
        queue = fe.queue(0)
        for i in range(5):
            tap.equal(queue.request(b"%d" % i, 8), b"%d" % i, "an answer")
            fe.kill()
            tap.equal(fe.is_connected(), False, "the connection")
            fe.reconnect()
        tap.equal(queue.request(b"ab", 8), b"ba", "the last answer")


@tap.test("requests in flight when the connection dies are answered by the next one")
def inflight():
    kept = []

    @Vhost.device("made-up", virtio_id=42)
    class Keeper(Vhost.Backend):
        def do_process_chain(self, queue, chain):
            kept.append(chain)

    with Vhost.Frontend.pair(Keeper(), drain_timeout=20) as fe:
        requests = [fe.queue(0).request_async(b"x", 8) for _ in range(3)]
        until(lambda: len(kept) == 3, "the requests")
        fe.kill()
        until(lambda: fe.daemon.props.state != Vhost.DaemonState.RUNNING, "the end of the session")
        while kept:
            kept.pop().complete(0)
        fe.reconnect()
        until(lambda: len(kept) == 3, "the requests once more")
        while kept:
            chain = kept.pop()
            chain.complete(chain.write(b"done"))
        tap.equal([request.result() for request in requests], [b"done"] * 3, "the answers")


@tap.test("messages are sent right and wrong")
def messages():
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate()
        tap.equal(len(fe.message(1)), 8, "bytes of GET_FEATURES")
        read, write = os.pipe()
        fe.send(13, (0).to_bytes(8, "little"), [write], 9)
        number, flags, payload, fds = fe.receive()
        tap.equal((number, flags, fds), (13, 5, []), "the acknowledgement")
        os.close(read)
        os.close(write)
        fe.send_raw(b"\xff" * 64)
        raises(Vhost.Error.DISCONNECTED, fe.receive)
        fe.reconnect()
        tap.equal(fe.queue(0).request(b"ab", 2), b"ba", "the answer to the next front-end")


@tap.test("descriptors that come with an answer are handed over")
def answers_with_descriptors():
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate()
        size = (0).to_bytes(16, "little") + (1).to_bytes(2, "little") + (64).to_bytes(2, "little") + bytes(4)
        fe.send(31, size)
        number, _, payload, fds = fe.receive()
        tap.equal((number, len(fds)), (31, 1), "GET_INFLIGHT_FD's answer")
        tap.equal(os.fstat(fds[0]).st_size >= int.from_bytes(payload[:8], "little"), True, "the file's size")
        os.close(fds[0])


@tap.test("a device's state is saved and loaded, and the log tells what it wrote")
def state_and_log():
    class Stateful(Device):
        n = 0

        def do_get_state(self):
            return b"%d" % self.n

        def do_set_state(self, data, *_):
            self.n = int(data)

    device = Stateful()
    with Vhost.Frontend.pair(device) as fe:
        fe.queue(0).request(b"abc", 3)
        fe.start_log()
        tap.equal(fe.log_count(), 0, "dirty pages at first")
        fe.queue(0).request(b"abc", 3)
        tap.equal(fe.log_count() > 0, True, "dirty pages")
        fe.stop_log()
        fe.queue(0).stop()
        device.n = 7
        state = fe.save_state()
        tap.equal(state.get_data(), b"7", "the state")
        device.n = 0
        fe.load_state(state)
        tap.equal(device.n, 7, "the state that was loaded")


@tap.test("a device behind an IOMMU is told the driver's translations")
def iotlb():
    with Vhost.Frontend.pair(Device()) as fe:
        fe.negotiate(features={"ACCESS_PLATFORM"})
        fe.add_memory(1 << 32, 1 << 20)
        fe.iotlb_map(1 << 32, 1 << 20, 1 << 32, 3)
        tap.equal(fe.queue(0).request(b"abc", 3), b"cba", "the answer")
        fe.iotlb_unmap(1 << 32, 1 << 20)


@tap.test("a wait for an answer ends after the timeout, and refuses a second one inside")
def nested():
    import socket
    ours, theirs = socket.socketpair()
    fe = Vhost.Frontend(iterate_context=True, timeout=100)
    fe.connect_take_fd(ours.detach())
    inside = []

    def later():
        inside.append(raises(Vhost.Error.BUSY, fe.negotiate))
        return False
    GLib.timeout_add(10, later)
    text = raises(Vhost.Error.TIMED_OUT, fe.negotiate)
    tap.equal("GET_FEATURES" in text, True, text)
    tap.equal(len(inside), 1, "calls inside")

    def close():
        fe.kill()
        return False
    GLib.timeout_add(10, close)
    fe.props.timeout = 10000
    raises(Vhost.Error.DISCONNECTED, fe.negotiate)
    theirs.close()


@tap.test("connections leave no descriptor and no object behind")
def leaks():
    def once():
        with Vhost.Frontend.pair(Device()) as fe:
            fe.queue(0).request(b"abc", 8)
            fe.queue(0).request_async(b"abc", 8).wait()
            return weakref.ref(fe.queue(0)), fe.weak_ref()
    once()
    gc.collect()
    before = descriptors()
    references = [once() for _ in range(20)]
    gc.collect()
    tap.equal([reference for both in references for reference in both if reference() is not None], [], "objects")
    tap.equal(descriptors(), before, "descriptors")


@tap.test("the shell shows what a device offers, and runs what it is told")
def shell():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        daemon = Vhost.Daemon(backend=Device(), socket_path=path)
        daemon.start()
        results = []

        def run(*words, text=""):
            return subprocess.run([sys.executable, "-m", "libvhostd.shell", *words], input=text, capture_output=True,
                                  text=True, check=False, timeout=60)

        def work():
            results.append(run(path, text="print(fe.queue(0).request(b'abc', 8))\nprint(Vhost.Error.BUSY)\n"))
            results.append(run(path + "x"))
        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: not thread.is_alive(), "the shell")
        daemon.stop_async(None, None)
        until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, "the daemon")
        tap.equal(results[0].returncode, 0, results[0].stderr)
        tap.equal("b'cba'" in results[0].stdout, True, results[0].stdout)
        tap.equal("2 queues" in results[0].stderr and "VERSION_1" in results[0].stderr, True, results[0].stderr)
        tap.equal("8 bytes" in results[0].stderr, True, results[0].stderr)
        tap.equal((results[1].returncode, "no such socket" in results[1].stderr), (1, True), results[1].stderr)


tap.main()
