# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The system tests' guest: which files, modules and programs are in its initial RAM disk.

How kernel and disk are made is guest_image.py's of the Python package, which is loaded by its path: tests of programs
run where there is no PyGObject, which the package as a whole needs.
"""

import importlib.util
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
# What the scenarios need; everything that these depend on comes along.
MODULES = ["virtio_pci", "virtio_blk", "virtio-rng", "virtio_input", "evdev", "crc32c_generic", "ext4"]

_spec = importlib.util.spec_from_file_location(
    "guest_image", SOURCE / "libvhostd" / "python" / "libvhostd" / "guest_image.py")
_image = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_image)

Unavailable = _image.Unavailable


def cache_dir():
    """Where kernel and initrd are kept: one place for all build directories of this source tree."""
    return _image.cache_dir(SOURCE / "build" / "quickstart")


def kernel(tell=lambda text: None):
    """(kernel image, folder of modules), from the cache or fetched now."""
    return _image.kernel(tell, cache_dir())


def initrd():
    """Path of the initial RAM disk."""
    files = {"init": ((HERE / "init").read_bytes(), 0o755),
             "lib/scenario.sh": ((HERE / "scenario.sh").read_bytes(), 0o644)}
    for path in sorted((HERE / "scenarios").iterdir()):
        files[f"scenarios/{path.name}"] = (path.read_bytes(), 0o644)
    return _image.initrd(files, MODULES, [("mkfs.ext4", "e2fsprogs")], cache_dir())
