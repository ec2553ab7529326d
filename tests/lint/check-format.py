#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""C files look as clang-format 14 lays them out. Other versions differ in small ways, so only this one judges."""

import re
import shutil
import subprocess
import sys

import tree


def clang_format():
    for name in ("clang-format-14", "clang-format"):
        path = shutil.which(name)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(r"version 14\.", version):
                return path
    return None


def main():
    program = clang_format()
    if program is None:
        print("clang-format 14 is missing: install the package clang-format-14")
        sys.exit(77)
    paths = tree.files("*.c", "*.h")
    run = subprocess.run([program, "--dry-run", "--Werror", "--ferror-limit=1", *map(str, paths)],
                         cwd=tree.ROOT, capture_output=True, text=True, check=False)
    problems = sorted(set(re.findall(r"^(\S+?:\d+):\d+: error", run.stderr, re.M)))
    problems = [f"{where}: not as clang-format lays it out: run clang-format -i" for where in problems]
    if run.returncode != 0 and not problems:
        problems.append(run.stderr.strip())
    tree.finish(problems, len(paths), "files")


main()
