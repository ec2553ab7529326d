#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pytest plugin, used as a tester uses it: by pytest, in a folder of its own."""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

DEVICE = '''
import gi
gi.require_version("Vhost", "1")
from gi.repository import Vhost


@Vhost.device("rng", queues=1)
class Entropy(Vhost.Backend):
    def do_process_chain(self, queue, chain):
        chain.complete(chain.write(b"*" * chain.writable_size))


'''
FRONTEND = DEVICE + '''
def test_answer(vhost_frontend):
    assert vhost_frontend(Entropy()).queue(0).request(in_size=4) == b"****"


def test_two(vhost_frontend):
    first, second = vhost_frontend(Entropy()), vhost_frontend(Entropy(), timeout=5000)
    assert first.queue(0).request(in_size=1) == second.queue(0).request(in_size=1)
    assert second.props.timeout == 5000


def test_failure(vhost_frontend):
    vhost_frontend(Entropy()).queue(0)
    assert False, "on purpose"
'''
GUEST = DEVICE + '''
def test_entropy(vhost_guest):
    assert vhost_guest([Entropy()], "dd if=/dev/hwrng bs=8 count=1 2>/dev/null").strip() == "*" * 8


def test_command_fails(vhost_guest):
    vhost_guest((), "echo before; false")
'''


def run(text, **environment):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "test_device.py").write_text(text, encoding="utf-8")
        # What a guest needs is kept where the other tests keep it.
        environment = {"VHOST_GUEST_CACHE": str(vm.guest_image.cache_dir()), **os.environ, **environment}
        done = subprocess.run([sys.executable, "-m", "pytest", "-p", "libvhostd.pytest", "-p", "no:cacheprovider",
                               "-rs", folder], capture_output=True, text=True, check=False, timeout=200, env=environment)
    if "No module named pytest" in done.stderr:
        raise vm.Unavailable("pytest is missing: install the package python3-pytest")
    return done.stdout + done.stderr


@tap.test("a device is tested by a front-end, which is closed after the test")
def frontend():
    text = run(FRONTEND)
    tap.equal("1 failed, 2 passed" in text and "on purpose" in text, True, text)


@tap.test("a device is tested by a guest")
def guest():
    vm.program("qemu-system-x86_64", "qemu-system-x86")
    vm.guest_image.kernel()
    text = run(GUEST)
    tap.equal("1 failed, 1 passed" in text, True, text)
    tap.equal("ended with status 1 in the guest" in text and "before" in text, True, text)


@tap.test("without QEMU the guest's test is skipped, and says what is missing")
def no_qemu():
    text = run(GUEST, PATH="/nonexistent")
    tap.equal("2 skipped" in text and "install the package qemu-system-x86" in text, True, text)


tap.main()
