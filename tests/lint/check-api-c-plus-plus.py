#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The public header compiles as C11, as C++17, and beside the kernel's vhost and virtio headers, in both orders.

Usage: check-api-c-plus-plus.py FOLDER..., the folders that hold the public headers and the generated one.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

import tree

KERNEL = "#include <linux/vhost.h>\n#include <linux/virtio_blk.h>\n#include <linux/virtio_net.h>\n"
OWN = "#include <libvhostd.h>\n"
STRICT = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function", "-fsyntax-only"]


def main():
    flags = subprocess.run(["pkg-config", "--cflags", "gio-2.0"], capture_output=True, text=True, check=True).stdout
    include = [f"-I{folder}" for folder in sys.argv[1:]] + shlex.split(flags)
    c = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or "gcc"]
    variants = [
        ("C11", [*c, "-std=c11", "-x", "c"], OWN),
        ("C11, kernel headers first", [*c, "-std=gnu11", "-x", "c"], KERNEL + OWN),
        ("C11, kernel headers last", [*c, "-std=gnu11", "-x", "c"], OWN + KERNEL),
    ]
    # Each header alone too: none may lean on what another one has included by chance.
    for name in tree.public_headers():
        variants.append((name + " alone", [*c, "-std=gnu11", "-x", "c"], f"#include <{name}>\n"))
    cpp = shutil.which("g++") or shutil.which("clang++")
    if cpp:
        variants.append(("C++17", [cpp, "-std=c++17", "-x", "c++"], OWN))
    else:
        print("C++ is not tried: no g++, no clang++")
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "api"
        for name, compiler, text in variants:
            source.write_text(text, encoding="utf-8")
            run = subprocess.run([*compiler, *STRICT, *include, str(source)], capture_output=True, text=True,
                                 check=False)
            if run.returncode != 0:
                problems.append(f"{name}: does not compile\n{run.stderr[:2000]}")
    tree.finish(problems, len(variants), "ways to compile")


main()
