#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vhostctl, busctl and gdbus control a device of vhostd on a private bus while a front-end does I/O."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

PREFIX = "io.github.libvhostd1"
PATH = "/io/github/libvhostd1/devices/disk"


@contextlib.contextmanager
def bus():
    """The address of a bus of its own."""
    program = vm.program("dbus-daemon", "dbus-daemon")
    with subprocess.Popen([program, "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as daemon:
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.kill()


class Scene:
    """A disk on a bus, and a front-end that reads from it all the time."""

    def __init__(self, stack):
        self.address = stack.enter_context(bus())
        self.env = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": self.address}
        self.folder = stack.enter_context(vm.scratch())
        self.socket = self.folder / "s"
        self.backend = stack.enter_context(vm.Backend(self.socket, "--driver=null", "--size=64M", "--bus=session",
                                                      "--name=disk", "--filter=delay", env=self.env))
        self.name = f"{PREFIX}.Process{self.backend.child.pid}"
        vm.wait_for("the name on the bus", lambda: self.ctl("list", "--json").stdout.strip() != "[]")

    def ctl(self, *words, status=0):
        run = subprocess.run([vm.VHOSTCTL, *words], env=self.env, capture_output=True, text=True, timeout=60, check=False)
        if run.returncode != status:
            raise vm.Failed(f"vhostctl {words} ended with {run.returncode}: {run.stdout}{run.stderr}")
        return run

    def show(self):
        return json.loads(self.ctl("show", "disk", "--json").stdout)

    def requests(self):
        return sum(counters["requests"] for _queue, counters in self.show()["Statistics"])

    def run(self, package, *words):
        run = subprocess.run([vm.program(words[0], package), *words[1:]], env=self.env, capture_output=True, text=True,
                             timeout=60, check=False)
        if run.returncode != 0:
            raise vm.Failed(f"{words} ended with {run.returncode}: {run.stdout}{run.stderr}")
        return run.stdout


@contextlib.contextmanager
def scene(load=True):
    with contextlib.ExitStack() as stack:
        it = Scene(stack)
        if load:
            stack.enter_context(vm.Process("bench", [vm.VHOSTCTL, "bench", it.socket, "--time=60", "--no-progress"]))
            vm.wait_for("requests", lambda: it.requests() > 1000)
        yield it


def goes_on(it):
    before = it.requests()
    vm.wait_for("more requests", lambda: it.requests() > before)


def stands_still(it):
    tap.equal(it.show()["Paused"], True, "paused")
    tap.equal(it.requests(), it.requests(), "requests while it is paused")


@tap.test("vhostctl lists, shows, sets, pauses, resumes, watches, disconnects and removes a device under load")
def vhostctl():
    with scene() as it:
        listed = json.loads(it.ctl("list", "--json").stdout)
        tap.equal([(row["name"], row["type"], row["state"], row["socket-path"]) for row in listed],
                  [("disk", "block", "running", str(it.socket))], "list")
        tap.equal(it.ctl("list").stdout.splitlines()[0].split(), ["NAME", "TYPE", "STATE", "PROCESS", "SOCKET"], "table")
        text = it.ctl("show", "disk").stdout
        for part in ("VIRTIO id 2", "VERSION_1", "* delay-ms", "QUEUE", "vhostctl (process"):
            tap.equal(part in text, True, f"{part!r} in {text}")
        it.ctl("set", "disk", "delay-us=300", "delay-at=start")
        tap.equal((it.show()["Options"]["delay-us"], it.show()["Options"]["delay-at"]), (300, "start"), "options")
        goes_on(it)
        it.ctl("pause", "disk")
        stands_still(it)
        tap.equal(it.ctl("list").stdout.splitlines()[1].split()[2], "paused", "state in the list")
        it.ctl("resume", f"{it.backend.child.pid}/disk")
        goes_on(it)
        lines = it.ctl("monitor", "disk", "--interval=100", "--count=3", "--json").stdout.splitlines()
        tap.equal([json.loads(line)["event"] for line in lines], ["device"] + 3 * ["statistics"], "monitor")
        for count in (1, 2):
            lines = it.ctl("monitor", "disk", "--interval=100", f"--count={count}").stdout.splitlines()
            tap.equal(sum("requests/s" in line for line in lines), count, "lines of rates")
        it.ctl("disconnect", "disk")
        vm.wait_for("the end of the session", lambda: not it.show()["Peers"])
        it.ctl("remove", "disk")
        tap.equal(json.loads(it.ctl("list", "--json").stdout), [], "after its removal")
        tap.equal(it.backend.wait_exit(), 0, f"status of a device that was removed ({it.backend.text()[-4000:]})")


@tap.test("busctl and gdbus are enough to control a device under load")
def others():
    with scene() as it:
        call = ("--address=" + it.address, "call", it.name, PATH, f"{PREFIX}.Device")
        it.run("systemd", "busctl", *call, "Pause")
        stands_still(it)
        it.run("systemd", "busctl", *call, "SetOptions", "a{sv}", "1", "delay-us", "u", "200")
        tap.equal(it.run("systemd", "busctl", "--address=" + it.address, "get-property", it.name, PATH,
                         f"{PREFIX}.Device", "Paused").strip(), "b true", "busctl get-property")
        gdbus = ("gdbus", "call", "--session", "-d", it.name, "-o", PATH, "-m")
        it.run("libglib2.0-bin", *gdbus, f"{PREFIX}.Device.Resume")
        goes_on(it)
        tap.equal("'requests': <" in it.run("libglib2.0-bin", *gdbus, f"{PREFIX}.Device.GetStatistics", "{}")
                  or "'requests': " in it.run("libglib2.0-bin", *gdbus, f"{PREFIX}.Device.GetStatistics", "{}"), True,
                  "statistics")
        tap.equal("uint32 200" in it.run("libglib2.0-bin", "gdbus", "introspect", "--session", "-d", it.name, "-o", PATH,
                                         "-p"), True, "gdbus introspect")


@tap.test("mistakes are told in plain words, with the exit status that says whose they are")
def mistakes():
    with scene(load=False) as it:
        for words, status, part in (
                (("pause",), 2, "vhostctl pause NAME"), (("pause", "disk", "x"), 2, "too much"),
                (("pause", "disc"), 1, 'no device "disc"; there are'), (("set", "disk", "delay-ms"), 2, "OPTION=VALUE"),
                (("set", "disk", "delay-ms=x"), 1, "delay-ms cannot be"), (("set", "disk", "size=1M"), 1, "cannot change"),
                (("set", "disk", "colour=red"), 1, 'no option "colour"'), (("list", "x"), 2, "takes no name"),
                (("monitor", "disk", "--interval=1"), 1, "from 100"), (("show", "disk", "--frob"), 2, "frob"),
                (("list", "--address=unix:path=/nowhere"), 1, "no bus")):
            run = it.ctl(*words, status=status)
            tap.equal(part in run.stderr, True, f"{part!r} of {words}: {run.stderr}")


@tap.test("two programs may have devices of one name")
def names():
    with scene(load=False) as it, vm.Backend(it.folder / "t", "--driver=null", "--size=64M", "--bus=session",
                                             "--name=disk", env=it.env) as other:
        vm.wait_for("both", lambda: len(json.loads(it.ctl("list", "--json").stdout)) == 2)
        tap.equal("say which" in it.ctl("pause", "disk", status=1).stderr, True, "an ambiguous name")
        it.ctl("pause", f"{other.child.pid}/disk")
        states = {row["process"]: row["name"] for row in json.loads(it.ctl("list", "--json").stdout)}
        tap.equal(sorted(states), sorted([it.backend.child.pid, other.child.pid]), "processes")


if __name__ == "__main__":
    if shutil.which("dbus-daemon") is None:
        print("1..0 # SKIP dbus-daemon is missing: install the package dbus-daemon")
    else:
        tap.main()
