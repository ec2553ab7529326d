# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Back-end programs and QEMU guests for system tests and for the quickstart.

A back-end is a child process that serves a socket; a guest is a QEMU that boots Debian's kernel with the initial RAM
disk of tests/lib/guest and runs one of its scenarios. Everything is waited for with a deadline, nothing by sleeping a
fixed time; what is started is ended when its `with` block ends.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "guest"))
import image as guest_image  # noqa: E402  (found through the line above)

MIB = 1 << 20
SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VHOST_BUILD_DIR") or SOURCE / "build")
VHOSTD = BUILD / "tools" / "vhostd" / "vhostd"
VHOSTCTL = BUILD / "tools" / "vhostctl" / "vhostctl"
# An emulated CPU on a busy machine takes its time; a healthy run needs a tenth of this.
DEADLINE = float(os.environ.get("VHOST_TEST_DEADLINE", "60"))

Unavailable = guest_image.Unavailable


class Failed(Exception):
    """What was waited for did not happen; the text carries what the processes said."""


def program(name, package):
    """Path of a program, or Unavailable with the package that has it."""
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is missing: install the package {package}")
    return path


def wait_for(what, condition, deadline=None):
    """Looks every few milliseconds until the condition holds; returns what it returned."""
    end = time.monotonic() + (deadline or DEADLINE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited in vain for {what}")
        time.sleep(0.005)


def make_image(path, mib, data=b""):
    """A sparse image file of so many MiB, its beginning filled with data."""
    with open(path, "wb") as file:
        file.write(data)
        file.truncate(mib * MIB)
    return path


def noise(length, seed):
    """The same random bytes for the same seed."""
    return random.Random(seed).randbytes(length)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read_at(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


class Process:
    """A child whose lines are collected while it runs."""

    def __init__(self, name, command, *, echo=None, **kwargs):
        self.name, self.command, self.echo = name, [str(word) for word in command], echo
        self.lines, self.changed = [], threading.Condition()
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, **kwargs)
        self.ended = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.child.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if self.echo:
                self.echo(line)
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def text(self):
        with self.changed:
            return "\n".join(self.lines)

    def find(self, pattern):
        with self.changed:
            return next((match for match in (re.search(pattern, line) for line in self.lines) if match), None)

    def wait_line(self, pattern, deadline=None):
        """The first match in the child's output, now or soon."""
        end = time.monotonic() + (deadline or DEADLINE)
        with self.changed:
            done = 0
            while True:
                for line in self.lines[done:]:
                    match = re.search(pattern, line)
                    if match:
                        return match
                done = len(self.lines)
                left = end - time.monotonic()
                if self.ended or left <= 0 or not self.changed.wait(left):
                    break
        raise Failed(f"{self.name} never said /{pattern}/; it said:\n{self.text()[-4000:]}")

    def wait_exit(self, deadline=None):
        try:
            status = self.child.wait(deadline or DEADLINE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end; it said:\n{self.text()[-4000:]}") from None
        self.reader.join(10)
        return status

    def running(self):
        return self.child.poll() is None

    def stop(self, number=signal.SIGTERM, deadline=20):
        """Asks the child to end; returns its exit status. One that does not end is killed and reported."""
        if self.running():
            self.child.send_signal(number)
            try:
                self.child.wait(deadline)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise Failed(f"{self.name} did not end within {deadline} s of signal {number}; "
                             f"it said:\n{self.text()[-4000:]}") from None
        self.reader.join(10)
        return self.child.returncode

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.running():
            self.child.kill()
            self.child.wait()
        self.reader.join(10)


class Backend(Process):
    """vhostd (or a program of the same options) serving a socket. Its end is checked: status 0, no complaint."""

    def __init__(self, sock, *options, device="block", binary=None, ready="socket", **kwargs):
        binary = pathlib.Path(binary) if binary else VHOSTD
        if not binary.exists():
            raise Unavailable(f"{binary} is not built")
        command = [binary, *([device] if binary == VHOSTD else []), *options]
        self.socket = sock
        if sock is not None:
            command.append(f"--socket-path={sock}")
        super().__init__(binary.name, command, **kwargs)
        if ready == "socket":
            try:
                wait_for(f"the socket {sock}", lambda: is_listening(sock) or not self.running(), 30)
                if not self.running():
                    raise Failed(f"{self.name} ended with {self.wait_exit()} at once; it said:\n{self.text()}")
            except Failed:
                super().__exit__(None, None, None)
                raise

    def finish(self):
        status = self.stop()
        if status != 0:
            raise Failed(f"{self.name} ended with status {status}; it said:\n{self.text()[-4000:]}")

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.finish()
        finally:
            super().__exit__(kind, value, trace)


class StorageDaemon(Process):
    """qemu-storage-daemon as the back-end: the peer whose answers ours are compared with."""

    def __init__(self, sock, path, queues=1):
        binary = program("qemu-storage-daemon", "qemu-system-common or qemu-utils")
        super().__init__("qemu-storage-daemon", [
            binary, "--blockdev", f"file,filename={path},node-name=f,discard=unmap",
            "--export", f"vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path={sock},"
                        f"writable=on,num-queues={queues}"])
        self.socket = sock
        wait_for(f"the socket {sock}", lambda: is_listening(sock), 30)

    def __exit__(self, kind, value, trace):
        with contextlib.suppress(Failed):
            self.stop()
        super().__exit__(kind, value, trace)


def is_listening(path):
    """Whether a process listens at the socket. Read from the kernel's table: a trial connection would be a session."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        # Flags 00010000: listening.
        return any(line.split()[3] == "00010000" and line.rstrip("\n").endswith(" " + str(path))
                   for line in file.readlines()[1:])


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.file.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        json.dump({"execute": name, "arguments": arguments}, self.file)
        self.file.write("\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise Failed(f"QEMU closed its control socket at {name}")
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(f"QEMU refused {name}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def wait_for(self, what, name, condition, deadline=None):
        """Asks `name` until the answer satisfies the condition."""
        def ask():
            answer = self.command(name)
            return answer if condition(answer) else None
        return wait_for(what, ask, deadline)

    def close(self):
        self.file.close()
        self.socket.close()


def disk(sock=None, *, queues=1, device="vhost-user-blk-pci", props="", chardev=""):
    """One vhost-user device of a guest. `chardev` overrides how the connection is made."""
    return {"chardev": chardev or f"path={sock}", "device": device,
            "props": (f",num-queues={queues}" if "blk" in device else "") + (f",{props}" if props else "")}


class Guest(Process):
    """A QEMU that runs one scenario. `values` has what the guest said; finish () waits for its end."""

    def __init__(self, scenario, devices, *, arguments=None, accel="tcg", memory=256, slots="", shared=True,
                 smp=1, reboots=False, qmp=None, echo=None, pass_fds=(), machine="", kernel_words=(), before=(), extra=()):
        qemu = program("qemu-system-x86_64", "qemu-system-x86")
        kernel, _ = guest_image.kernel()
        words = ["console=ttyS0", "quiet", "panic=-1", f"scenario={scenario}"]
        words += [f"arg.{key}={value}" for key, value in (arguments or {}).items()] + list(kernel_words)
        command = [qemu, "-M", f"q35,accel={accel}{machine}", "-cpu", "host" if accel == "kvm" else "max", "-smp", smp,
                   "-m", f"{memory}M{slots}", "-nodefaults", "-nographic", "-serial", "stdio",
                   "-kernel", kernel, "-initrd", guest_image.initrd(), "-append", " ".join(words)]
        if shared:
            command += ["-object", f"memory-backend-memfd,id=mem,size={memory}M,share=on",
                        "-machine", "memory-backend=mem"]
        if not reboots:
            command += ["-no-reboot"]
        if qmp:
            command += ["-qmp", f"unix:{qmp},server=on,wait=off"]
        command += before
        for index, device in enumerate(devices):
            command += ["-chardev", f"socket,id=c{index},{device['chardev']}",
                        "-device", f"{device['device']},chardev=c{index}{device['props']}"]
        super().__init__("QEMU", [*command, *extra], echo=echo, pass_fds=pass_fds)

    @property
    def values(self):
        with self.changed:
            return dict(match.groups() for match in
                        (re.search(r"@@ (\w+)=(.*)", line) for line in self.lines) if match)

    def finish(self, deadline=None):
        """Waits until the guest has powered off and says what it found; a scenario that failed is an error."""
        status = self.wait_exit(deadline)
        values = self.values
        if status != 0 or "done" not in values or "insmod_failed" in values:
            raise Failed(f"the guest did not end well (QEMU: {status}, {values}); it said:\n{self.text()[-4000:]}")
        return values


@contextlib.contextmanager
def scratch():
    """A folder for images and sockets; short, as a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="vhost-") as name:
        yield pathlib.Path(name)


@contextlib.contextmanager
def served(*options, mib=64, data=b"", queues=1, **kwargs):
    """A fresh image, served by vhostd block: (image, socket, back-end)."""
    with scratch() as folder:
        image = make_image(folder / "disk.img", mib, data)
        with Backend(folder / "s", f"--blk-file={image}", f"--num-queues={queues}", *options, **kwargs) as backend:
            yield image, folder / "s", backend
