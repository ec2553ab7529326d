# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3 -m libvhostd.shell SOCKET: a Python prompt with a front-end of the back-end that listens there.

The names `fe`, the front-end, and `Vhost` are there. End-of-file (Ctrl-D) leaves.
"""

import argparse
import code
import contextlib
import sys

from gi.repository import GLib, Vhost


def banner(frontend):
    """One line: what the device offers."""
    names = [name for name in frontend.feature_names if name != "PROTOCOL_FEATURES"]
    size = len(frontend.read_config().rstrip(b"\0"))  # how much a device has, it cannot be asked
    queues = frontend.get_max_queues()
    return (f"fe: {queues} queue{'' if queues == 1 else 's'}, {size} bytes of configuration that are not zero, "
            f"{', '.join(names) or 'no features'}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="vhostctl shell", description="A Python prompt with a vhost-user front-end.",
                                     epilog="Names there: fe, the front-end; Vhost, the library. Ctrl-D leaves.")
    parser.add_argument("socket", metavar="SOCKET", help="where the back-end listens")
    parser.add_argument("--device", metavar="TYPE", help="what it is (block, net ...), for the names of features")
    options = parser.parse_args(arguments)

    try:
        with Vhost.Frontend.open(options.socket, device=options.device) as frontend:
            names = {"fe": frontend, "Vhost": Vhost, "GLib": GLib, "__name__": "__console__", "__doc__": None}
            with contextlib.suppress(ImportError):
                import readline
                import rlcompleter
                readline.set_completer(rlcompleter.Completer(names).complete)
                readline.parse_and_bind("tab: complete")
            code.interact(banner(frontend.negotiate()), local=names, exitmsg="")
    except GLib.Error as error:
        print(f"vhostctl shell: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
