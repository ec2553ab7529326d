#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library's filters before a device in Python, switched while requests wait."""

import gc
import threading
import time

from driver import Vhost, tap, until

OK, FAILED = b"\0", b"\1"


@Vhost.device("made-up", virtio_id=42, queues=1)
class Disk(Vhost.Backend):
    """Answers with what it was told, and a status."""

    def __init__(self, **properties):
        super().__init__(**properties)
        self.threads, self.seen = set(), []

    def do_process_chain(self, queue, chain):
        self.threads.add(threading.current_thread() is threading.main_thread())
        data = chain.read()
        self.seen.append(data)
        chain.complete(chain.write((data + OK)[-chain.writable_size:]))


def ask(fe, data):
    return fe.queue(0).request(data, len(data) + 1)


def status(fe):
    """Of a request that has room for a status and nothing else: a filter's failure writes no data before it."""
    return fe.queue(0).request(b"x", 1)


def later(fe, *requests):
    """Requests on their way, and the list to which their answers go."""
    answers = []
    for data in requests:
        fe.queue(0).request_async(data, len(data) + 1, callback=lambda request: answers.append(request.result()))
    return answers


@tap.test("the device behind a filter is served where it would be without one")
def threads():
    for workers, main in ((0, True), (1, False)):
        disk = Disk(workers=workers)
        with Vhost.Frontend.pair(Vhost.FilterDelay(next=disk, delay_ms=1)) as fe:
            fe.negotiate()
            tap.equal(ask(fe, b"abc"), b"abc" + OK, "the answer")
        tap.equal(disk.threads, {main}, f"in the main thread, with {workers} workers")


@tap.test("a delay holds the answers, and what waits keeps its time when it is switched off")
def delay():
    disk = Disk()
    slow = Vhost.FilterDelay(next=disk, delay_ms=300)
    with Vhost.Frontend.pair(slow) as fe:
        fe.negotiate()
        begin = time.monotonic()
        answers = later(fe, b"a", b"b")
        until(lambda: len(disk.seen) == 2, "the device has served them")
        tap.equal(answers, [], "answers before their time")
        slow.props.delay_ms = 0
        tap.equal(ask(fe, b"c"), b"c" + OK, "an answer behind them")
        tap.equal(answers, [], "answers that still wait")
        until(lambda: len(answers) == 2, "the answers")
        tap.equal(time.monotonic() - begin >= 0.3, True, "the time that they have waited")
        tap.equal(answers, [b"a" + OK, b"b" + OK], "the answers")


@tap.test("a delay at the start keeps requests from the device, and a front-end that goes lets them through")
def delay_at_start():
    disk = Disk()
    with Vhost.Frontend.pair(Vhost.FilterDelay(next=disk, delay_ms=600000, delay_at=Vhost.FilterDelayAt.START)) as fe:
        fe.negotiate()
        later(fe, b"a", b"b")
        tap.equal(fe.queue(0).ring.get_free(), fe.queue(0).size - 4, "free descriptors")
        fe.kill()
        until(lambda: len(disk.seen) == 2, "the device has got them")
        fe.reconnect()
        fe.daemon.props.backend.props.delay_ms = 0
        tap.equal(ask(fe, b"c"), b"c" + OK, "an answer afterwards")


@tap.test("answers are shuffled, and none is lost")
def reorder():
    disk = Disk()
    data = [bytes([number]) for number in range(32)]
    with Vhost.Frontend.pair(Vhost.FilterReorder(next=disk, reorder_depth=32, reorder_ms=60000, reorder_seed=7)) as fe:
        fe.negotiate()
        answers = later(fe, *data)
        until(lambda: len(answers) == 32, "the answers")
        tap.equal(sorted(answers), [one + OK for one in data], "the answers, sorted")
        tap.equal(answers == sorted(answers), False, "in the order of the requests")
        tap.equal(disk.seen, data, "what the device saw")


@tap.test("errors come as told, are counted down, and are switched while the device runs")
def error():
    disk = Disk()
    failing = Vhost.FilterError(next=disk, error_after=2, error_count=1)
    with Vhost.Frontend.pair(failing) as fe:
        fe.negotiate()
        tap.equal([status(fe) for _ in range(5)], [OK, OK, FAILED, OK, OK], "the status of each")
        tap.equal(len(disk.seen), 4, "what the device saw")
        failing.props.error_count = -1
        failing.props.error_status = 3
        tap.equal(status(fe), b"\3", "the status")
        failing.props.error_rate = 0
        tap.equal(status(fe), OK, "the status")


@tap.test("filters stand before each other, and go with their device")
def stack():
    disk = Disk()
    alive = disk.weak_ref()
    stacked = Vhost.FilterDelay(delay_ms=1, next=Vhost.FilterError(error_count=1, next=disk))
    with Vhost.Frontend.pair(stacked) as fe:
        fe.negotiate()
        tap.equal([status(fe) for _ in range(2)], [FAILED, OK], "the status of each")
        tap.equal((stacked.get_next().get_next() is disk, fe.device), (True, "made-up"), "the device behind")
    del disk, stacked, fe
    gc.collect()
    until(lambda: alive() is None, "the device has gone")


tap.main()
