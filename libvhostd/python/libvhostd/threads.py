# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Worker threads that call into Python: one interpreter state for a thread's life, and none at the interpreter's end.

How it works: a thread that Python does not know gets a state with each call and loses it with the call's end, which
costs more than a request. Taking it once more when the worker starts keeps it. The interpreter must not end while such
threads run, so daemons that still do are stopped first.
"""

import atexit
import functools
import threading
import time

from gi.repository import GLib, Vhost

from . import native

# Longer than a daemon waits for requests in flight.
_STOP_SECONDS = 5

_local = threading.local()
_started = {}  # address: (daemon, its context)


def _pin():
    _local.pins = getattr(_local, "pins", 0) + 1
    if _local.pins == 1:
        native.pin_thread()


def _unpin():
    pins = getattr(_local, "pins", 0)
    if pins > 0:
        _local.pins = pins - 1
        if pins == 1:
            native.unpin_thread(0)


def _worker_started(self, worker):
    _pin()


def _worker_stopped(self, worker):
    _unpin()


def wrap_methods(cls):
    """Pins around the class's own methods for workers, or instead of them."""
    for name, work, first in (("do_worker_started", _worker_started, True),
                              ("do_worker_stopped", _worker_stopped, False)):
        method = cls.__dict__.get(name)
        if method is not None:
            setattr(cls, name, _both(method, work, first))
        elif not hasattr(getattr(cls, name), "is_pinning"):
            setattr(cls, name, _both(lambda self, worker: None, work, first))


def _both(method, work, first):
    @functools.wraps(method)
    def call(self, worker):
        if first:
            work(self, worker)
        try:
            method(self, worker)
        finally:
            if not first:
                work(self, worker)
    call.is_pinning = True
    return call


def note_started(daemon):
    """A daemon has started: it must have stopped when the interpreter ends."""
    _started[hash(daemon)] = (daemon, GLib.MainContext.ref_thread_default())


def note_state(daemon, _pspec):
    if daemon.props.state == Vhost.DaemonState.STOPPED:
        _started.pop(hash(daemon), None)


@atexit.register
def _stop_all():
    end = time.monotonic() + _STOP_SECONDS
    for daemon, context in list(_started.values()):
        daemon.quit()
        while daemon.props.state != Vhost.DaemonState.STOPPED and time.monotonic() < end:
            if context.acquire():
                # A wake-up in case nothing else comes before the deadline.
                context.iteration(False) or time.sleep(0.001)
                context.release()
            else:
                time.sleep(0.001)
    _started.clear()
