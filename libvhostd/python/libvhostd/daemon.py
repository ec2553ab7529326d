# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Vhost.Daemon: made with a back-end, and stopped before the interpreter ends."""

from gi.overrides import override
from gi.repository import GLib, Vhost

from . import threads

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
