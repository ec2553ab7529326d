#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What languages other than C see is described: everything in the GIR has words, and functions say on which thread.

Usage: check-gir.py [GIR]. Without one (a build without introspection) there is nothing to check.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

import tree

CORE = "{http://www.gtk.org/introspection/core/1.0}"
C = "{http://www.gtk.org/introspection/c/1.0}"
GLIB = "{http://www.gtk.org/introspection/glib/1.0}"
FUNCTIONS = {CORE + name for name in ("function", "method", "constructor")}
DESCRIBED = FUNCTIONS | {CORE + name for name in (
    "class", "record", "enumeration", "bitfield", "member", "property", "virtual-method", "callback")} | {GLIB + "signal"}
# A boxed type or a class structure is described by what it belongs to.
BY_OTHERS = re.compile(r"(Class|Private)$")


def walk(element, path, found):
    for child in element:
        if child.tag in DESCRIBED:
            name = child.get("name", "")
            if child.tag == CORE + "record" and BY_OTHERS.search(name):
                for grandchild in child:
                    walk_one(grandchild, f"{path}.{name}", found)
                continue
            # An asynchronous function's finish and others that are shadowed count once.
            found.append((f"{path}.{name}", child))
            walk(child, f"{path}.{name}", found)


def described_by_class():
    """Virtual functions that the comment of their class structure describes: "Vhost.Backend.start"."""
    names = set()
    for header in tree.public_headers():
        for match in re.finditer(r"/\*\*\n \* Vhost(\w+)Class:\n(.*?)\*/", tree.read(f"libvhostd/{header}"), re.S):
            names |= {f"Vhost.{match.group(1)}.{field}" for field in re.findall(r"^ \* @(\w+): \S", match.group(2), re.M)}
    return names


def walk_one(element, path, found):
    if element.tag in FUNCTIONS:
        found.append((f"{path}.{element.get('name')}", element))


def main():
    problems = []
    if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1]).exists():
        print("no GIR was built; nothing is checked")
        sys.exit(77)
    namespace = ElementTree.parse(sys.argv[1]).getroot().find(CORE + "namespace")
    found = []
    walk(namespace, namespace.get("name"), found)
    described, by_class = 0, described_by_class()
    for name, element in found:
        doc = element.find(CORE + "doc")
        kind = element.tag.split("}")[1]
        if kind == "virtual-method" and name in by_class:
            described += 1  # the scanner loses what a class structure says of its functions
            continue
        if doc is None or not (doc.text or "").strip():
            problems.append(f"{name}: this {kind} has no words")
            continue
        described += 1
        if element.tag not in FUNCTIONS:
            continue
        if "Thread:" not in doc.text:
            problems.append(f"{name}: it is not said on which thread it may be called (Thread: ...)")
        if element.get("throws") == "1" and not re.search(r"[Ee]rror|VHOST_ERROR|fail|refus|FALSE", ElementTree.tostring(
                element, encoding="unicode")):
            problems.append(f"{name}: it is not said which errors it has")
        returned = element.find(CORE + "return-value")
        if returned is not None and returned.get("transfer-ownership") is None:
            problems.append(f"{name}: whose the returned value is, is not said")
    print(f"{len(found)} public symbols, {described} documented")
    tree.finish(problems, len(found), "public symbols")


main()
