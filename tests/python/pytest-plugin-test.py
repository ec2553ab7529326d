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

MORE = DEVICE + '''
import pathlib
import subprocess

import pytest
from libvhostd import guest


def test_files_and_programs(vhost_guest):
    here = pathlib.Path(__file__)
    here.chmod(0o640)
    said = vhost_guest((), "stat -c %a /tmp/a/here && cmp /tmp/a/here /tmp/a/here && /words && perl -e 'print 6 * 7'",
                       programs=["perl"], files={"/tmp/a/here": here, "words": b"#!/bin/sh\\necho hello\\n"})
    assert said == "640\\nhello\\n42"
    assert "coreutils" in vhost_guest((), "dd --version", programs=["dd"])  # not busybox's


def test_the_kernel_is_not_the_command(vhost_guest):
    command = "echo '<1>kernel says this' > /dev/kmsg; dmesg | grep -c 'kernel says this'"
    assert vhost_guest((), command) == "1\\n"
    with pytest.raises(guest.GuestFailed, match="(?s)said:.*42.*last:.*kernel says this"):
        vhost_guest((), command + "; echo 42; false")


def test_modules(vhost_guest):
    assert "loop0" in vhost_guest((), "ls /sys/block", modules=["loop", "virtio-rng"])


@Vhost.device("crypto")
class Crypto(Vhost.Backend):
    def do_process_chain(self, queue, chain):
        chain.complete()


def test_crypto_device(tmp_path):  # whose driver Debian's cloud kernel has not
    image, _ = guest.guest_image.kernel()
    assert "0x1054" in guest.run_guest(Crypto(), "cat /sys/bus/pci/devices/*/device", kernel=image)
    with pytest.raises(guest.Unavailable, match="no module virtio_crypto"):
        guest.run_guest(Crypto(), "true")


def test_qemu_crashes(tmp_path):
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\\necho oh; kill -SEGV $$")
    qemu.chmod(0o755)
    with pytest.raises(guest.GuestFailed, match="(?s)QEMU crashed .SIGSEGV.*oh"):
        guest.run_guest((), "true", qemu=str(qemu))


def test_no_such_module():
    with pytest.raises(guest.Unavailable, match="no module made_up: give one that has it, with kernel="):
        guest.run_guest((), "true", modules=["made-up"])


def test_modules_of_no_kernel():
    with pytest.raises(ValueError, match="kernel=.image, folder of its modules"):
        guest.run_guest((), "true", modules=["loop"], kernel="bzImage")


def test_no_such_program():
    with pytest.raises(guest.Unavailable, match="made-up is missing"):
        guest.run_guest((), "true", programs=["made-up"])


def test_hidden_files():
    for name in ("/proc/x", "dev/x", "/", "/../x"):
        with pytest.raises(ValueError, match="give a path outside of /dev, /proc, /sys"):
            guest.run_guest((), "true", files={name: b""})


def test_other_kernel_and_qemu(tmp_path):
    image, modules = guest.guest_image.kernel()
    (tmp_path / "kernel").write_bytes(image.read_bytes())
    qemu = tmp_path / "qemu"
    qemu.write_text(f"#!/bin/sh\\ntouch {tmp_path}/used\\n" + 'exec qemu-system-x86_64 "$@"')
    with pytest.raises(guest.Unavailable, match="give another with qemu="):
        guest.run_guest((), "true", qemu=str(qemu))
    qemu.chmod(0o755)
    name = "cat /sys/class/misc/hw_random/rng_current"
    said = guest.run_guest([Entropy()], name, kernel=(tmp_path / "kernel", modules), qemu=str(qemu))
    assert said == "virtio_rng.0\\n" and (tmp_path / "used").exists()
    # No folder of modules, no driver.
    assert guest.run_guest([Entropy()], name, kernel=tmp_path / "kernel") == "none\\n"
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


def run_guests(text):
    vm.program("qemu-system-x86_64", "qemu-system-x86")
    vm.guest_image.kernel()
    return run(text)


@tap.test("a device is tested by a front-end, which is closed after the test")
def frontend():
    text = run(FRONTEND)
    tap.equal("1 failed, 2 passed" in text and "on purpose" in text, True, text)


@tap.test("a device is tested by a guest")
def guest():
    text = run_guests(GUEST)
    tap.equal("1 failed, 1 passed" in text, True, text)
    tap.equal("ended with status 1 in the guest" in text and "before" in text, True, text)


@tap.test("a guest has the tester's files, programs, modules, kernel and QEMU; what is missing is named")
def guest_with_more():
    text = run_guests(MORE)
    tap.equal("10 passed" in text, True, text)


@tap.test("without QEMU the guest's test is skipped, and says what is missing")
def no_qemu():
    text = run(GUEST, PATH="/nonexistent")
    tap.equal("2 skipped" in text and "install the package qemu-system-x86" in text, True, text)


tap.main()
