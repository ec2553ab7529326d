#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The override is found by PyGObject, and what it replaces is what scripts get."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import gi  # noqa: E402

gi.require_version("Vhost", "1")
from gi.repository import Vhost  # noqa: E402


@tap.test("the override is the one of this tree")
def override_is_found():
    import gi.overrides.Vhost as override
    tap.equal(pathlib.Path(override.__file__).parts[-4:], ("python", "gi", "overrides", "Vhost.py"), "the file")
    for name in override.__all__:
        tap.equal(getattr(Vhost, name), getattr(override, name), name)


tap.main()
