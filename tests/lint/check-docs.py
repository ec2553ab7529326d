#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What users see is described: public functions, properties (their blurb is the --help text), signals, programs."""

import re

import tree


def arguments(text, start):
    """The arguments of a call whose "(" is at start, split at its own commas."""
    depth, parts, part, quoted, position = 0, [], "", False, start
    while position < len(text):
        char = text[position]
        if quoted:
            part += char
            if char == "\\":
                position += 1
                part += text[position]
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
            part += char
        elif char in "([{":
            depth += 1
            part += char if depth > 1 else ""
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return parts + [part.strip()]
            part += char
        elif char == "," and depth == 1:
            parts.append(part.strip())
            part = ""
        else:
            part += char
        position += 1
    return parts


def check_functions(problems):
    sources = {path: tree.read(path) for path in tree.files("libvhostd/*.c")}
    comments = {}
    for path, text in sources.items():
        for match in re.finditer(r"/\*\*\n \* (\w+):.*?\*/", text, re.S):
            comments[match.group(1)] = (path, match.group(0))
    checked = 0
    for name in tree.public_headers():
        text = tree.without_comments(tree.read(f"libvhostd/{name}"))
        for match in re.finditer(r"VHOST_AVAILABLE_IN_(\d+)_(\d+)\s+[^;]*?\b(vhost_\w+) \(", text):
            symbol, since = match.group(3), f"Since: {match.group(1)}.{match.group(2)}"
            if symbol.endswith("_get_type"):
                continue
            checked += 1
            if symbol not in comments:
                problems.append(f"libvhostd/{name}: {symbol} () has no documentation comment in any .c file")
                continue
            path, comment = comments[symbol]
            if since not in comment:
                problems.append(f"{path}: the comment of {symbol} () lacks '{since}'")
            if not symbol.endswith("_quark") and "Thread:" not in comment:
                problems.append(f"{path}: the comment of {symbol} () does not say on which thread it may be called")
    return checked


def check_properties(problems):
    for path in tree.files("libvhostd/*.c", "tools/backends/*.c", "docs/examples/*.c"):
        text = tree.read(path)
        for match in re.finditer(r"\bg_param_spec_(?!ref|unref|get|override|pool|sink|internal)\w+ \(", text):
            words = arguments(text, match.end() - 1)
            if len(words) < 3 or not words[0].startswith('"'):
                continue
            if not words[2].startswith('"') or len(words[2]) < 8:
                problems.append(f"{path}:{tree.line_of(text, match.start())}: the property {words[0]} has no blurb")


def check_manuals(problems):
    manuals = {path.name for path in tree.files("docs/man/*.rst")}
    wanted = {f"{path.parent.name}.1.rst": path for path in tree.files("tools/*/main.c")}
    for path in tree.files("tools/backends/*.h"):
        if re.search(rf"\bvhostd_{path.stem.replace('-', '_')}_get_type\b", tree.read(path)):
            wanted[f"vhostd-{path.stem}.1.rst"] = path
    for manual, path in wanted.items():
        if manual not in manuals:
            problems.append(f"{path}: docs/man/{manual} does not exist")
    for path in tree.files("docs/man/*.rst"):
        text = tree.read(path)
        if path.stem.startswith("vhostd-"):
            source = tree.ROOT / "tools" / "backends" / (path.name.removeprefix("vhostd-").split(".")[0] + ".c")
            if not source.exists():
                continue
            # Each option of a back-end is one of its properties: the page has to know them all.
            code = source.read_text(encoding="utf-8")
            for match in re.finditer(r"\bg_param_spec_\w+ \(", code):
                words = arguments(code, match.end() - 1)
                if words and words[0].startswith('"') and f"--{words[0].strip(chr(34))}" not in text:
                    problems.append(f"{path}: the option --{words[0].strip(chr(34))} is not described")


def main():
    problems = []
    checked = check_functions(problems)
    check_properties(problems)
    check_manuals(problems)
    tree.finish(problems, checked, "public functions")


main()
