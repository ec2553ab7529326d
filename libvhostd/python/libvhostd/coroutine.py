# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""async def do_process_chain: asyncio on top of the GLib main context.

How it works: the loop is asyncio's own, but never waits by itself. GLib watches its selector's descriptor and its
timers, and lets it make one turn when there is something to do. So both kinds of code run on one thread: awaiting a
timer or a socket of asyncio's, and everything of GLib's beside it. Each thread that serves queues has a loop.
"""

import asyncio
import selectors
import threading

from gi.repository import Gio, GLib

from . import failure

__all__ = ["event_loop", "gio"]

_local = threading.local()


class _EventLoop(asyncio.SelectorEventLoop):
    """Asyncio's loop as a guest of a GLib main context."""

    def __init__(self, context):
        self._turn_source = None
        self._context = context
        selector = selectors.EpollSelector()
        super().__init__(selector)
        self._watch = GLib.unix_fd_source_new(selector.fileno(), GLib.IOCondition.IN)
        self._watch.set_callback(lambda *_: self._make_turn() or GLib.SOURCE_CONTINUE)
        self._watch.attach(context)

    def call_soon(self, callback, *args, context=None):
        handle = super().call_soon(callback, *args, context=context)
        self._turn_soon()
        return handle

    def call_at(self, when, callback, *args, context=None):
        handle = super().call_at(when, callback, *args, context=context)
        # A millisecond more: asyncio looks at its clock again, and must find the time come.
        self._turn_later(int(max(0, when - self.time()) * 1000) + 1)
        return handle

    def _turn_soon(self):
        if self._turn_source is None:
            self._turn_source = GLib.Idle(priority=GLib.PRIORITY_DEFAULT)
            self._turn_source.set_callback(self._turn_came)
            self._turn_source.attach(self._context)

    def _turn_came(self, *_):
        self._turn_source = None
        self._make_turn()
        return GLib.SOURCE_REMOVE

    def _turn_later(self, milliseconds):
        source = GLib.Timeout(milliseconds)
        source.set_callback(lambda *_: self._make_turn() or GLib.SOURCE_REMOVE)
        source.attach(self._context)

    def _make_turn(self):
        if asyncio._get_running_loop() is not None:
            self._turn_later(1)  # a coroutine iterates the main context: not within its own turn
            return False
        super().call_soon(self.stop)
        self.run_forever()
        return False


def event_loop():
    """This thread's asyncio loop, which turns with its GLib main context."""
    loop = getattr(_local, "loop", None)
    if loop is None:
        loop = _local.loop = _EventLoop(GLib.MainContext.ref_thread_default())
    return loop


async def gio(owner, name, *arguments):
    """Awaits an asynchronous method of GIO's or of this library's, by its name without "_async".

    It is called with the arguments, a cancellable and a callback; what its finish method returns is the result, and its
    GLib.Error is raised.

        done, contents, etag = await Vhost.gio(file, "load_contents")
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    begin = getattr(owner, name + "_async", None) or getattr(owner, name)
    finish = getattr(owner, name + "_finish")

    def ended(_source, result, *_data):
        if future.cancelled():
            return
        try:
            future.set_result(finish(result))
        except GLib.Error as error:
            future.set_exception(error)

    cancellable = Gio.Cancellable()
    begin(*arguments, cancellable, ended)
    try:
        return await future
    except asyncio.CancelledError:
        cancellable.cancel()
        raise


_tasks = set()  # asyncio itself holds them weakly


def starter(backend):
    """What takes a request to the class's coroutine."""
    loop = event_loop()

    def start(queue, chain):
        task = loop.create_task(backend.do_process_chain(queue, chain))
        _tasks.add(task)
        task.add_done_callback(lambda task: _ended(backend, chain, task))
    return start


def _ended(backend, chain, task):
    _tasks.discard(task)
    if task.cancelled():
        if chain.in_flight:
            chain.complete(0)
        return
    error = task.exception()
    if error is not None:
        if chain.in_flight:
            chain.complete(0)
        failure.report(backend, error, "do_process_chain")
