#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The binary interface: what the library exports is what libvhostd/libvhostd-1.symbols says, and the public headers.

Usage: check-abi.py LIBRARY [--update]. A name that has gone breaks programs that are installed; a new one is written
down by --update.
"""

import re
import subprocess
import sys

import tree

SYMBOLS = "libvhostd/libvhostd-1.symbols"


def exported(library):
    output = subprocess.run(["nm", "-D", "--defined-only", "--format=posix", library], capture_output=True, text=True,
                            check=True).stdout
    return {line.split()[0].split("@")[0] for line in output.splitlines()}


def declared():
    names = set()
    for name in tree.public_headers():
        text = tree.without_comments(tree.read(f"libvhostd/{name}"))
        names |= set(re.findall(r"VHOST_AVAILABLE_IN_\d+_\d+\s+[^;]*?\b(vhost_\w+) \(", text))
        for match in re.finditer(r"G_DECLARE_\w+_TYPE \((\w+), (\w+),", text):
            names.add(match.group(2) + "_get_type")
    return names


def check_padding(problems):
    """A class that others derive from can grow."""
    for name in tree.public_headers():
        text = tree.without_comments(tree.read(f"libvhostd/{name}"))
        for match in re.finditer(r"struct _(Vhost\w+Class)\s*\{(.*?)\n\};", text, re.S):
            if not re.search(r"gpointer padding\[\d+\];\s*$", match.group(2)):
                problems.append(f"libvhostd/{name}: {match.group(1)} does not end in padding")


def main():
    library, problems = sys.argv[1], []
    have = exported(library)
    if "--update" in sys.argv:
        (tree.ROOT / SYMBOLS).write_text("".join(name + "\n" for name in sorted(have)), encoding="utf-8")
    written = set(tree.read(SYMBOLS).split())
    update = f"tests/lint/check-abi.py {library} --update"
    for name in sorted(written - have):
        problems.append(f"{name} () is exported no more: programs that use it will not start")
    for name in sorted(have - written):
        problems.append(f"{name} () is exported and not in {SYMBOLS}: if it is meant to be public, run {update}")
    for name in sorted(declared() - have):
        problems.append(f"{name} () is declared in a public header and not exported")
    # Types that glib-mkenums makes are declared in a header that is built.
    for name in sorted(have - declared()):
        if not name.endswith("_get_type"):
            problems.append(f"{name} () is exported and in no public header")
    check_padding(problems)
    tree.finish(problems, len(have), "exported symbols")


main()
