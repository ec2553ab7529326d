#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every code block of README.md, docs/ and the manual pages is compiled, run or held against the programs.

How the kind of a block says what is done with it:

    c         a block that begins with /* from FILE */ is found in that file, blanks aside; "..." leaves out a part.
              One with a main () is linked, any other compiled, after the includes that all pages assume.
    python    the same with # from FILE; otherwise run, and ends with status 0
    vala, js  the same with // from FILE; there is no other way
    sh        each option of our programs is one that --help lists; paths below tools/ and docs/ are there
    ini       a device file that its program takes
    json, xml parsed

tests/lib/code_blocks.py says which comments before a block change that. At the end there is a table of what was found.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))

import code_blocks  # noqa: E402
import tap  # noqa: E402
import vm  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")),
         *sorted((ROOT / "docs" / "man").glob("*.rst"))]
SECONDS = 120

INCLUDES = """\
#include <libvhostd.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
"""

# Programs of others, whose options are not ours to check.
OTHERS = set("""apt-get busctl cat cc cd chmod dbus-run-session dd dpdk-testpmd echo export fg gcc gdbus git gjs
kill ldconfig ln ls make man meson mkdir modprobe mount ninja pkg-config pytest pytest-3 python3
qemu-storage-daemon rm sleep stat strace tail taskset timeout truncate valac wait wget""".split())
PREFIXES = {"sudo", "exec", "time", "nohup"}

# Names that look like ours and are Python's, or of those whose devices can be ported.
FOREIGN = {"VhostUserBackend", "VhostUserBackendMut", "VhostUserDaemon", "vhost_frontend", "vhost_guest"}

counts = collections.Counter()
exempt, skipped = [], []


class Wrong(Exception):
    """What is wrong with a block."""


def environment():
    variables = dict(os.environ, VHOST_BUILD_DIR=str(vm.BUILD), PYTHONDONTWRITEBYTECODE="1")
    for name, folders in {"PYTHONPATH": [ROOT / "libvhostd" / "python", vm.BUILD / "libvhostd" / "python"],
                          "GI_TYPELIB_PATH": [vm.BUILD / "libvhostd"], "LD_LIBRARY_PATH": [vm.BUILD / "libvhostd"],
                          "PKG_CONFIG_PATH": [vm.BUILD / "meson-uninstalled"],
                          "PATH": [vm.VHOSTD.parent, vm.VHOSTCTL.parent, "/usr/bin"]}.items():
        variables[name] = ":".join([*map(str, folders), *filter(None, [os.environ.get(name)])])
    return variables


def run(command, **keywords):
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment(),
                          stdin=subprocess.DEVNULL, **keywords)


def last_words(result, n=12):
    return "\n".join((result.stderr + result.stdout).strip().splitlines()[-n:])


def squeezed(text):
    """Without blanks, and without comments that stand behind code."""
    return re.sub(r"\s+", "", text)


def check_excerpt(block):
    """A block that says where it is from is found there. FALSE: it does not say so."""
    first, _, body = block.text.partition("\n")
    match = re.match(r"(?:/\*|#|//) from ([\w./-]+)(?: \*/)?$", first)
    if match is None:
        return False
    path = ROOT / match.group(1)
    if not path.is_file():
        raise Wrong(f"there is no {match.group(1)}")
    whole, position = squeezed(path.read_text(encoding="utf-8")), 0
    for part in re.split(r"^\s*\.\.\.\s*$", body, flags=re.M):
        found = whole.find(squeezed(part), position)
        if found < 0:
            raise Wrong(f"{match.group(1)} has no such part (any more): {part.strip().splitlines()[0]!r}...")
        position = found + len(squeezed(part))
    return True


def library_flags(*what):
    result = run(["pkg-config", *what, "libvhostd-1-uninstalled"])
    if result.returncode:
        raise Wrong(f"pkg-config: {last_words(result)}")
    return shlex.split(result.stdout)


def check_c(block, folder):
    if check_excerpt(block):
        return "an excerpt"
    code = block.before + block.text + block.after
    if "#include <libvhostd.h>" not in code:
        code = INCLUDES + code
    source = folder / "block.c"
    source.write_text(code, encoding="utf-8")
    command = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function",
               "-Wno-unused-variable", "-Wno-unused-but-set-variable", "-D_GNU_SOURCE", str(source)]
    links = re.search(r"\bmain \(", code) is not None
    command += [*library_flags("--cflags", "--libs"), "-o", str(folder / "block")] if links else \
        [*library_flags("--cflags"), "-fsyntax-only"]
    result = run(command)
    if result.returncode:
        raise Wrong(f"does not compile:\n{last_words(result, 20)}")
    if not block.run:
        return "linked" if links else "compiled"
    result = run([str(folder / "block")], cwd=folder)
    if result.returncode:
        raise Wrong(f"ended with status {result.returncode}:\n{last_words(result)}")
    return "run"


def python_is_there(code=""):
    """Whether the build has the binding, and of it what the code needs: not every machine has PyGObject."""
    needs = "Vhost.Frontend.pair" if "Frontend" in code else "Vhost.device"
    result = run(["/usr/bin/python3", "-c",
                  f"import gi; gi.require_version('Vhost', '1'); from gi.repository import Vhost; {needs}"])
    return result.returncode == 0


def check_python(block, folder):
    if check_excerpt(block):
        return "an excerpt"
    code = block.before + block.text + block.after
    if "Vhost" in code and not python_is_there(code):
        skipped.append(f"{block}: PyGObject or the binding is missing")
        return "skipped"
    source = folder / "block.py"
    source.write_text(code, encoding="utf-8")
    result = run(["/usr/bin/python3", "-W", "ignore::ImportWarning", str(source)], cwd=folder)
    missing = re.search(r"^libvhostd\.guest_image\.Unavailable: (.*)", result.stderr, re.M)
    if missing:
        skipped.append(f"{block}: {missing[1]}")
        return "skipped"
    if result.returncode:
        raise Wrong(f"ended with status {result.returncode}:\n{last_words(result, 20)}")
    return "run"


def check_excerpt_only(block, folder):
    if not check_excerpt(block):
        raise Wrong("must begin with // from FILE")
    return "an excerpt"


def check_device_file(block, folder):
    path = folder / "device.conf"
    path.write_text(block.text, encoding="utf-8")
    kind = re.search(r"^type\s*=\s*(\w+)", block.text, re.M)
    result = run([str(vm.VHOSTD), kind.group(1) if kind else "block", f"--config={path}", "--help"])
    if result.returncode:
        raise Wrong(last_words(result))
    return "read by vhostd"


def check_json(block, folder):
    json.loads(block.text)
    return "parsed"


def check_xml(block, folder):
    xml.etree.ElementTree.fromstring(block.text)
    return "parsed"


helps = {}


def options_of(*command):
    """The long options that a program's --help lists."""
    if command not in helps:
        result = run([*command, "--help"])
        if result.returncode:
            raise Wrong(f"{' '.join(map(str, command))} --help: {last_words(result)}")
        helps[command] = set(re.findall(r"(?<![\w-])--?([a-zA-Z][\w-]*)", result.stdout))
    return helps[command]


def qemu_options():
    if "qemu" not in helps:
        if shutil.which("qemu-system-x86_64") is None:
            return None
        listed = set(re.findall(r"^-([a-zA-Z][\w-]*)", run(["qemu-system-x86_64", "-help"]).stdout, re.M))
        devices = run(["qemu-system-x86_64", "-device", "help"])
        helps["qemu"] = listed, set(re.findall(r'name "([^"]+)"', devices.stdout + devices.stderr))
    return helps["qemu"]


def check_options(words, known, what):
    for word in words:
        match = re.match(r"(--?)([a-zA-Z][\w-]*)", word)
        if match is None:
            continue
        name = match.group(2)
        if match.group(1) == "-":
            name = name[0]
        if name not in known and name.removeprefix("no-") not in known:
            raise Wrong(f"{what} has no option {word}")


def check_qemu(words):
    there = qemu_options()
    if there is None:
        return
    options, devices = there
    for word, value in zip(words, [*words[1:], ""]):
        match = re.match(r"-([a-zA-Z][\w-]*)$", word)
        if match and match.group(1) not in options:
            raise Wrong(f"QEMU has no option {word}")
        if word == "-device" and not value.startswith("$") and value.split(",")[0] not in devices:
            raise Wrong(f"QEMU has no device {value.split(',')[0]}")


def check_vhostd(words, folder):
    if not words or words[0].startswith("-"):
        return check_options(words, options_of(vm.VHOSTD), "vhostd")
    command, rest = (vm.VHOSTD, words[0]), words[1:]
    if words[0] == "run":
        script = next((path for path in (folder / words[1], ROOT / words[1]) if path.is_file()), None)
        if script is None:
            raise Wrong(f"there is no script {words[1]}")
        if not python_is_there():
            return None
        command, rest = (vm.VHOSTD, "run", script), words[2:]
    filters = [word for word in rest if word.startswith("--filter=")]
    return check_options(rest, options_of(*command, *filters), f"vhostd {' '.join(words[:1])}")


def check_vhostctl(words):
    if words and not words[0].startswith("-"):
        check_options(words[1:], options_of(vm.VHOSTCTL, words[0]), f"vhostctl {words[0]}")
    else:
        check_options(words, options_of(vm.VHOSTCTL), "vhostctl")


def check_path(word, words, folder):
    path = ROOT / word
    if not path.exists() and not word.startswith("build"):
        raise Wrong(f"there is no {word}")
    if word.startswith("tools/"):
        text = path.read_text(encoding="utf-8")
        for option in words:
            if option.startswith("--") and option.split("=")[0] not in text:
                raise Wrong(f"{word} knows no {option}")
    elif word.endswith(".py"):
        check_vhostd(["run", word, *words], folder)


def check_command(words, folder):
    while words and (words[0] in PREFIXES or re.match(r"\w+=", words[0])):
        words = words[1:]
    if not words:
        return
    # A command in quotes is one, too.
    for word in words:
        inner = re.match(r"(?:--(?:run|serve)=)?((?:vhostd|qemu-system-x86_64) .*)", word, re.S)
        if inner:
            check_command(shlex.split(inner.group(1)), folder)
    words = [word for word in words if word != "..."]
    program, name = words[0], os.path.basename(words[0])
    if name == "vhostd":
        check_vhostd(words[1:], folder)
    elif name == "vhostctl":
        check_vhostctl(words[1:])
    elif name.startswith("qemu-system-"):
        check_qemu(words[1:])
    elif re.match(r"-[a-z]", program):
        check_qemu(words)
    elif program.startswith("--"):
        filters = [word for word in words if word.startswith("--filter=")]
        check_options(words, options_of(vm.VHOSTD, "block", *filters), "vhostd block")
    elif "/" in program and program.startswith(("tools/", "docs/", "build")):
        check_path(program, words[1:], folder)
    elif program.endswith(".py") and (folder / name).is_file():
        check_vhostd(["run", name, *words[1:]], folder)
    elif name not in OTHERS and not program.startswith(("./", "/tmp/", "$")):
        raise Wrong(f"what is {program}?")
    counts["command lines"] += 1


def commands(text):
    """The commands of a shell block as lists of words."""
    text = re.sub(r"\\\n\s*", " ", text)
    lines, line = [], ""
    for piece in text.splitlines():
        line = f"{line} {piece}" if line else piece
        try:
            shlex.split(line, comments=True)
        except ValueError:  # a quotation goes on
            continue
        lines.append(line)
        line = ""
    if line:
        raise Wrong(f"a quotation does not end: {line!r}")
    for line in lines:
        line = re.split(r"\s{3,}(?=[\w\"])", line.strip().removeprefix("$ "))[0]  # a remark on the right
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        for word in [*lexer, ";"]:
            if re.fullmatch(r"[;&|]+", word):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def run_shell(block, folder):
    """Runs a block as a reader would type it: a socket is there before the next line uses it."""
    script = block.before + re.sub(r"^(.*--socket-path=(\S+).*&)$", r"\1\nuntil test -S \2; do sleep 0.02; done",
                                   block.text, flags=re.M) + block.after
    with open(folder / "output", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment(),
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            status = process.wait(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has left in the background
        output.seek(0)
        if status:
            raise Wrong(f"ended with status {status}:\n{output.read()[-2000:]}")


def check_shell(block, folder):
    for words in commands(block.text):
        check_command(words, folder)
    if not block.run:
        return "options checked"
    if re.search(r"\.py\b|python3", block.text) and not python_is_there():
        skipped.append(f"{block}: PyGObject or the binding is missing")
        return "skipped"
    missing = [name for name in ("busctl", "gdbus") if name in block.text and shutil.which(name) is None]
    if "dbus-run-session" in block.after and shutil.which("dbus-run-session") is None:
        missing.append("dbus-run-session")
    if missing:
        skipped.append(f"{block}: {', '.join(missing)} is missing")
        return "skipped"
    if "pytest" in block.text and run(["/usr/bin/python3", "-c", "import pytest"]).returncode:
        skipped.append(f"{block}: pytest is missing")
        return "skipped"
    run_shell(block, folder)
    return "run"


CHECKS = {"c": check_c, "python": check_python, "vala": check_excerpt_only, "js": check_excerpt_only, "sh": check_shell,
          "ini": check_device_file, "json": check_json, "xml": check_xml}


def check_page(path):
    problems = []
    page = str(path.relative_to(ROOT))
    blocks = code_blocks.of_page(page, path.read_text(encoding="utf-8"))
    with vm.scratch() as folder:
        for block in blocks:
            check_block(block, folder, problems)
    if problems:
        raise vm.Failed("\n".join(problems))


def check_block(block, folder, problems):
    if block.file:
        (folder / block.file).write_text(block.text, encoding="utf-8")
        (folder / block.file).chmod(0o755)
    if block.reason:
        exempt.append(f"{block}: {block.reason}")
        counts[f"{block.language or 'plain'} blocks exempt"] += 1
        return
    if block.language not in CHECKS:
        problems.append(f"{block}: a block of \"{block.language}\" needs one of {', '.join(CHECKS)}, or a comment "
                        "that says why it is not run")
        return
    try:
        what = CHECKS[block.language](block, folder)
    except (Wrong, ValueError, OSError, subprocess.TimeoutExpired, xml.etree.ElementTree.ParseError) as error:
        problems.append(f"{block}: {error}")
    else:
        counts[f"{block.language} blocks {what}"] += 1


def add(path):
    tap.test(f"the code in {path.relative_to(ROOT)} works")(lambda: check_page(path))


for found in PAGES:
    add(found)


@tap.test("each function, type and code of the library that a page names is there")
def names():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "libvhostd").glob("*.[ch]"))
    known, problems = set(re.findall(r"\b(?:vhost_\w+|VHOST_\w+|Vhost[A-Z]\w+)", code)), []
    # The environment of programs and tests.
    known |= set(re.findall(r"\bVHOST_\w+", "".join(path.read_text(encoding="utf-8") for path in
                                                    [*(ROOT / "tests").rglob("*.py"), *(ROOT / "tests").rglob("*.c")])))
    known |= {name.replace("vhost_", "VHOST_TYPE_", 1).upper().removesuffix("_GET_TYPE") for name in known}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"\b(?:vhost_(?!user_)\w+ ?\(|VHOST_[A-Z_]+\b|Vhost[A-Z]\w+)", text):
            name = match.group(0).rstrip("( ")
            counts["names of the library"] += 1
            if name not in known and name not in FOREIGN and not name.endswith("_"):
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{path.relative_to(ROOT)}:{line}: {name} is unknown")
    if problems:
        raise vm.Failed("\n".join(problems))


@tap.test("each option that a program lists is in its manual")
def manuals():
    manual = {name: (ROOT / "docs" / "man" / f"{name}.1.rst").read_text(encoding="utf-8")
              for name in ("vhostd", "vhostd-block", "vhostctl")}
    filters = [f"--filter={name}" for name in ("delay", "error", "reorder")]
    cases = [("vhostd", options_of(vm.VHOSTD, "block", *filters), manual["vhostd"] + manual["vhostd-block"])]
    section = run([str(vm.VHOSTCTL), "--help"]).stdout.partition("Verbs:\n")[2].partition("\n\n")[0]
    verbs = re.findall(r"^  ([a-z]+) ", section, re.M)
    cases += [(f"vhostctl {verb}", options_of(vm.VHOSTCTL, verb), manual["vhostctl"]) for verb in verbs]
    if len(verbs) < 3:
        raise vm.Failed("vhostctl --help names no verbs: the test looks in the wrong place")
    problems = [f"{program}: --{name} is not in the manual" for program, names, text in cases
                for name in sorted(names) if len(name) > 1 and f"--{name}" not in text]
    if problems:
        raise vm.Failed("\n".join(problems))


@tap.test("there are code blocks of each kind, and this is what was done with them")
def table():
    for name, number in sorted(counts.items()):
        print(f"# {number:4} {name}")
    for line in exempt:
        print(f"# not run: {line}")
    for line in skipped:
        print(f"# skipped: {line}")
    for language in ("c", "python", "sh", "ini"):
        if not any(name.startswith(f"{language} blocks") for name in counts):
            raise vm.Failed(f"no block of {language} was found: the test looks in the wrong place")


tap.main()
