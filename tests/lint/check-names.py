#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names: of files, of what the public headers define, of what the library exports.

Usage: check-names.py [LIBRARY]. The public names must live beside <linux/vhost.h> and DPDK's librte_vhost in one
program, which is why some prefixes and names are not ours to use.
"""

import re
import subprocess
import sys

import tree

TAKEN_PREFIX = re.compile(r"VHOST_(GET|SET|RESET|VRING|NET|SCSI|VSOCK|VDPA|VIRTIO|IOTLB|ACCESS|F|BACKEND_F|USER|NEW|"
                          r"FREE|ATTACH|PAGE|FILE|FORK)_")
TAKEN_TYPE = re.compile(r"\b(VhostVirtio|VhostNet|VhostScsi|VhostVdpa|VhostVsock)\b")
TAKEN_SYMBOL = {"vhost_backend_cleanup", "vhost_new_device", "vhost_destroy_device", "vhost_devices"}
SYSTEM_HEADER = re.compile(r"<(glib(-object|-unix)?\.h|glib/.*|gio/.*|gobject/.*|sys/uio\.h)>")
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc"}
# Above the first a file is looked at again, above the second it is split.
MANY_LINES, MOST_LINES = 700, 1000


def check_files(problems):
    paths = tree.files("*.c", "*.h", "*.py")
    stems = {path.stem.removesuffix("-private") for path in tree.files("libvhostd/*.[ch]")}
    for path in paths:
        if VAGUE & set(re.split(r"[-_]", path.stem)):
            problems.append(f"{path}: a name that says nothing; name the one thing that it holds")
        if str(path.parent) == "libvhostd" and not re.fullmatch(r"vhost(-[a-z0-9]+)+\.[ch]|libvhostd\.h", path.name):
            problems.append(f"{path}: library files are named vhost-*.c and vhost-*.h")
        lines = tree.read(path).count("\n")
        if lines > MOST_LINES:
            problems.append(f"{path}: {lines} lines; more than {MOST_LINES}: split it")
        elif lines > MANY_LINES:
            print(f"note: {path}: {lines} lines; is it still one thing?")
    # A file of tests has the name of what it tests, or of the begin of it: vhost-waiter for vhost-waiter-epoll.
    for path in tree.files("tests/unit/vhost-*-test.c"):
        stem = path.name.removesuffix("-test.c")
        if not any(name == stem or name.startswith(stem + "-") for name in stems):
            problems.append(f"{path}: there is no libvhostd/{stem}.c")
    return len(paths)


def check_header(name, problems, public):
    path = f"libvhostd/{name}"
    raw = tree.read(path)
    text = tree.without_comments(raw)

    def problem(match, words):
        problems.append(f"{path}:{tree.line_of(text, match.start())}: {words}")

    for match in re.finditer(r"^\s*#\s*include\s+(\S+)", raw, re.M):
        target = match.group(1)
        own = target.strip('"')
        if target.startswith('"') and own not in public and own != "vhost-enums.h":
            problem(match, f"a public header includes {target}, which is not installed")
        if target.startswith("<") and not SYSTEM_HEADER.fullmatch(target):
            problem(match, f"a public header includes {target}; only GLib, GIO and <sys/uio.h> are allowed")
    for match in re.finditer(r"\b[A-Z][A-Z0-9_]+\b", text):
        if TAKEN_PREFIX.match(match.group(0)):
            problem(match, f"{match.group(0)} begins like a name of the kernel's or DPDK's")
    for match in TAKEN_TYPE.finditer(text):
        problem(match, f"the type name {match.group(0)} is taken")
    for match in re.finditer(r"\b(?:vhost|Vhost|VHOST)\w*(?:User|_user_(?!data)|USER_)\w*", text):
        if not re.search(r"user_address|user_data", match.group(0)):
            problem(match, f"{match.group(0)}: public names do not say User")
    for match in re.finditer(r"\b(?:typedef\s+)?(struct|union|enum)\s+(\w+)", text):
        if not match.group(2).startswith("_Vhost") and match.group(2) not in ("iovec",):
            problem(match, f"the tag {match.group(2)} should be _Vhost...")
    for match in re.finditer(r"\benum\s*\{([^}]*)\}", text):
        if len([part for part in match.group(1).split(",") if part.strip()]) < 2:
            problem(match, "an enum of one member gets a wrong name in bindings")


def check_exports(library, problems, public):
    """The library exports exactly what the headers declare."""
    out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines() if line.strip()}
    declared = set()
    for name in public:
        text = tree.without_comments(tree.read(f"libvhostd/{name}"))
        declared |= set(re.findall(r"\b(vhost_\w+) \(", re.sub(r"^#.*?(?<!\\)$", "", text, flags=re.M | re.S)))
        for prefix in re.findall(r"G_DECLARE_\w+_TYPE \(\w+, (\w+)", text):
            declared.add(prefix + "_get_type")
    declared |= {name for name in exported if name.endswith("_get_type")}
    for name in sorted(exported):
        if not name.startswith("vhost_") or name.startswith("vhost_user_") or name in TAKEN_SYMBOL:
            problems.append(f"{library}: exports {name}, a name that is not ours")
        elif name not in declared:
            problems.append(f"{library}: exports {name}, which no public header declares")
    for name in sorted(declared - exported):
        problems.append(f"{library}: does not export {name}, which a public header declares")


def main():
    problems, public = [], tree.public_headers()
    checked = check_files(problems)
    for name in public:
        check_header(name, problems, public)
    if len(sys.argv) > 1:
        check_exports(sys.argv[1], problems, public)
    tree.finish(problems, checked, "files")


main()
