#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the completion of bash and zsh offers, and that `vhostctl shell` starts its prompt."""

import os
import pathlib
import pty
import select
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import tap  # noqa: E402
import vm  # noqa: E402

DATA = vm.SOURCE / "data"
PATH = f"{vm.BUILD}/tools/vhostctl:{vm.BUILD}/tools/vhostd:{os.environ['PATH']}"

BASH = """
compopt() { :; }
source "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"_$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""

# zsh itself leaves out what does not begin with the word; here what is offered is looked at.
ZSH = """
compadd() {
  while [[ $1 != -- ]]; do shift; done
  shift
  (($# == 0)) || print -rl -- ${(M)@:#${words[CURRENT]}*}
}
_files() { print FILES }
file=$1
shift
words=("$@")
CURRENT=$#
service=$1
source $file
"""


def offers(shell, *words):
    program = vm.program(shell, shell)
    command = [program, "-c", BASH, DATA / "vhostctl.bash", *words] if shell == "bash" else \
        [program, "-f", "-c", ZSH, "zsh", DATA / "_vhostctl", *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True,
                         env=dict(os.environ, PATH=PATH))
    tap.equal(run.stderr, "", "complaints")
    return set(run.stdout.split())


def each_shell(name):
    def make(function):
        for shell in ("bash", "zsh"):
            tap.test(f"{shell} {name}")(lambda shell=shell: function(shell))
        return function
    return make


@each_shell("knows the verbs and the types")
def first_words(shell):
    tap.equal(offers(shell, "vhostctl", "p"), {"pause", "probe"}, "verbs with p")
    tap.equal(offers(shell, "vhostctl", "conf"), {"conform"}, "verbs with conf")
    tap.equal(offers(shell, "vhostd", "bl"), {"block"}, "types with bl")
    tap.equal(offers(shell, "vhostd", "ru"), {"run"}, "words with ru")


@each_shell("knows the options of a verb, a type and a script")
def options(shell):
    tap.equal(offers(shell, "vhostctl", "bench", "/s", "--dirty"), {"--dirty-log"}, "options with --dirty")
    tap.equal(offers(shell, "vhostd", "block", "--socket"), {"--socket-path=", "--socket-mode="}, "options")
    script = str(vm.SOURCE / "docs" / "examples" / "rng.py")
    tap.equal(offers(shell, "vhostd", "run", script, "--fail"), {"--fail-every="}, "the script's options")


class Terminal:
    """An interactive zsh that has our function."""

    def __init__(self):
        program = vm.program("zsh", "zsh")
        self.said = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(PATH=PATH, TERM="dumb")
            os.execv(program, ["zsh", "-f", "-i"])

    def type(self, text):
        self.said = ""
        os.write(self.fd, text.encode())

    def wait_for(self, text):
        end = time.monotonic() + 60
        while text not in self.said:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise vm.Failed(f"zsh did not say {text!r} but {self.said!r}")
            self.said += os.read(self.fd, 4096).decode(errors="replace")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@tap.test("zsh completes a line that is typed")
def typed():
    terminal = Terminal()
    try:
        terminal.type(f"unset HISTFILE; fpath=({DATA} $fpath); autoload -U compinit; compinit -u -D; print rea''dy\n")
        terminal.wait_for("ready")
        terminal.type("vhostctl conf\t")
        terminal.wait_for("conform ")
        terminal.type("\x15vhostd bl\t")
        terminal.wait_for("block ")
    finally:
        terminal.close()


@tap.test("vhostctl shell opens a prompt with a front-end")
def shell():
    with vm.scratch() as folder, vm.Backend(folder / "s", "--driver=null", "--size=64M") as backend:
        run = subprocess.run([vm.BUILD / "tools" / "vhostctl" / "vhostctl", "shell", backend.socket], capture_output=True,
                             text=True, timeout=60, check=False,
                             input="fe.negotiate()\nprint('capacity', int.from_bytes(fe.read_config(0, 8), 'little'))\n")
        tap.equal(run.returncode, 0, f"the status (it said {run.stderr!r})")
        tap.equal("capacity 131072" in run.stdout, True, f"what it printed: {run.stdout!r} {run.stderr[-400:]!r}")
        lost = subprocess.run([vm.BUILD / "tools" / "vhostctl" / "vhostctl", "shell", folder / "nowhere"],
                              capture_output=True, text=True, timeout=60, check=False)
        tap.equal((lost.returncode, "no such socket" in lost.stderr), (1, True), f"without a back-end: {lost.stderr!r}")


tap.main()
