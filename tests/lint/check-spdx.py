#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every source file begins with its two SPDX lines, and the licence named has its text in LICENSES/."""

import re

import tree

SUFFIXES = {".build", ".c", ".conf", ".css", ".cpp", ".h", ".in", ".py", ".sh", ".supp", ".txt", ".yml"}
NAMES = {".clang-format", ".editorconfig"}


def main():
    problems, checked = [], 0
    for path in tree.files():
        if path.parts[0] == "LICENSES" or "seeds" in path.parts:
            continue
        try:
            head = tree.read(path).splitlines()[:4]
        except UnicodeDecodeError:
            continue
        if not (path.suffix in SUFFIXES or path.name in NAMES or (head and head[0].startswith("#!"))):
            continue
        checked += 1
        text = "\n".join(head)
        licence = re.search(r"SPDX-License-Identifier: (\S+)", text)
        if "SPDX-FileCopyrightText: The libvhostd authors" not in text or not licence:
            problems.append(f"{path}: the two SPDX lines are missing from its first four lines")
        elif not (tree.ROOT / "LICENSES" / f"{licence.group(1)}.txt").exists():
            problems.append(f"{path}: LICENSES/{licence.group(1)}.txt does not exist")
    tree.finish(problems, checked, "files")


main()
