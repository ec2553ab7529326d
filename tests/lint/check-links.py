#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every link between the project's pages leads somewhere: to a file that is there, and to a heading in it."""

import re

import tree

LINK = re.compile(r"\]\(([^)\s]+)\)")


def plain(text):
    """Markdown without its code blocks, in which nothing is a link."""
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)


def anchors(path):
    """The names of a page's headings, as the sites that show Markdown make them."""
    names = set()
    for heading in re.findall(r"^#+ +(.*)$", plain(tree.read(path)), re.M):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        names.add(name)
    return names


def main():
    problems, checked = [], 0
    for path in tree.files("*.md"):
        for target in LINK.findall(plain(tree.read(path))):
            checked += 1
            if re.match(r"(https?|mailto):", target):
                if not re.fullmatch(r"https?://[\w.-]+(/\S*)?|mailto:\S+@\S+", target):
                    problems.append(f"{path}: {target} is no address")
                continue
            name, _, anchor = target.partition("#")
            place = (tree.ROOT / path).parent / name if name else tree.ROOT / path
            if not place.exists():
                problems.append(f"{path}: {target} leads nowhere: there is no such file")
            elif anchor and place.suffix == ".md" and anchor not in anchors(place.resolve().relative_to(tree.ROOT)):
                problems.append(f"{path}: {target} leads nowhere: the page has no such heading")
    tree.finish(problems, checked, "links")


main()
