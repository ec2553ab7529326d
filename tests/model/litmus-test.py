#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pairs of atomics that the library relies on, one file each in litmus/.

Of each file: the search in litmus.py finds no execution that ends as it says, and finds one as soon as one order or
fence is weaker (its lines "weaker"); the orders are those of the library's own code (its lines "code": file, function,
texts in this order), so that a change there breaks the test. herd7, where it is installed, must agree.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "lib"))
import litmus  # noqa: E402
import tap  # noqa: E402
import vm  # noqa: E402

FILES = sorted((HERE / "litmus").glob("*.litmus"))
# Where every access with an order must be in some file's lines "code" ...
WHOLE = ["vhost-ring-split.c", "vhost-ring-packed.c", "vhost-mailbox.c", "vhost-dirty-log.c", "vhost-sigbus.c",
         "vhost-chain.c", "vhost-queue-pass.c", "vhost-queue.c", "vhost-queue-invalidate.c",
         "vhost-daemon-session.c", "vhost-reference-private.h",
         "vhost-memory.c", "vhost-inflight.c", "vhost-frontend-queue.c",
         "vhost-frontend-queue-packed.c", "vhost-frontend-queue-split.c"]
# ... but for these, with the reason.
ALONE = {
    ("vhost-sigbus.c", "call_previous"): "relaxed: an answer to one thread only",
    ("vhost-daemon-session.c", "vhost_daemon_free_slot"): "after the workers have ended",
}
CALL = re.compile(r"\b(?:__atomic_\w+|atomic_\w+)\s*\(")


def one_line(text):
    return " ".join(text.split())


def weaker(text, thread, rule):
    """The file's text with the rule carried out in one thread; it must fit exactly once."""
    old, new = (rule.removeprefix("drop "), "") if rule.startswith("drop ") else rule.split(" -> ")
    start = re.search(rf"^P{thread} ", text, re.M).start()
    end = text.index("\n}\n", start)
    body = one_line(text[start:end]).replace("{ ", "{\n", 1)
    if body.count(old) != 1:
        raise vm.Failed(f"{rule!r} fits {body.count(old)} times in P{thread}")
    return text[:start] + body.replace(old, new) + text[end:]


def lines(path, word):
    comment = path.read_text().split("*)")[0]
    return [line.strip() for line in comment.splitlines() if line.startswith(word)]


def variants(path):
    text = path.read_text()
    yield "as it is", text, False
    for line in lines(path, "weaker"):
        thread, rule = re.fullmatch(r"weaker P(\d): (.*)", line).groups()
        yield line, weaker(text, thread, rule), True


def functions(name):
    """Name and body of each function of a library file."""
    text = (ROOT / "libvhostd" / name).read_text()
    for match in re.finditer(r"^(\w+) \([^;{]*\)\n\{\n(.*?)^\}", text, re.M | re.S):
        yield match.group(1), one_line(re.sub(r"/\*.*?\*/", " ", match.group(2), flags=re.S))


def code_lines():
    for path in FILES:
        for line in lines(path, "code"):
            name, function, texts = re.fullmatch(r"code (\S+) (\w+): (.*)", line).groups()
            yield path, name, function, [one_line(text) for text in texts.split(" ... ")]


def search_test(path):
    @tap.test(f"every execution of {path.stem}: what must not be cannot be, and needs each order to be so")
    def search():
        if len(list(variants(path))) < 2:
            raise vm.Failed("a test that cannot fail: it has no weaker form")
        for what, text, want in variants(path):
            found, count = litmus.Litmus(text).possible()
            if count == 0:
                raise vm.Failed(f"{what}: no execution at all")
            tap.equal(found, want, f"{path.stem}, {what}: ends as it must not in one of {count} executions")


for each in FILES:
    search_test(each)


@tap.test("the library has the orders that the litmus tests have")
def same_orders():
    problems = []
    for path, name, function, texts in code_lines():
        bodies = [body for found, body in functions(name) if found == function]
        at = 0
        for text in texts if bodies else []:
            at = bodies[0].find(text, at)
            if at < 0:
                problems.append(f"{path.name}: {name}, {function} () has no {text!r}, or not in this order")
                break
            at += len(text)
        if not bodies:
            problems.append(f"{path.name}: {name} has no function {function}")
    if problems:
        raise vm.Failed("\n".join(problems))


def call_text(body, match):
    depth = 0
    for at in range(match.end() - 1, len(body)):
        depth += {"(": 1, ")": -1}.get(body[at], 0)
        if depth == 0:
            return body[match.start():at + 1]
    return body[match.start():]


@tap.test("each access of the rings, lists and tables that has an order is in a litmus test")
def all_orders():
    named, problems, seen = {}, [], 0
    for _path, name, function, texts in code_lines():
        named.setdefault((name, function), []).extend(texts)
    for name in WHOLE:
        for function, body in functions(name):
            for match in CALL.finditer(body):
                call = call_text(body, match)
                if not re.search(r"ACQ|REL\b|RELEASE|SEQ_CST|acq|release|seq_cst", call):
                    continue
                seen += 1
                texts = named.get((name, function), [])
                if (name, function) not in ALONE and not any(text in call or call in text for text in texts):
                    problems.append(f"{name}, {function} (): {call}")
    tap.equal(seen > 25, True, f"{seen} accesses found, so the reading works")
    if problems:
        raise vm.Failed("not in any litmus test:\n" + "\n".join(problems))


# What the literature says of well-known programs, so that the search itself is tested.
LOAD, STORE, ADD = "int {0} = atomic_load_explicit({1}, memory_order_{2});", \
    "atomic_store_explicit({0}, {1}, memory_order_{2});", "int {0} = atomic_fetch_add_explicit({1}, 1, memory_order_{2});"
FENCE = "atomic_thread_fence(memory_order_{0});"


def program(condition, *threads):
    bodies = [f"P{i} (atomic_int* x, atomic_int* y)\n{{\n" + "\n".join(thread) + "\n}\n"
              for i, thread in enumerate(threads)]
    return litmus.Litmus("C known\n{ x=0; y=0; }\n" + "\n".join(bodies) + f"\nexists ({condition})\n").possible()[0]


def buffering(order, fence=None):
    middle = [FENCE.format(fence)] if fence else []
    return program("0:r=0 /\\ 1:r=0", [STORE.format("x", 1, order), *middle, LOAD.format("r", "y", order)],
                   [STORE.format("y", 1, order), *middle, LOAD.format("r", "x", order)])


def passing(store, load):
    return program("1:a=1 /\\ 1:b=0", [STORE.format("x", 1, "relaxed"), *store],
                   [*load, LOAD.format("b", "x", "relaxed")])


def independent(order, fence=None):
    middle = [FENCE.format(fence)] if fence else []
    store = "seq_cst" if order == "seq_cst" else "relaxed"
    return program("2:a=1 /\\ 2:b=0 /\\ 3:a=1 /\\ 3:b=0", [STORE.format("x", 1, store)], [STORE.format("y", 1, store)],
                   [LOAD.format("a", "x", order), *middle, LOAD.format("b", "y", order)],
                   [LOAD.format("a", "y", order), *middle, LOAD.format("b", "x", order)])


@tap.test("the search knows what C11 allows of the well-known programs")
def known():
    flag = STORE.format("y", 1, "relaxed")
    seen = LOAD.format("a", "y", "relaxed")
    for what, got, want in [
            ("store buffering, acquire and release", program(
                "0:r=0 /\\ 1:r=0", [STORE.format("x", 1, "release"), LOAD.format("r", "y", "acquire")],
                [STORE.format("y", 1, "release"), LOAD.format("r", "x", "acquire")]), True),
            ("store buffering, seq_cst", buffering("seq_cst"), False),
            ("store buffering, full fences", buffering("relaxed", "seq_cst"), False),
            ("store buffering, acq_rel fences", buffering("relaxed", "acq_rel"), True),
            ("message passing", passing([STORE.format("y", 1, "release")], [LOAD.format("a", "y", "acquire")]), False),
            ("message passing, fences", passing([FENCE.format("release"), flag], [seen, FENCE.format("acquire")]), False),
            ("message passing, fence behind", passing([flag, FENCE.format("release")],
                                                      [seen, FENCE.format("acquire")]), True),
            ("message passing, relaxed load", passing([STORE.format("y", 1, "release")], [seen]), True),
            ("message passing through an addition", passing([STORE.format("y", 4, "release")],
                                                            [ADD.format("c", "y", "relaxed"),
                                                             LOAD.format("a", "y", "acquire")]), True),
            ("load buffering, out of thin air", program(
                "0:a=1 /\\ 1:a=1", [LOAD.format("a", "x", "relaxed"), STORE.format("y", 1, "relaxed")],
                [LOAD.format("a", "y", "relaxed"), STORE.format("x", 1, "relaxed")]), False),
            ("independent reads, acquire", independent("acquire"), True),
            ("independent reads, seq_cst", independent("seq_cst"), False),
            ("independent reads, full fences", independent("relaxed", "seq_cst"), False),
            ("one place, read backwards", program(
                "1:a=2 /\\ 1:b=1", [STORE.format("x", 1, "relaxed"), STORE.format("x", 2, "relaxed")],
                [LOAD.format("a", "x", "relaxed"), LOAD.format("b", "x", "relaxed")]), False),
            ("two additions, one lost", program("x=1", [ADD.format("r", "x", "relaxed")],
                                                [ADD.format("r", "x", "relaxed")]), False),
            ("two additions", program("x=2", [ADD.format("r", "x", "relaxed")], [ADD.format("r", "x", "relaxed")]), True),
    ]:
        tap.equal(got, want, what)


@tap.test("herd7 says the same of every litmus test")
def herd():
    if shutil.which("herd7") is None:
        raise vm.Unavailable("herd7 (herdtools7) is not installed; the search above has run")
    for path in FILES:
        for what, text, want in variants(path):
            with tempfile.NamedTemporaryFile("w", suffix=".litmus") as file:
                file.write(text)
                file.flush()
                said = subprocess.run(["herd7", "-model", "rc11.cat", file.name], capture_output=True, text=True,
                                      check=False, timeout=120)
            if "Observation" not in said.stdout:
                raise vm.Failed(f"{path.stem}, {what}: herd7 cannot read it: {said.stdout}{said.stderr}")
            tap.equal("Never" not in said.stdout.split("Observation")[1], want, f"{path.stem}, {what}: herd7")


if __name__ == "__main__":
    tap.main()
