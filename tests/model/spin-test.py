#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every state of the small models beside this file: as the library does it nothing is lost; with one fence or one order
taken away Spin must find the loss, or the model would prove nothing."""

import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402


def errors_of(model, *defines):
    """How many errors a complete search finds; 0 or the first one."""
    spin = vm.program("spin", "spin")
    compiler = vm.program("gcc", "gcc")
    flags = [f"-D{define}" for define in defines]
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        made = run(spin, *flags, "-a", HERE / model)
        built = run(compiler, "-O2", "-DSAFETY", "-DVECTORSZ=2048", "-w", "-o", "pan", "pan.c")
        if built.returncode != 0:
            raise vm.Failed(f"{model} with {defines} does not compile: {made.stdout}{built.stderr}")
        said = run("./pan", "-m1000000").stdout
    if "max search depth too small" in said or "errors:" not in said:
        raise vm.Failed(f"{model} with {defines} was not searched whole: {said[-2000:]}")
    return int(said.split("errors:")[1].split()[0])


def model(sentence, name, base, broken):
    def check():
        tap.equal(errors_of(name, *base), 0, f"errors of {name} with {base}")
        for define in broken:
            tap.equal(errors_of(name, *base, define), 1, f"errors of {name} with {[*base, define]}")
    tap.test(sentence)(check)


KICK = ["NO_DRIVER_FENCE", "NO_DEVICE_FENCE", "NO_SECOND_LOOK"]
model("no kick is lost that an event index asks for, and each fence is needed", "kick.pml", ["EVENT_IDX"], KICK)
model("no kick is lost that a flag asks for, and each fence is needed", "kick.pml", [], KICK)
CALL = ["NO_DRIVER_FENCE", "NO_DEVICE_FENCE", "NO_LAST_DECISION"]
model("no call is lost that an event index asks for, groups of completions included", "call.pml", ["EVENT_IDX"],
      [*CALL, "STALE_OLD"])
model("no call is lost that a flag asks for, groups of completions included", "call.pml", [], CALL)
model("a process killed after any store of a group's end loses and doubles no request", "inflight.pml", [],
      ["CLEAR_FIRST", "INDEX_FIRST", "FORGET_USED", "CLEAR_ONE"])


if __name__ == "__main__":
    tap.main()
