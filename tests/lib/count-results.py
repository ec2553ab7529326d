#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts test cases in the log of one `meson test`: one line "pass|fail|skip <tab> name <tab> reason" per case.

Usage: count-results.py RUN testlog.json STATUS, where STATUS is what meson itself ended with. A program that speaks the
Test Anything Protocol counts with each of its cases, and once more as failed if it crashed or ran out of time.
"""

import json
import pathlib
import re
import sys

CASE = re.compile(r"^(not )?ok\b\s*\d*\s*(?:- )?(.*?)(?:\s+#\s*(SKIP|TODO)\b:?\s*(.*))?$", re.IGNORECASE)
PLAN_SKIP = re.compile(r"^1\.\.0\s*#\s*SKIP\S*\s*(.*)$", re.IGNORECASE)


def cases(test):
    """(verdict, name, reason) of each case of one program."""
    out, tap, bad = test.get("stdout") or "", False, False
    for line in out.splitlines():
        plan = PLAN_SKIP.match(line)
        if plan:
            tap = True
            yield "skip", "all", plan.group(1)
            continue
        match = CASE.match(line)
        if not match:
            continue
        tap = True
        failed, name, directive, reason = match.groups()
        if directive and directive.upper() == "SKIP":
            yield "skip", name, reason
        elif failed and not directive:
            bad = True
            yield "fail", name, ""
        else:
            yield "pass", name, ""
    result = test["result"]
    if result in ("FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"):
        if not bad:
            yield "fail", "the program", f"{result.lower()}, exit status {test.get('returncode')}"
    elif not tap:
        last = out.strip().splitlines()[-1:] or [""]
        yield ("skip", "all", last[0]) if result == "SKIP" else ("pass", "all", "")


def main():
    run, path, status = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    failed = seen = 0
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            test = json.loads(line)
            for verdict, name, reason in cases(test):
                seen += 1
                failed += verdict == "fail"
                print(verdict, f"{run}: {test['name']}: {name}", (reason or "").replace("\t", " "), sep="\t")
    # Nothing may be lost: a run that failed without a failed case is one.
    if status != 0 and not failed:
        print("fail", f"{run}: meson test", f"ended with status {status} after {seen} cases", sep="\t")


if __name__ == "__main__":
    main()
