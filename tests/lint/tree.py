# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the lint programs share: the project's files and the way to report."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def files(*patterns):
    """The project's files as paths relative to its top, in order. Built and ignored ones are left out."""
    names = None
    if (ROOT / ".git").exists():
        try:
            run = subprocess.run(["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached",
                                  "--others", "--exclude-standard"], capture_output=True, check=True)
            names = [name for name in run.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
        except (OSError, subprocess.CalledProcessError):
            names = None
    if names is None:  # a release archive, or no git
        names = []
        for folder, subfolders, entries in os.walk(ROOT):
            subfolders[:] = [name for name in subfolders
                             if not name.startswith("build") and name not in (".git", "__pycache__")]
            names += [str((pathlib.Path(folder) / name).relative_to(ROOT)) for name in entries]
    paths = sorted(pathlib.PurePosixPath(name) for name in set(names))
    return [path for path in paths if not patterns or any(path.match(pattern) for pattern in patterns)]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def without_comments(text):
    """C source with comments and string contents blanked, lines kept."""
    def blank(match):
        token = match.group(0)
        return token if token[0] == "'" else re.sub(r"[^\n]", " ", token) if token[0] == "/" else '""'
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", blank, text, flags=re.S)


def public_headers():
    """Names of the installed headers, out of libvhostd/meson.build."""
    block = re.search(r"public_headers = files\((.*?)\)", read("libvhostd/meson.build"), re.S).group(1)
    return re.findall(r"'([^']+\.h)'", block)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def finish(problems, checked, what):
    for problem in problems:
        print(problem)
    if not checked:
        problems.append(f"no {what} found: the check looks in the wrong place")
        print(problems[-1])
    print(f"{checked} {what}, {len(problems)} problem(s)")
    sys.exit(1 if problems else 0)
