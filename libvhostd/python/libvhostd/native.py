# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library's functions that are called for every request, by ctypes: a tenth of what introspection costs for each.

PyDLL keeps the interpreter's lock: none of these blocks. Pointers are plain numbers here, and nobody outside of this
package sees them.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_void_p

_library = ctypes.PyDLL("libvhostd-1.so.0")


def _function(name, result, *arguments):
    function = _library[name]  # by index: a function object of our own, whose types nobody else changes
    function.restype, function.argtypes = result, arguments
    return function


pop_many = _function("vhost_queue_pop_many", c_uint, c_void_p, c_void_p, c_uint)
complete = _function("vhost_chain_complete", None, c_void_p, c_size_t)
hand_back = _function("vhost_chain_hand_back", c_int, c_void_p)
head = _function("vhost_chain_get_head", c_uint, c_void_p)
readable_size = _function("vhost_chain_get_readable_size", c_size_t, c_void_p)
writable_size = _function("vhost_chain_get_writable_size", c_size_t, c_void_p)
segments = _function("vhost_chain_get_segments", c_uint, c_void_p, c_void_p, c_uint, POINTER(c_uint))
write = _function("vhost_chain_write", c_size_t, c_void_p, c_char_p, c_size_t)
memory_of = _function("vhost_chain_get_memory", c_void_p, c_void_p)
memory_ref = _function("vhost_memory_ref", c_void_p, c_void_p)
memory_unref = _function("vhost_memory_unref", None, c_void_p)
memory_n_regions = _function("vhost_memory_get_n_regions", c_uint, c_void_p)
memory_region = _function("vhost_memory_get_region_address", c_void_p, c_void_p, c_uint, POINTER(c_size_t))
set_config_space = _function("vhost_backend_set_config_space", None, c_void_p, c_char_p, c_size_t, c_char_p)

# Once for the life of a worker thread, so that each call into Python need not make a thread state of its own.
pin_thread = ctypes.pythonapi.PyGILState_Ensure
pin_thread.restype, pin_thread.argtypes = c_int, ()
unpin_thread = ctypes.pythonapi.PyGILState_Release
unpin_thread.restype, unpin_thread.argtypes = None, (c_int,)
