#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A back-end that is killed under load, without a guest: every kind of ring, many times in a few seconds.

VHOST_TEST_KILLS says how often for each kind of ring: 12 in the check, ten times as many guests' kills in
tools/check --long.
"""

import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

LOAD = vm.BUILD / "tests" / "system" / "crash-load"
KILLS = 10 * int(os.environ.get("VHOST_TEST_KILLS", "0")) or 12
# Requests end late and in another order, so that a crash always finds some half-done.
DISORDER = ("--filter=delay", "--delay-ms=1", "--delay-jitter-ms=10", "--filter=reorder")


def crash(*ring, options=DISORDER):
    seed = random.randrange(1 << 30)
    print(f"# seed {seed}, {KILLS} kills")
    chance = random.Random(seed)
    with vm.scratch() as folder:
        image, sock = vm.make_image(folder / "disk.img", 1), folder / "s"
        backend = vm.Backend(sock, f"--blk-file={image}", *options)
        with vm.Process("crash-load", [LOAD, sock, *ring, f"--lives={KILLS + 1}", f"--seed={seed}"]) as load:
            try:
                for life in range(1, KILLS + 1):
                    load.wait_line(rf"^life {life}$")
                    # Not a wait for something: the moment of the crash has to be any.
                    time.sleep(chance.uniform(0.0, 0.06))
                    backend.child.send_signal(signal.SIGKILL)
                    backend.wait_exit()
                    backend = vm.Backend(sock, f"--blk-file={image}", *options, ready=None)
                end = load.wait_line(r"^end: (\d+) answered, (\d+) lost, (\d+) answered twice, (\d+) wrong, (\d+) errors$")
                tap.equal(load.wait_exit(), 0, "status of the load")
            finally:
                backend.child.kill()
                backend.wait_exit()
        print("#", end.group(0))
        answered, *bad = (int(number) for number in end.groups())
        tap.equal(bad, [0, 0, 0, 0], f"lost, answered twice, wrong, errors ({load.text()[-2000:]})")
        tap.equal(answered > 10 * KILLS, True, "there was load all the time")


@tap.test("nothing is lost or done twice on a split ring")
def split():
    crash()


@tap.test("nothing is lost or done twice on a packed ring")
def packed():
    crash("--packed")


@tap.test("nothing is lost or done twice on a split ring that is used in order")
def split_in_order():
    crash("--in-order")


@tap.test("nothing is lost or done twice on a packed ring that is used in order")
def packed_in_order():
    crash("--packed", "--in-order")


@tap.test("nothing is lost or done twice when requests end at once")
def at_once():
    crash(options=())


tap.main()
