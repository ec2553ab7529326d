# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device class as a whole program: Vhost.main()."""

import sys

from gi.repository import Vhost

from . import failure

__all__ = ["main"]

_library_main = Vhost.Backend.main


def main(backend_class, argv=None):
    """The whole program that serves one device: options, signals, socket. Ends the process.

    Each GObject.Property of the class is an option: fail_every is --fail-every. Beside these there are --socket-path,
    --fd, --run and those that every device has; --help lists them.
    """
    argv = sys.argv if argv is None else argv
    if not isinstance(backend_class, type) or not issubclass(backend_class, Vhost.Backend):
        raise TypeError(f"Vhost.main() serves a class derived from Vhost.Backend, not {backend_class!r}")
    if backend_class.device_type is None:
        backend_class.set_option_default("workers", "0")
    failure.serving = True
    try:
        status = _library_main(backend_class.__gtype__, [str(word) for word in argv])
    finally:
        failure.serving = False
    if failure.exit_status is not None:
        sys.exit(failure.exit_status)
    sys.exit(status)
