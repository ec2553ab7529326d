# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting, while the thread's main context goes on: iterate_until()."""

import threading

from gi.repository import GLib

_local = threading.local()


class _Timer:
    """A timer that can be set again and again. PyGObject loses 32 bytes with each callback that it hands to GLib, which
    a program that makes a million requests would notice."""

    def __init__(self, context):
        self.over = False
        self.source = GLib.timeout_source_new(GLib.MAXUINT)
        self.source.set_callback(self._rang)
        self.source.attach(context)

    def set(self, seconds):
        self.over = False
        self.source.set_ready_time(GLib.get_monotonic_time() + max(1, int(seconds * 1e6)))

    def stop(self):
        self.source.set_ready_time(-1)

    def __del__(self):
        self.source.destroy()

    def _rang(self, *_):
        self.over = True
        return GLib.SOURCE_CONTINUE


def _idle_timers(context):
    """Those of this thread that are not in use; callbacks may wait, too."""
    kept = getattr(_local, "timers", None)
    if kept is None or kept[0] != context:
        kept = _local.timers = (context, [])
    return kept[1]


def iterate_until(condition, seconds):
    """Runs the main context until something holds or the time is over. True: it holds."""
    if condition():
        return True
    context = GLib.MainContext.ref_thread_default()
    idle = _idle_timers(context)
    timer = idle.pop() if idle else _Timer(context)
    timer.set(seconds)
    try:
        while not timer.over:
            context.iteration(True)
            if condition():
                return True
        return False
    finally:
        timer.stop()
        idle.append(timer)
