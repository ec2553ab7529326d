# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Vhost.Daemon: made with a back-end, and stopped before the interpreter ends."""

import functools

from gi.overrides import override
from gi.repository import GLib, Vhost

from . import failure, threads

__all__ = ["Daemon"]


@override
class Daemon(Vhost.Daemon):
    """Serves a back-end: `Vhost.Daemon(backend=..., socket_path=...)`, then start() or run()."""
    __module__ = "gi.overrides.Vhost"

    def start(self):
        """Listens, or connects; front-ends are served while the main context runs. Raises GLib.Error."""
        state = self.connect("notify::state", threads.note_state)
        try:
            super().start()
        except GLib.Error:
            self.disconnect(state)
            raise
        threads.note_started(self)

    def connect(self, signal, handler, *arguments):
        """Connects a handler to a signal. One of "kick" that raises is an error of the back-end."""
        if signal == "kick":
            handler = _reporting(handler)
        return super().connect(signal, handler, *arguments)


def _reporting(handler):
    """Whatever a guest can cause at any rate must not print at any rate."""
    @functools.wraps(handler)
    def call(daemon, *arguments):
        try:
            handler(daemon, *arguments)
        except BaseException as error:
            if not failure.report(daemon.get_backend(), error, "kick"):
                raise
    return call
