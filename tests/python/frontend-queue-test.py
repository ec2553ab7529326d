#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests from Python: sync and async, on rings of every kind, with descriptors that break the rules."""

import asyncio
import os

from driver import GLib, Vhost, tap, until, vm

# Descriptor flags.
NEXT, WRITE, INDIRECT = 1, 2, 4
SPLIT, PACKED = {"RING_INDIRECT_DESC", "RING_EVENT_IDX"}, {"RING_PACKED", "RING_INDIRECT_DESC", "RING_EVENT_IDX"}


@Vhost.device("made-up", virtio_id=42, queues=2)
class Echo(Vhost.Backend):
    """Answers each request with its bytes backwards."""

    def do_process_chain(self, queue, chain):
        chain.complete(chain.write(chain.read()[::-1]))


@Vhost.device("made-up", virtio_id=42, queues=2)
class Keeper(Vhost.Backend):
    """Keeps its requests."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def do_process_chain(self, queue, chain):
        self.kept.append(chain)


def raises(code, function, *arguments, **options):
    """The text of the Vhost.Error that a call raises."""
    try:
        function(*arguments, **options)
    except GLib.Error as error:
        if not error.matches(Vhost.error_quark(), code):
            raise
        return error.message
    raise vm.Failed(f"{function} did not raise {code}")


def rings(backend=Echo):
    for features in (set(), SPLIT, {"RING_PACKED"}, PACKED):
        with Vhost.Frontend.pair(backend()) as fe:
            yield fe.negotiate(features)


@tap.test("what lies behind the length that the device says can be seen")
def whole():
    @Vhost.device("short", virtio_id=61, queues=1)
    class Short(Vhost.Backend):
        def do_process_chain(self, queue, chain):
            chain.write(b"status", -6)
            chain.complete(0)
    with Vhost.Frontend.pair(Short()) as fe:
        request = fe.queue(0).request_async(in_size=[10, 2]).wait()
        tap.equal((request.data, request.length, request.whole[6:]), (b"", 0, b"status"), "all of it")


@tap.test("requests of several buffers are answered on rings of every kind")
def buffers():
    for fe in rings():
        for indirect in (False, True):
            tap.equal(fe.queue(0).request([b"ab", b"", b"cd"], [1, 2, 9], indirect=indirect), b"dcba", "an answer")
            tap.equal(fe.queue(1).request(b"x" * 100000, 100000, indirect=indirect), b"x" * 100000, "a long one")
        tap.equal(fe.queue(0).request(b"nothing comes back"), b"", "an answer without room")
        tap.equal(fe.queue(0).request(in_size=8), b"", "an answer to nothing")
        tap.equal(fe.queue(0).request(memoryview(b"ab"), 1), b"b", "an answer that is cut off")


@tap.test("many requests are under way, and come back to their callbacks")
def many():
    for fe in rings():
        got = []
        queue = fe.queue(0, 64)
        for round in range(10):
            requests = [queue.request_async(b"%02d" % i, 2, got.append) for i in range(32)]
            until(lambda: len(got) == 32 * (round + 1), "the callbacks")
            tap.equal([request.data for request in requests], [(b"%02d" % i)[::-1] for i in range(32)], "the answers")
        tap.equal(queue.in_flight, 0, "requests under way")
        tap.equal(queue.ring.get_free(), 64, "free descriptors")


@tap.test("a coroutine awaits requests")
def coroutine():
    async def ask(queue):
        first = await queue.request_async(b"ab", 2)
        return [first, *await asyncio.gather(wrap(queue.request_async(b"cd", 2)), wrap(queue.request_async(b"ef", 2)))]

    async def wrap(request):
        return await request
    with Vhost.Frontend.pair(Echo()) as fe:
        task = Vhost.event_loop().create_task(ask(fe.queue(0)))
        until(task.done, "the coroutine")
        tap.equal(task.result(), [b"ba", b"dc", b"fe"], "the answers")


@tap.test("a callback that raises keeps no other from its turn")
def callback_raises():
    import contextlib
    import io
    got = []

    def bad(request):
        raise RuntimeError("on purpose")
    with contextlib.redirect_stderr(io.StringIO()) as text, Vhost.Frontend.pair(Echo()) as fe:
        fe.queue(0).request_async(b"a", 1, bad)
        fe.queue(0).request_async(b"b", 1, got.append)
        until(lambda: got, "the second callback")
    tap.equal("on purpose" in text.getvalue(), True, text.getvalue())


@tap.test("a full ring is an error for a request that does not wait, and waited for by one that does")
def full():
    backend = Keeper()
    with Vhost.Frontend.pair(backend) as fe:
        queue = fe.queue(0, 4)
        requests = [queue.request_async(b"a", 1) for _ in range(2)]
        text = raises(Vhost.Error.BUSY, queue.request_async, b"a", 1)
        tap.equal("queue 0 has no room: 0 of 4" in text, True, text)

        def complete():
            for chain in backend.kept:
                chain.complete(chain.write(b"z"))
            backend.kept.clear()
            return True
        source = GLib.timeout_add(20, complete)
        tap.equal(queue.request(b"b", 1), b"z", "the answer")
        GLib.source_remove(source)
        tap.equal([request.result() for request in requests], [b"z", b"z"], "the ones before")
        for arguments in (((), 0), ([b"a"] * 5, 0), (b"a", -1)):
            try:
                queue.request(*arguments)
            except ValueError:
                pass
            else:
                raise vm.Failed(f"{arguments} was taken")


@tap.test("a device that answers by a timeout is waited for, one that never does is not")
def late():
    class Late(Keeper):
        def do_process_chain(self, queue, chain):
            if chain.read() == b"never":
                self.kept.append(chain)
            else:
                GLib.timeout_add(10, lambda: chain.complete(chain.write(b"late")) and False)

    backend = Late()
    with Vhost.Frontend.pair(backend) as fe:
        tap.equal(fe.queue(0).request(b"x", 8), b"late", "the answer")
        text = raises(Vhost.Error.TIMED_OUT, fe.queue(0).request, b"never", 8, timeout=0.05)
        tap.equal("queue 0 within 0.05 s" in text, True, text)
        tap.equal(fe.queue(0).in_flight, 1, "requests under way")
        backend.kept.pop().complete(0)
        fe.queue(0).wait()
        tap.equal(fe.queue(0).request(b"x", 8), b"late", "the next answer")
        fe.daemon.close_sessions()
        raises(Vhost.Error.DISCONNECTED, fe.queue(0).request, b"x", 8)


@tap.test("a device that claims to have written more than it was given is told of")
def claims():
    with Vhost.Frontend.pair(Keeper()) as fe:
        queue = fe.queue(0)
        request = queue.request_async(b"a", 8)
        descriptors, available, used = queue.addresses
        # The used ring's first entry, then its index: what a device would write.
        fe.memory(used + 4, 8)[:] = (0).to_bytes(4, "little") + (99).to_bytes(4, "little")
        fe.memory(used + 2, 2)[:] = (1).to_bytes(2, "little")
        text = raises(Vhost.Error.PROTOCOL, request.result)
        tap.equal("99 bytes into 8" in text, True, text)
        tap.equal((request.length, len(request.data)), (99, 8), "what is there")


@tap.test("descriptors are written as they are told, and a device survives the bad ones")
def raw():
    cases = {
        "good": ([(None, 4, NEXT, 1), (None, 4, WRITE, 0)], 0, b"dcba"),
        "another head": ([(None, 4, WRITE, 0), (None, 4, NEXT, 0)], 1, b"dcba"),
        "a loop": ([(None, 4, NEXT, 0)], 0, None),
        "a next outside of the ring": ([(None, 4, NEXT, 60000)], 0, None),
        "an address outside of memory": ([(1 << 60, 4, WRITE, 0)], 0, None),
        "a length beyond memory": ([(None, (1 << 32) - 1, WRITE, 0)], 0, None),
        "an indirect table of an odd size": ([(None, 17, INDIRECT, 0)], 0, None),
    }
    for features in (set(), {"RING_PACKED"}):
        for name, (descriptors, head, answer) in cases.items():
            if features and head:
                continue
            with Vhost.Frontend.pair(Echo()) as fe:
                queue = fe.negotiate(features).queue(0, 16)
                where = fe.allocate(4096, 4096)
                fe.memory(where + 16 * head, 4)[:] = b"abcd"
                request = queue.add_raw([(where + 16 * i if address is None else address, *rest)
                                         for i, (address, *rest) in enumerate(descriptors)], head)
                if answer:
                    request.wait()
                    tap.equal(request.length, 4, name)
                    tap.equal(bytes(fe.memory(where + 16 * (1 - head), 4)), answer, name)
                    tap.equal(queue.request(b"ab", 2), b"ba", f"a request after: {name}")
                # Whatever the device made of it, it serves the next front-end.
                fe.kill()
            with Vhost.Frontend.pair(Echo()) as fe:
                tap.equal(fe.queue(0).request(b"ab", 2), b"ba", f"a new connection after: {name}")
    with Vhost.Frontend.pair(Echo()) as fe:
        for descriptors, head in (([], 0), ([(0, 0, 0, 0)], 1), ([(0, 0, 0, 0)] * 17, 0)):
            raises(Vhost.Error.BUSY, fe.queue(0, 16).add_raw, descriptors, head)


@tap.test("a queue is stopped, and goes on where it was")
def stop():
    for fe in rings():
        queue = fe.queue(0)
        for i in range(3):
            tap.equal(queue.request(b"ab", 2), b"ba", "an answer")
            queue.stop()
            queue.restart()


@tap.test("requests in a loop use the same memory again")
def memory_is_reused():
    with Vhost.Frontend.pair(Echo(), memory_size=1 << 20) as fe:
        queue = fe.queue(0)
        for size in (1, 63, 64, 65, 5000, 100000):
            for _ in range(200):
                tap.equal(len(queue.request(bytes(size), size)), size, "bytes")
        begin = fe.allocate(1, 1)
        for _ in range(2000):
            queue.request(b"abc", 64)
        tap.equal(fe.allocate(1, 1) - begin, 1, "bytes taken by 2000 requests")
        raises(Vhost.Error.FAILED, queue.request, bytes(1 << 20), 1)
        tap.equal(queue.request(b"ab", 2), b"ba", "an answer after that")


@tap.test("a long run of requests leaves no memory behind")
def no_leak():
    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    n = int(os.environ.get("VHOST_TEST_REQUESTS", "20000"))
    with Vhost.Frontend.pair(Echo()) as fe:
        queue = fe.queue(0)
        for _ in range(5000):
            queue.request(b"abc", 64)
        before = resident()
        for _ in range(n):
            queue.request(b"abc", 64)
        tap.equal(resident() - before < 2 << 20, True, f"{resident() - before} bytes more after {n} requests")


tap.main()
