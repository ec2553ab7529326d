# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device script as a program: what `vhostd run SCRIPT` starts.

It executes the script under the name "__vhostd__" and serves the device class that it finds in it. So the script needs
no main part, and one that it has behind `if __name__ == "__main__"` does not run.
"""

import os
import sys
import types

from gi.repository import Vhost

from libvhostd.main import main

SCRIPT_NAME = "__vhostd__"
_USAGE = """Usage:
  vhostd run SCRIPT [OPTION...]

Serves the device that a Python script describes: the class in it that is decorated with @Vhost.device.

  vhostd run SCRIPT --help   lists the options, those of the device among them
"""


def _execute(script):
    """The script's names, in a module that stays."""
    module = sys.modules[SCRIPT_NAME] = types.ModuleType(SCRIPT_NAME)
    module.__file__ = script
    with open(script, "rb") as file:
        exec(compile(file.read(), script, "exec"), module.__dict__)
    return module.__dict__


def _find(names):
    """The one device class of a script, or what is wrong with it."""
    found = {value for value in names.values() if isinstance(value, type) and issubclass(value, Vhost.Backend)
             and value.__module__ == SCRIPT_NAME and "device_type" in value.__dict__}
    if len(found) == 1:
        return found.pop(), None
    if found:
        return None, f"has {len(found)} device classes, {', '.join(sorted(cls.__name__ for cls in found))}: decorate one"
    return None, 'has no device class: decorate a subclass of Vhost.Backend with @Vhost.device("TYPE")'


def run_script(arguments):
    """What `vhostd run` does with its arguments; returns the exit code, or ends the process with it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    script = arguments[0]
    if not os.path.isfile(script):
        print(f"vhostd run: there is no script {script}", file=sys.stderr)
        return 2
    sys.argv = list(arguments)
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    found, problem = _find(_execute(script))
    if found is None:
        print(f"vhostd run: {script} {problem}", file=sys.stderr)
        return 2
    main(found)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(sys.argv[1:]))
