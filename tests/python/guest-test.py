#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices in Python under a real guest: it draws from one, it writes to one and reads back."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

DISK = vm.SOURCE / "tests" / "perf" / "python-device.py"
RNG = '''
import os
from gi.repository import Vhost

@Vhost.device("rng")
class Rng(Vhost.Backend):
    def do_process_chain(self, queue, chain):
        chain.write(os.urandom(chain.writable_size))
        chain.complete()
'''


def run(script, scenario, device, *options, **kwargs):
    """What the guest said of a device."""
    with vm.scratch() as folder:
        path = folder / "device.py"
        path.write_text(script, encoding="utf-8")
        with vm.Backend(folder / "s", path, *options, device="run"):
            with vm.Guest(scenario, [vm.disk(folder / "s", device=device, **kwargs)]) as guest:
                return guest.finish()


@tap.test("a guest draws random numbers from a device of ten lines")
def rng():
    values = run(RNG, "rng", "vhost-user-rng-pci")
    tap.equal((values["bytes"], values["same"]), ("8192", "0"), "what was drawn")


@tap.test("a guest writes to a disk in Python and reads it back")
def disk():
    values = run(DISK.read_text(encoding="utf-8"), "io", "vhost-user-blk-pci", "--size=128M")
    tap.equal(int(values["sectors"]), 128 * vm.MIB // 512, "sectors")


@tap.test("a guest uses a packed ring of a disk whose queue is on a worker thread")
def packed():
    values = run(DISK.read_text(encoding="utf-8"), "io", "vhost-user-blk-pci", "--workers=1", props="packed=on")
    tap.equal(values["features"][34], "1", "the packed ring")


tap.main()
