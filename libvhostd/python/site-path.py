# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""Prints where this interpreter looks for modules below the prefix given, for the build system.

Neither the build system's own idea nor sysconfig's is always on the path: Debian has one folder for /usr and another
one for /usr/local.
"""

import pathlib
import sys
import sysconfig

prefix = pathlib.Path(sys.argv[1])
for entry in sys.path:
    path = pathlib.Path(entry)
    if path.name in ("dist-packages", "site-packages") and path.is_relative_to(prefix / "lib"):
        print(path)
        break
else:
    print(sysconfig.get_path("purelib", "posix_prefix", {"base": str(prefix)}))
