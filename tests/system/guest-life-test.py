#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lives and deaths: guests reboot, go and come back, back-ends stop, start and are killed; no data is lost."""

import pathlib
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
from vm import MIB, noise, served, sha256  # noqa: E402


@tap.test("a guest that reboots finds its disk again under the same connection")
def reboot():
    with served() as (image, sock, backend):
        with vm.Guest("reboot", [vm.disk(sock)], arguments={"boots": 3}, reboots=True) as guest:
            guest.finish()
            seen = [line for line in guest.text().splitlines() if "@@ boot=" in line]
        tap.equal(len(seen), 3, "boots seen on the console")
        tap.equal(vm.read_at(image, 0, 2), b"3\n", "boots counted on the disk")
        tap.equal(backend.running(), True, "back-end running")


@tap.test("one back-end serves one guest after another")
def guests_in_turn():
    with served() as (_, sock, _):
        with vm.Guest("write", [vm.disk(sock)], arguments={"at": 8}) as guest:
            wrote = guest.finish()["sum"]
        with vm.Guest("read", [vm.disk(sock)], arguments={"at": 8}) as guest:
            tap.equal(guest.finish()["sum"], wrote, "what the second guest read")


@tap.test("a back-end that was stopped and started again serves the next guest the same data")
def restarted():
    with vm.scratch() as folder:
        image, sock = vm.make_image(folder / "disk.img", 64), folder / "s"
        with vm.Backend(sock, f"--blk-file={image}"):
            with vm.Guest("write", [vm.disk(sock)], arguments={"at": 8}) as guest:
                wrote = guest.finish()["sum"]
        tap.equal(sock.exists(), False, "socket left after the end")
        with vm.Backend(sock, f"--blk-file={image}"):
            with vm.Guest("read", [vm.disk(sock)], arguments={"at": 8}) as guest:
                tap.equal(guest.finish()["sum"], wrote, "what the second guest read")


@tap.test("a back-end that was killed leaves a socket which the next one takes over")
def killed():
    with vm.scratch() as folder:
        image, sock = vm.make_image(folder / "disk.img", 64, noise(16 * MIB, 6)), folder / "s"
        first = vm.Backend(sock, f"--blk-file={image}")
        first.stop(signal.SIGKILL)
        tap.equal(sock.exists(), True, "socket left after SIGKILL")
        with vm.Backend(sock, f"--blk-file={image}"):
            with vm.Guest("read", [vm.disk(sock)], arguments={"at": 8}) as guest:
                tap.equal(guest.finish()["sum"], sha256(vm.read_at(image, 8 * MIB, 8 * MIB)), "what the guest read")


@tap.test("as a client the back-end connects to a QEMU that listens")
def client_mode():
    with vm.scratch() as folder:
        image, sock = vm.make_image(folder / "disk.img", 64), folder / "s"
        with vm.Backend(sock, f"--blk-file={image}", "--client", "--reconnect-interval=20", ready=None) as backend:
            for at in (8, 16):
                # Twice: after the first QEMU has gone the back-end looks for the next one by itself.
                listening = f"path={sock},server=on,wait=on"
                with vm.Guest("write", [vm.disk(chardev=listening)], arguments={"at": at}) as guest:
                    values = guest.finish()
                tap.equal(sha256(vm.read_at(image, at * MIB, 8 * MIB)), values["sum"], f"image at {at} MiB")
                sock.unlink(missing_ok=True)
            tap.equal(backend.running(), True, "back-end running")


@tap.test("a connected socket handed over as --fd serves one guest and then ends")
def inherited_fd():
    with vm.scratch() as folder:
        image = vm.make_image(folder / "disk.img", 64)
        ours, theirs = socket.socketpair()
        with vm.Backend(None, f"--blk-file={image}", f"--fd={ours.fileno()}", ready=None,
                        pass_fds=[ours.fileno()]) as backend:
            ours.close()
            with vm.Guest("write", [vm.disk(chardev=f"fd={theirs.fileno()}")], arguments={"at": 8},
                          pass_fds=[theirs.fileno()]) as guest:
                theirs.close()
                values = guest.finish()
            tap.equal(backend.wait_exit(30), 0, "exit status")
        tap.equal(sha256(vm.read_at(image, 8 * MIB, 8 * MIB)), values["sum"], "image at 8 MiB")


@tap.test("a guest whose memory is not shared gets the one sentence that helps")
def not_shared():
    with served() as (_, sock, backend):
        with vm.Guest("idle", [vm.disk(sock)], shared=False) as guest:
            match = backend.wait_line("shares? no guest memory", 60)
            tap.equal("memory-backend-memfd" in backend.text() and "share=on" in backend.text(), True,
                      f"the cure is named after {match.group(0)!r}")
            guest.stop(signal.SIGKILL)
        # And the next guest, started as it should be, is served.
        with vm.Guest("read", [vm.disk(sock)], arguments={"at": 8}) as guest:
            guest.finish()


@tap.test("a guest killed in the midst of I/O does no harm to the next one")
def killed_guest():
    with served() as (_, sock, backend):
        with vm.Guest("io", [vm.disk(sock)]) as guest:
            guest.wait_line("@@ sum=")
            guest.stop(signal.SIGKILL)
        with vm.Guest("write", [vm.disk(sock)], arguments={"at": 8}) as guest:
            guest.finish()
        tap.equal(backend.running(), True, "back-end running")


if __name__ == "__main__":
    tap.main()
