#!/usr/bin/env python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a request costs in Python: nothing done, 4 KiB written, a disk in RAM; beside the same disk in C, null.

Each device is one process on one CPU, vhostctl bench drives it from another one, 32 requests in flight. The figures
are all of the device's time: the ring, the main loop and the interpreter. Best of several rounds, since what else runs
on the machine only ever adds.

Usage: python-cost.py BUILD_DIR [--rounds N] [--seconds S] [--json]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
FRONT_CPU, BACK_CPU = 0, 1
# Name: command, the most microseconds per request that are meant to be.
ROWS = {
    "an empty do_process_chain": (["run", HERE / "python-device.py", "--work=empty"], 1.5),
    "4 KiB written": (["run", HERE / "python-device.py", "--work=write"], 3.0),
    "a disk in RAM, 4 KiB reads": (["run", HERE / "python-device.py", "--work=disk"], 10.0),
    "the same on a worker thread": (["run", HERE / "python-device.py", "--work=disk", "--workers=1"], 10.0),
    "vhostd block, null, in C": (["block", "--driver=null"], None),
}


def pinned(cpu, command):
    words = [str(word) for word in command]
    return ["taskset", "-c", str(cpu), *words] if os.cpu_count() > 1 else words


def measure(tools, command, seconds):
    """Microseconds per request of one round."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        device = subprocess.Popen(pinned(BACK_CPU, [tools / "vhostd" / "vhostd", *command, f"--socket-path={path}"]))
        try:
            end = time.monotonic() + 20
            while not os.path.exists(path):
                if device.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{command}: does not serve")
                time.sleep(0.01)
            bench = subprocess.run(pinned(FRONT_CPU, [tools / "vhostctl" / "vhostctl", "bench", "--json", "--no-progress",
                                                      f"--time={seconds}", "--depth=32", path]),
                                   capture_output=True, text=True, check=False)
        finally:
            device.terminate()
            device.wait(20)
    result = json.loads(bench.stdout)
    # Those that do nothing give no status either: what came back counts all the same.
    answered = result["requests"] + result["errors"]["no-status"]
    if not answered:
        sys.exit(f"{command}: no request was answered\n{bench.stderr}")
    return result["seconds"] * 1e6 / answered


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tools = pathlib.Path(arguments.build).resolve() / "tools"
    found = {name: [] for name in ROWS}
    for _ in range(arguments.rounds):
        for name, (command, _limit) in ROWS.items():
            found[name].append(measure(tools, command, arguments.seconds))
    best = {name: min(values) for name, values in found.items()}
    if arguments.json:
        print(json.dumps({name: {"microseconds": best[name], "limit": ROWS[name][1]} for name in ROWS}, indent=2))
        return
    print(f"{'':30} {'us/request':>10} {'requests/s':>11} {'meant':>9}")
    for name, (_command, limit) in ROWS.items():
        meant = f"<= {limit:.1f}" if limit else ""
        print(f"{name:30} {best[name]:10.2f} {1e6 / best[name]:11,.0f} {meant:>9}")


main()
