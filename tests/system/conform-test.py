#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vhostctl conform: our own back-end keeps every rule that it offers, and back-ends that are wrong on purpose are found.

The wrong ones are this program itself, called with the name of what it is to do wrong.
"""

import json
import os
import pathlib
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

# Where nothing goes wrong nobody waits so long.
TIMEOUT = "10"
FAULTS = {"broken", "crashed", "hung", "not run"}
HEADER = struct.Struct("=III")


# ---- A back-end that does as it is told ----

def answer(fault, request, payload):
    """The payload of an answer, or None."""
    if request == 1:
        return struct.pack("=Q", 1 << 30 | 1 << 32)
    if request == 15:
        return struct.pack("=Q", 1 << 3)
    if request == 11:
        index, num = struct.unpack("=II", payload)
        return struct.pack("=II", index + (fault == "base"), num)
    if request == 14 and fault == "crash":
        os.abort()
    if request == 14 and fault == "hang":
        time.sleep(3600)
    return None


def serve(fault, path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        peer, _ = listener.accept()
        with peer:
            while len(head := peer.recv(12, socket.MSG_WAITALL)) == 12:
                request, flags, size = HEADER.unpack(head)
                payload = peer.recv(size, socket.MSG_WAITALL) if size else b""
                said = answer(fault, request, payload)
                if said is None and flags & 8:
                    said = bytes(8)
                if said is not None:
                    peer.sendall(HEADER.pack(request, 5, len(said)) + said)


# ---- Tests ----

def conform(command, *arguments, timeout=TIMEOUT):
    """(exit status, {rule: result})"""
    with tempfile.TemporaryDirectory() as folder:
        words = [vm.VHOSTCTL, "conform", f"{folder}/s", "--json", "--timeout", timeout, "--serve", shlex.join(command),
                 *arguments]
        run = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False,
                             stdin=subprocess.DEVNULL, timeout=600)
    if not run.stdout:
        raise vm.Failed(f"vhostctl conform ended with {run.returncode}: {run.stderr[-2000:]}")
    return run.returncode, {result["rule"]: result for result in json.loads(run.stdout)}


def wrong(fault, *rules, timeout=TIMEOUT):
    command = [sys.executable, os.path.abspath(__file__), fault, "{socket}"]
    status, results = conform(command, "--only", ",".join(rules), timeout=timeout)
    return status, [results[rule]["verdict"] for rule in rules]


def check_own(*options):
    status, results = conform([str(vm.VHOSTD), "block", "--socket-path={socket}", *options], "--strict")
    bad = [f"{rule}: {result['verdict']}: {result['sentence']}" for rule, result in results.items()
           if result["verdict"] in FAULTS | {"differs", "inconclusive"}]
    if bad:
        raise vm.Failed("\n".join(bad))
    tap.equal(status, 0, "exit status")
    kept = sum(result["verdict"] == "kept" for result in results.values())
    tap.equal(kept > 120, True, f"most rules are looked at, {kept} are kept")
    return results


@tap.test("the null disk keeps every rule that it offers")
def null_disk():
    check_own("--driver=null", "--size=64M", "--postcopy=yes")


@tap.test("so does one that the daemon's own thread serves")
def inline_disk():
    results = check_own("--driver=null", "--size=64M", "--workers=0", "--postcopy=yes")
    # A thread that waits for a page cannot ask for it.
    tap.equal(results["POSTCOPY_ADVISE"]["verdict"], "not offered", "postcopy")


@tap.test("a disk from a file, served by workers, keeps every rule that it offers")
def file_disk():
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(vm.MIB)
        check_own(f"--blk-file={image.name}", "--num-queues=2", "--workers=2")


@tap.test("every rule and every message is in the table, once")
def complete():
    _, results = wrong_all()
    missing = []
    for letter, count in (("R", 17), ("N", 4), ("S", 4), ("T", 4), ("L", 13), ("D", 10), ("P", 8), ("M", 8), ("I", 7),
                          ("B", 3), ("IF", 12), ("A", 5), ("C", 4), ("SH", 3), ("E", 2), ("V", 49)):
        missing += [f"{letter}{n}" for n in range(1, count + 1) if f"{letter}{n}" not in results]
    tap.equal(missing, [], "missing rules")
    tap.equal(sum(rule == rule.upper() and "_" in rule for rule in results), 44, "messages")


def wrong_all():
    """Only the names count."""
    return conform([sys.executable, os.path.abspath(__file__), "none", "{socket}"], timeout="0.2")


@tap.test("an answer to GET_VRING_BASE about another ring is found")
def wrong_base():
    tap.equal(wrong("base", "GET_VRING_BASE", "GET_FEATURES"), (1, ["broken", "kept"]), "verdicts")


@tap.test("the same back-end without that fault is not accused")
def no_fault():
    tap.equal(wrong("none", "GET_VRING_BASE", "GET_FEATURES"), (0, ["kept", "kept"]), "verdicts")


@tap.test("a back-end that crashes is found, started again, and asked on")
def crash():
    tap.equal(wrong("crash", "SET_VRING_ERR", "A1"), (1, ["crashed", "kept"]), "verdicts")


@tap.test("a back-end that hangs is found, started again, and asked on")
def hang():
    tap.equal(wrong("hang", "SET_VRING_ERR", "A1", timeout="1"), (1, ["hung", "kept"]), "verdicts")


@tap.test("without a command the run ends when the back-end is gone")
def gone():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        with subprocess.Popen([sys.executable, os.path.abspath(__file__), "crash", path]) as process:
            vm.wait_for("the socket", lambda: os.path.exists(path))
            run = subprocess.run([str(vm.VHOSTCTL), "conform", path, "--json", "--timeout", "1", "--only",
                                  "SET_VRING_ERR,A1"], capture_output=True, text=True, check=False, timeout=300)
            process.kill()
    tap.equal([result["verdict"] for result in json.loads(run.stdout)], ["crashed", "not run"], "verdicts")
    tap.equal(run.returncode, 1, "exit status")


@tap.test("a rule that does not exist is wrong usage")
def unknown_rule():
    run = subprocess.run([str(vm.VHOSTCTL), "conform", "/nowhere", "--only", "R99"], capture_output=True, text=True,
                         check=False)
    tap.equal(run.returncode, 2, "exit status")
    tap.equal("R99" in run.stderr, True, f"{run.stderr!r} names the rule")


if len(sys.argv) > 2:
    serve(sys.argv[1], sys.argv[2])
else:
    tap.main()
