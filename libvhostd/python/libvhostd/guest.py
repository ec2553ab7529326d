# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU guest that has vhost-user devices and runs a shell command: run_guest().

The guest is Debian's kernel with a busybox; nothing is installed, see guest_image.py. Devices may be back-ends of this
process, which are served while the guest runs: the main context is iterated meanwhile.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile

from gi.repository import GLib, Vhost

from . import guest_image
from .main_context import iterate_until

# QEMU's devices, where they are not called as ours, or need more. QEMU 7.2 crashes with these network cards and crypto
# devices where they have MSI-X and no KVM, and tells nobody what guest and crypto device agree on.
_QEMU_DEVICES = {"block": "vhost-user-blk-pci", "crypto": "virtio-crypto-pci,vectors=0,indirect_desc=off,event_idx=off",
                 "fs": "vhost-user-fs-pci,tag=host", "net": "virtio-net-pci,vectors=0"}
# Those that have two halves: the other one's words, and what it is called in the first.
_HALVES = {"virtio-net": (["-netdev", "vhost-user,id=h{0},chardev=c{0},queues={1}"], "netdev"),
           "virtio-crypto": (["-object", "cryptodev-vhost-user,id=h{0},chardev=c{0}"], "cryptodev")}
# Loaded where the kernel has them: a guest may have devices of QEMU's own beside the ones under test.
_MODULES = ["virtio_pci", "virtio_blk", "virtio-rng", "virtio_input", "evdev", "virtio_console", "virtio_net"]
# Drivers of devices that few guests have.
_DRIVERS = {"crypto": ["virtio_crypto"], "fs": ["virtiofs"], "gpio": ["gpio-virtio"], "gpu": ["virtio-gpu"],
            "i2c": ["i2c-virtio", "i2c-dev"], "scsi": ["virtio_scsi", "sd_mod"], "sound": ["virtio_snd"],
            "vsock": ["vmw_vsock_virtio_transport"]}
# The kernel's own folders.
_HIDDEN = ("dev", "proc", "sys")
_DEADLINE = 120
_INIT = b"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
dmesg -n 1
echo "@@ begin"
sh /command 2>&1
status=$?
echo "@@ end=$status"
[ $status = 0 ] || dmesg | tail -n 20
sync
poweroff -f
"""

Unavailable = guest_image.Unavailable


class GuestFailed(AssertionError):
    """The guest did not boot, or its command failed; the text has what it said."""


def run_guest(devices, command, *, programs=(), files=None, modules=(), kernel=None, qemu="qemu-system-x86_64",
              accel="tcg", memory=128, timeout=_DEADLINE, check=True, extra=()):
    """Boots a guest with the devices, runs a shell command in it, and returns what the command printed.

    A device is a back-end (a Vhost.Backend), or (back-end or socket path, "vhost-user-...-pci[,property=value]");
    a network card is a "virtio-net-pci", a crypto device a "virtio-crypto-pci". Their drivers are loaded. A file system
    has the tag "host".

    The command is for busybox's shell and has busybox's tools. It finds `programs` as well, names or paths of this
    machine's programs, which come with their libraries (in /sbin), and `files`: bytes or a path of this machine, by the
    path in the guest. `modules` are kernel modules to load before it, after those that they depend on. What the kernel
    says is not part of what the command prints: it can ask dmesg.

    `kernel` is another kernel than Debian's: an image, or (image, folder of its modules). `qemu` is another QEMU, `extra`
    are more words for it. `memory` is in MiB. The CPU is emulated unless accel="kvm": not every machine that has
    /dev/kvm can start a guest with it.

    Raises Unavailable where QEMU, the kernel, a module in it or a program is missing, and GuestFailed when the command
    fails (unless check=False) or nothing has come of it after `timeout` seconds.
    """
    found = guest_image.find_program(qemu, "install the package qemu-system-x86, or give another with qemu=")
    if isinstance(devices, Vhost.Backend):
        devices = [devices]
    image, folder = guest_image.kernel() if kernel is None else kernel if isinstance(kernel, tuple) else (kernel, None)
    archive = guest_image.Cpio()
    if folder is not None:
        archive.modules(guest_image.modules_in_order(pathlib.Path(folder), [*_drivers(devices), *modules], _MODULES))
    elif modules:
        raise ValueError(f"where are the modules of {image}? give kernel=(image, folder of its modules)")
    aliases = ""
    for program in programs:
        path = guest_image.find_program(program, "the guest's command needs it, install the package that has it")
        archive.program(path)
        # Busybox' shell would take its own program of that name.
        aliases += " {0}=/sbin/{0}".format(shlex.quote(pathlib.Path(path).name))
    _add_files(archive, files or {})
    archive.file("command", (f"alias{aliases}\n" if aliases else "").encode() + command.encode() + b"\n")
    daemons = []
    with tempfile.TemporaryDirectory(prefix="vhost-") as name:
        scratch = pathlib.Path(name)
        # The kernel unpacks one archive after the other.
        base = guest_image.initrd({"init": (_INIT, 0o755)})
        (scratch / "initrd").write_bytes(base.read_bytes() + archive.bytes())
        words = [found, "-M", f"q35,accel={accel},memory-backend=mem", "-cpu",
                 "host" if accel == "kvm" else "max", "-m", f"{memory}M", "-object",
                 f"memory-backend-memfd,id=mem,size={memory}M,share=on", "-nodefaults", "-nographic", "-no-reboot",
                 "-serial", "stdio", "-kernel", image, "-initrd", scratch / "initrd",
                 "-append", "console=ttyS0 quiet panic=-1"]
        try:
            for index, device in enumerate(devices):
                path, model = _device(device, scratch / f"s{index}", daemons)
                words += ["-chardev", f"socket,id=c{index},path={path}"]
                driver, _, properties = model.partition(",")
                half = f"chardev=c{index}"
                for name, (other, role) in _HALVES.items():
                    if driver.startswith(name):
                        words += [word.format(index, _pairs(device)) for word in other]
                        half = f"{role}=h{index}"
                words += ["-device", f"{driver},{half}" + (f",{properties}" if properties else "")]
            text = _run([*words, *extra], timeout)
        finally:
            for daemon in daemons:
                daemon.stop_async(None, None)
                iterate_until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, 10)
    return _output(text, check)


def _output(text, check):
    """What the command printed, of all that the guest said."""
    match = re.search(r"^(.*?)@@ begin\r?\n(.*?)@@ end=(\d+)(.*)", text, re.DOTALL)
    if not match:
        raise GuestFailed(f"the guest did not come to the command's end; it said:\n{text[-4000:]}")
    before, output, kernel = (part.replace("\r\n", "\n") for part in match.group(1, 2, 4))
    if check and match.group(3) != "0":
        refused = "".join(line + "\n" for line in before.split("\n") if "insmod" in line)
        raise GuestFailed(f"the command ended with status {match.group(3)} in the guest; it said:\n{refused}{output}"
                          f"and the guest's kernel, last:{kernel}")
    return output


def _drivers(devices):
    """Names of the modules that the devices need."""
    for device in devices:
        served, model = device if isinstance(device, tuple) else (device, "")
        match = re.match(r"vhost-user-(\w+)", model)
        name = match[1] if match else served.get_device_name() if isinstance(served, Vhost.Backend) else None
        yield from _DRIVERS.get(name, ())


def _add_files(archive, files):
    for name, content in files.items():
        path = pathlib.PurePosixPath("/", name).relative_to("/")
        if not path.parts or path.parts[0] in _HIDDEN or ".." in path.parts:
            raise ValueError(f"the guest cannot have a file {name}: give a path outside of /{', /'.join(_HIDDEN)}")
        if isinstance(content, (str, os.PathLike)):
            archive.file(str(path), pathlib.Path(content).read_bytes(), os.stat(content).st_mode & 0o777)
        else:
            archive.file(str(path), bytes(content), 0o755)


def _pairs(device):
    """Pairs of queues that a network card has."""
    served = device[0] if isinstance(device, tuple) else device
    if not isinstance(served, Vhost.Backend) or served.get_device_name() != "net":
        return 1
    return max(1, served.props.num_queues // 2)


def _device(device, path, daemons):
    """(socket path, QEMU's device) of what the caller gave; back-ends get a daemon."""
    served, model = device if isinstance(device, tuple) else (device, None)
    if not isinstance(served, Vhost.Backend):
        if model is None:
            raise ValueError(f"which device is {served}? give (path, \"vhost-user-...-pci\")")
        return served, model
    if model is None:
        name = served.get_device_name()
        model = _QEMU_DEVICES.get(name, f"vhost-user-{name}-pci") + (",mq=on" if _pairs(device) > 1 else "")
    daemon = Vhost.Daemon(backend=served, socket_path=str(path))
    daemon.start()
    daemons.append(daemon)
    return path, model


def _run(words, timeout):
    """Output of QEMU; the main context runs meanwhile."""
    child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    parts, ended = [], []

    def said(fd, condition):
        data = os.read(fd, 65536)
        parts.append(data)
        if not data:
            ended.append(True)
        return bool(data)
    watch = GLib.io_add_watch(child.stdout.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP,
                              said)
    try:
        in_time = iterate_until(lambda: ended, timeout)
    finally:
        if not ended:
            GLib.source_remove(watch)
            child.kill()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:  # it has closed its output, and stays
            child.kill()
            child.wait()
        child.stdout.close()
    text = b"".join(parts).decode(errors="replace")
    if not in_time:
        raise GuestFailed(f"the guest did not end within {timeout} s; it said:\n{text[-4000:]}")
    if child.returncode < 0:
        raise GuestFailed(f"QEMU crashed ({signal.Signals(-child.returncode).name}); it said:\n{text[-4000:]}")
    return text
