# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What "from gi.repository import Vhost" gets beside the introspected library: the names of the package's parts.

PyGObject finds this file by its name. It must hold nothing itself: each subject is a module of the package libvhostd,
which names what it adds to the namespace in __all__.
"""

import importlib
import importlib.util

__all__ = []

for _part in ("queue", "config_space", "device", "backend", "daemon", "coroutine", "main", "frontend"):
    if importlib.util.find_spec(f"libvhostd.{_part}") is not None:
        _module = importlib.import_module(f"libvhostd.{_part}")
        for _name in _module.__all__:
            globals()[_name] = getattr(_module, _name)
        __all__ += _module.__all__
