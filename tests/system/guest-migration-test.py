#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest under load moves from one QEMU to the next, each with a back-end of its own on the same image.

VHOST_TEST_MIGRATIONS says how many times in a row: a few in the check, more in tools/check --long.
"""

import contextlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
from vm import MIB, sha256  # noqa: E402

MOVES = int(os.environ.get("VHOST_TEST_MIGRATIONS", "2"))


class Place:
    """Where a guest can be: a back-end and a QEMU."""

    def __init__(self, stack, folder, index, image, *, incoming, seconds, props="", options=()):
        self.folder, self.index = folder, index
        self.sock, self.qmp_path, self.entry = (folder / f"{name}{index}" for name in ("s", "q", "m"))
        self.backend = stack.enter_context(vm.Backend(self.sock, f"--blk-file={image}", *options))
        extra = ["-incoming", f"unix:{self.entry}"] if incoming else []
        self.guest = stack.enter_context(
            vm.Guest("load", [vm.disk(self.sock, props=props)], qmp=self.qmp_path, extra=extra,
                     arguments={"seconds": seconds}))
        vm.wait_for("QEMU's control socket", self.qmp_path.exists)
        self.monitor = vm.wait_for("QEMU's control socket", self._connect)

    def _connect(self):
        with contextlib.suppress(OSError):
            return vm.Qmp(self.qmp_path)
        return None

    def rounds(self):
        return sum(int(value) for key, value in self.guest.values.items() if key.startswith("round_"))

    def work(self):
        """Waits until the guest has done something here."""
        before = self.rounds()
        vm.wait_for("the load to go on", lambda: self.rounds() >= before + 2 or not self.guest.running())

    def move_to(self, other, postcopy=False):
        for place in (self, other):
            if postcopy:
                place.monitor.command("migrate-set-capabilities",
                                      capabilities=[{"capability": "postcopy-ram", "state": True}])
        self.monitor.command("migrate", uri=f"unix:{other.entry}")
        if postcopy:
            self.monitor.wait_for("the migration to begin", "query-migrate",
                                  lambda answer: answer.get("status") in ("active", "postcopy-active"))
            self.monitor.command("migrate-start-postcopy")
        answer = self.monitor.wait_for("the migration's end", "query-migrate",
                                       lambda answer: answer.get("status") in ("completed", "failed"))
        tap.equal(answer["status"], "completed", f"migration ({answer.get('error-desc', '')})")
        if postcopy:
            other.monitor.wait_for("the last page", "query-migrate",
                                   lambda answer: answer.get("status") in ("completed", "failed"))
        self.leave()

    def leave(self):
        self.monitor.command("quit")
        self.monitor.close()
        self.guest.wait_exit()
        self.backend.finish()


def migrate(moves, *, postcopy=False, props="", options=()):
    with vm.scratch() as folder, contextlib.ExitStack() as stack:
        image = vm.make_image(folder / "disk.img", 64)
        seconds = 4 + 4 * moves
        place = Place(stack, folder, 0, image, incoming=False, seconds=seconds, props=props, options=options)
        place.guest.wait_line("@@ loading=1")
        said = {}
        for index in range(1, moves + 1):
            place.work()
            other = Place(stack, folder, index, image, incoming=True, seconds=seconds, props=props, options=options)
            place.move_to(other, postcopy)
            said.update(place.guest.values)
            place = other
        place.work()
        values = {**said, **place.guest.finish(vm.DEADLINE + seconds)}
        tap.equal(values["io_errors"], "0", "I/O errors in the guest's log")
        for index in (1, 2, 3, 4):
            tap.equal(sha256(vm.read_at(image, index * 4 * MIB, 2 * MIB)), values[f"sum_{index}"],
                      f"what writer {index} wrote last")


@tap.test("a guest under load moves from QEMU to QEMU and its disk is whole")
def precopy():
    migrate(MOVES)


@tap.test("a guest with a packed ring moves too")
def packed():
    migrate(1, props="packed=on")


@tap.test("a guest moves while its requests end late and out of order")
def disorder():
    migrate(1, options=["--filter=delay", "--delay-us=200", "--delay-jitter-ms=4", "--filter=reorder",
                        "--reorder-ms=2"])


@tap.test("a guest moves first and fetches its memory afterwards")
def postcopy():
    migrate(max(1, MOVES // 3), postcopy=True, options=["--postcopy"])


@tap.test("a migration that is cancelled leaves the guest running where it was")
def cancelled():
    with vm.scratch() as folder, contextlib.ExitStack() as stack:
        image = vm.make_image(folder / "disk.img", 64)
        here = Place(stack, folder, 0, image, incoming=False, seconds=8)
        here.guest.wait_line("@@ loading=1")
        there = Place(stack, folder, 1, image, incoming=True, seconds=8)
        here.monitor.command("migrate-set-parameters", **{"max-bandwidth": 1 * MIB})
        here.monitor.command("migrate", uri=f"unix:{there.entry}")
        here.monitor.wait_for("the migration to begin", "query-migrate",
                              lambda answer: answer.get("status") == "active")
        here.work()  # the dirty log is in use
        here.monitor.command("migrate_cancel")
        here.monitor.wait_for("the cancellation", "query-migrate",
                              lambda answer: answer.get("status") == "cancelled")
        here.work()
        values = here.guest.finish(vm.DEADLINE + 8)
        tap.equal(values["io_errors"], "0", "I/O errors in the guest's log")


if __name__ == "__main__":
    tap.main()
