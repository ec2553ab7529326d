#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The binary interface stays: what the library exports is what libvhostd/libvhostd-1.symbols says, and the public
headers; structures, values, signatures, properties and signals are those of libvhostd/libvhostd-1.abi.

Usage: check-abi.py LIBRARY [GIR] [--update]. What has gone or is another breaks programs that are installed; what is new
is written down by --update. Without a GIR (a build without introspection) only the symbols are checked.
"""

import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import tree

SYMBOLS = "libvhostd/libvhostd-1.symbols"
INTERFACE = "libvhostd/libvhostd-1.abi"
CORE = "{http://www.gtk.org/introspection/core/1.0}"
C = "{http://www.gtk.org/introspection/c/1.0}"
GLIB = "{http://www.gtk.org/introspection/glib/1.0}"


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


def type_of(element):
    array = element.find(CORE + "array")
    if array is not None:
        size = array.get("fixed-size")
        name = array.get(C + "type") or type_of(array) + "[]"
        return f"{type_of(array)}[{size}]" if size else name
    for tag in ("type", "callback"):
        inner = element.find(CORE + tag)
        if inner is not None:
            return signature(inner) if tag == "callback" else inner.get(C + "type") or inner.get("name", "void")
    return "..." if element.find(CORE + "varargs") is not None else "void"


def signature(function):
    parameters = function.find(CORE + "parameters")
    types = [type_of(parameter) for parameter in parameters] if parameters is not None else []
    if function.get("throws") == "1":
        types.append("GError**")
    return f"{type_of(function.find(CORE + 'return-value'))} ({', '.join(types) or 'void'})"


def layout(record):
    """The fields by their place; reserved ones count, and may become others."""
    name, place = record.get(C + "type") or record.get(GLIB + "type-name"), 0
    for field in record.findall(CORE + "field"):
        array = field.find(CORE + "array")
        if field.get("name") == "padding" and array is not None:
            place += int(array.get("fixed-size"))
            continue
        yield f"struct {name} [{place}]", f"{field.get('name')}: {type_of(field)}"
        place += 1
    if place:
        yield f"struct {name} size", f"{place} fields"


def interface(gir):
    """{what: how it is} of everything that a program is compiled or bound against."""
    lines = {}
    for element in ElementTree.parse(gir).getroot().find(CORE + "namespace").iter():
        kind, name = element.tag.rpartition("}")[2], element.get("name")
        if kind == "record" or (kind == "class" and element.find(CORE + "field") is not None):
            lines.update(layout(element))
        elif kind == "member":
            lines[element.get(C + "identifier")] = element.get("value")
        elif kind in ("function", "method", "constructor"):
            lines[element.get(C + "identifier")] = signature(element)
        if kind != "class":
            continue
        of = element.get(C + "type") or element.get(GLIB + "type-name")
        lines[f"class {of}"] = f"derived from {element.get('parent')}"
        for child in element.findall(CORE + "property"):
            flags = [flag for flag in ("writable", "construct", "construct-only") if child.get(flag) == "1"]
            lines[f"property {of}:{child.get('name')}"] = " ".join([type_of(child)] + flags)
        for child in element.findall(GLIB + "signal"):
            lines[f"signal {of}::{child.get('name')}"] = signature(child)
    return lines


def check_interface(gir, problems):
    have = interface(gir)
    if "--update" in sys.argv:
        text = "".join(f"{what} = {how}\n" for what, how in sorted(have.items()))
        (tree.ROOT / INTERFACE).write_text(text, encoding="utf-8")
    written = dict(line.split(" = ", 1) for line in tree.read(INTERFACE).splitlines())
    for what, how in sorted(written.items()):
        if what not in have:
            problems.append(f"{what} ({how}) is gone: programs that were built with it break; keep it and deprecate it")
        elif have[what] != how:
            cure = "put a new field at the end, in place of one of the reserved ones" if what.startswith("struct ") \
                else "add a new one beside it and deprecate this"
            problems.append(f"{what} was {how}, is {have[what]}: programs that were built with it break; {cure}")
    for what in sorted(set(have) - set(written)):
        problems.append(f"{what} is not in {INTERFACE}: if it is meant to stay, run tests/lint/check-abi.py "
                        f"{sys.argv[1]} {gir} --update")
    return len(have)


def main():
    library, problems = sys.argv[1], []
    girs = [name for name in sys.argv[2:] if not name.startswith("--")]
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
    n = len(have)
    if girs and pathlib.Path(girs[0]).exists():
        n += check_interface(girs[0], problems)
    tree.finish(problems, n, "symbols, fields, values and signatures")


main()
