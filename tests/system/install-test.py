#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What gets installed is enough: a device is built outside of the tree with nothing but pkg-config's answer, and runs.

The installation goes to a scratch folder. The installed .pc file names the final prefix; a copy of it with the prefix
changed stands for a real installation (a sysroot would move GLib's paths, too).
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

EXAMPLE = vm.SOURCE / "docs" / "examples" / "my-device.c"
_place = {}


def run(command, **kwargs):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                            stdin=subprocess.DEVNULL, **kwargs)
    if result.returncode != 0:
        raise vm.Failed(f"{command} ended with {result.returncode}:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result.stdout


def only(folder, pattern):
    found = sorted(folder.rglob(pattern))
    if not found:
        raise vm.Failed(f"nothing called {pattern} was installed")
    return found[0]


def install(folder):
    """Installs once for all tests of this program."""
    meson = shlex.split(os.environ.get("VHOST_MESON", "meson"))
    run([*meson, "install", "-C", vm.BUILD, "--no-rebuild", "--quiet", "--destdir", folder / "root"])
    pc = only(folder / "root", "libvhostd-1.pc")
    text = pc.read_text(encoding="utf-8")
    prefix = re.search(r"^prefix=(.*)$", text, re.M).group(1)
    relocated = folder / "pkgconfig"
    relocated.mkdir()
    (relocated / pc.name).write_text(text.replace(f"prefix={prefix}", f"prefix={folder}/root{prefix}", 1),
                                     encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(relocated), os.environ.get("PKG_CONFIG_PATH", "")]))
    _place.update(folder=folder, root=folder / "root", prefix=prefix,
                  env={**os.environ, "PKG_CONFIG_PATH": path,
                       "LD_LIBRARY_PATH": str(only(folder / "root", "libvhostd-1.so.0").parent)})


def compiled():
    target = _place["folder"] / "my-device"
    if not target.exists():
        flags = run(["pkg-config", "--cflags", "--libs", "libvhostd-1"], env=_place["env"])
        run([*os.environ.get("CC", "cc").split(), "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-o",
             target, EXAMPLE, *shlex.split(flags)])
    return target


@tap.test("the example device compiles with what pkg-config says")
def compiles():
    compiled()


@tap.test("what other programs look for is where they look")
def places():
    share, built = "share", vm.BUILD / "libvhostd"
    wanted = [f"{share}/dbus-1/interfaces/io.github.libvhostd1.xml", f"{share}/dbus-1/system.d/io.github.libvhostd1.conf",
              f"{share}/bash-completion/completions/vhostctl", f"{share}/bash-completion/completions/vhostd",
              f"{share}/zsh/site-functions/_vhostctl", f"{share}/qemu/vhost-user/60-vhostd-block.json", f"{share}/man/man1/vhostctl.1", f"{share}/man/man5/vhostd.conf.5"]
    if (built / "Vhost-1.gir").exists():
        wanted += [f"{share}/gir-1.0/Vhost-1.gir", "girepository-1.0/Vhost-1.typelib", "gi/overrides/Vhost.py",
                   "libvhostd/pytest.py"]
    if (built / "libvhostd-1.vapi").exists():
        wanted += [f"{share}/vala/vapi/libvhostd-1.vapi", f"{share}/vala/vapi/libvhostd-1.deps"]
    files = [str(path) for path in _place["root"].rglob("*")]
    missing = [place for place in wanted if not any(path.endswith("/" + place) for path in files)]
    tap.equal(missing, [], "what was not installed")


@tap.test("the example device says its type when asked for its capabilities")
def capabilities():
    said = json.loads(run([compiled(), "--print-capabilities"], env=_place["env"]))
    tap.equal(said["type"], "rng", "type")


@tap.test("the example device lists its options, inherited ones included")
def options():
    said = run([compiled(), "--help"], env=_place["env"])
    for option in ("--socket-path", "--fd", "--num-queues", "--workers", "--poll-max"):
        tap.equal(option in said, True, f"{option} is in --help")


@tap.test("the installed programs run")
def programs():
    for name in ("vhostd", "vhostctl"):
        said = run([only(_place["root"], f"bin/{name}"), "--version"], env=_place["env"])
        tap.equal("0.1" in said, True, f"version in {said!r}")


@tap.test("each vhost-user descriptor names a launcher that is installed and answers")
def descriptors():
    found = sorted(_place["root"].rglob("vhost-user/*.json"))
    tap.equal(bool(found), True, "a descriptor is installed")
    for path in found:
        descriptor = json.loads(path.read_text(encoding="utf-8"))
        launcher = pathlib.Path(str(_place["root"]) + descriptor["binary"])
        tap.equal(os.access(launcher, os.X_OK), True, f"{launcher} can be run")
        # The launcher looks for vhostd where it will be installed, or on the PATH.
        env = {**_place["env"], "PATH": f"{only(_place['root'], 'bin/vhostd').parent}:{os.environ['PATH']}"}
        if pathlib.Path(_place["prefix"], "bin", "vhostd").exists() or "exec vhostd" in launcher.read_text(
                encoding="utf-8", errors="replace"):
            tap.equal(json.loads(run([launcher, "--print-capabilities"], env=env))["type"], descriptor["type"], "type")


@tap.test("a guest draws random numbers from the example device")
def guest():
    binary = compiled()
    with vm.scratch() as folder:
        with vm.Backend(folder / "s", binary=binary, env=_place["env"]):
            device = vm.disk(folder / "s", device="vhost-user-rng-pci")
            with vm.Guest("rng", [device]) as machine:
                values = machine.finish()
    tap.equal(values["bytes"], "8192", "bytes drawn")
    tap.equal(values["same"], "0", "two draws were the same")


if __name__ == "__main__":
    with vm.scratch() as scratch_folder:
        install(scratch_folder)
        tap.main()
