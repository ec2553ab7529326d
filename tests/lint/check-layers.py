#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file includes its own layer and lower ones only; the order stands in libvhostd/LAYERS.

Also: programs, back-ends and protocol tests use the public header alone, so that the API is proven by our own use.
"""

import re

import tree

# Two layers that stand side by side.
APART = {("wire", "memory"), ("memory", "wire")}
GENERATED = {"config", "vhost-dbus", "vhost-enums"}
PUBLIC_ONLY = ("tools/backends/*.[ch]", "tools/vhostd/*.[ch]", "tools/vhostctl/*.[ch]", "tests/protocol/*.[ch]",
               "docs/examples/*.[ch]")


def layers(problems):
    """{file stem: (height, layer)}"""
    table, height = {}, 0
    for line in tree.read("libvhostd/LAYERS").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, _, stems = line.partition(":")
        for stem in stems.split():
            if stem in table:
                problems.append(f"libvhostd/LAYERS: {stem} stands in two layers")
            table[stem] = (height, name.strip())
        height += 1
    return table


def main():
    problems = []
    table = layers(problems)

    def layer_of(stem):
        return table.get(stem) or table.get(stem + "-private")

    paths = tree.files("libvhostd/*.c", "libvhostd/*.h")
    used = set()
    for path in paths:
        stem = path.stem
        if path.name == "libvhostd.h":
            continue
        used |= {stem, stem + "-private"}
        own = layer_of(stem)
        if own is None:
            problems.append(f"{path}: its layer is not named in libvhostd/LAYERS")
            continue
        text = tree.read(path)
        for match in re.finditer(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            other = match.group(1).removesuffix(".h").removesuffix(".c")
            where = f"{path}:{tree.line_of(text, match.start())}"
            if other in GENERATED:
                continue
            theirs = layer_of(other)
            if theirs is None:
                problems.append(f"{where}: includes {match.group(1)}, which is in no layer")
            elif theirs[0] > own[0] or (own[1], theirs[1]) in APART:
                problems.append(f"{where}: {own[1]} must not include {match.group(1)} of {theirs[1]}")
    for stem in table:
        if stem not in used:
            problems.append(f"libvhostd/LAYERS: {stem} names no file")

    for path in tree.files(*PUBLIC_ONLY):
        paths.append(path)
        text = tree.read(path)
        for match in re.finditer(r'^\s*#\s*include\s+[<"]((?:libvhostd/)?vhost-[^">]+)[">]', text, re.M):
            problems.append(f"{path}:{tree.line_of(text, match.start())}: includes {match.group(1)}; "
                            "only <libvhostd.h> is allowed here")
    tree.finish(problems, len(paths), "files")


main()
