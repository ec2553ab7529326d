#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Device scripts as programs: vhostd run, Vhost.main(), how they end, and what they say when something is wrong."""

import contextlib
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap

import driver as drivers
from driver import tap, vm

RNG = """
    #!/usr/bin/env -S vhostd run
    from gi.repository import GObject, Vhost

    @Vhost.device("rng", queues=1)
    class Rng(Vhost.Backend):
        fail_every = GObject.Property(type=int, default=0, minimum=0, blurb="Answer every Nth request with nothing")
        seen = 0

        def do_process_chain(self, queue, chain):
            self.seen += 1
            if self.fail_every and self.seen % self.fail_every == 0:
                raise RuntimeError("on purpose")
            chain.write(b"r" * chain.writable_size)
            chain.complete()
"""
ENVIRONMENT = dict(os.environ, PATH=f"{vm.VHOSTD.parent}:{os.environ['PATH']}")
for _name in ("PYTHONPATH", "GI_TYPELIB_PATH"):  # vhostd knows them by itself
    ENVIRONMENT.pop(_name, None)


@contextlib.contextmanager
def script(text):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "device.py"
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        yield path


def run(*command, environment=None):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          env=environment or ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=drivers.DEADLINE)


@contextlib.contextmanager
def serving(*command, environment=None):
    """A device in a process of its own, on a socket that is passed to it; yields the process and the driver."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([str(word) for word in command] + [f"--fd={theirs.fileno()}"], text=True,
                               env=environment or ENVIRONMENT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    theirs.close()
    driver = drivers.Driver(None, ours.detach())
    try:
        driver.start()
        yield process, driver
    finally:
        driver.close()
        try:
            process.output = process.communicate(timeout=drivers.DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.output = process.communicate()
            raise


@tap.test("vhostd run serves the device of a script")
def vhostd_run():
    with script(RNG) as path, serving(vm.VHOSTD, "run", path, "--fail-every=2") as (process, driver):
        tap.equal(driver.request(into=(5,)), b"rrrrr", "the first answer")
        tap.equal(driver.request(into=(5,)), b"", "the second one")
        tap.equal(driver.request(into=(5,)), b"rrrrr", "the third one")
    tap.equal(process.returncode, 0, "the exit status")
    tap.equal("RuntimeError: on purpose" in process.output[1], True, "the traceback")


@tap.test("a script is a program by its first line")
def first_line():
    with script(RNG) as path, serving(path) as (process, driver):
        tap.equal(driver.request(into=(2,)), b"rr", "the answer")
    tap.equal((process.returncode, process.output), (0, ("", "")), "how it ended")


@tap.test("help has the script's properties, and defaults that are true")
def help_text():
    with script(RNG) as path:
        shown = run(vm.VHOSTD, "run", path, "--help")
    tap.equal(shown.returncode, 0, "the exit status")
    for line in ("--fail-every=NUMBER", "Answer every Nth request with nothing (default: 0)", "--strict",
                 "(0: the main loop serves them) (default: 0)"):
        tap.equal(line in shown.stdout, True, f'"{line}" in {shown.stdout}')


@tap.test("strict ends the process with the first exception, and the request is answered")
def strict():
    with script(RNG) as path, serving(vm.VHOSTD, "run", path, "--fail-every=1", "--strict") as (process, driver):
        tap.equal(driver.request(into=(5,)), b"", "the answer")
        process.wait(drivers.DEADLINE)
    tap.equal((process.returncode, "RuntimeError: on purpose" in process.output[1]), (1, True), "how it ended")


@tap.test("a script may end its program by sys.exit")
def system_exit():
    text = RNG.replace('raise RuntimeError("on purpose")', "import sys; sys.exit(7)")
    with script(text) as path, serving(vm.VHOSTD, "run", path, "--fail-every=1") as (process, driver):
        driver.request(into=(5,))
        process.wait(drivers.DEADLINE)
    tap.equal((process.returncode, process.output), (7, ("", "")), "how it ended")


@tap.test("a script without a device, with two, or that is missing, is refused")
def wrong_scripts():
    two = RNG + """
    @Vhost.device("net")
    class Net(Vhost.Backend):
        pass
    """
    for text, words in (("x = 1", "no device class"), (two, "2 device classes, Net, Rng"), ("1 / 0", "ZeroDivisionError")):
        with script(text) as path:
            shown = run(vm.VHOSTD, "run", path, "--socket-path=/nowhere")
        tap.equal((shown.returncode in (1, 2), words in shown.stderr), (True, True), shown.stderr)
    for command, status in ((["/no/such/script"], 2), ([], 2), (["--help"], 0)):
        tap.equal(run(vm.VHOSTD, "run", *command).returncode, status, f"the exit status of {command}")


@tap.test("a script with a main part runs by itself, and under vhostd run as well")
def main_part():
    text = RNG + """
    if __name__ == "__main__":
        Vhost.main(Rng)
    """
    with script(text) as path:
        for command, environment in (((vm.VHOSTD, "run"), None), ((sys.executable,), dict(os.environ))):
            with serving(*command, path, environment=environment) as (process, driver):
                tap.equal(driver.request(into=(1,)), b"r", "the answer")
            tap.equal(process.returncode, 0, process.output)


@tap.test("worker threads end cleanly with a signal, an exit and the end of the script")
def ends_with_workers():
    with script(RNG) as path, serving(vm.VHOSTD, "run", path, "--workers=2") as (process, driver):
        tap.equal(driver.request(into=(1,)), b"r", "the answer")
        process.send_signal(signal.SIGTERM)
        process.wait(drivers.DEADLINE)
    tap.equal((process.returncode, process.output), (0, ("", "")), "after SIGTERM")

    text = """
    import socket, sys, threading
    from gi.repository import GLib, Vhost

    @Vhost.device("rng")
    class Rng(Vhost.Backend):
        def do_process_chain(self, queue, chain):
            chain.write(b"%d" % (threading.get_ident() != main))
            chain.complete()
            GLib.idle_add(END)

    main = threading.get_ident()
    daemon = Vhost.Daemon(name="x", backend=Rng(workers=2))
    daemon.adopt_fd(int(sys.argv[-1].partition("=")[2]))
    daemon.start()
    loop = GLib.MainLoop()
    loop.run()
    """
    for end in ("lambda: sys.exit(3)", "lambda: loop.quit()"):
        with script(text.replace("END", end)) as path, serving(sys.executable, path, environment=dict(os.environ)) as (process, driver):
            tap.equal(driver.request(into=(1,)), b"1", "served on a worker")
            process.wait(drivers.DEADLINE)
        tap.equal((process.returncode in (0, 3), process.output), (True, ("", "")), f"after {end}")


tap.main()
