#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures the tables of docs/conformance.md anew: `vhostctl conform` against every back-end that is installed.

Usage: conformance-table.py BUILD-DIR [BACK-END...]

Of a back-end that is not asked for, or not there, the page's column stays as it is. What the verdicts mean, below the
table of summaries, is for a person to say: look at it after each run.
"""

import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/conformance.md"
FAULTS = {"broken", "crashed", "hung"}
VERDICTS = ["kept", "broken", "differs", "crashed", "hung", "inconclusive", "not offered", "not visible"]
SAME = '"'

# Column: (what is measured, program, its command, what tells the version, options of conform)
BACK_ENDS = {
    "vhostd": ("`vhostd block --driver=null --postcopy=yes`", "vhostd",
               "block --driver=null --size=64M --postcopy=yes --socket-path={socket}", "--version", []),
    "qemu-storage-daemon": ("`qemu-storage-daemon`, `null-co`", "qemu-storage-daemon",
                            "--blockdev null-co,node-name=n,size=1073741824,read-zeroes=off --export "
                            "vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path={socket},writable=on,num-queues=2",
                            "--version", []),
    "DPDK": ("`dpdk-testpmd`, `net_vhost`", "dpdk-testpmd",
             "--no-huge -m 256 --no-pci --vdev net_vhost0,iface={socket},queues=1,iommu-support=1,postcopy-support=1 "
             "-- --total-num-mbufs=2048 --auto-start --forward-mode=rxonly --stats-period 1000", "--no-huge -v",
             ["--device=net"]),
}


def find(program, build):
    own = build / "tools" / program / program
    return str(own) if own.is_file() else shutil.which(program)


def ask_version(path, option):
    """The first number with a point that the program says of itself, and the system that it came with."""
    run = subprocess.run([path, *option.split()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    number = re.search(r"\d+\.\d+(\.\d+)?", run.stdout)
    system = re.search(r'^NAME="?(\w+).*?^VERSION_ID="?([\w.]+)', pathlib.Path("/etc/os-release").read_text(), re.M | re.S)
    own = "/usr/" not in path or system is None
    return (number.group(0) if number else "?") + ("" if own else f" ({system.group(1)} {system.group(2)})")


def measure(name, build):
    """(version, {rule: result}), or None: not installed."""
    _, program, words, option, options = BACK_ENDS[name]
    path = find(program, build)
    if path is None:
        print(f"{name}: {program} is not installed, its column stays", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([build / "tools/vhostctl/vhostctl", "conform", f"{folder}/s", "--json", *options,
                              "--serve", f"{path} {words}"], stdout=subprocess.PIPE, text=True, check=False)
    if not run.stdout:
        sys.exit(f"{name}: vhostctl conform ended with {run.returncode} and said nothing")
    results = {result["rule"]: result for result in json.loads(run.stdout)}
    for result in results.values():
        if result["verdict"] not in ("kept", "not offered", "not visible"):
            print(f"{name}: {result['rule']}: {result['verdict']}: {result['sentence']}", file=sys.stderr)
    return ask_version(path, option), results


def rows_of(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def make_table(rows):
    return "".join("| " + " | ".join(row) + " |\n" for row in rows).replace(" --- |", "---|").replace("| ---", "|---")


def table_behind(page, heading):
    return re.search(rf"(?<=^## {heading}$\n\n)(?:\|.*\n)+", page, re.M)


def read_columns(page):
    """{column: {rule: verdict}} as the page has them."""
    head, _, *rows = rows_of(table_behind(page, "All rules").group(0))
    return {name: {row[0]: row[3 + i + 1] if row[4] != "not visible" else "not visible" for row in rows}
            for i, name in enumerate(head[4:])}


def summary(verdicts):
    counts = collections.Counter(verdict.strip("*") for verdict in verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def show(verdict):
    return f"**{verdict}**" if verdict in FAULTS else verdict


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    page = PAGE.read_text()
    columns = read_columns(page)
    versions = {row[0]: row[1] for row in rows_of(table_behind(page, "Measured").group(0))[2:]}
    rules = None
    for name in sys.argv[2:] or BACK_ENDS:
        measured = measure(name, build)
        if measured is not None:
            versions[BACK_ENDS[name][0]], rules = measured
            columns[name] = {rule: show(result["verdict"]) for rule, result in rules.items()}
    if rules is None:
        sys.exit("nothing was measured")

    rows = [["rule", "section", "what is kept", "text", *BACK_ENDS], ["---"] * (4 + len(BACK_ENDS))]
    for rule, result in rules.items():
        cells = [columns[name].get(rule, "not run") for name in BACK_ENDS]
        if result["verdict"] == "not visible":
            cells = ["not visible"] + [SAME] * (len(BACK_ENDS) - 1)
        rows.append([rule, result["section"], result["rule-text"], result["text"], *cells])
    summaries = [["back-end", "version", "summary"], ["---"] * 3]
    for name, (what, *_) in BACK_ENDS.items():
        summaries.append([what, versions.get(what, "?"), summary(columns[name].get(rule, "not run") for rule in rules)])
    for heading, table in (("Measured", summaries), ("All rules", rows)):
        old = table_behind(page, heading)
        page = page[:old.start()] + make_table(table) + page[old.end():]
    PAGE.write_text(page)


main()
