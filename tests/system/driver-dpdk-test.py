#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""DPDK's user-space driver, which polls and uses rings as no kernel does, against a network-shaped back-end.

What testpmd transmits comes back to it from net-loop, numbered and with a checksum; it forwards that again, and net-loop
checks what comes in.
"""

import pathlib
import re
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

NET_LOOP = vm.BUILD / "tests" / "system" / "net-loop"
FRAMES = 20000


def loop(packed, in_order, options=()):
    driver = f"packed_vq={packed},in_order={in_order},mrg_rxbuf=0"
    testpmd = vm.program("dpdk-testpmd", "dpdk-dev")
    with vm.scratch() as folder:
        sock = folder / "s"
        with vm.Backend(sock, "--num-queues=2", *options, binary=NET_LOOP) as backend:
            with vm.Process("testpmd", [
                    testpmd, "-l", "0-1", "--no-pci", "--no-huge", "-m", "256", f"--file-prefix={folder.name}",
                    f"--vdev=net_virtio_user0,path={sock},queues=1,{driver}", "--", "--total-num-mbufs=4096",
                    "--tx-first", "--txpkts=300", "--stats-period=1", "--forward-mode=io",
                    "--no-lsc-interrupt"]) as driver_process:
                def received():
                    with driver_process.changed:
                        seen = re.findall(r"RX-packets: +(\d+)", "\n".join(driver_process.lines))
                    if not driver_process.running():
                        raise vm.Failed(f"testpmd ended; it said:\n{driver_process.text()[-3000:]}")
                    return seen and int(seen[-1]) > FRAMES
                vm.wait_for(f"{FRAMES} frames", received)
                driver_process.stop(signal.SIGINT)
            said = backend.wait_line(r"frames: (\d+) taken, (\d+) given, (\d+) came back, (\d+) wrong, features (\w+)")
        taken, given, back, wrong, features = (int(number, 0) for number in said.groups())
        tap.equal((features >> 34 & 1, features >> 35 & 1), (packed, in_order), "packed ring, in order")
        tap.equal(wrong, 0, "frames with a wrong checksum")
        tap.equal(back > FRAMES and given >= back and taken >= back, True, f"frames that came back ({said.group(0)})")


@tap.test("frames go both ways over split rings that are polled")
def split():
    loop(0, 0)


@tap.test("frames go both ways over split rings that are used in order")
def split_in_order():
    loop(0, 1)


@tap.test("frames go both ways over packed rings")
def packed():
    loop(1, 0)


@tap.test("frames go both ways over packed rings that are used in order")
def packed_in_order():
    loop(1, 1)


if __name__ == "__main__":
    tap.main()
