#!/usr/bin/env python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The performance table: vhostd beside qemu-storage-daemon, in one run, as ratios.

Every row is measured for both in turn, several rounds, and the medians are compared. Front-end and back-end are pinned
to different CPUs. A figure of one machine means nothing on another; a ratio within one run does.

Usage: compare.py BUILD_DIR [--rounds N] [--seconds S] [--json]
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

FRONT_CPU, BACK_CPU = 0, 1
SIZE = 1 << 30


class Backend:
    """A back-end process, pinned, on a socket of its own; gone at the end of the with block."""

    def __init__(self, directory, name, command):
        self.socket = directory / f"{name}.sock"
        self.command = [str(self.socket) if word == "{socket}" else word.replace("{socket}", str(self.socket))
                        for word in command]

    def __enter__(self):
        self.process = subprocess.Popen(["taskset", "-c", str(BACK_CPU), *self.command],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                sys.exit(f"compare.py: {' '.join(self.command)} did not start: {self.process.stderr.read()}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.socket.unlink(missing_ok=True)


def ours(build, *options):
    return [str(build / "tools/vhostd/vhostd"), "block", *options, "--socket-path={socket}"]


def qsd(blockdev, iothread=True):
    command = ["qemu-storage-daemon", "--blockdev", f"node-name=f,{blockdev}"]
    export = "vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path={socket},writable=on,num-queues=1"
    if iothread:
        command += ["--object", "iothread,id=t"]
        export += ",iothread=t"
    return [*command, "--export", export]


def bench(build, socket, seconds, *options):
    command = ["taskset", "-c", str(FRONT_CPU), str(build / "tools/vhostctl/vhostctl"), "bench", str(socket), "--json",
               f"--time={seconds}", "--warmup=0.2", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if result.returncode != 0:
        sys.exit(f"compare.py: {' '.join(command)}: {result.stderr}")
    return json.loads(result.stdout)


def count_wakeups(build, directory, seconds):
    """System calls of a back-end with a started, idle ring: strace sees every return from a wait."""
    if shutil.which("strace") is None:
        return None
    with Backend(directory, "idle", ours(build, "--driver=null")) as backend:
        holder = subprocess.Popen([str(build / "tests/perf/idle-front-end"), str(backend.socket)],
                                  stdout=subprocess.PIPE, text=True)
        holder.stdout.readline()
        time.sleep(0.5)
        log = directory / "strace"
        tracer = subprocess.Popen(["strace", "-f", "-o", str(log), "-p", str(backend.process.pid)],
                                  stderr=subprocess.DEVNULL)
        time.sleep(seconds + 0.5)
        tracer.terminate()
        tracer.wait()
        holder.kill()
        lines = [line for line in log.read_text().splitlines()
                 if "detached" not in line and not re.search(r"(<unfinished|<detached| resumed)", line)
                 and "restart_syscall" not in line]
        return len(lines)


def measure_features(build, image, rounds, seconds):
    """What each feature of a ring costs: back-end CPU per request with it, without it, on two disks."""
    features = ["", "--tracked", "--dirty-log", "--packed", "--packed --tracked", "--in-order"]
    table = []
    for name, options in (("null", ["--driver=null"]), ("4 KiB cached", [f"--blk-file={image}"])):
        samples = {feature: [] for feature in features}
        for _ in range(rounds):
            for feature in features:
                with Backend(image.parent, "feature", ours(build, *options)) as backend:
                    result = bench(build, backend.socket, seconds, "--depth=32", "--busy", *feature.split())
                samples[feature].append(result["back-end-cpu-ns-per-request"])
        plain = statistics.median(samples[""])
        for feature in features:
            cost = statistics.median(samples[feature])
            table.append({"disk": name, "feature": feature or "split", "cpu-ns-per-request": cost,
                          "ratio": cost / plain})
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    build = args.build.resolve()
    if shutil.which("qemu-storage-daemon") is None:
        print("skipped: qemu-storage-daemon is missing (package qemu-utils)")
        return 77
    if (os.cpu_count() or 1) < 2:
        print("skipped: front-end and back-end need a CPU each")
        return 77

    null = f"driver=null-co,size={SIZE},read-zeroes=off"
    iops = ("IOPS", "iops", True)
    cpu = ("back-end CPU ns/request", "back-end-cpu-ns-per-request", False)
    # name, our options, the peer's block devices, bench options, what is compared, goal (ratio, ours better)
    with tempfile.TemporaryDirectory(prefix="vhost-perf-", dir="/var/tmp") as temporary:
        directory = pathlib.Path(temporary)
        image = directory / "image"
        with open(image, "wb") as file:
            for _ in range(256):
                file.write(os.urandom(1 << 20))
        cached = [f"driver=file,filename={image},aio={aio}" for aio in ("threads", "io_uring")]
        rows = [
            ("null, depth 32, busy front-end", ["--driver=null"], [null], ["--depth=32", "--busy"], cpu, 3),
            ("null, depth 32, busy front-end", ["--driver=null"], [null], ["--depth=32", "--busy"], iops, None),
            ("null, depth 1, busy front-end", ["--driver=null"], [null], ["--depth=1", "--busy"], iops, None),
            ("null, depth 1, sleeping front-end", ["--driver=null"], [null], ["--depth=1"], iops, 3),
            ("null, depth 32, sleeping front-end", ["--driver=null"], [null], ["--depth=32"], iops, 3),
            ("null, depth 1, front-end polls 20 us, then sleeps", ["--driver=null"], [null],
             ["--depth=1", "--poll=20"], iops, None),
            ("null, depth 32, front-end polls 20 us, then sleeps", ["--driver=null"], [null],
             ["--depth=32", "--poll=20"], iops, None),
            ("4 KiB random reads of a cached file, depth 32, busy front-end", [f"--blk-file={image}"], cached,
             ["--depth=32", "--busy"], iops, 1.5),
            ("4 KiB random reads of a cached file, depth 32, sleeping front-end", [f"--blk-file={image}"], cached,
             ["--depth=32"], iops, 1.5),
        ]
        floors = []
        samples = [([], []) for _ in rows]
        for _ in range(args.rounds):
            floor = subprocess.run([str(build / "tests/perf/wake-floor"), str(FRONT_CPU), str(BACK_CPU), "1"],
                                   capture_output=True, text=True, check=True)
            floors.append(float(floor.stdout))
            measured = {}
            for row, (mine, theirs) in zip(rows, samples):
                _, options, peers, load, (_, key, more), _ = row
                ident = (tuple(options), tuple(load))
                if ident not in measured:
                    with Backend(directory, "ours", ours(build, *options)) as backend:
                        first = bench(build, backend.socket, args.seconds, *load)
                    others = []
                    for peer in peers:
                        with Backend(directory, "peer", qsd(peer)) as backend:
                            others.append(bench(build, backend.socket, args.seconds, *load))
                    measured[ident] = (first, others)
                first, others = measured[ident]
                mine.append(first[key])
                theirs.append((max if more else min)(other[key] for other in others))
        features = measure_features(build, image, args.rounds, args.seconds)
        wakeups = count_wakeups(build, directory, 3)

    table = []
    for (name, _, _, _, (unit, _, more), goal), (mine, theirs) in zip(rows, samples):
        a, b = statistics.median(mine), statistics.median(theirs)
        table.append({"row": name, "unit": unit, "vhostd": a, "qemu-storage-daemon": b,
                      "ratio": a / b if more else b / a, "goal": goal})
    result = {"rows": table, "features": features, "wake-floor": statistics.median(floors), "idle-system-calls-in-3-s": wakeups}
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"medians of {args.rounds} rounds of {args.seconds} s; ratio: how many times better vhostd is")
    print(f"{'':72} {'vhostd':>10} {'QSD':>10} {'ratio':>6}  goal")
    for row in table:
        print(f"{row['row'] + ': ' + row['unit']:72} {row['vhostd']:>10.0f} "
              f"{row['qemu-storage-daemon']:>10.0f} {row['ratio']:6.2f}"
              f"  {row['goal'] if row['goal'] else '-'}")
    print("\nvhostd's own CPU per request, depth 32, busy front-end:")
    for row in features:
        print(f"{row['disk'] + ', ' + row['feature']:72} {row['cpu-ns-per-request']:>10.0f} {'':>10} {row['ratio']:6.2f}")
    print()
    floor = result["wake-floor"]
    print(f"a sleeping thread can be woken {floor:.0f} times a second here: at depth 1 no back-end can serve a front-end "
          "that always sleeps more often than that")
    print(f"idle for 3 s: {wakeups if wakeups is not None else 'strace is missing:'} system calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
