# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vhost-user devices and front-ends in Python.

Scripts use "from gi.repository import Vhost", which has everything that this package defines. To import a part of the
package directly is for tests and tools; it loads the library first.
"""

import gi

gi.require_version("Vhost", "1")
from gi.repository import Vhost  # noqa: E402, F401
