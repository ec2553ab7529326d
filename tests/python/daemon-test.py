#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Daemons in Python: signals, several front-ends at once, sockets by path, a device's state by streams."""

import contextlib
import io
import os
import socket
import tempfile

from gi.repository import Gio

from driver import Driver, GLib, Vhost, data, pair, serve, stop, tap, until, vm


@Vhost.device("rng")
class Numbered(Vhost.Backend):
    Config = Vhost.config_space("level:B", writable=["level"])
    number = 0

    def do_process_chain(self, queue, chain):
        with chain:
            chain.write(b"%d" % self.number)


@tap.test("every signal of a daemon reaches its handler")
def signals():
    heard = []
    backend = Numbered()
    daemon, fd = serve(backend)
    daemon.connect("session-opened", lambda daemon, session: heard.append(("opened", session.get_peer_pid())))
    daemon.connect("session-closed", lambda daemon, session, error: heard.append(("closed", error)))
    daemon.connect("kick", lambda daemon, queue: heard.append(("kick", queue.get_index())))
    daemon.connect("config-changed", lambda daemon, session, offset, length, origin:
                   heard.append(("config", offset, length, origin)))
    daemon.connect("notify::state", lambda daemon, pspec: heard.append(("state", daemon.props.state)))
    driver = Driver(daemon, fd)
    try:
        driver.start()
        tap.equal(driver.request(into=(4,)), b"0", "the answer")
        driver.run(driver.frontend.set_config, 0, GLib.Bytes.new(b"\7"), 0)
        session = daemon.get_sessions().get_item(0)
        tap.equal((session.get_backend() is backend, session.get_n_queues(), session.get_queue(0).get_size()),
                  (True, 1, 256), "the session")
        backend.notify_config()
        number = daemon.connect("kick", lambda daemon, queue: heard.append("never"))
        daemon.disconnect(number)
        driver.request(into=(4,))
        daemon.close_sessions()
        until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, "the end of the only session")
    finally:
        driver.close()
        stop(daemon)
    origin = Vhost.ConfigOrigin
    tap.equal("never" in heard, False, "a handler that was disconnected was called")
    for wanted in (("closed", None), ("kick", 0), ("config", 0, 1, origin.DRIVER),
                   ("state", Vhost.DaemonState.STOPPED)):
        tap.equal(wanted in heard, True, f"{wanted} in {heard}")
    tap.equal(any(item[0] == "config" and item[3] == origin.DEVICE for item in heard), True, "a change by the device")


@tap.test("several front-ends at once get a back-end each")
def several():
    made = []

    def create(daemon):
        backend = Numbered()
        backend.number = len(made) + 1
        made.append(backend)
        return backend

    path = os.path.join(tempfile.mkdtemp(), "socket")
    daemon = Vhost.Daemon(name="several", socket_path=path, max_sessions=3)
    daemon.connect("create-backend", create)
    daemon.start()
    drivers = []
    try:
        for number in range(1, 4):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            drivers.append(Driver(daemon, client.detach()))
            drivers[-1].start()
        for number, driver in enumerate(drivers, 1):
            tap.equal(driver.request(into=(4,)), b"%d" % number, "the answer")
        tap.equal(daemon.get_sessions().get_n_items(), 3, "sessions")
    finally:
        for driver in drivers:
            driver.close()
        stop(daemon)
    tap.equal((len(made), os.path.exists(path)), (3, False), "back-ends, and the socket")


@tap.test("a queue gives nothing on a thread that is not its own, nor when it is stopped")
def wrong_thread():
    class Keeper(Vhost.Backend):
        queue = None

        def do_process_queue(self, queue):
            self.queue = queue

    keeper = Keeper()
    with pair(keeper) as driver:
        driver.offer((), (4,))
        driver.kick()
        until(lambda: keeper.queue, "the queue")
        tap.equal((driver.run(keeper.queue.pop), driver.run(keeper.queue.pop_many, 5)), (None, []), "on another thread")
        with keeper.queue.pop() as chain:
            tap.equal(chain.writable_size, 4, "on its own")
        driver.collect(1)
    tap.equal(keeper.queue.pop(), None, "when the session is over")


class Streamed(Vhost.Backend):
    """Its state goes through streams."""
    loaded = b""
    fail = False

    def do_save_state_async(self, stream, cancellable, callback, *data):
        if self.fail:
            raise ValueError("cannot save")
        task = Gio.Task.new(self, cancellable, callback)
        stream.write_bytes_async(GLib.Bytes.new(b"state"), GLib.PRIORITY_DEFAULT, cancellable,
                                 lambda stream, result: task.return_boolean(stream.write_bytes_finish(result) == 5))

    def do_save_state_finish(self, result):
        return result.propagate_boolean()

    def do_load_state_async(self, stream, cancellable, callback, *data):
        task = Gio.Task.new(self, cancellable, callback)

        def read(stream, result):
            piece = stream.read_bytes_finish(result).get_data()
            self.loaded += piece or b""
            if piece:
                stream.read_bytes_async(3, GLib.PRIORITY_DEFAULT, cancellable, read)
            else:
                task.return_boolean(True)
        stream.read_bytes_async(3, GLib.PRIORITY_DEFAULT, cancellable, read)

    def do_load_state_finish(self, result):
        return result.propagate_boolean()

    def do_process_chain(self, queue, chain):
        chain.complete()


@tap.test("a device's state is saved and loaded by streams")
def state_streams():
    backend = Streamed()
    with pair(backend) as driver:
        driver.run(driver.frontend.stop_queue, 0)
        tap.equal(data(driver.run(driver.frontend.save_state, 1000)), b"state", "what was saved")
        driver.run(driver.frontend.load_state, b"another state")
        tap.equal(backend.loaded, b"another state", "what was loaded")
        backend.fail = True
        with contextlib.redirect_stderr(io.StringIO()) as text:
            try:
                driver.run(driver.frontend.save_state, 1000)
            except GLib.Error:
                pass
            else:
                raise vm.Failed("a device that raised has saved")
        tap.equal("ValueError: cannot save" in text.getvalue(), True, "the traceback")


@tap.test("a filter before a device in Python gets its requests")
def filters():
    backend = Numbered()
    with pair(Vhost.FilterReorder(next=backend)) as driver:
        for _ in range(50):
            driver.offer((), (4,))
        driver.kick()
        tap.equal(driver.collect(50), [1] * 50, "all came back")


tap.main()
