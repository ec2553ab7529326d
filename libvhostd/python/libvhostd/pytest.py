# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures for tests of devices: `pytest -p libvhostd.pytest`, or pytest_plugins = "libvhostd.pytest" in a conftest.py.

    def test_answer(vhost_frontend):
        assert vhost_frontend(MyDevice()).queue(0).request(b"question", 64) == b"answer"

    def test_guest(vhost_guest):
        assert "vda" in vhost_guest([MyDisk()], "ls /sys/block")
"""

import contextlib

import pytest

from gi.repository import Vhost

from . import guest

__all__ = ["vhost_frontend", "vhost_guest"]


@pytest.fixture
def vhost_frontend():
    """A function: from a back-end to a front-end that is connected to it, until the test ends.

    Keyword arguments are Vhost.Frontend.pair()'s.
    """
    with contextlib.ExitStack() as stack:
        yield lambda backend, **options: stack.enter_context(Vhost.Frontend.pair(backend, **options))


@pytest.fixture
def vhost_guest():
    """A function: boots a QEMU guest with devices, runs a shell command in it, returns what it printed.

    The arguments are libvhostd.guest.run_guest()'s. Where QEMU or the guest's kernel is missing, the test is skipped.
    """
    def run(devices, command, **options):
        try:
            return guest.run_guest(devices, command, **options)
        except guest.Unavailable as reason:
            pytest.skip(str(reason))
    return run
