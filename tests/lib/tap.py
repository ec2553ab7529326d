# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test program in the Test Anything Protocol: one sentence and one line of output per test.

A test is a function with the decorator @test ("sentence"); it fails by raising, and is skipped by raising
vm.Unavailable, whose text is the printed reason.
"""

import sys
import time
import traceback

import vm

_tests = []


def test(sentence):
    def add(function):
        _tests.append((sentence, function))
        return function
    return add


def equal(got, want, what):
    if got != want:
        raise vm.Failed(f"{what}: got {got!r}, expected {want!r}")


def main():
    print(f"1..{len(_tests)}", flush=True)
    failures = 0
    for number, (sentence, function) in enumerate(_tests, 1):
        begin = time.monotonic()
        try:
            function()
        except vm.Unavailable as reason:
            print(f"ok {number} - {sentence} # SKIP {reason}", flush=True)
        except Exception as error:  # whatever went wrong belongs to this test; the next one still runs
            failures += 1
            # A condition that was not met speaks for itself; anything else is a bug of the test's own.
            depth = -1 if isinstance(error, vm.Failed) else None
            for line in "".join(traceback.format_exception(error, limit=depth, chain=False)).splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {sentence}", flush=True)
        else:
            print(f"ok {number} - {sentence}")
            print(f"# {time.monotonic() - begin:.1f} s", flush=True)
    sys.exit(1 if failures else 0)
