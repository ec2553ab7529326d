#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A back-end that is killed under a guest's load and started again: no error, no lost and no doubled request.

VHOST_TEST_KILLS says how often it is killed in each test: a few times in the check, more in tools/check --long.
"""

import os
import pathlib
import random
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
from vm import MIB, sha256  # noqa: E402

KILLS = int(os.environ.get("VHOST_TEST_KILLS", "2"))
# Requests end out of order and some of them late, so that a kill finds every state that there is.
DISORDER = ["--filter=delay", "--delay-us=200", "--delay-jitter-ms=4", "--filter=reorder", "--reorder-depth=4",
            "--reorder-ms=2"]


def check_image(image, values):
    for index in (1, 2, 3, 4):
        tap.equal(sha256(vm.read_at(image, index * 4 * MIB, 2 * MIB)), values[f"sum_{index}"],
                  f"what writer {index} wrote last")


def rounds(guest):
    # What QEMU says of a lost connection may come amid a line of the guest's.
    return sum(int(re.match(r"\d*", value).group() or 0) for key, value in guest.values.items()
               if key.startswith("round_"))


def killed_under_load(props="", options=(), seed=1):
    chance = random.Random(seed)
    with vm.scratch() as folder:
        image, sock = vm.make_image(folder / "disk.img", 64), folder / "s"
        options = [f"--blk-file={image}", "--num-queues=2", *options]
        backend = vm.Backend(sock, *options)
        try:
            device = vm.disk(queues=2, props=props, chardev=f"path={sock},reconnect=1")
            # QEMU needs about a second to come back after each kill.
            with vm.Guest("load", [device], smp=2, arguments={"seconds": 4 + 3 * KILLS}) as guest:
                guest.wait_line("@@ loading=1")
                for _ in range(KILLS):
                    before = rounds(guest)
                    vm.wait_for("the load to go on", lambda: rounds(guest) >= before + 2 or not guest.running())
                    time.sleep(chance.uniform(0, 0.3))  # anywhere within a request, that is the point
                    backend.stop(signal.SIGKILL)
                    backend = vm.Backend(sock, *options)
                values = guest.finish(DEADLINE)
            tap.equal(values["io_errors"], "0", "I/O errors in the guest's log")
            check_image(image, values)
            backend.finish()
            return values
        finally:
            backend.__exit__(Exception, None, None)


DEADLINE = vm.DEADLINE + 10 * KILLS


@tap.test("a guest on a split ring loses nothing when its back-end is killed")
def split():
    killed_under_load()


@tap.test("a guest on a packed ring loses nothing when its back-end is killed")
def packed():
    tap.equal(killed_under_load("packed=on", seed=2)["features"][34], "1", "packed ring")


@tap.test("nothing is lost on a split ring when requests end late and out of order")
def split_disorder():
    killed_under_load(options=DISORDER, seed=3)


@tap.test("nothing is lost on a packed ring when requests end late and out of order")
def packed_disorder():
    killed_under_load("packed=on", options=DISORDER, seed=4)


if __name__ == "__main__":
    tap.main()
