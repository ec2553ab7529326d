#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every rule of the protocol and every message has a test that is named after it.

The rules are those of docs/conformance.md, whose table is measured with the rows of `vhostctl conform`. A rule is tested
by a test of tests/unit, tests/protocol or tests/model whose name begins with the rule's ("V24-..."), by a litmus test
whose comment names it, or by its row of the tool, if our own back-end is measured there and keeps it. A message is
tested likewise, its name may be anywhere in that of the test.
"""

import re

import tree

PAGE = "docs/conformance.md"
# How many there are of each letter; a number that is not in the page is missing there.
COUNTS = {"R": 17, "N": 4, "S": 4, "T": 4, "M": 8, "A": 5, "B": 3, "C": 4, "E": 2, "L": 13, "I": 7, "IF": 12, "D": 10,
          "P": 8, "SH": 3, "V": 49}
MESSAGES, BACKEND_MESSAGES = 44, 10
# Rules that no test can have, and why.
NOT_TESTED = {
    "R10": "front-ends of network cards enable the first pair by themselves: nothing that a back-end does",
    "V29": "what the driver may do with its descriptors: the device does not rely on it",
}
RULE = re.compile(r"(?:IF|SH|[ABCDEILMNPRSTV])\d+")


def rows():
    """{name: verdict of our own back-end} of the page's table of all rules."""
    table = tree.read(PAGE).partition("## All rules")[2]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {row[0]: row[4] for row in found[2:]}


def leading_rules(name):
    """"P2-P5-SET_MEM_TABLE-answers" begins with P2 and P5."""
    rules = []
    for word in re.split("[-_]", name):
        if not RULE.fullmatch(word):
            break
        rules.append(word)
    return rules


def test_names():
    names = []
    for folder in ("unit", "protocol", "model"):
        for path in tree.files(f"tests/{folder}/*.c"):
            text = re.sub(r"/\*.*?\*/|^#[^\n]*", "", tree.read(path), flags=re.S | re.M)
            names += [name.rpartition("/")[2] for name in re.findall(r'"([\w/-]+)"', text) if "-" in name or "_" in name]
            names += re.findall(r"\b[A-Z_]+ \((?:[^()]*, )?([A-Z]+\d+_[a-z]\w+)", text)
    return names


def litmus_rules():
    rules = []
    for path in tree.files("tests/model/litmus/*.litmus"):
        rules += RULE.findall(tree.read(path).partition("(*")[2].partition("\ncode")[0])
    return rules


def messages():
    """(name, number) of the wire's own list, of both directions."""
    text = tree.without_comments(tree.read("libvhostd/vhost-wire-private.h"))
    enums = re.findall(r"typedef enum\s*\{([^}]*)\} VhostWire(?:Backend)?Request;", text)
    return [(name, int(number)) for name, number in re.findall(r"\bVHOST_WIRE_([A-Z_]+) = ([1-9]\d*)", "".join(enums))]


def check_tool(table, problems):
    """The page has the rows of the tool, and no other."""
    sources = "".join(tree.read(path).partition("const ConformRule ")[2] for path in tree.files("tools/vhostctl/conform-*.c"))
    sources = re.sub(r"^#define.*?[^\\]$", "", sources, flags=re.M | re.S)
    own = re.findall(r'(?:\{|\b[A-Z_]+ \()\s*"?([A-Z][A-Za-z0-9_-]*)"?,', sources)
    problems += [f"{PAGE}: {name} is in the tool; measure again with tests/lib/conformance-table.py"
                 for name in own if name not in table]
    problems += [f"{PAGE}: {name} is not in the tool; measure again with tests/lib/conformance-table.py"
                 for name in table if name not in own]


def main():
    problems, table, names = [], rows(), test_names()
    check_tool(table, problems)
    kept = {name.partition("-")[0] for name, verdict in table.items() if verdict == "kept"}
    tested = kept | {rule for name in names for rule in leading_rules(name)} | set(litmus_rules())
    wanted = [f"{letter}{n}" for letter, count in COUNTS.items() for n in range(1, count + 1)]
    for rule in wanted:
        if not any(name.partition("-")[0] == rule for name in table):
            problems.append(f"{PAGE}: {rule} is missing")
        if rule not in tested and rule not in NOT_TESTED:
            problems.append(f"{rule}: no test is named after it, and our own back-end does not show it")
        if rule in tested and rule in NOT_TESTED:
            problems.append(f"{rule}: has a test, but is listed as one that has none")
    for name in sorted({rule for name in names for rule in leading_rules(name)} - set(wanted)):
        problems.append(f"{name}: a test is named after it, but there is no such rule")

    known = messages()
    for which, count in (("", MESSAGES), ("BACKEND_", BACKEND_MESSAGES)):
        numbers = sorted(number for name, number in known if name.startswith("BACKEND_") == bool(which))
        if numbers != list(range(1, count + 1)):
            problems.append(f"messages: of the names {which}... there are {len(numbers)}, expected are {count}")
    text = "\n".join(names)
    for name, number in known:
        if name not in kept and not re.search(rf"(?<![A-Z_]){name}(?![A-Z_])", text):
            problems.append(f"{name} ({number}): no test has its name, and our own back-end does not show it")
    tree.finish(problems, len(wanted) + len(known), "rules and messages")


main()
