# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel and initial RAM disk of the test guest: made from Debian's packages, nothing is installed.

How it works: the cloud kernel's package is downloaded and unpacked into a cache. The initial RAM disk is written here
as a cpio archive (format "newc"): the host's static busybox, mkfs.ext4 with its libraries, /init, the scenarios and the
few kernel modules needed, listed in the order of their "depends=" (insmod in another order fails without a word).
"""

import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
META_PACKAGE = "linux-image-cloud-amd64"
# What the scenarios need; everything that these depend on comes along.
MODULES = ["virtio_pci", "virtio_blk", "virtio-rng", "virtio_input", "evdev", "crc32c_generic", "ext4"]


class Unavailable(Exception):
    """Something outside of the project is missing: a reason to skip, not to fail."""


def cache_dir():
    """Where kernel and initrd are kept: one place for all build directories of this source tree."""
    path = os.environ.get("VHOST_GUEST_CACHE") or SOURCE / "build" / "quickstart"
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _kernel_package():
    """Name of the real package behind the meta package."""
    try:
        out = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True, check=False,
                             env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise Unavailable("apt-cache is missing: the guest's kernel comes from a Debian package") from None
    match = re.search(r"Depends: (linux-image-\S+)", out.stdout)
    if not match:
        raise Unavailable(f"apt knows no package {META_PACKAGE}: run 'apt-get update' on a Debian amd64 machine")
    return match.group(1)


def kernel(tell=lambda text: None):
    """(kernel image, folder of modules), from the cache or fetched now."""
    cache = cache_dir()
    found = _unpacked(cache / "kernel")
    if found:
        return found
    package = _kernel_package()
    tell(f"fetching {package} (27 MB, unpacked under {cache}, not installed)")
    # Unpacked beside its final place and renamed: two tests at the same time see all of it or nothing.
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as work:
        os.chmod(work, 0o777)  # apt drops its rights to download
        run = subprocess.run(["apt-get", "-q", "download", package], cwd=work, capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, check=False)
        debs = list(pathlib.Path(work).glob("*.deb"))
        if run.returncode != 0 or not debs:
            raise Unavailable(f"'apt-get download {package}' failed: {run.stderr.strip()[-300:]}")
        tree = pathlib.Path(work) / "tree"
        subprocess.run(["dpkg", "-x", str(debs[0]), str(tree)], check=True)
        os.chmod(tree, 0o755)
        try:
            tree.rename(cache / "kernel")
        except OSError:
            pass  # another test was first
    found = _unpacked(cache / "kernel")
    if not found:
        raise Unavailable(f"{package} holds no kernel image")
    return found


def _unpacked(tree):
    kernels = sorted(tree.glob("boot/vmlinuz-*"))
    modules = sorted(tree.glob("lib/modules/*")) or sorted(tree.glob("usr/lib/modules/*"))
    return (kernels[-1], modules[-1]) if kernels and modules else None


def _read_module(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def modules_in_order(folder, wanted):
    """[(name, bytes)] of the wanted modules and all that they depend on, dependencies first."""
    files = {}
    for path in folder.rglob("*.ko*"):
        files[path.name.split(".")[0].replace("-", "_")] = path
    order, seen = [], set()

    def visit(name):
        name = name.replace("-", "_")
        if name in seen:
            return
        seen.add(name)
        path = files.get(name)
        if path is None:
            return  # built into the kernel
        data = _read_module(path)
        match = re.search(rb"\0depends=([^\0]*)\0", data)
        for dependency in (match.group(1).decode().split(",") if match else []):
            if dependency:
                visit(dependency)
        order.append((name + ".ko", data))

    for name in wanted:
        visit(name)
    return order


def _libraries(program):
    """Shared libraries of a program, as paths that ldd names."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", out)


class _Cpio:
    """A cpio archive of the kind that the kernel unpacks."""

    def __init__(self):
        self.parts, self.folders, self.serial = [], set(), 0

    def _entry(self, name, mode, data):
        self.serial += 1
        raw = name.encode() + b"\0"
        fields = (self.serial, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def _parents(self, name):
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) not in (".", *self.folders):
                self.folders.add(str(parent))
                self._entry(str(parent), 0o040755, b"")

    def folder(self, name):
        self._parents(name + "/x")

    def file(self, name, data, mode=0o644):
        self._parents(name)
        self._entry(name, 0o100000 | mode, data)

    def write(self, path):
        self._entry("TRAILER!!!", 0, b"")
        path.write_bytes(b"".join(self.parts))


def initrd():
    """Path of the initial RAM disk, built again only when something that goes into it has changed."""
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if busybox is None:
        raise Unavailable("busybox is missing: install the package busybox-static")
    if _libraries(busybox):
        raise Unavailable(f"{busybox} is not static: install the package busybox-static")
    mkfs = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if mkfs is None:
        raise Unavailable("mkfs.ext4 is missing: install the package e2fsprogs")
    image, modules = kernel()
    own = [HERE / "init", HERE / "scenario.sh", *sorted((HERE / "scenarios").iterdir())]

    digest = hashlib.sha256(str(image.name).encode())
    for path in (pathlib.Path(__file__), pathlib.Path(busybox), pathlib.Path(mkfs)):
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    for path in own:
        digest.update(path.name.encode() + path.read_bytes())
    target = cache_dir() / f"initrd-{digest.hexdigest()[:16]}.cpio"
    if target.exists():
        return target

    archive = _Cpio()
    for folder in ("proc", "sys", "dev", "tmp", "mnt", "etc"):
        archive.folder(folder)
    archive.file("etc/mtab", b"")
    archive.file("bin/busybox", pathlib.Path(busybox).read_bytes(), 0o755)
    archive.file("sbin/mkfs.ext4", pathlib.Path(mkfs).read_bytes(), 0o755)
    for library in _libraries(mkfs):
        archive.file(library.lstrip("/"), pathlib.Path(library).read_bytes(), 0o755)
    order = modules_in_order(modules, MODULES)
    for name, data in order:
        archive.file(f"modules/{name}", data)
    archive.file("modules/order", "".join(f"{name}\n" for name, _ in order).encode())
    archive.file("init", (HERE / "init").read_bytes(), 0o755)
    archive.file("lib/scenario.sh", (HERE / "scenario.sh").read_bytes())
    for path in own[2:]:
        archive.file(f"scenarios/{path.name}", path.read_bytes())
    for old in cache_dir().glob("initrd-*.cpio"):
        old.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_dir(), prefix=".initrd-", delete=False) as file:
        part = pathlib.Path(file.name)
    archive.write(part)
    part.rename(target)
    return target
