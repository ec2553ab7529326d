#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests in Python: reading, writing, completing now and later, and what happens when a script forgets to."""

import contextlib
import gc
import io
import os
import threading

from driver import GLib, Vhost, pair, tap, until, vm


@Vhost.device("rng")
class Taker(Vhost.Backend):
    """Does with each request what the test says."""
    def __init__(self, work):
        super().__init__()
        self.work = work

    def do_process_chain(self, queue, chain):
        self.work(chain)


def raises(kind, function, *arguments):
    try:
        function(*arguments)
    except kind as error:
        return str(error)
    raise vm.Failed(f"{function} did not raise {kind.__name__}")


@tap.test("a request is read and answered")
def read_and_write():
    seen = []

    def work(chain):
        seen.append((chain.readable_size, chain.writable_size, chain.read(3), chain.read(3), chain.readable_size,
                     chain.read(), chain.read(5), chain.write(b"abc"), chain.write(bytearray(b"defgh")), chain.written))
        chain.complete()

    with pair(Taker(work)) as driver:
        tap.equal(driver.request(b"12", b"3456", b"789", into=(4, 3)), b"abcdefg", "the answer")
    tap.equal(seen, [(9, 7, b"123", b"456", 3, b"789", b"", 3, 4, 7)], "what the device saw")


@tap.test("sizes are bounded by what the request has")
def bounds():
    def work(chain):
        found.append((chain.read(1 << 40), chain.write(b"x" * 100), chain.write(b"yy", 1), chain.write(b"zz", -1),
                      chain.write(b"!", 3), chain.write(b"?", -100), repr(chain)))
        chain.complete(1 << 31)

    found = []
    with pair(Taker(work)) as driver:
        tap.equal(driver.request(b"in", into=(3,)), b"?yz", "the answer")
    tap.equal(found[0][:6], (b"in", 3, 2, 1, 0, 1), "what was done")


@tap.test("segments are guest memory itself")
def segments():
    def work(chain):
        tap.equal([bytes(view) for view in chain.readable], [b"ab", b"c"], "the readable ones")
        for number, segment in enumerate(chain):
            segment[:] = bytes([65 + number]) * len(segment)
        chain.complete(chain.writable_size)

    with pair(Taker(work)) as driver:
        tap.equal(driver.request(b"ab", b"c", into=(2, 1, 3)), b"AABCCC", "the answer")


@tap.test("a request of many segments is seen whole")
def many_segments():
    def work(chain):
        chain.write(chain.read()[::-1])
        chain.complete()

    pieces = [bytes([65 + number % 26]) for number in range(100)]
    with pair(Taker(work)) as driver:
        tap.equal(driver.request(*pieces, into=[1] * 100), b"".join(pieces)[::-1], "the answer")


@tap.test("a request is completed later, from a timeout and from another thread")
def complete_later():
    kept = []
    with pair(Taker(kept.append)) as driver:
        driver.offer((), (8,))
        driver.offer((), (8,))
        driver.kick()
        until(lambda: len(kept) == 2, "both requests")
        tap.equal(driver.take(), None, "nothing is back")

        def timeout():
            kept[1].write(b"time")
            kept[1].complete()
        GLib.timeout_add(1, timeout)
        tap.equal(driver.collect(1), [4], "the timeout's")

        def elsewhere():
            kept[0].write(b"thread")
            kept[0].complete()
        thread = threading.Thread(target=elsewhere)
        thread.start()
        tap.equal(driver.collect(1), [6], "the thread's")
        thread.join()


@tap.test("a with block completes, with nothing when it is left by an exception")
def context_manager():
    def work(chain):
        with chain:
            chain.write(b"half")
            if chain.read() == b"bad":
                raise ValueError("on purpose")

    errors = []
    backend = Taker(work)
    backend.connect("error", lambda backend, error: errors.append(error.message))
    with contextlib.redirect_stderr(io.StringIO()) as text, pair(backend) as driver:
        tap.equal(driver.request(b"good", into=(8,)), b"half", "without an exception")
        tap.equal(driver.request(b"bad", into=(8,)), b"", "with one")
    tap.equal(errors, ["do_process_chain: ValueError: on purpose"], "the signal")
    tap.equal("ValueError: on purpose" in text.getvalue(), True, "the traceback")


@tap.test("a request that was completed cannot be used any more")
def used_up():
    kept = []

    def work(chain):
        chain.complete()
        kept.append(chain)

    with pair(Taker(work)) as driver:
        driver.request(b"x", into=(8,))
        chain = kept[0]
        for call in (chain.complete, chain.read, chain.hand_back, lambda: chain.write(b"x"),
                     lambda: chain.write(b"x", 1), lambda: chain.readable_size, lambda: list(chain)):
            tap.equal("completed already" in raises(ValueError, call), True, "the error")
        tap.equal((chain.in_flight, repr(chain)), (False, "<Vhost.Chain, completed>"), "what it says")


@tap.test("a request that was dropped is completed with nothing, and complained of")
def dropped():
    with contextlib.redirect_stderr(io.StringIO()) as text, pair(Taker(lambda chain: chain.write(b"abc"))) as driver:
        for _ in range(20):
            tap.equal(driver.request(b"x", into=(8,)), b"", "the answer")
    tap.equal(text.getvalue().count("dropped without complete()"), 1, "warnings within a second")


@tap.test("a segment may be kept longer than the request, the session and the memory")
def kept_views():
    views = []

    def work(chain):
        views.extend(chain)
        views[-1][:] = b"12345678"
        chain.complete(8)

    with pair(Taker(work)) as driver:
        tap.equal(driver.request(into=(8,)), b"12345678", "the answer")
        driver.run(driver.frontend.remove_memory, 0x100000)
        tap.equal(bytes(views[0]), b"12345678", "after the memory was removed")
    tap.equal(bytes(views[0]), b"12345678", "after the session")
    views[0][:] = b"harmless"
    tap.equal(bytes(views[0]), b"harmless", "what nobody sees")
    tap.equal(mappings(), 2, "mappings: the driver's and ours")
    views.clear()
    tap.equal(mappings(), 1, "mappings when the last view is gone")


def mappings():
    gc.collect()
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum("memfd:vhost-frontend" in line for line in file)


@tap.test("guest memory that is cut off under a segment ends the session, not the interpreter")
def lost_memory():
    seen, closed = [], []

    def work(chain):
        for segment in chain:
            segment[:] = b"z" * len(segment)
        seen.append(chain.read())
        chain.complete()

    with pair(Taker(work), seal_memory=False) as driver:
        driver.daemon.connect("session-closed", lambda daemon, session, error: closed.append(error))
        driver.next = 0x100000 + (3 << 20)
        driver.begin = driver.next
        driver.offer((b"gone",), (16,))
        os.ftruncate(driver.frontend.get_memory_fd(0x100000), 2 << 20)
        driver.kick()
        until(lambda: closed, "the end of the session")
    tap.equal(seen, [bytes(4)], "what the device read")
    tap.equal("shorter" in closed[0].message or "truncate" in closed[0].message, True, f"why: {closed[0].message}")


@tap.test("queues are taken from by the batch")
def batches():
    class Batches(Vhost.Backend):
        sizes = []

        def do_process_queue(self, queue):
            chains = queue.pop_many(3)
            self.sizes.append(len(chains))
            for chain in chains + list(queue):
                chain.complete(1)

    backend = Batches()
    with pair(backend) as driver:
        for _ in range(5):
            driver.offer((), (8,))
        driver.kick()
        tap.equal(driver.collect(5), [1] * 5, "all came back")
    tap.equal(max(backend.sizes), 3, "the largest batch")


@tap.test("more requests than a batch has are all served, in order, on a packed ring too")
def many():
    order = []

    def work(chain):
        order.append(chain.read())
        chain.complete(len(order) % 7)

    for features in (1 << 32, 1 << 32 | 1 << 34):
        order.clear()
        with pair(Taker(work), features=features) as driver:
            for number in range(100):
                driver.offer((b"%d" % number,), (8,))
            driver.kick()
            tap.equal(driver.collect(100), [(number + 1) % 7 for number in range(100)], "lengths")
        tap.equal(order, [b"%d" % number for number in range(100)], "the order")


tap.main()
