#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The second half of tools/quickstart: a disk, a back-end, a guest on it, and the proof that the bytes are right."""

import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "lib"))
import vm  # noqa: E402

IMAGE_MIB = 64
# KVM may exist and yet hang (a virtual machine inside a virtual machine): after this many seconds we stop believing.
KVM_PATIENCE = 20


def step(text):
    print(f"\n== {text}", flush=True)


def console(line):
    """One line of the guest's console for people: no escape sequences, no lines meant for the program."""
    line = re.sub(r"\x1b\[[0-9;?=]*[a-zA-Z]|\x1bc", "", line)
    if line.startswith("-- "):
        print(f"  guest | {line[3:]}", flush=True)
    elif line.startswith("@@ ") and "centiseconds" not in line and "done" not in line:
        print(f"  guest | {line[3:].replace('=', ' = ')}", flush=True)


def boot(sock, accel):
    return vm.Guest("tour", [vm.disk(sock, queues=2)], smp=2, accel=accel, echo=console)


def guest_values(sock, kvm):
    """What the guest said, how long its whole life was, and the console. Tries KVM when asked, then emulation."""
    for accel in (["kvm"] if kvm else []) + ["tcg"]:
        begin = time.monotonic()
        with boot(sock, accel) as guest:
            try:
                guest.wait_line("@@ booted=", KVM_PATIENCE if accel == "kvm" else None)
                return guest.finish(), time.monotonic() - begin, guest.text()
            except vm.Failed:
                if accel != "kvm":
                    raise
                print("  no guest came up under KVM; going on with emulation (TCG)", flush=True)
    raise AssertionError


def compare(name, guest_sum, host_sum):
    print(f"  {name}: guest {guest_sum[:16]}..., image {host_sum[:16]}... "
          f"{'the same' if guest_sum == host_sum else 'DIFFERENT'}")
    if guest_sum != host_sum:
        raise vm.Failed(f"{name}: the guest's bytes are not those of the image")


def dump_file(image, name):
    """A file out of the image's ext4, read on the host without mounting it."""
    debugfs = shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin:/bin") or vm.program("debugfs", "e2fsprogs")
    return subprocess.run([debugfs, "-R", f"cat {name}", str(image)], capture_output=True, check=True).stdout


def with_guest(image, sock, kvm, keep):
    step("Guest: Debian's kernel and a busybox, on two queues of that disk")
    vm.guest_image.kernel(tell=lambda text: print(f"  {text}", flush=True))
    values, life, text = guest_values(sock, kvm)
    if keep:
        (image.parent / "console.log").write_text(text, encoding="utf-8")

    step("Proof: the same bytes on both sides")
    compare("file on ext4", values["file_sha256"], vm.sha256(dump_file(image, "/hello")))
    compare("raw region  ", values["raw_sha256"], vm.sha256(vm.read_at(image, 48 * vm.MIB, 8 * vm.MIB)))
    if values["file_sha256"] != values["memory_sha256"]:
        raise vm.Failed("the guest read something else than it had written")

    def rate(mib, centiseconds):
        return f"{mib / max(int(centiseconds), 1) * 100:.0f} MiB/s"
    print(f"  booted in {values['booted']} s, whole life {life:.1f} s; "
          f"file written and synced at {rate(16, values['file_write_centiseconds'])}, "
          f"disk read at {rate(int(values['read_mib']), values['read_centiseconds'])} (emulated CPU)")


def without_guest(sock):
    step("No guest: vhostctl drives the rings itself, writes and verifies")
    if not vm.VHOSTCTL.exists():
        raise vm.Unavailable(f"{vm.VHOSTCTL} is not built")
    # A failed bench has said why on our own standard error.
    subprocess.run([vm.VHOSTCTL, "bench", sock, "--rw=mixed", "--time=2", "--verify"], check=True)


def what_next():
    vhostd, vhostctl = (str(path.relative_to(vm.SOURCE)) for path in (vm.VHOSTD, vm.VHOSTCTL))
    lines = [
        ("tools/quickstart --no-vm", "the same without a guest, in seconds"),
        (f"{vhostd} block --help", "every option is a property of the back-end"),
        (f"{vhostd} block --blk-file=disk.img --socket-path=/tmp/disk.sock", "a disk of your own"),
        (f"{vhostctl} probe /tmp/disk.sock", "what any vhost-user back-end offers"),
        (f"{vhostctl} bench /tmp/disk.sock", "latency and IOPS, no VM needed"),
        ("docs/examples/my-device.c", "your own device in 50 lines"),
        ("tools/check", "all tests"),
    ]
    step("Everything worked. What to try next")
    for what, why in lines:
        print(f"  {what}\n      {why}")


def main():
    options = set(sys.argv[1:])
    keep, kvm, guest = "--keep" in options, "--kvm" in options, "--no-vm" not in options
    if guest and platform.machine() != "x86_64":
        print(f"The guest needs an x86_64 machine, this one is {platform.machine()}: going on as with --no-vm.")
        guest = False
    with vm.scratch() as folder:
        place = vm.guest_image.cache_dir() if keep else folder
        step(f"Disk: {IMAGE_MIB} MiB, served by vhostd")
        image, sock = vm.make_image(place / "disk.img", IMAGE_MIB), folder / "disk.sock"
        with vm.Backend(sock, f"--blk-file={image}", "--num-queues=2") as backend:
            print("  " + " ".join(backend.command).replace(str(vm.SOURCE) + "/", ""))
            try:
                if guest:
                    with_guest(image, sock, kvm, keep)
                else:
                    without_guest(sock)
            except (vm.Failed, subprocess.CalledProcessError):
                print("vhostd said:\n" + backend.text()[-2000:], file=sys.stderr)
                raise
        if keep:
            print(f"  kept: {image}")
    what_next()


if __name__ == "__main__":
    try:
        main()
    except vm.Unavailable as error:
        hint = "" if "--no-vm" in sys.argv else "\nquickstart: --no-vm does the same without a guest"
        sys.exit(f"quickstart: {error}{hint}")
    except (vm.Failed, subprocess.CalledProcessError) as error:
        sys.exit(f"quickstart: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
