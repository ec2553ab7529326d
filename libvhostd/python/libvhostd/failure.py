# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exceptions in a device's methods: a traceback, an error to whoever asked, the signal "error"; never a hanging guest."""

import functools
import os
import signal
import sys
import threading
import time
import traceback

from gi.repository import Gio, GLib, Vhost

# Tracebacks that are printed at once, before a second has to pass for the next: a guest must not fill a disk.
_BURST = 10

# Set by run.py while it serves: sys.exit() in a method ends the program as the program ends.
exit_status = None
serving = False

_lock = threading.Lock()
_printed = 0
_last = 0.0
_unheard = 0


def report(backend, error, where):
    """Tells of an exception. False: it is not for us, the caller lets it through."""
    global exit_status
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        if not serving:
            return False
        exit_status = error.code if isinstance(error, SystemExit) else 130
        os.kill(os.getpid(), signal.SIGTERM)
        return True
    if not isinstance(error, Exception):
        return False
    show(error)
    if backend is not None:
        backend.report_error(_as_error(error, where))
    return True


def show(error):
    """Prints the traceback, seldom enough."""
    global _printed, _last, _unheard
    with _lock:
        now = time.monotonic()
        if now - _last >= 1:
            _printed = 0
        _printed += 1
        if _printed > _BURST:
            _unheard += 1
            return
        _last = now
        unheard, _unheard = _unheard, 0
    text = "".join(traceback.format_exception(error))
    say(text + (f"({unheard} more exceptions since the last traceback)\n" if unheard else ""))


def say(text):
    """To whoever listens: a closed standard error is no reason to fail once more."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass


def _as_error(error, where):
    if isinstance(error, GLib.Error):
        return error
    text = "".join(traceback.format_exception_only(error)).strip()
    return GLib.Error.new_literal(Vhost.error_quark(), f"{where}: {text}", Vhost.Error.BACKEND)


# What each method gives back, and what that becomes.

def _nothing(result):
    return None


def _success(result):
    return result is None or bool(result)


def _number(result):
    return int(result)


def _bytes(result):
    if result is None or isinstance(result, GLib.Bytes):
        return result
    return GLib.Bytes.new(bytes(result))


# Method: (what its result becomes, whether it may fail with an error).
_METHODS = {
    "do_get_features": (_number, 0),
    "do_features_acked": (_nothing, None),
    "do_get_config": (_bytes, True),
    "do_set_config": (_success, True),
    "do_start": (_success, True),
    "do_stop": (_nothing, None),
    "do_activate": (_success, True),
    "do_suspend": (_nothing, None),
    "do_reset": (_nothing, None),
    "do_queue_started": (_nothing, None),
    "do_queue_stopping": (_nothing, None),
    "do_queue_stopped": (_nothing, None),
    "do_memory_changed": (_nothing, None),
    "do_worker_started": (_nothing, None),
    "do_worker_stopped": (_nothing, None),
    "do_get_state": (_bytes, True),
    "do_set_state": (_success, True),
    "do_save_state_finish": (_success, True),
    "do_load_state_finish": (_success, True),
    "do_get_shared_object": (_number, True),
    "do_announce": (_success, True),
    "do_set_mtu": (_success, True),
    "do_create_crypto_session": (_number, True),
    "do_close_crypto_session": (_success, True),
    "do_set_gpu_socket": (_nothing, None),
    "do_process_queue": (_nothing, None),
}


def _wrap(name, method):
    convert, fails = _METHODS[name]

    @functools.wraps(method)
    def call(self, *arguments):
        try:
            return convert(method(self, *(argument.get_data() or b"" if isinstance(argument, GLib.Bytes) else argument
                                          for argument in arguments)))
        except BaseException as error:
            if fails is True and isinstance(error, GLib.Error):
                raise
            # Of the one that the program starts with, whoever starts it tells.
            if not report(None if name == "do_start" else self, error, name):
                raise
            if fails is True:
                raise _as_error(error, name) from None
            return fails
    return call


def _wrap_async(name, method):
    @functools.wraps(method)
    def call(self, stream, cancellable, callback, *data):
        try:
            method(self, stream, cancellable, callback, *data)
        except Exception as error:  # whoever waits for the end is told of this one
            report(self, error, name)
            Gio.Task.new(self, cancellable, callback).return_error(_as_error(error, name))
    return call


def wrap_methods(cls):
    """Wraps the class's own methods that the library calls."""
    for name in _METHODS:
        method = cls.__dict__.get(name)
        if method is not None and callable(method) and not getattr(method, "is_ready", False):
            setattr(cls, name, _wrap(name, method))
    for name in ("do_save_state_async", "do_load_state_async"):
        method = cls.__dict__.get(name)
        if method is not None:
            setattr(cls, name, _wrap_async(name, method))
