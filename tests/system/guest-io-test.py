#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vhostd block under a real guest: what the guest reads and writes is what is in the image."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
from vm import MIB, noise, served, sha256  # noqa: E402


def io_scenario(queues, props="", options=(), smp=1):
    """The scenario "io", checked from both sides."""
    with served(*options, queues=queues) as (image, sock, _):
        with vm.Guest("io", [vm.disk(sock, queues=queues, props=props)], smp=smp) as guest:
            values = guest.finish()
        tap.equal(int(values["sectors"]), 64 * MIB // 512, "sectors seen by the guest")
        # A driver takes no more queues than it has CPUs.
        tap.equal(int(values["queues"]), min(queues, smp), "queues used by the guest")
        tap.equal(values["read_only"], "0", "read-only flag")
        for index in (1, 2, 3, 4):
            tap.equal(sha256(vm.read_at(image, index * 4 * MIB, 4 * MIB)), values["sum"],
                      f"image at {index * 4} MiB")
        tap.equal(vm.read_at(image, 0, 128 << 10), vm.read_at(image, 4 * MIB, 128 << 10),
                  "what was written in 512-byte blocks")
        return values


@tap.test("a guest writes and reads through one queue")
def one_queue():
    io_scenario(1)


@tap.test("a guest with two CPUs writes and reads through two queues at once")
def two_queues():
    io_scenario(2, smp=2)


@tap.test("two workers serve two queues of one guest")
def two_workers():
    io_scenario(2, smp=2, options=["--workers=2"])


@tap.test("the daemon's own thread serves a guest when there are no workers")
def no_workers():
    io_scenario(1, options=["--workers=0"])


@tap.test("a guest uses indirect descriptors when they are offered and does without when QEMU hides them")
def indirect():
    # Bit 28 of the feature string that the guest's kernel shows, lowest bit first.
    tap.equal(io_scenario(1, props="indirect_desc=on")["features"][28], "1", "indirect descriptors, offered")
    tap.equal(io_scenario(1, props="indirect_desc=off")["features"][28], "0", "indirect descriptors, hidden")


@tap.test("a guest without the event index gets the same data")
def no_event_index():
    tap.equal(io_scenario(1, props="event_idx=off")["features"][29], "0", "event index, hidden")


@tap.test("a guest uses a packed ring, with and without indirect descriptors and event index")
def packed_ring():
    for props in ("packed=on", "packed=on,indirect_desc=off", "packed=on,event_idx=off"):
        tap.equal(io_scenario(1, props=props)["features"][34], "1", f"packed ring with {props}")


@tap.test("a guest with two CPUs uses two packed rings at once")
def two_packed_queues():
    io_scenario(2, props="packed=on,queue-size=256", smp=2, options=["--workers=2"])


@tap.test("a ring of 1024 entries works like one of 128")
def large_ring():
    io_scenario(1, props="queue-size=1024")


@tap.test("epoll serves a guest where io_uring is not wanted")
def epoll():
    io_scenario(1, options=["--waiter=epoll"])


@tap.test("a guest can read a read-only disk, and sees that it is one")
def read_only():
    data = noise(16 * MIB, 5)
    with served("--read-only", data=data) as (image, sock, _):
        with vm.Guest("read", [vm.disk(sock)], arguments={"at": 4}) as guest:
            values = guest.finish()
        tap.equal(values["read_only"], "1", "read-only flag")
        tap.equal(values["sum"], sha256(data[4 * MIB:12 * MIB]), "what the guest read")
        tap.equal(vm.read_at(image, 0, len(data)), data, "the image")


@tap.test("memory that is added to a running guest takes part in I/O at once")
def added_memory():
    with vm.scratch() as folder:
        image, sock, qmp = vm.make_image(folder / "disk.img", 64), folder / "s", folder / "qmp"
        with vm.Backend(sock, f"--blk-file={image}"):
            with vm.Guest("hotplug", [vm.disk(sock)], slots=",slots=2,maxmem=1G", qmp=qmp,
                          arguments={"expect": 400, "fill": 250}) as guest:
                guest.wait_line("@@ ready=1")
                monitor = vm.Qmp(qmp)
                monitor.command("object-add", **{"qom-type": "memory-backend-memfd", "id": "more",
                                                 "size": 256 * MIB, "share": True})
                monitor.command("device_add", driver="pc-dimm", id="dimm0", memdev="more")
                values = guest.finish()
                monitor.close()
        data = vm.read_at(image, 0, 32 * MIB)
        tap.equal(sha256(data), values["sum"], "what the guest wrote")
        tap.equal(values["cached"], values["sum"], "what the guest read back")


@tap.test("qemu-storage-daemon gives the same answers to the same requests")
def same_answers():
    with vm.scratch() as folder:
        data = noise(32 * MIB, 7)
        images = [vm.make_image(folder / name, 64, data) for name in ("a.img", "b.img")]
        with vm.Backend(folder / "a", f"--blk-file={images[0]}"), vm.StorageDaemon(folder / "b", images[1]):
            with vm.Guest("compare", [vm.disk(folder / "a"), vm.disk(folder / "b")]) as guest:
                values = guest.finish()
        tap.equal(values["sectors_a"], values["sectors_b"], "size")
        tap.equal(values.get("no_discard"), None, "disk that refused a discard")
        tap.equal(sha256(images[0].read_bytes()), sha256(images[1].read_bytes()), "the images afterwards")


if __name__ == "__main__":
    tap.main()
