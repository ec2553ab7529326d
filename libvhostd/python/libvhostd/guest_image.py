# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel and initial RAM disk of a test guest: made from Debian's packages, nothing is installed.

How it works: the cloud kernel's package is downloaded and unpacked into a cache. The initial RAM disk is written here
as a cpio archive (format "newc"): the host's static busybox, what the caller wants in it, and the few kernel modules
needed, listed in the order of their "depends=" (insmod in another order fails without a word).

It knows nothing of the rest of the package, so that tests can load it where there is no PyGObject.
"""

import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

META_PACKAGE = "linux-image-cloud-amd64"


class Unavailable(Exception):
    """Something outside of the project is missing: a reason to skip, not to fail."""


def cache_dir(default=None):
    """Where kernel and initial RAM disks are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = pathlib.Path(os.environ.get("VHOST_GUEST_CACHE") or default or os.path.join(home, "libvhostd"))
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


def kernel(tell=lambda text: None, cache=None):
    """(kernel image, folder of modules), from the cache or fetched now."""
    cache = cache or cache_dir()
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


def modules_in_order(folder, wanted, optional=()):
    """[(name, bytes)] of the wanted modules and all that they depend on, dependencies first.

    One that is part of the kernel itself needs no file. Where there is neither, an optional one is left out.
    """
    files = {_module(path): path for path in folder.rglob("*.ko*")}
    listed = folder / "modules.builtin"
    present = {*files, *map(_module, listed.read_text(encoding="utf-8").splitlines() if listed.exists() else ())}
    order, seen = [], set()

    def visit(name):
        if name in seen:
            return
        seen.add(name)
        if name not in present:
            raise Unavailable(f"the kernel of {folder} has no module {name}: give one that has it, with kernel=")
        if name not in files:
            return
        data = _read_module(files[name])
        match = re.search(rb"\0depends=([^\0]*)\0", data)
        for dependency in (match.group(1).decode().split(",") if match else []):
            if dependency:
                visit(_module(dependency))
        order.append((name + ".ko", data))

    for name in [name for name in map(_module, optional) if name in present] + [*map(_module, wanted)]:
        visit(name)
    return order


def _module(name):
    """The kernel's name of a module, or of a module's file."""
    return pathlib.Path(name).name.split(".")[0].replace("-", "_")


def find_program(name, advice):
    """Path of a program of the host."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Unavailable(f"{name} is missing: {advice}")
    return path


def _libraries(program):
    """Shared libraries of a program, as paths that ldd names."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", out)


class Cpio:
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

    def program(self, path):
        """One of the host's, with its libraries, where the guest's shell looks."""
        self.file(f"sbin/{pathlib.Path(path).name}", pathlib.Path(path).read_bytes(), 0o755)
        for library in _libraries(path):
            self.file(library.lstrip("/"), pathlib.Path(library).read_bytes(), 0o755)

    def modules(self, order):
        """What modules_in_order() has given."""
        for name, data in order:
            self.file(f"modules/{name}", data)
        self.file("modules/order", "".join(f"{name}\n" for name, _ in order).encode())

    def bytes(self):
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self.parts)


def initrd(files, modules=(), programs=(), cache=None):
    """Path of an initial RAM disk, built again only when something that goes into it has changed.

    `files` has (bytes, mode) by name, "init" among them; `modules` are loaded with all that they depend on; `programs`
    are the host's, with (program, package that has it), and come with their libraries.
    """
    cache = cache or cache_dir()
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if busybox is None:
        raise Unavailable("busybox is missing: install the package busybox-static")
    if _libraries(busybox):
        raise Unavailable(f"{busybox} is not static: install the package busybox-static")
    found = [find_program(program, f"install the package {package}") for program, package in programs]
    image, module_folder = kernel(cache=cache)

    digest = hashlib.sha256(f"{image.name} {modules}".encode())
    for path in map(pathlib.Path, (__file__, busybox, *found)):
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    for name, (data, mode) in sorted(files.items()):
        digest.update(f"{name} {mode} {len(data)} ".encode() + data)
    kind = hashlib.sha256(" ".join(sorted(files)).encode()).hexdigest()[:8]
    target = cache / f"initrd-{kind}-{digest.hexdigest()[:16]}.cpio"
    if target.exists():
        return target

    archive = Cpio()
    for folder in ("proc", "sys", "dev", "tmp", "mnt", "etc"):
        archive.folder(folder)
    archive.file("etc/mtab", b"")
    archive.file("bin/busybox", pathlib.Path(busybox).read_bytes(), 0o755)
    for path in found:
        archive.program(path)
    archive.modules(modules_in_order(module_folder, modules))
    for name, (data, mode) in files.items():
        archive.file(name, data, mode)
    for old in cache.glob(f"initrd-{kind}-*.cpio"):
        old.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".initrd-", delete=False) as file:
        file.write(archive.bytes())
    pathlib.Path(file.name).rename(target)
    return target
